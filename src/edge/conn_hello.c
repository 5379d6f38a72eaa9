/*
 * Before any cryptography: the PROXY header and the ClientHello. A client that is turned away here
 * costs one read and one alert.
 */
#include "base/err.h"
#include "base/limits.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"
#include "wire/client_hello.h"
#include "wire/proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Read what is there. FK_ERR_AGAIN, FK_ERR_CLOSED, FK_ERR_LIMIT: the buffer is full. */
int fk_conn_receive(struct fk_conn *conn)
{
    struct fk_scratch *scratch = &conn->env->scratch;
    size_t room = fk_buf_room(&conn->in);
    ssize_t n;

    if (room == 0)
        return FK_ERR_LIMIT;
    room = room < scratch->size ? room : scratch->size;
    n = recv(conn->fd, scratch->mem, room, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_ERR_AGAIN : FK_ERR_CLOSED;
    if (n == 0)
        return FK_ERR_CLOSED;
    conn->bio.in += (uint64_t)n;
    conn->bio.drained = (size_t)n < room;
    return fk_buf_append(&conn->in, scratch->mem, (size_t)n);
}

/* A parser wants more bytes: FK_FACT_NONE when some came and it should look again. */
static enum fk_conn_fact more(struct fk_conn *conn, bool *ret_look_again)
{
    int err = fk_conn_receive(conn);

    *ret_look_again = err == FK_OK;
    if (err == FK_OK || err == FK_ERR_AGAIN) {
        conn->wants = FK_IO_READ;
        return FK_FACT_NONE;
    }
    if (err == FK_ERR_LIMIT)
        return fk_conn_refuse(conn, FK_ALERT_DECODE_ERROR, "ClientHello too large", err);
    if (err == FK_ERR_NOMEM)
        return fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "out of memory", err);
    /* A client that says nothing is a health check or a scanner: no line for it. */
    if (conn->bio.in == 0)
        return FK_FACT_LOST;
    return fk_conn_lose(conn, "client left before its ClientHello", err);
}

/* --- PROXY --- */

static enum fk_conn_fact take_proxy(struct fk_conn *conn, const struct fk_proxy *proxy)
{
    int err;

    if (!proxy->local && proxy->ip_len > 0) {
        (void)fk_addr_from_ip(proxy->src_ip, proxy->ip_len, proxy->src_port, &conn->peer);
        (void)fk_addr_from_ip(proxy->dst_ip, proxy->ip_len, proxy->dst_port, &conn->reached);
    }
    err = fk_admit_address(conn->env->admit, conn->gen->limits, &conn->peer, &conn->admitted);
    if (err == FK_OK)
        return conn->listen->plain == NULL ? FK_FACT_PROXY_READ : FK_FACT_PROXY_PLAIN;
    if (err == FK_ERR_NOMEM)
        return fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "out of memory", err);
    fk_metric_add(conn->env->metrics, FK_EDGE_LIMITED_ADDRESS, 1);
    conn->failure = FK_CLASS_LIMIT;
    return fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "too many connections of this address",
                          err);
}

enum fk_conn_fact fk_conn_run_proxy(struct fk_conn *conn)
{
    struct fk_proxy proxy;
    enum fk_conn_fact fact;
    bool look_again;
    size_t used;
    int err;

    do {
        err = fk_proxy_decode(fk_buf_data(&conn->in), fk_buf_len(&conn->in), &proxy, &used);
        if (err == FK_OK) {
            fact = take_proxy(conn, &proxy);
            fk_buf_consume(&conn->in, used);
            return fact;
        }
        if (err != FK_ERR_AGAIN)
            return fk_conn_lose(conn, "no PROXY header", err);
        fact = more(conn, &look_again);
    } while (look_again);
    return fact;
}

/* --- ClientHello --- */

/* The alert for a stream that is not an acceptable ClientHello, and what to call it. */
static enum fk_conn_fact refuse_hello(struct fk_conn *conn, int err)
{
    static const struct {
        int err;
        enum fk_alert alert;
        const char *reason;
    } table[] = {
        {FK_ERR_NOT_TLS, FK_ALERT_UNEXPECTED_MESSAGE, "not TLS"},
        {FK_ERR_PLAIN_HTTP, FK_ALERT_UNEXPECTED_MESSAGE, "HTTP without TLS"},
        {FK_ERR_SSLV2, FK_ALERT_PROTOCOL_VERSION, "SSL 2"},
        {FK_ERR_UNEXPECTED, FK_ALERT_UNEXPECTED_MESSAGE, "not a ClientHello"},
        {FK_ERR_VERSION, FK_ALERT_PROTOCOL_VERSION, "TLS version too old"},
        {FK_ERR_NOMEM, FK_ALERT_INTERNAL_ERROR, "out of memory"},
    };

    fk_metric_add(conn->env->metrics, FK_EDGE_HS_REFUSED, 1);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].err == err)
            return fk_conn_refuse(conn, table[i].alert, table[i].reason, err);
    return fk_conn_refuse(conn, FK_ALERT_DECODE_ERROR, "malformed ClientHello", err);
}

/* Without TLS there is nothing to wait for: the listener says whose client it is. */
enum fk_conn_fact fk_conn_run_plain(struct fk_conn *conn)
{
    int err = fk_sites_choose(conn->gen->sites, conn->listen, NULL, 0, NULL, &conn->site);

    if (err != FK_OK)
        return fk_conn_lose(conn, "no site", err);
    conn->site->connections++;
    conn->site->active++;
    conn->secured_us = fk_loop_now_us(conn->env->loop);
    return FK_FACT_SITE_GIVEN;
}

/* Site and limits: whether this client's handshake begins. */
static enum fk_conn_fact accept_hello(struct fk_conn *conn, const struct fk_client_hello *hello)
{
    const char *name = hello->server_name[0] == '\0' ? NULL : hello->server_name;
    const struct fk_addr *reached = NULL;
    struct fk_metrics *metrics = conn->env->metrics;
    int err;

    if (name != NULL && (conn->sni = strdup(name)) == NULL)
        return fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "out of memory", FK_ERR_NOMEM);
    if (name == NULL && conn->listen->addresses.count > 0)
        reached = fk_conn_reached(conn);
    err = fk_sites_choose(conn->gen->sites, conn->listen, name, name == NULL ? 0 : strlen(name),
                          reached, &conn->site);
    if (err != FK_OK) {
        fk_metric_add(metrics, FK_EDGE_UNKNOWN_NAME, 1);
        return fk_conn_refuse(conn, FK_ALERT_UNRECOGNIZED_NAME,
                              name == NULL ? "no server name" : "unknown server name", err);
    }
    conn->site->connections++;
    conn->site->active++;
    err = fk_admit_handshake(conn->env->admit, conn->gen->limits, fk_loop_now_us(conn->env->loop));
    if (err != FK_OK) {
        fk_metric_add(metrics, FK_EDGE_LIMITED_RATE, 1);
        conn->failure = FK_CLASS_LIMIT;
        return fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "too many handshakes", err);
    }
    if (fk_site_passes(conn->site))
        return fk_conn_may_resume(conn, hello) ? FK_FACT_HELLO_READ : FK_FACT_HELLO_PASSED;
    if (conn->site->ctx != NULL)
        return FK_FACT_HELLO_READ;
    fk_gen_want(conn->gen, conn->site);
    return FK_FACT_NO_CERTIFICATE;
}

enum fk_conn_fact fk_conn_run_hello(struct fk_conn *conn)
{
    struct fk_client_hello hello;
    enum fk_conn_fact fact;
    struct fk_buf scratch;
    bool look_again;
    int err;

    fk_buf_init(&scratch, FK_CLIENT_HELLO_MAX);
    do {
        /* Parsing before that would be in vain: a client that drips costs a read a byte, no more.
         */
        err = fk_buf_len(&conn->in) < conn->hello_needs
                  ? FK_ERR_AGAIN
                  : fk_client_hello_parse(fk_buf_data(&conn->in), fk_buf_len(&conn->in), &scratch,
                                          &hello, &conn->hello_needs);
        if (err == FK_OK)
            fact = accept_hello(conn, &hello);
        else if (err != FK_ERR_AGAIN)
            fact = refuse_hello(conn, err);
        else
            fact = more(conn, &look_again);
    } while (err == FK_ERR_AGAIN && look_again);
    fk_buf_fini(&scratch);
    return fact;
}

enum fk_conn_fact fk_conn_run_wait(struct fk_conn *conn)
{
    return conn->site->ctx == NULL ? fk_conn_watch(conn) : FK_FACT_CERTIFICATE;
}
