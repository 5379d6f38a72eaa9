/* What a shared cache may do: see cachepolicy.h. */
#include "http/cachepolicy.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/date.h"
#include "http/text.h"
#include "http/validator.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool says(const struct fk_cachecontrol *control, enum fk_cachecontrol_directive directive)
{
    return fk_cachecontrol_says(control, directive);
}

static bool has(const struct fk_http_headers *headers, const char *name)
{
    return fk_http_headers_index(headers, name, 0) < headers->count;
}

/* --- requests --- */

static bool is_safe(const struct fk_http_request *request)
{
    static const char *const methods[] = {"GET",      "HEAD",   "OPTIONS", "TRACE",
                                          "PROPFIND", "REPORT", "SEARCH"};

    for (size_t i = 0; i < COUNT(methods); i++)
        if (fk_http_request_is(request, methods[i]))
            return true;
    return false;
}

static bool has_query(const struct fk_http_request *request)
{
    struct fk_reader path = fk_http_request_part(request, request->path), before;

    return fk_reader_until(&path, '?', &before) == FK_OK;
}

void fk_cache_ask_read(const struct fk_http_request *request, bool certificate,
                       struct fk_cache_ask *ret)
{
    const struct fk_http_headers *headers = &request->headers;
    struct fk_cache_ask ask = {
        .get = fk_http_request_is(request, "GET"),
        .head = fk_http_request_is(request, "HEAD"),
        .safe = is_safe(request),
        .body = request->framing != FK_HTTP_NO_BODY,
        .query = has_query(request),
        .secret = has(headers, "Authorization"),
        .certificate = certificate,
        .cookie = has(headers, "Cookie"),
        .range = has(headers, "Range"),
        .conditional = has(headers, "If-None-Match") || has(headers, "If-Modified-Since"),
        .guarded = has(headers, "If-Match") || has(headers, "If-Unmodified-Since"),
        .upgrade = request->upgrade,
    };

    fk_cachecontrol_read(headers, &ask.control);
    /* HTTP/1.0's word for it counts where the newer one says nothing (section 5.4). */
    if (!has(headers, "Cache-Control") && fk_http_headers_lists(headers, "Pragma", "no-cache"))
        ask.control.said |= 1U << FK_CC_NO_CACHE;
    *ret = ask;
}

/* --- answers --- */

/* The only field of this name as a date; false: none, several, or no date. */
static bool read_date(const struct fk_http_headers *headers, const char *name, int64_t now,
                      int64_t *ret)
{
    struct fk_reader value;

    return fk_http_headers_count(headers, name) == 1 &&
           fk_http_headers_find(headers, name, &value) == FK_OK &&
           fk_http_date_parse(value, now, ret) == FK_OK;
}

/* The first member counts; what is no number does not (section 5.1). */
static uint32_t read_age(const struct fk_http_headers *headers)
{
    struct fk_reader list, first;
    uint32_t age = 0;

    if (fk_http_headers_find(headers, "Age", &list) == FK_OK &&
        fk_http_list_next(&list, &first) == FK_OK)
        (void)fk_cachecontrol_seconds(first, &age);
    return age;
}

static bool varies_by_anything(const struct fk_http_headers *headers)
{
    size_t i = fk_http_headers_index(headers, "Vary", 0);
    struct fk_reader list, name;

    for (; i < headers->count; i = fk_http_headers_index(headers, "Vary", i + 1)) {
        list = fk_http_headers_value(headers, i);
        while (fk_http_list_next(&list, &name) == FK_OK)
            if (fk_http_equal(name, "*") || !fk_http_is_token(name))
                return true;
    }
    return false;
}

void fk_cache_facts_read(const struct fk_http_response *response, const struct fk_cache_now *now,
                         struct fk_cache_facts *ret)
{
    const struct fk_http_headers *headers = &response->headers;
    struct fk_http_etag etag;
    struct fk_cache_facts facts = {
        .status = response->status,
        .date = now->wall,
        .age = read_age(headers),
        .expires = has(headers, "Expires"),
        .expiry = INT64_MIN,
        .etag = fk_http_etag_of(headers, &etag) == FK_OK,
        .vary_any = varies_by_anything(headers),
        .cookie = has(headers, "Set-Cookie") || has(headers, "Set-Cookie2"),
    };

    fk_cachecontrol_read(headers, &facts.control);
    facts.dated = read_date(headers, "Date", now->wall, &facts.date);
    (void)read_date(headers, "Expires", now->wall, &facts.expiry);
    facts.changed = read_date(headers, "Last-Modified", now->wall, &facts.change);
    *ret = facts;
}

/* --- storing --- */

const char *fk_cache_verdict_text(enum fk_cache_verdict verdict)
{
    static const char *const texts[] = {
#define FK_CACHE_VERDICT_TEXT(id, text) text,
        FK_CACHE_VERDICTS(FK_CACHE_VERDICT_TEXT)
#undef FK_CACHE_VERDICT_TEXT
    };

    return texts[verdict];
}

/* Statuses that are understood here, and those among them that have a lifetime though nobody has
 * said one (RFC 9110 section 15.1). 206 and 304 are parts of others. */
static const struct {
    int status;
    bool heuristic;
} statuses[] = {
    {200, true},  {203, true}, {204, true}, {300, true}, {301, true}, {302, false}, {303, false},
    {307, false}, {308, true}, {404, true}, {405, true}, {410, true}, {414, true},  {501, true},
};

static bool knows_status(int status, bool heuristic)
{
    for (size_t i = 0; i < COUNT(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].heuristic || !heuristic;
    return false;
}

static bool states_lifetime(const struct fk_cache_facts *facts)
{
    return says(&facts->control, FK_CC_S_MAXAGE) || says(&facts->control, FK_CC_MAX_AGE) ||
           facts->expires;
}

/* Not by what it says of itself, but by who has asked (sections 3.5 and, for certificates, RFC 9440
 * section 3: stricter, as `public` alone tells that it is for all). */
static enum fk_cache_verdict judge_sharing(const struct fk_cache_ask *ask,
                                           const struct fk_cachecontrol *control)
{
    if (ask->certificate && !says(control, FK_CC_PUBLIC))
        return FK_CACHE_CERTIFICATE;
    if (ask->secret && !says(control, FK_CC_PUBLIC) && !says(control, FK_CC_S_MAXAGE) &&
        !says(control, FK_CC_MUST_REVALIDATE))
        return FK_CACHE_AUTHORIZATION;
    return FK_CACHE_STORE;
}

static enum fk_cache_verdict judge_answer(const struct fk_cache_facts *facts)
{
    if (facts->status == 206)
        return FK_CACHE_PARTIAL;
    if (!knows_status(facts->status, false))
        return FK_CACHE_STATUS;
    if (says(&facts->control, FK_CC_NO_STORE))
        return FK_CACHE_NO_STORE;
    if (says(&facts->control, FK_CC_PRIVATE))
        return FK_CACHE_PRIVATE;
    if (facts->control.malformed)
        return FK_CACHE_MALFORMED;
    if (facts->cookie)
        return FK_CACHE_SET_COOKIE;
    return facts->vary_any ? FK_CACHE_VARY : FK_CACHE_STORE;
}

/* It is of use: fresh for a while, or the origin can be asked whether it still holds. */
static enum fk_cache_verdict judge_lifetime(const struct fk_cache_ask *ask,
                                            const struct fk_cache_facts *facts)
{
    bool stated = states_lifetime(facts) || says(&facts->control, FK_CC_PUBLIC);

    if (ask->cookie && !stated)
        return FK_CACHE_COOKIE;
    if (says(&facts->control, FK_CC_NO_CACHE))
        return facts->etag || facts->changed ? FK_CACHE_STORE : FK_CACHE_LIFETIME;
    if (fk_cache_lifetime(ask, facts) > facts->age)
        return FK_CACHE_STORE;
    return stated && (facts->etag || facts->changed) ? FK_CACHE_STORE : FK_CACHE_LIFETIME;
}

enum fk_cache_verdict fk_cache_may_store(const struct fk_cache_ask *ask,
                                         const struct fk_cache_facts *facts)
{
    enum fk_cache_verdict verdict;

    if (!ask->get || ask->body || ask->upgrade)
        return FK_CACHE_METHOD;
    if (says(&ask->control, FK_CC_NO_STORE))
        return FK_CACHE_REQUEST_NO_STORE;
    if ((verdict = judge_answer(facts)) != FK_CACHE_STORE ||
        (verdict = judge_sharing(ask, &facts->control)) != FK_CACHE_STORE)
        return verdict;
    return judge_lifetime(ask, facts);
}

static uint32_t clamp(int64_t seconds)
{
    if (seconds <= 0)
        return 0;
    return seconds > FK_CACHECONTROL_MOST ? FK_CACHECONTROL_MOST : (uint32_t)seconds;
}

/* A date that is INT64_MIN is before all others. */
static uint32_t seconds_between(int64_t from, int64_t to)
{
    return to <= from ? 0 : clamp((int64_t)((uint64_t)to - (uint64_t)from));
}

static uint32_t guess_lifetime(const struct fk_cache_ask *ask, const struct fk_cache_facts *facts)
{
    uint32_t tenth = seconds_between(facts->change, facts->date) / 10;

    /* Queries: section 4.2.2 tells that they are seldom meant to be kept. */
    if (!facts->changed || ask->query ||
        (!knows_status(facts->status, true) && !says(&facts->control, FK_CC_PUBLIC)))
        return 0;
    return tenth < FK_CACHE_HEURISTIC_MAX ? tenth : FK_CACHE_HEURISTIC_MAX;
}

uint32_t fk_cache_lifetime(const struct fk_cache_ask *ask, const struct fk_cache_facts *facts)
{
    const struct fk_cachecontrol *control = &facts->control;

    if (says(control, FK_CC_S_MAXAGE))
        return control->seconds[FK_CC_S_MAXAGE];
    if (says(control, FK_CC_MAX_AGE))
        return control->seconds[FK_CC_MAX_AGE];
    if (facts->expires)
        return seconds_between(facts->date, facts->expiry);
    return guess_lifetime(ask, facts);
}

/* --- using --- */

void fk_cache_life_begin(const struct fk_cache_ask *ask, const struct fk_cache_facts *facts,
                         const struct fk_cache_now *now, uint32_t waited, struct fk_cache_life *ret)
{
    uint32_t apparent = seconds_between(facts->date, now->wall);
    uint32_t corrected = clamp((int64_t)facts->age + waited);

    *ret = (struct fk_cache_life){
        .control = facts->control,
        .lifetime = fk_cache_lifetime(ask, facts),
        .age = apparent > corrected ? apparent : corrected,
        .came = now->even,
    };
}

uint32_t fk_cache_age(const struct fk_cache_life *life, const struct fk_cache_now *now)
{
    uint64_t resident = now->even > life->came ? now->even - life->came : 0;

    return clamp((int64_t)(life->age + (resident < INT32_MAX ? resident : INT32_MAX)));
}

int64_t fk_cache_left(const struct fk_cache_life *life, const struct fk_cache_now *now)
{
    return (int64_t)life->lifetime - (int64_t)fk_cache_age(life, now);
}

bool fk_cache_may_look(const struct fk_cache_ask *ask)
{
    return (ask->get || ask->head) && !ask->body && !ask->upgrade && !ask->guarded &&
           !says(&ask->control, FK_CC_NO_STORE);
}

bool fk_cache_may_share(const struct fk_cache_ask *ask, const struct fk_cache_life *life)
{
    return judge_sharing(ask, &life->control) == FK_CACHE_STORE;
}

/* Section 4.2.4. s-maxage forbids clients to have it stale (max-stale), but not what the same
 * origin says itself (RFC 5861). */
static bool never_stale(const struct fk_cachecontrol *control, bool own_word)
{
    return says(control, FK_CC_MUST_REVALIDATE) || says(control, FK_CC_PROXY_REVALIDATE) ||
           says(control, FK_CC_NO_CACHE) || (!own_word && says(control, FK_CC_S_MAXAGE));
}

/* Whether the client, too, is content with this age (section 5.2.1). */
static bool suits(const struct fk_cachecontrol *wish, uint32_t age, int64_t left)
{
    if (says(wish, FK_CC_NO_CACHE))
        return false;
    if (says(wish, FK_CC_MAX_AGE) && age > wish->seconds[FK_CC_MAX_AGE])
        return false;
    return !says(wish, FK_CC_MIN_FRESH) || left >= (int64_t)wish->seconds[FK_CC_MIN_FRESH];
}

enum fk_cache_use fk_cache_judge(const struct fk_cache_ask *ask, const struct fk_cache_life *life,
                                 const struct fk_cache_now *now)
{
    const struct fk_cachecontrol *control = &life->control, *wish = &ask->control;
    uint32_t age = fk_cache_age(life, now);
    int64_t left = fk_cache_left(life, now);

    if (says(control, FK_CC_NO_CACHE) || !suits(wish, age, left))
        return FK_CACHE_REVALIDATE;
    if (left > 0)
        return FK_CACHE_USE;
    if (!never_stale(control, true) &&
        -left < (int64_t)control->seconds[FK_CC_STALE_WHILE_REVALIDATE])
        return FK_CACHE_USE_RENEW;
    if (says(wish, FK_CC_MAX_STALE) && !never_stale(control, false) &&
        -left <= (int64_t)wish->seconds[FK_CC_MAX_STALE])
        return FK_CACHE_USE;
    return FK_CACHE_REVALIDATE;
}

bool fk_cache_use_if_error(const struct fk_cache_life *life, const struct fk_cache_now *now)
{
    const struct fk_cachecontrol *control = &life->control;

    return !never_stale(control, true) && says(control, FK_CC_STALE_IF_ERROR) &&
           -fk_cache_left(life, now) <= (int64_t)control->seconds[FK_CC_STALE_IF_ERROR];
}

/* --- what other answers change --- */

/* What a 304 cannot change: the body is the stored one. */
static bool stays(struct fk_reader name)
{
    static const char *const names[] = {"Content-Length",     "Content-Encoding",  "Content-Type",
                                        "Content-Range",      "Transfer-Encoding", "Connection",
                                        "Keep-Alive",         "Trailer",           "Upgrade",
                                        "Proxy-Authenticate", "Proxy-Connection"};

    for (size_t i = 0; i < COUNT(names); i++)
        if (fk_http_equal_case(name, names[i]))
            return true;
    return false;
}

int fk_cache_freshen(struct fk_http_headers *stored, const struct fk_http_headers *fresh)
{
    int err = FK_OK;

    fk_http_headers_remove(stored, fk_http_text("Age"),
                           false); /* the 304's counts, if it has one */
    for (size_t i = 0; i < fresh->count; i++)
        if (!stays(fk_http_headers_name(fresh, i)))
            fk_http_headers_remove(stored, fk_http_headers_name(fresh, i), false);
    for (size_t i = 0; i < fresh->count && err == FK_OK; i++)
        if (!stays(fk_http_headers_name(fresh, i)))
            err = fk_http_headers_add(stored, fk_http_headers_name(fresh, i),
                                      fk_http_headers_value(fresh, i));
    return err;
}

bool fk_cache_invalidates(const struct fk_cache_ask *ask, int status)
{
    return !ask->safe && status >= 200 && status < 400;
}
