/*
 * A router's word that a packet was too big: see flow.h. The box cuts anew what it stores; the
 * source is told in its own numbers, so that what it sends next fits as it comes. Whoever cannot
 * see a flow's numbers cannot make it small (RFC 5927 section 7).
 */
#include "inline/flow_priv.h"

#include "base/err.h"
#include "base/limits.h"

#include <string.h>

static bool is_open(const struct fk_flow *flow)
{
    switch (flow->state) {
    case FK_FLOW_HELLO:
    case FK_FLOW_HANDSHAKE:
    case FK_FLOW_RECORDS:
    case FK_FLOW_PASS:
    case FK_FLOW_OVER:
        return true;
    case FK_FLOW_SYN:
    case FK_FLOW_SYNACK:
    case FK_FLOW_RESET:
    case FK_FLOW_GONE:
    case FK_FLOW_STATE_COUNT:
        break;
    }
    return false;
}

static uint32_t least_mtu(const struct fk_ip *ip)
{
    return ip->version == 4 ? FK_FLOW_MTU4_MIN : FK_FLOW_MTU6_MIN;
}

/* Payload of a segment in a packet of `mtu` bytes. */
static uint32_t payload_in(const struct fk_flow *flow, const struct fk_ip *ip, uint32_t mtu)
{
    uint32_t ip_header = ip->version == 4 ? FK_IP4_HEADER : FK_IP6_HEADER;
    struct fk_tcp tcp = {.options = {.has_times = flow->times}};

    return mtu - ip_header - (uint32_t)fk_tcp_header_len(&tcp);
}

/* What the source can make of it. False: nothing, all that it sent has been acknowledged to it. */
static bool translate(const struct fk_flow *flow, const struct fk_flow_pipe *pipe,
                      struct fk_icmp_too_big *too_big)
{
    uint32_t least = least_mtu(&flow->ends[pipe->source].ip), seq;

    if (!fk_stream_map_source(&pipe->map, too_big->seq, &seq))
        seq = pipe->told;
    seq = fk_seq_max(seq, pipe->told);
    if (!fk_seq_lt(seq, pipe->reasm.next))
        return false;
    too_big->seq = seq;
    if (pipe->source == FK_INLINE_SERVER && flow->state != FK_FLOW_PASS)
        too_big->mtu =
            too_big->mtu - FK_FLOW_OVERHEAD > least ? too_big->mtu - FK_FLOW_OVERHEAD : least;
    return true;
}

bool fk_flow_too_big(struct fk_flow *flow, enum fk_inline_side to, const struct fk_ip *ip,
                     struct fk_icmp_too_big *too_big, uint64_t now, struct fk_outbox *out)
{
    struct fk_flow_pipe *pipe = &flow->pipes[fk_inline_other(to)];
    struct fk_flow_turn turn = {flow, now, out};
    uint32_t least = least_mtu(ip), size;

    if (!is_open(flow) || !fk_seq_le(pipe->sender.una, too_big->seq) ||
        !fk_seq_lt(too_big->seq, pipe->sender.nxt))
        return false;
    if (too_big->mtu < least)
        too_big->mtu = least; /* also of a router that does not say it */
    size = payload_in(flow, ip, too_big->mtu);
    if (size < flow->ends[to].mss) {
        flow->ends[to].mss = size;
        fk_sender_shrink(&pipe->sender, size);
        fk_flow_emit_data(&turn, pipe);
    }
    if (translate(flow, pipe, too_big))
        fk_flow_emit_too_big(&turn, pipe->source, ip, too_big);
    return true;
}
