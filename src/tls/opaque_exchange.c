/*
 * Key exchange with ephemeral keys of a key server (ECDH, X25519, DH): a token stands for the
 * premaster secret. Where the private value was handed over, the default provider derives.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

struct exchange {
    const struct fk_opaque_key *key, *peer; /* borrowed: EVP's context holds both */
};

static void *newctx(void *provctx)
{
    (void)provctx;
    return OPENSSL_zalloc(sizeof(struct exchange));
}

static void freectx(void *vctx)
{
    OPENSSL_free(vctx);
}

static int init(void *vctx, void *keydata, const OSSL_PARAM params[])
{
    struct exchange *exchange = vctx;

    (void)params;
    exchange->key = keydata;
    exchange->peer = NULL;
    return exchange->key != NULL;
}

static int set_peer(void *vctx, void *keydata)
{
    struct exchange *exchange = vctx;

    exchange->peer = keydata;
    return exchange->peer != NULL &&
           fk_opaque_key_group(exchange->peer) == fk_opaque_key_group(exchange->key);
}

static int derive_here(const struct exchange *exchange, EVP_PKEY *whole, uint8_t *out,
                       size_t *ret_len, size_t size)
{
    EVP_PKEY *peer = fk_opaque_key_import(exchange->peer);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(fk_opaque_key_provider(exchange->key)->libctx,
                                                   whole, "provider=default");
    size_t len = size;
    /* libssl has had the share checked already. */
    int ok = peer != NULL && ctx != NULL && EVP_PKEY_derive_init(ctx) > 0 &&
             EVP_PKEY_derive_set_peer_ex(ctx, peer, 0) > 0 && EVP_PKEY_derive(ctx, out, &len) > 0;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    if (ok)
        *ret_len = len;
    return ok;
}

static int derive(void *vctx, unsigned char *out, size_t *ret_len, size_t size)
{
    const struct exchange *exchange = vctx;
    struct fk_opaque *opaque = fk_opaque_current();
    const struct fk_agree_group *group;
    struct fk_reader share;
    EVP_PKEY *whole;

    if (exchange->key == NULL || exchange->peer == NULL || opaque == NULL) {
        fk_rkey_raise(FK_ERR_INVAL, "key exchange outside of a handshake");
        return 0;
    }
    group = fk_opaque_key_group(exchange->key);
    if (out == NULL) {
        *ret_len =
            group->secret_len > FK_OPAQUE_TOKEN_SIZE ? group->secret_len : FK_OPAQUE_TOKEN_SIZE;
        return 1;
    }
    if ((whole = fk_opaque_key_whole(exchange->key)) != NULL)
        return derive_here(exchange, whole, out, ret_len, size);
    share = fk_opaque_key_public(exchange->peer);
    if (fk_opaque_is_tls13(opaque))
        return fk_opaque_agree13(opaque, share, out, size, ret_len) == FK_OK;
    return fk_opaque_agree(opaque, share, out, size, ret_len) == FK_OK;
}

const OSSL_DISPATCH fk_opaque_exchange[] = {{OSSL_FUNC_KEYEXCH_NEWCTX, (void (*)(void))newctx},
                                            {OSSL_FUNC_KEYEXCH_FREECTX, (void (*)(void))freectx},
                                            {OSSL_FUNC_KEYEXCH_INIT, (void (*)(void))init},
                                            {OSSL_FUNC_KEYEXCH_SET_PEER, (void (*)(void))set_peer},
                                            {OSSL_FUNC_KEYEXCH_DERIVE, (void (*)(void))derive},
                                            {0, NULL}};
