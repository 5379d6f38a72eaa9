/*
 * http/cachecontrol, date, range, validator, cachekey, cachepolicy: a message's fields, one a line,
 * are read as those of a request and of an answer. What says no-store or private, sets a cookie or
 * varies by all is never to be stored, whatever else it says; a directive that is read alone is
 * read behind others, too; a range lies within its body; a date that is written again is the same.
 */
#include "check.h"

#include "base/err.h"
#include "http/cachekey.h"
#include "http/cachepolicy.h"
#include "http/date.h"
#include "http/range.h"
#include "http/text.h"
#include "http/validator.h"

#define LENGTH 1000

static const struct fk_cache_now now = {1800000000, 100};

static void add_lines(struct fk_http_headers *headers, struct fk_reader text)
{
    struct fk_reader line, name, value;

    while (text.left > 0) {
        if (fk_reader_until(&text, '\n', &line) != FK_OK) {
            line = text;
            text.left = 0;
        }
        if (fk_http_field_line(line, &name, &value) == FK_HTTP_FAULT_NONE)
            (void)fk_http_headers_add(headers, name, value);
    }
}

static void check_date(struct fk_reader text)
{
    char written[FK_HTTP_DATE_SIZE];
    int64_t at, again;

    if (fk_http_date_parse(text, now.wall, &at) != FK_OK)
        return;
    fk_http_date_format(at, written);
    CHECK(fk_http_date_parse(fk_http_text(written), now.wall, &again) == FK_OK && again == at);
}

static void check_range(struct fk_reader text)
{
    struct fk_http_range range = fk_http_range_parse(text, LENGTH);

    CHECK(range.kind != FK_RANGE_PART || (range.first <= range.last && range.last < LENGTH));
    CHECK(fk_http_range_parse(text, 0).kind != FK_RANGE_PART);
}

static void check_control(struct fk_reader text)
{
    struct fk_cachecontrol alone = {0}, behind = {0};

    fk_cachecontrol_add(&alone, text);
    fk_cachecontrol_add(&behind, fk_http_text("x=\"a, b\", y"));
    fk_cachecontrol_add(&behind, text);
    CHECK(alone.said == behind.said && alone.malformed == behind.malformed);
    for (size_t i = 0; i < FK_CC_COUNT; i++)
        CHECK(alone.seconds[i] == behind.seconds[i]);
}

static void check_texts(const struct fk_http_headers *headers)
{
    struct fk_http_etag etag;
    struct fk_cachekey key;

    for (size_t i = 0; i < headers->count; i++) {
        struct fk_reader value = fk_http_headers_value(headers, i);

        check_date(value);
        check_range(value);
        check_control(value);
        if (fk_http_etag_parse(value, &etag) == FK_OK)
            CHECK(fk_http_etag_same(&etag, &etag, true) == !etag.weak);
        (void)fk_cachekey_of_url("site", value, &key);
    }
}

static void check_policy(struct fk_http_response *response, struct fk_http_request *request)
{
    struct fk_cache_facts facts;
    struct fk_cache_life life;
    struct fk_cache_ask ask;

    fk_cache_ask_read(request, true, &ask);
    fk_cache_facts_read(response, &now, &facts);
    if (fk_cache_may_store(&ask, &facts) == FK_CACHE_STORE) {
        CHECK(!fk_cachecontrol_says(&facts.control, FK_CC_NO_STORE));
        CHECK(!fk_cachecontrol_says(&facts.control, FK_CC_PRIVATE));
        CHECK(fk_cachecontrol_says(&facts.control, FK_CC_PUBLIC));
        CHECK(!facts.cookie && !facts.vary_any);
    }
    fk_cache_life_begin(&ask, &facts, &now, 1, &life);
    CHECK(fk_cache_age(&life, &now) >= facts.age);
    if (fk_cache_judge(&ask, &life, &now) == FK_CACHE_USE_RENEW)
        CHECK(fk_cache_left(&life, &now) <= 0);
    (void)fk_http_not_modified(&request->headers, &response->headers, now.wall);
    (void)fk_http_if_range(&request->headers, &response->headers, now.wall);
    (void)fk_cache_freshen(&request->headers, &response->headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_http_request request;
    struct fk_http_response response;
    struct fk_cachekey one, two;
    struct fk_reader text;

    fk_reader_init(&text, data, size);
    fk_http_request_init(&request, &fk_http_limits_default);
    fk_http_response_init(&response, &fk_http_limits_default);
    response.status = 200;
    add_lines(&request.headers, text);
    add_lines(&response.headers, text);
    (void)fk_http_headers_keep(&request.headers, fk_http_text("GET"), &request.method);
    check_texts(&response.headers);
    CHECK(fk_cachekey_variant(&response.headers, &request.headers, &one) == FK_OK);
    CHECK(fk_cachekey_variant(&response.headers, &request.headers, &two) == FK_OK);
    CHECK(fk_cachekey_same(&one, &two));
    check_policy(&response, &request);
    fk_http_request_fini(&request);
    fk_http_response_fini(&response);
    return 0;
}
