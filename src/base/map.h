/*
 * A table from byte strings to pointers: open addressing, at most half full. Keys are borrowed and
 * outlive the table. For what our own side or its configuration decides, not for peers: the hash
 * has no secret.
 */
#ifndef FK_BASE_MAP_H
#define FK_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct fk_map_slot;

/* Zero is an empty one. */
struct fk_map {
    struct fk_map_slot *slots;
    size_t mask; /* number of slots - 1, a power of two */
    size_t count;
};

/* Forget all; what the values point to is the owner's. */
void fk_map_fini(struct fk_map *map);

/*
 * Give a key its value, not NULL. A key that is there keeps the value that it has: *ret (may be
 * NULL) is what it has in the end. FK_ERR_NOMEM.
 */
int fk_map_add(struct fk_map *map, const void *key, size_t len, void *value, void **ret);

/* NULL: not there. */
void *fk_map_find(const struct fk_map *map, const void *key, size_t len);

#endif
