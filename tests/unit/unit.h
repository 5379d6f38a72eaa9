/*
 * What every unit test includes: cmocka with its prerequisites, and main() by table.
 *
 * A test binary runs all its cases, or only those whose name matches its first argument (a pattern
 * with * and ?): build/tests/unit/test_reader 'vector*'.
 */
#ifndef FK_TESTS_UNIT_H
#define FK_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNIT_MAIN(...)                                    \
    int main(int argc, char **argv)                       \
    {                                                     \
        const struct CMUnitTest cases[] = {__VA_ARGS__};  \
        if (argc > 1)                                     \
            cmocka_set_test_filter(argv[1]);              \
        return cmocka_run_group_tests(cases, NULL, NULL); \
    }

/* Compare an FK_ERR_* by name, so that a failure reads as words. */
#define assert_err(actual, expected) assert_string_equal(fk_err_name(actual), fk_err_name(expected))
#define assert_ok(actual)            assert_err(actual, FK_OK)

#endif
