/*
 * Stored answers: an index by key and variant, bounded in bytes and entries, what was used longest
 * ago going first. Sans-I/O, of one process; no answer's rules are here (http/cachepolicy).
 *
 * An answer is written by one, then put into the index and never changed again; who reads it holds
 * a reference, and what is replaced, purged or evicted meanwhile lives until the last of them has
 * gone. Its bytes are counted until then, so slow readers cannot make more of memory than the
 * bound.
 */
#ifndef FK_HTTP_CACHESTORE_H
#define FK_HTTP_CACHESTORE_H

#include "base/list.h"
#include "http/cachebody.h"
#include "http/cachekey.h"
#include "http/cachepolicy.h"
#include "http/flights.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fk_cachestore_conf {
    size_t bytes;   /* of everything: heads, bodies, what is being written or still read */
    size_t object;  /* of one answer's body */
    size_t entries; /* answers in the index */
};

/* One answer. */
struct fk_cached {
    int status;
    enum fk_http_version version;
    struct fk_http_headers headers;
    struct fk_cache_life life;
    struct fk_cachebody *body;
    /* the store's */
    struct fk_cachestore *store;
    size_t refs, charged;
    struct fk_cachekey key, variant;
    uint64_t group;
    struct fk_list used;    /* by time of use; points to itself: not in the index */
    struct fk_cached *next; /* in its bucket */
};

struct fk_cachestore_stats {
    uint64_t stored, evicted, purged, refused; /* refused: too large, or no room */
    size_t entries;
};

struct fk_cachestore;

/* FK_ERR_NOMEM, FK_ERR_CRYPTO. Nobody holds a reference when it is freed. */
int fk_cachestore_new(const struct fk_cachestore_conf *conf, struct fk_cachestore **ret);
void fk_cachestore_free(struct fk_cachestore *store); /* NULL is fine */

/* Other bounds from now on; what is too much goes, but for what is read yet. */
void fk_cachestore_bound(struct fk_cachestore *store, const struct fk_cachestore_conf *conf);

struct fk_flights *fk_cachestore_flights(struct fk_cachestore *store);
const struct fk_cachestore_stats *fk_cachestore_stats(const struct fk_cachestore *store);
size_t fk_cachestore_used(const struct fk_cachestore *store); /* bytes */

/*
 * The answer to a request with these fields, the newest if there are several; a reference for the
 * caller. NULL: none; *ret_known tells whether there are others for the target. Only such as may be
 * shared with who asks. FK_ERR_CRYPTO and the like count as none.
 */
struct fk_cached *fk_cachestore_find(struct fk_cachestore *store, const struct fk_cachekey *key,
                                     const struct fk_http_headers *request,
                                     const struct fk_cache_ask *ask, bool *ret_known);

/* What an answer is an answer to. */
struct fk_cachestore_place {
    const struct fk_cachekey *key;
    uint64_t group;                        /* of what is purged together */
    const struct fk_http_headers *request; /* as the origin got it */
    const struct fk_cache_ask *ask;
    struct fk_cache_now now;
    uint32_t waited; /* seconds from the request to the answer */
};

/*
 * Begin to store an answer whose head is there; whether it may be is the caller's to know. A
 * reference for the writer, who fills it, then puts it or lets it go. FK_ERR_LIMIT: it is too
 * large, or there is no room. FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
int fk_cachestore_begin(struct fk_cachestore *store, const struct fk_cachestore_place *place,
                        const struct fk_http_response *response, struct fk_cached **ret);
/* FK_ERR_LIMIT, FK_ERR_NOMEM: let it go. */
int fk_cached_write(struct fk_cached *cached, const void *data, size_t len);
/* It is whole: others find it from now on, in place of an older one of the same variant. The
 * reference stays with the caller. */
void fk_cachestore_put(struct fk_cachestore *store, struct fk_cached *cached);

/*
 * What is stored, with the fields that a 304 has changed, in the place of `old`; the body is
 * shared. A reference for the caller. FK_ERR_LIMIT, FK_ERR_NOMEM, FK_ERR_CRYPTO: `old` stays as it
 * is.
 */
int fk_cachestore_freshen(struct fk_cachestore *store, struct fk_cached *old,
                          const struct fk_cachestore_place *place,
                          const struct fk_http_response *fresh, struct fk_cached **ret);

struct fk_cached *fk_cached_ref(struct fk_cached *cached);
void fk_cached_unref(struct fk_cached *cached); /* NULL is fine */

/* Forget all variants of a key; all of a group (0: everything). Also what is under way is not
 * stored. How many there were. */
size_t fk_cachestore_purge(struct fk_cachestore *store, const struct fk_cachekey *key);
size_t fk_cachestore_purge_group(struct fk_cachestore *store, uint64_t group);

/* Note that answers to this key are not for storing, until a time of the even clock: nobody need
 * wait for one. Forgets some before time. */
void fk_cachestore_mark(struct fk_cachestore *store, const struct fk_cachekey *key, uint64_t until);
bool fk_cachestore_marked(const struct fk_cachestore *store, const struct fk_cachekey *key,
                          uint64_t now);

/* The number of a group by its name, never 0. FK_ERR_CRYPTO. */
int fk_cachestore_group(const char *name, uint64_t *ret);

#endif
