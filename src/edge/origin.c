/* Choosing, connecting, watching: see origin.h. */
#include "edge/origin.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "edge/kept.h"
#include "edge/origintls.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct origin {
    struct fk_origins *owner;
    const char *name;
    char host[FK_HOST_MAX + 1]; /* empty: the address is fixed */
    uint16_t port;
    struct fk_addr addrs[FK_DNS_ADDRS_MAX];
    size_t n_addrs;
    uint64_t resolved_us;
    uint32_t connections;
    uint32_t failed; /* in a row */
    bool up;
    bool set_down;         /* by an operator */
    uint64_t out_until_us; /* left out until then */
    uint64_t attempts, failures;
    struct fk_kept kept;
    SSL_SESSION *session; /* TLS's, of before; NULL: none */
    /* active check */
    struct fk_origin_use probe;
    struct fk_timer timer;
};

struct fk_origins {
    struct fk_loop *loop;
    struct fk_dns *dns;
    const struct fk_edge_site *site;
    SSL_CTX *tls; /* NULL: in the clear */
    struct fk_log_limit distrust;
    struct fk_setdown_site down;
    size_t next; /* round robin */
    size_t count;
    struct origin items[];
};

/* --- health --- */

static void set_up(struct origin *origin, bool up, int err)
{
    const char *site = origin->owner->site->block.title;

    if (origin->up == up)
        return;
    origin->up = up;
    if (up)
        fk_log(FK_LOG_INFO, "origin is back", fk_str("site", site), fk_str("origin", origin->name));
    else
        fk_log(FK_LOG_WARN, "origin is left out", fk_str("site", site),
               fk_str("origin", origin->name), fk_error(err));
}

static void succeeded(struct origin *origin)
{
    origin->failed = 0;
    origin->out_until_us = 0;
    set_up(origin, true, FK_OK);
}

/* Nothing was asked of the origin: this process has no memory, or no descriptor. */
static bool is_our_own(int err)
{
    return err == FK_ERR_NOMEM || err == FK_ERR_LIMIT;
}

static void failed(struct origin *origin, int err)
{
    const struct fk_edge_site *site = origin->owner->site;

    if (is_our_own(err))
        return;
    origin->failures++;
    origin->failed++;
    origin->resolved_us = 0; /* its address may have changed */
    if (origin->failed < site->origin_fail_max)
        return;
    origin->out_until_us = fk_loop_now_us(origin->owner->loop) + site->origin_fail_for_us;
    set_up(origin, false, err);
}

/* --- choosing --- */

static bool full(const struct fk_origins *origins, const struct origin *origin)
{
    uint64_t max = origins->site->origin_connections;

    return max > 0 && origin->connections >= max;
}

/* Those that are kept make room for those that are used. */
static void make_room(struct origin *origin)
{
    uint64_t max = origin->owner->site->origin_connections;

    while (max > 0 && origin->connections + origin->kept.n >= max && origin->kept.n > 0)
        fk_kept_drop(&origin->kept);
}

/* Whether `a` is to be taken rather than `b`, both possible; `b` comes earlier in turn. */
static bool better(const struct fk_origins *origins, const struct origin *a, const struct origin *b)
{
    return origins->site->origin_balance == FK_BALANCE_LEAST_CONNECTIONS &&
           a->connections < b->connections;
}

/* The best of those that are alive (or of all) and not in `tried`. FK_ERR_NOT_FOUND. */
static int pick(const struct fk_origins *origins, uint64_t tried, bool alive, size_t *ret)
{
    uint64_t now = fk_loop_now_us(origins->loop);
    const struct origin *best = NULL;

    for (size_t i = 0; i < origins->count; i++) {
        size_t index = (origins->next + i) % origins->count;
        const struct origin *origin = &origins->items[index];

        if ((tried >> index & 1) != 0 || origin->set_down || full(origins, origin) ||
            (alive && origin->out_until_us > now))
            continue;
        if (best == NULL || better(origins, origin, best))
            best = origin;
    }
    if (best == NULL)
        return FK_ERR_NOT_FOUND;
    *ret = (size_t)(best - origins->items);
    return FK_OK;
}

static int choose(struct fk_origins *origins, uint64_t tried, size_t *ret)
{
    if (pick(origins, tried, true, ret) != FK_OK && pick(origins, tried, false, ret) != FK_OK)
        return FK_ERR_NOT_FOUND;
    origins->next = (*ret + 1) % origins->count;
    return FK_OK;
}

/* --- one attempt --- */

static void on_io(struct fk_io *io, unsigned events);
static void on_resolved(struct fk_dns_query *query, int err, const struct fk_addr *addrs,
                        size_t n_addrs);

static struct origin *origin_of(const struct fk_origin_use *use)
{
    return &use->origins->items[use->index];
}

/* The attempt under way is over; nothing of it stays. */
static void quiet(struct fk_origin_use *use)
{
    fk_io_want(&use->io, 0);
    fk_timer_stop(&use->timer);
    fk_dns_cancel(&use->query);
}

static void uncount(struct fk_origin_use *use)
{
    if (use->counted)
        origin_of(use)->connections--;
    use->counted = false;
}

static void connected(struct fk_origin_use *use)
{
    quiet(use);
    succeeded(origin_of(use));
}

static void hang_up(struct fk_origin_use *use)
{
    fk_origintls_end(use->ssl);
    use->ssl = NULL;
    fk_close(&use->fd);
}

/* --- TLS --- */

/* Whom the certificate has to be of; a configuration with neither was refused. */
static const char *expected_name(const struct fk_origin_use *use, char host[FK_HOST_MAX + 1])
{
    const char *name = use->origins->site->origin_name;
    uint16_t port;

    if (name != NULL)
        return name;
    return fk_addr_split(origin_of(use)->name, host, FK_HOST_MAX + 1, &port) == FK_OK ? host : "";
}

/* Go on with the handshake. FK_OK, FK_ERR_AGAIN, or why it has failed: that is told here, as it is
 * no news of one connection. */
static int shake(struct fk_origin_use *use)
{
    struct fk_origins *origins = use->origins;
    char host[FK_HOST_MAX + 1];
    unsigned needs = 0;
    int err = fk_origintls_step(use->ssl, &needs);

    if (err == FK_ERR_AGAIN)
        fk_io_want(&use->io, needs);
    else if (err != FK_OK)
        fk_log_limited(&origins->distrust, FK_LOG_WARN, "no TLS with an origin",
                       fk_str("site", origins->site->block.title),
                       fk_str("origin", origin_of(use)->name),
                       fk_str("name", expected_name(use, host)),
                       fk_str("why", fk_origintls_why(use->ssl)), fk_error(err));
    return err;
}

/* The socket is connected: whether that is all. As shake(); FK_ERR_NOMEM. */
static int secure(struct fk_origin_use *use)
{
    char host[FK_HOST_MAX + 1];
    int err;

    fk_sock_nodelay(use->fd);
    if (use->origins->tls == NULL)
        return FK_OK;
    err = fk_origintls_session(use->origins->tls, use->fd, expected_name(use, host),
                               &origin_of(use)->session, &use->ssl);
    return err == FK_OK ? shake(use) : err;
}

/* --- one address --- */

/*
 * A connection within this machine is complete, or refused, when connect() returns, although it
 * says EINPROGRESS: asking again costs one call and saves a turn of the loop.
 */
static int ask_again(int fd, const struct fk_addr *addr)
{
    if (connect(fd, (const struct sockaddr *)&addr->storage, addr->len) == 0 || errno == EISCONN)
        return FK_OK;
    return errno == EALREADY || errno == EINPROGRESS ? FK_ERR_AGAIN : FK_ERR_CLOSED;
}

/* Connect to address use->address. FK_OK, FK_ERR_AGAIN when begun, else it has failed. */
static int connect_address(struct fk_origin_use *use)
{
    struct fk_origins *origins = use->origins;
    const struct fk_addr *addr = &origin_of(use)->addrs[use->address];
    int err;

    if (fk_sock_connect(addr, NULL, NULL, &use->fd) != FK_OK)
        return errno == EMFILE || errno == ENFILE ? FK_ERR_LIMIT : FK_ERR_CLOSED;
    fk_io_init(&use->io, origins->loop, use->fd, on_io);
    if ((err = ask_again(use->fd, addr)) == FK_ERR_AGAIN)
        fk_io_want(&use->io, FK_IO_WRITE);
    else if (err == FK_OK)
        err = secure(use);
    if (err == FK_ERR_AGAIN)
        fk_timer_start(&use->timer, origins->site->origin_timeout_us); /* for all of it */
    else if (err == FK_OK)
        connected(use);
    else
        hang_up(use);
    return err;
}

/*
 * Start on origin use->index. FK_OK: its addresses are known, or there is a kept connection.
 * FK_ERR_AGAIN: they are being looked for. Else it cannot be resolved.
 */
static int begin(struct fk_origin_use *use)
{
    struct fk_origins *origins = use->origins;
    struct origin *origin = origin_of(use);
    uint64_t age = fk_loop_now_us(origins->loop) - origin->resolved_us;
    int err;

    if (use->reuses && (use->fd = fk_kept_take(&origin->kept, &use->ssl)) >= 0) {
        use->reused = true;
    } else {
        make_room(origin);
        origin->attempts++;
    }
    origin->connections++;
    use->counted = true;
    use->address = 0;
    if (use->reused)
        return FK_OK;
    if (origin->host[0] == '\0' || (origin->resolved_us != 0 && age < FK_EDGE_RESOLVE_US))
        return FK_OK;
    err = fk_dns_resolve(origins->dns, &use->query, origin->host, origin->port, on_resolved);
    if (err != FK_OK) {
        use->address = origin->n_addrs;
        use->err = err;
        return FK_OK; /* the loop of proceed() goes on to the next origin */
    }
    fk_timer_start(&use->timer, origins->site->origin_timeout_us);
    return FK_ERR_AGAIN;
}

/* Go on until connected or something is under way (FK_ERR_AGAIN), or nothing is left to try. */
static int proceed(struct fk_origin_use *use)
{
    int err;

    for (;;) {
        struct origin *origin = origin_of(use);

        if (use->reused)
            return FK_OK;
        if (origin->set_down) { /* meanwhile: no blame, and no further address */
            use->address = origin->n_addrs;
            use->err = FK_ERR_LIMIT;
        }
        for (; use->address < origin->n_addrs; use->address++) {
            err = connect_address(use);
            if (err == FK_OK || err == FK_ERR_AGAIN)
                return err;
            use->err = err;
        }
        failed(origin, use->err);
        uncount(use);
        if (use->probe || choose(use->origins, use->tried, &use->index) != FK_OK)
            return use->err;
        use->tried |= (uint64_t)1 << use->index;
        if ((err = begin(use)) != FK_OK)
            return err;
    }
}

/* Tell the owner, unless it goes on. */
static void settle(struct fk_origin_use *use, int err)
{
    if (err != FK_ERR_AGAIN)
        use->cb(use, err);
}

/* The address under way has failed. */
static void give_up(struct fk_origin_use *use, int err)
{
    quiet(use);
    hang_up(use);
    use->err = err;
    use->address++;
    settle(use, proceed(use));
}

static void on_io(struct fk_io *io, unsigned events)
{
    struct fk_origin_use *use = fk_container(io, struct fk_origin_use, io);
    int err;

    (void)events;
    if (use->ssl != NULL)
        err = shake(use);
    else
        err = fk_sock_error(use->fd) != 0 ? FK_ERR_CLOSED : secure(use);
    if (err == FK_ERR_AGAIN)
        return;
    if (err != FK_OK) {
        give_up(use, err);
        return;
    }
    connected(use);
    use->cb(use, FK_OK);
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_origin_use *use = fk_container(timer, struct fk_origin_use, timer);

    if (use->fd < 0) /* the name was being resolved */
        use->address = origin_of(use)->n_addrs;
    give_up(use, FK_ERR_TIMEOUT);
}

static void on_resolved(struct fk_dns_query *query, int err, const struct fk_addr *addrs,
                        size_t n_addrs)
{
    struct fk_origin_use *use = fk_container(query, struct fk_origin_use, query);
    struct origin *origin = origin_of(use);

    fk_timer_stop(&use->timer);
    if (err == FK_OK) {
        origin->n_addrs = n_addrs < FK_DNS_ADDRS_MAX ? n_addrs : FK_DNS_ADDRS_MAX;
        memcpy(origin->addrs, addrs, origin->n_addrs * sizeof *addrs);
        origin->resolved_us = fk_loop_now_us(use->origins->loop);
    } else {
        use->err = err; /* addresses of before, if any, may still be good */
    }
    settle(use, proceed(use));
}

void fk_origin_init(struct fk_origin_use *use)
{
    *use = (struct fk_origin_use){.fd = -1};
}

static void prepare(struct fk_origin_use *use, struct fk_origins *origins, fk_origin_cb *cb)
{
    fk_origin_init(use);
    use->origins = origins;
    use->cb = cb;
    use->err = FK_ERR_LIMIT;
    fk_io_init(&use->io, origins->loop, -1, on_io);
    fk_timer_init(&use->timer, origins->loop, on_timer);
    fk_dns_query_init(&use->query);
}

static int start(struct fk_origin_use *use, struct fk_origins *origins, fk_origin_cb *cb,
                 bool reuses)
{
    int err;

    prepare(use, origins, cb);
    use->reuses = reuses;
    if (choose(origins, 0, &use->index) != FK_OK) {
        use->origins = NULL; /* of none: there is no name to tell */
        return FK_ERR_LIMIT;
    }
    use->tried = (uint64_t)1 << use->index;
    err = begin(use);
    return err == FK_OK ? proceed(use) : err;
}

int fk_origin_start(struct fk_origin_use *use, struct fk_origins *origins, fk_origin_cb *cb)
{
    return start(use, origins, cb, false);
}

int fk_origin_reuse(struct fk_origin_use *use, struct fk_origins *origins, fk_origin_cb *cb)
{
    return start(use, origins, cb, true);
}

void fk_origin_keep(struct fk_origin_use *use)
{
    struct origin *origin = origin_of(use);
    const struct fk_edge_site *site = use->origins->site;

    if (site->origin_keep_us > 0 && !origin->set_down &&
        (use->ssl == NULL || fk_origintls_rests(use->ssl))) {
        fk_kept_put(&origin->kept, use->fd, use->ssl, site->origin_keep_us);
        use->fd = -1;    /* moved */
        use->ssl = NULL; /* moved */
    }
    fk_origin_stop(use);
}

void fk_origin_stop(struct fk_origin_use *use)
{
    if (use->origins == NULL)
        return;
    quiet(use);
    hang_up(use);
    uncount(use);
    use->origins = NULL;
}

const char *fk_origin_name(const struct fk_origin_use *use)
{
    return use->origins == NULL ? NULL : origin_of(use)->name;
}

bool fk_origin_is_down(const struct fk_origin_use *use)
{
    return use->origins != NULL && origin_of(use)->set_down;
}

/* --- active checks --- */

static void on_probed(struct fk_origin_use *use, int err)
{
    (void)err; /* what it means for the origin's health is noted already */
    fk_origin_stop(use);
}

static void on_check(struct fk_timer *timer)
{
    struct origin *origin = fk_container(timer, struct origin, timer);
    struct fk_origin_use *use = &origin->probe;
    int err;

    fk_timer_start(timer, origin->owner->site->origin_check_us);
    fk_origin_stop(use);
    if (origin->set_down)
        return;
    prepare(use, origin->owner, on_probed);
    use->probe = true;
    use->index = (size_t)(origin - origin->owner->items);
    if ((err = begin(use)) == FK_OK)
        err = proceed(use);
    if (err != FK_ERR_AGAIN)
        fk_origin_stop(use);
}

/* --- set down by an operator --- */

static void set_down(struct origin *origin, bool down)
{
    origin->set_down = down;
    if (down)
        fk_kept_fini(&origin->kept);
    else
        succeeded(origin); /* he says so; what was seen before does not count */
}

static void on_changed(struct fk_setdown_site *site, const char *name, bool down)
{
    struct fk_origins *origins = fk_container(site, struct fk_origins, down);

    for (size_t i = 0; i < origins->count; i++)
        if (strcmp(origins->items[i].name, name) == 0 && origins->items[i].set_down != down)
            set_down(&origins->items[i], down);
}

/* --- all --- */

static void init_origin(struct origin *origin, struct fk_origins *origins, const char *name)
{
    origin->owner = origins;
    origin->name = name;
    origin->up = true;
    fk_origin_init(&origin->probe);
    fk_kept_init(&origin->kept, origins->loop);
    if (fk_addr_parse(name, &origin->addrs[0]) == FK_OK)
        origin->n_addrs = 1;
    else /* the configuration's check has made sure that it splits */
        (void)fk_addr_split(name, origin->host, sizeof origin->host, &origin->port);
    fk_timer_init(&origin->timer, origins->loop, on_check);
    if (origins->site->origin_check_us > 0)
        fk_timer_start(&origin->timer, origins->site->origin_check_us);
}

int fk_origins_new(struct fk_loop *loop, struct fk_dns *dns, const struct fk_edge_site *site,
                   struct fk_origins **ret)
{
    size_t count = site->origin.count;
    struct fk_origins *origins = calloc(1, sizeof *origins + count * sizeof origins->items[0]);

    if (origins == NULL)
        return FK_ERR_NOMEM;
    origins->loop = loop;
    origins->dns = dns;
    origins->site = site;
    origins->count = count;
    fk_list_init(&origins->down.link);
    for (size_t i = 0; i < count; i++)
        init_origin(&origins->items[i], origins, site->origin.items[i]);
    *ret = origins;
    return FK_OK;
}

void fk_origins_secure(struct fk_origins *origins, SSL_CTX *tls)
{
    (void)SSL_CTX_up_ref(tls);
    origins->tls = tls;
}

void fk_origins_follow(struct fk_origins *origins, struct fk_setdown *down)
{
    const char *title = origins->site->block.title;

    origins->down.name = title;
    origins->down.changed = on_changed;
    fk_setdown_follow(down, &origins->down);
    for (size_t i = 0; i < origins->count; i++)
        origins->items[i].set_down = fk_setdown_has(down, title, origins->items[i].name);
}

void fk_origins_free(struct fk_origins *origins)
{
    if (origins == NULL)
        return;
    fk_setdown_leave(&origins->down);
    for (size_t i = 0; i < origins->count; i++) {
        fk_timer_stop(&origins->items[i].timer);
        fk_origin_stop(&origins->items[i].probe);
        fk_kept_fini(&origins->items[i].kept);
        SSL_SESSION_free(origins->items[i].session);
    }
    SSL_CTX_free(origins->tls);
    free(origins);
}

int fk_origins_stats(const struct fk_origins *origins, size_t i, struct fk_origin_stats *ret)
{
    const struct origin *origin;

    if (i >= origins->count)
        return FK_ERR_NOT_FOUND;
    origin = &origins->items[i];
    *ret = (struct fk_origin_stats){.name = origin->name,
                                    .up = origin->up,
                                    .set_down = origin->set_down,
                                    .connections = origin->connections,
                                    .kept = origin->kept.n,
                                    .attempts = origin->attempts,
                                    .failures = origin->failures};
    return FK_OK;
}
