/*
 * A cursor that writes wire data into a buffer of fixed size.
 *
 * Owns nothing. The first error sticks: later calls do nothing, so a whole message is written and
 * checked once, by fk_writer_end().
 */
#ifndef FK_BASE_WRITER_H
#define FK_BASE_WRITER_H

#include <stddef.h>
#include <stdint.h>

struct fk_writer {
    uint8_t *base;
    size_t size; /* bytes available at base */
    size_t len;  /* bytes written */
    int err;     /* first error, FK_OK so far */
};

void fk_writer_init(struct fk_writer *writer, void *base, size_t size);

/* Big-endian integers. FK_ERR_LIMIT sticks when the buffer is full. */
void fk_writer_u8(struct fk_writer *writer, uint8_t value);
void fk_writer_u16(struct fk_writer *writer, uint16_t value);
void fk_writer_u24(struct fk_writer *writer, uint32_t value);
void fk_writer_u32(struct fk_writer *writer, uint32_t value);
void fk_writer_u64(struct fk_writer *writer, uint64_t value);

/* `len` bytes copied from `data`, or `len` bytes of `value`. */
void fk_writer_bytes(struct fk_writer *writer, const void *data, size_t len);
void fk_writer_fill(struct fk_writer *writer, uint8_t value, size_t len);

/*
 * A vector whose length is known only when it is written. begin returns the mark to hand to the
 * matching end, which fills the 1- or 2-byte prefix in. FK_ERR_RANGE when the vector is too long.
 */
size_t fk_writer_begin8(struct fk_writer *writer);
size_t fk_writer_begin16(struct fk_writer *writer);
void fk_writer_end8(struct fk_writer *writer, size_t mark);
void fk_writer_end16(struct fk_writer *writer, size_t mark);

/* Whole vectors: length prefix and bytes. */
void fk_writer_vec8(struct fk_writer *writer, const void *data, size_t len);
void fk_writer_vec16(struct fk_writer *writer, const void *data, size_t len);

/* The first error, or FK_OK with the message's length in *ret_len. */
int fk_writer_end(const struct fk_writer *writer, size_t *ret_len);

#endif
