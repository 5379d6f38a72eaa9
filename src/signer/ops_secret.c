/*
 * Modes `master` and `keys`: the master secret of a TLS 1.2 session is derived here; in mode `keys`
 * it stays here under a handle, and the edge gets the keys of its records and what the two Finished
 * messages must say. All labels are fixed: what the edge supplies can be no other derivation.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"
#include "signer/prf.h"
#include "tls/fresh.h"
#include "tls/suite.h"

#include <string.h>

#define RANDOM_SIZE 32

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
        return fk_ops_lacks(call, FK_SIGNER_MASTER); /* or KEYS: in that they are alike */
    ret->len = FK_PREMASTER_SIZE;
    return fk_ops_premaster(call, &source->rsa, ret->bytes);
}

/*
 * RSA key exchange has no part of the key server's in it: a ciphertext that was recorded would be
 * decrypted again for as long as the key lives. Who brings it must know the seed of the server
 * random that the secrets are derived with. (The session hash of MASTER shows no random.)
 */
static int check_fresh(const struct fk_premaster_source *source, const uint8_t *server_random)
{
    return source->kind == FK_PREMASTER_RSA ? fk_fresh_check(source->random_seed, server_random)
                                            : FK_OK;
}

static int derive_master(struct fk_op_call *call, const struct fk_premaster_source *source,
                         const struct fk_master_derivation *derivation, uint8_t ret[FK_MASTER_SIZE])
{
    struct fk_prf_input input = {.prf = derivation->prf, .seed = {derivation->seed}};
    struct premaster premaster = {.len = 0};
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
    if ((err = fk_master_op_decode(call->payload, &op)) != FK_OK ||
        (!op.derivation.ems &&
         (err = check_fresh(&op.source, op.derivation.seed.next + RANDOM_SIZE)) != FK_OK))
        return err;
    call->ret_len = FK_MASTER_SIZE;
    return derive_master(call, &op.source, &op.derivation, call->ret);
}

/* --- keys and Finished --- */

static struct fk_prf_input from_master(const struct fk_handle_master *master, const char *label)
{
    return (struct fk_prf_input){.prf = master->prf,
                                 .secret = master->master,
                                 .secret_len = sizeof master->master,
                                 .label = label};
}

/* RFC 5246 section 7.4.9. */
static int derive_verify_data(struct fk_op_call *call, const struct fk_handle_master *master,
                              enum fk_finished_end end, struct fk_reader hash,
                              uint8_t ret[FK_VERIFY_DATA_SIZE])
{
    struct fk_prf_input input =
        from_master(master, end == FK_FINISHED_CLIENT ? "client finished" : "server finished");

    input.seed[0] = hash;
    return fk_prf_run(call->ops->prf, &input, ret, FK_VERIFY_DATA_SIZE);
}

/* RFC 5246 section 6.3: the server's random first. */
int fk_ops_key_block(struct fk_op_call *call, const uint8_t server_random[RANDOM_SIZE],
                     const uint8_t client_random[RANDOM_SIZE], size_t len,
                     struct fk_ops_session *session)
{
    struct fk_prf_input input = from_master(&session->secret.master, "key expansion");

    fk_reader_init(&input.seed[0], server_random, RANDOM_SIZE);
    fk_reader_init(&input.seed[1], client_random, RANDOM_SIZE);
    return fk_prf_run(call->ops->prf, &input, session->key_block, len);
}

static struct fk_handle_binding binding_of(const struct fk_op_call *call)
{
    return (struct fk_handle_binding){
        .owner = call->owner, .ski = call->entry->public.ski, .stage = FK_HANDLE_FINISHED};
}

int fk_ops_keep_master(struct fk_op_call *call, const struct fk_ops_session *session,
                       uint8_t ret[FK_HANDLE_SIZE])
{
    const struct fk_handle_binding binding = binding_of(call);

    return fk_handles_add(call->ops->handles, &binding, &session->secret, fk_clock_us(), ret);
}

/* The master secret and the keys. */
static int derive_keys(struct fk_op_call *call, const struct fk_keys_op *op, size_t block_len,
                       struct fk_ops_session *session)
{
    struct fk_handle_master *master = &session->secret.master;
    int err;

    master->prf = op->derivation.prf;
    if ((err = derive_master(call, &op->source, &op->derivation, master->master)) != FK_OK)
        return err;
    return fk_ops_key_block(call, op->server_random, op->client_random, block_len, session);
}

/* All of the session; the master secret is kept when nothing can fail any more. */
static int derive_session(struct fk_op_call *call, const struct fk_keys_op *op, size_t block_len,
                          struct fk_ops_session *session, struct fk_keys_answer *ret)
{
    struct fk_handle_master *master = &session->secret.master;
    int err;

    master->last = FK_FINISHED_SERVER;
    if ((err = derive_keys(call, op, block_len, session)) != FK_OK)
        return err;
    fk_reader_init(&ret->key_block, session->key_block, block_len);
    if (op->finished_hash.left > 0) {
        if ((err = derive_verify_data(call, master, FK_FINISHED_CLIENT, op->finished_hash,
                                      session->verify_data)) != FK_OK)
            return err;
        master->first_done = true;
        fk_reader_init(&ret->verify_data, session->verify_data, sizeof session->verify_data);
    }
    return fk_ops_keep_master(call, session, ret->handle);
}

int fk_ops_block_len(uint16_t id, enum fk_prf prf, size_t *ret_len)
{
    const struct fk_suite *suite = fk_suite_find(id);

    if (suite == NULL || suite->version != FK_TLS12 || suite->mac_len != 0 ||
        suite->hash_len != fk_prf_size(prf))
        return FK_ERR_UNSUPPORTED;
    *ret_len = (size_t)2 * (suite->key_len + suite->iv_len);
    return FK_OK;
}

/* The length of its key block; a fresh random. */
static int check_session(const struct fk_keys_op *op, size_t *ret_len)
{
    int err = fk_ops_block_len(op->suite, op->derivation.prf, ret_len);

    return err != FK_OK ? err : check_fresh(&op->source, op->server_random);
}

int fk_ops_make_session(struct fk_op_call *call, const struct fk_keys_op *op,
                        struct fk_ops_session *session, struct fk_keys_answer *ret)
{
    size_t block_len;
    int err = check_session(op, &block_len);

    return err != FK_OK ? err : derive_session(call, op, block_len, session, ret);
}

int fk_ops_may_keep(const struct fk_op_call *call)
{
    if (call->owner == NULL || !fk_op_allowed(call, FK_PERM_KEYS))
        return FK_ERR_DENIED;
    return call->ops->handles == NULL ? FK_ERR_UNSUPPORTED : FK_OK;
}

int fk_op_keys(struct fk_op_call *call)
{
    struct fk_keys_answer answer = {.handle = {0}};
    struct fk_ops_session session = {.key_block = {0}};
    struct fk_keys_op op;
    struct fk_writer out;
    int err;

    if ((err = fk_ops_may_keep(call)) != FK_OK ||
        (err = fk_keys_op_decode(call->payload, &op)) != FK_OK)
        return err;
    if ((err = fk_ops_make_session(call, &op, &session, &answer)) == FK_OK) {
        fk_writer_init(&out, call->ret, FK_SIGNER_RESULT_MAX);
        fk_keys_answer_encode(&answer, &out);
        err = fk_writer_end(&out, &call->ret_len);
    }
    fk_wipe(&session, sizeof session);
    return err;
}

/* The edge gets the master secret as well, and nothing is kept. */
int fk_op_expose(struct fk_op_call *call)
{
    struct fk_ops_session session = {.key_block = {0}};
    struct fk_exposed_answer answer;
    struct fk_keys_op op;
    struct fk_writer out;
    size_t block_len;
    int err;

    if (call->owner == NULL || !fk_op_allowed(call, FK_PERM_KEYS) ||
        !fk_op_allowed(call, FK_PERM_EXPOSE))
        return FK_ERR_DENIED;
    if ((err = fk_keys_op_decode(call->payload, &op)) != FK_OK ||
        (err = check_session(&op, &block_len)) != FK_OK)
        return err;
    if (op.finished_hash.left > 0)
        return FK_ERR_FORMAT;
    if ((err = derive_keys(call, &op, block_len, &session)) == FK_OK) {
        fk_reader_init(&answer.key_block, session.key_block, block_len);
        fk_reader_init(&answer.master, session.secret.master.master, FK_MASTER_SIZE);
        fk_writer_init(&out, call->ret, FK_SIGNER_RESULT_MAX);
        fk_exposed_answer_encode(&answer, &out);
        err = fk_writer_end(&out, &call->ret_len);
    }
    fk_wipe(&session, sizeof session);
    return err;
}

/* Each end once: the server's comes last, but for a session that is resumed. */
int fk_op_finished(struct fk_op_call *call)
{
    const struct fk_handle_binding binding = binding_of(call);
    union fk_handle_secret *kept, taken;
    struct fk_finished_op op;
    bool first;
    int err;

    if (call->owner == NULL || !fk_op_allowed(call, FK_PERM_KEYS))
        return FK_ERR_DENIED;
    if ((err = fk_finished_op_decode(call->payload, &op)) != FK_OK)
        return err;
    if (call->ops->handles == NULL)
        return FK_ERR_EXPIRED;
    kept = fk_handles_find(call->ops->handles, op.handle, &binding, fk_clock_us());
    first = kept != NULL && op.end != kept->master.last;
    if (kept == NULL || (first && kept->master.first_done))
        return FK_ERR_EXPIRED;
    if (op.hash.left != fk_prf_size(kept->master.prf))
        return FK_ERR_FORMAT;
    call->ret_len = FK_VERIFY_DATA_SIZE;
    if (first) {
        kept->master.first_done = true;
        return derive_verify_data(call, &kept->master, op.end, op.hash, call->ret);
    }
    if ((err = fk_handles_take(call->ops->handles, op.handle, &binding, fk_clock_us(), &taken)) !=
        FK_OK)
        return err;
    err = derive_verify_data(call, &taken.master, op.end, op.hash, call->ret);
    fk_wipe(&taken, sizeof taken);
    return err;
}
