/* What operators may look at: see flow.h. Changes nothing. */
#include "inline/flow_priv.h"

void fk_flow_stream(const struct fk_flow *flow, enum fk_inline_side side,
                    struct fk_flow_stream *ret)
{
    const struct fk_flow_pipe *pipe = &flow->pipes[side];
    size_t held;
    const uint8_t *bytes = fk_reasm_data(&pipe->reasm, &held);

    *ret = (struct fk_flow_stream){
        .seq = pipe->reasm.next, .ack = pipe->told, .window = pipe->told_right - pipe->told};
    if (side == FK_INLINE_CLIENT && flow->state == FK_FLOW_RECORDS && held > 0)
        ret->record = (uint32_t)fk_record_length(bytes, held);
}

const struct fk_session_keys *fk_flow_keys(const struct fk_flow *flow)
{
    return flow->record == NULL ? NULL : fk_record_keys(flow->record);
}

size_t fk_flow_queue(const struct fk_flow *flow, enum fk_inline_side side, size_t max,
                     struct fk_flow_queued *ret)
{
    const struct fk_flow_pipe *pipe = &flow->pipes[side];
    uint32_t held = (uint32_t)fk_buf_len(&pipe->reasm.ready);
    uint32_t stored = (uint32_t)fk_buf_len(&pipe->sender.store);
    const struct fk_reasm_chunk *chunk = NULL;
    struct fk_seq_range range;
    size_t n = 0;

    if (stored > 0 && n < max)
        ret[n++] =
            (struct fk_flow_queued){{pipe->sender.una, pipe->sender.una + stored}, FK_FLOW_READY};
    if (held > 0 && n < max) /* in order, but its record is not whole */
        ret[n++] =
            (struct fk_flow_queued){{pipe->reasm.next - held, pipe->reasm.next}, FK_FLOW_HOLD};
    while (n < max && (chunk = fk_reasm_next(&pipe->reasm, chunk, &range)) != NULL)
        ret[n++] = (struct fk_flow_queued){range, FK_FLOW_HOLD};
    return n;
}
