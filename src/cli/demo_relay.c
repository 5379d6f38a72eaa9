/*
 * The demonstration's long wire, a process of its own: a TCP relay that delivers every byte a fixed
 * time after it came, in order, both ways. It reads nothing of what it carries.
 *
 * Child role "demo-relay": FK_PROC_LISTEN (its listening socket), FK_PROC_GO (data: "ADDRESS
 * MICROSECONDS", where to and how late), then FK_PROC_READY. One timerfd wakes it: the loop's own
 * timers count milliseconds, which would show in what is measured over it.
 */
#include "cli/demo.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "loop/proc.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define READ_CHUNK 16384

/* More than that is a busy machine, not the way from the timer to us. */
#define LATE_MAX_US 500

/* So many bytes at the head of a queue are due at that time; 0 bytes: the end of the stream. */
struct mark {
    uint64_t due_us;
    size_t len;
};

/* One direction. */
struct pipe {
    struct fk_buf buf;
    struct mark marks[FK_DEMO_RELAY_MARKS];
    size_t first, count;
    size_t ready; /* bytes that are due */
    bool eof;     /* read from the source */
    bool ended;   /* told to the sink */
};

struct end {
    struct fk_io io;
    bool connected;
};

struct wire {
    struct fk_list link;
    struct relay *relay;
    struct end ends[2];   /* 0: who connected; 1: whom we connected to */
    struct pipe pipes[2]; /* pipes[i] takes what ends[i] says to the other end */
};

struct relay {
    struct fk_loop *loop;
    struct fk_io listener;
    struct fk_io clock; /* timerfd */
    struct fk_addr target;
    uint64_t delay_us;
    uint64_t armed_us; /* when the clock was asked to wake us */
    uint64_t late_us;  /* by how much it wakes us later than asked, on average */
    struct fk_list wires;
    unsigned count;
};

/* Not the loop's time, which is that of the iteration: the delay must not shrink by a busy loop. */
static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* --- queues --- */

static void push_mark(struct pipe *pipe, uint64_t due_us, size_t len)
{
    pipe->marks[(pipe->first + pipe->count) % FK_DEMO_RELAY_MARKS] = (struct mark){due_us, len};
    pipe->count++;
}

static const struct mark *head_mark(const struct pipe *pipe)
{
    return pipe->count > 0 ? &pipe->marks[pipe->first] : NULL;
}

static bool pipe_full(const struct pipe *pipe)
{
    return pipe->count + 1 >= FK_DEMO_RELAY_MARKS || fk_buf_room(&pipe->buf) == 0;
}

/* Move what is due to the ready bytes; true when the end of the stream is due. */
static bool ripen(struct pipe *pipe, uint64_t now)
{
    const struct mark *mark;

    while ((mark = head_mark(pipe)) != NULL && mark->due_us <= now) {
        if (mark->len == 0)
            return true;
        pipe->ready += mark->len;
        pipe->first = (pipe->first + 1) % FK_DEMO_RELAY_MARKS;
        pipe->count--;
    }
    return false;
}

/* --- one wire --- */

static void close_wire(struct wire *wire)
{
    struct relay *relay = wire->relay;

    for (int i = 0; i < 2; i++) {
        int fd = fk_io_fd(&wire->ends[i].io);

        fk_io_want(&wire->ends[i].io, 0);
        fk_close(&fd);
        fk_buf_fini(&wire->pipes[i].buf);
    }
    fk_list_del(&wire->link);
    free(wire);
    relay->count--;
    fk_io_want(&relay->listener, FK_IO_READ);
}

static void watch(struct wire *wire)
{
    for (int i = 0; i < 2; i++) {
        const struct pipe *from = &wire->pipes[i], *to = &wire->pipes[1 - i];
        unsigned events = 0;

        if (!from->eof && !pipe_full(from) && wire->ends[i].connected)
            events |= FK_IO_READ;
        if (to->ready > 0 || !wire->ends[i].connected)
            events |= FK_IO_WRITE;
        fk_io_want(&wire->ends[i].io, events);
    }
}

/* Take what the end says. FK_ERR_CLOSED when the wire is broken. */
static int take(struct wire *wire, int i)
{
    struct pipe *pipe = &wire->pipes[i];
    uint64_t due = now_us() + wire->relay->delay_us;
    size_t room = fk_buf_room(&pipe->buf);
    uint8_t *dst;
    ssize_t n;

    if (pipe->eof || pipe_full(pipe))
        return FK_OK;
    if (room > READ_CHUNK)
        room = READ_CHUNK;
    if (fk_buf_reserve(&pipe->buf, room, &dst) != FK_OK)
        return FK_ERR_CLOSED;
    n = read(fk_io_fd(&wire->ends[i].io), dst, room);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
    pipe->eof = n == 0;
    fk_buf_commit(&pipe->buf, (size_t)n);
    push_mark(pipe, due, (size_t)n);
    return FK_OK;
}

/* Give the other end what is due. */
static int give(struct wire *wire, int i)
{
    struct pipe *pipe = &wire->pipes[i];
    int fd = fk_io_fd(&wire->ends[1 - i].io);
    bool end = ripen(pipe, now_us() + wire->relay->late_us);
    ssize_t n;

    if (!wire->ends[1 - i].connected || pipe->ended)
        return FK_OK;
    if (pipe->ready > 0) {
        n = send(fd, fk_buf_data(&pipe->buf), pipe->ready, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
        fk_buf_consume(&pipe->buf, (size_t)n);
        pipe->ready -= (size_t)n;
    }
    if (end && pipe->ready == 0) {
        pipe->ended = true;
        pipe->count = 0;
        shutdown(fd, SHUT_WR);
    }
    return FK_OK;
}

/* Move what can be moved; may free the wire. */
static void work(struct wire *wire)
{
    if (give(wire, 0) != FK_OK || give(wire, 1) != FK_OK ||
        (wire->pipes[0].ended && wire->pipes[1].ended))
        close_wire(wire);
    else
        watch(wire);
}

static void set_clock(struct relay *relay)
{
    struct itimerspec when = {{0, 0}, {0, 0}};
    uint64_t first = UINT64_MAX;
    struct fk_list *item;

    fk_list_each (item, &relay->wires) {
        const struct wire *wire = fk_container(item, struct wire, link);

        for (int i = 0; i < 2; i++) {
            const struct mark *mark = head_mark(&wire->pipes[i]);

            /* What is due and cannot be sent waits for its socket, not for the clock. */
            if (mark != NULL && mark->due_us < first && wire->pipes[i].ready == 0)
                first = mark->due_us;
        }
    }
    if (first != UINT64_MAX) {
        relay->armed_us = first - relay->late_us;
        when.it_value.tv_sec = (time_t)(relay->armed_us / 1000000);
        when.it_value.tv_nsec = (long)(relay->armed_us % 1000000) * 1000 + 1;
    }
    timerfd_settime(fk_io_fd(&relay->clock), TFD_TIMER_ABSTIME, &when, NULL);
}

/* A sleeping processor takes its time to wake: ask for it earlier by what it took so far. */
static void learn_lateness(struct relay *relay)
{
    uint64_t late = now_us() - relay->armed_us;

    if (late > LATE_MAX_US)
        late = LATE_MAX_US;
    relay->late_us = (7 * relay->late_us + late) / 8;
}

static void on_clock(struct fk_io *io, unsigned events)
{
    struct relay *relay = fk_container(io, struct relay, clock);
    struct fk_list *item, *next;
    uint64_t expired;

    (void)events;
    if (read(fk_io_fd(io), &expired, sizeof expired) != (ssize_t)sizeof expired)
        return;
    learn_lateness(relay);
    fk_list_each_safe (item, next, &relay->wires)
        work(fk_container(item, struct wire, link));
    set_clock(relay);
}

static void on_end(struct wire *wire, int i, unsigned events)
{
    struct relay *relay = wire->relay;
    struct end *end = &wire->ends[i];

    if (!end->connected && (events & FK_IO_WRITE) != 0) {
        if (fk_sock_error(fk_io_fd(&end->io)) != 0) {
            close_wire(wire);
            return;
        }
        end->connected = true;
    }
    if ((events & FK_IO_READ) != 0 && take(wire, i) != FK_OK) {
        close_wire(wire);
        return;
    }
    work(wire);
    set_clock(relay);
}

static void on_near(struct fk_io *io, unsigned events)
{
    on_end(fk_container(io, struct wire, ends[0].io), 0, events);
}

static void on_far(struct fk_io *io, unsigned events)
{
    on_end(fk_container(io, struct wire, ends[1].io), 1, events);
}

/* Takes both descriptors. */
static int open_wire(struct relay *relay, int near, int far)
{
    struct wire *wire = calloc(1, sizeof *wire);

    if (wire == NULL) {
        fk_close(&near);
        fk_close(&far);
        return FK_ERR_NOMEM;
    }
    wire->relay = relay;
    wire->ends[0].connected = true;
    for (int i = 0; i < 2; i++)
        fk_buf_init(&wire->pipes[i].buf, FK_DEMO_RELAY_BYTES);
    fk_io_init(&wire->ends[0].io, relay->loop, near, on_near);
    fk_io_init(&wire->ends[1].io, relay->loop, far, on_far);
    fk_sock_nodelay(near);
    fk_sock_nodelay(far);
    fk_list_append(&relay->wires, &wire->link);
    relay->count++;
    watch(wire);
    return FK_OK;
}

static void on_listener(struct fk_io *io, unsigned events)
{
    struct relay *relay = fk_container(io, struct relay, listener);
    struct fk_addr peer;
    int near = -1, far = -1;

    (void)events;
    if (fk_sock_accept(fk_io_fd(io), &near, &peer) != FK_OK)
        return;
    if (fk_sock_connect(&relay->target, NULL, NULL, &far) != FK_OK)
        fk_close(&near);
    else
        (void)open_wire(relay, near, far);
    if (relay->count >= FK_DEMO_RELAY_WIRES)
        fk_io_want(io, 0);
}

/* --- the process --- */

static int parse_task(struct relay *relay, const struct fk_procmsg *msg)
{
    char text[FK_PROC_DATA_MAX + 1], *space;
    int err;

    memcpy(text, msg->data, msg->len);
    text[msg->len] = '\0';
    space = strchr(text, ' ');
    if (space == NULL)
        return FK_ERR_FORMAT;
    *space = '\0';
    if ((err = fk_addr_parse(text, &relay->target)) != FK_OK)
        return err;
    return fk_text_u64(space + 1, strlen(space + 1), &relay->delay_us);
}

static int take_message(struct fk_demo_child *child, struct fk_procmsg *msg)
{
    struct relay *relay = child->ctx;
    int err;

    if (msg->type == FK_PROC_LISTEN && msg->n_fds == 1) {
        fk_io_init(&relay->listener, relay->loop, msg->fds[0], on_listener);
        msg->fds[0] = -1; /* moved */
        return FK_OK;
    }
    if (msg->type != FK_PROC_GO)
        return FK_ERR_UNEXPECTED;
    if ((err = parse_task(relay, msg)) != FK_OK)
        return err;
    fk_io_want(&relay->listener, FK_IO_READ);
    return FK_OK;
}

int fk_demo_relay_main(unsigned index)
{
    struct fk_demo_child child;
    struct relay relay = {.count = 0};
    struct fk_list *item;
    int fd;

    if (fk_demo_child_init(&child, "demo-relay", index, take_message, &relay) != FK_OK)
        return 1;
    relay.loop = child.loop;
    fk_list_init(&relay.wires);
    fk_io_init(&relay.listener, relay.loop, -1, on_listener);
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    fk_io_init(&relay.clock, relay.loop, fd, on_clock);
    fk_io_want(&relay.clock, FK_IO_READ);
    fk_loop_run(relay.loop);
    while ((item = fk_list_pop(&relay.wires)) != NULL)
        close_wire(fk_container(item, struct wire, link));
    fk_io_want(&relay.listener, 0);
    fk_io_want(&relay.clock, 0);
    fk_close(&fd);
    return fk_demo_child_fini(&child);
}
