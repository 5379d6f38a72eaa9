/* signer/ops_signed: a signer believes the edge's signature and nothing that a front says. */
#include "unit.h"

#include "unit_keys.h"

#include "base/writer.h"
#include "keyclient/proof.h"
#include "signer/ops.h"
#include "signer/share.h"
#include "tls/seal.h"
#include "wire/keymsg.h"
#include "wire/keyop_lend.h"

#include <openssl/err.h>
#include <unistd.h>

enum { K_RSA, K_EC, KEYS };

static const char *const kinds[KEYS] = {"rsa2048", "P-256"};
static EVP_PKEY *keys[KEYS], *request_key;
static uint8_t skis[KEYS][20];

struct bench {
    struct fk_keyset *set;
    struct fk_ops *ops;
    struct fk_proof proof;
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX];
    size_t payload_len;
    struct fk_reader share; /* that the front has got */
    uint8_t signature[FK_KEYPROOF_SIGNATURE];
    uint8_t ret[FK_SIGNER_RESULT_MAX];
    size_t len;
};

static bool no_signatures;           /* edge1's requests are not signed */
static const struct fk_secret *half; /* in the place of the EC key; NULL: that is whole */

static void add_half(struct fk_keyset_builder *builder, EVP_PKEY *key)
{
    struct fk_key_public public;

    assert_ok(fk_key_describe(key, &public));
    (void)snprintf(public.name, sizeof public.name, "half");
    public.permissions = UNIT_PERM_ALL;
    memcpy(skis[K_EC], public.ski, sizeof public.ski);
    assert_ok(fk_keyset_builder_add_share(builder, &public, half));
}

/* edge1 signs and may do what `edge` says; `other`, if any, is known as well. */
static void open_bench_with(struct bench *bench, struct fk_keyset_edge edge,
                            const struct fk_keyset_edge *other, bool only)
{
    struct fk_keyset_builder *builder;
    size_t len = sizeof edge.request_key;
    int fd;

    if (request_key == NULL)
        request_key = unit_key("ed25519");
    assert_ok(fk_keyset_builder_new(&builder));
    for (int k = 0; k < KEYS; k++) {
        if (keys[k] == NULL)
            keys[k] = unit_key(kinds[k]);
        if (k == K_EC && half != NULL)
            add_half(builder, keys[k]);
        else
            unit_bundle_add(builder, kinds[k], keys[k], UNIT_PERM_ALL, skis[k]);
    }
    (void)snprintf(edge.name, sizeof edge.name, "edge1");
    edge.signs = !no_signatures;
    assert_int_equal(EVP_PKEY_get_raw_public_key(request_key, edge.request_key, &len), 1);
    assert_ok(fk_keyset_builder_edge(builder, &edge));
    if (other != NULL)
        assert_ok(fk_keyset_builder_edge(builder, other));
    assert_ok(fk_keyset_builder_signed(builder, "keys1", only));
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    *bench = (struct bench){.proof = {.key = request_key, .place = {.server = "keys1"}}};
    assert_ok(fk_keyset_open(fd, &bench->set));
    close(fd);
    assert_ok(fk_ops_new(bench->set, 0, 1, &bench->ops));
    assert_ok(fk_seal_key_new(&bench->proof.reply, bench->proof.reply_key));
    memset(bench->proof.place.exporter, 0x77, 32);
}

static void open_bench(struct bench *bench, struct fk_keyset_edge edge, bool only)
{
    open_bench_with(bench, edge, NULL, only);
}

static void close_bench(struct bench *bench)
{
    EVP_PKEY_free(bench->proof.reply);
    fk_ops_free(bench->ops);
    fk_keyset_free(bench->set);
    assert_int_equal(ERR_peek_error(), 0);
}

static const struct fk_keyset_edge may_all = {.permissions = UNIT_PERM_ALL, .all = true};

/* What a front hands over: the edge's name, its channel, and the frame's body, which is signed. */
static void make_request(struct bench *bench, uint8_t opcode, int key, const void *payload,
                         size_t len)
{
    struct fk_keymsg msg = {.id = 1, .opcode = opcode, .payload = fk_item(payload, len)};
    uint8_t frame[2048];
    struct fk_writer writer;
    struct fk_buf buf;
    size_t frame_len;

    msg.ski = fk_item(skis[key], 20);
    msg.proof = fk_proof_blank();
    fk_buf_init(&buf, sizeof frame);
    assert_ok(fk_keymsg_encode(&msg, false, &buf));
    frame_len = fk_buf_len(&buf);
    memcpy(frame, fk_buf_data(&buf), frame_len);
    fk_buf_fini(&buf);
    assert_ok(fk_proof_sign(&bench->proof, frame, frame_len, bench->signature));
    fk_writer_init(&writer, bench->payload, sizeof bench->payload);
    fk_writer_vec8(&writer, "edge1", 5);
    fk_writer_bytes(&writer, bench->proof.place.exporter, 32);
    fk_writer_vec16(&writer, bench->share.next, bench->share.left);
    fk_writer_bytes(&writer, frame + FK_FRAME_HEADER, frame_len - FK_FRAME_HEADER);
    assert_ok(fk_writer_end(&writer, &bench->payload_len));
}

static int run(struct bench *bench)
{
    struct fk_signer_request request = {.len = (uint32_t)bench->payload_len,
                                        .op = FK_SIGNER_SIGNED};
    uint8_t *copy = malloc(bench->payload_len + 1);
    int err;

    memcpy(copy, bench->payload, bench->payload_len);
    bench->len = 0;
    err = fk_ops_run(bench->ops, &request, copy, bench->ret, &bench->len);
    free(copy);
    return err;
}

static void make_sign13(struct bench *bench, int key)
{
    struct fk_sign13 op = {
        .scheme = key == K_EC ? 0x0403 : 0x0804, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_writer writer;
    uint8_t payload[64];
    size_t len;

    memset(op.hash, 0x5a, sizeof op.hash);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    make_request(bench, FK_OP_SIGN13, key, payload, len);
}

static void make_decrypt(struct bench *bench, uint8_t premaster[48])
{
    struct fk_decrypt op = {.client_version = 0x0303};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(keys[K_RSA], NULL);
    uint8_t ciphertext[256], payload[300];
    size_t len = sizeof ciphertext;
    struct fk_writer writer;

    for (size_t i = 0; i < 48; i++)
        premaster[i] = i < 2 ? 3 : (uint8_t)(0x60 + i);
    assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_encrypt(ctx, ciphertext, &len, premaster, 48), 1);
    EVP_PKEY_CTX_free(ctx);
    op.ciphertext = fk_item(ciphertext, len);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_decrypt_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    make_request(bench, FK_OP_DECRYPT, K_RSA, payload, len);
}

/* --- cases --- */

static void what_the_edge_asks_is_done(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, may_all, true);
    for (unsigned i = 0; i < 5; i++) {
        make_sign13(&bench, K_EC);
        assert_ok(run(&bench));
        assert_in_range(bench.len, 60, 80); /* a signature is no secret: not sealed */
        assert_int_equal(bench.ret[0], 0x30);
    }
    close_bench(&bench);
}

static void no_front_can_change_it(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, may_all, true);
    make_sign13(&bench, K_EC);
    for (size_t i = 0; i < bench.payload_len; i++) {
        bench.payload[i] ^= 1;
        assert_int_not_equal(run(&bench), FK_OK);
        bench.payload[i] ^= 1;
    }
    for (size_t len = bench.payload_len; bench.payload_len-- > 0; len--)
        assert_int_not_equal(run(&bench), FK_OK);
    close_bench(&bench);
}

/* Also to another key server, under another edge's name, and without a signature at all. */
static void no_front_can_ask_by_itself(void **state)
{
    struct fk_signer_request plain = {.op = FK_SIGNER_SIGN13};
    struct bench bench;
    size_t len;

    (void)state;
    open_bench(&bench, may_all, true);
    bench.proof.place.server = "keys2";
    make_sign13(&bench, K_EC);
    assert_err(run(&bench), FK_ERR_DENIED);
    bench.proof.place.server = "keys1";
    make_sign13(&bench, K_EC);
    memcpy(bench.payload, "\5edge2", 6);
    assert_err(run(&bench), FK_ERR_DENIED);
    memcpy(plain.ski, skis[K_EC], 20);
    assert_err(fk_ops_run(bench.ops, &plain, bench.payload, bench.ret, &len), FK_ERR_DENIED);
    assert_err(fk_ops_serve(bench.ops, FK_PEER_HANDSHAKER, &plain, bench.payload, bench.ret, &len),
               FK_ERR_DENIED);
    close_bench(&bench);

    open_bench(&bench, may_all, false); /* others need not sign: then it is about the form */
    assert_int_not_equal(fk_ops_run(bench.ops, &plain, bench.payload, bench.ret, &len),
                         FK_ERR_DENIED);
    close_bench(&bench);
}

static void again_is_refused(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, may_all, true);
    make_sign13(&bench, K_EC);
    assert_ok(run(&bench));
    assert_err(run(&bench), FK_ERR_REPLAY);
    memset(bench.proof.place.exporter, 0x78, 32); /* another channel has counters of its own */
    bench.proof.counter = 0;
    make_sign13(&bench, K_EC);
    assert_ok(run(&bench));
    assert_err(run(&bench), FK_ERR_REPLAY);
    close_bench(&bench);
}

static void rights_are_the_edges(void **state)
{
    struct fk_keyset_edge edge = {.permissions = FK_PERM_SIGN13};
    uint8_t premaster[48];
    struct bench bench;

    (void)state;
    open_bench(&bench, may_all, true);
    close_bench(&bench); /* the SKIs are known now */
    edge.skis = (const uint8_t(*)[20])skis[K_EC];
    edge.n_skis = 1;
    open_bench(&bench, edge, true);
    make_sign13(&bench, K_EC);
    assert_ok(run(&bench));
    make_sign13(&bench, K_RSA); /* not its key */
    assert_err(run(&bench), FK_ERR_DENIED);
    close_bench(&bench);

    edge = (struct fk_keyset_edge){.permissions = FK_PERM_SIGN13, .all = true};
    open_bench(&bench, edge, true);
    make_sign13(&bench, K_RSA);
    assert_ok(run(&bench));
    make_decrypt(&bench, premaster); /* the key's policy allows it, the edge's block does not */
    assert_err(run(&bench), FK_ERR_DENIED);
    close_bench(&bench);
}

static void secrets_are_sealed(void **state)
{
    uint8_t premaster[48], opened[48];
    struct bench bench;
    size_t len;

    (void)state;
    open_bench(&bench, may_all, true);
    make_decrypt(&bench, premaster);
    assert_ok(run(&bench));
    assert_int_equal(bench.len, 48 + FK_SEAL_OVERHEAD);
    for (size_t i = 0; i + 46 <= bench.len; i++)
        assert_memory_not_equal(bench.ret + i, premaster + 2, 46);
    assert_ok(fk_proof_open(&bench.proof, bench.signature, fk_item(bench.ret, bench.len), opened,
                            sizeof opened, &len));
    assert_int_equal(len, 48);
    assert_memory_equal(opened, premaster, 48);
    bench.signature[0] ^= 1; /* the answer to another request */
    assert_err(fk_proof_open(&bench.proof, bench.signature, fk_item(bench.ret, bench.len), opened,
                             sizeof opened, &len),
               FK_ERR_VERIFY);
    close_bench(&bench);
}

/* Keys are lent to the edge that signs, by its own lend key; another edge's is not enough. */
static void keys_are_lent_to_who_asks(void **state)
{
    static const struct fk_keyset_edge other = {.name = "edge2",
                                                .borrows = true,
                                                .lend_key = {8},
                                                .permissions = UNIT_PERM_ALL,
                                                .all = true};
    struct fk_lend op = {.recipient = {9}, .once = {9}, .seconds = 60};
    struct fk_keyset_edge edge = may_all;
    uint8_t payload[FK_LEND_SIZE];
    struct fk_writer writer;
    struct bench bench;
    size_t len;

    (void)state;
    edge.borrows = true;
    edge.lend_key[0] = 9;
    open_bench_with(&bench, edge, &other, true);
    for (op.recipient[0] = 7; op.recipient[0] <= 9; op.recipient[0]++) {
        fk_writer_init(&writer, payload, sizeof payload);
        fk_lend_encode(&op, &writer);
        assert_ok(fk_writer_end(&writer, &len));
        make_request(&bench, FK_OP_LEND, K_EC, payload, len);
        assert_err(run(&bench), op.recipient[0] == 9 ? FK_OK : FK_ERR_DENIED);
    }
    close_bench(&bench);
}

/* For who signs, a front that is captured can have nothing lent by itself, stolen lend key or not.
 */
static void who_signs_is_lent_nothing_unsigned(void **state)
{
    const struct fk_lend op = {.recipient = {9}, .once = {9}, .seconds = 60};
    struct fk_signer_request request = {.op = FK_SIGNER_LEND, .detail = FK_OP_LEND};
    struct fk_keyset_edge edge = may_all;
    uint8_t payload[6 + FK_LEND_SIZE];
    struct fk_writer writer;
    struct bench bench;
    size_t len;

    (void)state;
    edge.borrows = true;
    edge.lend_key[0] = 9;
    fk_writer_init(&writer, payload, sizeof payload);
    fk_writer_vec8(&writer, "edge1", 5);
    fk_lend_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    request.len = (uint32_t)len;
    for (int i = 0; i < 2; i++) {
        no_signatures = i == 1;
        open_bench(&bench, edge, false);
        no_signatures = false;
        memcpy(request.ski, skis[K_EC], sizeof request.ski);
        assert_err(fk_ops_run(bench.ops, &request, payload, bench.ret, &bench.len),
                   i == 0 ? FK_ERR_DENIED : FK_OK);
        close_bench(&bench);
    }
}

/* An edge whose requests are not signed has no request key that somebody could sign with. */
static void who_does_not_sign_is_refused(void **state)
{
    struct fk_keyset_edge edge = may_all;
    struct bench bench;

    (void)state;
    open_bench_with(&bench, edge, &(struct fk_keyset_edge){.name = "edge2", .signs = true}, true);
    make_sign13(&bench, K_EC);
    assert_ok(run(&bench));
    close_bench(&bench);
    no_signatures = true;
    open_bench_with(&bench, edge, &(struct fk_keyset_edge){.name = "edge2", .signs = true}, true);
    no_signatures = false;
    make_sign13(&bench, K_EC);
    assert_err(run(&bench), FK_ERR_DENIED);
    close_bench(&bench);
}

static size_t put_sign13(uint8_t opcode, uint8_t ret[64])
{
    struct fk_sign13 op = {.scheme = 0x0403, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_writer writer;
    size_t len;

    memset(op.hash, 0x5a, sizeof op.hash);
    fk_writer_init(&writer, ret, 64);
    fk_writer_u8(&writer, opcode);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return len;
}

/* Another key server asks for a share with a signature of its own; that what an edge has signed is
 * carried out with it. */
static void shares_are_asked_for_and_used(void **state)
{
    static const struct fk_keyset_edge sharer = {.permissions = FK_PERM_SHARE, .all = true};
    struct bench holder, combiner;
    struct fk_secret *halves[2];
    uint8_t about[64];
    size_t len = put_sign13(FK_OP_SIGN13, about);

    (void)state;
    open_bench(&holder, may_all, true);
    close_bench(&holder); /* the keys are there now */
    assert_ok(fk_share_split(keys[K_EC], 2, 2, halves));
    half = halves[1];
    open_bench(&holder, sharer, true);
    half = halves[0];
    open_bench(&combiner, may_all, true);
    make_request(&holder, FK_OP_SHARE, K_EC, about, len);
    assert_ok(run(&holder));

    combiner.share = fk_item(holder.ret, holder.len);
    make_sign13(&combiner, K_EC);
    assert_ok(run(&combiner));
    assert_int_equal(combiner.ret[0], 0x30);
    holder.ret[holder.len - 1] ^= 1;
    make_sign13(&combiner, K_EC);
    assert_err(run(&combiner), FK_ERR_SHARE_WRONG);
    combiner.share = fk_item(NULL, 0);
    make_sign13(&combiner, K_EC);
    assert_err(run(&combiner), FK_ERR_SHARE_MISSING);

    assert_err(run(&holder), FK_ERR_REPLAY);
    make_request(&holder, FK_OP_PARTIAL, K_EC, about, len); /* it is no additive one */
    assert_err(run(&holder), FK_ERR_UNSUPPORTED);
    make_request(&holder, FK_OP_SHARE, K_RSA, about, len); /* and that is whole */
    assert_err(run(&holder), FK_ERR_UNSUPPORTED);
    make_sign13(&holder, K_RSA); /* an operation is not for a key server */
    assert_err(run(&holder), FK_ERR_DENIED);
    make_request(&combiner, FK_OP_SHARE, K_EC, about, len); /* share 1 is for nobody */
    assert_err(run(&combiner), FK_ERR_UNSUPPORTED);
    close_bench(&holder);
    half = halves[1];
    open_bench(&holder, (struct fk_keyset_edge){.permissions = FK_PERM_SIGN13, .all = true}, true);
    half = NULL;
    make_request(&holder, FK_OP_SHARE, K_EC, about, len); /* nor a share for an edge */
    assert_err(run(&holder), FK_ERR_DENIED);
    close_bench(&holder);
    close_bench(&combiner);
    fk_secret_free(halves[0]);
    fk_secret_free(halves[1]);
}

static void many_channels_are_remembered(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, may_all, true);
    for (unsigned i = 0; i < 1100; i++) { /* more than there is room for */
        memset(bench.proof.place.exporter, (int)(i & 0xff), 32);
        bench.proof.place.exporter[0] = (uint8_t)(i >> 8);
        bench.proof.counter = i;
        make_sign13(&bench, K_EC);
        assert_ok(run(&bench));
        assert_err(run(&bench), FK_ERR_REPLAY);
    }
    close_bench(&bench);
}

static int teardown(void **state)
{
    (void)state;
    for (int k = 0; k < KEYS; k++)
        EVP_PKEY_free(keys[k]);
    EVP_PKEY_free(request_key);
    return 0;
}

UNIT_MAIN(cmocka_unit_test(what_the_edge_asks_is_done), cmocka_unit_test(no_front_can_change_it),
          cmocka_unit_test(no_front_can_ask_by_itself), cmocka_unit_test(again_is_refused),
          cmocka_unit_test(rights_are_the_edges), cmocka_unit_test(keys_are_lent_to_who_asks),
          cmocka_unit_test(who_signs_is_lent_nothing_unsigned),
          cmocka_unit_test(who_does_not_sign_is_refused), cmocka_unit_test(secrets_are_sealed),
          cmocka_unit_test(shares_are_asked_for_and_used),
          cmocka_unit_test_teardown(many_channels_are_remembered, teardown))
