/*
 * The event loop: a thin face on libev, one a process.
 *
 * Watchers are embedded in their owner, who stops them before its memory goes. A watcher's callback
 * may stop or free anything, its own watcher included. A watcher costs no allocation of its own;
 * libev's tables grow with the highest descriptor and the number of timers.
 */
#ifndef FK_LOOP_LOOP_H
#define FK_LOOP_LOOP_H

#include "base/list.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

struct fk_loop;

/* FK_ERR_NOMEM when the kernel gives no epoll descriptor. */
int fk_loop_new(struct fk_loop **ret);
void fk_loop_free(struct fk_loop *loop);

/* Run until fk_loop_stop() or until no watcher is active. */
void fk_loop_run(struct fk_loop *loop);
void fk_loop_stop(struct fk_loop *loop);

/* Monotonic microseconds, read once an iteration. */
uint64_t fk_loop_now_us(const struct fk_loop *loop);

/* --- descriptors --- */

#define FK_IO_READ  1U
#define FK_IO_WRITE 2U

struct fk_io;
/* `events`: FK_IO_* that are ready. */
typedef void fk_io_cb(struct fk_io *io, unsigned events);

struct fk_io {
    ev_io watcher;
    struct fk_loop *loop;
    fk_io_cb *cb;
};

/* Watch `fd` (not owned) for nothing yet. */
void fk_io_init(struct fk_io *io, struct fk_loop *loop, int fd, fk_io_cb *cb);

/* Watch for exactly these events from now on; 0 stops. Costs nothing when nothing changes. */
void fk_io_want(struct fk_io *io, unsigned events);
unsigned fk_io_wanted(const struct fk_io *io);
int fk_io_fd(const struct fk_io *io);

/* --- timers --- */

struct fk_timer;
typedef void fk_timer_cb(struct fk_timer *timer);

struct fk_timer {
    ev_timer watcher;
    struct fk_loop *loop;
    fk_timer_cb *cb;
};

void fk_timer_init(struct fk_timer *timer, struct fk_loop *loop, fk_timer_cb *cb);
/* Fire once, `delay_us` from now; a running timer is set anew. */
void fk_timer_start(struct fk_timer *timer, uint64_t delay_us);
/* Zero timers, never initialised, are fine: whoever failed to start can be ended. */
void fk_timer_stop(struct fk_timer *timer);
bool fk_timer_active(const struct fk_timer *timer);

/* --- deferred calls --- */

struct fk_defer;
typedef void fk_defer_cb(struct fk_defer *defer);

/*
 * A call made once, before the loop waits next: for batching writes, and for completing operations
 * that must not call back synchronously.
 */
struct fk_defer {
    struct fk_list link;
    struct fk_loop *loop;
    fk_defer_cb *cb;
};

void fk_defer_init(struct fk_defer *defer, struct fk_loop *loop, fk_defer_cb *cb);
/* Schedule; once is enough until it has run. */
void fk_defer_start(struct fk_defer *defer);
void fk_defer_stop(struct fk_defer *defer);
bool fk_defer_active(const struct fk_defer *defer);

/* --- signals --- */

struct fk_signal;
typedef void fk_signal_cb(struct fk_signal *signal);

struct fk_signal {
    ev_signal watcher;
    struct fk_loop *loop;
    fk_signal_cb *cb;
};

void fk_signal_start(struct fk_signal *signal, struct fk_loop *loop, int number, fk_signal_cb *cb);
void fk_signal_stop(struct fk_signal *signal);

#endif
