/*
 * A site's origins in one worker: which is next, which is alive, and connecting to one.
 *
 * Alive is what can be connected to: failures in a row take an origin out for a while (passive);
 * with `origin_check` a connection attempt at intervals does so as well, and brings it back
 * (active). When none is left alive all are tried: a wrong verdict must not stop a service. What
 * fails for want of memory or descriptors in this process is no failure of the origin. With TLS, to
 * connect is to have shaken hands and to believe the certificate: all of the above holds for that.
 * One that an operator has set down is tried in no case: no connection to it is begun or kept, and
 * those in use go on.
 */
#ifndef FK_EDGE_ORIGIN_H
#define FK_EDGE_ORIGIN_H

#include "edge/conf.h"
#include "edge/setdown.h"
#include "loop/addr.h"
#include "loop/dns.h"
#include "loop/loop.h"

#include <openssl/ssl.h>

struct fk_origins;

/* `site` and `dns` must outlive the result. Names are resolved at first use and again later. */
int fk_origins_new(struct fk_loop *loop, struct fk_dns *dns, const struct fk_edge_site *site,
                   struct fk_origins **ret);
/* Connections to them are TLS's from now on, by a context of fk_origintls_new(); takes a reference.
 * To be called before any is made. */
void fk_origins_secure(struct fk_origins *origins, SSL_CTX *tls);
/* Operators may set them down from now on, and may have before. To be called before any is made. */
void fk_origins_follow(struct fk_origins *origins, struct fk_setdown *down);
/* No attempt may be under way. */
void fk_origins_free(struct fk_origins *origins);

/*
 * One connection to an origin: being made, then in use. Embedded in its owner.
 */
struct fk_origin_use;

/*
 * From the loop: FK_OK, the connection is use->fd; or why the last origin failed (FK_ERR_TIMEOUT,
 * FK_ERR_CLOSED, FK_ERR_NOT_FOUND for a name without address, FK_ERR_LIMIT when all are full, set
 * down, or no descriptor is left, FK_ERR_NOMEM; FK_ERR_VERIFY for a certificate that is not
 * believed, FK_ERR_TLS for a handshake that failed otherwise).
 */
typedef void fk_origin_cb(struct fk_origin_use *use, int err);

struct fk_origin_use {
    int fd;   /* -1 until connected; the use's own: fk_origin_stop() closes it */
    SSL *ssl; /* TLS over it, likewise; NULL: none */
    struct fk_origins *origins;
    fk_origin_cb *cb;
    size_t index;   /* origin in use or being tried */
    uint64_t tried; /* bit i: origin i was tried */
    size_t address; /* which of the origin's addresses */
    bool counted;
    bool probe;  /* a health check: this origin only */
    bool reuses; /* a kept connection will do */
    bool reused; /* it is one */
    int err;
    struct fk_io io;
    struct fk_timer timer;
    struct fk_dns_query query;
};

/* An idle use, so that fk_origin_stop() is harmless. */
void fk_origin_init(struct fk_origin_use *use);

/*
 * Connect to an origin, the next ones if it fails. FK_OK: connected at once, no callback will come.
 * FK_ERR_AGAIN: `cb` will be called. Other errors as of the callback: none could be tried.
 */
int fk_origin_start(struct fk_origin_use *use, struct fk_origins *origins, fk_origin_cb *cb);

/* The same, but one that is kept of the origin whose turn it is will do. use->reused says so: it
 * may turn out to be closed. */
int fk_origin_reuse(struct fk_origin_use *use, struct fk_origins *origins, fk_origin_cb *cb);

/* The connection is not needed now: keep it for others, as the site has it; a use that ends. */
void fk_origin_keep(struct fk_origin_use *use);

/* End the attempt or the connection: closes it. No callback follows. */
void fk_origin_stop(struct fk_origin_use *use);

/* For logs and status. */
const char *fk_origin_name(const struct fk_origin_use *use);

/* Whether an operator has set down the origin that it is a connection to. */
bool fk_origin_is_down(const struct fk_origin_use *use);

struct fk_origin_stats {
    const char *name;
    bool up;
    bool set_down;
    uint32_t connections; /* in use */
    size_t kept;
    uint64_t attempts, failures;
};

/* FK_ERR_NOT_FOUND past the end. */
int fk_origins_stats(const struct fk_origins *origins, size_t i, struct fk_origin_stats *ret);

#endif
