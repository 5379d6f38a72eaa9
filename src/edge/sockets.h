/*
 * The master's listening sockets: one for each worker and listen block (SO_REUSEPORT). The master
 * keeps them, and those on which key servers dial in, so that clients that wait in one are served
 * by the worker's successor, and a reload opens and closes only what has changed.
 */
#ifndef FK_EDGE_SOCKETS_H
#define FK_EDGE_SOCKETS_H

#include "edge/conf.h"
#include "edge/why.h"

struct fk_sockets;

int fk_sockets_new(unsigned n_workers, struct fk_sockets **ret);
void fk_sockets_free(struct fk_sockets *sockets);

/*
 * Open what `conf` listens on and `sockets` does not have yet. On failure (each logged, the first
 * noted in *why with address and reason) what was opened is closed again. FK_ERR_SYS,
 * FK_ERR_FORMAT, FK_ERR_NOMEM.
 */
int fk_sockets_open(struct fk_sockets *sockets, const struct fk_edge_conf *conf,
                    struct fk_why *why);

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
