/* Shared by the files that make up a handshaker: hs_main.c (the process), hs_serve.c (requests). */
#ifndef FK_KEYD_HS_PRIV_H
#define FK_KEYD_HS_PRIV_H

#include "base/log.h"
#include "keyd/hs_link.h"
#include "keyd/hs_set.h"
#include "keyd/hs_table.h"
#include "loop/loop.h"
#include "signer/client.h"

#include <stdbool.h>

struct fk_handshaker {
    struct fk_loop *loop;
    struct fk_hs_base base;
    struct fk_signer_pool *pool;
    /* Newest last; each may be asked for until the next comes. */
    struct fk_hs_set *sets[2];
    struct fk_hs_table table;
    struct fk_list fronts; /* struct fk_hs_front */
    struct fk_timer tick;  /* ends handshakes whose time is over */
    struct fk_log_limit trouble;
};

/* A front, with its socket. */
struct fk_hs_front {
    struct fk_list link;
    struct fk_handshaker *owner;
    struct fk_hs_link io;
};

/* Takes the socket. FK_ERR_NOMEM. */
int fk_hs_front_add(struct fk_handshaker *handshaker, int fd);
/* End all: handshakes, fronts. */
void fk_hs_end_all(struct fk_handshaker *handshaker);
/* The tick. */
void fk_hs_on_tick(struct fk_timer *timer);

#endif
