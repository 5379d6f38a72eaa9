/* edge/sharekeys: each operation by way of the signer, then of key servers; both played by the
 * test.
 */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/writer.h"
#include "edge/sharekeys.h"
#include "loop/sock.h"
#include "signer/share.h"
#include "wire/keymsg.h"

#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE 2000000

static struct fk_loop *loop;
static struct fk_signer_pool *signers;
static struct fk_sharekeys *keys;
static int signer; /* the other end */

/* --- key servers --- */

/* The last request that they were given, as it was then. */
static struct {
    int asked, cancelled, suspected;
    int refuse; /* what submit() gives */
    enum fk_key_op op;
    uint8_t payload[512], tbs[512], share[128];
    size_t payload_len, tbs_len, share_len;
    char sni[64];
    fk_key_done_cb *done;
    void *arg;
} server;

static int server_submit(struct fk_keyback *back, const struct fk_key_request *request,
                         fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct fk_writer writer;

    (void)back;
    if (server.refuse != FK_OK)
        return server.refuse;
    server.asked++;
    server.op = request->op;
    fk_writer_init(&writer, server.payload, sizeof server.payload);
    assert_ok(fk_key_request_encode(request, &writer));
    assert_ok(fk_writer_end(&writer, &server.payload_len));
    server.tbs_len = request->tbs_len;
    memcpy(server.tbs, request->tbs, request->tbs_len);
    server.share_len = request->share_len;
    if (request->share_len > 0)
        memcpy(server.share, request->share, request->share_len);
    server.sni[0] = '\0';
    if (request->context != NULL && request->context->sni != NULL)
        snprintf(server.sni, sizeof server.sni, "%s", request->context->sni);
    server.done = done;
    server.arg = arg;
    *ret = (struct fk_key_ticket *)(void *)&server;
    return FK_OK;
}

static void server_cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    (void)back;
    assert_ptr_equal(ticket, &server);
    server.cancelled++;
}

static void server_suspect(struct fk_keyback *back)
{
    (void)back;
    server.suspected++;
}

static const struct fk_keyback_ops server_ops = {
    .submit = server_submit, .cancel = server_cancel, .suspect = server_suspect};
static struct fk_keyback servers = {.ops = &server_ops, .deadline_us = DEADLINE};

/* --- who asks --- */

static struct {
    int times, err;
    size_t len;
    uint8_t data[64];
} result;

static void done(void *arg, int err, const uint8_t *data, size_t len)
{
    (void)arg;
    result.times++;
    result.err = err;
    result.len = len;
    if (len > 0)
        memcpy(result.data, data, len);
}

static int setup(void **state)
{
    int fds[2];

    (void)state;
    memset(&server, 0, sizeof server);
    memset(&result, 0, sizeof result);
    assert_ok(fk_loop_new(&loop));
    assert_ok(fk_signer_pool_new(loop, DEADLINE, 16, &signers));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_signer_pool_add(signers, fds[0], 1, 0));
    signer = fds[1];
    assert_ok(fk_sharekeys_new(&servers, signers, &keys));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_sharekeys_free(keys);
    fk_signer_pool_free(signers);
    fk_loop_free(loop);
    close(signer);
    return 0;
}

static void stop_loop(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

/* Let everything that is ready happen. */
static void turn(void)
{
    struct fk_timer timer;

    fk_timer_init(&timer, loop, stop_loop);
    fk_timer_start(&timer, 1000);
    fk_loop_run(loop);
    fk_timer_stop(&timer);
}

/* --- the signer --- */

struct asked {
    struct fk_signer_request head;
    uint8_t payload[1 + 512]; /* which operation, and all of it */
};

static struct asked read_asked(void)
{
    struct asked asked;

    turn();
    assert_int_equal(recv(signer, &asked.head, sizeof asked.head, MSG_DONTWAIT), sizeof asked.head);
    assert_int_equal(asked.head.op, FK_SIGNER_SHARE);
    assert_in_range(asked.head.len, 2, sizeof asked.payload);
    assert_int_equal(recv(signer, asked.payload, asked.head.len, MSG_DONTWAIT), asked.head.len);
    return asked;
}

static void answer(const struct asked *asked, int err, const char *data)
{
    struct fk_signer_result head = {
        .id = asked->head.id, .err = err, .len = data == NULL ? 0 : (uint32_t)strlen(data)};

    assert_int_equal(send(signer, &head, sizeof head, 0), sizeof head);
    if (head.len > 0)
        assert_int_equal(send(signer, data, head.len, 0), head.len);
    for (int i = 0; i < 1000 && server.asked == 0 && result.times == 0 && server.refuse == FK_OK;
         i++)
        turn();
    turn();
}

/* --- requests --- */

/* One of each kind, made of bytes that are the caller's. */
struct source {
    struct fk_key_request request;
    struct fk_key_context context;
    uint8_t bytes[300];
    char sni[16];
    uint8_t payload[512]; /* what it is on the wire */
    size_t payload_len;
};

static void make(struct source *source, enum fk_key_op op)
{
    static const uint8_t params[] = {3, 0, 29, 32};
    struct fk_key_request *request = &source->request;
    struct fk_writer writer;

    memset(source, 0, sizeof *source);
    memset(source->bytes, 'b', sizeof source->bytes);
    memcpy(source->bytes, params, sizeof params);
    snprintf(source->sni, sizeof source->sni, "example.com");
    source->context.sni = source->sni;
    request->op = op;
    request->context = &source->context;
    memset(request->ski, 'k', sizeof request->ski);
    request->tbs = source->bytes;
    request->tbs_len = 100;
    if (op == FK_KEY_SIGN13) {
        request->u.sign13 =
            (struct fk_sign13){.scheme = 0x0403, .role = FK_ROLE_SERVER, .hash_len = 32};
    } else if (op == FK_KEY_SIGN12) {
        request->u.sign12 = (struct fk_sign12){.scheme = 0x0403, .kx = FK_KX_ECDHE};
        fk_reader_init(&request->u.sign12.params, source->bytes, 36);
    } else if (op == FK_KEY_DECRYPT) {
        request->u.decrypt.client_version = 0x0303;
        fk_reader_init(&request->u.decrypt.ciphertext, source->bytes, 256);
    } else {
        request->u.call = (struct fk_key_call){0x48, source->bytes, 200};
    }
    fk_writer_init(&writer, source->payload, sizeof source->payload);
    assert_ok(fk_key_request_encode(request, &writer));
    assert_ok(fk_writer_end(&writer, &source->payload_len));
}

static struct fk_key_ticket *submit(const struct source *source)
{
    struct fk_keyback *back = fk_sharekeys_back(keys);
    struct fk_key_ticket *ticket;

    assert_ok(back->ops->submit(back, &source->request, done, NULL, &ticket));
    return ticket;
}

/* --- cases --- */

static void each_operation_goes_with_its_share(void **state)
{
    static const struct {
        enum fk_key_op op;
        uint8_t opcode;
    } rows[] = {{FK_KEY_SIGN13, FK_OP_SIGN13},
                {FK_KEY_SIGN12, FK_OP_SIGN12},
                {FK_KEY_DECRYPT, FK_OP_DECRYPT},
                {FK_KEY_CALL, 0x48}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t ski[20];
        struct source source, again;
        struct asked asked;

        make(&source, rows[i].op);
        make(&again, rows[i].op);
        submit(&source);
        memset(source.bytes, 'x', sizeof source.bytes); /* copied before submit returns */
        memset(source.sni, 'x', sizeof source.sni - 1);
        memset(source.context.client_ip, 'x', 16);
        asked = read_asked();
        memset(ski, 'k', sizeof ski);
        assert_memory_equal(asked.head.ski, ski, sizeof ski);
        assert_int_equal(asked.payload[0], rows[i].opcode);
        assert_int_equal(asked.head.len, 1 + again.payload_len);
        assert_memory_equal(asked.payload + 1, again.payload, again.payload_len);
        assert_int_equal(server.asked, 0);
        answer(&asked, FK_OK, "sealed share");
        assert_int_equal(server.asked, 1);
        assert_int_equal(server.op, rows[i].op);
        assert_int_equal(server.payload_len, again.payload_len);
        assert_memory_equal(server.payload, again.payload, again.payload_len);
        assert_int_equal(server.tbs_len, 100);
        assert_memory_equal(server.tbs, again.bytes, 100);
        assert_int_equal(server.share_len, 12);
        assert_memory_equal(server.share, "sealed share", 12);
        assert_string_equal(server.sni, "example.com");
        assert_int_equal(result.times, 0);
        server.done(server.arg, FK_OK, (const uint8_t *)"signature", 9);
        assert_int_equal(result.times, 1);
        assert_ok(result.err);
        assert_int_equal(result.len, 9);
        assert_memory_equal(result.data, "signature", 9);
        memset(&server, 0, sizeof server);
        memset(&result, 0, sizeof result);
    }
}

/* A site can have one key that is split and one that is not. */
static void a_key_without_a_share_here_is_asked_for_as_any(void **state)
{
    struct source source;
    struct asked asked;

    (void)state;
    make(&source, FK_KEY_SIGN13);
    submit(&source);
    asked = read_asked();
    answer(&asked, FK_ERR_KEY_NOT_FOUND, NULL);
    assert_int_equal(server.asked, 1);
    assert_int_equal(server.share_len, 0);
    server.done(server.arg, FK_ERR_DENIED, NULL, 0);
    assert_err(result.err, FK_ERR_DENIED);
}

static void a_signer_that_cannot_is_the_end(void **state)
{
    struct source source;
    struct asked asked;

    (void)state;
    make(&source, FK_KEY_SIGN13);
    submit(&source);
    asked = read_asked();
    answer(&asked, FK_ERR_CRYPTO, NULL);
    assert_int_equal(server.asked, 0);
    assert_int_equal(result.times, 1);
    assert_err(result.err, FK_ERR_CRYPTO);
}

static void servers_that_refuse_are_the_end(void **state)
{
    struct source source;
    struct asked asked;

    (void)state;
    make(&source, FK_KEY_SIGN13);
    submit(&source);
    asked = read_asked();
    server.refuse = FK_ERR_UNAVAILABLE;
    answer(&asked, FK_OK, "sealed share");
    for (int i = 0; i < 1000 && result.times == 0; i++)
        turn();
    assert_int_equal(result.times, 1);
    assert_err(result.err, FK_ERR_UNAVAILABLE);
}

static void cancelled_operations_tell_nobody(void **state)
{
    struct fk_keyback *back = fk_sharekeys_back(keys);
    struct fk_key_ticket *ticket;
    struct source source;
    struct asked asked;

    (void)state;
    make(&source, FK_KEY_DECRYPT);
    ticket = submit(&source);
    asked = read_asked();
    back->ops->cancel(back, ticket);
    assert_int_equal(fk_signer_pool_outstanding(signers), 0);
    ticket = submit(&source);
    asked = read_asked();
    answer(&asked, FK_OK, "sealed share");
    assert_int_equal(server.asked, 1);
    back->ops->cancel(back, ticket);
    assert_int_equal(server.cancelled, 1);
    assert_int_equal(result.times, 0);
    back->ops->suspect(back);
    assert_int_equal(server.suspected, 1);
}

/* The end with one operation in each step. */
static void the_end_forgets_what_is_under_way(void **state)
{
    struct source source;
    struct asked asked;

    (void)state;
    make(&source, FK_KEY_SIGN12);
    submit(&source);
    asked = read_asked();
    answer(&asked, FK_OK, "sealed share");
    submit(&source);
    fk_sharekeys_free(keys);
    keys = NULL;
    assert_int_equal(server.cancelled, 1);
    assert_int_equal(fk_signer_pool_outstanding(signers), 0);
    assert_int_equal(result.times, 0);
}

static void what_is_too_long_is_refused(void **state)
{
    struct fk_keyback *back = fk_sharekeys_back(keys);
    struct fk_key_ticket *ticket = NULL;
    struct source source;

    (void)state;
    make(&source, FK_KEY_SIGN13);
    source.request.tbs_len = FK_KEY_PAYLOAD_MAX + 1;
    assert_err(back->ops->submit(back, &source.request, done, NULL, &ticket), FK_ERR_LIMIT);
    make(&source, FK_KEY_CALL);
    source.request.u.call.len = FK_KEY_CALL_MAX + 1;
    assert_err(back->ops->submit(back, &source.request, done, NULL, &ticket), FK_ERR_LIMIT);
    assert_null(ticket);
    assert_int_equal(fk_signer_pool_outstanding(signers), 0);
}

static int submit_and_cancel(void *arg)
{
    struct fk_keyback *back = fk_sharekeys_back(keys);
    struct fk_key_ticket *ticket;
    int err = back->ops->submit(back, arg, done, NULL, &ticket);

    if (err == FK_OK)
        back->ops->cancel(back, ticket);
    return err;
}

static void memory_may_end(void **state)
{
    struct source source;

    (void)state;
    make(&source, FK_KEY_SIGN12);
    assert_ok(submit_and_cancel(&source.request)); /* buffers of the pool are there from now on */
    assert_true(failmalloc_try(submit_and_cancel, &source.request) > 0);
    assert_int_equal(result.times, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

UNIT_MAIN(CASE(each_operation_goes_with_its_share),
          CASE(a_key_without_a_share_here_is_asked_for_as_any),
          CASE(a_signer_that_cannot_is_the_end), CASE(servers_that_refuse_are_the_end),
          CASE(cancelled_operations_tell_nobody), CASE(the_end_forgets_what_is_under_way),
          CASE(what_is_too_long_is_refused), CASE(memory_may_end))
