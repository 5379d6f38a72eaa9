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
#include <stdio.h>
#include <stdlib.h>
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
