/*
 * Requests under way on one channel, found by id in constant time.
 *
 * The table has twice as many slots as there may be requests and ids are given in sequence, so a
 * slot that is still taken is passed over by passing over its id. Ids begin anywhere and wrap.
 */
#include "keyclient/internal.h"

#include "base/err.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

int fk_table_init(struct fk_table *table, uint32_t max_outstanding)
{
    uint32_t size = 64; /* room for pings and listings, too */

    while (size < 2 * max_outstanding)
        size *= 2;
    table->slots = calloc(size, sizeof *table->slots);
    if (table->slots == NULL)
        return FK_ERR_NOMEM;
    table->mask = size - 1;
    return FK_OK;
}

void fk_table_fini(struct fk_table *table)
{
    free(table->slots);
    table->slots = NULL;
}

void fk_table_reset(struct fk_table *table)
{
    memset(table->slots, 0, ((size_t)table->mask + 1) * sizeof *table->slots);
    /* Random only so that answers to an earlier channel's ids are not taken for this one's. */
    if (RAND_bytes((unsigned char *)&table->next_id, sizeof table->next_id) != 1)
        table->next_id = 1;
}

struct fk_slot *fk_table_take(struct fk_table *table, enum fk_slot_kind kind)
{
    for (uint32_t i = 0; i <= table->mask; i++) {
        uint32_t id = table->next_id++;
        struct fk_slot *slot = &table->slots[id & table->mask];

        if (slot->kind != FK_SLOT_FREE && slot->kind != FK_SLOT_GIVEN_UP)
            continue;
        *slot = (struct fk_slot){.id = id, .kind = kind};
        return slot;
    }
    return NULL;
}

struct fk_slot *fk_table_find(struct fk_table *table, uint32_t id)
{
    struct fk_slot *slot = &table->slots[id & table->mask];

    return slot->kind != FK_SLOT_FREE && slot->id == id ? slot : NULL;
}
