/*
 * Where the body of a message ends, and what becomes of its connection, decided from its
 * fields alone (RFC 9112 sections 6 and 9.3). Internal to http.
 *
 * The one place that reads Content-Length, Transfer-Encoding and Connection. Refuses whatever two
 * programs could read differently, also where the RFC lets a server mend it.
 */
#ifndef FK_HTTP_FRAMING_H
#define FK_HTTP_FRAMING_H

#include "http/message.h"

/* What the two fields say: FK_HTTP_NO_BODY when neither is there. */
struct fk_http_body_fields {
    enum fk_http_framing framing; /* FK_HTTP_NO_BODY, _LENGTH or _CHUNKED */
    uint64_t length;
};

/* Read Content-Length and Transfer-Encoding, and take them out of the headers. */
enum fk_http_fault fk_http_take_body_fields(struct fk_http_headers *headers,
                                            enum fk_http_version version,
                                            struct fk_http_body_fields *ret);

/* Whether the sender goes on after this message (section 9.3); checks the syntax of Connection. */
enum fk_http_fault fk_http_persistence(const struct fk_http_headers *headers,
                                       enum fk_http_version version, bool *ret);

/* Whether it asks for (or, in 101, has) another protocol: Connection names upgrade, and Upgrade is
 * a list of protocols (RFC 9110 section 7.8). HTTP/1.0 has no such thing. */
enum fk_http_fault fk_http_upgrade(const struct fk_http_headers *headers,
                                   enum fk_http_version version, bool *ret);

/* Take Expect out of a request whose framing is known, and say whether its client waits for 100
 * (Continue), the only expectation that there is (RFC 9110 section 10.1.1). */
enum fk_http_fault fk_http_take_expect(struct fk_http_request *request);

#endif
