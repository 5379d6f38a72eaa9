/* A site's options as those of a TLS server: see tlsctx.h. */
#include "edge/tlsctx.h"

#include "base/err.h"
#include "tls/server_ctx.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 256

/* "X25519:P-256" */
static int list_groups(const struct fk_edge_site *site, char ret[GROUPS_MAX])
{
    size_t len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < site->groups.count; i++) {
        int n =
            snprintf(ret + len, GROUPS_MAX - len, "%s%s", i > 0 ? ":" : "", site->groups.items[i]);

        if (n < 0 || (size_t)n >= GROUPS_MAX - len)
            return FK_ERR_LIMIT;
        len += (size_t)n;
    }
    return FK_OK;
}

static int set_groups(SSL_CTX *ctx, const struct fk_edge_site *site)
{
    char list[GROUPS_MAX];
    int err = list_groups(site, list);

    if (err != FK_OK || list[0] == '\0')
        return err;
    return SSL_CTX_set1_groups_list(ctx, list) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

int fk_tlsctx_check_groups(const struct fk_edge_site *site, const char **ret_bad)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    const char *bad = NULL;
    int err;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    err = set_groups(ctx, site);
    for (size_t i = 0; err == FK_ERR_CRYPTO && bad == NULL && i < site->groups.count; i++)
        if (strchr(site->groups.items[i], ':') != NULL ||
            SSL_CTX_set1_groups_list(ctx, site->groups.items[i]) != 1)
            bad = site->groups.items[i];
    ERR_clear_error();
    SSL_CTX_free(ctx);
    if (err != FK_OK)
        *ret_bad = bad;
    return err;
}

size_t fk_tlsctx_alpn(const struct fk_edge_site *site, uint8_t *ret)
{
    size_t size = 0;

    for (size_t i = 0; i < site->alpn.count; i++) {
        size_t len = strlen(site->alpn.items[i]);

        if (ret != NULL) {
            ret[size] = (uint8_t)len;
            memcpy(ret + size + 1, site->alpn.items[i], len);
        }
        size += 1 + len;
    }
    return size;
}

enum fk_opaque_mode fk_tlsctx_opaque(const struct fk_edge_site *site)
{
    switch (site->mode) {
    case FK_MODE_AGREE:
        return site->agree_private ? FK_OPAQUE_HANDED : FK_OPAQUE_AGREE;
    case FK_MODE_MASTER:
        return FK_OPAQUE_MASTER;
    case FK_MODE_KEYS:
        return site->expose == FK_EXPOSE_MASTER ? FK_OPAQUE_EXPOSE : FK_OPAQUE_KEYS;
    default:
        return FK_OPAQUE_NONE;
    }
}

uint16_t fk_tlsctx_permission(const struct fk_edge_site *site)
{
    switch (site->mode) {
    case FK_MODE_AGREE:
        return FK_PERM_AGREE;
    case FK_MODE_MASTER:
        return FK_PERM_MASTER;
    case FK_MODE_KEYS:
        return FK_PERM_KEYS | (site->expose == FK_EXPOSE_MASTER ? FK_PERM_EXPOSE : 0U);
    default:
        return 0;
    }
}

unsigned fk_tlsctx_exchanges(const struct fk_edge_site *site)
{
    if (site->mode == FK_MODE_DECRYPT)
        return FK_SERVER_RSA;
    return FK_SERVER_ECDHE | (site->dhe ? FK_SERVER_DHE : 0) |
           (site->rsa_key_exchange ? FK_SERVER_RSA : 0);
}

static bool offers_tls13(const struct fk_edge_site *site)
{
    enum fk_opaque_mode opaque = fk_tlsctx_opaque(site);

    return (site->tls & FK_EDGE_TLS13) != 0 && site->mode != FK_MODE_DECRYPT &&
           (opaque == FK_OPAQUE_NONE || opaque == FK_OPAQUE_KEYS);
}

static void describe(const struct fk_tlsctx_config *config, struct fk_server_conf *ret)
{
    const struct fk_edge_tickets *resumption = config->resumption;
    const struct fk_edge_site *site = config->site;
    enum fk_opaque_mode opaque = fk_tlsctx_opaque(site);

    *ret = (struct fk_server_conf){
        .libctx = config->libctx,
        .tls12 = (site->tls & FK_EDGE_TLS12) != 0,
        .opaque = opaque != FK_OPAQUE_NONE,
        .sealed = opaque == FK_OPAQUE_KEYS,
        .tls13 = offers_tls13(site),
        .exchanges = fk_tlsctx_exchanges(site),
        .lifetime_us = fk_edge_session_us(site, resumption),
        .n_tickets = resumption->enabled ? (unsigned)resumption->count : 0,
        .ids = resumption->cache > 0 || config->store != NULL,
        /* What OpenSSL has read ahead cannot be got back, so with the engine it must not:
         * edge/bio.h. Without: one recv a record, not two. */
        .read_ahead = site->records == FK_RECORDS_OPENSSL,
        .tickets = config->tickets,
        .desk = config->desk,
        .cache = config->cache,
        .store = config->store,
        .certs = config->certs,
        .n_certs = config->n_certs,
        .back = config->back,
        .clientca = config->clientca,
        .only_resumes = config->only_resumes,
    };
    if (config->clientca != NULL) {
        ret->client = (enum fk_server_client)fk_edge_client(site)->require;
        ret->client_names = fk_clientca_names(config->clientca);
    }
}

void fk_tlsctx_session_context(const struct fk_edge_site *site, const struct fk_clientca *clientca,
                               uint8_t ret[SHA256_DIGEST_LENGTH])
{
    static const uint8_t sealed[] = "sealed";
    const char *title = site->block.title;
    uint8_t both[2 * SHA256_DIGEST_LENGTH];

    SHA256((const uint8_t *)title, strlen(title), ret);
    if (fk_tlsctx_opaque(site) == FK_OPAQUE_KEYS) {
        memcpy(both, ret, SHA256_DIGEST_LENGTH);
        memcpy(both + SHA256_DIGEST_LENGTH, sealed, sizeof sealed);
        SHA256(both, SHA256_DIGEST_LENGTH + sizeof sealed, ret);
    }
    if (clientca == NULL)
        return;
    memcpy(both, ret, SHA256_DIGEST_LENGTH);
    memcpy(both + SHA256_DIGEST_LENGTH, fk_clientca_print(clientca), SHA256_DIGEST_LENGTH);
    SHA256(both, sizeof both, ret);
}

/* Bytes of a chain in a Certificate message (RFC 8446 section 4.4.2), each with its extensions. */
static size_t chain_len(const struct fk_cert *cert)
{
    size_t total = 0;

    for (int i = -1; i < sk_X509_num(cert->chain); i++)
        total += 3 + (size_t)i2d_X509(i < 0 ? cert->leaf : sk_X509_value(cert->chain, i), NULL) + 2;
    return total;
}

size_t fk_tlsctx_staple_max(const struct fk_edge_site *site, const struct fk_cert *cert)
{
    size_t len;

    if (fk_tlsctx_opaque(site) == FK_OPAQUE_NONE || !offers_tls13(site))
        return SIZE_MAX;
    len = chain_len(cert);
    return len < FK_TRANSCRIPT13_CHAIN_MAX ? FK_TRANSCRIPT13_CHAIN_MAX - len : 0;
}

/* Where the key server is sent the transcript, it has to fit. */
static int check_chains(const struct fk_server_conf *conf, struct fk_why *why)
{
    if (!conf->opaque || !conf->tls13)
        return FK_OK;
    for (size_t i = 0; i < conf->n_certs; i++)
        if (chain_len(&conf->certs[i]) > FK_TRANSCRIPT13_CHAIN_MAX)
            return fk_why_set(why, FK_ERR_LIMIT,
                              "mode = keys takes %d bytes of certificates with TLS 1.3, this chain "
                              "has %zu; leave its root out, or write tls = {\"1.2\"}",
                              FK_TRANSCRIPT13_CHAIN_MAX, chain_len(&conf->certs[i]));
    return FK_OK;
}

int fk_tlsctx_new(const struct fk_tlsctx_config *config, struct fk_why *why, SSL_CTX **ret)
{
    struct fk_server_conf conf;
    uint8_t id[SHA256_DIGEST_LENGTH];
    char groups[GROUPS_MAX];
    uint8_t *alpn = NULL;
    int err;

    describe(config, &conf);
    fk_tlsctx_session_context(config->site, config->clientca, id);
    conf.id = id;
    conf.groups = groups;
    conf.alpn_len = fk_tlsctx_alpn(config->site, NULL);
    if ((err = list_groups(config->site, groups)) != FK_OK ||
        (err = check_chains(&conf, why)) != FK_OK)
        return err;
    if (conf.alpn_len > 0 && (alpn = malloc(conf.alpn_len)) == NULL)
        return FK_ERR_NOMEM;
    (void)fk_tlsctx_alpn(config->site, alpn);
    conf.alpn = alpn;
    err = fk_server_ctx_new(&conf, ret);
    if (err == FK_ERR_CRYPTO && ERR_peek_last_error() != 0)
        ERR_error_string_n(ERR_peek_last_error(), why->text, sizeof why->text);
    ERR_clear_error();
    free(alpn);
    if (err == FK_OK && config->n_staples > 0 &&
        (err = fk_staple_serve(*ret, config->staples, config->n_staples, config->told,
                               config->told_arg)) != FK_OK)
        SSL_CTX_free(*ret);
    return err;
}
