/* Certificates of clients for origins: see siterelay.h. */
#include "edge/siterelay.h"

#include "base/err.h"
#include "base/limits.h"
#include "tls/clientrules.h"
#include "tls/server_ctx.h"

#include <stdlib.h>
#include <string.h>

/* h2c is never among them: an upgrade to it would take requests past every check. */
static const char *const upgrades[] = {"websocket"};
static const char *const everything[] = {"/"};

struct one {
    struct fk_http_forward forward;
    struct fk_certrelay *relay;     /* NULL: clients are not asked, or not with HTTP */
    struct fk_clientrules *trusted; /* whose xfcc is believed; NULL: nobody's */
    const struct fk_siterelays *all;
    const struct fk_site *site;
};

struct names {
    const char **items;
    size_t count, cap;
};

struct fk_siterelays {
    struct fk_sites *sites;
    struct names fields, cookies; /* of all sites: only the edge says them */
    size_t count;
    struct one items[];
};

static int add_name(struct names *names, const char *name)
{
    const char **items;

    if (names->count == names->cap) {
        size_t cap = names->cap == 0 ? 64 : 2 * names->cap;

        if ((items = reallocarray(names->items, cap, sizeof *items)) == NULL)
            return FK_ERR_NOMEM;
        names->items = items;
        names->cap = cap;
    }
    names->items[names->count++] = name;
    return FK_OK;
}

static bool has_name(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcasecmp(names->items[i], name) == 0)
            return true;
    return false;
}

static int add_new_name(struct names *names, const char *name)
{
    return has_name(names, name) ? FK_OK : add_name(names, name);
}

static int collect(struct fk_siterelays *relays, const struct fk_certrelay *relay)
{
    const char *name;
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && (name = fk_certrelay_field(relay, i)) != NULL; i++)
        err = add_new_name(&relays->fields, name);
    for (size_t i = 0; err == FK_OK && (name = fk_certrelay_cookie(relay, i)) != NULL; i++)
        err = add_new_name(&relays->cookies, name);
    return err;
}

/* --- hosts --- */

/* Whether two sites' certificates of clients are judged alike. */
static bool same_policy(const struct fk_clientca *a, const struct fk_clientca *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return memcmp(fk_clientca_print(a), fk_clientca_print(b), 32) == 0 && /* public */
           memcmp(fk_clientca_lists(a), fk_clientca_lists(b), 32) == 0;
}

/* A connection is for hosts with its own rules: else a client would choose under which it is
 * judged, by the server name of its handshake. */
static bool is_foreign(const void *arg, struct fk_reader host)
{
    const struct one *one = arg;
    const struct fk_site *site = fk_sites_find(one->all->sites, host.next, host.left);

    if (site == NULL || site == one->site)
        return false;
    if (!same_policy(one->site->clientca, site->clientca))
        return true;
    if (site->clientca == NULL)
        return false;
    return fk_edge_client(site->conf)->paths.count > 0 ||
           fk_edge_client(one->site->conf)->paths.count > 0;
}

/* --- sites --- */

static int make_relay(struct fk_siterelays *relays, struct one *one)
{
    const struct fk_edge_client *client = fk_edge_client(one->site->conf);
    const struct fk_edge_relay *xfcc = fk_edge_relay_find(client, "xfcc");
    struct fk_certrelay_conf confs[FK_EDGE_RELAYS_MAX];
    size_t bad;
    int err;

    if (client == NULL || one->site->conf->protocol != FK_PROTOCOL_HTTP)
        return FK_OK;
    err = fk_certrelay_new(confs, fk_edge_relays(client, confs), client->relay_max, &one->relay);
    if (err == FK_OK && xfcc != NULL && xfcc->trusted.count > 0)
        err = fk_clientrules_new(xfcc->trusted.items, xfcc->trusted.count, &one->trusted, &bad);
    return err == FK_OK ? collect(relays, one->relay) : err;
}

/* When all names are known. */
static void make_forward(const struct fk_siterelays *relays, struct one *one)
{
    const struct fk_edge_client *client = fk_edge_client(one->site->conf);

    one->forward = (struct fk_http_forward){
        .via = "farkey",
        .forwarded = true,
        .x_forwarded = true,
        .ours = relays->fields.items,
        .n_ours = relays->fields.count,
        .cookies = relays->cookies.items,
        .n_cookies = relays->cookies.count,
        .foreign = is_foreign,
        .foreign_arg = one,
        .upgrades = upgrades,
        .n_upgrades = sizeof upgrades / sizeof upgrades[0],
    };
    if (client == NULL)
        return;
    if (client->require == FK_CLIENT_REQUIRED) { /* whichever way a request has come */
        one->forward.guarded = everything;
        one->forward.n_guarded = 1;
    } else {
        one->forward.guarded = (const char *const *)client->paths.items;
        one->forward.n_guarded = client->paths.count;
    }
}

int fk_siterelays_new(struct fk_sites *sites, struct fk_siterelays **ret)
{
    size_t count = fk_sites_count(sites);
    struct fk_siterelays *relays = calloc(1, sizeof *relays + count * sizeof relays->items[0]);
    const char *known;
    int err = relays == NULL ? FK_ERR_NOMEM : FK_OK;

    for (size_t i = 0; err == FK_OK && (known = fk_certrelay_known(i)) != NULL; i++)
        err = add_name(&relays->fields, known);
    for (size_t i = 0; err == FK_OK && i < count; i++) {
        struct one *one = &relays->items[relays->count++];

        one->all = relays;
        one->site = fk_sites_at(sites, i);
        err = make_relay(relays, one);
    }
    if (err != FK_OK) {
        fk_siterelays_free(relays);
        return err;
    }
    relays->sites = sites;
    for (size_t i = 0; i < count; i++)
        make_forward(relays, &relays->items[i]);
    *ret = relays;
    return FK_OK;
}

void fk_siterelays_free(struct fk_siterelays *relays)
{
    if (relays == NULL)
        return;
    for (size_t i = 0; i < relays->count; i++) {
        fk_certrelay_free(relays->items[i].relay);
        fk_clientrules_free(relays->items[i].trusted);
    }
    free(relays->fields.items);
    free(relays->cookies.items);
    free(relays);
}

/* --- connections --- */

static const struct one *one_of(const struct fk_siterelays *relays, const struct fk_site *site)
{
    return &relays->items[site - fk_sites_at(relays->sites, 0)];
}

const struct fk_http_forward *fk_siterelays_forward(const struct fk_siterelays *relays,
                                                    const struct fk_site *site)
{
    return &one_of(relays, site)->forward;
}

int fk_siterelays_say(const struct fk_siterelays *relays, const struct fk_site *site,
                      STACK_OF(X509) * chain, struct fk_http_identity **ret)
{
    const struct one *one = one_of(relays, site);
    STACK_OF(X509) *above = NULL;
    struct fk_certtext_of of;
    bool trusted;
    int err;

    if (one->relay == NULL) {
        *ret = NULL;
        return FK_OK;
    }
    if (chain == NULL)
        return fk_certrelay_say(one->relay, NULL, false, ret);
    if ((above = sk_X509_dup(chain)) == NULL)
        return FK_ERR_NOMEM;
    of = (struct fk_certtext_of){.leaf = sk_X509_shift(above), .above = above};
    trusted = one->trusted != NULL && fk_clientrules_fit(one->trusted, of.leaf);
    err = fk_certrelay_say(one->relay, &of, trusted, ret);
    sk_X509_free(above);
    return err;
}
