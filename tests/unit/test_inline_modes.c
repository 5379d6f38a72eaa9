/* inline/flow: what each mode lets go on before a record is whole, and what it does not. */
#include "unit.h"

#include "flowhand.h"

#include "base/err.h"
#include "base/limits.h"
#include "inline/flow_mode.h"
#include "tls/record_priv.h"

#define MSS    1400 /* of the server */
#define LEN    5000 /* bytes of a record's content */
#define HEAD13 5    /* bytes before it */
#define TAIL13 17   /* and behind it: type and tag */
#define HEAD12 13
#define TAIL12 16

static uint8_t data[LEN], sealed[2 * LEN];

static void begin_in(const struct fk_flow_mode *mode, uint32_t suite)
{
    hand_begin_with(suite);
    hand.conf.mode = mode;
    hand.conf.gso_max = 60000; /* all that may go is one packet */
    secured();
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(1 + i % 255); /* no zeros */
}

/* A record of any type with zeros behind it: RFC 8446 section 5.4. */
static size_t padded(uint8_t type, const void *bytes, size_t len, size_t zeros)
{
    uint8_t inner[LEN] = {0};
    const struct iovec piece = {inner, len + 1 + zeros - 1};
    struct fk_pieces pieces = {.first = &piece};
    size_t size;

    memcpy(inner, bytes, len);
    inner[len] = type;
    assert_true(zeros > 0); /* the last is where the engine puts what it takes for a type */
    assert_ok(fk_record_encrypt(hand.client, 0, &pieces, piece.iov_len, sealed, &size));
    return size;
}

/* Bytes `from` up to `to` of what is sealed. */
static void client_sends(size_t from, size_t to)
{
    client_says(7 + (uint32_t)from, 6, FK_TCP_ACK, sealed + from, to - from);
}

/* The packets that go on to the server; what the client is told is no matter here. */
static size_t gone_on(size_t *ret_last)
{
    size_t n = 0;

    *ret_last = 0;
    for (size_t i = 0; i < hand.out.n; i++)
        if (hand.packets[i].to == FK_INLINE_SERVER) {
            *ret_last = i;
            n++;
        }
    return n;
}

/* One goes on, with the content from `from` to `to`. */
static void assert_goes_on(size_t from, size_t to)
{
    size_t i;

    assert_int_equal(gone_on(&i), 1);
    assert_came(i, FK_INLINE_SERVER, (uint32_t)from, 0, FK_TCP_ACK | FK_TCP_PSH, to - from);
    assert_memory_equal(came(i, FK_INLINE_SERVER).payload.next, data + from, to - from);
}

static void assert_nothing_goes_on(void)
{
    size_t i;

    assert_int_equal(gone_on(&i), 0);
}

/* --- what goes on --- */

static void buffered_waits_for_the_whole_record(void **state)
{
    size_t len;

    (void)state;
    begin_in(&fk_flow_buffered, 0x1301);
    len = record(data, LEN, sealed, sizeof sealed);
    client_sends(0, len - 1);
    assert_nothing_goes_on();
    client_sends(len - 1, len);
    assert_goes_on(0, LEN);
    assert_int_equal(hand.counters[FK_FLOW_N_RECORDS_EARLY], 0);
    hand_end();
}

/* What has come goes on, but for one byte that may be the type, and the last segment. */
static void streaming_does_not(const struct fk_flow_mode *mode, uint32_t suite, size_t head,
                               size_t type)
{
    size_t len;

    begin_in(mode, suite);
    len = record(data, LEN, sealed, sizeof sealed);
    client_sends(0, 2000);
    assert_goes_on(0, 2000 - head - type);
    client_sends(2000, 2001);
    assert_goes_on(2000 - head - type, 2001 - head - type);
    client_sends(2001, len - 1);
    assert_goes_on(2001 - head - type, LEN - MSS);
    client_sends(len - 1, len);
    assert_goes_on(LEN - MSS, LEN);
    assert_int_equal(hand.counters[FK_FLOW_N_RECORDS_EARLY], 1);
    assert_int_equal(hand.counters[FK_FLOW_N_RECORDS_OPENED], 1);
    hand_end();
}

static void others_do_not(void **state)
{
    static const struct fk_flow_mode *const modes[] = {&fk_flow_streaming, &fk_flow_hybrid,
                                                       &fk_flow_mac_decides};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        streaming_does_not(modes[i], 0x1301, HEAD13, 1);
        streaming_does_not(modes[i], 0x1303, HEAD13, 1);
        streaming_does_not(modes[i], 0xc02f, HEAD12, 0);
        streaming_does_not(modes[i], 0xcca8, HEAD13, 0);
    }
}

/* Fact 7, and what `hybrid` is: a record of just so many bytes is small, one more is not. */
static void small_records_are_buffered(void **state)
{
    static const struct {
        const struct fk_flow_mode *mode;
        size_t most;
    } rows[] = {{&fk_flow_streaming, 256}, {&fk_flow_mac_decides, 256}, {&fk_flow_hybrid, 4096}};
    size_t len, whole;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (size_t more = 0; more < 2; more++) {
            begin_in(rows[i].mode, 0x1301);
            hand.conf.gso_max = 0;
            whole = rows[i].most + more;
            len = record(data, whole - HEAD13 - TAIL13, sealed, sizeof sealed);
            assert_int_equal(len, whole);
            client_sends(0, len - 1);
            assert_int_equal(hand.counters[FK_FLOW_N_RECORDS_EARLY], whole > MSS ? more : 0);
            client_sends(len - 1, len);
            assert_int_equal(hand.counters[FK_FLOW_N_RECORDS_OPENED], 1);
            hand_end();
        }
}

/* A record of less than a segment is all last segment. */
static void the_last_segment_may_be_the_only_one(void **state)
{
    size_t len;

    (void)state;
    begin_in(&fk_flow_streaming, 0x1301);
    len = record(data, MSS, sealed, sizeof sealed);
    client_sends(0, len - 1);
    assert_nothing_goes_on();
    client_sends(len - 1, len);
    assert_goes_on(0, MSS);
    hand_end();
}

/* The server's acknowledgements of what went on early, in the client's numbers. */
static void acknowledgements_are_translated(void **state)
{
    size_t len, told = 2000 - HEAD13 - 1;

    (void)state;
    begin_in(&fk_flow_streaming, 0x1301);
    len = record(data, LEN, sealed, sizeof sealed);
    client_sends(0, 2000);
    server_says(0, 1000, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 7 + HEAD13 + 1000, FK_TCP_ACK, 0);
    client_sends(2000, len - 1);
    server_says(0, (uint32_t)told, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 7 + HEAD13 + (uint32_t)told, FK_TCP_ACK, 0);
    /* Nothing is under way: the last segment is the box's to acknowledge. */
    server_says(0, LEN - MSS, FK_TCP_ACK, NULL, 0);
    assert_came(0, FK_INLINE_CLIENT, 6, 7 + (uint32_t)len - 1, FK_TCP_ACK, 0);
    hand_end();
}

/* Fact 4: from the store, whatever comes again. */
static void what_comes_again_is_not_opened_again(void **state)
{
    (void)state;
    begin_in(&fk_flow_streaming, 0x1301);
    (void)record(data, LEN, sealed, sizeof sealed);
    client_sends(0, 2000);
    memset(sealed, '#', 2000);
    client_sends(0, 2000);
    assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK, MSS);
    assert_memory_equal(came(0, FK_INLINE_SERVER).payload.next, data, MSS);
    hand_end();
}

/* --- what does not --- */

/* The server has a RST before the last segment, the client an alert. */
static void a_bad_tag_has_the_last_word(void **state)
{
    static const struct fk_flow_mode *const modes[] = {&fk_flow_streaming, &fk_flow_hybrid,
                                                       &fk_flow_mac_decides};
    size_t len;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        begin_in(modes[i], 0x1301);
        len = record(data, LEN, sealed, sizeof sealed);
        sealed[100] ^= 1;
        client_sends(0, len - 1);
        assert_int_equal(hand.out.n, 1);
        assert_came(0, FK_INLINE_SERVER, 0, 0, FK_TCP_ACK | FK_TCP_PSH, LEN - MSS);
        client_sends(len - 1, len);
        assert_int_equal(hand.out.n, 3);
        assert_came(0, FK_INLINE_CLIENT, 6, 7, FK_TCP_ACK | FK_TCP_PSH, 24);
        assert_came(1, FK_INLINE_CLIENT, 30, 7, FK_TCP_ACK | FK_TCP_RST, 0);
        assert_came(2, FK_INLINE_SERVER, LEN - MSS, 0, FK_TCP_ACK | FK_TCP_RST, 0);
        assert_int_equal(hand.counters[FK_FLOW_N_BAD_RECORDS], 1);
        hand_end();
    }
}

/* Zeros may be padding, and what comes before them the type. */
static void padding_does_not_go_on(void **state)
{
    enum { CONTENT = 1000, ZEROS = 3500 };
    size_t len, i, end = 0;

    (void)state;
    begin_in(&fk_flow_streaming, 0x1301);
    len = padded(FK_CONTENT_APPLICATION, data, CONTENT, ZEROS);
    for (size_t at = 0; at < len - 1; at += 100) {
        client_sends(at, at + 100 < len - 1 ? at + 100 : len - 1);
        if (gone_on(&i) > 0)
            end = came(i, FK_INLINE_SERVER).seq + (uint32_t)came(i, FK_INLINE_SERVER).payload.left;
    }
    assert_int_equal(end, CONTENT);
    client_sends(len - 1, len);
    assert_nothing_goes_on();
    assert_int_equal(hand.counters[FK_FLOW_N_RECORDS_OPENED], 1);
    hand_end();
}

/* Content of zeros looks like padding until something else follows. */
static void zeros_wait_for_what_follows(void **state)
{
    (void)state;
    begin_in(&fk_flow_streaming, 0x1301);
    memset(data + 500, 0, 1000);
    (void)record(data, LEN, sealed, sizeof sealed);
    client_sends(0, 1000);
    assert_goes_on(0, 499);
    client_sends(1000, HEAD13 + 1500);
    assert_nothing_goes_on();
    client_sends(HEAD13 + 1500, HEAD13 + 1501);
    assert_goes_on(499, 1500);
    hand_end();
}

/* Fact 7: what was taken for data and is none ends the connection, as a buffered one would not. */
static void a_large_key_update(const struct fk_flow_mode *mode, bool survives)
{
    static const uint8_t update[] = {24, 0, 0, 1, 1};
    size_t len;

    begin_in(mode, 0x1301);
    len = padded(FK_CONTENT_HANDSHAKE, update, sizeof update, 4500);
    client_sends(0, len - 1);
    client_sends(len - 1, len);
    assert_int_equal(fk_flow_state(hand.flow), survives ? FK_FLOW_RECORDS : FK_FLOW_RESET);
    assert_int_equal(hand.counters[FK_FLOW_N_BAD_RECORDS], !survives);
    hand_end();
}

static void what_is_no_data(void **state)
{
    (void)state;
    a_large_key_update(&fk_flow_buffered, true);
    a_large_key_update(&fk_flow_streaming, false);
    a_large_key_update(&fk_flow_hybrid, false);
    a_large_key_update(&fk_flow_mac_decides, false);
}

static void an_end_within_a_record(void **state)
{
    (void)state;
    begin_in(&fk_flow_streaming, 0x1301);
    hand.conf.accept_truncation = true; /* of close_notify, not of a record */
    (void)record(data, LEN, sealed, sizeof sealed);
    client_sends(0, 2000);
    client_says(2007, 6, FK_TCP_ACK | FK_TCP_FIN, NULL, 0);
    assert_int_equal(fk_flow_state(hand.flow), FK_FLOW_RESET);
    assert_int_equal(hand.counters[FK_FLOW_N_TRUNCATED], 1);
    hand_end();
}

/* --- the hold queue --- */

/* The mode that has none forgets what is out of order, and asks for what is missing. */
static void mac_decides_holds_nothing(void **state)
{
    static const struct fk_flow_mode *const modes[] = {&fk_flow_streaming, &fk_flow_mac_decides};
    struct fk_tcp tcp;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin_in(modes[i], 0x1301);
        (void)record(data, LEN, sealed, sizeof sealed);
        client_sends(1000, 2000);
        assert_int_equal(hand.out.n, 1);
        tcp = came(0, FK_INLINE_CLIENT);
        assert_int_equal(tcp.ack, 7);
        assert_int_equal(tcp.options.n_sacks, i == 0);
        assert_int_equal(hand.counters[FK_FLOW_N_NOT_HELD], i);
        client_sends(0, 1000);
        assert_int_equal(came(0, FK_INLINE_SERVER).payload.left,
                         (i == 0 ? 2000 : 1000) - HEAD13 - 1);
        hand_end();
    }
}

UNIT_MAIN(cmocka_unit_test(buffered_waits_for_the_whole_record), cmocka_unit_test(others_do_not),
          cmocka_unit_test(small_records_are_buffered),
          cmocka_unit_test(the_last_segment_may_be_the_only_one),
          cmocka_unit_test(acknowledgements_are_translated),
          cmocka_unit_test(what_comes_again_is_not_opened_again),
          cmocka_unit_test(a_bad_tag_has_the_last_word), cmocka_unit_test(padding_does_not_go_on),
          cmocka_unit_test(zeros_wait_for_what_follows), cmocka_unit_test(what_is_no_data),
          cmocka_unit_test(an_end_within_a_record), cmocka_unit_test(mac_decides_holds_nothing))
