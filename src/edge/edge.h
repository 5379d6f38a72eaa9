/* Entry points of the edge, for farkey(1). */
#ifndef FK_EDGE_EDGE_H
#define FK_EDGE_EDGE_H

#include "conf/conf.h"

#include <stdbool.h>

/* `farkey edge`: the master, in the foreground; `file`: its configuration, `verbose`: log at level
 * debug. Returns the exit status. */
int fk_edge_main(const char *file, bool verbose);

/* `farkey child edge-worker INDEX`: a child of it. Returns the exit status. */
int fk_edge_child(const char *role, unsigned index);

/*
 * Load and check a whole configuration, certificates and keys included, reading through `bundle`:
 * what the master serves, and what `farkey check` runs. Private keys of mode `local` are read,
 * compared with their certificates and dropped from the bundle again. `user` and `signer_user` have
 * this host's defaults. As fk_conf_load() otherwise.
 */
int fk_edge_load(const char *path, struct fk_bundle *bundle, struct fk_conf **ret);

/* The same for farkey inline. */
int fk_inline_main(const char *file, bool verbose);
int fk_inline_load(const char *path, struct fk_bundle *bundle, struct fk_conf **ret);

#endif
