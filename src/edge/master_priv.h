/* The master's parts to each other: master.c (life, reload, children), master_admin.c (operators'
 * commands). */
#ifndef FK_EDGE_MASTER_PRIV_H
#define FK_EDGE_MASTER_PRIV_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/secret.h"
#include "edge/load.h"
#include "edge/sockets.h"
#include "edge/tickets.h"
#include "loop/loop.h"
#include "loop/metrics.h"
#include "loop/super.h"

/* A worker as the master sees it. */
struct fk_master_worker {
    struct fk_child *child;
    uint32_t ready;       /* the generation that it serves, 0: none yet */
    struct fk_buf status; /* JSON pieces of its answer */
    bool answered;
};

/* A question for the status, asked of all workers. */
struct fk_master_question {
    struct fk_child *asker; /* the admin process; NULL: none is under way */
    uint32_t id;
};

struct fk_master {
    const char *path;
    bool verbose; /* -v: everything is logged, whatever log_level says */
    struct fk_loop *loop;
    struct fk_super *super;
    struct fk_loaded *loaded;
    uint32_t generation;
    uint32_t key_generation;
    struct fk_sockets *sockets;
    struct fk_metrics *metrics;
    int metrics_fd;
    int sessions_fd; /* memory of the session cache; -1: none */
    uint64_t sessions;
    unsigned n_workers, n_signers;
    struct fk_master_worker workers[FK_EDGE_WORKERS_MAX];
    struct fk_child *signers[FK_EDGE_SIGNERS_MAX];
    bool signer_ready[FK_EDGE_SIGNERS_MAX];
    struct fk_child *old_signers[FK_EDGE_SIGNERS_MAX]; /* to retire when their successors serve */
    unsigned n_old_signers;
    struct fk_child *admin;
    struct fk_secret *tickets; /* struct fk_ticket_keys */
    struct fk_timer ticket_timer;
    struct fk_signal hup, term, intr;
    int control_fd, http_fd; /* the admin process's listeners */
    struct fk_master_question questions[FK_EDGE_QUESTIONS_MAX];
    struct fk_timer question_timer;
    uint64_t started_us;
    bool ready; /* all workers have been ready once */
    bool stopping;
    int status;
};

/* Load the configuration anew. On failure the old one stays; logged, and *why tells the reason. */
int fk_master_reload(struct fk_master *master, struct fk_why *why);

/* End in order: workers finish their connections first. */
void fk_master_stop(struct fk_master *master);

/* Whether every worker serves the present generation, and no process hangs. */
bool fk_master_ready(const struct fk_master *master);

/* Messages about status and commands. */
void fk_master_command(struct fk_master *master, struct fk_child *admin,
                       const struct fk_procmsg *msg);
void fk_master_worker_status(struct fk_master *master, struct fk_master_worker *worker,
                             const struct fk_procmsg *msg);
void fk_master_admin_init(struct fk_master *master);
void fk_master_admin_fini(struct fk_master *master);

/* Open the listeners of the admin process that the configuration asks for. FK_ERR_SYS (logged). */
int fk_master_admin_listen(struct fk_master *master);

#endif
