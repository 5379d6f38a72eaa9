/* Bounds-checked reading of big-endian wire data: see reader.h. */
#include "base/reader.h"

#include "base/err.h"

#include <string.h>

void fk_reader_init(struct fk_reader *reader, const void *data, size_t len)
{
    reader->next = data;
    reader->left = len;
}

/* The one place that moves the cursor. The caller has checked that `len` bytes are left. */
static const uint8_t *advance(struct fk_reader *reader, size_t len)
{
    const uint8_t *at = reader->next;

    if (len > 0)
        reader->next += len;
    reader->left -= len;
    return at;
}

static int read_uint(struct fk_reader *reader, size_t size, uint64_t *ret)
{
    const uint8_t *at;
    uint64_t value = 0;

    if (reader->left < size)
        return FK_ERR_TRUNCATED;
    at = advance(reader, size);
    for (size_t i = 0; i < size; i++)
        value = value << 8 | at[i];
    *ret = value;
    return FK_OK;
}

int fk_reader_u8(struct fk_reader *reader, uint8_t *ret)
{
    uint64_t value;
    int err = read_uint(reader, 1, &value);

    if (err == FK_OK)
        *ret = (uint8_t)value;
    return err;
}

int fk_reader_u16(struct fk_reader *reader, uint16_t *ret)
{
    uint64_t value;
    int err = read_uint(reader, 2, &value);

    if (err == FK_OK)
        *ret = (uint16_t)value;
    return err;
}

int fk_reader_u24(struct fk_reader *reader, uint32_t *ret)
{
    uint64_t value;
    int err = read_uint(reader, 3, &value);

    if (err == FK_OK)
        *ret = (uint32_t)value;
    return err;
}

int fk_reader_u32(struct fk_reader *reader, uint32_t *ret)
{
    uint64_t value;
    int err = read_uint(reader, 4, &value);

    if (err == FK_OK)
        *ret = (uint32_t)value;
    return err;
}

int fk_reader_u64(struct fk_reader *reader, uint64_t *ret)
{
    return read_uint(reader, 8, ret);
}

int fk_reader_take(struct fk_reader *reader, size_t len, struct fk_reader *ret_sub)
{
    if (reader->left < len)
        return FK_ERR_TRUNCATED;
    fk_reader_init(ret_sub, advance(reader, len), len);
    return FK_OK;
}

int fk_reader_copy(struct fk_reader *reader, void *dst, size_t len)
{
    if (reader->left < len)
        return FK_ERR_TRUNCATED;
    if (len > 0)
        memcpy(dst, advance(reader, len), len);
    return FK_OK;
}

int fk_reader_skip(struct fk_reader *reader, size_t len)
{
    if (reader->left < len)
        return FK_ERR_TRUNCATED;
    advance(reader, len);
    return FK_OK;
}

int fk_reader_until(struct fk_reader *reader, uint8_t mark, struct fk_reader *ret_sub)
{
    const uint8_t *at = reader->left > 0 ? memchr(reader->next, mark, reader->left) : NULL;
    size_t len;

    if (at == NULL)
        return FK_ERR_NOT_FOUND;
    len = (size_t)(at - reader->next);
    fk_reader_init(ret_sub, advance(reader, len), len);
    advance(reader, 1);
    return FK_OK;
}

static int read_vector(struct fk_reader *reader, size_t prefix, struct fk_reader *ret_sub)
{
    struct fk_reader attempt = *reader;
    uint64_t len;
    int err;

    if ((err = read_uint(&attempt, prefix, &len)) != FK_OK ||
        (err = fk_reader_take(&attempt, (size_t)len, ret_sub)) != FK_OK)
        return err;
    *reader = attempt;
    return FK_OK;
}

int fk_reader_vec8(struct fk_reader *reader, struct fk_reader *ret_sub)
{
    return read_vector(reader, 1, ret_sub);
}

int fk_reader_vec16(struct fk_reader *reader, struct fk_reader *ret_sub)
{
    return read_vector(reader, 2, ret_sub);
}

int fk_reader_vec24(struct fk_reader *reader, struct fk_reader *ret_sub)
{
    return read_vector(reader, 3, ret_sub);
}

int fk_reader_end(const struct fk_reader *reader)
{
    return reader->left == 0 ? FK_OK : FK_ERR_TRAILING;
}
