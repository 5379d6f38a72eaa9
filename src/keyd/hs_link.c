/* Messages over a socketpair: see hs_link.h. */
#include "keyd/hs_link.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD sizeof(struct fk_hs_head)
/* Read at once: some requests, or an answer with certificates. */
#define READ_SIZE 65536
/* More than this unsent: the other end does not read, so it is not read from. */
#define OUT_HIGH (FK_HANDSHAKER_QUEUE_MAX / 2)

static void set_wants(struct fk_hs_link *link)
{
    unsigned wants = fk_buf_len(&link->out) < OUT_HIGH ? FK_IO_READ : 0;

    if (fk_buf_len(&link->out) > 0)
        wants |= FK_IO_WRITE;
    fk_io_want(&link->io, wants);
}

/* --- out --- */

static int write_some(struct fk_hs_link *link)
{
    ssize_t n;

    while (fk_buf_len(&link->out) > 0) {
        n = send(link->fd, fk_buf_data(&link->out), fk_buf_len(&link->out),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
        fk_buf_consume(&link->out, (size_t)n);
    }
    return FK_OK;
}

static void on_flush(struct fk_defer *defer)
{
    struct fk_hs_link *link = fk_container(defer, struct fk_hs_link, flush);

    (void)write_some(link); /* an end is seen by the read */
    set_wants(link);
}

int fk_hs_link_send(struct fk_hs_link *link, struct fk_hs_head *head, struct fk_reader payload)
{
    uint8_t *at;
    int err;

    if (payload.left > FK_HANDSHAKER_MESSAGE_MAX)
        return FK_ERR_LIMIT;
    head->len = (uint32_t)payload.left;
    if ((err = fk_buf_reserve(&link->out, HEAD + payload.left, &at)) != FK_OK)
        return err;
    memcpy(at, head, HEAD);
    if (payload.left > 0)
        memcpy(at + HEAD, payload.next, payload.left);
    fk_buf_commit(&link->out, HEAD + payload.left);
    fk_defer_start(&link->flush);
    return FK_OK;
}

/* --- in --- */

static int read_some(struct fk_hs_link *link)
{
    uint8_t *at;
    ssize_t n;
    int err;

    if ((err = fk_buf_reserve(&link->in, READ_SIZE, &at)) != FK_OK)
        return err;
    n = recv(link->fd, at, READ_SIZE, MSG_DONTWAIT);
    if (n == 0)
        return FK_ERR_CLOSED;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
    fk_buf_commit(&link->in, (size_t)n);
    return FK_OK;
}

/* FK_ERR_AGAIN: no whole message is there. */
static int take_message(struct fk_hs_link *link)
{
    struct fk_reader bytes, payload;
    struct fk_hs_head head;

    fk_reader_init(&bytes, fk_buf_data(&link->in), fk_buf_len(&link->in));
    if (fk_reader_copy(&bytes, &head, HEAD) != FK_OK)
        return FK_ERR_AGAIN;
    if (head.len > FK_HANDSHAKER_MESSAGE_MAX || head.n_keys > FK_HS_KEYS_MAX ||
        head.share_len > head.len)
        return FK_ERR_FORMAT;
    if (fk_reader_take(&bytes, head.len, &payload) != FK_OK)
        return FK_ERR_AGAIN;
    link->ops->message(link, &head, payload);
    fk_buf_consume(&link->in, HEAD + head.len);
    return FK_OK;
}

static void on_io(struct fk_io *io, unsigned events)
{
    struct fk_hs_link *link = fk_container(io, struct fk_hs_link, io);
    int end = FK_OK, err = FK_ERR_AGAIN;

    if ((events & FK_IO_WRITE) != 0)
        end = write_some(link);
    if ((events & FK_IO_READ) != 0) {
        end = read_some(link);
        while ((err = take_message(link)) == FK_OK)
            continue;
    }
    if (end == FK_OK && err == FK_ERR_AGAIN)
        set_wants(link);
    else
        link->ops->lost(link);
}

/* --- life --- */

void fk_hs_link_open(struct fk_hs_link *link, struct fk_loop *loop, int fd,
                     const struct fk_hs_link_ops *ops)
{
    link->ops = ops;
    link->fd = fd;
    fk_buf_init_secret(&link->in, HEAD + FK_HANDSHAKER_MESSAGE_MAX + READ_SIZE);
    fk_buf_init_secret(&link->out, FK_HANDSHAKER_QUEUE_MAX);
    fk_defer_init(&link->flush, loop, on_flush);
    fk_io_init(&link->io, loop, fd, on_io);
    fk_io_want(&link->io, FK_IO_READ);
}

void fk_hs_link_close(struct fk_hs_link *link)
{
    fk_io_want(&link->io, 0);
    fk_defer_stop(&link->flush);
    fk_buf_fini(&link->in);
    fk_buf_fini(&link->out);
    fk_close(&link->fd);
}
