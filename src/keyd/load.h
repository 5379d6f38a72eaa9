/*
 * One generation of what the master has loaded: configuration, keys, and the bundle for fronts.
 * Everything is checked here, before any process is told: children load the same bytes by the same
 * code and find nothing new to complain about.
 */
#ifndef FK_KEYD_LOAD_H
#define FK_KEYD_LOAD_H

#include "keyd/conf.h"
#include "keyd/store.h"

struct fk_keyd_load {
    uint32_t generation;
    struct fk_conf *loaded;
    const struct fk_keyd_conf *conf; /* `user` and `signer_user` say which, written or not */
    struct fk_store *store;
    struct fk_secret *ticket_secret; /* FK_TICKET_SHARED_SECRET bytes; NULL: none */
    struct fk_secret *admin_token;   /* what the admin process asks for; NULL: nothing */
    int bundle_fd;                   /* sealed, for fronts */
};

/*
 * Load generation `generation` from the file `path`, or, when `frozen` is not NULL, the keys and
 * the channel's files anew under the configuration of `frozen` as it was then. A key that an edge
 * may use by its name and that is not there is a warning in the log. `previous` (may be NULL) is
 * what is served: for retired keys; with `verbose` fronts log everything. *ret is given with FK_OK
 * and, for its errors only, with FK_ERR_CONF. FK_ERR_NOMEM, FK_ERR_SYS.
 */
int fk_keyd_load_new(const char *path, bool verbose, uint32_t generation,
                     const struct fk_keyd_load *frozen, const struct fk_keyd_load *previous,
                     struct fk_keyd_load **ret);
void fk_keyd_load_free(struct fk_keyd_load *load);

#endif
