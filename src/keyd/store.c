/*
 * Reads the key directories into a builder for the signers and an index for the fronts. Certificate
 * and policy of a key are in store_cert.c.
 */
#include "keyd/store.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/secret.h"
#include "conf/exposed.h"
#include "keyd/store_priv.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fk_store {
    struct fk_store_key **keys; /* each stays where it is: the tables of a load borrow from them */
    size_t n_keys, cap;
    int keys_fd;
    uint8_t *index;
    size_t index_len;
    struct fk_store_token tokens[FK_TOKENS_MAX];
    size_t n_tokens;
    uint16_t last_token;   /* number given last */
    struct fk_index *view; /* the index loaded again: the keys borrow from it. NULL: they own */
};

/* What one load works with. */
struct load {
    struct fk_store *store;
    struct fk_keyset_builder *builder;
    struct fk_store_tokens *tokens;
    struct fk_map names, skis; /* of the store's keys; names without those retired */
    bool no_passphrase; /* that of the present directory is not known, which was complained of */
    struct fk_store_report report;
};

void fk_store_say(struct fk_store_report *report, const char *path, const char *what)
{
    report->count++;
    report->complain(report->arg, path, what);
}

int fk_store_read_secret(const char *path, struct fk_secret **ret, size_t *ret_len)
{
    struct fk_secret *secret = NULL;
    struct stat st;
    ssize_t n = 0;
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = FK_ERR_SYS;

    if (fd < 0 || fstat(fd, &st) < 0)
        goto out;
    err = FK_ERR_LIMIT;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > FK_KEYD_FILE_MAX)
        goto out;
    err = FK_ERR_EXPOSED;
    if (fk_secret_is_exposed(&st))
        goto out;
    if ((err = fk_secret_new((size_t)st.st_size + 1, &secret)) != FK_OK)
        goto out;
    err = FK_ERR_SYS;
    while (len < (size_t)st.st_size &&
           (n = read(fd, fk_secret_data(secret) + len, (size_t)st.st_size - len)) > 0)
        len += (size_t)n;
    if (n < 0 || len == 0)
        goto out;
    *ret = secret;
    *ret_len = len;
    secret = NULL; /* moved */
    err = FK_OK;
out:
    fk_secret_free(secret);
    fk_close(&fd);
    return err;
}

int fk_store_read_passphrase(const char *path, struct fk_secret **ret)
{
    struct fk_secret *secret;
    size_t len;
    int err;

    if ((err = fk_store_read_secret(path, &secret, &len)) != FK_OK)
        return err;
    fk_secret_data(secret)[strcspn((const char *)fk_secret_bytes(secret), "\r\n")] = '\0';
    *ret = secret;
    return FK_OK;
}

static int read_key(const char *path, const struct fk_secret *passphrase, EVP_PKEY **ret)
{
    struct fk_secret *file;
    size_t len;
    int err;

    if ((err = fk_store_read_secret(path, &file, &len)) != FK_OK)
        return err;
    err = fk_key_parse(fk_secret_bytes(file), len,
                       passphrase != NULL ? (const char *)fk_secret_bytes(passphrase) : NULL, ret);
    fk_secret_free(file);
    return err;
}

static const char *key_trouble(int err)
{
    switch (err) {
    case FK_ERR_SYS:
        return strerror(errno);
    case FK_ERR_LIMIT:
        return "not a regular file of 1 byte to 64 KiB";
    case FK_ERR_PASSPHRASE:
        return "encrypted, and the passphrase is wrong or missing; name it with passphrase_file "
               "in the keys block";
    case FK_ERR_UNSUPPORTED:
        return "not a key of a kind that is served; use RSA of 2048 to 4096 bits, P-256, P-384, "
               "P-521 or Ed25519";
    case FK_ERR_FORMAT:
        return "not a private key in PEM or DER";
    default:
        return fk_err_text(err);
    }
}

/* One more key; NULL when there is no room. */
static struct fk_store_key *append(struct fk_store *store)
{
    struct fk_store_key **keys, *key;
    size_t cap;

    if (store->n_keys == store->cap) {
        cap = store->cap == 0 ? 16 : 2 * store->cap;
        if (cap > FK_KEYD_KEYS_MAX ||
            (keys = realloc(store->keys, cap * sizeof(struct fk_store_key *))) == NULL)
            return NULL;
        store->keys = keys;
        store->cap = cap;
    }
    if ((key = calloc(1, sizeof *key)) == NULL)
        return NULL;
    store->keys[store->n_keys++] = key;
    return key;
}

static struct fk_store_key *find_name(const struct load *load, const char *name)
{
    return fk_map_find(&load->names, name, strlen(name));
}

static struct fk_store_key *find_ski(const struct load *load, const uint8_t ski[20])
{
    return fk_map_find(&load->skis, ski, 20);
}

static int note_name(struct load *load, struct fk_store_key *key)
{
    const char *name = key->index.public.name;

    return fk_map_add(&load->names, name, strlen(name), key, NULL);
}

static int note_ski(struct load *load, struct fk_store_key *key)
{
    const struct fk_key_public *public = &key->index.public;

    return fk_map_add(&load->skis, public->ski, sizeof public->ski, key, NULL);
}

/* A second file with the same key or the same name would make the answer depend on order. */
static bool is_taken(struct load *load, const char *path, const struct fk_store_key *key)
{
    const struct fk_store_key *other = find_ski(load, key->index.public.ski);
    char what[256];

    if (other != NULL)
        (void)snprintf(what, sizeof what, "the same key as that of %s; remove one",
                       other->index.public.name);
    else if (find_name(load, key->index.public.name) != NULL)
        (void)snprintf(what, sizeof what,
                       "another directory has a key of the same name; rename one");
    else
        return false;
    fk_store_say(&load->report, path, what);
    return true;
}

/* The key's name: its file's name without directory and ending. */
static bool set_name(struct load *load, const char *path, struct fk_store_key *key)
{
    const char *base = strrchr(path, '/');
    size_t len;

    base = base != NULL ? base + 1 : path;
    len = (size_t)(strrchr(base, '.') - base);
    if (len == 0 || len >= sizeof key->index.public.name) {
        fk_store_say(&load->report, path,
                     "name too long; use at most 63 characters before the dot");
        return false;
    }
    memcpy(key->index.public.name, base, len);
    key->index.public.name[len] = '\0';
    return true;
}

/* What is for the signers. */
static int build_key(struct load *load, const struct fk_store_key *key, EVP_PKEY *pkey,
                     const struct fk_secret *share)
{
    return share != NULL ? fk_keyset_builder_add_share(load->builder, &key->index.public, share)
                         : fk_keyset_builder_add(load->builder, &key->index.public, pkey);
}

static void say_trouble(struct load *load, const char *path, int err)
{
    const char *what = fk_store_is_share(path) ? fk_store_share_trouble(err) : NULL;

    fk_store_say(&load->report, path, what != NULL ? what : key_trouble(err));
}

static int load_key(struct load *load, const char *path, const struct fk_secret *passphrase)
{
    struct fk_key_public public = {.bits = 0};
    struct fk_store_key *key = append(load->store);
    struct fk_secret *share = NULL;
    EVP_PKEY *pkey = NULL;
    size_t complaints = load->report.count;
    int err;

    if (key == NULL)
        return FK_ERR_NOMEM;
    if (!set_name(load, path, key))
        return FK_OK;
    err = fk_store_is_share(path) ? fk_store_read_share(path, &key->index, &share, &pkey)
                                  : read_key(path, passphrase, &pkey);
    if (err != FK_OK || (err = fk_key_describe(pkey, &public)) != FK_OK) {
        if (err == FK_ERR_NOMEM)
            goto out;
        if (err == FK_ERR_PASSPHRASE && load->no_passphrase)
            load->report.count++;
        else
            say_trouble(load, path, err);
        /* What lies beside it can be wrong, too. */
        if ((err = fk_store_read_beside(path, NULL, key, &load->report)) == FK_OK)
            err = note_name(load, key);
        goto out;
    }
    memcpy(public.name, key->index.public.name, sizeof public.name);
    key->index.public = public;
    if ((err = fk_store_read_beside(path, pkey, key, &load->report)) != FK_OK)
        goto out;
    if (share != NULL && (key->index.public.permissions & FK_PERM_LEND) != 0)
        fk_store_say(&load->report, path,
                     "the key is split, so it is lent to nobody; remove lend from its policy");
    if (load->report.count == complaints && fk_store_share_fits(path, &key->index, &load->report) &&
        !is_taken(load, path, key))
        err = build_key(load, key, pkey, share);
    if (err == FK_OK && (err = note_name(load, key)) == FK_OK)
        err = note_ski(load, key);
out:
    fk_secret_free(share);
    EVP_PKEY_free(pkey);
    return err;
}

/* A key in a token: as load_key(), but its private half is not here. */
static int load_token_key(struct load *load, const char *path, const struct fk_secret *none)
{
    struct fk_store_place place = {.number = 0};
    struct fk_store_key *key = append(load->store);
    struct fk_key_public public;
    int err;

    (void)none;
    if (key == NULL)
        return FK_ERR_NOMEM;
    if (!set_name(load, path, key))
        return FK_OK;
    err = fk_store_tokens_read(load->tokens, path, &load->report, &place);
    if (err == FK_OK && (err = fk_key_describe(place.pkey, &public)) == FK_OK) {
        memcpy(public.name, key->index.public.name, sizeof public.name);
        key->index.public = public;
        key->index.token = (uint16_t)place.number;
    }
    if (err == FK_ERR_NOMEM ||
        (err = fk_store_read_beside(path, place.pkey, key, &load->report)) != FK_OK)
        goto out;
    if (!fk_store_tokens_can(load->tokens, &place, key->index.public.permissions))
        fk_store_say(&load->report, path,
                     "its policy allows what keys in such a token cannot do: handshake, lend "
                     "and tickets in any, decrypt in a TPM; write allow = {sign}");
    if (load->report.count == 0 && !is_taken(load, path, key))
        err = fk_store_tokens_add(load->tokens, &key->index.public, &place);
    if (err == FK_OK && (err = note_name(load, key)) == FK_OK && key->index.token != 0)
        err = note_ski(load, key);
out:
    EVP_PKEY_free(place.pkey);
    return err;
}

/* A directory that can be read from and that only its owner can write to; told when it is not. */
static bool is_good_directory(struct load *load, const char *directory)
{
    int err;

    if (access(directory, R_OK | X_OK) != 0) {
        fk_store_say(&load->report, directory, strerror(errno));
        return false;
    }
    if ((err = fk_secret_check_directory(directory)) == FK_OK)
        return true;
    fk_store_say(&load->report, directory, err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
    return false;
}

/* *ret is NULL where there is none, and where it is not known (load->no_passphrase). */
static int find_passphrase(struct load *load, const struct fk_keyd_keys_conf *conf,
                           struct fk_secret **ret)
{
    int err;

    *ret = NULL;
    load->no_passphrase = fk_conf_is_bad(&conf->block, "passphrase_file");
    if (load->no_passphrase || conf->passphrase_file == NULL)
        return FK_OK;
    if ((err = fk_store_read_passphrase(conf->passphrase_file, ret)) == FK_OK ||
        err == FK_ERR_NOMEM)
        return err;
    fk_store_say(&load->report, conf->passphrase_file,
                 err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
    load->no_passphrase = true;
    return FK_OK;
}

typedef int load_fn(struct load *load, const char *path, const struct fk_secret *passphrase);

/* Load each file of a directory with this suffix. */
static int load_files(struct load *load, const char *directory, const char *suffix, load_fn *one,
                      const struct fk_secret *passphrase)
{
    glob_t found = {.gl_pathc = 0};
    char pattern[PATH_MAX];
    int err = FK_OK, got;

    if ((size_t)snprintf(pattern, sizeof pattern, "%s/*%s", directory, suffix) >= sizeof pattern) {
        fk_store_say(&load->report, directory, "path too long");
        return FK_OK;
    }
    got = glob(pattern, GLOB_ERR, NULL, &found);
    if (got != 0 && got != GLOB_NOMATCH)
        err = got == GLOB_NOSPACE ? FK_ERR_NOMEM : FK_ERR_SYS;
    for (size_t i = 0; err == FK_OK && got == 0 && i < found.gl_pathc; i++)
        if (!fk_store_is_share(found.gl_pathv[i]) || fk_store_share_counts(found.gl_pathv[i]))
            err = one(load, found.gl_pathv[i], passphrase);
    globfree(&found);
    return err;
}

static int load_directory(struct load *load, const struct fk_keyd_keys_conf *conf)
{
    const char *directory = conf->block.title;
    struct fk_secret *passphrase;
    int err;

    if (fk_conf_is_bad(&conf->block, NULL)) {
        load->report.count++; /* said already */
        return FK_OK;
    }
    if ((err = find_passphrase(load, conf, &passphrase)) != FK_OK)
        return err;
    if (is_good_directory(load, directory) &&
        (err = load_files(load, directory, ".key", load_key, passphrase)) == FK_OK &&
        (err = load_files(load, directory, ".share", load_key, passphrase)) == FK_OK)
        err = load_files(load, directory, ".token", load_token_key, NULL);
    fk_secret_free(passphrase);
    return err;
}

static int build_retired(struct load *load, const struct fk_store_key *key,
                         const struct fk_keyset_entry *entry)
{
    struct fk_secret *share = NULL;
    int err = FK_OK;

    if (entry->is_split)
        err = fk_secret_dup(entry->share_bytes, entry->share_len, &share);
    if (err == FK_OK)
        err = build_key(load, key, entry->pkey, share);
    fk_secret_free(share);
    return err;
}

/*
 * Carry one replaced key over. Its rights are those of its successor's policy, too: a policy that
 * was tightened together with the key holds for both.
 */
static int retire_key(struct load *load, const struct fk_store_key *old, uint64_t until_us,
                      const struct fk_keyset_entry *entry)
{
    uint16_t permissions = find_name(load, old->index.public.name)->index.public.permissions;
    struct fk_store_key *key = append(load->store);
    int err;

    if (key == NULL)
        return FK_ERR_NOMEM;
    key->retired_until_us = until_us;
    key->not_after = old->not_after;
    key->index.retired = true;
    key->index.public = old->index.public;
    key->index.public.permissions &= permissions;
    key->index.split = old->index.split;
    key->index.held = old->index.held;
    memcpy(key->index.cert_hash, old->index.cert_hash, sizeof key->index.cert_hash);
    if ((err = note_ski(load, key)) != FK_OK)
        return err;
    return build_retired(load, key, entry);
}

static int retire_replaced(struct load *load, const struct fk_store *previous, uint64_t retire_us)
{
    uint64_t now = fk_clock_us(), until;
    const struct fk_keyset_entry *entry;
    struct fk_keyset *keyset = NULL;
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && i < previous->n_keys; i++) {
        const struct fk_store_key *old = previous->keys[i];

        until = old->index.retired ? old->retired_until_us : now + retire_us;
        if (until <= now || find_name(load, old->index.public.name) == NULL ||
            find_ski(load, old->index.public.ski) != NULL)
            continue;
        if (keyset == NULL && (err = fk_keyset_open(previous->keys_fd, &keyset)) != FK_OK)
            break;
        if ((entry = fk_keyset_find(keyset, old->index.public.ski)) != NULL)
            err = retire_key(load, old, until, entry);
    }
    fk_keyset_free(keyset);
    return err;
}

/* A retired key belongs to who may use its successor: it carries the successor's names for the
 * policy, behind all keys in service, so that a look-up by name never meets it first. */
static int name_retired(const struct load *load)
{
    for (size_t i = 0; i < load->store->n_keys; i++) {
        struct fk_store_key *key = load->store->keys[i];
        const struct fk_store_key *successor;

        if (!key->index.retired || (successor = find_name(load, key->index.public.name)) == NULL)
            continue;
        if (fk_store_copy_names(&key->index, &successor->index) != FK_OK)
            return FK_ERR_NOMEM;
    }
    return FK_OK;
}

static int encode_index(struct fk_store *store)
{
    struct fk_index_key *keys = calloc(store->n_keys + 1, sizeof *keys);
    int err;

    if (keys == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < store->n_keys; i++)
        keys[i] = store->keys[i]->index; /* borrowed */
    err = fk_index_encode(keys, store->n_keys, &store->index, &store->index_len);
    free(keys);
    return err;
}

/* From numbers of blocks to numbers of processes, which depend on whether the edges that sign have
 * changed, too. */
static int finish_tokens(struct load *load, const struct fk_keyd_conf *conf,
                         const struct fk_store *previous)
{
    struct fk_store *store = load->store;
    int err;

    for (size_t i = 1; i <= fk_store_tokens_count(load->tokens); i++)
        if ((err = fk_store_add_edges(conf, store, fk_store_tokens_builder(load->tokens, i),
                                      &load->report)) != FK_OK)
            return err;
    if ((err = fk_store_tokens_seal(load->tokens, previous, store)) != FK_OK)
        return err;
    for (size_t i = 0; i < store->n_keys; i++)
        if (store->keys[i]->index.token != 0)
            store->keys[i]->index.token = store->tokens[store->keys[i]->index.token - 1].number;
    free(store->index);
    store->index = NULL;
    return encode_index(store);
}

static int finish(struct load *load, const struct fk_keyd_conf *conf, const uint8_t *audit_secret,
                  const struct fk_store *previous)
{
    uint64_t retire_us = fk_keyd_conf_limits(conf)->retire;
    int err;

    if (previous != NULL && (err = retire_replaced(load, previous, retire_us)) != FK_OK)
        return err;
    if ((err = name_retired(load)) != FK_OK)
        return err;
    if (audit_secret != NULL &&
        (err = fk_keyset_builder_audit(load->builder, audit_secret)) != FK_OK)
        return err;
    if ((err = encode_index(load->store)) != FK_OK ||
        (err = fk_store_add_edges(conf, load->store, load->builder, &load->report)) != FK_OK ||
        (err = finish_tokens(load, conf, previous)) != FK_OK)
        return err;
    return fk_keyset_builder_seal(load->builder, &load->store->keys_fd);
}

int fk_store_read(const struct fk_keyd_conf *conf, const uint8_t *audit_secret,
                  const struct fk_store *previous, fk_store_complain *complain, void *arg,
                  struct fk_store **ret)
{
    struct load load = {.report = {.complain = complain, .arg = arg}};
    int err;

    if ((load.store = calloc(1, sizeof *load.store)) == NULL)
        return FK_ERR_NOMEM;
    load.store->keys_fd = -1;
    if ((err = fk_keyset_builder_new(&load.builder)) != FK_OK ||
        (err = fk_store_tokens_new(conf, &load.report, &load.tokens)) != FK_OK)
        goto out;
    for (const struct fk_conf_block *block = conf->keys; block != NULL; block = block->next)
        if ((err = load_directory(&load, (const void *)block)) != FK_OK)
            goto out;
    if (load.report.count > 0) {
        err = FK_ERR_CONF;
        goto out;
    }
    if ((err = finish(&load, conf, audit_secret, previous)) != FK_OK)
        goto out;
    *ret = load.store;
    load.store = NULL; /* moved */
out:
    fk_map_fini(&load.names);
    fk_map_fini(&load.skis);
    fk_keyset_builder_free(load.builder);
    fk_store_tokens_free(load.tokens);
    fk_store_free(load.store);
    return err;
}

void fk_store_free(struct fk_store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < store->n_keys; i++) {
        if (store->view == NULL)
            fk_index_key_fini(&store->keys[i]->index);
        free(store->keys[i]);
    }
    fk_index_free(store->view);
    free(store->keys);
    free(store->index);
    fk_close(&store->keys_fd);
    for (size_t i = 0; i < store->n_tokens; i++)
        fk_close(&store->tokens[i].fd);
    free(store);
}

const struct fk_store_token *fk_store_token_at(const struct fk_store *store, size_t i)
{
    return i < store->n_tokens ? &store->tokens[i] : NULL;
}

uint16_t fk_store_last_token(const struct fk_store *store)
{
    return store->last_token;
}

void fk_store_set_last_token(struct fk_store *store, uint16_t last)
{
    store->last_token = last;
}

void fk_store_add_token(struct fk_store *store, const struct fk_store_token *token)
{
    store->tokens[store->n_tokens++] = *token;
}

void fk_store_renew_token(struct fk_store *store, uint16_t number)
{
    for (size_t i = 0; i < store->n_tokens; i++)
        if (store->tokens[i].number == number)
            store->tokens[i].renew = true;
}

int fk_store_from_index(const uint8_t *index, size_t len, struct fk_store **ret)
{
    struct fk_store *store = calloc(1, sizeof *store);
    int err = FK_ERR_NOMEM;

    if (store == NULL)
        return err;
    store->keys_fd = -1;
    if ((store->index = malloc(len)) == NULL)
        goto out;
    memcpy(store->index, index, len);
    store->index_len = len;
    if ((err = fk_index_load(index, len, &store->view)) != FK_OK)
        goto out;
    for (size_t i = 0; i < fk_index_count(store->view); i++) {
        struct fk_store_key *key = append(store);

        err = FK_ERR_NOMEM;
        if (key == NULL)
            goto out;
        key->index = *fk_index_at(store->view, i);
    }
    *ret = store;
    store = NULL; /* moved */
    err = FK_OK;
out:
    fk_store_free(store);
    return err;
}

void fk_store_take_keys(struct fk_store *store, int keys_fd)
{
    store->keys_fd = keys_fd;
}

struct fk_store_key *fk_store_key(const struct fk_store *store, size_t i)
{
    return store->keys[i];
}

int fk_store_keys_fd(const struct fk_store *store)
{
    return store->keys_fd;
}

const uint8_t *fk_store_index(const struct fk_store *store, size_t *ret_len)
{
    *ret_len = store->index_len;
    return store->index;
}

const struct fk_index_key *fk_store_at(const struct fk_store *store, size_t i,
                                       int64_t *ret_not_after)
{
    if (i >= store->n_keys)
        return NULL;
    *ret_not_after = store->keys[i]->not_after;
    return &store->keys[i]->index;
}

size_t fk_store_count(const struct fk_store *store)
{
    return store->n_keys;
}

uint64_t fk_store_next_retirement(const struct fk_store *store)
{
    uint64_t first = 0;

    for (size_t i = 0; i < store->n_keys; i++) {
        const struct fk_store_key *key = store->keys[i];

        if (key->index.retired && (first == 0 || key->retired_until_us < first))
            first = key->retired_until_us;
    }
    return first;
}
