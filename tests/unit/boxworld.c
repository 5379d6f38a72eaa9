/* See boxworld.h. */
#include "boxworld.h"

#include "recordends.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#define HELLO_LEN (sizeof BOX_HELLO - 1)

struct box_world box_world;
static struct box_world *const w = &box_world;

/* --- the back-end that shakes hands --- */

struct tls {
    size_t taken;
    bool given;
};

static int tls_new(void *arg, struct fk_flow *flow, void **ret)
{
    (void)arg;
    w->waiting = flow;
    return (*ret = calloc(1, sizeof(struct tls))) == NULL ? FK_ERR_NOMEM : FK_OK;
}

static int tls_step(void *arg, const uint8_t *bytes, size_t len, size_t *ret_used)
{
    struct tls *tls = arg;
    size_t left = HELLO_LEN - tls->taken;

    (void)bytes;
    *ret_used = len < left ? len : left;
    tls->taken += *ret_used;
    return tls->taken == HELLO_LEN && !w->waits ? FK_OK : FK_ERR_AGAIN;
}

static size_t tls_output(void *arg, uint8_t *out, size_t size)
{
    struct tls *tls = arg;

    if (tls->given || tls->taken < HELLO_LEN || w->waits || size < BOX_ANSWER)
        return 0;
    tls->given = true;
    memset(out, 'a', BOX_ANSWER);
    return BOX_ANSWER;
}

static int tls_keys(void *tls, struct fk_session_keys *ret)
{
    (void)tls;
    *ret = w->keys;
    return FK_OK;
}

static const struct fk_flow_tls_ops ops = {tls_new, tls_step, tls_output, tls_keys, free};

/* --- life --- */

void box_begin(size_t flows, size_t half_open)
{
    memset(w, 0, sizeof *w);
    make_keys(0x1301, &w->keys);
    assert_ok(fk_record_arena_new(flows + 1, &w->arena));
    assert_ok(fk_record_new(w->arena, &w->keys, FK_RECORD_CLIENT, &w->client));
    w->ports[0] = 443;
    w->ports[1] = 8443;
    w->conf = (struct fk_box_conf){.flow = {.tls = &ops, .arena = w->arena},
                                   .ports = w->ports,
                                   .n_ports = 2,
                                   .half_open_max = half_open};
    w->now = 1000000;
    assert_ok(fk_box_new(&w->conf, flows, &w->box));
}

void box_end(void)
{
    fk_box_free(w->box);
    fk_record_free(w->client);
    fk_arena_free(w->arena);
}

/* --- frames --- */

static void build_link(const struct box_says *says, struct fk_link *link)
{
    bool up = says->from == FK_INLINE_CLIENT;
    uint8_t *at = link->bytes;

    memset(at, up ? 's' : 'c', 6);
    memset(at + 6, up ? 'c' : 's', 6);
    link->len = 14;
    if (says->vlan != 0) {
        memcpy(at + 12, "\x81\x00", 2);
        at[14] = (uint8_t)(says->vlan >> 8);
        at[15] = (uint8_t)says->vlan;
        link->len = FK_LINK_MAX;
    }
    memcpy(at + link->len - 2, says->v6 ? "\x86\xdd" : "\x08\x00", 2);
}

static void build_tcp(const struct box_says *says, struct fk_tcp *tcp)
{
    bool up = says->from == FK_INLINE_CLIENT, syn = (says->flags & FK_TCP_SYN) != 0;
    uint16_t server = says->server == 0 ? 443 : says->server;

    *tcp = (struct fk_tcp){.src_port = up ? says->client : server,
                           .dst_port = up ? server : says->client,
                           .seq = (up ? BOX_ISN : BOX_SISN) + !syn + says->seq,
                           .flags = says->flags,
                           .window = 20000};
    if ((says->flags & FK_TCP_ACK) != 0)
        tcp->ack = (up ? BOX_SISN : BOX_ISN) + 1 + says->ack;
    if (syn)
        tcp->options = (struct fk_tcp_options){.mss = 1460, .sack_permitted = true};
    fk_reader_init(&tcp->payload, says->bytes, says->len);
}

/* An option of 18 bytes that fk_tcp_build() never writes goes where the padding of two is. */
static size_t add_md5(uint8_t *packet, size_t header, size_t len, struct fk_ip *ip)
{
    uint8_t *tcp = packet + header;
    struct fk_writer writer;

    assert_true(len - header == (size_t)(tcp[12] >> 4) * 4);
    memset(packet + len, 1, 20);
    packet[len] = 19;
    packet[len + 1] = 18;
    tcp[12] = (uint8_t)(tcp[12] + 0x50);
    tcp[16] = tcp[17] = 0;
    fk_writer_init(&writer, packet, header);
    fk_ip_build(ip, len + 20 - header, &writer);
    fk_tcp_seal(ip, tcp, len + 20 - header, false);
    return len + 20;
}

void box_build(const struct box_says *says, uint8_t *bytes, struct fk_box_frame *ret)
{
    struct fk_ip ip = {.version = says->v6 ? 6 : 4, .protocol = FK_IP_TCP, .hops = 64};
    bool up = says->from == FK_INLINE_CLIENT;
    struct fk_writer writer;
    struct fk_tcp tcp;
    size_t header, segment, len;

    *ret = (struct fk_box_frame){.from = says->from, .packet = bytes};
    build_link(says, &ret->link);
    build_tcp(says, &tcp);
    ip.src[0] = up ? 10 : 20;
    ip.dst[0] = up ? 20 : 10;
    segment = fk_tcp_header_len(&tcp) + says->len;
    fk_writer_init(&writer, bytes, BOX_ARRIVED);
    fk_ip_build(&ip, segment, &writer);
    header = writer.len;
    fk_tcp_build(&tcp, &writer);
    fk_writer_bytes(&writer, says->bytes, says->len);
    assert_ok(fk_writer_end(&writer, &len));
    fk_tcp_seal(&ip, bytes + header, segment, false);
    ret->len = says->md5 ? add_md5(bytes, header, len, &ip) : len;
}

enum fk_box_verdict box_take(const struct fk_box_frame *frame)
{
    fk_box_sent(w->box);
    return fk_box_frame(w->box, frame, w->now);
}

enum fk_box_verdict box_say(struct box_says says)
{
    static uint8_t bytes[BOX_ARRIVED];
    struct fk_box_frame frame;

    box_build(&says, bytes, &frame);
    return box_take(&frame);
}

size_t box_came(void)
{
    const struct fk_link *link;
    size_t n = 0;

    while (fk_box_packet(w->box, n, &link) != NULL)
        n++;
    return n;
}

enum fk_inline_side box_packet(size_t i, struct fk_ip *ret_ip, struct fk_tcp *ret_tcp)
{
    const struct fk_link *link;
    const struct fk_outbox_packet *packet = fk_box_packet(w->box, i, &link);

    assert_non_null(packet);
    assert_ok(fk_ip_parse(packet->bytes, packet->len, ret_ip));
    assert_true(fk_tcp_verify(ret_ip));
    assert_ok(fk_tcp_parse(ret_ip->payload, ret_tcp));
    /* To whom it goes, from whom it seems to come: as that one's own frames have it. */
    assert_int_equal(link->bytes[0], packet->to == FK_INLINE_SERVER ? 's' : 'c');
    assert_int_equal(link->bytes[6], packet->to == FK_INLINE_SERVER ? 'c' : 's');
    return packet->to;
}

uint64_t box_count(enum fk_box_counter counter)
{
    return fk_box_counters(w->box)[counter];
}

uint64_t box_flow_count(enum fk_flow_counter counter)
{
    return fk_box_flow_counters(w->box)[counter];
}

/* --- connections --- */

void box_open(uint16_t client)
{
    (void)box_say((struct box_says){.client = client, .flags = FK_TCP_SYN});
    (void)box_say((struct box_says){
        .from = FK_INLINE_SERVER, .client = client, .flags = FK_TCP_SYN | FK_TCP_ACK});
    (void)box_say((struct box_says){.client = client, .flags = FK_TCP_ACK});
}

void box_secure(uint16_t client)
{
    box_open(client);
    (void)box_say((struct box_says){
        .client = client, .flags = FK_TCP_ACK, .bytes = BOX_HELLO, .len = HELLO_LEN});
    (void)box_say((struct box_says){
        .client = client, .seq = HELLO_LEN, .ack = BOX_ANSWER, .flags = FK_TCP_ACK});
}

size_t box_record(const void *bytes, size_t len, uint8_t *out, size_t size)
{
    const struct iovec piece = {(void *)(uintptr_t)bytes, len};
    size_t sealed;

    assert_ok(fk_record_seal(w->client, &piece, 1, out, size, &sealed));
    return sealed;
}

void box_pass_time(uint64_t until)
{
    uint64_t due;

    while ((due = fk_box_deadline(w->box)) <= until) {
        w->now = due > w->now ? due : w->now + 1;
        fk_box_sent(w->box);
        fk_box_expire(w->box, w->now);
    }
    w->now = until;
}
