/*
 * Connections counted by the address of the peer, so that one peer does not take the places of all.
 * IPv6 peers are counted by /64, which is what one of them owns; UNIX sockets are not counted.
 */
#ifndef FK_LOOP_PEERS_H
#define FK_LOOP_PEERS_H

#include "loop/addr.h"

struct fk_peers; /* a table of addresses; not shared between threads */
struct fk_peer;  /* an address with connections */

/* FK_ERR_NOMEM; FK_ERR_SYS without random bytes. */
int fk_peers_new(struct fk_peers **ret);

/* Entries still held must not be used any more. NULL is fine. */
void fk_peers_free(struct fk_peers *peers);

/*
 * One connection more of `addr`, at most `max` of them; 0: nothing is counted. The entry is what it
 * is counted under, until fk_peers_leave(); NULL: it is not counted. FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_peers_join(struct fk_peers *peers, const struct fk_addr *addr, uint64_t max,
                  struct fk_peer **ret);

/* What connections of `addr` are counted under; NULL: there are none. */
struct fk_peer *fk_peers_find(struct fk_peers *peers, const struct fk_addr *addr);

/* How many there are; NULL: none. */
uint32_t fk_peer_connections(const struct fk_peer *peer);

/* One connection less; NULL is fine. *peer becomes NULL. */
void fk_peers_leave(struct fk_peers *peers, struct fk_peer **peer);

#endif
