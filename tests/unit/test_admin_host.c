/* admin/host: which Host a listener without token answers. */
#include "unit.h"

#include "admin/host.h"

#include <string.h>

/* In pieces of all sizes. */
static bool is_nobodys(const char *const *values, size_t n)
{
    bool first = true, verdict = false;

    for (size_t step = 1; step < 40; step++) {
        struct fk_field host;
        bool now;

        fk_field_reset(&host, "host");
        fk_field_name(&host, "X-Host", 6);
        fk_field_value(&host, "evil.example", 12);
        for (size_t i = 0; i < n; i++) {
            size_t len = strlen(values[i]);

            fk_field_name(&host, "HO", 2);
            fk_field_name(&host, "st", 2);
            for (size_t at = 0; at < len || at == 0; at += step)
                fk_field_value(&host, values[i] + at, len - at < step ? len - at : step);
        }
        now = fk_host_is_nobodys(&host);
        assert_true(first || now == verdict);
        first = false;
        verdict = now;
    }
    return verdict;
}

static void addresses_are_nobodys(void **state)
{
    static const char *const good[] = {"127.0.0.1", "127.0.0.1:9464",  "[::1]:9464",
                                       "[::1]",     "localhost",       "LocalHost:9464",
                                       "192.0.2.1", "[2001:db8::1]:80"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(is_nobodys(&good[i], 1));
    assert_true(is_nobodys(NULL, 0)); /* no browser's */
}

/* Names that lead here may be a stranger's. */
static void names_are_somebodys(void **state)
{
    static const char *const bad[] = {"",
                                      "evil.example",
                                      "evil.example:9464",
                                      "127.0.0.1.evil.example",
                                      "localhost.evil.example",
                                      "localhost.",
                                      "[::1",
                                      "[evil.example]",
                                      "::1",
                                      "127.1",
                                      "0x7f.0.0.1",
                                      "127.0.0.1 ",
                                      "x127.0.0.1"};
    static const char *const twice[] = {"127.0.0.1", "127.0.0.1"};
    char long_one[FK_FIELD_VALUE_MAX + 2];
    const char *text = long_one;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(is_nobodys(&bad[i], 1));
    assert_false(is_nobodys(twice, 2));
    memset(long_one, '1', sizeof long_one);
    long_one[sizeof long_one - 1] = '\0';
    assert_false(is_nobodys(&text, 1));
}

UNIT_MAIN(cmocka_unit_test(addresses_are_nobodys), cmocka_unit_test(names_are_somebodys))
