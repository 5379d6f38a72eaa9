/* signer/client: the pool against signers that answer, lie, stall and die, played by the test. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"
#include "signer/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE 2000000
#define CALLS    64

struct call {
    struct fk_signer_call *call;
    int done; /* number of callbacks */
    int err;
    size_t len;
    uint8_t data[FK_SIGNER_RESULT_MAX];
    uint32_t micros;
};

static struct fk_loop *loop;
static struct fk_signer_pool *pool;
static struct call calls[CALLS];
static int waiting_for; /* callbacks until the loop stops */
static void (*on_done)(struct call *call);
static const uint8_t ski[20] = {7};

static void done(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct call *call = arg;

    call->done++;
    call->err = err;
    call->len = len;
    call->micros = micros;
    if (len > 0)
        memcpy(call->data, data, len);
    if (on_done != NULL)
        on_done(call);
    if (--waiting_for == 0)
        fk_loop_stop(loop);
}

static void give_up(struct fk_timer *timer)
{
    (void)timer;
    fail_msg("the loop waits for something that does not come");
}

/* Run the loop until `n` callbacks were made. */
static void wait_for(int n)
{
    struct fk_timer guard;

    waiting_for = n;
    if (n == 0)
        return;
    fk_timer_init(&guard, loop, give_up);
    fk_timer_start(&guard, 10 * DEADLINE);
    fk_loop_run(loop);
    fk_timer_stop(&guard);
    assert_int_equal(waiting_for, 0);
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

static int setup(void **state)
{
    (void)state;
    memset(calls, 0, sizeof calls);
    on_done = NULL;
    assert_ok(fk_loop_new(&loop));
    assert_ok(fk_signer_pool_new(loop, DEADLINE, CALLS, &pool));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_signer_pool_free(pool);
    fk_loop_free(loop);
    return 0;
}

static int add_signer(uint32_t generation)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_signer_pool_add(pool, fds[0], generation, 0));
    return fds[1];
}

static const struct fk_signer_ask ping = {.op = FK_SIGNER_PING};

static void submit(int i)
{
    char payload[24];
    struct fk_signer_ask ask = {
        .op = FK_SIGNER_DIALECT1, .detail = (uint16_t)i, .ski = ski, .payload = payload};

    snprintf(payload, sizeof payload, "payload %d", i);
    ask.len = strlen(payload);
    assert_ok(fk_signer_pool_submit(pool, &ask, done, &calls[i], &calls[i].call));
}

/* Requests that a signer has: their details in order; ids kept to answer them. */
struct inbox {
    int count;
    struct fk_signer_request requests[CALLS];
};

static struct inbox read_inbox(int fd)
{
    struct inbox inbox = {0};
    uint8_t bytes[65536];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    size_t at = 0;

    while (n > 0 && at < (size_t)n) {
        struct fk_signer_request *request = &inbox.requests[inbox.count++];
        char want[24];

        memcpy(request, bytes + at, sizeof *request);
        snprintf(want, sizeof want, "payload %d", request->detail);
        assert_int_equal(request->len, strlen(want));
        assert_memory_equal(bytes + at + sizeof *request, want, request->len);
        assert_memory_equal(request->ski, ski, 20);
        at += sizeof *request + request->len;
    }
    return inbox;
}

static void answer(int fd, uint32_t id, int err, const char *text)
{
    struct fk_signer_result result = {
        .len = (uint32_t)strlen(text), .id = id, .err = err, .micros = 42};

    assert_int_equal(send(fd, &result, sizeof result, 0), sizeof result);
    if (result.len > 0)
        assert_int_equal(send(fd, text, result.len, 0), result.len);
}

static bool is_closed(int fd)
{
    uint8_t byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* --- cases --- */

static void answers_find_their_calls_in_any_order(void **state)
{
    int fd = add_signer(1);
    struct inbox inbox;

    (void)state;
    for (int i = 0; i < 3; i++)
        submit(i);
    assert_int_equal(fk_signer_pool_outstanding(pool), 3);
    assert_int_equal(calls[0].done, 0);
    turn();
    inbox = read_inbox(fd);
    assert_int_equal(inbox.count, 3);
    answer(fd, inbox.requests[2].id, FK_OK, "two");
    answer(fd, inbox.requests[0].id, FK_OK, "zero");
    answer(fd, inbox.requests[1].id, FK_ERR_DENIED, "");
    wait_for(3);
    assert_int_equal(calls[0].len, 4);
    assert_memory_equal(calls[0].data, "zero", 4);
    assert_int_equal(calls[0].micros, 42);
    assert_err(calls[1].err, FK_ERR_DENIED);
    assert_memory_equal(calls[2].data, "two", 3);
    assert_int_equal(fk_signer_pool_outstanding(pool), 0);
    close(fd);
}

static void no_signer_is_an_error_at_once(void **state)
{
    struct fk_signer_call *call;

    (void)state;
    assert_err(fk_signer_pool_submit(pool, &ping, done, NULL, &call), FK_ERR_UNAVAILABLE);
    assert_int_equal(fk_signer_pool_outstanding(pool), 0);
}

static void outstanding_calls_are_bounded(void **state)
{
    const struct fk_signer_ask long_ask = {
        .op = FK_SIGNER_PING, .payload = calls, .len = FK_SIGNER_PAYLOAD_MAX + 1};
    struct fk_signer_call *call;
    int fd = add_signer(1);

    (void)state;
    for (int i = 0; i < CALLS; i++)
        submit(i);
    assert_err(fk_signer_pool_submit(pool, &ping, done, NULL, &call), FK_ERR_LIMIT);
    fk_signer_pool_cancel(pool, calls[5].call);
    submit(5);
    assert_int_equal(fk_signer_pool_outstanding(pool), CALLS);
    assert_err(fk_signer_pool_submit(pool, &long_ask, done, NULL, &call), FK_ERR_INVAL);
    close(fd);
}

/* Answers find their calls whatever the bound is meanwhile. */
static void bounds_may_change(void **state)
{
    int fd = add_signer(1);
    struct fk_signer_call *call;
    struct inbox inbox;

    (void)state;
    assert_ok(fk_signer_pool_set(pool, DEADLINE, 2));
    submit(0);
    submit(1);
    assert_err(fk_signer_pool_submit(pool, &ping, done, &calls[2], &call), FK_ERR_LIMIT);
    assert_ok(fk_signer_pool_set(pool, DEADLINE, 2 * CALLS));
    for (int i = 2; i < CALLS; i++)
        submit(i);
    assert_int_equal(fk_signer_pool_outstanding(pool), CALLS);
    assert_ok(fk_signer_pool_set(pool, DEADLINE, 1));
    turn();
    inbox = read_inbox(fd);
    for (int i = 0; i < CALLS; i++) {
        assert_err(fk_signer_pool_submit(pool, &ping, done, &calls[0], &call), FK_ERR_LIMIT);
        answer(fd, inbox.requests[i].id, FK_OK, "answer");
        wait_for(1);
        assert_int_equal(calls[i].done, 1);
        assert_ok(calls[i].err);
    }
    submit(0);
    assert_err(fk_signer_pool_set(pool, DEADLINE, 0), FK_ERR_INVAL);
    assert_err(fk_signer_pool_set(pool, DEADLINE, FK_SIGNER_CALLS_MAX + 1), FK_ERR_INVAL);
    close(fd);
}

static void a_shorter_deadline_holds_for_calls_under_way(void **state)
{
    int fd = add_signer(1);

    (void)state;
    assert_ok(fk_signer_pool_set(pool, 1000 * (uint64_t)DEADLINE, CALLS));
    submit(0);
    assert_ok(fk_signer_pool_set(pool, 1000, CALLS));
    submit(1);
    wait_for(2);
    assert_err(calls[0].err, FK_ERR_TIMEOUT);
    assert_err(calls[1].err, FK_ERR_TIMEOUT);
    close(fd);
}

static void work_goes_to_the_least_busy(void **state)
{
    int a = add_signer(1), b = add_signer(1);
    struct inbox in_a, in_b;

    (void)state;
    for (int i = 0; i < 4; i++)
        submit(i);
    turn();
    in_a = read_inbox(a);
    in_b = read_inbox(b);
    assert_int_equal(in_a.count, 2);
    assert_int_equal(in_b.count, 2);
    answer(a, in_a.requests[0].id, FK_OK, "");
    answer(a, in_a.requests[1].id, FK_OK, "");
    wait_for(2);
    submit(4);
    submit(5);
    turn();
    assert_int_equal(read_inbox(a).count, 2);
    assert_int_equal(read_inbox(b).count, 0);
    close(a);
    close(b);
}

static int submit_to(int i, struct fk_signer_route *route)
{
    char payload[24];
    struct fk_signer_ask ask = {.op = FK_SIGNER_DIALECT1,
                                .detail = (uint16_t)i,
                                .ski = ski,
                                .payload = payload,
                                .route = route};

    snprintf(payload, sizeof payload, "payload %d", i);
    ask.len = strlen(payload);
    return fk_signer_pool_submit(pool, &ask, done, &calls[i], &calls[i].call);
}

/* Who has answered is written down; who is written down is asked, in order, and nobody else. */
static void a_route_leads_to_one_signer(void **state)
{
    int a = add_signer(1), b = add_signer(1);
    struct fk_signer_route route = {0}, nowhere = {77};
    struct inbox inbox;

    (void)state;
    submit(0); /* to the one */
    assert_ok(submit_to(1, &route));
    turn();
    inbox = read_inbox(a);
    assert_int_equal(inbox.count, 1);
    inbox = read_inbox(b);
    assert_int_equal(inbox.count, 1);
    answer(b, inbox.requests[0].id, FK_OK, "here");
    wait_for(1);
    assert_int_equal(calls[1].done, 1);
    assert_int_equal(route.signer, 2);
    for (int i = 2; i < 6; i++)
        assert_ok(submit_to(i, &route)); /* however busy it is */
    turn();
    inbox = read_inbox(b);
    assert_int_equal(inbox.count, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(inbox.requests[i].detail, i + 2);
    assert_err(submit_to(6, &nowhere), FK_ERR_UNAVAILABLE);
    close(b);
    wait_for(4);
    for (int i = 2; i < 6; i++)
        assert_err(calls[i].err, FK_ERR_UNAVAILABLE);
    turn();
    assert_int_equal(read_inbox(a).count, 0);
    assert_err(submit_to(7, &route), FK_ERR_UNAVAILABLE);
    assert_int_equal(calls[0].done, 0);
    close(a);
}

/* A signer that is late keeps what only it can do. */
static void a_late_signer_keeps_what_is_routed_to_it(void **state)
{
    int a = add_signer(1), b;
    struct fk_signer_route route = {1};

    (void)state;
    assert_ok(fk_signer_pool_set(pool, 40000, CALLS));
    assert_ok(submit_to(0, &route));
    submit(1);
    turn();
    assert_int_equal(read_inbox(a).count, 2);
    b = add_signer(1);
    wait_for(2);                              /* for the deadline */
    assert_int_equal(read_inbox(b).count, 1); /* the one that anybody can do */
    assert_err(calls[0].err, FK_ERR_TIMEOUT);
    assert_int_equal(route.signer, 1);
    close(a);
    close(b);
}

static void cancelled_call_is_never_called_back(void **state)
{
    int fd = add_signer(1);
    struct inbox inbox;

    (void)state;
    submit(0);
    turn();
    inbox = read_inbox(fd);
    fk_signer_pool_cancel(pool, calls[0].call);
    submit(1); /* takes the slot; another id */
    turn();
    assert_int_not_equal(read_inbox(fd).requests[0].id, inbox.requests[0].id);
    answer(fd, inbox.requests[0].id, FK_OK, "late");
    turn();
    assert_int_equal(calls[0].done, 0);
    assert_int_equal(calls[1].done, 0);
    assert_int_equal(fk_signer_pool_outstanding(pool), 1);
    close(fd);
}

static void deadline_ends_a_call(void **state)
{
    struct fk_signer_pool *quick;
    struct fk_signer_call *call;
    int fds[2];

    (void)state;
    assert_ok(fk_signer_pool_new(loop, 20000, 4, &quick));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_signer_pool_add(quick, fds[0], 1, 0));
    for (int i = 0; i < 3; i++)
        assert_ok(fk_signer_pool_submit(quick, &ping, done, &calls[i], &call));
    wait_for(3);
    for (int i = 0; i < 3; i++)
        assert_err(calls[i].err, FK_ERR_TIMEOUT);
    assert_int_equal(fk_signer_pool_outstanding(quick), 0);
    fk_signer_pool_free(quick);
    close(fds[1]);
}

static void dead_signers_calls_go_to_another_once(void **state)
{
    int a = add_signer(1), b, c;
    struct inbox inbox;

    (void)state;
    submit(0);
    submit(1);
    turn();
    b = add_signer(1);
    assert_int_equal(read_inbox(a).count, 2);
    close(a);
    turn();
    inbox = read_inbox(b);
    assert_int_equal(inbox.count, 2);
    answer(b, inbox.requests[0].id, FK_OK, "zero");
    wait_for(1);
    assert_ok(calls[0].err);
    c = add_signer(1);
    close(b); /* the second death of call 1 */
    wait_for(1);
    assert_err(calls[1].err, FK_ERR_UNAVAILABLE);
    assert_int_equal(read_inbox(c).count, 0);
    close(c);
}

static void calls_wait_for_a_new_signer(void **state)
{
    int a = add_signer(1), b;
    struct inbox inbox;

    (void)state;
    submit(0);
    turn();
    close(a);
    turn();
    assert_int_equal(calls[0].done, 0);
    submit(1); /* one that comes in between waits as well */
    turn();
    b = add_signer(1);
    turn();
    inbox = read_inbox(b);
    assert_int_equal(inbox.count, 2);
    answer(b, inbox.requests[0].id, FK_OK, "zero");
    answer(b, inbox.requests[1].id, FK_OK, "one");
    wait_for(2);
    assert_ok(calls[0].err);
    assert_ok(calls[1].err);
    close(b);
}

static void without_a_new_signer_they_fail_at_their_deadline(void **state)
{
    struct fk_signer_pool *quick;
    struct fk_signer_call *call;
    int fds[2];

    (void)state;
    assert_ok(fk_signer_pool_new(loop, 20000, 4, &quick));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_signer_pool_add(quick, fds[0], 1, 0));
    assert_ok(fk_signer_pool_submit(quick, &ping, done, &calls[0], &call));
    close(fds[1]);
    wait_for(1);
    assert_err(calls[0].err, FK_ERR_UNAVAILABLE);
    fk_signer_pool_free(quick);
}

static void newer_generation_takes_over(void **state)
{
    int old = add_signer(1), idle = add_signer(1), new;
    struct inbox inbox;

    (void)state;
    submit(0);
    turn();
    new = add_signer(2);
    turn();
    assert_true(is_closed(idle) || is_closed(old)); /* the one without work */
    submit(1);
    submit(2);
    turn();
    assert_int_equal(read_inbox(new).count, 2);
    inbox = read_inbox(old);
    if (inbox.count == 0) {
        int swap = old;

        old = idle;
        idle = swap;
        inbox = read_inbox(old);
    }
    assert_int_equal(inbox.count, 1);
    answer(old, inbox.requests[0].id, FK_OK, "zero");
    wait_for(1);
    assert_ok(calls[0].err);
    turn();
    assert_true(is_closed(old)); /* its last request is answered */
    close(old);
    close(idle);
    close(new);
}

static void signer_that_lies_is_left(void **state)
{
    static const struct fk_signer_result lies[] = {
        {.len = FK_SIGNER_RESULT_MAX + 1, .id = 0},
        {.len = 1, .id = 0, .err = FK_ERR_DENIED},
        {.len = UINT32_MAX, .id = UINT32_MAX, .err = FK_OK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        int fd = add_signer(1);

        submit(0);
        turn();
        assert_int_equal(send(fd, &lies[i], sizeof lies[i], 0), sizeof lies[i]);
        turn();
        assert_int_equal(read_inbox(fd).count, 1);
        assert_true(is_closed(fd));
        fk_signer_pool_cancel(pool, calls[0].call);
        close(fd);
    }
    assert_int_equal(calls[0].done, 0);
}

static void answer_nobody_asked_for_ends_a_signer(void **state)
{
    int fd = add_signer(1);

    (void)state;
    answer(fd, 0, FK_OK, "surprise");
    turn();
    assert_true(is_closed(fd));
    close(fd);
}

static void answer_may_come_byte_by_byte(void **state)
{
    int fd = add_signer(1);
    struct fk_signer_result result = {.len = 3};
    uint8_t bytes[sizeof result + 3];

    (void)state;
    submit(0);
    turn();
    result.id = read_inbox(fd).requests[0].id;
    memcpy(bytes, &result, sizeof result);
    memcpy(bytes + sizeof result, "abc", 3);
    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_int_equal(calls[0].done, 0);
        assert_int_equal(send(fd, bytes + i, 1, 0), 1);
        turn();
    }
    assert_int_equal(calls[0].done, 1);
    assert_memory_equal(calls[0].data, "abc", 3);
    close(fd);
}

/* A signer that reads nothing for a while gets everything, in order, later. */
static void slow_signer_gets_all_requests(void **state)
{
    int fd = add_signer(1), small = 4096, got = 0;

    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < CALLS; i++)
        submit(i);
    turn();
    while (got < CALLS) {
        struct fk_signer_request request;
        uint8_t payload[24];

        while (recv(fd, &request, sizeof request, MSG_DONTWAIT) == sizeof request) {
            assert_int_equal(recv(fd, payload, request.len, 0), request.len);
            assert_int_equal(request.detail, got);
            got++;
        }
        turn();
    }
    close(fd);
}

static void free_pool(struct call *call)
{
    (void)call;
    fk_signer_pool_free(pool);
    pool = NULL;
    waiting_for = 1;
}

static void callback_may_free_the_pool(void **state)
{
    int fd = add_signer(1);
    struct inbox inbox;

    (void)state;
    for (int i = 0; i < 3; i++)
        submit(i);
    turn();
    inbox = read_inbox(fd);
    for (int i = 0; i < 3; i++)
        answer(fd, inbox.requests[i].id, FK_OK, "x");
    on_done = free_pool;
    wait_for(1);
    assert_int_equal(calls[0].done + calls[1].done + calls[2].done, 1);
    turn();
    close(fd);
}

static void callback_of_a_failure_may_free_the_pool(void **state)
{
    int fd = add_signer(1);

    (void)state;
    submit(0);
    submit(1);
    turn();
    close(fd);
    turn();
    fd = add_signer(1);
    turn();
    close(fd);
    on_done = free_pool;
    wait_for(1);
    assert_int_equal(calls[0].done + calls[1].done, 1);
    turn();
}

static void submit_again(struct call *call)
{
    if (call == &calls[0])
        submit(1);
}

static void callback_may_submit(void **state)
{
    int fd = add_signer(1);
    struct inbox inbox;

    (void)state;
    on_done = submit_again;
    submit(0);
    turn();
    inbox = read_inbox(fd);
    answer(fd, inbox.requests[0].id, FK_OK, "");
    wait_for(1);
    turn();
    inbox = read_inbox(fd);
    assert_int_equal(inbox.count, 1);
    answer(fd, inbox.requests[0].id, FK_OK, "");
    wait_for(1);
    assert_int_equal(calls[1].done, 1);
    close(fd);
}

/* --- as a back-end --- */

static void key_done(void *arg, int err, const uint8_t *data, size_t len)
{
    done(arg, err, data, len, 0);
}

static void backend_encodes_structures(void **state)
{
    struct fk_keyback *back = fk_signer_pool_back(pool);
    struct fk_key_request request = {
        .op = FK_KEY_SIGN13,
        .ski = {9},
        .u.sign13 = {.scheme = 0x0403, .role = FK_ROLE_SERVER, .hash_len = 32, .hash = {1, 2}}};
    struct fk_signer_request head;
    struct fk_key_ticket *ticket;
    struct fk_reader reader;
    struct fk_sign13 op;
    uint8_t bytes[256];
    ssize_t n;
    int fd;

    (void)state;
    assert_err(back->ops->submit(back, &request, key_done, &calls[0], &ticket), FK_ERR_UNAVAILABLE);
    fd = add_signer(1);
    assert_ok(back->ops->submit(back, &request, key_done, &calls[0], &ticket));
    turn();
    n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    assert_true(n > (ssize_t)sizeof head);
    memcpy(&head, bytes, sizeof head);
    assert_int_equal(head.op, FK_SIGNER_SIGN13);
    assert_int_equal(head.ski[0], 9);
    fk_reader_init(&reader, bytes + sizeof head, (size_t)n - sizeof head);
    assert_ok(fk_sign13_decode(reader, &op));
    assert_int_equal(op.scheme, 0x0403);
    assert_int_equal(op.hash[1], 2);
    answer(fd, head.id, FK_OK, "signature");
    wait_for(1);
    assert_memory_equal(calls[0].data, "signature", 9);
    assert_ok(back->ops->submit(back, &request, key_done, &calls[1], &ticket));
    back->ops->cancel(back, ticket);
    back->ops->suspect(back);
    turn();
    assert_int_equal(calls[1].done, 0);
    close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void never_called(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    (void)arg;
    (void)err;
    (void)data;
    (void)len;
    (void)micros;
    fail();
}

static int use_pool(void *context)
{
    const struct fk_signer_ask ask = {.op = FK_SIGNER_SIGN13, .payload = "x", .len = 1};
    struct fk_signer_pool *own;
    struct fk_signer_call *call;
    int fds[2], err;

    if ((err = fk_signer_pool_new(context, 1000000, 4, &own)) != FK_OK)
        return err;
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    if ((err = fk_signer_pool_add(own, fds[0], 1, 0)) == FK_OK &&
        (err = fk_signer_pool_submit(own, &ask, never_called, NULL, &call)) == FK_OK)
        fk_signer_pool_cancel(own, call);
    fk_signer_pool_free(own);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* taken, whether or not there was memory */
    assert_int_equal(errno, EBADF);
    close(fds[1]);
    return err;
}

/* More signers than a pool has room for; the socket is the pool's to close all the same. */
static void one_signer_too_many_is_closed(void **state)
{
    int fds[2];

    (void)state;
    for (unsigned i = 0; i < FK_SIGNER_POOL_MAX; i++) {
        assert_ok(fk_sock_pair(SOCK_STREAM, fds));
        assert_ok(fk_signer_pool_add(pool, fds[0], 1, i));
        close(fds[1]);
    }
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_err(fk_signer_pool_add(pool, fds[0], 1, 0), FK_ERR_LIMIT);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    close(fds[1]);
}

static void every_failed_allocation_is_survived(void **state)
{
    struct fk_loop *loop_of_its_own;

    (void)state;
    assert_ok(fk_loop_new(&loop_of_its_own));
    assert_true(failmalloc_try(use_pool, loop_of_its_own) > 2);
    fk_loop_free(loop_of_its_own);
}

UNIT_MAIN(CASE(answers_find_their_calls_in_any_order), CASE(no_signer_is_an_error_at_once),
          CASE(outstanding_calls_are_bounded), CASE(bounds_may_change),
          CASE(a_shorter_deadline_holds_for_calls_under_way), CASE(work_goes_to_the_least_busy),
          CASE(a_route_leads_to_one_signer), CASE(a_late_signer_keeps_what_is_routed_to_it),
          CASE(cancelled_call_is_never_called_back), CASE(deadline_ends_a_call),
          CASE(dead_signers_calls_go_to_another_once), CASE(calls_wait_for_a_new_signer),
          CASE(without_a_new_signer_they_fail_at_their_deadline), CASE(newer_generation_takes_over),
          CASE(signer_that_lies_is_left), CASE(answer_nobody_asked_for_ends_a_signer),
          CASE(answer_may_come_byte_by_byte), CASE(slow_signer_gets_all_requests),
          CASE(callback_may_free_the_pool), CASE(callback_of_a_failure_may_free_the_pool),
          CASE(callback_may_submit), CASE(backend_encodes_structures),
          CASE(one_signer_too_many_is_closed), CASE(every_failed_allocation_is_survived))
