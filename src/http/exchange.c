/* Requests of one client, passed to origins: see exchange.h. */
#include "http/exchange.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/h1write.h"
#include "http/own.h"
#include "http/text.h"

#include <assert.h>

/* --- the machine --- */

#define TO(state) (FK_EXCHANGE_##state + 1) /* zero is an empty cell */

static const uint8_t next_states[FK_EXCHANGE_STATE_COUNT][FK_EXCHANGE_FACT_COUNT] = {
    [FK_EXCHANGE_IDLE] =
        {[FK_EXCHANGE_FACT_ASKED] = TO(SENDING), [FK_EXCHANGE_FACT_OVER] = TO(CLOSING)},
    [FK_EXCHANGE_SENDING] =
        {
            [FK_EXCHANGE_FACT_ASKED_WHOLE] = TO(WAITING),
            [FK_EXCHANGE_FACT_ANSWERED] = TO(BOTH),
            [FK_EXCHANGE_FACT_OVER] = TO(CLOSING),
        },
    [FK_EXCHANGE_WAITING] =
        {
            [FK_EXCHANGE_FACT_ANSWERED] = TO(ANSWERING),
            [FK_EXCHANGE_FACT_SWITCHED] = TO(TUNNEL),
            [FK_EXCHANGE_FACT_OVER] = TO(CLOSING),
        },
    [FK_EXCHANGE_BOTH] =
        {
            [FK_EXCHANGE_FACT_ASKED_WHOLE] = TO(ANSWERING),
            /* The rest of the request is not wanted, and where it ends not known. */
            [FK_EXCHANGE_FACT_ANSWERED_WHOLE] = TO(CLOSING),
            [FK_EXCHANGE_FACT_ANSWERED_LAST] = TO(CLOSING),
            [FK_EXCHANGE_FACT_OVER] = TO(CLOSING),
        },
    [FK_EXCHANGE_ANSWERING] =
        {
            [FK_EXCHANGE_FACT_ANSWERED_WHOLE] = TO(IDLE),
            [FK_EXCHANGE_FACT_ANSWERED_LAST] = TO(CLOSING),
            [FK_EXCHANGE_FACT_OVER] = TO(CLOSING),
        },
    [FK_EXCHANGE_TUNNEL] = {[FK_EXCHANGE_FACT_OVER] = TO(CLOSING)},
    [FK_EXCHANGE_CLOSING] = {[FK_EXCHANGE_FACT_OVER] = TO(CLOSING)},
};

enum fk_exchange_state fk_exchange_next(enum fk_exchange_state state, enum fk_exchange_fact fact)
{
    uint8_t cell = next_states[state][fact];

    return cell == 0 ? FK_EXCHANGE_STATE_COUNT : (enum fk_exchange_state)(cell - 1);
}

static void go(struct fk_exchange *x, enum fk_exchange_fact fact)
{
    enum fk_exchange_state next = fk_exchange_next(x->state, fact);

    assert(next < FK_EXCHANGE_STATE_COUNT);
    x->state = next;
}

static bool request_comes(const struct fk_exchange *x)
{
    return x->state == FK_EXCHANGE_IDLE || x->state == FK_EXCHANGE_SENDING ||
           x->state == FK_EXCHANGE_BOTH;
}

static bool answer_begun(const struct fk_exchange *x)
{
    return x->state == FK_EXCHANGE_BOTH || x->state == FK_EXCHANGE_ANSWERING ||
           x->state == FK_EXCHANGE_TUNNEL;
}

/* --- queues --- */

void fk_exchange_init(struct fk_exchange *x, const struct fk_exchange_conf *conf)
{
    *x = (struct fk_exchange){.conf = conf};
    fk_h1req_init(&x->req, conf->limits);
    fk_fetch_init(&x->fetch, conf);
    fk_buf_init_secret(&x->client_in, fk_exchange_in_max(conf));
    fk_buf_init_secret(&x->client_out, fk_exchange_out_max(conf));
}

void fk_exchange_fini(struct fk_exchange *x)
{
    fk_h1req_fini(&x->req);
    fk_fetch_fini(&x->fetch);
    fk_buf_fini(&x->client_in);
    fk_buf_fini(&x->client_out);
}

/* --- what the edge says itself --- */

/* A short answer with `status`; the connection ends with it. */
static int answer(struct fk_exchange *x, int status)
{
    bool head = fk_http_request_is(&x->req.request, "HEAD");
    struct fk_http_response response;
    char body[FK_HTTP_OWN_MAX];
    int err;

    fk_http_response_init(&response, x->conf->limits);
    x->status = status;
    if ((err = fk_http_own_answer(status, &response, body)) == FK_OK)
        err = fk_h1_write_response(&response, x->req.request.version, FK_H1_LAST, &x->client_out);
    if (err == FK_OK && !head)
        err = fk_buf_append(&x->client_out, body, (size_t)response.length);
    fk_http_response_fini(&response);
    return err;
}

/* Nothing more of this can be passed on. */
static int give_up(struct fk_exchange *x, int status)
{
    int err = FK_OK;

    if (status >= 502 && !answer_begun(x) && fk_fetch_rescued(&x->fetch)) {
        x->fetch.spent = x->fetch.attached;
        return FK_OK;
    }
    fk_fetch_abandon(&x->fetch);
    if (answer_begun(x))
        x->broken = true;
    else if (x->state != FK_EXCHANGE_CLOSING)
        err = answer(x, status);
    x->fetch.spent = x->fetch.attached;
    go(x, FK_EXCHANGE_FACT_OVER);
    return err;
}

static int client_fault(struct fk_exchange *x)
{
    x->fault = x->req.h1.fault;
    return give_up(x, fk_http_fault_status(x->fault));
}

/* --- requests --- */

static int begin_request(struct fk_exchange *x)
{
    struct fk_http_request *request = &x->req.request;
    int err;

    x->requests++;
    x->last = x->draining || !request->keep_alive;
    go(x, FK_EXCHANGE_FACT_ASKED);
    if (request->authority.len == 0) /* HTTP/1.0: nobody can say which host was meant */
        return give_up(x, 400);
    err = fk_fetch_begin(&x->fetch, request, &x->fault);
    if (err == FK_ERR_FORMAT)
        return give_up(x, fk_http_fault_status(x->fault));
    return err == FK_OK && request->expect_continue ? fk_h1_write_continue(&x->client_out) : err;
}

static int pass_request(struct fk_exchange *x, const struct fk_http_event *event)
{
    bool chunked = x->req.request.framing == FK_HTTP_CHUNKED;
    int err = FK_OK;

    switch (event->kind) {
    case FK_HTTP_HEAD:
        return begin_request(x);
    case FK_HTTP_BODY:
        if (chunked)
            return fk_h1_write_chunk(event->body.next, event->body.left, &x->fetch.out);
        return fk_buf_append(&x->fetch.out, event->body.next, event->body.left);
    case FK_HTTP_TRAILERS:
        fk_http_forward_trailers(&x->req.h1.trailers, x->conf->forward);
        return FK_OK;
    case FK_HTTP_END:
        if (chunked)
            err = fk_h1_write_last_chunk(&x->req.h1.trailers, &x->fetch.out);
        go(x, FK_EXCHANGE_FACT_ASKED_WHOLE);
        break;
    }
    return err;
}

static bool may_read_request(const struct fk_exchange *x)
{
    /* A pipelined one waits until the answers before it have left, and until it is known that the
     * origin has said nothing that it was not asked. */
    if (x->state == FK_EXCHANGE_IDLE)
        return !x->fetch.spent && fk_buf_len(&x->fetch.in) == 0 &&
               fk_buf_len(&x->client_out) < x->conf->buffer;
    return request_comes(x) && fk_buf_len(&x->fetch.out) < x->conf->buffer;
}

/* No more of a request will come. */
static void client_gone(struct fk_exchange *x)
{
    x->broken = x->state != FK_EXCHANGE_IDLE;
    fk_fetch_abandon(&x->fetch);
    x->fetch.spent = x->fetch.attached;
    go(x, FK_EXCHANGE_FACT_OVER);
}

static int step_request(struct fk_exchange *x, bool *ret_moved)
{
    size_t len = fk_buf_len(&x->client_in), used;
    struct fk_http_event event;
    int err;

    if (!may_read_request(x))
        return FK_OK;
    if (x->state != FK_EXCHANGE_IDLE && len > fk_exchange_piece(x->conf))
        len = fk_exchange_piece(x->conf);
    err = fk_h1req_next(&x->req, fk_buf_data(&x->client_in), len, &used, &event);
    if (err == FK_OK)
        err = pass_request(x, &event);
    else if (err == FK_ERR_FORMAT)
        err = client_fault(x);
    fk_buf_consume(&x->client_in, used);
    if (err == FK_ERR_AGAIN) {
        if (x->client_eof)
            client_gone(x);
        return FK_OK;
    }
    *ret_moved = true;
    return err;
}

/* --- answers --- */

static int switch_protocol(struct fk_exchange *x)
{
    struct fk_http_response *response = &x->fetch.resp.response;
    int err;

    if (x->state != FK_EXCHANGE_WAITING) /* the request's body is still HTTP */
        return give_up(x, 502);
    if ((err = fk_http_forward_response(response, x->conf->forward)) != FK_OK)
        return err == FK_ERR_LIMIT ? give_up(x, 502) : err;
    x->last = true;
    go(x, FK_EXCHANGE_FACT_SWITCHED);
    return fk_h1_write_response(response, FK_HTTP_1_1, FK_H1_UPGRADE, &x->client_out);
}

/* 100 was said by us, when it was wanted; HTTP/1.0 knows none. */
static int pass_interim(struct fk_exchange *x)
{
    struct fk_http_response *response = &x->fetch.resp.response;
    int err;

    if (response->status == 100 || x->req.request.version == FK_HTTP_1_0)
        return FK_OK;
    if ((err = fk_http_forward_response(response, x->conf->forward)) != FK_OK)
        return err == FK_ERR_LIMIT ? give_up(x, 502) : err;
    return fk_h1_write_response(response, FK_HTTP_1_1, FK_H1_KEEP, &x->client_out);
}

/* A body whose end the client would not see otherwise: chunks, or for HTTP/1.0 the end of the
 * connection. */
static void reframe(struct fk_exchange *x)
{
    struct fk_http_response *response = &x->fetch.resp.response;

    x->rechunk = false;
    if (response->framing != FK_HTTP_CHUNKED && response->framing != FK_HTTP_CLOSE)
        return;
    x->rechunk = x->req.request.version == FK_HTTP_1_1;
    response->framing = x->rechunk ? FK_HTTP_CHUNKED : FK_HTTP_CLOSE;
    x->last = x->last || !x->rechunk;
}

static int begin_answer(struct fk_exchange *x)
{
    struct fk_http_response *response = &x->fetch.resp.response;
    enum fk_http_version client = x->req.request.version;
    enum fk_h1_connection connection = FK_H1_KEEP;
    int err;

    x->status = response->status;
    if (response->framing == FK_HTTP_TUNNEL)
        return switch_protocol(x);
    if (response->status < 200)
        return pass_interim(x);
    if ((err = fk_http_forward_response(response, x->conf->forward)) != FK_OK)
        return err == FK_ERR_LIMIT ? give_up(x, 502) : err;
    /* The answer to a request that is not whole yet: what is left of it would be in the way. */
    x->last = x->last || x->draining || x->state == FK_EXCHANGE_SENDING;
    reframe(x);
    if (x->last)
        connection = FK_H1_LAST;
    else if (client == FK_HTTP_1_0)
        connection = FK_H1_KEEP_OLD;
    go(x, FK_EXCHANGE_FACT_ANSWERED);
    return fk_h1_write_response(response, client, connection, &x->client_out);
}

static int end_answer(struct fk_exchange *x)
{
    bool reusable = x->fetch.resp.response.keep_alive && x->state == FK_EXCHANGE_ANSWERING &&
                    fk_buf_len(&x->fetch.out) == 0 && !x->fetch.eof;
    int err = FK_OK;

    if (x->rechunk)
        err = fk_h1_write_last_chunk(&x->fetch.resp.h1.trailers, &x->client_out);
    x->fetch.spent = x->fetch.attached && !reusable;
    x->fetch.reused = true;
    go(x, x->last ? FK_EXCHANGE_FACT_ANSWERED_LAST : FK_EXCHANGE_FACT_ANSWERED_WHOLE);
    if (x->state == FK_EXCHANGE_IDLE)
        fk_h1req_restart(&x->req);
    return err;
}

static int pass_answer(struct fk_exchange *x, const struct fk_http_event *event)
{
    switch (event->kind) {
    case FK_HTTP_HEAD:
        return begin_answer(x);
    case FK_HTTP_BODY:
        if (x->rechunk)
            return fk_h1_write_chunk(event->body.next, event->body.left, &x->client_out);
        return fk_buf_append(&x->client_out, event->body.next, event->body.left);
    case FK_HTTP_TRAILERS:
        fk_http_forward_trailers(&x->fetch.resp.h1.trailers, x->conf->forward);
        return FK_OK;
    case FK_HTTP_END:
        break;
    }
    return end_answer(x);
}

static bool may_read_answer(const struct fk_exchange *x)
{
    if (x->state == FK_EXCHANGE_SENDING && fk_fetch_at_cache(&x->fetch))
        return false;
    return fk_fetch_speaks(&x->fetch) && x->state != FK_EXCHANGE_CLOSING &&
           x->state != FK_EXCHANGE_TUNNEL && fk_buf_len(&x->client_out) < x->conf->buffer;
}

/* The origin has gone without a word. */
static int origin_gone(struct fk_exchange *x)
{
    if (x->state == FK_EXCHANGE_IDLE) {
        x->fetch.spent = true;
        return FK_OK;
    }
    if (x->state != FK_EXCHANGE_WAITING || !fk_fetch_may_repeat(&x->fetch, &x->req.request))
        return give_up(x, 502);
    x->fetch.spent = x->fetch.retry = true;
    return FK_OK;
}

static int step_answer(struct fk_exchange *x, bool *ret_moved)
{
    size_t used = 0, most = answer_begun(x) ? fk_exchange_piece(x->conf) : SIZE_MAX;
    struct fk_http_event event;
    int err;

    if (!may_read_answer(x))
        return FK_OK;
    err = fk_fetch_next(&x->fetch, most, &used, &event);
    if (err == FK_ERR_AGAIN)
        return FK_OK;
    *ret_moved = true;
    if (err == FK_ERR_FORMAT && x->state == FK_EXCHANGE_IDLE) {
        x->fetch.spent = true; /* said something unasked: never used again */
        return FK_OK;
    }
    if (err == FK_OK)
        err = pass_answer(x, &event);
    else if (err == FK_ERR_CLOSED)
        err = origin_gone(x);
    else if (err == FK_ERR_FORMAT)
        err = give_up(x, 502);
    fk_buf_consume(&x->fetch.in, used);
    return err;
}

/* --- tunnels --- */

/* From one queue to the other, up to the bound. */
static int carry(struct fk_exchange *x, struct fk_buf *from, struct fk_buf *to, bool *ret_moved)
{
    size_t len = fk_buf_len(from), waiting = fk_buf_len(to);
    size_t room = waiting < x->conf->buffer ? x->conf->buffer - waiting : 0;
    int err;

    len = len < room ? len : room;
    if (len == 0)
        return FK_OK;
    if ((err = fk_buf_append(to, fk_buf_data(from), len)) != FK_OK)
        return err;
    fk_buf_consume(from, len);
    *ret_moved = true;
    return FK_OK;
}

static int step_tunnel(struct fk_exchange *x, bool *ret_moved)
{
    int err;

    if (x->state != FK_EXCHANGE_TUNNEL)
        return FK_OK;
    if ((err = carry(x, &x->client_in, &x->fetch.out, ret_moved)) != FK_OK ||
        (err = carry(x, &x->fetch.in, &x->client_out, ret_moved)) != FK_OK)
        return err;
    if ((x->fetch.eof && fk_buf_len(&x->fetch.in) == 0) ||
        (x->client_eof && fk_buf_len(&x->client_in) + fk_buf_len(&x->fetch.out) == 0)) {
        x->fetch.spent = true;
        go(x, FK_EXCHANGE_FACT_OVER);
    }
    return FK_OK;
}

/* --- for the owner --- */

int fk_exchange_run(struct fk_exchange *x)
{
    bool moved = true;
    int err = FK_OK;

    while (moved && err == FK_OK) {
        moved = false;
        /* Answers first: what an origin has said unasked must not answer the next request. */
        if ((err = step_answer(x, &moved)) == FK_OK && (err = step_request(x, &moved)) == FK_OK)
            err = step_tunnel(x, &moved);
    }
    return err;
}

static bool has_room(const struct fk_exchange *x, const struct fk_buf *in)
{
    return fk_buf_room(in) > 0 && fk_buf_room(in) >= x->conf->read_most;
}

bool fk_exchange_reads_client(const struct fk_exchange *x)
{
    return !x->client_eof && x->state != FK_EXCHANGE_CLOSING && has_room(x, &x->client_in);
}

bool fk_exchange_reads_origin(const struct fk_exchange *x)
{
    return x->state != FK_EXCHANGE_CLOSING && fk_fetch_reads(&x->fetch);
}

bool fk_exchange_wants_origin(const struct fk_exchange *x)
{
    return fk_fetch_needs_origin(&x->fetch) &&
           (x->state == FK_EXCHANGE_SENDING || x->state == FK_EXCHANGE_WAITING);
}

bool fk_exchange_done(const struct fk_exchange *x)
{
    return x->broken || (x->state == FK_EXCHANGE_CLOSING && fk_buf_len(&x->client_out) == 0);
}

bool fk_exchange_releases(const struct fk_exchange *x)
{
    return (x->state == FK_EXCHANGE_IDLE || x->state == FK_EXCHANGE_CLOSING) &&
           fk_fetch_reusable(&x->fetch);
}

void fk_exchange_attached(struct fk_exchange *x, bool reused)
{
    fk_fetch_attached(&x->fetch, reused);
}

int fk_exchange_detached(struct fk_exchange *x)
{
    bool retry = x->fetch.retry;

    fk_fetch_detached(&x->fetch,
                      retry || x->state == FK_EXCHANGE_IDLE || x->state == FK_EXCHANGE_CLOSING);
    return retry ? fk_fetch_again(&x->fetch, &x->req.request) : FK_OK;
}

int fk_exchange_origin_failed(struct fk_exchange *x, int status)
{
    if (x->state == FK_EXCHANGE_IDLE || x->state == FK_EXCHANGE_CLOSING)
        return FK_OK;
    return give_up(x, status);
}

void fk_exchange_origin_ended(struct fk_exchange *x)
{
    x->fetch.eof = true;
}

void fk_exchange_client_ended(struct fk_exchange *x)
{
    x->client_eof = true;
}

bool fk_exchange_awaits_head(const struct fk_exchange *x)
{
    return x->state == FK_EXCHANGE_IDLE && (x->requests == 0 || fk_buf_len(&x->client_in) > 0);
}

int fk_exchange_head_late(struct fk_exchange *x)
{
    if (!fk_exchange_awaits_head(x))
        return FK_OK;
    if (fk_buf_len(&x->client_in) == 0) { /* it was made in case it would be needed */
        go(x, FK_EXCHANGE_FACT_OVER);
        return FK_OK;
    }
    x->fault = FK_HTTP_FAULT_LATE;
    return give_up(x, fk_http_fault_status(x->fault));
}

void fk_exchange_wind_down(struct fk_exchange *x)
{
    x->draining = true;
}

void fk_exchange_drain(struct fk_exchange *x)
{
    fk_exchange_wind_down(x);
    if (x->state == FK_EXCHANGE_IDLE && x->requests > 0 && fk_buf_len(&x->client_in) == 0)
        go(x, FK_EXCHANGE_FACT_OVER);
}
