/*
 * The control socket: newline-delimited JSON, a request a line, an answer a line, in order. See
 * docs/control.md. Every command goes to the master; nothing is decided here.
 */
#include "admin/internal.h"
#include "admin/line.h"

#include "base/err.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

struct control_conn {
    struct fk_serve_conn conn;
    struct fk_admin_question question;
};

/* Whole or not at all: half a line would take the next answer for its rest. */
static int put_line(struct fk_serve_conn *conn, const char *text, size_t len)
{
    uint8_t *line;
    int err;

    if ((err = fk_buf_reserve(&conn->out, len + 1, &line)) != FK_OK)
        return err;
    /* A newline inside JSON is white space between its tokens, never part of a string. */
    for (size_t i = 0; i < len; i++)
        line[i] = text[i] == '\n' ? ' ' : (uint8_t)text[i];
    line[len] = '\n';
    fk_buf_commit(&conn->out, len + 1);
    return FK_OK;
}

/* Answer with a line. Without one the connection ends: the next answer would stand for this. */
static void answer(struct fk_serve_conn *conn, const char *text, size_t len, bool last)
{
    if (put_line(conn, text, len) != FK_OK)
        last = true;
    fk_serve_conn_answer(conn, last);
}

static void answer_error(struct fk_serve_conn *conn, const char *why, bool last)
{
    char text[128];
    int n = snprintf(text, sizeof text, "{\"error\":\"%s\"}", why);

    answer(conn, text, (size_t)n, last);
}

static void on_answer(struct fk_admin_question *question, const char *json, size_t len)
{
    struct control_conn *control = fk_container(question, struct control_conn, question);

    if (json == NULL)
        answer_error(&control->conn, "the master does not answer", false);
    else
        answer(&control->conn, json, len, false);
}

static const char *parse_reason(int err)
{
    switch (err) {
    case FK_ERR_DUPLICATE:
        return "a member is there twice";
    case FK_ERR_TRAILING:
        return "members other than command and argument";
    case FK_ERR_RANGE:
        return "the command is not a word, or the argument not one of visible ASCII";
    default:
        return "write {\\\"command\\\":\\\"status\\\"}";
    }
}

static void handle_line(struct control_conn *control, const char *line, size_t len)
{
    struct fk_serve_conn *conn = &control->conn;
    struct fk_admin_command command;
    int err = fk_admin_line_parse(line, len, &command);

    if (err != FK_OK) {
        answer_error(conn, parse_reason(err), false);
        return;
    }
    fk_admin_question_init(&control->question);
    control->question.answered = on_answer;
    if (fk_admin_ask(admin_of(conn), &command, &control->question) != FK_OK) {
        answer_error(conn, "the master does not keep up", false);
        return;
    }
    fk_serve_conn_asking(conn);
    if (strcmp(command.word, "status") == 0) /* who asks whether it lives shall not wait for long */
        fk_timer_start(&conn->timer, FK_ADMIN_STATUS_US);
}

static void control_received(struct fk_serve_conn *conn)
{
    while (conn->state == FK_SERVE_READING && fk_buf_len(&conn->in) > 0) {
        const char *line = (const char *)fk_buf_data(&conn->in);
        const char *end = memchr(line, '\n', fk_buf_len(&conn->in));

        if (end == NULL) {
            if (fk_buf_room(&conn->in) == 0)
                answer_error(conn, "the line is too long", true);
            return;
        }
        if (end > line)
            handle_line((struct control_conn *)conn, line, (size_t)(end - line));
        fk_buf_consume(&conn->in, (size_t)(end - line) + 1);
    }
}

static void control_opened(struct fk_serve_conn *conn)
{
    fk_admin_question_init(&((struct control_conn *)conn)->question);
}

static void control_closing(struct fk_serve_conn *conn)
{
    fk_admin_forget(&((struct control_conn *)conn)->question);
}

static void control_late(struct fk_serve_conn *conn)
{
    fk_admin_forget(&((struct control_conn *)conn)->question);
    answer_error(conn, "the master does not answer", false);
}

const struct fk_serve_protocol fk_admin_control = {
    .size = sizeof(struct control_conn),
    .in_max = FK_ADMIN_LINE_MAX,
    .out_max = FK_ADMIN_ANSWER_MAX + FK_ADMIN_LINE_MAX,
    .patience = FK_ADMIN_PATIENCE_US,
    .first = FK_ADMIN_FIRST_US,
    .evict = true,
    .asking = FK_ADMIN_COMMAND_US,
    .max = FK_ADMIN_CONTROL_CONNS,
    .same_owner = true,
    .opened = control_opened,
    .received = control_received,
    .closing = control_closing,
    .late = control_late,
};
