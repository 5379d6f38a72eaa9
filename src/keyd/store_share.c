/*
 * NAME.share in a key directory: this key server's share of a split key, in the place of NAME.key.
 * Share 1 is what it combines with, any other it holds for the key servers that NAME.policy names.
 */
#include "keyd/store_priv.h"

#include "base/err.h"
#include "signer/share.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ENDING ".share"

bool fk_store_is_share(const char *path)
{
    size_t len = strlen(path);

    return len > strlen(ENDING) && strcmp(path + len - strlen(ENDING), ENDING) == 0;
}

/* Until the original is gone it serves: so the shares can be brought where they belong first. */
bool fk_store_share_counts(const char *path)
{
    char key[PATH_MAX];
    int len = snprintf(key, sizeof key, "%.*s.key", (int)(strlen(path) - strlen(ENDING)), path);

    return len > 0 && (size_t)len < sizeof key && access(key, F_OK) != 0;
}

int fk_store_read_share(const char *path, struct fk_index_key *key, struct fk_secret **ret,
                        EVP_PKEY **ret_public)
{
    struct fk_secret *file, *bytes = NULL;
    struct fk_reader reader;
    struct fk_share share;
    size_t len;
    int err;

    if ((err = fk_store_read_secret(path, &file, &len)) != FK_OK)
        return err;
    err = fk_share_from_pem(fk_secret_bytes(file), len, &bytes);
    fk_secret_free(file);
    if (err != FK_OK)
        return err;
    fk_reader_init(&reader, fk_secret_bytes(bytes), fk_secret_len(bytes));
    if ((err = fk_share_decode(reader, &share)) == FK_OK && share.k > 2)
        err = FK_ERR_RANGE;
    if (err != FK_OK || (err = fk_share_public(&share, ret_public)) != FK_OK) {
        fk_secret_free(bytes);
        return err;
    }
    key->split = share.scheme;
    key->held = share.index != FK_SHARE_COMBINER;
    *ret = bytes;
    return FK_OK;
}

bool fk_store_share_fits(const char *path, const struct fk_index_key *key,
                         struct fk_store_report *report)
{
    if (key->held && key->n_sharers == 0)
        fk_store_say(report, path,
                     "not share 1, with which this key server would combine, but its policy names "
                     "no key server that does; write share_with = {\"NAME\"} there");
    else if (!key->held && key->n_sharers > 0)
        fk_store_say(report, path,
                     "share_with in its policy, but no other key server combines with this; remove "
                     "it");
    else
        return true;
    return false;
}

const char *fk_store_share_trouble(int err)
{
    switch (err) {
    case FK_ERR_RANGE:
        return "more than two shares make this key, and two are combined here; split it 2-of-N";
    case FK_ERR_FORMAT:
    case FK_ERR_TRUNCATED:
    case FK_ERR_TRAILING:
        return "not a share of a key; make one with farkey key split";
    case FK_ERR_SHARE_WRONG:
        return "the share is damaged";
    default:
        return NULL;
    }
}
