/*
 * Mode `keys`: sessions that are resumed. The master secret goes to the edge sealed
 * (session_seal.h), and is opened here when the client comes back: the edge gets the new keys, and
 * what both Finished messages must say by FINISHED, in the order of a resumed handshake.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"
#include "signer/session_seal.h"
#include "tls/fresh.h"

#include <string.h>

static struct fk_session_bound bound_to(const struct fk_op_call *call, const uint8_t *context)
{
    return (struct fk_session_bound){
        .owner = call->owner, .ski = call->entry->public.ski, .context = context};
}

/* A session for all edges is of those that may have tickets. */
static bool may_share(const struct fk_op_call *call, bool shared)
{
    return !shared || (call->permissions & FK_PERM_TICKETS) != 0;
}

/* --- KEYS_KEEP --- */

/* No secrets to seal with: nothing is resumed, and the session is served all the same. */
static int seal(const struct fk_op_call *call, const struct fk_keep_op *op,
                const struct fk_handle_master *master, uint8_t sealed[FK_SEALED_SESSION],
                struct fk_reader *ret)
{
    const struct fk_session_bound bound = bound_to(call, op->context);
    uint64_t now_us = fk_clock_us();
    struct fk_session_kept kept = {.prf = master->prf,
                                   .suite = op->keys.suite,
                                   .ends_us = now_us + op->lifetime_s * UINT64_C(1000000)};
    const struct fk_ticket_roots *roots;
    int err;

    fk_reader_init(ret, sealed, 0);
    if (op->lifetime_s == 0 || fk_ops_find_roots(call, &roots) != FK_OK)
        return FK_OK;
    memcpy(kept.master, master->master, sizeof kept.master);
    err = fk_session_seal(roots, op->scope, &bound, &kept, now_us, sealed);
    fk_wipe(&kept, sizeof kept);
    if (err == FK_OK)
        fk_reader_init(ret, sealed, FK_SEALED_SESSION);
    return err == FK_ERR_UNAVAILABLE ? FK_OK : err;
}

int fk_op_keys_keep(struct fk_op_call *call)
{
    struct fk_keep_answer answer = {.keys = {.handle = {0}}};
    struct fk_ops_session session = {.key_block = {0}};
    uint8_t sealed[FK_SEALED_SESSION];
    struct fk_keep_op op;
    struct fk_writer out;
    int err;

    if ((err = fk_ops_may_keep(call)) != FK_OK ||
        (err = fk_keep_op_decode(call->payload, &op)) != FK_OK)
        return err;
    if (!may_share(call, op.scope == FK_SESSION_SHARED))
        return FK_ERR_DENIED;
    if ((err = fk_ops_make_session(call, &op.keys, &session, &answer.keys)) == FK_OK &&
        (err = seal(call, &op, &session.secret.master, sealed, &answer.sealed)) == FK_OK) {
        fk_writer_init(&out, call->ret, FK_SIGNER_RESULT_MAX);
        fk_keep_answer_encode(&answer, &out);
        err = fk_writer_end(&out, &call->ret_len);
    }
    fk_wipe(&session, sizeof session);
    return err;
}

/* --- RESUME --- */

static int open_session(const struct fk_op_call *call, const struct fk_resume_op *op,
                        struct fk_handle_master *ret_master, uint16_t *ret_suite)
{
    const struct fk_session_bound bound = bound_to(call, op->context);
    const struct fk_ticket_roots *roots;
    struct fk_session_kept kept;
    int err;

    if (fk_ops_find_roots(call, &roots) != FK_OK)
        return FK_ERR_EXPIRED;
    if ((err = fk_session_open(roots, op->sealed, &bound, fk_clock_us(), &kept)) != FK_OK)
        return err;
    *ret_master = (struct fk_handle_master){.prf = kept.prf, .last = FK_FINISHED_CLIENT};
    memcpy(ret_master->master, kept.master, sizeof ret_master->master);
    *ret_suite = kept.suite;
    fk_wipe(&kept, sizeof kept);
    return FK_OK;
}

/* The server random is of the edge's seed: it cannot be one that was seen before. */
static int resume(struct fk_op_call *call, const struct fk_resume_op *op,
                  struct fk_ops_session *session, struct fk_resume_answer *ret)
{
    struct fk_handle_master *master = &session->secret.master;
    size_t block_len;
    uint16_t suite;
    int err;

    if ((err = fk_fresh_check(op->random_seed, op->server_random)) != FK_OK ||
        (err = open_session(call, op, master, &suite)) != FK_OK ||
        (err = fk_ops_block_len(suite, master->prf, &block_len)) != FK_OK ||
        (err = fk_ops_key_block(call, op->server_random, op->client_random, block_len, session)) !=
            FK_OK)
        return err;
    fk_reader_init(&ret->key_block, session->key_block, block_len);
    return fk_ops_keep_master(call, session, ret->handle);
}

int fk_op_resume(struct fk_op_call *call)
{
    struct fk_resume_answer answer = {.handle = {0}};
    struct fk_ops_session session = {.key_block = {0}};
    struct fk_resume_op op;
    struct fk_writer out;
    int err;

    if ((err = fk_ops_may_keep(call)) != FK_OK ||
        (err = fk_resume_op_decode(call->payload, &op)) != FK_OK)
        return err;
    if (!may_share(call, fk_resume_is_shared(&op)))
        return FK_ERR_DENIED;
    if ((err = resume(call, &op, &session, &answer)) == FK_OK) {
        fk_writer_init(&out, call->ret, FK_SIGNER_RESULT_MAX);
        fk_resume_answer_encode(&answer, &out);
        err = fk_writer_end(&out, &call->ret_len);
    }
    fk_wipe(&session, sizeof session);
    return err;
}
