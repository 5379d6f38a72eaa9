/* Private numbers out of a key and into one: see key_numbers.h. */
#include "signer/key_numbers.h"

#include "base/err.h"
#include "base/reader.h"
#include "base/writer.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdbool.h>

#define RSA_NUMBERS 6

static const char *const rsa_names[RSA_NUMBERS] = {
    OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,   OSSL_PKEY_PARAM_RSA_FACTOR2,
    OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};

/* The length of number `i` of an RSA key. */
static size_t rsa_size(EVP_PKEY *key, int i)
{
    size_t size = (size_t)EVP_PKEY_get_size(key);

    return i == 0 ? size : (size + 1) / 2;
}

static size_t scalar_size(EVP_PKEY *key)
{
    return ((size_t)EVP_PKEY_get_bits(key) + 7) / 8;
}

size_t fk_key_numbers_size(EVP_PKEY *key)
{
    size_t size = 0;

    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        for (int i = 0; i < RSA_NUMBERS; i++)
            size += rsa_size(key, i);
        return size;
    case EVP_PKEY_EC:
        return scalar_size(key);
    case EVP_PKEY_ED25519:
        return 32;
    default:
        return 0;
    }
}

/* --- out --- */

static int write_number(EVP_PKEY *key, const char *name, size_t size, struct fk_writer *writer)
{
    uint8_t *at = writer->base + writer->len;
    BIGNUM *number = NULL;
    int err = FK_ERR_UNSUPPORTED;

    fk_writer_fill(writer, 0, size);
    if (writer->err != FK_OK)
        return writer->err;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1)
        err = FK_ERR_CRYPTO;
    else if (BN_bn2binpad(number, at, (int)size) == (int)size)
        err = FK_OK;
    BN_clear_free(number);
    return err;
}

int fk_key_numbers_get(EVP_PKEY *key, uint8_t ret[FK_SHARE_DATA_MAX])
{
    size_t size = fk_key_numbers_size(key), len = size;
    struct fk_writer writer;
    int err = FK_OK;

    if (size == 0 || size > FK_SHARE_DATA_MAX)
        return FK_ERR_UNSUPPORTED;
    fk_writer_init(&writer, ret, size);
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        for (int i = 0; err == FK_OK && i < RSA_NUMBERS; i++)
            err = write_number(key, rsa_names[i], rsa_size(key, i), &writer);
        break;
    case EVP_PKEY_EC:
        err = write_number(key, OSSL_PKEY_PARAM_PRIV_KEY, size, &writer);
        break;
    default:
        if (EVP_PKEY_get_raw_private_key(key, ret, &len) != 1 || len != size)
            err = FK_ERR_CRYPTO;
    }
    ERR_clear_error();
    return err;
}

/* --- in --- */

/* Numbers of a key that is being made: those pushed last until the key is. */
struct parts {
    OSSL_PARAM_BLD *build;
    BIGNUM *numbers[RSA_NUMBERS + 2];
    size_t count;
};

/* A private number, kept in the secure heap on its way. */
static bool push_private(struct parts *parts, const char *name, struct fk_reader *reader,
                         size_t size)
{
    BIGNUM *number = BN_secure_new();
    struct fk_reader bytes;

    if (number == NULL)
        return false;
    parts->numbers[parts->count++] = number;
    return fk_reader_take(reader, size, &bytes) == FK_OK &&
           BN_bin2bn(bytes.next, (int)size, number) != NULL &&
           OSSL_PARAM_BLD_push_BN(parts->build, name, number) == 1;
}

static bool push_public(struct parts *parts, const char *name, EVP_PKEY *key)
{
    BIGNUM *number = NULL;

    if (EVP_PKEY_get_bn_param(key, name, &number) != 1)
        return false;
    parts->numbers[parts->count++] = number;
    return OSSL_PARAM_BLD_push_BN(parts->build, name, number) == 1;
}

static bool push_rsa(struct parts *parts, EVP_PKEY *key, struct fk_reader *reader)
{
    bool ok = push_public(parts, OSSL_PKEY_PARAM_RSA_N, key) &&
              push_public(parts, OSSL_PKEY_PARAM_RSA_E, key);

    for (int i = 0; ok && i < RSA_NUMBERS; i++)
        ok = push_private(parts, rsa_names[i], reader, rsa_size(key, i));
    return ok;
}

/* `group` and `point` are borrowed until the key is made. */
static bool push_ec(struct parts *parts, EVP_PKEY *key, struct fk_reader *reader, char group[32],
                    uint8_t point[1 + 2 * 66])
{
    size_t len;

    return EVP_PKEY_get_group_name(key, group, 32, NULL) == 1 &&
           EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * 66, &len) ==
               1 &&
           OSSL_PARAM_BLD_push_utf8_string(parts->build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) ==
               1 &&
           OSSL_PARAM_BLD_push_octet_string(parts->build, OSSL_PKEY_PARAM_PUB_KEY, point, len) ==
               1 &&
           push_private(parts, OSSL_PKEY_PARAM_PRIV_KEY, reader, scalar_size(key));
}

static bool make_key(OSSL_PARAM_BLD *build, const char *type, EVP_PKEY **ret)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    bool ok = params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_KEYPAIR, params) == 1;

    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params); /* wipes what is in the secure heap */
    return ok;
}

static int join_numbers(EVP_PKEY *public_key, struct fk_reader reader, EVP_PKEY **ret)
{
    bool is_rsa = EVP_PKEY_get_base_id(public_key) == EVP_PKEY_RSA, ok;
    struct parts parts = {.build = OSSL_PARAM_BLD_new()};
    uint8_t point[1 + 2 * 66];
    char group[32];

    if (parts.build == NULL)
        return FK_ERR_NOMEM;
    ok = (is_rsa ? push_rsa(&parts, public_key, &reader)
                 : push_ec(&parts, public_key, &reader, group, point)) &&
         make_key(parts.build, is_rsa ? "RSA" : "EC", ret);
    OSSL_PARAM_BLD_free(parts.build);
    for (size_t i = 0; i < parts.count; i++)
        BN_clear_free(parts.numbers[i]);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

int fk_key_numbers_join(EVP_PKEY *public_key, const uint8_t *numbers, size_t len, EVP_PKEY **ret)
{
    size_t size = fk_key_numbers_size(public_key);
    struct fk_reader reader;
    EVP_PKEY *key = NULL;
    int err = FK_OK;

    if (size == 0)
        return FK_ERR_UNSUPPORTED;
    if (len != size)
        return FK_ERR_FORMAT;
    fk_reader_init(&reader, numbers, len);
    if (EVP_PKEY_get_base_id(public_key) != EVP_PKEY_ED25519)
        err = join_numbers(public_key, reader, &key);
    else if ((key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, numbers, len)) == NULL)
        err = FK_ERR_CRYPTO;
    ERR_clear_error();
    if (err == FK_OK)
        *ret = key;
    return err;
}
