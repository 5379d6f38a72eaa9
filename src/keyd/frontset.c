/* Builds a front's set from the bundle: what was checked by the master is what is served. */
#include "keyd/frontset.h"

#include "base/err.h"
#include "base/log.h"
#include "keyd/front_priv.h"
#include "tls/channel_conf.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* A name may come with or without NUL at its end: the bundle puts one behind. */
static int load_conf(struct fk_front_set *set)
{
    const uint8_t *path;
    size_t len;
    int err;

    if ((err = fk_bundle_read(set->bundle, FK_KEYD_CONF_PATH, &path, &len)) != FK_OK)
        return err;
    err = fk_conf_load(&fk_keyd_conf_kind, (const char *)path, set->bundle, &set->loaded);
    if (err != FK_OK)
        return err;
    set->conf = fk_conf_root(set->loaded);
    set->limits = fk_keyd_conf_limits(set->conf);
    if ((err = fk_bundle_read(set->bundle, FK_KEYD_VERBOSE_PATH, &path, &len)) != FK_OK)
        return err;
    set->log_level = len > 0 ? (int)FK_LOG_DEBUG : set->conf->log_level;
    return set->conf->channel != NULL ? FK_OK : FK_ERR_CONF;
}

static int load_index(struct fk_front_set *set)
{
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read(set->bundle, FK_INDEX_PATH, &data, &len)) != FK_OK)
        return err;
    return fk_index_load(data, len, &set->index);
}

static int make_contexts(struct fk_front_set *set)
{
    const struct fk_channel_conf *channel = fk_keyd_conf_channel(set->conf);
    struct fk_channel_identity id;
    int err;

    if ((err = fk_channel_conf_read(channel, set->bundle, &id)) != FK_OK)
        return err;
    if ((err = fk_channel_ctx_new(&id, true, false, &set->tls13)) != FK_OK)
        return err;
    return fk_channel_ctx_new(&id, true, true, &set->tls12);
}

/* Edges compare this number with the one they saw last: it must change when anything does, also
 * over a restart of the key server, and be the same at all fronts. */
static int take_fingerprint(struct fk_front_set *set)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    const uint8_t *data;
    const char *path;
    size_t len;
    int err = FK_ERR_CRYPTO;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
        goto out;
    for (size_t i = 0; fk_bundle_at(set->bundle, i, &path, &data, &len) == FK_OK; i++)
        if (EVP_DigestUpdate(ctx, path, strlen(path) + 1) != 1 ||
            EVP_DigestUpdate(ctx, &len, sizeof len) != 1 || EVP_DigestUpdate(ctx, data, len) != 1)
            goto out;
    if (EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
        goto out;
    memcpy(&set->fingerprint, digest, sizeof set->fingerprint);
    err = FK_OK;
out:
    EVP_MD_CTX_free(ctx);
    return err;
}

int fk_front_set_open(int fd, uint32_t generation, struct fk_quota *quota,
                      struct fk_front_set **ret)
{
    struct fk_front_set *set = calloc(1, sizeof *set);
    int err;

    if (set == NULL)
        return FK_ERR_NOMEM;
    set->generation = generation;
    if ((err = fk_bundle_open(fd, &set->bundle)) != FK_OK || (err = load_conf(set)) != FK_OK ||
        (err = load_index(set)) != FK_OK ||
        (err = fk_policy_new(set->conf, set->index, quota, &set->policy)) != FK_OK ||
        (err = take_fingerprint(set)) != FK_OK || (err = make_contexts(set)) != FK_OK ||
        (err = fk_front_dials_new(set->conf, &set->dials, &set->n_dials)) != FK_OK) {
        fk_front_set_free(set);
        return err;
    }
    *ret = set;
    return FK_OK;
}

void fk_front_set_free(struct fk_front_set *set)
{
    if (set == NULL)
        return;
    free(set->dials);
    SSL_CTX_free(set->tls13);
    SSL_CTX_free(set->tls12);
    fk_policy_free(set->policy);
    fk_index_free(set->index);
    fk_conf_free(set->loaded);
    fk_bundle_free(set->bundle);
    free(set);
}
