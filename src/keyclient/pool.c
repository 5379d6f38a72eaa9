/*
 * A back-end over several key servers: where each request goes, and where it goes next.
 *
 * A request has one deadline. Within it another server is asked when the channel of the first is
 * lost, when it answers that it cannot, when its signature is bad, or when it has not answered
 * within its own usual time (fk_server_patience(), at most half of the deadline) without being at
 * work for others. With hedging, a second server is asked as well before that (hedge.c). When no
 * server can be used, a request waits for one to come back, but only while
 * the outage is younger than the deadline: in a long one requests fail at once.
 */
#include "keyclient/internal.h"

#include "base/clock.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

/* What follows from an error of one server. */
enum next_step {
    ONLY_HOLDERS, /* another server will say the same, unless its listing has the key */
    ELSEWHERE,    /* another server may do better */
    ANYWHERE,     /* this one, too, once it is back */
};

static const struct {
    int err;
    enum next_step step;
} policy[] = {
    {FK_ERR_CLOSED, ANYWHERE},         {FK_ERR_DRAINING, ANYWHERE},  {FK_ERR_UNAVAILABLE, ANYWHERE},
    {FK_ERR_RATE, ELSEWHERE},          {FK_ERR_INTERNAL, ELSEWHERE}, {FK_ERR_CRYPTO, ELSEWHERE},
    {FK_ERR_KEY_NOT_FOUND, ELSEWHERE}, {FK_ERR_VERIFY, ELSEWHERE},   {FK_ERR_TIMEOUT, ELSEWHERE},
};

static enum next_step step_after(int err)
{
    for (size_t i = 0; i < sizeof policy / sizeof policy[0]; i++)
        if (policy[i].err == err)
            return policy[i].step;
    return ONLY_HOLDERS; /* denied, malformed, not supported */
}

/* Whether one server alone may be asked. */
static bool is_bound(const struct fk_key_ticket *ticket)
{
    return ticket->route != NULL && ticket->route->server != 0;
}

enum fk_usable fk_pool_usable(const struct fk_keypool *pool, size_t member,
                              const struct fk_key_ticket *ticket)
{
    const struct fk_keyserver *server = pool->members[member].server;

    if (is_bound(ticket) && ticket->route->server != member + 1)
        return FK_USABLE_NOT;
    if (server == NULL || (ticket->tried & (UINT64_C(1) << member)) != 0)
        return FK_USABLE_NOT;
    return fk_server_usable(server);
}

/* Call `done` and forget the ticket, which is in no place. */
static void finish(struct fk_key_ticket *ticket, int err, const uint8_t *data, size_t len)
{
    fk_key_done_cb *done = ticket->done;
    void *arg = ticket->arg;

    fk_hedge_drop(ticket);
    fk_timer_stop(&ticket->timer);
    fk_list_del(&ticket->pool_link);
    fk_ticket_free(ticket);
    done(arg, err, data, len);
}

/* Whether somebody else could be asked now: for this, or for what is in its place. */
static bool has_others(const struct fk_key_ticket *ticket)
{
    const struct fk_keypool *pool = ticket->pool;

    if (ticket->replaceable && fk_pool_spares(pool, ticket->server))
        return true;
    for (size_t i = 0; i < pool->n_members; i++)
        if (pool->members[i].server != ticket->server &&
            fk_pool_usable(pool, i, ticket) == FK_USABLE_NOW)
            return true;
    return false;
}

/* How long the present server is waited for: forever if nobody else could be asked then. */
static uint64_t patience_with(const struct fk_key_ticket *ticket)
{
    const struct fk_keypool *pool = ticket->pool;
    uint64_t patience;

    if (!has_others(ticket))
        return UINT64_MAX;
    patience = fk_server_patience(ticket->server);
    return patience < pool->back.deadline_us / 2 ? patience : pool->back.deadline_us / 2;
}

/* Until something is to be done about it: a second server, another one, or the end. */
static void arm_timer(struct fk_key_ticket *ticket, uint64_t now)
{
    uint64_t left = ticket->deadline_us > now ? ticket->deadline_us - now : 0;
    uint64_t patience = ticket->server != NULL ? patience_with(ticket) : UINT64_MAX;
    uint64_t hedge = fk_hedge_delay(ticket);

    ticket->hedge_next = hedge != 0 && hedge < patience && hedge < left;
    if (ticket->hedge_next)
        left = hedge;
    else if (patience < left)
        left = patience;
    fk_timer_start(&ticket->timer, left);
}

/* Give the ticket to a server of this usability. False when there is none that takes it. */
static bool place_among(struct fk_keypool *pool, struct fk_key_ticket *ticket, enum fk_usable want)
{
    size_t candidates[FK_KEYPOOL_SERVERS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < pool->n_members; i++)
        if (fk_pool_usable(pool, i, ticket) == want)
            candidates[n++] = i;
    while (n > 0) {
        size_t chosen = fk_strategy_choose(pool, candidates, n);
        size_t kept = 0;

        if (fk_server_take(pool->members[chosen].server, ticket) == FK_OK) {
            ticket->attempts++;
            return true;
        }
        for (size_t i = 0; i < n; i++)
            if (candidates[i] != chosen)
                candidates[kept++] = candidates[i];
        n = kept;
    }
    return false;
}

bool fk_pool_spares(const struct fk_keypool *pool, const struct fk_keyserver *server)
{
    for (size_t i = 0; i < pool->n_members; i++)
        if (pool->members[i].server != NULL && pool->members[i].server != server &&
            fk_server_usable(pool->members[i].server) == FK_USABLE_NOW)
            return true;
    return false;
}

static void hurry(const struct fk_keypool *pool)
{
    for (size_t i = 0; i < pool->n_members; i++)
        if (pool->members[i].server != NULL)
            fk_server_hurry(pool->members[i].server);
}

/* Whether waiting for a server to come back makes sense. */
static bool may_park(const struct fk_keypool *pool, const struct fk_key_ticket *ticket,
                     uint64_t now)
{
    if (pool->n_parked >= FK_KEYPOOL_PARKED_MAX ||
        (ticket->replaceable && fk_pool_spares(pool, NULL)))
        return false;
    for (size_t i = 0; i < pool->n_members; i++)
        if (fk_pool_usable(pool, i, ticket) == FK_USABLE_LATER &&
            now - pool->members[i].server->down_since_us < pool->back.deadline_us)
            return true;
    return false;
}

/* What to tell when nobody is left to ask. */
static int final_error(const struct fk_key_ticket *ticket)
{
    if (ticket->last_err == FK_OK || ticket->last_err == FK_ERR_CLOSED)
        return FK_ERR_UNAVAILABLE;
    return ticket->last_err;
}

/* With a server, or parked; else the error to finish with. */
static int place(struct fk_key_ticket *ticket)
{
    struct fk_keypool *pool = ticket->pool;
    uint64_t now = fk_clock_us();

    if (now >= ticket->deadline_us)
        return ticket->reached ? FK_ERR_TIMEOUT : FK_ERR_UNAVAILABLE;
    if (ticket->attempts >= FK_KEY_ATTEMPTS_MAX)
        return final_error(ticket);
    if (!place_among(pool, ticket, FK_USABLE_NOW) && !place_among(pool, ticket, FK_USABLE_SOON)) {
        hurry(pool);
        if (!may_park(pool, ticket, now))
            return final_error(ticket);
        fk_list_append(&pool->parked, &ticket->server_link);
        ticket->parked = true;
        pool->n_parked++;
    }
    arm_timer(ticket, now);
    return FK_OK;
}

/* Take a ticket off whatever place or list it is in. */
static void displace(struct fk_key_ticket *ticket)
{
    if (ticket->server != NULL)
        fk_server_give_up(ticket->server, ticket);
    fk_list_del(&ticket->server_link);
    if (ticket->parked)
        ticket->pool->n_parked--;
    ticket->parked = false;
}

static size_t member_of(const struct fk_keypool *pool, const struct fk_keyserver *server)
{
    size_t i = 0;

    while (i < pool->n_members && pool->members[i].server != server)
        i++;
    return i;
}

void fk_pool_answered(struct fk_key_ticket *ticket, const struct fk_keyserver *from,
                      const uint8_t *data, size_t len)
{
    if (ticket->is_twin) {
        ticket = fk_hedge_won(ticket, fk_clock_us());
        displace(ticket);
    }
    if (ticket->route != NULL)
        ticket->route->server = (uint32_t)member_of(ticket->pool, from) + 1;
    finish(ticket, FK_OK, data, len);
}

/* Whom it need not be put to any more, after this error of that server. */
static void strike_off(struct fk_key_ticket *ticket, const struct fk_keyserver *from, int err)
{
    const struct fk_keypool *pool = ticket->pool;
    enum next_step step = step_after(err);
    size_t member = member_of(pool, from);

    if (step != ANYWHERE && member < pool->n_members)
        ticket->tried |= UINT64_C(1) << member;
    for (size_t i = 0; step == ONLY_HOLDERS && i < pool->n_members; i++)
        if (pool->members[i].server == NULL ||
            !fk_keylist_has(&pool->members[i].server->list, ticket->ski))
            ticket->tried |= UINT64_C(1) << i;
}

void fk_pool_failed(struct fk_key_ticket *ticket, struct fk_keyserver *from, int err)
{
    strike_off(ticket, from, err);
    if (ticket->is_twin) {
        fk_hedge_lost(ticket);
        return;
    }
    ticket->last_err = err;
    if (ticket->twin != NULL) {
        fk_hedge_adopt(ticket);
        arm_timer(ticket, fk_clock_us());
        return;
    }
    err = is_bound(ticket) && ticket->reached ? final_error(ticket) : place(ticket);
    if (err != FK_OK)
        finish(ticket, err, NULL, 0);
}

void fk_pool_unpark(struct fk_keypool *pool)
{
    size_t n = pool->n_parked; /* those that are parked again stay so */

    for (; n > 0 && !fk_list_empty(&pool->parked); n--) {
        struct fk_key_ticket *ticket =
            fk_container(pool->parked.next, struct fk_key_ticket, server_link);
        int err;

        displace(ticket);
        err = place(ticket);
        if (err != FK_OK)
            finish(ticket, err, NULL, 0);
    }
}

/*
 * The server is slow but at work: it has answered others since it was given this one. Leaving it
 * now would double the load when it can be borne least; after half of the deadline it is left.
 */
static bool at_work(const struct fk_key_ticket *ticket, uint64_t now)
{
    return ticket->sent_us != 0 && ticket->server->answered_us > ticket->sent_us &&
           now - ticket->sent_us < ticket->pool->back.deadline_us / 2;
}

/* The present server had its time, or all time is over. */
static void on_timer(struct fk_timer *timer)
{
    struct fk_key_ticket *ticket = fk_container(timer, struct fk_key_ticket, timer);
    struct fk_keyserver *server = ticket->server;
    uint64_t now = fk_clock_us();

    if (ticket->hedge_next)
        fk_hedge(ticket);
    if (ticket->hedge_next ||
        (server != NULL && now < ticket->deadline_us && at_work(ticket, now))) {
        arm_timer(ticket, now);
        return;
    }
    if (server != NULL && ticket->sent_us != 0) {
        server->stats.timeouts++;
        fk_server_sample(server, now - ticket->sent_us);
    }
    displace(ticket);
    if (server == NULL || now >= ticket->deadline_us)
        finish(ticket, ticket->reached ? FK_ERR_TIMEOUT : FK_ERR_UNAVAILABLE, NULL, 0);
    else
        fk_pool_failed(ticket, server, FK_ERR_TIMEOUT);
}

static int submit(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct fk_keypool *pool = fk_container(back, struct fk_keypool, back);
    struct fk_key_ticket *ticket;
    int err;

    if (pool->dying)
        return FK_ERR_CANCELLED;
    err = fk_ticket_new(pool, request, done, arg, &ticket);
    if (err != FK_OK)
        return err;
    fk_timer_init(&ticket->timer, pool->client->loop, on_timer);
    ticket->deadline_us = fk_clock_us() + pool->back.deadline_us;
    err = place(ticket);
    if (err != FK_OK) {
        fk_ticket_free(ticket);
        return err;
    }
    fk_list_append(&pool->tickets, &ticket->pool_link);
    *ret = ticket;
    return FK_OK;
}

static void cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    (void)back;
    fk_hedge_drop(ticket);
    displace(ticket);
    fk_timer_stop(&ticket->timer);
    fk_list_del(&ticket->pool_link);
    fk_ticket_free(ticket);
}

static void suspect(struct fk_keyback *back)
{
    struct fk_keypool *pool = fk_container(back, struct fk_keypool, back);
    uint64_t now = fk_clock_us();

    if (pool->suspected_us != 0 && now - pool->suspected_us < FK_VERIFY_COMPLAINT_US)
        return;
    pool->suspected_us = now;
    for (size_t i = 0; i < pool->n_members; i++)
        if (pool->members[i].server != NULL)
            fk_verify_suspect(&pool->members[i].server->verify);
}

static const struct fk_keyback_ops pool_ops = {submit, cancel, suspect};

static void release(struct fk_keypool *pool)
{
    free(pool->members);
    free(pool->zone);
    free(pool);
}

static void free_pool(struct fk_keypool *pool)
{
    for (size_t i = 0; i < pool->n_members; i++)
        fk_list_del(&pool->members[i].link);
    fk_defer_stop(&pool->reap);
    fk_list_del(&pool->link);
    release(pool);
}

void fk_pool_reap(struct fk_keypool *pool)
{
    while (!fk_list_empty(&pool->tickets)) {
        struct fk_key_ticket *ticket =
            fk_container(pool->tickets.next, struct fk_key_ticket, pool_link);

        displace(ticket);
        finish(ticket, FK_ERR_CANCELLED, NULL, 0);
    }
    free_pool(pool);
}

static void on_reap(struct fk_defer *defer)
{
    fk_pool_reap(fk_container(defer, struct fk_keypool, reap));
}

int fk_keypool_new(struct fk_keyclient *client, const struct fk_keypool_config *config,
                   struct fk_keyserver *const *servers, size_t n_servers, struct fk_keypool **ret)
{
    struct fk_keypool *pool;

    if (n_servers == 0 || n_servers > FK_KEYPOOL_SERVERS_MAX || config->deadline_us == 0)
        return FK_ERR_INVAL;
    pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return FK_ERR_NOMEM;
    pool->back.ops = &pool_ops;
    pool->client = client;
    pool->strategy = config->strategy;
    pool->hedge = config->hedge;
    pool->back.deadline_us = config->deadline_us;
    fk_list_init(&pool->tickets);
    fk_list_init(&pool->parked);
    fk_list_init(&pool->link);
    fk_defer_init(&pool->reap, client->loop, on_reap);
    pool->members = calloc(n_servers, sizeof *pool->members);
    pool->zone = config->zone != NULL ? strdup(config->zone) : NULL;
    if (pool->members == NULL || (config->zone != NULL && pool->zone == NULL)) {
        release(pool); /* nothing is linked yet */
        return FK_ERR_NOMEM;
    }
    pool->n_members = n_servers;
    for (size_t i = 0; i < n_servers; i++) {
        pool->members[i].pool = pool;
        pool->members[i].server = servers[i];
        fk_list_append(&servers[i]->members, &pool->members[i].link);
    }
    fk_list_append(&client->pools, &pool->link);
    *ret = pool;
    return FK_OK;
}

void fk_keypool_free(struct fk_keypool *pool)
{
    if (pool == NULL || pool->dying)
        return;
    /* Its callers may be on the stack, and `done` is never called from within this call. */
    pool->dying = true;
    fk_defer_start(&pool->reap);
}

struct fk_keyback *fk_keypool_back(struct fk_keypool *pool)
{
    return &pool->back;
}
