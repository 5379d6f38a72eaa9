/*
 * What tells the two daemons apart whose workers shake hands with clients: the edge, where clients
 * connect to, and the inline box, which they connect through. Keys, certificates, tickets, reload,
 * and operation are the same.
 */
#ifndef FK_EDGE_ROLE_H
#define FK_EDGE_ROLE_H

#include "conf/conf.h"
#include "loop/metrics.h"

struct fk_edge_role {
    const char *name;                 /* in logs, the status, and names of metrics: "edge" */
    const char *ready, *cannot_start; /* lines of the log */
    const char *worker;               /* the role of its workers: "edge-worker" */
    const struct fk_conf_kind *conf;  /* of struct fk_edge_conf, in either case */
    const struct fk_metric *metrics;  /* begins as fk_edge_metrics does */
    unsigned n_metrics;
};

extern const struct fk_edge_role fk_role_edge, fk_role_inline;

/* By the name of its workers; NULL. */
const struct fk_edge_role *fk_role_of_worker(const char *worker);

#endif
