/* Permissions of secrets: see exposed.h. Only judges: it opens and changes nothing. */
#include "conf/exposed.h"

#include "base/err.h"

#include <unistd.h>

bool fk_secret_is_exposed(const struct stat *st)
{
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return true;
    return (st->st_mode & (S_IRWXO | S_IWGRP | S_IXGRP)) != 0;
}

int fk_secret_check_directory(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return FK_ERR_SYS;
    if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0)
        return FK_ERR_EXPOSED_DIR;
    return FK_OK;
}
