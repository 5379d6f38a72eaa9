/* inline/box: which frames pass, whose a segment is, bounds and time of the flow table. */
#include "boxworld.h"
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#include <malloc.h>

#define SYN     FK_TCP_SYN
#define ACK     FK_TCP_ACK
#define FIN     FK_TCP_FIN
#define RST     FK_TCP_RST
#define CLIENT  FK_INLINE_CLIENT
#define SERVER  FK_INLINE_SERVER
#define SECONDS UINT64_C(1000000)

static struct box_world *const w = &box_world;

static void assert_came(size_t i, enum fk_inline_side to, uint16_t flags)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    assert_int_equal(box_packet(i, &ip, &tcp), to);
    assert_int_equal(tcp.flags, flags);
}

/* The client says something in a record; the server is given the content. */
static void assert_serves(uint16_t client, uint32_t seq)
{
    uint8_t bytes[400];
    struct fk_ip ip;
    struct fk_tcp tcp;
    size_t len = box_record("GET", 3, bytes, sizeof bytes);

    (void)box_say((struct box_says){
        .client = client, .seq = seq, .ack = BOX_ANSWER, .flags = ACK, .bytes = bytes, .len = len});
    assert_int_equal(box_packet(0, &ip, &tcp), SERVER);
    assert_int_equal(tcp.payload.left, 3);
    assert_memory_equal(tcp.payload.next, "GET", 3);
}

/* --- what passes, what is dropped --- */

static void other_ports_and_protocols_pass(void **state)
{
    static uint8_t bytes[BOX_ARRIVED];
    struct fk_box_frame frame;

    (void)state;
    box_begin(4, 4);
    for (int v6 = 0; v6 < 2; v6++) {
        struct box_says says = {.client = 1000, .server = 80, .flags = SYN, .v6 = v6};

        assert_int_equal(box_say(says), FK_BOX_PASS);
        says.from = SERVER;
        says.flags = RST;
        assert_int_equal(box_say(says), FK_BOX_PASS);
    }
    box_build(&(struct box_says){.client = 1000, .flags = SYN}, bytes, &frame);
    bytes[9] = 17;                /* UDP */
    assert_true(bytes[11] >= 11); /* the header's sum, without a borrow */
    bytes[11] = (uint8_t)(bytes[11] - 11);
    assert_int_equal(box_take(&frame), FK_BOX_PASS);
    frame.link.bytes[13] = 6; /* ARP */
    assert_int_equal(box_take(&frame), FK_BOX_PASS);
    assert_int_equal(box_came(), 0);
    assert_int_equal(fk_box_flows(w->box), 0);
    box_end();
}

static void each_protected_port_and_both_versions_open(void **state)
{
    (void)state;
    box_begin(4, 4);
    for (unsigned i = 0; i < 4; i++) {
        struct box_says says = {
            .client = 1000, .server = i < 2 ? 443 : 8443, .flags = SYN, .v6 = i % 2 == 1};

        assert_int_equal(box_say(says), FK_BOX_DONE);
        assert_int_equal(box_came(), 1);
        assert_came(0, SERVER, SYN);
    }
    assert_int_equal(fk_box_flows(w->box), 4);
    assert_int_equal(box_count(FK_BOX_N_FLOWS), 4);
    box_end();
}

static void a_frame_cut_short_is_dropped(void **state)
{
    static uint8_t bytes[BOX_ARRIVED];
    struct fk_box_frame frame;
    size_t len;

    (void)state;
    box_begin(4, 4);
    for (int v6 = 0; v6 < 2; v6++) {
        box_build(&(struct box_says){.client = 1000, .flags = SYN, .v6 = v6}, bytes, &frame);
        len = frame.len;
        for (frame.len = 0; frame.len < len; frame.len++)
            assert_int_equal(box_take(&frame), FK_BOX_DONE);
        assert_int_equal(fk_box_flows(w->box), v6);
        assert_int_equal(box_take(&frame), FK_BOX_DONE);
        assert_int_equal(fk_box_flows(w->box), v6 + 1);
        assert_int_equal(box_count(FK_BOX_N_MALFORMED), len + (v6 != 0) * (len - 20));
    }
    box_end();
}

/* One byte of a good frame is changed: what counts it. */
static void a_bad_frame_is_dropped_and_named(void **state)
{
    static const struct {
        size_t at;
        uint8_t bits;
        enum fk_box_counter counter;
    } changes[] = {
        {0, 0x70, FK_BOX_N_MALFORMED},  /* version 3 */
        {8, 0x01, FK_BOX_N_MALFORMED},  /* IPv4's sum */
        {32, 0xc0, FK_BOX_N_MALFORMED}, /* an offset outside of the segment */
        {24, 0x01, FK_BOX_N_BAD_SUM},   /* the sequence number */
        {36, 0x01, FK_BOX_N_BAD_SUM},   /* the sum itself */
    };
    static uint8_t bytes[BOX_ARRIVED];
    struct fk_box_frame frame;

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        box_begin(4, 4);
        box_build(&(struct box_says){.client = 1000, .flags = SYN}, bytes, &frame);
        bytes[changes[i].at] ^= changes[i].bits;
        assert_int_equal(box_take(&frame), FK_BOX_DONE);
        assert_int_equal(box_came(), 0);
        assert_int_equal(box_count(changes[i].counter), 1);
        frame.sum_ok = true; /* a device says that it has looked */
        (void)box_take(&frame);
        assert_int_equal(fk_box_flows(w->box), changes[i].counter == FK_BOX_N_BAD_SUM);
        box_end();
    }
}

static void pieces_of_segments_are_dropped(void **state)
{
    static uint8_t bytes[BOX_ARRIVED];
    struct fk_box_frame frame;

    (void)state;
    box_begin(4, 4);
    box_build(&(struct box_says){.client = 1000, .flags = SYN}, bytes, &frame);
    assert_int_equal(bytes[6] | bytes[7], 0);
    bytes[6] = 0x20; /* more fragments */
    bytes[10] = (uint8_t)(bytes[10] - 0x20);
    assert_int_equal(box_take(&frame), FK_BOX_DONE);
    assert_int_equal(box_count(FK_BOX_N_FRAGMENTS), 1);
    assert_int_equal(fk_box_flows(w->box), 0);
    box_end();
}

static void what_belongs_to_no_flow_is_reset(void **state)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    (void)state;
    box_begin(4, 4);
    assert_int_equal(box_say((struct box_says){.client = 1000, .ack = 7, .flags = ACK}),
                     FK_BOX_DONE);
    assert_int_equal(box_came(), 1);
    assert_int_equal(box_packet(0, &ip, &tcp), CLIENT);
    assert_int_equal(tcp.flags, RST);
    assert_int_equal(tcp.seq, BOX_SISN + 1 + 7); /* where the client thinks the server is */
    (void)box_say((struct box_says){.from = SERVER, .client = 1000, .flags = SYN | ACK});
    assert_came(0, SERVER, RST);
    (void)box_say((struct box_says){.client = 1000, .flags = RST});
    assert_int_equal(box_came(), 0);
    assert_int_equal(box_count(FK_BOX_N_UNKNOWN), 3);
    assert_int_equal(fk_box_flows(w->box), 0);
    box_end();
}

static void signed_segments_pass_as_they_are(void **state)
{
    struct box_says says = {.client = 1000, .flags = SYN, .md5 = true};

    (void)state;
    box_begin(4, 4);
    assert_int_equal(box_say(says), FK_BOX_PASS);
    says.from = SERVER;
    says.flags = SYN | ACK;
    assert_int_equal(box_say(says), FK_BOX_PASS);
    assert_int_equal(box_count(FK_BOX_N_BYPASSED), 1);
    assert_null(fk_box_next(w->box, NULL));
    box_pass_time(w->now + FK_BOX_BYPASS_US - SECONDS);
    says.from = CLIENT;
    says.flags = ACK;
    assert_int_equal(box_say(says), FK_BOX_PASS); /* each one is a reason to go on */
    box_pass_time(w->now + FK_BOX_BYPASS_US - SECONDS);
    assert_int_equal(fk_box_flows(w->box), 1);
    box_pass_time(w->now + 2 * SECONDS);
    assert_int_equal(fk_box_flows(w->box), 0);
    box_end();
}

/* --- whose it is --- */

static void tags_tell_flows_apart(void **state)
{
    struct box_says says = {.client = 1000, .flags = SYN, .vlan = 5};
    const struct fk_link *link;

    (void)state;
    box_begin(4, 4);
    (void)box_say(says);
    assert_non_null(fk_box_packet(w->box, 0, &link));
    assert_int_equal(link->len, FK_LINK_MAX);
    assert_int_equal(link->bytes[15], 5);
    says.vlan = 6;
    (void)box_say(says);
    says.vlan = 0;
    (void)box_say(says);
    assert_int_equal(fk_box_flows(w->box), 3);
    says = (struct box_says){.from = SERVER, .client = 1000, .flags = SYN | ACK, .vlan = 7};
    (void)box_say(says);
    assert_int_equal(box_count(FK_BOX_N_UNKNOWN), 1);
    box_end();
}

static void flows_are_walked(void **state)
{
    struct fk_flow *flow = NULL;
    unsigned ports = 0;

    (void)state;
    box_begin(8, 8);
    for (uint16_t port = 1; port <= 4; port *= 2)
        (void)box_say((struct box_says){.client = port, .flags = SYN});
    while ((flow = fk_box_next(w->box, flow)) != NULL)
        ports += fk_flow_port(flow, CLIENT);
    assert_int_equal(ports, 7);
    box_end();
}

/* A port comes again: after the end at once, before it not. */
static void a_port_comes_again(void **state)
{
    (void)state;
    box_begin(4, 4);
    box_secure(1000);
    (void)box_say((struct box_says){.client = 1000, .flags = SYN, .seq = 77777});
    assert_came(0, CLIENT, ACK); /* RFC 5961 section 4 */
    assert_int_equal(box_count(FK_BOX_N_FLOWS), 1);
    (void)box_say((struct box_says){.from = SERVER, .client = 1000, .flags = RST});
    assert_int_equal(fk_box_busy(w->box), 0);
    (void)box_say((struct box_says){.client = 1000, .flags = SYN, .seq = 77777});
    assert_came(0, SERVER, SYN);
    assert_int_equal(box_count(FK_BOX_N_FLOWS), 2);
    /* Another SYN where nobody has answered the first. */
    (void)box_say((struct box_says){.client = 1000, .flags = SYN, .seq = 88888});
    assert_int_equal(box_count(FK_BOX_N_FLOWS), 3);
    assert_int_equal(fk_box_flows(w->box), 1);
    box_end();
}

/* --- bounds --- */

static void more_flows_than_there_may_be_wait(void **state)
{
    (void)state;
    box_begin(3, 3);
    for (uint16_t port = 1; port <= 3; port++)
        box_open(port);
    assert_int_equal(box_say((struct box_says){.client = 4, .flags = SYN}), FK_BOX_DONE);
    assert_int_equal(box_came(), 0); /* dropped: it will be sent again */
    assert_int_equal(box_count(FK_BOX_N_FLOWS_FULL), 1);
    (void)box_say((struct box_says){.from = SERVER, .client = 2, .flags = RST});
    box_pass_time(w->now + FK_FLOW_LINGER_US + SECONDS);
    (void)box_say((struct box_says){.client = 4, .flags = SYN});
    assert_came(0, SERVER, SYN);
    box_end();
}

static void a_flood_of_syns_displaces_its_own_kind(void **state)
{
    (void)state;
    box_begin(100, 8);
    box_secure(1);
    for (uint16_t port = 1000; port < 11000; port++) {
        (void)box_say((struct box_says){.client = port, .flags = SYN});
        assert_came(0, SERVER, SYN);
        assert_true(fk_box_flows(w->box) <= 9);
    }
    assert_int_equal(box_count(FK_BOX_N_HALF_OPEN_FULL), 10000 - 8);
    assert_int_equal(box_count(FK_BOX_N_FLOWS_FULL), 0);
    assert_serves(1, 7);
    /* The newest are there yet, the oldest are not. */
    (void)box_say((struct box_says){.from = SERVER, .client = 10999, .flags = SYN | ACK});
    assert_came(0, CLIENT, SYN | ACK);
    (void)box_say((struct box_says){.from = SERVER, .client = 1000, .flags = SYN | ACK});
    assert_came(0, SERVER, RST);
    box_end();
}

/* Also when it is the table that is full; those who were answered stay. */
static void a_full_table_forgets_who_was_not_answered(void **state)
{
    (void)state;
    box_begin(3, 3);
    box_secure(1);
    box_open(2);
    for (uint16_t port = 10; port < 20; port++)
        (void)box_say((struct box_says){.client = port, .flags = SYN});
    assert_int_equal(fk_box_flows(w->box), 3);
    assert_int_equal(box_count(FK_BOX_N_HALF_OPEN_FULL), 9);
    assert_serves(1, 7);
    box_end();
}

static void a_full_outbox_says_so_in_time(void **state)
{
    static uint8_t bytes[BOX_ARRIVED];
    struct fk_box_frame frame;
    size_t n = 0;

    (void)state;
    box_begin(4, 4);
    box_build(&(struct box_says){.client = 1000, .flags = ACK}, bytes, &frame);
    for (; !fk_box_is_full(w->box); n++)
        (void)fk_box_frame(w->box, &frame, w->now);
    assert_true(n > 100);
    assert_int_equal(box_came(), n);
    assert_int_equal(fk_box_dropped(w->box), 0);
    for (; n <= FK_BOX_PACKETS; n++)
        (void)fk_box_frame(w->box, &frame, w->now);
    assert_int_equal(fk_box_dropped(w->box), 1);
    fk_box_sent(w->box);
    assert_false(fk_box_is_full(w->box));
    box_end();
}

/* --- time --- */

static void who_is_not_answered_is_forgotten(void **state)
{
    (void)state;
    box_begin(4, 4);
    assert_true(fk_box_deadline(w->box) == UINT64_MAX);
    (void)box_say((struct box_says){.client = 1000, .flags = SYN});
    box_pass_time(w->now + FK_FLOW_OPENING_US - SECONDS);
    assert_int_equal(fk_box_flows(w->box), 1);
    box_pass_time(w->now + 2 * SECONDS);
    assert_int_equal(fk_box_flows(w->box), 0);
    assert_true(fk_box_deadline(w->box) == UINT64_MAX);
    box_end();
}

static void who_never_speaks_is_reset(void **state)
{
    (void)state;
    box_begin(4, 4);
    box_open(1000);
    box_pass_time(w->now + FK_FLOW_HANDSHAKE_US - SECONDS);
    assert_int_equal(fk_box_busy(w->box), 1);
    fk_box_sent(w->box);
    while (fk_box_busy(w->box) == 1) {
        w->now = fk_box_deadline(w->box);
        fk_box_expire(w->box, w->now);
    }
    assert_came(0, CLIENT, RST | ACK);
    assert_came(1, SERVER, RST | ACK);
    assert_int_equal(box_flow_count(FK_FLOW_N_TIMEOUTS), 1);
    box_pass_time(w->now + FK_FLOW_LINGER_US + SECONDS);
    assert_int_equal(fk_box_flows(w->box), 0);
    box_end();
}

/* When the box says that it is due, it is: whoever keeps its time would turn in circles else. */
static void a_deadline_that_has_come_does_something(void **state)
{
    unsigned turns = 0;

    (void)state;
    box_begin(300, 300);
    for (uint16_t port = 1; port <= 300; port++) {
        box_open(port);
        w->now += 777;
    }
    while (fk_box_flows(w->box) > 0) {
        uint64_t due = fk_box_deadline(w->box);

        assert_true(due > w->now);
        w->now = due;
        fk_box_sent(w->box);
        fk_box_expire(w->box, w->now);
        turns++;
    }
    assert_true(turns < 3000);
    assert_int_equal(box_flow_count(FK_FLOW_N_RESETS), 300);
    box_end();
}

/* More that is due at once than there is room for: the rest is next, not lost. */
static void many_due_at_once(void **state)
{
    (void)state;
    box_begin(2000, 2000);
    for (uint16_t port = 1; port <= 2000; port++)
        box_open(port);
    box_pass_time(w->now + FK_FLOW_HANDSHAKE_US + SECONDS);
    assert_int_equal(fk_box_busy(w->box), 0);
    assert_int_equal(box_flow_count(FK_FLOW_N_RESETS), 2000);
    assert_int_equal(fk_box_dropped(w->box), 0);
    box_end();
}

/* --- operation --- */

static void a_handshake_that_waits_is_woken(void **state)
{
    (void)state;
    box_begin(4, 4);
    w->waits = true;
    box_open(1000);
    (void)box_say((struct box_says){
        .client = 1000, .flags = ACK, .bytes = BOX_HELLO, .len = sizeof BOX_HELLO - 1});
    w->waits = false;
    fk_box_sent(w->box);
    fk_box_wake(w->box, w->waiting, w->now);
    assert_came(0, CLIENT, ACK | FK_TCP_PSH);
    (void)box_say((struct box_says){.client = 1000, .seq = 7, .ack = BOX_ANSWER, .flags = ACK});
    assert_serves(1000, 7);
    box_end();
}

static void what_is_not_tls(void **state)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        box_begin(4, 4);
        w->conf.flow.pass_non_tls = pass;
        fk_box_configure(w->box, &w->conf);
        box_open(1000);
        (void)box_say((struct box_says){.client = 1000, .flags = ACK, .bytes = "GET", .len = 3});
        assert_int_equal(box_flow_count(FK_FLOW_N_NOT_TLS), 1);
        assert_int_equal(box_packet(0, &ip, &tcp), pass ? SERVER : CLIENT);
        if (pass)
            assert_memory_equal(tcp.payload.next, "GET", 3);
        else
            assert_came(1, SERVER, RST | ACK);
        assert_int_equal(fk_box_busy(w->box), pass);
        box_end();
    }
}

/* Ports that are no longer protected: who has begun goes on, or ciphertext would pass. */
static void a_reload_with_other_ports(void **state)
{
    (void)state;
    box_begin(4, 4);
    box_secure(1000);
    w->ports[0] = 444;
    fk_box_configure(w->box, &w->conf);
    assert_serves(1000, 7);
    assert_int_equal(box_say((struct box_says){.client = 2000, .flags = SYN}), FK_BOX_PASS);
    (void)box_say((struct box_says){.client = 2000, .server = 444, .flags = SYN});
    assert_came(0, SERVER, SYN);
    box_end();
}

static void draining(void **state)
{
    (void)state;
    box_begin(4, 4);
    box_secure(1000);
    fk_box_drain(w->box);
    assert_int_equal(box_say((struct box_says){.client = 2000, .flags = SYN}), FK_BOX_DONE);
    assert_int_equal(box_came(), 0);
    assert_int_equal(box_count(FK_BOX_N_WAITING), 1);
    assert_serves(1000, 7);
    assert_int_equal(fk_box_busy(w->box), 1);
    (void)box_say((struct box_says){.client = 1000, .seq = 32, .ack = BOX_ANSWER, .flags = RST});
    assert_int_equal(fk_box_busy(w->box), 0);
    box_end();
}

/* --- routers --- */

/* A router on one side says that the link behind it takes `mtu` bytes, and not the segment with
 * this sequence number, which was sent there. */
static void build_message(enum fk_inline_side from, uint16_t client, uint32_t seq, uint32_t mtu,
                          uint8_t bytes[100], struct fk_box_frame *ret)
{
    uint8_t *message = bytes + FK_IP4_HEADER;
    bool up = from == SERVER; /* the way of what was too big */
    struct fk_ip ip = {.version = 4, .protocol = FK_IP_TCP, .hops = 60};
    struct fk_icmp_too_big too_big = {.mtu = mtu, .seq = seq, .seq_at = 8 + FK_IP4_HEADER + 4};
    struct fk_writer writer;
    size_t len;

    ip.src[0] = up ? 10 : 20;
    ip.dst[0] = up ? 20 : 10;
    fk_writer_init(&writer, message + 8, 100 - FK_IP4_HEADER - 8);
    fk_ip_build(&ip, 1000, &writer);
    fk_writer_u16(&writer, up ? client : 443);
    fk_writer_u16(&writer, up ? 443 : client);
    message[0] = 3;
    message[1] = 4;
    ip = (struct fk_ip){.version = 4, .protocol = FK_IP_ICMP, .hops = 60, .src = {30}};
    ip.dst[0] = up ? 10 : 20;
    fk_writer_init(&writer, bytes, FK_IP4_HEADER);
    fk_ip_build(&ip, 100 - FK_IP4_HEADER, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    fk_icmp_too_big_rewrite(&ip, &too_big, message, 100 - FK_IP4_HEADER);
    *ret = (struct fk_box_frame){.from = from, .packet = bytes, .len = 100};
    memset(ret->link.bytes, 'r', 12);
    memcpy(ret->link.bytes + 12, "\x08\x00", 2);
    ret->link.len = 14;
}

static enum fk_box_verdict router_says(enum fk_inline_side from, uint16_t client, uint32_t seq,
                                       uint32_t mtu)
{
    struct fk_box_frame frame;
    uint8_t bytes[100] = {0};

    build_message(from, client, seq, mtu, bytes, &frame);
    fk_box_sent(w->box);
    return fk_box_told(w->box, &frame, w->now);
}

/* The i-th packet is a router's message to `to`: in whose numbers, of what mtu. */
static void assert_told(size_t i, enum fk_inline_side to, uint32_t seq, uint32_t mtu)
{
    const struct fk_link *link;
    const struct fk_outbox_packet *packet = fk_box_packet(w->box, i, &link);
    struct fk_icmp_too_big too_big;
    struct fk_ip ip;

    assert_non_null(packet);
    assert_int_equal(packet->to, to);
    assert_int_equal(link->bytes[0], to == SERVER ? 's' : 'c');
    assert_ok(fk_ip_parse(packet->bytes, packet->len, &ip));
    assert_int_equal(ip.src[0], 30);
    assert_ok(fk_icmp_too_big_parse(&ip, &too_big));
    assert_int_equal(too_big.seq, seq);
    assert_int_equal(too_big.mtu, mtu);
}

static void assert_segment(size_t i, enum fk_inline_side to, uint32_t seq, size_t len)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    assert_int_equal(box_packet(i, &ip, &tcp), to);
    assert_int_equal(tcp.seq, seq);
    assert_int_equal(tcp.payload.left, len);
}

/* Down, where records add to what the server sends. */
static void too_big_for_the_client(void **state)
{
    static const uint8_t page[1400];
    const uint32_t down = BOX_SISN + 1 + BOX_ANSWER;

    (void)state;
    box_begin(4, 4);
    box_secure(1000);
    (void)box_say((struct box_says){
        .from = SERVER, .client = 1000, .ack = 0, .flags = ACK, .bytes = page, .len = 1400});
    assert_segment(0, CLIENT, down, 1422);
    assert_int_equal(router_says(CLIENT, 1000, down, 1000), FK_BOX_DONE);
    assert_segment(0, CLIENT, down, 960);
    assert_told(1, SERVER, BOX_SISN + 1, 1000 - 29);
    /* Another message about the same: the source hears it, but nothing is sent once more. */
    (void)router_says(CLIENT, 1000, down + 965, 1000);
    assert_told(0, SERVER, BOX_SISN + 1 + 960, 1000 - 29);
    assert_int_equal(box_came(), 1);
    (void)box_say(
        (struct box_says){.client = 1000, .seq = 7, .ack = BOX_ANSWER + 960, .flags = ACK});
    (void)box_say((struct box_says){.from = SERVER,
                                    .client = 1000,
                                    .seq = 1400,
                                    .ack = 0,
                                    .flags = ACK,
                                    .bytes = page,
                                    .len = 1400});
    assert_segment(0, CLIENT, down + 1422, 960);
    assert_int_equal(box_count(FK_BOX_N_TOO_BIG), 2);
    box_end();
}

/* Up; and no smaller than there is a reason for. */
static void too_big_for_the_server(void **state)
{
    static const uint8_t data[1400];
    static uint8_t bytes[1600];
    const uint32_t up = BOX_ISN + 1;
    size_t len;

    (void)state;
    box_begin(4, 4);
    box_secure(1000);
    len = box_record(data, sizeof data, bytes, sizeof bytes);
    (void)box_say((struct box_says){
        .client = 1000, .seq = 7, .ack = BOX_ANSWER, .flags = ACK, .bytes = bytes, .len = len});
    assert_segment(0, SERVER, up, 1400);
    assert_int_equal(router_says(SERVER, 1000, up, 100), FK_BOX_DONE);
    assert_segment(0, SERVER, up, FK_FLOW_MTU4_MIN - 40);
    assert_told(1, CLIENT, BOX_ISN + 1 + 7 + 5, FK_FLOW_MTU4_MIN); /* behind the record's head */
    box_end();
}

/* Whoever does not know what is under way makes nothing small. */
static void too_big_about_nothing(void **state)
{
    static const uint8_t page[1400];
    const uint32_t down = BOX_SISN + 1 + BOX_ANSWER;

    (void)state;
    box_begin(4, 4);
    assert_int_equal(router_says(CLIENT, 1000, down, 1000), FK_BOX_DONE);
    (void)box_say((struct box_says){.client = 1000, .flags = SYN});
    assert_int_equal(router_says(SERVER, 1000, BOX_ISN, 1000), FK_BOX_DONE);
    assert_int_equal(box_came(), 0);
    box_secure(1000);
    (void)box_say((struct box_says){
        .from = SERVER, .client = 1000, .ack = 0, .flags = ACK, .bytes = page, .len = 1400});
    assert_int_equal(router_says(CLIENT, 1000, down - 1, 1000), FK_BOX_DONE);
    assert_int_equal(router_says(CLIENT, 1000, down + 1422, 1000), FK_BOX_DONE);
    assert_int_equal(box_came(), 0);
    assert_int_equal(router_says(SERVER, 1000, down, 1000), FK_BOX_DONE); /* from nowhere */
    assert_int_equal(box_came(), 0);
    (void)box_say((struct box_says){.from = SERVER, .client = 1000, .seq = 1400, .flags = RST});
    assert_int_equal(router_says(CLIENT, 1000, down, 1000), FK_BOX_DONE);
    assert_int_equal(box_came(), 0);
    box_end();
}

/* Each of several boxes is told; those about other ports pass like any frame, and only there. */
static void whose_messages_pass(void **state)
{
    struct fk_box_frame frame;
    uint8_t bytes[100] = {0};

    (void)state;
    box_begin(4, 4);
    build_message(CLIENT, 1000, 0, 1000, bytes, &frame);
    assert_int_equal(box_take(&frame), FK_BOX_DONE);
    w->ports[0] = 444;
    fk_box_configure(w->box, &w->conf);
    assert_int_equal(fk_box_told(w->box, &frame, w->now), FK_BOX_DONE);
    assert_int_equal(box_take(&frame), FK_BOX_PASS);
    assert_int_equal(box_count(FK_BOX_N_TOO_BIG), 0);
    box_end();
    box_begin(4, 4);
    assert_int_equal(box_say((struct box_says){.client = 1000, .flags = SYN, .md5 = true}),
                     FK_BOX_PASS);
    assert_int_equal(fk_box_told(w->box, &frame, w->now), FK_BOX_PASS);
    assert_int_equal(box_count(FK_BOX_N_TOO_BIG), 1);
    box_end();
}

/* --- memory --- */

/* Bytes that the process has allocated, OpenSSL's among them. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated(void)
{
    if (__sanitizer_get_current_allocated_bytes != NULL)
        return __sanitizer_get_current_allocated_bytes();
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* The server's answer, sealed: so that each direction has been used. */
static void answer(uint16_t client)
{
    static const uint8_t page[1000];

    (void)box_say((struct box_says){.from = SERVER,
                                    .client = client,
                                    .ack = 0,
                                    .flags = ACK,
                                    .bytes = page,
                                    .len = sizeof page});
    (void)box_say((struct box_says){
        .client = client, .seq = 7, .ack = BOX_ANSWER + sizeof page + 22, .flags = ACK});
}

/* As the project says: 8 KiB a flow that is idle, its keys' slot among them. */
static void an_idle_flow_is_small(void **state)
{
    static const uint16_t flows = 2000;
    static const size_t most = 8192;
    size_t before, busy, idle;

    (void)state;
    box_begin(flows, flows);
    before = allocated();
    for (uint16_t port = 1; port <= flows; port++) {
        box_secure(port);
        answer(port);
    }
    assert_int_equal(box_flow_count(FK_FLOW_N_RECORDS_SEALED), flows);
    busy = allocated() - before;
    box_pass_time(w->now + FK_BOX_REST_US + SECONDS);
    idle = allocated() - before;
    assert_int_equal(fk_box_busy(w->box), flows);
    print_message("idle flow: %zu bytes, busy: %zu\n",
                  idle / flows + sizeof(struct fk_session_keys),
                  busy / flows + sizeof(struct fk_session_keys));
    assert_true(idle + flows * sizeof(struct fk_session_keys) <= flows * most);
    assert_true(idle + (size_t)flows * 500 < busy); /* its ciphers' contexts are back */
    box_end();
}

/* And it goes on as if it had not rested. */
static void a_flow_that_has_rested_goes_on(void **state)
{
    (void)state;
    box_begin(4, 4);
    box_secure(1000);
    assert_serves(1000, 7);
    box_pass_time(w->now + 600 * SECONDS);
    assert_serves(1000, 7 + 25);
    box_end();
}

/* Each allocation fails once: the flow is refused or reset, and the next one is served. */
static int serve_one(void *context)
{
    static uint8_t bytes[BOX_ARRIVED];
    uint64_t sealed = box_flow_count(FK_FLOW_N_RECORDS_SEALED);
    uint16_t *port = context;
    int err;

    (void)bytes;
    (*port)++;
    box_secure(*port);
    answer(*port);
    err = box_flow_count(FK_FLOW_N_RECORDS_SEALED) == sealed ? FK_ERR_NOMEM : FK_OK;
    if (err == FK_OK)
        assert_int_equal(fk_box_busy(w->box), 1);
    failmalloc_pause(true);
    (void)box_say((struct box_says){.client = *port, .seq = 7, .ack = 0, .flags = RST});
    box_pass_time(w->now + 2 * FK_FLOW_LINGER_US + FK_FLOW_OPENING_US);
    failmalloc_pause(false);
    assert_int_equal(fk_box_flows(w->box), 0);
    return err;
}

static int make_one(void *context)
{
    struct fk_box *box;
    int err = fk_box_new(&w->conf, 10, &box);

    (void)context;
    if (err == FK_OK)
        fk_box_free(box);
    return err;
}

static void no_memory(void **state)
{
    uint16_t port = 0;

    (void)state;
    box_begin(4, 4);
    assert_int_equal(failmalloc_try(make_one, NULL), 4);
    assert_true(failmalloc_try(serve_one, &port) > 5);
    assert_true(box_count(FK_BOX_N_FLOWS_FULL) >= 2); /* the flow's, and its entry's */
    box_end();
}

UNIT_MAIN(cmocka_unit_test(other_ports_and_protocols_pass),
          cmocka_unit_test(each_protected_port_and_both_versions_open),
          cmocka_unit_test(a_frame_cut_short_is_dropped),
          cmocka_unit_test(a_bad_frame_is_dropped_and_named),
          cmocka_unit_test(pieces_of_segments_are_dropped),
          cmocka_unit_test(what_belongs_to_no_flow_is_reset),
          cmocka_unit_test(signed_segments_pass_as_they_are),
          cmocka_unit_test(tags_tell_flows_apart), cmocka_unit_test(flows_are_walked),
          cmocka_unit_test(a_port_comes_again), cmocka_unit_test(more_flows_than_there_may_be_wait),
          cmocka_unit_test(a_flood_of_syns_displaces_its_own_kind),
          cmocka_unit_test(a_full_table_forgets_who_was_not_answered),
          cmocka_unit_test(a_full_outbox_says_so_in_time),
          cmocka_unit_test(who_is_not_answered_is_forgotten),
          cmocka_unit_test(who_never_speaks_is_reset),
          cmocka_unit_test(a_deadline_that_has_come_does_something),
          cmocka_unit_test(many_due_at_once), cmocka_unit_test(a_handshake_that_waits_is_woken),
          cmocka_unit_test(what_is_not_tls), cmocka_unit_test(a_reload_with_other_ports),
          cmocka_unit_test(draining), cmocka_unit_test(too_big_for_the_client),
          cmocka_unit_test(too_big_for_the_server), cmocka_unit_test(too_big_about_nothing),
          cmocka_unit_test(whose_messages_pass), cmocka_unit_test(an_idle_flow_is_small),
          cmocka_unit_test(a_flow_that_has_rested_goes_on), cmocka_unit_test(no_memory))
