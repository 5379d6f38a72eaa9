/*
 * The inline box of one worker: reads frames from both interfaces, gives them to the box
 * (inline/box.h), sends what comes of it, and keeps its time. Its flows go on over reloads;
 * handshakes end with the generation that they began with.
 */
#ifndef FK_EDGE_WIRE_H
#define FK_EDGE_WIRE_H

#include "edge/gen.h"

struct fk_wire;

/* `idle` is called when the last connection has ended after fk_wire_drain(). */
int fk_wire_new(struct fk_loop *loop, void (*idle)(void *arg), void *arg, struct fk_wire **ret);
/* NULL is fine. What still goes on ends without a packet: nothing passes any more. */
void fk_wire_free(struct fk_wire *wire);

/* A socket (taken): enum fk_pktio_socket. FK_ERR_RANGE. */
int fk_wire_add(struct fk_wire *wire, unsigned which, int fd);
bool fk_wire_has(const struct fk_wire *wire, unsigned which);
void fk_wire_count(struct fk_wire *wire, struct fk_metrics *metrics);

/* This generation serves from now on; at the first, frames begin to pass. FK_ERR_NOMEM,
 * FK_ERR_UNEXPECTED (not all sockets), only then. */
int fk_wire_serve(struct fk_wire *wire, struct fk_gen *gen);
/* No new connections. */
void fk_wire_drain(struct fk_wire *wire);
bool fk_wire_idle(const struct fk_wire *wire);
/* Answer a question for its tables: as fk_wiretables_send(). */
int fk_wire_tell_tables(const struct fk_wire *wire, int control, uint32_t arg);
/* A site has got a certificate. */
void fk_wire_resume(struct fk_wire *wire);

#endif
