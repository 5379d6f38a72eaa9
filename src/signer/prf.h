/*
 * TLS 1.2's pseudo-random function (RFC 5246 section 5), and what is derived by it. Secrets only
 * pass through.
 */
#ifndef FK_SIGNER_PRF_H
#define FK_SIGNER_PRF_H

#include "base/reader.h"
#include "wire/keyop_secret.h"

#include <stddef.h>
#include <stdint.h>

struct fk_prf_maker; /* a context, used again and again */

/* FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_prf_maker_new(struct fk_prf_maker **ret);
void fk_prf_maker_free(struct fk_prf_maker *maker);

struct fk_prf_input {
    enum fk_prf prf;
    const uint8_t *secret;
    size_t secret_len; /* not 0 */
    const char *label;
    struct fk_reader seed[2]; /* in this order; the second may be empty */
};

/* `len` bytes. FK_ERR_CRYPTO. */
int fk_prf_run(struct fk_prf_maker *maker, const struct fk_prf_input *input, uint8_t *ret,
               size_t len);

#endif
