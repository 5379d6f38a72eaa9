/*
 * Redis as the store of sessions that edges share (tls/sesstore.h): one connection of a worker's
 * generation, through the loop. It is never waited for longer than the configuration says, and not
 * at all while it is out of reach or behind with its answers: sessions are then not found.
 *
 * Trusts Redis with nothing but to be there: what it holds is sealed (tls/sesentry.h).
 */
#ifndef FK_EDGE_REDIS_H
#define FK_EDGE_REDIS_H

#include "edge/conf.h"
#include "loop/dns.h"
#include "loop/loop.h"
#include "loop/metrics.h"
#include "tls/sesstore.h"

#include <stddef.h>
#include <stdint.h>

struct fk_redis;

/* All borrowed, and to outlive it, but for the password, which is copied. */
struct fk_redis_config {
    struct fk_loop *loop;
    struct fk_dns *dns;
    struct fk_metrics *metrics; /* may be NULL */
    const struct fk_edge_redis *conf;
    const uint8_t *password; /* NULL: none */
    size_t password_len;
};

/* FK_ERR_NOMEM, FK_ERR_FORMAT (address). It connects with fk_redis_start(). */
int fk_redis_new(const struct fk_redis_config *config, struct fk_redis **ret);
/* Finds under way are forgotten. NULL is fine. */
void fk_redis_free(struct fk_redis *redis);

/* Keep a connection from now on; or: no more than for what is under way. */
void fk_redis_start(struct fk_redis *redis);
void fk_redis_rest(struct fk_redis *redis);

struct fk_sesstore *fk_redis_store(struct fk_redis *redis);
/* Whether it has a connection that was taken up. */
bool fk_redis_is_up(const struct fk_redis *redis);

/* The bytes of a password file: without the end of its first line. FK_ERR_FORMAT: nothing there, or
 * more than one line; FK_ERR_LIMIT. */
int fk_redis_password(const uint8_t *file, size_t len, size_t *ret_len);

#endif
