/*
 * What is where in a key directory, and what the key server's configuration beside it says: see
 * keydir.h. Bytes of private keys are wiped as soon as they are parsed.
 */
#include "cli/keydir.h"

#include "base/err.h"
#include "cli/commands.h"
#include "cli/conf_kind.h"
#include "keyd/conf.h"
#include "keyd/store.h"
#include "signer/keyset.h"

#include <libgen.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- the key server's configuration --- */

/* A file by its path relative to the directory that `dir` lies in. FK_ERR_SYS, FK_ERR_LIMIT. */
static int beside(const char *dir, const char *name, char ret[FK_PATH_SIZE])
{
    char *whole = realpath(dir, NULL);
    int err;

    if (whole == NULL)
        return FK_ERR_SYS;
    err = fk_path_join(dirname(whole), name, ret);
    free(whole);
    return err;
}

/* keyd.conf by the layout of farkey init; NULL when there is none, or one with mistakes. */
static struct fk_conf *conf_beside(const char *dir)
{
    const struct fk_role_kind *role;
    struct fk_conf *conf = NULL;
    char path[FK_PATH_SIZE];

    if (beside(dir, "keyd.conf", path) == FK_OK && fk_file_exists(path) &&
        fk_role_conf_load(path, FK_ROLE_KEYD, &role, &conf) != FK_OK) {
        fk_conf_free(conf);
        conf = NULL;
    }
    return conf;
}

static bool same_file(const char *a, const char *b)
{
    struct stat of_a, of_b;

    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

static const char *passphrase_file(struct fk_conf *conf, const char *dir)
{
    const struct fk_keyd_conf *root = (const void *)fk_conf_root(conf);

    for (const struct fk_conf_block *b = root->keys; b != NULL; b = b->next)
        if (same_file(b->title, dir))
            return ((const struct fk_keyd_keys_conf *)(const void *)b)->passphrase_file;
    return NULL;
}

int fk_keydir_passphrase(const char *dir, const char *file, struct fk_secret **ret)
{
    struct fk_conf *conf = file == NULL ? conf_beside(dir) : NULL;
    int err = FK_OK;

    *ret = NULL;
    if (conf != NULL)
        file = passphrase_file(conf, dir);
    if (file != NULL && (err = fk_store_read_passphrase(file, ret)) != FK_OK)
        fk_command_fail("cannot read the passphrase from", file, err);
    fk_conf_free(conf);
    return err;
}

int fk_keydir_control(const char *dir, char ret[FK_PATH_SIZE])
{
    struct fk_conf *conf = conf_beside(dir);
    int n, err = FK_OK;

    if (conf == NULL)
        return beside(dir, "run/keyd.sock", ret);
    n = snprintf(ret, FK_PATH_SIZE, "%s",
                 ((const struct fk_keyd_conf *)(const void *)fk_conf_root(conf))->control);
    if (n < 0 || n >= FK_PATH_SIZE)
        err = FK_ERR_LIMIT;
    fk_conf_free(conf);
    return err;
}

/* --- keys --- */

int fk_keydir_path(const char *dir, const char *name, const char *ending, char ret[FK_PATH_SIZE])
{
    int n = snprintf(ret, FK_PATH_SIZE, "%s/%s%s", dir, name, ending);

    return n > 0 && n < FK_PATH_SIZE ? FK_OK : FK_ERR_LIMIT;
}

int fk_keydir_read(const char *path, const struct fk_secret *passphrase, EVP_PKEY **ret)
{
    uint8_t *data = NULL;
    size_t len = 0;
    int err = fk_file_read(path, &data, &len);

    if (err != FK_OK)
        return err;
    err = fk_key_parse(data, len,
                       passphrase != NULL ? (const char *)fk_secret_bytes(passphrase) : NULL, ret);
    fk_wipe(data, len);
    free(data);
    return err;
}

/* --- keys in tokens --- */

int fk_keydir_token(const char *path, char ret[FK_NAME_MAX])
{
    struct fk_bundle *bundle;
    struct fk_conf *conf = NULL;
    int err = fk_bundle_new(&bundle);

    if (err != FK_OK)
        return err;
    if ((err = fk_conf_load(&fk_key_token_conf_kind, path, bundle, &conf)) == FK_OK) {
        const struct fk_key_token_conf *place = fk_conf_root(conf);

        if (snprintf(ret, FK_NAME_MAX, "%s", place->token) >= FK_NAME_MAX)
            err = FK_ERR_LIMIT;
    }
    fk_conf_free(conf);
    fk_bundle_free(bundle);
    return err;
}

/* "DIR/NAME.token" -> "DIR/NAME.ENDING", opened. */
static FILE *open_other(const char *path, const char *ending)
{
    char other[FK_PATH_SIZE];

    if ((size_t)snprintf(other, sizeof other, "%.*s%s", (int)(strrchr(path, '.') - path), path,
                         ending) >= sizeof other)
        return NULL;
    return fopen(other, "re");
}

int fk_keydir_read_public(const char *path, EVP_PKEY **ret)
{
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    FILE *file;

    if ((file = open_other(path, ".pub")) != NULL) {
        key = PEM_read_PUBKEY(file, NULL, NULL, NULL);
    } else if ((file = open_other(path, ".crt")) != NULL) {
        cert = PEM_read_X509(file, NULL, NULL, NULL);
        key = cert != NULL ? X509_get_pubkey(cert) : NULL;
    }
    if (file == NULL)
        return FK_ERR_SYS;
    (void)fclose(file);
    X509_free(cert);
    ERR_clear_error();
    if (key == NULL)
        return FK_ERR_FORMAT;
    *ret = key;
    return FK_OK;
}

int fk_keydir_pending(const char *dir, const char *name, const struct fk_secret *passphrase,
                      EVP_PKEY **ret)
{
    char path[FK_PATH_SIZE];
    int err;

    if ((err = fk_keydir_path(dir, name, ".key.new", path)) != FK_OK)
        return err;
    if (!fk_file_exists(path) && (err = fk_keydir_path(dir, name, ".key", path)) != FK_OK)
        return err;
    return fk_keydir_read(path, passphrase, ret);
}
