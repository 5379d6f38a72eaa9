/* What the demonstration's own children share: life on a control socket. See demo.h. */
#include "cli/demo.h"

#include "base/err.h"
#include "base/log.h"
#include "loop/sock.h"

#include <signal.h>

static void on_control(struct fk_io *io, unsigned events)
{
    struct fk_demo_child *child = fk_container(io, struct fk_demo_child, control);
    struct fk_procmsg msg;
    int err = fk_proc_next(&msg);

    (void)events;
    if (err == FK_ERR_AGAIN)
        return;
    if (err == FK_OK) {
        err = child->take(child, &msg);
        fk_procmsg_close(&msg);
        if (err == FK_OK && msg.type == FK_PROC_GO && (err = fk_proc_drop(NULL)) == FK_OK)
            err = fk_proc_send_fd(fk_io_fd(io), FK_PROC_READY, 0, -1);
    }
    if (err == FK_OK)
        return;
    child->err = err;
    fk_loop_stop(child->loop);
}

int fk_demo_child_init(struct fk_demo_child *child, const char *role, unsigned index,
                       int (*take)(struct fk_demo_child *child, struct fk_procmsg *msg), void *ctx)
{
    int err;

    fk_proc_child_init(role, index);
    child->take = take;
    child->ctx = ctx;
    child->err = FK_ERR_CLOSED;
    if ((err = fk_loop_new(&child->loop)) != FK_OK)
        return err;
    fk_io_init(&child->control, child->loop, FK_PROC_CONTROL_FD, on_control);
    fk_io_want(&child->control, FK_IO_READ);
    return FK_OK;
}

int fk_demo_child_fini(struct fk_demo_child *child)
{
    fk_io_want(&child->control, 0);
    fk_loop_free(child->loop);
    if (child->err == FK_ERR_CLOSED)
        return 0;
    fk_log(FK_LOG_ERROR, "process of the demonstration ends", fk_error(child->err));
    return 1;
}
