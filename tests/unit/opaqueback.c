/* A key server in memory: see opaqueback.h. */
#include "unit.h"

#include "opaqueback.h"

#include "base/err.h"
#include "tls/fresh.h"
#include "tls/session_keys.h"
#include "wire/keymsg.h"
#include "wire/keyop_resume.h"
#include "wire/keyop_agree.h"
#include "wire/keyop_secret.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

struct fk_key_ticket {
    uint8_t opcode;
    uint8_t payload[2048];
    size_t len;
    fk_key_done_cb *done;
    void *arg;
    struct fk_key_route *route;
};

static struct fk_reader bytes(const void *data, size_t len)
{
    struct fk_reader reader;

    fk_reader_init(&reader, data, len);
    return reader;
}

/* --- cryptography --- */

static const char *group_name(uint16_t group)
{
    switch (group) {
    case FK_AGREE_X25519:
        return "X25519";
    case FK_AGREE_P256:
        return "P-256";
    case FK_AGREE_P384:
        return "P-384";
    case FK_AGREE_FFDHE2048:
        return "ffdhe2048";
    case FK_AGREE_FFDHE3072:
        return "ffdhe3072";
    default:
        return "ffdhe4096";
    }
}

static EVP_PKEY *make_ephemeral(uint16_t group)
{
    const char *family = group == FK_AGREE_X25519 ? "X25519" : group >= 0x0100 ? "DH" : "EC";
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, family, NULL);
    EVP_PKEY *key = NULL;

    assert_true(EVP_PKEY_keygen_init(ctx) > 0);
    if (group != FK_AGREE_X25519)
        assert_true(EVP_PKEY_CTX_set_group_name(ctx, group_name(group)) > 0);
    assert_true(EVP_PKEY_keygen(ctx, &key) > 0);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static void put_number(struct fk_writer *out, EVP_PKEY *key, const char *name, int pad)
{
    BIGNUM *number = NULL;
    uint8_t data[512];
    int len;

    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &number), 1);
    len = pad > 0 ? pad : BN_num_bytes(number);
    assert_int_equal(BN_bn2binpad(number, data, len), len);
    fk_writer_vec16(out, data, (size_t)len);
    BN_clear_free(number);
}

static size_t make_params(uint16_t group, EVP_PKEY *key, uint8_t *ret, size_t size)
{
    struct fk_writer out;
    uint8_t *point;
    size_t len;

    fk_writer_init(&out, ret, size);
    if (group >= 0x0100) {
        put_number(&out, key, OSSL_PKEY_PARAM_FFC_P, 0);
        put_number(&out, key, OSSL_PKEY_PARAM_FFC_G, 0);
        put_number(&out, key, OSSL_PKEY_PARAM_PUB_KEY, EVP_PKEY_get_size(key));
    } else {
        len = EVP_PKEY_get1_encoded_public_key(key, &point);
        fk_writer_u8(&out, 3);
        fk_writer_u16(&out, group);
        fk_writer_vec8(&out, point, len);
        OPENSSL_free(point);
    }
    assert_ok(fk_writer_end(&out, &len));
    return len;
}

static const struct {
    uint16_t scheme;
    const char *digest;
    bool pss;
} schemes[] = {{0x0401, "SHA256", false}, {0x0501, "SHA384", false}, {0x0601, "SHA512", false},
               {0x0403, "SHA256", false}, {0x0503, "SHA384", false}, {0x0603, "SHA512", false},
               {0x0804, "SHA256", true},  {0x0805, "SHA384", true},  {0x0806, "SHA512", true},
               {0x0807, NULL, false}};

static size_t sign(EVP_PKEY *key, uint16_t scheme, const uint8_t *tbs, size_t tbs_len, uint8_t *out,
                   size_t size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    size_t len = size, i = 0;

    while (schemes[i].scheme != scheme)
        i++;
    assert_true(EVP_DigestSignInit_ex(ctx, &pctx, schemes[i].digest, NULL, NULL, key, NULL));
    if (schemes[i].pss) {
        EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
    }
    assert_true(EVP_DigestSign(ctx, out, &len, tbs, tbs_len));
    EVP_MD_CTX_free(ctx);
    return len;
}

/* PRF of RFC 5246 section 5. */
static void prf(enum fk_prf hash, struct fk_reader secret, const char *label, struct fk_reader seed,
                uint8_t *out, size_t len)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST,
                               (char *)(hash == FK_PRF_SHA256 ? "SHA256" : "SHA384"), 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SECRET, (uint8_t *)(uintptr_t)secret.next,
                                secret.left),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, (char *)(uintptr_t)label, strlen(label)),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, (uint8_t *)(uintptr_t)seed.next, seed.left),
        OSSL_PARAM_END};

    assert_int_equal(EVP_KDF_derive(ctx, out, len, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

static size_t agree(struct opaqueback *back, const struct fk_agree_finish *op, uint8_t *out,
                    size_t size)
{
    EVP_PKEY *peer = EVP_PKEY_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(back->ephemeral, NULL);
    size_t len = size;

    assert_non_null(back->ephemeral);
    assert_memory_equal(op->handle, back->handle, sizeof back->handle);
    assert_int_equal(EVP_PKEY_copy_parameters(peer, back->ephemeral), 1);
    assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, op->share.next, op->share.left), 1);
    assert_true(EVP_PKEY_derive_init(ctx) > 0);
    assert_true(EVP_PKEY_derive_set_peer(ctx, peer) > 0);
    assert_true(EVP_PKEY_derive(ctx, out, &len) > 0);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(back->ephemeral); /* once */
    back->ephemeral = NULL;
    return len;
}

static size_t decrypt(EVP_PKEY *key, const struct fk_decrypt *op, uint8_t *out, size_t size)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    size_t len = size;

    assert_int_equal(op->client_version, FK_TLS12);
    assert_true(EVP_PKEY_decrypt_init(ctx) > 0);
    assert_true(EVP_PKEY_decrypt(ctx, out, &len, op->ciphertext.next, op->ciphertext.left) > 0);
    assert_int_equal(len, 48);
    EVP_PKEY_CTX_free(ctx);
    return len;
}

static void make_master(struct opaqueback *back, const struct fk_premaster_source *source,
                        const struct fk_master_derivation *derivation, uint8_t ret[48])
{
    uint8_t premaster[512];
    size_t len = source->kind == FK_PREMASTER_AGREED
                     ? agree(back, &source->agreed, premaster, sizeof premaster)
                     : decrypt(back->key, &source->rsa, premaster, sizeof premaster);

    prf(derivation->prf, bytes(premaster, len),
        derivation->ems ? "extended master secret" : "master secret", derivation->seed, ret, 48);
}

/* --- operations: the answer to a payload --- */

static void put_private(struct fk_writer *out, const struct fk_agree_init *op, EVP_PKEY *key)
{
    const struct fk_agree_group *group = fk_agree_group_find(op->group);
    uint8_t scalar[32];
    size_t len = sizeof scalar;

    if (op->form == FK_AGREE_KEPT) {
        fk_writer_u16(out, 0);
    } else if (op->group == FK_AGREE_X25519) {
        assert_int_equal(EVP_PKEY_get_raw_private_key(key, scalar, &len), 1);
        fk_writer_vec16(out, scalar, len);
    } else {
        put_number(out, key, OSSL_PKEY_PARAM_PRIV_KEY, group->is_dh ? 0 : (int)group->secret_len);
    }
}

static void agree_init(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    uint8_t tbs[64 + 2048], signature[512];
    struct fk_agree_init op;
    size_t len, signature_len;

    assert_ok(fk_agree_init_decode(payload, &op));
    EVP_PKEY_free(back->ephemeral);
    back->ephemeral = make_ephemeral(op.group);
    memcpy(tbs, op.client_random, 32);
    memcpy(tbs + 32, op.server_random, 32);
    len = make_params(op.group, back->ephemeral, tbs + 64, sizeof tbs - 64);
    signature_len = sign(back->key, op.scheme, tbs, 64 + len, signature, sizeof signature);
    memset(back->handle, 0, sizeof back->handle);
    if (op.form == FK_AGREE_KEPT)
        assert_int_equal(RAND_bytes(back->handle, sizeof back->handle), 1);
    fk_writer_bytes(out, back->handle, sizeof back->handle);
    fk_writer_vec16(out, tbs + 64, len);
    fk_writer_vec16(out, signature, signature_len);
    put_private(out, &op, back->ephemeral);
}

static void agree_finish(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    struct fk_agree_finish op;
    uint8_t secret[512];

    assert_ok(fk_agree_finish_decode(payload, &op));
    fk_writer_bytes(out, secret, agree(back, &op, secret, sizeof secret));
}

/* RSA: a server random that is made of the seed. */
static void check_fresh(const struct fk_premaster_source *source, const uint8_t *server_random)
{
    if (source->kind == FK_PREMASTER_RSA)
        assert_ok(fk_fresh_check(source->random_seed, server_random));
}

static void master(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    struct fk_master_op op;
    uint8_t secret[48];

    assert_ok(fk_master_op_decode(payload, &op));
    if (!op.derivation.ems)
        check_fresh(&op.source, op.derivation.seed.next + 32);
    make_master(back, &op.source, &op.derivation, secret);
    fk_writer_bytes(out, secret, sizeof secret);
}

/* The master secret, and the key block: its length. */
static size_t make_keys(struct opaqueback *back, const struct fk_keys_op *op,
                        uint8_t ret[FK_KEY_BLOCK_MAX])
{
    const struct fk_suite *suite = fk_suite_find(op->suite);
    uint8_t randoms[64];

    assert_non_null(suite);
    check_fresh(&op->source, op->server_random);
    make_master(back, &op->source, &op->derivation, back->master);
    back->master_len = sizeof back->master;
    memcpy(randoms, op->server_random, 32);
    memcpy(randoms + 32, op->client_random, 32);
    prf(op->derivation.prf, bytes(back->master, 48), "key expansion",
        bytes(randoms, sizeof randoms), ret, fk_key_block_len(suite));
    return fk_key_block_len(suite);
}

static void expose(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    uint8_t block[FK_KEY_BLOCK_MAX];
    struct fk_keys_op op;

    assert_ok(fk_keys_op_decode(payload, &op));
    assert_int_equal(op.finished_hash.left, 0);
    fk_writer_vec8(out, block, make_keys(back, &op, block));
    fk_writer_bytes(out, back->master, 48);
}

static void give_keys(struct opaqueback *back, const struct fk_keys_op *op, struct fk_writer *out)
{
    uint8_t block[FK_KEY_BLOCK_MAX], verify_data[12];
    size_t len = make_keys(back, op, block);

    assert_int_equal(RAND_bytes(back->handle, sizeof back->handle), 1);
    fk_writer_bytes(out, back->handle, sizeof back->handle);
    fk_writer_vec8(out, block, len);
    if (op->finished_hash.left > 0)
        prf(op->derivation.prf, bytes(back->master, 48), "client finished", op->finished_hash,
            verify_data, sizeof verify_data);
    fk_writer_vec8(out, verify_data, op->finished_hash.left > 0 ? sizeof verify_data : 0);
}

static void keys(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    struct fk_keys_op op;

    assert_ok(fk_keys_op_decode(payload, &op));
    give_keys(back, &op, out);
}

/* Sealed so that the test can see what is in it: suite, master secret, context. */
static void keep(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    uint8_t sealed[FK_SEALED_SESSION] = {FK_SESSION_OWN}, answer[512];
    struct fk_keep_op op;
    struct fk_writer keys_out;
    size_t len;

    assert_ok(fk_keep_op_decode(payload, &op));
    assert_int_equal(op.scope, FK_SESSION_OWN);
    assert_true(op.lifetime_s > 0);
    fk_writer_init(&keys_out, answer, sizeof answer);
    give_keys(back, &op.keys, &keys_out);
    assert_ok(fk_writer_end(&keys_out, &len));
    sealed[1] = (uint8_t)(op.keys.suite >> 8);
    sealed[2] = (uint8_t)op.keys.suite;
    memcpy(sealed + 3, back->master, 48);
    memcpy(sealed + 51, op.context, 32);
    fk_writer_vec8(out, sealed, back->seals ? sizeof sealed : 0);
    fk_writer_bytes(out, answer, len);
}

static void resume(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    uint8_t block[FK_KEY_BLOCK_MAX], randoms[64];
    const struct fk_suite *suite;
    struct fk_resume_op op;

    assert_ok(fk_resume_op_decode(payload, &op));
    assert_int_equal(op.sealed.left, FK_SEALED_SESSION);
    assert_memory_equal(op.sealed.next + 51, op.context, 32);
    suite = fk_suite_find((uint16_t)(op.sealed.next[1] << 8 | op.sealed.next[2]));
    assert_non_null(suite);
    memcpy(back->master, op.sealed.next + 3, 48);
    back->master_len = 48;
    assert_ok(fk_fresh_check(op.random_seed, op.server_random));
    memcpy(randoms, op.server_random, 32);
    memcpy(randoms + 32, op.client_random, 32);
    prf(suite->hash_len == 32 ? FK_PRF_SHA256 : FK_PRF_SHA384, bytes(back->master, 48),
        "key expansion", bytes(randoms, sizeof randoms), block, fk_key_block_len(suite));
    assert_int_equal(RAND_bytes(back->handle, sizeof back->handle), 1);
    fk_writer_bytes(out, back->handle, sizeof back->handle);
    fk_writer_vec8(out, block, fk_key_block_len(suite));
}

static void finished(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    struct fk_finished_op op;
    uint8_t verify_data[12];

    assert_ok(fk_finished_op_decode(payload, &op));
    assert_memory_equal(op.handle, back->handle, sizeof back->handle);
    assert_int_equal(back->master_len, 48);
    prf(op.hash.left == 32 ? FK_PRF_SHA256 : FK_PRF_SHA384, bytes(back->master, 48),
        op.end == FK_FINISHED_CLIENT ? "client finished" : "server finished", op.hash, verify_data,
        sizeof verify_data);
    fk_writer_bytes(out, verify_data, sizeof verify_data);
}

static void sign12(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    uint8_t tbs[64 + 2048], signature[512];
    struct fk_sign12 op;

    assert_ok(fk_sign12_decode(payload, &op));
    memcpy(tbs, op.client_random, 32);
    memcpy(tbs + 32, op.server_random, 32);
    memcpy(tbs + 64, op.params.next, op.params.left);
    fk_writer_bytes(
        out, signature,
        sign(back->key, op.scheme, tbs, 64 + op.params.left, signature, sizeof signature));
}

static void decrypt12(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out)
{
    struct fk_decrypt op;
    uint8_t secret[512];

    assert_ok(fk_decrypt_decode(payload, &op));
    fk_writer_bytes(out, secret, decrypt(back->key, &op, secret, sizeof secret));
}

static const struct {
    uint8_t opcode;
    void (*answer)(struct opaqueback *back, struct fk_reader payload, struct fk_writer *out);
} operations[] = {{FK_OP_SIGN12, sign12},         {FK_OP_DECRYPT, decrypt12},
                  {FK_OP_AGREE_INIT, agree_init}, {FK_OP_AGREE_FINISH, agree_finish},
                  {FK_OP_MASTER, master},         {FK_OP_KEYS, keys},
                  {FK_OP_FINISHED, finished},     {FK_OP_EXPOSE, expose},
                  {FK_OP_KEYS_KEEP, keep},        {FK_OP_RESUME, resume}};

static size_t answer(struct opaqueback *back, const struct fk_key_ticket *ticket, uint8_t *ret,
                     size_t size)
{
    struct fk_writer out;
    size_t i = 0, len;

    while (operations[i].opcode != ticket->opcode) {
        i++;
        assert_true(i < sizeof operations / sizeof operations[0]);
    }
    fk_writer_init(&out, ret, size);
    operations[i].answer(back, bytes(ticket->payload, ticket->len), &out);
    assert_ok(fk_writer_end(&out, &len));
    return len;
}

/* --- the back-end --- */

static uint8_t opcode_of(const struct fk_key_request *request)
{
    switch (request->op) {
    case FK_KEY_SIGN13:
        return FK_OP_SIGN13;
    case FK_KEY_SIGN12:
        return FK_OP_SIGN12;
    case FK_KEY_DECRYPT:
        return FK_OP_DECRYPT;
    case FK_KEY_CALL:
        break;
    }
    return request->u.call.opcode;
}

/* What refers to a handle goes where the handle is. */
static void check_route(uint8_t opcode, const struct fk_key_route *route)
{
    if (opcode == FK_OP_AGREE_FINISH || opcode == FK_OP_FINISHED) {
        assert_non_null(route);
        assert_int_equal(route->server, 7);
    }
}

static int on_submit(struct fk_keyback *base, const struct fk_key_request *request,
                     fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct opaqueback *back = (struct opaqueback *)base;
    struct fk_key_ticket *ticket = calloc(1, sizeof *ticket);
    struct fk_writer out;

    assert_null(back->waiting);
    ticket->opcode = opcode_of(request);
    fk_writer_init(&out, ticket->payload, sizeof ticket->payload);
    assert_ok(fk_key_request_encode(request, &out));
    assert_ok(fk_writer_end(&out, &ticket->len));
    ticket->done = done;
    ticket->arg = arg;
    ticket->route = request->route;
    check_route(ticket->opcode, request->route);
    back->asked[ticket->opcode]++;
    back->waiting = ticket;
    *ret = ticket;
    return FK_OK;
}

static void on_cancel(struct fk_keyback *base, struct fk_key_ticket *ticket)
{
    struct opaqueback *back = (struct opaqueback *)base;

    assert_ptr_equal(back->waiting, ticket);
    free(ticket);
    back->waiting = NULL;
}

static void on_suspect(struct fk_keyback *base)
{
    (void)base;
}

static const struct fk_keyback_ops ops = {on_submit, on_cancel, on_suspect};

void opaqueback_init(struct opaqueback *back, EVP_PKEY *key)
{
    *back = (struct opaqueback){.back = {&ops}, .key = key};
}

void opaqueback_fini(struct opaqueback *back)
{
    assert_null(back->waiting);
    EVP_PKEY_free(back->ephemeral);
}

void opaqueback_pump(struct opaqueback *back)
{
    struct fk_key_ticket *ticket = back->waiting;
    uint8_t out[4096];
    size_t len;
    bool wrong;

    if (ticket == NULL)
        return;
    back->waiting = NULL;
    wrong = ticket->opcode == back->fail_at;
    if (wrong && back->fail_with != FK_OK) {
        ticket->done(ticket->arg, back->fail_with, NULL, 0);
    } else {
        len = answer(back, ticket, out, sizeof out);
        if (wrong)
            back->spoil(out, &len);
        if (ticket->route != NULL)
            ticket->route->server = 7;
        ticket->done(ticket->arg, FK_OK, out, len);
    }
    free(ticket);
}

unsigned opaqueback_asked(const struct opaqueback *back)
{
    unsigned sum = 0;

    for (size_t i = 0; i < sizeof back->asked / sizeof back->asked[0]; i++)
        sum += back->asked[i];
    return sum;
}
