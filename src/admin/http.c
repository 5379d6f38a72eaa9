/*
 * The operator's HTTP/1.1 listener: GET and HEAD of five paths, anything else is refused. llhttp
 * parses, strictly; requests with a body are refused, so nothing can hide behind one.
 */
#include "admin/internal.h"

#include "admin/bearer.h"
#include "admin/host.h"
#include "admin/page.h"
#include "base/err.h"
#include "base/limits.h"

#include <jansson.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_TYPE    "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define JSON_TYPE    "application/json"
#define PAGE_TYPE    "text/html; charset=utf-8"

struct http_conn {
    struct fk_serve_conn conn;
    struct fk_admin_question question;
    llhttp_t parser;
    size_t fed;      /* bytes of the present request given to the parser */
    int refusal;     /* status to refuse it with; 0: none */
    bool keep_alive; /* as the request asks */
    bool whole;      /* the request ended, and is not answered yet */
    bool head;       /* it is a HEAD: its answer has no body */
    bool granted;    /* it brought what is asked for */
    struct fk_field authorization, host;
    const struct http_path *path;
    size_t url_len;
    char url[FK_ADMIN_URL_MAX + 1];
};

struct http_path {
    const char *path;
    bool open; /* nothing of this daemon is told: no token is asked for */
    void (*serve)(struct http_conn *http);
    void (*answered)(struct fk_admin_question *question, const char *json, size_t len);
};

/* --- answers --- */

static const char *status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 421:
        return "Misdirected Request";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Bad Request";
    }
}

/* What a refusal has to say besides. */
static const char *status_field(int status)
{
    if (status == 401)
        return "WWW-Authenticate: Bearer realm=\"farkey\"\r\n";
    return status == 405 ? "Allow: GET, HEAD\r\n" : "";
}

struct answer {
    int status;
    const char *type;
    const char *fields; /* besides: whole lines */
    const char *body;
    size_t len;
};

static void answer_with(struct http_conn *http, const struct answer *answer)
{
    struct fk_buf *out = &http->conn.out;
    bool last = !http->keep_alive || http->refusal != 0;
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                     "Cache-Control: no-store\r\n%s%s\r\n",
                     answer->status, status_text(answer->status), answer->type, answer->len,
                     answer->fields, last ? "Connection: close\r\n" : "");

    if (fk_buf_append(out, head, (size_t)n) != FK_OK)
        last = true;
    else if (!http->head && fk_buf_append(out, answer->body, answer->len) != FK_OK)
        last = true;
    http->head = false; /* what is refused next may not even begin */
    fk_serve_conn_answer(&http->conn, last);
}

static void answer(struct http_conn *http, int status, const char *type, const char *body,
                   size_t len)
{
    answer_with(http, &(struct answer){.status = status,
                                       .type = type,
                                       .fields = status_field(status),
                                       .body = body,
                                       .len = len});
}

static void answer_text(struct http_conn *http, int status, const char *text)
{
    answer(http, status, TEXT_TYPE, text, strlen(text));
}

static void serve_metrics(struct http_conn *http)
{
    const struct fk_admin *admin = admin_of(&http->conn);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out != NULL) {
        for (size_t i = 0; i < admin->n_metrics; i++)
            fk_metrics_print(admin->metrics[i], out);
        if (admin->facts != NULL)
            (void)fwrite(admin->facts, 1, admin->facts_len, out);
        if (fclose(out) != 0)
            len = 0;
    }
    if (len == 0 || len > FK_ADMIN_ANSWER_MAX)
        answer_text(http, 500, "no memory\n");
    else
        answer(http, 200, METRICS_TYPE, text, len);
    free(text);
}

/* A browser runs what is in it, and asks this listener; nothing else. */
static void serve_page(struct http_conn *http)
{
    char fields[768];

    (void)snprintf(fields, sizeof fields,
                   "Content-Security-Policy: %s\r\n"
                   "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n",
                   fk_admin_page_policy);
    answer_with(http, &(struct answer){.status = 200,
                                       .type = PAGE_TYPE,
                                       .fields = fields,
                                       .body = fk_admin_page,
                                       .len = fk_admin_page_len});
}

static void serve_health(struct http_conn *http)
{
    answer_text(http, 200, "ok\n");
}

/* Ask the master for its status; the path's `answered` goes on. */
static void serve_status(struct http_conn *http)
{
    static const struct fk_admin_command status = {.word = "status"};

    fk_admin_question_init(&http->question);
    http->question.answered = http->path->answered;
    if (fk_admin_ask(admin_of(&http->conn), &status, &http->question) != FK_OK)
        answer_text(http, 503, "the master does not keep up\n");
    else
        fk_serve_conn_asking(&http->conn);
}

static void status_answered(struct fk_admin_question *question, const char *json, size_t len)
{
    struct http_conn *http = fk_container(question, struct http_conn, question);

    if (json == NULL)
        answer_text(http, 503, "the master does not answer\n");
    else
        answer(http, 200, JSON_TYPE, json, len);
}

static void ready_answered(struct fk_admin_question *question, const char *json, size_t len)
{
    struct http_conn *http = fk_container(question, struct http_conn, question);
    json_t *status = json == NULL ? NULL : json_loadb(json, len, 0, NULL);

    if (json_is_true(json_object_get(status, "ready")))
        answer_text(http, 200, "ready\n");
    else
        answer_text(http, 503, "not ready\n");
    json_decref(status);
}

static const struct http_path paths[] = {
    {"/", true, serve_page, NULL},
    {"/metrics", false, serve_metrics, NULL},
    {"/healthz", false, serve_health, NULL},
    {"/readyz", false, serve_status, ready_answered},
    {"/status", false, serve_status, status_answered},
};

static const struct http_path *find_path(const char *url)
{
    size_t len = strcspn(url, "?");

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (strlen(paths[i].path) == len && strncmp(paths[i].path, url, len) == 0)
            return &paths[i];
    return NULL;
}

static void refuse_stranger(struct http_conn *http)
{
    struct fk_serve *server = http->conn.server;
    char peer[FK_ADDR_TEXT_SIZE];

    fk_addr_format(&http->conn.peer, peer);
    fk_log_limited(&server->limit, FK_LOG_WARN, "operator's request without the right token",
                   fk_str("peer", peer), fk_error(FK_ERR_DENIED));
    answer_text(http, 401, "Authorization: Bearer TOKEN is needed\n");
}

static void handle_request(struct http_conn *http)
{
    if (http->refusal != 0) {
        answer_text(http, http->refusal, "refused\n");
        return;
    }
    http->path = find_path(http->url);
    if (!http->granted && (http->path == NULL || !http->path->open)) {
        refuse_stranger(http);
        return;
    }
    if (http->path == NULL)
        answer_text(http, 404, "not found\n");
    else
        http->path->serve(http);
}

/* --- parsing --- */

static int on_begin(llhttp_t *parser)
{
    struct http_conn *http = parser->data;

    http->refusal = 0;
    http->whole = false;
    http->keep_alive = false;
    http->head = false;
    http->granted = false;
    fk_field_reset(&http->authorization, "authorization");
    fk_field_reset(&http->host, "host");
    http->url_len = 0;
    http->url[0] = '\0';
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct http_conn *http = parser->data;

    if (len > FK_ADMIN_URL_MAX - http->url_len) {
        http->refusal = 414;
        return HPE_USER;
    }
    memcpy(http->url + http->url_len, at, len);
    http->url_len += len;
    http->url[http->url_len] = '\0';
    return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct http_conn *http = parser->data;

    fk_field_name(&http->authorization, at, len);
    fk_field_name(&http->host, at, len);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct http_conn *http = parser->data;

    fk_field_value(&http->authorization, at, len);
    fk_field_value(&http->host, at, len);
    return 0;
}

/* What is not asked for need not be brought. What was brought is not kept. */
static bool is_granted(struct http_conn *http)
{
    const struct fk_admin *admin = admin_of(&http->conn);
    bool granted =
        admin->token_len == 0 ||
        fk_bearer_grants(&http->authorization, fk_secret_bytes(admin->token), admin->token_len);

    fk_field_reset(&http->authorization, "authorization");
    return granted;
}

/* Who has the token is no stranger's page, and no browser speaks to UNIX sockets. */
static bool is_addressed(const struct http_conn *http)
{
    return admin_of(&http->conn)->token_len > 0 || http->conn.peer.storage.ss_family == AF_UNIX ||
           fk_host_is_nobodys(&http->host);
}

/* Decide from the head alone: after a refusal nothing more of the connection is read. */
static int on_head(llhttp_t *parser)
{
    struct http_conn *http = parser->data;

    http->head = parser->method == HTTP_HEAD;
    http->granted = is_granted(http);
    if (parser->method != HTTP_GET && !http->head)
        http->refusal = 405;
    else if (parser->content_length > 0 || (parser->flags & F_CHUNKED) != 0)
        http->refusal = 413;
    else if (parser->upgrade != 0 || parser->http_major != 1)
        http->refusal = 400;
    else if (!is_addressed(http))
        http->refusal = 421;
    if (http->refusal == 0)
        return 0;
    http->whole = true;
    return HPE_PAUSED;
}

static int on_complete(llhttp_t *parser)
{
    struct http_conn *http = parser->data;

    http->whole = true;
    http->keep_alive = llhttp_should_keep_alive(parser) != 0;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_message_complete = on_complete,
};

/* Feed what waits; true when a request is complete or refused. */
static bool feed(struct http_conn *http)
{
    struct fk_buf *in = &http->conn.in;
    const char *data = (const char *)fk_buf_data(in);
    size_t len = fk_buf_len(in), used = len;
    llhttp_errno_t err = llhttp_execute(&http->parser, data, len);

    if (err == HPE_PAUSED)
        used = (size_t)(llhttp_get_error_pos(&http->parser) - data);
    fk_buf_consume(in, used);
    http->fed += used;
    if (err != HPE_OK && err != HPE_PAUSED && http->refusal == 0)
        http->refusal = 400;
    if (http->fed > FK_ADMIN_REQUEST_MAX)
        http->refusal = 431;
    return http->whole || http->refusal != 0;
}

static void http_received(struct fk_serve_conn *conn)
{
    struct http_conn *http = (struct http_conn *)conn;

    if (!feed(http))
        return;
    if (http->refusal == 0)
        llhttp_resume(&http->parser);
    http->fed = 0;
    http->whole = false; /* an empty line before the next request begins none */
    handle_request(http);
}

static void http_opened(struct fk_serve_conn *conn)
{
    struct http_conn *http = (struct http_conn *)conn;

    fk_admin_question_init(&http->question);
    llhttp_init(&http->parser, HTTP_REQUEST, &settings);
    http->parser.data = http;
}

static void http_closing(struct fk_serve_conn *conn)
{
    fk_admin_forget(&((struct http_conn *)conn)->question);
}

static void http_late(struct fk_serve_conn *conn)
{
    struct http_conn *http = (struct http_conn *)conn;

    fk_admin_forget(&http->question);
    answer_text(http, 504, "the master does not answer\n");
}

const struct fk_serve_protocol fk_admin_http = {
    .size = sizeof(struct http_conn),
    .in_max = FK_ADMIN_REQUEST_MAX,
    .out_max = FK_ADMIN_ANSWER_MAX + FK_ADMIN_REQUEST_MAX,
    .patience = FK_ADMIN_PATIENCE_US,
    .first = FK_ADMIN_FIRST_US,
    .evict = true,
    .asking = FK_ADMIN_STATUS_US,
    .max = FK_ADMIN_HTTP_CONNS,
    .same_owner = false,
    .opened = http_opened,
    .received = http_received,
    .closing = http_closing,
    .late = http_late,
};
