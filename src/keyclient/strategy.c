/*
 * Which of several usable key servers gets the next request: a table of strategies.
 *
 * A strategy sees candidates only, all equally usable, and decides by their figures.
 */
#include "keyclient/internal.h"

#include <string.h>

typedef size_t choose_fn(struct fk_keypool *pool, const size_t *candidates, size_t n);

/* The first candidate after the cursor: every strategy breaks its ties in turn. */
static size_t next_in_turn(const struct fk_keypool *pool, const size_t *candidates, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (candidates[i] >= pool->cursor)
            return i;
    return 0;
}

static size_t round_robin(struct fk_keypool *pool, const size_t *candidates, size_t n)
{
    return candidates[next_in_turn(pool, candidates, n)];
}

/* The candidate with the least figure, in turn among equals. */
static size_t least(struct fk_keypool *pool, const size_t *candidates, size_t n,
                    uint64_t (*figure)(const struct fk_keyserver *server))
{
    size_t start = next_in_turn(pool, candidates, n);
    size_t best = candidates[start];

    for (size_t i = 1; i < n; i++) {
        size_t other = candidates[(start + i) % n];

        if (figure(pool->members[other].server) < figure(pool->members[best].server))
            best = other;
    }
    return best;
}

/* 0, the least, while nothing is known: it is asked once and then known. Pings keep it fresh. */
static uint64_t average(const struct fk_keyserver *server)
{
    return server->stats.average_us;
}

/*
 * When one more request would be answered, if each took what they take on average: those under way
 * alone say little of a slow server of which nobody asks much. Averages within an octave are alike,
 * and short ones, so that equals are asked in turn.
 */
static uint64_t load(const struct fk_keyserver *server)
{
    uint64_t us = server->stats.average_us;
    uint64_t alike = us < FK_KEYSERVER_ALIKE_US
                         ? FK_KEYSERVER_ALIKE_US
                         : UINT64_C(1) << (63 - (unsigned)__builtin_clzll(us));

    return (server->outstanding + UINT64_C(1)) * alike;
}

static size_t least_outstanding(struct fk_keypool *pool, const size_t *candidates, size_t n)
{
    return least(pool, candidates, n, load);
}

static size_t fastest(struct fk_keypool *pool, const size_t *candidates, size_t n)
{
    return least(pool, candidates, n, average);
}

static bool same_zone(const struct fk_keypool *pool, size_t member)
{
    const char *zone = pool->members[member].server->texts.zone;

    return pool->zone != NULL && zone != NULL && strcmp(pool->zone, zone) == 0;
}

/* Own zone only when it has a candidate; within, smooth weighted round robin. */
static size_t nearest(struct fk_keypool *pool, const size_t *candidates, size_t n)
{
    bool zone_only = false, found = false;
    size_t best = candidates[0];
    int64_t total = 0;

    for (size_t i = 0; i < n; i++)
        zone_only = zone_only || same_zone(pool, candidates[i]);
    for (size_t i = 0; i < n; i++) {
        struct fk_keymember *member = &pool->members[candidates[i]];

        if (zone_only && !same_zone(pool, candidates[i]))
            continue;
        member->current += member->server->config.weight;
        total += member->server->config.weight;
        if (!found || member->current > pool->members[best].current)
            best = candidates[i];
        found = true;
    }
    pool->members[best].current -= total;
    return best;
}

static choose_fn *const strategies[] = {
    [FK_STRATEGY_ROUND_ROBIN] = round_robin,
    [FK_STRATEGY_LEAST_OUTSTANDING] = least_outstanding,
    [FK_STRATEGY_FASTEST] = fastest,
    [FK_STRATEGY_NEAREST] = nearest,
};

size_t fk_strategy_choose(struct fk_keypool *pool, const size_t *candidates, size_t n)
{
    size_t chosen = strategies[pool->strategy](pool, candidates, n);

    pool->cursor = chosen + 1;
    return chosen;
}
