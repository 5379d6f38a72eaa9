/* farkey(1): finds the subcommand and hands over to it. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct fk_command commands[] = {
    {"ca", fk_cmd_ca, "the private authority: issue, renew, revoke, list"},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0)) {
        puts("farkey " FK_VERSION);
        return 0;
    }
    return fk_command_run(commands, "farkey", argc, argv);
}
