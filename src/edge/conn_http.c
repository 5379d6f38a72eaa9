/*
 * After the handshake, with protocol = http: the client's requests, each to an origin and its
 * answer back (http/exchange, http/streams). Moves bytes between them and the ends and connects to
 * origins when it wants one; decides nothing about HTTP.
 */
#include "base/err.h"
#include "base/limits.h"
#include "edge/conn_priv.h"
#include "edge/hop.h"
#include "edge/metrics.h"
#include "http/exchange.h"
#include "http/streams.h"
#include "http/text.h"

#include <arpa/inet.h>
#include <stdlib.h>

struct fk_conn_http {
    struct fk_exchange_conf conf;
    bool h2;
    struct fk_exchange exchange;       /* HTTP/1 */
    struct fk_hop hop;                 /* its origin's */
    struct fk_timer head;              /* of a request's head */
    struct fk_streams streams;         /* HTTP/2; the origin's of each is its `user` */
    uint64_t requests;                 /* that were counted */
    struct fk_http_identity *identity; /* what is said of the client's certificate; NULL: nothing */
    char peer[INET6_ADDRSTRLEN];       /* the client's address for origins; "": a UNIX socket */
};

/* --- the origin --- */

/* Between requests it has no use for its connection: others may, or an operator has set the origin
 * down. Else a client of HTTP/1 has it as long as he stays. */
static bool is_released(const struct fk_conn_http *http)
{
    const struct fk_hop *hop = &http->hop;
    bool shares = hop->conn->site->conf->origin_keep_us > 0;

    return (shares || fk_origin_is_down(&hop->use)) && fk_exchange_releases(&http->exchange);
}

/* A request has done with its connection. */
static void let_go(struct fk_hop *hop, const struct fk_fetch *fetch)
{
    hop->fresh = fetch->retry;
    if (fetch->spent || hop->state != FK_HOP_UP)
        fk_hop_drop(hop);
    else
        fk_hop_keep(hop);
}

static int release(struct fk_conn_http *http, bool *ret_moved)
{
    let_go(&http->hop, &http->exchange.fetch);
    *ret_moved = true;
    return fk_exchange_detached(&http->exchange);
}

/* Connect, or let go, as the exchange wishes. *ret_moved: something has changed. */
static int follow_wishes(struct fk_conn_http *http, bool *ret_moved)
{
    struct fk_exchange *exchange = &http->exchange;
    struct fk_hop *hop = &http->hop;

    if (exchange->fetch.spent || is_released(http))
        return release(http, ret_moved);
    if (hop->late) {
        hop->late = false;
        *ret_moved = true;
        return fk_exchange_origin_failed(exchange, 504);
    }
    if (fk_exchange_wants_origin(exchange) && hop->state == FK_HOP_NONE)
        fk_hop_start(hop);
    if (hop->state == FK_HOP_UP && !exchange->fetch.attached) {
        fk_exchange_attached(exchange, hop->use.reused);
        *ret_moved = true;
    } else if (hop->state == FK_HOP_FAILED) {
        fk_hop_drop(hop);
        *ret_moved = true;
        return fk_exchange_origin_failed(exchange, fk_hop_status(hop));
    }
    return FK_OK;
}

/* --- bytes --- */

/* Read once. FK_OK with *ret_len bytes, which stay in the scratch area, 0 at the end of the
 * direction; FK_ERR_AGAIN. */
static int take(struct fk_conn *conn, size_t room, uint8_t **ret_data, size_t *ret_len)
{
    const struct fk_scratch *scratch = &conn->env->scratch;
    struct fk_end *end = &conn->relay.client;
    ssize_t n;

    n = end->ops->read(end, scratch->mem, room < scratch->size ? room : scratch->size, ret_data);
    if (n < 0)
        return (int)n;
    *ret_len = (size_t)n;
    conn->relay.up.bytes += (size_t)n;
    return FK_OK;
}

static int read_client(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    uint8_t *data = NULL;
    size_t len = 0;
    int err;

    if (!conn->relay.client.ready || !fk_exchange_reads_client(exchange))
        return FK_OK;
    err = take(conn, fk_buf_room(&exchange->client_in), &data, &len);
    if (err != FK_OK)
        return err == FK_ERR_AGAIN ? FK_OK : err;
    if (len == 0)
        fk_exchange_client_ended(exchange);
    *ret_moved = true;
    return fk_buf_append(&exchange->client_in, data, len);
}

static int write_client(struct fk_conn *conn, struct fk_buf *out)
{
    int err = fk_end_drain(&conn->relay.client, out);

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

/* A fault of either side. */
static void log_fault(struct fk_conn *conn, bool client, enum fk_http_fault fault,
                      const struct fk_hop *hop)
{
    enum fk_conn_class class = client ? FK_CLASS_HELLO : FK_CLASS_ORIGIN;
    char peer[FK_ADDR_TEXT_SIZE];

    fk_addr_format(&conn->peer, peer);
    fk_log_limited(&conn->env->failures[class], FK_LOG_WARN,
                   client ? "request refused" : "answer of the origin refused",
                   fk_uint("connection", conn->id), fk_str("client", peer),
                   fk_str("site", conn->site->conf->block.title),
                   fk_str("origin", hop == NULL ? NULL : fk_origin_name(&hop->use)),
                   fk_str("fault", fk_http_fault_name(fault)),
                   fk_str("why", fk_http_fault_text(fault)));
}

/* What went wrong, once. */
static void note_answer(struct fk_conn *conn, struct fk_fetch *fetch, const struct fk_hop *hop)
{
    if (fetch->gone_wrong == FK_HTTP_FAULT_NONE)
        return;
    fk_metric_add(conn->env->metrics, FK_EDGE_HTTP_BAD_ANSWERS, 1);
    log_fault(conn, false, fetch->gone_wrong, hop);
    fetch->gone_wrong = FK_HTTP_FAULT_NONE;
}

static void note_refusal(struct fk_conn *conn, enum fk_http_fault *fault)
{
    if (*fault == FK_HTTP_FAULT_NONE)
        return;
    fk_metric_add(conn->env->metrics, counter_of(*fault), 1);
    log_fault(conn, true, *fault, NULL);
    *fault = FK_HTTP_FAULT_NONE;
}

/* One round; *ret_moved: another may find something to do. */
static int pump(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_exchange *exchange = &conn->http->exchange;
    struct fk_hop *hop = &conn->http->hop;
    int err;

    /* Set down since the last request: the next one goes elsewhere. */
    if (is_released(conn->http) && (err = release(conn->http, ret_moved)) != FK_OK)
        return err;
    if ((err = read_client(conn, ret_moved)) != FK_OK ||
        (err = fk_hop_read(hop, &exchange->fetch, fk_exchange_reads_origin(exchange), ret_moved)) !=
            FK_OK ||
        (err = fk_exchange_run(exchange)) != FK_OK)
        return err;
    note_refusal(conn, &exchange->fault);
    note_answer(conn, &exchange->fetch, hop);
    if ((err = follow_wishes(conn->http, ret_moved)) != FK_OK ||
        (err = fk_hop_write(hop, &exchange->fetch)) != FK_OK ||
        (err = write_client(conn, &exchange->client_out)) != FK_OK)
        return err;
    return fk_exchange_run(exchange); /* what has left makes room */
}

/* --- HTTP/2 --- */

static struct fk_hop *hop_of(const struct fk_stream *stream)
{
    return stream->user;
}

static void end_stream(struct fk_stream *stream)
{
    if (stream->user != NULL)
        fk_hop_drop(hop_of(stream));
    free(stream->user);
    fk_stream_free(stream);
}

/* Those which want an origin for the first time get the place for one. */
static int give_hop(struct fk_conn *conn, struct fk_stream *stream)
{
    if (stream->user != NULL || !fk_stream_wants_origin(stream))
        return FK_OK;
    if ((stream->user = malloc(sizeof(struct fk_hop))) == NULL)
        return FK_ERR_NOMEM;
    fk_hop_init(hop_of(stream), conn);
    return FK_OK;
}

static int follow_stream(struct fk_stream *stream, bool *ret_moved)
{
    struct fk_hop *hop = hop_of(stream);

    if (stream->fetch.spent || fk_stream_releases(stream)) {
        let_go(hop, &stream->fetch);
        *ret_moved = true;
        return fk_stream_detached(stream);
    }
    if (hop->late) {
        hop->late = false;
        *ret_moved = true;
        return fk_stream_origin_failed(stream, 504);
    }
    if (!fk_stream_wants_origin(stream) && !stream->fetch.attached)
        fk_hop_drop(hop); /* was being made, for a request that its client has given up */
    else if (hop->state == FK_HOP_NONE)
        fk_hop_start(hop);
    if (hop->state == FK_HOP_UP && !stream->fetch.attached) {
        fk_fetch_attached(&stream->fetch, hop->use.reused);
        *ret_moved = true;
    } else if (hop->state == FK_HOP_FAILED) {
        fk_hop_drop(hop);
        *ret_moved = true;
        return fk_stream_origin_failed(stream, fk_hop_status(hop));
    }
    return FK_OK;
}

/* One stream's turn; it may be its last. */
static int serve_stream(struct fk_conn *conn, struct fk_stream *stream, bool *ret_moved)
{
    struct fk_hop *hop;
    int err;

    note_refusal(conn, &stream->fault);
    if ((err = give_hop(conn, stream)) != FK_OK)
        return err;
    if ((hop = hop_of(stream)) != NULL) {
        note_answer(conn, &stream->fetch, hop);
        if ((err = follow_stream(stream, ret_moved)) != FK_OK ||
            (err = fk_hop_write(hop, &stream->fetch)) != FK_OK ||
            (err = fk_hop_read(hop, &stream->fetch, fk_stream_reads_origin(stream), ret_moved)) !=
                FK_OK)
            return err;
    }
    if (fk_stream_over(stream))
        end_stream(stream);
    return FK_OK;
}

static int serve_streams(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_streams *streams = &conn->http->streams;
    struct fk_list *item, *next;
    int err = FK_OK;

    fk_list_each_safe (item, next, &streams->list)
        if (err == FK_OK)
            err = serve_stream(conn, fk_container(item, struct fk_stream, link), ret_moved);
    return err;
}

static int read_client_h2(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_streams *streams = &conn->http->streams;
    uint8_t *data = NULL;
    size_t len = 0;
    int err;

    if (!conn->relay.client.ready || !fk_streams_reads_client(streams))
        return FK_OK;
    err = take(conn, SIZE_MAX, &data, &len);
    if (err != FK_OK)
        return err == FK_ERR_AGAIN ? FK_OK : err;
    if (len == 0)
        fk_streams_client_ended(streams);
    *ret_moved = true;
    return fk_streams_recv(streams, data, len);
}

static int pump_h2(struct fk_conn *conn, bool *ret_moved)
{
    struct fk_streams *streams = &conn->http->streams;
    size_t waiting;
    int err;

    if ((err = read_client_h2(conn, ret_moved)) != FK_OK ||
        (err = fk_streams_run(streams)) != FK_OK || (err = serve_streams(conn, ret_moved)) != FK_OK)
        return err;
    if ((err = fk_streams_run(streams)) != FK_OK)
        return err;
    waiting = fk_buf_len(&streams->client_out);
    err = write_client(conn, &streams->client_out);
    if (fk_buf_len(&streams->client_out) < waiting)
        *ret_moved = true; /* there is room for more */
    return err;
}

static void watch_streams(struct fk_streams *streams)
{
    struct fk_list *item;

    fk_list_each (item, &streams->list) {
        struct fk_stream *stream = fk_container(item, struct fk_stream, link);

        if (stream->user != NULL)
            fk_hop_watch(hop_of(stream), &stream->fetch, fk_stream_reads_origin(stream),
                         stream->state == FK_EXCHANGE_WAITING);
    }
}

/* --- the connection --- */

/* HTTP/2 that was ended for what the client has sent. */
static void note_end(struct fk_conn *conn)
{
    const struct fk_streams *streams = &conn->http->streams;
    bool flood = fk_h2_flooded(streams->h2);
    char peer[FK_ADDR_TEXT_SIZE];

    if (streams->err == FK_OK && fk_h2_goaway(streams->h2) == 0)
        return;
    conn->reason = flood ? "too many frames of HTTP/2 without use" : "not HTTP/2";
    fk_addr_format(&conn->peer, peer);
    fk_metric_add(conn->env->metrics, flood ? FK_EDGE_HTTP2_FLOODS : FK_EDGE_HTTP2_ERRORS, 1);
    fk_log_limited(&conn->env->failures[flood ? FK_CLASS_LIMIT : FK_CLASS_HELLO], FK_LOG_WARN,
                   "connection cut off", fk_uint("connection", conn->id), fk_str("client", peer),
                   fk_str("site", conn->site->conf->block.title), fk_str("why", conn->reason),
                   fk_uint("goaway", fk_h2_goaway(streams->h2)));
}

static enum fk_conn_fact end(struct fk_conn *conn)
{
    const struct fk_conn_http *http = conn->http;
    int err;

    if (!http->h2 && http->exchange.broken)
        return fk_conn_lose(conn, "an exchange was cut off", FK_ERR_CLOSED);
    err = conn->relay.client.ops->finish(&conn->relay.client);
    if (err == FK_ERR_AGAIN)
        return FK_FACT_NONE;
    if (err != FK_OK)
        return fk_conn_lose(conn, "connection broken", err);
    if (http->h2)
        note_end(conn);
    if (http->h2 ? http->streams.client_eof : http->exchange.client_eof)
        return FK_FACT_BOTH_ENDED;
    return FK_FACT_ORIGIN_GONE;
}

static void on_head_late(struct fk_timer *timer)
{
    struct fk_conn_http *http = fk_container(timer, struct fk_conn_http, head);
    int err = fk_exchange_head_late(&http->exchange);

    if (err != FK_OK)
        (void)fk_conn_lose(http->hop.conn, "connection broken", err);
    fk_conn_step(http->hop.conn);
}

static void watch_exchange(struct fk_conn *conn)
{
    struct fk_conn_http *http = conn->http;
    struct fk_exchange *exchange = &http->exchange;

    fk_hop_watch(&http->hop, &exchange->fetch, fk_exchange_reads_origin(exchange),
                 exchange->state == FK_EXCHANGE_WAITING);
    if (!fk_exchange_awaits_head(exchange))
        fk_timer_stop(&http->head);
    else if (!fk_timer_active(&http->head))
        fk_timer_start(&http->head, conn->gen->limits->request_us);
}

static void watch(struct fk_conn *conn)
{
    struct fk_conn_http *http = conn->http;
    struct fk_exchange *exchange = &http->exchange;
    bool reads =
        http->h2 ? fk_streams_reads_client(&http->streams) : fk_exchange_reads_client(exchange);

    conn->wants = fk_end_wants(&conn->relay.client, reads,
                               http->h2 ? &http->streams.client_out : &exchange->client_out);
    if (http->h2)
        watch_streams(&http->streams);
    else
        watch_exchange(conn);
}

static bool is_done(const struct fk_conn *conn)
{
    const struct fk_conn_http *http = conn->http;

    if (!http->h2 && http->exchange.broken)
        return true;
    if (fk_end_pending(&conn->relay.client))
        return false;
    return http->h2 ? fk_streams_done(&http->streams) : fk_exchange_done(&http->exchange);
}

static void count_requests(struct fk_conn *conn)
{
    struct fk_conn_http *http = conn->http;
    uint64_t now = http->h2 ? http->streams.requests : http->exchange.requests;

    fk_metric_add(conn->env->metrics, FK_EDGE_HTTP_REQUESTS, now - http->requests);
    if (http->h2)
        fk_metric_add(conn->env->metrics, FK_EDGE_HTTP2_REQUESTS, now - http->requests);
    http->requests = now;
}

enum fk_conn_fact fk_conn_run_http(struct fk_conn *conn)
{
    bool moved = true;
    int err = FK_OK;

    for (unsigned round = 0; moved && err == FK_OK; round++) {
        if (round == FK_EDGE_PUMP_ROUNDS) {
            fk_defer_start(&conn->again);
            break;
        }
        moved = false;
        err = conn->http->h2 ? pump_h2(conn, &moved) : pump(conn, &moved);
    }
    count_requests(conn);
    if (err != FK_OK)
        return fk_conn_lose(conn, "connection broken", err);
    watch(conn);
    if (!is_done(conn))
        return FK_FACT_NONE;
    conn->wants |= FK_IO_WRITE; /* a close_notify that does not fit now */
    return end(conn);
}

/* --- begin and end --- */

/* What another's request has brought: in a turn of this connection's own. */
static void on_cache(void *arg)
{
    struct fk_conn *conn = arg;

    fk_defer_start(&conn->again);
}

static void describe_client(struct fk_conn *conn, struct fk_conn_http *http)
{
    uint8_t ip[16];
    size_t len = fk_addr_ip(&conn->peer, ip);

    http->conf = (struct fk_exchange_conf){
        .limits = &fk_http_limits_default,
        .forward = fk_siterelays_forward(conn->gen->relays, conn->site),
        .client = {.port = fk_addr_port(&conn->peer),
                   .tls = conn->listen->plain == NULL,
                   .local_port = fk_addr_port(fk_conn_reached(conn))},
        .buffer = conn->gen->limits->buffer,
        .read_most = FK_EDGE_RECORD_MAX,
        .cache = fk_sitecaches_view(conn->gen->caches, conn->site),
        .wake = on_cache,
        .wake_arg = conn,
    };
    if (len > 0 &&
        inet_ntop(len == 4 ? AF_INET : AF_INET6, ip, http->peer, sizeof http->peer) != NULL)
        http->conf.client.address = http->peer;
}

static bool speaks_h2(const struct fk_conn *conn)
{
    struct fk_reader alpn = fk_conn_alpn(conn);

    return fk_http_equal(alpn, "h2");
}

bool fk_conn_http_unasked(const struct fk_conn *conn)
{
    return conn->http != NULL && !conn->http->h2 && conn->http->exchange.requests == 0;
}

/* Whoever has just come may ask once. */
static void wind_down(struct fk_conn *conn)
{
    struct fk_conn_http *http = conn->http;

    if (http->h2)
        (void)fk_streams_drain(&http->streams); /* without memory the drain's end comes */
    else
        fk_exchange_wind_down(&http->exchange);
    if (conn->env->draining && fk_conn_http_unasked(conn))
        fk_timer_start(&conn->timer, FK_EDGE_ASK_US);
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
    conn->http = http;
    fk_hop_init(&http->hop, conn);
    fk_timer_init(&http->head, conn->env->loop, on_head_late);
    if (speaks_h2(conn)) {
        http->h2 = true;
        err = fk_streams_init(&http->streams, &http->conf);
    } else {
        fk_exchange_init(&http->exchange, &http->conf);
    }
    if (err == FK_OK &&
        (conn->env->draining || (conn->env->served != NULL && conn->env->served != conn->gen)))
        wind_down(conn);
    return err;
}

void fk_conn_http_end(struct fk_conn *conn)
{
    struct fk_conn_http *http = conn->http;
    struct fk_list *item, *next;

    if (http == NULL)
        return;
    if (http->h2) {
        fk_list_each_safe (item, next, &http->streams.list)
            end_stream(fk_container(item, struct fk_stream, link));
        fk_streams_fini(&http->streams);
    } else {
        fk_exchange_fini(&http->exchange);
    }
    fk_timer_stop(&http->head);
    fk_hop_drop(&http->hop);
    fk_certrelay_unsay(http->identity);
    free(http);
    conn->http = NULL;
}

void fk_conn_http_wind_down(struct fk_conn *conn)
{
    wind_down(conn);
    fk_conn_step(conn);
}

void fk_conn_http_drain(struct fk_conn *conn)
{
    wind_down(conn);
    if (!conn->http->h2)
        fk_exchange_drain(&conn->http->exchange);
    fk_conn_step(conn);
}
