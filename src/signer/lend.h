/*
 * A private key on its way from one signer to another ([0395]): sealed by the key server's to the
 * edge's, so that nobody between them reads it.
 *
 * It is sealed twice. To the edge's lend key, a file of the edge whose public half the key server
 * knows: so nobody who carries the request can have it sealed to a key of his own. And, inside, to
 * a key that the edge's signer has made for this lending and drops when it is opened: so a lending
 * that was recorded cannot be opened later by who has stolen the file. Both are sealed for the
 * request and for all that stands in the answer before them.
 */
#ifndef FK_SIGNER_LEND_H
#define FK_SIGNER_LEND_H

#include "base/limits.h"
#include "signer/keyset.h"
#include "tls/seal.h"
#include "wire/keyop_lend.h"

/* An answer (wire/keyop_lend.h): its head, SubjectPublicKeyInfo of RSA-4096 (550 bytes), and the
 * private numbers sealed twice. */
#define FK_LEND_ANSWER_MAX (4 + 2 + 2 + 550 + 2 + 2 * FK_SEAL_OVERHEAD + FK_SHARE_DATA_MAX)

/* A private lend key from a PEM file's text: its 32 bytes, which the caller wipes. FK_ERR_FORMAT:
 * none, or not X25519. */
int fk_lend_key_parse(const void *text, size_t len, uint8_t ret[FK_LEND_KEY]);

/*
 * The answer to `request` (a payload of LEND, `op` decoded): `key`, for the seconds and permissions
 * of `terms`. FK_ERR_UNSUPPORTED (a key without private numbers), FK_ERR_LIMIT, FK_ERR_CRYPTO.
 */
struct fk_lend_terms {
    uint32_t seconds;
    uint16_t permissions;
};

int fk_lend_seal(EVP_PKEY *key, struct fk_reader request, const struct fk_lend *op,
                 const struct fk_lend_terms *terms, uint8_t ret[FK_LEND_ANSWER_MAX],
                 size_t *ret_len);

/* The two keys that open it. */
struct fk_lend_keys {
    EVP_PKEY *recipient, *once;
};

/*
 * The key of an answer to `request`; the caller owns *ret_key. Nothing in it is believed, nor
 * looked at, before both seals hold. FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_LIMIT,
 * FK_ERR_VERIFY (sealed by or for somebody or something else), FK_ERR_FORMAT, FK_ERR_UNSUPPORTED,
 * FK_ERR_CRYPTO.
 */
int fk_lend_open(const struct fk_lend_keys *keys, struct fk_reader request, struct fk_reader answer,
                 struct fk_lend_terms *ret_terms, EVP_PKEY **ret_key);

#endif
