/* The edges of a key bundle: see keyset_edges.h. */
#include "signer/keyset_edges.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/writer.h"
#include "wire/keymsg.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_HEAD (1 + FK_EDGES_NAME + 1 + 32 + 32 + 2 + 1 + 4)

enum { SIGNS = 1, BORROWS = 2 }; /* flags of a record */

/* --- building --- */

void fk_edges_builder_init(struct fk_edges_builder *builder)
{
    *builder = (struct fk_edges_builder){.count = 0};
    fk_buf_init(&builder->records, FK_SIGNER_EDGES_BYTES_MAX - FK_EDGES_HEAD);
}

void fk_edges_builder_fini(struct fk_edges_builder *builder)
{
    fk_buf_fini(&builder->records);
}

int fk_edges_builder_add(struct fk_edges_builder *builder, const struct fk_keyset_edge *edge)
{
    size_t name_len = strnlen(edge->name, sizeof edge->name);
    size_t n = edge->all ? 0 : edge->n_skis, len;
    struct fk_writer writer;
    uint8_t *at;
    int err;

    if (builder->count >= FK_KEYD_EDGES_MAX || n > FK_KEYS_MAX || name_len >= FK_EDGES_NAME)
        return FK_ERR_LIMIT;
    if ((err = fk_buf_reserve(&builder->records, RECORD_HEAD + n * FK_SKI_SIZE, &at)) != FK_OK)
        return err;
    fk_writer_init(&writer, at, RECORD_HEAD + n * FK_SKI_SIZE);
    fk_writer_vec8(&writer, edge->name, name_len);
    fk_writer_u8(&writer, (uint8_t)((edge->signs ? SIGNS : 0) | (edge->borrows ? BORROWS : 0)));
    fk_writer_bytes(&writer, edge->request_key, sizeof edge->request_key);
    fk_writer_bytes(&writer, edge->lend_key, sizeof edge->lend_key);
    fk_writer_u16(&writer, edge->permissions);
    fk_writer_u8(&writer, edge->all ? 1 : 0);
    fk_writer_u32(&writer, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        fk_writer_bytes(&writer, edge->skis[i], FK_SKI_SIZE);
    if ((err = fk_writer_end(&writer, &len)) != FK_OK)
        return err;
    fk_buf_commit(&builder->records, len);
    builder->count++;
    return FK_OK;
}

int fk_edges_builder_rule(struct fk_edges_builder *builder, const char *server, bool only)
{
    size_t len = strlen(server);

    if (len >= sizeof builder->server)
        return FK_ERR_LIMIT;
    memset(builder->server, 0, sizeof builder->server);
    memcpy(builder->server, server, len);
    builder->only = only;
    return FK_OK;
}

int fk_edges_head(const struct fk_edges_builder *builder, uint8_t ret[FK_EDGES_HEAD])
{
    struct fk_writer writer;
    size_t len;

    fk_writer_init(&writer, ret, FK_EDGES_HEAD);
    fk_writer_bytes(&writer, builder->server, sizeof builder->server);
    fk_writer_u8(&writer, builder->only ? 1 : 0);
    fk_writer_u32(&writer, builder->count);
    return fk_writer_end(&writer, &len);
}

/* --- loading --- */

static int compare_skis(const void *a, const void *b)
{
    return memcmp(a, b, FK_SKI_SIZE); /* hashes of public keys */
}

bool fk_keyset_edge_may(const struct fk_keyset_edge *edge, const uint8_t ski[FK_SKI_SIZE])
{
    return edge->all || (edge->n_skis > 0 &&
                         bsearch(ski, edge->skis, edge->n_skis, FK_SKI_SIZE, compare_skis) != NULL);
}

static int load_skis(struct fk_keyset_edge *edge, struct fk_reader *reader)
{
    uint8_t(*skis)[FK_SKI_SIZE];
    uint32_t n;

    if (fk_reader_u32(reader, &n) != FK_OK || n > reader->left / FK_SKI_SIZE)
        return FK_ERR_FORMAT;
    if (n == 0)
        return FK_OK;
    if ((skis = calloc(n, sizeof *skis)) == NULL)
        return FK_ERR_NOMEM;
    edge->skis = (const uint8_t(*)[FK_SKI_SIZE])skis;
    edge->n_skis = n;
    if (fk_reader_copy(reader, skis, n * sizeof *skis) != FK_OK)
        return FK_ERR_FORMAT;
    qsort(skis, n, sizeof *skis, compare_skis);
    return FK_OK;
}

static int load_edge(struct fk_edges *edges, struct fk_reader *reader)
{
    struct fk_keyset_edge *edge = &edges->items[edges->count];
    struct fk_reader name;
    uint8_t flags, all;
    int err;

    if (fk_reader_vec8(reader, &name) != FK_OK || name.left >= sizeof edge->name ||
        fk_reader_copy(&name, edge->name, name.left) != FK_OK ||
        fk_reader_u8(reader, &flags) != FK_OK || (flags & ~(SIGNS | BORROWS)) != 0 ||
        fk_reader_copy(reader, edge->request_key, sizeof edge->request_key) != FK_OK ||
        fk_reader_copy(reader, edge->lend_key, sizeof edge->lend_key) != FK_OK ||
        fk_reader_u16(reader, &edge->permissions) != FK_OK || fk_reader_u8(reader, &all) != FK_OK)
        return FK_ERR_FORMAT;
    edge->signs = (flags & SIGNS) != 0;
    edge->borrows = (flags & BORROWS) != 0;
    edge->all = all != 0;
    edges->signing += edge->signs ? 1 : 0;
    edges->count++; /* from here on fk_edges_fini() frees it */
    if ((err = load_skis(edge, reader)) != FK_OK)
        return err;
    if (fk_edges_find(edges, edge->name, strlen(edge->name)) != NULL)
        return FK_ERR_DUPLICATE;
    return fk_map_add(&edges->names, edge->name, strlen(edge->name), edge, NULL);
}

int fk_edges_load(struct fk_edges *edges, struct fk_reader *reader)
{
    uint32_t count;
    uint8_t only;
    int err;

    if (fk_reader_copy(reader, edges->server, sizeof edges->server) != FK_OK ||
        edges->server[sizeof edges->server - 1] != '\0' || fk_reader_u8(reader, &only) != FK_OK ||
        fk_reader_u32(reader, &count) != FK_OK || count > FK_KEYD_EDGES_MAX)
        return FK_ERR_FORMAT;
    edges->only = only != 0;
    if ((edges->items = calloc(count + 1, sizeof *edges->items)) == NULL)
        return FK_ERR_NOMEM;
    while (edges->count < count)
        if ((err = load_edge(edges, reader)) != FK_OK)
            return err;
    return FK_OK;
}

void fk_edges_fini(struct fk_edges *edges)
{
    fk_map_fini(&edges->names);
    for (size_t i = 0; i < edges->count; i++)
        free((void *)(uintptr_t)edges->items[i].skis);
    free(edges->items);
}

const struct fk_keyset_edge *fk_edges_find(const struct fk_edges *edges, const char *name,
                                           size_t len)
{
    return fk_map_find(&edges->names, name, len);
}
