/*
 * What a pipe's source is told: see flow_priv.h. The acknowledgement is the sink's, translated, as
 * long as the sink has something to acknowledge: so the source's congestion control sees the path
 * to the other end. Only what the box holds back while nothing is under way, a record that is not
 * whole, is acknowledged by the box (fact 1): nobody else would, and the rest would never come.
 */
#include "inline/flow_priv.h"

#include "base/limits.h"

/* --- acknowledged --- */

static uint32_t translated(const struct fk_flow_pipe *pipe)
{
    uint32_t una = fk_seq_min(pipe->sender.una, pipe->map.out_end);

    return fk_stream_map_acked(&pipe->map, una);
}

static uint32_t acknowledged(const struct fk_flow *flow, const struct fk_flow_pipe *pipe)
{
    uint32_t told = translated(pipe);
    bool opens = pipe->source == FK_INLINE_CLIENT && flow->state != FK_FLOW_PASS;

    if (pipe->fin_gone && pipe->sender.fin_acked)
        return pipe->reasm.next + fk_reasm_ended(&pipe->reasm);
    if (opens && fk_flow_mode(flow)->acknowledges && fk_sender_idle(&pipe->sender) &&
        pipe->map.in_end == told)
        return pipe->reasm.next;
    /* A source that repairs a loss of its own is told exactly what is missing. */
    if (pipe->reasm.n_chunks > 0)
        return pipe->reasm.next;
    return fk_seq_max(told, pipe->must_tell);
}

/* Whether the first byte that the sink has not acknowledged is the box's to repair. */
static bool is_own(const struct fk_flow_pipe *pipe)
{
    uint32_t source;

    /* A FIN: its sender sends it again. close_notify made one, too, which may come before it. */
    if (pipe->fin_gone && pipe->sender.una == fk_sender_end(&pipe->sender))
        return !fk_reasm_ended(&pipe->reasm);
    if (!fk_stream_map_source(&pipe->map, pipe->sender.una, &source))
        return true;
    return fk_seq_lt(source, pipe->told);
}

/* --- the window --- */

/* Bytes that the sink has room for, beyond all that is stored. */
static uint32_t room_of(const struct fk_flow_pipe *pipe)
{
    uint32_t end = fk_sender_end(&pipe->sender), stored = end - pipe->sender.una, room;

    room = fk_seq_lt(end, pipe->sender.right) ? pipe->sender.right - end : 0;
    if (stored > FK_FLOW_STORE)
        return 0;
    return room < FK_FLOW_STORE - stored ? room : FK_FLOW_STORE - stored;
}

/* Facts 1 and 6: a record that is begun can come to its end, whatever the sink's window; none is
 * begun while bytes wait for that window. */
static uint32_t room_to_open(const struct fk_flow_pipe *pipe)
{
    uint32_t room = room_of(pipe), least = FK_FLOW_RECORD;
    size_t held;
    const uint8_t *bytes = fk_reasm_data(&pipe->reasm, &held);

    if (fk_sender_unsent(&pipe->sender) > 0) {
        least = held == 0 ? 0 : (uint32_t)(fk_record_length(bytes, held) - pipe->early.in);
        room = 0;
    }
    return room > least ? room : least;
}

/* What fits in the sink's window with the overhead of records of one segment each; a byte at least
 * when nothing is under way, or a window of a few bytes would stay shut for ever. */
static uint32_t room_to_seal(const struct fk_flow_pipe *pipe)
{
    uint32_t room = room_of(pipe), overhead;

    if (fk_sender_unsent(&pipe->sender) > 0 || room == 0)
        return 0;
    overhead = (room / pipe->sender.mss + 1) * FK_FLOW_OVERHEAD;
    if (room > overhead)
        return room - overhead;
    return fk_sender_idle(&pipe->sender) ? 1 : 0;
}

static uint32_t room_for(const struct fk_flow *flow, const struct fk_flow_pipe *pipe)
{
    switch (flow->state) {
    case FK_FLOW_HELLO: /* what the server's SYN said is enough to begin with, unless it is none */
        if (pipe->told_right != pipe->told)
            return 0;
        return pipe->source == FK_INLINE_CLIENT ? FK_FLOW_HELLO_WINDOW : 0;
    case FK_FLOW_HANDSHAKE:
        return pipe->source == FK_INLINE_CLIENT ? FK_FLOW_HELLO_WINDOW : 0;
    case FK_FLOW_RECORDS:
        return pipe->source == FK_INLINE_CLIENT ? room_to_open(pipe) : room_to_seal(pipe);
    case FK_FLOW_PASS:
        return room_of(pipe);
    case FK_FLOW_SYN:
    case FK_FLOW_SYNACK:
    case FK_FLOW_OVER:
    case FK_FLOW_RESET:
    case FK_FLOW_GONE:
    case FK_FLOW_STATE_COUNT:
        break;
    }
    return 0;
}

void fk_flow_tell(struct fk_flow *flow, struct fk_flow_pipe *pipe)
{
    pipe->told = fk_seq_max(pipe->told, acknowledged(flow, pipe));
    pipe->told_right = fk_seq_max(pipe->told_right, pipe->told);
    pipe->told_right = fk_seq_max(pipe->told_right, pipe->map.in_end + room_for(flow, pipe));
    pipe->sender.own = is_own(pipe);
}

/* --- said --- */

size_t fk_flow_sacks(const struct fk_flow_pipe *pipe, size_t max, struct fk_seq_range *ret)
{
    size_t n = 0;

    /* A DSACK is about what is acknowledged: ahead of that it would be a SACK, and a promise. */
    if (pipe->has_again && n < max && fk_seq_lt(pipe->again.start, pipe->told))
        ret[n++] =
            (struct fk_seq_range){pipe->again.start, fk_seq_min(pipe->again.end, pipe->told)};
    n += fk_reasm_sacks(&pipe->reasm, max - n, ret + n);
    /* What the sink has, said in the source's numbers: its losses are the source's. */
    for (size_t i = 0; i < pipe->sender.n_sacked && n < max; i++)
        if (fk_stream_map_sacked(&pipe->map, pipe->sender.sacked[i], &ret[n]) &&
            fk_seq_lt(pipe->told, ret[n].start))
            n++;
    return n;
}

/* A window that was shut, or has grown by two segments. */
static bool wider(const struct fk_flow_pipe *pipe, uint32_t mss)
{
    uint32_t before = pipe->said_right - pipe->told, more = pipe->told_right - pipe->said_right;

    if (!fk_seq_lt(pipe->said_right, pipe->told_right))
        return false;
    return !fk_seq_lt(pipe->told, pipe->said_right) || more >= 2 * mss || before < mss;
}

void fk_flow_ack(struct fk_flow_turn *turn, struct fk_flow_pipe *pipe)
{
    if (pipe->ack_due || pipe->told != pipe->said || wider(pipe, pipe->sender.mss))
        fk_flow_emit_ack(turn, pipe->source);
}
