/* http/cookie, http/pathguard: what of a request may be read as somebody's identity or secret. */
#include "unit.h"

#include "base/err.h"
#include "http/cookie.h"
#include "http/pathguard.h"
#include "http/text.h"

#include <stdio.h>

static struct fk_http_headers headers;

static int set_up(void **state)
{
    (void)state;
    fk_http_headers_init(&headers, 4096, 10);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_http_headers_fini(&headers);
    return 0;
}

/* A Cookie without `name` is `left`; NULL: no field is left. */
static void assert_left(const char *name, const char *cookie, const char *left)
{
    struct fk_reader value;

    fk_http_headers_reset(&headers);
    assert_ok(fk_http_headers_add_text(&headers, "cookie", cookie));
    assert_ok(fk_http_cookie_remove(&headers, name));
    if (left == NULL) {
        assert_int_equal(headers.count, 0);
        return;
    }
    assert_ok(fk_http_headers_find(&headers, "Cookie", &value));
    assert_int_equal(value.left, strlen(left));
    assert_memory_equal(value.next, left, value.left);
}

static void others_stay_byte_by_byte(void **state)
{
    static const char *const rows[] = {
        "a=1",  "a=1; b=2",      "a=1;b=2",  "a=CERT", "CERTS=1", "ACERT=1", "a=\"x; y\"",
        "CERT", "a=1,b=2; c  d", "; ;a=1;;", "a==b=",  "=CERT",   "a=CERT=1"};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_left("CERT", rows[i], rows[i]);
}

static void whatever_may_be_the_name_goes(void **state)
{
    static const char *const names[] = {
        "CERT",  "cert",   "Cert",         "CERT ",  " CERT\t",      "\"CERT\"",         "CERT[a]",
        "CERT[", "%43ERT", "%43%45%52%54", "C%45rt", "\302\240CERT", "CERT\xe3\x80\x80", "@CERT",
        "(CERT)"};
    char cookie[128];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(cookie, sizeof cookie, "%s=x", names[i]);
        assert_left("CERT", cookie, NULL);
        snprintf(cookie, sizeof cookie, "a=1; %s=x; b=2", names[i]);
        assert_left("CERT", cookie, "a=1; b=2");
        snprintf(cookie, sizeof cookie, "a=1;%s=x", names[i]);
        assert_left("CERT", cookie, "a=1");
    }
    assert_left("%CERT", "%CERT=x; a=1", "a=1");
    assert_left("%CERT", "%25CERT=x; a=1", "a=1");
    assert_left("%CERT", "CERT=x; a=1", "CERT=x; a=1");
    assert_left("a-b", "a_b=1; A.B=2; c=3", "c=3");
}

/* Parsers that part pairs at commas and spaces, and those that do not. */
static void other_separators(void **state)
{
    (void)state;
    assert_left("CERT", "a=1,CERT=x", "a=1,");
    assert_left("CERT", "a=1 CERT=x; b=2", "a=1 ; b=2");
    assert_left("CERT", "a=1\tcert=x", "a=1");
    assert_left("CERT", "a=1, CERT = x, b=2", "a=1, , b=2");
    assert_left("CERT", "CERT=x y z, a=1; b=2", "b=2"); /* all of it may be the value */
    assert_left("CERT", "a=\"CERT=x", "a=\"CERT=x");
    assert_left("CERT", "a=\" CERT=x; b\"", "a=\" ; b\"");
    assert_left("CERT", "CERT=1; CERT=2; cert=3", NULL);
}

/* What stood on both sides of it is not to become it. */
static void what_is_left_is_not_the_name(void **state)
{
    (void)state;
    assert_left("CERT", "C CERT=x ERT=forged; b=2", "b=2");
    assert_left("CERT", "a=1;C\xff CERT=x, ERT=forged", "a=1");
    assert_left("CERT", "C CERT=1 CERT=2 E CERT=3 RT=forged", NULL);
    assert_left("CERT", "C CERT=x RT=not; b=2", "C  RT=not; b=2");
}

static void every_field_is_looked_at(void **state)
{
    (void)state;
    assert_ok(fk_http_headers_add_text(&headers, "Cookie", "a=1; CERT=x"));
    assert_ok(fk_http_headers_add_text(&headers, "X", "CERT=x"));
    assert_ok(fk_http_headers_add_text(&headers, "Cookie", "CERT=y"));
    assert_ok(fk_http_headers_add_text(&headers, "cookie", "CERT=z; b=2"));
    assert_ok(fk_http_cookie_remove(&headers, "CERT"));
    assert_int_equal(headers.count, 3);
    assert_true(fk_http_equal(fk_http_headers_value(&headers, 0), "a=1"));
    assert_true(fk_http_equal(fk_http_headers_value(&headers, 1), "CERT=x"));
    assert_true(fk_http_equal(fk_http_headers_value(&headers, 2), "b=2"));
}

static void added_at_the_end(void **state)
{
    struct fk_reader value;

    (void)state;
    assert_ok(fk_http_cookie_add(&headers, "%CERT", fk_http_text("a b=")));
    assert_ok(fk_http_headers_find(&headers, "Cookie", &value));
    assert_true(fk_http_equal(value, "%CERT=a b="));
    fk_http_headers_reset(&headers);
    assert_ok(fk_http_headers_add_text(&headers, "Cookie", "cookie1=value1; cookie2=value2"));
    assert_ok(fk_http_cookie_add(&headers, "%CERT", fk_http_text("v")));
    assert_ok(fk_http_headers_find(&headers, "Cookie", &value));
    assert_true(fk_http_equal(value, "cookie1=value1; cookie2=value2; %CERT=v"));
    assert_int_equal(headers.count, 1);
    assert_err(fk_http_cookie_add(&headers, "a", fk_http_text("b\r\nc")), FK_ERR_FORMAT);
    assert_ok(fk_http_headers_find(&headers, "Cookie", &value));
    assert_true(fk_http_equal(value, "cookie1=value1; cookie2=value2; %CERT=v"));
}

static void bounded(void **state)
{
    struct fk_http_headers small;

    (void)state;
    fk_http_headers_init(&small, 20, 2);
    assert_ok(fk_http_headers_add_text(&small, "Cookie", "CERT=1;a=2"));
    assert_err(fk_http_cookie_add(&small, "b", fk_http_text("3")), FK_ERR_LIMIT);
    assert_err(fk_http_cookie_remove(&small, "CERT"), FK_ERR_LIMIT);
    fk_http_headers_fini(&small);
}

/* --- paths --- */

static bool guarded(const char *path, const char *by)
{
    return fk_http_path_guarded(fk_http_text(path), by);
}

static void paths_within(void **state)
{
    static const char *const inside[] = {
        "/admin",       "/admin/",     "/admin/x?y",    "/admin?x",     "//admin",
        "/./admin",     "/ADMIN",      "/%61dmin",      "/%2561dmin",   "/x/../admin",
        "/admin;a=b/c", "/;x/admin",   "\\admin",       "/%5cadmin",    "/admin%2f",
        "/%2fadmin",    "/admin/../x", "/x/..;/admin",  "/x/%2e%2e/y",  "/admin%3fx",
        "/admin.",      "/admin%20",   "/admin%2500.x", "/a%25252525b", "/x//../admin"};
    static const char *const outside[] = {
        "/", "/admi", "/admins", "/x/admin", "/x?/admin", "/x?a=/../admin", "/ad/min",
        "*", "/x%",   "/x%4",    "/...",     "/a..b",     "/%2e/x"};

    (void)state;
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        assert_true(guarded(inside[i], "/admin"));
        assert_true(guarded(inside[i], "/"));
    }
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_false(guarded(outside[i], "/admin"));
        assert_true(guarded(outside[i], "/"));
    }
    assert_true(guarded("/a//b/c", "/a/b"));
    assert_false(guarded("/a/c/b", "/a/b"));
    assert_false(guarded("/a", "/a/b"));
}

static void paths_that_can_be_guarded(void **state)
{
    static const char *const good[] = {"/", "/a", "/a/b-c_1", "/@"};
    static const char *const bad[] = {"",     "a",    "/a/",  "//a", "/a//b", "/%61",
                                      "/a?b", "/a;b", "/a.b", "/..", "/a b",  "/\xc3\xbc"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(fk_http_guarded_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(fk_http_guarded_ok(bad[i]));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

UNIT_MAIN(CASE(others_stay_byte_by_byte), CASE(whatever_may_be_the_name_goes),
          CASE(other_separators), CASE(what_is_left_is_not_the_name),
          CASE(every_field_is_looked_at), CASE(added_at_the_end), CASE(bounded), CASE(paths_within),
          CASE(paths_that_can_be_guarded))
