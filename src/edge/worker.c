/* Messages of the master, and the worker's life: see worker.h. */
#include "edge/worker.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "edge/listener.h"
#include "edge/metrics.h"
#include "edge/renewal.h"
#include "edge/status.h"
#include "edge/wire.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"
#include "tls/opaque.h"
#include "tls/rkey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct worker {
    struct fk_io control;
    struct fk_gen_base base;
    struct fk_conn_env env;
    /* What is served, and what GO will make so. */
    struct fk_gen *gen, *next;
    struct fk_listeners *listeners, *next_listeners;
    struct fk_wire *wire;  /* NULL: an edge */
    struct fk_defer build; /* of `next`, a little in each turn: clients go on */
    enum { NOT_BUILT, ASKED, BUILT } next_state; /* ASKED: PREPARED is waited for */
    uint32_t lost_keys; /* generation of keys that there was no memory for; 0: none */
    bool started;       /* the sandbox is entered */
    bool draining;
    bool told; /* READY was sent for `gen` */
    struct fk_timer drain;
    struct fk_timer patience; /* READY waits for certificates for so long */
    int status;
};

static struct worker *worker_of(struct fk_conn_env *env)
{
    return fk_container(env, struct worker, env);
}

/* --- to the master --- */

static void tell(struct worker *worker, uint32_t type, uint32_t arg, const char *text)
{
    struct fk_procmsg msg = {.type = type, .arg = arg};
    size_t len = strlen(text);

    msg.len = len < sizeof msg.data ? len : sizeof msg.data;
    memcpy(msg.data, text, msg.len);
    (void)fk_proc_send(fk_io_fd(&worker->control), &msg); /* a master that is gone ends us */
}

static void tell_ready(struct worker *worker)
{
    if (worker->told || worker->gen == NULL)
        return;
    worker->told = true;
    fk_timer_stop(&worker->patience);
    tell(worker, FK_PROC_READY, worker->gen->number, "");
}

/* --- the end --- */

static void finish(struct worker *worker, int status)
{
    worker->status = status;
    fk_loop_stop(worker->base.loop);
}

static bool is_idle(const struct worker *worker)
{
    return fk_list_empty(&worker->env.conns) &&
           (worker->wire == NULL || fk_wire_idle(worker->wire));
}

static void on_wire_idle(void *arg)
{
    struct worker *worker = arg;

    if (worker->draining)
        finish(worker, 0);
}

static void on_conn_end(struct fk_conn_env *env)
{
    struct worker *worker = worker_of(env);

    if (worker->draining && is_idle(worker))
        finish(worker, 0);
    else if (worker->listeners != NULL)
        fk_listeners_start(worker->listeners);
}

static void on_drain_over(struct fk_timer *timer)
{
    struct worker *worker = fk_container(timer, struct worker, drain);

    fk_conn_end_all(&worker->env);
    finish(worker, 0);
}

static void drain(struct worker *worker, uint32_t seconds)
{
    if (worker->listeners != NULL) {
        fk_listeners_flush(worker->listeners);
        fk_listeners_free(worker->listeners);
        worker->listeners = NULL;
    }
    worker->draining = true;
    if (worker->wire != NULL)
        fk_wire_drain(worker->wire);
    fk_conn_drain_all(&worker->env);
    if (is_idle(worker))
        finish(worker, 0);
    else
        fk_timer_start(&worker->drain, (uint64_t)seconds * 1000000);
}

/* --- configuration --- */

static void drop_next(struct worker *worker)
{
    fk_listeners_free(worker->next_listeners);
    worker->next_listeners = NULL;
    fk_defer_stop(&worker->build);
    fk_gen_unref(worker->next);
    worker->next = NULL;
    worker->next_state = NOT_BUILT;
}

static void refuse(struct worker *worker, uint32_t generation, int err, const struct fk_why *why)
{
    fk_log(FK_LOG_ERROR, "configuration refused", fk_str("why", why->text), fk_error(err));
    tell(worker, FK_PROC_FAILED, generation, why->text[0] == '\0' ? fk_err_text(err) : why->text);
    drop_next(worker);
}

static void take_config(struct worker *worker, const struct fk_procmsg *msg)
{
    struct fk_gen_source source = {.bundle_fd = msg->fds[0], .number = msg->arg};
    struct fk_why why = {""};
    int err = FK_ERR_FORMAT;

    drop_next(worker);
    if (msg->len == sizeof source.keys) {
        memcpy(&source.keys, msg->data, sizeof source.keys);
        err = worker->lost_keys != 0 && source.keys == worker->lost_keys ? FK_ERR_NOMEM : FK_OK;
        worker->lost_keys = 0;
    }
    if (err == FK_OK)
        err = fk_gen_new(&worker->base, &source, worker->gen, &why, &worker->next);
    if (err == FK_OK)
        err = fk_listeners_new(&worker->env, worker->next, &worker->next_listeners);
    if (err != FK_OK)
        refuse(worker, msg->arg, err, &why);
    else
        fk_defer_start(&worker->build);
}

static void tell_prepared(struct worker *worker)
{
    fk_log(FK_LOG_DEBUG, "configuration built", fk_uint("generation", worker->next->number));
    tell(worker, FK_PROC_PREPARED, worker->next->number, "");
}

/* Go on building the next generation, or build all of it. */
static void build(struct worker *worker, bool all)
{
    struct fk_why why = {""};
    int err = fk_gen_build(worker->next, all, &why);

    if (err == FK_ERR_AGAIN) {
        fk_defer_start(&worker->build);
        return;
    }
    if (err != FK_OK) {
        refuse(worker, worker->next->number, err, &why);
        return;
    }
    if (worker->next_state == ASKED)
        tell_prepared(worker);
    worker->next_state = BUILT;
}

static void on_build(struct fk_defer *defer)
{
    build(fk_container(defer, struct worker, build), false);
}

static void on_certificate(void *arg, struct fk_gen *gen, struct fk_site *site)
{
    struct worker *worker = arg;

    fk_conn_resume(site);
    if (worker->wire != NULL)
        fk_wire_resume(worker->wire);
    if (!worker->told && gen == worker->gen && fk_gen_complete(gen))
        tell_ready(worker);
}

static void on_patience_over(struct fk_timer *timer)
{
    struct worker *worker = fk_container(timer, struct worker, patience);

    fk_log(FK_LOG_WARN, "serving although not every site has a certificate yet",
           fk_uint("generation", worker->gen->number));
    tell_ready(worker);
}

/* The next generation becomes the present one; connections of the old go on with it. */
static void apply(struct worker *worker)
{
    struct fk_gen *old = worker->gen;
    int err;

    if (worker->next != NULL && worker->next_state != BUILT)
        build(worker, true); /* a new process: nobody is served yet */
    if (worker->next == NULL)
        return;
    fk_defer_stop(&worker->build);
    worker->next_state = NOT_BUILT;
    if (worker->listeners != NULL) {
        fk_listeners_free(worker->listeners); /* the master and `next_listeners` have the sockets */
    }
    worker->gen = worker->next;
    worker->next = NULL;
    worker->listeners = worker->next_listeners;
    worker->next_listeners = NULL;
    worker->told = false;
    fk_log_threshold(worker->gen->log_level);
    if (worker->gen->keys != NULL)
        fk_keys_serve(worker->gen->keys, worker->gen);
    if (old != NULL && old->keys != NULL)
        fk_keys_give_way(old->keys, worker->gen->keys);
    if (old != NULL)
        fk_gen_rest(old);
    fk_gen_unref(old);
    fk_workcache_bound(worker->base.answers, fk_edge_cache(worker->gen->root));
    fk_gen_serve(worker->gen);
    fk_listeners_start(worker->listeners);
    fk_conn_renew_all(&worker->env, worker->gen);
    if (worker->wire != NULL && (err = fk_wire_serve(worker->wire, worker->gen)) != FK_OK) {
        fk_log(FK_LOG_ERROR, "cannot serve the wire", fk_error(err));
        finish(worker, 1);
    }
    if (fk_gen_complete(worker->gen))
        tell_ready(worker);
    else
        fk_timer_start(&worker->patience, FK_EDGE_PATIENCE_US);
}

static int go(struct worker *worker, const struct fk_procmsg *msg)
{
    char user[FK_NAME_MAX + 1];
    int err;

    if (!worker->started) {
        if (msg->len > FK_NAME_MAX)
            return FK_ERR_FORMAT;
        memcpy(user, msg->data, msg->len);
        user[msg->len] = '\0';
        if ((err = fk_proc_drop(msg->len == 0 ? NULL : user)) != FK_OK ||
            (err = fk_sandbox_enter(FK_SANDBOX_WORKER)) != FK_OK)
            return err;
        worker->started = true;
    }
    apply(worker);
    /* A first configuration that was refused: nothing to serve. The next process may do better. */
    if (worker->gen == NULL)
        finish(worker, 1);
    return FK_OK;
}

/* --- the master's messages --- */

static int take_peer(struct worker *worker, struct fk_procmsg *msg)
{
    uint32_t generation;
    int fd = msg->fds[0], err;

    if (msg->arg >> 16 != FK_PEER_SIGNER || msg->len != sizeof generation)
        return FK_ERR_FORMAT;
    memcpy(&generation, msg->data, sizeof generation);
    msg->fds[0] = -1; /* moved */
    err = fk_localkeys_add(worker->base.local, generation, msg->arg & 0xffff, fd);
    if (err != FK_ERR_NOMEM || worker->gen == NULL || worker->gen->keys_number == generation)
        return err;
    /* Signers of a configuration that is to come: it will be refused, this one serves on. */
    worker->lost_keys = generation;
    return FK_OK;
}

/* Where a key server dials in: one of the coming configuration, or of the present one's channels.
 */
static int take_dialled(struct worker *worker, struct fk_procmsg *msg)
{
    int fd;

    if (worker->next == NULL)
        return FK_OK; /* refused */
    if (worker->next->keys == NULL)
        return FK_ERR_UNEXPECTED;
    fd = msg->fds[0];
    msg->fds[0] = -1; /* moved */
    return fk_keys_listen(worker->next->keys, msg->arg, fd);
}

/* The same ones each time: the first are kept. */
static int take_wire(struct worker *worker, struct fk_procmsg *msg)
{
    int fd = msg->fds[0];

    if (fk_wire_has(worker->wire, msg->arg))
        return FK_OK;
    msg->fds[0] = -1; /* moved */
    return fk_wire_add(worker->wire, msg->arg, fd);
}

static int take_listener(struct worker *worker, struct fk_procmsg *msg)
{
    struct fk_why why = {""};
    int fd = msg->fds[0], err;

    if (worker->next == NULL || worker->next_listeners == NULL)
        return FK_OK; /* the configuration was refused */
    if (worker->wire != NULL)
        return take_wire(worker, msg);
    msg->fds[0] = -1; /* moved */
    if ((err = fk_listeners_add(worker->next_listeners, msg->arg, fd)) != FK_OK)
        refuse(worker, worker->next->number, err, &why);
    return FK_OK;
}

static int take_socket(struct worker *worker, struct fk_procmsg *msg)
{
    return msg->type == FK_PROC_LISTEN ? take_listener(worker, msg) : take_dialled(worker, msg);
}

/* All of a configuration is here; answered when it is built. One that was refused has been. */
static void prepared(struct worker *worker, uint32_t generation)
{
    if (worker->next == NULL || worker->next->number != generation)
        return;
    if (worker->next_state == BUILT)
        tell_prepared(worker);
    else
        worker->next_state = ASKED;
}

static int take_tickets(struct worker *worker, struct fk_procmsg *msg)
{
    struct fk_ticket_keys keys;
    int err = fk_ticket_keys_decode(msg->data, msg->len, &keys);

    if (err == FK_OK)
        fk_tickets_set(worker->base.tickets, &keys);
    fk_wipe(&keys, sizeof keys);
    fk_wipe(msg->data, sizeof msg->data);
    return err;
}

static int take_metrics(struct worker *worker, const struct fk_procmsg *msg)
{
    int err = fk_metrics_open(worker->base.role->metrics, msg->fds[0], &worker->env.metrics);

    if (err == FK_OK)
        fk_metrics_own(worker->env.metrics, msg->arg);
    worker->base.metrics = worker->env.metrics;
    fk_workcache_count(worker->base.answers, worker->env.metrics);
    if (worker->wire != NULL)
        fk_wire_count(worker->wire, worker->env.metrics);
    return err;
}

static int take_cache(struct worker *worker, const struct fk_procmsg *msg)
{
    return fk_sescache_open(msg->fds[0], &worker->base.cache);
}

/* 0: the status; else the tables that only a box has. */
static int tell_status(struct worker *worker, uint32_t arg)
{
    int control = fk_io_fd(&worker->control);

    if (arg == 0)
        return fk_status_send(control, worker->gen);
    return worker->wire == NULL ? FK_ERR_UNEXPECTED
                                : fk_wire_tell_tables(worker->wire, control, arg);
}

/* What cannot be purged the master has refused. */
static void purge(struct worker *worker, const struct fk_procmsg *msg)
{
    char url[FK_PROC_DATA_MAX + 1] = "";
    size_t n = 0;

    if (worker->gen == NULL || msg->len >= sizeof url)
        return;
    memcpy(url, msg->data, msg->len);
    if (fk_workcache_purge(worker->base.answers, worker->gen->root, msg->len == 0 ? NULL : url,
                           &n) == FK_OK)
        fk_log(FK_LOG_INFO, "cache purged", fk_str("url", msg->len == 0 ? "all" : url),
               fk_uint("answers", n));
}

/* The master has as many of them, no more. */
static int change_origin(struct worker *worker, const struct fk_procmsg *msg)
{
    char name[FK_PROC_DATA_MAX + 1];

    if (msg->len >= sizeof name || msg->arg > FK_SETDOWN_FORGET)
        return FK_ERR_FORMAT;
    memcpy(name, msg->data, msg->len);
    name[msg->len] = '\0';
    return fk_setdown_change(worker->base.down, name, (enum fk_setdown_change)msg->arg);
}

/* An operator's, in their order. */
static int take_order(struct worker *worker, const struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_STATUS:
        return tell_status(worker, msg->arg);
    case FK_PROC_PURGE:
        purge(worker, msg);
        return FK_OK;
    case FK_PROC_ORIGIN:
        return change_origin(worker, msg);
    case FK_PROC_SYNC:
        tell(worker, FK_PROC_SYNC, msg->arg, "");
        return FK_OK;
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static int take_message(struct worker *worker, struct fk_procmsg *msg)
{
    bool has_fd = msg->n_fds == 1;

    switch (msg->type) {
    case FK_PROC_CONFIG:
        if (!has_fd)
            return FK_ERR_FORMAT;
        take_config(worker, msg);
        return FK_OK;
    case FK_PROC_LISTEN:
    case FK_PROC_DIALLED:
        return has_fd ? take_socket(worker, msg) : FK_ERR_FORMAT;
    case FK_PROC_PEER:
        return has_fd ? take_peer(worker, msg) : FK_ERR_FORMAT;
    case FK_PROC_METRICS:
        return has_fd && worker->env.metrics == NULL ? take_metrics(worker, msg) : FK_ERR_FORMAT;
    case FK_PROC_SESSIONS:
        return has_fd && worker->base.cache == NULL ? take_cache(worker, msg) : FK_ERR_FORMAT;
    case FK_PROC_TICKETS:
        return take_tickets(worker, msg);
    case FK_PROC_PREPARE:
        prepared(worker, msg->arg);
        return FK_OK;
    case FK_PROC_FORGET:
        drop_next(worker);
        return FK_OK;
    case FK_PROC_GO:
        return go(worker, msg);
    case FK_PROC_DRAIN:
        drain(worker, msg->arg);
        return FK_OK;
    default:
        return take_order(worker, msg);
    }
}

static void on_control(struct fk_io *io, unsigned events)
{
    struct worker *worker = fk_container(io, struct worker, control);
    struct fk_procmsg msg;
    int err;

    (void)events;
    while ((err = fk_proc_next(&msg)) == FK_OK) {
        err = take_message(worker, &msg);
        fk_procmsg_close(&msg);
        if (err != FK_OK)
            break;
    }
    if (err == FK_OK || err == FK_ERR_AGAIN)
        return;
    if (err != FK_ERR_CLOSED)
        fk_log(FK_LOG_ERROR, "control message", fk_uint("type", msg.type), fk_error(err));
    finish(worker, 1);
}

/* --- life --- */

static int init_base(struct worker *worker)
{
    struct fk_gen_base *base = &worker->base;
    int err;

    if ((base->libctx = OSSL_LIB_CTX_new()) == NULL || (base->opaque = OSSL_LIB_CTX_new()) == NULL)
        return FK_ERR_NOMEM;
    base->on_certificate = on_certificate;
    base->arg = worker;
    if ((err = fk_loop_new(&base->loop)) != FK_OK)
        return err;
    fk_defer_init(&worker->build, base->loop, on_build); /* fini() stops it, come what may */
    if ((err = fk_rkey_provider_load(base->libctx)) != FK_OK ||
        (err = fk_opaque_provider_load(base->opaque)) != FK_OK ||
        (err = fk_dns_new(base->loop, NULL, &base->dns)) != FK_OK ||
        (err = fk_tickets_new(base->libctx, &base->tickets)) != FK_OK ||
        (err = fk_ticketgroups_new(base->libctx, &base->groups)) != FK_OK ||
        (err = fk_workcache_new(base->loop, &base->answers)) != FK_OK ||
        (err = fk_renewals_new(base->loop, &base->renewals)) != FK_OK ||
        (err = fk_setdown_new(&base->down)) != FK_OK)
        return err;
    return fk_localkeys_new(base->loop, &base->local);
}

static int init(struct worker *worker)
{
    int err;

    if ((err = init_base(worker)) != FK_OK ||
        (err = fk_conn_env_init(&worker->env, worker->base.loop)) != FK_OK)
        return err;
    worker->env.on_end = on_conn_end;
    fk_timer_init(&worker->drain, worker->base.loop, on_drain_over);
    fk_timer_init(&worker->patience, worker->base.loop, on_patience_over);
    fk_io_init(&worker->control, worker->base.loop, FK_PROC_CONTROL_FD, on_control);
    fk_io_want(&worker->control, FK_IO_READ);
    if (worker->base.role != &fk_role_inline)
        return FK_OK;
    return fk_wire_new(worker->base.loop, on_wire_idle, worker, &worker->wire);
}

static void fini(struct worker *worker)
{
    if (worker->base.loop == NULL)
        return;
    if (worker->env.loop != NULL)
        fk_conn_end_all(&worker->env);
    fk_timer_stop(&worker->drain);
    fk_timer_stop(&worker->patience);
    fk_listeners_free(worker->listeners);
    fk_wire_free(worker->wire);
    drop_next(worker);
    fk_renewals_free(worker->base.renewals);
    fk_gen_unref(worker->gen);
    fk_setdown_free(worker->base.down);
    fk_workcache_free(worker->base.answers);
    fk_localkeys_free(worker->base.local);
    fk_sescache_close(worker->base.cache);
    fk_ticketgroups_free(worker->base.groups);
    fk_tickets_free(worker->base.tickets);
    fk_dns_free(worker->base.dns);
    fk_conn_env_fini(&worker->env);
    fk_io_want(&worker->control, 0);
    OSSL_LIB_CTX_free(worker->base.opaque);
    OSSL_LIB_CTX_free(worker->base.libctx);
    fk_loop_free(worker->base.loop);
    fk_metrics_close(worker->env.metrics); /* last: what ends is counted */
}

int fk_worker_main(const struct fk_edge_role *role, unsigned index)
{
    struct worker worker = {.status = 1, .base.role = role};
    int err;

    fk_proc_child_init(role->worker, index);
    if ((err = init(&worker)) == FK_OK)
        fk_loop_run(worker.base.loop);
    else
        fk_log(FK_LOG_ERROR, "cannot start", fk_error(err));
    fini(&worker);
    return worker.status;
}
