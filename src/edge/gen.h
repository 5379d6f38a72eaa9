/*
 * A generation: one checked configuration in one worker, with all that hangs on it. Connections
 * hold references: the old generation lives until its last connection has ended.
 */
#ifndef FK_EDGE_GEN_H
#define FK_EDGE_GEN_H

#include "base/log.h"
#include "edge/conf.h"
#include "edge/keys.h"
#include "edge/localkeys.h"
#include "edge/redis.h"
#include "edge/renew.h"
#include "edge/role.h"
#include "edge/sitecache.h"
#include "edge/siterelay.h"
#include "edge/sites.h"
#include "loop/metrics.h"
#include "tls/tickets.h"
#include "loop/dns.h"

/* The bundle's entry that holds the path of the configuration's main file. */
#define FK_GEN_MAIN_FILE ":main"
/* And one that is not empty when everything is to be logged (-v). */
#define FK_GEN_VERBOSE ":verbose"
/* And for each site of mode `handshake` with a share of a split key the SKI of that key. */
#define FK_GEN_SHARE      ":share:"
#define FK_GEN_SHARE_SIZE (sizeof FK_GEN_SHARE + UINT8_MAX)
/* Its name. FK_ERR_LIMIT: a title too long for that mode. */
int fk_gen_share_path(const struct fk_edge_site *site, char ret[FK_GEN_SHARE_SIZE]);

/*
 * Who judges the certificates of a site's clients, by files of the bundle. *ret is NULL for a site
 * that asks for none. Errors as fk_clientca_new(), and those of reading; *ret_path: of which file.
 */
int fk_gen_clientca(struct fk_bundle *bundle, OSSL_LIB_CTX *libctx, const struct fk_edge_site *site,
                    const char **ret_path, struct fk_clientca **ret);

/* TLS to a site's origins by a file of the bundle; *ret is NULL for one whose origins speak in the
 * clear. Errors as fk_origintls_new(), and those of reading. */
int fk_gen_origintls(struct fk_bundle *bundle, OSSL_LIB_CTX *libctx,
                     const struct fk_edge_site *site, SSL_CTX **ret);

struct fk_gen;

/* What a generation is built on: the worker's own, which outlives every generation. */
struct fk_gen_base {
    const struct fk_edge_role *role;
    struct fk_loop *loop;
    OSSL_LIB_CTX *libctx; /* with the remote-key provider */
    OSSL_LIB_CTX *opaque; /* for sites whose secrets are the key server's: tls/opaque.h */
    struct fk_dns *dns;
    struct fk_tickets *tickets;
    struct fk_ticketgroups *groups;
    struct fk_sescache *cache; /* NULL: none */
    struct fk_workcache *answers;
    struct fk_renewals *renewals;
    struct fk_localkeys *local;
    struct fk_setdown *down;
    struct fk_metrics *metrics; /* NULL: none */
    /* A site of this generation has got (other) certificates from its key server. */
    void (*on_certificate)(void *arg, struct fk_gen *gen, struct fk_site *site);
    void *arg;
};

struct fk_gen {
    unsigned refs;
    uint32_t number;
    const struct fk_gen_base *base;
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    const struct fk_edge_conf *root;
    enum fk_log_level log_level;
    const struct fk_edge_limits *limits;
    const struct fk_edge_tickets *resumption;
    struct fk_sites *sites;
    uint32_t keys_number;         /* generation of this host's keys */
    struct fk_localpool *local;   /* signers of this host */
    struct fk_keys *keys;         /* key servers; NULL: none */
    struct fk_keypool **pools;    /* one a site, NULL for mode local */
    struct fk_renew *renew;       /* NULL: no key servers */
    struct fk_ticketfeeds *feeds; /* likewise */
    struct fk_siterelays *relays; /* what origins are told of clients' certificates */
    struct fk_sitecaches *caches; /* what is stored of origins' answers; NULL: nothing */
    struct fk_redis *redis;       /* NULL: none is configured */
    size_t without;               /* sites that have no certificate yet */
    size_t built;                 /* sites that fk_gen_build() has looked at */
};

/* What the master says about a generation. */
struct fk_gen_source {
    int bundle_fd;
    uint32_t number;
    uint32_t keys; /* generation of this host's keys */
};

/*
 * A generation from a sealed bundle, to be built. `old` (NULL: none) gives its channels when it
 * names the same key servers. `why` tells what was wrong.
 */
int fk_gen_new(const struct fk_gen_base *base, const struct fk_gen_source *source,
               const struct fk_gen *old, struct fk_why *why, struct fk_gen **ret);

/*
 * Give the next sites their certificates from files: as many as one turn of the loop has time for,
 * or all. FK_ERR_AGAIN: there are more; FK_OK: all sites have them. Other errors: it is of no use.
 */
int fk_gen_build(struct fk_gen *gen, bool all, struct fk_why *why);

struct fk_gen *fk_gen_ref(struct fk_gen *gen);
void fk_gen_unref(struct fk_gen *gen);

/* This generation goes into service. */
void fk_gen_serve(struct fk_gen *gen);
/*
 * A key server has listed its keys anew, or this generation goes into service: renew the
 * certificates of sites that come from there, in the turns of the loop that follow.
 */
void fk_gen_refresh(struct fk_gen *gen);
/* Another generation is in service: nothing is to be asked any more that no handshake waits for. */
void fk_gen_rest(struct fk_gen *gen);
/* A client waits for this site's certificate. */
void fk_gen_want(struct fk_gen *gen, struct fk_site *site);

/* Whether every site has a certificate. */
bool fk_gen_complete(const struct fk_gen *gen);

#endif
