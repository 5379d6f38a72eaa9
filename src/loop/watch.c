/*
 * inotify over directories: see watch.h. A file is watched by its directory, since it is usually
 * replaced, not written; whether an event was about it is asked of stat(2), which also follows the
 * symbolic links by which some installers change several files at once.
 *
 * A change is told FK_WATCH_SETTLE_US after the last event of a burst, at the latest
 * FK_WATCH_SETTLE_MAX_US after its first: a key and its certificate are two files, and both should
 * be there.
 */
#include "loop/watch.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "loop/sock.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* IN_ATTRIB: a file that was open to others, and refused, is mended by chmod. */
#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_ONLYDIR)

/* What tells one state of a file from another; all zero: it is not there. */
struct look {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec written, changed;
};

struct mark {
    int wd;                      /* of the directory; -1: it cannot be watched */
    const char *const *suffixes; /* NULL: only `path` counts */
    char *path;
    struct look seen;
};

struct fk_watch {
    struct fk_io io;
    struct fk_timer settle;
    uint64_t first_us; /* of the present burst, 0: none */
    struct fk_log_limit unwatched;
    int fd;
    struct mark *marks;
    size_t n_marks;
    void (*changed)(void *arg);
    void *arg;
};

/* --- what counts --- */

static struct look look_at(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return (struct look){.size = 0};
    return (struct look){.dev = st.st_dev,
                         .ino = st.st_ino,
                         .size = st.st_size,
                         .written = st.st_mtim,
                         .changed = st.st_ctim};
}

static bool same(const struct look *a, const struct look *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->written.tv_sec == b->written.tv_sec && a->written.tv_nsec == b->written.tv_nsec &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* Whether a file has changed; with `take`, the present look of each is the one to compare with. */
static bool files_differ(struct fk_watch *watch, bool take)
{
    bool differ = false;

    for (size_t i = 0; i < watch->n_marks; i++) {
        struct mark *mark = &watch->marks[i];
        struct look now;

        if (mark->suffixes != NULL)
            continue;
        now = look_at(mark->path);
        differ |= !same(&now, &mark->seen);
        if (take)
            mark->seen = now;
    }
    return differ;
}

/* Editors and installers make files of other names first. */
static bool ends_with_any(const char *name, const char *const *suffixes)
{
    size_t len = strlen(name);

    for (; *suffixes != NULL; suffixes++) {
        size_t suffix = strlen(*suffixes);

        if (len > suffix && strcmp(name + len - suffix, *suffixes) == 0)
            return true;
    }
    return false;
}

/* Whether a directory's event counts by the name in it. */
static bool name_counts(const struct fk_watch *watch, const struct inotify_event *event)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0)
        return true;
    for (size_t i = 0; event->len > 0 && i < watch->n_marks; i++)
        if (watch->marks[i].wd == event->wd && watch->marks[i].suffixes != NULL &&
            ends_with_any(event->name, watch->marks[i].suffixes))
            return true;
    return false;
}

/* --- telling --- */

static void on_events(struct fk_io *io, unsigned ready)
{
    struct fk_watch *watch = fk_container(io, struct fk_watch, io);
    uint64_t now = fk_loop_now_us(io->loop), delay = FK_WATCH_SETTLE_US;
    _Alignas(struct inotify_event) char events[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    const struct inotify_event *event;
    bool changed = false;
    ssize_t len;

    (void)ready;
    while ((len = read(watch->fd, events, sizeof events)) > 0)
        for (size_t at = 0; at + sizeof *event <= (size_t)len; at += sizeof *event + event->len) {
            event = (const void *)(events + at);
            changed |= name_counts(watch, event);
        }
    /* In a burst whatever comes counts: with thousands of files each look takes milliseconds. */
    if (!changed && watch->first_us == 0 && !files_differ(watch, false))
        return;
    if (watch->first_us == 0)
        watch->first_us = now;
    if (now - watch->first_us + delay > FK_WATCH_SETTLE_MAX_US)
        delay = 0;
    fk_timer_start(&watch->settle, delay);
}

static void on_settled(struct fk_timer *timer)
{
    struct fk_watch *watch = fk_container(timer, struct fk_watch, settle);

    watch->first_us = 0;
    (void)files_differ(watch, true); /* before they are read: a later change is a new one */
    watch->changed(watch->arg);
}

/* --- what is watched --- */

static void free_marks(struct mark *marks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(marks[i].path);
    free(marks);
}

/* The files that are watched, by path. */
static int map_files(const struct fk_watch *watch, struct fk_map *ret)
{
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && i < watch->n_marks; i++) {
        struct mark *mark = &watch->marks[i];

        if (mark->suffixes == NULL)
            err = fk_map_add(ret, mark->path, strlen(mark->path), mark, NULL);
    }
    return err;
}

/* A file's last look is kept: what changed since then is yet to be told. */
static struct look first_look(const struct fk_map *files, const char *path)
{
    const struct mark *mark = fk_map_find(files, path, strlen(path));

    return mark != NULL ? mark->seen : look_at(path);
}

static int make_mark(struct fk_watch *watch, const struct fk_map *files,
                     const struct fk_watch_item *item, struct mark *ret)
{
    const char *slash = strrchr(item->path, '/');
    char *directory;

    if ((ret->path = strdup(item->path)) == NULL)
        return FK_ERR_NOMEM;
    if (item->suffixes != NULL)
        directory = strdup(item->path);
    else if (slash != NULL)
        directory = strndup(item->path, (size_t)(slash - item->path) + 1);
    else
        directory = strdup(".");
    if (directory == NULL)
        return FK_ERR_NOMEM;
    ret->suffixes = item->suffixes;
    ret->wd = inotify_add_watch(watch->fd, directory, EVENTS);
    if (ret->wd < 0)
        fk_log_limited(&watch->unwatched, FK_LOG_WARN, "cannot watch a directory; reload by hand",
                       fk_str("directory", directory), fk_errno(errno));
    if (item->suffixes == NULL)
        ret->seen = first_look(files, item->path);
    free(directory);
    return FK_OK;
}

/* The kernel gives one number to a directory, however often it is asked for. */
static bool has_wd(const struct mark *marks, size_t n, int wd)
{
    for (size_t i = 0; i < n; i++)
        if (marks[i].wd == wd)
            return true;
    return false;
}

static void unwatch_others(const struct fk_watch *watch, const struct mark *gone, size_t n_gone,
                           const struct mark *kept, size_t n_kept)
{
    for (size_t i = 0; i < n_gone; i++)
        if (gone[i].wd >= 0 && !has_wd(gone, i, gone[i].wd) && !has_wd(kept, n_kept, gone[i].wd))
            (void)inotify_rm_watch(watch->fd, gone[i].wd);
}

int fk_watch_set(struct fk_watch *watch, const struct fk_watch_item *items, size_t n)
{
    struct mark *marks = calloc(n + 1, sizeof *marks);
    struct fk_map files = {.slots = NULL};
    size_t made = 0;
    int err = marks == NULL ? FK_ERR_NOMEM : map_files(watch, &files);

    for (; err == FK_OK && made < n; made++)
        err = make_mark(watch, &files, &items[made], &marks[made]);
    fk_map_fini(&files);
    if (err != FK_OK) {
        unwatch_others(watch, marks, made == 0 ? 0 : made - 1, watch->marks, watch->n_marks);
        free_marks(marks, made);
        return err;
    }
    unwatch_others(watch, watch->marks, watch->n_marks, marks, n);
    free_marks(watch->marks, watch->n_marks);
    watch->marks = marks;
    watch->n_marks = n;
    return FK_OK;
}

int fk_watch_new(struct fk_loop *loop, void (*changed)(void *arg), void *arg, struct fk_watch **ret)
{
    struct fk_watch *watch = calloc(1, sizeof *watch);

    if (watch == NULL)
        return FK_ERR_NOMEM;
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0) {
        free(watch);
        return FK_ERR_SYS;
    }
    watch->changed = changed;
    watch->arg = arg;
    fk_timer_init(&watch->settle, loop, on_settled);
    fk_io_init(&watch->io, loop, watch->fd, on_events);
    fk_io_want(&watch->io, FK_IO_READ);
    *ret = watch;
    return FK_OK;
}

void fk_watch_free(struct fk_watch *watch)
{
    if (watch == NULL)
        return;
    fk_io_want(&watch->io, 0);
    fk_timer_stop(&watch->settle);
    fk_close(&watch->fd);
    free_marks(watch->marks, watch->n_marks);
    free(watch);
}
