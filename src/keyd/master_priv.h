/* Shared by the files that make up the master; see master.c. */
#ifndef FK_KEYD_MASTER_PRIV_H
#define FK_KEYD_MASTER_PRIV_H

#include "base/limits.h"
#include "base/secret.h"
#include "keyd/load.h"
#include "keyd/quota.h"
#include "keyd/sockets.h"
#include "keyd/watch.h"
#include "loop/loop.h"
#include "loop/metrics.h"
#include "loop/super.h"
#include "signer/ticket_roots.h"
#include "token/token.h"

#include <jansson.h>
#include <stdbool.h>

enum fk_keyd_role {
    FK_KEYD_SIGNER,
    FK_KEYD_FRONT,
    FK_KEYD_AUDIT,
    FK_KEYD_ADMIN,
    FK_KEYD_HANDSHAKER,
    FK_KEYD_TOKEN,
    FK_KEYD_ASKER,
    FK_KEYD_ROLES
};

/* What the master remembers of a child; its data in the supervisor. */
struct fk_keyd_place {
    enum fk_keyd_role role;
    uint32_t generation;           /* signers: whose keys; tokens: with which it came */
    uint16_t token;                /* tokens: number in the store */
    struct fk_token_report report; /* tokens: what the process has told last */
    bool held;                     /* a front that is not told yet, see start_front() */
    bool up;                       /* has been told to go */
    bool ready;                    /* has said that it serves */
    uint32_t asked; /* fronts, handshakers: the generation that they were last asked to prepare */
    uint32_t dials; /* connections to edges that a front was given since then */
    uint64_t dials_since_us;
    uint32_t prepared; /* and the one that they could serve at once */
};

struct fk_keyd_master {
    struct fk_loop *loop;
    struct fk_super *super;
    const char *path; /* of the configuration */
    bool verbose;     /* -v: whatever log_level says */
    struct fk_keyd_load *current, *pending;
    struct fk_keyd_sockets sockets, pending_sockets;
    struct fk_list dials; /* connections to edges that are being made */
    struct fk_watch *watch;
    int audit_fd;
    int quota_fd, metrics_fd, signer_metrics_fd, audit_metrics_fd, token_metrics_fd;
    struct fk_quota *quota;
    struct fk_metrics *metrics, *audit_metrics, *token_metrics;
    struct fk_timer patience;    /* for what a reload waits for */
    struct fk_timer retire;      /* until the first retired key ends */
    struct fk_secret *roots;     /* struct fk_ticket_roots: of signers */
    struct fk_timer roots_timer; /* until they change */
    struct fk_timer watchdog;
    struct fk_timer audit_look;   /* whether the log is still where it was opened */
    struct fk_secret *tickets;    /* struct fk_ticket_keys: of handshakers */
    bool tickets_shared;          /* they come from a secret that others have, too */
    int sessions_fd;              /* their memory of sessions */
    struct fk_timer ticket_timer; /* until the next ticket key */
    struct fk_signal hup, term, interrupt;
    uint32_t last_generation;
    bool preparing;  /* pending signers serve, fronts build the pending set */
    bool settling;   /* in service; fronts say when they serve it */
    bool served;     /* there was a moment at which all served */
    bool again;      /* another reload was asked for meanwhile */
    bool again_full; /* with the configuration */
    bool draining;
    bool told_ready; /* systemd knows */
    uint64_t started_us;
    uint64_t loaded_wall_us;
    uint32_t waiters[FK_KEYD_WAITERS_MAX]; /* commands that wait for the reload's end */
    size_t n_waiters;
    json_t *sharers[FK_KEYPOOL_SERVERS_MAX]; /* how each is that has shares; NULL: not known */
    char last_error[512];                    /* of the last reload, empty: it worked */
    int status;
};

static inline struct fk_keyd_place *fk_keyd_place(const struct fk_child *child)
{
    return fk_child_data(child);
}

/* --- wiring.c: who is told what --- */

extern const struct fk_super_ops fk_keyd_super_ops;
/* One more child, which wiring.c then tells what it needs. */
int fk_keyd_add_child(struct fk_keyd_master *master, const struct fk_keyd_place *place,
                      unsigned index);
/* Seconds that a child may take to end. */
unsigned fk_keyd_drain_seconds(const struct fk_keyd_master *master);
/* Add and retire children so that there are as many as `load` wants. */
int fk_keyd_add_signers(struct fk_keyd_master *master, const struct fk_keyd_load *load);
void fk_keyd_adjust_children(struct fk_keyd_master *master);
/* Have running fronts and handshakers build the pending generation, or forget it. */
void fk_keyd_prepare_fronts(struct fk_keyd_master *master);
void fk_keyd_forget_fronts(struct fk_keyd_master *master, uint32_t generation);
/* Whether each of them that runs has built it, and one has at least. */
bool fk_keyd_fronts_prepared(const struct fk_keyd_master *master);
/* Running fronts and handshakers serve what they have built; the audit process gets the new
 * signers. */
void fk_keyd_switch_fronts(struct fk_keyd_master *master);
void fk_keyd_retire_signers(struct fk_keyd_master *master, uint32_t generation, bool others);
/* Whether every front and handshaker serves what it was told to. */
bool fk_keyd_fronts_serve(const struct fk_keyd_master *master);
/* Whether every child that should serve does. */
bool fk_keyd_all_ready(const struct fk_keyd_master *master);
/* The audit process gets the file anew (rotation). */
void fk_keyd_switch_audit(struct fk_keyd_master *master);

/* --- reload.c: from one generation to the next --- */

/* Begin; `full`: with the configuration, else keys only. */
void fk_keyd_reload(struct fk_keyd_master *master, bool full);
/* The first load; errors are logged. */
int fk_keyd_first_load(struct fk_keyd_master *master);
/* A signer of the pending generation serves, or a front has built it; or never will. */
void fk_keyd_pending_ready(struct fk_keyd_master *master);
void fk_keyd_pending_prepared(struct fk_keyd_master *master);
/* A front serves the present generation. */
void fk_keyd_settled(struct fk_keyd_master *master);
void fk_keyd_pending_failed(struct fk_keyd_master *master, const char *why);
void fk_keyd_on_patience(struct fk_timer *timer);
void fk_keyd_on_retire(struct fk_timer *timer);

/* --- tokens.c --- */

/* A process for each token of `load` that has none. */
int fk_keyd_add_tokens(struct fk_keyd_master *master, const struct fk_keyd_load *load);
/* The process of a token, NULL: there is none. */
struct fk_child *fk_keyd_find_token(const struct fk_keyd_master *master, uint16_t number);
/* The token of a process; NULL: neither the load in service nor the next one has it. */
const struct fk_store_token *fk_keyd_token_of(const struct fk_keyd_master *master,
                                              const struct fk_keyd_place *place);
/* Processes of tokens that the load in service does not have end. */
void fk_keyd_retire_tokens(struct fk_keyd_master *master);
/* What a token's process tells of it. */
void fk_keyd_token_report(struct fk_child *child, const struct fk_procmsg *msg);
/* Before a load: tokens that refuse their PIN get a new process with it. */
void fk_keyd_renew_tokens(struct fk_keyd_master *master);

/* --- roots.c --- */

/* FK_ERR_NOMEM. */
int fk_keyd_roots_start(struct fk_keyd_master *master);
void fk_keyd_roots_stop(struct fk_keyd_master *master);
/* FK_PROC_TICKETS for a signer that starts with `load`. */
int fk_keyd_roots_send(struct fk_keyd_master *master, struct fk_child *child,
                       const struct fk_keyd_load *load);
/* master->current is in service: signers, new and old, are told before any front is. `old` is what
 * was; NULL: nothing. */
void fk_keyd_roots_commit(struct fk_keyd_master *master, const struct fk_keyd_load *old);
/* The next one seals from now on. FK_ERR_CRYPTO. */
int fk_keyd_roots_renew(struct fk_keyd_master *master);

/* --- auditfile.c --- */

/* Open or reopen the log; *ret_changed: it is another file than before. */
int fk_keyd_audit_open(struct fk_keyd_master *master, const struct fk_keyd_conf *conf,
                       bool *ret_changed);
/* FK_PROC_LOG for a new audit process. */
int fk_keyd_audit_send(struct fk_keyd_master *master, struct fk_child *child);
/* Look once a second, from now on, whether others have moved or deleted it: then open it anew. */
void fk_keyd_audit_watch(struct fk_keyd_master *master);
/* Whether lines cannot be written; and whether no operation is carried out for that. */
bool fk_keyd_audit_failing(const struct fk_keyd_master *master);
bool fk_keyd_audit_stops(const struct fk_keyd_master *master);
/* Keep the head that the audit process reports beside the log. */
void fk_keyd_audit_head(struct fk_keyd_master *master, const struct fk_procmsg *msg);

/* --- hs_tickets.c --- */

/* Make the first ticket keys, and new ones from time to time; memory for sessions. FK_ERR_NOMEM,
 * FK_ERR_SYS. */
int fk_keyd_tickets_init(struct fk_keyd_master *master);
void fk_keyd_tickets_fini(struct fk_keyd_master *master);
/* master->current is in service: its ticket secret counts, or the lack of one. */
void fk_keyd_tickets_commit(struct fk_keyd_master *master);
/* A new key from now on. FK_ERR_UNSUPPORTED: they come from the ticket secret; FK_ERR_CRYPTO. */
int fk_keyd_tickets_renew(struct fk_keyd_master *master);
/* For a new handshaker. */
int fk_keyd_tickets_send(struct fk_keyd_master *master, struct fk_child *child);
int fk_keyd_sessions_send(struct fk_keyd_master *master, struct fk_child *child);

/* --- dial.c --- */

/* FK_PROC_DIAL of a front: connect to the edge of a dial block; FK_PROC_DIALLED answers. */
void fk_keyd_dial(struct fk_keyd_master *master, struct fk_child *child,
                  const struct fk_procmsg *msg);
/* Drop what is being made for a front; NULL: for all. */
void fk_keyd_dials_drop(struct fk_keyd_master *master, const struct fk_child *child);

/* --- command.c --- */

void fk_keyd_command(struct fk_keyd_master *master, const struct fk_procmsg *msg);
/* What an asker says of one key server. */
void fk_keyd_sharer_status(struct fk_keyd_master *master, const struct fk_procmsg *msg);
void fk_keyd_sharers_fini(struct fk_keyd_master *master);
/* Answer those that wait for a reload. */
void fk_keyd_answer_waiters(struct fk_keyd_master *master);

/* --- master.c --- */

void fk_keyd_drain(struct fk_keyd_master *master);

#endif
