/*
 * The worker: the process that clients talk to. Holds session secrets, ticket keys and the edge's
 * own channel identity; never a site's private key. Learns everything from its master over the
 * control socket; reads no file.
 */
#ifndef FK_EDGE_WORKER_H
#define FK_EDGE_WORKER_H

#include "edge/role.h"

/* The child's main function. Returns its exit status. */
int fk_worker_main(const struct fk_edge_role *role, unsigned index);

#endif
