/* What a worker has stored, and how sites use it: see sitecache.h. */
#include "edge/sitecache.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "edge/metrics.h"
#include "http/text.h"

#include <stdlib.h>

struct fk_workcache {
    struct fk_cachestore *store; /* NULL: no configuration has had a cache yet */
    struct fk_timer tick;
    struct fk_metrics *metrics;
    struct fk_cachestore_stats told; /* what the metrics have of its counters */
};

struct one {
    struct fk_cacheview view;
    struct fk_sitecaches *all;
    struct fk_site *site;
};

struct fk_sitecaches {
    struct fk_sitecaches_conf conf;
    struct fk_sites *sites;
    struct one items[];
};

static struct fk_cachestore_conf bounds_of(const struct fk_edge_cache *conf)
{
    return (struct fk_cachestore_conf){.bytes = (size_t)conf->size,
                                       .object = (size_t)conf->object,
                                       .entries = (size_t)conf->entries};
}

/* --- the worker's --- */

static void add_since(struct fk_workcache *cache, enum fk_edge_metric metric, uint64_t now,
                      uint64_t *told)
{
    fk_metric_add(cache->metrics, metric, now - *told);
    *told = now;
}

static void tell(struct fk_workcache *cache)
{
    const struct fk_cachestore_stats *stats = fk_cachestore_stats(cache->store);

    add_since(cache, FK_EDGE_CACHE_STORED, stats->stored, &cache->told.stored);
    add_since(cache, FK_EDGE_CACHE_EVICTED, stats->evicted, &cache->told.evicted);
    add_since(cache, FK_EDGE_CACHE_PURGED, stats->purged, &cache->told.purged);
    add_since(cache, FK_EDGE_CACHE_REFUSED, stats->refused, &cache->told.refused);
    fk_metric_set(cache->metrics, FK_EDGE_CACHE_ENTRIES, stats->entries);
    fk_metric_set(cache->metrics, FK_EDGE_CACHE_BYTES, fk_cachestore_used(cache->store));
}

static void tell_time(struct fk_cache_now *ret)
{
    ret->wall = (int64_t)(fk_clock_wall_us() / 1000000);
    ret->even = fk_clock_us() / 1000000;
}

/* Whoever has waited long enough asks for himself. */
static void on_tick(struct fk_timer *timer)
{
    struct fk_workcache *cache = fk_container(timer, struct fk_workcache, tick);
    struct fk_cache_now now;

    tell_time(&now);
    fk_flights_expire(fk_cachestore_flights(cache->store), now.even);
    tell(cache);
    fk_timer_start(timer, FK_EDGE_CACHE_TICK_US);
}

int fk_workcache_new(struct fk_loop *loop, struct fk_workcache **ret)
{
    struct fk_workcache *cache = calloc(1, sizeof *cache);

    if (cache == NULL)
        return FK_ERR_NOMEM;
    fk_timer_init(&cache->tick, loop, on_tick);
    *ret = cache;
    return FK_OK;
}

void fk_workcache_free(struct fk_workcache *cache)
{
    if (cache == NULL)
        return;
    fk_timer_stop(&cache->tick);
    fk_cachestore_free(cache->store);
    free(cache);
}

void fk_workcache_count(struct fk_workcache *cache, struct fk_metrics *metrics)
{
    cache->metrics = metrics;
}

static int open_store(struct fk_workcache *cache, const struct fk_edge_cache *conf)
{
    struct fk_cachestore_conf bounds = bounds_of(conf);
    int err = FK_OK;

    if (cache->store == NULL && (err = fk_cachestore_new(&bounds, &cache->store)) == FK_OK)
        fk_timer_start(&cache->tick, FK_EDGE_CACHE_TICK_US);
    return err;
}

void fk_workcache_bound(struct fk_workcache *cache, const struct fk_edge_cache *conf)
{
    struct fk_cachestore_conf bounds = {0};

    if (cache->store == NULL)
        return;
    if (conf != NULL)
        bounds = bounds_of(conf);
    fk_cachestore_bound(cache->store, &bounds);
}

int fk_workcache_purge(struct fk_workcache *cache, const struct fk_edge_conf *root, const char *url,
                       size_t *ret)
{
    struct fk_cachekey key;
    size_t n = 0;
    int err;

    if (cache->store != NULL && url == NULL)
        n = fk_cachestore_purge_group(cache->store, 0);
    for (const struct fk_conf_block *b = root->sites; url != NULL && b != NULL; b = b->next) {
        if ((err = fk_cachekey_of_url(b->title, fk_http_text(url), &key)) != FK_OK)
            return err;
        if (cache->store != NULL)
            n += fk_cachestore_purge(cache->store, &key);
    }
    if (cache->store != NULL)
        tell(cache);
    *ret = n;
    return FK_OK;
}

/* --- a generation's --- */

static void count(const struct fk_cacheview *view, enum fk_cache_count what)
{
    static const enum fk_edge_metric metrics[] = {
        [FK_CACHE_COUNT_HITS] = FK_EDGE_CACHE_HITS,
        [FK_CACHE_COUNT_STALE] = FK_EDGE_CACHE_STALE,
        [FK_CACHE_COUNT_REVALIDATED] = FK_EDGE_CACHE_REVALIDATED,
        [FK_CACHE_COUNT_COLLAPSED] = FK_EDGE_CACHE_COLLAPSED,
        [FK_CACHE_COUNT_MISSES] = FK_EDGE_CACHE_MISSES,
        [FK_CACHE_COUNT_PASSED] = FK_EDGE_CACHE_PASSED,
    };
    const struct one *one = fk_container((void *)(uintptr_t)view, struct one, view);

    fk_metric_add(one->all->conf.cache->metrics, metrics[what], 1);
}

static void renew(const struct fk_cacheview *view, const struct fk_http_request *request)
{
    const struct one *one = fk_container((void *)(uintptr_t)view, struct one, view);

    one->all->conf.renew(one->all->conf.arg, one->site, request);
}

static int make_view(struct fk_sitecaches *caches, size_t i)
{
    struct one *one = &caches->items[i];

    one->all = caches;
    one->site = fk_sites_at(caches->sites, i);
    one->view = (struct fk_cacheview){
        .store = caches->conf.cache->store,
        .site = one->site->conf->block.title,
        .name = "farkey",
        .clock = tell_time,
        .count = count,
        .renew = renew,
    };
    return fk_cachestore_group(one->view.site, &one->view.group);
}

int fk_sitecaches_new(const struct fk_sitecaches_conf *conf, struct fk_sites *sites,
                      struct fk_sitecaches **ret)
{
    size_t n = fk_sites_count(sites);
    struct fk_sitecaches *caches;
    int err;

    *ret = NULL;
    if (conf->conf == NULL)
        return FK_OK;
    if ((err = open_store(conf->cache, conf->conf)) != FK_OK)
        return err;
    if ((caches = calloc(1, sizeof *caches + n * sizeof caches->items[0])) == NULL)
        return FK_ERR_NOMEM;
    caches->conf = *conf;
    caches->sites = sites;
    for (size_t i = 0; i < n && err == FK_OK; i++)
        err = make_view(caches, i);
    if (err != FK_OK) {
        fk_sitecaches_free(caches);
        return err;
    }
    *ret = caches;
    return FK_OK;
}

void fk_sitecaches_free(struct fk_sitecaches *caches)
{
    free(caches);
}

struct fk_cacheview *fk_sitecaches_view(struct fk_sitecaches *caches, const struct fk_site *site)
{
    if (caches == NULL || !site->conf->cache)
        return NULL;
    return &caches->items[site - fk_sites_at(caches->sites, 0)].view;
}
