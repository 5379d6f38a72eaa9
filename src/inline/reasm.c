/* The hold queue: see reasm.h. Bytes out of order lie in chunks, sorted and disjoint, each with
 * some room for more behind it, so that a peer that sends single bytes is cheap, too. */
#include "inline/reasm.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

struct fk_reasm_chunk {
    struct fk_reasm_chunk *next;
    uint32_t seq, len, cap;
    uint32_t stamp; /* grows with each arrival */
    uint8_t bytes[];
};

static uint32_t end_of(const struct fk_reasm_chunk *chunk)
{
    return chunk->seq + chunk->len;
}

/* --- life --- */

void fk_reasm_init(struct fk_reasm *reasm, uint32_t seq, size_t max)
{
    *reasm = (struct fk_reasm){.next = seq, .max = max};
    fk_buf_init_secret(&reasm->ready, max);
    fk_buf_keep(&reasm->ready);
}

static size_t cost_of(const struct fk_reasm_chunk *chunk)
{
    return sizeof *chunk + chunk->cap;
}

static void drop_first(struct fk_reasm *reasm)
{
    struct fk_reasm_chunk *chunk = reasm->first;

    reasm->first = chunk->next;
    if (reasm->first == NULL)
        reasm->last = NULL;
    reasm->n_chunks--;
    reasm->held -= cost_of(chunk);
    fk_wipe(chunk->bytes, chunk->len);
    free(chunk);
}

void fk_reasm_fini(struct fk_reasm *reasm)
{
    while (reasm->first != NULL)
        drop_first(reasm);
    fk_buf_fini(&reasm->ready);
}

/* --- out of order --- */

static struct fk_reasm_chunk *chunk_new(struct fk_reasm *reasm, uint32_t len)
{
    uint32_t cap = len < FK_REASM_CHUNK_MIN ? FK_REASM_CHUNK_MIN : len;
    size_t cost = sizeof(struct fk_reasm_chunk) + cap;
    struct fk_reasm_chunk *chunk;

    if (reasm->n_chunks == FK_REASM_CHUNKS_MAX || cost > reasm->max ||
        reasm->held > reasm->max - cost || (chunk = malloc(cost)) == NULL)
        return NULL;
    *chunk = (struct fk_reasm_chunk){.cap = cap};
    reasm->n_chunks++;
    reasm->held += cost;
    return chunk;
}

/* Bytes that nobody has, behind `before` (NULL: the first of all). False: not taken. */
static bool insert(struct fk_reasm *reasm, struct fk_reasm_chunk *before, uint32_t seq,
                   struct fk_reader bytes)
{
    uint32_t len = (uint32_t)bytes.left;
    struct fk_reasm_chunk *chunk = before;

    if (before == NULL || end_of(before) != seq || before->cap - before->len < len) {
        if ((chunk = chunk_new(reasm, len)) == NULL)
            return false;
        chunk->seq = seq;
        chunk->next = before == NULL ? reasm->first : before->next;
        *(before == NULL ? &reasm->first : &before->next) = chunk;
        if (chunk->next == NULL)
            reasm->last = chunk;
    }
    memcpy(chunk->bytes + chunk->len, bytes.next, len);
    chunk->len += len;
    chunk->stamp = reasm->stamp;
    return true;
}

static void note_again(struct fk_reasm_put *ret, uint32_t start, uint32_t end)
{
    if (!ret->has_again)
        ret->again = (struct fk_seq_range){start, end};
    ret->has_again = true;
}

/* The bytes of a segment up to `end` that no chunk has, into the gap that begins at *seq. */
static void fill_gap(struct fk_reasm *reasm, struct fk_reasm_chunk *before, uint32_t *seq,
                     uint32_t end, struct fk_reader *bytes, struct fk_reasm_put *ret)
{
    struct fk_reader part;

    if (!fk_seq_lt(*seq, end) || fk_reader_take(bytes, end - *seq, &part) != FK_OK)
        return;
    if (insert(reasm, before, *seq, part))
        ret->news = true;
    else
        ret->refused = true;
    *seq = end;
}

/* What a chunk has already: passed over, the first bytes stay. */
static void pass_over(struct fk_reasm *reasm, struct fk_reasm_chunk *chunk, uint32_t *seq,
                      struct fk_reader *bytes, struct fk_reasm_put *ret)
{
    uint32_t end = fk_seq_min(end_of(chunk), *seq + (uint32_t)bytes->left);

    if (!fk_seq_lt(*seq, end))
        return;
    note_again(ret, *seq, end);
    chunk->stamp = reasm->stamp;
    if (fk_reader_skip(bytes, end - *seq) == FK_OK)
        *seq = end;
}

static void hold(struct fk_reasm *reasm, uint32_t seq, struct fk_reader bytes,
                 struct fk_reasm_put *ret)
{
    struct fk_reasm_chunk *before = NULL, *chunk = reasm->first;

    if (reasm->last != NULL && fk_seq_le(end_of(reasm->last), seq)) {
        before = reasm->last; /* as mostly: it goes behind all others */
        chunk = NULL;
    }
    for (; chunk != NULL && bytes.left > 0; before = chunk, chunk = chunk->next) {
        if (fk_seq_le(end_of(chunk), seq))
            continue;
        fill_gap(reasm, before, &seq, fk_seq_min(chunk->seq, seq + (uint32_t)bytes.left), &bytes,
                 ret);
        pass_over(reasm, chunk, &seq, &bytes, ret);
    }
    fill_gap(reasm, before, &seq, seq + (uint32_t)bytes.left, &bytes, ret);
}

/* --- in order --- */

static bool append(struct fk_reasm *reasm, const uint8_t *bytes, size_t len)
{
    if (fk_buf_append(&reasm->ready, bytes, len) != FK_OK)
        return false;
    reasm->next += (uint32_t)len;
    return true;
}

/* Chunks that have become in order. */
static void join(struct fk_reasm *reasm)
{
    struct fk_reasm_chunk *chunk;

    while ((chunk = reasm->first) != NULL && fk_seq_le(chunk->seq, reasm->next)) {
        uint32_t known = reasm->next - chunk->seq;

        if (known < chunk->len && !append(reasm, chunk->bytes + known, chunk->len - known))
            return;
        drop_first(reasm);
    }
}

/* Before the first chunk the segment is news as it is; what chunks have is theirs. */
static void advance(struct fk_reasm *reasm, struct fk_reader bytes, struct fk_reasm_put *ret)
{
    uint32_t end = reasm->next + (uint32_t)bytes.left;
    struct fk_reader part;
    uint32_t stop = reasm->first == NULL ? end : fk_seq_min(end, reasm->first->seq);

    if (fk_reader_take(&bytes, stop - reasm->next, &part) != FK_OK ||
        !append(reasm, part.next, part.left)) {
        ret->refused = true;
        return;
    }
    ret->news = ret->advanced = true;
    if (bytes.left > 0)
        hold(reasm, stop, bytes, ret);
    join(reasm);
}

/* --- a segment --- */

/* Bytes that came in order before are passed over. */
static void trim_known(struct fk_reasm *reasm, uint32_t *seq, struct fk_reader *bytes,
                       struct fk_reasm_put *ret)
{
    uint32_t known;

    if (!fk_seq_lt(*seq, reasm->next))
        return;
    known = reasm->next - *seq;
    if (known > bytes->left)
        known = (uint32_t)bytes->left;
    if (known > 0)
        note_again(ret, *seq, *seq + known);
    if (fk_reader_skip(bytes, known) == FK_OK)
        *seq += known;
}

static void trim_far(uint32_t seq, uint32_t right, struct fk_reader *bytes,
                     struct fk_reasm_put *ret)
{
    size_t allowed = fk_seq_lt(seq, right) ? right - seq : 0;

    if (bytes->left <= allowed)
        return;
    bytes->left = allowed;
    ret->refused = true;
}

/* The first FIN is the one that counts, unless bytes have come that lie behind it. */
static void take_fin(struct fk_reasm *reasm, uint32_t at, struct fk_reasm_put *ret)
{
    uint32_t known = reasm->last == NULL ? reasm->next : end_of(reasm->last);

    if (reasm->has_fin || fk_seq_lt(at, known))
        return;
    reasm->has_fin = true;
    reasm->fin = at;
    ret->news = true;
}

void fk_reasm_put(struct fk_reasm *reasm, uint32_t seq, struct fk_reader payload, bool fin,
                  uint32_t right, struct fk_reasm_put *ret)
{
    uint32_t end = seq + (uint32_t)payload.left;

    *ret = (struct fk_reasm_put){.news = false};
    reasm->stamp++;
    if (fin && fk_seq_le(end, right))
        take_fin(reasm, end, ret);
    if (reasm->has_fin)
        right = fk_seq_min(right, reasm->fin);
    trim_known(reasm, &seq, &payload, ret);
    trim_far(seq, right, &payload, ret);
    if (payload.left == 0)
        return;
    if (seq == reasm->next)
        advance(reasm, payload, ret);
    else
        hold(reasm, seq, payload, ret);
}

void fk_reasm_take(struct fk_reasm *reasm, size_t len)
{
    fk_buf_consume(&reasm->ready, len);
    join(reasm); /* what did not fit before */
}

/* --- selective acknowledgements --- */

struct block {
    struct fk_seq_range range;
    uint32_t stamp;
};

/* Keep the `max` most recent, sorted so. */
static size_t keep_recent(struct block *blocks, size_t n, size_t max, struct block block)
{
    size_t i = n < max ? n : max - 1;

    if (n == max && fk_seq_le(block.stamp, blocks[max - 1].stamp))
        return n;
    for (; i > 0 && fk_seq_lt(blocks[i - 1].stamp, block.stamp); i--)
        blocks[i] = blocks[i - 1];
    blocks[i] = block;
    return n < max ? n + 1 : max;
}

size_t fk_reasm_sacks(const struct fk_reasm *reasm, size_t max, struct fk_seq_range *ret)
{
    struct block blocks[FK_REASM_SACKS_MAX], block;
    const struct fk_reasm_chunk *chunk = reasm->first;
    size_t n = 0;

    if (max > FK_REASM_SACKS_MAX)
        max = FK_REASM_SACKS_MAX;
    while (chunk != NULL && max > 0) {
        block = (struct block){{chunk->seq, end_of(chunk)}, chunk->stamp};
        for (chunk = chunk->next; chunk != NULL && chunk->seq == block.range.end;
             chunk = chunk->next) {
            block.range.end = end_of(chunk);
            block.stamp = fk_seq_max(block.stamp, chunk->stamp);
        }
        n = keep_recent(blocks, n, max, block);
    }
    for (size_t i = 0; i < n; i++)
        ret[i] = blocks[i].range;
    return n;
}

const struct fk_reasm_chunk *fk_reasm_next(const struct fk_reasm *reasm,
                                           const struct fk_reasm_chunk *chunk,
                                           struct fk_seq_range *ret)
{
    chunk = chunk == NULL ? reasm->first : chunk->next;
    if (chunk != NULL)
        *ret = (struct fk_seq_range){chunk->seq, end_of(chunk)};
    return chunk;
}
