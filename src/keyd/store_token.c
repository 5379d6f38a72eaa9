/*
 * Keys in tokens, as the store reads them: NAME.token says where a key is, NAME.crt or NAME.pub
 * what its public half is. Each token becomes a bundle of its own for its process, with its PIN;
 * one whose bundle is what it was keeps its number, and its process.
 */
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "keyd/store_priv.h"
#include "loop/sock.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct token {
    const struct fk_keyd_token_conf *conf;
    struct fk_keyset_builder *builder;
};

struct fk_store_tokens {
    struct token items[FK_TOKENS_MAX];
    size_t count;
};

/* --- token blocks --- */

static void copy(char *ret, size_t size, const char *text)
{
    (void)snprintf(ret, size, "%s", text != NULL ? text : ""); /* the tables bound it */
}

static int read_pin(const char *path, struct fk_token_settings *settings,
                    struct fk_store_report *report)
{
    struct fk_secret *pin;
    size_t len;
    int err;

    if (path == NULL)
        return FK_OK;
    if ((err = fk_store_read_passphrase(path, &pin)) != FK_OK) {
        if (err == FK_ERR_NOMEM)
            return err;
        fk_store_say(report, path, err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
        return FK_OK;
    }
    len = strlen((const char *)fk_secret_bytes(pin));
    if (len == 0 || len > sizeof settings->pin) {
        fk_store_say(report, path, "no PIN of 1 to 128 characters on its first line");
    } else {
        memcpy(settings->pin, fk_secret_bytes(pin), len);
        settings->pin_len = len;
    }
    fk_secret_free(pin);
    return FK_OK;
}

static int add_token(struct fk_store_tokens *tokens, const struct fk_keyd_token_conf *conf,
                     uint64_t deadline_us, struct fk_store_report *report)
{
    struct token *token = &tokens->items[tokens->count++];
    struct fk_token_settings settings = {
        .type = (enum fk_token_type)conf->type,
        /* A TPM does one thing at a time. */
        .sessions = conf->type == FK_TOKEN_TPM2 ? 1 : (uint16_t)conf->sessions,
        .queue = (uint16_t)conf->queue,
        .deadline_us = deadline_us,
        .has_slot = fk_conf_is_set(&conf->block, "slot"),
        .slot = conf->slot,
        .n_paths = conf->paths.count};
    int err;

    token->conf = conf;
    copy(settings.name, sizeof settings.name, conf->block.title);
    copy(settings.module, sizeof settings.module, conf->module);
    copy(settings.label, sizeof settings.label, conf->label);
    copy(settings.serial, sizeof settings.serial, conf->serial);
    copy(settings.tcti, sizeof settings.tcti, conf->tcti);
    for (size_t i = 0; i < settings.n_paths && i < FK_TOKEN_PATHS_MAX; i++)
        copy(settings.paths[i], sizeof settings.paths[i], conf->paths.items[i]);
    if ((err = read_pin(conf->pin_file, &settings, report)) == FK_OK &&
        (err = fk_keyset_builder_new(&token->builder)) == FK_OK)
        err = fk_keyset_builder_token(token->builder, &settings);
    fk_wipe(&settings, sizeof settings);
    return err;
}

int fk_store_tokens_new(const struct fk_keyd_conf *conf, struct fk_store_report *report,
                        struct fk_store_tokens **ret)
{
    struct fk_store_tokens *tokens = calloc(1, sizeof *tokens);
    const struct fk_conf_block *block = conf->tokens;
    int err = tokens == NULL ? FK_ERR_NOMEM : FK_OK;

    for (; err == FK_OK && block != NULL && tokens->count < FK_TOKENS_MAX; block = block->next)
        err = add_token(tokens, (const void *)block, fk_keyd_conf_limits(conf)->deadline, report);
    if (err != FK_OK) {
        fk_store_tokens_free(tokens);
        return err;
    }
    *ret = tokens;
    return FK_OK;
}

void fk_store_tokens_free(struct fk_store_tokens *tokens)
{
    if (tokens == NULL)
        return;
    for (size_t i = 0; i < tokens->count; i++)
        fk_keyset_builder_free(tokens->items[i].builder);
    free(tokens);
}

size_t fk_store_tokens_count(const struct fk_store_tokens *tokens)
{
    return tokens->count;
}

struct fk_keyset_builder *fk_store_tokens_builder(const struct fk_store_tokens *tokens,
                                                  size_t number)
{
    return tokens->items[number - 1].builder;
}

/* --- NAME.token --- */

/* "DIR/NAME.token" -> "DIR/NAME.SUFFIX", opened; NULL: errno says why. */
static FILE *open_beside(const char *path, const char *suffix, char ret[PATH_MAX])
{
    const char *dot = strrchr(path, '.');
    int len = snprintf(ret, PATH_MAX, "%.*s.%s", (int)(dot - path), path, suffix);

    if (len < 0 || len >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return fopen(ret, "re");
}

/* NULL: what is wrong was said. */
static EVP_PKEY *read_public(const char *path, struct fk_store_report *report)
{
    char other[PATH_MAX];
    EVP_PKEY *key = NULL;
    X509 *leaf = NULL;
    FILE *file;

    if ((file = open_beside(path, "pub", other)) != NULL) {
        key = PEM_read_PUBKEY(file, NULL, NULL, NULL);
    } else if ((file = open_beside(path, "crt", other)) != NULL) {
        leaf = PEM_read_X509(file, NULL, NULL, NULL);
        key = leaf != NULL ? X509_get_pubkey(leaf) : NULL;
    }
    if (file == NULL)
        fk_store_say(report, path,
                     "no certificate and no .pub file beside it: the public half of a key in a "
                     "token has to be there");
    else if (key == NULL)
        fk_store_say(report, other, "no certificate or public key in PEM");
    else if (fk_key_check(key) != FK_OK)
        fk_store_say(report, other, "not a key of a kind that is served");
    else
        goto out;
    EVP_PKEY_free(key);
    key = NULL;
out:
    ERR_clear_error();
    X509_free(leaf);
    if (file != NULL)
        (void)fclose(file);
    return key;
}

/* A TPM's key file. No secret: only its TPM can open it. */
static int read_file(const char *path, struct fk_token_place *place, struct fk_bundle *bundle,
                     struct fk_store_report *report)
{
    const uint8_t *data;
    size_t len;
    int err = fk_bundle_read(bundle, path, &data, &len);

    if (err == FK_ERR_NOMEM)
        return err;
    if (err != FK_OK)
        fk_store_say(report, path, err == FK_ERR_SYS ? strerror(errno) : fk_err_text(err));
    else if (len == 0 || len > sizeof place->file)
        fk_store_say(report, path, "not a key file of a TPM: empty, or more than 2 KiB");
    else
        memcpy(place->file, data, place->file_len = len);
    return FK_OK;
}

static unsigned find_token(const struct fk_store_tokens *tokens, const char *name)
{
    for (size_t i = 0; i < tokens->count; i++)
        if (strcmp(tokens->items[i].conf->block.title, name) == 0)
            return (unsigned)i + 1;
    return 0;
}

/* Whether the key is named as its kind of token wants it. */
static bool fits_type(const struct fk_key_token_conf *conf, int type)
{
    bool tpm = conf->file != NULL || conf->handle != NULL;
    bool pkcs11 = conf->label != NULL || conf->id != NULL;

    return type == FK_TOKEN_TPM2 ? tpm && !pkcs11 : pkcs11 && !tpm;
}

static int fill_place(const struct fk_key_token_conf *conf, struct fk_bundle *bundle,
                      struct fk_store_report *report, struct fk_token_place *ret)
{
    copy(ret->label, sizeof ret->label, conf->label);
    if (conf->id != NULL) {
        ret->id_len = strlen(conf->id) / 2;
        (void)fk_text_unhex(conf->id, strlen(conf->id), ret->id, ret->id_len); /* was checked */
    }
    if (conf->handle != NULL)
        ret->handle = (uint32_t)strtoul(conf->handle, NULL, 16);
    return conf->file != NULL ? read_file(conf->file, ret, bundle, report) : FK_OK;
}

static int use_conf(const struct fk_store_tokens *tokens, const char *path,
                    const struct fk_key_token_conf *conf, struct fk_bundle *bundle,
                    struct fk_store_report *report, struct fk_store_place *ret)
{
    ret->number = find_token(tokens, conf->token);
    if (ret->number == 0)
        fk_store_say(report, path, "the configuration has no token block of this name");
    else if (!fits_type(conf, tokens->items[ret->number - 1].conf->type))
        fk_store_say(report, path,
                     "a key in a PKCS#11 token is named by label or id, one in a TPM by file or "
                     "handle");
    else
        return fill_place(conf, bundle, report, &ret->place);
    return FK_OK;
}

int fk_store_tokens_read(const struct fk_store_tokens *tokens, const char *path,
                         struct fk_store_report *report, struct fk_store_place *ret)
{
    size_t complaints = report->count;
    struct fk_bundle *bundle;
    struct fk_conf *conf = NULL;
    int err;

    if ((err = fk_bundle_new(&bundle)) != FK_OK)
        return err;
    err = fk_conf_load(&fk_key_token_conf_kind, path, bundle, &conf);
    if (err == FK_OK)
        err = use_conf(tokens, path, fk_conf_root(conf), bundle, report, ret);
    else if (err == FK_ERR_CONF)
        for (size_t i = 0; i < fk_conf_error_count(conf); i++)
            fk_store_say(report, path, fk_conf_error(conf, i));
    fk_conf_free(conf);
    fk_bundle_free(bundle);
    if (err == FK_ERR_NOMEM)
        return err;
    if (err != FK_OK && report->count == complaints)
        fk_store_say(report, path, fk_err_text(err));
    ret->pkey = read_public(path, report);
    return report->count > complaints ? FK_ERR_CONF : FK_OK;
}

bool fk_store_tokens_can(const struct fk_store_tokens *tokens, const struct fk_store_place *place,
                         uint16_t permissions)
{
    /* Handshakers ask signers; secrets of ticket keys have no place beside a token's driver. */
    unsigned never = FK_PERM_HANDSHAKE | FK_PERM_LEND | FK_PERM_TICKETS;

    if (place->number != 0 && tokens->items[place->number - 1].conf->type == FK_TOKEN_TPM2)
        never |= FK_PERM_DECRYPT | FK_PERM_D1_DECRYPT;
    return (permissions & never) == 0;
}

int fk_store_tokens_add(const struct fk_store_tokens *tokens, const struct fk_key_public *public,
                        const struct fk_store_place *place)
{
    return fk_keyset_builder_add_token(fk_store_tokens_builder(tokens, place->number), public,
                                       place->pkey, &place->place);
}

/* --- bundles --- */

/* Whether two sealed files hold the same. */
static bool same_bytes(int a, int b)
{
    void *map_a = MAP_FAILED, *map_b = MAP_FAILED;
    struct stat st_a, st_b;
    bool same = false;
    size_t size;

    if (fstat(a, &st_a) != 0 || fstat(b, &st_b) != 0 || st_a.st_size != st_b.st_size)
        return false;
    size = (size_t)st_a.st_size;
    map_a = mmap(NULL, size, PROT_READ, MAP_PRIVATE, a, 0);
    map_b = mmap(NULL, size, PROT_READ, MAP_PRIVATE, b, 0);
    if (map_a != MAP_FAILED && map_b != MAP_FAILED)
        same = fk_equal_ct(map_a, map_b, size);
    if (map_a != MAP_FAILED)
        (void)munmap(map_a, size);
    if (map_b != MAP_FAILED)
        (void)munmap(map_b, size);
    return same;
}

/* The number of the same token in the set in service, if nothing about it has changed. */
static uint16_t same_token(const struct fk_store *previous, const struct fk_store_token *token)
{
    const struct fk_store_token *old;

    for (size_t i = 0; previous != NULL && (old = fk_store_token_at(previous, i)) != NULL; i++)
        if (strcmp(old->name, token->name) == 0)
            return !old->renew && same_bytes(old->fd, token->fd) ? old->number : 0;
    return 0;
}

int fk_store_tokens_seal(const struct fk_store_tokens *tokens, const struct fk_store *previous,
                         struct fk_store *store)
{
    uint16_t last = previous != NULL ? fk_store_last_token(previous) : 0;
    struct fk_store_token token;
    int err;

    for (size_t i = 0; i < tokens->count; i++) {
        token = (struct fk_store_token){.fd = -1};
        copy(token.name, sizeof token.name, tokens->items[i].conf->block.title);
        copy(token.user, sizeof token.user, tokens->items[i].conf->user);
        token.type = tokens->items[i].conf->type;
        if ((err = fk_keyset_builder_seal(tokens->items[i].builder, &token.fd)) != FK_OK)
            return err;
        if ((token.number = same_token(previous, &token)) == 0) {
            last = last == UINT16_MAX ? 1 : (uint16_t)(last + 1);
            token.number = last;
        }
        fk_store_add_token(store, &token);
    }
    fk_store_set_last_token(store, last);
    return FK_OK;
}
