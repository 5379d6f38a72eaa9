/* The provider "Farkey-schedule": see schedule.h. */
#include "tls/schedule.h"

#include "base/err.h"
#include "base/secret.h"
#include "tls/hkdf.h"
#include "tls/rkey_provider.h"
#include "tls/suite.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

/* --- parameters --- */

/* Whether it is there; an octet string without an address counts as not given, as in OpenSSL. */
static bool get_bytes(const OSSL_PARAM *p, struct fk_reader *ret)
{
    const void *data;
    size_t len;

    if (!OSSL_PARAM_get_octet_string_ptr(p, &data, &len) || data == NULL)
        return false;
    fk_reader_init(ret, data, len);
    return true;
}

static int note(struct fk_schedule_asked *asked, const OSSL_PARAM *p)
{
    const char *name;
    enum fk_prf hash;

    if (strcmp(p->key, OSSL_KDF_PARAM_MODE) == 0)
        return OSSL_PARAM_get_int(p, &asked->mode);
    if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0) {
        if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
            return 0;
        hash = fk_provider_hash(name);
        asked->hash_len = hash == 0 ? 0 : fk_prf_size(hash);
        return 1;
    }
    if (strcmp(p->key, OSSL_KDF_PARAM_KEY) == 0)
        asked->has_key = get_bytes(p, &asked->key);
    else if (strcmp(p->key, OSSL_KDF_PARAM_SALT) == 0)
        asked->has_salt = get_bytes(p, &asked->salt);
    else if (strcmp(p->key, OSSL_KDF_PARAM_PREFIX) == 0)
        (void)get_bytes(p, &asked->prefix);
    else if (strcmp(p->key, OSSL_KDF_PARAM_LABEL) == 0)
        (void)get_bytes(p, &asked->label.name);
    else if (strcmp(p->key, OSSL_KDF_PARAM_DATA) == 0)
        (void)get_bytes(p, &asked->data);
    return 1;
}

/* --- derivations --- */

/*
 * RFC 8446 section 7.1, from one column of the picture to the next: the salt is the secret before,
 * derived for the next one with the hash of nothing; neither is there at the first.
 */
static int extract(struct fk_schedule_asked *asked, uint8_t *out)
{
    static const uint8_t zeros[FK_SUITE_HASH_MAX];
    uint8_t hash[EVP_MAX_MD_SIZE], derived[FK_SUITE_HASH_MAX];
    struct fk_reader salt = {.left = 0}, key = asked->key;
    const size_t len = asked->hash_len;
    int err = FK_OK;

    if (!asked->has_key)
        fk_reader_init(&key, zeros, len);
    if (asked->has_salt) {
        if (asked->salt.left != len ||
            EVP_Digest("", 0, hash, NULL, len == 32 ? EVP_sha256() : EVP_sha384(), NULL) != 1)
            return FK_ERR_CRYPTO;
        fk_reader_init(&asked->label.context, hash, len);
        err = fk_hkdf_expand_label(len, asked->salt.next, &asked->label, derived, len);
        fk_reader_init(&salt, derived, len);
    }
    if (err == FK_OK)
        err = fk_hkdf_extract(len, salt, key, out);
    fk_wipe(derived, sizeof derived);
    return err;
}

static int expand(struct fk_schedule_asked *asked, uint8_t *out, size_t len)
{
    if (!asked->has_key || asked->key.left != asked->hash_len)
        return FK_ERR_INVAL;
    asked->label.context = asked->data;
    return fk_hkdf_expand_label(asked->hash_len, asked->key.next, &asked->label, out, len);
}

/* --- as OpenSSL calls it: there is nothing to keep, so the provider is the context --- */

static void *newctx(void *provctx)
{
    return provctx;
}

static void freectx(void *ctx)
{
    (void)ctx;
}

bool fk_schedule_read(const OSSL_PARAM params[], struct fk_schedule_asked *ret)
{
    *ret = (struct fk_schedule_asked){.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND};
    for (const OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++)
        if (!note(ret, p))
            return false;
    return ret->hash_len != 0 && ret->prefix.left == strlen(FK_HKDF_PREFIX) &&
           memcmp(ret->prefix.next, FK_HKDF_PREFIX, strlen(FK_HKDF_PREFIX)) == 0;
}

bool fk_schedule_answer(struct fk_schedule_asked *asked, uint8_t *out, size_t len)
{
    if (asked->mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
        return len == asked->hash_len && extract(asked, out) == FK_OK;
    return asked->mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && expand(asked, out, len) == FK_OK;
}

static int derive(void *ctx, unsigned char *out, size_t len, const OSSL_PARAM params[])
{
    struct fk_schedule_asked asked;

    (void)ctx;
    return fk_schedule_read(params, &asked) && fk_schedule_answer(&asked, out, len);
}

static const OSSL_DISPATCH kdf[] = {{OSSL_FUNC_KDF_NEWCTX, (void (*)(void))newctx},
                                    {OSSL_FUNC_KDF_FREECTX, (void (*)(void))freectx},
                                    {OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive},
                                    {0, NULL}};

static const OSSL_ALGORITHM kdfs[] = {
    {"TLS13-KDF", "provider=" FK_SCHEDULE_PROVIDER, kdf, "the key schedule of TLS 1.3"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *query(void *provctx, int operation, int *no_cache)
{
    (void)provctx;
    *no_cache = 0;
    return operation == OSSL_OP_KDF ? kdfs : NULL;
}

static int get_params(void *provctx, OSSL_PARAM params[])
{
    (void)provctx;
    return fk_provider_tell("Farkey key schedule", params);
}

static const OSSL_DISPATCH dispatch[] = {
    {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))fk_provider_gettable_params},
    {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
    {0, NULL}};

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                void **ret_provctx)
{
    (void)in;
    *out = dispatch;
    *ret_provctx = (void *)(uintptr_t)handle; /* anything that is not NULL */
    return 1;
}

int fk_schedule_load(OSSL_LIB_CTX *libctx)
{
    return fk_provider_add(libctx, FK_SCHEDULE_PROVIDER, init);
}
