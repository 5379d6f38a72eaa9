/*
 * Connections to edges, made for fronts: a front has no right to connect to anybody. It names a
 * dial block, so that one who has taken it over reaches nobody but the edges of the configuration.
 *
 * One connection a front and dial block is being made at most, and not too many in all: they take
 * ports that others need. What is made is the front's.
 */
#include "keyd/master_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "loop/sock.h"

#include <stdlib.h>
#include <string.h>

#define ALL_BLOCKS UINT32_MAX

struct dial {
    struct fk_list link;
    struct fk_keyd_master *master;
    struct fk_child *child;
    uint32_t block, generation;
    int fd;
    struct fk_io io;
    struct fk_timer timer;
};

/* `fd` (-1: there is no connection) stays the caller's. */
static void answer(struct fk_child *child, uint32_t block, uint32_t generation, int fd)
{
    struct fk_procmsg msg = {.type = FK_PROC_DIALLED, .arg = block, .len = sizeof generation};

    memcpy(msg.data, &generation, sizeof generation);
    if (fd >= 0)
        msg.fds[msg.n_fds++] = fd;
    (void)fk_child_send(child, &msg); /* else it has gone, and asks again when it is back */
}

static void drop(struct dial *dial)
{
    fk_timer_stop(&dial->timer);
    fk_io_want(&dial->io, 0);
    fk_close(&dial->fd);
    fk_list_del(&dial->link);
    free(dial);
}

static void on_connected(struct fk_io *io, unsigned events)
{
    struct dial *dial = fk_container(io, struct dial, io);
    bool failed = fk_sock_error(dial->fd) != 0;

    (void)events;
    if (!failed)
        fk_sock_keepalive(dial->fd, FK_KEYD_DIAL_KEEPALIVE_S);
    answer(dial->child, dial->block, dial->generation, failed ? -1 : dial->fd);
    drop(dial);
}

static void on_timer(struct fk_timer *timer)
{
    struct dial *dial = fk_container(timer, struct dial, timer);

    answer(dial->child, dial->block, dial->generation, -1);
    drop(dial);
}

/* NULL for `child`: of all fronts; `block`: ALL_BLOCKS or one. */
static void drop_some(struct fk_keyd_master *master, const struct fk_child *child, uint32_t block)
{
    struct fk_list *at, *next;

    fk_list_each_safe (at, next, &master->dials) {
        struct dial *dial = fk_container(at, struct dial, link);

        if ((child == NULL || dial->child == child) &&
            (block == ALL_BLOCKS || dial->block == block))
            drop(dial);
    }
}

static int begin(const struct fk_keyd_dial_conf *conf, int *ret_fd)
{
    struct fk_addr addr, bind;
    int err = fk_addr_parse(conf->listen.block.title, &addr);

    if (err == FK_OK && conf->bind != NULL)
        err = fk_addr_parse_local(conf->bind, &bind);
    return err != FK_OK ? err
                        : fk_sock_connect(&addr, conf->bind != NULL ? &bind : NULL,
                                          conf->listen.device, ret_fd);
}

static bool may_dial(const struct fk_keyd_conf *conf, struct fk_keyd_place *place)
{
    uint32_t max = FK_KEYD_DIALS_MAX;
    uint64_t now = fk_clock_us();

    for (const struct fk_conf_block *at = conf->dials; at != NULL; at = at->next)
        max += FK_KEYD_DIALS_EACH;

    if (now - place->dials_since_us > FK_KEYD_DIALS_TIME_US) {
        place->dials_since_us = now;
        place->dials = 0;
    }
    if (place->dials >= max)
        return false;
    place->dials++;
    return true;
}

static int start(struct fk_keyd_master *master, struct fk_child *child,
                 const struct fk_procmsg *msg, uint32_t generation)
{
    const struct fk_keyd_dial_conf *conf;
    struct dial *dial;
    int err;

    if (master->draining || master->current == NULL || generation != master->current->generation)
        return FK_ERR_UNAVAILABLE;
    if ((conf = fk_keyd_conf_dial(master->current->conf, msg->arg)) == NULL)
        return FK_ERR_NOT_FOUND;
    if (!may_dial(master->current->conf, fk_child_data(child)))
        return FK_ERR_LIMIT;
    if ((dial = calloc(1, sizeof *dial)) == NULL)
        return FK_ERR_NOMEM;
    if ((err = begin(conf, &dial->fd)) != FK_OK) {
        free(dial);
        return err;
    }
    dial->master = master;
    dial->child = child;
    dial->block = msg->arg;
    dial->generation = generation;
    fk_list_append(&master->dials, &dial->link);
    fk_timer_init(&dial->timer, master->loop, on_timer);
    fk_timer_start(&dial->timer, conf->connect_timeout);
    fk_io_init(&dial->io, master->loop, dial->fd, on_connected);
    fk_io_want(&dial->io, FK_IO_WRITE);
    return FK_OK;
}

void fk_keyd_dial(struct fk_keyd_master *master, struct fk_child *child,
                  const struct fk_procmsg *msg)
{
    uint32_t generation;
    int err;

    if (msg->len != sizeof generation || msg->n_fds != 0)
        return;
    memcpy(&generation, msg->data, sizeof generation);
    drop_some(master, child, msg->arg); /* what an old set asked for is not wanted any more */
    if ((err = start(master, child, msg, generation)) != FK_OK) {
        fk_log(FK_LOG_DEBUG, "cannot dial", fk_uint("block", msg->arg), fk_error(err));
        answer(child, msg->arg, generation, -1);
    }
}

void fk_keyd_dials_drop(struct fk_keyd_master *master, const struct fk_child *child)
{
    drop_some(master, child, ALL_BLOCKS);
}
