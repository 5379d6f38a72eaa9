/*
 * Operations that wait for the audit process to be back.
 *
 * Without one no operation may be done, but its restart takes no longer than a busy moment, and
 * edges have time. So frames are kept as they came, in order, a queue for each channel, and are
 * decided on as if they had come now when there is a process again, or refused when the gap is too
 * long (fk_audit_sink_gap()). All else on the channel goes on: pings tell that this front is well.
 * Held operations count as under way, so that all bounds of those hold for them, too.
 */
#include "keyd/front_priv.h"

#include "base/err.h"
#include "base/writer.h"

static uint64_t gap_of(const struct fk_front *front)
{
    return front->options.sink == NULL ? 0 : fk_audit_sink_gap(front->options.sink);
}

static void on_gap(struct fk_timer *timer)
{
    struct fk_front *front = fk_container(timer, struct fk_front, gap);
    uint64_t left = gap_of(front); /* it may be another gap by now */

    if (left > 0)
        fk_timer_start(timer, left);
    else
        fk_defer_start(&front->resume);
}

void fk_front_hold_init(struct fk_front *front)
{
    fk_timer_init(&front->gap, front->loop, on_gap);
}

/* The frame as it came: it may be signed. FK_ERR_LIMIT, FK_ERR_NOMEM: nothing was kept. */
static int keep(struct fk_buf *held, const struct fk_keymsg *msg)
{
    size_t size = FK_FRAME_HEADER + msg->body.left;
    struct fk_writer writer;
    uint8_t *at;
    int err;

    if ((err = fk_buf_reserve(held, size, &at)) != FK_OK)
        return err;
    fk_writer_init(&writer, at, size);
    fk_writer_u16(&writer, 0x0100); /* the version that was accepted */
    fk_writer_u16(&writer, (uint16_t)msg->body.left);
    fk_writer_u32(&writer, msg->id);
    fk_writer_bytes(&writer, msg->body.next, msg->body.left);
    if ((err = fk_writer_end(&writer, &size)) == FK_OK)
        fk_buf_commit(held, size);
    return err;
}

bool fk_front_hold(struct fk_front_conn *conn, const struct fk_keymsg *msg)
{
    struct fk_front *front = conn->front;
    size_t before = fk_buf_len(&conn->held);
    uint64_t left = gap_of(front);

    if (left == 0 || front->held >= FK_KEYD_HELD_MAX || keep(&conn->held, msg) != FK_OK)
        return false;
    front->held += fk_buf_len(&conn->held) - before;
    conn->n_held++;
    conn->inflight++;
    conn->account->outstanding++;
    front->outstanding++;
    if (!fk_timer_active(&front->gap))
        fk_timer_start(&front->gap, left);
    return true;
}

/* Take the queue from the channel. */
static void take_held(struct fk_front_conn *conn, struct fk_buf *ret)
{
    struct fk_front *front = conn->front;

    *ret = conn->held;
    fk_buf_init(&conn->held, FK_KEYD_HELD_MAX); /* moved */
    front->held -= fk_buf_len(ret);
    front->outstanding -= conn->n_held;
    conn->inflight -= conn->n_held;
    if (conn->n_held > 0)
        conn->account->outstanding -= conn->n_held;
    conn->n_held = 0;
}

void fk_front_release(struct fk_front_conn *conn)
{
    struct fk_frame frame;
    struct fk_keymsg msg;
    struct fk_buf held;
    size_t used;

    if (conn->n_held == 0 || gap_of(conn->front) > 0)
        return;
    take_held(conn, &held);
    while (!conn->doomed &&
           fk_frame_parse(fk_buf_data(&held), fk_buf_len(&held), &frame, &used) == FK_OK) {
        if (fk_keymsg_decode(&frame, &msg) == FK_OK)
            fk_front_op_held(conn, &msg);
        fk_buf_consume(&held, used);
    }
    fk_buf_fini(&held);
}

void fk_front_unhold(struct fk_front_conn *conn)
{
    struct fk_buf held;

    take_held(conn, &held);
    fk_buf_fini(&held);
}
