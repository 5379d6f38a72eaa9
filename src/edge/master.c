/*
 * The edge's master: loads the configuration, opens the sockets, makes the ticket keys, gives birth
 * to workers, signers and the admin process, and tells each what it has to know; master_reload.c
 * replaces what changes. Speaks to no peer; keeps no private key of a site (load.c reads them into
 * a sealed memfd for the signers).
 */
#include "edge/master_priv.h"

#include "admin/admin.h"
#include "admin/command.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "edge/edge.h"
#include "edge/metrics.h"
#include "edge/sitefacts.h"
#include "tls/sescache.h"
#include "edge/worker.h"
#include "edge/wireverdicts.h"
#include "loop/notify.h"
#include "loop/sandbox.h"
#include "loop/sock.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- who is who --- */

static struct fk_master_worker *worker_of(struct fk_master *master, const struct fk_child *child)
{
    for (unsigned i = 0; i < master->n_workers; i++)
        if (master->workers[i].child == child)
            return &master->workers[i];
    return NULL;
}

static bool is_role(const struct fk_child *child, const char *role)
{
    return strcmp(fk_child_role(child), role) == 0;
}

/* Which keys a signer has: those in service, those to come, or (it is being retired) none. */
static struct fk_master_keys *keys_of(struct fk_master *master, const struct fk_child *child)
{
    for (unsigned i = 0; i < master->keys.count; i++)
        if (master->keys.signers[i] == child)
            return &master->keys;
    for (unsigned i = 0; i < master->next_keys.count; i++)
        if (master->next_keys.signers[i] == child)
            return &master->next_keys;
    return NULL;
}

/* Workers get a configuration only when the signers of its keys serve. */
bool fk_master_keys_ready(const struct fk_master_keys *keys)
{
    for (unsigned i = 0; i < keys->count; i++)
        if (!keys->ready[i])
            return false;
    return true;
}

bool fk_master_has_process(const struct fk_master_worker *worker)
{
    return worker->child != NULL && fk_child_pid(worker->child) != 0;
}

bool fk_master_ready(const struct fk_master *master)
{
    for (unsigned i = 0; i < master->n_workers; i++)
        if (master->workers[i].ready != master->generation ||
            fk_child_silent(master->workers[i].child))
            return false;
    for (unsigned i = 0; i < master->keys.count; i++)
        if (fk_child_silent(master->keys.signers[i]))
            return false;
    return true;
}

/* --- what children are told --- */

/* A private way between a worker and a signer. Harmless when one of them has no process now: it is
 * made when that one starts. */
static int connect_pair(struct fk_child *worker, struct fk_child *signer, uint32_t generation)
{
    struct fk_procmsg msg = {.type = FK_PROC_PEER, .n_fds = 1};
    int fds[2];
    int err;

    if (fk_child_pid(worker) == 0 || fk_child_pid(signer) == 0)
        return FK_OK;
    if ((err = fk_sock_pair(SOCK_STREAM, fds)) != FK_OK)
        return err;
    msg.arg = (uint32_t)FK_PEER_WORKER << 16 | fk_child_index(worker);
    msg.fds[0] = fds[0];
    if ((err = fk_child_send(signer, &msg)) == FK_OK) {
        msg.arg = (uint32_t)FK_PEER_SIGNER << 16 | fk_child_index(signer);
        msg.fds[0] = fds[1];
        msg.len = sizeof generation;
        memcpy(msg.data, &generation, sizeof generation);
        err = fk_child_send(worker, &msg);
    }
    fk_close(&fds[0]);
    fk_close(&fds[1]);
    return err;
}

int fk_master_connect(struct fk_child *worker, const struct fk_master_keys *keys)
{
    int err = FK_OK;

    for (unsigned i = 0; err == FK_OK && i < keys->count; i++)
        err = connect_pair(worker, keys->signers[i], keys->generation);
    return err;
}

int fk_master_send_go(struct fk_child *child, const char *user)
{
    struct fk_procmsg msg = {.type = FK_PROC_GO};

    msg.len = strlen(user);
    assert(msg.len <= FK_NAME_MAX); /* fk_users_check() */
    memcpy(msg.data, user, msg.len);
    return fk_child_send(child, &msg);
}

static int send_tickets(const struct fk_master *master, struct fk_child *child)
{
    struct fk_procmsg msg = {.type = FK_PROC_TICKETS};
    int err;

    msg.len = fk_ticket_keys_encode((const void *)fk_secret_bytes(master->tickets), msg.data);
    err = fk_child_send(child, &msg);
    fk_wipe(&msg, sizeof msg);
    return err;
}

/* The sockets on which key servers dial in. */
static int send_dialled(const struct fk_master *master, struct fk_child *child,
                        const struct fk_edge_conf *conf)
{
    uint32_t index = 0;
    int err = FK_OK;

    for (const struct fk_conf_block *b = conf->keyservers; err == FK_OK && b != NULL;
         b = b->next, index++) {
        const struct fk_edge_keyserver *server = (const void *)b;

        if (server->accept != NULL)
            err = fk_child_send_fd(
                child, FK_PROC_DIALLED, index,
                fk_sockets_get_dialled(master->sockets, server, fk_child_index(child)));
    }
    return err;
}

int fk_master_send_set(const struct fk_master *master, struct fk_child *child,
                       const struct fk_master_set *set)
{
    struct fk_procmsg msg = {.type = FK_PROC_CONFIG,
                             .arg = set->generation,
                             .n_fds = 1,
                             .fds = {set->loaded->bundle_fd}};
    uint32_t index = 0;
    int err;

    msg.len = sizeof set->key_generation;
    memcpy(msg.data, &set->key_generation, sizeof set->key_generation);
    err = fk_child_send(child, &msg);
    for (const struct fk_conf_block *b = set->loaded->root->listens; err == FK_OK && b != NULL;
         b = b->next)
        err = fk_child_send_fd(
            child, FK_PROC_LISTEN, index++,
            fk_sockets_get(master->sockets, (const void *)b, fk_child_index(child)));
    for (unsigned i = 0; err == FK_OK && master->wire != NULL && i < FK_PKTIO_SOCKETS; i++) {
        int fd = fk_wiresockets_get(master->wire, fk_child_index(child), i);

        if (fd >= 0)
            err = fk_child_send_fd(child, FK_PROC_LISTEN, i, fd);
    }
    return err == FK_OK ? send_dialled(master, child, set->loaded->root) : err;
}

/* The present configuration with its sockets, and GO. */
static int send_config(const struct fk_master *master, struct fk_child *child)
{
    const struct fk_master_set set = {master->loaded, master->generation, master->keys.generation};
    int err = fk_master_send_set(master, child, &set);

    return err == FK_OK ? fk_master_send_go(child, master->loaded->root->user) : err;
}

static int start_worker(struct fk_master *master, struct fk_child *child)
{
    struct fk_master_worker *worker = worker_of(master, child);
    int err;

    worker->ready = worker->asked = worker->prepared = 0;
    fk_metrics_bury(master->metrics, fk_child_index(child));
    if ((err = fk_child_send_fd(child, FK_PROC_METRICS, fk_child_index(child),
                                master->metrics_fd)) != FK_OK ||
        (err = send_tickets(master, child)) != FK_OK ||
        (err = fk_master_orders_send(master, worker)) != FK_OK)
        return err;
    if (master->sessions_fd >= 0 &&
        (err = fk_child_send_fd(child, FK_PROC_SESSIONS, 0, master->sessions_fd)) != FK_OK)
        return err;
    if ((err = fk_master_connect(child, &master->keys)) != FK_OK)
        return err;
    if (fk_master_keys_ready(&master->keys) && (err = send_config(master, child)) != FK_OK)
        return err;
    fk_master_reload_worker_started(master, worker);
    return FK_OK;
}

static int start_signer(struct fk_master *master, struct fk_child *child)
{
    const struct fk_master_keys *keys = keys_of(master, child);
    const struct fk_loaded *loaded = keys == &master->keys ? master->loaded : master->pending;
    int err;

    if (keys == NULL)
        return FK_OK; /* retired before it was born */
    err = fk_child_send_fd(child, FK_PROC_KEYS, keys->generation, loaded->keys_fd);
    /* With the next keys workers are connected when they are asked to prepare for them. */
    for (unsigned i = 0; err == FK_OK && keys == &master->keys && i < master->n_workers; i++)
        err = connect_pair(master->workers[i].child, child, keys->generation);
    return err == FK_OK ? fk_master_send_go(child, loaded->root->signer_user) : err;
}

static int start_admin(struct fk_master *master, struct fk_child *child)
{
    struct fk_procmsg msg = {.type = FK_PROC_METRICS, .n_fds = 1, .fds = {master->metrics_fd}};
    int err;

    msg.len = strlen(master->role->name);
    memcpy(msg.data, master->role->name, msg.len);
    if ((err = fk_child_send(child, &msg)) != FK_OK ||
        (err = fk_child_send_fd(child, FK_PROC_LISTEN, FK_ADMIN_CONTROL, master->control_fd)) !=
            FK_OK)
        return err;
    if (master->http_fd >= 0 &&
        (err = fk_child_send_fd(child, FK_PROC_LISTEN, FK_ADMIN_HTTP, master->http_fd)) != FK_OK)
        return err;
    if ((err = fk_admin_send_token(child, master->loaded->admin_token)) != FK_OK)
        return err;
    fk_sitefacts_send(child, master->role->name, master->loaded->root);
    return fk_master_send_go(child, master->loaded->root->user);
}

static int start_verdicts(struct fk_master *master, struct fk_child *child)
{
    struct fk_procmsg msg = {.type = FK_PROC_LISTEN, .n_fds = 2};
    uint16_t number;
    int err = FK_OK;

    for (unsigned i = 0; err == FK_OK && fk_wiresockets_queue(master->wire, i, &number, msg.fds);
         i++) {
        msg.arg = number;
        err = fk_child_send(child, &msg);
    }
    return err == FK_OK ? fk_master_send_go(child, master->loaded->root->user) : err;
}

static int on_start(void *ctx, struct fk_child *child)
{
    if (is_role(child, FK_WIREVERDICTS_ROLE))
        return start_verdicts(ctx, child);
    if (fk_role_of_worker(fk_child_role(child)) != NULL)
        return start_worker(ctx, child);
    if (is_role(child, "signer"))
        return start_signer(ctx, child);
    return start_admin(ctx, child);
}

/* --- what children tell --- */

static void worker_ready(struct fk_master *master, struct fk_master_worker *worker, uint32_t number)
{
    worker->ready = number;
    if (!fk_master_ready(master))
        return;
    if (!master->ready) {
        fk_log(FK_LOG_INFO, master->role->ready, fk_uint("workers", master->n_workers),
               fk_uint("us", fk_clock_us() - master->started_us));
        (void)fk_notify_ready();
        fk_master_tell_predecessor(master);
    }
    master->ready = true;
    fk_master_reload_settled(master);
}

/* With the last signer ready, workers can have the configuration that needs them. */
static void signer_ready(struct fk_master *master, const struct fk_child *child)
{
    struct fk_master_keys *keys = keys_of(master, child);
    bool before = keys == NULL || fk_master_keys_ready(keys);

    for (unsigned i = 0; keys != NULL && i < keys->count; i++)
        if (keys->signers[i] == child)
            keys->ready[i] = true;
    if (before || !fk_master_keys_ready(keys) || master->stopping)
        return;
    for (unsigned i = 0; keys == &master->keys && i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]))
            (void)send_config(master, master->workers[i].child);
    fk_master_reload_signers_ready(master);
}

/*
 * A configuration that its own workers refuse. At the start there is nothing else to serve, so this
 * is the end; a pending one is given up; a worker that refuses what others serve ends and tries
 * again later.
 */
static void refused(struct fk_master *master, struct fk_child *child, const struct fk_procmsg *msg)
{
    fk_log(FK_LOG_ERROR, "child refuses its configuration", fk_str("role", fk_child_role(child)),
           fk_uint("generation", msg->arg), fk_strn("why", msg->data, msg->len));
    if (fk_master_reload_refused(master, child, msg) || master->ready || master->stopping)
        return;
    fk_log(FK_LOG_ERROR, master->role->cannot_start, fk_str("file", master->path),
           fk_strn("why", msg->data, msg->len));
    master->status = 1;
    fk_loop_stop(master->loop);
}

static void on_message(void *ctx, struct fk_child *child, struct fk_procmsg *msg)
{
    struct fk_master *master = ctx;
    struct fk_master_worker *worker = worker_of(master, child);

    if (worker != NULL && msg->type == FK_PROC_READY)
        worker_ready(master, worker, msg->arg);
    else if (worker != NULL && msg->type == FK_PROC_PREPARED)
        fk_master_reload_prepared(master, worker, msg->arg);
    else if (msg->type == FK_PROC_READY)
        signer_ready(master, child);
    else if (worker != NULL && msg->type == FK_PROC_STATUS)
        fk_master_worker_status(master, worker, msg);
    else if (worker != NULL && msg->type == FK_PROC_SYNC)
        fk_master_orders_done(master, worker, msg->arg);
    else if (worker != NULL && msg->type == FK_PROC_ANSWER)
        fk_master_tables_answered(master, (unsigned)(worker - master->workers), msg);
    else if (child == master->admin && msg->type == FK_PROC_COMMAND)
        fk_master_command(master, child, msg);
    else if (msg->type == FK_PROC_FAILED)
        refused(master, child, msg);
}

static void on_exit_child(void *ctx, struct fk_child *child, pid_t pid, int status, bool gone)
{
    struct fk_master *master = ctx;
    struct fk_master_worker *worker = worker_of(master, child);
    bool left = false;

    (void)pid, (void)status; /* the supervisor logs how a process ended */
    if (worker != NULL)
        worker->ready = 0;
    fk_master_reload_child_ended(master, child, worker);
    if (gone && worker != NULL)
        worker->child = NULL;
    if (gone && child == master->admin)
        fk_master_admin_gone(master);
    for (unsigned i = 0; i < master->n_workers; i++)
        left = left || master->workers[i].child != NULL;
    if (master->stopping && !left)
        fk_super_stop(master->super, 1); /* signers served the workers to the end */
}

static void on_stopped(void *ctx)
{
    struct fk_master *master = ctx;

    fk_loop_stop(master->loop);
}

static const struct fk_super_ops super_ops = {
    .on_start = on_start,
    .on_message = on_message,
    .on_exit = on_exit_child,
    .on_stopped = on_stopped,
};

/* --- tickets --- */

static struct fk_ticket_keys *keys_of_tickets(struct fk_master *master)
{
    return (void *)fk_secret_data(master->tickets);
}

static void send_tickets_to_all(const struct fk_master *master)
{
    for (unsigned i = 0; i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]))
            (void)send_tickets(master, master->workers[i].child);
}

void fk_master_rotate_tickets(struct fk_master *master)
{
    uint64_t life = fk_edge_tickets(master->loaded->root)->key_life_us;
    uint64_t next = FK_EDGE_TICKET_RETRY_US;
    bool changed = false;
    int err = fk_ticket_keys_rotate(keys_of_tickets(master), life, fk_clock_us(), &changed, &next);

    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "no new ticket key", fk_error(err));
    fk_timer_start(&master->ticket_timer, next);
    if (changed && master->super != NULL)
        send_tickets_to_all(master);
}

int fk_master_renew_tickets(struct fk_master *master)
{
    uint64_t life = fk_edge_tickets(master->loaded->root)->key_life_us, next;
    int err = fk_ticket_keys_renew(keys_of_tickets(master), life, fk_clock_us(), &next);

    if (err != FK_OK)
        return err;
    fk_timer_start(&master->ticket_timer, next);
    send_tickets_to_all(master);
    return FK_OK;
}

static void on_ticket_timer(struct fk_timer *timer)
{
    fk_master_rotate_tickets(fk_container(timer, struct fk_master, ticket_timer));
}

/* --- signals, and changes of files --- */

static void on_files_changed(void *arg)
{
    fk_master_renew(arg);
}

static void on_usr2(struct fk_signal *signal)
{
    fk_master_succeed(fk_container(signal, struct fk_master, usr2), NULL);
}

static void on_hup(struct fk_signal *signal)
{
    fk_master_reload(fk_container(signal, struct fk_master, hup));
}

/* --- the end --- */

void fk_master_stop(struct fk_master *master)
{
    uint64_t drain_s = fk_edge_limits(master->loaded->root)->drain_us / 1000000;

    if (master->stopping) /* asked again: now */
        drain_s = 0;
    master->stopping = true;
    fk_master_succession_cancel(master);
    fk_master_reload_cancel(master);
    if (!master->succeeded) /* or else the service goes on */
        (void)fk_notify_stopping();
    fk_log(FK_LOG_INFO, "stopping", fk_uint("drain_s", drain_s));
    for (unsigned i = 0; i < master->n_workers; i++)
        if (master->workers[i].child != NULL)
            fk_super_retire(master->workers[i].child, (unsigned)drain_s);
    /* The workers have their own; with these open the kernel would go on taking clients. */
    fk_sockets_close(master->sockets);
}

static void on_term(struct fk_signal *signal)
{
    fk_master_stop(fk_container(signal, struct fk_master, term));
}

static void on_intr(struct fk_signal *signal)
{
    fk_master_stop(fk_container(signal, struct fk_master, intr));
}

/* --- life --- */

static int start_children(struct fk_master *master)
{
    int err;

    if ((err = fk_super_new(master->loop, &super_ops, master, &master->super)) != FK_OK)
        return err;
    if ((err = fk_master_start_signers(master, master->loaded, &master->keys)) != FK_OK)
        return err;
    for (unsigned i = 0; i < master->n_workers; i++)
        if ((err = fk_super_add(master->super, master->role->worker, i, NULL,
                                &master->workers[i].child)) != FK_OK)
            return err;
    if (master->wire != NULL && fk_edge_wire(master->loaded->root)->by == FK_WIRE_QUEUE &&
        (err = fk_super_add(master->super, FK_WIREVERDICTS_ROLE, 0, NULL, NULL)) != FK_OK)
        return err;
    return fk_super_add(master->super, "admin", 0, NULL, &master->admin);
}

static int make_metrics(struct fk_master *master)
{
    const struct fk_metric *table = master->role->metrics;
    int err = fk_metrics_create(table, master->n_workers, &master->metrics_fd);

    return err != FK_OK ? err : fk_metrics_open(table, master->metrics_fd, &master->metrics);
}

static int open_wire(struct fk_master *master)
{
    const struct fk_edge_wire *wire = fk_edge_wire(master->loaded->root);

    return wire == NULL ? FK_OK : fk_wiresockets_new(wire, master->n_workers, &master->wire);
}

static int start(struct fk_master *master)
{
    struct fk_why why; /* logged already */
    int err;

    if ((err = fk_loaded_new(master->role, master->path, master->verbose, &why, &master->loaded)) !=
        FK_OK)
        return err;
    fk_master_set_log_level(master);
    fk_master_want_descriptors(master->loaded);
    master->generation = master->last_generation = 1;
    master->n_workers = fk_edge_workers(master->loaded->root);
    if ((err = fk_loop_new(&master->loop)) != FK_OK)
        return err;
    fk_master_admin_init(master); /* whatever has a loop can be ended, see fini() */
    fk_master_succession_init(master);
    if ((err = fk_secret_new(sizeof(struct fk_ticket_keys), &master->tickets)) != FK_OK ||
        (err = fk_setdown_new(&master->down)) != FK_OK ||
        (err = fk_sockets_new(master->n_workers, &master->sockets)) != FK_OK ||
        (err = fk_master_inherit(master)) != FK_OK ||
        (err = fk_sockets_open(master->sockets, master->loaded->root, &why)) != FK_OK ||
        (err = open_wire(master)) != FK_OK || (err = make_metrics(master)) != FK_OK)
        return err;
    fk_sockets_prune(master->sockets, master->loaded->root); /* a predecessor's */
    master->sessions = fk_edge_tickets(master->loaded->root)->cache;
    if (master->sessions > 0 &&
        (err = fk_sescache_create(master->sessions, &master->sessions_fd)) != FK_OK)
        return err;
    if ((err = fk_master_admin_listen(master)) != FK_OK)
        return err;
    if ((err = fk_watch_new(master->loop, on_files_changed, master, &master->watch)) != FK_OK)
        return err;
    fk_master_watch(master);
    fk_timer_init(&master->ticket_timer, master->loop, on_ticket_timer);
    fk_timer_init(&master->patience, master->loop, fk_master_on_patience);
    fk_notify_watch(&master->watchdog, master->loop);
    fk_master_rotate_tickets(master);
    fk_signal_start(&master->hup, master->loop, SIGHUP, on_hup);
    fk_signal_start(&master->usr2, master->loop, SIGUSR2, on_usr2);
    fk_signal_start(&master->term, master->loop, SIGTERM, on_term);
    fk_signal_start(&master->intr, master->loop, SIGINT, on_intr);
    return start_children(master);
}

static void fini(struct fk_master *master)
{
    fk_super_free(master->super);
    if (master->loop != NULL) {
        fk_master_admin_fini(master);
        fk_master_succession_fini(master);
    }
    fk_watch_free(master->watch);
    fk_metrics_close(master->metrics);
    fk_close(&master->metrics_fd);
    fk_close(&master->sessions_fd);
    fk_close(&master->control_fd);
    fk_close(&master->http_fd);
    fk_sockets_free(master->sockets);
    fk_wiresockets_free(master->wire);
    fk_loaded_free(master->loaded);
    fk_loaded_free(master->pending);
    fk_secret_free(master->tickets);
    fk_setdown_free(master->down);
    if (master->loop != NULL)
        fk_loop_free(master->loop);
}

static int run(const struct fk_edge_role *role, const char *path, bool verbose)
{
    struct fk_master *master = calloc(1, sizeof *master);
    int err, status;

    if (master == NULL)
        return 1;
    master->role = role;
    master->path = path;
    master->verbose = verbose;
    master->metrics_fd = master->sessions_fd = master->control_fd = master->http_fd = -1;
    master->started_us = fk_clock_us();
    fk_log_role(role->name);
    (void)signal(SIGPIPE, SIG_IGN);
    if ((err = fk_sandbox_master()) == FK_OK && (err = start(master)) == FK_OK)
        fk_loop_run(master->loop);
    else
        fk_log(FK_LOG_ERROR, role->cannot_start, fk_str("file", path), fk_error(err));
    status = err == FK_OK ? master->status : 1;
    fini(master);
    free(master);
    return status;
}

static int run_file(const struct fk_edge_role *role, const char *file, bool verbose)
{
    char path[PATH_MAX];

    if (realpath(file, path) == NULL) {
        fk_log(FK_LOG_ERROR, role->cannot_start, fk_str("file", file), fk_errno(errno));
        return 1;
    }
    return run(role, path, verbose);
}

int fk_edge_main(const char *file, bool verbose)
{
    return run_file(&fk_role_edge, file, verbose);
}

int fk_inline_main(const char *file, bool verbose)
{
    return run_file(&fk_role_inline, file, verbose);
}

int fk_edge_child(const char *worker, unsigned index)
{
    const struct fk_edge_role *role = fk_role_of_worker(worker);

    return role == NULL ? 2 : fk_worker_main(role, index);
}
