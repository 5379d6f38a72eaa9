/* signer/ops_resume, signer/session_seal: sessions of mode `keys` that are resumed: for whom, as
 * long as what, and what is derived. */
#include "agreebench.h"
#include "unit.h"
#include "unit_keys.h"

#include "base/clock.h"
#include "base/writer.h"
#include "signer/prf.h"
#include "signer/session_seal.h"
#include "tls/fresh.h"

#include <openssl/err.h>

#define LIFE UINT64_C(4000000000)

static const uint8_t context[32] = "the edge's session id context", seed[32] = "a fresh seed";
static const uint8_t client_random[32] = "what the client has drawn anew";
static const uint8_t hash[48] = "the transcript's hash, as long as one may be...";

/* --- what is sealed --- */

static const struct fk_handle_owner owner = {.id = {7}}, other_owner = {.id = {8}},
                                    signed_owner = {.has_signed = true, .id = {7}};
static const uint8_t ski[20] = {1}, other_ski[20] = {2};
static const struct fk_session_bound bound = {.owner = &owner, .ski = ski, .context = context};

static void rotate(struct fk_ticket_roots *roots, uint64_t now)
{
    uint64_t next;

    assert_ok(fk_ticket_roots_rotate(roots, LIFE, now, &next));
}

static struct fk_session_kept kept_until(uint64_t ends_us)
{
    struct fk_session_kept kept = {.prf = FK_PRF_SHA384, .suite = 0xc030, .ends_us = ends_us};

    memset(kept.master, 0x5a, sizeof kept.master);
    return kept;
}

static int open_with(const struct fk_ticket_roots *roots, const uint8_t *sealed,
                     const struct fk_session_bound *by, uint64_t now)
{
    struct fk_session_kept kept = {.suite = 1}, expected = kept_until(100);
    int err = fk_session_open(roots, fk_item(sealed, FK_SEALED_SESSION), by, now, &kept);

    if (err == FK_OK) {
        assert_int_equal(kept.prf, expected.prf);
        assert_int_equal(kept.suite, expected.suite);
        assert_memory_equal(kept.master, expected.master, 48);
    } else {
        assert_int_equal(kept.suite, 1);
    }
    return err;
}

static void sealed_for_one_and_for_all(void **state)
{
    static const uint8_t elsewhere[32] = "another site's";
    struct fk_session_bound others[] = {bound, bound, bound, bound};
    const struct fk_session_kept kept = kept_until(100);
    struct fk_ticket_roots roots = {0}, none = {0};
    uint8_t sealed[FK_SEALED_SESSION], again[FK_SEALED_SESSION];

    (void)state;
    others[0].owner = &other_owner;
    others[1].owner = &signed_owner;
    others[2].ski = other_ski;
    others[3].context = elsewhere;
    assert_err(fk_session_seal(&none, FK_SESSION_OWN, &bound, &kept, 0, sealed),
               FK_ERR_UNAVAILABLE);
    rotate(&roots, 0);
    for (int scope = FK_SESSION_OWN; scope <= FK_SESSION_SHARED; scope++) {
        assert_ok(fk_session_seal(&roots, (enum fk_session_scope)scope, &bound, &kept, 0, sealed));
        assert_int_equal(sealed[0], scope);
        assert_ok(open_with(&roots, sealed, &bound, 99));
        assert_err(open_with(&roots, sealed, &bound, 100), FK_ERR_EXPIRED);
        assert_err(open_with(&none, sealed, &bound, 0), FK_ERR_EXPIRED);
        for (size_t i = 0; i < 4; i++)
            assert_err(open_with(&roots, sealed, &others[i], 0),
                       scope == FK_SESSION_SHARED && i < 2 ? FK_OK : FK_ERR_EXPIRED);
        assert_ok(fk_session_seal(&roots, (enum fk_session_scope)scope, &bound, &kept, 0, again));
        assert_memory_not_equal(sealed + 5, again + 5, 12); /* a nonce of its own */
    }
}

static void any_other_byte_does_not_open(void **state)
{
    const struct fk_session_kept kept = kept_until(100);
    struct fk_ticket_roots roots = {0};
    uint8_t sealed[FK_SEALED_SESSION + 1] = {0};
    struct fk_session_kept ret;

    (void)state;
    rotate(&roots, 0);
    assert_ok(fk_session_seal(&roots, FK_SESSION_OWN, &bound, &kept, 0, sealed));
    for (size_t i = 0; i < FK_SEALED_SESSION; i++) {
        sealed[i] ^= 1;
        assert_err(open_with(&roots, sealed, &bound, 0), FK_ERR_EXPIRED);
        sealed[i] ^= 1;
    }
    for (size_t len = 0; len <= FK_SEALED_SESSION + 1; len++)
        assert_err(fk_session_open(&roots, fk_item(sealed, len), &bound, 0, &ret),
                   len == FK_SEALED_SESSION ? FK_OK : FK_ERR_EXPIRED);
}

/* Its secret opens for a life, and seals a quarter of it. */
static void it_ends_with_its_secret(void **state)
{
    const struct fk_session_kept kept = kept_until(UINT64_MAX);
    struct fk_ticket_roots roots = {0};
    uint8_t sealed[FK_SEALED_SESSION];
    struct fk_session_kept ret;

    (void)state;
    rotate(&roots, 0);
    assert_ok(fk_session_seal(&roots, FK_SESSION_SHARED, &bound, &kept, 0, sealed));
    for (uint64_t now = 0; now < LIFE; now += LIFE / 8) {
        rotate(&roots, now);
        assert_ok(fk_session_open(&roots, fk_item(sealed, FK_SEALED_SESSION), &bound, now, &ret));
    }
    assert_err(fk_session_open(&roots, fk_item(sealed, FK_SEALED_SESSION), &bound, LIFE, &ret),
               FK_ERR_EXPIRED);
}

/* --- the operations --- */

static void give_roots(struct bench *bench)
{
    uint8_t wire[FK_TICKET_ROOTS_WIRE_MAX];
    struct fk_ticket_roots roots = {0};

    rotate(&roots, fk_clock_us());
    assert_ok(fk_ops_take_roots(bench->ops, wire, fk_ticket_roots_encode(&roots, wire)));
}

/* What the client has; and KEYS_KEEP of a full handshake. */
struct session {
    uint8_t master[48], sealed[FK_SEALED_SESSION];
    size_t sealed_len;
};

static void prf(const struct fk_prf_input *input, uint8_t *ret, size_t len)
{
    struct fk_prf_maker *maker;

    assert_ok(fk_prf_maker_new(&maker));
    assert_ok(fk_prf_run(maker, input, ret, len));
    fk_prf_maker_free(maker);
}

static void client_master(const struct client *client, const struct fk_keys_op *op, uint8_t ret[48])
{
    const struct fk_prf_input input = {.prf = op->derivation.prf,
                                       .secret = client->secret,
                                       .secret_len = client->secret_len,
                                       .label = "extended master secret",
                                       .seed = {op->derivation.seed}};

    prf(&input, ret, 48);
}

static int send_keep(struct bench *bench, const struct fk_keep_op *op)
{
    const struct asked asked = {.edge = 1, .key = P256, .opcode = FK_OP_KEYS_KEEP};
    uint8_t payload[1024];
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, payload, sizeof payload);
    fk_keep_op_encode(op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return bench_ask(bench, &asked, payload, len);
}

/* By edge 1 with the EC key. */
static int keep(struct bench *bench, enum fk_session_scope scope, uint32_t lifetime_s,
                struct session *ret)
{
    const struct fk_agree_init init = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_KEPT);
    struct fk_keep_op op = {.scope = scope, .lifetime_s = lifetime_s};
    struct fk_keep_answer answer;
    struct fk_agree_made made;
    struct client client;
    int err;

    client_init(&client, FK_AGREE_X25519);
    assert_ok(bench_init(bench, 1, P256, &init));
    made = bench_made(bench, &init);
    client_agree(&client, made.params);
    memcpy(op.context, context, sizeof op.context);
    op.keys = (struct fk_keys_op){
        .source = {.kind = FK_PREMASTER_AGREED, .agreed = {.share = client.share}},
        .derivation = {.prf = FK_PRF_SHA256, .ems = true, .seed = fk_item(hash, 32)},
        .suite = 0xc02b};
    memcpy(op.keys.source.agreed.handle, made.handle, FK_HANDLE_SIZE);
    client_master(&client, &op.keys, ret->master);
    if ((err = send_keep(bench, &op)) == FK_OK) {
        assert_ok(fk_keep_answer_decode(fk_item(bench->ret, bench->len), &answer));
        assert_int_equal(answer.keys.key_block.left, 40);
        ret->sealed_len = answer.sealed.left;
        assert_true(answer.sealed.left == 0 || answer.sealed.left == FK_SEALED_SESSION);
        if (answer.sealed.left > 0)
            memcpy(ret->sealed, answer.sealed.next, answer.sealed.left);
    }
    EVP_PKEY_free(client.key);
    return err;
}

static int resume_as(struct bench *bench, uint8_t edge, int key, const struct session *session,
                     const uint8_t server_random[32])
{
    const struct asked asked = {.edge = edge, .key = key, .opcode = FK_OP_RESUME};
    struct fk_resume_op op = {.sealed = fk_item(session->sealed, FK_SEALED_SESSION)};
    uint8_t payload[256];
    struct fk_writer out;
    size_t len;

    memcpy(op.context, context, sizeof op.context);
    memcpy(op.random_seed, seed, sizeof op.random_seed);
    memcpy(op.client_random, client_random, sizeof op.client_random);
    memcpy(op.server_random, server_random, sizeof op.server_random);
    fk_writer_init(&out, payload, sizeof payload);
    fk_resume_op_encode(&op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return bench_ask(bench, &asked, payload, len);
}

static int resume(struct bench *bench, uint8_t edge, int key, const struct session *session)
{
    uint8_t random[32];

    assert_ok(fk_fresh_random(seed, random));
    return resume_as(bench, edge, key, session, random);
}

static int finished(struct bench *bench, const uint8_t handle[FK_HANDLE_SIZE],
                    enum fk_finished_end end)
{
    const struct asked asked = {.edge = 1, .key = P256, .opcode = FK_OP_FINISHED};
    struct fk_finished_op op = {.end = end, .hash = fk_item(hash, 32)};
    uint8_t payload[128];
    struct fk_writer out;
    size_t len;

    memcpy(op.handle, handle, sizeof op.handle);
    fk_writer_init(&out, payload, sizeof payload);
    fk_finished_op_encode(&op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return bench_ask(bench, &asked, payload, len);
}

static void assert_derived(const uint8_t *actual, size_t len, const struct session *session,
                           const char *label, struct fk_reader first, struct fk_reader second)
{
    const struct fk_prf_input input = {.prf = FK_PRF_SHA256,
                                       .secret = session->master,
                                       .secret_len = 48,
                                       .label = label,
                                       .seed = {first, second}};
    uint8_t expected[128];

    prf(&input, expected, len);
    assert_memory_equal(actual, expected, len);
}

/* New keys of the same master secret, and its Finished: the server's first. */
static void resumed_with_new_keys(void **state)
{
    uint8_t random[32], handle[FK_HANDLE_SIZE];
    struct fk_resume_answer answer;
    struct session session;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS, NULL);
    give_roots(&bench);
    assert_ok(keep(&bench, FK_SESSION_OWN, 60, &session));
    assert_int_equal(session.sealed_len, FK_SEALED_SESSION);
    assert_ok(fk_fresh_random(seed, random));
    for (int time = 0; time < 2; time++) { /* as often as the client comes */
        assert_ok(resume(&bench, 1, P256, &session));
        assert_ok(fk_resume_answer_decode(fk_item(bench.ret, bench.len), &answer));
        assert_int_equal(answer.key_block.left, 40);
        assert_derived(answer.key_block.next, 40, &session, "key expansion", fk_item(random, 32),
                       fk_item(client_random, 32));
        memcpy(handle, answer.handle, sizeof handle);
        assert_ok(finished(&bench, handle, FK_FINISHED_SERVER));
        assert_derived(bench.ret, 12, &session, "server finished", fk_item(hash, 32),
                       fk_item(NULL, 0));
        assert_err(finished(&bench, handle, FK_FINISHED_SERVER), FK_ERR_EXPIRED);
        assert_ok(finished(&bench, handle, FK_FINISHED_CLIENT));
        assert_derived(bench.ret, 12, &session, "client finished", fk_item(hash, 32),
                       fk_item(NULL, 0));
        assert_err(finished(&bench, handle, FK_FINISHED_CLIENT), FK_ERR_EXPIRED);
    }
    bench_close(&bench);
}

/* The edge says which random it has made; one of another seed has been recorded. */
static void with_a_random_of_its_seed(void **state)
{
    struct fk_resume_answer answer;
    struct session session;
    uint8_t random[32];
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS, NULL);
    give_roots(&bench);
    assert_ok(keep(&bench, FK_SESSION_OWN, 60, &session));
    assert_ok(fk_fresh_random(seed, random));
    fk_fresh_mark(random);
    assert_ok(resume_as(&bench, 1, P256, &session, random));
    assert_ok(fk_resume_answer_decode(fk_item(bench.ret, bench.len), &answer));
    assert_derived(answer.key_block.next, 40, &session, "key expansion", fk_item(random, 32),
                   fk_item(client_random, 32));
    for (size_t i = 0; i < sizeof random; i++) {
        random[i] ^= 1;
        assert_err(resume_as(&bench, 1, P256, &session, random), FK_ERR_REPLAY);
        random[i] ^= 1;
    }
    bench_close(&bench);
}

static void for_its_edge_and_key_only(void **state)
{
    struct session own, shared;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS | FK_PERM_TICKETS, NULL);
    give_roots(&bench);
    assert_ok(keep(&bench, FK_SESSION_OWN, 60, &own));
    assert_ok(keep(&bench, FK_SESSION_SHARED, 60, &shared));
    assert_err(resume(&bench, 2, P256, &own), FK_ERR_EXPIRED);
    assert_err(resume(&bench, 1, ED, &own), FK_ERR_EXPIRED);
    assert_ok(resume(&bench, 1, P256, &own));
    assert_ok(resume(&bench, 2, P256, &shared));
    assert_err(resume(&bench, 2, ED, &shared), FK_ERR_EXPIRED);
    give_roots(&bench); /* all secrets are new ones: nothing from before is resumed */
    assert_err(resume(&bench, 1, P256, &own), FK_ERR_EXPIRED);
    assert_err(resume(&bench, 1, P256, &shared), FK_ERR_EXPIRED);
    bench_close(&bench);
}

static void nothing_is_sealed_without_secrets(void **state)
{
    struct session session = {.sealed_len = 1};
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS, NULL);
    assert_ok(keep(&bench, FK_SESSION_OWN, 60, &session));
    assert_int_equal(session.sealed_len, 0);
    assert_err(resume(&bench, 1, P256, &session), FK_ERR_EXPIRED);
    give_roots(&bench);
    assert_ok(keep(&bench, FK_SESSION_OWN, 0, &session)); /* for no time */
    assert_int_equal(session.sealed_len, 0);
    bench_close(&bench);
}

static void permissions(void **state)
{
    struct session session;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS, NULL); /* no tickets: its own sessions only */
    give_roots(&bench);
    assert_err(keep(&bench, FK_SESSION_SHARED, 60, &session), FK_ERR_DENIED);
    assert_ok(keep(&bench, FK_SESSION_OWN, 60, &session));
    session.sealed[0] = FK_SESSION_SHARED;
    assert_err(resume(&bench, 1, P256, &session), FK_ERR_DENIED);
    bench_close(&bench);
    bench_open(&bench, FK_PERM_MASTER, NULL);
    give_roots(&bench);
    assert_err(keep(&bench, FK_SESSION_OWN, 60, &session), FK_ERR_DENIED);
    assert_err(resume(&bench, 1, P256, &session), FK_ERR_DENIED);
    bench_close(&bench);
}

static int teardown(void **state)
{
    (void)state;
    bench_free_keys();
    return 0;
}

UNIT_MAIN(cmocka_unit_test(sealed_for_one_and_for_all),
          cmocka_unit_test(any_other_byte_does_not_open), cmocka_unit_test(it_ends_with_its_secret),
          cmocka_unit_test(resumed_with_new_keys), cmocka_unit_test(with_a_random_of_its_seed),
          cmocka_unit_test(for_its_edge_and_key_only),
          cmocka_unit_test(nothing_is_sealed_without_secrets),
          cmocka_unit_test_teardown(permissions, teardown))
