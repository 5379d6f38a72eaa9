/* Deriving traffic keys: see session_keys.h. OpenSSL's PRF is fetched once a process. */
#include "tls/session_keys.h"

#include "base/err.h"
#include "base/secret.h"
#include "tls/hkdf.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

static EVP_KDF *tls12_kdf;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    tls12_kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
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

static int expand(const struct fk_suite *suite, const uint8_t *secret, const char *name,
                  uint8_t *ret, size_t len)
{
    struct fk_hkdf_label label = {.context = {.left = 0}};

    fk_reader_init(&label.name, name, strlen(name));
    return fk_hkdf_expand_label(suite->hash_len, secret, &label, ret, len);
}

/* A direction's keys from its traffic secret. */
static int set_secret(const struct fk_suite *suite, const uint8_t *secret,
                      struct fk_traffic_keys *keys)
{
    int err;

    if ((err = expand(suite, secret, "key", keys->key, suite->key_len)) != FK_OK ||
        (err = expand(suite, secret, "iv", keys->iv, suite->iv_len)) != FK_OK)
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
    int err = expand(suite, keys->secret, "traffic upd", scratch.secret, suite->hash_len);

    if (err == FK_OK && (err = set_secret(suite, scratch.secret, &scratch.keys)) == FK_OK)
        *keys = scratch.keys;
    fk_wipe(&scratch, sizeof scratch);
    return err;
}

/* --- TLS 1.2 --- */

int fk_tls12_prf(const struct fk_suite *suite, const uint8_t *master, const char *label,
                 struct fk_reader seed, uint8_t *ret, size_t len)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, text(suite->hash), 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SECRET, bytes(master), 48),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, text(label), strlen(label)),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, bytes(seed.next), seed.left), OSSL_PARAM_END};
    EVP_KDF_CTX *ctx;
    bool ok;

    pthread_once(&fetched, fetch);
    ctx = tls12_kdf == NULL ? NULL : EVP_KDF_CTX_new(tls12_kdf);
    ok = ctx != NULL && EVP_KDF_derive(ctx, ret, len, params) == 1;
    EVP_KDF_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

/* RFC 5246 section 6.3. */
static int expand_keys(const struct fk_suite *suite, const uint8_t *master,
                       const uint8_t *client_random, const uint8_t *server_random, uint8_t *ret,
                       size_t len)
{
    uint8_t randoms[64];

    memcpy(randoms, server_random, 32);
    memcpy(randoms + 32, client_random, 32);
    return fk_tls12_prf(suite, master, "key expansion", (struct fk_reader){randoms, sizeof randoms},
                        ret, len);
}

static const uint8_t *cut(const uint8_t *block, uint8_t *client, uint8_t *server, size_t len)
{
    memcpy(client, block, len);
    memcpy(server, block + len, len);
    return block + 2 * len;
}

size_t fk_key_block_len(const struct fk_suite *suite)
{
    return 2 * ((size_t)suite->mac_len + suite->key_len + suite->iv_len);
}

static void cut_block(const struct fk_suite *suite, const uint8_t *block,
                      struct fk_session_keys *ret)
{
    const uint8_t *at = block;

    *ret = (struct fk_session_keys){.suite = suite};
    at = cut(at, ret->client.mac_key, ret->server.mac_key, suite->mac_len);
    at = cut(at, ret->client.key, ret->server.key, suite->key_len);
    cut(at, ret->client.iv, ret->server.iv, suite->iv_len);
    ret->client.seq = ret->server.seq = 1;
}

int fk_session_keys_block(const struct fk_suite *suite, const uint8_t *block, size_t len,
                          struct fk_session_keys *ret)
{
    if (suite->version != FK_TLS12 || len != fk_key_block_len(suite))
        return FK_ERR_INVAL;
    cut_block(suite, block, ret);
    return FK_OK;
}

int fk_session_keys_tls12(const struct fk_suite *suite, const uint8_t *master,
                          const uint8_t *client_random, const uint8_t *server_random,
                          bool encrypt_then_mac, struct fk_session_keys *ret)
{
    uint8_t block[FK_KEY_BLOCK_MAX];
    int err;

    if (suite->version != FK_TLS12 || (encrypt_then_mac && suite->protection != FK_PROTECT_CBC))
        return FK_ERR_INVAL;
    err = expand_keys(suite, master, client_random, server_random, block, fk_key_block_len(suite));
    if (err == FK_OK) {
        cut_block(suite, block, ret);
        ret->encrypt_then_mac = encrypt_then_mac;
    }
    fk_wipe(block, sizeof block);
    return err;
}
