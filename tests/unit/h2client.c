/* A client of HTTP/2 for tests: see h2client.h. */
#include "h2client.h"

#include "unit.h"

#include <stdio.h>

void h2client_tell(char *text, size_t *len, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *len += (size_t)vsnprintf(text + *len, H2CLIENT_STORY - *len, format, args);
    va_end(args);
    assert_true(*len < H2CLIENT_STORY);
}

static size_t place(int32_t stream)
{
    assert_in_range(stream / 2, 0, H2CLIENT_STREAMS - 1);
    return (size_t)stream / 2;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *context)
{
    struct h2client *client = context;

    (void)session;
    (void)flags;
    h2client_tell(client->seen, &client->len, "%d %.*s: %.*s|", frame->hd.stream_id, (int)name_len,
                  name, (int)value_len, value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *context)
{
    struct h2client *client = context;

    (void)session;
    (void)flags;
    if (client->tells_bodies)
        h2client_tell(client->seen, &client->len, "%d body: %.*s|", id, (int)len, data);
    client->body += len;
    client->got[place(id)] += len;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *context)
{
    struct h2client *client = context;

    (void)session;
    h2client_tell(client->seen, &client->len, "%d closed %u|", id, error);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct h2client *client = context;

    (void)session;
    if (frame->hd.type != NGHTTP2_GOAWAY)
        return 0;
    client->goaway = frame->goaway.error_code;
    h2client_tell(client->seen, &client->len, "GOAWAY %u last=%d|", client->goaway,
                  frame->goaway.last_stream_id);
    return 0;
}

static int submit_trailers(nghttp2_session *session, int32_t id)
{
    static const char *const fields[][2] = {{"digest", "x"}, {"client-cert", "y"}};
    nghttp2_nv nv[2];

    for (size_t i = 0; i < 2; i++)
        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)fields[i][0], (uint8_t *)(uintptr_t)fields[i][1],
                             strlen(fields[i][0]), strlen(fields[i][1]), NGHTTP2_NV_FLAG_NONE};
    return nghttp2_submit_trailer(session, id, nv, 2);
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *context)
{
    struct h2client *client = context;
    size_t *left = &client->left[place(id)], len = *left < length ? *left : length;

    (void)source;
    memset(buf, 'x', len);
    *left -= len;
    if (*left > 0)
        return (ssize_t)len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (client->trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        assert_int_equal(submit_trailers(session, id), 0);
    }
    return (ssize_t)len;
}

void h2client_new(struct h2client *client, bool holds)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;

    memset(client, 0, sizeof *client);
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    assert_int_equal(nghttp2_option_new(&option), 0);
    nghttp2_option_set_no_auto_window_update(option, holds);
    assert_int_equal(nghttp2_session_client_new2(&client->session, callbacks, client, option), 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    assert_int_equal(nghttp2_submit_settings(client->session, 0, NULL, 0), 0);
}

void h2client_free(struct h2client *client)
{
    nghttp2_session_del(client->session);
    client->session = NULL;
}

int32_t h2client_ask(struct h2client *client, const char *fields, size_t body, bool raw_names)
{
    nghttp2_data_provider provider = {.read_callback = read_body};
    nghttp2_nv nv[200];
    static char copy[65536]; /* names stay there until they are sent */
    size_t n = 0;
    int32_t id;

    assert_true(strlen(fields) < sizeof copy);
    strncpy(copy, fields, sizeof copy - 1);
    for (char *at = copy; *at != '\0' && n < 200; n++) {
        char *end = strchr(at, '|'), *colon = strstr(at, ": ");

        assert_true(end != NULL && colon != NULL && colon < end);
        nv[n] = (nghttp2_nv){(uint8_t *)at, (uint8_t *)colon + 2, (size_t)(colon - at),
                             (size_t)(end - colon) - 2,
                             raw_names ? NGHTTP2_NV_FLAG_NO_COPY_NAME : NGHTTP2_NV_FLAG_NONE};
        at = end + 1;
    }
    id = nghttp2_submit_request(client->session, NULL, nv, n, body > 0 ? &provider : NULL, NULL);
    assert_true(id > 0);
    client->left[place(id)] = body;
    return id;
}

void h2client_take(struct h2client *client, int32_t stream, size_t len)
{
    assert_int_equal(nghttp2_session_consume(client->session, stream, len), 0);
}
