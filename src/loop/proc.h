/*
 * Processes: how a master gives birth to its children, and how they talk.
 *
 * A child is this same program executed anew ("farkey child ROLE INDEX") with one descriptor, the
 * control socket (SOCK_SEQPACKET, descriptor 3). Executing anew means that it shares no memory with
 * its master: what it knows is what it was sent. All else (configuration, listeners, sockets to
 * other children) arrives as messages with descriptors.
 */
#ifndef FK_LOOP_PROC_H
#define FK_LOOP_PROC_H

#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FK_PROC_CONTROL_FD 3
#define FK_PROC_FDS_MAX    4
#define FK_PROC_DATA_MAX   1024

/* What a message is about. `arg` and `fds` as said; a message not listed for a role is an error. */
enum fk_proc_type {
    FK_PROC_CONFIG = 1, /* m->c: fds[0] sealed bundle (conf/bundle.h); arg: generation */
    FK_PROC_KEYS,       /* m->signer: fds[0] sealed key bundle; arg: generation */
    FK_PROC_LISTEN,     /* m->c: fds[0] a listening socket; arg: index of its configuration block,
                           to admin enum fk_admin_listener */
    FK_PROC_PEER,    /* m->c: fds[0] socketpair end to another child; arg: enum fk_proc_peer << 16 |
                        index */
    FK_PROC_METRICS, /* m->c: fds[0] shared metrics memory; arg: this process's slot; data: to admin
                        only: whose metrics, see admin/admin.h */
    FK_PROC_LOG,     /* m->c: fds[0] a file to append to (audit, access log) */
    FK_PROC_TICKETS, /* m->c: data: ticket keys, see tls/tickets.h, or to signers what they come
                        from, see signer/ticket_roots.h; wiped after use */
    FK_PROC_GO,      /* m->c: start-up is complete: drop privileges, enter the sandbox, serve;
                        data: the user to become, empty for nobody */
    FK_PROC_DRAIN,   /* m->c: finish what is under way, then exit 0; arg: seconds at most */
    FK_PROC_READY,   /* c->m: serving with generation arg */
    FK_PROC_FAILED,  /* c->m: generation arg refused; data: reason in text */
    FK_PROC_COMMAND, /* admin->m: data: a command of an operator ("status", "reload", "drain",
                        ...); arg: its number. See admin/command.h */
    FK_PROC_ANSWER,  /* m->admin or c->m: JSON answer, in data or (larger) in fds[0], a memfd; arg:
                        the command's or question's number */
    FK_PROC_STATUS, /* m->c: a question, arg: which; c->m or m->admin: data: JSON status fragment */
    FK_PROC_SESSIONS, /* m->c: fds[0] memory of the shared session cache, see tls/sescache.h */
    FK_PROC_PING,     /* m->c: is its event loop alive? arg: a number; see fk_proc_next() */
    FK_PROC_PONG,     /* c->m: it is; arg: the ping's number */
    FK_PROC_PREPARE, /* m->c: CONFIG and what belongs to it are complete, GO comes when all children
                        have answered PREPARED (or FAILED); arg: generation */
    FK_PROC_PREPARED, /* c->m: generation arg would be served with GO */
    FK_PROC_FORGET,   /* m->c: there will be no GO for what was prepared */
    FK_PROC_DIALLED,  /* m->worker: fds[0] the socket on which a key server dials in; arg: index of
                         its block. m->front: fds[0] a connection to an edge, none: there is none;
                         arg: index of the dial block; data: as in DIAL */
    FK_PROC_ACCESS,   /* m->admin: data: the token that HTTP requests must bring, empty for none;
                         wiped   after use */
    FK_PROC_DIAL,     /* front->m: one connection for the dial block arg; data: generation, u32 */
    FK_PROC_FACTS,    /* m->admin: lines for the metrics that hold until others come, in data or
                         (longer) in fds[0], a memfd */
    FK_PROC_PURGE,    /* m->worker: forget what is stored for the URL in data; none: everything */
    FK_PROC_ORIGIN,   /* m->worker: data: "SITE/ORIGIN"; arg: enum fk_setdown_change */
    FK_PROC_SYNC,     /* m->worker: answer with the same arg, after what came before */
};

/* Who is at the other end of an FK_PROC_PEER descriptor: decides what may be asked over it. */
enum fk_proc_peer {
    FK_PEER_SIGNER = 1,
    FK_PEER_FRONT,
    FK_PEER_AUDIT,
    FK_PEER_WORKER,
    FK_PEER_HANDSHAKER,
    FK_PEER_TOKEN,
    FK_PEER_ASKER,
};

struct fk_procmsg {
    uint32_t type;
    uint32_t arg;
    size_t n_fds;
    int fds[FK_PROC_FDS_MAX];
    size_t len;
    uint8_t data[FK_PROC_DATA_MAX];
};

/*
 * Send a message; its descriptors stay the caller's. FK_ERR_AGAIN (queue full), FK_ERR_CLOSED,
 * FK_ERR_SYS.
 */
int fk_proc_send(int control, const struct fk_procmsg *msg);

/* Short forms. `fd` may be -1. */
int fk_proc_send_fd(int control, uint32_t type, uint32_t arg, int fd);

/*
 * Receive one message; the descriptors are the caller's (close-on-exec). FK_ERR_AGAIN when none
 * waits (non-blocking socket), FK_ERR_CLOSED, FK_ERR_FORMAT, FK_ERR_SYS.
 */
int fk_proc_recv(int control, struct fk_procmsg *ret);
void fk_procmsg_close(struct fk_procmsg *msg); /* close descriptors not taken (set to -1) */

/*
 * A child's next message of its master, for its event loop only: pings, which ask whether that loop
 * runs, are answered here and not returned. Fails as fk_proc_recv().
 */
int fk_proc_next(struct fk_procmsg *ret);

/*
 * Start a child: this program anew, with no signal blocked or ignored and descriptors 0 to 2 as
 * they are here. *ret_control is the master's end, the caller's; both ends are non-blocking.
 * FK_ERR_SYS.
 */
int fk_proc_spawn(const char *role, unsigned index, pid_t *ret_pid, int *ret_control);

/*
 * Start the program at `path`, which may be another version of this one, as a master that is to
 * take this one's place: with arguments `argv`, the environment and descriptors 0 to 2 as they are
 * here. Both ends of the link (SOCK_SEQPACKET) are non-blocking, *ret_link is the caller's. Its
 * life is its own: it outlives this process. FK_ERR_SYS, FK_ERR_NOMEM.
 */
int fk_proc_spawn_successor(const char *path, char *const argv[], pid_t *ret_pid, int *ret_link);

/* In a master, once: the link to the one that it succeeds, the caller's; -1: it succeeds none. */
int fk_proc_predecessor(void);

/*
 * First thing a child does (it ends when it has no control socket): dies with its parent, closes
 * foreign descriptors, ignores SIGPIPE and the signals that a
 * terminal or a service manager sends to a whole group, names itself in the log.
 */
void fk_proc_child_init(const char *role, unsigned index);

/*
 * Being woken, do not take the core from who runs on it. For processes that feed each other: one of
 * them that gives way collects work while the other runs, and both handle several pieces at a time
 * (sched(7), SCHED_BATCH).
 */
void fk_proc_give_way(void);

/*
 * Let this process, and the children that it will have, open as many descriptors as their hard
 * limit allows; logs a warning when one of them may `need` more.
 */
void fk_proc_want_descriptors(uint64_t need);

/* Give up root for good: groups, gid, uid, verified. No effect when not root. `user` may be NULL or
 * empty: "nobody". FK_ERR_NOT_FOUND, FK_ERR_SYS. */
int fk_proc_drop(const char *user);

/* The accounts that packaging makes: of processes that peers reach, and of those with keys. */
#define FK_PROC_USER        "farkey"
#define FK_PROC_SIGNER_USER "farkey-signer"
#define FK_PROC_TOKEN_USER  "farkey-token"

/*
 * Whom to become by default: `account` when this host has it, else "nobody". Asks the host's files,
 * so it is for a master, or before the sandbox.
 */
const char *fk_proc_default_user(const char *account);

/* Whether two users, as for fk_proc_drop(), are one uid; false when one is unknown. */
bool fk_proc_same_user(const char *a, const char *b);

/* Whether this host has no such user; false also when that cannot be found out now. */
bool fk_proc_lacks_user(const char *user);

#endif
