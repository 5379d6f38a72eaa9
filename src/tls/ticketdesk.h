/*
 * Tickets whose keys this process does not have: what a server's context (server_ctx.h) needs of
 * whoever gets the keys of each single ticket from elsewhere.
 */
#ifndef FK_TLS_TICKETDESK_H
#define FK_TLS_TICKETDESK_H

#include "tls/keyback.h"
#include "wire/keyticket.h"

struct fk_ticketdesk;

struct fk_ticketdesk_ops {
    /* Keys of a new ticket, at once; the caller wipes them. FK_ERR_AGAIN: there are none now. */
    int (*take)(struct fk_ticketdesk *desk, struct fk_ticket_single *ret);
    /*
     * The keys of a client's ticket, by its name: `done` gets them as the wire has them
     * (fk_ticket_opened_decode()), never from within open() or cancel(), and may free the desk.
     * `context` is borrowed until then. Else than FK_OK: it will not be called.
     */
    int (*open)(struct fk_ticketdesk *desk, const uint8_t name[16],
                const struct fk_key_context *context, fk_key_done_cb *done, void *arg, void **ret);
    void (*cancel)(struct fk_ticketdesk *desk, void *call);
};

/* Embedded first in a desk's own struct. */
struct fk_ticketdesk {
    const struct fk_ticketdesk_ops *ops;
};

#endif
