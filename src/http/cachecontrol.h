/*
 * Cache-Control (RFC 9111 section 5.2, RFC 5861): what a message says of its being stored.
 *
 * Reads as the RFC asks: letter case does not count, arguments may be tokens or quoted, unknown
 * directives are passed over. Where a value cannot be understood, it is what stores and serves
 * least: a lifetime that is no number, or is given twice with two values, is 0; and an element that
 * is no directive at all is told to the caller, who then had better store nothing.
 */
#ifndef FK_HTTP_CACHECONTROL_H
#define FK_HTTP_CACHECONTROL_H

#include "base/reader.h"
#include "http/headers.h"

#include <stdbool.h>
#include <stdint.h>

/* What may follow the name: nothing, seconds, either, or names of fields. `private` and `no-cache`
 * with names of fields count as without: of the whole message (allowed by 5.2.2.4 and 5.2.2.7). */
#define FK_CACHECONTROL_LIST(X)                                  \
    X(NO_STORE, "no-store", NOTHING)                             \
    X(NO_CACHE, "no-cache", FIELDS)                              \
    X(PRIVATE, "private", FIELDS)                                \
    X(PUBLIC, "public", NOTHING)                                 \
    X(MUST_REVALIDATE, "must-revalidate", NOTHING)               \
    X(PROXY_REVALIDATE, "proxy-revalidate", NOTHING)             \
    X(ONLY_IF_CACHED, "only-if-cached", NOTHING)                 \
    X(MAX_AGE, "max-age", SECONDS)                               \
    X(S_MAXAGE, "s-maxage", SECONDS)                             \
    X(MIN_FRESH, "min-fresh", SECONDS)                           \
    X(MAX_STALE, "max-stale", PERHAPS)                           \
    X(STALE_WHILE_REVALIDATE, "stale-while-revalidate", SECONDS) \
    X(STALE_IF_ERROR, "stale-if-error", SECONDS)

enum fk_cachecontrol_directive {
#define FK_CACHECONTROL_ENUM(id, name, argument) FK_CC_##id,
    FK_CACHECONTROL_LIST(FK_CACHECONTROL_ENUM)
#undef FK_CACHECONTROL_ENUM
        FK_CC_COUNT
};

/* The largest number of seconds (section 1.2.2); max-stale without argument is more. */
#define FK_CACHECONTROL_MOST    0x80000000U
#define FK_CACHECONTROL_FOREVER UINT32_MAX

/* Zero says nothing. */
struct fk_cachecontrol {
    uint32_t said;                 /* bit 1 << FK_CC_* */
    uint32_t seconds[FK_CC_COUNT]; /* of those that have an argument */
    bool malformed;                /* something in it is no directive */
};

/* Add what the value of one field says. */
void fk_cachecontrol_add(struct fk_cachecontrol *control, struct fk_reader value);

/* All fields Cache-Control of a message. */
void fk_cachecontrol_read(const struct fk_http_headers *headers, struct fk_cachecontrol *ret);

static inline bool fk_cachecontrol_says(const struct fk_cachecontrol *control,
                                        enum fk_cachecontrol_directive directive)
{
    return (control->said >> directive & 1U) != 0;
}

/* Delta-seconds (section 1.2.2): digits; what is more than FK_CACHECONTROL_MOST is that.
 * FK_ERR_FORMAT. */
int fk_cachecontrol_seconds(struct fk_reader text, uint32_t *ret);

#endif
