/* Finding a command in a table, and reporting failures in one form. */
#include "cli/commands.h"

#include "base/err.h"
#include "cli/options.h"

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

static int run_mdoc(const struct fk_command *row)
{
    char name[32], mdoc[] = FK_OPT_MDOC;
    char *argv[] = {name, mdoc, NULL};

    snprintf(name, sizeof name, "%s", row->name);
    return row->run(2, argv);
}

static int list_mdoc(const struct fk_command *table)
{
    int status = 0;

    for (; table->name != NULL && status == 0; table++)
        if (table->help != NULL)
            status = run_mdoc(table);
    return status;
}

static void print_upper(const char *text)
{
    for (; *text != '\0'; text++)
        putchar(*text >= 'a' && *text <= 'z' ? *text - 'a' + 'A' : *text);
}

static int print_page(const struct fk_command *row)
{
    int status;

    fputs(".Dd $Mdocdate$\n.Dt FARKEY-", stdout);
    print_upper(row->name);
    printf(" 1\n.Os\n.Sh NAME\n.Nm farkey-%s\n.Nd %s\n.Sh DESCRIPTION\n", row->name, row->help);
    status = run_mdoc(row);
    puts(".Sh EXIT STATUS\n0 when done, 1 when it failed, 2 for wrong usage.\n"
         ".Sh SEE ALSO\n.Xr farkey 1");
    return status;
}

int fk_command_page(const struct fk_command *table, const char *name)
{
    for (const struct fk_command *row = table; row->name != NULL; row++)
        if (row->help != NULL && strcmp(row->name, name) == 0)
            return print_page(row);
    fprintf(stderr, "farkey manual: there is no command \"%s\"; see farkey help\n", name);
    return 2;
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
    if (strcmp(argv[1], FK_OPT_MDOC) == 0)
        return list_mdoc(table);
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
