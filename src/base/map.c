/* Byte strings to pointers: see map.h. Owns the slots, neither keys nor values. */
#include "base/map.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SIZE = 16 };

struct fk_map_slot {
    const void *key;
    size_t len;
    uint32_t hash;
    void *value; /* NULL: free */
};

/* FNV-1a. */
static uint32_t hash_of(const void *key, size_t len)
{
    const uint8_t *bytes = key;
    uint32_t hash = 2166136261U;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 16777619U;
    return hash;
}

/* The slot of a key, or the free one where it belongs. */
static struct fk_map_slot *seek(const struct fk_map *map, const void *key, size_t len,
                                uint32_t hash)
{
    size_t at = hash & map->mask;

    for (; map->slots[at].value != NULL; at = (at + 1) & map->mask) {
        const struct fk_map_slot *slot = &map->slots[at];

        if (slot->hash == hash && slot->len == len && memcmp(slot->key, key, len) == 0)
            break;
    }
    return &map->slots[at];
}

static int grow(struct fk_map *map)
{
    struct fk_map next = {.count = map->count};
    size_t size = map->slots == NULL ? FIRST_SIZE : 2 * (map->mask + 1);

    if (map->slots != NULL && 2 * (map->count + 1) <= map->mask + 1)
        return FK_OK;
    if ((next.slots = calloc(size, sizeof *next.slots)) == NULL)
        return FK_ERR_NOMEM;
    next.mask = size - 1;
    for (size_t i = 0; map->slots != NULL && i <= map->mask; i++) {
        const struct fk_map_slot *slot = &map->slots[i];

        if (slot->value != NULL)
            *seek(&next, slot->key, slot->len, slot->hash) = *slot;
    }
    free(map->slots);
    *map = next;
    return FK_OK;
}

void fk_map_fini(struct fk_map *map)
{
    free(map->slots);
    *map = (struct fk_map){.count = 0};
}

int fk_map_add(struct fk_map *map, const void *key, size_t len, void *value, void **ret)
{
    uint32_t hash = hash_of(key, len);
    struct fk_map_slot *slot;
    int err = grow(map);

    if (err != FK_OK)
        return err;
    slot = seek(map, key, len, hash);
    if (slot->value == NULL) {
        *slot = (struct fk_map_slot){.key = key, .len = len, .hash = hash, .value = value};
        map->count++;
    }
    if (ret != NULL)
        *ret = slot->value;
    return FK_OK;
}

void *fk_map_find(const struct fk_map *map, const void *key, size_t len)
{
    return map->slots == NULL ? NULL : seek(map, key, len, hash_of(key, len))->value;
}
