/* keyd/front without memory: each allocation fails once, wherever an edge or the master causes it.
 */
#include "failmalloc.h"
#include "frontworld.h"
#include "unit.h"

#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* --- what the master causes --- */

static int open_set(void *context)
{
    const int *fd = context;
    struct fk_front_set *set = NULL;
    int err = fk_front_set_open(*fd, 1, quota, &set);

    assert_true((err == FK_OK) == (set != NULL));
    fk_front_set_free(set);
    assert_true(is_open(*fd)); /* stays the caller's */
    return err;
}

static void a_set_is_opened_whole_or_not_at_all(void **state)
{
    struct fk_front_set *set = make_set(1, EDGES, "");
    int fd;

    (void)state;
    assert_ok(fk_bundle_seal(set->bundle, &fd));
    fk_front_set_free(set);
    assert_ok(open_set(&fd)); /* what OpenSSL keeps for good */
    assert_true(failmalloc_try(open_set, &fd) > 20);
    (void)close(fd);
}

static int begin_to_serve(void *context)
{
    struct fk_front_options options = {.quota = quota};
    struct fk_front_set **set = context;
    struct fk_front *own = NULL;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[2], err;

    assert_true(listener >= 0);
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    err = fk_front_new(loop, &options, *set, &own);
    *set = NULL; /* taken either way */
    if (err != FK_OK) {
        assert_null(own);
        (void)close(listener);
        (void)close(fds[0]);
    } else if ((err = fk_front_listen(own, listener, 0)) != FK_OK) {
        assert_false(is_open(listener));
        (void)close(fds[0]);
    } else if ((err = fk_front_add_signer(own, fds[0], 0)) != FK_OK) {
        assert_false(is_open(fds[0]));
    }
    fk_front_free(own);
    (void)close(fds[1]);
    return err;
}

/* By hand, as each attempt takes a set: it is made, and not counted, before the count begins. */
static void descriptors_are_taken_without_memory(void **state)
{
    const char *usual = listen_block;
    size_t n = 0;
    bool fired;

    (void)state;
    listen_block = "listen \"127.0.0.1:1\" { allow = {\"10.0.0.0/8\"} deny = {\"10.1.0.0/16\"} }";
    do {
        struct fk_front_set *set = make_set(1, EDGES, "");
        int err;

        failmalloc_arm(++n);
        err = begin_to_serve(&set);
        fired = failmalloc_disarm();
        assert_int_equal(failmalloc_live(), 0);
        assert_err(err, fired ? FK_ERR_NOMEM : FK_OK);
    } while (fired);
    /* front, its door and that one's table, three pools, slots, listener, two lists of ranges,
     * signer */
    assert_int_equal(n - 1, 11);
    listen_block = usual;
}

/* --- what an edge causes --- */

/* The front serves as before: nothing is held by what failed. */
static void serve_one(uint32_t id)
{
    struct edge edge;
    size_t i = n_asked;

    UNTIL(fk_front_channels(front) == 0);
    connect_edge(&edge, client_ctx);
    assert_true(edge.open);
    ask(&edge, id, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == i + 1);
    answer_request(i, FK_OK, "signed", 6);
    UNTIL(edge.n_answers == 1);
    assert_int_equal(edge.answers[0].opcode, FK_OP_RESPONSE);
    assert_int_equal(front->outstanding, 0);
    assert_int_equal(fk_door_count(front->door), 0);
    hang_up(&edge);
}

static void end_without_leak(void)
{
    stop_front();
    assert_int_equal(failmalloc_live(), 0);
}

/* A connection that there is no memory for is closed; the next one is served. */
static void connections_without_memory_are_closed(void **state)
{
    struct fk_addr addr;
    char text[32], byte;
    bool fired;
    size_t n = 0;
    int fd;

    (void)state;
    do {
        start_front("");
        (void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
        assert_ok(fk_addr_parse(text, &addr));
        assert_ok(fk_sock_connect(&addr, NULL, NULL, &fd));
        failmalloc_arm(++n);
        UNTIL(front->last_conn == 1 || recv(fd, &byte, 1, 0) == 0);
        fired = failmalloc_disarm();
        assert_int_equal(fk_front_channels(front), fired ? 0 : 1);
        (void)close(fd);
        serve_one(1);
        end_without_leak();
    } while (fired);
    assert_int_equal(n - 1, 4); /* its address, the connection, its channel, the SSL */
}

/*
 * An operation's way through the front. Without memory the edge is told, or loses its channel: it
 * is never left without either. Returns whether an allocation failed.
 */
static bool operate(size_t n)
{
    struct edge edge;
    bool answered = false, fired;

    start_front("");
    connect_edge(&edge, client_ctx);
    UNTIL(fk_door_count(front->door) == 0);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    failmalloc_arm(n);
    fk_timer_start(&watchdog, PATIENCE_US);
    while (edge.n_answers == 0 && !edge.closed) {
        turn();
        if (n_asked == 1 && !answered) {
            answer_request(0, FK_OK, "signed", 6);
            answered = true;
        }
    }
    fk_timer_stop(&watchdog);
    fired = failmalloc_disarm();
    if (edge.n_answers == 1) {
        assert_int_equal(edge.answers[0].id, 1);
        assert_int_equal(edge.answers[0].opcode, fired ? FK_OP_ERROR : FK_OP_RESPONSE);
        if (fired)
            assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_INTERNAL);
    }
    assert_true(fired || edge.n_answers == 1);
    hang_up(&edge);
    serve_one(2);
    end_without_leak();
    return fired;
}

static void operations_without_memory_are_told(void **state)
{
    size_t n = 1;

    (void)state;
    while (operate(n))
        n++;
    assert_true(n - 1 >= 4); /* the request, its call, the queues of bytes */
}

/* A set's ranges cannot be read (1), the certificate not be checked (2): nobody stays then. */
static void a_channel_that_cannot_be_judged_is_closed(void **state)
{
    const char *usual = listen_block;
    struct fk_front_set *set;
    struct edge edge;

    (void)state;
    listen_block = "listen \"127.0.0.1:1\" { allow = {\"127.0.0.0/8\"} }";
    for (size_t n = 0; n < 3; n++) {
        start_front("");
        connect_edge(&edge, client_ctx);
        UNTIL(fk_door_count(front->door) == 0);
        set = make_set(2, EDGES, "");
        failmalloc_arm(n);
        fk_front_use(front, set);
        assert_int_equal(failmalloc_disarm(), n > 0);
        assert_int_equal(failmalloc_live(), 0);
        assert_int_equal(fk_front_channels(front), n > 0 ? 0 : 1);
        UNTIL(edge.closed == (n > 0));
        hang_up(&edge);
        listen_on();
        stop_front();
    }
    listen_block = usual;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_set_is_opened_whole_or_not_at_all),
        cmocka_unit_test(descriptors_are_taken_without_memory),
        cmocka_unit_test(connections_without_memory_are_closed),
        cmocka_unit_test(operations_without_memory_are_told),
        cmocka_unit_test(a_channel_that_cannot_be_judged_is_closed),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, front_setup, front_teardown);
}
