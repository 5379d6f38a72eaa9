/*
 * What the key server's master watches: the key directories, and the files of its channel. A change
 * has keys and channel loaded again.
 */
#ifndef FK_KEYD_WATCH_H
#define FK_KEYD_WATCH_H

#include "keyd/conf.h"
#include "loop/watch.h"

/* Watch exactly this configuration's: of the key directories those that want it. */
void fk_keyd_watch_set(struct fk_watch *watch, const struct fk_keyd_conf *conf);

#endif
