/* signer/prf: TLS 1.2's PRF against published values and against its definition. */
#include "unit.h"

#include "base/err.h"
#include "signer/prf.h"
#include "wire/keymsg.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

/* The values for P_SHA256 that were published on the TLS working group's list (2009). */
static void published_values(void **state)
{
    static const uint8_t secret[] = {0x9b, 0xbe, 0x43, 0x6b, 0xa9, 0x40, 0xf0, 0x17,
                                     0xb1, 0x76, 0x52, 0x84, 0x9a, 0x71, 0xdb, 0x35};
    static const uint8_t seed[] = {0xa0, 0xba, 0x9f, 0x93, 0x6c, 0xda, 0x31, 0x18,
                                   0x27, 0xa6, 0xf7, 0x96, 0xff, 0xd5, 0x19, 0x8c};
    static const uint8_t expected[100] = {
        0xe3, 0xf2, 0x29, 0xba, 0x72, 0x7b, 0xe1, 0x7b, 0x8d, 0x12, 0x26, 0x20, 0x55, 0x7c, 0xd4,
        0x53, 0xc2, 0xaa, 0xb2, 0x1d, 0x07, 0xc3, 0xd4, 0x95, 0x32, 0x9b, 0x52, 0xd4, 0xe6, 0x1e,
        0xdb, 0x5a, 0x6b, 0x30, 0x17, 0x91, 0xe9, 0x0d, 0x35, 0xc9, 0xc9, 0xa4, 0x6b, 0x4e, 0x14,
        0xba, 0xf9, 0xaf, 0x0f, 0xa0, 0x22, 0xf7, 0x07, 0x7d, 0xef, 0x17, 0xab, 0xfd, 0x37, 0x97,
        0xc0, 0x56, 0x4b, 0xab, 0x4f, 0xbc, 0x91, 0x66, 0x6e, 0x9d, 0xef, 0x9b, 0x97, 0xfc, 0xe3,
        0x4f, 0x79, 0x67, 0x89, 0xba, 0xa4, 0x80, 0x82, 0xd1, 0x22, 0xee, 0x42, 0xc5, 0xa7, 0x2e,
        0x5a, 0x51, 0x10, 0xff, 0xf7, 0x01, 0x87, 0x34, 0x7b, 0x66};
    struct fk_prf_input input = {.prf = FK_PRF_SHA256,
                                 .secret = secret,
                                 .secret_len = sizeof secret,
                                 .label = "test label",
                                 .seed = {{seed, sizeof seed}}};
    struct fk_prf_maker *maker;
    uint8_t made[100];

    (void)state;
    assert_ok(fk_prf_maker_new(&maker));
    for (size_t len = 1; len <= sizeof made; len++) {
        memset(made, 0, sizeof made);
        assert_ok(fk_prf_run(maker, &input, made, len));
        assert_memory_equal(made, expected, len);
    }
    input.seed[0].left = 5; /* the seed in two parts */
    input.seed[1] = fk_item(seed + 5, sizeof seed - 5);
    assert_ok(fk_prf_run(maker, &input, made, sizeof made));
    assert_memory_equal(made, expected, sizeof made);
    fk_prf_maker_free(maker);
}

/* RFC 5246 section 5, written down. */
static void define(const EVP_MD *md, const struct fk_prf_input *input, uint8_t *ret, size_t len)
{
    uint8_t a[64], message[64 + 256], block[64], seed[256];
    size_t seed_len = strlen(input->label);
    unsigned size = (unsigned)EVP_MD_get_size(md);

    memcpy(seed, input->label, seed_len);
    for (size_t i = 0; i < 2; i++) {
        memcpy(seed + seed_len, input->seed[i].next, input->seed[i].left);
        seed_len += input->seed[i].left;
    }
    assert_non_null(HMAC(md, input->secret, (int)input->secret_len, seed, seed_len, a, NULL));
    for (size_t done = 0; done < len; done += size) {
        memcpy(message, a, size);
        memcpy(message + size, seed, seed_len);
        assert_non_null(
            HMAC(md, input->secret, (int)input->secret_len, message, size + seed_len, block, NULL));
        memcpy(ret + done, block, len - done < size ? len - done : size);
        assert_non_null(HMAC(md, input->secret, (int)input->secret_len, message, size, a, NULL));
    }
}

static void both_hashes_as_defined(void **state)
{
    struct fk_prf_maker *maker;
    uint8_t secret[512], made[200], expected[200];

    (void)state;
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)i;
    assert_ok(fk_prf_maker_new(&maker));
    for (size_t len = 1; len <= sizeof secret; len += 73) /* longer than a block, too */
        for (int sha384 = 0; sha384 < 2; sha384++) {
            const struct fk_prf_input input = {.prf = sha384 ? FK_PRF_SHA384 : FK_PRF_SHA256,
                                               .secret = secret,
                                               .secret_len = len,
                                               .label = "key expansion",
                                               .seed = {{secret, 32}, {secret + 32, 32}}};

            define(sha384 ? EVP_sha384() : EVP_sha256(), &input, expected, sizeof expected);
            assert_ok(fk_prf_run(maker, &input, made, sizeof made));
            assert_memory_equal(made, expected, sizeof made);
        }
    fk_prf_maker_free(maker);
    assert_int_equal(ERR_peek_error(), 0);
}

UNIT_MAIN(cmocka_unit_test(published_values), cmocka_unit_test(both_hashes_as_defined))
