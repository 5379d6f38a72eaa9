/*
 * The secrets of ticket keys: made here at random, given to the signers, and no one else. All of
 * them go when an edge loses the right to what was derived from them.
 */
#include "keyd/master_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "keyd/rights.h"

#include <string.h>

static struct fk_ticket_roots *roots_of(struct fk_keyd_master *master)
{
    return (void *)fk_secret_data(master->roots);
}

static uint64_t life_of(const struct fk_keyd_load *load)
{
    return fk_keyd_conf_limits(load->conf)->ticket_life;
}

static int tell(struct fk_keyd_master *master, struct fk_child *child)
{
    struct fk_procmsg msg = {.type = FK_PROC_TICKETS};
    int err;

    _Static_assert(FK_TICKET_ROOTS_WIRE_MAX <= FK_PROC_DATA_MAX, "one message");
    msg.len = fk_ticket_roots_encode(roots_of(master), msg.data);
    err = fk_child_send(child, &msg);
    fk_wipe(msg.data, msg.len);
    return err;
}

static void tell_all(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == FK_KEYD_SIGNER && fk_keyd_place(child)->up &&
            tell(master, child) != FK_OK)
            fk_log(FK_LOG_WARN, "cannot tell a signer of ticket keys",
                   fk_uint("index", fk_child_index(child)));
}

static void rotate(struct fk_keyd_master *master)
{
    uint64_t next = FK_KEYD_TICKET_RETRY_US;
    int err =
        fk_ticket_roots_rotate(roots_of(master), life_of(master->current), fk_clock_us(), &next);

    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "no new ticket keys", fk_error(err));
    fk_timer_start(&master->roots_timer, next);
    tell_all(master);
}

int fk_keyd_roots_renew(struct fk_keyd_master *master)
{
    uint64_t next;
    int err =
        fk_ticket_roots_renew(roots_of(master), life_of(master->current), fk_clock_us(), &next);

    if (err != FK_OK)
        return err;
    fk_timer_start(&master->roots_timer, next);
    tell_all(master);
    return FK_OK;
}

static void on_timer(struct fk_timer *timer)
{
    rotate(fk_container(timer, struct fk_keyd_master, roots_timer));
}

int fk_keyd_roots_start(struct fk_keyd_master *master)
{
    fk_timer_init(&master->roots_timer, master->loop, on_timer);
    return fk_secret_new(sizeof(struct fk_ticket_roots), &master->roots);
}

void fk_keyd_roots_stop(struct fk_keyd_master *master)
{
    if (master->roots == NULL)
        return; /* it was not started */
    fk_timer_stop(&master->roots_timer);
    fk_secret_free(master->roots);
}

int fk_keyd_roots_send(struct fk_keyd_master *master, struct fk_child *child,
                       const struct fk_keyd_load *load)
{
    uint64_t next;
    int err;

    if (roots_of(master)->count == 0 &&
        (err = fk_ticket_roots_rotate(roots_of(master), life_of(load), fk_clock_us(), &next)) !=
            FK_OK)
        return err;
    return tell(master, child);
}

void fk_keyd_roots_commit(struct fk_keyd_master *master, const struct fk_keyd_load *old)
{
    if (old != NULL && fk_rights_lost(old, master->current)) {
        fk_wipe(roots_of(master), sizeof(struct fk_ticket_roots));
        fk_log(FK_LOG_INFO, "new ticket keys: an edge may have the old ones no more");
    }
    rotate(master);
}
