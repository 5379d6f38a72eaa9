/* base/writer: whole messages or the first error, never a byte outside the buffer. */
#include "unit.h"

#include "base/err.h"
#include "base/writer.h"

/* A message that uses every call; its bytes. */
static void write_everything(struct fk_writer *writer)
{
    size_t outer, inner;

    fk_writer_u8(writer, 0x01);
    fk_writer_u16(writer, 0x0203);
    fk_writer_u24(writer, 0x040506);
    fk_writer_u32(writer, 0x0708090a);
    fk_writer_u64(writer, 0x0b0c0d0e0f101112);
    outer = fk_writer_begin16(writer);
    inner = fk_writer_begin8(writer);
    fk_writer_bytes(writer, "ab", 2);
    fk_writer_end8(writer, inner);
    fk_writer_vec8(writer, "c", 1);
    fk_writer_vec16(writer, NULL, 0);
    fk_writer_fill(writer, 0xee, 2);
    fk_writer_end16(writer, outer);
    fk_writer_bytes(writer, NULL, 0);
}

static const uint8_t everything[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
                                     0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x00, 0x09,
                                     0x02, 'a',  'b',  0x01, 'c',  0x00, 0x00, 0xee, 0xee};

static void bytes_are_big_endian_and_nested(void **state)
{
    uint8_t buffer[sizeof everything];
    struct fk_writer writer;
    size_t len;

    (void)state;
    fk_writer_init(&writer, buffer, sizeof buffer);
    write_everything(&writer);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(len, sizeof everything);
    assert_memory_equal(buffer, everything, sizeof everything);
}

static void every_shorter_buffer_is_an_error(void **state)
{
    uint8_t buffer[sizeof everything + 1];
    struct fk_writer writer;

    (void)state;
    for (size_t size = 0; size < sizeof everything; size++) {
        size_t len = 77;

        memset(buffer, 0x5a, sizeof buffer);
        fk_writer_init(&writer, buffer, size);
        write_everything(&writer);
        assert_err(fk_writer_end(&writer, &len), FK_ERR_LIMIT);
        assert_int_equal(len, 77);
        for (size_t i = size; i < sizeof buffer; i++)
            assert_int_equal(buffer[i], 0x5a);
    }
}

static void first_error_sticks(void **state)
{
    uint8_t buffer[4];
    struct fk_writer writer;
    size_t len;

    (void)state;
    fk_writer_init(&writer, buffer, sizeof buffer);
    fk_writer_u64(&writer, 1);
    fk_writer_u8(&writer, 1); /* would fit */
    assert_int_equal(writer.len, 0);
    assert_err(fk_writer_end(&writer, &len), FK_ERR_LIMIT);
    fk_writer_init(&writer, buffer, sizeof buffer);
    fk_writer_bytes(&writer, buffer, SIZE_MAX);
    assert_err(fk_writer_end(&writer, &len), FK_ERR_LIMIT);
    fk_writer_init(&writer, NULL, 0);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(len, 0);
}

static void vectors_as_long_as_their_prefix_allows(void **state)
{
    static uint8_t buffer[0x10000 + 8], data[0x10000];
    struct fk_writer writer;
    size_t len;

    (void)state;
    fk_writer_init(&writer, buffer, sizeof buffer);
    fk_writer_vec8(&writer, data, 0xff);
    fk_writer_vec16(&writer, data, 0xfe00);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(buffer[0], 0xff);
    assert_int_equal(len, 1 + 0xff + 2 + 0xfe00);

    fk_writer_init(&writer, buffer, sizeof buffer);
    fk_writer_vec16(&writer, data, 0xffff);
    assert_ok(fk_writer_end(&writer, &len));
    assert_int_equal(buffer[0] << 8 | buffer[1], 0xffff);

    fk_writer_init(&writer, buffer, sizeof buffer);
    fk_writer_vec8(&writer, data, 0x100);
    assert_err(fk_writer_end(&writer, &len), FK_ERR_RANGE);
    fk_writer_init(&writer, buffer, sizeof buffer);
    fk_writer_vec16(&writer, data, 0x10000);
    assert_err(fk_writer_end(&writer, &len), FK_ERR_RANGE);
}

UNIT_MAIN(cmocka_unit_test(bytes_are_big_endian_and_nested),
          cmocka_unit_test(every_shorter_buffer_is_an_error), cmocka_unit_test(first_error_sticks),
          cmocka_unit_test(vectors_as_long_as_their_prefix_allows))
