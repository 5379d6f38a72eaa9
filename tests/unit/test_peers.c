/* loop/peers: connections are counted by address, IPv6 ones by /64, and forgotten when they end. */
#include "unit.h"

#include "base/err.h"
#include "loop/peers.h"

#include <stdio.h>

static struct fk_peers *peers;

static int setup(void **state)
{
    (void)state;
    return fk_peers_new(&peers);
}

static int teardown(void **state)
{
    (void)state;
    fk_peers_free(peers);
    return 0;
}

static struct fk_addr addr_of(const char *text)
{
    struct fk_addr addr;

    assert_ok(fk_addr_parse(text, &addr));
    return addr;
}

static void one_address_has_its_bound(void **state)
{
    struct fk_addr one = addr_of("192.0.2.1:1"), again = addr_of("192.0.2.1:2");
    struct fk_addr other = addr_of("192.0.2.2:1");
    struct fk_peer *a, *b, *c, *none;

    (void)state;
    assert_ok(fk_peers_join(peers, &one, 2, &a));
    assert_ok(fk_peers_join(peers, &again, 2, &b));
    assert_non_null(a);
    assert_ptr_equal(a, b);
    assert_err(fk_peers_join(peers, &one, 2, &none), FK_ERR_LIMIT);
    assert_null(none);
    assert_ok(fk_peers_join(peers, &other, 2, &c));
    assert_ptr_not_equal(a, c);
    assert_ptr_equal(fk_peers_find(peers, &again), a);
    fk_peers_leave(peers, &b);
    assert_null(b);
    assert_ok(fk_peers_join(peers, &one, 2, &b));
    fk_peers_leave(peers, &a);
    fk_peers_leave(peers, &b);
    assert_null(fk_peers_find(peers, &one));
    fk_peers_leave(peers, &c);
}

static void a_network_of_ipv6_is_one_peer(void **state)
{
    struct fk_addr one = addr_of("[2001:db8:0:1::1]:1"), same = addr_of("[2001:db8:0:1:ffff::2]:1");
    struct fk_addr other = addr_of("[2001:db8:0:2::1]:1");
    struct fk_peer *a, *b, *c;

    (void)state;
    assert_ok(fk_peers_join(peers, &one, 1, &a));
    assert_err(fk_peers_join(peers, &same, 1, &b), FK_ERR_LIMIT);
    assert_ok(fk_peers_join(peers, &other, 1, &c));
    fk_peers_leave(peers, &a);
    fk_peers_leave(peers, &c);
}

static void some_are_not_counted(void **state)
{
    struct fk_addr local = addr_of("unix:/run/x.sock"), one = addr_of("192.0.2.1:1");
    struct fk_peer *peer;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_ok(fk_peers_join(peers, &local, 1, &peer));
        assert_null(peer);
        assert_ok(fk_peers_join(peers, &one, 0, &peer));
        assert_null(peer);
    }
    assert_null(fk_peers_find(peers, &local));
    fk_peers_leave(peers, &peer); /* harmless */
}

/* More than there are buckets, so that lists have several; ended in another order. */
static void many_addresses_keep_apart(void **state)
{
    enum { MANY = 10000, STEP = 7 }; /* coprime */
    static struct fk_peer *held[MANY];
    char text[32];

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof text, "10.0.%u.%u:1", i / 256, i % 256);
        struct fk_addr addr = addr_of(text);

        assert_ok(fk_peers_join(peers, &addr, 1, &held[i]));
    }
    for (unsigned i = 0; i < MANY; i++) {
        unsigned at = i * STEP % MANY;

        (void)snprintf(text, sizeof text, "10.0.%u.%u:9", at / 256, at % 256);
        struct fk_addr addr = addr_of(text);

        assert_ptr_equal(fk_peers_find(peers, &addr), held[at]);
        fk_peers_leave(peers, &held[at]);
        assert_null(fk_peers_find(peers, &addr));
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(one_address_has_its_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(a_network_of_ipv6_is_one_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(some_are_not_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(many_addresses_keep_apart, setup, teardown),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
