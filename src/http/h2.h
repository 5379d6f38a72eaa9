/*
 * The server's half of one HTTP/2 connection (RFC 9113), over nghttp2: requests come as the same
 * messages and events as those of HTTP/1, many at once. Sans-I/O.
 *
 * Flow control follows the caller: a client may send as much of a body as the caller has said it is
 * done with, and a stream takes as much of an answer as its queue holds. Beside nghttp2's own
 * bounds (resets, CONTINUATION, SETTINGS, acknowledgements) frames that serve no request are
 * counted against those that do: a client with nothing but such is sent away.
 */
#ifndef FK_HTTP_H2_H
#define FK_HTTP_H2_H

#include "base/buf.h"
#include "http/message.h"

struct fk_h2;

enum fk_h2_event_kind {
    FK_H2_HEAD,     /* a request; with a fault it is to be answered with fk_http_fault_status() */
    FK_H2_BODY,     /* some bytes of its body */
    FK_H2_TRAILERS, /* fk_h2_trailers() */
    FK_H2_END,      /* the request is whole */
    FK_H2_ROOM,     /* fk_h2_write() has room again, after it had none */
    FK_H2_CLOSED,   /* the stream is over: answered, reset by the client or by us; the last event of
                       each stream that had a head */
};

struct fk_h2_event {
    enum fk_h2_event_kind kind;
    int32_t stream;
    enum fk_http_fault fault; /* of FK_H2_HEAD */
    struct fk_reader body;    /* of FK_H2_BODY: in place in what was given to fk_h2_recv() */
    bool whole;               /* of FK_H2_CLOSED: both sides had ended before */
};

/* A connection; its preface and first bytes are not read yet, its SETTINGS wait to be sent.
 * `limits` are borrowed. FK_ERR_NOMEM. */
int fk_h2_new(const struct fk_http_limits *limits, struct fk_h2 **ret);

/* NULL is fine. */
void fk_h2_free(struct fk_h2 *h2);

/*
 * Bytes from the client, at most FK_H2_RECV_MAX; events are pulled by fk_h2_next(), all of them
 * before the bytes go away. FK_ERR_FORMAT: not HTTP/2; FK_ERR_RATE: too many frames without use,
 * or more than nghttp2 bears: send what fk_h2_send() still has, then close. FK_ERR_NOMEM: close.
 * Other violations are FK_OK here: the client is told by GOAWAY, behind which fk_h2_done() is true.
 */
int fk_h2_recv(struct fk_h2 *h2, const void *data, size_t len);

/* The next event, in the order in which they came. FK_ERR_AGAIN: none. */
int fk_h2_next(struct fk_h2 *h2, struct fk_h2_event *ret);

/* Append to `out` what is to be sent, as much as its bound allows. FK_ERR_NOMEM. */
int fk_h2_send(struct fk_h2 *h2, struct fk_buf *out);

/* Neither side has anything more to say: close. */
bool fk_h2_done(const struct fk_h2 *h2);

/* The error code of a GOAWAY that was sent (RFC 9113 section 7), for logs; 0: none. */
uint32_t fk_h2_goaway(const struct fk_h2 *h2);
/* It was sent because the client makes too much work. */
bool fk_h2_flooded(const struct fk_h2 *h2);

/*
 * The client is told to ask nothing more here, and once it must know (RFC 9113 section 6.8: a round
 * trip later) that nothing more is taken. What it has asked until then is answered. FK_ERR_NOMEM.
 */
int fk_h2_drain(struct fk_h2 *h2);

/* Streams whose FK_H2_CLOSED was not pulled. */
size_t fk_h2_streams(const struct fk_h2 *h2);

/*
 * A stream's request, from FK_H2_HEAD until FK_H2_CLOSED was pulled and the connection is called
 * again; the caller may change it (fk_http_forward_request()). NULL: no such stream.
 */
struct fk_http_request *fk_h2_request(struct fk_h2 *h2, int32_t stream);
struct fk_http_headers *fk_h2_trailers(struct fk_h2 *h2, int32_t stream);

/* For all below, a stream that is over takes what it is told and forgets it. */

/* The caller is done with so many bytes of the body: the client may send as many more.
 * FK_ERR_NOMEM. */
int fk_h2_consumed(struct fk_h2 *h2, int32_t stream, size_t len);

/* Answer: the head, with `end` nothing follows. Status 1xx before it, any number of times. Fields
 * are written in lower case. FK_ERR_NOMEM. */
int fk_h2_respond(struct fk_h2 *h2, int32_t stream, const struct fk_http_response *response,
                  bool end);

/* How many bytes of a body fk_h2_write() takes now. */
size_t fk_h2_room(struct fk_h2 *h2, int32_t stream);

/* Bytes of bodies that wait in all streams together. */
size_t fk_h2_waiting(const struct fk_h2 *h2);

/* Append to the body, all or nothing. FK_ERR_LIMIT: no room; FK_H2_ROOM will say. FK_ERR_NOMEM. */
int fk_h2_write(struct fk_h2 *h2, int32_t stream, const void *data, size_t len);

/* The body is whole; trailers are copied, or NULL. FK_ERR_NOMEM. */
int fk_h2_end(struct fk_h2 *h2, int32_t stream, const struct fk_http_headers *trailers);

/* Give a stream up: the answer cannot be finished (RFC 9113 section 8.1). FK_ERR_NOMEM. */
int fk_h2_reset(struct fk_h2 *h2, int32_t stream);

#endif
