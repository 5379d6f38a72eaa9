/*
 * Edges that this key server dials: one connection to each is kept ready.
 *
 * The edge begins the handshake when it wants a channel, and not before; from then on the
 * connection is a channel like any other, and the next one is made. So there are as many channels
 * as the edge has processes that want one, and nobody has to know how many these are. A connection
 * that is lost while it is ready, or cannot be made, is made again after a pause that grows.
 */
#include "keyd/front_priv.h"

#include "base/err.h"
#include "loop/sock.h"

#include <openssl/rand.h>
#include <stdlib.h>

/* Doubled each time, half of it random: key servers must not come back all at once. */
static uint64_t pause_us(unsigned failures)
{
    uint64_t base = FK_KEYSERVER_BACKOFF_MIN_US;
    uint32_t noise = 0;

    while (--failures > 0 && base < FK_KEYD_DIAL_PAUSE_MAX_US)
        base *= 2;
    if (base > FK_KEYD_DIAL_PAUSE_MAX_US)
        base = FK_KEYD_DIAL_PAUSE_MAX_US;
    (void)RAND_bytes((unsigned char *)&noise, sizeof noise);
    return base / 2 + base * noise / UINT32_MAX / 2;
}

static void failed(struct fk_front_dial *dial, int err)
{
    if (dial->failures++ == 0)
        fk_log(FK_LOG_WARN, "edge cannot be dialled",
               fk_str("dial", dial->conf->listen.block.title), fk_error(err));
    fk_timer_start(&dial->timer, pause_us(dial->failures));
}

static void ask(struct fk_timer *timer)
{
    struct fk_front_dial *dial = fk_container(timer, struct fk_front_dial, timer);
    const struct fk_front *front = dial->front;

    dial->asked = true;
    front->options.dial(front->options.arg, dial->number, front->set->generation);
}

int fk_front_dials_start(struct fk_front *front)
{
    const struct fk_keyd_dial_conf *conf;

    if (front->options.dial == NULL || front->draining)
        return FK_OK;
    for (unsigned i = 0; (conf = fk_keyd_conf_dial(front->set->conf, i)) != NULL; i++) {
        struct fk_front_dial *dial = calloc(1, sizeof *dial);

        if (dial == NULL)
            return FK_ERR_NOMEM;
        dial->front = front;
        dial->conf = conf;
        dial->number = i;
        fk_timer_init(&dial->timer, front->loop, ask);
        fk_timer_start(&dial->timer, 0);
        fk_list_append(&front->dials, &dial->link);
    }
    return FK_OK;
}

void fk_front_dials_stop(struct fk_front *front)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&front->dials)) != NULL) {
        struct fk_front_dial *dial = fk_container(item, struct fk_front_dial, link);

        dial->ended = true;
        if (dial->ready != NULL)
            fk_front_conn_close(dial->ready);
        fk_timer_stop(&dial->timer);
        free(dial);
    }
}

static struct fk_front_dial *find(const struct fk_front *front, unsigned number)
{
    struct fk_list *at;

    fk_list_each (at, &front->dials) {
        struct fk_front_dial *dial = fk_container(at, struct fk_front_dial, link);

        if (dial->number == number)
            return dial;
    }
    return NULL;
}

void fk_front_dialled(struct fk_front *front, unsigned number, uint32_t generation, int fd)
{
    struct fk_front_dial *dial = find(front, number);
    struct fk_addr peer;
    int err;

    if (dial == NULL || !dial->asked || generation != front->set->generation) {
        fk_close(&fd);
        return;
    }
    dial->asked = false;
    if (fd < 0)
        err = FK_ERR_UNAVAILABLE;
    else if ((err = fk_addr_parse(dial->conf->listen.block.title, &peer)) == FK_OK)
        err = fk_front_conn_dialled(dial, fd, &peer);
    else
        fk_close(&fd);
    if (err != FK_OK)
        failed(dial, err);
}

void fk_front_dial_used(struct fk_front_conn *conn)
{
    struct fk_front_dial *dial = conn->dial;

    if (dial->failures > 0)
        fk_log(FK_LOG_INFO, "edge is dialled again",
               fk_str("dial", dial->conf->listen.block.title));
    dial->failures = 0;
    dial->ready = NULL;
    conn->dial = NULL;
    fk_timer_start(&dial->timer, 0);
}

void fk_front_dial_lost(struct fk_front_conn *conn)
{
    struct fk_front_dial *dial = conn->dial;

    dial->ready = NULL;
    conn->dial = NULL;
    if (!dial->ended)
        failed(dial, FK_ERR_CLOSED);
}
