/* tls/aead: every library that is built in, against one-shot AEADs of OpenSSL's. */
#include "unit.h"

#include "base/err.h"
#include "tls/aead.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#define MAX 20000

static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0xc02f, 0xc030, 0xcca8};

struct message {
    const struct fk_suite *suite;
    uint8_t key[FK_SUITE_KEY_MAX], nonce[FK_AEAD_NONCE], aad[13];
    size_t aad_len, len;
    uint8_t plain[MAX], sealed[MAX], tag[FK_AEAD_TAG];
};

static struct message message; /* large */
static uint8_t out[MAX];

static unsigned below(unsigned bound)
{
    unsigned value;

    assert_int_equal(RAND_bytes((void *)&value, sizeof value), 1);
    return value % bound;
}

/* Random bytes of that length, and what OpenSSL makes of them in one step. */
static void make_message(const struct fk_suite *suite, size_t len)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;

    message.suite = suite;
    message.len = len;
    message.aad_len = below(2) == 0 ? 5 : 13;
    assert_int_equal(RAND_bytes(message.key, sizeof message.key), 1);
    assert_int_equal(RAND_bytes(message.nonce, sizeof message.nonce), 1);
    assert_int_equal(RAND_bytes(message.aad, sizeof message.aad), 1);
    if (len > 0)
        assert_int_equal(RAND_bytes(message.plain, (int)len), 1);
    assert_int_equal(
        EVP_EncryptInit_ex(ctx, fk_suite_cipher(suite), NULL, message.key, message.nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, message.aad, (int)message.aad_len), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, message.sealed, &n, message.plain, (int)len), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, message.sealed + len, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, FK_AEAD_TAG, message.tag), 1);
    EVP_CIPHER_CTX_free(ctx);
}

/* Through it, cut anyhow, in place or not. */
static void pass(struct fk_aead *aead, const uint8_t *in)
{
    bool in_place = below(2) == 0;
    size_t done = 0, part;

    if (in_place)
        memcpy(out, in, message.len);
    assert_true(fk_aead_start(aead, message.nonce, message.aad, message.aad_len));
    for (; done < message.len; done += part) {
        part = below(2) == 0 ? message.len - done : 1 + below((unsigned)(message.len - done));
        assert_true(fk_aead_step(aead, out + done, (in_place ? out : in) + done, part));
    }
}

static void check(const struct fk_aead_library *library)
{
    struct fk_aead *sealer = library->make(message.suite, message.key, true);
    struct fk_aead *opener = library->make(message.suite, message.key, false);
    uint8_t tag[FK_AEAD_TAG], wrong[FK_AEAD_TAG];

    assert_non_null(sealer);
    assert_non_null(opener);
    pass(sealer, message.plain);
    assert_true(fk_aead_seal(sealer, tag));
    assert_memory_equal(out, message.sealed, message.len);
    assert_memory_equal(tag, message.tag, sizeof tag);

    memcpy(wrong, message.tag, sizeof wrong);
    wrong[below(FK_AEAD_TAG)] ^= (uint8_t)(1U << below(8));
    pass(opener, message.sealed);
    assert_err(fk_aead_open(opener, wrong), FK_ERR_VERIFY);
    pass(opener, message.sealed); /* what has failed leaves nothing behind */
    assert_ok(fk_aead_open(opener, message.tag));
    assert_memory_equal(out, message.plain, message.len);

    message.aad[below((unsigned)message.aad_len)] ^= 1;
    pass(opener, message.sealed);
    assert_err(fk_aead_open(opener, message.tag), FK_ERR_VERIFY);
    fk_aead_free(sealer);
    fk_aead_free(opener);
}

static void all_agree_with_openssl(void **state)
{
    static const size_t lengths[] = {0,   1,   15,  16,  17,  31,   63,   64,    65,    127,
                                     255, 256, 257, 287, 288, 1400, 4096, 16384, 16385, 16640};

    (void)state;
    for (size_t s = 0; s < sizeof suites / sizeof suites[0]; s++) {
        const struct fk_suite *suite = fk_suite_find(suites[s]);
        unsigned libraries = 0;

        for (size_t i = 0; fk_aead_libraries[i] != NULL; i++) {
            if (!fk_aead_libraries[i]->knows(suite))
                continue;
            libraries++;
            for (size_t k = 0; k < sizeof lengths / sizeof lengths[0] + 200; k++) {
                size_t n = sizeof lengths / sizeof lengths[0];

                make_message(suite, k < n ? lengths[k] : below(3000));
                check(fk_aead_libraries[i]);
            }
        }
        assert_true(libraries >= 1);
    }
}

/* Records of one key: the context goes on from one to the next, also after one left half-way. */
static void one_key_many_messages(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof suites / sizeof suites[0]; s++) {
        const struct fk_suite *suite = fk_suite_find(suites[s]);
        struct fk_aead *sealer;
        uint8_t key[FK_SUITE_KEY_MAX], tag[FK_AEAD_TAG];

        make_message(suite, 1);
        memcpy(key, message.key, sizeof key);
        assert_ok(fk_aead_new(suite, key, true, &sealer));
        for (size_t len = 0; len < 600; len += 7) {
            struct fk_aead *opener;

            make_message(suite, len);
            assert_true(fk_aead_start(sealer, message.nonce, message.aad, 5));
            assert_true(fk_aead_step(sealer, out, message.plain, len / 2)); /* given up */
            assert_true(fk_aead_start(sealer, message.nonce, message.aad, 5));
            assert_true(fk_aead_step(sealer, out, message.plain, len));
            assert_true(fk_aead_seal(sealer, tag));
            assert_ok(fk_aead_new(suite, key, false, &opener));
            assert_true(fk_aead_start(opener, message.nonce, message.aad, 5));
            assert_true(fk_aead_step(opener, out, out, len));
            assert_ok(fk_aead_open(opener, tag));
            assert_memory_equal(out, message.plain, len);
            fk_aead_free(opener);
        }
        fk_aead_free(sealer);
    }
}

static void cbc_is_none(void **state)
{
    static const uint8_t key[FK_SUITE_KEY_MAX];
    struct fk_aead *aead = NULL;

    (void)state;
    assert_err(fk_aead_new(fk_suite_find(0x002f), key, true, &aead), FK_ERR_NOMEM);
    assert_null(aead);
    fk_aead_free(NULL);
}

UNIT_MAIN(cmocka_unit_test(all_agree_with_openssl), cmocka_unit_test(one_key_many_messages),
          cmocka_unit_test(cbc_is_none))
