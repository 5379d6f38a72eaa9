/*
 * A front as a whole: its listeners, its channels, its change from one set to the next, its end.
 */
#include "keyd/front_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"

#include <stdlib.h>

#define DAY_US UINT64_C(86400000000)

static void on_accept(struct fk_io *io, unsigned events)
{
    struct fk_front_listener *listener = fk_container(io, struct fk_front_listener, io);
    struct fk_front *front = listener->front;
    struct fk_addr peer;
    int fd, err = FK_OK;

    (void)events;
    for (unsigned i = 0; i < FK_KEYD_ACCEPT_BATCH && err == FK_OK; i++)
        if ((err = fk_sock_accept(listener->fd, &fd, &peer)) == FK_OK)
            fk_front_conn_accept(listener, fd, &peer);
    if (err == FK_OK || err == FK_ERR_AGAIN)
        return;
    /* Out of descriptors: the kernel would wake us for nothing. The tick listens again. */
    fk_io_want(&listener->io, 0);
    fk_log_limited(&front->accept_limit, FK_LOG_ERROR, "cannot accept",
                   fk_str("listen", listener->conf->block.title), fk_error(err));
}

static void listener_free(struct fk_front_listener *listener)
{
    fk_io_want(&listener->io, 0);
    fk_close(&listener->fd);
    fk_list_del(&listener->link);
    free(listener->allow.items);
    free(listener->deny.items);
    free(listener);
}

static void close_listeners(struct fk_front *front)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&front->listeners)) != NULL)
        listener_free(fk_container(item, struct fk_front_listener, link));
}

static void listen_again(struct fk_front *front)
{
    struct fk_list *at;

    fk_list_each (at, &front->listeners) {
        fk_io_want(&fk_container(at, struct fk_front_listener, link)->io, FK_IO_READ);
    }
}

/* A quarter of the shortest time that anything waits for, between 5 ms and 1 s. */
static uint64_t tick_length(const struct fk_keyd_limits_conf *limits)
{
    const uint64_t times[] = {limits->hello_timeout, limits->handshake_timeout,
                              limits->idle_timeout, limits->frame_timeout, limits->write_timeout};
    uint64_t length = 4000000;

    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (times[i] < length)
            length = times[i];
    return length / 4 < 5000 ? 5000 : length / 4;
}

static void on_tick(struct fk_timer *timer)
{
    struct fk_front *front = fk_container(timer, struct fk_front, tick);
    uint64_t now = fk_loop_now_us(front->loop);
    const struct fk_front_options *options = &front->options;
    unsigned judgements = FK_KEYD_JUDGE_BATCH;
    struct fk_list *at, *next;

    fk_timer_start(timer, tick_length(front->set->limits));
    front->day = fk_clock_wall_us() / DAY_US;
    fk_list_each_safe (at, next, &front->conns) {
        struct fk_front_conn *conn = fk_container(at, struct fk_front_conn, link);

        if (fk_front_conn_expired(conn, now) || !fk_front_conn_holds(conn, now, &judgements)) {
            conn->doomed = true;
            fk_front_conn_settle(conn);
        }
    }
    listen_again(front);
    fk_front_tokens_sweep(front);
    fk_metric_set(options->metrics, FK_KEYD_OUTSTANDING, front->outstanding);
    if (options->sink != NULL) {
        fk_metric_set(options->metrics, FK_KEYD_AUDIT_PENDING,
                      fk_audit_sink_pending(options->sink));
        fk_metric_set(options->metrics, FK_KEYD_AUDIT_LOST, fk_audit_sink_lost(options->sink));
    }
}

/* Deferred: channels that were stalled or hold operations go on in turn, and the end of draining is
 * told. */
static void on_resume(struct fk_defer *defer)
{
    struct fk_front *front = fk_container(defer, struct fk_front, resume);
    struct fk_list *at, *next;

    front->some_stalled = false;
    fk_list_each_safe (at, next, &front->conns) {
        struct fk_front_conn *conn = fk_container(at, struct fk_front_conn, link);

        if (conn->stalled || conn->n_held > 0)
            fk_front_conn_resume(conn);
    }
    /* Who went first this time goes last the next. */
    if (!fk_list_empty(&front->conns)) {
        struct fk_list *first = front->conns.next;

        fk_list_del(first);
        fk_list_append(&front->conns, first);
    }
    fk_list_each (at, &front->conns) {
        front->some_stalled |= fk_container(at, struct fk_front_conn, link)->stalled;
    }
    if (front->draining && front->n_conns == 0 && front->options.drained != NULL)
        front->options.drained(front->options.arg);
}

static void publish_set(const struct fk_front *front)
{
    fk_metric_set(front->options.metrics, FK_KEYD_KEYS, fk_index_count(front->set->index));
    fk_metric_set(front->options.metrics, FK_KEYD_GENERATION, front->set->generation);
}

/* It asks signers itself. */
static uint64_t handshaker_deadline(const struct fk_front_set *set)
{
    return set->limits->deadline + FK_HANDSHAKE_GRACE_US;
}

/* It has a deadline of its own, and tells what it was that took so long. */
static uint64_t asker_deadline(const struct fk_front_set *set)
{
    return set->limits->deadline / FK_ASKER_PART + FK_HANDSHAKE_GRACE_US;
}

int fk_front_new(struct fk_loop *loop, const struct fk_front_options *options,
                 struct fk_front_set *set, struct fk_front **ret)
{
    struct fk_front *front = calloc(1, sizeof *front);
    int err = FK_ERR_NOMEM;

    if (front == NULL || (err = fk_door_new(&front->door)) != FK_OK ||
        (err = fk_hs_pool_new(loop, handshaker_deadline(set), &front->handshakers)) != FK_OK ||
        (err = fk_hs_pool_new(loop, asker_deadline(set), &front->askers)) != FK_OK ||
        (err = fk_signer_pool_new(loop, set->limits->deadline, (uint32_t)set->limits->outstanding,
                                  &front->pool)) != FK_OK) {
        if (front != NULL) {
            fk_door_free(front->door);
            fk_hs_pool_free(front->handshakers);
            fk_hs_pool_free(front->askers);
        }
        free(front);
        fk_front_set_free(set);
        return err;
    }
    front->loop = loop;
    front->options = *options;
    front->set = set;
    front->outstanding_max = (size_t)set->limits->outstanding;
    fk_list_init(&front->listeners);
    fk_list_init(&front->conns);
    fk_list_init(&front->tokens);
    fk_list_init(&front->free_requests);
    fk_list_init(&front->orphans);
    fk_timer_init(&front->tick, loop, on_tick);
    fk_defer_init(&front->resume, loop, on_resume);
    fk_front_hold_init(front);
    front->day = fk_clock_wall_us() / DAY_US;
    fk_timer_start(&front->tick, tick_length(set->limits));
    publish_set(front);
    fk_front_dials_start(front);
    *ret = front;
    return FK_OK;
}

void fk_front_free(struct fk_front *front)
{
    if (front == NULL)
        return;
    front->draining = false;
    close_listeners(front);
    fk_front_dials_stop(front);
    while (!fk_list_empty(&front->conns))
        fk_front_conn_close(fk_container(front->conns.next, struct fk_front_conn, link));
    fk_door_free(front->door);
    fk_signer_pool_free(front->pool);
    fk_hs_pool_free(front->handshakers);
    fk_hs_pool_free(front->askers);
    fk_front_tokens_fini(front);
    fk_front_requests_fini(front);
    fk_timer_stop(&front->tick);
    fk_timer_stop(&front->gap);
    fk_defer_stop(&front->resume);
    fk_front_set_free(front->set);
    free(front);
}

/* Without memory for more than before, channels are held back at what there was. */
static void set_bounds(struct fk_front *front, const struct fk_keyd_limits_conf *limits)
{
    size_t wanted = (size_t)limits->outstanding;
    int err = fk_signer_pool_set(front->pool, limits->deadline, (uint32_t)wanted);

    if (err == FK_OK)
        front->outstanding_max = wanted;
    else
        fk_log(FK_LOG_ERROR, "limits of a front stay", fk_uint("outstanding", wanted),
               fk_error(err));
}

void fk_front_use(struct fk_front *front, struct fk_front_set *set)
{
    struct fk_front_set *old = front->set;
    struct fk_list *at, *next;

    close_listeners(front);
    fk_front_dials_stop(front); /* they belong to the old set */
    front->set = set;
    set_bounds(front, set->limits);
    fk_hs_pool_set(front->handshakers, handshaker_deadline(set));
    fk_hs_pool_set(front->askers, asker_deadline(set));
    fk_front_tokens_use(front);
    fk_list_each_safe (at, next, &front->conns) {
        struct fk_front_conn *conn = fk_container(at, struct fk_front_conn, link);

        if (!fk_front_conn_recheck(conn))
            fk_front_conn_close(conn);
    }
    fk_timer_start(&front->tick, tick_length(set->limits));
    fk_defer_start(&front->resume); /* limits may have grown */
    publish_set(front);
    fk_front_set_free(old);
    fk_front_dials_start(front);
}

int fk_front_listen(struct fk_front *front, int fd, unsigned block)
{
    const struct fk_conf_block *conf = front->set->conf->listens;
    struct fk_front_listener *listener;
    int err;

    while (conf != NULL && block-- > 0)
        conf = conf->next;
    if (conf == NULL || front->draining) {
        fk_close(&fd);
        return FK_ERR_NOT_FOUND;
    }
    if ((listener = calloc(1, sizeof *listener)) == NULL) {
        fk_close(&fd);
        return FK_ERR_NOMEM;
    }
    listener->front = front;
    listener->fd = fd;
    listener->conf = (const void *)conf;
    fk_io_init(&listener->io, front->loop, fd, on_accept);
    fk_list_append(&front->listeners, &listener->link);
    if ((err = fk_keyd_conf_ranges(&listener->conf->allow, &listener->allow)) != FK_OK ||
        (err = fk_keyd_conf_ranges(&listener->conf->deny, &listener->deny)) != FK_OK) {
        listener_free(listener);
        return err;
    }
    fk_io_want(&listener->io, FK_IO_READ);
    return FK_OK;
}

int fk_front_add_signer(struct fk_front *front, int fd, unsigned index)
{
    return fk_signer_pool_add(front->pool, fd, front->set->generation, index);
}

int fk_front_add_handshaker(struct fk_front *front, int fd, unsigned index)
{
    return fk_hs_pool_add(front->handshakers, fd, index);
}

int fk_front_add_asker(struct fk_front *front, int fd, unsigned index)
{
    return fk_hs_pool_add(front->askers, fd, index);
}

int fk_front_attach_audit(struct fk_front *front, int fd)
{
    int err = fk_audit_sink_attach(front->options.sink, fd);

    fk_defer_start(&front->resume);
    return err;
}

void fk_front_drain(struct fk_front *front)
{
    struct fk_list *at, *next;

    front->draining = true;
    close_listeners(front);
    fk_front_dials_stop(front);
    fk_list_each_safe (at, next, &front->conns) {
        fk_front_conn_settle(fk_container(at, struct fk_front_conn, link));
    }
    fk_defer_start(&front->resume);
}

size_t fk_front_channels(const struct fk_front *front)
{
    return front->n_conns;
}
