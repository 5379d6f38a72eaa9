/* signer/client: operations of handles go to the signer that keeps them, and to no other, whatever
 * newer, idler or quicker ones there are. The signers are played by the test. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"
#include "signer/client.h"
#include "signer/handles.h"

#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE 400000
#define CALLS    16

struct call {
    struct fk_signer_call *call;
    int done;
    int err;
};

static struct fk_loop *loop;
static struct fk_signer_pool *pool;
static struct call calls[CALLS];

static void done(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    struct call *call = arg;

    (void)data;
    (void)len;
    (void)micros;
    call->done++;
    call->err = err;
}

static void stop_loop(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void run_for(uint64_t us)
{
    struct fk_timer timer;

    fk_timer_init(&timer, loop, stop_loop);
    fk_timer_start(&timer, us);
    fk_loop_run(loop);
    fk_timer_stop(&timer);
}

/* Let everything that is ready happen. */
static void turn(void)
{
    run_for(1000);
}

static int setup(void **state)
{
    (void)state;
    memset(calls, 0, sizeof calls);
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

static int add_signer(uint32_t generation, unsigned index)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_signer_pool_add(pool, fds[0], generation, index));
    return fds[1];
}

/* A handle as the signer of this number and generation names it. */
struct name {
    uint8_t bytes[FK_HANDLE_SIZE];
};

static struct name name_of(uint16_t generation, uint8_t index)
{
    struct name name = {{index, (uint8_t)(generation >> 8), (uint8_t)generation, 'x'}};

    return name;
}

static void submit(int i, bool keeps)
{
    const struct fk_signer_ask ask = {.op = FK_SIGNER_OWNED, .detail = (uint16_t)i, .keeps = keeps};

    assert_ok(fk_signer_pool_submit(pool, &ask, done, &calls[i], &calls[i].call));
}

static int submit_bound(int i, struct name name)
{
    const struct fk_signer_ask ask = {
        .op = FK_SIGNER_OWNED, .detail = (uint16_t)i, .handle = name.bytes};

    return fk_signer_pool_submit(pool, &ask, done, &calls[i], &calls[i].call);
}

/* The requests that a signer has been sent: how many, and the last one. -1: its socket is closed.
 */
static int inbox(int fd, struct fk_signer_request *ret)
{
    struct fk_signer_request request;
    ssize_t n;
    int count = 0;

    while ((n = recv(fd, &request, sizeof request, MSG_DONTWAIT)) > 0) {
        assert_int_equal(n, sizeof request);
        assert_int_equal(request.len, 0);
        *ret = request;
        count++;
    }
    return n == 0 ? -1 : count;
}

static void answer(int fd, const struct fk_signer_request *request, int err)
{
    const struct fk_signer_result result = {.id = request->id, .err = err};

    assert_int_equal(send(fd, &result, sizeof result, 0), sizeof result);
    turn();
}

static void goes_to_its_holder(void **state)
{
    struct fk_signer_request request;
    int one = add_signer(1, 0), two = add_signer(1, 1);

    (void)state;
    for (int i = 0; i < 4; i++) /* the second one is busier than the first each time */
        assert_ok(submit_bound(i, name_of(1, 1)));
    turn();
    assert_int_equal(inbox(one, &request), 0);
    assert_int_equal(inbox(two, &request), 4);
    assert_int_equal(request.detail, 3);
    assert_err(submit_bound(4, name_of(1, 2)), FK_ERR_EXPIRED); /* no such signer */
    assert_err(submit_bound(4, name_of(2, 1)), FK_ERR_EXPIRED); /* not of its generation */
    assert_err(submit_bound(4, name_of(0x0101, 1)), FK_ERR_EXPIRED);
    close(one);
    close(two);
}

/* It keeps something for a handshake's next step: it stays, but gets nothing new. */
static void an_older_one_that_keeps_something_stays(void **state)
{
    struct fk_signer_request request;
    int old = add_signer(0x10001, 0), new;

    (void)state;
    submit(0, true);
    turn();
    assert_int_equal(inbox(old, &request), 1);
    answer(old, &request, FK_OK);
    assert_ok(calls[0].err);
    new = add_signer(0x10002, 0);
    turn();
    assert_int_equal(inbox(old, &request), 0);
    submit(1, true);
    assert_ok(submit_bound(2, name_of(1, 0)));
    turn();
    assert_int_equal(inbox(new, &request), 1);
    assert_int_equal(request.detail, 1);
    assert_int_equal(inbox(old, &request), 1);
    assert_int_equal(request.detail, 2);
    answer(old, &request, FK_OK);
    assert_int_equal(calls[2].done, 1);
    assert_int_equal(inbox(old, &request), 0); /* there may be others that it keeps */
    close(old);
    close(new);
}

/* What was refused is not kept, and what is over is not either. */
static void others_go(void **state)
{
    struct fk_signer_request request;
    int refuses = add_signer(1, 0), other, newest;

    (void)state;
    submit(0, true);
    turn();
    assert_int_equal(inbox(refuses, &request), 1);
    answer(refuses, &request, FK_ERR_DENIED);
    other = add_signer(2, 0);
    turn();
    assert_int_equal(inbox(refuses, &request), -1);
    submit(1, false);
    turn();
    assert_int_equal(inbox(other, &request), 1);
    answer(other, &request, FK_OK);
    newest = add_signer(3, 0);
    turn();
    assert_int_equal(inbox(other, &request), -1);
    close(refuses);
    close(other);
    close(newest);
}

/* What it kept is gone with it: nobody else is asked. */
static void a_holder_that_dies(void **state)
{
    struct fk_signer_request request;
    int holder = add_signer(1, 0), other;

    (void)state;
    assert_ok(submit_bound(0, name_of(1, 0)));
    submit(1, false);
    turn();
    assert_int_equal(inbox(holder, &request), 2);
    other = add_signer(1, 1);
    close(holder);
    turn();
    assert_int_equal(calls[0].done, 1);
    assert_err(calls[0].err, FK_ERR_EXPIRED);
    assert_int_equal(inbox(other, &request), 1);
    assert_int_equal(request.detail, 1);
    assert_err(submit_bound(2, name_of(1, 0)), FK_ERR_EXPIRED);
    close(other);
}

/* Others are asked in a late one's place, but not for what it keeps: that ends with its time. */
static void a_holder_that_is_late(void **state)
{
    struct fk_signer_request request;
    int holder = add_signer(1, 0), other;

    (void)state;
    assert_ok(submit_bound(0, name_of(1, 0)));
    submit(1, false);
    turn();
    assert_int_equal(inbox(holder, &request), 2);
    other = add_signer(1, 1);
    run_for(DEADLINE / FK_SIGNER_LATE_PART + DEADLINE / 4);
    assert_int_equal(inbox(other, &request), 1);
    assert_int_equal(request.detail, 1);
    answer(other, &request, FK_OK);
    assert_int_equal(calls[1].done, 1);
    assert_int_equal(calls[0].done, 0);
    run_for(DEADLINE);
    assert_int_equal(calls[0].done, 1);
    assert_err(calls[0].err, FK_ERR_TIMEOUT);
    close(holder);
    close(other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(goes_to_its_holder), CASE(an_older_one_that_keeps_something_stays), CASE(others_go),
          CASE(a_holder_that_dies), CASE(a_holder_that_is_late))
