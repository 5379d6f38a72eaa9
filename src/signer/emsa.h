/*
 * The encodings of RSA signatures: the block that is raised to the private exponent. For keys whose
 * exponent is in two places (signer/power.h), as no library signs with such. All of it is public.
 */
#ifndef FK_SIGNER_EMSA_H
#define FK_SIGNER_EMSA_H

#include "base/reader.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define FK_EMSA_SALT_MAX 64

/*
 * EMSA-PKCS1-v1_5 (RFC 8017 section 9.2) of `digest`, made with `md`: `size` bytes, the length of
 * the modulus. FK_ERR_UNSUPPORTED (no such digest), FK_ERR_INVAL (its length), FK_ERR_LIMIT.
 */
int fk_emsa_pkcs1(const EVP_MD *md, struct fk_reader digest, uint8_t *ret, size_t size);

/*
 * EMSA-PSS (RFC 8017 section 9.1.1) with MGF1 of the same digest and this salt, FK_EMSA_SALT_MAX at
 * most, for a modulus of `bits` bits: (bits + 7) / 8 bytes, the first of which may be a zero that
 * the encoding does not have. FK_ERR_INVAL, FK_ERR_LIMIT, FK_ERR_CRYPTO.
 */
int fk_emsa_pss(const EVP_MD *md, struct fk_reader digest, struct fk_reader salt, uint8_t *ret,
                size_t bits);

#endif
