/*
 * wire/keyop: the first byte chooses the operation. What decodes is encoded to the same bytes; a
 * message to be signed gives back the operation it came from.
 */
#include "check.h"

#include "base/err.h"
#include "wire/keyop.h"
#include "wire/keyticket.h"

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

static void try_sign13(struct fk_reader payload)
{
    struct fk_writer writer = start();
    uint8_t tbs[FK_SIGN13_TBS_MAX];
    struct fk_sign13 op, back;
    size_t len;

    if (fk_sign13_decode(payload, &op) != FK_OK)
        return;
    fk_sign13_encode(&op, &writer);
    check_written(&writer, payload);
    fk_sign13_tbs(&op, tbs, &len);
    CHECK(fk_sign13_from_tbs(tbs, len, op.scheme, &back) == FK_OK);
    CHECK(back.role == op.role && back.hash_len == op.hash_len);
    CHECK(memcmp(back.hash, op.hash, op.hash_len) == 0);
}

static void try_sign12(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_sign12 op, back;
    struct fk_dh_params dh;
    size_t len;

    if (fk_sign12_decode(payload, &op) != FK_OK)
        return;
    fk_sign12_encode(&op, &writer);
    check_written(&writer, payload);
    if (op.kx == FK_KX_DHE) {
        CHECK(fk_dh_params_decode(op.params, &dh) == FK_OK);
        CHECK(dh.p.next[0] != 0 && dh.g.next[0] != 0 && dh.ys.next[0] != 0);
        CHECK(dh.g.left <= dh.p.left && dh.ys.left <= dh.p.left);
    }
    writer = start();
    fk_writer_bytes(&writer, op.client_random, 32);
    fk_writer_bytes(&writer, op.server_random, 32);
    fk_writer_bytes(&writer, op.params.next, op.params.left);
    CHECK(fk_writer_end(&writer, &len) == FK_OK);
    CHECK(fk_sign12_from_tbs(out, len, op.scheme, &back) == FK_OK);
    CHECK(back.kx == op.kx && back.params.left == op.params.left);
}

static void try_decrypt(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_decrypt op;

    if (fk_decrypt_decode(payload, &op) != FK_OK)
        return;
    fk_decrypt_encode(&op, &writer);
    check_written(&writer, payload);
}

static void try_info_request(struct fk_reader payload)
{
    struct fk_writer writer = start();
    uint32_t cursor;

    if (fk_info_request_decode(payload, &cursor) != FK_OK)
        return;
    fk_info_request_encode(cursor, &writer);
    check_written(&writer, payload);
}

static void try_info(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_info_answer answer;
    struct fk_info_key key;
    size_t mark;
    int err;

    if (fk_info_answer_decode(payload, &answer) != FK_OK)
        return;
    mark = fk_info_answer_begin(&answer, &writer);
    while ((err = fk_info_key_next(&answer, &key)) == FK_OK)
        fk_info_key_encode(&key, &writer);
    fk_writer_end16(&writer, mark);
    if (err == FK_ERR_NOT_FOUND)
        check_written(&writer, payload);
}

static void try_pong(struct fk_reader payload)
{
    struct fk_writer writer = start();
    uint64_t generation;

    if (fk_pong_decode(payload, &generation) != FK_OK)
        return;
    fk_pong_encode(generation, &writer);
    check_written(&writer, payload);
}

static void try_ticket_keys(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_ticket_grants grants;

    if (fk_ticket_grants_decode(payload, &grants) != FK_OK)
        return;
    CHECK(grants.count > 0 && grants.count <= FK_TICKET_GRANTS_MAX && grants.refresh_ms > 0);
    for (size_t i = 0; i < grants.count; i++)
        CHECK(grants.items[i].seals_ms < grants.items[i].ends_ms);
    fk_ticket_grants_encode(&grants, &writer);
    check_written(&writer, payload);
}

static void try_ticket_requests(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_ticket_use use;
    uint8_t count, name[16];

    if (fk_ticket_seal_decode(payload, &count, &use) == FK_OK) {
        CHECK(count > 0 && count <= FK_TICKET_SINGLES_MAX);
        fk_ticket_seal_encode(count, &use, &writer);
        check_written(&writer, payload);
    } else if (fk_ticket_open_decode(payload, name, &use) == FK_OK) {
        fk_ticket_open_encode(name, &use, &writer);
        check_written(&writer, payload);
    }
}

static void try_ticket_answers(struct fk_reader payload)
{
    struct fk_writer writer = start();
    struct fk_ticket_singles singles;
    struct fk_ticket_opened opened;

    if (fk_ticket_singles_decode(payload, &singles) == FK_OK) {
        CHECK(singles.count > 0 && singles.count <= FK_TICKET_SINGLES_MAX && singles.life_ms > 0);
        fk_ticket_singles_encode(&singles, &writer);
        check_written(&writer, payload);
    } else if (fk_ticket_opened_decode(payload, &opened) == FK_OK) {
        fk_ticket_opened_encode(&opened, &writer);
        check_written(&writer, payload);
    }
}

/* What a TLS library hands over; a bare message, no payload. */
static void try_messages(struct fk_reader tbs)
{
    struct fk_sign13 s13;
    struct fk_sign12 s12;
    uint8_t made[FK_SIGN13_TBS_MAX];
    size_t len;

    if (fk_sign13_from_tbs(tbs.next, tbs.left, 0x0804, &s13) == FK_OK) {
        fk_sign13_tbs(&s13, made, &len);
        CHECK(len == tbs.left && memcmp(made, tbs.next, len) == 0);
        CHECK(fk_sign12_from_tbs(tbs.next, tbs.left, 0x0804, &s12) == FK_ERR_FORMAT);
    }
    if (fk_sign12_from_tbs(tbs.next, tbs.left, 0x0804, &s12) == FK_OK)
        CHECK(s12.params.left + 64 == tbs.left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct fk_reader) = {
        try_sign13, try_sign12,   try_decrypt,     try_info_request,    try_info,
        try_pong,   try_messages, try_ticket_keys, try_ticket_requests, try_ticket_answers,
    };
    struct fk_reader input;
    uint8_t choice;

    fk_reader_init(&input, data, size);
    if (fk_reader_u8(&input, &choice) != FK_OK || input.left > 65535)
        return 0;
    tries[choice % (sizeof tries / sizeof tries[0])](input);
    return 0;
}
