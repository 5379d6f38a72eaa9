/*
 * Split keys in a signer: Shamir's rebuilt for one operation and gone after it, additive ones never
 * rebuilt; and, where a share is held for others, what goes to who combines.
 *
 * A split key is whole only within run_bound(): an entry of its own with a state of its own,
 * whose contexts and numbers are wiped before the result leaves this function.
 */
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/ops_local.h"
#include "signer/share.h"
#include "wire/keymsg.h"
#include "wire/keyop_keys13.h"
#include "wire/keyop_resume.h"

#include <string.h>

/* What can be done with two powers: else the other half would have to know what it is for. */
static bool takes_power(uint16_t op)
{
    return op == FK_SIGNER_SIGN13 || op == FK_SIGNER_SIGN12 || op == FK_SIGNER_DECRYPT;
}

int fk_ops_lacks(const struct fk_op_call *call, uint16_t op)
{
    if (call->entry->share.scheme == FK_SHARE_ADDITIVE && (call->handshaker || !takes_power(op)))
        return FK_ERR_UNSUPPORTED;
    return FK_ERR_SHARE_MISSING;
}

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

    if ((err = fk_share_rebuild(&entry->share, entry->pkey, item, binding, &whole.pkey)) != FK_OK)
        return err;
    err = run_whole(call, opcode, &whole);
    EVP_PKEY_free(whole.pkey);
    fk_wipe(&whole, sizeof whole);
    return err;
}

/* Those that use the private key (FLIGHT13 goes on with a handle, too), and those that may: by RSA,
 * and not when they go on with a handle. */
static bool takes_share(uint16_t opcode)
{
    return fk_ops_uses_key(opcode) || opcode == FK_OP_MASTER || opcode == FK_OP_KEYS ||
           opcode == FK_OP_KEYS_KEEP || opcode == FK_OP_EXPOSE;
}

/* What it needs of the key's policy: all of these, and one of those. */
struct need {
    unsigned all, any;
};

/* A source that is a handle needs no key. */
static int need_by(const struct fk_premaster_source *source, unsigned all, struct need *ret)
{
    *ret = (struct need){.all = all};
    return source->kind == FK_PREMASTER_RSA ? FK_OK : FK_ERR_OPCODE;
}

static int need_of_init(struct fk_reader payload, struct need *ret)
{
    struct fk_agree_init op;
    int err = fk_agree_init_decode(payload, &op);

    if (err == FK_OK)
        *ret = (struct need){.any = fk_ops_agree_needs(op.form)};
    return err;
}

static int need_of_master(struct fk_reader payload, struct need *ret)
{
    struct fk_master_op op;
    int err = fk_master_op_decode(payload, &op);

    return err != FK_OK ? err : need_by(&op.source, FK_PERM_MASTER, ret);
}

static int need_of_keys(struct fk_reader payload, struct need *ret)
{
    struct fk_keys_op op;
    int err = fk_keys_op_decode(payload, &op);

    return err != FK_OK ? err : need_by(&op.source, FK_PERM_KEYS, ret);
}

static int need_of_keep(struct fk_reader payload, struct need *ret)
{
    struct fk_keep_op op;
    int err = fk_keep_op_decode(payload, &op);

    return err != FK_OK ? err : need_by(&op.keys.source, FK_PERM_KEYS, ret);
}

static int need_of_expose(struct fk_reader payload, struct need *ret)
{
    int err = need_of_keys(payload, ret);

    ret->all |= FK_PERM_EXPOSE;
    return err;
}

static int need_of_flight13(struct fk_reader payload, struct need *ret)
{
    struct fk_flight13 op;

    *ret = (struct need){.all = FK_PERM_KEYS};
    return fk_flight13_decode(payload, &op);
}

/* Of a handshake there is but the digest of how it begins. */
static int need_of_open(struct fk_reader payload, struct need *ret)
{
    uint8_t digest[FK_SHARE_DIGEST];
    int err;

    if ((err = fk_reader_copy(&payload, digest, sizeof digest)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret = (struct need){.all = FK_PERM_HANDSHAKE};
    return FK_OK;
}

/* FK_ERR_OPCODE: it needs no share. */
static int find_need(uint8_t opcode, struct fk_reader payload, struct need *ret)
{
    static const struct {
        uint8_t opcode;
        int (*find)(struct fk_reader payload, struct need *ret);
    } rows[] = {{FK_OP_AGREE_INIT, need_of_init}, {FK_OP_MASTER, need_of_master},
                {FK_OP_KEYS, need_of_keys},       {FK_OP_KEYS_KEEP, need_of_keep},
                {FK_OP_EXPOSE, need_of_expose},   {FK_OP_FLIGHT13, need_of_flight13},
                {FK_OP_HS_OPEN, need_of_open}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].opcode == opcode)
            return rows[i].find(payload, ret);
    return FK_ERR_OPCODE;
}

static int with_power(struct fk_op_call *call, uint16_t opcode, struct fk_reader item,
                      const uint8_t binding[FK_SHARE_BINDING])
{
    struct fk_op_half half = {.holds = false};
    int err;

    if ((err = fk_share_power_open(&call->entry->share, item, binding, &half.power)) != FK_OK)
        return err;
    call->half = &half;
    err = fk_ops_key_operation(call, fk_ops_of_opcode(opcode));
    call->half = NULL;
    fk_wipe(&half, sizeof half); /* of a premaster this is half, too */
    return err;
}

/* For the operation that is asked for here, and no other. */
int fk_ops_with_share(struct fk_op_call *call, uint16_t opcode, struct fk_reader item)
{
    const struct fk_keyset_entry *entry = call->entry;
    bool additive = entry->share.scheme == FK_SHARE_ADDITIVE;
    uint8_t binding[FK_SHARE_BINDING];
    int err;

    if (!entry->is_split)
        return fk_ops_key_operation(call, fk_ops_of_opcode(opcode));
    if (opcode == FK_OP_LEND) /* who splits a key wants it whole nowhere */
        return FK_ERR_DENIED;
    if (!takes_share(opcode))
        return FK_ERR_OPCODE;
    if (entry->share.index != FK_SHARE_COMBINER)
        return FK_ERR_SHARE_MISSING;
    if (additive && !takes_power(fk_ops_of_opcode(opcode)))
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_share_binding((uint8_t)opcode, entry->public.ski, call->payload.next,
                                call->payload.left, binding)) != FK_OK)
        return err;
    return additive ? with_power(call, opcode, item, binding)
                    : run_bound(call, opcode, item, binding);
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
    if (call->entry->share.index != FK_SHARE_COMBINER)
        return FK_ERR_SHARE_MISSING;
    if (call->entry->share.scheme == FK_SHARE_ADDITIVE) /* half a power is for what is known now */
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_share_binding_open(call->entry->public.ski, digest, binding)) != FK_OK)
        return err;
    return run_bound(call, call->detail, item, binding);
}

/* --- a share that is held for others --- */

/*
 * One whose second half is at who combines: that it is in order, and, but for an edge's own signer,
 * which has no policy, that the key may be used for it. A share is worth nothing for another
 * operation; a power would be.
 */
static int permit_operation(const struct fk_op_call *call, uint8_t opcode)
{
    bool for_edge = call->detail == 0 && !call->front;
    struct need need;
    int err;

    if (call->entry->share.scheme != FK_SHARE_SHAMIR)
        return FK_ERR_OPCODE;
    if ((err = find_need(opcode, call->payload, &need)) != FK_OK || for_edge)
        return err;
    return (call->permissions & need.all) == need.all &&
                   (need.any == 0 || (call->permissions & need.any) != 0)
               ? FK_OK
               : FK_ERR_DENIED;
}

/* Whether it is an operation that this key may be used for: all of it, up to the use of the key. */
static int try_operation(struct fk_op_call *call, uint8_t opcode, struct fk_op_half *half)
{
    uint16_t op = fk_ops_of_opcode(opcode);
    int err;

    if (!takes_power(op))
        return permit_operation(call, opcode);
    half->holds = true;
    half->power.size = call->entry->share.data.left;
    call->half = half;
    err = fk_ops_key_operation(call, op);
    call->half = NULL;
    return err;
}

static int seal_power(struct fk_op_call *call, const struct fk_op_half *half,
                      const uint8_t binding[FK_SHARE_BINDING])
{
    uint8_t bytes[1 + FK_EMSA_SALT_MAX + FK_POWER_MAX];
    struct fk_reader plain;
    struct fk_writer writer;
    size_t len;
    int err;

    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_share_power_encode(&half->power, &writer);
    if ((err = fk_writer_end(&writer, &len)) == FK_OK) {
        fk_reader_init(&plain, bytes, len);
        err = fk_share_seal(&call->entry->share, plain, binding, call->ret, &call->ret_len);
    }
    fk_wipe(bytes, sizeof bytes);
    return err;
}

/* Whoever holds share 1 combines; it leaves its signer for nobody. */
int fk_op_share(struct fk_op_call *call)
{
    const struct fk_keyset_entry *entry = call->entry;
    uint16_t wanted = entry->share.scheme == FK_SHARE_ADDITIVE ? FK_OP_PARTIAL : FK_OP_SHARE;
    struct fk_op_half half = {.holds = true};
    uint8_t binding[FK_SHARE_BINDING], opcode;
    int err;

    if (!entry->is_split || entry->share.index == FK_SHARE_COMBINER ||
        (call->detail != 0 && call->detail != wanted))
        return FK_ERR_UNSUPPORTED;
    if (!fk_op_allowed(call, FK_PERM_SHARE))
        return FK_ERR_DENIED;
    if ((err = fk_reader_u8(&call->payload, &opcode)) != FK_OK ||
        (err = fk_share_binding(opcode, entry->public.ski, call->payload.next, call->payload.left,
                                binding)) != FK_OK ||
        (err = try_operation(call, opcode, &half)) != FK_OK)
        return err;
    err = entry->share.scheme == FK_SHARE_ADDITIVE
              ? seal_power(call, &half, binding)
              : fk_share_seal(&entry->share, entry->share.data, binding, call->ret, &call->ret_len);
    fk_wipe(&half, sizeof half);
    return err;
}
