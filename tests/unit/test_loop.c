/* loop/loop: watchers fire when they should, may free themselves, and deferred calls are passes. */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "loop/loop.h"
#include "loop/sock.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static int setup(void **state)
{
    struct fk_loop *loop;

    assert_ok(fk_loop_new(&loop));
    *state = loop;
    return 0;
}

static int teardown(void **state)
{
    fk_loop_free(*state);
    return 0;
}

/* --- descriptors --- */

struct reader {
    struct fk_io io;
    unsigned calls;
    unsigned events;
};

static void on_ready(struct fk_io *io, unsigned events)
{
    struct reader *reader = fk_container(io, struct reader, io);

    reader->calls++;
    reader->events |= events;
    fk_io_want(io, 0);
}

static void io_reports_what_is_wanted(void **state)
{
    struct fk_loop *loop = *state;
    struct reader reader = {.calls = 0};
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    fk_io_init(&reader.io, loop, fds[0], on_ready);
    assert_int_equal(fk_io_fd(&reader.io), fds[0]);
    assert_int_equal(fk_io_wanted(&reader.io), 0);
    fk_io_want(&reader.io, FK_IO_WRITE);
    assert_int_equal(fk_io_wanted(&reader.io), FK_IO_WRITE);
    fk_loop_run(loop);
    assert_int_equal(reader.calls, 1);
    assert_int_equal(reader.events, FK_IO_WRITE);

    reader.events = 0;
    assert_int_equal(write(fds[1], "x", 1), 1);
    fk_io_want(&reader.io, FK_IO_READ);
    fk_loop_run(loop);
    assert_int_equal(reader.events, FK_IO_READ);

    reader.events = 0;
    fk_io_want(&reader.io, FK_IO_READ | FK_IO_WRITE);
    fk_loop_run(loop);
    assert_int_equal(reader.events, FK_IO_READ | FK_IO_WRITE);
    fk_close(&fds[0]);
    fk_close(&fds[1]);
}

/* A new socket with an old one's number must be watched although its owner asks for the same. */
static void io_of_a_reused_descriptor_is_seen(void **state)
{
    struct fk_loop *loop = *state;
    struct reader first = {.calls = 0}, second = {.calls = 0};
    int fds[2], again[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_int_equal(write(fds[1], "x", 1), 1);
    fk_io_init(&first.io, loop, fds[0], on_ready);
    fk_io_want(&first.io, FK_IO_READ);
    fk_loop_run(loop);
    assert_int_equal(first.calls, 1);
    close(fds[0]);
    close(fds[1]);

    assert_ok(fk_sock_pair(SOCK_STREAM, again));
    assert_int_equal(again[0], fds[0]);
    assert_int_equal(write(again[1], "x", 1), 1);
    fk_io_init(&second.io, loop, again[0], on_ready);
    fk_io_want(&second.io, FK_IO_READ);
    fk_loop_run(loop);
    assert_int_equal(second.calls, 1);
    fk_close(&again[0]);
    fk_close(&again[1]);
}

static void on_ready_free(struct fk_io *io, unsigned events)
{
    struct reader *reader = fk_container(io, struct reader, io);

    (void)events;
    fk_io_want(io, 0);
    free(reader);
}

static void io_callback_may_free_its_watcher(void **state)
{
    struct reader *reader = calloc(1, sizeof *reader);
    struct fk_loop *loop = *state;
    int fds[2];

    assert_non_null(reader);
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    fk_io_init(&reader->io, loop, fds[0], on_ready_free);
    fk_io_want(&reader->io, FK_IO_WRITE);
    fk_loop_run(loop);
    fk_close(&fds[0]);
    fk_close(&fds[1]);
}

/* --- timers --- */

struct alarm {
    struct fk_timer timer;
    struct alarm *after; /* must have fired before */
    uint64_t at_us;
    unsigned calls;
};

static void on_alarm(struct fk_timer *timer)
{
    struct alarm *alarm = fk_container(timer, struct alarm, timer);

    if (alarm->after != NULL)
        assert_int_equal(alarm->after->calls, 1);
    alarm->at_us = fk_loop_now_us(timer->loop);
    alarm->calls++;
}

static void timers_fire_once_in_order_and_not_early(void **state)
{
    struct fk_loop *loop = *state;
    struct alarm first = {.after = NULL}, second = {.after = &first};
    uint64_t start = fk_clock_us();

    fk_timer_init(&second.timer, loop, on_alarm);
    fk_timer_init(&first.timer, loop, on_alarm);
    assert_false(fk_timer_active(&first.timer));
    fk_timer_start(&second.timer, 20000);
    fk_timer_start(&first.timer, 1500);
    assert_true(fk_timer_active(&first.timer));
    fk_loop_run(loop);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 1);
    assert_false(fk_timer_active(&second.timer));
    assert_true(first.at_us - start >= 1500);
    assert_true(second.at_us - start >= 20000);
}

static void timer_set_anew_or_stopped_does_not_fire(void **state)
{
    struct fk_loop *loop = *state;
    struct alarm moved = {.after = NULL}, stopped = {.after = NULL}, huge = {.after = NULL};
    uint64_t start = fk_clock_us();

    fk_timer_init(&moved.timer, loop, on_alarm);
    fk_timer_init(&stopped.timer, loop, on_alarm);
    fk_timer_init(&huge.timer, loop, on_alarm);
    fk_timer_start(&moved.timer, 1);
    fk_timer_start(&moved.timer, 10000);
    fk_timer_start(&stopped.timer, 1);
    fk_timer_stop(&stopped.timer);
    fk_timer_start(&huge.timer, UINT64_MAX);
    fk_timer_stop(&huge.timer);
    fk_loop_run(loop);
    assert_int_equal(moved.calls, 1);
    assert_true(moved.at_us - start >= 10000);
    assert_int_equal(stopped.calls, 0);
    assert_int_equal(huge.calls, 0);
}

/* --- deferred calls --- */

struct call {
    struct fk_defer defer;
    struct call *next;   /* deferred by the callback */
    struct call *victim; /* stopped by the callback */
    unsigned calls;
    bool again;
};

static void on_call(struct fk_defer *defer)
{
    struct call *call = fk_container(defer, struct call, defer);

    call->calls++;
    assert_false(fk_defer_active(defer));
    if (call->next != NULL)
        fk_defer_start(&call->next->defer);
    if (call->victim != NULL)
        fk_defer_stop(&call->victim->defer);
    if (call->again && call->calls < 3)
        fk_defer_start(defer);
}

static void deferred_calls_run_once_each(void **state)
{
    struct fk_loop *loop = *state;
    struct call second = {.calls = 0}, first = {.next = &second};

    fk_defer_init(&first.defer, loop, on_call);
    fk_defer_init(&second.defer, loop, on_call);
    fk_defer_start(&first.defer);
    fk_defer_start(&first.defer);
    assert_true(fk_defer_active(&first.defer));
    assert_int_equal(first.calls, 0);
    fk_loop_run(loop);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 1);
}

static void deferred_call_can_be_stopped_by_another(void **state)
{
    struct fk_loop *loop = *state;
    struct call victim = {.calls = 0}, killer = {.victim = &victim};

    fk_defer_init(&victim.defer, loop, on_call);
    fk_defer_init(&killer.defer, loop, on_call);
    fk_defer_start(&killer.defer);
    fk_defer_start(&victim.defer);
    fk_loop_run(loop);
    assert_int_equal(killer.calls, 1);
    assert_int_equal(victim.calls, 0);
}

/* Calls that defer themselves must not keep input from being read. */
static void deferring_again_waits_for_the_next_pass(void **state)
{
    struct fk_loop *loop = *state;
    struct call call = {.again = true};
    struct reader reader = {.calls = 0};
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    fk_io_init(&reader.io, loop, fds[0], on_ready);
    fk_io_want(&reader.io, FK_IO_WRITE);
    fk_defer_init(&call.defer, loop, on_call);
    fk_defer_start(&call.defer);
    fk_loop_run(loop);
    assert_int_equal(call.calls, 3);
    assert_int_equal(reader.calls, 1);
    fk_close(&fds[0]);
    fk_close(&fds[1]);
}

static void on_alarm_defer(struct fk_timer *timer)
{
    struct alarm *alarm = fk_container(timer, struct alarm, timer);

    alarm->calls++;
    fk_defer_start((struct fk_defer *)(void *)alarm->after);
}

static void call_deferred_by_the_last_timer_still_runs(void **state)
{
    struct fk_loop *loop = *state;
    struct call call = {.calls = 0};
    struct alarm alarm = {.after = (struct alarm *)(void *)&call.defer};

    fk_defer_init(&call.defer, loop, on_call);
    fk_timer_init(&alarm.timer, loop, on_alarm_defer);
    fk_timer_start(&alarm.timer, 1);
    fk_loop_run(loop);
    assert_int_equal(call.calls, 1);
}

/* --- signals, stop --- */

struct catcher {
    struct fk_signal signal;
    unsigned calls;
};

static void on_signal(struct fk_signal *signal)
{
    struct catcher *catcher = fk_container(signal, struct catcher, signal);

    catcher->calls++;
    fk_loop_stop(signal->loop);
}

static void signal_is_delivered_in_the_loop(void **state)
{
    struct fk_loop *loop = *state;
    struct catcher catcher = {.calls = 0};

    fk_signal_start(&catcher.signal, loop, SIGUSR1, on_signal);
    raise(SIGUSR1);
    assert_int_equal(catcher.calls, 0);
    fk_loop_run(loop);
    assert_int_equal(catcher.calls, 1);
    fk_signal_stop(&catcher.signal);
    fk_signal_stop(&catcher.signal);
    fk_loop_run(loop);
    assert_int_equal(catcher.calls, 1);
}

UNIT_MAIN(cmocka_unit_test_setup_teardown(io_reports_what_is_wanted, setup, teardown),
          cmocka_unit_test_setup_teardown(io_of_a_reused_descriptor_is_seen, setup, teardown),
          cmocka_unit_test_setup_teardown(io_callback_may_free_its_watcher, setup, teardown),
          cmocka_unit_test_setup_teardown(timers_fire_once_in_order_and_not_early, setup, teardown),
          cmocka_unit_test_setup_teardown(timer_set_anew_or_stopped_does_not_fire, setup, teardown),
          cmocka_unit_test_setup_teardown(deferred_calls_run_once_each, setup, teardown),
          cmocka_unit_test_setup_teardown(deferred_call_can_be_stopped_by_another, setup, teardown),
          cmocka_unit_test_setup_teardown(deferring_again_waits_for_the_next_pass, setup, teardown),
          cmocka_unit_test_setup_teardown(call_deferred_by_the_last_timer_still_runs, setup,
                                          teardown),
          cmocka_unit_test_setup_teardown(signal_is_delivered_in_the_loop, setup, teardown))
