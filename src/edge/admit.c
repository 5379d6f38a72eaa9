/* Counting clients: see admit.h. */
#include "edge/admit.h"

#include "base/err.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096 /* lists are short: a worker has some 10,000 clients */

/* A client address with connections. */
struct fk_admit_entry {
    struct fk_admit_entry *next;
    uint8_t ip[16];
    uint32_t bucket;
    uint32_t connections;
};

struct fk_admit {
    uint64_t seed; /* secret: clients choose their addresses, at least within a /48 */
    uint64_t connections;
    uint64_t tokens; /* thousandths of a handshake */
    uint64_t filled_us;
    struct fk_admit_entry *buckets[BUCKETS];
};

int fk_admit_new(struct fk_admit **ret)
{
    struct fk_admit *admit = calloc(1, sizeof *admit);

    if (admit == NULL)
        return FK_ERR_NOMEM;
    if (RAND_bytes((uint8_t *)&admit->seed, sizeof admit->seed) != 1) {
        free(admit);
        return FK_ERR_CRYPTO;
    }
    *ret = admit;
    return FK_OK;
}

void fk_admit_free(struct fk_admit *admit)
{
    if (admit == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (admit->buckets[i] != NULL) {
            struct fk_admit_entry *entry = admit->buckets[i];

            admit->buckets[i] = entry->next;
            free(entry);
        }
    free(admit);
}

/* The part of an address that is counted; false for UNIX sockets, which have none. */
static bool counted_part(const struct fk_addr *peer, uint8_t ret[16])
{
    size_t len = fk_addr_ip(peer, ret);

    if (len == 0)
        return false;
    if (len == 4)
        memset(ret + 4, 0, 12);
    else
        memset(ret + 8, 0xff, 8); /* the /64, and apart from any IPv4 address */
    return true;
}

static uint32_t bucket_of(const struct fk_admit *admit, const uint8_t ip[16])
{
    uint64_t a, b;

    memcpy(&a, ip, sizeof a);
    memcpy(&b, ip + 8, sizeof b);
    a = (a ^ admit->seed) * 0x9e3779b97f4a7c15U;
    a = (a ^ (a >> 29) ^ b) * 0xbf58476d1ce4e5b9U;
    return (uint32_t)(a >> 40) % BUCKETS;
}

/* The entry of an address, made when there is none. NULL when out of memory. */
static struct fk_admit_entry *entry_of(struct fk_admit *admit, const uint8_t ip[16])
{
    uint32_t bucket = bucket_of(admit, ip);
    struct fk_admit_entry *entry;

    for (entry = admit->buckets[bucket]; entry != NULL; entry = entry->next)
        if (memcmp(entry->ip, ip, sizeof entry->ip) == 0)
            return entry;
    if ((entry = calloc(1, sizeof *entry)) == NULL)
        return NULL;
    memcpy(entry->ip, ip, sizeof entry->ip);
    entry->bucket = bucket;
    entry->next = admit->buckets[bucket];
    admit->buckets[bucket] = entry;
    return entry;
}

void fk_admit_connection(struct fk_admit *admit, struct fk_admitted *ret)
{
    admit->connections++;
    *ret = (struct fk_admitted){.counted = true};
}

int fk_admit_address(struct fk_admit *admit, const struct fk_edge_limits *limits,
                     const struct fk_addr *peer, struct fk_admitted *admitted)
{
    struct fk_admit_entry *entry;
    uint8_t ip[16];

    if (limits->connections_per_address == 0 || !counted_part(peer, ip))
        return FK_OK;
    if ((entry = entry_of(admit, ip)) == NULL)
        return FK_ERR_NOMEM;
    if (entry->connections >= limits->connections_per_address)
        return FK_ERR_LIMIT;
    entry->connections++;
    admitted->entry = entry;
    return FK_OK;
}

void fk_admit_leave(struct fk_admit *admit, struct fk_admitted *admitted)
{
    struct fk_admit_entry *entry = admitted->entry;
    struct fk_admit_entry **at;

    if (!admitted->counted)
        return;
    admit->connections--;
    *admitted = (struct fk_admitted){0};
    if (entry == NULL || --entry->connections > 0)
        return;
    for (at = &admit->buckets[entry->bucket]; *at != entry; at = &(*at)->next)
        continue;
    *at = entry->next;
    free(entry);
}

uint64_t fk_admit_count(const struct fk_admit *admit)
{
    return admit->connections;
}

int fk_admit_handshake(struct fk_admit *admit, const struct fk_edge_limits *limits, uint64_t now_us)
{
    uint64_t rate = limits->handshakes_milli;
    uint64_t size = rate > 1000 ? rate : 1000; /* the bucket: one second, one handshake at least */
    uint64_t more;

    if (rate == 0)
        return FK_OK;
    if (admit->filled_us == 0 || now_us - admit->filled_us >= 3600000000) {
        admit->tokens = size;
        admit->filled_us = now_us;
    }
    more = rate * (now_us - admit->filled_us) / 1000000;
    admit->filled_us += more * 1000000 / rate; /* what did not make a token counts next time */
    admit->tokens = admit->tokens + more > size ? size : admit->tokens + more;
    if (admit->tokens < 1000)
        return FK_ERR_RATE;
    admit->tokens -= 1000;
    return FK_OK;
}
