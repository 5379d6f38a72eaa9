/*
 * Bytes both ways between two ends, each TLS or a plain socket, with bounded buffers, back-pressure
 * and half-close.
 *
 * Owns the bytes that wait, not the sockets and sessions. In the usual case nothing waits: bytes go
 * through a scratch area of the process straight from one end into the other, and an idle relay
 * holds no buffer. Knows no time-outs and watches no descriptor: its owner asks what it wants and
 * calls.
 */
#ifndef FK_EDGE_RELAY_H
#define FK_EDGE_RELAY_H

#include "base/buf.h"
#include "edge/end.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One direction. */
struct fk_flow {
    struct fk_buf buf;
    size_t max;    /* nothing is read while as much waits */
    bool ended;    /* the source has ended, or the sink is broken: nothing more is read */
    bool finished; /* the sink was told */
    bool cut;      /* the sink broke before the source ended: what it still sends is not read */
    uint64_t bytes;
};

struct fk_relay {
    struct fk_end client, origin;
    struct fk_flow up, down; /* client to origin, origin to client */
};

/* `max`: bytes that may wait in each direction, and some more from an end that gives records only
 * whole (struct fk_end, least). */
void fk_relay_init(struct fk_relay *relay, size_t max);
void fk_relay_fini(struct fk_relay *relay);

enum fk_relay_state {
    FK_RELAY_OPEN,
    FK_RELAY_HALF, /* one side has ended */
    FK_RELAY_DONE, /* both have, and everything was delivered */
    FK_RELAY_CUT,  /* the same, but the client has not ended: the origin takes no more */
};

/*
 * Move what can be moved. FK_OK with *ret_state; an error of an end (edge/end.h) or
 * FK_ERR_NOMEM ends the connection. *ret_again: stopped for fairness, call again soon.
 */
int fk_relay_pump(struct fk_relay *relay, const struct fk_scratch *scratch,
                  enum fk_relay_state *ret_state, bool *ret_again);

/* The FK_IO_* to wait for at each end before the next fk_relay_pump(). */
unsigned fk_relay_client_wants(const struct fk_relay *relay);
unsigned fk_relay_origin_wants(const struct fk_relay *relay);

#endif
