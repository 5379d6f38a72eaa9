/*
 * Signing and raw decryption with one key: cached contexts, and the check of every RSA signature.
 * Private to the signer's operations; knows nothing of TLS.
 */
#include "base/err.h"
#include "base/list.h"
#include "base/secret.h"
#include "signer/ops_local.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdlib.h>

size_t fk_hash_size(enum fk_hash hash)
{
    static const size_t sizes[FK_HASH_COUNT] = {20, 28, 32, 48, 64};

    return sizes[hash];
}

int fk_ops_digest(struct fk_ops *ops, enum fk_hash hash, const struct fk_reader *parts,
                  size_t n_parts, uint8_t ret[64])
{
    EVP_MD_CTX *ctx = ops->md_ctx[hash];

    if (EVP_DigestInit_ex2(ctx, ops->md[hash], NULL) != 1)
        return FK_ERR_CRYPTO;
    for (size_t i = 0; i < n_parts; i++)
        if (EVP_DigestUpdate(ctx, parts[i].next, parts[i].left) != 1)
            return FK_ERR_CRYPTO;
    return EVP_DigestFinal_ex(ctx, ret, NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

struct fk_key_state *fk_ops_state(struct fk_ops *ops, const struct fk_keyset_entry *entry)
{
    if (entry == ops->guest)
        return ops->guest_state;
    return &ops->states[entry - fk_keyset_at(ops->set, 0)];
}

void fk_key_state_fini(struct fk_key_state *state)
{
    for (int i = 0; i < FK_VARIANT_COUNT; i++) {
        EVP_PKEY_CTX_free(state->use[i]);
        EVP_PKEY_CTX_free(state->verify[i]);
    }
    EVP_MD_CTX_free(state->message);
    fk_power_free(state->power);
    free(state->modulus);
    OPENSSL_secure_clear_free(state->reject, 32);
}

/* --- contexts --- */

/* Padding and digest of an RSA variant. */
static bool set_variant(struct fk_ops *ops, EVP_PKEY_CTX *ctx, enum fk_variant variant)
{
    if (variant == FK_RSA_RAW)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1;
    if (variant < FK_RSA_PSS)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
               EVP_PKEY_CTX_set_signature_md(ctx, ops->md[variant - FK_RSA_PKCS1]) == 1;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(ctx, ops->md[variant - FK_RSA_PSS]) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

typedef int start_fn(EVP_PKEY_CTX *ctx);

/* The context in *cell, made by `start` if it is not there yet. */
static int get_context(struct fk_ops *ops, const struct fk_private_ask *ask, EVP_PKEY_CTX **cell,
                       start_fn *start)
{
    EVP_PKEY_CTX *ctx;

    if (*cell != NULL)
        return FK_OK;
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, ask->entry->pkey, NULL);
    if (ctx == NULL)
        return FK_ERR_NOMEM;
    if (start(ctx) != 1 ||
        (ask->entry->public.type == FK_KEY_RSA && !set_variant(ops, ctx, ask->variant))) {
        EVP_PKEY_CTX_free(ctx);
        return FK_ERR_CRYPTO;
    }
    *cell = ctx;
    return FK_OK;
}

/* --- private halves that come with their keys --- */

static struct fk_ops *ops_of(struct fk_private *private)
{
    return fk_container(private, struct fk_ops, file);
}

/* Ed25519, over a whole message. */
static int sign_message(struct fk_ops *ops, const struct fk_private_ask *ask, uint8_t *ret,
                        size_t *ret_len)
{
    struct fk_key_state *state = fk_ops_state(ops, ask->entry);

    if (state->message == NULL && (state->message = EVP_MD_CTX_new()) == NULL)
        return FK_ERR_NOMEM;
    /* Set up anew each time: later versions of OpenSSL finalise the context in a one-shot call. */
    if (EVP_DigestSignInit(state->message, NULL, NULL, NULL, ask->entry->pkey) != 1 ||
        EVP_DigestSign(state->message, ret, ret_len, ask->data, ask->len) != 1)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

static int file_sign(struct fk_private *private, const struct fk_private_ask *ask,
                     uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    struct fk_ops *ops = ops_of(private);
    EVP_PKEY_CTX **cell = &fk_ops_state(ops, ask->entry)->use[ask->variant];
    size_t len = FK_SIGNER_RESULT_MAX;
    int err;

    if (ask->entry->public.type == FK_KEY_ED25519)
        err = sign_message(ops, ask, ret, &len);
    else if ((err = get_context(ops, ask, cell, EVP_PKEY_sign_init)) == FK_OK)
        err = EVP_PKEY_sign(*cell, ret, &len, ask->data, ask->len) == 1 ? FK_OK : FK_ERR_CRYPTO;
    if (err == FK_OK)
        *ret_len = len;
    return err;
}

static int file_raw(struct fk_private *private, const struct fk_private_ask *ask, uint8_t *ret)
{
    struct fk_ops *ops = ops_of(private);
    EVP_PKEY_CTX **cell = &fk_ops_state(ops, ask->entry)->use[FK_RSA_RAW];
    size_t len = ask->len;
    int err = get_context(ops, ask, cell, EVP_PKEY_decrypt_init);

    if (err != FK_OK)
        return err;
    if (EVP_PKEY_decrypt(*cell, ret, &len, ask->data, ask->len) != 1 || len != ask->len)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

const struct fk_private_ops fk_private_file_ops = {.sign = file_sign, .raw = file_raw};

/* --- signing --- */

static int verify_message(const struct fk_private_ask *ask, const uint8_t *sig, size_t sig_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    ok = EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, ask->entry->pkey) == 1 &&
         EVP_DigestVerify(ctx, sig, sig_len, ask->data, ask->len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_VERIFY;
}

/* A fault in one half of the CRT gives a signature that factors the modulus: none may leave. What
 * a token signs is not believed either. */
int fk_ops_verify(struct fk_op_call *call, const struct fk_private_ask *ask, size_t sig_len)
{
    struct fk_ops *ops = call->ops;
    EVP_PKEY_CTX **cell = &fk_ops_state(ops, ask->entry)->verify[ask->variant];
    enum fk_key_type type = ask->entry->public.type;
    int err;

    if (type != FK_KEY_RSA && !ops->private->ops->verify_all)
        return FK_OK;
    if (type == FK_KEY_ED25519)
        err = verify_message(ask, call->ret, sig_len);
    else if ((err = get_context(ops, ask, cell, EVP_PKEY_verify_init)) == FK_OK &&
             EVP_PKEY_verify(*cell, call->ret, sig_len, ask->data, ask->len) != 1)
        err = FK_ERR_VERIFY;
    if (err != FK_OK)
        fk_wipe(call->ret, sig_len);
    return err;
}

static int sign(struct fk_op_call *call, const struct fk_private_ask *ask)
{
    struct fk_private *private = call->ops->private;
    size_t len;
    int err;

    if ((err = private->ops->sign(private, ask, call->ret, &len)) != FK_OK ||
        (err = fk_ops_verify(call, ask, len)) != FK_OK)
        return err;
    call->ret_len = len;
    return FK_OK;
}

/* Sign a digest with an RSA (by variant) or EC key (variant 0) into call->ret. */
int fk_ops_sign_digest(struct fk_op_call *call, enum fk_variant variant, const uint8_t *digest,
                       size_t len)
{
    const struct fk_private_ask ask = {call->entry, variant, digest, len};

    if (call->half != NULL)
        return fk_half_sign_digest(call, &ask);
    return sign(call, &ask);
}

/* Ed25519 over a whole message into call->ret. */
int fk_ops_sign_message(struct fk_op_call *call, const uint8_t *message, size_t len)
{
    const struct fk_private_ask ask = {call->entry, 0, message, len};

    if (call->half != NULL)
        return fk_half_sign_message(call);
    return sign(call, &ask);
}

/* --- raw RSA --- */

static int read_modulus(EVP_PKEY *pkey, uint8_t **ret)
{
    int size = EVP_PKEY_get_size(pkey);
    int err = FK_ERR_CRYPTO;
    uint8_t *bytes = malloc((size_t)size);
    BIGNUM *n = NULL;

    if (bytes == NULL)
        return FK_ERR_NOMEM;
    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
        BN_bn2binpad(n, bytes, size) == size) {
        *ret = bytes;
        bytes = NULL; /* moved */
        err = FK_OK;
    }
    BN_free(n);
    free(bytes);
    return err;
}

/* The modulus, EVP_PKEY_get_size() bytes; NULL when memory is out. */
const uint8_t *fk_ops_modulus(struct fk_ops *ops, const struct fk_keyset_entry *entry)
{
    struct fk_key_state *state = fk_ops_state(ops, entry);

    if (state->modulus == NULL && read_modulus(entry->pkey, &state->modulus) != FK_OK)
        return NULL;
    return state->modulus;
}

/* in^d mod n for an `in` below n; both are `size` bytes, the length of the modulus. */
int fk_ops_rsa_raw(struct fk_op_call *call, const uint8_t *in, uint8_t *out, size_t size)
{
    const struct fk_private_ask ask = {call->entry, FK_RSA_RAW, in, size};
    struct fk_private *private = call->ops->private;

    if (call->half != NULL)
        return fk_half_rsa_raw(call, &ask, out);
    return private->ops->raw(private, &ask, out);
}
