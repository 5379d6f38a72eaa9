/* See flowhand.h. */
#include "flowhand.h"

#include "recordends.h"
#include "unit.h"

#include "base/err.h"

struct flow_hand hand;

#define ANSWER "answer"

/* A back-end that takes seven bytes and gives six. */
static int tls_new(void *arg, struct fk_flow *flow, void **ret)
{
    (void)flow;
    *ret = arg;
    return FK_OK;
}

static int tls_step(void *tls, const uint8_t *bytes, size_t len, size_t *ret_used)
{
    (void)tls;
    (void)bytes;
    *ret_used = hand.given == 0 && len >= 7 ? 7 : 0;
    if (*ret_used > 0)
        hand.given = 1;
    return hand.given > 0 && !hand.waits ? FK_OK : FK_ERR_AGAIN;
}

static size_t tls_output(void *tls, uint8_t *out, size_t size)
{
    (void)tls;
    if (hand.given != 1 || hand.waits || size < sizeof ANSWER - 1)
        return 0;
    hand.given = 2;
    memcpy(out, ANSWER, sizeof ANSWER - 1);
    return sizeof ANSWER - 1;
}

static int tls_keys(void *tls, struct fk_session_keys *ret)
{
    (void)tls;
    *ret = hand.keys;
    return FK_OK;
}

static void tls_free(void *tls)
{
    (void)tls;
}

static const struct fk_flow_tls_ops ops = {tls_new, tls_step, tls_output, tls_keys, tls_free};

/* --- packets in and out --- */

void give(enum fk_inline_side from, struct fk_tcp tcp, const void *bytes, size_t len)
{
    struct fk_ip ip = {.version = 4, .protocol = FK_IP_TCP, .hops = 60, .traffic = 3};

    ip.src[0] = from == FK_INLINE_CLIENT ? 10 : 20;
    ip.dst[0] = from == FK_INLINE_CLIENT ? 20 : 10;
    tcp.src_port = from == FK_INLINE_CLIENT ? 40000 : 443;
    tcp.dst_port = from == FK_INLINE_CLIENT ? 443 : 40000;
    if (tcp.window == 0)
        tcp.window = 20000;
    fk_reader_init(&tcp.payload, bytes, len);
    hand.out.n = hand.out.used = 0;
    if (hand.flow == NULL)
        assert_ok(fk_flow_new(&hand.conf, hand.counters, &ip, &tcp, &hand.flow));
    fk_flow_packet(hand.flow, from, &ip, &tcp, hand.now, &hand.out);
}

void client_says(uint32_t seq, uint32_t ack, uint16_t flags, const void *bytes, size_t len)
{
    give(FK_INLINE_CLIENT,
         (struct fk_tcp){.seq = CLIENT_ISN + 1 + seq, .ack = SERVER_ISN + 1 + ack, .flags = flags},
         bytes, len);
}

void server_says(uint32_t seq, uint32_t ack, uint16_t flags, const void *bytes, size_t len)
{
    give(FK_INLINE_SERVER,
         (struct fk_tcp){.seq = SERVER_ISN + 1 + seq, .ack = CLIENT_ISN + 1 + ack, .flags = flags},
         bytes, len);
}

struct fk_tcp came(size_t i, enum fk_inline_side to)
{
    const struct fk_outbox_packet *packet = &hand.packets[i];
    struct fk_ip ip;
    struct fk_tcp tcp;

    assert_true(i < hand.out.n);
    assert_int_equal(packet->to, to);
    assert_ok(fk_ip_parse(packet->bytes, packet->len, &ip));
    assert_int_equal(ip.traffic & 3, 0); /* ECN is not negotiated */
    assert_int_equal(ip.hops, 60);
    if (!packet->partial_sum)
        assert_true(fk_tcp_verify(&ip));
    assert_ok(fk_tcp_parse(ip.payload, &tcp));
    tcp.seq -= (to == FK_INLINE_SERVER ? CLIENT_ISN : SERVER_ISN) + 1;
    tcp.ack -= (to == FK_INLINE_SERVER ? SERVER_ISN : CLIENT_ISN) + 1;
    return tcp;
}

void assert_came(size_t i, enum fk_inline_side to, uint32_t seq, uint32_t ack, uint16_t flags,
                 size_t len)
{
    struct fk_tcp tcp = came(i, to);

    assert_int_equal(tcp.seq, seq);
    assert_int_equal(tcp.ack, ack);
    assert_int_equal(tcp.flags, flags);
    assert_int_equal(tcp.payload.left, len);
}

/* --- a connection, as far as is wanted --- */

void hand_end(void)
{
    fk_flow_free(hand.flow);
    fk_record_free(hand.client);
    hand.flow = NULL;
    hand.client = NULL;
}

void hand_begin_with(uint32_t suite)
{
    struct fk_arena *arena = hand.arena; /* one for all */

    hand_end(); /* what a test that failed has left */
    memset(&hand, 0, offsetof(struct flow_hand, mem));
    hand.arena = arena;
    hand.out = (struct fk_outbox){
        .mem = hand.mem, .size = sizeof hand.mem, .packets = hand.packets, .max = 64};
    make_keys(suite, &hand.keys);
    if (arena == NULL)
        assert_ok(fk_record_arena_new(2, &hand.arena));
    assert_ok(fk_record_new(hand.arena, &hand.keys, FK_RECORD_CLIENT, &hand.client));
    hand.conf = (struct fk_flow_conf){.tls = &ops, .arena = hand.arena};
    hand.now = 1000000;
}

void hand_begin(void)
{
    hand_begin_with(0x1301);
}

void opening(void)
{
    struct fk_tcp syn = {.seq = CLIENT_ISN, .flags = FK_TCP_SYN | FK_TCP_ECE | FK_TCP_CWR};

    syn.options = (struct fk_tcp_options){
        .mss = 1460, .sack_permitted = true, .fast_open = true, .multipath = true};
    give(FK_INLINE_CLIENT, syn, "early", 5);
}

void opened(void)
{
    struct fk_tcp syn = {
        .seq = SERVER_ISN, .ack = CLIENT_ISN + 1, .flags = FK_TCP_SYN | FK_TCP_ACK};

    opening();
    syn.options = (struct fk_tcp_options){.mss = 1400, .sack_permitted = true};
    give(FK_INLINE_SERVER, syn, NULL, 0);
}

void established(void)
{
    opened();
    client_says(0, 0, FK_TCP_ACK, NULL, 0);
}

void secured(void)
{
    established();
    client_says(0, 0, FK_TCP_ACK, "\x16hello!", 7);
    client_says(7, 6, FK_TCP_ACK, NULL, 0);
}

size_t record(const void *bytes, size_t len, uint8_t *out, size_t size)
{
    const struct iovec piece = {(void *)(uintptr_t)bytes, len};
    size_t sealed;

    assert_ok(fk_record_seal(hand.client, &piece, 1, out, size, &sealed));
    return sealed;
}
