/*
 * A request and a response as the rest of the edge sees them, whichever version of HTTP they came
 * by, and the events in which they come.
 *
 * Authority and framing live here and nowhere else: Host, :authority, Content-Length and
 * Transfer-Encoding are taken out of the fields once they are understood, and whoever writes a
 * message makes them anew. So two of them that differ cannot reach anybody.
 */
#ifndef FK_HTTP_MESSAGE_H
#define FK_HTTP_MESSAGE_H

#include "http/headers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the end of a body is known (RFC 9112 section 6.3). */
enum fk_http_framing {
    FK_HTTP_NO_BODY,
    FK_HTTP_LENGTH,  /* `length` bytes */
    FK_HTTP_CHUNKED, /* unknown length: chunks, or HTTP/2's END_STREAM; trailers may follow */
    FK_HTTP_CLOSE,   /* the end of the connection; responses only */
    FK_HTTP_TUNNEL,  /* no HTTP any more: what follows is the other protocol's; responses only */
};

/* As messages name it: 11 is HTTP/1.1. */
enum fk_http_version { FK_HTTP_1_0 = 10, FK_HTTP_1_1 = 11, FK_HTTP_2 = 20 };

struct fk_http_request {
    struct fk_http_headers headers; /* without Host, Content-Length, Transfer-Encoding, Expect */
    enum fk_http_version version;
    struct fk_http_part method;    /* a token */
    struct fk_http_part scheme;    /* of an absolute target or :scheme: "http", "https"; or none */
    struct fk_http_part authority; /* host[:port], none only in HTTP/1.0 */
    struct fk_http_part path;      /* with query: "/..."; "*" of OPTIONS */
    enum fk_http_framing framing;
    uint64_t length;      /* of FK_HTTP_LENGTH */
    bool keep_alive;      /* HTTP/1: the client wants to go on after this */
    bool expect_continue; /* it waits for 100 (Continue) */
    bool upgrade;         /* it asks for another protocol: the field Upgrade says which */
};

struct fk_http_response {
    struct fk_http_headers headers; /* without Content-Length, Transfer-Encoding */
    enum fk_http_version version;
    int status;
    enum fk_http_framing framing;
    bool has_length; /* Content-Length was there; with FK_HTTP_NO_BODY (HEAD, 304) it describes what
                        GET would give */
    uint64_t length;
    bool keep_alive; /* HTTP/1: the connection may be used again after this */
};

/* What a body's framing may be followed by. */
enum fk_http_event_kind {
    FK_HTTP_HEAD,     /* the message's head is there; of a response with status 1xx another follows,
                         unless it is 101 */
    FK_HTTP_BODY,     /* some bytes of its body */
    FK_HTTP_TRAILERS, /* fields after the body */
    FK_HTTP_END,      /* it is whole */
};

struct fk_http_event {
    enum fk_http_event_kind kind;
    struct fk_reader body; /* FK_HTTP_BODY: in place in what was given, one byte at least */
};

/* What a head may take: bytes and fields. */
struct fk_http_limits {
    size_t line; /* the first line */
    size_t head; /* the whole head; in HTTP/2, as SETTINGS_MAX_HEADER_LIST_SIZE counts it */
    size_t fields;
};

/* The limits of base/limits.h. */
extern const struct fk_http_limits fk_http_limits_default;

/* Empty; nothing allocated. The headers have room for what a peer may send and for what
 * fk_http_forward_*() adds; for more (relayed certificates) see fk_http_headers_widen(). fini
 * frees; reset forgets and keeps memory for the next message. */
void fk_http_request_init(struct fk_http_request *request, const struct fk_http_limits *limits);
void fk_http_request_fini(struct fk_http_request *request);
void fk_http_request_reset(struct fk_http_request *request);
void fk_http_response_init(struct fk_http_response *response, const struct fk_http_limits *limits);
void fk_http_response_fini(struct fk_http_response *response);
void fk_http_response_reset(struct fk_http_response *response);

/* Borrowed until the headers change. */
struct fk_reader fk_http_request_part(const struct fk_http_request *request,
                                      struct fk_http_part part);

/* Whether its method is this one (methods are case-sensitive, RFC 9110 section 9.1). */
bool fk_http_request_is(const struct fk_http_request *request, const char *method);

/* Fields that no trailer section may have (RFC 9110 section 6.5.1): framing, routing, control. */
bool fk_http_trailer_forbidden(struct fk_reader name);

#endif
