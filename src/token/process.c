/*
 * The process of a token: start-up by its master's messages, then a loop over its users and its
 * crew: see token.h. The loop never calls the token; it only passes jobs to those who do.
 */
#include "token/token.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "loop/loop.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "token/crew.h"
#include "token/link.h"

#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often it is looked whether a call of the token hangs. */
#define TICK_US 1000000

const struct fk_metric fk_token_metric_table[] = {
    [FK_TOKEN_METRIC_OPERATIONS] = {"farkey_token_operations_total", NULL, FK_METRIC_COUNTER,
                                    "Operations that tokens' processes carried out or tried to."},
    [FK_TOKEN_METRIC_ERRORS] = {"farkey_token_errors_total", NULL, FK_METRIC_COUNTER,
                                "Of them, those that failed."},
    [FK_TOKEN_METRIC_REFUSED] = {"farkey_token_refused_total", NULL, FK_METRIC_COUNTER,
                                 "Operations refused because too many waited for their token."},
    [FK_TOKEN_METRIC_LOST] = {"farkey_token_lost_total", NULL, FK_METRIC_COUNTER,
                              "How often a token went away or could not be opened."},
    [FK_TOKEN_METRIC_TIME] = {"farkey_token_operation_seconds", NULL, FK_METRIC_HISTOGRAM,
                              "Time of one operation with a token."},
    [FK_TOKEN_METRIC_OPEN] = {"farkey_token_open", NULL, FK_METRIC_GAUGE,
                              "Tokens that can be used."},
    [FK_TOKEN_METRIC_KEYS] = {"farkey_token_keys", NULL, FK_METRIC_GAUGE, "Keys found in tokens."},
    {NULL, NULL, FK_METRIC_COUNTER, NULL},
};

/* What a path led to; all 0: to nothing, or nothing that could be seen. */
struct place {
    dev_t dev;
    ino_t ino;
};

struct process {
    struct fk_loop *loop;
    struct fk_io control, done;
    struct fk_timer tick, deadline; /* the latter of draining */
    struct fk_token_link_owner owner;
    struct fk_keyset *set;
    struct fk_crew *crew; /* NULL until GO */
    struct fk_metrics *metrics;
    struct fk_list links;
    uint64_t last_link; /* id given last */
    uint32_t number;    /* of the token */
    uint32_t changes;   /* of its state, told last */
    bool told;          /* once at least */
    bool draining;
    int status;
    struct place places[FK_TOKEN_PATHS_MAX]; /* of the driver's paths, for the sandbox */
};

static void finish(struct process *process, int status)
{
    process->status = status;
    fk_loop_stop(process->loop);
}

/* --- the token's state --- */

static void tell(struct process *process, const struct fk_crew_status *status)
{
    const struct fk_token_settings *settings = fk_keyset_token(process->set);
    struct fk_token_report report = {.state = status->state,
                                     .n_keys = (uint32_t)fk_keyset_count(process->set),
                                     .n_found = (uint32_t)status->n_found};
    struct fk_procmsg msg = {.type = FK_PROC_STATUS, .arg = process->number, .len = sizeof report};
    bool good = status->state == FK_TOKEN_OPEN || status->state == FK_TOKEN_OPENING;

    (void)snprintf(report.why, sizeof report.why, "%s", status->why);
    memcpy(msg.data, &report, sizeof report);
    (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
    fk_log(good ? FK_LOG_INFO : FK_LOG_ERROR, "token", fk_str("token", settings->name),
           fk_str("state", fk_token_state_name(status->state)),
           fk_str("why", status->why[0] != '\0' ? status->why : NULL),
           fk_uint("keys", status->n_found));
}

static struct place place_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return (struct place){0, 0};
    return (struct place){st.st_dev, st.st_ino};
}

/*
 * The sandbox has opened what the driver's paths led to when it was entered: a folder or device
 * that came later, or in another's place, is out of this process's reach for good.
 */
static bool out_of_reach(const struct process *process)
{
    const struct fk_token_settings *settings = fk_keyset_token(process->set);

    for (size_t i = 0; i < settings->n_paths; i++) {
        struct place then = process->places[i], now = place_of(settings->paths[i]);

        if (now.ino != 0 && (now.ino != then.ino || now.dev != then.dev))
            return true;
    }
    return false;
}

static void look_at_state(struct process *process)
{
    struct fk_crew_status status;

    fk_crew_status(process->crew, &status);
    if (status.hung_us > FK_TOKEN_HUNG_US) {
        fk_log(FK_LOG_ERROR, "a call of the token does not end; starting anew",
               fk_str("token", fk_keyset_token(process->set)->name));
        _exit(1); /* its thread cannot be stopped */
    }
    if (status.state == FK_TOKEN_LOST && out_of_reach(process)) {
        fk_log(FK_LOG_WARN, "a path of the token is another one than at the start; starting anew",
               fk_str("token", fk_keyset_token(process->set)->name));
        finish(process, 1);
        return;
    }
    if (process->told && status.changes == process->changes)
        return;
    process->told = true;
    process->changes = status.changes;
    tell(process, &status);
    fk_metric_set(process->metrics, FK_TOKEN_METRIC_OPEN, status.state == FK_TOKEN_OPEN);
    fk_metric_set(process->metrics, FK_TOKEN_METRIC_KEYS, status.n_found);
    if (status.state == FK_TOKEN_LOST)
        fk_metric_add(process->metrics, FK_TOKEN_METRIC_LOST, 1);
}

static void on_tick(struct fk_timer *timer)
{
    look_at_state(fk_container(timer, struct process, tick));
    fk_timer_start(timer, TICK_US);
}

/* --- results --- */

static struct fk_token_link *find_link(struct process *process, uint64_t id)
{
    struct fk_list *item;

    fk_list_each (item, &process->links) {
        struct fk_token_link *link = fk_container(item, struct fk_token_link, link);

        if (link->id == id)
            return link;
    }
    return NULL;
}

static void answer(struct process *process, const struct fk_token_job *job)
{
    struct fk_token_link *link = find_link(process, job->owner);

    fk_metric_add(process->metrics, FK_TOKEN_METRIC_OPERATIONS, 1);
    fk_metric_observe(process->metrics, FK_TOKEN_METRIC_TIME, job->result.micros);
    if (job->result.err != FK_OK)
        fk_metric_add(process->metrics, FK_TOKEN_METRIC_ERRORS, 1);
    if (link != NULL)
        fk_token_link_answer(link, &job->result, job->ret);
}

static void on_done(struct fk_io *io, unsigned events)
{
    struct process *process = fk_container(io, struct process, done);
    struct fk_list done, *item;

    (void)events;
    fk_list_init(&done);
    fk_crew_collect(process->crew, &done);
    while ((item = fk_list_pop(&done)) != NULL) {
        struct fk_token_job *job = fk_container(item, struct fk_token_job, link);

        answer(process, job);
        fk_wipe(job, sizeof *job);
        free(job);
    }
    look_at_state(process);
}

/* --- users --- */

static void end_if_drained(struct process *process)
{
    if (process->draining && fk_list_empty(&process->links))
        finish(process, 0);
}

static void on_refused(struct fk_token_link_owner *owner)
{
    struct process *process = fk_container(owner, struct process, owner);

    fk_metric_add(process->metrics, FK_TOKEN_METRIC_REFUSED, 1);
}

static void on_link_ended(struct fk_token_link_owner *owner, struct fk_token_link *link, int err)
{
    static struct fk_log_limit limit;
    struct process *process = fk_container(owner, struct process, owner);

    if (err != FK_ERR_CLOSED)
        fk_log_limited(&limit, FK_LOG_ERROR, "peer closed: not a request",
                       fk_uint("kind", link->kind), fk_uint("index", link->index), fk_error(err));
    fk_token_link_free(link);
    end_if_drained(process);
}

/* --- the master's messages --- */

static int take_keys(struct process *process, const struct fk_procmsg *msg)
{
    int err;

    if (msg->n_fds != 1 || process->set != NULL)
        return FK_ERR_UNEXPECTED;
    process->number = msg->arg;
    if ((err = fk_keyset_open(msg->fds[0], &process->set)) != FK_OK)
        return err;
    return fk_keyset_token(process->set) != NULL ? FK_OK : FK_ERR_FORMAT;
}

static int take_metrics(struct process *process, const struct fk_procmsg *msg)
{
    int err;

    if (msg->n_fds != 1 || process->metrics != NULL)
        return FK_ERR_UNEXPECTED;
    if ((err = fk_metrics_open(fk_token_metric_table, msg->fds[0], &process->metrics)) != FK_OK)
        return err;
    fk_metrics_own(process->metrics, msg->arg);
    return FK_OK;
}

static int take_peer(struct process *process, struct fk_procmsg *msg)
{
    struct fk_token_link *link;
    int fd, err;

    if (msg->n_fds != 1 || process->crew == NULL)
        return FK_ERR_UNEXPECTED;
    fd = msg->fds[0];
    msg->fds[0] = -1; /* moved */
    if ((err = fk_token_link_new(process->loop, fd, process->crew, &process->owner, &link)) !=
        FK_OK)
        return err;
    link->id = ++process->last_link;
    link->kind = (enum fk_proc_peer)(msg->arg >> 16);
    link->index = msg->arg & 0xffff;
    fk_list_append(&process->links, &link->link);
    return FK_OK;
}

static int make_back(const struct fk_keyset *set, struct fk_token_back **ret)
{
    switch (fk_keyset_token(set)->type) {
    case FK_TOKEN_PKCS11:
        return fk_pkcs11_new(set, ret);
    case FK_TOKEN_TPM2:
        return fk_tpm2_new(set, ret);
    }
    return FK_ERR_UNSUPPORTED;
}

static int enter_sandbox(struct process *process)
{
    const struct fk_token_settings *settings = fk_keyset_token(process->set);
    const char *paths[FK_TOKEN_PATHS_MAX];

    for (size_t i = 0; i < settings->n_paths; i++) {
        paths[i] = settings->paths[i];
        process->places[i] = place_of(paths[i]);
    }
    return fk_sandbox_enter_token(paths, settings->n_paths);
}

/* The driver is loaded after the sandbox, and by the user that was given up to: see crew.h. */
static int begin_serving(struct process *process, const struct fk_procmsg *msg)
{
    char user[FK_PROC_DATA_MAX + 1];
    struct fk_token_back *back;
    uint8_t warm[32];
    int err;

    if (process->set == NULL || process->crew != NULL)
        return FK_ERR_UNEXPECTED;
    memcpy(user, msg->data, msg->len);
    user[msg->len] = '\0';
    if (RAND_bytes(warm, sizeof warm) != 1 || RAND_priv_bytes(warm, sizeof warm) != 1)
        return FK_ERR_CRYPTO;
    if ((err = fk_proc_drop(user[0] == '\0' ? NULL : user)) != FK_OK ||
        (err = enter_sandbox(process)) != FK_OK ||
        (err = make_back(process->set, &back)) != FK_OK ||
        (err = fk_crew_new(process->set, back, &process->crew)) != FK_OK)
        return err;
    fk_io_init(&process->done, process->loop, fk_crew_fd(process->crew), on_done);
    fk_io_want(&process->done, FK_IO_READ);
    fk_timer_start(&process->tick, TICK_US);
    fk_log(FK_LOG_INFO, "token process serves",
           fk_str("token", fk_keyset_token(process->set)->name),
           fk_uint("keys", fk_keyset_count(process->set)));
    return fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_READY, process->number, -1);
}

static int drain(struct process *process, const struct fk_procmsg *msg)
{
    process->draining = true;
    fk_timer_start(&process->deadline, (uint64_t)msg->arg * 1000000);
    end_if_drained(process);
    return FK_OK;
}

static void on_deadline(struct fk_timer *timer)
{
    finish(fk_container(timer, struct process, deadline), 0);
}

static int take_message(struct process *process, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_KEYS:
        return take_keys(process, msg);
    case FK_PROC_METRICS:
        return take_metrics(process, msg);
    case FK_PROC_PEER:
        return take_peer(process, msg);
    case FK_PROC_GO:
        return begin_serving(process, msg);
    case FK_PROC_DRAIN:
        return drain(process, msg);
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static void refuse(struct process *process, int err)
{
    struct fk_procmsg msg = {.type = FK_PROC_FAILED, .arg = process->number};
    int len = snprintf((char *)msg.data, sizeof msg.data, "token: %s", fk_err_text(err));

    msg.len = len > 0 ? (size_t)len : 0;
    fk_log(FK_LOG_ERROR, "token process cannot start", fk_error(err));
    (void)fk_proc_send(FK_PROC_CONTROL_FD, &msg);
    finish(process, 1);
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
        if (process->crew == NULL) {
            refuse(process, err);
            return;
        }
        fk_log(FK_LOG_ERROR, "message of master refused", fk_uint("type", msg.type), fk_error(err));
    }
    if (err != FK_ERR_AGAIN)
        finish(process, err == FK_ERR_CLOSED ? 0 : 1);
}

static int start(struct process *process)
{
    int err = fk_loop_new(&process->loop);

    if (err != FK_OK)
        return err;
    process->owner = (struct fk_token_link_owner){.refused = on_refused, .ended = on_link_ended};
    fk_list_init(&process->links);
    fk_timer_init(&process->tick, process->loop, on_tick);
    fk_timer_init(&process->deadline, process->loop, on_deadline);
    fk_io_init(&process->control, process->loop, FK_PROC_CONTROL_FD, on_control);
    fk_io_want(&process->control, FK_IO_READ);
    return FK_OK;
}

static void stop(struct process *process)
{
    struct fk_list *item;

    fk_timer_stop(&process->tick);
    fk_timer_stop(&process->deadline);
    fk_io_want(&process->control, 0);
    if (process->crew != NULL)
        fk_io_want(&process->done, 0);
    while ((item = fk_list_pop(&process->links)) != NULL)
        fk_token_link_free(fk_container(item, struct fk_token_link, link));
    fk_crew_free(process->crew);
    fk_keyset_free(process->set);
    fk_metrics_close(process->metrics);
    fk_loop_free(process->loop);
}

int fk_token_main(unsigned index)
{
    struct process *process = calloc(1, sizeof *process);
    int status;

    fk_proc_child_init("token", index);
    if (process == NULL || start(process) != FK_OK) {
        fk_log(FK_LOG_ERROR, "token process cannot start", fk_error(FK_ERR_NOMEM));
        return 1;
    }
    fk_loop_run(process->loop);
    status = process->status;
    stop(process);
    free(process);
    return status;
}
