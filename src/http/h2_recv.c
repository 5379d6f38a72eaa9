/*
 * HTTP/2, what comes in: nghttp2's callbacks, which make messages and events of frames. nghttp2 has
 * checked what RFC 9113 section 8 says of fields (letter case, order of pseudo-header fields, those
 * of connections, lengths of bodies); what HTTP/1 says besides is checked here, by the same
 * functions as there.
 */
#include "http/h2_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/framing.h"
#include "http/target.h"
#include "http/text.h"

#include <stdlib.h>
#include <string.h>

/* Remember the first error; nghttp2 then gives up. */
static int fail(struct fk_h2 *h2, int err)
{
    if (h2->err == FK_OK)
        h2->err = err;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int say(struct fk_h2 *h2, struct h2_stream *stream, enum fk_h2_event_kind kind)
{
    struct fk_h2_event event = {.kind = kind, .stream = stream->id, .fault = stream->fault};
    int err = fk_h2_say(h2, &event);

    return err == FK_OK ? 0 : fail(h2, err);
}

/* One more frame that serves no request. */
static void count_glitch(struct fk_h2 *h2)
{
    if (--h2->credit >= 0 || h2->sent_away)
        return;
    h2->sent_away = true;
    if (nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM) != 0)
        h2->err = FK_ERR_NOMEM;
}

/* --- heads --- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct fk_h2 *h2 = context;
    struct h2_stream *stream;

    (void)session;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return fail(h2, FK_ERR_NOMEM);
    stream->id = frame->hd.stream_id;
    fk_http_request_init(&stream->request, h2->limits);
    stream->request.version = FK_HTTP_2;
    stream->request.keep_alive = true;
    fk_http_headers_init(&stream->trailers, FK_HTTP_TRAILERS_MAX, FK_HTTP_TRAILER_FIELDS_MAX);
    fk_http_headers_init(&stream->out_trailers, FK_HTTP_TRAILERS_MAX, FK_HTTP_TRAILER_FIELDS_MAX);
    fk_buf_init(&stream->out, FK_H2_OUT_MAX);
    fk_list_append(&h2->streams, &stream->link);
    h2->n_streams++;
    return 0;
}

/* FK_ERR_LIMIT and FK_ERR_FORMAT are the request's fault, not the connection's end. */
static int note_error(struct fk_h2 *h2, struct h2_stream *stream, int err)
{
    if (err == FK_OK)
        return 0;
    if (err != FK_ERR_LIMIT && err != FK_ERR_FORMAT)
        return fail(h2, err);
    stream->fault = err == FK_ERR_LIMIT ? FK_HTTP_FAULT_FIELDS_LARGE : FK_HTTP_FAULT_VALUE_BAD;
    return 0;
}

static int keep_pseudo(struct h2_stream *stream, struct fk_reader name, struct fk_reader value)
{
    struct fk_http_request *request = &stream->request;
    const struct {
        const char *name;
        struct fk_http_part *part;
    } rows[] = {{":method", &request->method},
                {":scheme", &request->scheme},
                {":authority", &request->authority},
                {":path", &request->path}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (fk_http_equal(name, rows[i].name))
            return fk_http_headers_keep(&request->headers, value, rows[i].part);
    stream->fault = FK_HTTP_FAULT_H2_PSEUDO;
    return FK_OK;
}

/* A field of a head, within what a head may have. */
static int add_field(const struct fk_http_limits *limits, struct h2_stream *stream,
                     struct fk_reader name, struct fk_reader value)
{
    struct fk_http_headers *headers = &stream->request.headers;

    if (name.left + value.left > limits->head - headers->len)
        return FK_ERR_LIMIT;
    if (name.left > 0 && name.next[0] == ':')
        return keep_pseudo(stream, name, value);
    if (headers->count < limits->fields)
        return fk_http_headers_add(headers, name, value);
    stream->fault = FK_HTTP_FAULT_FIELDS_MANY;
    return FK_OK;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *context)
{
    struct fk_h2 *h2 = context;
    struct h2_stream *stream = fk_h2_find(h2, frame->hd.stream_id);
    struct fk_reader n, v;

    (void)session;
    (void)flags;
    if (stream == NULL || stream->fault != FK_HTTP_FAULT_NONE)
        return 0;
    fk_reader_init(&n, name, name_len);
    fk_reader_init(&v, value, value_len);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        return note_error(h2, stream, add_field(h2->limits, stream, n, v));
    return note_error(h2, stream, fk_http_headers_add(&stream->trailers, n, v));
}

/* nghttp2 would drop the field and go on; a request that is not as it was sent is refused. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags,
                             void *context)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)value;
    (void)flags;
    count_glitch(context);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Host and :authority (RFC 9113 section 8.3.1). */
static enum fk_http_fault take_authority(struct fk_http_request *request, bool https)
{
    struct fk_http_headers *headers = &request->headers;
    size_t hosts = fk_http_headers_count(headers, "Host"), at;
    struct fk_http_authority authority, host;

    if (hosts > 1)
        return FK_HTTP_FAULT_HOST_REPEATED;
    at = fk_http_headers_index(headers, "Host", 0);
    if (request->authority.len == 0 && hosts == 0)
        return FK_HTTP_FAULT_HOST_MISSING;
    if (request->authority.len == 0)
        request->authority = headers->fields[at].value;
    if (fk_http_authority_parse(fk_http_request_part(request, request->authority), &authority) !=
        FK_OK)
        return FK_HTTP_FAULT_HOST_BAD;
    if (hosts == 0)
        return FK_HTTP_FAULT_NONE;
    if (fk_http_authority_parse(fk_http_headers_value(headers, at), &host) != FK_OK)
        return FK_HTTP_FAULT_HOST_BAD;
    if (!fk_http_authority_same(&authority, &host, https ? 443 : 80))
        return FK_HTTP_FAULT_HOST_DIFFERS;
    fk_http_headers_remove(headers, fk_http_text("Host"), false);
    return FK_HTTP_FAULT_NONE;
}

static enum fk_http_fault check_target(const struct fk_http_request *request, bool https)
{
    struct fk_reader scheme = fk_http_request_part(request, request->scheme);
    struct fk_reader path = fk_http_request_part(request, request->path);

    if (fk_http_request_is(request, "CONNECT"))
        return FK_HTTP_FAULT_CONNECT;
    if (!fk_http_method_known(fk_http_request_part(request, request->method)))
        return FK_HTTP_FAULT_METHOD;
    if (!https && !fk_http_equal_case(scheme, "http"))
        return FK_HTTP_FAULT_TARGET_BAD;
    if (fk_http_equal(path, "*"))
        return fk_http_request_is(request, "OPTIONS") ? FK_HTTP_FAULT_NONE
                                                      : FK_HTTP_FAULT_TARGET_FORM;
    return fk_http_path_check(path);
}

static enum fk_http_fault read_meaning(struct fk_http_request *request, bool ends)
{
    bool https = fk_http_equal_case(fk_http_request_part(request, request->scheme), "https");
    struct fk_http_body_fields body;
    enum fk_http_fault fault;

    if ((fault = check_target(request, https)) != FK_HTTP_FAULT_NONE ||
        (fault = take_authority(request, https)) != FK_HTTP_FAULT_NONE ||
        (fault = fk_http_take_body_fields(&request->headers, FK_HTTP_2, &body)) !=
            FK_HTTP_FAULT_NONE)
        return fault;
    if (ends && body.length > 0)
        return FK_HTTP_FAULT_H2_BODY_LENGTH;
    if (!ends && body.framing == FK_HTTP_NO_BODY)
        body.framing = FK_HTTP_CHUNKED;
    request->framing = body.framing;
    request->length = body.length;
    return fk_http_take_expect(request);
}

static int finish_head(struct fk_h2 *h2, struct h2_stream *stream, bool ends)
{
    struct fk_http_headers *headers = &stream->request.headers;
    int err;

    if (stream->fault == FK_HTTP_FAULT_NONE)
        stream->fault = read_meaning(&stream->request, ends);
    if (stream->fault == FK_HTTP_FAULT_NONE &&
        (err = note_error(h2, stream, fk_http_headers_join(headers, "Cookie", "; "))) != 0)
        return err;
    stream->headed = true;
    return say(h2, stream, FK_H2_HEAD);
}

static int finish_trailers(struct fk_h2 *h2, struct h2_stream *stream)
{
    bool bad = stream->fault != FK_HTTP_FAULT_NONE;

    for (size_t i = 0; i < stream->trailers.count; i++)
        bad = bad || fk_http_trailer_forbidden(fk_http_headers_name(&stream->trailers, i));
    if (!bad)
        return stream->trailers.count > 0 ? say(h2, stream, FK_H2_TRAILERS) : 0;
    count_glitch(h2);
    return nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id,
                                     NGHTTP2_PROTOCOL_ERROR) == 0
               ? 0
               : fail(h2, FK_ERR_NOMEM);
}

/* --- frames --- */

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *context)
{
    bool ends = (head->flags & NGHTTP2_FLAG_END_STREAM) != 0;
    bool ack = (head->flags & NGHTTP2_FLAG_ACK) != 0;

    (void)session;
    switch (head->type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_GOAWAY:
        return 0;
    case NGHTTP2_DATA:
        if (head->length > 0 || ends)
            return 0;
        break;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
        if (ack)
            return 0;
        break;
    default: /* PRIORITY, RST_STREAM, and types that are not known */
        break;
    }
    count_glitch(context);
    return 0;
}

/* An echo of the PING of fk_h2_drain(): whatever the client asks now, it asks in vain. */
static int finish_drain(struct fk_h2 *h2)
{
    int32_t last = nghttp2_session_get_last_proc_stream_id(h2->session);

    if (!h2->draining)
        return 0;
    return nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) ==
                   0
               ? 0
               : fail(h2, FK_ERR_NOMEM);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct fk_h2 *h2 = context;
    struct h2_stream *stream = fk_h2_find(h2, frame->hd.stream_id);
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    int err = 0;

    (void)session;
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
        return finish_drain(h2);
    if (stream == NULL || (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS))
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        err = frame->headers.cat == NGHTTP2_HCAT_REQUEST ? finish_head(h2, stream, ends)
                                                         : finish_trailers(h2, stream);
    if (err != 0 || !ends)
        return err;
    stream->whole = true;
    return stream->fault == FK_HTTP_FAULT_NONE ? say(h2, stream, FK_H2_END) : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *context)
{
    struct fk_h2 *h2 = context;
    struct h2_stream *stream = fk_h2_find(h2, id);
    struct fk_h2_event event = {.kind = FK_H2_BODY, .stream = id};
    int err;

    (void)flags;
    /* The body of a refused request is thrown away. */
    if (stream == NULL || stream->fault != FK_HTTP_FAULT_NONE)
        return nghttp2_session_consume(session, id, len) == 0 ? 0 : fail(h2, FK_ERR_NOMEM);
    fk_reader_init(&event.body, data, len);
    if ((err = fk_h2_say(h2, &event)) != FK_OK)
        return fail(h2, err);
    stream->unconsumed += len;
    stream->received += len;
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *context)
{
    (void)session;
    (void)frame;
    (void)error;
    count_glitch(context);
    return 0;
}

/* What the stream held of the connection's window is given back. */
static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *context)
{
    struct fk_h2 *h2 = context;
    struct h2_stream *stream = fk_h2_find(h2, id);
    struct fk_h2_event event = {.kind = FK_H2_CLOSED, .stream = id};
    int err;

    if (stream == NULL)
        return 0;
    stream->over = true;
    stream->released = !stream->headed;
    if (stream->unconsumed > 0 &&
        nghttp2_session_consume_connection(session, stream->unconsumed) != 0)
        return fail(h2, FK_ERR_NOMEM);
    stream->unconsumed = 0;
    event.whole = error == NGHTTP2_NO_ERROR && stream->whole && stream->ended;
    if (event.whole && h2->credit < FK_H2_CREDIT_MAX)
        h2->credit += FK_H2_CREDIT_REQUEST;
    if (!stream->headed)
        return 0;
    err = fk_h2_say(h2, &event);
    return err == FK_OK ? 0 : fail(h2, err);
}

/* It is on its way already, in all likelihood: the client needs no leave to send it. */
static bool rest_is_small(const struct h2_stream *stream)
{
    return stream->fault == FK_HTTP_FAULT_NONE && stream->request.framing == FK_HTTP_LENGTH &&
           stream->request.length - stream->received <= FK_H2_STREAM_WINDOW / 2;
}

/*
 * An answer that went out before the request was whole: the rest of it is not wanted (section 8.1).
 * A small rest is let come nevertheless: a reset that crosses it makes some clients forget the
 * answer.
 */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct fk_h2 *h2 = context;
    struct h2_stream *stream = fk_h2_find(h2, frame->hd.stream_id);
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (frame->hd.type == NGHTTP2_GOAWAY)
        h2->goaway = frame->goaway.error_code;
    if (stream == NULL || stream->whole || !ends ||
        (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        rest_is_small(stream))
        return 0;
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR) == 0
               ? 0
               : fail(h2, FK_ERR_NOMEM);
}

int fk_h2_callbacks_new(nghttp2_session_callbacks **ret)
{
    nghttp2_session_callbacks *callbacks;

    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return FK_ERR_NOMEM;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    *ret = callbacks;
    return FK_OK;
}
