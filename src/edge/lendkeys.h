/*
 * A back-end for mode `lend`: operations are this host's signers', with keys that key servers lend
 * them. When a signer has not got a key (any more), it says what to ask for; this process asks, and
 * brings the answer, which only that signer can open, along with the operation. Operations that
 * want a key of a signer which is being lent it wait for that one lending.
 *
 * The seals, and what a signer does with a key: signer/lend.h, signer/ops_lent.c.
 */
#ifndef FK_EDGE_LENDKEYS_H
#define FK_EDGE_LENDKEYS_H

#include "loop/loop.h"
#include "loop/metrics.h"
#include "signer/client.h"
#include "tls/keyback.h"

struct fk_lendkeys;

struct fk_lendkeys_config {
    struct fk_loop *loop;
    struct fk_keyback *servers;     /* who lends */
    struct fk_signer_pool *signers; /* to whom */
    uint32_t seconds;               /* for how long; 0: for one operation, each a lending */
    const char *site;               /* for the log */
    struct fk_metrics *metrics;     /* NULL: none */
};

/* All that `config` refers to is borrowed and outlives it. FK_ERR_NOMEM. */
int fk_lendkeys_new(const struct fk_lendkeys_config *config, struct fk_lendkeys **ret);
/* What is under way is forgotten. NULL is fine. */
void fk_lendkeys_free(struct fk_lendkeys *keys);

/* FK_ERR_UNSUPPORTED for FK_KEY_CALL: what it borrows, it uses itself. */
struct fk_keyback *fk_lendkeys_back(struct fk_lendkeys *keys);

/* So far, for status: keys that came, and requests for them that failed. */
struct fk_lendkeys_stats {
    uint64_t lendings, failures;
};

void fk_lendkeys_stats(const struct fk_lendkeys *keys, struct fk_lendkeys_stats *ret);

#endif
