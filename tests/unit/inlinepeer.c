/* A TCP endpoint of the simulator: see inlinesim.h. */
#include "inlinesim_priv.h"

#include "unit.h"

#include "base/err.h"

#define WINDOW_OPEN 65535
#define TRIES       100 /* times that nothing has come of it: more patience than any system has */

/* --- a peer's packets --- */

static void send_packet(struct sim_peer *peer, struct fk_tcp *tcp)
{
    uint8_t bytes[SIM_PACKET];
    struct fk_ip ip = {.version = sim.conf->v6 ? 6 : 4, .protocol = FK_IP_TCP, .hops = 64};
    size_t segment = fk_tcp_header_len(tcp) + tcp->payload.left, at, len;
    struct fk_writer writer;

    ip.src[0] = peer->side == FK_INLINE_CLIENT ? 10 : 20;
    ip.dst[0] = peer->side == FK_INLINE_CLIENT ? 20 : 10;
    tcp->src_port = peer->side == FK_INLINE_CLIENT ? 40000 : 443;
    tcp->dst_port = peer->side == FK_INLINE_CLIENT ? 443 : 40000;
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_ip_build(&ip, segment, &writer);
    at = writer.len;
    fk_tcp_build(tcp, &writer);
    fk_writer_bytes(&writer, tcp->payload.next, tcp->payload.left);
    assert_ok(fk_writer_end(&writer, &len));
    fk_tcp_seal(&ip, bytes + at, segment, false);
    sim_put_on_wire(true, peer->side, bytes, len);
}

static uint8_t scale(void)
{
    return sim.conf->scale ? 4 : 0;
}

static void put_blocks(struct sim_peer *peer, struct fk_tcp *tcp)
{
    struct fk_seq_range range = peer->recent;

    if (!sim.conf->sack || tcp->payload.left > 0 || range.end <= peer->next ||
        range.start <= peer->next)
        return;
    while (range.start > 0 && peer->got[range.start - 1])
        range.start--;
    while (range.end < SIM_STREAM && peer->got[range.end])
        range.end++;
    tcp->options.n_sacks = 1;
    tcp->options.sacks[0].start = peer->peer_isn + 1 + range.start;
    tcp->options.sacks[0].end = peer->peer_isn + 1 + range.end;
}

/* Whether what it sends again has other bytes. */
static bool lies(const struct sim_peer *peer)
{
    return sim.conf->rewrites || (sim.conf->lies && peer->side == FK_INLINE_CLIENT);
}

static void send_segment(struct sim_peer *peer, size_t from, size_t len, uint16_t flags)
{
    size_t room = peer->buffer - (peer->next - peer->read);
    uint8_t noise[SIM_PACKET];
    struct fk_tcp tcp = {.seq = peer->isn + 1 + (uint32_t)from, .flags = flags | FK_TCP_ACK};

    peer->edge = peer->next + room > peer->edge ? peer->next + room : peer->edge;
    room = peer->edge - peer->next;
    tcp.ack = peer->peer_isn + 1 +
              (uint32_t)(peer->next + (peer->fin_seen && peer->next == peer->fin_at));
    tcp.window = (uint16_t)((room >> scale()) > 65535 ? 65535 : room >> scale());
    if (sim.conf->times) {
        tcp.options.has_times = true;
        tcp.options.ts_val = (uint32_t)(sim.now / 1000) + 77;
        tcp.options.ts_ecr = peer->ts_recent;
    }
    fk_reader_init(&tcp.payload, peer->out + from, len);
    if (lies(peer) && from + len <= peer->sent && len > 0 && flags == 0) {
        memset(noise, '#', len);
        fk_reader_init(&tcp.payload, noise, len);
    }
    put_blocks(peer, &tcp);
    send_packet(peer, &tcp);
    peer->unacked = 0;
    peer->delack_at = SIM_NEVER;
}

static void send_syn(struct sim_peer *peer)
{
    struct fk_tcp tcp = {.seq = peer->isn, .flags = FK_TCP_SYN, .window = WINDOW_OPEN};

    if (peer->buffer < WINDOW_OPEN)
        tcp.window = (uint16_t)peer->buffer;
    peer->edge = tcp.window;
    tcp.options.mss = peer->own_mss;
    tcp.options.has_scale = sim.conf->scale;
    tcp.options.scale = scale();
    tcp.options.sack_permitted = sim.conf->sack;
    tcp.options.has_times = sim.conf->times;
    tcp.options.ts_val = (uint32_t)(sim.now / 1000) + 77;
    if (peer->side == FK_INLINE_SERVER) {
        tcp.flags |= FK_TCP_ACK;
        tcp.ack = peer->peer_isn + 1;
        tcp.options.ts_ecr = peer->ts_recent;
    }
    tcp.options.fast_open = true; /* not written */
    send_packet(peer, &tcp);
    peer->rto_at = sim.now + (UINT64_C(500000) << peer->backoff);
}

/* --- a peer sends --- */

static void arm(struct sim_peer *peer)
{
    peer->rto_at = sim.now + (UINT64_C(250000) << (peer->backoff < 6 ? peer->backoff : 6));
}

static size_t segment_len(size_t most)
{
    if (sim.conf->tiny)
        return most < 2 ? most : 1 + sim_pick(2);
    return most > 1 && sim_pick(4) == 0 ? 1 + sim_pick((uint32_t)most) : most;
}

/* What may go: data within both windows, then FIN. */
void sim_peer_push(struct sim_peer *peer)
{
    size_t limit, len;

    if (!peer->established || peer->reset)
        return;
    limit = peer->una + peer->cwnd < peer->right ? peer->una + peer->cwnd : peer->right;
    limit = limit < peer->avail ? limit : peer->avail;
    while (peer->nxt < limit) {
        len = limit - peer->nxt < peer->mss ? limit - peer->nxt : peer->mss;
        len = segment_len(len);
        send_segment(peer, peer->nxt, len, 0);
        peer->nxt += len;
        peer->sent = peer->nxt > peer->sent ? peer->nxt : peer->sent;
        peer->top = peer->sent > peer->top ? peer->sent : peer->top;
        if (peer->rto_at == SIM_NEVER)
            arm(peer);
    }
    if (peer->closing && peer->nxt == peer->out_len && peer->nxt < peer->right + 1) {
        send_segment(peer, peer->nxt, 0, FK_TCP_FIN);
        peer->nxt = peer->top = peer->out_len + 1;
        if (peer->rto_at == SIM_NEVER)
            arm(peer);
    }
    if (peer->una < peer->avail && peer->rto_at == SIM_NEVER)
        arm(peer);
}

static void resend_first(struct sim_peer *peer)
{
    size_t most = peer->out_len - peer->una;

    if (peer->una >= peer->out_len) {
        send_segment(peer, peer->out_len, 0, FK_TCP_FIN);
        return;
    }
    most = most < peer->mss ? most : peer->mss;
    most = peer->una + most < peer->top ? most : peer->top - peer->una;
    send_segment(peer, peer->una, segment_len(most == 0 ? 1 : most), 0);
}

/* The window is shut: ask with a byte behind it, or without one before it. */
static void probe(struct sim_peer *peer)
{
    bool byte = sim_pick(2) == 0 && peer->una < peer->avail;

    send_segment(peer, byte || peer->una == 0 ? peer->una : peer->una - 1, byte, 0);
    if (byte && peer->top == peer->una)
        peer->top++;
}

static void go_back(struct sim_peer *peer)
{
    peer->ssthresh = peer->cwnd / 2 > 2u * peer->mss ? peer->cwnd / 2 : 2u * peer->mss;
    peer->cwnd = peer->mss;
    peer->recover = peer->top;
    peer->dups = 0;
    if (peer->una >= peer->out_len) {
        resend_first(peer);
        return;
    }
    peer->nxt = peer->una;
    sim_peer_push(peer);
}

/* RFC 9293 section 3.8.3: nobody has answered for minutes. */
static void give_up(struct sim_peer *peer)
{
    if (peer->established)
        send_segment(peer, peer->nxt, 0, FK_TCP_RST);
    peer->reset = true;
    peer->rto_at = peer->delack_at = peer->app_at = SIM_NEVER;
}

static void on_rto(struct sim_peer *peer)
{
    if (++peer->backoff > TRIES) {
        give_up(peer);
        return;
    }
    arm(peer);
    if (!peer->established) {
        if (peer->opened)
            send_syn(peer);
    } else if (peer->una < peer->nxt) {
        go_back(peer);
    } else if (peer->una < peer->avail || (peer->closing && peer->una == peer->out_len)) {
        probe(peer);
    } else {
        peer->rto_at = SIM_NEVER;
    }
}

/* Fact 3: nothing selectively acknowledged is where a cumulative acknowledgement stops, unless
 * somebody else has said so in the other end's name. */
static void check_no_reneging(const struct sim_peer *peer, size_t ack)
{
    if (ack > peer->una && sim.conf->forge == 0)
        assert_false(peer->out_sacked[ack]);
}

static void note_blocks(struct sim_peer *peer, const struct fk_tcp *tcp, size_t ack)
{
    for (size_t i = 0; i < tcp->options.n_sacks; i++) {
        size_t from = tcp->options.sacks[i].start - peer->isn - 1;
        size_t to = tcp->options.sacks[i].end - peer->isn - 1;

        if (from <= ack || from > SIM_STREAM || (sim.conf->forge > 0 && to > peer->top))
            continue; /* a DSACK */
        assert_true(from < to && to <= peer->top);
        memset(peer->out_sacked + from, 1, to - from);
        peer->sacked_top = to > peer->sacked_top ? to : peer->sacked_top;
    }
}

static void take_ack(struct sim_peer *peer, const struct fk_tcp *tcp)
{
    size_t ack = tcp->ack - peer->isn - 1, right;

    if ((int32_t)(tcp->ack - peer->isn - 1) < 0 || (sim.conf->forge > 0 && ack > peer->top))
        return;
    assert_true(ack <= peer->top);
    check_no_reneging(peer, ack);
    note_blocks(peer, tcp, ack);
    right = ack + ((size_t)tcp->window << ((tcp->flags & FK_TCP_SYN) != 0 ? 0 : scale()));
    if (ack > peer->una) {
        peer->cwnd += peer->cwnd < peer->ssthresh ? ack - peer->una : peer->mss / 4;
        peer->una = ack;
        peer->nxt = peer->nxt < ack ? ack : peer->nxt;
        peer->dups = peer->backoff = 0;
        peer->rto_at = SIM_NEVER;
        if (peer->una < peer->nxt)
            arm(peer);
        if (peer->una < peer->recover && peer->una < peer->nxt)
            resend_first(peer);
    } else if (ack == peer->una && fk_tcp_span(tcp) == 0 && peer->nxt > peer->una &&
               right == peer->right && ++peer->dups == 3) {
        peer->ssthresh = peer->cwnd / 2 > 2u * peer->mss ? peer->cwnd / 2 : 2u * peer->mss;
        peer->cwnd = peer->ssthresh;
        peer->recover = peer->top;
        resend_first(peer);
    }
    if (ack == peer->una && right > peer->right) {
        peer->right = right;
        peer->backoff = 0;
    }
}

/* --- a peer receives --- */

static void take_bytes(struct sim_peer *peer, const struct fk_tcp *tcp)
{
    int32_t at = (int32_t)(tcp->seq - peer->peer_isn - 1);
    const uint8_t *bytes = tcp->payload.next;
    bool news = false;

    for (size_t i = 0; i < tcp->payload.left; i++) {
        int32_t where = at + (int32_t)i;

        if (where < 0 || (size_t)where >= SIM_STREAM)
            continue;
        if (peer->got[where]) {
            assert_int_equal(peer->in[where], bytes[i]); /* the same bytes, whenever they come */
            continue;
        }
        if ((size_t)where >= peer->edge)
            continue;
        peer->got[where] = true;
        peer->in_top = (size_t)where >= peer->in_top ? (size_t)where + 1 : peer->in_top;
        peer->in[where] = bytes[i];
        news = true;
    }
    if ((tcp->flags & FK_TCP_FIN) != 0) {
        size_t fin = (size_t)((int64_t)at + (int64_t)tcp->payload.left);

        assert_true(!peer->fin_seen || peer->fin_at == fin);
        peer->fin_seen = true;
        peer->fin_at = fin;
    }
    while (peer->next < SIM_STREAM && peer->got[peer->next]) {
        peer->next++;
        peer->next_at = sim.now;
    }
    if (at > (int32_t)peer->next)
        peer->recent =
            (struct fk_seq_range){(uint32_t)at, (uint32_t)at + (uint32_t)tcp->payload.left};
    peer->unacked++;
    if (!news || at > (int32_t)peer->told + 4000 || peer->unacked >= 2 || peer->fin_seen)
        send_segment(peer, peer->nxt, 0, 0);
    else if (peer->delack_at == SIM_NEVER)
        peer->delack_at = sim.now + 40000;
}

void sim_peer_packet(struct sim_peer *peer, const uint8_t *bytes, size_t len)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    if (!sim_parse(bytes, len, &ip, &tcp))
        return; /* corrupted on its way */
    assert_false(tcp.options.fast_open || tcp.options.multipath);
    assert_true(tcp.payload.left <= peer->own_mss);
    if (peer->reset)
        return;
    if ((tcp.flags & FK_TCP_RST) != 0) {
        peer->reset = true;
        peer->rto_at = peer->delack_at = peer->app_at = SIM_NEVER;
        return;
    }
    if (tcp.options.has_times)
        peer->ts_recent = fk_seq_max(peer->ts_recent, tcp.options.ts_val);
    if ((tcp.flags & FK_TCP_SYN) != 0) {
        if (peer->established) {
            send_segment(peer, peer->nxt, 0, 0);
            return;
        }
        peer->opened = true;
        peer->peer_isn = tcp.seq;
        peer->mss = tcp.options.mss;
        peer->ts_recent = tcp.options.ts_val;
        peer->right = tcp.window;
        if (sim.conf->times)
            peer->mss = (uint16_t)(peer->mss - FK_TCP_TIMES_BYTES);
        peer->cwnd = 10u * peer->mss;
        if (peer->side == FK_INLINE_SERVER) {
            send_syn(peer);
            return;
        }
        peer->established = true;
        peer->backoff = 0;
        peer->rto_at = SIM_NEVER;
        send_segment(peer, 0, 0, 0);
    } else if (!peer->opened) {
        return;
    }
    if (peer->side == FK_INLINE_SERVER && !peer->established) {
        peer->established = true;
        peer->right = 0; /* as this segment says */
        peer->backoff = 0;
        peer->rto_at = SIM_NEVER;
    }
    take_ack(peer, &tcp);
    if (fk_tcp_span(&tcp) > 0 && (tcp.flags & FK_TCP_SYN) == 0)
        take_bytes(peer, &tcp);
    else if ((tcp.flags & FK_TCP_SYN) == 0 &&
             fk_seq_lt(tcp.seq, peer->peer_isn + 1 + (uint32_t)peer->next))
        send_segment(peer, peer->nxt, 0, 0); /* a keep-alive or a probe */
    sim_app_read(peer);
    sim_peer_push(peer);
}

/* --- time --- */

uint64_t sim_peer_deadline(const struct sim_peer *peer)
{
    uint64_t first = peer->rto_at < peer->app_at ? peer->rto_at : peer->app_at;

    first = peer->delack_at < first ? peer->delack_at : first;
    if (sim.conf->slow_read && peer->read < peer->next && peer->read_at < first)
        first = peer->read_at;
    return first;
}

void sim_peer_due(struct sim_peer *peer)
{
    size_t edge = peer->edge;

    if (peer->app_at <= sim.now)
        sim_app_write(peer);
    if (peer->delack_at <= sim.now)
        send_segment(peer, peer->nxt, 0, 0);
    if (sim.conf->slow_read && peer->read < peer->next && peer->read_at <= sim.now) {
        sim_app_read(peer);
        if (peer->read + peer->buffer > edge)
            send_segment(peer, peer->nxt, 0, 0); /* the window has opened */
        sim_peer_push(peer);
    }
    if (peer->rto_at <= sim.now)
        on_rto(peer);
}

/* --- life --- */

void sim_peer_open(struct sim_peer *peer)
{
    peer->opened = true;
    peer->mss = 536;
    send_syn(peer);
}

void sim_peer_init(enum fk_inline_side side)
{
    const struct sim_conf *conf = sim.conf;
    bool client = side == FK_INLINE_CLIENT;
    struct sim_peer *peer = &sim.peers[side];

    memset(peer->out_sacked, 0, peer->sacked_top);
    memset(peer->got, 0, peer->in_top);
    memset(peer, 0, offsetof(struct sim_peer, out));
    peer->side = side;
    peer->isn = client ? conf->client_isn : conf->server_isn;
    peer->own_mss = client ? conf->client_mss : conf->server_mss;
    peer->buffer = client ? conf->client_window : conf->server_window;
    peer->ssthresh = SIZE_MAX;
    peer->rto_at = peer->delack_at = peer->app_at = SIM_NEVER;
}
