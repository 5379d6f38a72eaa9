/* Moving bytes: see relay.h. */
#include "edge/relay.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/loop.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

/* --- plain sockets --- */

static ssize_t plain_read(struct fk_end *end, void *dst, size_t len)
{
    ssize_t n = recv(end->fd, dst, len, 0);

    end->read_needs = FK_IO_READ;
    if (n >= 0) {
        end->ready = n == (ssize_t)len;
        end->eof = n == 0;
        return n;
    }
    end->ready = false;
    if (errno == EAGAIN || errno == EINTR)
        return FK_ERR_AGAIN;
    return FK_ERR_CLOSED;
}

static ssize_t plain_write(struct fk_end *end, const void *src, size_t len)
{
    ssize_t n = send(end->fd, src, len, MSG_NOSIGNAL);

    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? FK_ERR_AGAIN : FK_ERR_CLOSED;
}

static int plain_finish(struct fk_end *end)
{
    /* ENOTCONN: the peer has gone; there is nobody left to tell. */
    (void)shutdown(end->fd, SHUT_WR);
    return FK_OK;
}

static const struct fk_end_ops plain_ops = {plain_read, plain_write, plain_finish};

void fk_end_plain(struct fk_end *end, int fd)
{
    *end = (struct fk_end){.ops = &plain_ops, .fd = fd, .read_needs = FK_IO_READ};
}

/* --- TLS --- */

/* What a failed SSL_read(), SSL_write() or SSL_shutdown() means. */
static int tls_error(struct fk_end *end, int n)
{
    switch (SSL_get_error(end->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        end->read_needs = FK_IO_READ;
        return FK_ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        end->read_needs = FK_IO_WRITE;
        return FK_ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        end->eof = true;
        return FK_OK;
    case SSL_ERROR_SYSCALL:
        return FK_ERR_CLOSED;
    default:
        return ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING
                   ? FK_ERR_CLOSED
                   : FK_ERR_TLS;
    }
}

/* Whether a read could give something without the socket: in OpenSSL, or in our BIO's prefix. */
static bool tls_pending(SSL *ssl)
{
    return SSL_has_pending(ssl) == 1 || BIO_pending(SSL_get_rbio(ssl)) > 0;
}

/* As many whole records as are here and fit, so that they leave in one send. */
static ssize_t tls_read(struct fk_end *end, void *dst, size_t len)
{
    size_t have = 0;
    int n, err;

    end->ready = false;
    ERR_clear_error();
    do {
        n = SSL_read(end->ssl, (uint8_t *)dst + have, (int)(len - have));
        if (n > 0)
            have += (size_t)n;
    } while (n > 0 && have < len && tls_pending(end->ssl));
    if (n > 0) {
        end->ready = tls_pending(end->ssl);
        end->read_needs = FK_IO_READ;
        return (ssize_t)have;
    }
    err = tls_error(end, n);
    if (have > 0) {
        /* An end or a failure is found again by the next read. */
        end->ready = err != FK_ERR_AGAIN;
        return (ssize_t)have;
    }
    /* A client that closes its socket in answer to our close_notify has lost nothing. */
    if (err == FK_ERR_CLOSED && (SSL_get_shutdown(end->ssl) & SSL_SENT_SHUTDOWN) != 0)
        err = FK_OK;
    return err;
}

static ssize_t tls_write(struct fk_end *end, const void *src, size_t len)
{
    unsigned needs = end->read_needs;
    int n, err;

    ERR_clear_error();
    n = SSL_write(end->ssl, src, (int)len);
    if (n > 0)
        return n;
    err = tls_error(end, n);
    end->read_needs = needs;
    return err == FK_OK ? FK_ERR_CLOSED : err;
}

static int tls_finish(struct fk_end *end)
{
    unsigned needs = end->read_needs;
    int n, err;

    ERR_clear_error();
    n = SSL_shutdown(end->ssl);
    if (n >= 0)
        return FK_OK; /* close_notify is sent; the client's may come later */
    err = tls_error(end, n);
    end->read_needs = needs;
    return err;
}

static const struct fk_end_ops tls_ops = {tls_read, tls_write, tls_finish};

void fk_end_tls(struct fk_end *end, int fd, SSL *ssl)
{
    /* The handshake may have read application data along with the client's Finished. */
    *end = (struct fk_end){
        .ops = &tls_ops, .fd = fd, .ssl = ssl, .read_needs = FK_IO_READ, .ready = tls_pending(ssl)};
}

/* --- one direction --- */

/* The sink takes no more: what is for it is dropped, and the source no longer read. */
static void break_flow(struct fk_flow *flow)
{
    fk_buf_fini(&flow->buf);
    flow->cut = !flow->ended;
    flow->ended = true;
    flow->finished = true;
}

/* Write what waits. FK_ERR_AGAIN while something is left. */
static int flush(struct fk_flow *flow, struct fk_end *sink)
{
    while (fk_buf_len(&flow->buf) > 0) {
        ssize_t n = sink->ops->write(sink, fk_buf_data(&flow->buf), fk_buf_len(&flow->buf));

        if (n < 0)
            return (int)n;
        fk_buf_consume(&flow->buf, (size_t)n);
    }
    fk_buf_fini(&flow->buf);
    return FK_OK;
}

/* Hand `len` fresh bytes on; what the sink does not take now waits. */
static int forward(struct fk_flow *flow, struct fk_end *sink, const uint8_t *data, size_t len)
{
    size_t done = 0;
    ssize_t n = 0;

    flow->bytes += len;
    while (sink->ops != NULL && done < len) {
        n = sink->ops->write(sink, data + done, len - done);
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (n < 0 && n != FK_ERR_AGAIN)
        return (int)n;
    if (done == len)
        return FK_OK;
    return fk_buf_append(&flow->buf, data + done, len - done);
}

/* Read once and hand on. FK_ERR_AGAIN when there is nothing to read now. */
static int transfer(struct fk_flow *flow, struct fk_end *source, struct fk_end *sink,
                    const struct fk_scratch *scratch, bool *ret_broken)
{
    size_t room = fk_buf_room(&flow->buf);
    ssize_t n;
    int err;

    n = source->ops->read(source, scratch->mem, room < scratch->size ? room : scratch->size);
    if (n < 0)
        return (int)n;
    if (n == 0) {
        flow->ended = true;
        return FK_OK;
    }
    err = forward(flow, sink, scratch->mem, (size_t)n);
    if (err == FK_ERR_CLOSED || err == FK_ERR_TLS)
        *ret_broken = true;
    return err == FK_ERR_NOMEM ? err : FK_OK;
}

/* Deliver what waits and, at the end, the end. FK_ERR_AGAIN: the sink is full. */
static int deliver(struct fk_flow *flow, struct fk_end *sink)
{
    int err;

    if (sink->ops == NULL)
        return FK_OK;
    if (fk_buf_len(&flow->buf) > 0 && (err = flush(flow, sink)) != FK_OK)
        return err;
    if (flow->ended && !flow->finished) {
        if ((err = sink->ops->finish(sink)) != FK_OK)
            return err;
        flow->finished = true;
    }
    return FK_OK;
}

/* Whether the source may be read: what was read before has left, or the sink is not there yet. */
static bool readable(const struct fk_flow *flow, const struct fk_end *source,
                     const struct fk_end *sink)
{
    if (flow->ended || source->ops == NULL)
        return false;
    return fk_buf_len(&flow->buf) == 0 || (sink->ops == NULL && fk_buf_room(&flow->buf) > 0);
}

static int pump_flow(struct fk_flow *flow, struct fk_end *source, struct fk_end *sink,
                     const struct fk_scratch *scratch, bool *ret_again)
{
    bool broken = false;
    int err = FK_OK;

    for (unsigned round = 0; err == FK_OK; round++) {
        err = deliver(flow, sink);
        if (err == FK_ERR_CLOSED || err == FK_ERR_TLS)
            broken = true;
        /* Not ready: the socket was emptied; the loop tells when there is more. */
        if (err != FK_OK || broken || !readable(flow, source, sink) || !source->ready)
            break;
        if (round == FK_EDGE_PUMP_ROUNDS) {
            *ret_again = true;
            break;
        }
        err = transfer(flow, source, sink, scratch, &broken);
        if (broken)
            break;
    }
    if (broken) {
        break_flow(flow);
        return FK_OK;
    }
    return err == FK_ERR_AGAIN ? FK_OK : err;
}

/* --- both --- */

void fk_relay_init(struct fk_relay *relay, size_t max)
{
    *relay = (struct fk_relay){0};
    fk_buf_init_secret(&relay->up.buf, max);
    fk_buf_init_secret(&relay->down.buf, max);
}

void fk_relay_fini(struct fk_relay *relay)
{
    fk_buf_fini(&relay->up.buf);
    fk_buf_fini(&relay->down.buf);
}

int fk_relay_pump(struct fk_relay *relay, const struct fk_scratch *scratch,
                  enum fk_relay_state *ret_state, bool *ret_again)
{
    bool again = false;
    int err;

    if ((err = pump_flow(&relay->up, &relay->client, &relay->origin, scratch, &again)) != FK_OK ||
        (err = pump_flow(&relay->down, &relay->origin, &relay->client, scratch, &again)) != FK_OK)
        return err;
    *ret_again = again;
    if (relay->up.finished && relay->down.finished)
        *ret_state = relay->up.cut && !relay->down.cut ? FK_RELAY_CUT : FK_RELAY_DONE;
    else if (relay->up.ended || relay->down.ended)
        *ret_state = FK_RELAY_HALF;
    else
        *ret_state = FK_RELAY_OPEN;
    return FK_OK;
}

void fk_end_notify(struct fk_end *end, unsigned events)
{
    if ((events & end->read_needs) != 0)
        end->ready = true;
}

static unsigned wants(const struct fk_end *end, const struct fk_end *other,
                      const struct fk_flow *in, const struct fk_flow *out)
{
    unsigned events = 0;

    if (end->ops == NULL)
        return 0;
    if (readable(in, end, other))
        events |= end->read_needs;
    if (fk_buf_len(&out->buf) > 0 || (out->ended && !out->finished))
        events |= FK_IO_WRITE;
    return events;
}

unsigned fk_relay_client_wants(const struct fk_relay *relay)
{
    return wants(&relay->client, &relay->origin, &relay->up, &relay->down);
}

unsigned fk_relay_origin_wants(const struct fk_relay *relay)
{
    return wants(&relay->origin, &relay->client, &relay->down, &relay->up);
}
