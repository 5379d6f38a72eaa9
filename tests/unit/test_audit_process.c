/*
 * keyd/audit_log and audit_sink: the real audit process and a real signer in children, with the
 * test as their master and as fronts: orderly work, rotation, a full disk, deaths, garbage.
 */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "keyd/audit_chain.h"
#include "keyd/audit_log.h"
#include "keyd/audit_sink.h"
#include "keyd/audit_verify.h"
#include "loop/proc.h"
#include "loop/sock.h"
#include "signer/keyset.h"
#include "signer/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 10000

struct child {
    pid_t pid;
    int control;
};

static const uint8_t secret[32] = "an audit secret of thirty-two b";
static char dir[] = "/tmp/farkey-auditp-XXXXXX";
static char logs[2][64], head_path[64];
static struct fk_loop *loop;
static struct child signer, audit;
static int bundle = -1;
static char head[FK_AUDIT_HEAD_MAX];
static size_t head_len;

static struct child spawn(int (*run)(unsigned index))
{
    struct child child;
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_SEQPACKET, fds));
    fflush(NULL);
    child.pid = fork();
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        if (dup2(fds[1], FK_PROC_CONTROL_FD) < 0)
            _exit(99);
        fcntl(FK_PROC_CONTROL_FD, F_SETFD, 0);
        _exit(run(0));
    }
    close(fds[1]);
    child.control = fds[0];
    return child;
}

static void wait_readable(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&item, 1, WAIT_MS), 1);
}

/* The next message but heads, which are kept as a master keeps them. */
static uint32_t next_message(struct child *child)
{
    struct fk_procmsg msg;

    do {
        wait_readable(child->control);
        assert_ok(fk_proc_recv(child->control, &msg));
        if (msg.type == FK_PROC_STATUS) {
            head_len = msg.len;
            assert_true(head_len < sizeof head);
            memcpy(head, msg.data, head_len);
        }
    } while (msg.type == FK_PROC_STATUS);
    return msg.type;
}

/* Wait for the end, keeping heads. */
static int wait_exit(struct child *child)
{
    struct fk_procmsg msg;
    int status, err;

    do {
        wait_readable(child->control);
        err = fk_proc_recv(child->control, &msg);
        if (err == FK_OK && msg.type == FK_PROC_STATUS) {
            head_len = msg.len;
            memcpy(head, msg.data, head_len);
        }
    } while (err == FK_OK);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    fk_close(&child->control);
    child->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void start_signer(void)
{
    struct fk_keyset_builder *builder;

    if (bundle < 0) {
        assert_ok(fk_keyset_builder_new(&builder));
        assert_ok(fk_keyset_builder_audit(builder, secret));
        assert_ok(fk_keyset_builder_seal(builder, &bundle));
        fk_keyset_builder_free(builder);
    }
    signer = spawn(fk_signer_main);
    assert_ok(fk_proc_send_fd(signer.control, FK_PROC_KEYS, 1, bundle));
    assert_ok(fk_proc_send_fd(signer.control, FK_PROC_GO, 0, -1));
    assert_int_equal(next_message(&signer), FK_PROC_READY);
}

static void send_log(int fd, const struct fk_audit_settings *settings)
{
    struct fk_procmsg msg = {.type = FK_PROC_LOG, .n_fds = 1, .fds = {fd}};

    memcpy(msg.data, settings, sizeof *settings);
    memcpy(msg.data + sizeof *settings, head, head_len);
    msg.len = sizeof *settings + head_len;
    assert_ok(fk_proc_send(audit.control, &msg));
}

static int open_log(int i)
{
    int fd = open(logs[i], O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void connect_signer(void)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_proc_send_fd(signer.control, FK_PROC_PEER, FK_PEER_AUDIT << 16, fds[1]));
    assert_ok(fk_proc_send_fd(audit.control, FK_PROC_PEER, FK_PEER_SIGNER << 16, fds[0]));
    close(fds[0]);
    close(fds[1]);
}

static int connect_front(unsigned index)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_proc_send_fd(audit.control, FK_PROC_PEER, FK_PEER_FRONT << 16 | index, fds[1]));
    close(fds[1]);
    return fds[0];
}

static const struct fk_audit_settings usual = {.checkpoint_lines = 100, .refuse = 1};

static void start_audit_on(int fd)
{
    audit = spawn(fk_audit_main);
    send_log(fd, &usual);
    connect_signer();
    assert_ok(fk_proc_send_fd(audit.control, FK_PROC_GO, 0, -1));
    assert_int_equal(next_message(&audit), FK_PROC_READY);
}

static void start_audit(int log)
{
    int fd = open_log(log);

    start_audit_on(fd);
    close(fd);
}

static void drain_audit(void)
{
    assert_ok(fk_proc_send_fd(audit.control, FK_PROC_DRAIN, 10, -1));
    assert_int_equal(wait_exit(&audit), 0);
}

static int setup(void **state)
{
    (void)state;
    if (head_path[0] == '\0') {
        assert_non_null(mkdtemp(dir));
        for (int i = 0; i < 2; i++)
            snprintf(logs[i], sizeof logs[i], "%s/log.%d", dir, i);
        snprintf(head_path, sizeof head_path, "%s/head", dir);
    }
    head_len = 0;
    assert_ok(fk_loop_new(&loop));
    start_signer();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_loop_free(loop);
    if (audit.pid != 0) {
        kill(audit.pid, SIGKILL);
        wait_exit(&audit);
    }
    fk_close(&signer.control);
    waitpid(signer.pid, NULL, 0);
    unlink(logs[0]);
    unlink(logs[1]);
    unlink(head_path);
    rmdir(dir);
    mkdir(dir, 0700);
    return 0;
}

static int clean_up(void **state)
{
    teardown(state);
    rmdir(dir);
    return 0;
}

/* --- fronts --- */

static void write_lines(struct fk_audit_sink *sink, int n)
{
    struct fk_audit_event event = {.edge = "edge1", .key = "example.com", .op = "sign-1.3"};

    for (int i = 0; i < n; i++) {
        event.micros = (uint32_t)i;
        fk_audit_sink_write(sink, &event);
    }
}

struct condition {
    struct fk_timer timer;
    struct fk_audit_sink *sink;
    bool (*holds)(const struct fk_audit_sink *sink);
    int tries;
};

static void check_condition(struct fk_timer *timer)
{
    struct condition *condition = fk_container(timer, struct condition, timer);

    if (condition->holds(condition->sink))
        fk_loop_stop(loop);
    else if (--condition->tries == 0)
        fail_msg("the condition does not come true");
    else
        fk_timer_start(timer, 1000);
}

/* Run the loop until the condition holds. */
static void wait_until(struct fk_audit_sink *sink, bool (*holds)(const struct fk_audit_sink *))
{
    struct condition condition = {.sink = sink, .holds = holds, .tries = WAIT_MS};

    fk_timer_init(&condition.timer, loop, check_condition);
    fk_timer_start(&condition.timer, 0);
    fk_loop_run(loop);
    fk_timer_stop(&condition.timer);
}

static bool is_empty(const struct fk_audit_sink *sink)
{
    return fk_audit_sink_pending(sink) == 0;
}

static bool is_ready(const struct fk_audit_sink *sink)
{
    return fk_audit_sink_ready(sink);
}

static bool is_refusing(const struct fk_audit_sink *sink)
{
    return !fk_audit_sink_ready(sink);
}

/* Lines of fronts in a log. */
static uint64_t count_lines(int i)
{
    FILE *file = fopen(logs[i], "re");
    char line[2048];
    uint64_t n = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        n += strstr(line, " front=") != NULL;
    fclose(file);
    return n;
}

static void expect_verified(int n_logs, struct fk_audit_report *report)
{
    const char *files[2] = {logs[0], logs[1]};
    FILE *file = fopen(head_path, "we");
    int err;

    assert_non_null(file);
    fprintf(file, "%.*s\n", (int)head_len, head);
    fclose(file);
    err = fk_audit_verify(secret, head_path, files, (size_t)n_logs, report);
    if (err != FK_OK)
        print_message("%s:%llu: %s\n", report->file, (unsigned long long)report->line,
                      report->what);
    assert_ok(err);
}

/* --- cases --- */

static void lines_of_two_fronts_are_chained_and_signed(void **state)
{
    struct fk_audit_sink *sinks[2];
    struct fk_audit_report report;

    (void)state;
    start_audit(0);
    for (unsigned i = 0; i < 2; i++) {
        assert_ok(fk_audit_sink_new(loop, true, &sinks[i]));
        assert_ok(fk_audit_sink_attach(sinks[i], connect_front(i)));
        write_lines(sinks[i], 1000);
    }
    assert_int_equal(fk_audit_sink_pending(sinks[0]), 1000);
    wait_until(sinks[0], is_empty);
    wait_until(sinks[1], is_empty);
    fk_audit_sink_free(sinks[0]);
    fk_audit_sink_free(sinks[1]);
    drain_audit();
    expect_verified(1, &report);
    assert_int_equal(count_lines(0), 2000);
    assert_int_equal(report.chains, 1);
    assert_true(report.checkpoints >= 2);
}

/* Killed in the midst of work: the next process gets what was not acknowledged. */
static void killed_process_loses_no_line(void **state)
{
    struct fk_audit_sink *sink;
    struct fk_audit_report report;

    (void)state;
    assert_ok(fk_audit_sink_new(loop, true, &sink));
    for (int round = 0; round < 4; round++) {
        start_audit(0);
        assert_ok(fk_audit_sink_attach(sink, connect_front(1)));
        write_lines(sink, 500);
        if (round % 2 == 0)
            wait_until(sink, is_empty);
        write_lines(sink, 500);
        if (round < 3) {
            kill(audit.pid, SIGKILL);
            assert_int_equal(wait_exit(&audit), -SIGKILL);
        }
    }
    wait_until(sink, is_empty);
    fk_audit_sink_free(sink);
    drain_audit();
    expect_verified(1, &report);
    assert_in_range(report.chains, 3, 4); /* one may be killed before it begins */
    assert_true(count_lines(0) >= 4000);
}

static void rotation_takes_the_chain_along(void **state)
{
    struct fk_audit_sink *sink;
    struct fk_audit_report report;
    int fd;

    (void)state;
    start_audit(0);
    assert_ok(fk_audit_sink_new(loop, true, &sink));
    assert_ok(fk_audit_sink_attach(sink, connect_front(1)));
    write_lines(sink, 300);
    wait_until(sink, is_empty);
    fd = open_log(1);
    send_log(fd, &usual);
    close(fd);
    write_lines(sink, 300);
    wait_until(sink, is_empty);
    fk_audit_sink_free(sink);
    drain_audit();
    expect_verified(2, &report);
    assert_int_equal(report.chains, 1);
    assert_int_equal(count_lines(0) + count_lines(1), 600);
}

static void full_disk_makes_fronts_refuse_until_there_is_room(void **state)
{
    int full = open("/dev/full", O_RDWR | O_APPEND | O_CLOEXEC), fd;
    struct fk_audit_sink *sink, *careless;
    struct fk_audit_report report;

    (void)state;
    assert_true(full >= 0);
    start_audit_on(full);
    close(full);
    assert_ok(fk_audit_sink_new(loop, true, &sink));
    assert_ok(fk_audit_sink_attach(sink, connect_front(1)));
    assert_ok(fk_audit_sink_new(loop, false, &careless));
    assert_true(fk_audit_sink_ready(sink));
    write_lines(sink, 10); /* of operations under way */
    wait_until(sink, is_refusing);
    assert_true(fk_audit_sink_ready(careless));
    assert_int_equal(fk_audit_sink_pending(sink), 10);
    fd = open_log(0);
    send_log(fd, &usual);
    close(fd);
    wait_until(sink, is_ready);
    wait_until(sink, is_empty);
    fk_audit_sink_free(careless);
    fk_audit_sink_free(sink);
    drain_audit();
    expect_verified(1, &report);
    assert_int_equal(count_lines(0), 10);
}

static void without_a_process_operations_are_refused(void **state)
{
    struct fk_audit_sink *strict, *careless;
    struct fk_audit_report report;
    uint64_t n = 0;
    int fds[2];

    (void)state;
    assert_ok(fk_audit_sink_new(loop, true, &strict));
    assert_false(fk_audit_sink_ready(strict));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_audit_sink_attach(strict, fds[0])); /* one that takes nothing */
    while (fk_audit_sink_ready(strict)) {
        write_lines(strict, 1);
        n++;
    }
    assert_true(n > 1000);
    write_lines(strict, (int)n / 2); /* operations under way still find room */
    close(fds[1]);
    assert_int_equal(fk_audit_sink_lost(strict), 0);
    fk_audit_sink_free(strict);

    assert_ok(fk_audit_sink_new(loop, false, &careless));
    write_lines(careless, 20000);
    assert_true(fk_audit_sink_lost(careless) > 0);
    assert_true(fk_audit_sink_ready(careless));
    start_audit(0);
    assert_ok(fk_audit_sink_attach(careless, connect_front(1)));
    wait_until(careless, is_empty);
    write_lines(careless, 1); /* records the loss */
    wait_until(careless, is_empty);
    assert_int_equal(count_lines(0), 20000 - fk_audit_sink_lost(careless) + 2);
    fk_audit_sink_free(careless);
    drain_audit();
    expect_verified(1, &report);
}

static void garbage_ends_its_own_front_only(void **state)
{
    struct fk_audit_report report;
    struct fk_audit_sink *sink;
    char garbage[4096];
    int bad;

    (void)state;
    start_audit(0);
    bad = connect_front(9);
    memset(garbage, 'x', sizeof garbage);
    assert_int_equal(send(bad, garbage, sizeof garbage, 0), sizeof garbage);
    wait_readable(bad);
    assert_true(recv(bad, garbage, 1, 0) <= 0);
    close(bad);
    assert_ok(fk_audit_sink_new(loop, true, &sink));
    assert_ok(fk_audit_sink_attach(sink, connect_front(1)));
    write_lines(sink, 10);
    wait_until(sink, is_empty);
    fk_audit_sink_free(sink);
    drain_audit();
    expect_verified(1, &report);
    assert_int_equal(count_lines(0), 10);
}

/* An audit process that acknowledges what it was not sent is left. */
static void sink_leaves_a_process_that_lies(void **state)
{
    const struct fk_audit_ack lie = {.lines = 11};
    struct fk_audit_sink *sink;
    int fds[2];

    (void)state;
    assert_ok(fk_audit_sink_new(loop, true, &sink));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_audit_sink_attach(sink, fds[0]));
    write_lines(sink, 10);
    assert_int_equal(send(fds[1], &lie, sizeof lie, 0), sizeof lie);
    start_audit(0);
    assert_true(fk_audit_sink_ready(sink));
    wait_until(sink, is_refusing);
    assert_int_equal(fk_audit_sink_pending(sink), 10);
    assert_ok(fk_audit_sink_attach(sink, connect_front(1)));
    wait_until(sink, is_empty);
    fk_audit_sink_free(sink);
    close(fds[1]);
    drain_audit();
    assert_int_equal(count_lines(0), 10);
}

static void signer_that_comes_late_is_waited_for(void **state)
{
    struct fk_audit_report report;
    struct fk_audit_sink *sink;
    int fd = open_log(0);

    (void)state;
    audit = spawn(fk_audit_main);
    send_log(fd, &usual);
    close(fd);
    assert_ok(fk_proc_send_fd(audit.control, FK_PROC_GO, 0, -1));
    assert_int_equal(next_message(&audit), FK_PROC_READY);
    assert_ok(fk_audit_sink_new(loop, true, &sink));
    assert_ok(fk_audit_sink_attach(sink, connect_front(1)));
    write_lines(sink, 10);
    connect_signer();
    wait_until(sink, is_empty);
    fk_audit_sink_free(sink);
    drain_audit();
    expect_verified(1, &report);
    assert_int_equal(count_lines(0), 10);
}

static void bad_settings_are_refused(void **state)
{
    struct fk_procmsg msg = {.type = FK_PROC_LOG, .n_fds = 1, .len = 3};
    int fd = open_log(0);

    (void)state;
    msg.fds[0] = fd;
    audit = spawn(fk_audit_main);
    assert_ok(fk_proc_send(audit.control, &msg));
    assert_int_equal(next_message(&audit), FK_PROC_FAILED);
    assert_int_equal(wait_exit(&audit), 1);
    audit = spawn(fk_audit_main); /* a head file that is none */
    memcpy(head, "rubbish", 7);
    head_len = 7;
    send_log(fd, &usual);
    assert_int_equal(next_message(&audit), FK_PROC_FAILED);
    assert_int_equal(wait_exit(&audit), 1);
    close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(lines_of_two_fronts_are_chained_and_signed), CASE(killed_process_loses_no_line),
          CASE(rotation_takes_the_chain_along),
          CASE(full_disk_makes_fronts_refuse_until_there_is_room),
          CASE(without_a_process_operations_are_refused), CASE(garbage_ends_its_own_front_only),
          CASE(sink_leaves_a_process_that_lies), CASE(signer_that_comes_late_is_waited_for),
          cmocka_unit_test_setup_teardown(bad_settings_are_refused, setup, clean_up))
