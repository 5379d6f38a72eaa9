/* Reading and checking what a configuration names: see load.h and edge.h. */
#include "edge/load.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "edge/cert.h"
#include "edge/edge.h"
#include "edge/gen.h"
#include "loop/sock.h"
#include "signer/keyset.h"
#include "tls/channel.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A private key of mode local, with what all sites that use it ask of it. */
struct local_key {
    struct local_key *next;
    struct fk_key_public public;
    EVP_PKEY *pkey;
};

struct loading {
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    const struct fk_edge_conf *root;
    struct local_key *keys;
};

/* --- private keys --- */

static void free_keys(struct loading *loading)
{
    while (loading->keys != NULL) {
        struct local_key *key = loading->keys;

        loading->keys = key->next;
        EVP_PKEY_free(key->pkey); /* OpenSSL wipes private numbers */
        free(key);
    }
}

static uint16_t permissions(const struct fk_edge_site *site)
{
    return (uint16_t)(FK_PERM_SIGN13 | FK_PERM_SIGN12 |
                      (site->rsa_key_exchange ? FK_PERM_DECRYPT : 0));
}

/* Takes `pkey`. */
static int keep_key(struct loading *loading, const struct fk_edge_site *site,
                    const struct fk_key_public *public, EVP_PKEY *pkey)
{
    struct local_key *key;

    for (key = loading->keys; key != NULL; key = key->next)
        if (memcmp(key->public.ski, public->ski, sizeof public->ski) == 0) {
            key->public.permissions |= permissions(site);
            EVP_PKEY_free(pkey);
            return FK_OK;
        }
    if ((key = calloc(1, sizeof *key)) == NULL) {
        EVP_PKEY_free(pkey);
        return FK_ERR_NOMEM;
    }
    key->public = *public;
    key->public.permissions = permissions(site);
    snprintf(key->public.name, sizeof key->public.name, "%s", site->block.title);
    key->pkey = pkey;
    key->next = loading->keys;
    loading->keys = key;
    return FK_OK;
}

/* Read one key file; its bytes are forgotten at once. */
static int read_key(struct loading *loading, const struct fk_edge_site *site, const char *path,
                    uint8_t ret_ski[20])
{
    struct fk_key_public public = {0};
    EVP_PKEY *pkey = NULL;
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read(loading->bundle, path, &data, &len)) == FK_OK) {
        if ((err = fk_key_parse(data, len, NULL, &pkey)) == FK_OK)
            err = fk_key_describe(pkey, &public);
        fk_bundle_drop(loading->bundle, path);
    }
    if (err != FK_OK) {
        EVP_PKEY_free(pkey);
        fk_conf_complain(loading->conf, &site->block.where, "site \"%s\": key %s: %s",
                         site->block.title, path, fk_err_text(err));
        return err;
    }
    memcpy(ret_ski, public.ski, sizeof public.ski);
    return keep_key(loading, site, &public, pkey);
}

/* --- sites --- */

static int read_cert(struct loading *loading, const struct fk_edge_site *site, const char *path,
                     struct fk_cert *ret)
{
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read(loading->bundle, path, &data, &len)) == FK_OK &&
        (err = fk_cert_from_pem(NULL, data, len, ret)) == FK_ERR_DENIED)
        fk_bundle_drop(loading->bundle, path);
    if (err == FK_ERR_DENIED)
        fk_conf_complain(loading->conf, &site->block.where,
                         "site \"%s\": certificate %s holds a private key; keep keys in files of "
                         "their own",
                         site->block.title, path);
    else if (err != FK_OK)
        fk_conf_complain(loading->conf, &site->block.where, "site \"%s\": certificate %s: %s",
                         site->block.title, path, fk_err_text(err));
    return err;
}

/* Mode local: each certificate has its key, and each key its certificate. */
static void match_keys(struct loading *loading, const struct fk_edge_site *site,
                       const struct fk_cert *certs, size_t n_certs)
{
    bool matched[FK_EDGE_CERTS_MAX] = {false};
    uint8_t ski[20];

    for (size_t i = 0; i < site->key.count; i++) {
        bool found = false;

        if (read_key(loading, site, site->key.items[i], ski) != FK_OK)
            continue;
        for (size_t j = 0; j < n_certs; j++)
            if (memcmp(certs[j].ski, ski, sizeof ski) == 0)
                matched[j] = found = true;
        if (!found)
            fk_conf_complain(loading->conf, &site->block.where,
                             "site \"%s\": key %s belongs to none of the certificates",
                             site->block.title, site->key.items[i]);
    }
    for (size_t j = 0; j < n_certs; j++)
        if (!matched[j])
            fk_conf_complain(loading->conf, &site->block.where,
                             "site \"%s\": certificate %s has no key in key = {...}",
                             site->block.title, site->certificate.items[j]);
}

static void check_site(struct loading *loading, const struct fk_edge_site *site)
{
    struct fk_cert certs[FK_EDGE_CERTS_MAX];
    size_t count = 0;

    while (count < site->certificate.count && count < FK_EDGE_CERTS_MAX) {
        if (read_cert(loading, site, site->certificate.items[count], &certs[count]) != FK_OK)
            break;
        for (size_t i = 0; i < count; i++)
            if (certs[i].type == certs[count].type)
                fk_conf_complain(loading->conf, &site->block.where,
                                 "site \"%s\": certificates %s and %s are for the same type of "
                                 "key; give one of each type",
                                 site->block.title, site->certificate.items[i],
                                 site->certificate.items[count]);
        count++;
    }
    if (site->mode == FK_MODE_LOCAL && count == site->certificate.count)
        match_keys(loading, site, certs, count);
    while (count > 0)
        fk_cert_fini(&certs[--count]);
}

/* --- channel --- */

/* One file of the channel; NULL when it is not named. False after a complaint. */
static bool channel_file(struct loading *loading, const char *what, const char *path,
                         const uint8_t **ret, size_t *ret_len)
{
    int err;

    if (path == NULL || (err = fk_bundle_read(loading->bundle, path, ret, ret_len)) == FK_OK)
        return true;
    fk_conf_complain(loading->conf, &loading->root->channel->where, "channel: %s %s: %s", what,
                     path, fk_err_text(err));
    return false;
}

static void check_channel(struct loading *loading)
{
    const struct fk_edge_channel *channel = (const void *)loading->root->channel;
    struct fk_channel_identity id = {0};
    SSL_CTX *ctx;
    bool ok;
    int err;

    if (channel == NULL)
        return;
    ok = channel_file(loading, "certificate", channel->certificate, &id.certificate,
                      &id.certificate_len);
    ok = channel_file(loading, "key", channel->key, &id.key, &id.key_len) && ok;
    ok = channel_file(loading, "ca", channel->ca, &id.ca, &id.ca_len) && ok;
    ok = channel_file(loading, "crl", channel->crl, &id.crl, &id.crl_len) && ok;
    if (!ok)
        return;
    if ((err = fk_channel_ctx_new(&id, false, false, &ctx)) == FK_OK)
        SSL_CTX_free(ctx);
    else
        fk_conf_complain(loading->conf, &channel->block.where,
                         "channel: certificate, key or ca: %s", fk_err_text(err));
}

/* --- all --- */

/* As fk_edge_load(), with the private keys in loading->keys. */
static int load(struct loading *loading, const char *path)
{
    int err = fk_conf_load(&fk_edge_conf_kind, path, loading->bundle, &loading->conf);

    if (err != FK_OK)
        return err;
    loading->root = fk_conf_root(loading->conf);
    check_channel(loading);
    for (const struct fk_conf_block *b = loading->root->sites; b != NULL; b = b->next)
        check_site(loading, (const void *)b);
    return fk_conf_error_count(loading->conf) == 0 ? FK_OK : FK_ERR_CONF;
}

int fk_edge_load(const char *path, struct fk_bundle *bundle, struct fk_conf **ret)
{
    struct loading loading = {.bundle = bundle};
    int err = load(&loading, path);

    free_keys(&loading);
    if (loading.conf != NULL)
        *ret = loading.conf;
    return err;
}

/* The signers' bundle, and a fingerprint to tell whether another one differs. */
static int seal_keys(const struct loading *loading, struct fk_loaded *loaded)
{
    struct fk_keyset_builder *builder;
    EVP_MD_CTX *md;
    int err;

    if (loading->keys == NULL)
        return FK_OK;
    if ((err = fk_keyset_builder_new(&builder)) != FK_OK)
        return err;
    if ((md = EVP_MD_CTX_new()) == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        err = FK_ERR_NOMEM;
    for (const struct local_key *key = loading->keys; err == FK_OK && key != NULL;
         key = key->next) {
        err = fk_keyset_builder_add(builder, &key->public, key->pkey);
        EVP_DigestUpdate(md, key->public.ski, sizeof key->public.ski);
        EVP_DigestUpdate(md, &key->public.permissions, sizeof key->public.permissions);
    }
    if (err == FK_OK)
        EVP_DigestFinal_ex(md, loaded->keys, NULL);
    EVP_MD_CTX_free(md);
    if (err == FK_OK)
        err = fk_keyset_builder_seal(builder, &loaded->keys_fd);
    fk_keyset_builder_free(builder);
    return err;
}

static void log_errors(const struct fk_conf *conf, const char *path, int err)
{
    if (conf == NULL || fk_conf_error_count(conf) == 0)
        fk_log(FK_LOG_ERROR, "configuration", fk_str("file", path), fk_error(err));
    for (size_t i = 0; conf != NULL && i < fk_conf_error_count(conf); i++)
        fk_log(FK_LOG_ERROR, "configuration", fk_str("error", fk_conf_error(conf, i)));
}

int fk_loaded_new(const char *path, struct fk_loaded **ret)
{
    struct fk_loaded *loaded = calloc(1, sizeof *loaded);
    struct loading loading = {0};
    int err;

    if (loaded == NULL)
        return FK_ERR_NOMEM;
    loaded->bundle_fd = loaded->keys_fd = -1;
    if ((err = fk_bundle_new(&loading.bundle)) == FK_OK && (err = load(&loading, path)) == FK_OK &&
        (err = seal_keys(&loading, loaded)) == FK_OK &&
        (err = fk_bundle_add(loading.bundle, FK_GEN_MAIN_FILE, path, strlen(path))) == FK_OK)
        err = fk_bundle_seal(loading.bundle, &loaded->bundle_fd);
    if (err != FK_OK)
        log_errors(loading.conf, path, err);
    free_keys(&loading);
    fk_bundle_free(loading.bundle);
    loaded->conf = loading.conf;
    loaded->root = loading.root;
    if (err != FK_OK) {
        fk_loaded_free(loaded);
        return err;
    }
    *ret = loaded;
    return FK_OK;
}

void fk_loaded_free(struct fk_loaded *loaded)
{
    if (loaded == NULL)
        return;
    fk_conf_free(loaded->conf);
    fk_close(&loaded->bundle_fd);
    fk_close(&loaded->keys_fd);
    free(loaded);
}
