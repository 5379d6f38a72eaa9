/*
 * admin: what a client may say to the operators' HTTP listener. First byte: in which pieces the
 * rest comes, what the master does, and whether a token is asked for. Each answer is a whole one,
 * no more of a request waits than a request may have, and how the bytes were cut changes no answer;
 * only which fault of a URL, that it is too long or ill-formed, is met first.
 */
#include "check.h"

#include "admin/internal.h"
#include "base/err.h"
#include "loop/sock.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Below what a request may have: above it the pieces decide which of two refusals is met first.
 */
#define INPUT_MAX 4096

enum master { MASTER_READY, MASTER_NOT_READY, MASTER_ODD, MASTER_SILENT, MASTER_LATE, MASTERS };

static const char *const answers[MASTERS] = {"{\"ready\":true}", "{\"ready\":false}", "[\"ready\"]",
                                             NULL, NULL};

static struct fk_loop *loop;
#define TOKEN "secret-token-of-admin"

static struct fk_admin admin;
static struct fk_serve server;
static int pair[2];

static void ignore(struct fk_io *io, unsigned events)
{
    (void)io;
    (void)events;
}

static void start(void)
{
    CHECK(fk_loop_new(&loop) == FK_OK && fk_sock_pair(SOCK_SEQPACKET, pair) == FK_OK);
    CHECK(fk_secret_dup(TOKEN, strlen(TOKEN), &admin.token) == FK_OK);
    fk_list_init(&admin.questions);
    fk_io_init(&admin.control, loop, pair[0], ignore);
    fk_serve_init(&server, loop, &fk_admin_http, &admin);
}

static struct fk_serve_conn *open_conn(void)
{
    struct fk_serve_conn *conn = calloc(1, fk_admin_http.size);

    CHECK(conn != NULL);
    conn->server = &server;
    fk_io_init(&conn->io, loop, pair[1], ignore); /* any descriptor: the loop does not run */
    fk_timer_init(&conn->timer, loop, NULL);
    fk_buf_init(&conn->in, fk_admin_http.in_max);
    fk_buf_init(&conn->out, fk_admin_http.out_max);
    fk_admin_http.opened(conn);
    return conn;
}

static void close_conn(struct fk_serve_conn *conn)
{
    fk_admin_http.closing(conn);
    CHECK(fk_list_empty(&admin.questions));
    fk_io_want(&conn->io, 0);
    fk_timer_stop(&conn->timer);
    fk_buf_fini(&conn->in);
    fk_buf_fini(&conn->out);
    free(conn);
}

/* As the master's answer comes in, or its time is over. */
static void be_master(struct fk_serve_conn *conn, enum master master)
{
    struct fk_admin_question *question =
        fk_container(admin.questions.next, struct fk_admin_question, link);
    char drain[1024];

    CHECK(!fk_list_empty(&admin.questions) && recv(pair[1], drain, sizeof drain, 0) > 0);
    if (master == MASTER_LATE) {
        fk_admin_http.late(conn);
        return;
    }
    fk_list_del(&question->link);
    question->answered(question, answers[master],
                       answers[master] != NULL ? strlen(answers[master]) : 0);
}

/* "HTTP/1.1 STATUS", Content-Length, and as many bytes (none to HEAD). */
static void check_answer(const char *text, size_t len)
{
    const char *end = memmem(text, len, "\r\n\r\n", 4);
    const char *field = memmem(text, len, "Content-Length: ", 16);
    size_t body;
    int status;

    CHECK(end != NULL && field != NULL && field < end);
    CHECK(sscanf(text, "HTTP/1.1 %3d ", &status) == 1 && status >= 200 && status <= 504);
    CHECK(sscanf(field, "Content-Length: %zu\r\n", &body) == 1);
    len -= (size_t)(end + 4 - text);
    CHECK(len == body || len == 0);
}

/* What waits in `in`, as far as it goes; answers are moved to `all`. */
static void serve(struct fk_serve_conn *conn, enum master master, struct fk_buf *all)
{
    while (conn->state == FK_SERVE_READING && fk_buf_len(&conn->in) > 0) {
        size_t before = fk_buf_len(&conn->in), len;

        fk_admin_http.received(conn);
        if (conn->state == FK_SERVE_ASKING)
            be_master(conn, master);
        CHECK(conn->state != FK_SERVE_ASKING && fk_buf_len(&conn->in) < before);
        if (conn->state == FK_SERVE_READING)
            continue;
        len = fk_buf_len(&conn->out);
        CHECK(fk_buf_append(&conn->out, "", 1) == FK_OK); /* a text for sscanf() */
        check_answer((const char *)fk_buf_data(&conn->out), len);
        CHECK(fk_buf_append(all, fk_buf_data(&conn->out), len) == FK_OK);
        fk_buf_consume(&conn->out, len + 1);
        if (conn->state == FK_SERVE_WRITING)
            conn->state = FK_SERVE_READING;
    }
}

static void talk(const uint8_t *data, size_t size, size_t piece, enum master master,
                 struct fk_buf *all)
{
    struct fk_serve_conn *conn = open_conn();

    while (size > 0 && conn->state == FK_SERVE_READING) {
        size_t n = size < piece ? size : piece;

        CHECK(fk_buf_append(&conn->in, data, n) == FK_OK);
        data += n;
        size -= n;
        serve(conn, master, all);
    }
    close_conn(conn);
}

static bool ends_with_url_refused(const struct fk_buf *all, size_t from)
{
    size_t len = fk_buf_len(all) - from;
    const char *text = (const char *)fk_buf_data(all) + from;

    return len > 13 &&
           (memcmp(text, "HTTP/1.1 414 ", 13) == 0 || memcmp(text, "HTTP/1.1 400 ", 13) == 0);
}

static void check_same(const struct fk_buf *a, const struct fk_buf *b)
{
    size_t at = 0, last = 0;
    const uint8_t *x = fk_buf_data(a), *y = fk_buf_data(b);

    while (at < fk_buf_len(a) && at < fk_buf_len(b) && x[at] == y[at]) {
        if (fk_buf_len(a) - at > 9 && memcmp(x + at, "HTTP/1.1 ", 9) == 0)
            last = at;
        at++;
    }
    if (at == fk_buf_len(a) && at == fk_buf_len(b))
        return;
    CHECK(ends_with_url_refused(a, last) && ends_with_url_refused(b, last));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_buf whole, pieces;
    enum master master;

    if (loop == NULL)
        start();
    if (size == 0 || size > INPUT_MAX)
        return 0;
    master = data[0] % MASTERS;
    admin.token_len = (data[0] & 1) != 0 ? strlen(TOKEN) : 0;
    fk_buf_init(&whole, SIZE_MAX / 2);
    fk_buf_init(&pieces, SIZE_MAX / 2);
    talk(data + 1, size - 1, size, master, &whole);
    talk(data + 1, size - 1, 1 + data[0] / MASTERS, master, &pieces);
    check_same(&whole, &pieces);
    fk_buf_fini(&whole);
    fk_buf_fini(&pieces);
    return 0;
}
