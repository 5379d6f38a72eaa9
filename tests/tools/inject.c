/*
 * Makes another process carry out one system call and prints its result: "inject PID socket" or
 * "inject PID open PATH". For the test that a running, sandboxed process really cannot.
 *
 * The process is stopped inside a system call of its own; its registers are set so that it executes
 * the same `syscall` instruction again with other arguments, and put back afterwards. x86-64 only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#define SCRATCH 512 /* bytes below the stack pointer's red zone that the path is written to */

__attribute__((noreturn)) static void die(const char *what)
{
    fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void stop(pid_t pid)
{
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0 ||
        ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0 || waitpid(pid, NULL, 0) != pid)
        die("attach");
}

static void put_path(pid_t pid, unsigned long address, const char *path)
{
    struct iovec local = {.iov_base = (void *)(size_t)path, .iov_len = strlen(path) + 1};
    struct iovec remote = {.iov_base = (void *)address, .iov_len = local.iov_len};

    if (process_vm_writev(pid, &local, 1, &remote, 1, 0) != (ssize_t)local.iov_len)
        die("write");
}

/* One instruction: the `syscall` that the process was stopped behind. */
static long step(pid_t pid, struct user_regs_struct regs)
{
    int status;

    regs.rip -= 2;
    regs.orig_rax = (unsigned long)-1; /* no restart of the call that was interrupted */
    if (ptrace(PTRACE_SETREGS, pid, NULL, &regs) != 0 ||
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid)
        die("step");
    if (!WIFSTOPPED(status)) {
        printf("ended\n");
        exit(0);
    }
    if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
        die("registers");
    return (long)regs.rax;
}

int main(int argc, char **argv)
{
    struct user_regs_struct saved, regs;
    long result;
    pid_t pid;

    if (argc < 3)
        return 2;
    pid = (pid_t)strtol(argv[1], NULL, 10);
    stop(pid);
    if (ptrace(PTRACE_GETREGS, pid, NULL, &saved) != 0)
        die("registers");
    regs = saved;
    if (strcmp(argv[2], "socket") == 0) {
        regs.rax = SYS_socket;
        regs.rdi = AF_INET;
        regs.rsi = SOCK_STREAM;
        regs.rdx = 0;
    } else if (strcmp(argv[2], "getpid") == 0) {
        regs.rax = SYS_getpid;
    } else if (strcmp(argv[2], "open") == 0 && argc > 3) {
        regs.rax = SYS_openat;
        regs.rdi = (unsigned long)AT_FDCWD;
        regs.rsi = saved.rsp - SCRATCH;
        regs.rdx = O_RDONLY;
        put_path(pid, regs.rsi, argv[3]);
    } else {
        return 2;
    }
    result = step(pid, regs);
    /* Back to where it was: the interrupted call is made anew. */
    saved.rip -= 2;
    saved.rax = saved.orig_rax;
    if (ptrace(PTRACE_SETREGS, pid, NULL, &saved) != 0 ||
        ptrace(PTRACE_DETACH, pid, NULL, NULL) != 0)
        die("detach");
    printf("%s\n", result < 0 ? strerrorname_np((int)-result) : "succeeded");
    return 0;
}
