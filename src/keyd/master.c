/*
 * The master of a key server: reads the configuration and the keys, gives birth to the processes
 * that serve, changes them over at a reload, ends them. Never touches a byte of a peer.
 *
 * This file holds its life from start to end; wiring.c the trust graph, reload.c generations.
 */
#include "keyd/keyd.h"
#include "keyd/master_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/secret.h"
#include "keyd/audit_log.h"
#include "keyd/metrics.h"
#include "loop/notify.h"
#include "loop/sandbox.h"
#include "loop/sock.h"
#include "signer/signer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_hup(struct fk_signal *signal)
{
    struct fk_keyd_master *master = fk_container(signal, struct fk_keyd_master, hup);

    if (master->current != NULL)
        fk_keyd_reload(master, true);
}

static void on_keys_changed(void *arg)
{
    struct fk_keyd_master *master = arg;

    if (master->current != NULL)
        fk_keyd_reload(master, false);
}

/* The end: fronts answer what is under way; when they are gone, all others end (wiring.c). */
void fk_keyd_drain(struct fk_keyd_master *master)
{
    unsigned seconds;
    struct fk_child *child = NULL;
    bool fronts = false;

    if (master->draining) {
        fk_super_stop(master->super, 1);
        return;
    }
    master->draining = true;
    (void)fk_notify_stopping();
    fk_log(FK_LOG_INFO, "draining", fk_int("pid", getpid()));
    if (master->current != NULL) {
        seconds =
            (unsigned)((fk_keyd_conf_limits(master->current->conf)->drain + 999999) / 1000000);
        while ((child = fk_super_next(master->super, child)) != NULL)
            if (fk_keyd_place(child)->role == FK_KEYD_FRONT) {
                fronts = true;
                fk_super_retire(child, seconds);
            }
    }
    /* The fronts have their own; with these open the kernel would go on taking edges. */
    fk_keyd_sockets_refuse(&master->sockets);
    fk_keyd_sockets_refuse(&master->pending_sockets);
    if (!fronts)
        fk_super_stop(master->super, 1);
}

static void on_term(struct fk_signal *signal)
{
    fk_keyd_drain(fk_container(signal, struct fk_keyd_master, term));
}

static void on_interrupt(struct fk_signal *signal)
{
    fk_keyd_drain(fk_container(signal, struct fk_keyd_master, interrupt));
}

static int make_shared(struct fk_keyd_master *master)
{
    int err;

    if ((err = fk_quota_create(&master->quota_fd)) != FK_OK ||
        (err = fk_quota_open(master->quota_fd, &master->quota)) != FK_OK ||
        (err = fk_metrics_create(fk_keyd_metric_table, FK_KEYD_CHILDREN_MAX,
                                 &master->metrics_fd)) != FK_OK ||
        (err = fk_metrics_open(fk_keyd_metric_table, master->metrics_fd, &master->metrics)) !=
            FK_OK ||
        (err = fk_metrics_create(fk_signer_metric_table, FK_KEYD_CHILDREN_MAX,
                                 &master->signer_metrics_fd)) != FK_OK ||
        (err = fk_metrics_create(fk_token_metric_table, FK_TOKENS_MAX,
                                 &master->token_metrics_fd)) != FK_OK ||
        (err = fk_metrics_open(fk_token_metric_table, master->token_metrics_fd,
                               &master->token_metrics)) != FK_OK)
        return err;
    if ((err = fk_metrics_create(fk_audit_metric_table, 1, &master->audit_metrics_fd)) != FK_OK)
        return err;
    return fk_metrics_open(fk_audit_metric_table, master->audit_metrics_fd, &master->audit_metrics);
}

static int start(struct fk_keyd_master *master)
{
    int err;

    fk_list_init(&master->dials);
    if ((err = fk_loop_new(&master->loop)) != FK_OK ||
        (err = fk_super_new(master->loop, &fk_keyd_super_ops, master, &master->super)) != FK_OK ||
        (err = make_shared(master)) != FK_OK || (err = fk_keyd_tickets_init(master)) != FK_OK ||
        (err = fk_keyd_roots_start(master)) != FK_OK ||
        (err = fk_watch_new(master->loop, on_keys_changed, master, &master->watch)) != FK_OK)
        return err;
    fk_timer_init(&master->patience, master->loop, fk_keyd_on_patience);
    fk_timer_init(&master->retire, master->loop, fk_keyd_on_retire);
    fk_notify_watch(&master->watchdog, master->loop);
    fk_signal_start(&master->hup, master->loop, SIGHUP, on_hup);
    fk_signal_start(&master->term, master->loop, SIGTERM, on_term);
    fk_signal_start(&master->interrupt, master->loop, SIGINT, on_interrupt);
    return fk_keyd_first_load(master);
}

static void stop(struct fk_keyd_master *master)
{
    if (master->loop != NULL)
        fk_keyd_dials_drop(master, NULL);
    if (master->super != NULL)
        fk_super_free(master->super);
    if (master->current != NULL && master->sockets.control.fd >= 0)
        (void)unlink(master->current->conf->control);
    fk_keyd_sockets_close(&master->sockets);
    fk_keyd_sockets_close(&master->pending_sockets);
    fk_keyd_load_free(master->pending);
    fk_keyd_load_free(master->current);
    fk_watch_free(master->watch);
    fk_keyd_tickets_fini(master);
    fk_keyd_roots_stop(master);
    fk_keyd_sharers_fini(master);
    fk_quota_close(master->quota);
    fk_metrics_close(master->metrics);
    fk_metrics_close(master->audit_metrics);
    fk_metrics_close(master->token_metrics);
    fk_close(&master->quota_fd);
    fk_close(&master->metrics_fd);
    fk_close(&master->signer_metrics_fd);
    fk_close(&master->token_metrics_fd);
    fk_close(&master->audit_metrics_fd);
    fk_close(&master->audit_fd);
    fk_loop_free(master->loop);
}

static int run(const char *path, bool verbose)
{
    struct fk_keyd_master master = {
        .path = path,
        .verbose = verbose,
        .audit_fd = -1,
        .quota_fd = -1,
        .metrics_fd = -1,
        .signer_metrics_fd = -1,
        .token_metrics_fd = -1,
        .audit_metrics_fd = -1,
        .sessions_fd = -1,
        .sockets = {.http = {.fd = -1}, .control = {.fd = -1}},
        .pending_sockets = {.http = {.fd = -1}, .control = {.fd = -1}},
        .started_us = fk_clock_us(),
    };
    int err = fk_sandbox_master();

    if (err == FK_OK)
        err = start(&master);
    if (err == FK_OK) {
        fk_loop_run(master.loop);
        if (master.status == 0)
            fk_log(FK_LOG_INFO, "ended in order", fk_int("pid", getpid()));
    } else {
        master.status = 1;
        if (err != FK_ERR_CONF)
            fk_log(FK_LOG_ERROR, "cannot start", fk_str("conf", path), fk_error(err));
    }
    stop(&master);
    return master.status;
}

int fk_keyd_main(const char *path, bool verbose)
{
    fk_log_role("keyd");
    if (verbose)
        fk_log_threshold(FK_LOG_DEBUG);
    if (geteuid() == 0)
        fk_secret_require_lock(true);
    return run(path, verbose);
}
