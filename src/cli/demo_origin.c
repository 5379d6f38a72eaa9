/*
 * The demonstration's origin, a process of its own: a small HTTP/1.1 server over plain TCP that
 * answers each request with a text about it. Knows nothing of TLS.
 *
 * Child role "demo-origin": FK_PROC_LISTEN (its listening socket), FK_PROC_GO, then it answers
 * FK_PROC_READY and serves until its master ends.
 */
#include "cli/demo.h"

#include "admin/serve.h"
#include "base/err.h"
#include "base/limits.h"
#include "loop/proc.h"
#include "loop/sock.h"

#include <llhttp.h>
#include <stdio.h>
#include <string.h>

struct origin_conn {
    struct fk_serve_conn conn;
    llhttp_t parser;
    unsigned requests;
    bool whole;
    bool keep_alive;
    uint64_t body_len;
    size_t url_len, host_len;
    char url[FK_DEMO_TEXT_MAX + 1];
    char host[FK_DEMO_TEXT_MAX + 1];
    char field[FK_DEMO_TEXT_MAX + 1]; /* the present one's name and value */
    char value[FK_DEMO_FIELD_MAX + 1];
    size_t field_len, value_len;
    char shown[FK_DEMO_ORIGIN_OUT / 2]; /* lines of fields that are shown */
    size_t shown_len;
};

/* --- parsing --- */

static struct origin_conn *conn_of(llhttp_t *parser)
{
    return parser->data;
}

/* Keep what fits; the answer shows the beginning of what is longer. */
static void keep(char *dst, size_t size, size_t *len, const char *at, size_t n)
{
    size_t room = size - 1 - *len;

    if (n > room)
        n = room;
    memcpy(dst + *len, at, n);
    *len += n;
    dst[*len] = '\0';
}

static int on_begin(llhttp_t *parser)
{
    struct origin_conn *origin = conn_of(parser);

    origin->whole = false;
    origin->body_len = 0;
    origin->url_len = origin->host_len = origin->field_len = origin->value_len = 0;
    origin->url[0] = origin->host[0] = origin->field[0] = origin->value[0] = '\0';
    origin->shown_len = 0;
    origin->shown[0] = '\0';
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct origin_conn *origin = conn_of(parser);

    keep(origin->url, sizeof origin->url, &origin->url_len, at, len);
    return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct origin_conn *origin = conn_of(parser);

    keep(origin->field, sizeof origin->field, &origin->field_len, at, len);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct origin_conn *origin = conn_of(parser);

    keep(origin->value, sizeof origin->value, &origin->value_len, at, len);
    return 0;
}

/* What every client sends is not worth a line. */
static bool is_plain(const char *field)
{
    static const char *const names[] = {"accept",       "connection", "content-length",
                                        "content-type", "expect",     "transfer-encoding",
                                        "user-agent"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(names[i], field) == 0)
            return true;
    return false;
}

static int on_value_complete(llhttp_t *parser)
{
    struct origin_conn *origin = conn_of(parser);
    size_t room = sizeof origin->shown - origin->shown_len;
    int n;

    if (strcasecmp(origin->field, "host") == 0) {
        keep(origin->host, sizeof origin->host, &origin->host_len, origin->value,
             origin->value_len);
    } else if (!is_plain(origin->field)) {
        n = snprintf(origin->shown + origin->shown_len, room, "%s: %s\n", origin->field,
                     origin->value);
        if ((size_t)n < room)
            origin->shown_len += (size_t)n;
        else
            origin->shown[origin->shown_len] = '\0';
    }
    origin->field_len = origin->value_len = 0;
    origin->field[0] = origin->value[0] = '\0';
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    (void)at;
    conn_of(parser)->body_len += len;
    return 0;
}

static int on_complete(llhttp_t *parser)
{
    struct origin_conn *origin = conn_of(parser);

    origin->whole = true;
    origin->keep_alive = llhttp_should_keep_alive(parser) != 0;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

/* --- answering --- */

static void answer(struct origin_conn *origin, const char *status, bool last)
{
    char peer[FK_ADDR_TEXT_SIZE], body[3 * FK_DEMO_TEXT_MAX + sizeof origin->shown], head[256];
    int body_len, head_len;

    fk_addr_format(&origin->conn.peer, peer);
    body_len = snprintf(body, sizeof body,
                        "Hello from the origin.\n"
                        "request: %s %s HTTP/%u.%u\n"
                        "host: %s\n"
                        "%s"
                        "body: %llu bytes\n"
                        "connection: from %s, request %u on it\n",
                        llhttp_method_name((llhttp_method_t)origin->parser.method), origin->url,
                        (unsigned)origin->parser.http_major, (unsigned)origin->parser.http_minor,
                        origin->host, origin->shown, (unsigned long long)origin->body_len, peer,
                        origin->requests);
    head_len = snprintf(head, sizeof head,
                        "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                        "Content-Length: %d\r\n%s\r\n",
                        status, body_len, last ? "Connection: close\r\n" : "");
    if (fk_buf_append(&origin->conn.out, head, (size_t)head_len) != FK_OK ||
        (origin->parser.method != HTTP_HEAD &&
         fk_buf_append(&origin->conn.out, body, (size_t)body_len) != FK_OK))
        last = true;
    fk_serve_conn_answer(&origin->conn, last);
}

static void origin_received(struct fk_serve_conn *conn)
{
    struct origin_conn *origin = (struct origin_conn *)conn;
    const char *data = (const char *)fk_buf_data(&conn->in);
    size_t len = fk_buf_len(&conn->in), used = len;
    llhttp_errno_t err = llhttp_execute(&origin->parser, data, len);

    if (err == HPE_PAUSED)
        used = (size_t)(llhttp_get_error_pos(&origin->parser) - data);
    fk_buf_consume(&conn->in, used);
    if (origin->whole && err == HPE_PAUSED) {
        llhttp_resume(&origin->parser);
        origin->whole = false;
        origin->requests++;
        answer(origin, "200 OK", !origin->keep_alive);
    } else if (err != HPE_OK) {
        answer(origin, "400 Bad Request", true);
    }
}

static void origin_opened(struct fk_serve_conn *conn)
{
    struct origin_conn *origin = (struct origin_conn *)conn;

    llhttp_init(&origin->parser, HTTP_REQUEST, &settings);
    origin->parser.data = origin;
    fk_sock_nodelay(fk_io_fd(&conn->io));
}

static const struct fk_serve_protocol protocol = {
    .size = sizeof(struct origin_conn),
    .in_max = FK_DEMO_ORIGIN_IN,
    .out_max = FK_DEMO_ORIGIN_OUT,
    .max = FK_DEMO_ORIGIN_CONNS,
    .patience = FK_DEMO_ORIGIN_IDLE_US,
    .opened = origin_opened,
    .received = origin_received,
};

/* --- the process --- */

static int take_message(struct fk_demo_child *child, struct fk_procmsg *msg)
{
    struct fk_serve *server = child->ctx;

    if (msg->type == FK_PROC_LISTEN && msg->n_fds == 1) {
        fk_serve_listen(server, msg->fds[0]);
        msg->fds[0] = -1; /* moved */
        return FK_OK;
    }
    if (msg->type != FK_PROC_GO)
        return FK_ERR_UNEXPECTED;
    fk_serve_start(server);
    return FK_OK;
}

int fk_demo_origin_main(unsigned index)
{
    struct fk_serve server;
    struct fk_demo_child child;
    int err;

    fk_proc_want_descriptors(0); /* one a connection */
    if ((err = fk_demo_child_init(&child, "demo-origin", index, take_message, &server)) != FK_OK)
        return 1;
    fk_serve_init(&server, child.loop, &protocol, NULL);
    fk_loop_run(child.loop);
    fk_serve_fini(&server);
    return fk_demo_child_fini(&child);
}
