/*
 * Whether a file that holds a secret, or the directory around it, is open to other users. One rule
 * for every key and passphrase of both daemons.
 */
#ifndef FK_CONF_EXPOSED_H
#define FK_CONF_EXPOSED_H

#include <stdbool.h>
#include <sys/stat.h>

/*
 * A secret is owned by root or by the effective user, others have no right at all, and the group
 * may read at most. True when that is not so: the answer to it is FK_ERR_EXPOSED.
 */
bool fk_secret_is_exposed(const struct stat *st);

/*
 * A directory of secrets: others may not put files in it, unless it is sticky. FK_ERR_EXPOSED_DIR,
 * FK_ERR_SYS (errno).
 */
int fk_secret_check_directory(const char *path);

#endif
