/* base/reader: every read succeeds within its bytes and fails without moving outside them. */
#include "unit.h"

#include "base/err.h"
#include "base/reader.h"

static const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08};

static void integers_are_big_endian(void **state)
{
    struct fk_reader reader;
    uint16_t u16;
    uint32_t u24, u32;
    uint64_t u64;
    uint8_t u8;

    (void)state;
    fk_reader_init(&reader, bytes, sizeof bytes);
    assert_ok(fk_reader_u8(&reader, &u8));
    assert_int_equal(u8, 0x01);
    assert_ok(fk_reader_u16(&reader, &u16));
    assert_int_equal(u16, 0x0203);
    assert_ok(fk_reader_u24(&reader, &u24));
    assert_int_equal(u24, 0x040506);
    assert_err(fk_reader_end(&reader), FK_ERR_TRAILING);
    assert_ok(fk_reader_skip(&reader, 2));
    assert_ok(fk_reader_end(&reader));

    fk_reader_init(&reader, bytes, sizeof bytes);
    assert_ok(fk_reader_u32(&reader, &u32));
    assert_int_equal(u32, 0x01020304);

    fk_reader_init(&reader, bytes, sizeof bytes);
    assert_ok(fk_reader_u64(&reader, &u64));
    assert_int_equal(u64, 0x0102030405060708);
}

static void short_reads_change_nothing(void **state)
{
    struct fk_reader reader, sub = {NULL, 77};
    uint8_t out[4] = {9, 9, 9, 9};
    uint64_t u64 = 5;

    (void)state;
    fk_reader_init(&reader, bytes, 3);
    assert_err(fk_reader_u64(&reader, &u64), FK_ERR_TRUNCATED);
    assert_err(fk_reader_copy(&reader, out, 4), FK_ERR_TRUNCATED);
    assert_err(fk_reader_take(&reader, 4, &sub), FK_ERR_TRUNCATED);
    assert_err(fk_reader_skip(&reader, SIZE_MAX), FK_ERR_TRUNCATED);
    assert_int_equal(u64, 5);
    assert_int_equal(out[0], 9);
    assert_int_equal(sub.left, 77);
    assert_int_equal(reader.left, 3);
    assert_ptr_equal(reader.next, bytes);
}

static void vector_is_read_whole_or_not_at_all(void **state)
{
    static const uint8_t vec[] = {0x00, 0x02, 0xaa, 0xbb, 0xcc};
    struct fk_reader reader, sub;

    (void)state;
    for (size_t len = 0; len < 4; len++) {
        fk_reader_init(&reader, vec, len);
        assert_err(fk_reader_vec16(&reader, &sub), FK_ERR_TRUNCATED);
        assert_int_equal(reader.left, len);
    }
    fk_reader_init(&reader, vec, sizeof vec);
    assert_ok(fk_reader_vec16(&reader, &sub));
    assert_int_equal(sub.left, 2);
    assert_memory_equal(sub.next, vec + 2, 2);
    assert_err(fk_reader_end(&reader), FK_ERR_TRAILING);
}

static void vector_prefixes_have_one_two_or_three_bytes(void **state)
{
    static const uint8_t vec8[] = {0x01, 0xaa}, vec24[] = {0x00, 0x00, 0x01, 0xaa};
    struct fk_reader reader, sub;

    (void)state;
    fk_reader_init(&reader, vec8, sizeof vec8);
    assert_ok(fk_reader_vec8(&reader, &sub));
    assert_int_equal(sub.next[0], 0xaa);
    fk_reader_init(&reader, vec24, sizeof vec24);
    assert_ok(fk_reader_vec24(&reader, &sub));
    assert_int_equal(sub.next[0], 0xaa);
    assert_ok(fk_reader_end(&reader));
}

static void empty_input_is_fine(void **state)
{
    struct fk_reader reader;

    (void)state;
    fk_reader_init(&reader, NULL, 0);
    assert_ok(fk_reader_end(&reader));
    assert_ok(fk_reader_copy(&reader, NULL, 0));
}

static void until_finds_the_first_mark(void **state)
{
    static const uint8_t text[] = {'a', 'b', ' ', ' ', 'c'};
    struct fk_reader reader, word = {0};

    (void)state;
    fk_reader_init(&reader, text, sizeof text);
    assert_ok(fk_reader_until(&reader, ' ', &word));
    assert_int_equal(word.left, 2);
    assert_ok(fk_reader_until(&reader, ' ', &word));
    assert_int_equal(word.left, 0);
    assert_err(fk_reader_until(&reader, ' ', &word), FK_ERR_NOT_FOUND);
    assert_int_equal(reader.left, 1); /* nothing was consumed */
    fk_reader_init(&reader, NULL, 0);
    assert_err(fk_reader_until(&reader, ' ', &word), FK_ERR_NOT_FOUND);
}

UNIT_MAIN(cmocka_unit_test(until_finds_the_first_mark), cmocka_unit_test(integers_are_big_endian),
          cmocka_unit_test(short_reads_change_nothing),
          cmocka_unit_test(vector_is_read_whole_or_not_at_all),
          cmocka_unit_test(vector_prefixes_have_one_two_or_three_bytes),
          cmocka_unit_test(empty_input_is_fine))
