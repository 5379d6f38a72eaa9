/*
 * A front's handshakers: requests to them and their answers. A handshake that has begun is asked
 * for at the handshaker that has it; a new one goes to the one with the fewest requests under way,
 * and waits for the next when the last has just died.
 */
#ifndef FK_KEYD_HS_POOL_H
#define FK_KEYD_HS_POOL_H

#include "keyd/hs_link.h"
#include "signer/client.h"

struct fk_hs_pool;

/* FK_ERR_TIMEOUT after `deadline_us` of one request. FK_ERR_NOMEM. */
int fk_hs_pool_new(struct fk_loop *loop, uint64_t deadline_us, struct fk_hs_pool **ret);
/* No callback is made any more. NULL is fine. */
void fk_hs_pool_free(struct fk_hs_pool *pool);

/* Another deadline, for requests from now on. */
void fk_hs_pool_set(struct fk_hs_pool *pool, uint64_t deadline_us);

/* Handshaker `index` (FK_KEYD_CHILDREN_MAX at most), or its successor: takes the socket. Requests
 * to a predecessor fail. FK_ERR_RANGE, FK_ERR_NOMEM. */
int fk_hs_pool_add(struct fk_hs_pool *pool, int fd, unsigned index);

#define FK_HS_ANY UINT32_MAX

/* Copied before submit returns. */
struct fk_hs_ask {
    struct fk_hs_head head; /* but for id and len */
    uint32_t index;         /* of the handshaker; FK_HS_ANY */
    struct fk_reader payload;
};

/*
 * `done` is called once, never from within. Its errors: the handshaker's; FK_ERR_UNAVAILABLE: it
 * has gone; FK_ERR_TIMEOUT. Submitting fails with FK_ERR_UNAVAILABLE (there is none),
 * FK_ERR_EXPIRED (not this one, so the handshake is gone), FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_hs_pool_submit(struct fk_hs_pool *pool, const struct fk_hs_ask *ask, fk_signer_done_cb *done,
                      void *arg);

#endif
