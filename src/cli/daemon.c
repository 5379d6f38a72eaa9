/* `farkey keyd`, `farkey edge`, and `farkey inline`: their command lines; what they do is keyd/ and
 * edge/. */
#include "base/err.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "edge/edge.h"
#include "keyd/keyd.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct daemon_values {
    const char *conf;
    bool verbose;
};

static const struct fk_opt options[] = {
    {"conf", 'c', FK_OPT_STRING, offsetof(struct daemon_values, conf), "FILE",
     "the configuration; required. Relative paths in it are relative to its directory", 0, 0, NULL},
    {"verbose", 'v', FK_OPT_FLAG, offsetof(struct daemon_values, verbose), NULL,
     "log at level debug, whatever log_level says", 0, 0, NULL},
    {NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int run(const struct fk_opt_command *command, int (*daemon)(const char *path, bool verbose),
               int argc, char **argv)
{
    struct daemon_values values = {.conf = NULL};
    int first, err = fk_opt_parse(command, &values, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (values.conf == NULL) {
        fprintf(stderr, "%s: name a configuration with -c FILE; see %s --help\n", command->name,
                command->name);
        return 2;
    }
    return daemon(values.conf, values.verbose);
}

int fk_cmd_keyd(int argc, char **argv)
{
    static const struct fk_opt_command command = {
        "farkey keyd",
        "",
        "Hold keys and serve operations with them to edges, in the foreground; log to stderr.\n"
        "SIGHUP reloads the configuration and the keys, SIGTERM finishes what is under way and "
        "ends.",
        options,
        0,
        0};

    return run(&command, fk_keyd_main, argc, argv);
}

int fk_cmd_edge(int argc, char **argv)
{
    static const struct fk_opt_command command = {
        "farkey edge",
        "",
        "Accept clients by TLS with keys that are elsewhere, in the foreground; log to stderr.\n"
        "SIGHUP reloads the configuration, SIGUSR2 has the program's present file take over, "
        "SIGTERM\nfinishes what is under way and ends.",
        options,
        0,
        0};

    return run(&command, fk_edge_main, argc, argv);
}

int fk_cmd_inline(int argc, char **argv)
{
    static const struct fk_opt_command command = {
        "farkey inline",
        "",
        "Stand between clients and servers and add TLS to their connections, in the foreground;\n"
        "log to stderr. SIGHUP reloads the configuration, SIGTERM finishes what is under way and "
        "ends.\nfarkey inline tables shows what a running one has.",
        options,
        0,
        0};

    if (argc > 1 && strcmp(argv[1], "tables") == 0)
        return fk_cmd_inline_tables(argc - 1, argv + 1);
    return run(&command, fk_inline_main, argc, argv);
}
