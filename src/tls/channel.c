/*
 * Bytes over TLS over a socket, in a loop: see channel.h.
 *
 * Owns the socket, the SSL object and two bounded queues. Calls its owner only from the loop, never
 * from within a call of the owner's, and as the last thing it does: the owner may free it there.
 */
#include "tls/channel.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"
#include "tls/chatter.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum state { HANDSHAKE, OPEN, CLOSED };

struct fk_channel_io {
    struct fk_loop *loop;
    struct fk_io io;
    struct fk_defer work; /* flush, or go on with bytes that TLS has read ahead */
    SSL *ssl;
    int fd;
    enum state state;
    bool paused;
    bool want_write; /* TLS waits for the socket to take bytes */
    bool read_more;  /* TLS may hold bytes of which the kernel will not tell again */
    bool telling;    /* the owner is being called */
    bool dead;       /* freed by the owner in that call: the memory goes when it returns */
    struct fk_chatter chatter;
    struct fk_buf in, out;
    fk_channel_cb *cb;
    void *owner;
    char reason[128];
};

/* Events that one turn has produced, told to the owner in this order at its end. */
struct turn {
    bool open, read, drained, closed;
    int err;
};

static void set_reason(struct fk_channel_io *io, const char *text)
{
    (void)snprintf(io->reason, sizeof io->reason, "%s", text);
}

/* The error of a failed call and its reason, from OpenSSL's queue, else from errno. */
static int failure(struct fk_channel_io *io, int ssl_error, int number)
{
    unsigned long code = ERR_peek_last_error();
    long verify = SSL_get_verify_result(io->ssl);
    const char *text;

    if (io->state == HANDSHAKE && verify != X509_V_OK) {
        set_reason(io, X509_verify_cert_error_string(verify));
        return FK_ERR_VERIFY;
    }
    if (ssl_error == SSL_ERROR_SYSCALL) {
        set_reason(io, number != 0 ? strerror(number) : "closed without notice");
        return number != 0 ? FK_ERR_SYS : FK_ERR_CLOSED;
    }
    if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
        ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        set_reason(io, "closed without notice");
        return FK_ERR_CLOSED;
    }
    text = ERR_reason_error_string(code);
    set_reason(io, text != NULL ? text : "unknown");
    return FK_ERR_TLS;
}

/*
 * What a call's result means: FK_OK, FK_ERR_AGAIN (try when the socket is ready), or `turn` says
 * closed.
 */
static int judge(struct fk_channel_io *io, int result, struct turn *turn)
{
    int number = errno;
    int ssl_error;

    if (result > 0)
        return FK_OK;
    ssl_error = SSL_get_error(io->ssl, result);
    if (ssl_error == SSL_ERROR_WANT_READ && !io->chatter.over)
        return FK_ERR_AGAIN;
    if (ssl_error == SSL_ERROR_WANT_WRITE && !io->chatter.over) {
        io->want_write = true;
        return FK_ERR_AGAIN;
    }
    turn->closed = true;
    turn->err = FK_OK; /* close_notify: in order */
    if (io->chatter.over) {
        turn->err = FK_ERR_LIMIT;
        set_reason(io, "too many TLS messages without data");
    } else if (ssl_error != SSL_ERROR_ZERO_RETURN) {
        turn->err = failure(io, ssl_error, number);
    } else {
        set_reason(io, "closed by peer");
    }
    return FK_ERR_CLOSED;
}

static void do_handshake(struct fk_channel_io *io, struct turn *turn)
{
    ERR_clear_error();
    errno = 0;
    if (judge(io, SSL_do_handshake(io->ssl), turn) != FK_OK)
        return;
    io->state = OPEN;
    fk_chatter_watch(io->ssl, &io->chatter);
    io->read_more = true; /* the first frames may have come with the last flight */
    turn->open = true;
}

/* One SSL_read into the queue. FK_ERR_AGAIN when there is nothing or no room. */
static int read_once(struct fk_channel_io *io, struct turn *turn)
{
    size_t len = (size_t)SSL_pending(io->ssl);
    uint8_t *into;
    int result, err;

    if (len < FK_CHANNEL_READ_MIN)
        len = FK_CHANNEL_READ_MIN;
    if (len > fk_buf_room(&io->in))
        len = fk_buf_room(&io->in);
    if (len == 0)
        return FK_ERR_AGAIN;
    err = fk_buf_reserve(&io->in, len, &into);
    if (err != FK_OK) {
        turn->closed = true;
        turn->err = err;
        set_reason(io, "out of memory");
        return err;
    }
    ERR_clear_error();
    errno = 0;
    result = SSL_read(io->ssl, into, (int)len);
    err = judge(io, result, turn);
    if (err == FK_OK) {
        fk_buf_commit(&io->in, (size_t)result);
        fk_chatter_data(&io->chatter, (size_t)result);
        turn->read = true;
    }
    return err;
}

/* Read until TLS holds nothing more: one read(2) usually brings all that is there. Others
 * have their turn before many tiny records go on. */
static void do_read(struct fk_channel_io *io, struct turn *turn)
{
    unsigned left = FK_TLS_READS_MAX;

    while (read_once(io, turn) == FK_OK && SSL_has_pending(io->ssl) && --left > 0)
        ;
    io->read_more = fk_buf_room(&io->in) == 0 || left == 0;
}

static void do_write(struct fk_channel_io *io, struct turn *turn)
{
    io->want_write = false;
    while (fk_buf_len(&io->out) > 0) {
        size_t len = fk_buf_len(&io->out);
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_write(io->ssl, fk_buf_data(&io->out), len > INT_MAX ? INT_MAX : (int)len);
        if (judge(io, result, turn) != FK_OK)
            return;
        fk_buf_consume(&io->out, (size_t)result);
        if (fk_buf_len(&io->out) == 0)
            turn->drained = true;
    }
}

static bool may_read(const struct fk_channel_io *io)
{
    return io->state == OPEN && !io->paused && fk_buf_room(&io->in) > 0;
}

static void update_wants(struct fk_channel_io *io)
{
    unsigned events = 0;

    if (io->state == HANDSHAKE || may_read(io))
        events |= FK_IO_READ;
    if (io->want_write)
        events |= FK_IO_WRITE;
    fk_io_want(&io->io, io->state == CLOSED ? 0 : events);
}

/* Tell the owner, who may free `io` in any of these calls. */
static void tell(struct fk_channel_io *io, const struct turn *turn)
{
    const struct {
        bool happened;
        enum fk_channel_event event;
    } events[] = {{turn->open, FK_CHANNEL_OPEN},
                  {turn->read, FK_CHANNEL_READ},
                  {turn->drained, FK_CHANNEL_DRAINED},
                  {turn->closed, FK_CHANNEL_CLOSED}};

    io->telling = true;
    for (size_t i = 0; i < sizeof events / sizeof events[0] && !io->dead; i++)
        if (events[i].happened)
            io->cb(io->owner, events[i].event,
                   events[i].event == FK_CHANNEL_CLOSED ? turn->err : FK_OK);
    io->telling = false;
    if (io->dead)
        free(io);
}

static void finish_turn(struct fk_channel_io *io, const struct turn *turn)
{
    if (turn->closed) {
        io->state = CLOSED;
        fk_defer_stop(&io->work);
    } else if (may_read(io) && io->read_more) {
        fk_defer_start(&io->work);
    }
    update_wants(io);
    tell(io, turn);
}

static void on_io(struct fk_io *watcher, unsigned events)
{
    struct fk_channel_io *io = fk_container(watcher, struct fk_channel_io, io);
    struct turn turn = {.err = FK_OK};

    if ((events & FK_IO_WRITE) != 0)
        io->want_write = false;
    if (io->state == HANDSHAKE)
        do_handshake(io, &turn);
    else if (may_read(io))
        do_read(io, &turn);
    if (io->state == OPEN && !turn.closed && (events & FK_IO_WRITE) != 0)
        do_write(io, &turn);
    finish_turn(io, &turn);
}

static void on_work(struct fk_defer *defer)
{
    struct fk_channel_io *io = fk_container(defer, struct fk_channel_io, work);
    struct turn turn = {.err = FK_OK};

    if (io->state != OPEN)
        return;
    if (!io->want_write)
        do_write(io, &turn);
    if (io->read_more && may_read(io) && !turn.closed)
        do_read(io, &turn);
    finish_turn(io, &turn);
}

static int make_ssl(struct fk_channel_io *io, SSL_CTX *ctx, bool accept)
{
    io->ssl = SSL_new(ctx);
    if (io->ssl == NULL)
        return FK_ERR_NOMEM;
    if (SSL_set_fd(io->ssl, io->fd) != 1)
        return FK_ERR_CRYPTO;
    if (accept)
        SSL_set_accept_state(io->ssl);
    else
        SSL_set_connect_state(io->ssl);
    return FK_OK;
}

int fk_channel_io_new(struct fk_loop *loop, const struct fk_channel_setup *setup,
                      struct fk_channel_io **ret)
{
    struct fk_channel_io *io = calloc(1, sizeof *io);
    int fd = setup->fd, err;

    if (io == NULL) {
        fk_close(&fd);
        return FK_ERR_NOMEM;
    }
    *io = (struct fk_channel_io){.loop = loop, .fd = fd, .cb = setup->cb, .owner = setup->owner};
    /* Answers to DECRYPT are premaster secrets. */
    fk_buf_init_secret(&io->in, FK_CHANNEL_IN_MAX);
    fk_buf_init_secret(&io->out, FK_CHANNEL_OUT_MAX);
    fk_io_init(&io->io, loop, fd, on_io);
    fk_defer_init(&io->work, loop, on_work);
    err = make_ssl(io, setup->ctx, setup->accept);
    if (err != FK_OK) {
        ERR_clear_error();
        fk_channel_io_free(io);
        return err;
    }
    fk_sock_nodelay(fd);
    io->want_write = !setup->accept; /* the first flight leaves when the loop runs */
    update_wants(io);
    *ret = io;
    return FK_OK;
}

/* One attempt to send what is queued and close_notify; a full socket is not waited for. */
static void say_goodbye(struct fk_channel_io *io)
{
    struct turn turn = {.err = FK_OK};

    if (io->state != OPEN)
        return;
    do_write(io, &turn);
    if (!turn.closed && fk_buf_len(&io->out) == 0) {
        ERR_clear_error();
        (void)SSL_shutdown(io->ssl);
    }
    ERR_clear_error();
}

bool fk_channel_io_greeted(const struct fk_channel_io *io)
{
    OSSL_HANDSHAKE_STATE state = SSL_get_state(io->ssl);

    return state != TLS_ST_BEFORE && state != TLS_ST_SR_CLNT_HELLO &&
           state != TLS_ST_CW_CLNT_HELLO && state != TLS_ST_CR_SRVR_HELLO;
}

bool fk_channel_io_silent(const struct fk_channel_io *io)
{
    return BIO_number_read(SSL_get_rbio(io->ssl)) == 0;
}

void fk_channel_io_give(struct fk_channel_io *io, fk_channel_cb *cb, void *owner)
{
    io->cb = cb;
    io->owner = owner;
}

void fk_channel_io_free(struct fk_channel_io *io)
{
    if (io == NULL)
        return;
    say_goodbye(io);
    fk_io_want(&io->io, 0);
    fk_defer_stop(&io->work);
    SSL_free(io->ssl);
    fk_close(&io->fd);
    fk_buf_fini(&io->in);
    fk_buf_fini(&io->out);
    io->dead = true;
    if (!io->telling)
        free(io);
}

SSL *fk_channel_io_ssl(const struct fk_channel_io *io)
{
    return io->ssl;
}

struct fk_buf *fk_channel_io_in(struct fk_channel_io *io)
{
    return &io->in;
}

struct fk_buf *fk_channel_io_out(struct fk_channel_io *io)
{
    return &io->out;
}

void fk_channel_io_flush(struct fk_channel_io *io)
{
    if (io->state == OPEN)
        fk_defer_start(&io->work);
}

void fk_channel_io_pause(struct fk_channel_io *io, bool paused)
{
    if (io->paused == paused)
        return;
    io->paused = paused;
    if (!paused && io->state == OPEN) {
        io->read_more = true; /* TLS may hold bytes that were read ahead */
        fk_defer_start(&io->work);
    }
    update_wants(io);
}

const char *fk_channel_io_reason(const struct fk_channel_io *io)
{
    return io->reason;
}
