/*
 * One process that uses this signer: its socket and bounded buffers. Reads many requests at once,
 * carries them out for a limited time, sends their results in one write. Private to the signer
 * process.
 */
#ifndef FK_SIGNER_PEER_H
#define FK_SIGNER_PEER_H

#include "base/limits.h"
#include "loop/metrics.h"
#include "loop/proc.h"
#include "signer/ops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fk_signer_peer {
    int fd;
    enum fk_proc_peer kind; /* decides what it may ask for */
    uint32_t index;
    size_t in_head, in_tail;   /* unread part of `in` */
    size_t out_head, out_tail; /* unsent part of `out` */
    uint8_t in[FK_SIGNER_IN_MAX];
    uint8_t out[FK_SIGNER_OUT_MAX];
};

/* Takes the socket `fd`. FK_ERR_NOMEM. */
int fk_signer_peer_new(int fd, enum fk_proc_peer kind, uint32_t index, struct fk_signer_peer **ret);
void fk_signer_peer_free(struct fk_signer_peer *peer); /* closes, wipes */

/* The events of poll(2) to wait for; none of POLLIN while its results pile up. */
short fk_signer_peer_events(const struct fk_signer_peer *peer);

/* Whether there is work without waiting: a whole request read, and room for its result. */
bool fk_signer_peer_busy(const struct fk_signer_peer *peer);

/*
 * One turn: read if `readable`, work off the part FK_SIGNER_TURN_PART of what waits (one request at
 * least), send. FK_OK; FK_ERR_CLOSED when the peer has gone, FK_ERR_FORMAT when what it sends is
 * not requests: the caller frees it.
 */
int fk_signer_peer_turn(struct fk_signer_peer *peer, struct fk_ops *ops, struct fk_metrics *metrics,
                        bool readable);

/* Rows of the metrics table (signer/signer.h). */
enum fk_signer_metric {
    FK_SIGNER_METRIC_SIGN13,
    FK_SIGNER_METRIC_SIGN12,
    FK_SIGNER_METRIC_DECRYPT,
    FK_SIGNER_METRIC_DIALECT1,
    FK_SIGNER_METRIC_LEND,
    FK_SIGNER_METRIC_OTHER,
    FK_SIGNER_METRIC_ERRORS,
    FK_SIGNER_METRIC_TIME,
    FK_SIGNER_METRIC_PEERS,
    FK_SIGNER_METRIC_KEYS,
    FK_SIGNER_METRIC_HANDLES,
};

#endif
