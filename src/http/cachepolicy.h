/*
 * What a shared cache may do (RFC 9111, RFC 5861): which answers it may store, how long they are
 * fresh, which requests a stored one may answer, what of it a new one changes. Rules only: knows
 * nothing of where things are stored, and of time what it is told.
 *
 * Nothing private is shared. Where the RFC leaves it open, the rule here is the stricter one, and
 * the function that holds it says so.
 */
#ifndef FK_HTTP_CACHEPOLICY_H
#define FK_HTTP_CACHEPOLICY_H

#include "http/cachecontrol.h"
#include "http/message.h"

#include <stdbool.h>
#include <stdint.h>

/* Two clocks, both in seconds: what dates are compared with, and what runs evenly. */
struct fk_cache_now {
    int64_t wall; /* since 1970 */
    uint64_t even;
};

/* --- what a request is to a cache --- */

struct fk_cache_ask {
    bool get, head;   /* only these are answered from what is stored */
    bool safe;        /* RFC 9110 section 9.2.1; a method that is not known is not */
    bool body;        /* it has one */
    bool query;       /* its target has a query */
    bool secret;      /* it has Authorization */
    bool certificate; /* it carries a client's certificate */
    bool cookie;
    bool range;
    bool conditional; /* If-None-Match, If-Modified-Since: a stored one can answer it */
    bool guarded; /* If-Match, If-Unmodified-Since: only the origin can (RFC 9111 section 4.3.2) */
    bool upgrade;
    struct fk_cachecontrol control;
};

/* Of a request as the origin would get it. `certificate`: see above. */
void fk_cache_ask_read(const struct fk_http_request *request, bool certificate,
                       struct fk_cache_ask *ret);

/* --- what an answer is --- */

struct fk_cache_facts {
    int status;
    struct fk_cachecontrol control;
    int64_t date;   /* of Date; else when it came */
    bool dated;     /* Date is there and can be read */
    uint32_t age;   /* of Age; 0 */
    bool expires;   /* Expires is there; */
    int64_t expiry; /* one that cannot be read is past (section 5.3) */
    bool changed;   /* Last-Modified is there and can be read: */
    int64_t change;
    bool etag;     /* there is a good one */
    bool vary_any; /* Vary: *, or one that is no list of names */
    bool cookie;   /* Set-Cookie, Set-Cookie2 */
};

void fk_cache_facts_read(const struct fk_http_response *response, const struct fk_cache_now *now,
                         struct fk_cache_facts *ret);

/* --- storing --- */

/* Why an answer is not stored. X(id, text); the text is a token, for Cache-Status. */
#define FK_CACHE_VERDICTS(X)                \
    X(STORE, "stored")                      \
    X(METHOD, "method")                     \
    X(PARTIAL, "partial")                   \
    X(STATUS, "status")                     \
    X(REQUEST_NO_STORE, "request-no-store") \
    X(NO_STORE, "no-store")                 \
    X(PRIVATE, "private")                   \
    X(MALFORMED, "malformed")               \
    X(SET_COOKIE, "set-cookie")             \
    X(VARY, "vary")                         \
    X(AUTHORIZATION, "authorization")       \
    X(CERTIFICATE, "certificate")           \
    X(COOKIE, "cookie")                     \
    X(LIFETIME, "no-lifetime")              \
    X(TRAILERS, "trailers")                 \
    X(LARGE, "too-large")                   \
    X(FULL, "full")                         \
    X(CUT, "cut-off")

enum fk_cache_verdict {
#define FK_CACHE_VERDICT_ENUM(id, text) FK_CACHE_##id,
    FK_CACHE_VERDICTS(FK_CACHE_VERDICT_ENUM)
#undef FK_CACHE_VERDICT_ENUM
        FK_CACHE_VERDICT_COUNT
};

const char *fk_cache_verdict_text(enum fk_cache_verdict verdict);

/*
 * Whether an answer may be stored (section 3). Stricter than the RFC: never with Set-Cookie, never
 * with a Cache-Control that cannot be read whole; an answer to a request with Cookie only with a
 * lifetime that it states itself; `must-understand` overrules no `no-store`.
 */
enum fk_cache_verdict fk_cache_may_store(const struct fk_cache_ask *ask,
                                         const struct fk_cache_facts *facts);

/* How long it is fresh, in seconds (section 4.2.1): s-maxage, max-age, Expires; else a tenth of the
 * time since it was changed, FK_CACHE_HEURISTIC_MAX at the most (section 4.2.2). */
uint32_t fk_cache_lifetime(const struct fk_cache_ask *ask, const struct fk_cache_facts *facts);

/* --- using --- */

/* What is kept of an answer to judge its use. */
struct fk_cache_life {
    struct fk_cachecontrol control;
    uint32_t lifetime;
    uint32_t age;  /* when it came (section 4.2.3) */
    uint64_t came; /* by the even clock */
};

/* `waited`: seconds from the request to the answer. */
void fk_cache_life_begin(const struct fk_cache_ask *ask, const struct fk_cache_facts *facts,
                         const struct fk_cache_now *now, uint32_t waited,
                         struct fk_cache_life *ret);

/* Its age now (section 4.2.3), and how long it is fresh yet (negative: was). */
uint32_t fk_cache_age(const struct fk_cache_life *life, const struct fk_cache_now *now);
int64_t fk_cache_left(const struct fk_cache_life *life, const struct fk_cache_now *now);

/* Whether this request may be answered from what is stored at all. */
bool fk_cache_may_look(const struct fk_cache_ask *ask);

/* Whether this one may answer it, fresh or not: to requests with Authorization or a client's
 * certificate only what its origin declares to be for all. */
bool fk_cache_may_share(const struct fk_cache_ask *ask, const struct fk_cache_life *life);

enum fk_cache_use {
    FK_CACHE_USE,        /* as it is */
    FK_CACHE_USE_RENEW,  /* as it is, and have it revalidated behind the client's back */
    FK_CACHE_REVALIDATE, /* only after the origin was asked (section 4.3) */
};

/* Section 4, with what the request asks for (section 5.2.1). */
enum fk_cache_use fk_cache_judge(const struct fk_cache_ask *ask, const struct fk_cache_life *life,
                                 const struct fk_cache_now *now);

/* Whether it may answer now that the origin fails (RFC 5861 section 4). */
bool fk_cache_use_if_error(const struct fk_cache_life *life, const struct fk_cache_now *now);

/* --- what other answers change --- */

/* Make the fields of a stored answer what a 304 to its revalidation says (section 3.2).
 * FK_ERR_LIMIT, FK_ERR_NOMEM: of no more use. */
int fk_cache_freshen(struct fk_http_headers *stored, const struct fk_http_headers *fresh);

/* Whether an answer with this status makes what is stored for the target invalid (section 4.4). */
bool fk_cache_invalidates(const struct fk_cache_ask *ask, int status);

#endif
