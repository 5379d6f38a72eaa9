/*
 * The options `user` and `signer_user` of both daemons: whom children become when the daemon was
 * started as root.
 */
#ifndef FK_CONF_USERS_H
#define FK_CONF_USERS_H

#include "conf/conf.h"

/* Check of such an option (conf/conf.h): a name that a child can be told. */
const char *fk_users_check(const void *value);

/*
 * For a master: give the root block's two options, where they are not written (NULL), this host's
 * defaults, because children see no account. As root, a user that this host does not have is
 * complained of: no new child could start. FK_ERR_NOMEM.
 */
int fk_users_set(struct fk_conf *conf, const char *user, const char *signer_user);

/* The same for the option `user` of another block, whose default is `account`. */
int fk_users_set_of(struct fk_conf *conf, struct fk_conf_block *block, const char *written,
                    const char *account);

#endif
