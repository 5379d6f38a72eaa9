/* keyclient: the spread of response times, and requests that two servers are asked for. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "keyclient/spread.h"
#include "keyworld.h"
#include "wire/keymsg.h"

/* --- spread --- */

static void too_few_say_nothing(void **state)
{
    struct fk_spread spread = {.total = 0};

    (void)state;
    for (int i = 0; i < 19; i++) {
        fk_spread_add(&spread, 100);
        assert_int_equal(fk_spread_quantile(&spread, 95), 0);
    }
    fk_spread_add(&spread, 100);
    assert_int_not_equal(fk_spread_quantile(&spread, 95), 0);
}

/* Never less than the true value, and a fourth more at most. */
static void assert_near(uint64_t got, uint64_t exact)
{
    assert_true(got > exact);
    assert_true(got <= exact + exact / 4 + 1);
}

static void quantiles_of_known_sets(void **state)
{
    static const uint64_t sizes[] = {0, 1, 2, 3, 4, 7, 8, 100, 1000, 12345, 3000000, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct fk_spread spread = {.total = 0};

        for (int k = 0; k < 100; k++)
            fk_spread_add(&spread, sizes[i]);
        assert_near(fk_spread_quantile(&spread, 1), sizes[i]);
        assert_near(fk_spread_quantile(&spread, 100), sizes[i]);
    }
    for (unsigned percent = 5; percent < 100; percent += 5) {
        struct fk_spread spread = {.total = 0};

        for (uint64_t us = 1; us <= 400; us++)
            fk_spread_add(&spread, us * 10);
        assert_near(fk_spread_quantile(&spread, percent), (uint64_t)percent * 40);
    }
}

static void what_is_beyond_counts_as_the_longest(void **state)
{
    struct fk_spread spread = {.total = 0};

    (void)state;
    for (int i = 0; i < 100; i++)
        fk_spread_add(&spread, UINT64_MAX);
    assert_true(fk_spread_quantile(&spread, 50) > UINT32_MAX);
}

static void the_past_fades(void **state)
{
    struct fk_spread spread = {.total = 0};

    (void)state;
    for (int i = 0; i < 10000; i++)
        fk_spread_add(&spread, 100000);
    for (int i = 0; i < 3000; i++)
        fk_spread_add(&spread, 100);
    assert_near(fk_spread_quantile(&spread, 95), 100);
}

/* --- two servers --- */

#define LEARN 30 /* answers after which a server's usual time is known */

/* Both servers are up and known to be fast; the first one then does as `script` says. */
static void learn(struct world *world, enum keypeer_script script, bool hedge)
{
    world_init(world);
    world->pool_config.hedge = hedge;
    world->pool_config.strategy = FK_STRATEGY_ROUND_ROBIN;
    world_start(world, 2);
    wait_up(world, 2);
    for (unsigned i = 0; i < 2 * LEARN; i++)
        ask_and_expect(world, FK_OK);
    world->peers[0].script = script;
}

/* How often another server was late for this one; on a loaded machine also in learning. */
static uint64_t hedges(const struct world *world, size_t i)
{
    return stats_of(world, i).hedges;
}

/* The next request that goes to the first server. */
static unsigned ask_the_first(struct world *world, unsigned from)
{
    unsigned before = world->peers[0].requests;

    for (; world->peers[0].requests == before; from++) {
        assert_ok(ask(world, from));
        wait_until(world, world->results[from].done || world->peers[0].requests > before);
    }
    return from - 1;
}

static void a_late_answer_is_not_waited_for(void **state)
{
    struct world world;
    uint64_t before;
    unsigned i;

    (void)state;
    learn(&world, LATE, true);
    before = hedges(&world, 1);
    i = ask_the_first(&world, 100);
    wait_until(&world, world.results[i].done);
    assert_ok(world.results[i].err);
    assert_int_equal(hedges(&world, 1), before + 1);
    assert_int_equal(stats_of(&world, 0).timeouts, 0); /* long before its patience ended */
    assert_int_equal(stats_of(&world, 0).outstanding, 0);
    /* What the first one says now is no news. */
    keypeer_release(&world.peers[0]);
    world.peers[0].script = ANSWER;
    ask_and_expect(&world, FK_OK);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(stats_of(&world, 0).bad_signatures, 0);
    world_stop(&world);
}

static void without_the_option_it_is_waited_for(void **state)
{
    struct world world;
    unsigned i;

    (void)state;
    learn(&world, LATE, false);
    i = ask_the_first(&world, 100);
    wait_until(&world, world.results[i].done);
    assert_ok(world.results[i].err);
    assert_int_equal(hedges(&world, 0) + hedges(&world, 1), 0);
    assert_int_equal(stats_of(&world, 0).timeouts, 1);
    world_stop(&world);
}

/* The first one is late, but its answer comes before the second one's. */
static void the_first_good_answer_counts(void **state)
{
    struct world world;
    uint64_t before;
    unsigned i;

    (void)state;
    learn(&world, LATE, true);
    before = hedges(&world, 1);
    i = ask_the_first(&world, 100);
    world.peers[1].script = LATE; /* in time: nobody has asked it yet */
    wait_ticking(&world, hedges(&world, 1) > before && world.peers[1].n_held == 1);
    keypeer_release(&world.peers[0]);
    wait_until(&world, world.results[i].done);
    assert_ok(world.results[i].err);
    assert_int_equal(stats_of(&world, 1).outstanding, 0);
    keypeer_release(&world.peers[1]);
    world.peers[0].script = world.peers[1].script = ANSWER;
    ask_and_expect(&world, FK_OK);
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

/* A request that both have, and neither has answered. */
static unsigned ask_both(struct world *world)
{
    unsigned i;

    learn(world, LATE, true);
    i = ask_the_first(world, 100);
    world->peers[1].script = LATE; /* in time: nobody has asked it yet */
    wait_until(world, world->peers[1].n_held == 1);
    return i;
}

static bool has_failed(const struct world *world, size_t i)
{
    struct fk_keyserver_stats stats = stats_of(world, i);

    return stats.failures > 0 || stats.bad_signatures > 0 || !stats.up;
}

/* The second one fails: the request stays with the first. */
static void a_failing_second_changes_nothing(void **state)
{
    static const enum keypeer_script scripts[] = {SHORT_SIGNATURE, REFUSE, HALF_FRAME};

    (void)state;
    for (size_t k = 0; k < sizeof scripts / sizeof scripts[0]; k++) {
        struct world world;
        uint64_t before;
        unsigned i;

        learn(&world, LATE, true);
        before = hedges(&world, 1);
        i = ask_the_first(&world, 100);
        world.peers[1].script = scripts[k];
        world.peers[1].code = FK_KEYERR_CRYPTO;
        wait_ticking(&world, hedges(&world, 1) > before);
        wait_ticking(&world, has_failed(&world, 1));
        assert_false(world.results[i].done);
        keypeer_release(&world.peers[0]);
        wait_until(&world, world.results[i].done);
        assert_ok(world.results[i].err);
        world_stop(&world);
    }
}

/* The first one dies: the second has the request already, and nobody is asked again. */
static void the_second_takes_over(void **state)
{
    struct world world;
    unsigned i, requests;

    (void)state;
    i = ask_both(&world);
    requests = world.peers[1].requests;
    keypeer_down(&world.peers[0]);
    wait_ticking(&world, !stats_of(&world, 0).up);
    assert_false(world.results[i].done);
    keypeer_release(&world.peers[1]);
    wait_until(&world, world.results[i].done);
    assert_ok(world.results[i].err);
    assert_int_equal(world.peers[1].requests, requests);
    assert_int_equal(stats_of(&world, 1).outstanding, 0);
    world_stop(&world);
}

/* Both are silent: one deadline, one outcome. */
static void one_deadline_for_both(void **state)
{
    struct world world;
    unsigned i;

    (void)state;
    learn(&world, LATE, true);
    i = ask_the_first(&world, 100);
    world.peers[1].script = LATE; /* in time: nobody has asked it yet */
    wait_until(&world, world.results[i].done);
    assert_err(world.results[i].err, FK_ERR_TIMEOUT);
    assert_int_equal(stats_of(&world, 0).outstanding + stats_of(&world, 1).outstanding, 0);
    world_stop(&world);
}

static void cancelled_with_its_twin(void **state)
{
    struct fk_keyback *back;
    struct world world;
    unsigned i;

    (void)state;
    i = ask_both(&world);
    back = fk_keypool_back(world.pool);
    back->ops->cancel(back, world.results[i].ticket);
    assert_int_equal(stats_of(&world, 0).outstanding + stats_of(&world, 1).outstanding, 0);
    keypeer_release(&world.peers[0]);
    keypeer_release(&world.peers[1]);
    world.peers[0].script = world.peers[1].script = ANSWER;
    ask_and_expect(&world, FK_OK);
    ask_and_expect(&world, FK_OK);
    assert_false(world.results[i].done);
    world_stop(&world);
}

/* A pool that ends takes both along. */
static void freed_with_its_twin(void **state)
{
    struct world world;
    unsigned i;

    (void)state;
    i = ask_both(&world);
    fk_keypool_free(world.pool);
    world.pool = NULL;
    wait_until(&world, world.results[i].done);
    assert_err(world.results[i].err, FK_ERR_CANCELLED);
    assert_int_equal(stats_of(&world, 0).outstanding + stats_of(&world, 1).outstanding, 0);
    world_stop(&world);
}

UNIT_MAIN(cmocka_unit_test(too_few_say_nothing), cmocka_unit_test(quantiles_of_known_sets),
          cmocka_unit_test(what_is_beyond_counts_as_the_longest), cmocka_unit_test(the_past_fades),
          cmocka_unit_test(a_late_answer_is_not_waited_for),
          cmocka_unit_test(without_the_option_it_is_waited_for),
          cmocka_unit_test(the_first_good_answer_counts),
          cmocka_unit_test(a_failing_second_changes_nothing),
          cmocka_unit_test(the_second_takes_over), cmocka_unit_test(one_deadline_for_both),
          cmocka_unit_test(cancelled_with_its_twin), cmocka_unit_test(freed_with_its_twin))
