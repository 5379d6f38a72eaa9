/*
 * The demonstration's directory: made, marked as in use, and swept up when its owner was killed.
 *
 * The mark is a lock on a file in it, which the kernel drops with the process that holds it: no
 * number of a process that may be another one's by now. A directory is removed only when it is this
 * user's, closed to all others, and its lock has been held and is free.
 */
#include "cli/demo.h"

#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "farkey-demo-"
#define LOCK   "demo.lock"

static const char *top_dir(void)
{
    const char *top = getenv("TMPDIR");

    return top != NULL && top[0] == '/' ? top : "/tmp";
}

/* The file gets its name when it is locked: one with that name has been locked by its maker. */
static int lock_dir(struct fk_demo *demo)
{
    char temp[FK_PATH_SIZE], path[FK_PATH_SIZE];
    int fd, err;

    if ((err = fk_path_join(demo->dir, LOCK ".XXXXXX", temp)) != FK_OK ||
        (err = fk_path_join(demo->dir, LOCK, path)) != FK_OK)
        return err;
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return FK_ERR_SYS;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || rename(temp, path) != 0) {
        fk_close(&fd);
        return FK_ERR_SYS;
    }
    demo->lock = fd;
    return FK_OK;
}

int fk_demo_dir_make(struct fk_demo *demo)
{
    if (snprintf(demo->dir, sizeof demo->dir, "%s/" PREFIX "XXXXXX", top_dir()) >=
        (int)sizeof demo->dir) {
        demo->dir[0] = '\0';
        return FK_ERR_LIMIT;
    }
    if (mkdtemp(demo->dir) == NULL) {
        demo->dir[0] = '\0';
        return FK_ERR_SYS;
    }
    return lock_dir(demo);
}

int fk_demo_dir_remove(struct fk_demo *demo)
{
    int err = demo->dir[0] != '\0' ? fk_dir_remove(demo->dir) : FK_OK;

    fk_close(&demo->lock);
    return err;
}

/* --- what killed ones left --- */

/* Nobody else may put something of his in the place of what is there. */
static bool is_safe_top(const char *top)
{
    struct stat st;

    return stat(top, &st) == 0 && (st.st_uid == 0 || st.st_uid == geteuid()) &&
           ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0 || (st.st_mode & S_ISVTX) != 0);
}

static bool is_mine(int fd, mode_t type)
{
    struct stat st;

    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() &&
           (st.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

static void sweep(const char *path)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), lock = -1;

    if (dir >= 0 && is_mine(dir, S_IFDIR))
        lock = openat(dir, LOCK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (lock >= 0 && is_mine(lock, S_IFREG) && flock(lock, LOCK_EX | LOCK_NB) == 0 &&
        fk_dir_remove(path) == FK_OK)
        fprintf(stderr, "farkey demo: removed %s, which a killed demonstration left\n", path);
    fk_close(&lock);
    fk_close(&dir);
}

void fk_demo_dirs_sweep(void)
{
    char pattern[FK_PATH_SIZE];
    glob_t found = {.gl_pathc = 0};

    if (!is_safe_top(top_dir()) || fk_path_join(top_dir(), PREFIX "??????", pattern) != FK_OK)
        return;
    if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            sweep(found.gl_pathv[i]);
    globfree(&found);
}
