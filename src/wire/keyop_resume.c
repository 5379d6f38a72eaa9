/* Payloads by which sessions of mode `keys` are resumed: see keyop_resume.h. */
#include "wire/keyop_resume.h"

#include "base/err.h"

/* --- KEYS_KEEP --- */

int fk_keep_op_decode(struct fk_reader payload, struct fk_keep_op *ret)
{
    struct fk_keep_op op = {0};
    uint8_t scope;
    int err;

    if ((err = fk_reader_u8(&payload, &scope)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.context, sizeof op.context)) != FK_OK ||
        (err = fk_reader_u32(&payload, &op.lifetime_s)) != FK_OK ||
        (err = fk_keys_op_decode(payload, &op.keys)) != FK_OK)
        return err;
    if (scope != FK_SESSION_OWN && scope != FK_SESSION_SHARED)
        return FK_ERR_FORMAT;
    op.scope = (enum fk_session_scope)scope;
    *ret = op;
    return FK_OK;
}

void fk_keep_op_encode(const struct fk_keep_op *op, struct fk_writer *out)
{
    fk_writer_u8(out, (uint8_t)op->scope);
    fk_writer_bytes(out, op->context, sizeof op->context);
    fk_writer_u32(out, op->lifetime_s);
    fk_keys_op_encode(&op->keys, out);
}

int fk_keep_answer_decode(struct fk_reader payload, struct fk_keep_answer *ret)
{
    struct fk_keep_answer answer = {0};
    int err;

    if ((err = fk_reader_vec8(&payload, &answer.sealed)) != FK_OK ||
        (err = fk_keys_answer_decode(payload, &answer.keys)) != FK_OK)
        return err;
    *ret = answer;
    return FK_OK;
}

void fk_keep_answer_encode(const struct fk_keep_answer *answer, struct fk_writer *out)
{
    fk_writer_vec8(out, answer->sealed.next, answer->sealed.left);
    fk_keys_answer_encode(&answer->keys, out);
}

/* --- RESUME --- */

int fk_resume_op_decode(struct fk_reader payload, struct fk_resume_op *ret)
{
    struct fk_resume_op op = {0};
    int err;

    if ((err = fk_reader_vec8(&payload, &op.sealed)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.context, sizeof op.context)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.random_seed, sizeof op.random_seed)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.client_random, sizeof op.client_random)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.server_random, sizeof op.server_random)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (op.sealed.left == 0)
        return FK_ERR_FORMAT;
    *ret = op;
    return FK_OK;
}

void fk_resume_op_encode(const struct fk_resume_op *op, struct fk_writer *out)
{
    fk_writer_vec8(out, op->sealed.next, op->sealed.left);
    fk_writer_bytes(out, op->context, sizeof op->context);
    fk_writer_bytes(out, op->random_seed, sizeof op->random_seed);
    fk_writer_bytes(out, op->client_random, sizeof op->client_random);
    fk_writer_bytes(out, op->server_random, sizeof op->server_random);
}

bool fk_resume_is_shared(const struct fk_resume_op *op)
{
    return op->sealed.next[0] == FK_SESSION_SHARED;
}

int fk_resume_answer_decode(struct fk_reader payload, struct fk_resume_answer *ret)
{
    struct fk_resume_answer answer = {0};
    int err;

    if ((err = fk_reader_copy(&payload, answer.handle, sizeof answer.handle)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &answer.key_block)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (answer.key_block.left == 0)
        return FK_ERR_FORMAT;
    *ret = answer;
    return FK_OK;
}

void fk_resume_answer_encode(const struct fk_resume_answer *answer, struct fk_writer *out)
{
    fk_writer_bytes(out, answer->handle, sizeof answer->handle);
    fk_writer_vec8(out, answer->key_block.next, answer->key_block.left);
}
