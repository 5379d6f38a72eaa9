/*
 * Whom a worker lets in: connections in all and of one client address, handshakes a second. Looked
 * at before any memory or cryptography is spent on a client.
 */
#ifndef FK_EDGE_ADMIT_H
#define FK_EDGE_ADMIT_H

#include "edge/conf.h"
#include "loop/peers.h"

struct fk_admit; /* counts of one worker; outlives reloads */

int fk_admit_new(struct fk_admit **ret);
void fk_admit_free(struct fk_admit *admit);

/* A client that was let in; zero: none. Its address is kept so that it can be let out. */
struct fk_admitted {
    struct fk_peer *peer; /* NULL: addresses were not counted then */
    bool counted;
};

/* One connection more. */
void fk_admit_connection(struct fk_admit *admit, struct fk_admitted *ret);

/*
 * Count it for its client's address, once that is known. FK_ERR_LIMIT: too many connections of this
 * address. FK_ERR_NOMEM. See loop/peers.h.
 */
int fk_admit_address(struct fk_admit *admit, const struct fk_edge_limits *limits,
                     const struct fk_addr *peer, struct fk_admitted *admitted);
void fk_admit_leave(struct fk_admit *admit, struct fk_admitted *admitted);

/* Connections let in now. */
uint64_t fk_admit_count(const struct fk_admit *admit);

/* One handshake more, by a token bucket of one second's size. FK_ERR_RATE. */
int fk_admit_handshake(struct fk_admit *admit, const struct fk_edge_limits *limits,
                       uint64_t now_us);

#endif
