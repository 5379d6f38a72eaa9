/*
 * What all handshakers share for resumption: ticket keys that the master makes, changes in time and
 * never writes down, and memory for sessions by id.
 */
#include "keyd/master_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "loop/sock.h"
#include "tls/sescache.h"
#include "tls/tickets.h"

#include "base/secret.h"

static struct fk_ticket_keys *keys_of(const struct fk_keyd_master *master)
{
    return (void *)fk_secret_data(master->tickets);
}

int fk_keyd_tickets_send(struct fk_keyd_master *master, struct fk_child *child)
{
    struct fk_procmsg msg = {.type = FK_PROC_TICKETS};
    int err;

    msg.len = fk_ticket_keys_encode(keys_of(master), msg.data);
    err = fk_child_send(child, &msg);
    fk_wipe(&msg, sizeof msg);
    return err;
}

int fk_keyd_sessions_send(struct fk_keyd_master *master, struct fk_child *child)
{
    return fk_child_send_fd(child, FK_PROC_SESSIONS, 0, master->sessions_fd);
}

/* Without randomness the old keys go on. */
static void rotate(struct fk_keyd_master *master)
{
    uint64_t next = FK_EDGE_TICKET_RETRY_US;
    struct fk_child *child = NULL;
    bool changed = false;
    int err = fk_ticket_keys_rotate(keys_of(master), FK_HANDSHAKER_KEY_LIFE_US, fk_clock_us(),
                                    &changed, &next);

    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "no new ticket key", fk_error(err));
    while (changed && (child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == FK_KEYD_HANDSHAKER && fk_keyd_place(child)->up)
            (void)fk_keyd_tickets_send(master, child);
    fk_timer_start(&master->ticket_timer, next);
}

static void on_timer(struct fk_timer *timer)
{
    rotate(fk_container(timer, struct fk_keyd_master, ticket_timer));
}

int fk_keyd_tickets_init(struct fk_keyd_master *master)
{
    int err;

    if ((err = fk_secret_new(sizeof(struct fk_ticket_keys), &master->tickets)) != FK_OK ||
        (err = fk_sescache_create(FK_HANDSHAKER_SESSIONS, &master->sessions_fd)) != FK_OK)
        return err;
    fk_timer_init(&master->ticket_timer, master->loop, on_timer);
    rotate(master);
    return FK_OK;
}

void fk_keyd_tickets_fini(struct fk_keyd_master *master)
{
    fk_timer_stop(&master->ticket_timer);
    fk_secret_free(master->tickets);
    fk_close(&master->sessions_fd);
}
