/*
 * admin without memory, in this process: each allocation that a scraper or an operator can cause
 * fails once. Either there is a whole answer, or the connection ends without one.
 */
#include "failmalloc.h"
#include "unit.h"

#include "admin/command.h"
#include "admin/internal.h"
#include "base/err.h"
#include "loop/sock.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct fk_metric table[] = {
    {"farkey_test_requests_total", NULL, FK_METRIC_COUNTER, "Requests, of which there are many."},
    {"farkey_test_seconds", NULL, FK_METRIC_HISTOGRAM, "Time."},
    {NULL, NULL, FK_METRIC_COUNTER, NULL},
};

struct world {
    struct fk_admin admin;
    struct fk_addr addr;
    char path[64];
    struct fk_timer guard, turn;
};

static void on_guard(struct fk_timer *timer)
{
    (void)timer;
    fail_msg("nothing happens");
}

static void on_turn(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static int setup(void **state)
{
    static struct world world;
    struct world *w = &world;
    int memory;

    memset(w, 0, sizeof *w);
    (void)signal(SIGPIPE, SIG_IGN);
    fk_log_threshold(FK_LOG_ERROR);
    assert_ok(fk_loop_new(&w->admin.loop));
    fk_list_init(&w->admin.questions);
    assert_ok(fk_metrics_create(table, 1, &memory));
    assert_ok(fk_metrics_open(table, memory, &w->admin.metrics[0]));
    (void)close(memory);
    w->admin.n_metrics = 1;
    fk_timer_init(&w->guard, w->admin.loop, on_guard);
    fk_timer_init(&w->turn, w->admin.loop, on_turn);
    fk_timer_start(&w->guard, 60 * 1000000);
    (void)snprintf(w->path, sizeof w->path, "/tmp/test_admin_memory_%d", (int)getpid());
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    fk_timer_stop(&w->guard);
    fk_metrics_close(w->admin.metrics[0]);
    fk_loop_free(w->admin.loop);
    return 0;
}

static void start(struct world *w, struct fk_serve *server, const struct fk_serve_protocol *what)
{
    char text[FK_ADDR_TEXT_SIZE];
    int fd;

    (void)snprintf(text, sizeof text, "unix:%s", w->path);
    assert_ok(fk_addr_parse(text, &w->addr));
    assert_ok(fk_sock_listen(&w->addr, &(struct fk_listen_options){.mode = 0600}, &fd));
    fk_serve_init(server, w->admin.loop, what, &w->admin);
    fk_serve_listen(server, fd);
    fk_serve_start(server);
}

static void stop(struct world *w, struct fk_serve *server)
{
    fk_serve_fini(server);
    (void)unlink(w->path);
}

/* Ask and read until the server closes, or `end` has come. */
static size_t ask(struct world *w, const char *request, const char *end, char *got, size_t size)
{
    size_t len = 0;
    ssize_t n = -1;
    int fd;

    assert_ok(fk_sock_connect(&w->addr, NULL, NULL, &fd));
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    got[0] = '\0';
    while (n != 0 && (end == NULL || strstr(got, end) == NULL)) {
        fk_timer_start(&w->turn, 1000);
        fk_loop_run(w->admin.loop);
        n = recv(fd, got + len, size - 1 - len, MSG_DONTWAIT);
        len += n > 0 ? (size_t)n : 0;
        got[len] = '\0';
    }
    (void)close(fd);
    return len;
}

/* Until the server has noticed that all clients have gone. */
static void wait_for_end(struct world *w, const struct fk_serve *server)
{
    while (server->count > 0) {
        fk_timer_start(&w->turn, 1000);
        fk_loop_run(w->admin.loop);
    }
}

/* --- HTTP --- */

/* Whether the reply is as long as it says. */
static bool is_whole(const char *reply)
{
    const char *body = strstr(reply, "\r\n\r\n"), *at = strstr(reply, "Content-Length: ");
    size_t len;

    return body != NULL && at != NULL && sscanf(at, "Content-Length: %zu", &len) == 1 &&
           strlen(body + 4) == len;
}

static void scrapers_get_all_or_an_end(void **state)
{
    static const char *const requests[] = {
        "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    };
    static char whole[65536], got[65536];
    struct world *w = *state;
    struct fk_serve *server = &w->admin.http;

    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        size_t n = 0;
        bool fired;

        start(w, server, &fk_admin_http);
        (void)ask(w, requests[i], NULL, whole, sizeof whole);
        assert_true(is_whole(whole));
        do {
            wait_for_end(w, server);
            failmalloc_arm(++n);
            (void)ask(w, requests[i], NULL, got, sizeof got);
            wait_for_end(w, server);
            fired = failmalloc_disarm();
            assert_int_equal(failmalloc_live(), 0);
            assert_true(is_whole(got) == !fired);
            /* After FK_SERVE_RETRY_US at the latest the next is served. */
            (void)ask(w, requests[i], NULL, got, sizeof got);
            assert_string_equal(got, whole);
        } while (fired);
        assert_true(n - 1 >= 3); /* the connection, what comes, what goes */
        stop(w, server);
    }
}

/* --- the control socket --- */

/* An answer that there is no memory for must not leave its place to the next one. */
static void operators_get_their_answer_or_an_end(void **state)
{
    static const char two[] = "no command\n{\"command\":\"a\",\"command\":\"b\"}\n";
    struct world *w = *state;
    struct fk_serve *server = &w->admin.ctl;
    char whole[1024], got[1024];
    size_t n = 0;
    bool fired;

    start(w, server, &fk_admin_control);
    (void)ask(w, two, "twice\"}\n", whole, sizeof whole);
    assert_int_equal(strncmp(whole, "{\"error\":\"write", 15), 0);
    wait_for_end(w, server);
    do {
        failmalloc_arm(++n);
        (void)ask(w, two, "twice\"}\n", got, sizeof got);
        wait_for_end(w, server);
        fired = failmalloc_disarm();
        assert_int_equal(failmalloc_live(), 0);
        assert_true((strcmp(got, whole) == 0) == !fired);
        assert_int_equal(strncmp(got, whole, strlen(got)), 0); /* the first, or none */
        (void)ask(w, two, "twice\"}\n", got, sizeof got);
        assert_string_equal(got, whole);
        wait_for_end(w, server);
    } while (fired);
    assert_true(n - 1 >= 3); /* the connection, what comes, what goes */
    stop(w, server);
}

/* --- the master's answers --- */

static int take_answer(void *context)
{
    const struct fk_procmsg *msg = context;
    char *text = NULL;
    size_t len = 4711;
    int err = fk_admin_answer_take(msg, &text, &len);

    if (err != FK_OK) {
        assert_null(text);
        assert_int_equal(len, 4711);
    } else {
        assert_string_equal(text, "{}");
    }
    free(text);
    return err;
}

static void answers_are_taken_or_told(void **state)
{
    struct fk_procmsg small = {.type = FK_PROC_ANSWER, .data = "{}", .len = 2};
    struct fk_procmsg large = {.type = FK_PROC_ANSWER, .n_fds = 1};

    (void)state;
    large.fds[0] = memfd_create("answer", MFD_CLOEXEC);
    assert_int_equal(write(large.fds[0], "{}", 2), 2);
    assert_int_equal(failmalloc_try(take_answer, &small), 1);
    assert_int_equal(failmalloc_try(take_answer, &large), 1);
    (void)close(large.fds[0]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(scrapers_get_all_or_an_end), CASE(operators_get_their_answer_or_an_end),
          CASE(answers_are_taken_or_told))
