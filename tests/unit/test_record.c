/* tls/record beside OpenSSL: either can be at the other end, whatever the cuts. */
#include "unit.h"

#include "base/err.h"
#include "tls/record.h"
#include "tlspair.h"

#include <openssl/err.h>
#include <stdio.h>

/* The first three are of TLS 1.3. ETM: with encrypt-then-MAC. */
#define ETM 0x10000
static const uint32_t suites[] = {
    0x1301, 0x1302,       0x1303,       0xc02b,       0xc030,       0xcca8,       0x009c, 0x009f,
    0x002f, 0x0035,       0x003c,       0x003d,       0xc009,       0xc014,       0xc024, 0xc027,
    0xc028, ETM | 0x002f, ETM | 0x003d, ETM | 0xc013, ETM | 0xc024, ETM | 0xc028,
};
#define SUITES (sizeof suites / sizeof suites[0])

#define BIG 100000

/* One end is the engine, the other OpenSSL's. */
struct fixture {
    struct tlspair pair;
    struct fk_arena *arena;
    struct fk_record *record;
    SSL *peer;
    BIO *to_peer, *from_peer;
    uint8_t in[4 * BIG]; /* from the peer, not opened yet */
    size_t in_len;
};

static uint32_t seed = 1;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

static void open_fixture(struct fixture *fixture, uint32_t suite, enum fk_record_role role)
{
    bool server = role == FK_RECORD_SERVER;

    tlspair_open(&fixture->pair, (uint16_t)suite, (suite & ETM) != 0);
    assert_ok(fk_record_arena_new(1, &fixture->arena));
    assert_ok(fk_record_new(fixture->arena, &fixture->pair.keys, role, &fixture->record));
    fixture->peer = server ? fixture->pair.client : fixture->pair.server;
    fixture->to_peer = server ? fixture->pair.to_client : fixture->pair.to_server;
    fixture->from_peer = server ? fixture->pair.to_server : fixture->pair.to_client;
    fixture->in_len = 0;
}

static void close_fixture(struct fixture *fixture)
{
    fk_record_free(fixture->record);
    fk_arena_free(fixture->arena);
    tlspair_close(&fixture->pair);
}

static void fill(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)dice(256);
}

/* --- engine to OpenSSL --- */

static void send_sealed(struct fixture *fixture, const uint8_t *data, size_t len)
{
    static uint8_t out[4 * BIG];
    struct iovec pieces[40];
    size_t n = 0, at = 0, sealed;

    while (at < len && n < 39) {
        pieces[n].iov_base = (void *)(uintptr_t)(data + at);
        pieces[n].iov_len = dice(3) == 0 ? 0 : dice(5000) % (len - at + 1);
        at += pieces[n++].iov_len;
    }
    pieces[n].iov_base = (void *)(uintptr_t)(data + at);
    pieces[n++].iov_len = len - at;
    assert_ok(fk_record_seal(fixture->record, pieces, n, out, sizeof out, &sealed));
    assert_true(sealed <= fk_record_sealed_max(fixture->record, len));
    assert_int_equal(BIO_write(fixture->to_peer, out, (int)sealed), sealed);
}

static void send_control(struct fixture *fixture)
{
    uint8_t out[FK_RECORD_CONTROL_MAX];
    size_t len;

    assert_ok(fk_record_seal_control(fixture->record, out, &len));
    assert_true(len > 0);
    assert_false(fk_record_control_due(fixture->record));
    assert_int_equal(BIO_write(fixture->to_peer, out, (int)len), len);
}

static void peer_reads(struct fixture *fixture, const uint8_t *expected, size_t len)
{
    static uint8_t got[2 * BIG];
    size_t at = 0;

    while (at < len) {
        int n = SSL_read(fixture->peer, got + at, (int)(sizeof got - at));

        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(at, len);
    assert_memory_equal(got, expected, len);
}

/* --- OpenSSL to engine --- */

static void fetch(struct fixture *fixture, size_t most)
{
    int n = BIO_read(fixture->from_peer, fixture->in + fixture->in_len, (int)most);

    fixture->in_len += n > 0 ? (size_t)n : 0;
}

/* Open what is there: data is appended at *at. Returns the first result that is not FK_OK. */
static int open_all(struct fixture *fixture, uint8_t *got, size_t *at, enum fk_record_event *last)
{
    struct fk_opened opened;
    int err;

    while ((err = fk_record_open(fixture->record, fixture->in, fixture->in_len, &opened)) ==
           FK_OK) {
        if (opened.event == FK_RECORD_DATA) {
            memcpy(got + *at, opened.data, opened.len);
            *at += opened.len;
        }
        *last = opened.event;
        assert_true(opened.consumed <= fixture->in_len);
        fixture->in_len -= opened.consumed;
        memmove(fixture->in, fixture->in + opened.consumed, fixture->in_len);
    }
    return err;
}

static void engine_reads(struct fixture *fixture, const uint8_t *expected, size_t len)
{
    static uint8_t got[2 * BIG];
    enum fk_record_event last = FK_RECORD_NOTHING;
    size_t at = 0;

    do {
        fetch(fixture, 1 + dice(9000));
        assert_err(open_all(fixture, got, &at, &last), FK_ERR_AGAIN);
    } while (BIO_pending(fixture->from_peer) > 0);
    assert_int_equal(fixture->in_len, 0);
    assert_int_equal(at, len);
    assert_memory_equal(got, expected, len);
}

/* --- cases --- */

static void exchange(struct fixture *fixture, int rounds)
{
    static uint8_t data[BIG];

    for (int i = 0; i < rounds; i++) {
        size_t len = dice(4) == 0 ? 1 + dice(BIG) : 1 + dice(2000);

        fill(data, len);
        if (dice(4) == 0)
            fk_record_rest(fixture->record);
        if (dice(2) == 0) {
            send_sealed(fixture, data, len);
            peer_reads(fixture, data, len);
        } else {
            assert_int_equal(SSL_write(fixture->peer, data, (int)len), len);
            engine_reads(fixture, data, len);
        }
    }
}

static void each_suite_in_both_roles(void **state)
{
    static struct fixture fixture;

    (void)state;
    for (size_t i = 0; i < SUITES; i++)
        for (int role = FK_RECORD_SERVER; role <= FK_RECORD_CLIENT; role++) {
            seed = (uint32_t)(i * 2 + (size_t)role + 1);
            open_fixture(&fixture, suites[i], (enum fk_record_role)role);
            exchange(&fixture, 60);
            close_fixture(&fixture);
        }
}

/* The hand-over goes on: the keys of an engine make another engine in the middle of a session. */
static void a_session_is_handed_over_again(void **state)
{
    static struct fixture fixture;
    struct fk_session_keys keys;

    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        open_fixture(&fixture, suites[i], FK_RECORD_SERVER);
        exchange(&fixture, 10);
        keys = *fk_record_keys(fixture.record);
        fk_record_free(fixture.record);
        assert_ok(fk_record_new(fixture.arena, &keys, FK_RECORD_SERVER, &fixture.record));
        exchange(&fixture, 10);
        close_fixture(&fixture);
    }
}

static void keys_are_updated_both_ways(void **state)
{
    static struct fixture fixture;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (int role = FK_RECORD_SERVER; role <= FK_RECORD_CLIENT; role++) {
            open_fixture(&fixture, suites[i], (enum fk_record_role)role);
            for (int round = 0; round < 5; round++) {
                /* The peer's, which asks for ours: it leaves before our next data. */
                assert_int_equal(SSL_key_update(fixture.peer, SSL_KEY_UPDATE_REQUESTED), 1);
                assert_int_equal(SSL_write(fixture.peer, "x", 1), 1);
                engine_reads(&fixture, (const uint8_t *)"x", 1);
                assert_true(fk_record_control_due(fixture.record));
                exchange(&fixture, 6);
                /* Ours, which asks for the peer's. */
                assert_ok(fk_record_update_keys(fixture.record, true));
                send_control(&fixture);
                exchange(&fixture, 6);
            }
            close_fixture(&fixture);
        }
}

static void close_notify_is_understood_and_said(void **state)
{
    static struct fixture fixture;
    enum fk_record_event last = FK_RECORD_NOTHING;
    uint8_t byte, out[256];
    size_t at = 0, len;

    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        open_fixture(&fixture, suites[i], FK_RECORD_SERVER);
        assert_int_equal(SSL_shutdown(fixture.peer), 0);
        fetch(&fixture, sizeof fixture.in);
        assert_err(open_all(&fixture, &byte, &at, &last), FK_ERR_CLOSED);
        assert_int_equal(last, FK_RECORD_END);
        /* The other direction is open until we say so. */
        send_sealed(&fixture, (const uint8_t *)"bye", 3);
        fk_record_close(fixture.record);
        assert_true(fk_record_control_due(fixture.record));
        send_control(&fixture);
        assert_err(fk_record_seal(fixture.record, NULL, 0, out, sizeof out, &len), FK_ERR_CLOSED);
        peer_reads(&fixture, (const uint8_t *)"bye", 3);
        assert_int_equal(SSL_shutdown(fixture.peer), 1);
        close_fixture(&fixture);
    }
}

/* A client of TLS 1.2 that wants to renegotiate is told no, and the session goes on. */
static void renegotiation_is_refused(void **state)
{
    static struct fixture fixture;
    enum fk_record_event last = FK_RECORD_DATA;
    uint8_t byte;
    size_t at = 0;

    (void)state;
    open_fixture(&fixture, 0xc030, FK_RECORD_SERVER);
    assert_int_equal(SSL_renegotiate(fixture.peer), 1);
    assert_true(SSL_do_handshake(fixture.peer) <= 0);
    fetch(&fixture, sizeof fixture.in);
    assert_err(open_all(&fixture, &byte, &at, &last), FK_ERR_AGAIN);
    assert_int_equal(last, FK_RECORD_NOTHING);
    send_control(&fixture);
    assert_true(SSL_do_handshake(fixture.peer) <= 0);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_NO_RENEGOTIATION);
    close_fixture(&fixture);
}

static void tickets_are_handed_to_a_client(void **state)
{
    static struct fixture fixture;
    struct fk_opened opened;

    (void)state;
    open_fixture(&fixture, 0x1301, FK_RECORD_CLIENT);
    SSL_clear_options(fixture.peer, SSL_OP_NO_TICKET);
    assert_int_equal(SSL_new_session_ticket(fixture.peer), 1);
    assert_int_equal(SSL_write(fixture.peer, "x", 1), 1);
    fetch(&fixture, sizeof fixture.in);
    assert_ok(fk_record_open(fixture.record, fixture.in, fixture.in_len, &opened));
    assert_int_equal(opened.event, FK_RECORD_TICKET);
    assert_true(opened.len > 4 + 4 + 1 + 2 + 100); /* lifetime, age, nonce, a ticket */
    fixture.in_len -= opened.consumed;
    memmove(fixture.in, fixture.in + opened.consumed, fixture.in_len);
    engine_reads(&fixture, (const uint8_t *)"x", 1);
    close_fixture(&fixture);
}

/* A peer that gives up: its alert is kept, and nothing is said in return. */
static void a_fatal_alert_ends_the_session(void **state)
{
    static struct fixture fixture;
    enum fk_record_event last = FK_RECORD_NOTHING;
    uint8_t byte, bad[] = {23, 3, 3, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7};
    size_t at = 0;

    (void)state;
    open_fixture(&fixture, 0x1301, FK_RECORD_SERVER);
    assert_int_equal(BIO_write(fixture.to_peer, bad, sizeof bad), sizeof bad);
    assert_true(SSL_read(fixture.peer, &byte, 1) <= 0);
    fetch(&fixture, sizeof fixture.in);
    assert_err(open_all(&fixture, &byte, &at, &last), FK_ERR_TLS);
    assert_int_equal(fk_record_peer_alert(fixture.record), SSL_AD_BAD_RECORD_MAC);
    assert_false(fk_record_control_due(fixture.record));
    assert_err(open_all(&fixture, &byte, &at, &last), FK_ERR_CLOSED);
    close_fixture(&fixture);
}

UNIT_MAIN(cmocka_unit_test(each_suite_in_both_roles),
          cmocka_unit_test(a_session_is_handed_over_again),
          cmocka_unit_test(keys_are_updated_both_ways),
          cmocka_unit_test(close_notify_is_understood_and_said),
          cmocka_unit_test(renegotiation_is_refused),
          cmocka_unit_test(tickets_are_handed_to_a_client),
          cmocka_unit_test(a_fatal_alert_ends_the_session))
