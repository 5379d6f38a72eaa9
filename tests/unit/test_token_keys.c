/*
 * signer/keyset_token, signer/private: keys in a token as a bundle carries them, and operations
 * whose private half is elsewhere: the same checks, every signature verified, implicit rejection.
 */
#include "softtoken.h"

#include "base/writer.h"
#include "wire/keymsg.h"
#include "wire/keyop.h"
#include "wire/keyop_secret.h"

static const struct fk_token_settings settings = {.name = "hsm",
                                                  .type = FK_TOKEN_PKCS11,
                                                  .sessions = 3,
                                                  .queue = 17,
                                                  .deadline_us = 5000000,
                                                  .module = "/usr/lib/module.so",
                                                  .label = "token label",
                                                  .serial = "0123456789abcdef",
                                                  .has_slot = true,
                                                  .slot = UINT64_MAX,
                                                  .tcti = "device:/dev/tpmrm0",
                                                  .pin = "1234",
                                                  .pin_len = 4,
                                                  .n_paths = 2,
                                                  .paths = {"/var/lib/token", "/dev/token"}};

/* --- bundles --- */

static void bundle_carries_token_and_key(void **state)
{
    EVP_PKEY *key = unit_key("P-256");
    uint8_t ski[20];
    struct fk_keyset *set = soft_set(key, FK_PERM_SIGN13, &settings, ski);
    const struct fk_keyset_entry *entry = fk_keyset_find(set, ski);

    (void)state;
    assert_non_null(entry);
    assert_true(entry->in_token);
    assert_int_equal(EVP_PKEY_eq(entry->pkey, key), 1);
    assert_string_equal(entry->place->label, "label");
    assert_int_equal(entry->place->id_len, 2);
    assert_int_equal(entry->public.permissions, FK_PERM_SIGN13);
    assert_memory_equal(fk_keyset_token(set), &settings, sizeof settings);
    fk_keyset_free(set);
    EVP_PKEY_free(key);
}

static size_t encode(const struct fk_token_place *place, EVP_PKEY *key, uint8_t ret[4096])
{
    size_t len;

    assert_ok(fk_token_key_encode(key, place, ret, 4096, &len));
    return len;
}

static int decode(const uint8_t *bytes, size_t len)
{
    struct fk_token_place *place = NULL;
    EVP_PKEY *key = NULL;
    struct fk_reader reader;
    int err;

    fk_reader_init(&reader, bytes, len);
    if ((err = fk_token_key_decode(reader, &key, &place)) != FK_OK)
        return err;
    EVP_PKEY_free(key);
    OPENSSL_secure_clear_free(place, sizeof *place);
    return FK_OK;
}

static void half_records_are_refused(void **state)
{
    const struct fk_token_place place = {
        .label = "l", .handle = 0x81000001, .file = "f", .file_len = 1};
    EVP_PKEY *key = unit_key("P-256"), *small = EVP_RSA_gen(1024);
    uint8_t bytes[4096];
    size_t len = encode(&place, key, bytes);

    (void)state;
    assert_ok(decode(bytes, len));
    for (size_t i = 0; i < len; i++)
        assert_int_equal(decode(bytes, i), FK_ERR_FORMAT);
    bytes[len] = 0;
    assert_int_equal(decode(bytes, len + 1), FK_ERR_FORMAT);
    bytes[2] ^= 1; /* the SPKI's tag */
    assert_int_equal(decode(bytes, len), FK_ERR_FORMAT);
    len = encode(&place, small, bytes);
    assert_int_equal(decode(bytes, len), FK_ERR_UNSUPPORTED);
    EVP_PKEY_free(small);
    EVP_PKEY_free(key);
}

static void half_settings_are_refused(void **state)
{
    struct fk_token_settings got;
    struct fk_secret *bytes;
    struct fk_reader reader;

    (void)state;
    assert_ok(fk_token_settings_encode(&settings, &bytes));
    for (size_t i = 0; i <= fk_secret_len(bytes); i++) {
        memset(&got, 0, sizeof got);
        fk_reader_init(&reader, fk_secret_bytes(bytes), i);
        assert_int_equal(fk_token_settings_decode(&reader, &got),
                         i == fk_secret_len(bytes) ? FK_OK : FK_ERR_FORMAT);
    }
    assert_memory_equal(&got, &settings, sizeof got);
    fk_secret_free(bytes);
}

/* --- operations --- */

struct soft {
    struct fk_private private;
    EVP_PKEY *key;
    unsigned signs, raws;
    int flip; /* a bit of each signature that comes out wrong; -1: none */
    int err;  /* what it fails with; FK_OK: not */
};

static int sign(struct fk_private *private, const struct fk_private_ask *ask,
                uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    struct soft *soft = fk_container(private, struct soft, private);

    soft->signs++;
    if (soft->err != FK_OK)
        return soft->err;
    assert_ok(soft_sign(soft->key, ask, ret, ret_len));
    if (soft->flip >= 0)
        ret[*ret_len - 1] ^= (uint8_t)(1 << soft->flip);
    return FK_OK;
}

static int raw(struct fk_private *private, const struct fk_private_ask *ask, uint8_t *ret)
{
    struct soft *soft = fk_container(private, struct soft, private);

    soft->raws++;
    return soft->err != FK_OK ? soft->err : soft_raw(soft->key, ask, ret);
}

static const struct fk_private_ops soft_ops = {.verify_all = true, .sign = sign, .raw = raw};

struct bench {
    struct soft soft;
    struct fk_keyset *set;
    struct fk_ops *ops;
    uint8_t ski[20];
    uint8_t ret[FK_SIGNER_RESULT_MAX];
    size_t len;
};

static void open_bench(struct bench *bench, const char *kind, uint16_t permissions)
{
    *bench = (struct bench){.soft = {.private = {&soft_ops}, .flip = -1}};
    bench->soft.key = unit_key(kind);
    bench->set = soft_set(bench->soft.key, permissions, &settings, bench->ski);
    assert_ok(fk_ops_new_private(bench->set, &bench->soft.private, &bench->ops));
}

static void close_bench(struct bench *bench)
{
    fk_ops_free(bench->ops);
    fk_keyset_free(bench->set);
    EVP_PKEY_free(bench->soft.key);
}

static int run(struct bench *bench, uint16_t op, const uint8_t *payload, size_t len)
{
    struct fk_signer_request request = {.len = (uint32_t)len, .op = op};

    memcpy(request.ski, bench->ski, 20);
    return fk_ops_run(bench->ops, &request, payload, bench->ret, &bench->len);
}

static int run_sign13(struct bench *bench, uint16_t scheme)
{
    const struct fk_sign13 op = {
        .scheme = scheme, .role = FK_ROLE_SERVER, .hash = {7}, .hash_len = 32};
    struct fk_writer writer;
    uint8_t payload[128];
    size_t len;

    fk_writer_init(&writer, payload, sizeof payload);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return run(bench, FK_SIGNER_SIGN13, payload, len);
}

static int run_decrypt(struct bench *bench, const uint8_t ciphertext[256])
{
    const struct fk_decrypt op = {.client_version = 0x0303, .ciphertext = {ciphertext, 256}};
    struct fk_writer writer;
    uint8_t payload[512];
    size_t len;

    fk_writer_init(&writer, payload, sizeof payload);
    fk_decrypt_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    return run(bench, FK_SIGNER_DECRYPT, payload, len);
}

static void signatures_are_verified(void **state)
{
    static const struct {
        const char *kind;
        uint16_t scheme;
    } rows[] = {{"P-256", 0x0403}, {"rsa2048", 0x0804}};
    struct bench bench;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        open_bench(&bench, rows[i].kind, FK_PERM_SIGN13);
        assert_ok(run_sign13(&bench, rows[i].scheme));
        bench.soft.flip = 0;
        assert_int_equal(run_sign13(&bench, rows[i].scheme), FK_ERR_VERIFY);
        bench.soft.flip = -1;
        bench.soft.err = FK_ERR_TOKEN;
        assert_int_equal(run_sign13(&bench, rows[i].scheme), FK_ERR_TOKEN);
        close_bench(&bench);
    }
}

/* What is refused does not reach the token. */
static void permissions_hold(void **state)
{
    uint8_t ciphertext[256] = {0};
    struct bench bench;

    (void)state;
    open_bench(&bench, "rsa2048", FK_PERM_SIGN12);
    assert_int_equal(run_sign13(&bench, 0x0804), FK_ERR_DENIED);
    assert_int_equal(run_decrypt(&bench, ciphertext), FK_ERR_DENIED);
    assert_int_equal(bench.soft.signs + bench.soft.raws, 0);
    close_bench(&bench);
}

static void encrypt_block(struct bench *bench, const uint8_t block[256], uint8_t ret[256])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(bench->soft.key, NULL);
    size_t len = 256;

    assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
    assert_int_equal(EVP_PKEY_encrypt(ctx, ret, &len, block, 256), 1);
    EVP_PKEY_CTX_free(ctx);
}

/* The secret of rejection is of the key alone: another process, another time, the same answer. */
static void bad_padding_gets_a_stable_answer(void **state)
{
    uint8_t block[256], good[256], bad[256], first[48];
    struct bench bench;
    struct fk_ops *again;

    (void)state;
    open_bench(&bench, "rsa2048", FK_PERM_DECRYPT);
    memset(block, 5, sizeof block);
    block[0] = 0;
    block[1] = 2;
    block[256 - 49] = 0;
    encrypt_block(&bench, block, good);
    block[256 - 49] = 1;
    encrypt_block(&bench, block, bad);
    assert_ok(run_decrypt(&bench, good));
    assert_int_equal(bench.len, 48);
    assert_memory_equal(bench.ret + 2, block + 256 - 46, 46);
    assert_int_equal(bench.soft.raws, 2); /* the secret, once, and the block */
    assert_ok(run_decrypt(&bench, bad));
    assert_int_equal(bench.soft.raws, 3);
    memcpy(first, bench.ret, 48);
    assert_memory_not_equal(first + 2, block + 256 - 46, 46);
    assert_ok(fk_ops_new_private(bench.set, &bench.soft.private, &again));
    fk_ops_free(bench.ops);
    bench.ops = again;
    assert_ok(run_decrypt(&bench, bad));
    assert_memory_equal(bench.ret, first, 48);
    close_bench(&bench);
}

/* A token that fails while the secret is made never answers instead with one that is not. */
static void no_answer_without_the_secret(void **state)
{
    uint8_t ciphertext[256] = {0, 1};
    struct bench bench;

    (void)state;
    open_bench(&bench, "rsa2048", FK_PERM_DECRYPT);
    bench.soft.err = FK_ERR_TOKEN;
    assert_int_equal(run_decrypt(&bench, ciphertext), FK_ERR_TOKEN);
    bench.soft.err = FK_OK;
    assert_ok(run_decrypt(&bench, ciphertext));
    close_bench(&bench);
}

/* In the name of an edge. */
static int run_owned(struct bench *bench, uint8_t opcode, const struct fk_writer *payload)
{
    struct fk_signer_request request = {.op = FK_SIGNER_OWNED, .detail = opcode};
    uint8_t bytes[1024];
    struct fk_writer writer;
    size_t len;

    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_writer_fill(&writer, 'e', 32);
    fk_writer_u16(&writer, 0);
    fk_writer_bytes(&writer, payload->base, payload->len);
    assert_ok(fk_writer_end(&writer, &len));
    request.len = (uint32_t)len;
    memcpy(request.ski, bench->ski, 20);
    return fk_ops_run(bench->ops, &request, bytes, bench->ret, &bench->len);
}

/* Several work for a token and share no table: what needs none is done, the rest is refused. */
static void nothing_is_kept_under_handles(void **state)
{
    static const uint8_t ciphertext[256] = {0, 1}, hash[32] = {9};
    struct fk_agree_init init = {.scheme = 0x0804, .group = FK_AGREE_X25519};
    struct fk_keys_op keys = {
        .source = {.kind = FK_PREMASTER_RSA, .rsa = {0x0303, {ciphertext, sizeof ciphertext}}},
        .derivation = {.prf = FK_PRF_SHA256, .ems = true, .seed = {hash, sizeof hash}},
        .suite = 0x009c};
    struct fk_master_op master = {.source = keys.source, .derivation = keys.derivation};
    const struct fk_agree_finish finish = {.share = {hash, sizeof hash}};
    const struct fk_finished_op finished = {.end = FK_FINISHED_SERVER, .hash = {hash, 32}};
    struct fk_agree_made made;
    uint8_t payload[1024];
    struct fk_writer writer;
    struct bench bench;

    (void)state;
    open_bench(&bench, "rsa2048", FK_PERM_AGREE | FK_PERM_MASTER | FK_PERM_KEYS);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_agree_init_encode(&init, &writer);
    assert_int_equal(run_owned(&bench, FK_OP_AGREE_INIT, &writer), FK_ERR_UNSUPPORTED);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_agree_finish_encode(&finish, &writer);
    assert_int_equal(run_owned(&bench, FK_OP_AGREE_FINISH, &writer), FK_ERR_EXPIRED);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_keys_op_encode(&keys, &writer);
    assert_int_equal(run_owned(&bench, FK_OP_KEYS, &writer), FK_ERR_UNSUPPORTED);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_finished_op_encode(&finished, &writer);
    assert_int_equal(run_owned(&bench, FK_OP_FINISHED, &writer), FK_ERR_EXPIRED);
    assert_int_equal(bench.soft.signs + bench.soft.raws, 0);
    init.form = FK_AGREE_HANDED;
    fk_writer_init(&writer, payload, sizeof payload);
    fk_agree_init_encode(&init, &writer);
    assert_ok(run_owned(&bench, FK_OP_AGREE_INIT, &writer));
    assert_ok(fk_agree_made_decode(fk_item(bench.ret, bench.len), &init, &made));
    fk_writer_init(&writer, payload, sizeof payload);
    fk_master_op_encode(&master, &writer);
    assert_ok(run_owned(&bench, FK_OP_MASTER, &writer));
    assert_int_equal(bench.len, FK_MASTER_SIZE);
    bench.soft.err = FK_ERR_TOKEN;
    assert_int_equal(run_owned(&bench, FK_OP_MASTER, &writer), FK_ERR_TOKEN);
    close_bench(&bench);
}

UNIT_MAIN(cmocka_unit_test(bundle_carries_token_and_key),
          cmocka_unit_test(half_records_are_refused), cmocka_unit_test(half_settings_are_refused),
          cmocka_unit_test(signatures_are_verified), cmocka_unit_test(permissions_hold),
          cmocka_unit_test(bad_padding_gets_a_stable_answer),
          cmocka_unit_test(no_answer_without_the_secret),
          cmocka_unit_test(nothing_is_kept_under_handles))
