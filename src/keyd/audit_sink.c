/*
 * A front's queue of audit lines: see audit_sink.h.
 *
 * The queue's bytes are: [sent, not acknowledged][not sent]. An acknowledgement of k lines takes k
 * lines from its head; a new audit process gets everything again.
 */
#include "keyd/audit_sink.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct fk_audit_sink {
    struct fk_loop *loop;
    struct fk_io io;
    struct fk_defer flush;
    int fd;           /* -1: no audit process at present */
    uint64_t gone_us; /* then: since when */
    bool refuse;
    bool failing; /* the audit process cannot write */
    struct fk_buf lines;
    size_t sent; /* bytes of `lines` that this audit process was sent */
    uint64_t pending;
    uint64_t lost;
    uint64_t untold; /* of `lost`, not yet recorded by a line */
    size_t n_ack;    /* bytes of `ack` read */
    uint8_t ack[sizeof(struct fk_audit_ack)];
};

/* --- sending --- */

static void detach(struct fk_audit_sink *sink)
{
    if (sink->fd < 0)
        return;
    fk_io_want(&sink->io, 0);
    fk_close(&sink->fd);
    sink->gone_us = fk_loop_now_us(sink->loop);
    sink->sent = 0;
    sink->n_ack = 0;
    sink->failing = false;
}

static void send_lines(struct fk_audit_sink *sink)
{
    size_t len;

    while (sink->fd >= 0 && (len = fk_buf_len(&sink->lines) - sink->sent) > 0) {
        ssize_t n = send(sink->fd, fk_buf_data(&sink->lines) + sink->sent, len,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0) {
            sink->sent += (size_t)n;
            continue;
        }
        if (errno == EAGAIN || errno == ENOBUFS) {
            fk_io_want(&sink->io, FK_IO_READ | FK_IO_WRITE);
            return;
        }
        if (errno != EINTR)
            detach(sink);
    }
    if (sink->fd >= 0)
        fk_io_want(&sink->io, FK_IO_READ);
}

static void flush_lines(struct fk_defer *defer)
{
    send_lines(fk_container(defer, struct fk_audit_sink, flush));
}

/* --- acknowledgements --- */

/* Forget `count` lines. FK_ERR_FORMAT when more are acknowledged than were sent. */
static int forget_lines(struct fk_audit_sink *sink, uint32_t count)
{
    const uint8_t *data = fk_buf_data(&sink->lines);
    size_t at = 0;

    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *end = sink->sent > at ? memchr(data + at, '\n', sink->sent - at) : NULL;

        if (end == NULL)
            return FK_ERR_FORMAT;
        at = (size_t)(end - data) + 1;
    }
    if (at > 0)
        fk_buf_consume(&sink->lines, at);
    sink->sent -= at;
    sink->pending -= count;
    return FK_OK;
}

/* One message, or a part of it. FK_ERR_AGAIN when no more is there. */
static int read_ack(struct fk_audit_sink *sink)
{
    struct fk_audit_ack ack;
    ssize_t n =
        recv(sink->fd, sink->ack + sink->n_ack, sizeof sink->ack - sink->n_ack, MSG_DONTWAIT);

    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? FK_ERR_AGAIN : FK_ERR_CLOSED;
    sink->n_ack += (size_t)n;
    if (sink->n_ack < sizeof sink->ack)
        return FK_OK;
    memcpy(&ack, sink->ack, sizeof ack);
    sink->n_ack = 0;
    sink->failing = ack.failing != 0;
    return forget_lines(sink, ack.lines);
}

static void ready(struct fk_io *io, unsigned events)
{
    struct fk_audit_sink *sink = fk_container(io, struct fk_audit_sink, io);
    int err = FK_OK;

    while ((events & FK_IO_READ) != 0 && err == FK_OK)
        err = read_ack(sink);
    if (err != FK_OK && err != FK_ERR_AGAIN) {
        detach(sink);
        return;
    }
    if ((events & FK_IO_WRITE) != 0)
        send_lines(sink);
}

/* --- lines --- */

/* Record lines that were lost, when there is room again. */
static void tell_loss(struct fk_audit_sink *sink)
{
    char text[96], now[FK_CLOCK_TEXT_SIZE];
    int len;

    fk_clock_format(fk_clock_wall_us(), now);
    len = snprintf(text, sizeof text, "t=%s lost=%llu\n", now, (unsigned long long)sink->untold);
    if (fk_buf_append(&sink->lines, text, (size_t)len) != FK_OK)
        return;
    sink->untold = 0;
    sink->pending++;
}

void fk_audit_sink_write(struct fk_audit_sink *sink, const struct fk_audit_event *event)
{
    uint8_t *at;

    if (sink->untold > 0 && fk_buf_room(&sink->lines) > 2 * FK_AUDIT_LINE_MAX)
        tell_loss(sink);
    if (fk_buf_reserve(&sink->lines, FK_AUDIT_LINE_MAX, &at) != FK_OK) {
        sink->lost++;
        sink->untold++;
        return;
    }
    fk_buf_commit(&sink->lines, fk_audit_line_format(event, (char *)at));
    sink->pending++;
    fk_defer_start(&sink->flush);
}

bool fk_audit_sink_failing(const struct fk_audit_sink *sink)
{
    return sink->fd < 0 || sink->failing;
}

bool fk_audit_sink_ready(const struct fk_audit_sink *sink)
{
    if (!sink->refuse)
        return true;
    /* The other half of the queue is for the operations that are under way. */
    return !fk_audit_sink_failing(sink) && fk_buf_len(&sink->lines) <= FK_AUDIT_SINK_MAX / 2;
}

uint64_t fk_audit_sink_gap(const struct fk_audit_sink *sink)
{
    uint64_t now = fk_loop_now_us(sink->loop), end = sink->gone_us + FK_AUDIT_GAP_US;

    return sink->refuse && sink->fd < 0 && end > now ? end - now : 0;
}

uint64_t fk_audit_sink_pending(const struct fk_audit_sink *sink)
{
    return sink->pending;
}

uint64_t fk_audit_sink_lost(const struct fk_audit_sink *sink)
{
    return sink->lost;
}

/* --- start and end --- */

int fk_audit_sink_new(struct fk_loop *loop, bool refuse, struct fk_audit_sink **ret)
{
    struct fk_audit_sink *sink = calloc(1, sizeof *sink);

    if (sink == NULL)
        return FK_ERR_NOMEM;
    sink->loop = loop;
    sink->refuse = refuse;
    sink->fd = -1;
    sink->gone_us = fk_loop_now_us(loop);
    fk_buf_init(&sink->lines, FK_AUDIT_SINK_MAX);
    fk_defer_init(&sink->flush, loop, flush_lines);
    *ret = sink;
    return FK_OK;
}

void fk_audit_sink_free(struct fk_audit_sink *sink)
{
    if (sink == NULL)
        return;
    detach(sink);
    fk_defer_stop(&sink->flush);
    fk_buf_fini(&sink->lines);
    free(sink);
}

int fk_audit_sink_attach(struct fk_audit_sink *sink, int fd)
{
    detach(sink);
    sink->fd = fd;
    fk_io_init(&sink->io, sink->loop, fd, ready);
    fk_io_want(&sink->io, FK_IO_READ);
    fk_defer_start(&sink->flush);
    return FK_OK;
}
