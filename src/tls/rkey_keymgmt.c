/*
 * Key management of remote keys: the public half, kept in a key of the default provider.
 *
 * Refuses every private import and export. Refusing the export is also what makes EVP come to this
 * provider for signing: it first tries to move a key to the default provider, and only then asks
 * the key's own.
 */
#include "tls/rkey_provider.h"

#include "base/err.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#define SELECT_PRIVATE OSSL_KEYMGMT_SELECT_PRIVATE_KEY
#define SELECT_PUBLIC  OSSL_KEYMGMT_SELECT_PUBLIC_KEY

static const struct fk_rkey_type type_rsa = {FK_KEY_RSA, "RSA", OSSL_PKEY_PARAM_RSA_D};
static const struct fk_rkey_type type_ec = {FK_KEY_EC, "EC", OSSL_PKEY_PARAM_PRIV_KEY};
static const struct fk_rkey_type type_ed25519 = {FK_KEY_ED25519, "ED25519",
                                                 OSSL_PKEY_PARAM_PRIV_KEY};

static void *new_key(void *provctx, const struct fk_rkey_type *type)
{
    struct fk_rkey *key = OPENSSL_zalloc(sizeof *key);

    if (key != NULL) {
        key->provider = provctx;
        key->type = type;
    }
    return key;
}

static void *new_rsa(void *provctx)
{
    return new_key(provctx, &type_rsa);
}

static void *new_ec(void *provctx)
{
    return new_key(provctx, &type_ec);
}

static void *new_ed25519(void *provctx)
{
    return new_key(provctx, &type_ed25519);
}

static void free_key(void *keydata)
{
    struct fk_rkey *key = keydata;

    if (key == NULL)
        return;
    EVP_PKEY_free(key->public_key);
    OPENSSL_free(key);
}

static int has(const void *keydata, int selection)
{
    const struct fk_rkey *key = keydata;

    if (key == NULL || key->public_key == NULL)
        return 0;
    /* The private half exists, elsewhere: libssl may use the key as a complete one. */
    return (selection & SELECT_PRIVATE) == 0 || key->back != NULL;
}

static int match(const void *keydata1, const void *keydata2, int selection)
{
    const struct fk_rkey *a = keydata1, *b = keydata2;

    if (a->public_key == NULL || b->public_key == NULL)
        return 0;
    if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) == 0)
        return EVP_PKEY_parameters_eq(a->public_key, b->public_key) == 1;
    return EVP_PKEY_eq(a->public_key, b->public_key) == 1;
}

static EVP_PKEY *public_from_params(const struct fk_rkey *key, const OSSL_PARAM params[])
{
    EVP_PKEY_CTX *ctx =
        EVP_PKEY_CTX_new_from_name(key->provider->libctx, key->type->name, "provider=default");
    EVP_PKEY *public_key = NULL;

    if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0)
        /* fromdata() does not write to params; its prototype lacks the const. */
        (void)EVP_PKEY_fromdata(ctx, &public_key, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)params);
    EVP_PKEY_CTX_free(ctx);
    return public_key;
}

static int import_key(void *keydata, int selection, const OSSL_PARAM params[])
{
    const OSSL_PARAM *back_param = OSSL_PARAM_locate_const(params, FK_RKEY_PARAM_BACK);
    struct fk_rkey *key = keydata;
    const void *back = NULL;
    EVP_PKEY *public_key;

    if (key == NULL || key->public_key != NULL || (selection & SELECT_PUBLIC) == 0 ||
        OSSL_PARAM_locate_const(params, key->type->private_param) != NULL)
        return 0;
    if (back_param != NULL && !OSSL_PARAM_get_octet_ptr(back_param, &back, NULL))
        return 0;
    public_key = public_from_params(key, params);
    if (public_key == NULL)
        return 0;
    if (fk_ski_of_key(public_key, key->ski) != FK_OK) {
        EVP_PKEY_free(public_key);
        return 0;
    }
    key->public_key = public_key;
    key->size = (size_t)EVP_PKEY_get_size(public_key);
    key->back = (struct fk_keyback *)(uintptr_t)back;
    return 1;
}

static int export_key(void *keydata, int selection, OSSL_CALLBACK *callback, void *arg)
{
    const struct fk_rkey *key = keydata;
    OSSL_PARAM *params = NULL;
    int ok;

    if (key == NULL || key->public_key == NULL)
        return 0;
    /* A key without a back-end has nothing to refuse: it moves wherever a public key may. */
    if ((selection & SELECT_PRIVATE) != 0 && key->back != NULL)
        return 0;
    if (!EVP_PKEY_todata(key->public_key, selection & ~SELECT_PRIVATE, &params))
        return 0;
    ok = callback(params, arg);
    OSSL_PARAM_free(params);
    return ok;
}

static const OSSL_PARAM rsa_types[] = {OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
                                       OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
                                       OSSL_PARAM_END};
static const OSSL_PARAM ec_types[] = {OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                                      OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                                      OSSL_PARAM_END};
static const OSSL_PARAM ed25519_types[] = {
    OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0), OSSL_PARAM_END};

static const OSSL_PARAM *types_rsa(int selection)
{
    return (selection & SELECT_PUBLIC) != 0 ? rsa_types : NULL;
}

static const OSSL_PARAM *types_ec(int selection)
{
    return (selection & SELECT_PUBLIC) != 0 ? ec_types : NULL;
}

static const OSSL_PARAM *types_ed25519(int selection)
{
    return (selection & SELECT_PUBLIC) != 0 ? ed25519_types : NULL;
}

static int get_params(void *keydata, OSSL_PARAM params[])
{
    const struct fk_rkey *key = keydata;

    return key != NULL && key->public_key != NULL && EVP_PKEY_get_params(key->public_key, params);
}

/* What libssl and X.509 code ask about a public key, for all three families. */
static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM table[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_END};

    (void)provctx;
    return table;
}

static const char *ec_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

#define KEYMGMT_COMMON(new_fn, types_fn)                                   \
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))(new_fn)},                     \
        {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))free_key},                \
        {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))has},                      \
        {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))match},                  \
        {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))import_key},            \
        {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))(types_fn)},      \
        {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))export_key},            \
        {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))(types_fn)},      \
        {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))get_params},        \
    {                                                                      \
        OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))gettable_params \
    }

const OSSL_DISPATCH fk_rkey_keymgmt_rsa[] = {KEYMGMT_COMMON(new_rsa, types_rsa), {0, NULL}};
const OSSL_DISPATCH fk_rkey_keymgmt_ec[] = {
    KEYMGMT_COMMON(new_ec, types_ec),
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))ec_operation_name},
    {0, NULL}};
const OSSL_DISPATCH fk_rkey_keymgmt_ed25519[] = {KEYMGMT_COMMON(new_ed25519, types_ed25519),
                                                 {0, NULL}};
