/*
 * The life of a client connection: born, stepped through its states, timed, logged, freed. What the
 * states do is in conn_hello.c, conn_tls.c and conn_relay.c.
 */
#include "edge/conn.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"
#include "base/secret.h"
#include "loop/sock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* --- the end --- */

static void log_refusal(const struct fk_conn *conn)
{
    struct fk_log_limit *limit = &conn->env->failures[conn->failure];
    char peer[FK_ADDR_TEXT_SIZE];

    fk_addr_format(&conn->peer, peer);
    fk_log_limited(limit, FK_LOG_WARN, "connection refused", fk_uint("connection", conn->id),
                   fk_str("client", peer), fk_str("sni", conn->sni), fk_str("why", conn->reason),
                   fk_str("err", fk_err_name(conn->err)));
}

static const char *origin_name(const struct fk_conn *conn)
{
    return conn->origin_name != NULL ? conn->origin_name : fk_origin_name(&conn->origin);
}

static void log_access(const struct fk_conn *conn)
{
    char peer[FK_ADDR_TEXT_SIZE];

    fk_addr_format(&conn->peer, peer);
    fk_log(FK_LOG_INFO, "connection", fk_uint("connection", conn->id), fk_str("client", peer),
           fk_str("sni", conn->sni),
           fk_str("site", conn->site == NULL ? NULL : conn->site->conf->block.title),
           fk_str("version", conn->version), fk_str("cipher", conn->cipher),
           fk_str("resumed", conn->resumed ? "yes" : "no"),
           fk_str("certificate", conn->shown == NULL ? NULL : conn->shown->subject),
           fk_str("certificate_sha256", conn->shown == NULL ? NULL : conn->shown->print),
           fk_uint("key_us", conn->key_us), fk_str("origin", origin_name(conn)),
           fk_uint("up", conn->relay.up.bytes), fk_uint("down", conn->relay.down.bytes),
           fk_uint("us", fk_loop_now_us(conn->env->loop) - conn->accepted_us),
           fk_str("end", conn->reason == NULL ? "closed" : conn->reason));
}

/* What the connection was counts, once. */
static void count(const struct fk_conn *conn)
{
    struct fk_metrics *metrics = conn->env->metrics;

    fk_metric_set(metrics, FK_EDGE_ACTIVE, fk_admit_count(conn->env->admit));
    fk_metric_add(metrics, FK_EDGE_BYTES_UP, conn->relay.up.bytes);
    fk_metric_add(metrics, FK_EDGE_BYTES_DOWN, conn->relay.down.bytes);
    if (conn->secured_us == 0 && conn->reason == NULL)
        fk_metric_add(metrics, FK_EDGE_HS_LOST, 1);
}

void fk_conn_free_setup(struct fk_conn *conn)
{
    if (conn->setup == NULL)
        return;
    fk_buf_fini(&conn->setup->hello);
    fk_opaque_free(conn->setup->key.opaque);
    fk_wipe(conn->setup, sizeof *conn->setup);
    free(conn->setup);
    conn->setup = NULL;
}

void fk_conn_free_ssl(struct fk_conn *conn)
{
    if (conn->ssl == NULL)
        return;
    fk_conn_end_handshake(conn, FK_ERR_CANCELLED);
    /* OpenSSL forgets sessions of connections that were not shut down in order. */
    if (conn->secured_us != 0)
        SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(conn->ssl);
    conn->ssl = NULL;
}

static void destroy(struct fk_conn *conn)
{
    struct fk_conn_env *env = conn->env;

    fk_io_want(&conn->io, 0);
    fk_timer_stop(&conn->timer);
    fk_defer_stop(&conn->again);
    fk_list_del(&conn->site_link);
    fk_list_del(&conn->link);
    if (conn->gen->root->access_log)
        log_access(conn);
    fk_conn_relay_end(conn);
    fk_admit_leave(env->admit, &conn->admitted);
    count(conn);
    if (conn->site != NULL)
        conn->site->active--;
    fk_conn_free_ssl(conn);
    fk_conn_free_record(conn);
    fk_conn_end_pass(conn);
    fk_conn_free_setup(conn);
    fk_close(&conn->fd);
    fk_buf_fini(&conn->in);
    free(conn->sni);
    fk_conn_free_shown(conn);
    fk_gen_unref(conn->gen);
    free(conn);
    env->on_end(env);
}

/* --- refusing --- */

enum fk_conn_fact fk_conn_lose(struct fk_conn *conn, const char *reason, int err)
{
    conn->reason = reason;
    conn->err = err;
    return FK_FACT_LOST;
}

/* A fatal alert in a plaintext record (RFC 8446 sections 5.1 and 6). */
static bool send_alert(int fd, enum fk_alert alert)
{
    const uint8_t record[] = {21, 3, 3, 0, 2, 2, (uint8_t)alert};

    return send(fd, record, sizeof record, MSG_NOSIGNAL) >= 0;
}

enum fk_conn_fact fk_conn_refuse(struct fk_conn *conn, enum fk_alert alert, const char *reason,
                                 int err)
{
    conn->reason = reason;
    conn->err = err;
    if (conn->listen->plain != NULL) /* who does not speak TLS is not told in it */
        return FK_FACT_LOST;
    return send_alert(conn->fd, alert) ? FK_FACT_REFUSED : FK_FACT_LOST;
}

/* The last bytes are on their way: closing over unread ones would reset the connection and lose
 * them. */
static enum fk_conn_fact run_closing(struct fk_conn *conn)
{
    ssize_t n;

    conn->wants = FK_IO_READ;
    conn->origin_wants = 0;
    n = recv(conn->fd, conn->env->scratch.mem, conn->env->scratch.size, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return FK_FACT_NONE;
    return n > 0 ? FK_FACT_NONE : FK_FACT_BOTH_ENDED;
}

/* --- steps --- */

static enum fk_conn_fact run_dead(struct fk_conn *conn)
{
    (void)conn;
    return FK_FACT_NONE;
}

typedef enum fk_conn_fact run_function(struct fk_conn *conn);

static run_function *const functions[FK_CONN_STATE_COUNT] = {
    [FK_CONN_PROXY] = fk_conn_run_proxy,
    [FK_CONN_PLAIN] = fk_conn_run_plain,
    [FK_CONN_HELLO] = fk_conn_run_hello,
    [FK_CONN_WAIT] = fk_conn_run_wait,
    [FK_CONN_HANDSHAKE] = fk_conn_run_handshake,
    [FK_CONN_KEY] = fk_conn_run_key,
    [FK_CONN_PASS] = fk_conn_run_pass,
    [FK_CONN_PASS_KEY] = fk_conn_run_pass_key,
    [FK_CONN_RELAY] = fk_conn_run_relay,
    [FK_CONN_HALF] = fk_conn_run_relay,
    [FK_CONN_CLOSING] = run_closing,
    [FK_CONN_DEAD] = run_dead,
};

/* What is left of the time for the handshake, which runs from accept on. */
static uint64_t handshake_left_us(const struct fk_conn *conn)
{
    uint64_t used = fk_loop_now_us(conn->env->loop) - conn->accepted_us;
    uint64_t max = conn->gen->limits->handshake_us;

    return used < max ? max - used : 0;
}

/*
 * A back-end keeps its own deadline; this one is for when it does not. It must not be shorter, or a
 * client would be told of a timeout whose operation has just been answered.
 */
static uint64_t key_left_us(const struct fk_conn *conn)
{
    uint64_t max = conn->site->back->deadline_us + FK_EDGE_KEY_GRACE_US;
    uint64_t left = handshake_left_us(conn);

    return left < max ? left : max;
}

static uint64_t limit_us(const struct fk_conn *conn, enum fk_conn_limit limit)
{
    const struct fk_edge_limits *limits = conn->gen->limits;

    switch (limit) {
    case FK_LIMIT_HANDSHAKE:
        return handshake_left_us(conn);
    case FK_LIMIT_KEY:
        return key_left_us(conn);
    case FK_LIMIT_IDLE:
        if (conn->env->draining && fk_conn_http_unasked(conn))
            return limits->idle_us < FK_EDGE_ASK_US ? limits->idle_us : FK_EDGE_ASK_US;
        return limits->idle_us;
    case FK_LIMIT_HALF:
        return limits->half_closed_us;
    case FK_LIMIT_LINGER:
        return FK_EDGE_LINGER_US;
    case FK_LIMIT_NONE:
        break;
    }
    return 0;
}

/* What is done once when a state begins. */
static void enter(struct fk_conn *conn, enum fk_conn_state state)
{
    enum fk_conn_limit before = fk_conn_limit_of(conn->state);
    bool refused = state == FK_CONN_CLOSING && conn->state < FK_CONN_RELAY;
    enum fk_conn_limit limit = fk_conn_limit_of(state);

    conn->state = state;
    if (limit != before && limit != FK_LIMIT_NONE)
        fk_timer_start(&conn->timer, limit_us(conn, limit));
    if (state == FK_CONN_WAIT)
        fk_list_append(&conn->site->waiting, &conn->site_link);
    else
        fk_list_del(&conn->site_link);
    if (state == FK_CONN_RELAY) {
        fk_conn_relay_begin(conn);
        fk_conn_free_setup(conn);
        fk_conn_end_pass(conn);
    }
    if (refused)
        log_refusal(conn);
    if (state == FK_CONN_CLOSING)
        (void)shutdown(conn->fd, SHUT_WR);
}

/* Where a fact leads. Returns false when the connection is gone. */
static bool advance(struct fk_conn *conn, enum fk_conn_fact fact)
{
    enum fk_conn_state next = fk_conn_next(conn->state, fact);

    assert(next != FK_CONN_STATE_COUNT); /* our own mistake: see conn_state.c */
    if (next != FK_CONN_DEAD) {
        enter(conn, next);
        return true;
    }
    if (conn->reason != NULL && conn->state < FK_CONN_RELAY)
        log_refusal(conn);
    conn->state = next;
    destroy(conn);
    return false;
}

void fk_conn_step(struct fk_conn *conn)
{
    enum fk_conn_fact fact;

    while ((fact = functions[conn->state](conn)) != FK_FACT_NONE)
        if (!advance(conn, fact))
            return;
    fk_io_want(&conn->io, conn->wants);
    if (conn->relay.origin.ops != NULL)
        fk_io_want(&conn->origin_io, conn->origin_wants);
}

/* --- what happens to it --- */

static void on_client(struct fk_io *io, unsigned events)
{
    struct fk_conn *conn = fk_container(io, struct fk_conn, io);

    conn->active_us = fk_loop_now_us(conn->env->loop);
    conn->bio.drained = false;
    fk_conn_wake(conn);
    fk_end_notify(&conn->relay.client, events);
    fk_conn_step(conn);
}

static void on_again(struct fk_defer *defer)
{
    fk_conn_step(fk_container(defer, struct fk_conn, again));
}

/* Idle times are measured from the last byte: the timer is only set anew when it fires. */
static bool still_active(struct fk_conn *conn)
{
    enum fk_conn_limit limit = fk_conn_limit_of(conn->state);
    uint64_t idle = fk_loop_now_us(conn->env->loop) - conn->active_us;
    uint64_t max = limit_us(conn, limit);

    if ((limit != FK_LIMIT_IDLE && limit != FK_LIMIT_HALF) || idle >= max)
        return false;
    fk_timer_start(&conn->timer, max - idle);
    return true;
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_conn *conn = fk_container(timer, struct fk_conn, timer);

    if (still_active(conn))
        return;
    switch (conn->state) {
    case FK_CONN_WAIT:
        conn->failure = FK_CLASS_KEY;
        (void)fk_conn_refuse(conn, FK_ALERT_INTERNAL_ERROR, "no certificate", FK_ERR_UNAVAILABLE);
        break;
    case FK_CONN_HANDSHAKE:
    case FK_CONN_KEY:
        fk_conn_late_handshake(conn);
        break;
    case FK_CONN_PASS:
    case FK_CONN_PASS_KEY:
        fk_conn_late_pass(conn);
        break;
    case FK_CONN_RELAY:
    case FK_CONN_HALF:
        fk_metric_add(conn->env->metrics, FK_EDGE_IDLE, 1);
        conn->reason = "idle";
        conn->err = FK_ERR_TIMEOUT;
        break;
    case FK_CONN_PROXY:
    case FK_CONN_PLAIN:
    case FK_CONN_HELLO:
        fk_metric_add(conn->env->metrics, FK_EDGE_HS_TIMEOUT, 1);
        conn->reason = "no ClientHello in time";
        conn->err = FK_ERR_TIMEOUT;
        break;
    case FK_CONN_CLOSING:
    case FK_CONN_DEAD:
    case FK_CONN_STATE_COUNT:
        break;
    }
    if (advance(conn, FK_FACT_TIMEOUT))
        fk_conn_step(conn);
}

/* --- birth --- */

/* FK_ERR_LIMIT: of its address; or there is no memory. */
static void turn_away(struct fk_conn_env *env, struct fk_admitted *admitted,
                      const struct fk_addr *peer, int fd, int err)
{
    const char *why =
        err == FK_ERR_LIMIT ? "too many connections of this address" : fk_err_text(err);
    char text[FK_ADDR_TEXT_SIZE];

    fk_admit_leave(env->admit, admitted);
    fk_addr_format(peer, text);
    fk_log_limited(&env->failures[FK_CLASS_LIMIT], FK_LOG_WARN, "connection refused",
                   fk_str("client", text), fk_str("why", why), fk_str("err", fk_err_name(err)));
    if (err == FK_ERR_LIMIT)
        fk_metric_add(env->metrics, FK_EDGE_LIMITED_ADDRESS, 1);
    fk_close(&fd);
}

static void init(struct fk_conn *conn, struct fk_conn_env *env, struct fk_gen *gen,
                 const struct fk_edge_listen *listen)
{
    conn->env = env;
    conn->gen = fk_gen_ref(gen);
    conn->listen = listen;
    conn->id = ++env->next_id;
    conn->accepted_us = conn->active_us = fk_loop_now_us(env->loop);
    fk_list_append(&env->conns, &conn->link);
    fk_list_init(&conn->site_link);
    fk_list_init(&conn->awake);
    fk_timer_init(&conn->timer, env->loop, on_timer);
    fk_defer_init(&conn->again, env->loop, on_again);
    fk_buf_init(&conn->in, FK_EDGE_HELLO_BUFFER);
    fk_origin_init(&conn->origin);
    fk_timer_start(&conn->timer, gen->limits->handshake_us);
    conn->state = listen->proxy_protocol  ? FK_CONN_PROXY
                  : listen->plain != NULL ? FK_CONN_PLAIN
                                          : FK_CONN_HELLO;
}

void fk_conn_accept(struct fk_conn_env *env, struct fk_gen *gen,
                    const struct fk_edge_listen *listen, const struct fk_addr *bound, int fd,
                    const struct fk_addr *peer)
{
    struct fk_admitted admitted;
    struct fk_conn *conn;
    int err;

    fk_metric_add(env->metrics, FK_EDGE_ACCEPTED, 1);
    fk_admit_connection(env->admit, &admitted);
    /* Behind a proxy the client's address is known later. */
    if (!listen->proxy_protocol &&
        (err = fk_admit_address(env->admit, gen->limits, peer, &admitted)) != FK_OK) {
        /* Lost if its ClientHello is here already: lingering would be what it may not have. */
        if (listen->plain == NULL)
            (void)send_alert(fd, FK_ALERT_INTERNAL_ERROR);
        turn_away(env, &admitted, peer, fd, err);
        return;
    }
    if ((conn = calloc(1, sizeof *conn)) == NULL) {
        turn_away(env, &admitted, peer, fd, FK_ERR_NOMEM);
        return;
    }
    init(conn, env, gen, listen);
    conn->admitted = admitted;
    conn->fd = fd;
    conn->peer = *peer;
    conn->reached = *bound;
    fk_io_init(&conn->io, env->loop, fd, on_client);
    fk_metric_set(env->metrics, FK_EDGE_ACTIVE, fk_admit_count(env->admit));
    fk_conn_step(conn);
}

const struct fk_addr *fk_conn_reached(struct fk_conn *conn)
{
    if (conn->reached.len == 0)
        (void)fk_sock_local(conn->fd, &conn->reached);
    return &conn->reached;
}

void fk_conn_resume(struct fk_site *site)
{
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &site->waiting)
        fk_conn_step(fk_container(item, struct fk_conn, site_link));
}

void fk_conn_drain_all(struct fk_conn_env *env)
{
    struct fk_list *item, *temp;

    env->draining = true;
    fk_list_each_safe (item, temp, &env->conns) {
        struct fk_conn *conn = fk_container(item, struct fk_conn, link);

        if (conn->http != NULL && conn->state == FK_CONN_RELAY)
            fk_conn_http_drain(conn);
    }
}

void fk_conn_renew_all(struct fk_conn_env *env, const struct fk_gen *gen)
{
    struct fk_list *item, *temp;

    env->served = gen;
    fk_list_each_safe (item, temp, &env->conns) {
        struct fk_conn *conn = fk_container(item, struct fk_conn, link);

        if (conn->http != NULL && conn->state == FK_CONN_RELAY && conn->gen != gen)
            fk_conn_http_wind_down(conn);
    }
}

void fk_conn_end_all(struct fk_conn_env *env)
{
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &env->conns) {
        struct fk_conn *conn = fk_container(item, struct fk_conn, link);

        conn->reason = "shutting down";
        conn->err = FK_ERR_DRAINING;
        conn->state = FK_CONN_DEAD;
        destroy(conn);
    }
}
