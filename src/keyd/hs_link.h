/*
 * The way between a front and a handshaker: messages over a stream socketpair, in either direction.
 * Both ends are the same program on the same machine: fixed heads in host byte order. What is in
 * them is checked all the same: a handshaker reads what hostile clients send.
 */
#ifndef FK_KEYD_HS_LINK_H
#define FK_KEYD_HS_LINK_H

#include "base/buf.h"
#include "base/reader.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define FK_HS_KEYS_MAX 3 /* one a type of key */

struct fk_hs_head {
    uint32_t len; /* of the payload that follows */
    uint32_t id;  /* of the request, given back in its answer */
    int32_t err;  /* answers: FK_ERR_*; then there is no payload */
    /* requests */
    uint32_t generation; /* HS_OPEN: of the front's set */
    uint16_t edge;       /* its number: what is counted */
    uint8_t opcode;
    uint8_t n_keys;     /* HS_OPEN: keys that it may use for this */
    uint16_t share_len; /* HS_OPEN: so much at the payload's end is a sealed share */
    uint16_t zero;
    uint8_t owner[32];                /* SHA-256 of the edge's identity: whose a handshake is */
    uint8_t skis[FK_HS_KEYS_MAX][20]; /* which */
};

_Static_assert(sizeof(struct fk_hs_head) == 116, "padding would leak");

struct fk_hs_link;

struct fk_hs_link_ops {
    /* A message; the payload is borrowed during the call, which may not free the link. */
    void (*message)(struct fk_hs_link *link, const struct fk_hs_head *head,
                    struct fk_reader payload);
    /* The other end has gone, or says what is no message. May free the link. */
    void (*lost)(struct fk_hs_link *link);
};

/* Embedded in its owner. */
struct fk_hs_link {
    const struct fk_hs_link_ops *ops;
    int fd;
    struct fk_io io;
    struct fk_defer flush;
    struct fk_buf in, out; /* wiped: session keys pass through */
};

/* Takes the socket `fd`. */
void fk_hs_link_open(struct fk_hs_link *link, struct fk_loop *loop, int fd,
                     const struct fk_hs_link_ops *ops);
void fk_hs_link_close(struct fk_hs_link *link);

/*
 * Send a message, before the loop waits next; head->len is set here. While much is unsent
 * (FK_HANDSHAKER_QUEUE_MAX) nothing is read. FK_ERR_LIMIT: there is no room; FK_ERR_NOMEM.
 */
int fk_hs_link_send(struct fk_hs_link *link, struct fk_hs_head *head, struct fk_reader payload);

#endif
