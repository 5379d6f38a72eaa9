/*
 * Responses of HTTP/1.0 and HTTP/1.1, from origins (RFC 9112), as strictly as requests: an origin
 * that can be made to answer in two ways poisons caches and other clients' connections. Sans-I/O.
 */
#ifndef FK_HTTP_H1RESP_H
#define FK_HTTP_H1RESP_H

#include "http/h1.h"

struct fk_h1resp {
    struct fk_h1 h1;
    struct fk_http_response response;
    bool head;        /* the request was HEAD */
    bool upgrade;     /* it asked for an upgrade */
    unsigned interim; /* responses with status 1xx so far */
};

/* Nothing is expected yet: bytes are a fault. `limits` are borrowed for the life of it. */
void fk_h1resp_init(struct fk_h1resp *resp, const struct fk_http_limits *limits);
void fk_h1resp_fini(struct fk_h1resp *resp);

/* A request was sent, whose method (HEAD or not) and wish to upgrade decide how its response is
 * read: expect it. */
void fk_h1resp_expect(struct fk_h1resp *resp, bool head, bool upgrade);

/*
 * As fk_h1req_next(). A response of status 1xx is one FK_HTTP_HEAD without end, the next follows;
 * resp->response is that of the last head. After the head of 101, framing FK_HTTP_TUNNEL: what is
 * not used is the other protocol's. After FK_HTTP_END: bytes are a fault (FK_HTTP_FAULT_UNASKED)
 * until the next expect.
 */
int fk_h1resp_next(struct fk_h1resp *resp, const void *data, size_t len, size_t *ret_used,
                   struct fk_http_event *ret);

/*
 * The origin has closed; `unused`: fk_h1resp_next() has left bytes unused. FK_OK: *ret is
 * FK_HTTP_END, of a body that this ends. FK_ERR_CLOSED: nothing of a response was there, or it was
 * over. FK_ERR_FORMAT, final: FK_HTTP_FAULT_TRUNCATED.
 */
int fk_h1resp_eof(struct fk_h1resp *resp, bool unused, struct fk_http_event *ret);

#endif
