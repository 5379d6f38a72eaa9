/*
 * One request's visit to a cache: whether it is answered from there, waits for the answer to
 * another's, or goes to the origin; and what of its answer is stored on the way back. Sans-I/O.
 *
 * Whoever fetches asks the visit before it asks the origin, and shows it every event of the
 * origin's answer. From FK_VISIT_SERVE on the events are the visit's own.
 */
#ifndef FK_HTTP_CACHEVISIT_H
#define FK_HTTP_CACHEVISIT_H

#include "http/cachestatus.h"
#include "http/cachestore.h"
#include "http/range.h"

#include <stdbool.h>
#include <stdint.h>

/* What is counted of requests. X(id) */
#define FK_CACHE_COUNTS(X)                                                  \
    X(HITS)        /* answered from what is stored, and fresh */            \
    X(STALE)       /* from what is stored, and stale */                     \
    X(REVALIDATED) /* from what is stored, after the origin was asked */    \
    X(COLLAPSED)   /* from what another's request has brought */            \
    X(MISSES)      /* by the origin, though it might have been otherwise */ \
    X(PASSED)      /* by the origin: nothing stored can answer such a request */

enum fk_cache_count {
#define FK_CACHE_COUNT_ENUM(id) FK_CACHE_COUNT_##id,
    FK_CACHE_COUNTS(FK_CACHE_COUNT_ENUM)
#undef FK_CACHE_COUNT_ENUM
        FK_CACHE_COUNT_COUNT
};

/* A cache as one site uses it; outlives its visits. */
struct fk_cacheview {
    struct fk_cachestore *store;
    const char *site;
    uint64_t group;   /* fk_cachestore_group() of the site */
    const char *name; /* in Cache-Status, a token */
    void (*clock)(struct fk_cache_now *ret);
    /* Count one more. */
    void (*count)(const struct fk_cacheview *view, enum fk_cache_count what);
    /* Have this request sent once more, its answer for nobody but the cache; NULL: there is no way
     * to. The request is the caller's. */
    void (*renew)(const struct fk_cacheview *view, const struct fk_http_request *request);
};

enum fk_cachevisit_state {
    FK_VISIT_PASS,  /* the request goes to the origin; nothing of the answer is stored */
    FK_VISIT_WAIT,  /* for another's answer: poll when woken */
    FK_VISIT_ASK,   /* the request goes to the origin; the answer may be stored */
    FK_VISIT_SERVE, /* the answer is the visit's own */
    FK_VISIT_STATES
};

/* What can become known. */
enum fk_cachevisit_fact {
    FK_VISIT_STORED,     /* what answers the request is stored, or 504 is the answer */
    FK_VISIT_UNDER_WAY,  /* another has asked for the same */
    FK_VISIT_WANTED,     /* nothing answers it, and what will may be stored */
    FK_VISIT_NOT_FOR_US, /* nothing answers it, and what will is not stored */
    FK_VISIT_FACTS
};

/* The next state; FK_VISIT_STATES: it cannot happen there. */
enum fk_cachevisit_state fk_cachevisit_next(enum fk_cachevisit_state state,
                                            enum fk_cachevisit_fact fact);

struct fk_cachevisit;

struct fk_cachevisit_conf {
    const struct fk_cacheview *view;
    bool certificate;        /* the request carries a client's certificate */
    bool renewal;            /* it is one of view->renew: answered by nobody but the origin */
    void (*wake)(void *arg); /* there is news: poll, but not before this has returned */
    void *wake_arg;
};

/*
 * Begin. The request is as the origin would get it; it stays the caller's, unchanged but by the
 * visit, for the visit's life: conditions are put into it when something stored is to be
 * revalidated. FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
int fk_cachevisit_new(const struct fk_cachevisit_conf *conf, struct fk_http_request *request,
                      struct fk_cachevisit **ret);

/* However it ends: who waits for it is told. NULL is fine. */
void fk_cachevisit_free(struct fk_cachevisit *visit);

enum fk_cachevisit_state fk_cachevisit_state(const struct fk_cachevisit *visit);

/* In FK_VISIT_WAIT: whether the state has changed. FK_ERR_CRYPTO. */
int fk_cachevisit_poll(struct fk_cachevisit *visit);

/*
 * The origin's final answer has begun, and its fields are as it has sent them. Notes in them what
 * the cache did. When the state is FK_VISIT_SERVE afterwards, nothing of it is for the client: a
 * 304 has confirmed what is stored, or an error is bridged by it. FK_ERR_LIMIT: there is no room in
 * the fields; FK_ERR_NOMEM.
 */
int fk_cachevisit_answered(struct fk_cachevisit *visit, struct fk_http_response *response);

/* Some of its body; trailers; it is whole. */
void fk_cachevisit_body(struct fk_cachevisit *visit, struct fk_reader piece);
void fk_cachevisit_trailers(struct fk_cachevisit *visit);
void fk_cachevisit_whole(struct fk_cachevisit *visit);

/* The origin cannot be asked, or has failed before it answered. Whether what is stored answers
 * instead: then the state is FK_VISIT_SERVE. */
bool fk_cachevisit_failed(struct fk_cachevisit *visit);

/*
 * In FK_VISIT_SERVE: the next event of the answer, a piece of its body `most` bytes at the most. At
 * FK_HTTP_HEAD, *response is made what it says (its connection's facts stay). FK_ERR_LIMIT,
 * FK_ERR_NOMEM.
 */
int fk_cachevisit_serve(struct fk_cachevisit *visit, struct fk_http_response *response, size_t most,
                        struct fk_http_event *ret);

#endif
