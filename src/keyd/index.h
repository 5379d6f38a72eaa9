/*
 * The public index of the keys: what a front knows of them. The master encodes it into the
 * configuration bundle; fronts look keys up in it by whatever a request names them with.
 * Holds certificates and names, never a private key.
 */
#ifndef FK_KEYD_INDEX_H
#define FK_KEYD_INDEX_H

#include "signer/keyset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Its name in the bundle. */
#define FK_INDEX_PATH "index"

/* How a key can be named. */
enum fk_index_kind {
    FK_INDEX_SKI,       /* 20 bytes */
    FK_INDEX_DIGEST,    /* 32 bytes: dialect 1's */
    FK_INDEX_CERT_HASH, /* 32 bytes: SHA-256 of the leaf certificate */
    FK_INDEX_NAME,      /* text without regard to case; a key's own name may be "*.suffix" */
    FK_INDEX_ADDRESS,   /* 4 or 16 bytes */
};

struct fk_index_address {
    uint8_t ip[16];
    uint8_t len; /* 4 or 16 */
};

struct fk_index_key {
    struct fk_key_public public;
    uint8_t cert_hash[32]; /* zero when there is no certificate */
    char **names;          /* public.name first, lower case */
    size_t n_names;
    struct fk_index_address *addresses;
    size_t n_addresses;
    uint8_t *chain; /* certificates in DER, each with a 2-byte length, leaf first */
    size_t chain_len;
    bool retired;   /* replaced by another of the same name; served on for a while */
    uint16_t token; /* number of the token that has the key; 0: signers have it */
    /* Of a split key there is a share here: enum fk_share_scheme, 0: it is whole. */
    uint8_t split;
    bool held;      /* ... that others combine with: the key servers named here */
    char **sharers; /* as in their certificates */
    size_t n_sharers;
};

struct fk_index;

/*
 * Encode `n` keys for the bundle. The caller frees *ret. FK_ERR_NOMEM, FK_ERR_LIMIT (more than
 * FK_KEYD_KEYS_MAX keys or FK_KEYD_NAMES_MAX names).
 */
int fk_index_encode(const struct fk_index_key *keys, size_t n, uint8_t **ret, size_t *ret_len);

/* Load what fk_index_encode() made. FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_LIMIT,
 * FK_ERR_FORMAT, FK_ERR_NOMEM. */
int fk_index_load(const void *data, size_t len, struct fk_index **ret);
void fk_index_free(struct fk_index *index);

/*
 * The first key of that name whose type is in `types` (bit 1 << enum fk_key_type; ~0U: any). A name
 * that is no key's own is looked for as "*.REST". NULL when there is none. Borrowed.
 */
const struct fk_index_key *fk_index_find(const struct fk_index *index, enum fk_index_kind kind,
                                         const void *data, size_t len, unsigned types);

/* Walk the keys, 0 to count - 1; the position of a key. */
size_t fk_index_count(const struct fk_index *index);
const struct fk_index_key *fk_index_at(const struct fk_index *index, size_t i);
size_t fk_index_position(const struct fk_index *index, const struct fk_index_key *key);

/* Free what one key of an array owns (for those who build them). */
void fk_index_key_fini(struct fk_index_key *key);

#endif
