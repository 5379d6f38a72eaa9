/* Sequence numbers of TCP: a circle of 2^32 (RFC 9293 section 3.4). Two are compared as what they
 * are if they lie less than 2^31 apart, which every window sees to. */
#ifndef FK_WIRE_SEQ_H
#define FK_WIRE_SEQ_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes from `start` up to, not including, `end`. */
struct fk_seq_range {
    uint32_t start, end;
};

/* How far `b` is ahead of `a`; negative: behind it. */
static inline int32_t fk_seq_diff(uint32_t b, uint32_t a)
{
    return (int32_t)(b - a);
}

static inline bool fk_seq_lt(uint32_t a, uint32_t b)
{
    return fk_seq_diff(a, b) < 0;
}

static inline bool fk_seq_le(uint32_t a, uint32_t b)
{
    return fk_seq_diff(a, b) <= 0;
}

static inline uint32_t fk_seq_max(uint32_t a, uint32_t b)
{
    return fk_seq_lt(a, b) ? b : a;
}

static inline uint32_t fk_seq_min(uint32_t a, uint32_t b)
{
    return fk_seq_lt(a, b) ? a : b;
}

#endif
