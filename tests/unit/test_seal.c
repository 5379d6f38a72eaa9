/* tls/seal: what is sealed to a key opens with that key and that context, and with nothing else. */
#include "unit.h"

#include "base/err.h"
#include "tls/seal.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

static const struct fk_seal_context context = {"farkey test 1", "occasion", 8};

static EVP_PKEY *make_key(uint8_t ret_public[FK_SEAL_KEY_SIZE])
{
    EVP_PKEY *key;

    assert_ok(fk_seal_key_new(&key, ret_public));
    return key;
}

static void what_is_sealed_opens(void **state)
{
    static const size_t lengths[] = {0, 1, 15, 16, 48, 1000, 5000};
    uint8_t public_key[FK_SEAL_KEY_SIZE], plain[5000], sealed[5000 + FK_SEAL_OVERHEAD], out[5000];
    EVP_PKEY *key = make_key(public_key);
    size_t len;

    (void)state;
    memset(plain, 0x5a, sizeof plain);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_ok(fk_seal_to(public_key, &context, plain, lengths[i], sealed));
        assert_ok(fk_seal_open(key, &context,
                               (struct fk_reader){sealed, lengths[i] + FK_SEAL_OVERHEAD}, out,
                               lengths[i], &len));
        assert_int_equal(len, lengths[i]);
        assert_memory_equal(out, plain, len);
    }
    EVP_PKEY_free(key);
}

/* Each byte of it counts, and who, and for what. */
static void nothing_else_opens_it(void **state)
{
    static const struct fk_seal_context others[] = {{"farkey test 2", "occasion", 8},
                                                    {"farkey test 1", "occasioo", 8},
                                                    {"farkey test 1", "occasion", 7},
                                                    {"farkey test", "1occasion", 8}};
    uint8_t public_key[FK_SEAL_KEY_SIZE], another[FK_SEAL_KEY_SIZE], out[48];
    uint8_t plain[48] = {1, 2, 3}, sealed[48 + FK_SEAL_OVERHEAD];
    EVP_PKEY *key = make_key(public_key), *other = make_key(another);
    struct fk_reader reader = {sealed, sizeof sealed};
    size_t len = 7;

    (void)state;
    assert_ok(fk_seal_to(public_key, &context, plain, sizeof plain, sealed));
    for (size_t i = 0; i < sizeof sealed; i++) {
        sealed[i] ^= 0x10;
        assert_int_not_equal(fk_seal_open(key, &context, reader, out, sizeof out, &len), FK_OK);
        sealed[i] ^= 0x10;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_err(fk_seal_open(key, &others[i], reader, out, sizeof out, &len), FK_ERR_VERIFY);
    assert_err(fk_seal_open(other, &context, reader, out, sizeof out, &len), FK_ERR_VERIFY);
    assert_err(fk_seal_open(key, &context, reader, out, sizeof out - 1, &len), FK_ERR_LIMIT);
    for (size_t cut = 0; cut < sizeof sealed; cut++)
        assert_int_not_equal(
            fk_seal_open(key, &context, (struct fk_reader){sealed, cut}, out, sizeof out, &len),
            FK_OK);
    assert_int_equal(len, 7);
    EVP_PKEY_free(other);
    EVP_PKEY_free(key);
}

/* Points of small order make the secret zero, whatever the other key is: RFC 7748 section 6.1. */
static void no_key_is_refused(void **state)
{
    static const uint8_t zero[FK_SEAL_KEY_SIZE], one[FK_SEAL_KEY_SIZE] = {1};
    uint8_t plain[4] = {0}, sealed[4 + FK_SEAL_OVERHEAD];

    (void)state;
    assert_err(fk_seal_to(zero, &context, plain, sizeof plain, sealed), FK_ERR_CRYPTO);
    assert_err(fk_seal_to(one, &context, plain, sizeof plain, sealed), FK_ERR_CRYPTO);
}

static void long_contexts_are_refused(void **state)
{
    static const uint8_t bytes[65];
    const struct fk_seal_context longer = {"farkey test 1", bytes, sizeof bytes};
    uint8_t public_key[FK_SEAL_KEY_SIZE], sealed[FK_SEAL_OVERHEAD];
    EVP_PKEY *key = make_key(public_key);

    (void)state;
    assert_err(fk_seal_to(public_key, &longer, bytes, 0, sealed), FK_ERR_LIMIT);
    EVP_PKEY_free(key);
}

/*
 * A vector of the construction, worked out here step by step from the private key: RFC 7748's
 * Bob's key (section 6.1) opens what Alice, whose key is the ephemeral one, has sealed.
 */
static void as_documented(void **state)
{
    static const uint8_t alice[32] = {0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d,
                                      0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
                                      0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a,
                                      0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a};
    static const uint8_t bob[32] = {0x5d, 0xab, 0x08, 0x7e, 0x62, 0x4a, 0x8a, 0x4b,
                                    0x79, 0xe1, 0x7f, 0x8b, 0x83, 0x80, 0x0e, 0xe6,
                                    0x6f, 0x3b, 0xb1, 0x29, 0x26, 0x18, 0xb6, 0xfd,
                                    0x1c, 0x2f, 0x8b, 0x27, 0xff, 0x88, 0xe0, 0xeb};
    static const uint8_t shared[32] = {0x4a, 0x5d, 0x9d, 0x5b, 0xa4, 0xce, 0x2d, 0xe1,
                                       0x72, 0x8e, 0x3b, 0xf4, 0x80, 0x35, 0x0f, 0x25,
                                       0xe0, 0x7e, 0x21, 0xc9, 0x47, 0xd1, 0x9e, 0x33,
                                       0x76, 0xf0, 0x9b, 0x3c, 0x1e, 0x16, 0x17, 0x42};
    EVP_PKEY *a = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, alice, 32);
    EVP_PKEY *b = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, bob, 32);
    uint8_t salt[64], key[32], sealed[5 + FK_SEAL_OVERHEAD], out[5], info[13 + 1 + 8];
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *kdf_ctx = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)shared, sizeof shared),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof salt),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof info), OSSL_PARAM_END};
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    static const uint8_t nonce[12];
    size_t len = 32;
    int n;

    (void)state;
    memcpy(info, "farkey test 1\0occasion", sizeof info);
    assert_int_equal(EVP_PKEY_get_raw_public_key(a, salt, &len), 1);
    assert_int_equal(EVP_PKEY_get_raw_public_key(b, salt + 32, &len), 1);
    memcpy(sealed, salt, 32);
    assert_int_equal(EVP_KDF_derive(kdf_ctx, key, sizeof key, params), 1);
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, sealed + 32, &n, (const uint8_t *)"hello", 5), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, sealed + 37, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, sealed + 37), 1);
    assert_ok(fk_seal_open(b, &context, (struct fk_reader){sealed, sizeof sealed}, out, sizeof out,
                           &len));
    assert_memory_equal(out, "hello", 5);
    EVP_CIPHER_CTX_free(ctx);
    EVP_KDF_CTX_free(kdf_ctx);
    EVP_KDF_free(kdf);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
}

UNIT_MAIN(cmocka_unit_test(what_is_sealed_opens), cmocka_unit_test(nothing_else_opens_it),
          cmocka_unit_test(no_key_is_refused), cmocka_unit_test(long_contexts_are_refused),
          cmocka_unit_test(as_documented))
