/*
 * What signers are told of edges that sign their requests or borrow keys: their request and lend
 * keys, and what each may do with which key, as the fronts are told by the same configuration
 * (policy.h).
 */
#include "base/err.h"
#include "base/limits.h"
#include "keyd/policy.h"
#include "keyd/store_priv.h"
#include "tls/channel.h"
#include "tls/channel_conf.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct fk_keyd_edge_conf *edge_of(const struct fk_conf_block *block)
{
    return (const void *)block;
}

static bool is_told_of(const struct fk_keyd_edge_conf *edge)
{
    return edge->request_key != NULL || edge->lend_key != NULL;
}

static bool anybody_signs(const struct fk_keyd_conf *conf)
{
    for (const struct fk_conf_block *b = conf->edges; b != NULL; b = b->next)
        if (edge_of(b)->request_key != NULL)
            return true;
    return conf->signed_requests;
}

static bool is_anybody_told_of(const struct fk_keyd_conf *conf)
{
    for (const struct fk_conf_block *b = conf->edges; b != NULL; b = b->next)
        if (is_told_of(edge_of(b)))
            return true;
    return conf->signed_requests;
}

/* Our own name, by which edges know us: of the channel's certificate. */
static int read_name(const struct fk_keyd_conf *conf, char ret[FK_NAME_MAX],
                     struct fk_store_report *report)
{
    const char *path = fk_keyd_conf_channel(conf)->certificate;
    FILE *file = fopen(path, "re");
    X509 *cert = file == NULL ? NULL : PEM_read_X509(file, NULL, NULL, NULL);

    if (cert == NULL || fk_channel_cert_name(cert, FK_CHANNEL_KEYSERVER, ret, FK_NAME_MAX) != FK_OK)
        fk_store_say(report, path,
                     file == NULL ? strerror(errno)
                                  : "no certificate of a key server (farkey:keyserver:"
                                    "NAME), which edges that sign have to name");
    ERR_clear_error();
    X509_free(cert);
    if (file != NULL)
        (void)fclose(file);
    return FK_OK;
}

/* A public key of type `id` in PEM, 32 bytes; what is wrong is said. */
static void read_public_key(const char *path, int id, uint8_t ret[32],
                            struct fk_store_report *report)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file == NULL ? NULL : PEM_read_PUBKEY(file, NULL, NULL, NULL);
    size_t len = 32;

    if (file == NULL)
        fk_store_say(report, path, strerror(errno));
    else if (key == NULL || EVP_PKEY_get_id(key) != id ||
             EVP_PKEY_get_raw_public_key(key, ret, &len) != 1)
        fk_store_say(report, path,
                     id == EVP_PKEY_ED25519 ? "not a public Ed25519 key in PEM"
                                            : "not a public X25519 key in PEM");
    ERR_clear_error();
    EVP_PKEY_free(key);
    if (file != NULL)
        (void)fclose(file);
}

/* The SKIs at the bits that are set; the caller frees. NULL: no memory. */
static uint8_t (*list_skis(const struct fk_index *index, const uint8_t *bits, size_t *ret_n))[20]
{
    uint8_t(*skis)[20] = calloc(fk_index_count(index) + 1, sizeof *skis);
    size_t n = 0;

    for (size_t i = 0; skis != NULL && i < fk_index_count(index); i++)
        if ((bits[i / 8] & (1U << (i % 8))) != 0)
            memcpy(skis[n++], fk_index_at(index, i)->public.ski, sizeof *skis);
    *ret_n = n;
    return skis;
}

static int add_edge(const struct fk_keyd_edge_conf *conf, const struct fk_index *index,
                    struct fk_keyset_builder *builder, struct fk_store_report *report)
{
    struct fk_keyset_edge edge = {.permissions = (uint16_t)conf->allow};
    uint8_t *bits = NULL, (*skis)[20] = NULL;
    int err;

    (void)snprintf(edge.name, sizeof edge.name, "%s", conf->block.title);
    edge.signs = conf->request_key != NULL;
    if (edge.signs)
        read_public_key(conf->request_key, EVP_PKEY_ED25519, edge.request_key, report);
    edge.borrows = conf->lend_key != NULL;
    if (edge.borrows)
        read_public_key(conf->lend_key, EVP_PKEY_X25519, edge.lend_key, report);
    if ((err = fk_policy_keys(conf, index, &bits)) != FK_OK)
        return err;
    if ((skis = list_skis(index, bits, &edge.n_skis)) == NULL) {
        err = FK_ERR_NOMEM;
        goto out;
    }
    edge.skis = (const uint8_t(*)[20])skis;
    edge.all = edge.n_skis == fk_index_count(index);
    err = fk_keyset_builder_edge(builder, &edge);
out:
    free(skis);
    free(bits);
    return err;
}

int fk_store_add_edges(const struct fk_keyd_conf *conf, const struct fk_store *store,
                       struct fk_keyset_builder *builder, struct fk_store_report *report)
{
    char name[FK_NAME_MAX] = "";
    struct fk_index *index;
    const uint8_t *encoded;
    size_t len;
    int err;

    if (!is_anybody_told_of(conf))
        return FK_OK;
    encoded = fk_store_index(store, &len);
    if ((err = fk_index_load(encoded, len, &index)) != FK_OK)
        return err;
    if (!anybody_signs(conf) || (err = read_name(conf, name, report)) == FK_OK)
        err = fk_keyset_builder_signed(builder, name, conf->signed_requests);
    for (const struct fk_conf_block *b = conf->edges; err == FK_OK && b != NULL; b = b->next)
        if (is_told_of(edge_of(b)))
            err = add_edge(edge_of(b), index, builder, report);
    fk_index_free(index);
    return err == FK_OK && report->count > 0 ? FK_ERR_CONF : err;
}
