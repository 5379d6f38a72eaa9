/*
 * The hold queue of one direction: takes a stream's segments in any order, overlapping and
 * repeated, and gives its bytes out in order. The first bytes that came for a sequence number are
 * the ones that count, whatever comes later: two readings of one stream are what an attacker in the
 * path would like.
 *
 * Bounded in bytes and pieces. What it does not take is as good as lost on the wire. Sans-I/O, owns
 * its memory, which may hold ciphertext or plaintext and is wiped.
 */
#ifndef FK_INLINE_REASM_H
#define FK_INLINE_REASM_H

#include "base/buf.h"
#include "base/reader.h"
#include "wire/seq.h"

struct fk_reasm_chunk;

struct fk_reasm {
    uint32_t next;       /* the first byte that has not come in order */
    struct fk_buf ready; /* bytes in order, not taken: they end before `next` */
    struct fk_reasm_chunk *first, *last;
    size_t n_chunks, held; /* out of order: pieces, and bytes of memory */
    size_t max;
    uint32_t stamp;
    bool has_fin;
    uint32_t fin; /* where the stream ends */
};

/* What became of a segment. */
struct fk_reasm_put {
    bool news;      /* some of its bytes, or its FIN, were not known */
    bool advanced;  /* bytes came in order */
    bool refused;   /* some were not taken: behind `right`, or a bound was reached, or no memory */
    bool has_again; /* some had come before: these, for a DSACK (RFC 2883) */
    struct fk_seq_range again;
};

/* A stream that begins at `seq`; `max`: bytes held at most, in order and out of order each. */
void fk_reasm_init(struct fk_reasm *reasm, uint32_t seq, size_t max);
void fk_reasm_fini(struct fk_reasm *reasm);

/* A segment's payload at `seq`, and whether its FIN follows. Bytes at `right` and behind are not
 * taken. Sequence numbers that lie 2^31 or more from `next` must not be given. */
void fk_reasm_put(struct fk_reasm *reasm, uint32_t seq, struct fk_reader payload, bool fin,
                  uint32_t right, struct fk_reasm_put *ret);

/* The bytes that are there in order; the owner may change them in place. */
static inline uint8_t *fk_reasm_data(const struct fk_reasm *reasm, size_t *ret_len)
{
    *ret_len = fk_buf_len(&reasm->ready);
    return fk_buf_data(&reasm->ready);
}

/* Take the first `len` of them away. */
void fk_reasm_take(struct fk_reasm *reasm, size_t len);

/* Whether the stream's end has come: FIN, and all before it in order. */
static inline bool fk_reasm_ended(const struct fk_reasm *reasm)
{
    return reasm->has_fin && reasm->next == reasm->fin;
}

/* What is to be selectively acknowledged, the most recent first (RFC 2018 section 4): `max` ranges
 * (FK_REASM_SACKS_MAX) at most. Returns their number. */
size_t fk_reasm_sacks(const struct fk_reasm *reasm, size_t max, struct fk_seq_range *ret);

/* Walk what lies out of order: the first piece comes after NULL, NULL after the last. */
const struct fk_reasm_chunk *fk_reasm_next(const struct fk_reasm *reasm,
                                           const struct fk_reasm_chunk *chunk,
                                           struct fk_seq_range *ret);

#endif
