/* loop/sock: listen, connect, accept without ever waiting; nothing is inherited across exec. */
#include "unit.h"

#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct fk_listen_options plain;

static void assert_flags(int fd)
{
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static void wait_for(int fd, short events)
{
    struct pollfd pfd = {.fd = fd, .events = events};

    assert_int_equal(poll(&pfd, 1, 5000), 1);
}

static int listen_on(const char *text, struct fk_addr *ret)
{
    struct fk_addr addr;
    int fd;

    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_sock_listen(&addr, &plain, &fd));
    assert_ok(fk_sock_local(fd, ret));
    return fd;
}

static void tcp_connects_and_accepts(void **state)
{
    struct fk_addr addr, source, peer;
    int listener, client, served;

    (void)state;
    listener = listen_on("127.0.0.1:0", &addr);
    assert_flags(listener);
    assert_err(fk_sock_accept(listener, &served, &peer), FK_ERR_AGAIN);
    assert_ok(fk_addr_parse("127.0.0.9:0", &source));
    assert_ok(fk_sock_connect(&addr, &source, NULL, &client));
    assert_flags(client);
    wait_for(client, POLLOUT);
    assert_int_equal(fk_sock_error(client), 0);
    wait_for(listener, POLLIN);
    assert_ok(fk_sock_accept(listener, &served, &peer));
    assert_flags(served);
    assert_ok(fk_sock_local(client, &source));
    assert_int_equal(fk_addr_port(&peer), fk_addr_port(&source));
    fk_sock_nodelay(served);
    fk_sock_keepalive(served, 60);
    fk_close(&served);
    assert_int_equal(served, -1);
    fk_close(&served);
    fk_close(&client);
    fk_close(&listener);
}

static void refused_connection_reports_its_error(void **state)
{
    struct fk_addr addr;
    int fd;

    (void)state;
    fd = listen_on("127.0.0.1:0", &addr);
    fk_close(&fd);
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &fd));
    wait_for(fd, POLLOUT);
    assert_int_equal(fk_sock_error(fd), ECONNREFUSED);
    fk_close(&fd);
}

static void failures_leave_the_result_untouched(void **state)
{
    struct fk_addr addr;
    int fd = 77, listener;

    (void)state;
    listener = listen_on("127.0.0.1:0", &addr);
    errno = 0;
    assert_err(fk_sock_listen(&addr, &plain, &fd), FK_ERR_SYS);
    assert_int_equal(errno, EADDRINUSE);
    assert_err(fk_sock_accept(77777, &fd, NULL), FK_ERR_SYS);
    assert_int_equal(errno, EBADF);
    assert_ok(fk_addr_parse("unix:/nonexistent/x", &addr));
    assert_err(fk_sock_connect(&addr, NULL, NULL, &fd), FK_ERR_SYS);
    assert_int_equal(errno, ENOENT);
    assert_err(fk_sock_connect(&addr, NULL, "no-such-device-", &fd), FK_ERR_SYS);
    assert_int_equal(fd, 77);
    fk_close(&listener);
}

static void dual_stack_listener_takes_ipv4(void **state)
{
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    char text[FK_ADDR_TEXT_SIZE];
    struct fk_addr any, addr, peer;
    int listener, client, served;

    (void)state;
    assert_ok(fk_addr_parse("*:0", &any));
    if (fk_sock_listen(&any, &plain, &listener) != FK_OK && errno == EAFNOSUPPORT) {
        print_message("no IPv6 in this kernel\n");
        skip();
    }
    assert_ok(fk_sock_local(listener, &any));
    assert_ok(fk_addr_from_ip(loopback, 4, fk_addr_port(&any), &addr));
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &client));
    wait_for(listener, POLLIN);
    assert_ok(fk_sock_accept(listener, &served, &peer));
    fk_addr_format(&peer, text);
    assert_memory_equal(text, "127.0.0.1:", 10);
    fk_close(&served);
    fk_close(&client);
    fk_close(&listener);
}

static void reuse_port_lets_two_listen(void **state)
{
    static const struct fk_listen_options shared = {.reuse_port = true, .backlog = 16};
    struct fk_addr addr;
    int first, second;

    (void)state;
    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    assert_ok(fk_sock_listen(&addr, &shared, &first));
    assert_ok(fk_sock_local(first, &addr));
    assert_ok(fk_sock_listen(&addr, &shared, &second));
    fk_close(&first);
    fk_close(&second);
}

static void unix_socket_has_its_mode_and_replaces_a_stale_one(void **state)
{
    static const struct fk_listen_options private = {.mode = 0600};
    char dir[] = "/tmp/fk-sock-XXXXXX", text[64];
    struct fk_addr addr;
    struct stat st;
    int fd, other = 77;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "unix:%s/s", dir);
    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_sock_listen(&addr, &private, &fd));
    assert_int_equal(stat(text + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* Alive: not to be taken over. */
    assert_err(fk_sock_listen(&addr, &private, &other), FK_ERR_SYS);
    assert_int_equal(errno, EADDRINUSE);
    fk_close(&fd);
    assert_ok(fk_sock_listen(&addr, &private, &fd));
    fk_close(&fd);
    assert_int_equal(unlink(text + 5), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void ordinary_file_is_never_removed(void **state)
{
    char path[] = "/tmp/fk-sock-XXXXXX", text[64];
    struct fk_addr addr;
    int file, fd;

    (void)state;
    file = mkstemp(path);
    assert_true(file >= 0);
    snprintf(text, sizeof text, "unix:%s", path);
    assert_ok(fk_addr_parse(text, &addr));
    assert_err(fk_sock_listen(&addr, &plain, &fd), FK_ERR_SYS);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(unlink(path), 0);
    fk_close(&file);
}

UNIT_MAIN(cmocka_unit_test(tcp_connects_and_accepts),
          cmocka_unit_test(refused_connection_reports_its_error),
          cmocka_unit_test(failures_leave_the_result_untouched),
          cmocka_unit_test(dual_stack_listener_takes_ipv4),
          cmocka_unit_test(reuse_port_lets_two_listen),
          cmocka_unit_test(unix_socket_has_its_mode_and_replaces_a_stale_one),
          cmocka_unit_test(ordinary_file_is_never_removed))
