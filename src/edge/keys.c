/* Channels to key servers, shared by generations: see keys.h. */
#include "edge/keys.h"

#include "base/err.h"
#include "base/log.h"
#include "edge/gen.h"
#include "loop/sock.h"
#include "tls/channel_conf.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* Open channels, of one generation or of several. */
struct channels {
    unsigned refs;
    uint8_t fingerprint[32]; /* of everything that they cannot change over from */
    struct fk_keyclient *client;
    struct fk_gen *watcher;
    size_t count;
    struct server {
        char *title;
        struct fk_keyserver *server;
        struct fk_listing *listing;
    } items[];
};

struct fk_keys {
    struct channels *channels;
    SSL_CTX *ctx; /* how they are to be made and judged while this generation serves */
};

/* --- what the channels depend on --- */

/*
 * Key servers, and this edge's own identity towards them. Whom it trusts is not among it: a new CA
 * or revocation list is taken up by channels that are open (fk_keys_serve()).
 */

static void add_text(EVP_MD_CTX *md, const char *text)
{
    EVP_DigestUpdate(md, text == NULL ? "" : text, text == NULL ? 1 : strlen(text) + 1);
}

static void add_list(EVP_MD_CTX *md, const struct fk_conf_list *list)
{
    EVP_DigestUpdate(md, &list->count, sizeof list->count);
    for (size_t i = 0; i < list->count; i++)
        add_text(md, list->items[i]);
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

static void add_server(EVP_MD_CTX *md, const struct fk_edge_keyserver *server)
{
    const uint64_t numbers[] = {server->weight,           server->connect_timeout_us,
                                server->ping_interval_us, server->ping_timeout_us,
                                server->persistent,       server->idle_us,
                                server->max_outstanding};

    add_text(md, server->block.title);
    add_text(md, server->address);
    add_text(md, server->accept);
    add_list(md, &server->allow);
    add_list(md, &server->deny);
    add_text(md, fk_edge_keyserver_name(server));
    add_text(md, server->bind);
    add_text(md, server->device);
    add_text(md, server->zone);
    EVP_DigestUpdate(md, numbers, sizeof numbers);
}

static int take_fingerprint(const struct fk_edge_conf *conf, struct fk_bundle *bundle,
                            uint8_t ret[32])
{
    const struct fk_channel_conf *channel = (const void *)conf->channel;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int err = FK_OK;

    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(md);
        return FK_ERR_NOMEM;
    }
    if ((err = add_file(md, bundle, channel->certificate)) == FK_OK)
        err = add_file(md, bundle, channel->key);
    if (err == FK_OK && channel->request_key != NULL)
        err = add_file(md, bundle, channel->request_key);
    for (const struct fk_conf_block *b = conf->keyservers; b != NULL; b = b->next)
        add_server(md, (const void *)b);
    EVP_DigestFinal_ex(md, ret, NULL);
    EVP_MD_CTX_free(md);
    return err;
}

/* --- making them --- */

static int make_ctx(const struct fk_channel_conf *channel, struct fk_bundle *bundle, SSL_CTX **ret)
{
    struct fk_channel_identity id;
    int err = fk_channel_conf_read(channel, bundle, &id);

    return err != FK_OK ? err : fk_channel_ctx_new(&id, false, false, ret);
}

static void on_listing(void *arg, struct fk_keyserver *server)
{
    struct channels *channels = arg;

    (void)server;
    if (channels->watcher != NULL)
        fk_gen_refresh(channels->watcher);
}

static uint64_t listing_number(void *arg)
{
    return fk_keyserver_listing(arg);
}

static int listed_key(void *arg, size_t i, struct fk_info_key *ret)
{
    return fk_keyserver_key(arg, i, ret);
}

/* Takes what could be made of it. */
static int make_server(struct channels *channels, const struct fk_keys_source *source,
                       const struct fk_edge_keyserver *block, SSL_CTX *ctx)
{
    struct fk_listing_source listed = {.number = listing_number, .key = listed_key};
    struct fk_keyserver_config config = {
        .name = fk_edge_keyserver_name(block),
        .address = block->address,
        .accept = block->accept,
        .bind = block->bind,
        .device = block->device,
        .zone = block->zone,
        .weight = (unsigned)block->weight,
        .connect_timeout_us = block->connect_timeout_us,
        .ping_interval_us = block->ping_interval_us,
        .ping_timeout_us = block->ping_timeout_us,
        .idle_us = block->persistent ? 0 : block->idle_us,
        .max_outstanding = (uint32_t)block->max_outstanding,
    };
    struct server *server = &channels->items[channels->count++];
    int err;

    if ((server->title = strdup(block->block.title)) == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_ranges_parse(block->allow.items, block->allow.count, &config.allow)) == FK_OK &&
        (err = fk_ranges_parse(block->deny.items, block->deny.count, &config.deny)) == FK_OK)
        err = fk_keyclient_add_server(channels->client, &config, ctx, &server->server);
    free(config.allow.items);
    free(config.deny.items);
    if (err != FK_OK)
        return err;
    listed.arg = server->server;
    if ((err = fk_listing_new(source->libctx, &listed, &server->listing)) != FK_OK)
        return err;
    fk_keyserver_watch(server->server, on_listing, channels);
    return FK_OK;
}

static void unref(struct channels *channels)
{
    if (channels == NULL || --channels->refs > 0)
        return;
    if (channels->client != NULL)
        fk_keyclient_free(channels->client);
    for (size_t i = 0; i < channels->count; i++)
        fk_listing_free(channels->items[i].listing);
    for (size_t i = 0; i < channels->count; i++)
        free(channels->items[i].title);
    free(channels);
}

static int fill(struct channels *channels, const struct fk_keys_source *source, SSL_CTX *ctx,
                struct fk_why *why)
{
    const struct fk_conf_block *b = source->conf->keyservers;
    int err = fk_keyclient_new(source->loop, &channels->client);

    if (err != FK_OK)
        return err;
    fk_keyclient_set_dns(channels->client, source->dns);
    for (; err == FK_OK && b != NULL; b = b->next)
        if ((err = make_server(channels, source, (const void *)b, ctx)) != FK_OK)
            (void)fk_why_set(why, err, "keyserver \"%s\": %s", b->title, fk_err_text(err));
    return err;
}

/* Those of `old`, or new ones. */
static int get_channels(const struct fk_keys_source *source, struct channels *old, SSL_CTX *ctx,
                        struct fk_why *why, struct channels **ret)
{
    struct channels *channels;
    uint8_t fingerprint[32];
    size_t count = 0;
    int err;

    if ((err = take_fingerprint(source->conf, source->bundle, fingerprint)) != FK_OK)
        return fk_why_set(why, err, "channel: cannot read its files: %s", fk_err_text(err));
    if (old != NULL && memcmp(old->fingerprint, fingerprint, sizeof fingerprint) == 0) {
        old->refs++;
        *ret = old;
        return FK_OK;
    }
    for (const struct fk_conf_block *b = source->conf->keyservers; b != NULL; b = b->next)
        count++;
    if ((channels = calloc(1, sizeof *channels + count * sizeof channels->items[0])) == NULL)
        return FK_ERR_NOMEM;
    channels->refs = 1;
    memcpy(channels->fingerprint, fingerprint, sizeof fingerprint);
    if ((err = fill(channels, source, ctx, why)) != FK_OK) {
        unref(channels);
        return err;
    }
    *ret = channels;
    return FK_OK;
}

int fk_keys_new(const struct fk_keys_source *source, struct fk_keys *old, struct fk_why *why,
                struct fk_keys **ret)
{
    struct fk_keys *keys = calloc(1, sizeof *keys);
    int err;

    if (keys == NULL)
        return FK_ERR_NOMEM;
    if ((err = make_ctx((const void *)source->conf->channel, source->bundle, &keys->ctx)) != FK_OK)
        (void)fk_why_set(why, err, "channel: %s", fk_err_text(err));
    else
        err = get_channels(source, old == NULL ? NULL : old->channels, keys->ctx, why,
                           &keys->channels);
    if (err != FK_OK) {
        fk_keys_free(keys);
        return err;
    }
    *ret = keys;
    return FK_OK;
}

void fk_keys_free(struct fk_keys *keys)
{
    if (keys == NULL)
        return;
    unref(keys->channels);
    SSL_CTX_free(keys->ctx);
    free(keys);
}

/* --- serving --- */

void fk_keys_serve(struct fk_keys *keys, struct fk_gen *gen)
{
    keys->channels->watcher = gen;
    fk_keyclient_use(keys->channels->client, keys->ctx);
}

void fk_keys_give_way(struct fk_keys *keys, const struct fk_keys *next)
{
    struct fk_keyclient *client = keys->channels->client;

    if (next != NULL && next->channels == keys->channels)
        return;
    if (next != NULL)
        fk_keyclient_use(client, next->ctx);
    fk_keyclient_step_back(client);
}

void fk_keys_unwatch(struct fk_keys *keys, const struct fk_gen *gen)
{
    if (keys->channels->watcher == gen)
        keys->channels->watcher = NULL;
}

struct fk_keyclient *fk_keys_client(struct fk_keys *keys)
{
    return keys->channels->client;
}

static struct server *find_server(struct fk_keys *keys, const char *title)
{
    for (size_t i = 0; i < keys->channels->count; i++)
        if (strcmp(keys->channels->items[i].title, title) == 0)
            return &keys->channels->items[i];
    return NULL;
}

struct fk_keyserver *fk_keys_find(struct fk_keys *keys, const char *title)
{
    struct server *server = find_server(keys, title);

    return server == NULL ? NULL : server->server;
}

struct fk_listing *fk_keys_listing(struct fk_keys *keys, const char *title)
{
    struct server *server = find_server(keys, title);

    return server == NULL ? NULL : server->listing;
}

int fk_keys_at(const struct fk_keys *keys, size_t i, const char **ret_title,
               struct fk_keyserver **ret)
{
    if (i >= keys->channels->count)
        return FK_ERR_NOT_FOUND;
    *ret_title = keys->channels->items[i].title;
    *ret = keys->channels->items[i].server;
    return FK_OK;
}

int fk_keys_listen(struct fk_keys *keys, size_t i, int fd)
{
    if (i >= keys->channels->count) {
        fk_close(&fd);
        return FK_ERR_NOT_FOUND;
    }
    fk_keyserver_listen(keys->channels->items[i].server, fd);
    return FK_OK;
}
