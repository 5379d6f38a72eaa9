/* http/cachestore, http/cachebody, http/flights: what is stored, for how long, and who waits. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/cachestore.h"
#include "http/text.h"

#include <stdio.h>

#define BODY 3000

static struct fk_cachestore *store;
static struct fk_http_headers request;
static struct fk_http_response response;

static int open_store(size_t bytes, size_t object, size_t entries)
{
    struct fk_cachestore_conf conf = {.bytes = bytes, .object = object, .entries = entries};

    return fk_cachestore_new(&conf, &store);
}

static int set_up(void **state)
{
    (void)state;
    fk_http_headers_init(&request, 4096, 10);
    fk_http_response_init(&response, &fk_http_limits_default);
    return open_store(1 << 20, 1 << 18, 100);
}

static int tear_down(void **state)
{
    (void)state;
    fk_http_headers_fini(&request);
    fk_http_response_fini(&response);
    fk_cachestore_free(store); /* asserts that nothing is charged any more */
    return 0;
}

/* With other bounds than those of set_up(). */
static void reopen(size_t bytes, size_t object, size_t entries)
{
    fk_cachestore_free(store);
    assert_ok(open_store(bytes, object, entries));
}

/* --- one answer --- */

struct item {
    unsigned key;
    const char *accept; /* of the request; with `vary`, what it varies by */
    bool vary;
    size_t len;
    uint8_t seed; /* of its bytes */
    bool unknown; /* its length comes with its end */
    const char *control;
    uint64_t group;
};

static struct fk_cachekey key_of(unsigned number)
{
    struct fk_cachekey key;
    char path[16];

    snprintf(path, sizeof path, "/%u", number);
    assert_ok(fk_cachekey_of("s", fk_http_text("h"), fk_http_text(path), &key));
    return key;
}

static void make_request(const char *accept)
{
    fk_http_headers_reset(&request);
    if (accept != NULL)
        assert_ok(fk_http_headers_add_text(&request, "Accept", accept));
}

static uint8_t byte_of(const struct item *item, size_t at)
{
    return (uint8_t)(item->seed + at * 7 + at / 251);
}

static void make_response(const struct item *item)
{
    fk_http_response_reset(&response);
    response.status = 200;
    response.framing = item->unknown ? FK_HTTP_CHUNKED : FK_HTTP_LENGTH;
    response.length = item->len;
    assert_ok(fk_http_headers_add_text(&response.headers, "Cache-Control",
                                       item->control == NULL ? "max-age=60" : item->control));
    if (item->vary)
        assert_ok(fk_http_headers_add_text(&response.headers, "Vary", "Accept"));
}

static const struct fk_cache_ask anybody = {.get = true, .safe = true};

static int begin(const struct item *item, struct fk_cached **ret)
{
    struct fk_cachekey key = key_of(item->key);
    struct fk_cachestore_place place = {.key = &key,
                                        .group = item->group,
                                        .request = &request,
                                        .ask = &anybody,
                                        .now = {1000, 1000}};

    make_request(item->accept);
    make_response(item);
    return fk_cachestore_begin(store, &place, &response, ret);
}

/* Write the body in pieces that fall across blocks. */
static int fill(const struct item *item, struct fk_cached *cached)
{
    uint8_t piece[1009];
    int err = FK_OK;

    for (size_t at = 0; at < item->len && err == FK_OK;) {
        size_t n = item->len - at < sizeof piece ? item->len - at : sizeof piece;

        for (size_t i = 0; i < n; i++)
            piece[i] = byte_of(item, at + i);
        err = fk_cached_write(cached, piece, n);
        at += n;
    }
    return err;
}

static int store_item(const struct item *item)
{
    struct fk_cached *cached;
    int err = begin(item, &cached);

    if (err != FK_OK)
        return err;
    if ((err = fill(item, cached)) == FK_OK)
        fk_cachestore_put(store, cached);
    fk_cached_unref(cached);
    return err;
}

static struct fk_cached *find_for(unsigned number, const char *accept,
                                  const struct fk_cache_ask *ask)
{
    struct fk_cachekey key = key_of(number);
    bool known;

    make_request(accept);
    return fk_cachestore_find(store, &key, &request, ask, &known);
}

static struct fk_cached *find(unsigned number, const char *accept)
{
    return find_for(number, accept, &anybody);
}

static void assert_body(const struct fk_cached *cached, const struct item *item, size_t from)
{
    struct fk_cachecursor cursor = fk_cachebody_seek(cached->body, from);
    size_t at = from;

    assert_int_equal(fk_cachebody_len(cached->body), item->len);
    for (;;) {
        struct fk_reader piece = fk_cachecursor_next(&cursor, 777);

        if (piece.left == 0)
            break;
        for (size_t i = 0; i < piece.left; i++)
            assert_int_equal(piece.next[i], byte_of(item, at + i));
        at += piece.left;
    }
    assert_int_equal(at, item->len);
}

static void assert_there(const struct item *item)
{
    struct fk_cached *cached = find(item->key, item->accept);

    assert_non_null(cached);
    assert_body(cached, item, 0);
    fk_cached_unref(cached);
}

static void assert_gone(unsigned number, const char *accept)
{
    assert_null(find(number, accept));
}

/* --- what is stored is found --- */

static void an_answer_is_found_whole(void **state)
{
    static const size_t lengths[] = {0, 1, 4095, 4096, 4097, 65536, 65537, 200000};

    (void)state;
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (unsigned unknown = 0; unknown < 2; unknown++) {
            struct item item = {
                .key = 2 * i + unknown, .len = lengths[i], .seed = (uint8_t)i, .unknown = unknown};

            assert_ok(store_item(&item));
            assert_there(&item);
        }
    assert_gone(99, NULL);
}

static void bodies_are_read_from_any_place(void **state)
{
    struct item item = {.key = 1, .len = 150000, .unknown = true};
    struct fk_cached *cached;

    (void)state;
    assert_ok(store_item(&item));
    cached = find(1, NULL);
    for (size_t from = 0; from <= item.len; from += 1499)
        assert_body(cached, &item, from);
    assert_body(cached, &item, item.len);
    fk_cached_unref(cached);
}

static void what_is_not_put_is_not_found(void **state)
{
    struct item item = {.key = 1, .len = 100};
    struct fk_cached *cached;

    (void)state;
    assert_ok(begin(&item, &cached));
    assert_ok(fill(&item, cached));
    assert_gone(1, NULL);
    fk_cached_unref(cached);
    assert_gone(1, NULL);
    assert_int_equal(fk_cachestore_used(store), 0);
}

static void variants_live_side_by_side(void **state)
{
    struct item x = {.key = 1, .accept = "x", .vary = true, .len = 10, .seed = 1};
    struct item y = {.key = 1, .accept = "y", .vary = true, .len = 20, .seed = 2};
    struct item again = {.key = 1, .accept = "x", .vary = true, .len = 30, .seed = 3};
    struct fk_cachekey key = key_of(1);
    bool known = false;

    (void)state;
    assert_ok(store_item(&x));
    assert_ok(store_item(&y));
    assert_there(&x);
    assert_there(&y);
    make_request("z");
    assert_null(fk_cachestore_find(store, &key, &request, &anybody, &known));
    assert_true(known);
    assert_ok(store_item(&again));
    assert_there(&again);
    assert_there(&y);
    assert_int_equal(fk_cachestore_stats(store)->entries, 2);
}

static void variants_are_bounded(void **state)
{
    char accept[FK_CACHE_VARIANTS_MAX + 1][8];

    (void)state;
    for (unsigned i = 0; i <= FK_CACHE_VARIANTS_MAX; i++) {
        struct item item = {.key = 1, .accept = accept[i], .vary = true, .len = 1};

        snprintf(accept[i], sizeof accept[i], "%u", i);
        assert_ok(store_item(&item));
    }
    assert_int_equal(fk_cachestore_stats(store)->entries, FK_CACHE_VARIANTS_MAX);
    assert_gone(1, "0");
    fk_cached_unref(find(1, "1"));
}

/* The rules of sharing hold at look-up, too. */
static void only_what_is_for_all_is_shared_with_the_known(void **state)
{
    struct item item = {.key = 1, .len = 10};
    struct item open = {.key = 2, .len = 10, .control = "public, max-age=60"};
    struct fk_cache_ask certificate = anybody, secret = anybody;
    struct fk_cached *cached;

    (void)state;
    certificate.certificate = true;
    secret.secret = true;
    assert_ok(store_item(&item));
    assert_ok(store_item(&open));
    assert_null(find_for(1, NULL, &certificate));
    assert_null(find_for(1, NULL, &secret));
    cached = find_for(2, NULL, &certificate);
    assert_non_null(cached);
    fk_cached_unref(cached);
    cached = find_for(2, NULL, &secret);
    assert_non_null(cached);
    fk_cached_unref(cached);
}

/* --- bounds --- */

static void large_objects_are_refused(void **state)
{
    struct item fits = {.key = 1, .len = BODY};
    struct item large = {.key = 2, .len = BODY + 1};
    struct item larger = {.key = 3, .len = BODY + 1, .unknown = true};
    struct fk_cached *cached;

    (void)state;
    reopen(1 << 20, BODY, 100);
    assert_ok(store_item(&fits));
    assert_err(begin(&large, &cached), FK_ERR_LIMIT);
    assert_err(store_item(&larger), FK_ERR_LIMIT); /* known when it is written */
    assert_int_equal(fk_cachestore_stats(store)->refused, 2);
    assert_there(&fits);
    assert_gone(3, NULL);
}

static void the_oldest_goes_first(void **state)
{
    struct item items[5];

    (void)state;
    reopen(4 * (BODY + 800), BODY, 100); /* four, with their heads */
    for (unsigned i = 0; i < 4; i++) {
        items[i] = (struct item){.key = i, .len = BODY, .seed = (uint8_t)i};
        assert_ok(store_item(&items[i]));
    }
    assert_there(&items[0]); /* used: not the oldest any more */
    items[4] = (struct item){.key = 4, .len = BODY, .seed = 4};
    assert_ok(store_item(&items[4]));
    assert_gone(1, NULL);
    assert_there(&items[0]);
    assert_there(&items[4]);
    assert_int_equal(fk_cachestore_stats(store)->evicted, 1);
}

static void entries_are_bounded(void **state)
{
    (void)state;
    reopen(1 << 20, BODY, 3);
    for (unsigned i = 0; i < 4; i++)
        assert_ok(store_item(&(struct item){.key = i, .len = 1}));
    assert_int_equal(fk_cachestore_stats(store)->entries, 3);
    assert_gone(0, NULL);
}

/* Slow readers hold on to what they read, and it is counted. */
static void what_is_read_stays_and_counts(void **state)
{
    struct item items[4], more = {.key = 9, .len = BODY};
    struct fk_cached *held[4];

    (void)state;
    reopen(4 * (BODY + 800), BODY, 100);
    for (unsigned i = 0; i < 4; i++) {
        items[i] = (struct item){.key = i, .len = BODY, .seed = (uint8_t)i};
        assert_ok(store_item(&items[i]));
        held[i] = find(i, NULL);
    }
    assert_err(store_item(&more), FK_ERR_LIMIT);
    assert_int_equal(fk_cachestore_purge_group(store, 0), 4);
    assert_err(store_item(&more), FK_ERR_LIMIT); /* purged, and read yet */
    for (unsigned i = 0; i < 4; i++)
        assert_body(held[i], &items[i], 0);
    fk_cached_unref(held[0]);
    assert_ok(store_item(&more));
    for (unsigned i = 1; i < 4; i++)
        fk_cached_unref(held[i]);
}

static void bounds_can_change(void **state)
{
    struct fk_cachestore_conf less = {.bytes = 2 * (BODY + 800), .object = BODY, .entries = 10};
    struct item items[4];
    struct fk_cached *held;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        items[i] = (struct item){.key = i, .len = BODY, .seed = (uint8_t)i};
        assert_ok(store_item(&items[i]));
    }
    fk_cachestore_bound(store, &less);
    assert_gone(1, NULL);
    assert_there(&items[2]);
    assert_there(&items[3]);
    less.entries = 1;
    fk_cachestore_bound(store, &less);
    assert_gone(2, NULL);
    held = find(3, NULL);
    fk_cachestore_bound(store, &(struct fk_cachestore_conf){.bytes = 0});
    assert_body(held, &items[3], 0);
    assert_err(store_item(&items[0]), FK_ERR_LIMIT);
    fk_cached_unref(held);
    assert_err(store_item(&items[0]), FK_ERR_LIMIT);
    fk_cachestore_bound(store, &less);
    assert_ok(store_item(&items[0]));
}

static void a_head_counts(void **state)
{
    struct item item = {.key = 1, .len = 0};
    struct fk_cached *cached;

    (void)state;
    reopen(100, 100, 100);
    assert_err(begin(&item, &cached), FK_ERR_LIMIT);
    reopen(sizeof(struct fk_cached) + 200, 100, 100);
    assert_ok(store_item(&item));
}

/* --- purging, replacing --- */

static void purging_is_by_key_and_by_group(void **state)
{
    struct item a = {.key = 1, .len = 10, .group = 5}, b = {.key = 2, .len = 10, .group = 7};
    struct item x = {.key = 3, .accept = "x", .vary = true, .len = 10, .group = 7};
    struct item y = {.key = 3, .accept = "y", .vary = true, .len = 10, .group = 7};
    struct fk_cachekey key = key_of(3);

    (void)state;
    assert_ok(store_item(&a));
    assert_ok(store_item(&b));
    assert_ok(store_item(&x));
    assert_ok(store_item(&y));
    assert_int_equal(fk_cachestore_purge(store, &key), 2);
    assert_int_equal(fk_cachestore_purge(store, &key), 0);
    assert_gone(3, "x");
    assert_there(&a);
    assert_int_equal(fk_cachestore_purge_group(store, 7), 1);
    assert_gone(2, NULL);
    assert_there(&a);
    assert_int_equal(fk_cachestore_purge_group(store, 0), 1);
    assert_int_equal(fk_cachestore_stats(store)->purged, 4);
}

static int freshen(struct fk_cached *old, struct fk_cached **ret)
{
    struct fk_cachekey key = key_of(1);
    struct fk_cachestore_place place = {
        .key = &key, .request = &request, .ask = &anybody, .now = {2000, 2000}};

    make_request(NULL);
    return fk_cachestore_freshen(store, old, &place, &response, ret);
}

/* RFC 9111 section 4.3.4. */
static void freshening_makes_it_young_and_keeps_the_body(void **state)
{
    struct item item = {.key = 1, .len = BODY, .seed = 3};
    struct fk_cache_now now = {2000, 2000};
    struct fk_cached *old, *fresh, *found;

    (void)state;
    assert_ok(store_item(&item));
    old = find(1, NULL);
    assert_int_equal(fk_cache_age(&old->life, &now), 1000);
    fk_http_response_reset(&response);
    response.status = 304;
    assert_ok(fk_http_headers_add_text(&response.headers, "Cache-Control", "max-age=7"));
    assert_ok(freshen(old, &fresh));
    found = find(1, NULL);
    assert_ptr_equal(found, fresh);
    assert_int_equal(found->status, 200);
    assert_int_equal(fk_cache_age(&found->life, &now), 0);
    assert_int_equal(fk_cache_left(&found->life, &now), 7);
    assert_body(found, &item, 0);
    assert_body(old, &item, 0);
    assert_int_equal(fk_cachestore_stats(store)->entries, 1);
    fk_cached_unref(old);
    fk_cached_unref(fresh);
    fk_cached_unref(found);
}

/* --- marks --- */

static void marks_are_believed_for_a_while(void **state)
{
    struct fk_cachekey key = key_of(1), other = key_of(2);

    (void)state;
    assert_false(fk_cachestore_marked(store, &key, 0));
    fk_cachestore_mark(store, &key, 10);
    assert_true(fk_cachestore_marked(store, &key, 9));
    assert_false(fk_cachestore_marked(store, &key, 10));
    assert_false(fk_cachestore_marked(store, &other, 9));
}

/* --- flights --- */

static unsigned woken;

static void wake(struct fk_flight_waiter *waiter)
{
    assert_int_not_equal(waiter->news, FK_FLIGHT_NO_NEWS);
    woken++;
}

static void many_wait_for_one(void **state)
{
    struct fk_flights *flights = fk_cachestore_flights(store);
    struct fk_cachekey key = key_of(1), other = key_of(2);
    struct fk_flight leader, second;
    struct fk_flight_waiter waiters[3];

    (void)state;
    woken = 0;
    fk_flight_init(&leader);
    fk_flight_init(&second);
    for (size_t i = 0; i < 3; i++)
        fk_flight_waiter_init(&waiters[i], wake);
    assert_false(fk_flight_join(flights, &key, &waiters[0]));
    fk_flight_begin(flights, &leader, &key, 10);
    assert_true(leader.leads && fk_flight_led(flights, &key));
    fk_flight_begin(flights, &second, &key, 10);
    assert_false(second.leads);
    assert_false(fk_flight_join(flights, &other, &waiters[0]));
    for (size_t i = 0; i < 3; i++)
        assert_true(fk_flight_join(flights, &key, &waiters[i]));
    fk_flight_leave(&waiters[0]);
    fk_flight_leave(&waiters[0]);
    fk_flight_tell(&leader, FK_FLIGHT_STORED);
    assert_int_equal(woken, 2);
    assert_int_equal(waiters[0].news, FK_FLIGHT_NO_NEWS);
    assert_int_equal(waiters[1].news, FK_FLIGHT_STORED);
    assert_false(fk_flight_join(flights, &key, &waiters[0]));
    fk_flight_end(&leader);
    fk_flight_end(&leader);
    fk_flight_end(&second);
    assert_int_equal(woken, 2);
}

static void who_goes_leaves_news(void **state)
{
    struct fk_flights *flights = fk_cachestore_flights(store);
    struct fk_cachekey key = key_of(1);
    struct fk_flight leader;
    struct fk_flight_waiter waiter;

    (void)state;
    fk_flight_init(&leader);
    fk_flight_waiter_init(&waiter, wake);
    fk_flight_begin(flights, &leader, &key, 10);
    assert_true(fk_flight_join(flights, &key, &waiter));
    fk_flight_end(&leader);
    assert_int_equal(waiter.news, FK_FLIGHT_GONE);
    fk_flight_begin(flights, &leader, &key, 0); /* nobody may wait for this one */
    assert_false(fk_flight_join(flights, &key, &waiter));
    fk_flight_end(&leader);
}

static void nobody_waits_for_ever(void **state)
{
    struct fk_flights *flights = fk_cachestore_flights(store);
    struct fk_cachekey key = key_of(1);
    struct fk_flight leader;
    struct fk_flight_waiter waiter;

    (void)state;
    fk_flight_init(&leader);
    fk_flight_waiter_init(&waiter, wake);
    fk_flight_begin(flights, &leader, &key, 10);
    assert_true(fk_flight_join(flights, &key, &waiter));
    fk_flights_expire(flights, 9);
    assert_int_equal(waiter.news, FK_FLIGHT_NO_NEWS);
    fk_flights_expire(flights, 10);
    assert_int_equal(waiter.news, FK_FLIGHT_NOT_STORED);
    assert_false(fk_flight_led(flights, &key));
    fk_flight_end(&leader);
}

static void purging_dooms_what_is_under_way(void **state)
{
    struct fk_flights *flights = fk_cachestore_flights(store);
    struct fk_cachekey key = key_of(1), other = key_of(2);
    struct fk_flight leader, elsewhere, next;

    (void)state;
    fk_flight_init(&leader);
    fk_flight_init(&elsewhere);
    fk_flight_init(&next);
    fk_flight_begin(flights, &leader, &key, 10);
    fk_flight_begin(flights, &elsewhere, &other, 10);
    (void)fk_cachestore_purge(store, &key);
    assert_true(leader.doomed);
    assert_false(elsewhere.doomed);
    fk_flight_begin(flights, &next, &key, 10); /* who asks now asks anew */
    assert_true(next.leads);
    (void)fk_cachestore_purge_group(store, 5);
    assert_true(elsewhere.doomed && next.doomed);
    fk_flight_end(&leader);
    fk_flight_end(&elsewhere);
    fk_flight_end(&next);
}

/* --- without memory --- */

static int live_once(void *context)
{
    struct item item = {.key = 1, .accept = "x", .vary = true, .len = 100000};
    struct fk_cached *old, *fresh;
    int err;

    (void)context;
    if ((err = open_store(1 << 20, 1 << 18, 10)) != FK_OK)
        return err;
    if ((err = store_item(&item)) == FK_OK) {
        old = find(1, "x");
        assert_non_null(old);
        make_request("x");
        if ((err = freshen(old, &fresh)) == FK_OK)
            fk_cached_unref(fresh);
        fk_cached_unref(old);
    }
    fk_cachestore_free(store); /* and asserts that what has failed is not charged */
    store = NULL;
    return err;
}

static void storing_without_memory(void **state)
{
    (void)state;
    make_request("x"); /* what the test itself needs is there before */
    make_response(&(struct item){.vary = true});
    fk_cachestore_free(store);
    store = NULL;
    assert_true(failmalloc_try(live_once, NULL) > 3);
}

/* A block that cannot be made smaller stays as it is. */
static void shrinking_without_memory(void **state)
{
    struct item item = {.key = 1, .len = BODY, .unknown = true};
    struct fk_cached *cached;

    (void)state;
    assert_ok(begin(&item, &cached));
    assert_ok(fill(&item, cached));
    failmalloc_arm(1);
    fk_cachestore_put(store, cached);
    assert_true(failmalloc_disarm());
    fk_cached_unref(cached);
    assert_there(&item);
}

/* --- against a naive model --- */

#define MODEL_KEYS     8
#define MODEL_VARIANTS 3
#define MODEL_HELD     4
#define MODEL_STEPS    20000

struct model {
    struct item item; /* what it holds */
    bool there;
    uint64_t used; /* when it was last used */
    unsigned held;
};

static struct model model[MODEL_KEYS][MODEL_VARIANTS];
static struct {
    struct fk_cached *cached;
    struct item item;
    struct model *of; /* NULL: it was replaced or purged since */
} held[MODEL_HELD];
static uint64_t dice, tick;

static unsigned roll(unsigned sides)
{
    dice = dice * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(dice >> 33) % sides;
}

static void model_forget(struct model *slot)
{
    for (size_t i = 0; i < MODEL_HELD; i++)
        if (held[i].of == slot)
            held[i].of = NULL;
    slot->there = false;
    slot->held = 0;
}

/* What the store says that it has evicted: the oldest that is not held; those that are held and
 * were older count as used. */
static void model_evict(uint64_t times)
{
    while (times > 0) {
        struct model *oldest = NULL;

        for (size_t i = 0; i < MODEL_KEYS * MODEL_VARIANTS; i++) {
            struct model *slot = &model[0][0] + i;

            if (slot->there && (oldest == NULL || slot->used < oldest->used))
                oldest = slot;
        }
        assert_non_null(oldest);
        if (oldest->held > 0) {
            oldest->used = ++tick;
            continue;
        }
        model_forget(oldest);
        times--;
    }
}

static const char *const accepts[MODEL_VARIANTS] = {"a", "b", "c"};

static void model_put(struct model *slot, unsigned key, unsigned variant)
{
    struct item item = {.key = key,
                        .accept = accepts[variant],
                        .vary = true,
                        .len = roll(BODY),
                        .seed = (uint8_t)roll(256),
                        .unknown = roll(2) == 0,
                        .group = 1 + key % 2};
    uint64_t evicted = fk_cachestore_stats(store)->evicted;
    struct fk_cached *cached;
    int err = begin(&item, &cached);

    if (err == FK_OK) {
        err = fill(&item, cached);
        model_evict(fk_cachestore_stats(store)->evicted - evicted);
        evicted = fk_cachestore_stats(store)->evicted;
        if (err == FK_OK) {
            uint64_t refused = fk_cachestore_stats(store)->refused;

            fk_cachestore_put(store, cached);
            model_forget(slot);
            model_evict(fk_cachestore_stats(store)->evicted - evicted);
            if (fk_cachestore_stats(store)->refused == refused)
                *slot = (struct model){.item = item, .there = true, .used = ++tick};
        }
        fk_cached_unref(cached);
    } else {
        model_evict(fk_cachestore_stats(store)->evicted - evicted);
    }
    assert_true(err == FK_OK || err == FK_ERR_LIMIT);
}

static void model_find(struct model *slot, unsigned key, unsigned variant)
{
    struct fk_cached *cached = find(key, accepts[variant]);
    unsigned place = roll(MODEL_HELD);

    assert_int_equal(cached != NULL, slot->there);
    if (cached == NULL)
        return;
    assert_body(cached, &slot->item, 0);
    slot->used = ++tick;
    if (held[place].cached != NULL) {
        fk_cached_unref(cached);
        return;
    }
    held[place].cached = cached;
    held[place].item = slot->item;
    held[place].of = slot;
    slot->held++;
}

static void model_let_go(void)
{
    unsigned place = roll(MODEL_HELD);

    if (held[place].cached == NULL)
        return;
    assert_body(held[place].cached, &held[place].item, 0);
    fk_cached_unref(held[place].cached);
    if (held[place].of != NULL)
        held[place].of->held--;
    held[place].cached = NULL;
    held[place].of = NULL;
}

static void model_purge(unsigned key)
{
    struct fk_cachekey digest = key_of(key);
    size_t n = 0;

    for (unsigned i = 0; i < MODEL_VARIANTS; i++) {
        n += model[key][i].there;
        model_forget(&model[key][i]);
    }
    assert_int_equal(fk_cachestore_purge(store, &digest), n);
}

static void model_purge_group(uint64_t group)
{
    size_t n = 0;

    for (size_t i = 0; i < MODEL_KEYS * MODEL_VARIANTS; i++) {
        struct model *slot = &model[0][0] + i;

        if (!slot->there || (group != 0 && slot->item.group != group))
            continue;
        n++;
        model_forget(slot);
    }
    assert_int_equal(fk_cachestore_purge_group(store, group), n);
}

static void the_store_does_what_the_model_does(void **state)
{
    (void)state;
    reopen(10000, BODY, 12);
    dice = 20261127;
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        unsigned key = roll(MODEL_KEYS), variant = roll(MODEL_VARIANTS), what = roll(100);

        if (what < 40)
            model_put(&model[key][variant], key, variant);
        else if (what < 75)
            model_find(&model[key][variant], key, variant);
        else if (what < 95)
            model_let_go();
        else if (what < 99)
            model_purge(key);
        else
            model_purge_group(roll(3));
        assert_true(fk_cachestore_used(store) <= 10000);
        assert_true(fk_cachestore_stats(store)->entries <= 12);
    }
    assert_true(fk_cachestore_stats(store)->evicted > 100);
    assert_true(fk_cachestore_stats(store)->refused > 10);
    for (size_t i = 0; i < MODEL_HELD; i++)
        fk_cached_unref(held[i].cached);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

UNIT_MAIN(CASE(an_answer_is_found_whole), CASE(bodies_are_read_from_any_place),
          CASE(what_is_not_put_is_not_found), CASE(variants_live_side_by_side),
          CASE(variants_are_bounded), CASE(only_what_is_for_all_is_shared_with_the_known),
          CASE(large_objects_are_refused), CASE(the_oldest_goes_first), CASE(entries_are_bounded),
          CASE(what_is_read_stays_and_counts), CASE(bounds_can_change), CASE(a_head_counts),
          CASE(purging_is_by_key_and_by_group), CASE(freshening_makes_it_young_and_keeps_the_body),
          CASE(marks_are_believed_for_a_while), CASE(many_wait_for_one), CASE(who_goes_leaves_news),
          CASE(nobody_waits_for_ever), CASE(purging_dooms_what_is_under_way),
          CASE(storing_without_memory), CASE(shrinking_without_memory),
          CASE(the_store_does_what_the_model_does))
