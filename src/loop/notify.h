/*
 * Tell systemd about the state of this service (sd_notify(3), written anew: no library). Without
 * NOTIFY_SOCKET in the environment every call does nothing.
 */
#ifndef FK_LOOP_NOTIFY_H
#define FK_LOOP_NOTIFY_H

#include "loop/loop.h"

#include <stdint.h>

/* FK_ERR_SYS when the manager cannot be reached, FK_ERR_INVAL for a bad NOTIFY_SOCKET. */
int fk_notify_ready(void); /* serving; also after a reload */
int fk_notify_reloading(void);
int fk_notify_stopping(void);
int fk_notify_main(long pid); /* another process is this service's main one from now on */
int fk_notify_watchdog(void);
int fk_notify_status(const char *text); /* one line for people */

/*
 * Tell the manager in time, again and again, that this event loop runs, if it has asked for that.
 * The timer is the caller's and nobody else's.
 */
void fk_notify_watch(struct fk_timer *timer, struct fk_loop *loop);

/* Of a process that becomes the main one: the manager's wish to be told is meant for it, too. */
void fk_notify_inherit(void);

/* How often fk_notify_watchdog() is due, half of WATCHDOG_USEC; 0 when not asked for. */
uint64_t fk_notify_watchdog_us(void);

#endif
