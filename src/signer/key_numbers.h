/*
 * The private numbers of a key as bytes of a length that its public half decides, and back: what is
 * split into shares, and lent. Both ways leave no copy behind.
 *
 * RSA: d, as long as the modulus | p | q | d mod p-1 | d mod q-1 | 1/q mod p, half as long each
 * (RFC 8017 section 3.2). EC: the private scalar, as long as the field (RFC 5915). Ed25519: the 32
 * bytes of RFC 8032.
 */
#ifndef FK_SIGNER_KEY_NUMBERS_H
#define FK_SIGNER_KEY_NUMBERS_H

#include "base/limits.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

/* Their length; of a public key, too. 0: a key of a type that is not served. */
size_t fk_key_numbers_size(EVP_PKEY *key);

/* fk_key_numbers_size() bytes, which the caller wipes. FK_ERR_UNSUPPORTED (also primes of unequal
 * length), FK_ERR_CRYPTO. */
int fk_key_numbers_get(EVP_PKEY *key, uint8_t ret[FK_SHARE_DATA_MAX]);

/*
 * The key pair of a public key and its private numbers, which are not checked against it. The
 * caller owns *ret. FK_ERR_CRYPTO, FK_ERR_NOMEM, FK_ERR_UNSUPPORTED.
 */
int fk_key_numbers_join(EVP_PKEY *public_key, const uint8_t *numbers, size_t len, EVP_PKEY **ret);

#endif
