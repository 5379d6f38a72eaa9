/* keyclient: many requests, several servers, and servers that misbehave in every way. */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/writer.h"
#include "failmalloc.h"
#include "keyclient/internal.h"
#include "keyworld.h"
#include "loop/dns.h"
#include "wire/keymsg.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* --- cases --- */

static void many_at_once_out_of_order(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = HOLD;
    world_start(&world, 1);
    for (unsigned i = 0; i < 100; i++)
        assert_ok(ask(&world, i)); /* before the channel is there */
    wait_until(&world, world.peers[0].n_held == 100);
    assert_int_equal(stats_of(&world, 0).outstanding, 100);
    keypeer_release(&world.peers[0]);
    wait_until(&world, world.finished == 100);
    for (unsigned i = 0; i < 100; i++)
        assert_ok(world.results[i].err);
    assert_string_equal(world.peers[0].sni, "example.com");
    assert_int_equal(world.peers[0].client_ip_len, 4);
    assert_int_equal(stats_of(&world, 0).outstanding, 0);
    assert_int_equal(stats_of(&world, 0).bad_signatures, 0);
    assert_int_equal(world.peers[0].accepted, 1);
    world_stop(&world);
}

static void more_than_the_bound_is_refused(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.config.max_outstanding = 4;
    world.peers[0].script = HOLD;
    world_start(&world, 1);
    wait_up(&world, 1);
    for (unsigned i = 0; i < 4; i++)
        assert_ok(ask(&world, i));
    assert_err(ask(&world, 4), FK_ERR_UNAVAILABLE);
    wait_until(&world, world.peers[0].n_held == 4);
    keypeer_release(&world.peers[0]);
    wait_until(&world, world.finished == 4);
    assert_ok(ask(&world, 4));
    world_stop(&world); /* fails it: cancelled */
    assert_err(world.results[4].err, FK_ERR_CANCELLED);
}

static void wrong_id_is_ignored(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.pool_config.deadline_us = 300 * MS;
    world.peers[0].script = WRONG_ID;
    world_start(&world, 1);
    wait_up(&world, 1);
    ask_and_expect(&world, FK_ERR_TIMEOUT);
    assert_int_equal(stats_of(&world, 0).failures, 1);
    assert_int_equal(stats_of(&world, 0).timeouts, 1);
    assert_true(stats_of(&world, 0).up);
    world.peers[0].script = ANSWER;
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

static void repeated_id_is_ignored(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = TWICE;
    world_start(&world, 1);
    for (unsigned i = 0; i < 10; i++)
        assert_ok(ask(&world, i));
    wait_until(&world, world.finished == 10);
    wait_ticking(&world, stats_of(&world, 0).failures == 10);
    assert_true(stats_of(&world, 0).up);
    world_stop(&world);
}

static void a_flood_is_swallowed(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = FLOOD;
    world_start(&world, 1);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(stats_of(&world, 0).failures, FLOODED);
    assert_true(stats_of(&world, 0).up);
    world_stop(&world);
}

static void late_answer_is_dropped(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.pool_config.deadline_us = 200 * MS;
    world.peers[0].script = LATE;
    world_start(&world, 1);
    wait_up(&world, 1);
    ask_and_expect(&world, FK_ERR_TIMEOUT);
    keypeer_release(&world.peers[0]);
    world.peers[0].script = ANSWER;
    ask_and_expect(&world, FK_OK);
    assert_int_equal(stats_of(&world, 0).failures, 0); /* late is not strange */
    world_stop(&world);
}

static void never_answering_meets_the_deadline(void **state)
{
    struct world world;
    uint64_t start;

    (void)state;
    world_init(&world);
    world.pool_config.deadline_us = 300 * MS;
    world_start(&world, 1);
    wait_up(&world, 1);
    world.peers[0].script = SILENT;
    start = fk_clock_us();
    ask_and_expect(&world, FK_ERR_TIMEOUT);
    assert_in_range(world.results[0].at_us - start, 290 * MS, 1000 * MS);
    world_stop(&world);
}

/* Each script of the first server, and that the second one then answers within the deadline. */
static void every_failure_goes_to_the_other(void **state)
{
    static const enum keypeer_script scripts[] = {LATE,          HALF_FRAME,      GARBAGE,
                                                  BAD_SIGNATURE, SHORT_SIGNATURE, STRANGE_OPCODE};
    static const uint8_t codes[] = {FK_KEYERR_DRAINING, FK_KEYERR_RATE, FK_KEYERR_INTERNAL,
                                    FK_KEYERR_KEY_NOT_FOUND};
    size_t n_scripts = sizeof scripts / sizeof scripts[0];

    (void)state;
    for (size_t i = 0; i < n_scripts + sizeof codes; i++) {
        struct world world;

        world_init(&world);
        world.peers[0].script = i < n_scripts ? scripts[i] : REFUSE;
        world.peers[0].code = i < n_scripts ? 0 : codes[i - n_scripts];
        world_start(&world, 2);
        wait_up(&world, 2);
        ask_and_expect(&world, FK_OK);
        assert_int_equal(world.peers[0].requests, 1);
        assert_int_equal(world.peers[1].requests, 1);
        world_stop(&world);
    }
}

static void failures_without_another_are_told(void **state)
{
    static const struct {
        enum keypeer_script script;
        uint8_t code;
        int err;
    } rows[] = {{BAD_SIGNATURE, 0, FK_ERR_VERIFY},
                {SHORT_SIGNATURE, 0, FK_ERR_VERIFY},
                {REFUSE, FK_KEYERR_RATE, FK_ERR_RATE},
                {REFUSE, FK_KEYERR_KEY_NOT_FOUND, FK_ERR_KEY_NOT_FOUND},
                {REFUSE, FK_KEYERR_DENIED, FK_ERR_DENIED},
                {REFUSE, FK_KEYERR_FORMAT, FK_ERR_FORMAT},
                {REFUSE, FK_KEYERR_INTERNAL, FK_ERR_INTERNAL}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world world;

        world_init(&world);
        world.peers[0].script = rows[i].script;
        world.peers[0].code = rows[i].code;
        world_start(&world, 1);
        wait_up(&world, 1);
        ask_and_expect(&world, rows[i].err);
        assert_true(stats_of(&world, 0).up);
        world_stop(&world);
    }
}

static void denied_asks_only_who_holds_the_key(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = REFUSE;
    world.peers[0].code = FK_KEYERR_DENIED;
    world_start(&world, 2);
    wait_up(&world, 2);
    ask_and_expect(&world, FK_ERR_DENIED);
    assert_int_equal(world.peers[1].requests, 0);
    world_stop(&world);
}

static void count_listing(void *arg, struct fk_keyserver *server)
{
    struct world *world = arg;

    (void)server;
    world->listings++;
    fk_loop_stop(world->loop);
}

static void listing_follows_the_generation(void **state)
{
    struct fk_info_key key;
    struct world world;

    (void)state;
    world_init(&world);
    world.config.ping_interval_us = 20 * MS;
    world.peers[0].n_keys = 5;
    world.peers[0].generation = 7;
    world_start(&world, 1);
    fk_keyserver_watch(world.servers[0], count_listing, &world);
    wait_until(&world, world.listings == 1);
    assert_int_equal(world.peers[0].infos, 3);
    assert_ok(fk_keyserver_key(world.servers[0], 4, &key));
    assert_memory_equal(key.name.next, "site4.example", key.name.left);
    assert_int_equal(key.chain.left, 5);
    assert_err(fk_keyserver_key(world.servers[0], 5, &key), FK_ERR_NOT_FOUND);
    world.peers[0].generation = 8; /* the same keys: nothing to tell */
    wait_until(&world, world.peers[0].infos == 6);
    world.peers[0].n_keys = 3;
    world.peers[0].generation = 9;
    wait_until(&world, world.listings == 2);
    assert_err(fk_keyserver_key(world.servers[0], 3, &key), FK_ERR_NOT_FOUND);
    world_stop(&world);
}

static void denied_goes_to_a_holder(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = REFUSE;
    world.peers[0].code = FK_KEYERR_DENIED;
    world.peers[1].n_keys = 2;
    world_start(&world, 2);
    fk_keyserver_watch(world.servers[1], count_listing, &world);
    wait_until(&world, world.listings == 1);
    wait_up(&world, 2);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(world.peers[1].requests, 1);
    world_stop(&world);
}

static void all_down_then_back(void **state)
{
    struct world world;
    uint64_t start;

    (void)state;
    world_init(&world);
    world.pool_config.deadline_us = 250 * MS;
    world_start(&world, 2);
    wait_up(&world, 2);
    keypeer_down(&world.peers[0]);
    keypeer_down(&world.peers[1]);
    wait_ticking(&world, !stats_of(&world, 0).up && !stats_of(&world, 1).up);
    start = fk_clock_us();
    ask_and_expect(&world, FK_ERR_UNAVAILABLE);
    assert_true(world.results[0].at_us - start < 1000 * MS);
    /* The outage is older than a deadline now: no more waiting. */
    wait_ticking(&world, ask(&world, 1) == FK_ERR_UNAVAILABLE);
    keypeer_listen(&world.peers[0]);
    wait_up(&world, 1);
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

static void a_short_outage_is_waited_for(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = HOLD;
    world_start(&world, 1);
    wait_up(&world, 1);
    assert_ok(ask(&world, 0));
    wait_until(&world, world.peers[0].n_held == 1);
    keypeer_down(&world.peers[0]); /* killed in mid-operation */
    wait_ticking(&world, !stats_of(&world, 0).up);
    assert_ok(ask(&world, 1));
    world.peers[0].script = ANSWER;
    keypeer_listen(&world.peers[0]);
    wait_until(&world, world.finished == 2);
    assert_ok(world.results[0].err);
    assert_ok(world.results[1].err);
    world_stop(&world);
}

static void a_stalled_server_is_found_by_ping(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.config.ping_interval_us = 20 * MS;
    world.config.ping_timeout_us = 50 * MS;
    world_start(&world, 1);
    wait_up(&world, 1);
    wait_until(&world, world.peers[0].pings >= 2);
    world.peers[0].script = SILENT;
    wait_until(&world, world.peers[0].accepted >= 2); /* it came again */
    world.peers[0].script = ANSWER;
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

/* The kernel accepts, the process does not: TCP comes up, TLS never does. */
static void a_hung_server_is_not_waited_for_in_the_handshake(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.config.connect_timeout_us = 50 * MS;
    world.pool_config.deadline_us = 300 * MS;
    fk_io_want(&world.peers[0].accept_io, 0);
    world_start(&world, 1);
    ask_and_expect(&world, FK_ERR_UNAVAILABLE);
    fk_io_want(&world.peers[0].accept_io, FK_IO_READ);
    wait_up(&world, 1);
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

static void cancelled_is_not_called(void **state)
{
    struct fk_keyback *back;
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = HOLD;
    world_start(&world, 1);
    back = fk_keypool_back(world.pool);
    assert_ok(ask(&world, 0)); /* waiting */
    back->ops->cancel(back, world.results[0].ticket);
    wait_up(&world, 1);
    assert_ok(ask(&world, 1));
    wait_until(&world, world.peers[0].n_held == 1); /* sent */
    back->ops->cancel(back, world.results[1].ticket);
    keypeer_release(&world.peers[0]);
    world.peers[0].script = ANSWER;
    assert_ok(ask(&world, 2));
    wait_until(&world, world.results[2].done);
    assert_false(world.results[0].done);
    assert_false(world.results[1].done);
    assert_int_equal(stats_of(&world, 0).outstanding, 0);
    world_stop(&world);
}

static void retired_server_finishes_first(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = HOLD;
    world_start(&world, 1);
    wait_up(&world, 1);
    assert_ok(ask(&world, 0));
    wait_until(&world, world.peers[0].n_held == 1);
    fk_keyclient_retire_server(world.servers[0]);
    assert_err(ask(&world, 1), FK_ERR_UNAVAILABLE);
    keypeer_release(&world.peers[0]);
    wait_until(&world, world.results[0].done);
    assert_ok(world.results[0].err);
    wait_until(&world, world.peers[0].io == NULL); /* its channel is closed */
    assert_err(ask(&world, 1), FK_ERR_UNAVAILABLE);
    world_stop(&world);
}

static void channel_on_demand(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.config.idle_us = 30 * MS;
    world_start(&world, 1);
    ask_and_expect(&world, FK_OK);
    wait_until(&world, world.peers[0].io == NULL);
    assert_false(stats_of(&world, 0).up);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(world.peers[0].accepted, 2);
    world_stop(&world);
}

/* "localhost" may be ::1 first, where nobody listens: then the next address is tried. */
static void a_host_name_is_resolved(void **state)
{
    char address[FK_ADDR_TEXT_SIZE];
    struct fk_keyserver *server;
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 1);
    wait_up(&world, 1);
    assert_ok(fk_dns_new(world.loop, NULL, &world.dns));
    fk_keyclient_set_dns(world.client, world.dns);
    (void)snprintf(address, sizeof address, "localhost:%u",
                   (unsigned)fk_addr_port(&world.peers[0].addr));
    world.config.name = "a";
    world.config.address = address;
    assert_ok(fk_keyclient_add_server(world.client, &world.config, world.edge_ctx, &server));
    fk_keyclient_retire_server(world.servers[0]);
    world.servers[0] = server;
    wait_up(&world, 1);
    world_stop(&world);
}

static void another_name_is_refused(void **state)
{
    static const char *const names[] = {"URI:farkey:keyserver:other", "URI:farkey:edge:a"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world world;

        world_init(&world);
        world.pool_config.deadline_us = 200 * MS;
        world.names[0] = names[i];
        world_start(&world, 1);
        ask_and_expect(&world, FK_ERR_UNAVAILABLE);
        assert_int_equal(world.peers[0].requests, 0);
        world_stop(&world);
    }
}

static void after_a_bad_signature_all_are_checked(void **state)
{
    struct fk_keyback *back;
    struct world world;

    (void)state;
    world_init(&world);
    world.config.max_outstanding = 128;
    world_start(&world, 1);
    wait_up(&world, 1);
    back = fk_keypool_back(world.pool);
    for (unsigned i = 0; i < 100; i++)
        assert_ok(ask(&world, i));
    wait_until(&world, world.finished == 100); /* past the first 16 */
    back->ops->suspect(back);
    world.peers[0].script = BAD_SIGNATURE;
    for (unsigned i = 100; i < 200; i++)
        assert_ok(ask(&world, i));
    wait_until(&world, world.finished == 200);
    for (unsigned i = 100; i < 200; i++)
        assert_err(world.results[i].err, FK_ERR_VERIFY);
    assert_int_equal(stats_of(&world, 0).bad_signatures, 100);
    world_stop(&world);
}

/* Any client can complain, as often as it likes: within a minute only once counts. */
static void complaints_are_bounded(void **state)
{
    struct fk_verify *verify;
    struct fk_keyback *back;
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 1);
    wait_up(&world, 1);
    back = fk_keypool_back(world.pool);
    verify = &world.pool->members[0].server->verify;
    back->ops->suspect(back);
    assert_int_equal(verify->all_left, FK_VERIFY_SUSPECT);
    verify->all_left = 3;
    back->ops->suspect(back);
    assert_int_equal(verify->all_left, 3);
    world.pool->suspected_us -= FK_VERIFY_COMPLAINT_US;
    back->ops->suspect(back);
    assert_int_equal(verify->all_left, FK_VERIFY_SUSPECT);
    world_stop(&world);
}

static void strategies_spread(void **state)
{
    static const struct {
        enum fk_keypool_strategy strategy;
        unsigned least, most; /* of 40 to the first server */
    } rows[] = {{FK_STRATEGY_ROUND_ROBIN, 20, 20},
                {FK_STRATEGY_LEAST_OUTSTANDING, 10, 30}, /* by what it learns meanwhile */
                {FK_STRATEGY_FASTEST, 0, 40},
                {FK_STRATEGY_NEAREST, 40, 40}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world world;

        world_init(&world);
        world.pool_config.strategy = rows[i].strategy;
        world.pool_config.zone = "here";
        world_start(&world, 0 + PEERS);
        wait_up(&world, PEERS);
        if (rows[i].strategy == FK_STRATEGY_NEAREST) {
            struct fk_keyserver *near;
            char address[FK_ADDR_TEXT_SIZE];

            /* The same peer again, now with a zone. */
            fk_keypool_free(world.pool);
            fk_addr_format(&world.peers[0].addr, address);
            world.config.name = "a";
            world.config.address = address;
            world.config.zone = "here";
            assert_ok(fk_keyclient_add_server(world.client, &world.config, world.edge_ctx, &near));
            fk_keyclient_retire_server(world.servers[0]);
            world.servers[0] = near;
            assert_ok(fk_keypool_new(world.client, &world.pool_config, world.servers, PEERS,
                                     &world.pool));
            wait_up(&world, PEERS);
        }
        for (unsigned k = 0; k < PEERS; k++)
            world.servers[k]->stats.average_us = 100; /* whatever the first ping took */
        for (unsigned k = 0; k < 40; k += 4) { /* few at once: each within a server's patience */
            for (unsigned m = 0; m < 4; m++)
                assert_ok(ask(&world, k + m));
            wait_until(&world, world.finished == k + 4);
        }
        assert_in_range(world.peers[0].requests, rows[i].least, rows[i].most);
        assert_int_equal(world.peers[0].requests + world.peers[1].requests, 40);
        world_stop(&world);
    }
}

/* The slow one of two has nothing to do, and yet nobody asks it. */
static void least_outstanding_passes_over_the_slow(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.pool_config.strategy = FK_STRATEGY_LEAST_OUTSTANDING;
    world_start(&world, 2);
    wait_up(&world, 2);
    world.servers[0]->stats.average_us = 1000 * MS;
    for (unsigned i = 0; i < 40; i += 4) {
        for (unsigned k = 0; k < 4; k++)
            assert_ok(ask(&world, i + k));
        wait_until(&world, world.finished == i + 4);
    }
    assert_int_equal(world.peers[0].requests, 0);
    assert_int_equal(world.peers[1].requests, 40);
    world_stop(&world);
}

/* Lose its channel, as soon as it is up again, so many times. */
static void cut(struct world *world, unsigned peer, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        wait_ticking(world, stats_of(world, peer).up);
        keypeer_down(&world->peers[peer]);
        wait_ticking(world, !stats_of(world, peer).up);
        keypeer_listen(&world->peers[peer]);
    }
}

/* One that comes and goes is left alone while the other serves, and not when nobody else does. */
static void a_flapping_server_is_left_alone(void **state)
{
    struct world world;
    uint64_t start;

    (void)state;
    world_init(&world);
    world.config.ping_interval_us = 0;
    world_start(&world, 2);
    wait_up(&world, 2);
    cut(&world, 0, 5);
    assert_int_equal(world.servers[0]->losses, 5);
    assert_true(world.servers[0]->damped);
    ask_and_expect(&world, FK_OK); /* the other one is there */
    assert_true(world.servers[0]->damped);

    keypeer_down(&world.peers[1]);
    wait_ticking(&world, !stats_of(&world, 1).up);
    start = fk_clock_us();
    ask_and_expect(&world, FK_OK); /* it is back well before its time: 400 ms at least */
    assert_false(world.servers[0]->damped);
    assert_in_range(fk_clock_us() - start, 0, 300 * MS);
    assert_int_equal(world.peers[0].requests, 1);
    world_stop(&world);
}

/* --- calls, and what they leave at a server --- */

static int call_for(struct world *world, unsigned i, struct fk_key_route *route, bool replaceable)
{
    static const struct fk_key_context context = {.sni = "example.com"};
    static const struct fk_sign13 op = {.scheme = 0x0403, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_key_request request = {
        .op = FK_KEY_CALL, .route = route, .replaceable = replaceable, .context = &context};
    struct fk_keyback *back = fk_keypool_back(world->pool);
    struct result *result = &world->results[i];
    struct fk_writer writer;
    uint8_t payload[64];

    *result = (struct result){.world = world};
    request.u.call = (struct fk_key_call){.opcode = FK_OP_SIGN13, .payload = payload};
    fk_writer_init(&writer, payload, sizeof payload);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &request.u.call.len));
    return back->ops->submit(back, &request, world_done, result, &result->ticket);
}

static void call_and_expect(struct world *world, struct fk_key_route *route, int expected)
{
    assert_ok(call_for(world, 0, route, false));
    wait_until(world, world->results[0].done);
    assert_err(world->results[0].err, expected);
}

static void calls_stay_with_their_server(void **state)
{
    struct fk_key_route route = {0};
    struct world world;
    unsigned other;

    (void)state;
    world_init(&world);
    world_start(&world, 2);
    wait_up(&world, 2);
    call_and_expect(&world, &route, FK_OK);
    assert_in_range(route.server, 1, 2);
    other = 2 - route.server;
    for (unsigned i = 0; i < 10; i++)
        call_and_expect(&world, &route, FK_OK);
    assert_int_equal(world.peers[other].requests, 0);
    assert_int_not_equal(world.results[0].len, 0);
    world_stop(&world);
}

/* An answer that is lost is lost: the same call elsewhere, or again, would mean something else. */
static void a_bound_call_is_made_once(void **state)
{
    static const struct {
        enum keypeer_script script;
        uint8_t code;
        int err;
    } rows[] = {{HALF_FRAME, 0, FK_ERR_UNAVAILABLE}, /* the channel is lost */
                {REFUSE, FK_KEYERR_INTERNAL, FK_ERR_INTERNAL},
                {REFUSE, FK_KEYERR_DRAINING, FK_ERR_DRAINING},
                {SILENT, 0, FK_ERR_TIMEOUT}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_key_route route = {0};
        struct world world;
        unsigned at;

        world_init(&world);
        world.pool_config.deadline_us = 300 * MS;
        world_start(&world, 2);
        wait_up(&world, 2);
        call_and_expect(&world, &route, FK_OK);
        at = route.server - 1;
        world.peers[at].script = rows[i].script;
        world.peers[at].code = rows[i].code;
        call_and_expect(&world, &route, rows[i].err);
        assert_int_equal(world.peers[at].requests, 2);
        assert_int_equal(world.peers[1 - at].requests, 0);
        world_stop(&world);
    }
}

/* Two servers; at which of them something is kept. */
static unsigned keep_at_one(struct world *world, struct fk_key_route *route)
{
    world_init(world);
    world->pool_config.deadline_us = 60000 * MS; /* the test does not last so long */
    world_start(world, 2);
    wait_up(world, 2);
    call_and_expect(world, route, FK_OK);
    return route->server - 1;
}

/* What has another way does not wait for a server that is silent or away, as long as another one
 * is there to go that way. */
static void what_can_be_replaced_does_not_wait(void **state)
{
    struct fk_key_route route = {0};
    struct world world;
    unsigned at;

    (void)state;
    at = keep_at_one(&world, &route);
    call_and_expect(&world, &route, FK_OK);
    world.peers[at].script = SILENT;
    assert_ok(call_for(&world, 0, &route, true));
    wait_until(&world, world.results[0].done);
    assert_err(world.results[0].err, FK_ERR_TIMEOUT);
    world.peers[at].script = ANSWER;
    keypeer_down(&world.peers[at]);
    wait_ticking(&world, !stats_of(&world, at).up);
    assert_err(call_for(&world, 0, &route, true), FK_ERR_UNAVAILABLE);
    assert_int_equal(world.peers[1 - at].requests, 0);
    world_stop(&world);
}

/* Alone, it is waited for: what would be in its place would wait as well. */
static void without_another_what_can_be_replaced_waits(void **state)
{
    struct fk_key_route route = {0};
    struct world world;
    unsigned at;

    (void)state;
    at = keep_at_one(&world, &route);
    keypeer_down(&world.peers[0]);
    keypeer_down(&world.peers[1]);
    wait_ticking(&world, !stats_of(&world, 0).up && !stats_of(&world, 1).up);
    assert_ok(call_for(&world, 0, &route, true));
    keypeer_listen(&world.peers[at]);
    wait_until(&world, world.results[0].done);
    assert_ok(world.results[0].err);
    world_stop(&world);
}

static void too_long_a_call_is_refused(void **state)
{
    static const uint8_t payload[FK_KEY_CALL_MAX + 1];
    struct fk_key_request request = {.op = FK_KEY_CALL};
    struct fk_key_ticket *ticket;
    struct fk_keyback *back;
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 1);
    wait_up(&world, 1);
    back = fk_keypool_back(world.pool);
    request.u.call = (struct fk_key_call){FK_OP_SIGN13, payload, sizeof payload};
    assert_err(back->ops->submit(back, &request, world_done, NULL, &ticket), FK_ERR_LIMIT);
    world_stop(&world);
}

static void bad_configurations_are_refused(void **state)
{
    struct fk_keyserver *server = NULL;
    struct fk_keyserver_config bad;
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 1);
    bad = world.config;
    bad.address = "127.0.0.1:1";
    bad.weight = 0;
    assert_err(fk_keyclient_add_server(world.client, &bad, world.edge_ctx, &server), FK_ERR_INVAL);
    bad = world.config;
    bad.address = "127.0.0.1:1";
    bad.max_outstanding = 0;
    assert_err(fk_keyclient_add_server(world.client, &bad, world.edge_ctx, &server), FK_ERR_INVAL);
    bad = world.config;
    bad.address = "127.0.0.1:1";
    bad.bind = "not an address";
    assert_int_not_equal(fk_keyclient_add_server(world.client, &bad, world.edge_ctx, &server),
                         FK_OK);
    assert_null(server);
    world_stop(&world);
}

static void ids_wrap_and_pass_over_taken_slots(void **state)
{
    struct fk_slot *first, *slot;
    struct fk_table table;

    (void)state;
    assert_ok(fk_table_init(&table, 100)); /* 256 slots */
    fk_table_reset(&table);
    table.next_id = UINT32_MAX - 10;
    first = fk_table_take(&table, FK_SLOT_PING);
    assert_int_equal(first->id, UINT32_MAX - 10);
    for (unsigned i = 0; i < 1000; i++) { /* three times round, and past 0 */
        slot = fk_table_take(&table, FK_SLOT_INFO);
        assert_ptr_not_equal(slot, first);
        assert_ptr_equal(fk_table_find(&table, slot->id), slot);
        assert_null(fk_table_find(&table, slot->id + 256));
        slot->kind = i % 2 == 0 ? FK_SLOT_FREE : FK_SLOT_GIVEN_UP;
    }
    assert_ptr_equal(fk_table_find(&table, UINT32_MAX - 10), first);
    for (unsigned i = 0; i < 255; i++)
        assert_non_null(fk_table_take(&table, FK_SLOT_INFO));
    assert_null(fk_table_take(&table, FK_SLOT_INFO)); /* full */
    fk_table_fini(&table);
}

struct attempt {
    struct fk_loop *loop;
    SSL_CTX *ctx;
};

/* Everything of the key client that allocates at a caller's wish, and back. */
static int build_and_ask(void *arg)
{
    const struct fk_keyserver_config config = {.name = "a",
                                               .address = "127.0.0.1:1",
                                               .zone = "z",
                                               .device = "lo",
                                               .weight = 1,
                                               .connect_timeout_us = MS,
                                               .max_outstanding = 4};
    const struct fk_keypool_config pool_config = {.deadline_us = MS, .zone = "z"};
    struct fk_key_request request = {.op = FK_KEY_SIGN13, .public_key = keypeer_site_key()};
    struct fk_keyserver *server = NULL;
    struct fk_keyclient *client = NULL;
    struct fk_key_ticket *ticket = NULL;
    struct fk_keypool *pool = NULL;
    struct attempt *attempt = arg;
    struct fk_keyback *back;
    struct result result = {0};
    int err;

    request.u.sign13 = (struct fk_sign13){.scheme = 0x0403, .role = FK_ROLE_SERVER, .hash_len = 32};
    request.tbs = (const uint8_t *)"x";
    request.tbs_len = 1;
    if ((err = fk_keyclient_new(attempt->loop, &client)) != FK_OK ||
        (err = fk_keyclient_add_server(client, &config, attempt->ctx, &server)) != FK_OK ||
        (err = fk_keypool_new(client, &pool_config, &server, 1, &pool)) != FK_OK)
        goto out;
    back = fk_keypool_back(pool);
    err = back->ops->submit(back, &request, world_done, &result, &ticket);
    if (err == FK_OK)
        back->ops->cancel(back, ticket);
out:
    fk_keypool_free(pool);
    fk_keyclient_free(client);
    return err;
}

static void every_allocation_may_fail(void **state)
{
    struct attempt attempt = {.ctx = keypeer_ctx("URI:farkey:edge:edge1", false)};

    (void)state;
    (void)keypeer_site_key();
    assert_ok(fk_loop_new(&attempt.loop));
    assert_true(failmalloc_try(build_and_ask, &attempt) >= 9);
    fk_loop_free(attempt.loop);
    SSL_CTX_free(attempt.ctx);
}

static int list_keys(void *arg)
{
    const struct fk_reader *keys = arg;
    struct fk_info_answer page = {.keys = *keys};
    struct fk_keylist list = {0};
    int err = fk_keylist_add(&list, &page);

    fk_keylist_clear(&list);
    return err;
}

static void listings_survive_lack_of_memory(void **state)
{
    struct fk_info_key key = {.type = FK_KEY_EC};
    struct fk_writer writer;
    struct fk_reader keys;
    uint8_t bytes[2048];
    size_t len;

    (void)state;
    fk_reader_init(&key.name, "name", 4);
    fk_reader_init(&key.chain, NULL, 0);
    fk_writer_init(&writer, bytes, sizeof bytes);
    for (int i = 0; i < 40; i++)
        fk_info_key_encode(&key, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    fk_reader_init(&keys, bytes, len);
    assert_true(failmalloc_try(list_keys, &keys) >= 40);
}

UNIT_MAIN(
    cmocka_unit_test(many_at_once_out_of_order), cmocka_unit_test(more_than_the_bound_is_refused),
    cmocka_unit_test(wrong_id_is_ignored), cmocka_unit_test(repeated_id_is_ignored),
    cmocka_unit_test(a_flood_is_swallowed), cmocka_unit_test(late_answer_is_dropped),
    cmocka_unit_test(never_answering_meets_the_deadline),
    cmocka_unit_test(every_failure_goes_to_the_other),
    cmocka_unit_test(failures_without_another_are_told),
    cmocka_unit_test(denied_asks_only_who_holds_the_key),
    cmocka_unit_test(listing_follows_the_generation), cmocka_unit_test(denied_goes_to_a_holder),
    cmocka_unit_test(all_down_then_back), cmocka_unit_test(a_short_outage_is_waited_for),
    cmocka_unit_test(a_stalled_server_is_found_by_ping),
    cmocka_unit_test(a_hung_server_is_not_waited_for_in_the_handshake),
    cmocka_unit_test(cancelled_is_not_called), cmocka_unit_test(retired_server_finishes_first),
    cmocka_unit_test(channel_on_demand), cmocka_unit_test(a_host_name_is_resolved),
    cmocka_unit_test(another_name_is_refused),
    cmocka_unit_test(after_a_bad_signature_all_are_checked),
    cmocka_unit_test(complaints_are_bounded), cmocka_unit_test(strategies_spread),
    cmocka_unit_test(least_outstanding_passes_over_the_slow),
    cmocka_unit_test(a_flapping_server_is_left_alone),
    cmocka_unit_test(calls_stay_with_their_server), cmocka_unit_test(a_bound_call_is_made_once),
    cmocka_unit_test(what_can_be_replaced_does_not_wait),
    cmocka_unit_test(without_another_what_can_be_replaced_waits),
    cmocka_unit_test(too_long_a_call_is_refused), cmocka_unit_test(bad_configurations_are_refused),
    cmocka_unit_test(ids_wrap_and_pass_over_taken_slots),
    cmocka_unit_test(every_allocation_may_fail), cmocka_unit_test(listings_survive_lack_of_memory))
