/* farkey(1): finds the subcommand and hands over to it. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct fk_command commands[] = {
    {"init", fk_cmd_init, "lay out a CA, an edge and a key server"},
    {"check", fk_cmd_check, "check a configuration"},
    {"status", fk_cmd_status, "show what a daemon is doing"},
    {"control", fk_cmd_control, "give a daemon a command"},
    {"key", fk_cmd_key, "sites' keys: generate, csr, install, list"},
    {"ca", fk_cmd_ca, "the private authority: issue, renew, revoke, list"},
    {"manual", fk_cmd_manual, NULL},
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
