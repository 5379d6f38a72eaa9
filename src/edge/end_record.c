/*
 * TLS by the record engine, over a socket: see end.h.
 *
 * Many records a system call: a read opens all that has come, a write seals all that it is given
 * into one send. What is left over, part of a record either way, is all that an end keeps.
 */
#include "edge/end.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define PIECES 16 /* records opened at once */

/* --- sending --- */

/* As many of `len` bytes as the socket takes. Negative: an error, FK_ERR_AGAIN not among them. */
static ssize_t send_some(const struct fk_end *end, const uint8_t *bytes, size_t len)
{
    ssize_t n = send(end->fd, bytes, len, MSG_NOSIGNAL);

    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? 0 : FK_ERR_CLOSED;
}

static int record_flush(struct fk_end *end)
{
    ssize_t n = send_some(end, fk_buf_data(&end->out), fk_buf_len(&end->out));

    if (n < 0)
        return (int)n;
    fk_buf_consume(&end->out, (size_t)n);
    if (fk_buf_len(&end->out) > 0)
        return FK_ERR_AGAIN;
    fk_buf_fini(&end->out);
    return FK_OK;
}

/* Send what is sealed; the rest is kept. */
static int send_sealed(struct fk_end *end, const uint8_t *sealed, size_t len)
{
    ssize_t n = send_some(end, sealed, len);

    if (n < 0)
        return (int)n;
    return (size_t)n == len ? FK_OK : fk_buf_append(&end->out, sealed + n, len - (size_t)n);
}

static ssize_t record_write(struct fk_end *end, const uint8_t *src, size_t len)
{
    const struct iovec piece = {(void *)(uintptr_t)src,
                                len < FK_EDGE_SCRATCH ? len : FK_EDGE_SCRATCH};
    size_t sealed;
    int err;

    if (fk_end_pending(end) && (err = record_flush(end)) != FK_OK)
        return err;
    err = fk_record_seal(end->record, &piece, 1, end->seal->mem, end->seal->size, &sealed);
    if (err != FK_OK || (err = send_sealed(end, end->seal->mem, sealed)) != FK_OK)
        return err;
    return (ssize_t)piece.iov_len;
}

/* What the engine has to say by itself, behind what waits. */
static int say(struct fk_end *end)
{
    uint8_t control[FK_RECORD_CONTROL_MAX];
    size_t len;
    int err;

    if (!fk_record_control_due(end->record))
        return FK_OK;
    if ((err = fk_record_seal_control(end->record, control, &len)) != FK_OK)
        return err;
    return fk_end_pending(end) ? fk_buf_append(&end->out, control, len)
                               : send_sealed(end, control, len);
}

static int record_finish(struct fk_end *end)
{
    int err;

    if (!end->finishing) {
        end->finishing = true;
        fk_record_close(end->record);
        if ((err = say(end)) != FK_OK)
            return err;
    }
    return fk_end_pending(end) ? record_flush(end) : FK_OK;
}

static void record_refuse(struct fk_end *end, uint8_t alert)
{
    end->finishing = true;
    fk_record_refuse(end->record, alert);
    (void)say(end);
}

/* --- receiving --- */

/* Whether the first record of what was read before is there whole. */
static bool is_whole(const struct fk_buf *in)
{
    return fk_buf_len(in) >= FK_RECORD_HEAD &&
           fk_buf_len(in) >= fk_record_length(fk_buf_data(in), fk_buf_len(in));
}

/* Bytes at `dst`: what was read before and, unless that is a record, what the socket has. */
static ssize_t fetch(struct fk_end *end, uint8_t *dst, size_t len)
{
    size_t have = fk_buf_len(end->in) < len ? fk_buf_len(end->in) : len;
    ssize_t n;

    if (have > 0)
        memcpy(dst, fk_buf_data(end->in), have);
    if (is_whole(end->in) || have == len) {
        end->ready = true; /* the socket has not been asked */
        return (ssize_t)have;
    }
    n = recv(end->fd, dst + have, len - have, 0);
    if (n < 0) {
        end->ready = false;
        return errno == EAGAIN || errno == EINTR ? FK_ERR_AGAIN : FK_ERR_CLOSED;
    }
    end->ready = (size_t)n == len - have;
    if (n == 0) {
        end->eof = true;
        /* A client that closes its socket in answer to our close_notify has lost nothing. */
        return end->finishing ? 0 : FK_ERR_CLOSED;
    }
    return (ssize_t)have + n;
}

/* Content that has been opened, moved together where its records were. */
struct plain {
    uint8_t *data;
    size_t len;
};

static void add(struct plain *plain, const struct iovec *piece)
{
    if (plain->len == 0)
        plain->data = piece->iov_base;
    else
        memmove(plain->data + plain->len, piece->iov_base, piece->iov_len);
    plain->len += piece->iov_len;
}

/* What the engine's error is to the relay. */
static int failure(const struct fk_end *end, int err)
{
    if (err == FK_ERR_NOMEM || err == FK_ERR_CRYPTO)
        return err;
    return fk_record_overdone(end->record) ? FK_ERR_LIMIT : FK_ERR_TLS;
}

/* Open all whole records of `len` bytes. Returns the bytes that are done with; end->err and
 * end->ended say what came behind the content. */
static size_t open_all(struct fk_end *end, uint8_t *bytes, size_t len, struct plain *plain)
{
    struct iovec pieces[PIECES];
    struct fk_opened_many many;
    size_t done = 0;
    int err;

    do {
        err = fk_record_open_many(end->record, bytes + done, len - done, pieces, PIECES, &many);
        done += many.consumed;
        for (size_t i = 0; i < many.n; i++)
            add(plain, &pieces[i]);
        end->ended = err == FK_OK && many.last.event == FK_RECORD_END;
    } while (err == FK_OK && !end->ended);
    if (err != FK_OK && err != FK_ERR_AGAIN)
        end->err = failure(end, err);
    return done;
}

/* Keep what is no whole record. `len` bytes at `bytes` were looked at, `done` are done with. */
static int keep(struct fk_end *end, const uint8_t *bytes, size_t len, size_t done)
{
    size_t before = fk_buf_len(end->in);

    if (before >= len) { /* all of it was read before */
        fk_buf_consume(end->in, done);
    } else {
        fk_buf_consume(end->in, before);
        if (done < len)
            return fk_buf_append(end->in, bytes + done, len - done);
    }
    if (fk_buf_len(end->in) == 0)
        fk_buf_fini(end->in);
    return FK_OK;
}

/* Fetch and open once. FK_OK or the error that comes before any content. */
static int take(struct fk_end *end, uint8_t *dst, size_t len, struct plain *plain)
{
    ssize_t n = fetch(end, dst, len);
    size_t done;
    int err;

    if (n < 0)
        return (int)n;
    if (n == 0) {
        end->ended = true;
        return FK_OK;
    }
    done = open_all(end, dst, (size_t)n, plain);
    if ((err = keep(end, dst, (size_t)n, done)) == FK_OK)
        err = say(end);
    if (end->err == FK_OK)
        end->err = err;
    return FK_OK;
}

static ssize_t record_read(struct fk_end *end, uint8_t *dst, size_t len, uint8_t **ret_data)
{
    struct plain plain = {dst, 0};
    int err = FK_OK;

    assert(len >= end->least);
    do {
        if (end->err != FK_OK || end->ended)
            break;
        err = take(end, dst, len, &plain);
    } while (err == FK_OK && plain.len == 0 && is_whole(end->in));
    end->ready = end->ready || end->err != FK_OK || end->ended; /* the next read tells */
    *ret_data = plain.data;
    if (plain.len > 0)
        return (ssize_t)plain.len;
    if (err != FK_OK)
        return err;
    if (end->err != FK_OK || end->ended)
        return end->err;
    return FK_ERR_AGAIN;
}

static const struct fk_end_ops record_ops = {record_read, record_write, record_flush, record_finish,
                                             record_refuse};

void fk_end_record(struct fk_end *end, int fd, struct fk_record *record, struct fk_buf *in,
                   const struct fk_scratch *seal)
{
    *end = (struct fk_end){.ops = &record_ops,
                           .fd = fd,
                           .read_needs = FK_IO_READ,
                           .least = FK_EDGE_RECORD_MAX,
                           .ready = fk_buf_len(in) > 0,
                           .record = record,
                           .in = in,
                           .seal = seal};
    fk_buf_init(&end->out, FK_EDGE_SEALED_MAX + FK_RECORD_CONTROL_MAX);
}
