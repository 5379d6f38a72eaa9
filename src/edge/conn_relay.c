/* After the handshake: the origin, what it is told about the client, and the bytes. */
#include "base/err.h"
#include "base/limits.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"
#include "wire/proxy.h"

#include <stdlib.h>
#include <string.h>

/* --- what the origin is told --- */

static struct fk_reader text(const char *value)
{
    struct fk_reader reader = {0};

    if (value != NULL)
        fk_reader_init(&reader, value, strlen(value));
    return reader;
}

/* IPv4 as IPv4-mapped IPv6, for a header with one address of each family. */
static void widen(uint8_t ip[16])
{
    memmove(ip + 12, ip, 4);
    memset(ip, 0, 10);
    memset(ip + 10, 0xff, 2);
}

static void set_addresses(struct fk_conn *conn, struct fk_proxy *proxy)
{
    const struct fk_addr *reached = fk_conn_reached(conn);
    size_t src = fk_addr_ip(&conn->peer, proxy->src_ip);
    size_t dst = fk_addr_ip(reached, proxy->dst_ip);

    if (src == 0 || dst == 0)
        return; /* a UNIX socket: addresses unknown */
    if (src != dst)
        widen(src == 4 ? proxy->src_ip : proxy->dst_ip);
    proxy->ip_len = (uint8_t)(src > dst ? src : dst);
    proxy->src_port = fk_addr_port(&conn->peer);
    proxy->dst_port = fk_addr_port(reached);
}

struct fk_reader fk_conn_alpn(const struct fk_conn *conn)
{
    const unsigned char *alpn;
    struct fk_reader reader;
    unsigned len = 0;

    if (conn->ssl != NULL)
        SSL_get0_alpn_selected(conn->ssl, &alpn, &len);
    if (len == 0)
        return text(conn->alpn);
    fk_reader_init(&reader, alpn, len);
    return reader;
}

static void set_tls(const struct fk_conn *conn, struct fk_proxy *proxy)
{
    proxy->alpn = fk_conn_alpn(conn);
    proxy->authority = text(conn->sni);
    proxy->ssl.present = true;
    proxy->ssl.client = FK_PROXY_SSL;
    proxy->ssl.verify = 1; /* no certificate was shown */
    if (conn->shown != NULL) {
        proxy->ssl.client |= FK_PROXY_CERT_SESS | (conn->resumed ? 0 : FK_PROXY_CERT_CONN);
        proxy->ssl.verify = 0;
        if (conn->shown->common_name[0] != '\0')
            proxy->ssl.common_name = text(conn->shown->common_name);
    }
    proxy->ssl.version = text(conn->version);
    proxy->ssl.cipher = text(conn->cipher);
}

/* The certificate itself, where it is asked for; the caller's to free. */
static int set_certificate(const struct fk_conn *conn, struct fk_proxy *proxy, uint8_t **ret)
{
    const struct fk_edge_relay *relay =
        fk_edge_relay_find(fk_edge_client(conn->site->conf), "proxy-v2");
    int len;

    *ret = NULL;
    if (relay == NULL || conn->shown == NULL)
        return FK_OK;
    if ((len = i2d_X509(sk_X509_value(conn->shown->chain, 0), ret)) <= 0)
        return FK_ERR_CRYPTO;
    proxy->custom_type = (uint8_t)relay->type;
    fk_reader_init(&proxy->custom, *ret, (size_t)len);
    return FK_OK;
}

static int append_header(struct fk_conn *conn, int kind, const struct fk_proxy *proxy)
{
    size_t size = FK_EDGE_PROXY_BYTES + proxy->custom.left, len;
    uint8_t *header = malloc(size);
    struct fk_writer out;
    int err;

    if (header == NULL)
        return FK_ERR_NOMEM;
    fk_writer_init(&out, header, size);
    if (kind == FK_ORIGIN_PROXY_V1)
        fk_proxy_encode_v1(proxy, &out);
    else
        fk_proxy_encode_v2(proxy, &out);
    if ((err = fk_writer_end(&out, &len)) == FK_OK)
        err = fk_buf_append(&conn->relay.up.buf, header, len);
    free(header);
    return err;
}

/* The PROXY header goes first of all. */
static int introduce(struct fk_conn *conn)
{
    int kind = conn->site->conf->origin_proxy, err = FK_OK;
    struct fk_proxy proxy = {0};
    uint8_t *der = NULL;

    if (kind == FK_ORIGIN_PROXY_OFF)
        return FK_OK;
    set_addresses(conn, &proxy);
    if (kind == FK_ORIGIN_PROXY_V2) {
        set_tls(conn, &proxy);
        err = set_certificate(conn, &proxy, &der);
    }
    if (err == FK_OK)
        err = append_header(conn, kind, &proxy);
    OPENSSL_free(der);
    return err;
}

/* --- the origin --- */

static void on_origin_io(struct fk_io *io, unsigned events)
{
    struct fk_conn *conn = fk_container(io, struct fk_conn, origin_io);

    conn->active_us = fk_loop_now_us(conn->env->loop);
    fk_conn_wake(conn);
    fk_end_notify(&conn->relay.origin, events);
    fk_conn_step(conn);
}

static void origin_connected(struct fk_conn *conn)
{
    fk_io_init(&conn->origin_io, conn->env->loop, conn->origin.fd, on_origin_io);
    fk_end_plain(&conn->relay.origin, conn->origin.fd);
}

void fk_conn_origin_failed(struct fk_conn *conn, int err)
{
    fk_metric_add(conn->env->metrics, FK_EDGE_ORIGIN_FAILED, 1);
    fk_log_limited(&conn->env->failures[FK_CLASS_ORIGIN], FK_LOG_WARN, "no origin could be reached",
                   fk_uint("connection", conn->id), fk_str("site", conn->site->conf->block.title),
                   fk_error(err));
}

static void origin_failed(struct fk_conn *conn, int err)
{
    conn->reason = "no origin could be reached";
    conn->err = err;
    conn->without_origin = true;
    fk_conn_origin_failed(conn, err);
}

static void on_origin(struct fk_origin_use *use, int err)
{
    struct fk_conn *conn = fk_container(use, struct fk_conn, origin);

    if (err == FK_OK)
        origin_connected(conn);
    else
        origin_failed(conn, err);
    fk_conn_step(conn);
}

static void start_origin(struct fk_conn *conn)
{
    int err;

    conn->origin_started = true;
    err = fk_origin_start(&conn->origin, conn->site->origins, on_origin);
    if (err == FK_OK)
        origin_connected(conn);
    else if (err != FK_ERR_AGAIN)
        origin_failed(conn, err);
}

/* --- the relay --- */

static void begin_client(struct fk_conn *conn)
{
    struct fk_end *client = &conn->relay.client;

    if (conn->listen->plain != NULL) {
        fk_end_plain(client, conn->fd);
        fk_end_begin_with(client, &conn->in);
        return;
    }
    fk_conn_take_over(conn);
    if (conn->record != NULL)
        fk_end_record(client, conn->fd, conn->record, &conn->in, &conn->env->seal);
    else
        fk_end_tls(client, conn->fd, conn->ssl);
}

void fk_conn_relay_begin(struct fk_conn *conn)
{
    int err;

    fk_relay_init(&conn->relay, conn->gen->limits->buffer);
    if ((err = introduce(conn)) != FK_OK) {
        origin_failed(conn, err);
        return;
    }
    if (conn->site->conf->protocol == FK_PROTOCOL_HTTP &&
        (err = fk_conn_http_begin(conn)) != FK_OK) {
        (void)fk_conn_lose(conn, "out of memory", err);
        return;
    }
    fk_conn_forget_chain(conn);
    begin_client(conn);
    fk_conn_wake(conn);
    if (conn->http == NULL && conn->site->conf->origin_connect == FK_ORIGIN_AT_ONCE)
        start_origin(conn);
}

void fk_conn_relay_end(struct fk_conn *conn)
{
    if (conn->relay.origin.ops != NULL)
        fk_io_want(&conn->origin_io, 0);
    fk_origin_stop(&conn->origin);
    fk_conn_http_end(conn);
    fk_relay_fini(&conn->relay);
}

/* With origin_connect = first_bytes: now there are some, or the client has gone without. */
static void look_for_first_bytes(struct fk_conn *conn)
{
    struct fk_relay *relay = &conn->relay;

    if (relay->up.bytes > 0) {
        start_origin(conn);
    } else if (relay->up.ended) {
        relay->up.finished = true;
        relay->down.ended = true;
        conn->origin_started = true;
    } else {
        return;
    }
    fk_defer_start(&conn->again);
}

/* The client sends what costs us more than it. */
static enum fk_conn_fact flooded(struct fk_conn *conn)
{
    static const char why[] = "too many TLS messages without data";
    char peer[FK_ADDR_TEXT_SIZE];

    fk_addr_format(&conn->peer, peer);
    fk_metric_add(conn->env->metrics, FK_EDGE_LIMITED_MESSAGES, 1);
    fk_log_limited(&conn->env->failures[FK_CLASS_LIMIT], FK_LOG_WARN, "connection cut off",
                   fk_uint("connection", conn->id), fk_str("client", peer),
                   fk_str("sni", conn->sni), fk_str("why", why));
    return fk_conn_lose(conn, why, FK_ERR_LIMIT);
}

enum fk_conn_fact fk_conn_run_relay(struct fk_conn *conn)
{
    enum fk_relay_state state;
    bool again;
    int err;

    if (conn->without_origin && conn->relay.client.ops != NULL) {
        conn->relay.client.ops->refuse(&conn->relay.client, FK_ALERT_INTERNAL_ERROR);
        return FK_FACT_ORIGIN_GONE;
    }
    if (conn->reason != NULL)
        return FK_FACT_LOST;
    if (conn->http != NULL)
        return fk_conn_run_http(conn);
    err = fk_relay_pump(&conn->relay, &conn->env->scratch, &state, &again);
    if (err == FK_ERR_LIMIT)
        return flooded(conn);
    if (err != FK_OK)
        return fk_conn_lose(conn, "connection broken", err);
    if (!conn->origin_started)
        look_for_first_bytes(conn);
    if (again)
        fk_defer_start(&conn->again);
    conn->wants = fk_relay_client_wants(&conn->relay);
    conn->origin_wants = fk_relay_origin_wants(&conn->relay);
    if (state == FK_RELAY_DONE)
        return FK_FACT_BOTH_ENDED;
    if (state == FK_RELAY_CUT)
        return FK_FACT_ORIGIN_GONE;
    if (state == FK_RELAY_HALF && conn->state == FK_CONN_RELAY)
        return FK_FACT_ONE_ENDED;
    return FK_FACT_NONE;
}
