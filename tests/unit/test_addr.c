/* loop/addr: every accepted text reads back as itself, every wrong one is named as such. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/addr.h"

static void addresses_read_back(void **state)
{
    static const char *const texts[] = {"10.0.0.1:443",         "[::1]:443", "*:443",
                                        "[2001:db8::1%7]:1",    "0.0.0.0:0", "unix:/run/x.sock",
                                        "255.255.255.255:65535"};
    char text[FK_ADDR_TEXT_SIZE];
    struct fk_addr addr;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_ok(fk_addr_parse(texts[i], &addr));
        fk_addr_format(&addr, text);
        assert_string_equal(text, texts[i]);
    }
    assert_ok(fk_addr_parse("[::]:80", &addr));
    fk_addr_format(&addr, text);
    assert_string_equal(text, "*:80");
    assert_ok(fk_addr_parse("[::1%lo]:80", &addr));
    fk_addr_format(&addr, text);
    assert_string_equal(text, "[::1%1]:80");
}

static void bad_addresses_are_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "10.0.0.1",
                                        "10.0.0.1:",
                                        "10.0.0.1:65536",
                                        "10.0.0.1:-1",
                                        "10.0.0:443",
                                        "10.0.0.256:1",
                                        "::1:443",
                                        "[::1]",
                                        "[::1]443",
                                        "[::1:443",
                                        "[10.0.0.1]:1",
                                        "[::1%nosuch]:1",
                                        "[]:1",
                                        ":443",
                                        "a b:1",
                                        "unix:",
                                        "*:",
                                        "[::1%99999999999]:1",
                                        "10.0.0.1:4 ",
                                        "[12345678901234567890123456789012345678901234567890]:1"};
    struct fk_addr addr = {.len = 77};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_err(fk_addr_parse(texts[i], &addr), FK_ERR_FORMAT);
    assert_int_equal(addr.len, 77);
}

static void names_are_for_the_resolver(void **state)
{
    struct fk_addr addr;

    (void)state;
    assert_err(fk_addr_parse("keys.example.net:2407", &addr), FK_ERR_NOT_FOUND);
    assert_err(fk_addr_parse("localhost:1", &addr), FK_ERR_NOT_FOUND);
    assert_err(fk_addr_parse("1.2.3.4a:1", &addr), FK_ERR_NOT_FOUND);
}

static void unix_path_has_a_bound(void **state)
{
    char text[5 + 108 + 1] = "unix:", back[FK_ADDR_TEXT_SIZE];
    struct fk_addr addr;

    (void)state;
    memset(text + 5, 'x', 108);
    assert_err(fk_addr_parse(text, &addr), FK_ERR_FORMAT);
    text[5 + 107] = '\0';
    assert_ok(fk_addr_parse(text, &addr));
    fk_addr_format(&addr, back);
    assert_string_equal(back, text);
    addr.len = sizeof(sa_family_t); /* an unnamed peer */
    fk_addr_format(&addr, back);
    assert_string_equal(back, "unix:");
}

static void split_separates_host_and_port(void **state)
{
    char host[FK_HOST_MAX + 1], small[4] = "old", longest[FK_HOST_MAX + 4];
    uint16_t port = 9;

    (void)state;
    assert_ok(fk_addr_split("keys.example.net:2407", host, sizeof host, &port));
    assert_string_equal(host, "keys.example.net");
    assert_int_equal(port, 2407);
    assert_ok(fk_addr_split("[::1]:1", host, sizeof host, &port));
    assert_string_equal(host, "::1");
    assert_err(fk_addr_split("abcd:1", small, sizeof small, &port), FK_ERR_FORMAT);
    assert_string_equal(small, "old");
    memset(longest, 'a', FK_HOST_MAX + 1);
    memcpy(longest + FK_HOST_MAX, ":1", 3);
    assert_ok(fk_addr_split(longest, host, sizeof host, &port));
    memcpy(longest + FK_HOST_MAX, "a:1", 4);
    assert_err(fk_addr_split(longest, host, sizeof host, &port), FK_ERR_FORMAT);
}

static void ip_bytes_and_ports(void **state)
{
    static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 10, 0, 0, 1};
    static const uint8_t v4[4] = {10, 0, 0, 1};
    char text[FK_ADDR_TEXT_SIZE];
    struct fk_addr addr;
    uint8_t ip[16];

    (void)state;
    assert_ok(fk_addr_from_ip(v4, 4, 80, &addr));
    assert_int_equal(fk_addr_ip(&addr, ip), 4);
    assert_memory_equal(ip, v4, 4);
    assert_ok(fk_addr_from_ip(mapped, 16, 80, &addr));
    assert_int_equal(fk_addr_ip(&addr, ip), 4);
    assert_memory_equal(ip, v4, 4);
    fk_addr_set_port(&addr, 81);
    assert_int_equal(fk_addr_port(&addr), 81);
    fk_addr_format(&addr, text);
    assert_string_equal(text, "10.0.0.1:81");
    assert_err(fk_addr_from_ip(v4, 3, 80, &addr), FK_ERR_INVAL);
    assert_ok(fk_addr_parse("unix:/x", &addr));
    assert_int_equal(fk_addr_ip(&addr, ip), 0);
    assert_int_equal(fk_addr_port(&addr), 0);
}

static bool has(const char *range_text, const char *addr_text)
{
    struct fk_range range;
    struct fk_addr addr;

    assert_ok(fk_range_parse(range_text, &range));
    assert_ok(fk_addr_parse(addr_text, &addr));
    return fk_range_has(&range, &addr);
}

static void ranges_hold_their_addresses(void **state)
{
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.0.1:1"));
    assert_false(has("10.0.0.0/8", "11.0.0.0:1"));
    assert_true(has("10.0.0.128/25", "10.0.0.255:1"));
    assert_false(has("10.0.0.128/25", "10.0.0.127:1"));
    assert_true(has("10.0.0.1", "10.0.0.1:1"));
    assert_false(has("10.0.0.1", "10.0.0.0:1"));
    assert_true(has("10.0.0.1", "[::ffff:10.0.0.1]:1"));
    assert_true(has("0.0.0.0/0", "1.2.3.4:1"));
    assert_false(has("0.0.0.0/0", "[2001:db8::1]:1"));
    assert_true(has("::/0", "1.2.3.4:1"));
    assert_true(has("2001:db8::/33", "[2001:db8:7fff::1]:1"));
    assert_false(has("2001:db8::/33", "[2001:db8:8000::1]:1"));
    assert_false(has("::/0", "unix:/x"));
}

static void bad_ranges_are_refused(void **state)
{
    static const char *const texts[] = {
        "",       "10.0.0.1/8", "10.0.0.0/33",  "10.0.0.0/",   "10.0.0/8",
        "::1/64", "::/129",     "10.0.0.0/8/8", "10.0.0.0/+8", "example.com"};
    struct fk_range range = {.bits = 7};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_err(fk_range_parse(texts[i], &range), FK_ERR_FORMAT);
    assert_int_equal(range.bits, 7);
}

static void deny_comes_before_allow(void **state)
{
    struct fk_range ten, host;
    struct fk_ranges none = {NULL, 0}, allow = {&ten, 1}, deny = {&host, 1};
    struct fk_addr inside, denied, outside, local;

    (void)state;
    assert_ok(fk_range_parse("10.0.0.0/8", &ten));
    assert_ok(fk_range_parse("10.0.0.1", &host));
    assert_ok(fk_addr_parse("10.0.0.2:1", &inside));
    assert_ok(fk_addr_parse("10.0.0.1:1", &denied));
    assert_ok(fk_addr_parse("11.0.0.1:1", &outside));
    assert_ok(fk_addr_parse("unix:/x", &local));
    assert_true(fk_addr_permitted(&inside, &allow, &deny));
    assert_false(fk_addr_permitted(&denied, &allow, &deny));
    assert_false(fk_addr_permitted(&outside, &allow, &deny));
    assert_true(fk_addr_permitted(&outside, &none, &deny));
    assert_false(fk_addr_permitted(&denied, &none, &deny));
    assert_true(fk_addr_permitted(&outside, &none, &none));
    assert_true(fk_addr_permitted(&local, &allow, &deny));
}

UNIT_MAIN(cmocka_unit_test(addresses_read_back), cmocka_unit_test(bad_addresses_are_refused),
          cmocka_unit_test(names_are_for_the_resolver), cmocka_unit_test(unix_path_has_a_bound),
          cmocka_unit_test(split_separates_host_and_port), cmocka_unit_test(ip_bytes_and_ports),
          cmocka_unit_test(ranges_hold_their_addresses), cmocka_unit_test(bad_ranges_are_refused),
          cmocka_unit_test(deny_comes_before_allow))
