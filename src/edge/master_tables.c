/*
 * Operators' questions for the inline box's tables: each is asked of all workers, whose parts
 * become one answer. One after the other, so that what a worker tells is about one question only.
 */
#include "admin/command.h"
#include "base/err.h"
#include "edge/master_priv.h"
#include "edge/wiretables.h"

#include <stdlib.h>
#include <string.h>

#define COMMAND "tables"
#define ALL     ((1u << FK_WIRETABLE_COUNT) - 1)

/* 0: it is no such word. */
static uint32_t tables_of(const char *word)
{
    if (strcmp(word, COMMAND) == 0)
        return ALL;
    if (strncmp(word, COMMAND "-", strlen(COMMAND) + 1) != 0)
        return 0;
    for (unsigned i = 0; i < FK_WIRETABLE_COUNT; i++)
        if (strcmp(word + strlen(COMMAND) + 1, fk_wiretable_words[i]) == 0)
            return 1u << i;
    return 0;
}

/* --- the answer --- */

/* A worker's rows of one table. What would not fit an answer is left out. */
static json_int_t merge_table(json_t *rows, const json_t *part)
{
    json_int_t left_out = 0;
    const char *name;
    json_t *row;
    size_t i;

    json_array_foreach(part, i, row)
    {
        if (json_array_size(rows) < FK_WIRE_ROWS_ALL)
            fk_wiretables_add(rows, json_incref(row));
        else
            left_out++;
    }
    json_object_foreach((json_t *)(uintptr_t)part, name, row)
    {
        if (json_object_size(rows) < FK_WIRE_ROWS_ALL || json_object_get(rows, name) != NULL)
            fk_wiretables_add(rows, json_incref(row));
        else
            left_out++;
    }
    return left_out;
}

static void merge(struct fk_master_tables *tables, const json_t *part)
{
    json_int_t left_out = json_integer_value(json_object_get(tables->merged, "left_out")) +
                          json_integer_value(json_object_get(part, "left_out"));

    for (unsigned i = 0; i < FK_WIRETABLE_COUNT; i++)
        if ((tables->questions[0].which & 1u << i) != 0)
            left_out += merge_table(json_object_get(tables->merged, fk_wiretable_words[i]),
                                    json_object_get(part, fk_wiretable_words[i]));
    json_object_set_new(tables->merged, "left_out", json_integer(left_out));
}

/* Sessions found their rows by name; operators get rows. */
static void flatten(json_t *merged)
{
    const char *word = fk_wiretable_words[FK_WIRETABLE_SESSIONS], *name;
    json_t *sessions = json_object_get(merged, word), *rows, *row;

    if (sessions == NULL || (rows = json_array()) == NULL)
        return;
    json_object_foreach(sessions, name, row)
    {
        json_array_append(rows, row);
    }
    json_object_set_new(merged, word, rows);
}

/* --- one question --- */

static bool has_process(const struct fk_master_worker *worker)
{
    return worker->child != NULL && fk_child_pid(worker->child) != 0;
}

static bool all_answered(const struct fk_master *master)
{
    for (unsigned i = 0; i < master->n_workers; i++)
        if (has_process(&master->workers[i]) && !master->tables.answered[i])
            return false;
    return true;
}

static void begin(struct fk_master *master)
{
    struct fk_master_tables *tables = &master->tables;
    uint32_t which = tables->questions[0].which;

    tables->round = (tables->round | ALL) + 1 + which; /* the next number, and what it asks for */
    memset(tables->answered, 0, sizeof tables->answered);
    tables->merged = json_pack("{s:i}", "left_out", 0);
    for (unsigned i = 0; i < FK_WIRETABLE_COUNT; i++)
        if ((which & 1u << i) != 0)
            json_object_set_new(tables->merged, fk_wiretable_words[i],
                                fk_wiretables_rows((enum fk_wiretable)i));
    fk_timer_start(&tables->timer, FK_EDGE_QUESTION_US);
    for (unsigned i = 0; i < master->n_workers; i++)
        if (has_process(&master->workers[i]))
            (void)fk_child_send_fd(master->workers[i].child, FK_PROC_STATUS, tables->round, -1);
}

/* Whoever has not answered by now is left out. */
static void finish(struct fk_master *master)
{
    struct fk_master_tables *tables = &master->tables;
    json_t *merged = tables->merged;

    fk_timer_stop(&tables->timer);
    tables->merged = NULL; /* moved */
    flatten(merged);
    fk_master_answer(tables->questions[0].from.asker, tables->questions[0].from.id, merged);
    tables->n--;
    memmove(&tables->questions[0], &tables->questions[1], tables->n * sizeof tables->questions[0]);
    if (tables->n > 0)
        begin(master);
}

static void on_timer(struct fk_timer *timer)
{
    finish(fk_container(timer, struct fk_master, tables.timer));
}

/* --- the master's --- */

bool fk_master_tables_ask(struct fk_master *master, const struct fk_master_question *from,
                          const char *word)
{
    struct fk_master_tables *tables = &master->tables;
    uint32_t which = master->wire == NULL ? 0 : tables_of(word);

    if (which == 0)
        return false;
    if (tables->n == FK_EDGE_QUESTIONS_MAX) {
        fk_master_answer(from->asker, from->id,
                         json_pack("{s:s}", "error", "too many questions wait already"));
        return true;
    }
    tables->questions[tables->n].from = *from;
    tables->questions[tables->n++].which = which;
    if (tables->n == 1)
        begin(master);
    if (tables->n == 1 && all_answered(master))
        finish(master);
    return true;
}

void fk_master_tables_answered(struct fk_master *master, unsigned worker,
                               const struct fk_procmsg *msg)
{
    struct fk_master_tables *tables = &master->tables;
    json_t *part;
    size_t len;
    char *text;

    if (tables->merged == NULL || msg->arg != tables->round || tables->answered[worker])
        return; /* too late */
    tables->answered[worker] = true;
    if (fk_admin_answer_take(msg, &text, &len) == FK_OK) {
        if ((part = json_loadb(text, len, 0, NULL)) != NULL)
            merge(tables, part);
        json_decref(part);
        free(text);
    }
    if (all_answered(master))
        finish(master);
}

void fk_master_tables_init(struct fk_master *master)
{
    fk_timer_init(&master->tables.timer, master->loop, on_timer);
}

void fk_master_tables_fini(struct fk_master *master)
{
    fk_timer_stop(&master->tables.timer);
    json_decref(master->tables.merged);
    master->tables.merged = NULL;
}
