/* Finding a command in a table, and reporting failures in one form. */
#include "cli/commands.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void list_commands(const struct fk_command *table, const char *name, FILE *out)
{
    fprintf(out, "usage: %s COMMAND [options] ...\n\n", name);
    for (; table->name != NULL; table++)
        if (table->help != NULL)
            fprintf(out, "  %-14s %s\n", table->name, table->help);
    fprintf(out, "\nEach command has --help.\n");
}

int fk_command_run(const struct fk_command *table, const char *name, int argc, char **argv)
{
    if (argc < 2) {
        list_commands(table, name, stderr);
        return 2;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        list_commands(table, name, stdout);
        return 0;
    }
    for (const struct fk_command *row = table; row->name != NULL; row++)
        if (strcmp(row->name, argv[1]) == 0)
            return row->run(argc - 1, argv + 1);
    fprintf(stderr, "%s: there is no command \"%s\"; see %s help\n", name, argv[1], name);
    return 2;
}

int fk_command_fail(const char *what, const char *object, int err)
{
    int number = errno;

    fprintf(stderr, "farkey: %s %s: %s\n", what, object,
            err == FK_ERR_SYS ? strerror(number) : fk_err_text(err));
    return 1;
}
