/*
 * The face on libev: see loop.h.
 *
 * Owns one epoll loop, the list of deferred calls and the iteration's clock. Never blocks anywhere
 * but in epoll_wait, never calls a watcher's owner after the owner's callback has returned.
 */
#include "loop/loop.h"

#include "base/clock.h"
#include "base/err.h"

#include <signal.h>
#include <stdlib.h>

_Static_assert(FK_IO_READ == EV_READ && FK_IO_WRITE == EV_WRITE, "events are passed through");

struct fk_loop {
    struct ev_loop *ev;
    ev_prepare prepare; /* runs deferred calls before the loop sleeps */
    ev_check check;     /* reads the clock after it has slept, before any other callback */
    ev_idle idle;       /* active while calls are deferred: the loop must not sleep or end */
    struct fk_list deferred;
    uint64_t now_us;
};

static void on_check(struct ev_loop *ev, ev_check *watcher, int events)
{
    struct fk_loop *loop = fk_container(watcher, struct fk_loop, check);

    (void)ev;
    (void)events;
    loop->now_us = fk_clock_us();
}

static void on_idle(struct ev_loop *ev, ev_idle *watcher, int events)
{
    (void)ev;
    (void)watcher;
    (void)events;
}

/* Run what is deferred now; what these calls defer runs in the next pass, so that input is read
 * in between. */
static void on_prepare(struct ev_loop *ev, ev_prepare *watcher, int events)
{
    struct fk_loop *loop = fk_container(watcher, struct fk_loop, prepare);
    struct fk_list batch, *item;

    (void)events;
    fk_list_init(&batch);
    if (!fk_list_empty(&loop->deferred)) {
        fk_list_append(&loop->deferred, &batch);
        fk_list_del(&loop->deferred);
    }
    while ((item = fk_list_pop(&batch)) != NULL) {
        struct fk_defer *defer = fk_container(item, struct fk_defer, link);

        defer->cb(defer);
    }
    if (fk_list_empty(&loop->deferred))
        ev_idle_stop(ev, &loop->idle);
}

int fk_loop_new(struct fk_loop **ret)
{
    struct fk_loop *loop = calloc(1, sizeof *loop);

    if (loop == NULL)
        return FK_ERR_NOMEM;
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loop->ev == NULL) {
        free(loop);
        return FK_ERR_NOMEM;
    }
    fk_list_init(&loop->deferred);
    loop->now_us = fk_clock_us();
    ev_idle_init(&loop->idle, on_idle);
    ev_prepare_init(&loop->prepare, on_prepare);
    ev_check_init(&loop->check, on_check);
    ev_set_priority(&loop->check, EV_MAXPRI);
    ev_prepare_start(loop->ev, &loop->prepare);
    ev_check_start(loop->ev, &loop->check);
    /* Our own watchers do not keep the loop running. */
    ev_unref(loop->ev);
    ev_unref(loop->ev);
    *ret = loop;
    return FK_OK;
}

void fk_loop_free(struct fk_loop *loop)
{
    if (loop == NULL)
        return;
    ev_ref(loop->ev);
    ev_ref(loop->ev);
    ev_prepare_stop(loop->ev, &loop->prepare);
    ev_check_stop(loop->ev, &loop->check);
    ev_loop_destroy(loop->ev);
    free(loop);
}

void fk_loop_run(struct fk_loop *loop)
{
    loop->now_us = fk_clock_us();
    ev_run(loop->ev, 0);
}

void fk_loop_stop(struct fk_loop *loop)
{
    ev_break(loop->ev, EVBREAK_ALL);
}

uint64_t fk_loop_now_us(const struct fk_loop *loop)
{
    return ev_depth(loop->ev) == 0 ? fk_clock_us() : loop->now_us;
}

/* --- descriptors --- */

static void on_io(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct fk_io *io = fk_container(watcher, struct fk_io, watcher);

    (void)ev;
    io->cb(io, (unsigned)events & (FK_IO_READ | FK_IO_WRITE));
}

void fk_io_init(struct fk_io *io, struct fk_loop *loop, int fd, fk_io_cb *cb)
{
    ev_io_init(&io->watcher, on_io, fd, 0);
    io->loop = loop;
    io->cb = cb;
}

unsigned fk_io_wanted(const struct fk_io *io)
{
    if (!ev_is_active(&io->watcher))
        return 0;
    return (unsigned)io->watcher.events & (FK_IO_READ | FK_IO_WRITE);
}

/* libev compares what it watches with what the kernel knows once an iteration: turning a watcher
 * off and on again makes no system call. */
void fk_io_want(struct fk_io *io, unsigned events)
{
    if (fk_io_wanted(io) == events)
        return;
    ev_io_stop(io->loop->ev, &io->watcher);
    if (events == 0)
        return;
    ev_io_modify(&io->watcher, (int)events);
    ev_io_start(io->loop->ev, &io->watcher);
}

int fk_io_fd(const struct fk_io *io)
{
    return io->watcher.fd;
}

/* --- timers --- */

static void on_timer(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct fk_timer *timer = fk_container(watcher, struct fk_timer, watcher);

    (void)ev;
    (void)events;
    timer->cb(timer);
}

void fk_timer_init(struct fk_timer *timer, struct fk_loop *loop, fk_timer_cb *cb)
{
    ev_timer_init(&timer->watcher, on_timer, 0., 0.);
    timer->loop = loop;
    timer->cb = cb;
}

void fk_timer_start(struct fk_timer *timer, uint64_t delay_us)
{
    struct ev_loop *ev = timer->loop->ev;

    /* Before the loop runs its clock may be old: the timer would fire early. */
    if (ev_depth(ev) == 0)
        ev_now_update(ev);
    ev_timer_stop(ev, &timer->watcher);
    ev_timer_set(&timer->watcher, (double)delay_us * 1e-6, 0.);
    ev_timer_start(ev, &timer->watcher);
}

void fk_timer_stop(struct fk_timer *timer)
{
    if (timer->loop != NULL)
        ev_timer_stop(timer->loop->ev, &timer->watcher);
}

bool fk_timer_active(const struct fk_timer *timer)
{
    return ev_is_active(&timer->watcher);
}

/* --- deferred calls --- */

void fk_defer_init(struct fk_defer *defer, struct fk_loop *loop, fk_defer_cb *cb)
{
    fk_list_init(&defer->link);
    defer->loop = loop;
    defer->cb = cb;
}

void fk_defer_start(struct fk_defer *defer)
{
    if (fk_defer_active(defer))
        return;
    fk_list_append(&defer->loop->deferred, &defer->link);
    ev_idle_start(defer->loop->ev, &defer->loop->idle);
}

void fk_defer_stop(struct fk_defer *defer)
{
    fk_list_del(&defer->link);
}

bool fk_defer_active(const struct fk_defer *defer)
{
    return !fk_list_empty(&defer->link);
}

/* --- signals --- */

static void on_signal(struct ev_loop *ev, ev_signal *watcher, int events)
{
    struct fk_signal *signal = fk_container(watcher, struct fk_signal, watcher);

    (void)ev;
    (void)events;
    signal->cb(signal);
}

void fk_signal_start(struct fk_signal *signal, struct fk_loop *loop, int number, fk_signal_cb *cb)
{
    ev_signal_init(&signal->watcher, on_signal, number);
    signal->loop = loop;
    signal->cb = cb;
    ev_signal_start(loop->ev, &signal->watcher);
}

void fk_signal_stop(struct fk_signal *signal)
{
    ev_signal_stop(signal->loop->ev, &signal->watcher);
}
