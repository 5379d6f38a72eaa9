/* The master's parts to each other: master.c (life, children), master_reload.c (from one
 * configuration to the next), master_admin.c (operators' commands), master_succession.c (from one
 * master to the next). */
#ifndef FK_EDGE_MASTER_PRIV_H
#define FK_EDGE_MASTER_PRIV_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/secret.h"
#include "edge/load.h"
#include "edge/role.h"
#include "edge/setdown.h"
#include "edge/sockets.h"
#include "tls/tickets.h"
#include "edge/why.h"
#include "edge/wiresockets.h"
#include "loop/loop.h"
#include "loop/metrics.h"
#include "loop/super.h"
#include "loop/watch.h"

#include <limits.h>

/* A worker as the master sees it. */
struct fk_master_worker {
    struct fk_child *child;
    uint32_t ready;       /* the generation that it serves, 0: none yet */
    uint32_t asked;       /* the generation that it was last asked to prepare */
    uint32_t prepared;    /* and the one that it could serve at once */
    struct fk_buf status; /* JSON pieces of its answer */
    bool answered;
    uint32_t done; /* the order that it has carried out last */
};

/* What is to be answered once the workers have told how they are. */
enum fk_master_asked {
    FK_ASKED_STATUS,
    FK_ASKED_VIEW, /* and from here on: enum fk_view */
};

/* A question for the status, asked of all workers, or a command that waits for a reload's end. */
struct fk_master_question {
    struct fk_child *asker; /* the admin process; NULL: none is under way */
    uint32_t id;
    int asked;        /* enum fk_master_asked */
    bool later;       /* it came when the workers were being asked already: they are asked again */
    const char *note; /* for the answer; NULL: none */
};

/* Orders that wait until every worker has carried them out, in their order. */
struct fk_master_orders {
    struct {
        struct fk_master_question from;
        uint32_t number; /* FK_PROC_SYNC's */
    } waiting[FK_EDGE_QUESTIONS_MAX];
    size_t n;
    uint32_t last; /* number given last */
    struct fk_timer timer;
};

/* Questions for the inline box's tables: the first is asked of all workers, the others wait. */
struct fk_master_tables {
    struct {
        struct fk_master_question from;
        uint32_t which; /* 1 << enum fk_wiretable */
    } questions[FK_EDGE_QUESTIONS_MAX];
    size_t n;
    uint32_t round; /* what the first was asked as: late answers have another number */
    bool answered[FK_EDGE_WORKERS_MAX];
    struct json_t *merged; /* of what has been answered */
    struct fk_timer timer;
};

/* The signers of one set of private keys. */
struct fk_master_keys {
    uint32_t generation;
    unsigned count;
    struct fk_child *signers[FK_EDGE_SIGNERS_MAX];
    bool ready[FK_EDGE_SIGNERS_MAX];
};

/* What a worker is told of a generation. */
struct fk_master_set {
    const struct fk_loaded *loaded;
    uint32_t generation, key_generation;
};

/* A successor on its way, and what this master is to its predecessor; master_succession.c. */
struct fk_master_succession {
    char program[PATH_MAX]; /* what this master was started from */
    pid_t pid;              /* of the successor; 0: there is none */
    int link, pidfd;
    struct fk_io io, end; /* on these */
    struct fk_timer timer;
    unsigned step; /* what it is given next */
    struct fk_sockets_place place;
    size_t down; /* how many of the origins that are set down it knows */
    bool late;
    struct fk_master_question from; /* who has asked for it; no asker: nobody waits */
    int predecessor;                /* to be told when this one serves; -1 */
};

/* Where a reload is; master_reload.c. */
enum fk_reload_phase {
    FK_RELOAD_NONE,
    FK_RELOAD_HELD,    /* there is none, and none may begin */
    FK_RELOAD_SIGNERS, /* signers of its keys start */
    FK_RELOAD_PREPARE, /* workers build it, beside what they serve */
    FK_RELOAD_SETTLE,  /* it is in service; workers say when they serve it */
};

struct fk_master {
    const struct fk_edge_role *role;
    const char *path;
    bool verbose; /* -v: everything is logged, whatever log_level says */
    struct fk_loop *loop;
    struct fk_super *super;
    struct fk_loaded *loaded; /* in service: what every new process gets */
    uint32_t generation;      /* of `loaded` */
    struct fk_master_keys keys;
    /* A reload that is under way. */
    enum fk_reload_phase phase;
    struct fk_loaded *pending; /* not in service yet; NULL: none */
    uint32_t last_key_generation;
    uint32_t last_generation; /* the number given last, also to one that was refused */
    bool new_keys;            /* `pending` has keys, or none, of its own: next_keys */
    struct fk_master_keys next_keys;
    struct fk_timer patience;
    bool again;               /* another reload was asked for meanwhile */
    bool again_full;          /* of everything */
    struct fk_why last_error; /* of the last reload; empty: it worked */
    struct fk_why last_notes; /* what of it needs a restart to take effect; empty: nothing */
    struct fk_master_question waiters[FK_EDGE_QUESTIONS_MAX];
    size_t n_waiters;
    struct fk_watch *watch; /* files that are taken in when they change: fk_loaded_watch() */
    struct fk_sockets *sockets;
    struct fk_wiresockets *wire; /* NULL: an edge */
    struct fk_metrics *metrics;
    int metrics_fd;
    int sessions_fd; /* memory of the session cache; -1: none */
    uint64_t sessions;
    unsigned n_workers;
    struct fk_master_worker workers[FK_EDGE_WORKERS_MAX];
    struct fk_child *admin;
    struct fk_secret *tickets; /* struct fk_ticket_keys */
    struct fk_timer ticket_timer;
    struct fk_timer watchdog;
    struct fk_signal hup, term, intr, usr2;
    int control_fd, http_fd; /* the admin process's listeners */
    struct fk_master_question questions[FK_EDGE_QUESTIONS_MAX];
    struct fk_timer question_timer;
    struct fk_master_tables tables;
    struct fk_master_succession succession;
    struct fk_setdown *down; /* what every worker is told of */
    struct fk_master_orders orders;
    uint64_t started_us;
    bool ready; /* all workers have been ready once */
    bool stopping;
    bool succeeded; /* because a successor serves */
    int status;
};

/* --- master.c --- */

/* End in order: workers finish their connections first. */
void fk_master_stop(struct fk_master *master);

/* Whether every worker serves the present generation, and no process hangs. */
bool fk_master_ready(const struct fk_master *master);

bool fk_master_has_process(const struct fk_master_worker *worker);
bool fk_master_keys_ready(const struct fk_master_keys *keys);
/* Private ways between a worker and the signers of these keys. */
int fk_master_connect(struct fk_child *worker, const struct fk_master_keys *keys);
/* A configuration with its sockets; what makes a worker serve it is GO. */
int fk_master_send_set(const struct fk_master *master, struct fk_child *child,
                       const struct fk_master_set *set);
int fk_master_send_go(struct fk_child *child, const char *user);
void fk_master_rotate_tickets(struct fk_master *master);
/* A new ticket key now. FK_ERR_CRYPTO. */
int fk_master_renew_tickets(struct fk_master *master);

/* --- master_reload.c --- */

/*
 * Load the configuration anew. Whatever comes of it is logged and told to those who wait
 * (fk_master_answer_waiters()); the old one stays until every worker has built the new one.
 */
void fk_master_reload(struct fk_master *master);
/* No reload begins until it is released; those that are asked for meanwhile follow. False: one is
 * under way. */
bool fk_master_reload_hold(struct fk_master *master);
void fk_master_reload_release(struct fk_master *master);
/* As many as its limits may need, with a warning when that cannot be. */
void fk_master_want_descriptors(const struct fk_loaded *loaded);
/* Watched files may have changed: the same with them alone, if they have. */
void fk_master_renew(struct fk_master *master);
/* Watch the files of what is in service: fk_loaded_watch(). */
void fk_master_watch(struct fk_master *master);
/* The end comes first: give up what is pending. */
void fk_master_reload_cancel(struct fk_master *master);
/* What children tell, or what becomes of them; each may concern a reload. */
void fk_master_reload_worker_started(struct fk_master *master, struct fk_master_worker *worker);
void fk_master_reload_signers_ready(struct fk_master *master);
void fk_master_reload_prepared(struct fk_master *master, struct fk_master_worker *worker,
                               uint32_t generation);
void fk_master_reload_settled(struct fk_master *master);
/* True when it was about what is pending. */
bool fk_master_reload_refused(struct fk_master *master, const struct fk_child *child,
                              const struct fk_procmsg *msg);
void fk_master_reload_child_ended(struct fk_master *master, const struct fk_child *child,
                                  const struct fk_master_worker *worker);
void fk_master_on_patience(struct fk_timer *timer);
/* Signers of the keys of `loaded`: `ret` is a new set, empty when there are no keys. */
int fk_master_start_signers(struct fk_master *master, const struct fk_loaded *loaded,
                            struct fk_master_keys *ret);
void fk_master_set_log_level(const struct fk_master *master);

/* --- master_succession.c --- */

/* Start a successor; `from`, if anybody, is told what comes of it. */
void fk_master_succeed(struct fk_master *master, const struct fk_master_question *from);
/* This one is to end: a successor that does not serve yet, too. */
void fk_master_succession_cancel(struct fk_master *master);
void fk_master_succession_init(struct fk_master *master);
void fk_master_succession_fini(struct fk_master *master);
/*
 * Take what the predecessor gives, if there is one, before anything is opened. FK_ERR_TIMEOUT,
 * FK_ERR_CLOSED, FK_ERR_VERSION (it gives something else), or what its parts say (logged).
 */
int fk_master_inherit(struct fk_master *master);
/* Every worker serves. */
void fk_master_tell_predecessor(struct fk_master *master);

/* --- master_admin.c --- */

/* Messages about status and commands. */
void fk_master_command(struct fk_master *master, struct fk_child *admin,
                       const struct fk_procmsg *msg);
void fk_master_worker_status(struct fk_master *master, struct fk_master_worker *worker,
                             const struct fk_procmsg *msg);
/* Answer those that wait for a reload. */
void fk_master_answer_waiters(struct fk_master *master);
void fk_master_admin_init(struct fk_master *master);
void fk_master_admin_fini(struct fk_master *master);

/* Operators are another master's from here on; and then nobody is there to be answered. */
void fk_master_admin_retire(struct fk_master *master);
void fk_master_admin_gone(struct fk_master *master);

/* Answer a command; takes `json`. */
void fk_master_answer(struct fk_child *admin, uint32_t id, struct json_t *json);
void fk_master_answer_error(const struct fk_master_question *from, const char *text);
/* Answer when the workers have told how they are. */
void fk_master_ask_workers(struct fk_master *master, const struct fk_master_question *from);

/* --- master_orders.c --- */

/* Commands that workers carry out. */
void fk_master_purge(struct fk_master *master, struct fk_master_question *from, const char *url);
void fk_master_origin_down(struct fk_master *master, struct fk_master_question *from,
                           const char *name);
void fk_master_origin_up(struct fk_master *master, struct fk_master_question *from,
                         const char *name);
void fk_master_rotate(struct fk_master *master, struct fk_master_question *from,
                      const char *nothing);
/* A worker that starts is told what is set down. Errors as fk_child_send(). */
int fk_master_orders_send(struct fk_master *master, struct fk_master_worker *worker);
/* It has carried out all orders up to this number. */
void fk_master_orders_done(struct fk_master *master, struct fk_master_worker *worker,
                           uint32_t number);
/* A configuration went into service: what it does not have is not set down any more. */
void fk_master_orders_commit(struct fk_master *master);
void fk_master_orders_init(struct fk_master *master);
void fk_master_orders_fini(struct fk_master *master);

/* --- master_tables.c --- */

/* A command for tables, if its word is one: false else. */
bool fk_master_tables_ask(struct fk_master *master, const struct fk_master_question *from,
                          const char *word);
void fk_master_tables_answered(struct fk_master *master, unsigned worker,
                               const struct fk_procmsg *msg);
void fk_master_tables_init(struct fk_master *master);
void fk_master_tables_fini(struct fk_master *master);

/* Open the listeners of the admin process that the configuration asks for. FK_ERR_SYS (logged). */
int fk_master_admin_listen(struct fk_master *master);

#endif
