/* inline/flow: single packets, one after another, and exactly what becomes of each. */
#include "unit.h"

#include "recordends.h"

#include "base/err.h"
#include "base/limits.h"
#include "inline/flow.h"

#define CLIENT_ISN UINT32_C(1000)
#define SERVER_ISN UINT32_C(5000)
#define ANSWER     "answer"

static struct world {
    struct fk_flow *flow;
    struct fk_flow_conf conf;
    struct fk_arena *arena;
    struct fk_session_keys keys;
    struct fk_record *client;
    uint64_t counters[FK_FLOW_N_COUNT], now;
    struct fk_outbox out;
    struct fk_outbox_packet packets[64];
    uint8_t mem[300000];
    size_t given;
    bool waits; /* the back-end has what it needs but is not done */
} w;

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
    *ret_used = w.given == 0 && len >= 7 ? 7 : 0;
    if (*ret_used > 0)
        w.given = 1;
    return w.given > 0 && !w.waits ? FK_OK : FK_ERR_AGAIN;
}

static size_t tls_output(void *tls, uint8_t *out, size_t size)
{
    (void)tls;
    if (w.given != 1 || w.waits || size < sizeof ANSWER - 1)
        return 0;
    w.given = 2;
    memcpy(out, ANSWER, sizeof ANSWER - 1);
    return sizeof ANSWER - 1;
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

static const struct fk_flow_tls_ops ops = {tls_new, tls_step, tls_output, tls_keys, tls_free};

/* --- packets in and out --- */

static void give(enum fk_inline_side from, struct fk_tcp tcp, const void *bytes, size_t len)
{
    struct fk_ip ip = {.version = 4, .protocol = FK_IP_TCP, .hops = 60, .traffic = 3};

    ip.src[0] = from == FK_INLINE_CLIENT ? 10 : 20;
    ip.dst[0] = from == FK_INLINE_CLIENT ? 20 : 10;
    tcp.src_port = from == FK_INLINE_CLIENT ? 40000 : 443;
    tcp.dst_port = from == FK_INLINE_CLIENT ? 443 : 40000;
    if (tcp.window == 0)
        tcp.window = 20000;
    fk_reader_init(&tcp.payload, bytes, len);
    w.out.n = w.out.used = 0;
    if (w.flow == NULL)
        assert_ok(fk_flow_new(&w.conf, w.counters, &ip, &tcp, &w.flow));
    fk_flow_packet(w.flow, from, &ip, &tcp, w.now, &w.out);
}

static void client_says(uint32_t seq, uint32_t ack, uint16_t flags, const void *bytes, size_t len)
{
    give(FK_INLINE_CLIENT,
         (struct fk_tcp){.seq = CLIENT_ISN + 1 + seq, .ack = SERVER_ISN + 1 + ack, .flags = flags},
         bytes, len);
}

static void server_says(uint32_t seq, uint32_t ack, uint16_t flags, const void *bytes, size_t len)
{
    give(FK_INLINE_SERVER,
         (struct fk_tcp){.seq = SERVER_ISN + 1 + seq, .ack = CLIENT_ISN + 1 + ack, .flags = flags},
         bytes, len);
}

/* The i-th packet that came of it; its numbers from 0 after the SYN. */
static struct fk_tcp came(size_t i, enum fk_inline_side to)
{
    const struct fk_outbox_packet *packet = &w.packets[i];
    struct fk_ip ip;
    struct fk_tcp tcp;

    assert_true(i < w.out.n);
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

static void assert_came(size_t i, enum fk_inline_side to, uint32_t seq, uint32_t ack,
                        uint16_t flags, size_t len)
{
    struct fk_tcp tcp = came(i, to);

    assert_int_equal(tcp.seq, seq);
    assert_int_equal(tcp.ack, ack);
    assert_int_equal(tcp.flags, flags);
    assert_int_equal(tcp.payload.left, len);
}

/* --- a connection, as far as is wanted --- */

static void begin(void)
{
    memset(&w, 0, sizeof w);
    w.out = (struct fk_outbox){.mem = w.mem, .size = sizeof w.mem, .packets = w.packets, .max = 64};
    make_keys(0x1301, &w.keys);
    assert_ok(fk_record_arena_new(2, &w.arena));
    assert_ok(fk_record_new(w.arena, &w.keys, FK_RECORD_CLIENT, &w.client));
    w.conf = (struct fk_flow_conf){.tls = &ops, .arena = w.arena};
    w.now = 1000000;
}

static void end(void)
{
    fk_flow_free(w.flow);
    fk_record_free(w.client);
    fk_arena_free(w.arena);
}

static void opening(void)
{
    struct fk_tcp syn = {.seq = CLIENT_ISN, .flags = FK_TCP_SYN | FK_TCP_ECE | FK_TCP_CWR};

    syn.options = (struct fk_tcp_options){
        .mss = 1460, .sack_permitted = true, .fast_open = true, .multipath = true};
    give(FK_INLINE_CLIENT, syn, "early", 5);
}

static void opened(void)
{
    struct fk_tcp syn = {
        .seq = SERVER_ISN, .ack = CLIENT_ISN + 1, .flags = FK_TCP_SYN | FK_TCP_ACK};

    opening();
    syn.options = (struct fk_tcp_options){.mss = 1400, .sack_permitted = true};
    give(FK_INLINE_SERVER, syn, NULL, 0);
}

static void established(void)
{
    opened();
    client_says(0, 0, FK_TCP_ACK, NULL, 0);
}

/* Seven bytes from the client, six to it. */
static void secured(void)
{
    established();
    client_says(0, 0, FK_TCP_ACK, "\x16hello!", 7);
    client_says(7, 6, FK_TCP_ACK, NULL, 0);
}

static size_t record(const void *bytes, size_t len, uint8_t *out, size_t size)
{
    const struct iovec piece = {(void *)(uintptr_t)bytes, len};
    size_t sealed;

    assert_ok(fk_record_seal(w.client, &piece, 1, out, size, &sealed));
    return sealed;
}

/* --- the opening --- */

static void fact_6_the_opening_is_stripped_and_clamped(void **state)
{
    struct fk_tcp tcp;

    (void)state;
    begin();
    opening();
    assert_int_equal(w.out.n, 1);
    tcp = came(0, FK_INLINE_SERVER);
    assert_int_equal(tcp.flags, FK_TCP_SYN);
    assert_int_equal(tcp.options.mss, 1460 - 29);
    assert_true(tcp.options.sack_permitted);
    assert_false(tcp.options.fast_open || tcp.options.multipath);
    assert_int_equal(tcp.payload.left, 0);
    opened();
    tcp = came(0, FK_INLINE_CLIENT);
    assert_int_equal(tcp.options.mss, 1400);
    assert_int_equal(tcp.window, 20000);
    end();
}

static void fact_6_signed_connections_are_not_taken(void **state)
{
    struct fk_ip ip = {.version = 4};
    struct fk_tcp syn = {.flags = FK_TCP_SYN, .options = {.md5 = true}};
    struct fk_flow *flow = NULL;

    (void)state;
    begin();
    assert_err(fk_flow_new(&w.conf, w.counters, &ip, &syn, &flow), FK_ERR_UNSUPPORTED);
    syn.options = (struct fk_tcp_options){.ao = true};
    assert_err(fk_flow_new(&w.conf, w.counters, &ip, &syn, &flow), FK_ERR_UNSUPPORTED);
    syn = (struct fk_tcp){.flags = FK_TCP_SYN | FK_TCP_ACK};
    assert_err(fk_flow_new(&w.conf, w.counters, &ip, &syn, &flow), FK_ERR_INVAL);
    assert_null(flow);
    end();
}

/* The server may not speak before the client's handshake is done, even if it wants to. */
static void fact_6_the_servers_window_is_shut_until_then(void **state)
{
    struct fk_tcp tcp;

    (void)state;
    begin();
    established();
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK, 0);
    assert_int_equal(came(0, FK_INLINE_SERVER).window, 0);
    server_says(0, 0, FK_TCP_ACK, "220 hi", 6);
    assert_int_equal(w.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK, 0);
    assert_int_equal(came(0, FK_INLINE_SERVER).window, 0);
    client_says(0, 0, FK_TCP_ACK, "\x16hello!", 7);
    assert_came(0, FK_INLINE_CLIENT, 0, 7, FK_TCP_ACK | FK_TCP_PSH, 6);
    assert_int_equal(fk_flow_state(w.flow), FK_FLOW_RECORDS);
    tcp = came(1, FK_INLINE_SERVER);
    assert_true(tcp.window > 10000);
    end();
}

static void a_handshake_that_waits_loses_nothing(void **state)
{
    uint8_t bytes[200];
    size_t len;

    (void)state;
    begin();
    established();
    w.waits = true;
    len = record("GET", 3, bytes, sizeof bytes);
    client_says(0, 0, FK_TCP_ACK, "\x16hello!", 7);
    assert_came(0, FK_INLINE_CLIENT, 0, 7, FK_TCP_ACK, 0);
    client_says(7, 0, FK_TCP_ACK, bytes, len);
    w.waits = false;
    w.out.n = w.out.used = 0;
    fk_flow_wake(w.flow, w.now, &w.out);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_PSH, 3);
    assert_came(1, FK_INLINE_CLIENT, 0, 7 + (uint32_t)len, FK_TCP_ACK | FK_TCP_PSH, 6);
    end();
}

/* --- records --- */

/* Fact 1: what is held is acknowledged when nothing else can be; and not when something can. */
static void fact_1_held_bytes_are_acknowledged(void **state)
{
    static uint8_t data[3000], bytes[8000];
    size_t first, len;

    (void)state;
    begin();
    secured();
    first = record(data, 1000, bytes, sizeof bytes);
    len = first + record(data, 3000, bytes + first, sizeof bytes - first);
    client_says(7, 6, FK_TCP_ACK, bytes, 900);
    assert_int_equal(w.out.n, 1);
    assert_came(0, FK_INLINE_CLIENT, 6, 907, FK_TCP_ACK, 0);
    client_says(907, 6, FK_TCP_ACK, bytes + 900, 900);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_PSH, 1000);
    assert_int_equal(w.out.n, 1); /* now it is the server's turn */
    server_says(0, 1000, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 1807, FK_TCP_ACK, 0);
    client_says(1807, 6, FK_TCP_ACK, bytes + 1800, len - 1800);
    assert_int_equal(w.out.n, 3); /* in segments of the server's size */
    assert_came(0, FK_INLINE_SERVER, 1000, 0, FK_TCP_ACK, 1400);
    assert_came(2, FK_INLINE_SERVER, 3800, 0, FK_TCP_ACK | FK_TCP_PSH, 200);
    end();
}

static void fact_5_the_last_byte_waits_for_the_tag(void **state)
{
    (void)state;
    begin();
    secured();
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 32);
    client_says(7, 37, FK_TCP_ACK, NULL, 0); /* all but the tag's last byte */
    assert_came(0, FK_INLINE_SERVER, 0, 9, FK_TCP_ACK, 0);
    client_says(7, 38, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_SERVER, 0, 10, FK_TCP_ACK, 0);
    end();
}

/* Fact 4: the stored bytes, whatever comes again. */
static void fact_4_the_same_bytes_again(void **state)
{
    uint8_t first[32];

    (void)state;
    begin();
    secured();
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10);
    memcpy(first, came(0, FK_INLINE_CLIENT).payload.next, 32);
    server_says(0, 0, FK_TCP_ACK, "##########", 10);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 32);
    assert_memory_equal(came(0, FK_INLINE_CLIENT).payload.next, first, 32);
    assert_int_equal(w.counters[FK_FLOW_N_RECORDS_SEALED], 1);
    end();
}

/* Fact 7: a KeyUpdate is no data, whatever its record looks like, and is answered. */
static void fact_7_key_updates_do_not_reach_the_server(void **state)
{
    uint8_t bytes[400];
    struct fk_opened event;
    struct fk_tcp tcp;
    uint8_t copy[100];
    size_t len;

    (void)state;
    begin();
    secured();
    assert_ok(fk_record_update_keys(w.client, true));
    assert_ok(fk_record_seal_control(w.client, bytes, &len));
    client_says(7, 6, FK_TCP_ACK, bytes, len);
    tcp = came(0, FK_INLINE_CLIENT);
    assert_int_equal(w.out.n, 1);
    assert_int_equal(tcp.ack, 7 + len);
    assert_true(tcp.payload.left <= sizeof copy);
    memcpy(copy, tcp.payload.next, tcp.payload.left);
    assert_ok(fk_record_open(w.client, copy, tcp.payload.left, &event));
    assert_int_equal(event.event, FK_RECORD_NOTHING);
    end();
}

/* Fact 8: one frame for the device to cut, with the pseudo-header's sum. */
static void fact_8_frames_for_a_device_to_cut(void **state)
{
    static uint8_t data[5000], bytes[8000];
    size_t len;

    (void)state;
    begin();
    w.conf.gso_max = 60000;
    secured();
    len = record(data, 5000, bytes, sizeof bytes);
    client_says(7, 6, FK_TCP_ACK, bytes, len);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_PSH, 5000);
    assert_int_equal(w.packets[0].gso_size, 1400);
    assert_true(w.packets[0].partial_sum);
    len = record(data, 100, bytes, sizeof bytes);
    client_says(7 + 5022, 6, FK_TCP_ACK, bytes, len);
    assert_int_equal(w.packets[0].gso_size, 0);
    assert_false(w.packets[0].partial_sum);
    end();
}

/* --- ends --- */

static void fact_9_close_notify_before_fin(void **state)
{
    struct fk_opened event;
    uint8_t copy[100];
    struct fk_tcp tcp;

    (void)state;
    begin();
    secured();
    server_says(0, 0, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
    tcp = came(0, FK_INLINE_CLIENT);
    assert_int_equal(tcp.flags, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH);
    memcpy(copy, tcp.payload.next, tcp.payload.left);
    assert_ok(fk_record_open(w.client, copy, tcp.payload.left, &event));
    assert_int_equal(event.event, FK_RECORD_END);
    client_says(7, 6 + (uint32_t)tcp.payload.left + 1, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_SERVER, 0, 1, FK_TCP_ACK, 0);
    end();
}

static void fact_9_a_fin_without_close_notify(void **state)
{
    (void)state;
    for (int accept = 0; accept < 2; accept++) {
        begin();
        w.conf.accept_truncation = accept;
        secured();
        client_says(7, 6, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
        if (accept) {
            assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH, 0);
        } else {
            assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_RST, 0);
            assert_came(1, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_RST, 0);
            assert_int_equal(w.counters[FK_FLOW_N_TRUNCATED], 1);
        }
        end();
    }
}

static void fact_9_alert_and_rst_for_a_forged_record(void **state)
{
    uint8_t bytes[200];
    size_t len;

    (void)state;
    begin();
    secured();
    len = record("GET", 3, bytes, sizeof bytes);
    bytes[len - 1] ^= 1;
    client_says(7, 6, FK_TCP_ACK, bytes, len);
    assert_int_equal(w.out.n, 3);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 24); /* the alert */
    assert_came(1, FK_INLINE_CLIENT, 30, 7, FK_TCP_ACK | FK_TCP_RST, 0);
    assert_came(2, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_RST, 0);
    server_says(0, 0, FK_TCP_ACK, "late", 4);
    assert_int_equal(w.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_RST, 0);
    end();
}

/* Fact 6: exactly where the stream is, or it is asked for. */
static void fact_6_rst_exactly(void **state)
{
    (void)state;
    begin();
    secured();
    server_says(10, 0, FK_TCP_ACK | FK_TCP_RST, NULL, 0);
    assert_int_equal(w.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK, 0);
    server_says(0, 0, FK_TCP_ACK | FK_TCP_RST, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_RST, 0);
    assert_int_equal(fk_flow_state(w.flow), FK_FLOW_RESET);
    end();
}

/* Who goes on after its own RST is answered, though nobody has heard of the server yet. */
static void rst_before_the_server_has_answered(void **state)
{
    (void)state;
    begin();
    opening();
    client_says(0, 0, FK_TCP_RST, NULL, 0);
    assert_int_equal(came(0, FK_INLINE_SERVER).flags, FK_TCP_RST);
    assert_int_equal(fk_flow_state(w.flow), FK_FLOW_RESET);
    client_says(0, 77, FK_TCP_ACK, NULL, 0);
    assert_int_equal(came(0, FK_INLINE_CLIENT).seq, 77);
    assert_int_equal(came(0, FK_INLINE_CLIENT).src_port, 443);
    end();
}

/* Fact 6: the other end answers, so that the one who asks learns whether it lives. */
static void fact_6_keep_alives_go_through(void **state)
{
    (void)state;
    begin();
    secured();
    client_says(6, 6, FK_TCP_ACK, "", 1);
    assert_int_equal(w.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, (uint32_t)-1, 0, FK_TCP_ACK, 0);
    server_says(0, 0, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK, 0);
    end();
}

/* Fact 3: through all that was selectively acknowledged; then the box repairs it. */
static void fact_3_no_reneging(void **state)
{
    struct fk_tcp tcp;

    (void)state;
    begin();
    secured();
    server_says(4, 0, FK_TCP_ACK, "4567", 4);
    tcp = came(0, FK_INLINE_SERVER);
    assert_int_equal(tcp.ack, 0);
    assert_int_equal(tcp.options.n_sacks, 1);
    assert_int_equal(tcp.options.sacks[0].start, SERVER_ISN + 1 + 4);
    assert_int_equal(tcp.options.sacks[0].end, SERVER_ISN + 1 + 8);
    server_says(0, 0, FK_TCP_ACK, "0123", 4);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 30);
    assert_came(1, FK_INLINE_SERVER, 0, 8, FK_TCP_ACK, 0);
    w.out.n = w.out.used = 0;
    w.now = fk_flow_deadline(w.flow);
    fk_flow_expire(w.flow, w.now, &w.out);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 30);
    assert_int_equal(w.counters[FK_FLOW_N_RESENT], 1);
    end();
}

/* --- bounds --- */

static void a_full_outbox_loses_packets_and_says_so(void **state)
{
    (void)state;
    begin();
    secured();
    w.out.max = 0;
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10);
    assert_int_equal(w.out.n, 0);
    assert_true(w.out.dropped > 0);
    w.out.max = 64;
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10); /* it sends again, as after any loss */
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 32);
    end();
}

static void every_state_ends_by_time(void **state)
{
    static void (*const until[])(void) = {opening, opened, established, secured};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        begin();
        until[i]();
        for (int n = 0; n < 40 && fk_flow_state(w.flow) != FK_FLOW_GONE; n++) {
            w.now = fk_flow_deadline(w.flow);
            w.out.n = w.out.used = 0;
            fk_flow_expire(w.flow, w.now, &w.out);
        }
        assert_int_equal(fk_flow_state(w.flow), FK_FLOW_GONE);
        end();
    }
}

UNIT_MAIN(cmocka_unit_test(fact_6_the_opening_is_stripped_and_clamped),
          cmocka_unit_test(fact_6_signed_connections_are_not_taken),
          cmocka_unit_test(fact_6_the_servers_window_is_shut_until_then),
          cmocka_unit_test(a_handshake_that_waits_loses_nothing),
          cmocka_unit_test(fact_1_held_bytes_are_acknowledged),
          cmocka_unit_test(fact_3_no_reneging), cmocka_unit_test(fact_4_the_same_bytes_again),
          cmocka_unit_test(fact_5_the_last_byte_waits_for_the_tag),
          cmocka_unit_test(fact_7_key_updates_do_not_reach_the_server),
          cmocka_unit_test(fact_8_frames_for_a_device_to_cut),
          cmocka_unit_test(fact_9_close_notify_before_fin),
          cmocka_unit_test(fact_9_a_fin_without_close_notify),
          cmocka_unit_test(fact_9_alert_and_rst_for_a_forged_record),
          cmocka_unit_test(fact_6_rst_exactly),
          cmocka_unit_test(rst_before_the_server_has_answered),
          cmocka_unit_test(fact_6_keep_alives_go_through),
          cmocka_unit_test(a_full_outbox_loses_packets_and_says_so),
          cmocka_unit_test(every_state_ends_by_time))
