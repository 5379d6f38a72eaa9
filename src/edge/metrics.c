/* The table of the edge's metrics. */
#include "edge/metrics.h"

const struct fk_metric fk_edge_metrics[] = {
#define METRIC(id, name, labels, kind, help) {"farkey_edge_" name, labels, FK_METRIC_##kind, help},
    FK_EDGE_METRICS(METRIC)
#undef METRIC
        {NULL, NULL, FK_METRIC_COUNTER, NULL},
};
