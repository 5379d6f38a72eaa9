/*
 * One channel of a front: who is there, frames in, frames out, and when it has to end.
 *
 * A connection is freed in fk_front_conn_close() only. Handlers of a frame never close: they set
 * `doomed`, and whoever called them settles it when the stack has unwound.
 */
#include "keyd/front_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/sock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fk_log_field peer_field(const struct fk_front_conn *conn,
                                      char text[FK_ADDR_TEXT_SIZE])
{
    fk_addr_format(&conn->peer, text);
    return fk_str("peer", text);
}

static const char *edge_name(const struct fk_front_conn *conn)
{
    return conn->edge != NULL ? conn->edge->name : NULL;
}

/* Why a peer that has proved its certificate is turned away; FK_OK: it is welcome. */
static int identify(struct fk_front_conn *conn, enum fk_keyd_metric *ret_metric)
{
    const SSL *ssl = fk_channel_io_ssl(conn->io);
    int err;

    *ret_metric = FK_KEYD_REFUSED_IDENTITY;
    if ((err = fk_channel_peer_identity(ssl, conn->identity, sizeof conn->identity)) != FK_OK)
        return err;
    conn->edge = fk_policy_find(conn->front->set->policy, conn->identity);
    if (conn->edge == NULL)
        return FK_ERR_NOT_FOUND;
    conn->account =
        &conn->front->accounts[fk_quota_number(conn->front->options.quota, conn->edge->slot)];
    /* A new revocation list may have come during the handshake. */
    if (conn->generation != conn->front->set->generation && fk_front_judge(conn) != NULL)
        return FK_ERR_VERIFY;
    if (!fk_addr_permitted(&conn->peer, &conn->edge->allow, &conn->edge->deny)) {
        *ret_metric = FK_KEYD_REFUSED_ADDRESS;
        return FK_ERR_DENIED;
    }
    if (!fk_quota_channel_open(conn->edge->slot, conn->front->options.index,
                               conn->edge->connections)) {
        *ret_metric = FK_KEYD_REFUSED_FULL;
        return FK_ERR_LIMIT;
    }
    conn->slot = conn->edge->slot;
    return FK_OK;
}

/* No ALPN means dialect 1, where the listener has it; farkey/1 wants TLS 1.3. */
static int choose_dialect(struct fk_front_conn *conn)
{
    const SSL *ssl = fk_channel_io_ssl(conn->io);
    const unsigned char *alpn;
    unsigned len;

    SSL_get0_alpn_selected(ssl, &alpn, &len);
    if (len == 0) {
        conn->dialect = FK_DIALECT_1;
        return conn->listen->dialect1 ? FK_OK : FK_ERR_UNSUPPORTED;
    }
    conn->dialect = FK_DIALECT_2;
    return SSL_version(ssl) >= TLS1_3_VERSION ? FK_OK : FK_ERR_VERSION;
}

static void on_open(struct fk_front_conn *conn)
{
    enum fk_keyd_metric metric = FK_KEYD_REFUSED_DIALECT;
    struct fk_front *front = conn->front;
    char text[FK_ADDR_TEXT_SIZE];
    int err;

    if ((err = choose_dialect(conn)) == FK_OK)
        err = identify(conn, &metric);
    if (err != FK_OK) {
        fk_front_count(front, metric);
        fk_log_limited(&front->tls_limit, FK_LOG_WARN, "channel refused", peer_field(conn, text),
                       fk_str("identity", conn->identity), fk_error(err));
        conn->doomed = true;
        return;
    }
    fk_door_leave(&conn->place);
    if (conn->dial != NULL)
        fk_front_dial_used(conn);
    conn->since_us = fk_loop_now_us(front->loop);
    conn->judge_us = conn->since_us + fk_channel_peer_judge_us(fk_channel_io_ssl(conn->io));
    fk_front_count(front, FK_KEYD_CONNECTIONS);
    fk_log_limited(&conn->account->opened, FK_LOG_INFO, "channel open",
                   fk_uint("channel", conn->id), peer_field(conn, text),
                   fk_str("edge", edge_name(conn)), fk_uint("dialect", (uint64_t)conn->dialect));
}

static void on_closed(struct fk_front_conn *conn, int err)
{
    struct fk_front *front = conn->front;
    char text[FK_ADDR_TEXT_SIZE];

    conn->doomed = true;
    if (conn->edge != NULL) {
        fk_log_limited(&conn->account->closed, FK_LOG_INFO, "channel closed",
                       fk_uint("channel", conn->id), fk_str("edge", edge_name(conn)),
                       fk_uint("unanswered", conn->inflight),
                       fk_str("detail", fk_channel_io_reason(conn->io)), fk_error(err));
        return;
    }
    fk_front_count(front, FK_KEYD_REFUSED_TLS);
    fk_log_limited(&front->tls_limit, FK_LOG_WARN, "channel handshake failed",
                   peer_field(conn, text), fk_str("detail", fk_channel_io_reason(conn->io)),
                   fk_error(err));
}

static void handle_frame(struct fk_front_conn *conn, const struct fk_frame *frame)
{
    struct fk_keymsg msg;
    int err;

    if (frame->major != 1)
        err = FK_ERR_VERSION;
    else
        err = fk_keymsg_decode(frame, &msg);
    if (err == FK_OK) {
        fk_front_op(conn, &msg);
        return;
    }
    fk_front_count(conn->front, FK_KEYD_OP_OTHER);
    fk_front_count_result(conn->front, FK_ERR_FORMAT);
    fk_log_limited(&conn->front->error_limit, FK_LOG_WARN, "malformed request",
                   fk_uint("channel", conn->id), fk_str("edge", edge_name(conn)), fk_error(err));
    fk_front_conn_send_error(conn, frame->id, err == FK_ERR_VERSION ? err : FK_ERR_FORMAT);
}

/* What one edge may have under way: not the whole front, unless the operator says so. */
static size_t edge_bound(const struct fk_front_conn *conn)
{
    uint64_t bound = conn->edge->outstanding;

    if (bound == 0)
        bound = (conn->front->set->limits->outstanding + 1) / 2;
    return (size_t)bound;
}

/* Whether another request may be taken: bounds what a channel, an edge, and all together, hold. */
static bool has_room(const struct fk_front_conn *conn)
{
    const struct fk_keyd_limits_conf *limits = conn->front->set->limits;

    return conn->inflight < limits->channel_outstanding &&
           conn->account->outstanding < edge_bound(conn) &&
           conn->front->outstanding < conn->front->outstanding_max &&
           fk_buf_len(fk_channel_io_out(conn->io)) < limits->output;
}

static void stall(struct fk_front_conn *conn)
{
    if (!conn->stalled)
        fk_front_count(conn->front, FK_KEYD_STALLS);
    conn->stalled = true;
    conn->front->some_stalled = true;
    fk_channel_io_pause(conn->io, true);
}

static void take_frames(struct fk_front_conn *conn)
{
    struct fk_buf *in = fk_channel_io_in(conn->io);
    uint64_t now = fk_loop_now_us(conn->front->loop);
    struct fk_frame frame;
    unsigned taken = 0;
    size_t used;

    while (!conn->doomed && fk_buf_len(in) > 0 &&
           fk_frame_parse(fk_buf_data(in), fk_buf_len(in), &frame, &used) == FK_OK) {
        if (!has_room(conn)) {
            stall(conn);
            return;
        }
        if (taken++ == FK_KEYD_FRAME_BATCH) {
            fk_defer_start(&conn->more);
            return;
        }
        conn->since_us = now;
        handle_frame(conn, &frame);
        fk_buf_consume(in, used);
        conn->partial = false;
    }
    if (fk_buf_len(in) > 0 && !conn->partial) {
        conn->partial = true;
        conn->partial_us = now;
    } else if (fk_buf_len(in) == 0) {
        conn->partial = false;
    }
}

void fk_front_conn_resume(struct fk_front_conn *conn)
{
    fk_front_release(conn);
    if (conn->stalled && has_room(conn)) {
        conn->stalled = false;
        fk_channel_io_pause(conn->io, false);
        take_frames(conn);
    }
    fk_front_conn_settle(conn);
}

static void on_more(struct fk_defer *defer)
{
    struct fk_front_conn *conn = fk_container(defer, struct fk_front_conn, more);

    take_frames(conn);
    fk_front_conn_settle(conn);
}

static void on_channel(void *owner, enum fk_channel_event event, int err)
{
    struct fk_front_conn *conn = owner;

    switch (event) {
    case FK_CHANNEL_OPEN:
        on_open(conn);
        break;
    case FK_CHANNEL_READ:
        if (!conn->stalled)
            take_frames(conn);
        break;
    case FK_CHANNEL_DRAINED:
        fk_front_conn_resume(conn);
        return;
    case FK_CHANNEL_CLOSED:
        on_closed(conn, err);
        break;
    }
    fk_front_conn_settle(conn);
}

/* A connection of a listener's or a dial block's, in no list but that of all. */
static int make(struct fk_front *front, const struct fk_keyd_listen_conf *listen, int fd,
                const struct fk_addr *peer, struct fk_front_conn **ret)
{
    struct fk_channel_setup setup = {.ctx =
                                         listen->dialect1 ? front->set->tls12 : front->set->tls13,
                                     .fd = fd,
                                     .accept = true,
                                     .cb = on_channel};
    struct fk_front_conn *conn = calloc(1, sizeof *conn);
    int err;

    if (conn == NULL) {
        fk_close(&fd);
        return FK_ERR_NOMEM;
    }
    conn->front = front;
    conn->peer = *peer;
    conn->id = front->last_conn + 1;
    conn->generation = front->set->generation;
    conn->listen = listen;
    conn->since_us = fk_loop_now_us(front->loop);
    fk_list_init(&conn->requests);
    fk_buf_init(&conn->held, FK_KEYD_HELD_MAX);
    fk_defer_init(&conn->more, front->loop, on_more);
    setup.owner = conn;
    err = fk_channel_io_new(front->loop, &setup, &conn->io);
    if (err != FK_OK) {
        free(conn);
        return err;
    }
    front->last_conn++;
    front->n_conns++;
    fk_list_append(&front->conns, &conn->link);
    fk_metric_set(front->options.metrics, FK_KEYD_CONNECTED, front->n_conns);
    *ret = conn;
    return FK_OK;
}

static int start(const struct fk_front_listener *listener, int fd, const struct fk_addr *peer)
{
    struct fk_front_conn *conn;
    int err = make(listener->front, listener->conf, fd, peer, &conn);

    if (err == FK_OK && (err = fk_door_enter(listener->front->door, peer, &conn->place)) != FK_OK)
        fk_front_conn_close(conn);
    return err;
}

int fk_front_conn_dialled(struct fk_front_dial *dial, int fd, const struct fk_addr *peer)
{
    struct fk_front *front = dial->front;
    struct fk_front_conn *conn;
    int err;

    if (front->n_conns >= front->set->limits->connections) {
        fk_close(&fd);
        return FK_ERR_LIMIT;
    }
    if ((err = make(front, &dial->conf->listen, fd, peer, &conn)) != FK_OK)
        return err;
    conn->dial = dial;
    conn->dialled = true;
    dial->ready = conn;
    return FK_OK;
}

void fk_front_conn_accept(const struct fk_front_listener *listener, int fd,
                          const struct fk_addr *peer)
{
    struct fk_front *front = listener->front;
    enum fk_keyd_metric metric;
    char text[FK_ADDR_TEXT_SIZE];
    int err;

    if ((err = fk_front_admit(listener, peer, &metric)) == FK_OK) {
        metric = FK_KEYD_REFUSED_TLS;
        err = start(listener, fd, peer);
    } else {
        fk_close(&fd);
    }
    if (err == FK_OK)
        return;
    fk_front_count(front, metric);
    fk_addr_format(peer, text);
    fk_log_limited(&front->accept_limit, FK_LOG_WARN, "connection refused", fk_str("peer", text),
                   fk_str("listen", listener->conf->block.title), fk_error(err));
}

void fk_front_conn_close(struct fk_front_conn *conn)
{
    struct fk_front *front = conn->front;
    struct fk_list *item;

    /* What the signers are doing is done: each operation still gets its audit line. */
    while ((item = fk_list_pop(&conn->requests)) != NULL) {
        fk_container(item, struct fk_front_request, link)->conn = NULL;
        fk_list_append(&front->orphans, item);
    }
    fk_front_unhold(conn);
    if (conn->slot != NULL)
        fk_quota_channel_close(conn->slot, front->options.index);
    if (conn->dial != NULL)
        fk_front_dial_lost(conn);
    fk_door_leave(&conn->place);
    fk_defer_stop(&conn->more);
    fk_channel_io_free(conn->io);
    fk_list_del(&conn->link);
    front->n_conns--;
    fk_metric_set(front->options.metrics, FK_KEYD_CONNECTED, front->n_conns);
    free(conn);
}

void fk_front_conn_settle(struct fk_front_conn *conn)
{
    struct fk_front *front = conn->front;
    bool idle = conn->inflight == 0 && !conn->stalled && !fk_defer_active(&conn->more) &&
                fk_buf_len(fk_channel_io_out(conn->io)) == 0;

    if (!conn->doomed && !(front->draining && idle))
        return;
    fk_front_conn_close(conn);
    if (front->draining && front->n_conns == 0)
        fk_defer_start(&front->resume); /* which tells the owner */
}

/* The reason why its time is over, or NULL. */
static const char *expiry(struct fk_front_conn *conn, uint64_t now)
{
    const struct fk_keyd_limits_conf *limits = conn->front->set->limits;
    uint64_t waiting = fk_buf_len(fk_channel_io_out(conn->io));

    /* One that is kept ready waits for as long as the edge likes. */
    if (conn->dial != NULL && fk_channel_io_silent(conn->io)) {
        conn->since_us = now;
        return NULL;
    }
    if (conn->edge == NULL && now - conn->since_us > limits->handshake_timeout)
        return "handshake";
    if (conn->edge == NULL)
        return now - conn->since_us > limits->hello_timeout && !fk_channel_io_greeted(conn->io)
                   ? "no ClientHello"
                   : NULL;
    if (waiting == 0 || conn->taken - waiting != conn->written_mark) {
        conn->written_mark = conn->taken - waiting;
        conn->written_us = now;
    } else if (now - conn->written_us > limits->write_timeout) {
        return "answers not read";
    }
    if (conn->partial && !conn->stalled && now - conn->partial_us > limits->frame_timeout)
        return "incomplete frame";
    if (conn->inflight == 0 && now - conn->since_us > limits->idle_timeout)
        return "idle";
    return NULL;
}

bool fk_front_conn_expired(struct fk_front_conn *conn, uint64_t now)
{
    const char *reason = expiry(conn, now);
    char text[FK_ADDR_TEXT_SIZE];

    if (reason == NULL)
        return false;
    fk_front_count(conn->front, FK_KEYD_TIMEOUTS);
    fk_log_limited(&conn->front->tls_limit, FK_LOG_INFO, "channel timed out",
                   fk_uint("channel", conn->id), peer_field(conn, text),
                   fk_str("edge", edge_name(conn)), fk_str("reason", reason));
    return true;
}

void fk_front_conn_send(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    struct fk_buf *out = fk_channel_io_out(conn->io);
    size_t before = fk_buf_len(out);
    int err = fk_keymsg_encode(msg, conn->dialect == FK_DIALECT_1, out);

    if (err != FK_OK) {
        fk_log_limited(&conn->front->error_limit, FK_LOG_ERROR, "answer not sent, closing",
                       fk_uint("channel", conn->id), fk_str("edge", edge_name(conn)),
                       fk_error(err));
        conn->doomed = true;
        return;
    }
    conn->taken += fk_buf_len(out) - before;
    fk_channel_io_flush(conn->io);
}

void fk_front_conn_send_error(struct fk_front_conn *conn, uint32_t id, int err)
{
    uint8_t code = fk_key_error_to_wire(err, conn->dialect);
    struct fk_keymsg msg = {.id = id, .opcode = FK_OP_ERROR, .payload = fk_item(&code, 1)};

    fk_front_conn_send(conn, &msg);
}
