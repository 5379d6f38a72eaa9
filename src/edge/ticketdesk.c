/* Keys of single tickets from key servers: see ticketdesk.h. */
#include "edge/ticketdesk.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/secret.h"
#include "wire/keymsg.h"

#include <stdlib.h>
#include <string.h>

struct fk_desk {
    struct fk_ticketdesk base;
    struct fk_desk_config config;
    uint8_t ski[20];
    bool has_key;
    /* The stock: the last `left` of an answer. */
    struct fk_secret *secret; /* struct fk_ticket_singles; NULL when it is empty */
    size_t left;
    uint64_t end_us;
    size_t from; /* which server's */
    struct fk_ticketfeed_state seen;
    /* The question for more. */
    struct fk_key_ticket *ticket; /* NULL: none is under way */
    struct fk_key_route route;
    struct fk_ticketfeed_state asked_in;
    uint64_t next_us; /* not before; 0: whenever */
    bool failing;     /* and the log knows */
    struct fk_list openings;
};

/* A client's ticket that is asked for. */
struct opening {
    struct fk_list link;
    struct fk_desk *desk;
    uint8_t name[16];
    const struct fk_key_context *context;
    fk_key_done_cb *done;
    void *arg;
    size_t server;
    struct fk_key_route route;
    struct fk_key_ticket *ticket;
    struct fk_timer timer;
};

static struct fk_ticketfeed_state state_of(const struct fk_desk *desk, size_t server)
{
    return desk->config.state(desk->config.arg, desk->config.servers->items[server]);
}

static int submit(struct fk_desk *desk, struct fk_key_request *request, fk_key_done_cb *done,
                  void *arg, struct fk_key_ticket **ret)
{
    request->op = FK_KEY_CALL;
    memcpy(request->ski, desk->ski, sizeof request->ski);
    return desk->config.back->ops->submit(desk->config.back, request, done, arg, ret);
}

/* --- the stock --- */

static struct fk_ticket_singles *stock_of(struct fk_desk *desk)
{
    return (void *)fk_secret_data(desk->secret);
}

/* Thousands of sites may have a desk; those without clients have nothing in locked memory. */
static void drop_stock(struct fk_desk *desk)
{
    fk_secret_free(desk->secret);
    desk->secret = NULL;
    desk->left = 0;
}

static int fill_stock(struct fk_desk *desk, const uint8_t *data, size_t len)
{
    int err = FK_OK;

    if (desk->secret == NULL)
        err = fk_secret_new(sizeof(struct fk_ticket_singles), &desk->secret);
    if (err == FK_OK)
        err = fk_ticket_singles_decode(fk_item(data, len), stock_of(desk));
    if (err != FK_OK) {
        drop_stock(desk);
        return err;
    }
    desk->left = stock_of(desk)->count;
    desk->end_us = fk_loop_now_us(desk->config.loop) + stock_of(desk)->life_ms * UINT64_C(1000);
    return FK_OK;
}

size_t fk_desk_stock(struct fk_desk *desk)
{
    struct fk_ticketfeed_state now;

    if (desk->left == 0)
        return 0;
    now = state_of(desk, desk->from);
    if (fk_loop_now_us(desk->config.loop) >= desk->end_us || now.channels != desk->seen.channels ||
        now.generation != desk->seen.generation)
        drop_stock(desk);
    return desk->left;
}

static int take(struct fk_ticketdesk *base, struct fk_ticket_single *ret)
{
    struct fk_desk *desk = fk_container(base, struct fk_desk, base);
    struct fk_ticket_single *single;

    if (fk_desk_stock(desk) == 0)
        return FK_ERR_AGAIN;
    single = &stock_of(desk)->items[--desk->left];
    *ret = *single;
    fk_wipe(single, sizeof *single);
    return FK_OK;
}

/* --- more of it --- */

static void on_singles(void *arg, int err, const uint8_t *data, size_t len);

/* Ask the servers from number `server` on. */
static int ask_for_singles(struct fk_desk *desk, size_t server)
{
    uint8_t payload[64];
    struct fk_writer writer;
    struct fk_key_request request = {.route = &desk->route};
    int err = FK_ERR_UNAVAILABLE;

    fk_writer_init(&writer, payload, sizeof payload);
    fk_ticket_seal_encode(FK_TICKET_SINGLES_MAX, &desk->config.use, &writer);
    request.u.call = (struct fk_key_call){FK_OP_TICKET_SEAL, payload, writer.len};
    for (; server < desk->config.servers->count; server++) {
        desk->route.server = (uint32_t)server + 1;
        desk->asked_in = state_of(desk, server);
        if ((err = submit(desk, &request, on_singles, desk, &desk->ticket)) == FK_OK)
            return FK_OK;
        desk->ticket = NULL;
    }
    return err;
}

static void tell(struct fk_desk *desk, int err)
{
    bool failing = err != FK_OK;

    if (failing == desk->failing)
        return;
    desk->failing = failing;
    if (failing)
        fk_log(FK_LOG_WARN, "no key server seals tickets",
               fk_str("server", desk->config.servers->items[0]), fk_error(err));
    else
        fk_log(FK_LOG_INFO, "tickets are sealed again",
               fk_str("server", desk->config.servers->items[desk->from]));
}

static void give_up(struct fk_desk *desk, int err)
{
    desk->next_us = fk_loop_now_us(desk->config.loop) + FK_EDGE_TICKET_RETRY_STOCK_US;
    tell(desk, err);
}

static void on_singles(void *arg, int err, const uint8_t *data, size_t len)
{
    struct fk_desk *desk = arg;
    size_t server = desk->route.server - 1;

    desk->ticket = NULL;
    if (err == FK_OK)
        err = fill_stock(desk, data, len);
    if (err != FK_OK) {
        if (ask_for_singles(desk, server + 1) != FK_OK)
            give_up(desk, err);
        return;
    }
    desk->from = server;
    desk->seen = desk->asked_in;
    tell(desk, FK_OK);
}

void fk_desk_want(struct fk_desk *desk)
{
    int err;

    if (!desk->has_key || desk->ticket != NULL || fk_desk_stock(desk) >= FK_EDGE_TICKET_STOCK_LOW ||
        fk_loop_now_us(desk->config.loop) < desk->next_us)
        return;
    if ((err = ask_for_singles(desk, 0)) != FK_OK)
        give_up(desk, err);
}

static void cancel_singles(struct fk_desk *desk)
{
    if (desk->ticket != NULL)
        desk->config.back->ops->cancel(desk->config.back, desk->ticket);
    desk->ticket = NULL;
}

void fk_desk_key(struct fk_desk *desk, const uint8_t ski[20])
{
    if (desk->has_key && memcmp(desk->ski, ski, sizeof desk->ski) == 0)
        return;
    cancel_singles(desk);
    drop_stock(desk);
    memcpy(desk->ski, ski, sizeof desk->ski);
    desk->has_key = true;
    desk->next_us = 0;
}

/* --- clients' tickets --- */

static void on_opened(void *arg, int err, const uint8_t *data, size_t len);

/* Ask the servers from the opening's on. */
static int ask_to_open(struct opening *opening)
{
    struct fk_desk *desk = opening->desk;
    struct fk_key_request request = {.route = &opening->route, .context = opening->context};
    uint8_t payload[64];
    struct fk_writer writer;
    int err = FK_ERR_UNAVAILABLE;

    fk_writer_init(&writer, payload, sizeof payload);
    fk_ticket_open_encode(opening->name, &desk->config.use, &writer);
    request.u.call = (struct fk_key_call){FK_OP_TICKET_UNSEAL, payload, writer.len};
    for (; opening->server < desk->config.servers->count; opening->server++) {
        opening->route.server = (uint32_t)opening->server + 1;
        if ((err = submit(desk, &request, on_opened, opening, &opening->ticket)) == FK_OK)
            return FK_OK;
        opening->ticket = NULL;
    }
    return err;
}

static void free_opening(struct opening *opening)
{
    struct fk_keyback *back = opening->desk->config.back;

    if (opening->ticket != NULL)
        back->ops->cancel(back, opening->ticket);
    fk_timer_stop(&opening->timer);
    fk_list_del(&opening->link);
    free(opening);
}

/* Who is told may free the desk: nothing after this. */
static void finish(struct opening *opening, int err, const uint8_t *data, size_t len)
{
    fk_key_done_cb *done = opening->done;
    void *arg = opening->arg;

    free_opening(opening);
    done(arg, err, data, len);
}

static void on_opened(void *arg, int err, const uint8_t *data, size_t len)
{
    struct opening *opening = arg;

    opening->ticket = NULL;
    opening->server++;
    if (err == FK_OK || ask_to_open(opening) != FK_OK)
        finish(opening, err, data, len);
}

static void on_late(struct fk_timer *timer)
{
    finish(fk_container(timer, struct opening, timer), FK_ERR_TIMEOUT, NULL, 0);
}

static int open_ticket(struct fk_ticketdesk *base, const uint8_t name[16],
                       const struct fk_key_context *context, fk_key_done_cb *done, void *arg,
                       void **ret)
{
    struct fk_desk *desk = fk_container(base, struct fk_desk, base);
    struct opening *opening;
    int err;

    if (!desk->has_key)
        return FK_ERR_UNAVAILABLE;
    if ((opening = calloc(1, sizeof *opening)) == NULL)
        return FK_ERR_NOMEM;
    opening->desk = desk;
    memcpy(opening->name, name, sizeof opening->name);
    opening->context = context;
    opening->done = done;
    opening->arg = arg;
    if ((err = ask_to_open(opening)) != FK_OK) {
        free(opening);
        return err;
    }
    fk_list_append(&desk->openings, &opening->link);
    fk_timer_init(&opening->timer, desk->config.loop, on_late);
    fk_timer_start(&opening->timer, FK_EDGE_TICKET_OPEN_US);
    *ret = opening;
    return FK_OK;
}

static void cancel_opening(struct fk_ticketdesk *base, void *call)
{
    (void)base;
    free_opening(call);
}

static const struct fk_ticketdesk_ops desk_ops = {
    .take = take, .open = open_ticket, .cancel = cancel_opening};

/* --- life --- */

int fk_desk_new(const struct fk_desk_config *config, struct fk_desk **ret)
{
    struct fk_desk *desk = calloc(1, sizeof *desk);

    if (desk == NULL)
        return FK_ERR_NOMEM;
    desk->base.ops = &desk_ops;
    desk->config = *config;
    fk_list_init(&desk->openings);
    *ret = desk;
    return FK_OK;
}

void fk_desk_free(struct fk_desk *desk)
{
    struct fk_list *item;

    if (desk == NULL)
        return;
    while ((item = fk_list_pop(&desk->openings)) != NULL)
        free_opening(fk_container(item, struct opening, link));
    cancel_singles(desk);
    fk_secret_free(desk->secret);
    free(desk);
}

bool fk_desk_fails(const struct fk_desk *desk)
{
    return desk->failing;
}

struct fk_ticketdesk *fk_desk_tickets(struct fk_desk *desk)
{
    return &desk->base;
}
