/*
 * Validators of a representation, and the conditions that requests put on them (RFC 9110 sections
 * 8.8 and 13.1): entity tags and dates of change, as a cache evaluates them against what it has
 * stored.
 */
#ifndef FK_HTTP_VALIDATOR_H
#define FK_HTTP_VALIDATOR_H

#include "http/headers.h"

#include <stdbool.h>
#include <stdint.h>

struct fk_http_etag {
    bool weak;
    struct fk_reader opaque; /* what stands in the quotes */
};

/* One entity tag (section 8.8.3), nothing around it. FK_ERR_FORMAT. */
int fk_http_etag_parse(struct fk_reader text, struct fk_http_etag *ret);

/* The one of a message. FK_ERR_NOT_FOUND: none, malformed, or more than one. */
int fk_http_etag_of(const struct fk_http_headers *headers, struct fk_http_etag *ret);

/* Section 8.8.3.2: both strong and equal; or equal, strong or not. */
bool fk_http_etag_same(const struct fk_http_etag *a, const struct fk_http_etag *b, bool strong);

/*
 * Whether a GET or HEAD with these conditions is answered with 304 (Not Modified) when `stored` is
 * what would be its answer (RFC 9111 section 4.3.2): If-None-Match, and only without it
 * If-Modified-Since.
 */
bool fk_http_not_modified(const struct fk_http_headers *request,
                          const struct fk_http_headers *stored, int64_t now);

/* Whether the range of this request may be taken of `stored`: no If-Range, or one that is strongly
 * the same (section 13.1.5). */
bool fk_http_if_range(const struct fk_http_headers *request, const struct fk_http_headers *stored,
                      int64_t now);

#endif
