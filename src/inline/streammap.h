/*
 * The map of one direction of a connection: which bytes of the stream that its source sends became
 * which bytes of the stream that its sink receives. Record boundaries are in it, so that what the
 * sink says about its stream (acknowledged, selectively acknowledged) can be told to the source
 * about its own, and what the source sends again can be found among the bytes that went on.
 *
 * Positions are TCP sequence numbers and wrap. The map begins where the sink has acknowledged all,
 * and is bounded: fk_stream_map_room(). Sans-I/O, owns its memory, holds no byte of either stream.
 */
#ifndef FK_INLINE_STREAMMAP_H
#define FK_INLINE_STREAMMAP_H

#include "wire/seq.h"

#include <stddef.h>

/*
 * What belongs together: a record and its content, or bytes that have no counterpart (a handshake,
 * alerts: in_len or out_len is 0), or a piece of a stream that passes as it is. Both sides have the
 * same `content` bytes, in_head and out_head bytes behind their beginnings.
 */
struct fk_span {
    uint32_t in_len, out_len;
    uint32_t content;
    uint16_t in_head, out_head;
};

struct fk_stream_map_entry;

struct fk_stream_map {
    struct fk_stream_map_entry *ring;
    size_t cap, head, count;  /* of entries; `cap` is 0 or a power of two */
    uint32_t in, out;         /* where the map begins */
    uint32_t in_end, out_end; /* and ends */
};

/* An empty map whose streams begin at these sequence numbers. Allocates nothing yet. */
void fk_stream_map_init(struct fk_stream_map *map, uint32_t in, uint32_t out);
void fk_stream_map_fini(struct fk_stream_map *map);

/* Whether `n` more spans fit: else nothing is to be transformed until the sink acknowledges. */
bool fk_stream_map_room(const struct fk_stream_map *map, size_t n);

/* Bytes of memory that it holds. */
size_t fk_stream_map_memory(const struct fk_stream_map *map);

/*
 * Append a span; spans without content and without a counterpart of the same kind become one, and
 * so do those that are content and nothing else. FK_ERR_LIMIT: fk_stream_map_room() is false, or
 * the map would reach too far around the circle (FK_STREAM_MAP_REACH); FK_ERR_NOMEM.
 */
int fk_stream_map_add(struct fk_stream_map *map, const struct fk_span *span);

/*
 * How far the source may be acknowledged when the sink has acknowledged `out`: up to the first byte
 * that the sink needs more for. The last byte of content counts only with all that follows it in
 * its record, the tag. `out` lies between the map's ends.
 */
uint32_t fk_stream_map_acked(const struct fk_stream_map *map, uint32_t out);

/*
 * What the sink has out of order, said about the source's stream: the bytes whose every counterpart
 * lies within *out, but for a first one that the box's own bytes come before. False: none.
 */
bool fk_stream_map_sacked(const struct fk_stream_map *map, struct fk_seq_range out,
                          struct fk_seq_range *ret);

/* What became of these bytes of the source: with the heads and tails of records that they begin or
 * end; of an opened record's head, the first byte of its content. False: nothing, or they are not
 * in the map. */
bool fk_stream_map_sent(const struct fk_stream_map *map, struct fk_seq_range in,
                        struct fk_seq_range *ret);

/* The source's byte that the sink's byte at `out` belongs to. False: none, the box made it. */
bool fk_stream_map_source(const struct fk_stream_map *map, uint32_t out, uint32_t *ret);

/* The sink has acknowledged `out`, between the map's ends: forget what lies before. */
void fk_stream_map_prune(struct fk_stream_map *map, uint32_t out);

#endif
