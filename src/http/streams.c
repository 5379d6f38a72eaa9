/* Requests of one client of HTTP/2, passed to origins: see streams.h. */
#include "http/streams.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/h1write.h"
#include "http/own.h"

#include <assert.h>
#include <stdlib.h>

static void go(struct fk_stream *s, enum fk_exchange_fact fact)
{
    enum fk_exchange_state next = fk_exchange_next(s->state, fact);

    assert(next < FK_EXCHANGE_STATE_COUNT);
    s->state = next;
}

static bool request_comes(const struct fk_stream *s)
{
    return s->state == FK_EXCHANGE_SENDING || s->state == FK_EXCHANGE_BOTH;
}

static bool answer_begun(const struct fk_stream *s)
{
    return s->state == FK_EXCHANGE_BOTH || s->state == FK_EXCHANGE_ANSWERING;
}

static bool is_over(const struct fk_stream *s)
{
    return s->state == FK_EXCHANGE_IDLE || s->state == FK_EXCHANGE_CLOSING;
}

static struct fk_stream *find(struct fk_streams *streams, int32_t id)
{
    struct fk_list *item;

    fk_list_each (item, &streams->list) {
        struct fk_stream *s = fk_container(item, struct fk_stream, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

/* --- what the edge says itself --- */

static int answer(struct fk_stream *s, int status)
{
    struct fk_h2 *h2 = s->owner->h2;
    struct fk_http_response response;
    char body[FK_HTTP_OWN_MAX];
    bool head = s->request == NULL || fk_http_request_is(s->request, "HEAD");
    int err;

    fk_http_response_init(&response, s->owner->conf->limits);
    s->status = status;
    if ((err = fk_http_own_answer(status, &response, body)) == FK_OK)
        err = fk_h2_respond(h2, s->id, &response, head);
    if (err == FK_OK && !head && (err = fk_h2_write(h2, s->id, body, response.length)) == FK_OK)
        err = fk_h2_end(h2, s->id, NULL);
    fk_http_response_fini(&response);
    return err;
}

/* What was kept of the request is not wanted any more. */
static int forget_body(struct fk_stream *s)
{
    size_t len = fk_buf_len(&s->body);

    fk_buf_fini(&s->body);
    return len == 0 ? FK_OK : fk_h2_consumed(s->owner->h2, s->id, len);
}

/* Nothing more of this can be passed on. */
static int give_up(struct fk_stream *s, int status)
{
    int err;

    if (status >= 502 && !answer_begun(s) && fk_fetch_rescued(&s->fetch)) {
        s->fetch.spent = s->fetch.attached;
        return FK_OK;
    }
    err = answer_begun(s) ? fk_h2_reset(s->owner->h2, s->id) : answer(s, status);
    fk_fetch_abandon(&s->fetch);
    s->fetch.spent = s->fetch.attached;
    go(s, FK_EXCHANGE_FACT_OVER);
    return err == FK_OK ? forget_body(s) : err;
}

/* --- requests --- */

static int refuse(struct fk_stream *s, enum fk_http_fault fault)
{
    s->fault = fault;
    return give_up(s, fk_http_fault_status(fault));
}

/* 100 (Continue), by us: what an origin says of it comes too late to matter. */
static int say_continue(struct fk_stream *s)
{
    struct fk_http_response response;
    int err;

    fk_http_response_init(&response, s->owner->conf->limits);
    response.status = 100;
    err = fk_h2_respond(s->owner->h2, s->id, &response, false);
    fk_http_response_fini(&response);
    return err;
}

static int begin(struct fk_stream *s, enum fk_http_fault fault)
{
    int err;

    s->owner->requests++;
    go(s, FK_EXCHANGE_FACT_ASKED);
    if (fault != FK_HTTP_FAULT_NONE)
        return refuse(s, fault);
    err = fk_fetch_begin(&s->fetch, s->request, &fault);
    if (err == FK_ERR_FORMAT)
        return refuse(s, fault);
    return err == FK_OK && s->request->expect_continue ? say_continue(s) : err;
}

static int open_stream(struct fk_streams *streams, const struct fk_h2_event *event)
{
    struct fk_stream *s = calloc(1, sizeof *s);

    if (s == NULL)
        return FK_ERR_NOMEM;
    s->owner = streams;
    s->id = event->stream;
    s->request = fk_h2_request(streams->h2, s->id);
    fk_buf_init_secret(&s->body, FK_H2_STREAM_WINDOW);
    fk_fetch_init(&s->fetch, streams->conf);
    fk_list_append(&streams->list, &s->link);
    streams->n++;
    return begin(s, event->fault);
}

/* A piece of what was kept, in chunks where its length is not known. */
static int pass_body(struct fk_stream *s)
{
    size_t len = fk_buf_len(&s->body), most = fk_exchange_piece(s->owner->conf);
    const uint8_t *data = fk_buf_data(&s->body);
    int err;

    len = len < most ? len : most;
    if (s->request->framing == FK_HTTP_CHUNKED)
        err = fk_h1_write_chunk(data, len, &s->fetch.out);
    else
        err = fk_buf_append(&s->fetch.out, data, len);
    fk_buf_consume(&s->body, len);
    return err == FK_OK ? fk_h2_consumed(s->owner->h2, s->id, len) : err;
}

static int end_request(struct fk_stream *s)
{
    struct fk_http_headers *trailers = fk_h2_trailers(s->owner->h2, s->id);
    int err = FK_OK;

    go(s, FK_EXCHANGE_FACT_ASKED_WHOLE);
    if (s->request->framing != FK_HTTP_CHUNKED)
        return err;
    fk_http_forward_trailers(trailers, s->owner->conf->forward);
    return fk_h1_write_last_chunk(trailers, &s->fetch.out);
}

static int step_request(struct fk_stream *s, bool *ret_moved)
{
    if (!request_comes(s) || fk_buf_len(&s->fetch.out) >= s->owner->conf->buffer)
        return FK_OK;
    if (fk_buf_len(&s->body) > 0) {
        *ret_moved = true;
        return pass_body(s);
    }
    if (!s->whole)
        return FK_OK;
    *ret_moved = true;
    return end_request(s);
}

/* The client's half is gone: answered, or reset. */
static void closed(struct fk_stream *s)
{
    s->request = NULL;
    fk_buf_fini(&s->body);
    fk_fetch_abandon(&s->fetch);
    if (is_over(s))
        return;
    s->fetch.spent = s->fetch.attached;
    go(s, FK_EXCHANGE_FACT_OVER);
}

static int take_event(struct fk_streams *streams, const struct fk_h2_event *event)
{
    struct fk_stream *s;

    if (event->kind == FK_H2_HEAD)
        return open_stream(streams, event);
    if ((s = find(streams, event->stream)) == NULL)
        return FK_OK;
    switch (event->kind) {
    case FK_H2_BODY:
        if (!request_comes(s))
            return fk_h2_consumed(streams->h2, s->id, event->body.left);
        return fk_buf_append(&s->body, event->body.next, event->body.left);
    case FK_H2_END:
        s->whole = true;
        break;
    case FK_H2_CLOSED:
        closed(s);
        break;
    case FK_H2_HEAD:
    case FK_H2_TRAILERS: /* there for end_request() */
    case FK_H2_ROOM:     /* looked for in step_answer() */
        break;
    }
    return FK_OK;
}

static int take_events(struct fk_streams *streams)
{
    struct fk_h2_event event;
    int err = FK_OK;

    while (err == FK_OK && fk_h2_next(streams->h2, &event) == FK_OK)
        err = take_event(streams, &event);
    return err;
}

/* --- answers --- */

/*
 * How much of an answer the client's half takes: no piece is smaller than what is read only whole.
 * Once much waits for one client in all, a stream gets a piece when it has nothing waiting.
 */
static size_t answer_room(const struct fk_stream *s)
{
    size_t room = fk_h2_room(s->owner->h2, s->id);

    if (room < FK_H2_OUT_MAX && fk_h2_waiting(s->owner->h2) >= FK_H2_WAITING_MAX)
        return 0;
    return room < FK_H2_RECV_MAX ? 0 : FK_H2_RECV_MAX;
}

static int pass_interim(struct fk_stream *s)
{
    struct fk_http_response *response = &s->fetch.resp.response;
    int err;

    if (response->status == 100) /* said by us when it was wanted */
        return FK_OK;
    if ((err = fk_http_forward_response(response, s->owner->conf->forward)) != FK_OK)
        return err == FK_ERR_LIMIT ? give_up(s, 502) : err;
    return fk_h2_respond(s->owner->h2, s->id, response, false);
}

static int begin_answer(struct fk_stream *s)
{
    struct fk_http_response *response = &s->fetch.resp.response;
    int err;

    if (response->status < 200)
        return pass_interim(s);
    s->status = response->status;
    if ((err = fk_http_forward_response(response, s->owner->conf->forward)) != FK_OK)
        return err == FK_ERR_LIMIT ? give_up(s, 502) : err;
    go(s, FK_EXCHANGE_FACT_ANSWERED);
    return fk_h2_respond(s->owner->h2, s->id, response, response->framing == FK_HTTP_NO_BODY);
}

static int end_answer(struct fk_stream *s)
{
    const struct fk_http_response *response = &s->fetch.resp.response;
    struct fk_http_headers *trailers = &s->fetch.resp.h1.trailers;
    bool reusable = response->keep_alive && s->state == FK_EXCHANGE_ANSWERING &&
                    fk_buf_len(&s->fetch.out) == 0 && !s->fetch.eof;
    int err = FK_OK;

    if (response->framing != FK_HTTP_NO_BODY)
        err = fk_h2_end(s->owner->h2, s->id, trailers->count > 0 ? trailers : NULL);
    s->fetch.spent = s->fetch.attached && !reusable;
    go(s, FK_EXCHANGE_FACT_ANSWERED_WHOLE);
    return err == FK_OK ? forget_body(s) : err;
}

static int pass_answer(struct fk_stream *s, const struct fk_http_event *event)
{
    switch (event->kind) {
    case FK_HTTP_HEAD:
        return begin_answer(s);
    case FK_HTTP_BODY:
        return fk_h2_write(s->owner->h2, s->id, event->body.next, event->body.left);
    case FK_HTTP_TRAILERS:
        fk_http_forward_trailers(&s->fetch.resp.h1.trailers, s->owner->conf->forward);
        return FK_OK;
    case FK_HTTP_END:
        break;
    }
    return end_answer(s);
}

/* The origin has gone without a word. */
static int origin_gone(struct fk_stream *s)
{
    if (s->state != FK_EXCHANGE_WAITING || !fk_fetch_may_repeat(&s->fetch, s->request))
        return give_up(s, 502);
    s->fetch.spent = s->fetch.retry = true;
    return FK_OK;
}

static int step_answer(struct fk_stream *s, bool *ret_moved)
{
    size_t used = 0, most = answer_begun(s) ? answer_room(s) : SIZE_MAX;
    struct fk_http_event event;
    int err;

    if (is_over(s)) /* an origin that has said more than it was asked serves nobody else */
        s->fetch.spent = s->fetch.attached && !fk_fetch_reusable(&s->fetch);
    if (s->state == FK_EXCHANGE_SENDING && fk_fetch_at_cache(&s->fetch))
        return FK_OK;
    if (!fk_fetch_speaks(&s->fetch) || is_over(s) || most == 0)
        return FK_OK;
    err = fk_fetch_next(&s->fetch, most, &used, &event);
    if (err == FK_ERR_AGAIN)
        return FK_OK;
    *ret_moved = true;
    if (err == FK_OK)
        err = pass_answer(s, &event);
    else if (err == FK_ERR_CLOSED)
        err = origin_gone(s);
    else if (err == FK_ERR_FORMAT)
        err = give_up(s, 502);
    fk_buf_consume(&s->fetch.in, used);
    return err;
}

/* --- the connection --- */

int fk_streams_init(struct fk_streams *streams, const struct fk_exchange_conf *conf)
{
    *streams = (struct fk_streams){.conf = conf};
    fk_list_init(&streams->list);
    fk_buf_init_secret(&streams->client_out, conf->buffer);
    return fk_h2_new(conf->limits, &streams->h2);
}

void fk_streams_fini(struct fk_streams *streams)
{
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &streams->list)
        fk_stream_free(fk_container(item, struct fk_stream, link));
    fk_buf_fini(&streams->client_out);
    fk_h2_free(streams->h2);
    streams->h2 = NULL;
}

int fk_streams_recv(struct fk_streams *streams, const void *data, size_t len)
{
    const uint8_t *next = data;
    int err;

    while (len > 0 && streams->err == FK_OK) {
        size_t piece = len < FK_H2_RECV_MAX ? len : FK_H2_RECV_MAX;

        streams->err = fk_h2_recv(streams->h2, next, piece);
        if (streams->err == FK_ERR_NOMEM || (err = take_events(streams)) != FK_OK)
            return FK_ERR_NOMEM;
        next += piece;
        len -= piece;
    }
    return FK_OK;
}

void fk_streams_client_ended(struct fk_streams *streams)
{
    streams->client_eof = true;
}

/* Nobody is there to be answered. */
static void abandon(struct fk_streams *streams)
{
    struct fk_list *item;

    fk_list_each (item, &streams->list)
        closed(fk_container(item, struct fk_stream, link));
}

static int step_all(struct fk_streams *streams, bool *ret_moved)
{
    struct fk_list *item;
    int err = FK_OK;

    fk_list_each (item, &streams->list) {
        struct fk_stream *s = fk_container(item, struct fk_stream, link);

        if ((err = step_answer(s, ret_moved)) != FK_OK ||
            (err = step_request(s, ret_moved)) != FK_OK)
            return err;
    }
    return FK_OK;
}

int fk_streams_run(struct fk_streams *streams)
{
    bool moved = true;
    int err = FK_OK;

    if (streams->client_eof || streams->err != FK_OK)
        abandon(streams);
    while (moved && err == FK_OK) {
        size_t before = fk_buf_len(&streams->client_out);

        moved = false;
        if ((err = step_all(streams, &moved)) == FK_OK &&
            (err = fk_h2_send(streams->h2, &streams->client_out)) == FK_OK)
            err = take_events(streams); /* a stream that was answered closes */
        moved = moved || fk_buf_len(&streams->client_out) != before;
    }
    return err;
}

bool fk_streams_reads_client(const struct fk_streams *streams)
{
    return !streams->client_eof && streams->err == FK_OK &&
           fk_buf_len(&streams->client_out) < streams->conf->buffer;
}

bool fk_streams_done(const struct fk_streams *streams)
{
    return fk_buf_len(&streams->client_out) == 0 &&
           (streams->client_eof || streams->err != FK_OK || fk_h2_done(streams->h2));
}

int fk_streams_drain(struct fk_streams *streams)
{
    return fk_h2_drain(streams->h2);
}

/* --- one stream --- */

bool fk_stream_reads_origin(const struct fk_stream *s)
{
    return !is_over(s) && fk_fetch_reads(&s->fetch);
}

bool fk_stream_wants_origin(const struct fk_stream *s)
{
    return fk_fetch_needs_origin(&s->fetch) &&
           (s->state == FK_EXCHANGE_SENDING || s->state == FK_EXCHANGE_WAITING);
}

bool fk_stream_releases(const struct fk_stream *s)
{
    return is_over(s) && fk_fetch_reusable(&s->fetch);
}

int fk_stream_detached(struct fk_stream *s)
{
    bool retry = s->fetch.retry && s->request != NULL;

    fk_fetch_detached(&s->fetch, retry || is_over(s));
    return retry ? fk_fetch_again(&s->fetch, s->request) : FK_OK;
}

int fk_stream_origin_failed(struct fk_stream *s, int status)
{
    return is_over(s) ? FK_OK : give_up(s, status);
}

bool fk_stream_over(const struct fk_stream *s)
{
    return is_over(s) && s->request == NULL && !s->fetch.attached;
}

void fk_stream_free(struct fk_stream *s)
{
    fk_list_del(&s->link);
    s->owner->n--;
    fk_buf_fini(&s->body);
    fk_fetch_fini(&s->fetch);
    free(s);
}
