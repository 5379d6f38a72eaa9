/*
 * Deriving traffic keys: see session_keys.h. OpenSSL's KDFs do the work; each is fetched once a
 * process.
 */
#include "tls/session_keys.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

#define BLOCK_MAX (2 * (FK_SUITE_KEY_MAX + FK_SUITE_IV_MAX + FK_SUITE_MAC_MAX))

static EVP_KDF *tls13_kdf, *tls12_kdf;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    tls13_kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
    tls12_kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
}

static int derive(EVP_KDF *kdf, const OSSL_PARAM *params, uint8_t *ret, size_t len)
{
    EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    int ok = ctx != NULL && EVP_KDF_derive(ctx, ret, len, params) == 1;

    EVP_KDF_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

/* OSSL_PARAMs of strings and bytes are not written to by a derivation. */
static char *text(const char *value)
{
    return (char *)(uintptr_t)value;
}

static void *bytes(const uint8_t *value)
{
    return (void *)(uintptr_t)value;
}

/* --- TLS 1.3 --- */

/* HKDF-Expand-Label(secret, label, "", len): RFC 8446 section 7.1. */
static int expand_label(const struct fk_suite *suite, const uint8_t *secret, const char *label,
                        uint8_t *ret, size_t len)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, text(suite->hash), 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, bytes(secret), suite->hash_len),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_PREFIX, text("tls13 "), 6),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_LABEL, text(label), strlen(label)),
        OSSL_PARAM_END};

    pthread_once(&fetched, fetch);
    return derive(tls13_kdf, params, ret, len);
}

/* A direction's keys from its traffic secret. */
static int set_secret(const struct fk_suite *suite, const uint8_t *secret,
                      struct fk_traffic_keys *keys)
{
    int err;

    if ((err = expand_label(suite, secret, "key", keys->key, suite->key_len)) != FK_OK ||
        (err = expand_label(suite, secret, "iv", keys->iv, suite->iv_len)) != FK_OK)
        return err;
    memcpy(keys->secret, secret, suite->hash_len);
    keys->seq = 0;
    return FK_OK;
}

int fk_session_keys_tls13(const struct fk_suite *suite, const uint8_t *client_secret,
                          const uint8_t *server_secret, struct fk_session_keys *ret)
{
    struct fk_session_keys keys = {.suite = suite};
    int err;

    if (suite->version != FK_TLS13)
        return FK_ERR_INVAL;
    if ((err = set_secret(suite, client_secret, &keys.client)) == FK_OK &&
        (err = set_secret(suite, server_secret, &keys.server)) == FK_OK)
        *ret = keys;
    fk_wipe(&keys, sizeof keys);
    return err;
}

int fk_traffic_keys_update(const struct fk_suite *suite, struct fk_traffic_keys *keys)
{
    struct {
        uint8_t secret[FK_SUITE_HASH_MAX];
        struct fk_traffic_keys keys;
    } scratch = {.secret = {0}};
    int err;

    if ((err = expand_label(suite, keys->secret, "traffic upd", scratch.secret, suite->hash_len)) ==
            FK_OK &&
        (err = set_secret(suite, scratch.secret, &scratch.keys)) == FK_OK)
        *keys = scratch.keys;
    fk_wipe(&scratch, sizeof scratch);
    return err;
}

/* --- TLS 1.2 --- */

/* PRF(master, "key expansion" | server random | client random): RFC 5246 sections 5 and 6.3. */
static int expand_keys(const struct fk_suite *suite, const uint8_t *master,
                       const uint8_t *client_random, const uint8_t *server_random, uint8_t *ret,
                       size_t len)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, text(suite->hash), 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SECRET, bytes(master), 48),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, text("key expansion"), 13),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, bytes(server_random), 32),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, bytes(client_random), 32),
        OSSL_PARAM_END};

    pthread_once(&fetched, fetch);
    return derive(tls12_kdf, params, ret, len);
}

static const uint8_t *cut(const uint8_t *block, uint8_t *client, uint8_t *server, size_t len)
{
    memcpy(client, block, len);
    memcpy(server, block + len, len);
    return block + 2 * len;
}

int fk_session_keys_tls12(const struct fk_suite *suite, const uint8_t *master,
                          const uint8_t *client_random, const uint8_t *server_random,
                          bool encrypt_then_mac, struct fk_session_keys *ret)
{
    size_t len = 2 * ((size_t)suite->mac_len + suite->key_len + suite->iv_len);
    uint8_t block[BLOCK_MAX];
    const uint8_t *at = block;
    int err;

    if (suite->version != FK_TLS12 || (encrypt_then_mac && suite->protection != FK_PROTECT_CBC))
        return FK_ERR_INVAL;
    err = expand_keys(suite, master, client_random, server_random, block, len);
    if (err == FK_OK) {
        *ret = (struct fk_session_keys){.suite = suite, .encrypt_then_mac = encrypt_then_mac};
        at = cut(at, ret->client.mac_key, ret->server.mac_key, suite->mac_len);
        at = cut(at, ret->client.key, ret->server.key, suite->key_len);
        cut(at, ret->client.iv, ret->server.iv, suite->iv_len);
        ret->client.seq = ret->server.seq = 1;
    }
    fk_wipe(block, sizeof block);
    return err;
}
