/* Writing big-endian wire data with one sticky error: see writer.h. */
#include "base/writer.h"

#include "base/err.h"

#include <string.h>

void fk_writer_init(struct fk_writer *writer, void *base, size_t size)
{
    *writer = (struct fk_writer){.base = base, .size = size, .err = FK_OK};
}

/* Room for `len` more bytes, or NULL with the error set. */
static uint8_t *reserve(struct fk_writer *writer, size_t len)
{
    uint8_t *at;

    if (writer->err != FK_OK)
        return NULL;
    if (len > writer->size - writer->len) {
        writer->err = FK_ERR_LIMIT;
        return NULL;
    }
    at = writer->base + writer->len;
    writer->len += len;
    return at;
}

static void store_uint(uint8_t *at, size_t size, uint64_t value)
{
    for (size_t i = size; i > 0; i--) {
        at[i - 1] = (uint8_t)value;
        value >>= 8;
    }
}

static void write_uint(struct fk_writer *writer, size_t size, uint64_t value)
{
    uint8_t *at = reserve(writer, size);

    if (at != NULL)
        store_uint(at, size, value);
}

void fk_writer_u8(struct fk_writer *writer, uint8_t value)
{
    write_uint(writer, 1, value);
}

void fk_writer_u16(struct fk_writer *writer, uint16_t value)
{
    write_uint(writer, 2, value);
}

void fk_writer_u24(struct fk_writer *writer, uint32_t value)
{
    write_uint(writer, 3, value);
}

void fk_writer_u32(struct fk_writer *writer, uint32_t value)
{
    write_uint(writer, 4, value);
}

void fk_writer_u64(struct fk_writer *writer, uint64_t value)
{
    write_uint(writer, 8, value);
}

void fk_writer_bytes(struct fk_writer *writer, const void *data, size_t len)
{
    uint8_t *at = reserve(writer, len);

    if (at != NULL && len > 0)
        memcpy(at, data, len);
}

void fk_writer_fill(struct fk_writer *writer, uint8_t value, size_t len)
{
    uint8_t *at = reserve(writer, len);

    if (at != NULL && len > 0)
        memset(at, value, len);
}

static size_t begin_vector(struct fk_writer *writer, size_t prefix)
{
    size_t mark = writer->len;

    write_uint(writer, prefix, 0);
    return mark;
}

static void end_vector(struct fk_writer *writer, size_t prefix, size_t mark)
{
    size_t len;

    if (writer->err != FK_OK)
        return;
    len = writer->len - mark - prefix;
    if (len >> (8 * prefix) != 0) {
        writer->err = FK_ERR_RANGE;
        return;
    }
    store_uint(writer->base + mark, prefix, len);
}

size_t fk_writer_begin8(struct fk_writer *writer)
{
    return begin_vector(writer, 1);
}

size_t fk_writer_begin16(struct fk_writer *writer)
{
    return begin_vector(writer, 2);
}

void fk_writer_end8(struct fk_writer *writer, size_t mark)
{
    end_vector(writer, 1, mark);
}

void fk_writer_end16(struct fk_writer *writer, size_t mark)
{
    end_vector(writer, 2, mark);
}

void fk_writer_vec8(struct fk_writer *writer, const void *data, size_t len)
{
    size_t mark = fk_writer_begin8(writer);

    fk_writer_bytes(writer, data, len);
    fk_writer_end8(writer, mark);
}

void fk_writer_vec16(struct fk_writer *writer, const void *data, size_t len)
{
    size_t mark = fk_writer_begin16(writer);

    fk_writer_bytes(writer, data, len);
    fk_writer_end16(writer, mark);
}

int fk_writer_end(const struct fk_writer *writer, size_t *ret_len)
{
    if (writer->err != FK_OK)
        return writer->err;
    *ret_len = writer->len;
    return FK_OK;
}
