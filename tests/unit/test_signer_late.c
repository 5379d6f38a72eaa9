/* signer/client: signers that give no answer for a part of the deadline, played by the test. */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"
#include "signer/client.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE UINT64_C(2000000)
#define LATE     (DEADLINE / FK_SIGNER_LATE_PART)
#define CALLS    16

struct call {
    struct fk_signer_call *call;
    int done; /* number of callbacks */
    int err;
    char data[16];
};

/* A signer: what it was asked, in order. */
struct played {
    int fd;
    size_t count;
    struct fk_signer_request requests[CALLS];
};

static struct fk_loop *loop;
static struct fk_signer_pool *pool;
static struct call calls[CALLS];
static struct played one, two;

static void done(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct call *call = arg;

    (void)micros;
    call->done++;
    call->err = err;
    assert_true(len < sizeof call->data);
    if (len > 0)
        memcpy(call->data, data, len);
}

static void add_signer(struct played *played, uint32_t generation)
{
    int fds[2];

    memset(played, 0, sizeof *played);
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_signer_pool_add(pool, fds[0], generation, 0));
    played->fd = fds[1];
}

static int setup(void **state)
{
    (void)state;
    memset(calls, 0, sizeof calls);
    assert_ok(fk_loop_new(&loop));
    assert_ok(fk_signer_pool_new(loop, DEADLINE, CALLS, &pool));
    add_signer(&one, 1);
    add_signer(&two, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_signer_pool_free(pool);
    fk_loop_free(loop);
    fk_close(&one.fd);
    fk_close(&two.fd);
    return 0;
}

static void submit(size_t i)
{
    const struct fk_signer_ask ask = {.op = FK_SIGNER_PING, .detail = (uint16_t)i};

    assert_ok(fk_signer_pool_submit(pool, &ask, done, &calls[i], &calls[i].call));
}

static void read_requests(struct played *played)
{
    struct fk_signer_request request;

    while (recv(played->fd, &request, sizeof request, MSG_DONTWAIT) == (ssize_t)sizeof request)
        played->requests[played->count++] = request;
}

static void stop_loop(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void turn(void)
{
    struct fk_timer timer;

    fk_timer_init(&timer, loop, stop_loop);
    fk_timer_start(&timer, 1000);
    fk_loop_run(loop);
    fk_timer_stop(&timer);
    read_requests(&one);
    read_requests(&two);
}

#define UNTIL(condition)                              \
    do {                                              \
        uint64_t end_ = fk_clock_us() + 5 * DEADLINE; \
        while (!(condition)) {                        \
            turn();                                   \
            assert_true(fk_clock_us() < end_);        \
        }                                             \
    } while (0)

static void answer(struct played *played, size_t i, const char *text)
{
    struct fk_signer_result result = {.len = (uint32_t)strlen(text), .id = played->requests[i].id};

    assert_int_equal(send(played->fd, &result, sizeof result, 0), sizeof result);
    assert_int_equal(send(played->fd, text, result.len, 0), result.len);
}

/* Let `one` owe calls 0 and 2 and be late, after `two` has answered call 1: they are with it. */
static void make_one_late(void)
{
    for (size_t i = 0; i < 3; i++)
        submit(i);
    UNTIL(one.count == 2 && two.count == 1);
    answer(&two, 0, "1");
    UNTIL(calls[1].done == 1);
    UNTIL(two.count == 3);
}

static void calls_of_a_late_signer_go_to_another(void **state)
{
    uint64_t start = fk_clock_us();

    (void)state;
    make_one_late();
    assert_in_range(fk_clock_us() - start, LATE, DEADLINE - LATE);
    assert_int_equal(calls[0].done + calls[2].done, 0);
    assert_int_equal(two.requests[1].detail, 0);
    assert_int_equal(two.requests[2].detail, 2);
    answer(&two, 1, "0");
    answer(&two, 2, "2");
    UNTIL(calls[0].done == 1 && calls[2].done == 1);
    assert_ok(calls[0].err);
    assert_string_equal(calls[0].data, "0");
    assert_string_equal(calls[2].data, "2");
    assert_int_equal(fk_signer_pool_outstanding(pool), 0);
}

/* Neither the call that was sent twice nor the next one in its place hears of it. */
static void late_answer_finds_nobody(void **state)
{
    (void)state;
    make_one_late();
    answer(&one, 0, "late"); /* before the other one's */
    answer(&two, 1, "0");
    UNTIL(calls[0].done == 1);
    assert_string_equal(calls[0].data, "0");
    answer(&two, 2, "2");
    UNTIL(calls[2].done == 1);
    submit(3);               /* in the place of one of them */
    answer(&one, 1, "late"); /* after it */
    UNTIL(one.count + two.count == 6);
    turn();
    assert_int_equal(calls[3].done, 0);
    assert_int_equal(calls[0].done + calls[2].done, 2);
    answer(one.count == 3 ? &one : &two, one.count == 3 ? 2 : 3, "3");
    UNTIL(calls[3].done == 1);
    assert_string_equal(calls[3].data, "3");
}

static void late_signer_gets_nothing_until_it_answers(void **state)
{
    (void)state;
    make_one_late();
    for (size_t i = 3; i < 7; i++)
        submit(i);
    UNTIL(two.count == 7); /* although it has more to do */
    assert_int_equal(one.count, 2);
    answer(&one, 0, "late");
    turn();
    submit(7); /* it owes one still, the other six */
    UNTIL(one.count == 3);
    assert_int_equal(one.requests[2].detail, 7);
}

static void calls_move_once(void **state)
{
    struct played three;

    (void)state;
    make_one_late();
    add_signer(&three, 1);
    UNTIL(calls[0].done == 1 && calls[2].done == 1);
    assert_err(calls[0].err, FK_ERR_TIMEOUT);
    assert_err(calls[2].err, FK_ERR_TIMEOUT);
    read_requests(&three);
    assert_int_equal(three.count, 0);
    fk_close(&three.fd);
}

/* Nobody does it sooner: a call stays where it is, and a new one is not turned away. */
static void late_signers_are_better_than_none(void **state)
{
    uint64_t end = fk_clock_us() + LATE + LATE / 2;

    (void)state;
    submit(0);
    submit(1);
    UNTIL(one.count == 1 && two.count == 1);
    UNTIL(fk_clock_us() > end);
    assert_int_equal(one.count + two.count, 2);
    submit(2);
    UNTIL(one.count + two.count == 3);
    answer(&one, 0, "0");
    answer(&two, 0, "1");
    UNTIL(calls[0].done == 1 && calls[1].done == 1);
    assert_string_equal(calls[0].data, "0");
    assert_string_equal(calls[1].data, "1");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(calls_of_a_late_signer_go_to_another), CASE(late_answer_finds_nobody),
          CASE(late_signer_gets_nothing_until_it_answers), CASE(calls_move_once),
          CASE(late_signers_are_better_than_none))
