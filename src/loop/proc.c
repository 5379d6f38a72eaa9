/*
 * Birth of children and the control socket: see proc.h.
 *
 * The only place that starts a process. A message's descriptors never outlive a failed receive; a
 * child never outlives its master.
 */
#include "loop/proc.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Who made the control socket; 0 in a process that is nobody's child. */
static pid_t master_pid;

struct header {
    uint32_t type;
    uint32_t arg;
};

/* Room for the descriptors of one message, aligned for struct cmsghdr. */
union ancillary {
    char bytes[CMSG_SPACE(FK_PROC_FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

/* --- messages --- */

static void put_fds(struct msghdr *hdr, union ancillary *room, const struct fk_procmsg *msg)
{
    struct cmsghdr *cmsg;

    if (msg->n_fds == 0)
        return;
    memset(room, 0, sizeof *room);
    hdr->msg_control = room->bytes;
    hdr->msg_controllen = CMSG_SPACE(msg->n_fds * sizeof(int));
    cmsg = CMSG_FIRSTHDR(hdr);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(msg->n_fds * sizeof(int));
    memcpy(CMSG_DATA(cmsg), msg->fds, msg->n_fds * sizeof(int));
}

static int socket_error(void)
{
    switch (errno) {
    case EAGAIN:
    case EINTR:
    case ENOBUFS:
    case ETOOMANYREFS: /* descriptors under way exceed RLIMIT_NOFILE */
        return FK_ERR_AGAIN;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        return FK_ERR_CLOSED;
    default:
        return FK_ERR_SYS;
    }
}

int fk_proc_send(int control, const struct fk_procmsg *msg)
{
    struct header header = {msg->type, msg->arg};
    struct iovec iov[2] = {{&header, sizeof header}, {(void *)(uintptr_t)msg->data, msg->len}};
    struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = 2};
    union ancillary room;

    if (msg->n_fds > FK_PROC_FDS_MAX || msg->len > FK_PROC_DATA_MAX)
        return FK_ERR_INVAL;
    put_fds(&hdr, &room, msg);
    if (sendmsg(control, &hdr, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return socket_error();
    return FK_OK;
}

int fk_proc_send_fd(int control, uint32_t type, uint32_t arg, int fd)
{
    struct fk_procmsg msg;

    msg.type = type;
    msg.arg = arg;
    msg.n_fds = fd >= 0 ? 1 : 0;
    msg.fds[0] = fd;
    msg.len = 0;
    return fk_proc_send(control, &msg);
}

/* Everything that the kernel has installed belongs to the message from here on. */
static void take_fds(struct msghdr *hdr, struct fk_procmsg *msg)
{
    msg->n_fds = 0;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(hdr); cmsg != NULL; cmsg = CMSG_NXTHDR(hdr, cmsg)) {
        size_t count;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count > FK_PROC_FDS_MAX - msg->n_fds)
            count = FK_PROC_FDS_MAX - msg->n_fds; /* the buffer holds no more */
        memcpy(msg->fds + msg->n_fds, CMSG_DATA(cmsg), count * sizeof(int));
        msg->n_fds += count;
    }
}

static int recv_into(int control, struct fk_procmsg *msg)
{
    struct header header = {0, 0};
    struct iovec iov[2] = {{&header, sizeof header}, {msg->data, sizeof msg->data}};
    union ancillary room;
    struct msghdr hdr = {.msg_iov = iov,
                         .msg_iovlen = 2,
                         .msg_control = room.bytes,
                         .msg_controllen = sizeof room.bytes};
    ssize_t n = recvmsg(control, &hdr, MSG_CMSG_CLOEXEC);

    if (n < 0)
        return socket_error();
    take_fds(&hdr, msg);
    if (n == 0 && msg->n_fds == 0)
        return FK_ERR_CLOSED;
    if ((size_t)n < sizeof header || (hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        fk_procmsg_close(msg);
        return FK_ERR_FORMAT;
    }
    msg->type = header.type;
    msg->arg = header.arg;
    msg->len = (size_t)n - sizeof header;
    return FK_OK;
}

int fk_proc_recv(int control, struct fk_procmsg *ret)
{
    struct fk_procmsg msg;
    int err = recv_into(control, &msg);

    if (err == FK_OK)
        *ret = msg;
    fk_wipe(msg.data, sizeof msg.data); /* ticket keys pass here */
    return err;
}

void fk_procmsg_close(struct fk_procmsg *msg)
{
    for (size_t i = 0; i < msg->n_fds; i++)
        fk_close(&msg->fds[i]);
    msg->n_fds = 0;
}

int fk_proc_next(struct fk_procmsg *ret)
{
    int err;

    /* A pong that finds no room is no loss: the master that reads again asks again. */
    while ((err = fk_proc_recv(FK_PROC_CONTROL_FD, ret)) == FK_OK && ret->type == FK_PROC_PING) {
        fk_procmsg_close(ret);
        (void)fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_PONG, ret->arg, -1);
    }
    return err;
}

/* --- birth --- */

/* The child starts with default signals, none blocked, and the control socket as descriptor 3. */
static int spawn_with(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr,
                      const char *path, char *const argv[], pid_t *ret_pid)
{
    sigset_t all, none;
    int number;

    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    number = posix_spawn(ret_pid, path, actions, attr, argv, environ);
    if (number == 0)
        return FK_OK;
    errno = number;
    return FK_ERR_SYS;
}

static int spawn_child(const char *path, int control, char *const argv[], pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int err;

    if (posix_spawn_file_actions_init(&actions) != 0)
        return FK_ERR_SYS;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return FK_ERR_SYS;
    }
    if (posix_spawn_file_actions_adddup2(&actions, control, FK_PROC_CONTROL_FD) != 0)
        err = FK_ERR_SYS;
    else
        err = spawn_with(&actions, &attr, path, argv, ret_pid);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return err;
}

/* With a control socket, of which *ret_control is this process's end. */
static int spawn_linked(const char *path, char *const argv[], pid_t *ret_pid, int *ret_control)
{
    int pair[2], err, saved;

    if ((err = fk_sock_pair(SOCK_SEQPACKET, pair)) != FK_OK)
        return err;
    err = spawn_child(path, pair[1], argv, ret_pid);
    saved = errno;
    fk_close(&pair[1]);
    if (err == FK_OK)
        *ret_control = pair[0];
    else
        fk_close(&pair[0]);
    errno = saved;
    return err;
}

int fk_proc_spawn(const char *role, unsigned index, pid_t *ret_pid, int *ret_control)
{
    char name[] = "farkey", verb[] = "child", role_text[FK_NAME_MAX], index_text[16];
    char *argv[] = {name, verb, role_text, index_text, NULL};

    if (snprintf(role_text, sizeof role_text, "%s", role) >= (int)sizeof role_text)
        return FK_ERR_INVAL;
    snprintf(index_text, sizeof index_text, "%u", index);
    return spawn_linked("/proc/self/exe", argv, ret_pid, ret_control);
}

/* --- a successor --- */

/* In the environment of one: it finds its predecessor at the control socket's place. */
#define SUCCESSOR_MARK "FARKEY_SUCCESSOR"

int fk_proc_spawn_successor(const char *path, char *const argv[], pid_t *ret_pid, int *ret_link)
{
    int err, saved;

    if (setenv(SUCCESSOR_MARK, "1", 1) != 0)
        return FK_ERR_NOMEM;
    err = spawn_linked(path, argv, ret_pid, ret_link);
    saved = errno;
    (void)unsetenv(SUCCESSOR_MARK);
    errno = saved;
    return err;
}

int fk_proc_predecessor(void)
{
    struct ucred creator = {.pid = 0};
    socklen_t len = sizeof creator;

    if (getenv(SUCCESSOR_MARK) == NULL)
        return -1;
    (void)unsetenv(SUCCESSOR_MARK);
    if (getsockopt(FK_PROC_CONTROL_FD, SOL_SOCKET, SO_PEERCRED, &creator, &len) != 0 ||
        creator.pid != getppid() || fcntl(FK_PROC_CONTROL_FD, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return FK_PROC_CONTROL_FD;
}

/* --- the child's first steps --- */

static void close_foreign(void)
{
    if (close_range(FK_PROC_CONTROL_FD + 1, UINT_MAX, 0) == 0)
        return;
    for (long fd = sysconf(_SC_OPEN_MAX) - 1; fd > FK_PROC_CONTROL_FD; fd--)
        close((int)fd);
}

/*
 * Ask to be killed when the master dies. The master may have died before the request: then the
 * parent is already somebody else.
 */
static void die_with_master(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != master_pid)
        _exit(1);
}

void fk_proc_child_init(const char *role, unsigned index)
{
    /* A signal to the whole process group is the master's business: it tells its children. */
    static const int ignored[] = {SIGPIPE, SIGINT, SIGQUIT, SIGHUP, SIGTERM};
    static char name[FK_NAME_MAX];
    struct ucred creator = {.pid = 0};
    socklen_t len = sizeof creator;

    snprintf(name, sizeof name, "%s-%u", role, index);
    fk_log_role(name);
    prctl(PR_SET_NAME, name);
    if (getsockopt(FK_PROC_CONTROL_FD, SOL_SOCKET, SO_PEERCRED, &creator, &len) != 0 ||
        creator.pid <= 0) {
        fk_log(FK_LOG_ERROR, "no control socket: children are started by their master only",
               fk_str("role", role));
        _exit(2);
    }
    master_pid = creator.pid;
    die_with_master();
    close_foreign();
    fcntl(FK_PROC_CONTROL_FD, F_SETFD, FD_CLOEXEC);
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        signal(ignored[i], SIG_IGN);
}

void fk_proc_give_way(void)
{
    const struct sched_param none = {0};

    (void)sched_setscheduler(0, SCHED_BATCH, &none); /* a matter of speed only */
}

/* --- privileges --- */

static int look_up(const char *user, uid_t *ret_uid, gid_t *ret_gid)
{
    struct passwd *entry;

    errno = 0;
    entry = getpwnam(user == NULL || user[0] == '\0' ? "nobody" : user);
    if (entry == NULL)
        return errno == 0 || errno == ENOENT ? FK_ERR_NOT_FOUND : FK_ERR_SYS;
    *ret_uid = entry->pw_uid;
    *ret_gid = entry->pw_gid;
    return FK_OK;
}

const char *fk_proc_default_user(const char *account)
{
    uid_t uid;
    gid_t gid;

    return look_up(account, &uid, &gid) == FK_OK ? account : "nobody";
}

bool fk_proc_same_user(const char *a, const char *b)
{
    uid_t uid_a, uid_b;
    gid_t gid;

    return look_up(a, &uid_a, &gid) == FK_OK && look_up(b, &uid_b, &gid) == FK_OK && uid_a == uid_b;
}

bool fk_proc_lacks_user(const char *user)
{
    uid_t uid;
    gid_t gid;

    return look_up(user, &uid, &gid) == FK_ERR_NOT_FOUND;
}

void fk_proc_want_descriptors(uint64_t need)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fk_log(FK_LOG_WARN, "cannot raise the limit of open files", fk_errno(errno));
    else if (need > limit.rlim_max)
        fk_log(FK_LOG_WARN,
               "limits allow more connections than a process may open files for; raise its hard "
               "limit (LimitNOFILE, ulimit -Hn) or lower them",
               fk_uint("needed", need), fk_uint("limit", limit.rlim_max));
}

/* True when nothing of the old identity is left and there is no way back. */
static bool dropped_for_good(uid_t uid, gid_t gid)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;

    if (getresuid(&ruid, &euid, &suid) != 0 || getresgid(&rgid, &egid, &sgid) != 0)
        return false;
    if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid || sgid != gid)
        return false;
    return getgroups(0, NULL) == 0 && (uid == 0 || setuid(0) != 0);
}

int fk_proc_drop(const char *user)
{
    uid_t uid;
    gid_t gid;
    int err;

    if (geteuid() != 0)
        return FK_OK;
    err = look_up(user, &uid, &gid);
    if (err != FK_OK)
        return err;
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0 ||
        !dropped_for_good(uid, gid))
        return FK_ERR_SYS;
    /* A change of identity clears the request to die with the master (prctl(2)). */
    if (master_pid != 0)
        die_with_master();
    return FK_OK;
}
