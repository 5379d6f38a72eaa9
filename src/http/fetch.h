/*
 * A request's way to an origin and its answer's way back, over one connection of HTTP/1.1: what an
 * exchange (HTTP/1 clients) and a stream (HTTP/2 clients) have in common. Sans-I/O.
 *
 * The connection itself is its owner's, who is told by `spent` when it must not serve again.
 *
 * Between the two may be a cache: then an answer comes from there without any connection, or the
 * request waits for another's answer; whoever uses a fetch sees the same events as of an origin.
 */
#ifndef FK_HTTP_FETCH_H
#define FK_HTTP_FETCH_H

#include "base/buf.h"
#include "http/cachevisit.h"
#include "http/forward.h"
#include "http/h1resp.h"

/* Of a site and a connection; outlives whatever uses it. */
struct fk_exchange_conf {
    const struct fk_http_limits *limits;
    const struct fk_http_forward *forward;
    struct fk_http_client client;
    size_t buffer;    /* bytes of bodies that may wait in each direction */
    size_t read_most; /* room that a queue has when its side is read: what comes at once */
    const struct fk_cacheview *cache; /* NULL: none */
    void (*wake)(void *arg);          /* what waits in a cache can go on: run, but later */
    void *wake_arg;
};

/* As much of a queue is looked at at once: all that is taken only whole fits. */
size_t fk_exchange_piece(const struct fk_exchange_conf *conf);
/* The largest head that goes out: of fields that came, and what was added. */
size_t fk_exchange_head(const struct fk_exchange_conf *conf);
/* Bounds of a queue from a side, and of one to a side. */
size_t fk_exchange_in_max(const struct fk_exchange_conf *conf);
size_t fk_exchange_out_max(const struct fk_exchange_conf *conf);

struct fk_fetch {
    const struct fk_exchange_conf *conf;
    struct fk_buf in, out; /* from and to the origin */
    bool attached;         /* there is a connection */
    bool spent;            /* it must be closed: see fk_fetch_detached() */
    bool reused;           /* it has served a request before */
    bool retry;            /* the present request is to be sent again, to another connection */
    bool eof;              /* the origin has ended its direction */
    bool broken;           /* not in order: a reset, or TLS without close_notify */
    struct fk_cachevisit *visit;     /* of the present request; NULL: it passes by */
    struct fk_http_request *request; /* the one of the visit */
    struct fk_h1resp resp;
    enum fk_http_fault gone_wrong; /* of the origin, for logs */
};

/* Nothing is allocated yet. */
void fk_fetch_init(struct fk_fetch *fetch, const struct fk_exchange_conf *conf);
void fk_fetch_fini(struct fk_fetch *fetch);

/* Make a request fit for an origin (fk_http_forward_request()), and unless the cache answers it,
 * write its head and expect its answer. It stays where it is until that is whole. FK_ERR_FORMAT
 * with why in *ret_fault: nothing was written; FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_fetch_begin(struct fk_fetch *fetch, struct fk_http_request *request,
                   enum fk_http_fault *ret_fault);
/* As above with a request that is fit already, for the cache alone. FK_ERR_CANCELLED: nothing is
 * there to be renewed. */
int fk_fetch_renew(struct fk_fetch *fetch, struct fk_http_request *request);
/* The same request once more, to another connection. FK_ERR_NOMEM. */
int fk_fetch_again(struct fk_fetch *fetch, const struct fk_http_request *request);

/* Whether fk_fetch_next() may have something: there is a connection, or the cache. */
bool fk_fetch_speaks(const struct fk_fetch *fetch);
/* Whether what it may have is the cache's: no request with a body gets that, so it can wait until
 * the request is whole, and the connection of the client goes on behind it. */
bool fk_fetch_at_cache(const struct fk_fetch *fetch);
/* Whether the present request needs a connection that is not there. */
bool fk_fetch_needs_origin(const struct fk_fetch *fetch);

/* The request gets no answer from an origin. Whether it gets one of the cache instead: run on. */
bool fk_fetch_rescued(struct fk_fetch *fetch);
/* Nobody is there any more for the answer. */
void fk_fetch_abandon(struct fk_fetch *fetch);

/*
 * What the origin has said next, `most` bytes looked at; the caller consumes *ret_used of
 * fetch->in when it is done with the event. FK_ERR_AGAIN; FK_ERR_CLOSED: it has ended and said
 * nothing; FK_ERR_FORMAT with fetch->gone_wrong.
 */
int fk_fetch_next(struct fk_fetch *fetch, size_t most, size_t *ret_used, struct fk_http_event *ret);

/* Whether a request may be sent again after its connection has ended without a word (RFC 9110
 * section 9.2.2, RFC 9112 section 9.3.1): it does the same, has no body, and the connection was one
 * that had been kept. */
bool fk_fetch_may_repeat(const struct fk_fetch *fetch, const struct fk_http_request *request);

bool fk_fetch_reads(const struct fk_fetch *fetch);

/* Whether the connection can serve others now that its answer is over. */
bool fk_fetch_reusable(const struct fk_fetch *fetch);

/* There is a connection, `reused`: it has served before. */
void fk_fetch_attached(struct fk_fetch *fetch, bool reused);
/* It was closed, or taken away to serve others: nothing of it stays; with `unsent`, what waits for
 * an origin is forgotten, too. */
void fk_fetch_detached(struct fk_fetch *fetch, bool unsent);

#endif
