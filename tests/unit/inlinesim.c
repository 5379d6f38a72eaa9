/* See inlinesim.h. One world at a time, in static memory. */
#include "inlinesim.h"

#include "recordends.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#define STREAM_MAX  150000
#define WIRE_MAX    4096
#define PACKET_MAX  1600
#define HELLO_MAX   700
#define ANSWER_MAX  5000
#define NEVER       UINT64_MAX
#define TIME_MAX    UINT64_C(3600000000)
#define WINDOW_OPEN 65535

/* One end. Offsets count from the first byte after the SYN. */
struct peer {
    enum fk_inline_side side;
    bool opened, established, reset;
    uint32_t isn, peer_isn;
    uint16_t own_mss, mss;
    uint32_t buffer;

    uint8_t out[STREAM_MAX];
    bool out_sacked[STREAM_MAX + 2];
    size_t out_len, avail; /* made, and given to TCP */
    bool closing;          /* no more will be made: FIN is behind out_len */
    size_t una, nxt, top, sent, right, cwnd, ssthresh, recover;
    unsigned dups, backoff;
    uint64_t rto_at, app_at, delack_at, read_at;

    uint8_t in[STREAM_MAX];
    bool got[STREAM_MAX];
    size_t next, read, told, edge;
    bool fin_seen;
    size_t fin_at;
    struct fk_seq_range recent; /* the last arrival out of order, offsets */
    unsigned unacked;
    uint32_t ts_recent;
};

struct wire_packet {
    bool used, to_box;
    enum fk_inline_side side; /* whose wire */
    uint64_t at, number;
    size_t len;
    uint8_t bytes[PACKET_MAX];
};

static struct world {
    const struct sim_conf *conf;
    uint64_t random, now;
    struct peer peers[2];
    size_t n_wire;
    uint64_t n_sent;
    struct fk_flow *flow;
    struct fk_flow_conf flow_conf;
    uint64_t counters[FK_FLOW_N_COUNT];
    struct fk_arena *arena;
    struct fk_session_keys keys;
    struct fk_record *client;
    size_t hello, answer; /* bytes of the handshake, each way */
    size_t taken, given;  /* by the back-end */
    uint8_t up[STREAM_MAX], down[STREAM_MAX], opened[STREAM_MAX];
    size_t n_opened, parsed;
    bool sealed, client_end;
    struct wire_packet wire[WIRE_MAX];
    uint32_t last_times[2];
    bool told_times[2];
} w;

static uint32_t pick(uint32_t n)
{
    w.random ^= w.random << 13;
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return n == 0 ? 0 : (uint32_t)((w.random >> 16) % n);
}

/* --- the back-end that shakes hands: so many bytes each way --- */

static int tls_new(void *arg, struct fk_flow *flow, void **ret)
{
    (void)flow;
    *ret = arg;
    return FK_OK;
}

static int tls_step(void *tls, const uint8_t *bytes, size_t len, size_t *ret_used)
{
    size_t left = w.hello - w.taken;

    (void)tls;
    (void)bytes;
    *ret_used = len < left ? len : left;
    w.taken += *ret_used;
    return w.taken == w.hello ? FK_OK : FK_ERR_AGAIN;
}

static size_t tls_output(void *tls, uint8_t *out, size_t size)
{
    size_t left = w.taken == w.hello ? w.answer - w.given : 0;

    (void)tls;
    left = left < size ? left : size;
    memset(out, 'h', left);
    w.given += left;
    return left;
}

static int tls_keys(void *tls, struct fk_session_keys *ret)
{
    (void)tls;
    *ret = w.keys;
    return FK_OK;
}

static void tls_free(void *tls)
{
    (void)tls;
}

static const struct fk_flow_tls_ops tls_ops = {tls_new, tls_step, tls_output, tls_keys, tls_free};

/* --- wires --- */

static void put_on_wire(bool to_box, enum fk_inline_side side, const uint8_t *bytes, size_t len)
{
    struct wire_packet *packet = NULL;

    bool kept = w.conf->rewrites && to_box; /* or the other bytes would be the first to come */

    assert_true(len <= PACKET_MAX);
    if (!kept && pick(1000) < w.conf->loss)
        return;
    for (size_t i = 0; i < WIRE_MAX && packet == NULL; i++)
        if (!w.wire[i].used)
            packet = &w.wire[i];
    if (packet == NULL)
        return; /* the queue is full: lost */
    packet->used = true;
    packet->to_box = to_box;
    packet->side = side;
    packet->len = len;
    packet->number = w.n_sent++;
    packet->at = w.now + (side == FK_INLINE_CLIENT ? 5000 : 300);
    if (!kept && pick(1000) < w.conf->reorder)
        packet->at += pick(8000);
    memcpy(packet->bytes, bytes, len);
    w.n_wire++;
    if (pick(1000) < w.conf->again)
        put_on_wire(to_box, side, bytes, len);
}

/* --- a peer's packets --- */

static void send_packet(struct peer *peer, struct fk_tcp *tcp)
{
    uint8_t bytes[PACKET_MAX];
    struct fk_ip ip = {.version = w.conf->v6 ? 6 : 4, .protocol = FK_IP_TCP, .hops = 64};
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
    put_on_wire(true, peer->side, bytes, len);
}

static uint8_t scale(void)
{
    return w.conf->scale ? 4 : 0;
}

static void put_blocks(struct peer *peer, struct fk_tcp *tcp)
{
    struct fk_seq_range range = peer->recent;

    if (!w.conf->sack || tcp->payload.left > 0 || range.end <= peer->next ||
        range.start <= peer->next)
        return;
    while (range.start > 0 && peer->got[range.start - 1])
        range.start--;
    while (range.end < STREAM_MAX && peer->got[range.end])
        range.end++;
    tcp->options.n_sacks = 1;
    tcp->options.sacks[0].start = peer->peer_isn + 1 + range.start;
    tcp->options.sacks[0].end = peer->peer_isn + 1 + range.end;
}

static void send_segment(struct peer *peer, size_t from, size_t len, uint16_t flags)
{
    size_t room = peer->buffer - (peer->next - peer->read);
    uint8_t noise[PACKET_MAX];
    struct fk_tcp tcp = {.seq = peer->isn + 1 + (uint32_t)from, .flags = flags | FK_TCP_ACK};

    peer->edge = peer->next + room > peer->edge ? peer->next + room : peer->edge;
    room = peer->edge - peer->next;
    tcp.ack = peer->peer_isn + 1 +
              (uint32_t)(peer->next + (peer->fin_seen && peer->next == peer->fin_at));
    tcp.window = (uint16_t)((room >> scale()) > 65535 ? 65535 : room >> scale());
    if (w.conf->times) {
        tcp.options.has_times = true;
        tcp.options.ts_val = (uint32_t)(w.now / 1000) + 77;
        tcp.options.ts_ecr = peer->ts_recent;
    }
    fk_reader_init(&tcp.payload, peer->out + from, len);
    if (w.conf->rewrites && from + len <= peer->sent && len > 0 && flags == 0) {
        memset(noise, '#', len);
        fk_reader_init(&tcp.payload, noise, len);
    }
    put_blocks(peer, &tcp);
    send_packet(peer, &tcp);
    peer->unacked = 0;
    peer->delack_at = NEVER;
}

static void send_syn(struct peer *peer)
{
    struct fk_tcp tcp = {.seq = peer->isn, .flags = FK_TCP_SYN, .window = WINDOW_OPEN};

    if (peer->buffer < WINDOW_OPEN)
        tcp.window = (uint16_t)peer->buffer;
    peer->edge = tcp.window;
    tcp.options.mss = peer->own_mss;
    tcp.options.has_scale = w.conf->scale;
    tcp.options.scale = scale();
    tcp.options.sack_permitted = w.conf->sack;
    tcp.options.has_times = w.conf->times;
    tcp.options.ts_val = (uint32_t)(w.now / 1000) + 77;
    if (peer->side == FK_INLINE_SERVER) {
        tcp.flags |= FK_TCP_ACK;
        tcp.ack = peer->peer_isn + 1;
        tcp.options.ts_ecr = peer->ts_recent;
    }
    tcp.options.fast_open = true; /* not written */
    send_packet(peer, &tcp);
    peer->rto_at = w.now + (UINT64_C(500000) << peer->backoff);
}

/* --- a peer sends --- */

static void arm(struct peer *peer)
{
    peer->rto_at = w.now + (UINT64_C(250000) << (peer->backoff < 6 ? peer->backoff : 6));
}

static size_t segment_len(size_t most)
{
    if (w.conf->tiny)
        return most < 2 ? most : 1 + pick(2);
    return most > 1 && pick(4) == 0 ? 1 + pick((uint32_t)most) : most;
}

/* What may go: data within both windows, then FIN. */
static void try_send(struct peer *peer)
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
        if (peer->rto_at == NEVER)
            arm(peer);
    }
    if (peer->closing && peer->nxt == peer->out_len && peer->nxt < peer->right + 1) {
        send_segment(peer, peer->nxt, 0, FK_TCP_FIN);
        peer->nxt = peer->top = peer->out_len + 1;
        if (peer->rto_at == NEVER)
            arm(peer);
    }
    if (peer->una < peer->avail && peer->rto_at == NEVER)
        arm(peer);
}

static void resend_first(struct peer *peer)
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
static void probe(struct peer *peer)
{
    bool byte = pick(2) == 0 && peer->una < peer->avail;

    send_segment(peer, byte || peer->una == 0 ? peer->una : peer->una - 1, byte, 0);
    if (byte && peer->top == peer->una)
        peer->top++;
}

static void go_back(struct peer *peer)
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
    try_send(peer);
}

static void on_rto(struct peer *peer)
{
    peer->backoff++;
    arm(peer);
    if (!peer->established) {
        if (peer->opened)
            send_syn(peer);
    } else if (peer->una < peer->nxt) {
        go_back(peer);
    } else if (peer->una < peer->avail || (peer->closing && peer->una == peer->out_len)) {
        probe(peer);
    } else {
        peer->rto_at = NEVER;
    }
}

/* Fact 3: nothing selectively acknowledged is where a cumulative acknowledgement stops. */
static void check_no_reneging(const struct peer *peer, size_t ack)
{
    if (ack > peer->una)
        assert_false(peer->out_sacked[ack]);
}

static void note_blocks(struct peer *peer, const struct fk_tcp *tcp, size_t ack)
{
    for (size_t i = 0; i < tcp->options.n_sacks; i++) {
        size_t from = tcp->options.sacks[i].start - peer->isn - 1;
        size_t to = tcp->options.sacks[i].end - peer->isn - 1;

        if (from <= ack || from > STREAM_MAX)
            continue; /* a DSACK */
        assert_true(from < to && to <= peer->top);
        memset(peer->out_sacked + from, 1, to - from);
    }
}

static void take_ack(struct peer *peer, const struct fk_tcp *tcp)
{
    size_t ack = tcp->ack - peer->isn - 1, right;

    if ((int32_t)(tcp->ack - peer->isn - 1) < 0)
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
        peer->rto_at = NEVER;
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

static void take_bytes(struct peer *peer, const struct fk_tcp *tcp)
{
    int32_t at = (int32_t)(tcp->seq - peer->peer_isn - 1);
    const uint8_t *bytes = tcp->payload.next;
    bool news = false;

    for (size_t i = 0; i < tcp->payload.left; i++) {
        int32_t where = at + (int32_t)i;

        if (where < 0 || (size_t)where >= STREAM_MAX)
            continue;
        if (peer->got[where]) {
            assert_int_equal(peer->in[where], bytes[i]); /* the same bytes, whenever they come */
            continue;
        }
        if ((size_t)where >= peer->edge)
            continue;
        peer->got[where] = true;
        peer->in[where] = bytes[i];
        news = true;
    }
    if ((tcp->flags & FK_TCP_FIN) != 0) {
        size_t fin = (size_t)((int64_t)at + (int64_t)tcp->payload.left);

        assert_true(!peer->fin_seen || peer->fin_at == fin);
        peer->fin_seen = true;
        peer->fin_at = fin;
    }
    while (peer->next < STREAM_MAX && peer->got[peer->next])
        peer->next++;
    if (at > (int32_t)peer->next)
        peer->recent =
            (struct fk_seq_range){(uint32_t)at, (uint32_t)at + (uint32_t)tcp->payload.left};
    peer->unacked++;
    if (!news || at > (int32_t)peer->told + 4000 || peer->unacked >= 2 || peer->fin_seen)
        send_segment(peer, peer->nxt, 0, 0);
    else if (peer->delack_at == NEVER)
        peer->delack_at = w.now + 40000;
}

static void seal_all(struct peer *client);

/* What the applications do with what is there. */
static void applications(struct peer *peer)
{
    struct fk_opened opened;
    size_t len;
    int err;

    if (w.conf->slow_read && w.now < peer->read_at)
        return;
    peer->read_at = w.now + 20000 + pick(50000);
    peer->read = peer->next;
    if (peer->side == FK_INLINE_SERVER || w.conf->plain || peer->next < w.answer)
        return;
    if (!w.sealed)
        seal_all(peer);
    w.parsed = w.parsed < w.answer ? w.answer : w.parsed;
    while (!w.client_end) {
        uint8_t copy[FK_FLOW_RECORD];

        len = peer->next - w.parsed;
        len = len < sizeof copy ? len : sizeof copy;
        memcpy(copy, peer->in + w.parsed, len);
        err = fk_record_open(w.client, copy, len, &opened);
        if (err == FK_ERR_AGAIN)
            return;
        if (err == FK_ERR_TLS) {
            w.client_end = true;
            return;
        }
        assert_ok(err);
        if (opened.event == FK_RECORD_DATA) {
            memcpy(w.opened + w.n_opened, opened.data, opened.len);
            w.n_opened += opened.len;
        }
        w.client_end = opened.event == FK_RECORD_END;
        w.parsed += opened.consumed;
    }
}

static void take_packet(struct peer *peer, const uint8_t *bytes, size_t len)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    assert_ok(fk_ip_parse(bytes, len, &ip));
    assert_true(fk_tcp_verify(&ip));
    assert_ok(fk_tcp_parse(ip.payload, &tcp));
    assert_false(tcp.options.fast_open || tcp.options.multipath);
    assert_true(tcp.payload.left <= peer->own_mss);
    if (peer->reset)
        return;
    if ((tcp.flags & FK_TCP_RST) != 0) {
        peer->reset = true;
        peer->rto_at = peer->delack_at = peer->app_at = NEVER;
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
        if (w.conf->times)
            peer->mss = (uint16_t)(peer->mss - FK_TCP_TIMES_BYTES);
        peer->cwnd = 10u * peer->mss;
        if (peer->side == FK_INLINE_SERVER) {
            send_syn(peer);
            return;
        }
        peer->established = true;
        peer->backoff = 0;
        peer->rto_at = NEVER;
        send_segment(peer, 0, 0, 0);
    } else if (!peer->opened) {
        return;
    }
    if (peer->side == FK_INLINE_SERVER && !peer->established) {
        peer->established = true;
        peer->right = 0; /* as this segment says */
        peer->backoff = 0;
        peer->rto_at = NEVER;
    }
    take_ack(peer, &tcp);
    if (fk_tcp_span(&tcp) > 0 && (tcp.flags & FK_TCP_SYN) == 0)
        take_bytes(peer, &tcp);
    else if ((tcp.flags & FK_TCP_SYN) == 0 &&
             fk_seq_lt(tcp.seq, peer->peer_isn + 1 + (uint32_t)peer->next))
        send_segment(peer, peer->nxt, 0, 0); /* a keep-alive or a probe */
    applications(peer);
    try_send(peer);
}

/* --- the applications' streams --- */

/* The client's data as records of any size; then close_notify. */
static void seal_all(struct peer *client)
{
    size_t done = 0, len, sealed;
    struct iovec piece;

    while (done < w.conf->up) {
        len = 1 + pick(pick(3) == 0 ? FK_RECORD_PLAIN_MAX : 700);
        len = len < w.conf->up - done ? len : w.conf->up - done;
        piece = (struct iovec){w.up + done, len};
        assert_ok(fk_record_seal(w.client, &piece, 1, client->out + client->out_len,
                                 STREAM_MAX - client->out_len, &sealed));
        client->out_len += sealed;
        done += len;
        if (pick(40) == 0)
            (void)fk_record_update_keys(w.client, true);
    }
    fk_record_close(w.client);
    assert_ok(fk_record_seal_control(w.client, client->out + client->out_len, &sealed));
    client->out_len += sealed;
    if (w.conf->damage > 0)
        client->out[w.hello + w.conf->damage % (client->out_len - w.hello)] ^= 1;
    client->closing = true;
    w.sealed = true;
    client->app_at = w.now;
}

/* More of what an application has is given to TCP. */
static void give(struct peer *peer)
{
    peer->avail += 1 + pick(pick(2) == 0 ? 100 : 30000);
    peer->app_at = w.now + pick(3000);
    if (peer->avail >= peer->out_len) {
        peer->avail = peer->out_len;
        peer->app_at = NEVER;
    }
    try_send(peer);
}

/* --- the box --- */

static void check_times(const struct fk_outbox_packet *packet, const struct fk_tcp *tcp)
{
    if (!tcp->options.has_times)
        return;
    /* Fact 2: monotone towards each side. */
    assert_true(!w.told_times[packet->to] ||
                !fk_seq_lt(tcp->options.ts_val, w.last_times[packet->to]));
    w.last_times[packet->to] = tcp->options.ts_val;
    w.told_times[packet->to] = true;
}

static void check_addresses(const struct fk_outbox_packet *packet, const struct fk_ip *ip,
                            const struct fk_tcp *tcp)
{
    bool up = packet->to == FK_INLINE_SERVER;

    assert_int_equal(ip->src[0], up ? 10 : 20);
    assert_int_equal(ip->dst[0], up ? 20 : 10);
    assert_int_equal(tcp->src_port, up ? 40000 : 443);
    assert_int_equal(tcp->dst_port, up ? 443 : 40000);
}

static void deliver(struct fk_outbox *out)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    for (size_t i = 0; i < out->n; i++) {
        const struct fk_outbox_packet *packet = &out->packets[i];

        assert_ok(fk_ip_parse(packet->bytes, packet->len, &ip));
        assert_ok(fk_tcp_parse(ip.payload, &tcp));
        check_addresses(packet, &ip, &tcp);
        check_times(packet, &tcp);
        put_on_wire(false, packet->to, packet->bytes, packet->len);
    }
    out->n = out->used = 0;
}

static uint8_t out_mem[FK_FLOW_STORE];
static struct fk_outbox_packet out_packets[16384];

static void box(const uint8_t *bytes, size_t len, enum fk_inline_side from)
{
    struct fk_outbox out = {
        .mem = out_mem, .size = sizeof out_mem, .packets = out_packets, .max = 16384};
    struct fk_ip ip;
    struct fk_tcp tcp;

    if (bytes == NULL) {
        fk_flow_expire(w.flow, w.now, &out);
    } else {
        assert_ok(fk_ip_parse(bytes, len, &ip));
        assert_ok(fk_tcp_parse(ip.payload, &tcp));
        if (w.flow == NULL && from == FK_INLINE_CLIENT)
            assert_ok(fk_flow_new(&w.flow_conf, w.counters, &ip, &tcp, &w.flow));
        if (w.flow != NULL)
            fk_flow_packet(w.flow, from, &ip, &tcp, w.now, &out);
    }
    deliver(&out);
}

/* --- time --- */

static uint64_t peer_next(const struct peer *peer)
{
    uint64_t first = peer->rto_at < peer->app_at ? peer->rto_at : peer->app_at;

    first = peer->delack_at < first ? peer->delack_at : first;
    if (w.conf->slow_read && peer->read < peer->next && peer->read_at < first)
        first = peer->read_at;
    return first;
}

static void peer_due(struct peer *peer)
{
    size_t edge = peer->edge;

    if (peer->app_at <= w.now)
        give(peer);
    if (peer->delack_at <= w.now)
        send_segment(peer, peer->nxt, 0, 0);
    if (w.conf->slow_read && peer->read < peer->next && peer->read_at <= w.now) {
        applications(peer);
        if (peer->read + peer->buffer > edge)
            send_segment(peer, peer->nxt, 0, 0); /* the window has opened */
        try_send(peer);
    }
    if (peer->rto_at <= w.now)
        on_rto(peer);
}

static struct wire_packet *first_packet(void)
{
    struct wire_packet *first = NULL;

    for (size_t i = 0, seen = 0; seen < w.n_wire; i++) {
        if (!w.wire[i].used)
            continue;
        seen++;
        if (first == NULL || w.wire[i].at < first->at ||
            (w.wire[i].at == first->at && w.wire[i].number < first->number))
            first = &w.wire[i];
    }
    return first;
}

static void arrive(struct wire_packet *packet)
{
    uint8_t bytes[PACKET_MAX];

    memcpy(bytes, packet->bytes, packet->len);
    packet->used = false;
    w.n_wire--;
    if (packet->to_box)
        box(bytes, packet->len, packet->side);
    else
        take_packet(&w.peers[packet->side], bytes, packet->len);
}

/* Whatever comes next. False: nothing does. */
static bool step(void)
{
    struct wire_packet *packet = first_packet();
    uint64_t at[4] = {packet == NULL ? NEVER : packet->at, peer_next(&w.peers[0]),
                      peer_next(&w.peers[1]), w.flow == NULL ? NEVER : fk_flow_deadline(w.flow)};
    size_t first = 0;

    for (size_t i = 1; i < 4; i++)
        if (at[i] < at[first])
            first = i;
    if (at[first] == NEVER || at[first] > TIME_MAX)
        return false;
    w.now = at[first] > w.now ? at[first] : w.now;
    if (first == 0)
        arrive(packet);
    else if (first == 3)
        box(NULL, 0, FK_INLINE_CLIENT);
    else
        peer_due(&w.peers[first - 1]);
    return true;
}

/* --- a run --- */

static void peer_init(enum fk_inline_side side)
{
    const struct sim_conf *conf = w.conf;
    bool client = side == FK_INLINE_CLIENT;
    struct peer *peer = &w.peers[side];

    memset(peer, 0, sizeof *peer);
    peer->side = side;
    peer->isn = client ? conf->client_isn : conf->server_isn;
    peer->own_mss = client ? conf->client_mss : conf->server_mss;
    peer->buffer = client ? conf->client_window : conf->server_window;
    peer->ssthresh = SIZE_MAX;
    peer->rto_at = peer->delack_at = peer->app_at = NEVER;
}

static void fill(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)pick(256);
}

static void world_init(const struct sim_conf *conf)
{
    struct peer *client = &w.peers[FK_INLINE_CLIENT], *server = &w.peers[FK_INLINE_SERVER];

    memset(&w, 0, offsetof(struct world, up));
    w.n_opened = w.parsed = 0;
    w.sealed = w.client_end = w.told_times[0] = w.told_times[1] = false;
    w.conf = conf;
    w.random = conf->seed * 0x9e3779b97f4a7c15 + 1;
    for (int i = 0; i < 8; i++)
        (void)pick(2);
    w.now = 1000000;
    make_keys(conf->suite, &w.keys);
    assert_ok(fk_record_arena_new(2, &w.arena));
    assert_ok(fk_record_new(w.arena, &w.keys, FK_RECORD_CLIENT, &w.client));
    w.flow_conf = (struct fk_flow_conf){
        .tls = &tls_ops, .tls_arg = &w, .arena = w.arena, .pass_non_tls = true};
    peer_init(FK_INLINE_CLIENT);
    peer_init(FK_INLINE_SERVER);
    fill(w.up, conf->up);
    fill(w.down, conf->down);
    w.hello = 1 + pick(HELLO_MAX);
    w.answer = 1 + pick(conf->client_window < 200 ? 100 : ANSWER_MAX);
    if (conf->plain) {
        w.up[0] = 'G';
        w.sealed = client->closing = true;
        memcpy(client->out, w.up, client->out_len = conf->up);
    } else {
        memset(client->out, FK_CONTENT_HANDSHAKE, client->out_len = w.hello);
    }
    memcpy(server->out, w.down, server->out_len = conf->down);
    server->closing = true;
    client->app_at = server->app_at = w.now;
    client->opened = true;
    client->mss = 536;
}

/* What arrived is the beginning of what was sent, always; all of it, when done. */
static void judge(struct sim_result *ret)
{
    struct peer *client = &w.peers[FK_INLINE_CLIENT], *server = &w.peers[FK_INLINE_SERVER];
    const uint8_t *down = w.conf->plain ? client->in : w.opened;
    size_t n_down = w.conf->plain ? client->next : w.n_opened;

    assert_true(server->next <= w.conf->up && n_down <= w.conf->down);
    assert_memory_equal(server->in, w.up, server->next);
    assert_memory_equal(down, w.down, n_down);
    ret->reset = client->reset || server->reset;
    ret->done = !ret->reset && client->fin_seen && client->next == client->fin_at &&
                server->fin_seen && server->next == server->fin_at && server->next == w.conf->up &&
                n_down == w.conf->down;
    ret->time = w.now;
    memcpy(ret->counters, w.counters, sizeof ret->counters);
}

void sim_run(const struct sim_conf *conf, struct sim_result *ret)
{
    world_init(conf);
    send_syn(&w.peers[FK_INLINE_CLIENT]);
    while (step())
        if (w.flow != NULL && fk_flow_state(w.flow) == FK_FLOW_GONE)
            break;
    judge(ret);
    for (size_t i = 0; i < WIRE_MAX && w.n_wire > 0; i++) {
        w.n_wire -= w.wire[i].used;
        w.wire[i].used = false;
    }
    fk_flow_free(w.flow);
    fk_record_free(w.client);
    fk_arena_free(w.arena);
}

/* --- choosing --- */

void sim_choose(uint64_t seed, struct sim_conf *ret)
{
    static const uint32_t suites[] = {0x1301, 0x1303, 0xc02f, 0xcca8};
    static const unsigned rates[] = {0, 0, 5, 20, 100};

    w.random = seed * 0xda942042e4dd58b5 + 99;
    for (int i = 0; i < 8; i++)
        (void)pick(2);
    *ret = (struct sim_conf){
        .seed = seed,
        .suite = suites[pick(4)],
        .loss = rates[pick(5)],
        .again = rates[pick(5)],
        .reorder = rates[pick(5)] * 2,
        .up = pick(pick(4) == 0 ? 60000 : 4000) + 1,
        .down = pick(pick(4) == 0 ? 60000 : 4000) + 1,
        .client_isn = pick(2) == 0 ? 0u - pick(20000) : pick(UINT32_MAX),
        .server_isn = pick(2) == 0 ? 0u - pick(20000) : pick(UINT32_MAX),
        .client_mss = (uint16_t)(pick(3) == 0 ? 88 + pick(400) : 1460),
        .server_mss = (uint16_t)(pick(3) == 0 ? 88 + pick(400) : 1460),
        .times = pick(2) == 0,
        .sack = pick(2) == 0,
        .scale = pick(2) == 0,
        .v6 = pick(2) == 0,
        .plain = pick(10) == 0,
        .slow_read = pick(4) == 0,
        .rewrites = pick(4) == 0,
        .damage = pick(8) == 0 ? 1 + pick(60000) : 0,
    };
    ret->client_window = pick(3) == 0 ? 1 + pick(3000) : 65535;
    ret->server_window = pick(3) == 0 ? 1 + pick(3000) : 65535;
    if (ret->scale) { /* less than a unit could not be said */
        ret->client_window |= 16;
        ret->server_window |= 16;
    }
    if (ret->client_window <= 3000) /* small records: much overhead */
        ret->down = 1 + ret->down % 5000;
    if (ret->client_window < 200 || ret->server_window < 200) {
        ret->slow_read = false;
        ret->up = 1 + ret->up % 100;
        ret->down = 1 + ret->down % 100;
    }
    if (pick(10) == 0) {
        ret->tiny = true;
        ret->rewrites = false;
        ret->up = 1 + ret->up % 400;
        ret->down = 1 + ret->down % 400;
    }
}
