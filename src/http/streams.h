/*
 * One client connection of HTTP/2 as a proxy serves it: its requests, many at once, each passed to
 * an origin by HTTP/1.1 and answered from there, bodies streamed both ways with bounded buffers.
 * Sans-I/O: client bytes are given in and taken from a queue; each stream has the two queues of its
 * fetch, and whoever owns the sockets moves those and is told when an origin is wanted.
 *
 * A stream goes through the states of an exchange (exchange.h), once. What an origin says is passed
 * on only when its head was understood whole; what goes wrong before is answered with a status,
 * what goes wrong behind it resets the stream.
 */
#ifndef FK_HTTP_STREAMS_H
#define FK_HTTP_STREAMS_H

#include "base/list.h"
#include "http/exchange.h"
#include "http/fetch.h"
#include "http/h2.h"

struct fk_streams {
    const struct fk_exchange_conf *conf;
    struct fk_h2 *h2;
    struct fk_list list; /* struct fk_stream, oldest first */
    size_t n;
    struct fk_buf client_out; /* the owner consumes what it writes */
    bool client_eof;
    int err;           /* not HTTP/2, or too much of it: nothing more is read; FK_OK */
    uint64_t requests; /* for counters */
};

struct fk_stream {
    struct fk_list link;
    struct fk_streams *owner;
    int32_t id;
    enum fk_exchange_state state;    /* FK_EXCHANGE_IDLE after its beginning: it is over */
    struct fk_http_request *request; /* of the client's half; NULL when it has closed */
    struct fk_buf body;              /* of the request, and not passed on yet */
    bool whole;                      /* nothing follows `body` */
    struct fk_fetch fetch;           /* its queues are the owner's to fill and to empty */
    void *user;                      /* the owner's, NULL at first */
    /* for logs and counters */
    int status;               /* of its answer; 0: none yet */
    enum fk_http_fault fault; /* of the client */
};

/* FK_ERR_NOMEM. fini: no stream has anything of the owner's left. */
int fk_streams_init(struct fk_streams *streams, const struct fk_exchange_conf *conf);
void fk_streams_fini(struct fk_streams *streams);

/* Bytes of the client, any number of them. FK_ERR_NOMEM: close all. */
int fk_streams_recv(struct fk_streams *streams, const void *data, size_t len);
/* The client has ended its direction: nobody is there to be answered. */
void fk_streams_client_ended(struct fk_streams *streams);

/* Do what can be done: call after each change, bytes came, bytes went, an origin came.
 * FK_ERR_NOMEM: close all. */
int fk_streams_run(struct fk_streams *streams);

bool fk_streams_reads_client(const struct fk_streams *streams);
/* Everything was said: close when client_out is empty. */
bool fk_streams_done(const struct fk_streams *streams);
/* No new requests; those begun are answered. FK_ERR_NOMEM. */
int fk_streams_drain(struct fk_streams *streams);

/* --- one stream --- */

bool fk_stream_reads_origin(const struct fk_stream *stream);
bool fk_stream_wants_origin(const struct fk_stream *stream);
/* The origin's connection is not needed any more and may serve others. */
bool fk_stream_releases(const struct fk_stream *stream);
/* As fk_exchange_detached(), fk_exchange_origin_failed(). FK_ERR_NOMEM. */
int fk_stream_detached(struct fk_stream *stream);
int fk_stream_origin_failed(struct fk_stream *stream, int status);
/* Nothing is left to do, and no origin attached: free it. */
bool fk_stream_over(const struct fk_stream *stream);
void fk_stream_free(struct fk_stream *stream);

#endif
