/* signer/emsa, signer/power: signatures and decryption by two parts of an RSA key. */
#include "unit.h"
#include "unit_keys.h"

#include "signer/emsa.h"
#include "signer/power.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>

static const char *const hashes[] = {"SHA1", "SHA224", "SHA256", "SHA384", "SHA512"};

/* Sizes whose modulus does not fill its bytes, too: 2049 leaves one bit in the first. */
static const char *const kinds[] = {"rsa2048", "rsa2049", "rsa2055", "rsa3072", "rsa4096"};

struct sides {
    EVP_PKEY *key;
    size_t size;
    struct fk_power *one, *other;
};

static void sides_init(struct sides *sides, const char *kind)
{
    uint8_t one[FK_POWER_MAX], other[FK_POWER_MAX];
    struct fk_reader reader;

    sides->key = unit_key(kind);
    sides->size = (size_t)EVP_PKEY_get_size(sides->key);
    assert_ok(fk_power_divide(sides->key, one, other, sides->size));
    fk_reader_init(&reader, one, sides->size);
    assert_ok(fk_power_new(sides->key, reader, &sides->one));
    fk_reader_init(&reader, other, sides->size);
    assert_ok(fk_power_new(sides->key, reader, &sides->other));
    assert_int_equal(fk_power_size(sides->one), sides->size);
}

static void sides_fini(struct sides *sides)
{
    fk_power_free(sides->one);
    fk_power_free(sides->other);
    EVP_PKEY_free(sides->key);
    assert_int_equal(ERR_peek_error(), 0);
}

static int together(struct sides *sides, const uint8_t *base, uint8_t *ret)
{
    uint8_t power[FK_POWER_MAX];

    assert_ok(fk_power_raise(sides->one, base, power));
    return fk_power_complete(sides->other, base, power, ret);
}

/* What OpenSSL says of a signature. */
static bool verifies(EVP_PKEY *key, const EVP_MD *md, int padding, struct fk_reader digest,
                     const uint8_t *signature, int salt)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool ok =
        EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, padding) == 1 &&
        EVP_PKEY_CTX_set_signature_md(ctx, md) == 1 &&
        (padding != RSA_PKCS1_PSS_PADDING || EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt) == 1) &&
        EVP_PKEY_verify(ctx, signature, (size_t)EVP_PKEY_get_size(key), digest.next, digest.left) ==
            1;

    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

static void signatures_are_what_openssl_expects(void **state)
{
    uint8_t digest[64], salt[64], block[FK_POWER_MAX], signature[FK_POWER_MAX];
    struct fk_reader hashed, salted;

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct sides sides;

        sides_init(&sides, kinds[k]);
        for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++) {
            const EVP_MD *md = EVP_get_digestbyname(hashes[i]);
            size_t len = (size_t)EVP_MD_get_size(md);

            assert_int_equal(RAND_bytes(digest, sizeof digest), 1);
            assert_int_equal(RAND_bytes(salt, sizeof salt), 1);
            fk_reader_init(&hashed, digest, len);
            fk_reader_init(&salted, salt, len);
            assert_ok(fk_emsa_pkcs1(md, hashed, block, sides.size));
            assert_ok(together(&sides, block, signature));
            assert_true(verifies(sides.key, md, RSA_PKCS1_PADDING, hashed, signature, 0));
            assert_ok(fk_emsa_pss(md, hashed, salted, block, (size_t)EVP_PKEY_get_bits(sides.key)));
            assert_ok(together(&sides, block, signature));
            assert_true(
                verifies(sides.key, md, RSA_PKCS1_PSS_PADDING, hashed, signature, (int)len));
            assert_false(
                verifies(sides.key, md, RSA_PKCS1_PSS_PADDING, hashed, signature, (int)len - 1));
        }
        sides_fini(&sides);
    }
}

/* No salt, and as much as there is room for in the smallest key. */
static void pss_takes_any_salt(void **state)
{
    uint8_t digest[64] = {1}, salt[65] = {2}, block[FK_POWER_MAX], signature[FK_POWER_MAX];
    const EVP_MD *md = EVP_sha512();
    struct fk_reader hashed, salted;
    struct sides sides;

    (void)state;
    sides_init(&sides, "rsa2048");
    fk_reader_init(&hashed, digest, 64);
    for (size_t len = 0; len <= 64; len += 32) {
        fk_reader_init(&salted, salt, len);
        assert_ok(fk_emsa_pss(md, hashed, salted, block, 2048));
        assert_ok(together(&sides, block, signature));
        assert_true(verifies(sides.key, md, RSA_PKCS1_PSS_PADDING, hashed, signature, (int)len));
    }
    fk_reader_init(&salted, salt, 65);
    assert_err(fk_emsa_pss(md, hashed, salted, block, 2048), FK_ERR_LIMIT);
    fk_reader_init(&salted, salt, 64);
    assert_err(fk_emsa_pss(md, hashed, salted, block, 1024), FK_ERR_LIMIT);
    fk_reader_init(&hashed, digest, 63);
    assert_err(fk_emsa_pss(md, hashed, salted, block, 2048), FK_ERR_INVAL);
    assert_err(fk_emsa_pkcs1(md, hashed, block, 256), FK_ERR_INVAL);
    fk_reader_init(&hashed, digest, 64);
    assert_err(fk_emsa_pkcs1(md, hashed, block, 19 + 64 + 10), FK_ERR_LIMIT);
    assert_ok(fk_emsa_pkcs1(md, hashed, block, 19 + 64 + 11));
    fk_reader_init(&hashed, digest, 36);
    assert_err(fk_emsa_pkcs1(EVP_md5_sha1(), hashed, block, 256), FK_ERR_UNSUPPORTED);
    sides_fini(&sides);
}

/* RFC 8017 section 9.2: the block as it is written there. */
static void the_block_of_pkcs1_is_that_of_the_rfc(void **state)
{
    static const uint8_t info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                   0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    uint8_t digest[32], block[256];
    struct fk_reader reader;

    (void)state;
    memset(digest, 0x5a, sizeof digest);
    fk_reader_init(&reader, digest, sizeof digest);
    assert_ok(fk_emsa_pkcs1(EVP_sha256(), reader, block, sizeof block));
    assert_int_equal(block[0], 0);
    assert_int_equal(block[1], 1);
    for (size_t i = 2; i < 256 - 52; i++)
        assert_int_equal(block[i], 0xff);
    assert_int_equal(block[256 - 52], 0);
    assert_memory_equal(block + 256 - 51, info, sizeof info);
    assert_memory_equal(block + 256 - 32, digest, sizeof digest);
}

/* Past the use of one blinding, with numbers of every kind. */
static void many_powers_are_right(void **state)
{
    uint8_t base[256], product[256], power[256];
    EVP_PKEY_CTX *ctx;
    struct sides sides;

    (void)state;
    sides_init(&sides, "rsa2048");
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, sides.key, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
    for (int i = 0; i < 100; i++) {
        size_t len = sizeof power;

        assert_int_equal(RAND_bytes(base, sizeof base), 1);
        base[0] = 0;
        if (i < 2) {
            memset(base, 0, sizeof base);
            base[255] = (uint8_t)i;
        }
        assert_ok(together(&sides, base, product));
        assert_int_equal(EVP_PKEY_decrypt(ctx, power, &len, base, sizeof base), 1);
        assert_memory_equal(product, power, sizeof power);
    }
    EVP_PKEY_CTX_free(ctx);
    sides_fini(&sides);
}

static void what_is_wrong_does_not_leave(void **state)
{
    uint8_t base[256] = {0}, power[256], product[256], untouched[256];
    struct sides sides, foreign;

    (void)state;
    sides_init(&sides, "rsa2048");
    sides_init(&foreign, "rsa2048");
    base[255] = 42;
    memset(product, 0xee, sizeof product);
    memcpy(untouched, product, sizeof product);
    assert_ok(fk_power_raise(sides.one, base, power));
    power[100] ^= 1;
    assert_err(fk_power_complete(sides.other, base, power, product), FK_ERR_SHARE_WRONG);
    assert_ok(fk_power_raise(foreign.one, base, power));
    power[0] = 0; /* below the other modulus, too */
    assert_err(fk_power_complete(sides.other, base, power, product), FK_ERR_SHARE_WRONG);
    /* One's own part a second time. */
    assert_ok(fk_power_raise(sides.other, base, power));
    assert_err(fk_power_complete(sides.other, base, power, product), FK_ERR_SHARE_WRONG);
    memset(power, 0, sizeof power);
    assert_err(fk_power_complete(sides.other, base, power, product), FK_ERR_SHARE_WRONG);
    memset(power, 0xff, sizeof power);
    assert_err(fk_power_complete(sides.other, base, power, product), FK_ERR_SHARE_WRONG);
    memset(base, 0xff, sizeof base);
    assert_err(fk_power_complete(sides.other, base, power, product), FK_ERR_RANGE);
    assert_err(fk_power_raise(sides.other, base, product), FK_ERR_RANGE);
    assert_memory_equal(product, untouched, sizeof product);
    sides_fini(&foreign);
    sides_fini(&sides);
}

static void parts_that_cannot_be_are_refused(void **state)
{
    EVP_PKEY *rsa = unit_key("rsa2048"), *ec = unit_key("P-256");
    uint8_t part[257] = {0};
    struct fk_power *power;
    struct fk_reader reader;

    (void)state;
    fk_reader_init(&reader, part, 256);
    assert_err(fk_power_new(rsa, reader, &power), FK_ERR_INVAL); /* zero */
    memset(part, 0xff, sizeof part);
    assert_err(fk_power_new(rsa, reader, &power), FK_ERR_INVAL); /* not below n */
    part[0] = 0;
    assert_err(fk_power_new(ec, reader, &power), FK_ERR_INVAL);
    fk_reader_init(&reader, part, 255);
    assert_err(fk_power_new(rsa, reader, &power), FK_ERR_INVAL);
    fk_reader_init(&reader, part, 257);
    assert_err(fk_power_new(rsa, reader, &power), FK_ERR_INVAL);
    fk_power_free(NULL);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
}

UNIT_MAIN(cmocka_unit_test(signatures_are_what_openssl_expects),
          cmocka_unit_test(pss_takes_any_salt),
          cmocka_unit_test(the_block_of_pkcs1_is_that_of_the_rfc),
          cmocka_unit_test(many_powers_are_right), cmocka_unit_test(what_is_wrong_does_not_leave),
          cmocka_unit_test(parts_that_cannot_be_are_refused))
