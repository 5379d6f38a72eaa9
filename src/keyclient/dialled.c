/*
 * Key servers that dial in: connections are taken where the server is awaited, until one of them
 * proves to be it.
 *
 * The roles of TLS are the same as on a channel that we open: this end is the client. Anybody may
 * connect, so many handshakes go on at once, and one who only holds his place loses it to a
 * newcomer: of his own address first. While there is a channel nobody is taken; then the connection
 * that the key server keeps ready waits in the socket's queue, for another worker or for our next
 * channel.
 */
#include "keyclient/internal.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

/* One who dialled in. */
struct candidate {
    struct fk_list link;
    struct fk_keyserver *server;
    struct fk_channel_io *io;
    struct fk_timer timer;
    struct fk_addr peer;
};

/* `io` goes with it, unless it was moved (NULL). */
static void drop(struct candidate *candidate)
{
    fk_timer_stop(&candidate->timer);
    fk_list_del(&candidate->link);
    candidate->server->n_candidates--;
    fk_channel_io_free(candidate->io);
    free(candidate);
}

static void refuse(struct fk_keyserver *server, const struct fk_addr *peer, int err,
                   const char *detail)
{
    char text[FK_ADDR_TEXT_SIZE];

    fk_addr_format(peer, text);
    fk_log_limited(&server->dial_limit, FK_LOG_WARN, "connection is not the key server's",
                   fk_str("server", server->texts.name), fk_str("peer", text),
                   fk_str("detail", detail), fk_error(err));
}

static void refuse_candidate(struct candidate *candidate, int err, const char *detail)
{
    refuse(candidate->server, &candidate->peer, err, detail);
    drop(candidate);
}

static void on_candidate(void *owner, enum fk_channel_event event, int err)
{
    struct candidate *candidate = owner;
    struct fk_keyserver *server = candidate->server;
    struct fk_channel_io *io = candidate->io;
    const char *wrong;

    if (event == FK_CHANNEL_CLOSED) {
        refuse_candidate(candidate, err == FK_OK ? FK_ERR_CLOSED : err, fk_channel_io_reason(io));
        return;
    }
    if (event != FK_CHANNEL_OPEN)
        return;
    if ((wrong = fk_server_check_peer(server, fk_channel_io_ssl(io))) != NULL) {
        refuse_candidate(candidate, FK_ERR_DENIED, wrong);
        return;
    }
    candidate->io = NULL; /* moved */
    drop(candidate);
    fk_server_adopt(server, io);
}

static void on_timer(struct fk_timer *timer)
{
    refuse_candidate(fk_container(timer, struct candidate, timer), FK_ERR_TIMEOUT, "handshake");
}

/* The oldest of the newcomer's address, or of all. */
static struct candidate *oldest(struct fk_keyserver *server, const struct fk_addr *peer)
{
    uint8_t ip[16], other[16];
    size_t len = fk_addr_ip(peer, ip);
    struct fk_list *at;

    fk_list_each (at, &server->candidates) {
        struct candidate *candidate = fk_container(at, struct candidate, link);

        if (fk_addr_ip(&candidate->peer, other) == len && memcmp(ip, other, len) == 0)
            return candidate;
    }
    return fk_container(server->candidates.next, struct candidate, link);
}

static int add(struct fk_keyserver *server, int fd, const struct fk_addr *peer)
{
    struct fk_channel_setup setup = {.ctx = server->ctx, .fd = fd, .cb = on_candidate};
    struct candidate *candidate;
    int err;

    if (server->n_candidates >= FK_DIALLED_CANDIDATES_MAX)
        refuse_candidate(oldest(server, peer), FK_ERR_LIMIT, "gives way to a newer one");
    if ((candidate = calloc(1, sizeof *candidate)) == NULL) {
        fk_close(&fd);
        return FK_ERR_NOMEM;
    }
    setup.owner = candidate;
    fk_sock_keepalive(fd, 60);
    if ((err = fk_channel_io_new(server->client->loop, &setup, &candidate->io)) != FK_OK) {
        free(candidate);
        return err;
    }
    candidate->server = server;
    candidate->peer = *peer;
    fk_list_append(&server->candidates, &candidate->link);
    server->n_candidates++;
    fk_timer_init(&candidate->timer, server->client->loop, on_timer);
    fk_timer_start(&candidate->timer, server->config.connect_timeout_us);
    return FK_OK;
}

static void take(struct fk_keyserver *server, int fd, const struct fk_addr *peer)
{
    int err;

    if (!fk_addr_permitted(peer, &server->allow, &server->deny)) {
        fk_close(&fd);
        refuse(server, peer, FK_ERR_DENIED, "address not permitted");
    } else if ((err = add(server, fd, peer)) != FK_OK) {
        refuse(server, peer, err, "cannot start TLS");
    }
}

static void on_listen_io(struct fk_io *io, unsigned events)
{
    struct fk_keyserver *server = fk_container(io, struct fk_keyserver, listen_io);
    struct fk_addr peer;
    int fd, err = FK_OK;

    (void)events;
    for (unsigned i = 0; i < FK_DIALLED_ACCEPT_BATCH && err == FK_OK; i++)
        if ((err = fk_sock_accept(server->listen_fd, &fd, &peer)) == FK_OK)
            take(server, fd, &peer);
    if (err == FK_OK || err == FK_ERR_AGAIN)
        return;
    /* Out of descriptors: the kernel would wake us for nothing. Like any failure it passes. */
    fk_server_lost(server, err, "cannot accept");
}

void fk_dialled_begin(struct fk_keyserver *server)
{
    if (server->listen_fd < 0) /* it comes */
        return;
    fk_io_init(&server->listen_io, server->client->loop, server->listen_fd, on_listen_io);
    fk_io_want(&server->listen_io, FK_IO_READ);
}

void fk_dialled_stop(struct fk_keyserver *server)
{
    if (server->listen_fd >= 0 && server->state == FK_SERVER_AWAIT)
        fk_io_want(&server->listen_io, 0);
    while (!fk_list_empty(&server->candidates))
        drop(fk_container(server->candidates.next, struct candidate, link));
}

void fk_keyserver_listen(struct fk_keyserver *server, int fd)
{
    bool awaited = server->state == FK_SERVER_AWAIT;

    if (awaited)
        fk_dialled_stop(server);
    fk_close(&server->listen_fd);
    server->listen_fd = fd;
    if (awaited)
        fk_dialled_begin(server);
}
