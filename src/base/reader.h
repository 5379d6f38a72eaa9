/*
 * A cursor over bytes that came from a peer.
 *
 * Owns nothing: it borrows the bytes, which must outlive it. It is the only way this project looks
 * at peer bytes: no parser does pointer arithmetic of its own. A failed call consumes nothing and
 * leaves its out parameter untouched, so a parser commits only what it has read whole.
 */
#ifndef FK_BASE_READER_H
#define FK_BASE_READER_H

#include <stddef.h>
#include <stdint.h>

struct fk_reader {
    const uint8_t *next; /* first unread byte */
    size_t left;         /* number of unread bytes */
};

/* Start reading `len` bytes at `data` (NULL only when `len` is 0). */
void fk_reader_init(struct fk_reader *reader, const void *data, size_t len);

/* Big-endian integers of the wire. FK_ERR_TRUNCATED when too few bytes are left. */
int fk_reader_u8(struct fk_reader *reader, uint8_t *ret);
int fk_reader_u16(struct fk_reader *reader, uint16_t *ret);
int fk_reader_u24(struct fk_reader *reader, uint32_t *ret);
int fk_reader_u32(struct fk_reader *reader, uint32_t *ret);
int fk_reader_u64(struct fk_reader *reader, uint64_t *ret);

/* The next `len` bytes as a reader of their own (borrowing the same memory). FK_ERR_TRUNCATED. */
int fk_reader_take(struct fk_reader *reader, size_t len, struct fk_reader *ret_sub);

/* Copy exactly `len` bytes to `dst`. FK_ERR_TRUNCATED. */
int fk_reader_copy(struct fk_reader *reader, void *dst, size_t len);

/* Pass over `len` bytes. FK_ERR_TRUNCATED. */
int fk_reader_skip(struct fk_reader *reader, size_t len);

/*
 * The bytes before the next byte that equals `mark`; passes over the mark too. FK_ERR_NOT_FOUND
 * when there is none.
 */
int fk_reader_until(struct fk_reader *reader, uint8_t mark, struct fk_reader *ret_sub);

/* A vector with a length prefix of 1, 2 or 3 bytes (RFC 8446 section 3.4). FK_ERR_TRUNCATED. */
int fk_reader_vec8(struct fk_reader *reader, struct fk_reader *ret_sub);
int fk_reader_vec16(struct fk_reader *reader, struct fk_reader *ret_sub);
int fk_reader_vec24(struct fk_reader *reader, struct fk_reader *ret_sub);

/* FK_OK when everything was read, else FK_ERR_TRAILING. */
int fk_reader_end(const struct fk_reader *reader);

#endif
