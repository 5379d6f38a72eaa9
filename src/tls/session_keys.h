/*
 * The hand-over: everything that the record layer needs to go on with a TLS session, whoever has
 * made its keys. Producers fill a struct fk_session_keys in scratch memory that they wipe; the
 * record engine (tls/record.h) copies it into its own.
 */
#ifndef FK_TLS_SESSION_KEYS_H
#define FK_TLS_SESSION_KEYS_H

#include "base/reader.h"
#include "tls/suite.h"

#include <stdbool.h>

/* TLS 1.2's key block (RFC 5246 section 6.3): both sides' MAC keys, keys, fixed nonces. */
#define FK_KEY_BLOCK_MAX (2 * (FK_SUITE_KEY_MAX + FK_SUITE_IV_MAX + FK_SUITE_MAC_MAX))
size_t fk_key_block_len(const struct fk_suite *suite);

/* One direction. Unused parts are zero. */
struct fk_traffic_keys {
    uint64_t seq;                      /* of the next record */
    uint8_t key[FK_SUITE_KEY_MAX];     /* suite->key_len bytes */
    uint8_t iv[FK_SUITE_IV_MAX];       /* suite->iv_len bytes */
    uint8_t mac_key[FK_SUITE_MAC_MAX]; /* suite->mac_len bytes */
    uint8_t secret[FK_SUITE_HASH_MAX]; /* TLS 1.3: the traffic secret, suite->hash_len bytes */
};

struct fk_session_keys {
    const struct fk_suite *suite;
    bool encrypt_then_mac;         /* RFC 7366; with CBC only */
    struct fk_traffic_keys client; /* what the client writes by */
    struct fk_traffic_keys server; /* what the server writes by */
};

/*
 * TLS 1.3, from both application traffic secrets (suite->hash_len bytes each; RFC 8446 section
 * 7.3). Sequence numbers are 0; a producer that has sent records under these keys sets them after.
 * FK_ERR_INVAL: a suite of another version. FK_ERR_CRYPTO.
 */
int fk_session_keys_tls13(const struct fk_suite *suite, const uint8_t *client_secret,
                          const uint8_t *server_secret, struct fk_session_keys *ret);

/*
 * TLS 1.2, from the master secret (48 bytes) and both randoms (32 bytes each; RFC 5246 section
 * 6.3). Sequence numbers are 1: each side's Finished was 0. Errors as above.
 */
int fk_session_keys_tls12(const struct fk_suite *suite, const uint8_t *master,
                          const uint8_t *client_random, const uint8_t *server_random,
                          bool encrypt_then_mac, struct fk_session_keys *ret);

/* The same from a key block that others have made: fk_key_block_len() bytes, else FK_ERR_INVAL. */
int fk_session_keys_block(const struct fk_suite *suite, const uint8_t *block, size_t len,
                          struct fk_session_keys *ret);

/* PRF(master, label, seed) of TLS 1.2 with the suite's hash (RFC 5246 section 5); `master` has 48
 * bytes. FK_ERR_CRYPTO. */
int fk_tls12_prf(const struct fk_suite *suite, const uint8_t *master, const char *label,
                 struct fk_reader seed, uint8_t *ret, size_t len);

/* TLS 1.3: a direction's keys after a KeyUpdate (RFC 8446 section 7.2). FK_ERR_CRYPTO: unchanged.
 */
int fk_traffic_keys_update(const struct fk_suite *suite, struct fk_traffic_keys *keys);

#endif
