/*
 * Loading a configuration in the master: everything that it names is read and checked here, once;
 * workers get what was read as a sealed bundle, signers the private keys of mode `local`.
 */
#ifndef FK_EDGE_LOAD_H
#define FK_EDGE_LOAD_H

#include "edge/conf.h"
#include "edge/role.h"
#include "edge/why.h"
#include "base/secret.h"
#include "loop/watch.h"

#include <stdint.h>

struct fk_loaded {
    const struct fk_edge_role *role;
    struct fk_conf *conf;            /* never NULL in a loaded one */
    const struct fk_edge_conf *root; /* `user` and `signer_user` say which, written or not */
    int bundle_fd;                   /* for workers: no private key of a site in it */
    int keys_fd;                     /* for signers; -1: no site has its key here */
    uint8_t keys[32];                /* fingerprint of what is in keys_fd */
    struct fk_secret *admin_token;   /* what the admin process asks for; NULL: nothing */
};

/*
 * Load `path`; with `verbose` the workers log everything. Errors are logged, each with file and
 * line, and the first is noted in *why; *ret then is not touched. No private key is left in this
 * process's memory, either way.
 */
int fk_loaded_new(const struct fk_edge_role *role, const char *path, bool verbose,
                  struct fk_why *why, struct fk_loaded **ret);

/*
 * What is in service as `old`, with those of the files as they are now that a change was seen of:
 * the channel's, sites' certificates (with their keys in mode `local`), OCSP responses, and what
 * clients and origins are judged by. A site whose changed files do not go together keeps what it
 * has; that is logged. *ret is NULL when nothing is to be taken in. Errors as above, also when the
 * channel's files alone are of no use.
 */
int fk_loaded_renew(const struct fk_loaded *old, const char *path, struct fk_why *why,
                    struct fk_loaded **ret);

/* Watch all these files, from now on. Errors as fk_watch_set(). */
int fk_loaded_watch(const struct fk_loaded *loaded, struct fk_watch *watch);

void fk_loaded_free(struct fk_loaded *loaded);

#endif
