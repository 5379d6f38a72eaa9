/* Asking for shared ticket keys: see ticketfeed.h. */
#include "edge/ticketfeed.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/secret.h"
#include "wire/keymsg.h"

#include <stdlib.h>
#include <string.h>

/* What the last answer of a server was. */
enum mood { UNASKED, GIVES, REFUSES, FAILS };

struct asked {
    struct fk_ticketfeed *feed;
    size_t server;                /* its number in the group */
    struct fk_key_route route;    /* it alone is asked */
    struct fk_key_ticket *ticket; /* under way; NULL: nothing is */
    struct fk_ticketfeed_state seen;
    uint64_t next_us;
    enum mood mood;
};

struct fk_ticketfeed {
    struct fk_list link;
    struct fk_ticketfeeds *feeds;
    unsigned users;
    struct fk_ticketgroup *group;
    const struct fk_conf_list *servers;
    struct fk_keyback *back;
    struct asked asked[FK_EDGE_SERVERS_MAX];
};

struct fk_ticketfeeds {
    struct fk_ticketfeeds_config config;
    struct fk_list items;
    struct fk_timer timer;
    size_t under_way;
};

/* --- answers --- */

/* What follows from an answer: does a server without the right, or without such keys, give none, or
 * is it only not to be had now? */
static enum mood mood_of(int err)
{
    switch (err) {
    case FK_OK:
        return GIVES;
    case FK_ERR_DENIED:
    case FK_ERR_KEY_NOT_FOUND:
    case FK_ERR_OPCODE:
    case FK_ERR_UNSUPPORTED:
        return REFUSES;
    default:
        return FAILS;
    }
}

static uint64_t pause_of(enum mood mood, const struct fk_ticket_grants *grants)
{
    uint64_t us = grants->refresh_ms * UINT64_C(1000);

    if (mood == REFUSES)
        return FK_EDGE_TICKET_REFUSED_US;
    if (mood == FAILS || us < FK_EDGE_TICKET_LOOK_US)
        return FK_EDGE_TICKET_LOOK_US;
    return us;
}

/* Once, when it changes. */
static void tell(const struct asked *asked, enum mood mood, int err)
{
    const char *server = asked->feed->servers->items[asked->server];
    size_t keys = fk_ticketgroup_count(asked->feed->group);

    if (mood == asked->mood)
        return;
    if (mood == GIVES)
        fk_log(FK_LOG_INFO, "ticket keys from the key server", fk_str("server", server),
               fk_uint("keys", keys));
    else
        fk_log(FK_LOG_WARN,
               mood == REFUSES ? "key server gives no ticket keys" : "no answer about ticket keys",
               fk_str("server", server), fk_uint("keys", keys), fk_error(err));
}

static void on_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    struct asked *asked = arg;
    struct fk_ticketfeed *feed = asked->feed;
    uint64_t now = fk_loop_now_us(feed->feeds->config.loop);
    struct fk_ticket_grants grants = {.refresh_ms = 0};
    enum mood mood;

    asked->ticket = NULL;
    feed->feeds->under_way--;
    if (err == FK_OK)
        err = fk_ticket_grants_decode(fk_item(data, len), &grants);
    mood = mood_of(err);
    if (mood == GIVES)
        fk_ticketgroup_take(feed->group, asked->server, &grants, now);
    else if (mood == REFUSES)
        fk_ticketgroup_drop(feed->group, asked->server, now);
    tell(asked, mood, err);
    asked->mood = mood;
    asked->next_us = now + pause_of(mood, &grants);
    fk_wipe(&grants, sizeof grants);
}

/* --- questions --- */

static void ask(struct asked *asked)
{
    struct fk_ticketfeed *feed = asked->feed;
    struct fk_key_request request = {
        .op = FK_KEY_CALL,
        .u.call = {.opcode = FK_OP_TICKET_KEYS, .payload = (const uint8_t *)"", .len = 0},
        .route = &asked->route,
    };
    int err;

    memcpy(request.ski, fk_ticketgroup_ski(feed->group), sizeof request.ski);
    asked->route.server = (uint32_t)asked->server + 1;
    err = feed->back->ops->submit(feed->back, &request, on_answer, asked, &asked->ticket);
    if (err == FK_OK) {
        feed->feeds->under_way++;
        return;
    }
    tell(asked, FAILS, err);
    asked->mood = FAILS;
    asked->next_us = fk_loop_now_us(feed->feeds->config.loop) + FK_EDGE_TICKET_LOOK_US;
}

static bool is_same(const struct fk_ticketfeed_state *a, const struct fk_ticketfeed_state *b)
{
    return a->channels == b->channels && a->generation == b->generation;
}

static void look_at(struct asked *asked, uint64_t now)
{
    const struct fk_ticketfeeds_config *config = &asked->feed->feeds->config;
    const char *server = asked->feed->servers->items[asked->server];
    struct fk_ticketfeed_state state;

    if (asked->ticket != NULL || asked->feed->feeds->under_way >= FK_EDGE_TICKET_ASKED_MAX)
        return;
    state = config->state(config->arg, server);
    if (asked->mood != UNASKED && is_same(&state, &asked->seen) && now < asked->next_us)
        return;
    asked->seen = state;
    ask(asked);
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_ticketfeeds *feeds = fk_container(timer, struct fk_ticketfeeds, timer);
    uint64_t now = fk_loop_now_us(feeds->config.loop);
    struct fk_list *item;

    fk_list_each (item, &feeds->items) {
        struct fk_ticketfeed *feed = fk_container(item, struct fk_ticketfeed, link);

        fk_ticketgroup_tick(feed->group, now);
        for (size_t i = 0; feed->users > 0 && i < feed->servers->count; i++)
            look_at(&feed->asked[i], now);
    }
    fk_timer_start(&feeds->timer, FK_EDGE_TICKET_LOOK_US);
}

void fk_ticketfeeds_start(struct fk_ticketfeeds *feeds)
{
    fk_timer_start(&feeds->timer, 0);
}

void fk_ticketfeeds_stop(struct fk_ticketfeeds *feeds)
{
    fk_timer_stop(&feeds->timer);
}

/* --- feeds --- */

int fk_ticketfeeds_new(const struct fk_ticketfeeds_config *config, struct fk_ticketfeeds **ret)
{
    struct fk_ticketfeeds *feeds = calloc(1, sizeof *feeds);

    if (feeds == NULL)
        return FK_ERR_NOMEM;
    feeds->config = *config;
    fk_list_init(&feeds->items);
    fk_timer_init(&feeds->timer, config->loop, on_timer);
    *ret = feeds;
    return FK_OK;
}

static void release(struct fk_ticketfeed *feed)
{
    for (size_t i = 0; i < feed->servers->count; i++)
        if (feed->asked[i].ticket != NULL)
            feed->back->ops->cancel(feed->back, feed->asked[i].ticket);
    fk_ticketgroup_unref(feed->group);
    free(feed);
}

void fk_ticketfeeds_free(struct fk_ticketfeeds *feeds)
{
    struct fk_list *item;

    if (feeds == NULL)
        return;
    fk_timer_stop(&feeds->timer);
    while ((item = fk_list_pop(&feeds->items)) != NULL)
        release(fk_container(item, struct fk_ticketfeed, link));
    free(feeds);
}

static struct fk_ticketfeed *find(struct fk_ticketfeeds *feeds, const struct fk_ticketgroup *group)
{
    struct fk_list *item;

    fk_list_each (item, &feeds->items) {
        struct fk_ticketfeed *feed = fk_container(item, struct fk_ticketfeed, link);

        if (feed->group == group)
            return feed;
    }
    return NULL;
}

static int make(struct fk_ticketfeeds *feeds, struct fk_ticketgroup *group,
                const struct fk_ticketfeed_source *source, struct fk_ticketfeed **ret)
{
    struct fk_ticketfeed *feed = calloc(1, sizeof *feed);

    if (feed == NULL)
        return FK_ERR_NOMEM;
    feed->feeds = feeds;
    feed->group = group;
    feed->servers = source->servers;
    feed->back = source->back;
    for (size_t i = 0; i < source->servers->count; i++)
        feed->asked[i] = (struct asked){.feed = feed, .server = i};
    fk_list_append(&feeds->items, &feed->link);
    *ret = feed;
    return FK_OK;
}

int fk_ticketfeed_use(struct fk_ticketfeeds *feeds, const struct fk_ticketfeed_source *source,
                      struct fk_ticketfeed **ret)
{
    struct fk_ticketgroup *group;
    struct fk_ticketfeed *feed;
    int err = fk_ticketgroup_get(feeds->config.groups, source->ski, source->servers, &group);

    if (err != FK_OK)
        return err;
    if ((feed = find(feeds, group)) != NULL)
        fk_ticketgroup_unref(group); /* the feed has its own */
    else if ((err = make(feeds, group, source, &feed)) != FK_OK) {
        fk_ticketgroup_unref(group);
        return err;
    }
    feed->users++;
    if (fk_timer_active(&feeds->timer))
        fk_timer_start(&feeds->timer, 0);
    *ret = feed;
    return FK_OK;
}

void fk_ticketfeed_leave(struct fk_ticketfeed *feed)
{
    if (feed != NULL)
        feed->users--;
}

struct fk_ticketgroup *fk_ticketfeed_group(struct fk_ticketfeed *feed)
{
    return feed->group;
}
