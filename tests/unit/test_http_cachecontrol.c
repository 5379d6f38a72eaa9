/* http/cachecontrol, http/date, http/range, http/validator, http/cachestatus: the texts of caching.
 */
#include "unit.h"

#include "base/err.h"
#include "http/cachecontrol.h"
#include "http/cachestatus.h"
#include "http/date.h"
#include "http/range.h"
#include "http/text.h"
#include "http/validator.h"

#include <stdio.h>

#define NOW 1800000000 /* 15 January 2027 */

static struct fk_http_headers headers, others;

static int set_up(void **state)
{
    (void)state;
    fk_http_headers_init(&headers, 4096, 10);
    fk_http_headers_init(&others, 4096, 10);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_http_headers_fini(&headers);
    fk_http_headers_fini(&others);
    return 0;
}

/* --- Cache-Control --- */

#define SAYS(id) (1U << FK_CC_##id)

static struct fk_cachecontrol read_control(const char *value)
{
    struct fk_cachecontrol control = {0};

    fk_cachecontrol_add(&control, fk_http_text(value));
    return control;
}

static void directives_are_read(void **state)
{
    static const struct {
        const char *value;
        uint32_t said;
        bool malformed;
    } rows[] = {
        /* RFC 9111 section 5.2: names in any case, lists with empty elements (RFC 9110 5.6.1) */
        {"", 0, false},
        {"no-store", SAYS(NO_STORE), false},
        {"No-Store", SAYS(NO_STORE), false},
        {"no-store,no-cache", SAYS(NO_STORE) | SAYS(NO_CACHE), false},
        {" ,, no-store ,\t, private ,", SAYS(NO_STORE) | SAYS(PRIVATE), false},
        {"public", SAYS(PUBLIC), false},
        {"must-revalidate, proxy-revalidate", SAYS(MUST_REVALIDATE) | SAYS(PROXY_REVALIDATE),
         false},
        {"only-if-cached", SAYS(ONLY_IF_CACHED), false},
        /* 5.2.2.4, 5.2.2.7: qualified forms count as unqualified; a comma in quotes is none */
        {"no-cache=\"Set-Cookie, public\"", SAYS(NO_CACHE), false},
        {"private=\"X\", public", SAYS(PRIVATE) | SAYS(PUBLIC), false},
        {"private=X", SAYS(PRIVATE), false},
        /* 5.2.3: extensions are passed over */
        {"community=\"UCI\", x=y, zz, public", SAYS(PUBLIC), false},
        {"x=\"a\\\"b, no-store\"", 0, false},
        {"no-stores, xno-store, no-store-", 0, false},
        /* no directives: what can be read of them holds, and the caller is told */
        {"no-store; private", SAYS(NO_STORE), true},
        {"no-store private", SAYS(NO_STORE), true},
        {"no-store=1", SAYS(NO_STORE), true},
        {"public=1", SAYS(PUBLIC), true},
        {"=1, no-store", SAYS(NO_STORE), true},
        {"\"no-store\", public", SAYS(PUBLIC), true},
        {"x=\"no-store", 0, true},
        {"x=\"a\"b, public", SAYS(PUBLIC), true},
        {"max-age =60", SAYS(MAX_AGE), true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_cachecontrol control = read_control(rows[i].value);

        if (control.said != rows[i].said || control.malformed != rows[i].malformed)
            fail_msg("%s: said %x, malformed %d", rows[i].value, control.said, control.malformed);
    }
}

static void seconds_are_read(void **state)
{
    static const struct {
        const char *value;
        uint32_t seconds;
    } rows[] = {
        {"max-age=0", 0},
        {"max-age=60", 60},
        {"MAX-AGE=060", 60},
        {"max-age=\"60\"", 60}, /* 5.2: both forms */
        {"max-age=2147483647", 2147483647U},
        {"max-age=2147483648", 2147483648U}, /* 1.2.2: so much and no more */
        {"max-age=2147483649", 2147483648U},
        {"max-age=99999999999999999999999", 2147483648U},
        {"max-age=60, public, max-age=60", 60}, /* said twice, not in two ways */
        /* 4.2.1: what cannot be understood is stale */
        {"max-age", 0},
        {"max-age=", 0},
        {"max-age=\"\"", 0},
        {"max-age=-1", 0},
        {"max-age=+1", 0},
        {"max-age=1.5", 0},
        {"max-age=6o", 0},
        {"max-age=\"60", 0},
        {"max-age=60, max-age=61", 0},
        {"max-age=61, max-age=60", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_cachecontrol control = read_control(rows[i].value);

        if (!fk_cachecontrol_says(&control, FK_CC_MAX_AGE) ||
            control.seconds[FK_CC_MAX_AGE] != rows[i].seconds)
            fail_msg("%s: %u", rows[i].value, control.seconds[FK_CC_MAX_AGE]);
    }
}

static void every_lifetime_has_its_place(void **state)
{
    struct fk_cachecontrol control =
        read_control("max-age=1, s-maxage=2, min-fresh=3, max-stale=4, stale-while-revalidate=5, "
                     "stale-if-error=6");

    (void)state;
    assert_int_equal(control.seconds[FK_CC_MAX_AGE], 1);
    assert_int_equal(control.seconds[FK_CC_S_MAXAGE], 2);
    assert_int_equal(control.seconds[FK_CC_MIN_FRESH], 3);
    assert_int_equal(control.seconds[FK_CC_MAX_STALE], 4);
    assert_int_equal(control.seconds[FK_CC_STALE_WHILE_REVALIDATE], 5);
    assert_int_equal(control.seconds[FK_CC_STALE_IF_ERROR], 6);
    control = read_control("max-stale"); /* 5.2.1.2: of any age */
    assert_int_equal(control.seconds[FK_CC_MAX_STALE], FK_CACHECONTROL_FOREVER);
}

static void all_fields_count(void **state)
{
    struct fk_cachecontrol control;

    (void)state;
    assert_ok(fk_http_headers_add_text(&headers, "cache-control", "max-age=60"));
    assert_ok(fk_http_headers_add_text(&headers, "Expires", "0"));
    assert_ok(fk_http_headers_add_text(&headers, "Cache-Control", "private"));
    fk_cachecontrol_read(&headers, &control);
    assert_int_equal(control.said, SAYS(MAX_AGE) | SAYS(PRIVATE));
    assert_ok(fk_http_headers_add_text(&headers, "Cache-Control", "max-age=61"));
    fk_cachecontrol_read(&headers, &control);
    assert_int_equal(control.seconds[FK_CC_MAX_AGE], 0);
}

/* --- dates --- */

static void dates_are_read_in_three_forms(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        /* RFC 9110 section 5.6.7 */
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800}, /* a leap second */
        {"Tue Nov 16 08:12:31 2027", 1826352751},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Sat, 01 Jan 0000 00:00:00 GMT", -62167219200},
        /* two digits: up to 50 years ahead of 2027 */
        {"Sunday, 06-Nov-77 08:49:37 GMT", 3403414177},
        {"Sunday, 06-Nov-78 08:49:37 GMT", 279190177},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_reader whole = fk_http_text(rows[i].text);
        int64_t seconds = 0;

        assert_ok(fk_http_date_parse(whole, NOW, &seconds));
        if (seconds != rows[i].seconds)
            fail_msg("%s: %lld", rows[i].text, (long long)seconds);
        while (whole.left-- > 0)
            assert_err(fk_http_date_parse(whole, NOW, &seconds), FK_ERR_FORMAT);
    }
}

static void what_is_no_date_is_refused(void **state)
{
    static const char *const rows[] = {
        "0",
        "-1",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Xun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 2023 00:00:00 GMT",
        "Tue, 29 Feb 1900 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 006 08:49:37 1994",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
    };
    int64_t seconds;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (fk_http_date_parse(fk_http_text(rows[i]), NOW, &seconds) != FK_ERR_FORMAT)
            fail_msg("%s", rows[i]);
}

static void dates_are_written(void **state)
{
    char text[FK_HTTP_DATE_SIZE];
    int64_t back;

    (void)state;
    fk_http_date_format(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    for (int64_t at = -62167219200; at < 253402300799; at += 86400 * 97 + 12345) {
        fk_http_date_format(at, text);
        assert_ok(fk_http_date_parse(fk_http_text(text), NOW, &back));
        assert_true(back == at);
    }
    fk_http_date_format(INT64_MAX, text);
    assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
    fk_http_date_format(INT64_MIN, text);
    assert_string_equal(text, "Sat, 01 Jan 0000 00:00:00 GMT");
}

/* --- ranges --- */

static void ranges_are_read(void **state)
{
    static const struct {
        const char *value;
        uint64_t length;
        enum fk_http_range_kind kind;
        uint64_t first, last;
    } rows[] = {
        /* RFC 9110 section 14.1.2 */
        {"bytes=0-499", 10000, FK_RANGE_PART, 0, 499},
        {"bytes=500-999", 10000, FK_RANGE_PART, 500, 999},
        {"bytes=9500-", 10000, FK_RANGE_PART, 9500, 9999},
        {"bytes=-500", 10000, FK_RANGE_PART, 9500, 9999},
        {"bytes=-20000", 10000, FK_RANGE_PART, 0, 9999},
        {"bytes=0-0", 10000, FK_RANGE_PART, 0, 0},
        {"BYTES= 0-0", 10000, FK_RANGE_PART, 0, 0},
        {"bytes=9999-20000", 10000, FK_RANGE_PART, 9999, 9999},
        {"bytes=0-99999999999999999999999", 10000, FK_RANGE_PART, 0, 9999},
        {"bytes=10000-", 10000, FK_RANGE_OUTSIDE, 0, 0},
        {"bytes=99999999999999999999999-", 10000, FK_RANGE_OUTSIDE, 0, 0},
        {"bytes=-0", 10000, FK_RANGE_OUTSIDE, 0, 0},
        {"bytes=0-", 0, FK_RANGE_OUTSIDE, 0, 0},
        {"bytes=-5", 0, FK_RANGE_OUTSIDE, 0, 0},
        /* passed over (14.2) */
        {"bytes=0-0,-1", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes=5-4", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes=", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes=-", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes=x-5", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes=1-x", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes=1 -2", 10000, FK_RANGE_WHOLE, 0, 0},
        {"bytes=+1-2", 10000, FK_RANGE_WHOLE, 0, 0},
        {"lines=0-5", 10000, FK_RANGE_WHOLE, 0, 0},
        {"", 10000, FK_RANGE_WHOLE, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_http_range range =
            fk_http_range_parse(fk_http_text(rows[i].value), rows[i].length);

        if (range.kind != rows[i].kind ||
            (range.kind == FK_RANGE_PART &&
             (range.first != rows[i].first || range.last != rows[i].last)))
            fail_msg("%s", rows[i].value);
    }
}

static void ranges_are_written(void **state)
{
    struct fk_http_range range = {FK_RANGE_PART, 500, 999};
    char text[FK_HTTP_RANGE_TEXT_SIZE];

    (void)state;
    fk_http_range_format(&range, 1234, text);
    assert_string_equal(text, "bytes 500-999/1234");
    range.kind = FK_RANGE_OUTSIDE;
    fk_http_range_format(&range, 1234, text);
    assert_string_equal(text, "bytes */1234");
    range = (struct fk_http_range){FK_RANGE_PART, UINT64_MAX, UINT64_MAX};
    fk_http_range_format(&range, UINT64_MAX, text);
    assert_int_equal(strlen(text), strlen("bytes /-") + 3 * (size_t)20);
}

/* --- validators --- */

static void entity_tags_are_read(void **state)
{
    static const struct {
        const char *text;
        bool good, weak;
        const char *tag;
    } rows[] = {
        {"\"xyzzy\"", true, false, "xyzzy"},
        {"W/\"xyzzy\"", true, true, "xyzzy"},
        {"\"\"", true, false, ""},
        {"\"a,b\\\"", true, false, "a,b\\"},
        {"w/\"x\"", false, false, ""},
        {"x", false, false, ""},
        {"\"x", false, false, ""},
        {"x\"", false, false, ""},
        {"\"x y\"", false, false, ""},
        {"\"x\" ", false, false, ""},
        {"", false, false, ""},
        {"W/", false, false, ""},
        {"\"x\"\"y\"", false, false, ""},
        {"*", false, false, ""},
    };
    struct fk_http_etag etag;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int err = fk_http_etag_parse(fk_http_text(rows[i].text), &etag);

        assert_err(err, rows[i].good ? FK_OK : FK_ERR_FORMAT);
        if (rows[i].good)
            assert_true(etag.weak == rows[i].weak && fk_http_equal(etag.opaque, rows[i].tag));
    }
}

/* RFC 9110 section 8.8.3.2, its table. */
static void entity_tags_are_compared(void **state)
{
    static const struct {
        const char *a, *b;
        bool strong, weak;
    } rows[] = {
        {"W/\"1\"", "W/\"1\"", false, true},
        {"W/\"1\"", "W/\"2\"", false, false},
        {"W/\"1\"", "\"1\"", false, true},
        {"\"1\"", "\"1\"", true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_http_etag a, b;

        assert_ok(fk_http_etag_parse(fk_http_text(rows[i].a), &a));
        assert_ok(fk_http_etag_parse(fk_http_text(rows[i].b), &b));
        assert_int_equal(fk_http_etag_same(&a, &b, true), rows[i].strong);
        assert_int_equal(fk_http_etag_same(&a, &b, false), rows[i].weak);
    }
}

static void add(struct fk_http_headers *to, const char *name, const char *value)
{
    if (value != NULL)
        assert_ok(fk_http_headers_add_text(to, name, value));
}

#define T0 "Sun, 06 Nov 1994 08:49:37 GMT"
#define T1 "Sun, 06 Nov 1994 08:49:38 GMT"

static void conditions_are_evaluated(void **state)
{
    static const struct {
        const char *none_match, *since;    /* of the request */
        const char *etag, *changed, *date; /* of what is stored */
        bool unmodified;
    } rows[] = {
        /* RFC 9110 section 13.1.2 */
        {NULL, NULL, "\"a\"", T0, T1, false},
        {"\"a\"", NULL, "\"a\"", NULL, T1, true},
        {"W/\"a\"", NULL, "\"a\"", NULL, T1, true},
        {"\"a\"", NULL, "W/\"a\"", NULL, T1, true},
        {"\"b\"", NULL, "\"a\"", NULL, T1, false},
        {"\"b\", \"a\"", NULL, "\"a\"", NULL, T1, true},
        {"\"b\" , ,W/\"c,d\",\"a\"", NULL, "\"a\"", NULL, T1, true},
        {"\"b,\"a\"", NULL, "\"a\"", NULL, T1, false},
        {"a", NULL, "\"a\"", NULL, T1, false},
        {"*", NULL, "\"a\"", NULL, T1, true},
        {"*", NULL, NULL, NULL, T1, true},
        {"\"*\"", NULL, "\"a\"", NULL, T1, false},
        {"\"a\"", NULL, NULL, T0, T1, false},
        {"\"a\"", NULL, "a", T0, T1, false},
        /* with If-None-Match, the other is not looked at (13.1.3) */
        {"\"b\"", T1, "\"a\"", T0, T1, false},
        {NULL, T1, "\"a\"", T0, T1, true},
        {NULL, T0, NULL, T0, T1, true},
        {NULL, T0, NULL, T1, T1, false},
        {NULL, "yesterday", NULL, T0, T1, false},
        /* RFC 9111 section 4.3.2: without Last-Modified, its Date */
        {NULL, T1, NULL, NULL, T1, true},
        {NULL, T0, NULL, NULL, T1, false},
        {NULL, T0, NULL, NULL, NULL, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fk_http_headers_reset(&headers);
        fk_http_headers_reset(&others);
        add(&headers, "If-None-Match", rows[i].none_match);
        add(&headers, "If-Modified-Since", rows[i].since);
        add(&others, "ETag", rows[i].etag);
        add(&others, "Last-Modified", rows[i].changed);
        add(&others, "Date", rows[i].date);
        if (fk_http_not_modified(&headers, &others, NOW) != rows[i].unmodified)
            fail_msg("row %zu", i);
    }
}

static void if_range_is_strong(void **state)
{
    static const struct {
        const char *if_range, *etag, *changed, *date;
        bool holds;
    } rows[] = {
        /* RFC 9110 section 13.1.5 */
        {NULL, NULL, NULL, NULL, true},
        {"\"a\"", "\"a\"", NULL, NULL, true},
        {"\"a\"", "\"b\"", NULL, NULL, false},
        {"\"a\"", "W/\"a\"", NULL, NULL, false},
        {"W/\"a\"", "W/\"a\"", NULL, NULL, false},
        {"\"a\"", NULL, T0, T1, false},
        {T0, "\"a\"", T0, T1, true},
        {T0, NULL, T0, T0, false}, /* 8.8.2.2: changed in the second in which it was sent */
        {T0, NULL, T0, NULL, false},
        {T1, NULL, T0, T1, false},
        {"yesterday", NULL, T0, T1, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fk_http_headers_reset(&headers);
        fk_http_headers_reset(&others);
        add(&headers, "If-Range", rows[i].if_range);
        add(&others, "ETag", rows[i].etag);
        add(&others, "Last-Modified", rows[i].changed);
        add(&others, "Date", rows[i].date);
        if (fk_http_if_range(&headers, &others, NOW) != rows[i].holds)
            fail_msg("row %zu", i);
    }
    add(&headers, "If-Range", T0);
    assert_false(fk_http_if_range(&headers, &others, NOW)); /* twice */
}

/* --- Cache-Status --- */

static void cache_status_is_written(void **state)
{
    static const struct {
        struct fk_cachestatus status;
        const char *text;
    } rows[] = {
        /* RFC 9211 section 2 */
        {{.hit = true, .has_ttl = true, .ttl = 30}, "farkey; hit; ttl=30"},
        {{.hit = true, .has_ttl = true, .ttl = -412}, "farkey; hit; ttl=-412"},
        {{.forward = FK_CACHE_FWD_URI_MISS, .stored = true}, "farkey; fwd=uri-miss; stored"},
        {{.forward = FK_CACHE_FWD_STALE, .forward_status = 304, .collapsed = true},
         "farkey; fwd=stale; fwd-status=304; collapsed"},
        {{.forward = FK_CACHE_FWD_BYPASS, .detail = "private"},
         "farkey; fwd=bypass; detail=private"},
        {{0}, "farkey"},
    };
    struct fk_reader value;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fk_http_headers_reset(&headers);
        assert_ok(fk_cachestatus_add(&headers, "farkey", &rows[i].status));
        assert_ok(fk_http_headers_find(&headers, "Cache-Status", &value));
        if (!fk_http_equal(value, rows[i].text))
            fail_msg("%.*s", (int)value.left, value.next);
    }
    /* nearer to the client comes last */
    assert_ok(fk_cachestatus_add(&headers, "second", &rows[0].status));
    assert_ok(fk_http_headers_find(&headers, "cache-status", &value));
    assert_true(fk_http_equal(value, "farkey, second; hit; ttl=30"));
    assert_int_equal(fk_http_headers_count(&headers, "Cache-Status"), 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

UNIT_MAIN(CASE(directives_are_read), CASE(seconds_are_read), CASE(every_lifetime_has_its_place),
          CASE(all_fields_count), CASE(dates_are_read_in_three_forms),
          CASE(what_is_no_date_is_refused), CASE(dates_are_written), CASE(ranges_are_read),
          CASE(ranges_are_written), CASE(entity_tags_are_read), CASE(entity_tags_are_compared),
          CASE(conditions_are_evaluated), CASE(if_range_is_strong), CASE(cache_status_is_written))
