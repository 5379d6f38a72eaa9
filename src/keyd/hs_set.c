/*
 * Sites of a handshaker: see hs_set.h.
 *
 * A site is what an edge says of it (edge/conn_pass.c writes it from its configuration), with the
 * keys that the front has found for it. Tickets and ids are sealed by keys of the edge and site, so
 * that a session is resumed by the edge and for the site that it was made for.
 */
#include "keyd/hs_set.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/text.h"
#include "keyd/frontset.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST  32
#define BUCKETS 256
/* All that describes a site: see describe(). */
#define DESCRIPTION_MAX (FK_HANDSHAKE_ALPN_MAX + FK_CLIENT_CAS_MAX + 4 * 256 + 256)

struct fk_hs_site {
    struct fk_list bucket, age; /* of its set; age: least lately used first */
    unsigned refs;
    uint16_t edge;         /* whose */
    uint8_t print[DIGEST]; /* of what it is made from */
    SSL_CTX *ctx;
    struct fk_ticket_site *tickets;
};

struct fk_hs_set {
    const struct fk_hs_base *base;
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    struct fk_index *index;
    uint32_t generation;
    int log_level;
    size_t n_sites;
    uint16_t counts[FK_KEYD_EDGES_MAX]; /* by edge */
    struct fk_list ages;
    struct fk_list buckets[BUCKETS];
};

/* --- a set --- */

static int load(struct fk_hs_set *set, int fd)
{
    const struct fk_keyd_conf *root;
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_open(fd, &set->bundle)) != FK_OK ||
        (err = fk_bundle_read(set->bundle, FK_KEYD_CONF_PATH, &data, &len)) != FK_OK ||
        (err = fk_conf_load(&fk_keyd_conf_kind, (const char *)data, set->bundle, &set->conf)) !=
            FK_OK ||
        (err = fk_bundle_read(set->bundle, FK_KEYD_VERBOSE_PATH, &data, &len)) != FK_OK)
        return err;
    root = fk_conf_root(set->conf);
    set->log_level = len > 0 ? (int)FK_LOG_DEBUG : root->log_level;
    if ((err = fk_bundle_read(set->bundle, FK_INDEX_PATH, &data, &len)) != FK_OK)
        return err;
    return fk_index_load(data, len, &set->index);
}

int fk_hs_set_open(int fd, uint32_t generation, const struct fk_hs_base *base,
                   struct fk_hs_set **ret)
{
    struct fk_hs_set *set = calloc(1, sizeof *set);
    int err;

    if (set == NULL)
        return FK_ERR_NOMEM;
    set->base = base;
    set->generation = generation;
    fk_list_init(&set->ages);
    for (size_t i = 0; i < BUCKETS; i++)
        fk_list_init(&set->buckets[i]);
    if ((err = load(set, fd)) != FK_OK) {
        fk_hs_set_free(set);
        return err;
    }
    *ret = set;
    return FK_OK;
}

/* Nobody finds it any more. */
static void forget(struct fk_hs_set *set, struct fk_hs_site *site)
{
    fk_list_del(&site->bucket);
    fk_list_del(&site->age);
    set->n_sites--;
    set->counts[site->edge]--;
    fk_hs_site_unref(site);
}

void fk_hs_set_free(struct fk_hs_set *set)
{
    struct fk_list *item;

    if (set == NULL)
        return;
    while ((item = fk_list_pop(&set->ages)) != NULL)
        forget(set, fk_container(item, struct fk_hs_site, age));
    fk_index_free(set->index);
    fk_conf_free(set->conf);
    fk_bundle_free(set->bundle);
    free(set);
}

uint32_t fk_hs_set_generation(const struct fk_hs_set *set)
{
    return set->generation;
}

int fk_hs_set_log_level(const struct fk_hs_set *set)
{
    return set->log_level;
}

const struct fk_keyd_limits_conf *fk_hs_set_limits(const struct fk_hs_set *set)
{
    return fk_keyd_conf_limits(fk_conf_root(set->conf));
}

/* --- what a site is --- */

/* Whose sessions are the same: the edge, the site as it calls it, and its policy for clients. */
static int digest_owner(const struct fk_hs_head *head, const struct fk_handshake_open *open,
                        uint8_t ret[DIGEST])
{
    uint8_t bytes[sizeof head->owner + 2 * 256 + 1];
    struct fk_writer out;
    size_t len;
    int err;

    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_bytes(&out, head->owner, sizeof head->owner);
    fk_writer_vec8(&out, open->title.next, open->title.left);
    fk_writer_vec8(&out, open->name.next, open->name.left);
    fk_writer_u8(&out, open->client);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    return EVP_Digest(bytes, len, ret, NULL, EVP_sha256(), NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

/* All that its context is made from. */
static int digest_all(const struct fk_hs_head *head, const struct fk_handshake_open *open,
                      uint8_t ret[DIGEST])
{
    static uint8_t bytes[DESCRIPTION_MAX]; /* one loop; nothing secret */
    struct fk_handshake_open without = *open;
    struct fk_writer out;
    size_t len;
    int err;

    without.records.left = 0;
    fk_writer_init(&out, bytes, sizeof bytes);
    fk_writer_bytes(&out, head->owner, sizeof head->owner);
    fk_writer_u8(&out, head->n_keys);
    for (size_t i = 0; i < head->n_keys; i++)
        fk_writer_bytes(&out, head->skis[i], sizeof head->skis[i]);
    fk_handshake_open_encode(&without, &out);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    return EVP_Digest(bytes, len, ret, NULL, EVP_sha256(), NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

/* "X25519:P-256"; numbers that are not served are passed over. FK_ERR_UNSUPPORTED: all are. */
static int list_groups(struct fk_reader ids, char *ret, size_t size)
{
    bool asked = ids.left > 0;
    size_t len = 0;
    uint16_t id;

    ret[0] = '\0';
    while (fk_reader_u16(&ids, &id) == FK_OK) {
        const char *name = fk_server_group_name(id);
        int n;

        if (name == NULL)
            continue;
        n = snprintf(ret + len, size - len, "%s%s", len > 0 ? ":" : "", name);
        if (n < 0 || (size_t)n >= size - len)
            return FK_ERR_UNSUPPORTED;
        len += (size_t)n;
    }
    return asked && len == 0 ? FK_ERR_UNSUPPORTED : FK_OK;
}

/* --- certificates --- */

/* Those of the keys that are here; the key's own policy is asked again. */
static int read_certs(const struct fk_hs_set *set, const struct fk_hs_head *head, uint16_t needed,
                      struct fk_cert *certs, size_t *ret_count)
{
    size_t count = 0;
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && i < head->n_keys; i++) {
        const struct fk_index_key *key =
            fk_index_find(set->index, FK_INDEX_SKI, head->skis[i], sizeof head->skis[i], ~0U);
        struct fk_reader chain;

        if (key == NULL || key->chain_len == 0)
            continue;
        if ((key->public.permissions & needed) != needed) {
            err = FK_ERR_DENIED;
            break;
        }
        fk_reader_init(&chain, key->chain, key->chain_len);
        err = fk_cert_from_der(set->base->libctx, chain, &certs[count]);
        count += err == FK_OK;
    }
    *ret_count = count;
    return err == FK_OK && count == 0 ? FK_ERR_KEY_NOT_FOUND : err;
}

/* --- making one --- */

/* The context of a site whose tickets are there. */
static int make_ctx(struct fk_hs_set *set, const struct fk_hs_head *head, uint16_t needed,
                    struct fk_server_conf *conf, SSL_CTX **ret)
{
    struct fk_cert certs[FK_HS_KEYS_MAX];
    int err = read_certs(set, head, needed, certs, &conf->n_certs);

    conf->certs = certs;
    if (err == FK_OK)
        err = fk_server_ctx_new(conf, ret);
    for (size_t i = 0; i < conf->n_certs; i++)
        fk_cert_fini(&certs[i]);
    conf->certs = NULL;
    ERR_clear_error();
    return err;
}

/* What the edge says of it. */
static struct fk_server_conf describe(const struct fk_hs_base *base,
                                      const struct fk_handshake_open *open)
{
    static const enum fk_server_client clients[] = {
        [FK_HANDSHAKE_CLIENT_NOT_ASKED] = FK_CLIENT_NOT_ASKED,
        [FK_HANDSHAKE_CLIENT_OPTIONAL] = FK_CLIENT_OPTIONAL,
        [FK_HANDSHAKE_CLIENT_REQUIRED] = FK_CLIENT_REQUIRED};
    const uint32_t lifetime =
        open->lifetime < FK_HANDSHAKE_LIFETIME_MAX ? open->lifetime : FK_HANDSHAKE_LIFETIME_MAX;

    return (struct fk_server_conf){
        .libctx = base->libctx,
        .tls12 = (open->versions & FK_HANDSHAKE_TLS12) != 0,
        .tls13 = (open->versions & FK_HANDSHAKE_TLS13) != 0,
        .exchanges = ((open->options & FK_HANDSHAKE_ECDHE) != 0 ? FK_SERVER_ECDHE : 0) |
                     ((open->options & FK_HANDSHAKE_DHE) != 0 ? FK_SERVER_DHE : 0) |
                     ((open->options & FK_HANDSHAKE_RSA) != 0 ? FK_SERVER_RSA : 0),
        .alpn = open->alpn.next,
        .alpn_len = open->alpn.left,
        .lifetime_us = (uint64_t)lifetime * 1000000,
        .n_tickets = open->tickets < 8 ? open->tickets : 8,
        .ids = (open->options & FK_HANDSHAKE_IDS) != 0,
        .cache = base->cache,
        .back = base->back,
        .client = clients[open->client],
        .promises = (open->options & FK_HANDSHAKE_EXPOSE) != 0,
    };
}

static int make_site(struct fk_hs_set *set, const struct fk_hs_head *head,
                     const struct fk_handshake_open *open, struct fk_hs_site *site)
{
    struct fk_server_conf conf = describe(set->base, open);
    char groups[256], name[2 * DIGEST + 1];
    STACK_OF(X509_NAME) * cas;
    uint8_t id[DIGEST];
    int err;

    if (conf.tls12 && conf.exchanges == 0)
        return FK_ERR_UNSUPPORTED;
    if ((err = list_groups(open->groups, groups, sizeof groups)) != FK_OK ||
        (err = digest_owner(head, open, id)) != FK_OK)
        return err;
    fk_text_hex(id, sizeof id, name);
    if ((err = fk_ticket_site_new(set->base->tickets, name, &site->tickets)) != FK_OK ||
        (err = fk_clientca_decode_names(open->cas, &cas)) != FK_OK)
        return err;
    conf.groups = groups;
    conf.id = id;
    conf.tickets = site->tickets;
    conf.client_names = cas;
    err = make_ctx(set, head, fk_handshake_permissions(open), &conf, &site->ctx);
    sk_X509_NAME_pop_free(cas, X509_NAME_free);
    return err;
}

/*
 * The longest unused site of the edge that has the most, of the asking one rather than of another
 * with as many: an edge that describes its sites in ever new ways costs others nothing.
 */
static void make_room(struct fk_hs_set *set, uint16_t edge)
{
    uint16_t most = edge;
    struct fk_list *item;

    for (uint16_t i = 0; i < FK_KEYD_EDGES_MAX; i++)
        if (set->counts[i] > set->counts[most])
            most = i;
    fk_list_each (item, &set->ages) {
        struct fk_hs_site *site = fk_container(item, struct fk_hs_site, age);

        if (site->edge == most) {
            forget(set, site);
            return;
        }
    }
}

static void insert(struct fk_hs_set *set, struct fk_hs_site *site)
{
    if (set->n_sites == FK_HANDSHAKER_SITES_MAX)
        make_room(set, site->edge);
    fk_list_append(&set->buckets[site->print[0] % BUCKETS], &site->bucket);
    fk_list_append(&set->ages, &site->age);
    set->n_sites++;
    set->counts[site->edge]++;
}

static struct fk_hs_site *find(struct fk_hs_set *set, const uint8_t print[DIGEST])
{
    struct fk_list *item, *bucket = &set->buckets[print[0] % BUCKETS];

    fk_list_each (item, bucket) {
        struct fk_hs_site *site = fk_container(item, struct fk_hs_site, bucket);

        if (memcmp(site->print, print, DIGEST) == 0) /* public */
            return site;
    }
    return NULL;
}

int fk_hs_set_site(struct fk_hs_set *set, const struct fk_hs_head *head,
                   const struct fk_handshake_open *open, struct fk_hs_site **ret)
{
    struct fk_hs_site *site;
    uint8_t print[DIGEST];
    int err;

    if ((err = digest_all(head, open, print)) != FK_OK)
        return err;
    if ((site = find(set, print)) != NULL) {
        fk_list_del(&site->age);
        fk_list_append(&set->ages, &site->age);
    } else {
        if ((site = calloc(1, sizeof *site)) == NULL)
            return FK_ERR_NOMEM;
        fk_list_init(&site->bucket);
        fk_list_init(&site->age);
        site->refs = 1;
        site->edge = head->edge;
        memcpy(site->print, print, sizeof print);
        if ((err = make_site(set, head, open, site)) != FK_OK) {
            fk_hs_site_unref(site);
            return err;
        }
        insert(set, site);
    }
    site->refs++;
    *ret = site;
    return FK_OK;
}

SSL_CTX *fk_hs_site_ctx(const struct fk_hs_site *site)
{
    return site->ctx;
}

void fk_hs_site_unref(struct fk_hs_site *site)
{
    if (site == NULL || --site->refs > 0)
        return;
    SSL_CTX_free(site->ctx); /* before what its callbacks use */
    fk_ticket_site_free(site->tickets);
    free(site);
}
