/*
 * TLS 1.2's PRF as libssl fetches it: a secret that is a token of the running handshake is the key
 * server's to derive from, any other one the default provider's.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

struct prf {
    EVP_KDF_CTX *plain; /* of the default provider, told everything as well */
    enum fk_prf hash;   /* 0: another one */
    bool whole;         /* secret and seed are all that was given */
    size_t secret_len, seed_len;
    uint8_t secret[FK_OPAQUE_TOKEN_SIZE]; /* if it has a token's size */
    uint8_t seed[FK_OPAQUE_SEED_MAX];
};

/* A library context with this provider is one thread's. */
static EVP_KDF *plain_prf(struct fk_opaque_provider *provider)
{
    if (provider->prf == NULL)
        provider->prf = EVP_KDF_fetch(provider->libctx, "TLS1-PRF", "provider=default");
    return provider->prf;
}

static void *newctx(void *provctx)
{
    EVP_KDF *plain = plain_prf(provctx);
    struct prf *prf = plain == NULL ? NULL : OPENSSL_zalloc(sizeof *prf);

    if (prf == NULL)
        return NULL;
    prf->whole = true;
    if ((prf->plain = EVP_KDF_CTX_new(plain)) == NULL) {
        OPENSSL_free(prf);
        return NULL;
    }
    return prf;
}

static void freectx(void *vctx)
{
    struct prf *prf = vctx;

    if (prf == NULL)
        return;
    EVP_KDF_CTX_free(prf->plain);
    OPENSSL_clear_free(prf, sizeof *prf);
}

static void reset(void *vctx)
{
    struct prf *prf = vctx;
    EVP_KDF_CTX *plain = prf->plain;

    EVP_KDF_CTX_reset(plain);
    fk_wipe(prf, sizeof *prf);
    prf->plain = plain;
    prf->whole = true;
}

/* Seeds come in pieces; one that is longer than any of a handshake is for the default provider. */
static int note(struct prf *prf, const OSSL_PARAM *p)
{
    const char *name;
    const void *data;
    size_t len;

    if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0) {
        if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
            return 0;
        prf->hash = fk_provider_hash(name);
        return 1;
    }
    if (!OSSL_PARAM_get_octet_string_ptr(p, &data, &len))
        return 1; /* not of those that matter here */
    if (strcmp(p->key, OSSL_KDF_PARAM_SECRET) == 0) {
        prf->secret_len = len;
        if (len == sizeof prf->secret)
            memcpy(prf->secret, data, len);
    } else if (strcmp(p->key, OSSL_KDF_PARAM_SEED) == 0 && len > 0) {
        if (len > sizeof prf->seed - prf->seed_len) {
            prf->whole = false;
            return 1;
        }
        memcpy(prf->seed + prf->seed_len, data, len);
        prf->seed_len += len;
    }
    return 1;
}

static int set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    struct prf *prf = vctx;

    if (params == NULL)
        return 1;
    for (const OSSL_PARAM *p = params; p->key != NULL; p++)
        if (!note(prf, p))
            return 0;
    return EVP_KDF_CTX_set_params(prf->plain, params);
}

static const OSSL_PARAM *settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM table[] = {OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_PROPERTIES, NULL, 0),
                                       OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, NULL, 0),
                                       OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SECRET, NULL, 0),
                                       OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, NULL, 0),
                                       OSSL_PARAM_END};

    (void)vctx;
    (void)provctx;
    return table;
}

/* Mode agree: the master secret is made here, of a premaster secret that nobody keeps. */
static int derive_here(struct fk_opaque *opaque, struct prf *prf, unsigned char *out, size_t len)
{
    uint8_t premaster[FK_DH_PRIME_MAX];
    OSSL_PARAM params[2];
    size_t premaster_len;
    int ok;

    if (fk_opaque_premaster(opaque, premaster, sizeof premaster, &premaster_len) != FK_OK)
        return 0;
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, premaster, premaster_len);
    params[1] = OSSL_PARAM_construct_end();
    ok = EVP_KDF_derive(prf->plain, out, len, params);
    fk_wipe(premaster, sizeof premaster);
    return ok;
}

static int derive(void *vctx, unsigned char *out, size_t len, const OSSL_PARAM params[])
{
    struct fk_opaque *opaque = fk_opaque_current();
    struct fk_opaque_prf asked;
    struct prf *prf = vctx;

    if (!set_ctx_params(prf, params))
        return 0;
    if (opaque == NULL || !fk_opaque_is_token(opaque, prf->secret, prf->secret_len))
        return EVP_KDF_derive(prf->plain, out, len, NULL);
    if (opaque->mode == FK_OPAQUE_AGREE)
        return derive_here(opaque, prf, out, len);
    asked.prf = prf->whole ? prf->hash : (enum fk_prf)0;
    fk_reader_init(&asked.seed, prf->seed, prf->seed_len);
    return fk_opaque_derive(opaque, prf->secret, &asked, out, len) == FK_OK;
}

const OSSL_DISPATCH fk_opaque_kdf[] = {
    {OSSL_FUNC_KDF_NEWCTX, (void (*)(void))newctx},
    {OSSL_FUNC_KDF_FREECTX, (void (*)(void))freectx},
    {OSSL_FUNC_KDF_RESET, (void (*)(void))reset},
    {OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive},
    {OSSL_FUNC_KDF_SET_CTX_PARAMS, (void (*)(void))set_ctx_params},
    {OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS, (void (*)(void))settable_ctx_params},
    {0, NULL}};
