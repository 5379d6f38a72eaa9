/*
 * HKDF (RFC 5869) as the key schedule of TLS 1.3 uses it (RFC 8446 section 7.1), for its hashes
 * SHA-256 and SHA-384. A hash is named by its length. OpenSSL's digests do the work, in contexts
 * that each thread keeps; its HMAC and TLS13-KDF look everything up by name for each secret, which
 * takes most of their time. Nothing of a key stays in a context after a call.
 */
#ifndef FK_TLS_HKDF_H
#define FK_TLS_HKDF_H

#include "base/reader.h"

#include <stddef.h>
#include <stdint.h>

#define FK_HKDF_PREFIX "tls13 " /* of every label */
/* Bytes of a label, the prefix not counted: RFC 8446's have 12 at most. */
#define FK_HKDF_LABEL_MAX 32

struct fk_hkdf_label {
    struct fk_reader name;    /* without the prefix; FK_HKDF_LABEL_MAX bytes at most */
    struct fk_reader context; /* a hash of the hash_len, or nothing */
};

/*
 * HKDF-Extract: `hash_len` bytes into `ret`, which may be where the salt is. FK_ERR_INVAL: a hash
 * of another length. FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
int fk_hkdf_extract(size_t hash_len, struct fk_reader salt, struct fk_reader secret, uint8_t *ret);

/*
 * HKDF-Expand-Label: `len` bytes (255 hashes at most) from a secret of `hash_len` bytes.
 * FK_ERR_INVAL, FK_ERR_NOMEM: nothing is written. FK_ERR_CRYPTO: `ret` is wiped.
 */
int fk_hkdf_expand_label(size_t hash_len, const uint8_t *secret, const struct fk_hkdf_label *label,
                         uint8_t *ret, size_t len);

#endif
