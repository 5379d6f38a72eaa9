/*
 * Names to addresses, without ever waiting: c-ares in the loop, with a small cache.
 *
 * Made before fk_sandbox_enter() (it reads /etc/resolv.conf and random bytes); works inside the
 * WORKER sandbox. Queries are embedded in their owner. Callbacks come from the loop, never from
 * inside fk_dns_resolve().
 */
#ifndef FK_LOOP_DNS_H
#define FK_LOOP_DNS_H

#include "loop/addr.h"
#include "loop/loop.h"

#include <stddef.h>
#include <stdint.h>

struct fk_dns;
struct fk_dns_entry;
struct fk_dns_query;

/*
 * The answer: `err` FK_OK with 1 to FK_DNS_ADDRS_MAX addresses in order of preference (RFC 6724),
 * valid during the call; FK_ERR_NOT_FOUND (the name has no address), FK_ERR_TIMEOUT,
 * FK_ERR_UNAVAILABLE (no server answered with sense), FK_ERR_NOMEM. Nothing touches `query` after.
 */
typedef void fk_dns_cb(struct fk_dns_query *query, int err, const struct fk_addr *addrs,
                       size_t n_addrs);

struct fk_dns_query {
    struct fk_list link;
    struct fk_defer defer;
    struct fk_dns_entry *entry; /* NULL when no answer is awaited */
    uint16_t port;
    fk_dns_cb *cb;
};

struct fk_dns_options {
    const char *servers; /* "127.0.0.1:5353,..." in place of resolv.conf's, or NULL */
    unsigned timeout_ms; /* of the first try, 0: 2000; each further try waits twice as long */
    unsigned tries;      /* 0: 2 */
};

/* `options` may be NULL. FK_ERR_NOMEM, FK_ERR_INVAL (servers), FK_ERR_SYS. */
int fk_dns_new(struct fk_loop *loop, const struct fk_dns_options *options, struct fk_dns **ret);

/* Queries under way are cancelled. NULL is fine. */
void fk_dns_free(struct fk_dns *dns);

/* An idle query, so that fk_dns_cancel() is harmless. */
void fk_dns_query_init(struct fk_dns_query *query);

/*
 * Find the addresses of `host` (a name, or an address without brackets), each with `port`. The
 * query must be idle. FK_ERR_FORMAT (not a name), FK_ERR_LIMIT (FK_DNS_CACHE_MAX names under way),
 * FK_ERR_NOMEM.
 */
int fk_dns_resolve(struct fk_dns *dns, struct fk_dns_query *query, const char *host, uint16_t port,
                   fk_dns_cb *cb);

/* No callback will come; an idle query is left alone. */
void fk_dns_cancel(struct fk_dns_query *query);

#endif
