/*
 * Requests of HTTP/1.0 and HTTP/1.1 (RFC 9112), strictly: what could be understood in two ways is
 * refused by name. Sans-I/O; the caller owns the bytes and gives them again until they are used.
 */
#ifndef FK_HTTP_H1REQ_H
#define FK_HTTP_H1REQ_H

#include "http/h1.h"

struct fk_h1req {
    struct fk_h1 h1;
    struct fk_http_request request;
};

/* Expect a request. `limits` are borrowed for the life of it. fini frees. */
void fk_h1req_init(struct fk_h1req *req, const struct fk_http_limits *limits);
void fk_h1req_fini(struct fk_h1req *req);

/* After FK_HTTP_END: forget this request and expect the next of the connection. */
void fk_h1req_restart(struct fk_h1req *req);

/*
 * Read on in `data`. In any case *ret_used bytes are done with; the caller gives the others again
 * with what follows them. A head, a chunk's line and trailers are used only as a whole: the
 * caller's buffer must hold limits->head bytes and 2 more.
 *
 * FK_OK: *ret is the next event. The request is valid from FK_HTTP_HEAD on until restart, its
 * trailers (req->h1.trailers) from FK_HTTP_TRAILERS on; a body's bytes lie in `data`. After
 * FK_HTTP_END nothing is read before restart: bytes that follow are the next request (pipelining).
 * FK_ERR_AGAIN: more bytes are needed. FK_ERR_FORMAT: req->h1.fault says what is wrong; final.
 * FK_ERR_NOMEM; final.
 */
int fk_h1req_next(struct fk_h1req *req, const void *data, size_t len, size_t *ret_used,
                  struct fk_http_event *ret);

#endif
