/*
 * The edge's configuration: the structs that the option tables of conf.c and conf_site.c fill.
 * A loaded configuration is read-only; its strings live as long as its struct fk_conf.
 */
#ifndef FK_EDGE_CONF_H
#define FK_EDGE_CONF_H

#include "conf/conf.h"

enum fk_edge_records { FK_RECORDS_ENGINE, FK_RECORDS_OPENSSL };
enum fk_edge_mode {
    FK_MODE_SIGN,
    FK_MODE_DECRYPT,
    FK_MODE_LOCAL,
    FK_MODE_HANDSHAKE,
    FK_MODE_LEND,
    FK_MODE_AGREE,
    FK_MODE_MASTER,
    FK_MODE_KEYS,
};
enum fk_edge_sessions { FK_SESSIONS_HOST, FK_SESSIONS_REDIS };
enum fk_edge_tickets_of { FK_TICKETS_EDGE, FK_TICKETS_SHARED, FK_TICKETS_KEYSERVER };

enum fk_edge_expose { FK_EXPOSE_NONE, FK_EXPOSE_MASTER };

/* Flags of a site's `tls`. */
#define FK_EDGE_TLS12 1U
#define FK_EDGE_TLS13 2U

enum fk_edge_protocol { FK_PROTOCOL_TCP, FK_PROTOCOL_HTTP };
enum fk_origin_connect { FK_ORIGIN_AT_ONCE, FK_ORIGIN_FIRST_BYTES };
enum fk_origin_balance { FK_BALANCE_ROUND_ROBIN, FK_BALANCE_LEAST_CONNECTIONS };
enum fk_origin_proxy { FK_ORIGIN_PROXY_OFF, FK_ORIGIN_PROXY_V1, FK_ORIGIN_PROXY_V2 };

enum fk_wire_non_tls { FK_WIRE_RESET, FK_WIRE_PASS };
enum fk_wire_by { FK_WIRE_PACKET, FK_WIRE_TAP, FK_WIRE_QUEUE };
enum fk_wire_mode { FK_WIRE_BUFFERED, FK_WIRE_STREAMING, FK_WIRE_HYBRID, FK_WIRE_MAC_DECIDES };

struct fk_edge_listen {
    struct fk_conf_block block; /* title: the address */
    bool proxy_protocol;
    struct fk_conf_list proxy_from; /* ranges that may send a PROXY header; empty: everybody */
    struct fk_conf_list addresses;  /* "10.0.0.1=example.com" */
    bool strict_sni;
    char *plain; /* the title of the site of clients without TLS; NULL: they have it */
    char *device;
    uint64_t backlog;
    uint64_t defer_accept_us;
};

struct fk_edge_keyserver {
    struct fk_conf_block block; /* title: its name */
    char *address, *accept;     /* one of them: where it is, or where it dials in */
    struct fk_conf_list allow, deny;
    char *identity, *bind, *device, *zone;
    uint64_t weight;
    uint64_t connect_timeout_us;
    uint64_t ping_interval_us, ping_timeout_us;
    bool persistent;
    uint64_t idle_us;
    uint64_t max_outstanding;
};

/* A format that a client's certificate is relayed in. */
struct fk_edge_relay {
    struct fk_conf_block block; /* title: of http/certrelay.h, or "proxy-v2", "none" */
    char *name, *template_;
    bool chain;
    int encoding;                /* 1: PEM with spaces */
    int xfcc;                    /* enum fk_certrelay_xfcc */
    struct fk_conf_list trusted; /* rules of proxies whose xfcc is believed */
    uint64_t type;               /* proxy-v2: of the TLV */
};

struct fk_edge_client {
    struct fk_conf_block block;
    int require;    /* enum fk_server_client */
    char *ca, *crl; /* paths, absolute; crl NULL: none */
    uint64_t depth;
    struct fk_conf_list allow;    /* rules: tls/clientrules.h */
    struct fk_conf_list paths;    /* of requests that need a certificate; empty: as `require` */
    struct fk_conf_block *relays; /* struct fk_edge_relay; NULL: rfc9440 */
    uint64_t relay_max;           /* bytes of all texts of a request */
};

struct fk_edge_site {
    struct fk_conf_block block; /* title: its name */
    struct fk_conf_list names;
    bool is_default;
    /* keys */
    int mode; /* enum fk_edge_mode */
    bool agree_private;
    int expose; /* enum fk_edge_expose */
    struct fk_conf_list keyservers;
    int strategy; /* enum fk_keypool_strategy */
    uint64_t deadline_us;
    bool hedge;
    uint64_t lend_us;                     /* how long a key is borrowed; 0: for one operation */
    struct fk_conf_list certificate, key; /* paths, absolute */
    struct fk_conf_list share;            /* likewise: of split keys */
    struct fk_conf_list ocsp;             /* likewise: of OCSP responses */
    /* TLS */
    unsigned tls;
    bool rsa_key_exchange, dhe;
    struct fk_conf_list alpn;
    struct fk_conf_list groups;
    int records;                  /* enum fk_edge_records */
    struct fk_conf_block *client; /* struct fk_edge_client; NULL: clients are not asked */
    int tickets;                  /* enum fk_edge_tickets_of */
    int sessions;                 /* enum fk_edge_sessions */
    uint64_t session_us;          /* lifetime of a session; 0: what the tickets block says */
    /* origin */
    struct fk_conf_list origin;
    int protocol;       /* enum fk_edge_protocol */
    int origin_connect; /* enum fk_origin_connect */
    int origin_balance; /* enum fk_origin_balance */
    int origin_proxy;   /* enum fk_origin_proxy */
    uint64_t origin_timeout_us;
    uint64_t origin_answer_us;
    uint64_t origin_check_us;    /* active health check, 0 off */
    uint64_t origin_fail_max;    /* failures in a row before an origin is taken out */
    uint64_t origin_fail_for_us; /* for how long */
    uint64_t origin_connections; /* to one origin at once, 0: no bound */
    char *origin_ca;             /* NULL: origins are spoken to in the clear */
    char *origin_name;           /* NULL: each is known by its own */
    uint64_t origin_keep_us;     /* how long one of HTTP without a request is kept; 0: it is not */
    bool cache;                  /* what it answers is stored, for protocol = http */
};

struct fk_edge_tickets {
    struct fk_conf_block block;
    bool enabled;
    uint64_t count;       /* TLS 1.3 tickets after a full handshake */
    uint64_t lifetime_us; /* of a session */
    uint64_t key_life_us;
    uint64_t cache; /* sessions kept for clients without tickets */
};

/* Where sites with sessions = redis keep sessions for clients without tickets. */
struct fk_edge_redis {
    struct fk_conf_block block;
    char *address, *user, *password_file, *prefix;
    uint64_t database;
    uint64_t timeout_us;
};

struct fk_edge_limits {
    struct fk_conf_block block;
    uint64_t connections;             /* of one worker */
    uint64_t connections_per_address; /* of one worker, 0: no bound */
    uint64_t handshakes_hourly;       /* handshakes an hour of one worker; 0: no bound */
    uint64_t handshake_us;
    uint64_t idle_us;
    uint64_t request_us;
    uint64_t half_closed_us;
    uint64_t buffer; /* bytes waiting in each direction of a connection */
    uint64_t drain_us;
    uint64_t half_open; /* farkey inline: flows without an answer */
};

/* What workers store of sites' answers. */
struct fk_edge_cache {
    struct fk_conf_block block;
    uint64_t size, object; /* bytes */
    uint64_t entries;
};

/* farkey inline: the two interfaces that frames pass between, and what is done with some. */
struct fk_edge_wire {
    struct fk_conf_block block;
    char *client, *server;     /* interfaces, by who is there */
    int by;                    /* enum fk_wire_by */
    uint64_t queue;            /* by = queue: the first one's number */
    char *device;              /* by = queue: a TUN */
    struct fk_conf_list ports; /* that TLS is added to */
    int non_tls;               /* enum fk_wire_non_tls */
    int mode;                  /* enum fk_wire_mode */
    bool accept_truncation;
};

struct fk_edge_conf {
    struct fk_conf_block block;
    uint64_t workers;         /* 0: auto */
    char *user, *signer_user; /* NULL when not written, but in the master: see edge/load.h */
    char *zone, *control;
    char *lend_key; /* path; NULL: no key is borrowed */
    int log_level;
    bool access_log;
    struct fk_conf_block *listens;    /* struct fk_edge_listen */
    struct fk_conf_block *channel;    /* struct fk_channel_conf, at most one */
    struct fk_conf_block *keyservers; /* struct fk_edge_keyserver */
    struct fk_conf_block *sites;      /* struct fk_edge_site */
    struct fk_conf_block *tickets;    /* struct fk_edge_tickets; never absent */
    struct fk_conf_block *redis;      /* struct fk_edge_redis; NULL: none */
    struct fk_conf_block *limits;     /* struct fk_edge_limits; never absent */
    struct fk_conf_block *cache;      /* struct fk_edge_cache; NULL: none */
    struct fk_conf_block *admin;      /* struct fk_admin_conf; NULL: none */
    struct fk_conf_block *wire;       /* struct fk_edge_wire; never absent in farkey inline's */
};

extern const struct fk_conf_kind fk_edge_conf_kind;
extern const struct fk_conf_kind fk_inline_conf_kind; /* conf_inline.c: of the same struct */
extern const struct fk_conf_kind fk_edge_site_kind;   /* conf_site.c */
extern const struct fk_conf_kind fk_edge_listen_kind; /* conf_site.c */
extern const struct fk_conf_kind fk_edge_client_kind; /* conf_client.c */

/* How many workers to run: the number given, or one a processor that this process may use. */
unsigned fk_edge_workers(const struct fk_edge_conf *conf);

/* The blocks, which may be all defaults: never NULL. */
static inline const struct fk_edge_tickets *fk_edge_tickets(const struct fk_edge_conf *conf)
{
    return (const struct fk_edge_tickets *)(const void *)conf->tickets;
}

/* How long a session of the site can be resumed. */
static inline uint64_t fk_edge_session_us(const struct fk_edge_site *site,
                                          const struct fk_edge_tickets *tickets)
{
    return site->session_us > 0 ? site->session_us : tickets->lifetime_us;
}

/* As they are written: "sign", "keys"; "none", "master". */
const char *fk_edge_mode_name(const struct fk_edge_site *site);
const char *fk_edge_expose_name(const struct fk_edge_site *site);

static inline const struct fk_edge_limits *fk_edge_limits(const struct fk_edge_conf *conf)
{
    return (const struct fk_edge_limits *)(const void *)conf->limits;
}

/* NULL: none. */
static inline const struct fk_edge_cache *fk_edge_cache(const struct fk_edge_conf *conf)
{
    return (const struct fk_edge_cache *)(const void *)conf->cache;
}

static inline const struct fk_edge_wire *fk_edge_wire(const struct fk_edge_conf *conf)
{
    return (const struct fk_edge_wire *)(const void *)conf->wire;
}

static inline const struct fk_edge_client *fk_edge_client(const struct fk_edge_site *site)
{
    return (const struct fk_edge_client *)(const void *)site->client;
}

/* Of a site with client_certificate: what its blocks relay, for protocol = http; how many, at most
 * FK_EDGE_RELAYS_MAX. */
struct fk_certrelay_conf;
size_t fk_edge_relays(const struct fk_edge_client *client, struct fk_certrelay_conf *ret);
/* The first block of a format, or NULL. */
const struct fk_edge_relay *fk_edge_relay_find(const struct fk_edge_client *client,
                                               const char *format);
/* What of client_certificate does not go with its site (conf_client.c). */
void fk_edge_check_client(const struct fk_edge_site *site, struct fk_conf *conf);

/* The server names of a site: its title when it has no names. */
size_t fk_edge_site_names(const struct fk_edge_site *site);
const char *fk_edge_site_name(const struct fk_edge_site *site, size_t i);
/* A DNS name means one site: that the same stands in two is complained of. */
void fk_edge_check_names(const struct fk_edge_conf *root, struct fk_conf *conf);

/* The block called `title` in a list of one kind, or NULL. */
struct fk_conf_block *fk_edge_find(struct fk_conf_block *list, const char *title);

/* NAME of the identity "farkey:keyserver:NAME" that this key server's certificate must have. */
const char *fk_edge_keyserver_name(const struct fk_edge_keyserver *server);

/* Split "10.0.0.1=example.com" of a listener: the address part's bytes, and the name (borrowed). */
int fk_edge_address_map(const char *text, uint8_t ret_ip[16], size_t *ret_len,
                        const char **ret_name);

#endif
