/* HTTP/2, the connection, its streams and what goes out: see h2.h. */
#include "http/h2_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "http/text.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fk_h2_error(int error)
{
    return error == NGHTTP2_ERR_NOMEM ? FK_ERR_NOMEM : FK_ERR_INTERNAL;
}

static int check(int error)
{
    return error == 0 ? FK_OK : fk_h2_error(error);
}

/* --- streams and events --- */

struct h2_stream *fk_h2_find(struct fk_h2 *h2, int32_t id)
{
    struct fk_list *item;

    fk_list_each (item, &h2->streams) {
        struct h2_stream *stream = fk_container(item, struct h2_stream, link);

        if (stream->id == id)
            return stream;
    }
    return NULL;
}

/* The one that the caller may still tell something; NULL: it is over. */
static struct h2_stream *alive(struct fk_h2 *h2, int32_t id)
{
    struct h2_stream *stream = fk_h2_find(h2, id);

    return stream != NULL && !stream->over ? stream : NULL;
}

static void stream_free(struct fk_h2 *h2, struct h2_stream *stream)
{
    fk_list_del(&stream->link);
    h2->n_streams--;
    h2->waiting -= fk_buf_len(&stream->out);
    fk_http_request_fini(&stream->request);
    fk_http_headers_fini(&stream->trailers);
    fk_http_headers_fini(&stream->out_trailers);
    fk_buf_fini(&stream->out);
    free(stream);
}

void fk_h2_sweep(struct fk_h2 *h2)
{
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &h2->streams) {
        struct h2_stream *stream = fk_container(item, struct h2_stream, link);

        if (stream->over && stream->released)
            stream_free(h2, stream);
    }
}

int fk_h2_say(struct fk_h2 *h2, const struct fk_h2_event *event)
{
    if (h2->n_events == h2->events_cap) {
        size_t cap = h2->events_cap > 0 ? 2 * h2->events_cap : 8;
        struct fk_h2_event *events = reallocarray(h2->events, cap, sizeof *events);

        if (events == NULL)
            return FK_ERR_NOMEM;
        h2->events = events;
        h2->events_cap = cap;
    }
    h2->events[h2->n_events++] = *event;
    return FK_OK;
}

int fk_h2_next(struct fk_h2 *h2, struct fk_h2_event *ret)
{
    struct h2_stream *stream;

    fk_h2_sweep(h2);
    if (h2->next_event == h2->n_events) {
        h2->next_event = h2->n_events = 0;
        return FK_ERR_AGAIN;
    }
    *ret = h2->events[h2->next_event++];
    if (ret->kind == FK_H2_CLOSED && (stream = fk_h2_find(h2, ret->stream)) != NULL)
        stream->released = true;
    return FK_OK;
}

size_t fk_h2_streams(const struct fk_h2 *h2)
{
    const struct fk_list *item;
    size_t n = 0;

    for (item = h2->streams.next; item != &h2->streams; item = item->next)
        n += fk_container(item, const struct h2_stream, link)->released ? 0 : 1;
    return n;
}

struct fk_http_request *fk_h2_request(struct fk_h2 *h2, int32_t stream)
{
    struct h2_stream *found = fk_h2_find(h2, stream);

    return found != NULL && found->headed ? &found->request : NULL;
}

struct fk_http_headers *fk_h2_trailers(struct fk_h2 *h2, int32_t stream)
{
    struct h2_stream *found = fk_h2_find(h2, stream);

    return found != NULL ? &found->trailers : NULL;
}

/* --- the connection --- */

static int options_new(nghttp2_option **ret)
{
    nghttp2_option *option;

    if (nghttp2_option_new(&option) != 0)
        return FK_ERR_NOMEM;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_settings(option, FK_H2_SETTINGS_MAX);
    nghttp2_option_set_max_outbound_ack(option, FK_H2_ACKS_MAX);
    nghttp2_option_set_max_continuations(option, FK_H2_CONTINUATIONS);
    nghttp2_option_set_stream_reset_rate_limit(option, FK_H2_RESETS_BURST, FK_H2_RESETS_RATE);
    *ret = option;
    return FK_OK;
}

static int session_new(struct fk_h2 *h2)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    nghttp2_mem mem = fk_h2_mem(h2);
    int err;

    if ((err = fk_h2_callbacks_new(&callbacks)) != FK_OK || (err = options_new(&option)) != FK_OK)
        goto out;
    err = check(nghttp2_session_server_new3(&h2->session, callbacks, h2, option, &mem));
out:
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    return err;
}

static int say_settings(struct fk_h2 *h2)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, FK_H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, FK_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h2->limits->head},
    };
    int err = check(nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                            sizeof settings / sizeof settings[0]));

    if (err != FK_OK)
        return err;
    return check(nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                       FK_H2_CONNECTION_WINDOW));
}

int fk_h2_new(const struct fk_http_limits *limits, struct fk_h2 **ret)
{
    struct fk_h2 *h2 = calloc(1, sizeof *h2);
    int err;

    if (h2 == NULL)
        return FK_ERR_NOMEM;
    h2->limits = limits;
    h2->credit = FK_H2_CREDIT_MAX;
    fk_list_init(&h2->streams);
    if ((err = session_new(h2)) != FK_OK || (err = say_settings(h2)) != FK_OK) {
        fk_h2_free(h2);
        return err;
    }
    *ret = h2;
    return FK_OK;
}

void fk_h2_free(struct fk_h2 *h2)
{
    struct fk_list *item;

    if (h2 == NULL)
        return;
    nghttp2_session_del(h2->session); /* does not call back */
    while ((item = fk_list_pop(&h2->streams)) != NULL)
        stream_free(h2, fk_container(item, struct h2_stream, link));
    free(h2->events);
    free(h2);
}

static bool is_flood(const struct fk_h2 *h2, ssize_t used)
{
    return used == NGHTTP2_ERR_FLOODED || used == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS ||
           h2->sent_away;
}

/* It has been told already, or nghttp2 has just had enough by itself. */
static int send_away(struct fk_h2 *h2)
{
    int err = FK_OK;

    if (!h2->sent_away)
        err = check(nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM));
    h2->sent_away = true;
    return err == FK_OK ? FK_ERR_RATE : err;
}

int fk_h2_recv(struct fk_h2 *h2, const void *data, size_t len)
{
    ssize_t used;

    assert(len <= FK_H2_RECV_MAX && h2->next_event == h2->n_events);
    fk_h2_sweep(h2);
    if (h2->err != FK_OK)
        return h2->err;
    used = nghttp2_session_mem_recv(h2->session, data, len);
    if (h2->err == FK_OK && used == NGHTTP2_ERR_NOMEM)
        h2->err = FK_ERR_NOMEM;
    else if (h2->err == FK_OK && is_flood(h2, used))
        h2->err = send_away(h2);
    else if (h2->err == FK_OK && used < 0)
        h2->err = FK_ERR_FORMAT;
    return h2->err;
}

int fk_h2_send(struct fk_h2 *h2, struct fk_buf *out)
{
    for (;;) {
        size_t room = fk_buf_room(out), len = h2->pending_len < room ? h2->pending_len : room;
        ssize_t made;

        if (len > 0 && fk_buf_append(out, h2->pending, len) != FK_OK)
            return FK_ERR_NOMEM;
        h2->pending = len > 0 ? h2->pending + len : h2->pending;
        h2->pending_len -= len;
        if (h2->pending_len > 0 || fk_buf_room(out) == 0)
            return FK_OK;
        made = nghttp2_session_mem_send(h2->session, &h2->pending);
        if (h2->err == FK_ERR_NOMEM)
            return FK_ERR_NOMEM;
        if (made < 0)
            return fk_h2_error((int)made);
        if (made == 0)
            break;
        fk_h2_mem_used(h2, (size_t)made);
        h2->pending_len = (size_t)made;
    }
    if (h2->n_streams == 0)
        fk_h2_mem_rest(h2);
    return FK_OK;
}

bool fk_h2_done(const struct fk_h2 *h2)
{
    return h2->pending_len == 0 && nghttp2_session_want_read(h2->session) == 0 &&
           nghttp2_session_want_write(h2->session) == 0;
}

uint32_t fk_h2_goaway(const struct fk_h2 *h2)
{
    return h2->goaway;
}

bool fk_h2_flooded(const struct fk_h2 *h2)
{
    /* By INTERNAL_ERROR nghttp2 ends a client that resets too often. */
    return h2->err == FK_ERR_RATE || h2->goaway == NGHTTP2_ENHANCE_YOUR_CALM ||
           h2->goaway == NGHTTP2_INTERNAL_ERROR;
}

int fk_h2_drain(struct fk_h2 *h2)
{
    int err;

    if (h2->draining)
        return FK_OK;
    h2->draining = true;
    err = check(nghttp2_submit_shutdown_notice(h2->session));
    return err == FK_OK ? check(nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL)) : err;
}

/* --- answers --- */

/* Fields as nghttp2 takes them; it copies them when they are submitted. */
struct nv_list {
    nghttp2_nv *nv;
    uint8_t *names; /* all field names in lower case */
    size_t n;
};

static void nv_free(struct nv_list *list)
{
    free(list->nv);
    free(list->names);
}

static void nv_add(struct nv_list *list, const void *name, size_t name_len, const void *value,
                   size_t value_len)
{
    nghttp2_nv *nv = &list->nv[list->n++];

    *nv = (nghttp2_nv){.namelen = name_len, .valuelen = value_len, .flags = NGHTTP2_NV_FLAG_NONE};
    nv->name = (uint8_t *)(uintptr_t)name; /* only read */
    nv->value = (uint8_t *)(uintptr_t)(value_len > 0 ? value : "");
}

/* Room for the fields and `more`. */
static int nv_begin(struct nv_list *list, const struct fk_http_headers *headers, size_t more)
{
    size_t size = 1;

    for (size_t i = 0; i < headers->count; i++)
        size += headers->fields[i].name.len;
    *list = (struct nv_list){.nv = calloc(headers->count + more, sizeof *list->nv),
                             .names = malloc(size)};
    if (list->nv != NULL && list->names != NULL)
        return FK_OK;
    nv_free(list);
    return FK_ERR_NOMEM;
}

static void nv_fields(struct nv_list *list, const struct fk_http_headers *headers)
{
    uint8_t *at = list->names;

    for (size_t i = 0; i < headers->count; i++) {
        struct fk_reader name = fk_http_headers_name(headers, i);
        struct fk_reader value = fk_http_headers_value(headers, i);

        fk_text_lower((const char *)name.next, name.left, (char *)at);
        nv_add(list, at, name.left, value.next, value.left);
        at += name.left;
    }
}

static int submit_trailers(struct fk_h2 *h2, struct h2_stream *stream)
{
    struct nv_list list;
    int err = nv_begin(&list, &stream->out_trailers, 0);

    if (err != FK_OK)
        return err;
    nv_fields(&list, &stream->out_trailers);
    err = check(nghttp2_submit_trailer(h2->session, stream->id, list.nv, list.n));
    nv_free(&list);
    return err;
}

/* nghttp2 has room for some of the body. */
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *data_flags, nghttp2_data_source *source, void *context)
{
    struct fk_h2 *h2 = context;
    struct h2_stream *stream = source->ptr;
    size_t len = fk_buf_len(&stream->out);
    struct fk_h2_event room = {.kind = FK_H2_ROOM, .stream = id};

    (void)session;
    if (len == 0 && !stream->ended) {
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (len > length)
        len = length;
    if (len > 0)
        memcpy(buf, fk_buf_data(&stream->out), len);
    fk_buf_consume(&stream->out, len);
    h2->waiting -= len;
    if (stream->wants_room && fk_buf_len(&stream->out) <= FK_H2_OUT_MAX / 2) {
        stream->wants_room = false;
        if ((h2->err = fk_h2_say(h2, &room)) != FK_OK)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (!stream->ended || fk_buf_len(&stream->out) > 0)
        return (ssize_t)len;
    *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->out_trailers.count > 0) {
        *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if ((h2->err = submit_trailers(h2, stream)) != FK_OK)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)len;
}

static int submit_head(struct fk_h2 *h2, struct h2_stream *stream, const struct nv_list *list,
                       bool interim, bool end)
{
    nghttp2_data_provider body = {.source = {.ptr = stream}, .read_callback = read_body};

    if (interim)
        return check(nghttp2_submit_headers(h2->session, NGHTTP2_FLAG_NONE, stream->id, NULL,
                                            list->nv, list->n, NULL));
    return check(
        nghttp2_submit_response(h2->session, stream->id, list->nv, list->n, end ? NULL : &body));
}

int fk_h2_respond(struct fk_h2 *h2, int32_t id, const struct fk_http_response *response, bool end)
{
    struct h2_stream *stream = alive(h2, id);
    bool interim = response->status < 200;
    char status[4], length[24];
    struct nv_list list;
    int err, n;

    if (stream == NULL)
        return FK_OK;
    assert(!stream->answered && response->status >= 100 && response->status <= 599);
    if ((err = nv_begin(&list, &response->headers, 2)) != FK_OK)
        return err;
    snprintf(status, sizeof status, "%d", response->status);
    nv_add(&list, ":status", 7, status, 3);
    nv_fields(&list, &response->headers);
    n = snprintf(length, sizeof length, "%llu", (unsigned long long)response->length);
    if (response->framing == FK_HTTP_LENGTH || response->has_length)
        nv_add(&list, "content-length", 14, length, (size_t)n);
    err = submit_head(h2, stream, &list, interim, end);
    nv_free(&list);
    if (err == FK_OK && !interim) {
        stream->answered = true;
        stream->ended = end;
    }
    return err;
}

/* nghttp2 was told that there was nothing; now there is. */
static int resume(struct fk_h2 *h2, struct h2_stream *stream)
{
    if (!stream->deferred)
        return FK_OK;
    stream->deferred = false;
    return check(nghttp2_session_resume_data(h2->session, stream->id));
}

size_t fk_h2_room(struct fk_h2 *h2, int32_t id)
{
    struct h2_stream *stream = alive(h2, id);

    return stream != NULL ? fk_buf_room(&stream->out) : SIZE_MAX;
}

size_t fk_h2_waiting(const struct fk_h2 *h2)
{
    return h2->waiting;
}

int fk_h2_write(struct fk_h2 *h2, int32_t id, const void *data, size_t len)
{
    struct h2_stream *stream = alive(h2, id);
    int err;

    if (stream == NULL || len == 0)
        return FK_OK;
    assert(stream->answered && !stream->ended);
    err = fk_buf_append(&stream->out, data, len);
    stream->wants_room = stream->wants_room || err == FK_ERR_LIMIT;
    if (err != FK_OK)
        return err;
    h2->waiting += len;
    return resume(h2, stream);
}

static int copy_fields(struct fk_http_headers *to, const struct fk_http_headers *from)
{
    int err = FK_OK;

    for (size_t i = 0; i < from->count && err == FK_OK; i++)
        err =
            fk_http_headers_add(to, fk_http_headers_name(from, i), fk_http_headers_value(from, i));
    return err;
}

int fk_h2_end(struct fk_h2 *h2, int32_t id, const struct fk_http_headers *trailers)
{
    struct h2_stream *stream = alive(h2, id);
    int err;

    if (stream == NULL)
        return FK_OK;
    assert(stream->answered && !stream->ended);
    if (trailers != NULL && (err = copy_fields(&stream->out_trailers, trailers)) != FK_OK)
        return err;
    stream->ended = true;
    return resume(h2, stream);
}

int fk_h2_reset(struct fk_h2 *h2, int32_t id)
{
    struct h2_stream *stream = alive(h2, id);

    if (stream == NULL)
        return FK_OK;
    return check(
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR));
}

int fk_h2_consumed(struct fk_h2 *h2, int32_t id, size_t len)
{
    struct h2_stream *stream = alive(h2, id);

    if (stream == NULL)
        return FK_OK;
    assert(len <= stream->unconsumed);
    stream->unconsumed -= len;
    return check(nghttp2_session_consume(h2->session, id, len));
}
