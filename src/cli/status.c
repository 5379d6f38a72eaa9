/* `farkey status` and `farkey control`: asking a running daemon over its control socket. */
#include "base/err.h"
#include "cli/commands.h"
#include "cli/conf_kind.h"
#include "cli/ctl.h"
#include "cli/files.h"
#include "cli/options.h"
#include "cli/status.h"
#include "edge/conf.h"
#include "keyd/conf.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_US 60000000

struct status_values {
    const char *conf;
    const char *control;
    bool json;
};

#define OPT_CONF                                                                     \
    {                                                                                \
        "conf", 'c', FK_OPT_STRING, offsetof(struct status_values, conf), "FILE",    \
            "the daemon's configuration, which names its control socket", 0, 0, NULL \
    }
#define OPT_CONTROL                                                                       \
    {                                                                                     \
        "control", 's', FK_OPT_STRING, offsetof(struct status_values, control), "SOCKET", \
            "the daemon's control socket", 0, 0, NULL                                     \
    }
#define OPT_END                                         \
    {                                                   \
        NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL \
    }

/* --- which socket --- */

static int socket_of_conf(const char *path, char ret[FK_PATH_SIZE])
{
    const struct fk_role_kind *role = NULL;
    struct fk_conf *conf = NULL;
    const char *control;
    int err = fk_role_conf_load(path, -1, &role, &conf);

    if (conf == NULL)
        return err;
    /* The daemon serves on with what it had when the file was good. */
    if (err == FK_ERR_CONF)
        fprintf(stderr, "%s\nfarkey: the configuration has mistakes; \"farkey check\" tells all\n",
                fk_conf_error(conf, 0));
    err = FK_OK;
    if (role == &fk_role_kinds[FK_ROLE_KEYD])
        control = ((const struct fk_keyd_conf *)fk_conf_root(conf))->control;
    else
        control = ((const struct fk_edge_conf *)fk_conf_root(conf))->control;
    if (snprintf(ret, FK_PATH_SIZE, "%s", control) >= FK_PATH_SIZE)
        err = FK_ERR_LIMIT;
    fk_conf_free(conf);
    return err;
}

int fk_status_socket(const char *conf, const char *control, char ret[FK_PATH_SIZE])
{
    int err;

    if (control != NULL) {
        snprintf(ret, FK_PATH_SIZE, "%s", control);
        return FK_OK;
    }
    if (conf == NULL) {
        fputs("farkey: give -c FILE or --control SOCKET\n", stderr);
        return FK_ERR_INVAL;
    }
    if ((err = socket_of_conf(conf, ret)) != FK_OK)
        fk_command_fail("cannot find the control socket (or give --control SOCKET) of", conf, err);
    return err;
}

/* --- printing --- */

static void print_scalar(const json_t *value)
{
    char *text;

    if (json_is_string(value)) {
        puts(json_string_value(value));
        return;
    }
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    puts(text != NULL ? text : "?");
    free(text);
}

static bool is_empty(const json_t *value)
{
    return (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

/* Nested objects as indented lines; an array's elements begin with "-". */
static void print_value(const json_t *value, int depth)
{
    const char *name;
    json_t *member;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        printf("%*s%s:", 2 * depth, "", name);
        if (is_empty(member)) {
            puts(" none");
        } else if (json_is_object(member) || json_is_array(member)) {
            putchar('\n');
            print_value(member, depth + 1);
        } else {
            putchar(' ');
            print_scalar(member);
        }
    }
    json_array_foreach(value, i, member)
    {
        printf("%*s-%c", 2 * depth, "",
               json_is_object(member) || json_is_array(member) ? '\n' : ' ');
        if (json_is_object(member) || json_is_array(member))
            print_value(member, depth + 1);
        else
            print_scalar(member);
    }
}

static void print_answer(const json_t *answer, bool json)
{
    if (json) {
        json_dumpf(answer, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        putchar('\n');
    } else {
        print_value(answer, 0);
    }
}

static int ask(const struct status_values *values, const char *word, const char *argument)
{
    char path[FK_PATH_SIZE];
    json_t *answer = NULL;
    int err, status;

    if (fk_status_socket(values->conf, values->control, path) != FK_OK)
        return 1;
    if ((err = fk_ctl_ask(path, word, argument, TIMEOUT_US, &answer)) != FK_OK)
        return fk_command_fail("cannot ask the daemon at", path, err);
    print_answer(answer, values->json);
    status = json_object_get(answer, "error") != NULL ? 1 : 0;
    json_decref(answer);
    return status;
}

/* --- the commands --- */

#define OPT_JSON                                                                                  \
    {                                                                                             \
        "json", 0, FK_OPT_FLAG, offsetof(struct status_values, json), NULL, "one JSON object", 0, \
            0, NULL                                                                               \
    }

int fk_cmd_status(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_CONF, OPT_CONTROL, OPT_JSON, OPT_END};
    static const struct fk_opt_command command = {
        "farkey status", "", "Show what a running edge or key server is doing.", options, 0, 0};
    struct status_values values = {0};
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    return err != FK_OK ? fk_opt_status(err) : ask(&values, "status", NULL);
}

int fk_cmd_control(int argc, char **argv)
{
    static const struct fk_opt options[] = {OPT_CONF, OPT_CONTROL, OPT_JSON, OPT_END};
    static const struct fk_opt_command command = {
        "farkey control",
        "COMMAND [ARGUMENT]",
        "Give a running daemon a command and wait for its outcome. All know status, reload and "
        "drain; "
        "an edge also upgrade, purge [URL], sites, origins, keyservers, sessions, origin-down "
        "SITE/ORIGIN, "
        "origin-up SITE/ORIGIN and rotate; a key server also keys, edges and rotate.",
        options,
        1,
        2};
    struct status_values values = {0};
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);

    return err != FK_OK ? fk_opt_status(err) : ask(&values, argv[first], argv[first + 1]);
}
