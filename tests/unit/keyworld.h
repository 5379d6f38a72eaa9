/*
 * A key client with scripted servers around it, all in the test's own loop. The world of a test is
 * made by world_init(), world_start() and ended by world_stop().
 */
#ifndef FK_TESTS_KEYWORLD_H
#define FK_TESTS_KEYWORLD_H

#include "keyclient/keyclient.h"
#include "keypeer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MS UINT64_C(1000)

#define PEERS 2
/* Of the first peer's certificate; the next one's follows. */
#define SERIAL 100

struct result {
    struct world *world;
    bool done;
    int err;
    size_t len;
    uint64_t at_us;
    struct fk_key_ticket *ticket;
    struct fk_sign13 op;
    uint8_t tbs[FK_SIGN13_TBS_MAX];
    size_t tbs_len;
};

struct world {
    struct fk_loop *loop;
    struct fk_timer watchdog;
    struct keypeer peers[PEERS];
    struct fk_dns *dns;
    struct fk_keyclient *client;
    struct fk_keyserver *servers[PEERS];
    struct fk_keypool *pool;
    SSL_CTX *edge_ctx;
    struct fk_keyserver_config config; /* changed by a test before world_start() */
    struct fk_keypool_config pool_config;
    const char *names[PEERS]; /* in the certificates */
    long lives[PEERS];        /* of them, seconds; 0: a day */
    struct result results[256];
    unsigned finished;
    unsigned listings;
};

/* Two scripted servers that listen, and nothing else yet. */
void world_init(struct world *world);
/* A client with channels to the first of them. */
void world_start(struct world *world, size_t n_servers);
void world_stop(struct world *world);

#define wait_until(world, condition)    \
    do {                                \
        while (!(condition))            \
            fk_loop_run((world)->loop); \
    } while (0)

/* Wake the loop now and then, for conditions that no event of the test's announces. */
void world_tick(struct fk_timer *timer);

#define wait_ticking(world, condition)                    \
    do {                                                  \
        struct fk_timer tick_;                            \
        fk_timer_init(&tick_, (world)->loop, world_tick); \
        fk_timer_start(&tick_, MS);                       \
        wait_until(world, condition);                     \
        fk_timer_stop(&tick_);                            \
    } while (0)

struct fk_keyserver_stats stats_of(const struct world *world, size_t i);
/* Until the first `n` are up. */
void wait_up(struct world *world, size_t n);
/* An outcome, for a struct result. */
void world_done(void *arg, int err, const uint8_t *data, size_t len);
/* Ask for a signature, number `i`; its outcome comes in world->results[i]. */
int ask(struct world *world, unsigned i);
/* The same with number 0, waited for. */
void ask_and_expect(struct world *world, int expected);

#endif
