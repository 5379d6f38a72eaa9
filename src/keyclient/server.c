/*
 * One key server: reaching it, and losing it.
 *
 * Owns the channel and the state. In TLS 1.3 our handshake is done before the server has judged our
 * certificate: only its first answer says that it takes us. Requests do not wait for that, but what
 * went wrong before is forgotten only then. A lost channel gives its tickets back to their pools.
 * Frees itself only from a deferred call, when it is retired and nothing is under way: so nobody
 * who is on the stack holds a stale pointer. State changes are logged once each.
 */
#include "keyclient/internal.h"

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct fk_keyserver *server);

/* --- state --- */

static void connect_timed_out(struct fk_keyserver *server)
{
    fk_server_lost(server, FK_ERR_TIMEOUT, "connect timeout");
}

static void first_answer_timed_out(struct fk_keyserver *server)
{
    fk_server_lost(server, FK_ERR_TIMEOUT, "no answer on a new channel");
}

static void unpark_pools(struct fk_keyserver *server)
{
    struct fk_list *item, *temp;

    /* Pools are freed by deferred calls only: the list does not change under us. */
    fk_list_each_safe (item, temp, &server->members)
        fk_pool_unpark(fk_container(item, struct fk_keymember, link)->pool);
}

static void enter(struct fk_keyserver *server, enum fk_server_state state)
{
    server->state = state;
    server->stats.up = state == FK_SERVER_UP;
    fk_timer_stop(&server->timer);
}

/* The pause is over: try again now, or when somebody needs it. */
static void backoff_over(struct fk_keyserver *server)
{
    bool listing_due = server->watch != NULL && !server->list.complete;

    if (server->config.idle_us == 0 || server->outstanding > 0 || listing_due) {
        begin(server);
        return;
    }
    enter(server, FK_SERVER_IDLE);
    unpark_pools(server);
}

/* Drop whatever connection there is, in whatever stage. */
static void disconnect(struct fk_keyserver *server)
{
    fk_dns_cancel(&server->query);
    if (server->fd >= 0)
        fk_io_want(&server->connect_io, 0);
    fk_close(&server->fd);
    fk_dialled_stop(server);
    fk_channel_io_free(server->io);
    server->io = NULL;
    fk_proof_stop(&server->proof);
    fk_timer_stop(&server->ping_timer);
    fk_timer_stop(&server->judge_timer);
    server->ping_out = false;
    server->listing = false;
    server->draining = false;
}

static void check_idle(struct fk_keyserver *server)
{
    uint64_t idle = fk_clock_us() - server->last_use_us;
    bool busy = server->outstanding > 0 || server->listing;

    if (busy || idle < server->config.idle_us) {
        fk_timer_start(&server->timer,
                       busy ? server->config.idle_us : server->config.idle_us - idle);
        return;
    }
    fk_log(FK_LOG_DEBUG, "key server is idle, channel closed",
           fk_str("server", server->texts.name));
    disconnect(server);
    enter(server, FK_SERVER_IDLE);
}

static const struct {
    const char *name;
    const char *ends; /* what is logged when it ends here, once until it is up */
    void (*on_timer)(struct fk_keyserver *server);
} states[] = {
    [FK_SERVER_IDLE] = {"idle", "key server cannot be reached", NULL},
    [FK_SERVER_RESOLVE] = {"resolve", "key server cannot be reached", connect_timed_out},
    [FK_SERVER_CONNECT] = {"connect", "key server cannot be reached", connect_timed_out},
    [FK_SERVER_AWAIT] = {"await", "key server has not dialled in", fk_server_missing},
    [FK_SERVER_TLS] = {"tls", "key server cannot be reached", connect_timed_out},
    [FK_SERVER_OPEN] = {"open", "key server does not accept the channel", first_answer_timed_out},
    [FK_SERVER_UP] = {"up", "key server is lost", check_idle},
    [FK_SERVER_BACKOFF] = {"backoff", "key server cannot be reached", backoff_over},
};

static void on_timer(struct fk_timer *timer)
{
    struct fk_keyserver *server = fk_container(timer, struct fk_keyserver, timer);

    if (states[server->state].on_timer != NULL)
        states[server->state].on_timer(server);
}

/* --- losing it --- */

static uint64_t backoff_us(unsigned failures)
{
    uint64_t base = FK_KEYSERVER_BACKOFF_MIN_US;
    uint32_t noise = 0;

    while (--failures > 0 && base < FK_KEYSERVER_BACKOFF_MAX_US)
        base *= 2;
    if (base > FK_KEYSERVER_BACKOFF_MAX_US)
        base = FK_KEYSERVER_BACKOFF_MAX_US;
    (void)RAND_bytes((unsigned char *)&noise, sizeof noise);
    return base / 2 + base * noise / UINT32_MAX / 2;
}

static const char *address_of(const struct fk_keyserver *server)
{
    return server->texts.accept != NULL ? server->texts.accept : server->texts.address;
}

static void log_down(struct fk_keyserver *server, int err, const char *reason)
{
    if (server->complained)
        return;
    server->complained = true;
    fk_log(FK_LOG_WARN, states[server->state].ends, fk_str("server", server->texts.name),
           fk_str("address", address_of(server)), fk_str("stage", states[server->state].name),
           fk_str("detail", reason), fk_error(err));
}

/* All tickets go back to their pools, which place them elsewhere. */
static void return_tickets(struct fk_keyserver *server)
{
    struct fk_list returned;

    fk_list_init(&returned);
    if (!fk_list_empty(&server->tickets)) {
        fk_list_append(&server->tickets, &returned);
        fk_list_del(&server->tickets);
    }
    server->outstanding = 0;
    for (struct fk_list *item = returned.next; item != &returned; item = item->next)
        fk_container(item, struct fk_key_ticket, server_link)->server = NULL;
    while (!fk_list_empty(&returned)) {
        struct fk_key_ticket *ticket =
            fk_container(returned.next, struct fk_key_ticket, server_link);

        fk_list_del(&ticket->server_link);
        fk_pool_failed(ticket, server, ticket->sent_us != 0 ? FK_ERR_CLOSED : FK_ERR_UNAVAILABLE);
    }
}

/* Nobody misses it: wherever it belongs there is another one. */
static bool is_spared(const struct fk_keyserver *server)
{
    const struct fk_list *item = server->members.next;

    for (; item != &server->members; item = item->next)
        if (!fk_pool_spares(fk_container(item, struct fk_keymember, link)->pool, server))
            return false;
    return !fk_list_empty(&server->members);
}

/*
 * One that comes back and is lost again, and again, costs a handshake each time and whatever was
 * under way: while others serve it is left alone for longer each time, as if it could not be
 * reached.
 */
static void back_off(struct fk_keyserver *server)
{
    uint64_t now = fk_clock_us();

    if (server->failures++ == 0)
        server->down_since_us = now;
    if (server->state == FK_SERVER_UP)
        server->losses =
            now - server->up_since_us < FK_KEYSERVER_STABLE_US ? server->losses + 1 : 1;
    disconnect(server);
    enter(server, FK_SERVER_BACKOFF);
    server->damped = server->losses > server->failures && is_spared(server);
    fk_timer_start(&server->timer, backoff_us(server->damped ? server->losses : server->failures));
    return_tickets(server);
    fk_server_retire_check(server);
}

void fk_server_missing(struct fk_keyserver *server)
{
    log_down(server, FK_ERR_TIMEOUT, "nobody has dialled in who is this server");
    if (server->failures++ == 0)
        server->down_since_us = fk_clock_us();
    return_tickets(server);
    fk_server_retire_check(server);
}

void fk_server_hurry(struct fk_keyserver *server)
{
    if (server->state != FK_SERVER_BACKOFF || !server->damped)
        return;
    server->damped = false;
    fk_timer_start(&server->timer, backoff_us(server->failures));
}

/* --- reaching it --- */

static void on_channel(void *owner, enum fk_channel_event event, int err);

static void start_tls(struct fk_keyserver *server)
{
    const struct fk_channel_setup setup = {
        .ctx = server->ctx, .fd = server->fd, .cb = on_channel, .owner = server};
    int err;

    fk_io_want(&server->connect_io, 0);
    server->fd = -1; /* moved */
    fk_sock_keepalive(setup.fd, 60);
    err = fk_channel_io_new(server->client->loop, &setup, &server->io);
    if (err != FK_OK) {
        fk_server_lost(server, err, "cannot start TLS");
        return;
    }
    enter(server, FK_SERVER_TLS);
    fk_timer_start(&server->timer, server->config.connect_timeout_us);
}

static void on_connect_io(struct fk_io *io, unsigned events)
{
    struct fk_keyserver *server = fk_container(io, struct fk_keyserver, connect_io);
    int number = fk_sock_error(server->fd);

    (void)events;
    if (number == 0)
        start_tls(server);
    else
        fk_server_lost(server, FK_ERR_SYS, strerror(number));
}

/* Connect to the next address. FK_ERR_SYS when none is left that can be tried. */
static int try_address(struct fk_keyserver *server)
{
    while (server->next_addr < server->n_addrs) {
        const struct fk_addr *addr = &server->addrs[server->next_addr++];

        if (fk_sock_connect(addr, server->has_bind ? &server->bind : NULL, server->texts.device,
                            &server->fd) != FK_OK)
            continue;
        enter(server, FK_SERVER_CONNECT);
        fk_timer_start(&server->timer, server->config.connect_timeout_us);
        fk_io_init(&server->connect_io, server->client->loop, server->fd, on_connect_io);
        fk_io_want(&server->connect_io, FK_IO_WRITE);
        return FK_OK;
    }
    return FK_ERR_SYS;
}

/* What was sent over a channel that came to nothing goes over the next one. */
static void unsend_tickets(struct fk_keyserver *server)
{
    struct fk_list *item;

    fk_list_each (item, &server->tickets)
        fk_container(item, struct fk_key_ticket, server_link)->sent_us = 0;
}

void fk_server_lost(struct fk_keyserver *server, int err, const char *reason)
{
    char kept[128];

    (void)snprintf(kept, sizeof kept, "%s", reason); /* it may belong to the channel */
    if (server->state != FK_SERVER_UP && server->next_addr < server->n_addrs) {
        disconnect(server);
        unsend_tickets(server);
        if (try_address(server) == FK_OK)
            return;
    }
    log_down(server, err, kept);
    back_off(server);
}

static void on_resolved(struct fk_dns_query *query, int err, const struct fk_addr *addrs,
                        size_t n_addrs)
{
    struct fk_keyserver *server = fk_container(query, struct fk_keyserver, query);

    if (err != FK_OK) {
        fk_server_lost(server, err, "name not resolved");
        return;
    }
    server->n_addrs = n_addrs < FK_KEYSERVER_ADDRS_MAX ? n_addrs : FK_KEYSERVER_ADDRS_MAX;
    memcpy(server->addrs, addrs, server->n_addrs * sizeof *addrs);
    if (try_address(server) != FK_OK)
        fk_server_lost(server, FK_ERR_SYS, strerror(errno));
}

static int resolve(struct fk_keyserver *server)
{
    char host[FK_HOST_MAX + 1];
    uint16_t port;
    int err = fk_addr_split(server->texts.address, host, sizeof host, &port);

    if (err != FK_OK)
        return err;
    if (server->client->dns == NULL)
        return FK_ERR_NOT_FOUND;
    return fk_dns_resolve(server->client->dns, &server->query, host, port, on_resolved);
}

static void begin(struct fk_keyserver *server)
{
    int err;

    server->next_addr = server->n_addrs = 0;
    if (server->texts.accept != NULL) {
        enter(server, FK_SERVER_AWAIT);
        fk_timer_start(&server->timer, server->config.connect_timeout_us);
        fk_dialled_begin(server);
        return;
    }
    enter(server, FK_SERVER_RESOLVE);
    fk_timer_start(&server->timer, server->config.connect_timeout_us);
    err = fk_addr_parse(server->texts.address, &server->addrs[0]);
    if (err == FK_ERR_NOT_FOUND) {
        err = resolve(server);
        if (err != FK_OK)
            fk_server_lost(server, err, "name not resolved");
        return;
    }
    server->n_addrs = 1;
    if (err != FK_OK)
        fk_server_lost(server, err, "bad address");
    else if (try_address(server) != FK_OK)
        fk_server_lost(server, FK_ERR_SYS, strerror(errno));
}

/* --- the channel --- */

const char *fk_server_check_peer(const struct fk_keyserver *server, const SSL *ssl)
{
    const unsigned char *alpn = NULL;
    const char *why;
    unsigned alpn_len = 0;
    char name[FK_NAME_MAX];

    /* A new revocation list may have come during the handshake. */
    if (SSL_get_SSL_CTX(ssl) != server->ctx &&
        fk_channel_peer_judge(ssl, server->ctx, &why) != FK_OK)
        return why;

    if (fk_channel_peer_name(ssl, FK_CHANNEL_KEYSERVER, name, sizeof name) != FK_OK)
        return "its certificate is not a key server's";
    if (strcmp(name, server->texts.name) != 0)
        return "its certificate has another name";
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    if (alpn_len != strlen(FK_CHANNEL_ALPN) || memcmp(alpn, FK_CHANNEL_ALPN, alpn_len) != 0)
        return "it does not speak " FK_CHANNEL_ALPN;
    return NULL;
}

static void serve_over_channel(struct fk_keyserver *server)
{
    enter(server, FK_SERVER_OPEN);
    fk_timer_start(&server->timer, server->config.connect_timeout_us);
    fk_timer_start(&server->judge_timer, fk_channel_peer_judge_us(fk_channel_io_ssl(server->io)));
    if (fk_server_opened(server) != FK_OK)
        fk_server_lost(server, FK_ERR_CRYPTO, "cannot sign requests");
}

static void channel_open(struct fk_keyserver *server)
{
    const char *wrong = fk_server_check_peer(server, fk_channel_io_ssl(server->io));

    if (wrong != NULL)
        fk_server_lost(server, FK_ERR_DENIED, wrong);
    else
        serve_over_channel(server);
}

void fk_server_adopt(struct fk_keyserver *server, struct fk_channel_io *io)
{
    fk_dialled_stop(server);
    fk_channel_io_give(io, on_channel, server);
    server->io = io;
    serve_over_channel(server);
}

void fk_server_heard(struct fk_keyserver *server)
{
    if (server->state != FK_SERVER_OPEN)
        return;
    enter(server, FK_SERVER_UP);
    server->failures = 0;
    server->complained = false;
    server->stats.connects++;
    server->last_use_us = server->up_since_us = fk_clock_us();
    if (server->config.idle_us > 0)
        fk_timer_start(&server->timer, server->config.idle_us);
    fk_log(server->config.idle_us > 0 && server->stats.connects > 1 ? FK_LOG_DEBUG : FK_LOG_INFO,
           "key server is up", fk_str("server", server->texts.name),
           fk_str("address", address_of(server)));
    unpark_pools(server);
}

bool fk_server_has_channel(const struct fk_keyserver *server)
{
    return server->state == FK_SERVER_OPEN || server->state == FK_SERVER_UP;
}

static void on_channel(void *owner, enum fk_channel_event event, int err)
{
    struct fk_keyserver *server = owner;

    switch (event) {
    case FK_CHANNEL_OPEN:
        channel_open(server);
        return;
    case FK_CHANNEL_READ:
        fk_server_read(server);
        return;
    case FK_CHANNEL_DRAINED:
        return;
    case FK_CHANNEL_CLOSED:
        fk_server_lost(server, err == FK_OK ? FK_ERR_CLOSED : err,
                       fk_channel_io_reason(server->io));
        return;
    }
}

static void on_ping_timer(struct fk_timer *timer)
{
    struct fk_keyserver *server = fk_container(timer, struct fk_keyserver, ping_timer);

    if (server->ping_out)
        fk_server_lost(server, FK_ERR_TIMEOUT, "no answer to a ping");
    else if (fk_server_send_ping(server) != FK_OK)
        fk_server_lost(server, FK_ERR_LIMIT, "channel takes no more");
}

/* The certificate that the channel was opened with may not hold any more. */
static void on_judge_timer(struct fk_timer *timer)
{
    struct fk_keyserver *server = fk_container(timer, struct fk_keyserver, judge_timer);
    const SSL *ssl = fk_channel_io_ssl(server->io);
    const char *why;
    int err = fk_channel_peer_judge(ssl, server->ctx, &why);

    if (err == FK_OK)
        fk_timer_start(timer, fk_channel_peer_judge_us(ssl));
    else
        fk_server_lost(server, err, why);
}

void fk_server_use(struct fk_keyserver *server, SSL_CTX *ctx)
{
    if (server->ctx == ctx)
        return;
    SSL_CTX_up_ref(ctx);
    SSL_CTX_free(server->ctx);
    server->ctx = ctx;
    if (fk_server_has_channel(server))
        fk_timer_start(&server->judge_timer, 0); /* losing it calls others: not from here */
}

void fk_server_step_back(struct fk_keyserver *server)
{
    server->config.idle_us = FK_KEYCLIENT_BEHIND_US;
    if (server->state == FK_SERVER_UP)
        fk_timer_start(&server->timer, server->config.idle_us);
}

/* --- tickets --- */

enum fk_usable fk_server_usable(const struct fk_keyserver *server)
{
    if (server->retired || server->outstanding >= server->config.max_outstanding)
        return FK_USABLE_NOT;
    switch (server->state) {
    case FK_SERVER_UP:
        return server->draining ? FK_USABLE_LATER : FK_USABLE_NOW;
    case FK_SERVER_IDLE:
        return FK_USABLE_NOW;
    case FK_SERVER_RESOLVE:
    case FK_SERVER_CONNECT:
    case FK_SERVER_AWAIT:
    case FK_SERVER_TLS:
    case FK_SERVER_OPEN:
        /* After a failure it is not believed before it is up. */
        return server->failures == 0 ? FK_USABLE_SOON : FK_USABLE_LATER;
    case FK_SERVER_BACKOFF:
        break;
    }
    return FK_USABLE_LATER;
}

uint64_t fk_server_patience(const struct fk_keyserver *server)
{
    uint64_t us = server->stats.average_us + 4 * server->deviation_us;

    return us > FK_KEYSERVER_PATIENCE_MIN_US ? us : FK_KEYSERVER_PATIENCE_MIN_US;
}

void fk_server_sample(struct fk_keyserver *server, uint64_t us)
{
    uint64_t average = server->stats.average_us;
    uint64_t distance = us > average ? us - average : average - us;

    if (average == 0) {
        server->stats.average_us = us > 0 ? us : 1;
        server->deviation_us = us / 2;
        return;
    }
    server->deviation_us = (3 * server->deviation_us + distance) / 4;
    average = (7 * average + us) / 8;
    server->stats.average_us = average > 0 ? average : 1;
}

void fk_server_retire_check(struct fk_keyserver *server)
{
    if (server->retired && server->outstanding == 0)
        fk_defer_start(&server->kick);
}

/* --- birth and death --- */

void fk_server_free(struct fk_keyserver *server)
{
    struct fk_list *item, *temp;

    disconnect(server);
    fk_timer_stop(&server->timer);
    fk_defer_stop(&server->kick);
    fk_defer_stop(&server->tell_watch);
    fk_list_each_safe (item, temp, &server->members) {
        fk_container(item, struct fk_keymember, link)->server = NULL;
        fk_list_del(item);
    }
    fk_list_del(&server->link);
    fk_keylist_clear(&server->list);
    fk_keylist_clear(&server->next_list);
    fk_table_fini(&server->table);
    SSL_CTX_free(server->ctx);
    fk_dialled_fini(server);
    free(server->allow.items);
    free(server->deny.items);
    free(server->texts.name);
    free(server->texts.address);
    free(server->texts.accept);
    free(server->texts.device);
    free(server->texts.zone);
    free(server);
}

static void on_kick(struct fk_defer *defer)
{
    struct fk_keyserver *server = fk_container(defer, struct fk_keyserver, kick);

    if (server->retired && server->outstanding == 0)
        fk_server_free(server);
    else if (server->state == FK_SERVER_IDLE)
        begin(server);
}

static void on_tell_watch(struct fk_defer *defer)
{
    struct fk_keyserver *server = fk_container(defer, struct fk_keyserver, tell_watch);

    if (server->watch != NULL && !server->retired)
        server->watch(server->watch_arg, server);
}

void fk_server_init(struct fk_keyserver *server, struct fk_loop *loop)
{
    server->fd = -1;
    server->state = FK_SERVER_IDLE;
    server->down_since_us = fk_clock_us();
    fk_list_init(&server->link);
    fk_list_init(&server->members);
    fk_list_init(&server->tickets);
    fk_timer_init(&server->timer, loop, on_timer);
    fk_timer_init(&server->ping_timer, loop, on_ping_timer);
    fk_timer_init(&server->judge_timer, loop, on_judge_timer);
    fk_dialled_prepare(server, loop);
    fk_defer_init(&server->kick, loop, on_kick);
    fk_defer_init(&server->tell_watch, loop, on_tell_watch);
    fk_dns_query_init(&server->query);
}
