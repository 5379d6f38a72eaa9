/*
 * The master's descriptors of frames: those of each worker of the inline box, opened while it has
 * the rights, and kept, so that a worker's successor goes on with what waits in them. When the
 * master ends they close, and nothing passes any more.
 */
#ifndef FK_EDGE_WIRESOCKETS_H
#define FK_EDGE_WIRESOCKETS_H

#include "edge/conf.h"
#include "inline/pktio.h"

struct fk_wiresockets;

/* Failures are logged. FK_ERR_SYS, FK_ERR_NOT_FOUND, FK_ERR_NOMEM. */
int fk_wiresockets_new(const struct fk_edge_wire *wire, unsigned n_workers,
                       struct fk_wiresockets **ret);
void fk_wiresockets_free(struct fk_wiresockets *sockets);

/* One of a worker's: enum fk_pktio_socket; -1: there is none. */
int fk_wiresockets_get(const struct fk_wiresockets *sockets, unsigned worker, unsigned which);

/* Of queue `i` its number, its socket, and the socket on which its verdicts come
 * (edge/wireverdicts.h); false: there is none, or there are no queues. */
bool fk_wiresockets_queue(const struct fk_wiresockets *sockets, unsigned i, uint16_t *ret_number,
                          int ret_fds[2]);

/* Whether they are of these interfaces. */
bool fk_wiresockets_match(const struct fk_wiresockets *sockets, const struct fk_edge_wire *wire);

#endif
