/* The map of a direction: see streammap.h. A ring of spans with the place of each in both streams,
 * searched by halving. Places are compared by their distance from the map's beginning, which is
 * below FK_STREAM_MAP_REACH, so nothing depends on where the circle is cut. */
#include "inline/streammap.h"

#include "base/err.h"
#include "base/limits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct fk_stream_map_entry {
    uint32_t in, out;
    struct fk_span span;
};

#define ENTRIES_MIN 8

/* --- the ring --- */

static struct fk_stream_map_entry *entry_at(const struct fk_stream_map *map, size_t i)
{
    return &map->ring[(map->head + i) & (map->cap - 1)];
}

static uint32_t in_end(const struct fk_stream_map_entry *entry)
{
    return entry->in + entry->span.in_len;
}

static uint32_t out_end(const struct fk_stream_map_entry *entry)
{
    return entry->out + entry->span.out_len;
}

static int grow(struct fk_stream_map *map)
{
    size_t cap = map->cap == 0 ? ENTRIES_MIN : map->cap * 2;
    struct fk_stream_map_entry *ring = calloc(cap, sizeof *ring);

    if (ring == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < map->count; i++)
        ring[i] = *entry_at(map, i);
    free(map->ring);
    map->ring = ring;
    map->cap = cap;
    map->head = 0;
    return FK_OK;
}

/* The first span that ends behind `at` in the one stream or the other; map->count: none. */
static size_t find(const struct fk_stream_map *map, uint32_t at, bool by_out)
{
    size_t low = 0, high = map->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct fk_stream_map_entry *entry = entry_at(map, middle);

        if (fk_seq_le(by_out ? out_end(entry) : in_end(entry), at))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- life --- */

void fk_stream_map_init(struct fk_stream_map *map, uint32_t in, uint32_t out)
{
    *map = (struct fk_stream_map){.in = in, .in_end = in, .out = out, .out_end = out};
}

void fk_stream_map_fini(struct fk_stream_map *map)
{
    free(map->ring);
    fk_stream_map_init(map, map->in_end, map->out_end);
}

bool fk_stream_map_room(const struct fk_stream_map *map, size_t n)
{
    return n <= FK_STREAM_MAP_SPANS_MAX - map->count;
}

size_t fk_stream_map_memory(const struct fk_stream_map *map)
{
    return map->cap * sizeof *map->ring;
}

static bool is_plain(const struct fk_span *span)
{
    return span->content == span->in_len && span->content == span->out_len;
}

/* Two spans without inner structure, of the same kind, are one longer span. */
static bool is_more_of(const struct fk_span *last, const struct fk_span *span)
{
    if (is_plain(last) && is_plain(span))
        return true;
    return last->content == 0 && span->content == 0 && (last->in_len == 0) == (span->in_len == 0) &&
           (last->out_len == 0) == (span->out_len == 0) &&
           (last->in_len == 0 || last->out_len == 0);
}

static void extend(struct fk_span *last, const struct fk_span *span)
{
    last->in_len += span->in_len;
    last->out_len += span->out_len;
    last->content += span->content;
}

static bool too_far(uint32_t from, uint32_t end, uint32_t more)
{
    return end - from > FK_STREAM_MAP_REACH || more > FK_STREAM_MAP_REACH - (end - from);
}

int fk_stream_map_add(struct fk_stream_map *map, const struct fk_span *span)
{
    struct fk_stream_map_entry *last = map->count > 0 ? entry_at(map, map->count - 1) : NULL;
    int err;

    assert(span->in_len == 0 || span->in_head + span->content <= span->in_len);
    assert(span->out_len == 0 || span->out_head + span->content <= span->out_len);
    if (too_far(map->in, map->in_end, span->in_len) ||
        too_far(map->out, map->out_end, span->out_len))
        return FK_ERR_LIMIT;
    if (last != NULL && is_more_of(&last->span, span)) {
        extend(&last->span, span);
    } else {
        if (!fk_stream_map_room(map, 1))
            return FK_ERR_LIMIT;
        if (map->count == map->cap && (err = grow(map)) != FK_OK)
            return err;
        *entry_at(map, map->count) = (struct fk_stream_map_entry){map->in_end, map->out_end, *span};
        map->count++;
    }
    map->in_end += span->in_len;
    map->out_end += span->out_len;
    return FK_OK;
}

/* --- from the sink's stream to the source's --- */

/* Bytes of a span's source that the sink needs nothing more for, when it has `have` bytes of it,
 * not all. */
static uint32_t acked_of(const struct fk_span *span, uint32_t have)
{
    uint32_t content = have > span->out_head ? have - span->out_head : 0;

    if (content >= span->content)
        content = span->content == 0 ? 0 : span->content - 1;
    return content == 0 ? 0 : span->in_head + content;
}

uint32_t fk_stream_map_acked(const struct fk_stream_map *map, uint32_t out)
{
    size_t i = find(map, out, true);
    const struct fk_stream_map_entry *entry;

    if (i == map->count)
        return map->in_end;
    entry = entry_at(map, i);
    return fk_seq_le(out, entry->out) ? entry->in
                                      : entry->in + acked_of(&entry->span, out - entry->out);
}

/* The first byte of the source whose counterparts all lie at or behind `out`. */
static uint32_t first_behind(const struct fk_stream_map *map, uint32_t out)
{
    size_t i = find(map, out, true);
    const struct fk_stream_map_entry *entry;
    uint32_t into, content;

    if (i == map->count)
        return map->in_end;
    entry = entry_at(map, i);
    if (fk_seq_le(out, entry->out))
        return entry->in;
    into = out - entry->out;
    content = into <= entry->span.out_head ? 1 : into - entry->span.out_head;
    return content >= entry->span.content ? in_end(entry)
                                          : entry->in + entry->span.in_head + content;
}

/* Whether bytes that the box made lie just before `out`, with nothing of the source's between: they
 * may be missing when all of the source is acknowledged up to `in`. */
static bool follows_made(const struct fk_stream_map *map, uint32_t out, uint32_t in)
{
    size_t i = find(map, out, true);

    if (i == map->count || fk_seq_le(out, entry_at(map, i)->out)) {
        if (i == 0)
            return false;
        i--;
    }
    return entry_at(map, i)->span.in_len == 0 && entry_at(map, i)->in == in;
}

bool fk_stream_map_sacked(const struct fk_stream_map *map, struct fk_seq_range out,
                          struct fk_seq_range *ret)
{
    struct fk_seq_range in;

    if (fk_seq_lt(out.start, map->out) || fk_seq_lt(map->out_end, out.end) ||
        !fk_seq_lt(out.start, out.end))
        return false;
    in.start = first_behind(map, out.start);
    in.end = fk_stream_map_acked(map, out.end);
    /* A cumulative acknowledgement must not come to stand where a selective one began. */
    if (follows_made(map, out.start, in.start))
        in.start++;
    if (!fk_seq_lt(in.start, in.end))
        return false;
    *ret = in;
    return true;
}

bool fk_stream_map_source(const struct fk_stream_map *map, uint32_t out, uint32_t *ret)
{
    size_t i = find(map, out, true);
    const struct fk_stream_map_entry *entry;
    uint32_t into;

    if (i == map->count || fk_seq_lt(out, map->out))
        return false;
    entry = entry_at(map, i);
    if (entry->span.in_len == 0)
        return false;
    into = out - entry->out;
    if (into < entry->span.out_head)
        *ret = entry->in;
    else if (into - entry->span.out_head < entry->span.content)
        *ret = entry->in + entry->span.in_head + (into - entry->span.out_head);
    else
        *ret = in_end(entry) - 1;
    return true;
}

/* --- from the source's stream to the sink's --- */

/* Where the counterparts of the byte at `in`, which is in the span, begin, and where they end. */
static uint32_t sent_start(const struct fk_stream_map_entry *entry, uint32_t in)
{
    const struct fk_span *span = &entry->span;
    uint32_t into = in - entry->in;

    if (into <= span->in_head)
        return entry->out;
    into -= span->in_head;
    return into < span->content ? entry->out + span->out_head + into : out_end(entry);
}

static uint32_t sent_end(const struct fk_stream_map_entry *entry, uint32_t in)
{
    const struct fk_span *span = &entry->span;
    uint32_t into = in - entry->in;

    /* A record's head belongs to the first byte of its content. */
    into = into < span->in_head ? 1 : into - span->in_head + 1;
    return into < span->content ? entry->out + span->out_head + into : out_end(entry);
}

bool fk_stream_map_sent(const struct fk_stream_map *map, struct fk_seq_range in,
                        struct fk_seq_range *ret)
{
    struct fk_seq_range out;

    in.start = fk_seq_max(in.start, map->in);
    in.end = fk_seq_min(in.end, map->in_end);
    if (!fk_seq_lt(in.start, in.end))
        return false;
    out.start = sent_start(entry_at(map, find(map, in.start, false)), in.start);
    out.end = sent_end(entry_at(map, find(map, in.end - 1, false)), in.end - 1);
    if (!fk_seq_lt(out.start, out.end))
        return false;
    *ret = out;
    return true;
}

/* --- forgetting --- */

/* A span without inner structure need not be kept whole: streams that pass make one for ever. */
static void trim(struct fk_stream_map_entry *entry, uint32_t out)
{
    struct fk_span *span = &entry->span;
    uint32_t done = fk_seq_lt(entry->out, out) ? out - entry->out : 0;

    if (is_plain(span)) {
        entry->in += done;
        span->in_len -= done;
        span->content -= done;
    } else if (span->in_len > 0) {
        return;
    }
    entry->out += done;
    span->out_len -= done;
}

void fk_stream_map_prune(struct fk_stream_map *map, uint32_t out)
{
    size_t n = find(map, out, true);

    if (n == map->count) {
        fk_stream_map_fini(map);
        return;
    }
    map->head = (map->head + n) & (map->cap - 1);
    map->count -= n;
    trim(entry_at(map, 0), out);
    map->in = entry_at(map, 0)->in;
    map->out = entry_at(map, 0)->out;
}
