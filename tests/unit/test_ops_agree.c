/* signer/ops_agree: mode `agree` at a signer: what is made and signed, for whom it is kept, and
 * what the client's share makes of it. */
#include "agreebench.h"
#include "unit.h"
#include "unit_keys.h"

#include "base/clock.h"
#include "base/writer.h"
#include "keyclient/proof.h"
#include "signer/ops.h"
#include "signer/share.h"
#include "tls/seal.h"
#include "wire/keymsg.h"
#include "wire/keyop_agree.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <unistd.h>

#define ALL_MODES (FK_PERM_AGREE | FK_PERM_MASTER | FK_PERM_KEYS)

/* That the answer is signed as a ServerKeyExchange is. */
static void assert_signed(int key, const char *md, bool pss, const struct fk_agree_init *op,
                          const struct fk_agree_made *made)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t tbs[2048];
    struct fk_writer out;
    EVP_PKEY_CTX *pctx;
    size_t len;

    fk_writer_init(&out, tbs, sizeof tbs);
    fk_writer_bytes(&out, op->client_random, 32);
    fk_writer_bytes(&out, op->server_random, 32);
    fk_writer_bytes(&out, made->params.next, made->params.left);
    assert_ok(fk_writer_end(&out, &len));
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, &pctx, md, NULL, NULL, bench_keys[key], NULL), 1);
    if (pss)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
    assert_int_equal(EVP_DigestVerify(ctx, made->signature.next, made->signature.left, tbs, len),
                     1);
    EVP_MD_CTX_free(ctx);
}

/* --- cases --- */

static const struct {
    int key;
    uint16_t scheme;
    const char *md;
    bool pss;
} schemes[] = {
    {K_RSA, 0x0804, "SHA256", true}, {K_RSA, 0x0601, "SHA512", false},
    {P256, 0x0403, "SHA256", false}, {P256, 0x0503, "SHA384", false},
    {ED, 0x0807, NULL, false},
};

static void a_key_is_made_signed_and_used(void **state)
{
    static const uint16_t groups[] = {FK_AGREE_P256, FK_AGREE_P384, FK_AGREE_X25519};
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_AGREE, NULL);
    for (size_t s = 0; s < sizeof schemes / sizeof schemes[0]; s++)
        for (size_t g = 0; g < 3; g++) {
            const struct fk_agree_init op = init_op(schemes[s].scheme, groups[g], FK_AGREE_KEPT);
            struct fk_agree_made made;
            struct client client;
            uint8_t handle[FK_HANDLE_SIZE];

            client_init(&client, groups[g]);
            assert_ok(bench_init(&bench, 1, schemes[s].key, &op));
            made = bench_made(&bench, &op);
            assert_signed(schemes[s].key, schemes[s].md, schemes[s].pss, &op, &made);
            client_agree(&client, made.params);
            memcpy(handle, made.handle, sizeof handle);
            assert_int_equal(handle[0], 3);
            assert_ok(bench_finish(&bench, 1, schemes[s].key, handle, client.share));
            assert_int_equal(bench.len, client.secret_len);
            assert_memory_equal(bench.ret, client.secret, bench.len);
            EVP_PKEY_free(client.key);
        }
    bench_close(&bench);
}

static void dhe_is_of_rsa_keys(void **state)
{
    static const uint16_t groups[] = {FK_AGREE_FFDHE2048, FK_AGREE_FFDHE3072, FK_AGREE_FFDHE4096};
    uint8_t handle[FK_HANDLE_SIZE], two = 2;
    struct fk_agree_init op;
    struct fk_agree_made made;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_AGREE, NULL);
    for (size_t g = 0; g < 3; g++) {
        op = init_op(0x0401, groups[g], FK_AGREE_KEPT);
        assert_ok(bench_init(&bench, 1, K_RSA, &op));
        made = bench_made(&bench, &op);
        assert_signed(K_RSA, "SHA256", false, &op, &made);
        memcpy(handle, made.handle, sizeof handle);
        assert_ok(bench_finish(&bench, 1, K_RSA, handle, fk_item(&two, 1)));
        assert_in_range(bench.len, 1, fk_agree_group_find(groups[g])->share_len);
        op.scheme = 0x0403;
        assert_err(bench_init(&bench, 1, P256, &op), FK_ERR_UNSUPPORTED);
        op.scheme = 0x0807;
        assert_err(bench_init(&bench, 1, ED, &op), FK_ERR_UNSUPPORTED);
    }
    bench_close(&bench);
}

/* Form 1, [0142]: the edge computes the premaster itself, and no handle is kept. */
static void a_private_value_is_handed_over(void **state)
{
    const struct fk_agree_init op = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_HANDED);
    EVP_PKEY *key, *peer;
    EVP_PKEY_CTX *ctx;
    struct fk_agree_made made;
    struct client client;
    struct bench bench;
    uint8_t secret[32];
    size_t len = sizeof secret;

    (void)state;
    bench_open(&bench, FK_PERM_AGREE, NULL);
    client_init(&client, FK_AGREE_X25519);
    assert_ok(bench_init(&bench, 1, P256, &op));
    made = bench_made(&bench, &op);
    assert_signed(P256, "SHA256", false, &op, &made);
    client_agree(&client, made.params);
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, made.private_value.next,
                                       made.private_value.left);
    peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, client.share.next, 32);
    ctx = EVP_PKEY_CTX_new(key, NULL);
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
    assert_int_equal(EVP_PKEY_derive(ctx, secret, &len), 1);
    assert_memory_equal(secret, client.secret, 32);
    assert_true(fk_ops_end_us(bench.ops) == UINT64_MAX);
    assert_int_equal(fk_ops_handles(bench.ops), 0);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

/* A handle of edge 1 with the EC key. */
static void make_handle(struct bench *bench, uint8_t ret[FK_HANDLE_SIZE])
{
    const struct fk_agree_init op = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_KEPT);

    assert_ok(bench_init(bench, 1, P256, &op));
    memcpy(ret, bench_made(bench, &op).handle, FK_HANDLE_SIZE);
}

static void a_handle_is_for_one_use_by_one_edge(void **state)
{
    uint8_t handle[FK_HANDLE_SIZE], zeros[32] = {0};
    struct client client;
    struct bench bench;

    (void)state;
    bench_open(&bench, FK_PERM_AGREE, NULL);
    client_init(&client, FK_AGREE_X25519);
    make_handle(&bench, handle);
    assert_in_range(fk_ops_end_us(bench.ops) - fk_clock_us(), 1, FK_HANDLE_LIFE_US);
    assert_int_equal(fk_ops_handles(bench.ops), 1);
    assert_err(bench_finish(&bench, 2, P256, handle, client.share), FK_ERR_EXPIRED);
    assert_err(bench_finish(&bench, 1, K_RSA, handle, client.share), FK_ERR_EXPIRED);
    handle[15] ^= 1;
    assert_err(bench_finish(&bench, 1, P256, handle, client.share), FK_ERR_EXPIRED);
    handle[15] ^= 1;
    assert_ok(bench_finish(&bench, 1, P256, handle, client.share));
    assert_err(bench_finish(&bench, 1, P256, handle, client.share), FK_ERR_EXPIRED);
    make_handle(&bench, handle); /* a share that is none uses it up, too */
    assert_err(bench_finish(&bench, 1, P256, handle, fk_item(zeros, 32)), FK_ERR_RANGE);
    assert_err(bench_finish(&bench, 1, P256, handle, client.share), FK_ERR_EXPIRED);
    make_handle(&bench, handle);
    assert_err(bench_finish(&bench, 1, P256, handle, fk_item(zeros, 31)), FK_ERR_FORMAT);
    assert_err(bench_finish(&bench, 1, P256, handle, client.share), FK_ERR_EXPIRED);
    EVP_PKEY_free(client.key);
    bench_close(&bench);
}

static void rights(void **state)
{
    static const struct {
        unsigned permissions;
        bool kept, handed, finish;
    } rows[] = {
        {FK_PERM_AGREE, true, true, true},
        {FK_PERM_MASTER, true, false, false},
        {FK_PERM_KEYS, true, false, false},
        {UNIT_PERM_ALL & ~ALL_MODES, false, false, false},
    };
    struct client client;

    (void)state;
    client_init(&client, FK_AGREE_X25519);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_agree_init op = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_KEPT);
        uint8_t handle[FK_HANDLE_SIZE] = {0};
        struct bench bench;

        bench_open(&bench, rows[i].permissions, NULL);
        assert_err(bench_init(&bench, 1, P256, &op), rows[i].kept ? FK_OK : FK_ERR_DENIED);
        if (rows[i].kept)
            memcpy(handle, bench_made(&bench, &op).handle, sizeof handle);
        assert_err(bench_finish(&bench, 1, P256, handle, client.share),
                   rows[i].finish ? FK_OK : FK_ERR_DENIED);
        op.form = FK_AGREE_HANDED;
        assert_err(bench_init(&bench, 1, P256, &op), rows[i].handed ? FK_OK : FK_ERR_DENIED);
        bench_close(&bench);
    }
    EVP_PKEY_free(client.key);
}

static void only_in_the_name_of_an_edge(void **state)
{
    const struct fk_agree_init op = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_KEPT);
    uint8_t payload[128];
    size_t len = init_payload(&op, payload);
    struct bench bench;

    (void)state;
    bench_open(&bench, ALL_MODES, NULL);
    assert_err(bench_run(&bench, FK_SIGNER_AGREE_INIT, 0, bench_skis[P256], payload, len),
               FK_ERR_DENIED);
    assert_err(bench_run(&bench, FK_SIGNER_AGREE_FINISH, 0, bench_skis[P256], payload, len),
               FK_ERR_DENIED);
    for (enum fk_proc_peer kind = FK_PEER_SIGNER; kind <= FK_PEER_HANDSHAKER; kind++) {
        assert_int_equal(fk_ops_permitted(kind, FK_SIGNER_OWNED), kind == FK_PEER_FRONT);
        assert_false(fk_ops_permitted(kind, FK_SIGNER_AGREE_INIT));
        assert_false(fk_ops_permitted(kind, FK_SIGNER_AGREE_FINISH));
    }
    bench_close(&bench);
}

static void malformed(void **state)
{
    struct fk_agree_init op = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_KEPT);
    struct asked asked = {.edge = 1, .key = P256, .opcode = FK_OP_AGREE_INIT};
    uint8_t payload[128], owned[34 + 69] = {0};
    size_t len = init_payload(&op, payload);
    struct bench bench;

    (void)state;
    bench_open(&bench, ALL_MODES, NULL);
    for (size_t cut = 0; cut < len; cut++)
        assert_err(bench_ask(&bench, &asked, payload, cut), FK_ERR_TRUNCATED);
    assert_err(bench_ask(&bench, &asked, payload, len + 1), FK_ERR_TRAILING);
    for (size_t cut = 0; cut < 34; cut++)
        assert_err(
            bench_run(&bench, FK_SIGNER_OWNED, FK_OP_AGREE_INIT, bench_skis[P256], owned, cut),
            FK_ERR_TRUNCATED);
    op.group = 0x0019;
    assert_err(bench_init(&bench, 1, P256, &op), FK_ERR_UNSUPPORTED);
    op.group = FK_AGREE_P256;
    op.scheme = 0x0804; /* not of this key */
    assert_err(bench_init(&bench, 1, P256, &op), FK_ERR_UNSUPPORTED);
    asked.opcode = 0x47; /* there is none */
    assert_err(bench_ask(&bench, &asked, payload, len), FK_ERR_OPCODE);
    bench_close(&bench);
}

/* --- edges that sign --- */

struct signer_edge {
    struct fk_proof proof;
    uint8_t signature[FK_KEYPROOF_SIGNATURE];
};

static int ask_signed(struct bench *bench, struct signer_edge *edge, uint8_t opcode,
                      const void *payload, size_t payload_len)
{
    struct fk_keymsg msg = {.id = 1, .opcode = opcode, .payload = fk_item(payload, payload_len)};
    uint8_t frame[2048], bytes[FK_SIGNER_PAYLOAD_MAX], none[20] = {0};
    struct fk_writer out;
    struct fk_buf buf;
    size_t len;

    msg.ski = fk_item(bench_skis[P256], 20);
    msg.proof = fk_proof_blank();
    fk_buf_init(&buf, sizeof frame);
    assert_ok(fk_keymsg_encode(&msg, false, &buf));
    len = fk_buf_len(&buf);
    memcpy(frame, fk_buf_data(&buf), len);
    fk_buf_fini(&buf);
    assert_ok(fk_proof_sign(&edge->proof, frame, len, edge->signature));
    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_vec8(&out, "edge1", 5);
    fk_writer_bytes(&out, edge->proof.place.exporter, 32);
    fk_writer_u16(&out, 0); /* no share */
    fk_writer_bytes(&out, frame + FK_FRAME_HEADER, len - FK_FRAME_HEADER);
    assert_ok(fk_writer_end(&out, &len));
    return bench_run(bench, FK_SIGNER_SIGNED, 0, none, bytes, len);
}

static void open_answer(struct bench *bench, const struct signer_edge *edge)
{
    uint8_t plain[FK_SIGNER_RESULT_MAX];
    size_t len;

    assert_ok(fk_proof_open(&edge->proof, edge->signature, fk_item(bench->ret, bench->len), plain,
                            sizeof plain, &len));
    memcpy(bench->ret, plain, len);
    bench->len = len;
}

/* The front cannot go on with what a signed request has begun: the answer would not be sealed. */
static void what_an_edge_signs_for_is_its_own(void **state)
{
    const struct fk_agree_init op = init_op(0x0403, FK_AGREE_X25519, FK_AGREE_KEPT);
    struct fk_keyset_edge facts = {.name = "edge1", .permissions = UNIT_PERM_ALL, .all = true};
    struct signer_edge edge = {.proof = {.place = {.server = "keys1"}}};
    uint8_t payload[600], handle[FK_HANDLE_SIZE];
    struct fk_agree_made made;
    struct client client;
    struct bench bench;
    size_t len;

    (void)state;
    facts.permissions |= FK_PERM_AGREE;
    facts.signs = true;
    bench_open(&bench, FK_PERM_AGREE, &facts);
    edge.proof.key = bench_request_key;
    assert_ok(fk_seal_key_new(&edge.proof.reply, edge.proof.reply_key));
    client_init(&client, FK_AGREE_X25519);
    len = init_payload(&op, payload);
    assert_ok(ask_signed(&bench, &edge, FK_OP_AGREE_INIT, payload, len));
    open_answer(&bench, &edge);
    made = bench_made(&bench, &op);
    client_agree(&client, made.params);
    memcpy(handle, made.handle, sizeof handle);

    /* In whose name ever: the name's hash is no secret. */
    for (unsigned e = 0; e < 256; e++)
        assert_err(bench_finish(&bench, (uint8_t)e, P256, handle, client.share), FK_ERR_EXPIRED);
    {
        uint8_t owned[FK_SIGNER_PAYLOAD_MAX];
        struct fk_writer out;
        uint8_t id[32];
        size_t total;

        assert_int_equal(EVP_Q_digest(NULL, "SHA256", NULL, "edge1", 5, id, NULL), 1);
        len = finish_payload(handle, client.share, payload);
        fk_writer_init(&out, owned, sizeof owned);
        fk_writer_bytes(&out, id, sizeof id);
        fk_writer_u16(&out, 0);
        fk_writer_bytes(&out, payload, len);
        assert_ok(fk_writer_end(&out, &total));
        assert_err(
            bench_run(&bench, FK_SIGNER_OWNED, FK_OP_AGREE_FINISH, bench_skis[P256], owned, total),
            FK_ERR_EXPIRED);
    }
    assert_ok(ask_signed(&bench, &edge, FK_OP_AGREE_FINISH, payload, len));
    assert_int_equal(bench.len, 32 + FK_SEAL_OVERHEAD);
    open_answer(&bench, &edge);
    assert_memory_equal(bench.ret, client.secret, 32);
    EVP_PKEY_free(client.key);
    EVP_PKEY_free(edge.proof.reply);
    bench_close(&bench);
}

/* --- split keys --- */

static void open_share(struct bench *bench, const struct fk_secret *share, unsigned permissions)
{
    struct fk_keyset_builder *builder;
    struct fk_key_public public;
    int fd;

    assert_ok(fk_key_describe(bench_key(P256), &public));
    memcpy(bench_skis[P256], public.ski, 20);
    snprintf(public.name, sizeof public.name, "site");
    public.permissions = (uint16_t)permissions;
    assert_ok(fk_keyset_builder_new(&builder));
    assert_ok(fk_keyset_builder_add_share(builder, &public, share));
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    *bench = (struct bench){.len = 0};
    assert_ok(fk_keyset_open(fd, &bench->set));
    close(fd);
    assert_ok(fk_ops_new(bench->set, 0, 1, &bench->ops));
}

/* The first step signs and needs the other share; the second does not. */
static void with_a_split_key(void **state)
{
    const struct fk_agree_init op = init_op(0x0403, FK_AGREE_P256, FK_AGREE_KEPT);
    struct fk_signer_request request = {.op = FK_SIGNER_SHARE};
    struct asked asked = {.edge = 1, .key = P256, .opcode = FK_OP_AGREE_INIT};
    uint8_t about[1 + 128] = {FK_OP_AGREE_INIT}, *payload = about + 1, handle[FK_HANDLE_SIZE];
    struct bench server, edge;
    struct fk_secret *shares[2];
    struct fk_agree_made made;
    struct client client;
    size_t len = init_payload(&op, payload);

    (void)state;
    assert_ok(fk_share_split(bench_key(P256), 2, 2, shares));
    open_share(&server, shares[0], FK_PERM_AGREE);
    open_share(&edge, shares[1], FK_PERM_SHARE);
    client_init(&client, FK_AGREE_P256);
    assert_err(bench_init(&server, 1, P256, &op), FK_ERR_SHARE_MISSING);
    request.len = (uint32_t)(1 + len);
    memcpy(request.ski, bench_skis[P256], 20);
    assert_ok(fk_ops_run(edge.ops, &request, about, edge.ret, &edge.len));
    asked.share = fk_item(edge.ret, edge.len);
    assert_ok(bench_ask(&server, &asked, payload, len));
    made = bench_made(&server, &op);
    assert_signed(P256, "SHA256", false, &op, &made);
    client_agree(&client, made.params);
    memcpy(handle, made.handle, sizeof handle);
    assert_ok(bench_finish(&server, 1, P256, handle, client.share));
    assert_memory_equal(server.ret, client.secret, 32);
    EVP_PKEY_free(client.key);
    fk_secret_free(shares[0]);
    fk_secret_free(shares[1]);
    bench_close(&edge);
    bench_close(&server);
}

static int teardown(void **state)
{
    (void)state;
    bench_free_keys();
    return 0;
}

UNIT_MAIN(cmocka_unit_test(a_key_is_made_signed_and_used), cmocka_unit_test(dhe_is_of_rsa_keys),
          cmocka_unit_test(a_private_value_is_handed_over),
          cmocka_unit_test(a_handle_is_for_one_use_by_one_edge), cmocka_unit_test(rights),
          cmocka_unit_test(only_in_the_name_of_an_edge), cmocka_unit_test(malformed),
          cmocka_unit_test(what_an_edge_signs_for_is_its_own),
          cmocka_unit_test_teardown(with_a_split_key, teardown))
