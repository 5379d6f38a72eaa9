/* tls/record: records that are opened before they are there whole, and many at once. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "recordends.h"

static struct ends ends; /* large */

static void fill(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
}

static const uint32_t aeads[] = {0x1301, 0x1302, 0x1303, 0xc02f, 0xc030, 0xcca8};

#define N_AEADS (sizeof aeads / sizeof aeads[0])

/* What of the first record is there before all of it is: its beginning, and no more than came. */
static void assert_early(size_t there, const uint8_t *plain, size_t len)
{
    struct fk_early early;

    assert_ok(fk_record_open_early(ends.server, ends.wire, there, &early));
    assert_true(early.len <= len && early.len <= there);
    if (early.len > 0) {
        assert_ptr_equal(early.data, ends.wire + fk_record_prefix(ends.client));
        assert_memory_equal(early.data, plain, early.len);
    }
    /* All that has come is told but what may be no content. */
    assert_true(early.len + fk_record_prefix(ends.client) >= there || early.len == len);
}

static void data_comes_early(void **state)
{
    enum { LEN = 1500 };
    static const size_t steps[] = {1, 7, 16, 100, 1000};
    uint8_t plain[LEN];
    struct fk_opened opened;

    (void)state;
    fill(plain, LEN);
    for (size_t i = 0; i < N_AEADS; i++)
        for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
            open_ends(&ends, aeads[i]);
            put(&ends, FK_CONTENT_APPLICATION, "before", 6);
            assert_ok(take(&ends, &opened));
            put(&ends, FK_CONTENT_APPLICATION, plain, LEN);
            for (size_t there = 0; there < ends.len; there += steps[k]) {
                assert_early(there, plain, LEN);
                assert_err(fk_record_open(ends.server, ends.wire, there, &opened), FK_ERR_AGAIN);
                fk_record_rest(ends.server); /* in mid-record: the next step still finds its way */
            }
            assert_ok(take(&ends, &opened));
            assert_int_equal(opened.len, LEN);
            assert_memory_equal(opened.data, plain, LEN);
            put(&ends, FK_CONTENT_APPLICATION, "after", 5);
            assert_ok(take(&ends, &opened));
            assert_memory_equal(opened.data, "after", 5);
            close_ends(&ends);
        }
}

/* The bytes that have come may be moved to another place. */
static void a_record_moves_while_it_comes(void **state)
{
    static uint8_t elsewhere[4096], plain[2000];
    struct fk_opened opened;
    struct fk_early early;

    (void)state;
    fill(plain, sizeof plain);
    for (size_t i = 0; i < N_AEADS; i++) {
        open_ends(&ends, aeads[i]);
        put(&ends, FK_CONTENT_APPLICATION, plain, sizeof plain);
        assert_ok(fk_record_open_early(ends.server, ends.wire, 700, &early));
        assert_true(early.len > 600);
        memcpy(elsewhere, ends.wire, ends.len);
        memset(ends.wire, 0, ends.len);
        assert_ok(fk_record_open_early(ends.server, elsewhere, 1400, &early));
        assert_memory_equal(early.data, plain, early.len);
        assert_ok(fk_record_open(ends.server, elsewhere, ends.len, &opened));
        assert_int_equal(opened.len, sizeof plain);
        assert_memory_equal(opened.data, plain, sizeof plain);
        close_ends(&ends);
    }
}

/* Whoever has taken bytes early learns at the end that they were forged. */
static void the_tag_has_the_last_word(void **state)
{
    struct fk_early early;

    (void)state;
    for (size_t i = 0; i < N_AEADS; i++) {
        open_ends(&ends, aeads[i]);
        put(&ends, FK_CONTENT_APPLICATION, "hello, world", 12);
        ends.wire[fk_record_prefix(ends.client)] ^= 1;
        assert_ok(fk_record_open_early(ends.server, ends.wire, ends.len - 1, &early));
        assert_int_equal(early.len, 12);
        assert_memory_equal(early.data, "iello, world", 12);
        assert_refused(&ends, FK_ERR_VERIFY, FK_RA_BAD_RECORD_MAC);
    }
}

static void nothing_early_of_what_is_no_data(void **state)
{
    static const uint32_t suites[] = {0x002f, ETM | 0xc028};
    struct fk_opened opened;
    struct fk_early early;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        open_ends(&ends, suites[i]);
        put(&ends, FK_CONTENT_APPLICATION, "hello, world, hello, world", 26);
        for (size_t there = 0; there <= ends.len; there++) {
            assert_ok(fk_record_open_early(ends.server, ends.wire, there, &early));
            assert_int_equal(early.len, 0);
        }
        assert_ok(take(&ends, &opened));
        assert_int_equal(opened.len, 26);
        close_ends(&ends);
    }
    open_ends(&ends, 0xc02f);
    put(&ends, FK_CONTENT_ALERT, "\1\0", 2);
    assert_ok(fk_record_open_early(ends.server, ends.wire, ends.len, &early));
    assert_int_equal(early.len, 0);
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.event, FK_RECORD_END);
    assert_err(fk_record_open_early(ends.server, ends.wire, ends.len, &early), FK_ERR_CLOSED);
    close_ends(&ends);
    /* Within a handshake message data has no place. */
    open_ends(&ends, 0x1301);
    put(&ends, FK_CONTENT_HANDSHAKE, "\30\0\0", 3);
    assert_ok(take(&ends, &opened));
    put(&ends, FK_CONTENT_APPLICATION, "hello", 5);
    assert_ok(fk_record_open_early(ends.server, ends.wire, ends.len, &early));
    assert_int_equal(early.len, 0);
    assert_refused(&ends, FK_ERR_UNEXPECTED, FK_RA_UNEXPECTED_MESSAGE);
}

/* In TLS 1.3 what came early was no data: the verdict says what it was. */
static void early_bytes_may_turn_out_otherwise(void **state)
{
    struct fk_opened opened;
    struct fk_early early;

    (void)state;
    open_ends(&ends, 0x1301);
    put(&ends, FK_CONTENT_ALERT, "\1\0", 2);
    assert_ok(fk_record_open_early(ends.server, ends.wire, ends.len, &early));
    assert_int_equal(early.len, 2);
    assert_ok(take(&ends, &opened));
    assert_int_equal(opened.event, FK_RECORD_END);
    close_ends(&ends);
}

/* A header that cannot be one is refused before its record has come. */
static void bad_headers_are_refused_early(void **state)
{
    static const struct {
        uint8_t head[FK_RECORD_HEAD];
        int err;
    } bad[] = {{{23, 3, 3, 0x41, 1}, FK_ERR_LIMIT},
               {{22, 3, 3, 0, 40}, FK_ERR_UNEXPECTED},
               {{20, 3, 3, 0, 1}, FK_ERR_UNEXPECTED}};
    struct fk_early early;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        open_ends(&ends, 0x1301);
        memcpy(ends.wire, bad[i].head, FK_RECORD_HEAD);
        assert_err(fk_record_open_early(ends.server, ends.wire, FK_RECORD_HEAD, &early),
                   bad[i].err);
        assert_true(fk_record_control_due(ends.server));
        close_ends(&ends);
    }
    /* Too short for its tag: early nothing, then the verdict. */
    open_ends(&ends, 0x1301);
    memcpy(ends.wire, "\x17\3\3\0\x10", FK_RECORD_HEAD);
    ends.len = FK_RECORD_HEAD + 16;
    assert_ok(fk_record_open_early(ends.server, ends.wire, ends.len, &early));
    assert_int_equal(early.len, 0);
    assert_refused(&ends, FK_ERR_VERIFY, FK_RA_BAD_RECORD_MAC);
}

/* --- many --- */

static void many_records_at_once(void **state)
{
    static const char *const texts[] = {"one", "", "three", "four", "five"};
    struct fk_opened_many many;
    struct iovec pieces[3];
    size_t part;

    (void)state;
    open_ends(&ends, 0x1301);
    for (size_t i = 0; i < 5; i++)
        put(&ends, FK_CONTENT_APPLICATION, texts[i], strlen(texts[i]));
    put(&ends, FK_CONTENT_ALERT, "\1\0", 2);
    assert_ok(fk_record_open_many(ends.server, ends.wire, ends.len, pieces, 3, &many));
    assert_int_equal(many.n, 3); /* an empty record makes no piece */
    assert_int_equal(many.last.event, FK_RECORD_DATA);
    for (size_t i = 0; i < 3; i++) {
        const char *expected = texts[i == 0 ? 0 : i + 1];

        assert_int_equal(pieces[i].iov_len, strlen(expected));
        assert_memory_equal(pieces[i].iov_base, expected, strlen(expected));
    }
    part = many.consumed;
    assert_ok(
        fk_record_open_many(ends.server, ends.wire + part, ends.len - part, pieces, 3, &many));
    assert_int_equal(many.n, 1);
    assert_memory_equal(pieces[0].iov_base, "five", 4);
    assert_int_equal(many.last.event, FK_RECORD_END);
    assert_int_equal(part + many.consumed, ends.len);
    close_ends(&ends);
}

/* What was good before a bad record, or before one that is not whole, is handed out. */
static void the_good_ones_count(void **state)
{
    struct fk_opened_many many;
    struct iovec pieces[8];
    size_t two;

    (void)state;
    open_ends(&ends, 0xcca8);
    put(&ends, FK_CONTENT_APPLICATION, "one", 3);
    put(&ends, FK_CONTENT_APPLICATION, "two", 3);
    two = ends.len;
    put(&ends, FK_CONTENT_APPLICATION, "three", 5);
    assert_err(fk_record_open_many(ends.server, ends.wire, two + 4, pieces, 8, &many),
               FK_ERR_AGAIN);
    assert_int_equal(many.n, 2);
    assert_int_equal(many.consumed, two);
    ends.wire[ends.len - 1] ^= 1;
    assert_err(fk_record_open_many(ends.server, ends.wire + two, ends.len - two, pieces, 8, &many),
               FK_ERR_VERIFY);
    assert_int_equal(many.n, 0);
    close_ends(&ends);
    open_ends(&ends, 0xcca8);
    put(&ends, FK_CONTENT_APPLICATION, "one", 3);
    put(&ends, FK_CONTENT_APPLICATION, "two", 3);
    ends.wire[ends.len - 1] ^= 1;
    assert_err(fk_record_open_many(ends.server, ends.wire, ends.len, pieces, 8, &many),
               FK_ERR_VERIFY);
    assert_int_equal(many.n, 1);
    assert_memory_equal(pieces[0].iov_base, "one", 3);
    close_ends(&ends);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(data_comes_early),
        cmocka_unit_test(a_record_moves_while_it_comes),
        cmocka_unit_test(the_tag_has_the_last_word),
        cmocka_unit_test(nothing_early_of_what_is_no_data),
        cmocka_unit_test(early_bytes_may_turn_out_otherwise),
        cmocka_unit_test(bad_headers_are_refused_early),
        cmocka_unit_test(many_records_at_once),
        cmocka_unit_test(the_good_ones_count),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
