/*
 * loop/sandbox: in each profile, what is forbidden fails as said and what is needed works. Each row
 * is tried in a process of its own that has entered the sandbox, as root and as nobody.
 */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "loop/loop.h"
#include "loop/proc.h"
#include "loop/sandbox.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <openssl/rand.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef FK_RELAXED_SANDBOX
static const bool relaxed = true;
#else
static const bool relaxed = false;
#endif

#define S   (1U << FK_SANDBOX_SIGNER)
#define A   (1U << FK_SANDBOX_AUDIT)
#define F   (1U << FK_SANDBOX_FRONT)
#define W   (1U << FK_SANDBOX_WORKER)
#define D   (1U << FK_SANDBOX_ADMIN)
#define T   (1U << FK_SANDBOX_TOKEN)
#define V   (1U << FK_SANDBOX_VERDICTS)
#define ALL (S | A | F | W | D | T | V)

/* Made by each process before it enters the sandbox. */
static struct {
    int pair[2];
    int listener;
    int file;
    int memfd;
    int netfilter;
    struct fk_addr addr;
} given;

/* --- what is tried: 0 when it works, errno when it fails --- */

static int result(long value)
{
    return value < 0 ? errno : 0;
}

static int try_socket(void)
{
    return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int try_udp(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 && errno == EAFNOSUPPORT)
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return result(fd);
}

static int try_netlink(void)
{
    return result(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
}

static int try_packet(void)
{
    return result(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_socketpair(void)
{
    int fds[2];

    return result(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
}

static int try_connect(void)
{
    int fd;

    if (fk_sock_connect(&given.addr, NULL, NULL, &fd) == FK_OK)
        return 0;
    /* No socket of its own: with one that it was given. */
    return errno != EACCES ? errno
                           : result(connect(given.pair[0], (struct sockaddr *)&given.addr.storage,
                                            given.addr.len));
}

static int try_bind(void)
{
    struct fk_addr any;

    if (fk_addr_parse("127.0.0.1:0", &any) != FK_OK)
        return EINVAL;
    return result(bind(given.listener, (struct sockaddr *)&any.storage, any.len));
}

static int try_listen(void)
{
    return result(listen(given.listener, 1));
}

static int try_accept(void)
{
    int fd;

    return fk_sock_accept(given.listener, &fd, NULL) == FK_ERR_AGAIN ? 0 : errno;
}

static int try_setsockopt(void)
{
    int one = 1;

    return result(setsockopt(given.listener, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
}

static int try_open_passwd(void)
{
    return result(open("/etc/passwd", O_RDONLY));
}

static int try_open_hosts(void)
{
    return result(open("/etc/hosts", O_RDONLY | O_CLOEXEC));
}

static int try_open_hosts_for_writing(void)
{
    return result(open("/etc/hosts", O_RDWR | O_CLOEXEC));
}

static int try_create(void)
{
    return result(open("/tmp/fk-sandbox-probe", O_WRONLY | O_CREAT, 0600));
}

static int try_tmpfile(void)
{
    return result(open("/tmp", O_RDWR | O_TMPFILE, 0600));
}

static int try_create_reading(void)
{
    return result(open("/tmp/fk-sandbox-probe", O_RDONLY | O_CREAT, 0600));
}

static int try_proc(void)
{
    return result(open("/proc/self/mem", O_RDONLY));
}

/* Architectures without this call have nothing to try. */
#ifndef SYS_open
#define SYS_open SYS_openat2
#endif

static int try_open_by_number(void)
{
    return result(syscall(SYS_open, "/etc/passwd", O_RDONLY));
}

static int try_openat2(void)
{
    uint64_t how[3] = {O_RDONLY, 0, 0};

    return result(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof how));
}

static int try_unlink(void)
{
    return result(unlink("/tmp/fk-sandbox-probe"));
}

static int try_exec(void)
{
    char name[] = "true", *argv[] = {name, NULL};

    return result(execv("/bin/true", argv));
}

static int try_ptrace(void)
{
    return result(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int try_fork(void)
{
    return result(fork());
}

static int try_readv_of_parent(void)
{
    return result(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
}

static int try_mount(void)
{
    return result(syscall(SYS_mount, "x", "/", "x", 0, NULL));
}

static int try_kill_parent(void)
{
    return result(kill(getppid(), 0));
}

static int try_setuid(void)
{
    return result(syscall(SYS_setuid, 0));
}

static int try_unseal_dump(void)
{
    return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_exec_memory(void)
{
    void *mem =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mem == MAP_FAILED ? errno : 0;
}

static int try_make_executable(void)
{
    void *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mem == MAP_FAILED ? 77 : result(mprotect(mem, 4096, PROT_READ | PROT_EXEC));
}

static int try_memory(void)
{
    struct fk_secret *secret;
    void *large = malloc(64 << 20);

    if (large == NULL || fk_secret_new(100, &secret) != FK_OK)
        return 77;
    free(realloc(large, 128 << 20));
    fk_secret_free(secret);
    return mmap(NULL, 4096, PROT_READ, MAP_SHARED, given.memfd, 0) == MAP_FAILED ? errno : 0;
}

/* Unnamed memory to pass on; it can be sealed and not be executed. */
static int try_memfd(void)
{
    int fd = memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return errno;
    if (write(fd, "x", 1) != 1 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0)
        return 77;
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? 0 : 78;
}

static int try_scope(void)
{
    struct fk_addr addr;

    /* glibc's errno says what it tried last, not why. */
    return fk_addr_parse("[fe80::1%lo]:1", &addr) == FK_OK ? 0 : EACCES;
}

static int try_stdio(void)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL || fprintf(out, "%f", 0.5) < 0 || fclose(out) != 0)
        return 77;
    free(text);
    out = fdopen(given.file, "w");
    return out == NULL || fputs("x", out) < 0 || fflush(out) != 0 ? 77 : 0;
}

static int try_crypto(void)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    uint8_t bytes[32];

    if (key == NULL || RAND_bytes(bytes, sizeof bytes) != 1 ||
        getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return 77;
    EVP_PKEY_free(key);
    return 0;
}

static int try_clock(void)
{
    struct timespec ts;

    if (fk_clock_us() == 0 || fk_clock_wall_us() == 0)
        return 77;
    return result(syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &ts));
}

static void on_readable(struct fk_io *io, unsigned events)
{
    (void)events;
    fk_io_want(io, 0);
}

static void on_timer(struct fk_timer *timer)
{
    (void)timer;
}

static void on_signal(struct fk_signal *signal)
{
    fk_signal_stop(signal);
}

/* A loop made and run inside: descriptors, timers, a signal. */
static int try_loop(void)
{
    struct fk_signal signal;
    struct fk_timer timer;
    struct fk_loop *loop;
    struct fk_io io;

    if (fk_loop_new(&loop) != FK_OK)
        return 77;
    fk_io_init(&io, loop, given.pair[0], on_readable);
    fk_io_want(&io, FK_IO_READ);
    fk_timer_init(&timer, loop, on_timer);
    fk_timer_start(&timer, 1000);
    fk_signal_start(&signal, loop, SIGUSR1, on_signal);
    if (write(given.pair[1], "x", 1) != 1)
        return 77;
    raise(SIGUSR1);
    fk_loop_run(loop);
    fk_loop_free(loop);
    return 0;
}

static int try_messages(void)
{
    struct fk_procmsg msg;

    if (fk_proc_send_fd(given.pair[0], FK_PROC_PEER, 1, given.memfd) != FK_OK ||
        fk_proc_recv(given.pair[1], &msg) != FK_OK || msg.n_fds != 1)
        return 77;
    if (pread(msg.fds[0], msg.data, 4, 0) != 4 || lseek(msg.fds[0], 0, SEEK_END) != 4)
        return 77;
    fk_procmsg_close(&msg);
    if (send(given.pair[0], "x", 1, MSG_NOSIGNAL) != 1 ||
        recv(given.pair[1], msg.data, sizeof msg.data, 0) != 1)
        return 77;
    return shutdown(given.pair[0], SHUT_RDWR) == 0 ? 0 : errno;
}

static int try_sync(void)
{
    return result(fdatasync(given.file));
}

static int try_append(void)
{
    return result(write(given.file, "x", 1));
}

/* --- the table --- */

#define KILLED (-1)

struct probe {
    const char *name;
    int (*run)(void);
    unsigned works;  /* profiles in which it works */
    unsigned killed; /* profiles in which it ends the process; in the others it fails by EACCES */
};

static const struct probe probes[] = {
    {"socket", try_socket, W | T, 0},
    {"UDP socket", try_udp, W | T, 0},
    {"netlink socket", try_netlink, 0, 0},
    {"packet socket", try_packet, 0, W | T},
    {"socketpair", try_socketpair, 0, 0},
    {"connect", try_connect, W | T, 0},
    {"listen", try_listen, 0, 0},
    {"accept", try_accept, F | W | D, 0},
    {"setsockopt", try_setsockopt, F | W | D | T, 0},
    {"open /etc/passwd", try_open_passwd, 0, 0},
    {"open /etc/hosts", try_open_hosts, W, 0},
    {"open /etc/hosts for writing", try_open_hosts_for_writing, 0, 0},
    {"create", try_create, 0, 0},
    {"create an unnamed file", try_tmpfile, 0, 0},
    {"create for reading", try_create_reading, 0, 0},
    {"open /proc/self/mem", try_proc, 0, 0},
    {"the open system call", try_open_by_number, 0, 0},
    {"openat2", try_openat2, 0, 0},
    {"unlink", try_unlink, 0, 0},
    {"execve", try_exec, 0, ALL},
    {"ptrace", try_ptrace, 0, ALL},
    {"fork", try_fork, 0, ALL},
    {"process_vm_readv", try_readv_of_parent, 0, ALL},
    {"mount", try_mount, 0, ALL},
    {"setuid", try_setuid, 0, ALL},
    {"kill", try_kill_parent, 0, 0},
    {"become dumpable", try_unseal_dump, 0, 0},
    {"executable memory", try_exec_memory, 0, 0},
    {"make memory executable", try_make_executable, 0, 0},
    {"memory", try_memory, ALL, 0},
    {"unnamed memory", try_memfd, F | W | D, 0},
    {"number of an interface", try_scope, W, T},
    {"stdio", try_stdio, ALL, 0},
    {"cryptography", try_crypto, ALL, 0},
    {"clocks", try_clock, ALL, 0},
    {"loop", try_loop, ALL, 0},
    {"messages with descriptors", try_messages, ALL, 0},
    {"append", try_append, ALL, 0},
    {"sync", try_sync, A | T, 0},
};

static bool have_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

static bool prepare(void)
{
    struct fk_listen_options options = {.backlog = 8};
    struct fk_addr addr;
    FILE *file = tmpfile();

    if (file == NULL)
        return false;
    given.file = dup(fileno(file));
    fclose(file);
    given.memfd = memfd_create("given", MFD_CLOEXEC);
    return given.file >= 0 && write(given.memfd, "data", 4) == 4 &&
           fk_sock_pair(SOCK_SEQPACKET, given.pair) == FK_OK &&
           fk_addr_parse("127.0.0.1:0", &addr) == FK_OK &&
           fk_sock_listen(&addr, &options, &given.listener) == FK_OK &&
           fk_sock_local(given.listener, &given.addr) == FK_OK;
}

/* In a child: 0..199 what the probe said, 200 when the sandbox could not be entered. */
static void run_probe(const struct probe *probe, enum fk_sandbox profile, bool as_nobody)
{
    int number;

    if (!prepare() || (as_nobody && fk_proc_drop(NULL) != FK_OK))
        _exit(201);
    if (fk_sandbox_enter(profile) != FK_OK)
        _exit(200);
    number = probe->run();
    _exit(number < 200 ? number : 199);
}

/* What came out: errno, 0 or KILLED. */
static int outcome(const struct probe *probe, enum fk_sandbox profile, bool as_nobody)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        run_probe(probe, profile, as_nobody);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? KILLED : 1000 + WTERMSIG(status);
    return WEXITSTATUS(status);
}

static int expected(const struct probe *probe, unsigned profile)
{
    if ((probe->works & profile) != 0) {
        if (probe->run != try_open_hosts)
            return 0;
        if (!have_landlock())
            return EACCES;
        /* Not every root has the file: a bare debootstrap makes none. */
        return result(access("/etc/hosts", R_OK));
    }
    if (profile == T && probe->run == try_unlink && have_landlock())
        return ENOENT; /* the call is allowed; Landlock says what may be unlinked */
    return (probe->killed & profile) != 0 ? KILLED : EACCES;
}

static void walk_the_table(bool as_nobody)
{
    unsigned wrong = 0;

    for (unsigned profile = 0; profile < FK_SANDBOX_COUNT; profile++) {
        for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
            int want = expected(&probes[i], 1U << profile);
            int got = outcome(&probes[i], (enum fk_sandbox)profile, as_nobody);

            if (got == want)
                continue;
            print_error("profile %u, %s: %d, expected %d\n", profile, probes[i].name, got, want);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void profiles_hold_as_they_are(void **state)
{
    (void)state;
    walk_the_table(false);
}

static void profiles_hold_for_nobody(void **state)
{
    (void)state;
    if (geteuid() != 0)
        print_message("not root: the same user as before\n");
    walk_the_table(true);
}

/* A WORKER that connects from a source address binds; the others may not. */
static void only_a_worker_binds(void **state)
{
    static const struct probe probe = {"bind", try_bind, 0, 0};

    (void)state;
    for (unsigned profile = 0; profile < FK_SANDBOX_COUNT; profile++)
        assert_int_equal(outcome(&probe, (enum fk_sandbox)profile, false),
                         profile == FK_SANDBOX_WORKER ? EINVAL : EACCES);
}

/* What the kernel says to a question over a socket that it was given, of root's alone. */
static int try_netfilter(void)
{
    struct {
        struct nlmsghdr head;
        struct nfgenmsg queue;
        uint8_t more[128];
    } msg = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof msg.queue),
                      .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT,
                      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
    const struct nlmsgerr *answer = (const void *)&msg.queue;

    if (send(given.netfilter, &msg, msg.head.nlmsg_len, 0) < 0 ||
        recv(given.netfilter, &msg, sizeof msg, 0) < (ssize_t)NLMSG_LENGTH(sizeof *answer) ||
        msg.head.nlmsg_type != NLMSG_ERROR)
        return 77;
    return -answer->error;
}

/* The kernel's queues: who judges may do so, even after having become nobody; all others may not,
 * root's socket or not. */
static void one_capability_for_verdicts(void **state)
{
    static const struct probe probe = {"netfilter", try_netfilter, 0, 0};
    int want;

    (void)state;
    if (geteuid() != 0)
        skip();
    given.netfilter = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (given.netfilter < 0 || try_netfilter() == 77)
        skip(); /* a kernel without */
    want = try_netfilter();
    assert_int_not_equal(want, EPERM);
    for (unsigned profile = 0; profile < FK_SANDBOX_COUNT; profile++)
        for (unsigned as_nobody = 0; as_nobody < 2; as_nobody++) {
            assert_int_equal(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), 0);
            assert_int_equal(outcome(&probe, (enum fk_sandbox)profile, as_nobody == 1),
                             profile == FK_SANDBOX_VERDICTS ? want : EPERM);
        }
    fk_close(&given.netfilter);
}

/* --- a token's process: files by paths, libraries, threads --- */

static char own_path[] = "/tmp/fk-sandbox-XXXXXX";

static int write_there(const char *folder)
{
    char path[64];
    int fd;

    snprintf(path, sizeof path, "%s/file", folder);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return errno;
    return write(fd, "data", 4) == 4 && ftruncate(fd, 2) == 0 && unlink(path) == 0 ? 0 : errno;
}

static int map_file(int prot)
{
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    void *map = mmap(NULL, 1, prot, MAP_PRIVATE, fd, 0);

    return map == MAP_FAILED ? errno : 0;
}

static void *try_in_thread(void *arg)
{
    *(int *)arg = try_create() == EACCES && try_listen() == EACCES ? 0 : 1;
    return NULL;
}

static int try_thread(void)
{
    pthread_t thread;
    int number = 2;

    if (pthread_create(&thread, NULL, try_in_thread, &number) != 0)
        return errno;
    return pthread_join(thread, NULL) == 0 ? number : 3;
}

static int be_token(void)
{
    const char *const paths[] = {own_path, "/nonexistent"};

    if (mkdtemp(own_path) == NULL || !prepare() || fk_sandbox_enter_token(paths, 2) != FK_OK)
        return 70;
    if (write_there(own_path) != 0 || try_open_passwd() != 0)
        return 71;
    if (write_there("/tmp") != EACCES || write_there("/etc") != EACCES ||
        try_open_hosts_for_writing() == 0 || try_proc() != EACCES)
        return 72;
    if (map_file(PROT_READ | PROT_EXEC) != 0 ||
        map_file(PROT_READ | PROT_WRITE | PROT_EXEC) != EACCES || try_exec_memory() != EACCES ||
        try_make_executable() != EACCES)
        return 73;
    return try_thread() == 0 ? 0 : 74;
}

static void token_has_its_paths_and_threads(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    if (!have_landlock())
        skip();
    pid = fork();
    if (pid == 0)
        _exit(be_token());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int check_attributes(void)
{
    struct rlimit core;

    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        return 77;
    return 0;
}

static void no_core_is_left(void **state)
{
    static const struct probe probe = {"attributes", check_attributes, ALL, 0};

    (void)state;
    assert_int_equal(outcome(&probe, FK_SANDBOX_SIGNER, false), 0);
}

/* Still able to start a child, as root or not: the program itself is executed anew. */
static int be_master(void)
{
    static char name[] = "test_sandbox", pattern[] = "no such case";
    char *const argv[] = {name, pattern, NULL};
    int err, status;
    pid_t pid;

    if (fk_sandbox_master() != FK_OK || check_attributes() != 0)
        return 70;
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 71;
    err = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, NULL);
    return err != 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ? 72 : 0;
}

static void master_is_closed_and_starts_children(void **state)
{
    int status;

    (void)state;
    for (int as_nobody = 0; as_nobody < 2; as_nobody++) {
        pid_t pid = fork();

        if (pid == 0)
            _exit(as_nobody && fk_proc_drop(NULL) != FK_OK ? 73 : be_master());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

static int abort_now(void)
{
    abort();
}

static void abort_is_seen_as_such(void **state)
{
    static const struct probe probe = {"abort", abort_now, ALL, 0};

    (void)state;
    assert_int_equal(outcome(&probe, FK_SANDBOX_SIGNER, false), 1000 + SIGABRT);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {cmocka_unit_test(profiles_hold_as_they_are),
                                       cmocka_unit_test(profiles_hold_for_nobody),
                                       cmocka_unit_test(token_has_its_paths_and_threads),
                                       cmocka_unit_test(only_a_worker_binds),
                                       cmocka_unit_test(one_capability_for_verdicts),
                                       cmocka_unit_test(no_core_is_left),
                                       cmocka_unit_test(master_is_closed_and_starts_children),
                                       cmocka_unit_test(abort_is_seen_as_such)};

    if (relaxed) {
        print_message("skipped: this build's sandbox is relaxed for leak checks\n");
        return 77;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, NULL, NULL);
}
