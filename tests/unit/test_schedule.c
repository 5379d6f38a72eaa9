/*
 * TLS 1.3's key schedule (tls/schedule.c, tls/hkdf.c): the same bytes as OpenSSL's own TLS13-KDF
 * for whatever libssl asks, and found by libssl where it is loaded.
 */
#include "base/err.h"
#include "tls/hkdf.h"
#include "tls/rkey.h"
#include "tls/schedule.h"
#include "unit.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

static OSSL_LIB_CTX *libctx;

static int setup(void **state)
{
    (void)state;
    libctx = OSSL_LIB_CTX_new();
    return libctx == NULL || fk_rkey_provider_load(libctx) != FK_OK;
}

static int teardown(void **state)
{
    (void)state;
    OSSL_LIB_CTX_free(libctx);
    return 0;
}

static EVP_KDF *fetch(OSSL_LIB_CTX *from, const char *query, const char *provider)
{
    EVP_KDF *kdf = EVP_KDF_fetch(from, "TLS13-KDF", query);

    assert_non_null(kdf);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), provider);
    return kdf;
}

static int derive(EVP_KDF *kdf, const OSSL_PARAM params[], uint8_t *out, size_t len)
{
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    int ret;

    assert_non_null(ctx);
    ret = EVP_KDF_derive(ctx, out, len, params);
    EVP_KDF_CTX_free(ctx);
    return ret;
}

struct asked {
    int mode;
    char digest[16], prefix[16], label[64];
    uint8_t key[1100], salt[48], data[48];
    size_t key_len, salt_len, data_len; /* 0: not given */
};

static void build(struct asked *asked, OSSL_PARAM params[8])
{
    OSSL_PARAM *p = params;

    *p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &asked->mode);
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, asked->digest, 0);
    if (asked->key_len > 0)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, asked->key, asked->key_len);
    if (asked->salt_len > 0)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, asked->salt, asked->salt_len);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, asked->prefix,
                                             strlen(asked->prefix));
    *p++ =
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, asked->label, strlen(asked->label));
    if (asked->data_len > 0)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_DATA, asked->data, asked->data_len);
    *p = OSSL_PARAM_construct_end();
}

static struct asked random_asked(size_t hash_len, int mode, const char *label)
{
    struct asked asked = {.mode = mode, .prefix = "tls13 "};

    snprintf(asked.digest, sizeof asked.digest, "%s", hash_len == 48 ? "SHA2-384" : "SHA2-256");
    snprintf(asked.label, sizeof asked.label, "%s", label);
    assert_int_equal(RAND_bytes(asked.key, sizeof asked.key), 1);
    assert_int_equal(RAND_bytes(asked.salt, sizeof asked.salt), 1);
    assert_int_equal(RAND_bytes(asked.data, sizeof asked.data), 1);
    return asked;
}

static void assert_same(struct asked *asked, size_t len)
{
    EVP_KDF *theirs = fetch(libctx, "provider=default", "default");
    EVP_KDF *ours = fetch(libctx, NULL, FK_SCHEDULE_PROVIDER);
    uint8_t expected[512], found[512] = {0};
    OSSL_PARAM params[8];

    build(asked, params);
    assert_int_equal(derive(theirs, params, expected, len), 1);
    assert_int_equal(derive(ours, params, found, len), 1);
    assert_memory_equal(found, expected, len);
    EVP_KDF_free(theirs);
    EVP_KDF_free(ours);
}

static const size_t hash_lens[] = {32, 48};

/* Premasters are a hash long or less, 66 bytes with P-521, up to 1024 with ffdhe8192. */
static void extracts_as_openssl(void **state)
{
    static const size_t key_lens[] = {0, 1, 31, 32, 48, 64, 65, 66, 128, 129, 1024};

    (void)state;
    for (size_t h = 0; h < 2; h++)
        for (size_t k = 0; k < sizeof key_lens / sizeof key_lens[0]; k++)
            for (unsigned with_salt = 0; with_salt < 2; with_salt++) {
                struct asked asked =
                    random_asked(hash_lens[h], EVP_KDF_HKDF_MODE_EXTRACT_ONLY, "derived");

                asked.key_len = key_lens[k];
                asked.salt_len = with_salt ? hash_lens[h] : 0;
                assert_same(&asked, hash_lens[h]);
            }
}

static void expands_as_openssl(void **state)
{
    static const char *const labels[] = {"c hs traffic", "key", "iv", "finished", "exp master", ""};
    static const size_t lens[] = {1, 12, 16, 32, 33, 48, 49, 96, 97, 500};

    (void)state;
    for (size_t h = 0; h < 2; h++)
        for (size_t l = 0; l < sizeof labels / sizeof labels[0]; l++)
            for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
                struct asked asked =
                    random_asked(hash_lens[h], EVP_KDF_HKDF_MODE_EXPAND_ONLY, labels[l]);

                asked.key_len = hash_lens[h];
                asked.data_len = l % 2 == 0 ? hash_lens[h] : 0;
                assert_same(&asked, lens[i]);
            }
}

static void assert_refused(struct asked *asked, size_t len)
{
    EVP_KDF *ours = fetch(libctx, NULL, FK_SCHEDULE_PROVIDER);
    uint8_t out[16384];
    OSSL_PARAM params[8];

    build(asked, params);
    assert_int_equal(derive(ours, params, out, len), 0);
    EVP_KDF_free(ours);
}

static void refuses_what_is_not_the_schedule(void **state)
{
    const struct asked good = random_asked(32, EVP_KDF_HKDF_MODE_EXPAND_ONLY, "key");
    struct asked asked = good;

    (void)state;
    asked.key_len = 31; /* no secret of this hash */
    assert_refused(&asked, 16);
    asked.key_len = 0;
    assert_refused(&asked, 16);
    asked.key_len = 32;
    assert_refused(&asked, 255 * 32 + 1);
    asked.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
    assert_refused(&asked, 16);
    asked.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
    assert_refused(&asked, 16); /* less than a hash */
    asked.salt_len = 48;
    assert_refused(&asked, 32);
    asked = good;
    asked.key_len = 32;
    snprintf(asked.digest, sizeof asked.digest, "SHA512");
    assert_refused(&asked, 16);
    asked = good;
    asked.key_len = 32;
    snprintf(asked.prefix, sizeof asked.prefix, "dtls13");
    assert_refused(&asked, 16);
    asked = good;
    asked.key_len = 32;
    memset(asked.label, 'x', FK_HKDF_LABEL_MAX + 1);
    assert_refused(&asked, 16);
}

static void hkdf_refuses_other_hashes(void **state)
{
    const struct fk_hkdf_label label = {.name = {(const uint8_t *)"key", 3}};
    const struct fk_reader none = {.left = 0};
    uint8_t secret[64] = {1}, out[64];

    (void)state;
    assert_err(fk_hkdf_extract(20, none, none, out), FK_ERR_INVAL);
    assert_err(fk_hkdf_expand_label(64, secret, &label, out, 16), FK_ERR_INVAL);
}

/* Only the key schedule: a digest or a cipher without properties stays the default provider's. */
static void takes_nothing_else(void **state)
{
    EVP_KDF *kdf = EVP_KDF_fetch(libctx, "HKDF", NULL);
    EVP_MD *md = EVP_MD_fetch(libctx, "SHA256", NULL);

    (void)state;
    assert_non_null(kdf);
    assert_non_null(md);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), "default");
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_MD_get0_provider(md)), "default");
    EVP_KDF_free(kdf);
    EVP_MD_free(md);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(extracts_as_openssl),
        cmocka_unit_test(expands_as_openssl),
        cmocka_unit_test(refuses_what_is_not_the_schedule),
        cmocka_unit_test(hkdf_refuses_other_hashes),
        cmocka_unit_test(takes_nothing_else),
    };

    return cmocka_run_group_tests(cases, setup, teardown);
}
