/*
 * A key directory of a key server, as the commands below `farkey key` see it. NAME.key and NAME.crt
 * are in service; a key that is generated for a name that has one waits as NAME.key.new until its
 * certificate is installed, and the one before stays as NAME.key.old.
 */
#ifndef FK_CLI_KEYDIR_H
#define FK_CLI_KEYDIR_H

#include "cli/files.h"

#include <openssl/evp.h>

/* DIR/NAME and an ending. FK_ERR_LIMIT. */
int fk_keydir_path(const char *dir, const char *name, const char *ending, char ret[FK_PATH_SIZE]);

/* The key that the next certificate is for: the one that waits, else the one in service. */
int fk_keydir_pending(const char *dir, const char *name, EVP_PKEY **ret);

/*
 * Put a certificate file in service, and the key that waits for it if there is one: both, or, when
 * this fails, neither (key_install.c).
 */
int fk_keydir_install(const char *dir, const char *name, const char *cert);

#endif
