/* Verdicts on packets in the kernel's queues: see wireverdicts.h. */
#include "edge/wireverdicts.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "inline/nfqueue.h"
#include "loop/loop.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

struct verdicts;

struct queue {
    struct verdicts *owner;
    struct fk_io worker;
    int fd, worker_fd;
    uint16_t number;
};

struct verdicts {
    struct fk_loop *loop;
    struct fk_io control;
    struct queue queues[2 * FK_EDGE_WORKERS_MAX];
    size_t n;
    bool serving;
    int status;
};

/* --- verdicts --- */

static void judge(const struct queue *queue, const uint32_t *ids, size_t n)
{
    static struct fk_log_limit limit;
    int err = FK_OK;

    /* Those that pass come first: all others up to the last one are dropped then. */
    for (size_t i = 1; err == FK_OK && i < n; i++)
        err = fk_nfqueue_accept(queue->fd, queue->number, ids[i]);
    if (err == FK_OK)
        err = fk_nfqueue_drop(queue->fd, queue->number, ids[0]);
    if (err != FK_OK)
        fk_log_limited(&limit, FK_LOG_ERROR, "the kernel takes no verdict",
                       fk_uint("queue", queue->number), fk_errno(errno));
}

static void on_worker(struct fk_io *io, unsigned events)
{
    const struct queue *queue = fk_container(io, struct queue, worker);
    uint32_t ids[1 + FK_PKTIO_BATCH];

    (void)events;
    for (unsigned i = 0; i < FK_PKTIO_ROUNDS; i++) {
        ssize_t len = recv(queue->worker_fd, ids, sizeof ids, MSG_DONTWAIT);

        if (len < (ssize_t)sizeof ids[0])
            return;
        judge(queue, ids, (size_t)len / sizeof ids[0]);
    }
}

/* --- the master's messages --- */

static int take_queue(struct verdicts *verdicts, struct fk_procmsg *msg)
{
    struct queue *queue = &verdicts->queues[verdicts->n];

    if (msg->n_fds != 2 || msg->arg > UINT16_MAX || verdicts->serving)
        return FK_ERR_UNEXPECTED;
    if (verdicts->n == sizeof verdicts->queues / sizeof verdicts->queues[0])
        return FK_ERR_LIMIT;
    queue->number = (uint16_t)msg->arg;
    queue->fd = msg->fds[0];
    queue->worker_fd = msg->fds[1];
    msg->fds[0] = msg->fds[1] = -1; /* moved */
    fk_io_init(&queue->worker, verdicts->loop, queue->worker_fd, on_worker);
    verdicts->n++;
    return FK_OK;
}

static int begin_serving(struct verdicts *verdicts, const struct fk_procmsg *msg)
{
    char user[FK_NAME_MAX + 1] = "";
    int err;

    if (verdicts->serving || msg->len >= sizeof user)
        return FK_ERR_UNEXPECTED;
    memcpy(user, msg->data, msg->len);
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
        return FK_ERR_SYS;
    if ((err = fk_proc_drop(user[0] == '\0' ? NULL : user)) != FK_OK ||
        (err = fk_sandbox_enter(FK_SANDBOX_VERDICTS)) != FK_OK)
        return err;
    verdicts->serving = true;
    for (size_t i = 0; i < verdicts->n; i++)
        fk_io_want(&verdicts->queues[i].worker, FK_IO_READ);
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, 0, -1);
}

static int take_message(struct verdicts *verdicts, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_LISTEN:
        return take_queue(verdicts, msg);
    case FK_PROC_GO:
        return begin_serving(verdicts, msg);
    case FK_PROC_DRAIN:
        verdicts->status = 0;
        fk_loop_stop(verdicts->loop);
        return FK_OK;
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static void on_control(struct fk_io *io, unsigned events)
{
    struct verdicts *verdicts = fk_container(io, struct verdicts, control);
    struct fk_procmsg msg;
    int err = fk_proc_next(&msg);

    (void)events;
    if (err == FK_ERR_AGAIN)
        return;
    if (err == FK_OK) {
        err = take_message(verdicts, &msg);
        fk_procmsg_close(&msg);
    }
    if (err == FK_OK)
        return;
    if (err == FK_ERR_CLOSED) /* the master has gone */
        verdicts->status = 0;
    else
        fk_log(FK_LOG_ERROR, "message of master refused", fk_error(err));
    fk_loop_stop(verdicts->loop);
}

int fk_wireverdicts_main(unsigned index)
{
    struct verdicts *verdicts;
    int status = 1;

    fk_proc_child_init(FK_WIREVERDICTS_ROLE, index);
    if ((verdicts = calloc(1, sizeof *verdicts)) == NULL)
        return 1;
    verdicts->status = 1;
    if (fk_loop_new(&verdicts->loop) == FK_OK) {
        fk_io_init(&verdicts->control, verdicts->loop, FK_PROC_CONTROL_FD, on_control);
        fk_io_want(&verdicts->control, FK_IO_READ);
        fk_loop_run(verdicts->loop);
        fk_io_want(&verdicts->control, 0);
        for (size_t i = 0; i < verdicts->n; i++) {
            fk_io_want(&verdicts->queues[i].worker, 0);
            fk_close(&verdicts->queues[i].fd);
            fk_close(&verdicts->queues[i].worker_fd);
        }
        fk_loop_free(verdicts->loop);
        status = verdicts->status;
    }
    free(verdicts);
    return status;
}
