/*
 * TLS 1.3's key schedule as libssl fetches it where secrets are kept elsewhere: what is a token of
 * the running handshake is the key server's to derive from, all else is as ever (tls/schedule.h).
 */
#include "tls/opaque_priv.h"
#include "tls/schedule.h"

#include "base/err.h"

#include <openssl/kdf.h>

/* There is nothing to keep, so the provider is the context. */
static void *newctx(void *provctx)
{
    return provctx;
}

static void freectx(void *ctx)
{
    (void)ctx;
}

static bool is_kept(const struct fk_opaque *opaque, const struct fk_schedule_asked *asked)
{
    return (asked->has_key && fk_opaque_is_token13(opaque, asked->key)) ||
           (asked->has_salt && fk_opaque_is_token13(opaque, asked->salt));
}

static int derive(void *ctx, unsigned char *out, size_t len, const OSSL_PARAM params[])
{
    struct fk_opaque *opaque = fk_opaque_current();
    struct fk_schedule_asked asked;

    (void)ctx;
    if (!fk_schedule_read(params, &asked))
        return 0;
    if (opaque == NULL || !is_kept(opaque, &asked))
        return fk_schedule_answer(&asked, out, len);
    if (asked.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
        return fk_opaque_extract13(opaque, asked.salt, asked.key, out, len) == FK_OK;
    asked.label.context = asked.data;
    return asked.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && asked.has_key &&
           asked.key.left == fk_prf_size(opaque->hash13) &&
           fk_opaque_expand13(opaque, asked.key.next, &asked.label, out, len) == FK_OK;
}

const OSSL_DISPATCH fk_opaque_kdf13[] = {{OSSL_FUNC_KDF_NEWCTX, (void (*)(void))newctx},
                                         {OSSL_FUNC_KDF_FREECTX, (void (*)(void))freectx},
                                         {OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive},
                                         {0, NULL}};
