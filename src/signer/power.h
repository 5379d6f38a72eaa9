/*
 * RSA with a private exponent in two parts, d = d1 + d2 modulo (p-1)(q-1), that are never in one
 * place: x^d = x^d1 * x^d2. Each side raises to its part; who completes multiplies, and looks at
 * the product with the public exponent before anybody else does.
 *
 * Without p and q there is no CRT: a power costs about four times that of the whole key.
 */
#ifndef FK_SIGNER_POWER_H
#define FK_SIGNER_POWER_H

#include "base/reader.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define FK_POWER_MAX 512 /* bytes of a modulus */

/* One part with what makes its use quick and blind; for one thread. */
struct fk_power;

/*
 * `part`: the bytes of a part, as long as the modulus of `public_key`, an RSA key. They are copied
 * to OpenSSL's secure heap. FK_ERR_INVAL (another length), FK_ERR_CRYPTO, FK_ERR_NOMEM.
 */
int fk_power_new(EVP_PKEY *public_key, struct fk_reader part, struct fk_power **ret);
void fk_power_free(struct fk_power *power); /* wipes; NULL is fine */

/* Bytes of a number: those of the modulus. */
size_t fk_power_size(const struct fk_power *power);

/*
 * base^part mod n: fk_power_size() bytes both. Takes a time that tells nothing of the part, and
 * blinds the base. FK_ERR_RANGE (a base not below n), FK_ERR_CRYPTO, FK_ERR_NOMEM.
 */
int fk_power_raise(struct fk_power *power, const uint8_t *base, uint8_t *ret);

/*
 * base^d mod n from one's own part and the other side's power of the same base. FK_ERR_SHARE_WRONG:
 * that is not what it should be; nothing is written then. Else as above.
 */
int fk_power_complete(struct fk_power *power, const uint8_t *base, const uint8_t *other,
                      uint8_t *ret);

/*
 * Make the parts of an RSA key: `size` bytes each, the length of its modulus; the caller wipes
 * them. Each alone is a random number below (p-1)(q-1). FK_ERR_CRYPTO, FK_ERR_NOMEM.
 */
int fk_power_divide(EVP_PKEY *key, uint8_t *ret_one, uint8_t *ret_other, size_t size);

#endif
