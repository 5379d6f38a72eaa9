/*
 * A set of files frozen at one moment.
 *
 * A master reads its configuration and every file that it names through a live bundle, which
 * records what it read. Sealed, the record becomes a memfd that children load the same
 * configuration from, with the same code, without access to the file system: what was checked is
 * what is served, byte for byte.
 */
#ifndef FK_CONF_BUNDLE_H
#define FK_CONF_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

struct fk_bundle;

/* A live bundle: reads from the file system and records. FK_ERR_NOMEM. */
int fk_bundle_new(struct fk_bundle **ret);

/* A bundle over a sealed memfd (the caller keeps the descriptor). FK_ERR_FORMAT (also when it
 * is not sealed), FK_ERR_SYS, FK_ERR_NOMEM. */
int fk_bundle_open(int fd, struct fk_bundle **ret);

/* Wipes all contents that it owns. NULL is fine. */
void fk_bundle_free(struct fk_bundle *bundle);

/*
 * The directory that relative paths were relative to when the live bundle was made; a sealed bundle
 * remembers it, so that children name files as their master did.
 */
const char *fk_bundle_base(const struct fk_bundle *bundle);

/*
 * The contents of a file, borrowed until the bundle is freed; a NUL follows the last byte. A live
 * bundle reads the file at the first call, and remembers when there is none. Only regular files are
 * read. FK_ERR_SYS (errno), FK_ERR_NOT_FOUND, FK_ERR_LIMIT (FK_BUNDLE_*_MAX), FK_ERR_NOMEM.
 */
int fk_bundle_read(struct fk_bundle *bundle, const char *path, const uint8_t **ret,
                   size_t *ret_len);

/*
 * The same for a file that holds a secret: FK_ERR_EXPOSED when other users may reach it
 * (exposed.h). A sealed bundle has been judged when it was made.
 */
int fk_bundle_read_secret(struct fk_bundle *bundle, const char *path, const uint8_t **ret,
                          size_t *ret_len);

/*
 * The paths that match a glob pattern, sorted; borrowed. Recorded as well. No match: 0 paths.
 * FK_ERR_SYS (a directory that cannot be read), FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_bundle_glob(struct fk_bundle *bundle, const char *pattern, const char *const **ret,
                   size_t *ret_count);

/*
 * Add contents under a name of the caller's choice (things that are not files). FK_ERR_DUPLICATE
 * when the bundle has the name already, FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_bundle_add(struct fk_bundle *bundle, const char *path, const void *data, size_t len);

/*
 * Forget one file (a private key that only the signer may get), wiping its copy. A bundle over a
 * memfd only hides it: the memfd is shared and cannot be written.
 */
void fk_bundle_drop(struct fk_bundle *bundle, const char *path);

/* Write everything into a memfd sealed against change. The caller owns *ret_fd. FK_ERR_SYS,
 * FK_ERR_NOMEM. */
int fk_bundle_seal(const struct fk_bundle *bundle, int *ret_fd);

/* Walk the recorded files: calls for index 0.. until FK_ERR_NOT_FOUND. */
int fk_bundle_at(const struct fk_bundle *bundle, size_t index, const char **ret_path,
                 const uint8_t **ret, size_t *ret_len);

#endif
