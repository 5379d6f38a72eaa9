/*
 * What operators ask of the edge, through the admin process. The status, and lists that are parts
 * of it, are put together from the workers' answers; one that is late is left out.
 */
#include "base/err.h"
#include "base/log.h"
#include "admin/admin.h"
#include "admin/command.h"
#include "admin/conf.h"
#include "edge/master_priv.h"
#include "edge/metrics.h"
#include "edge/views.h"
#include "loop/sock.h"

#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- answers --- */

void fk_master_answer(struct fk_child *admin, uint32_t id, json_t *json)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    int err = FK_ERR_NOMEM;

    json_decref(json);
    if (text != NULL)
        err = fk_admin_answer_child(admin, id, text, strlen(text));
    if (err != FK_OK)
        fk_log(FK_LOG_WARN, "cannot answer an operator", fk_error(err));
    free(text);
}

void fk_master_answer_error(const struct fk_master_question *from, const char *text)
{
    fk_master_answer(from->asker, from->id, json_pack("{s:s}", "error", text));
}

/* --- status --- */

static json_t *counters(const struct fk_master *master)
{
    json_t *object = json_object();
    char name[256];

    for (unsigned i = 0; i < master->role->n_metrics; i++) {
        const struct fk_metric *metric = &master->role->metrics[i];

        if (metric->kind == FK_METRIC_HISTOGRAM)
            continue;
        snprintf(name, sizeof name, "%s%s%s%s",
                 metric->name + strlen("farkey_") + strlen(master->role->name) + 1,
                 metric->labels == NULL ? "" : "{", metric->labels == NULL ? "" : metric->labels,
                 metric->labels == NULL ? "" : "}");
        json_object_set_new(object, name,
                            json_integer((json_int_t)fk_metric_total(master->metrics, i)));
    }
    return object;
}

static json_t *workers(const struct fk_master *master)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < master->n_workers; i++) {
        const struct fk_master_worker *worker = &master->workers[i];
        json_t *object, *part = NULL;

        if (worker->child == NULL)
            continue;
        object = json_pack("{s:i, s:i, s:i, s:i}", "index", (int)i, "pid",
                           (int)fk_child_pid(worker->child), "restarts",
                           (int)fk_child_restarts(worker->child), "generation", (int)worker->ready);
        if (worker->answered)
            part = json_loadb((const char *)fk_buf_data(&worker->status),
                              fk_buf_len(&worker->status), 0, NULL);
        if (part != NULL)
            json_object_update_missing(object, part);
        json_decref(part);
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *signers(const struct fk_master *master)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < master->keys.count; i++)
        json_array_append_new(array,
                              json_pack("{s:i, s:i, s:i}", "index", (int)i, "pid",
                                        (int)fk_child_pid(master->keys.signers[i]), "restarts",
                                        (int)fk_child_restarts(master->keys.signers[i])));
    return array;
}

static json_t *status(const struct fk_master *master)
{
    return json_pack("{s:s, s:i, s:b, s:I, s:b, s:o, s:o, s:o}", "role", master->role->name, "pid",
                     (int)getpid(), "ready", (int)fk_master_ready(master), "generation",
                     (json_int_t)master->generation, "draining", (int)master->stopping, "workers",
                     workers(master), "signers", signers(master), "counters", counters(master));
}

static bool all_answered(const struct fk_master *master)
{
    for (unsigned i = 0; i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]) && !master->workers[i].answered)
            return false;
    return true;
}

static json_t *view(const struct fk_master *master, enum fk_view which)
{
    json_t *parts = workers(master), *json = fk_view_json(which, parts);

    json_decref(parts);
    return json;
}

static void answer_question(const struct fk_master *master, const struct fk_master_question *from)
{
    fk_master_answer(from->asker, from->id,
                     from->asked == FK_ASKED_STATUS
                         ? status(master)
                         : view(master, (enum fk_view)(from->asked - FK_ASKED_VIEW)));
}

static void ask_workers(struct fk_master *master)
{
    fk_timer_start(&master->question_timer, FK_EDGE_QUESTION_US);
    for (unsigned i = 0; i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]))
            (void)fk_child_send_fd(master->workers[i].child, FK_PROC_STATUS, 0, -1);
}

/* A round of the workers' answers is over; the next one begins if somebody waits for it. */
static void answer_questions(struct fk_master *master)
{
    bool more = false;

    fk_timer_stop(&master->question_timer);
    for (unsigned i = 0; i < FK_EDGE_QUESTIONS_MAX; i++) {
        struct fk_master_question *question = &master->questions[i];

        if (question->asker != NULL && !question->later) {
            answer_question(master, question);
            question->asker = NULL;
        }
        more = more || question->asker != NULL;
        question->later = false;
    }
    for (unsigned i = 0; i < master->n_workers; i++) {
        fk_buf_fini(&master->workers[i].status);
        master->workers[i].answered = false;
    }
    if (more)
        ask_workers(master);
}

static void on_question_timer(struct fk_timer *timer)
{
    answer_questions(fk_container(timer, struct fk_master, question_timer));
}

/* With others it waits for one round of answers. A list is to tell what was there when it was asked
 * for, or later: it waits for a round that begins after that. */
void fk_master_ask_workers(struct fk_master *master, const struct fk_master_question *from)
{
    bool asking = fk_timer_active(&master->question_timer);

    for (unsigned i = 0; i < FK_EDGE_QUESTIONS_MAX; i++) {
        if (master->questions[i].asker != NULL)
            continue;
        master->questions[i] = *from;
        master->questions[i].later = asking && from->asked != FK_ASKED_STATUS;
        if (!asking)
            ask_workers(master);
        if (all_answered(master))
            answer_questions(master);
        return;
    }
    fk_master_answer_error(from, "too many questions wait already");
}

void fk_master_worker_status(struct fk_master *master, struct fk_master_worker *worker,
                             const struct fk_procmsg *msg)
{
    if (worker->answered || !fk_timer_active(&master->question_timer))
        return; /* too late */
    if (fk_buf_append(&worker->status, msg->data, msg->len) != FK_OK)
        fk_buf_fini(&worker->status); /* what is left does not parse, and is left out */
    worker->answered = msg->arg == 1;
    if (worker->answered && all_answered(master))
        answer_questions(master);
}

/* --- reload --- */

static void reload(struct fk_master *master, struct fk_master_question *from, const char *nothing)
{
    (void)nothing;
    if (master->stopping || master->n_waiters == FK_EDGE_QUESTIONS_MAX) {
        fk_master_answer_error(from,
                               fk_err_text(master->stopping ? FK_ERR_DRAINING : FK_ERR_LIMIT));
        return;
    }
    master->waiters[master->n_waiters++] = *from;
    fk_master_reload(master);
}

/* A reload of everything that was asked for during another is waited for, too. */
void fk_master_answer_waiters(struct fk_master *master)
{
    const char *notes = master->last_notes.text[0] != '\0' ? master->last_notes.text : NULL;

    if (master->again_full)
        return;
    for (size_t i = 0; i < master->n_waiters; i++) {
        const struct fk_master_question *waiter = &master->waiters[i];

        if (master->last_error.text[0] != '\0')
            fk_master_answer(waiter->asker, waiter->id,
                             json_pack("{s:s}", "error", master->last_error.text));
        else
            fk_master_answer(waiter->asker, waiter->id,
                             json_pack("{s:b, s:I, s:s*}", "ok", 1, "generation",
                                       (json_int_t)master->generation, "note", notes));
    }
    master->n_waiters = 0;
}

/* --- commands --- */

static void upgrade(struct fk_master *master, struct fk_master_question *from, const char *nothing)
{
    (void)nothing;
    fk_master_succeed(master, from);
}

static void drain(struct fk_master *master, struct fk_master_question *from, const char *nothing)
{
    (void)nothing;
    fk_master_answer(from->asker, from->id, json_pack("{s:b}", "ok", 1));
    fk_master_stop(master);
}

static const struct command {
    const char *word;
    const char *argument; /* what to write, "[...]" where it may be left out; NULL: it has none */
    void (*run)(struct fk_master *master, struct fk_master_question *from, const char *argument);
    int asked; /* without `run` */
} commands[] = {
    {"status", NULL, NULL, FK_ASKED_STATUS},
    {"reload", NULL, reload, 0},
    {"upgrade", NULL, upgrade, 0},
    {"drain", NULL, drain, 0},
    {"purge", "[URL]", fk_master_purge, 0},
    {"sites", NULL, NULL, FK_ASKED_VIEW + FK_VIEW_SITES},
    {"origins", NULL, NULL, FK_ASKED_VIEW + FK_VIEW_ORIGINS},
    {"keyservers", NULL, NULL, FK_ASKED_VIEW + FK_VIEW_KEYSERVERS},
    {"sessions", NULL, NULL, FK_ASKED_VIEW + FK_VIEW_SESSIONS},
    {"origin-down", "SITE/ORIGIN", fk_master_origin_down, 0},
    {"origin-up", "SITE/ORIGIN", fk_master_origin_up, 0},
    {"rotate", NULL, fk_master_rotate, 0},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static const struct command *find_command(const char *word)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].word, word) == 0)
            return &commands[i];
    return NULL;
}

static void answer_unknown(const struct fk_master_question *from)
{
    char text[256];
    size_t n = (size_t)snprintf(text, sizeof text, "no such command; there are");

    for (size_t i = 0; i < N_COMMANDS && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s %s",
                              i == 0 ? "" : (i + 1 == N_COMMANDS ? " and" : ","), commands[i].word);
    fk_master_answer_error(from, text);
}

/* Whether it has an argument, and may or must. */
static bool has_its_argument(const struct command *command, const char *argument)
{
    if (argument[0] != '\0')
        return command->argument != NULL;
    return command->argument == NULL || command->argument[0] == '[';
}

static void answer_usage(const struct fk_master_question *from, const struct command *command)
{
    char text[128];

    if (command->argument == NULL)
        (void)snprintf(text, sizeof text, "%s takes no argument", command->word);
    else
        (void)snprintf(text, sizeof text, "write %s %s", command->word, command->argument);
    fk_master_answer_error(from, text);
}

void fk_master_command(struct fk_master *master, struct fk_child *admin,
                       const struct fk_procmsg *msg)
{
    struct fk_master_question from = {.asker = admin, .id = msg->arg};
    struct fk_admin_command asked = {.word = ""};
    const struct command *command;

    (void)fk_admin_command_parse(msg, &asked); /* or it is none of ours */
    command = find_command(asked.word);
    if (command == NULL && asked.argument[0] == '\0' &&
        fk_master_tables_ask(master, &from, asked.word))
        return;
    if (command == NULL) {
        answer_unknown(&from);
    } else if (!has_its_argument(command, asked.argument)) {
        answer_usage(&from, command);
    } else if (command->run != NULL) {
        command->run(master, &from, asked.argument);
    } else {
        from.asked = command->asked;
        fk_master_ask_workers(master, &from);
    }
}

void fk_master_admin_retire(struct fk_master *master)
{
    fk_super_retire(master->admin, FK_EDGE_ADMIN_DRAIN_S);
    fk_close(&master->control_fd);
    fk_close(&master->http_fd);
}

void fk_master_admin_gone(struct fk_master *master)
{
    for (unsigned i = 0; i < FK_EDGE_QUESTIONS_MAX; i++)
        master->questions[i].asker = NULL;
    master->n_waiters = 0;
    master->orders.n = 0;
    master->admin = NULL;
}

void fk_master_admin_init(struct fk_master *master)
{
    fk_timer_init(&master->question_timer, master->loop, on_question_timer);
    fk_master_tables_init(master);
    fk_master_orders_init(master);
    for (unsigned i = 0; i < FK_EDGE_WORKERS_MAX; i++)
        fk_buf_init(&master->workers[i].status, FK_EDGE_STATUS_MAX);
}

void fk_master_admin_fini(struct fk_master *master)
{
    fk_timer_stop(&master->question_timer);
    fk_master_tables_fini(master);
    fk_master_orders_fini(master);
    for (unsigned i = 0; i < FK_EDGE_WORKERS_MAX; i++)
        fk_buf_fini(&master->workers[i].status);
}

/* --- listeners --- */

static int listen_on(const char *text, unsigned mode, int *ret)
{
    const struct fk_listen_options options = {.mode = mode};
    struct fk_addr addr;
    int err;

    if ((err = fk_addr_parse(text, &addr)) == FK_OK)
        err = fk_sock_listen(&addr, &options, ret);
    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "cannot listen", fk_str("address", text),
               err == FK_ERR_SYS ? fk_errno(errno) : fk_error(err));
    return err;
}

int fk_master_admin_listen(struct fk_master *master)
{
    const struct fk_edge_conf *root = master->loaded->root;
    const struct fk_admin_conf *admin = (const void *)root->admin;
    char path[PATH_MAX], text[PATH_MAX + 8];
    int err;

    snprintf(path, sizeof path, "%s", root->control);
    (void)mkdir(dirname(path), 0755); /* there already, or the listener's error tells */
    snprintf(text, sizeof text, "unix:%s", root->control);
    if (master->control_fd < 0 && (err = listen_on(text, 0600, &master->control_fd)) != FK_OK)
        return err;
    if (admin == NULL || master->http_fd >= 0) /* a predecessor's */
        return FK_OK;
    return listen_on(admin->listen, 0600, &master->http_fd);
}
