/* `farkey inline tables`: what the box knows of sessions and connections, live, and what is queued.
 */
#include "base/err.h"
#include "cli/commands.h"
#include "cli/ctl.h"
#include "cli/options.h"
#include "cli/status.h"
#include "edge/wiretables.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_US 60000000
#define COLUMNS    20
#define GAP        2

struct tables_values {
    const char *conf;
    const char *control;
    bool json;
};

/* A column and the member of a row that is in it. */
struct column {
    const char *title, *member;
};

/* As the tables are printed. */
static const struct column sessions[] = {
    {"SESSION", "session"},
    {"SITE", "site"},
    {"SNI", "sni"},
    {"VERSION", "version"},
    {"CIPHER", "cipher"},
    {"MAC", "mac"},
    {"SOURCE", "source"},
    {"DESTINATION", "destination"},
    {"MASTER SECRET", "master_secret"},
    {"EXPIRES", "expires"},
    {"CLIENT CERTIFICATE", "client_certificate"},
    {"CONNECTIONS", "connections"},
    {NULL, NULL},
};

static const struct column connections[] = {
    {"SOURCE", "source"},
    {"PORT", "source_port"},
    {"DESTINATION", "destination"},
    {"PORT", "destination_port"},
    {"SESSION", "session"},
    {"STATE", "state"},
    {"SERVER KEY", "server_key"},
    {"SERVER MAC KEY", "server_mac_key"},
    {"CLIENT KEY", "client_key"},
    {"CLIENT MAC KEY", "client_mac_key"},
    {"SERVER IV", "server_iv"},
    {"CLIENT IV", "client_iv"},
    {"SEQUENCE", "sequence"},
    {"ACK", "ack"},
    {"WINDOW", "window"},
    {"MAC STATE", "mac_state"},
    {NULL, NULL},
};

static const struct column queue[] = {
    {"SOURCE", "source"},         {"PORT", "source_port"}, {"DESTINATION", "destination"},
    {"PORT", "destination_port"}, {"FROM", "from"},        {"SEQUENCE", "sequence"},
    {"BYTES", "bytes"},           {"Q STATE", "q_state"},  {NULL, NULL},
};

static const struct {
    const char *title;
    const struct column *columns;
} tables[FK_WIRETABLE_COUNT] = {
    [FK_WIRETABLE_SESSIONS] = {"Table I: sessions", sessions},
    [FK_WIRETABLE_CONNECTIONS] = {"Table II: connections", connections},
    [FK_WIRETABLE_QUEUE] = {"Table III: queue state", queue},
};

/* --- printing --- */

/* The text of a cell, which `scratch` may hold. */
static const char *cell(const json_t *row, const char *member, char scratch[32])
{
    const json_t *value = json_object_get(row, member);

    if (json_is_string(value))
        return json_string_value(value);
    if (!json_is_integer(value))
        return "-";
    snprintf(scratch, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return scratch;
}

static void print_row(const struct column *columns, const size_t *widths, const json_t *row)
{
    char scratch[32];

    for (size_t i = 0; columns[i].title != NULL; i++) {
        const char *text = row == NULL ? columns[i].title : cell(row, columns[i].member, scratch);

        if (columns[i + 1].title == NULL)
            puts(text);
        else
            printf("%-*s", (int)(widths[i] + GAP), text);
    }
}

static void print_table(const struct column *columns, const json_t *rows)
{
    size_t widths[COLUMNS], n;
    char scratch[32];
    json_t *row;

    for (size_t i = 0; columns[i].title != NULL; i++)
        widths[i] = strlen(columns[i].title);
    json_array_foreach(rows, n, row)
    {
        for (size_t i = 0; columns[i].title != NULL; i++) {
            size_t len = strlen(cell(row, columns[i].member, scratch));

            widths[i] = len > widths[i] ? len : widths[i];
        }
    }
    print_row(columns, widths, NULL);
    json_array_foreach(rows, n, row)
    {
        print_row(columns, widths, row);
    }
}

static int print_answer(const json_t *answer, bool json)
{
    const char *error = json_string_value(json_object_get(answer, "error"));
    json_int_t left_out = json_integer_value(json_object_get(answer, "left_out"));
    bool first = true;

    if (json) {
        json_dumpf(answer, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        putchar('\n');
        return error == NULL ? 0 : 1;
    }
    if (error != NULL) {
        fprintf(stderr, "farkey inline tables: refused: %s\n", error);
        return 1;
    }
    for (unsigned i = 0; i < FK_WIRETABLE_COUNT; i++) {
        const json_t *rows = json_object_get(answer, fk_wiretable_words[i]);

        if (rows == NULL)
            continue;
        printf("%s%s\n", first ? "" : "\n", tables[i].title);
        print_table(tables[i].columns, rows);
        first = false;
    }
    if (left_out > 0)
        printf("\n%" JSON_INTEGER_FORMAT " more rows are not shown.\n", left_out);
    return 0;
}

/* --- the command --- */

static bool is_table(const char *word)
{
    for (unsigned i = 0; i < FK_WIRETABLE_COUNT; i++)
        if (strcmp(word, fk_wiretable_words[i]) == 0)
            return true;
    return false;
}

static int ask(const struct tables_values *values, const char *table)
{
    char path[FK_PATH_SIZE], word[32];
    json_t *answer = NULL;
    int err, status;

    snprintf(word, sizeof word, "tables%s%s", table == NULL ? "" : "-", table == NULL ? "" : table);
    if (fk_status_socket(values->conf, values->control, path) != FK_OK)
        return 1;
    if ((err = fk_ctl_ask(path, word, NULL, TIMEOUT_US, &answer)) != FK_OK)
        return fk_command_fail("cannot ask the box at", path, err);
    status = print_answer(answer, values->json);
    json_decref(answer);
    return status;
}

int fk_cmd_inline_tables(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        {"conf", 'c', FK_OPT_STRING, offsetof(struct tables_values, conf), "FILE",
         "the box's configuration, which names its control socket", 0, 0, NULL},
        {"control", 's', FK_OPT_STRING, offsetof(struct tables_values, control), "SOCKET",
         "the box's control socket", 0, 0, NULL},
        {"json", 0, FK_OPT_FLAG, offsetof(struct tables_values, json), NULL, "one JSON object", 0,
         0, NULL},
        {NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL},
    };
    static const struct fk_opt_command command = {
        "farkey inline tables",
        "[session|connection|queue]",
        "Show the tables of a running inline box: its sessions, their connections, and the bytes\n"
        "that it holds or has ready. Of a secret they say whether it is there.",
        options,
        0,
        1};
    struct tables_values values = {0};
    int first, err = fk_opt_parse(&command, &values, argc, argv, &first);
    const char *table = err == FK_OK && first < argc ? argv[first] : NULL;

    if (err != FK_OK)
        return fk_opt_status(err);
    if (table != NULL && !is_table(table)) {
        fprintf(stderr,
                "farkey inline tables: there is no table \"%s\"; write session, connection, queue, "
                "or nothing for all\n",
                table);
        return 2;
    }
    return ask(&values, table);
}
