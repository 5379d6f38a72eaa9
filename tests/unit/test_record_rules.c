/* tls/record alone: RFC 8448's records to the byte, and each rule broken once. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "recordends.h"

#include <openssl/hmac.h>
#include <signal.h>

static struct ends ends; /* large */

/* --- published records --- */

static void assert_sealed(struct fk_record *record, const uint8_t *data, size_t len,
                          const char *hex)
{
    const struct iovec piece = {(void *)(uintptr_t)data, len};
    uint8_t out[512], expected[512];
    size_t sealed;

    if (data != NULL)
        assert_ok(fk_record_seal(record, &piece, 1, out, sizeof out, &sealed));
    else
        assert_ok(fk_record_seal_control(record, out, &sealed));
    assert_int_equal(sealed, unhex(hex, expected));
    assert_memory_equal(out, expected, sealed);
}

static void rfc8448_simple_handshake(void **state)
{
    uint8_t data[50];

    (void)state;
    open_ends(&ends, 0x1301);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    ends.server->keys->server.seq = 1; /* after its NewSessionTicket */
    assert_sealed(ends.client, data, sizeof data,
                  "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b39"
                  "5bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4");
    assert_sealed(ends.server, data, sizeof data,
                  "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6df"
                  "fc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d");
    fk_record_close(ends.client);
    fk_record_close(ends.server);
    assert_sealed(ends.client, NULL, 0, "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3");
    assert_sealed(ends.server, NULL, 0, "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9");
    close_ends(&ends);
}

/* --- what is not a record of the session --- */

static void each_prefix_waits(void **state)
{
    static const uint32_t suites[] = {0x1301, 0x1303, 0xc02f, 0xcca8, 0x002f, ETM | 0xc028};
    struct fk_opened opened;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        opened.consumed = 77;
        open_ends(&ends, suites[i]);
        put(&ends, FK_CONTENT_APPLICATION, "hello", 5);
        for (size_t len = 0; len < ends.len; len++) {
            assert_err(fk_record_open(ends.server, ends.wire, len, &opened), FK_ERR_AGAIN);
            assert_int_equal(opened.consumed, 77);
            assert_int_equal(fk_record_length(ends.wire, len),
                             len < FK_RECORD_HEAD ? FK_RECORD_HEAD : ends.len);
        }
        assert_ok(take(&ends, &opened));
        assert_int_equal(opened.len, 5);
        assert_memory_equal(opened.data, "hello", 5);
        close_ends(&ends);
    }
}

/* Any changed bit but of the length is noticed. */
static void each_changed_bit_is_refused(void **state)
{
    static const uint32_t suites[] = {0x1301, 0x1303, 0xc02f, 0xcca8, 0x002f, ETM | 0xc028};
    struct fk_opened opened;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        size_t bits = 1;

        for (size_t bit = 0; bit < bits; bit++) {
            bool length = bit / 8 == 3 || bit / 8 == 4;
            int err;

            open_ends(&ends, suites[i]);
            put(&ends, FK_CONTENT_APPLICATION, "hello", 5);
            bits = 8 * ends.len;
            if (!length) {
                ends.wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
                err = take(&ends, &opened);
                assert_true(err == FK_ERR_VERIFY || (bit / 8 == 0 && err == FK_ERR_UNEXPECTED) ||
                            (bit / 8 < 3 && err == FK_ERR_VERSION));
            }
            close_ends(&ends);
        }
    }
}

static void replayed_and_swapped_records_are_refused(void **state)
{
    struct fk_opened opened;
    uint8_t copy[64];
    size_t len;

    (void)state;
    open_ends(&ends, 0x1301);
    put(&ends, FK_CONTENT_APPLICATION, "one", 3);
    memcpy(copy, ends.wire, len = ends.len);
    assert_ok(take(&ends, &opened));
    memcpy(ends.wire, copy, ends.len = len);
    assert_refused(&ends, FK_ERR_VERIFY, FK_RA_BAD_RECORD_MAC);
    open_ends(&ends, 0xc02f);
    put(&ends, FK_CONTENT_APPLICATION, "one", 3);
    ends.len = 0;
    put(&ends, FK_CONTENT_APPLICATION, "two", 3);
    assert_refused(&ends, FK_ERR_VERIFY, FK_RA_BAD_RECORD_MAC);
}

static void too_short_for_a_tag(void **state)
{
    static const uint32_t suites[] = {0x1301, 0xc02f, 0x002f, ETM | 0x002f};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        open_ends(&ends, suites[i]);
        memcpy(ends.wire, (const uint8_t[]){23, 3, 3, 0, 15}, 5);
        ends.len = 20;
        assert_refused(&ends, FK_ERR_VERIFY, FK_RA_BAD_RECORD_MAC);
    }
}

/*
 * MAC-then-encrypt: a padding that is wrong, too long, or over a wrong MAC gets the one answer.
 * Each record is made by hand under the client's keys: content, MAC, padding, as given.
 */
static void put_cbc(const uint8_t *plain, size_t len)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *iv = ends.wire + FK_RECORD_HEAD;
    int done;

    memset(iv, 7, 16);
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_128_cbc(), NULL, ends.keys.client.key, iv), 1);
    assert_int_equal(EVP_CIPHER_CTX_set_padding(ctx, 0), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, iv + 16, &done, plain, (int)len), 1);
    assert_int_equal(done, len);
    EVP_CIPHER_CTX_free(ctx);
    memcpy(ends.wire, (const uint8_t[]){23, 3, 3, 0, (uint8_t)(16 + len)}, 5);
    ends.len = FK_RECORD_HEAD + 16 + len;
}

/* "hello", its MAC by HMAC-SHA1, and 7 bytes of padding; 32 bytes. */
static void make_plain(uint8_t ret[32])
{
    const uint8_t text[] = {0, 0, 0, 0, 0, 0, 0, 1, 23, 3, 3, 0, 5, 'h', 'e', 'l', 'l', 'o'};
    unsigned len;

    memcpy(ret, "hello", 5);
    assert_non_null(
        HMAC(EVP_sha1(), ends.keys.client.mac_key, 20, text, sizeof text, ret + 5, &len));
    assert_int_equal(len, 20);
    memset(ret + 25, 6, 7);
}

static void all_bad_paddings_are_alike(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } rows[] = {{31, 7}, {31, 5}, {31, 255}, {31, 0}, {25, 5}, {30, 7}, {5, 0}, {24, 0}, {0, 'H'}};
    struct fk_opened opened;
    uint8_t plain[32];

    (void)state;
    open_ends(&ends, 0x002f);
    make_plain(plain);
    put_cbc(plain, sizeof plain);
    assert_ok(take(&ends, &opened)); /* without a change it is right */
    assert_int_equal(opened.len, 5);
    assert_memory_equal(opened.data, "hello", 5);
    close_ends(&ends);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_ends(&ends, 0x002f);
        make_plain(plain);
        plain[rows[i].at] =
            plain[rows[i].at] == rows[i].value ? (uint8_t)~rows[i].value : rows[i].value;
        put_cbc(plain, sizeof plain);
        assert_refused(&ends, FK_ERR_VERIFY, FK_RA_BAD_RECORD_MAC);
    }
}

/* --- sizes --- */

static void the_longest_records(void **state)
{
    static uint8_t data[FK_RECORD_PLAIN_MAX + 2];
    struct fk_opened opened;

    (void)state;
    open_ends(&ends, 0x1301);
    put(&ends, FK_CONTENT_APPLICATION, data, FK_RECORD_PLAIN_MAX);
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.len, FK_RECORD_PLAIN_MAX);
    put(&ends, FK_CONTENT_APPLICATION, data, FK_RECORD_PLAIN_MAX + 1);
    assert_refused(&ends, FK_ERR_LIMIT, FK_RA_RECORD_OVERFLOW);
    open_ends(&ends, 0xc02f);
    put(&ends, FK_CONTENT_APPLICATION, data, FK_RECORD_PLAIN_MAX + 1);
    assert_refused(&ends, FK_ERR_LIMIT, FK_RA_RECORD_OVERFLOW);
}

/* A header that announces too much is refused before the rest is waited for. */
static void too_long_headers(void **state)
{
    static const struct {
        uint16_t suite, len;
    } rows[] = {{0x1301, 16384 + 256 + 1}, {0xc02f, 16384 + 2048 + 1}};
    struct fk_opened opened;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        open_ends(&ends, rows[i].suite);
        memcpy(ends.wire, (const uint8_t[]){23, 3, 3}, 3);
        ends.wire[3] = (uint8_t)((rows[i].len - 1) >> 8);
        ends.wire[4] = (uint8_t)(rows[i].len - 1);
        ends.len = 5;
        assert_err(take(&ends, &opened), FK_ERR_AGAIN);
        ends.wire[3] = (uint8_t)(rows[i].len >> 8);
        ends.wire[4] = (uint8_t)rows[i].len;
        assert_refused(&ends, FK_ERR_LIMIT, FK_RA_RECORD_OVERFLOW);
    }
}

static void padding_is_taken_off(void **state)
{
    static const uint8_t padded[40] = "padded\x17"; /* content, type, zeros */
    static const uint8_t nothing[40];
    struct fk_opened opened;

    (void)state;
    open_ends(&ends, 0x1301);
    put(&ends, 0, padded, sizeof padded); /* the engine's own type is one more zero */
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.event, FK_RECORD_DATA);
    assert_int_equal(opened.len, 6);
    put(&ends, 0, nothing, sizeof nothing);
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

/* --- types, alerts --- */

static void other_types_are_refused(void **state)
{
    static const struct {
        uint16_t suite;
        uint8_t type;
    } rows[] = {{0x1301, FK_CONTENT_CHANGE_CIPHER_SPEC}, {0x1301, 24}, {0xc02f, 24}, {0xc02f, 20}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        open_ends(&ends, rows[i].suite);
        put(&ends, rows[i].type, "\1", 1);
        assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
    }
    open_ends(&ends, 0x1301); /* in plain, as for middleboxes: too late */
    memcpy(ends.wire, (const uint8_t[]){20, 3, 3, 0, 1, 1}, ends.len = 6);
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

static void alerts(void **state)
{
    struct fk_opened opened;

    (void)state;
    open_ends(&ends, 0x1301);
    put(&ends, FK_CONTENT_ALERT, (const uint8_t[]){1, FK_RA_USER_CANCELED}, 2);
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.event, FK_RECORD_NOTHING);
    put(&ends, FK_CONTENT_ALERT, (const uint8_t[]){1, FK_RA_CLOSE_NOTIFY, 0}, 3);
    assert_refused(&ends, FK_ERR_FORMAT, FK_RA_DECODE_ERROR);
    open_ends(&ends, 0x1301); /* a warning is an error in TLS 1.3 */
    put(&ends, FK_CONTENT_ALERT, (const uint8_t[]){1, FK_RA_DECODE_ERROR}, 2);
    assert_err(take(&ends, &opened), FK_ERR_TLS);
    assert_int_equal(fk_record_peer_alert(ends.server), FK_RA_DECODE_ERROR);
    close_ends(&ends);
    open_ends(&ends, 0xc02f); /* and is not in TLS 1.2 */
    put(&ends, FK_CONTENT_ALERT, (const uint8_t[]){1, FK_RA_DECODE_ERROR}, 2);
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.event, FK_RECORD_NOTHING);
    assert_int_equal(fk_record_peer_alert(ends.server), -1);
    close_ends(&ends);
}

static void records_that_lead_nowhere_are_counted(void **state)
{
    struct fk_opened opened;

    (void)state;
    open_ends(&ends, 0x1301);
    for (int i = 0; i < 3 * FK_RECORD_IDLE_MAX; i++) {
        if (i % FK_RECORD_IDLE_MAX == 0)
            put(&ends, FK_CONTENT_APPLICATION, "x", 1);
        else
            put(&ends, FK_CONTENT_APPLICATION, NULL, 0);
        assert_ok(take(&ends, &opened));
    }
    for (int i = 0; i < 2; i++)
        put(&ends, FK_CONTENT_APPLICATION, NULL, 0);
    assert_ok(take(&ends, &opened));
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

/* --- handshake messages --- */

static const uint8_t update[] = {24, 0, 0, 1, 1};

/* The client sends a KeyUpdate, and renews its keys with it. */
static void put_update(void)
{
    put(&ends, FK_CONTENT_HANDSHAKE, update, sizeof update);
    assert_ok(fk_record_renew(ends.client));
}

static void put_and_take_update(void)
{
    struct fk_opened opened;

    put_update();
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.event, FK_RECORD_NOTHING);
    assert_false(fk_record_overdone(ends.server));
}

static void put_and_take_data(size_t len)
{
    static const uint8_t data[FK_RECORD_PLAIN_MAX];
    struct fk_opened opened;

    put(&ends, FK_CONTENT_APPLICATION, data, len);
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.len, len);
}

static void a_flood_of_updates_is_refused(void **state)
{
    (void)state;
    open_ends(&ends, 0x1301);
    for (int i = 0; i < FK_TLS_MESSAGES_MAX; i++)
        put_and_take_update();
    put_update();
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

/* A little data between them changes nothing: 32 bytes have paid for none. */
static void updates_between_data_are_counted(void **state)
{
    (void)state;
    open_ends(&ends, 0x1301);
    for (int i = 0; i < FK_TLS_MESSAGES_MAX; i++) {
        put_and_take_update();
        put_and_take_data(1);
    }
    put_update();
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

static void enough_data_pays_for_updates(void **state)
{
    (void)state;
    open_ends(&ends, 0x1301);
    for (int i = 0; i < FK_TLS_MESSAGES_MAX; i++)
        put_and_take_update();
    for (int i = 0; i < 10; i++) { /* one more each, in two parts */
        put_and_take_data(FK_TLS_MESSAGE_BYTES - 1);
        put_and_take_data(1);
        put_and_take_update();
    }
    put_and_take_data(FK_TLS_MESSAGE_BYTES - 1); /* a byte too few */
    put_update();
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

/* What is paid in advance is not kept: the bound is the bound. */
static void data_does_not_save_up(void **state)
{
    (void)state;
    open_ends(&ends, 0x1301);
    for (int i = 0; i < 10; i++)
        put_and_take_data(FK_TLS_MESSAGE_BYTES);
    for (int i = 0; i < FK_TLS_MESSAGES_MAX; i++)
        put_and_take_update();
    put_update();
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

/* TLS 1.2, and several in one record. */
static void requests_to_renegotiate_are_counted(void **state)
{
    static const uint8_t hellos[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
    struct fk_opened opened;
    int taken = 0;

    (void)state;
    open_ends(&ends, 0xc02f);
    while (taken + 3 <= FK_TLS_MESSAGES_MAX) {
        put(&ends, FK_CONTENT_HANDSHAKE, hellos, sizeof hellos);
        for (int i = 0; i < 3; i++, taken++)
            assert_ok(take(&ends, &opened));
        put_and_take_data(1);
    }
    put(&ends, FK_CONTENT_HANDSHAKE, hellos, sizeof hellos);
    while (taken++ < FK_TLS_MESSAGES_MAX)
        assert_ok(take(&ends, &opened));
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

static void an_update_in_two_records(void **state)
{
    struct fk_opened opened;

    (void)state;
    open_ends(&ends, 0x1302);
    put(&ends, FK_CONTENT_HANDSHAKE, update, 3);
    put(&ends, FK_CONTENT_HANDSHAKE, update + 3, 2);
    assert_ok(take(&ends, &opened));
    assert_false(fk_record_control_due(ends.server));
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.event, FK_RECORD_NOTHING);
    assert_true(fk_record_control_due(ends.server)); /* the answer */
    assert_ok(fk_record_renew(ends.client));
    put(&ends, FK_CONTENT_APPLICATION, "new", 3);
    assert_ok(take(&ends, &opened));
    assert_memory_equal(opened.data, "new", 3);
    close_ends(&ends);
}

static void broken_updates_are_refused(void **state)
{
    static const struct {
        const char *what;
        uint16_t suite;
        size_t len;
        uint8_t bytes[12];
        int err;
        uint8_t alert;
    } rows[] = {
        {"asks neither", 0x1301, 5, {24, 0, 0, 1, 2}, FK_ERR_RANGE, FK_RA_ILLEGAL_PARAMETER},
        {"empty", 0x1301, 4, {24, 0, 0, 0}, FK_ERR_FORMAT, FK_RA_DECODE_ERROR},
        {"long", 0x1301, 6, {24, 0, 0, 2, 0, 0}, FK_ERR_FORMAT, FK_RA_DECODE_ERROR},
        {"more in its record", 0x1301, 6, {24, 0, 0, 1, 0, 4}, FK_ERR_UNEXPECTED, 10},
        {"in TLS 1.2", 0xc02f, 5, {24, 0, 0, 1, 0}, FK_ERR_UNEXPECTED, 10},
        {"a ticket to a server", 0x1301, 4, {4, 0, 0, 0}, FK_ERR_UNEXPECTED, 10},
        {"a request for a certificate", 0x1301, 4, {13, 0, 0, 0}, FK_ERR_UNEXPECTED, 10},
        {"a ClientHello in TLS 1.3", 0x1301, 4, {1, 0, 0, 0}, FK_ERR_UNEXPECTED, 10},
        {"a HelloRequest to a server", 0xc02f, 4, {0, 0, 0, 0}, FK_ERR_UNEXPECTED, 10},
        {"nothing", 0x1301, 0, {0}, FK_ERR_UNEXPECTED, 10},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("%s\n", rows[i].what);
        open_ends(&ends, rows[i].suite);
        put(&ends, FK_CONTENT_HANDSHAKE, rows[i].bytes, rows[i].len);
        assert_refused(&ends, rows[i].err, rows[i].alert);
    }
}

static void data_within_a_message_is_refused(void **state)
{
    struct fk_opened opened;

    (void)state;
    open_ends(&ends, 0x1301);
    put(&ends, FK_CONTENT_HANDSHAKE, update, 3);
    put(&ends, FK_CONTENT_APPLICATION, "x", 1);
    assert_ok(take(&ends, &opened));
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

static void messages_are_bounded(void **state)
{
    static uint8_t hello[FK_RECORD_PLAIN_MAX] = {1, 0xff, 0xff, 0xff};
    struct fk_opened opened;

    (void)state;
    open_ends(&ends, 0xc02f);
    put(&ends, FK_CONTENT_HANDSHAKE, hello, sizeof hello);
    put(&ends, FK_CONTENT_HANDSHAKE, hello, sizeof hello);
    put(&ends, FK_CONTENT_HANDSHAKE, hello, 1);
    assert_ok(take(&ends, &opened));
    assert_ok(take(&ends, &opened));
    assert_refused(&ends, FK_ERR_RANGE, FK_RA_ILLEGAL_PARAMETER);
}

/* Two tickets in one record come one by one, the record being done with at the first. */
static void several_messages_in_one_record(void **state)
{
    static const uint8_t tickets[] = {4, 0, 0, 2, 'a', 'b', 4, 0, 0, 1, 'c'};
    const struct iovec piece = {(void *)(uintptr_t)tickets, sizeof tickets};
    struct fk_pieces pieces = {.first = &piece};
    struct fk_opened opened;
    size_t len;

    (void)state;
    open_ends(&ends, 0x1301);
    assert_ok(fk_record_encrypt(ends.server, FK_CONTENT_HANDSHAKE, &pieces, sizeof tickets,
                                ends.wire, &len));
    assert_ok(fk_record_open(ends.client, ends.wire, len, &opened));
    assert_int_equal(opened.event, FK_RECORD_TICKET);
    assert_int_equal(opened.consumed, len);
    assert_int_equal(opened.len, 2);
    assert_memory_equal(opened.data, "ab", 2);
    assert_ok(fk_record_open(ends.client, NULL, 0, &opened));
    assert_int_equal(opened.event, FK_RECORD_TICKET);
    assert_int_equal(opened.consumed, 0);
    assert_int_equal(opened.len, 1);
    assert_memory_equal(opened.data, "c", 1);
    assert_err(fk_record_open(ends.client, NULL, 0, &opened), FK_ERR_AGAIN);
    assert_null(ends.client->handshake.mem); /* nothing is kept */
    close_ends(&ends);
}

/* --- sealing --- */

static void sealing_in_place_is_the_same(void **state)
{
    static const uint16_t suites[] = {0x1301, 0x1303, 0xc02f, 0xcca8};
    static uint8_t data[FK_RECORD_PLAIN_MAX], out[2 * FK_RECORD_PLAIN_MAX];
    static const size_t lens[] = {1, 15, 16, 1400, FK_RECORD_PLAIN_MAX};
    size_t len, prefix;

    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 5; k++) {
            const struct iovec apart = {data, lens[k]};
            struct iovec here;

            open_ends(&ends, suites[i]);
            memset(data, (int)k + 1, sizeof data);
            assert_ok(fk_record_seal(ends.client, &apart, 1, ends.wire, BIG, &ends.len));
            fk_record_free(ends.client);
            assert_ok(fk_record_new(ends.arena, &ends.keys, FK_RECORD_CLIENT, &ends.client));
            prefix = fk_record_prefix(ends.client);
            memset(out + prefix, (int)k + 1, lens[k]);
            here = (struct iovec){out + prefix, lens[k]};
            assert_ok(fk_record_seal(ends.client, &here, 1, out, sizeof out, &len));
            assert_int_equal(len, ends.len);
            assert_memory_equal(out, ends.wire, len);
            close_ends(&ends);
        }
}

static void too_small_a_buffer_changes_nothing(void **state)
{
    static uint8_t data[40000];
    const struct iovec piece = {data, sizeof data};
    size_t len = 77, max;

    (void)state;
    open_ends(&ends, 0x1301);
    max = fk_record_sealed_max(ends.client, sizeof data);
    assert_err(fk_record_seal(ends.client, &piece, 1, ends.wire, max - 1, &len), FK_ERR_LIMIT);
    assert_int_equal(len, 77);
    assert_int_equal(ends.client->keys->client.seq, 0);
    assert_ok(fk_record_seal(ends.client, &piece, 1, ends.wire, max, &len));
    assert_int_equal(ends.client->keys->client.seq, 3);
    close_ends(&ends);
}

/* Before the bound of an AEAD the engine renews its keys by itself, and the peer follows. */
static void keys_are_renewed_before_the_bound(void **state)
{
    const struct iovec piece = {(void *)(uintptr_t) "x", 1};
    struct fk_opened opened;
    size_t len;

    (void)state;
    make_keys(0x1301, &ends.keys);
    open_ends(&ends, 0x1301);
    ends.client->keys->client.seq = ends.server->keys->client.seq =
        ends.keys.suite->rekey_after - 1;
    for (int i = 0; i < 3; i++) {
        assert_ok(fk_record_seal(ends.client, &piece, 1, ends.wire + ends.len, 1000, &len));
        ends.len += len;
    }
    assert_int_equal(ends.client->keys->client.seq, 2);
    for (int i = 0; i < 4; i++) {
        assert_ok(take(&ends, &opened));
        assert_int_equal(opened.event, i == 1 ? FK_RECORD_NOTHING : FK_RECORD_DATA);
    }
    assert_false(fk_record_control_due(ends.server)); /* it was not asked */
    close_ends(&ends);
}

static void the_last_number_is_never_used(void **state)
{
    size_t len;

    (void)state;
    open_ends(&ends, 0xc02f);
    ends.client->keys->client.seq = UINT64_MAX;
    assert_err(fk_record_seal(ends.client, NULL, 0, ends.wire, BIG, &len), FK_ERR_CRYPTO);
    assert_err(fk_record_seal(ends.client, NULL, 0, ends.wire, BIG, &len), FK_ERR_CLOSED);
    close_ends(&ends);
}

static jmp_buf aborted;

static void on_abort(int signum)
{
    (void)signum;
    longjmp(aborted, 1);
}

/* Whatever a mistake of ours would do to the number, it ends here, not in a second use of a nonce.
 */
static void a_nonce_that_comes_back_is_fatal(void **state)
{
    static const uint32_t suites[] = {0x1301, 0x1303, 0xc02f, 0xcca8};
    static volatile size_t i, fatal;

    (void)state;
    for (i = fatal = 0; i < 4; i++) {
        open_ends(&ends, suites[i]);
        put(&ends, FK_CONTENT_APPLICATION, "once", 4);
        put(&ends, FK_CONTENT_APPLICATION, "again", 5);
        ends.client->write.keys->seq--;
        signal(SIGABRT, on_abort);
        if (setjmp(aborted) == 0)
            put(&ends, FK_CONTENT_APPLICATION, "twice", 5);
        else
            fatal++;
        signal(SIGABRT, SIG_DFL);
        close_ends(&ends);
    }
    assert_int_equal(fatal, 4);
}

static void tls12_has_no_key_update(void **state)
{
    (void)state;
    open_ends(&ends, 0xc02f);
    assert_err(fk_record_update_keys(ends.client, true), FK_ERR_UNSUPPORTED);
    assert_false(fk_record_control_due(ends.client));
    close_ends(&ends);
}

/* --- memory --- */

static void keys_are_wiped(void **state)
{
    static const uint8_t zero[sizeof(struct fk_session_keys)];
    const struct fk_session_keys *slot;

    (void)state;
    open_ends(&ends, 0x1301);
    slot = fk_record_keys(ends.client);
    assert_memory_equal(slot, &ends.keys, sizeof *slot);
    fk_record_free(ends.client);
    ends.client = NULL;
    assert_memory_equal(slot, zero, sizeof *slot);
    close_ends(&ends);
}

static int make_and_take(void *context)
{
    struct fk_record *record = context;
    uint8_t bytes[] = {24, 0, 0};
    int err = fk_record_new(ends.arena, &ends.keys, FK_RECORD_SERVER, &record);

    if (err != FK_OK) {
        assert_ptr_equal(record, context);
        return err;
    }
    err = fk_record_take_handshake(record, bytes, sizeof bytes);
    fk_record_free(record);
    return err;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    make_keys(0x1301, &ends.keys);
    assert_ok(fk_record_arena_new(2, &ends.arena));
    assert_true(failmalloc_try(make_and_take, NULL) >= 2);
    fk_arena_free(ends.arena);
}

static void suites_of_another_version_are_refused(void **state)
{
    uint8_t secret[48] = {0};
    struct fk_session_keys keys = {.suite = NULL};
    struct fk_record *record;

    (void)state;
    assert_null(fk_suite_find(0x1304)); /* CCM */
    assert_err(fk_session_keys_tls13(fk_suite_find(0xc02f), secret, secret, &keys), FK_ERR_INVAL);
    assert_err(fk_session_keys_tls12(fk_suite_find(0x1301), secret, secret, secret, false, &keys),
               FK_ERR_INVAL);
    assert_err(fk_session_keys_tls12(fk_suite_find(0xc02f), secret, secret, secret, true, &keys),
               FK_ERR_INVAL); /* encrypt-then-MAC is for CBC */
    assert_null(keys.suite);
    assert_ok(fk_record_arena_new(1, &ends.arena));
    assert_err(fk_record_new(ends.arena, &keys, FK_RECORD_SERVER, &record), FK_ERR_INVAL);
    fk_arena_free(ends.arena);
}

UNIT_MAIN(cmocka_unit_test(rfc8448_simple_handshake), cmocka_unit_test(each_prefix_waits),
          cmocka_unit_test(each_changed_bit_is_refused),
          cmocka_unit_test(replayed_and_swapped_records_are_refused),
          cmocka_unit_test(too_short_for_a_tag), cmocka_unit_test(all_bad_paddings_are_alike),
          cmocka_unit_test(the_longest_records), cmocka_unit_test(too_long_headers),
          cmocka_unit_test(padding_is_taken_off), cmocka_unit_test(other_types_are_refused),
          cmocka_unit_test(alerts), cmocka_unit_test(records_that_lead_nowhere_are_counted),
          cmocka_unit_test(a_flood_of_updates_is_refused),
          cmocka_unit_test(updates_between_data_are_counted),
          cmocka_unit_test(enough_data_pays_for_updates), cmocka_unit_test(data_does_not_save_up),
          cmocka_unit_test(requests_to_renegotiate_are_counted),
          cmocka_unit_test(an_update_in_two_records), cmocka_unit_test(broken_updates_are_refused),
          cmocka_unit_test(data_within_a_message_is_refused),
          cmocka_unit_test(messages_are_bounded), cmocka_unit_test(several_messages_in_one_record),
          cmocka_unit_test(sealing_in_place_is_the_same),
          cmocka_unit_test(too_small_a_buffer_changes_nothing),
          cmocka_unit_test(keys_are_renewed_before_the_bound),
          cmocka_unit_test(the_last_number_is_never_used),
          cmocka_unit_test(a_nonce_that_comes_back_is_fatal),
          cmocka_unit_test(tls12_has_no_key_update), cmocka_unit_test(keys_are_wiped),
          cmocka_unit_test(each_allocation_may_fail),
          cmocka_unit_test(suites_of_another_version_are_refused))
