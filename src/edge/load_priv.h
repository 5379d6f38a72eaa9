/* Loading's parts to each other: load.c (what a configuration names, checked), load_renew.c (files
 * that have changed, under the configuration in service). */
#ifndef FK_EDGE_LOAD_PRIV_H
#define FK_EDGE_LOAD_PRIV_H

#include "conf/bundle.h"
#include "edge/keyread.h"
#include "edge/load.h"

struct fk_loading {
    const struct fk_edge_role *role;
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    const struct fk_edge_conf *root;
    struct fk_keyread *keys; /* NULL: not read, and not to be judged */
    size_t next_key;         /* the next site's first in it */
    struct fk_secret *admin_token;
};

/* Complain of what is wrong with the files of a site, the channel, the lend key. Sites are looked
 * at in their order when there are keys; fk_loading_skip_site(): not at this one. */
void fk_loading_check_site(struct fk_loading *loading, const struct fk_edge_site *site);
void fk_loading_skip_site(struct fk_loading *loading, const struct fk_edge_site *site);
void fk_loading_check_channel(struct fk_loading *loading);
void fk_loading_check_lend_key(struct fk_loading *loading);

/* The defaults of accounts, and `root`, of a configuration that was parsed. FK_ERR_NOMEM. */
int fk_loading_set_root(struct fk_loading *loading);

/* Why a configuration is refused, in the log and in *why. */
void fk_loading_log_errors(const struct fk_conf *conf, const char *path, int err,
                           struct fk_why *why);

#endif
