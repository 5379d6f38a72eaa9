/* NAME.share in a key directory: this key server's share of a split key, in the place of NAME.key.
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

int fk_store_read_share(const char *path, struct fk_secret **ret, EVP_PKEY **ret_public)
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
    if ((err = fk_share_decode(reader, &share)) == FK_OK && share.index != FK_SHARE_COMBINER)
        err = FK_ERR_UNSUPPORTED;
    if (err == FK_OK && share.k > 2)
        err = FK_ERR_RANGE;
    if (err == FK_OK && (err = fk_share_public(&share, ret_public)) == FK_OK)
        *ret = bytes;
    else
        fk_secret_free(bytes);
    return err;
}

const char *fk_store_share_trouble(int err)
{
    switch (err) {
    case FK_ERR_UNSUPPORTED:
        return "not share 1: the key server combines with that one, which farkey key split leaves "
               "here";
    case FK_ERR_RANGE:
        return "more than two shares make this key, and an edge has one; split it 2-of-N";
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
