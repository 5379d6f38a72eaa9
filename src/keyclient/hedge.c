/*
 * Hedging: a request that is late is put to a second server, too, and the first good answer counts.
 *
 * The second is a twin: a ticket like the first, with another server, that answers for it. The
 * caller knows the first only. Whichever fails leaves the request to the other one.
 */
#include "keyclient/internal.h"

#include "base/clock.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

/* When a usual answer of that server would have been here. */
static uint64_t usual(const struct fk_keyserver *server)
{
    return fk_spread_quantile(&server->spread, FK_KEY_HEDGE_PERCENT);
}

/* The one to ask as well: that which usually answers soonest. NULL: none that is known. */
static struct fk_keyserver *second(const struct fk_key_ticket *ticket, uint64_t *ret_usual)
{
    const struct fk_keypool *pool = ticket->pool;
    struct fk_keyserver *best = NULL;
    uint64_t us;

    for (size_t i = 0; i < pool->n_members; i++) {
        struct fk_keyserver *server = pool->members[i].server;

        if (server == ticket->server || fk_pool_usable(pool, i, ticket) != FK_USABLE_NOW ||
            (us = usual(server)) == 0 || (best != NULL && us >= *ret_usual))
            continue;
        best = server;
        *ret_usual = us;
    }
    return best;
}

uint64_t fk_hedge_delay(const struct fk_key_ticket *ticket)
{
    uint64_t us;

    if (!ticket->pool->hedge || ticket->hedged || ticket->server == NULL ||
        second(ticket, &us) == NULL)
        return 0;
    return us < FK_KEY_HEDGE_MIN_US ? FK_KEY_HEDGE_MIN_US : us;
}

/* A copy that is in no place; it has no timer: the first one's counts for both. */
static struct fk_key_ticket *make_twin(struct fk_key_ticket *ticket)
{
    size_t size = fk_ticket_size(ticket);
    struct fk_key_ticket *twin = malloc(size);

    if (twin == NULL)
        return NULL;
    memcpy(twin, ticket, size);
    fk_list_init(&twin->pool_link);
    fk_list_init(&twin->server_link);
    fk_timer_init(&twin->timer, ticket->pool->client->loop, NULL);
    twin->server = NULL;
    twin->sent_us = 0;
    twin->is_twin = true;
    twin->twin = ticket;
    return twin;
}

void fk_hedge(struct fk_key_ticket *ticket)
{
    struct fk_key_ticket *twin;
    struct fk_keyserver *server;
    uint64_t us;

    ticket->hedged = true;
    if ((server = second(ticket, &us)) == NULL || (twin = make_twin(ticket)) == NULL)
        return;
    if (fk_server_take(server, twin) != FK_OK) {
        fk_ticket_free(twin);
        return;
    }
    ticket->twin = twin;
    server->stats.hedges++;
}

void fk_hedge_drop(struct fk_key_ticket *ticket)
{
    struct fk_key_ticket *twin = ticket->twin;

    ticket->twin = NULL;
    if (twin == NULL)
        return;
    if (twin->server != NULL)
        fk_server_give_up(twin->server, twin);
    fk_ticket_free(twin);
}

/* The twin has gone, or its news are told: the first one is on its own again. */
static struct fk_key_ticket *part(struct fk_key_ticket *twin)
{
    struct fk_key_ticket *first = twin->twin;

    first->twin = NULL;
    first->tried |= twin->tried;
    fk_ticket_free(twin);
    return first;
}

struct fk_key_ticket *fk_hedge_won(struct fk_key_ticket *twin, uint64_t now)
{
    struct fk_key_ticket *first = part(twin);
    struct fk_keyserver *slow = first->server;

    if (slow != NULL && first->sent_us != 0)
        fk_server_sample(slow, now - first->sent_us); /* it would have taken longer */
    return first;
}

void fk_hedge_lost(struct fk_key_ticket *twin)
{
    (void)part(twin);
}

void fk_hedge_adopt(struct fk_key_ticket *ticket)
{
    struct fk_key_ticket *twin = ticket->twin;
    struct fk_keyserver *server = twin->server;
    struct fk_slot *slot = twin->sent_us != 0 ? fk_table_find(&server->table, twin->id) : NULL;

    ticket->twin = NULL;
    ticket->server = server;
    ticket->sent_us = twin->sent_us;
    ticket->id = twin->id;
    memcpy(ticket->signature, twin->signature, sizeof ticket->signature);
    fk_list_append(&twin->server_link, &ticket->server_link); /* its place in the server's list */
    fk_list_del(&twin->server_link);
    if (slot != NULL && slot->ticket == twin)
        slot->ticket = ticket;
    fk_ticket_free(twin);
}
