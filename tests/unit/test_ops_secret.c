/* signer/ops_secret: modes `master` and `keys` at a signer: what is derived, from what, for whom.
 */
#include "agreebench.h"
#include "unit.h"
#include "unit_keys.h"

#include "base/writer.h"
#include "signer/prf.h"
#include "tls/fresh.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

static const uint8_t hash[48] = "the transcript's hash, as long as one may be...";
static const uint8_t random_seed[FK_FRESH_SEED_SIZE] = "of the server's random";
static uint8_t randoms[64];

static struct fk_master_derivation derivation_of(enum fk_prf prf, bool ems)
{
    struct fk_master_derivation derivation = {.prf = prf, .ems = ems};

    memset(randoms, 0xc1, 32);
    assert_ok(fk_fresh_random(random_seed, randoms + 32));
    derivation.seed = ems ? fk_item(hash, fk_prf_size(prf)) : fk_item(randoms, sizeof randoms);
    return derivation;
}

/* What the client derives. */
static void prf(const struct fk_prf_input *input, uint8_t *ret, size_t len)
{
    struct fk_prf_maker *maker;

    assert_ok(fk_prf_maker_new(&maker));
    assert_ok(fk_prf_run(maker, input, ret, len));
    fk_prf_maker_free(maker);
}

static void client_master(const struct fk_master_derivation *derivation, const uint8_t *premaster,
                          size_t len, uint8_t ret[48])
{
    const struct fk_prf_input input = {.prf = derivation->prf,
                                       .secret = premaster,
                                       .secret_len = len,
                                       .label = derivation->ems ? "extended master secret"
                                                                : "master secret",
                                       .seed = {derivation->seed}};

    prf(&input, ret, 48);
}

/* --- sources --- */

/* Of edge 1 with the EC key. */
static void begin(struct bench *bench, struct client *client, struct fk_premaster_source *ret)
{
    const struct fk_agree_init op = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_KEPT);
    struct fk_agree_made made;

    client_init(client, FK_AGREE_X25519);
    assert_ok(bench_init(bench, 1, P256, &op));
    made = bench_made(bench, &op);
    client_agree(client, made.params);
    *ret = (struct fk_premaster_source){.kind = FK_PREMASTER_AGREED,
                                        .agreed = {.share = client->share}};
    memcpy(ret->agreed.handle, made.handle, FK_HANDLE_SIZE);
}

static uint8_t ciphertext[256];

static struct fk_premaster_source rsa_source(const uint8_t premaster[48])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(bench_key(K_RSA), NULL);
    struct fk_premaster_source source = {.kind = FK_PREMASTER_RSA};
    size_t len = sizeof ciphertext;

    assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_encrypt(ctx, ciphertext, &len, premaster, 48), 1);
    EVP_PKEY_CTX_free(ctx);
    source.rsa = (struct fk_decrypt){.client_version = 0x0303, .ciphertext = {ciphertext, len}};
    memcpy(source.random_seed, random_seed, sizeof random_seed);
    return source;
}

/* --- MASTER --- */

static int master(struct bench *bench, uint8_t edge, int key, const struct fk_master_op *op)
{
    const struct asked asked = {.edge = edge, .key = key, .opcode = FK_OP_MASTER};
    uint8_t payload[1024];
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, payload, sizeof payload);
    fk_master_op_encode(op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return bench_ask(bench, &asked, payload, len);
}

static const struct {
    enum fk_prf prf;
    bool ems;
} derivations[] = {
    {FK_PRF_SHA256, false}, {FK_PRF_SHA256, true}, {FK_PRF_SHA384, false}, {FK_PRF_SHA384, true}};
#define N_DERIVATIONS (sizeof derivations / sizeof derivations[0])

static void master_of_an_agreement(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_MASTER, NULL);
    for (size_t i = 0; i < N_DERIVATIONS; i++) {
        struct fk_master_op op = {.derivation =
                                      derivation_of(derivations[i].prf, derivations[i].ems)};
        struct client client;
        uint8_t expected[48];

        begin(&bench, &client, &op.source);
        client_master(&op.derivation, client.secret, client.secret_len, expected);
        assert_err(master(&bench, 2, P256, &op), FK_ERR_EXPIRED);
        assert_err(master(&bench, 1, ED, &op), FK_ERR_EXPIRED);
        assert_ok(master(&bench, 1, P256, &op));
        assert_int_equal(bench.len, 48);
        assert_memory_equal(bench.ret, expected, 48);
        assert_err(master(&bench, 1, P256, &op), FK_ERR_EXPIRED);
        EVP_PKEY_free(client.key);
    }
    bench_close(&bench);
}

static void master_of_rsa(void **state)
{
    uint8_t premaster[48] = {3, 3, 0x77}, expected[48], first[48];
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_MASTER, NULL);
    for (size_t i = 0; i < N_DERIVATIONS; i++) {
        struct fk_master_op op = {.derivation =
                                      derivation_of(derivations[i].prf, derivations[i].ems)};

        op.source = rsa_source(premaster);
        client_master(&op.derivation, premaster, 48, expected);
        assert_ok(master(&bench, 1, K_RSA, &op));
        assert_memory_equal(bench.ret, expected, 48);
        op.source.rsa.client_version = 0x0304; /* what the ClientHello said counts */
        assert_ok(master(&bench, 1, K_RSA, &op));
        assert_memory_not_equal(bench.ret, expected, 48);
        /* Bad padding is answered like good: with a secret that nobody has, the same each time. */
        op.source.rsa.client_version = 0x0303;
        ciphertext[0] = 0;
        ciphertext[100] ^= 1;
        assert_ok(master(&bench, 1, K_RSA, &op));
        memcpy(first, bench.ret, 48);
        assert_memory_not_equal(first, expected, 48);
        assert_ok(master(&bench, 1, K_RSA, &op));
        assert_memory_equal(bench.ret, first, 48);
        assert_err(master(&bench, 1, P256, &op), FK_ERR_UNSUPPORTED);
        op.source.rsa.ciphertext.left--;
        assert_err(master(&bench, 1, K_RSA, &op), FK_ERR_FORMAT);
    }
    bench_close(&bench);
}

/* A permission for one mode is none for another, and none of them one for DECRYPT. */
static void rights_to_a_master_secret(void **state)
{
    const uint8_t premaster[48] = {3, 3};
    const unsigned all = UNIT_PERM_ALL & ~FK_PERM_MASTER;
    struct fk_master_op op = {.derivation = derivation_of(FK_PRF_SHA256, true)};
    struct fk_premaster_source agreed;
    struct client client;
    struct bench bench;

    (void)state;
    bench_open(&bench, all, NULL);
    begin(&bench, &client, &agreed);
    op.source = agreed;
    assert_err(master(&bench, 1, P256, &op), FK_ERR_DENIED);
    op.source = rsa_source(premaster);
    assert_err(master(&bench, 1, K_RSA, &op), FK_ERR_DENIED);
    assert_ok(bench_finish(&bench, 1, P256, agreed.agreed.handle, client.share));
    EVP_PKEY_free(client.key);
    bench_close(&bench);

    bench_open(&bench, FK_PERM_MASTER, NULL);
    begin(&bench, &client, &agreed);
    assert_err(bench_finish(&bench, 1, P256, agreed.agreed.handle, client.share), FK_ERR_DENIED);
    op.source = agreed;
    assert_ok(master(&bench, 1, P256, &op));
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

static void malformed_derivations(void **state)
{
    struct asked asked = {.edge = 1, .key = P256, .opcode = FK_OP_MASTER};
    struct fk_master_op op = {.derivation = derivation_of(FK_PRF_SHA256, true)};
    uint8_t payload[1024] = {0};
    struct client client;
    struct fk_writer out;
    struct bench bench;
    size_t len;

    (void)state;
    bench_open(&bench, FK_PERM_MASTER, NULL);
    begin(&bench, &client, &op.source);
    fk_writer_init(&out, payload, sizeof payload);
    fk_master_op_encode(&op, &out);
    assert_ok(fk_writer_end(&out, &len));
    for (size_t cut = 0; cut < len; cut++)
        assert_err(bench_ask(&bench, &asked, payload, cut), FK_ERR_TRUNCATED);
    assert_err(bench_ask(&bench, &asked, payload, len + 1), FK_ERR_TRAILING);
    assert_err(bench_run(&bench, FK_SIGNER_MASTER, 0, bench_skis[P256], payload, len),
               FK_ERR_DENIED);                          /* in nobody's name */
    assert_ok(bench_ask(&bench, &asked, payload, len)); /* none of these has used the handle up */
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

/* --- KEYS and FINISHED --- */

static const struct {
    uint16_t suite;
    enum fk_prf prf;
    size_t block;
} suites[] = {
    {0xc02b, FK_PRF_SHA256, 40}, {0xc02c, FK_PRF_SHA384, 72}, {0xc02f, FK_PRF_SHA256, 40},
    {0xc030, FK_PRF_SHA384, 72}, {0xcca9, FK_PRF_SHA256, 88}, {0x009c, FK_PRF_SHA256, 40},
    {0x009d, FK_PRF_SHA384, 72}, {0xccaa, FK_PRF_SHA256, 88},
};

static int ask_keys(struct bench *bench, struct asked asked, const struct fk_keys_op *op)
{
    uint8_t payload[1024];
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, payload, sizeof payload);
    fk_keys_op_encode(op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return bench_ask(bench, &asked, payload, len);
}

static int keys(struct bench *bench, uint8_t edge, int key, const struct fk_keys_op *op)
{
    const struct asked asked = {.edge = edge, .key = key, .opcode = FK_OP_KEYS};

    return ask_keys(bench, asked, op);
}

static int expose(struct bench *bench, int key, const struct fk_keys_op *op)
{
    const struct asked asked = {.edge = 1, .key = key, .opcode = FK_OP_EXPOSE};

    return ask_keys(bench, asked, op);
}

static int finished(struct bench *bench, struct asked asked, const uint8_t handle[FK_HANDLE_SIZE],
                    enum fk_finished_end end, size_t hash_len)
{
    struct fk_finished_op op = {.end = end, .hash = fk_item(hash, hash_len)};
    uint8_t payload[128];
    struct fk_writer out;
    size_t len;

    asked.opcode = FK_OP_FINISHED;
    memcpy(op.handle, handle, sizeof op.handle);
    fk_writer_init(&out, payload, sizeof payload);
    fk_finished_op_encode(&op, &out);
    assert_ok(fk_writer_end(&out, &len));
    return bench_ask(bench, &asked, payload, len);
}

static struct fk_keys_op keys_op(uint16_t suite, enum fk_prf number, bool ems)
{
    struct fk_keys_op op = {.derivation = derivation_of(number, ems), .suite = suite};

    memcpy(op.client_random, randoms, 32);
    memcpy(op.server_random, randoms + 32, 32);
    return op;
}

static void assert_keys(const struct fk_keys_answer *answer, enum fk_prf number,
                        const uint8_t secret[48], size_t block)
{
    const struct fk_prf_input input = {
        .prf = number,
        .secret = secret,
        .secret_len = 48,
        .label = "key expansion",
        .seed = {{randoms + 32, 32}, {randoms, 32}}}; /* the server's first */
    uint8_t expected[128];

    prf(&input, expected, block);
    assert_int_equal(answer->key_block.left, block);
    assert_memory_equal(answer->key_block.next, expected, block);
}

static void assert_verify_data(struct fk_reader actual, enum fk_prf number,
                               const uint8_t secret[48], const char *label)
{
    const struct fk_prf_input input = {.prf = number,
                                       .secret = secret,
                                       .secret_len = 48,
                                       .label = label,
                                       .seed = {{hash, fk_prf_size(number)}}};
    uint8_t expected[12];

    prf(&input, expected, sizeof expected);
    assert_int_equal(actual.left, 12);
    assert_memory_equal(actual.next, expected, 12);
}

static const struct asked by_edge1 = {.edge = 1, .key = P256};

static struct fk_keys_answer keys_answer(const struct bench *bench)
{
    struct fk_keys_answer answer;

    assert_ok(fk_keys_answer_decode(fk_item(bench->ret, bench->len), &answer));
    return answer;
}

/* The client's hash is known with the extended master secret, unless it has a certificate. */
static void keys_and_both_finished(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS, NULL);
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        for (int known = 0; known < 2; known++) {
            struct fk_keys_op op = keys_op(suites[i].suite, suites[i].prf, known);
            size_t size = fk_prf_size(op.derivation.prf);
            uint8_t expected[48], handle[FK_HANDLE_SIZE];
            struct fk_keys_answer answer;
            struct client client;

            if (known)
                op.finished_hash = fk_item(hash, size);
            begin(&bench, &client, &op.source);
            client_master(&op.derivation, client.secret, client.secret_len, expected);
            assert_ok(keys(&bench, 1, P256, &op));
            answer = keys_answer(&bench);
            assert_keys(&answer, suites[i].prf, expected, suites[i].block);
            if (known)
                assert_verify_data(answer.verify_data, suites[i].prf, expected, "client finished");
            else
                assert_int_equal(answer.verify_data.left, 0);
            memcpy(handle, answer.handle, sizeof handle);
            assert_err(finished(&bench, by_edge1, handle, FK_FINISHED_CLIENT, size),
                       known ? FK_ERR_EXPIRED : FK_OK);
            if (!known)
                assert_verify_data(fk_item(bench.ret, bench.len), suites[i].prf, expected,
                                   "client finished");
            assert_err(finished(&bench, by_edge1, handle, FK_FINISHED_CLIENT, size),
                       FK_ERR_EXPIRED);
            assert_ok(finished(&bench, by_edge1, handle, FK_FINISHED_SERVER, size));
            assert_verify_data(fk_item(bench.ret, bench.len), suites[i].prf, expected,
                               "server finished");
            assert_err(finished(&bench, by_edge1, handle, FK_FINISHED_SERVER, size),
                       FK_ERR_EXPIRED);
            EVP_PKEY_free(client.key);
        }
    bench_close(&bench);
}

static void keys_of_rsa(void **state)
{
    const uint8_t premaster[48] = {3, 3, 0x44};
    struct fk_keys_op op = keys_op(0x009d, FK_PRF_SHA384, true);
    struct fk_keys_answer answer;
    uint8_t expected[48];
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS, NULL);
    op.source = rsa_source(premaster);
    client_master(&op.derivation, premaster, 48, expected);
    assert_ok(keys(&bench, 1, K_RSA, &op));
    answer = keys_answer(&bench);
    assert_keys(&answer, FK_PRF_SHA384, expected, 72);
    for (size_t i = 0; i + 16 <= bench.len; i++) /* no part of the master secret in it */
        assert_memory_not_equal(bench.ret + i, expected, 16);
    bench_close(&bench);
}

/* What a handle of one stage is good for, it is not at another; nor for others. */
static void finished_is_for_who_got_the_keys(void **state)
{
    struct fk_keys_op op = keys_op(0xc02b, FK_PRF_SHA256, true);
    struct asked other_edge = {.edge = 2, .key = P256}, other_key = {.edge = 1, .key = ED};
    uint8_t handle[FK_HANDLE_SIZE];
    struct client client;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS | FK_PERM_AGREE | FK_PERM_MASTER, NULL);
    begin(&bench, &client, &op.source);
    assert_err(finished(&bench, by_edge1, op.source.agreed.handle, FK_FINISHED_CLIENT, 32),
               FK_ERR_EXPIRED);
    assert_ok(keys(&bench, 1, P256, &op));
    memcpy(handle, keys_answer(&bench).handle, sizeof handle);
    assert_err(finished(&bench, other_edge, handle, FK_FINISHED_SERVER, 32), FK_ERR_EXPIRED);
    assert_err(finished(&bench, other_key, handle, FK_FINISHED_SERVER, 32), FK_ERR_EXPIRED);
    assert_err(finished(&bench, by_edge1, handle, FK_FINISHED_SERVER, 48), FK_ERR_FORMAT);
    assert_err(bench_finish(&bench, 1, P256, handle, client.share), FK_ERR_EXPIRED);
    memcpy(op.source.agreed.handle, handle, sizeof handle);
    assert_err(keys(&bench, 1, P256, &op), FK_ERR_EXPIRED);
    assert_ok(finished(&bench, by_edge1, handle, FK_FINISHED_CLIENT, 32));
    assert_ok(finished(&bench, by_edge1, handle, FK_FINISHED_SERVER, 32));
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

/* Suites that this derives nothing for; the handle is still good after each. */
static void other_suites(void **state)
{
    static const uint16_t others[] = {0xc013, 0xc027, 0x002f, 0x1301, 0x1303, 0xc02c, 0x0000};
    struct fk_keys_op op = keys_op(0xc02b, FK_PRF_SHA256, true);
    struct client client;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS, NULL);
    begin(&bench, &client, &op.source);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        op.suite = others[i];
        assert_err(keys(&bench, 1, P256, &op), FK_ERR_UNSUPPORTED);
    }
    op.suite = 0xc02b;
    assert_ok(keys(&bench, 1, P256, &op));
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

static void rights_to_keys(void **state)
{
    const uint8_t handle[FK_HANDLE_SIZE] = {0};
    struct fk_keys_op op = keys_op(0xc02b, FK_PRF_SHA256, true);
    struct fk_master_op master_op = {.derivation = op.derivation};
    struct client client;
    struct bench bench;

    (void)state;
    bench_open(&bench, UNIT_PERM_ALL & ~FK_PERM_KEYS, NULL);
    begin(&bench, &client, &op.source);
    assert_err(keys(&bench, 1, P256, &op), FK_ERR_DENIED);
    assert_err(finished(&bench, by_edge1, handle, FK_FINISHED_SERVER, 32), FK_ERR_DENIED);
    EVP_PKEY_free(client.key);
    bench_close(&bench);

    bench_open(&bench, FK_PERM_KEYS, NULL);
    begin(&bench, &client, &op.source);
    master_op.source = op.source;
    assert_err(master(&bench, 1, P256, &master_op), FK_ERR_DENIED);
    assert_err(bench_finish(&bench, 1, P256, op.source.agreed.handle, client.share), FK_ERR_DENIED);
    assert_ok(keys(&bench, 1, P256, &op));
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

/* --- EXPOSE --- */

static void assert_exposed(const struct bench *bench, enum fk_prf number, const uint8_t secret[48],
                           size_t block)
{
    struct fk_exposed_answer answer;
    struct fk_keys_answer keys;

    assert_ok(fk_exposed_answer_decode(fk_item(bench->ret, bench->len), &answer));
    assert_memory_equal(answer.master.next, secret, 48);
    keys.key_block = answer.key_block;
    assert_keys(&keys, number, secret, block);
}

static void exposed_with_the_keys(void **state)
{
    const uint8_t premaster[48] = {3, 3, 0x44};
    uint8_t expected[48];
    struct client client;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS | FK_PERM_EXPOSE, NULL);
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        for (int ems = 0; ems < 2; ems++) {
            struct fk_keys_op op = keys_op(suites[i].suite, suites[i].prf, ems);

            begin(&bench, &client, &op.source);
            client_master(&op.derivation, client.secret, client.secret_len, expected);
            assert_ok(expose(&bench, P256, &op));
            assert_exposed(&bench, suites[i].prf, expected, suites[i].block);
            assert_err(expose(&bench, P256, &op), FK_ERR_EXPIRED);
            assert_err(finished(&bench, by_edge1, op.source.agreed.handle, FK_FINISHED_SERVER, 32),
                       FK_ERR_EXPIRED);
            EVP_PKEY_free(client.key);

            op.source = rsa_source(premaster);
            client_master(&op.derivation, premaster, 48, expected);
            assert_ok(expose(&bench, K_RSA, &op));
            assert_exposed(&bench, suites[i].prf, expected, suites[i].block);
        }
    bench_close(&bench);
}

/* A hash has no use, another suite no keys; the handle is still good after each. */
static void malformed_exposure(void **state)
{
    struct fk_keys_op op = keys_op(0xc02b, FK_PRF_SHA256, true);
    struct client client;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_KEYS | FK_PERM_EXPOSE, NULL);
    begin(&bench, &client, &op.source);
    op.finished_hash = fk_item(hash, 32);
    assert_err(expose(&bench, P256, &op), FK_ERR_FORMAT);
    op.finished_hash = fk_item(NULL, 0);
    op.suite = 0x1301;
    assert_err(expose(&bench, P256, &op), FK_ERR_UNSUPPORTED);
    op.suite = 0xc02b;
    assert_ok(expose(&bench, P256, &op));
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

static void rights_to_exposure(void **state)
{
    static const unsigned without[] = {FK_PERM_KEYS, FK_PERM_EXPOSE};
    struct fk_keys_op op = keys_op(0xc02b, FK_PRF_SHA256, true);
    struct client client;
    struct bench bench;

    (void)state;
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
        bench_open(&bench, UNIT_PERM_ALL & ~without[i], NULL);
        begin(&bench, &client, &op.source);
        assert_err(expose(&bench, P256, &op), FK_ERR_DENIED);
        EVP_PKEY_free(client.key);
        bench_close(&bench);
    }
}

/* Who does not know what the server random was made of has recorded it; MASTER with a session hash
 * shows no random. */
static void stale_randoms_of_rsa(void **state)
{
    const uint8_t premaster[48] = {3, 3, 0x44};
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_MASTER | FK_PERM_KEYS | FK_PERM_EXPOSE, NULL);
    for (int ems = 0; ems < 2; ems++) {
        struct fk_keys_op op = keys_op(0x009c, FK_PRF_SHA256, ems);
        struct fk_master_op master_op = {.derivation = op.derivation};

        op.source = rsa_source(premaster);
        for (size_t bit = 0; bit < 8 * sizeof random_seed; bit += 85) {
            op.source.random_seed[bit / 8] ^= (uint8_t)(1U << bit % 8);
            master_op.source = op.source;
            assert_err(keys(&bench, 1, K_RSA, &op), FK_ERR_REPLAY);
            assert_err(expose(&bench, K_RSA, &op), FK_ERR_REPLAY);
            assert_err(master(&bench, 1, K_RSA, &master_op), ems ? FK_OK : FK_ERR_REPLAY);
            op.source.random_seed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        assert_ok(keys(&bench, 1, K_RSA, &op));
        if (ems) { /* of a server that has TLS 1.3 */
            fk_fresh_mark(op.server_random);
            assert_ok(keys(&bench, 1, K_RSA, &op));
        }
        op.server_random[31] ^= 1;
        assert_err(keys(&bench, 1, K_RSA, &op), ems ? FK_ERR_REPLAY : FK_ERR_FORMAT);
    }
    bench_close(&bench);
}

static int teardown(void **state)
{
    (void)state;
    bench_free_keys();
    return 0;
}

UNIT_MAIN(cmocka_unit_test(master_of_an_agreement), cmocka_unit_test(master_of_rsa),
          cmocka_unit_test(rights_to_a_master_secret), cmocka_unit_test(malformed_derivations),
          cmocka_unit_test(keys_and_both_finished), cmocka_unit_test(keys_of_rsa),
          cmocka_unit_test(finished_is_for_who_got_the_keys), cmocka_unit_test(other_suites),
          cmocka_unit_test(rights_to_keys), cmocka_unit_test(exposed_with_the_keys),
          cmocka_unit_test(malformed_exposure), cmocka_unit_test(stale_randoms_of_rsa),
          cmocka_unit_test_teardown(rights_to_exposure, teardown))
