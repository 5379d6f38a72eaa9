/*
 * A store of TLS 1.2 sessions outside of this host: what it must offer to a server's context
 * (server_ctx.h). It is trusted with nothing: it gets entries that are sealed (sesentry.h), under
 * session ids, which everybody on the wire sees.
 *
 * Never waited for in vain: a find has an end, and what cannot be found is a full handshake.
 */
#ifndef FK_TLS_SESSTORE_H
#define FK_TLS_SESSTORE_H

#include <stddef.h>
#include <stdint.h>

#define FK_SESSTORE_ID 32 /* bytes of an id: OpenSSL's */

struct fk_sesstore;
struct fk_sesstore_find; /* one under way, opaque */

/* Called once, never from within find() or cancel(); may free the store. FK_OK: an entry, valid
 * during the call; FK_ERR_NOT_FOUND, FK_ERR_TIMEOUT, FK_ERR_UNAVAILABLE. */
typedef void fk_sesstore_done_cb(void *arg, int err, const uint8_t *data, size_t len);

struct fk_sesstore_ops {
    /* Else than FK_OK: `done` will not be called. FK_ERR_UNAVAILABLE, FK_ERR_LIMIT, FK_ERR_NOMEM.
     */
    int (*find)(struct fk_sesstore *store, const uint8_t id[FK_SESSTORE_ID],
                fk_sesstore_done_cb *done, void *arg, struct fk_sesstore_find **ret);
    void (*cancel)(struct fk_sesstore *store, struct fk_sesstore_find *find);
    /* Keep a copy of an entry for so long; it may be lost. */
    void (*put)(struct fk_sesstore *store, const uint8_t id[FK_SESSTORE_ID], const void *entry,
                size_t len, uint64_t life_ms);
};

/* Embedded first in a store's own struct. */
struct fk_sesstore {
    const struct fk_sesstore_ops *ops;
};

#endif
