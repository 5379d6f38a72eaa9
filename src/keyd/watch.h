/*
 * Watches the key directories, and those of the channel's certificate and revocation list, and
 * tells, once a burst of changes is over, that all should be loaded again. Reads names of files
 * only.
 */
#ifndef FK_KEYD_WATCH_H
#define FK_KEYD_WATCH_H

#include "keyd/conf.h"
#include "loop/loop.h"

struct fk_keyd_watch;

/* FK_ERR_SYS when the kernel gives no inotify descriptor, FK_ERR_NOMEM. */
int fk_keyd_watch_new(struct fk_loop *loop, void (*changed)(void *arg), void *arg,
                      struct fk_keyd_watch **ret);
void fk_keyd_watch_free(struct fk_keyd_watch *watch);

/* Watch exactly this configuration's: of the key directories those that want it. */
void fk_keyd_watch_set(struct fk_keyd_watch *watch, const struct fk_keyd_conf *conf);

#endif
