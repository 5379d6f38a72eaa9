/*
 * The edges of a key bundle, which sign their requests or borrow keys: written by a master, read by
 * signers. Private to src/signer/keyset*.c; what others see of it is in keyset.h.
 *
 * Edges: server name 64 (padded with zeros) | only u8 | count u32 | edges, each: name<u8> |
 * flags u8 (1 signs, 2 borrows) | request key 32 | lend key 32 | permissions u16 | all u8 | n u32 |
 * n SKIs of 20 bytes.
 */
#ifndef FK_SIGNER_KEYSET_EDGES_H
#define FK_SIGNER_KEYSET_EDGES_H

#include "base/buf.h"
#include "base/map.h"
#include "base/reader.h"
#include "signer/keyset.h"

#define FK_EDGES_NAME 64
#define FK_EDGES_HEAD (FK_EDGES_NAME + 1 + 4)

struct fk_edges_builder {
    struct fk_buf records;
    char server[FK_EDGES_NAME];
    bool only;
    uint32_t count;
};

void fk_edges_builder_init(struct fk_edges_builder *builder);
void fk_edges_builder_fini(struct fk_edges_builder *builder);
int fk_edges_builder_add(struct fk_edges_builder *builder, const struct fk_keyset_edge *edge);
int fk_edges_builder_rule(struct fk_edges_builder *builder, const char *server, bool only);
/* What stands before the records. */
int fk_edges_head(const struct fk_edges_builder *builder, uint8_t ret[FK_EDGES_HEAD]);

struct fk_edges {
    char server[FK_EDGES_NAME];
    bool only;
    struct fk_keyset_edge *items;
    size_t count, signing;
    struct fk_map names; /* of the items */
};

/* FK_ERR_FORMAT, FK_ERR_DUPLICATE, FK_ERR_NOMEM; what is there is for fk_edges_fini() either way.
 */
int fk_edges_load(struct fk_edges *edges, struct fk_reader *reader);
void fk_edges_fini(struct fk_edges *edges);
const struct fk_keyset_edge *fk_edges_find(const struct fk_edges *edges, const char *name,
                                           size_t len);

#endif
