/* http/headers, http/text: what may be held, look-up and removal by name, bounds, memory. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "http/headers.h"
#include "http/text.h"

#include <stdio.h>

static struct fk_http_headers headers;

static int set_up(void **state)
{
    (void)state;
    fk_http_headers_init(&headers, 4096, 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_http_headers_fini(&headers);
    return 0;
}

static void add(const char *name, const char *value)
{
    assert_ok(fk_http_headers_add_text(&headers, name, value));
}

static void assert_text(struct fk_reader text, const char *expected)
{
    assert_int_equal(text.left, strlen(expected));
    if (text.left > 0)
        assert_memory_equal(text.next, expected, text.left);
}

/* All fields as "name: value|name: value|". */
static void assert_all(const char *expected)
{
    char all[1024];
    size_t at = 0;

    all[0] = '\0';
    for (size_t i = 0; i < headers.count; i++) {
        struct fk_reader name = fk_http_headers_name(&headers, i);
        struct fk_reader value = fk_http_headers_value(&headers, i);

        at += (size_t)snprintf(all + at, sizeof all - at, "%.*s: %.*s|", (int)name.left, name.next,
                               (int)value.left, value.left > 0 ? (const char *)value.next : "");
        assert_true(at < sizeof all);
    }
    assert_string_equal(all, expected);
}

static void fields_keep_their_order_and_letters(void **state)
{
    struct fk_reader value;

    (void)state;
    add("Accept", "text/html");
    add("X-Empty", "");
    add("accept", " \ta, b\t ");
    assert_all("Accept: text/html|X-Empty: |accept: a, b|");
    assert_int_equal(fk_http_headers_count(&headers, "ACCEPT"), 2);
    assert_ok(fk_http_headers_find(&headers, "aCCEPT", &value));
    assert_text(value, "text/html");
    assert_ok(fk_http_headers_find(&headers, "x-empty", &value));
    assert_text(value, "");
    assert_err(fk_http_headers_find(&headers, "accep", &value), FK_ERR_NOT_FOUND);
    assert_err(fk_http_headers_find(&headers, "accept-", &value), FK_ERR_NOT_FOUND);
}

/* Every byte in turn in a name and in a value: exactly those of the grammar pass. */
static void no_other_byte_can_be_added(void **state)
{
    static const char tchar[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    (void)state;
    for (int c = 0; c < 256; c++) {
        uint8_t bytes[3] = {'a', (uint8_t)c, 'b'};
        struct fk_reader text;
        bool in_name = c != 0 && strchr(tchar, c) != NULL;
        bool in_value = c == '\t' || (c >= 0x20 && c != 0x7f);

        fk_reader_init(&text, bytes, sizeof bytes);
        assert_err(fk_http_headers_add(&headers, text, fk_http_text("v")),
                   in_name ? FK_OK : FK_ERR_FORMAT);
        fk_http_headers_reset(&headers);
        assert_err(fk_http_headers_add(&headers, fk_http_text("n"), text),
                   in_value ? FK_OK : FK_ERR_FORMAT);
        fk_http_headers_reset(&headers);
    }
    assert_err(fk_http_headers_add_text(&headers, "", "v"), FK_ERR_FORMAT);
    assert_int_equal(headers.count, 0);
}

static void names_are_removed_in_every_letter_case(void **state)
{
    (void)state;
    add("a", "1");
    add("client-cert", "2");
    add("CLIENT-CERT", "3");
    add("b", "4");
    add("Client-Cert", "");
    add("client_cert", "5");
    add("client.cert", "6");
    add("client-certs", "7");
    assert_int_equal(fk_http_headers_remove(&headers, fk_http_text("Client-Cert"), false), 3);
    assert_all("a: 1|b: 4|client_cert: 5|client.cert: 6|client-certs: 7|");
    assert_int_equal(fk_http_headers_remove(&headers, fk_http_text("Client-Cert"), false), 0);
    assert_int_equal(fk_http_headers_remove(&headers, fk_http_text("client-cert"), true), 2);
    assert_all("a: 1|b: 4|client-certs: 7|");
    assert_int_equal(fk_http_headers_remove(&headers, fk_http_headers_name(&headers, 0), true), 1);
    assert_all("b: 4|client-certs: 7|");
}

static void crumbs_of_a_cookie_are_joined(void **state)
{
    (void)state;
    add("cookie", "a=1");
    add("x", "y");
    add("Cookie", "b=2");
    add("COOKIE", "c=3");
    add("z", "");
    assert_ok(fk_http_headers_join(&headers, "cookie", "; "));
    assert_all("cookie: a=1; b=2; c=3|x: y|z: |");
    assert_ok(fk_http_headers_join(&headers, "cookie", "; "));
    assert_ok(fk_http_headers_join(&headers, "none", ", "));
    assert_all("cookie: a=1; b=2; c=3|x: y|z: |");
}

static void lists_are_searched_by_element(void **state)
{
    (void)state;
    add("Connection", "keep-alive ,, Upgrade\t");
    add("connection", ",");
    add("connection", "x");
    assert_true(fk_http_headers_lists(&headers, "connection", "upgrade"));
    assert_true(fk_http_headers_lists(&headers, "connection", "KEEP-ALIVE"));
    assert_true(fk_http_headers_lists(&headers, "connection", "x"));
    assert_false(fk_http_headers_lists(&headers, "connection", "keep"));
    assert_false(fk_http_headers_lists(&headers, "connection", ""));
    assert_false(fk_http_headers_lists(&headers, "upgrade", "x"));
}

/* Text that lies in the headers themselves may be added again while their block moves. */
static void own_text_may_be_added(void **state)
{
    struct fk_http_part part;

    (void)state;
    add("name", "0123456789012345678901234567890123456789");
    for (size_t i = 1; i < 20; i++)
        assert_ok(fk_http_headers_add(&headers, fk_http_headers_name(&headers, 0),
                                      fk_http_headers_value(&headers, i - 1)));
    assert_text(fk_http_headers_name(&headers, 19), "name");
    assert_text(fk_http_headers_value(&headers, 19), "0123456789012345678901234567890123456789");
    for (size_t i = 0; i < 20; i++)
        assert_ok(fk_http_headers_keep(&headers, fk_http_headers_value(&headers, 19), &part));
    assert_text(fk_http_headers_part(&headers, part), "0123456789012345678901234567890123456789");
}

static void bounds_hold_to_the_byte(void **state)
{
    char text[4097];
    struct fk_http_part part;

    (void)state;
    memset(text, 'x', 4096);
    text[4096] = '\0';
    assert_err(fk_http_headers_add_text(&headers, "n", text), FK_ERR_LIMIT);
    assert_ok(fk_http_headers_add_text(&headers, "n", text + 1));
    assert_err(fk_http_headers_add_text(&headers, "n", ""), FK_ERR_LIMIT);
    assert_err(fk_http_headers_keep(&headers, fk_http_text("n"), &part), FK_ERR_LIMIT);
    fk_http_headers_widen(&headers, 20, 0);
    for (size_t i = 1; i < 20; i++)
        add("n", "");
    assert_err(fk_http_headers_add_text(&headers, "n", ""), FK_ERR_LIMIT);
    fk_http_headers_widen(&headers, 20, 1);
    add("n", "");
    assert_int_equal(headers.len, 4096 + 20);
    fk_http_headers_reset(&headers);
    assert_int_equal(headers.count, 0);
    add("n", "v");
}

static void field_lines_are_strict(void **state)
{
    static const struct {
        const char *line, *name, *value;
        enum fk_http_fault fault;
    } rows[] = {
        {"Host:x", "Host", "x", FK_HTTP_FAULT_NONE},
        {"Host: \t x y \t", "Host", "x y", FK_HTTP_FAULT_NONE},
        {"Host:", "Host", "", FK_HTTP_FAULT_NONE},
        {"Host:a:b", "Host", "a:b", FK_HTTP_FAULT_NONE},
        {"Host:\xc3\xa4", "Host", "\xc3\xa4", FK_HTTP_FAULT_NONE},
        {" Host:x", NULL, NULL, FK_HTTP_FAULT_FOLD},
        {"\tHost:x", NULL, NULL, FK_HTTP_FAULT_FOLD},
        {"Host", NULL, NULL, FK_HTTP_FAULT_NO_COLON},
        {"Host x", NULL, NULL, FK_HTTP_FAULT_NO_COLON},
        {":x", NULL, NULL, FK_HTTP_FAULT_NAME_EMPTY},
        {"Host :x", NULL, NULL, FK_HTTP_FAULT_NAME_BAD},
        {"Ho st:x", NULL, NULL, FK_HTTP_FAULT_NAME_BAD},
        {"Ho\rst:x", NULL, NULL, FK_HTTP_FAULT_NAME_BAD},
        {"H\xc3\xb6st:x", NULL, NULL, FK_HTTP_FAULT_NAME_BAD},
        {"Host:x\ry", NULL, NULL, FK_HTTP_FAULT_BARE_CR},
        {"Host:\x7f", NULL, NULL, FK_HTTP_FAULT_VALUE_BAD},
        {"Host:\x01", NULL, NULL, FK_HTTP_FAULT_VALUE_BAD},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_reader name = {0}, value = {0};
        enum fk_http_fault fault = fk_http_field_line(fk_http_text(rows[i].line), &name, &value);

        assert_string_equal(fk_http_fault_name(fault), fk_http_fault_name(rows[i].fault));
        if (fault == FK_HTTP_FAULT_NONE) {
            assert_text(name, rows[i].name);
            assert_text(value, rows[i].value);
        } else {
            assert_null(name.next); /* untouched */
            assert_null(value.next);
        }
    }
}

static void numbers_are_digits_only(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
        int err;
    } rows[] = {
        {"0", 0, FK_OK},
        {"007", 7, FK_OK},
        {"9223372036854775807", INT64_MAX, FK_OK},
        {"9223372036854775808", 0, FK_ERR_RANGE},
        {"18446744073709551617", 0, FK_ERR_RANGE},
        {"", 0, FK_ERR_FORMAT},
        {"+1", 0, FK_ERR_FORMAT},
        {"-1", 0, FK_ERR_FORMAT},
        {"1 ", 0, FK_ERR_FORMAT},
        {"0x1", 0, FK_ERR_FORMAT},
        {"1,1", 0, FK_ERR_FORMAT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = 99;

        assert_err(fk_http_decimal(fk_http_text(rows[i].text), &value), rows[i].err);
        assert_true(value == (rows[i].err == FK_OK ? rows[i].value : 99));
    }
}

static void every_fault_has_name_text_and_status(void **state)
{
    (void)state;
    for (enum fk_http_fault fault = FK_HTTP_FAULT_NONE + 1; fault < FK_HTTP_FAULT_COUNT; fault++) {
        assert_true(strlen(fk_http_fault_text(fault)) > 0);
        assert_string_not_equal(fk_http_fault_name(fault), "UNKNOWN");
        assert_in_range(fk_http_fault_status(fault), 400, 505);
    }
    assert_string_equal(fk_http_fault_name(FK_HTTP_FAULT_COUNT), "UNKNOWN");
    assert_int_equal(fk_http_fault_status(FK_HTTP_FAULT_COUNT), 500);
}

/* docs/http.md names each, with its status and text. */
static void every_fault_is_documented(void **state)
{
    static char page[32768];
    char path[1024], row[512];
    size_t len;
    FILE *file;

    (void)state;
    snprintf(path, sizeof path, "%s/../../docs/http.md", getenv("FK_VECTORS"));
    file = fopen(path, "re");
    if (file == NULL)
        fail_msg("%s: cannot open (set FK_VECTORS to the folder tests/vectors)", path);
    len = fread(page, 1, sizeof page - 1, file);
    fclose(file);
    page[len] = '\0';
    for (enum fk_http_fault fault = FK_HTTP_FAULT_NONE + 1; fault < FK_HTTP_FAULT_COUNT; fault++) {
        snprintf(row, sizeof row, "| %s | %d | %s |\n", fk_http_fault_name(fault),
                 fk_http_fault_status(fault), fk_http_fault_text(fault));
        if (strstr(page, row) == NULL)
            fail_msg("docs/http.md: no row %s", row);
    }
}

static int fill(void *context)
{
    struct fk_http_headers *mine = context;
    int err = FK_OK;

    fk_http_headers_init(mine, 65536, 100);
    for (size_t i = 0; i < 40 && err == FK_OK; i++)
        err = fk_http_headers_add_text(mine, "cookie", "0123456789012345678901234567890123456789");
    if (err == FK_OK)
        err = fk_http_headers_join(mine, "cookie", "; ");
    if (err == FK_OK)
        assert_int_equal(mine->count, 1);
    fk_http_headers_fini(mine);
    return err;
}

static void without_memory_nothing_leaks(void **state)
{
    struct fk_http_headers mine;

    (void)state;
    assert_true(failmalloc_try(fill, &mine) >= 4);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

UNIT_MAIN(CASE(fields_keep_their_order_and_letters), CASE(no_other_byte_can_be_added),
          CASE(names_are_removed_in_every_letter_case), CASE(crumbs_of_a_cookie_are_joined),
          CASE(lists_are_searched_by_element), CASE(own_text_may_be_added),
          CASE(bounds_hold_to_the_byte), cmocka_unit_test(field_lines_are_strict),
          cmocka_unit_test(numbers_are_digits_only),
          cmocka_unit_test(every_fault_has_name_text_and_status),
          cmocka_unit_test(every_fault_is_documented),
          cmocka_unit_test(without_memory_nothing_leaks))
