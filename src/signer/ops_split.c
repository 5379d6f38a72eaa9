/*
 * Split keys in a signer: rebuilt for one operation, gone after it; and, where a share is held for
 * others, sealing it to who combines.
 *
 * A split key is whole only within fk_ops_with_share(): an entry of its own with a state of its
 * own, whose contexts and numbers are wiped before the result leaves this function.
 */
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"
#include "signer/share.h"
#include "wire/keymsg.h"

#include <string.h>

static int run_whole(struct fk_op_call *call, uint16_t opcode, struct fk_keyset_entry *whole)
{
    struct fk_key_state state = {.message = NULL};
    int err = FK_OK;

    if (whole->public.type == FK_KEY_RSA)
        err = fk_keyset_reject_secret(whole->pkey, whole->reject_secret);
    if (err == FK_OK)
        err = fk_ops_with_key(call, whole, &state, fk_ops_of_opcode(opcode));
    fk_key_state_fini(&state);
    return err;
}

/* With a share that was sealed for the occasion that `binding` names. */
static int run_bound(struct fk_op_call *call, uint16_t opcode, struct fk_reader item,
                     const uint8_t binding[FK_SHARE_BINDING])
{
    const struct fk_keyset_entry *entry = call->entry;
    struct fk_keyset_entry whole = {.public = entry->public};
    int err;

    if (entry->share.index != FK_SHARE_COMBINER)
        return FK_ERR_SHARE_MISSING;
    if ((err = fk_share_rebuild(&entry->share, entry->pkey, item, binding, &whole.pkey)) != FK_OK)
        return err;
    err = run_whole(call, opcode, &whole);
    EVP_PKEY_free(whole.pkey);
    fk_wipe(&whole, sizeof whole);
    return err;
}

/* Those that use the private key, and those that may: by RSA, and not when they go on with a
 * handle. */
static bool takes_share(uint16_t opcode)
{
    return fk_ops_uses_key(opcode) || opcode == FK_OP_MASTER || opcode == FK_OP_KEYS ||
           opcode == FK_OP_EXPOSE;
}

/* For the operation that is asked for here, and no other. */
int fk_ops_with_share(struct fk_op_call *call, uint16_t opcode, struct fk_reader item)
{
    uint8_t binding[FK_SHARE_BINDING];
    int err;

    if (!call->entry->is_split)
        return fk_ops_key_operation(call, fk_ops_of_opcode(opcode));
    if (opcode == FK_OP_LEND) /* who splits a key wants it whole nowhere */
        return FK_ERR_DENIED;
    if (!takes_share(opcode))
        return FK_ERR_OPCODE;
    if ((err = fk_share_binding((uint8_t)opcode, call->entry->public.ski, call->payload.next,
                                call->payload.left, binding)) != FK_OK)
        return err;
    return run_bound(call, opcode, item, binding);
}

int fk_op_split(struct fk_op_call *call)
{
    struct fk_reader item;
    int err;

    if ((err = fk_reader_vec16(&call->payload, &item)) != FK_OK)
        return err;
    return fk_ops_with_share(call, call->detail, item);
}

/* For a handshake: the edge cannot know what there will be to sign in it. */
int fk_op_split_open(struct fk_op_call *call)
{
    uint8_t digest[FK_SHARE_DIGEST], binding[FK_SHARE_BINDING];
    struct fk_reader item;
    int err;

    if (!fk_ops_permitted(FK_PEER_HANDSHAKER, fk_ops_of_opcode(call->detail)))
        return FK_ERR_DENIED;
    if ((err = fk_reader_copy(&call->payload, digest, sizeof digest)) != FK_OK ||
        (err = fk_reader_vec16(&call->payload, &item)) != FK_OK)
        return err;
    if (!call->entry->is_split)
        return fk_ops_key_operation(call, fk_ops_of_opcode(call->detail));
    if ((err = fk_share_binding_open(call->entry->public.ski, digest, binding)) != FK_OK)
        return err;
    return run_bound(call, call->detail, item, binding);
}

/* Whoever holds share 1 combines; it leaves its signer for nobody. */
int fk_op_share(struct fk_op_call *call)
{
    const struct fk_keyset_entry *entry = call->entry;
    uint8_t binding[FK_SHARE_BINDING];
    int err;

    if (!entry->is_split || entry->share.index == FK_SHARE_COMBINER)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_reader_copy(&call->payload, binding, sizeof binding)) != FK_OK ||
        (err = fk_reader_end(&call->payload)) != FK_OK)
        return err;
    return fk_share_seal(&entry->share, binding, call->ret, &call->ret_len);
}
