/*
 * Mode `keys` in TLS 1.3, payloads from the other side (wire/keyop_keys13). The first byte chooses;
 * before an answer stands what it answers. What decodes is encoded to the same bytes.
 */
#include "check.h"

#include "base/err.h"
#include "wire/keyop_keys13.h"

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
    CHECK(len == expected.left && memcmp(out, expected.next, len) == 0);
}

static void try_hello(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_hello13 op;
    size_t len;

    if (fk_hello13_decode(payload, &op) != FK_OK)
        return;
    fk_hello13_encode(&op, &writer);
    check_written(&writer, payload);
    writer = start();
    fk_hello13_write_server(&op, op.share, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK && len <= FK_SERVER_HELLO13_MAX);
}

static void try_hello_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_hello13_answer answer;
    struct fk_hello13 op = {0};
    const struct fk_agree_group *group;

    if (fk_reader_u16(&payload, &op.group) != FK_OK || fk_reader_u16(&payload, &op.suite) != FK_OK)
        return;
    group = fk_agree_group_find(op.group);
    if (group == NULL || group->is_dh || fk_suite13_hash(op.suite) == 0)
        return;
    op.share.left = group->share_len;
    if (fk_hello13_answer_decode(payload, &op, &answer) != FK_OK)
        return;
    CHECK(answer.client_secret.left <= FK_SECRET13_MAX);
    fk_hello13_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

static void try_flight(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_flight13 op;

    if (fk_flight13_decode(payload, &op) != FK_OK)
        return;
    CHECK(op.hellos.next == op.transcript.next && op.hellos.left < op.transcript.left);
    fk_flight13_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_flight_answer(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_flight13_answer answer;
    uint8_t hash;

    if (fk_reader_u8(&payload, &hash) != FK_OK || (hash != FK_PRF_SHA256 && hash != FK_PRF_SHA384))
        return;
    if (fk_flight13_answer_decode(payload, (enum fk_prf)hash, &answer) != FK_OK)
        return;
    CHECK(answer.signature.left > 0 && answer.server_secret.left <= FK_SECRET13_MAX);
    fk_flight13_answer_encode(&answer, &writer);
    check_written(&writer, payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct fk_reader) = {try_hello, try_hello_answer, try_flight,
                                                      try_flight_answer};
    struct fk_reader input;
    uint8_t choice;

    fk_reader_init(&input, data, size);
    if (fk_reader_u8(&input, &choice) != FK_OK || input.left > 65535)
        return 0;
    tries[choice % (sizeof tries / sizeof tries[0])](input);
    return 0;
}
