/*
 * inline/flow: random connections in virtual time. Whatever the wires do, all bytes arrive or the
 * flow is reset, and it is reset only when somebody has changed what the client says.
 *
 * FK_SIM_CASES: how many (100,000 in make test, fewer when sanitized); FK_SIM_FIRST: the first
 * one's seed, to look at a case again; FK_SIM_TRACE=1: print its packets. A failure prints it.
 */
#include "unit.h"

#include "inlinesim.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define CASES 10000
#else
#define CASES 100000
#endif

static char again[100]; /* how to see the case that is under way; empty: none is */
static size_t again_len;
static unsigned long late;

static unsigned long number(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : strtoul(text, NULL, 10);
}

static void begin(unsigned long seed)
{
    again_len =
        (size_t)snprintf(again, sizeof again, "again: FK_SIM_FIRST=%lu FK_SIM_CASES=1\n", seed);
}

static void print_again(void)
{
    if (write(STDERR_FILENO, again, again_len) < 0)
        again_len = 0;
}

/* An assertion of ours, or a sanitizer's finding. */
static void on_abort(int signum)
{
    print_again();
    signal(signum, SIG_DFL);
    raise(signum);
}

static int teardown(void **state)
{
    (void)state;
    print_again();
    again_len = 0;
    return 0;
}

/* By bad luck the client's first flight is lost so often that a handshake's time is over. */
static bool came_too_late(const struct sim_result *result)
{
    return result->reset && result->counters[FK_FLOW_N_TIMEOUTS] == 1 &&
           result->counters[FK_FLOW_N_RECORDS_OPENED] == 0 &&
           result->counters[FK_FLOW_N_RECORDS_SEALED] == 0;
}

static void check(const struct sim_conf *conf, const struct sim_result *result)
{
    if (sim_must_end(conf))
        assert_true(result->reset && !result->done);
    else if (conf->forge > 0) /* who acknowledges in another's name may leave it waiting for ever */
        assert_true(!result->reset || !result->done);
    else if (sim_may_end(conf))
        assert_true(result->reset != result->done);
    else if (conf->loss + conf->corrupt >= 100 && came_too_late(result))
        late++;
    else
        assert_true(result->done);
}

static void any_connection(void **state)
{
    unsigned long first = number("FK_SIM_FIRST", 1), cases = number("FK_SIM_CASES", CASES);
    struct sim_result result;
    struct sim_conf conf;
    size_t done = 0, memory = 0, early = 0;

    (void)state;
    signal(SIGABRT, on_abort);
    for (unsigned long seed = first; seed < first + cases; seed++) {
        begin(seed);
        sim_choose(seed, &conf);
        sim_run(&conf, &result);
        check(&conf, &result);
        done += result.done;
        early += result.counters[FK_FLOW_N_RECORDS_EARLY] > 0;
        memory = result.memory_max > memory ? result.memory_max : memory;
    }
    again_len = 0;
    print_message("%lu connections, %zu came to their ends, %zu had records that went on early, "
                  "%zu bytes of memory at most\n",
                  cases, done, early, memory);
    assert_true(late <= cases / 100000);
    assert_true(cases < 100 || (done > cases / 2 && done < cases && early > cases / 4));
}

UNIT_MAIN(cmocka_unit_test_teardown(any_connection, teardown))
