/*
 * Sealing to a public key: X25519 with an ephemeral key, HKDF-SHA256, AES-256-GCM. Whoever holds
 * the private half opens it; who sealed it, it does not tell: the context, or what carries it, has
 * to. In the way of RFC 9180 (base mode), without its negotiation.
 *
 * sealed: ephemeral public key 32 | ciphertext | tag 16
 * key:    HKDF-SHA256(salt = ephemeral | recipient, ikm = X25519(...), info = label | 00 | context)
 * nonce:  zeros: the key is used once. The context is authenticated by being part of the key.
 */
#ifndef FK_TLS_SEAL_H
#define FK_TLS_SEAL_H

#include "base/reader.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define FK_SEAL_KEY_SIZE 32
#define FK_SEAL_OVERHEAD (FK_SEAL_KEY_SIZE + 16)

/* What it is for, and for which occasion: both ends must say the same. */
struct fk_seal_context {
    const char *label; /* one for each use, ASCII */
    const void *bytes; /* 64 at most: a digest of what the rest is */
    size_t len;
};

/*
 * Seal `len` bytes to an X25519 public key: len + FK_SEAL_OVERHEAD bytes at `ret`, which must not
 * overlap them. FK_ERR_CRYPTO (also a public key that is none, RFC 7748 section 6.1), FK_ERR_LIMIT
 * (context too long).
 */
int fk_seal_to(const uint8_t public_key[FK_SEAL_KEY_SIZE], const struct fk_seal_context *context,
               const uint8_t *plain, size_t len, uint8_t *ret);

/*
 * Open what was sealed to `key`, an X25519 key pair: sealed.left - FK_SEAL_OVERHEAD bytes at `ret`,
 * of `size`. FK_ERR_TRUNCATED, FK_ERR_LIMIT (more than `size`, or a long context), FK_ERR_VERIFY,
 * FK_ERR_CRYPTO.
 */
int fk_seal_open(EVP_PKEY *key, const struct fk_seal_context *context, struct fk_reader sealed,
                 uint8_t *ret, size_t size, size_t *ret_len);

/* A fresh key pair; the caller owns *ret_key. FK_ERR_CRYPTO. */
int fk_seal_key_new(EVP_PKEY **ret_key, uint8_t ret_public[FK_SEAL_KEY_SIZE]);

#endif
