/*
 * Ephemeral keys of TLS 1.2's ECDHE and DHE: making one, and the premaster secret that it agrees on
 * with a client's share. What comes from a client is checked here before any private value touches
 * it. Knows nothing of handles or of who asks.
 */
#ifndef FK_SIGNER_EPHEMERAL_H
#define FK_SIGNER_EPHEMERAL_H

#include "base/limits.h"
#include "base/reader.h"
#include "base/writer.h"

#include <stddef.h>
#include <stdint.h>

/* A premaster secret: as long as the largest prime. */
#define FK_EPHEMERAL_SECRET_MAX FK_DH_PRIME_MAX
/* Private values: 48 bytes (P-384); those of RFC 7919's groups are 325 bits at most, twice the
 * strength of the group and no longer. */
#define FK_EPHEMERAL_PRIVATE_MAX 48

/* A secret. Its owner wipes it. */
struct fk_ephemeral {
    uint16_t group; /* enum fk_agree_group_id */
    uint8_t private_len;
    uint8_t private_value[FK_EPHEMERAL_PRIVATE_MAX]; /* as AGREE_INIT's answer writes it */
};

struct fk_ephemerals; /* what makes them: contexts, one a group */

/* FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_ephemerals_new(struct fk_ephemerals **ret);
void fk_ephemerals_free(struct fk_ephemerals *makers);

/*
 * A new key; its ServerECDHParams (RFC 8422 section 5.4) or ServerDHParams (RFC 5246 section 7.4.3,
 * with Ys as long as the prime) go to `params`. FK_ERR_UNSUPPORTED (group), FK_ERR_CRYPTO,
 * FK_ERR_NOMEM.
 */
int fk_ephemeral_make(struct fk_ephemerals *makers, uint16_t group, struct fk_ephemeral *ret,
                      struct fk_writer *params);

/*
 * The premaster secret: ECDHE: the x coordinate (RFC 8422 section 5.10); DHE: without leading zeros
 * (RFC 5246 section 8.1.2). The caller wipes it. FK_ERR_FORMAT: the share is not as long as one of
 * the group; FK_ERR_RANGE: no point of the curve, a number that is not between 2 and p - 2, or one
 * of the few values of x25519 that make a secret of zeros (RFC 7748 section 6.1). FK_ERR_CRYPTO,
 * FK_ERR_NOMEM.
 */
int fk_ephemeral_agree(const struct fk_ephemeral *key, struct fk_reader share,
                       uint8_t ret[FK_EPHEMERAL_SECRET_MAX], size_t *ret_len);

#endif
