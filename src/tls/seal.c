/* Sealing to a public key: see seal.h. */
#include "tls/seal.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <string.h>

#define KEY         32 /* AES-256, and X25519's shared secret */
#define TAG         16
#define NONCE       12
#define CONTEXT_MAX 64
#define INFO_MAX    (64 + 1 + CONTEXT_MAX)

static int failed(void)
{
    ERR_clear_error();
    return FK_ERR_CRYPTO;
}

/* OSSL_PARAMs of bytes are not written to by a derivation. */
static void *bytes_of(const void *value)
{
    return (void *)(uintptr_t)value;
}

static bool agree(EVP_PKEY *ours, EVP_PKEY *theirs, uint8_t ret[KEY])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, ours, NULL);
    size_t len = KEY;
    bool ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, theirs) == 1 && EVP_PKEY_derive(ctx, ret, &len) == 1 &&
              len == KEY;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static int make_info(const struct fk_seal_context *context, uint8_t ret[INFO_MAX], size_t *ret_len)
{
    size_t label = strlen(context->label) + 1;

    if (label > INFO_MAX - CONTEXT_MAX || context->len > CONTEXT_MAX)
        return FK_ERR_LIMIT;
    memcpy(ret, context->label, label);
    if (context->len > 0)
        memcpy(ret + label, context->bytes, context->len);
    *ret_len = label + context->len;
    return FK_OK;
}

static bool expand(const uint8_t shared[KEY], const uint8_t salt[2 * FK_SEAL_KEY_SIZE],
                   const uint8_t *info, size_t info_len, uint8_t ret[KEY])
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, bytes_of("SHA256"), 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, bytes_of(shared), KEY),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SALT, bytes_of(salt), 2 * FK_SEAL_KEY_SIZE),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, bytes_of(info), info_len), OSSL_PARAM_END};
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    bool ok = ctx != NULL && EVP_KDF_derive(ctx, ret, KEY, params) == 1;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok;
}

/* One side's view of the agreement. */
struct sides {
    EVP_PKEY *ours, *theirs;
    const uint8_t *ephemeral, *recipient; /* public keys */
};

static int derive(const struct sides *sides, const struct fk_seal_context *context,
                  uint8_t ret[KEY])
{
    uint8_t shared[KEY], salt[2 * FK_SEAL_KEY_SIZE], info[INFO_MAX];
    size_t info_len;
    int err = make_info(context, info, &info_len);

    if (err != FK_OK)
        return err;
    memcpy(salt, sides->ephemeral, FK_SEAL_KEY_SIZE);
    memcpy(salt + FK_SEAL_KEY_SIZE, sides->recipient, FK_SEAL_KEY_SIZE);
    err = agree(sides->ours, sides->theirs, shared) && expand(shared, salt, info, info_len, ret)
              ? FK_OK
              : failed();
    fk_wipe(shared, sizeof shared);
    return err;
}

/* AES-256-GCM either way. */
static bool run(const uint8_t key[KEY], bool seal, const uint8_t *in, size_t len, uint8_t *out,
                uint8_t tag[TAG])
{
    static const uint8_t nonce[NONCE];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;
    bool ok = ctx != NULL &&
              EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, seal) == 1 &&
              EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1 &&
              (seal || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1) &&
              EVP_CipherFinal_ex(ctx, out + len, &n) == 1 &&
              (!seal || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, tag) == 1);

    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static EVP_PKEY *public_of(const uint8_t bytes[FK_SEAL_KEY_SIZE])
{
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, bytes, FK_SEAL_KEY_SIZE);
}

int fk_seal_key_new(EVP_PKEY **ret_key, uint8_t ret_public[FK_SEAL_KEY_SIZE])
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    size_t len = FK_SEAL_KEY_SIZE;

    if (key == NULL || EVP_PKEY_get_raw_public_key(key, ret_public, &len) != 1) {
        EVP_PKEY_free(key);
        return failed();
    }
    *ret_key = key;
    return FK_OK;
}

int fk_seal_to(const uint8_t public_key[FK_SEAL_KEY_SIZE], const struct fk_seal_context *context,
               const uint8_t *plain, size_t len, uint8_t *ret)
{
    struct sides sides = {.ephemeral = ret, .recipient = public_key};
    uint8_t key[KEY];
    int err;

    if (len > INT32_MAX)
        return FK_ERR_LIMIT;
    if ((err = fk_seal_key_new(&sides.ours, ret)) != FK_OK)
        return err;
    sides.theirs = public_of(public_key);
    err = sides.theirs == NULL ? failed() : derive(&sides, context, key);
    if (err == FK_OK &&
        !run(key, true, plain, len, ret + FK_SEAL_KEY_SIZE, ret + FK_SEAL_KEY_SIZE + len))
        err = failed();
    fk_wipe(key, sizeof key);
    EVP_PKEY_free(sides.theirs);
    EVP_PKEY_free(sides.ours);
    return err;
}

int fk_seal_open(EVP_PKEY *key, const struct fk_seal_context *context, struct fk_reader sealed,
                 uint8_t *ret, size_t size, size_t *ret_len)
{
    uint8_t ephemeral[FK_SEAL_KEY_SIZE], own[FK_SEAL_KEY_SIZE], tag[TAG], secret[KEY];
    struct sides sides = {.ours = key, .ephemeral = ephemeral, .recipient = own};
    size_t len = sealed.left - FK_SEAL_OVERHEAD, own_len = sizeof own;
    const uint8_t *body;
    int err;

    if (sealed.left < FK_SEAL_OVERHEAD)
        return FK_ERR_TRUNCATED;
    if (len > size || len > INT32_MAX)
        return FK_ERR_LIMIT;
    body = sealed.next + FK_SEAL_KEY_SIZE;
    memcpy(ephemeral, sealed.next, sizeof ephemeral);
    memcpy(tag, body + len, sizeof tag);
    if (EVP_PKEY_get_raw_public_key(key, own, &own_len) != 1)
        return failed();
    sides.theirs = public_of(ephemeral);
    err = sides.theirs == NULL ? failed() : derive(&sides, context, secret);
    EVP_PKEY_free(sides.theirs);
    if (err == FK_OK && !run(secret, false, body, len, ret, tag)) {
        fk_wipe(ret, len); /* decrypted, but not by who had to */
        ERR_clear_error();
        err = FK_ERR_VERIFY;
    }
    fk_wipe(secret, sizeof secret);
    if (err == FK_OK)
        *ret_len = len;
    return err;
}
