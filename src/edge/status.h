/* What `farkey status` shows of an edge: a worker's part, and putting the parts together. */
#ifndef FK_EDGE_STATUS_H
#define FK_EDGE_STATUS_H

#include "edge/gen.h"

/*
 * Send a worker's status to its master: FK_PROC_STATUS messages, JSON in pieces, `arg` 1 in the
 * last. `gen` may be NULL.
 */
int fk_status_send(int control, const struct fk_gen *gen);

#endif
