/* Work in a process of its own: see errand.h. */
#include "loop/errand.h"

#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int fk_errand_say(int sock, const struct fk_procmsg *msg)
{
    struct pollfd ready = {.fd = sock, .events = POLLOUT};
    int err;

    while ((err = fk_proc_send(sock, msg)) == FK_ERR_AGAIN)
        if (poll(&ready, 1, -1) < 0 && errno != EINTR)
            return FK_ERR_SYS;
    return err;
}

static int listen_to(int sock, fk_errand_hear *hear, void *arg)
{
    struct pollfd ready = {.fd = sock, .events = POLLIN};
    struct fk_procmsg msg;
    int err;

    for (;;) {
        err = fk_proc_recv(sock, &msg);
        if (err == FK_ERR_AGAIN) {
            (void)poll(&ready, 1, -1);
            continue;
        }
        if (err != FK_OK)
            return err == FK_ERR_CLOSED ? FK_OK : err;
        hear(arg, &msg);
        fk_procmsg_close(&msg);
    }
}

/* The process's exit status is the error's number. */
static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return FK_ERR_SYS;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : FK_ERR_SYS;
}

int fk_errand_run(fk_errand_work *work, fk_errand_hear *hear, void *arg)
{
    int fds[2], err, ended;
    pid_t pid;

    if (fk_sock_pair(SOCK_SEQPACKET, fds) != FK_OK)
        return FK_ERR_SYS;
    if ((pid = fork()) < 0) {
        fk_close(&fds[0]);
        fk_close(&fds[1]);
        return FK_ERR_SYS;
    }
    if (pid == 0) {
        (void)prctl(PR_SET_DUMPABLE, 0);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        fk_close(&fds[0]);
        _exit(-work(arg, fds[1]));
    }
    fk_close(&fds[1]);
    err = listen_to(fds[0], hear, arg);
    fk_close(&fds[0]);
    ended = wait_for(pid);
    return err != FK_OK ? err : ended;
}
