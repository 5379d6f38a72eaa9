/* Origins of requests: see hop.h. */
#include "edge/hop.h"

#include "base/err.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"

static void on_io(struct fk_io *io, unsigned events)
{
    struct fk_hop *hop = fk_container(io, struct fk_hop, io);
    struct fk_conn *conn = hop->conn;

    conn->active_us = fk_loop_now_us(conn->env->loop);
    fk_conn_wake(conn);
    fk_end_notify(&hop->end, events);
    fk_conn_step(conn);
}

static void settled(struct fk_hop *hop, int err)
{
    hop->conn->origin_name = fk_origin_name(&hop->use);
    if (err != FK_OK) {
        hop->state = FK_HOP_FAILED;
        hop->err = err;
        fk_conn_origin_failed(hop->conn, err);
        return;
    }
    hop->state = FK_HOP_UP;
    fk_metric_add(hop->conn->env->metrics,
                  hop->use.reused ? FK_EDGE_ORIGIN_KEPT : FK_EDGE_ORIGIN_MADE, 1);
    fk_io_init(&hop->io, hop->conn->env->loop, hop->use.fd, on_io);
    if (hop->use.ssl != NULL && !hop->use.reused)
        fk_metric_add(hop->conn->env->metrics,
                      SSL_session_reused(hop->use.ssl) == 1 ? FK_EDGE_ORIGIN_RESUMED
                                                            : FK_EDGE_ORIGIN_SHAKEN,
                      1);
    fk_end_origin(&hop->end, &hop->use);
}

static void on_origin(struct fk_origin_use *use, int err)
{
    struct fk_hop *hop = fk_container(use, struct fk_hop, use);

    settled(hop, err);
    fk_conn_step(hop->conn);
}

static void on_late(struct fk_timer *timer)
{
    struct fk_hop *hop = fk_container(timer, struct fk_hop, patience);
    struct fk_conn *conn = hop->conn;

    hop->late = true;
    fk_metric_add(conn->env->metrics, FK_EDGE_ORIGIN_LATE, 1);
    fk_log_limited(&conn->env->failures[FK_CLASS_ORIGIN], FK_LOG_WARN,
                   "origin does not answer in time", fk_uint("connection", conn->id),
                   fk_str("site", conn->site->conf->block.title),
                   fk_str("origin", fk_origin_name(&hop->use)));
    fk_conn_step(conn);
}

void fk_hop_init(struct fk_hop *hop, struct fk_conn *conn)
{
    *hop = (struct fk_hop){.conn = conn};
    fk_timer_init(&hop->patience, conn->env->loop, on_late);
    fk_origin_init(&hop->use);
}

void fk_hop_start(struct fk_hop *hop)
{
    int err;

    hop->state = FK_HOP_CONNECTING;
    err = hop->fresh ? fk_origin_start(&hop->use, hop->conn->site->origins, on_origin)
                     : fk_origin_reuse(&hop->use, hop->conn->site->origins, on_origin);
    hop->fresh = false;
    if (err != FK_ERR_AGAIN)
        settled(hop, err);
}

static void leave(struct fk_hop *hop)
{
    if (hop->state == FK_HOP_UP) {
        fk_io_want(&hop->io, 0);
        fk_end_fini(&hop->end);
    }
    fk_timer_stop(&hop->patience);
    hop->late = false;
    hop->state = FK_HOP_NONE;
}

void fk_hop_drop(struct fk_hop *hop)
{
    leave(hop);
    fk_origin_stop(&hop->use);
}

void fk_hop_keep(struct fk_hop *hop)
{
    leave(hop);
    fk_origin_keep(&hop->use);
}

int fk_hop_status(const struct fk_hop *hop)
{
    if (hop->err == FK_ERR_TIMEOUT)
        return 504;
    return hop->err == FK_ERR_LIMIT ? 503 : 502;
}

int fk_hop_read(struct fk_hop *hop, struct fk_fetch *fetch, bool reads, bool *ret_moved)
{
    const struct fk_scratch *scratch = &hop->conn->env->scratch;
    size_t room = fk_buf_room(&fetch->in);
    uint8_t *data;
    ssize_t n;

    if (hop->state != FK_HOP_UP || !hop->end.ready || !reads)
        return FK_OK;
    n = hop->end.ops->read(&hop->end, scratch->mem, room < scratch->size ? room : scratch->size,
                           &data);
    if (n == FK_ERR_AGAIN)
        return FK_OK;
    if (n == FK_ERR_NOMEM)
        return FK_ERR_NOMEM;
    *ret_moved = true;
    if (n <= 0) { /* one that breaks has ended: what that means depends on what it has said */
        fetch->eof = true;
        fetch->broken = fetch->broken || n < 0;
        return FK_OK;
    }
    hop->conn->relay.down.bytes += (size_t)n;
    return fk_buf_append(&fetch->in, data, (size_t)n);
}

void fk_end_origin(struct fk_end *end, const struct fk_origin_use *use)
{
    if (use->ssl != NULL)
        fk_end_tls(end, use->fd, use->ssl);
    else
        fk_end_plain(end, use->fd);
}

int fk_end_drain(struct fk_end *end, struct fk_buf *buf)
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

int fk_hop_write(struct fk_hop *hop, struct fk_fetch *fetch)
{
    int err;

    if (hop->state != FK_HOP_UP || fetch->spent)
        return FK_OK;
    err = fk_end_drain(&hop->end, &fetch->out);
    if (err == FK_OK || err == FK_ERR_AGAIN || err == FK_ERR_NOMEM)
        return err == FK_ERR_AGAIN ? FK_OK : err;
    fetch->broken = true; /* reads may see but an end from now on */
    fk_buf_consume(&fetch->out, fk_buf_len(&fetch->out));
    return FK_OK;
}

unsigned fk_end_wants(const struct fk_end *end, bool reads, const struct fk_buf *out)
{
    unsigned events = reads ? end->read_needs : 0;

    return fk_buf_len(out) > 0 || fk_end_pending(end) ? events | FK_IO_WRITE : events;
}

void fk_hop_watch(struct fk_hop *hop, const struct fk_fetch *fetch, bool reads, bool waits)
{
    if (hop->state != FK_HOP_UP)
        return;
    fk_io_want(&hop->io, fk_end_wants(&hop->end, reads, &fetch->out));
    waits = waits && fk_buf_len(&fetch->out) == 0;
    if (!waits)
        fk_timer_stop(&hop->patience);
    else if (!fk_timer_active(&hop->patience))
        fk_timer_start(&hop->patience, hop->conn->site->conf->origin_answer_us);
}
