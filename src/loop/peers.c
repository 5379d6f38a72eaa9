/* Counting connections by address: see peers.h. */
#include "loop/peers.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 4096 /* lists are short: a process has some 10,000 peers */

struct fk_peer {
    struct fk_peer *next;
    uint8_t ip[16];
    uint32_t bucket;
    uint32_t connections;
};

struct fk_peers {
    uint64_t seed; /* secret: peers choose their addresses, at least within a /48 */
    struct fk_peer *buckets[BUCKETS];
};

int fk_peers_new(struct fk_peers **ret)
{
    struct fk_peers *peers = calloc(1, sizeof *peers);

    if (peers == NULL)
        return FK_ERR_NOMEM;
    if (getrandom(&peers->seed, sizeof peers->seed, 0) != (ssize_t)sizeof peers->seed) {
        free(peers);
        return FK_ERR_SYS;
    }
    *ret = peers;
    return FK_OK;
}

void fk_peers_free(struct fk_peers *peers)
{
    if (peers == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (peers->buckets[i] != NULL) {
            struct fk_peer *peer = peers->buckets[i];

            peers->buckets[i] = peer->next;
            free(peer);
        }
    free(peers);
}

/* The part of an address that is counted; false for UNIX sockets, which have none. */
static bool counted_part(const struct fk_addr *addr, uint8_t ret[16])
{
    size_t len = fk_addr_ip(addr, ret);

    if (len == 0)
        return false;
    if (len == 4)
        memset(ret + 4, 0, 12);
    else
        memset(ret + 8, 0xff, 8); /* the /64, and apart from any IPv4 address */
    return true;
}

static uint32_t bucket_of(const struct fk_peers *peers, const uint8_t ip[16])
{
    uint64_t a, b;

    memcpy(&a, ip, sizeof a);
    memcpy(&b, ip + 8, sizeof b);
    a = (a ^ peers->seed) * 0x9e3779b97f4a7c15U;
    a = (a ^ (a >> 29) ^ b) * 0xbf58476d1ce4e5b9U;
    return (uint32_t)(a >> 40) % BUCKETS;
}

static struct fk_peer *find(const struct fk_peers *peers, uint32_t bucket, const uint8_t ip[16])
{
    struct fk_peer *peer = peers->buckets[bucket];

    while (peer != NULL && memcmp(peer->ip, ip, sizeof peer->ip) != 0)
        peer = peer->next;
    return peer;
}

static struct fk_peer *add(struct fk_peers *peers, uint32_t bucket, const uint8_t ip[16])
{
    struct fk_peer *peer = calloc(1, sizeof *peer);

    if (peer == NULL)
        return NULL;
    memcpy(peer->ip, ip, sizeof peer->ip);
    peer->bucket = bucket;
    peer->next = peers->buckets[bucket];
    peers->buckets[bucket] = peer;
    return peer;
}

struct fk_peer *fk_peers_find(struct fk_peers *peers, const struct fk_addr *addr)
{
    uint8_t ip[16];

    return counted_part(addr, ip) ? find(peers, bucket_of(peers, ip), ip) : NULL;
}

int fk_peers_join(struct fk_peers *peers, const struct fk_addr *addr, uint64_t max,
                  struct fk_peer **ret)
{
    struct fk_peer *peer;
    uint32_t bucket;
    uint8_t ip[16];

    *ret = NULL;
    if (max == 0 || !counted_part(addr, ip))
        return FK_OK;
    bucket = bucket_of(peers, ip);
    if ((peer = find(peers, bucket, ip)) == NULL && (peer = add(peers, bucket, ip)) == NULL)
        return FK_ERR_NOMEM;
    if (peer->connections >= max)
        return FK_ERR_LIMIT;
    peer->connections++;
    *ret = peer;
    return FK_OK;
}

uint32_t fk_peer_connections(const struct fk_peer *peer)
{
    return peer == NULL ? 0 : peer->connections;
}

void fk_peers_leave(struct fk_peers *peers, struct fk_peer **peer)
{
    struct fk_peer *left = *peer;
    struct fk_peer **at;

    *peer = NULL;
    if (left == NULL || --left->connections > 0)
        return;
    for (at = &peers->buckets[left->bucket]; *at != left; at = &(*at)->next)
        continue;
    *at = left->next;
    free(left);
}
