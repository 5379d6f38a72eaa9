/* Counting clients: see admit.h. */
#include "edge/admit.h"

#include "base/err.h"

#include <stdlib.h>

struct fk_admit {
    struct fk_peers *peers;
    uint64_t connections;
    uint64_t tokens; /* thousandths of a handshake */
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
