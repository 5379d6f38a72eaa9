/*
 * Many small secrets of one size, in a few guarded chunks of memory.
 *
 * A struct fk_secret costs pages of its own: right for a private key, wrong for the keys of ten
 * thousand connections. An arena hands out slots of chunks that are each one struct fk_secret:
 * locked, not dumped, fenced, unreadable after fork. Between the slots of a chunk there is no
 * fence.
 */
#ifndef FK_BASE_ARENA_H
#define FK_BASE_ARENA_H

#include <stddef.h>

struct fk_arena;

/* For slots of `size` bytes (1 to FK_ARENA_SLOT_MAX), at most `max` of them at once; allocates no
 * chunk yet. FK_ERR_INVAL, FK_ERR_NOMEM. */
int fk_arena_new(size_t size, size_t max, struct fk_arena **ret);

/* Wipes everything: no slot may be in use (asserted). NULL is fine. */
void fk_arena_free(struct fk_arena *arena);

/*
 * A slot of zero bytes, aligned for any type, the caller's until fk_arena_give(). FK_ERR_LIMIT when
 * `max` are in use, FK_ERR_NOMEM.
 */
int fk_arena_take(struct fk_arena *arena, void **ret);

/* Wipe a slot and take it back; a chunk without slots in use is freed unless it is the only one.
 * NULL is fine. */
void fk_arena_give(struct fk_arena *arena, void *slot);

/* Slots in use. */
size_t fk_arena_used(const struct fk_arena *arena);

#endif
