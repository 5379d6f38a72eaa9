/* edge/ticketdesk: when key servers are asked for keys of tickets, and what follows from each
 * answer. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/writer.h"
#include "edge/ticketdesk.h"
#include "wire/keymsg.h"

#define SERVERS 2

static char names[][6] = {"keys1", "keys2"};
static char *titles[] = {names[0], names[1]};
static const struct fk_conf_list servers = {.items = titles, .count = SERVERS};
static const uint8_t ski[20] = {1}, other_ski[20] = {2};

/* --- key servers, played by the test --- */

static struct server {
    int refuse; /* what submit() gives */
    unsigned sealed, unsealed, cancelled;
    uint8_t ski[20], name[16];
    struct fk_ticket_use use;
    fk_key_done_cb *done; /* NULL: nothing is under way */
    void *arg;
    struct fk_ticketfeed_state state;
} played[SERVERS];

static int submit(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct fk_reader payload = fk_item(request->u.call.payload, request->u.call.len);
    struct server *server;
    uint8_t count;

    (void)back;
    assert_int_equal(request->op, FK_KEY_CALL);
    assert_true(request->route->server >= 1 && request->route->server <= SERVERS);
    server = &played[request->route->server - 1];
    if (server->refuse != FK_OK)
        return server->refuse;
    assert_null(server->done);
    memcpy(server->ski, request->ski, sizeof server->ski);
    if (request->u.call.opcode == FK_OP_TICKET_SEAL) {
        assert_ok(fk_ticket_seal_decode(payload, &count, &server->use));
        assert_int_equal(count, FK_TICKET_SINGLES_MAX);
        server->sealed++;
    } else {
        assert_int_equal(request->u.call.opcode, FK_OP_TICKET_UNSEAL);
        assert_ok(fk_ticket_open_decode(payload, server->name, &server->use));
        server->unsealed++;
    }
    server->done = done;
    server->arg = arg;
    *ret = (struct fk_key_ticket *)(void *)server;
    return FK_OK;
}

static void cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    struct server *server = (struct server *)(void *)ticket;

    (void)back;
    assert_non_null(server->done);
    server->cancelled++;
    server->done = NULL;
}

static const struct fk_keyback_ops ops = {.submit = submit, .cancel = cancel};
static struct fk_keyback back = {.ops = &ops};

static void answer(size_t i, int err, const void *data, size_t len)
{
    fk_key_done_cb *done = played[i].done;

    assert_non_null(done);
    played[i].done = NULL;
    done(played[i].arg, err, data, len);
}

/* Tickets whose every byte is `name` and their number. */
static void give(size_t i, uint8_t name, uint8_t count, uint32_t life_ms)
{
    struct fk_ticket_singles singles = {.life_ms = life_ms, .count = count};
    uint8_t bytes[FK_TICKET_SINGLES_WIRE_MAX];
    struct fk_writer writer;
    size_t len;

    for (uint8_t k = 0; k < count; k++)
        memset(&singles.items[k], name + k, sizeof singles.items[k]);
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_ticket_singles_encode(&singles, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    answer(i, FK_OK, bytes, len);
}

/* --- the desk --- */

static struct fk_loop *loop;
static struct fk_desk *desk;

static struct fk_ticketfeed_state state_of(void *arg, const char *server)
{
    assert_ptr_equal(arg, &played);
    return played[server == titles[1]].state;
}

static int make(struct fk_desk **ret)
{
    const struct fk_desk_config config = {
        .loop = loop,
        .servers = &servers,
        .back = &back,
        .use = {.mode = FK_TICKET_MODE_SIGN, .owner = {9}},
        .state = state_of,
        .arg = &played,
    };

    return fk_desk_new(&config, ret);
}

static int setup(void **state)
{
    (void)state;
    fk_log_threshold(FK_LOG_ERROR);
    memset(played, 0, sizeof played);
    assert_ok(fk_loop_new(&loop));
    assert_ok(make(&desk));
    fk_desk_key(desk, ski);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_desk_free(desk);
    fk_loop_free(loop);
    return 0;
}

static int take(struct fk_ticket_single *ret)
{
    struct fk_ticketdesk *tickets = fk_desk_tickets(desk);

    return tickets->ops->take(tickets, ret);
}

static void on_stop(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void let_pass(uint64_t us)
{
    struct fk_timer timer;

    fk_timer_init(&timer, loop, on_stop);
    fk_timer_start(&timer, us);
    fk_loop_run(loop);
}

/* --- sealing --- */

static void keys_are_there_before_they_are_needed(void **state)
{
    struct fk_ticket_single single;

    (void)state;
    assert_err(take(&single), FK_ERR_AGAIN);
    fk_desk_want(desk);
    fk_desk_want(desk);
    assert_int_equal(played[0].sealed, 1);
    assert_memory_equal(played[0].ski, ski, sizeof ski);
    assert_int_equal(played[0].use.mode, FK_TICKET_MODE_SIGN);
    assert_int_equal(played[0].use.owner[0], 9);
    give(0, 0x10, FK_TICKET_SINGLES_MAX, 60000);
    assert_int_equal(fk_desk_stock(desk), FK_TICKET_SINGLES_MAX);
    for (uint8_t i = FK_TICKET_SINGLES_MAX; i > 0; i--) { /* each once */
        fk_desk_want(desk);
        assert_int_equal(played[0].sealed, i < FK_EDGE_TICKET_STOCK_LOW ? 2 : 1);
        assert_ok(take(&single));
        assert_int_equal(single.name[0], 0x10 + i - 1);
        assert_int_equal(single.mac[31], 0x10 + i - 1);
    }
    assert_err(take(&single), FK_ERR_AGAIN);
    give(0, 0x40, 2, 60000);
    assert_int_equal(fk_desk_stock(desk), 2);
}

static void keys_end(void **state)
{
    struct fk_ticket_single single;

    (void)state;
    fk_desk_want(desk);
    give(0, 1, 4, 20);
    assert_int_equal(fk_desk_stock(desk), 4);
    let_pass(25000);
    assert_err(take(&single), FK_ERR_AGAIN);
    fk_desk_want(desk);
    assert_int_equal(played[0].sealed, 2);
}

/* Its configuration is another, or the channel is new: what it would open may be, too. */
static void keys_end_with_the_servers_state(void **state)
{
    (void)state;
    fk_desk_want(desk);
    give(0, 1, 4, 60000);
    played[1].state.generation++;
    assert_int_equal(fk_desk_stock(desk), 4);
    played[0].state.generation++;
    assert_int_equal(fk_desk_stock(desk), 0);
    fk_desk_want(desk);
    give(0, 1, 4, 60000);
    played[0].state.channels++;
    assert_int_equal(fk_desk_stock(desk), 0);
    /* Asked in one state, answered in another. */
    fk_desk_want(desk);
    played[0].state.generation++;
    give(0, 1, 4, 60000);
    assert_int_equal(fk_desk_stock(desk), 0);
}

static void another_key_has_other_tickets(void **state)
{
    (void)state;
    fk_desk_want(desk);
    give(0, 1, 4, 60000);
    fk_desk_key(desk, ski);
    assert_int_equal(fk_desk_stock(desk), 4);
    fk_desk_want(desk);
    fk_desk_key(desk, other_ski);
    assert_int_equal(played[0].cancelled, 1);
    assert_int_equal(fk_desk_stock(desk), 0);
    fk_desk_want(desk);
    assert_memory_equal(played[0].ski, other_ski, sizeof other_ski);
}

static void the_next_server_seals_when_the_first_does_not(void **state)
{
    (void)state;
    fk_desk_want(desk);
    answer(0, FK_ERR_TIMEOUT, NULL, 0);
    assert_int_equal(played[1].sealed, 1);
    give(1, 1, 4, 60000);
    assert_int_equal(fk_desk_stock(desk), 4);
    played[0].state.generation++; /* not whose keys these are */
    assert_int_equal(fk_desk_stock(desk), 4);
    played[0].refuse = FK_ERR_UNAVAILABLE;
    fk_desk_want(desk);
    assert_int_equal(played[1].sealed, 2);
}

static void refused_by_all_it_waits(void **state)
{
    (void)state;
    fk_desk_want(desk);
    answer(0, FK_ERR_DENIED, NULL, 0);
    assert_false(fk_desk_fails(desk));
    answer(1, FK_ERR_DENIED, NULL, 0);
    assert_true(fk_desk_fails(desk));
    fk_desk_want(desk);
    assert_int_equal(played[0].sealed, 1);
    let_pass(FK_EDGE_TICKET_RETRY_STOCK_US + 10000);
    fk_desk_want(desk);
    assert_int_equal(played[0].sealed, 2);
    answer(0, FK_OK, "nonsense", 8);
    assert_int_equal(fk_desk_stock(desk), 0);
    assert_true(fk_desk_fails(desk));
    give(1, 1, 1, 60000);
    assert_int_equal(fk_desk_stock(desk), 1);
    assert_false(fk_desk_fails(desk));
}

/* --- opening --- */

static unsigned told;
static int told_err;
static uint8_t told_data[FK_TICKET_OPENED_WIRE];

static void on_done(void *arg, int err, const uint8_t *data, size_t len)
{
    assert_ptr_equal(arg, &told);
    told++;
    told_err = err;
    if (err == FK_OK) {
        assert_int_equal(len, sizeof told_data);
        memcpy(told_data, data, len);
    }
}

static int open_ticket(void **ret)
{
    static const uint8_t name[16] = {7};
    struct fk_ticketdesk *tickets = fk_desk_tickets(desk);

    told = 0;
    return tickets->ops->open(tickets, name, NULL, on_done, &told, ret);
}

static void one_server_after_the_other_is_asked(void **state)
{
    static const uint8_t keys[FK_TICKET_OPENED_WIRE] = {0, 5};
    void *call;

    (void)state;
    assert_ok(open_ticket(&call));
    assert_int_equal(played[0].name[0], 7);
    assert_int_equal(played[0].use.owner[0], 9);
    answer(0, FK_ERR_EXPIRED, NULL, 0);
    assert_int_equal(told, 0);
    assert_int_equal(played[1].unsealed, 1);
    answer(1, FK_OK, keys, sizeof keys);
    assert_int_equal(told, 1);
    assert_ok(told_err);
    assert_memory_equal(told_data, keys, sizeof keys);
    assert_ok(open_ticket(&call));
    answer(0, FK_ERR_EXPIRED, NULL, 0);
    answer(1, FK_ERR_DENIED, NULL, 0);
    assert_int_equal(told, 1);
    assert_err(told_err, FK_ERR_DENIED);
}

static void nobody_to_ask(void **state)
{
    struct fk_desk *keyless;
    void *call;

    (void)state;
    played[0].refuse = FK_ERR_UNAVAILABLE;
    assert_ok(open_ticket(&call));
    assert_int_equal(played[1].unsealed, 1);
    answer(1, FK_ERR_TIMEOUT, NULL, 0);
    assert_err(told_err, FK_ERR_TIMEOUT);
    played[1].refuse = FK_ERR_UNAVAILABLE;
    assert_err(open_ticket(&call), FK_ERR_UNAVAILABLE);
    assert_ok(make(&keyless));
    fk_desk_want(keyless);
    assert_int_equal(played[0].sealed, 0);
    assert_err(fk_desk_tickets(keyless)->ops->open(fk_desk_tickets(keyless), ski, NULL, on_done,
                                                   &told, &call),
               FK_ERR_UNAVAILABLE);
    fk_desk_free(keyless);
}

static void the_wait_is_bounded(void **state)
{
    void *call;

    (void)state;
    assert_ok(open_ticket(&call));
    let_pass(FK_EDGE_TICKET_OPEN_US / 2);
    answer(0, FK_ERR_EXPIRED, NULL, 0);
    assert_int_equal(told, 0);
    let_pass(FK_EDGE_TICKET_OPEN_US / 2 + 20000);
    assert_int_equal(told, 1);
    assert_err(told_err, FK_ERR_TIMEOUT);
    assert_int_equal(played[1].cancelled, 1);
}

static void the_cancelled_are_not_told(void **state)
{
    struct fk_ticketdesk *tickets = fk_desk_tickets(desk);
    void *call;

    (void)state;
    assert_ok(open_ticket(&call));
    tickets->ops->cancel(tickets, call);
    assert_int_equal(played[0].cancelled, 1);
    assert_ok(open_ticket(&call)); /* under way when all ends */
    assert_int_equal(told, 0);
}

static void on_done_free(void *arg, int err, const uint8_t *data, size_t len)
{
    fk_desk_free(desk);
    desk = NULL;
    on_done(arg, err, data, len);
}

static void whoever_is_told_may_free_all(void **state)
{
    struct fk_ticketdesk *tickets = fk_desk_tickets(desk);
    void *call;

    (void)state;
    told = 0;
    assert_ok(tickets->ops->open(tickets, ski, NULL, on_done_free, &told, &call));
    answer(0, FK_ERR_EXPIRED, NULL, 0);
    answer(1, FK_ERR_EXPIRED, NULL, 0);
    assert_int_equal(told, 1);
}

static int make_and_use(void *context)
{
    struct fk_desk *one;
    int err = make(&one);
    void *call;

    (void)context;
    if (err != FK_OK)
        return err;
    fk_desk_key(one, ski);
    err = fk_desk_tickets(one)->ops->open(fk_desk_tickets(one), ski, NULL, on_done, &told, &call);
    fk_desk_free(one);
    return err;
}

static void without_memory(void **state)
{
    (void)state;
    assert_true(failmalloc_try(make_and_use, NULL) >= 2);
}

/* Keys that do not fit into locked memory are not taken, and nothing of them stays. */
static void without_memory_for_the_stock(void **state)
{
    (void)state;
    fk_desk_want(desk);
    failmalloc_arm(1);
    give(0, 1, 4, 60000);
    assert_true(failmalloc_disarm());
    assert_int_equal(fk_desk_stock(desk), 0);
    give(1, 1, 4, 60000);
    assert_int_equal(fk_desk_stock(desk), 4);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(keys_are_there_before_they_are_needed), CASE(keys_end),
          CASE(keys_end_with_the_servers_state), CASE(another_key_has_other_tickets),
          CASE(the_next_server_seals_when_the_first_does_not), CASE(refused_by_all_it_waits),
          CASE(one_server_after_the_other_is_asked), CASE(nobody_to_ask), CASE(the_wait_is_bounded),
          CASE(the_cancelled_are_not_told), CASE(whoever_is_told_may_free_all),
          CASE(without_memory), CASE(without_memory_for_the_stock))
