/*
 * Asking signers: a pool of signer processes reached over socketpairs, with many requests at once.
 * Used by the key server's fronts (raw requests) and by an edge with local keys (as a back-end).
 */
#ifndef FK_SIGNER_CLIENT_H
#define FK_SIGNER_CLIENT_H

#include "loop/loop.h"
#include "signer/request.h"
#include "tls/keyback.h"

#include <stdbool.h>

struct fk_signer_pool;

/* `deadline_us` of one request: FK_ERR_TIMEOUT after it. `max_outstanding` over all signers. */
int fk_signer_pool_new(struct fk_loop *loop, uint64_t deadline_us, uint32_t max_outstanding,
                       struct fk_signer_pool **ret);
/*
 * Other bounds from now on. Calls under way end by the new deadline at the latest; while there are
 * more than the new maximum of them, new ones are refused. FK_ERR_INVAL, FK_ERR_NOMEM: as before.
 */
int fk_signer_pool_set(struct fk_signer_pool *pool, uint64_t deadline_us, uint32_t max_outstanding);
void fk_signer_pool_free(struct fk_signer_pool *pool);

/*
 * A new signer of key generation `generation` (takes the socket `fd`, closes it when it fails).
 * Requests go to signers of the newest generation, the least busy first; an older generation's
 * socket is closed when its last request is answered and nothing is kept there any more. A signer
 * that dies has its requests sent to another once, then they fail with FK_ERR_UNAVAILABLE. One that
 * answers nothing for a quarter of the deadline has its requests sent to another once, too, and
 * gets no new ones while there are others, until it answers. When the last one dies, requests wait
 * for the next, new ones for FK_SIGNER_GAP_US. FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_signer_pool_add(struct fk_signer_pool *pool, int fd, uint32_t generation, unsigned index);

/* As fk_key_done_cb, with the time the signer took. */
typedef void fk_signer_done_cb(void *arg, int err, const uint8_t *data, size_t len,
                               uint32_t micros);

struct fk_signer_call; /* one request under way */

/* Where something lives at one of several signers that is asked for again. */
struct fk_signer_route {
    uint32_t signer; /* its number in the pool, from 1 on; 0: not known yet */
};

/* What to ask a signer for. Copied before submit returns, but for the route. */
struct fk_signer_ask {
    enum fk_signer_op op;
    uint16_t detail;     /* as in struct fk_signer_request */
    const uint8_t *ski;  /* FK_SKI_SIZE bytes; NULL for operations without a key */
    const void *payload; /* `len` bytes, FK_SIGNER_PAYLOAD_MAX at most */
    size_t len;
    /* What comes of it is kept by the signer that does it, under a handle (signer/handles.h): the
     * pool holds on to that signer for as long, whatever newer ones there are. */
    bool keeps;
    const uint8_t *handle; /* FK_HANDLE_SIZE bytes: only the signer that has it; NULL: any */
    /*
     * Borrowed until done or cancelled; NULL: any signer will do. Signer 0: any, and that which
     * answers is written here. Else that one alone is asked: FK_ERR_UNAVAILABLE when it is gone.
     * What one signer is asked for by one pool, it does in that order.
     */
    struct fk_signer_route *route;
};

/*
 * FK_ERR_EXPIRED when the signer that the handle is of has gone, also later as its result;
 * FK_ERR_LIMIT when too many are outstanding, FK_ERR_UNAVAILABLE when there is no signer and none
 * is expected, FK_ERR_INVAL when the payload is too long.
 */
int fk_signer_pool_submit(struct fk_signer_pool *pool, const struct fk_signer_ask *ask,
                          fk_signer_done_cb *done, void *arg, struct fk_signer_call **ret);
void fk_signer_pool_cancel(struct fk_signer_pool *pool, struct fk_signer_call *call);

uint32_t fk_signer_pool_outstanding(const struct fk_signer_pool *pool);

/* The pool as a back-end for remote keys (edge mode `local`). Lives as long as the pool. */
struct fk_keyback *fk_signer_pool_back(struct fk_signer_pool *pool);

#endif
