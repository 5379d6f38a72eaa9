/* The tables of the metrics of the edge and of the inline box. */
#include "edge/metrics.h"

const struct fk_metric fk_edge_metrics[] = {
#define METRIC(id, name, labels, kind, help) {"farkey_edge_" name, labels, FK_METRIC_##kind, help},
    FK_EDGE_METRICS(METRIC)
#undef METRIC
        {NULL, NULL, FK_METRIC_COUNTER, NULL},
};

const struct fk_metric fk_inline_metrics[] = {
#define METRIC(id, name, labels, kind, help) \
    {"farkey_inline_" name, labels, FK_METRIC_##kind, help},
#define EVENT(id, name, help) \
    {"farkey_inline_events_total", "event=\"" name "\"", FK_METRIC_COUNTER, help},
    FK_EDGE_METRICS(METRIC) FK_FLOW_COUNTERS(EVENT) FK_BOX_COUNTERS(EVENT) FK_WIRE_METRICS(METRIC)
#undef METRIC
#undef EVENT
        {NULL, NULL, FK_METRIC_COUNTER, NULL},
};
