/*
 * After the handshake, with protocol = http: the client's requests, each to an origin and its
 * answer back (http/exchange). Moves bytes between the exchange and the two ends and connects to
 * origins when it wants one; decides nothing about HTTP.
 */
#include "base/err.h"
#include "base/limits.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"
#include "http/exchange.h"

#include <arpa/inet.h>
#include <stdlib.h>

struct fk_conn_http {
    struct fk_exchange_conf conf;
    struct fk_exchange exchange;
    struct fk_http_identity *identity; /* what is said of the client's certificate; NULL: nothing */
    char peer[INET6_ADDRSTRLEN];       /* the client's address for origins; "": a UNIX socket */
};

/* --- the origin --- */

static void origin_failed(struct fk_conn *conn, int err)
{
    int status = 502;

    if (err == FK_ERR_TIMEOUT)
        status = 504;
    else if (err == FK_ERR_LIMIT)
        status = 503;
    fk_conn_origin_failed(conn, err);
    fk_origin_stop(&conn->origin);
    if (fk_exchange_origin_failed(&conn->http->exchange, status) != FK_OK)
        (void)fk_conn_lose(conn, "out of memory", FK_ERR_NOMEM);
}

static void origin_connected(struct fk_conn *conn)
{
    fk_conn_origin_connected(conn);
    fk_exchange_attached(&conn->http->exchange);
}

static void on_origin(struct fk_origin_use *use, int err)
{
    struct fk_conn *conn = fk_container(use, struct fk_conn, origin);

    if (err == FK_OK)
        origin_connected(conn);
    else
        origin_failed(conn, err);
    conn->origin_started = false;
    fk_conn_step(conn);
}

static void start_origin(struct fk_conn *conn)
{
    int err;

    conn->origin_started = true; /* until it is there, or has failed */
    err = fk_origin_start(&conn->origin, conn->site->origins, on_origin);
    if (err == FK_ERR_AGAIN)
        return;
    conn->origin_started = false;
    if (err == FK_OK)
        origin_connected(conn);
    else
        origin_failed(conn, err);
}

/* Connect or let go, as the exchange wishes. *ret_moved: something has changed. */
static int follow_wishes(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_exchange *exchange = &conn->http->exchange;

    if (exchange->spent) {
        fk_conn_origin_drop(conn);
        *ret_moved = true;
        return fk_exchange_detached(exchange);
    }
    if (fk_exchange_wants_origin(exchange) && !conn->origin_started) {
        start_origin(conn);
        *ret_moved = !conn->origin_started;
    }
    return FK_OK;
}

/* --- bytes --- */

/* Write what waits. FK_ERR_AGAIN: the end takes no more now. */
static int drain(struct fk_end *end, struct fk_buf *buf)
{
    int err;

    if (fk_end_pending(end) && (err = end->ops->flush(end)) != FK_OK)
        return err;
    while (fk_buf_len(buf) > 0) {
        ssize_t n = end->ops->write(end, fk_buf_data(buf), fk_buf_len(buf));

        if (n < 0)
            return (int)n;
        fk_buf_consume(buf, (size_t)n);
    }
    return FK_OK;
}

/* Read once. FK_OK with *ret_len bytes, 0 at the end of the direction; FK_ERR_AGAIN. */
static int fill(struct fk_end *end, struct fk_buf *buf, const struct fk_scratch *scratch,
                size_t *ret_len)
{
    size_t room = fk_buf_room(buf);
    uint8_t *data;
    ssize_t n;

    n = end->ops->read(end, scratch->mem, room < scratch->size ? room : scratch->size, &data);
    if (n < 0)
        return (int)n;
    *ret_len = (size_t)n;
    return fk_buf_append(buf, data, (size_t)n);
}

static int read_client(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    size_t len;
    int err;

    if (!conn->relay.client.ready || !fk_exchange_reads_client(exchange))
        return FK_OK;
    err = fill(&conn->relay.client, &exchange->client_in, &conn->env->scratch, &len);
    if (err == FK_ERR_AGAIN)
        return FK_OK;
    if (err != FK_OK)
        return err;
    conn->relay.up.bytes += len;
    if (len == 0)
        fk_exchange_client_ended(exchange);
    *ret_moved = true;
    return FK_OK;
}

/* An origin that breaks has ended: what that means depends on what it has said. */
static int read_origin(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    size_t len = 0;
    int err;

    if (conn->relay.origin.ops == NULL || !conn->relay.origin.ready ||
        !fk_exchange_reads_origin(exchange))
        return FK_OK;
    err = fill(&conn->relay.origin, &exchange->origin_in, &conn->env->scratch, &len);
    if (err == FK_ERR_AGAIN)
        return FK_OK;
    if (err != FK_OK && err != FK_ERR_CLOSED)
        return err;
    conn->relay.down.bytes += len;
    if (len == 0)
        fk_exchange_origin_ended(exchange);
    *ret_moved = true;
    return FK_OK;
}

/* An origin that reads no more may have answered all the same. */
static int write_origin(struct fk_conn *conn)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    int err;

    if (conn->relay.origin.ops == NULL || exchange->spent)
        return FK_OK;
    err = drain(&conn->relay.origin, &exchange->origin_out);
    if (err == FK_ERR_CLOSED)
        fk_buf_consume(&exchange->origin_out, fk_buf_len(&exchange->origin_out));
    return err == FK_ERR_AGAIN || err == FK_ERR_CLOSED ? FK_OK : err;
}

static int write_client(struct fk_conn *conn)
{
    int err = drain(&conn->relay.client, &conn->http->exchange.client_out);

    return err == FK_ERR_AGAIN ? FK_OK : err;
}

static enum fk_edge_metric counter_of(enum fk_http_fault fault)
{
    switch ((int)fault) {
    case FK_HTTP_FAULT_CERT_MISSING:
        return FK_EDGE_CERT_MISSING;
    case FK_HTTP_FAULT_CERT_LARGE:
        return FK_EDGE_CERT_LARGE;
    case FK_HTTP_FAULT_CERT_FIELD_BAD:
        return FK_EDGE_CERT_FIELD_BAD;
    case FK_HTTP_FAULT_MISDIRECTED:
        return FK_EDGE_MISDIRECTED;
    default:
        return FK_EDGE_HTTP_REFUSED;
    }
}

/* A fault of either side, once. */
static void log_faults(struct fk_conn *conn)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    bool client = exchange->fault != FK_HTTP_FAULT_NONE;
    enum fk_http_fault fault = client ? exchange->fault : exchange->gone_wrong;
    enum fk_conn_class class = client ? FK_CLASS_HELLO : FK_CLASS_ORIGIN;
    char peer[FK_ADDR_TEXT_SIZE];

    if (fault == FK_HTTP_FAULT_NONE)
        return;
    fk_addr_format(&conn->peer, peer);
    fk_metric_add(conn->env->metrics, client ? counter_of(fault) : FK_EDGE_HTTP_BAD_ANSWERS, 1);
    fk_log_limited(&conn->env->failures[class], FK_LOG_WARN,
                   client ? "request refused" : "answer of the origin refused",
                   fk_uint("connection", conn->id), fk_str("client", peer),
                   fk_str("site", conn->site->conf->block.title),
                   fk_str("origin", client ? NULL : fk_origin_name(&conn->origin)),
                   fk_str("fault", fk_http_fault_name(fault)),
                   fk_str("why", fk_http_fault_text(fault)));
    exchange->fault = exchange->gone_wrong = FK_HTTP_FAULT_NONE;
}

/* One round; *ret_moved: another may find something to do. */
static int pump(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    int err;

    *ret_moved = false;
    if ((err = read_client(conn, ret_moved)) != FK_OK ||
        (err = read_origin(conn, ret_moved)) != FK_OK || (err = fk_exchange_run(exchange)) != FK_OK)
        return err;
    log_faults(conn);
    if ((err = follow_wishes(conn, ret_moved)) != FK_OK || (err = write_origin(conn)) != FK_OK ||
        (err = write_client(conn)) != FK_OK)
        return err;
    return fk_exchange_run(exchange); /* what has left makes room */
}

static unsigned wants(const struct fk_end *end, bool reads, const struct fk_buf *out)
{
    unsigned events = reads ? end->read_needs : 0;

    return fk_buf_len(out) > 0 || fk_end_pending(end) ? events | FK_IO_WRITE : events;
}

/* --- the connection --- */

static enum fk_conn_fact end(struct fk_conn *conn)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    int err;

    if (exchange->broken)
        return fk_conn_lose(conn, "an exchange was cut off", FK_ERR_CLOSED);
    err = conn->relay.client.ops->finish(&conn->relay.client);
    if (err == FK_ERR_AGAIN)
        return FK_FACT_NONE;
    if (err != FK_OK)
        return fk_conn_lose(conn, "connection broken", err);
    return exchange->client_eof ? FK_FACT_BOTH_ENDED : FK_FACT_ORIGIN_GONE;
}

enum fk_conn_fact fk_conn_run_http(struct fk_conn *conn)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    uint64_t before = exchange->requests;
    bool moved = true;
    int err = FK_OK;

    for (unsigned round = 0; moved && err == FK_OK; round++) {
        if (round == FK_EDGE_PUMP_ROUNDS) {
            fk_defer_start(&conn->again);
            break;
        }
        err = pump(conn, &moved);
    }
    fk_metric_add(conn->env->metrics, FK_EDGE_HTTP_REQUESTS, exchange->requests - before);
    if (err != FK_OK)
        return fk_conn_lose(conn, "connection broken", err);
    conn->wants =
        wants(&conn->relay.client, fk_exchange_reads_client(exchange), &exchange->client_out);
    conn->origin_wants =
        wants(&conn->relay.origin, fk_exchange_reads_origin(exchange), &exchange->origin_out);
    if (!fk_exchange_done(exchange) || (fk_end_pending(&conn->relay.client) && !exchange->broken))
        return FK_FACT_NONE;
    conn->wants |= FK_IO_WRITE; /* a close_notify that does not fit now */
    return end(conn);
}

/* --- begin and end --- */

static void describe_client(struct fk_conn *conn, struct fk_conn_http *http)
{
    uint8_t ip[16];
    size_t len = fk_addr_ip(&conn->peer, ip);

    http->conf = (struct fk_exchange_conf){
        .limits = &fk_http_limits_default,
        .forward = fk_siterelays_forward(conn->gen->relays, conn->site),
        .client = {.port = fk_addr_port(&conn->peer),
                   .tls = true,
                   .local_port = fk_addr_port(fk_conn_reached(conn))},
        .buffer = conn->gen->limits->buffer,
        .read_most = FK_EDGE_RECORD_MAX,
    };
    if (len > 0 &&
        inet_ntop(len == 4 ? AF_INET : AF_INET6, ip, http->peer, sizeof http->peer) != NULL)
        http->conf.client.address = http->peer;
}

int fk_conn_http_begin(struct fk_conn *conn)
{
    struct fk_conn_http *http = calloc(1, sizeof *http);

    int err;

    if (http == NULL)
        return FK_ERR_NOMEM;
    describe_client(conn, http);
    err = fk_siterelays_say(conn->gen->relays, conn->site,
                            conn->shown == NULL ? NULL : conn->shown->chain, &http->identity);
    if (err != FK_OK) {
        free(http);
        return err;
    }
    http->conf.client.identity = http->identity;
    fk_exchange_init(&http->exchange, &http->conf);
    conn->http = http;
    return FK_OK;
}

void fk_conn_http_end(struct fk_conn *conn)
{
    if (conn->http == NULL)
        return;
    fk_exchange_fini(&conn->http->exchange);
    fk_certrelay_unsay(conn->http->identity);
    free(conn->http);
    conn->http = NULL;
}
