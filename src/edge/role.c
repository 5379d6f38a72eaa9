/* The two daemons: see role.h. */
#include "edge/role.h"

#include "edge/conf.h"
#include "edge/metrics.h"

#include <string.h>

const struct fk_edge_role fk_role_edge = {
    .name = "edge",
    .ready = "edge is ready",
    .cannot_start = "edge cannot start",
    .worker = "edge-worker",
    .conf = &fk_edge_conf_kind,
    .metrics = fk_edge_metrics,
    .n_metrics = FK_EDGE_METRIC_COUNT,
};

const struct fk_edge_role fk_role_inline = {
    .name = "inline",
    .ready = "inline box is ready",
    .cannot_start = "inline box cannot start",
    .worker = "inline-worker",
    .conf = &fk_inline_conf_kind,
    .metrics = fk_inline_metrics,
    .n_metrics = FK_INLINE_METRIC_COUNT,
};

const struct fk_edge_role *fk_role_of_worker(const char *worker)
{
    if (strcmp(worker, fk_role_edge.worker) == 0)
        return &fk_role_edge;
    return strcmp(worker, fk_role_inline.worker) == 0 ? &fk_role_inline : NULL;
}
