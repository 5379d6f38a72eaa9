/* The daemons' configurations, for commands that take any. */
#ifndef FK_CLI_CONF_KIND_H
#define FK_CLI_CONF_KIND_H

#include "conf/conf.h"

struct fk_role_kind {
    const char *name; /* "keyd", "edge", "inline" */
    const struct fk_conf_kind *kind;
    /* Load and check it all, with the keys and certificates that it names. */
    int (*load)(const char *path, struct fk_bundle *bundle, struct fk_conf **ret);
};

enum { FK_ROLE_KEYD, FK_ROLE_EDGE, FK_ROLE_INLINE, FK_ROLE_KINDS };

extern const struct fk_role_kind fk_role_kinds[];

/*
 * Load a configuration by its tables alone, of role `wanted` (FK_ROLE_*, or -1: whose it is is
 * found out). As fk_conf_load(); *ret_role is set with *ret.
 */
int fk_role_conf_load(const char *path, int wanted, const struct fk_role_kind **ret_role,
                      struct fk_conf **ret);

#endif
