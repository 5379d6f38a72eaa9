/*
 * The process around a front: start-up by its master's messages, changes of sets, the end.
 */
#include "keyd/front.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "keyd/metrics.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Listeners and peers that came with a CONFIG and wait for its GO: listen blocks, signers, tokens
 * and handshakers. */
#define STAGED_MAX 256

struct staged {
    uint32_t type, arg;
    int fd;
};

struct process {
    struct fk_loop *loop;
    struct fk_io control;
    struct fk_timer deadline; /* of draining */
    struct fk_timer logged;   /* looks whether the audit log has all lines */
    uint64_t drained_us;      /* when the last channel was closed, 0: there are some */
    struct fk_front *front;   /* NULL until the first GO */
    struct fk_front_options options;
    struct fk_front_set *set; /* waits for GO */
    struct staged staged[STAGED_MAX];
    size_t n_staged;
    bool refusing; /* the set was refused: so are the listeners that belong to it */
    int status;
};

static void finish(struct process *process, int status)
{
    process->status = status;
    fk_loop_stop(process->loop);
}

/* The last lines have to reach the log before this process may go, if it takes any. */
static void end_when_logged(struct process *process)
{
    const struct fk_audit_sink *sink = process->options.sink;
    uint64_t pending = sink == NULL ? 0 : fk_audit_sink_pending(sink);

    if (pending > 0 && (!fk_audit_sink_failing(sink) ||
                        fk_loop_now_us(process->loop) - process->drained_us < FK_AUDIT_END_US)) {
        fk_timer_start(&process->logged, 10000);
        return;
    }
    if (pending > 0)
        fk_log(FK_LOG_ERROR, "audit log cannot be written; lines are lost",
               fk_uint("lines", pending));
    finish(process, 0);
}

static void on_logged(struct fk_timer *timer)
{
    end_when_logged(fk_container(timer, struct process, logged));
}

static void on_drained(void *arg)
{
    struct process *process = arg;

    if (process->drained_us == 0)
        process->drained_us = fk_loop_now_us(process->loop);
    end_when_logged(process);
}

static void ask_for_connection(void *arg, unsigned number, uint32_t generation)
{
    struct fk_procmsg msg = {.type = FK_PROC_DIAL, .arg = number, .len = sizeof generation};
    struct process *process = arg;
    int err;

    memcpy(msg.data, &generation, sizeof generation);
    if ((err = fk_proc_send(FK_PROC_CONTROL_FD, &msg)) == FK_OK)
        return;
    fk_log(FK_LOG_ERROR, "cannot ask for a connection", fk_error(err));
    fk_front_dialled(process->front, number, generation, -1);
}

static int take_dialled(struct process *process, struct fk_procmsg *msg)
{
    uint32_t generation;
    int fd = -1;

    if (process->front == NULL || msg->n_fds > 1 || msg->len != sizeof generation)
        return FK_ERR_UNEXPECTED;
    memcpy(&generation, msg->data, sizeof generation);
    if (msg->n_fds == 1) {
        fd = msg->fds[0];
        msg->fds[0] = -1; /* moved */
    }
    fk_front_dialled(process->front, msg->arg, generation, fd);
    return FK_OK;
}

static void on_deadline(struct fk_timer *timer)
{
    struct process *process = fk_container(timer, struct process, deadline);

    fk_log(FK_LOG_WARN, "draining took too long",
           fk_uint("channels", fk_front_channels(process->front)));
    finish(process, 0);
}

static void tell_failed(uint32_t generation, int err)
{
    struct fk_procmsg msg = {.type = FK_PROC_FAILED, .arg = generation};
    int len = snprintf((char *)msg.data, sizeof msg.data, "front: %s", fk_err_text(err));

    msg.len = len > 0 ? (size_t)len : 0;
    (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
}

static void unstage(struct process *process)
{
    for (size_t i = 0; i < process->n_staged; i++)
        fk_close(&process->staged[i].fd);
    process->n_staged = 0;
}

static int take_metrics(struct process *process, const struct fk_procmsg *msg)
{
    int err;

    if (msg->n_fds != 2 || process->options.quota != NULL)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_metrics_open(fk_keyd_metric_table, msg->fds[0], &process->options.metrics)) !=
            FK_OK ||
        (err = fk_quota_open(msg->fds[1], &process->options.quota)) != FK_OK)
        return err;
    fk_metrics_own(process->options.metrics, msg->arg);
    return FK_OK;
}

static int use_audit(struct process *process, int fd)
{
    if (process->options.sink == NULL) {
        fk_close(&fd);
        return FK_ERR_UNEXPECTED;
    }
    return fk_front_attach_audit(process->front, fd);
}

/* A listener or peer, for the front that is there. */
static int apply(struct process *process, const struct staged *item)
{
    if (item->type == FK_PROC_LISTEN)
        return fk_front_listen(process->front, item->fd, item->arg);
    if (item->arg >> 16 == FK_PEER_SIGNER)
        return fk_front_add_signer(process->front, item->fd, item->arg & 0xffff);
    if (item->arg >> 16 == FK_PEER_HANDSHAKER)
        return fk_front_add_handshaker(process->front, item->fd, item->arg & 0xffff);
    if (item->arg >> 16 == FK_PEER_TOKEN)
        return fk_front_add_token(process->front, item->fd, (uint16_t)(item->arg & 0xffff));
    if (item->arg >> 16 == FK_PEER_ASKER)
        return fk_front_add_asker(process->front, item->fd, item->arg & 0xffff);
    return use_audit(process, item->fd);
}

/* There will be no GO. Peers are for whatever serves; listeners were for this set. */
static int forget(struct process *process)
{
    int err = FK_OK;

    fk_front_set_free(process->set);
    process->set = NULL;
    for (size_t i = 0; err == FK_OK && process->front != NULL && i < process->n_staged; i++) {
        if (process->staged[i].type != FK_PROC_PEER)
            continue;
        err = apply(process, &process->staged[i]);
        process->staged[i].fd = -1; /* moved */
    }
    unstage(process);
    return err;
}

/* All of a set is here. One that was refused has been answered. */
static int take_prepare(struct process *process, uint32_t generation)
{
    process->refusing = false;
    if (process->set == NULL || process->set->generation != generation)
        return FK_OK;
    fk_log(FK_LOG_DEBUG, "configuration built", fk_uint("generation", generation));
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_PREPARED, generation, -1);
}

static int take_config(struct process *process, const struct fk_procmsg *msg)
{
    struct fk_front_set *set;
    int err;

    if (msg->n_fds != 1 || process->options.quota == NULL)
        return FK_ERR_UNEXPECTED;
    if ((err = forget(process)) != FK_OK)
        return err;
    err = fk_front_set_open(msg->fds[0], msg->arg, process->options.quota, &set);
    process->refusing = err != FK_OK;
    if (err != FK_OK)
        return err;
    process->set = set;
    return FK_OK;
}

static int take_descriptor(struct process *process, struct fk_procmsg *msg)
{
    struct staged item = {msg->type, msg->arg, msg->n_fds == 1 ? msg->fds[0] : -1};
    unsigned kind = msg->arg >> 16;

    if (item.fd < 0 ||
        (msg->type == FK_PROC_PEER && kind != FK_PEER_SIGNER && kind != FK_PEER_AUDIT &&
         kind != FK_PEER_HANDSHAKER && kind != FK_PEER_TOKEN && kind != FK_PEER_ASKER))
        return FK_ERR_UNEXPECTED;
    if (process->refusing && msg->type == FK_PROC_LISTEN)
        return FK_OK;
    if (process->set == NULL && process->front != NULL) {
        msg->fds[0] = -1; /* moved */
        return apply(process, &item);
    }
    if (process->n_staged == STAGED_MAX)
        return FK_ERR_LIMIT;
    msg->fds[0] = -1; /* moved */
    process->staged[process->n_staged++] = item;
    return FK_OK;
}

/* The first GO: from here on this process can only serve the descriptors that it has. */
static int enter(struct process *process, const struct fk_procmsg *msg)
{
    const struct fk_keyd_audit_conf *audit = fk_keyd_conf_audit(process->set->conf);
    char user[FK_PROC_DATA_MAX + 1];
    int err;

    memcpy(user, msg->data, msg->len);
    user[msg->len] = '\0';
    if ((err = fk_proc_drop(msg->len > 0 ? user : NULL)) != FK_OK ||
        (err = fk_sandbox_enter(FK_SANDBOX_FRONT)) != FK_OK)
        return err;
    if (audit != NULL && (err = fk_audit_sink_new(process->loop, audit->on_failure == 1,
                                                  &process->options.sink)) != FK_OK)
        return err;
    err = fk_front_new(process->loop, &process->options, process->set, &process->front);
    process->set = NULL; /* moved */
    return err;
}

static int take_go(struct process *process, const struct fk_procmsg *msg)
{
    uint32_t generation;
    int err = FK_OK;

    if (process->set == NULL)
        return FK_ERR_UNEXPECTED;
    generation = process->set->generation;
    fk_log_threshold((enum fk_log_level)process->set->log_level);
    if (process->front == NULL) {
        err = enter(process, msg);
    } else {
        fk_front_use(process->front, process->set);
        process->set = NULL; /* moved */
    }
    if (err != FK_OK)
        return err;
    for (size_t i = 0; i < process->n_staged; i++) {
        if ((err = apply(process, &process->staged[i])) != FK_OK)
            fk_log(FK_LOG_ERROR, "descriptor of master refused",
                   fk_uint("type", process->staged[i].type), fk_error(err));
    }
    process->n_staged = 0; /* moved */
    fk_log(FK_LOG_INFO, "front serves", fk_uint("generation", generation));
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, generation, -1);
}

static int take_drain(struct process *process, const struct fk_procmsg *msg)
{
    if (process->front == NULL) {
        finish(process, 0);
        return FK_OK;
    }
    fk_timer_start(&process->deadline, (uint64_t)msg->arg * 1000000);
    fk_front_drain(process->front);
    return forget(process); /* the listeners of a set that was to come */
}

static int take_message(struct process *process, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_METRICS:
        return take_metrics(process, msg);
    case FK_PROC_CONFIG:
        return take_config(process, msg);
    case FK_PROC_LISTEN:
    case FK_PROC_PEER:
        return take_descriptor(process, msg);
    case FK_PROC_DIALLED:
        return take_dialled(process, msg);
    case FK_PROC_PREPARE:
        return take_prepare(process, msg->arg);
    case FK_PROC_FORGET:
        return forget(process);
    case FK_PROC_GO:
        return take_go(process, msg);
    case FK_PROC_DRAIN:
        return take_drain(process, msg);
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static void on_control(struct fk_io *io, unsigned events)
{
    struct process *process = fk_container(io, struct process, control);
    struct fk_procmsg msg;
    int err;

    (void)events;
    while ((err = fk_proc_next(&msg)) == FK_OK) {
        err = take_message(process, &msg);
        fk_procmsg_close(&msg);
        if (err == FK_OK)
            continue;
        fk_log(FK_LOG_ERROR, "message of master refused", fk_uint("type", msg.type), fk_error(err));
        tell_failed(msg.arg, err);
        if (process->front == NULL) {
            finish(process, 1);
            return;
        }
    }
    if (err != FK_ERR_AGAIN)
        finish(process, err == FK_ERR_CLOSED ? 0 : 1);
}

int fk_front_main(unsigned index)
{
    struct process *process;
    int status;

    fk_proc_child_init("keyd-front", index);
    fk_proc_give_way();
    process = calloc(1, sizeof *process);
    if (process == NULL || fk_loop_new(&process->loop) != FK_OK)
        return 1;
    process->options = (struct fk_front_options){
        .index = index, .drained = on_drained, .dial = ask_for_connection, .arg = process};
    fk_timer_init(&process->deadline, process->loop, on_deadline);
    fk_timer_init(&process->logged, process->loop, on_logged);
    fk_io_init(&process->control, process->loop, FK_PROC_CONTROL_FD, on_control);
    fk_io_want(&process->control, FK_IO_READ);
    fk_loop_run(process->loop);
    status = process->status;
    fk_timer_stop(&process->deadline);
    fk_timer_stop(&process->logged);
    fk_io_want(&process->control, 0);
    fk_front_free(process->front);
    unstage(process);
    fk_front_set_free(process->set);
    fk_audit_sink_free(process->options.sink);
    fk_quota_close(process->options.quota);
    fk_metrics_close(process->options.metrics);
    fk_loop_free(process->loop);
    free(process);
    return status;
}
