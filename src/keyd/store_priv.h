/* Shared by the files that make up the key store; see store.h. */
#ifndef FK_KEYD_STORE_PRIV_H
#define FK_KEYD_STORE_PRIV_H

#include "keyd/store.h"
#include "signer/keyset.h"
#include "signer/keyset_token.h"

#include <openssl/evp.h>
#include <stdbool.h>

struct fk_store_key {
    struct fk_index_key index;
    int64_t not_after;
    uint64_t retired_until_us; /* when index.retired */
};

struct fk_store_report {
    fk_store_complain *complain;
    void *arg;
    size_t count;
};

void fk_store_say(struct fk_store_report *report, const char *path, const char *what);

/*
 * Read NAME.crt and NAME.policy beside `key_path` into names, addresses, chain, permissions and
 * expiry of `key`; what is wrong is said. `pkey` is NULL when the key is of no use: the rest is
 * judged without it. FK_ERR_NOMEM.
 */
int fk_store_read_beside(const char *key_path, EVP_PKEY *pkey, struct fk_store_key *key,
                         struct fk_store_report *report);

/* Tell the signers of the edges that sign, once the store has its index; what is wrong is said.
 * FK_ERR_CONF, FK_ERR_NOMEM, FK_ERR_LIMIT. */
int fk_store_add_edges(const struct fk_keyd_conf *conf, const struct fk_store *store,
                       struct fk_keyset_builder *builder, struct fk_store_report *report);

/* --- store_token.c --- */

struct fk_store_tokens; /* the tokens of a configuration, while their keys are read */

/* Where a key is, and its public half. */
struct fk_store_place {
    unsigned number; /* of the token in the configuration, from 1 */
    struct fk_token_place place;
    EVP_PKEY *pkey;
};

/* What is wrong is said. FK_ERR_NOMEM. */
int fk_store_tokens_new(const struct fk_keyd_conf *conf, struct fk_store_report *report,
                        struct fk_store_tokens **ret);
void fk_store_tokens_free(struct fk_store_tokens *tokens);
size_t fk_store_tokens_count(const struct fk_store_tokens *tokens);
/* Of token `number`, from 1; borrowed. */
struct fk_keyset_builder *fk_store_tokens_builder(const struct fk_store_tokens *tokens,
                                                  size_t number);
/* Read NAME.token and what says its public half; what is wrong is said. The caller frees
 * ret->pkey, which may be there with an error, too. FK_ERR_CONF, FK_ERR_NOMEM. */
int fk_store_tokens_read(const struct fk_store_tokens *tokens, const char *path,
                         struct fk_store_report *report, struct fk_store_place *ret);
/* Whether a key there can do all that its policy allows: none makes whole handshakes, and a TPM's
 * decrypt nothing (token/tpm2.c). */
bool fk_store_tokens_can(const struct fk_store_tokens *tokens, const struct fk_store_place *place,
                         uint16_t permissions);
/* As fk_keyset_builder_add_token(). */
int fk_store_tokens_add(const struct fk_store_tokens *tokens, const struct fk_key_public *public,
                        const struct fk_store_place *place);
/* Give `store` the tokens, with their bundles and numbers. FK_ERR_SYS. */
int fk_store_tokens_seal(const struct fk_store_tokens *tokens, const struct fk_store *previous,
                         struct fk_store *store);

/* One more (its descriptor is taken). */
void fk_store_add_token(struct fk_store *store, const struct fk_store_token *token);
/* The number that was given last, over all stores. */
uint16_t fk_store_last_token(const struct fk_store *store);
void fk_store_set_last_token(struct fk_store *store, uint16_t last);

/*
 * fk_store_load() in this process: the store it gives has keys of its own making, and the private
 * keys have been in this process's memory.
 */
int fk_store_read(const struct fk_keyd_conf *conf, const uint8_t *audit_secret,
                  const struct fk_store *previous, fk_store_complain *complain, void *arg,
                  struct fk_store **ret);

/*
 * A store of the public facts in an encoded index, without a key bundle yet; its other facts are
 * for the caller to fill in. As fk_index_load().
 */
int fk_store_from_index(const uint8_t *index, size_t len, struct fk_store **ret);
void fk_store_take_keys(struct fk_store *store, int keys_fd);
struct fk_store_key *fk_store_key(const struct fk_store *store, size_t i);

/*
 * Whether a path is that of a share (NAME.share), and one that counts: not beside the whole key
 * (store_share.c).
 */
bool fk_store_is_share(const char *path);
bool fk_store_share_counts(const char *path);
/*
 * Read a share that this key server can combine with, or hold for another: its bytes and the public
 * key, both the caller's; what it is goes to `key`. As fk_store_read_secret(); FK_ERR_FORMAT,
 * FK_ERR_UNSUPPORTED, FK_ERR_RANGE (more than two are needed), FK_ERR_SHARE_WRONG, FK_ERR_CRYPTO.
 */
int fk_store_read_share(const char *path, struct fk_index_key *key, struct fk_secret **ret,
                        EVP_PKEY **ret_public);
/* Whether its policy says what it is held for, or that it is not; else this is said. */
bool fk_store_share_fits(const char *path, const struct fk_index_key *key,
                         struct fk_store_report *report);
/* What to say of such an error; NULL: nothing that is a share's own. */
const char *fk_store_share_trouble(int err);

/* Give `to` copies of the names of `from`. FK_ERR_NOMEM. */
int fk_store_copy_names(struct fk_index_key *to, const struct fk_index_key *from);
/* Append a copy of the name of a key server. FK_ERR_NOMEM, FK_ERR_LIMIT. */
int fk_store_add_sharer(struct fk_index_key *key, const char *name);

#endif
