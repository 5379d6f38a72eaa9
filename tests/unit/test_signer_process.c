/*
 * signer/process: the real signer in a child, sandboxed, with the test as its master and its users:
 * orderly work, garbage, floods, deaths.
 */
#include "unit.h"
#include "unit_keys.h"

#include "loop/proc.h"
#include "loop/sock.h"
#include "signer/request.h"
#include "signer/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 10000

static EVP_PKEY *rsa, *p256;
static uint8_t rsa_ski[20], p256_ski[20];
static int bundle = -1;

struct master {
    pid_t pid;
    int control;
};

static int make_keys(void)
{
    struct fk_keyset_builder *builder;

    rsa = unit_key("rsa2048");
    p256 = unit_key("P-256");
    assert_ok(fk_keyset_builder_new(&builder));
    unit_bundle_add(builder, "rsa", rsa, FK_PERM_SIGN13 | FK_PERM_DECRYPT, rsa_ski);
    unit_bundle_add(builder, "p256", p256, FK_PERM_SIGN13, p256_ski);
    assert_ok(fk_keyset_builder_seal(builder, &bundle));
    fk_keyset_builder_free(builder);
    return 0;
}

static struct master spawn(void)
{
    struct master master;
    int fds[2];

    if (bundle < 0)
        make_keys();
    assert_ok(fk_sock_pair(SOCK_SEQPACKET, fds));
    fflush(NULL);
    master.pid = fork();
    assert_true(master.pid >= 0);
    if (master.pid == 0) {
        if (dup2(fds[1], FK_PROC_CONTROL_FD) < 0)
            _exit(99);
        fcntl(FK_PROC_CONTROL_FD, F_SETFD, 0);
        _exit(fk_signer_main(0));
    }
    close(fds[1]);
    master.control = fds[0];
    return master;
}

static void wait_readable(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&item, 1, WAIT_MS), 1);
}

static void expect_message(const struct master *master, uint32_t type, uint32_t arg)
{
    struct fk_procmsg msg;

    wait_readable(master->control);
    assert_ok(fk_proc_recv(master->control, &msg));
    assert_int_equal(msg.type, type);
    assert_int_equal(msg.arg, arg);
}

static void expect_exit(struct master *master, int status)
{
    int got;

    assert_int_equal(waitpid(master->pid, &got, 0), master->pid);
    assert_true(WIFEXITED(got));
    assert_int_equal(WEXITSTATUS(got), status);
    fk_close(&master->control);
}

/* Send, waiting for room in the control socket. */
static void send_fd(const struct master *master, uint32_t type, uint32_t arg, int fd)
{
    struct pollfd item = {.fd = master->control, .events = POLLOUT};
    int err;

    while ((err = fk_proc_send_fd(master->control, type, arg, fd)) == FK_ERR_AGAIN)
        assert_int_equal(poll(&item, 1, WAIT_MS), 1);
    assert_ok(err);
}

static int add_peer(const struct master *master, enum fk_proc_peer kind)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    send_fd(master, FK_PROC_PEER, (uint32_t)kind << 16 | 1, fds[1]);
    close(fds[1]);
    return fds[0];
}

static struct master start(int *ret_front)
{
    struct master master = spawn();

    assert_ok(fk_proc_send_fd(master.control, FK_PROC_KEYS, 7, bundle));
    *ret_front = add_peer(&master, FK_PEER_FRONT);
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_GO, 0, -1));
    expect_message(&master, FK_PROC_READY, 7);
    return master;
}

/* End by closing the control socket. */
static void stop(struct master *master)
{
    fk_close(&master->control);
    expect_exit(master, 0);
}

/* --- requests --- */

static size_t sign13(uint32_t id, EVP_PKEY *key, uint8_t dst[256])
{
    struct fk_signer_request request = {.id = id, .op = FK_SIGNER_SIGN13};
    struct fk_sign13 op = {.scheme = key == rsa ? 0x0804 : 0x0403,
                           .role = FK_ROLE_SERVER,
                           .hash_len = 32,
                           .hash = {1, 2, 3}};
    struct fk_writer writer;

    memcpy(request.ski, key == rsa ? rsa_ski : p256_ski, 20);
    fk_writer_init(&writer, dst + sizeof request, 256 - sizeof request);
    fk_sign13_encode(&op, &writer);
    request.len = (uint32_t)writer.len;
    memcpy(dst, &request, sizeof request);
    return sizeof request + writer.len;
}

static void send_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        struct pollfd item = {.fd = fd, .events = POLLOUT};
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) {
            assert_int_equal(poll(&item, 1, WAIT_MS), 1);
            continue;
        }
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

static void recv_all(int fd, void *data, size_t len)
{
    uint8_t *at = data;

    while (len > 0) {
        ssize_t n;

        wait_readable(fd);
        n = recv(fd, at, len, 0);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

static struct fk_signer_result recv_result(int fd, uint8_t data[FK_SIGNER_RESULT_MAX])
{
    struct fk_signer_result result;

    recv_all(fd, &result, sizeof result);
    assert_true(result.len <= FK_SIGNER_RESULT_MAX);
    recv_all(fd, data, result.len);
    return result;
}

static void expect_signature(int fd, uint32_t id, EVP_PKEY *key)
{
    const struct fk_sign13 op = {.role = FK_ROLE_SERVER, .hash_len = 32, .hash = {1, 2, 3}};
    uint8_t data[FK_SIGNER_RESULT_MAX], tbs[FK_SIGN13_TBS_MAX];
    struct fk_signer_result result = recv_result(fd, data);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    size_t len;

    assert_ok(result.err);
    assert_int_equal(result.id, id);
    fk_sign13_tbs(&op, tbs, &len);
    assert_int_equal(EVP_DigestVerifyInit(ctx, &pctx, EVP_sha256(), NULL, key), 1);
    if (key == rsa)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
    assert_int_equal(EVP_DigestVerify(ctx, data, result.len, tbs, len), 1);
    EVP_MD_CTX_free(ctx);
}

static void ask(int fd, uint32_t id, EVP_PKEY *key)
{
    uint8_t bytes[256];

    send_all(fd, bytes, sign13(id, key, bytes));
}

static void expect_closed(int fd)
{
    uint8_t byte;
    ssize_t n;

    wait_readable(fd);
    n = recv(fd, &byte, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET)); /* reset: with unread requests */
    close(fd);
}

/* --- start --- */

static void serves_after_go(void **state)
{
    int front;
    struct master master = start(&front);

    (void)state;
    ask(front, 1, rsa);
    expect_signature(front, 1, rsa);
    ask(front, 2, p256);
    expect_signature(front, 2, p256);
    stop(&master);
    close(front);
}

static void counts_in_its_slot(void **state)
{
    struct master master = spawn();
    struct fk_metrics *metrics;
    int fd, front;

    (void)state;
    assert_ok(fk_metrics_create(fk_signer_metric_table, 2, &fd));
    assert_ok(fk_metrics_open(fk_signer_metric_table, fd, &metrics));
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_METRICS, 1, fd));
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_KEYS, 7, bundle));
    front = add_peer(&master, FK_PEER_FRONT);
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_GO, 0, -1));
    expect_message(&master, FK_PROC_READY, 7);
    ask(front, 1, p256);
    expect_signature(front, 1, p256);
    assert_int_equal(fk_metric_total(metrics, 0), 1); /* sign-1.3 */
    fk_metrics_close(metrics);
    close(fd);
    stop(&master);
    close(front);
}

static void refuses_what_is_no_bundle(void **state)
{
    struct master master = spawn();
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_KEYS, 9, null));
    expect_message(&master, FK_PROC_FAILED, 9);
    expect_exit(&master, 1);
    close(null);
}

static void refuses_go_without_keys(void **state)
{
    struct master master = spawn();

    (void)state;
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_GO, 0, -1));
    expect_message(&master, FK_PROC_FAILED, 0);
    expect_exit(&master, 1);
}

static void refuses_an_unknown_user(void **state)
{
    struct fk_procmsg msg = {.type = FK_PROC_GO, .len = 14, .data = "no_such_user_x"};
    struct master master = spawn();

    (void)state;
    if (geteuid() != 0) {
        stop(&master);
        print_message("not root: no privileges to drop\n");
        skip();
    }
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_KEYS, 9, bundle));
    assert_ok(fk_proc_send(master.control, &msg));
    expect_message(&master, FK_PROC_FAILED, 9);
    expect_exit(&master, 1);
}

static void strange_messages_change_nothing_later(void **state)
{
    int front;
    struct master master = start(&front);

    (void)state;
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_KEYS, 8, bundle));
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_GO, 0, -1));
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_LISTEN, 0, bundle));
    assert_ok(fk_proc_send_fd(master.control, 4711, 0, -1));
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_PEER, FK_PEER_FRONT << 16, -1));
    ask(front, 3, p256);
    expect_signature(front, 3, p256);
    stop(&master);
    close(front);
}

/* --- work --- */

static void many_requests_in_one_write(void **state)
{
    static uint8_t bytes[300 * 256];
    int front;
    struct master master = start(&front);
    size_t len = 0;

    (void)state;
    for (uint32_t i = 0; i < 300; i++)
        len += sign13(i, i % 50 == 0 ? rsa : p256, bytes + len);
    send_all(front, bytes, len);
    for (uint32_t i = 0; i < 300; i++)
        expect_signature(front, i, i % 50 == 0 ? rsa : p256);
    stop(&master);
    close(front);
}

static void request_may_come_byte_by_byte(void **state)
{
    uint8_t bytes[256];
    int front;
    struct master master = start(&front);
    size_t len = sign13(5, p256, bytes);

    (void)state;
    for (size_t i = 0; i < len; i++)
        send_all(front, bytes + i, 1);
    expect_signature(front, 5, p256);
    stop(&master);
    close(front);
}

static void each_kind_of_peer_gets_its_operations(void **state)
{
    struct fk_signer_request start_chain = {.id = 1, .op = FK_SIGNER_AUDIT_START};
    uint8_t data[FK_SIGNER_RESULT_MAX];
    int front, audit;
    struct master master = start(&front);
    struct fk_signer_result result;

    (void)state;
    audit = add_peer(&master, FK_PEER_AUDIT);
    send_all(front, &start_chain, sizeof start_chain);
    assert_err(recv_result(front, data).err, FK_ERR_DENIED);
    ask(audit, 2, p256);
    result = recv_result(audit, data);
    assert_err(result.err, FK_ERR_DENIED);
    assert_int_equal(result.len, 0);
    send_all(audit, &start_chain, sizeof start_chain); /* this bundle has no audit secret */
    assert_err(recv_result(audit, data).err, FK_ERR_KEY_NOT_FOUND);
    ask(front, 3, p256); /* a refusal ends nobody */
    expect_signature(front, 3, p256);
    stop(&master);
    close(front);
    close(audit);
}

static void garbage_ends_its_own_peer_only(void **state)
{
    uint8_t garbage[4096];
    int front, bad;
    struct master master = start(&front);

    (void)state;
    bad = add_peer(&master, FK_PEER_FRONT);
    memset(garbage, 0xff, sizeof garbage);
    send_all(bad, garbage, sizeof garbage);
    expect_closed(bad);
    ask(front, 1, p256);
    expect_signature(front, 1, p256);
    stop(&master);
    close(front);
}

/* As many requests as fit into the socket and the signer, none of whose results is read. */
static uint32_t flood(int fd)
{
    uint8_t bytes[256];
    uint32_t n = 0;
    struct pollfd item = {.fd = fd, .events = POLLOUT};

    while (poll(&item, 1, 200) == 1) {
        size_t len = sign13(n, p256, bytes);
        ssize_t sent = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0)
            continue;
        if ((size_t)sent < len)
            send_all(fd, bytes + sent, len - (size_t)sent);
        n++;
    }
    return n;
}

static void peer_that_does_not_read_stalls_nobody(void **state)
{
    int front, deaf;
    struct master master = start(&front);
    uint32_t n;

    (void)state;
    deaf = add_peer(&master, FK_PEER_FRONT);
    n = flood(deaf);
    assert_true(n > 100);
    ask(front, 1, rsa);
    expect_signature(front, 1, rsa);
    for (uint32_t i = 0; i < n; i++) /* it reads at last, and all is there, in order */
        expect_signature(deaf, i, p256);
    stop(&master);
    close(front);
    close(deaf);
}

static void dead_peer_is_forgotten(void **state)
{
    uint8_t bytes[20 * 256];
    int front;
    struct master master = start(&front);

    (void)state;
    for (int round = 0; round < 300; round++) { /* more than FK_SIGNER_PEERS_MAX in all */
        int peer = add_peer(&master, FK_PEER_WORKER);
        size_t len = 0;

        for (uint32_t i = 0; i < 3; i++)
            len += sign13(i, p256, bytes + len);
        send_all(peer, bytes, len - (round % 2 == 0 ? 1 : 0)); /* half a request too */
        if (round % 10 == 0)
            expect_signature(peer, 0, p256);
        close(peer);
        if (round % 10 == 0) {
            ask(front, 1, p256);
            expect_signature(front, 1, p256);
        }
    }
    stop(&master);
    close(front);
}

static void new_peer_is_served_while_others_work(void **state)
{
    int front, later;
    struct master master = start(&front);

    (void)state;
    for (uint32_t i = 0; i < 200; i++)
        ask(front, i, p256);
    later = add_peer(&master, FK_PEER_WORKER);
    ask(later, 9, p256);
    expect_signature(later, 9, p256);
    for (uint32_t i = 0; i < 200; i++)
        expect_signature(front, i, p256);
    stop(&master);
    close(front);
    close(later);
}

/* --- end --- */

static void drains_until_its_peers_have_gone(void **state)
{
    int front;
    struct master master = start(&front);

    (void)state;
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_DRAIN, 60, -1));
    ask(front, 1, p256);
    expect_signature(front, 1, p256);
    close(front);
    expect_exit(&master, 0);
}

static void drains_no_longer_than_told(void **state)
{
    int front;
    struct master master = start(&front);

    (void)state;
    assert_ok(fk_proc_send_fd(master.control, FK_PROC_DRAIN, 0, -1));
    expect_exit(&master, 0);
    close(front);
}

static void ends_with_its_master(void **state)
{
    int front;
    struct master master = start(&front);

    (void)state;
    stop(&master);
    expect_closed(front);
}

UNIT_MAIN(cmocka_unit_test(serves_after_go), cmocka_unit_test(counts_in_its_slot),
          cmocka_unit_test(refuses_what_is_no_bundle), cmocka_unit_test(refuses_go_without_keys),
          cmocka_unit_test(refuses_an_unknown_user),
          cmocka_unit_test(strange_messages_change_nothing_later),
          cmocka_unit_test(many_requests_in_one_write),
          cmocka_unit_test(request_may_come_byte_by_byte),
          cmocka_unit_test(each_kind_of_peer_gets_its_operations),
          cmocka_unit_test(garbage_ends_its_own_peer_only),
          cmocka_unit_test(peer_that_does_not_read_stalls_nobody),
          cmocka_unit_test(dead_peer_is_forgotten),
          cmocka_unit_test(new_peer_is_served_while_others_work),
          cmocka_unit_test(drains_until_its_peers_have_gone),
          cmocka_unit_test(drains_no_longer_than_told), cmocka_unit_test(ends_with_its_master))
