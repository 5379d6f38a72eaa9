/*
 * inotify over the key directories. A change is told FK_KEYD_SETTLE_US after the last event of a
 * burst, at the latest FK_KEYD_SETTLE_MAX_US after its first: a key and its certificate are two
 * files, and both should be there.
 */
#include "keyd/watch.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "loop/sock.h"
#include "tls/channel_conf.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* IN_ATTRIB: a file that was open to others, and refused, is mended by chmod. */
#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_ONLYDIR)

struct fk_keyd_watch {
    struct fk_io io;
    struct fk_timer settle;
    uint64_t first_us; /* of the present burst, 0: none */
    int fd;
    int *marks; /* watch descriptors */
    size_t n_marks;
    void (*changed)(void *arg);
    void *arg;
};

/* Editors and installers make files of other names first. */
static bool matters(const char *name)
{
    static const char *const suffixes[] = {".key", ".crt", ".policy", ".crl"};
    size_t len = strlen(name);

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        size_t suffix = strlen(suffixes[i]);

        if (len > suffix && strcmp(name + len - suffix, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static bool any_matters(const char *events, size_t len)
{
    const struct inotify_event *event;

    for (size_t at = 0; at + sizeof *event <= len; at += sizeof *event + event->len) {
        event = (const void *)(events + at);
        if ((event->mask & IN_Q_OVERFLOW) != 0 || (event->len > 0 && matters(event->name)))
            return true;
    }
    return false;
}

static void on_events(struct fk_io *io, unsigned ready)
{
    struct fk_keyd_watch *watch = fk_container(io, struct fk_keyd_watch, io);
    uint64_t now = fk_loop_now_us(io->loop), delay = FK_KEYD_SETTLE_US;
    _Alignas(struct inotify_event) char events[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    bool changed = false;
    ssize_t len;

    (void)ready;
    while ((len = read(watch->fd, events, sizeof events)) > 0)
        changed |= any_matters(events, (size_t)len);
    if (!changed)
        return;
    if (watch->first_us == 0)
        watch->first_us = now;
    if (now - watch->first_us + delay > FK_KEYD_SETTLE_MAX_US)
        delay = 0;
    fk_timer_start(&watch->settle, delay);
}

static void on_settled(struct fk_timer *timer)
{
    struct fk_keyd_watch *watch = fk_container(timer, struct fk_keyd_watch, settle);

    watch->first_us = 0;
    watch->changed(watch->arg);
}

int fk_keyd_watch_new(struct fk_loop *loop, void (*changed)(void *arg), void *arg,
                      struct fk_keyd_watch **ret)
{
    struct fk_keyd_watch *watch = calloc(1, sizeof *watch);

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

static void forget(struct fk_keyd_watch *watch)
{
    for (size_t i = 0; i < watch->n_marks; i++)
        (void)inotify_rm_watch(watch->fd, watch->marks[i]);
    free(watch->marks);
    watch->marks = NULL;
    watch->n_marks = 0;
}

void fk_keyd_watch_free(struct fk_keyd_watch *watch)
{
    if (watch == NULL)
        return;
    fk_io_want(&watch->io, 0);
    fk_timer_stop(&watch->settle);
    fk_close(&watch->fd);
    free(watch->marks);
    free(watch);
}

static void add(struct fk_keyd_watch *watch, const char *directory)
{
    int mark = inotify_add_watch(watch->fd, directory, EVENTS);

    if (mark >= 0)
        watch->marks[watch->n_marks++] = mark;
    else
        fk_log(FK_LOG_WARN, "cannot watch a directory; reload by hand",
               fk_str("directory", directory));
}

/* The directory of a file of the channel: its revocation list above all. */
static void add_directory_of(struct fk_keyd_watch *watch, const char *path)
{
    const char *end = path == NULL ? NULL : strrchr(path, '/');
    char *directory = end == NULL ? NULL : strndup(path, (size_t)(end - path) + 1);

    if (directory != NULL)
        add(watch, directory);
    free(directory);
}

void fk_keyd_watch_set(struct fk_keyd_watch *watch, const struct fk_keyd_conf *conf)
{
    const struct fk_channel_conf *channel = fk_keyd_conf_channel(conf);
    size_t count = 0;

    forget(watch);
    for (const struct fk_conf_block *block = conf->keys; block != NULL; block = block->next)
        count++;
    if ((watch->marks = calloc(count + 2, sizeof *watch->marks)) == NULL)
        return;
    for (const struct fk_conf_block *block = conf->keys; block != NULL; block = block->next)
        if (((const struct fk_keyd_keys_conf *)(const void *)block)->watch)
            add(watch, block->title);
    add_directory_of(watch, channel->certificate);
    add_directory_of(watch, channel->crl);
}
