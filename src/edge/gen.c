/* Building a generation from its bundle: see gen.h. */
#include "edge/gen.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/lendkeys.h"
#include "edge/origintls.h"
#include "edge/renewal.h"
#include "edge/sharekeys.h"
#include "edge/tlsctx.h"
#include "tls/server_ctx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- private keys: who uses them --- */

static int make_pool(struct fk_gen *gen, struct fk_site *site, size_t index)
{
    const struct fk_edge_site *conf = site->conf;
    const struct fk_keypool_config config = {
        .strategy = (enum fk_keypool_strategy)conf->strategy,
        .deadline_us = conf->deadline_us,
        .hedge = conf->hedge,
        .zone = gen->root->zone,
    };
    struct fk_keyserver *servers[FK_EDGE_SERVERS_MAX];
    int err;

    for (size_t i = 0; i < conf->keyservers.count; i++)
        servers[i] = fk_keys_find(gen->keys, conf->keyservers.items[i]);
    err = fk_keypool_new(fk_keys_client(gen->keys), &config, servers, conf->keyservers.count,
                         &gen->pools[index]);
    if (err == FK_OK)
        site->back = fk_keypool_back(gen->pools[index]);
    return err;
}

/* Mode lend: signers of this host use the keys, key servers lend them. */
static int make_lent(struct fk_gen *gen, struct fk_site *site)
{
    const struct fk_lendkeys_config config = {
        .loop = gen->base->loop,
        .servers = site->back,
        .signers = fk_localpool_signers(gen->local),
        .seconds = (uint32_t)(site->conf->lend_us / 1000000),
        .site = site->conf->block.title,
        .metrics = gen->base->metrics,
    };
    int err = fk_lendkeys_new(&config, &site->lent);

    if (err == FK_OK)
        site->back = fk_lendkeys_back(site->lent);
    return err;
}

/* --- certificates --- */

static void free_certs(struct fk_cert *certs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fk_cert_fini(&certs[i]);
}

static int install(struct fk_gen *gen, struct fk_site *site, const struct fk_cert *certs,
                   size_t count, struct fk_why *why)
{
    struct fk_why reason = {""};
    int err = fk_site_install(site, gen->resumption, certs, count, &reason);

    if (err == FK_OK)
        return FK_OK;
    return fk_why_set(why, err, "site \"%s\": %s%s%s", site->conf->block.title, fk_err_text(err),
                      reason.text[0] == '\0' ? "" : ": ", reason.text);
}

/* The certificates that the configuration names. */
static int install_files(struct fk_gen *gen, struct fk_site *site, struct fk_why *why)
{
    const struct fk_conf_list *paths = &site->conf->certificate;
    struct fk_cert certs[FK_EDGE_CERTS_MAX];
    size_t count = 0;
    int err = FK_OK;

    for (; err == FK_OK && count < paths->count; count++) {
        const uint8_t *pem;
        size_t len;

        if ((err = fk_bundle_read(gen->bundle, paths->items[count], &pem, &len)) != FK_OK ||
            (err = fk_cert_from_pem(gen->base->libctx, pem, len, &certs[count])) != FK_OK) {
            fk_why_set(why, err, "site \"%s\": certificate %s: %s", site->conf->block.title,
                       paths->items[count], fk_err_text(err));
            break;
        }
    }
    if (err == FK_OK)
        err = install(gen, site, certs, count, why);
    free_certs(certs, count);
    return err;
}

/* --- certificates from key servers --- */

static struct fk_listing *listing_of(void *arg, const char *server)
{
    const struct fk_gen *gen = arg;

    return fk_keys_listing(gen->keys, server);
}

static void on_renewed(void *arg, struct fk_site *site, bool first)
{
    struct fk_gen *gen = arg;

    if (first)
        gen->without--;
    gen->base->on_certificate(gen->base->arg, gen, site);
}

/* Those who get a certificate and end may hold the last references. */
static void hold(void *arg, bool on)
{
    if (on)
        (void)fk_gen_ref(arg);
    else
        fk_gen_unref(arg);
}

static int make_renew(struct fk_gen *gen)
{
    const struct fk_renew_config config = {
        .loop = gen->base->loop,
        .sites = gen->sites,
        .resumption = gen->resumption,
        .listing = listing_of,
        .renewed = on_renewed,
        .hold = hold,
        .arg = gen,
    };

    return gen->keys == NULL ? FK_OK : fk_renew_new(&config, &gen->renew);
}

/* --- ticket keys from key servers --- */

static struct fk_ticketfeed_state state_of(void *arg, const char *server)
{
    const struct fk_gen *gen = arg;
    const struct fk_keyserver *found = fk_keys_find(gen->keys, server);
    struct fk_keyserver_stats stats;

    fk_keyserver_stats(found, &stats);
    return (struct fk_ticketfeed_state){.channels = stats.connects,
                                        .generation = fk_keyserver_generation(found)};
}

static int make_feeds(struct fk_gen *gen)
{
    const struct fk_ticketfeeds_config config = {
        .loop = gen->base->loop,
        .groups = gen->base->groups,
        .state = state_of,
        .arg = gen,
    };

    return gen->keys == NULL ? FK_OK : fk_ticketfeeds_new(&config, &gen->feeds);
}

static uint8_t ticket_mode(const struct fk_edge_site *site)
{
    switch (site->mode) {
    case FK_MODE_DECRYPT:
        return FK_TICKET_MODE_DECRYPT;
    case FK_MODE_AGREE:
        return FK_TICKET_MODE_AGREE;
    case FK_MODE_MASTER:
        return FK_TICKET_MODE_MASTER;
    case FK_MODE_KEYS:
        return site->expose == FK_EXPOSE_MASTER ? FK_TICKET_MODE_EXPOSE : FK_TICKET_MODE_KEYS;
    default: /* lend as well: to a client they are the same */
        return FK_TICKET_MODE_SIGN;
    }
}

static int make_desk(struct fk_gen *gen, struct fk_site *site)
{
    struct fk_desk_config config = {
        .loop = gen->base->loop,
        .servers = &site->conf->keyservers,
        .back = site->back,
        .use = {.mode = ticket_mode(site->conf)},
        .state = state_of,
        .arg = gen,
    };

    fk_tlsctx_session_context(site->conf, site->clientca, config.use.owner);
    return fk_desk_new(&config, &site->desk);
}

/* --- the store of sessions --- */

static int make_redis(struct fk_gen *gen, struct fk_why *why)
{
    struct fk_redis_config config = {
        .loop = gen->base->loop,
        .dns = gen->base->dns,
        .metrics = gen->base->metrics,
        .conf = (const void *)gen->root->redis,
    };
    size_t len;
    int err = FK_OK;

    if (config.conf == NULL)
        return FK_OK;
    if (config.conf->password_file != NULL &&
        ((err = fk_bundle_read(gen->bundle, config.conf->password_file, &config.password, &len)) !=
             FK_OK ||
         (err = fk_redis_password(config.password, len, &config.password_len)) != FK_OK))
        return fk_why_set(why, err, "redis: %s: %s", config.conf->password_file, fk_err_text(err));
    return fk_redis_new(&config, &gen->redis);
}

/* --- in service, or not --- */

void fk_gen_rest(struct fk_gen *gen)
{
    if (gen->redis != NULL)
        fk_redis_rest(gen->redis);
    if (gen->feeds != NULL)
        fk_ticketfeeds_stop(gen->feeds);
}

void fk_gen_serve(struct fk_gen *gen)
{
    if (gen->redis != NULL)
        fk_redis_start(gen->redis);
    fk_gen_refresh(gen);
}

void fk_gen_refresh(struct fk_gen *gen)
{
    if (gen->feeds != NULL)
        fk_ticketfeeds_start(gen->feeds);
    if (gen->renew != NULL)
        fk_renew_start(gen->renew);
}

void fk_gen_want(struct fk_gen *gen, struct fk_site *site)
{
    if (gen->renew != NULL)
        fk_renew_want(gen->renew, site);
}

bool fk_gen_complete(const struct fk_gen *gen)
{
    return gen->without == 0;
}

/* --- a generation --- */

int fk_gen_share_path(const struct fk_edge_site *site, char ret[FK_GEN_SHARE_SIZE])
{
    int n = snprintf(ret, FK_GEN_SHARE_SIZE, "%s%s", FK_GEN_SHARE, site->block.title);

    return n > 0 && (size_t)n < FK_GEN_SHARE_SIZE ? FK_OK : FK_ERR_LIMIT;
}

/* No certificate tells which key the share is of: who has read the share does. */
static int read_share_ski(struct fk_gen *gen, struct fk_site *site)
{
    char path[FK_GEN_SHARE_SIZE];
    const uint8_t *ski;
    size_t len;
    int err;

    if ((err = fk_gen_share_path(site->conf, path)) != FK_OK ||
        (err = fk_bundle_read(gen->bundle, path, &ski, &len)) != FK_OK)
        return err;
    if (len != sizeof site->share_ski)
        return FK_ERR_FORMAT;
    memcpy(site->share_ski, ski, len);
    return FK_OK;
}

static int read_file(struct fk_bundle *bundle, const char *path, struct fk_reader *ret)
{
    const uint8_t *data;
    size_t len;
    int err = fk_bundle_read(bundle, path, &data, &len);

    if (err == FK_OK)
        fk_reader_init(ret, data, len);
    return err;
}

int fk_gen_clientca(struct fk_bundle *bundle, OSSL_LIB_CTX *libctx, const struct fk_edge_site *site,
                    const char **ret_path, struct fk_clientca **ret)
{
    const struct fk_edge_client *client = fk_edge_client(site);
    struct fk_clientca_conf conf = {.libctx = libctx};
    struct fk_clientca *ca = NULL;
    int err;

    if (client == NULL) {
        *ret = NULL;
        return FK_OK;
    }
    conf.depth = (unsigned)client->depth;
    conf.required = client->require == FK_CLIENT_REQUIRED;
    conf.allow = client->allow.items;
    conf.n_allow = client->allow.count;
    *ret_path = client->ca;
    if ((err = read_file(bundle, client->ca, &conf.ca)) != FK_OK ||
        (err = fk_clientca_new(&conf, &ca)) != FK_OK)
        return err;
    if (client->crl != NULL) { /* once more, with the lists: then any fault is theirs */
        fk_clientca_free(ca);
        *ret_path = client->crl;
        if ((err = read_file(bundle, client->crl, &conf.crl)) != FK_OK ||
            (err = conf.crl.left == 0 ? FK_ERR_FORMAT : fk_clientca_new(&conf, &ca)) != FK_OK)
            return err;
    }
    *ret = ca;
    return FK_OK;
}

int fk_gen_origintls(struct fk_bundle *bundle, OSSL_LIB_CTX *libctx,
                     const struct fk_edge_site *site, SSL_CTX **ret)
{
    struct fk_reader ca;
    int err;

    if (site->origin_ca == NULL) {
        *ret = NULL;
        return FK_OK;
    }
    if ((err = read_file(bundle, site->origin_ca, &ca)) != FK_OK)
        return err;
    return fk_origintls_new(libctx, ca, ret);
}

static int make_origins(struct fk_gen *gen, struct fk_site *site)
{
    const struct fk_gen_base *base = gen->base;
    SSL_CTX *tls = NULL;
    int err = fk_gen_origintls(gen->bundle, base->libctx, site->conf, &tls);

    if (err == FK_OK)
        err = fk_origins_new(base->loop, base->dns, site->conf, &site->origins);
    if (err == FK_OK)
        fk_origins_follow(site->origins, base->down);
    if (err == FK_OK && tls != NULL)
        fk_origins_secure(site->origins, tls);
    SSL_CTX_free(tls);
    return err;
}

static int make_site(struct fk_gen *gen, size_t index)
{
    struct fk_site *site = fk_sites_at(gen->sites, index);
    const char *path;
    int err;

    site->cache = gen->base->cache;
    site->metrics = gen->base->metrics;
    site->libctx =
        fk_tlsctx_opaque(site->conf) == FK_OPAQUE_NONE ? gen->base->libctx : gen->base->opaque;
    if (site->conf->sessions == FK_SESSIONS_REDIS)
        site->store = fk_redis_store(gen->redis);
    if ((err = fk_gen_clientca(gen->bundle, gen->base->libctx, site->conf, &path,
                               &site->clientca)) != FK_OK)
        return err;
    if ((err = fk_ticket_site_new(gen->base->tickets, site->conf->block.title, &site->tickets)) !=
            FK_OK ||
        (err = make_origins(gen, site)) != FK_OK ||
        (err = fk_stapling_read(site->conf, gen->bundle, &site->stapling)) != FK_OK)
        return err;
    if (site->conf->mode == FK_MODE_LOCAL)
        site->back = fk_localpool_back(gen->local);
    else if ((err = make_pool(gen, site, index)) != FK_OK)
        return err;
    if (site->conf->tickets == FK_TICKETS_SHARED) {
        site->feeds = gen->feeds;
        site->feeds_back = site->back;
        fk_ticket_site_follow(site->tickets, NULL); /* until its private key is known */
    }
    if (site->conf->tickets == FK_TICKETS_KEYSERVER && gen->resumption->enabled &&
        (err = make_desk(gen, site)) != FK_OK)
        return err;
    if (site->conf->mode == FK_MODE_LEND && (err = make_lent(gen, site)) != FK_OK)
        return err;
    site->servers = site->back;
    if (site->conf->share.count > 0) {
        if (fk_site_passes(site) && (err = read_share_ski(gen, site)) != FK_OK)
            return err;
        if ((err = fk_sharekeys_new(site->back, fk_localpool_signers(gen->local), &site->shares)) !=
            FK_OK)
            return err;
        site->back = fk_sharekeys_back(site->shares);
    }
    if (fk_site_from_server(site))
        gen->without++;
    return FK_OK;
}

static void on_stale(void *arg, struct fk_site *site, const struct fk_http_request *request)
{
    struct fk_gen *gen = arg;

    fk_renewals_begin(gen->base->renewals, gen, site, request);
}

static int make_caches(struct fk_gen *gen)
{
    const struct fk_sitecaches_conf conf = {.cache = gen->base->answers,
                                            .conf = fk_edge_cache(gen->root),
                                            .renew = on_stale,
                                            .arg = gen};

    return fk_sitecaches_new(&conf, gen->sites, &gen->caches);
}

static int make_sites(struct fk_gen *gen)
{
    size_t count;
    int err;

    if ((err = fk_sites_new(gen->root, &gen->sites)) != FK_OK)
        return err;
    count = fk_sites_count(gen->sites);
    if ((gen->pools = calloc(count, sizeof *gen->pools)) == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        if ((err = make_site(gen, i)) != FK_OK)
            return err;
    if ((err = fk_siterelays_new(gen->sites, &gen->relays)) != FK_OK)
        return err;
    return make_caches(gen);
}

static int load(struct fk_gen *gen, int bundle_fd, struct fk_why *why)
{
    const uint8_t *path;
    size_t len;
    int err;

    if ((err = fk_bundle_open(bundle_fd, &gen->bundle)) != FK_OK ||
        (err = fk_bundle_read(gen->bundle, FK_GEN_MAIN_FILE, &path, &len)) != FK_OK)
        return err;
    err = fk_conf_load(gen->base->role->conf, (const char *)path, gen->bundle, &gen->conf);
    if (err != FK_OK)
        return fk_why_set(why, err, "%s",
                          gen->conf == NULL ? fk_err_text(err) : fk_conf_error(gen->conf, 0));
    gen->root = fk_conf_root(gen->conf);
    gen->limits = fk_edge_limits(gen->root);
    gen->resumption = fk_edge_tickets(gen->root);
    if ((err = fk_bundle_read(gen->bundle, FK_GEN_VERBOSE, &path, &len)) != FK_OK)
        return err;
    gen->log_level = len > 0 ? FK_LOG_DEBUG : (enum fk_log_level)gen->root->log_level;
    return FK_OK;
}

static int make_keys(struct fk_gen *gen, const struct fk_gen *old, struct fk_why *why)
{
    const struct fk_keys_source source = {
        .loop = gen->base->loop,
        .libctx = gen->base->libctx,
        .dns = gen->base->dns,
        .conf = gen->root,
        .bundle = gen->bundle,
    };

    if (gen->root->keyservers == NULL)
        return FK_OK;
    return fk_keys_new(&source, old == NULL ? NULL : old->keys, why, &gen->keys);
}

int fk_gen_new(const struct fk_gen_base *base, const struct fk_gen_source *source,
               const struct fk_gen *old, struct fk_why *why, struct fk_gen **ret)
{
    struct fk_gen *gen = calloc(1, sizeof *gen);
    int err;

    if (gen == NULL)
        return FK_ERR_NOMEM;
    gen->refs = 1;
    gen->number = source->number;
    gen->keys_number = source->keys;
    gen->base = base;
    if ((err = load(gen, source->bundle_fd, why)) == FK_OK &&
        (err = fk_localkeys_get(base->local, source->keys, &gen->local)) == FK_OK &&
        (err = make_keys(gen, old, why)) == FK_OK && (err = make_feeds(gen)) == FK_OK &&
        (err = make_redis(gen, why)) == FK_OK && (err = make_sites(gen)) == FK_OK)
        err = make_renew(gen);
    if (err != FK_OK) {
        fk_gen_unref(gen);
        return err;
    }
    *ret = gen;
    return FK_OK;
}

int fk_gen_build(struct fk_gen *gen, bool all, struct fk_why *why)
{
    size_t count = fk_sites_count(gen->sites);
    unsigned spent = 0;
    int err = FK_OK;

    while (err == FK_OK && gen->built < count && (all || spent < FK_EDGE_RENEW_TURN)) {
        struct fk_site *site = fk_sites_at(gen->sites, gen->built++);

        bool has_files = !fk_site_from_server(site) && !fk_site_passes(site);
        bool resumes = fk_site_exposes(site);

        spent += has_files || resumes ? FK_EDGE_RENEW_HEAVY : 1;
        if (has_files)
            err = install_files(gen, site, why);
        else if (resumes)
            err = fk_site_install(site, gen->resumption, NULL, 0, why);
    }
    return err == FK_OK && gen->built < count ? FK_ERR_AGAIN : err;
}

struct fk_gen *fk_gen_ref(struct fk_gen *gen)
{
    gen->refs++;
    return gen;
}

void fk_gen_unref(struct fk_gen *gen)
{
    size_t count;

    if (gen == NULL || --gen->refs > 0)
        return;
    if (gen->keys != NULL)
        fk_keys_unwatch(gen->keys, gen);
    fk_renew_free(gen->renew);
    fk_ticketfeeds_free(gen->feeds); /* before the pools that it asks */
    count = gen->sites == NULL ? 0 : fk_sites_count(gen->sites);
    fk_siterelays_free(gen->relays);
    fk_sitecaches_free(gen->caches);
    fk_sites_free(gen->sites);
    for (size_t i = 0; gen->pools != NULL && i < count; i++)
        fk_keypool_free(gen->pools[i]);
    free(gen->pools);
    fk_keys_free(gen->keys);
    fk_redis_free(gen->redis);
    if (gen->local != NULL)
        fk_localpool_unref(gen->local);
    fk_conf_free(gen->conf);
    fk_bundle_free(gen->bundle);
    free(gen);
}
