/*
 * Mode `agree`: the ephemeral key of a TLS 1.2 handshake is made here, and its private value stays
 * here under a handle until the client's share is there: then it is used, once, and gone. Or it is
 * handed over at once, where the key's policy and the edge's block let that edge have premaster
 * secrets anyway.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"

#include <string.h>

/* The private value of what is kept is of use for all that may follow. */
unsigned fk_ops_agree_needs(enum fk_agree_form form)
{
    return form == FK_AGREE_HANDED ? FK_PERM_AGREE : FK_PERM_AGREE | FK_PERM_MASTER | FK_PERM_KEYS;
}

static struct fk_handle_binding binding_of(const struct fk_op_call *call)
{
    return (struct fk_handle_binding){
        .owner = call->owner, .ski = call->entry->public.ski, .stage = FK_HANDLE_SHARE};
}

/* --- AGREE_INIT --- */

/* Both are as large as a result may be: no check of a length depends on the key's. */
struct made {
    uint8_t params[FK_SIGNER_RESULT_MAX];
    uint8_t signature[FK_SIGNER_RESULT_MAX];
    union fk_handle_secret secret;
};

/* The signature goes where all signatures go, and is moved from there. */
static int sign(struct fk_op_call *call, const struct fk_agree_init *op, size_t params_len,
                struct made *made, struct fk_agree_made *ret)
{
    uint8_t *out = call->ret;
    struct fk_reader parts[3];
    int err;

    fk_reader_init(&parts[0], op->client_random, sizeof op->client_random);
    fk_reader_init(&parts[1], op->server_random, sizeof op->server_random);
    fk_reader_init(&parts[2], made->params, params_len);
    call->ret = made->signature;
    err = fk_ops_sign12_parts(call, op->scheme, parts, 3);
    call->ret = out;
    ret->params = parts[2];
    fk_reader_init(&ret->signature, made->signature, call->ret_len);
    return err;
}

static int make(struct fk_op_call *call, const struct fk_agree_init *op, struct made *made,
                struct fk_agree_made *ret)
{
    struct fk_ephemeral *key = &made->secret.ephemeral;
    const struct fk_handle_binding binding = binding_of(call);
    struct fk_writer params;
    size_t len;
    int err;

    fk_writer_init(&params, made->params, sizeof made->params);
    if ((err = fk_ephemeral_make(call->ops->ephemerals, op->group, key, &params)) != FK_OK ||
        (err = fk_writer_end(&params, &len)) != FK_OK ||
        (err = sign(call, op, len, made, ret)) != FK_OK)
        return err;
    if (op->form == FK_AGREE_KEPT)
        return fk_handles_add(call->ops->handles, &binding, &made->secret, fk_clock_us(),
                              ret->handle);
    fk_reader_init(&ret->private_value, key->private_value, key->private_len);
    return FK_OK;
}

int fk_op_agree_init(struct fk_op_call *call)
{
    struct made made = {.params = {0}};
    struct fk_agree_made answer = {.handle = {0}};
    const struct fk_agree_group *group;
    struct fk_agree_init op;
    struct fk_writer out;
    int err;

    if (call->owner == NULL)
        return FK_ERR_DENIED;
    if ((err = fk_agree_init_decode(call->payload, &op)) != FK_OK)
        return err;
    if (!fk_op_allowed(call, fk_ops_agree_needs(op.form)))
        return FK_ERR_DENIED;
    if (op.form == FK_AGREE_KEPT && call->ops->handles == NULL)
        return FK_ERR_UNSUPPORTED;
    group = fk_agree_group_find(op.group);
    if (group->is_dh && call->entry->public.type != FK_KEY_RSA) /* RFC 5246 has no DHE_ECDSA */
        return FK_ERR_UNSUPPORTED;
    if ((err = make(call, &op, &made, &answer)) == FK_OK) {
        fk_writer_init(&out, call->ret, FK_SIGNER_RESULT_MAX);
        fk_agree_made_encode(&answer, &out);
        err = fk_writer_end(&out, &call->ret_len);
    }
    fk_wipe(&made, sizeof made);
    return err;
}

/* --- AGREE_FINISH --- */

int fk_ops_agreed(struct fk_op_call *call, const struct fk_agree_finish *op,
                  uint8_t ret[FK_EPHEMERAL_SECRET_MAX], size_t *ret_len)
{
    const struct fk_handle_binding binding = binding_of(call);
    union fk_handle_secret secret;
    int err;

    if (call->ops->handles == NULL)
        return FK_ERR_EXPIRED;
    if ((err = fk_handles_take(call->ops->handles, op->handle, &binding, fk_clock_us(), &secret)) !=
        FK_OK)
        return err;
    err = fk_ephemeral_agree(&secret.ephemeral, op->share, ret, ret_len);
    fk_wipe(&secret, sizeof secret);
    return err;
}

int fk_op_agree_finish(struct fk_op_call *call)
{
    struct fk_agree_finish op;
    int err;

    if (call->owner == NULL || !fk_op_allowed(call, FK_PERM_AGREE))
        return FK_ERR_DENIED;
    if ((err = fk_agree_finish_decode(call->payload, &op)) != FK_OK)
        return err;
    return fk_ops_agreed(call, &op, call->ret, &call->ret_len);
}

/* --- for an edge that does not sign --- */

int fk_op_owned(struct fk_op_call *call)
{
    struct fk_handle_owner owner = {.has_signed = false};
    uint16_t op = fk_ops_of_opcode(call->detail);
    struct fk_reader share;
    int err;

    if ((err = fk_reader_copy(&call->payload, owner.id, sizeof owner.id)) != FK_OK ||
        (err = fk_reader_vec16(&call->payload, &share)) != FK_OK)
        return err;
    call->owner = &owner;
    err = share.left > 0 ? fk_ops_with_share(call, call->detail, share)
                         : fk_ops_key_operation(call, op);
    call->owner = NULL;
    return err;
}
