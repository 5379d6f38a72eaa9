/*
 * Watches directories, and files by their names, and tells, once a burst of changes is over, that
 * something is not as it was. Reads names and stat(2) only, never contents.
 */
#ifndef FK_LOOP_WATCH_H
#define FK_LOOP_WATCH_H

#include "loop/loop.h"

#include <stddef.h>

struct fk_watch;

/* A directory in which names with one of these endings count, or one file. */
struct fk_watch_item {
    const char *path;
    const char *const *suffixes; /* of a directory: ".key", ..., NULL; NULL itself: a file */
};

/* `changed` is called from the loop. FK_ERR_SYS: the kernel gives no inotify descriptor;
 * FK_ERR_NOMEM. */
int fk_watch_new(struct fk_loop *loop, void (*changed)(void *arg), void *arg,
                 struct fk_watch **ret);
void fk_watch_free(struct fk_watch *watch); /* NULL is fine */

/*
 * Watch exactly these from now on (copied, but the suffixes, which must be static). A change of
 * something that was watched before and still is does not get lost. A file need not exist; its
 * directory must. What cannot be watched is a warning in the log. FK_ERR_NOMEM: as before.
 */
int fk_watch_set(struct fk_watch *watch, const struct fk_watch_item *items, size_t n);

#endif
