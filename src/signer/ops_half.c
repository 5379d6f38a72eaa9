/*
 * The use of a split key in an operation that two signers carry out together: where the whole key
 * would sign or decrypt, its holder makes what the other side lacks, and the other side completes.
 *
 * Shamir's shares travel themselves and are combined before the operation (ops_split.c): their
 * holder has nothing to do here, and whoever combines is not here. Both sides of additive shares
 * make the padding themselves, from the structure that is to be signed; only the salt is told.
 */
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"

#include <openssl/rand.h>
#include <string.h>

/* --- one's own part --- */

static int get_power(struct fk_op_call *call, struct fk_power **ret)
{
    struct fk_key_state *state = fk_ops_state(call->ops, call->entry);
    int err = FK_OK;

    if (state->power == NULL)
        err = fk_power_new(call->entry->pkey, call->entry->share.data, &state->power);
    if (err == FK_OK)
        *ret = state->power;
    return err;
}

static bool is_additive(const struct fk_op_call *call)
{
    return call->entry->share.scheme == FK_SHARE_ADDITIVE;
}

/* --- signing --- */

/* The holder chooses the salt, as long as the digest (RFC 8446 section 4.2.3). */
static int choose_salt(struct fk_op_call *call, enum fk_variant variant, size_t len)
{
    struct fk_share_power *power = &call->half->power;
    size_t needed = variant < FK_RSA_PSS ? 0 : len;

    if (!call->half->holds)
        return power->salt_len == needed ? FK_OK : FK_ERR_SHARE_WRONG;
    power->salt_len = needed;
    return RAND_bytes(power->salt, (int)needed) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

static int encode(struct fk_op_call *call, enum fk_variant variant, struct fk_reader digest,
                  uint8_t ret[FK_POWER_MAX], size_t size)
{
    const struct fk_share_power *power = &call->half->power;
    EVP_MD *const *md = call->ops->md;
    struct fk_reader salt;

    if (variant < FK_RSA_PSS)
        return fk_emsa_pkcs1(md[variant - FK_RSA_PKCS1], digest, ret, size);
    fk_reader_init(&salt, power->salt, power->salt_len);
    return fk_emsa_pss(md[variant - FK_RSA_PSS], digest, salt, ret, call->entry->public.bits);
}

int fk_half_sign_digest(struct fk_op_call *call, const struct fk_private_ask *ask)
{
    struct fk_op_half *half = call->half;
    uint8_t block[FK_POWER_MAX];
    struct fk_power *power;
    struct fk_reader digest;
    size_t size;
    int err;

    if (!is_additive(call))
        return half->holds ? FK_OK : FK_ERR_UNSUPPORTED;
    fk_reader_init(&digest, ask->data, ask->len);
    if ((err = get_power(call, &power)) != FK_OK ||
        (err = choose_salt(call, ask->variant, ask->len)) != FK_OK)
        return err;
    size = fk_power_size(power);
    if ((err = encode(call, ask->variant, digest, block, size)) != FK_OK)
        return err;
    if (half->holds)
        return fk_power_raise(power, block, half->power.power);
    if ((err = fk_power_complete(power, block, half->power.power, call->ret)) != FK_OK ||
        (err = fk_ops_verify(call, ask, size)) != FK_OK)
        return err;
    call->ret_len = size;
    return FK_OK;
}

/* Ed25519 has no additive shares. */
int fk_half_sign_message(struct fk_op_call *call)
{
    return call->half->holds && !is_additive(call) ? FK_OK : FK_ERR_UNSUPPORTED;
}

/* --- decryption --- */

int fk_half_rsa_raw(struct fk_op_call *call, const struct fk_private_ask *ask, uint8_t *out)
{
    struct fk_op_half *half = call->half;
    struct fk_power *power;
    int err;

    if (!is_additive(call))
        return half->holds ? FK_OK : FK_ERR_UNSUPPORTED;
    if ((err = get_power(call, &power)) != FK_OK)
        return err;
    if (fk_power_size(power) != ask->len)
        return FK_ERR_FORMAT;
    return half->holds ? fk_power_raise(power, ask->data, half->power.power)
                       : fk_power_complete(power, ask->data, half->power.power, out);
}
