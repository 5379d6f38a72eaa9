/*
 * Cache-Status (RFC 9211): what a cache did with a request, told in its answer.
 */
#ifndef FK_HTTP_CACHESTATUS_H
#define FK_HTTP_CACHESTATUS_H

#include "http/headers.h"

#include <stdbool.h>
#include <stdint.h>

/* Why a request went to the origin (section 2.2). X(id, token) */
#define FK_CACHE_FORWARDS(X)  \
    X(NONE, "")               \
    X(BYPASS, "bypass")       \
    X(METHOD, "method")       \
    X(URI_MISS, "uri-miss")   \
    X(VARY_MISS, "vary-miss") \
    X(REQUEST, "request")     \
    X(STALE, "stale")         \
    X(PARTIAL, "partial")

enum fk_cache_forward {
#define FK_CACHE_FORWARD_ENUM(id, token) FK_CACHE_FWD_##id,
    FK_CACHE_FORWARDS(FK_CACHE_FORWARD_ENUM)
#undef FK_CACHE_FORWARD_ENUM
        FK_CACHE_FORWARD_COUNT
};

struct fk_cachestatus {
    bool hit;
    enum fk_cache_forward forward; /* of what is no hit */
    int forward_status;            /* the origin's status where the client's is another; 0 */
    bool has_ttl;
    int64_t ttl; /* seconds that it is fresh yet */
    bool stored;
    bool collapsed;     /* it waited for the answer to another's request */
    const char *detail; /* a token; NULL: none */
};

/* Append to the field what this cache, named `name` (a token), did. FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_cachestatus_add(struct fk_http_headers *headers, const char *name,
                       const struct fk_cachestatus *status);

#endif
