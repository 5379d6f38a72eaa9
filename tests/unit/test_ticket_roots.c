/* signer/ticket_roots: secrets of ticket keys come and go in time; a signer derives from them what
 * edges get. */
#include "unit.h"

#include "unit_keys.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/writer.h"
#include "keyclient/proof.h"
#include "signer/ops.h"
#include "signer/ticket_roots.h"
#include "tls/seal.h"
#include "wire/keymsg.h"

#include <openssl/err.h>
#include <unistd.h>

#define LIFE    UINT64_C(4000000)
#define QUARTER (LIFE / 4)

static uint64_t rotate(struct fk_ticket_roots *roots, uint64_t now)
{
    uint64_t next;

    assert_ok(fk_ticket_roots_rotate(roots, LIFE, now, &next));
    return next;
}

/* --- in time --- */

static void one_seals_at_once_and_the_next_is_announced(void **state)
{
    struct fk_ticket_roots roots = {0};

    (void)state;
    assert_int_equal(rotate(&roots, 500), QUARTER);
    assert_int_equal(roots.count, 2);
    assert_int_equal(roots.items[1].seals_us, 500);
    assert_int_equal(roots.items[0].seals_us, 500 + QUARTER);
    assert_int_equal(rotate(&roots, 500 + QUARTER - 1), 1);
    assert_int_equal(roots.count, 2);
}

static void the_announced_one_can_seal_at_once(void **state)
{
    struct fk_ticket_roots roots = {0};
    uint8_t announced[FK_TICKET_ID], sealing[FK_TICKET_ID];
    uint64_t next;

    (void)state;
    (void)rotate(&roots, 500);
    memcpy(announced, roots.items[0].id, sizeof announced);
    memcpy(sealing, roots.items[1].id, sizeof sealing);
    assert_ok(fk_ticket_roots_renew(&roots, LIFE, 600, &next));
    assert_int_equal(next, QUARTER);
    assert_int_equal(roots.count, 3);
    assert_memory_equal(fk_ticket_roots_sealing(&roots, 600)->id, announced, sizeof announced);
    assert_int_equal(roots.items[0].seals_us, 600 + QUARTER);
    assert_memory_equal(roots.items[2].id, sealing, sizeof sealing); /* it opens on */
    assert_int_equal(roots.items[2].seals_us, 500);
    for (unsigned i = 0; i < 2 * FK_TICKET_ROOTS_MAX; i++)
        assert_ok(fk_ticket_roots_renew(&roots, LIFE, 601 + i, &next));
    assert_int_equal(roots.count, FK_TICKET_ROOTS_MAX);
}

/* At each moment: one that seals, one to come, and each opens a whole life after it began to. */
static void each_lives_its_time(void **state)
{
    struct fk_ticket_roots roots = {0}, before = {0};
    uint64_t now = 7, next = 0;

    (void)state;
    for (unsigned i = 0; i < 40; i++, now += next) {
        next = rotate(&roots, now);
        assert_int_equal(next, QUARTER);
        assert_true(roots.count <= FK_TICKET_ROOTS_MAX);
        assert_true(roots.items[0].seals_us > now);
        assert_true(roots.items[1].seals_us <= now);
        for (size_t r = 0; r < roots.count; r++)
            assert_true(roots.items[r].seals_us + LIFE > now);
        if (i > 0) { /* what is to seal now has been announced */
            assert_memory_equal(roots.items[1].id, before.items[0].id, 16);
            assert_memory_equal(roots.items[1].secret, before.items[0].secret, 32);
        }
        before = roots;
    }
    assert_int_equal(roots.count, 5);
}

static void after_a_long_sleep_all_are_new(void **state)
{
    struct fk_ticket_roots roots = {0}, before;

    (void)state;
    (void)rotate(&roots, 0);
    before = roots;
    assert_int_equal(rotate(&roots, 100 * LIFE), QUARTER);
    assert_int_equal(roots.count, 2);
    for (size_t r = 0; r < 2; r++)
        assert_memory_not_equal(roots.items[r].secret, before.items[r].secret, 32);
    assert_int_equal(roots.items[1].seals_us, 100 * LIFE);
}

static void a_shorter_life_leaves_one_that_seals(void **state)
{
    struct fk_ticket_roots roots = {0};
    uint64_t next, now = QUARTER - 1; /* the present one has sealed for longer than the new life */

    (void)state;
    (void)rotate(&roots, 0);
    assert_ok(fk_ticket_roots_rotate(&roots, 400, now, &next));
    assert_int_equal(next, 100);
    assert_int_equal(roots.count, 2);
    assert_int_equal(roots.items[1].seals_us, now);
}

static void transport(void **state)
{
    struct fk_ticket_roots roots = {0}, back = {0};
    uint8_t wire[FK_TICKET_ROOTS_WIRE_MAX + 1] = {0};
    size_t len;

    (void)state;
    (void)rotate(&roots, 0);
    (void)rotate(&roots, QUARTER);
    len = fk_ticket_roots_encode(&roots, wire);
    assert_int_equal(len, 8 + 1 + 3 * 56);
    assert_ok(fk_ticket_roots_decode(wire, len, &back));
    assert_memory_equal(&back, &roots, sizeof roots);
    for (size_t cut = 0; cut < len; cut++)
        assert_err(fk_ticket_roots_decode(wire, cut, &back), FK_ERR_TRUNCATED);
    assert_err(fk_ticket_roots_decode(wire, len + 1, &back), FK_ERR_TRAILING);
    wire[8] = 0;
    assert_err(fk_ticket_roots_decode(wire, len, &back), FK_ERR_FORMAT);
    wire[8] = FK_TICKET_ROOTS_MAX + 1;
    assert_err(fk_ticket_roots_decode(wire, len, &back), FK_ERR_FORMAT);
}

static void grants_tell_when(void **state)
{
    static const uint8_t ski[20] = {1}, other[20] = {2};
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_grants a, b;

    (void)state;
    (void)rotate(&roots, 0);
    assert_ok(fk_ticket_roots_grant(&roots, ski, 250000, &a));
    assert_int_equal(a.count, 2);
    assert_int_equal(a.refresh_ms, 250);
    assert_int_equal(a.items[0].seals_ms, 750);
    assert_int_equal(a.items[0].ends_ms, 4750);
    assert_int_equal(a.items[1].seals_ms, 0);
    assert_int_equal(a.items[1].ends_ms, 3750);
    /* The same at every signer and at every moment; another for another key. */
    assert_ok(fk_ticket_roots_grant(&roots, ski, 300000, &b));
    assert_memory_equal(a.items[1].secret, b.items[1].secret, 32);
    assert_memory_equal(a.items[1].id, b.items[1].id, 16);
    assert_ok(fk_ticket_roots_grant(&roots, other, 300000, &b));
    assert_memory_not_equal(a.items[1].secret, b.items[1].secret, 32);
    assert_memory_not_equal(a.items[1].id, b.items[1].id, 16);
    /* One that is over is not given out, were the master late to take it away. */
    assert_ok(fk_ticket_roots_grant(&roots, ski, LIFE, &b));
    assert_int_equal(b.count, 1);
    assert_memory_equal(a.items[0].secret, b.items[0].secret, 32);
    assert_err(fk_ticket_roots_grant(&roots, ski, 2 * LIFE, &b), FK_ERR_UNAVAILABLE);
}

/* --- in a signer --- */

struct bench {
    EVP_PKEY *key, *request_key;
    uint8_t ski[20];
    struct fk_keyset *set;
    struct fk_ops *ops;
    uint8_t ret[FK_SIGNER_RESULT_MAX];
    size_t len;
};

/* A key with these permissions; with `edge` one of that name signs, and all must. */
static void open_bench(struct bench *bench, unsigned permissions, const struct fk_keyset_edge *edge)
{
    struct fk_keyset_builder *builder;
    int fd;

    *bench = (struct bench){.key = unit_key("P-256"), .request_key = unit_key("ed25519")};
    assert_ok(fk_keyset_builder_new(&builder));
    unit_bundle_add(builder, "key", bench->key, (uint16_t)permissions, bench->ski);
    if (edge != NULL) {
        struct fk_keyset_edge one = *edge;
        size_t len = sizeof one.request_key;

        assert_int_equal(EVP_PKEY_get_raw_public_key(bench->request_key, one.request_key, &len), 1);
        assert_ok(fk_keyset_builder_edge(builder, &one));
        assert_ok(fk_keyset_builder_signed(builder, "keys1", true));
    }
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    assert_ok(fk_keyset_open(fd, &bench->set));
    close(fd);
    assert_ok(fk_ops_new(bench->set, 0, 1, &bench->ops));
}

static void close_bench(struct bench *bench)
{
    fk_ops_free(bench->ops);
    fk_keyset_free(bench->set);
    EVP_PKEY_free(bench->key);
    EVP_PKEY_free(bench->request_key);
    assert_int_equal(ERR_peek_error(), 0);
}

static void give_roots(struct bench *bench, struct fk_ticket_roots *roots)
{
    uint8_t wire[FK_TICKET_ROOTS_WIRE_MAX];

    (void)rotate(roots, fk_clock_us());
    assert_ok(fk_ops_take_roots(bench->ops, wire, fk_ticket_roots_encode(roots, wire)));
}

static int run(struct bench *bench, uint16_t op, const void *payload, size_t len)
{
    struct fk_signer_request request = {.len = (uint32_t)len, .op = op};

    memcpy(request.ski, bench->ski, sizeof request.ski);
    return fk_ops_run(bench->ops, &request, payload, bench->ret, &bench->len);
}

static void a_signer_gives_what_its_master_gave(void **state)
{
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_grants mine, expected;
    struct bench bench;

    (void)state;
    open_bench(&bench, FK_PERM_TICKETS, NULL);
    assert_err(run(&bench, FK_SIGNER_TICKET_KEYS, "", 0), FK_ERR_UNAVAILABLE);
    assert_err(fk_ops_take_roots(bench.ops, "", 0), FK_ERR_TRUNCATED);
    give_roots(&bench, &roots);
    assert_err(run(&bench, FK_SIGNER_TICKET_KEYS, "x", 1), FK_ERR_TRAILING);
    assert_ok(run(&bench, FK_SIGNER_TICKET_KEYS, "", 0));
    assert_ok(fk_ticket_grants_decode(fk_item(bench.ret, bench.len), &mine));
    assert_ok(fk_ticket_roots_grant(&roots, bench.ski, fk_clock_us(), &expected));
    assert_int_equal(mine.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_memory_equal(mine.items[i].id, expected.items[i].id, 16);
        assert_memory_equal(mine.items[i].secret, expected.items[i].secret, 32);
    }
    /* Others: of the same key there is nothing left. */
    roots = (struct fk_ticket_roots){0};
    give_roots(&bench, &roots);
    assert_ok(run(&bench, FK_SIGNER_TICKET_KEYS, "", 0));
    assert_ok(fk_ticket_grants_decode(fk_item(bench.ret, bench.len), &expected));
    for (size_t i = 0; i < 4; i++)
        assert_memory_not_equal(mine.items[i / 2].secret, expected.items[i % 2].secret, 32);
    close_bench(&bench);
}

static void the_permission_is_needed(void **state)
{
    struct fk_ticket_roots roots = {0};
    struct bench bench;

    (void)state;
    open_bench(&bench, 0xffff & ~FK_PERM_TICKETS, NULL);
    give_roots(&bench, &roots);
    assert_err(run(&bench, FK_SIGNER_TICKET_KEYS, "", 0), FK_ERR_DENIED);
    memset(bench.ski, 0, sizeof bench.ski);
    assert_err(run(&bench, FK_SIGNER_TICKET_KEYS, "", 0), FK_ERR_KEY_NOT_FOUND);
    close_bench(&bench);
    assert_true(fk_ops_permitted(FK_PEER_FRONT, FK_SIGNER_TICKET_KEYS));
    assert_false(fk_ops_permitted(FK_PEER_WORKER, FK_SIGNER_TICKET_KEYS));
    assert_false(fk_ops_permitted(FK_PEER_AUDIT, FK_SIGNER_TICKET_KEYS));
}

/* What an edge sends, as a front passes it on. */
static size_t make_signed(struct bench *bench, struct fk_proof *proof, uint8_t *ret_signature,
                          uint8_t ret[FK_SIGNER_PAYLOAD_MAX])
{
    const struct fk_keymsg msg = {.opcode = FK_OP_TICKET_KEYS,
                                  .payload = fk_item("", 0),
                                  .ski = fk_item(bench->ski, sizeof bench->ski),
                                  .proof = fk_proof_blank()};
    struct fk_writer writer;
    struct fk_buf frame;
    uint8_t *bytes;
    size_t len;

    fk_buf_init(&frame, 4096);
    assert_ok(fk_keymsg_encode(&msg, false, &frame));
    bytes = (uint8_t *)(uintptr_t)fk_buf_data(&frame);
    assert_ok(fk_proof_sign(proof, bytes, fk_buf_len(&frame), ret_signature));
    fk_writer_init(&writer, ret, FK_SIGNER_PAYLOAD_MAX);
    fk_writer_vec8(&writer, "edge1", 5);
    fk_writer_bytes(&writer, proof->place.exporter, sizeof proof->place.exporter);
    fk_writer_u16(&writer, 0); /* no share */
    fk_writer_bytes(&writer, bytes + FK_FRAME_HEADER, fk_buf_len(&frame) - FK_FRAME_HEADER);
    assert_ok(fk_writer_end(&writer, &len));
    fk_buf_fini(&frame);
    return len;
}

/* A front that is captured sees none, and can ask for none by itself. */
static void an_edge_that_signs_gets_them_sealed(void **state)
{
    const struct fk_keyset_edge edge = {
        .name = "edge1", .permissions = FK_PERM_TICKETS, .all = true, .signs = true};
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX], signature[FK_KEYPROOF_SIGNATURE];
    uint8_t opened[FK_TICKET_GRANTS_WIRE_MAX];
    struct fk_ticket_roots roots = {0};
    struct fk_ticket_grants grants, expected;
    struct fk_proof proof = {.place = {.server = "keys1"}};
    struct bench bench;
    size_t len;

    (void)state;
    open_bench(&bench, FK_PERM_TICKETS, &edge);
    give_roots(&bench, &roots);
    proof.key = bench.request_key;
    assert_ok(fk_seal_key_new(&proof.reply, proof.reply_key));
    assert_err(run(&bench, FK_SIGNER_TICKET_KEYS, "", 0), FK_ERR_DENIED);
    len = make_signed(&bench, &proof, signature, payload);
    assert_ok(run(&bench, FK_SIGNER_SIGNED, payload, len));
    assert_ok(fk_ticket_roots_grant(&roots, bench.ski, fk_clock_us(), &expected));
    for (size_t i = 0; i + 32 <= bench.len; i++)
        assert_memory_not_equal(bench.ret + i, expected.items[0].secret, 32);
    assert_ok(fk_proof_open(&proof, signature, fk_item(bench.ret, bench.len), opened, sizeof opened,
                            &len));
    assert_ok(fk_ticket_grants_decode(fk_item(opened, len), &grants));
    assert_memory_equal(grants.items[0].secret, expected.items[0].secret, 32);
    EVP_PKEY_free(proof.reply);
    close_bench(&bench);
}

UNIT_MAIN(cmocka_unit_test(one_seals_at_once_and_the_next_is_announced),
          cmocka_unit_test(the_announced_one_can_seal_at_once),
          cmocka_unit_test(each_lives_its_time), cmocka_unit_test(after_a_long_sleep_all_are_new),
          cmocka_unit_test(a_shorter_life_leaves_one_that_seals), cmocka_unit_test(transport),
          cmocka_unit_test(grants_tell_when), cmocka_unit_test(a_signer_gives_what_its_master_gave),
          cmocka_unit_test(the_permission_is_needed),
          cmocka_unit_test(an_edge_that_signs_gets_them_sealed))
