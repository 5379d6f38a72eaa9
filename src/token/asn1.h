/*
 * The little DER that a token leaves to its user: what RSA signs in PKCS#1 signatures, and ECDSA
 * signatures as TLS wants them. No I/O, no state.
 */
#ifndef FK_TOKEN_ASN1_H
#define FK_TOKEN_ASN1_H

#include "signer/private.h"

#include <stddef.h>
#include <stdint.h>

/* The longest DigestInfo here: 19 bytes before a digest of 64. */
#define FK_DIGEST_INFO_MAX 83
/* The longest r or s: P-521. */
#define FK_ECDSA_PART_MAX 66
/* SEQUENCE of two INTEGERs, each with a sign byte. */
#define FK_ECDSA_DER_MAX (3 + 2 * (2 + FK_ECDSA_PART_MAX + 1))

/* DigestInfo (RFC 8017 section 9.2) of a digest of fk_hash_size(hash) bytes; its length. */
size_t fk_digest_info(enum fk_hash hash, const uint8_t *digest, uint8_t ret[FK_DIGEST_INFO_MAX]);

/*
 * r | s, of equal length, as Ecdsa-Sig-Value (RFC 3279 section 2.2.3). `len` is that of both.
 * FK_ERR_FORMAT: not an even number of bytes, none, or more than two of P-521.
 */
int fk_ecdsa_der(const uint8_t *raw, size_t len, uint8_t ret[FK_ECDSA_DER_MAX], size_t *ret_len);

#endif
