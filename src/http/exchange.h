/*
 * One client connection of HTTP/1 as a proxy serves it: its requests one after the other, each
 * passed to an origin and answered from there, bodies streamed both ways with bounded buffers.
 * Sans-I/O: bytes come and go by four queues; whoever owns the sockets moves them and is told when
 * an origin is wanted.
 *
 * What an origin says is passed on only once its head was understood whole; what goes wrong before
 * that is answered with a status, what goes wrong behind it ends the connection, so that a client
 * never takes a part for the whole.
 */
#ifndef FK_HTTP_EXCHANGE_H
#define FK_HTTP_EXCHANGE_H

#include "base/buf.h"
#include "http/fetch.h"
#include "http/h1req.h"

/* X(name, text) */
#define FK_EXCHANGE_STATES(X)                                            \
    X(IDLE, "idle")           /* no request, or not its whole head */    \
    X(SENDING, "sending")     /* its body comes; no answer yet */        \
    X(WAITING, "waiting")     /* it is whole; no answer yet */           \
    X(BOTH, "both")           /* its body comes, the answer has begun */ \
    X(ANSWERING, "answering") /* it is whole, the answer has begun */    \
    X(TUNNEL, "tunnel")       /* another protocol: bytes both ways */    \
    X(CLOSING, "closing")     /* the last bytes for the client; nothing more is read */

enum fk_exchange_state {
#define FK_EXCHANGE_STATE_ENUM(name, text) FK_EXCHANGE_##name,
    FK_EXCHANGE_STATES(FK_EXCHANGE_STATE_ENUM)
#undef FK_EXCHANGE_STATE_ENUM
        FK_EXCHANGE_STATE_COUNT
};

/* What can become known. X(name, text) */
#define FK_EXCHANGE_FACTS(X)                   \
    X(ASKED, "request begun")                  \
    X(ASKED_WHOLE, "request whole")            \
    X(ANSWERED, "answer begun")                \
    X(ANSWERED_WHOLE, "answer whole")          \
    X(ANSWERED_LAST, "answer whole, the last") \
    X(SWITCHED, "protocol switched")           \
    X(OVER, "given up")

enum fk_exchange_fact {
#define FK_EXCHANGE_FACT_ENUM(name, text) FK_EXCHANGE_FACT_##name,
    FK_EXCHANGE_FACTS(FK_EXCHANGE_FACT_ENUM)
#undef FK_EXCHANGE_FACT_ENUM
        FK_EXCHANGE_FACT_COUNT
};

/* The state that `fact` leads to; FK_EXCHANGE_STATE_COUNT: it cannot happen in `state`. */
enum fk_exchange_state fk_exchange_next(enum fk_exchange_state state, enum fk_exchange_fact fact);

struct fk_exchange {
    const struct fk_exchange_conf *conf;
    enum fk_exchange_state state;
    /* From and to the client. The owner appends what it reads and consumes what it writes. */
    struct fk_buf client_in, client_out;
    struct fk_fetch fetch; /* to the origin and back: its queues likewise */
    bool broken;   /* the client's must be closed without a proper end: an answer was cut off */
    bool last;     /* the connection ends with the present answer */
    bool draining; /* it ends with it whoever wants to go on */
    bool rechunk;  /* the answer's body is sent in chunks */
    bool client_eof;
    struct fk_h1req req;
    /* for logs and counters */
    uint64_t requests;
    int status;               /* of the last answer */
    enum fk_http_fault fault; /* of the client */
};

/* Nothing is allocated yet. */
void fk_exchange_init(struct fk_exchange *exchange, const struct fk_exchange_conf *conf);
void fk_exchange_fini(struct fk_exchange *exchange);

/*
 * Do what can be done with the bytes that are there. Call after each change: bytes came, bytes
 * went, an origin came. FK_ERR_NOMEM: close all.
 */
int fk_exchange_run(struct fk_exchange *exchange);

/* What to do next. */
bool fk_exchange_reads_client(const struct fk_exchange *exchange);
bool fk_exchange_reads_origin(const struct fk_exchange *exchange);
/* A request wants an origin and none is attached: connect, then attach. */
bool fk_exchange_wants_origin(const struct fk_exchange *exchange);
/* Everything was said: close the client's connection when client_out is empty. */
bool fk_exchange_done(const struct fk_exchange *exchange);

/* The origin's connection is not needed now and may serve others: take it, then
 * fk_exchange_detached(). */
bool fk_exchange_releases(const struct fk_exchange *exchange);

/* There is a connection, fresh or `reused`. */
void fk_exchange_attached(struct fk_exchange *exchange, bool reused);
/* A connection that was spent is closed, or one that was released was taken. A request that may be
 * sent twice, and to which an origin that was kept open has said nothing, wants another (RFC 9112
 * section 9.3.1). FK_ERR_NOMEM. */
int fk_exchange_detached(struct fk_exchange *exchange);

/* No origin can be reached, or none answers in time: `status` (502, 503, 504) is the answer, if
 * none has begun. */
int fk_exchange_origin_failed(struct fk_exchange *exchange, int status);

/* The other side has ended its direction; all that it said is in the queue. Run then. */
void fk_exchange_origin_ended(struct fk_exchange *exchange);
void fk_exchange_client_ended(struct fk_exchange *exchange);

/* Whether a request's head is awaited: its first bytes are there, or no request has come yet. */
bool fk_exchange_awaits_head(const struct fk_exchange *exchange);
/* Its time is over. FK_ERR_NOMEM. */
int fk_exchange_head_late(struct fk_exchange *exchange);

/* The present answer, or the next one, is the last. */
void fk_exchange_wind_down(struct fk_exchange *exchange);
/* End after the present request; at once when idle, but whoever has just come may ask once: a
 * client takes an end before its first answer for a failure. */
void fk_exchange_drain(struct fk_exchange *exchange);

#endif
