/*
 * Bytes both ways between two ends, each TLS or a plain socket, with bounded buffers, back-pressure
 * and half-close.
 *
 * Owns the bytes that wait, not the ends. In the usual case nothing waits: bytes go through a
 * scratch area of the process straight from one end into the other, and an idle relay holds no
 * buffer. Knows no time-outs and watches no descriptor: its owner asks what it wants and calls.
 */
#ifndef FK_EDGE_RELAY_H
#define FK_EDGE_RELAY_H

#include "base/buf.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fk_end;

/*
 * What an end can do. read: bytes, 0 when the peer has ended its direction in order, FK_ERR_AGAIN,
 * FK_ERR_CLOSED (reset, or TLS ended without close_notify), FK_ERR_TLS. write: bytes taken (at
 * least 1), or the same errors. finish: nothing more will be written (shutdown or close_notify):
 * FK_OK or the same errors.
 */
struct fk_end_ops {
    ssize_t (*read)(struct fk_end *end, void *dst, size_t len);
    ssize_t (*write)(struct fk_end *end, const void *src, size_t len);
    int (*finish)(struct fk_end *end);
};

struct fk_end {
    const struct fk_end_ops *ops; /* NULL: not there yet; what is for it waits */
    int fd;
    SSL *ssl;
    unsigned read_needs; /* FK_IO_*: what a blocked read waits for */
    bool ready;          /* a read may give something: see fk_end_notify() */
    bool eof;            /* the socket has ended (TLS: without close_notify) */
};

void fk_end_plain(struct fk_end *end, int fd);
void fk_end_tls(struct fk_end *end, int fd, SSL *ssl);

/* Tell an end which FK_IO_* its socket is ready for, before fk_relay_pump(). */
void fk_end_notify(struct fk_end *end, unsigned events);

/* One direction. */
struct fk_flow {
    struct fk_buf buf;
    bool ended;    /* the source has ended, or the sink is broken: nothing more is read */
    bool finished; /* the sink was told */
    bool cut;      /* the sink broke before the source ended: what it still sends is not read */
    uint64_t bytes;
};

struct fk_relay {
    struct fk_end client, origin;
    struct fk_flow up, down; /* client to origin, origin to client */
};

/* `max`: bytes that may wait in each direction. */
void fk_relay_init(struct fk_relay *relay, size_t max);
void fk_relay_fini(struct fk_relay *relay);

/* Room for bytes on their way, shared by all relays of a process. */
struct fk_scratch {
    uint8_t *mem;
    size_t size;
};

enum fk_relay_state {
    FK_RELAY_OPEN,
    FK_RELAY_HALF, /* one side has ended */
    FK_RELAY_DONE, /* both have, and everything was delivered */
    FK_RELAY_CUT,  /* the same, but the client has not ended: the origin takes no more */
};

/*
 * Move what can be moved. FK_OK with *ret_state; an error of an end (FK_ERR_CLOSED, FK_ERR_TLS) or
 * FK_ERR_NOMEM ends the connection. *ret_again: stopped for fairness, call again soon.
 */
int fk_relay_pump(struct fk_relay *relay, const struct fk_scratch *scratch,
                  enum fk_relay_state *ret_state, bool *ret_again);

/* The FK_IO_* to wait for at each end before the next fk_relay_pump(). */
unsigned fk_relay_client_wants(const struct fk_relay *relay);
unsigned fk_relay_origin_wants(const struct fk_relay *relay);

#endif
