/*
 * The master's listening sockets: one for each worker and listen block (SO_REUSEPORT). The master
 * keeps them, and those on which key servers dial in, so that clients that wait in one are served
 * by the worker's successor, and a reload opens and closes only what has changed.
 */
#ifndef FK_EDGE_SOCKETS_H
#define FK_EDGE_SOCKETS_H

#include "edge/conf.h"
#include "edge/why.h"
#include "loop/proc.h"

struct fk_sockets;

int fk_sockets_new(unsigned n_workers, struct fk_sockets **ret);
void fk_sockets_free(struct fk_sockets *sockets);

/*
 * Open what `conf` listens on and `sockets` does not have yet, or not for every worker. On failure
 * (each logged, the first noted in *why with address and reason) what was opened is closed again.
 * FK_ERR_SYS, FK_ERR_FORMAT, FK_ERR_NOMEM.
 */
int fk_sockets_open(struct fk_sockets *sockets, const struct fk_edge_conf *conf,
                    struct fk_why *why);

/* --- from one master to its successor --- */

/* Which are next to be given; all zero: the first. */
struct fk_sockets_place {
    size_t group;
    unsigned worker;
};

/*
 * The next few as a message, FK_PROC_LISTEN: arg: the first one's worker; data: whether all workers
 * share them u8, address vec16, device vec16 unless any will do. Its descriptors stay this side's.
 * FK_ERR_NOT_FOUND: that was all.
 */
int fk_sockets_give(const struct fk_sockets *sockets, struct fk_sockets_place *place,
                    struct fk_procmsg *ret);

/*
 * Take what fk_sockets_give() made; those of more workers than there are here are left in `msg`.
 * fk_sockets_open() then opens what lacks. FK_ERR_TRUNCATED, FK_ERR_FORMAT, FK_ERR_LIMIT,
 * FK_ERR_NOMEM.
 */
int fk_sockets_take(struct fk_sockets *sockets, struct fk_procmsg *msg);

/* Close what `conf` does not listen on. */
void fk_sockets_prune(struct fk_sockets *sockets, const struct fk_edge_conf *conf);

/* Close all. */
void fk_sockets_close(struct fk_sockets *sockets);

/* The socket of a block for a worker, -1 when there is none. */
int fk_sockets_get(const struct fk_sockets *sockets, const struct fk_edge_listen *listen,
                   unsigned worker);

/* The same for a key server that dials in (`accept`): one socket, which all workers share. */
int fk_sockets_get_dialled(const struct fk_sockets *sockets, const struct fk_edge_keyserver *server,
                           unsigned worker);

#endif
