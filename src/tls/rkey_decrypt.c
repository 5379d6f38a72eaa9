/*
 * RSA decryption with a remote key, for the TLS 1.2 RSA key exchange only.
 *
 * The key server answers 48 bytes whatever the padding was (implicit rejection is decided there, in
 * constant time). A failure to reach it is an error here and never 48 random bytes: those would
 * look like a bad ciphertext of the client.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rsa.h>

struct decrypt {
    const struct fk_rkey *key;
    int pad_mode;
    unsigned client_version;
};

static void *newctx(void *provctx)
{
    (void)provctx;
    return OPENSSL_zalloc(sizeof(struct decrypt));
}

static void freectx(void *vctx)
{
    OPENSSL_free(vctx);
}

static int set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    struct decrypt *ctx = vctx;
    const OSSL_PARAM *p;

    if (params == NULL)
        return 1;
    p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE);
    if (p != NULL &&
        (p->data_type == OSSL_PARAM_UTF8_STRING || !OSSL_PARAM_get_int(p, &ctx->pad_mode)))
        return 0; /* the TLS padding has no name, only a number */
    p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION);
    return p == NULL || OSSL_PARAM_get_uint(p, &ctx->client_version);
}

static const OSSL_PARAM *settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM table[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL), OSSL_PARAM_END};

    (void)vctx;
    (void)provctx;
    return table;
}

static int decrypt_init(void *vctx, void *keydata, const OSSL_PARAM params[])
{
    struct decrypt *ctx = vctx;

    ctx->key = keydata;
    ctx->pad_mode = RSA_PKCS1_PADDING;
    ctx->client_version = 0;
    return ctx->key != NULL && ctx->key->public_key != NULL && set_ctx_params(vctx, params);
}

static int decrypt(void *vctx, unsigned char *out, size_t *ret_len, size_t size,
                   const unsigned char *in, size_t in_len)
{
    struct decrypt *ctx = vctx;
    struct fk_key_request request = {.op = FK_KEY_DECRYPT};
    struct fk_opaque *opaque = fk_opaque_current();
    size_t len;

    if (ctx->pad_mode != RSA_PKCS1_WITH_TLS_PADDING || ctx->client_version == 0 ||
        ctx->client_version > UINT16_MAX) {
        fk_rkey_raise(FK_ERR_UNSUPPORTED, "decryption other than of a TLS premaster secret");
        return 0;
    }
    if (out == NULL) {
        *ret_len = FK_PREMASTER_SIZE;
        return 1;
    }
    if (size < FK_PREMASTER_SIZE)
        return 0;
    request.u.decrypt.client_version = (uint16_t)ctx->client_version;
    fk_reader_init(&request.u.decrypt.ciphertext, in, in_len);
    if (opaque != NULL && fk_opaque_keeps_rsa(opaque)) {
        *ret_len = FK_PREMASTER_SIZE;
        return fk_opaque_take_rsa(opaque, &request.u.decrypt, out) == FK_OK;
    }
    if (fk_rkey_run(ctx->key, &request, out, size, &len) != FK_OK)
        return 0;
    if (len != FK_PREMASTER_SIZE) {
        fk_wipe(out, len);
        fk_rkey_raise(FK_ERR_FORMAT, "premaster secret of wrong length");
        return 0;
    }
    *ret_len = len;
    return 1;
}

const OSSL_DISPATCH fk_rkey_decrypt_rsa[] = {
    {OSSL_FUNC_ASYM_CIPHER_NEWCTX, (void (*)(void))newctx},
    {OSSL_FUNC_ASYM_CIPHER_FREECTX, (void (*)(void))freectx},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, (void (*)(void))decrypt_init},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT, (void (*)(void))decrypt},
    {OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, (void (*)(void))set_ctx_params},
    {OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, (void (*)(void))settable_ctx_params},
    {0, NULL}};
