/*
 * Shares of a private key (seed 002, [0385]-[0394]): made from a whole key, kept in files, sealed
 * for the way, combined for one operation. Or, of an RSA key, parts of its exponent that are never
 * combined (signer/power.h): what goes on the way then is a power of one number.
 *
 * Share 1 is the combining signer's: with it goes an X25519 key pair whose public half is in all
 * shares, so that whoever holds another share knows to whom it may be shown, whatever the processes
 * on the way say. All shares of one splitting carry its random name, the public key and a hash of
 * each share: a share that is damaged, of another key or of another splitting is told by name
 * before anything is done with it.
 *
 * Share: version u8 = 1 | scheme u8 | k u8 | n u8 | index u8 | set 16 |
 * SubjectPublicKeyInfo<u16> | n hashes of 32 | combiner's public key 32 | own<u8>: in share 1 the
 * private key 32, with additive ones the key's rejection secret 32, too; else none | the
 * share<u16>: as long as the private numbers (Shamir), or as the modulus. Files are PEM of it.
 */
#ifndef FK_SIGNER_SHARE_H
#define FK_SIGNER_SHARE_H

#include "base/limits.h"
#include "base/reader.h"
#include "base/secret.h"
#include "signer/emsa.h"
#include "signer/power.h"
#include "tls/seal.h"
#include "wire/keyshare.h"

#include <openssl/evp.h>

#define FK_SHARE_COMBINER 1 /* the index of the combining signer's share */

enum fk_share_scheme {
    FK_SHARE_SHAMIR = 1,
    FK_SHARE_ADDITIVE = 2, /* RSA, 2 of 2 */
};

/* A share, borrowing from its bytes. */
struct fk_share {
    uint8_t scheme; /* enum fk_share_scheme */
    uint8_t k, n, index;
    uint8_t id[FK_KEYSHARE_ID]; /* SHA-256 of the public key */
    uint8_t set[FK_KEYSHARE_SET];
    struct fk_reader spki;   /* DER */
    struct fk_reader hashes; /* 32 bytes for each share */
    uint8_t combiner[FK_SEAL_KEY_SIZE];
    struct fk_reader seal_key; /* the private half; empty but in share 1 */
    struct fk_reader reject;   /* additive ones: fk_keyset_reject_secret(); likewise */
    struct fk_reader data;
};

/*
 * Split a key into `n` shares of which `k` are needed; ret[0] to ret[n - 1] are the encoded shares
 * 1 to n, the caller's. FK_ERR_INVAL (numbers), FK_ERR_UNSUPPORTED (type of key), FK_ERR_CRYPTO,
 * FK_ERR_NOMEM.
 */
int fk_share_split(EVP_PKEY *key, unsigned k, unsigned n, struct fk_secret *ret[]);

/* Split an RSA key into two additive shares: encoded, the caller's. As above. */
int fk_share_split_additive(EVP_PKEY *key, struct fk_secret *ret[2]);

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

/*
 * That shares make the private half of their public key, which is the caller's then. Additive ones
 * show it by their powers, and make no key. As fk_share_combine(); FK_ERR_SHARE_WRONG: they do not.
 */
int fk_share_prove(const struct fk_share *shares, size_t count, EVP_PKEY **ret_public);

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

/*
 * Seal `plain` to the combining signer, for that occasion: the share itself (Shamir), or what
 * fk_share_power_encode() has written (additive). FK_ERR_CRYPTO, FK_ERR_LIMIT.
 */
int fk_share_seal(const struct fk_share *share, struct fk_reader plain,
                  const uint8_t binding[FK_SHARE_BINDING], uint8_t ret[FK_SHARE_ITEM_MAX],
                  size_t *ret_len);

/*
 * The key from the combining signer's own share and one that came sealed, for the occasion that
 * `binding` names. FK_ERR_FORMAT, FK_ERR_TRUNCATED; FK_ERR_SHARE_WRONG: also one that was sealed
 * for another occasion or to another signer; else as fk_share_combine().
 */
int fk_share_rebuild(const struct fk_share *own, EVP_PKEY *public_key, struct fk_reader item,
                     const uint8_t binding[FK_SHARE_BINDING], EVP_PKEY **ret);

/*
 * What the holder of an additive share answers with: salt<u8> | power, as long as the modulus. The
 * salt is that of PSS, which the holder chooses; else it is empty.
 */
struct fk_share_power {
    size_t salt_len, size;
    uint8_t salt[FK_EMSA_SALT_MAX];
    uint8_t power[FK_POWER_MAX];
};

void fk_share_power_encode(const struct fk_share_power *power, struct fk_writer *out);
/* `size`: of the modulus. FK_ERR_SHARE_WRONG. */
int fk_share_power_decode(struct fk_reader bytes, size_t size, struct fk_share_power *ret);
/* Out of an item, as fk_share_rebuild() has it. */
int fk_share_power_open(const struct fk_share *own, struct fk_reader item,
                        const uint8_t binding[FK_SHARE_BINDING], struct fk_share_power *ret);

#endif
