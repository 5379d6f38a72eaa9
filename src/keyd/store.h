/*
 * The key store as the master reads it: the directories of the configuration, each with NAME.key,
 * NAME.crt and NAME.policy. Made whole or not at all: a bad file is reported with its name and the
 * caller keeps the set that it has.
 *
 * This is the only code that reads private keys, in a process of its own that ends with the
 * reading (store_load.c). They leave it as one sealed memfd for signers; a store that is loaded
 * holds that descriptor and public facts, no key.
 */
#ifndef FK_KEYD_STORE_H
#define FK_KEYD_STORE_H

#include "base/limits.h"
#include "base/secret.h"
#include "keyd/conf.h"
#include "keyd/index.h"

#include <stdbool.h>
#include <stdint.h>

struct fk_store;

/* Told of everything that is wrong: the file, and what (a sentence without full stop). */
typedef void fk_store_complain(void *arg, const char *path, const char *what);

/*
 * Read all directories. `audit_secret` (32 bytes) goes to the signers beside the keys; NULL: none.
 * `previous`, if any, is the set in service: a key of it that was replaced by another under the
 * same name is retired: served on, but not named by INFO, for limits { retire }.
 * A key in a token is not retired so, and a token of `previous` about which nothing has changed
 * keeps its number. FK_ERR_CONF when there were complaints, FK_ERR_NOMEM, FK_ERR_SYS.
 */
int fk_store_load(const struct fk_keyd_conf *conf, const uint8_t *audit_secret,
                  const struct fk_store *previous, fk_store_complain *complain, void *arg,
                  struct fk_store **ret);
void fk_store_free(struct fk_store *store);

/* The sealed key bundle (FK_PROC_KEYS); stays the store's. */
int fk_store_keys_fd(const struct fk_store *store);

/* A token of the store, with the bundle for its process. */
struct fk_store_token {
    char name[FK_NAME_MAX];
    char user[FK_NAME_MAX + 1]; /* that its process becomes */
    int type;                   /* enum fk_token_type */
    uint16_t number;            /* of its process: keys in the index have it; never 0 */
    bool renew;                 /* it gets a new process with the next store, unchanged or not */
    int fd;                     /* sealed; the store's */
};

/* Token `i`, borrowed; NULL at the end. */
const struct fk_store_token *fk_store_token_at(const struct fk_store *store, size_t i);
/* The token has a process that is of no use: see `renew`. */
void fk_store_renew_token(struct fk_store *store, uint16_t number);

/* The encoded index for fronts (FK_INDEX_PATH); borrowed. */
const uint8_t *fk_store_index(const struct fk_store *store, size_t *ret_len);

/* Public facts of the keys, for status. `ret_not_after`: end of the leaf certificate's life,
 * seconds since 1970, 0 without certificate. NULL at the end. */
const struct fk_index_key *fk_store_at(const struct fk_store *store, size_t i,
                                       int64_t *ret_not_after);
size_t fk_store_count(const struct fk_store *store);
/* When the first retired key ends (fk_clock_us()), 0 when none is: load again then. */
uint64_t fk_store_next_retirement(const struct fk_store *store);

/* Read a small regular file into guarded memory, with a NUL after its `*ret_len` bytes. FK_ERR_SYS,
 * FK_ERR_LIMIT (empty, too large, not a file), FK_ERR_NOMEM. */
int fk_store_read_secret(const char *path, struct fk_secret **ret, size_t *ret_len);

/* The first line of a passphrase file, NUL-terminated. Fails as fk_store_read_secret(). */
int fk_store_read_passphrase(const char *path, struct fk_secret **ret);

#endif
