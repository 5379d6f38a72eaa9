/*
 * The audit process ("keyd-audit"): takes lines from fronts, chains them (keyd/audit_chain.h) and
 * appends them to the file that its master opened. Holds the chain's present MAC key, nothing else
 * that is secret; asks a signer for a new chain and for signatures of checkpoints.
 *
 * What its master sends: FK_PROC_LOG (the file, opened O_RDWR | O_APPEND; data: struct
 * fk_audit_settings, then the head line of the head file if there is one), FK_PROC_PEER of kind
 * FK_PEER_SIGNER and FK_PEER_FRONT, FK_PROC_GO (data: the user). Later: FK_PROC_LOG again
 * (rotation: the chain goes on in the new file; data not needed), more peers, FK_PROC_DRAIN.
 * What it sends: FK_PROC_READY, FK_PROC_FAILED, and FK_PROC_STATUS: the present head as text
 * (FK_AUDIT_HEAD_MAX bytes at most), which the master writes to the head file beside the log
 * ("audit.log.head"): what `farkey audit verify --head` detects a cut tail with.
 */
#ifndef FK_KEYD_AUDIT_LOG_H
#define FK_KEYD_AUDIT_LOG_H

#include "loop/metrics.h"

#include <stdint.h>

/* FK_PROC_LOG's data, host byte order (both ends are the same program). */
struct fk_audit_settings {
    uint32_t checkpoint_lines;   /* a checkpoint after so many lines; 0: 1000 */
    uint32_t checkpoint_seconds; /* and after so many seconds if there were lines; 0: 10 */
    uint32_t refuse;             /* 1: on_failure = refuse; 0: go on without a log */
    uint32_t sync;               /* 1: fdatasync() each batch before it is acknowledged */
};

/* Metrics of the audit process: for the master's memory and the admin process. */
enum fk_audit_metric {
    FK_AUDIT_METRIC_LINES,
    FK_AUDIT_METRIC_CHECKPOINTS,
    FK_AUDIT_METRIC_BATCHES,
    FK_AUDIT_METRIC_WRITE_ERRORS,
    FK_AUDIT_METRIC_FAILING, /* 1: the file takes no bytes */
};
extern const struct fk_metric fk_audit_metric_table[];

/* The child "keyd-audit"; its exit status. */
int fk_audit_main(unsigned index);

#endif
