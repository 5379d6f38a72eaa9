/*
 * The handshakes under way in one handshaker, by their names. A name is chance but for its first
 * byte, which is the handshaker's number; a handshake is its edge's alone, lives for seconds, and
 * an edge has so many of them and no more. Edges that fill it all make room for those that do not.
 */
#ifndef FK_KEYD_HS_TABLE_H
#define FK_KEYD_HS_TABLE_H

#include "base/limits.h"
#include "base/list.h"
#include "wire/keyop_handshake.h"

#include <stdint.h>

#define FK_HS_BUCKETS 4096 /* a power of two */

/* Embedded in what it is about. */
struct fk_hs_entry {
    struct fk_list bucket;
    struct fk_list age; /* oldest first */
    uint8_t id[FK_HANDSHAKE_ID];
    uint8_t owner[32]; /* SHA-256 of the edge's identity */
    uint16_t edge;     /* its number */
    uint64_t ends_us;
};

struct fk_hs_table {
    uint8_t index; /* of the handshaker */
    size_t count;
    uint16_t counts[FK_KEYD_EDGES_MAX]; /* by edge */
    struct fk_list ages;
    struct fk_list buckets[FK_HS_BUCKETS];
};

void fk_hs_table_init(struct fk_hs_table *table, uint8_t index);

/*
 * Give an entry, with `owner` and `edge` set, a name and a place until FK_HANDSHAKE_LIFE_US from
 * now. FK_ERR_LIMIT: it is one too many; FK_ERR_RANGE: no such edge; FK_ERR_CRYPTO: no chance.
 */
int fk_hs_table_add(struct fk_hs_table *table, struct fk_hs_entry *entry, uint64_t now_us);

/*
 * When there is no room left at all: take the oldest handshake of the edge that has the most out,
 * if that is for one that has fewer. NULL: there is room, or `edge` has as many as any other.
 */
struct fk_hs_entry *fk_hs_table_make_room(struct fk_hs_table *table, uint16_t edge);

/* Take it out. Harmless twice. */
void fk_hs_table_remove(struct fk_hs_table *table, struct fk_hs_entry *entry);

/* The owner's handshake of that name, while it lives; NULL: there is none, or it is another's. */
struct fk_hs_entry *fk_hs_table_find(struct fk_hs_table *table, const uint8_t id[FK_HANDSHAKE_ID],
                                     const uint8_t owner[32], uint64_t now_us);

/* Take the oldest out, if its time is over; NULL: it is not, or there is none. */
struct fk_hs_entry *fk_hs_table_take_expired(struct fk_hs_table *table, uint64_t now_us);

#endif
