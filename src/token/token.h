/*
 * The process of one token, an HSM or TPM: as a signer it answers fixed requests over socketpairs
 * (signer/request.h) and checks each of them itself, but its private keys are in the token. It runs
 * the token's driver, so it has a sandbox of its own (FK_SANDBOX_TOKEN).
 *
 * What its master sends: FK_PROC_KEYS (a bundle with a token; arg: the token's number),
 * FK_PROC_METRICS (optional), FK_PROC_PEER (kind FK_PEER_FRONT), FK_PROC_GO (data: the user to
 * become); later more FK_PROC_PEER and FK_PROC_DRAIN. It answers FK_PROC_READY as soon as it
 * answers requests, whether or not the token is there: one that is away must not keep others from
 * serving. What becomes of the token it tells by FK_PROC_STATUS: struct fk_token_report.
 */
#ifndef FK_TOKEN_TOKEN_H
#define FK_TOKEN_TOKEN_H

#include "loop/metrics.h"
#include "token/back.h"
#include "token/state.h"

#include <stdint.h>

/* FK_PROC_STATUS's data: both ends are the same program. */
struct fk_token_report {
    uint32_t state; /* enum fk_token_state */
    uint32_t n_keys, n_found;
    char why[FK_TOKEN_WHY_SIZE]; /* the reason, may be empty */
};

/* Rows of the metrics table. */
enum fk_token_metric {
    FK_TOKEN_METRIC_OPERATIONS,
    FK_TOKEN_METRIC_ERRORS,
    FK_TOKEN_METRIC_REFUSED,
    FK_TOKEN_METRIC_LOST,
    FK_TOKEN_METRIC_TIME,
    FK_TOKEN_METRIC_OPEN,
    FK_TOKEN_METRIC_KEYS,
};
extern const struct fk_metric fk_token_metric_table[];

/* The child "token"; its exit status. */
int fk_token_main(unsigned index);

#endif
