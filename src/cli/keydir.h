/*
 * A key directory of a key server, as the commands below `farkey key` see it. NAME.key and NAME.crt
 * are in service; a key that is generated for a name that has one waits as NAME.key.new until its
 * certificate is installed, and the one before stays as NAME.key.old.
 */
#ifndef FK_CLI_KEYDIR_H
#define FK_CLI_KEYDIR_H

#include "base/limits.h"
#include "base/secret.h"
#include "cli/files.h"

#include <openssl/evp.h>

/* DIR/NAME and an ending. FK_ERR_LIMIT. */
int fk_keydir_path(const char *dir, const char *name, const char *ending, char ret[FK_PATH_SIZE]);

/*
 * The passphrase of encrypted keys in `dir`: the first line of `file`, or, where that is NULL, of
 * the file that keyd.conf beside the directory names for it. *ret is NULL where none is named; says
 * on stderr what failed.
 */
int fk_keydir_passphrase(const char *dir, const char *file, struct fk_secret **ret);

/*
 * Read a key as the key server does (fk_key_parse()); `passphrase` may be NULL. FK_ERR_SYS,
 * FK_ERR_FORMAT, FK_ERR_PASSPHRASE, FK_ERR_UNSUPPORTED.
 */
int fk_keydir_read(const char *path, const struct fk_secret *passphrase, EVP_PKEY **ret);

/* Of NAME.token: the token that has the key; the key's public half, as the key server takes it from
 * NAME.pub or NAME.crt. FK_ERR_CONF, FK_ERR_SYS, FK_ERR_FORMAT, FK_ERR_LIMIT. */
int fk_keydir_token(const char *path, char ret[FK_NAME_MAX]);
int fk_keydir_read_public(const char *path, EVP_PKEY **ret);

/* The key that the next certificate is for: the one that waits, else the one in service. */
int fk_keydir_pending(const char *dir, const char *name, const struct fk_secret *passphrase,
                      EVP_PKEY **ret);

/* The control socket of the directory's key server: what keyd.conf beside it says, or its default.
 * FK_ERR_SYS, FK_ERR_LIMIT. */
int fk_keydir_control(const char *dir, char ret[FK_PATH_SIZE]);

/*
 * Put a certificate file in service, and the key that waits for it if there is one: both, or, when
 * this fails, neither (key_install.c).
 */
int fk_keydir_install(const char *dir, const char *name, const char *cert);

#endif
