/*
 * signer/ops without memory: each allocation of each kind of operation fails once, OpenSSL's
 * objects included. What a front then gets is an error, and its next request is served.
 */
#include "failmalloc.h"
#include "unit.h"
#include "unit_keys.h"

#include "base/clock.h"
#include "base/limits.h"
#include "signer/audit_keys.h"
#include "signer/ops.h"
#include "signer/peer.h"
#include "loop/sock.h"
#include "wire/keymsg.h"
#include "wire/keyop.h"
#include "wire/keyop_agree.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RSA2048, P256, ED25519, KEYS };

static const uint8_t audit_secret[32] = "the audit secret, 32 bytes long";
static uint8_t skis[KEYS][20];
static struct fk_keyset *keys;

/* A request, and how many allocations it makes at the least in a signer that has just begun. */
struct request {
    const char *name;
    int key;
    uint16_t op, detail;
    size_t at_least;
    size_t len;
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX];
};

static int setup(void **state)
{
    static const char *const kinds[KEYS] = {"rsa2048", "P-256", "ed25519"};
    struct fk_keyset_builder *builder;
    int fd;

    (void)state;
    assert_ok(fk_keyset_builder_new(&builder));
    for (int k = 0; k < KEYS; k++) {
        EVP_PKEY *key = unit_key(kinds[k]);

        unit_bundle_add(builder, kinds[k], key, UNIT_PERM_ALL, skis[k]);
        EVP_PKEY_free(key);
    }
    assert_ok(fk_keyset_builder_audit(builder, audit_secret));
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    assert_ok(fk_keyset_open(fd, &keys));
    return close(fd);
}

static int teardown(void **state)
{
    (void)state;
    fk_keyset_free(keys);
    return 0;
}

/* --- requests --- */

static void put_sign13(struct request *request, uint16_t scheme)
{
    const struct fk_sign13 op = {.scheme = scheme, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_writer writer;

    fk_writer_init(&writer, request->payload, sizeof request->payload);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &request->len));
}

static void put_decrypt(struct request *request)
{
    static const uint8_t ciphertext[256] = {0}; /* bad padding: answered like any other */
    struct fk_decrypt op = {.client_version = 0x0303};
    struct fk_writer writer;

    fk_reader_init(&op.ciphertext, ciphertext, sizeof ciphertext);
    fk_writer_init(&writer, request->payload, sizeof request->payload);
    fk_decrypt_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &request->len));
}

/* In the name of an edge, without a share. */
static void put_agree_init(struct request *request)
{
    const struct fk_agree_init op = {.scheme = 0x0403, .group = FK_AGREE_P256};
    struct fk_writer writer;

    fk_writer_init(&writer, request->payload, sizeof request->payload);
    fk_writer_fill(&writer, 'e', 32);
    fk_writer_u16(&writer, 0);
    fk_agree_init_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &request->len));
}

static int run(struct fk_ops *ops, const struct request *request, uint8_t *ret, size_t *ret_len)
{
    struct fk_signer_request head = {
        .len = (uint32_t)request->len, .op = request->op, .detail = request->detail};

    memcpy(head.ski, skis[request->key], sizeof head.ski);
    return fk_ops_run(ops, &head, request->payload, ret, ret_len);
}

/* A signer begins, serves one request, and ends. */
static int serve(void *context)
{
    static const uint8_t zero[FK_SIGNER_RESULT_MAX];
    const struct request *request = context;
    uint8_t result[FK_SIGNER_RESULT_MAX] = {0};
    struct fk_ops *ops = NULL;
    size_t len = 4711;
    int err = fk_ops_new(keys, 0, 1, &ops);

    if (err != FK_OK) {
        assert_null(ops);
        ERR_clear_error(); /* the process ends */
        return err;
    }
    err = run(ops, request, result, &len);
    assert_int_equal(ERR_peek_error(), 0);
    if (err != FK_OK) {
        assert_int_equal(len, 4711);
        assert_memory_equal(result, zero, sizeof zero); /* no signature that was not verified */
        assert_ok(run(ops, request, result, &len));
    }
    assert_true(len > 0 && len <= sizeof result);
    fk_ops_free(ops);
    return err;
}

/* What fk_ops_new() allocates: itself, states, and OpenSSL's contexts, groups and points. */
static size_t to_begin;

static int begin(void *context)
{
    struct fk_ops *ops = NULL;
    int err = fk_ops_new(keys, 0, 1, &ops);

    (void)context;
    assert_true((err == FK_OK) == (ops != NULL));
    fk_ops_free(ops);
    ERR_clear_error();
    return err;
}

static void every_operation_without_memory_is_told(void **state)
{
    static struct request requests[] = {
        {.name = "RSA-PSS", .key = RSA2048, .op = FK_SIGNER_SIGN13, .at_least = 2},
        {.name = "ECDSA", .key = P256, .op = FK_SIGNER_SIGN13, .at_least = 1},
        {.name = "Ed25519", .key = ED25519, .op = FK_SIGNER_SIGN13, .at_least = 1},
        {.name = "decrypt", .key = RSA2048, .op = FK_SIGNER_DECRYPT, .at_least = 2},
        {.name = "agree init", .key = P256, .op = FK_SIGNER_OWNED, .at_least = 4},
        {.name = "d1 decrypt", .key = RSA2048, .op = FK_SIGNER_DIALECT1, .at_least = 2},
    };

    (void)state;
    put_sign13(&requests[0], 0x0804);
    put_sign13(&requests[1], 0x0403);
    put_sign13(&requests[2], 0x0807);
    put_decrypt(&requests[3]);
    put_agree_init(&requests[4]);
    requests[4].detail = FK_OP_AGREE_INIT;
    requests[5].detail = FK_OP_RSA_DECRYPT;
    requests[5].len = 256;
    to_begin = failmalloc_try(begin, NULL);
    assert_true(to_begin >= 2 + 5 + 3 + 3 + 1);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        size_t n = failmalloc_try(serve, &requests[i]);

        if (n < to_begin + requests[i].at_least)
            fail_msg("%s: only %zu allocations", requests[i].name, n - to_begin);
    }
}

/* A key is made, then agreed with: its handle is used up, with memory or without. */
static int agree(void *context)
{
    struct request begin_it = {.key = P256, .op = FK_SIGNER_OWNED, .detail = FK_OP_AGREE_INIT};
    struct request end_it = {.key = P256, .op = FK_SIGNER_OWNED, .detail = FK_OP_AGREE_FINISH};
    struct fk_ops *ops = *(struct fk_ops **)context;
    struct fk_agree_finish op = {.handle = {0}};
    uint8_t result[FK_SIGNER_RESULT_MAX];
    const struct fk_agree_init init = {.group = FK_AGREE_P256};
    struct fk_ecdh_params params;
    struct fk_agree_made made;
    struct fk_writer writer;
    size_t len;
    int err;

    put_agree_init(&begin_it);
    if ((err = run(ops, &begin_it, result, &len)) != FK_OK)
        return err;
    assert_ok(fk_agree_made_decode(fk_item(result, len), &init, &made));
    assert_ok(fk_ecdh_params_decode(made.params, &params));
    memcpy(op.handle, made.handle, sizeof op.handle);
    op.share = params.point; /* its own: a point like any other */
    fk_writer_init(&writer, end_it.payload, sizeof end_it.payload);
    fk_writer_fill(&writer, 'e', 32);
    fk_writer_u16(&writer, 0);
    fk_agree_finish_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &end_it.len));
    err = run(ops, &end_it, result, &len);
    assert_int_equal(ERR_peek_error(), 0);
    assert_err(run(ops, &end_it, result, &len), FK_ERR_EXPIRED);
    return err;
}

static void agreeing_without_memory_is_told(void **state)
{
    struct fk_ops *ops;

    (void)state;
    assert_ok(fk_ops_new(keys, 0, 1, &ops));
    assert_true(failmalloc_try(agree, &ops) >= 5);
    fk_ops_free(ops);
}

/* --- the audit process's requests --- */

static const struct request audit_start = {.op = FK_SIGNER_AUDIT_START};

/* A chain is begun, then its head signed at 7 lines. */
static int sign_checkpoint(void *context)
{
    struct request checkpoint = {.op = FK_SIGNER_AUDIT_CHECKPOINT};
    uint8_t result[FK_SIGNER_RESULT_MAX];
    struct fk_ops *ops = *(struct fk_ops **)context;
    struct fk_writer writer;
    size_t len;
    int err;

    if ((err = run(ops, &audit_start, result, &len)) != FK_OK)
        return err;
    checkpoint.len = FK_AUDIT_CHECKPOINT_SIZE;
    memcpy(checkpoint.payload, result, FK_AUDIT_ID_SIZE);
    fk_writer_init(&writer, checkpoint.payload + FK_AUDIT_ID_SIZE, 8);
    fk_writer_u64(&writer, 7);
    err = run(ops, &checkpoint, result, &len);
    assert_int_equal(ERR_peek_error(), 0);
    if (err != FK_OK)
        assert_ok(run(ops, &checkpoint, result, &len)); /* the chain has not gone past it */
    return err;
}

static void checkpoint_without_memory_is_signed_next_time(void **state)
{
    struct fk_ops *ops;

    (void)state;
    assert_ok(fk_ops_new(keys, 0, 1, &ops));
    assert_int_equal(failmalloc_try(sign_checkpoint, &ops), 1);
    fk_ops_free(ops);
}

/* --- a front's socket --- */

static int take_socket(void *context)
{
    struct fk_signer_peer *peer = NULL;
    int *fd = context, err;

    err = fk_signer_peer_new(*fd, FK_PEER_FRONT, 0, &peer);
    assert_int_equal(fcntl(*fd, F_GETFD) >= 0, 1); /* its caller's when it fails */
    if (err != FK_OK) {
        assert_null(peer);
    } else {
        fk_signer_peer_free(peer);
        assert_int_equal(fcntl(*fd, F_GETFD), -1);
    }
    return err;
}

static void front_without_memory_is_left_to_the_caller(void **state)
{
    int fds[2];

    (void)state;
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_int_equal(failmalloc_try(take_socket, &fds[0]), 1);
    (void)close(fds[1]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(every_operation_without_memory_is_told),
        cmocka_unit_test(agreeing_without_memory_is_told),
        cmocka_unit_test(checkpoint_without_memory_is_signed_next_time),
        cmocka_unit_test(front_without_memory_is_left_to_the_caller),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
