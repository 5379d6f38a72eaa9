/*
 * From the bytes of a key file to a key, and a key's public facts: see keyset.h.
 *
 * Runs in masters and tools (which read key files) and in signers (which load bundles). Accepts
 * only the types and sizes that the rest of the project serves. Must never keep key bytes.
 */
#include "signer/keyset.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <string.h>

struct passphrase {
    const char *text;
    bool asked;
};

static int give_passphrase(char *pass, size_t size, size_t *ret_len, const OSSL_PARAM params[],
                           void *arg)
{
    struct passphrase *passphrase = arg;
    size_t len;

    (void)params;
    passphrase->asked = true;
    if (passphrase->text == NULL)
        return 0;
    len = strlen(passphrase->text);
    if (len > size)
        return 0;
    memcpy(pass, passphrase->text, len);
    *ret_len = len;
    return 1;
}

/* The first private key in `bio`; what stands before it (EC PARAMETERS) is passed over. */
static bool decode_first(OSSL_DECODER_CTX *ctx, BIO *bio, EVP_PKEY **key)
{
    int at = BIO_tell(bio), next;

    while (OSSL_DECODER_from_bio(ctx, bio) != 1 || *key == NULL) {
        if (BIO_eof(bio) || (next = BIO_tell(bio)) <= at)
            return false;
        at = next;
    }
    return true;
}

static int decode_key(const uint8_t *data, size_t len, struct passphrase *passphrase,
                      EVP_PKEY **ret)
{
    EVP_PKEY *key = NULL;
    OSSL_DECODER_CTX *ctx = OSSL_DECODER_CTX_new_for_pkey(
        &key, NULL, NULL, NULL, OSSL_KEYMGMT_SELECT_PRIVATE_KEY, NULL, NULL);
    BIO *bio = BIO_new_mem_buf(data, (int)len);
    int err;

    if (ctx == NULL || bio == NULL ||
        OSSL_DECODER_CTX_set_passphrase_cb(ctx, give_passphrase, passphrase) != 1)
        err = FK_ERR_NOMEM;
    else if (decode_first(ctx, bio, &key))
        err = FK_OK;
    else
        err = passphrase->asked ? FK_ERR_PASSPHRASE : FK_ERR_FORMAT;
    OSSL_DECODER_CTX_free(ctx);
    BIO_free(bio);
    ERR_clear_error();
    if (err != FK_OK)
        EVP_PKEY_free(key);
    else
        *ret = key;
    return err;
}

/* RSA: two primes, 2048 to 4096 bits, an odd public exponent of 2 to 64 bits (verifying stays
 * cheap, and OpenSSL checks each CRT result with it). */
static int check_rsa(EVP_PKEY *key)
{
    int bits = EVP_PKEY_get_bits(key);
    BIGNUM *e = NULL, *third = NULL;
    int err = FK_ERR_UNSUPPORTED;

    if (bits < 2048 || bits > 4096)
        return FK_ERR_UNSUPPORTED;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) &&
        BN_num_bits(e) >= 2 && BN_num_bits(e) <= 64 &&
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) != 1)
        err = FK_OK;
    BN_free(e);
    BN_clear_free(third);
    ERR_clear_error();
    return err;
}

/* The curve of an EC key, NID_undef for one that is not served. */
static int key_curve(EVP_PKEY *key)
{
    char name[32];
    int nid;

    if (EVP_PKEY_get_group_name(key, name, sizeof name, NULL) != 1) {
        ERR_clear_error();
        return NID_undef;
    }
    nid = OBJ_sn2nid(name);
    return nid == NID_X9_62_prime256v1 || nid == NID_secp384r1 || nid == NID_secp521r1 ? nid
                                                                                       : NID_undef;
}

/* In certificates points are uncompressed; so they are here, whatever the key file has. */
static int check_ec(EVP_PKEY *key)
{
    if (key_curve(key) == NID_undef)
        return FK_ERR_UNSUPPORTED;
    if (EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                       "uncompressed") != 1) {
        ERR_clear_error();
        return FK_ERR_CRYPTO;
    }
    return FK_OK;
}

int fk_key_check(EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        return check_rsa(key);
    case EVP_PKEY_EC:
        return check_ec(key);
    case EVP_PKEY_ED25519:
        return FK_OK;
    default:
        return FK_ERR_UNSUPPORTED;
    }
}

/*
 * The private half exists and belongs to the public half: what it signs verifies. The complete
 * check of OpenSSL tests primes, 0.3 s for RSA-4096: too long for a directory of a thousand keys.
 */
int fk_key_prove(EVP_PKEY *key)
{
    static const uint8_t text[] = "farkey";
    const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sig[512];
    size_t len = sizeof sig;
    bool ok;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    ok = EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1 &&
         EVP_DigestSign(ctx, sig, &len, text, sizeof text) == 1 && EVP_MD_CTX_reset(ctx) == 1 &&
         EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 &&
         EVP_DigestVerify(ctx, sig, len, text, sizeof text) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok ? FK_OK : FK_ERR_FORMAT;
}

int fk_key_decode(const void *data, size_t len, const char *passphrase, EVP_PKEY **ret)
{
    struct passphrase pass = {.text = passphrase};
    EVP_PKEY *key;
    int err;

    if (len == 0)
        return FK_ERR_FORMAT;
    if (len > FK_KEY_FILE_MAX)
        return FK_ERR_LIMIT;
    if ((err = decode_key(data, len, &pass, &key)) != FK_OK)
        return err;
    if ((err = fk_key_check(key)) != FK_OK) {
        EVP_PKEY_free(key);
        return err;
    }
    *ret = key;
    return FK_OK;
}

int fk_key_parse(const void *data, size_t len, const char *passphrase, EVP_PKEY **ret)
{
    EVP_PKEY *key;
    int err;

    if ((err = fk_key_decode(data, len, passphrase, &key)) != FK_OK)
        return err;
    if ((err = fk_key_prove(key)) != FK_OK) {
        EVP_PKEY_free(key);
        return err;
    }
    *ret = key;
    return FK_OK;
}

/* SHA-1 of the subjectPublicKey bits (RFC 5280 section 4.2.1.2, method 1). */
static int describe_ski(EVP_PKEY *key, uint8_t ret[20])
{
    X509_PUBKEY *spki = NULL;
    const unsigned char *bits;
    int len, err = FK_ERR_CRYPTO;

    if (X509_PUBKEY_set(&spki, key) == 1 &&
        X509_PUBKEY_get0_param(NULL, &bits, &len, NULL, spki) == 1 &&
        EVP_Digest(bits, (size_t)len, ret, NULL, EVP_sha1(), NULL) == 1)
        err = FK_OK;
    X509_PUBKEY_free(spki);
    return err;
}

/* SHA-256 of the upper-case hexadecimal text of a number's or point's bytes. */
static int digest_hex(const uint8_t *data, size_t len, uint8_t ret[32])
{
    static const char digits[] = "0123456789ABCDEF";
    char text[2 * 512];

    if (len > sizeof text / 2)
        return FK_ERR_LIMIT;
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    return EVP_Digest(text, 2 * len, ret, NULL, EVP_sha256(), NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

static int digest_rsa(EVP_PKEY *key, uint8_t ret[32])
{
    uint8_t bytes[512];
    BIGNUM *n = NULL;
    int err, len;

    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1)
        return FK_ERR_CRYPTO;
    len = BN_num_bytes(n);
    if (len > (int)sizeof bytes)
        err = FK_ERR_UNSUPPORTED;
    else
        err = digest_hex(bytes, (size_t)BN_bn2bin(n, bytes), ret);
    BN_free(n);
    return err;
}

/* The compressed form of an uncompressed point is 2 or 3 by the parity of y, and x. */
static int digest_ec(EVP_PKEY *key, uint8_t ret[32])
{
    uint8_t point[1 + 2 * 66];
    size_t len;

    if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len) !=
            1 ||
        len < 65 || len % 2 == 0 || point[0] != 4)
        return FK_ERR_CRYPTO;
    point[0] = (uint8_t)(2 + (point[len - 1] & 1));
    return digest_hex(point, 1 + len / 2, ret);
}

static int digest_ed25519(EVP_PKEY *key, uint8_t ret[32])
{
    uint8_t bytes[32];
    size_t len = sizeof bytes;

    if (EVP_PKEY_get_raw_public_key(key, bytes, &len) != 1)
        return FK_ERR_CRYPTO;
    return digest_hex(bytes, len, ret);
}

static int describe_type(EVP_PKEY *key, struct fk_key_public *public)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        public
        ->type = FK_KEY_RSA;
        return digest_rsa(key, public->digest);
    case EVP_PKEY_EC:
        public
        ->type = FK_KEY_EC;
        return digest_ec(key, public->digest);
    case EVP_PKEY_ED25519:
        public
        ->type = FK_KEY_ED25519;
        return digest_ed25519(key, public->digest);
    default:
        return FK_ERR_UNSUPPORTED;
    }
}

int fk_key_describe(EVP_PKEY *key, struct fk_key_public *ret)
{
    struct fk_key_public public = {.bits = (uint16_t)EVP_PKEY_get_bits(key)};
    int err;

    if ((err = describe_type(key, &public)) != FK_OK ||
        (err = describe_ski(key, public.ski)) != FK_OK) {
        ERR_clear_error();
        return err;
    }
    *ret = public;
    return FK_OK;
}
