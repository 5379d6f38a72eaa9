/*
 * Signatures with remote keys. libssl hands over the whole message to be signed; what travels is
 * the TLS structure inside it, and the key server builds the message again.
 *
 * Signs nothing but TLS handshakes: any other message is refused here, before it leaves.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <string.h>
#include <strings.h>

struct digest_row {
    const char *name, *alias;
    int size;
    uint16_t pkcs1, pss, ecdsa; /* SignatureScheme, RFC 8446 section 4.2.3 */
};

static const struct digest_row digests[] = {{"SHA2-256", "SHA256", 32, 0x0401, 0x0804, 0x0403},
                                            {"SHA2-384", "SHA384", 48, 0x0501, 0x0805, 0x0503},
                                            {"SHA2-512", "SHA512", 64, 0x0601, 0x0806, 0x0603}};
#define SCHEME_ED25519 0x0807

struct signature {
    const struct fk_rkey *key; /* borrowed: EVP's context holds the key */
    const struct digest_row *digest;
    int pad_mode;
    int salt_len; /* as OpenSSL's RSA_PSS_SALTLEN_* or bytes */
};

static const struct digest_row *find_digest(const char *name)
{
    for (size_t i = 0; i < sizeof digests / sizeof digests[0]; i++)
        if (strcasecmp(name, digests[i].name) == 0 || strcasecmp(name, digests[i].alias) == 0)
            return &digests[i];
    return NULL;
}

static void *newctx(void *provctx, const char *propq)
{
    (void)provctx;
    (void)propq;
    return OPENSSL_zalloc(sizeof(struct signature));
}

static void freectx(void *vctx)
{
    OPENSSL_free(vctx);
}

/* Parameters arrive as numbers or as words; `words` pairs a word with its number. */
struct word {
    const char *word;
    int number;
};

static const struct word pad_words[] = {{OSSL_PKEY_RSA_PAD_MODE_PKCSV15, RSA_PKCS1_PADDING},
                                        {OSSL_PKEY_RSA_PAD_MODE_PSS, RSA_PKCS1_PSS_PADDING},
                                        {NULL, 0}};
static const struct word salt_words[] = {
    {OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST, RSA_PSS_SALTLEN_DIGEST}, {NULL, 0}};

/* True when the parameter is absent or was understood. */
static bool get_number(const OSSL_PARAM params[], const char *name, const struct word *words,
                       int *ret)
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);
    const char *text;

    if (p == NULL)
        return true;
    if (p->data_type != OSSL_PARAM_UTF8_STRING)
        return OSSL_PARAM_get_int(p, ret);
    if (!OSSL_PARAM_get_utf8_string_ptr(p, &text))
        return false;
    for (; words->word != NULL; words++) {
        if (strcmp(words->word, text) == 0) {
            *ret = words->number;
            return true;
        }
    }
    return false;
}

static int set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    struct signature *sig = vctx;
    const OSSL_PARAM *p;
    const char *name;

    if (params == NULL)
        return 1;
    p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
    if (p != NULL) {
        if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
            return 0;
        sig->digest = find_digest(name);
        if (sig->digest == NULL)
            return 0;
    }
    return get_number(params, OSSL_SIGNATURE_PARAM_PAD_MODE, pad_words, &sig->pad_mode) &&
           get_number(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN, salt_words, &sig->salt_len);
}

static const OSSL_PARAM *settable_ctx_params(void *vctx, void *provctx)
{
    static const OSSL_PARAM table[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0), OSSL_PARAM_END};

    (void)vctx;
    (void)provctx;
    return table;
}

static int sign_init(void *vctx, const char *mdname, void *keydata, const OSSL_PARAM params[])
{
    struct signature *sig = vctx;

    if (keydata != NULL)
        sig->key = keydata;
    if (sig->key == NULL || sig->key->public_key == NULL)
        return 0;
    sig->pad_mode = RSA_PKCS1_PADDING;
    sig->salt_len = RSA_PSS_SALTLEN_AUTO;
    sig->digest = NULL;
    if (mdname != NULL && mdname[0] != '\0') {
        sig->digest = find_digest(mdname);
        if (sig->digest == NULL) {
            fk_rkey_raise(FK_ERR_UNSUPPORTED, "digest");
            return 0;
        }
    }
    return set_ctx_params(vctx, params);
}

/* TLS uses PSS with a salt as long as the digest, and no other. FK_ERR_UNSUPPORTED. */
static int rsa_scheme(const struct signature *sig, uint16_t *ret)
{
    if (sig->digest == NULL)
        return FK_ERR_UNSUPPORTED;
    if (sig->pad_mode == RSA_PKCS1_PADDING) {
        *ret = sig->digest->pkcs1;
        return FK_OK;
    }
    if (sig->pad_mode != RSA_PKCS1_PSS_PADDING ||
        (sig->salt_len != RSA_PSS_SALTLEN_DIGEST && sig->salt_len != sig->digest->size))
        return FK_ERR_UNSUPPORTED;
    *ret = sig->digest->pss;
    return FK_OK;
}

static int choose_scheme(const struct signature *sig, uint16_t *ret)
{
    switch (sig->key->type->type) {
    case FK_KEY_RSA:
        return rsa_scheme(sig, ret);
    case FK_KEY_EC:
        if (sig->digest == NULL)
            return FK_ERR_UNSUPPORTED;
        *ret = sig->digest->ecdsa;
        return FK_OK;
    case FK_KEY_ED25519:
        *ret = SCHEME_ED25519;
        return FK_OK;
    }
    return FK_ERR_UNSUPPORTED;
}

/*
 * Which structure the message is. A TLS 1.2 message begins with two random values, of which at
 * least ours cannot be all spaces, so the 64 spaces of TLS 1.3 tell the two apart.
 */
static int parse_tbs(const uint8_t *tbs, size_t len, uint16_t scheme, struct fk_key_request *ret)
{
    static const char spaces[64] = "                                "
                                   "                                ";

    if (len >= sizeof spaces && memcmp(tbs, spaces, sizeof spaces) == 0) {
        ret->op = FK_KEY_SIGN13;
        return fk_sign13_from_tbs(tbs, len, scheme, &ret->u.sign13);
    }
    ret->op = FK_KEY_SIGN12;
    return fk_sign12_from_tbs(tbs, len, scheme, &ret->u.sign12);
}

static int digest_sign(void *vctx, unsigned char *out, size_t *ret_len, size_t size,
                       const unsigned char *tbs, size_t tbs_len)
{
    struct signature *sig = vctx;
    struct fk_key_request request = {.tbs = tbs, .tbs_len = tbs_len};
    struct fk_opaque *opaque = fk_opaque_current();
    struct fk_reader message;
    uint16_t scheme;
    int err;

    if (out == NULL) {
        *ret_len = sig->key->size;
        return 1;
    }
    err = choose_scheme(sig, &scheme);
    if (err == FK_OK)
        err = parse_tbs(tbs, tbs_len, scheme, &request);
    if (err != FK_OK) {
        fk_rkey_raise(err, "not a TLS handshake that can be signed");
        return 0;
    }
    fk_reader_init(&message, tbs, tbs_len);
    if (opaque != NULL && request.op == FK_KEY_SIGN13 && fk_opaque_is_tls13(opaque))
        return fk_opaque_flight13(opaque, scheme, out, size, ret_len) == FK_OK;
    /* Who made the ephemeral key has signed it along. */
    if (opaque != NULL && fk_opaque_signature(opaque, scheme, &message, out, size, ret_len))
        return 1;
    return fk_rkey_run(sig->key, &request, out, size, ret_len) == FK_OK;
}

#define SIGNATURE_COMMON                                                             \
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))newctx},                            \
        {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))freectx},                      \
        {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))sign_init},           \
        {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))digest_sign},              \
        {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))set_ctx_params},        \
    {                                                                                \
        OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))settable_ctx_params \
    }

/* One implementation: the family is the key's. */
const OSSL_DISPATCH fk_rkey_signature_rsa[] = {SIGNATURE_COMMON, {0, NULL}};
const OSSL_DISPATCH fk_rkey_signature_ec[] = {SIGNATURE_COMMON, {0, NULL}};
const OSSL_DISPATCH fk_rkey_signature_ed25519[] = {SIGNATURE_COMMON, {0, NULL}};
