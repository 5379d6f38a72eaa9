/* signer/ops_split: operations with split keys, by two signers that hold a share each. */
#include "unit.h"
#include "unit_keys.h"

#include "base/writer.h"
#include "signer/ops.h"
#include "signer/share.h"
#include "wire/keymsg.h"

#include <openssl/err.h>
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
    EVP_PKEY *key;
    uint8_t ski[20];
    struct fk_secret *shares[3];
    struct side server, edge; /* share 1, share 2 */
    uint8_t request[FK_SIGNER_PAYLOAD_MAX];
};

/* With the share, or with the whole key when there is none. */
static void side_init(struct side *side, EVP_PKEY *key, const struct fk_secret *share,
                      unsigned permissions)
{
    struct fk_keyset_builder *builder;
    struct fk_key_public public;
    uint8_t ski[20];
    int fd;

    assert_ok(fk_keyset_builder_new(&builder));
    if (share == NULL) {
        unit_bundle_add(builder, "site", key, (uint16_t)permissions, ski);
    } else {
        assert_ok(fk_key_describe(key, &public));
        snprintf(public.name, sizeof public.name, "site");
        public.permissions = (uint16_t)permissions;
        assert_ok(fk_keyset_builder_add_share(builder, &public, share));
    }
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

static void world_init(struct world *world, const char *kind)
{
    struct fk_key_public public;

    world->key = unit_key(kind);
    assert_ok(fk_key_describe(world->key, &public));
    memcpy(world->ski, public.ski, sizeof world->ski);
    assert_ok(fk_share_split(world->key, 2, 3, world->shares));
    side_init(&world->server, world->key, world->shares[0], UNIT_PERM_ALL);
    side_init(&world->edge, world->key, world->shares[1], 0);
}

static void world_fini(struct world *world)
{
    side_fini(&world->server);
    side_fini(&world->edge);
    for (int i = 0; i < 3; i++)
        fk_secret_free(world->shares[i]);
    EVP_PKEY_free(world->key);
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

/* The edge's share for an operation, and the request with it. */
static size_t make_request(struct world *world, uint8_t opcode, const void *payload, size_t len)
{
    uint8_t binding[FK_SHARE_BINDING];
    struct fk_writer writer;
    size_t total;

    assert_ok(fk_share_binding(opcode, world->ski, payload, len, binding));
    assert_ok(run(world, &world->edge, FK_SIGNER_SHARE, 0, binding, sizeof binding));
    fk_writer_init(&writer, world->request, sizeof world->request);
    fk_writer_vec16(&writer, world->edge.ret, world->edge.len);
    fk_writer_bytes(&writer, payload, len);
    assert_ok(fk_writer_end(&writer, &total));
    return total;
}

static size_t sign13(uint16_t scheme, size_t hash_len, uint8_t ret[128])
{
    struct fk_sign13 op = {.scheme = scheme, .role = FK_ROLE_SERVER, .hash_len = (uint8_t)hash_len};
    struct fk_writer writer;
    size_t len;

    memset(op.hash, 'h', hash_len);
    fk_writer_init(&writer, ret, 128);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return len;
}

static bool verifies(const struct world *world, size_t i, const struct side *side)
{
    struct fk_sign13 op = {.scheme = schemes[i], .role = FK_ROLE_SERVER, .hash_len = 32};
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

static void every_key_type_signs_again_and_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct world world;
        uint8_t payload[128];
        size_t len = sign13(schemes[i], 32, payload);

        world_init(&world, kinds[i]);
        for (int times = 0; times < 3; times++) {
            size_t total = make_request(&world, FK_OP_SIGN13, payload, len);

            assert_ok(
                run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, total));
            assert_true(verifies(&world, i, &world.server));
        }
        world_fini(&world);
    }
}

/* Good padding and bad: the same answers as those of a signer with the whole key. */
static void decryption_answers_as_a_whole_key_does(void **state)
{
    uint8_t payload[512], first[48];
    struct fk_decrypt op = {.client_version = 0x0303};
    struct fk_writer writer;
    struct world world;
    struct side whole;
    uint8_t ciphertext[256];
    size_t len, total;

    (void)state;
    world_init(&world, "rsa2048");
    side_init(&whole, world.key, NULL, UNIT_PERM_ALL);
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
        assert_ok(run(&world, &whole, FK_SIGNER_DECRYPT, 0, payload, len));
        memcpy(first, whole.ret, 48);
        total = make_request(&world, FK_OP_DECRYPT, payload, len);
        assert_ok(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_DECRYPT, world.request, total));
        assert_int_equal(world.server.len, 48);
        assert_memory_equal(world.server.ret, first, 48);
        if (!bad)
            assert_memory_equal(first, premaster, 48);
    }
    side_fini(&whole);
    world_fini(&world);
}

static void shares_are_for_one_operation(void **state)
{
    uint8_t payload[128], other[128];
    struct world world;
    size_t len = sign13(0x0403, 32, payload), total;

    (void)state;
    world_init(&world, "P-256");
    sign13(0x0403, 32, other);
    other[len - 1] ^= 1;
    total = make_request(&world, FK_OP_SIGN13, payload, len);
    memcpy(world.request + total - len, other, len);
    assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, total),
               FK_ERR_SHARE_WRONG);
    total = make_request(&world, FK_OP_SIGN12, payload, len);
    assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, total),
               FK_ERR_SHARE_WRONG);
    world_fini(&world);
}

static void a_share_alone_does_nothing(void **state)
{
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0403, 32, payload), total;

    (void)state;
    world_init(&world, "P-256");
    assert_err(run(&world, &world.server, FK_SIGNER_SIGN13, 0, payload, len), FK_ERR_SHARE_MISSING);
    assert_err(run(&world, &world.edge, FK_SIGNER_SIGN13, 0, payload, len), FK_ERR_SHARE_MISSING);
    assert_err(run(&world, &world.server, FK_SIGNER_DIALECT1, FK_OP_ECDSA_SHA256, payload, 32),
               FK_ERR_SHARE_MISSING);
    /* An edge's signer with two shares would be a key: the second one is not for it. */
    total = make_request(&world, FK_OP_SIGN13, payload, len);
    assert_err(run(&world, &world.edge, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, total),
               FK_ERR_SHARE_MISSING);
    /* A share of another key. */
    memcpy(world.request + 2 + FK_KEYSHARE_ID, "sixteen bytes...", FK_KEYSHARE_SET);
    assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, total),
               FK_ERR_SHARE_FOREIGN);
    world_fini(&world);
}

/* What keeps something for an edge comes in an edge's name (FK_SIGNER_OWNED). */
static bool is_for_edges(unsigned opcode)
{
    return opcode == FK_OP_AGREE_INIT || opcode == FK_OP_MASTER || opcode == FK_OP_KEYS ||
           opcode == FK_OP_EXPOSE;
}

static void requests_are_believed_nothing(void **state)
{
    struct world world;
    struct side denied;
    uint8_t payload[128];
    size_t len = sign13(0x0403, 32, payload), total;

    (void)state;
    world_init(&world, "P-256");
    side_init(&denied, world.key, world.shares[0], FK_PERM_SIGN12);
    total = make_request(&world, FK_OP_SIGN13, payload, len);
    assert_err(run(&world, &denied, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, total),
               FK_ERR_DENIED);
    for (size_t i = 0; i + len < total; i++)
        assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, i),
                   FK_ERR_TRUNCATED);
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        if (opcode == FK_OP_SIGN13 || opcode == FK_OP_SIGN12 || opcode == FK_OP_DECRYPT)
            continue;
        total = make_request(&world, (uint8_t)opcode, payload, len);
        assert_err(
            run(&world, &world.server, FK_SIGNER_SPLIT, (uint16_t)opcode, world.request, total),
            is_for_edges(opcode) || opcode == FK_OP_LEND ? FK_ERR_DENIED
                                                         : FK_ERR_OPCODE); /* is not lent */
    }
    /* Share 1 is sealed for nobody; a whole key has none. */
    assert_err(run(&world, &world.server, FK_SIGNER_SHARE, 0, payload, FK_SHARE_BINDING),
               FK_ERR_UNSUPPORTED);
    assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, 0, payload, FK_SHARE_BINDING - 1),
               FK_ERR_TRUNCATED);
    assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, 0, payload, FK_SHARE_BINDING + 1),
               FK_ERR_TRAILING);
    assert_true(fk_ops_permitted(FK_PEER_FRONT, FK_SIGNER_SPLIT));
    assert_false(fk_ops_permitted(FK_PEER_WORKER, FK_SIGNER_SPLIT));
    assert_true(fk_ops_permitted(FK_PEER_WORKER, FK_SIGNER_SHARE));
    assert_false(fk_ops_permitted(FK_PEER_FRONT, FK_SIGNER_SHARE));
    side_fini(&denied);
    world_fini(&world);
}

/* The key server still has the original: the share is not needed. */
static void a_whole_key_needs_no_share(void **state)
{
    struct world world;
    struct side whole;
    uint8_t payload[128];
    size_t len = sign13(0x0403, 32, payload), total;

    (void)state;
    world_init(&world, "P-256");
    side_init(&whole, world.key, NULL, UNIT_PERM_ALL);
    total = make_request(&world, FK_OP_SIGN13, payload, len);
    assert_ok(run(&world, &whole, FK_SIGNER_SPLIT, FK_OP_SIGN13, world.request, total));
    assert_true(verifies(&world, 1, &whole));
    assert_err(run(&world, &whole, FK_SIGNER_SHARE, 0, payload, FK_SHARE_BINDING),
               FK_ERR_UNSUPPORTED);
    side_fini(&whole);
    world_fini(&world);
}

/* --- with a handshake --- */

static int serve(const struct world *world, struct side *side, enum fk_proc_peer kind,
                 uint16_t detail, size_t len)
{
    struct fk_signer_request request = {
        .len = (uint32_t)len, .op = FK_SIGNER_SPLIT_OPEN, .detail = detail};

    memcpy(request.ski, world->ski, sizeof request.ski);
    side->len = 0;
    return fk_ops_serve(side->ops, kind, &request, world->request, side->ret, &side->len);
}

/* As a handshaker asks: the digest of HS_OPEN, the share that came with it, the operation. */
static size_t make_open(struct world *world, const uint8_t digest[FK_SHARE_DIGEST],
                        const void *payload, size_t len)
{
    uint8_t binding[FK_SHARE_BINDING];
    struct fk_writer writer;
    size_t total;

    assert_ok(fk_share_binding_open(world->ski, digest, binding));
    assert_ok(run(world, &world->edge, FK_SIGNER_SHARE, 0, binding, sizeof binding));
    fk_writer_init(&writer, world->request, sizeof world->request);
    fk_writer_bytes(&writer, digest, FK_SHARE_DIGEST);
    fk_writer_vec16(&writer, world->edge.ret, world->edge.len);
    fk_writer_bytes(&writer, payload, len);
    assert_ok(fk_writer_end(&writer, &total));
    return total;
}

static void every_key_type_signs_in_a_handshake(void **state)
{
    static const uint8_t digest[FK_SHARE_DIGEST] = "of an HS_OPEN";

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct world world;
        uint8_t payload[128];
        size_t len = sign13(schemes[i], 32, payload), total;

        world_init(&world, kinds[i]);
        total = make_open(&world, digest, payload, len);
        assert_ok(serve(&world, &world.server, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total));
        assert_true(verifies(&world, i, &world.server));
        world_fini(&world);
    }
}

static void a_handshakes_share_is_for_it_alone(void **state)
{
    static const uint8_t digest[FK_SHARE_DIGEST] = "one", other[FK_SHARE_DIGEST] = "other";
    struct side denied, whole;
    struct world world;
    uint8_t payload[128];
    size_t len = sign13(0x0403, 32, payload), total;

    (void)state;
    world_init(&world, "P-256");
    side_init(&denied, world.key, world.shares[0], FK_PERM_SIGN13);
    side_init(&whole, world.key, NULL, UNIT_PERM_ALL);
    total = make_open(&world, digest, payload, len);
    assert_ok(serve(&world, &world.server, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total));
    assert_ok(serve(&world, &whole, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total));
    assert_err(serve(&world, &world.server, FK_PEER_FRONT, FK_OP_SIGN13, total), FK_ERR_DENIED);
    assert_err(serve(&world, &world.server, FK_PEER_WORKER, FK_OP_SIGN13, total), FK_ERR_DENIED);
    assert_err(serve(&world, &denied, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total), FK_ERR_DENIED);
    /* Nothing that a handshaker cannot ask for without it: no lending, above all. */
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        if (opcode == FK_OP_SIGN13 || opcode == FK_OP_SIGN12 || opcode == FK_OP_DECRYPT)
            continue;
        assert_err(serve(&world, &world.server, FK_PEER_HANDSHAKER, (uint16_t)opcode, total),
                   FK_ERR_DENIED);
        assert_err(serve(&world, &whole, FK_PEER_HANDSHAKER, (uint16_t)opcode, total),
                   FK_ERR_DENIED);
    }
    assert_err(serve(&world, &world.edge, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total),
               FK_ERR_SHARE_MISSING);
    for (size_t i = 0; i + len < total; i++)
        assert_err(serve(&world, &world.server, FK_PEER_HANDSHAKER, FK_OP_SIGN13, i),
                   FK_ERR_TRUNCATED);
    memcpy(world.request, other, sizeof other);
    assert_err(serve(&world, &world.server, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total),
               FK_ERR_SHARE_WRONG);
    /* One for a single operation opens in no handshake, and the other way round. */
    total = make_request(&world, FK_OP_SIGN13, payload, len);
    memmove(world.request + sizeof digest, world.request, total);
    memcpy(world.request, digest, sizeof digest);
    assert_err(
        serve(&world, &world.server, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total + sizeof digest),
        FK_ERR_SHARE_WRONG);
    total = make_open(&world, digest, payload, len) - sizeof digest;
    assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN13,
                   memmove(world.request, world.request + sizeof digest, total), total),
               FK_ERR_SHARE_WRONG);
    side_fini(&whole);
    side_fini(&denied);
    world_fini(&world);
}

UNIT_MAIN(cmocka_unit_test(every_key_type_signs_again_and_again),
          cmocka_unit_test(decryption_answers_as_a_whole_key_does),
          cmocka_unit_test(shares_are_for_one_operation),
          cmocka_unit_test(a_share_alone_does_nothing),
          cmocka_unit_test(requests_are_believed_nothing),
          cmocka_unit_test(a_whole_key_needs_no_share),
          cmocka_unit_test(every_key_type_signs_in_a_handshake),
          cmocka_unit_test(a_handshakes_share_is_for_it_alone))
