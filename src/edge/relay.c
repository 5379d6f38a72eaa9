/* Moving bytes: see relay.h. */
#include "edge/relay.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/loop.h"

/* --- one direction --- */

/* The sink takes no more: what is for it is dropped, and the source no longer read. */
static void break_flow(struct fk_flow *flow)
{
    fk_buf_fini(&flow->buf);
    flow->cut = !flow->ended;
    flow->ended = true;
    flow->finished = true;
}

/* Write what waits. FK_ERR_AGAIN while something is left. */
static int flush(struct fk_flow *flow, struct fk_end *sink)
{
    while (fk_buf_len(&flow->buf) > 0) {
        ssize_t n = sink->ops->write(sink, fk_buf_data(&flow->buf), fk_buf_len(&flow->buf));

        if (n < 0)
            return (int)n;
        fk_buf_consume(&flow->buf, (size_t)n);
    }
    fk_buf_fini(&flow->buf);
    return FK_OK;
}

/* Hand `len` fresh bytes on; what the sink does not take now waits. */
static int forward(struct fk_flow *flow, struct fk_end *sink, const uint8_t *data, size_t len)
{
    size_t done = 0;
    ssize_t n = 0;

    flow->bytes += len;
    while (sink->ops != NULL && done < len) {
        n = sink->ops->write(sink, data + done, len - done);
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (n < 0 && n != FK_ERR_AGAIN)
        return (int)n;
    if (done == len)
        return FK_OK;
    return fk_buf_append(&flow->buf, data + done, len - done);
}

/* Read once and hand on. FK_ERR_AGAIN when there is nothing to read now. */
static int transfer(struct fk_flow *flow, struct fk_end *source, struct fk_end *sink,
                    const struct fk_scratch *scratch, bool *ret_broken)
{
    size_t room = flow->max - fk_buf_len(&flow->buf);
    uint8_t *data;
    ssize_t n;
    int err;

    if (room < source->least)
        room = source->least;
    n = source->ops->read(source, scratch->mem, room < scratch->size ? room : scratch->size, &data);
    if (n < 0)
        return (int)n;
    if (n == 0) {
        flow->ended = true;
        return FK_OK;
    }
    err = forward(flow, sink, data, (size_t)n);
    *ret_broken = err == FK_ERR_CLOSED || err == FK_ERR_TLS;
    return *ret_broken ? FK_OK : err; /* else it is our own: nobody's connection can go on */
}

/* Deliver what waits and, at the end, the end. FK_ERR_AGAIN: the sink is full. */
static int deliver(struct fk_flow *flow, struct fk_end *sink)
{
    int err;

    if (sink->ops == NULL)
        return FK_OK;
    if (fk_end_pending(sink) && (err = sink->ops->flush(sink)) != FK_OK)
        return err;
    if (fk_buf_len(&flow->buf) > 0 && (err = flush(flow, sink)) != FK_OK)
        return err;
    if (flow->ended && !flow->finished) {
        if ((err = sink->ops->finish(sink)) != FK_OK)
            return err;
        flow->finished = true;
    }
    return FK_OK;
}

/* Whether the source may be read: what was read before has left, or the sink is not there yet. */
static bool readable(const struct fk_flow *flow, const struct fk_end *source,
                     const struct fk_end *sink)
{
    if (flow->ended || source->ops == NULL)
        return false;
    if (sink->ops == NULL)
        return fk_buf_len(&flow->buf) < flow->max;
    return fk_buf_len(&flow->buf) == 0 && !fk_end_pending(sink);
}

static int pump_flow(struct fk_flow *flow, struct fk_end *source, struct fk_end *sink,
                     const struct fk_scratch *scratch, bool *ret_again)
{
    bool broken = false;
    int err = FK_OK;

    for (unsigned round = 0; err == FK_OK; round++) {
        err = deliver(flow, sink);
        if (err == FK_ERR_CLOSED || err == FK_ERR_TLS)
            broken = true;
        /* Not ready: the socket was emptied; the loop tells when there is more. */
        if (err != FK_OK || broken || !readable(flow, source, sink) || !source->ready)
            break;
        if (round == FK_EDGE_PUMP_ROUNDS) {
            *ret_again = true;
            break;
        }
        err = transfer(flow, source, sink, scratch, &broken);
        if (broken)
            break;
    }
    if (broken) {
        break_flow(flow);
        return FK_OK;
    }
    return err == FK_ERR_AGAIN ? FK_OK : err;
}

/* --- both --- */

void fk_relay_init(struct fk_relay *relay, size_t max)
{
    *relay = (struct fk_relay){.up.max = max, .down.max = max};
    fk_buf_init_secret(&relay->up.buf, max + FK_EDGE_RECORD_MAX);
    fk_buf_init_secret(&relay->down.buf, max + FK_EDGE_RECORD_MAX);
}

void fk_relay_fini(struct fk_relay *relay)
{
    fk_buf_fini(&relay->up.buf);
    fk_buf_fini(&relay->down.buf);
    fk_end_fini(&relay->client);
    fk_end_fini(&relay->origin);
}

int fk_relay_pump(struct fk_relay *relay, const struct fk_scratch *scratch,
                  enum fk_relay_state *ret_state, bool *ret_again)
{
    bool again = false;
    int err;

    if ((err = pump_flow(&relay->up, &relay->client, &relay->origin, scratch, &again)) != FK_OK ||
        (err = pump_flow(&relay->down, &relay->origin, &relay->client, scratch, &again)) != FK_OK)
        return err;
    *ret_again = again;
    if (relay->up.finished && relay->down.finished)
        *ret_state = relay->up.cut && !relay->down.cut ? FK_RELAY_CUT : FK_RELAY_DONE;
    else if (relay->up.ended || relay->down.ended)
        *ret_state = FK_RELAY_HALF;
    else
        *ret_state = FK_RELAY_OPEN;
    return FK_OK;
}

static unsigned wants(const struct fk_end *end, const struct fk_end *other,
                      const struct fk_flow *in, const struct fk_flow *out)
{
    unsigned events = 0;

    if (end->ops == NULL)
        return 0;
    if (readable(in, end, other))
        events |= end->read_needs;
    if (fk_buf_len(&out->buf) > 0 || fk_end_pending(end) || (out->ended && !out->finished))
        events |= FK_IO_WRITE;
    return events;
}

unsigned fk_relay_client_wants(const struct fk_relay *relay)
{
    return wants(&relay->client, &relay->origin, &relay->up, &relay->down);
}

unsigned fk_relay_origin_wants(const struct fk_relay *relay)
{
    return wants(&relay->origin, &relay->client, &relay->down, &relay->up);
}
