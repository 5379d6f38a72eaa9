/* http/h1req: a corpus of requests with verdicts, however their bytes arrive; memory; the machine.
 */
#include "corpus.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/h1req.h"
#include "http/text.h"

#include <stdio.h>

/* What came of a case, written as its verdict is. */
struct story {
    char text[CORPUS_VERDICT_MAX];
    size_t len;
    char body[1024];
    size_t body_len;
    size_t body_bytes;
    size_t trailers;
};

__attribute__((format(printf, 2, 3))) static void tell(struct story *story, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    story->len +=
        (size_t)vsnprintf(story->text + story->len, sizeof story->text - story->len, format, args);
    va_end(args);
    assert_true(story->len < sizeof story->text);
}

static void tell_part(struct story *story, const struct fk_http_request *request,
                      struct fk_http_part part)
{
    struct fk_reader text = fk_http_request_part(request, part);

    if (text.left == 0)
        tell(story, "- ");
    else
        tell(story, "%.*s ", (int)text.left, text.next);
}

static void tell_body(struct story *story)
{
    tell(story, "body:");
    for (size_t i = 0; i < story->body_len; i++) {
        char c = story->body[i];

        if (c == '\r' || c == '\n')
            tell(story, c == '\r' ? "\\r" : "\\n");
        else
            tell(story, c >= ' ' && c <= '~' ? "%c" : "\\x%02x", (unsigned char)c);
    }
    tell(story, " ");
}

/* One line: METHOD AUTHORITY TARGET [what is not usual]; a body is [length or chunked]:its bytes,
 * or their number if many. */
static void tell_request(struct story *story, const struct fk_h1req *req)
{
    const struct fk_http_request *request = &req->request;
    struct fk_reader scheme = fk_http_request_part(request, request->scheme);

    tell_part(story, request, request->method);
    tell_part(story, request, request->authority);
    tell_part(story, request, request->path);
    if (scheme.left > 0)
        tell(story, "%.*s ", (int)scheme.left, scheme.next);
    if (request->version == FK_HTTP_1_0)
        tell(story, "1.0 ");
    tell(story, "fields=%zu ", request->headers.count);
    if (!request->keep_alive)
        tell(story, "close ");
    if (request->expect_continue)
        tell(story, "continue ");
    if (request->upgrade)
        tell(story, "upgrade ");
    if (request->framing == FK_HTTP_LENGTH)
        tell(story, "length=%llu ", (unsigned long long)request->length);
    if (request->framing == FK_HTTP_CHUNKED)
        tell(story, "chunked ");
    if (story->body_bytes > 64)
        tell(story, "body=%zu ", story->body_bytes);
    else if (story->body_bytes > 0)
        tell_body(story);
    if (story->trailers > 0)
        tell(story, "trailers=%zu ", story->trailers);
    story->text[story->len - 1] = '\n';
}

static void note(struct story *story, struct fk_h1req *req, const struct fk_http_event *event)
{
    switch (event->kind) {
    case FK_HTTP_HEAD:
        story->body_len = story->body_bytes = story->trailers = 0;
        break;
    case FK_HTTP_BODY:
        assert_true(event->body.left > 0);
        story->body_bytes += event->body.left;
        if (story->body_bytes <= sizeof story->body) {
            memcpy(story->body + story->body_len, event->body.next, event->body.left);
            story->body_len += event->body.left;
        }
        break;
    case FK_HTTP_TRAILERS:
        story->trailers = req->h1.trailers.count;
        assert_true(story->trailers > 0);
        break;
    case FK_HTTP_END:
        tell_request(story, req);
        fk_h1req_restart(req);
        break;
    }
}

/* Feed `len` bytes, at most `step` more of them at a time, as a connection does. */
static int run(const uint8_t *bytes, size_t len, size_t step, struct story *story)
{
    struct fk_h1req req;
    struct fk_http_event event;
    size_t from = 0, to = 0, used;
    int err = FK_ERR_AGAIN;

    *story = (struct story){.len = 0};
    fk_h1req_init(&req, &fk_http_limits_default);
    while (err == FK_OK || (err == FK_ERR_AGAIN && to < len)) {
        if (err == FK_ERR_AGAIN)
            to = len - to > step ? to + step : len;
        err = fk_h1req_next(&req, bytes + from, to - from, &used, &event);
        assert_true(used <= to - from);
        from += used;
        if (err == FK_ERR_AGAIN) /* what the caller is told to hold */
            assert_true(to - from < FK_HTTP_HEAD_MAX + 2);
        if (err == FK_OK)
            note(story, &req, &event);
    }
    if (err == FK_ERR_FORMAT) {
        tell(story, "%s\n", fk_http_fault_name(req.h1.fault));
        assert_err(fk_h1req_next(&req, bytes, len, &used, &event), FK_ERR_FORMAT); /* final */
        assert_int_equal(used, 0);
    } else {
        assert_err(err, FK_ERR_AGAIN);
        if (req.h1.state != FK_H1_HEAD || from < len)
            tell(story, "incomplete\n");
    }
    fk_h1req_fini(&req);
    return err;
}

static void corpus_is_judged_as_written(void **state)
{
    static struct story whole, pieces;
    struct corpus corpus;
    size_t refused = 0, wrong = 0;

    (void)state;
    corpus_load("requests.txt", &corpus);
    for (size_t i = 0; i < corpus.count; i++) {
        const struct corpus_case *one = &corpus.cases[i];

        refused += run(one->bytes, one->len, one->len, &whole) == FK_ERR_FORMAT ? 1 : 0;
        if (strcmp(whole.text, one->verdict) != 0) {
            print_error("%s: expected\n%sbut it was\n%s", one->name, one->verdict, whole.text);
            wrong++;
        }
        for (size_t step = 1; step < 8 && step < one->len; step += 2) {
            run(one->bytes, one->len, step, &pieces);
            if (strcmp(pieces.text, whole.text) != 0)
                fail_msg("%s: %zu bytes at a time: %s", one->name, step, pieces.text);
        }
    }
    print_message("  %zu requests, %zu of them refused\n", corpus.count, refused);
    assert_int_equal(wrong, 0);
    assert_true(corpus.count >= 150);
    corpus_free(&corpus);
}

/* No prefix of what is accepted is refused, nor is it taken for the whole. */
static void every_prefix_waits(void **state)
{
    static struct story story;
    struct corpus corpus;

    (void)state;
    corpus_load("requests.txt", &corpus);
    for (size_t i = 0; i < corpus.count; i++) {
        const struct corpus_case *one = &corpus.cases[i];

        if (one->len > 2048 || run(one->bytes, one->len, one->len, &story) != FK_ERR_AGAIN ||
            strstr(story.text, "incomplete") != NULL)
            continue;
        for (size_t len = 1; len < one->len; len++) {
            assert_err(run(one->bytes, len, len, &story), FK_ERR_AGAIN);
            assert_string_not_equal(story.text, one->verdict);
        }
    }
    corpus_free(&corpus);
}

/* Exactly at each limit a request passes, and one more is refused. */
static void limits_hold_to_the_byte(void **state)
{
    static const struct fk_http_limits limits = {.line = 32, .head = 96, .fields = 3};
    static const struct {
        const char *text;
        enum fk_http_fault fault;
    } rows[] = {
        {"GET /0123456789012345678 HTTP/1.1\r\nHost: a\r\n\r\n", FK_HTTP_FAULT_LINE_LONG},
        {"GET /012345678901234567 HTTP/1.1\r\nHost: a\r\n\r\n", FK_HTTP_FAULT_NONE},
        {"GET /0123456789012345678901234567", FK_HTTP_FAULT_NONE}, /* may still be CR */
        {"GET /01234567890123456789012345678", FK_HTTP_FAULT_LINE_LONG},
        {"GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\n\r\n", FK_HTTP_FAULT_NONE},
        {"GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\nD:\r\n\r\n", FK_HTTP_FAULT_FIELDS_MANY},
        {"GET / HTTP/1.1\r\nHost: a\r\n"
         "B: 0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n",
         FK_HTTP_FAULT_NONE},
        {"GET / HTTP/1.1\r\nHost: a\r\n"
         "B: 01234567890123456789012345678901234567890123456789012345678901234\r\n\r\n",
         FK_HTTP_FAULT_FIELDS_LARGE},
        {"GET / HTTP/1.1\r\nHost: a\r\n"
         "B: 0123456789012345678901234567890123456789012345678901234567890123456",
         FK_HTTP_FAULT_NONE},
        {"GET / HTTP/1.1\r\nHost: a\r\n"
         "B: 01234567890123456789012345678901234567890123456789012345678901234567",
         FK_HTTP_FAULT_FIELDS_LARGE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_h1req req;
        struct fk_http_event event;
        size_t used;
        int err;

        fk_h1req_init(&req, &limits);
        err = fk_h1req_next(&req, rows[i].text, strlen(rows[i].text), &used, &event);
        if (rows[i].fault == FK_HTTP_FAULT_NONE)
            assert_true(err == FK_OK || err == FK_ERR_AGAIN);
        else
            assert_err(err, FK_ERR_FORMAT);
        print_message("  row %zu\n", i);
        assert_string_equal(fk_http_fault_name(req.h1.fault), fk_http_fault_name(rows[i].fault));
        fk_h1req_fini(&req);
    }
}

/* The bytes of a body are not copied, and a head only once. */
static void body_is_borrowed_in_place(void **state)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET /";
    struct fk_h1req req;
    struct fk_http_event event;
    size_t used, at;

    (void)state;
    fk_h1req_init(&req, &fk_http_limits_default);
    assert_ok(fk_h1req_next(&req, text, sizeof text - 1, &at, &event));
    assert_int_equal(event.kind, FK_HTTP_HEAD);
    assert_ok(fk_h1req_next(&req, text + at, sizeof text - 1 - at, &used, &event));
    assert_int_equal(event.kind, FK_HTTP_BODY);
    assert_ptr_equal(event.body.next, text + at);
    assert_int_equal(event.body.left, 4);
    at += used;
    assert_ok(fk_h1req_next(&req, text + at, sizeof text - 1 - at, &used, &event));
    assert_int_equal(event.kind, FK_HTTP_END);
    assert_int_equal(used, 0);
    /* What follows is not looked at before the caller goes on. */
    assert_err(fk_h1req_next(&req, "\n", 1, &used, &event), FK_ERR_AGAIN);
    assert_int_equal(used, 0);
    fk_h1req_restart(&req);
    assert_err(fk_h1req_next(&req, text + at, sizeof text - 1 - at, &used, &event), FK_ERR_AGAIN);
    fk_h1req_fini(&req);
}

/* Every cell of the machine: no event leads out of the end states, and each state is reached. */
static void machine_has_no_other_ways(void **state)
{
    bool reached[FK_H1_STATES] = {[FK_H1_HEAD] = true};

    (void)state;
    for (int from = 0; from < FK_H1_STATES; from++) {
        for (int outcome = 0; outcome < FK_H1_OUTCOMES; outcome++) {
            enum fk_h1_state to =
                fk_h1_transition((enum fk_h1_state)from, (enum fk_h1_outcome)outcome);

            assert_true(to <= FK_H1_STATES);
            if (to < FK_H1_STATES)
                reached[to] = true;
            if (outcome == FK_H1_BAD)
                assert_int_equal(to, FK_H1_FAILED);
            else if (from == FK_H1_OVER || from == FK_H1_TUNNEL || from == FK_H1_FAILED)
                assert_true(to == FK_H1_STATES || (int)to == from);
        }
    }
    for (int i = 0; i < FK_H1_STATES; i++)
        assert_true(reached[i]);
}

static int read_all(void *context)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                               "X: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\n"
                               "X: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\nX: \r\n"
                               "\r\n1\r\nb\r\n0\r\nT: t\r\n\r\n";
    struct fk_h1req req;
    struct fk_http_event event = {.kind = FK_HTTP_HEAD};
    size_t at = 0, used;
    int err = FK_OK;

    (void)context;
    fk_h1req_init(&req, &fk_http_limits_default);
    while (err == FK_OK && event.kind != FK_HTTP_END) {
        err = fk_h1req_next(&req, text + at, sizeof text - 1 - at, &used, &event);
        at += used;
    }
    fk_h1req_fini(&req);
    return err;
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    assert_true(failmalloc_try(read_all, NULL) >= 4);
}

UNIT_MAIN(cmocka_unit_test(corpus_is_judged_as_written), cmocka_unit_test(every_prefix_waits),
          cmocka_unit_test(limits_hold_to_the_byte), cmocka_unit_test(body_is_borrowed_in_place),
          cmocka_unit_test(machine_has_no_other_ways), cmocka_unit_test(without_memory_it_says_so))
