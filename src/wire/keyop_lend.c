/* Codec of LEND: see keyop_lend.h. */
#include "wire/keyop_lend.h"

#include "base/err.h"

int fk_lend_decode(struct fk_reader payload, struct fk_lend *ret)
{
    struct fk_lend op;
    int err;

    if ((err = fk_reader_copy(&payload, op.recipient, sizeof op.recipient)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.once, sizeof op.once)) != FK_OK ||
        (err = fk_reader_u32(&payload, &op.seconds)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret = op;
    return FK_OK;
}

void fk_lend_encode(const struct fk_lend *op, struct fk_writer *out)
{
    fk_writer_bytes(out, op->recipient, sizeof op->recipient);
    fk_writer_bytes(out, op->once, sizeof op->once);
    fk_writer_u32(out, op->seconds);
}

int fk_lend_answer_decode(struct fk_reader payload, struct fk_lend_answer *ret)
{
    struct fk_lend_answer answer;
    int err;

    if ((err = fk_reader_u32(&payload, &answer.seconds)) != FK_OK ||
        (err = fk_reader_u16(&payload, &answer.permissions)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &answer.spki)) != FK_OK ||
        (err = fk_reader_vec16(&payload, &answer.sealed)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret = answer;
    return FK_OK;
}

void fk_lend_answer_encode_head(const struct fk_lend_answer *answer, struct fk_writer *out)
{
    fk_writer_u32(out, answer->seconds);
    fk_writer_u16(out, answer->permissions);
    fk_writer_vec16(out, answer->spki.next, answer->spki.left);
}

void fk_lend_answer_encode(const struct fk_lend_answer *answer, struct fk_writer *out)
{
    fk_lend_answer_encode_head(answer, out);
    fk_writer_vec16(out, answer->sealed.next, answer->sealed.left);
}
