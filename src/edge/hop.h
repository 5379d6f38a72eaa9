/*
 * A connection to an origin as requests use it: wished for, made or taken from those that are kept,
 * used, kept again or closed. One a client of HTTP/1, one a stream of HTTP/2.
 *
 * Moves bytes between an origin and the queues of a fetch (http/fetch.h); its owner's connection is
 * stepped when something has happened.
 */
#ifndef FK_EDGE_HOP_H
#define FK_EDGE_HOP_H

#include "edge/end.h"
#include "edge/origin.h"
#include "http/fetch.h"

enum fk_hop_state {
    FK_HOP_NONE,
    FK_HOP_CONNECTING,
    FK_HOP_FAILED, /* hop->err says why; until fk_hop_drop() */
    FK_HOP_UP,
};

struct fk_conn;

struct fk_hop {
    struct fk_conn *conn;
    enum fk_hop_state state;
    int err;
    bool fresh; /* the next one is to be made: one that was kept has just failed */
    bool late;  /* an answer has not begun in time; until it is left */
    struct fk_timer patience;
    struct fk_origin_use use;
    struct fk_io io;
    struct fk_end end;
};

void fk_hop_init(struct fk_hop *hop, struct fk_conn *conn);

/* Begin: afterwards it is in another state than FK_HOP_NONE. */
void fk_hop_start(struct fk_hop *hop);
/* Close what there is: FK_HOP_NONE. */
void fk_hop_drop(struct fk_hop *hop);
/* It is up, and may serve others: FK_HOP_NONE. */
void fk_hop_keep(struct fk_hop *hop);

/* What a client is told of a failure: 502, 503, 504. */
int fk_hop_status(const struct fk_hop *hop);

/* Read once, if `reads` and there may be something: into fetch->in, or its end noted. *ret_moved:
 * something came. FK_ERR_NOMEM. */
int fk_hop_read(struct fk_hop *hop, struct fk_fetch *fetch, bool reads, bool *ret_moved);
/* Write what waits in fetch->out. An origin that reads no more may have answered all the same: it
 * is forgotten. FK_ERR_NOMEM. */
int fk_hop_write(struct fk_hop *hop, struct fk_fetch *fetch);
/* Watch its socket for what is to come; `waits`: for an answer, which has its time. */
void fk_hop_watch(struct fk_hop *hop, const struct fk_fetch *fetch, bool reads, bool waits);

/* Write what waits in `buf`. FK_ERR_AGAIN: the end takes no more now; or its errors. */
int fk_end_drain(struct fk_end *end, struct fk_buf *buf);
/* The end of a connection to an origin: plain, or TLS. */
void fk_end_origin(struct fk_end *end, const struct fk_origin_use *use);
/* The FK_IO_* to wait for at an end. */
unsigned fk_end_wants(const struct fk_end *end, bool reads, const struct fk_buf *out);

#endif
