/*
 * admin: the real process, sandbox included, with this test as its master, scraper and operator.
 *
 * A child runs fk_admin_main(); the test holds the other end of its control socket and connects to
 * its two listeners.
 */
#include "unit.h"

#include "admin/admin.h"
#include "admin/command.h"
#include "admin/line.h"
#include "admin/page.h"
#include "base/err.h"
#include "base/limits.h"
#include "loop/metrics.h"
#include "loop/proc.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 10000

static const struct fk_metric table[] = {
    {"farkey_test_requests_total", NULL, FK_METRIC_COUNTER, "Requests."},
    {NULL, NULL, FK_METRIC_COUNTER, NULL},
};

static const struct fk_admin_role roles[] = {{"test", table}, {NULL, NULL}};

struct world {
    char dir[64];
    struct fk_addr http, control;
    int master; /* blocking by poll */
    pid_t pid;
};

static int listen_unix(const char *dir, const char *name, struct fk_addr *addr)
{
    const struct fk_listen_options options = {.mode = 0600};
    char text[FK_ADDR_TEXT_SIZE];
    int fd = -1;

    snprintf(text, sizeof text, "unix:%s/%s", dir, name);
    assert_ok(fk_addr_parse(text, addr));
    assert_ok(fk_sock_listen(addr, &options, &fd));
    return fd;
}

static void wait_for(int fd, short events)
{
    struct pollfd poll_fd = {fd, events, 0};

    assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
}

static void receive(int control, struct fk_procmsg *ret)
{
    wait_for(control, POLLIN);
    assert_ok(fk_proc_recv(control, ret));
}

static void send_data(int control, uint32_t type, const char *data, int fd)
{
    struct fk_procmsg msg = {.type = type, .len = strlen(data)};

    memcpy(msg.data, data, msg.len);
    if (fd >= 0) {
        msg.fds[0] = fd;
        msg.n_fds = 1;
    }
    assert_ok(fk_proc_send(control, &msg));
}

static void start_child(struct world *w)
{
    int pair[2];

    assert_ok(fk_sock_pair(SOCK_SEQPACKET, pair));
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) {
        if (pair[1] != FK_PROC_CONTROL_FD)
            dup2(pair[1], FK_PROC_CONTROL_FD);
        _exit(fk_admin_main(0, roles));
    }
    close(pair[1]);
    w->master = pair[0];
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct fk_metrics *metrics = NULL;
    struct fk_procmsg msg;
    int http, control, memory = -1;

    signal(SIGPIPE, SIG_IGN);
    snprintf(w->dir, sizeof w->dir, "/tmp/farkey-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    http = listen_unix(w->dir, "http", &w->http);
    control = listen_unix(w->dir, "control", &w->control);
    assert_ok(fk_metrics_create(table, 2, &memory));
    assert_ok(fk_metrics_open(table, memory, &metrics));
    fk_metrics_own(metrics, 1);
    fk_metric_add(metrics, 0, 42);
    fk_metrics_close(metrics);
    start_child(w);
    send_data(w->master, FK_PROC_METRICS, "test", memory);
    assert_ok(fk_proc_send_fd(w->master, FK_PROC_LISTEN, FK_ADMIN_HTTP, http));
    assert_ok(fk_proc_send_fd(w->master, FK_PROC_LISTEN, FK_ADMIN_CONTROL, control));
    send_data(w->master, FK_PROC_GO, "", -1);
    close(memory);
    close(http);
    close(control);
    receive(w->master, &msg);
    assert_int_equal(msg.type, FK_PROC_READY);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char path[96];
    int status = -1;

    close(w->master); /* the child ends with its master */
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    snprintf(path, sizeof path, "%s/http", w->dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/control", w->dir);
    unlink(path);
    rmdir(w->dir);
    free(w);
    return 0;
}

/* --- a client --- */

static int dial(const struct fk_addr *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&addr->storage, addr->len), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    size_t len = strlen(text);

    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

/* Read until `end` is in the text or the peer closes. */
static size_t hear(int fd, char *dst, size_t size, const char *end)
{
    size_t len = 0;

    dst[0] = '\0';
    while (end == NULL || strstr(dst, end) == NULL) {
        ssize_t n;

        wait_for(fd, POLLIN);
        n = read(fd, dst + len, size - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        dst[len] = '\0';
        assert_true(len < size - 1);
    }
    return len;
}

/* One request on a connection of its own, which the server closes. */
static void ask_http(const struct world *w, const char *request, char *dst, size_t size)
{
    int fd = dial(&w->http);

    say(fd, request);
    hear(fd, dst, size, NULL);
    close(fd);
}

static void expect_status(const struct world *w, const char *request, int status)
{
    char reply[65536], line[32];

    ask_http(w, request, reply, sizeof reply);
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    reply[strlen(line)] = '\0';
    assert_string_equal(reply, line);
}

static void expect_command(const struct world *w, const char *word, const char *answer)
{
    struct fk_procmsg msg;
    char got[FK_ADMIN_WORD_SIZE];

    receive(w->master, &msg);
    assert_ok(fk_admin_command_word(&msg, got));
    assert_string_equal(got, word);
    if (answer != NULL)
        assert_ok(fk_admin_answer(w->master, msg.arg, answer, strlen(answer)));
}

/* --- HTTP --- */

#define CLOSE "Host: x\r\nConnection: close\r\n\r\n"

static void metrics_are_printed(void **state)
{
    char reply[65536];

    ask_http(*state, "GET /metrics HTTP/1.1\r\n" CLOSE, reply, sizeof reply);
    assert_non_null(strstr(reply, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(reply, "farkey_test_requests_total 42\n"));
}

static void head_has_no_body(void **state)
{
    char reply[4096];

    ask_http(*state, "HEAD /healthz HTTP/1.1\r\n" CLOSE, reply, sizeof reply);
    assert_non_null(strstr(reply, "Content-Length: 3\r\n"));
    assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
}

static void other_requests_are_refused(void **state)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"GET // HTTP/1.1\r\n" CLOSE, 404},
        {"GET /index.html HTTP/1.1\r\n" CLOSE, 404},
        {"POST / HTTP/1.1\r\nContent-Length: 5\r\n" CLOSE, 405},
        {"GET / HTTP/1.1\r\nContent-Length: 5\r\n" CLOSE, 413},
        {"GET /metricsx HTTP/1.1\r\n" CLOSE, 404},
        {"GET /metric HTTP/1.1\r\n" CLOSE, 404},
        {"GET /../metrics HTTP/1.1\r\n" CLOSE, 404},
        {"POST /metrics HTTP/1.1\r\nContent-Length: 1000000\r\n" CLOSE, 405},
        {"DELETE /status HTTP/1.1\r\n" CLOSE, 405},
        {"CONNECT x:1 HTTP/1.1\r\n" CLOSE, 405},
        {"GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n" CLOSE, 413},
        {"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE, 413},
        {"GET /metrics HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", 400},
        {"GET /metrics HTTP/1.1\r\nA B: 1\r\n" CLOSE, 400},
        {"GET /metrics HTTP/3.0\r\n" CLOSE, 400},
        {"\x16\x03\x01\x02", 400},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_status(*state, rows[i].request, rows[i].status);
}

static void long_requests_are_refused(void **state)
{
    char request[FK_ADMIN_REQUEST_MAX + 1024];

    memset(request, 'a', sizeof request);
    memcpy(request, "GET /", 5);
    memcpy(request + 400, " HTTP/1.1\r\n\r\n", 14);
    expect_status(*state, request, 414);

    memset(request, 'a', sizeof request);
    memcpy(request, "GET /healthz HTTP/1.1\r\nX: ", 26);
    request[FK_ADMIN_REQUEST_MAX + 100] = '\0';
    expect_status(*state, request, 431);
}

/* --- the token --- */

#define TOKEN "0123456789abcdef-._~+/="
#define AUTH  "Authorization: Bearer " TOKEN "\r\n"

/* The answer to what came behind it shows that it was read. */
static void give_token(const struct world *w, const char *token)
{
    struct fk_procmsg msg;

    send_data(w->master, FK_PROC_ACCESS, token, -1);
    send_data(w->master, FK_PROC_PING, "", -1);
    receive(w->master, &msg);
    assert_int_equal(msg.type, FK_PROC_PONG);
}

/* Lines of the master's, in the message or in a memfd of this length. */
static void set_facts(const struct world *w, const char *text, size_t len)
{
    struct fk_procmsg msg = {.type = FK_PROC_FACTS};
    int fd = -1;

    if (len <= sizeof msg.data) {
        memcpy(msg.data, text, len);
        msg.len = len;
    } else {
        assert_true((fd = memfd_create("facts", MFD_CLOEXEC)) >= 0);
        assert_int_equal(write(fd, text, len), len);
        msg.fds[0] = fd;
        msg.n_fds = 1;
    }
    assert_ok(fk_proc_send(w->master, &msg));
    if (fd >= 0)
        close(fd);
    send_data(w->master, FK_PROC_PING, "", -1);
    receive(w->master, &msg);
    assert_int_equal(msg.type, FK_PROC_PONG);
}

static void expect_facts(const struct world *w, const char *end)
{
    static char reply[65536];
    const char *counted;

    ask_http(w, "GET /metrics HTTP/1.1\r\n" CLOSE, reply, sizeof reply);
    assert_non_null(counted = strstr(reply, "farkey_test_requests_total 42\n"));
    assert_string_equal(strchr(counted, '\n') + 1, end);
}

/* What nobody counts stands behind the tables, as it was told last. */
static void facts_go_with_metrics(void **state)
{
    static char large[FK_PROC_DATA_MAX + 2];

    memset(large, 'x', sizeof large - 1);
    expect_facts(*state, "");
    set_facts(*state, "farkey_test_site_info 1\n", 24);
    expect_facts(*state, "farkey_test_site_info 1\n");
    set_facts(*state, large, sizeof large - 1);
    expect_facts(*state, large);
    set_facts(*state, "", 0);
    expect_facts(*state, "");
}

static void token_is_asked_for(void **state)
{
    static const struct {
        const char *path;
        int status;
    } rows[] = {{"/metrics", 200}, {"/healthz", 200}, {"/nothing", 404}};
    static const char *const wrong[] = {"",
                                        "Authorization: Bearer 0123456789abcdef-._~+/\r\n",
                                        "Authorization: Bearer " TOKEN "x\r\n",
                                        "Authorization: Bearer 0123456789abcdeF-._~+/=\r\n",
                                        "Authorization: Basic " TOKEN "\r\n",
                                        "Authorization: " TOKEN "\r\n",
                                        "Authorization: Bearer\r\n",
                                        "Authorization:\r\n",
                                        "Authorizatio: Bearer " TOKEN "\r\n",
                                        "Authorizations: Bearer " TOKEN "\r\n",
                                        AUTH AUTH};
    const struct world *w = *state;
    char request[512];

    give_token(w, TOKEN);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++) {
            snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n%s" CLOSE, rows[i].path,
                     wrong[j]);
            expect_status(w, request, 401);
        }
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" AUTH CLOSE, rows[i].path);
        expect_status(w, request, rows[i].status);
        snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nauthorization: bearer   " TOKEN "\r\n" CLOSE, rows[i].path);
        expect_status(w, request, rows[i].status);
    }
}

/* It is the same for everybody, and holds nothing of the daemon: who brings no token may have it.
 */
static void the_page_is_open(void **state)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\n" CLOSE,
        "GET /?x HTTP/1.1\r\n" CLOSE,
        "GET / HTTP/1.1\r\nAuthorization: Bearer x\r\n" CLOSE,
        "GET / HTTP/1.1\r\n" AUTH CLOSE,
    };
    const struct world *w = *state;
    char reply[65536], length[64];

    snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n", fk_admin_page_len);
    give_token(w, TOKEN);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        const char *body;

        ask_http(w, requests[i], reply, sizeof reply);
        assert_non_null(
            strstr(reply, "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"));
        assert_non_null(strstr(reply, length));
        assert_non_null(
            strstr(reply, "\r\nContent-Security-Policy: default-src 'none'; script-src "));
        assert_non_null(strstr(reply, fk_admin_page_policy));
        assert_non_null(strstr(reply, "\r\nX-Content-Type-Options: nosniff\r\n"));
        assert_non_null(body = strstr(reply, "\r\n\r\n"));
        assert_int_equal(strlen(body + 4), fk_admin_page_len);
        assert_memory_equal(body + 4, fk_admin_page, fk_admin_page_len);
    }
    ask_http(w, "HEAD / HTTP/1.1\r\n" CLOSE, reply, sizeof reply);
    assert_non_null(strstr(reply, length));
    assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
}

static void token_is_of_one_request(void **state)
{
    const struct world *w = *state;
    int fd = dial(&w->http);
    char reply[4096];

    give_token(w, TOKEN);
    say(fd, "GET /healthz HTTP/1.1\r\n" AUTH "\r\nGET /healthz HTTP/1.1\r\n\r\n");
    hear(fd, reply, sizeof reply, "is needed\n");
    assert_non_null(strstr(reply, "\r\n\r\nok\n"));
    assert_non_null(strstr(reply, "401 Unauthorized\r\n"));
    assert_non_null(strstr(reply, "WWW-Authenticate: Bearer realm=\"farkey\"\r\n"));
    close(fd);
}

static void token_changes_with_a_reload(void **state)
{
    static const char other[] =
        "GET /healthz HTTP/1.1\r\nAuthorization: Bearer another-token-of-some-length\r\n" CLOSE;
    const struct world *w = *state;

    give_token(w, TOKEN);
    expect_status(w, other, 401);
    give_token(w, "another-token-of-some-length");
    expect_status(w, "GET /healthz HTTP/1.1\r\n" AUTH CLOSE, 401);
    expect_status(w, other, 200);
    give_token(w, "");
    expect_status(w, "GET /healthz HTTP/1.1\r\n" CLOSE, 200);
}

static void connection_is_kept(void **state)
{
    const struct world *w = *state;
    int fd = dial(&w->http);
    char reply[4096];

    for (int i = 0; i < 3; i++) {
        say(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        hear(fd, reply, sizeof reply, "\r\n\r\nok\n");
        assert_null(strstr(reply, "Connection: close"));
    }
    /* Pipelined: answered in order. */
    say(fd, "GET /healthz HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n");
    hear(fd, reply, sizeof reply, "not found\n");
    assert_non_null(strstr(reply, "200 OK"));
    close(fd);
}

static void request_may_come_in_pieces(void **state)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    const struct world *w = *state;
    int fd = dial(&w->http);
    char reply[4096];

    for (size_t i = 0; i < sizeof request - 1; i++)
        assert_int_equal(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
    hear(fd, reply, sizeof reply, "ok\n");
    close(fd);
}

/* RFC 9112 section 2.2: an empty line before a request line is passed over. */
static void empty_line_is_no_request(void **state)
{
    const struct world *w = *state;
    int fd = dial(&w->http);
    char reply[4096];

    say(fd, "GET /healthz HTTP/1.1\r\n\r\n");
    hear(fd, reply, sizeof reply, "ok\n");
    say(fd, "\r\n");
    expect_status(w, "GET /healthz HTTP/1.1\r\n" CLOSE, 200); /* by now the line was read, alone */
    say(fd, "GET /nothing HTTP/1.1\r\n" CLOSE);
    hear(fd, reply, sizeof reply, NULL);
    assert_int_equal(strncmp(reply, "HTTP/1.1 404 ", 13), 0);
    close(fd);
}

static void refusal_after_head_has_its_body(void **state)
{
    const struct world *w = *state;
    int fd = dial(&w->http);
    char reply[4096];

    say(fd, "HEAD /healthz HTTP/1.1\r\n\r\n");
    hear(fd, reply, sizeof reply, "\r\n\r\n");
    say(fd, "\x16\x03\x01\x02");
    hear(fd, reply, sizeof reply, NULL);
    assert_int_equal(strncmp(reply, "HTTP/1.1 400 ", 13), 0);
    assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\nrefused\n");
    close(fd);
}

static void readiness_is_the_masters(void **state)
{
    const struct world *w = *state;
    char reply[4096];
    int fd = dial(&w->http);

    say(fd, "GET /readyz HTTP/1.1\r\n\r\n");
    expect_command(w, "status", "{\"ready\":true}");
    hear(fd, reply, sizeof reply, "ready\n");
    assert_non_null(strstr(reply, "200 OK"));
    say(fd, "GET /readyz HTTP/1.1\r\n\r\n");
    expect_command(w, "status", "{\"ready\":false}");
    hear(fd, reply, sizeof reply, "not ready\n");
    assert_non_null(strstr(reply, "503 "));
    say(fd, "GET /status HTTP/1.1\r\n\r\n");
    expect_command(w, "status", "{\"ready\":true,\"n\":1}");
    hear(fd, reply, sizeof reply, "{\"ready\":true,\"n\":1}");
    assert_non_null(strstr(reply, "application/json"));
    close(fd);
}

/* Whoever holds all places without a request under way, silent or between two, does not keep
 * others out. */
static void idle_connections_make_room_for_requests(void **state)
{
    const struct world *w = *state;
    int fds[FK_ADMIN_HTTP_CONNS + 2];
    char reply[4096];

    for (size_t i = 0; i < FK_ADMIN_HTTP_CONNS; i++) {
        fds[i] = dial(&w->http);
        if (i % 2 == 0)
            continue;
        say(fds[i], "GET /healthz HTTP/1.1\r\n\r\n");
        hear(fds[i], reply, sizeof reply, "ok\n");
    }
    for (size_t i = FK_ADMIN_HTTP_CONNS; i < FK_ADMIN_HTTP_CONNS + 2; i++) {
        fds[i] = dial(&w->http);
        say(fds[i], "GET /healthz HTTP/1.1\r\n\r\n");
        hear(fds[i], reply, sizeof reply, "ok\n");
    }
    assert_int_equal(hear(fds[0], reply, sizeof reply, NULL), 0);
    say(fds[3], "GET /healthz HTTP/1.1\r\n\r\n");
    hear(fds[3], reply, sizeof reply, "ok\n");
    for (size_t i = 0; i < FK_ADMIN_HTTP_CONNS + 2; i++)
        close(fds[i]);
}

/* --- the control socket --- */

static void commands_reach_the_master(void **state)
{
    const struct world *w = *state;
    int fd = dial(&w->control);
    char reply[4096];

    say(fd, "{\"command\":\"status\"}\n{\"command\":\"reload\"}\n");
    expect_command(w, "status", "{\"a\":\n1}");
    expect_command(w, "reload", "{}");
    hear(fd, reply, sizeof reply, "{}\n");
    assert_string_equal(reply, "{\"a\": 1}\n{}\n");
    close(fd);
}

static void large_answers_come_whole(void **state)
{
    const struct world *w = *state;
    size_t size = 300000;
    char *text = malloc(size + 1), *reply = malloc(size + 16);
    int fd = dial(&w->control);

    memset(text, 'x', size);
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + size - 2, "\"}", 3);
    say(fd, "{\"command\":\"status\"}\n");
    expect_command(w, "status", text);
    assert_int_equal(hear(fd, reply, size + 16, "\n"), size + 1);
    reply[size] = '\0';
    assert_string_equal(reply, text);
    close(fd);
    free(text);
    free(reply);
}

static void bad_lines_are_answered(void **state)
{
    static const char *const lines[] = {"x\n",
                                        "[]\n",
                                        "{}\n",
                                        "{\"command\":1}\n",
                                        "{\"command\":\"a b\"}\n",
                                        "{\"command\":\"a\",\"b\":1}\n"};
    const struct world *w = *state;
    int fd = dial(&w->control);
    char reply[4096];

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        say(fd, lines[i]);
        hear(fd, reply, sizeof reply, "\n");
        assert_int_equal(strncmp(reply, "{\"error\":", 9), 0);
    }
    say(fd, "\n{\"command\":\"status\"}\n"); /* the connection goes on */
    expect_command(w, "status", "{}");
    hear(fd, reply, sizeof reply, "\n");
    assert_string_equal(reply, "{}\n");
    close(fd);
}

static void long_line_ends_the_connection(void **state)
{
    const struct world *w = *state;
    int fd = dial(&w->control);
    char line[FK_ADMIN_LINE_MAX + 1], reply[4096];

    memset(line, ' ', sizeof line);
    line[FK_ADMIN_LINE_MAX] = '\0';
    say(fd, line);
    hear(fd, reply, sizeof reply, NULL);
    assert_string_equal(reply, "{\"error\":\"the line is too long\"}\n");
    close(fd);
}

static void late_answers_are_dropped(void **state)
{
    const struct world *w = *state;
    struct fk_procmsg msg;
    int fd = dial(&w->http);
    char reply[4096];

    say(fd, "GET /status HTTP/1.1\r\n\r\n");
    receive(w->master, &msg);
    hear(fd, reply, sizeof reply, "the master does not answer\n"); /* after FK_ADMIN_STATUS_US */
    assert_non_null(strstr(reply, "504 "));
    assert_ok(fk_admin_answer(w->master, msg.arg, "{\"old\":1}", 9));
    say(fd, "GET /status HTTP/1.1\r\n\r\n");
    expect_command(w, "status", "{\"new\":1}");
    hear(fd, reply, sizeof reply, "{\"new\":1}");
    assert_null(strstr(reply, "old"));
    close(fd);
}

/* Whoever holds all places without a word cannot keep a command out. */
static void idle_connections_make_room_for_commands(void **state)
{
    const struct world *w = *state;
    int fds[FK_ADMIN_CONTROL_CONNS], busy, fd;
    char reply[4096];

    busy = dial(&w->control);
    say(busy, "{\"command\":\"status\"}\n");
    expect_command(w, "status", "{}");
    hear(busy, reply, sizeof reply, "{}\n");
    for (size_t i = 0; i < FK_ADMIN_CONTROL_CONNS; i++)
        fds[i] = dial(&w->control);
    assert_int_equal(hear(busy, reply, sizeof reply, NULL), 0); /* idle for longest */
    fd = dial(&w->control);
    say(fd, "{\"command\":\"reload\"}\n");
    expect_command(w, "reload", "{}");
    hear(fd, reply, sizeof reply, "{}\n");
    assert_int_equal(hear(fds[0], reply, sizeof reply, NULL), 0);
    say(fds[FK_ADMIN_CONTROL_CONNS - 1], "{\"command\":\"status\"}\n"); /* the youngest stayed */
    expect_command(w, "status", "{}");
    hear(fds[FK_ADMIN_CONTROL_CONNS - 1], reply, sizeof reply, "{}\n");
    for (size_t i = 0; i < FK_ADMIN_CONTROL_CONNS; i++)
        close(fds[i]);
    close(busy);
    close(fd);
}

/* Nor can it stay without a word: hear() waits for longer than FK_ADMIN_FIRST_US, and for less than
 * FK_ADMIN_PATIENCE_US. */
static void silent_connections_end_soon(void **state)
{
    const struct world *w = *state;
    int fd = dial(&w->control);
    char reply[64];

    assert_int_equal(hear(fd, reply, sizeof reply, NULL), 0);
    close(fd);
}

static void closed_while_asking(void **state)
{
    const struct world *w = *state;
    char reply[4096];
    int fd = dial(&w->control);

    say(fd, "{\"command\":\"status\"}\n");
    expect_command(w, "status", NULL);
    close(fd);
    fd = dial(&w->control);
    say(fd, "{\"command\":\"reload\"}\n");
    expect_command(w, "reload", "{}");
    hear(fd, reply, sizeof reply, "\n");
    close(fd);
}

/* --- request lines --- */

static void lines_are_strict(void **state)
{
    static const struct {
        const char *line;
        int err;
    } rows[] = {
        {"{\"command\":\"status\"}", FK_OK},
        {" {\"command\" : \"a-1\"} ", FK_OK},
        {"", FK_ERR_FORMAT},
        {"null", FK_ERR_FORMAT},
        {"\"status\"", FK_ERR_FORMAT},
        {"[\"command\"]", FK_ERR_FORMAT},
        {"{\"command\":\"status\"", FK_ERR_FORMAT},
        {"{\"command\":\"status\"}}", FK_ERR_FORMAT},
        {"{\"command\":\"status\"}\x00", FK_OK},
        {"{\"command\":null}", FK_ERR_FORMAT},
        {"{\"Command\":\"status\"}", FK_ERR_FORMAT},
        {"{\"command\":\"status\",\"command\":\"x\"}", FK_ERR_DUPLICATE},
        {"{\"command\":\"status\",\"x\":1}", FK_ERR_TRAILING},
        {"{\"command\":\"purge\",\"argument\":\"https://a/b\"}", FK_OK},
        {"{\"argument\":\"https://a/b\"}", FK_ERR_FORMAT},
        {"{\"command\":\"purge\",\"argument\":1}", FK_ERR_FORMAT},
        {"{\"command\":\"purge\",\"argument\":\"a\",\"x\":1}", FK_ERR_TRAILING},
        {"{\"command\":\"purge\",\"argument\":\"\"}", FK_ERR_RANGE},
        {"{\"command\":\"purge\",\"argument\":\"a b\"}", FK_ERR_RANGE},
        {"{\"command\":\"purge\",\"argument\":\"\\u00e4\"}", FK_ERR_RANGE},
        {"{\"command\":\"\"}", FK_ERR_RANGE},
        {"{\"command\":\"Status\"}", FK_ERR_RANGE},
        {"{\"command\":\"status\\u0000\"}", FK_ERR_FORMAT},
        {"{\"command\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", FK_OK},
        {"{\"command\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", FK_ERR_RANGE},
    };
    struct fk_admin_command command;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_err(fk_admin_line_parse(rows[i].line, strlen(rows[i].line), &command), rows[i].err);
}

static void every_prefix_of_a_line_is_malformed(void **state)
{
    static const char line[] = "{\"command\":\"purge\",\"argument\":\"https://a/b\"}";
    struct fk_admin_command command = {.word = "untouched"};

    (void)state;
    for (size_t i = 0; i < sizeof line - 1; i++)
        assert_err(fk_admin_line_parse(line, i, &command), FK_ERR_FORMAT);
    assert_string_equal(command.word, "untouched");
    assert_ok(fk_admin_line_parse(line, sizeof line - 1, &command));
    assert_string_equal(command.word, "purge");
    assert_string_equal(command.argument, "https://a/b");
}

/* As the admin process writes them to its master. */
static void commands_have_one_argument(void **state)
{
    static const struct {
        const char *data;
        size_t len;
        int err;
        const char *word, *argument;
    } rows[] = {
        {"purge\0https://a/b", 17, FK_OK, "purge", "https://a/b"},
        {"purge", 5, FK_OK, "purge", ""},
        {"purge\0", 6, FK_ERR_FORMAT, NULL, NULL},
        {"purge\0a\0b", 9, FK_ERR_FORMAT, NULL, NULL},
        {"purge\0a b", 9, FK_ERR_FORMAT, NULL, NULL},
        {"\0a", 2, FK_ERR_FORMAT, NULL, NULL},
        {"Purge\0a", 7, FK_ERR_FORMAT, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_procmsg msg = {.type = FK_PROC_COMMAND, .len = rows[i].len};
        char word[FK_ADMIN_WORD_SIZE];
        struct fk_admin_command command;

        memcpy(msg.data, rows[i].data, rows[i].len);
        assert_err(fk_admin_command_parse(&msg, &command), rows[i].err);
        if (rows[i].err != FK_OK)
            continue;
        assert_string_equal(command.word, rows[i].word);
        assert_string_equal(command.argument, rows[i].argument);
        assert_err(fk_admin_command_word(&msg, word),
                   rows[i].argument[0] == '\0' ? FK_OK : FK_ERR_FORMAT);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(metrics_are_printed), CASE(facts_go_with_metrics), CASE(head_has_no_body),
          CASE(other_requests_are_refused), CASE(long_requests_are_refused),
          CASE(token_is_asked_for), CASE(token_is_of_one_request), CASE(the_page_is_open),
          CASE(token_changes_with_a_reload), CASE(connection_is_kept),
          CASE(request_may_come_in_pieces), CASE(empty_line_is_no_request),
          CASE(refusal_after_head_has_its_body), CASE(readiness_is_the_masters),
          CASE(idle_connections_make_room_for_requests), CASE(commands_reach_the_master),
          CASE(large_answers_come_whole), CASE(bad_lines_are_answered),
          CASE(long_line_ends_the_connection), CASE(late_answers_are_dropped),
          CASE(commands_have_one_argument), CASE(closed_while_asking),
          CASE(idle_connections_make_room_for_commands), CASE(silent_connections_end_soon),
          cmocka_unit_test(lines_are_strict), cmocka_unit_test(every_prefix_of_a_line_is_malformed))
