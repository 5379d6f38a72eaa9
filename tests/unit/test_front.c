/* keyd/front: one front, real TLS channels to it, and signers that this test plays. */
#include "frontworld.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "loop/sock.h"
#include "wire/keymsg.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- cases --- */

static void answers_go_to_their_requests(void **state)
{
    struct edge edge;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 7, 0, FK_ROLE_SERVER);
    ask(&edge, 8, 1, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    assert_int_equal(asked[0].op, FK_SIGNER_SIGN13);
    assert_int_equal(asked[0].ski[0], 1);
    assert_int_equal(asked[1].ski[19], 2);
    answer_request(1, FK_OK, "second", 6);
    answer_request(0, FK_OK, "first", 5);
    UNTIL(edge.n_answers == 2);
    assert_int_equal(edge.answers[0].id, 8);
    assert_int_equal(edge.answers[0].opcode, FK_OP_RESPONSE);
    assert_memory_equal(edge.answers[0].payload, "second", 6);
    assert_int_equal(edge.answers[1].id, 7);
    assert_memory_equal(edge.answers[1].payload, "first", 5);
    hang_up(&edge);
    stop_front();
}

static void refusals_never_reach_a_signer(void **state)
{
    struct edge edge;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 7, FK_ROLE_SERVER);  /* not its key */
    ask(&edge, 2, 0, FK_ROLE_CLIENT);  /* not its right */
    ask(&edge, 3, 99, FK_ROLE_SERVER); /* no such key */
    UNTIL(edge.n_answers == 3);
    settle();
    assert_int_equal(n_asked, 0);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_DENIED);
    assert_int_equal(edge.answers[1].payload[0], FK_KEYERR_DENIED);
    assert_int_equal(edge.answers[2].payload[0], FK_KEYERR_KEY_NOT_FOUND);
    hang_up(&edge);
    stop_front();
}

static void signers_errors_are_passed_on(void **state)
{
    struct edge edge;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    ask(&edge, 2, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    answer_request(0, FK_ERR_CRYPTO, NULL, 0);
    answer_request(1, FK_ERR_DENIED, NULL, 0);
    UNTIL(edge.n_answers == 2);
    assert_int_equal(edge.answers[0].opcode, FK_OP_ERROR);
    assert_int_equal(edge.answers[0].payload[0], FK_KEYERR_CRYPTO);
    assert_int_equal(edge.answers[1].payload[0], FK_KEYERR_DENIED);
    hang_up(&edge);
    stop_front();
}

/* Back-pressure: what exceeds the bound waits, nothing is refused, nothing is lost. */
static void bound_of_a_channel_holds_back(void **state)
{
    struct edge edge;

    (void)state;
    start_front("channel_outstanding = 4");
    connect_edge(&edge, client_ctx);
    for (uint32_t i = 0; i < 20; i++)
        ask(&edge, i, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 4);
    settle();
    assert_int_equal(n_asked, 4);
    for (size_t i = 0; i < 20; i++) {
        UNTIL(n_asked > i);
        assert_true(n_asked <= i + 4);
        answer_request(i, FK_OK, "s", 1);
    }
    UNTIL(edge.n_answers == 20);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(edge.answers[i].id, i);
    hang_up(&edge);
    stop_front();
}

/* The bound over all channels: one edge's requests wait for another's answers. */
static void bound_of_the_front_is_shared(void **state)
{
    struct edge one, two;

    (void)state;
    start_front("outstanding = 2");
    connect_edge(&one, client_ctx);
    connect_edge(&two, client_ctx);
    for (uint32_t i = 0; i < 4; i++)
        ask(&one, i, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    ask(&two, 9, 0, FK_ROLE_SERVER);
    settle();
    assert_int_equal(n_asked, 2);
    for (size_t i = 0; i < 5; i++) {
        UNTIL(n_asked > i);
        answer_request(i, FK_OK, "s", 1);
    }
    UNTIL(one.n_answers == 4 && two.n_answers == 1);
    hang_up(&one);
    hang_up(&two);
    stop_front();
}

/* Of a new set: also with requests under way. */
static void bounds_follow_the_set(void **state)
{
    struct edge edge;

    (void)state;
    start_front("outstanding = 2");
    connect_edge(&edge, client_ctx);
    for (uint32_t i = 0; i < 8; i++)
        ask(&edge, i, 0, FK_ROLE_SERVER);
    settle();
    assert_int_equal(n_asked, 2);
    fk_front_use(front, make_set(2, EDGES, "outstanding = 6"));
    UNTIL(n_asked == 6);
    settle();
    assert_int_equal(n_asked, 6);
    fk_front_use(front, make_set(3, EDGES, "outstanding = 1"));
    for (size_t i = 0; i < 5; i++)
        answer_request(i, FK_OK, "s", 1);
    settle();
    assert_int_equal(n_asked, 6); /* the one that is left is as many as may be */
    fk_front_use(front, make_set(4, EDGES, "outstanding = 1 deadline = 50ms"));
    UNTIL(edge.n_answers == 8); /* nobody answers: they have the new deadline, one by one */
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(edge.answers[i].opcode, i < 5 ? FK_OP_RESPONSE : FK_OP_ERROR);
    assert_int_equal(n_asked, 8);
    hang_up(&edge);
    stop_front();
}

/* However many channels it opens, an edge leaves others their part of the front. */
static void edge_leaves_room_for_others(void **state)
{
    static const struct {
        const char *edges;
        size_t bound;
    } rows[] = {
        {EDGE("e", "") EDGE("f", ""), 4},
        {EDGE("e", "outstanding = 3") EDGE("f", ""), 3},
    };

    (void)state;
    for (size_t row = 0; row < 2; row++) {
        struct edge one, two, other;
        size_t bound = rows[row].bound;

        start_front_with(rows[row].edges, "outstanding = 8");
        connect_edge(&one, client_ctx);
        connect_edge(&two, client_ctx);
        connect_edge(&other, other_ctx);
        for (uint32_t i = 0; i < 8; i++) {
            ask(&one, i, 0, FK_ROLE_SERVER);
            ask(&two, i, 0, FK_ROLE_SERVER);
        }
        UNTIL(n_asked == bound);
        settle();
        assert_int_equal(n_asked, bound);
        ask(&other, 9, 0, FK_ROLE_SERVER);
        UNTIL(n_asked == bound + 1);
        hang_up(&one); /* its requests count until they are answered */
        settle();
        for (size_t i = 0; i < n_asked; i++) {
            answer_request(i, FK_OK, "s", 1);
            settle();
        }
        UNTIL(two.n_answers == 8 && other.n_answers == 1);
        hang_up(&two);
        hang_up(&other);
        stop_front();
    }
}

static void send_pings(struct edge *edge, uint32_t count)
{
    struct fk_keymsg msg = {.opcode = FK_OP_PING};

    while (count-- > 0)
        assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(edge->io)));
    fk_channel_io_flush(edge->io);
}

/* PING and INFO have a bound of their own, for an edge and not for its channels. */
static void talk_of_an_edge_is_bounded(void **state)
{
    static struct edge one, two, other;
    uint32_t sent;

    (void)state;
    start_front_with(EDGE("e", "") EDGE("f", ""), "");
    connect_edge(&one, client_ctx);
    connect_edge(&other, other_ctx);
    for (sent = 0; sent < 100 * FK_KEYD_TALK_BURST; sent += 60) {
        one.n_answers = 0;
        send_pings(&one, 60);
        UNTIL(one.n_answers == 60);
        if (one.answers[59].opcode == FK_OP_ERROR)
            break;
    }
    assert_in_range(sent, FK_KEYD_TALK_BURST - 60, 100 * FK_KEYD_TALK_BURST - 1);
    assert_int_equal(one.answers[59].payload[0], FK_KEYERR_RATE);
    hang_up(&one);
    connect_edge(&two, client_ctx); /* another channel, the same bucket: it has next to nothing */
    send_pings(&two, 60);
    send_pings(&other, 1);
    UNTIL(two.n_answers == 60 && other.n_answers == 1);
    assert_int_equal(other.answers[0].opcode, FK_OP_PONG);
    ask(&two, 1, 0, FK_ROLE_SERVER); /* key operations are counted elsewhere */
    UNTIL(n_asked == 1);
    hang_up(&two);
    hang_up(&other);
    stop_front();
}

static void answer_to_a_channel_that_is_gone(void **state)
{
    struct edge edge;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    hang_up(&edge);
    UNTIL(fk_front_channels(front) == 0);
    answer_request(0, FK_OK, "late", 4);
    connect_edge(&edge, client_ctx);
    ask(&edge, 2, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 2);
    answer_request(1, FK_OK, "new", 3);
    UNTIL(edge.n_answers == 1);
    assert_memory_equal(edge.answers[0].payload, "new", 3);
    hang_up(&edge);
    stop_front();
}

static void front_may_end_with_requests_under_way(void **state)
{
    struct edge edge;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    stop_front();
    UNTIL(edge.closed);
    hang_up(&edge);
}

static void stranger_is_closed(void **state)
{
    struct edge edge;

    (void)state;
    start_front("");
    connect_edge(&edge, stranger_ctx);
    UNTIL(edge.closed);
    assert_int_equal(edge.n_answers, 0);
    assert_int_equal(fk_front_channels(front), 0);
    hang_up(&edge);
    stop_front();
}

/* A peer that has opened a connection and says nothing. */
static int connect_silently(void)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_true(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS);
    return fd;
}

static bool is_closed(int fd)
{
    char byte;

    return recv(fd, &byte, 1, 0) == 0;
}

/* All places for peers that are not known yet are taken by some that say nothing: the oldest of
 * them gives way to an edge, and again to the next. */
static void silent_peers_do_not_keep_edges_out(void **state)
{
    enum { SILENT = 3 }; /* 4 / 2 + 1 */
    struct edge one, two;
    int fds[SILENT];

    (void)state;
    start_front("connections = 4");
    for (size_t i = 0; i < SILENT; i++) {
        fds[i] = connect_silently();
        UNTIL(fk_door_count(front->door) == i + 1);
    }
    connect_edge(&one, client_ctx);
    assert_true(one.open);
    assert_true(is_closed(fds[0]));
    assert_false(is_closed(fds[1]));
    connect_edge(&two, client_ctx); /* the fourth place is free, the third handshake's not */
    assert_true(two.open);
    UNTIL(fk_door_count(front->door) < SILENT);
    ask(&two, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    assert_false(one.closed);
    hang_up(&one);
    hang_up(&two);
    for (size_t i = 0; i < SILENT; i++)
        fk_close(&fds[i]);
    stop_front();
}

/* One address has filled its places: its oldest gives way, be it to an edge at the same address. */
static void one_address_does_not_take_all_places(void **state)
{
    enum { SILENT = 3 };
    struct edge one;
    int fds[SILENT];

    (void)state;
    start_front("connections = 100 address_handshakes = 2");
    for (size_t i = 0; i < SILENT; i++) {
        fds[i] = connect_silently();
        UNTIL(front->last_conn == i + 1);
    }
    UNTIL(is_closed(fds[0]));
    assert_int_equal(fk_door_count(front->door), 2);
    assert_false(is_closed(fds[1]));
    connect_edge(&one, client_ctx);
    assert_true(one.open);
    assert_true(is_closed(fds[1]));
    UNTIL(fk_door_count(front->door) == 1); /* an edge counts no longer */
    for (size_t i = 0; i < SILENT; i++)
        fk_close(&fds[i]);
    UNTIL(fk_door_count(front->door) == 0);
    hang_up(&one);
    stop_front();
}

/* Part of a ClientHello is none. */
static void a_hello_has_its_time(void **state)
{
    static const uint8_t part[] = {22, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3};
    int silent, slow;

    (void)state;
    start_front("hello_timeout = 40ms handshake_timeout = 600s");
    silent = connect_silently();
    slow = connect_silently();
    UNTIL(fk_door_count(front->door) == 2);
    assert_int_equal(send(slow, part, sizeof part, 0), sizeof part);
    UNTIL(is_closed(silent) && is_closed(slow));
    assert_int_equal(fk_door_count(front->door), 0);
    fk_close(&silent);
    fk_close(&slow);
    stop_front();
}

static void draining_answers_then_closes(void **state)
{
    struct edge busy, idle;

    (void)state;
    start_front("");
    connect_edge(&busy, client_ctx);
    connect_edge(&idle, client_ctx);
    ask(&busy, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    fk_front_drain(front);
    UNTIL(idle.closed);
    ask(&busy, 2, 0, FK_ROLE_SERVER);
    UNTIL(busy.n_answers == 1);
    assert_int_equal(busy.answers[0].id, 2);
    assert_int_equal(busy.answers[0].payload[0], FK_KEYERR_DRAINING);
    assert_false(drained);
    answer_request(0, FK_OK, "s", 1);
    UNTIL(busy.closed && drained);
    assert_int_equal(busy.answers[1].id, 1);
    assert_int_equal(busy.answers[1].opcode, FK_OP_RESPONSE);
    hang_up(&busy);
    hang_up(&idle);
    stop_front();
}

static void change_of_sets_keeps_or_ends_channels(void **state)
{
    struct edge edge;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    ask(&edge, 1, 0, FK_ROLE_SERVER);
    UNTIL(n_asked == 1);
    fk_front_use(front, make_set(2, "edge \"e\" { keys = {\"k1\"} }", ""));
    listen_on();
    answer_request(0, FK_OK, "old", 3); /* asked under the old set, answered under the new */
    ask(&edge, 2, 0, FK_ROLE_SERVER);
    UNTIL(edge.n_answers == 2);
    assert_int_equal(edge.answers[0].opcode == FK_OP_ERROR ? edge.answers[0].payload[0]
                                                           : edge.answers[1].payload[0],
                     FK_KEYERR_DENIED);
    fk_front_use(front, make_set(3, "", ""));
    UNTIL(edge.closed);
    hang_up(&edge);
    stop_front();
}

/* --- certificates that end while a channel is open --- */

static void a_new_list_ends_channels(void **state)
{
    SSL_CTX *revoked_ctx = make_edge_ctx(77, 3600);
    struct edge revoked, other;

    (void)state;
    put_list(0, 3600);
    start_front("");
    connect_edge(&revoked, revoked_ctx);
    connect_edge(&other, client_ctx);
    put_list(78, 3600);
    fk_front_use(front, make_set(2, EDGES, ""));
    settle();
    assert_false(revoked.closed || other.closed);
    put_list(77, 3600);
    fk_front_use(front, make_set(3, EDGES, ""));
    UNTIL(revoked.closed);
    settle();
    assert_false(other.closed);
    hang_up(&revoked);
    hang_up(&other);
    stop_front();
    SSL_CTX_free(revoked_ctx);
    remove_list();
}

static void a_certificate_that_ends_closes_its_channel(void **state)
{
    SSL_CTX *short_ctx = make_edge_ctx(77, 2);
    struct edge ending, other;

    (void)state;
    start_front("");
    connect_edge(&ending, short_ctx);
    connect_edge(&other, client_ctx);
    assert_true(ending.open);
    UNTIL(ending.closed);
    settle();
    assert_false(other.closed);
    hang_up(&ending);
    hang_up(&other);
    stop_front();
    SSL_CTX_free(short_ctx);
}

/* The front knows who it is, which an edge does not see. */
static struct fk_front_conn *wait_known(void)
{
    struct fk_front_conn *conn = fk_container(front->conns.next, struct fk_front_conn, link);

    UNTIL(conn->edge != NULL);
    return conn;
}

/* As if a minute had passed for every channel. */
static void make_due(void)
{
    struct fk_list *at;

    fk_list_each (at, &front->conns)
        fk_container(at, struct fk_front_conn, link)->judge_us = 0;
}

/* It judges like a handshake: nobody is trusted by it. */
static void a_list_out_of_date_closes_channels(void **state)
{
    struct fk_front_conn *conn;
    struct edge edge;

    (void)state;
    put_list(0, 2);
    start_front("handshake_timeout = 100ms");
    connect_edge(&edge, client_ctx);
    conn = wait_known();
    make_due();
    UNTIL(conn->judge_us != 0);
    settle();
    assert_false(edge.closed);
    UNTIL((make_due(), edge.closed));
    hang_up(&edge);
    stop_front();
    remove_list();
}

/* Many channels are judged in several turns. */
static void judgements_of_one_turn_are_bounded(void **state)
{
    struct fk_front_conn *conn;
    struct edge edge;
    unsigned left = 0;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    conn = wait_known();
    make_due();
    assert_true(fk_front_conn_holds(conn, 1, &left));
    assert_int_equal(conn->judge_us, 0);
    left = 1;
    assert_true(fk_front_conn_holds(conn, 1, &left));
    assert_int_equal(left, 0);
    assert_true(conn->judge_us > fk_loop_now_us(loop));
    hang_up(&edge);
    stop_front();
}

/* The lines of one edge that comes and goes without end are bounded. */
static void channels_of_an_edge_do_not_flood_the_log(void **state)
{
    char path[128], text[65536];
    size_t lines = 0;
    ssize_t len;
    int fd;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/log", folder);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    fk_log_fd(fd);
    start_front("");
    fk_log_threshold(FK_LOG_INFO);
    for (int i = 0; i < 6 * FK_LOG_BURST; i++) {
        struct edge edge;

        connect_edge(&edge, client_ctx);
        hang_up(&edge);
        UNTIL(fk_front_channels(front) == 0);
    }
    fk_log_threshold(FK_LOG_ERROR);
    fk_log_fd(2);
    stop_front();
    len = pread(fd, text, sizeof text - 1, 0);
    assert_true(len > 0);
    text[len] = '\0';
    for (const char *at = text; (at = strstr(at, "channel ")) != NULL; at++)
        lines++;
    assert_in_range(lines, 2, 6 * FK_LOG_BURST);
    (void)close(fd);
    (void)unlink(path);
}

/* What the listener admitted is judged again by the listener of the new set. */
static void change_of_a_listener_ends_what_it_would_not_take(void **state)
{
    static const struct {
        const char *before, *after;
        bool stays1, stays2; /* channels of dialect 1 and 2 */
    } rows[] = {
        {"dialect1 = on", "dialect1 = on", true, true},
        {"dialect1 = on", "dialect1 = off", false, true},
        {"dialect1 = on", "dialect1 = on deny = {\"127.0.0.0/8\"}", false, false},
        {"dialect1 = on", "dialect1 = on allow = {\"192.0.2.0/24\"}", false, false},
        {"dialect1 = on", "dialect1 = on device = \"vpn0\"", false, false},
        {"dialect1 = on", NULL, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *usual = listen_block;
        struct edge one, two;
        char text[128];

        (void)snprintf(text, sizeof text, "listen \"127.0.0.1:1\" { %s }", rows[i].before);
        listen_block = text;
        start_front("");
        connect_edge(&one, dialect1_ctx);
        connect_edge(&two, client_ctx);
        UNTIL(fk_front_channels(front) == 2 && one.open && two.open);
        settle();
        (void)snprintf(text, sizeof text, "listen \"127.0.0.1:%d\" { %s }",
                       rows[i].after != NULL ? 1 : 2, rows[i].after != NULL ? rows[i].after : "");
        fk_front_use(front, make_set(2, EDGES, ""));
        assert_int_equal(fk_front_channels(front), rows[i].stays1 + rows[i].stays2);
        UNTIL(one.closed == !rows[i].stays1 && two.closed == !rows[i].stays2);
        hang_up(&one);
        hang_up(&two);
        stop_front();
        listen_block = usual;
    }
}

/* Judged by the new set even before it is known who comes. */
static void change_of_a_listener_ends_handshakes(void **state)
{
    const char *usual = listen_block;
    struct fk_addr addr;
    char text[32];
    int fd;

    (void)state;
    start_front("");
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &fd));
    UNTIL(fk_front_channels(front) == 1);
    fk_front_use(front, make_set(2, EDGES, ""));
    assert_int_equal(fk_front_channels(front), 1);
    listen_block = "listen \"127.0.0.1:2\" { }";
    fk_front_use(front, make_set(3, EDGES, ""));
    assert_int_equal(fk_front_channels(front), 0);
    listen_block = usual;
    (void)close(fd);
    stop_front();
}

/* Pages of INFO: every key that the edge may use, once, with its chain; no retired one. */
static void info_comes_in_pages(void **state)
{
    static struct edge edge;
    uint8_t cursor[4] = {0, 0, 0, 0};
    struct fk_keymsg msg = {.opcode = FK_OP_INFO};
    size_t total = 0, pages = 0;

    (void)state;
    start_front("");
    connect_edge(&edge, client_ctx);
    do {
        msg.id = (uint32_t)pages;
        msg.payload = fk_item(cursor, sizeof cursor);
        assert_ok(fk_keymsg_encode(&msg, false, fk_channel_io_out(edge.io)));
        fk_channel_io_flush(edge.io);
        UNTIL(edge.n_answers == pages + 1);
        assert_int_equal(edge.answers[pages].opcode, FK_OP_RESPONSE);
        memcpy(cursor, edge.answers[pages].payload + 12, sizeof cursor);
        total += edge.answers[pages].len;
        assert_true(++pages < 8);
    } while (cursor[3] != 0);
    assert_int_equal(pages, 2); /* three chains of 20,000 bytes fit one */
    assert_int_equal(total / CHAIN, 6);
    hang_up(&edge);
    stop_front();
}

#define CASE(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        CASE(answers_go_to_their_requests),
        CASE(refusals_never_reach_a_signer),
        CASE(signers_errors_are_passed_on),
        CASE(bound_of_a_channel_holds_back),
        CASE(bound_of_the_front_is_shared),
        CASE(bounds_follow_the_set),
        CASE(edge_leaves_room_for_others),
        CASE(talk_of_an_edge_is_bounded),
        CASE(answer_to_a_channel_that_is_gone),
        CASE(front_may_end_with_requests_under_way),
        CASE(stranger_is_closed),
        CASE(silent_peers_do_not_keep_edges_out),
        CASE(one_address_does_not_take_all_places),
        CASE(a_hello_has_its_time),
        CASE(draining_answers_then_closes),
        CASE(change_of_sets_keeps_or_ends_channels),
        CASE(a_new_list_ends_channels),
        CASE(a_certificate_that_ends_closes_its_channel),
        CASE(a_list_out_of_date_closes_channels),
        CASE(judgements_of_one_turn_are_bounded),
        CASE(info_comes_in_pages),
        CASE(change_of_a_listener_ends_what_it_would_not_take),
        CASE(change_of_a_listener_ends_handshakes),
        CASE(channels_of_an_edge_do_not_flood_the_log),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, front_setup, front_teardown);
}
