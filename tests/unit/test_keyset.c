/* signer/keyset: every form of key file, the public facts of keys, and bundles that lie. */
#include "failmalloc.h"
#include "unit.h"
#include "unit_keys.h"

#include "base/limits.h"
#include "base/text.h"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const kinds[] = {"rsa2048", "P-256", "P-384", "P-521", "ed25519"};

struct form {
    const char *type; /* "PEM", "DER" */
    const char *structure;
    const char *cipher;
};

/* The key written by OpenSSL's encoder; `len` 0 when this key has no such form. */
static size_t encode(EVP_PKEY *key, const struct form *form, const char *pass, uint8_t **ret)
{
    OSSL_ENCODER_CTX *ctx = OSSL_ENCODER_CTX_new_for_pkey(key, OSSL_KEYMGMT_SELECT_ALL, form->type,
                                                          form->structure, NULL);
    size_t len = 0;

    *ret = NULL;
    assert_non_null(ctx);
    if (form->cipher != NULL) {
        assert_int_equal(OSSL_ENCODER_CTX_set_cipher(ctx, form->cipher, NULL), 1);
        assert_int_equal(OSSL_ENCODER_CTX_set_passphrase(ctx, (const uint8_t *)pass, strlen(pass)),
                         1);
    }
    if (OSSL_ENCODER_CTX_get_num_encoders(ctx) > 0 && OSSL_ENCODER_to_data(ctx, ret, &len) != 1)
        len = 0;
    OSSL_ENCODER_CTX_free(ctx);
    ERR_clear_error();
    return len;
}

static void every_form_of_key_file_is_read(void **state)
{
    static const struct form forms[] = {
        {"PEM", "PrivateKeyInfo", NULL},
        {"DER", "PrivateKeyInfo", NULL},
        {"PEM", "type-specific", NULL}, /* PKCS#1, SEC1 */
        {"DER", "type-specific", NULL},
        {"PEM", "EncryptedPrivateKeyInfo", "AES-256-CBC"},
        {"DER", "EncryptedPrivateKeyInfo", "AES-256-CBC"},
        {"PEM", "type-specific", "AES-128-CBC"}, /* DEK-Info */
    };
    int read = 0;

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        EVP_PKEY *key = unit_key(kinds[k]);

        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
            EVP_PKEY *again = NULL;
            uint8_t *data;
            size_t len = encode(key, &forms[i], "secret words", &data);

            if (len == 0) /* Ed25519 has no type-specific form */
                continue;
            assert_ok(fk_key_parse(data, len, "secret words", &again));
            assert_int_equal(EVP_PKEY_eq(key, again), 1);
            EVP_PKEY_free(again);
            if (forms[i].cipher != NULL) {
                assert_err(fk_key_parse(data, len, NULL, &again), FK_ERR_PASSPHRASE);
                assert_err(fk_key_parse(data, len, "secret word", &again), FK_ERR_PASSPHRASE);
            }
            OPENSSL_free(data);
            read++;
        }
        EVP_PKEY_free(key);
    }
    assert_int_equal(read, 4 * 7 + 4);
    assert_int_equal(ERR_peek_error(), 0);
}

static void parameters_before_an_ec_key_are_passed_over(void **state)
{
    EVP_PKEY *key = unit_key("P-256"), *again = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    long len;
    char *data;

    (void)state;
    /* What `openssl ecparam -genkey` writes. */
    assert_true(BIO_puts(bio, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
                              "-----END EC PARAMETERS-----\n") > 0);
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    len = BIO_get_mem_data(bio, &data);
    assert_ok(fk_key_parse(data, (size_t)len, NULL, &again));
    assert_int_equal(EVP_PKEY_eq(key, again), 1);
    EVP_PKEY_free(again);
    EVP_PKEY_free(key);
    BIO_free(bio);
}

static void other_keys_are_refused(void **state)
{
    static const struct form pem = {"PEM", "PrivateKeyInfo", NULL};
    EVP_PKEY *keys[] = {EVP_RSA_gen(1024), EVP_EC_gen("secp256k1"), EVP_EC_gen("secp224r1"),
                        EVP_PKEY_Q_keygen(NULL, NULL, "X25519"),
                        EVP_PKEY_Q_keygen(NULL, NULL, "ED448")};

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        EVP_PKEY *again = NULL;
        uint8_t *data;
        size_t len = encode(keys[i], &pem, NULL, &data);

        assert_true(len > 0);
        assert_err(fk_key_parse(data, len, NULL, &again), FK_ERR_UNSUPPORTED);
        assert_null(again);
        OPENSSL_free(data);
        EVP_PKEY_free(keys[i]);
    }
}

static void broken_files_are_refused(void **state)
{
    static const struct form der = {"DER", "PrivateKeyInfo", NULL};
    EVP_PKEY *key = unit_key("P-256"), *again = NULL;
    uint8_t *data, *big;
    size_t len = encode(key, &der, NULL, &data);

    (void)state;
    assert_err(fk_key_parse("", 0, NULL, &again), FK_ERR_FORMAT);
    assert_err(fk_key_parse("not a key", 9, NULL, &again), FK_ERR_FORMAT);
    for (size_t i = 1; i < len; i++)
        assert_err(fk_key_parse(data, i, NULL, &again), FK_ERR_FORMAT);
    big = calloc(1, FK_KEY_FILE_MAX + 1);
    assert_err(fk_key_parse(big, FK_KEY_FILE_MAX + 1, NULL, &again), FK_ERR_LIMIT);
    free(big);
    OPENSSL_free(data);
    EVP_PKEY_free(key);
}

static void public_key_is_not_a_private_key(void **state)
{
    EVP_PKEY *key = unit_key("rsa2048"), *again = NULL;
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);

    (void)state;
    assert_true(len > 0);
    assert_err(fk_key_parse(der, (size_t)len, NULL, &again), FK_ERR_FORMAT);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
}

static void halves_that_do_not_belong_together_are_refused(void **state)
{
    static const struct form der = {"DER", "type-specific", NULL};
    EVP_PKEY *key = unit_key("P-256"), *other = unit_key("P-256"), *again = NULL;
    uint8_t *a, *b;
    size_t len = encode(key, &der, NULL, &a);

    (void)state;
    assert_int_equal(encode(other, &der, NULL, &b), len);
    memcpy(a + len - 65, b + len - 65, 65); /* SEC1 ends with the public point */
    assert_err(fk_key_parse(a, len, NULL, &again), FK_ERR_FORMAT);
    OPENSSL_free(a);
    OPENSSL_free(b);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* SKI as in a certificate's extension; digest of the modulus as BN_bn2hex() writes it. */
static void public_facts_are_those_of_certificates(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        static const uint16_t bits[] = {2048, 256, 384, 521, 256};
        EVP_PKEY *key = unit_key(kinds[k]);
        struct fk_key_public public;
        unsigned char *spki = NULL;
        uint8_t ski[20], digest[32];
        int len = i2d_PUBKEY(key, &spki);

        static const int headers[] = {24, 26, 23, 25, 12}; /* SPKI bytes before the key's bits */

        assert_true(len > headers[k]);
        SHA1(spki + headers[k], (size_t)(len - headers[k]), ski);
        assert_ok(fk_key_describe(key, &public));
        assert_memory_equal(public.ski, ski, 20);
        assert_int_equal(public.bits, bits[k]);
        if (k == 0) {
            BIGNUM *n = NULL;
            char *hex;

            assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
            hex = BN_bn2hex(n);
            SHA256((const uint8_t *)hex, strlen(hex), digest);
            assert_memory_equal(public.digest, digest, 32);
            OPENSSL_free(hex);
            BN_free(n);
        }
        OPENSSL_free(spki);
        EVP_PKEY_free(key);
    }
}

/* The generator of P-256 (private key 1): its compressed form is 03 and x, FIPS 186-4. */
static void digest_of_a_point_is_of_its_compressed_hex(void **state)
{
    static const char hex[] = "036B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296";
    static const char sec1[] = "30770201010420"
                               "0000000000000000000000000000000000000000000000000000000000000001"
                               "a00a06082a8648ce3d030107a14403420004"
                               "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                               "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    uint8_t der[(sizeof sec1 - 1) / 2], digest[32];
    struct fk_key_public public;
    EVP_PKEY *key = NULL;

    (void)state;
    assert_ok(fk_text_unhex(sec1, sizeof sec1 - 1, der, sizeof der));
    assert_ok(fk_key_parse(der, sizeof der, NULL, &key));
    assert_ok(fk_key_describe(key, &public));
    SHA256((const uint8_t *)hex, sizeof hex - 1, digest);
    assert_memory_equal(public.digest, digest, 32);
    assert_int_equal(public.type, FK_KEY_EC);
    EVP_PKEY_free(key);
}

/* --- bundles --- */

static int make_bundle(uint8_t skis[5][20], bool audit)
{
    static const uint8_t secret[32] = "an audit secret of thirty-two b";
    struct fk_keyset_builder *builder;
    int fd = -1;

    assert_ok(fk_keyset_builder_new(&builder));
    for (size_t k = 0; k < 5; k++) {
        EVP_PKEY *key = unit_key(kinds[k]);

        unit_bundle_add(builder, kinds[k], key, (uint16_t)(k + 1), skis[k]);
        EVP_PKEY_free(key);
    }
    if (audit)
        assert_ok(fk_keyset_builder_audit(builder, secret));
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    return fd;
}

static void bundle_carries_keys_and_audit_secret(void **state)
{
    static const uint8_t zero[32];
    struct fk_keyset *set, *again;
    uint8_t skis[5][20], none[20] = {0};
    int fd = make_bundle(skis, true);

    (void)state;
    assert_ok(fk_keyset_open(fd, &set));
    assert_ok(fk_keyset_open(fd, &again)); /* two signers, one bundle */
    assert_int_equal(CRYPTO_secure_malloc_initialized(), 1);
    assert_int_equal(fk_keyset_count(set), 5);
    for (size_t k = 0; k < 5; k++) {
        const struct fk_keyset_entry *entry = fk_keyset_find(set, skis[k]);

        assert_non_null(entry);
        assert_string_equal(entry->public.name, kinds[k]);
        assert_int_equal(entry->public.permissions, k + 1);
        assert_ptr_equal(entry, fk_keyset_at(set, k));
        /* The answer to bad padding is the same from every signer. */
        assert_memory_equal(entry->reject_secret, fk_keyset_find(again, skis[k])->reject_secret,
                            32);
    }
    assert_memory_not_equal(fk_keyset_at(set, 0)->reject_secret, zero, 32);
    assert_int_equal(CRYPTO_secure_allocated(fk_keyset_at(set, 0)), 1);
    assert_null(fk_keyset_find(set, none));
    assert_memory_equal(fk_keyset_audit(set), "an audit secret of thirty-two b", 32);
    fk_keyset_free(set);
    fk_keyset_free(again);
    close(fd);
}

static void bundle_without_keys_is_fine(void **state)
{
    struct fk_keyset_builder *builder;
    const uint8_t ski[20] = {1};
    struct fk_keyset *set;
    int fd;

    (void)state;
    assert_ok(fk_keyset_builder_new(&builder));
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    assert_ok(fk_keyset_open(fd, &set));
    assert_int_equal(fk_keyset_count(set), 0);
    assert_null(fk_keyset_find(set, ski));
    assert_null(fk_keyset_audit(set));
    fk_keyset_free(set);
    fk_keyset_builder_free(builder);
    close(fd);
}

static void same_key_twice_is_refused(void **state)
{
    struct fk_keyset_builder *builder;
    EVP_PKEY *key = unit_key("P-256");
    struct fk_keyset *set = NULL;
    uint8_t ski[20];
    int fd;

    (void)state;
    assert_ok(fk_keyset_builder_new(&builder));
    unit_bundle_add(builder, "a", key, 1, ski);
    unit_bundle_add(builder, "b", key, 1, ski);
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    assert_err(fk_keyset_open(fd, &set), FK_ERR_DUPLICATE);
    assert_null(set);
    fk_keyset_builder_free(builder);
    EVP_PKEY_free(key);
    close(fd);
}

static int copy_bundle(const uint8_t *data, size_t len, int seals)
{
    int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    if (seals != 0)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void bundles_that_lie_are_refused(void **state)
{
    const int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct fk_keyset_builder *builder;
    EVP_PKEY *key = unit_key("P-256");
    struct fk_keyset *set = NULL;
    uint8_t data[1024], ski[20];
    size_t len;
    int fd;

    (void)state;
    assert_ok(fk_keyset_builder_new(&builder));
    unit_bundle_add(builder, "a", key, 1, ski);
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    len = (size_t)pread(fd, data, sizeof data, 0);
    close(fd);

    fd = copy_bundle(data, len, 0); /* not sealed */
    assert_err(fk_keyset_open(fd, &set), FK_ERR_FORMAT);
    close(fd);
    fd = copy_bundle(data, len, all & ~F_SEAL_WRITE);
    assert_err(fk_keyset_open(fd, &set), FK_ERR_FORMAT);
    close(fd);
    for (size_t i = 0; i < len; i++) { /* every strict prefix */
        fd = copy_bundle(data, i, all);
        assert_err(fk_keyset_open(fd, &set), FK_ERR_FORMAT);
        close(fd);
    }
    data[len] = 0;
    fd = copy_bundle(data, len + 1, all); /* one byte more */
    assert_err(fk_keyset_open(fd, &set), FK_ERR_FORMAT);
    close(fd);
    fd = copy_bundle(data, len, all); /* and as it was */
    assert_ok(fk_keyset_open(fd, &set));
    fk_keyset_free(set);
    close(fd);
    EVP_PKEY_free(key);
}

static int open_bundle(void *context)
{
    struct fk_keyset *set;
    int err = fk_keyset_open(*(const int *)context, &set);

    if (err == FK_OK)
        fk_keyset_free(set);
    return err;
}

static int build_bundle(void *context)
{
    const struct fk_keyset_entry *entry = context;
    static const uint8_t secret[32];
    struct fk_keyset_builder *builder;
    int err, fd;

    if ((err = fk_keyset_builder_new(&builder)) != FK_OK)
        return err;
    if ((err = fk_keyset_builder_add(builder, &entry->public, entry->pkey)) == FK_OK &&
        (err = fk_keyset_builder_audit(builder, secret)) == FK_OK &&
        (err = fk_keyset_builder_seal(builder, &fd)) == FK_OK)
        close(fd);
    fk_keyset_builder_free(builder);
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    struct fk_keyset *set;
    uint8_t skis[5][20];
    int fd = make_bundle(skis, true);

    (void)state;
    assert_ok(fk_keyset_open(fd, &set)); /* turns the secure heap on, once */
    assert_true(failmalloc_try(open_bundle, &fd) > 1);
    assert_true(failmalloc_try(build_bundle, (void *)(uintptr_t)fk_keyset_at(set, 0)) > 1);
    fk_keyset_free(set);
    close(fd);
}

UNIT_MAIN(cmocka_unit_test(every_form_of_key_file_is_read),
          cmocka_unit_test(parameters_before_an_ec_key_are_passed_over),
          cmocka_unit_test(other_keys_are_refused), cmocka_unit_test(broken_files_are_refused),
          cmocka_unit_test(public_key_is_not_a_private_key),
          cmocka_unit_test(halves_that_do_not_belong_together_are_refused),
          cmocka_unit_test(public_facts_are_those_of_certificates),
          cmocka_unit_test(digest_of_a_point_is_of_its_compressed_hex),
          cmocka_unit_test(bundle_carries_keys_and_audit_secret),
          cmocka_unit_test(bundle_without_keys_is_fine),
          cmocka_unit_test(same_key_twice_is_refused),
          cmocka_unit_test(bundles_that_lie_are_refused),
          cmocka_unit_test(every_failed_allocation_is_survived))
