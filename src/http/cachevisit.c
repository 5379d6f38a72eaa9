/* One request's visit to a cache: see cachevisit.h. */
#include "http/cachevisit.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/cacheplan.h"
#include "http/date.h"
#include "http/text.h"
#include "http/validator.h"

#include <assert.h>
#include <stdlib.h>

struct fk_cachevisit {
    struct fk_cachevisit_conf conf;
    const struct fk_cacheview *view;
    struct fk_http_request *request;
    enum fk_cachevisit_state state;
    struct fk_cache_ask ask;
    struct fk_cachekey key;
    struct fk_flight flight;
    struct fk_flight_waiter waiter;
    struct fk_cached *stored; /* what is served, or revalidated */
    struct fk_cached *fresh;  /* what is being written */
    struct fk_cacheplan plan; /* of what is stored */
    uint64_t asked;           /* when, by the even clock */
    struct fk_cachestatus status;
};

/* --- the machine --- */

#define TO(state) (FK_VISIT_##state + 1) /* zero is an empty cell */

static const uint8_t next_states[FK_VISIT_STATES][FK_VISIT_FACTS] = {
    [FK_VISIT_PASS] =
        {
            [FK_VISIT_STORED] = TO(SERVE),
            [FK_VISIT_UNDER_WAY] = TO(WAIT),
            [FK_VISIT_WANTED] = TO(ASK),
            [FK_VISIT_NOT_FOR_US] = TO(PASS),
        },
    [FK_VISIT_WAIT] =
        {
            [FK_VISIT_STORED] = TO(SERVE),
            [FK_VISIT_UNDER_WAY] = TO(WAIT),
            [FK_VISIT_WANTED] = TO(ASK),
            [FK_VISIT_NOT_FOR_US] = TO(PASS),
        },
    /* confirmed or bridged; or it turns out not to be for storing */
    [FK_VISIT_ASK] = {[FK_VISIT_STORED] = TO(SERVE), [FK_VISIT_NOT_FOR_US] = TO(PASS)},
};

enum fk_cachevisit_state fk_cachevisit_next(enum fk_cachevisit_state state,
                                            enum fk_cachevisit_fact fact)
{
    uint8_t cell = next_states[state][fact];

    return cell == 0 ? FK_VISIT_STATES : (enum fk_cachevisit_state)(cell - 1);
}

static void go(struct fk_cachevisit *visit, enum fk_cachevisit_fact fact)
{
    enum fk_cachevisit_state next = fk_cachevisit_next(visit->state, fact);

    assert(next < FK_VISIT_STATES);
    visit->state = next;
}

enum fk_cachevisit_state fk_cachevisit_state(const struct fk_cachevisit *visit)
{
    return visit->state;
}

static struct fk_cache_now now_of(const struct fk_cachevisit *visit)
{
    struct fk_cache_now now;

    visit->view->clock(&now);
    return now;
}

static void count(struct fk_cachevisit *visit, enum fk_cache_count what)
{
    visit->view->count(visit->view, what);
}

/* --- to the origin --- */

/* This request's answer is of no use to others. */
static void pass(struct fk_cachevisit *visit, const char *detail)
{
    visit->status.detail = detail;
    go(visit, FK_VISIT_NOT_FOR_US);
}

/* Ask the origin whether what is stored still holds (RFC 9111 section 4.3.1), or for all of it. */
static int make_conditional(struct fk_cachevisit *visit)
{
    static const char *const replaced[] = {"If-None-Match", "If-Modified-Since", "If-Range",
                                           "Range"};
    const struct fk_http_headers *stored = &visit->stored->headers;
    struct fk_http_headers *headers = &visit->request->headers;
    struct fk_reader value;
    int err = FK_OK;

    for (size_t i = 0; i < sizeof replaced / sizeof replaced[0]; i++)
        fk_http_headers_remove(headers, fk_http_text(replaced[i]), false);
    if (fk_http_headers_find(stored, "ETag", &value) == FK_OK)
        err = fk_http_headers_add(headers, fk_http_text("If-None-Match"), value);
    if (err == FK_OK && fk_http_headers_find(stored, "Last-Modified", &value) == FK_OK)
        err = fk_http_headers_add(headers, fk_http_text("If-Modified-Since"), value);
    return err == FK_ERR_LIMIT ? FK_OK : err; /* then the whole answer comes */
}

/* Whether others who ask for the same may wait for this one's answer, and this one for others'. */
static bool is_common(const struct fk_cachevisit *visit)
{
    const struct fk_cachecontrol *wish = &visit->ask.control;

    return visit->ask.get && !visit->ask.secret && !visit->ask.certificate &&
           !fk_cachecontrol_says(wish, FK_CC_NO_CACHE) &&
           !fk_cachecontrol_says(wish, FK_CC_MAX_AGE) &&
           !fk_cachecontrol_says(wish, FK_CC_MIN_FRESH) &&
           (visit->stored != NULL || (!visit->ask.range && !visit->ask.conditional));
}

static int ask_origin(struct fk_cachevisit *visit, const struct fk_cache_now *now, bool alone)
{
    bool lead = is_common(visit) && !alone;

    visit->asked = now->even;
    if (visit->stored == NULL && (visit->ask.range || visit->ask.conditional || !visit->ask.get)) {
        pass(visit, visit->ask.range ? "range" : NULL);
        return FK_OK;
    }
    fk_flight_begin(fk_cachestore_flights(visit->view->store), &visit->flight, &visit->key,
                    lead ? now->even + FK_CACHE_WAIT_SECONDS : 0);
    go(visit, FK_VISIT_WANTED);
    return visit->stored == NULL ? FK_OK : make_conditional(visit);
}

/* --- from what is stored --- */

static void serve(struct fk_cachevisit *visit, const struct fk_cache_now *now)
{
    visit->status.has_ttl = true;
    visit->status.ttl = fk_cache_left(&visit->stored->life, now);
    fk_cacheplan_start(&visit->plan, visit->stored);
    go(visit, FK_VISIT_STORED);
}

/* only-if-cached (section 5.2.1.7) */
static bool serve_timeout(struct fk_cachevisit *visit)
{
    if (!fk_cachecontrol_says(&visit->ask.control, FK_CC_ONLY_IF_CACHED))
        return false;
    fk_cached_unref(visit->stored);
    visit->stored = NULL;
    visit->plan = (struct fk_cacheplan){.kind = FK_PLAN_TIMEOUT};
    visit->status.detail = "only-if-cached";
    visit->status.forward = FK_CACHE_FWD_NONE;
    go(visit, FK_VISIT_STORED);
    return true;
}

/* Nobody's own request is sent again when he is not there. */
static bool may_renew(const struct fk_cachevisit *visit)
{
    return visit->view->renew != NULL && !visit->ask.secret && !visit->ask.certificate;
}

/* Have it revalidated behind the client's back, once. */
static void renew(struct fk_cachevisit *visit)
{
    const struct fk_cacheview *view = visit->view;

    if (!fk_flight_led(fk_cachestore_flights(view->store), &visit->key))
        view->renew(view, visit->request);
}

/* Whether what is stored answers, as it is. */
static bool answer_at_once(struct fk_cachevisit *visit, const struct fk_cache_now *now)
{
    enum fk_cache_use use;

    if (visit->stored == NULL)
        return false;
    fk_cacheplan_make(&visit->plan, &visit->ask, visit->request, visit->stored, now);
    use = fk_cache_judge(&visit->ask, &visit->stored->life, now);
    if (use == FK_CACHE_USE_RENEW && !may_renew(visit))
        use = FK_CACHE_REVALIDATE;
    if (use == FK_CACHE_REVALIDATE || visit->conf.renewal)
        return false;
    visit->status.hit = !visit->status.collapsed;
    if (visit->status.collapsed)
        count(visit, FK_CACHE_COUNT_COLLAPSED);
    else if (fk_cache_left(&visit->stored->life, now) > 0)
        count(visit, FK_CACHE_COUNT_HITS);
    else
        count(visit, FK_CACHE_COUNT_STALE);
    if (use == FK_CACHE_USE_RENEW)
        renew(visit);
    serve(visit, now);
    return true;
}

static enum fk_cache_forward why_forward(const struct fk_cachevisit *visit, bool known,
                                         const struct fk_cache_now *now)
{
    if (visit->stored == NULL)
        return known ? FK_CACHE_FWD_VARY_MISS : FK_CACHE_FWD_URI_MISS;
    if (fk_cache_left(&visit->stored->life, now) > 0)
        return FK_CACHE_FWD_REQUEST;
    return FK_CACHE_FWD_STALE;
}

/* Whether what is stored bridges an error (RFC 5861 section 4); those who wait do the same. */
static bool bridged(struct fk_cachevisit *visit, int status)
{
    struct fk_cache_now now = now_of(visit);

    if (visit->stored == NULL || visit->conf.renewal ||
        !fk_cache_use_if_error(&visit->stored->life, &now))
        return false;
    count(visit, FK_CACHE_COUNT_STALE);
    visit->status.forward_status = status;
    visit->status.detail = "stale-if-error";
    fk_flight_tell(&visit->flight, FK_FLIGHT_FAILED);
    serve(visit, &now);
    return true;
}

/* `alone`: nobody is waited for, and nobody waits. */
static int look(struct fk_cachevisit *visit, bool alone)
{
    struct fk_cachestore *store = visit->view->store;
    struct fk_cache_now now = now_of(visit);
    bool known;

    visit->stored =
        fk_cachestore_find(store, &visit->key, &visit->request->headers, &visit->ask, &known);
    if (answer_at_once(visit, &now))
        return FK_OK;
    visit->status.forward = why_forward(visit, known, &now);
    if (serve_timeout(visit))
        return FK_OK;
    alone = alone || visit->conf.renewal || fk_cachestore_marked(store, &visit->key, now.even);
    if (!alone && is_common(visit) &&
        fk_flight_join(fk_cachestore_flights(store), &visit->key, &visit->waiter)) {
        fk_cached_unref(visit->stored);
        visit->stored = NULL;
        go(visit, FK_VISIT_UNDER_WAY);
        return FK_OK;
    }
    return ask_origin(visit, &now, alone && !visit->conf.renewal);
}

/* Whoever was waited for has bridged an error. */
static bool bridge_too(struct fk_cachevisit *visit)
{
    struct fk_cache_now now = now_of(visit);
    bool known;

    visit->stored = fk_cachestore_find(visit->view->store, &visit->key, &visit->request->headers,
                                       &visit->ask, &known);
    if (visit->stored != NULL) {
        fk_cacheplan_make(&visit->plan, &visit->ask, visit->request, visit->stored, &now);
        visit->status.collapsed = bridged(visit, 0);
        if (visit->state == FK_VISIT_SERVE)
            return true;
    }
    fk_cached_unref(visit->stored);
    visit->stored = NULL;
    return false;
}

int fk_cachevisit_poll(struct fk_cachevisit *visit)
{
    enum fk_flight_news news = visit->waiter.news;

    if (visit->state != FK_VISIT_WAIT || news == FK_FLIGHT_NO_NEWS)
        return FK_OK;
    if (news == FK_FLIGHT_FAILED && bridge_too(visit))
        return FK_OK;
    visit->status.collapsed = news == FK_FLIGHT_STORED;
    /* Whoever asked has gone: one of those who waited asks for all. Else nobody waits twice. */
    return look(visit, news != FK_FLIGHT_GONE);
}

/* --- begin and end --- */

static void wake(struct fk_flight_waiter *waiter)
{
    struct fk_cachevisit *visit = fk_container(waiter, struct fk_cachevisit, waiter);

    visit->conf.wake(visit->conf.wake_arg);
}

static int begin(struct fk_cachevisit *visit)
{
    const struct fk_http_request *request = visit->request;
    int err;

    fk_cache_ask_read(request, visit->conf.certificate, &visit->ask);
    err = fk_cachekey_of(visit->view->site, fk_http_request_part(request, request->authority),
                         fk_http_request_part(request, request->path), &visit->key);
    if (err != FK_OK)
        return err;
    if (fk_cache_may_look(&visit->ask))
        return look(visit, false);
    visit->status.forward =
        visit->ask.get || visit->ask.head ? FK_CACHE_FWD_REQUEST : FK_CACHE_FWD_METHOD;
    pass(visit, NULL);
    return FK_OK;
}

int fk_cachevisit_new(const struct fk_cachevisit_conf *conf, struct fk_http_request *request,
                      struct fk_cachevisit **ret)
{
    struct fk_cachevisit *visit = calloc(1, sizeof *visit);
    int err;

    if (visit == NULL)
        return FK_ERR_NOMEM;
    visit->conf = *conf;
    visit->view = conf->view;
    visit->request = request;
    visit->state = FK_VISIT_PASS;
    fk_flight_init(&visit->flight);
    fk_flight_waiter_init(&visit->waiter, wake);
    if ((err = begin(visit)) != FK_OK) {
        fk_cachevisit_free(visit);
        return err;
    }
    *ret = visit;
    return FK_OK;
}

void fk_cachevisit_free(struct fk_cachevisit *visit)
{
    if (visit == NULL)
        return;
    fk_flight_leave(&visit->waiter);
    fk_flight_end(&visit->flight);
    fk_cached_unref(visit->fresh);
    fk_cached_unref(visit->stored);
    free(visit);
}

/* --- what the origin says --- */

/* It will not be stored after all: nobody need wait. `lasting`: nor will the next one. */
static void give_up(struct fk_cachevisit *visit, bool lasting)
{
    fk_cached_unref(visit->fresh);
    visit->fresh = NULL;
    if (visit->state == FK_VISIT_ASK)
        go(visit, FK_VISIT_NOT_FOR_US);
    if (lasting && visit->flight.leads)
        fk_cachestore_mark(visit->view->store, &visit->key,
                           now_of(visit).even + FK_CACHE_MARK_SECONDS);
    fk_flight_tell(&visit->flight, FK_FLIGHT_NOT_STORED);
    fk_flight_end(&visit->flight);
}

/* Section 4.4: what was changed, and what the answer says was made or changed with it. */
static void invalidate(struct fk_cachevisit *visit, const struct fk_http_response *response)
{
    static const char *const fields[] = {"Location", "Content-Location"};
    const struct fk_http_request *request = visit->request;
    struct fk_reader authority = fk_http_request_part(request, request->authority);
    struct fk_cachekey key;

    if (!fk_cache_invalidates(&visit->ask, response->status))
        return;
    (void)fk_cachestore_purge(visit->view->store, &visit->key);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fk_cachekey_named(visit->view->site, authority, &response->headers, fields[i], &key) ==
            FK_OK)
            (void)fk_cachestore_purge(visit->view->store, &key);
}

static struct fk_cachestore_place place_of(const struct fk_cachevisit *visit)
{
    struct fk_cache_now now = now_of(visit);

    return (struct fk_cachestore_place){
        .key = &visit->key,
        .group = visit->view->group,
        .request = &visit->request->headers,
        .ask = &visit->ask,
        .now = now,
        .waited = (uint32_t)(now.even > visit->asked ? now.even - visit->asked : 0),
    };
}

/* Whether a 304 speaks of what is stored: its entity tag, if it has a strong one, is the same
 * (section 4.3.4). */
static bool is_of_stored(const struct fk_cachevisit *visit, const struct fk_http_response *response)
{
    struct fk_http_etag stored, said;

    return fk_http_etag_of(&response->headers, &said) != FK_OK || said.weak ||
           fk_http_etag_of(&visit->stored->headers, &stored) != FK_OK ||
           fk_http_etag_same(&stored, &said, false);
}

/* RFC 9110 section 6.6.1: a cache needs to know when it came. */
static int add_date(struct fk_http_headers *headers, int64_t wall)
{
    char date[FK_HTTP_DATE_SIZE];
    int err;

    if (fk_http_headers_index(headers, "Date", 0) < headers->count)
        return FK_OK;
    fk_http_date_format(wall, date);
    err = fk_http_headers_add_text(headers, "Date", date);
    return err == FK_ERR_LIMIT ? FK_OK : err; /* a head without room goes without */
}

/* The origin has confirmed what is stored. */
static void confirmed(struct fk_cachevisit *visit, const struct fk_http_response *response)
{
    struct fk_cachestore_place place = place_of(visit);
    struct fk_cached *fresh;

    visit->status.forward_status = 304;
    count(visit, FK_CACHE_COUNT_REVALIDATED);
    if (visit->flight.doomed || !is_of_stored(visit, response)) {
        if (!visit->flight.doomed)
            (void)fk_cachestore_purge(visit->view->store, &visit->key);
        give_up(visit, false);
    } else if (fk_cachestore_freshen(visit->view->store, visit->stored, &place, response, &fresh) ==
               FK_OK) {
        fk_cached_unref(visit->stored);
        visit->stored = fresh;
        visit->status.stored = true;
        fk_flight_tell(&visit->flight, FK_FLIGHT_STORED);
    }
    serve(visit, &place.now);
}

bool fk_cachevisit_failed(struct fk_cachevisit *visit)
{
    if (visit->state == FK_VISIT_ASK && bridged(visit, 0))
        return true;
    if (visit->state == FK_VISIT_ASK)
        give_up(visit, false);
    return false;
}

/* A body whose end can be missed without anybody noticing is not for storing. */
static enum fk_cache_verdict judge(const struct fk_cachevisit *visit,
                                   const struct fk_http_response *response)
{
    struct fk_cache_now now = now_of(visit);
    struct fk_cache_facts facts;

    if (response->framing == FK_HTTP_CLOSE || response->framing == FK_HTTP_TUNNEL)
        return FK_CACHE_CUT;
    fk_cache_facts_read(response, &now, &facts);
    return fk_cache_may_store(&visit->ask, &facts);
}

static void begin_to_store(struct fk_cachevisit *visit, const struct fk_http_response *response)
{
    enum fk_cache_verdict verdict = judge(visit, response);
    struct fk_cachestore_place place = place_of(visit);

    if (verdict == FK_CACHE_STORE &&
        fk_cachestore_begin(visit->view->store, &place, response, &visit->fresh) != FK_OK)
        verdict = FK_CACHE_LARGE;
    visit->status.stored = verdict == FK_CACHE_STORE;
    if (verdict == FK_CACHE_STORE)
        return;
    visit->status.detail = fk_cache_verdict_text(verdict);
    give_up(visit, response->status < 500);
}

int fk_cachevisit_answered(struct fk_cachevisit *visit, struct fk_http_response *response)
{
    int err;

    invalidate(visit, response);
    if ((err = add_date(&response->headers, now_of(visit).wall)) != FK_OK)
        return err;
    if (visit->state == FK_VISIT_ASK && visit->stored != NULL) {
        if (response->status == 304) {
            confirmed(visit, response);
            return FK_OK;
        }
        if (response->status >= 500 && bridged(visit, response->status))
            return FK_OK;
    }
    count(visit, visit->state == FK_VISIT_ASK ? FK_CACHE_COUNT_MISSES : FK_CACHE_COUNT_PASSED);
    if (visit->state == FK_VISIT_ASK)
        begin_to_store(visit, response);
    err = fk_cachestatus_add(&response->headers, visit->view->name, &visit->status);
    return err == FK_ERR_LIMIT ? FK_OK : err;
}

void fk_cachevisit_body(struct fk_cachevisit *visit, struct fk_reader piece)
{
    if (visit->fresh != NULL && fk_cached_write(visit->fresh, piece.next, piece.left) != FK_OK)
        give_up(visit, true);
}

/* Kept with the body they would have to be sent with it, and few take any. */
void fk_cachevisit_trailers(struct fk_cachevisit *visit)
{
    if (visit->fresh != NULL)
        give_up(visit, true);
}

void fk_cachevisit_whole(struct fk_cachevisit *visit)
{
    if (visit->fresh == NULL)
        return;
    if (visit->flight.doomed) {
        give_up(visit, false);
        return;
    }
    fk_cachestore_put(visit->view->store, visit->fresh);
    fk_flight_tell(&visit->flight, FK_FLIGHT_STORED);
    fk_flight_end(&visit->flight);
}

/* --- what the cache says --- */

int fk_cachevisit_serve(struct fk_cachevisit *visit, struct fk_http_response *response, size_t most,
                        struct fk_http_event *ret)
{
    struct fk_cache_now now;
    int err;

    assert(visit->state == FK_VISIT_SERVE);
    if (visit->plan.begun) {
        fk_cacheplan_next(&visit->plan, most, ret);
        return FK_OK;
    }
    now = now_of(visit);
    if ((err = fk_cacheplan_head(&visit->plan, visit->stored, &now, response)) != FK_OK ||
        ((err = fk_cachestatus_add(&response->headers, visit->view->name, &visit->status)) !=
             FK_OK &&
         err != FK_ERR_LIMIT))
        return err;
    *ret = (struct fk_http_event){.kind = FK_HTTP_HEAD};
    return FK_OK;
}
