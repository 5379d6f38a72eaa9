/*
 * Supervision: the children of a master, their birth, their restarts and their orderly end.
 *
 * Owns the processes and the control sockets. A child that ends unasked is started again: at once,
 * then after 100 ms, and each time twice as long up to 10 s, from the beginning once it has lived
 * for 10 s. One whose event loop does not answer pings any more (fk_proc_next()) is hung: it is
 * killed, and thereby started again. Never blocks; all callbacks come from the loop.
 */
#ifndef FK_LOOP_SUPER_H
#define FK_LOOP_SUPER_H

#include "loop/loop.h"
#include "loop/proc.h"

#include <stdbool.h>

struct fk_super;
struct fk_child; /* a place for one process; survives its process when that is restarted */

/* None of these but on_stopped may free the supervisor; all else is allowed in them. */
struct fk_super_ops {
    /*
     * A new process has been started: send it its messages with fk_child_send(), FK_PROC_GO last.
     * On an error the process is killed and started again later.
     */
    int (*on_start)(void *ctx, struct fk_child *child);
    /* A message came. Descriptors not taken (set to -1) are closed afterwards. */
    void (*on_message)(void *ctx, struct fk_child *child, struct fk_procmsg *msg);
    /*
     * The process `pid` has ended with `status` of waitpid(2). With `gone` the child ends with this
     * call: it was retired. May be NULL.
     */
    void (*on_exit)(void *ctx, struct fk_child *child, pid_t pid, int status, bool gone);
    /* After fk_super_stop(): no child is left. May free the supervisor. May be NULL. */
    void (*on_stopped)(void *ctx);
};

/* Takes SIGCHLD of this loop. `ops` must outlive it. FK_ERR_NOMEM. */
int fk_super_new(struct fk_loop *loop, const struct fk_super_ops *ops, void *ctx,
                 struct fk_super **ret);

/* Kills what is left (SIGKILL) and waits for it. No callback is made. NULL is fine. */
void fk_super_free(struct fk_super *super);

/*
 * A new child, started by the loop soon after. Roles and indices may repeat: a successor lives
 * beside a predecessor that is being retired. `role` must outlive the child. `data` is the
 * caller's. FK_ERR_NOMEM, FK_ERR_LIMIT (FK_SUPER_CHILDREN_MAX), FK_ERR_DRAINING after
 * fk_super_stop().
 */
int fk_super_add(struct fk_super *super, const char *role, unsigned index, void *data,
                 struct fk_child **ret);

/*
 * End one child for good: FK_PROC_DRAIN with `drain_s` now, SIGKILL two seconds after that
 * time. on_exit with `gone` follows, also when it has no process now. Again: a shorter
 * time only.
 */
void fk_super_retire(struct fk_child *child, unsigned drain_s);

/* Retire all, then on_stopped. */
void fk_super_stop(struct fk_super *super, unsigned drain_s);

/*
 * Send a message to the child's process. When its socket is full the message waits here, its
 * descriptors duplicated; one that lets FK_SUPER_QUEUE_MAX wait is hung and is killed.
 * FK_ERR_CLOSED when it has no process, FK_ERR_LIMIT, FK_ERR_NOMEM, FK_ERR_SYS.
 */
int fk_child_send(struct fk_child *child, const struct fk_procmsg *msg);
int fk_child_send_fd(struct fk_child *child, uint32_t type, uint32_t arg, int fd);

const char *fk_child_role(const struct fk_child *child);
unsigned fk_child_index(const struct fk_child *child);
void *fk_child_data(const struct fk_child *child);
pid_t fk_child_pid(const struct fk_child *child);         /* 0 while it has no process */
unsigned fk_child_restarts(const struct fk_child *child); /* processes started after the first */
bool fk_child_retired(const struct fk_child *child);
/* It has a process that has not answered for FK_SUPER_SUSPECT_PINGS: hung or about to be killed. */
bool fk_child_silent(const struct fk_child *child);

/* Walk the children: the first is after NULL, NULL is after the last. */
struct fk_child *fk_super_next(const struct fk_super *super, const struct fk_child *child);

#endif
