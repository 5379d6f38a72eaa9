/* Stored answers: see cachestore.h. */
#include "http/cachestore.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/text.h"

#include <assert.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

struct mark {
    uint64_t tag;
    uint64_t until;
};

struct fk_cachestore {
    struct fk_cachebudget budget;
    struct fk_cachestore_conf conf;
    struct fk_cachestore_stats stats;
    struct fk_flights flights;
    struct fk_list used; /* the oldest last */
    uint64_t secret;     /* so that nobody can fill one bucket */
    struct fk_cached *buckets[FK_CACHE_BUCKETS];
    struct mark marks[FK_CACHE_MARKS];
};

static uint64_t number_of(const struct fk_cachekey *key)
{
    uint64_t number;

    memcpy(&number, key->digest, sizeof number);
    return number;
}

static size_t bucket_of(const struct fk_cachestore *store, const struct fk_cachekey *key)
{
    return (size_t)(number_of(key) * store->secret >> 40) % FK_CACHE_BUCKETS;
}

/* --- references --- */

struct fk_cached *fk_cached_ref(struct fk_cached *cached)
{
    cached->refs++;
    return cached;
}

void fk_cached_unref(struct fk_cached *cached)
{
    if (cached == NULL || --cached->refs > 0)
        return;
    fk_http_headers_fini(&cached->headers);
    fk_cachebody_unref(cached->body);
    fk_cachebudget_give(&cached->store->budget, cached->charged);
    free(cached);
}

/* --- the index, which holds one reference to each --- */

static void take_out(struct fk_cachestore *store, struct fk_cached *cached)
{
    struct fk_cached **at = &store->buckets[bucket_of(store, &cached->key)];

    while (*at != cached)
        at = &(*at)->next;
    *at = cached->next;
    fk_list_del(&cached->used);
    store->stats.entries--;
    fk_cached_unref(cached);
}

/* The oldest that nobody reads: to free others would free nothing. Those that are read are in use,
 * and so not the oldest any more. */
static int evict_one(struct fk_cachestore *store)
{
    for (size_t n = store->stats.entries; n > 0; n--) {
        struct fk_cached *oldest = fk_container(store->used.prev, struct fk_cached, used);

        if (oldest->refs == 1) {
            take_out(store, oldest);
            store->stats.evicted++;
            return FK_OK;
        }
        fk_list_del(&oldest->used);
        fk_list_prepend(&store->used, &oldest->used);
    }
    return FK_ERR_LIMIT;
}

static int make_room(struct fk_cachebudget *budget, size_t need)
{
    struct fk_cachestore *store = fk_container(budget, struct fk_cachestore, budget);
    int err = FK_OK;

    while (err == FK_OK && !fk_cachebudget_fits(budget, need))
        err = evict_one(store);
    return err;
}

void fk_cachestore_bound(struct fk_cachestore *store, const struct fk_cachestore_conf *conf)
{
    store->conf = *conf;
    store->budget.max = conf->bytes;
    while (store->stats.entries > conf->entries && evict_one(store) == FK_OK)
        ;
    (void)make_room(&store->budget, 0);
}

int fk_cachestore_new(const struct fk_cachestore_conf *conf, struct fk_cachestore **ret)
{
    struct fk_cachestore *store = calloc(1, sizeof *store);

    if (store == NULL)
        return FK_ERR_NOMEM;
    store->conf = *conf;
    store->budget = (struct fk_cachebudget){.max = conf->bytes, .make_room = make_room};
    fk_flights_init(&store->flights);
    fk_list_init(&store->used);
    if (RAND_bytes((uint8_t *)&store->secret, sizeof store->secret) != 1) {
        free(store);
        return FK_ERR_CRYPTO;
    }
    store->secret |= 1;
    *ret = store;
    return FK_OK;
}

void fk_cachestore_free(struct fk_cachestore *store)
{
    if (store == NULL)
        return;
    (void)fk_cachestore_purge_group(store, 0);
    assert(store->budget.used == 0);
    free(store);
}

struct fk_flights *fk_cachestore_flights(struct fk_cachestore *store)
{
    return &store->flights;
}

const struct fk_cachestore_stats *fk_cachestore_stats(const struct fk_cachestore *store)
{
    return &store->stats;
}

size_t fk_cachestore_used(const struct fk_cachestore *store)
{
    return store->budget.used;
}

struct fk_cached *fk_cachestore_find(struct fk_cachestore *store, const struct fk_cachekey *key,
                                     const struct fk_http_headers *request,
                                     const struct fk_cache_ask *ask, bool *ret_known)
{
    struct fk_cached *cached = store->buckets[bucket_of(store, key)];
    struct fk_cachekey variant;

    *ret_known = false;
    for (; cached != NULL; cached = cached->next) {
        if (!fk_cachekey_same(&cached->key, key))
            continue;
        *ret_known = true;
        if (!fk_cache_may_share(ask, &cached->life) ||
            fk_cachekey_variant(&cached->headers, request, &variant) != FK_OK ||
            !fk_cachekey_same(&cached->variant, &variant))
            continue;
        fk_list_del(&cached->used);
        fk_list_prepend(&store->used, &cached->used);
        return fk_cached_ref(cached);
    }
    return NULL;
}

/* Make room among the entries: what `fresh` replaces goes, and of too many variants the oldest. */
static void replace(struct fk_cachestore *store, const struct fk_cached *fresh)
{
    struct fk_cached *cached = store->buckets[bucket_of(store, &fresh->key)], *next, *last = NULL;
    size_t variants = 0;

    for (; cached != NULL; cached = next) {
        next = cached->next;
        if (!fk_cachekey_same(&cached->key, &fresh->key))
            continue;
        if (fk_cachekey_same(&cached->variant, &fresh->variant)) {
            take_out(store, cached);
            continue;
        }
        variants++;
        last = cached;
    }
    if (variants >= FK_CACHE_VARIANTS_MAX)
        take_out(store, last);
}

void fk_cachestore_put(struct fk_cachestore *store, struct fk_cached *cached)
{
    struct fk_cached **bucket = &store->buckets[bucket_of(store, &cached->key)];

    fk_cachebody_finish(cached->body);
    replace(store, cached);
    if (store->stats.entries >= store->conf.entries && evict_one(store) != FK_OK) {
        store->stats.refused++;
        return;
    }
    cached->next = *bucket; /* the newest first */
    *bucket = fk_cached_ref(cached);
    fk_list_prepend(&store->used, &cached->used);
    store->stats.entries++;
    store->stats.stored++;
    fk_cachestore_mark(store, &cached->key, 0); /* such answers are for storing, after all */
}

/* --- writing --- */

/* An empty one with room for the fields of `headers`, charged. */
static int new_cached(struct fk_cachestore *store, const struct fk_http_headers *headers,
                      struct fk_cached **ret)
{
    size_t size = sizeof **ret + headers->count * sizeof headers->fields[0] + headers->len;
    struct fk_cached *cached;
    int err = fk_cachebudget_take(&store->budget, size);

    if (err != FK_OK)
        return err;
    cached = calloc(1, sizeof *cached);
    if (cached == NULL) {
        fk_cachebudget_give(&store->budget, size);
        return FK_ERR_NOMEM;
    }
    cached->store = store;
    cached->charged = size;
    cached->refs = 1;
    fk_list_init(&cached->used);
    fk_http_headers_init(&cached->headers, headers->len, headers->count);
    if ((err = fk_http_headers_copy(&cached->headers, headers)) != FK_OK) {
        fk_cached_unref(cached);
        return err;
    }
    *ret = cached;
    return FK_OK;
}

/* Where it belongs, and how long it lives. */
static int place_it(struct fk_cached *cached, const struct fk_cachestore_place *place,
                    const struct fk_http_response *response)
{
    struct fk_cache_facts facts;

    cached->status = response->status;
    cached->version = response->version;
    cached->key = *place->key;
    cached->group = place->group;
    fk_cache_facts_read(response, &place->now, &facts);
    fk_cache_life_begin(place->ask, &facts, &place->now, place->waited, &cached->life);
    return fk_cachekey_variant(&cached->headers, place->request, &cached->variant);
}

int fk_cachestore_begin(struct fk_cachestore *store, const struct fk_cachestore_place *place,
                        const struct fk_http_response *response, struct fk_cached **ret)
{
    bool known = response->framing == FK_HTTP_LENGTH;
    struct fk_cached *cached;
    int err;

    if (known && response->length > store->conf.object) {
        store->stats.refused++;
        return FK_ERR_LIMIT;
    }
    if ((err = new_cached(store, &response->headers, &cached)) != FK_OK) {
        store->stats.refused += err == FK_ERR_LIMIT;
        return err;
    }
    err = place_it(cached, place, response);
    if (err == FK_OK)
        err = fk_cachebody_new(&store->budget, known ? (size_t)response->length : 0, &cached->body);
    if (err != FK_OK) {
        fk_cached_unref(cached);
        return err;
    }
    *ret = cached;
    return FK_OK;
}

int fk_cached_write(struct fk_cached *cached, const void *data, size_t len)
{
    struct fk_cachestore *store = cached->store;
    int err = FK_ERR_LIMIT;

    if (len <= store->conf.object - fk_cachebody_len(cached->body))
        err = fk_cachebody_append(cached->body, data, len);
    store->stats.refused += err == FK_ERR_LIMIT;
    return err;
}

int fk_cachestore_freshen(struct fk_cachestore *store, struct fk_cached *old,
                          const struct fk_cachestore_place *place,
                          const struct fk_http_response *fresh, struct fk_cached **ret)
{
    struct fk_http_response merged = {.status = old->status, .version = old->version};
    struct fk_cached *cached = NULL;
    int err;

    fk_http_headers_init(&merged.headers, old->headers.len + fresh->headers.len,
                         old->headers.count + fresh->headers.count);
    if ((err = fk_http_headers_copy(&merged.headers, &old->headers)) != FK_OK ||
        (err = fk_cache_freshen(&merged.headers, &fresh->headers)) != FK_OK ||
        (err = new_cached(store, &merged.headers, &cached)) != FK_OK ||
        (err = place_it(cached, place, &merged)) != FK_OK)
        goto out;
    cached->body = fk_cachebody_ref(old->body);
    if (!fk_list_empty(&old->used))
        take_out(store, old);
    fk_cachestore_put(store, cached);
    *ret = cached;
    cached = NULL; /* moved */
out:
    fk_http_headers_fini(&merged.headers);
    fk_cached_unref(cached);
    return err;
}

/* --- purging --- */

size_t fk_cachestore_purge(struct fk_cachestore *store, const struct fk_cachekey *key)
{
    struct fk_cached *cached = store->buckets[bucket_of(store, key)], *next;
    size_t n = 0;

    for (; cached != NULL; cached = next) {
        next = cached->next;
        if (!fk_cachekey_same(&cached->key, key))
            continue;
        take_out(store, cached);
        n++;
    }
    fk_flights_doom(&store->flights, key);
    store->stats.purged += n;
    return n;
}

size_t fk_cachestore_purge_group(struct fk_cachestore *store, uint64_t group)
{
    struct fk_list *item, *temp;
    size_t n = 0;

    fk_list_each_safe (item, temp, &store->used) {
        struct fk_cached *cached = fk_container(item, struct fk_cached, used);

        if (group != 0 && cached->group != group)
            continue;
        take_out(store, cached);
        n++;
    }
    fk_flights_doom(&store->flights, NULL);
    store->stats.purged += n;
    return n;
}

int fk_cachestore_group(const char *name, uint64_t *ret)
{
    struct fk_cachekey key;
    int err = fk_cachekey_of(name, fk_http_text(""), fk_http_text(""), &key);

    if (err == FK_OK)
        *ret = number_of(&key) | 1;
    return err;
}

/* --- marks --- */

void fk_cachestore_mark(struct fk_cachestore *store, const struct fk_cachekey *key, uint64_t until)
{
    uint64_t tag = number_of(key);

    store->marks[tag % FK_CACHE_MARKS] = (struct mark){.tag = tag, .until = until};
}

bool fk_cachestore_marked(const struct fk_cachestore *store, const struct fk_cachekey *key,
                          uint64_t now)
{
    const struct mark *mark = &store->marks[number_of(key) % FK_CACHE_MARKS];

    return mark->tag == number_of(key) && now < mark->until;
}
