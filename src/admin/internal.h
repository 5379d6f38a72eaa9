/* The parts of the admin process to each other: admin.c (life, questions to the master), server.c
 * (connections), http.c and control.c (what is said on them). */
#ifndef FK_ADMIN_INTERNAL_H
#define FK_ADMIN_INTERNAL_H

#include "admin/admin.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <sys/types.h>

struct fk_admin;
struct fk_admin_conn;

/* --- questions to the master --- */

struct fk_admin_question {
    struct fk_list link;
    uint32_t id;
    /* The master's answer; NULL: none will come. Called from the loop only, once. */
    void (*answered)(struct fk_admin_question *question, const char *json, size_t len);
};

void fk_admin_question_init(struct fk_admin_question *question);
/* Ask one word. FK_ERR_AGAIN when the master does not keep up, FK_ERR_CLOSED. */
int fk_admin_ask(struct fk_admin *admin, const char *word, struct fk_admin_question *question);
/* No answer is wanted any more. Harmless when none is under way. */
void fk_admin_forget(struct fk_admin_question *question);

/* --- connections --- */

struct fk_admin_server;

/* What is spoken on a listener's connections. */
struct fk_admin_protocol {
    size_t size;     /* of the connection's struct, which begins with a struct fk_admin_conn */
    size_t in_max;   /* bytes of a request that may wait */
    unsigned max;    /* connections at once */
    bool same_owner; /* UNIX socket: peers of the daemon's own user and root only */
    void (*opened)(struct fk_admin_conn *conn);
    /*
     * Bytes wait in `in`: begin at most one request; called again after its answer was sent. Tells
     * by fk_admin_conn_answer(), at once or later.
     */
    void (*received)(struct fk_admin_conn *conn);
    void (*closing)(struct fk_admin_conn *conn);
    /* The answer that did not come in time; NULL closes without one. */
    void (*late)(struct fk_admin_conn *conn);
};

enum fk_admin_state {
    FK_ADMIN_READING, /* waiting for a whole request */
    FK_ADMIN_ASKING,  /* waiting for the master */
    FK_ADMIN_WRITING, /* sending the answer */
    FK_ADMIN_CLOSING, /* sending the last answer */
};

struct fk_admin_conn {
    struct fk_list link;
    struct fk_admin_server *server;
    enum fk_admin_state state;
    struct fk_io io;
    struct fk_timer timer;
    struct fk_buf in;
    struct fk_buf out;
};

struct fk_admin_server {
    struct fk_admin *admin;
    const struct fk_admin_protocol *protocol;
    struct fk_io listener; /* fd -1: none */
    struct fk_timer retry; /* of a failed accept */
    struct fk_list conns;
    unsigned count;
    struct fk_log_limit limit;
};

void fk_admin_server_init(struct fk_admin_server *server, struct fk_admin *admin,
                          const struct fk_admin_protocol *protocol);
/* Accept from now on. */
void fk_admin_server_start(struct fk_admin_server *server);
/* Take a listening socket, in place of the one before. */
void fk_admin_server_listen(struct fk_admin_server *server, int fd);
/* Close the listener and all connections. */
void fk_admin_server_fini(struct fk_admin_server *server);

/* The request now waits for the master. */
void fk_admin_conn_asking(struct fk_admin_conn *conn);
/* `out` holds the whole answer: send it, then go on reading, or with `last` close. */
void fk_admin_conn_answer(struct fk_admin_conn *conn, bool last);

extern const struct fk_admin_protocol fk_admin_http, fk_admin_control;

/* --- the process --- */

struct fk_admin {
    struct fk_loop *loop;
    struct fk_io control; /* to the master */
    const struct fk_admin_role *roles;
    struct fk_metrics *metrics;
    bool serving; /* FK_PROC_GO came */
    int err;      /* why the loop stopped */
    uid_t owner;  /* whom the daemon was started as */
    uint32_t next_id;
    struct fk_list questions;
    struct fk_admin_server http;
    struct fk_admin_server ctl;
};

#endif
