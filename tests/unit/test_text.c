/* base/text: exactly the texts that are values, and nothing near them. */
#include "unit.h"

#include "base/err.h"
#include "base/text.h"

typedef int convert(const char *text, size_t len, uint64_t *ret);

struct row {
    convert *convert;
    const char *text;
    int err;
    uint64_t value;
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 77;

        assert_err(rows[i].convert(rows[i].text, strlen(rows[i].text), &value), rows[i].err);
        assert_true(value == (rows[i].err == FK_OK ? rows[i].value : 77));
    }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void numbers_are_digits_and_nothing_else(void **state)
{
    static const struct row rows[] = {
        {fk_text_u64, "0", FK_OK, 0},
        {fk_text_u64, "007", FK_OK, 7},
        {fk_text_u64, "18446744073709551615", FK_OK, UINT64_MAX},
        {fk_text_u64, "18446744073709551616", FK_ERR_RANGE, 0},
        {fk_text_u64, "99999999999999999999", FK_ERR_RANGE, 0},
        {fk_text_u64, "", FK_ERR_FORMAT, 0},
        {fk_text_u64, "-1", FK_ERR_FORMAT, 0},
        {fk_text_u64, "+1", FK_ERR_FORMAT, 0},
        {fk_text_u64, " 1", FK_ERR_FORMAT, 0},
        {fk_text_u64, "1 ", FK_ERR_FORMAT, 0},
        {fk_text_u64, "1k", FK_ERR_FORMAT, 0},
        {fk_text_u64, "0x10", FK_ERR_FORMAT, 0},
        {fk_text_u64, "1.0", FK_ERR_FORMAT, 0},
    };
    uint64_t value;

    (void)state;
    CHECK_ROWS(rows);
    assert_ok(fk_text_u64("12345", 3, &value)); /* the length counts, not a NUL */
    assert_int_equal(value, 123);
    assert_err(fk_text_u64("1\0", 2, &value), FK_ERR_FORMAT);
}

static void sizes_have_units_of_1024(void **state)
{
    static const struct row rows[] = {
        {fk_text_size, "0", FK_OK, 0},
        {fk_text_size, "512", FK_OK, 512},
        {fk_text_size, "16k", FK_OK, 16384},
        {fk_text_size, "4m", FK_OK, 4194304},
        {fk_text_size, "1g", FK_OK, 1073741824},
        {fk_text_size, "17179869183g", FK_OK, UINT64_C(17179869183) << 30},
        {fk_text_size, "17179869184g", FK_ERR_RANGE, 0},
        {fk_text_size, "k", FK_ERR_FORMAT, 0},
        {fk_text_size, "1K", FK_ERR_FORMAT, 0},
        {fk_text_size, "1kb", FK_ERR_FORMAT, 0},
        {fk_text_size, "1 k", FK_ERR_FORMAT, 0},
        {fk_text_size, "1t", FK_ERR_FORMAT, 0},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void durations_need_a_unit(void **state)
{
    static const struct row rows[] = {
        {fk_text_duration, "0", FK_OK, 0},
        {fk_text_duration, "0s", FK_OK, 0},
        {fk_text_duration, "250us", FK_OK, 250},
        {fk_text_duration, "20ms", FK_OK, 20000},
        {fk_text_duration, "10s", FK_OK, 10000000},
        {fk_text_duration, "5m", FK_OK, 300000000},
        {fk_text_duration, "2h", FK_OK, UINT64_C(7200000000)},
        {fk_text_duration, "7d", FK_OK, UINT64_C(604800000000)},
        {fk_text_duration, "213503982d", FK_OK, UINT64_C(213503982) * 86400 * 1000000},
        {fk_text_duration, "213503983d", FK_ERR_RANGE, 0},
        {fk_text_duration, "10", FK_ERR_FORMAT, 0},
        {fk_text_duration, "00", FK_ERR_FORMAT, 0},
        {fk_text_duration, "10S", FK_ERR_FORMAT, 0},
        {fk_text_duration, "1w", FK_ERR_FORMAT, 0},
        {fk_text_duration, "1s1ms", FK_ERR_FORMAT, 0},
        {fk_text_duration, "", FK_ERR_FORMAT, 0},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void rates_are_exact(void **state)
{
    static const struct row rows[] = {
        {fk_text_rate, "0", FK_OK, 0},
        {fk_text_rate, "00", FK_ERR_FORMAT, 0},
        {fk_text_rate, "0/s", FK_OK, 0},
        {fk_text_rate, "500/s", FK_OK, 1800000},
        {fk_text_rate, "30/m", FK_OK, 1800},
        {fk_text_rate, "1/m", FK_OK, 60},
        {fk_text_rate, "3600/h", FK_OK, 3600},
        {fk_text_rate, "3/h", FK_OK, 3},
        {fk_text_rate, "1/h", FK_OK, 1},
        {fk_text_rate, "0/h", FK_OK, 0},
        {fk_text_rate, "5124095576030431/s", FK_OK, UINT64_C(18446744073709551600)},
        {fk_text_rate, "5124095576030432/s", FK_ERR_RANGE, 0},
        {fk_text_rate, "307445734561825860/m", FK_OK, UINT64_C(18446744073709551600)},
        {fk_text_rate, "307445734561825861/m", FK_ERR_RANGE, 0},
        {fk_text_rate, "18446744073709551615/h", FK_OK, UINT64_MAX},
        {fk_text_rate, "18446744073709551616/h", FK_ERR_RANGE, 0},
        {fk_text_rate, "500", FK_ERR_FORMAT, 0},
        {fk_text_rate, "500/", FK_ERR_FORMAT, 0},
        {fk_text_rate, "500/d", FK_ERR_FORMAT, 0},
        {fk_text_rate, "500/sec", FK_ERR_FORMAT, 0},
        {fk_text_rate, "/s", FK_ERR_FORMAT, 0},
    };

    (void)state;
    CHECK_ROWS(rows);
}

static void hexadecimal_goes_both_ways(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x1f, 0xa0, 0xff};
    uint8_t back[4] = {9, 9, 9, 9};
    char text[9];

    (void)state;
    fk_text_hex(bytes, sizeof bytes, text);
    assert_string_equal(text, "001fa0ff");
    fk_text_hex(bytes, 0, text);
    assert_string_equal(text, "");
    assert_ok(fk_text_unhex("001FA0fF", 8, back, 4));
    assert_memory_equal(back, bytes, 4);
    memset(back, 9, sizeof back);
    assert_err(fk_text_unhex("001fa0f", 7, back, 4), FK_ERR_FORMAT);
    assert_err(fk_text_unhex("001fa0ff0", 9, back, 4), FK_ERR_FORMAT);
    assert_err(fk_text_unhex("001fa0fg", 8, back, 4), FK_ERR_FORMAT);
    assert_err(fk_text_unhex("00 1fa0f", 8, back, 4), FK_ERR_FORMAT);
    assert_int_equal(back[0], 9);
    assert_ok(fk_text_unhex("", 0, back, 0));
}

static void host_names_match_without_case_and_with_one_star(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool matches;
    } rows[] = {
        {"example.com", "example.com", true},
        {"Example.COM", "eXample.com", true},
        {"example.com", "example.org", false},
        {"example.com", "www.example.com", false},
        {"*.example.com", "www.example.com", true},
        {"*.EXAMPLE.com", "WWW.example.COM", true},
        {"*.example.com", "example.com", false},
        {"*.example.com", "a.b.example.com", false},
        {"*.example.com", ".example.com", false},
        {"*.example.com", "wwwexample.com", false},
        {"*", "example", false},
        {"*.", "a.", true},
        {"w*.example.com", "www.example.com", false},
        {"example.com", "", false},
        {"*.com", "", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(fk_text_host_matches(rows[i].pattern, rows[i].name), rows[i].matches);
}

static void lower_case_of_letters_only(void **state)
{
    char text[] = "AZaz@[`{09-.\xc3\x84X";

    (void)state;
    fk_text_lower(text, sizeof text - 2, text); /* all but the last */
    assert_string_equal(text, "azaz@[`{09-.\xc3\x84X");
}

UNIT_MAIN(cmocka_unit_test(lower_case_of_letters_only),
          cmocka_unit_test(numbers_are_digits_and_nothing_else),
          cmocka_unit_test(sizes_have_units_of_1024), cmocka_unit_test(durations_need_a_unit),
          cmocka_unit_test(rates_are_exact), cmocka_unit_test(hexadecimal_goes_both_ways),
          cmocka_unit_test(host_names_match_without_case_and_with_one_star))
