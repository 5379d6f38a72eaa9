/*
 * Supervision: see super.h.
 *
 * A child is always in exactly one state; its one timer means what the state says. Only reaping
 * ends a process's life here, and only finish() ends a child's, so that callbacks may add, retire
 * and send at will.
 */
#include "loop/super.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define BACKOFF_FIRST_US 100000ULL
#define BACKOFF_LAST_US  10000000ULL
#define HEALTHY_US       10000000ULL
#define KILL_AFTER_US    2000000ULL
/* Messages read from one child before others get their turn. */
#define MESSAGES_A_TURN 16

enum state {
    STATE_WAITING,  /* no process; the timer starts one, or ends a retired child */
    STATE_RUNNING,  /* the timer asks for a sign of life */
    STATE_DRAINING, /* told to finish; its time is running */
    STATE_ENDING,   /* its time is over, or it closed its control; the timer sends SIGKILL */
    STATE_KILLED    /* SIGKILL was sent; the timer rests */
};

struct queued {
    struct fk_list link;
    struct fk_procmsg msg;
};

struct fk_super {
    struct fk_loop *loop;
    const struct fk_super_ops *ops;
    void *ctx;
    struct fk_signal sigchld;
    struct fk_defer stopped;
    struct fk_list children;
    size_t n_children;
    bool stopping;
};

struct fk_child {
    struct fk_list link;
    struct fk_super *super;
    const char *role;
    unsigned index;
    void *data;
    enum state state;
    bool retired;
    pid_t pid;
    int control;
    struct fk_io io; /* on control */
    struct fk_timer timer;
    struct fk_list queue; /* messages that wait for room in the socket */
    size_t n_queued;
    uint64_t started_us;
    uint64_t backoff_us;
    uint64_t drain_until_us;
    unsigned starts;
    unsigned unanswered; /* pings since its last message */
    uint32_t pings;      /* number of the last one */
    uint32_t loaded_at;  /* the pong with this number or a higher one says that it has loaded */
    bool loading;
};

/* --- sending --- */

static void free_queued(struct queued *item)
{
    fk_list_del(&item->link);
    fk_procmsg_close(&item->msg);
    fk_wipe(&item->msg, sizeof item->msg);
    free(item);
}

static void drop_queue(struct fk_child *child)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&child->queue)) != NULL)
        free_queued(fk_container(item, struct queued, link));
    child->n_queued = 0;
}

static int copy_message(const struct fk_procmsg *msg, struct queued **ret)
{
    struct queued *item = calloc(1, sizeof *item);

    if (item == NULL)
        return FK_ERR_NOMEM;
    fk_list_init(&item->link);
    item->msg.type = msg->type;
    item->msg.arg = msg->arg;
    item->msg.len = msg->len;
    memcpy(item->msg.data, msg->data, msg->len);
    for (; item->msg.n_fds < msg->n_fds; item->msg.n_fds++) {
        int fd = fcntl(msg->fds[item->msg.n_fds], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            free_queued(item);
            return FK_ERR_SYS;
        }
        item->msg.fds[item->msg.n_fds] = fd;
    }
    *ret = item;
    return FK_OK;
}

static void kill_child(struct fk_child *child)
{
    if (child->pid == 0 || child->state == STATE_KILLED)
        return;
    child->state = STATE_KILLED;
    fk_timer_stop(&child->timer);
    kill(child->pid, SIGKILL);
}

static int enqueue(struct fk_child *child, const struct fk_procmsg *msg)
{
    struct queued *item;
    int err;

    if (child->n_queued >= FK_SUPER_QUEUE_MAX) {
        fk_log(FK_LOG_ERROR, "child does not read its messages", fk_str("role", child->role),
               fk_uint("index", child->index), fk_int("child", child->pid));
        kill_child(child);
        return FK_ERR_LIMIT;
    }
    err = copy_message(msg, &item);
    if (err != FK_OK)
        return err;
    fk_list_append(&child->queue, &item->link);
    child->n_queued++;
    fk_io_want(&child->io, FK_IO_READ | FK_IO_WRITE);
    return FK_OK;
}

static int send_or_queue(struct fk_child *child, const struct fk_procmsg *msg)
{
    int err;

    if (!fk_list_empty(&child->queue))
        return enqueue(child, msg);
    err = fk_proc_send(child->control, msg);
    return err == FK_ERR_AGAIN ? enqueue(child, msg) : err;
}

/* A child that cannot be asked has closed its end, or does not read: both are noticed. */
static void send_ping(struct fk_child *child)
{
    const struct fk_procmsg ping = {.type = FK_PROC_PING, .arg = ++child->pings};

    (void)send_or_queue(child, &ping);
}

/* What it was sent may keep it from its loop for a while: until it answers this ping. */
static void expect_loading(struct fk_child *child)
{
    child->loading = true;
    send_ping(child);
    child->loaded_at = child->pings;
}

int fk_child_send(struct fk_child *child, const struct fk_procmsg *msg)
{
    int err;

    if (child->pid == 0)
        return FK_ERR_CLOSED;
    err = send_or_queue(child, msg);
    if (err == FK_OK &&
        (msg->type == FK_PROC_CONFIG || msg->type == FK_PROC_KEYS || msg->type == FK_PROC_GO))
        expect_loading(child);
    return err;
}

int fk_child_send_fd(struct fk_child *child, uint32_t type, uint32_t arg, int fd)
{
    struct fk_procmsg msg;

    msg.type = type;
    msg.arg = arg;
    msg.n_fds = fd >= 0 ? 1 : 0;
    msg.fds[0] = fd;
    msg.len = 0;
    return fk_child_send(child, &msg);
}

static void flush_queue(struct fk_child *child)
{
    struct fk_list *item;
    int err = FK_OK;

    while (err == FK_OK && (item = fk_list_pop(&child->queue)) != NULL) {
        struct queued *queued = fk_container(item, struct queued, link);

        err = fk_proc_send(child->control, &queued->msg);
        if (err == FK_ERR_AGAIN) {
            fk_list_prepend(&child->queue, item);
            return;
        }
        free_queued(queued);
        child->n_queued--;
    }
    if (err != FK_OK) /* it is going; reaping says how */
        drop_queue(child);
    fk_io_want(&child->io, FK_IO_READ);
}

/* --- receiving --- */

static void take_pong(struct fk_child *child, uint32_t number)
{
    if (number >= child->loaded_at)
        child->loading = false;
}

/* FK_OK when a message was handed on. */
static int receive_one(struct fk_child *child)
{
    struct fk_procmsg msg;
    int err = fk_proc_recv(child->control, &msg);

    if (err != FK_OK)
        return err;
    child->unanswered = 0;
    if (msg.type == FK_PROC_PONG)
        take_pong(child, msg.arg);
    else
        child->super->ops->on_message(child->super->ctx, child, &msg);
    fk_procmsg_close(&msg);
    return FK_OK;
}

static void set_ending(struct fk_child *child)
{
    if (child->state == STATE_KILLED || child->state == STATE_ENDING)
        return;
    child->state = STATE_ENDING;
    fk_timer_start(&child->timer, KILL_AFTER_US);
}

static void receive(struct fk_child *child)
{
    int err = FK_OK;

    for (unsigned i = 0; i < MESSAGES_A_TURN && err == FK_OK; i++)
        err = receive_one(child);
    if (err == FK_OK || err == FK_ERR_AGAIN)
        return;
    fk_io_want(&child->io, 0);
    if (err == FK_ERR_CLOSED) {
        set_ending(child);
        return;
    }
    fk_log(FK_LOG_ERROR, "child sent a bad message", fk_str("role", child->role),
           fk_uint("index", child->index), fk_int("child", child->pid), fk_error(err));
    kill_child(child);
}

static void on_control(struct fk_io *io, unsigned events)
{
    struct fk_child *child = fk_container(io, struct fk_child, io);

    if ((events & FK_IO_WRITE) != 0)
        flush_queue(child);
    if ((events & FK_IO_READ) != 0)
        receive(child);
}

/* --- signs of life --- */

/*
 * Once a FK_SUPER_PING_US. Pings are counted, not time: a master that was itself held up (by a
 * load, by the machine) blames no child for that. For the same reason it reads first.
 */
static void beat(struct fk_child *child)
{
    unsigned bound = child->loading ? FK_SUPER_LOADING_PINGS : FK_SUPER_HUNG_PINGS;

    receive(child);
    if (child->state != STATE_RUNNING)
        return;
    if (child->unanswered >= bound) {
        fk_log(FK_LOG_ERROR, "child hangs, killed", fk_str("role", child->role),
               fk_uint("index", child->index), fk_int("child", child->pid),
               fk_uint("seconds", child->unanswered * (uint64_t)FK_SUPER_PING_US / 1000000));
        kill_child(child);
        return;
    }
    fk_timer_start(&child->timer, FK_SUPER_PING_US);
    child->unanswered++;
    send_ping(child);
}

/* --- birth --- */

/* Wait before the next start, each time longer. */
static void back_off(struct fk_child *child)
{
    child->state = STATE_WAITING;
    fk_timer_start(&child->timer, child->backoff_us);
    if (child->backoff_us == 0)
        child->backoff_us = BACKOFF_FIRST_US;
    else
        child->backoff_us =
            child->backoff_us * 2 < BACKOFF_LAST_US ? child->backoff_us * 2 : BACKOFF_LAST_US;
}

static void start(struct fk_child *child)
{
    struct fk_super *super = child->super;
    int err = fk_proc_spawn(child->role, child->index, &child->pid, &child->control);

    if (err != FK_OK) {
        fk_log(FK_LOG_ERROR, "cannot start a child", fk_str("role", child->role),
               fk_uint("index", child->index), fk_errno(errno));
        back_off(child);
        return;
    }
    child->state = STATE_RUNNING;
    child->started_us = fk_clock_us();
    child->starts++;
    child->unanswered = 0;
    fk_timer_start(&child->timer, FK_SUPER_PING_US);
    fk_io_init(&child->io, super->loop, child->control, on_control);
    fk_io_want(&child->io, FK_IO_READ);
    expect_loading(child);
    fk_log(FK_LOG_DEBUG, "child started", fk_str("role", child->role),
           fk_uint("index", child->index), fk_int("child", child->pid));
    err = super->ops->on_start(super->ctx, child);
    if (err == FK_OK)
        return;
    fk_log(FK_LOG_ERROR, "cannot set up a child", fk_str("role", child->role),
           fk_uint("index", child->index), fk_int("child", child->pid), fk_error(err));
    kill_child(child);
}

/* --- death --- */

static void free_child(struct fk_child *child)
{
    fk_timer_stop(&child->timer);
    fk_list_del(&child->link);
    child->super->n_children--;
    free(child);
}

/* The end of a retired child. */
static void finish(struct fk_child *child, pid_t pid, int status)
{
    struct fk_super *super = child->super;

    if (super->ops->on_exit != NULL)
        super->ops->on_exit(super->ctx, child, pid, status, true);
    free_child(child);
    if (super->stopping && super->n_children == 0)
        fk_defer_start(&super->stopped);
}

/* Forget the process; what it said before its end has been read. */
static void close_process(struct fk_child *child)
{
    fk_io_want(&child->io, 0);
    fk_timer_stop(&child->timer);
    fk_close(&child->control);
    drop_queue(child);
    child->pid = 0;
}

static void log_exit(const struct fk_child *child, pid_t pid, int status)
{
    enum fk_log_level level = child->retired ? FK_LOG_DEBUG : FK_LOG_WARN;
    bool killed = WIFSIGNALED(status);

    fk_log(level, "child ended", fk_str("role", child->role), fk_uint("index", child->index),
           fk_int("child", pid), fk_str("by", killed ? "signal" : "exit"),
           fk_int("status", killed ? WTERMSIG(status) : WEXITSTATUS(status)),
           fk_uint("lived_ms", (fk_clock_us() - child->started_us) / 1000));
}

static void reap(struct fk_child *child)
{
    struct fk_super *super = child->super;
    pid_t pid = child->pid;
    int status = 0;
    pid_t result;

    if (pid == 0)
        return;
    result = waitpid(pid, &status, WNOHANG);
    if (result != pid && !(result < 0 && errno == ECHILD))
        return;
    /* Its last words. Another holder of its end of the socket must not keep us here. */
    for (unsigned i = 0; i < FK_SUPER_QUEUE_MAX && receive_one(child) == FK_OK; i++)
        ;
    close_process(child);
    log_exit(child, pid, status);
    if (child->retired) {
        finish(child, pid, status);
        return;
    }
    if (fk_clock_us() - child->started_us >= HEALTHY_US)
        child->backoff_us = 0;
    back_off(child);
    if (super->ops->on_exit != NULL)
        super->ops->on_exit(super->ctx, child, pid, status, false);
}

static void on_sigchld(struct fk_signal *signal)
{
    struct fk_super *super = fk_container(signal, struct fk_super, sigchld);
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &super->children)
        reap(fk_container(item, struct fk_child, link));
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_child *child = fk_container(timer, struct fk_child, timer);

    switch (child->state) {
    case STATE_WAITING:
        if (child->retired)
            finish(child, 0, 0);
        else
            start(child);
        break;
    case STATE_DRAINING:
        set_ending(child);
        break;
    case STATE_ENDING:
        kill_child(child);
        break;
    case STATE_RUNNING:
        beat(child);
        break;
    case STATE_KILLED:
        break;
    }
}

/* --- the master's side --- */

static void on_stopped(struct fk_defer *defer)
{
    struct fk_super *super = fk_container(defer, struct fk_super, stopped);

    if (super->ops->on_stopped != NULL)
        super->ops->on_stopped(super->ctx);
}

int fk_super_new(struct fk_loop *loop, const struct fk_super_ops *ops, void *ctx,
                 struct fk_super **ret)
{
    struct fk_super *super = calloc(1, sizeof *super);

    if (super == NULL)
        return FK_ERR_NOMEM;
    super->loop = loop;
    super->ops = ops;
    super->ctx = ctx;
    fk_list_init(&super->children);
    fk_defer_init(&super->stopped, loop, on_stopped);
    fk_signal_start(&super->sigchld, loop, SIGCHLD, on_sigchld);
    *ret = super;
    return FK_OK;
}

void fk_super_free(struct fk_super *super)
{
    struct fk_list *item;

    if (super == NULL)
        return;
    fk_signal_stop(&super->sigchld);
    fk_defer_stop(&super->stopped);
    while ((item = fk_list_pop(&super->children)) != NULL) {
        struct fk_child *child = fk_container(item, struct fk_child, link);
        pid_t pid = child->pid;

        if (pid != 0) {
            kill(pid, SIGKILL);
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
            close_process(child);
        }
        free_child(child);
    }
    free(super);
}

int fk_super_add(struct fk_super *super, const char *role, unsigned index, void *data,
                 struct fk_child **ret)
{
    struct fk_child *child;

    if (super->stopping)
        return FK_ERR_DRAINING;
    if (super->n_children >= FK_SUPER_CHILDREN_MAX)
        return FK_ERR_LIMIT;
    child = calloc(1, sizeof *child);
    if (child == NULL)
        return FK_ERR_NOMEM;
    child->super = super;
    child->role = role;
    child->index = index;
    child->data = data;
    child->control = -1;
    fk_list_init(&child->queue);
    fk_list_append(&super->children, &child->link);
    super->n_children++;
    fk_timer_init(&child->timer, super->loop, on_timer);
    child->state = STATE_WAITING;
    fk_timer_start(&child->timer, 0);
    if (ret != NULL)
        *ret = child;
    return FK_OK;
}

void fk_super_retire(struct fk_child *child, unsigned drain_s)
{
    uint64_t now = fk_clock_us(), delay = (uint64_t)drain_s * 1000000;

    switch (child->state) {
    case STATE_WAITING:
        child->retired = true;
        fk_timer_start(&child->timer, 0);
        return;
    case STATE_DRAINING:
        if (now + delay >= child->drain_until_us)
            return;
        break;
    case STATE_RUNNING:
        break;
    case STATE_ENDING:
    case STATE_KILLED:
        child->retired = true;
        return;
    }
    child->retired = true;
    child->state = STATE_DRAINING;
    child->drain_until_us = now + delay;
    /* A child that cannot be told has closed its end; the timer deals with it. */
    (void)fk_child_send_fd(child, FK_PROC_DRAIN, drain_s, -1);
    if (child->state == STATE_DRAINING)
        fk_timer_start(&child->timer, delay);
}

void fk_super_stop(struct fk_super *super, unsigned drain_s)
{
    struct fk_list *item;

    super->stopping = true;
    fk_list_each (item, &super->children)
        fk_super_retire(fk_container(item, struct fk_child, link), drain_s);
    if (super->n_children == 0)
        fk_defer_start(&super->stopped);
}

const char *fk_child_role(const struct fk_child *child)
{
    return child->role;
}

unsigned fk_child_index(const struct fk_child *child)
{
    return child->index;
}

void *fk_child_data(const struct fk_child *child)
{
    return child->data;
}

pid_t fk_child_pid(const struct fk_child *child)
{
    return child->pid;
}

unsigned fk_child_restarts(const struct fk_child *child)
{
    return child->starts == 0 ? 0 : child->starts - 1;
}

bool fk_child_retired(const struct fk_child *child)
{
    return child->retired;
}

bool fk_child_silent(const struct fk_child *child)
{
    return child->pid != 0 && !child->loading && child->unanswered >= FK_SUPER_SUSPECT_PINGS;
}

struct fk_child *fk_super_next(const struct fk_super *super, const struct fk_child *child)
{
    const struct fk_list *next = child == NULL ? super->children.next : child->link.next;

    return next == &super->children ? NULL : fk_container(next, struct fk_child, link);
}
