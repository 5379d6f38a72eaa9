/* edge/lendkeys: operations with keys that are lent; signers and key servers are the test's. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/writer.h"
#include "edge/lendkeys.h"
#include "loop/sock.h"
#include "wire/keymsg.h"
#include "wire/keyop_lend.h"

#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE 2000000
#define MANY     5

static struct fk_loop *loop;
static struct fk_signer_pool *signers;
static struct fk_lendkeys *keys;
static int signer; /* the other end */

/* --- key servers --- */

static struct {
    int asked, cancelled;
    int refuse; /* what submit() gives */
    uint8_t payload[FK_LEND_SIZE];
    char sni[64];
    fk_key_done_cb *done;
    void *arg;
} server;

static int server_submit(struct fk_keyback *back, const struct fk_key_request *request,
                         fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    (void)back;
    if (server.refuse != FK_OK)
        return server.refuse;
    server.asked++;
    assert_int_equal(request->op, FK_KEY_CALL);
    assert_int_equal(request->u.call.opcode, FK_OP_LEND);
    assert_int_equal(request->u.call.len, FK_LEND_SIZE);
    assert_int_equal(request->ski[0], 'k');
    memcpy(server.payload, request->u.call.payload, FK_LEND_SIZE);
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

static const struct fk_keyback_ops server_ops = {.submit = server_submit, .cancel = server_cancel};
static struct fk_keyback servers = {.ops = &server_ops, .deadline_us = DEADLINE};

/* --- who asks --- */

static struct result {
    int times, err;
    size_t len;
    uint8_t data[16];
} results[MANY];
static int order[MANY], n_done;

static void done(void *arg, int err, const uint8_t *data, size_t len)
{
    struct result *result = arg;

    order[n_done++] = (int)(result - results);
    result->times++;
    result->err = err;
    result->len = len;
    if (len > 0)
        memcpy(result->data, data, len);
}

static int start(uint32_t seconds)
{
    const struct fk_lendkeys_config config = {
        .loop = loop, .servers = &servers, .signers = signers, .seconds = seconds, .site = "s"};

    return fk_lendkeys_new(&config, &keys);
}

static int add_signer(void)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_signer_pool_add(signers, fds[0], 1, 0));
    return fds[1];
}

static int setup(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    memset(results, 0, sizeof results);
    n_done = 0;
    assert_ok(fk_loop_new(&loop));
    assert_ok(fk_signer_pool_new(loop, DEADLINE, 16, &signers));
    signer = add_signer();
    assert_ok(start(60));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_lendkeys_free(keys);
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
    uint8_t payload[512];
};

static struct asked read_from(int fd, enum fk_signer_op op)
{
    struct asked asked;

    turn();
    assert_int_equal(recv(fd, &asked.head, sizeof asked.head, MSG_DONTWAIT), sizeof asked.head);
    assert_int_equal(asked.head.op, op);
    assert_int_equal(asked.head.ski[0], 'k');
    assert_true(asked.head.len <= sizeof asked.payload);
    if (asked.head.len > 0)
        assert_int_equal(recv(fd, asked.payload, asked.head.len, MSG_DONTWAIT), asked.head.len);
    return asked;
}

static struct asked read_asked(enum fk_signer_op op)
{
    return read_from(signer, op);
}

static void assert_nothing_asked(int fd)
{
    uint8_t byte;

    turn();
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
}

static void answer_at(int fd, const struct asked *asked, int err, const void *data, size_t len)
{
    struct fk_signer_result head = {.id = asked->head.id, .err = err, .len = (uint32_t)len};

    assert_int_equal(send(fd, &head, sizeof head, 0), sizeof head);
    if (len > 0)
        assert_int_equal(send(fd, data, len, 0), len);
    for (int i = 0; i < 3; i++)
        turn();
}

static void answer(const struct asked *asked, int err, const char *data)
{
    answer_at(signer, asked, err, data, data == NULL ? 0 : strlen(data));
}

/* What the signer wants a key server to be asked for: `once` of bytes `c`. */
static void answer_ask(int fd, const struct asked *asked, char c)
{
    struct fk_lend op = {.seconds = 60};
    uint8_t bytes[FK_LEND_SIZE];
    struct fk_writer writer;

    assert_int_equal(asked->head.len, 4);
    memset(op.once, c, sizeof op.once);
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_lend_encode(&op, &writer);
    answer_at(fd, asked, FK_OK, bytes, sizeof bytes);
}

/* --- requests --- */

static struct fk_key_ticket *submit(int i)
{
    struct fk_keyback *back = fk_lendkeys_back(keys);
    char sni[16];
    const struct fk_key_context context = {.sni = sni};
    struct fk_key_request request = {
        .op = FK_KEY_SIGN13,
        .u.sign13 = {.scheme = (uint16_t)i, .role = FK_ROLE_SERVER, .hash_len = 32},
        .context = &context};
    struct fk_key_ticket *ticket;

    snprintf(sni, sizeof sni, "site%d", i);
    memset(request.ski, 'k', sizeof request.ski);
    assert_ok(back->ops->submit(back, &request, done, &results[i], &ticket));
    return ticket;
}

/* The payload of request `i`, as it stands in one to the signer. */
static void assert_operation(const struct asked *asked, size_t at, int i)
{
    struct fk_reader reader;
    struct fk_sign13 op;

    assert_int_equal(asked->head.detail, FK_OP_SIGN13);
    fk_reader_init(&reader, asked->payload + at, asked->head.len - at);
    assert_ok(fk_sign13_decode(reader, &op));
    assert_int_equal(op.scheme, i);
}

/* `once`, the key server's answer, the operation. */
static void assert_borrow(const struct asked *asked, char once, const char *lent, int i)
{
    struct fk_reader reader, item;
    uint8_t key[FK_LEND_KEY], expected[FK_LEND_KEY];

    fk_reader_init(&reader, asked->payload, asked->head.len);
    assert_ok(fk_reader_copy(&reader, key, sizeof key));
    memset(expected, once, sizeof expected);
    assert_memory_equal(key, expected, sizeof key);
    assert_ok(fk_reader_vec16(&reader, &item));
    assert_int_equal(item.left, strlen(lent));
    assert_memory_equal(item.next, lent, item.left);
    assert_operation(asked, asked->head.len - reader.left, i);
}

static void assert_result(int i, int err, const char *data)
{
    assert_int_equal(results[i].times, 1);
    assert_err(results[i].err, err);
    assert_int_equal(results[i].len, data == NULL ? 0 : strlen(data));
    if (data != NULL)
        assert_memory_equal(results[i].data, data, results[i].len);
}

static void lend(const char *lent)
{
    server.done(server.arg, FK_OK, (const uint8_t *)lent, strlen(lent));
}

/* --- cases --- */

static void a_key_that_is_here_is_used(void **state)
{
    struct asked asked;

    (void)state;
    submit(1);
    asked = read_asked(FK_SIGNER_LENT);
    assert_operation(&asked, 0, 1);
    answer(&asked, FK_OK, "signature");
    assert_result(1, FK_OK, "signature");
    assert_int_equal(server.asked, 0);
}

static void a_key_that_is_not_here_is_borrowed(void **state)
{
    struct fk_lendkeys_stats stats;
    struct asked asked;

    (void)state;
    submit(1);
    asked = read_asked(FK_SIGNER_LENT);
    answer(&asked, FK_ERR_KEY_NOT_FOUND, NULL);
    asked = read_asked(FK_SIGNER_LEND_ASK);
    assert_memory_equal(asked.payload, "\0\0\0\74", 4);
    answer_ask(signer, &asked, 'o');
    assert_int_equal(server.asked, 1);
    assert_int_equal(server.payload[FK_LEND_KEY], 'o');
    assert_string_equal(server.sni, "site1");
    lend("sealed");
    asked = read_asked(FK_SIGNER_BORROW);
    assert_borrow(&asked, 'o', "sealed", 1);
    answer(&asked, FK_OK, "signature");
    assert_result(1, FK_OK, "signature");
    fk_lendkeys_stats(keys, &stats);
    assert_int_equal(stats.lendings, 1);
    assert_int_equal(stats.failures, 0);
}

static void those_who_want_it_meanwhile_wait_for_one_lending(void **state)
{
    struct asked asked[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        submit(i);
    for (int i = 0; i < 3; i++)
        asked[i] = read_asked(FK_SIGNER_LENT);
    for (int i = 0; i < 3; i++)
        answer(&asked[i], FK_ERR_KEY_NOT_FOUND, NULL);
    asked[0] = read_asked(FK_SIGNER_LEND_ASK);
    assert_nothing_asked(signer);
    answer_ask(signer, &asked[0], 'o');
    submit(3); /* comes while the key is on its way */
    asked[0] = read_asked(FK_SIGNER_LENT);
    answer(&asked[0], FK_ERR_KEY_NOT_FOUND, NULL);
    assert_int_equal(server.asked, 1);
    lend("sealed");
    asked[0] = read_asked(FK_SIGNER_BORROW);
    assert_borrow(&asked[0], 'o', "sealed", 0);
    for (int i = 1; i < 4; i++) { /* behind it, in the order in which they came */
        struct asked next = read_asked(FK_SIGNER_LENT);

        assert_operation(&next, 0, i);
        answer(&next, FK_OK, "more");
        assert_result(i, FK_OK, "more");
    }
    assert_int_equal(server.asked, 1);
}

/* The signer has said that the key is not here, and before that is read the key has come. */
static void answers_that_cross_with_the_key_begin_no_lending(void **state)
{
    struct asked asked, late;

    (void)state;
    submit(0);
    asked = read_asked(FK_SIGNER_LENT);
    answer(&asked, FK_ERR_KEY_NOT_FOUND, NULL);
    asked = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &asked, 'o');
    submit(1);
    late = read_asked(FK_SIGNER_LENT);
    lend("sealed");
    asked = read_asked(FK_SIGNER_BORROW);
    answer(&late, FK_ERR_KEY_NOT_FOUND, NULL);
    late = read_asked(FK_SIGNER_LENT); /* once more, behind the key */
    assert_operation(&late, 0, 1);
    answer(&asked, FK_OK, "zero");
    answer(&late, FK_OK, "one");
    assert_result(0, FK_OK, "zero");
    assert_result(1, FK_OK, "one");
    assert_int_equal(server.asked, 1);
}

/* And if what came was no good, it is borrowed after all. */
static void it_is_asked_once_more_for_each_lending(void **state)
{
    struct asked asked, late;

    (void)state;
    submit(0);
    asked = read_asked(FK_SIGNER_LENT);
    answer(&asked, FK_ERR_KEY_NOT_FOUND, NULL);
    asked = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &asked, 'o');
    submit(1);
    late = read_asked(FK_SIGNER_LENT);
    lend("sealed");
    asked = read_asked(FK_SIGNER_BORROW);
    answer(&late, FK_ERR_KEY_NOT_FOUND, NULL);
    late = read_asked(FK_SIGNER_LENT);
    answer(&asked, FK_ERR_VERIFY, NULL);
    assert_result(0, FK_ERR_VERIFY, NULL);
    answer(&late, FK_ERR_KEY_NOT_FOUND, NULL);
    asked = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &asked, 'p');
    assert_int_equal(server.asked, 2);
    lend("again");
    asked = read_asked(FK_SIGNER_BORROW);
    assert_borrow(&asked, 'p', "again", 1);
    answer(&asked, FK_OK, "one");
    assert_result(1, FK_OK, "one");
}

static void for_one_operation_each_has_a_lending(void **state)
{
    struct asked first, second;

    (void)state;
    fk_lendkeys_free(keys);
    assert_ok(start(0));
    submit(0);
    first = read_asked(FK_SIGNER_LEND_ASK);
    assert_memory_equal(first.payload, "\0\0\0\0", 4);
    submit(1);
    second = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &first, 'a');
    lend("sealed a");
    first = read_asked(FK_SIGNER_BORROW);
    assert_borrow(&first, 'a', "sealed a", 0);
    answer_ask(signer, &second, 'b');
    lend("sealed b");
    second = read_asked(FK_SIGNER_BORROW);
    assert_borrow(&second, 'b', "sealed b", 1);
    assert_int_equal(server.asked, 2);
}

/* Each signer has its own keys: what one was asked for is brought to no other. */
static void each_signer_is_lent_to(void **state)
{
    int other = add_signer();
    struct asked one, two;

    (void)state;
    submit(0);
    submit(1); /* to the one with less to do */
    one = read_asked(FK_SIGNER_LENT);
    two = read_from(other, FK_SIGNER_LENT);
    answer_at(signer, &one, FK_ERR_KEY_NOT_FOUND, NULL, 0);
    answer_at(other, &two, FK_ERR_KEY_NOT_FOUND, NULL, 0);
    one = read_asked(FK_SIGNER_LEND_ASK);
    two = read_from(other, FK_SIGNER_LEND_ASK);
    answer_ask(other, &two, 'b');
    lend("sealed b");
    two = read_from(other, FK_SIGNER_BORROW);
    assert_operation(&two, two.head.len - 36, 1);
    answer_ask(signer, &one, 'a');
    assert_int_equal(server.asked, 2);
    close(other);
    turn();
    assert_result(1, FK_ERR_UNAVAILABLE, NULL); /* nobody else has the key */
    lend("sealed a");
    one = read_asked(FK_SIGNER_BORROW);
    assert_borrow(&one, 'a', "sealed a", 0);
}

static void a_refusal_is_everybodys(void **state)
{
    struct fk_lendkeys_stats stats;
    struct asked asked[2];

    (void)state;
    submit(0);
    submit(1);
    for (int i = 0; i < 2; i++)
        asked[i] = read_asked(FK_SIGNER_LENT);
    for (int i = 0; i < 2; i++)
        answer(&asked[i], FK_ERR_KEY_NOT_FOUND, NULL);
    asked[0] = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &asked[0], 'o');
    server.done(server.arg, FK_ERR_DENIED, NULL, 0);
    assert_int_equal(n_done, 0); /* each in its turn of the loop */
    turn();
    assert_result(0, FK_ERR_DENIED, NULL);
    assert_result(1, FK_ERR_DENIED, NULL);
    fk_lendkeys_stats(keys, &stats);
    assert_int_equal(stats.lendings, 0);
    assert_int_equal(stats.failures, 1);
    /* The next one asks again; and a server that takes no request at all is as good. */
    server.refuse = FK_ERR_UNAVAILABLE;
    submit(2);
    asked[0] = read_asked(FK_SIGNER_LENT);
    answer(&asked[0], FK_ERR_KEY_NOT_FOUND, NULL);
    asked[0] = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &asked[0], 'p');
    turn();
    assert_result(2, FK_ERR_UNAVAILABLE, NULL);
}

static void a_signer_that_cannot_is_the_end(void **state)
{
    struct asked asked;

    (void)state;
    submit(0);
    asked = read_asked(FK_SIGNER_LENT);
    answer(&asked, FK_ERR_CRYPTO, NULL);
    assert_result(0, FK_ERR_CRYPTO, NULL);
    submit(1);
    asked = read_asked(FK_SIGNER_LENT);
    answer(&asked, FK_ERR_KEY_NOT_FOUND, NULL);
    asked = read_asked(FK_SIGNER_LEND_ASK);
    answer(&asked, FK_ERR_UNSUPPORTED, NULL);
    turn();
    assert_result(1, FK_ERR_UNSUPPORTED, NULL);
    assert_int_equal(server.asked, 0);
    /* It says something that is no request. */
    submit(2);
    asked = read_asked(FK_SIGNER_LENT);
    answer(&asked, FK_ERR_KEY_NOT_FOUND, NULL);
    asked = read_asked(FK_SIGNER_LEND_ASK);
    answer(&asked, FK_OK, "short");
    turn();
    assert_result(2, FK_ERR_TRUNCATED, NULL);
    assert_int_equal(server.asked, 0);
}

/* Who waited for a lending does not wait for another. */
static void a_key_that_goes_as_it_comes_is_not_chased(void **state)
{
    struct asked asked[2];

    (void)state;
    submit(0);
    submit(1);
    for (int i = 0; i < 2; i++)
        asked[i] = read_asked(FK_SIGNER_LENT);
    for (int i = 0; i < 2; i++)
        answer(&asked[i], FK_ERR_KEY_NOT_FOUND, NULL);
    asked[0] = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &asked[0], 'o');
    lend("sealed");
    asked[0] = read_asked(FK_SIGNER_BORROW);
    asked[1] = read_asked(FK_SIGNER_LENT);
    answer(&asked[0], FK_ERR_VERIFY, NULL);
    answer(&asked[1], FK_ERR_KEY_NOT_FOUND, NULL);
    assert_result(0, FK_ERR_VERIFY, NULL);
    assert_result(1, FK_ERR_EXPIRED, NULL);
}

/* Requests `from` to `to` - 1: the signer has not got the key, and is asked what it wants. */
static struct asked begin(int from, int to, struct fk_key_ticket *ret[])
{
    struct asked asked[MANY];

    for (int i = from; i < to; i++)
        ret[i] = submit(i);
    for (int i = from; i < to; i++)
        asked[i] = read_asked(FK_SIGNER_LENT);
    for (int i = from; i < to; i++)
        answer(&asked[i], FK_ERR_KEY_NOT_FOUND, NULL);
    return read_asked(FK_SIGNER_LEND_ASK);
}

static void cancelled_operations_leave_the_lending_to_others(void **state)
{
    struct fk_keyback *back = fk_lendkeys_back(keys);
    struct fk_key_ticket *tickets[MANY];
    struct asked asked = begin(0, 3, tickets);

    (void)state;
    back->ops->cancel(back, tickets[0]);
    answer_ask(signer, &asked, 'o');
    assert_string_equal(server.sni, "site1");
    back->ops->cancel(back, tickets[1]);
    lend("sealed");
    asked = read_asked(FK_SIGNER_BORROW);
    assert_borrow(&asked, 'o', "sealed", 2);
    back->ops->cancel(back, tickets[2]);
    assert_int_equal(fk_signer_pool_outstanding(signers), 0);
    assert_int_equal(server.cancelled, 0);
    assert_int_equal(n_done, 0);
    back->ops->suspect(back);
}

static void a_lending_for_nobody_is_given_up(void **state)
{
    struct fk_keyback *back = fk_lendkeys_back(keys);
    struct fk_key_ticket *tickets[MANY];
    struct asked asked = begin(0, 1, tickets);

    (void)state;
    back->ops->cancel(back, tickets[0]); /* the signer is asked */
    assert_int_equal(fk_signer_pool_outstanding(signers), 0);
    answer_ask(signer, &asked, 'o');
    assert_int_equal(server.asked, 0);
    asked = begin(1, 2, tickets);
    answer_ask(signer, &asked, 'p');
    back->ops->cancel(back, tickets[1]); /* the key server is */
    assert_int_equal(server.cancelled, 1);
    assert_int_equal(n_done, 0);
}

/* One in each step. */
static void the_end_forgets_what_is_under_way(void **state)
{
    struct fk_key_ticket *tickets[MANY];
    struct asked asked = begin(0, 2, tickets);

    (void)state;
    answer_ask(signer, &asked, 'o');
    submit(2);
    fk_lendkeys_free(keys);
    keys = NULL;
    assert_int_equal(server.cancelled, 1);
    assert_int_equal(fk_signer_pool_outstanding(signers), 0);
    assert_int_equal(n_done, 0);
}

static void free_keys(void *arg, int err, const uint8_t *data, size_t len)
{
    done(arg, err, data, len);
    fk_lendkeys_free(keys);
    keys = NULL;
}

/* The first of several that fail is told, and ends it all. */
static void a_callback_may_end_it(void **state)
{
    struct fk_keyback *back = fk_lendkeys_back(keys);
    const struct fk_key_context context = {.sni = "site0"};
    struct fk_key_request request = {
        .op = FK_KEY_SIGN13, .u.sign13 = {.hash_len = 32}, .context = &context};
    struct fk_key_ticket *ticket;
    struct asked first, second;

    (void)state;
    memset(request.ski, 'k', sizeof request.ski);
    assert_ok(back->ops->submit(back, &request, free_keys, &results[0], &ticket));
    submit(1);
    first = read_asked(FK_SIGNER_LENT);
    second = read_asked(FK_SIGNER_LENT);
    answer(&first, FK_ERR_KEY_NOT_FOUND, NULL);
    answer(&second, FK_ERR_KEY_NOT_FOUND, NULL);
    first = read_asked(FK_SIGNER_LEND_ASK);
    answer_ask(signer, &first, 'o');
    server.done(server.arg, FK_ERR_DENIED, NULL, 0);
    turn();
    assert_result(0, FK_ERR_DENIED, NULL);
    assert_int_equal(n_done, 1);
}

static void calls_are_not_for_signers(void **state)
{
    struct fk_keyback *back = fk_lendkeys_back(keys);
    const struct fk_key_request request = {.op = FK_KEY_CALL, .u.call = {0x48, NULL, 0}};
    struct fk_key_ticket *ticket;

    (void)state;
    assert_err(back->ops->submit(back, &request, done, &results[0], &ticket), FK_ERR_UNSUPPORTED);
    assert_true(back->deadline_us > DEADLINE);
}

static int submit_and_cancel(void *arg)
{
    struct fk_keyback *back = fk_lendkeys_back(keys);
    struct fk_key_ticket *ticket;
    int err = back->ops->submit(back, arg, done, &results[0], &ticket);

    if (err == FK_OK)
        back->ops->cancel(back, ticket);
    return err;
}

static void memory_may_end(void **state)
{
    struct fk_key_request request = {.op = FK_KEY_SIGN13,
                                     .u.sign13 = {.role = FK_ROLE_SERVER, .hash_len = 32}};

    (void)state;
    assert_ok(submit_and_cancel(&request)); /* buffers of the pool are there from now on */
    assert_true(failmalloc_try(submit_and_cancel, &request) > 0);
    fk_lendkeys_free(keys);
    assert_ok(start(0));
    assert_true(failmalloc_try(submit_and_cancel, &request) > 0);
    assert_int_equal(n_done, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

UNIT_MAIN(CASE(a_key_that_is_here_is_used), CASE(a_key_that_is_not_here_is_borrowed),
          CASE(those_who_want_it_meanwhile_wait_for_one_lending),
          CASE(answers_that_cross_with_the_key_begin_no_lending),
          CASE(it_is_asked_once_more_for_each_lending), CASE(for_one_operation_each_has_a_lending),
          CASE(each_signer_is_lent_to), CASE(a_refusal_is_everybodys),
          CASE(a_signer_that_cannot_is_the_end), CASE(a_key_that_goes_as_it_comes_is_not_chased),
          CASE(cancelled_operations_leave_the_lending_to_others),
          CASE(a_lending_for_nobody_is_given_up), CASE(the_end_forgets_what_is_under_way),
          CASE(a_callback_may_end_it), CASE(calls_are_not_for_signers), CASE(memory_may_end))
