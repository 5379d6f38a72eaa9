/*
 * Slots of secret memory: see arena.h.
 *
 * A chunk's memory is [struct chunk][cell][cell]...; a cell is a header, which names the chunk, and
 * the slot. Cells that are free are chained through their headers; chunks with a free cell come
 * first in the arena's list, so that taking looks at the first one only.
 */
#include "base/arena.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>

struct cell {
    alignas(max_align_t) struct chunk *chunk;
    struct cell *next; /* while free */
};

struct chunk {
    struct fk_list link;
    struct fk_secret *memory; /* holds this struct too */
    struct cell *first;       /* free cell; NULL: full */
    size_t used;
};

struct fk_arena {
    struct fk_list chunks; /* those with a free cell first */
    size_t n_chunks;
    size_t slot, cell; /* sizes */
    size_t max, used;
};

#define ALIGN(n) (((n) + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t))

int fk_arena_new(size_t size, size_t max, struct fk_arena **ret)
{
    struct fk_arena *arena;

    if (size == 0 || size > FK_ARENA_SLOT_MAX)
        return FK_ERR_INVAL;
    if ((arena = calloc(1, sizeof *arena)) == NULL)
        return FK_ERR_NOMEM;
    fk_list_init(&arena->chunks);
    arena->slot = size;
    arena->cell = sizeof(struct cell) + ALIGN(size);
    arena->max = max;
    *ret = arena;
    return FK_OK;
}

static void free_chunk(struct fk_arena *arena, struct chunk *chunk)
{
    fk_list_del(&chunk->link);
    arena->n_chunks--;
    fk_secret_free(chunk->memory); /* and the chunk with it */
}

void fk_arena_free(struct fk_arena *arena)
{
    if (arena == NULL)
        return;
    assert(arena->used == 0);
    while (!fk_list_empty(&arena->chunks))
        free_chunk(arena, fk_container(arena->chunks.next, struct chunk, link));
    free(arena);
}

static int add_chunk(struct fk_arena *arena)
{
    size_t cells = (FK_ARENA_CHUNK - ALIGN(sizeof(struct chunk))) / arena->cell;
    struct fk_secret *memory;
    struct chunk *chunk;
    uint8_t *at;
    int err = fk_secret_new(FK_ARENA_CHUNK, &memory);

    if (err != FK_OK)
        return err;
    at = fk_secret_data(memory); /* ends at a page's end and is a multiple of all alignments */
    chunk = (struct chunk *)(void *)at;
    chunk->memory = memory;
    at += ALIGN(sizeof *chunk);
    for (size_t i = cells; i > 0; i--) {
        struct cell *cell = (struct cell *)(void *)(at + (i - 1) * arena->cell);

        cell->chunk = chunk;
        cell->next = chunk->first;
        chunk->first = cell;
    }
    fk_list_prepend(&arena->chunks, &chunk->link);
    arena->n_chunks++;
    return FK_OK;
}

/* The first chunk if it has a free cell. */
static struct chunk *first_free(struct fk_arena *arena)
{
    struct chunk *chunk;

    if (fk_list_empty(&arena->chunks))
        return NULL;
    chunk = fk_container(arena->chunks.next, struct chunk, link);
    return chunk->first != NULL ? chunk : NULL;
}

int fk_arena_take(struct fk_arena *arena, void **ret)
{
    struct chunk *chunk;
    struct cell *cell;
    int err;

    if (arena->used == arena->max)
        return FK_ERR_LIMIT;
    if (first_free(arena) == NULL && (err = add_chunk(arena)) != FK_OK)
        return err;
    chunk = first_free(arena);
    cell = chunk->first;
    chunk->first = cell->next;
    chunk->used++;
    arena->used++;
    if (chunk->first == NULL) { /* full: behind those that are not */
        fk_list_del(&chunk->link);
        fk_list_append(&arena->chunks, &chunk->link);
    }
    *ret = cell + 1;
    return FK_OK;
}

void fk_arena_give(struct fk_arena *arena, void *slot)
{
    struct chunk *chunk;
    struct cell *cell;

    if (slot == NULL)
        return;
    cell = (struct cell *)slot - 1;
    chunk = cell->chunk;
    assert(chunk->used > 0);
    fk_wipe(slot, arena->slot);
    if (chunk->first == NULL) {
        fk_list_del(&chunk->link);
        fk_list_prepend(&arena->chunks, &chunk->link);
    }
    cell->next = chunk->first;
    chunk->first = cell;
    chunk->used--;
    arena->used--;
    if (chunk->used == 0 && arena->n_chunks > 1)
        free_chunk(arena, chunk);
}

size_t fk_arena_used(const struct fk_arena *arena)
{
    return arena->used;
}
