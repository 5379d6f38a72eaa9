/*
 * loop/proc: messages arrive whole or not at all, descriptors never leak, children are born clean
 * and die with their master. The binary executes itself as the child.
 */
#include "unit.h"

#include "base/err.h"
#include "loop/proc.h"
#include "loop/sock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 3; /* ".", ".." and the directory itself */
}

static void wait_for(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&pfd, 1, 10000), 1);
}

static void make_pair(int fds[2])
{
    assert_ok(fk_sock_pair(SOCK_SEQPACKET, fds));
}

/* --- messages --- */

static void message_arrives_as_it_was_sent(void **state)
{
    struct fk_procmsg msg = {.type = FK_PROC_CONFIG, .arg = 7, .len = FK_PROC_DATA_MAX}, got;
    int fds[2], pipe_fds[2];
    char byte = 0;

    (void)state;
    make_pair(fds);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    memset(msg.data, 0xa5, sizeof msg.data);
    msg.n_fds = FK_PROC_FDS_MAX;
    for (size_t i = 0; i < FK_PROC_FDS_MAX; i++)
        msg.fds[i] = pipe_fds[1];
    assert_ok(fk_proc_send(fds[0], &msg));
    assert_ok(fk_proc_recv(fds[1], &got));
    assert_int_equal(got.type, FK_PROC_CONFIG);
    assert_int_equal(got.arg, 7);
    assert_int_equal(got.len, FK_PROC_DATA_MAX);
    assert_memory_equal(got.data, msg.data, sizeof msg.data);
    assert_int_equal(got.n_fds, FK_PROC_FDS_MAX);
    for (size_t i = 0; i < got.n_fds; i++)
        assert_true((fcntl(got.fds[i], F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(write(got.fds[3], "x", 1), 1);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    fk_procmsg_close(&got);
    assert_int_equal(got.n_fds, 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    fk_close(&fds[0]);
    fk_close(&fds[1]);
}

static void taken_descriptors_are_not_closed(void **state)
{
    struct fk_procmsg got;
    int fds[2], taken;

    (void)state;
    make_pair(fds);
    assert_ok(fk_proc_send_fd(fds[0], FK_PROC_LISTEN, 3, fds[0]));
    assert_ok(fk_proc_recv(fds[1], &got));
    taken = got.fds[0];
    got.fds[0] = -1;
    fk_procmsg_close(&got);
    assert_true(fcntl(taken, F_GETFD) >= 0);
    fk_close(&taken);
    assert_ok(fk_proc_send_fd(fds[0], FK_PROC_GO, 0, -1));
    assert_ok(fk_proc_recv(fds[1], &got));
    assert_int_equal(got.n_fds, 0);
    assert_int_equal(got.len, 0);
    fk_close(&fds[0]);
    fk_close(&fds[1]);
}

static void nothing_to_read_and_closed_peer_differ(void **state)
{
    struct fk_procmsg got = {.type = 77};
    int fds[2];

    (void)state;
    make_pair(fds);
    assert_err(fk_proc_recv(fds[1], &got), FK_ERR_AGAIN);
    fk_close(&fds[0]);
    assert_err(fk_proc_recv(fds[1], &got), FK_ERR_CLOSED);
    assert_err(fk_proc_send_fd(fds[1], FK_PROC_GO, 0, -1), FK_ERR_CLOSED);
    assert_err(fk_proc_recv(77777, &got), FK_ERR_SYS);
    assert_int_equal(got.type, 77);
    fk_close(&fds[1]);
}

static void full_queue_is_again(void **state)
{
    struct fk_procmsg msg = {.type = FK_PROC_STATUS, .len = FK_PROC_DATA_MAX};
    int fds[2], err;

    (void)state;
    make_pair(fds);
    do
        err = fk_proc_send(fds[0], &msg);
    while (err == FK_OK);
    assert_err(err, FK_ERR_AGAIN);
    assert_ok(fk_proc_recv(fds[1], &msg));
    fk_close(&fds[0]);
    fk_close(&fds[1]);
}

static void oversized_messages_are_refused_by_the_sender(void **state)
{
    struct fk_procmsg msg = {.len = FK_PROC_DATA_MAX + 1};

    (void)state;
    assert_err(fk_proc_send(0, &msg), FK_ERR_INVAL);
    msg.len = 0;
    msg.n_fds = FK_PROC_FDS_MAX + 1;
    assert_err(fk_proc_send(0, &msg), FK_ERR_INVAL);
}

/* Send `len` raw bytes with `n_fds` copies of descriptor 0. */
static void send_raw(int fd, size_t len, size_t n_fds)
{
    union {
        char bytes[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr align;
    } room = {.bytes = {0}};
    static uint8_t data[2048];
    struct iovec iov = {data, len};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *cmsg;

    if (n_fds > 0) {
        hdr.msg_control = room.bytes;
        hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&hdr);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memset(CMSG_DATA(cmsg), 0, n_fds * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &hdr, MSG_NOSIGNAL), (ssize_t)len);
}

static void malformed_messages_leak_no_descriptor(void **state)
{
    static const struct {
        size_t len;
        size_t n_fds;
    } cases[] = {{1, 0}, {7, 0}, {7, 1}, {7, 4}, {0, 2}, {8, 5}, {8, 16}, {1033, 0}, {2048, 4}};
    struct fk_procmsg got = {.type = 77};
    size_t before;
    int fds[2];

    (void)state;
    make_pair(fds);
    before = count_fds();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        send_raw(fds[0], cases[i].len, cases[i].n_fds);
        assert_err(fk_proc_recv(fds[1], &got), FK_ERR_FORMAT);
        assert_int_equal(count_fds(), before);
    }
    assert_int_equal(got.type, 77);
    send_raw(fds[0], 1032, 4);
    assert_ok(fk_proc_recv(fds[1], &got));
    assert_int_equal(count_fds(), before + 4);
    fk_procmsg_close(&got);
    assert_int_equal(count_fds(), before);
    fk_close(&fds[0]);
    fk_close(&fds[1]);
}

/* --- children --- */

/* Wait for the next message without a loop of one's own. */
static int recv_wait(int control, struct fk_procmsg *ret)
{
    struct pollfd pfd = {.fd = control, .events = POLLIN};

    if (poll(&pfd, 1, 10000) != 1)
        return FK_ERR_TIMEOUT;
    return fk_proc_recv(control, ret);
}

/* Tell the master what the child sees of itself: arg = open descriptors, data = facts as text. */
static int child_report(void)
{
    struct fk_procmsg msg = {.type = FK_PROC_READY};
    char name[17] = "";
    int death = 0;
    sigset_t set;

    sigprocmask(SIG_SETMASK, NULL, &set);
    prctl(PR_GET_NAME, name);
    prctl(PR_GET_PDEATHSIG, &death);
    msg.arg = (uint32_t)count_fds();
    msg.len = (size_t)snprintf((char *)msg.data, sizeof msg.data, "%s death=%d blocked=%d uid=%u",
                               name, death, sigismember(&set, SIGUSR1), geteuid());
    return fk_proc_send(FK_PROC_CONTROL_FD, &msg) == FK_OK ? 0 : 3;
}

/* Roles of the child: "report", "drop" (as nobody), "wait" (for ever), "nested" (a master that is
 * killed: its child must die too), "way" (gives way to others). */
static int child_main(const char *role, unsigned index)
{
    struct fk_procmsg msg;
    pid_t pid;
    int control;

    fk_proc_child_init(role, index);
    if (strcmp(role, "drop") == 0 && fk_proc_drop(NULL) != FK_OK)
        return 4;
    if (strcmp(role, "way") == 0) {
        fk_proc_give_way();
        return sched_getscheduler(0) == SCHED_BATCH ? 0 : 7;
    }
    if (strcmp(role, "unknown") == 0)
        return fk_proc_drop("no-such-user-here") == FK_ERR_NOT_FOUND ? 0 : 5;
    if (strcmp(role, "nested") == 0) {
        if (fk_proc_spawn("wait", index, &pid, &control) != FK_OK ||
            recv_wait(control, &msg) != FK_OK)
            return 6;
        fk_proc_send_fd(FK_PROC_CONTROL_FD, FK_PROC_PEER, (uint32_t)pid, control);
        recv_wait(FK_PROC_CONTROL_FD, &msg);
        return 0;
    }
    if (child_report() != 0)
        return 3;
    if (strcmp(role, "wait") == 0)
        for (;;)
            pause();
    return (int)index;
}

static void assert_exit(pid_t pid, int expected)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void child_is_born_clean(void **state)
{
    struct fk_procmsg msg;
    char expected[64];
    int control, leaked;
    sigset_t set;
    pid_t pid;

    (void)state;
    /* Things a child must not inherit: an open descriptor, a blocked signal, an ignored one. */
    leaked = open("/dev/null", O_RDONLY);
    assert_true(leaked >= 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGTERM, SIG_IGN);
    assert_ok(fk_proc_spawn("report", 5, &pid, &control));
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    assert_ok(recv_wait(control, &msg));
    assert_int_equal(msg.type, FK_PROC_READY);
    assert_int_equal(msg.arg, 4);
    snprintf(expected, sizeof expected, "report-5 death=%d blocked=0 uid=%u", SIGKILL, geteuid());
    assert_int_equal(msg.len, strlen(expected));
    assert_memory_equal(msg.data, expected, msg.len);
    assert_exit(pid, 5);
    assert_err(recv_wait(control, &msg), FK_ERR_CLOSED);
    fk_close(&control);
    fk_close(&leaked);
}

/* A terminal's or a service manager's signal to the whole group is for the master alone. */
static void signals_to_the_group_do_not_end_a_child(void **state)
{
    static const int signals[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM};
    struct fk_procmsg msg;
    int control, status;
    pid_t pid;

    (void)state;
    assert_ok(fk_proc_spawn("wait", 0, &pid, &control));
    assert_ok(recv_wait(control, &msg));
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        assert_int_equal(kill(pid, signals[i]), 0);
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    fk_close(&control);
}

static void child_dies_with_its_master(void **state)
{
    struct fk_procmsg msg, end;
    int control, grandchild;
    pid_t pid;

    (void)state;
    assert_ok(fk_proc_spawn("nested", 0, &pid, &control));
    assert_ok(recv_wait(control, &msg));
    assert_int_equal(msg.type, FK_PROC_PEER);
    assert_int_equal(msg.n_fds, 1);
    grandchild = msg.fds[0];
    assert_err(fk_proc_recv(grandchild, &end), FK_ERR_AGAIN);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    /* We hold the master's end of the grandchild's control socket: it closes when it dies. */
    wait_for(grandchild);
    assert_err(fk_proc_recv(grandchild, &end), FK_ERR_CLOSED);
    fk_close(&grandchild);
    fk_close(&control);
}

static void dropping_root_is_complete_and_keeps_the_death_signal(void **state)
{
    struct fk_procmsg msg;
    char text[FK_PROC_DATA_MAX + 1] = "";
    int control;
    pid_t pid;

    (void)state;
    assert_ok(fk_proc_spawn("drop", 0, &pid, &control));
    assert_ok(recv_wait(control, &msg));
    memcpy(text, msg.data, msg.len);
    assert_non_null(strstr(text, "death=9"));
    assert_null(strstr(text, "uid=0"));
    assert_exit(pid, 0);
    fk_close(&control);
}

static void a_child_can_give_way(void **state)
{
    int control;
    pid_t pid;

    (void)state;
    assert_ok(fk_proc_spawn("way", 0, &pid, &control));
    assert_exit(pid, 0);
    fk_close(&control);
}

static void unknown_user_is_an_error_for_root(void **state)
{
    int control;
    pid_t pid;

    (void)state;
    if (geteuid() != 0) {
        print_message("not root: fk_proc_drop() does nothing\n");
        assert_ok(fk_proc_drop("no-such-user-here"));
        return;
    }
    assert_ok(fk_proc_spawn("unknown", 0, &pid, &control));
    assert_exit(pid, 0);
    fk_close(&control);
}

static void default_user_is_nobody_without_the_account(void **state)
{
    (void)state;
    assert_string_equal(fk_proc_default_user("root"), "root");
    assert_string_equal(fk_proc_default_user("no-such-user-here"), "nobody");
}

static void users_are_compared_by_uid(void **state)
{
    (void)state;
    assert_true(fk_proc_same_user("root", "root"));
    assert_true(fk_proc_same_user("nobody", NULL));
    assert_true(fk_proc_same_user("", "nobody"));
    assert_false(fk_proc_same_user("root", "nobody"));
    assert_false(fk_proc_same_user("no-such-user-here", "no-such-user-here"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(message_arrives_as_it_was_sent),
        cmocka_unit_test(taken_descriptors_are_not_closed),
        cmocka_unit_test(nothing_to_read_and_closed_peer_differ),
        cmocka_unit_test(full_queue_is_again),
        cmocka_unit_test(oversized_messages_are_refused_by_the_sender),
        cmocka_unit_test(malformed_messages_leak_no_descriptor),
        cmocka_unit_test(child_is_born_clean),
        cmocka_unit_test(signals_to_the_group_do_not_end_a_child),
        cmocka_unit_test(child_dies_with_its_master),
        cmocka_unit_test(dropping_root_is_complete_and_keeps_the_death_signal),
        cmocka_unit_test(a_child_can_give_way),
        cmocka_unit_test(unknown_user_is_an_error_for_root),
        cmocka_unit_test(default_user_is_nobody_without_the_account),
        cmocka_unit_test(users_are_compared_by_uid)};

    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child_main(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, NULL, NULL);
}
