/*
 * An errand: work done by a process that lives for it alone, so that whatever it touches, private
 * keys above all, ends with it. It is forked without executing anew, sees the caller's memory as it
 * was, and says what it found in messages; the caller waits.
 */
#ifndef FK_LOOP_ERRAND_H
#define FK_LOOP_ERRAND_H

#include "loop/proc.h"

/* The work. Runs in the process of its own; what it returns must be FK_OK for the errand to count.
 */
typedef int fk_errand_work(void *arg, int sock);

/* Takes one message; a descriptor that it keeps it replaces by -1. */
typedef void fk_errand_hear(void *arg, struct fk_procmsg *msg);

/*
 * Run `work(arg, ...)` and hear all that it says; returns when its process has ended. The process
 * is not dumpable and dies with the caller. FK_ERR_SYS; what `work` returned.
 */
int fk_errand_run(fk_errand_work *work, fk_errand_hear *hear, void *arg);

/* For the work: send one message, waiting while the caller takes earlier ones. As fk_proc_send().
 */
int fk_errand_say(int sock, const struct fk_procmsg *msg);

#endif
