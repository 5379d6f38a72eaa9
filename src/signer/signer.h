/*
 * The signer process: the only one that holds private keys. It has no network socket, opens no
 * file, and answers fixed requests (signer/request.h) over socketpairs.
 *
 * What its master sends: FK_PROC_KEYS, FK_PROC_METRICS and FK_PROC_TICKETS (both optional),
 * FK_PROC_PEER (kind FK_PEER_FRONT, FK_PEER_WORKER or FK_PEER_AUDIT: decides which operations are
 * accepted), FK_PROC_GO (data: the user to become). It answers FK_PROC_READY or FK_PROC_FAILED;
 * later more FK_PROC_PEER, FK_PROC_TICKETS and FK_PROC_DRAIN. One signer serves one generation of
 * keys: a reload starts new signers.
 */
#ifndef FK_SIGNER_SIGNER_H
#define FK_SIGNER_SIGNER_H

#include "loop/metrics.h"

/* Metrics of a signer: for the master's memory and the admin process. */
extern const struct fk_metric fk_signer_metric_table[];

/* The child "signer"; its exit status. */
int fk_signer_main(unsigned index);

#endif
