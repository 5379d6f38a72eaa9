/*
 * What a worker has stored of its sites' answers, and how each site of a generation uses it.
 *
 * A worker has one store for all its sites and generations, so a reload loses nothing; it shares
 * none of it with other workers. Keys have the site's name in them: a site never gets what another
 * has stored, also when both serve the same host.
 */
#ifndef FK_EDGE_SITECACHE_H
#define FK_EDGE_SITECACHE_H

#include "edge/sites.h"
#include "http/cachevisit.h"
#include "loop/loop.h"
#include "loop/metrics.h"

struct fk_workcache;

/* Empty, and nothing allocated for answers before a configuration has a cache. FK_ERR_NOMEM. */
int fk_workcache_new(struct fk_loop *loop, struct fk_workcache **ret);
/* No connection is left that uses it. NULL is fine. */
void fk_workcache_free(struct fk_workcache *cache);

/* Where it counts; NULL: nowhere. */
void fk_workcache_count(struct fk_workcache *cache, struct fk_metrics *metrics);

/* The bounds of the configuration that goes into service (NULL: it has no cache; what is stored
 * goes). */
void fk_workcache_bound(struct fk_workcache *cache, const struct fk_edge_cache *conf);

/* What is stored for a URL goes, of whichever site; or everything (NULL). *ret: how many there
 * were. FK_ERR_FORMAT: not "https://host/path". FK_ERR_CRYPTO. */
int fk_workcache_purge(struct fk_workcache *cache, const struct fk_edge_conf *root, const char *url,
                       size_t *ret);

struct fk_sitecaches;

/*
 * For all sites. `renew` sends a request of a site once more (fk_cacheview). *ret is NULL when
 * `conf` is: there is no cache. FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
struct fk_sitecaches_conf {
    struct fk_workcache *cache;
    const struct fk_edge_cache *conf;
    void (*renew)(void *arg, struct fk_site *site, const struct fk_http_request *request);
    void *arg;
};
int fk_sitecaches_new(const struct fk_sitecaches_conf *conf, struct fk_sites *sites,
                      struct fk_sitecaches **ret);
void fk_sitecaches_free(struct fk_sitecaches *caches); /* NULL is fine */

/* Borrowed. NULL: this site stores nothing. */
struct fk_cacheview *fk_sitecaches_view(struct fk_sitecaches *caches, const struct fk_site *site);

#endif
