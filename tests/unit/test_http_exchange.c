/* http/exchange: what a client and an origin read for what they sent, in every order. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/exchange.h"

#include <stdio.h>

#define BUFFER 16384

static const char *const ours[] = {"Client-Cert"};
static const char *const upgrades[] = {"websocket"};
static const struct fk_http_forward forward = {
    .via = "farkey", .ours = ours, .n_ours = 1, .upgrades = upgrades, .n_upgrades = 1};

static struct fk_exchange_conf conf;
static struct fk_exchange x;

static int set_up(void **state)
{
    (void)state;
    conf = (struct fk_exchange_conf){.limits = &fk_http_limits_default,
                                     .forward = &forward,
                                     .client = {.address = "192.0.2.1", .tls = true},
                                     .buffer = BUFFER};
    fk_exchange_init(&x, &conf);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_exchange_fini(&x);
    return 0;
}

/* Bytes of one side come in; what can be done is done. */
static void client_says(const char *text)
{
    assert_ok(fk_buf_append(&x.client_in, text, strlen(text)));
    assert_ok(fk_exchange_run(&x));
}

static void origin_says(const char *text)
{
    assert_true(x.fetch.attached);
    assert_ok(fk_buf_append(&x.fetch.in, text, strlen(text)));
    assert_ok(fk_exchange_run(&x));
}

/* One side reads all that waits for it. */
static void assert_reads(struct fk_buf *buf, const char *expected)
{
    char text[4096];

    snprintf(text, sizeof text, "%.*s", (int)fk_buf_len(buf),
             fk_buf_len(buf) > 0 ? (const char *)fk_buf_data(buf) : "");
    assert_string_equal(text, expected);
    fk_buf_consume(buf, fk_buf_len(buf));
    assert_ok(fk_exchange_run(&x));
}

#define client_reads(text) assert_reads(&x.client_out, text)
#define origin_reads(text) assert_reads(&x.fetch.out, text)

static void attach(void)
{
    assert_true(fk_exchange_wants_origin(&x));
    fk_exchange_attached(&x, false);
    assert_ok(fk_exchange_run(&x));
}

static void detach(void)
{
    assert_true(x.fetch.spent);
    assert_ok(fk_exchange_detached(&x));
    assert_ok(fk_exchange_run(&x));
}

#define ASK     "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define ASKED   "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 farkey\r\n\r\n"
#define OK_2    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define GIVEN_2 "HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n\r\nhi"

/* What the edge says itself. */
static void assert_refused(const char *status)
{
    char expected[512];

    snprintf(expected, sizeof expected,
             "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
             "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
             status, strlen(status) + 1, status);
    assert_false(fk_exchange_done(&x));
    client_reads(expected);
    assert_true(fk_exchange_done(&x));
    assert_false(x.broken);
}

static void requests_one_after_the_other(void **state)
{
    (void)state;
    assert_true(fk_exchange_reads_client(&x));
    assert_false(fk_exchange_wants_origin(&x));
    client_says(ASK);
    attach();
    for (int i = 0; i < 3; i++) {
        origin_reads(ASKED);
        origin_says(OK_2);
        client_reads(GIVEN_2);
        assert_int_equal(x.state, FK_EXCHANGE_IDLE);
        assert_false(x.fetch.spent);
        assert_false(fk_exchange_wants_origin(&x));
        client_says(ASK);
    }
    assert_int_equal(x.requests, 4);
    assert_int_equal(x.status, 200);
}

static void pipelined_requests_wait_their_turn(void **state)
{
    (void)state;
    client_says(ASK ASK "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" ASK);
    attach();
    origin_reads(ASKED);
    origin_says(OK_2);
    origin_reads(ASKED);
    origin_says(OK_2);
    origin_reads("GET /3 HTTP/1.1\r\nHost: a\r\nVia: 1.1 farkey\r\n\r\n");
    origin_says(OK_2);
    client_reads(GIVEN_2 GIVEN_2 "HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n"
                                 "Connection: close\r\n\r\nhi");
    assert_true(fk_exchange_done(&x));
    assert_false(x.broken);
}

static void bodies_are_streamed(void **state)
{
    (void)state;
    client_says("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2");
    attach();
    origin_reads("POST / HTTP/1.1\r\nHost: a\r\nVia: 1.1 farkey\r\nTransfer-Encoding: chunked\r\n"
                 "\r\n3\r\nabc\r\n");
    client_says("\r\nde\r\n0\r\nDigest: x\r\nClient-Cert: y\r\n\r\n");
    origin_reads("2\r\nde\r\n0\r\nDigest: x\r\n\r\n");
    origin_says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "1\r\nx\r\n");
    origin_says("1\r\ny\r\n0\r\nStatus: 0\r\n\r\n");
    client_reads("1\r\ny\r\n0\r\nStatus: 0\r\n\r\n");
    assert_int_equal(x.state, FK_EXCHANGE_IDLE);
    assert_false(x.fetch.spent);
}

/* Neither side is read while as much waits for the other. */
static void queues_are_bounded(void **state)
{
    static char block[BUFFER];
    size_t sent = 0, passed = 0;

    (void)state;
    memset(block, 'x', sizeof block);
    client_says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    while (fk_exchange_reads_client(&x) && sent < 1000000) {
        size_t room = fk_buf_room(&x.client_in), len = room < sizeof block ? room : sizeof block;

        assert_ok(fk_buf_append(&x.client_in, block, len));
        assert_ok(fk_exchange_run(&x));
        sent += len;
    }
    assert_in_range(sent, 2 * BUFFER, 8 * BUFFER);
    attach();
    origin_says("HTTP/1.1 200 OK\r\n\r\n");
    while (fk_exchange_reads_origin(&x) && passed < 1000000) {
        size_t room = fk_buf_room(&x.fetch.in), len = room < sizeof block ? room : sizeof block;

        assert_ok(fk_buf_append(&x.fetch.in, block, len));
        assert_ok(fk_exchange_run(&x));
        passed += len;
    }
    assert_in_range(passed, 2 * BUFFER, 8 * BUFFER);
    fk_buf_consume(&x.client_out, fk_buf_len(&x.client_out));
    assert_ok(fk_exchange_run(&x));
    assert_true(fk_exchange_reads_origin(&x));
}

static void answers_are_framed_for_their_client(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_reads(ASKED);
    origin_says("HTTP/1.0 200 OK\r\n\r\nhello");
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.0 farkey\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "5\r\nhello\r\n0\r\n\r\n");
    assert_int_equal(x.state, FK_EXCHANGE_IDLE);
    detach();
    client_says("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    attach();
    origin_reads("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 farkey\r\n\r\n");
    origin_says(OK_2);
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n"
                 "Connection: keep-alive\r\n\r\nhi");
    client_says("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    origin_reads("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 farkey\r\n\r\n");
    origin_says(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n");
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nConnection: close\r\n\r\nhi");
    assert_true(fk_exchange_done(&x));
}

static void head_has_no_body(void **state)
{
    (void)state;
    client_says("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" ASK);
    attach();
    origin_reads("HEAD / HTTP/1.1\r\nHost: a\r\nVia: 1.1 farkey\r\n\r\n");
    origin_says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    origin_reads(ASKED);
    origin_says(OK_2);
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n\r\n" GIVEN_2);
}

static void continue_is_said_by_the_edge(void **state)
{
    (void)state;
    client_says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    client_reads("HTTP/1.1 100 Continue\r\n\r\n");
    attach();
    client_says("hi");
    origin_reads("POST / HTTP/1.1\r\nHost: a\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n\r\nhi");
    origin_says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_2);
    client_reads("HTTP/1.1 103 Early Hints\r\nLink: x\r\nVia: 1.1 farkey\r\n\r\n" GIVEN_2);
}

static void upgrades_become_tunnels(void **state)
{
    (void)state;
    client_says("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    attach();
    origin_reads("GET /ws HTTP/1.1\r\nHost: a\r\nVia: 1.1 farkey\r\nUpgrade: websocket\r\n"
                 "Connection: upgrade\r\n\r\n");
    origin_says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                "Upgrade: websocket\r\n\r\nfrom origin");
    client_reads("HTTP/1.1 101 Switching Protocols\r\nVia: 1.1 farkey\r\nUpgrade: websocket\r\n"
                 "Connection: upgrade\r\n\r\nfrom origin");
    client_says("GET / HTTP/1.1\n\n");
    origin_reads("GET / HTTP/1.1\n\n");
    fk_exchange_origin_ended(&x);
    origin_says("bye");
    client_reads("bye");
    assert_true(fk_exchange_done(&x));
    assert_true(x.fetch.spent);
}

static void upgrade_that_is_not_granted_is_an_answer(void **state)
{
    (void)state;
    client_says("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    attach();
    origin_says(OK_2);
    assert_int_equal(x.state, FK_EXCHANGE_IDLE);
    client_reads(GIVEN_2);
}

/* --- faults of the client --- */

static void bad_requests_are_answered_and_end_it(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_reads(ASKED);
    origin_says(OK_2);
    client_reads(GIVEN_2);
    client_says("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" ASK);
    origin_reads("");
    assert_int_equal(x.fault, FK_HTTP_FAULT_HOST_REPEATED);
    assert_refused("400 Bad Request");
    assert_false(fk_exchange_reads_client(&x));
    assert_true(x.fetch.spent); /* closed with it, not left to anybody */
}

static void bad_body_before_the_answer(void **state)
{
    (void)state;
    client_says("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    assert_int_equal(x.fault, FK_HTTP_FAULT_CHUNK_BAD);
    assert_refused("400 Bad Request");
}

static void bad_body_behind_the_answer(void **state)
{
    (void)state;
    client_says("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    attach();
    origin_says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh");
    client_says("x\r\n");
    assert_true(fk_exchange_done(&x));
    assert_true(x.broken);
    assert_true(x.fetch.spent);
}

static void host_of_old_clients_must_be_known(void **state)
{
    (void)state;
    client_says("GET / HTTP/1.0\r\n\r\n");
    assert_refused("400 Bad Request");
}

static void client_that_leaves(void **state)
{
    (void)state;
    client_says(ASK ASK);
    fk_exchange_client_ended(&x); /* half-closed: it still reads its answers */
    assert_ok(fk_exchange_run(&x));
    attach();
    origin_reads(ASKED);
    origin_says(OK_2);
    origin_reads(ASKED);
    origin_says(OK_2);
    client_reads(GIVEN_2 GIVEN_2);
    assert_true(fk_exchange_done(&x));
    assert_false(x.broken);
}

static void client_that_leaves_within_a_request(void **state)
{
    (void)state;
    client_says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nh");
    attach();
    fk_exchange_client_ended(&x);
    assert_ok(fk_exchange_run(&x));
    assert_true(fk_exchange_done(&x));
    assert_true(x.broken);
    assert_true(x.fetch.spent);
}

static void idle_client_that_leaves(void **state)
{
    (void)state;
    fk_exchange_client_ended(&x);
    assert_ok(fk_exchange_run(&x));
    assert_true(fk_exchange_done(&x));
    assert_false(x.broken);
}

/* --- faults of the origin --- */

static void origin_that_cannot_be_reached(void **state)
{
    (void)state;
    client_says(ASK);
    assert_ok(fk_exchange_origin_failed(&x, 503));
    assert_refused("503 Service Unavailable");
}

static void bad_answers_are_502(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi");
    assert_int_equal(x.fetch.gone_wrong, FK_HTTP_FAULT_LENGTH_REPEATED);
    assert_refused("502 Bad Gateway");
    assert_true(x.fetch.spent);
}

static void origin_that_says_nothing_is_502(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    assert_refused("502 Bad Gateway");
}

/* Half an answer is never taken for a whole one. */
static void origin_that_dies_in_its_answer(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "2\r\nhi\r\n");
    assert_true(fk_exchange_done(&x));
    assert_true(x.broken);
    assert_int_equal(x.fetch.gone_wrong, FK_HTTP_FAULT_TRUNCATED);
}

/* Nor is one that lasts to the connection's end, when that end is a reset, or TLS's without
 * close_notify; see answers_are_framed_for_their_client() for the one in order. Others are whole
 * without it. */
static void origin_that_breaks_off(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_says("HTTP/1.0 200 OK\r\n\r\nhello");
    x.fetch.broken = true;
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.0 farkey\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "5\r\nhello\r\n");
    assert_true(x.broken);
    assert_int_equal(x.fetch.gone_wrong, FK_HTTP_FAULT_TRUNCATED);
}

static void origin_that_breaks_off_when_all_is_said(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_says(OK_2);
    x.fetch.broken = true;
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    client_reads(GIVEN_2);
    assert_false(x.broken);
}

/* What it says unasked must not be the answer to the next request, also when both come at once. */
static void origin_that_speaks_unasked_is_left(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_reads(ASKED);
    assert_ok(fk_buf_append(&x.client_in, ASK, strlen(ASK)));
    origin_says(OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    client_reads(GIVEN_2);
    assert_true(x.fetch.spent);
    origin_reads("");
    detach();
    assert_int_equal(x.fetch.gone_wrong, FK_HTTP_FAULT_UNASKED);
    attach();
    origin_reads(ASKED);
    origin_says(OK_2);
    client_reads(GIVEN_2);
}

static void kept_origin_that_closed_is_tried_again(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_reads(ASKED);
    origin_says(OK_2);
    client_reads(GIVEN_2);
    client_says(ASK);
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    assert_true(x.fetch.spent);
    detach();
    attach();
    origin_reads(ASKED);
    fk_exchange_origin_ended(&x); /* a fresh one: not again */
    assert_ok(fk_exchange_run(&x));
    assert_refused("502 Bad Gateway");
}

static void what_may_not_be_sent_twice_is_502(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_reads(ASKED);
    origin_says(OK_2);
    client_reads(GIVEN_2);
    client_says("POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    assert_refused("502 Bad Gateway");
}

static void idle_origin_that_closes_is_replaced(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    origin_reads(ASKED);
    origin_says(OK_2);
    client_reads(GIVEN_2);
    fk_exchange_origin_ended(&x);
    assert_ok(fk_exchange_run(&x));
    assert_true(x.fetch.spent);
    client_says(ASK); /* not sent to the dying one */
    detach();
    attach();
    origin_reads(ASKED);
}

/* An answer before the request is whole: it is passed on, and nothing behind it is believed. */
static void early_answer_ends_it(void **state)
{
    (void)state;
    client_says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart");
    attach();
    origin_says("HTTP/1.1 413 x\r\nContent-Length: 2\r\n\r\nno");
    client_reads("HTTP/1.1 413 Content Too Large\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n"
                 "Connection: close\r\n\r\nno");
    assert_true(fk_exchange_done(&x));
    assert_true(x.fetch.spent);
    assert_false(x.broken);
}

static void draining_ends_behind_the_answer(void **state)
{
    (void)state;
    client_says(ASK);
    attach();
    fk_exchange_drain(&x);
    origin_says(OK_2);
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\nConnection: close\r\n"
                 "\r\nhi");
    assert_true(fk_exchange_done(&x));
    tear_down(NULL);
    set_up(NULL);
    client_says(ASK);
    attach();
    origin_says(OK_2);
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n\r\nhi");
    assert_false(fk_exchange_done(&x));
    fk_exchange_drain(&x);
    assert_true(fk_exchange_done(&x));
}

/* To end it before would look like a failure. */
static void draining_lets_a_new_client_ask_once(void **state)
{
    (void)state;
    fk_exchange_drain(&x);
    assert_false(fk_exchange_done(&x));
    client_says(ASK);
    attach();
    origin_says(OK_2);
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\nConnection: close\r\n"
                 "\r\nhi");
    assert_true(fk_exchange_done(&x));
}

/* A head that does not end has its time; so has a client that has never asked, and no other. */
static void heads_have_their_time(void **state)
{
    (void)state;
    assert_true(fk_exchange_awaits_head(&x));
    client_says(ASK);
    assert_false(fk_exchange_awaits_head(&x));
    assert_ok(fk_exchange_head_late(&x)); /* too late to be late */
    attach();
    origin_says(OK_2);
    client_reads("HTTP/1.1 200 OK\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n\r\nhi");
    assert_false(fk_exchange_awaits_head(&x));
    client_says("GET / HT");
    assert_true(fk_exchange_awaits_head(&x));
    assert_ok(fk_exchange_head_late(&x));
    assert_int_equal(x.fault, FK_HTTP_FAULT_LATE);
    assert_int_equal(x.status, 408);
    tear_down(NULL);
    set_up(NULL);
    assert_ok(fk_exchange_head_late(&x)); /* nobody asked: nothing is said */
    assert_true(fk_exchange_done(&x));
    assert_int_equal(x.status, 0);
}

/* Every byte by itself makes the same of it. */
static void bytes_may_trickle(void **state)
{
    static const char asked[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" ASK;
    char one[2] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof asked - 1; i++) {
        one[0] = asked[i];
        client_says(one);
    }
    attach();
    origin_reads("POST / HTTP/1.1\r\nHost: a\r\nVia: 1.1 farkey\r\nContent-Length: 2\r\n\r\nhi");
    for (size_t i = 0; i < sizeof OK_2 - 1; i++) {
        one[0] = OK_2[i];
        origin_says(one);
    }
    client_reads(GIVEN_2);
    origin_reads(ASKED);
}

static void machine_is_closed(void **state)
{
    bool reached[FK_EXCHANGE_STATE_COUNT] = {[FK_EXCHANGE_IDLE] = true};

    (void)state;
    for (int from = 0; from < FK_EXCHANGE_STATE_COUNT; from++) {
        for (int fact = 0; fact < FK_EXCHANGE_FACT_COUNT; fact++) {
            enum fk_exchange_state to =
                fk_exchange_next((enum fk_exchange_state)from, (enum fk_exchange_fact)fact);

            assert_true(to <= FK_EXCHANGE_STATE_COUNT);
            if (to < FK_EXCHANGE_STATE_COUNT)
                reached[to] = true;
            if (fact == FK_EXCHANGE_FACT_OVER)
                assert_int_equal(to, FK_EXCHANGE_CLOSING);
            else if (from == FK_EXCHANGE_CLOSING || from == FK_EXCHANGE_TUNNEL)
                assert_int_equal(to, FK_EXCHANGE_STATE_COUNT);
        }
    }
    for (int i = 0; i < FK_EXCHANGE_STATE_COUNT; i++)
        assert_true(reached[i]);
}

static int serve_one(void *context)
{
    struct fk_exchange mine;
    int err;

    (void)context;
    fk_exchange_init(&mine, &conf);
    if ((err = fk_buf_append(&mine.client_in, ASK, strlen(ASK))) == FK_OK &&
        (err = fk_exchange_run(&mine)) == FK_OK) {
        fk_exchange_attached(&mine, false);
        if ((err = fk_buf_append(&mine.fetch.in, OK_2, strlen(OK_2))) == FK_OK)
            err = fk_exchange_run(&mine);
    }
    fk_exchange_fini(&mine);
    return err;
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    assert_true(failmalloc_try(serve_one, NULL) >= 6);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

UNIT_MAIN(CASE(requests_one_after_the_other), CASE(pipelined_requests_wait_their_turn),
          CASE(bodies_are_streamed), CASE(queues_are_bounded),
          CASE(answers_are_framed_for_their_client), CASE(head_has_no_body),
          CASE(continue_is_said_by_the_edge), CASE(upgrades_become_tunnels),
          CASE(upgrade_that_is_not_granted_is_an_answer),
          CASE(bad_requests_are_answered_and_end_it), CASE(bad_body_before_the_answer),
          CASE(bad_body_behind_the_answer), CASE(host_of_old_clients_must_be_known),
          CASE(client_that_leaves), CASE(client_that_leaves_within_a_request),
          CASE(idle_client_that_leaves), CASE(origin_that_cannot_be_reached),
          CASE(bad_answers_are_502), CASE(origin_that_says_nothing_is_502),
          CASE(origin_that_dies_in_its_answer), CASE(origin_that_breaks_off),
          CASE(origin_that_breaks_off_when_all_is_said), CASE(origin_that_speaks_unasked_is_left),
          CASE(kept_origin_that_closed_is_tried_again), CASE(what_may_not_be_sent_twice_is_502),
          CASE(idle_origin_that_closes_is_replaced), CASE(early_answer_ends_it),
          CASE(draining_ends_behind_the_answer), CASE(draining_lets_a_new_client_ask_once),
          CASE(heads_have_their_time), CASE(bytes_may_trickle), CASE(machine_is_closed),
          CASE(without_memory_it_says_so))
