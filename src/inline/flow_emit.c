/* Packets of a flow: see flow_priv.h. Everything that goes to a side is built here, so numbers,
 * window, timestamps, and blocks are always what the pipe from that side says now. */
#include "inline/flow_priv.h"

#include "base/err.h"
#include "base/limits.h"

#include <string.h>

/* The IP header of a packet to `to`: as the other side's packets have it. */
static struct fk_ip header_to(struct fk_flow *flow, enum fk_inline_side to)
{
    struct fk_ip ip = flow->ends[fk_inline_other(to)].ip;

    ip.id = flow->id++;
    ip.dont_fragment = true;
    ip.traffic &= 0xfc; /* ECN is not negotiated: see fk_flow_emit_open() */
    ip.protocol = FK_IP_TCP;
    return ip;
}

/* A packet's room in the outbox; NULL: there is none. */
static struct fk_outbox_packet *take_slot(struct fk_outbox *out, size_t len)
{
    struct fk_outbox_packet *packet;

    if (out->n == out->max || out->size - out->used < len) {
        out->dropped++;
        return NULL;
    }
    packet = &out->packets[out->n++];
    *packet = (struct fk_outbox_packet){.bytes = out->mem + out->used, .len = len};
    out->used += len;
    return packet;
}

/* `packet` says where it goes and how it is to be cut and summed up. */
static void build_packet(struct fk_outbox *out, const struct fk_ip *ip, const struct fk_tcp *tcp,
                         struct fk_outbox_packet packet)
{
    size_t header = ip->version == 4 ? FK_IP4_HEADER : FK_IP6_HEADER;
    size_t segment = fk_tcp_header_len(tcp) + tcp->payload.left;
    struct fk_outbox_packet *slot = take_slot(out, header + segment);
    struct fk_writer writer;

    if (slot == NULL)
        return;
    packet.bytes = slot->bytes;
    packet.len = slot->len;
    packet.transport = header;
    *slot = packet;
    fk_writer_init(&writer, slot->bytes, slot->len);
    fk_ip_build(ip, segment, &writer);
    fk_tcp_build(tcp, &writer);
    fk_writer_bytes(&writer, tcp->payload.next, tcp->payload.left);
    fk_tcp_seal(ip, slot->bytes + header, segment, slot->partial_sum);
}

/* Fact 8: a packet that a device is to cut says how, and leaves the checksum to it. */
static void build(struct fk_flow_turn *turn, enum fk_inline_side to, const struct fk_tcp *tcp)
{
    struct fk_ip ip = header_to(turn->flow, to);
    uint32_t mss = turn->flow->ends[to].mss;
    struct fk_outbox_packet packet = {.to = to};

    packet.gso_size = tcp->payload.left > mss ? (uint16_t)mss : 0;
    packet.partial_sum = turn->flow->conf->partial_sums || packet.gso_size > 0;
    build_packet(turn->out, &ip, tcp, packet);
}

/* --- segments --- */

/* The window as its field has it; rounded up, so that one of a byte is not one of none. */
static uint16_t window_field(const struct fk_flow *flow, struct fk_flow_pipe *pipe)
{
    uint8_t scale = flow->ends[fk_inline_other(pipe->source)].scale;
    uint32_t window = pipe->told_right - pipe->told, units;

    units = (window + (UINT32_C(1) << scale) - 1) >> scale;
    if (units > 65535)
        units = 65535;
    pipe->told_right = fk_seq_max(pipe->told_right, pipe->told + (units << scale));
    return (uint16_t)units;
}

/* Blocks only where there is no payload, which they would take room from. */
static void put_blocks(const struct fk_flow *flow, struct fk_flow_pipe *pipe, struct fk_tcp *tcp)
{
    size_t max = flow->times ? FK_TCP_SACKS_MAX - 1 : FK_TCP_SACKS_MAX;

    if (flow->sack && tcp->payload.left == 0 && (tcp->flags & FK_TCP_RST) == 0)
        tcp->options.n_sacks = (uint8_t)fk_flow_sacks(pipe, max, tcp->options.sacks);
}

void fk_flow_emit(struct fk_flow_turn *turn, enum fk_inline_side to, struct fk_tcp *tcp)
{
    struct fk_flow *flow = turn->flow;
    struct fk_flow_pipe *pipe = &flow->pipes[to];
    const struct fk_flow_end *end = &flow->ends[to], *other = &flow->ends[fk_inline_other(to)];

    tcp->src_port = other->port;
    tcp->dst_port = end->port;
    tcp->ack = pipe->told;
    tcp->flags |= FK_TCP_ACK;
    tcp->window = window_field(flow, pipe);
    if (flow->times) {
        tcp->options.has_times = true;
        tcp->options.ts_val = other->ts_max;
        tcp->options.ts_ecr = end->ts_recent;
    }
    put_blocks(flow, pipe, tcp);
    build(turn, to, tcp);
    pipe->said = pipe->told;
    pipe->said_right = pipe->told_right;
    pipe->ack_due = pipe->ack_due && tcp->payload.left > 0;
    pipe->has_again = pipe->has_again && tcp->payload.left > 0;
}

void fk_flow_emit_ack(struct fk_flow_turn *turn, enum fk_inline_side to)
{
    struct fk_tcp tcp = {.seq = turn->flow->pipes[fk_inline_other(to)].sender.nxt};

    fk_flow_emit(turn, to, &tcp);
}

void fk_flow_emit_probe(struct fk_flow_turn *turn, enum fk_inline_side to)
{
    struct fk_tcp tcp = {.seq = turn->flow->pipes[fk_inline_other(to)].sender.una - 1};

    fk_flow_emit(turn, to, &tcp);
}

void fk_flow_emit_rst(struct fk_flow_turn *turn, enum fk_inline_side to, uint32_t seq)
{
    struct fk_tcp tcp = {.seq = seq, .flags = FK_TCP_RST};

    fk_flow_emit(turn, to, &tcp);
}

void fk_flow_emit_data(struct fk_flow_turn *turn, struct fk_flow_pipe *pipe)
{
    enum fk_inline_side to = fk_inline_other(pipe->source);
    struct fk_sender_segment segment;
    uint32_t sent = pipe->sender.nxt;
    struct fk_tcp tcp;

    while (fk_sender_next(&pipe->sender, turn->flow->conf->gso_max, turn->now, &segment)) {
        tcp = (struct fk_tcp){.seq = segment.seq};
        tcp.flags = (uint16_t)((segment.fin ? FK_TCP_FIN : 0) | (segment.push ? FK_TCP_PSH : 0));
        fk_reader_init(&tcp.payload, segment.data, segment.len);
        if (fk_seq_lt(segment.seq, sent))
            fk_flow_count(turn->flow, FK_FLOW_N_RESENT);
        fk_flow_emit(turn, to, &tcp);
    }
    if (fk_sender_probe(&pipe->sender))
        fk_flow_emit_probe(turn, to);
}

void fk_flow_emit_too_big(struct fk_flow_turn *turn, enum fk_inline_side to, const struct fk_ip *ip,
                          const struct fk_icmp_too_big *too_big)
{
    size_t header = ip->version == 4 ? FK_IP4_HEADER : FK_IP6_HEADER, len = ip->payload.left;
    struct fk_outbox_packet *slot = take_slot(turn->out, header + len);
    struct fk_writer writer;

    if (slot == NULL)
        return;
    slot->to = to;
    slot->transport = header;
    fk_writer_init(&writer, slot->bytes, slot->len);
    fk_ip_build(ip, len, &writer);
    fk_writer_bytes(&writer, ip->payload.next, len);
    fk_icmp_too_big_rewrite(ip, too_big, slot->bytes + header, len);
}

/* --- the opening --- */

/* Fact 6. The server's segments must have room for a record's overhead by the time they reach the
 * client; whatever the box cannot translate is not agreed upon, ECN among it. */
void fk_flow_emit_open(struct fk_flow_turn *turn, enum fk_inline_side to, const struct fk_tcp *syn)
{
    struct fk_flow_end *other = &turn->flow->ends[fk_inline_other(to)];
    struct fk_tcp tcp = *syn;

    tcp.flags &= FK_TCP_SYN | FK_TCP_ACK | FK_TCP_RST;
    tcp.urgent = 0;
    fk_reader_init(&tcp.payload, NULL, 0);
    if (to == FK_INLINE_SERVER && (tcp.flags & FK_TCP_SYN) != 0) {
        if (tcp.options.mss == 0)
            tcp.options.mss = FK_FLOW_MSS_DEFAULT;
        tcp.options.mss = tcp.options.mss > 2 * FK_FLOW_OVERHEAD
                              ? (uint16_t)(tcp.options.mss - FK_FLOW_OVERHEAD)
                              : FK_FLOW_OVERHEAD;
    }
    tcp.options.n_sacks = 0;
    other->ts_max = fk_seq_max(other->ts_max, tcp.options.ts_val);
    tcp.options.ts_val = other->ts_max;
    build(turn, to, &tcp);
}

void fk_flow_refuse(enum fk_inline_side to, const struct fk_ip *ip, const struct fk_tcp *tcp,
                    struct fk_outbox *out)
{
    struct fk_ip back = *ip;
    struct fk_tcp rst = {.src_port = tcp->dst_port, .dst_port = tcp->src_port};

    memcpy(back.src, ip->dst, sizeof back.src);
    memcpy(back.dst, ip->src, sizeof back.dst);
    back.hops = FK_FLOW_HOPS;
    back.traffic = 0;
    rst.flags = FK_TCP_RST;
    if ((tcp->flags & FK_TCP_ACK) != 0) {
        rst.seq = tcp->ack;
    } else {
        rst.ack = tcp->seq + fk_tcp_span(tcp);
        rst.flags |= FK_TCP_ACK;
    }
    build_packet(out, &back, &rst, (struct fk_outbox_packet){.to = to});
}
