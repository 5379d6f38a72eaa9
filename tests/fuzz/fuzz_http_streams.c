/*
 * http/streams: whatever a client of HTTP/2 and the origins of its requests say, in whatever order,
 * and whenever they leave: what an origin reads are well-formed requests that a strict parser
 * accepts, nothing of a connection that serves again is left over, and queues keep their bounds.
 * The input is a list of steps: a byte says what happens and to which stream, another how much.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/streams.h"

#include <string.h>

#define BUFFER 4096

/* What reads along with an origin. */
struct reader {
    struct fk_h1req seen;
    struct fk_buf unread; /* not used by `seen` yet */
};

static struct fk_streams streams;

static struct reader *reader_new(void)
{
    static const struct fk_http_limits wide = {.line = 65536, .head = 262144, .fields = 256};
    struct reader *reader = calloc(1, sizeof *reader);

    CHECK(reader != NULL);
    fk_h1req_init(&reader->seen, &wide);
    fk_buf_init(&reader->unread, 1048576);
    return reader;
}

static void reader_free(struct reader *reader)
{
    if (reader == NULL)
        return;
    fk_h1req_fini(&reader->seen);
    fk_buf_fini(&reader->unread);
    free(reader);
}

static void read_along(struct reader *reader, const uint8_t *data, size_t len)
{
    struct fk_http_event event;
    size_t used;
    int err = FK_OK;

    CHECK(fk_buf_append(&reader->unread, data, len) == FK_OK);
    while (err == FK_OK) {
        err = fk_h1req_next(&reader->seen, fk_buf_data(&reader->unread),
                            fk_buf_len(&reader->unread), &used, &event);
        CHECK(err == FK_OK || err == FK_ERR_AGAIN);
        fk_buf_consume(&reader->unread, used);
        if (err == FK_OK && event.kind == FK_HTTP_HEAD)
            CHECK(reader->seen.request.version == FK_HTTP_1_1 && !reader->seen.request.upgrade);
    }
}

static void origin_reads(struct fk_stream *s, size_t len)
{
    size_t there = fk_buf_len(&s->fetch.out);

    len = len < there ? len : there;
    if (!s->fetch.attached || s->user == NULL || len == 0)
        return;
    read_along(s->user, fk_buf_data(&s->fetch.out), len);
    fk_buf_consume(&s->fetch.out, len);
}

static void says(struct fk_buf *buf, const uint8_t *data, size_t len)
{
    size_t room = fk_buf_room(buf);

    if (len > 0)
        CHECK(fk_buf_append(buf, data, len < room ? len : room) == FK_OK);
}

static struct fk_stream *pick(uint8_t which)
{
    struct fk_list *item;
    size_t n = 0;

    fk_list_each (item, &streams.list)
        if (n++ == which % streams.n)
            return fk_container(item, struct fk_stream, link);
    return NULL;
}

static void attach(struct fk_stream *s, bool reused)
{
    if (!fk_stream_wants_origin(s))
        return;
    reader_free(s->user);
    s->user = reader_new();
    fk_fetch_attached(&s->fetch, reused);
}

/* One that may serve again has read whole requests only. */
static void detach(struct fk_stream *s)
{
    struct reader *reader = s->user;

    if (fk_stream_releases(s))
        CHECK(fk_buf_len(&reader->unread) == 0 && reader->seen.h1.state == FK_H1_OVER);
    if (s->fetch.spent || fk_stream_releases(s))
        CHECK(fk_stream_detached(s) == FK_OK);
}

/* What happens to one stream; how many of the `len` bytes belong to it. */
static size_t stream_step(struct fk_stream *s, uint8_t what, size_t all, const uint8_t *data)
{
    switch (what) {
    case 0:
        if (fk_stream_reads_origin(s))
            says(&s->fetch.in, data, all);
        return all;
    case 1:
        s->fetch.eof = s->fetch.eof || s->fetch.attached;
        break;
    case 2:
        attach(s, (all & 1) != 0);
        break;
    case 3:
        detach(s);
        break;
    case 4:
        origin_reads(s, SIZE_MAX);
        break;
    case 5:
        origin_reads(s, all);
        break;
    default:
        CHECK(fk_stream_origin_failed(s, 502) == FK_OK);
        break;
    }
    return 0;
}

static size_t step(uint8_t what, uint8_t much, const uint8_t *data, size_t len)
{
    size_t all = (size_t)(much & 0x7f) << ((much & 0x80) != 0 ? 7 : 0);
    struct fk_stream *s;

    all = all < len ? all : len;
    switch (what % 16) {
    case 0:
    case 1:
        if (fk_streams_reads_client(&streams))
            CHECK(fk_streams_recv(&streams, data, all) == FK_OK);
        return all;
    case 2:
        fk_buf_consume(&streams.client_out, fk_buf_len(&streams.client_out));
        return 0;
    case 3:
        if (much == 0)
            fk_streams_client_ended(&streams);
        else
            CHECK(fk_streams_drain(&streams) == FK_OK);
        return 0;
    default:
        s = streams.n > 0 ? pick(what / 16) : NULL;
        return s != NULL ? stream_step(s, what % 16 - 4, all, data) : 0;
    }
}

static void end_stream(struct fk_stream *s)
{
    reader_free(s->user);
    fk_stream_free(s);
}

static void look(void)
{
    struct fk_list *item, *next;

    CHECK(fk_streams_run(&streams) == FK_OK);
    CHECK(fk_buf_len(&streams.client_out) <= BUFFER && streams.n <= 2 * FK_H2_STREAMS_MAX);
    fk_list_each_safe (item, next, &streams.list) {
        struct fk_stream *s = fk_container(item, struct fk_stream, link);

        CHECK(fk_buf_len(&s->body) <= FK_H2_STREAM_WINDOW);
        CHECK(!fk_stream_wants_origin(s) || s->request != NULL);
        if (fk_stream_over(s))
            end_stream(s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0";
    static const struct fk_http_forward forward = {.via = "farkey", .x_forwarded = true};
    static const struct fk_exchange_conf conf = {.limits = &fk_http_limits_default,
                                                 .forward = &forward,
                                                 .client = {.address = "192.0.2.1"},
                                                 .buffer = BUFFER};
    struct fk_list *item, *next;

    CHECK(fk_streams_init(&streams, &conf) == FK_OK);
    CHECK(fk_streams_recv(&streams, preface, sizeof preface) == FK_OK);
    while (size >= 2 && !fk_streams_done(&streams)) {
        size_t used = step(data[0], data[1], data + 2, size - 2);

        data += 2 + used;
        size -= 2 + used;
        look();
    }
    fk_list_each_safe (item, next, &streams.list)
        end_stream(fk_container(item, struct fk_stream, link));
    fk_streams_fini(&streams);
    return 0;
}
