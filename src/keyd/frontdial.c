/*
 * Edges that this key server dials: one connection to each is kept ready.
 *
 * The edge begins the handshake when it wants a channel, and not before; from then on the
 * connection is a channel like any other, and the next one is made. So there are as many channels
 * as the edge has processes that want one, and nobody has to know how many these are. A connection
 * that is lost while it is ready, or cannot be made, is made again after a pause that grows. The
 * master gives a front only so many in a time: an edge that uses up one after the other waits, so
 * that they are enough for the others.
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

/* One was used: how long until the next one is made. */
static uint64_t next_us(struct fk_front_dial *dial)
{
    struct fk_front *front = dial->front;
    uint64_t now = fk_loop_now_us(front->loop);
    size_t part = FK_KEYD_DIALS_FREE / front->set->n_dials + 1;

    if (now - front->dials_since_us >= FK_KEYD_DIALS_TIME_US) {
        front->dials_since_us = now;
        front->dials_used = 0;
        for (size_t i = 0; i < front->set->n_dials; i++)
            front->set->dials[i].used = 0;
    }
    front->dials_used++;
    dial->used++;
    if (front->dials_used <= FK_KEYD_DIALS_FREE || dial->used <= part)
        return 0;
    fk_log_limited(&front->dial_limit, FK_LOG_WARN, "edge uses up channels",
                   fk_str("dial", dial->conf->listen.block.title), fk_uint("used", dial->used));
    return front->dials_since_us + FK_KEYD_DIALS_TIME_US - now;
}

static void ask(struct fk_timer *timer)
{
    struct fk_front_dial *dial = fk_container(timer, struct fk_front_dial, timer);
    const struct fk_front *front = dial->front;

    dial->asked = true;
    fk_timer_start(timer, dial->conf->connect_timeout + FK_KEYD_DIAL_ANSWER_US);
    front->options.dial(front->options.arg, dial->number, front->set->generation);
}

int fk_front_dials_new(const struct fk_keyd_conf *conf, struct fk_front_dial **ret, size_t *ret_n)
{
    struct fk_front_dial *dials;
    unsigned n = 0;

    while (fk_keyd_conf_dial(conf, n) != NULL)
        n++;
    if ((dials = calloc(n + 1, sizeof *dials)) == NULL) /* one at least: 0 may give NULL */
        return FK_ERR_NOMEM;
    for (unsigned i = 0; i < n; i++) {
        dials[i].conf = fk_keyd_conf_dial(conf, i);
        dials[i].number = i;
    }
    *ret = dials;
    *ret_n = n;
    return FK_OK;
}

void fk_front_dials_start(struct fk_front *front)
{
    if (front->options.dial == NULL || front->draining)
        return;
    for (size_t i = 0; i < front->set->n_dials; i++) {
        struct fk_front_dial *dial = &front->set->dials[i];

        dial->front = front;
        fk_timer_init(&dial->timer, front->loop, ask);
        fk_timer_start(&dial->timer, 0);
    }
}

void fk_front_dials_stop(struct fk_front *front)
{
    for (size_t i = 0; i < front->set->n_dials; i++) {
        struct fk_front_dial *dial = &front->set->dials[i];

        if (dial->front == NULL)
            continue;
        dial->front = NULL;
        if (dial->ready != NULL)
            fk_front_conn_close(dial->ready);
        fk_timer_stop(&dial->timer);
    }
}

void fk_front_dialled(struct fk_front *front, unsigned number, uint32_t generation, int fd)
{
    struct fk_front_dial *dial;
    struct fk_addr peer;
    int err;

    if (generation != front->set->generation || number >= front->set->n_dials ||
        !front->set->dials[number].asked || front->set->dials[number].front == NULL) {
        fk_close(&fd);
        return;
    }
    dial = &front->set->dials[number];
    dial->asked = false;
    fk_timer_stop(&dial->timer);
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
    fk_timer_start(&dial->timer, next_us(dial));
}

void fk_front_dial_lost(struct fk_front_conn *conn)
{
    struct fk_front_dial *dial = conn->dial;

    dial->ready = NULL;
    conn->dial = NULL;
    if (dial->front != NULL)
        failed(dial, FK_ERR_CLOSED);
}
