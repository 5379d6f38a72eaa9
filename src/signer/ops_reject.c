/*
 * The secret of implicit rejection (ops_decrypt.c): what the answers to bad padding are derived
 * from. It must be secret, and the same in every signer with the key, at every key server, after
 * every restart: so it comes from the private key, and from nothing else.
 *
 * Of a key in a file it is derived from the private exponent (keyset.c). A token does not tell
 * that, but does what only it can: it raises one number, the same for all times, to the private
 * exponent, and the secret is a hash of the result. Nobody else learns that result: the number is
 * no encoding of anything that is signed or decrypted here. It begins with 00, so it is below every
 * modulus; then 01 may not follow (PKCS#1 type 1); it ends in 00, where PSS has bc; and its result
 * is as good as random, so that a decryption of it has good padding, and then shows 48 of its
 * bytes, once in 2^24 or so keys, and even then not the others.
 */
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define SECRET       32
#define RSA_SIZE_MAX 512

static const uint8_t label[] = "farkey implicit rejection of a token 1";

/* The number: SHA-256(label | counter | modulus), counter 1, 2, ..., between fixed ends. */
static int make_number(const uint8_t *modulus, size_t size, uint8_t ret[RSA_SIZE_MAX])
{
    uint8_t in[sizeof label + 1 + RSA_SIZE_MAX], block[SECRET];

    memcpy(in, label, sizeof label);
    in[sizeof label] = 0;
    memcpy(in + sizeof label + 1, modulus, size);
    for (size_t done = 0; done < size; done += sizeof block) {
        size_t n = size - done < sizeof block ? size - done : sizeof block;

        in[sizeof label]++;
        if (EVP_Digest(in, sizeof label + 1 + size, block, NULL, EVP_sha256(), NULL) != 1)
            return FK_ERR_CRYPTO;
        memcpy(ret + done, block, n);
    }
    ret[0] = 0;
    ret[1] |= 2; /* not 1 */
    ret[size - 1] = 0;
    return FK_OK;
}

/* SHA-256(label | number^d). */
static int derive(struct fk_op_call *call, uint8_t ret[SECRET])
{
    size_t size = ((size_t)call->entry->public.bits + 7) / 8;
    const uint8_t *modulus = fk_ops_modulus(call->ops, call->entry);
    uint8_t number[RSA_SIZE_MAX], in[sizeof label + RSA_SIZE_MAX];
    int err;

    if (modulus == NULL || size > RSA_SIZE_MAX)
        return modulus == NULL ? FK_ERR_NOMEM : FK_ERR_UNSUPPORTED;
    memcpy(in, label, sizeof label);
    if ((err = make_number(modulus, size, number)) == FK_OK &&
        (err = fk_ops_rsa_raw(call, number, in + sizeof label, size)) == FK_OK &&
        EVP_Digest(in, sizeof label + size, ret, NULL, EVP_sha256(), NULL) != 1)
        err = FK_ERR_CRYPTO;
    fk_wipe(in, sizeof in);
    return err;
}

int fk_ops_reject_secret(struct fk_op_call *call, const uint8_t **ret)
{
    struct fk_key_state *state;
    uint8_t *secret;
    int err;

    if (!call->entry->in_token) {
        *ret = call->entry->reject_secret;
        return FK_OK;
    }
    state = fk_ops_state(call->ops, call->entry);
    if (state->reject == NULL) {
        if ((secret = OPENSSL_secure_malloc(SECRET)) == NULL)
            return FK_ERR_NOMEM;
        if ((err = derive(call, secret)) != FK_OK) {
            OPENSSL_secure_clear_free(secret, SECRET);
            return err;
        }
        state->reject = secret;
    }
    *ret = state->reject;
    return FK_OK;
}
