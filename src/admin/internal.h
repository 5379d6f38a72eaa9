/* The parts of the admin process to each other: admin.c (life, questions to the master), http.c and
 * control.c (what is said on connections). */
#ifndef FK_ADMIN_INTERNAL_H
#define FK_ADMIN_INTERNAL_H

#include "admin/command.h"
#include "admin/admin.h"
#include "admin/serve.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"
#include "loop/loop.h"

#include <stdbool.h>

struct fk_admin;

/* --- questions to the master --- */

struct fk_admin_question {
    struct fk_list link;
    uint32_t id;
    /* The master's answer; NULL: none will come. Called from the loop only, once. */
    void (*answered)(struct fk_admin_question *question, const char *json, size_t len);
};

void fk_admin_question_init(struct fk_admin_question *question);
/* Ask one thing. FK_ERR_AGAIN when the master does not keep up, FK_ERR_CLOSED. */
int fk_admin_ask(struct fk_admin *admin, const struct fk_admin_command *command,
                 struct fk_admin_question *question);
/* No answer is wanted any more. Harmless when none is under way. */
void fk_admin_forget(struct fk_admin_question *question);

extern const struct fk_serve_protocol fk_admin_http, fk_admin_control;

/* --- the process --- */

struct fk_admin {
    struct fk_loop *loop;
    struct fk_io control; /* to the master */
    const struct fk_admin_role *roles;
    struct fk_metrics *metrics[FK_ADMIN_TABLES_MAX];
    size_t n_metrics;
    char *facts; /* lines that go with them; NULL: none */
    size_t facts_len;
    bool serving;        /* FK_PROC_GO came */
    int err;             /* why the loop stopped */
    struct fk_timer end; /* of a drain */
    uid_t owner;         /* whom the daemon was started as */
    uint32_t next_id;
    struct fk_secret *token; /* room for FK_ADMIN_TOKEN_MAX bytes */
    size_t token_len;        /* 0: none is asked for */
    struct fk_list questions;
    struct fk_serve http;
    struct fk_serve ctl;
};

/* The process that a connection belongs to. */
static inline struct fk_admin *admin_of(const struct fk_serve_conn *conn)
{
    return conn->server->ctx;
}

#endif
