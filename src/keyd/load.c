/*
 * Loading, in one order: configuration, channel, audit secret, keys, bundle. All that is wrong is
 * collected in the configuration's list of errors.
 */
#include "keyd/load.h"

#include "admin/conf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "base/secret.h"
#include "base/text.h"
#include "conf/users.h"
#include "keyd/frontset.h"
#include "keyd/keyd.h"
#include "keyd/quota.h"
#include "loop/proc.h"
#include "loop/sock.h"
#include "tls/channel_conf.h"
#include "tls/tickets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_SIZE 32

_Static_assert(SECRET_SIZE == FK_TICKET_SHARED_SECRET, "secrets of one size");

/* 32 bytes, as they are or as 64 hexadecimal digits on a line. */
static int read_secret(const char *path, uint8_t ret[SECRET_SIZE])
{
    struct fk_secret *file;
    size_t len;
    int err;

    if ((err = fk_store_read_secret(path, &file, &len)) != FK_OK)
        return err;
    if (len == SECRET_SIZE) {
        memcpy(ret, fk_secret_bytes(file), len);
    } else {
        const char *text = (const char *)fk_secret_bytes(file);

        err = fk_text_unhex(text, strcspn(text, "\r\n"), ret, SECRET_SIZE);
    }
    fk_secret_free(file);
    return err;
}

/* `make`: how one is made. */
static const char *secret_trouble(int err, const char *make)
{
    switch (err) {
    case FK_ERR_SYS:
        return strerror(errno);
    case FK_ERR_EXPOSED:
        return fk_err_text(err);
    default:
        return make;
    }
}

struct complaint {
    struct fk_conf *loaded;
    const struct fk_keyd_conf *conf;
};

/* Whether a path is a file in, or of, a key directory. */
static bool is_of(const char *path, const struct fk_conf_block *block)
{
    const struct fk_keyd_keys_conf *keys = (const void *)block;
    size_t len = strlen(block->title);

    if (keys->passphrase_file != NULL && strcmp(path, keys->passphrase_file) == 0)
        return true;
    return strncmp(path, block->title, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static void complain_store(void *arg, const char *path, const char *what)
{
    const struct complaint *complaint = arg;
    const struct fk_conf_block *block = complaint->conf->keys, *best = block;

    /* Of directories in directories the innermost. */
    for (; block != NULL; block = block->next)
        if (is_of(path, block) &&
            (!is_of(path, best) || strlen(block->title) > strlen(best->title)))
            best = block;
    fk_conf_complain(complaint->loaded, &best->where, "%s: %s", path, what);
}

/* The audit secret, if there is to be one: true when *ret has it. */
static bool load_audit_secret(struct fk_conf *loaded, const struct fk_keyd_audit_conf *audit,
                              uint8_t ret[SECRET_SIZE])
{
    int err;

    if (audit == NULL || fk_conf_is_bad(&audit->block, "key"))
        return false;
    if ((err = read_secret(audit->key, ret)) == FK_OK)
        return true;
    fk_conf_blame(loaded, &audit->block, "key", "audit: %s: %s", audit->key,
                  secret_trouble(err, "not a secret of 32 bytes; make one with farkey init"));
    return false;
}

/* That of tickets which key servers share. A failure is noted in the configuration, but for
 * FK_ERR_NOMEM. */
static int load_ticket_secret(struct fk_conf *loaded, const struct fk_keyd_conf *conf,
                              struct fk_secret **ret)
{
    struct fk_secret *secret = NULL;
    int err;

    if (conf->ticket_secret == NULL || fk_conf_is_bad(&conf->block, "ticket_secret"))
        return FK_OK;
    if ((err = fk_secret_new(SECRET_SIZE, &secret)) != FK_OK)
        return err;
    if ((err = read_secret(conf->ticket_secret, fk_secret_data(secret))) == FK_OK) {
        *ret = secret;
        return FK_OK;
    }
    fk_secret_free(secret);
    fk_conf_blame(loaded, &conf->block, "ticket_secret", "ticket_secret: %s: %s",
                  conf->ticket_secret,
                  secret_trouble(err, "not a secret of 32 bytes; make one with openssl rand -hex "
                                      "32"));
    return FK_OK;
}

/* Keys, and the audit secret that travels with them. */
static int load_store(struct fk_conf *loaded, const struct fk_keyd_conf *conf,
                      const struct fk_store *previous, struct fk_store **ret)
{
    struct complaint complaint = {loaded, conf};
    uint8_t secret[SECRET_SIZE];
    bool has_secret = load_audit_secret(loaded, fk_keyd_conf_audit(conf), secret);
    int err = FK_ERR_CONF; /* no block of keys: that was complained of */

    if (conf->keys != NULL)
        err = fk_store_load(conf, has_secret ? secret : NULL, previous, complain_store, &complaint,
                            ret);
    fk_wipe(secret, sizeof secret);
    return err;
}

static void check_edges(struct fk_conf *loaded, const struct fk_keyd_conf *conf)
{
    char identity[2 * FK_IDENTITY_SIZE];
    size_t count = 0;

    for (const struct fk_conf_block *edge = conf->edges; edge != NULL; edge = edge->next) {
        fk_keyd_conf_identity((const void *)edge, identity, sizeof identity);
        if (fk_keyd_conf_has_identity((const void *)edge) && strlen(identity) >= FK_IDENTITY_SIZE)
            fk_conf_blame(loaded, edge, "identity", "edge \"%s\": identity too long", edge->title);
        if (++count == FK_KEYD_EDGES_MAX + 1)
            fk_conf_complain(loaded, &edge->where, "more than %d edges", FK_KEYD_EDGES_MAX);
    }
}

static void check_tokens(struct fk_conf *loaded, const struct fk_keyd_conf *conf)
{
    size_t count = 0;

    for (const struct fk_conf_block *b = conf->tokens; b != NULL; b = b->next)
        if (++count == FK_TOKENS_MAX + 1)
            fk_conf_complain(loaded, &b->where, "more than %d tokens", FK_TOKENS_MAX);
}

/*
 * Everything but keys; *ret as with fk_conf_load(). Whatever is wrong, all that can be judged is:
 * complaints are looked at after those of the keys. `frozen`: but for the channel's files the
 * bundle has it all. A new revocation list must not wait for a reload.
 */
static int load_conf(const char *path, struct fk_bundle *bundle, bool frozen, struct fk_conf **ret)
{
    int err = fk_conf_load(&fk_keyd_conf_kind, path, bundle, ret);
    const struct fk_keyd_conf *conf;
    bool changed; /* the keys are loaded anew anyway */

    if (err != FK_OK && err != FK_ERR_CONF)
        return err;
    conf = fk_conf_root(*ret);
    if ((err = fk_users_set(*ret, conf->user, conf->signer_user)) != FK_OK)
        return err;
    for (struct fk_conf_block *b = conf->tokens; err == FK_OK && b != NULL; b = b->next)
        err = fk_users_set_of(*ret, b, ((struct fk_keyd_token_conf *)(void *)b)->user,
                              FK_PROC_TOKEN_USER);
    if (err != FK_OK)
        return err;
    check_tokens(*ret, conf);
    check_edges(*ret, conf);
    if (conf->channel == NULL)
        return FK_OK;
    if (frozen &&
        (err = fk_channel_conf_renew(fk_keyd_conf_channel(conf), bundle, *ret, &changed)) != FK_OK)
        return err;
    fk_channel_conf_check(fk_keyd_conf_channel(conf), bundle, *ret, true, true);
    return FK_OK;
}

static int judge(const struct fk_conf *loaded, int err)
{
    if (err == FK_OK && fk_conf_error_count(loaded) > 0)
        return FK_ERR_CONF;
    return err;
}

/* The admin process's; a configuration that is frozen keeps it. */
static int read_token(struct fk_conf *loaded, struct fk_bundle *bundle,
                      const struct fk_keyd_load *frozen, struct fk_secret **ret)
{
    const struct fk_secret *old = frozen != NULL ? frozen->admin_token : NULL;

    if (old != NULL)
        return fk_secret_dup(fk_secret_bytes(old), fk_secret_len(old), ret);
    if (frozen != NULL)
        return FK_OK;
    return fk_admin_token_read(fk_keyd_conf_admin(fk_conf_root(loaded)), bundle, loaded, ret);
}

int fk_keyd_load(const char *path, struct fk_bundle *bundle, struct fk_conf **ret)
{
    struct fk_secret *tickets = NULL, *token = NULL;
    struct fk_store *store = NULL;
    struct fk_conf *loaded = NULL;
    int err;

    if ((err = load_conf(path, bundle, false, &loaded)) == FK_OK &&
        (err = read_token(loaded, bundle, NULL, &token)) == FK_OK &&
        (err = load_ticket_secret(loaded, fk_conf_root(loaded), &tickets)) == FK_OK)
        err = judge(loaded, load_store(loaded, fk_conf_root(loaded), NULL, &store));
    fk_secret_free(tickets);
    fk_secret_free(token);
    fk_store_free(store);
    if (loaded != NULL)
        *ret = loaded;
    return err;
}

/* Put in what is not a file, and freeze all. */
static int seal(struct fk_bundle *bundle, const char *path, bool frozen, bool verbose,
                struct fk_keyd_load *load)
{
    size_t len;
    const uint8_t *index = fk_store_index(load->store, &len);
    int err;

    if (frozen)
        fk_bundle_drop(bundle, FK_INDEX_PATH);
    else if ((err = fk_bundle_add(bundle, FK_KEYD_CONF_PATH, path, strlen(path))) != FK_OK ||
             (err = fk_bundle_add(bundle, FK_KEYD_VERBOSE_PATH, "1", verbose ? 1 : 0)) != FK_OK)
        return err;
    if ((err = fk_bundle_add(bundle, FK_INDEX_PATH, index, len)) != FK_OK)
        return err;
    return fk_bundle_seal(bundle, &load->bundle_fd);
}

/* All names of keys; those of a loaded store are in lower case. */
static int collect_names(const struct fk_store *store, struct fk_map *ret)
{
    const struct fk_index_key *key;
    int64_t not_after;
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && (key = fk_store_at(store, i, &not_after)) != NULL; i++)
        for (size_t n = 0; err == FK_OK && n < key->n_names; n++)
            err = fk_map_add(ret, key->names[n], strlen(key->names[n]), key->names[n], NULL);
    return err;
}

static bool has_key(const struct fk_map *names, const char *name)
{
    char text[FK_HOST_MAX + 1];
    size_t len = strlen(name);

    if (len > FK_HOST_MAX)
        return false;
    fk_text_lower(name, len, text);
    return fk_map_find(names, text, len) != NULL;
}

/* No error: the key may be on its way. But a name that is misspelt is seen here, or by clients. */
static void warn_of_no_keys(const struct fk_keyd_load *load)
{
    struct fk_map names = {.count = 0};
    int err = collect_names(load->store, &names);

    for (const struct fk_conf_block *b = load->conf->edges; err == FK_OK && b != NULL;
         b = b->next) {
        const struct fk_keyd_edge_conf *edge = (const void *)b;

        for (size_t i = 0; i < edge->keys.count; i++)
            if (strchr(edge->keys.items[i], '*') == NULL && !has_key(&names, edge->keys.items[i]))
                fk_log(FK_LOG_WARN, "edge may use a key that is not there",
                       fk_str("edge", b->title), fk_str("key", edge->keys.items[i]));
    }
    fk_map_fini(&names);
}

int fk_keyd_load_new(const char *path, bool verbose, uint32_t generation,
                     const struct fk_keyd_load *frozen, const struct fk_keyd_load *previous,
                     struct fk_keyd_load **ret)
{
    struct fk_keyd_load *load = calloc(1, sizeof *load);
    struct fk_bundle *bundle = NULL;
    int err;

    if (load == NULL)
        return FK_ERR_NOMEM;
    load->bundle_fd = -1;
    load->generation = generation;
    err = frozen != NULL ? fk_bundle_open(frozen->bundle_fd, &bundle) : fk_bundle_new(&bundle);
    if (err != FK_OK || (err = load_conf(path, bundle, frozen != NULL, &load->loaded)) != FK_OK)
        goto out;
    load->conf = fk_conf_root(load->loaded);
    if ((err = load_ticket_secret(load->loaded, load->conf, &load->ticket_secret)) != FK_OK ||
        (err = read_token(load->loaded, bundle, frozen, &load->admin_token)) != FK_OK)
        goto out;
    err = judge(load->loaded, load_store(load->loaded, load->conf,
                                         previous != NULL ? previous->store : NULL, &load->store));
    if (err == FK_OK)
        err = seal(bundle, path, frozen != NULL, verbose, load);
    if (err == FK_OK)
        warn_of_no_keys(load);
out:
    fk_bundle_free(bundle);
    if (err == FK_OK || (err == FK_ERR_CONF && load->loaded != NULL)) {
        *ret = load;
        return err;
    }
    fk_keyd_load_free(load);
    return err;
}

void fk_keyd_load_free(struct fk_keyd_load *load)
{
    if (load == NULL)
        return;
    fk_secret_free(load->ticket_secret);
    fk_secret_free(load->admin_token);
    fk_store_free(load->store);
    fk_conf_free(load->loaded);
    fk_close(&load->bundle_fd);
    free(load);
}
