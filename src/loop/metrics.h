/*
 * Metrics in shared memory: each process of a role has a slot that only it writes; the admin
 * process reads all slots. Counting is one relaxed atomic add, no system call, no lock.
 */
#ifndef FK_LOOP_METRICS_H
#define FK_LOOP_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum fk_metric_kind { FK_METRIC_COUNTER, FK_METRIC_GAUGE, FK_METRIC_HISTOGRAM };

/* A role's table of metrics; both sides are compiled from it. Ends with a NULL name. */
struct fk_metric {
    const char *name;   /* Prometheus name: farkey_edge_handshakes_total */
    const char *labels; /* "result=\"ok\"" or NULL */
    enum fk_metric_kind kind;
    const char *help;
};

struct fk_metrics;

/* A memfd for `n_slots` processes of this table. The caller owns *ret_fd. FK_ERR_SYS. */
int fk_metrics_create(const struct fk_metric *table, size_t n_slots, int *ret_fd);
/* Map it; `fd` stays the caller's. FK_ERR_FORMAT when it was made for another table,
 * FK_ERR_NOMEM, FK_ERR_SYS. */
int fk_metrics_open(const struct fk_metric *table, int fd, struct fk_metrics **ret);
void fk_metrics_close(struct fk_metrics *metrics);

/* Which slot the following calls of this process write. */
void fk_metrics_own(struct fk_metrics *metrics, size_t slot);
/* NULL metrics are accepted and do nothing: tests and tools need none. */
void fk_metric_add(struct fk_metrics *metrics, unsigned id, uint64_t delta);
void fk_metric_set(struct fk_metrics *metrics, unsigned id, uint64_t value);
/* A histogram of microseconds, exported in seconds with buckets of powers of two. */
void fk_metric_observe(struct fk_metrics *metrics, unsigned id, uint64_t us);
/* Set a dead process's gauges to zero (its counters stay: they are the role's history). */
void fk_metrics_bury(struct fk_metrics *metrics, size_t slot);

/* Sum over slots; for status. */
uint64_t fk_metric_total(const struct fk_metrics *metrics, unsigned id);
/* Prometheus text exposition format 0.0.4. */
void fk_metrics_print(const struct fk_metrics *metrics, FILE *out);

#endif
