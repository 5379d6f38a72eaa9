/*
 * The admin process: answers operators, over HTTP (metrics, health, status) and over the daemon's
 * control socket. One a daemon, child role "admin". Holds nothing secret and decides nothing: it
 * reads the shared metrics and hands commands to its master.
 *
 * Its master sends, in this order: FK_PROC_METRICS for each table of metrics (data: whose it is:
 * "keyd", "edge", "signer", "audit"), FK_PROC_LISTEN for each listener (arg: enum
 * fk_admin_listener), FK_PROC_ACCESS, FK_PROC_FACTS or not, FK_PROC_GO (data: the user to become,
 * or empty). It answers FK_PROC_READY. FK_PROC_ACCESS and FK_PROC_FACTS may come again at any time.
 * How a master answers commands: see admin/command.h.
 */
#ifndef FK_ADMIN_ADMIN_H
#define FK_ADMIN_ADMIN_H

#include "loop/metrics.h"

/* `arg` of FK_PROC_LISTEN to the admin process. */
enum fk_admin_listener { FK_ADMIN_HTTP, FK_ADMIN_CONTROL };

/* The tables that masters may name; the list ends with a NULL name. */
struct fk_admin_role {
    const char *name;
    const struct fk_metric *metrics;
};

/* The child's main function. Returns its exit status. */
int fk_admin_main(unsigned index, const struct fk_admin_role *roles);

#endif
