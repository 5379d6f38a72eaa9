/* Configuration and channels of an asker: see asker_set.h. */
#include "keyd/asker_set.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "keyd/frontset.h"
#include "tls/channel_conf.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct fk_asker_channels {
    unsigned refs;
    uint8_t fingerprint[32]; /* of everything that they cannot change over from */
    struct fk_keyclient *client;
    struct fk_keypool *pool;
    size_t count;
    struct fk_keyserver *servers[FK_KEYPOOL_SERVERS_MAX];
};

/* A bundle as it is read. */
struct source {
    struct fk_bundle *bundle;
    struct fk_conf *loaded;
    const struct fk_keyd_conf *conf;
};

static void close_source(struct source *source)
{
    fk_conf_free(source->loaded);
    fk_bundle_free(source->bundle);
}

static int open_source(int fd, struct source *source, int *ret_level)
{
    const uint8_t *path;
    size_t len;
    int err;

    if ((err = fk_bundle_open(fd, &source->bundle)) != FK_OK ||
        (err = fk_bundle_read(source->bundle, FK_KEYD_CONF_PATH, &path, &len)) != FK_OK ||
        (err = fk_conf_load(&fk_keyd_conf_kind, (const char *)path, source->bundle,
                            &source->loaded)) != FK_OK)
        return err;
    source->conf = fk_conf_root(source->loaded);
    if ((err = fk_bundle_read(source->bundle, FK_KEYD_VERBOSE_PATH, &path, &len)) != FK_OK)
        return err;
    *ret_level = len > 0 ? (int)FK_LOG_DEBUG : source->conf->log_level;
    return source->conf->channel != NULL ? FK_OK : FK_ERR_CONF;
}

/* --- channels --- */

static void add_text(EVP_MD_CTX *md, const char *text)
{
    EVP_DigestUpdate(md, text == NULL ? "" : text, text == NULL ? 1 : strlen(text) + 1);
}

static int add_file(EVP_MD_CTX *md, struct fk_bundle *bundle, const char *path)
{
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read(bundle, path, &data, &len)) != FK_OK)
        return err;
    EVP_DigestUpdate(md, &len, sizeof len);
    EVP_DigestUpdate(md, data, len);
    return FK_OK;
}

static void add_server(EVP_MD_CTX *md, const struct fk_keyd_keyserver_conf *server)
{
    const uint64_t times[] = {server->connect_timeout_us, server->ping_interval_us,
                              server->ping_timeout_us};

    add_text(md, fk_keyd_conf_keyserver_name(server));
    add_text(md, server->address);
    add_text(md, server->bind);
    add_text(md, server->device);
    EVP_DigestUpdate(md, times, sizeof times);
}

/* Key servers, and this one's own identity towards them; whom it trusts is not among it. */
static int take_fingerprint(const struct source *source, uint8_t ret[32])
{
    const struct fk_channel_conf *channel = fk_keyd_conf_channel(source->conf);
    uint64_t deadline = fk_keyd_conf_limits(source->conf)->deadline;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int err = FK_OK;

    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(md);
        return FK_ERR_NOMEM;
    }
    EVP_DigestUpdate(md, &deadline, sizeof deadline);
    if ((err = add_file(md, source->bundle, channel->certificate)) == FK_OK)
        err = add_file(md, source->bundle, channel->key);
    if (err == FK_OK && channel->request_key != NULL)
        err = add_file(md, source->bundle, channel->request_key);
    for (const struct fk_conf_block *b = source->conf->keyservers; b != NULL; b = b->next)
        add_server(md, (const void *)b);
    EVP_DigestFinal_ex(md, ret, NULL);
    EVP_MD_CTX_free(md);
    return err;
}

/* Listings are kept for what one key server denies: another that has the key is asked then. */
static void on_listing(void *arg, struct fk_keyserver *server)
{
    (void)arg;
    (void)server;
}

static int add_keyserver(struct fk_asker_channels *channels,
                         const struct fk_keyd_keyserver_conf *block, SSL_CTX *ctx)
{
    const struct fk_keyserver_config config = {
        .name = fk_keyd_conf_keyserver_name(block),
        .address = block->address,
        .bind = block->bind,
        .device = block->device,
        .weight = 1,
        .connect_timeout_us = block->connect_timeout_us,
        .ping_interval_us = block->ping_interval_us,
        .ping_timeout_us = block->ping_timeout_us,
        .max_outstanding = FK_ASKER_OUTSTANDING,
    };
    struct fk_keyserver *server;
    int err;

    if (channels->count == FK_KEYPOOL_SERVERS_MAX)
        return FK_ERR_LIMIT;
    if ((err = fk_keyclient_add_server(channels->client, &config, ctx, &server)) != FK_OK)
        return err;
    fk_keyserver_watch(server, on_listing, NULL);
    channels->servers[channels->count++] = server;
    return FK_OK;
}

static int fill(struct fk_asker_channels *channels, const struct fk_keyd_conf *conf,
                struct fk_loop *loop, struct fk_dns *dns, SSL_CTX *ctx)
{
    const struct fk_keypool_config config = {
        .strategy = FK_STRATEGY_LEAST_OUTSTANDING,
        /* The rest is for the signer. */
        .deadline_us = fk_keyd_conf_limits(conf)->deadline / FK_ASKER_PART,
    };
    int err;

    if ((err = fk_keyclient_new(loop, &channels->client)) != FK_OK)
        return err;
    fk_keyclient_set_dns(channels->client, dns);
    for (const struct fk_conf_block *b = conf->keyservers; b != NULL; b = b->next)
        if ((err = add_keyserver(channels, (const void *)b, ctx)) != FK_OK)
            return err;
    return fk_keypool_new(channels->client, &config, channels->servers, channels->count,
                          &channels->pool);
}

/* Those of the old set, or new ones. */
static int get_channels(const struct source *source, struct fk_loop *loop, struct fk_dns *dns,
                        const struct fk_asker_set *old, struct fk_asker_set *set)
{
    struct fk_asker_channels *channels;
    uint8_t fingerprint[32];
    int err;

    if ((err = take_fingerprint(source, fingerprint)) != FK_OK)
        return err;
    if (old != NULL && old->channels != NULL &&
        memcmp(old->channels->fingerprint, fingerprint, sizeof fingerprint) == 0) { /* public */
        set->channels = fk_asker_channels_ref(old->channels);
        return FK_OK;
    }
    if ((channels = calloc(1, sizeof *channels)) == NULL)
        return FK_ERR_NOMEM;
    channels->refs = 1;
    memcpy(channels->fingerprint, fingerprint, sizeof fingerprint);
    if ((err = fill(channels, source->conf, loop, dns, set->ctx)) != FK_OK)
        fk_asker_channels_unref(channels);
    else
        set->channels = channels;
    return err;
}

struct fk_asker_channels *fk_asker_channels_ref(struct fk_asker_channels *channels)
{
    channels->refs++;
    return channels;
}

void fk_asker_channels_unref(struct fk_asker_channels *channels)
{
    if (channels == NULL || --channels->refs > 0)
        return;
    if (channels->pool != NULL)
        fk_keypool_free(channels->pool);
    if (channels->client != NULL)
        fk_keyclient_free(channels->client);
    free(channels);
}

struct fk_keyback *fk_asker_channels_back(struct fk_asker_channels *channels)
{
    return fk_keypool_back(channels->pool);
}

const struct fk_keyserver *fk_asker_channels_server(const struct fk_asker_channels *channels,
                                                    size_t i)
{
    return i < channels->count ? channels->servers[i] : NULL;
}

/* --- sets --- */

static int make_ctx(const struct source *source, SSL_CTX **ret)
{
    struct fk_channel_identity id;
    int err = fk_channel_conf_read(fk_keyd_conf_channel(source->conf), source->bundle, &id);

    return err != FK_OK ? err : fk_channel_ctx_new(&id, false, false, ret);
}

int fk_asker_set_open(int fd, uint32_t generation, struct fk_loop *loop, struct fk_dns *dns,
                      const struct fk_asker_set *old, struct fk_asker_set **ret)
{
    struct fk_asker_set *set = calloc(1, sizeof *set);
    struct source source = {.bundle = NULL};
    int err;

    if (set == NULL)
        return FK_ERR_NOMEM;
    set->generation = generation;
    if ((err = open_source(fd, &source, &set->log_level)) == FK_OK &&
        (err = make_ctx(&source, &set->ctx)) == FK_OK && source.conf->keyservers != NULL)
        err = get_channels(&source, loop, dns, old, set);
    close_source(&source);
    if (err == FK_OK)
        *ret = set;
    else
        fk_asker_set_free(set);
    return err;
}

void fk_asker_set_free(struct fk_asker_set *set)
{
    if (set == NULL)
        return;
    fk_asker_channels_unref(set->channels);
    SSL_CTX_free(set->ctx);
    free(set);
}

void fk_asker_set_serve(const struct fk_asker_set *set, const struct fk_asker_set *old)
{
    if (old != NULL && old->channels != NULL && old->channels != set->channels)
        fk_keyclient_step_back(old->channels->client);
    if (set->channels != NULL)
        fk_keyclient_use(set->channels->client, set->ctx);
}
