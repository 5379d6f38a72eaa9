/*
 * From one generation to the next: load and check everything, start signers with the new keys, have
 * every front build what belongs to them, and change over when all have. Until then nothing is
 * changed, and on any failure nothing is.
 */
#include "keyd/master_priv.h"

#include "base/clock.h"
#include "admin/command.h"
#include "base/err.h"
#include "base/log.h"
#include "loop/notify.h"
#include "loop/proc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "audit log" and a path; a longer one is cut. */
#define WHAT_SIZE 256

static void log_errors(struct fk_keyd_master *master, const struct fk_keyd_load *load)
{
    for (size_t i = 0; i < fk_conf_error_count(load->loaded); i++)
        fk_log(FK_LOG_ERROR, "configuration refused",
               fk_str("what", fk_conf_error(load->loaded, i)));
    (void)snprintf(master->last_error, sizeof master->last_error, "%s",
                   fk_conf_error(load->loaded, 0));
}

static void fail(struct fk_keyd_master *master, const char *what, int err)
{
    const char *text = err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err);

    (void)snprintf(master->last_error, sizeof master->last_error, "%s: %s", what, text);
    fk_log(FK_LOG_ERROR, "configuration refused", fk_str("what", master->last_error));
}

/* Whether an edge is one of the configuration in service. */
static bool is_known(void *arg, const char *identity)
{
    const struct fk_keyd_load *load = arg;
    char text[FK_IDENTITY_SIZE];

    for (const struct fk_conf_block *edge = load->conf->edges; edge != NULL; edge = edge->next) {
        fk_keyd_conf_identity((const void *)edge, text, sizeof text);
        if (strcmp(text, identity) == 0)
            return true;
    }
    return false;
}

static int assign_slots(struct fk_keyd_master *master, const struct fk_keyd_load *load)
{
    char identity[FK_IDENTITY_SIZE];
    int err = FK_OK;

    if (master->current != NULL)
        fk_quota_sweep(master->quota, is_known, master->current);
    for (const struct fk_conf_block *edge = load->conf->edges; err == FK_OK && edge != NULL;
         edge = edge->next) {
        fk_keyd_conf_identity((const void *)edge, identity, sizeof identity);
        err = fk_quota_assign(master->quota, identity);
    }
    return err;
}

/* An audit log must not be switched off, or moved, without a restart that somebody sees. */
static int check_audit(const struct fk_keyd_load *old, const struct fk_keyd_load *load)
{
    const struct fk_keyd_audit_conf *a = fk_keyd_conf_audit(old->conf);
    const struct fk_keyd_audit_conf *b = fk_keyd_conf_audit(load->conf);

    if (a == NULL || b == NULL)
        return a == b ? FK_OK : FK_ERR_UNSUPPORTED;
    return strcmp(a->file, b->file) == 0 && a->on_failure == b->on_failure ? FK_OK
                                                                           : FK_ERR_UNSUPPORTED;
}

/* At the start. Without its log a key server that has to keep one does not serve at all. */
static int open_audit(struct fk_keyd_master *master, const struct fk_keyd_load *load)
{
    const struct fk_keyd_audit_conf *audit = fk_keyd_conf_audit(load->conf);
    char what[WHAT_SIZE];
    bool changed;
    int err = fk_keyd_audit_open(master, load->conf, &changed);

    if (err == FK_OK || audit->on_failure != 1)
        return FK_OK; /* commit() says what is wrong */
    (void)snprintf(what, sizeof what, "audit log %s", audit->file);
    fail(master, what, err);
    return err;
}

/* What a load needs beside itself: the log, sockets and slots. */
static int prepare(struct fk_keyd_master *master, struct fk_keyd_load *load)
{
    const char *what = "";
    int err;

    if (master->current != NULL && (err = check_audit(master->current, load)) != FK_OK) {
        fail(master, "audit: changed; restart the key server for that", err);
        return err;
    }
    if (master->current == NULL && (err = open_audit(master, load)) != FK_OK)
        return err;
    if ((err = assign_slots(master, load)) != FK_OK) {
        fail(master, "edge", err);
        return err;
    }
    err = fk_keyd_sockets_open(load->conf, master->current != NULL ? &master->sockets : NULL,
                               &master->pending_sockets, &what);
    if (err != FK_OK)
        fail(master, what, err);
    return err;
}

static int begin(struct fk_keyd_master *master, bool full)
{
    const struct fk_keyd_load *frozen = full ? NULL : master->current;
    struct fk_keyd_load *load = NULL;
    int err;

    if (full)
        fk_keyd_renew_tokens(master);
    err = fk_keyd_load_new(master->path, master->verbose, master->last_generation + 1, frozen,
                           master->current, &load);

    if (err == FK_ERR_CONF)
        log_errors(master, load);
    else if (err != FK_OK)
        fail(master, master->path, err);
    else
        err = prepare(master, load);
    if (err != FK_OK) {
        fk_keyd_load_free(load);
        return err;
    }
    if (full)
        fk_proc_want_descriptors(fk_keyd_conf_limits(load->conf)->connections +
                                 FK_KEYD_DESCRIPTORS);
    master->last_generation++;
    master->pending = load;
    if ((err = fk_keyd_add_signers(master, load)) != FK_OK ||
        (err = fk_keyd_add_tokens(master, load)) != FK_OK) {
        fk_keyd_pending_failed(master, "signers cannot be started");
        return err;
    }
    fk_timer_start(&master->patience, FK_KEYD_READY_US);
    return FK_OK;
}

/* Of one uid, only the sandbox keeps a front that was taken over from reaching signers. */
static void warn_of_shared_user(const struct fk_keyd_conf *conf)
{
    if (geteuid() == 0 && fk_proc_same_user(conf->user, conf->signer_user))
        fk_log(FK_LOG_WARN, "signers share a uid with fronts; give them one of their own",
               fk_str("user", conf->user), fk_str("signer_user", conf->signer_user));
    for (const struct fk_conf_block *b = conf->tokens; geteuid() == 0 && b != NULL; b = b->next) {
        const char *user = ((const struct fk_keyd_token_conf *)(const void *)b)->user;

        if (fk_proc_same_user(conf->user, user))
            fk_log(FK_LOG_WARN,
                   "a token's process shares a uid with fronts; give it one of its own",
                   fk_str("token", b->title), fk_str("user", user));
    }
}

int fk_keyd_first_load(struct fk_keyd_master *master)
{
    int err = begin(master, true);

    if (err == FK_OK)
        warn_of_shared_user(master->pending->conf);
    return err;
}

static void finish(struct fk_keyd_master *master)
{
    fk_timer_stop(&master->patience);
    master->settling = false;
    fk_keyd_answer_waiters(master);
    if (master->draining)
        return;
    (void)fk_notify_ready();
    if (master->again) {
        master->again = false;
        fk_keyd_reload(master, master->again_full);
    }
}

void fk_keyd_reload(struct fk_keyd_master *master, bool full)
{
    if (master->draining)
        return;
    if (master->pending != NULL || master->settling) {
        master->again_full = full || (master->again && master->again_full);
        master->again = true;
        return;
    }
    (void)fk_notify_reloading();
    fk_log(FK_LOG_INFO, "reloading",
           fk_str("what", full ? "configuration and keys" : "keys and channel"));
    if (begin(master, full) == FK_OK)
        return;
    fk_log(FK_LOG_ERROR, "reload refused; the old configuration stays",
           fk_uint("generation", master->current->generation));
    finish(master);
}

void fk_keyd_pending_failed(struct fk_keyd_master *master, const char *why)
{
    uint32_t generation = master->pending->generation;

    (void)snprintf(master->last_error, sizeof master->last_error, "%s", why);
    /* In draining it is no failure that processes which it needs have gone. */
    fk_log(master->draining ? FK_LOG_INFO : FK_LOG_ERROR, "reload given up", fk_str("why", why),
           fk_uint("generation", generation));
    fk_keyd_load_free(master->pending);
    master->pending = NULL;
    if (master->preparing)
        fk_keyd_forget_fronts(master, generation);
    master->preparing = false;
    fk_keyd_sockets_close(&master->pending_sockets);
    if (master->current == NULL) { /* the very first: there is nothing to go on with */
        master->status = 1;
        fk_loop_stop(master->loop);
        return;
    }
    fk_keyd_retire_signers(master, generation, false);
    fk_keyd_retire_tokens(master);
    finish(master);
}

void fk_keyd_on_patience(struct fk_timer *timer)
{
    struct fk_keyd_master *master = fk_container(timer, struct fk_keyd_master, patience);

    if (master->pending != NULL) {
        fk_keyd_pending_failed(master, master->preparing ? "fronts did not become ready in time"
                                                         : "signers did not become ready in time");
        return;
    }
    (void)snprintf(master->last_error, sizeof master->last_error,
                   "the new configuration is in service, but not every front serves yet");
    fk_log(FK_LOG_ERROR, "a front does not serve the new configuration",
           fk_uint("generation", master->current->generation));
    finish(master);
}

/* A retired key's time is over: load without it. */
void fk_keyd_on_retire(struct fk_timer *timer)
{
    fk_keyd_reload(fk_container(timer, struct fk_keyd_master, retire), false);
}

static void wait_for_retirement(struct fk_keyd_master *master)
{
    uint64_t end = fk_store_next_retirement(master->current->store), now = fk_clock_us();

    fk_timer_stop(&master->retire);
    if (end != 0)
        fk_timer_start(&master->retire, end > now ? end - now + 1000 : 1000);
}

/* The admin process keeps its listeners for life: it is replaced when they change. */
static bool admin_changed(const struct fk_keyd_sockets *a, const struct fk_keyd_sockets *b)
{
    if (strcmp(a->control.text, b->control.text) != 0)
        return true;
    if (a->http.text == NULL || b->http.text == NULL)
        return a->http.text != b->http.text;
    return strcmp(a->http.text, b->http.text) != 0;
}

static void send_token(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == FK_KEYD_ADMIN && fk_child_pid(child) != 0 &&
            !fk_child_retired(child))
            (void)fk_admin_send_token(child, master->current->admin_token);
}

static void retire_admin(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == FK_KEYD_ADMIN && !fk_child_retired(child))
            fk_super_retire(child, 1);
}

/* The point of no return, and one without a failure in it. */
static void commit(struct fk_keyd_master *master)
{
    struct fk_keyd_load *old = master->current;
    struct fk_keyd_sockets old_sockets = master->sockets;
    bool log_changed = false;

    master->current = master->pending;
    master->pending = NULL;
    master->preparing = false;
    master->settling = true;
    fk_timer_start(&master->patience, FK_KEYD_SERVE_US);
    master->sockets = master->pending_sockets;
    master->pending_sockets = (struct fk_keyd_sockets){.http = {.fd = -1}, .control = {.fd = -1}};
    master->last_error[0] = '\0';
    if (!master->verbose)
        fk_log_threshold((enum fk_log_level)master->current->conf->log_level);
    master->loaded_wall_us = fk_clock_wall_us();
    if (fk_keyd_audit_open(master, master->current->conf, &log_changed) != FK_OK)
        fk_log(FK_LOG_ERROR, "audit log cannot be opened", fk_errno(errno));
    fk_keyd_tickets_commit(master);
    fk_keyd_roots_commit(master, old);
    if (old != NULL) {
        fk_keyd_switch_fronts(master);
        if (log_changed)
            fk_keyd_switch_audit(master);
        if (admin_changed(&old_sockets, &master->sockets))
            retire_admin(master);
        else
            send_token(master);
    }
    fk_keyd_adjust_children(master);
    if (old == NULL)
        fk_keyd_audit_watch(master);
    fk_keyd_retire_signers(master, master->current->generation, true);
    fk_keyd_retire_tokens(master);
    fk_keyd_watch_set(master->watch, master->current->conf);
    wait_for_retirement(master);
    fk_keyd_sockets_close(&old_sockets);
    fk_keyd_load_free(old);
    fk_log(FK_LOG_INFO, "configuration in service",
           fk_uint("generation", master->current->generation),
           fk_uint("keys", fk_store_count(master->current->store)));
}

void fk_keyd_pending_ready(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL) {
        const struct fk_keyd_place *place = fk_keyd_place(child);

        if ((place->role == FK_KEYD_SIGNER || place->role == FK_KEYD_TOKEN) && !place->ready &&
            place->generation == master->pending->generation)
            return;
    }
    if (master->current != NULL) {
        master->preparing = true;
        fk_keyd_prepare_fronts(master);
        return;
    }
    commit(master); /* the very first: fronts start with it */
}

void fk_keyd_pending_prepared(struct fk_keyd_master *master)
{
    if (fk_keyd_fronts_prepared(master))
        commit(master);
}

void fk_keyd_settled(struct fk_keyd_master *master)
{
    if (!fk_keyd_fronts_serve(master))
        return;
    master->served = true;
    if (master->settling)
        finish(master);
}
