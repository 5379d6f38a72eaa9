/* Reading and checking what a configuration names: see load.h and edge.h. */
#include "edge/load_priv.h"

#include "admin/conf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "conf/users.h"
#include "tls/cert.h"
#include "edge/edge.h"
#include "edge/gen.h"
#include "edge/keyread.h"
#include "edge/stapling.h"
#include "edge/tlsctx.h"
#include "loop/sock.h"
#include "tls/channel_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- sites --- */

/* An empty one when it is of no use: the option is bad from then on. */
static struct fk_cert read_cert(struct fk_loading *loading, const struct fk_edge_site *site,
                                const char *path)
{
    struct fk_cert cert = {.leaf = NULL};
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read(loading->bundle, path, &data, &len)) == FK_OK &&
        (err = fk_cert_from_pem(NULL, data, len, &cert)) == FK_ERR_DENIED)
        fk_bundle_drop(loading->bundle, path);
    if (err == FK_ERR_DENIED)
        fk_conf_blame(loading->conf, &site->block, "certificate",
                      "site \"%s\": certificate %s holds a private key; keep keys in files of "
                      "their own",
                      site->block.title, path);
    else if (err != FK_OK)
        fk_conf_blame(loading->conf, &site->block, "certificate", "site \"%s\": certificate %s: %s",
                      site->block.title, path,
                      err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
    return cert;
}

/* Of each type of key one certificate. */
static void check_types(struct fk_loading *loading, const struct fk_edge_site *site,
                        const struct fk_cert *certs, size_t count)
{
    struct fk_conf_where where = fk_conf_option_where(loading->conf, &site->block, "certificate");

    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (certs[i].leaf != NULL && certs[j].leaf != NULL && certs[i].type == certs[j].type)
                fk_conf_complain(loading->conf, &where,
                                 "site \"%s\": certificates %s and %s are for the same type of "
                                 "key; give one of each type",
                                 site->block.title, site->certificate.items[j],
                                 site->certificate.items[i]);
}

static bool is_pair(const struct fk_cert *cert, const struct fk_keyread_key *key)
{
    return cert->leaf != NULL && key->err == FK_OK &&
           memcmp(cert->ski, key->ski, sizeof key->ski) == 0;
}

/* Mode local: each key has its certificate. That is known when all certificates are. */
static void check_keys(struct fk_loading *loading, const struct fk_edge_site *site,
                       const struct fk_cert *certs, size_t n_certs)
{
    const struct fk_keyread_key *keys = &loading->keys->keys[loading->next_key];
    bool known = n_certs > 0 && !fk_conf_is_bad(&site->block, "certificate");

    for (size_t i = 0; i < site->key.count; i++) {
        bool found = false;

        for (size_t j = 0; j < n_certs; j++)
            found = found || is_pair(&certs[j], &keys[i]);
        if (keys[i].err != FK_OK)
            fk_conf_blame(loading->conf, &site->block, "key", "site \"%s\": key %s: %s",
                          site->block.title, site->key.items[i], fk_err_text(keys[i].err));
        else if (!found && known)
            fk_conf_blame(loading->conf, &site->block, "key",
                          "site \"%s\": key %s belongs to none of the certificates",
                          site->block.title, site->key.items[i]);
    }
}

/* ... and each certificate its key, which is known when all keys are, and are of a certificate. */
static void check_certs_have_keys(struct fk_loading *loading, const struct fk_edge_site *site,
                                  const struct fk_cert *certs, size_t n_certs)
{
    const struct fk_keyread_key *keys = &loading->keys->keys[loading->next_key];
    struct fk_conf_where where = fk_conf_option_where(loading->conf, &site->block, "certificate");

    if (site->key.count == 0 || fk_conf_is_bad(&site->block, "key"))
        return;
    for (size_t j = 0; j < n_certs; j++) {
        bool found = certs[j].leaf == NULL;

        for (size_t i = 0; i < site->key.count; i++)
            found = found || is_pair(&certs[j], &keys[i]);
        if (!found)
            fk_conf_complain(loading->conf, &where,
                             "site \"%s\": certificate %s has no key in key = {...}",
                             site->block.title, site->certificate.items[j]);
    }
}

static const char *share_trouble(int err)
{
    switch (err) {
    case FK_ERR_UNSUPPORTED:
        return "share 1 is the key server's; give this edge another";
    case FK_ERR_DUPLICATE:
        return "another share of that key, or the key, is on this edge, too: one host must not "
               "have "
               "both";
    case FK_ERR_FORMAT:
        return "not a share of a key; make one with farkey key split";
    default:
        return fk_err_text(err);
    }
}

/* Each share is of a certificate's key, where the certificates are files. */
static void check_shares(struct fk_loading *loading, const struct fk_edge_site *site,
                         const struct fk_cert *certs, size_t n_certs)
{
    const struct fk_keyread_key *keys = &loading->keys->keys[loading->next_key + site->key.count];
    bool known = n_certs > 0 && !fk_conf_is_bad(&site->block, "certificate");

    for (size_t i = 0; i < site->share.count; i++) {
        bool found = false;

        for (size_t j = 0; j < n_certs; j++)
            found = found || is_pair(&certs[j], &keys[i]);
        if (keys[i].err != FK_OK)
            fk_conf_blame(loading->conf, &site->block, "share", "site \"%s\": share %s: %s",
                          site->block.title, site->share.items[i], share_trouble(keys[i].err));
        else if (!found && known)
            fk_conf_blame(loading->conf, &site->block, "share",
                          "site \"%s\": share %s belongs to none of the certificates",
                          site->block.title, site->share.items[i]);
    }
}

/* Mode handshake: workers, who have no certificate of it, are told which key the share is of. */
static void tell_share(struct fk_loading *loading, const struct fk_edge_site *site)
{
    const struct fk_keyread_key *key = &loading->keys->keys[loading->next_key + site->key.count];
    char path[FK_GEN_SHARE_SIZE];
    int err;

    if (site->mode != FK_MODE_HANDSHAKE || site->share.count != 1 || key->err != FK_OK ||
        fk_gen_share_path(site, path) != FK_OK) /* that is complained of elsewhere */
        return;
    fk_bundle_drop(loading->bundle, path); /* that of the share before */
    if ((err = fk_bundle_add(loading->bundle, path, key->ski, sizeof key->ski)) != FK_OK)
        fk_conf_complain(loading->conf, &site->block.where, "site \"%s\": %s", site->block.title,
                         fk_err_text(err));
}

/* The certificates and lists that clients are judged by. */
static void check_client(struct fk_loading *loading, const struct fk_edge_site *site)
{
    const struct fk_conf_block *block = site->client;
    struct fk_clientca *ca;
    const char *path;
    int err;

    if (block == NULL || fk_conf_is_bad(block, "ca") || fk_conf_is_bad(block, "crl") ||
        fk_conf_is_bad(block, "allow"))
        return;
    if ((err = fk_gen_clientca(loading->bundle, NULL, site, &path, &ca)) == FK_OK) {
        fk_clientca_free(ca);
        return;
    }
    fk_conf_blame(loading->conf, block, path == fk_edge_client(site)->ca ? "ca" : "crl",
                  "site \"%s\": client_certificate: %s: %s", site->block.title, path,
                  err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
}

static const char *origin_ca_error(int err)
{
    switch (err) {
    case FK_ERR_SYS:
        return strerror(errno);
    case FK_ERR_FORMAT:
        return "no certificates; give CAs in PEM";
    case FK_ERR_DENIED:
        return "has a private key in it; give certificates only";
    default:
        return fk_err_text(err);
    }
}

/* The certificates that origins are judged by. */
static void check_origin_ca(struct fk_loading *loading, const struct fk_edge_site *site)
{
    SSL_CTX *ctx = NULL;
    int err;

    if (site->origin_ca == NULL || fk_conf_is_bad(&site->block, "origin_ca"))
        return;
    if ((err = fk_gen_origintls(loading->bundle, NULL, site, &ctx)) != FK_OK)
        fk_conf_blame(loading->conf, &site->block, "origin_ca", "site \"%s\": origin_ca: %s: %s",
                      site->block.title, site->origin_ca, origin_ca_error(err));
    SSL_CTX_free(ctx);
}

/* Those of the table's default are good. */
static void check_groups(struct fk_loading *loading, const struct fk_edge_site *site)
{
    struct fk_conf_where where = fk_conf_option_where(loading->conf, &site->block, "groups");
    const char *title = site->block.title, *bad;
    int err;

    if (!fk_conf_is_set(&site->block, "groups") || fk_conf_is_bad(&site->block, "groups") ||
        (err = fk_tlsctx_check_groups(site, &bad)) == FK_OK)
        return;
    if (err == FK_ERR_CRYPTO && bad != NULL)
        fk_conf_complain(loading->conf, &where,
                         "site \"%s\": groups: \"%s\" is not a group of this OpenSSL; write "
                         "\"X25519\", \"P-256\" or the like",
                         title, bad);
    else if (err == FK_ERR_CRYPTO)
        fk_conf_complain(loading->conf, &where,
                         "site \"%s\": groups: OpenSSL refuses the list; name each group once",
                         title);
    else
        fk_conf_complain(loading->conf, &where, "site \"%s\": groups: %s", title, fk_err_text(err));
}

/* What was read of private keys goes with the certificates. */
static void check_private(struct fk_loading *loading, const struct fk_edge_site *site,
                          const struct fk_cert *certs, size_t count)
{
    if (site->mode == FK_MODE_LOCAL && !fk_conf_is_bad(&site->block, "mode")) {
        check_keys(loading, site, certs, count);
        check_certs_have_keys(loading, site, certs, count);
    }
    check_shares(loading, site, certs, count);
    tell_share(loading, site);
}

void fk_loading_skip_site(struct fk_loading *loading, const struct fk_edge_site *site)
{
    loading->next_key += fk_keyread_count(site);
}

void fk_loading_check_site(struct fk_loading *loading, const struct fk_edge_site *site)
{
    struct fk_cert certs[FK_EDGE_CERTS_MAX];
    size_t count = 0;

    check_groups(loading, site);
    check_client(loading, site);
    check_origin_ca(loading, site);
    for (; count < site->certificate.count && count < FK_EDGE_CERTS_MAX; count++)
        certs[count] = read_cert(loading, site, site->certificate.items[count]);
    check_types(loading, site, certs, count);
    if (loading->keys != NULL)
        check_private(loading, site, certs, count);
    fk_stapling_check(site, loading->bundle, loading->conf, certs, count);
    fk_loading_skip_site(loading, site);
    while (count > 0)
        fk_cert_fini(&certs[--count]);
}

/* --- the lend key --- */

/* It is the last that was read. */
void fk_loading_check_lend_key(struct fk_loading *loading)
{
    const struct fk_edge_conf *root = loading->root;
    int err;

    if (root->lend_key == NULL)
        return;
    err = loading->keys->keys[loading->next_key].err;
    if (err != FK_OK)
        fk_conf_blame(loading->conf, &root->block, "lend_key", "lend_key %s: %s", root->lend_key,
                      err == FK_ERR_FORMAT
                          ? "not a private X25519 key in PEM; make one with farkey ca lend-key"
                          : fk_err_text(err));
}

/* --- channel --- */

void fk_loading_check_channel(struct fk_loading *loading)
{
    const struct fk_channel_conf *channel = (const void *)loading->root->channel;

    if (channel != NULL)
        fk_channel_conf_check(channel, loading->bundle, loading->conf, false, false);
}

/* --- redis --- */

static void check_redis(struct fk_loading *loading)
{
    const struct fk_edge_redis *redis = (const void *)loading->root->redis;
    const uint8_t *data;
    size_t len;
    int err;

    if (redis == NULL || redis->password_file == NULL)
        return;
    if ((err = fk_bundle_read_secret(loading->bundle, redis->password_file, &data, &len)) == FK_OK)
        err = fk_redis_password(data, len, &len);
    if (err == FK_ERR_FORMAT)
        fk_conf_blame(loading->conf, &redis->block, "password_file",
                      "redis: %s: write the password, and nothing else, in one line",
                      redis->password_file);
    else if (err != FK_OK)
        fk_conf_blame(loading->conf, &redis->block, "password_file", "redis: %s: %s",
                      redis->password_file, err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
}

/* --- all --- */

int fk_loading_set_root(struct fk_loading *loading)
{
    loading->root = fk_conf_root(loading->conf);
    return fk_users_set(loading->conf, loading->root->user, loading->root->signer_user);
}

/* As fk_edge_load(), with what was found of private keys in loading->keys. */
static int load(struct fk_loading *loading, const char *path)
{
    int err = fk_conf_load(loading->role->conf, path, loading->bundle, &loading->conf);

    if (err != FK_OK && err != FK_ERR_CONF)
        return err;
    /* Whatever is wrong so far: all that can be judged is. */
    if ((err = fk_loading_set_root(loading)) != FK_OK)
        return err;
    if ((err = fk_keyread_new(loading->root, &loading->keys)) != FK_OK) {
        fk_conf_complain(loading->conf, &loading->root->block.where, "cannot read keys: %s",
                         fk_err_text(err));
        return err;
    }
    fk_loading_check_channel(loading);
    check_redis(loading);
    if ((err = fk_admin_token_read((const void *)loading->root->admin, loading->bundle,
                                   loading->conf, &loading->admin_token)) != FK_OK)
        return err;
    for (const struct fk_conf_block *b = loading->root->sites; b != NULL; b = b->next)
        fk_loading_check_site(loading, (const void *)b);
    fk_loading_check_lend_key(loading);
    return fk_conf_error_count(loading->conf) == 0 ? FK_OK : FK_ERR_CONF;
}

static int load_alone(const struct fk_edge_role *role, const char *path, struct fk_bundle *bundle,
                      struct fk_conf **ret)
{
    struct fk_loading loading = {.role = role, .bundle = bundle};
    int err = load(&loading, path);

    fk_keyread_free(loading.keys);
    fk_secret_free(loading.admin_token);
    if (loading.conf != NULL)
        *ret = loading.conf;
    return err;
}

int fk_edge_load(const char *path, struct fk_bundle *bundle, struct fk_conf **ret)
{
    return load_alone(&fk_role_edge, path, bundle, ret);
}

int fk_inline_load(const char *path, struct fk_bundle *bundle, struct fk_conf **ret)
{
    return load_alone(&fk_role_inline, path, bundle, ret);
}

void fk_loading_log_errors(const struct fk_conf *conf, const char *path, int err,
                           struct fk_why *why)
{
    if (conf == NULL || fk_conf_error_count(conf) == 0) {
        fk_why_set(why, err, "%s: %s", path, fk_err_text(err));
        fk_log(FK_LOG_ERROR, "configuration", fk_str("file", path), fk_error(err));
    } else {
        fk_why_set(why, err, "%s", fk_conf_error(conf, 0));
    }
    for (size_t i = 0; conf != NULL && i < fk_conf_error_count(conf); i++)
        fk_log(FK_LOG_ERROR, "configuration", fk_str("error", fk_conf_error(conf, i)));
}

int fk_loaded_new(const struct fk_edge_role *role, const char *path, bool verbose,
                  struct fk_why *why, struct fk_loaded **ret)
{
    struct fk_loaded *loaded = calloc(1, sizeof *loaded);
    struct fk_loading loading = {.role = role};
    int err;

    if (loaded == NULL)
        return fk_why_set(why, FK_ERR_NOMEM, "%s", fk_err_text(FK_ERR_NOMEM));
    loaded->bundle_fd = loaded->keys_fd = -1;
    if ((err = fk_bundle_new(&loading.bundle)) == FK_OK && (err = load(&loading, path)) == FK_OK &&
        (err = fk_bundle_add(loading.bundle, FK_GEN_MAIN_FILE, path, strlen(path))) == FK_OK &&
        (err = fk_bundle_add(loading.bundle, FK_GEN_VERBOSE, "1", verbose ? 1 : 0)) == FK_OK)
        err = fk_bundle_seal(loading.bundle, &loaded->bundle_fd);
    if (err == FK_OK) {
        loaded->keys_fd = loading.keys->fd;
        loading.keys->fd = -1; /* moved */
        memcpy(loaded->keys, loading.keys->fingerprint, sizeof loaded->keys);
    } else {
        fk_loading_log_errors(loading.conf, path, err, why);
    }
    fk_keyread_free(loading.keys);
    fk_bundle_free(loading.bundle);
    loaded->admin_token = loading.admin_token;
    loaded->role = loading.role;
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
    fk_secret_free(loaded->admin_token);
    fk_conf_free(loaded->conf);
    fk_close(&loaded->bundle_fd);
    fk_close(&loaded->keys_fd);
    free(loaded);
}
