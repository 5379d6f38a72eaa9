/*
 * A front's end of the audit log: lines go in, batches go out to the audit process.
 *
 * Lines are kept until the audit process says that they are in the file, so that its death loses
 * none: a new audit process gets them again (a line may then stand twice, never not at all). Owned
 * by one front; bounded by FK_AUDIT_SINK_MAX.
 */
#ifndef FK_KEYD_AUDIT_SINK_H
#define FK_KEYD_AUDIT_SINK_H

#include "keyd/audit_line.h"
#include "loop/loop.h"

#include <stdbool.h>

struct fk_audit_sink;

/* `refuse`: the policy on_failure = refuse. FK_ERR_NOMEM. */
int fk_audit_sink_new(struct fk_loop *loop, bool refuse, struct fk_audit_sink **ret);
void fk_audit_sink_free(struct fk_audit_sink *sink);

/* A (new) audit process: takes the stream socket `fd`; lines not acknowledged are sent again. */
int fk_audit_sink_attach(struct fk_audit_sink *sink, int fd);

/*
 * Whether operations may go on: false when the policy is to refuse and lines cannot be written
 * (disk full, no audit process, or one that is so late that the queue is half full). Ask before an
 * operation is handed to a signer; refuse with FK_ERR_UNAVAILABLE.
 */
bool fk_audit_sink_ready(const struct fk_audit_sink *sink);

/*
 * Microseconds for which operations should rather wait than be refused: the audit process has gone
 * (or not come yet) and is expected back, FK_AUDIT_GAP_US after it went at the latest. 0: do not
 * wait, fk_audit_sink_ready() says what to do.
 */
uint64_t fk_audit_sink_gap(const struct fk_audit_sink *sink);

/* The audit process cannot write, or there is none. */
bool fk_audit_sink_failing(const struct fk_audit_sink *sink);

/* Queue a line; sent before the loop waits next. Without room the line is counted as lost. */
void fk_audit_sink_write(struct fk_audit_sink *sink, const struct fk_audit_event *event);

/* Lines not yet in the file; lines lost for want of room (only with refuse off). */
uint64_t fk_audit_sink_pending(const struct fk_audit_sink *sink);
uint64_t fk_audit_sink_lost(const struct fk_audit_sink *sink);

#endif
