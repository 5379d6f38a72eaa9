/*
 * Reading keys: from a key directory into a key bundle (in a master: the only moment a private key
 * file is read), and from the bundle into a signer.
 *
 * A directory holds NAME.key (PEM or DER: PKCS#8, PKCS#1, SEC1; encrypted ones with a passphrase
 * file), with NAME.crt (PEM chain) and NAME.policy beside it.
 */
#ifndef FK_SIGNER_KEYSET_H
#define FK_SIGNER_KEYSET_H

#include "base/secret.h"
#include "signer/share.h"
#include "wire/keyop.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is public about a key: all that a front, an edge or a status page may know. */
struct fk_key_public {
    char name[64]; /* file name without ".key" */
    uint8_t ski[20];
    uint8_t digest[32]; /* dialect 1's: SHA-256 of the upper-case hex of modulus or point */
    enum fk_key_type type;
    uint16_t bits;
    uint16_t permissions; /* FK_PERM_* */
};

/*
 * Parse one private key: PKCS#8, PKCS#1, SEC1, in PEM or DER, encrypted ones (PKCS#8, or PEM with
 * DEK-Info) with `passphrase`, which may be NULL. The caller owns *ret (EVP_PKEY_free()).
 * FK_ERR_FORMAT (also a private half that does not belong to the public half), FK_ERR_PASSPHRASE,
 * FK_ERR_UNSUPPORTED (anything but RSA of 2048 to 4096 bits, P-256/384/521, Ed25519), FK_ERR_LIMIT.
 */
int fk_key_parse(const void *data, size_t len, const char *passphrase, EVP_PKEY **ret);

/*
 * As fk_key_parse() without the proof that the halves belong together, which costs a signature: for
 * a signer, whose bundle holds only keys that its master has parsed.
 */
int fk_key_decode(const void *data, size_t len, const char *passphrase, EVP_PKEY **ret);

/* Whether a key, or a public key, is of a type and size that is served; points of EC keys are
 * uncompressed from then on. FK_ERR_UNSUPPORTED, FK_ERR_CRYPTO. */
int fk_key_check(EVP_PKEY *key);

/* That the private half exists and belongs to the public half. FK_ERR_FORMAT, FK_ERR_NOMEM. */
int fk_key_prove(EVP_PKEY *key);

/* The public facts of a key (name and permissions left empty). FK_ERR_UNSUPPORTED, FK_ERR_CRYPTO.
 */
int fk_key_describe(EVP_PKEY *key, struct fk_key_public *ret);

struct fk_keyset; /* a signer's keys: parsed, in locked memory, found by SKI */

struct fk_token_place;
struct fk_token_settings; /* signer/keyset_token.h */

struct fk_keyset_entry {
    struct fk_key_public public;
    EVP_PKEY *pkey;            /* of a split key or one in a token the public half only */
    uint8_t reject_secret[32]; /* PRF key of implicit rejection, derived from the private key; see
                                  ops_reject.c for a key in a token */
    bool is_split;
    struct fk_share share; /* then: what is held here; borrows from the next */
    uint8_t *share_bytes;  /* in the secure heap */
    size_t share_len;
    bool in_token;
    struct fk_token_place *place; /* then: where there */
};

/* The PRF key of an RSA key. FK_ERR_CRYPTO. */
int fk_keyset_reject_secret(EVP_PKEY *pkey, uint8_t ret[32]);

/*
 * Load the key bundle of a sealed memfd (FK_PROC_KEYS; `fd` stays the caller's). Turns OpenSSL's
 * secure heap on, large enough for these keys, if the process has none yet: private numbers then
 * live in locked, guarded, undumped pages. The reject secret of an RSA key depends on the key
 * alone, so that every signer of every key server with that key gives the same answer.
 * FK_ERR_FORMAT (not sealed, not a bundle, a key that is not what it should be), FK_ERR_DUPLICATE
 * (a key twice), FK_ERR_SYS, FK_ERR_NOMEM.
 */
int fk_keyset_open(int fd, struct fk_keyset **ret);
void fk_keyset_free(struct fk_keyset *set);
/* Borrowed; NULL when there is none. */
const struct fk_keyset_entry *fk_keyset_find(const struct fk_keyset *set, const uint8_t ski[20]);
/* Entry `index` below fk_keyset_count(). */
const struct fk_keyset_entry *fk_keyset_at(const struct fk_keyset *set, size_t index);
size_t fk_keyset_count(const struct fk_keyset *set);
/* What the bundle says of the token that its keys are in, borrowed; NULL: they are in none. */
const struct fk_token_settings *fk_keyset_token(const struct fk_keyset *set);
/* The 32-byte audit secret, borrowed; NULL when the bundle has none (an edge's signer). */
const uint8_t *fk_keyset_audit(const struct fk_keyset *set);

/* The 32 bytes of this host's lend key (signer/lend.h), borrowed; NULL: keys are not lent to it. */
const uint8_t *fk_keyset_lend_key(const struct fk_keyset *set);

/*
 * Edges that a signer knows itself: those whose requests are signed by their request key, so that a
 * front that is captured can ask for nothing that no edge has asked for; and those that keys may be
 * lent to, by their lend key, so that it can have a key sealed to nobody else.
 */
struct fk_keyset_edge {
    char name[64];
    bool signs, borrows;       /* has the one, the other key */
    uint8_t request_key[32];   /* Ed25519, public */
    uint8_t lend_key[32];      /* X25519, public */
    uint16_t permissions;      /* FK_PERM_* */
    bool all;                  /* may use every key; else: */
    const uint8_t (*skis)[20]; /* loaded: in order */
    size_t n_skis;
};

/* Whether any edge signs. */
bool fk_keyset_has_signing(const struct fk_keyset *set);
/* Whether the edge may use the key of this SKI. */
bool fk_keyset_edge_may(const struct fk_keyset_edge *edge, const uint8_t ski[20]);

/* Borrowed; NULL: there is none of this name. */
const struct fk_keyset_edge *fk_keyset_edge(const struct fk_keyset *set, const char *name,
                                            size_t len);
/* Whether fronts may ask for key operations in the name of edges that sign only. */
bool fk_keyset_signed_only(const struct fk_keyset *set);
/* The name that edges know this key server by: it is part of what they sign. Borrowed, may be "".
 */
const char *fk_keyset_server(const struct fk_keyset *set);

/* Building the bundle, in the master. */
struct fk_keyset_builder;
int fk_keyset_builder_new(struct fk_keyset_builder **ret);
void fk_keyset_builder_free(struct fk_keyset_builder *builder); /* wipes */
/* Takes name and permissions of `public`; copies the key. FK_ERR_LIMIT, FK_ERR_CRYPTO,
 * FK_ERR_NOMEM. */
int fk_keyset_builder_add(struct fk_keyset_builder *builder, const struct fk_key_public *public,
                          EVP_PKEY *pkey);
/* A share of a split key (signer/share.h, its bytes) in place of a key. As above. */
int fk_keyset_builder_add_share(struct fk_keyset_builder *builder,
                                const struct fk_key_public *public, const struct fk_secret *share);
/* A key in a token: `pkey` is its public half. As above; FK_ERR_LIMIT: it does not fit a record. */
int fk_keyset_builder_add_token(struct fk_keyset_builder *builder,
                                const struct fk_key_public *public, EVP_PKEY *pkey,
                                const struct fk_token_place *place);
/* The token of the bundle's keys. FK_ERR_NOMEM, FK_ERR_LIMIT. */
int fk_keyset_builder_token(struct fk_keyset_builder *builder,
                            const struct fk_token_settings *settings);
/* The audit log's secret (32 bytes), from which the signer derives chain keys and its log key. */
int fk_keyset_builder_audit(struct fk_keyset_builder *builder, const uint8_t secret[32]);
/* This host's private lend key. */
void fk_keyset_builder_lend_key(struct fk_keyset_builder *builder, const uint8_t key[32]);
/* An edge; its SKIs are copied. FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_keyset_builder_edge(struct fk_keyset_builder *builder, const struct fk_keyset_edge *edge);
/* See fk_keyset_signed_only() and fk_keyset_server(). FK_ERR_LIMIT: the name is too long. */
int fk_keyset_builder_signed(struct fk_keyset_builder *builder, const char *server, bool only);
/* A memfd sealed against change; the caller owns *ret_fd. May be called again. FK_ERR_SYS. */
int fk_keyset_builder_seal(const struct fk_keyset_builder *builder, int *ret_fd);

#endif
