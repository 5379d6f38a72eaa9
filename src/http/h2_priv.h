/* Inside http/h2: streams, the queue of events, and what the two halves of it share. */
#ifndef FK_HTTP_H2_PRIV_H
#define FK_HTTP_H2_PRIV_H

#include "base/list.h"
#include "http/h2.h"

#include <nghttp2/nghttp2.h>

struct h2_stream {
    struct fk_list link;
    int32_t id;
    struct fk_http_request request;
    struct fk_http_headers trailers;
    enum fk_http_fault fault; /* of the head so far */
    bool headed;              /* FK_H2_HEAD was said */
    bool whole;               /* the request is */
    bool over;                /* nghttp2 has forgotten it */
    bool released;            /* FK_H2_CLOSED was pulled */
    uint64_t received;        /* bytes of the body */
    size_t unconsumed;        /* of these, that the caller still has */
    /* the answer */
    struct fk_buf out;
    bool answered;   /* the final head was given */
    bool ended;      /* nothing more comes */
    bool deferred;   /* nghttp2 waits for more of it */
    bool wants_room; /* a write found none */
    struct fk_http_headers out_trailers;
};

struct fk_h2 {
    nghttp2_session *session;
    const struct fk_http_limits *limits;
    struct fk_list streams;
    size_t n_streams;
    size_t waiting;             /* bytes in all `out` of streams */
    struct fk_h2_event *events; /* a ring would save nothing: it is emptied between two inputs */
    size_t n_events, events_cap, next_event;
    int err;        /* the first of a callback; FK_OK */
    int credit;     /* frames without use that are still forgiven */
    bool sent_away; /* it ran out */
    bool draining;  /* the client was told; its PING's echo says that it knows */
    uint32_t goaway;
    const uint8_t *pending; /* nghttp2's, that `out` had no room for */
    size_t pending_len;
    struct { /* h2_mem.c */
        void *mem;
        size_t size;
        bool filled; /* more than its first page */
    } frames;
};

/* The stream of this id; NULL. */
struct h2_stream *fk_h2_find(struct fk_h2 *h2, int32_t id);

/* Queue an event. FK_ERR_NOMEM. */
int fk_h2_say(struct fk_h2 *h2, const struct fk_h2_event *event);

/* FK_ERR_NOMEM or FK_ERR_INTERNAL of an error of nghttp2. */
int fk_h2_error(int error);

/* What nghttp2 calls while bytes come in: h2_recv.c. FK_ERR_NOMEM. */
int fk_h2_callbacks_new(nghttp2_session_callbacks **ret);

/* How nghttp2 gets memory for this connection: h2_mem.c. */
nghttp2_mem fk_h2_mem(struct fk_h2 *h2);
/* A frame of so many bytes was made. */
void fk_h2_mem_used(struct fk_h2 *h2, size_t len);
/* No frame is being sent: what the last ones have filled goes back. */
void fk_h2_mem_rest(struct fk_h2 *h2);

/* Free streams that are over and whose end was pulled. */
void fk_h2_sweep(struct fk_h2 *h2);

#endif
