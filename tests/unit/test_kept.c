/* edge/kept: connections that wait for a request, and what becomes of them meanwhile. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/kept.h"
#include "failmalloc.h"
#include "loop/sock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONG_US 3600000000

static struct fk_loop *loop;
static struct fk_kept kept;
static struct fk_timer guard;
static SSL *ssl; /* of what was taken: none has any */

static void on_guard(struct fk_timer *timer)
{
    (void)timer;
    fk_loop_stop(loop);
}

static int set_up(void **state)
{
    (void)state;
    assert_ok(fk_loop_new(&loop));
    fk_timer_init(&guard, loop, on_guard);
    fk_kept_init(&kept, loop);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_kept_fini(&kept);
    fk_timer_stop(&guard);
    fk_loop_free(loop);
    return 0;
}

/* A connection that is kept; the origin's end of it. */
static int keep(uint64_t for_us)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    fk_kept_put(&kept, pair[0], NULL, for_us);
    return pair[1];
}

/* What happens within a moment happens. */
static void turn(uint64_t us)
{
    fk_timer_start(&guard, us);
    fk_loop_run(loop);
}

static bool is_closed(int origin)
{
    char byte;

    ssize_t n = recv(origin, &byte, 1, 0);

    return n == 0 || (n < 0 && errno == ECONNRESET); /* what it said was not read */
}

/* They are the two ends of one connection. */
static void assert_pair(int fd, int origin)
{
    char byte = 'x';

    assert_true(fd >= 0);
    assert_int_equal(send(fd, &byte, 1, 0), 1);
    assert_int_equal(recv(origin, &byte, 1, 0), 1);
}

static void the_last_is_taken_first(void **state)
{
    int origins[3], fd;

    (void)state;
    assert_int_equal(fk_kept_take(&kept, &ssl), -1);
    for (int i = 0; i < 3; i++)
        origins[i] = keep(LONG_US);
    assert_int_equal(kept.n, 3);
    for (int i = 2; i >= 0; i--) {
        fd = fk_kept_take(&kept, &ssl);
        assert_pair(fd, origins[i]);
        fk_close(&fd);
        fk_close(&origins[i]);
    }
    assert_int_equal(kept.n, 0);
    assert_int_equal(fk_kept_take(&kept, &ssl), -1);
}

static void one_that_has_ended_is_not_taken(void **state)
{
    int first = keep(LONG_US), second = keep(LONG_US), fd;

    (void)state;
    fk_close(&second); /* the loop has not looked yet */
    fd = fk_kept_take(&kept, &ssl);
    assert_pair(fd, first);
    assert_int_equal(kept.n, 0);
    fk_close(&fd);
    fk_close(&first);
}

static void one_that_ends_or_speaks_is_closed(void **state)
{
    int ends = keep(LONG_US), speaks = keep(LONG_US), waits = keep(LONG_US);

    (void)state;
    assert_int_equal(send(speaks, "HTTP/1.1 200 OK\r\n", 17, 0), 17);
    fk_close(&ends);
    turn(1000);
    assert_int_equal(kept.n, 1);
    assert_true(is_closed(speaks));
    assert_false(is_closed(waits));
    fk_close(&speaks);
    fk_close(&waits);
}

static void time_ends_them(void **state)
{
    int brief = keep(1000), longer = keep(LONG_US);

    (void)state;
    while (kept.n > 1)
        turn(1000);
    assert_true(is_closed(brief));
    assert_false(is_closed(longer));
    fk_close(&brief);
    fk_close(&longer);
}

static void so_many_and_no_more(void **state)
{
    int origins[FK_EDGE_KEPT_MAX + 2];

    (void)state;
    for (int i = 0; i < FK_EDGE_KEPT_MAX + 2; i++)
        origins[i] = keep(LONG_US);
    assert_int_equal(kept.n, FK_EDGE_KEPT_MAX);
    for (int i = 0; i < FK_EDGE_KEPT_MAX + 2; i++)
        assert_int_equal(is_closed(origins[i]), i < 2);
    fk_kept_drop(&kept);
    assert_true(is_closed(origins[2]));
    fk_kept_fini(&kept);
    fk_kept_drop(&kept); /* none is left */
    for (int i = 0; i < FK_EDGE_KEPT_MAX + 2; i++) {
        assert_true(is_closed(origins[i]));
        fk_close(&origins[i]);
    }
}

static void without_memory_it_is_closed(void **state)
{
    int origin;

    (void)state;
    failmalloc_arm(1);
    origin = keep(LONG_US);
    assert_true(failmalloc_disarm());
    assert_int_equal(kept.n, 0);
    assert_true(is_closed(origin));
    fk_close(&origin);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

UNIT_MAIN(CASE(the_last_is_taken_first), CASE(one_that_has_ended_is_not_taken),
          CASE(one_that_ends_or_speaks_is_closed), CASE(time_ends_them), CASE(so_many_and_no_more),
          CASE(without_memory_it_is_closed))
