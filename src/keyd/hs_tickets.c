/*
 * What all handshakers share for resumption: ticket keys that the master makes, changes in time and
 * never writes down, and memory for sessions by id. With a ticket secret the keys are those of all
 * key servers that have it.
 */
#include "keyd/master_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/secret.h"
#include "loop/sock.h"
#include "tls/sescache.h"
#include "tls/tickets.h"

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

static const struct fk_secret *shared_secret(const struct fk_keyd_master *master)
{
    return master->current == NULL ? NULL : master->current->ticket_secret;
}

/* Those of now, from the secret that this key server shares with others. */
static int follow(struct fk_ticket_keys *keys, const struct fk_secret *secret, bool *ret_changed,
                  uint64_t *ret_next_us)
{
    struct fk_ticket_keys now;
    int err = fk_ticket_keys_shared(fk_secret_bytes(secret), FK_HANDSHAKER_KEY_LIFE_US,
                                    fk_clock_wall_us(), &now, ret_next_us);

    if (err != FK_OK)
        return err;
    *ret_changed =
        keys->count != now.count || !fk_equal_ct(keys->keys, now.keys, sizeof now.keys[0]);
    *keys = now;
    fk_wipe(&now, sizeof now);
    /* The clock may be set in the meantime. */
    if (*ret_next_us > FK_HANDSHAKER_CLOCK_LOOK_US)
        *ret_next_us = FK_HANDSHAKER_CLOCK_LOOK_US;
    return FK_OK;
}

static void tell_all(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == FK_KEYD_HANDSHAKER && fk_keyd_place(child)->up)
            (void)fk_keyd_tickets_send(master, child);
}

/* When something is wrong the old keys go on. */
static void rotate(struct fk_keyd_master *master)
{
    const struct fk_secret *secret = shared_secret(master);
    struct fk_ticket_keys *keys = keys_of(master);
    uint64_t next = FK_EDGE_TICKET_RETRY_US;
    bool changed = false;
    int err;

    if (secret != NULL)
        err = follow(keys, secret, &changed, &next);
    else
        err =
            fk_ticket_keys_rotate(keys, FK_HANDSHAKER_KEY_LIFE_US, fk_clock_us(), &changed, &next);
    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "no new ticket key", fk_error(err));
    if (changed)
        tell_all(master);
    fk_timer_start(&master->ticket_timer, next);
}

int fk_keyd_tickets_renew(struct fk_keyd_master *master)
{
    uint64_t next;
    int err;

    if (shared_secret(master) != NULL)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_ticket_keys_renew(keys_of(master), FK_HANDSHAKER_KEY_LIFE_US, fk_clock_us(),
                                    &next)) != FK_OK)
        return err;
    tell_all(master);
    fk_timer_start(&master->ticket_timer, next);
    return FK_OK;
}

void fk_keyd_tickets_commit(struct fk_keyd_master *master)
{
    const bool shared = shared_secret(master) != NULL;

    if (!shared && master->tickets_shared) /* of the secret nothing is left */
        fk_wipe(keys_of(master), sizeof(struct fk_ticket_keys));
    master->tickets_shared = shared;
    rotate(master);
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
