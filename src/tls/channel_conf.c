/* The files of a channel's identity: see channel_conf.h. */
#include "tls/channel_conf.h"

#include "base/err.h"
#include "loop/errand.h"

#include <errno.h>
#include <string.h>

#define PARTS 4

struct part {
    const char *what;
    const char *path; /* NULL: not there */
    const uint8_t **data;
    size_t *len;
};

static void list_parts(const struct fk_channel_conf *channel, struct fk_channel_identity *id,
                       struct part ret[PARTS])
{
    const struct part parts[PARTS] = {
        {"certificate", channel->certificate, &id->certificate, &id->certificate_len},
        {"key", channel->key, &id->key, &id->key_len},
        {"ca", channel->ca, &id->ca, &id->ca_len},
        {"crl", channel->crl, &id->crl, &id->crl_len},
    };

    memcpy(ret, parts, sizeof parts);
}

static int read_part(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                     const struct part *part)
{
    if (part->path == NULL)
        return FK_OK;
    return part->path == channel->key
               ? fk_bundle_read_secret(bundle, part->path, part->data, part->len)
               : fk_bundle_read(bundle, part->path, part->data, part->len);
}

int fk_channel_conf_read(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                         struct fk_channel_identity *ret)
{
    struct fk_channel_identity id = {.crl = NULL};
    struct part parts[PARTS];
    int err = FK_OK;

    list_parts(channel, &id, parts);
    for (size_t i = 0; err == FK_OK && i < PARTS; i++)
        err = read_part(channel, bundle, &parts[i]);
    if (err == FK_OK)
        *ret = id;
    return err;
}

struct trial {
    struct fk_channel_identity id;
    bool server, allow_tls12;
};

static int try_identity(void *arg, int sock)
{
    const struct trial *trial = arg;
    SSL_CTX *ctx;
    int err = fk_channel_ctx_new(&trial->id, trial->server, trial->allow_tls12, &ctx);

    (void)sock;
    if (err == FK_OK)
        SSL_CTX_free(ctx);
    return err;
}

static void hear_nothing(void *arg, struct fk_procmsg *msg)
{
    (void)arg;
    (void)msg;
}

void fk_channel_conf_check(const struct fk_channel_conf *channel, struct fk_bundle *bundle,
                           struct fk_conf *conf, bool server, bool allow_tls12)
{
    struct trial trial = {.server = server, .allow_tls12 = allow_tls12};
    size_t before = fk_conf_error_count(conf);
    struct part parts[PARTS];
    int err;

    list_parts(channel, &trial.id, parts);
    for (size_t i = 0; i < PARTS; i++)
        if ((err = read_part(channel, bundle, &parts[i])) != FK_OK)
            fk_conf_complain(conf, &channel->block.where, "channel: %s %s: %s", parts[i].what,
                             parts[i].path, err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
    if (fk_conf_error_count(conf) > before)
        return;
    /* OpenSSL's decoders free copies of the key without wiping them: they end with a process. */
    if ((err = fk_errand_run(try_identity, hear_nothing, &trial)) != FK_OK)
        fk_conf_complain(conf, &channel->block.where,
                         "channel: certificate, key, ca and crl do not serve: %s",
                         fk_err_text(err));
}
