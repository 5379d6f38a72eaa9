/*
 * From one configuration to the next, in two phases: the master loads and checks it, signers of new
 * keys start, every worker builds it beside what it serves and says so; only then do all of them
 * change over, and only then is it what a new process gets. Whoever refuses it, or does not answer,
 * leaves everything as it was.
 */
#include "edge/master_priv.h"

#include "admin/command.h"
#include "base/err.h"
#include "base/log.h"
#include "base/secret.h"
#include "edge/sitefacts.h"
#include "loop/notify.h"
#include "loop/proc.h"

#include <stdio.h>
#include <string.h>

void fk_master_set_log_level(const struct fk_master *master)
{
    fk_log_threshold(master->verbose ? FK_LOG_DEBUG
                                     : (enum fk_log_level)master->loaded->root->log_level);
}

static void reload(struct fk_master *master, bool full);

/* --- the end of a reload --- */

static void finish(struct fk_master *master)
{
    fk_timer_stop(&master->patience);
    master->phase = FK_RELOAD_NONE;
    fk_master_answer_waiters(master);
    if (master->stopping)
        return;
    (void)fk_notify_ready();
    if (master->again) {
        bool full = master->again_full;

        master->again = master->again_full = false;
        reload(master, full);
    }
}

static void retire(struct fk_master_keys *keys, unsigned drain_s)
{
    for (unsigned i = 0; i < keys->count; i++)
        fk_super_retire(keys->signers[i], drain_s);
    keys->count = 0;
}

/* What is pending is dropped everywhere; master->last_error says why. */
static void give_up(struct fk_master *master)
{
    fk_log(FK_LOG_ERROR, "reload refused; the old configuration stays",
           fk_str("why", master->last_error.text), fk_uint("generation", master->generation));
    for (unsigned i = 0; master->pending != NULL && i < master->n_workers; i++) {
        const struct fk_master_worker *worker = &master->workers[i];

        if (fk_master_has_process(worker) && worker->asked == master->last_generation)
            (void)fk_child_send_fd(worker->child, FK_PROC_FORGET, 0, -1);
    }
    if (master->new_keys)
        retire(&master->next_keys, 0);
    master->new_keys = false;
    fk_loaded_free(master->pending);
    master->pending = NULL;
    fk_sockets_prune(master->sockets, master->loaded->root);
    finish(master);
}

bool fk_master_reload_hold(struct fk_master *master)
{
    if (master->phase != FK_RELOAD_NONE)
        return false;
    master->phase = FK_RELOAD_HELD;
    return true;
}

void fk_master_reload_release(struct fk_master *master)
{
    master->phase = FK_RELOAD_NONE;
    if (master->again)
        finish(master);
}

void fk_master_reload_cancel(struct fk_master *master)
{
    master->again = master->again_full = false;
    if (master->phase == FK_RELOAD_NONE)
        return;
    (void)fk_why_set(&master->last_error, 0, "%s", fk_err_text(FK_ERR_DRAINING));
    if (master->pending != NULL)
        give_up(master);
    else
        finish(master);
}

void fk_master_on_patience(struct fk_timer *timer)
{
    struct fk_master *master = fk_container(timer, struct fk_master, patience);

    if (master->phase == FK_RELOAD_SETTLE) {
        (void)fk_why_set(&master->last_error, 0,
                         "the new configuration is in service, but not every worker serves yet");
        fk_log(FK_LOG_ERROR, "a worker does not serve the new configuration",
               fk_uint("generation", master->generation));
        finish(master);
        return;
    }
    (void)fk_why_set(&master->last_error, 0, "%s did not become ready in time",
                     master->phase == FK_RELOAD_SIGNERS ? "signers" : "workers");
    give_up(master);
}

/* --- signers --- */

/* As many as workers, up to a few. */
int fk_master_start_signers(struct fk_master *master, const struct fk_loaded *loaded,
                            struct fk_master_keys *ret)
{
    unsigned count =
        master->n_workers < FK_EDGE_SIGNERS_MAX ? master->n_workers : FK_EDGE_SIGNERS_MAX;
    int err;

    *ret = (struct fk_master_keys){.generation = ++master->last_key_generation};
    for (unsigned i = 0; loaded->keys_fd >= 0 && i < count; i++) {
        if ((err = fk_super_add(master->super, "signer", i, NULL, &ret->signers[i])) != FK_OK)
            return err;
        ret->count = i + 1;
    }
    return FK_OK;
}

/* --- the change --- */

/* Before workers are born, and for the next ones. */
void fk_master_want_descriptors(const struct fk_loaded *loaded)
{
    if (loaded->root->wire != NULL)
        return; /* a box's connections have none */
    fk_proc_want_descriptors(2 * fk_edge_limits(loaded->root)->connections + FK_EDGE_DESCRIPTORS);
}

/* The point of no return, and one without a failure in it. */
static void commit(struct fk_master *master)
{
    struct fk_loaded *old = master->loaded;

    master->loaded = master->pending;
    master->pending = NULL;
    master->generation = master->last_generation;
    fk_master_set_log_level(master);
    fk_master_want_descriptors(master->loaded);
    if (master->new_keys) {
        retire(&master->keys, FK_EDGE_SIGNER_DRAIN_S);
        master->keys = master->next_keys;
        master->next_keys.count = 0;
        master->new_keys = false;
    }
    for (unsigned i = 0; i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]))
            (void)fk_master_send_go(master->workers[i].child, master->loaded->root->user);
    if (fk_child_pid(master->admin) != 0) {
        (void)fk_admin_send_token(master->admin, master->loaded->admin_token);
        fk_sitefacts_send(master->admin, master->role->name, master->loaded->root);
    }
    fk_sockets_prune(master->sockets, master->loaded->root);
    fk_master_watch(master);
    fk_loaded_free(old);
    fk_master_orders_commit(master);
    fk_master_rotate_tickets(master);
    fk_log(FK_LOG_INFO, "configuration loaded", fk_uint("generation", master->generation));
    master->phase = FK_RELOAD_SETTLE;
    fk_timer_start(&master->patience, FK_EDGE_SETTLE_US);
}

/* Every worker that runs, and one at least. */
static bool all_prepared(const struct fk_master *master)
{
    unsigned n = 0;

    for (unsigned i = 0; i < master->n_workers; i++) {
        if (!fk_master_has_process(&master->workers[i]))
            continue;
        if (master->workers[i].prepared != master->last_generation)
            return false;
        n++;
    }
    return n > 0;
}

static void prepare(struct fk_master *master, struct fk_master_worker *worker)
{
    const struct fk_master_keys *keys = master->new_keys ? &master->next_keys : &master->keys;
    const struct fk_master_set set = {master->pending, master->last_generation, keys->generation};
    int err = FK_OK;

    worker->asked = master->last_generation;
    /* Right before the configuration that holds on to them. */
    if (master->new_keys)
        err = fk_master_connect(worker->child, keys);
    if (err == FK_OK && (err = fk_master_send_set(master, worker->child, &set)) == FK_OK)
        err = fk_child_send_fd(worker->child, FK_PROC_PREPARE, master->last_generation, -1);
    if (err != FK_OK) /* it is going, or time will tell */
        fk_log(FK_LOG_WARN, "cannot tell a worker of a configuration", fk_error(err));
}

static void prepare_all(struct fk_master *master)
{
    master->phase = FK_RELOAD_PREPARE;
    for (unsigned i = 0; i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]))
            prepare(master, &master->workers[i]);
}

/* --- what children tell --- */

void fk_master_reload_worker_started(struct fk_master *master, struct fk_master_worker *worker)
{
    if (master->phase == FK_RELOAD_PREPARE)
        prepare(master, worker);
}

void fk_master_reload_signers_ready(struct fk_master *master)
{
    const struct fk_master_keys *keys = master->new_keys ? &master->next_keys : &master->keys;

    if (master->phase == FK_RELOAD_SIGNERS && fk_master_keys_ready(keys))
        prepare_all(master);
}

void fk_master_reload_prepared(struct fk_master *master, struct fk_master_worker *worker,
                               uint32_t generation)
{
    if (master->phase != FK_RELOAD_PREPARE || generation != master->last_generation)
        return; /* of one that was given up */
    worker->prepared = generation;
    if (all_prepared(master))
        commit(master);
}

void fk_master_reload_settled(struct fk_master *master)
{
    if (master->phase == FK_RELOAD_SETTLE)
        finish(master);
}

static bool has_next_keys(const struct fk_master *master, const struct fk_child *child)
{
    for (unsigned i = 0; master->new_keys && i < master->next_keys.count; i++)
        if (master->next_keys.signers[i] == child)
            return true;
    return false;
}

bool fk_master_reload_refused(struct fk_master *master, const struct fk_child *child,
                              const struct fk_procmsg *msg)
{
    bool is_worker = fk_role_of_worker(fk_child_role(child)) != NULL;

    if (master->pending == NULL)
        return false;
    if (is_worker ? msg->arg != master->last_generation : !has_next_keys(master, child))
        return false;
    (void)fk_why_set(&master->last_error, 0, "a %s refused it: %.*s",
                     is_worker ? "worker" : "signer", (int)msg->len, (const char *)msg->data);
    give_up(master);
    return true;
}

void fk_master_reload_child_ended(struct fk_master *master, const struct fk_child *child,
                                  const struct fk_master_worker *worker)
{
    if (master->pending == NULL)
        return;
    if (worker != NULL ? worker->asked != master->last_generation : !has_next_keys(master, child))
        return;
    (void)fk_why_set(&master->last_error, 0, "a %s ended with the new configuration",
                     worker != NULL ? "worker" : "signer");
    give_up(master);
}

/* --- the beginning --- */

static void note(struct fk_master *master, const char *text)
{
    char *notes = master->last_notes.text;
    size_t len = strlen(notes);

    fk_log(FK_LOG_WARN, text);
    (void)snprintf(notes + len, sizeof master->last_notes.text - len, "%s%s", len > 0 ? "; " : "",
                   text);
}

/* What the processes go on without, as only a start can give it to them. */
static void note_restarts(struct fk_master *master)
{
    const struct fk_edge_conf *root = master->pending->root;

    master->last_notes.text[0] = '\0';
    if (fk_edge_workers(root) != master->n_workers)
        note(master, "a change of workers needs a restart");
    if (master->wire != NULL && !fk_wiresockets_match(master->wire, fk_edge_wire(root)))
        note(master, "a change of interfaces needs a restart");
    if (fk_edge_tickets(root)->cache > master->sessions)
        note(master, "a larger session cache needs a restart");
}

/* All that can be refused here of `loaded`, which is pending from now on. */
static int begin(struct fk_master *master, struct fk_loaded *loaded)
{
    struct fk_why *why = &master->last_error;
    int err;

    master->pending = loaded;
    master->last_generation++;
    if ((err = fk_sockets_open(master->sockets, loaded->root, why)) != FK_OK)
        return err;
    note_restarts(master);
    master->new_keys = !fk_equal_ct(loaded->keys, master->loaded->keys, sizeof loaded->keys);
    if (master->new_keys &&
        (err = fk_master_start_signers(master, loaded, &master->next_keys)) != FK_OK)
        return fk_why_set(why, err, "cannot start signers: %s", fk_err_text(err));
    return FK_OK;
}

/* `full`: the configuration with all that it names, else what has changed of the watched files. */
static void reload(struct fk_master *master, bool full)
{
    struct fk_loaded *loaded = NULL;
    struct fk_why why = {""};
    int err;

    if (full)
        (void)fk_notify_reloading();
    err = full ? fk_loaded_new(master->role, master->path, master->verbose, &why, &loaded)
               : fk_loaded_renew(master->loaded, master->path, &why, &loaded);
    if (err == FK_OK && loaded == NULL)
        return; /* the files are those in service, or of no use */
    if (!full)
        (void)fk_notify_reloading();
    master->last_error = why;
    master->phase = FK_RELOAD_SIGNERS;
    if (err != FK_OK || begin(master, loaded) != FK_OK) {
        give_up(master);
        return;
    }
    fk_timer_start(&master->patience, FK_EDGE_PREPARE_US);
    fk_master_reload_signers_ready(master); /* when there is nothing to wait for */
}

static void ask(struct fk_master *master, bool full)
{
    if (master->stopping)
        return;
    if (master->phase == FK_RELOAD_NONE) {
        reload(master, full);
        return;
    }
    master->again = true;
    master->again_full = master->again_full || full;
}

void fk_master_reload(struct fk_master *master)
{
    ask(master, true);
}

void fk_master_renew(struct fk_master *master)
{
    ask(master, false);
}

void fk_master_watch(struct fk_master *master)
{
    int err = fk_loaded_watch(master->loaded, master->watch);

    if (err != FK_OK)
        fk_log(FK_LOG_WARN, "changes of files are not watched; reload by hand", fk_error(err));
}
