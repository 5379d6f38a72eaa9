/*
 * Walking the sites: see renew.h. What counts for a site is one whole listing of one key server, so
 * that key and certificate change together, in one new TLS context.
 */
#include "edge/renew.h"

#include "base/err.h"
#include "base/log.h"
#include "edge/tlsctx.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct fk_renew {
    struct fk_renew_config config;
    struct fk_defer turn;
    struct fk_list wanted; /* sites whose clients wait: struct fk_site's wanted */
    size_t at;             /* the next site */
};

/* What a site's certificates are remembered by. */
static void take_print(const struct fk_listed *const *found, size_t count, uint8_t ret[32])
{
    uint8_t ids[FK_EDGE_CERTS_MAX][FK_LISTED_ID_SIZE];

    memset(ids, 0, sizeof ids);
    for (size_t i = 0; i < count; i++)
        memcpy(ids[i], found[i]->id, sizeof ids[i]);
    (void)EVP_Digest(ids, sizeof ids, ret, NULL, EVP_sha256(), NULL);
}

/* Said here, where it is known, and not by each handshake that fails. */
static void check_permission(const struct fk_site *site, const struct fk_listed *listed)
{
    uint16_t needed = fk_tlsctx_permission(site->conf);

    if ((listed->permissions & needed) != needed)
        fk_log(FK_LOG_WARN, "the key server does not permit the site's mode with its key",
               fk_str("site", site->conf->block.title), fk_str("key", listed->key_name));
}

static void install(struct fk_renew *renew, struct fk_site *site,
                    const struct fk_listed *const *found, size_t count)
{
    struct fk_cert certs[FK_EDGE_CERTS_MAX] = {{.leaf = NULL}};
    bool first = site->ctx == NULL;
    struct fk_why why = {""};
    int err;

    for (size_t i = 0; i < count; i++)
        certs[i] = found[i]->cert; /* borrowed */
    err = fk_site_install(site, renew->config.resumption, certs, count, &why);
    if (err != FK_OK) {
        fk_log(FK_LOG_ERROR, "certificates of the key server are of no use",
               fk_str("site", site->conf->block.title), fk_str("why", why.text), fk_error(err));
        return;
    }
    take_print(found, count, site->print);
    for (size_t i = 0; i < count; i++)
        check_permission(site, found[i]);
    fk_log(FK_LOG_INFO, "certificates from the key server", fk_str("site", site->conf->block.title),
           fk_uint("count", count));
    renew->config.renewed(renew->config.arg, site, first);
}

/* Take what the first of the site's key servers that has anything for it lists, if that is another
 * than what it has. The cost. */
static unsigned match(struct fk_renew *renew, struct fk_site *site)
{
    const struct fk_conf_list *servers = &site->conf->keyservers;
    const struct fk_listed *found[FK_EDGE_CERTS_MAX];
    size_t count = 0;
    uint8_t print[32];

    for (size_t i = 0; i < servers->count && count == 0; i++)
        count = fk_certindex_find(
            fk_listing_index(renew->config.listing(renew->config.arg, servers->items[i])),
            site->conf->block.title, fk_edge_site_name(site->conf, 0), found);
    if (count == 0)
        return 1;
    take_print(found, count, print);
    if (site->ctx != NULL && memcmp(print, site->print, sizeof print) == 0) /* public */
        return 1;
    install(renew, site, found, count);
    return FK_EDGE_RENEW_HEAVY;
}

/* One step towards what the site's key servers list; 0: all that is read. */
static unsigned read_listings(struct fk_renew *renew, const struct fk_site *site)
{
    const struct fk_conf_list *servers = &site->conf->keyservers;
    unsigned cost = 0;

    for (size_t i = 0; i < servers->count && cost == 0; i++)
        cost = fk_listing_step(renew->config.listing(renew->config.arg, servers->items[i]));
    return cost;
}

/* What it costs; 0: all is done. */
static unsigned step(struct fk_renew *renew)
{
    bool wanted = !fk_list_empty(&renew->wanted);
    struct fk_site *site;
    unsigned cost;

    if (!wanted && renew->at == fk_sites_count(renew->config.sites))
        return 0;
    site = wanted ? fk_container(renew->wanted.next, struct fk_site, wanted)
                  : fk_sites_at(renew->config.sites, renew->at);
    if (fk_site_from_server(site) && (cost = read_listings(renew, site)) > 0)
        return cost;
    if (wanted)
        fk_list_del(&site->wanted);
    else
        renew->at++;
    return fk_site_from_server(site) ? match(renew, site) : 1;
}

static void on_turn(struct fk_defer *turn)
{
    struct fk_renew *renew = fk_container(turn, struct fk_renew, turn);
    const struct fk_renew_config config = renew->config;
    unsigned spent = 0, cost;

    config.hold(config.arg, true);
    do {
        cost = step(renew);
        spent += cost;
    } while (cost > 0 && spent < FK_EDGE_RENEW_TURN);
    if (cost > 0)
        fk_defer_start(&renew->turn);
    config.hold(config.arg, false); /* may have freed it */
}

int fk_renew_new(const struct fk_renew_config *config, struct fk_renew **ret)
{
    struct fk_renew *renew = calloc(1, sizeof *renew);

    if (renew == NULL)
        return FK_ERR_NOMEM;
    renew->config = *config;
    renew->at = fk_sites_count(config->sites);
    fk_list_init(&renew->wanted);
    fk_defer_init(&renew->turn, config->loop, on_turn);
    *ret = renew;
    return FK_OK;
}

void fk_renew_free(struct fk_renew *renew)
{
    if (renew == NULL)
        return;
    fk_defer_stop(&renew->turn);
    while (fk_list_pop(&renew->wanted) != NULL)
        continue;
    free(renew);
}

void fk_renew_start(struct fk_renew *renew)
{
    renew->at = 0;
    fk_defer_start(&renew->turn);
}

void fk_renew_want(struct fk_renew *renew, struct fk_site *site)
{
    if (fk_defer_active(&renew->turn) && fk_list_empty(&site->wanted))
        fk_list_append(&renew->wanted, &site->wanted);
}

bool fk_site_from_server(const struct fk_site *site)
{
    return site->conf->mode != FK_MODE_LOCAL && !fk_site_passes(site) &&
           site->conf->certificate.count == 0;
}
