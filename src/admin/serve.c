/* Accepting within limits and moving bytes; see server.h. Knows nothing of what is spoken. */
#include "admin/serve.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK 4096

/* --- closing --- */

/* The connection without a request that has waited for longest; NULL: all are at work. */
static struct fk_serve_conn *find_idle(const struct fk_serve *server)
{
    struct fk_serve_conn *oldest = NULL;
    struct fk_list *at;

    fk_list_each (at, &server->conns) {
        struct fk_serve_conn *conn = fk_container(at, struct fk_serve_conn, link);

        if (conn->state == FK_SERVE_READING && (oldest == NULL || conn->idle_us < oldest->idle_us))
            oldest = conn;
    }
    return oldest;
}

/* Whether one more is wanted. With `evict` one above the bound is accepted for a moment. */
static bool has_place(const struct fk_serve *server)
{
    return server->count < server->protocol->max ||
           (server->protocol->evict && find_idle(server) != NULL);
}

static void listen_again(struct fk_serve *server)
{
    if (server->started && fk_io_fd(&server->listener) >= 0 && has_place(server))
        fk_io_want(&server->listener, FK_IO_READ);
}

static void close_conn(struct fk_serve_conn *conn)
{
    struct fk_serve *server = conn->server;
    int fd = fk_io_fd(&conn->io);

    if (server->protocol->closing != NULL)
        server->protocol->closing(conn);
    fk_io_want(&conn->io, 0);
    fk_timer_stop(&conn->timer);
    fk_list_del(&conn->link);
    fk_buf_fini(&conn->in);
    fk_buf_fini(&conn->out);
    free(conn);
    fk_close(&fd);
    server->count--;
    listen_again(server);
    if (server->drained != NULL && server->count == 0)
        server->drained(server);
}

/* --- one connection --- */

static void set_state(struct fk_serve_conn *conn, enum fk_serve_state state)
{
    conn->state = state;
    conn->idle_us = fk_loop_now_us(conn->server->loop);
    fk_timer_start(&conn->timer, state == FK_SERVE_ASKING ? conn->server->protocol->asking
                                                          : conn->server->protocol->patience);
}

/* Begin the next request if its bytes are there; then watch for what the state needs. */
static void advance(struct fk_serve_conn *conn)
{
    if (conn->state == FK_SERVE_READING && fk_buf_len(&conn->in) > 0)
        conn->server->protocol->received(conn);
    switch (conn->state) {
    case FK_SERVE_READING:
        fk_io_want(&conn->io, FK_IO_READ);
        break;
    case FK_SERVE_ASKING:
        fk_io_want(&conn->io, 0);
        break;
    case FK_SERVE_WRITING:
    case FK_SERVE_CLOSING:
        fk_io_want(&conn->io, FK_IO_WRITE);
        break;
    }
}

void fk_serve_conn_asking(struct fk_serve_conn *conn)
{
    set_state(conn, FK_SERVE_ASKING);
}

void fk_serve_conn_answer(struct fk_serve_conn *conn, bool last)
{
    set_state(conn, last ? FK_SERVE_CLOSING : FK_SERVE_WRITING);
    fk_io_want(&conn->io, FK_IO_WRITE);
}

/* FK_ERR_CLOSED when the peer is done or the connection is broken. */
static int read_some(struct fk_serve_conn *conn)
{
    size_t room = fk_buf_room(&conn->in);
    uint8_t *dst;
    ssize_t n;
    int err;

    if (room > READ_CHUNK)
        room = READ_CHUNK;
    if (room == 0)
        return FK_ERR_LIMIT; /* received() answers before this; a bound all the same */
    if ((err = fk_buf_reserve(&conn->in, room, &dst)) != FK_OK)
        return err;
    n = read(fk_io_fd(&conn->io), dst, room);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_ERR_AGAIN : FK_ERR_CLOSED;
    if (n == 0)
        return FK_ERR_CLOSED;
    fk_buf_commit(&conn->in, (size_t)n);
    return FK_OK;
}

static int write_some(struct fk_serve_conn *conn)
{
    ssize_t n =
        send(fk_io_fd(&conn->io), fk_buf_data(&conn->out), fk_buf_len(&conn->out), MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_ERR_AGAIN : FK_ERR_CLOSED;
    fk_buf_consume(&conn->out, (size_t)n);
    return fk_buf_len(&conn->out) > 0 ? FK_ERR_AGAIN : FK_OK;
}

static void on_readable(struct fk_serve_conn *conn)
{
    bool first = fk_buf_len(&conn->in) == 0;
    int err = read_some(conn);

    if (err == FK_OK) {
        if (first && conn->server->protocol->first != 0)
            fk_timer_start(&conn->timer, conn->server->protocol->patience);
        advance(conn);
    } else if (err != FK_ERR_AGAIN)
        close_conn(conn);
}

static void on_writable(struct fk_serve_conn *conn)
{
    int err = write_some(conn);

    if (err == FK_ERR_AGAIN)
        return;
    if (err != FK_OK || conn->state == FK_SERVE_CLOSING || conn->server->drained != NULL) {
        close_conn(conn);
        return;
    }
    conn->served = true;
    set_state(conn, FK_SERVE_READING);
    advance(conn);
    listen_again(conn->server); /* it is one to evict now */
}

static void on_io(struct fk_io *io, unsigned events)
{
    struct fk_serve_conn *conn = fk_container(io, struct fk_serve_conn, io);

    (void)events; /* errors show in read or write */
    if (conn->state == FK_SERVE_READING)
        on_readable(conn);
    else if (conn->state != FK_SERVE_ASKING)
        on_writable(conn);
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_serve_conn *conn = fk_container(timer, struct fk_serve_conn, timer);

    if (conn->state == FK_SERVE_ASKING && conn->server->protocol->late != NULL)
        conn->server->protocol->late(conn);
    else
        close_conn(conn);
}

/* --- accepting --- */

static bool peer_allowed(const struct fk_serve *server, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    if (!server->protocol->same_owner)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    return peer.uid == 0 || peer.uid == server->owner;
}

static int open_conn(struct fk_serve *server, int fd, const struct fk_addr *peer)
{
    const struct fk_serve_protocol *protocol = server->protocol;
    struct fk_serve_conn *conn = calloc(1, protocol->size);

    if (conn == NULL)
        return FK_ERR_NOMEM;
    conn->server = server;
    conn->peer = *peer;
    fk_list_append(&server->conns, &conn->link);
    fk_io_init(&conn->io, server->loop, fd, on_io);
    fk_timer_init(&conn->timer, server->loop, on_timer);
    fk_buf_init(&conn->in, protocol->in_max);
    fk_buf_init(&conn->out, protocol->out_max);
    server->count++;
    if (protocol->opened != NULL)
        protocol->opened(conn);
    set_state(conn, FK_SERVE_READING);
    if (protocol->first != 0)
        fk_timer_start(&conn->timer, protocol->first);
    advance(conn);
    return FK_OK;
}

static void on_listener(struct fk_io *io, unsigned events)
{
    struct fk_serve *server = fk_container(io, struct fk_serve, listener);
    struct fk_addr peer;
    int fd = -1;
    int err = fk_sock_accept(fk_io_fd(io), &fd, &peer);

    (void)events;
    if (err == FK_ERR_AGAIN)
        return;
    if (err == FK_OK && !peer_allowed(server, fd)) {
        fk_log_limited(&server->limit, FK_LOG_WARN, "peer of a private socket is another user",
                       fk_error(FK_ERR_DENIED));
        fk_close(&fd);
        return;
    }
    if (err == FK_OK && server->count >= server->protocol->max && find_idle(server) != NULL)
        close_conn(find_idle(server));
    if (err == FK_OK && (err = open_conn(server, fd, &peer)) != FK_OK)
        fk_close(&fd);
    if (err != FK_OK) {
        /* Out of descriptors or memory: the listener would stay readable. */
        fk_log_limited(&server->limit, FK_LOG_WARN, "cannot accept", fk_error(err));
        fk_io_want(io, 0);
        fk_timer_start(&server->retry, FK_SERVE_RETRY_US);
    } else if (!has_place(server)) {
        fk_io_want(io, 0);
    }
}

static void on_retry(struct fk_timer *timer)
{
    listen_again(fk_container(timer, struct fk_serve, retry));
}

void fk_serve_init(struct fk_serve *server, struct fk_loop *loop,
                   const struct fk_serve_protocol *protocol, void *ctx)
{
    server->loop = loop;
    server->ctx = ctx;
    server->owner = geteuid();
    server->started = false;
    server->drained = NULL;
    server->protocol = protocol;
    server->count = 0;
    server->limit = (struct fk_log_limit){0};
    fk_list_init(&server->conns);
    fk_io_init(&server->listener, loop, -1, on_listener);
    fk_timer_init(&server->retry, loop, on_retry);
}

static void close_listener(struct fk_serve *server)
{
    int fd = fk_io_fd(&server->listener);

    fk_timer_stop(&server->retry);
    if (fd < 0)
        return;
    fk_io_want(&server->listener, 0);
    fk_close(&fd);
    fk_io_init(&server->listener, server->loop, -1, on_listener);
}

void fk_serve_listen(struct fk_serve *server, int fd)
{
    close_listener(server);
    fk_io_init(&server->listener, server->loop, fd, on_listener);
    listen_again(server);
}

void fk_serve_start(struct fk_serve *server)
{
    server->started = true;
    listen_again(server);
}

void fk_serve_drain(struct fk_serve *server, void (*drained)(struct fk_serve *server))
{
    struct fk_list *item, *next;

    close_listener(server);
    fk_list_each_safe (item, next, &server->conns) {
        struct fk_serve_conn *conn = fk_container(item, struct fk_serve_conn, link);

        if (conn->state == FK_SERVE_READING && conn->served && fk_buf_len(&conn->in) == 0)
            close_conn(conn);
    }
    server->drained = drained;
    if (server->count == 0)
        drained(server);
}

void fk_serve_fini(struct fk_serve *server)
{
    struct fk_list *item;

    server->drained = NULL;
    close_listener(server);
    while ((item = fk_list_pop(&server->conns)) != NULL)
        close_conn(fk_container(item, struct fk_serve_conn, link));
}
