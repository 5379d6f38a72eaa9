/*
 * The block `admin` of both daemons: where their HTTP listener is, and the token that it asks for.
 * A listener that others than this host's own processes can reach needs one.
 */
#ifndef FK_ADMIN_CONF_H
#define FK_ADMIN_CONF_H

#include "base/secret.h"
#include "conf/bundle.h"
#include "conf/conf.h"

struct fk_admin_conf {
    struct fk_conf_block block;
    char *listen;
    char *token; /* path of the file that has it; NULL: none is asked for */
};

/* Of a block in the edge's (and the inline box's) and in the key server's configuration. */
extern const struct fk_conf_option fk_admin_edge_options[], fk_admin_keyd_options[];

/* The `check` of such a kind: no token where one is needed. */
void fk_admin_conf_check(void *block, struct fk_conf *conf);

/*
 * The token of `admin` (NULL: there is no such block), read through `bundle`, which forgets it.
 * What is wrong with the file is noted in `conf`. The caller owns *ret, which is NULL when there is
 * none. FK_ERR_NOMEM.
 */
int fk_admin_token_read(const struct fk_admin_conf *admin, struct fk_bundle *bundle,
                        struct fk_conf *conf, struct fk_secret **ret);

#endif
