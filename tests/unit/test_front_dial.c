/* keyd/frontdial: connections to edges, one of each kept ready; the edges are played. */
#include "failmalloc.h"
#include "frontworld.h"
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define TWO_EDGES "dial \"127.0.0.1:1\" { } dial \"127.0.0.1:2\" { }"
#define ONE_EDGE  "dial \"127.0.0.1:1\" { }"

/* What the front asked its master for. */
static struct {
    size_t n;
    unsigned number[64];
    uint32_t generation[64];
    uint64_t at_us[64];
} dials;

static void on_dial(void *arg, unsigned number, uint32_t generation)
{
    (void)arg;
    assert_true(dials.n < 64);
    dials.number[dials.n] = number;
    dials.generation[dials.n] = generation;
    dials.at_us[dials.n++] = fk_clock_us();
}

static void on_drained(void *arg)
{
    *(bool *)arg = true;
}

static void start_dialling(const char *blocks, const char *limits)
{
    struct fk_front_options options = {
        .quota = quota, .dial = on_dial, .drained = on_drained, .arg = &drained};

    listen_block = blocks;
    drained = false;
    dials.n = n_asked = 0;
    assert_ok(fk_front_new(loop, &options, make_set(1, EDGES, limits), &front));
    add_signer(0);
}

/* The master's answer: a connection whose other end is the edge's, returned. */
static int connection(unsigned number, uint32_t generation)
{
    struct fk_listen_options listening = {.backlog = 1};
    struct fk_addr addr, peer;
    int listener, near, far;

    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    assert_ok(fk_sock_listen(&addr, &listening, &listener));
    assert_ok(fk_sock_local(listener, &addr));
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &near));
    while (fk_sock_accept(listener, &far, &peer) == FK_ERR_AGAIN)
        ;
    fk_close(&listener);
    fk_front_dialled(front, number, generation, near);
    return far;
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* --- a channel --- */

static void each_block_is_dialled(void **state)
{
    (void)state;
    start_dialling(TWO_EDGES, "");
    UNTIL(dials.n == 2);
    assert_int_equal(dials.number[0] + dials.number[1], 1);
    assert_int_equal(dials.generation[0], 1);
    assert_int_equal(dials.generation[1], 1);
    settle();
    assert_int_equal(dials.n, 2); /* nothing more before it is answered */
    stop_front();
}

/* The one that was ready is a channel; the next one is asked for at once, each time. */
static void a_channel_that_is_used_has_a_successor(void **state)
{
    struct edge edges[3];

    (void)state;
    start_dialling(ONE_EDGE, "");
    for (size_t i = 0; i < 3; i++) {
        UNTIL(dials.n == i + 1);
        edge_over(&edges[i], connection(0, 1), client_ctx);
        UNTIL(edges[i].open);
    }
    UNTIL(dials.n == 4);
    for (size_t i = 0; i < 3; i++) {
        ask(&edges[i], 7, 0, FK_ROLE_SERVER);
        UNTIL(n_asked == i + 1);
        answer_request(i, FK_OK, "signed", 6);
        UNTIL(edges[i].n_answers == 1);
        assert_int_equal(edges[i].answers[0].opcode, FK_OP_RESPONSE);
        assert_int_equal(front->set->dials[0].failures, 0);
    }
    hang_up(&edges[1]); /* a channel that ends is the edge's business: none is asked for */
    UNTIL(fk_front_channels(front) == 2);
    settle();
    assert_int_equal(dials.n, 4);
    hang_up(&edges[0]);
    hang_up(&edges[2]);
    stop_front();
}

/* It waits for as long as the edge likes; a hello that was begun does not. */
static void one_that_is_ready_waits(void **state)
{
    static const uint8_t part[] = {22, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3};
    struct edge edge;
    uint64_t until;
    int fd;

    (void)state;
    start_dialling(ONE_EDGE, "hello_timeout = 20ms handshake_timeout = 600s");
    UNTIL(dials.n == 1);
    fd = connection(0, 1);
    until = fk_clock_us() + 200000;
    UNTIL(fk_clock_us() > until);
    assert_false(is_closed(fd));
    edge_over(&edge, fd, client_ctx);
    UNTIL(edge.open && dials.n == 2);
    fd = connection(0, 1);
    assert_int_equal(send(fd, part, sizeof part, 0), sizeof part);
    UNTIL(is_closed(fd));
    UNTIL(dials.n == 3);
    assert_int_equal(front->set->dials[0].failures, 1);
    assert_false(edge.closed);
    (void)close(fd);
    hang_up(&edge);
    stop_front();
}

/* --- no channel --- */

/* Later each time, but never later than a bound; all at once for nobody. */
static void failures_wait_longer_each_time(void **state)
{
    (void)state;
    start_dialling(ONE_EDGE, "");
    for (size_t i = 0; i < 5; i++) {
        UNTIL(dials.n == i + 1);
        fk_front_dialled(front, 0, 1, -1);
        assert_int_equal(front->set->dials[0].failures, i + 1);
    }
    for (size_t i = 1; i < 5; i++)
        assert_true(dials.at_us[i] - dials.at_us[i - 1] >=
                    ((uint64_t)FK_KEYSERVER_BACKOFF_MIN_US << (i - 1)) / 2);
    front->set->dials[0].failures = 1000;
    UNTIL(dials.n == 6);
    fk_front_dialled(front, 0, 1, -1);
    UNTIL(dials.n == 7);
    assert_true(dials.at_us[6] - dials.at_us[5] >= FK_KEYD_DIAL_PAUSE_MAX_US / 2);
    stop_front();
}

/* Refused, lost while it was ready, and lost during its handshake: each is a failure. */
static void what_comes_to_nothing_is_made_again(void **state)
{
    struct edge edge;
    int fd;

    (void)state;
    start_dialling(ONE_EDGE, "handshake_timeout = 20ms hello_timeout = 20ms");
    UNTIL(dials.n == 1);
    edge_over(&edge, connection(0, 1), stranger_ctx);
    UNTIL(edge.closed);
    hang_up(&edge);
    UNTIL(dials.n == 2);
    assert_int_equal(front->set->dials[0].failures, 1);
    fd = connection(0, 1);
    assert_int_equal(fk_front_channels(front), 1);
    (void)close(fd);
    UNTIL(dials.n == 3);
    assert_int_equal(front->set->dials[0].failures, 2);
    fd = connection(0, 1);
    assert_int_equal(send(fd, "\x16\x03\x01garbage", 10, 0), 10);
    UNTIL(dials.n == 4);
    assert_int_equal(front->set->dials[0].failures, 3);
    (void)close(fd);
    edge_over(&edge, connection(0, 1), client_ctx);
    UNTIL(edge.open && front->set->dials[0].failures == 0);
    hang_up(&edge);
    stop_front();
}

/* Of another set, of no block, or not asked for: it belongs to nobody. */
static void answers_to_no_question_are_closed(void **state)
{
    static const struct {
        unsigned number;
        uint32_t generation;
    } rows[] = {{0, 2}, {0, 0}, {1, 1}, {UINT32_MAX, 1}};
    int fd;

    (void)state;
    start_dialling(ONE_EDGE, "");
    UNTIL(dials.n == 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fd = connection(rows[i].number, rows[i].generation);
        assert_true(is_closed(fd));
        (void)close(fd);
        fk_front_dialled(front, rows[i].number, rows[i].generation, -1);
        assert_int_equal(front->set->dials[0].failures, 0);
    }
    fd = connection(0, 1);
    assert_int_equal(fk_front_channels(front), 1);
    {
        int second = connection(0, 1);

        assert_true(is_closed(second));
        (void)close(second);
    }
    assert_int_equal(fk_front_channels(front), 1);
    assert_false(is_closed(fd));
    (void)close(fd);
    stop_front();
}

/* One that takes a channel after the other waits for the end of the time, the other edge does not.
 */
static void an_edge_that_uses_up_channels_waits(void **state)
{
    struct edge greedy, edge;
    uint64_t until;
    int fd;

    (void)state;
    start_dialling(TWO_EDGES, "");
    UNTIL(dials.n == 2);
    edge_over(&greedy, connection(0, 1), client_ctx); /* the first begins the time */
    UNTIL(greedy.open && dials.n == 3);
    hang_up(&greedy);
    assert_int_equal(front->dials_used, 1);
    front->dials_used = front->set->dials[0].used = FK_KEYD_DIALS_FREE;
    front->dials_since_us = fk_clock_us() - FK_KEYD_DIALS_TIME_US + 1000000;
    until = front->dials_since_us + FK_KEYD_DIALS_TIME_US;
    edge_over(&greedy, connection(0, 1), client_ctx);
    UNTIL(greedy.open && front->dials_used == FK_KEYD_DIALS_FREE + 1);
    hang_up(&greedy);
    fd = connection(0, 1); /* nobody asked for it */
    assert_true(is_closed(fd));
    (void)close(fd);
    edge_over(&edge, connection(1, 1), client_ctx);
    UNTIL(edge.open && dials.n == 4);
    assert_int_equal(dials.number[3], 1);
    assert_true(dials.at_us[3] < until);
    UNTIL(dials.n == 5);
    assert_int_equal(dials.number[4], 0);
    assert_true(dials.at_us[4] >= until);
    hang_up(&edge);
    edge_over(&greedy, connection(0, 1), client_ctx); /* in a new time */
    UNTIL(greedy.open && dials.n == 6);
    assert_int_equal(front->dials_used, 1);
    assert_int_equal(front->set->dials[0].used, 1);
    hang_up(&greedy);
    stop_front();
}

/* The master's answer did not come: it is asked again, and one answer is enough. */
static void a_lost_answer_is_asked_for_again(void **state)
{
    int fd, second;

    (void)state;
    start_dialling("dial \"127.0.0.1:1\" { connect_timeout = 60s }", "");
    UNTIL(dials.n == 1);
    assert_true(fk_timer_active(&front->set->dials[0].timer));
    fk_timer_start(&front->set->dials[0].timer, 0); /* the time is over */
    UNTIL(dials.n == 2);
    fd = connection(0, 1);
    second = connection(0, 1);
    assert_false(is_closed(fd));
    assert_true(is_closed(second));
    assert_false(fk_timer_active(&front->set->dials[0].timer));
    assert_int_equal(front->set->dials[0].failures, 0);
    (void)close(fd);
    (void)close(second);
    stop_front();
}

/* No place: closed, and tried again. */
static void places_are_bounded(void **state)
{
    struct edge edge;
    int fd;

    (void)state;
    start_dialling(TWO_EDGES, "connections = 1");
    UNTIL(dials.n == 2);
    edge_over(&edge, connection(0, 1), client_ctx);
    UNTIL(edge.open && dials.n == 3);
    fd = connection(1, 1);
    assert_true(is_closed(fd));
    (void)close(fd);
    UNTIL(dials.n == 4);
    assert_int_equal(dials.number[3], 1);
    hang_up(&edge);
    UNTIL(fk_front_channels(front) == 0);
    edge_over(&edge, connection(1, 1), client_ctx);
    UNTIL(edge.open);
    hang_up(&edge);
    stop_front();
}

static void without_memory_it_is_closed_and_tried_again(void **state)
{
    size_t n = 0;
    bool fired;
    int fd;

    (void)state;
    start_dialling(ONE_EDGE, "");
    do {
        UNTIL(front->set->dials[0].asked);
        failmalloc_arm(++n);
        fd = connection(0, 1);
        fired = failmalloc_disarm();
        assert_int_equal(is_closed(fd), fired);
        assert_int_equal(fk_front_channels(front), fired ? 0 : 1);
        front->set->dials[0].failures = 0; /* no longer pauses */
        (void)close(fd);
    } while (fired);
    assert_int_equal(n - 1, 3); /* the connection, its channel, the SSL */
    stop_front();
}

/* --- reloads and the end --- */

/* What was ready belongs to the set before; a channel stays if its block does. */
static void a_new_set_dials_anew(void **state)
{
    struct edge edge;
    int fd;

    (void)state;
    start_dialling(ONE_EDGE, "");
    UNTIL(dials.n == 1);
    edge_over(&edge, connection(0, 1), client_ctx);
    UNTIL(edge.open && dials.n == 2);
    fd = connection(0, 1);
    listen_block = "dial \"127.0.0.1:2\" { } " ONE_EDGE; /* another number for the same block */
    fk_front_use(front, make_set(2, EDGES, ""));
    UNTIL(is_closed(fd));
    (void)close(fd);
    UNTIL(dials.n == 4);
    assert_int_equal(dials.generation[2], 2);
    assert_int_equal(dials.generation[3], 2);
    assert_int_equal(fk_front_channels(front), 1);
    settle();
    assert_false(edge.closed);
    fd = connection(1, 1); /* what the set before asked for comes late */
    assert_true(is_closed(fd));
    (void)close(fd);
    listen_block = "dial \"127.0.0.1:2\" { }";
    fk_front_use(front, make_set(3, EDGES, ""));
    assert_int_equal(fk_front_channels(front), 0);
    UNTIL(edge.closed);
    hang_up(&edge);
    stop_front();
}

static void a_front_that_drains_dials_no_more(void **state)
{
    struct edge edge;
    size_t before;
    int fd;

    (void)state;
    start_dialling(ONE_EDGE, "");
    UNTIL(dials.n == 1);
    edge_over(&edge, connection(0, 1), client_ctx);
    UNTIL(edge.open && dials.n == 2);
    fd = connection(0, 1);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    before = dials.n;
    fk_front_drain(front);
    assert_true(is_closed(fd));
    (void)close(fd);
    settle();
    assert_false(drained); /* a request is under way */
    answer_request(0, FK_OK, "signed", 6);
    UNTIL(edge.n_answers == 1 && edge.closed && drained);
    assert_int_equal(dials.n, before);
    fd = connection(0, 1); /* it was asked for before */
    assert_true(is_closed(fd));
    (void)close(fd);
    hang_up(&edge);
    stop_front();
}

#define CASE(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        CASE(each_block_is_dialled),
        CASE(a_channel_that_is_used_has_a_successor),
        CASE(one_that_is_ready_waits),
        CASE(failures_wait_longer_each_time),
        CASE(what_comes_to_nothing_is_made_again),
        CASE(answers_to_no_question_are_closed),
        CASE(an_edge_that_uses_up_channels_waits),
        CASE(a_lost_answer_is_asked_for_again),
        CASE(places_are_bounded),
        CASE(without_memory_it_is_closed_and_tried_again),
        CASE(a_new_set_dials_anew),
        CASE(a_front_that_drains_dials_no_more),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, front_setup, front_teardown);
}
