/*
 * loop/super: children are started, restarted ever later, heard to their last word, missed when
 * they hang, and ended in order. The binary executes itself as the child.
 */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "loop/sock.h"
#include "loop/super.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the child --- */

static void child_wait(void)
{
    struct pollfd pfd = {.fd = FK_PROC_CONTROL_FD, .events = POLLIN};

    while (poll(&pfd, 1, -1) < 0)
        ;
}

/* Look at nothing before the supervisor has asked more often than a child that serves may let it.
 */
static void load_for_long(void)
{
    const int size = 2 * sizeof(uint32_t); /* of a message without data */
    int waiting = 0;

    while (ioctl(FK_PROC_CONTROL_FD, FIONREAD, &waiting) == 0 &&
           waiting < (FK_SUPER_HUNG_PINGS + 2) * size)
        poll(NULL, 0, 20);
}

/* "slow" loads for long when told to go; "steady" does as told, and stops when given a peer;
 * "crash" fails after its last words; "stubborn" ends by SIGKILL only; "deaf" reads nothing; "mute"
 * closes its control socket. */
static int child_main(const char *role, unsigned index)
{
    static struct fk_procmsg msg = {.type = FK_PROC_FAILED, .len = 5, .data = "words"};
    unsigned received = 0;
    int err;

    fk_proc_child_init(role, index);
    if (strcmp(role, "crash") == 0)
        return fk_proc_send(FK_PROC_CONTROL_FD, &msg) == FK_OK ? 3 : 4;
    if (strcmp(role, "mute") == 0)
        close(FK_PROC_CONTROL_FD);
    while (strcmp(role, "deaf") == 0 || strcmp(role, "mute") == 0)
        pause();
    for (;;) {
        err = fk_proc_next(&msg);
        if (err == FK_ERR_AGAIN) {
            child_wait();
            continue;
        }
        if (err != FK_OK)
            return 5;
        fk_procmsg_close(&msg);
        received++;
        if (msg.type == FK_PROC_GO && strcmp(role, "slow") == 0)
            load_for_long();
        if (msg.type == FK_PROC_GO)
            fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, received, -1);
        if (msg.type == FK_PROC_PEER)
            raise(SIGSTOP);
        if (msg.type == FK_PROC_DRAIN && strcmp(role, "stubborn") != 0)
            return 0;
    }
}

/* --- the master --- */

struct master {
    struct fk_loop *loop;
    struct fk_super *super;
    struct fk_timer guard; /* a test that hangs fails */
    struct fk_timer watch;
    struct fk_child *watched;
    unsigned starts;
    unsigned messages;
    unsigned exits;
    unsigned gone;
    bool stopped;
    bool timed_out;
    uint32_t last_type;
    uint32_t last_arg;
    int last_status;
    pid_t last_pid;
    unsigned send_on_start; /* messages before FK_PROC_GO */
    int start_error;
    unsigned stop_after_exits; /* stop the loop at this many */
    unsigned stop_after_starts;
    bool stop_on_ready;
};

static int on_start(void *ctx, struct fk_child *child)
{
    struct master *master = ctx;
    int err = FK_OK;

    master->starts++;
    if (master->starts == master->stop_after_starts)
        fk_loop_stop(master->loop);
    for (unsigned i = 0; i < master->send_on_start && err == FK_OK; i++)
        err = fk_child_send_fd(child, FK_PROC_LISTEN, i, 2);
    if (err != FK_OK)
        return err;
    err = fk_child_send_fd(child, FK_PROC_GO, 0, -1);
    return master->start_error != FK_OK ? master->start_error : err;
}

static void on_message(void *ctx, struct fk_child *child, struct fk_procmsg *msg)
{
    struct master *master = ctx;

    (void)child;
    master->messages++;
    master->last_type = msg->type;
    master->last_arg = msg->arg;
    if (master->stop_on_ready && msg->type == FK_PROC_READY)
        fk_loop_stop(master->loop);
}

static void on_exit_of(void *ctx, struct fk_child *child, pid_t pid, int status, bool gone)
{
    struct master *master = ctx;

    assert_int_equal(fk_child_pid(child), 0);
    assert_int_equal(fk_child_retired(child), gone);
    master->exits++;
    master->gone += gone;
    master->last_pid = pid;
    master->last_status = status;
    if (master->exits == master->stop_after_exits)
        fk_loop_stop(master->loop);
}

static void on_stopped(void *ctx)
{
    struct master *master = ctx;

    master->stopped = true;
    fk_super_free(master->super);
    master->super = NULL;
    fk_loop_stop(master->loop);
}

static const struct fk_super_ops ops = {on_start, on_message, on_exit_of, on_stopped};

static void on_guard(struct fk_timer *timer)
{
    fk_container(timer, struct master, guard)->timed_out = true;
    fk_loop_stop(timer->loop);
}

static int setup(void **state)
{
    static struct master master;

    memset(&master, 0, sizeof master);
    fk_log_threshold(FK_LOG_ERROR);
    assert_ok(fk_loop_new(&master.loop));
    assert_ok(fk_super_new(master.loop, &ops, &master, &master.super));
    fk_timer_init(&master.guard, master.loop, on_guard);
    *state = &master;
    return 0;
}

static int teardown(void **state)
{
    struct master *master = *state;

    fk_super_free(master->super);
    fk_timer_stop(&master->guard);
    fk_loop_free(master->loop);
    return 0;
}

static void run(struct master *master)
{
    fk_timer_start(&master->guard, 20000000);
    fk_loop_run(master->loop);
    assert_false(master->timed_out);
}

static void run_until_ready(struct master *master)
{
    master->stop_on_ready = true;
    run(master);
    master->stop_on_ready = false;
}

static void child_is_started_and_retired(void **state)
{
    struct master *master = *state;
    struct fk_child *child;
    int mark;

    assert_ok(fk_super_add(master->super, "steady", 4, &mark, &child));
    assert_int_equal(master->starts, 0); /* no call from within a call */
    assert_string_equal(fk_child_role(child), "steady");
    assert_int_equal(fk_child_index(child), 4);
    assert_ptr_equal(fk_child_data(child), &mark);
    assert_err(fk_child_send_fd(child, FK_PROC_GO, 0, -1), FK_ERR_CLOSED);
    run_until_ready(master);
    assert_int_equal(master->last_arg, 1);
    assert_true(fk_child_pid(child) > 0);
    assert_ptr_equal(fk_super_next(master->super, NULL), child);
    assert_null(fk_super_next(master->super, child));

    master->stop_after_exits = 1;
    fk_super_retire(child, 10);
    fk_super_retire(child, 20);
    run(master);
    assert_int_equal(master->gone, 1);
    assert_true(WIFEXITED(master->last_status));
    assert_int_equal(WEXITSTATUS(master->last_status), 0);
    assert_null(fk_super_next(master->super, NULL));
    assert_int_equal(master->starts, 1);
}

static void crashing_child_is_restarted_ever_later(void **state)
{
    struct master *master = *state;
    uint64_t start = fk_clock_us();
    struct fk_child *child;

    assert_ok(fk_super_add(master->super, "crash", 0, NULL, &child));
    master->stop_after_exits = 4;
    run(master);
    /* 0 + 100 + 200 ms lie between four starts. */
    assert_true(fk_clock_us() - start >= 300000);
    assert_int_equal(master->starts, 4);
    assert_int_equal(fk_child_restarts(child), 3);
    assert_int_equal(master->gone, 0);
    /* Its last words are heard each time. */
    assert_int_equal(master->messages, 4);
    assert_int_equal(master->last_type, FK_PROC_FAILED);
}

static void killed_child_comes_back(void **state)
{
    struct master *master = *state;
    struct fk_child *child;
    pid_t first;

    assert_ok(fk_super_add(master->super, "steady", 0, NULL, &child));
    run_until_ready(master);
    first = fk_child_pid(child);
    assert_int_equal(kill(first, SIGKILL), 0);
    run_until_ready(master);
    assert_int_equal(master->last_pid, first);
    assert_int_not_equal(fk_child_pid(child), first);
    assert_int_equal(fk_child_restarts(child), 1);
}

static void on_watch(struct fk_timer *timer)
{
    struct master *master = fk_container(timer, struct master, watch);

    if (fk_child_silent(master->watched))
        fk_loop_stop(master->loop);
    else
        fk_timer_start(timer, 20000);
}

static void hung_child_is_missed_then_killed_and_comes_back(void **state)
{
    struct master *master = *state;
    struct fk_child *other;
    uint64_t start;
    pid_t first;

    assert_ok(fk_super_add(master->super, "steady", 0, NULL, &master->watched));
    run_until_ready(master);
    assert_ok(fk_super_add(master->super, "steady", 1, NULL, &other));
    run_until_ready(master);
    fk_timer_init(&master->watch, master->loop, on_watch);
    fk_timer_start(&master->watch, 0);
    assert_ok(fk_child_send_fd(master->watched, FK_PROC_PEER, 0, -1)); /* stops it */
    start = fk_clock_us();
    run(master);
    first = fk_child_pid(master->watched);
    assert_true(first > 0);
    assert_int_equal(master->exits, 0);
    assert_false(fk_child_silent(other));

    fk_log_fd(-1);
    run_until_ready(master);
    fk_log_fd(2);
    assert_int_equal(master->exits, 1);
    assert_int_equal(master->last_pid, first);
    assert_int_equal(WTERMSIG(master->last_status), SIGKILL);
    assert_true(fk_clock_us() - start >= FK_SUPER_HUNG_PINGS * (uint64_t)FK_SUPER_PING_US);
    assert_false(fk_child_silent(master->watched));
    assert_int_equal(fk_child_restarts(master->watched), 1);
    /* One that answers is left alone. */
    assert_int_equal(fk_child_restarts(other), 0);
}

/* It is not the loop of a child that is asked while it loads what it was sent. */
static void child_that_loads_is_not_hung(void **state)
{
    struct master *master = *state;

    assert_ok(fk_super_add(master->super, "slow", 0, NULL, NULL));
    run_until_ready(master);
    assert_int_equal(master->starts, 1);
    assert_int_equal(master->exits, 0);
}

static void failed_set_up_is_tried_again(void **state)
{
    struct master *master = *state;

    master->start_error = FK_ERR_NOMEM;
    master->stop_after_exits = 2;
    assert_ok(fk_super_add(master->super, "steady", 0, NULL, NULL));
    run(master);
    assert_int_equal(master->starts, 2);
    assert_true(WIFSIGNALED(master->last_status));
}

static void stubborn_child_is_killed_after_its_time(void **state)
{
    struct master *master = *state;
    struct fk_child *child;
    uint64_t start;

    assert_ok(fk_super_add(master->super, "stubborn", 0, NULL, &child));
    run_until_ready(master);
    start = fk_clock_us();
    master->stop_after_exits = 1;
    fk_super_retire(child, 60);
    fk_super_retire(child, 0); /* a shorter time counts */
    run(master);
    assert_true(WIFSIGNALED(master->last_status));
    assert_int_equal(WTERMSIG(master->last_status), SIGKILL);
    assert_true(fk_clock_us() - start >= 2000000);
}

static void child_without_control_is_ended(void **state)
{
    struct master *master = *state;

    master->stop_after_exits = 1;
    assert_ok(fk_super_add(master->super, "mute", 0, NULL, NULL));
    run(master);
    assert_true(WIFSIGNALED(master->last_status));
}

/* More than a socket holds: the rest waits in the master and arrives. */
static void many_messages_wait_their_turn(void **state)
{
    struct master *master = *state;

    master->send_on_start = 900;
    assert_ok(fk_super_add(master->super, "steady", 0, NULL, NULL));
    run_until_ready(master);
    assert_int_equal(master->last_arg, 901);
}

static void deaf_child_is_killed_when_the_queue_is_full(void **state)
{
    struct master *master = *state;

    fk_log_fd(-1);
    master->send_on_start = 100000;
    master->stop_after_exits = 1;
    assert_ok(fk_super_add(master->super, "deaf", 0, NULL, NULL));
    run(master);
    fk_log_fd(2);
    assert_true(WIFSIGNALED(master->last_status));
    assert_int_equal(WTERMSIG(master->last_status), SIGKILL);
    assert_int_equal(master->starts, 1);
}

static void stop_ends_all_and_says_so(void **state)
{
    struct master *master = *state;

    assert_ok(fk_super_add(master->super, "steady", 0, NULL, NULL));
    assert_ok(fk_super_add(master->super, "steady", 1, NULL, NULL));
    assert_ok(fk_super_add(master->super, "crash", 0, NULL, NULL));
    master->stop_after_starts = 3;
    run(master);
    fk_super_stop(master->super, 10);
    assert_err(fk_super_add(master->super, "steady", 2, NULL, NULL), FK_ERR_DRAINING);
    run(master);
    assert_true(master->stopped);
    assert_int_equal(master->gone, 3);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void stop_without_children_and_before_start(void **state)
{
    struct master *master = *state;

    assert_ok(fk_super_add(master->super, "steady", 0, NULL, NULL));
    fk_super_stop(master->super, 10);
    assert_false(master->stopped);
    run(master);
    assert_true(master->stopped);
    assert_int_equal(master->starts, 0);
    assert_int_equal(master->last_pid, 0);

    assert_ok(fk_super_new(master->loop, &ops, master, &master->super));
    master->stopped = false;
    fk_super_stop(master->super, 10);
    run(master);
    assert_true(master->stopped);
}

static void freeing_leaves_no_process(void **state)
{
    struct master *master = *state;

    assert_ok(fk_super_add(master->super, "stubborn", 0, NULL, NULL));
    run_until_ready(master);
    fk_super_free(master->super);
    master->super = NULL;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {CASE(child_is_started_and_retired),
                                       CASE(crashing_child_is_restarted_ever_later),
                                       CASE(killed_child_comes_back),
                                       CASE(hung_child_is_missed_then_killed_and_comes_back),
                                       CASE(child_that_loads_is_not_hung),
                                       CASE(failed_set_up_is_tried_again),
                                       CASE(stubborn_child_is_killed_after_its_time),
                                       CASE(child_without_control_is_ended),
                                       CASE(many_messages_wait_their_turn),
                                       CASE(deaf_child_is_killed_when_the_queue_is_full),
                                       CASE(stop_ends_all_and_says_so),
                                       CASE(stop_without_children_and_before_start),
                                       CASE(freeing_leaves_no_process)};

    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child_main(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, NULL, NULL);
}
