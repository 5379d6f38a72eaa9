/* http/cachevisit, http/cacheplan: requests of many clients to one cache, the origin's answers
 * given by the test. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/cachevisit.h"
#include "http/text.h"

#include <stdio.h>

#define PARTIES 6

/* One client's request, and what it has been answered. */
static struct party {
    struct fk_http_request request;
    struct fk_http_response response;
    struct fk_cachevisit *visit;
    bool certificate, renewal;
    unsigned woken;
    char body[256];
} parties[PARTIES];

static struct fk_cachestore *store;
static struct fk_cacheview view;
static struct fk_cache_now present;
static unsigned renewals;

static void tell_time(struct fk_cache_now *ret)
{
    *ret = present;
}

static void pass_time(unsigned seconds)
{
    present.wall += seconds;
    present.even += seconds;
}

static uint64_t counts[FK_CACHE_COUNT_COUNT];

static void count(const struct fk_cacheview *seen, enum fk_cache_count what)
{
    assert_ptr_equal(seen, &view);
    counts[what]++;
}

static void note_renewal(const struct fk_cacheview *seen, const struct fk_http_request *request)
{
    assert_ptr_equal(seen, &view);
    assert_true(fk_http_request_is(request, "GET"));
    renewals++;
}

static void note_wake(void *arg)
{
    ((struct party *)arg)->woken++;
}

static int set_up(void **state)
{
    struct fk_cachestore_conf conf = {.bytes = 1 << 20, .object = 200, .entries = 100};

    (void)state;
    present = (struct fk_cache_now){1800000000, 1000};
    renewals = 0;
    memset(counts, 0, sizeof counts);
    assert_ok(fk_cachestore_new(&conf, &store));
    view = (struct fk_cacheview){.store = store,
                                 .site = "s",
                                 .group = 1,
                                 .name = "farkey",
                                 .clock = tell_time,
                                 .count = count,
                                 .renew = note_renewal};
    for (size_t i = 0; i < PARTIES; i++) {
        parties[i] = (struct party){.visit = NULL};
        fk_http_request_init(&parties[i].request, &fk_http_limits_default);
        fk_http_response_init(&parties[i].response, &fk_http_limits_default);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < PARTIES; i++) {
        fk_cachevisit_free(parties[i].visit);
        fk_http_request_fini(&parties[i].request);
        fk_http_response_fini(&parties[i].response);
    }
    fk_cachestore_free(store);
    return 0;
}

/* --- what the two sides say --- */

static void add_lines(struct fk_http_headers *headers, const char *lines)
{
    struct fk_reader text = fk_http_text(lines), line, name, value;

    while (fk_reader_until(&text, '\n', &line) == FK_OK) {
        assert_int_equal(fk_http_field_line(line, &name, &value), FK_HTTP_FAULT_NONE);
        assert_ok(fk_http_headers_add(headers, name, value));
    }
}

static void keep(struct fk_http_headers *headers, const char *text, struct fk_http_part *ret)
{
    assert_ok(fk_http_headers_keep(headers, fk_http_text(text), ret));
}

static int try_to_ask(struct party *party, const char *method, const char *path, const char *fields)
{
    struct fk_cachevisit_conf conf = {.view = &view,
                                      .certificate = party->certificate,
                                      .renewal = party->renewal,
                                      .wake = note_wake,
                                      .wake_arg = party};
    struct fk_http_request *request = &party->request;

    fk_cachevisit_free(party->visit);
    party->visit = NULL;
    party->woken = 0;
    fk_http_request_reset(request);
    keep(&request->headers, method, &request->method);
    keep(&request->headers, path, &request->path);
    keep(&request->headers, "example.com", &request->authority);
    add_lines(&request->headers, fields);
    return fk_cachevisit_new(&conf, request, &party->visit);
}

static enum fk_cachevisit_state ask(struct party *party, const char *method, const char *path,
                                    const char *fields)
{
    assert_ok(try_to_ask(party, method, path, fields));
    return fk_cachevisit_state(party->visit);
}

static enum fk_cachevisit_state get(struct party *party, const char *fields)
{
    return ask(party, "GET", "/", fields);
}

static void take_served(struct party *party)
{
    struct fk_http_event event;
    size_t len = 0;

    assert_int_equal(fk_cachevisit_state(party->visit), FK_VISIT_SERVE);
    assert_ok(fk_cachevisit_serve(party->visit, &party->response, 7, &event));
    assert_int_equal(event.kind, FK_HTTP_HEAD);
    for (;;) {
        assert_ok(fk_cachevisit_serve(party->visit, &party->response, 7, &event));
        if (event.kind == FK_HTTP_END)
            break;
        assert_true(event.body.left > 0 && event.body.left <= 7);
        assert_true(len + event.body.left < sizeof party->body);
        memcpy(party->body + len, event.body.next, event.body.left);
        len += event.body.left;
    }
    party->body[len] = '\0';
}

/* The origin's head; what comes of it is in party->response. */
static void answer_head(struct party *party, int status, const char *fields, const char *body)
{
    struct fk_http_response *response = &party->response;

    fk_http_response_reset(response);
    response->status = status;
    response->framing = status == 304 ? FK_HTTP_NO_BODY : FK_HTTP_LENGTH;
    response->length = strlen(body);
    add_lines(&response->headers, fields);
    assert_ok(fk_cachevisit_answered(party->visit, response));
}

static void answer_body(struct party *party, const char *body)
{
    fk_cachevisit_body(party->visit, fk_http_text(body));
    snprintf(party->body, sizeof party->body, "%s", body);
}

/* The origin answers, and what its client gets is taken. */
static void answer(struct party *party, int status, const char *fields, const char *body)
{
    answer_head(party, status, fields, body);
    if (fk_cachevisit_state(party->visit) == FK_VISIT_SERVE) {
        take_served(party);
        return;
    }
    answer_body(party, body);
    fk_cachevisit_whole(party->visit);
}

static void assert_field(const struct party *party, const char *name, const char *value)
{
    struct fk_reader text;

    if (fk_http_headers_find(&party->response.headers, name, &text) != FK_OK) {
        if (value != NULL)
            fail_msg("no %s", name);
        return;
    }
    if (value == NULL || !fk_http_equal(text, value))
        fail_msg("%s: %.*s", name, (int)text.left, (const char *)text.next);
}

static void assert_got(const struct party *party, int status, const char *body,
                       const char *cache_status)
{
    assert_int_equal(party->response.status, status);
    assert_string_equal(party->body, body);
    assert_field(party, "Cache-Status", cache_status);
}

/* Something stored for "/". */
static void stored(const char *fields, const char *body)
{
    struct party *party = &parties[PARTIES - 1];

    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    answer(party, 200, fields, body);
    assert_int_equal(fk_cachestore_stats(store)->entries, 1);
    fk_cachevisit_free(party->visit);
    party->visit = NULL;
}

#define FRESH "Cache-Control: max-age=60\nDate: Fri, 15 Jan 2027 08:00:00 GMT\n"
#define TAG   "ETag: \"a\"\n"

/* --- the machine --- */

static void every_cell_is_as_it_should_be(void **state)
{
    static const enum fk_cachevisit_state cells[FK_VISIT_STATES][FK_VISIT_FACTS] = {
        {FK_VISIT_SERVE, FK_VISIT_WAIT, FK_VISIT_ASK, FK_VISIT_PASS},
        {FK_VISIT_SERVE, FK_VISIT_WAIT, FK_VISIT_ASK, FK_VISIT_PASS},
        {FK_VISIT_SERVE, FK_VISIT_STATES, FK_VISIT_STATES, FK_VISIT_PASS},
        {FK_VISIT_STATES, FK_VISIT_STATES, FK_VISIT_STATES, FK_VISIT_STATES},
    };

    (void)state;
    for (unsigned from = 0; from < FK_VISIT_STATES; from++)
        for (unsigned fact = 0; fact < FK_VISIT_FACTS; fact++)
            assert_int_equal(
                fk_cachevisit_next((enum fk_cachevisit_state)from, (enum fk_cachevisit_fact)fact),
                cells[from][fact]);
}

/* --- hits --- */

static void the_second_is_answered_from_the_store(void **state)
{
    struct party *first = &parties[0], *second = &parties[1];

    (void)state;
    assert_int_equal(get(first, ""), FK_VISIT_ASK);
    answer(first, 200, "Cache-Control: max-age=60\nX: y\n", "body");
    assert_got(first, 200, "body", "farkey; fwd=uri-miss; stored");
    assert_field(first, "Date", "Fri, 15 Jan 2027 08:00:00 GMT"); /* there was none */
    assert_field(first, "Age", NULL);
    pass_time(20);
    assert_int_equal(get(second, ""), FK_VISIT_SERVE);
    take_served(second);
    assert_got(second, 200, "body", "farkey; hit; ttl=40");
    assert_field(second, "Age", "20");
    assert_field(second, "X", "y");
    assert_field(second, "Date", "Fri, 15 Jan 2027 08:00:00 GMT");
    assert_int_equal(second->response.framing, FK_HTTP_LENGTH);
    assert_int_equal(second->response.length, 4);
    assert_int_equal(counts[FK_CACHE_COUNT_MISSES], 1);
    assert_int_equal(counts[FK_CACHE_COUNT_HITS], 1);
}

static void an_age_that_came_is_counted_on(void **state)
{
    (void)state;
    stored(FRESH "Age: 30\n", "body");
    pass_time(5);
    assert_int_equal(get(&parties[0], ""), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_field(&parties[0], "Age", "35");
    pass_time(25);
    assert_int_equal(get(&parties[0], ""), FK_VISIT_ASK);
}

static void head_is_answered_by_a_stored_get(void **state)
{
    (void)state;
    assert_int_equal(ask(&parties[0], "HEAD", "/", ""), FK_VISIT_PASS);
    answer(&parties[0], 200, FRESH, "");
    assert_field(&parties[0], "Cache-Status", "farkey; fwd=uri-miss");
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
    stored(FRESH, "body");
    assert_int_equal(ask(&parties[0], "HEAD", "/", ""), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_got(&parties[0], 200, "", "farkey; hit; ttl=60");
    assert_int_equal(parties[0].response.framing, FK_HTTP_NO_BODY);
    assert_true(parties[0].response.has_length && parties[0].response.length == 4);
}

static void conditions_and_ranges_are_answered(void **state)
{
    static const struct {
        const char *fields;
        int status;
        const char *body, *range;
    } rows[] = {
        {"", 200, "0123456789", NULL},
        {"If-None-Match: \"a\"\n", 304, "", NULL},
        {"If-None-Match: \"b\"\n", 200, "0123456789", NULL},
        {"If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT\n", 304, "", NULL},
        {"Range: bytes=2-4\n", 206, "234", "bytes 2-4/10"},
        {"Range: bytes=-3\n", 206, "789", "bytes 7-9/10"},
        {"Range: bytes=0-\n", 206, "0123456789", "bytes 0-9/10"},
        {"Range: bytes=10-\n", 416, "", "bytes */10"},
        {"Range: bytes=0-1,4-5\n", 200, "0123456789", NULL},
        {"Range: bytes=0-1\nRange: bytes=4-5\n", 200, "0123456789", NULL},
        {"Range: bytes=2-4\nIf-Range: \"a\"\n", 206, "234", "bytes 2-4/10"},
        {"Range: bytes=2-4\nIf-Range: \"b\"\n", 200, "0123456789", NULL},
        {"Range: bytes=2-4\nIf-None-Match: \"a\"\n", 304, "", NULL},
    };

    (void)state;
    stored(FRESH TAG "Content-Type: text/plain\nVary: Accept\n", "0123456789");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct party *party = &parties[0];

        assert_int_equal(get(party, rows[i].fields), FK_VISIT_SERVE);
        take_served(party);
        assert_got(party, rows[i].status, rows[i].body, "farkey; hit; ttl=60");
        assert_field(party, "Content-Range", rows[i].range);
        assert_field(party, "Content-Type",
                     rows[i].status == 200 || rows[i].status == 206 ? "text/plain" : NULL);
        assert_field(party, "ETag", rows[i].status == 416 ? NULL : "\"a\"");
        assert_int_equal(party->response.framing == FK_HTTP_NO_BODY, rows[i].status == 304);
        if (rows[i].status != 304)
            assert_int_equal(party->response.length, strlen(rows[i].body));
    }
}

static void conditions_go_to_the_origin_where_nothing_is_stored(void **state)
{
    (void)state;
    assert_int_equal(get(&parties[0], "If-None-Match: \"a\"\n"), FK_VISIT_PASS);
    answer(&parties[0], 304, TAG, "");
    assert_got(&parties[0], 304, "", "farkey; fwd=uri-miss");
    assert_int_equal(get(&parties[0], "Range: bytes=0-1\n"), FK_VISIT_PASS);
    answer(&parties[0], 206, FRESH, "01");
    assert_got(&parties[0], 206, "01", "farkey; fwd=uri-miss; detail=range");
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
}

static void only_if_cached_is_obeyed(void **state)
{
    (void)state;
    assert_int_equal(get(&parties[0], "Cache-Control: only-if-cached\n"), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_got(&parties[0], 504, "", "farkey; detail=only-if-cached");
    assert_field(&parties[0], "Cache-Control", "no-store");
    stored(FRESH, "body");
    assert_int_equal(get(&parties[0], "Cache-Control: only-if-cached\n"), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_got(&parties[0], 200, "body", "farkey; hit; ttl=60");
    pass_time(60);
    assert_int_equal(get(&parties[0], "Cache-Control: only-if-cached\n"), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_int_equal(parties[0].response.status, 504);
}

/* --- revalidation --- */

static void assert_asks_with(struct party *party, const char *name, const char *value)
{
    struct fk_reader text;

    if (value == NULL) {
        assert_int_equal(fk_http_headers_count(&party->request.headers, name), 0);
        return;
    }
    assert_int_equal(fk_http_headers_count(&party->request.headers, name), 1);
    assert_ok(fk_http_headers_find(&party->request.headers, name, &text));
    assert_true(fk_http_equal(text, value));
}

static void what_is_stale_is_confirmed(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    stored(FRESH TAG "Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT\nX: 1\n", "body");
    pass_time(60);
    assert_int_equal(get(party, "If-None-Match: \"b\", \"c\"\nRange: bytes=1-2\n"), FK_VISIT_ASK);
    assert_asks_with(party, "If-None-Match", "\"a\"");
    assert_asks_with(party, "If-Modified-Since", "Fri, 15 Jan 2027 07:00:00 GMT");
    assert_asks_with(party, "Range", NULL);
    answer(party, 304, "Cache-Control: max-age=10\nX: 2\n" TAG, "");
    assert_got(party, 206, "od", "farkey; fwd=stale; fwd-status=304; ttl=10; stored");
    assert_field(party, "X", "2");
    assert_field(party, "Age", "0");
    assert_int_equal(get(&parties[1], ""), FK_VISIT_SERVE);
    take_served(&parties[1]);
    assert_got(&parties[1], 200, "body", "farkey; hit; ttl=10");
    assert_int_equal(counts[FK_CACHE_COUNT_REVALIDATED], 1);
}

static void what_has_changed_is_replaced(void **state)
{
    (void)state;
    stored(FRESH TAG, "body");
    pass_time(60);
    assert_int_equal(get(&parties[0], "If-None-Match: \"a\"\n"), FK_VISIT_ASK);
    answer(&parties[0], 200, "Cache-Control: max-age=60\nETag: \"b\"\n", "other");
    assert_got(&parties[0], 200, "other", "farkey; fwd=stale; stored");
    assert_int_equal(get(&parties[1], ""), FK_VISIT_SERVE);
    take_served(&parties[1]);
    assert_got(&parties[1], 200, "other", "farkey; hit; ttl=60");
    assert_int_equal(fk_cachestore_stats(store)->entries, 1);
}

/* RFC 9111 section 4.3.4. */
static void a_304_for_something_else_updates_nothing(void **state)
{
    (void)state;
    stored(FRESH TAG, "body");
    pass_time(60);
    assert_int_equal(get(&parties[0], ""), FK_VISIT_ASK);
    answer(&parties[0], 304, "Cache-Control: max-age=60\nETag: \"b\"\n", "");
    assert_got(&parties[0], 200, "body", "farkey; fwd=stale; fwd-status=304; ttl=0");
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
}

static void a_client_that_wants_it_new_gets_it_new(void **state)
{
    (void)state;
    stored(FRESH TAG, "body");
    assert_int_equal(get(&parties[0], "Cache-Control: no-cache\n"), FK_VISIT_ASK);
    answer(&parties[0], 304, TAG, "");
    assert_got(&parties[0], 200, "body", "farkey; fwd=request; fwd-status=304; ttl=60; stored");
}

/* --- RFC 5861 --- */

static void a_stale_one_is_served_while_it_is_renewed(void **state)
{
    struct party *renewal = &parties[2];

    (void)state;
    stored("Cache-Control: max-age=60, stale-while-revalidate=30\n" TAG, "body");
    pass_time(70);
    assert_int_equal(get(&parties[0], ""), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_got(&parties[0], 200, "body", "farkey; hit; ttl=-10");
    assert_int_equal(renewals, 1);
    renewal->renewal = true;
    assert_int_equal(get(renewal, ""), FK_VISIT_ASK);
    assert_asks_with(renewal, "If-None-Match", "\"a\"");
    assert_int_equal(get(&parties[1], ""), FK_VISIT_SERVE);
    assert_int_equal(renewals, 1); /* it is under way */
    answer(renewal, 304, "Cache-Control: max-age=60, stale-while-revalidate=30\n", "");
    assert_int_equal(get(&parties[0], ""), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_got(&parties[0], 200, "body", "farkey; hit; ttl=60");
    assert_int_equal(renewals, 1);
    assert_int_equal(counts[FK_CACHE_COUNT_STALE], 2);
}

static void nobodys_secrets_are_sent_again(void **state)
{
    (void)state;
    stored("Cache-Control: public, max-age=60, stale-while-revalidate=30\n" TAG, "body");
    pass_time(70);
    assert_int_equal(get(&parties[0], "Authorization: x\n"), FK_VISIT_ASK);
    parties[1].certificate = true;
    assert_int_equal(get(&parties[1], ""), FK_VISIT_ASK);
    assert_int_equal(renewals, 0);
}

static void errors_are_bridged(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    stored("Cache-Control: max-age=60, stale-if-error=30\n", "body");
    pass_time(90);
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    answer(party, 503, "", "broken");
    assert_got(party, 200, "body",
               "farkey; fwd=stale; fwd-status=503; ttl=-30; detail=stale-if-error");
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    assert_true(fk_cachevisit_failed(party->visit)); /* no origin at all */
    take_served(party);
    assert_got(party, 200, "body", "farkey; fwd=stale; ttl=-30; detail=stale-if-error");
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    answer(party, 404, "", "gone"); /* no error of the server */
    assert_got(party, 404, "gone", "farkey; fwd=stale; detail=no-lifetime");
    pass_time(1);
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    assert_false(fk_cachevisit_failed(party->visit));
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    answer(party, 503, "", "broken");
    assert_got(party, 503, "broken", "farkey; fwd=stale; detail=status");
}

/* --- collapsed forwarding --- */

static void wait_for_one(void)
{
    assert_int_equal(get(&parties[0], ""), FK_VISIT_ASK);
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(get(&parties[i], ""), FK_VISIT_WAIT);
        assert_ok(fk_cachevisit_poll(parties[i].visit));
        assert_int_equal(fk_cachevisit_state(parties[i].visit), FK_VISIT_WAIT);
    }
}

static enum fk_cachevisit_state polled(struct party *party)
{
    assert_int_equal(party->woken, 1);
    party->woken = 0;
    assert_ok(fk_cachevisit_poll(party->visit));
    return fk_cachevisit_state(party->visit);
}

static void many_are_answered_by_one(void **state)
{
    (void)state;
    wait_for_one();
    answer(&parties[0], 200, FRESH, "body");
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(polled(&parties[i]), FK_VISIT_SERVE);
        take_served(&parties[i]);
        assert_got(&parties[i], 200, "body", "farkey; fwd=uri-miss; ttl=60; collapsed");
    }
    assert_int_equal(counts[FK_CACHE_COUNT_COLLAPSED], 3);
    assert_int_equal(counts[FK_CACHE_COUNT_MISSES], 1);
}

static void what_is_not_for_all_is_asked_for_by_each(void **state)
{
    (void)state;
    wait_for_one();
    answer_head(&parties[0], 200, "Cache-Control: private\n", "mine");
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(polled(&parties[i]), FK_VISIT_ASK); /* when the head is there */
    assert_int_equal(get(&parties[4], ""), FK_VISIT_ASK);    /* and nobody waits any more */
    answer(&parties[4], 200, FRESH, "body");
    assert_got(&parties[4], 200, "body", "farkey; fwd=uri-miss; stored");
}

static void what_grows_too_large_is_asked_for_by_each(void **state)
{
    static const char piece[151] = {[0 ... 149] = 'x'};

    (void)state;
    wait_for_one();
    answer_head(&parties[0], 200, FRESH, piece);
    parties[0].response.framing = FK_HTTP_CHUNKED;
    answer_body(&parties[0], piece);
    assert_int_equal(parties[1].woken, 0);
    answer_body(&parties[0], piece);
    assert_int_equal(polled(&parties[1]), FK_VISIT_ASK);
    fk_cachevisit_whole(parties[0].visit);
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
}

static void when_one_goes_another_asks(void **state)
{
    (void)state;
    wait_for_one();
    answer_head(&parties[0], 200, FRESH, "body");
    answer_body(&parties[0], "bo");
    fk_cachevisit_free(parties[0].visit); /* its client has gone, or the origin */
    parties[0].visit = NULL;
    assert_int_equal(polled(&parties[1]), FK_VISIT_ASK);
    assert_int_equal(polled(&parties[2]), FK_VISIT_WAIT);
    assert_int_equal(polled(&parties[3]), FK_VISIT_WAIT);
    answer(&parties[1], 200, FRESH, "body");
    assert_int_equal(polled(&parties[2]), FK_VISIT_SERVE);
    take_served(&parties[2]);
    assert_got(&parties[2], 200, "body", "farkey; fwd=uri-miss; ttl=60; collapsed");
}

static void nobody_waits_for_ever(void **state)
{
    (void)state;
    wait_for_one();
    pass_time(FK_CACHE_WAIT_SECONDS);
    fk_flights_expire(fk_cachestore_flights(store), present.even);
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(polled(&parties[i]), FK_VISIT_ASK);
}

static void failures_are_everybodys(void **state)
{
    (void)state;
    wait_for_one();
    assert_false(fk_cachevisit_failed(parties[0].visit));
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(polled(&parties[i]), FK_VISIT_ASK);
}

static void those_who_wait_bridge_the_same_error(void **state)
{
    (void)state;
    stored("Cache-Control: max-age=60, stale-if-error=30\n", "body");
    pass_time(61);
    wait_for_one();
    answer(&parties[0], 500, "", "broken");
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(polled(&parties[i]), FK_VISIT_SERVE);
        take_served(&parties[i]);
        assert_got(&parties[i], 200, "body",
                   "farkey; fwd=stale; ttl=-1; collapsed; detail=stale-if-error");
    }
}

static void another_variant_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(get(&parties[0], "Accept: a\n"), FK_VISIT_ASK);
    assert_int_equal(get(&parties[1], "Accept: b\n"), FK_VISIT_WAIT);
    answer(&parties[0], 200, FRESH "Vary: Accept\n", "a");
    assert_int_equal(polled(&parties[1]), FK_VISIT_ASK);
    answer(&parties[1], 200, FRESH "Vary: Accept\n", "b");
    assert_field(&parties[1], "Cache-Status", "farkey; fwd=vary-miss; stored; collapsed");
    assert_int_equal(get(&parties[2], "Accept: b\n"), FK_VISIT_SERVE);
    take_served(&parties[2]);
    assert_string_equal(parties[2].body, "b");
}

/* --- nothing private is shared --- */

static void certificates_and_secrets_stand_apart(void **state)
{
    static const struct {
        bool certificate;
        const char *fields;
    } rows[] = {{true, ""}, {false, "Authorization: Basic eDp5\n"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct party *known = &parties[0], *other = &parties[1];

        (void)fk_cachestore_purge_group(store, 0);
        known->certificate = rows[i].certificate;
        assert_int_equal(get(other, ""), FK_VISIT_ASK);
        assert_int_equal(get(known, rows[i].fields), FK_VISIT_ASK); /* does not wait */
        answer(known, 200, FRESH, "mine");
        assert_int_equal(fk_cachestore_stats(store)->entries, 0);
        answer(other, 200, FRESH, "theirs");
        assert_int_equal(get(known, rows[i].fields),
                         FK_VISIT_ASK); /* nor gets what is not public */
        answer(known, 200, "Cache-Control: public, max-age=60\n", "all");
        assert_int_equal(get(other, ""), FK_VISIT_SERVE);
        take_served(other);
        assert_string_equal(other->body, "all");
        assert_int_equal(get(known, rows[i].fields), FK_VISIT_SERVE);
    }
}

static void sites_are_apart(void **state)
{
    (void)state;
    stored(FRESH, "body");
    view.site = "t";
    assert_int_equal(get(&parties[0], ""), FK_VISIT_ASK);
}

/* --- what is not stored --- */

static void halves_are_not_stored(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    answer_head(party, 200, FRESH, "body");
    answer_body(party, "bo");
    fk_cachevisit_free(party->visit);
    party->visit = NULL;
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    answer_head(party, 200, FRESH, "body");
    answer_body(party, "body");
    fk_cachevisit_trailers(party->visit);
    fk_cachevisit_whole(party->visit);
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
}

/* Its end could be the end of the line as well (RFC 9112 section 8). */
static void a_body_that_ends_with_its_connection_is_not_stored(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    fk_http_response_reset(&party->response);
    party->response.status = 200;
    party->response.framing = FK_HTTP_CLOSE;
    add_lines(&party->response.headers, FRESH);
    assert_ok(fk_cachevisit_answered(party->visit, &party->response));
    assert_field(party, "Cache-Status", "farkey; fwd=uri-miss; detail=cut-off");
    fk_cachevisit_whole(party->visit);
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
}

/* RFC 9111 section 4.4. */
static void changes_invalidate(void **state)
{
    struct party *late = &parties[1], *writer = &parties[2];

    (void)state;
    stored("Cache-Control: max-age=60\n", "body");
    assert_int_equal(ask(&parties[0], "GET", "/made", ""), FK_VISIT_ASK);
    answer(&parties[0], 200, FRESH, "old");
    assert_int_equal(ask(writer, "POST", "/", ""), FK_VISIT_PASS);
    answer(writer, 500, "", "");
    assert_got(writer, 500, "", "farkey; fwd=method");
    assert_int_equal(fk_cachestore_stats(store)->entries, 2);
    assert_int_equal(get(late, "Cache-Control: no-cache\n"), FK_VISIT_ASK);
    assert_int_equal(ask(writer, "POST", "/", ""), FK_VISIT_PASS);
    answer(writer, 201, "Location: https://example.com/made\n", "");
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
    answer(late, 200, FRESH, "before"); /* asked before the change: not stored behind it */
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
}

static void no_store_and_conditions_on_change_pass_by(void **state)
{
    static const char *const fields[] = {"Cache-Control: no-store\n", "If-Match: \"a\"\n",
                                         "If-Unmodified-Since: x\n"};

    (void)state;
    stored(FRESH TAG, "body");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(get(&parties[0], fields[i]), FK_VISIT_PASS);
        answer(&parties[0], 200, FRESH, "new");
        assert_got(&parties[0], 200, "new", "farkey; fwd=request");
    }
    assert_int_equal(get(&parties[0], ""), FK_VISIT_SERVE);
    take_served(&parties[0]);
    assert_string_equal(parties[0].body, "body");
}

/* --- without memory --- */

static int live_once(void *context)
{
    struct party *party = context;
    struct fk_http_event event;
    int err;

    if ((err = try_to_ask(party, "GET", "/", "")) != FK_OK)
        return err;
    err = fk_cachevisit_serve(party->visit, &party->response, 100, &event);
    fk_cachevisit_free(party->visit);
    party->visit = NULL;
    return err;
}

static void visits_without_memory(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    stored(FRESH, "body");
    assert_int_equal(get(party, ""), FK_VISIT_SERVE); /* the test's own memory is there */
    take_served(party);
    fk_cachevisit_free(party->visit);
    party->visit = NULL;
    assert_true(failmalloc_try(live_once, party) > 0);
}

/* What cannot be stored is passed on. */
static void storing_without_memory(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    assert_int_equal(get(party, ""), FK_VISIT_ASK);
    answer_head(party, 200, "", "");
    for (size_t n = 1; n <= 2; n++) {
        assert_int_equal(get(party, ""), FK_VISIT_ASK);
        failmalloc_arm(n);
        answer(party, 200, FRESH, "body");
        assert_true(failmalloc_disarm());
        assert_got(party, 200, "body", "farkey; fwd=uri-miss; detail=too-large");
    }
    assert_int_equal(fk_cachestore_stats(store)->entries, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

UNIT_MAIN(CASE(every_cell_is_as_it_should_be), CASE(the_second_is_answered_from_the_store),
          CASE(an_age_that_came_is_counted_on), CASE(head_is_answered_by_a_stored_get),
          CASE(conditions_and_ranges_are_answered),
          CASE(conditions_go_to_the_origin_where_nothing_is_stored), CASE(only_if_cached_is_obeyed),
          CASE(what_is_stale_is_confirmed), CASE(what_has_changed_is_replaced),
          CASE(a_304_for_something_else_updates_nothing),
          CASE(a_client_that_wants_it_new_gets_it_new),
          CASE(a_stale_one_is_served_while_it_is_renewed), CASE(nobodys_secrets_are_sent_again),
          CASE(errors_are_bridged), CASE(many_are_answered_by_one),
          CASE(what_is_not_for_all_is_asked_for_by_each),
          CASE(what_grows_too_large_is_asked_for_by_each), CASE(when_one_goes_another_asks),
          CASE(nobody_waits_for_ever), CASE(failures_are_everybodys),
          CASE(those_who_wait_bridge_the_same_error), CASE(another_variant_is_asked_for),
          CASE(certificates_and_secrets_stand_apart), CASE(sites_are_apart),
          CASE(halves_are_not_stored), CASE(a_body_that_ends_with_its_connection_is_not_stored),
          CASE(changes_invalidate), CASE(no_store_and_conditions_on_change_pass_by),
          CASE(visits_without_memory), CASE(storing_without_memory))
