/* signer/ops_lend, ops_lent, lend: a key goes from one signer to another, sealed, for a time. */
#include "unit.h"
#include "unit_keys.h"

#include "base/clock.h"
#include "base/writer.h"
#include "signer/lend.h"
#include "signer/ops.h"
#include "wire/keymsg.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <unistd.h>

static const char *const kinds[] = {"rsa2048", "P-256", "P-384", "P-521", "ed25519"};
static const uint16_t schemes[] = {0x0804, 0x0403, 0x0503, 0x0603, 0x0807};
static const char *const digests[] = {"SHA256", "SHA256", "SHA384", "SHA512", NULL};

/* A signer. */
struct side {
    struct fk_keyset *set;
    struct fk_ops *ops;
    uint8_t ret[FK_SIGNER_RESULT_MAX];
    size_t len;
};

struct world {
    EVP_PKEY *key, *lend_key;
    uint8_t ski[20];
    struct side server, edge;
    uint8_t request[FK_LEND_SIZE];
    uint8_t answer[FK_LEND_ANSWER_MAX];
    size_t answer_len;
    uint8_t borrow[FK_SIGNER_PAYLOAD_MAX];
};

/* How the key server's signer was configured. */
struct rule {
    uint16_t key, edge; /* permissions */
    bool borrows, other_keys;
};

static const struct rule open_rule = {UNIT_PERM_ALL, UNIT_PERM_ALL, true, false};

static void side_open(struct side *side, struct fk_keyset_builder *builder)
{
    int fd;

    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    assert_ok(fk_keyset_open(fd, &side->set));
    close(fd);
    assert_ok(fk_ops_new(side->set, 0, 1, &side->ops));
}

static void side_fini(struct side *side)
{
    fk_ops_free(side->ops);
    fk_keyset_free(side->set);
}

static void init_server(struct world *world, const struct rule *rule)
{
    static const uint8_t others[1][20] = {{1}};
    struct fk_keyset_edge edge = {.name = "edge1",
                                  .borrows = rule->borrows,
                                  .permissions = rule->edge,
                                  .all = !rule->other_keys};
    struct fk_keyset_builder *builder;
    const struct fk_keyset_edge other = {.name = "edge2",
                                         .borrows = true,
                                         .lend_key = {9},
                                         .permissions = UNIT_PERM_ALL,
                                         .all = true};
    size_t len = sizeof edge.lend_key;

    assert_int_equal(EVP_PKEY_get_raw_public_key(world->lend_key, edge.lend_key, &len), 1);
    if (rule->other_keys) {
        edge.skis = others;
        edge.n_skis = 1;
    }
    assert_ok(fk_keyset_builder_new(&builder));
    unit_bundle_add(builder, "site", world->key, rule->key, world->ski);
    assert_ok(fk_keyset_builder_edge(builder, &edge));
    assert_ok(fk_keyset_builder_edge(builder, &other));
    side_open(&world->server, builder);
}

static void init_edge(struct world *world)
{
    struct fk_keyset_builder *builder;
    uint8_t private[FK_LEND_KEY];
    size_t len = sizeof private;

    assert_int_equal(EVP_PKEY_get_raw_private_key(world->lend_key, private, &len), 1);
    assert_ok(fk_keyset_builder_new(&builder));
    fk_keyset_builder_lend_key(builder, private);
    side_open(&world->edge, builder);
}

static void world_init(struct world *world, const char *kind, const struct rule *rule)
{
    world->key = unit_key(kind);
    world->lend_key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    assert_non_null(world->lend_key);
    init_server(world, rule);
    init_edge(world);
}

static void world_fini(struct world *world)
{
    side_fini(&world->server);
    side_fini(&world->edge);
    EVP_PKEY_free(world->key);
    EVP_PKEY_free(world->lend_key);
    assert_int_equal(ERR_peek_error(), 0);
}

static int run(const struct world *world, struct side *side, uint16_t op, uint16_t detail,
               const void *payload, size_t len)
{
    struct fk_signer_request request = {.len = (uint32_t)len, .op = op, .detail = detail};

    memcpy(request.ski, world->ski, sizeof request.ski);
    side->len = 0;
    return fk_ops_run(side->ops, &request, payload, side->ret, &side->len);
}

/* --- the steps of a lending --- */

static void ask(struct world *world, uint32_t seconds)
{
    struct fk_writer writer;
    uint8_t bytes[4];

    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_writer_u32(&writer, seconds);
    assert_ok(run(world, &world->edge, FK_SIGNER_LEND_ASK, 0, bytes, sizeof bytes));
    assert_int_equal(world->edge.len, FK_LEND_SIZE);
    memcpy(world->request, world->edge.ret, FK_LEND_SIZE);
}

/* By the front, which says that the edge of this name asks. */
static int lend_as(struct world *world, const char *name)
{
    uint8_t payload[64 + FK_LEND_SIZE];
    struct fk_writer writer;
    size_t len;
    int err;

    fk_writer_init(&writer, payload, sizeof payload);
    fk_writer_vec8(&writer, name, strlen(name));
    fk_writer_bytes(&writer, world->request, FK_LEND_SIZE);
    assert_ok(fk_writer_end(&writer, &len));
    err = run(world, &world->server, FK_SIGNER_LEND, FK_OP_LEND, payload, len);
    if (err != FK_OK)
        return err;
    assert_true(world->server.len <= sizeof world->answer);
    memcpy(world->answer, world->server.ret, world->server.len);
    world->answer_len = world->server.len;
    return FK_OK;
}

static int lend(struct world *world)
{
    return lend_as(world, "edge1");
}

static int borrow(struct world *world, uint16_t opcode, const void *payload, size_t len)
{
    struct fk_writer writer;
    size_t total;

    fk_writer_init(&writer, world->borrow, sizeof world->borrow);
    fk_writer_bytes(&writer, world->request + FK_LEND_KEY, FK_LEND_KEY);
    fk_writer_vec16(&writer, world->answer, world->answer_len);
    fk_writer_bytes(&writer, payload, len);
    assert_ok(fk_writer_end(&writer, &total));
    return run(world, &world->edge, FK_SIGNER_BORROW, opcode, world->borrow, total);
}

static size_t sign13(uint16_t scheme, uint8_t ret[128])
{
    struct fk_sign13 op = {.scheme = scheme, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_writer writer;
    size_t len;

    memset(op.hash, 'h', op.hash_len);
    fk_writer_init(&writer, ret, 128);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return len;
}

static bool verifies(const struct world *world, size_t i)
{
    struct fk_sign13 op = {.scheme = schemes[i], .role = FK_ROLE_SERVER, .hash_len = 32};
    const struct side *side = &world->edge;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t tbs[FK_SIGN13_TBS_MAX];
    EVP_PKEY_CTX *pctx;
    size_t len;
    bool ok;

    memset(op.hash, 'h', 32);
    fk_sign13_tbs(&op, tbs, &len);
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, &pctx, digests[i], NULL, NULL, world->key, NULL),
                     1);
    if (i == 0)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
    ok = EVP_DigestVerify(ctx, side->ret, side->len, tbs, len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

/* --- cases --- */

static void every_key_type_is_lent_and_used(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct world world;
        uint8_t payload[128];
        size_t len = sign13(schemes[i], payload);

        world_init(&world, kinds[i], &open_rule);
        assert_err(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len),
                   FK_ERR_KEY_NOT_FOUND);
        ask(&world, 60);
        assert_ok(lend(&world));
        assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
        assert_true(verifies(&world, i));
        for (int times = 0; times < 3; times++) {
            assert_ok(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len));
            assert_true(verifies(&world, i));
        }
        world_fini(&world);
    }
}

/* RSA-4096 is the longest that there is. */
static void the_longest_key_fits(void **state)
{
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0804, payload);

    (void)state;
    world_init(&world, "rsa4096", &open_rule);
    ask(&world, 60);
    assert_ok(lend(&world));
    assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
    assert_true(verifies(&world, 0));
    world_fini(&world);
}

static void decryption_answers_as_the_key_server_does(void **state)
{
    struct fk_decrypt op = {.client_version = 0x0303};
    uint8_t payload[512], ciphertext[256], first[48];
    struct fk_writer writer;
    struct world world;
    size_t len;

    (void)state;
    world_init(&world, "rsa2048", &open_rule);
    ask(&world, 60);
    assert_ok(lend(&world));
    for (int bad = 0; bad < 2; bad++) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, world.key, NULL);
        size_t size = sizeof ciphertext;
        uint8_t premaster[48] = {3, 3, 42};

        assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
        assert_int_equal(EVP_PKEY_encrypt(ctx, ciphertext, &size, premaster, 48 - (size_t)bad), 1);
        EVP_PKEY_CTX_free(ctx);
        fk_reader_init(&op.ciphertext, ciphertext, size);
        fk_writer_init(&writer, payload, sizeof payload);
        fk_decrypt_encode(&op, &writer);
        assert_ok(fk_writer_end(&writer, &len));
        assert_ok(run(&world, &world.server, FK_SIGNER_DECRYPT, 0, payload, len));
        memcpy(first, world.server.ret, sizeof first);
        assert_ok(bad ? run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_DECRYPT, payload, len)
                      : borrow(&world, FK_OP_DECRYPT, payload, len));
        assert_int_equal(world.edge.len, 48);
        assert_memory_equal(world.edge.ret, first, 48);
        if (!bad)
            assert_memory_equal(first, premaster, 48);
    }
    world_fini(&world);
}

static void a_key_for_one_operation_is_gone_after_it(void **state)
{
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0403, payload);

    (void)state;
    world_init(&world, "P-256", &open_rule);
    for (int times = 0; times < 2; times++) {
        ask(&world, 0);
        assert_ok(lend(&world));
        assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
        assert_true(verifies(&world, 1));
        assert_err(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len),
                   FK_ERR_KEY_NOT_FOUND);
    }
    world_fini(&world);
}

static void a_key_is_gone_when_its_time_is_over(void **state)
{
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0403, payload);
    uint64_t before = fk_clock_us(), end;

    (void)state;
    world_init(&world, "P-256", &open_rule);
    assert_true(fk_ops_end_us(world.edge.ops) == UINT64_MAX);
    ask(&world, 20);
    assert_ok(lend(&world));
    assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
    end = fk_ops_end_us(world.edge.ops);
    assert_in_range(end, before + 20000000, fk_clock_us() + 20000000);
    fk_ops_expire(world.edge.ops, end - 1);
    assert_ok(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len));
    fk_ops_expire(world.edge.ops, end);
    assert_err(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len),
               FK_ERR_KEY_NOT_FOUND);
    assert_true(fk_ops_end_us(world.edge.ops) == UINT64_MAX);
    /* So is what was asked for and never came. */
    ask(&world, 20);
    assert_ok(lend(&world));
    fk_ops_expire(world.edge.ops, fk_ops_end_us(world.edge.ops));
    assert_err(borrow(&world, FK_OP_SIGN13, payload, len), FK_ERR_EXPIRED);
    world_fini(&world);
}

static void nobody_has_it_for_longer_than_an_hour(void **state)
{
    struct fk_lend_answer answer;
    struct fk_reader reader;
    struct world world;

    (void)state;
    world_init(&world, "P-256", &open_rule);
    ask(&world, UINT32_MAX);
    assert_ok(lend(&world));
    fk_reader_init(&reader, world.answer, world.answer_len);
    assert_ok(fk_lend_answer_decode(reader, &answer));
    assert_int_equal(answer.seconds, FK_LEND_SECONDS_MAX);
    world_fini(&world);
}

/* The same key again takes the place of the first; the table holds as many as it says. */
static void a_key_that_comes_again_is_kept_once(void **state)
{
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0403, payload);

    (void)state;
    world_init(&world, "P-256", &open_rule);
    for (int times = 0; times < 3; times++) {
        ask(&world, 60 - (uint32_t)times);
        assert_ok(lend(&world));
        assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
    }
    fk_ops_expire(world.edge.ops, fk_clock_us() + 60000000 - 1000000);
    assert_err(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len),
               FK_ERR_KEY_NOT_FOUND);
    world_fini(&world);
}

/* Changed anywhere, it does not open; and an ask is over with the first answer to it. */
static void what_is_changed_on_the_way_is_refused(void **state)
{
    struct world world;
    uint8_t payload[128], good[FK_LEND_ANSWER_MAX];
    size_t len = sign13(0x0403, payload);

    (void)state;
    world_init(&world, "P-256", &open_rule);
    for (size_t at = 0;; at += 7) {
        ask(&world, 60);
        assert_ok(lend(&world));
        if (at >= world.answer_len)
            break;
        memcpy(good, world.answer, world.answer_len);
        world.answer[at] ^= 0x40;
        assert_int_not_equal(borrow(&world, FK_OP_SIGN13, payload, len), FK_OK);
        memcpy(world.answer, good, world.answer_len);
        assert_err(borrow(&world, FK_OP_SIGN13, payload, len), FK_ERR_EXPIRED);
    }
    assert_err(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len),
               FK_ERR_KEY_NOT_FOUND);
    world_fini(&world);
}

/* An answer to another ask, and one for another edge's key. */
static void answers_are_for_one_ask_of_one_edge(void **state)
{
    struct world world, other;
    uint8_t payload[128], request[FK_LEND_SIZE];
    size_t len = sign13(0x0403, payload);

    (void)state;
    world_init(&world, "P-256", &open_rule);
    ask(&world, 60);
    memcpy(request, world.request, sizeof request);
    ask(&world, 60);
    assert_ok(lend(&world));
    memcpy(world.request, request, sizeof request);
    assert_err(borrow(&world, FK_OP_SIGN13, payload, len), FK_ERR_VERIFY);
    world_init(&other, "P-256", &open_rule);
    ask(&world, 60);
    memcpy(other.request, world.request, sizeof other.request);
    assert_err(lend(&other), FK_ERR_DENIED); /* it does not know this edge */
    world_fini(&other);
    world_fini(&world);
}

/* An edge's channel and another's lend key get nothing, nor does a front that asks for itself. */
static void an_edge_borrows_by_its_own_lend_key(void **state)
{
    static const char *const others[] = {"edge2", "edge3", "edge", ""};
    struct world world;

    (void)state;
    world_init(&world, "P-256", &open_rule);
    ask(&world, 60);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_err(lend_as(&world, others[i]), FK_ERR_DENIED);
    for (size_t i = 0; i < FK_LEND_SIZE; i++) /* without a name, or cut short behind it */
        assert_int_not_equal(
            run(&world, &world.server, FK_SIGNER_LEND, FK_OP_LEND, world.request, i), FK_OK);
    assert_ok(lend(&world));
    memset(world.request, 0, FK_LEND_KEY); /* a front's own */
    world.request[0] = 8;
    assert_err(lend(&world), FK_ERR_DENIED);
    world.request[0] = 9; /* and that of another edge, which may have the key, too */
    assert_err(lend(&world), FK_ERR_DENIED);
    assert_ok(lend_as(&world, "edge2"));
    world_fini(&world);
}

static void rules_are_the_key_servers(void **state)
{
    static const struct rule refused[] = {
        {UNIT_PERM_ALL & ~FK_PERM_LEND, UNIT_PERM_ALL, true, false},
        {UNIT_PERM_ALL, UNIT_PERM_ALL & ~FK_PERM_LEND, true, false},
        {UNIT_PERM_ALL, UNIT_PERM_ALL, false, false},
        {UNIT_PERM_ALL, UNIT_PERM_ALL, true, true},
    };
    struct world world;

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        world_init(&world, "P-256", &refused[i]);
        ask(&world, 60);
        assert_err(lend(&world), FK_ERR_DENIED);
        world_fini(&world);
    }
}

/* What key and edge may not, a key that is lent may not either. */
static void a_key_is_lent_for_what_is_permitted(void **state)
{
    static const struct rule rules[] = {
        {UNIT_PERM_ALL & ~FK_PERM_SIGN13, UNIT_PERM_ALL, true, false},
        {UNIT_PERM_ALL, FK_PERM_LEND | FK_PERM_SIGN12, true, false},
    };
    struct fk_lend_answer answer;
    struct fk_reader reader;
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0403, payload);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        world_init(&world, "P-256", &rules[i]);
        ask(&world, 60);
        assert_ok(lend(&world));
        fk_reader_init(&reader, world.answer, world.answer_len);
        assert_ok(fk_lend_answer_decode(reader, &answer));
        assert_int_equal(answer.permissions,
                         i == 0 ? FK_PERM_SIGN12 | FK_PERM_DECRYPT : FK_PERM_SIGN12);
        assert_err(borrow(&world, FK_OP_SIGN13, payload, len), FK_ERR_DENIED);
        assert_err(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len),
                   FK_ERR_DENIED);
        world_fini(&world);
    }
}

/* An edge's signer lends nothing on, and does with a key that is lent what a handshake needs. */
static void requests_are_believed_nothing(void **state)
{
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0403, payload);

    (void)state;
    world_init(&world, "P-256", &open_rule);
    ask(&world, 60);
    assert_ok(lend(&world));
    assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        if (opcode == FK_OP_SIGN13 || opcode == FK_OP_SIGN12 || opcode == FK_OP_DECRYPT)
            continue;
        assert_err(
            run(&world, &world.edge, FK_SIGNER_LENT, (uint16_t)opcode, world.request, FK_LEND_SIZE),
            opcode == FK_OP_AGREE_INIT || opcode == FK_OP_FLIGHT13 ? FK_ERR_DENIED /* no owner */
                                                                   : FK_ERR_OPCODE);
    }
    assert_err(run(&world, &world.edge, FK_SIGNER_SIGN13, 0, payload, len), FK_ERR_KEY_NOT_FOUND);
    for (size_t i = 0; i < 36; i++)
        assert_err(run(&world, &world.edge, FK_SIGNER_BORROW, FK_OP_SIGN13, world.borrow, i),
                   FK_ERR_TRUNCATED);
    assert_err(run(&world, &world.edge, FK_SIGNER_LEND_ASK, 0, payload, 3), FK_ERR_TRUNCATED);
    assert_err(run(&world, &world.edge, FK_SIGNER_LEND_ASK, 0, payload, 5), FK_ERR_TRAILING);
    assert_err(run(&world, &world.server, FK_SIGNER_LEND_ASK, 0, payload, 4), FK_ERR_UNSUPPORTED);
    assert_err(run(&world, &world.server, FK_SIGNER_BORROW, 0, payload, 4), FK_ERR_UNSUPPORTED);
    assert_err(run(&world, &world.server, FK_SIGNER_LENT, 0, payload, 4), FK_ERR_UNSUPPORTED);
    assert_true(fk_ops_permitted(FK_PEER_FRONT, FK_SIGNER_LEND));
    assert_false(fk_ops_permitted(FK_PEER_WORKER, FK_SIGNER_LEND));
    assert_false(fk_ops_permitted(FK_PEER_HANDSHAKER, FK_SIGNER_LEND));
    for (int op = FK_SIGNER_LEND_ASK; op <= FK_SIGNER_LENT; op++) {
        assert_true(fk_ops_permitted(FK_PEER_WORKER, (uint16_t)op));
        assert_false(fk_ops_permitted(FK_PEER_FRONT, (uint16_t)op));
    }
    world_fini(&world);
}

/* Asks and keys have bounds; the newest are there. */
static void tables_are_bounded(void **state)
{
    struct world world;
    uint8_t payload[128], first[FK_LEND_SIZE];
    size_t len = sign13(0x0403, payload);

    (void)state;
    world_init(&world, "P-256", &open_rule);
    ask(&world, 60);
    memcpy(first, world.request, sizeof first);
    for (int i = 0; i < FK_SIGNER_LEND_ASKS_MAX; i++)
        ask(&world, 60);
    assert_ok(lend(&world));
    assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
    memcpy(world.request, first, sizeof first);
    assert_ok(lend(&world));
    assert_err(borrow(&world, FK_OP_SIGN13, payload, len), FK_ERR_EXPIRED);
    world_fini(&world);
}

static void more_keys_than_there_is_room_for(void **state)
{
    struct world world;
    uint8_t payload[128], first_ski[20];
    size_t len = sign13(0x0807, payload);

    (void)state;
    world_init(&world, "ed25519", &open_rule);
    memcpy(first_ski, world.ski, sizeof first_ski);
    for (uint32_t i = 0; i <= FK_SIGNER_LENT_MAX; i++) {
        ask(&world, 60 + i);
        assert_ok(lend(&world));
        assert_ok(borrow(&world, FK_OP_SIGN13, payload, len));
        if (i == FK_SIGNER_LENT_MAX)
            break;
        side_fini(&world.server);
        EVP_PKEY_free(world.key);
        world.key = unit_key("ed25519");
        init_server(&world, &open_rule);
    }
    assert_ok(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len));
    memcpy(world.ski, first_ski, sizeof first_ski);
    assert_err(run(&world, &world.edge, FK_SIGNER_LENT, FK_OP_SIGN13, payload, len),
               FK_ERR_KEY_NOT_FOUND);
    world_fini(&world);
}

static void lend_keys_are_read(void **state)
{
    static const char *const algorithms[] = {"X25519", "ED25519"};
    uint8_t private[FK_LEND_KEY], read[FK_LEND_KEY];

    (void)state;
    for (int i = 0; i < 2; i++) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, algorithms[i]);
        BIO *bio = BIO_new(BIO_s_mem());
        size_t len = sizeof private;
        char *text;
        long size;

        assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
        size = BIO_get_mem_data(bio, &text);
        if (i == 0) {
            assert_int_equal(EVP_PKEY_get_raw_private_key(key, private, &len), 1);
            assert_ok(fk_lend_key_parse(text, (size_t)size, read));
            assert_memory_equal(read, private, sizeof read);
            assert_err(fk_lend_key_parse(text, (size_t)size / 2, read), FK_ERR_FORMAT);
        } else {
            assert_err(fk_lend_key_parse(text, (size_t)size, read), FK_ERR_FORMAT);
        }
        BIO_free(bio);
        EVP_PKEY_free(key);
    }
}

UNIT_MAIN(cmocka_unit_test(every_key_type_is_lent_and_used), cmocka_unit_test(the_longest_key_fits),
          cmocka_unit_test(decryption_answers_as_the_key_server_does),
          cmocka_unit_test(a_key_for_one_operation_is_gone_after_it),
          cmocka_unit_test(a_key_is_gone_when_its_time_is_over),
          cmocka_unit_test(nobody_has_it_for_longer_than_an_hour),
          cmocka_unit_test(a_key_that_comes_again_is_kept_once),
          cmocka_unit_test(what_is_changed_on_the_way_is_refused),
          cmocka_unit_test(answers_are_for_one_ask_of_one_edge),
          cmocka_unit_test(an_edge_borrows_by_its_own_lend_key),
          cmocka_unit_test(rules_are_the_key_servers),
          cmocka_unit_test(a_key_is_lent_for_what_is_permitted),
          cmocka_unit_test(requests_are_believed_nothing), cmocka_unit_test(tables_are_bounded),
          cmocka_unit_test(more_keys_than_there_is_room_for), cmocka_unit_test(lend_keys_are_read))
