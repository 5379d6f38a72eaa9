/*
 * The handshake: OpenSSL over the client's socket, pausing while the private key's holder is asked.
 */
#include "base/err.h"
#include "base/limits.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"
#include "edge/tlsctx.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

static void on_wake(struct fk_rkey_session *session)
{
    struct fk_conn_setup *setup = fk_container(session, struct fk_conn_setup, key);

    fk_conn_step(setup->conn);
}

void fk_conn_key_context(struct fk_conn *conn, struct fk_key_context *ret)
{
    *ret = (struct fk_key_context){.sni = conn->sni, .connection = conn->id};
    ret->client_ip_len = (uint8_t)fk_addr_ip(&conn->peer, ret->client_ip);
    ret->server_ip_len = (uint8_t)fk_addr_ip(fk_conn_reached(conn), ret->server_ip);
}

/* The session is not known here: the key server makes the handshake, of the same ClientHello. */
static enum fk_conn_fact pass_after_all(struct fk_conn *conn)
{
    fk_conn_free_ssl(conn);
    fk_buf_fini(&conn->in);
    conn->in = conn->setup->hello;
    fk_buf_init(&conn->setup->hello, 0);
    fk_conn_free_setup(conn);
    return FK_FACT_HELLO_PASSED;
}

/* What all edges may resume is sealed for those with the right to tickets. Who gets no keys of
 * tickets does not ask for it: it may have no right, and nothing would be resumed. */
static bool are_sessions_sealed(const struct fk_site *site)
{
    if (site->conf->tickets == FK_TICKETS_EDGE)
        return true;
    return site->desk != NULL ? !fk_desk_fails(site->desk)
                              : fk_ticket_site_count(site->tickets) > 0;
}

/* Where secrets are kept elsewhere. */
static int begin_opaque(struct fk_conn *conn)
{
    const struct fk_edge_tickets *resumption = conn->gen->resumption;
    const struct fk_site *site = conn->site;
    enum fk_opaque_mode mode = fk_tlsctx_opaque(site->conf);
    int err;

    if (mode == FK_OPAQUE_NONE)
        return FK_OK;
    if ((err = fk_opaque_new(mode, conn->ssl, site->back, &conn->setup->key.opaque)) != FK_OK)
        return err;
    if (mode == FK_OPAQUE_KEYS && are_sessions_sealed(site) &&
        (resumption->enabled || resumption->cache > 0 || site->store != NULL))
        fk_opaque_keep(conn->setup->key.opaque, site->conf->tickets != FK_TICKETS_EDGE);
    return FK_OK;
}

/* Who has to know of the handshake's messages. */
static int begin_watch(struct fk_conn *conn)
{
    bool engine = conn->site->conf->records == FK_RECORDS_ENGINE;
    bool opaque = fk_tlsctx_opaque(conn->site->conf) == FK_OPAQUE_KEYS;
    int err;

    if (!engine && !opaque)
        return FK_OK;
    if ((err = fk_handover_watch(conn->ssl, &conn->setup->seen)) == FK_OK && opaque)
        fk_opaque_watch(conn->setup->key.opaque, &conn->setup->seen, !engine);
    return err;
}

static int begin(struct fk_conn *conn)
{
    BIO *bio;
    int err;

    conn->failure = FK_CLASS_TLS; /* unless it turns out otherwise */
    if ((conn->setup = calloc(1, sizeof *conn->setup)) == NULL)
        return FK_ERR_NOMEM;
    conn->setup->conn = conn;
    conn->setup->key.wake = on_wake;
    fk_conn_key_context(conn, &conn->setup->key.context);
    fk_buf_init(&conn->setup->hello, FK_EDGE_HELLO_BUFFER);
    if (fk_site_passes(conn->site) &&
        (err = fk_buf_append(&conn->setup->hello, fk_buf_data(&conn->in), fk_buf_len(&conn->in))) !=
            FK_OK)
        return err;
    conn->bio.fd = conn->fd;
    conn->bio.prefix = &conn->in;
    if ((conn->ssl = SSL_new(conn->site->ctx)) == NULL || (bio = fk_bio_new(&conn->bio)) == NULL)
        return FK_ERR_NOMEM;
    SSL_set_bio(conn->ssl, bio, bio);
    SSL_set_accept_state(conn->ssl);
    if ((err = begin_opaque(conn)) != FK_OK)
        return err;
    if (conn->site->desk != NULL)
        fk_desk_want(conn->site->desk);
    return begin_watch(conn);
}

/* --- done --- */

void fk_conn_secured(struct fk_conn *conn, bool tls13)
{
    static const enum fk_edge_metric ids[2][2] = {{FK_EDGE_HS_TLS12, FK_EDGE_HS_TLS12_RES},
                                                  {FK_EDGE_HS_TLS13, FK_EDGE_HS_TLS13_RES}};
    struct fk_metrics *metrics = conn->env->metrics;

    conn->secured_us = fk_loop_now_us(conn->env->loop);
    fk_metric_add(metrics, ids[tls13][conn->resumed], 1);
    conn->site->shaken[conn->resumed]++;
    fk_metric_observe(metrics, FK_EDGE_HS_SECONDS, conn->secured_us - conn->accepted_us);
}

static int succeeded(struct fk_conn *conn)
{
    struct fk_metrics *metrics = conn->env->metrics;
    bool tls13 = SSL_version(conn->ssl) == TLS1_3_VERSION;

    conn->resumed = SSL_session_reused(conn->ssl) == 1;
    conn->version = tls13 ? "TLSv1.3" : "TLSv1.2";
    conn->cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(conn->ssl));
    conn->key_us = conn->setup->key.waited_us;
    fk_conn_secured(conn, tls13);
    if (conn->setup->key.operations > 0)
        fk_metric_observe(metrics, FK_EDGE_KEY_SECONDS, conn->key_us);
    SSL_clear_mode(conn->ssl, SSL_MODE_ASYNC); /* no fibre for reading and writing */
    return fk_conn_note_session(conn);
}

/* --- failed --- */

/* The private key's holder has failed; OpenSSL has sent internal_error. */
static enum fk_conn_fact key_failed(struct fk_conn *conn)
{
    fk_metric_add(conn->env->metrics, FK_EDGE_HS_KEY, 1);
    conn->failure = FK_CLASS_KEY;
    conn->reason = "private key operation failed";
    conn->err = conn->setup->key.err;
    return FK_FACT_REFUSED;
}

/* Our side has refused, or the client by an alert; `reason` is OpenSSL's, a static text. */
static enum fk_conn_fact tls_failed(struct fk_conn *conn)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    int number = ERR_GET_REASON(code);
    bool alert = number > SSL_AD_REASON_OFFSET && number < SSL_AD_REASON_OFFSET + 256;

    conn->reason = reason == NULL ? "TLS failure" : reason;
    if (number == SSL_R_CERTIFICATE_VERIFY_FAILED)
        conn->reason = fk_clientca_why((int)SSL_get_verify_result(conn->ssl));
    conn->err = FK_ERR_TLS;
    if (number == SSL_R_TLSV1_ALERT_DECRYPT_ERROR && conn->setup->key.operations > 0 &&
        conn->site->back->ops->suspect != NULL)
        conn->site->back->ops->suspect(conn->site->back);
    fk_metric_add(conn->env->metrics, FK_EDGE_HS_REFUSED, 1);
    return alert ? FK_FACT_LOST : FK_FACT_REFUSED;
}

static enum fk_conn_fact lost(struct fk_conn *conn)
{
    fk_metric_add(conn->env->metrics, FK_EDGE_HS_LOST, 1);
    return fk_conn_lose(conn, "client left during the handshake", FK_ERR_CLOSED);
}

/*
 * While others are waited for, the socket is watched for the client's end only. What it sends stays
 * there for OpenSSL, and ends the watch: the event would come again and again.
 */
enum fk_conn_fact fk_conn_watch(struct fk_conn *conn)
{
    char byte;
    ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return lost(conn);
    conn->wants = n > 0 ? 0 : FK_IO_READ;
    return FK_FACT_NONE;
}

static enum fk_conn_fact failed(struct fk_conn *conn, int result)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        conn->wants = FK_IO_READ;
        return FK_FACT_NONE;
    case SSL_ERROR_WANT_WRITE:
        conn->wants = FK_IO_WRITE;
        return FK_FACT_NONE;
    case SSL_ERROR_WANT_ASYNC:
        return FK_FACT_KEY_ASKED;
    case SSL_ERROR_WANT_X509_LOOKUP:
        return pass_after_all(conn);
    case SSL_ERROR_SYSCALL:
        return lost(conn);
    default:
        if (conn->setup->key.err != FK_OK)
            return key_failed(conn);
        return conn->bio.eof || conn->bio.error != 0 ? lost(conn) : tls_failed(conn);
    }
}

enum fk_conn_fact fk_conn_run_handshake(struct fk_conn *conn)
{
    enum fk_conn_fact fact;
    int result;

    if (conn->ssl == NULL && begin(conn) != FK_OK)
        return fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "out of memory", FK_ERR_NOMEM);
    ERR_clear_error();
    fk_rkey_enter(&conn->setup->key);
    result = SSL_do_handshake(conn->ssl);
    fk_rkey_leave();
    if (result == 1) {
        int err = succeeded(conn);

        if (err == FK_OK)
            return FK_FACT_SECURED;
        return fk_conn_lose(
            conn, err == FK_ERR_VERIFY ? "certificate is no good any more" : "out of memory", err);
    }
    fact = failed(conn, result);
    ERR_clear_error();
    return fact;
}

/* Only the answer moves the handshake. */
enum fk_conn_fact fk_conn_run_key(struct fk_conn *conn)
{
    return conn->setup->key.waiting ? fk_conn_watch(conn) : FK_FACT_KEY_ANSWERED;
}

/* Asks OpenSSL, not the key's state: a job is paused also when its answer has come already. */
void fk_conn_end_handshake(struct fk_conn *conn, int err)
{
    if (conn->setup == NULL || !SSL_waiting_for_async(conn->ssl))
        return;
    fk_rkey_abort(&conn->setup->key, err);
    fk_rkey_enter(&conn->setup->key);
    (void)SSL_do_handshake(conn->ssl);
    fk_rkey_leave();
    ERR_clear_error();
}

/* Time is over: the paused handshake ends with internal_error, a slow client with nothing. */
void fk_conn_late_handshake(struct fk_conn *conn)
{
    bool paused = SSL_waiting_for_async(conn->ssl) == 1;

    fk_metric_add(conn->env->metrics, FK_EDGE_HS_TIMEOUT, 1);
    conn->reason = paused ? "key server did not answer in time" : "client too slow";
    conn->err = FK_ERR_TIMEOUT;
    if (paused)
        conn->failure = FK_CLASS_KEY;
    fk_conn_end_handshake(conn, FK_ERR_TIMEOUT);
}
