/*
 * The provider "farkey": registration, its list of algorithms, and how a remote key is made.
 *
 * In-process (built in). Never becomes the default for anything: `default` is loaded before it, and
 * before it by name, and wins every fetch without properties, so only keys made by fk_rkey_new()
 * come here.
 */
#include "tls/rkey_provider.h"

#include "base/err.h"
#include "tls/schedule.h"

#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define FK_PROVIDER_NAME_MAX 32

/* Names with the aliases under which certificates and libssl look an algorithm up. */
#define RSA_NAMES     "RSA:rsaEncryption:1.2.840.113549.1.1.1"
#define EC_NAMES      "EC:id-ecPublicKey:1.2.840.10045.2.1"
#define ED25519_NAMES "ED25519:1.3.101.112"

static const OSSL_ALGORITHM keymgmts[] = {
    {RSA_NAMES, FK_RKEY_PROPERTY, fk_rkey_keymgmt_rsa, "remote RSA key"},
    {EC_NAMES, FK_RKEY_PROPERTY, fk_rkey_keymgmt_ec, "remote EC key"},
    {ED25519_NAMES, FK_RKEY_PROPERTY, fk_rkey_keymgmt_ed25519, "remote Ed25519 key"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM signatures[] = {
    {RSA_NAMES, FK_RKEY_PROPERTY, fk_rkey_signature_rsa, "remote RSA signature"},
    {"ECDSA", FK_RKEY_PROPERTY, fk_rkey_signature_ec, "remote ECDSA signature"},
    {ED25519_NAMES, FK_RKEY_PROPERTY, fk_rkey_signature_ed25519, "remote Ed25519 signature"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM ciphers[] = {
    {RSA_NAMES, FK_RKEY_PROPERTY, fk_rkey_decrypt_rsa, "remote RSA decryption"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *query(void *provctx, int operation, int *no_cache)
{
    (void)provctx;
    *no_cache = 0;
    if (operation == OSSL_OP_KEYMGMT)
        return keymgmts;
    if (operation == OSSL_OP_SIGNATURE)
        return signatures;
    if (operation == OSSL_OP_ASYM_CIPHER)
        return ciphers;
    return NULL;
}

const OSSL_PARAM *fk_provider_gettable_params(void *provctx)
{
    static const OSSL_PARAM table[] = {
        OSSL_PARAM_DEFN(OSSL_PROV_PARAM_NAME, OSSL_PARAM_UTF8_PTR, NULL, 0),
        OSSL_PARAM_DEFN(OSSL_PROV_PARAM_STATUS, OSSL_PARAM_INTEGER, NULL, 0), OSSL_PARAM_END};

    (void)provctx;
    return table;
}

int fk_provider_tell(const char *name, OSSL_PARAM params[])
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);

    if (p != NULL && !OSSL_PARAM_set_utf8_ptr(p, name))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);
    return p == NULL || OSSL_PARAM_set_int(p, 1);
}

enum fk_prf fk_provider_hash(const char *name)
{
    if (OPENSSL_strcasecmp(name, "SHA2-256") == 0 || OPENSSL_strcasecmp(name, "SHA256") == 0)
        return FK_PRF_SHA256;
    if (OPENSSL_strcasecmp(name, "SHA2-384") == 0 || OPENSSL_strcasecmp(name, "SHA384") == 0)
        return FK_PRF_SHA384;
    return (enum fk_prf)0;
}

static int get_params(void *provctx, OSSL_PARAM params[])
{
    (void)provctx;
    return fk_provider_tell("Farkey remote keys", params);
}

static void teardown(void *provctx)
{
    OPENSSL_free(provctx);
}

static const OSSL_DISPATCH dispatch[] = {
    {OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown},
    {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))fk_provider_gettable_params},
    {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
    {0, NULL}};

int fk_provider_libctx(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, OSSL_LIB_CTX **ret)
{
    OSSL_FUNC_core_get_libctx_fn *get_libctx = NULL;

    for (; in->function_id != 0; in++)
        if (in->function_id == OSSL_FUNC_CORE_GET_LIBCTX)
            get_libctx = OSSL_FUNC_core_get_libctx(in);
    /* The core's handle is the library context itself: true for built-in providers only. */
    if (get_libctx == NULL)
        return FK_ERR_UNSUPPORTED;
    *ret = (OSSL_LIB_CTX *)get_libctx(handle);
    return FK_OK;
}

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                void **ret_provctx)
{
    struct fk_rkey_provider *provider = OPENSSL_zalloc(sizeof *provider);

    if (provider == NULL || fk_provider_libctx(handle, in, &provider->libctx) != FK_OK) {
        OPENSSL_free(provider);
        return 0;
    }
    provider->handle = handle;
    *out = dispatch;
    *ret_provctx = provider;
    return 1;
}

/*
 * Activated by configuration rather than by OSSL_PROVIDER_load(): the library context then owns the
 * activation and ends it when it is freed, whereas a handle would have to be kept and unloaded in
 * time by somebody.
 */
static int activate(OSSL_LIB_CTX *libctx, const char *name)
{
    static const char form[] = "openssl_conf = init\n"
                               "[init]\n"
                               "providers = providers\n"
                               "[providers]\n"
                               "%s = active\n"
                               "[active]\n"
                               "activate = 1\n";
    char text[sizeof form + FK_PROVIDER_NAME_MAX];
    int len = snprintf(text, sizeof text, form, name);
    CONF *conf = NCONF_new_ex(libctx, NULL);
    BIO *bio = NULL;
    int err = FK_ERR_CRYPTO;

    if (len > 0 && (size_t)len < sizeof text && (bio = BIO_new_mem_buf(text, len)) != NULL &&
        conf != NULL && NCONF_load_bio(conf, bio, NULL) > 0 &&
        CONF_modules_load(conf, NULL, 0) > 0 && OSSL_PROVIDER_available(libctx, name))
        err = FK_OK;
    NCONF_free(conf);
    BIO_free(bio);
    return err;
}

int fk_provider_add(OSSL_LIB_CTX *libctx, const char *name, OSSL_provider_init_fn *init_fn)
{
    if (OSSL_PROVIDER_available(libctx, name))
        return FK_OK;
    OPENSSL_load_builtin_modules();
    return OSSL_PROVIDER_add_builtin(libctx, name, init_fn) ? activate(libctx, name)
                                                            : FK_ERR_CRYPTO;
}

/* The order is that of preference; OpenSSL 3.0 goes by the names, which are in the same one. */
int fk_rkey_provider_load(OSSL_LIB_CTX *libctx)
{
    int err;

    if (OSSL_PROVIDER_available(libctx, FK_RKEY_PROVIDER))
        return FK_OK;
    if ((err = fk_schedule_load(libctx)) != FK_OK || (err = activate(libctx, "default")) != FK_OK)
        return err;
    return fk_provider_add(libctx, FK_RKEY_PROVIDER, init);
}

int fk_ski_of_key(EVP_PKEY *key, uint8_t ret[20])
{
    X509_PUBKEY *spki = NULL;
    const uint8_t *bits;
    uint8_t digest[20];
    int bits_len;
    int err = FK_ERR_CRYPTO;

    if (X509_PUBKEY_set(&spki, key) && X509_PUBKEY_get0_param(NULL, &bits, &bits_len, NULL, spki) &&
        EVP_Digest(bits, (size_t)bits_len, digest, NULL, EVP_sha1(), NULL)) {
        memcpy(ret, digest, sizeof digest);
        err = FK_OK;
    }
    X509_PUBKEY_free(spki);
    return err;
}

/* The families that can be remote; RSA-PSS keys (id-RSASSA-PSS) cannot. */
static const char *family_name(EVP_PKEY *key)
{
    static const char *const names[] = {"RSA", "EC", "ED25519"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (EVP_PKEY_is_a(key, names[i]))
            return names[i];
    return NULL;
}

/* Import public parameters and the back-end into our key management. */
static int import_remote(OSSL_LIB_CTX *libctx, const char *name, const OSSL_PARAM *public_params,
                         struct fk_keyback *back, EVP_PKEY **ret)
{
    void *pointer = back;
    OSSL_PARAM extra[] = {OSSL_PARAM_construct_octet_ptr(FK_RKEY_PARAM_BACK, &pointer, sizeof back),
                          OSSL_PARAM_construct_end()};
    OSSL_PARAM *params = OSSL_PARAM_merge(public_params, extra);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(libctx, name, FK_RKEY_PROPERTY);
    EVP_PKEY *key = NULL;
    int err = FK_ERR_CRYPTO;

    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        goto out;
    /* Property queries can fail open: make sure that the key is in our hands. */
    if (strcmp(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key)), FK_RKEY_PROVIDER) != 0)
        goto out;
    *ret = key;
    key = NULL; /* moved */
    err = FK_OK;
out:
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return err;
}

int fk_rkey_new(OSSL_LIB_CTX *libctx, EVP_PKEY *public_key, struct fk_keyback *back, EVP_PKEY **ret)
{
    const char *name = family_name(public_key);
    OSSL_PARAM *params = NULL;
    int err = fk_rkey_provider_load(libctx);

    if (err != FK_OK)
        return err;
    if (name == NULL)
        return FK_ERR_UNSUPPORTED;
    if (!EVP_PKEY_todata(public_key, EVP_PKEY_PUBLIC_KEY, &params))
        return FK_ERR_CRYPTO;
    err = import_remote(libctx, name, params, back, ret);
    OSSL_PARAM_free(params);
    return err;
}
