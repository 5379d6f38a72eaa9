/*
 * The answer that something stored gives to one request: the whole of it, a part, its head alone,
 * or that nothing has changed (RFC 9111 section 4.3.2, RFC 9110 sections 13 and 14).
 */
#ifndef FK_HTTP_CACHEPLAN_H
#define FK_HTTP_CACHEPLAN_H

#include "http/cachestore.h"
#include "http/range.h"

enum fk_cacheplan_kind {
    FK_PLAN_WHOLE,
    FK_PLAN_HEAD,         /* of HEAD */
    FK_PLAN_NOT_MODIFIED, /* 304 */
    FK_PLAN_PART,         /* 206 */
    FK_PLAN_OUTSIDE,      /* 416 */
    FK_PLAN_TIMEOUT,      /* 504: nothing is stored, and nothing else is wanted */
};

struct fk_cacheplan {
    enum fk_cacheplan_kind kind;
    struct fk_http_range range;   /* of FK_PLAN_PART and FK_PLAN_OUTSIDE */
    struct fk_cachecursor cursor; /* what is next of the body */
    size_t left;                  /* of it */
    bool begun;                   /* the head was said */
};

/* What `stored` is to this request; its conditions are looked at here and not later. */
void fk_cacheplan_make(struct fk_cacheplan *plan, const struct fk_cache_ask *ask,
                       const struct fk_http_request *request, const struct fk_cached *stored,
                       const struct fk_cache_now *now);

/* It is answered so, from the beginning. `stored` may be a fresher one with the same body. */
void fk_cacheplan_start(struct fk_cacheplan *plan, const struct fk_cached *stored);

/* The head of the answer, with its Age; what the response says of its connection stays.
 * FK_ERR_LIMIT, FK_ERR_NOMEM. `stored` is NULL with FK_PLAN_TIMEOUT. */
int fk_cacheplan_head(struct fk_cacheplan *plan, const struct fk_cached *stored,
                      const struct fk_cache_now *now, struct fk_http_response *response);

/* FK_HTTP_BODY, a piece of `most` bytes at the most, or FK_HTTP_END. */
void fk_cacheplan_next(struct fk_cacheplan *plan, size_t most, struct fk_http_event *ret);

#endif
