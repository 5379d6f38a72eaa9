/*
 * TLS 1.3's key schedule for libssl. OpenSSL 3.0's own TLS13-KDF looks its hash and its HMAC up by
 * name for each of the twenty secrets of a handshake, which is a tenth of all that an edge computes
 * when the private key is elsewhere; this one keeps them (tls/hkdf.h).
 */
#ifndef FK_TLS_SCHEDULE_H
#define FK_TLS_SCHEDULE_H

#include "tls/hkdf.h"

#include <openssl/core.h>
#include <stdbool.h>

/*
 * What comes first is found first when nobody asks for properties, and OpenSSL 3.0 orders providers
 * by name: with its capital this one comes before "default". A query for each fetch would cost part
 * of what is gained.
 */
#define FK_SCHEDULE_PROVIDER "Farkey-schedule"

/*
 * Load it into a library context where no TLS13-KDF was fetched yet, before the default provider,
 * to which it leaves all else. FK_ERR_CRYPTO.
 */
int fk_schedule_load(OSSL_LIB_CTX *libctx);

/* What libssl gives with a derivation, which it does all at once: all borrowed. */
struct fk_schedule_asked {
    int mode;        /* EVP_KDF_HKDF_MODE_* */
    size_t hash_len; /* of a suite's hash */
    struct fk_reader key, salt, prefix, data;
    struct fk_hkdf_label label;
    bool has_key, has_salt;
};

/* False: it is none of TLS 1.3. */
bool fk_schedule_read(const OSSL_PARAM params[], struct fk_schedule_asked *ret);
/* Derive here: `len` bytes. */
bool fk_schedule_answer(struct fk_schedule_asked *asked, uint8_t *out, size_t len);

#endif
