/* See field.h. */
#include "admin/field.h"

#include "base/secret.h"

#include <string.h>
#include <strings.h>

void fk_field_reset(struct fk_field *field, const char *wanted)
{
    fk_wipe(field, sizeof *field);
    field->wanted = wanted;
}

void fk_field_name(struct fk_field *field, const char *at, size_t len)
{
    size_t room;

    if (field->in_value) {
        field->in_value = false;
        field->name_len = 0;
    }
    room = sizeof field->name - field->name_len;
    if (len > room)
        len = room;
    memcpy(field->name + field->name_len, at, len);
    field->name_len += len;
}

static bool is_wanted(const struct fk_field *field)
{
    size_t len = strlen(field->wanted);

    return field->name_len == len && strncasecmp(field->name, field->wanted, len) == 0;
}

void fk_field_value(struct fk_field *field, const char *at, size_t len)
{
    if (!field->in_value && is_wanted(field))
        field->count++;
    field->in_value = true;
    if (!is_wanted(field) || field->value_len > FK_FIELD_VALUE_MAX)
        return;
    if (len > FK_FIELD_VALUE_MAX - field->value_len) {
        field->value_len = FK_FIELD_VALUE_MAX + 1;
        return;
    }
    memcpy(field->value + field->value_len, at, len);
    field->value_len += len;
}

bool fk_field_is_one(const struct fk_field *field)
{
    return field->count == 1 && field->value_len <= FK_FIELD_VALUE_MAX;
}
