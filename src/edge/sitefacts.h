/*
 * What metrics say of a configuration's sites that no process counts: each one's mode, and whether
 * it is told master secrets. Told to the admin process whenever a configuration comes into service.
 */
#ifndef FK_EDGE_SITEFACTS_H
#define FK_EDGE_SITEFACTS_H

#include "edge/conf.h"
#include "loop/super.h"

#include <stddef.h>

/*
 * Lines in Prometheus' text format, named after the daemon's role ("edge", "inline"): the caller
 * frees *ret. Without sites there are none (*ret_len 0). FK_ERR_NOMEM.
 */
int fk_sitefacts_make(const char *role, const struct fk_edge_conf *conf, char **ret,
                      size_t *ret_len);

/* Tell the admin process. What fails is logged: metrics are then without them. */
void fk_sitefacts_send(struct fk_child *admin, const char *role, const struct fk_edge_conf *conf);

#endif
