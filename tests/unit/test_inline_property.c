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

static unsigned long seed; /* 0: none under way */

static unsigned long number(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : strtoul(text, NULL, 10);
}

static void print_seed(void)
{
    char text[100];
    int len = snprintf(text, sizeof text, "again: FK_SIM_FIRST=%lu FK_SIM_CASES=1\n", seed);

    if (seed != 0 && write(STDERR_FILENO, text, (size_t)len) < 0)
        seed = 0;
}

/* An assertion of ours, or a sanitizer's finding. */
static void on_abort(int signum)
{
    print_seed();
    signal(signum, SIG_DFL);
    raise(signum);
}

static int teardown(void **state)
{
    (void)state;
    print_seed();
    seed = 0;
    return 0;
}

static void check(const struct sim_conf *conf, const struct sim_result *result)
{
    if (sim_must_end(conf))
        assert_true(result->reset && !result->done);
    else if (sim_may_end(conf))
        assert_true(result->reset != result->done);
    else
        assert_true(result->done);
}

static void any_connection(void **state)
{
    unsigned long first = number("FK_SIM_FIRST", 1), cases = number("FK_SIM_CASES", CASES);
    struct sim_result result;
    struct sim_conf conf;
    size_t done = 0, memory = 0;

    (void)state;
    signal(SIGABRT, on_abort);
    for (seed = first; seed < first + cases; seed++) {
        sim_choose(seed, &conf);
        sim_run(&conf, &result);
        check(&conf, &result);
        done += result.done;
        memory = result.memory_max > memory ? result.memory_max : memory;
    }
    seed = 0;
    print_message("%lu connections, %lu came to their ends, %lu bytes of memory at most\n", cases,
                  (unsigned long)done, (unsigned long)memory);
    assert_true(cases < 100 || (done > cases / 2 && done < cases));
}

UNIT_MAIN(cmocka_unit_test_teardown(any_connection, teardown))
