/*
 * Tickets of one site whose keys are the key server's (tls/ticketdesk.h): each ticket has keys of
 * its own, which this process gets in advance for those that it seals (TICKET_SEAL: a full
 * handshake waits for none), and asks for when a client brings one (TICKET_UNSEAL: one round trip).
 *
 * Several key servers are asked in the configuration's order: the first that can seals, and a
 * ticket is looked for at one after the other.
 */
#ifndef FK_EDGE_TICKETDESK_H
#define FK_EDGE_TICKETDESK_H

#include "conf/conf.h"
#include "edge/ticketfeed.h"
#include "loop/loop.h"
#include "tls/ticketdesk.h"

struct fk_desk;

/* All borrowed but for `use`. */
struct fk_desk_config {
    struct fk_loop *loop;
    const struct fk_conf_list *servers; /* titles, in the back-end's order */
    struct fk_keyback *back;            /* takes FK_KEY_CALL with a route */
    struct fk_ticket_use use;
    /* The state of the key server with this title: in another one its tickets may be void. */
    struct fk_ticketfeed_state (*state)(void *arg, const char *server);
    void *arg;
};

/* It has no tickets before fk_desk_key(). FK_ERR_NOMEM. */
int fk_desk_new(const struct fk_desk_config *config, struct fk_desk **ret);
/* What is under way is forgotten. NULL is fine. */
void fk_desk_free(struct fk_desk *desk);

/* Tickets are of this private key from now on. */
void fk_desk_key(struct fk_desk *desk, const uint8_t ski[20]);

/* A handshake begins: when it ends, keys are to be there. */
void fk_desk_want(struct fk_desk *desk);

struct fk_ticketdesk *fk_desk_tickets(struct fk_desk *desk);
/* How many tickets could be sealed now. */
size_t fk_desk_stock(struct fk_desk *desk);
/* Whether nobody gave keys when they were asked for last: away, or without the right to it. */
bool fk_desk_fails(const struct fk_desk *desk);

#endif
