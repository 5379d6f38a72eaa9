/* Counting clients: see admit.h. */
#include "edge/admit.h"

#include "base/err.h"

#include <stdlib.h>

/* Tokens of one handshake: a rate in handshakes an hour then is one in tokens a second. */
#define A_HANDSHAKE 3600

struct fk_admit {
    struct fk_peers *peers;
    uint64_t connections;
    uint64_t tokens; /* A_HANDSHAKE for each */
    uint64_t filled_us;
};

int fk_admit_new(struct fk_admit **ret)
{
    struct fk_admit *admit = calloc(1, sizeof *admit);
    int err;

    if (admit == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_peers_new(&admit->peers)) != FK_OK) {
        free(admit);
        return err;
    }
    *ret = admit;
    return FK_OK;
}

void fk_admit_free(struct fk_admit *admit)
{
    if (admit == NULL)
        return;
    fk_peers_free(admit->peers);
    free(admit);
}

void fk_admit_connection(struct fk_admit *admit, struct fk_admitted *ret)
{
    admit->connections++;
    *ret = (struct fk_admitted){.counted = true};
}

int fk_admit_address(struct fk_admit *admit, const struct fk_edge_limits *limits,
                     const struct fk_addr *peer, struct fk_admitted *admitted)
{
    return fk_peers_join(admit->peers, peer, limits->connections_per_address, &admitted->peer);
}

void fk_admit_leave(struct fk_admit *admit, struct fk_admitted *admitted)
{
    if (!admitted->counted)
        return;
    admit->connections--;
    fk_peers_leave(admit->peers, &admitted->peer);
    *admitted = (struct fk_admitted){0};
}

uint64_t fk_admit_count(const struct fk_admit *admit)
{
    return admit->connections;
}

int fk_admit_handshake(struct fk_admit *admit, const struct fk_edge_limits *limits, uint64_t now_us)
{
    const uint64_t rate = limits->handshakes_hourly;               /* tokens a second */
    const uint64_t size = rate > A_HANDSHAKE ? rate : A_HANDSHAKE; /* one second, one at least */
    uint64_t passed, more;

    if (rate == 0)
        return FK_OK;
    passed = now_us - admit->filled_us;
    if (admit->filled_us == 0 || passed / 1000000 > size / rate) { /* full, whatever was left */
        admit->tokens = size;
        admit->filled_us = now_us;
        passed = 0;
    }
    more = rate * passed / 1000000;
    admit->filled_us += more * 1000000 / rate; /* what did not make a token counts next time */
    admit->tokens = admit->tokens + more > size ? size : admit->tokens + more;
    if (admit->tokens < A_HANDSHAKE)
        return FK_ERR_RATE;
    admit->tokens -= A_HANDSHAKE;
    return FK_OK;
}
