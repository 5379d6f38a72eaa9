/* http/forward, http/h1write: what a client can make an origin read, byte by byte. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/forward.h"
#include "http/h1req.h"
#include "http/h1resp.h"
#include "http/h1write.h"
#include "http/text.h"

#include <stdio.h>

static const char *const ours[] = {"Client-Cert", "Client-Cert-Chain"};
static const char *const upgrades[] = {"websocket"};

static struct fk_http_forward forward;
static struct fk_http_client client;
static enum fk_http_fault fault; /* of the last request */

static int set_up(void **state)
{
    (void)state;
    forward = (struct fk_http_forward){
        .via = "farkey", .ours = ours, .n_ours = 2, .upgrades = upgrades, .n_upgrades = 1};
    client = (struct fk_http_client){
        .address = "192.0.2.1", .tls = true, .local_address = "198.51.100.1", .local_port = 443};
    return 0;
}

/* Read a request's head, forward it and write it: what the origin gets, as text. */
static int pass(const char *text, enum fk_h1_connection connection, char *out, size_t size)
{
    struct fk_http_event event;
    struct fk_h1req req;
    struct fk_buf buf;
    size_t used;
    int err;

    fk_h1req_init(&req, &fk_http_limits_default);
    fk_buf_init(&buf, 65536);
    err = fk_h1req_next(&req, text, strlen(text), &used, &event);
    if (err == FK_OK)
        err = fk_http_forward_request(&req.request, &forward, &client, &fault);
    if (err == FK_OK)
        err = fk_h1_write_request(&req.request, req.request.upgrade ? FK_H1_UPGRADE : connection,
                                  &buf);
    if (err == FK_OK)
        snprintf(out, size, "%.*s", (int)fk_buf_len(&buf), fk_buf_data(&buf));
    fk_buf_fini(&buf);
    fk_h1req_fini(&req);
    return err;
}

/* `fields` of a GET (lines with CRLF) become exactly `expected` behind Host. */
static void assert_passed(const char *fields, const char *expected)
{
    char text[4096], out[8192], whole[8192];

    snprintf(text, sizeof text, "GET /x?y HTTP/1.1\r\nHost: a.example\r\n%s\r\n", fields);
    snprintf(whole, sizeof whole, "GET /x?y HTTP/1.1\r\nHost: a.example\r\n%s\r\n", expected);
    assert_ok(pass(text, FK_H1_KEEP, out, sizeof out));
    assert_string_equal(out, whole);
}

#define VIA "Via: 1.1 farkey\r\n"

static void end_to_end_fields_pass_as_they_are(void **state)
{
    (void)state;
    assert_passed("", VIA);
    assert_passed("accept: a\r\nX-B: \r\naccept: c\r\n", "accept: a\r\nX-B: \r\naccept: c\r\n" VIA);
    assert_passed("Via: 1.0 fred\r\n", "Via: 1.0 fred, 1.1 farkey\r\n");
    assert_passed("Cookie: a=1\r\nB: c\r\ncookie: d=2\r\n", "Cookie: a=1; d=2\r\nB: c\r\n" VIA);
}

static void fields_of_the_connection_go(void **state)
{
    (void)state;
    assert_passed("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", VIA);
    assert_passed("Proxy-Connection: keep-alive\r\nProxy: http://evil\r\n", VIA);
    assert_passed("A: 1\r\nConnection: a, x-b\r\nX-B: 2\r\nC: 3\r\nx-b: 4\r\nconnection: c\r\n",
                  VIA);
    assert_passed("Connection: connection, D\r\nConnection: E\r\nD: 1\r\nE: 2\r\nF: 3\r\n",
                  "F: 3\r\n" VIA);
    assert_passed("Connection: TE\r\nTE: gzip;q=0.5, trailers\r\n", VIA "TE: trailers\r\n");
    assert_passed("TE: gzip\r\n", VIA);
    assert_passed("Connection: close\r\n", VIA);
}

/* The authority and the framing are not fields: no Connection can take them. */
static void connection_takes_nothing_that_is_not_its_own(void **state)
{
    char out[4096];

    (void)state;
    assert_passed("Connection: Host, Via, Content-Length\r\n", VIA);
    assert_ok(pass("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                   "Connection: content-length, host\r\n\r\n",
                   FK_H1_KEEP, out, sizeof out));
    assert_string_equal(out, "POST / HTTP/1.1\r\nHost: a\r\n" VIA "Content-Length: 5\r\n\r\n");
    assert_ok(pass("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                   "Connection: transfer-encoding\r\n\r\n",
                   FK_H1_LAST, out, sizeof out));
    assert_string_equal(out, "POST / HTTP/1.1\r\nHost: a\r\n" VIA
                             "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
}

/* What only the edge may say does not come through from a client, however it is spelled. */
static void inbound_copies_of_relayed_names_go(void **state)
{
    (void)state;
    assert_passed("Client-Cert: :MIIB:\r\n", VIA);
    assert_passed("client-cert: x\r\nCLIENT-CERT: y\r\nClient-Cert:\r\n", VIA);
    assert_passed("Client_Cert: x\r\nclient.cert: y\r\nCLIENT_CERT_CHAIN: z\r\n"
                  "Client.Cert_Chain: z\r\n",
                  VIA);
    assert_passed("Client-Certs: x\r\nXClient-Cert: y\r\n",
                  "Client-Certs: x\r\nXClient-Cert: y\r\n" VIA);
    client.trusted = true;
    assert_passed("Client-Cert: x\r\n", VIA);
}

/* Connection names a relayed field; the edge's own is added behind that and stays. */
static void connection_cannot_remove_what_the_edge_adds(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: forged\r\n"
                               "Connection: Client-Cert, close, Via, X-Forwarded-For\r\n\r\n";
    struct fk_http_event event;
    struct fk_h1req req;
    struct fk_reader value;
    size_t used;

    (void)state;
    forward.x_forwarded = true;
    fk_h1req_init(&req, &fk_http_limits_default);
    assert_ok(fk_h1req_next(&req, text, sizeof text - 1, &used, &event));
    assert_ok(fk_http_forward_request(&req.request, &forward, &client, &fault));
    assert_ok(fk_http_headers_add_text(&req.request.headers, "Client-Cert", ":MIIB:"));
    assert_int_equal(fk_http_headers_count(&req.request.headers, "Client-Cert"), 1);
    assert_ok(fk_http_headers_find(&req.request.headers, "client-cert", &value));
    assert_true(fk_http_equal(value, ":MIIB:"));
    assert_ok(fk_http_headers_find(&req.request.headers, "X-Forwarded-For", &value));
    assert_true(fk_http_equal(value, "192.0.2.1"));
    assert_int_equal(fk_http_headers_count(&req.request.headers, "Via"), 1);
    fk_h1req_fini(&req);
}

#define SAID_BY_US                                               \
    "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n" \
    "X-Forwarded-Host: a.example\r\nX-Forwarded-Port: 443\r\n"

static void spoofed_proxy_fields_go(void **state)
{
    (void)state;
    assert_passed("X-Forwarded-For: 127.0.0.1\r\nx_forwarded_for: 127.0.0.1\r\n"
                  "Forwarded: for=127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"
                  "X-Original-URL: /admin\r\nFront-End-Https: on\r\n",
                  VIA);
    forward.x_forwarded = true;
    assert_passed("X-FORWARDED-FOR: 127.0.0.1\r\nX.Forwarded.Proto: gopher\r\n", VIA SAID_BY_US);
}

static void a_trusted_proxy_is_believed(void **state)
{
    (void)state;
    forward.x_forwarded = forward.forwarded = true;
    client.trusted = true;
    client.tls = false;
    assert_passed("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n"
                  "X-Forwarded-Proto: https\r\nForwarded: for=203.0.113.9\r\n"
                  "Connection: X-Forwarded-For, forwarded\r\n",
                  "X-Forwarded-For: 203.0.113.9, 10.0.0.1, 192.0.2.1\r\n"
                  "X-Forwarded-Proto: https\r\n"
                  "Forwarded: for=203.0.113.9, for=192.0.2.1;host=\"a.example\";proto=http\r\n" VIA
                  "X-Forwarded-Host: a.example\r\nX-Forwarded-Port: 443\r\n");
}

static void forwarded_quotes_addresses(void **state)
{
    (void)state;
    forward.forwarded = true;
    assert_passed("", VIA "Forwarded: for=192.0.2.1;host=\"a.example\";proto=https\r\n");
    client.address = "2001:db8::1";
    assert_passed("", VIA "Forwarded: for=\"[2001:db8::1]\";host=\"a.example\";proto=https\r\n");
    client.address = NULL;
    client.tls = false;
    assert_passed("", VIA "Forwarded: for=unknown;host=\"a.example\";proto=http\r\n");
}

static void only_chosen_upgrades_pass(void **state)
{
    (void)state;
    assert_passed("Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n",
                  "Sec-WebSocket-Key: x\r\n" VIA "Upgrade: websocket\r\nConnection: upgrade\r\n");
    assert_passed("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n",
                  VIA);
    assert_passed("Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
                  VIA "Upgrade: websocket\r\nConnection: upgrade\r\n");
    assert_passed("Upgrade: websocket\r\n", VIA);
}

static void without_room_it_is_refused(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n";
    struct fk_http_event event;
    struct fk_h1req req;
    size_t used;

    (void)state;
    forward.x_forwarded = true;
    fk_h1req_init(&req, &fk_http_limits_default);
    assert_ok(fk_h1req_next(&req, text, sizeof text - 1, &used, &event));
    req.request.headers.max = req.request.headers.len + 20; /* Via fits */
    assert_err(fk_http_forward_request(&req.request, &forward, &client, &fault), FK_ERR_FORMAT);
    assert_int_equal(fault, FK_HTTP_FAULT_FIELDS_LARGE);
    fk_h1req_fini(&req);
}

/* --- responses --- */

static void assert_answer(const char *text, bool head, enum fk_h1_connection connection,
                          const char *expected)
{
    struct fk_http_event event;
    struct fk_h1resp resp;
    struct fk_buf out;
    size_t used;

    fk_h1resp_init(&resp, &fk_http_limits_default);
    fk_h1resp_expect(&resp, head, true);
    fk_buf_init(&out, 65536);
    assert_ok(fk_h1resp_next(&resp, text, strlen(text), &used, &event));
    assert_ok(fk_http_forward_response(&resp.response, &forward));
    assert_ok(fk_h1_write_response(&resp.response, FK_HTTP_1_1, connection, &out));
    assert_int_equal(fk_buf_len(&out), strlen(expected));
    assert_memory_equal(fk_buf_data(&out), expected, strlen(expected));
    fk_buf_fini(&out);
    fk_h1resp_fini(&resp);
}

static void responses_are_written_for_clients(void **state)
{
    (void)state;
    assert_answer("HTTP/1.0 200 Fine\r\nContent-Length: 5\r\nServer: x\r\n\r\n", false, FK_H1_KEEP,
                  "HTTP/1.1 200 OK\r\nServer: x\r\nVia: 1.0 farkey\r\nContent-Length: 5\r\n\r\n");
    assert_answer("HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\nConnection: x-a\r\nX-A: 1\r\n"
                  "Keep-Alive: y\r\n\r\n",
                  false, FK_H1_LAST,
                  "HTTP/1.1 404 Not Found\r\n" VIA
                  "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    assert_answer("HTTP/1.1 304 x\r\nContent-Length: 7\r\n\r\n", false, FK_H1_KEEP,
                  "HTTP/1.1 304 Not Modified\r\n" VIA "Content-Length: 7\r\n\r\n");
    assert_answer("HTTP/1.1 200 x\r\nContent-Length: 7\r\n\r\n", true, FK_H1_KEEP_OLD,
                  "HTTP/1.1 200 OK\r\n" VIA "Content-Length: 7\r\nConnection: keep-alive\r\n\r\n");
    assert_answer("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", false, FK_H1_KEEP,
                  "HTTP/1.1 204 No Content\r\n" VIA "\r\n");
    assert_answer("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false,
                  FK_H1_UPGRADE,
                  "HTTP/1.1 101 Switching Protocols\r\n" VIA
                  "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    assert_answer("HTTP/1.1 200 x\r\nContent-Length: 0\r\nHost: means nothing here\r\n\r\n", false,
                  FK_H1_KEEP,
                  "HTTP/1.1 200 OK\r\nHost: means nothing here\r\n" VIA
                  "Content-Length: 0\r\n\r\n");
    assert_answer("HTTP/1.1 299 x\r\nContent-Length: 0\r\nUpgrade: h2c\r\n\r\n", false, FK_H1_KEEP,
                  "HTTP/1.1 299 \r\n" VIA "Content-Length: 0\r\n\r\n");
}

static void chunks_are_written(void **state)
{
    static const char expected[] = "1\r\na\r\n10\r\n0123456789abcdef\r\n0\r\nDigest: x\r\n\r\n"
                                   "0\r\n\r\n";
    struct fk_http_headers trailers;
    struct fk_buf out;

    (void)state;
    fk_buf_init(&out, sizeof expected - 1);
    fk_http_headers_init(&trailers, 100, 10);
    assert_ok(fk_http_headers_add_text(&trailers, "Client_Cert", "x"));
    assert_ok(fk_http_headers_add_text(&trailers, "X-Forwarded-For", "x"));
    assert_ok(fk_http_headers_add_text(&trailers, "Digest", "x"));
    fk_http_forward_trailers(&trailers, &forward);
    assert_ok(fk_h1_write_chunk("a", 1, &out));
    assert_ok(fk_h1_write_chunk("0123456789abcdef", 16, &out));
    assert_ok(fk_h1_write_last_chunk(&trailers, &out));
    assert_ok(fk_h1_write_last_chunk(NULL, &out));
    assert_err(fk_h1_write_chunk("a", 1, &out), FK_ERR_LIMIT);
    assert_err(fk_h1_write_last_chunk(NULL, &out), FK_ERR_LIMIT);
    assert_err(fk_h1_write_continue(&out), FK_ERR_LIMIT);
    assert_int_equal(fk_buf_len(&out), sizeof expected - 1);
    assert_memory_equal(fk_buf_data(&out), expected, sizeof expected - 1);
    fk_http_headers_fini(&trailers);
    fk_buf_fini(&out);
}

static int pass_one(void *context)
{
    char out[8192];

    (void)context;
    return pass("GET / HTTP/1.1\r\nHost: a\r\nVia: x\r\nCookie: a\r\nCookie: b\r\n"
                "A:1\r\nB:1\r\nC:1\r\nD:1\r\nE:1\r\nF:1\r\nG:1\r\nH:1\r\nI:1\r\nJ:1\r\nK:1\r\n\r\n",
                FK_H1_KEEP, out, sizeof out);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    set_up(NULL);
    forward.forwarded = forward.x_forwarded = true;
    client.address = "2001:db8:1111:2222:3333:4444:5555:6666";
    assert_true(failmalloc_try(pass_one, NULL) >= 3);
}

/* Wherever the block of text has to grow, and move, while fields are added. */
static void what_is_added_is_of_this_request(void **state)
{
    static char fields[4096], text[8192], out[16384];

    (void)state;
    forward.forwarded = forward.x_forwarded = true;
    for (size_t pad = 0; pad < 2048; pad++) {
        memset(fields, 'p', pad);
        fields[pad] = '\0';
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a.example\r\nX-Pad: %s\r\n\r\n",
                 fields);
        assert_ok(pass(text, FK_H1_KEEP, out, sizeof out));
        assert_non_null(strstr(out, "\r\nX-Forwarded-Host: a.example\r\n"));
        assert_non_null(strstr(out, "Forwarded: for=192.0.2.1;host=\"a.example\";proto=https\r\n"));
    }
}

#define CASE(function) cmocka_unit_test_setup(function, set_up)

UNIT_MAIN(CASE(end_to_end_fields_pass_as_they_are), CASE(fields_of_the_connection_go),
          CASE(connection_takes_nothing_that_is_not_its_own),
          CASE(inbound_copies_of_relayed_names_go),
          CASE(connection_cannot_remove_what_the_edge_adds), CASE(spoofed_proxy_fields_go),
          CASE(a_trusted_proxy_is_believed), CASE(forwarded_quotes_addresses),
          CASE(only_chosen_upgrades_pass), CASE(without_room_it_is_refused),
          CASE(responses_are_written_for_clients), CASE(chunks_are_written),
          CASE(without_memory_it_says_so), CASE(what_is_added_is_of_this_request))
