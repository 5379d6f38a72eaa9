/* token/asn1: DER of signatures, against OpenSSL's; token/state: every cell of the table. */
#include "unit.h"

#include "base/err.h"
#include "token/asn1.h"
#include "token/state.h"

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

/* OpenSSL, given r and s. */
static size_t openssl_der(const uint8_t *raw, size_t len, uint8_t *ret)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    unsigned char *at = ret;
    int n;

    assert_int_equal(ECDSA_SIG_set0(sig, BN_bin2bn(raw, (int)len / 2, NULL),
                                    BN_bin2bn(raw + len / 2, (int)len / 2, NULL)),
                     1);
    n = i2d_ECDSA_SIG(sig, &at);
    assert_true(n > 0);
    ECDSA_SIG_free(sig);
    return (size_t)n;
}

static void check_pair(const uint8_t *raw, size_t len)
{
    uint8_t got[FK_ECDSA_DER_MAX], want[2 * FK_ECDSA_DER_MAX];
    size_t got_len, want_len = openssl_der(raw, len, want);

    assert_ok(fk_ecdsa_der(raw, len, got, &got_len));
    assert_int_equal(got_len, want_len);
    assert_memory_equal(got, want, want_len);
}

static void pairs_are_der(void **state)
{
    static const size_t sizes[] = {2, 64, 96, 132};
    uint8_t raw[132];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int turn = 0; turn < 200; turn++) {
            assert_int_equal(RAND_bytes(raw, (int)sizes[i]), 1);
            memset(raw, 0, (size_t)turn % (sizes[i] / 2)); /* leading zeros of r */
            if (turn % 3 == 0)
                memset(raw + sizes[i] / 2, 0, (size_t)(turn / 3) % (sizes[i] / 2)); /* of s */
            check_pair(raw, sizes[i]);
        }
        memset(raw, 0xff, sizes[i]); /* the longest */
        check_pair(raw, sizes[i]);
        memset(raw, 0, sizes[i]);
        check_pair(raw, sizes[i]);
    }
}

static void other_lengths_are_refused(void **state)
{
    uint8_t raw[134] = {1}, ret[FK_ECDSA_DER_MAX];
    size_t len;

    (void)state;
    assert_int_equal(fk_ecdsa_der(raw, 0, ret, &len), FK_ERR_FORMAT);
    assert_int_equal(fk_ecdsa_der(raw, 63, ret, &len), FK_ERR_FORMAT);
    assert_int_equal(fk_ecdsa_der(raw, 134, ret, &len), FK_ERR_FORMAT);
}

/* What RSA decrypts of OpenSSL's own PKCS#1 signature is the DigestInfo. */
static void digest_info_is_what_openssl_signs(void **state)
{
    static const char *const names[FK_HASH_COUNT] = {"SHA1", "SHA224", "SHA256", "SHA384",
                                                     "SHA512"};
    EVP_PKEY *key = EVP_RSA_gen(2048);

    (void)state;
    for (int hash = 0; hash < FK_HASH_COUNT; hash++) {
        uint8_t digest[64], sig[256], want[256], got[FK_DIGEST_INFO_MAX];
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
        size_t sig_len = sizeof sig, want_len = sizeof want, len;

        assert_int_equal(RAND_bytes(digest, sizeof digest), 1);
        assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, EVP_get_digestbyname(names[hash])), 1);
        assert_int_equal(
            EVP_PKEY_sign(ctx, sig, &sig_len, digest, fk_hash_size((enum fk_hash)hash)), 1);
        EVP_PKEY_CTX_free(ctx);
        ctx = EVP_PKEY_CTX_new(key, NULL);
        assert_int_equal(EVP_PKEY_verify_recover_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
        assert_int_equal(EVP_PKEY_verify_recover(ctx, want, &want_len, sig, sig_len), 1);
        EVP_PKEY_CTX_free(ctx);
        len = fk_digest_info((enum fk_hash)hash, digest, got);
        assert_int_equal(len, want_len);
        assert_memory_equal(got, want, len);
    }
    EVP_PKEY_free(key);
}

/* Row: state; column: opened, failed, PIN wrong, gone, gone soon, due. */
static void states_follow_the_table(void **state)
{
    static const enum fk_token_state want[FK_TOKEN_STATES][FK_TOKEN_EVENTS] = {
        [FK_TOKEN_OPENING] = {FK_TOKEN_OPEN, FK_TOKEN_LOST, FK_TOKEN_REFUSED, FK_TOKEN_OPENING,
                              FK_TOKEN_OPENING, FK_TOKEN_OPENING},
        [FK_TOKEN_OPEN] = {FK_TOKEN_OPEN, FK_TOKEN_OPEN, FK_TOKEN_REFUSED, FK_TOKEN_OPENING,
                           FK_TOKEN_LOST, FK_TOKEN_OPEN},
        [FK_TOKEN_LOST] = {FK_TOKEN_LOST, FK_TOKEN_LOST, FK_TOKEN_LOST, FK_TOKEN_LOST,
                           FK_TOKEN_LOST, FK_TOKEN_OPENING},
        [FK_TOKEN_REFUSED] = {FK_TOKEN_REFUSED, FK_TOKEN_REFUSED, FK_TOKEN_REFUSED,
                              FK_TOKEN_REFUSED, FK_TOKEN_REFUSED, FK_TOKEN_REFUSED}};

    (void)state;
    for (int s = 0; s < FK_TOKEN_STATES; s++)
        for (int e = 0; e < FK_TOKEN_EVENTS; e++)
            assert_int_equal(fk_token_next((enum fk_token_state)s, (enum fk_token_event)e),
                             want[s][e]);
}

UNIT_MAIN(cmocka_unit_test(pairs_are_der), cmocka_unit_test(other_lengths_are_refused),
          cmocka_unit_test(digest_info_is_what_openssl_signs),
          cmocka_unit_test(states_follow_the_table))
