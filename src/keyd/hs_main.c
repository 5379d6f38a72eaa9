/* The process around a handshaker: start-up by its master's messages, changes of sets, the end. */
#include "keyd/hs_main.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "keyd/frontset.h"
#include "keyd/hs_priv.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "tls/rkey.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct process {
    struct fk_handshaker handshaker;
    struct fk_io control;
    struct fk_timer drain; /* looks whether all handshakes have ended */
    uint64_t drain_end_us;
    bool serving;
    uint32_t generation; /* of the last GO */
    int status;
};

static void finish(struct process *process, int status)
{
    process->status = status;
    fk_loop_stop(process->handshaker.loop);
}

/* --- the master's messages --- */

/* The newer of two sets becomes the older one. What is prepared in vain is found by nobody. */
static int take_config(struct process *process, const struct fk_procmsg *msg)
{
    struct fk_handshaker *handshaker = &process->handshaker;
    struct fk_hs_set *set;
    int err;

    if (msg->n_fds != 1)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_hs_set_open(msg->fds[0], msg->arg, &handshaker->base, &set)) != FK_OK)
        return err;
    fk_hs_set_free(handshaker->sets[0]);
    handshaker->sets[0] = handshaker->sets[1];
    handshaker->sets[1] = set;
    return FK_OK;
}

/* Whether the newest set is of that generation; the one of a refused CONFIG has been answered. */
static int take_prepare(struct process *process, uint32_t generation)
{
    const struct fk_hs_set *set = process->handshaker.sets[1];

    if (set == NULL || fk_hs_set_generation(set) != generation)
        return FK_OK;
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_PREPARED, generation, -1);
}

/* There will be no GO for the newest: the one before is served on. */
static int forget(struct process *process)
{
    struct fk_handshaker *handshaker = &process->handshaker;

    if (!process->serving || handshaker->sets[0] == NULL ||
        fk_hs_set_generation(handshaker->sets[1]) == process->generation)
        return FK_OK;
    fk_hs_set_free(handshaker->sets[1]);
    handshaker->sets[1] = handshaker->sets[0];
    handshaker->sets[0] = NULL; /* moved */
    return FK_OK;
}

static int take_peer(struct process *process, struct fk_procmsg *msg)
{
    struct fk_handshaker *handshaker = &process->handshaker;
    const struct fk_hs_set *set = handshaker->sets[1];
    uint32_t generation;
    int fd = msg->n_fds == 1 ? msg->fds[0] : -1;
    unsigned kind = msg->arg >> 16;

    if (fd < 0 || set == NULL || (kind != FK_PEER_FRONT && kind != FK_PEER_SIGNER))
        return FK_ERR_UNEXPECTED;
    msg->fds[0] = -1; /* moved */
    if (kind == FK_PEER_FRONT)
        return fk_hs_front_add(handshaker, fd);
    /* A set that is only prepared has no signers yet. */
    generation = process->serving ? process->generation : fk_hs_set_generation(set);
    return fk_signer_pool_add(handshaker->pool, fd, generation, msg->arg & 0xffff);
}

static int take_tickets(struct process *process, struct fk_procmsg *msg)
{
    struct fk_ticket_keys keys;
    int err = fk_ticket_keys_decode(msg->data, msg->len, &keys);

    if (err == FK_OK)
        fk_tickets_set(process->handshaker.base.tickets, &keys);
    fk_wipe(&keys, sizeof keys);
    fk_wipe(msg->data, msg->len);
    return err;
}

static int take_sessions(struct process *process, const struct fk_procmsg *msg)
{
    if (msg->n_fds != 1 || process->handshaker.base.cache != NULL)
        return FK_ERR_UNEXPECTED;
    return fk_sescache_open(msg->fds[0], &process->handshaker.base.cache);
}

/* The first GO: from here on this process can only use the descriptors that it has. */
static int enter(struct process *process, const struct fk_procmsg *msg)
{
    char user[FK_PROC_DATA_MAX + 1];
    uint8_t warm[32];
    int err;

    memcpy(user, msg->data, msg->len);
    user[msg->len] = '\0';
    if (RAND_bytes(warm, sizeof warm) != 1 || RAND_priv_bytes(warm, sizeof warm) != 1)
        return FK_ERR_CRYPTO;
    if ((err = fk_proc_drop(msg->len > 0 ? user : NULL)) != FK_OK ||
        (err = fk_sandbox_enter(FK_SANDBOX_SIGNER)) != FK_OK)
        return err;
    process->serving = true;
    fk_timer_start(&process->handshaker.tick, FK_HANDSHAKE_TICK_US);
    return FK_OK;
}

static int take_go(struct process *process, const struct fk_procmsg *msg)
{
    const struct fk_hs_set *set = process->handshaker.sets[1];
    int err;

    if (set == NULL)
        return FK_ERR_UNEXPECTED;
    fk_log_threshold((enum fk_log_level)fk_hs_set_log_level(set));
    if (!process->serving && (err = enter(process, msg)) != FK_OK)
        return err;
    err = fk_signer_pool_set(process->handshaker.pool, fk_hs_set_limits(set)->deadline,
                             FK_HANDSHAKES_MAX);
    if (err != FK_OK)
        return err;
    process->generation = fk_hs_set_generation(set);
    fk_log(FK_LOG_INFO, "handshaker serves", fk_uint("generation", process->generation));
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, process->generation, -1);
}

/* Handshakes that wait for a client end with their time, or with that of draining. */
static void on_drain(struct fk_timer *timer)
{
    struct process *process = fk_container(timer, struct process, drain);

    if (process->handshaker.table.count == 0 ||
        fk_loop_now_us(process->handshaker.loop) >= process->drain_end_us)
        finish(process, 0);
    else
        fk_timer_start(timer, 10000);
}

static int take_drain(struct process *process, const struct fk_procmsg *msg)
{
    process->drain_end_us = fk_loop_now_us(process->handshaker.loop) + (uint64_t)msg->arg * 1000000;
    on_drain(&process->drain);
    return FK_OK;
}

static int take_message(struct process *process, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_CONFIG:
        return take_config(process, msg);
    case FK_PROC_SESSIONS:
        return take_sessions(process, msg);
    case FK_PROC_TICKETS:
        return take_tickets(process, msg);
    case FK_PROC_PEER:
        return take_peer(process, msg);
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

static void tell_failed(uint32_t generation, int err)
{
    struct fk_procmsg msg = {.type = FK_PROC_FAILED, .arg = generation};
    int len = snprintf((char *)msg.data, sizeof msg.data, "handshaker: %s", fk_err_text(err));

    msg.len = len > 0 ? (size_t)len : 0;
    (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
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
        if (!process->serving) {
            finish(process, 1);
            return;
        }
    }
    if (err != FK_ERR_AGAIN)
        finish(process, err == FK_ERR_CLOSED ? 0 : 1);
}

/* --- life --- */

static int init(struct process *process, unsigned index)
{
    struct fk_handshaker *handshaker = &process->handshaker;
    struct fk_hs_base *base = &handshaker->base;
    int err;

    if (index > UINT8_MAX)
        return FK_ERR_RANGE;
    if ((err = fk_loop_new(&handshaker->loop)) != FK_OK)
        return err;
    fk_list_init(&handshaker->fronts);
    fk_hs_table_init(&handshaker->table, (uint8_t)index);
    fk_timer_init(&handshaker->tick, handshaker->loop, fk_hs_on_tick);
    fk_timer_init(&process->drain, handshaker->loop, on_drain);
    fk_io_init(&process->control, handshaker->loop, FK_PROC_CONTROL_FD, on_control);
    if ((base->libctx = OSSL_LIB_CTX_new()) == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_rkey_provider_load(base->libctx)) != FK_OK ||
        (err = fk_tickets_new(base->libctx, &base->tickets)) != FK_OK ||
        (err = fk_signer_pool_new(handshaker->loop, FK_HANDSHAKE_LIFE_US, FK_HANDSHAKES_MAX,
                                  &handshaker->pool)) != FK_OK)
        return err;
    base->back = fk_signer_pool_back(handshaker->pool);
    fk_io_want(&process->control, FK_IO_READ);
    return FK_OK;
}

static void fini(struct process *process)
{
    struct fk_handshaker *handshaker = &process->handshaker;

    if (handshaker->loop == NULL)
        return;
    fk_timer_stop(&handshaker->tick);
    fk_timer_stop(&process->drain);
    fk_io_want(&process->control, 0);
    fk_hs_end_all(handshaker);
    fk_hs_set_free(handshaker->sets[0]);
    fk_hs_set_free(handshaker->sets[1]);
    fk_signer_pool_free(handshaker->pool);
    fk_tickets_free(handshaker->base.tickets);
    fk_sescache_close(handshaker->base.cache);
    OSSL_LIB_CTX_free(handshaker->base.libctx);
    fk_loop_free(handshaker->loop);
}

int fk_handshaker_main(unsigned index)
{
    struct process *process;
    int status, err;

    fk_proc_child_init("keyd-handshaker", index);
    fk_proc_give_way();
    if ((process = calloc(1, sizeof *process)) == NULL)
        return 1;
    process->status = 1;
    if ((err = init(process, index)) == FK_OK)
        fk_loop_run(process->handshaker.loop);
    else
        fk_log(FK_LOG_ERROR, "handshaker cannot start", fk_error(err));
    status = process->status;
    fini(process);
    free(process);
    return status;
}
