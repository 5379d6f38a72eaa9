/*
 * Files that have changed, taken in under the configuration in service: see load.h. The text of the
 * configuration is not read again, nor is any file that nobody watches.
 *
 * A site takes all that has changed of it, or nothing: a certificate without its key, or a response
 * about another one, leaves the site as it is until the next change. What it has refused is refused
 * for all sites that name the same file; others go on. Each try begins with what is in service.
 */
#include "edge/load_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "conf/users.h"
#include "loop/sock.h"
#include "tls/channel_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Of a site: certificates, responses, clients' CA and list, origins' CA. */
#define SITE_FILES_MAX (2 * FK_EDGE_CERTS_MAX + 3)

struct site_file {
    const char *what, *path;
};

struct renewal {
    const struct fk_loaded *old;
    struct fk_bundle *before, *now; /* as they are in service, and as they are */
    struct fk_map refused;          /* paths, of `old`'s strings */
    bool channel_refused;
    /* One try. */
    struct fk_loading loading;
    bool channel_changed;
    size_t n_changed; /* files of sites */
    bool failed;      /* something more was refused */
};

/* --- which files --- */

static void add_file(struct site_file *files, size_t *n, const char *what, const char *path)
{
    if (path != NULL)
        files[(*n)++] = (struct site_file){what, path};
}

/* But for keys. The options' tables bound the lists. */
static size_t list_files(const struct fk_edge_site *site, struct site_file ret[SITE_FILES_MAX])
{
    const struct fk_edge_client *client = fk_edge_client(site);
    size_t n = 0;

    for (size_t i = 0; i < site->certificate.count; i++)
        add_file(ret, &n, "certificate", site->certificate.items[i]);
    for (size_t i = 0; i < site->ocsp.count; i++)
        add_file(ret, &n, "ocsp", site->ocsp.items[i]);
    if (client != NULL) {
        add_file(ret, &n, "ca", client->ca);
        add_file(ret, &n, "crl", client->crl);
    }
    add_file(ret, &n, "origin_ca", site->origin_ca);
    return n;
}

/* Of the channel, and of all sites, their keys included: with `ret` NULL only their number. */
static size_t list_watched(const struct fk_loaded *loaded, struct fk_watch_item *ret)
{
    const struct fk_channel_conf *channel = (const void *)loaded->root->channel;
    const char *parts[FK_CHANNEL_PARTS];
    size_t n = 0;

    for (size_t i = channel == NULL ? 0 : fk_channel_conf_files(channel, parts); i > 0; i--, n++)
        if (ret != NULL)
            ret[n].path = parts[i - 1];
    for (const struct fk_conf_block *b = loaded->root->sites; b != NULL; b = b->next) {
        const struct fk_edge_site *site = (const void *)b;
        struct site_file files[SITE_FILES_MAX];

        for (size_t i = list_files(site, files); i > 0; i--, n++)
            if (ret != NULL)
                ret[n].path = files[i - 1].path;
        for (size_t i = 0; i < site->key.count; i++, n++)
            if (ret != NULL)
                ret[n].path = site->key.items[i];
    }
    return n;
}

int fk_loaded_watch(const struct fk_loaded *loaded, struct fk_watch *watch)
{
    size_t n = list_watched(loaded, NULL);
    struct fk_watch_item *items = calloc(n + 1, sizeof *items);
    int err;

    if (items == NULL)
        return FK_ERR_NOMEM;
    (void)list_watched(loaded, items);
    err = fk_watch_set(watch, items, n);
    free(items);
    return err;
}

/* --- what has changed --- */

static bool is_refused(const struct renewal *renewal, const char *path)
{
    return fk_map_find(&renewal->refused, path, strlen(path)) != NULL;
}

static int refuse(struct renewal *renewal, const char *path)
{
    if (is_refused(renewal, path))
        return FK_OK;
    renewal->failed = true;
    return fk_map_add(&renewal->refused, path, strlen(path), renewal, NULL);
}

/* One that cannot be read now is as it was. */
static int check_readable(struct renewal *renewal, const struct fk_conf_block *site,
                          const struct site_file *file)
{
    const uint8_t *data;
    size_t len;
    int err;

    if (is_refused(renewal, file->path) ||
        (err = fk_bundle_read(renewal->now, file->path, &data, &len)) == FK_OK)
        return FK_OK;
    fk_log(FK_LOG_WARN, "a file cannot be read; that in service stays", fk_str("site", site->title),
           fk_str("file", file->path),
           fk_str("why", err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err)));
    return fk_map_add(&renewal->refused, file->path, strlen(file->path), renewal, NULL);
}

/* Whether a file is not as it is in service. */
static bool is_changed(struct renewal *renewal, const char *path, const uint8_t **ret,
                       size_t *ret_len)
{
    const uint8_t *old;
    size_t len;

    if (is_refused(renewal, path) || fk_bundle_read(renewal->now, path, ret, ret_len) != FK_OK ||
        fk_bundle_read(renewal->before, path, &old, &len) != FK_OK)
        return false;
    return len != *ret_len || memcmp(old, *ret, len) != 0; /* public files */
}

/* The changed ones of a site, in `ret`, as `old` names them. */
static size_t list_changed(struct renewal *renewal, const struct fk_edge_site *old_site,
                           struct site_file ret[SITE_FILES_MAX])
{
    struct site_file files[SITE_FILES_MAX];
    size_t n = list_files(old_site, files), changed = 0, len;
    const uint8_t *data;

    for (size_t i = 0; i < n; i++)
        if (is_changed(renewal, files[i].path, &data, &len))
            ret[changed++] = files[i];
    return changed;
}

/* Several sites may name it. */
static int take_in(struct renewal *renewal, const char *path)
{
    struct fk_bundle *bundle = renewal->loading.bundle;
    const uint8_t *data, *have;
    size_t len, have_len;
    int err = fk_bundle_read(renewal->now, path, &data, &len);

    if (err != FK_OK || (fk_bundle_read(bundle, path, &have, &have_len) == FK_OK &&
                         have_len == len && memcmp(have, data, len) == 0))
        return err;
    fk_bundle_drop(bundle, path);
    return fk_bundle_add(bundle, path, data, len);
}

/* All of all sites. Keys are read when a certificate of one is another: by themselves they cannot
 * change. */
static int take_site(struct renewal *renewal, const struct fk_edge_site *site, bool *ret_keys)
{
    struct site_file files[SITE_FILES_MAX];
    size_t n = list_files(site, files);
    int err;

    for (size_t i = 0; i < n; i++)
        if ((err = check_readable(renewal, &site->block, &files[i])) != FK_OK)
            return err;
    n = list_changed(renewal, site, files);
    renewal->n_changed += n;
    for (size_t i = 0; i < n; i++) {
        if ((err = take_in(renewal, files[i].path)) != FK_OK)
            return err;
        if (strcmp(files[i].what, "certificate") == 0 && fk_keyread_count(site) > 0)
            *ret_keys = true;
    }
    return FK_OK;
}

static int take_sites(struct renewal *renewal, bool *ret_keys)
{
    int err = FK_OK;

    for (const struct fk_conf_block *b = renewal->old->root->sites; err == FK_OK && b != NULL;
         b = b->next)
        err = take_site(renewal, (const void *)b, ret_keys);
    return err;
}

/* --- judging it --- */

static void log_refusal(const struct fk_conf *conf, size_t from)
{
    for (size_t i = from; i < fk_conf_error_count(conf); i++)
        fk_log(FK_LOG_WARN, "changed files are not taken; those in service stay",
               fk_str("error", fk_conf_error(conf, i)));
}

/* Keys are read all at once: without this one's, no site gets other certificates. */
static int refuse_certificates(struct renewal *renewal)
{
    struct site_file files[SITE_FILES_MAX];
    int err;

    for (const struct fk_conf_block *b = renewal->old->root->sites; b != NULL; b = b->next) {
        const struct fk_edge_site *site = (const void *)b;
        size_t n = fk_keyread_count(site) == 0 ? 0 : list_changed(renewal, site, files);

        for (size_t i = 0; i < n; i++)
            if (strcmp(files[i].what, "certificate") == 0 &&
                (err = refuse(renewal, files[i].path)) != FK_OK)
                return err;
    }
    return FK_OK;
}

static int refuse_files(struct renewal *renewal, const struct site_file *files, size_t n)
{
    int err;

    if (n == 0)
        return refuse_certificates(renewal);
    for (size_t i = 0; i < n; i++)
        if ((err = refuse(renewal, files[i].path)) != FK_OK)
            return err;
    return FK_OK;
}

/* `site` is the new configuration's, `old_site` the same in service. */
static int check_site(struct renewal *renewal, const struct fk_edge_site *site,
                      const struct fk_edge_site *old_site)
{
    struct fk_loading *loading = &renewal->loading;
    struct site_file files[SITE_FILES_MAX];
    size_t before = fk_conf_error_count(loading->conf), n;

    n = list_changed(renewal, old_site, files);
    if (n == 0 && (loading->keys == NULL || fk_keyread_count(site) == 0)) {
        fk_loading_skip_site(loading, site);
        return FK_OK;
    }
    fk_loading_check_site(loading, site);
    if (fk_conf_error_count(loading->conf) == before)
        return FK_OK;
    return refuse_files(renewal, files, n);
}

static int check_sites(struct renewal *renewal)
{
    struct fk_loading *loading = &renewal->loading;
    const struct fk_conf_block *old = renewal->old->root->sites;
    size_t before;
    int err;

    for (const struct fk_conf_block *b = loading->root->sites; b != NULL;
         b = b->next, old = old->next)
        if ((err = check_site(renewal, (const void *)b, (const void *)old)) != FK_OK)
            return err;
    if (loading->keys == NULL)
        return FK_OK;
    before = fk_conf_error_count(loading->conf);
    fk_loading_check_lend_key(loading);
    return fk_conf_error_count(loading->conf) == before ? FK_OK : refuse_certificates(renewal);
}

/* --- one try --- */

static int take_channel(struct renewal *renewal)
{
    struct fk_loading *loading = &renewal->loading;
    const struct fk_channel_conf *channel = (const void *)loading->root->channel;
    int err;

    if (channel == NULL || renewal->channel_refused)
        return FK_OK;
    if ((err = fk_channel_conf_renew(channel, loading->bundle, loading->conf,
                                     &renewal->channel_changed)) != FK_OK)
        return err;
    if (renewal->channel_changed)
        fk_loading_check_channel(loading);
    if (fk_conf_error_count(loading->conf) > 0)
        renewal->failed = renewal->channel_refused = true;
    return FK_OK;
}

static int try_files(struct renewal *renewal, const char *path)
{
    struct fk_loading *loading = &renewal->loading;
    bool keys = false;
    int err;

    *loading = (struct fk_loading){.role = renewal->old->role};
    renewal->channel_changed = renewal->failed = false;
    renewal->n_changed = 0;
    if ((err = fk_bundle_open(renewal->old->bundle_fd, &loading->bundle)) != FK_OK ||
        (err = fk_conf_load(loading->role->conf, path, loading->bundle, &loading->conf)) != FK_OK ||
        (err = fk_loading_set_root(loading)) != FK_OK || (err = take_channel(renewal)) != FK_OK ||
        (err = take_sites(renewal, &keys)) != FK_OK ||
        (keys && (err = fk_keyread_new(loading->root, &loading->keys)) != FK_OK))
        return err;
    return check_sites(renewal);
}

static void end_try(struct renewal *renewal)
{
    fk_conf_free(renewal->loading.conf);
    fk_keyread_free(renewal->loading.keys);
    fk_bundle_free(renewal->loading.bundle);
    renewal->loading = (struct fk_loading){.role = renewal->old->role};
}

/*
 * Until there is nothing more to refuse: each try that fails refuses something that none before it
 * has. Where the channel's files are all that has changed, their fault is an error.
 */
static int try_all(struct renewal *renewal, const char *path, struct fk_why *why)
{
    int err;

    for (;;) {
        const struct fk_conf *conf;

        err = try_files(renewal, path);
        conf = renewal->loading.conf;
        if (err == FK_OK && !renewal->failed && fk_conf_error_count(conf) == 0)
            return FK_OK;
        if (err == FK_OK && !renewal->failed) /* what was in service is in service no more */
            err = FK_ERR_CONF;
        if (err == FK_OK && renewal->n_changed == 0) /* the channel alone */
            err = FK_ERR_CONF;
        if (err != FK_OK) {
            fk_loading_log_errors(conf, path, err, why);
            return err;
        }
        log_refusal(conf, 0);
        end_try(renewal);
    }
}

/* --- all --- */

static void tell(struct renewal *renewal)
{
    struct site_file files[SITE_FILES_MAX];

    if (renewal->channel_changed)
        fk_log(FK_LOG_INFO, "reloading", fk_str("what", "channel"));
    for (const struct fk_conf_block *b = renewal->old->root->sites; b != NULL; b = b->next) {
        size_t n = list_changed(renewal, (const void *)b, files);

        for (size_t i = 0; i < n; i++)
            fk_log(FK_LOG_INFO, "reloading", fk_str("what", files[i].what),
                   fk_str("site", b->title), fk_str("file", files[i].path));
    }
}

static int take_secrets(struct renewal *renewal, struct fk_loaded *loaded)
{
    const struct fk_loaded *old = renewal->old;
    struct fk_keyread *keys = renewal->loading.keys;
    const struct fk_secret *token = old->admin_token;
    int err;

    if (token != NULL && (err = fk_secret_dup(fk_secret_bytes(token), fk_secret_len(token),
                                              &loaded->admin_token)) != FK_OK)
        return err;
    if (keys != NULL) {
        loaded->keys_fd = keys->fd;
        keys->fd = -1; /* moved */
        memcpy(loaded->keys, keys->fingerprint, sizeof loaded->keys);
        return FK_OK;
    }
    memcpy(loaded->keys, old->keys, sizeof loaded->keys);
    if (old->keys_fd < 0)
        return FK_OK;
    loaded->keys_fd = fcntl(old->keys_fd, F_DUPFD_CLOEXEC, 0);
    return loaded->keys_fd >= 0 ? FK_OK : FK_ERR_SYS;
}

/* What the last try has found good. */
static int make_loaded(struct renewal *renewal, struct fk_loaded **ret)
{
    struct fk_loaded *loaded = calloc(1, sizeof *loaded);
    int err;

    if (loaded == NULL)
        return FK_ERR_NOMEM;
    loaded->bundle_fd = loaded->keys_fd = -1;
    loaded->role = renewal->loading.role;
    if ((err = take_secrets(renewal, loaded)) != FK_OK ||
        (err = fk_bundle_seal(renewal->loading.bundle, &loaded->bundle_fd)) != FK_OK) {
        fk_loaded_free(loaded);
        return err;
    }
    loaded->conf = renewal->loading.conf;
    loaded->root = renewal->loading.root;
    renewal->loading.conf = NULL; /* moved */
    *ret = loaded;
    return FK_OK;
}

static int renew(struct renewal *renewal, const char *path, struct fk_why *why,
                 struct fk_loaded **ret)
{
    struct fk_loaded *loaded = NULL;
    int err;

    if ((err = fk_bundle_open(renewal->old->bundle_fd, &renewal->before)) != FK_OK ||
        (err = fk_bundle_new(&renewal->now)) != FK_OK) {
        fk_loading_log_errors(NULL, path, err, why);
        return err;
    }
    if ((err = try_all(renewal, path, why)) != FK_OK)
        return err;
    if (renewal->channel_changed || renewal->n_changed > 0) {
        if ((err = make_loaded(renewal, &loaded)) != FK_OK) {
            fk_loading_log_errors(NULL, path, err, why);
            return err;
        }
        tell(renewal);
    }
    *ret = loaded;
    return FK_OK;
}

int fk_loaded_renew(const struct fk_loaded *old, const char *path, struct fk_why *why,
                    struct fk_loaded **ret)
{
    struct renewal renewal = {.old = old};
    int err = renew(&renewal, path, why, ret);

    end_try(&renewal);
    fk_map_fini(&renewal.refused);
    fk_bundle_free(renewal.before);
    fk_bundle_free(renewal.now);
    return err;
}
