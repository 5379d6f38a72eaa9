/* From one stream to the other: see flow_priv.h. Each function here takes bytes that are in order,
 * stores what they become in the sender, and notes both in the map; all three or none. */
#include "inline/flow_priv.h"

#include "base/err.h"
#include "base/limits.h"

int fk_flow_note(struct fk_flow_pipe *pipe, struct fk_span span)
{
    return span.in_len == 0 && span.out_len == 0 ? FK_OK : fk_stream_map_add(&pipe->map, &span);
}

bool fk_flow_has_room(const struct fk_flow_pipe *pipe)
{
    return fk_stream_map_room(&pipe->map, 2) &&
           fk_buf_room(&pipe->sender.store) >= FK_FLOW_RECORD + FK_RECORD_CONTROL_MAX;
}

void fk_flow_pass_fin(struct fk_flow_pipe *pipe)
{
    if (pipe->fin_gone)
        return;
    fk_sender_finish(&pipe->sender);
    pipe->fin_gone = true;
}

/* --- what the box says --- */

int fk_flow_say(struct fk_flow *flow, const uint8_t *bytes, size_t len)
{
    struct fk_flow_pipe *pipe = &flow->pipes[FK_INLINE_SERVER];
    int err;

    if (len == 0 || pipe->fin_gone)
        return FK_OK;
    if ((err = fk_sender_put(&pipe->sender, bytes, len)) != FK_OK)
        return err;
    return fk_flow_note(pipe, (struct fk_span){.out_len = (uint32_t)len});
}

int fk_flow_say_control(struct fk_flow *flow)
{
    uint8_t bytes[FK_RECORD_CONTROL_MAX];
    size_t len;
    int err;

    if (!fk_record_control_due(flow->record))
        return FK_OK;
    if ((err = fk_record_seal_control(flow->record, bytes, &len)) != FK_OK)
        return err;
    return fk_flow_say(flow, bytes, len);
}

/* --- sealing --- */

/* How much of what is there makes one record; 0: nothing now. As much as the sink's window takes;
 * a window that is smaller than a record's overhead is filled by one whose bytes go one by one. */
static size_t record_size(const struct fk_flow_pipe *pipe, size_t have)
{
    uint32_t end = fk_sender_end(&pipe->sender);
    uint32_t room = fk_seq_lt(end, pipe->sender.right) ? pipe->sender.right - end : 0;
    size_t size = have < FK_RECORD_PLAIN_MAX ? have : FK_RECORD_PLAIN_MAX;

    if (room > FK_FLOW_OVERHEAD)
        return size < room - FK_FLOW_OVERHEAD ? size : room - FK_FLOW_OVERHEAD;
    if (room == 0 || !fk_sender_idle(&pipe->sender))
        return 0;
    return size < pipe->sender.mss ? size : pipe->sender.mss;
}

/* The engine's own records come first, so that this one's place is known. Its bytes are stored as
 * they are: nothing is ever sealed twice (fact 4). */
static int seal_one(struct fk_flow *flow, struct fk_flow_pipe *pipe, const uint8_t *bytes,
                    size_t len)
{
    const struct iovec piece = {(void *)(uintptr_t)bytes, len};
    size_t size = fk_record_sealed_max(flow->record, len), sealed;
    struct fk_span span = {.in_len = (uint32_t)len, .content = (uint32_t)len};
    uint8_t *at;
    int err;

    if ((err = fk_flow_say_control(flow)) != FK_OK ||
        (err = fk_sender_reserve(&pipe->sender, size, &at)) != FK_OK ||
        (err = fk_record_seal(flow->record, &piece, 1, at, size, &sealed)) != FK_OK)
        return err;
    span.out_len = (uint32_t)sealed;
    span.out_head = (uint16_t)fk_record_prefix(flow->record);
    if ((err = fk_flow_note(pipe, span)) != FK_OK)
        return err;
    fk_sender_commit(&pipe->sender, sealed);
    fk_reasm_take(&pipe->reasm, len);
    fk_flow_count(flow, FK_FLOW_N_RECORDS_SEALED);
    return FK_OK;
}

/* Fact 9: close_notify before FIN. */
static int seal_end(struct fk_flow *flow, struct fk_flow_pipe *pipe)
{
    int err;

    fk_record_close(flow->record);
    if ((err = fk_flow_say_control(flow)) != FK_OK)
        return err;
    fk_flow_pass_fin(pipe);
    return FK_OK;
}

static int seal_records(struct fk_flow *flow, struct fk_flow_pipe *pipe)
{
    size_t have, len;
    const uint8_t *bytes;
    int err;

    for (;;) {
        bytes = fk_reasm_data(&pipe->reasm, &have);
        len = have > 0 && fk_flow_has_room(pipe) ? record_size(pipe, have) : 0;
        if (len == 0)
            break;
        if ((err = seal_one(flow, pipe, bytes, len)) != FK_OK)
            return err;
    }
    pipe->sender.want_room = have > 0;
    if (have == 0 && fk_reasm_ended(&pipe->reasm) && !pipe->fin_gone && fk_flow_has_room(pipe))
        return seal_end(flow, pipe);
    return FK_OK;
}

/* --- passing --- */

static int pass(struct fk_flow_pipe *pipe)
{
    size_t len, room = fk_buf_room(&pipe->sender.store);
    const uint8_t *bytes = fk_reasm_data(&pipe->reasm, &len);
    struct fk_span span;
    int err;

    len = len < room ? len : room;
    span = (struct fk_span){(uint32_t)len, (uint32_t)len, (uint32_t)len, 0, 0};
    if (len > 0 && fk_stream_map_room(&pipe->map, 1)) {
        if ((err = fk_sender_put(&pipe->sender, bytes, len)) != FK_OK ||
            (err = fk_flow_note(pipe, span)) != FK_OK)
            return err;
        fk_reasm_take(&pipe->reasm, len);
    }
    if (fk_reasm_ended(&pipe->reasm) && fk_buf_len(&pipe->reasm.ready) == 0)
        fk_flow_pass_fin(pipe);
    return FK_OK;
}

int fk_flow_transform(struct fk_flow *flow)
{
    struct fk_flow_pipe *up = &flow->pipes[FK_INLINE_CLIENT],
                        *down = &flow->pipes[FK_INLINE_SERVER];
    int err;

    if (flow->state == FK_FLOW_PASS)
        return (err = pass(up)) != FK_OK ? err : pass(down);
    if (flow->state != FK_FLOW_RECORDS)
        return FK_OK;
    if ((err = fk_flow_open_records(flow, up)) != FK_OK ||
        (err = fk_flow_say_control(flow)) != FK_OK)
        return err;
    return seal_records(flow, down);
}
