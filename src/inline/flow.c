/* A flow: see flow.h. Here: its life, the order of business of one packet, its end. */
#include "inline/flow.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "inline/flow_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- life --- */

static void enter(struct fk_flow_turn *turn, enum fk_flow_fact fact)
{
    struct fk_flow *flow = turn->flow;
    enum fk_flow_state next = fk_flow_state_next(flow->state, fact);

    assert(next != FK_FLOW_STATE_COUNT);
    flow->state = next;
    flow->until = turn->now + fk_flow_state_limit(next);
}

/* Where a peer's streams begin: the one that it sends, and the one that it receives. */
static void begin_streams(struct fk_flow *flow, enum fk_inline_side side)
{
    struct fk_flow_pipe *pipe = &flow->pipes[side];
    uint32_t seq = flow->ends[side].isn + 1;

    pipe->source = side;
    fk_reasm_init(&pipe->reasm, seq, FK_FLOW_STORE);
    fk_stream_map_init(&pipe->map, seq, seq);
    fk_sender_init(&pipe->sender, seq, FK_FLOW_MSS_DEFAULT,
                   FK_FLOW_STORE + 2 * (FK_FLOW_RECORD + FK_RECORD_CONTROL_MAX));
    pipe->told = pipe->told_right = pipe->said = pipe->said_right = pipe->must_tell = seq;
}

static void note_end(struct fk_flow *flow, enum fk_inline_side side, const struct fk_ip *ip,
                     const struct fk_tcp *syn)
{
    struct fk_flow_end *end = &flow->ends[side];

    *end = (struct fk_flow_end){.ip = *ip, .port = syn->src_port, .isn = syn->seq, .syn = *syn};
    end->ts_recent = end->ts_max = syn->options.ts_val;
    fk_reader_init(&end->syn.payload, NULL, 0);
    fk_reader_init(&end->ip.payload, NULL, 0);
    begin_streams(flow, side);
}

/* Where the client wants to go: so that it can be answered before the server has. */
static void expect_server(struct fk_flow *flow, const struct fk_tcp *syn)
{
    struct fk_flow_end *server = &flow->ends[FK_INLINE_SERVER];
    const struct fk_ip *ip = &flow->ends[FK_INLINE_CLIENT].ip;

    server->ip = *ip;
    memcpy(server->ip.src, ip->dst, sizeof ip->dst);
    memcpy(server->ip.dst, ip->src, sizeof ip->src);
    server->port = syn->dst_port;
}

int fk_flow_new(const struct fk_flow_conf *conf, uint64_t *counters, const struct fk_ip *ip,
                const struct fk_tcp *syn, struct fk_flow **ret)
{
    struct fk_flow *flow;

    if ((syn->flags & (FK_TCP_SYN | FK_TCP_ACK | FK_TCP_RST | FK_TCP_FIN)) != FK_TCP_SYN)
        return FK_ERR_INVAL;
    if (syn->options.md5 || syn->options.ao)
        return FK_ERR_UNSUPPORTED;
    if ((flow = calloc(1, sizeof *flow)) == NULL)
        return FK_ERR_NOMEM;
    flow->conf = conf;
    flow->counters = counters;
    flow->state = FK_FLOW_SYN;
    note_end(flow, FK_INLINE_CLIENT, ip, syn);
    expect_server(flow, syn);
    *ret = flow;
    return FK_OK;
}

static void drop_tls(struct fk_flow *flow)
{
    if (flow->tls != NULL)
        flow->conf->tls->free(flow->tls);
    flow->tls = NULL;
}

static void drop_streams(struct fk_flow *flow)
{
    for (size_t i = 0; i < 2; i++) {
        fk_reasm_fini(&flow->pipes[i].reasm);
        fk_stream_map_fini(&flow->pipes[i].map);
        fk_sender_fini(&flow->pipes[i].sender);
    }
    drop_tls(flow);
    fk_record_free(flow->record);
    flow->record = NULL;
}

void fk_flow_free(struct fk_flow *flow)
{
    if (flow == NULL)
        return;
    drop_streams(flow);
    free(flow);
}

void fk_flow_rest(struct fk_flow *flow)
{
    if (flow->record != NULL)
        fk_record_rest(flow->record);
    for (size_t i = 0; i < 2; i++) {
        fk_buf_rest(&flow->pipes[i].reasm.ready);
        fk_buf_rest(&flow->pipes[i].sender.store);
    }
}

enum fk_flow_state fk_flow_state(const struct fk_flow *flow)
{
    return flow->state;
}

size_t fk_flow_memory(const struct fk_flow *flow)
{
    size_t sum = sizeof *flow;

    for (size_t i = 0; i < 2; i++) {
        const struct fk_flow_pipe *pipe = &flow->pipes[i];

        sum += pipe->reasm.ready.cap + pipe->reasm.held + pipe->sender.store.cap +
               fk_stream_map_memory(&pipe->map);
    }
    return sum;
}

void fk_flow_set_owner(struct fk_flow *flow, void *owner)
{
    flow->owner = owner;
}

void *fk_flow_owner(const struct fk_flow *flow)
{
    return flow->owner;
}

const struct fk_ip *fk_flow_ip(const struct fk_flow *flow, enum fk_inline_side side)
{
    return &flow->ends[side].ip;
}

uint16_t fk_flow_port(const struct fk_flow *flow, enum fk_inline_side side)
{
    return flow->ends[side].port;
}

const void *fk_flow_tls(const struct fk_flow *flow)
{
    return flow->tls;
}

uint32_t fk_flow_isn(const struct fk_flow *flow, enum fk_inline_side side)
{
    return flow->ends[side].isn;
}

/* --- the end --- */

/* RST both ways, behind all that was sent; then nothing is kept but the numbers. */
static void reset(struct fk_flow_turn *turn, enum fk_flow_counter counter)
{
    struct fk_flow *flow = turn->flow;

    fk_flow_emit_rst(turn, FK_INLINE_CLIENT, flow->pipes[FK_INLINE_SERVER].sender.nxt);
    fk_flow_emit_rst(turn, FK_INLINE_SERVER, flow->pipes[FK_INLINE_CLIENT].sender.nxt);
    fk_flow_count(flow, counter);
    drop_streams(flow);
    enter(turn, FK_FLOW_FACT_BROKEN);
}

/* Fact 9: the client is told by an alert, if there are keys for one. */
static void fail(struct fk_flow_turn *turn, int err)
{
    struct fk_flow *flow = turn->flow;

    if (flow->record != NULL) {
        if (err != FK_ERR_TRUNCATED)
            fk_flow_count(flow, FK_FLOW_N_BAD_RECORDS);
        (void)fk_flow_say_control(flow); /* RST comes all the same */
    }
    fk_flow_emit_data(turn, &flow->pipes[FK_INLINE_SERVER]);
    reset(turn, FK_FLOW_N_RESETS);
}

/* --- the handshake --- */

static int sniff(struct fk_flow_turn *turn, struct fk_flow_pipe *up)
{
    struct fk_flow *flow = turn->flow;
    size_t len;
    const uint8_t *bytes = fk_reasm_data(&up->reasm, &len);

    if (len == 0)
        return fk_reasm_ended(&up->reasm) ? FK_ERR_NOT_TLS : FK_OK;
    if (bytes[0] == FK_CONTENT_HANDSHAKE) {
        enter(turn, FK_FLOW_FACT_TLS);
        return flow->conf->tls->new (flow->conf->tls_arg, flow, &flow->tls);
    }
    fk_flow_count(flow, FK_FLOW_N_NOT_TLS);
    if (!flow->conf->pass_non_tls)
        return FK_ERR_NOT_TLS;
    enter(turn, FK_FLOW_FACT_NOT_TLS);
    return FK_OK;
}

static int say_output(struct fk_flow *flow)
{
    uint8_t bytes[FK_FLOW_OUTPUT];
    size_t len;
    int err = FK_OK;

    while (err == FK_OK && (len = flow->conf->tls->output(flow->tls, bytes, sizeof bytes)) > 0)
        err = fk_flow_say(flow, bytes, len);
    return err;
}

static int secure(struct fk_flow_turn *turn)
{
    struct fk_flow *flow = turn->flow;
    struct fk_session_keys keys;
    int err;

    if ((err = flow->conf->tls->keys(flow->tls, &keys)) == FK_OK)
        err = fk_record_new(flow->conf->arena, &keys, FK_RECORD_SERVER, &flow->record);
    fk_wipe(&keys, sizeof keys);
    if (err != FK_OK)
        return err;
    enter(turn, FK_FLOW_FACT_SECURED);
    return FK_OK;
}

static int shake_hands(struct fk_flow_turn *turn, struct fk_flow_pipe *up)
{
    struct fk_flow *flow = turn->flow;
    struct fk_span span = {.in_len = 0};
    size_t len, used = 0;
    const uint8_t *bytes = fk_reasm_data(&up->reasm, &len);
    int err = flow->conf->tls->step(flow->tls, bytes, len, &used), said;

    span.in_len = (uint32_t)used;
    if (used > 0 && (said = fk_stream_map_add(&up->map, &span)) != FK_OK)
        return said;
    fk_reasm_take(&up->reasm, used);
    if ((said = say_output(flow)) != FK_OK)
        return said;
    if (err == FK_ERR_AGAIN)
        return fk_reasm_ended(&up->reasm) ? FK_ERR_TRUNCATED : FK_OK;
    if (err == FK_OK)
        return secure(turn);
    fk_flow_count(flow, FK_FLOW_N_HANDSHAKE_FAILED);
    return err;
}

/* --- one turn --- */

/* The sink may have been told of the end before the source's FIN has come: by close_notify. */
static bool ended(const struct fk_flow_pipe *pipe)
{
    return pipe->sender.fin_acked && fk_reasm_ended(&pipe->reasm);
}

static bool both_ended(const struct fk_flow *flow)
{
    return ended(&flow->pipes[0]) && ended(&flow->pipes[1]);
}

static void prune(struct fk_flow_pipe *pipe)
{
    fk_stream_map_prune(&pipe->map, fk_seq_min(pipe->sender.una, pipe->map.out_end));
}

static int advance(struct fk_flow_turn *turn)
{
    struct fk_flow *flow = turn->flow;
    struct fk_flow_pipe *up = &flow->pipes[FK_INLINE_CLIENT];
    int err = FK_OK;

    if (flow->state == FK_FLOW_HELLO)
        err = sniff(turn, up);
    if (err == FK_OK && flow->state == FK_FLOW_HANDSHAKE)
        err = shake_hands(turn, up);
    return err == FK_OK ? fk_flow_transform(flow) : err;
}

/* After anything has happened: transform, tell, send, acknowledge. */
static void turn_over(struct fk_flow_turn *turn)
{
    struct fk_flow *flow = turn->flow;
    int err = advance(turn);

    if (err != FK_OK) {
        fail(turn, err);
        return;
    }
    for (size_t i = 0; i < 2; i++)
        fk_flow_tell(flow, &flow->pipes[i]);
    for (size_t i = 0; i < 2; i++)
        fk_flow_emit_data(turn, &flow->pipes[i]);
    for (size_t i = 0; i < 2; i++) {
        fk_flow_tell(flow, &flow->pipes[i]); /* what has been sent makes room */
        fk_flow_ack(turn, &flow->pipes[i]);
        prune(&flow->pipes[i]);
    }
    if (both_ended(flow) && flow->state != FK_FLOW_OVER) {
        enter(turn, FK_FLOW_FACT_ENDED);
        fk_flow_rest(flow);
    }
}

/* --- the opening --- */

static void take_syn(struct fk_flow_turn *turn, enum fk_inline_side from, const struct fk_tcp *tcp)
{
    struct fk_flow *flow = turn->flow;

    if (from == FK_INLINE_CLIENT && (tcp->flags & (FK_TCP_SYN | FK_TCP_ACK)) == FK_TCP_SYN &&
        tcp->seq == flow->ends[from].isn)
        fk_flow_emit_open(turn, FK_INLINE_SERVER, tcp);
    else
        fk_flow_count(flow, FK_FLOW_N_BAD_SEGMENT);
}

static uint32_t segment_size(const struct fk_flow *flow, enum fk_inline_side side)
{
    uint16_t mss = flow->ends[side].syn.options.mss;
    uint32_t size = mss == 0 ? FK_FLOW_MSS_DEFAULT : mss;

    if (size < FK_FLOW_MSS_MIN)
        size = FK_FLOW_MSS_MIN;
    return flow->times ? size - FK_TCP_TIMES_BYTES : size;
}

/* Both have spoken: what they agree upon. */
static void agree(struct fk_flow *flow)
{
    struct fk_flow_end *client = &flow->ends[FK_INLINE_CLIENT],
                       *server = &flow->ends[FK_INLINE_SERVER];
    const struct fk_tcp_options *c = &client->syn.options, *s = &server->syn.options;
    struct fk_flow_pipe *up = &flow->pipes[FK_INLINE_CLIENT],
                        *down = &flow->pipes[FK_INLINE_SERVER];

    flow->times = c->has_times && s->has_times;
    flow->sack = c->sack_permitted && s->sack_permitted;
    if (c->has_scale && s->has_scale) {
        client->scale = c->scale;
        server->scale = s->scale;
    }
    client->mss = segment_size(flow, FK_INLINE_CLIENT);
    server->mss = segment_size(flow, FK_INLINE_SERVER);
    up->sender.mss = server->mss;
    down->sender.mss = client->mss;
    up->sender.right = client->isn + 1 + server->syn.window;
    down->sender.right = server->isn + 1 + client->syn.window;
    up->told_right = up->said_right = up->sender.right;
}

static void take_answer(struct fk_flow_turn *turn, const struct fk_ip *ip, const struct fk_tcp *tcp)
{
    struct fk_flow *flow = turn->flow;
    bool answers = (tcp->flags & (FK_TCP_SYN | FK_TCP_ACK)) == (FK_TCP_SYN | FK_TCP_ACK) &&
                   tcp->ack == flow->ends[FK_INLINE_CLIENT].isn + 1;

    if (!answers ||
        (flow->state == FK_FLOW_SYNACK && tcp->seq != flow->ends[FK_INLINE_SERVER].isn)) {
        fk_flow_count(flow, FK_FLOW_N_BAD_SEGMENT);
        return;
    }
    if (flow->state == FK_FLOW_SYN) {
        note_end(flow, FK_INLINE_SERVER, ip, tcp);
        agree(flow);
        enter(turn, FK_FLOW_FACT_ANSWERED);
    }
    fk_flow_emit_open(turn, FK_INLINE_CLIENT, tcp);
}

/* --- an established connection's segments --- */

static uint32_t ends_at(const struct fk_tcp *tcp)
{
    return tcp->seq + fk_tcp_span(tcp);
}

/* RFC 5961 section 3.2: exactly where the stream is, as we or the peer know it. */
static void take_rst(struct fk_flow_turn *turn, struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    if (tcp->seq == pipe->reasm.next || tcp->seq == pipe->told)
        reset(turn, FK_FLOW_N_PEER_RESETS);
    else
        fk_flow_emit_ack(turn, pipe->source);
}

/* RFC 7323 sections 4.3 and 5.3. False: an old duplicate. */
static bool take_times(struct fk_flow *flow, struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    struct fk_flow_end *end = &flow->ends[pipe->source];
    uint32_t val = tcp->options.ts_val;

    if (!flow->times || !tcp->options.has_times)
        return true;
    if (fk_seq_lt(val, end->ts_recent) && fk_tcp_span(tcp) > 0) {
        fk_flow_count(flow, FK_FLOW_N_OLD_TIMES);
        return false;
    }
    if (fk_seq_le(tcp->seq, pipe->told))
        end->ts_recent = fk_seq_max(end->ts_recent, val);
    end->ts_max = fk_seq_max(end->ts_max, val);
    return true;
}

/* One that says nothing new may be a signal all the same: a duplicate, which tells of a loss that
 * the source is to repair, or the answer to a probe of the source's. */
static bool is_signal(const struct fk_sender *sender, uint32_t una, unsigned dups)
{
    if (sender->una != una)
        return false;
    return fk_sender_idle(sender) || (!sender->own && sender->dups > dups);
}

/* What the segment says about the stream that its sender receives. */
static bool take_ack(struct fk_flow_turn *turn, struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    struct fk_flow *flow = turn->flow;
    uint8_t scale = flow->ends[fk_inline_other(pipe->source)].scale;
    uint32_t una = pipe->sender.una;
    unsigned dups = pipe->sender.dups;
    const struct fk_sender_ack ack = {
        .ack = tcp->ack,
        .right = tcp->ack + ((uint32_t)tcp->window << scale),
        .bare = fk_tcp_span(tcp) == 0,
        .sacks = tcp->options.sacks,
        .n_sacks = flow->sack ? tcp->options.n_sacks : 0,
    };

    if (!fk_sender_acked(&pipe->sender, &ack, turn->now))
        return false;
    if (ack.bare && (flow->state == FK_FLOW_RECORDS || flow->state == FK_FLOW_PASS) &&
        is_signal(&pipe->sender, una, dups))
        pipe->ack_due = true;
    return true;
}

/* Fact 4: what the source sends again is sent again, from the store. */
static void send_again(struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    struct fk_seq_range in = {fk_seq_max(tcp->seq, pipe->told), ends_at(tcp)}, out;

    if ((tcp->flags & FK_TCP_FIN) != 0 && pipe->fin_gone && !pipe->sender.fin_acked) {
        uint32_t end = fk_sender_end(&pipe->sender);

        if (!fk_stream_map_sent(&pipe->map, in, &out))
            out.start = end;
        out.end = end + 1;
        fk_sender_resend(&pipe->sender, out);
    } else if (fk_stream_map_sent(&pipe->map, in, &out)) {
        fk_sender_resend(&pipe->sender, out);
    }
}

static void take_bytes(struct fk_flow *flow, struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    bool fin = (tcp->flags & FK_TCP_FIN) != 0, held = pipe->reasm.n_chunks > 0;
    struct fk_reasm_put put;

    fk_reasm_put(&pipe->reasm, tcp->seq, tcp->payload, fin, pipe->told_right + fin, &put);
    if (put.advanced && held)
        pipe->must_tell = pipe->reasm.next; /* it joined what was selectively acknowledged */
    if (put.news && !put.has_again && (put.advanced || fk_reasm_ended(&pipe->reasm)))
        return;
    pipe->ack_due = true;
    if (put.refused)
        fk_flow_count(flow, FK_FLOW_N_REFUSED);
    if (put.has_again) {
        pipe->again = put.again;
        pipe->has_again = true;
    }
    if (put.news && !put.advanced)
        fk_flow_count(flow, FK_FLOW_N_OUT_OF_ORDER);
    if (!put.news) {
        fk_flow_count(flow, FK_FLOW_N_DUPLICATES);
        send_again(pipe, tcp);
    }
}

/* A segment behind what is missing, in a mode that holds none: its sender sends it again. */
static bool must_drop(struct fk_flow *flow, struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    if (fk_flow_mode(flow)->holds || fk_seq_le(tcp->seq, pipe->reasm.next))
        return false;
    fk_flow_count(flow, FK_FLOW_N_NOT_HELD);
    pipe->ack_due = true;
    return true;
}

/* Fact 6: a keep-alive, or a probe of a window, lies just before what is next. It is the other
 * end's to answer, when everything is there. */
static bool is_probe(const struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    return tcp->payload.left <= 1 && (tcp->flags & FK_TCP_FIN) == 0 && tcp->seq + 1 == pipe->told;
}

static void take_probe(struct fk_flow_turn *turn, struct fk_flow_pipe *pipe)
{
    bool records = turn->flow->state == FK_FLOW_RECORDS || turn->flow->state == FK_FLOW_PASS;

    if (records && fk_sender_idle(&pipe->sender) && pipe->told == pipe->reasm.next)
        fk_flow_emit_probe(turn, fk_inline_other(pipe->source));
    else
        pipe->ack_due = true;
}

static bool far_away(const struct fk_flow_pipe *pipe, const struct fk_tcp *tcp)
{
    int32_t off = fk_seq_diff(tcp->seq, pipe->reasm.next);

    return off > (int32_t)FK_STREAM_MAP_REACH || off < -(int32_t)FK_STREAM_MAP_REACH;
}

static void take_segment(struct fk_flow_turn *turn, enum fk_inline_side from,
                         const struct fk_tcp *tcp)
{
    struct fk_flow *flow = turn->flow;
    struct fk_flow_pipe *pipe = &flow->pipes[from], *back = &flow->pipes[fk_inline_other(from)];

    if ((tcp->flags & FK_TCP_RST) != 0) {
        take_rst(turn, pipe, tcp);
        return;
    }
    if ((tcp->flags & (FK_TCP_SYN | FK_TCP_ACK)) != FK_TCP_ACK || far_away(pipe, tcp)) {
        fk_flow_count(flow, FK_FLOW_N_BAD_SEGMENT);
        fk_flow_emit_ack(turn, from); /* RFC 5961 section 4.2 */
        return;
    }
    if (!take_times(flow, pipe, tcp)) {
        fk_flow_emit_ack(turn, from);
        return;
    }
    if (!take_ack(turn, back, tcp)) {
        fk_flow_count(flow, FK_FLOW_N_BAD_SEGMENT);
        fk_flow_emit_ack(turn, from);
        return;
    }
    if (is_probe(pipe, tcp))
        take_probe(turn, pipe);
    else if (fk_tcp_span(tcp) > 0 && !must_drop(flow, pipe, tcp))
        take_bytes(flow, pipe, tcp);
    turn_over(turn);
}

/* The client's ACK of the server's SYN, or anything behind it. */
static void take_first(struct fk_flow_turn *turn, enum fk_inline_side from, const struct fk_ip *ip,
                       const struct fk_tcp *tcp)
{
    struct fk_flow *flow = turn->flow;

    if (from == FK_INLINE_SERVER) {
        take_answer(turn, ip, tcp);
        return;
    }
    if ((tcp->flags & FK_TCP_SYN) != 0) {
        take_syn(turn, from, tcp);
        return;
    }
    if ((tcp->flags & FK_TCP_ACK) == 0 || tcp->ack != flow->ends[FK_INLINE_SERVER].isn + 1)
        return;
    enter(turn, FK_FLOW_FACT_ESTABLISHED);
    flow->pipes[FK_INLINE_SERVER].ack_due = true; /* the server waits for it */
    take_segment(turn, from, tcp);
}

/* --- events --- */

/* A RST while it opens goes to the other side as it is: numbers are the same yet. */
static void take_early_rst(struct fk_flow_turn *turn, enum fk_inline_side from,
                           const struct fk_tcp *tcp)
{
    struct fk_flow *flow = turn->flow;
    struct fk_tcp rst = *tcp;
    bool answers = (tcp->flags & FK_TCP_ACK) != 0 && tcp->ack == flow->ends[0].isn + 1;

    if (from == FK_INLINE_CLIENT ? tcp->seq != flow->ends[0].isn + 1 : !answers) {
        fk_flow_count(flow, FK_FLOW_N_BAD_SEGMENT);
        return;
    }
    rst.flags &= FK_TCP_RST | FK_TCP_ACK;
    fk_flow_emit_open(turn, fk_inline_other(from), &rst);
    drop_streams(flow);
    enter(turn, FK_FLOW_FACT_BROKEN);
}

static void take_when_dead(struct fk_flow_turn *turn, enum fk_inline_side from,
                           const struct fk_tcp *tcp)
{
    if ((tcp->flags & (FK_TCP_RST | FK_TCP_ACK)) == FK_TCP_ACK)
        fk_flow_emit_rst(turn, from, tcp->ack);
}

void fk_flow_packet(struct fk_flow *flow, enum fk_inline_side from, const struct fk_ip *ip,
                    const struct fk_tcp *tcp, uint64_t now, struct fk_outbox *out)
{
    struct fk_flow_turn turn = {flow, now, out};

    fk_flow_count(flow, FK_FLOW_N_PACKETS_IN);
    switch (flow->state) {
    case FK_FLOW_SYN:
    case FK_FLOW_SYNACK:
        if (flow->until == 0)
            flow->until = now + fk_flow_state_limit(flow->state);
        if ((tcp->flags & FK_TCP_RST) != 0)
            take_early_rst(&turn, from, tcp);
        else if (flow->state == FK_FLOW_SYN && from == FK_INLINE_CLIENT)
            take_syn(&turn, from, tcp);
        else
            take_first(&turn, from, ip, tcp);
        break;
    case FK_FLOW_RECORDS:
    case FK_FLOW_PASS:
        flow->until = now + fk_flow_state_limit(flow->state);
        take_segment(&turn, from, tcp);
        break;
    case FK_FLOW_HELLO:
    case FK_FLOW_HANDSHAKE:
    case FK_FLOW_OVER:
        take_segment(&turn, from, tcp);
        break;
    case FK_FLOW_RESET:
        take_when_dead(&turn, from, tcp);
        break;
    case FK_FLOW_GONE:
    case FK_FLOW_STATE_COUNT:
        break;
    }
}

void fk_flow_wake(struct fk_flow *flow, uint64_t now, struct fk_outbox *out)
{
    struct fk_flow_turn turn = {flow, now, out};

    if (flow->state == FK_FLOW_HANDSHAKE)
        turn_over(&turn);
}

uint64_t fk_flow_deadline(const struct fk_flow *flow)
{
    uint64_t first = flow->until, deadline;

    for (size_t i = 0; i < 2; i++)
        if ((deadline = fk_sender_deadline(&flow->pipes[i].sender)) != 0 && deadline < first)
            first = deadline;
    return first;
}

void fk_flow_expire(struct fk_flow *flow, uint64_t now, struct fk_outbox *out)
{
    struct fk_flow_turn turn = {flow, now, out};
    bool alive = true;

    if (flow->state == FK_FLOW_GONE || now < fk_flow_deadline(flow))
        return;
    if (now >= flow->until || flow->state == FK_FLOW_RESET) {
        if (fk_flow_state_next(flow->state, FK_FLOW_FACT_TIMEOUT) == FK_FLOW_RESET) {
            fk_flow_count(flow, FK_FLOW_N_TIMEOUTS);
            reset(&turn, FK_FLOW_N_RESETS);
        } else {
            enter(&turn, FK_FLOW_FACT_TIMEOUT);
        }
        return;
    }
    for (size_t i = 0; i < 2; i++)
        alive = fk_sender_expire(&flow->pipes[i].sender, now) && alive;
    if (!alive) {
        fk_flow_count(flow, FK_FLOW_N_TIMEOUTS);
        reset(&turn, FK_FLOW_N_RESETS);
        return;
    }
    turn_over(&turn);
}
