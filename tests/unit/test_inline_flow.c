/*
 * inline/flow: whole connections in virtual time, and the facts of TCP that a box in the path must
 * not get wrong. Random ones: test_inline_property.
 */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "inlinesim.h"

static struct sim_conf plain_case(void)
{
    return (struct sim_conf){.seed = 1,
                             .suite = 0x1301,
                             .up = 100000,
                             .down = 100000,
                             .client_isn = 0xffffff00,
                             .server_isn = 0xfffffff0,
                             .client_mss = 1460,
                             .server_mss = 1460,
                             .client_window = 65535,
                             .server_window = 65535,
                             .times = true,
                             .sack = true};
}

static void run_done(const struct sim_conf *conf, struct sim_result *ret)
{
    sim_run(conf, ret);
    assert_false(ret->reset);
    assert_true(ret->done);
}

static void bytes_out_are_bytes_in(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    run_done(&conf, &result);
    assert_true(result.counters[FK_FLOW_N_RECORDS_OPENED] > 0);
    assert_true(result.counters[FK_FLOW_N_RECORDS_SEALED] > 0);
    assert_int_equal(result.counters[FK_FLOW_N_RESENT], 0);
    assert_int_equal(result.counters[FK_FLOW_N_DUPLICATES], 0);
}

/* Fact 1: a record larger than the sender's first window of congestion, and than the server's
 * whole receive buffer. */
static void fact_1_records_larger_than_any_window(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        conf.seed = seed;
        conf.client_mss = conf.server_mss = 200;
        conf.server_window = 700;
        run_done(&conf, &result);
    }
}

static void fact_4_other_bytes_sent_again_change_nothing(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    conf.rewrites = true;
    conf.loss = 0;
    conf.again = 200;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        conf.seed = seed;
        run_done(&conf, &result);
        assert_true(result.counters[FK_FLOW_N_DUPLICATES] > 0);
    }
}

static void fact_6_windows_of_one_byte(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    conf.up = conf.down = 300;
    conf.client_window = conf.server_window = 1;
    run_done(&conf, &result);
    conf.scale = true;
    conf.client_window = conf.server_window = 16;
    run_done(&conf, &result);
}

static void fact_9_a_forged_record_resets_both(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        conf.seed = seed;
        conf.damage = 1 + seed * 997;
        sim_run(&conf, &result);
        assert_true(result.reset);
        assert_false(result.done);
        assert_int_equal(
            result.counters[FK_FLOW_N_BAD_RECORDS] + result.counters[FK_FLOW_N_TRUNCATED], 1);
    }
}

/* Nobody reads: what the box stores is a window and a record, each way, not the streams. */
static void memory_is_bounded(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    conf.slow_read = true;
    conf.record = 16384;
    for (int large = 0; large < 2; large++) {
        conf.client_window = conf.server_window = large ? 65535 : 3000;
        run_done(&conf, &result);
        assert_true(result.memory_max < (large ? 200000 : 80000));
        print_message("windows of %u bytes: %zu bytes at most\n", conf.client_window,
                      result.memory_max);
    }
}

static void what_is_not_tls_passes_when_it_may(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    conf.plain = true;
    conf.loss = 20;
    run_done(&conf, &result);
    assert_int_equal(result.counters[FK_FLOW_N_NOT_TLS], 1);
    assert_int_equal(result.counters[FK_FLOW_N_RECORDS_OPENED], 0);
}

static void losses_are_repaired(void **state)
{
    struct sim_conf conf = plain_case();
    struct sim_result result;

    (void)state;
    conf.loss = 50;
    conf.reorder = 100;
    conf.again = 20;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        conf.seed = seed;
        conf.sack = seed % 2;
        run_done(&conf, &result);
        assert_true(result.counters[FK_FLOW_N_RESENT] > 0);
    }
}

UNIT_MAIN(cmocka_unit_test(bytes_out_are_bytes_in),
          cmocka_unit_test(fact_1_records_larger_than_any_window),
          cmocka_unit_test(fact_4_other_bytes_sent_again_change_nothing),
          cmocka_unit_test(fact_6_windows_of_one_byte),
          cmocka_unit_test(fact_9_a_forged_record_resets_both), cmocka_unit_test(memory_is_bounded),
          cmocka_unit_test(what_is_not_tls_passes_when_it_may),
          cmocka_unit_test(losses_are_repaired))
