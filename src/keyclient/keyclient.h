/*
 * The key client: asks key servers for operations, over channels, asynchronously.
 *
 * One in each worker. A struct fk_keypool is a back-end (tls/keyback.h) over one or several key
 * servers that hold the same keys: it chooses by strategy, watches health, fails over within the
 * request's deadline, and verifies signatures by sampling.
 */
#ifndef FK_KEYCLIENT_KEYCLIENT_H
#define FK_KEYCLIENT_KEYCLIENT_H

#include "loop/addr.h"
#include "tls/channel.h"
#include "tls/keyback.h"

enum fk_keypool_strategy {
    FK_STRATEGY_ROUND_ROBIN,
    FK_STRATEGY_LEAST_OUTSTANDING, /* each weighed with its server's average response time */
    FK_STRATEGY_FASTEST,           /* moving average of the response time */
    FK_STRATEGY_NEAREST,           /* own zone first, then by weight */
};

struct fk_keyserver_config {
    const char *name;    /* as in the configuration; also the name its certificate must have */
    const char *address; /* "host:port" or an address; resolved without blocking */
    const char *accept;  /* instead of it: where the server dials in, for log lines */
    struct fk_ranges allow, deny; /* from where it may dial in; copied */
    const char *bind;             /* local address, NULL */
    const char *device;           /* SO_BINDTODEVICE, NULL */
    const char *zone;
    unsigned weight; /* 1 at least */
    uint64_t connect_timeout_us;
    uint64_t ping_interval_us; /* health */
    uint64_t ping_timeout_us;
    uint64_t idle_us;         /* close an on-demand channel after this; 0: persistent */
    uint32_t max_outstanding; /* requests on one channel at once */
};

/* What a configuration may say: an IP address or a host name with a port of 1 at least; nothing is
 * resolved. FK_ERR_FORMAT. */
int fk_keyserver_address_check(const char *text);

/* Checks of options (conf/conf.h) that say that, and a key server's identity. */
const char *fk_keyserver_option_address(const void *value);
const char *fk_keyserver_option_identity(const void *value);

/* The name in an identity that has passed. Borrowed from it. */
const char *fk_keyserver_identity_name(const char *identity);

struct fk_keyclient; /* all servers of one worker */

/* Servers are told apart by name; `ctx` is referenced. */
int fk_keyclient_new(struct fk_loop *loop, struct fk_keyclient **ret);
/* All pools must be gone; its servers, also those retired, go with it. */
void fk_keyclient_free(struct fk_keyclient *client);

/*
 * Identity and trust for all servers from now on (`ctx` is referenced): new channels are made with
 * it, open ones are judged by it soon and left when their server's certificate does not hold. Each
 * is judged again as time goes on, too (fk_channel_peer_judge()).
 */
void fk_keyclient_use(struct fk_keyclient *client, SSL_CTX *ctx);

/*
 * Another client has taken over: channels are closed once they are not used, and opened again only
 * for those who still ask.
 */
void fk_keyclient_step_back(struct fk_keyclient *client);

/*
 * How servers named by a host name are found (loop/dns.h), before they are added; `dns` outlives
 * the client. Without it addresses must be numeric.
 */
struct fk_dns;
void fk_keyclient_set_dns(struct fk_keyclient *client, struct fk_dns *dns);

struct fk_keyserver; /* one server: its channel, health and figures */

int fk_keyclient_add_server(struct fk_keyclient *client, const struct fk_keyserver_config *config,
                            SSL_CTX *ctx, struct fk_keyserver **ret);

/*
 * The socket on which a server with `accept` dials in (taken): non-blocking, listening, shared by
 * all who want a channel of this server. A connection is taken only while a channel is wanted; so
 * one that waits in the socket's queue is there for whoever needs it next.
 */
void fk_keyserver_listen(struct fk_keyserver *server, int fd);

/* Close its channel when its last request is answered, then free it. For reloads. */
void fk_keyclient_retire_server(struct fk_keyserver *server);

struct fk_keypool; /* a back-end over several servers */

struct fk_keypool_config {
    enum fk_keypool_strategy strategy;
    uint64_t deadline_us; /* of one request, failover included */
    bool hedge;           /* ask a second server when an answer is late */
    const char *zone;     /* this edge's own */
};

/* A pool over servers of the same client. */
int fk_keypool_new(struct fk_keyclient *client, const struct fk_keypool_config *config,
                   struct fk_keyserver *const *servers, size_t n_servers, struct fk_keypool **ret);
void fk_keypool_free(struct fk_keypool *pool); /* requests under way fail with FK_ERR_CANCELLED */
struct fk_keyback *fk_keypool_back(struct fk_keypool *pool);

/*
 * The keys that a server's INFO lists, for sites whose certificate comes from the key server:
 * `changed` is called (deferred) after each complete listing that differs from the one before.
 */
struct fk_keylist;
typedef void fk_keylist_cb(void *arg, struct fk_keyserver *server);
void fk_keyserver_watch(struct fk_keyserver *server, fk_keylist_cb *changed, void *arg);
/* The number of the last complete listing, another for each that differs; 0: none yet. */
uint64_t fk_keyserver_listing(const struct fk_keyserver *server);
/* What the server called its state then, another for each of its configurations; 0: none yet. */
uint64_t fk_keyserver_generation(const struct fk_keyserver *server);
/* Key `i` of the last complete listing; FK_ERR_NOT_FOUND past the end. Borrowed until changed. */
int fk_keyserver_key(const struct fk_keyserver *server, size_t i, struct fk_info_key *ret);

/* Figures, for status and metrics. */
struct fk_keyserver_stats {
    bool up;
    uint32_t outstanding;
    uint64_t requests, failures, timeouts, bad_signatures, connects;
    uint64_t hedges;     /* of the requests: those that another server was late with */
    uint64_t average_us; /* moving average of the response time */
};

void fk_keyserver_stats(const struct fk_keyserver *server, struct fk_keyserver_stats *ret);
const char *fk_keyserver_name(const struct fk_keyserver *server);

#endif
