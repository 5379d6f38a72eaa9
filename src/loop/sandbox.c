/*
 * The one function that takes rights away: see sandbox.h.
 *
 * Two tables say all: what each profile may do, and what fails with an error. Everything else ends
 * the process. A new row needs a reason. The file sandbox_relaxed.c takes the place of this one in
 * builds for leak checks, which release builds refuse.
 */
#include "loop/sandbox.h"

#include "base/err.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define ONE(profile) (1U << (profile))
#define SIGNER       ONE(FK_SANDBOX_SIGNER)
#define AUDIT        ONE(FK_SANDBOX_AUDIT)
#define FRONT        ONE(FK_SANDBOX_FRONT)
#define WORKER       ONE(FK_SANDBOX_WORKER)
#define ADMIN        ONE(FK_SANDBOX_ADMIN)
#define TOKEN        ONE(FK_SANDBOX_TOKEN)
#define VERDICTS     ONE(FK_SANDBOX_VERDICTS)
#define ALL          (SIGNER | AUDIT | FRONT | WORKER | ADMIN | TOKEN | VERDICTS)
#define NETWORK      (FRONT | WORKER | ADMIN)

/* A call, for some profiles, whatever its arguments (mask 0) or when (arg & mask) == value. */
struct rule {
    int call;
    unsigned profiles;
    unsigned arg;
    uint64_t mask;
    uint64_t value;
};

#define ANY(name, profiles)                 \
    {                                       \
        SCMP_SYS(name), (profiles), 0, 0, 0 \
    }
#define WHEN(name, profiles, arg, mask, value)             \
    {                                                      \
        SCMP_SYS(name), (profiles), (arg), (mask), (value) \
    }
#define EXACT   UINT64_MAX
#define EXACT32 UINT32_MAX /* the kernel reads an int */

static const struct rule allowed[] = {
    /* Bytes through descriptors that the process has. */
    ANY(read, ALL),
    ANY(readv, ALL),
    ANY(pread64, ALL),
    ANY(write, ALL),
    ANY(writev, ALL),
    ANY(close, ALL),
    ANY(close_range, ALL),
    ANY(lseek, ALL),
    ANY(fstat, ALL),
    WHEN(newfstatat, ALL, 3, AT_EMPTY_PATH, AT_EMPTY_PATH), /* glibc's fstat(3) */
    ANY(dup, ALL),
    ANY(dup2, ALL),
    ANY(dup3, ALL),
    WHEN(fcntl, ALL, 1, EXACT32, F_GETFD),
    WHEN(fcntl, ALL, 1, EXACT32, F_SETFD),
    WHEN(fcntl, ALL, 1, EXACT32, F_GETFL),
    WHEN(fcntl, ALL, 1, EXACT32, F_SETFL),
    WHEN(fcntl, ALL, 1, EXACT32, F_DUPFD),
    WHEN(fcntl, ALL, 1, EXACT32, F_DUPFD_CLOEXEC),
    WHEN(fcntl, ALL, 1, EXACT32, F_GET_SEALS),
    WHEN(fcntl, ALL, 1, EXACT32, F_ADD_SEALS),
    ANY(memfd_create, NETWORK), /* answers longer than a message: memory without a name */
    WHEN(ioctl, ALL, 1, EXACT32, FIONREAD),
    ANY(pwrite64, AUDIT),
    ANY(fsync, AUDIT),
    ANY(fdatasync, AUDIT),
    ANY(ftruncate, AUDIT), /* a half-written last line */

    /* Sockets that it was given. */
    ANY(sendmsg, ALL),
    ANY(recvmsg, ALL),
    ANY(recvfrom, ALL),
    WHEN(sendto, ALL, 4, EXACT, 0), /* send(2): no address */
    ANY(sendmmsg, ALL),
    ANY(recvmmsg, ALL),
    ANY(shutdown, ALL),
    ANY(getsockopt, ALL),
    ANY(getsockname, ALL),
    ANY(getpeername, ALL),
    ANY(setsockopt, NETWORK),
    ANY(accept, NETWORK),
    ANY(accept4, NETWORK),

    /* Origins, key servers and DNS. */
    WHEN(socket, WORKER, 0, EXACT32, AF_INET),
    WHEN(socket, WORKER, 0, EXACT32, AF_INET6),
    WHEN(socket, WORKER, 0, EXACT32, AF_UNIX),
    ANY(connect, WORKER),
    ANY(bind, WORKER),                             /* source addresses */
    WHEN(ioctl, WORKER, 1, EXACT32, SIOCGIFINDEX), /* "fe80::1%eth0" in a new configuration */
    ANY(sendto, WORKER),

    /* A token's driver: its host, its daemon's socket, its files, its threads and libraries. */
    WHEN(socket, TOKEN, 0, EXACT32, AF_INET),
    WHEN(socket, TOKEN, 0, EXACT32, AF_INET6),
    WHEN(socket, TOKEN, 0, EXACT32, AF_UNIX),
    ANY(connect, TOKEN),
    ANY(sendto, TOKEN),
    ANY(setsockopt, TOKEN),
    ANY(open, TOKEN), /* Landlock says which */
    ANY(openat, TOKEN),
    ANY(stat, TOKEN),
    ANY(lstat, TOKEN),
    ANY(newfstatat, TOKEN),
    ANY(statx, TOKEN),
    ANY(access, TOKEN),
    ANY(faccessat, TOKEN),
    ANY(faccessat2, TOKEN),
    ANY(readlink, TOKEN),
    ANY(readlinkat, TOKEN),
    ANY(getcwd, TOKEN),
    ANY(getdents64, TOKEN),
    ANY(unlink, TOKEN),
    ANY(unlinkat, TOKEN),
    ANY(rename, TOKEN),
    ANY(renameat, TOKEN),
    ANY(mkdir, TOKEN),
    ANY(mkdirat, TOKEN),
    ANY(umask, TOKEN),
    ANY(ftruncate, TOKEN),
    ANY(fsync, TOKEN),
    ANY(fdatasync, TOKEN),
    ANY(pwrite64, TOKEN),
    ANY(flock, TOKEN),
    WHEN(fcntl, TOKEN, 1, EXACT32, F_GETLK),
    WHEN(fcntl, TOKEN, 1, EXACT32, F_SETLK),
    WHEN(fcntl, TOKEN, 1, EXACT32, F_SETLKW),
    WHEN(fcntl, TOKEN, 1, EXACT32, F_OFD_SETLK),
    WHEN(fcntl, TOKEN, 1, EXACT32, F_OFD_SETLKW),
    WHEN(clone, TOKEN, 0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM),
    ANY(set_robust_list, TOKEN),
    WHEN(mmap, TOKEN, 2, PROT_EXEC | PROT_WRITE, PROT_EXEC),

    /* The loop. */
    ANY(epoll_create1, ALL), /* libev makes a new one when the old one is confused */
    ANY(epoll_ctl, ALL),
    ANY(epoll_wait, ALL),
    ANY(epoll_pwait, ALL),
    ANY(epoll_pwait2, ALL),
    ANY(poll, ALL),
    ANY(ppoll, ALL),
    ANY(select, ALL),
    ANY(pselect6, ALL),
    ANY(eventfd2, ALL),
    ANY(timerfd_create, ALL),
    ANY(timerfd_settime, ALL),

    /* Memory; never executable. */
    ANY(brk, ALL),
    WHEN(mmap, ALL, 2, PROT_EXEC, 0),
    WHEN(mprotect, ALL, 2, PROT_EXEC, 0),
    ANY(munmap, ALL),
    ANY(mremap, ALL),
    ANY(madvise, ALL),
    ANY(mlock, ALL),
    ANY(mlock2, ALL),
    ANY(munlock, ALL),
    ANY(futex, ALL),
    ANY(membarrier, ALL),
    ANY(rseq, ALL),

    /* Time, chance, signals, itself. */
    ANY(clock_gettime, ALL),
    ANY(clock_getres, ALL),
    ANY(gettimeofday, ALL),
    ANY(time, ALL),
    ANY(nanosleep, ALL),
    ANY(clock_nanosleep, ALL),
    ANY(getrandom, ALL),
    ANY(rt_sigaction, ALL),
    ANY(rt_sigprocmask, ALL),
    ANY(rt_sigreturn, ALL),
    ANY(sigaltstack, ALL),
    ANY(restart_syscall, ALL),
    ANY(getpid, ALL),
    ANY(gettid, ALL),
    ANY(getppid, ALL),
    ANY(getuid, ALL),
    ANY(geteuid, ALL),
    ANY(getgid, ALL),
    ANY(getegid, ALL),
    ANY(getrusage, ALL),
    ANY(times, ALL),
    ANY(sysinfo, ALL), /* glibc's qsort asks how much memory there is */
    ANY(uname, ALL),
    ANY(getcpu, ALL),
    ANY(sched_yield, ALL),
    ANY(sched_getaffinity, ALL), /* malloc asks how many processors there are */
    WHEN(prlimit64, ALL, 2, EXACT, 0),
    ANY(exit, ALL),
    ANY(exit_group, ALL),
};

/*
 * What libraries try and can do without: it fails with EACCES. What `allowed` gives to a profile is
 * not taken back here: a row without condition is for the profiles that have no row there.
 */
static const struct rule refused[] = {
    ANY(open, ALL),
    ANY(openat, ALL),
    ANY(openat2, ALL),
    ANY(creat, ALL),
    ANY(memfd_create, ALL),
    ANY(stat, ALL),
    ANY(lstat, ALL),
    WHEN(newfstatat, ALL, 3, AT_EMPTY_PATH, 0),
    ANY(statx, ALL),
    ANY(access, ALL),
    ANY(faccessat, ALL),
    ANY(faccessat2, ALL),
    ANY(readlink, ALL),
    ANY(readlinkat, ALL),
    ANY(getcwd, ALL),
    ANY(getdents64, ALL),
    ANY(unlink, ALL),
    ANY(unlinkat, ALL),
    ANY(rename, ALL),
    ANY(renameat, ALL),
    ANY(renameat2, ALL),
    ANY(mkdir, ALL),
    ANY(mkdirat, ALL),
    ANY(fchmod, ALL),
    ANY(fchown, ALL),
    ANY(socket, ALL),
    ANY(socketpair, ALL),
    ANY(connect, ALL),
    ANY(bind, ALL),
    ANY(listen, ALL),
    ANY(accept, ALL),
    ANY(accept4, ALL),
    ANY(setsockopt, ALL),
    ANY(fsync, ALL),
    ANY(fdatasync, ALL),
    ANY(ftruncate, ALL),
    ANY(pwrite64, ALL),
    ANY(prctl, ALL),
    ANY(kill, ALL),
    ANY(setpriority, ALL),
    ANY(pipe2, ALL),
    WHEN(ioctl, ALL, 1, EXACT32, TCGETS), /* stdio asks whether it writes to a terminal */
    WHEN(socket, WORKER | TOKEN, 0, EXACT32, AF_NETLINK),
    WHEN(mmap, ALL & ~TOKEN, 2, PROT_EXEC, PROT_EXEC),
    WHEN(mmap, TOKEN, 2, PROT_EXEC | PROT_WRITE, PROT_EXEC | PROT_WRITE),
    WHEN(mprotect, ALL, 2, PROT_EXEC, PROT_EXEC),
};

/* With Landlock a WORKER may open for reading: the files below. Creating needs a right of Landlock
 * that nobody has. */
static const struct rule open_allowed = WHEN(openat, WORKER, 2, O_ACCMODE, O_RDONLY);
static const struct rule open_refused[] = {
    WHEN(openat, WORKER, 2, O_ACCMODE, O_WRONLY),
    WHEN(openat, WORKER, 2, O_ACCMODE, O_RDWR),
    WHEN(openat, WORKER, 2, O_ACCMODE, O_ACCMODE),
};

/* What a WORKER may read, for DNS; Landlock alone can tell these from other files. */
static const char *const worker_files[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
                                           "/etc/host.conf", "/dev/urandom"};

/* What a TOKEN's libraries read, wherever the token is: themselves, their configuration, names of
 * hosts and users. */
static const char *const token_files[] = {
    "/usr",         "/lib",        "/lib64",    "/etc",          "/opt",
    "/dev/urandom", "/dev/random", "/dev/null", "/proc/cpuinfo", "/sys/devices/system/cpu"};

/* --- Landlock --- */

/* The rights that version `abi` of Landlock knows: 13 at first, one more with 2, 3 and 5. */
static uint64_t known_rights(long abi)
{
    unsigned bits = 13;

    if (abi >= 2)
        bits = 14; /* REFER */
    if (abi >= 3)
        bits = 15; /* TRUNCATE */
    if (abi >= 5)
        bits = 16; /* IOCTL_DEV */
    return (1ULL << bits) - 1;
}

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE /* of headers older than its version 3 */
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* In a folder of its own: all but executing and making devices. */
#define OWNING                                                                                    \
    (READING | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                    \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
     LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE)
/* The rights that a file can have. */
#define OF_FILES \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

/* What may be opened: by a table, and by `own` as it likes. */
struct files {
    const char *const *read;
    size_t n_read;
    const char *const *own;
    size_t n_own;
    uint64_t known; /* rights that the kernel knows */
};

/* A file that does not exist needs no right. */
static bool permit(int ruleset, const char *path, uint64_t rights)
{
    struct landlock_path_beneath_attr attr = {.allowed_access = rights};
    struct stat st;
    bool done;

    attr.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (attr.parent_fd < 0)
        return true;
    if (fstat(attr.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        attr.allowed_access &= OF_FILES;
    done = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) == 0;
    close(attr.parent_fd);
    return done;
}

static bool enforce(int ruleset, const struct files *files)
{
    for (size_t i = 0; i < files->n_read; i++)
        if (!permit(ruleset, files->read[i], READING & files->known))
            return false;
    for (size_t i = 0; i < files->n_own; i++)
        if (!permit(ruleset, files->own[i], OWNING & files->known))
            return false;
    return syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

/* *ret_enforced is false when this kernel has no Landlock. */
static int enter_landlock(struct files *files, bool *ret_enforced)
{
    struct landlock_ruleset_attr attr;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    int ruleset, err;

    if (abi < 1) {
        *ret_enforced = false;
        return FK_OK;
    }
    files->known = known_rights(abi);
    attr = (struct landlock_ruleset_attr){.handled_access_fs = files->known};
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return FK_ERR_SYS;
    err = enforce(ruleset, files) ? FK_OK : FK_ERR_SYS;
    close(ruleset);
    if (err == FK_OK)
        *ret_enforced = true;
    return err;
}

/* --- seccomp --- */

static bool add_rule(scmp_filter_ctx filter, uint32_t action, const struct rule *rule)
{
    struct scmp_arg_cmp cmp = SCMP_CMP(rule->arg, SCMP_CMP_MASKED_EQ, rule->mask, rule->value);
    unsigned n_cmp = rule->mask != 0 ? 1 : 0;

    return seccomp_rule_add_array(filter, action, rule->call, n_cmp, &cmp) == 0;
}

/* How far `allowed` lets `profile` make `call`. */
enum extent { NEVER, SOMETIMES, ALWAYS };

static enum extent extent_of(int call, unsigned profile)
{
    enum extent extent = NEVER;

    for (size_t i = 0; i < COUNT(allowed); i++) {
        if (allowed[i].call != call || (allowed[i].profiles & profile) == 0)
            continue;
        if (allowed[i].mask == 0)
            return ALWAYS;
        extent = SOMETIMES;
    }
    return extent;
}

/* A row without condition makes the conditional ones of the same call void. */
static bool add_allowed(scmp_filter_ctx filter, unsigned profile)
{
    for (size_t i = 0; i < COUNT(allowed); i++) {
        const struct rule *rule = &allowed[i];

        if ((rule->profiles & profile) == 0)
            continue;
        if (rule->mask != 0 && extent_of(rule->call, profile) == ALWAYS)
            continue;
        if (!add_rule(filter, SCMP_ACT_ALLOW, rule))
            return false;
    }
    return true;
}

static bool add_refused(scmp_filter_ctx filter, unsigned profile, bool may_open)
{
    for (size_t i = 0; i < COUNT(refused); i++) {
        const struct rule *rule = &refused[i];
        enum extent extent = extent_of(rule->call, profile);

        if ((rule->profiles & profile) == 0 || extent == ALWAYS)
            continue;
        if (rule->mask == 0 && extent == SOMETIMES)
            continue;
        if (may_open && rule->call == open_allowed.call)
            continue;
        if (!add_rule(filter, SCMP_ACT_ERRNO(EACCES), rule))
            return false;
    }
    return true;
}

static bool add_open(scmp_filter_ctx filter)
{
    if (!add_rule(filter, SCMP_ACT_ALLOW, &open_allowed))
        return false;
    for (size_t i = 0; i < COUNT(open_refused); i++)
        if (!add_rule(filter, SCMP_ACT_ERRNO(EACCES), &open_refused[i]))
            return false;
    return true;
}

/* glibc then takes clone(2) for its threads, whose flags a filter can see. */
static bool add_clone(scmp_filter_ctx filter, unsigned profile)
{
    return profile != TOKEN ||
           seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0, NULL) == 0;
}

/* abort(3) sends its signal to its own process only. */
static bool add_abort(scmp_filter_ctx filter)
{
    struct rule rule = WHEN(tgkill, ALL, 0, EXACT32, (uint32_t)getpid());

    return add_rule(filter, SCMP_ACT_ALLOW, &rule);
}

static bool build_filter(scmp_filter_ctx filter, unsigned profile, bool may_open)
{
    if (seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0 ||
        seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) != 0)
        return false;
    if (may_open && !add_open(filter))
        return false;
    return add_allowed(filter, profile) && add_refused(filter, profile, may_open) &&
           add_clone(filter, profile) && add_abort(filter);
}

static int enter_seccomp(unsigned profile, bool may_open)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int err = FK_ERR_SYS;

    if (filter == NULL)
        return FK_ERR_NOMEM;
    if (build_filter(filter, profile, may_open) && seccomp_load(filter) == 0)
        err = FK_OK;
    seccomp_release(filter);
    return err;
}

/* --- the function --- */

/* Capabilities may be left of a start as root, or given by the service manager. */
static bool drop_capabilities(enum fk_sandbox profile)
{
    bool keep = profile == FK_SANDBOX_VERDICTS && capng_get_caps_process() == 0 &&
                capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN);

    capng_clear(CAPNG_SELECT_BOTH);
    if (keep && capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN) != 0)
        return false;
    /* Without CAP_SETPCAP the bounding set stays; no new privileges makes it void. */
    (void)capng_apply(CAPNG_SELECT_BOUNDS);
    return capng_apply(CAPNG_SELECT_CAPS) == 0;
}

int fk_sandbox_master(void)
{
    static const struct rlimit no_core = {0, 0};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        setrlimit(RLIMIT_CORE, &no_core) != 0)
        return FK_ERR_SYS;
    return FK_OK;
}

static int enter(enum fk_sandbox profile, struct files *files)
{
    bool landlocked;
    int err;

    if ((err = fk_sandbox_master()) != FK_OK)
        return err;
    if (!drop_capabilities(profile))
        return FK_ERR_SYS;
    err = enter_landlock(files, &landlocked);
    if (err != FK_OK)
        return err;
    return enter_seccomp(ONE(profile), landlocked && profile == FK_SANDBOX_WORKER);
}

int fk_sandbox_enter(enum fk_sandbox profile)
{
    struct files files = {.n_read = 0};

    if (profile == FK_SANDBOX_WORKER)
        files = (struct files){.read = worker_files, .n_read = COUNT(worker_files)};
    return enter(profile, &files);
}

int fk_sandbox_enter_token(const char *const *paths, size_t n)
{
    struct files files = {
        .read = token_files, .n_read = COUNT(token_files), .own = paths, .n_own = n};

    return enter(FK_SANDBOX_TOKEN, &files);
}
