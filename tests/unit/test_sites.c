/* Finding a site: names in any case, wildcards, default, strict, addresses; and whom to let in. */
#include "unit.h"

#include "base/err.h"
#include "edge/admit.h"
#include "edge/sites.h"
#include "failmalloc.h"

#include <stdio.h>

#define FILE_NAME "/test/edge.conf"

struct loaded {
    struct fk_bundle *bundle;
    struct fk_conf *conf;
    const struct fk_edge_conf *root;
    struct fk_sites *sites;
};

static void load(struct loaded *loaded, const char *text)
{
    assert_ok(fk_bundle_new(&loaded->bundle));
    assert_ok(fk_bundle_add(loaded->bundle, FILE_NAME, text, strlen(text)));
    if (fk_conf_load(&fk_edge_conf_kind, FILE_NAME, loaded->bundle, &loaded->conf) != FK_OK)
        fail_msg("%s", fk_conf_error(loaded->conf, 0));
    loaded->root = fk_conf_root(loaded->conf);
    assert_ok(fk_sites_new(loaded->root, &loaded->sites));
}

static void unload(struct loaded *loaded)
{
    fk_sites_free(loaded->sites);
    fk_conf_free(loaded->conf);
    fk_bundle_free(loaded->bundle);
}

#define SITE(title, rest)                                                    \
    "site \"" title "\" { mode = local certificate = {\"c\"} key = {\"k\"} " \
    "origin = {\"127.0.0.1:1\"} " rest " }\n"

static const char *found(struct loaded *loaded, const char *name)
{
    struct fk_site *site = fk_sites_find(loaded->sites, name, strlen(name));

    return site == NULL ? "-" : site->conf->block.title;
}

static void exact_then_wildcard(void **state)
{
    static const struct {
        const char *name, *site;
    } cases[] = {
        {"example.com", "example.com"},
        {"EXAMPLE.Com", "example.com"},
        {"example.com.", "example.com"}, /* the root's dot */
        {"www.example.com", "wild"},
        {"Special.Example.COM", "special"},
        {"a.b.example.com", "-"}, /* one label only */
        {"b.special.example.com", "-"},
        {".example.com", "-"},
        {"*.example.com", "-"}, /* not a name that a client may ask for */
        {"xexample.com", "-"},
        {"com", "-"},
        {"", "-"},
        {".", "-"},
        {"other.example", "-"},
    };
    struct loaded l;

    (void)state;
    load(&l,
         "listen \"*:1\" { }\n" SITE("example.com", "") SITE("wild", "names = {\"*.example.com\"}")
             SITE("special", "names = {\"special.EXAMPLE.com\", \"other\"}"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(found(&l, cases[i].name), cases[i].site);
    unload(&l);
}

static void longest_name_and_beyond(void **state)
{
    char name[300];
    struct loaded l;

    (void)state;
    load(&l, "listen \"*:1\" { }\n" SITE("example.com", ""));
    memset(name, 'a', sizeof name);
    for (size_t len = 250; len < sizeof name; len++)
        assert_null(fk_sites_find(l.sites, name, len));
    unload(&l);
}

/* Many names in one table: each finds its own. */
static void many_names(void **state)
{
    char *text = malloc(400000);
    struct loaded l;
    size_t len = 0;
    char name[64];

    (void)state;
    assert_non_null(text);
    len += (size_t)snprintf(text, 400000, "%s", "listen \"*:1\" { }\n");
    for (unsigned i = 0; i < 1000; i++)
        len += (size_t)snprintf(text + len, 400000 - len,
                                SITE("s%u.example", "names = {\"s%u.example\", \"*.s%u.example\"}"),
                                i, i, i);
    load(&l, text);
    for (unsigned i = 0; i < 1000; i++) {
        struct fk_site *site;

        snprintf(name, sizeof name, "S%u.example", i);
        site = fk_sites_find(l.sites, name, strlen(name));
        assert_ptr_equal(site, fk_sites_at(l.sites, i));
        snprintf(name, sizeof name, "www.s%u.EXAMPLE", i);
        assert_ptr_equal(fk_sites_find(l.sites, name, strlen(name)), site);
    }
    assert_null(fk_sites_find(l.sites, "s1000.example", 13));
    unload(&l);
    free(text);
}

static const struct fk_edge_listen *listener(const struct loaded *loaded, unsigned index)
{
    const struct fk_conf_block *block = loaded->root->listens;

    while (index-- > 0)
        block = block->next;
    return (const void *)block;
}

static const char *chosen(struct loaded *loaded, unsigned index, const char *sni,
                          const char *reached)
{
    struct fk_addr addr;
    struct fk_site *site;
    int err;

    assert_ok(fk_addr_parse(reached, &addr));
    err = fk_sites_choose(loaded->sites, listener(loaded, index), sni,
                          sni == NULL ? 0 : strlen(sni), &addr, &site);
    if (err == FK_OK)
        return site->conf->block.title;
    assert_err(err, FK_ERR_NOT_FOUND);
    return "-";
}

static void choosing(void **state)
{
    struct loaded l;

    (void)state;
    load(&l, "listen \"*:1\" { addresses = {\"10.0.0.1=b\", \"2001:db8::1=b\"} }\n"
             "listen \"*:2\" { strict_sni = on addresses = {\"10.0.0.1=b\"} }\n" SITE(
                 "a", "names = {\"a.example\"} default = on") SITE("b", "names = {\"b.example\"}"));
    assert_string_equal(chosen(&l, 0, "b.example", "10.0.0.9:1"), "b");
    assert_string_equal(chosen(&l, 0, "x.example", "10.0.0.1:1"), "a"); /* a name, if unknown */
    assert_string_equal(chosen(&l, 0, NULL, "10.0.0.1:1"), "b");
    assert_string_equal(chosen(&l, 0, NULL, "[2001:db8::1]:1"), "b");
    assert_string_equal(chosen(&l, 0, NULL, "[::ffff:10.0.0.1]:1"), "b");
    assert_string_equal(chosen(&l, 0, NULL, "10.0.0.2:1"), "a");
    assert_string_equal(chosen(&l, 1, "b.example", "10.0.0.9:1"), "b");
    assert_string_equal(chosen(&l, 1, NULL, "10.0.0.1:1"), "b");
    assert_string_equal(chosen(&l, 1, NULL, "10.0.0.2:1"), "-");
    assert_string_equal(chosen(&l, 1, "x.example", "10.0.0.1:1"), "-");
    unload(&l);
}

static void without_default(void **state)
{
    struct loaded l;

    (void)state;
    load(&l, "listen \"*:1\" { }\n" SITE("a", "names = {\"a.example\"}"));
    assert_string_equal(chosen(&l, 0, "x.example", "10.0.0.1:1"), "-");
    assert_string_equal(chosen(&l, 0, NULL, "10.0.0.1:1"), "-");
    unload(&l);
}

/* --- admit --- */

static struct fk_addr addr(const char *text)
{
    struct fk_addr made;

    assert_ok(fk_addr_parse(text, &made));
    return made;
}

static void connections_of_an_address(void **state)
{
    struct fk_edge_limits limits = {.connections_per_address = 2};
    struct fk_addr one = addr("10.0.0.1:1"), again = addr("10.0.0.1:2"), other = addr("10.0.0.2:1");
    struct fk_admitted in[4];
    struct fk_admit *admit;

    (void)state;
    assert_ok(fk_admit_new(&admit));
    for (unsigned i = 0; i < 4; i++)
        fk_admit_connection(admit, &in[i]);
    assert_int_equal(fk_admit_count(admit), 4);
    assert_ok(fk_admit_address(admit, &limits, &one, &in[0]));
    assert_ok(fk_admit_address(admit, &limits, &again, &in[1]));
    assert_err(fk_admit_address(admit, &limits, &one, &in[2]), FK_ERR_LIMIT);
    assert_ok(fk_admit_address(admit, &limits, &other, &in[2]));
    fk_admit_leave(admit, &in[0]);
    fk_admit_leave(admit, &in[0]); /* twice is harmless */
    assert_int_equal(fk_admit_count(admit), 3);
    assert_ok(fk_admit_address(admit, &limits, &one, &in[3]));
    for (unsigned i = 1; i < 4; i++)
        fk_admit_leave(admit, &in[i]);
    assert_int_equal(fk_admit_count(admit), 0);
    fk_admit_free(admit);
}

static void ipv6_by_its_64(void **state)
{
    struct fk_edge_limits limits = {.connections_per_address = 1};
    struct fk_addr one = addr("[2001:db8:0:1::1]:1"), same = addr("[2001:db8:0:1:ffff::2]:1"),
                   other = addr("[2001:db8:0:2::1]:1"), mapped = addr("[::ffff:10.0.0.1]:1"),
                   v4 = addr("10.0.0.1:1"), local = addr("unix:/x");
    struct fk_admitted in = {0};
    struct fk_admit *admit;

    (void)state;
    assert_ok(fk_admit_new(&admit));
    assert_ok(fk_admit_address(admit, &limits, &one, &in));
    assert_err(fk_admit_address(admit, &limits, &same, &in), FK_ERR_LIMIT);
    assert_ok(fk_admit_address(admit, &limits, &other, &in));
    assert_ok(fk_admit_address(admit, &limits, &mapped, &in));
    assert_err(fk_admit_address(admit, &limits, &v4, &in), FK_ERR_LIMIT);
    assert_ok(fk_admit_address(admit, &limits, &local, &in));
    assert_ok(fk_admit_address(admit, &limits, &local, &in));
    fk_admit_free(admit);
}

static unsigned admitted(struct fk_admit *admit, const struct fk_edge_limits *limits, uint64_t now,
                         unsigned asked)
{
    unsigned count = 0;

    for (unsigned i = 0; i < asked; i++)
        count += fk_admit_handshake(admit, limits, now) == FK_OK;
    return count;
}

static void handshakes_a_second(void **state)
{
    struct fk_edge_limits limits = {.handshakes_hourly = 36000};
    uint64_t now = 5000000;
    unsigned count = 0;
    struct fk_admit *admit;

    (void)state;
    assert_ok(fk_admit_new(&admit));
    assert_int_equal(admitted(admit, &limits, now, 100), 10); /* one second's bucket */
    assert_int_equal(admitted(admit, &limits, now + 100000, 100), 1);
    assert_int_equal(admitted(admit, &limits, now + 10000000, 100), 10);
    /* Asked every 7 us, nothing is lost to rounding. */
    now += 20000000;
    (void)admitted(admit, &limits, now, 100);
    for (uint64_t t = 0; t < 2000000; t += 7)
        count += admitted(admit, &limits, now + t, 1);
    assert_in_range(count, 19, 21);
    limits.handshakes_hourly = 0;
    assert_int_equal(admitted(admit, &limits, now, 1000), 1000);
    fk_admit_free(admit);
}

/* Slower than one a second: still one at a time. */
static void handshakes_a_minute(void **state)
{
    struct fk_edge_limits limits = {.handshakes_hourly = 1800};
    struct fk_admit *admit;

    (void)state;
    assert_ok(fk_admit_new(&admit));
    assert_int_equal(admitted(admit, &limits, 1000000, 10), 1);
    assert_int_equal(admitted(admit, &limits, 2000000, 10), 0);
    assert_int_equal(admitted(admit, &limits, 3000000, 10), 1);
    fk_admit_free(admit);
}

struct making {
    struct loaded loaded;
    struct fk_tickets *tickets; /* made before: OpenSSL's allocations do not fail here */
};

static int make_all(void *context)
{
    struct making *making = context;
    struct fk_ticket_site *ticket_site = NULL;
    struct fk_sites *sites = NULL;
    struct fk_admit *admit = NULL;
    int err;

    if ((err = fk_sites_new(making->loaded.root, &sites)) == FK_OK &&
        (err = fk_ticket_site_new(making->tickets, "example.com", &ticket_site)) == FK_OK)
        err = fk_admit_new(&admit);
    if (err == FK_OK)
        fk_admit_free(admit);
    fk_ticket_site_free(ticket_site);
    fk_sites_free(sites);
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    struct making making;

    (void)state;
    load(&making.loaded, "listen \"*:1\" { }\n" SITE("example.com", "") SITE("b.example", ""));
    assert_ok(fk_tickets_new(NULL, &making.tickets));
    assert_true(failmalloc_try(make_all, &making) >= 6);
    fk_tickets_free(making.tickets);
    unload(&making.loaded);
}

UNIT_MAIN(cmocka_unit_test(every_failed_allocation_is_survived),
          cmocka_unit_test(exact_then_wildcard), cmocka_unit_test(longest_name_and_beyond),
          cmocka_unit_test(many_names), cmocka_unit_test(choosing),
          cmocka_unit_test(without_default), cmocka_unit_test(connections_of_an_address),
          cmocka_unit_test(ipv6_by_its_64), cmocka_unit_test(handshakes_a_second),
          cmocka_unit_test(handshakes_a_minute))
