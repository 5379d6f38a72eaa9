/* keyclient: certificates that end while a channel is open, and clients that give way. */
#include "unit.h"

#include "base/err.h"
#include "keyclient/internal.h"
#include "keyworld.h"

/* From now on the edge has a list that revokes a serial number (0: none), for so many seconds. */
static void take_list(struct world *world, long serial, long seconds)
{
    SSL_CTX *ctx = keypeer_ctx_of(&(struct keypeer_identity){
        .san = "URI:farkey:edge:edge1", .next_update = seconds, .revokes = serial});

    fk_keyclient_use(world->client, ctx);
    SSL_CTX_free(ctx);
}

static void a_certificate_that_ends_closes_its_channel(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.lives[0] = 2;
    world_start(&world, 2);
    wait_up(&world, 2);
    wait_ticking(&world, !stats_of(&world, 0).up);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(world.peers[0].requests, 0);
    assert_int_equal(stats_of(&world, 0).connects, 1); /* nor is it taken again */
    assert_true(stats_of(&world, 1).up);
    world_stop(&world);
}

static void a_revoked_server_is_left_with_what_it_was_asked(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = HOLD;
    world_start(&world, 2);
    wait_up(&world, 2);
    assert_ok(ask(&world, 0));
    wait_until(&world, world.peers[0].n_held == 1);
    take_list(&world, SERIAL, 3600);
    assert_false(world.results[0].done);
    assert_true(stats_of(&world, 0).up); /* never from within the call */
    wait_until(&world, world.results[0].done);
    assert_ok(world.results[0].err);
    assert_false(stats_of(&world, 0).up);
    assert_int_equal(world.peers[1].requests, 1);
    take_list(&world, SERIAL + 1, 3600); /* the other way round: it comes back, the other goes */
    wait_ticking(&world, stats_of(&world, 0).up && !stats_of(&world, 1).up);
    world_stop(&world);
}

static void a_list_that_revokes_nobody_disturbs_nobody(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = HOLD;
    world_start(&world, 1);
    wait_up(&world, 1);
    assert_ok(ask(&world, 0));
    wait_until(&world, world.peers[0].n_held == 1);
    take_list(&world, 9, 3600);
    wait_ticking(&world, fk_timer_active(&world.servers[0]->judge_timer));
    keypeer_release(&world.peers[0]);
    wait_until(&world, world.results[0].done);
    assert_ok(world.results[0].err);
    assert_int_equal(stats_of(&world, 0).connects, 1);
    world_stop(&world);
}

/* A list out of date judges like a handshake: nobody is trusted by it. */
static void a_list_out_of_date_closes_channels(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 1);
    wait_up(&world, 1);
    take_list(&world, 9, 2);
    while (stats_of(&world, 0).up) {
        fk_timer_start(&world.servers[0]->judge_timer, MS); /* a minute has passed */
        wait_ticking(&world,
                     fk_timer_active(&world.servers[0]->judge_timer) || !stats_of(&world, 0).up);
        fk_loop_run(world.loop);
    }
    world_stop(&world);
}

static void a_list_that_comes_during_a_handshake_counts(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 1);
    wait_ticking(&world, world.servers[0]->state != FK_SERVER_IDLE &&
                             world.servers[0]->state != FK_SERVER_CONNECT);
    assert_int_equal(world.servers[0]->state, FK_SERVER_TLS);
    take_list(&world, SERIAL, 3600);
    wait_ticking(&world, world.servers[0]->state == FK_SERVER_BACKOFF);
    assert_int_equal(stats_of(&world, 0).connects, 0);
    world_stop(&world);
}

static void who_steps_back_serves_only_who_asks(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = HOLD;
    world_start(&world, 1);
    wait_up(&world, 1);
    assert_ok(ask(&world, 0));
    wait_until(&world, world.peers[0].n_held == 1);
    fk_keyclient_step_back(world.client);
    keypeer_release(&world.peers[0]);
    wait_until(&world, world.results[0].done);
    assert_ok(world.results[0].err);
    wait_until(&world, world.peers[0].io == NULL);
    world.peers[0].script = ANSWER;
    ask_and_expect(&world, FK_OK);
    assert_int_equal(world.peers[0].accepted, 2);
    world_stop(&world);
}

UNIT_MAIN(cmocka_unit_test(a_certificate_that_ends_closes_its_channel),
          cmocka_unit_test(a_revoked_server_is_left_with_what_it_was_asked),
          cmocka_unit_test(a_list_that_revokes_nobody_disturbs_nobody),
          cmocka_unit_test(a_list_out_of_date_closes_channels),
          cmocka_unit_test(a_list_that_comes_during_a_handshake_counts),
          cmocka_unit_test(who_steps_back_serves_only_who_asks))
