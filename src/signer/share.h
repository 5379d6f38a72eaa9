/*
 * Shares of a private key (seed 002, [0385]-[0394]): made from a whole key, kept in files, sealed
 * for the way, combined for one operation.
 *
 * Share 1 is the combining signer's: with it goes an X25519 key pair whose public half is in all
 * shares, so that whoever holds another share knows to whom it may be shown, whatever the processes
 * on the way say. All shares of one splitting carry its random name, the public key and a hash of
 * each share: a share that is damaged, of another key or of another splitting is told by name
 * before anything is done with it.
 *
 * Share: version u8 = 1 | scheme u8 = 1 (Shamir) | k u8 | n u8 | index u8 | set 16 |
 * SubjectPublicKeyInfo<u16> | n hashes of 32 | combiner's public key 32 | its private key<u8>: 32
 * bytes in share 1, else none | the share<u16>, as long as the private numbers. Files are PEM of
 * it.
 */
#ifndef FK_SIGNER_SHARE_H
#define FK_SIGNER_SHARE_H

#include "base/limits.h"
#include "base/reader.h"
#include "base/secret.h"
#include "tls/seal.h"
#include "wire/keyshare.h"

#include <openssl/evp.h>

#define FK_SHARE_COMBINER 1 /* the index of the combining signer's share */

/* A share, borrowing from its bytes. */
struct fk_share {
    uint8_t k, n, index;
    uint8_t id[FK_KEYSHARE_ID]; /* SHA-256 of the public key */
    uint8_t set[FK_KEYSHARE_SET];
    struct fk_reader spki;   /* DER */
    struct fk_reader hashes; /* 32 bytes for each share */
    uint8_t combiner[FK_SEAL_KEY_SIZE];
    struct fk_reader seal_key; /* the private half; empty but in share 1 */
    struct fk_reader data;
};

/*
 * Split a key into `n` shares of which `k` are needed; ret[0] to ret[n - 1] are the encoded shares
 * 1 to n, the caller's. FK_ERR_INVAL (numbers), FK_ERR_UNSUPPORTED (type of key), FK_ERR_CRYPTO,
 * FK_ERR_NOMEM.
 */
int fk_share_split(EVP_PKEY *key, unsigned k, unsigned n, struct fk_secret *ret[]);

/* Encoded bytes. FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_VERSION, FK_ERR_FORMAT, FK_ERR_CRYPTO;
 * FK_ERR_SHARE_WRONG: damaged. */
int fk_share_decode(struct fk_reader bytes, struct fk_share *ret);

/* From and to a PEM file's text. FK_ERR_FORMAT, FK_ERR_LIMIT, FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_share_from_pem(const void *text, size_t len, struct fk_secret **ret);
int fk_share_to_pem(const struct fk_secret *share, struct fk_secret **ret_text, size_t *ret_len);

/* The public key that it is of, of a type that is served; the caller's. FK_ERR_FORMAT,
 * FK_ERR_UNSUPPORTED, FK_ERR_CRYPTO. */
int fk_share_public(const struct fk_share *share, EVP_PKEY **ret);

/*
 * The key from shares of it, `k` of them (more are looked at, too). Its halves are not compared;
 * the hashes say that it is what was split. FK_ERR_SHARE_MISSING, FK_ERR_SHARE_REPEATED,
 * FK_ERR_SHARE_FOREIGN, FK_ERR_SHARE_WRONG, FK_ERR_FORMAT, FK_ERR_CRYPTO, FK_ERR_NOMEM.
 */
int fk_share_combine(const struct fk_share *shares, size_t count, EVP_PKEY **ret);

/* --- on the way --- */

/* What a sealed share is for: one operation with one key. SHA-256 over opcode (farkey/1), SKI and
 * payload. FK_ERR_CRYPTO. */
#define FK_SHARE_BINDING 32
int fk_share_binding(uint8_t opcode, const uint8_t ski[20], const void *payload, size_t len,
                     uint8_t ret[FK_SHARE_BINDING]);

/*
 * For a handshake that the key server makes, whatever it has to be asked of the key for: one
 * HS_OPEN, of which `digest` is the SHA-256 of the payload. FK_ERR_CRYPTO.
 */
#define FK_SHARE_DIGEST 32
int fk_share_binding_open(const uint8_t ski[20], const uint8_t digest[FK_SHARE_DIGEST],
                          uint8_t ret[FK_SHARE_BINDING]);

/* An item of the wire (wire/keyshare.h). */
#define FK_SHARE_ITEM_MAX (FK_KEYSHARE_HEAD + FK_SEAL_OVERHEAD + FK_SHARE_DATA_MAX)

/* Seal a share to the combining signer, for that occasion. FK_ERR_CRYPTO. */
int fk_share_seal(const struct fk_share *share, const uint8_t binding[FK_SHARE_BINDING],
                  uint8_t ret[FK_SHARE_ITEM_MAX], size_t *ret_len);

/*
 * The key from the combining signer's own share and one that came sealed, for the occasion that
 * `binding` names. FK_ERR_FORMAT, FK_ERR_TRUNCATED; FK_ERR_SHARE_WRONG: also one that was sealed
 * for another occasion or to another signer; else as fk_share_combine().
 */
int fk_share_rebuild(const struct fk_share *own, EVP_PKEY *public_key, struct fk_reader item,
                     const uint8_t binding[FK_SHARE_BINDING], EVP_PKEY **ret);

#endif
