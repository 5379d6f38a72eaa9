/* signer/ops_split: operations with split keys, by two signers that hold a share each. */
#include "unit.h"
#include "unit_keys.h"

#include "base/writer.h"
#include "signer/ops.h"
#include "signer/share.h"
#include "wire/keymsg.h"
#include "wire/keyop_keys13.h"
#include "wire/keyop_resume.h"
#include "wire/keyop_agree.h"

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
    struct fk_secret *shares[3]; /* the third NULL: two are all */
    struct side server, edge;    /* share 1, share 2 */
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

static void world_init_with(struct world *world, const char *kind, bool additive)
{
    struct fk_key_public public;

    *world = (struct world){.key = NULL};
    world->key = unit_key(kind);
    assert_ok(fk_key_describe(world->key, &public));
    memcpy(world->ski, public.ski, sizeof world->ski);
    assert_ok(additive ? fk_share_split_additive(world->key, world->shares)
                       : fk_share_split(world->key, 2, 3, world->shares));
    side_init(&world->server, world->key, world->shares[0], UNIT_PERM_ALL);
    side_init(&world->edge, world->key, world->shares[1], UNIT_PERM_ALL);
}

static void world_init(struct world *world, const char *kind)
{
    world_init_with(world, kind, false);
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

/* The edge's share for an operation. */
static int ask_share(struct world *world, struct side *side, uint8_t opcode, const void *payload,
                     size_t len)
{
    uint8_t bytes[FK_SIGNER_PAYLOAD_MAX] = {opcode};

    memcpy(bytes + 1, payload, len);
    return run(world, side, FK_SIGNER_SHARE, 0, bytes, 1 + len);
}

/* A request with it. */
static size_t make_request(struct world *world, uint8_t opcode, const void *payload, size_t len)
{
    struct fk_writer writer;
    size_t total;

    assert_ok(ask_share(world, &world->edge, opcode, payload, len));
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

static int run_split(struct world *world, uint8_t opcode, const void *payload, size_t len)
{
    size_t total = make_request(world, opcode, payload, len);

    return run(world, &world->server, FK_SIGNER_SPLIT, opcode, world->request, total);
}

/* Good padding and bad: the same answers as those of a signer with the whole key. */
static void check_decryption(bool additive)
{
    uint8_t payload[512], first[48];
    struct fk_decrypt op = {.client_version = 0x0303};
    struct fk_writer writer;
    struct world world;
    struct side whole;
    uint8_t ciphertext[256];
    size_t len;

    world_init_with(&world, "rsa2048", additive);
    side_init(&whole, world.key, NULL, UNIT_PERM_ALL);
    for (int bad = 0; bad < 3; bad++) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, world.key, NULL);
        size_t size = sizeof ciphertext;
        uint8_t premaster[48] = {3, 3, 42};

        assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
        assert_int_equal(EVP_PKEY_encrypt(ctx, ciphertext, &size, premaster, 48 - (size_t)bad), 1);
        EVP_PKEY_CTX_free(ctx);
        if (bad == 2) /* not below the modulus */
            memset(ciphertext, 0xff, sizeof ciphertext);
        fk_reader_init(&op.ciphertext, ciphertext, size);
        fk_writer_init(&writer, payload, sizeof payload);
        fk_decrypt_encode(&op, &writer);
        assert_ok(fk_writer_end(&writer, &len));
        assert_ok(run(&world, &whole, FK_SIGNER_DECRYPT, 0, payload, len));
        memcpy(first, whole.ret, 48);
        assert_ok(run_split(&world, FK_OP_DECRYPT, payload, len));
        assert_int_equal(world.server.len, 48);
        assert_memory_equal(world.server.ret, first, 48);
        if (!bad)
            assert_memory_equal(first, premaster, 48);
    }
    side_fini(&whole);
    world_fini(&world);
}

static void decryption_answers_as_a_whole_key_does(void **state)
{
    (void)state;
    check_decryption(false);
    check_decryption(true);
}

/* --- additive shares --- */

static size_t sign12(uint16_t scheme, uint8_t ret[256])
{
    static const uint8_t params[36] = {3, 0, 29, 32, 9}; /* X25519 */
    struct fk_sign12 op = {.scheme = scheme, .kx = FK_KX_ECDHE, .client_random = {7}};
    struct fk_writer writer;
    size_t len;

    fk_reader_init(&op.params, params, sizeof params);
    fk_writer_init(&writer, ret, 256);
    fk_sign12_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return len;
}

/* All schemes of RSA in both versions, past the use of a blinding; PSS never alike, PKCS#1 as the
 * whole key has it. */
static void additive_shares_sign(void **state)
{
    static const uint16_t rsa[] = {0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601};
    uint8_t payload[256], first[256];
    struct world world;
    struct side whole;

    (void)state;
    world_init_with(&world, "rsa2048", true);
    side_init(&whole, world.key, NULL, UNIT_PERM_ALL);
    for (int times = 0; times < 7; times++)
        for (size_t i = 0; i < 6; i++) {
            size_t len = sign12(rsa[i], payload);

            assert_ok(run_split(&world, FK_OP_SIGN12, payload, len));
            assert_int_equal(world.server.len, 256);
            memcpy(first, world.server.ret, 256);
            assert_ok(run_split(&world, FK_OP_SIGN12, payload, len));
            assert_int_equal(memcmp(first, world.server.ret, 256) == 0, i >= 3);
            assert_ok(run(&world, &whole, FK_SIGNER_SIGN12, 0, payload, len));
            assert_int_equal(memcmp(first, whole.ret, 256) == 0, i >= 3);
        }
    assert_ok(run_split(&world, FK_OP_SIGN13, payload, sign13(0x0804, 32, payload)));
    assert_true(verifies(&world, 0, &world.server));
    side_fini(&whole);
    world_fini(&world);
}

/* The holder's signer gives its power for what it would sign with the whole key, and nothing else.
 */
static void a_power_is_for_handshakes_that_the_policy_allows(void **state)
{
    struct world world;
    struct side sign, decrypt, none;
    uint8_t payload[256], ciphertext[300] = {3, 3, 1, 0};
    size_t len;

    (void)state;
    world_init_with(&world, "rsa2048", true);
    side_init(&sign, world.key, world.shares[1], FK_PERM_SIGN12 | FK_PERM_SHARE);
    side_init(&decrypt, world.key, world.shares[1], FK_PERM_DECRYPT | FK_PERM_SHARE);
    side_init(&none, world.key, world.shares[1], FK_PERM_SIGN12 | FK_PERM_DECRYPT);
    len = sign12(0x0804, payload);
    assert_ok(ask_share(&world, &sign, FK_OP_SIGN12, payload, len));
    assert_err(ask_share(&world, &decrypt, FK_OP_SIGN12, payload, len), FK_ERR_DENIED);
    assert_err(ask_share(&world, &none, FK_OP_SIGN12, payload, len), FK_ERR_DENIED);
    assert_err(ask_share(&world, &sign, FK_OP_DECRYPT, ciphertext, 4 + 256), FK_ERR_DENIED);
    assert_ok(ask_share(&world, &decrypt, FK_OP_DECRYPT, ciphertext, 4 + 256));
    assert_err(ask_share(&world, &decrypt, FK_OP_DECRYPT, ciphertext, 4 + 255), FK_ERR_TRUNCATED);
    assert_err(ask_share(&world, &sign, FK_OP_SIGN12, payload, len - 1), FK_ERR_TRUNCATED);
    for (unsigned opcode = 0; opcode < 256; opcode++)
        if (opcode != FK_OP_SIGN12 && opcode != FK_OP_SIGN13 && opcode != FK_OP_DECRYPT)
            assert_err(ask_share(&world, &sign, (uint8_t)opcode, payload, len), FK_ERR_OPCODE);
    len = sign12(0x0403, payload);
    assert_err(ask_share(&world, &sign, FK_OP_SIGN12, payload, len), FK_ERR_UNSUPPORTED);
    side_fini(&sign);
    side_fini(&decrypt);
    side_fini(&none);
    world_fini(&world);
}

/* Who asks for a share gets no power, and the other way round. */
static void each_kind_is_asked_for_by_its_name(void **state)
{
    static const uint16_t names[] = {FK_OP_SHARE, FK_OP_PARTIAL};
    uint8_t bytes[1 + 256] = {FK_OP_SIGN12};
    size_t len = 1 + sign12(0x0401, bytes + 1);
    struct world world;

    (void)state;
    for (int additive = 0; additive < 2; additive++) {
        world_init_with(&world, "rsa2048", additive);
        for (int i = 0; i < 2; i++)
            assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, names[i], bytes, len),
                       i == additive ? FK_OK : FK_ERR_UNSUPPORTED);
        world_fini(&world);
    }
}

/* Nothing but the right power makes a result: not of another operation, splitting or number. */
static void wrong_powers_make_no_signature(void **state)
{
    uint8_t payload[256], other[256];
    struct fk_secret *again[2];
    struct world world;
    struct side side;
    size_t len = sign12(0x0401, payload), total;

    (void)state;
    world_init_with(&world, "rsa2048", true);
    memcpy(other, payload, len);
    other[10] ^= 1;
    total = make_request(&world, FK_OP_SIGN12, payload, len);
    memcpy(world.request + total - len, other, len);
    assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN12, world.request, total),
               FK_ERR_SHARE_WRONG);
    total = make_request(&world, FK_OP_SIGN12, payload, len);
    world.request[2 + FK_KEYSHARE_HEAD + 40] ^= 1;
    assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN12, world.request, total),
               FK_ERR_SHARE_WRONG);
    assert_ok(fk_share_split_additive(world.key, again));
    side_init(&side, world.key, again[1], UNIT_PERM_ALL);
    assert_ok(ask_share(&world, &side, FK_OP_SIGN12, payload, len));
    memcpy(world.request + 2, side.ret, side.len);
    assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN12, world.request, total),
               FK_ERR_SHARE_FOREIGN);
    assert_err(run(&world, &world.server, FK_SIGNER_SIGN12, 0, payload, len), FK_ERR_SHARE_MISSING);
    side_fini(&side);
    fk_secret_free(again[0]);
    fk_secret_free(again[1]);
    world_fini(&world);
}

/* A holder whose exponent is not what was split, as a fault or a lie would have it: the power comes
 * sealed as it should, and the product is looked at. */
static void a_power_that_lies_is_found_out(void **state)
{
    struct fk_share_power power = {.size = 256};
    uint8_t payload[256], plain[400], item[FK_SHARE_ITEM_MAX], binding[FK_SHARE_BINDING];
    size_t len = sign12(0x0804, payload), plain_len, item_len, total;
    struct fk_reader reader;
    struct fk_writer writer;
    struct world world;
    struct fk_share share;

    (void)state;
    world_init_with(&world, "rsa2048", true);
    fk_reader_init(&reader, fk_secret_bytes(world.shares[1]), fk_secret_len(world.shares[1]));
    assert_ok(fk_share_decode(reader, &share));
    assert_ok(fk_share_binding(FK_OP_SIGN12, world.ski, payload, len, binding));
    for (size_t salt = 0; salt <= 48; salt += 16) { /* 32 is right, but the power is not */
        power.salt_len = salt;
        power.power[255] = 2;
        fk_writer_init(&writer, plain, sizeof plain);
        fk_share_power_encode(&power, &writer);
        assert_ok(fk_writer_end(&writer, &plain_len));
        fk_reader_init(&reader, plain, plain_len);
        assert_ok(fk_share_seal(&share, reader, binding, item, &item_len));
        fk_writer_init(&writer, world.request, sizeof world.request);
        fk_writer_vec16(&writer, item, item_len);
        fk_writer_bytes(&writer, payload, len);
        assert_ok(fk_writer_end(&writer, &total));
        assert_err(run(&world, &world.server, FK_SIGNER_SPLIT, FK_OP_SIGN12, world.request, total),
                   FK_ERR_SHARE_WRONG);
    }
    world_fini(&world);
}

static void shares_are_for_one_operation(void **state)
{
    uint8_t payload[256], other[128];
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
    total = make_request(&world, FK_OP_SIGN12, payload, sign12(0x0403, payload));
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

/* Those that may use the key, of which what they make is kept for an edge. */
static bool is_for_edges(unsigned opcode)
{
    return opcode == FK_OP_AGREE_INIT || opcode == FK_OP_MASTER || opcode == FK_OP_KEYS ||
           opcode == FK_OP_KEYS_KEEP || opcode == FK_OP_EXPOSE || opcode == FK_OP_FLIGHT13;
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
        total = make_request(&world, FK_OP_SIGN13, payload, len);
        assert_err(
            run(&world, &world.server, FK_SIGNER_SPLIT, (uint16_t)opcode, world.request, total),
            is_for_edges(opcode)   ? FK_ERR_SHARE_WRONG /* sealed for another operation */
            : opcode == FK_OP_LEND ? FK_ERR_DENIED      /* is not lent */
                                   : FK_ERR_OPCODE);
    }
    /* Share 1 is sealed for nobody; a whole key has none. */
    assert_err(ask_share(&world, &world.server, FK_OP_SIGN13, payload, len), FK_ERR_UNSUPPORTED);
    assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, 0, payload, 0), FK_ERR_TRUNCATED);
    assert_err(ask_share(&world, &world.edge, FK_OP_SIGN13, payload, len - 1), FK_ERR_TRUNCATED);
    assert_true(fk_ops_permitted(FK_PEER_FRONT, FK_SIGNER_SPLIT));
    assert_false(fk_ops_permitted(FK_PEER_WORKER, FK_SIGNER_SPLIT));
    assert_true(fk_ops_permitted(FK_PEER_WORKER, FK_SIGNER_SHARE));
    assert_true(fk_ops_permitted(FK_PEER_FRONT, FK_SIGNER_SHARE));
    assert_false(fk_ops_permitted(FK_PEER_HANDSHAKER, FK_SIGNER_SHARE));
    assert_false(fk_ops_permitted(FK_PEER_AUDIT, FK_SIGNER_SHARE));
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
    assert_err(ask_share(&world, &whole, FK_OP_SIGN13, payload, len), FK_ERR_UNSUPPORTED);
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
    struct fk_writer writer;
    size_t total;

    assert_ok(ask_share(world, &world->edge, FK_OP_HS_OPEN, digest, FK_SHARE_DIGEST));
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

/* A power is for what is known when it is made: not for what a handshake or another step brings. */
static void handshakes_and_steps_have_no_powers(void **state)
{
    static const uint8_t digest[FK_SHARE_DIGEST] = "of an HS_OPEN";
    const struct fk_agree_init init = {.scheme = 0x0804, .group = FK_AGREE_X25519};
    struct fk_signer_request bare = {.op = FK_SIGNER_SIGN13};
    uint8_t payload[128], owned[256] = {0};
    size_t len = sign13(0x0804, 32, payload), total;
    struct fk_writer writer;
    struct world world;

    (void)state;
    world_init_with(&world, "rsa2048", true);
    assert_err(ask_share(&world, &world.edge, FK_OP_HS_OPEN, digest, sizeof digest), FK_ERR_OPCODE);
    total = make_request(&world, FK_OP_SIGN13, payload, len);
    memmove(world.request + sizeof digest, world.request, total);
    memcpy(world.request, digest, sizeof digest);
    total += sizeof digest;
    assert_err(serve(&world, &world.server, FK_PEER_HANDSHAKER, FK_OP_SIGN13, total),
               FK_ERR_UNSUPPORTED);
    bare.len = (uint32_t)len;
    memcpy(bare.ski, world.ski, sizeof bare.ski);
    assert_err(fk_ops_serve(world.server.ops, FK_PEER_HANDSHAKER, &bare, payload, world.server.ret,
                            &world.server.len),
               FK_ERR_UNSUPPORTED);
    assert_err(run(&world, &world.server, FK_SIGNER_SIGN13, 0, payload, len), FK_ERR_SHARE_MISSING);

    fk_writer_init(&writer, payload, sizeof payload);
    fk_agree_init_encode(&init, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    assert_err(ask_share(&world, &world.edge, FK_OP_AGREE_INIT, payload, len), FK_ERR_OPCODE);
    for (uint16_t share_len = 0; share_len < 2; share_len++) {
        fk_writer_init(&writer, owned + 32, sizeof owned - 32);
        fk_writer_vec16(&writer, digest, share_len);
        fk_writer_bytes(&writer, payload, len);
        assert_ok(fk_writer_end(&writer, &total));
        assert_err(run(&world, &world.server, FK_SIGNER_OWNED, FK_OP_AGREE_INIT, owned, 32 + total),
                   FK_ERR_UNSUPPORTED);
    }
    world_fini(&world);
}

/* Of HS_OPEN the digest, of others a request that uses the key; and one that goes on with a handle,
 * as FLIGHT13 always does. */
static size_t write_step(uint8_t opcode, enum fk_premaster_kind kind, uint8_t ret[700])
{
    static const uint8_t share[256] = {9}, digest[32] = "a digest";
    static const char transcript[] =
        "\x01\0\0\x23\3\3random of 32 bytes for this test\0" /* ClientHello, as far as is read */
        "\2\0\0\0\x08\0\0\0\x0b\0\0\0"; /* ServerHello, EncryptedExtensions, Certificate */
    const struct fk_agree_init init = {.scheme = 0x0403, .group = FK_AGREE_X25519};
    struct fk_keep_op keep = {
        .lifetime_s = 1,
        .keys = {.source = {.kind = kind}, .derivation = {.prf = FK_PRF_SHA256, .ems = true}}};
    struct fk_flight13 flight = {.scheme = 0x0403};
    struct fk_master_op master;
    struct fk_writer writer;
    size_t len;

    fk_reader_init(&flight.transcript, transcript, sizeof transcript - 1);
    keep.keys.source.agreed.share = fk_item(share, 32);
    keep.keys.source.rsa =
        (struct fk_decrypt){.client_version = 0x0303, .ciphertext = fk_item(share, sizeof share)};
    keep.keys.derivation.seed = fk_item(digest, sizeof digest);
    master = (struct fk_master_op){keep.keys.source, keep.keys.derivation};
    fk_writer_init(&writer, ret, 700);
    if (opcode == FK_OP_HS_OPEN)
        fk_writer_bytes(&writer, digest, sizeof digest);
    else if (opcode == FK_OP_AGREE_INIT)
        fk_agree_init_encode(&init, &writer);
    else if (opcode == FK_OP_MASTER)
        fk_master_op_encode(&master, &writer);
    else if (opcode == FK_OP_KEYS_KEEP)
        fk_keep_op_encode(&keep, &writer);
    else if (opcode == FK_OP_FLIGHT13)
        fk_flight13_encode(&flight, &writer);
    else
        fk_keys_op_encode(&keep.keys, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return len;
}

static const struct step {
    uint8_t opcode;
    unsigned needs;
    bool any; /* one of these is enough */
} steps[] = {{FK_OP_AGREE_INIT, FK_PERM_AGREE | FK_PERM_MASTER | FK_PERM_KEYS, true},
             {FK_OP_MASTER, FK_PERM_MASTER, false},
             {FK_OP_KEYS, FK_PERM_KEYS, false},
             {FK_OP_KEYS_KEEP, FK_PERM_KEYS, false},
             {FK_OP_EXPOSE, FK_PERM_KEYS | FK_PERM_EXPOSE, false},
             {FK_OP_FLIGHT13, FK_PERM_KEYS, false},
             {FK_OP_HS_OPEN, FK_PERM_HANDSHAKE, false}};

#define N_STEPS (sizeof steps / sizeof steps[0])

/* For a key server that combines, with a share whose policy is this. */
static int share_by_policy(struct world *world, unsigned permissions, const uint8_t *bytes,
                           size_t len)
{
    struct side side;
    int err;

    side_init(&side, world->key, world->shares[1], permissions | FK_PERM_SHARE);
    err = run(world, &side, FK_SIGNER_SHARE, FK_OP_SHARE, bytes, len);
    side_fini(&side);
    return err;
}

/* The holder's policy has the last word; an edge's own signer has none. */
static void shares_for_steps_are_up_to_the_policy(void **state)
{
    struct world world;
    uint8_t bytes[701];
    size_t len;

    (void)state;
    world_init(&world, "P-256");
    for (size_t i = 0; i < N_STEPS; i++) {
        const struct step *step = &steps[i];

        bytes[0] = step->opcode;
        len = 1 + write_step(step->opcode, FK_PREMASTER_RSA, bytes + 1);
        assert_ok(run(&world, &world.edge, FK_SIGNER_SHARE, 0, bytes, len));
        for (unsigned bit = 1; bit <= UNIT_PERM_ALL; bit <<= 1) {
            assert_err(share_by_policy(&world, UNIT_PERM_ALL & ~bit, bytes, len),
                       bit == FK_PERM_SHARE || (step->needs & bit) == 0 || step->any
                           ? FK_OK
                           : FK_ERR_DENIED);
            assert_err(share_by_policy(&world, bit, bytes, len),
                       (step->any ? (step->needs & bit) != 0 : step->needs == bit) ? FK_OK
                                                                                   : FK_ERR_DENIED);
        }
        for (size_t cut = 1; cut < len; cut++) {
            assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, 0, bytes, cut), FK_ERR_TRUNCATED);
            assert_err(share_by_policy(&world, step->needs, bytes, cut), FK_ERR_TRUNCATED);
        }
        assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, 0, bytes, len + 1), FK_ERR_TRAILING);
    }
    world_fini(&world);
}

/* Of what goes on with a handle, and all others: they are asked for without. */
static void what_needs_no_key_needs_no_share(void **state)
{
    struct world world;
    uint8_t bytes[701];
    size_t len;

    (void)state;
    world_init(&world, "P-256");
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        if (opcode == FK_OP_SIGN13 || opcode == FK_OP_SIGN12 || opcode == FK_OP_DECRYPT ||
            opcode == FK_OP_AGREE_INIT || opcode == FK_OP_FLIGHT13 || opcode == FK_OP_HS_OPEN)
            continue;
        bytes[0] = (uint8_t)opcode;
        len = 1 + write_step((uint8_t)opcode, FK_PREMASTER_AGREED, bytes + 1);
        assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, 0, bytes, len), FK_ERR_OPCODE);
        assert_err(run(&world, &world.edge, FK_SIGNER_SHARE, FK_OP_SHARE, bytes, len),
                   FK_ERR_OPCODE);
    }
    world_fini(&world);
}

UNIT_MAIN(cmocka_unit_test(every_key_type_signs_again_and_again),
          cmocka_unit_test(decryption_answers_as_a_whole_key_does),
          cmocka_unit_test(additive_shares_sign),
          cmocka_unit_test(a_power_is_for_handshakes_that_the_policy_allows),
          cmocka_unit_test(each_kind_is_asked_for_by_its_name),
          cmocka_unit_test(wrong_powers_make_no_signature),
          cmocka_unit_test(a_power_that_lies_is_found_out),
          cmocka_unit_test(shares_are_for_one_operation),
          cmocka_unit_test(a_share_alone_does_nothing),
          cmocka_unit_test(requests_are_believed_nothing),
          cmocka_unit_test(a_whole_key_needs_no_share),
          cmocka_unit_test(every_key_type_signs_in_a_handshake),
          cmocka_unit_test(a_handshakes_share_is_for_it_alone),
          cmocka_unit_test(handshakes_and_steps_have_no_powers),
          cmocka_unit_test(shares_for_steps_are_up_to_the_policy),
          cmocka_unit_test(what_needs_no_key_needs_no_share))
