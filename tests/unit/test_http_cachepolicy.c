/* http/cachepolicy, http/cachekey: what a shared cache may store and serve, rule by rule. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/cachekey.h"
#include "http/cachepolicy.h"
#include "http/text.h"

#include <stdio.h>

#define WALL 1800000000 /* Fri, 15 Jan 2027 08:00:00 GMT */
#define DATE "Date: Fri, 15 Jan 2027 08:00:00 GMT\n"
/* 1,000 and 100,000,000 seconds before */
#define CHANGED     "Last-Modified: Fri, 15 Jan 2027 07:43:20 GMT\n"
#define CHANGED_OLD "Last-Modified: Thu, 16 Nov 2023 22:13:20 GMT\n"

static struct fk_http_request request;
static struct fk_http_response response;

static int set_up(void **state)
{
    (void)state;
    fk_http_request_init(&request, &fk_http_limits_default);
    fk_http_response_init(&response, &fk_http_limits_default);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_http_request_fini(&request);
    fk_http_response_fini(&response);
    return 0;
}

/* "Name: value\n" lines. */
static void add_lines(struct fk_http_headers *headers, const char *lines)
{
    struct fk_reader text = fk_http_text(lines == NULL ? "" : lines), line, name, value;

    while (fk_reader_until(&text, '\n', &line) == FK_OK) {
        assert_int_equal(fk_http_field_line(line, &name, &value), FK_HTTP_FAULT_NONE);
        assert_ok(fk_http_headers_add(headers, name, value));
    }
}

/* "GET /path"; certificate: "+" behind it. */
static struct fk_cache_ask ask_of(const char *line, const char *fields)
{
    struct fk_reader rest = fk_http_text(line), method;
    struct fk_cache_ask ask;
    bool certificate = strchr(line, '+') != NULL;

    fk_http_request_reset(&request);
    assert_ok(fk_reader_until(&rest, ' ', &method));
    assert_ok(fk_http_headers_keep(&request.headers, method, &request.method));
    assert_ok(fk_http_headers_keep(&request.headers, rest, &request.path));
    add_lines(&request.headers, fields);
    fk_cache_ask_read(&request, certificate, &ask);
    return ask;
}

static struct fk_cache_facts facts_of(int status, const char *fields)
{
    struct fk_cache_now now = {WALL, 50};
    struct fk_cache_facts facts;

    fk_http_response_reset(&response);
    response.status = status;
    add_lines(&response.headers, fields);
    fk_cache_facts_read(&response, &now, &facts);
    return facts;
}

#define FRESH "Cache-Control: max-age=60\n"

static const struct {
    const char *ask, *ask_fields;
    int status;
    const char *fields;
    enum fk_cache_verdict verdict;
} storing[] = {
    /* RFC 9111 section 3: the whole and good one, and each with one change */
    {"GET /", "", 200, FRESH, FK_CACHE_STORE},
    {"HEAD /", "", 200, FRESH, FK_CACHE_METHOD},
    {"POST /", "", 200, FRESH, FK_CACHE_METHOD},
    {"get /", "", 200, FRESH, FK_CACHE_METHOD},
    {"GET /", "Cache-Control: no-store\n", 200, FRESH, FK_CACHE_REQUEST_NO_STORE},
    {"GET /", "Cache-Control: no-cache\n", 200, FRESH, FK_CACHE_STORE},
    {"GET /", "", 206, FRESH, FK_CACHE_PARTIAL},
    {"GET /", "", 304, FRESH, FK_CACHE_STATUS},
    {"GET /", "", 299, FRESH, FK_CACHE_STATUS},
    {"GET /", "", 401, FRESH, FK_CACHE_STATUS},
    {"GET /", "", 500, FRESH, FK_CACHE_STATUS},
    {"GET /", "", 503, FRESH, FK_CACHE_STATUS},
    {"GET /", "", 204, FRESH, FK_CACHE_STORE},
    {"GET /", "", 301, FRESH, FK_CACHE_STORE},
    {"GET /", "", 302, FRESH, FK_CACHE_STORE},
    {"GET /", "", 404, FRESH, FK_CACHE_STORE},
    {"GET /", "", 410, FRESH, FK_CACHE_STORE},
    {"GET /", "", 200, FRESH "Cache-Control: no-store\n", FK_CACHE_NO_STORE},
    {"GET /", "", 200, "Cache-Control: max-age=60, NO-STORE\n", FK_CACHE_NO_STORE},
    {"GET /", "", 200, "Cache-Control: no-store, must-understand, max-age=60\n", FK_CACHE_NO_STORE},
    {"GET /", "", 200, FRESH "Cache-Control: private\n", FK_CACHE_PRIVATE},
    {"GET /", "", 200, "Cache-Control: private=\"Set-Cookie\", max-age=60\n", FK_CACHE_PRIVATE},
    {"GET /", "", 200, "Cache-Control: public, private, max-age=60\n", FK_CACHE_PRIVATE},
    {"GET /", "", 200, "Cache-Control: max-age=60; private\n", FK_CACHE_MALFORMED},
    {"GET /", "", 200, FRESH "Set-Cookie: a=b\n", FK_CACHE_SET_COOKIE},
    {"GET /", "", 200, "Cache-Control: public, max-age=60\nset-cookie: a=b\n", FK_CACHE_SET_COOKIE},
    {"GET /", "", 200, FRESH "Set-Cookie2: a=b\n", FK_CACHE_SET_COOKIE},
    /* 4.1 */
    {"GET /", "", 200, FRESH "Vary: Accept-Encoding, Accept\n", FK_CACHE_STORE},
    {"GET /", "", 200, FRESH "Vary: *\n", FK_CACHE_VARY},
    {"GET /", "", 200, FRESH "Vary: Accept, *\n", FK_CACHE_VARY},
    {"GET /", "", 200, FRESH "Vary: Accept\nVary: *\n", FK_CACHE_VARY},
    {"GET /", "", 200, FRESH "Vary: a b\n", FK_CACHE_VARY},
    /* 3.5 */
    {"GET /", "Authorization: Basic eA==\n", 200, FRESH, FK_CACHE_AUTHORIZATION},
    {"GET /", "Authorization: x\n", 200, "Cache-Control: max-age=60, public\n", FK_CACHE_STORE},
    {"GET /", "Authorization: x\n", 200, "Cache-Control: s-maxage=60\n", FK_CACHE_STORE},
    {"GET /", "Authorization: x\n", 200, "Cache-Control: max-age=60, must-revalidate\n",
     FK_CACHE_STORE},
    {"GET /", "Authorization: x\n", 200, "Cache-Control: max-age=60, proxy-revalidate\n",
     FK_CACHE_AUTHORIZATION},
    /* a client's certificate: `public`, and nothing else */
    {"GET /+", "", 200, FRESH, FK_CACHE_CERTIFICATE},
    {"GET /+", "", 200, "Cache-Control: s-maxage=60, must-revalidate\n", FK_CACHE_CERTIFICATE},
    {"GET /+", "", 200, "Cache-Control: max-age=60, public\n", FK_CACHE_STORE},
    {"GET /+", "Authorization: x\n", 200, "Cache-Control: max-age=60, public\n", FK_CACHE_STORE},
    /* a lifetime: stated, or guessed with care (4.2.2), or the origin can be asked again */
    {"GET /", "", 200, "", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Cache-Control: public\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Cache-Control: max-age=0\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Cache-Control: max-age=x\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Cache-Control: max-age=0\nETag: \"a\"\n", FK_CACHE_STORE},
    {"GET /", "", 200, "Cache-Control: max-age=0\nETag: a\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Cache-Control: no-cache\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Cache-Control: no-cache, max-age=60\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Cache-Control: no-cache\n" CHANGED, FK_CACHE_STORE},
    {"GET /", "", 200, "ETag: \"a\"\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, DATE CHANGED, FK_CACHE_STORE},
    {"GET /?", "", 200, DATE CHANGED, FK_CACHE_LIFETIME},
    {"GET /?", "", 200, DATE CHANGED FRESH, FK_CACHE_STORE},
    {"GET /", "", 302, DATE CHANGED, FK_CACHE_LIFETIME},
    {"GET /", "", 302, DATE CHANGED "Cache-Control: public\n", FK_CACHE_STORE},
    {"GET /", "", 200, "Expires: Fri, 15 Jan 2027 08:01:00 GMT\n", FK_CACHE_STORE},
    {"GET /", "", 200, "Expires: Fri, 15 Jan 2027 08:00:00 GMT\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, "Expires: 0\n", FK_CACHE_LIFETIME},
    {"GET /", "", 200, FRESH "Age: 59\n", FK_CACHE_STORE},
    {"GET /", "", 200, FRESH "Age: 60\n", FK_CACHE_LIFETIME},
    /* who sends cookies gets what is his */
    {"GET /", "Cookie: a=b\n", 200, DATE CHANGED, FK_CACHE_COOKIE},
    {"GET /", "Cookie: a=b\n", 200, "Cache-Control: no-cache\nETag: \"a\"\n", FK_CACHE_COOKIE},
    {"GET /", "Cookie: a=b\n", 200, FRESH, FK_CACHE_STORE},
};

static void storing_follows_its_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof storing / sizeof storing[0]; i++) {
        struct fk_cache_ask ask = ask_of(storing[i].ask, storing[i].ask_fields);
        struct fk_cache_facts facts = facts_of(storing[i].status, storing[i].fields);
        enum fk_cache_verdict verdict = fk_cache_may_store(&ask, &facts);

        if (verdict != storing[i].verdict)
            fail_msg("row %zu: %s", i, fk_cache_verdict_text(verdict));
    }
}

static void a_body_or_an_upgrade_is_never_stored(void **state)
{
    struct fk_cache_facts facts = facts_of(200, FRESH);
    struct fk_cache_ask ask;

    (void)state;
    ask = ask_of("GET /", "");
    request.framing = FK_HTTP_LENGTH;
    fk_cache_ask_read(&request, false, &ask);
    assert_int_equal(fk_cache_may_store(&ask, &facts), FK_CACHE_METHOD);
    request.framing = FK_HTTP_NO_BODY;
    request.upgrade = true;
    fk_cache_ask_read(&request, false, &ask);
    assert_int_equal(fk_cache_may_store(&ask, &facts), FK_CACHE_METHOD);
    assert_false(fk_cache_may_look(&ask));
}

/* Section 4.2.1, in its order. */
static void lifetimes_are_found(void **state)
{
    static const struct {
        const char *fields;
        uint32_t lifetime;
    } rows[] = {
        {"Cache-Control: max-age=60, s-maxage=10\nExpires: Fri, 15 Jan 2027 09:00:00 GMT\n", 10},
        {"Cache-Control: max-age=60\nExpires: Fri, 15 Jan 2027 09:00:00 GMT\n", 60},
        {DATE "Expires: Fri, 15 Jan 2027 09:00:00 GMT\n", 3600},
        {"Expires: Fri, 15 Jan 2027 09:00:00 GMT\n", 3600}, /* Date: when it came */
        {DATE "Expires: Fri, 15 Jan 2027 07:00:00 GMT\n", 0},
        {DATE "Expires: Fri, 31 Dec 9999 23:59:59 GMT\n", FK_CACHECONTROL_MOST},
        {DATE "Expires: never\n" CHANGED, 0}, /* 5.3: past, and so no guess */
        {DATE "Expires: Fri, 15 Jan 2027 09:00:00 GMT\nExpires: Fri, 15 Jan 2027 09:00:00 GMT\n",
         0},
        {DATE CHANGED, 100},
        {DATE CHANGED_OLD, FK_CACHE_HEURISTIC_MAX},
        {DATE "Last-Modified: Fri, 15 Jan 2027 08:00:01 GMT\n", 0},
        {DATE "Last-Modified: yesterday\n", 0},
        {CHANGED "Cache-Control: max-age=0\n", 0},
        {"", 0},
    };
    struct fk_cache_ask ask = ask_of("GET /", "");

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_cache_facts facts = facts_of(200, rows[i].fields);

        if (fk_cache_lifetime(&ask, &facts) != rows[i].lifetime)
            fail_msg("row %zu: %u", i, fk_cache_lifetime(&ask, &facts));
    }
}

/* Section 4.2.3. */
static void ages_are_counted(void **state)
{
    static const struct {
        const char *fields;
        uint32_t waited, age;
    } rows[] = {
        {DATE, 0, 0},
        {DATE, 3, 3},
        {DATE "Age: 10\n", 3, 13},
        {"Date: Fri, 15 Jan 2027 07:59:30 GMT\nAge: 10\n", 3, 30}, /* the date tells more */
        {"Date: Fri, 15 Jan 2027 07:59:30 GMT\nAge: 40\n", 3, 43},
        {"Date: Fri, 15 Jan 2027 08:00:30 GMT\n", 3, 3}, /* a clock that is ahead */
        {"Age: 10\n", 0, 10},
        {"Age: 10, 20\n", 0, 10}, /* 5.1 */
        {"Age: x\n", 0, 0},
        {"Age: -5\n", 0, 0},
        {"Age: 99999999999\n", 10, FK_CACHECONTROL_MOST},
    };
    struct fk_cache_ask ask = ask_of("GET /", "");
    struct fk_cache_now now = {WALL, 50}, later = {WALL - 1000, 57}, before = {WALL, 40};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_cache_facts facts = facts_of(200, rows[i].fields);
        struct fk_cache_life life;
        uint32_t then;

        fk_cache_life_begin(&ask, &facts, &now, rows[i].waited, &life);
        if (fk_cache_age(&life, &now) != rows[i].age)
            fail_msg("row %zu: %u", i, fk_cache_age(&life, &now));
        then = rows[i].age == FK_CACHECONTROL_MOST ? rows[i].age : rows[i].age + 7;
        assert_int_equal(fk_cache_age(&life, &later), then); /* whatever the wall clock does */
        assert_int_equal(fk_cache_age(&life, &before), rows[i].age);
    }
}

/* A stored answer of this Cache-Control, `age` seconds old, for a request with another. */
static enum fk_cache_use use_of(const char *control, uint32_t age, const char *wish)
{
    char field[128], wished[128];
    struct fk_cache_facts facts;
    struct fk_cache_life life;
    struct fk_cache_ask ask;
    struct fk_cache_now now = {WALL, 50}, later = {WALL + age, 50 + age};

    snprintf(field, sizeof field, DATE "Cache-Control: %s\n", control);
    snprintf(wished, sizeof wished, "Cache-Control: %s\n", wish);
    facts = facts_of(200, field);
    ask = ask_of("GET /", wished);
    fk_cache_life_begin(&ask, &facts, &now, 0, &life);
    return fk_cache_judge(&ask, &life, &later);
}

static void use_follows_its_rules(void **state)
{
    static const struct {
        const char *control;
        uint32_t age;
        const char *wish;
        enum fk_cache_use use;
    } rows[] = {
        /* 4.2: fresh, and no more */
        {"max-age=60", 0, "", FK_CACHE_USE},
        {"max-age=60", 59, "", FK_CACHE_USE},
        {"max-age=60", 60, "", FK_CACHE_REVALIDATE},
        {"max-age=60, must-revalidate", 59, "", FK_CACHE_USE},
        {"max-age=60, s-maxage=10", 10, "", FK_CACHE_REVALIDATE},
        {"max-age=60, no-cache", 0, "", FK_CACHE_REVALIDATE},
        /* 5.2.1: what the client asks for */
        {"max-age=60", 10, "no-cache", FK_CACHE_REVALIDATE},
        {"max-age=60", 10, "max-age=10", FK_CACHE_USE},
        {"max-age=60", 10, "max-age=9", FK_CACHE_REVALIDATE},
        {"max-age=60", 10, "max-age=x", FK_CACHE_REVALIDATE},
        {"max-age=60", 10, "min-fresh=50", FK_CACHE_USE},
        {"max-age=60", 10, "min-fresh=51", FK_CACHE_REVALIDATE},
        {"max-age=60", 70, "max-stale=10", FK_CACHE_USE},
        {"max-age=60", 71, "max-stale=10", FK_CACHE_REVALIDATE},
        {"max-age=60", 100000, "max-stale", FK_CACHE_USE},
        {"max-age=60", 70, "max-stale, max-age=69", FK_CACHE_REVALIDATE},
        {"max-age=60", 70, "max-stale, no-cache", FK_CACHE_REVALIDATE},
        /* 4.2.4: unless the origin forbids it */
        {"max-age=60, must-revalidate", 70, "max-stale", FK_CACHE_REVALIDATE},
        {"max-age=60, proxy-revalidate", 70, "max-stale", FK_CACHE_REVALIDATE},
        {"s-maxage=60", 70, "max-stale", FK_CACHE_REVALIDATE},
        {"max-age=60, no-cache", 70, "max-stale", FK_CACHE_REVALIDATE},
        /* RFC 5861 section 3 */
        {"max-age=60, stale-while-revalidate=10", 59, "", FK_CACHE_USE},
        {"max-age=60, stale-while-revalidate=10", 60, "", FK_CACHE_USE_RENEW},
        {"max-age=60, stale-while-revalidate=10", 69, "", FK_CACHE_USE_RENEW},
        {"max-age=60, stale-while-revalidate=10", 70, "", FK_CACHE_REVALIDATE},
        {"s-maxage=60, stale-while-revalidate=10", 60, "", FK_CACHE_USE_RENEW},
        {"max-age=60, stale-while-revalidate=10", 60, "no-cache", FK_CACHE_REVALIDATE},
        {"max-age=60, stale-while-revalidate=10", 60, "max-age=59", FK_CACHE_REVALIDATE},
        {"max-age=60, must-revalidate, stale-while-revalidate=10", 60, "", FK_CACHE_REVALIDATE},
        {"max-age=60, proxy-revalidate, stale-while-revalidate=10", 60, "", FK_CACHE_REVALIDATE},
        {"max-age=60, stale-while-revalidate=x", 60, "", FK_CACHE_REVALIDATE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (use_of(rows[i].control, rows[i].age, rows[i].wish) != rows[i].use)
            fail_msg("row %zu", i);
}

/* RFC 5861 section 4. */
static void errors_are_bridged_where_allowed(void **state)
{
    static const struct {
        const char *control;
        uint32_t age;
        bool used;
    } rows[] = {
        {"max-age=60, stale-if-error=10", 60, true},
        {"max-age=60, stale-if-error=10", 70, true},
        {"max-age=60, stale-if-error=10", 71, false},
        {"max-age=60, stale-if-error=10", 5, true}, /* the client asked for revalidation */
        {"max-age=60", 60, false},
        {"s-maxage=60, stale-if-error=10", 65, true},
        {"max-age=60, stale-if-error=10, must-revalidate", 65, false},
        {"max-age=60, stale-if-error=10, proxy-revalidate", 65, false},
        {"max-age=60, stale-if-error=10, no-cache", 65, false},
    };
    struct fk_cache_ask ask = ask_of("GET /", "");

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_cache_now now = {WALL, 50}, later = {WALL, 50 + rows[i].age};
        struct fk_cache_life life;
        struct fk_cache_facts facts;
        char field[128];

        snprintf(field, sizeof field, "Cache-Control: %s\n", rows[i].control);
        facts = facts_of(200, field);
        fk_cache_life_begin(&ask, &facts, &now, 0, &life);
        if (fk_cache_use_if_error(&life, &later) != rows[i].used)
            fail_msg("row %zu", i);
    }
}

static void requests_are_looked_up_and_answers_shared(void **state)
{
    static const struct {
        const char *line, *fields;
        bool look;
        bool plain, s_maxage, public_; /* may be answered with what says no more than this */
    } rows[] = {
        {"GET /", "", true, true, true, true},
        {"HEAD /", "", true, true, true, true},
        {"POST /", "", false, true, true, true},
        {"OPTIONS /", "", false, true, true, true},
        {"GET /", "Cache-Control: no-store\n", false, true, true, true},
        {"GET /", "Cache-Control: no-cache\n", true, true, true, true},
        {"GET /", "If-Match: \"a\"\n", false, true, true, true}, /* RFC 9111 section 4.3.2 */
        {"GET /", "If-Unmodified-Since: x\n", false, true, true, true},
        {"GET /", "If-None-Match: \"a\"\nRange: bytes=0-1\n", true, true, true, true},
        {"GET /", "Authorization: x\n", true, false, true, true},
        {"GET /+", "", true, false, false, true},
        {"GET /+", "Authorization: x\n", true, false, false, true},
        {"GET /", "Cookie: a=b\n", true, true, true, true},
    };
    static const char *const controls[] = {"Cache-Control: max-age=60\n",
                                           "Cache-Control: s-maxage=60\n",
                                           "Cache-Control: public, max-age=60\n"};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool expected[] = {rows[i].plain, rows[i].s_maxage, rows[i].public_};
        struct fk_cache_ask ask = ask_of(rows[i].line, rows[i].fields);

        assert_int_equal(fk_cache_may_look(&ask), rows[i].look);
        for (size_t n = 0; n < 3; n++) {
            struct fk_cache_life life = {.control = facts_of(200, controls[n]).control};

            if (fk_cache_may_share(&ask, &life) != expected[n])
                fail_msg("row %zu, %zu", i, n);
        }
    }
}

static void pragma_counts_alone(void **state)
{
    struct fk_cache_ask ask = ask_of("GET /", "Pragma: no-cache\n");

    (void)state;
    assert_true(fk_cachecontrol_says(&ask.control, FK_CC_NO_CACHE));
    ask = ask_of("GET /", "Pragma: no-cache\nCache-Control: max-age=5\n"); /* section 5.4 */
    assert_false(fk_cachecontrol_says(&ask.control, FK_CC_NO_CACHE));
}

static void unsafe_methods_invalidate(void **state)
{
    static const struct {
        const char *line;
        int status;
        bool invalidates;
    } rows[] = {
        /* RFC 9111 section 4.4 */
        {"POST /", 200, true},  {"PUT /", 204, true},      {"DELETE /", 303, true},
        {"PATCH /", 200, true}, {"NOVEL /", 200, true},    {"POST /", 400, false},
        {"POST /", 500, false}, {"POST /", 101, false},    {"GET /", 200, false},
        {"HEAD /", 200, false}, {"OPTIONS /", 200, false}, {"PROPFIND /", 207, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_cache_ask ask = ask_of(rows[i].line, "");

        if (fk_cache_invalidates(&ask, rows[i].status) != rows[i].invalidates)
            fail_msg("row %zu", i);
    }
}

/* RFC 9111 section 3.2. */
static void freshening_replaces_fields(void **state)
{
    struct fk_http_headers stored, fresh;
    struct fk_reader value;

    (void)state;
    fk_http_headers_init(&stored, 4096, 16);
    fk_http_headers_init(&fresh, 4096, 16);
    add_lines(&stored, "ETag: \"a\"\nContent-Type: text/html\nX: 1\nX: 2\nAge: 7\nDate: old\n");
    add_lines(&fresh, "etag: \"b\"\nContent-Type: text/plain\nx: 3\nX: 4\nContent-Encoding: gzip\n"
                      "Content-Length: 5\nConnection: X\nDate: new\nNovel: 1\n");
    assert_ok(fk_cache_freshen(&stored, &fresh));
    assert_ok(fk_http_headers_find(&stored, "ETag", &value));
    assert_true(fk_http_equal(value, "\"b\""));
    assert_ok(fk_http_headers_find(&stored, "Content-Type", &value));
    assert_true(fk_http_equal(value, "text/html"));
    assert_int_equal(fk_http_headers_count(&stored, "X"), 2);
    assert_ok(fk_http_headers_find(&stored, "X", &value));
    assert_true(fk_http_equal(value, "3"));
    assert_ok(fk_http_headers_find(&stored, "Date", &value));
    assert_true(fk_http_equal(value, "new"));
    assert_int_equal(fk_http_headers_count(&stored, "Novel"), 1);
    assert_int_equal(fk_http_headers_count(&stored, "Age"), 0);
    assert_int_equal(fk_http_headers_count(&stored, "Content-Encoding"), 0);
    assert_int_equal(fk_http_headers_count(&stored, "Content-Length"), 0);
    assert_int_equal(fk_http_headers_count(&stored, "Connection"), 0);
    fk_http_headers_fini(&stored);
    fk_http_headers_fini(&fresh);
}

static int freshen_once(void *context)
{
    struct fk_http_headers stored, fresh;
    int err;

    (void)context;
    fk_http_headers_init(&stored, 4096, 16);
    fk_http_headers_init(&fresh, 4096, 16);
    if ((err = fk_http_headers_add_text(&stored, "ETag", "\"a\"")) == FK_OK &&
        (err = fk_http_headers_add_text(&fresh, "ETag", "\"b\"")) == FK_OK)
        err = fk_cache_freshen(&stored, &fresh);
    fk_http_headers_fini(&stored);
    fk_http_headers_fini(&fresh);
    return err;
}

static void freshening_without_memory(void **state)
{
    (void)state;
    assert_true(failmalloc_try(freshen_once, NULL) > 0);
}

/* --- keys --- */

static struct fk_cachekey key_of(const char *site, const char *authority, const char *path)
{
    struct fk_cachekey key;

    assert_ok(fk_cachekey_of(site, fk_http_text(authority), fk_http_text(path), &key));
    return key;
}

static void keys_are_of_sites_and_targets(void **state)
{
    static const struct {
        const char *site, *authority, *path;
        bool same;
    } rows[] = {
        {"s", "example.com", "/a?b", true},     {"s", "EXAMPLE.com", "/a?b", true},
        {"s", "example.com:443", "/a?b", true}, {"s", "example.com:444", "/a?b", false},
        {"s", "example.net", "/a?b", false},    {"t", "example.com", "/a?b", false},
        {"s", "example.com", "/A?b", false},    {"s", "example.com", "/a?B", false},
        {"s", "example.com", "/a", false},      {"s", "example.com", "/a?", false},
        {"s", "example.com", "//a?b", false},   {"se", "xample.com", "/a?b", false},
        {"s", "example.com/", "a?b", false},    {"s", "", "/a?b", false},
    };
    struct fk_cachekey key = key_of("s", "example.com", "/a?b"), other;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        other = key_of(rows[i].site, rows[i].authority, rows[i].path);
        if (fk_cachekey_same(&key, &other) != rows[i].same)
            fail_msg("row %zu", i);
    }
}

static void urls_name_targets(void **state)
{
    static const struct {
        const char *url, *authority, *path; /* no authority: refused */
    } rows[] = {
        {"https://example.com/a?b", "example.com", "/a?b"},
        {"HTTPS://example.com/a?b", "example.com", "/a?b"},
        {"http://example.com/a?b", "example.com", "/a?b"},
        {"https://example.com/a?b#c", "example.com", "/a?b"},
        {"https://example.com", "example.com", "/"},
        {"https://example.com/", "example.com", "/"},
        {"https://example.com:444/", "example.com:444", "/"},
        {"https://[::1]:444/x", "[::1]:444", "/x"},
        {"https://example.com?b", NULL, NULL},
        {"https:///a", NULL, NULL},
        {"https://user@example.com/a", NULL, NULL},
        {"https://example.com/a b", NULL, NULL},
        {"https://example.com/%zz", NULL, NULL},
        {"ftp://example.com/a", NULL, NULL},
        {"example.com/a", NULL, NULL},
        {"/a", NULL, NULL},
        {"", NULL, NULL},
    };
    struct fk_cachekey key, other;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int err = fk_cachekey_of_url("s", fk_http_text(rows[i].url), &key);

        if (err != (rows[i].authority == NULL ? FK_ERR_FORMAT : FK_OK))
            fail_msg("%s: %s", rows[i].url, fk_err_name(err));
        if (err != FK_OK)
            continue;
        other = key_of("s", rows[i].authority, rows[i].path);
        assert_true(fk_cachekey_same(&key, &other));
    }
}

/* RFC 9111 section 4.4: of the same origin, and of no other. */
static void answers_name_targets(void **state)
{
    static const struct {
        const char *value;
        const char *path; /* NULL: of no interest */
    } rows[] = {
        {"/b", "/b"},
        {"/b#c", "/b"},
        {"https://example.com/b", "/b"},
        {"https://example.com:443/b", "/b"},
        {"https://example.net/b", NULL},
        {"https://example.com:444/b", NULL},
        {"//example.net/b", NULL},
        {"b", NULL},
        {"", NULL},
    };
    struct fk_cachekey key, other;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int err;

        fk_http_response_reset(&response);
        assert_ok(fk_http_headers_add_text(&response.headers, "Location", rows[i].value));
        err = fk_cachekey_named("s", fk_http_text("example.com"), &response.headers, "Location",
                                &key);
        if (err != (rows[i].path == NULL ? FK_ERR_NOT_FOUND : FK_OK))
            fail_msg("%s: %s", rows[i].value, fk_err_name(err));
        if (err != FK_OK)
            continue;
        other = key_of("s", "example.com", rows[i].path);
        assert_true(fk_cachekey_same(&key, &other));
    }
    assert_err(fk_cachekey_named("s", fk_http_text("example.com"), &response.headers,
                                 "Content-Location", &key),
               FK_ERR_NOT_FOUND);
}

/* RFC 9111 section 4.1. */
static void variants_are_told_apart(void **state)
{
    static const struct {
        const char *vary, *one, *two;
        bool same;
    } rows[] = {
        {"", "", "Accept: x\n", true},
        {"Vary: Accept\n", "", "", true},
        {"Vary: Accept\n", "Accept: x\n", "accept: x\n", true},
        {"Vary: Accept\n", "Accept: x\n", "Accept: X\n", false},
        {"Vary: Accept\n", "Accept: x\n", "", false},
        {"Vary: Accept\n", "Accept:\n", "", false},
        {"Vary: Accept\n", "Accept: x, y\n", "Accept: x ,y\n", true},
        {"Vary: Accept\n", "Accept: x, y\n", "Accept: x\nAccept: y\n", true},
        {"Vary: Accept\n", "Accept: x, y\n", "Accept: y, x\n", false},
        {"Vary: Accept\n", "Accept: x\nCookie: a\n", "Accept: x\nCookie: b\n", true},
        {"Vary: accept, Cookie\n", "Accept: x\nCookie: a\n", "Accept: x\nCookie: b\n", false},
        {"Vary: Accept\nVary: Cookie\n", "Accept: x\nCookie: a\n", "Accept: x\nCookie: b\n", false},
        {"Vary: A, B\n", "A: x\n", "B: x\n", false},
        {"Vary: A, B\n", "A: x, y\n", "A: x\nB: y\n", false},
    };
    struct fk_cachekey key, other;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fk_http_response_reset(&response);
        add_lines(&response.headers, rows[i].vary);
        (void)ask_of("GET /", rows[i].one);
        assert_ok(fk_cachekey_variant(&response.headers, &request.headers, &key));
        (void)ask_of("GET /", rows[i].two);
        assert_ok(fk_cachekey_variant(&response.headers, &request.headers, &other));
        if (fk_cachekey_same(&key, &other) != rows[i].same)
            fail_msg("row %zu", i);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

UNIT_MAIN(CASE(storing_follows_its_rules), CASE(a_body_or_an_upgrade_is_never_stored),
          CASE(lifetimes_are_found), CASE(ages_are_counted), CASE(use_follows_its_rules),
          CASE(errors_are_bridged_where_allowed), CASE(requests_are_looked_up_and_answers_shared),
          CASE(pragma_counts_alone), CASE(unsafe_methods_invalidate),
          CASE(freshening_replaces_fields), CASE(freshening_without_memory),
          CASE(keys_are_of_sites_and_targets), CASE(urls_name_targets), CASE(answers_name_targets),
          CASE(variants_are_told_apart))
