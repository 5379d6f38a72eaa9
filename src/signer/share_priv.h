/* Shared by the files that make up shares; see share.h. */
#ifndef FK_SIGNER_SHARE_PRIV_H
#define FK_SIGNER_SHARE_PRIV_H

#include "signer/share.h"

/* The hash of share `index`. FK_ERR_CRYPTO. */
int fk_share_hash(const struct fk_share *share, uint8_t index, struct fk_reader data,
                  uint8_t ret[32]);

/* Whether `data` is what share `by` knows share `index` by. FK_ERR_SHARE_WRONG, FK_ERR_CRYPTO. */
int fk_share_check(const struct fk_share *by, uint8_t index, struct fk_reader data);

/* The key from by->k shares that have been checked: their points and bytes. */
int fk_share_join(const struct fk_share *by, EVP_PKEY *public_key, const uint8_t x[],
                  const uint8_t *const data[], EVP_PKEY **ret);

#endif
