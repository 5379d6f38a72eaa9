/*
 * The sites of one configuration in one worker: finding the one a client asks for, and its TLS
 * context, made and replaced whole when certificates change.
 */
#ifndef FK_EDGE_SITES_H
#define FK_EDGE_SITES_H

#include "base/list.h"
#include "tls/cert.h"
#include "edge/conf.h"
#include "edge/origin.h"
#include "edge/stapling.h"
#include "edge/ticketdesk.h"
#include "edge/ticketfeed.h"
#include "tls/clientca.h"
#include "tls/sescache.h"
#include "tls/tickets.h"
#include "edge/why.h"
#include "loop/addr.h"
#include "loop/metrics.h"
#include "tls/keyback.h"

#include <openssl/ssl.h>

struct fk_site {
    const struct fk_edge_site *conf;
    OSSL_LIB_CTX *libctx;         /* which `ctx` is made in */
    SSL_CTX *ctx;                 /* NULL: no certificate yet; fk_site_exposes(): it resumes */
    struct fk_list waiting;       /* connections that wait for one: struct fk_conn's site_link */
    struct fk_list wanted;        /* edge/renew.h */
    struct fk_keyback *back;      /* who uses its private keys */
    struct fk_sharekeys *shares;  /* adds this host's shares of split keys; NULL: there are none */
    struct fk_lendkeys *lent;     /* mode lend: borrows them; else NULL */
    struct fk_keyback *servers;   /* `back` without these */
    uint8_t share_ski[20];        /* mode handshake: of which key that is */
    struct fk_stapling stapling;  /* what `ctx` may show of it, it has references to */
    struct fk_metrics *metrics;   /* the process's; NULL: none */
    struct fk_clientca *clientca; /* judges its clients' certificates; NULL: it asks for none */
    struct fk_ticket_site *tickets;
    struct fk_ticketfeeds *feeds;  /* its ticket keys come from key servers; NULL: the edge's own */
    struct fk_keyback *feeds_back; /* over the site's key servers */
    struct fk_desk *desk;          /* key servers have the keys of its tickets; NULL: they do not */
    struct fk_ticketfeed *feed;    /* for its present private key; NULL: none yet */
    struct fk_sescache *cache;     /* the process's; NULL: none */
    struct fk_sesstore *store;     /* the generation's; NULL: none */
    struct fk_origins *origins;
    uint64_t connections; /* so far */
    uint32_t active;
    uint64_t shaken[2]; /* handshakes that succeeded: full ones, and resumed */
    int64_t not_after;  /* the end of the first certificate in `ctx` that ends; 0: not known */
    uint8_t print[32];  /* of the certificates in `ctx` when they came from a key server */
};

/* Whether the key server makes its handshakes: then it needs no context, nor a certificate. */
static inline bool fk_site_passes(const struct fk_site *site)
{
    return site->conf->mode == FK_MODE_HANDSHAKE;
}

/* Whose key server tells the master secrets of TLS 1.2: this side finishes and resumes. */
static inline bool fk_site_exposes(const struct fk_site *site)
{
    return fk_site_passes(site) && site->conf->expose == FK_EXPOSE_MASTER;
}

struct fk_sites;

/* Names of a configuration's sites. The sites are empty but for `conf`. FK_ERR_NOMEM. */
int fk_sites_new(const struct fk_edge_conf *conf, struct fk_sites **ret);
/* Frees the sites' contexts, tickets and origins; `back` is not owned. */
void fk_sites_free(struct fk_sites *sites);

size_t fk_sites_count(const struct fk_sites *sites);
struct fk_site *fk_sites_at(struct fk_sites *sites, size_t i);

/* By server name: exact, then wildcard. NULL when no site has it. Any letter case. */
struct fk_site *fk_sites_find(struct fk_sites *sites, const void *name, size_t len);

/*
 * The site for a client of `listener`: the listener's, of clients without TLS; by server name
 * (`sni` NULL: none sent), without one by the address that it reached, else the default.
 * FK_ERR_NOT_FOUND (RFC 6066 section 3: answer unrecognized_name).
 */
int fk_sites_choose(struct fk_sites *sites, const struct fk_edge_listen *listener, const void *sni,
                    size_t sni_len, const struct fk_addr *reached, struct fk_site **ret);

/*
 * Give a site certificates: a new TLS context takes the place of the old one, which lives until
 * its sessions end. Errors and `why` as of fk_tlsctx_new(); the old context then stays.
 */
int fk_site_install(struct fk_site *site, const struct fk_edge_tickets *resumption,
                    const struct fk_cert *certs, size_t n_certs, struct fk_why *why);

#endif
