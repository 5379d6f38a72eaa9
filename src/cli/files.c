/* Atomic files and small directory work for farkey(1). See files.h. */
#include "cli/files.h"

#include "base/err.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Longest NAME of a key or of a role. */
#define NAME_LEN_MAX 63

int fk_path_join(const char *dir, const char *name, char ret[FK_PATH_SIZE])
{
    int n = snprintf(ret, FK_PATH_SIZE, "%s/%s", dir, name);

    return n > 0 && n < FK_PATH_SIZE ? FK_OK : FK_ERR_LIMIT;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FK_ERR_SYS;
        data += n;
        len -= (size_t)n;
    }
    return FK_OK;
}

int fk_file_sync_dir(const char *path)
{
    char copy[FK_PATH_SIZE];
    int fd, err;

    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return FK_ERR_LIMIT;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return FK_ERR_SYS;
    err = fsync(fd) == 0 ? FK_OK : FK_ERR_SYS;
    close(fd);
    return err;
}

/* When root, a new file belongs to whom its directory belongs: a daemon's user must read it. */
static int own_as_dir(int fd, const char *path)
{
    char copy[FK_PATH_SIZE];
    struct stat st;

    if (geteuid() != 0)
        return FK_OK;
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return FK_ERR_LIMIT;
    if (stat(dirname(copy), &st) != 0 || fchown(fd, st.st_uid, st.st_gid) != 0)
        return FK_ERR_SYS;
    return FK_OK;
}

static int fill(int fd, const char *path, const void *data, size_t len, mode_t mode)
{
    int err;

    if (fchmod(fd, mode) != 0)
        return FK_ERR_SYS;
    if ((err = own_as_dir(fd, path)) != FK_OK || (err = write_all(fd, data, len)) != FK_OK)
        return err;
    return fsync(fd) == 0 ? FK_OK : FK_ERR_SYS;
}

int fk_file_stage(const char *path, const void *data, size_t len, mode_t mode,
                  char ret_temp[FK_PATH_SIZE])
{
    char temp[FK_PATH_SIZE];
    int fd, err, saved;

    if (snprintf(temp, sizeof temp, "%s.tmp-XXXXXX", path) >= (int)sizeof temp)
        return FK_ERR_LIMIT;
    fd = mkostemp(temp, O_CLOEXEC); /* 0600 from the start */
    if (fd < 0)
        return FK_ERR_SYS;
    err = fill(fd, path, data, len, mode);
    saved = errno;
    close(fd);
    if (err != FK_OK) {
        unlink(temp);
        errno = saved;
        return err;
    }
    memcpy(ret_temp, temp, sizeof temp);
    return FK_OK;
}

int fk_file_write(const char *path, const void *data, size_t len, mode_t mode)
{
    char temp[FK_PATH_SIZE];
    int err, saved;

    if ((err = fk_file_stage(path, data, len, mode, temp)) != FK_OK)
        return err;
    if (rename(temp, path) != 0) {
        saved = errno;
        unlink(temp);
        errno = saved;
        return FK_ERR_SYS;
    }
    return fk_file_sync_dir(path);
}

/* Read at most `size` bytes; the file may have changed its length meanwhile. */
static int read_all(int fd, uint8_t *dst, size_t size, size_t *ret_len)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, dst + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FK_ERR_SYS;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return FK_OK;
}

int fk_file_read(const char *path, uint8_t **ret, size_t *ret_len)
{
    uint8_t *data = NULL;
    struct stat st;
    size_t len = 0;
    int fd, err = FK_OK;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FK_ERR_SYS;
    if (fstat(fd, &st) != 0)
        err = FK_ERR_SYS;
    else if (st.st_size < 0 || st.st_size > FK_FILE_MAX)
        err = FK_ERR_LIMIT;
    else if ((data = malloc((size_t)st.st_size + 1)) == NULL)
        err = FK_ERR_NOMEM;
    else
        err = read_all(fd, data, (size_t)st.st_size, &len);
    close(fd);
    if (err != FK_OK) {
        if (data != NULL)
            fk_wipe(data, (size_t)st.st_size);
        free(data);
        return err;
    }
    data[len] = '\0';
    *ret = data;
    *ret_len = len;
    return FK_OK;
}

int fk_dir_make(const char *path, mode_t mode)
{
    struct stat st;

    if (mkdir(path, mode) == 0)
        return chmod(path, mode) == 0 ? FK_OK : FK_ERR_SYS;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return FK_OK;
    return FK_ERR_SYS;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int fk_dir_remove(const char *path)
{
    return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 ? FK_OK : FK_ERR_SYS;
}

bool fk_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool fk_name_ok(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > NAME_LEN_MAX || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            strchr(".-_", c) == NULL)
            return false;
    }
    return true;
}
