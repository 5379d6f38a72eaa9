/*
 * Whom a request is for: request targets and authorities (RFC 9112 section 3.2, RFC 9110 section
 * 4.2). Borrowed text in, borrowed text out.
 */
#ifndef FK_HTTP_TARGET_H
#define FK_HTTP_TARGET_H

#include "base/reader.h"
#include "http/fault.h"

#include <stdbool.h>
#include <stdint.h>

/* A method that passes: those that llhttp knows, so HTTP/2 brings origins no others than HTTP/1. */
bool fk_http_method_known(struct fk_reader method);

/* An authority without userinfo. */
struct fk_http_authority {
    struct fk_reader host; /* a DNS name without final dot, IPv4, or "[...]" of IPv6 */
    uint16_t port;         /* 0: none given */
};

/*
 * host[:port]. Stricter than RFC 3986: a host is one of the above, so no percent-encoding, no
 * userinfo, no IPvFuture, no zone. FK_ERR_FORMAT.
 */
int fk_http_authority_parse(struct fk_reader text, struct fk_http_authority *ret);

/* The same host and port, without regard to case; port 0 is `standard` (443 or 80). */
bool fk_http_authority_same(const struct fk_http_authority *a, const struct fk_http_authority *b,
                            uint16_t standard);

struct fk_http_target {
    struct fk_reader scheme;    /* of absolute-form: "http" or "https", in any case; else none */
    struct fk_reader authority; /* of absolute-form; else none */
    struct fk_reader path;      /* with query, "" of an absolute-form without path; or "*" */
};

/*
 * The target of a request with this method: origin-form, absolute-form, or asterisk-form of
 * OPTIONS; CONNECT is FK_HTTP_FAULT_CONNECT. Visible ASCII only, no fragment; and in the path, a
 * '%' begins two hexadecimal digits that are not 00.
 */
enum fk_http_fault fk_http_target_parse(struct fk_reader method, struct fk_reader text,
                                        struct fk_http_target *ret);

/* The path and query of :path, by the same rules: starts with '/'. */
enum fk_http_fault fk_http_path_check(struct fk_reader path);

#endif
