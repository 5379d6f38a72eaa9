/* Accepting: see listener.h. */
#include "edge/listener.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/metrics.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

struct listener {
    struct fk_listeners *owner;
    const struct fk_edge_listen *conf;
    struct fk_addr bound;  /* len 0: any address */
    struct fk_ranges from; /* who may send PROXY headers */
    int fd;
    struct fk_io io;
};

struct fk_listeners {
    struct fk_conn_env *env;
    struct fk_gen *gen;
    int reserve; /* given up to turn one client away when descriptors have run out */
    struct fk_timer retry;
    struct fk_log_limit limit;
    size_t count;
    struct listener items[];
};

static bool at_limit(const struct fk_listeners *listeners)
{
    return fk_admit_count(listeners->env->admit) >= listeners->gen->limits->connections;
}

/*
 * Descriptors have run out. The reserve takes one client from the queue, who sees a closed
 * connection rather than none; then a pause, since the listener would stay readable for ever.
 */
static void out_of_descriptors(struct fk_listeners *listeners, struct listener *listener)
{
    int number = errno;
    int fd;

    fk_log_limited(&listeners->limit, FK_LOG_ERROR, "cannot accept", fk_errno(number));
    fk_metric_add(listeners->env->metrics, FK_EDGE_LIMITED_FDS, 1);
    fk_close(&listeners->reserve);
    if (fk_sock_accept(listener->fd, &fd, NULL) == FK_OK)
        fk_close(&fd);
    listeners->reserve = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
    fk_listeners_pause(listeners);
    fk_timer_start(&listeners->retry, FK_EDGE_ACCEPT_RETRY_US);
}

/* Who may not speak to a listener that believes PROXY headers. */
static bool refused(const struct listener *listener, const struct fk_addr *peer)
{
    const struct fk_ranges none = {NULL, 0};

    return listener->from.count > 0 && !fk_addr_permitted(peer, &listener->from, &none);
}

/* Accept up to `max` clients. */
static void accept_some(struct fk_listeners *listeners, struct listener *listener, unsigned max)
{
    struct fk_addr peer;
    int fd, err;

    for (unsigned i = 0; i < max && !at_limit(listeners); i++) {
        err = fk_sock_accept(listener->fd, &fd, &peer);
        if (err == FK_ERR_AGAIN)
            return;
        if (err != FK_OK) {
            out_of_descriptors(listeners, listener);
            return;
        }
        if (refused(listener, &peer)) {
            fk_log_limited(&listeners->limit, FK_LOG_WARN, "connection refused",
                           fk_str("why", "not in proxy_from"));
            fk_close(&fd);
            continue;
        }
        fk_conn_accept(listeners->env, listeners->gen, listener->conf, &listener->bound, fd, &peer);
    }
    if (at_limit(listeners))
        fk_listeners_pause(listeners);
}

static void on_readable(struct fk_io *io, unsigned events)
{
    struct listener *listener = fk_container(io, struct listener, io);

    (void)events;
    accept_some(listener->owner, listener, FK_EDGE_ACCEPT_BATCH);
}

static void on_retry(struct fk_timer *timer)
{
    fk_listeners_start(fk_container(timer, struct fk_listeners, retry));
}

static int add_ranges(struct listener *listener)
{
    const struct fk_conf_list *list = &listener->conf->proxy_from;
    int err;

    if (list->count == 0)
        return FK_OK;
    if ((listener->from.items = calloc(list->count, sizeof *listener->from.items)) == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < list->count; i++)
        if ((err = fk_range_parse(list->items[i], &listener->from.items[i])) != FK_OK)
            return err;
    listener->from.count = list->count;
    return FK_OK;
}

int fk_listeners_new(struct fk_conn_env *env, struct fk_gen *gen, struct fk_listeners **ret)
{
    struct fk_listeners *listeners;
    size_t count = 0;
    int err;

    for (const struct fk_conf_block *b = gen->root->listens; b != NULL; b = b->next)
        count++;
    listeners = calloc(1, sizeof *listeners + count * sizeof listeners->items[0]);
    if (listeners == NULL)
        return FK_ERR_NOMEM;
    listeners->env = env;
    listeners->gen = fk_gen_ref(gen);
    listeners->reserve = -1;
    fk_timer_init(&listeners->retry, env->loop, on_retry);
    for (const struct fk_conf_block *b = gen->root->listens; b != NULL; b = b->next) {
        struct listener *listener = &listeners->items[listeners->count++];

        listener->owner = listeners;
        listener->conf = (const void *)b;
        listener->fd = -1;
        fk_io_init(&listener->io, env->loop, -1, on_readable);
        if ((err = add_ranges(listener)) != FK_OK) {
            fk_listeners_free(listeners);
            return err;
        }
    }
    *ret = listeners;
    return FK_OK;
}

void fk_listeners_free(struct fk_listeners *listeners)
{
    if (listeners == NULL)
        return;
    fk_timer_stop(&listeners->retry);
    for (size_t i = 0; i < listeners->count; i++) {
        fk_io_want(&listeners->items[i].io, 0);
        fk_close(&listeners->items[i].fd);
        free(listeners->items[i].from.items);
    }
    fk_close(&listeners->reserve);
    fk_gen_unref(listeners->gen);
    free(listeners);
}

/* Whether a socket is bound to no address in particular. */
static bool is_any(const struct fk_addr *addr)
{
    static const uint8_t zero[16];
    uint8_t ip[16];
    size_t len = fk_addr_ip(addr, ip);

    return len > 0 && memcmp(ip, zero, len) == 0;
}

int fk_listeners_add(struct fk_listeners *listeners, size_t index, int fd)
{
    struct listener *listener;

    if (index >= listeners->count || listeners->items[index].fd >= 0) {
        fk_close(&fd);
        return index >= listeners->count ? FK_ERR_RANGE : FK_ERR_DUPLICATE;
    }
    listener = &listeners->items[index];
    listener->fd = fd;
    if (fk_sock_local(fd, &listener->bound) != FK_OK || is_any(&listener->bound))
        listener->bound.len = 0;
    /* Accepted sockets inherit it: one system call less for each of them. */
    if (listener->bound.storage.ss_family != AF_UNIX)
        fk_sock_nodelay(fd);
    fk_io_init(&listener->io, listeners->env->loop, fd, on_readable);
    if (listeners->reserve < 0)
        listeners->reserve = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return FK_OK;
}

void fk_listeners_start(struct fk_listeners *listeners)
{
    if (at_limit(listeners) || fk_timer_active(&listeners->retry))
        return;
    for (size_t i = 0; i < listeners->count; i++)
        if (listeners->items[i].fd >= 0)
            fk_io_want(&listeners->items[i].io, FK_IO_READ);
}

void fk_listeners_pause(struct fk_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++)
        fk_io_want(&listeners->items[i].io, 0);
}

void fk_listeners_flush(struct fk_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++)
        if (listeners->items[i].fd >= 0)
            accept_some(listeners, &listeners->items[i], FK_EDGE_ACCEPT_FLUSH);
}
