/*
 * Records on their way to the server: see flow_priv.h. Each goes on when it is whole and its tag
 * verifies; or, in modes that say so, its bytes go on as they come, and the tag has the last word:
 * whoever gets bytes that do not verify gets a RST before the record's last segment.
 *
 * What must never leave early is what may turn out to be no content: see solid().
 */
#include "inline/flow_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "inline/flow_mode.h"

#define ALERT_UNEXPECTED_MESSAGE 10 /* RFC 8446 section 6.2 */

/* --- before it is whole --- */

/*
 * How many of a record's bytes are content, whatever follows. In TLS 1.3 content is followed by its
 * type, which is not 0, and by zeros (RFC 8446 section 5.4): so the last byte that is not 0 may be
 * the type, and what follows it padding. Only bytes that have not been looked at are.
 */
static size_t solid(const struct fk_flow *flow, struct fk_flow_early *early,
                    const struct fk_early *bytes)
{
    size_t end = bytes->len;

    if (fk_record_keys(flow->record)->suite->version != FK_TLS13)
        return bytes->len;
    while (end > early->seen && bytes->data[end - 1] == 0)
        end--;
    if (end > early->seen)
        early->solid = end - 1;
    early->seen = bytes->len;
    return early->solid;
}

/* The last segment waits for the tag. */
static size_t last_segment(const struct fk_flow_pipe *pipe, const struct fk_early *bytes)
{
    return bytes->most > pipe->sender.mss ? bytes->most - pipe->sender.mss : 0;
}

/* Bytes of a record that is not there whole: what can go on does, and the record stays where it is,
 * for the engine to open when it is whole. */
static int go_early(struct fk_flow *flow, struct fk_flow_pipe *pipe,
                    const struct fk_flow_mode *mode)
{
    struct fk_flow_early *early = &pipe->early;
    struct fk_early bytes;
    struct fk_span span = {.in_len = 0};
    size_t len, end, last;
    uint8_t *data = fk_reasm_data(&pipe->reasm, &len);
    int err;

    if (len < FK_RECORD_HEAD || fk_record_length(data, len) <= mode->whole_max)
        return FK_OK;
    if ((err = fk_record_open_early(flow->record, data, len, &bytes)) != FK_OK)
        return err;
    end = solid(flow, early, &bytes);
    last = last_segment(pipe, &bytes);
    end = end < last ? end : last;
    if (end <= early->out)
        return FK_OK;
    span.content = span.out_len = (uint32_t)(end - early->out);
    span.in_len = (uint32_t)((size_t)(bytes.data - data) + end - early->in);
    span.in_head = (uint16_t)(span.in_len - span.content);
    if ((err = fk_sender_put(&pipe->sender, bytes.data + early->out, span.content)) != FK_OK ||
        (err = fk_flow_note(pipe, span)) != FK_OK)
        return err;
    if (early->out == 0)
        fk_flow_count(flow, FK_FLOW_N_RECORDS_EARLY);
    early->in += span.in_len;
    early->out = end;
    return FK_OK;
}

/* --- when it is --- */

/* Whether a record whose bytes have gone on early is what they were taken for. */
static int confirm(struct fk_flow *flow, const struct fk_flow_early *early,
                   const struct fk_opened *opened)
{
    if (early->out == 0 || (opened->event == FK_RECORD_DATA && opened->len >= early->out))
        return FK_OK;
    fk_record_refuse(flow->record, ALERT_UNEXPECTED_MESSAGE);
    return FK_ERR_UNEXPECTED;
}

/* A record that verifies: its content goes on, what has not yet, all of it at once. Fact 7: what is
 * no data goes nowhere. */
static int open_one(struct fk_flow *flow, struct fk_flow_pipe *pipe)
{
    struct fk_flow_early *early = &pipe->early;
    struct fk_opened opened;
    struct fk_span span;
    size_t len;
    uint8_t *bytes = fk_reasm_data(&pipe->reasm, &len), *rest;
    int err;

    if ((err = fk_record_open(flow->record, bytes, len, &opened)) != FK_OK ||
        (err = confirm(flow, early, &opened)) != FK_OK)
        return err;
    span = (struct fk_span){.in_len = (uint32_t)(opened.consumed - early->in)};
    if (opened.event == FK_RECORD_DATA && opened.len > early->out) {
        rest = opened.data + early->out;
        span.content = span.out_len = (uint32_t)(opened.len - early->out);
        span.in_head = (uint16_t)((size_t)(rest - bytes) - early->in);
        if ((err = fk_sender_put(&pipe->sender, rest, span.content)) != FK_OK)
            return err;
    }
    if ((err = fk_flow_note(pipe, span)) != FK_OK)
        return err;
    if (opened.consumed > 0)
        *early = (struct fk_flow_early){.in = 0};
    pipe->closed = pipe->closed || opened.event == FK_RECORD_END;
    fk_reasm_take(&pipe->reasm, opened.consumed);
    fk_flow_count(flow, FK_FLOW_N_RECORDS_OPENED);
    return FK_OK;
}

/* What follows close_notify is nothing: RFC 8446 section 6.1. */
static int discard(struct fk_flow_pipe *pipe)
{
    size_t len;
    int err;

    (void)fk_reasm_data(&pipe->reasm, &len);
    if ((err = fk_flow_note(pipe, (struct fk_span){.in_len = (uint32_t)len})) == FK_OK)
        fk_reasm_take(&pipe->reasm, len);
    return err;
}

/* A FIN without close_notify may be an attacker's: RFC 8446 section 6.1. */
static int open_end(struct fk_flow *flow, struct fk_flow_pipe *pipe)
{
    if (fk_buf_len(&pipe->reasm.ready) > 0 || !flow->conf->accept_truncation) {
        fk_flow_count(flow, FK_FLOW_N_TRUNCATED);
        return FK_ERR_TRUNCATED;
    }
    fk_flow_pass_fin(pipe);
    return FK_OK;
}

int fk_flow_open_records(struct fk_flow *flow, struct fk_flow_pipe *pipe)
{
    const struct fk_flow_mode *mode = fk_flow_mode(flow);
    int err = FK_OK;

    while (err == FK_OK && fk_flow_has_room(pipe) && !pipe->closed)
        err = open_one(flow, pipe);
    if (err == FK_ERR_AGAIN && mode->whole_max < FK_FLOW_RECORD)
        err = go_early(flow, pipe, mode);
    if (err != FK_OK && err != FK_ERR_AGAIN)
        return err;
    if (pipe->closed) {
        fk_flow_pass_fin(pipe); /* its end is said: the server need not wait for the client's FIN */
        return discard(pipe);
    }
    if (fk_reasm_ended(&pipe->reasm) && fk_flow_has_room(pipe) && !pipe->fin_gone)
        return open_end(flow, pipe);
    return FK_OK;
}
