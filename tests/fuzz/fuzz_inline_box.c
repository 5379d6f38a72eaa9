/*
 * inline/box: frames of both sides, raw ones and ones with good headers, of some clients and ports,
 * and time that goes on. What is sent parses, has good sums, and goes between two ends that have
 * spoken; the table keeps its bounds; no byte but an answer to a frame reaches anybody; whoever
 * keeps the box's time gets on.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "inline/box.h"
#include "tls/record.h"

#include <string.h>

#define FLOWS     3
#define HALF_OPEN 2
#define HANDS     10 /* bytes of a handshake */

/* Of a frame's first byte. */
enum {
    FROM_SERVER = 1,
    VERSION_6 = 2,
    TAGGED = 4,
    RAW = 8, /* what follows is a packet as it is */
    VOUCHED = 16,
    LATER = 32, /* whatever is due happens before */
    OTHER_PORT = 64,
    ACROSS = 128, /* the sum is wrong, or the configuration changes before */
};

static struct fk_arena *arena;
static uint8_t packet[FK_IP_PACKET_MAX + 1];

static int tls_new(void *arg, struct fk_flow *flow, void **ret)
{
    (void)arg, (void)flow;
    return (*ret = calloc(1, sizeof(size_t))) == NULL ? FK_ERR_NOMEM : FK_OK;
}

static int tls_step(void *tls, const uint8_t *bytes, size_t len, size_t *ret_used)
{
    size_t *taken = tls;

    (void)bytes;
    *ret_used = len < HANDS - *taken ? len : HANDS - *taken;
    *taken += *ret_used;
    return *taken == HANDS ? FK_OK : FK_ERR_AGAIN;
}

static size_t tls_output(void *tls, uint8_t *out, size_t size)
{
    (void)tls, (void)out, (void)size;
    return 0;
}

static int tls_keys(void *tls, struct fk_session_keys *ret)
{
    static const uint8_t secret[32] = {1};

    (void)tls;
    return fk_session_keys_tls13(fk_suite_find(0x1301), secret, secret, ret);
}

static const struct fk_flow_tls_ops ops = {tls_new, tls_step, tls_output, tls_keys, free};

/* --- what comes out --- */

static void look(struct fk_box *box)
{
    const struct fk_outbox_packet *sent;
    const struct fk_link *link;
    struct fk_ip ip;

    for (size_t i = 0; (sent = fk_box_packet(box, i, &link)) != NULL; i++) {
        CHECK(link->len == 14 || link->len == FK_LINK_MAX);
        CHECK(fk_ip_parse(sent->bytes, sent->len, &ip) == FK_OK);
        if (ip.protocol == FK_IP_TCP) {
            struct fk_tcp tcp;

            CHECK(fk_tcp_verify(&ip) && fk_tcp_parse(ip.payload, &tcp) == FK_OK);
            /* Records that verify there are none of; plaintext passes on one port only. */
            CHECK(sent->to == FK_INLINE_CLIENT || tcp.payload.left == 0);
        }
    }
    CHECK(fk_box_dropped(box) == 0);
    CHECK(fk_box_flows(box) <= FLOWS && fk_box_busy(box) <= fk_box_flows(box));
    fk_box_sent(box);
}

static uint64_t wait(struct fk_box *box, uint64_t now)
{
    uint64_t due = fk_box_deadline(box);

    if (due == UINT64_MAX)
        return now;
    CHECK(due > now);
    fk_box_expire(box, due);
    look(box);
    return due;
}

/* --- what comes in --- */

static void make_link(uint8_t kind, struct fk_link *ret)
{
    memset(ret->bytes, (kind & FROM_SERVER) != 0 ? 's' : 'c', sizeof ret->bytes);
    ret->len = (kind & TAGGED) != 0 ? FK_LINK_MAX : 14;
    memcpy(ret->bytes + ret->len - 2, (kind & VERSION_6) != 0 ? "\x86\xdd" : "\x08\x00", 2);
}

/* A segment with good headers: of which client, flags, numbers near the beginnings, bytes. */
static int make(uint8_t kind, struct fk_reader *input, size_t *ret_len)
{
    bool up = (kind & FROM_SERVER) == 0;
    struct fk_ip ip = {.version = (kind & VERSION_6) != 0 ? 6 : 4, .protocol = FK_IP_TCP};
    struct fk_tcp tcp = {.window = 20000};
    struct fk_writer writer;
    uint16_t seq, ack, server = (kind & OTHER_PORT) != 0 ? 80 : 443;
    uint8_t client, flags, len;
    size_t at;
    int err;

    if ((err = fk_reader_u8(input, &client)) != FK_OK ||
        (err = fk_reader_u8(input, &flags)) != FK_OK ||
        (err = fk_reader_u16(input, &seq)) != FK_OK ||
        (err = fk_reader_u16(input, &ack)) != FK_OK || (err = fk_reader_u8(input, &len)) != FK_OK ||
        (err = fk_reader_take(input, len < input->left ? len : input->left, &tcp.payload)) != FK_OK)
        return err;
    ip.src[0] = up ? 1 : 2;
    ip.dst[0] = up ? 2 : 1;
    tcp.src_port = up ? client : server;
    tcp.dst_port = up ? server : client;
    tcp.flags = flags;
    tcp.seq = 0xffffff00 + seq;
    tcp.ack = 0xffffff00 + ack;
    tcp.options.mss = (flags & FK_TCP_SYN) != 0 ? 500 : 0;
    fk_writer_init(&writer, packet, sizeof packet);
    fk_ip_build(&ip, fk_tcp_header_len(&tcp) + tcp.payload.left, &writer);
    at = writer.len;
    fk_tcp_build(&tcp, &writer);
    fk_writer_bytes(&writer, tcp.payload.next, tcp.payload.left);
    CHECK(fk_writer_end(&writer, ret_len) == FK_OK);
    fk_tcp_seal(&ip, packet + at, *ret_len - at, (kind & ACROSS) != 0);
    return FK_OK;
}

static int make_raw(struct fk_reader *input, size_t *ret_len)
{
    uint16_t len;
    int err;

    if ((err = fk_reader_u16(input, &len)) != FK_OK)
        return err;
    *ret_len = len < input->left ? len : input->left;
    return fk_reader_copy(input, packet, *ret_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = {443, 8443};
    struct fk_box_conf conf = {.flow = {.tls = &ops}, .ports = ports, .n_ports = 2};
    struct fk_box_frame frame = {.packet = packet};
    struct fk_reader input;
    uint64_t now = 1000000;
    struct fk_box *box;
    uint8_t kind;

    if (arena == NULL)
        CHECK(fk_record_arena_new(FLOWS, &arena) == FK_OK);
    conf.flow.arena = arena;
    conf.half_open_max = HALF_OPEN;
    CHECK(fk_box_new(&conf, FLOWS, &box) == FK_OK);
    fk_reader_init(&input, data, size);
    while (fk_reader_u8(&input, &kind) == FK_OK) {
        if ((kind & LATER) != 0)
            now = wait(box, now);
        if (((kind & RAW) != 0 ? make_raw(&input, &frame.len) : make(kind, &input, &frame.len)) !=
            FK_OK)
            break;
        frame.from = (kind & FROM_SERVER) != 0 ? FK_INLINE_SERVER : FK_INLINE_CLIENT;
        frame.sum_ok = (kind & VOUCHED) != 0;
        make_link(kind, &frame.link);
        if ((kind & (RAW | ACROSS)) == (RAW | ACROSS)) {
            conf.n_ports = 3 - conf.n_ports;
            fk_box_configure(box, &conf);
        }
        (void)fk_box_frame(box, &frame, now);
        look(box);
        if ((kind & RAW) != 0)
            (void)fk_box_told(box, &frame, now);
        look(box);
    }
    fk_box_free(box);
    CHECK(fk_arena_used(arena) == 0);
    return 0;
}
