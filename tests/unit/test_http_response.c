/* http/h1resp: a corpus of origins' answers with verdicts, however their bytes arrive; memory. */
#include "corpus.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/h1resp.h"

#include <stdio.h>

struct story {
    char text[CORPUS_VERDICT_MAX];
    size_t len;
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

static void end_line(struct story *story)
{
    if (story->len > 0 && story->text[story->len - 1] != '\n')
        tell(story, "\n");
}

static void tell_head(struct story *story, const struct fk_http_response *response)
{
    end_line(story);
    tell(story, "%d%s fields=%zu", response->status, response->version == FK_HTTP_1_0 ? " 1.0" : "",
         response->headers.count);
    if (!response->keep_alive)
        tell(story, " close");
    switch (response->framing) {
    case FK_HTTP_NO_BODY:
        tell(story, " none");
        break;
    case FK_HTTP_LENGTH:
        tell(story, " length=%llu", (unsigned long long)response->length);
        break;
    case FK_HTTP_CHUNKED:
        tell(story, " chunked");
        break;
    case FK_HTTP_CLOSE:
        tell(story, " until-close");
        break;
    case FK_HTTP_TUNNEL:
        tell(story, " tunnel");
        break;
    }
    if (response->framing == FK_HTTP_NO_BODY && response->has_length)
        tell(story, " describes=%llu", (unsigned long long)response->length);
}

/* The pieces of a body are told as one. */
static void note(struct story *story, struct fk_h1resp *resp, const struct fk_http_event *event,
                 bool *in_body)
{
    if (event->kind == FK_HTTP_HEAD)
        tell_head(story, &resp->response);
    if (event->kind == FK_HTTP_BODY)
        tell(story, "%s%.*s", *in_body ? "" : " body:", (int)event->body.left, event->body.next);
    if (event->kind == FK_HTTP_TRAILERS)
        tell(story, " trailers=%zu", resp->h1.trailers.count);
    if (event->kind == FK_HTTP_END)
        tell(story, " ended");
    *in_body = event->kind == FK_HTTP_BODY;
}

/* A refused response's own head is not part of its verdict: only the fault is. */
static void tell_fault(struct story *story, const char *fault)
{
    const char *last;

    if (story->len > 0 && story->text[story->len - 1] != '\n') {
        story->text[story->len] = '\0';
        last = strrchr(story->text, '\n');
        story->len = last != NULL ? (size_t)(last - story->text) + 1 : 0;
        if (strncmp(story->text + story->len, "1", 1) == 0)
            story->len = strlen(story->text); /* an interim one: it was good */
    }
    end_line(story);
    tell(story, "%s\n", fault);
}

static void run(const struct corpus_case *one, size_t step, struct story *story)
{
    struct fk_h1resp resp;
    struct fk_http_event event;
    size_t from = 0, to = 0, used;
    bool in_body = false;
    int err = FK_ERR_AGAIN;

    *story = (struct story){.len = 0};
    fk_h1resp_init(&resp, &fk_http_limits_default);
    fk_h1resp_expect(&resp, corpus_has(one, "head"), corpus_has(one, "upgrade"));
    while (err == FK_OK || (err == FK_ERR_AGAIN && to < one->len)) {
        if (err == FK_ERR_AGAIN)
            to = one->len - to > step ? to + step : one->len;
        err = fk_h1resp_next(&resp, one->bytes + from, to - from, &used, &event);
        assert_true(used <= to - from);
        from += used;
        if (err == FK_OK)
            note(story, &resp, &event, &in_body);
    }
    if (err == FK_ERR_AGAIN && corpus_has(one, "eof")) {
        err = fk_h1resp_eof(&resp, from < one->len, &event);
        if (err == FK_OK)
            note(story, &resp, &event, &in_body);
        if (err == FK_ERR_CLOSED)
            tell_fault(story, "CLOSED");
    }
    if (resp.h1.state == FK_H1_TUNNEL && from < one->len)
        tell(story, " rest=%zu", one->len - from);
    if (err == FK_ERR_FORMAT) {
        tell_fault(story, fk_http_fault_name(resp.h1.fault));
        assert_err(fk_h1resp_eof(&resp, false, &event), FK_ERR_FORMAT); /* final */
    }
    end_line(story);
    fk_h1resp_fini(&resp);
}

static void corpus_is_judged_as_written(void **state)
{
    static struct story whole, pieces;
    struct corpus corpus;
    size_t wrong = 0;

    (void)state;
    corpus_load("responses.txt", &corpus);
    for (size_t i = 0; i < corpus.count; i++) {
        const struct corpus_case *one = &corpus.cases[i];

        run(one, one->len, &whole);
        if (strcmp(whole.text, one->verdict) != 0) {
            print_error("%s: expected\n%sbut it was\n%s", one->name, one->verdict, whole.text);
            wrong++;
        }
        for (size_t step = 1; step < 8 && step < one->len; step += 2) {
            run(one, step, &pieces);
            if (strcmp(pieces.text, whole.text) != 0)
                fail_msg("%s: %zu bytes at a time: %s", one->name, step, pieces.text);
        }
    }
    print_message("  %zu responses\n", corpus.count);
    assert_int_equal(wrong, 0);
    corpus_free(&corpus);
}

/* A connection to an origin that says something before it is asked, as after an answer. */
static void nothing_is_taken_unasked(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    struct fk_h1resp resp;
    struct fk_http_event event;
    size_t used;

    (void)state;
    fk_h1resp_init(&resp, &fk_http_limits_default);
    assert_err(fk_h1resp_next(&resp, text, 0, &used, &event), FK_ERR_AGAIN);
    assert_err(fk_h1resp_eof(&resp, false, &event), FK_ERR_CLOSED);
    for (int i = 0; i < 2; i++) {
        fk_h1resp_expect(&resp, false, false);
        assert_ok(fk_h1resp_next(&resp, text, sizeof text - 1, &used, &event));
        assert_int_equal(used, sizeof text - 1);
        assert_ok(fk_h1resp_next(&resp, text, 0, &used, &event));
        assert_int_equal(event.kind, FK_HTTP_END);
    }
    assert_err(fk_h1resp_next(&resp, text, 1, &used, &event), FK_ERR_FORMAT);
    assert_int_equal(resp.h1.fault, FK_HTTP_FAULT_UNASKED);
    fk_h1resp_fini(&resp);
}

static int read_all(void *context)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"
                               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "1\r\nb\r\n0\r\nT: t\r\n\r\n";
    struct fk_h1resp resp;
    struct fk_http_event event = {.kind = FK_HTTP_HEAD};
    size_t at = 0, used;
    int err = FK_OK;

    (void)context;
    fk_h1resp_init(&resp, &fk_http_limits_default);
    fk_h1resp_expect(&resp, false, false);
    while (err == FK_OK && event.kind != FK_HTTP_END) {
        err = fk_h1resp_next(&resp, text + at, sizeof text - 1 - at, &used, &event);
        at += used;
    }
    fk_h1resp_fini(&resp);
    return err;
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    assert_true(failmalloc_try(read_all, NULL) >= 4);
}

UNIT_MAIN(cmocka_unit_test(corpus_is_judged_as_written), cmocka_unit_test(nothing_is_taken_unasked),
          cmocka_unit_test(without_memory_it_says_so))
