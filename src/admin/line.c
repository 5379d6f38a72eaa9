/* Request lines of the control socket. Strict: what is not understood is not ignored. */
#include "admin/line.h"

#include "base/err.h"

#include <jansson.h>
#include <string.h>

static int parse_object(const json_t *object, struct fk_admin_command *ret)
{
    const json_t *command = json_object_get(object, "command");
    const json_t *argument = json_object_get(object, "argument");
    size_t len = json_string_length(command), more = json_string_length(argument);

    if (!json_is_string(command) || (argument != NULL && !json_is_string(argument)))
        return FK_ERR_FORMAT;
    if (json_object_size(object) != (argument == NULL ? 1 : 2))
        return FK_ERR_TRAILING;
    if (!fk_admin_word_ok(json_string_value(command), len) ||
        (argument != NULL && !fk_admin_argument_ok(json_string_value(argument), more)))
        return FK_ERR_RANGE;
    *ret = (struct fk_admin_command){.argument = ""};
    memcpy(ret->word, json_string_value(command), len);
    if (argument != NULL)
        memcpy(ret->argument, json_string_value(argument), more);
    return FK_OK;
}

int fk_admin_line_parse(const char *line, size_t len, struct fk_admin_command *ret)
{
    json_error_t error;
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    int err;

    if (object == NULL)
        return json_error_code(&error) == json_error_duplicate_key ? FK_ERR_DUPLICATE
                                                                   : FK_ERR_FORMAT;
    err = json_is_object(object) ? parse_object(object, ret) : FK_ERR_FORMAT;
    json_decref(object);
    return err;
}
