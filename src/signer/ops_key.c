/*
 * Signing and raw decryption with one key: cached contexts, and the check of every RSA signature.
 * Private to the signer's operations; knows nothing of TLS.
 */
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/rsa.h>
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
    if (entry == ops->whole)
        return &ops->whole_state;
    return &ops->states[entry - fk_keyset_at(ops->set, 0)];
}

void fk_key_state_fini(struct fk_key_state *state)
{
    for (int i = 0; i < FK_VARIANT_COUNT; i++) {
        EVP_PKEY_CTX_free(state->use[i]);
        EVP_PKEY_CTX_free(state->verify[i]);
    }
    EVP_MD_CTX_free(state->message);
    free(state->modulus);
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
static int get_context(struct fk_op_call *call, EVP_PKEY_CTX **cell, start_fn *start,
                       enum fk_variant variant)
{
    EVP_PKEY_CTX *ctx;

    if (*cell != NULL)
        return FK_OK;
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, call->entry->pkey, NULL);
    if (ctx == NULL)
        return FK_ERR_NOMEM;
    if (start(ctx) != 1 ||
        (call->entry->public.type == FK_KEY_RSA && !set_variant(call->ops, ctx, variant))) {
        EVP_PKEY_CTX_free(ctx);
        return FK_ERR_CRYPTO;
    }
    *cell = ctx;
    return FK_OK;
}

/* --- signing --- */

/* A fault in one half of the CRT gives a signature that factors the modulus: none may leave. */
static int verify_rsa(struct fk_op_call *call, enum fk_variant variant, const uint8_t *digest,
                      size_t len, size_t sig_len)
{
    struct fk_key_state *state = fk_ops_state(call->ops, call->entry);
    int err = get_context(call, &state->verify[variant], EVP_PKEY_verify_init, variant);

    if (err == FK_OK &&
        EVP_PKEY_verify(state->verify[variant], call->ret, sig_len, digest, len) != 1)
        err = FK_ERR_VERIFY;
    if (err != FK_OK)
        fk_wipe(call->ret, sig_len);
    return err;
}

/* Sign a digest with an RSA (by variant) or EC key (variant 0) into call->ret. */
int fk_ops_sign_digest(struct fk_op_call *call, enum fk_variant variant, const uint8_t *digest,
                       size_t len)
{
    struct fk_key_state *state = fk_ops_state(call->ops, call->entry);
    size_t sig_len = FK_SIGNER_RESULT_MAX;
    int err;

    if ((err = get_context(call, &state->use[variant], EVP_PKEY_sign_init, variant)) != FK_OK)
        return err;
    if (EVP_PKEY_sign(state->use[variant], call->ret, &sig_len, digest, len) != 1)
        return FK_ERR_CRYPTO;
    if (call->entry->public.type == FK_KEY_RSA &&
        (err = verify_rsa(call, variant, digest, len, sig_len)) != FK_OK)
        return err;
    call->ret_len = sig_len;
    return FK_OK;
}

/* Ed25519 over a whole message into call->ret. */
int fk_ops_sign_message(struct fk_op_call *call, const uint8_t *message, size_t len)
{
    struct fk_key_state *state = fk_ops_state(call->ops, call->entry);
    size_t sig_len = FK_SIGNER_RESULT_MAX;

    if (state->message == NULL && (state->message = EVP_MD_CTX_new()) == NULL)
        return FK_ERR_NOMEM;
    /* Set up anew each time: later versions of OpenSSL finalise the context in a one-shot call. */
    if (EVP_DigestSignInit(state->message, NULL, NULL, NULL, call->entry->pkey) != 1 ||
        EVP_DigestSign(state->message, call->ret, &sig_len, message, len) != 1)
        return FK_ERR_CRYPTO;
    call->ret_len = sig_len;
    return FK_OK;
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
    struct fk_key_state *state = fk_ops_state(call->ops, call->entry);
    size_t len = size;
    int err = get_context(call, &state->use[FK_RSA_RAW], EVP_PKEY_decrypt_init, FK_RSA_RAW);

    if (err != FK_OK)
        return err;
    if (EVP_PKEY_decrypt(state->use[FK_RSA_RAW], out, &len, in, size) != 1 || len != size)
        return FK_ERR_CRYPTO;
    return FK_OK;
}
