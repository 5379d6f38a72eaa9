/*
 * The BIO between a client's socket and its SSL object: first gives back bytes that were read
 * before the SSL object existed (the ClientHello, and what came with it), then reads the socket.
 * Writes go to the socket. Owns neither the socket nor the SSL object.
 *
 * It reads ahead, so that OpenSSL need not: what OpenSSL has not asked for stays in the prefix,
 * where whoever goes on with the session finds it.
 *
 * OpenSSL looks for more after each flight. A recv that was given less than it asked for has
 * emptied the socket, so that question is answered here, without a system call, until the owner
 * clears `drained` because the loop says that the socket is readable.
 */
#ifndef FK_EDGE_BIO_H
#define FK_EDGE_BIO_H

#include "base/buf.h"

#include <openssl/bio.h>

struct fk_bio {
    int fd;
    struct fk_buf *prefix; /* not asked for yet; its memory is freed when it runs empty */
    bool drained;          /* the last recv left nothing: wait for the loop to say more */
    bool eof;              /* the peer has closed its direction */
    int error;             /* errno of the failure that ended the connection, 0 */
    uint64_t in, out;      /* bytes of the socket, for the log */
};

/* A BIO over `state`, which must outlive it. NULL when out of memory. */
BIO *fk_bio_new(struct fk_bio *state);

#endif
