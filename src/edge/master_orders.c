/*
 * Operators' commands that workers carry out: the master sees that they can be, tells every worker,
 * and answers when all have done it. What is set down it remembers, for workers to come.
 */
#include "admin/command.h"
#include "base/err.h"
#include "base/log.h"
#include "edge/master_priv.h"
#include "http/cachekey.h"
#include "http/text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void tell_all(const struct fk_master *master, const struct fk_procmsg *msg)
{
    for (unsigned i = 0; i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]))
            (void)fk_child_send(master->workers[i].child, msg);
}

/* --- until all have done it --- */

static bool all_done(const struct fk_master *master, uint32_t number)
{
    for (unsigned i = 0; i < master->n_workers; i++)
        if (fk_master_has_process(&master->workers[i]) && master->workers[i].done < number)
            return false;
    return true;
}

/* Those that are done, or with `all` the others, too. */
static void answer_waiting(struct fk_master *master, bool all)
{
    struct fk_master_orders *orders = &master->orders;
    size_t n = 0;

    for (; n < orders->n; n++) {
        const struct fk_master_question *from = &orders->waiting[n].from;
        bool done = all_done(master, orders->waiting[n].number);

        if (!done && !all)
            break;
        fk_master_answer(from->asker, from->id,
                         json_pack("{s:b, s:s*}", "ok", 1, "note",
                                   done ? from->note : "a worker is late; it has yet to do it"));
    }
    orders->n -= n;
    memmove(&orders->waiting[0], &orders->waiting[n], orders->n * sizeof orders->waiting[0]);
    if (orders->n == 0)
        fk_timer_stop(&orders->timer);
}

static void on_timer(struct fk_timer *timer)
{
    answer_waiting(fk_container(timer, struct fk_master, orders.timer), true);
}

/* Before anything is told: whether its answer can wait. */
static bool may_wait(const struct fk_master *master, const struct fk_master_question *from)
{
    if (master->orders.n < FK_EDGE_QUESTIONS_MAX)
        return true;
    fk_master_answer_error(from, "too many questions wait already");
    return false;
}

/* Answer when they have done what they were told. */
static void answer_when_done(struct fk_master *master, const struct fk_master_question *from)
{
    struct fk_master_orders *orders = &master->orders;
    struct fk_procmsg msg = {.type = FK_PROC_SYNC, .arg = ++orders->last};

    tell_all(master, &msg);
    orders->waiting[orders->n].from = *from;
    orders->waiting[orders->n++].number = msg.arg;
    if (!fk_timer_active(&orders->timer))
        fk_timer_start(&orders->timer, FK_EDGE_QUESTION_US);
    answer_waiting(master, false); /* there may be no worker now */
}

void fk_master_orders_done(struct fk_master *master, struct fk_master_worker *worker,
                           uint32_t number)
{
    worker->done = number;
    answer_waiting(master, false);
}

void fk_master_orders_init(struct fk_master *master)
{
    fk_timer_init(&master->orders.timer, master->loop, on_timer);
}

void fk_master_orders_fini(struct fk_master *master)
{
    fk_timer_stop(&master->orders.timer);
}

/* --- the cache --- */

void fk_master_purge(struct fk_master *master, struct fk_master_question *from, const char *url)
{
    struct fk_procmsg msg = {.type = FK_PROC_PURGE, .len = strlen(url)};
    struct fk_cachekey key;

    if (url[0] != '\0' && fk_cachekey_of_url("", fk_http_text(url), &key) != FK_OK) {
        fk_master_answer_error(from, "not a URL; write \"https://example.com/path\"");
        return;
    }
    if (!may_wait(master, from))
        return;
    memcpy(msg.data, url, msg.len);
    tell_all(master, &msg);
    answer_when_done(master, from);
}

/* --- origins --- */

_Static_assert(FK_ADMIN_ARGUMENT_SIZE <= FK_PROC_DATA_MAX, "one message, with a NUL");

static void make_message(const char *name, enum fk_setdown_change change, struct fk_procmsg *ret)
{
    *ret = (struct fk_procmsg){.type = FK_PROC_ORIGIN, .arg = change, .len = strlen(name)};
    memcpy(ret->data, name, ret->len);
}

static bool has_origin(const struct fk_edge_site *site, const char *origin)
{
    for (size_t i = 0; i < site->origin.count; i++)
        if (strcmp(site->origin.items[i], origin) == 0)
            return true;
    return false;
}

/* Whether the configuration in service has it. *ret_site: its site, or the one that lacks it; NULL:
 * there is none. */
static bool is_known(const struct fk_master *master, const char *name,
                     const struct fk_edge_site **ret_site)
{
    *ret_site = NULL;
    for (const struct fk_conf_block *b = master->loaded->root->sites; b != NULL; b = b->next) {
        const char *origin = fk_setdown_origin(name, b->title);

        if (origin == NULL)
            continue;
        *ret_site = (const void *)b;
        if (has_origin(*ret_site, origin))
            return true;
    }
    return false;
}

static bool is_without_origin(const struct fk_master *master, const struct fk_edge_site *site)
{
    for (size_t i = 0; i < site->origin.count; i++)
        if (!fk_setdown_has(master->down, site->block.title, site->origin.items[i]))
            return false;
    return true;
}

static void answer_unknown(const struct fk_master_question *from, const char *name,
                           const struct fk_edge_site *site)
{
    char text[FK_ADMIN_ARGUMENT_SIZE + 64];

    if (site != NULL)
        (void)snprintf(text, sizeof text, "site \"%s\" has no origin \"%s\"", site->block.title,
                       fk_setdown_origin(name, site->block.title));
    else
        (void)snprintf(text, sizeof text,
                       "no site \"%.*s\"; write SITE/ORIGIN, as origins has them",
                       (int)strcspn(name, "/"), name);
    fk_master_answer_error(from, text);
}

static void change_origin(struct fk_master *master, struct fk_master_question *from,
                          const char *name, enum fk_setdown_change change)
{
    const struct fk_edge_site *site;
    struct fk_procmsg msg;
    int err;

    if (!is_known(master, name, &site)) {
        answer_unknown(from, name, site);
        return;
    }
    if (!may_wait(master, from))
        return;
    if ((err = fk_setdown_change(master->down, name, change)) != FK_OK) {
        fk_master_answer_error(from, err == FK_ERR_LIMIT ? "too many origins are set down already"
                                                         : fk_err_text(err));
        return;
    }
    fk_log(FK_LOG_INFO,
           change == FK_SETDOWN_DOWN ? "an operator sets an origin down"
                                     : "an operator sets an origin up",
           fk_str("origin", name));
    if (is_without_origin(master, site))
        from->note = "all origins of the site are set down";
    make_message(name, change, &msg);
    tell_all(master, &msg);
    answer_when_done(master, from);
}

void fk_master_origin_down(struct fk_master *master, struct fk_master_question *from,
                           const char *name)
{
    change_origin(master, from, name, FK_SETDOWN_DOWN);
}

void fk_master_origin_up(struct fk_master *master, struct fk_master_question *from,
                         const char *name)
{
    change_origin(master, from, name, FK_SETDOWN_UP);
}

int fk_master_orders_send(struct fk_master *master, struct fk_master_worker *worker)
{
    struct fk_procmsg msg;
    const char *name;
    int err = FK_OK;

    worker->done = master->orders.last; /* it begins as all of them have left it */

    for (size_t i = 0; err == FK_OK && (name = fk_setdown_at(master->down, i)) != NULL; i++) {
        make_message(name, FK_SETDOWN_DOWN, &msg);
        err = fk_child_send(worker->child, &msg);
    }
    return err;
}

void fk_master_orders_commit(struct fk_master *master)
{
    const struct fk_edge_site *site;
    struct fk_procmsg msg;
    const char *name;
    size_t i = 0;

    while ((name = fk_setdown_at(master->down, i)) != NULL) {
        if (is_known(master, name, &site)) {
            i++;
            continue;
        }
        fk_log(FK_LOG_INFO, "an origin that was set down is gone", fk_str("origin", name));
        make_message(name, FK_SETDOWN_FORGET, &msg);
        tell_all(master, &msg);
        (void)fk_setdown_change(master->down, (const char *)msg.data, FK_SETDOWN_FORGET);
    }
}

/* --- ticket keys --- */

void fk_master_rotate(struct fk_master *master, struct fk_master_question *from,
                      const char *nothing)
{
    int err;

    (void)nothing;
    if (!may_wait(master, from))
        return;
    if ((err = fk_master_renew_tickets(master)) != FK_OK) {
        fk_master_answer_error(from, fk_err_text(err));
        return;
    }
    fk_log(FK_LOG_INFO, "an operator has a new ticket key made");
    answer_when_done(master, from);
}
