/* Plain sockets and TLS by OpenSSL: see end.h. */
#include "edge/end.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/loop.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

/* --- plain sockets --- */

/* What was read of the socket before. */
static ssize_t read_before(struct fk_end *end, uint8_t *dst, size_t len)
{
    size_t n = fk_buf_len(end->in) < len ? fk_buf_len(end->in) : len;

    memcpy(dst, fk_buf_data(end->in), n);
    fk_buf_consume(end->in, n);
    end->ready = true; /* the socket has not been asked */
    return (ssize_t)n;
}

static ssize_t plain_read(struct fk_end *end, uint8_t *dst, size_t len, uint8_t **ret_data)
{
    ssize_t n;

    *ret_data = dst;
    end->read_needs = FK_IO_READ;
    if (end->in != NULL && fk_buf_len(end->in) > 0)
        return read_before(end, dst, len);
    n = recv(end->fd, dst, len, 0);
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

static ssize_t plain_write(struct fk_end *end, const uint8_t *src, size_t len)
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

/* What the socket does not take is not taken. */
static int holds_nothing(struct fk_end *end)
{
    (void)end;
    return FK_OK;
}

static void plain_refuse(struct fk_end *end, uint8_t alert)
{
    (void)alert;
    (void)plain_finish(end);
}

static const struct fk_end_ops plain_ops = {plain_read, plain_write, holds_nothing, plain_finish,
                                            plain_refuse};

void fk_end_plain(struct fk_end *end, int fd)
{
    *end = (struct fk_end){.ops = &plain_ops, .fd = fd, .read_needs = FK_IO_READ};
}

void fk_end_begin_with(struct fk_end *end, struct fk_buf *in)
{
    end->in = in;
    end->ready = fk_buf_len(in) > 0;
}

/* --- TLS by OpenSSL --- */

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

/* As many whole records as are here and fit, so that they leave in one send. Returns SSL_read()'s
 * last answer. */
static int read_records(struct fk_end *end, uint8_t *dst, size_t len, size_t *ret_have)
{
    size_t have = 0;
    unsigned left = FK_TLS_READS_MAX;
    int n;

    ERR_clear_error();
    do {
        n = SSL_read(end->ssl, dst + have, (int)(len - have));
        if (n > 0) {
            have += (size_t)n;
            fk_chatter_data(&end->chatter, (size_t)n);
        }
    } while (n > 0 && have < len && --left > 0 && tls_pending(end->ssl));
    *ret_have = have;
    return n;
}

static ssize_t tls_read(struct fk_end *end, uint8_t *dst, size_t len, uint8_t **ret_data)
{
    size_t have = 0;
    int n, err;

    *ret_data = dst;
    n = read_records(end, dst, len, &have);
    if (n > 0) {
        end->ready = tls_pending(end->ssl);
        end->read_needs = FK_IO_READ;
        return (ssize_t)have;
    }
    err = end->chatter.over ? FK_ERR_LIMIT : tls_error(end, n);
    end->ready = have > 0 && err != FK_ERR_AGAIN; /* an end or a failure is found again */
    if (have > 0)
        return (ssize_t)have;
    /* A client that closes its socket in answer to our close_notify has lost nothing. */
    if (err == FK_ERR_CLOSED && (SSL_get_shutdown(end->ssl) & SSL_SENT_SHUTDOWN) != 0)
        err = FK_OK;
    return err;
}

static ssize_t tls_write(struct fk_end *end, const uint8_t *src, size_t len)
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

static void tls_refuse(struct fk_end *end, uint8_t alert)
{
    (void)alert;
    (void)tls_finish(end);
}

static const struct fk_end_ops tls_ops = {tls_read, tls_write, holds_nothing, tls_finish,
                                          tls_refuse};

void fk_end_tls(struct fk_end *end, int fd, SSL *ssl)
{
    /* The handshake may have read application data along with the client's Finished. */
    *end = (struct fk_end){
        .ops = &tls_ops, .fd = fd, .ssl = ssl, .read_needs = FK_IO_READ, .ready = tls_pending(ssl)};
    fk_chatter_watch(ssl, &end->chatter);
}

/* --- any --- */

void fk_end_notify(struct fk_end *end, unsigned events)
{
    if ((events & end->read_needs) != 0)
        end->ready = true;
}

void fk_end_fini(struct fk_end *end)
{
    fk_buf_fini(&end->out);
}
