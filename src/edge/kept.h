/*
 * Connections to one origin that no request uses now, kept for the next ones of any client. One of
 * which anything is heard is closed: an origin has nothing to say unasked.
 */
#ifndef FK_EDGE_KEPT_H
#define FK_EDGE_KEPT_H

#include "base/list.h"
#include "loop/loop.h"

#include <openssl/ssl.h>

struct fk_kept {
    struct fk_loop *loop;
    struct fk_list list; /* longest kept first */
    size_t n;
};

void fk_kept_init(struct fk_kept *kept, struct fk_loop *loop);
/* Closes all. */
void fk_kept_fini(struct fk_kept *kept);

/* Keep a connection, and TLS over it (NULL: none), for so long; takes both. With FK_EDGE_KEPT_MAX
 * kept the oldest is closed; without memory this one. */
void fk_kept_put(struct fk_kept *kept, int fd, SSL *ssl, uint64_t for_us);

/* The one kept last of which nothing was heard, both the caller's. -1: none. */
int fk_kept_take(struct fk_kept *kept, SSL **ret_ssl);

/* Close the one kept longest, if any. */
void fk_kept_drop(struct fk_kept *kept);

#endif
