/*
 * Processes and ports of the demonstration. None outlives it: daemons get SIGTERM when this process
 * dies, our own children SIGKILL, and orphans of a killed daemon become ours to wait for.
 */
#include "cli/demo.h"

#include "base/clock.h"
#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long daemons may take to drain, and killed processes to vanish. */
#define DRAIN_US 5000000
#define KILL_US  5000000

/* What a program says is read in pieces. */
#define OUTPUT_CHUNK 4096

/* The end of a log that is shown when its process dies. */
#define LOG_TAIL 4000

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP};

static void ending_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < sizeof ending_signals / sizeof ending_signals[0]; i++)
        sigaddset(set, ending_signals[i]);
}

int fk_demo_procs_init(struct fk_demo *demo)
{
    sigset_t set;

    for (int i = 0; i < FK_DEMO_PROCS; i++)
        demo->procs[i] = (struct fk_demo_proc){.pidfd = -1, .control = -1};
    ending_set(&set);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return FK_ERR_SYS;
    demo->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return demo->signals < 0 ? FK_ERR_SYS : FK_OK;
}

/* --- starting --- */

static int watch_proc(struct fk_demo_proc *proc, const char *name, pid_t pid)
{
    proc->name = name;
    proc->pid = pid;
    proc->ended = false;
    proc->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return proc->pidfd < 0 ? FK_ERR_SYS : FK_OK;
}

/* In the new process: nothing here may touch what the parent has buffered. */
__attribute__((noreturn)) static void become(pid_t parent, const struct fk_demo_program *program,
                                             int output)
{
    char *const *argv = (char *const *)(uintptr_t)program->argv; /* exec changes nothing in it */
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || (program->netns >= 0 && setns(program->netns, CLONE_NEWNET) != 0))
        _exit(1);
    setpgid(0, 0); /* the terminal's Ctrl-C is for the demonstration, which ends them in order */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
        _exit(127);
    if (strcmp(argv[0], "farkey") == 0)
        execv("/proc/self/exe", argv);
    else
        execvp(argv[0], argv);
    _exit(127);
}

int fk_demo_start_program(struct fk_demo *demo, int which, const struct fk_demo_program *program)
{
    struct fk_demo_proc *proc = &demo->procs[which];
    char name[32];
    pid_t pid, parent = getpid();
    int log, err;

    snprintf(name, sizeof name, "%s.log", program->name);
    if ((err = fk_path_join(demo->dir, name, proc->log)) != FK_OK)
        return err;
    log = open(proc->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return FK_ERR_SYS;
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        become(parent, program, log);
    close(log);
    return pid < 0 ? FK_ERR_SYS : watch_proc(proc, program->name, pid);
}

int fk_demo_start_daemon(struct fk_demo *demo, int which, const char *verb, const char *conf)
{
    const char *const argv[] = {"farkey", verb, "-c", conf, NULL};
    const struct fk_demo_program program = {.name = verb, .argv = argv, .netns = -1};

    return fk_demo_start_program(demo, which, &program);
}

/* One piece of what a program says. FK_ERR_CLOSED: that was all. */
static int read_piece(int fd, struct fk_buf *out)
{
    uint8_t *at;
    ssize_t n;
    int err;

    if ((err = fk_buf_reserve(out, OUTPUT_CHUNK, &at)) != FK_OK)
        return err;
    n = read(fd, at, OUTPUT_CHUNK);
    if (n <= 0)
        return n == 0 ? FK_ERR_CLOSED : FK_ERR_SYS;
    fk_buf_commit(out, (size_t)n);
    return FK_OK;
}

/* All of it, unless a signal asks to end. */
static int read_all(const struct fk_demo *demo, int fd, struct fk_buf *out)
{
    struct pollfd fds[] = {{fd, POLLIN, 0}, {demo->signals, POLLIN, 0}};
    int err = FK_OK;

    while (err == FK_OK)
        if (poll(fds, 2, -1) < 0)
            err = errno == EINTR ? FK_OK : FK_ERR_SYS;
        else if ((fds[1].revents & POLLIN) != 0)
            err = FK_ERR_CANCELLED;
        else
            err = read_piece(fd, out);
    return err == FK_ERR_CLOSED ? FK_OK : err;
}

int fk_demo_run(const struct fk_demo *demo, const struct fk_demo_program *program,
                struct fk_buf *out, int *ret_status)
{
    pid_t pid, parent = getpid();
    int fds[2], err;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return FK_ERR_SYS;
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        become(parent, program, fds[1]);
    fk_close(&fds[1]);
    err = pid < 0 ? FK_ERR_SYS : read_all(demo, fds[0], out);
    fk_close(&fds[0]);
    if (pid > 0 && err != FK_OK)
        kill(pid, SIGKILL);
    if (pid > 0 && waitpid(pid, ret_status, 0) != pid && err == FK_OK)
        err = FK_ERR_SYS;
    return err;
}

static int send_go(int control, const char *data)
{
    struct fk_procmsg msg = {.type = FK_PROC_GO, .len = strlen(data)};

    if (msg.len > sizeof msg.data)
        return FK_ERR_LIMIT;
    memcpy(msg.data, data, msg.len);
    return fk_proc_send(control, &msg);
}

int fk_demo_start_child(struct fk_demo *demo, int which, const char *role, int listener,
                        const char *data)
{
    struct fk_demo_proc *proc = &demo->procs[which];
    pid_t pid;
    int err = fk_proc_spawn(role, 0, &pid, &proc->control);

    if (err == FK_OK && (err = watch_proc(proc, role, pid)) == FK_OK &&
        (err = fk_proc_send_fd(proc->control, FK_PROC_LISTEN, 0, listener)) == FK_OK)
        err = send_go(proc->control, data);
    fk_close(&listener);
    return err;
}

/* --- watching --- */

static void show_log(const struct fk_demo_proc *proc)
{
    uint8_t *text = NULL;
    size_t len = 0, from;

    if (proc->log[0] == '\0' || fk_file_read(proc->log, &text, &len) != FK_OK)
        return;
    from = len > LOG_TAIL ? len - LOG_TAIL : 0;
    fprintf(stderr, "--- its log, %s:\n%s", proc->log, (const char *)text + from);
    free(text);
}

static void say_ended(const struct fk_demo_proc *proc)
{
    if (WIFSIGNALED(proc->status))
        fprintf(stderr, "farkey demo: %s (pid %d) was ended by signal %d\n", proc->name,
                (int)proc->pid, WTERMSIG(proc->status));
    else
        fprintf(stderr, "farkey demo: %s (pid %d) ended with status %d\n", proc->name,
                (int)proc->pid, WEXITSTATUS(proc->status));
    show_log(proc);
}

/* Take the status of a process that is over. */
static bool reap(struct fk_demo_proc *proc)
{
    if (proc->pid == 0 || proc->ended || waitpid(proc->pid, &proc->status, WNOHANG) != proc->pid)
        return false;
    proc->ended = true;
    fk_close(&proc->pidfd);
    return true;
}

static bool take_signal(struct fk_demo *demo)
{
    struct signalfd_siginfo info;

    return read(demo->signals, &info, sizeof info) == (ssize_t)sizeof info;
}

int fk_demo_wait(struct fk_demo *demo, uint64_t us)
{
    struct pollfd fds[1 + FK_DEMO_PROCS];
    int err = FK_OK;

    fds[0] = (struct pollfd){demo->signals, POLLIN, 0};
    for (int i = 0; i < FK_DEMO_PROCS; i++)
        fds[1 + i] = (struct pollfd){demo->procs[i].pidfd, POLLIN, 0}; /* -1 is passed over */
    if (poll(fds, 1 + FK_DEMO_PROCS, us == UINT64_MAX ? -1 : (int)(us / 1000)) <= 0)
        return FK_OK;
    if (take_signal(demo))
        return FK_ERR_CANCELLED;
    for (int i = 0; i < FK_DEMO_PROCS; i++) {
        if (reap(&demo->procs[i])) {
            say_ended(&demo->procs[i]);
            err = FK_ERR_CLOSED;
        }
    }
    return err;
}

/* --- ending --- */

static void tell_all(struct fk_demo *demo, int number)
{
    for (int i = 0; i < FK_DEMO_PROCS; i++) {
        struct fk_demo_proc *proc = &demo->procs[i];

        if (proc->pid == 0 || proc->ended)
            continue;
        kill(proc->pid, number);
        kill(proc->pid, SIGCONT); /* a stopped one would not hear of it */
    }
}

static bool all_ended(struct fk_demo *demo)
{
    bool all = true;

    for (int i = 0; i < FK_DEMO_PROCS; i++) {
        reap(&demo->procs[i]);
        if (demo->procs[i].pid != 0 && !demo->procs[i].ended)
            all = false;
    }
    return all;
}

static void wait_ended(struct fk_demo *demo, uint64_t limit_us)
{
    uint64_t deadline_us = fk_clock_us() + limit_us;
    struct pollfd fds[FK_DEMO_PROCS];

    while (!all_ended(demo) && fk_clock_us() < deadline_us) {
        for (int i = 0; i < FK_DEMO_PROCS; i++)
            fds[i] = (struct pollfd){demo->procs[i].pidfd, POLLIN, 0};
        poll(fds, FK_DEMO_PROCS, 100);
    }
}

/* What a killed daemon leaves dies of its parent's death and was given to us: wait for it. */
static void wait_orphans(void)
{
    uint64_t deadline_us = fk_clock_us() + KILL_US;
    pid_t pid;

    while (fk_clock_us() < deadline_us) {
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0)
            return;
        if (pid == 0)
            poll(NULL, 0, 10); /* no descriptor tells of them */
    }
}

void fk_demo_procs_fini(struct fk_demo *demo)
{
    tell_all(demo, SIGTERM);
    for (int i = 0; i < FK_DEMO_PROCS; i++)
        fk_close(&demo->procs[i].control); /* our own children end with it */
    wait_ended(demo, DRAIN_US);
    tell_all(demo, SIGKILL);
    wait_ended(demo, KILL_US);
    wait_orphans();
    fk_close(&demo->signals);
}

/* --- ports --- */

int fk_demo_port_take(uint16_t number, struct fk_demo_port *ret)
{
    struct fk_demo_port port = {.number = number};
    struct fk_addr addr;
    int on = 1, saved;

    if (fk_addr_parse("127.0.0.1:0", &addr) != FK_OK)
        return FK_ERR_INTERNAL;
    fk_addr_set_port(&addr, number);
    port.hold = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (port.hold < 0)
        return FK_ERR_SYS;
    /* Bound but not listening, it keeps others away; who sets SO_REUSEADDR, too, may listen. */
    if (setsockopt(port.hold, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(port.hold, (const struct sockaddr *)&addr.storage, addr.len) != 0 ||
        fk_sock_local(port.hold, &addr) != FK_OK) {
        saved = errno;
        fk_close(&port.hold);
        errno = saved;
        return FK_ERR_SYS;
    }
    port.number = fk_addr_port(&addr);
    *ret = port;
    return FK_OK;
}

int fk_demo_port_listen(struct fk_demo_port *port, int *ret_fd)
{
    const struct fk_listen_options options = {.backlog = 0};
    char text[FK_ADDR_TEXT_SIZE];
    struct fk_addr addr;
    int err;

    snprintf(text, sizeof text, "127.0.0.1:%u", port->number);
    if ((err = fk_addr_parse(text, &addr)) != FK_OK)
        return err;
    return fk_sock_listen(&addr, &options, ret_fd);
}

void fk_demo_port_drop(struct fk_demo_port *port)
{
    fk_close(&port->hold);
}
