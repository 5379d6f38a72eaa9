/* http/h2 against nghttp2's client: requests, answers, flow control, refusals, abuse, memory. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "h2client.h"
#include "http/h1req.h"
#include "http/h2_priv.h"
#include "http/target.h"
#include "http/text.h"

#include <llhttp.h>

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static struct h2client client;

/* The server, and what was told by it. */
static struct fk_h2 *h2;
static char told[H2CLIENT_STORY];
static size_t told_len, told_body;
static bool hold;      /* do not say that bodies were consumed */
static bool raw_names; /* send names as they are: nghttp2's copies are in lower case */

static struct fk_http_limits limits;

static int32_t ask(const char *fields, size_t body)
{
    return h2client_ask(&client, fields, body, raw_names);
}

#define GET  ":method: GET|:scheme: https|:authority: a.example|:path: /x|"
#define POST ":method: POST|:scheme: https|:authority: a.example|:path: /x|"

/* --- between the two --- */

static void tell_head(const struct fk_h2_event *event)
{
    const struct fk_http_request *request = fk_h2_request(h2, event->stream);
    struct fk_reader method, authority, path;

    if (event->fault != FK_HTTP_FAULT_NONE) {
        h2client_tell(told, &told_len, "%d %s|", event->stream, fk_http_fault_name(event->fault));
        return;
    }
    assert_non_null(request);
    assert_int_equal(request->version, FK_HTTP_2);
    method = fk_http_request_part(request, request->method);
    authority = fk_http_request_part(request, request->authority);
    path = fk_http_request_part(request, request->path);
    h2client_tell(told, &told_len, "%d %.*s %.*s %.*s fields=%zu", event->stream, (int)method.left,
                  method.next, (int)authority.left, authority.next, (int)path.left, path.next,
                  request->headers.count);
    if (request->framing == FK_HTTP_LENGTH)
        h2client_tell(told, &told_len, " length=%u", (unsigned)request->length);
    h2client_tell(told, &told_len, "%s%s|", request->framing == FK_HTTP_CHUNKED ? " chunked" : "",
                  request->expect_continue ? " continue" : "");
}

static void tell_event(const struct fk_h2_event *event)
{
    switch (event->kind) {
    case FK_H2_HEAD:
        tell_head(event);
        break;
    case FK_H2_BODY:
        told_body += event->body.left;
        if (!hold)
            assert_ok(fk_h2_consumed(h2, event->stream, event->body.left));
        break;
    case FK_H2_TRAILERS:
        h2client_tell(told, &told_len, "%d trailers=%zu|", event->stream,
                      fk_h2_trailers(h2, event->stream)->count);
        break;
    case FK_H2_END:
        h2client_tell(told, &told_len, "%d end|", event->stream);
        break;
    case FK_H2_ROOM:
        h2client_tell(told, &told_len, "%d room|", event->stream);
        break;
    case FK_H2_CLOSED:
        h2client_tell(told, &told_len, "%d closed%s|", event->stream, event->whole ? " whole" : "");
        break;
    }
}

static void pull_events(void)
{
    struct fk_h2_event event;

    while (fk_h2_next(h2, &event) == FK_OK)
        tell_event(&event);
}

static int give(const uint8_t *data, size_t len)
{
    int err = FK_OK;

    while (len > 0 && err == FK_OK) {
        size_t piece = len < FK_H2_RECV_MAX ? len : FK_H2_RECV_MAX;

        err = fk_h2_recv(h2, data, piece);
        pull_events();
        data += piece;
        len -= piece;
    }
    return err;
}

/* All that the server has to say, to the client. */
static size_t serve(void)
{
    struct fk_buf out;
    size_t len, all = 0;

    fk_buf_init(&out, 5000);
    do {
        assert_ok(fk_h2_send(h2, &out));
        pull_events();
        len = fk_buf_len(&out);
        all += len;
        if (len > 0 && client.session != NULL)
            (void)nghttp2_session_mem_recv(client.session, fk_buf_data(&out), len);
        fk_buf_consume(&out, len);
    } while (len > 0);
    fk_buf_fini(&out);
    return all;
}

/* Both ways, until nobody has anything to say. */
static int exchange(void)
{
    const uint8_t *data;
    size_t moved = 1;
    int err = FK_OK;

    while (moved > 0) {
        ssize_t len;

        moved = serve();
        while (err == FK_OK && (len = nghttp2_session_mem_send(client.session, &data)) > 0) {
            err = give(data, (size_t)len);
            moved += (size_t)len;
        }
    }
    return err;
}

static int set_up(void **state)
{
    (void)state;
    limits = fk_http_limits_default;
    told[0] = '\0';
    told_len = told_body = 0;
    hold = raw_names = false;
    h2client_new(&client, false);
    assert_ok(fk_h2_new(&limits, &h2));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_h2_free(h2);
    nghttp2_session_del(client.session);
    return 0;
}

static void answer(int32_t id, int status, const char *body)
{
    struct fk_http_response response;

    fk_http_response_init(&response, &limits);
    response.status = status;
    assert_ok(fk_http_headers_add_text(&response.headers, "Content-Type", "text/plain"));
    if (body != NULL) {
        response.framing = FK_HTTP_LENGTH;
        response.length = strlen(body);
    }
    assert_ok(fk_h2_respond(h2, id, &response, body == NULL && status >= 200));
    if (body != NULL) {
        assert_ok(fk_h2_write(h2, id, body, strlen(body)));
        assert_ok(fk_h2_end(h2, id, NULL));
    }
    fk_http_response_fini(&response);
}

/* --- cases --- */

static void request_and_answer(void **state)
{
    (void)state;
    assert_int_equal(ask(GET "accept: */*|x-empty: |", 0), 1);
    assert_ok(exchange());
    assert_string_equal(told, "1 GET a.example /x fields=2|1 end|");
    answer(1, 200, "hello");
    assert_ok(exchange());
    assert_string_equal(client.seen, "1 :status: 200|1 content-type: text/plain|"
                                     "1 content-length: 5|1 closed 0|");
    assert_int_equal(client.body, 5);
    assert_string_equal(told, "1 GET a.example /x fields=2|1 end|1 closed whole|");
    assert_int_equal(fk_h2_streams(h2), 0);
    assert_null(fk_h2_request(h2, 1));
}

static void interim_answers_and_no_body(void **state)
{
    (void)state;
    ask(POST "expect: 100-continue|content-length: 3|", 3);
    assert_ok(exchange());
    assert_string_equal(told, "1 POST a.example /x fields=0 length=3 continue|1 end|");
    answer(1, 103, NULL);
    answer(1, 204, NULL);
    assert_ok(exchange());
    assert_string_equal(client.seen, "1 :status: 103|1 content-type: text/plain|"
                                     "1 :status: 204|1 content-type: text/plain|1 closed 0|");
}

static void many_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(ask(GET, 0), 2 * i + 1);
    assert_ok(exchange());
    assert_int_equal(fk_h2_streams(h2), 100);
    told_len = 0;
    for (int i = 99; i >= 0; i--)
        answer(2 * i + 1, 200, "x");
    assert_ok(exchange());
    assert_int_equal(client.body, 100);
    assert_int_equal(fk_h2_streams(h2), 0);
}

/* What HTTP/1 means by the same fields, and what nghttp2 refuses by itself. */
static void heads_are_judged(void **state)
{
    static const struct {
        const char *fields;
        const char *told; /* "" : reset by nghttp2, nothing was said */
    } rows[] = {
        {GET, "GET a.example /x fields=0|"},
        {":method: GET|:scheme: http|:authority: a|:path: /|", "GET a / fields=0|"},
        {":method: OPTIONS|:scheme: https|:authority: a|:path: *|", "OPTIONS a * fields=0|"},
        {":method: GET|:scheme: https|:path: /|host: b.example|", "GET b.example / fields=0|"},
        {GET "host: A.example:443|", "GET a.example /x fields=0|"},
        {GET "cookie: a=1|b: c|cookie: d=2|", "GET a.example /x fields=2|"},
        {GET "te: trailers|", "GET a.example /x fields=1|"},
        {GET "content-length: 0|", "GET a.example /x fields=0 length=0|"},
        {GET "client_cert: x|", "GET a.example /x fields=1|"},
        {GET "host: b.example|", "HOST_DIFFERS|"},
        {GET "host: a.example:80|", "HOST_DIFFERS|"},
        {GET "expect: 200-ok|", "EXPECTATION|"},
        {":method: GET|:scheme: https|:authority: a b|:path: /|", ""},
        {":method: GET|:scheme: https|:authority: user@a|:path: /|", "HOST_BAD|"},
        {":method: GET|:scheme: https|:authority: a:0|:path: /|", "HOST_BAD|"},
        {":method: GET|:scheme: ftp|:authority: a|:path: /|", "TARGET_BAD|"},
        {":method: GET|:scheme: https|:authority: a|:path: /#x|", "TARGET_BAD|"},
        {":method: GET|:scheme: https|:authority: a|:path: /%00|", "TARGET_BAD|"},
        {":method: CONNECT|:authority: a:443|", "CONNECT|"},
        {":method: GETS|:scheme: https|:authority: a|:path: /|", "METHOD|"},
        {":method: get|:scheme: https|:authority: a|:path: /|", "METHOD|"},
        {":method: PRI|:scheme: https|:authority: a|:path: *|", ""},
        {":method: GET|:scheme: https|:authority: a|:path: *|", ""},
        {":method: GET|:scheme: https|:authority: a|:path: http://b/|", ""},
        {":method: GET|:scheme: https|:authority: a|:path: |", ""},
        {":method: GET|:scheme: https|:authority: a|", ""},
        {":method: GET|:authority: a|:path: /|", ""},
        {":scheme: https|:authority: a|:path: /|", ""},
        {":method: GET|:method: GET|:scheme: https|:authority: a|:path: /|", ""},
        {":method: GET|:scheme: https|:authority: a|:path: /|:path: /x|", ""},
        {":method: GET|:scheme: https|:path: /|", ""},
        {":method: G T|:scheme: https|:authority: a|:path: /|", ""},
        {":method: GET|:scheme: https|:authority: a|accept: x|:path: /|", ""},
        {":method: GET|:scheme: https|:authority: a|:path: /|:status: 200|", ""},
        {":method: GET|:scheme: https|:authority: a|:path: /|:protocol: websocket|", ""},
        {GET ":x: y|", ""},
        {GET "Accept: x|", ""},
        {GET "a b: x|", ""},
        {GET "a: \r\nb|", ""},
        {GET "a: \x01|", ""},
        {GET "connection: close|", ""},
        {GET "keep-alive: x|", ""},
        {GET "proxy-connection: x|", ""},
        {GET "upgrade: websocket|", ""},
        {GET "transfer-encoding: chunked|", ""},
        {GET "te: gzip|", ""},
        {GET "content-length: 5|", ""},
        {GET "content-length: 1|content-length: 1|", ""},
        {GET "content-length: x|", ""},
        {GET "host: a.example|host: a.example|", ""},
    };

    (void)state;
    raw_names = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t id = ask(rows[i].fields, 0);
        char expected[256] = "", number[16];
        bool good = strchr(rows[i].told, ' ') != NULL;

        told_len = 0;
        told[0] = '\0';
        client.len = 0;
        print_message("  %s\n", rows[i].fields);
        assert_ok(exchange());
        snprintf(number, sizeof number, "%d ", id);
        if (rows[i].told[0] != '\0')
            snprintf(expected, sizeof expected, "%s%s%s%s", number, rows[i].told,
                     good ? number : "", good ? "end|" : "");
        assert_string_equal(told, expected);
        if (rows[i].told[0] == '\0') {
            snprintf(expected, sizeof expected, "%d closed 1|", id); /* PROTOCOL_ERROR */
            assert_string_equal(client.seen, expected);
        } else {
            answer(id, good ? 200 : 400, "x");
            assert_ok(exchange());
        }
        assert_int_equal(fk_h2_streams(h2), 0);
    }
    assert_int_equal(client.goaway, 0);
}

/* A head that is too large is answered, as over HTTP/1, not reset. */
/* Each method passes by both HTTP/1 and HTTP/2, or by neither. */
static void methods_are_those_of_http1(void **state)
{
#define METHOD_NAME(number, name, string) #string,
    static const char *const names[] = {HTTP_ALL_METHOD_MAP(METHOD_NAME) "GETX", "get", "QUERYX"};
#undef METHOD_NAME
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct fk_http_event event;
        struct fk_h1req req;
        size_t used;
        int err, n = snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: a\r\n\r\n", names[i]);

        fk_h1req_init(&req, &limits);
        err = fk_h1req_next(&req, text, (size_t)n, &used, &event);
        assert_true(err == FK_OK || err == FK_ERR_FORMAT);
        if (strcmp(names[i], "CONNECT") != 0) /* known, and refused by a name of its own */
            assert_int_equal(err == FK_OK, fk_http_method_known(fk_http_text(names[i])));
        fk_h1req_fini(&req);
    }
}

static void large_heads_are_answered(void **state)
{
    char fields[16384], value[8000];

    (void)state;
    limits.head = 4096;
    memset(value, 'x', sizeof value);
    snprintf(fields, sizeof fields, GET "a: %.4000s|b: %.200s|", value, value);
    ask(fields, 0);
    limits.fields = 3;
    ask(GET "a: |b: |c: |d: |", 0);
    ask(GET "a: |b: |c: |", 0);
    assert_ok(exchange());
    assert_string_equal(told, "1 FIELDS_LARGE|3 FIELDS_MANY|5 GET a.example /x fields=3|5 end|");
    answer(1, 431, "large");
    answer(3, 431, "many");
    answer(5, 200, NULL);
    assert_ok(exchange());
    assert_int_equal(fk_h2_streams(h2), 0);
    assert_int_equal(client.body, 9);
}

static void client_sends_what_was_consumed_and_no_more(void **state)
{
    (void)state;
    hold = true;
    ask(POST, 300000);
    assert_ok(exchange());
    assert_int_equal(told_body, FK_H2_STREAM_WINDOW);
    assert_ok(exchange());
    assert_int_equal(told_body, FK_H2_STREAM_WINDOW);
    hold = false;
    assert_ok(fk_h2_consumed(h2, 1, FK_H2_STREAM_WINDOW));
    assert_ok(exchange());
    assert_int_equal(told_body, 300000);
    assert_string_equal(told, "1 POST a.example /x fields=0 chunked|1 end|");
    answer(1, 200, NULL);
    assert_ok(exchange());
    assert_int_equal(fk_h2_streams(h2), 0);
}

/* Streams that are reset with a body nobody took do not use the connection's window up. */
static void window_of_reset_streams_comes_back(void **state)
{
    (void)state;
    hold = true;
    for (int i = 0; i < 10; i++) {
        int32_t id = ask(POST, 100000);

        told_body = 0;
        assert_ok(exchange());
        assert_int_equal(told_body, FK_H2_STREAM_WINDOW);
        if (i % 2 == 0)
            assert_int_equal(nghttp2_submit_rst_stream(client.session, 0, id, NGHTTP2_CANCEL), 0);
        else
            assert_ok(fk_h2_reset(h2, id));
        assert_ok(exchange());
        assert_int_equal(fk_h2_streams(h2), 0);
        assert_ok(fk_h2_consumed(h2, id, 1000)); /* told too late: forgotten */
    }
}

static void long_answers_wait_for_the_client(void **state)
{
    static char piece[FK_H2_OUT_MAX];
    struct fk_http_response response;
    size_t rounds = 0;

    (void)state;
    ask(GET, 0);
    assert_ok(exchange());
    fk_http_response_init(&response, &limits);
    response.status = 200;
    response.framing = FK_HTTP_CHUNKED;
    assert_ok(fk_h2_respond(h2, 1, &response, false));
    assert_ok(exchange());
    for (size_t sent = 0; sent < 20 * sizeof piece; rounds++) {
        int err = fk_h2_write(h2, 1, piece, sizeof piece);

        if (err == FK_OK) {
            sent += sizeof piece;
            continue;
        }
        assert_err(err, FK_ERR_LIMIT);
        told_len = 0;
        told[0] = '\0';
        assert_ok(exchange());
        assert_string_equal(told, "1 room|");
        assert_int_equal(fk_h2_room(h2, 1), sizeof piece);
    }
    assert_int_equal(rounds, 39);
    assert_ok(fk_http_headers_add_text(&response.headers, "Grpc-Status", "0"));
    assert_ok(fk_h2_end(h2, 1, &response.headers));
    assert_ok(exchange());
    assert_int_equal(client.body, 20 * sizeof piece);
    assert_string_equal(client.seen, "1 :status: 200|1 grpc-status: 0|1 closed 0|");
    fk_http_response_fini(&response);
}

/* The answer is there before the request is whole: the rest is not wanted. */
static void early_answers_stop_the_client(void **state)
{
    (void)state;
    hold = true;
    ask(POST, 100000);
    assert_ok(exchange());
    answer(1, 200, "no");
    assert_ok(exchange());
    assert_non_null(strstr(client.seen, "1 closed 0|"));
    assert_non_null(strstr(told, "1 closed|"));
    assert_int_equal(fk_h2_streams(h2), 0);
}

static int32_t ask_without_body(const char *length)
{
    return nghttp2_submit_headers(
        client.session, 0, -1, NULL,
        (nghttp2_nv[]){
            {(uint8_t *)":method", (uint8_t *)"POST", 7, 4, 0},
            {(uint8_t *)":scheme", (uint8_t *)"https", 7, 5, 0},
            {(uint8_t *)":authority", (uint8_t *)"a", 10, 1, 0},
            {(uint8_t *)":path", (uint8_t *)"/", 5, 1, 0},
            {(uint8_t *)"content-length", (uint8_t *)(uintptr_t)length, 14, strlen(length), 0}},
        5, NULL);
}

static ssize_t read_five(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *context)
{
    (void)session;
    (void)id;
    (void)source;
    (void)context;
    assert_true(length >= 5);
    memcpy(buf, "12345", 5);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return 5;
}

/* What is left of a request is let come if it needs no leave: then nothing is reset. */
static void small_rests_are_let_come(void **state)
{
    const nghttp2_data_provider body = {.read_callback = read_five};
    int32_t id = ask_without_body("5");

    (void)state;
    assert_ok(exchange());
    answer(id, 200, "no");
    assert_ok(exchange());
    assert_null(strstr(client.seen, "closed"));
    assert_int_equal(nghttp2_submit_data(client.session, NGHTTP2_FLAG_END_STREAM, id, &body), 0);
    assert_ok(exchange());
    assert_non_null(strstr(client.seen, "1 closed 0|"));
    assert_non_null(strstr(told, "1 closed whole|"));
    client.len = 0;
    id = ask_without_body("32768");
    assert_ok(exchange());
    answer(id, 200, "no");
    assert_ok(exchange());
    assert_non_null(strstr(client.seen, "3 closed 0|"));
    assert_int_equal(fk_h2_streams(h2), 0);
}

static void trailers_of_requests(void **state)
{
    static const uint8_t name[] = "digest", value[] = "x", bad[] = "content-length";
    nghttp2_nv nv = {(uint8_t *)name, (uint8_t *)value, 6, 1, 0};
    int32_t id;

    (void)state;
    for (int i = 0; i < 2; i++) {
        told_len = 0;
        id = nghttp2_submit_headers(
            client.session, 0, -1, NULL,
            (nghttp2_nv[]){{(uint8_t *)":method", (uint8_t *)"POST", 7, 4, 0},
                           {(uint8_t *)":scheme", (uint8_t *)"https", 7, 5, 0},
                           {(uint8_t *)":authority", (uint8_t *)"a", 10, 1, 0},
                           {(uint8_t *)":path", (uint8_t *)"/", 5, 1, 0}},
            4, NULL);
        assert_true(id > 0);
        assert_ok(exchange());
        if (i == 1)
            nv = (nghttp2_nv){(uint8_t *)bad, (uint8_t *)value, 14, 1, 0};
        assert_int_equal(
            nghttp2_submit_headers(client.session, NGHTTP2_FLAG_END_STREAM, id, NULL, &nv, 1, NULL),
            0);
        assert_ok(exchange());
        if (i == 0) {
            assert_string_equal(told, "1 POST a / fields=0 chunked|1 trailers=1|1 end|");
            answer(id, 200, NULL);
            assert_ok(exchange());
        }
    }
    assert_string_equal(told, "3 POST a / fields=0 chunked|3 closed|");
    assert_int_equal(fk_h2_streams(h2), 0);
}

/* --- those who only make work --- */

static void frames_without_use_end_it(void **state)
{
    static const uint8_t ping[8] = {0};
    int err = FK_OK;
    size_t n = 0;

    (void)state;
    while (err == FK_OK && n < 10000) {
        assert_int_equal(nghttp2_submit_ping(client.session, 0, ping), 0);
        err = exchange();
        n++;
    }
    assert_err(err, FK_ERR_RATE);
    assert_in_range(n, FK_H2_CREDIT_MAX - 2, FK_H2_CREDIT_MAX + 2);
    serve();
    assert_int_equal(client.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(fk_h2_goaway(h2), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_err(fk_h2_recv(h2, ping, 1), FK_ERR_RATE); /* final */
}

/* Requests that are served pay for frames like these: browsers cancel now and then. */
static void useful_clients_may_ping(void **state)
{
    static const uint8_t ping[8] = {0};

    (void)state;
    for (int i = 0; i < 1000; i++) {
        int32_t id = ask(GET, 0);

        client.len = told_len = 0;
        for (int k = 0; k < FK_H2_CREDIT_REQUEST; k++)
            assert_int_equal(nghttp2_submit_ping(client.session, 0, ping), 0);
        assert_ok(exchange());
        answer(id, 200, NULL);
        assert_ok(exchange());
    }
}

static void rapid_reset_ends_it(void **state)
{
    int err = FK_OK;
    size_t n = 0;

    (void)state;
    while (err == FK_OK && n < 10000) {
        int32_t id = ask(GET, 0);

        client.len = told_len = 0;
        err = exchange();
        (void)nghttp2_submit_rst_stream(client.session, 0, id, NGHTTP2_CANCEL);
        err = err == FK_OK ? exchange() : err;
        n++;
    }
    assert_true(n <= FK_H2_CREDIT_MAX + 2);
    serve();
    assert_int_equal(client.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"

/* Frames by hand behind the preface: what recv says, and the code of the GOAWAY. */
static void assert_frames(const char *frames, size_t len, uint32_t goaway)
{
    uint8_t bytes[16384];
    int err;

    fk_h2_free(h2);
    assert_ok(fk_h2_new(&limits, &h2));
    memcpy(bytes, PREFACE, sizeof PREFACE - 1);
    memcpy(bytes + sizeof PREFACE - 1, frames, len);
    err = give(bytes, sizeof PREFACE - 1 + len);
    assert_true(err == FK_OK || err == FK_ERR_RATE);
    serve();
    assert_int_equal(fk_h2_goaway(h2), goaway);
    if (goaway != 0)
        assert_true(fk_h2_done(h2) || err != FK_OK);
}

#define FRAMES(text, goaway) assert_frames(text, sizeof(text) - 1, goaway)

static void frames_by_hand(void **state)
{
    char flood[9 * 40 + 16];
    size_t len = 0;

    (void)state;
    nghttp2_session_del(client.session);
    client.session = NULL;
    FRAMES("", 0);
    /* DATA of a stream that is not open; of stream 0 */
    FRAMES("\0\0\x01\0\x01\0\0\0\x01x", NGHTTP2_PROTOCOL_ERROR);
    FRAMES("\0\0\x01\0\x01\0\0\0\0x", NGHTTP2_PROTOCOL_ERROR);
    /* a frame that is too large */
    FRAMES("\0\x40\x01\0\0\0\0\0\x01", NGHTTP2_FRAME_SIZE_ERROR);
    /* WINDOW_UPDATE by 0 */
    FRAMES("\0\0\x04\x08\0\0\0\0\0\0\0\0\0", NGHTTP2_PROTOCOL_ERROR);
    /* a head that HPACK cannot read */
    FRAMES("\0\0\x01\x01\x05\0\0\0\x01\xff", NGHTTP2_COMPRESSION_ERROR);
    /* PUSH_PROMISE of a client */
    FRAMES("\0\0\x04\x05\x04\0\0\0\x01\0\0\0\x02", NGHTTP2_PROTOCOL_ERROR);
    /* an even stream */
    FRAMES("\0\0\0\x01\x05\0\0\0\x02", NGHTTP2_PROTOCOL_ERROR);
    /* another frame between HEADERS and CONTINUATION */
    FRAMES("\0\0\0\x01\x01\0\0\0\x01\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0",
           NGHTTP2_PROTOCOL_ERROR);
    /* CONTINUATION without end */
    memcpy(flood, "\0\0\0\x01\x01\0\0\0\x01", 9);
    for (len = 9; len + 9 <= 9 * 40; len += 9)
        memcpy(flood + len, "\0\0\0\x09\0\0\0\0\x01", 9);
    fk_h2_free(h2);
    assert_ok(fk_h2_new(&limits, &h2));
    assert_ok(give((const uint8_t *)PREFACE, sizeof PREFACE - 1));
    assert_err(give((const uint8_t *)flood, len), FK_ERR_RATE);
}

static void other_protocols_are_not_http2(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    (void)state;
    assert_err(fk_h2_recv(h2, text, sizeof text - 1), FK_ERR_FORMAT);
}

static void draining_finishes_what_began(void **state)
{
    const uint8_t *data;
    ssize_t len;

    (void)state;
    ask(GET, 0);
    assert_ok(exchange());
    assert_false(fk_h2_done(h2));
    assert_ok(fk_h2_drain(h2));
    assert_ok(fk_h2_drain(h2)); /* said once */
    ask(GET, 0);                /* on its way before the client knows */
    while ((len = nghttp2_session_mem_send(client.session, &data)) > 0)
        assert_ok(give(data, (size_t)len));
    assert_ok(exchange());
    assert_string_equal(client.seen, "GOAWAY 0 last=2147483647|GOAWAY 0 last=3|");
    assert_false(fk_h2_done(h2));
    answer(1, 200, "x");
    answer(3, 200, "x");
    assert_ok(exchange());
    assert_non_null(strstr(client.seen, "1 closed 0|"));
    assert_non_null(strstr(client.seen, "3 closed 0|"));
    assert_true(fk_h2_done(h2));
}

/* --- memory --- */

/* Pages of the outgoing frame's buffer that are in memory. */
static size_t frame_pages(void)
{
    unsigned char pages[16];
    size_t size = h2->frames.size, n = 0, page = (size_t)sysconf(_SC_PAGESIZE);

    assert_in_range(size, FK_H2_FRAME, sizeof pages * page);
    assert_int_equal(mincore(h2->frames.mem, size, pages), 0);
    for (size_t i = 0; i < (size + page - 1) / page; i++)
        n += pages[i] & 1;
    return n;
}

/* What large frames have filled does not stay with an idle connection. */
static void idle_connections_are_small(void **state)
{
    static char body[FK_H2_FRAME];

    (void)state;
    memset(body, 'x', sizeof body - 1);
    ask(GET, 0);
    ask(GET, 0);
    assert_ok(exchange());
    answer(1, 200, body);
    assert_ok(exchange());
    assert_true(frame_pages() > 1); /* it is not idle */
    answer(3, 200, body);
    assert_ok(exchange());
    assert_int_equal(client.body, 2 * (sizeof body - 1));
    assert_ok(exchange());
    assert_int_equal(frame_pages(), 0);
    ask(GET, 0);
    assert_ok(exchange());
    answer(5, 200, "x");
    assert_ok(exchange());
    assert_int_equal(frame_pages(), 1);
}

static uint8_t recorded[4096];
static size_t recorded_len;

static int serve_recorded(void *context)
{
    struct fk_http_response response = {.status = 200, .framing = FK_HTTP_CHUNKED};
    struct fk_h2_event event;
    struct fk_buf out;
    struct fk_h2 *mine = NULL;
    int err;

    (void)context;
    fk_buf_init(&out, 65536);
    if ((err = fk_h2_new(&limits, &mine)) == FK_OK)
        err = fk_h2_recv(mine, recorded, recorded_len);
    while (err == FK_OK && fk_h2_next(mine, &event) == FK_OK) {
        if (event.kind == FK_H2_HEAD && (err = fk_h2_respond(mine, 1, &response, false)) == FK_OK &&
            (err = fk_h2_write(mine, 1, "x", 1)) == FK_OK)
            err = fk_h2_end(mine, 1, NULL);
    }
    if (err == FK_OK)
        err = fk_h2_send(mine, &out);
    fk_h2_free(mine);
    fk_buf_fini(&out);
    return err;
}

static void without_memory_it_says_so(void **state)
{
    const uint8_t *data;
    ssize_t len;

    (void)state;
    ask(GET "a: b|", 0);
    recorded_len = 0;
    while ((len = nghttp2_session_mem_send(client.session, &data)) > 0) {
        memcpy(recorded + recorded_len, data, (size_t)len);
        recorded_len += (size_t)len;
    }
    assert_true(failmalloc_try(serve_recorded, NULL) >= 6);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

UNIT_MAIN(CASE(request_and_answer), CASE(interim_answers_and_no_body), CASE(many_at_once),
          CASE(heads_are_judged), CASE(methods_are_those_of_http1), CASE(large_heads_are_answered),
          CASE(client_sends_what_was_consumed_and_no_more),
          CASE(window_of_reset_streams_comes_back), CASE(long_answers_wait_for_the_client),
          CASE(early_answers_stop_the_client), CASE(small_rests_are_let_come),
          CASE(trailers_of_requests), CASE(frames_without_use_end_it),
          CASE(useful_clients_may_ping), CASE(rapid_reset_ends_it), CASE(frames_by_hand),
          CASE(other_protocols_are_not_http2), CASE(draining_finishes_what_began),
          CASE(idle_connections_are_small), CASE(without_memory_it_says_so))
