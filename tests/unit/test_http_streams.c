/* http/streams: what a client of HTTP/2 and the origins of its requests read for what they sent. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "h2client.h"
#include "http/streams.h"

#include <stdio.h>

#define BUFFER 16384
#define READ   16384

static const char *const ours[] = {"Client-Cert"};
static const char *const guarded[] = {"/staff"};

static bool is_foreign(const void *arg, struct fk_reader host)
{
    (void)arg;
    return host.left == 5 && memcmp(host.next, "other", 5) == 0;
}

static const struct fk_http_forward forward = {.via = "farkey",
                                               .ours = ours,
                                               .n_ours = 1,
                                               .guarded = guarded,
                                               .n_guarded = 1,
                                               .foreign = is_foreign};

static struct fk_exchange_conf conf;
static struct fk_streams streams;
static struct h2client client;

static void begin(bool holds)
{
    conf = (struct fk_exchange_conf){.limits = &fk_http_limits_default,
                                     .forward = &forward,
                                     .client = {.address = "192.0.2.1", .tls = true},
                                     .buffer = BUFFER,
                                     .read_most = READ};
    assert_ok(fk_streams_init(&streams, &conf));
    h2client_new(&client, holds);
    client.tells_bodies = true;
}

static int set_up(void **state)
{
    (void)state;
    begin(false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_streams_fini(&streams);
    h2client_free(&client);
    return 0;
}

/* --- the owner's part --- */

static struct fk_stream *find(int32_t id)
{
    struct fk_list *item;

    fk_list_each (item, &streams.list) {
        struct fk_stream *s = fk_container(item, struct fk_stream, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

static struct fk_stream *get(int32_t id)
{
    struct fk_stream *s = find(id);

    assert_non_null(s);
    return s;
}

/* Connections that are not needed go, streams that are over too. */
static void sweep(void)
{
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &streams.list) {
        struct fk_stream *s = fk_container(item, struct fk_stream, link);

        if (s->fetch.spent || fk_stream_releases(s))
            assert_ok(fk_stream_detached(s));
        if (fk_stream_over(s))
            fk_stream_free(s);
    }
}

/* What the edge has to say, to the client; how much that was. */
static size_t tell_client(void)
{
    size_t len = fk_buf_len(&streams.client_out);

    assert_true(len <= BUFFER);
    if (len > 0 && client.session != NULL)
        (void)nghttp2_session_mem_recv(client.session, fk_buf_data(&streams.client_out), len);
    fk_buf_consume(&streams.client_out, len);
    return len;
}

/* Both ways, until nobody has anything to say. */
static void run(void)
{
    const uint8_t *data;
    size_t moved = 1;
    ssize_t len;

    while (moved > 0) {
        assert_ok(fk_streams_run(&streams));
        sweep();
        assert_ok(fk_streams_run(&streams));
        moved = tell_client();
        while (fk_streams_reads_client(&streams) && client.session != NULL &&
               (len = nghttp2_session_mem_send(client.session, &data)) > 0) {
            assert_ok(fk_streams_recv(&streams, data, (size_t)len));
            moved += (size_t)len;
        }
    }
    sweep();
}

/* All that the client has to say, before it hears anything. */
static void client_says_first(void)
{
    const uint8_t *data;
    ssize_t len;

    while ((len = nghttp2_session_mem_send(client.session, &data)) > 0)
        assert_ok(fk_streams_recv(&streams, data, (size_t)len));
}

static int32_t ask(const char *fields, size_t body)
{
    int32_t id = h2client_ask(&client, fields, body, false);

    run();
    return id;
}

static void attach(int32_t id, bool reused)
{
    assert_true(fk_stream_wants_origin(get(id)));
    fk_fetch_attached(&get(id)->fetch, reused);
    run();
}

static void origin_says_bytes(int32_t id, const char *text, size_t len)
{
    assert_true(get(id)->fetch.attached);
    assert_ok(fk_buf_append(&get(id)->fetch.in, text, len));
    run();
}

static void origin_says(int32_t id, const char *text)
{
    origin_says_bytes(id, text, strlen(text));
}

static void origin_ends(int32_t id)
{
    get(id)->fetch.eof = true;
    run();
}

/* An origin reads all that waits for it. */
static void origin_reads(int32_t id, const char *expected)
{
    struct fk_buf *out = &get(id)->fetch.out;
    char text[4096];

    snprintf(text, sizeof text, "%.*s", (int)fk_buf_len(out),
             fk_buf_len(out) > 0 ? (const char *)fk_buf_data(out) : "");
    assert_string_equal(text, expected);
    fk_buf_consume(out, fk_buf_len(out));
    run();
}

static void client_reads(const char *expected)
{
    assert_string_equal(client.seen, expected);
    client.len = 0;
    client.seen[0] = '\0';
}

static void client_resets(int32_t id)
{
    assert_int_equal(nghttp2_submit_rst_stream(client.session, 0, id, NGHTTP2_CANCEL), 0);
    run();
}

#define FIELDS(method, path) \
    ":method: " method "|:scheme: https|:authority: a.example|:path: " path "|"
#define GET   FIELDS("GET", "/x")
#define POST  FIELDS("POST", "/x")
#define ASKED "GET /x HTTP/1.1\r\nHost: a.example\r\nVia: 2.0 farkey\r\n\r\n"
#define OK_2  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define GIVEN(id)                                                                          \
    id " :status: 200|" id " via: 1.1 farkey|" id " content-length: 2|" id " body: hi|" id \
       " closed 0|"

/* What the edge says itself. */
static void assert_refused(int32_t id, const char *status, const char *reason)
{
    char expected[512];

    snprintf(expected, sizeof expected,
             "%d :status: %s|%d content-type: text/plain; charset=utf-8|%d cache-control: "
             "no-store|%d content-length: %zu|%d body: %s %s\n|%d closed 0|",
             id, status, id, id, id, strlen(status) + strlen(reason) + 2, id, status, reason, id);
    client_reads(expected);
    assert_null(find(id));
}

/* --- cases --- */

static void request_and_answer(void **state)
{
    (void)state;
    assert_int_equal(ask(GET, 0), 1);
    attach(1, false);
    origin_reads(1, ASKED);
    assert_int_equal(get(1)->state, FK_EXCHANGE_WAITING);
    origin_says(1, OK_2);
    client_reads(GIVEN("1"));
    assert_null(find(1));
    assert_int_equal(streams.requests, 1);
    assert_int_equal(streams.n, 0);
    assert_false(fk_streams_done(&streams));
}

/* Spoofed fields go, crumbs of a Cookie become one, the Host is of :authority. */
static void requests_are_made_fit(void **state)
{
    (void)state;
    ask(GET "cookie: a=1|client-cert: x|client_cert: y|x-forwarded-for: z|cookie: b=2|te: trailers|"
            "host: a.example|",
        0);
    attach(1, false);
    origin_reads(1, "GET /x HTTP/1.1\r\nHost: a.example\r\ncookie: a=1; b=2\r\nVia: 2.0 farkey\r\n"
                    "TE: trailers\r\n\r\n");
}

static void bodies_are_streamed(void **state)
{
    (void)state;
    client.trailers = true;
    ask(POST, 3);
    attach(1, false);
    origin_reads(1, "POST /x HTTP/1.1\r\nHost: a.example\r\nVia: 2.0 farkey\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n0\r\ndigest: x\r\n\r\n");
    origin_says(1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    client_reads("1 :status: 200|1 via: 1.1 farkey|1 body: a|");
    origin_says(1, "1\r\nb\r\n0\r\nStatus: 0\r\nClient-Cert: y\r\n\r\n");
    client_reads("1 body: b|1 status: 0|1 closed 0|");
    assert_null(find(1));
}

static void bodies_of_a_length_keep_it(void **state)
{
    (void)state;
    ask(POST "content-length: 3|", 3);
    attach(1, false);
    origin_reads(1, "POST /x HTTP/1.1\r\nHost: a.example\r\nVia: 2.0 farkey\r\n"
                    "Content-Length: 3\r\n\r\nxxx");
    origin_says(1, "HTTP/1.0 200 OK\r\n\r\nab");
    origin_says(1, "c");
    origin_ends(1);
    client_reads("1 :status: 200|1 via: 1.0 farkey|1 body: ab|1 body: c|1 closed 0|");
}

static void answers_without_body(void **state)
{
    static const struct {
        const char *fields, *says, *reads;
    } rows[] = {
        {FIELDS("HEAD", "/x"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
         "1 :status: 200|1 via: 1.1 farkey|1 content-length: 2|1 closed 0|"},
        {GET, "HTTP/1.1 204 No Content\r\n\r\n", "1 :status: 204|1 via: 1.1 farkey|1 closed 0|"},
        {GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
         "1 :status: 304|1 via: 1.1 farkey|1 content-length: 9|1 closed 0|"},
        {GET, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_2,
         "1 :status: 103|1 link: x|1 via: 1.1 farkey|" GIVEN("1")},
        {GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
         "1 :status: 200|1 via: 1.1 farkey|1 content-length: 0|1 closed 0|"},
        {GET, "HTTP/1.1 200 OK\r\nConnection: X, close\r\nX: y\r\nKeep-Alive: z\r\n\r\n",
         "1 :status: 200|1 via: 1.1 farkey|"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tear_down(NULL);
        begin(false);
        ask(rows[i].fields, 0);
        attach(1, false);
        origin_says(1, rows[i].says);
        client_reads(rows[i].reads);
    }
}

static void continue_is_said_by_the_edge(void **state)
{
    (void)state;
    ask(POST "expect: 100-continue|", 2);
    client_reads("1 :status: 100|");
    attach(1, false);
    origin_reads(1, "POST /x HTTP/1.1\r\nHost: a.example\r\nVia: 2.0 farkey\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n");
}

static void hundred_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 101; i++)
        (void)h2client_ask(&client, GET, 0, false);
    run();
    assert_int_equal(streams.n, 100); /* the client knows how many are allowed */
    assert_int_equal(streams.requests, 100);
    for (int i = 99; i >= 0; i--) {
        attach(2 * i + 1, false);
        origin_reads(2 * i + 1, ASKED);
    }
    for (int i = 0; i < 100; i += 3)
        origin_says(2 * i + 1, OK_2);
    for (int i = 0; i < 100; i++)
        if (i % 3 != 0)
            origin_says(2 * i + 1, OK_2);
    assert_int_equal(client.body, 200);
    assert_int_equal(streams.requests, 101);
    attach(201, false);
    origin_says(201, OK_2);
    assert_int_equal(streams.n, 0);
}

static void bad_requests_are_answered(void **state)
{
    static const struct {
        const char *fields, *status, *reason;
    } rows[] = {
        {":method: GET|:scheme: https|:authority: a:b|:path: /|", "400", "Bad Request"},
        {GET "host: b.example|", "400", "Bad Request"},
        {FIELDS("GET", "/staff/1"), "403", "Forbidden"},
        {FIELDS("GET", "/x/../%73taff"), "403", "Forbidden"},
        {":method: GET|:scheme: https|:authority: other|:path: /|", "421", "Misdirected Request"},
    };
    int32_t id;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(ask(rows[i].fields, 0), rows[i].status, rows[i].reason);
    id = ask(GET, 0); /* the connection goes on */
    attach(id, false);
    origin_reads(id, ASKED);
}

static void faults_are_kept_for_logs(void **state)
{
    struct fk_list *first;

    (void)state;
    run();
    (void)h2client_ask(&client, FIELDS("GET", "/staff"), 0, false);
    client_says_first();
    assert_ok(fk_streams_run(&streams));
    first = streams.list.next;
    assert_int_equal(fk_container(first, struct fk_stream, link)->fault,
                     FK_HTTP_FAULT_CERT_MISSING);
    assert_int_equal(fk_container(first, struct fk_stream, link)->status, 403);
}

/* --- origins that fail --- */

static void origin_that_cannot_be_reached(void **state)
{
    static const struct {
        int status;
        const char *text, *reason;
    } rows[] = {{502, "502", "Bad Gateway"},
                {503, "503", "Service Unavailable"},
                {504, "504", "Gateway Timeout"}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int32_t id = ask(GET, 0);

        assert_ok(fk_stream_origin_failed(get(id), rows[i].status));
        assert_int_equal(get(id)->status, rows[i].status);
        run();
        assert_refused(id, rows[i].text, rows[i].reason);
    }
}

static void bad_answers_are_502(void **state)
{
    static const char *const rows[] = {
        "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 99 No\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t id = ask(GET, 0);

        attach(id, false);
        origin_says(id, rows[i]);
        assert_refused(id, "502", "Bad Gateway");
    }
}

/* A client never takes a part for the whole: cut anywhere, an answer is 502 or a reset. */
static void answers_that_are_cut(void **state)
{
    static const char *const answers[] = {
        OK_2,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n",
    };

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (size_t cut = 0; cut < strlen(answers[k]); cut++) {
            int32_t id = ask(GET, 0);
            char end[32];

            client.len = 0;
            attach(id, false);
            origin_says_bytes(id, answers[k], cut);
            origin_ends(id);
            snprintf(end, sizeof end, "%d closed %u|", id,
                     strstr(client.seen, ":status: 200") == NULL ? NGHTTP2_NO_ERROR
                                                                 : NGHTTP2_INTERNAL_ERROR);
            assert_non_null(strstr(client.seen, end));
            assert_true(strstr(client.seen, ":status: 502") != NULL ||
                        strstr(client.seen, ":status: 200") != NULL);
            assert_null(find(id));
        }
    }
}

static void bad_body_resets_the_stream(void **state)
{
    (void)state;
    ask(GET, 0);
    ask(GET, 0);
    attach(1, false);
    attach(3, false);
    origin_says(1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    origin_says(1, "zz\r\n");
    client_reads("1 :status: 200|1 via: 1.1 farkey|1 closed 2|");
    origin_says(3, OK_2); /* others do not notice */
    client_reads(GIVEN("3"));
}

static void kept_origin_that_closed_is_tried_again(void **state)
{
    (void)state;
    ask(GET, 0);
    attach(1, true);
    origin_reads(1, ASKED);
    origin_ends(1);
    attach(1, false);
    origin_reads(1, ASKED);
    origin_ends(1); /* not once more */
    assert_refused(1, "502", "Bad Gateway");
}

static void what_may_not_be_sent_twice_is_502(void **state)
{
    (void)state;
    ask(POST, 3);
    attach(1, true);
    origin_ends(1);
    assert_refused(1, "502", "Bad Gateway");
    ask(FIELDS("POST", "/x"), 0);
    attach(3, true);
    origin_ends(3);
    assert_refused(3, "502", "Bad Gateway");
}

static void origin_that_speaks_unasked_is_left(void **state)
{
    (void)state;
    ask(GET, 0);
    attach(1, false);
    assert_ok(fk_buf_append(&get(1)->fetch.in, OK_2 "more", strlen(OK_2 "more")));
    assert_ok(fk_streams_run(&streams));
    assert_true(get(1)->fetch.spent);
    assert_false(fk_stream_releases(get(1)));
    run();
    client_reads(GIVEN("1"));
}

static void origin_that_stays_is_released(void **state)
{
    (void)state;
    ask(GET, 0);
    attach(1, false);
    origin_reads(1, ASKED);
    assert_ok(fk_buf_append(&get(1)->fetch.in, OK_2, strlen(OK_2)));
    assert_ok(fk_streams_run(&streams));
    assert_true(fk_stream_releases(get(1)));
    assert_false(get(1)->fetch.spent);
    get(1)->fetch.eof = true;
    assert_false(fk_stream_releases(get(1)));
}

/* --- clients that leave --- */

static void client_resets_at_any_time(void **state)
{
    (void)state;
    for (int when = 0; when < 5; when++) {
        int32_t id = when == 2 ? ask(POST, 100000) : ask(GET, 0);

        client.len = 0;
        if (when > 0)
            attach(id, false);
        if (when > 2)
            origin_says(id, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
        if (when > 3)
            origin_says(id, "abc");
        client_resets(id);
        assert_null(find(id));
    }
    assert_int_equal(streams.n, 0);
    assert_false(fk_streams_done(&streams));
}

static void client_that_ends_gets_nothing_more(void **state)
{
    (void)state;
    ask(GET, 0);
    ask(POST, 100000);
    attach(1, false);
    fk_streams_client_ended(&streams);
    run();
    assert_int_equal(streams.n, 0);
    assert_true(fk_streams_done(&streams));
    assert_false(fk_streams_reads_client(&streams));
}

static void other_protocols_end_it(void **state)
{
    (void)state;
    assert_ok(fk_streams_recv(&streams, "GET / HTTP/1.1\r\n\r\n", 18));
    assert_err(streams.err, FK_ERR_FORMAT);
    assert_ok(fk_streams_run(&streams));
    tell_client();
    assert_true(fk_streams_done(&streams));
    assert_false(fk_h2_flooded(streams.h2));
}

static void flood_ends_all(void **state)
{
    static const uint8_t ping[8] = {0};

    (void)state;
    ask(GET, 0);
    for (size_t i = 0; i < FK_H2_CREDIT_MAX + 9; i++) {
        assert_int_equal(nghttp2_submit_ping(client.session, 0, ping), 0);
        run();
    }
    assert_err(streams.err, FK_ERR_RATE);
    assert_int_equal(client.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(fk_h2_flooded(streams.h2));
    assert_int_equal(streams.n, 0);
    assert_true(fk_streams_done(&streams));
}

static void draining_answers_what_was_asked(void **state)
{
    (void)state;
    ask(GET, 0);
    attach(1, false);
    assert_ok(fk_streams_drain(&streams));
    (void)h2client_ask(&client, GET, 0, false); /* it does not know yet */
    client_says_first();
    run();
    attach(3, false);
    origin_says(1, OK_2);
    assert_false(fk_streams_done(&streams));
    origin_says(3, OK_2);
    client_reads("GOAWAY 0 last=2147483647|GOAWAY 0 last=3|" GIVEN("1") GIVEN("3"));
    assert_true(fk_streams_done(&streams));
}

/* --- early answers --- */

static void early_answer_stops_the_request(void **state)
{
    (void)state;
    ask(POST, 1000000);
    attach(1, false);
    origin_says(1, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    client_reads("1 :status: 413|1 via: 1.1 farkey|1 content-length: 0|1 closed 0|");
    assert_null(find(1)); /* and its connection with it: the rest of the request is not sent */
    ask(POST, 60000);     /* what the first had taken of the window is back */
    attach(3, false);
    fk_buf_consume(&get(3)->fetch.out, fk_buf_len(&get(3)->fetch.out));
    run();
}

/* --- bounds --- */

static size_t held(void)
{
    struct fk_list *item;
    size_t all = fk_buf_len(&streams.client_out) + fk_h2_waiting(streams.h2);

    fk_list_each (item, &streams.list) {
        struct fk_stream *s = fk_container(item, struct fk_stream, link);

        all += fk_buf_len(&s->body) + fk_buf_len(&s->fetch.in) + fk_buf_len(&s->fetch.out);
    }
    return all;
}

/* All origins say as much as they may, once; whether any could. */
static bool origins_pour(void)
{
    static char block[READ];
    struct fk_list *item;
    bool poured = false;

    fk_list_each (item, &streams.list) {
        struct fk_stream *s = fk_container(item, struct fk_stream, link);

        if (!fk_stream_reads_origin(s))
            continue;
        assert_ok(fk_buf_append(&s->fetch.in, block, sizeof block));
        poured = true;
    }
    run();
    return poured;
}

/* A client that reads nothing: origins are not read any more, memory has a bound. */
static void stalled_clients_stop_origins(void **state)
{
    size_t most = 0, passed;

    (void)state;
    tear_down(NULL);
    begin(true);
    client.tells_bodies = false;
    for (int i = 0; i < 100; i++) {
        int32_t id = ask(GET, 0);

        attach(id, false);
        origin_reads(id, ASKED);
        origin_says(id, "HTTP/1.1 200 OK\r\n\r\n");
    }
    while (origins_pour())
        most = held() > most ? held() : most;
    /* In all, and a piece that goes on its way and a full queue of each. */
    assert_in_range(most, 100 * READ,
                    FK_H2_WAITING_MAX + 100 * (FK_H2_RECV_MAX + fk_exchange_in_max(&conf)));
    passed = client.body;
    for (int i = 0; i < 100; i++)
        if (client.got[i] > 0)
            h2client_take(&client, 2 * i + 1, client.got[i]);
    run();
    assert_true(client.body > passed); /* it goes on by itself */
    assert_true(origins_pour());
}

/* Origins that read nothing: so much is taken from the client and no more. */
static void stalled_origins_stop_clients(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        attach(ask(POST, 1000000), false);
    assert_true(held() <= FK_H2_CONNECTION_WINDOW + 20 * fk_exchange_out_max(&conf));
    for (int round = 0; round < 1000 && streams.n > 0; round++) {
        for (int i = 0; i < 20; i++) {
            struct fk_stream *s = find(2 * i + 1);

            if (s == NULL)
                continue;
            assert_true(fk_buf_len(&s->fetch.out) <= fk_exchange_out_max(&conf));
            fk_buf_consume(&s->fetch.out, fk_buf_len(&s->fetch.out));
            if (s->state == FK_EXCHANGE_WAITING)
                origin_says(s->id, OK_2);
        }
        run();
    }
    assert_int_equal(streams.n, 0);
    assert_int_equal(client.body, 40);
}

/* --- cuts --- */

static uint8_t recorded[65536];
static size_t recorded_len;

/* What a client says that asks twice, once with a body. */
static void record(void)
{
    const uint8_t *data;
    ssize_t len;

    recorded_len = 0;
    client.trailers = true;
    (void)h2client_ask(&client, GET "cookie: a=1|", 0, false);
    (void)h2client_ask(&client, POST "content-length: 20|", 20, false);
    while ((len = nghttp2_session_mem_send(client.session, &data)) > 0) {
        assert_true(recorded_len + (size_t)len <= sizeof recorded);
        memcpy(recorded + recorded_len, data, (size_t)len);
        recorded_len += (size_t)len;
    }
}

static void client_that_is_cut_anywhere(void **state)
{
    (void)state;
    record();
    for (size_t cut = 0; cut <= recorded_len; cut++) {
        tear_down(NULL);
        begin(false);
        assert_ok(fk_streams_recv(&streams, recorded, cut));
        assert_ok(fk_streams_run(&streams));
        assert_ok(streams.err);
        assert_true(streams.requests <= 2);
        fk_streams_client_ended(&streams);
        assert_ok(fk_streams_run(&streams));
        sweep();
        tell_client();
        assert_int_equal(streams.n, 0);
        assert_true(fk_streams_done(&streams));
    }
    assert_int_equal(streams.requests, 2);
}

static void bytes_may_trickle(void **state)
{
    (void)state;
    record();
    h2client_free(&client);
    for (size_t i = 0; i < recorded_len; i++) {
        assert_ok(fk_streams_recv(&streams, recorded + i, 1));
        assert_ok(fk_streams_run(&streams));
    }
    run();
    attach(3, false);
    origin_reads(3, "POST /x HTTP/1.1\r\nHost: a.example\r\nVia: 2.0 farkey\r\n"
                    "Content-Length: 20\r\n\r\nxxxxxxxxxxxxxxxxxxxx");
    for (size_t i = 0; i < sizeof OK_2 - 1; i++)
        origin_says_bytes(3, &OK_2[i], 1);
    assert_int_equal(streams.n, 1); /* the other waits for its origin */
}

/* --- memory --- */

static int answer_one(struct fk_streams *mine)
{
    struct fk_stream *s = fk_container(mine->list.next, struct fk_stream, link);
    int err;

    fk_fetch_attached(&s->fetch, false);
    if ((err = fk_buf_append(&s->fetch.in, OK_2, strlen(OK_2))) != FK_OK)
        return err;
    return fk_streams_run(mine);
}

static int serve_recorded(void *context)
{
    struct fk_streams mine;
    int err;

    (void)context;
    if ((err = fk_streams_init(&mine, &conf)) == FK_OK &&
        (err = fk_streams_recv(&mine, recorded, recorded_len)) == FK_OK &&
        (err = fk_streams_run(&mine)) == FK_OK)
        err = answer_one(&mine);
    fk_streams_fini(&mine);
    return err;
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    record();
    assert_true(failmalloc_try(serve_recorded, NULL) >= 12);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

UNIT_MAIN(CASE(request_and_answer), CASE(requests_are_made_fit), CASE(bodies_are_streamed),
          CASE(bodies_of_a_length_keep_it), CASE(answers_without_body),
          CASE(continue_is_said_by_the_edge), CASE(hundred_at_once),
          CASE(bad_requests_are_answered), CASE(faults_are_kept_for_logs),
          CASE(origin_that_cannot_be_reached), CASE(bad_answers_are_502),
          CASE(answers_that_are_cut), CASE(bad_body_resets_the_stream),
          CASE(kept_origin_that_closed_is_tried_again), CASE(what_may_not_be_sent_twice_is_502),
          CASE(origin_that_speaks_unasked_is_left), CASE(origin_that_stays_is_released),
          CASE(client_resets_at_any_time), CASE(client_that_ends_gets_nothing_more),
          CASE(other_protocols_end_it), CASE(flood_ends_all), CASE(draining_answers_what_was_asked),
          CASE(early_answer_stops_the_request), CASE(stalled_clients_stop_origins),
          CASE(stalled_origins_stop_clients), CASE(client_that_is_cut_anywhere),
          CASE(bytes_may_trickle), CASE(without_memory_it_says_so))
