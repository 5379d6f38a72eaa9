/*
 * Shamir's secret sharing over GF(2^8), byte by byte: any k of n shares give the secret, fewer give
 * nothing at all (A. Shamir, How to share a secret, CACM 22, 1979). The field is that of AES (FIPS
 * 197 section 4.2).
 *
 * No branch and no address depends on the secret or on a share; the points x do, which are public.
 */
#ifndef FK_SIGNER_SHAMIR_H
#define FK_SIGNER_SHAMIR_H

#include "base/limits.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Split `len` bytes (FK_SHARE_DATA_MAX at most) into `n` shares of `len` bytes, for the points 1 to
 * n in order, of which `k` will be needed: 2 <= k <= n <= FK_SHARES_MAX. The shares must not
 * overlap the secret. FK_ERR_INVAL, FK_ERR_LIMIT, FK_ERR_CRYPTO (no randomness).
 */
int fk_shamir_split(const uint8_t *secret, size_t len, unsigned k, unsigned n,
                    uint8_t *const shares[]);

/*
 * The secret from `k` shares at the points `x`, which must differ and be none of them 0.
 * FK_ERR_INVAL.
 */
int fk_shamir_combine(const uint8_t x[], const uint8_t *const shares[], unsigned k, size_t len,
                      uint8_t *ret);

#endif
