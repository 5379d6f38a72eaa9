/*
 * A worker's listening sockets of one generation: accepting, and what happens when descriptors or
 * connections run out.
 */
#ifndef FK_EDGE_LISTENER_H
#define FK_EDGE_LISTENER_H

#include "edge/conn.h"

struct fk_listeners;

/* For the listen blocks of `gen` (referenced until freed); none has a socket yet. */
int fk_listeners_new(struct fk_conn_env *env, struct fk_gen *gen, struct fk_listeners **ret);
/* Close the sockets. NULL is fine. */
void fk_listeners_free(struct fk_listeners *listeners);

/* The socket of listen block `index` (taken). FK_ERR_RANGE, FK_ERR_DUPLICATE: then closed. */
int fk_listeners_add(struct fk_listeners *listeners, size_t index, int fd);

/* Begin, or go on after a pause. */
void fk_listeners_start(struct fk_listeners *listeners);
/* Stop for now: connections wait in the kernel. */
void fk_listeners_pause(struct fk_listeners *listeners);
/* Take what waits in the kernel, before the sockets are closed for good. */
void fk_listeners_flush(struct fk_listeners *listeners);

#endif
