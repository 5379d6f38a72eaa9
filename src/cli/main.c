/* farkey(1): finds the subcommand, or the child's role, and hands over to it. */
#include "admin/admin.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/demo.h"
#include "edge/edge.h"
#include "edge/metrics.h"
#include "edge/wireverdicts.h"
#include "keyd/audit_log.h"
#include "keyd/keyd.h"
#include "keyd/metrics.h"
#include "signer/signer.h"
#include "token/token.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* --- children: `farkey child ROLE INDEX`, started by a master only (loop/proc.h) --- */

static int admin_main(const char *role, unsigned index)
{
    static const struct fk_admin_role tables[] = {
        {"keyd", fk_keyd_metric_table},
        {"audit", fk_audit_metric_table},
        {"edge", fk_edge_metrics},
        {"signer", fk_signer_metric_table},
        {"token", fk_token_metric_table},
        {"inline", fk_inline_metrics},
        {NULL, NULL},
    };

    (void)role;
    return fk_admin_main(index, tables);
}

static int signer_main(const char *role, unsigned index)
{
    (void)role;
    return fk_signer_main(index);
}

static int token_main(const char *role, unsigned index)
{
    (void)role;
    return fk_token_main(index);
}

static int verdicts_main(const char *role, unsigned index)
{
    (void)role;
    return fk_wireverdicts_main(index);
}

static int origin_main(const char *role, unsigned index)
{
    (void)role;
    return fk_demo_origin_main(index);
}

static int relay_main(const char *role, unsigned index)
{
    (void)role;
    return fk_demo_relay_main(index);
}

struct child_row {
    const char *role;
    int (*run)(const char *role, unsigned index);
};

static const struct child_row children[] = {
    {"admin", admin_main},
    {"signer", signer_main},
    {"keyd-front", fk_keyd_child},
    {"keyd-audit", fk_keyd_child},
    {"keyd-handshaker", fk_keyd_child},
    {"keyd-asker", fk_keyd_child},
    {"edge-worker", fk_edge_child},
    {"inline-worker", fk_edge_child},
    {FK_WIREVERDICTS_ROLE, verdicts_main},
    {"demo-origin", origin_main},
    {"demo-relay", relay_main},
    {"token", token_main},
};

static int run_child(int argc, char **argv)
{
    uint64_t index;

    if (argc != 3 || fk_text_u64(argv[2], strlen(argv[2]), &index) != 0 || index > UINT_MAX)
        return 2;
    for (size_t i = 0; i < sizeof children / sizeof children[0]; i++)
        if (strcmp(children[i].role, argv[1]) == 0)
            return children[i].run(argv[1], (unsigned)index);
    return 2;
}

/* --- commands --- */

static int run_manual(int argc, char **argv);

static const struct fk_command commands[] = {
    {"demo", fk_cmd_demo, "see an edge without a private key at work"},
    {"init", fk_cmd_init, "lay out a CA, an edge and a key server"},
    {"check", fk_cmd_check, "check a configuration"},
    {"keyd", fk_cmd_keyd, "hold keys and serve operations with them (foreground)"},
    {"edge", fk_cmd_edge, "accept clients; the keys are elsewhere (foreground)"},
    {"inline", fk_cmd_inline, "add TLS to connections on their way (foreground)"},
    {"status", fk_cmd_status, "show what a daemon is doing"},
    {"control", fk_cmd_control, "give a daemon a command"},
    {"key", fk_cmd_key, "sites' keys: generate, csr, install, list"},
    {"ca", fk_cmd_ca, "the private authority: issue, renew, revoke, list"},
    {"audit", fk_cmd_audit, "verify the log of key operations"},
    {"manual", run_manual, "print a manual page"},
    {"child", run_child, NULL},
    {NULL, NULL, NULL},
};

/* "key.1" is the page of a command of the table above. */
static int run_manual(int argc, char **argv)
{
    size_t len = argc == 2 ? strlen(argv[1]) : 0;

    if (len <= 2 || strcmp(argv[1] + len - 2, ".1") != 0)
        return fk_cmd_manual(argc, argv);
    argv[1][len - 2] = '\0';
    return fk_command_page(commands, argv[1]);
}

int main(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0)) {
        puts("farkey " FK_VERSION);
        return 0;
    }
    return fk_command_run(commands, "farkey", argc, argv);
}
