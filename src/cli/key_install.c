/*
 * Key and certificate into service together. All that can fail for want of room is done first,
 * under other names; then there are only renames in one directory, which are taken back when one
 * fails.
 *
 * A key server that reads between two of them finds a pair that does not match, refuses it and
 * keeps what it has until the next. A host that stops there has to be told again: the same command,
 * which then finds the new key in its place, puts the certificate beside it.
 */
#include "cli/keydir.h"

#include "base/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CERT_MODE 0644

struct change {
    char key[FK_PATH_SIZE], cert[FK_PATH_SIZE]; /* in service */
    char waiting[FK_PATH_SIZE];                 /* the new key */
    char old[FK_PATH_SIZE];                     /* where the key before stays */
    char kept[FK_PATH_SIZE];                    /* it, until then; empty: there is none */
    char staged[FK_PATH_SIZE];                  /* the new certificate; empty: not yet */
    bool switches;                              /* there is a new key */
    bool switched;                              /* which is in its place */
};

static int name_files(struct change *change, const char *dir, const char *name)
{
    int err;

    if ((err = fk_keydir_path(dir, name, ".key", change->key)) != FK_OK ||
        (err = fk_keydir_path(dir, name, ".crt", change->cert)) != FK_OK ||
        (err = fk_keydir_path(dir, name, ".key.new", change->waiting)) != FK_OK)
        return err;
    return fk_keydir_path(dir, name, ".key.old", change->old);
}

/* The whole file: the chain is served as it came. */
static int stage_cert(struct change *change, const char *from)
{
    uint8_t *data = NULL;
    size_t len = 0;
    int err = fk_file_read(from, &data, &len);

    if (err == FK_OK)
        err = fk_file_stage(change->cert, data, len, CERT_MODE, change->staged);
    free(data);
    return err;
}

/* A second name for the key in service. */
static int keep_old(struct change *change)
{
    int n = snprintf(change->kept, sizeof change->kept, "%s.tmp", change->old);

    if (n < 0 || n >= (int)sizeof change->kept) {
        change->kept[0] = '\0';
        return FK_ERR_LIMIT;
    }
    if (unlink(change->kept) != 0 && errno != ENOENT)
        return FK_ERR_SYS;
    if (link(change->key, change->kept) == 0)
        return FK_OK;
    change->kept[0] = '\0';
    return errno == ENOENT ? FK_OK : FK_ERR_SYS;
}

static int swap(struct change *change)
{
    if (change->switches && rename(change->waiting, change->key) != 0)
        return FK_ERR_SYS;
    change->switched = change->switches;
    if (rename(change->staged, change->cert) != 0)
        return FK_ERR_SYS;
    change->staged[0] = '\0';
    if (change->kept[0] != '\0' && rename(change->kept, change->old) == 0)
        change->kept[0] = '\0';
    return FK_OK;
}

/* As it was; errno stays that of what failed. */
static void take_back(struct change *change)
{
    int saved = errno;

    if (change->switched)
        (void)rename(change->key, change->waiting);
    if (change->kept[0] != '\0')
        (void)(change->switched ? rename(change->kept, change->key) : unlink(change->kept));
    if (change->staged[0] != '\0')
        (void)unlink(change->staged);
    errno = saved;
}

int fk_keydir_install(const char *dir, const char *name, const char *cert)
{
    struct change change = {.switches = false};
    int err = name_files(&change, dir, name);

    if (err != FK_OK)
        return err;
    change.switches = fk_file_exists(change.waiting);
    if ((err = stage_cert(&change, cert)) != FK_OK ||
        (change.switches && (err = keep_old(&change)) != FK_OK) || (err = swap(&change)) != FK_OK) {
        take_back(&change);
        return err;
    }
    return fk_file_sync_dir(change.cert);
}
