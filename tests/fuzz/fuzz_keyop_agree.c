/*
 * Modes `agree`, `master` and `keys`, payloads from the other side (wire/keyop_agree,
 * wire/keyop_secret, wire/keyop_resume). The first byte chooses. What decodes is encoded to the
 * same bytes.
 */
#include "check.h"

#include "base/err.h"
#include "wire/keyop_resume.h"

#include <string.h>

static uint8_t out[1 << 17];

static struct fk_writer start(void)
{
    struct fk_writer writer;

    fk_writer_init(&writer, out, sizeof out);
    return writer;
}

static void check_written(const struct fk_writer *writer, struct fk_reader expected)
{
    size_t len;

    CHECK(fk_writer_end(writer, &len) == FK_OK);
    CHECK(len == expected.left && (len == 0 || memcmp(out, expected.next, len) == 0));
}

static void try_init(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_agree_init op;

    if (fk_agree_init_decode(payload, &op) != FK_OK)
        return;
    CHECK(fk_agree_group_find(op.group) != NULL);
    fk_agree_init_encode(&op, &writer);
    check_written(&writer, payload);
}

/* Behind group and form of the request that it answers. */
static void try_made(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_agree_init op = {0};
    struct fk_agree_made made;
    uint8_t form;

    if (fk_reader_u16(&payload, &op.group) != FK_OK || fk_reader_u8(&payload, &form) != FK_OK)
        return;
    op.form = form % 2 == 0 ? FK_AGREE_KEPT : FK_AGREE_HANDED;
    if (fk_agree_made_decode(payload, &op, &made) != FK_OK)
        return;
    CHECK(made.signature.left > 0 && (made.private_value.left > 0) == (op.form == FK_AGREE_HANDED));
    fk_agree_made_encode(&made, &writer);
    check_written(&writer, payload);
}

static void try_finish(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_agree_finish op;

    if (fk_agree_finish_decode(payload, &op) != FK_OK)
        return;
    CHECK(op.share.left > 0);
    fk_agree_finish_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_master(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_master_op op;

    if (fk_master_op_decode(payload, &op) != FK_OK)
        return;
    fk_master_op_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_keys(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_keys_op op;

    if (fk_keys_op_decode(payload, &op) != FK_OK)
        return;
    fk_keys_op_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_keys_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_keys_answer answer;

    if (fk_keys_answer_decode(payload, &answer) != FK_OK)
        return;
    fk_keys_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

static void try_finished(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_finished_op op;

    if (fk_finished_op_decode(payload, &op) != FK_OK)
        return;
    fk_finished_op_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_exposed_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_exposed_answer answer;

    if (fk_exposed_answer_decode(payload, &answer) != FK_OK)
        return;
    fk_exposed_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

static void try_keep(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_keep_op op;

    if (fk_keep_op_decode(payload, &op) != FK_OK)
        return;
    fk_keep_op_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_keep_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_keep_answer answer;

    if (fk_keep_answer_decode(payload, &answer) != FK_OK)
        return;
    fk_keep_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

static void try_resume(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_resume_op op;

    if (fk_resume_op_decode(payload, &op) != FK_OK)
        return;
    CHECK(op.sealed.left > 0);
    fk_resume_op_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_resume_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_resume_answer answer;

    if (fk_resume_answer_decode(payload, &answer) != FK_OK)
        return;
    fk_resume_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct fk_reader) = {
        try_init, try_made,        try_finish,   try_master,
        try_keys, try_keys_answer, try_finished, try_exposed_answer,
        try_keep, try_keep_answer, try_resume,   try_resume_answer};
    struct fk_reader input;
    uint8_t choice;

    fk_reader_init(&input, data, size);
    if (fk_reader_u8(&input, &choice) != FK_OK || input.left > 65535)
        return 0;
    tries[choice % (sizeof tries / sizeof tries[0])](input);
    return 0;
}
