/*
 * inline/flow: segments of both sides with any flags, numbers and bytes, in any order, and time
 * that goes on, in each mode. What is sent parses, its checksum is right, and it goes between the
 * two ends; what reaches the server in mode buffered are bytes of records that verified, of which
 * there is none: nothing but the opening, acknowledgements and RST.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "inline/flow.h"
#include "inline/flow_mode.h"
#include "tls/record.h"

#include <string.h>

static uint8_t out_mem[1 << 20];
static struct fk_outbox_packet out_packets[1024];
static uint64_t counters[FK_FLOW_N_COUNT];
static struct fk_arena *arena;

/* Hands are shaken when ten bytes have come. */
static size_t taken;

static int tls_new(void *arg, struct fk_flow *flow, void **ret)
{
    (void)flow;
    taken = 0;
    *ret = arg;
    return FK_OK;
}

static int tls_step(void *tls, const uint8_t *bytes, size_t len, size_t *ret_used)
{
    (void)tls;
    (void)bytes;
    *ret_used = len < 10 - taken ? len : 10 - taken;
    taken += *ret_used;
    return taken == 10 ? FK_OK : FK_ERR_AGAIN;
}

static size_t tls_output(void *tls, uint8_t *out, size_t size)
{
    (void)tls;
    (void)out;
    (void)size;
    return 0;
}

static int tls_keys(void *tls, struct fk_session_keys *ret)
{
    static const uint8_t secret[32] = {1};

    (void)tls;
    return fk_session_keys_tls13(fk_suite_find(0x1301), secret, secret, ret);
}

static void tls_free(void *tls)
{
    (void)tls;
}

static const struct fk_flow_tls_ops ops = {tls_new, tls_step, tls_output, tls_keys, tls_free};

static void look(struct fk_outbox *out, bool early)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    for (size_t i = 0; i < out->n; i++) {
        const struct fk_outbox_packet *packet = &out->packets[i];
        bool up = packet->to == FK_INLINE_SERVER;

        CHECK(fk_ip_parse(packet->bytes, packet->len, &ip) == FK_OK && fk_tcp_verify(&ip));
        CHECK(fk_tcp_parse(ip.payload, &tcp) == FK_OK);
        CHECK(tcp.dst_port == (up ? 443 : 999) && ip.src[0] == (up ? 1 : 2));
        CHECK(!up || tcp.payload.left == 0 || early);
    }
    out->n = out->used = 0;
}

static void make_ip(enum fk_inline_side from, struct fk_ip *ret)
{
    *ret = (struct fk_ip){.version = 4, .protocol = FK_IP_TCP, .hops = 9};
    ret->src[0] = from == FK_INLINE_CLIENT ? 1 : 2;
    ret->dst[0] = from == FK_INLINE_CLIENT ? 2 : 1;
}

/* One segment: who, flags, numbers near where the streams are, options, bytes. */
static int take(struct fk_reader *input, enum fk_inline_side *ret_from, struct fk_tcp *ret)
{
    struct fk_tcp tcp = {.src_port = 999, .dst_port = 443};
    uint8_t flags, kind, len;
    uint16_t seq, ack, times;
    int err;

    if ((err = fk_reader_u8(input, &kind)) != FK_OK ||
        (err = fk_reader_u8(input, &flags)) != FK_OK ||
        (err = fk_reader_u16(input, &seq)) != FK_OK ||
        (err = fk_reader_u16(input, &ack)) != FK_OK ||
        (err = fk_reader_u16(input, &tcp.window)) != FK_OK ||
        (err = fk_reader_u16(input, &times)) != FK_OK || (err = fk_reader_u8(input, &len)) != FK_OK)
        return err;
    *ret_from = (kind & 1) != 0 ? FK_INLINE_SERVER : FK_INLINE_CLIENT;
    if (*ret_from == FK_INLINE_SERVER) {
        tcp.src_port = 443;
        tcp.dst_port = 999;
    }
    tcp.flags = flags;
    tcp.seq = 0xffffff00 + seq;
    tcp.ack = 0xffffff00 + ack;
    tcp.options.mss = (kind & 2) != 0 ? 100 : 1460;
    tcp.options.has_times = (kind & 4) != 0;
    tcp.options.ts_val = times;
    tcp.options.sack_permitted = (kind & 8) != 0;
    tcp.options.has_scale = (kind & 16) != 0;
    tcp.options.scale = 7;
    if ((kind & 32) != 0) {
        tcp.options.n_sacks = 1;
        tcp.options.sacks[0] = (struct fk_seq_range){tcp.ack + 1, tcp.ack + len};
    }
    if ((err = fk_reader_take(input, len < input->left ? len : input->left, &tcp.payload)) != FK_OK)
        return err;
    *ret = tcp;
    return FK_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fk_flow_mode *const modes[] = {&fk_flow_buffered, &fk_flow_streaming,
                                                       &fk_flow_hybrid, &fk_flow_mac_decides};
    static struct fk_flow_conf conf = {.tls = &ops};
    struct fk_outbox out = {
        .mem = out_mem, .size = sizeof out_mem, .packets = out_packets, .max = 1024};
    struct fk_flow *flow = NULL;
    enum fk_inline_side from;
    struct fk_reader input;
    uint64_t now = 1000000;
    struct fk_tcp tcp;
    struct fk_ip ip;

    if (arena == NULL)
        CHECK(fk_record_arena_new(4, &arena) == FK_OK);
    conf.arena = arena;
    conf.tls_arg = &conf;
    conf.mode = modes[size == 0 ? 0 : data[0] >> 6]; /* bits that the first segment does not use */
    fk_reader_init(&input, data, size);
    while (take(&input, &from, &tcp) == FK_OK) {
        if (flow == NULL && from != FK_INLINE_CLIENT)
            continue; /* clients begin */
        make_ip(from, &ip);
        if (flow == NULL && fk_flow_new(&conf, counters, &ip, &tcp, &flow) != FK_OK)
            break;
        fk_flow_packet(flow, from, &ip, &tcp, now, &out);
        look(&out, conf.mode != &fk_flow_buffered);
        now = (tcp.window & 7) == 0 ? fk_flow_deadline(flow) : now + 10;
        fk_flow_expire(flow, now, &out);
        look(&out, conf.mode != &fk_flow_buffered);
        if (fk_flow_state(flow) == FK_FLOW_GONE)
            break;
    }
    fk_flow_free(flow);
    return 0;
}
