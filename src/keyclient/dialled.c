/*
 * Key servers that dial in: connections are taken where the server is awaited, until one of them
 * proves to be it.
 *
 * The roles of TLS are the same as on a channel that we open: this end is the client. Anybody may
 * connect, so many handshakes go on at once, and one who only holds his place loses it to a
 * newcomer, as loop/door.h says. While there is a channel nobody is taken; then the connection that
 * the key server keeps ready waits in the socket's queue, for another worker or for our next
 * channel. Strangers wait there, too: before they fill it those that came first are closed. If the
 * key server's was among them, it dials again.
 */
#include "keyclient/internal.h"

#include "base/err.h"

#include <stdlib.h>

/* One who dialled in. */
struct candidate {
    struct fk_door_place place;
    struct fk_keyserver *server;
    struct fk_channel_io *io;
    struct fk_timer timer; /* for its hello, then for the rest */
    bool rest;
    struct fk_addr peer;
};

/* `io` goes with it, unless it was moved (NULL). */
static void drop(struct candidate *candidate)
{
    fk_timer_stop(&candidate->timer);
    fk_door_leave(&candidate->place);
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

    if (event == FK_CHANNEL_CLOSED && fk_channel_io_silent(io)) {
        drop(candidate); /* while it waited: a key server that reloads makes its own anew */
        return;
    }
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
    struct candidate *candidate = fk_container(timer, struct candidate, timer);
    uint64_t whole = candidate->server->config.connect_timeout_us;
    bool greeted = fk_channel_io_greeted(candidate->io);

    if (greeted && !candidate->rest && whole > FK_DIALLED_HELLO_US) {
        candidate->rest = true;
        fk_timer_start(timer, whole - FK_DIALLED_HELLO_US);
        return;
    }
    refuse_candidate(candidate, FK_ERR_TIMEOUT, greeted ? "handshake" : "no ServerHello");
}

/* Somebody goes, if there is no place for one of this address. */
static void make_place(const struct fk_keyserver *server, const struct fk_addr *peer)
{
    struct fk_door_place *place = fk_door_first_of(server->door, peer, FK_DIALLED_ADDRESS_MAX);

    if (place == NULL && fk_door_count(server->door) >= FK_DIALLED_CANDIDATES_MAX)
        place = fk_door_first(server->door);
    if (place != NULL)
        refuse_candidate(fk_container(place, struct candidate, place), FK_ERR_LIMIT,
                         "gives way to a newer one");
}

/* One without TLS yet and without a place. */
static struct candidate *candidate_new(struct fk_keyserver *server, const struct fk_addr *peer)
{
    struct candidate *candidate = calloc(1, sizeof *candidate);

    if (candidate == NULL)
        return NULL;
    candidate->server = server;
    candidate->peer = *peer;
    fk_timer_init(&candidate->timer, server->client->loop, on_timer);
    return candidate;
}

static int add(struct fk_keyserver *server, int fd, const struct fk_addr *peer)
{
    struct fk_channel_setup setup = {.ctx = server->ctx, .fd = fd, .cb = on_candidate};
    uint64_t whole = server->config.connect_timeout_us;
    struct candidate *candidate;
    int err;

    make_place(server, peer);
    if ((candidate = candidate_new(server, peer)) == NULL) {
        fk_close(&fd);
        return FK_ERR_NOMEM;
    }
    setup.owner = candidate;
    fk_sock_keepalive(fd, 60);
    if ((err = fk_channel_io_new(server->client->loop, &setup, &candidate->io)) != FK_OK ||
        (err = fk_door_enter(server->door, peer, &candidate->place)) != FK_OK) {
        drop(candidate);
        return err;
    }
    fk_timer_start(&candidate->timer, whole < FK_DIALLED_HELLO_US ? whole : FK_DIALLED_HELLO_US);
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
    struct fk_door_place *place;

    if (server->door == NULL)
        return;
    if (server->listen_fd >= 0 && server->state == FK_SERVER_AWAIT)
        fk_io_want(&server->listen_io, 0);
    while ((place = fk_door_first(server->door)) != NULL)
        drop(fk_container(place, struct candidate, place));
}

/* --- the queue while nobody is taken --- */

/* Who waits there says nothing about himself, so those go that came first. */
static void thin_queue(struct fk_keyserver *server)
{
    unsigned waiting, places, left;
    struct fk_addr peer;
    int fd;

    if (fk_sock_queue(server->listen_fd, &waiting, &places) != FK_OK || waiting <= places / 2)
        return;
    /* Others thin it at the same time. */
    for (left = places; left > 0 && waiting > places / 4; left--) {
        if (fk_sock_accept(server->listen_fd, &fd, &peer) != FK_OK)
            return;
        fk_close(&fd);
        refuse(server, &peer, FK_ERR_LIMIT, "too many wait while no channel is wanted");
        if (fk_sock_queue(server->listen_fd, &waiting, &places) != FK_OK)
            return;
    }
}

static void on_queue_timer(struct fk_timer *timer)
{
    struct fk_keyserver *server = fk_container(timer, struct fk_keyserver, queue_timer);

    fk_timer_start(timer, FK_DIALLED_LOOK_US);
    if (server->state != FK_SERVER_AWAIT)
        thin_queue(server);
}

void fk_keyserver_listen(struct fk_keyserver *server, int fd)
{
    bool awaited = server->state == FK_SERVER_AWAIT;

    if (awaited)
        fk_dialled_stop(server);
    fk_close(&server->listen_fd);
    server->listen_fd = fd;
    fk_timer_start(&server->queue_timer, FK_DIALLED_LOOK_US);
    if (awaited)
        fk_dialled_begin(server);
}

void fk_dialled_prepare(struct fk_keyserver *server, struct fk_loop *loop)
{
    server->listen_fd = -1;
    fk_timer_init(&server->queue_timer, loop, on_queue_timer);
}

int fk_dialled_init(struct fk_keyserver *server)
{
    return fk_door_new(&server->door);
}

void fk_dialled_fini(struct fk_keyserver *server)
{
    fk_timer_stop(&server->queue_timer);
    fk_close(&server->listen_fd);
    fk_door_free(server->door);
    server->door = NULL;
}
