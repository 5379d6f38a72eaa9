/* edge/ticketfeed: when key servers are asked for ticket keys, and what follows from each answer.
 */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/writer.h"
#include "edge/ticketfeed.h"
#include "wire/keymsg.h"

#include <stdio.h>

#define SERVERS 2

static char names[][6] = {"keys1", "keys2"};
static char *titles[] = {names[0], names[1]};
static const struct fk_conf_list servers = {.items = titles, .count = SERVERS};
static const uint8_t ski[20] = {1}, other_ski[20] = {2};

/* --- key servers, played by the test --- */

/* Server `i` and its last question. */
static struct server {
    int asked, cancelled;
    uint8_t ski[20];
    fk_key_done_cb *done; /* NULL: nothing is under way */
    void *arg;
    struct fk_ticketfeed_state state;
} played[SERVERS];

static int refuse; /* what submit() gives */

static int submit(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct server *server;

    (void)back;
    if (refuse != FK_OK)
        return refuse;
    assert_int_equal(request->op, FK_KEY_CALL);
    assert_int_equal(request->u.call.opcode, FK_OP_TICKET_KEYS);
    assert_int_equal(request->u.call.len, 0);
    assert_true(request->route->server >= 1 && request->route->server <= SERVERS);
    server = &played[request->route->server - 1];
    server->asked++;
    memcpy(server->ski, request->ski, sizeof server->ski);
    server->done = done;
    server->arg = arg;
    *ret = (struct fk_key_ticket *)(void *)server;
    return FK_OK;
}

static void cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    struct server *server = (struct server *)(void *)ticket;

    (void)back;
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

/* One key that seals for an hour. */
static void give(size_t i, uint8_t name, uint32_t refresh_ms)
{
    struct fk_ticket_grants grants = {.refresh_ms = refresh_ms, .count = 1};
    uint8_t bytes[FK_TICKET_GRANTS_WIRE_MAX];
    struct fk_writer writer;
    size_t len;

    memset(grants.items[0].id, name, sizeof grants.items[0].id);
    grants.items[0].ends_ms = 3600000;
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_ticket_grants_encode(&grants, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    answer(i, FK_OK, bytes, len);
}

/* --- who asks --- */

static struct fk_loop *loop;
static struct fk_ticketgroups *groups;
static struct fk_ticketfeeds *feeds;

static struct fk_ticketfeed_state state_of(void *arg, const char *server)
{
    assert_ptr_equal(arg, &played);
    for (size_t i = 0; i < SERVERS; i++)
        if (strcmp(server, titles[i]) == 0)
            return played[i].state;
    fail();
    return (struct fk_ticketfeed_state){.channels = 0};
}

static int setup(void **state)
{
    struct fk_ticketfeeds_config config = {.state = state_of, .arg = &played};

    (void)state;
    memset(played, 0, sizeof played);
    refuse = FK_OK;
    assert_ok(fk_loop_new(&loop));
    assert_ok(fk_ticketgroups_new(NULL, &groups));
    config.loop = loop;
    config.groups = groups;
    assert_ok(fk_ticketfeeds_new(&config, &feeds));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_ticketfeeds_free(feeds);
    fk_ticketgroups_free(groups);
    fk_loop_free(loop);
    return 0;
}

static struct fk_ticketfeed *use(const uint8_t key[20])
{
    struct fk_ticketfeed_source source = {.servers = &servers, .back = &back};
    struct fk_ticketfeed *feed;

    memcpy(source.ski, key, sizeof source.ski);
    assert_ok(fk_ticketfeed_use(feeds, &source, &feed));
    return feed;
}

static void stop_loop(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void run_for(uint64_t us)
{
    struct fk_timer timer;

    fk_timer_init(&timer, loop, stop_loop);
    fk_timer_start(&timer, us);
    fk_loop_run(loop);
    fk_timer_stop(&timer);
}

/* The next look, and what it leads to. */
static void look(void)
{
    fk_ticketfeeds_start(feeds);
    run_for(2000);
}

static size_t keys_of(struct fk_ticketfeed *feed)
{
    return fk_ticketgroup_count(fk_ticketfeed_group(feed));
}

static void nobody_is_asked_before_the_start(void **state)
{
    (void)state;
    (void)use(ski);
    run_for(2000);
    assert_int_equal(played[0].asked, 0);
    look();
    assert_int_equal(played[0].asked, 1);
    assert_int_equal(played[1].asked, 1);
    assert_memory_equal(played[0].ski, ski, sizeof ski);
    look(); /* both are under way */
    assert_int_equal(played[0].asked + played[1].asked, 2);
}

static void each_is_asked_again_when_its_answer_says(void **state)
{
    struct fk_ticketfeed *feed = use(ski);

    (void)state;
    look();
    give(0, 'a', 1);       /* not more often than keys are looked at */
    give(1, 'b', 3600000); /* in an hour */
    assert_int_equal(keys_of(feed), 2);
    look();
    assert_int_equal(played[0].asked, 1);
    run_for(FK_EDGE_TICKET_LOOK_US + 100000); /* the clock is the real one */
    assert_int_equal(played[0].asked, 2);
    assert_int_equal(played[1].asked, 1);
    give(0, 'c', 3600000); /* in place of the first */
    assert_int_equal(keys_of(feed), 2);
}

static void another_state_is_a_reason_to_ask(void **state)
{
    (void)state;
    (void)use(ski);
    look();
    give(0, 'a', 3600000);
    give(1, 'b', 3600000);
    played[0].state.generation = 5;
    look();
    assert_int_equal(played[0].asked, 2);
    assert_int_equal(played[1].asked, 1);
    give(0, 'a', 3600000);
    played[1].state.channels = 1;
    look();
    assert_int_equal(played[0].asked, 2);
    assert_int_equal(played[1].asked, 2);
    look();
    assert_int_equal(played[0].asked + played[1].asked, 4);
}

/* Whoever has lost the right, or the key, loses the keys; whoever cannot be reached keeps them. */
static void refusals_end_keys_and_failures_do_not(void **state)
{
    static const struct {
        int err;
        bool ends;
    } rows[] = {
        {FK_ERR_DENIED, true},      {FK_ERR_KEY_NOT_FOUND, true}, {FK_ERR_OPCODE, true},
        {FK_ERR_UNSUPPORTED, true}, {FK_ERR_TIMEOUT, false},      {FK_ERR_UNAVAILABLE, false},
        {FK_ERR_INTERNAL, false},   {FK_ERR_RATE, false},         {FK_ERR_CANCELLED, false}};
    struct fk_ticketfeed *feed = use(ski);

    (void)state;
    look();
    give(1, 'b', 3600000);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        give(0, 'a', 3600000);
        assert_int_equal(keys_of(feed), 2);
        played[0].state.generation++;
        look();
        answer(0, rows[i].err, NULL, 0);
        assert_int_equal(keys_of(feed), rows[i].ends ? 1 : 2);
        played[0].state.generation++;
        look();
    }
    answer(0, FK_OK, "nonsense", 8);
    assert_int_equal(keys_of(feed), 2);
}

static void when_none_can_be_asked_it_tries_again(void **state)
{
    (void)state;
    (void)use(ski);
    refuse = FK_ERR_UNAVAILABLE;
    look();
    refuse = FK_OK;
    look();
    assert_int_equal(played[0].asked, 0);
    run_for(FK_EDGE_TICKET_LOOK_US + 100000);
    assert_int_equal(played[0].asked, 1);
    assert_int_equal(played[1].asked, 1);
}

static void sites_with_one_key_ask_once(void **state)
{
    struct fk_ticketfeed *one = use(ski), *two = use(ski), *other = use(other_ski);

    (void)state;
    assert_ptr_equal(one, two);
    assert_true(other != one);
    look();
    assert_int_equal(played[0].asked, 2); /* of each key */
}

static void what_no_site_uses_is_not_asked_for(void **state)
{
    struct fk_ticketfeed *feed = use(ski);

    (void)state;
    (void)use(ski);
    fk_ticketfeed_leave(feed);
    look();
    assert_int_equal(played[0].asked, 1);
    give(0, 'a', 1);
    fk_ticketfeed_leave(feed);
    played[0].state.generation++;
    look();
    assert_int_equal(played[0].asked, 1);
    assert_ptr_equal(use(ski), feed); /* and is again */
    look();
    assert_int_equal(played[0].asked, 2);
}

static void the_end_cancels(void **state)
{
    (void)state;
    (void)use(ski);
    look();
    give(1, 'b', 3600000);
    fk_ticketfeeds_free(feeds);
    feeds = NULL;
    assert_int_equal(played[0].cancelled, 1);
    assert_int_equal(played[1].cancelled, 0);
}

static void one_that_stopped_asks_no_more(void **state)
{
    (void)state;
    (void)use(ski);
    look();
    give(0, 'a', 1);
    give(1, 'b', 1);
    fk_ticketfeeds_stop(feeds);
    run_for(FK_EDGE_TICKET_LOOK_US + 100000);
    assert_int_equal(played[0].asked + played[1].asked, 2);
}

/* Keys stay with the process when another generation, with feeds of its own, takes over. */
static void a_new_generation_has_the_keys(void **state)
{
    struct fk_ticketfeeds_config config = {
        .loop = loop, .groups = groups, .state = state_of, .arg = &played};
    struct fk_ticketfeeds *old = feeds;

    (void)state;
    (void)use(ski);
    look();
    give(0, 'a', 3600000);
    assert_ok(fk_ticketfeeds_new(&config, &feeds));
    assert_int_equal(keys_of(use(ski)), 1);
    fk_ticketfeeds_free(old);
    assert_int_equal(keys_of(use(ski)), 1);
}

static int make_feeds(void *arg)
{
    struct fk_ticketfeeds_config config = {
        .loop = loop, .groups = groups, .state = state_of, .arg = &played};
    struct fk_ticketfeed_source source = {.servers = &servers, .back = &back};
    struct fk_ticketfeeds *made;
    struct fk_ticketfeed *feed;
    int err;

    (void)arg;
    if ((err = fk_ticketfeeds_new(&config, &made)) != FK_OK)
        return err;
    err = fk_ticketfeed_use(made, &source, &feed);
    fk_ticketfeeds_free(made);
    return err;
}

static void without_memory_nothing_is_left_behind(void **state)
{
    (void)state;
    assert_true(failmalloc_try(make_feeds, NULL) > 4);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(nobody_is_asked_before_the_start), CASE(each_is_asked_again_when_its_answer_says),
          CASE(another_state_is_a_reason_to_ask), CASE(refusals_end_keys_and_failures_do_not),
          CASE(when_none_can_be_asked_it_tries_again), CASE(sites_with_one_key_ask_once),
          CASE(what_no_site_uses_is_not_asked_for), CASE(the_end_cancels),
          CASE(one_that_stopped_asks_no_more), CASE(a_new_generation_has_the_keys),
          CASE(without_memory_nothing_is_left_behind))
