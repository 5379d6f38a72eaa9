/* The table of metrics.h. */
#include "keyd/metrics.h"

const struct fk_metric fk_keyd_metric_table[] = {
#define FK_KEYD_METRIC_ROW(id, name, labels, kind, help) {name, labels, FK_METRIC_##kind, help},
    FK_KEYD_METRICS(FK_KEYD_METRIC_ROW)
#undef FK_KEYD_METRIC_ROW
        {.name = NULL},
};
