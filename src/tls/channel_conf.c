/* The files of a channel's identity: see channel_conf.h. */
#include "tls/channel_conf.h"

#include "base/err.h"
#include "loop/errand.h"

#include <errno.h>
#include <string.h>

struct part {
    const char *what;
    const char *path; /* NULL: not there */
    const uint8_t **data;
    size_t *len;
};

static void list_parts(const struct fk_channel_conf *channel, struct fk_channel_identity *id,
                       struct part ret[FK_CHANNEL_PARTS])
{
    const struct part parts[FK_CHANNEL_PARTS] = {
        [FK_CHANNEL_CERTIFICATE] = {"certificate", channel->certificate, &id->certificate,
                                    &id->certificate_len},
        [FK_CHANNEL_KEY] = {"key", channel->key, &id->key, &id->key_len},
        [FK_CHANNEL_CA] = {"ca", channel->ca, &id->ca, &id->ca_len},
        [FK_CHANNEL_CRL] = {"crl", channel->crl, &id->crl, &id->crl_len},
        [FK_CHANNEL_REQUEST_KEY] = {"request_key", channel->request_key, &id->request_key,
                                    &id->request_key_len},
    };

    memcpy(ret, parts, sizeof parts);
}

/* A key server has no request key, and its block no such option. */
static bool has_option(const struct fk_channel_conf *channel, const char *name)
{
    const struct fk_conf_option *option = channel->block.kind->options;

    while (option->name != NULL && strcmp(option->name, name) != 0)
        option++;
    return option->name != NULL;
}

static int read_part(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                     const struct part *part)
{
    if (part->path == NULL)
        return FK_OK;
    return part->path == channel->key || part->path == channel->request_key
               ? fk_bundle_read_secret(bundle, part->path, part->data, part->len)
               : fk_bundle_read(bundle, part->path, part->data, part->len);
}

int fk_channel_conf_read(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                         struct fk_channel_identity *ret)
{
    struct fk_channel_identity id = {.crl = NULL};
    struct part parts[FK_CHANNEL_PARTS];
    int err = FK_OK;

    list_parts(channel, &id, parts);
    for (size_t i = 0; err == FK_OK && i < FK_CHANNEL_PARTS; i++)
        err = read_part(channel, bundle, &parts[i]);
    if (err == FK_OK)
        *ret = id;
    return err;
}

size_t fk_channel_conf_files(const struct fk_channel_conf *channel, const char **ret)
{
    struct fk_channel_identity id;
    struct part parts[FK_CHANNEL_PARTS];
    size_t n = 0;

    list_parts(channel, &id, parts);
    for (size_t i = 0; i < FK_CHANNEL_PARTS; i++)
        if (parts[i].path != NULL)
            ret[n++] = parts[i].path;
    return n;
}

static void blame(struct fk_conf *conf, const struct fk_channel_conf *channel,
                  const struct part *part, int err)
{
    fk_conf_blame(conf, &channel->block, part->what, "channel: %s %s: %s", part->what, part->path,
                  err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
}

/* What was read of it, into the bundle. */
static int renew_part(const struct part *part, struct fk_bundle *bundle, bool *ret_changed)
{
    const uint8_t *old;
    size_t len;

    if (fk_bundle_read(bundle, part->path, &old, &len) == FK_OK && len == *part->len &&
        memcmp(old, *part->data, len) == 0)
        return FK_OK;
    *ret_changed = true;
    fk_bundle_drop(bundle, part->path);
    return fk_bundle_add(bundle, part->path, *part->data, *part->len);
}

int fk_channel_conf_renew(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                          struct fk_conf *conf, bool *ret_changed)
{
    struct fk_channel_identity id;
    struct part parts[FK_CHANNEL_PARTS];
    struct fk_bundle *now;
    bool changed = false;
    int unread, err = fk_bundle_new(&now);

    if (err != FK_OK)
        return err;
    list_parts(channel, &id, parts);
    for (size_t i = 0; err == FK_OK && i < FK_CHANNEL_PARTS; i++) {
        if (parts[i].path == NULL)
            continue;
        if ((unread = read_part(channel, now, &parts[i])) == FK_OK)
            err = renew_part(&parts[i], bundle, &changed);
        else
            blame(conf, channel, &parts[i], unread);
    }
    fk_bundle_free(now);
    if (err == FK_OK)
        *ret_changed = changed;
    return err;
}

struct trial {
    struct fk_channel_identity id; /* what could be read of it */
    bool whole;
    bool server, allow_tls12;
    int faults[FK_CHANNEL_PARTS];
};

static bool has_fault(const int faults[FK_CHANNEL_PARTS])
{
    for (size_t i = 0; i < FK_CHANNEL_PARTS; i++)
        if (faults[i] != FK_OK)
            return true;
    return false;
}

/* Each part by itself, to tell all that is wrong, then all together, as they will be used. */
static int try_identity(void *arg, int sock)
{
    const struct trial *trial = arg;
    struct fk_procmsg msg = {.len = sizeof trial->faults};
    int faults[FK_CHANNEL_PARTS];
    SSL_CTX *ctx;
    int err = fk_channel_identity_try(&trial->id, faults);

    if (err == FK_OK && trial->whole && !has_fault(faults)) {
        err = fk_channel_ctx_new(&trial->id, trial->server, trial->allow_tls12, &ctx);
        if (err == FK_OK)
            SSL_CTX_free(ctx);
    }
    if (err != FK_OK)
        return err;
    memcpy(msg.data, faults, sizeof faults);
    return fk_errand_say(sock, &msg);
}

static void hear_faults(void *arg, struct fk_procmsg *msg)
{
    struct trial *trial = arg;

    if (msg->len == sizeof trial->faults)
        memcpy(trial->faults, msg->data, sizeof trial->faults);
}

void fk_channel_conf_check(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                           struct fk_conf *conf, bool server, bool allow_tls12)
{
    struct trial trial = {.whole = true, .server = server, .allow_tls12 = allow_tls12};
    struct part parts[FK_CHANNEL_PARTS];
    int err;

    list_parts(channel, &trial.id, parts);
    for (size_t i = 0; i < FK_CHANNEL_PARTS; i++) {
        if (!has_option(channel, parts[i].what))
            continue;
        if (!fk_conf_is_bad(&channel->block, parts[i].what) &&
            (err = read_part(channel, bundle, &parts[i])) != FK_OK)
            blame(conf, channel, &parts[i], err);
        if (fk_conf_is_bad(&channel->block, parts[i].what))
            trial.whole = false;
    }
    /* OpenSSL's decoders free copies of the key without wiping them: they end with a process. */
    if ((err = fk_errand_run(try_identity, hear_faults, &trial)) != FK_OK)
        fk_conf_complain(conf, &channel->block.where,
                         "channel: certificate, key, ca and crl do not serve: %s",
                         fk_err_text(err));
    for (size_t i = 0; i < FK_CHANNEL_PARTS; i++)
        if (trial.faults[i] != FK_OK)
            blame(conf, channel, &parts[i], trial.faults[i]);
}
