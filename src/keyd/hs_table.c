/* Handshakes by name: see hs_table.h. */
#include "keyd/hs_table.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/rand.h>
#include <string.h>

_Static_assert(FK_HANDSHAKES_EDGE_MAX <= UINT16_MAX, "counted in 16 bits");

void fk_hs_table_init(struct fk_hs_table *table, uint8_t index)
{
    table->index = index;
    table->count = 0;
    memset(table->counts, 0, sizeof table->counts);
    fk_list_init(&table->ages);
    for (size_t i = 0; i < FK_HS_BUCKETS; i++)
        fk_list_init(&table->buckets[i]);
}

/* Names are chance: their bytes need no hash, and nobody can choose them to collide. */
static struct fk_list *bucket_of(struct fk_hs_table *table, const uint8_t id[FK_HANDSHAKE_ID])
{
    return &table->buckets[((unsigned)id[1] << 8 | id[2]) % FK_HS_BUCKETS];
}

int fk_hs_table_add(struct fk_hs_table *table, struct fk_hs_entry *entry, uint64_t now_us)
{
    if (entry->edge >= FK_KEYD_EDGES_MAX)
        return FK_ERR_RANGE;
    if (table->count >= FK_HANDSHAKES_MAX || table->counts[entry->edge] >= FK_HANDSHAKES_EDGE_MAX)
        return FK_ERR_LIMIT;
    if (RAND_bytes(entry->id, sizeof entry->id) != 1)
        return FK_ERR_CRYPTO;
    entry->id[0] = table->index;
    entry->ends_us = now_us + FK_HANDSHAKE_LIFE_US;
    fk_list_append(bucket_of(table, entry->id), &entry->bucket);
    fk_list_append(&table->ages, &entry->age);
    table->count++;
    table->counts[entry->edge]++;
    return FK_OK;
}

struct fk_hs_entry *fk_hs_table_make_room(struct fk_hs_table *table, uint16_t edge)
{
    struct fk_list *item;
    uint16_t most = 0;

    if (table->count < FK_HANDSHAKES_MAX || edge >= FK_KEYD_EDGES_MAX)
        return NULL;
    for (uint16_t i = 1; i < FK_KEYD_EDGES_MAX; i++)
        if (table->counts[i] > table->counts[most])
            most = i;
    if (table->counts[most] <= table->counts[edge] + 1)
        return NULL; /* it would only change places */
    fk_list_each (item, &table->ages) {
        struct fk_hs_entry *entry = fk_container(item, struct fk_hs_entry, age);

        if (entry->edge == most) {
            fk_hs_table_remove(table, entry);
            return entry;
        }
    }
    return NULL;
}

void fk_hs_table_remove(struct fk_hs_table *table, struct fk_hs_entry *entry)
{
    if (fk_list_empty(&entry->age))
        return;
    fk_list_del(&entry->bucket);
    fk_list_del(&entry->age);
    table->count--;
    table->counts[entry->edge]--;
}

struct fk_hs_entry *fk_hs_table_find(struct fk_hs_table *table, const uint8_t id[FK_HANDSHAKE_ID],
                                     const uint8_t owner[32], uint64_t now_us)
{
    struct fk_list *item, *bucket = bucket_of(table, id);

    fk_list_each (item, bucket) {
        struct fk_hs_entry *entry = fk_container(item, struct fk_hs_entry, bucket);

        if (fk_equal_ct(entry->id, id, sizeof entry->id) &&
            fk_equal_ct(entry->owner, owner, sizeof entry->owner))
            return now_us < entry->ends_us ? entry : NULL;
    }
    return NULL;
}

struct fk_hs_entry *fk_hs_table_take_expired(struct fk_hs_table *table, uint64_t now_us)
{
    struct fk_hs_entry *oldest;

    if (fk_list_empty(&table->ages))
        return NULL;
    oldest = fk_container(table->ages.next, struct fk_hs_entry, age);
    if (now_us < oldest->ends_us)
        return NULL;
    fk_hs_table_remove(table, oldest);
    return oldest;
}
