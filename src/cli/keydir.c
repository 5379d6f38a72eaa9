/* What is where in a key directory: see keydir.h. */
#include "cli/keydir.h"

#include "base/err.h"
#include "cli/pem.h"

#include <stdio.h>

int fk_keydir_path(const char *dir, const char *name, const char *ending, char ret[FK_PATH_SIZE])
{
    int n = snprintf(ret, FK_PATH_SIZE, "%s/%s%s", dir, name, ending);

    return n > 0 && n < FK_PATH_SIZE ? FK_OK : FK_ERR_LIMIT;
}

int fk_keydir_pending(const char *dir, const char *name, EVP_PKEY **ret)
{
    char path[FK_PATH_SIZE];
    int err;

    if ((err = fk_keydir_path(dir, name, ".key.new", path)) != FK_OK)
        return err;
    if (!fk_file_exists(path) && (err = fk_keydir_path(dir, name, ".key", path)) != FK_OK)
        return err;
    return fk_pem_read_key(path, ret);
}
