/*
 * An end of a relay (edge/relay.h): a plain socket, TLS by OpenSSL, or TLS by the record engine
 * after OpenSSL has shaken hands. Owns neither the socket nor the session.
 */
#ifndef FK_EDGE_END_H
#define FK_EDGE_END_H

#include "base/buf.h"
#include "tls/chatter.h"
#include "tls/record.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

/* Room for bytes on their way, shared by all connections of a process. */
struct fk_scratch {
    uint8_t *mem;
    size_t size;
};

struct fk_end;

/*
 * What an end can do.
 *
 * read: bytes, which are at *ret_data within `dst`; 0 when the peer has ended its direction in
 * order, FK_ERR_AGAIN, FK_ERR_CLOSED (reset, or TLS ended without close_notify), FK_ERR_TLS,
 * FK_ERR_LIMIT (too much that is no data: tls/chatter.h); and what is not the peer's doing,
 * FK_ERR_NOMEM and FK_ERR_CRYPTO. `len` is the end's `least` or more.
 * write: bytes taken (at least 1), or the same errors. The end may hold some of them back:
 * fk_end_pending().
 * flush: send what it holds back. FK_OK: it holds nothing; or the same errors.
 * finish: nothing more will be written (shutdown or close_notify): FK_OK or the same errors.
 * refuse: the session is over, for a reason of ours. The engine says it by the fatal alert,
 * OpenSSL, which cannot be asked for one, by close_notify. Sent at once or not at all.
 */
struct fk_end_ops {
    ssize_t (*read)(struct fk_end *end, uint8_t *dst, size_t len, uint8_t **ret_data);
    ssize_t (*write)(struct fk_end *end, const uint8_t *src, size_t len);
    int (*flush)(struct fk_end *end);
    int (*finish)(struct fk_end *end);
    void (*refuse)(struct fk_end *end, uint8_t alert);
};

struct fk_end {
    const struct fk_end_ops *ops; /* NULL: not there yet; what is for it waits */
    int fd;
    unsigned read_needs; /* FK_IO_*: what a blocked read waits for */
    size_t least;        /* a read has to have as much room */
    bool ready;          /* a read may give something: see fk_end_notify() */
    bool eof;            /* the socket has ended (TLS: without close_notify) */
    /* TLS by OpenSSL */
    SSL *ssl;
    struct fk_chatter chatter;
    struct fk_buf *in; /* read before, and not whole yet */
    /* TLS by the record engine */
    struct fk_record *record;
    struct fk_buf out;             /* sealed, and not sent yet */
    const struct fk_scratch *seal; /* FK_EDGE_SEALED_MAX bytes */
    bool ended;                    /* the peer's close_notify has been read */
    bool finishing;                /* ours is sealed */
    int err;                       /* what the next read says */
};

void fk_end_plain(struct fk_end *end, int fd);
/* What has been read from a plain socket already, and stays the caller's. */
void fk_end_begin_with(struct fk_end *end, struct fk_buf *in);
/* `end` stays where it is as long as `ssl` is used. */
void fk_end_tls(struct fk_end *end, int fd, SSL *ssl);

/* `in`: what has been read from the socket already; the end goes on to keep there what it cannot
 * use yet. It must have room for FK_EDGE_RECORD_MAX bytes. */
void fk_end_record(struct fk_end *end, int fd, struct fk_record *record, struct fk_buf *in,
                   const struct fk_scratch *seal);

/* Forget what it holds. Zero ends are fine. */
void fk_end_fini(struct fk_end *end);

/* Whether it has bytes that wait to be sent. */
static inline bool fk_end_pending(const struct fk_end *end)
{
    return fk_buf_len(&end->out) > 0;
}

/* Tell an end which FK_IO_* its socket is ready for, before fk_relay_pump(). */
void fk_end_notify(struct fk_end *end, unsigned events);

#endif
