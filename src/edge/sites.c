/* Looking sites up: see sites.h. */
#include "edge/sites.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "edge/lendkeys.h"
#include "edge/metrics.h"
#include "edge/sharekeys.h"
#include "edge/tlsctx.h"

#include <stdlib.h>
#include <string.h>

/* A server name in lower case. Wildcards stand in the table as they are written: "*.example.com".
 */
struct name {
    const char *text; /* the configuration's, any case */
    size_t len;
    uint32_t hash;
    struct fk_site *site; /* NULL: the slot is free */
};

struct fk_sites {
    const struct fk_edge_conf *conf;
    struct fk_site *fallback; /* default = on */
    struct fk_map titles;
    struct name *names; /* open addressing; a power of two, at most half full */
    size_t mask;
    size_t count;
    struct fk_site items[];
};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* FNV-1a over lower case. Only the configuration decides how full the table is. */
static uint32_t hash_more(uint32_t hash, const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ lower(text[i])) * 16777619U;
    return hash;
}

static uint32_t hash_of(const void *text, size_t len)
{
    return hash_more(2166136261U, text, len);
}

static bool equal(const struct name *name, const uint8_t *text, size_t len)
{
    if (name->len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (lower((uint8_t)name->text[i]) != lower(text[i]))
            return false;
    return true;
}

static void insert(struct fk_sites *sites, const char *text, struct fk_site *site)
{
    struct name name = {.text = text, .len = strlen(text), .site = site};
    size_t at;

    name.hash = hash_of(text, name.len);
    for (at = name.hash & sites->mask; sites->names[at].site != NULL; at = (at + 1) & sites->mask)
        continue;
    sites->names[at] = name;
}

/* The name `prefix` + `text`. */
static struct fk_site *look_up(const struct fk_sites *sites, bool wildcard, const uint8_t *text,
                               size_t len)
{
    uint32_t hash = hash_of("*", wildcard ? 1 : 0);

    hash = hash_more(hash, text, len);
    for (size_t at = hash & sites->mask; sites->names[at].site != NULL;
         at = (at + 1) & sites->mask) {
        const struct name *name = &sites->names[at];
        struct name rest = *name;

        if (name->hash != hash || (wildcard && name->text[0] != '*'))
            continue;
        if (wildcard) {
            rest.text++;
            rest.len--;
        }
        if (equal(&rest, text, len))
            return name->site;
    }
    return NULL;
}

struct fk_site *fk_sites_find(struct fk_sites *sites, const void *name, size_t len)
{
    const uint8_t *text = name;
    const uint8_t *dot;
    struct fk_site *site;

    if (len > 0 && text[len - 1] == '.') /* the root's dot */
        len--;
    if (len == 0 || len > FK_HOST_MAX || text[0] == '*')
        return NULL;
    if ((site = look_up(sites, false, text, len)) != NULL)
        return site;
    dot = memchr(text, '.', len);
    if (dot == NULL || dot == text)
        return NULL;
    return look_up(sites, true, dot, len - (size_t)(dot - text));
}

static size_t table_size(const struct fk_edge_conf *conf, size_t *ret_sites)
{
    size_t names = 0, size = 4;

    *ret_sites = 0;
    for (const struct fk_conf_block *b = conf->sites; b != NULL; b = b->next) {
        names += fk_edge_site_names((const void *)b);
        (*ret_sites)++;
    }
    while (size < 2 * names)
        size *= 2;
    return size;
}

int fk_sites_new(const struct fk_edge_conf *conf, struct fk_sites **ret)
{
    size_t count, size = table_size(conf, &count);
    struct fk_sites *sites = calloc(1, sizeof *sites + count * sizeof sites->items[0]);

    if (sites == NULL || (sites->names = calloc(size, sizeof *sites->names)) == NULL) {
        free(sites);
        return FK_ERR_NOMEM;
    }
    sites->conf = conf;
    sites->mask = size - 1;
    for (const struct fk_conf_block *b = conf->sites; b != NULL; b = b->next) {
        struct fk_site *site = &sites->items[sites->count++];

        if (fk_map_add(&sites->titles, b->title, strlen(b->title), site, NULL) != FK_OK) {
            fk_sites_free(sites);
            return FK_ERR_NOMEM;
        }

        site->conf = (const void *)b;
        fk_list_init(&site->waiting);
        fk_list_init(&site->wanted);
        for (size_t i = 0; i < fk_edge_site_names(site->conf); i++)
            insert(sites, fk_edge_site_name(site->conf, i), site);
        if (site->conf->is_default)
            sites->fallback = site;
    }
    *ret = sites;
    return FK_OK;
}

void fk_sites_free(struct fk_sites *sites)
{
    if (sites == NULL)
        return;
    for (size_t i = 0; i < sites->count; i++) {
        SSL_CTX_free(sites->items[i].ctx);
        fk_stapling_fini(&sites->items[i].stapling);
        fk_sharekeys_free(sites->items[i].shares);
        fk_lendkeys_free(sites->items[i].lent);
        fk_clientca_free(sites->items[i].clientca);
        fk_desk_free(sites->items[i].desk);
        fk_ticket_site_free(sites->items[i].tickets);
        fk_origins_free(sites->items[i].origins);
    }
    fk_map_fini(&sites->titles);
    free(sites->names);
    free(sites);
}

size_t fk_sites_count(const struct fk_sites *sites)
{
    return sites->count;
}

struct fk_site *fk_sites_at(struct fk_sites *sites, size_t i)
{
    return &sites->items[i];
}

/* The site that the listener's map has for the address that the client reached. */
static struct fk_site *by_address(struct fk_sites *sites, const struct fk_edge_listen *listener,
                                  const struct fk_addr *reached)
{
    uint8_t ip[16], have[16];
    size_t ip_len, have_len = fk_addr_ip(reached, have);
    const char *name;

    for (size_t i = 0; i < listener->addresses.count; i++)
        if (fk_edge_address_map(listener->addresses.items[i], ip, &ip_len, &name) == FK_OK &&
            ip_len == have_len && memcmp(ip, have, ip_len) == 0)
            return fk_map_find(&sites->titles, name, strlen(name));
    return NULL;
}

int fk_sites_choose(struct fk_sites *sites, const struct fk_edge_listen *listener, const void *sni,
                    size_t sni_len, const struct fk_addr *reached, struct fk_site **ret)
{
    struct fk_site *site = NULL;

    if (listener->plain != NULL)
        site = fk_map_find(&sites->titles, listener->plain, strlen(listener->plain));
    else if (sni != NULL)
        site = fk_sites_find(sites, sni, sni_len);
    else if (reached != NULL && listener->addresses.count > 0)
        site = by_address(sites, listener, reached);
    if (site == NULL && listener->plain == NULL && !listener->strict_sni)
        site = sites->fallback;
    if (site == NULL)
        return FK_ERR_NOT_FOUND;
    *ret = site;
    return FK_OK;
}

/* Of several keys the one with the least SKI: all edges take the same, in whatever order. */
static const uint8_t *least_ski(const struct fk_cert *certs, size_t n_certs)
{
    const uint8_t *least = certs[0].ski;

    for (size_t i = 1; i < n_certs; i++)
        if (memcmp(certs[i].ski, least, sizeof certs[i].ski) < 0)
            least = certs[i].ski;
    return least;
}

/* The site's tickets are those of its private key. Too many keys: it has none, but serves. */
static int follow(struct fk_site *site, const struct fk_cert *certs, size_t n_certs)
{
    struct fk_ticketfeed_source source = {.servers = &site->conf->keyservers,
                                          .back = site->feeds_back};
    struct fk_ticketfeed *feed = NULL;
    int err;

    memcpy(source.ski, least_ski(certs, n_certs), sizeof source.ski);
    err = fk_ticketfeed_use(site->feeds, &source, &feed);
    if (err == FK_ERR_LIMIT)
        fk_log(FK_LOG_ERROR, "no session tickets: too many private keys",
               fk_str("site", site->conf->block.title),
               fk_uint("at_most", FK_EDGE_TICKET_GROUPS_MAX));
    else if (err != FK_OK)
        return err;
    fk_ticket_site_follow(site->tickets,
                          feed == NULL ? NULL : fk_ticketgroup_tickets(fk_ticketfeed_group(feed)));
    fk_ticketfeed_leave(site->feed);
    site->feed = feed;
    return FK_OK;
}

static void on_staple(void *arg, bool sent)
{
    const struct fk_site *site = arg;

    if (site->metrics != NULL)
        fk_metric_add(site->metrics, sent ? FK_EDGE_STAPLED : FK_EDGE_STAPLE_EXPIRED, 1);
}

/* When the first of them ends. */
static int64_t first_end(const struct fk_cert *certs, size_t n_certs)
{
    int64_t first = 0;

    for (size_t i = 0; i < n_certs; i++) {
        int64_t end = fk_cert_not_after(&certs[i]);

        if (first == 0 || end < first)
            first = end;
    }
    return first;
}

int fk_site_install(struct fk_site *site, const struct fk_edge_tickets *resumption,
                    const struct fk_cert *certs, size_t n_certs, struct fk_why *why)
{
    struct fk_staple_use staples[FK_EDGE_CERTS_MAX];
    struct fk_tlsctx_config config = {
        .libctx = site->libctx,
        .site = site->conf,
        .resumption = resumption,
        .certs = certs,
        .n_certs = n_certs,
        .back = site->back,
        .tickets = site->tickets,
        .desk = site->desk == NULL ? NULL : fk_desk_tickets(site->desk),
        .cache = site->cache,
        .store = site->store,
        .clientca = site->clientca,
        .only_resumes = fk_site_exposes(site),
        .staples = staples,
        .n_staples = fk_stapling_match(&site->stapling, site->conf, certs, n_certs, staples),
        .told = on_staple,
        .told_arg = site,
    };
    SSL_CTX *ctx;
    int err = fk_tlsctx_new(&config, why, &ctx);

    if (err != FK_OK)
        return err;
    if (site->feeds != NULL && (err = follow(site, certs, n_certs)) != FK_OK) {
        SSL_CTX_free(ctx);
        return err;
    }
    if (site->desk != NULL)
        fk_desk_key(site->desk, least_ski(certs, n_certs));
    SSL_CTX_free(site->ctx); /* sessions under way have their own reference */
    site->ctx = ctx;
    site->not_after = first_end(certs, n_certs);
    return FK_OK;
}
