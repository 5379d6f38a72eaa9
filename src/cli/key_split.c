/*
 * `farkey key split`: shares of a key in files of their own, and whether files are shares that make
 * a key. The whole key is in this process's memory only; it is written nowhere.
 *
 * Share 1 becomes NAME.share in the key directory: the key server's. The others are for somewhere
 * else, and are written where --out says.
 */
#include "cli/key_split.h"

#include "base/err.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/keydir.h"
#include "cli/options.h"
#include "cli/pki.h"
#include "signer/keyset.h"
#include "signer/share.h"
#include "tls/rkey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODE_SECRET 0600

struct split_values {
    const char *dir, *out, *shares, *passphrase_file;
    bool additive, remove;
};

/* --- shares that are read --- */

struct loaded {
    struct fk_secret *bytes[FK_SHARES_MAX];
    struct fk_share shares[FK_SHARES_MAX];
    size_t count;
};

static void unload(struct loaded *loaded)
{
    while (loaded->count > 0)
        fk_secret_free(loaded->bytes[--loaded->count]);
}

static int load(const char *path, struct loaded *loaded)
{
    struct fk_secret *bytes;
    struct fk_reader reader;
    uint8_t *text = NULL;
    size_t len = 0;
    int err = fk_file_read(path, &text, &len);

    if (err != FK_OK)
        return err;
    err = fk_share_from_pem(text, len, &bytes);
    fk_wipe(text, len);
    free(text);
    if (err != FK_OK)
        return err;
    loaded->bytes[loaded->count] = bytes; /* moved */
    fk_reader_init(&reader, fk_secret_bytes(bytes), fk_secret_len(bytes));
    return fk_share_decode(reader, &loaded->shares[loaded->count++]);
}

/* --- combine-check --- */

static int say_key(const struct loaded *loaded, EVP_PKEY *key)
{
    char ski_text[41], type[64];
    uint8_t ski[20];
    int err = fk_ski_of_key(key, ski);

    if (err != FK_OK)
        return fk_command_fail("cannot describe", "the key", err);
    fk_text_hex(ski, sizeof ski, ski_text);
    fk_pki_key_text(key, type, sizeof type);
    printf("these %zu shares (%d needed, %d there are) make the %s key %s\n", loaded->count,
           loaded->shares[0].k, loaded->shares[0].n, type, ski_text);
    return 0;
}

int fk_key_combine_check(int argc, char **argv)
{
    static const struct fk_opt_command command = {"farkey key combine-check",
                                                  "FILE FILE ...",
                                                  "See whether shares of a split key are enough to "
                                                  "make the key, and which of them is wrong.\n"
                                                  "The key is made in memory, and written nowhere.",
                                                  NULL,
                                                  2,
                                                  FK_SHARES_MAX};
    struct loaded loaded = {.count = 0};
    EVP_PKEY *key = NULL;
    int first, status = 1, err = fk_opt_parse(&command, NULL, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    for (int i = first; i < argc; i++) {
        EVP_PKEY_free(key);
        key = NULL;
        if ((err = load(argv[i], &loaded)) == FK_OK)
            err = fk_share_prove(loaded.shares, loaded.count, &key);
        if (err != FK_OK && err != FK_ERR_SHARE_MISSING) { /* it is this one's fault */
            fk_command_fail("cannot use", argv[i], err);
            goto out;
        }
    }
    status =
        err != FK_OK ? fk_command_fail("cannot combine", "the shares", err) : say_key(&loaded, key);
out:
    EVP_PKEY_free(key);
    unload(&loaded);
    return status;
}

/* --- split --- */

/* "2-of-3" */
static int parse_numbers(const struct split_values *values, unsigned *ret_k, unsigned *ret_n)
{
    const char *text = values->shares == NULL && values->additive ? "2-of-2" : values->shares;
    unsigned k, n;
    int used = 0;

    if (text == NULL || sscanf(text, "%3u-of-%3u%n", &k, &n, &used) != 2 || text[used] != '\0' ||
        k < 2 || k > n || n > FK_SHARES_MAX) {
        fprintf(stderr,
                "farkey key split: --shares K-of-N is needed: how many of how many shares make the "
                "key, 2-of-2 to %d-of-%d\n",
                FK_SHARES_MAX, FK_SHARES_MAX);
        return FK_ERR_INVAL;
    }
    if (values->additive && n != 2) {
        fprintf(stderr, "farkey key split: --additive makes two shares, of which both are needed: "
                        "--shares 2-of-2\n");
        return FK_ERR_INVAL;
    }
    *ret_k = k;
    *ret_n = n;
    return FK_OK;
}

static int share_path(const struct split_values *values, const char *name, unsigned index,
                      char ret[FK_PATH_SIZE])
{
    char ending[16];

    if (index == FK_SHARE_COMBINER)
        return fk_keydir_path(values->dir, name, ".share", ret);
    snprintf(ending, sizeof ending, ".share.%u", index);
    return fk_keydir_path(values->out, name, ending, ret);
}

/* None of an earlier splitting is overwritten: its shares may be in use. */
static int check_free(const struct split_values *values, const char *name, unsigned n)
{
    char path[FK_PATH_SIZE];
    int err;

    for (unsigned i = 1; i <= n; i++) {
        if ((err = share_path(values, name, i, path)) == FK_OK && fk_file_exists(path))
            err = FK_ERR_DUPLICATE;
        if (err != FK_OK) {
            fk_command_fail("cannot make", path, err);
            return err;
        }
    }
    return FK_OK;
}

static int write_share(const char *path, const struct fk_secret *share)
{
    struct fk_secret *text;
    size_t len;
    int err = fk_share_to_pem(share, &text, &len);

    if (err != FK_OK)
        return err;
    err = fk_file_write(path, fk_secret_bytes(text), len, MODE_SECRET);
    fk_secret_free(text);
    return err;
}

/* What is on the disk now, all of it: that it makes this key. */
static int prove(const struct split_values *values, const char *name, EVP_PKEY *key, unsigned n)
{
    struct loaded loaded = {.count = 0};
    char path[FK_PATH_SIZE];
    EVP_PKEY *again = NULL;
    int err = FK_OK;

    for (unsigned i = 1; err == FK_OK && i <= n; i++)
        if ((err = share_path(values, name, i, path)) == FK_OK)
            err = load(path, &loaded);
    if (err == FK_OK && (err = fk_share_prove(loaded.shares, loaded.count, &again)) == FK_OK) {
        if (EVP_PKEY_eq(key, again) != 1) /* public halves */
            err = FK_ERR_MISMATCH;
        EVP_PKEY_free(again);
    }
    unload(&loaded);
    return err;
}

static int write_all(const struct split_values *values, const char *name,
                     struct fk_secret *const shares[], unsigned n)
{
    char path[FK_PATH_SIZE];
    int err;

    for (unsigned i = 1; i <= n; i++) {
        if ((err = share_path(values, name, i, path)) != FK_OK ||
            (err = write_share(path, shares[i - 1])) != FK_OK) {
            fk_command_fail("cannot write", path, err);
            return err;
        }
        printf("made %s\n", path);
    }
    return FK_OK;
}

/* The key as the key server reads it; says itself what failed. */
static int read_key(const struct split_values *values, const char *path, EVP_PKEY **ret)
{
    struct fk_secret *passphrase = NULL;
    int err;

    if ((err = fk_keydir_passphrase(values->dir, values->passphrase_file, &passphrase)) != FK_OK)
        return err;
    if ((err = fk_keydir_read(path, passphrase, ret)) != FK_OK)
        fk_command_fail("cannot read", path, err);
    fk_secret_free(passphrase);
    return err;
}

static int split(const struct split_values *values, const char *name, EVP_PKEY *key)
{
    struct fk_secret *shares[FK_SHARES_MAX];
    unsigned k, n;
    int err;

    if (parse_numbers(values, &k, &n) != FK_OK)
        return 2;
    if (check_free(values, name, n) != FK_OK)
        return 1;
    err =
        values->additive ? fk_share_split_additive(key, shares) : fk_share_split(key, k, n, shares);
    if (err != FK_OK)
        return fk_command_fail("cannot split the key of", name, err);
    err = write_all(values, name, shares, n);
    for (unsigned i = 0; i < n; i++)
        fk_secret_free(shares[i]);
    if (err != FK_OK)
        return 1;
    if ((err = prove(values, name, key, n)) != FK_OK)
        return fk_command_fail("what was written does not make the key of", name, err);
    return 0;
}

/* The key is in shares that have been read back: it goes. */
static int finish(const struct split_values *values, const char *path)
{
    if (!values->remove) {
        printf(
            "%s is still there, and in service; remove it when the shares are where they belong\n",
            path);
        return 0;
    }
    if (unlink(path) != 0 || fk_file_sync_dir(path) != FK_OK)
        return fk_command_fail("cannot remove", path, FK_ERR_SYS);
    printf("removed %s\n", path);
    return 0;
}

int fk_key_split(int argc, char **argv)
{
    static const struct fk_opt options[] = {
        {"dir", 'd', FK_OPT_STRING, offsetof(struct split_values, dir), "DIR",
         "the key directory of the key server (default: keys)", 0, 0, NULL},
        {"shares", 'n', FK_OPT_STRING, offsetof(struct split_values, shares), "K-of-N",
         "N shares, of which any K make the key: 2-of-2, 2-of-3 ...", 0, 0, NULL},
        {"additive", 'a', FK_OPT_FLAG, offsetof(struct split_values, additive), NULL,
         "two shares of an RSA key that are never combined: each signs its half", 0, 0, NULL},
        {"out", 'o', FK_OPT_STRING, offsetof(struct split_values, out), "DIR",
         "where shares 2 to N are written (default: here)", 0, 0, NULL},
        {"remove-original", 0, FK_OPT_FLAG, offsetof(struct split_values, remove), NULL,
         "remove NAME.key when all shares are written and make the key", 0, 0, NULL},
        {"passphrase-file", 0, FK_OPT_STRING, offsetof(struct split_values, passphrase_file),
         "FILE", "its first line opens an encrypted key (default: as keyd.conf beside DIR says)", 0,
         0, NULL},
        {NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL},
    };
    static const struct fk_opt_command command = {
        "farkey key split",
        "NAME",
        "Split the private key of NAME into shares. Share 1 becomes NAME.share, which the key\n"
        "server uses once NAME.key is gone; the others, NAME.share.2 and on, are for edges or "
        "another\n"
        "key server.",
        options,
        1,
        1};
    struct split_values values = {.dir = "keys", .out = "."};
    int first, status, err = fk_opt_parse(&command, &values, argc, argv, &first);
    char path[FK_PATH_SIZE];
    EVP_PKEY *key = NULL;

    if (err != FK_OK)
        return fk_opt_status(err);
    if (!fk_name_ok(argv[first])) {
        fprintf(stderr, "farkey key split: \"%s\" is not a name\n", argv[first]);
        return 2;
    }
    if ((err = fk_keydir_path(values.dir, argv[first], ".key", path)) != FK_OK)
        return fk_command_fail("cannot read the key of", argv[first], err);
    if (read_key(&values, path, &key) != FK_OK)
        return 1;
    status = split(&values, argv[first], key);
    EVP_PKEY_free(key);
    return status == 0 ? finish(&values, path) : status;
}
