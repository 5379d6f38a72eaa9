/*
 * The provider "farkey-opaque": registration, its list of algorithms, its groups, and the check
 * that they are what libssl finds.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <string.h>

#define X25519_NAMES "X25519:1.3.101.110"
#define EC_NAMES     "EC:id-ecPublicKey:1.2.840.10045.2.1"
#define RAND_NAME    "FARKEY-FRESH"
#define DH_NAMES     "DH:dhKeyAgreement:1.2.840.113549.1.3.1"

static const OSSL_ALGORITHM keymgmts[] = {
    {X25519_NAMES, FK_OPAQUE_PROPERTY, fk_opaque_keymgmt_x25519, "a key server's X25519 key"},
    {EC_NAMES, FK_OPAQUE_PROPERTY, fk_opaque_keymgmt_ec, "a key server's ephemeral EC key"},
    {DH_NAMES, FK_OPAQUE_PROPERTY, fk_opaque_keymgmt_dh, "a key server's ephemeral DH key"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM exchanges[] = {
    {X25519_NAMES, FK_OPAQUE_PROPERTY, fk_opaque_exchange, "X25519 by a key server"},
    {"ECDH", FK_OPAQUE_PROPERTY, fk_opaque_exchange, "ECDH by a key server"},
    {DH_NAMES, FK_OPAQUE_PROPERTY, fk_opaque_exchange, "DH by a key server"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM kdfs[] = {
    {"TLS1-PRF", FK_OPAQUE_PROPERTY, fk_opaque_kdf, "PRF of TLS 1.2 by a key server"},
    {"TLS13-KDF", FK_OPAQUE_PROPERTY, fk_opaque_kdf13, "key schedule of TLS 1.3 by a key server"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM rands[] = {
    {RAND_NAME, FK_OPAQUE_PROPERTY, fk_opaque_rand, "server randoms made of seeds"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *query(void *provctx, int operation, int *no_cache)
{
    (void)provctx;
    *no_cache = 0;
    if (operation == OSSL_OP_KEYMGMT)
        return keymgmts;
    if (operation == OSSL_OP_KEYEXCH)
        return exchanges;
    if (operation == OSSL_OP_KDF)
        return kdfs;
    if (operation == OSSL_OP_RAND)
        return rands;
    return NULL;
}

/* --- groups: libssl takes those of the provider whose keys it finds --- */

struct group {
    const char *tls_name, *name, *algorithm;
    unsigned id, security_bits;
};

static const struct group groups[] = {
    {"x25519", "X25519", "X25519", FK_AGREE_X25519, 128},
    {"X25519", "X25519", "X25519", FK_AGREE_X25519, 128},
    {"secp256r1", "prime256v1", "EC", FK_AGREE_P256, 128},
    {"P-256", "prime256v1", "EC", FK_AGREE_P256, 128},
    {"secp384r1", "secp384r1", "EC", FK_AGREE_P384, 192},
    {"P-384", "secp384r1", "EC", FK_AGREE_P384, 192},
};

static char *text(const char *value)
{
    return (char *)(uintptr_t)value; /* constructed parameters are read only */
}

bool fk_opaque_serves_group(uint16_t group)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i].id == group)
            return true;
    return false;
}

static int tell_group(const struct group *group, OSSL_CALLBACK *callback, void *arg)
{
    unsigned id = group->id, bits = group->security_bits;
    int first = TLS1_2_VERSION, last = TLS1_3_VERSION, none = -1;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_CAPABILITY_TLS_GROUP_NAME, text(group->tls_name), 0),
        OSSL_PARAM_construct_utf8_string(OSSL_CAPABILITY_TLS_GROUP_NAME_INTERNAL, text(group->name),
                                         0),
        OSSL_PARAM_construct_utf8_string(OSSL_CAPABILITY_TLS_GROUP_ALG, text(group->algorithm), 0),
        OSSL_PARAM_construct_uint(OSSL_CAPABILITY_TLS_GROUP_ID, &id),
        OSSL_PARAM_construct_uint(OSSL_CAPABILITY_TLS_GROUP_SECURITY_BITS, &bits),
        OSSL_PARAM_construct_int(OSSL_CAPABILITY_TLS_GROUP_MIN_TLS, &first),
        OSSL_PARAM_construct_int(OSSL_CAPABILITY_TLS_GROUP_MAX_TLS, &last),
        OSSL_PARAM_construct_int(OSSL_CAPABILITY_TLS_GROUP_MIN_DTLS, &none),
        OSSL_PARAM_construct_int(OSSL_CAPABILITY_TLS_GROUP_MAX_DTLS, &none),
        OSSL_PARAM_construct_end()};

    return callback(params, arg);
}

static int get_capabilities(void *provctx, const char *capability, OSSL_CALLBACK *callback,
                            void *arg)
{
    (void)provctx;
    if (strcmp(capability, "TLS-GROUP") != 0)
        return 0;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (!tell_group(&groups[i], callback, arg))
            return 0;
    return 1;
}

/* --- the provider --- */

static int get_params(void *provctx, OSSL_PARAM params[])
{
    (void)provctx;
    return fk_provider_tell("Farkey secrets kept at a key server", params);
}

static void teardown(void *provctx)
{
    struct fk_opaque_provider *provider = provctx;

    EVP_KDF_free(provider->prf);
    OPENSSL_free(provider);
}

static const OSSL_DISPATCH dispatch[] = {
    {OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown},
    {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))fk_provider_gettable_params},
    {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
    {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))get_capabilities},
    {0, NULL}};

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                void **ret_provctx)
{
    struct fk_opaque_provider *provider = OPENSSL_zalloc(sizeof *provider);

    if (provider == NULL || fk_provider_libctx(handle, in, &provider->libctx) != FK_OK) {
        OPENSSL_free(provider);
        return 0;
    }
    *out = dispatch;
    *ret_provctx = provider;
    return 1;
}

/* --- that what is found is ours --- */

static bool is_ours(const OSSL_PROVIDER *provider)
{
    return provider != NULL && strcmp(OSSL_PROVIDER_get0_name(provider), FK_OPAQUE_PROVIDER) == 0;
}

static bool finds_keys(OSSL_LIB_CTX *libctx, const char *keys, const char *exchange)
{
    EVP_KEYMGMT *keymgmt = EVP_KEYMGMT_fetch(libctx, keys, FK_OPAQUE_QUERY);
    EVP_KEYEXCH *keyexch = EVP_KEYEXCH_fetch(libctx, exchange, FK_OPAQUE_QUERY);
    bool ok = keymgmt != NULL && is_ours(EVP_KEYMGMT_get0_provider(keymgmt)) && keyexch != NULL &&
              is_ours(EVP_KEYEXCH_get0_provider(keyexch));

    EVP_KEYMGMT_free(keymgmt);
    EVP_KEYEXCH_free(keyexch);
    return ok;
}

static bool finds_kdf(OSSL_LIB_CTX *libctx, const char *name)
{
    EVP_KDF *kdf = EVP_KDF_fetch(libctx, name, FK_OPAQUE_QUERY);
    bool ok = kdf != NULL && is_ours(EVP_KDF_get0_provider(kdf));

    EVP_KDF_free(kdf);
    return ok;
}

/* The generators are made when something is first drawn, so that this comes before. */
static bool draws(OSSL_LIB_CTX *libctx)
{
    EVP_RAND_CTX *ctx = RAND_get0_public(libctx);

    return ctx != NULL && is_ours(EVP_RAND_get0_provider(EVP_RAND_CTX_get0_rand(ctx)));
}

int fk_opaque_provider_load(OSSL_LIB_CTX *libctx)
{
    bool loaded = OSSL_PROVIDER_available(libctx, FK_OPAQUE_PROVIDER);
    int err;

    if ((err = fk_rkey_provider_load(libctx)) != FK_OK ||
        (err = fk_provider_add(libctx, FK_OPAQUE_PROVIDER, init)) != FK_OK)
        return err;
    if (!loaded && RAND_set_DRBG_type(libctx, RAND_NAME, "farkey.opaque=yes", NULL, NULL) != 1)
        return FK_ERR_CRYPTO;
    return draws(libctx) && finds_keys(libctx, "X25519", "X25519") &&
                   finds_keys(libctx, "EC", "ECDH") && finds_keys(libctx, "DH", "DH") &&
                   finds_kdf(libctx, "TLS1-PRF") && finds_kdf(libctx, "TLS13-KDF")
               ? FK_OK
               : FK_ERR_CRYPTO;
}
