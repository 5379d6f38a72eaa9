/*
 * Life of the admin process: start-up by messages, sandbox, questions to the master. See admin.h.
 * It ends when its master does or tells it to.
 */
#include "admin/internal.h"

#include "admin/command.h"
#include "base/err.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- questions --- */

void fk_admin_question_init(struct fk_admin_question *question)
{
    fk_list_init(&question->link);
}

int fk_admin_ask(struct fk_admin *admin, const struct fk_admin_command *command,
                 struct fk_admin_question *question)
{
    struct fk_procmsg msg = {.type = FK_PROC_COMMAND, .arg = ++admin->next_id};
    size_t word = strlen(command->word), argument = strlen(command->argument);
    int err;

    memcpy(msg.data, command->word, word);
    memcpy(msg.data + word + 1, command->argument, argument);
    msg.len = argument == 0 ? word : word + 1 + argument;
    if ((err = fk_proc_send(fk_io_fd(&admin->control), &msg)) != FK_OK)
        return err;
    question->id = msg.arg;
    fk_list_append(&admin->questions, &question->link);
    return FK_OK;
}

void fk_admin_forget(struct fk_admin_question *question)
{
    fk_list_del(&question->link);
}

static struct fk_admin_question *find_question(struct fk_admin *admin, uint32_t id)
{
    struct fk_list *item;

    fk_list_each (item, &admin->questions) {
        struct fk_admin_question *question = fk_container(item, struct fk_admin_question, link);

        if (question->id == id)
            return question;
    }
    return NULL;
}

static void take_answer(struct fk_admin *admin, const struct fk_procmsg *msg)
{
    struct fk_admin_question *question = find_question(admin, msg->arg);
    char *json = NULL;
    size_t len = 0;
    int err;

    if (question == NULL)
        return; /* it came too late */
    if ((err = fk_admin_answer_take(msg, &json, &len)) != FK_OK)
        fk_log(FK_LOG_ERROR, "answer of the master is lost", fk_error(err));
    fk_list_del(&question->link);
    question->answered(question, json, len);
    free(json);
}

/* --- messages of the master --- */

static const struct fk_metric *find_table(const struct fk_admin_role *roles,
                                          const struct fk_procmsg *msg)
{
    for (; roles->name != NULL; roles++)
        if (strlen(roles->name) == msg->len && memcmp(roles->name, msg->data, msg->len) == 0)
            return roles->metrics;
    return NULL;
}

static int take_metrics(struct fk_admin *admin, struct fk_procmsg *msg)
{
    const struct fk_metric *table = find_table(admin->roles, msg);
    int err;

    if (table == NULL || msg->n_fds != 1 || admin->n_metrics == FK_ADMIN_TABLES_MAX)
        return FK_ERR_UNEXPECTED;
    err = fk_metrics_open(table, msg->fds[0], &admin->metrics[admin->n_metrics]);
    if (err == FK_OK)
        admin->n_metrics++;
    return err;
}

static int take_listener(struct fk_admin *admin, struct fk_procmsg *msg)
{
    if (msg->n_fds != 1 || msg->arg > FK_ADMIN_CONTROL)
        return FK_ERR_UNEXPECTED;
    fk_serve_listen(msg->arg == FK_ADMIN_HTTP ? &admin->http : &admin->ctl, msg->fds[0]);
    msg->fds[0] = -1; /* moved */
    return FK_OK;
}

/* Its room was made before the sandbox was entered. */
static int take_access(struct fk_admin *admin, struct fk_procmsg *msg)
{
    int err = msg->len <= FK_ADMIN_TOKEN_MAX ? FK_OK : FK_ERR_LIMIT;

    if (err == FK_OK) {
        fk_wipe(fk_secret_data(admin->token), FK_ADMIN_TOKEN_MAX);
        memcpy(fk_secret_data(admin->token), msg->data, msg->len);
        admin->token_len = msg->len;
    }
    fk_wipe(msg->data, msg->len);
    return err;
}

/* In place of those that were. */
static int take_facts(struct fk_admin *admin, const struct fk_procmsg *msg)
{
    char *text;
    size_t len;
    int err = fk_admin_answer_take(msg, &text, &len);

    if (err != FK_OK)
        return err;
    free(admin->facts);
    admin->facts = text;
    admin->facts_len = len;
    return FK_OK;
}

/* --- start --- */

static int enter(const struct fk_procmsg *msg)
{
    char user[FK_PROC_DATA_MAX + 1];
    int err;

    memcpy(user, msg->data, msg->len);
    user[msg->len] = '\0';
    json_object_seed(0); /* opens a file, which is over soon */
    if ((err = fk_proc_drop(msg->len > 0 ? user : NULL)) != FK_OK)
        return err;
    return fk_sandbox_enter(FK_SANDBOX_ADMIN);
}

static int go(struct fk_admin *admin, const struct fk_procmsg *msg)
{
    int err;

    if (admin->n_metrics == 0 || admin->serving)
        return FK_ERR_UNEXPECTED;
    if ((err = enter(msg)) != FK_OK)
        return err;
    admin->serving = true;
    fk_serve_start(&admin->http);
    fk_serve_start(&admin->ctl);
    return fk_proc_send_fd(fk_io_fd(&admin->control), FK_PROC_READY, 0, -1);
}

/* --- the end --- */

static void on_end(struct fk_timer *timer)
{
    fk_loop_stop(fk_container(timer, struct fk_admin, end)->loop);
}

static void on_drained(struct fk_serve *server)
{
    const struct fk_admin *admin = server->ctx;

    if (admin->http.count + admin->ctl.count == 0)
        fk_loop_stop(admin->loop);
}

/* What operators have asked is answered, for so long. */
static int drain(struct fk_admin *admin, uint32_t seconds)
{
    if (seconds == 0)
        return FK_ERR_CLOSED;
    fk_timer_start(&admin->end, seconds * 1000000ULL);
    fk_serve_drain(&admin->http, on_drained);
    fk_serve_drain(&admin->ctl, on_drained);
    return FK_OK;
}

static int take_message(struct fk_admin *admin, struct fk_procmsg *msg)
{
    switch (msg->type) {
    case FK_PROC_METRICS:
        return take_metrics(admin, msg);
    case FK_PROC_LISTEN:
        return take_listener(admin, msg);
    case FK_PROC_ACCESS:
        return take_access(admin, msg);
    case FK_PROC_FACTS:
        return take_facts(admin, msg);
    case FK_PROC_GO:
        return go(admin, msg);
    case FK_PROC_ANSWER:
        take_answer(admin, msg);
        return FK_OK;
    case FK_PROC_DRAIN:
        return drain(admin, msg->arg);
    default:
        return FK_ERR_UNEXPECTED;
    }
}

static void on_control(struct fk_io *io, unsigned events)
{
    struct fk_admin *admin = fk_container(io, struct fk_admin, control);
    struct fk_procmsg msg;
    int err = fk_proc_next(&msg);

    (void)events;
    if (err == FK_ERR_AGAIN)
        return;
    if (err == FK_OK) {
        err = take_message(admin, &msg);
        fk_procmsg_close(&msg);
    }
    if (err == FK_OK)
        return;
    admin->err = err;
    fk_loop_stop(admin->loop);
}

int fk_admin_main(unsigned index, const struct fk_admin_role *roles)
{
    struct fk_admin admin = {.roles = roles, .err = FK_ERR_CLOSED};
    int err;

    fk_proc_child_init("admin", index);
    if ((err = fk_secret_new(FK_ADMIN_TOKEN_MAX, &admin.token)) != FK_OK ||
        (err = fk_loop_new(&admin.loop)) != FK_OK) {
        fk_secret_free(admin.token);
        fk_log(FK_LOG_ERROR, "admin process cannot start", fk_error(err));
        return 1;
    }
    fk_list_init(&admin.questions);
    fk_io_init(&admin.control, admin.loop, FK_PROC_CONTROL_FD, on_control);
    fk_serve_init(&admin.http, admin.loop, &fk_admin_http, &admin);
    fk_serve_init(&admin.ctl, admin.loop, &fk_admin_control, &admin);
    fk_timer_init(&admin.end, admin.loop, on_end);
    fk_io_want(&admin.control, FK_IO_READ);
    fk_loop_run(admin.loop);
    fk_serve_fini(&admin.http);
    fk_serve_fini(&admin.ctl);
    for (size_t i = 0; i < admin.n_metrics; i++)
        fk_metrics_close(admin.metrics[i]);
    fk_timer_stop(&admin.end);
    free(admin.facts);
    fk_io_want(&admin.control, 0);
    fk_loop_free(admin.loop);
    fk_secret_free(admin.token);
    if (admin.err == FK_ERR_CLOSED)
        return 0;
    fk_log(FK_LOG_ERROR, "admin process ends", fk_error(admin.err));
    return 1;
}
