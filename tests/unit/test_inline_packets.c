/* inline/flow: single packets, one after another, and exactly what becomes of each. */
#include "unit.h"

#include "flowhand.h"

#include "base/err.h"

/* --- the opening --- */

static void fact_6_the_opening_is_stripped_and_clamped(void **state)
{
    struct fk_tcp tcp;

    (void)state;
    hand_begin();
    opening();
    assert_int_equal(hand.out.n, 1);
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
    hand_end();
}

static void fact_6_signed_connections_are_not_taken(void **state)
{
    struct fk_ip ip = {.version = 4};
    struct fk_tcp syn = {.flags = FK_TCP_SYN, .options = {.md5 = true}};
    struct fk_flow *flow = NULL;

    (void)state;
    hand_begin();
    assert_err(fk_flow_new(&hand.conf, hand.counters, &ip, &syn, &flow), FK_ERR_UNSUPPORTED);
    syn.options = (struct fk_tcp_options){.ao = true};
    assert_err(fk_flow_new(&hand.conf, hand.counters, &ip, &syn, &flow), FK_ERR_UNSUPPORTED);
    syn = (struct fk_tcp){.flags = FK_TCP_SYN | FK_TCP_ACK};
    assert_err(fk_flow_new(&hand.conf, hand.counters, &ip, &syn, &flow), FK_ERR_INVAL);
    assert_null(flow);
    hand_end();
}

/* The server may not speak before the client's handshake is done, even if it wants to. */
static void fact_6_the_servers_window_is_shut_until_then(void **state)
{
    struct fk_tcp tcp;

    (void)state;
    hand_begin();
    established();
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK, 0);
    assert_int_equal(came(0, FK_INLINE_SERVER).window, 0);
    server_says(0, 0, FK_TCP_ACK, "220 hi", 6);
    assert_int_equal(hand.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK, 0);
    assert_int_equal(came(0, FK_INLINE_SERVER).window, 0);
    client_says(0, 0, FK_TCP_ACK, "\x16hello!", 7);
    assert_came(0, FK_INLINE_CLIENT, 0, 7, FK_TCP_ACK | FK_TCP_PSH, 6);
    assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_RECORDS);
    tcp = came(1, FK_INLINE_SERVER);
    assert_true(tcp.window > 10000);
    hand_end();
}

static void a_handshake_that_waits_loses_nothing(void **state)
{
    uint8_t bytes[200];
    size_t len;

    (void)state;
    hand_begin();
    established();
    hand.waits = true;
    len = record("GET", 3, bytes, sizeof bytes);
    client_says(0, 0, FK_TCP_ACK, "\x16hello!", 7);
    assert_came(0, FK_INLINE_CLIENT, 0, 7, FK_TCP_ACK, 0);
    client_says(7, 0, FK_TCP_ACK, bytes, len);
    hand.waits = false;
    hand.out.n = hand.out.used = 0;
    fk_flow_wake(hand.flow, hand.now, &hand.out);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_PSH, 3);
    assert_came(1, FK_INLINE_CLIENT, 0, 7 + (uint32_t)len, FK_TCP_ACK | FK_TCP_PSH, 6);
    hand_end();
}

/* --- records --- */

/* Fact 1: what is held is acknowledged when nothing else can be; and not when something can. */
static void fact_1_held_bytes_are_acknowledged(void **state)
{
    static uint8_t data[3000], bytes[8000];
    size_t first, len;

    (void)state;
    hand_begin();
    secured();
    first = record(data, 1000, bytes, sizeof bytes);
    len = first + record(data, 3000, bytes + first, sizeof bytes - first);
    client_says(7, 6, FK_TCP_ACK, bytes, 900);
    assert_int_equal(hand.out.n, 1);
    assert_came(0, FK_INLINE_CLIENT, 6, 907, FK_TCP_ACK, 0);
    client_says(907, 6, FK_TCP_ACK, bytes + 900, 900);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_PSH, 1000);
    assert_int_equal(hand.out.n, 1); /* now it is the server's turn */
    server_says(0, 1000, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 1807, FK_TCP_ACK, 0);
    client_says(1807, 6, FK_TCP_ACK, bytes + 1800, len - 1800);
    assert_int_equal(hand.out.n, 3); /* in segments of the server's size */
    assert_came(0, FK_INLINE_SERVER, 1000, 0, FK_TCP_ACK, 1400);
    assert_came(2, FK_INLINE_SERVER, 3800, 0, FK_TCP_ACK | FK_TCP_PSH, 200);
    hand_end();
}

static void fact_5_the_last_byte_waits_for_the_tag(void **state)
{
    (void)state;
    hand_begin();
    secured();
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 32);
    client_says(7, 37, FK_TCP_ACK, NULL, 0); /* all but the tag's last byte */
    assert_came(0, FK_INLINE_SERVER, 0, 9, FK_TCP_ACK, 0);
    client_says(7, 38, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_SERVER, 0, 10, FK_TCP_ACK, 0);
    hand_end();
}

/* Fact 4: the stored bytes, whatever comes again. */
static void fact_4_the_same_bytes_again(void **state)
{
    uint8_t first[32];

    (void)state;
    hand_begin();
    secured();
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10);
    memcpy(first, came(0, FK_INLINE_CLIENT).payload.next, 32);
    server_says(0, 0, FK_TCP_ACK, "##########", 10);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 32);
    assert_memory_equal(came(0, FK_INLINE_CLIENT).payload.next, first, 32);
    assert_int_equal(hand.counters[FK_FLOW_N_RECORDS_SEALED], 1);
    hand_end();
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
    hand_begin();
    secured();
    assert_ok(fk_record_update_keys(hand.client, true));
    assert_ok(fk_record_seal_control(hand.client, bytes, &len));
    client_says(7, 6, FK_TCP_ACK, bytes, len);
    tcp = came(0, FK_INLINE_CLIENT);
    assert_int_equal(hand.out.n, 1);
    assert_int_equal(tcp.ack, 7 + len);
    assert_true(tcp.payload.left <= sizeof copy);
    memcpy(copy, tcp.payload.next, tcp.payload.left);
    assert_ok(fk_record_open(hand.client, copy, tcp.payload.left, &event));
    assert_int_equal(event.event, FK_RECORD_NOTHING);
    hand_end();
}

/* Fact 8: one frame for the device to cut, with the pseudo-header's sum. */
static void fact_8_frames_for_a_device_to_cut(void **state)
{
    static uint8_t data[5000], bytes[8000];
    size_t len;

    (void)state;
    hand_begin();
    hand.conf.gso_max = 60000;
    secured();
    len = record(data, 5000, bytes, sizeof bytes);
    client_says(7, 6, FK_TCP_ACK, bytes, len);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_PSH, 5000);
    assert_int_equal(hand.packets[0].gso_size, 1400);
    assert_true(hand.packets[0].partial_sum);
    len = record(data, 100, bytes, sizeof bytes);
    client_says(7 + 5022, 6, FK_TCP_ACK, bytes, len);
    assert_int_equal(hand.packets[0].gso_size, 0);
    assert_false(hand.packets[0].partial_sum);
    hand_end();
}

/* --- ends --- */

static void fact_9_close_notify_before_fin(void **state)
{
    struct fk_opened event;
    uint8_t copy[100];
    struct fk_tcp tcp;

    (void)state;
    hand_begin();
    secured();
    server_says(0, 0, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
    tcp = came(0, FK_INLINE_CLIENT);
    assert_int_equal(tcp.flags, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH);
    memcpy(copy, tcp.payload.next, tcp.payload.left);
    assert_ok(fk_record_open(hand.client, copy, tcp.payload.left, &event));
    assert_int_equal(event.event, FK_RECORD_END);
    client_says(7, 6 + (uint32_t)tcp.payload.left + 1, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_SERVER, 0, 1, FK_TCP_ACK, 0);
    hand_end();
}

static void fact_9_a_fin_without_close_notify(void **state)
{
    (void)state;
    for (int accept = 0; accept < 2; accept++) {
        hand_begin();
        hand.conf.accept_truncation = accept;
        secured();
        client_says(7, 6, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
        if (accept) {
            assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH, 0);
        } else {
            assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_RST, 0);
            assert_came(1, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_RST, 0);
            assert_int_equal(hand.counters[FK_FLOW_N_TRUNCATED], 1);
        }
        hand_end();
    }
}

static size_t close_notify(uint8_t bytes[200])
{
    size_t len;

    fk_record_close(hand.client);
    assert_ok(fk_record_seal_control(hand.client, bytes, &len));
    return len;
}

/* RFC 8446 section 6.1: it ends what the client says; the server hears of it at once, the client's
 * FIN may come any time later, and the server may say more. */
static void close_notify_is_the_end_for_the_server(void **state)
{
    struct fk_opened event;
    uint8_t bytes[200];
    struct fk_tcp tcp;
    uint32_t len;

    (void)state;
    hand_begin();
    secured();
    len = (uint32_t)close_notify(bytes);
    client_says(7, 6, FK_TCP_ACK, bytes, len);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH, 0);
    hand.out.n = hand.out.used = 0;
    hand.now = fk_flow_deadline(hand.flow);
    fk_flow_expire(hand.flow, hand.now,
                   &hand.out); /* it was lost: nobody but the box would repair it */
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH, 0);
    server_says(0, 1, FK_TCP_ACK | FK_TCP_FIN, "more", 4);
    tcp = came(0, FK_INLINE_CLIENT);
    assert_int_equal(tcp.ack, 7 + len);
    assert_int_equal(tcp.flags, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH);
    memcpy(bytes, tcp.payload.next, tcp.payload.left);
    assert_ok(fk_record_open(hand.client, bytes, tcp.payload.left, &event));
    assert_int_equal(event.len, 4);
    client_says(7 + len, 6 + (uint32_t)tcp.payload.left + 1, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_SERVER, 1, 5, FK_TCP_ACK, 0);
    assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_RECORDS); /* the client may take its time */
    client_says(7 + len, 6 + (uint32_t)tcp.payload.left + 1, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
    assert_int_equal(hand.out.n, 1);
    assert_came(0, FK_INLINE_CLIENT, 6 + (uint32_t)tcp.payload.left + 1, 7 + len + 1, FK_TCP_ACK,
                0);
    assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_OVER);
    hand_end();
}

/* With it, as most clients send it; and before the server has heard of the end. */
static void close_notify_and_fin(void **state)
{
    uint8_t bytes[200];
    uint32_t len;

    (void)state;
    for (int together = 0; together < 2; together++) {
        hand_begin();
        secured();
        len = (uint32_t)close_notify(bytes);
        client_says(7, 6, (uint16_t)(FK_TCP_ACK | (together ? FK_TCP_FIN : 0)), bytes, len);
        assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH, 0);
        client_says(7 + len, 6, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
        server_says(0, 1, FK_TCP_ACK, NULL, 0);
        assert_came(0, FK_INLINE_CLIENT, 6, 7 + len + 1, FK_TCP_ACK, 0);
        hand_end();
    }
}

/* What a client says after its close_notify reaches nobody. */
static void nothing_after_close_notify(void **state)
{
    uint8_t bytes[200];
    uint32_t len;

    (void)state;
    hand_begin();
    secured();
    len = (uint32_t)close_notify(bytes);
    memset(bytes + len, 'x', 20);
    client_says(7, 6, FK_TCP_ACK, bytes, len + 20);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_FIN | FK_TCP_PSH, 0);
    assert_came(1, FK_INLINE_CLIENT, 6, 7 + len + 20, FK_TCP_ACK, 0);
    assert_int_equal(hand.counters[FK_FLOW_N_BAD_RECORDS], 0);
    hand_end();
}

static void fact_9_alert_and_rst_for_a_forged_record(void **state)
{
    uint8_t bytes[200];
    size_t len;

    (void)state;
    hand_begin();
    secured();
    len = record("GET", 3, bytes, sizeof bytes);
    bytes[len - 1] ^= 1;
    client_says(7, 6, FK_TCP_ACK, bytes, len);
    assert_int_equal(hand.out.n, 3);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 24); /* the alert */
    assert_came(1, FK_INLINE_CLIENT, 30, 7, FK_TCP_ACK | FK_TCP_RST, 0);
    assert_came(2, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_RST, 0);
    server_says(0, 0, FK_TCP_ACK, "late", 4);
    assert_int_equal(hand.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_RST, 0);
    hand_end();
}

/* Fact 6: exactly where the stream is, or it is asked for. */
static void fact_6_rst_exactly(void **state)
{
    (void)state;
    hand_begin();
    secured();
    server_says(10, 0, FK_TCP_ACK | FK_TCP_RST, NULL, 0);
    assert_int_equal(hand.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK, 0);
    server_says(0, 0, FK_TCP_ACK | FK_TCP_RST, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_RST, 0);
    assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_RESET);
    hand_end();
}

/* Who goes on after its own RST is answered, though nobody has heard of the server yet. */
static void rst_before_the_server_has_answered(void **state)
{
    (void)state;
    hand_begin();
    opening();
    client_says(0, 0, FK_TCP_RST, NULL, 0);
    assert_int_equal(came(0, FK_INLINE_SERVER).flags, FK_TCP_RST);
    assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_RESET);
    client_says(0, 77, FK_TCP_ACK, NULL, 0);
    assert_int_equal(came(0, FK_INLINE_CLIENT).seq, 77);
    assert_int_equal(came(0, FK_INLINE_CLIENT).src_port, 443);
    hand_end();
}

/* Fact 6: the other end answers, so that the one who asks learns whether it lives. */
static void fact_6_keep_alives_go_through(void **state)
{
    (void)state;
    hand_begin();
    secured();
    client_says(6, 6, FK_TCP_ACK, "", 1);
    assert_int_equal(hand.out.n, 1);
    assert_came(0, FK_INLINE_SERVER, (uint32_t)-1, 0, FK_TCP_ACK, 0);
    server_says(0, 0, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK, 0);
    hand_end();
}

/* Fact 3: through all that was selectively acknowledged; then the box repairs it. */
static void fact_3_no_reneging(void **state)
{
    struct fk_tcp tcp;

    (void)state;
    hand_begin();
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
    hand.out.n = hand.out.used = 0;
    hand.now = fk_flow_deadline(hand.flow);
    fk_flow_expire(hand.flow, hand.now, &hand.out);
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 30);
    assert_int_equal(hand.counters[FK_FLOW_N_RESENT], 1);
    hand_end();
}

/* --- bounds --- */

static void a_full_outbox_loses_packets_and_says_so(void **state)
{
    (void)state;
    hand_begin();
    secured();
    hand.out.max = 0;
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10);
    assert_int_equal(hand.out.n, 0);
    assert_true(hand.out.dropped > 0);
    hand.out.max = 64;
    server_says(0, 0, FK_TCP_ACK, "0123456789", 10); /* it sends again, as after any loss */
    assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 32);
    hand_end();
}

static void every_state_ends_by_time(void **state)
{
    static void (*const until[])(void) = {opening, opened, established, secured};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        hand_begin();
        until[i]();
        for (int n = 0; n < 40 && fk_flow_state(hand.flow) != FK_FLOW_GONE; n++) {
            hand.now = fk_flow_deadline(hand.flow);
            hand.out.n = hand.out.used = 0;
            fk_flow_expire(hand.flow, hand.now, &hand.out);
        }
        assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_GONE);
        hand_end();
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
          cmocka_unit_test(close_notify_is_the_end_for_the_server),
          cmocka_unit_test(close_notify_and_fin), cmocka_unit_test(nothing_after_close_notify),
          cmocka_unit_test(fact_9_alert_and_rst_for_a_forged_record),
          cmocka_unit_test(fact_6_rst_exactly),
          cmocka_unit_test(rst_before_the_server_has_answered),
          cmocka_unit_test(fact_6_keep_alives_go_through),
          cmocka_unit_test(a_full_outbox_loses_packets_and_says_so),
          cmocka_unit_test(every_state_ends_by_time))
