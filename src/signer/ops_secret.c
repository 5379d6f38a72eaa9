/*
 * Mode `master`: the master secret of a TLS 1.2 session is derived here. The label is fixed: what
 * the edge supplies can be no other derivation.
 */
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"
#include "signer/prf.h"

/* --- the master secret (RFC 5246 section 8.1, RFC 7627 section 4) --- */

struct premaster {
    uint8_t bytes[FK_EPHEMERAL_SECRET_MAX];
    size_t len;
};

static int get_premaster(struct fk_op_call *call, const struct fk_premaster_source *source,
                         struct premaster *ret)
{
    if (source->kind == FK_PREMASTER_AGREED)
        return fk_ops_agreed(call, &source->agreed, ret->bytes, &ret->len);
    if (call->entry->is_split)
        return FK_ERR_SHARE_MISSING;
    ret->len = FK_PREMASTER_SIZE;
    return fk_ops_premaster(call, &source->rsa, ret->bytes);
}

static int derive_master(struct fk_op_call *call, const struct fk_premaster_source *source,
                         const struct fk_master_derivation *derivation, uint8_t ret[FK_MASTER_SIZE])
{
    struct fk_prf_input input = {.prf = derivation->prf, .seed = {derivation->seed}};
    struct premaster premaster;
    int err;

    if ((err = get_premaster(call, source, &premaster)) == FK_OK) {
        input.label = derivation->ems ? "extended master secret" : "master secret";
        input.secret = premaster.bytes;
        input.secret_len = premaster.len;
        err = fk_prf_run(call->ops->prf, &input, ret, FK_MASTER_SIZE);
    }
    fk_wipe(&premaster, sizeof premaster);
    return err;
}

int fk_op_master(struct fk_op_call *call)
{
    struct fk_master_op op;
    int err;

    if (call->owner == NULL || !fk_op_allowed(call, FK_PERM_MASTER))
        return FK_ERR_DENIED;
    if ((err = fk_master_op_decode(call->payload, &op)) != FK_OK)
        return err;
    call->ret_len = FK_MASTER_SIZE;
    return derive_master(call, &op.source, &op.derivation, call->ret);
}
