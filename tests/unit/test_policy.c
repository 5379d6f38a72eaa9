/* keyd/policy and keyd/quota: the matrix of who may do what, and what is counted. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "keyd/policy.h"
#include "wire/keyop.h"

#include <stdio.h>
#include <unistd.h>

static struct fk_quota *quota;

static int setup(void **state)
{
    int fd;

    (void)state;
    if (fk_quota_create(&fd) != FK_OK || fk_quota_open(fd, &quota) != FK_OK)
        return -1;
    return close(fd);
}

static int teardown(void **state)
{
    (void)state;
    fk_quota_close(quota);
    return 0;
}

static struct fk_quota_slot *fresh_slot(void)
{
    static unsigned serial;
    char identity[40];

    (void)snprintf(identity, sizeof identity, "farkey:edge:test%u", serial++);
    assert_ok(fk_quota_assign(quota, identity));
    return fk_quota_find(quota, identity);
}

/* Each row is the granted case with one named change. */
static void decision_matrix(void **state)
{
    static const struct {
        const char *change;
        unsigned edge, key, need;
        bool has, draining;
        int err;
        const char *why;
    } rows[] = {
        {"none", FK_PERM_SIGN13, FK_PERM_SIGN13, FK_PERM_SIGN13, true, false, FK_OK, NULL},
        {"draining", FK_PERM_SIGN13, FK_PERM_SIGN13, FK_PERM_SIGN13, true, true, FK_ERR_DRAINING,
         "draining"},
        {"not its key", FK_PERM_SIGN13, FK_PERM_SIGN13, FK_PERM_SIGN13, false, false, FK_ERR_DENIED,
         "key"},
        {"edge lacks", FK_PERM_SIGN12, FK_PERM_SIGN13, FK_PERM_SIGN13, true, false, FK_ERR_DENIED,
         "edge"},
        {"key lacks", FK_PERM_SIGN13, FK_PERM_SIGN12, FK_PERM_SIGN13, true, false, FK_ERR_DENIED,
         "policy"},
        {"others only", 0xffff & ~FK_PERM_DIGEST, 0xffff, FK_PERM_DIGEST, true, false,
         FK_ERR_DENIED, "edge"},
        {"key: others only", 0xffff, 0xffff & ~FK_PERM_D1_DECRYPT, FK_PERM_D1_DECRYPT, true, false,
         FK_ERR_DENIED, "policy"},
        {"no permission named", 0xffff, 0xffff, 0, true, false, FK_ERR_DENIED, "edge"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t keys[2] = {0, rows[i].has ? 0x02 : 0xfd};
        struct fk_policy_edge edge = {
            .permissions = (uint16_t)rows[i].edge, .keys = keys, .slot = fresh_slot()};
        struct fk_policy_ask ask = {.edge = &edge,
                                    .position = 9,
                                    .key_permissions = (uint16_t)rows[i].key,
                                    .permission = (uint16_t)rows[i].need,
                                    .draining = rows[i].draining};
        const char *why = NULL;

        assert_err(fk_policy_decide(&ask, &why), rows[i].err);
        if (rows[i].why != NULL)
            assert_string_equal(why, rows[i].why);
    }
}

static void each_permission_alone(void **state)
{
    uint8_t keys[1] = {1};
    struct fk_policy_edge edge = {.keys = keys, .slot = fresh_slot()};
    struct fk_policy_ask ask = {.edge = &edge, .key_permissions = 0xffff};
    const char *why;

    (void)state;
    for (unsigned have = 1; have <= FK_PERM_SHARE; have <<= 1) {
        for (unsigned need = 1; need <= FK_PERM_SHARE; need <<= 1) {
            edge.permissions = (uint16_t)have;
            ask.permission = (uint16_t)need;
            assert_err(fk_policy_decide(&ask, &why), have == need ? FK_OK : FK_ERR_DENIED);
        }
    }
}

/* Of `permission` all, of `any` one: the same one of edge and key. */
static void several_permissions(void **state)
{
    static const struct {
        unsigned edge, key, all, any;
        int err;
    } rows[] = {
        {0x7, 0x7, 0x3, 0, FK_OK},           {0x5, 0x7, 0x3, 0, FK_ERR_DENIED},
        {0x7, 0x6, 0x3, 0, FK_ERR_DENIED},   {0x2, 0x7, 0, 0x3, FK_OK},
        {0x7, 0x1, 0, 0x3, FK_OK},           {0x4, 0x7, 0, 0x3, FK_ERR_DENIED},
        {0x7, 0x4, 0, 0x3, FK_ERR_DENIED},   {0x1, 0x2, 0, 0x3, FK_ERR_DENIED},
        {0x5, 0x7, 0x4, 0x3, FK_OK},         {0x3, 0x7, 0x4, 0x3, FK_ERR_DENIED},
        {0x4, 0x7, 0x4, 0x3, FK_ERR_DENIED},
    };
    uint8_t keys[1] = {1};
    struct fk_policy_edge edge = {.keys = keys, .slot = fresh_slot()};
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct fk_policy_ask ask = {.edge = &edge,
                                          .key_permissions = (uint16_t)rows[i].key,
                                          .permission = (uint16_t)rows[i].all,
                                          .any = (uint16_t)rows[i].any};

        edge.permissions = (uint16_t)rows[i].edge;
        assert_err(fk_policy_decide(&ask, &why), rows[i].err);
    }
}

/* Another key server reaches what a share's policy gives it, whatever its patterns say. */
static void shares_are_for_whom_their_policy_names(void **state)
{
    static char s1[] = "s1", s2[] = "s2", name[] = "site";
    static char *names[] = {name}, *sharers[] = {s1, s2};
    static const struct {
        const char *identity;
        unsigned want; /* bits: whole, held for s1 and s2, held for s2, combined here */
    } rows[] = {{"farkey:keyserver:s1", 2},
                {"farkey:keyserver:s2", 6},
                {"farkey:keyserver:s", 0},
                {"farkey:keyserver:S1", 0},
                {"farkey:edge:s1", 15}};
    struct fk_index_key keys[4] = {{.held = false},
                                   {.held = true, .sharers = sharers, .n_sharers = 2},
                                   {.held = true, .sharers = sharers + 1, .n_sharers = 1},
                                   {.held = false}};
    struct fk_index *index;
    uint8_t *data;
    size_t len;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        keys[i].names = names;
        keys[i].n_names = 1;
        keys[i].split = i > 0;
        keys[i].public.type = FK_KEY_EC;
        (void)snprintf(keys[i].public.name, sizeof keys[i].public.name, "k%zu", i);
    }
    assert_ok(fk_index_encode(keys, 4, &data, &len));
    assert_ok(fk_index_load(data, len, &index));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char title[] = "e", pattern[] = "*", identity[32];
        char *items[1] = {pattern};
        struct fk_keyd_edge_conf edge = {
            .block = {.title = title}, .identity = identity, .keys = {.items = items, .count = 1}};
        uint8_t *reached;

        (void)snprintf(identity, sizeof identity, "%s", rows[i].identity);
        assert_ok(fk_policy_keys(&edge, index, &reached));
        assert_int_equal(reached[0], rows[i].want);
        free(reached);
    }
    fk_index_free(index);
    free(data);
}

static void refused_requests_take_nothing(void **state)
{
    uint8_t keys[1] = {1};
    struct fk_policy_edge edge = {
        .permissions = FK_PERM_SIGN13, .keys = keys, .slot = fresh_slot(), .quota = 2};
    struct fk_policy_ask ask = {.edge = &edge, .key_permissions = FK_PERM_SIGN13, .day = 7};
    const char *why;

    (void)state;
    ask.permission = FK_PERM_DECRYPT;
    for (int i = 0; i < 5; i++)
        assert_err(fk_policy_decide(&ask, &why), FK_ERR_DENIED);
    ask.permission = FK_PERM_SIGN13;
    assert_ok(fk_policy_decide(&ask, &why));
    assert_ok(fk_policy_decide(&ask, &why));
    assert_err(fk_policy_decide(&ask, &why), FK_ERR_RATE);
    assert_string_equal(why, "quota");
    assert_int_equal(fk_quota_used(edge.slot, 7), 2);
    ask.day = 8;
    assert_ok(fk_policy_decide(&ask, &why));
    assert_int_equal(fk_quota_used(edge.slot, 8), 1);
}

/* What is carried out counts, once: neither what was refused, nor further steps of it. */
static void operations_are_counted(void **state)
{
    uint8_t keys[1] = {1};
    struct fk_policy_edge edge = {
        .permissions = FK_PERM_SIGN13, .keys = keys, .slot = fresh_slot()};
    struct fk_policy_ask ask = {.edge = &edge, .key_permissions = FK_PERM_SIGN13, .now_us = 77};
    const char *why;

    (void)state;
    ask.permission = FK_PERM_DECRYPT;
    assert_err(fk_policy_decide(&ask, &why), FK_ERR_DENIED);
    assert_int_equal(fk_quota_operations(edge.slot), 0);
    assert_int_equal(fk_quota_last_us(edge.slot), 0);
    ask.permission = FK_PERM_SIGN13;
    assert_ok(fk_policy_decide(&ask, &why));
    ask.now_us = 78;
    assert_ok(fk_policy_decide(&ask, &why));
    ask.is_step = true;
    ask.now_us = 79;
    assert_ok(fk_policy_decide(&ask, &why));
    assert_int_equal(fk_quota_operations(edge.slot), 2);
    assert_int_equal(fk_quota_last_us(edge.slot), 78);
}

static void rate_is_a_bucket(void **state)
{
    struct fk_quota_slot *slot = fresh_slot();
    uint64_t now = 1000000000;

    (void)state;
    for (int i = 0; i < 5; i++) /* the burst */
        assert_true(fk_quota_rate(slot, 36000, 5, now));
    assert_false(fk_quota_rate(slot, 36000, 5, now));
    assert_false(fk_quota_rate(slot, 36000, 5, now + 99999));
    assert_true(fk_quota_rate(slot, 36000, 5, now + 100000)); /* 10 a second */
    assert_false(fk_quota_rate(slot, 36000, 5, now + 100000));
    for (int i = 0; i < 5; i++) /* full again, and no fuller than the burst */
        assert_true(fk_quota_rate(slot, 36000, 5, now + 60000000));
    assert_false(fk_quota_rate(slot, 36000, 5, now + 60000000));
    for (int i = 0; i < 1000; i++) /* no bound */
        assert_true(fk_quota_rate(slot, 0, 1, now));
}

static void a_faster_rate_holds_at_once(void **state)
{
    struct fk_quota_slot *slot = fresh_slot();
    uint64_t now = 1000000000;

    (void)state;
    for (int i = 0; i < 5; i++) /* one an hour */
        assert_true(fk_quota_rate(slot, 1, 5, now));
    assert_false(fk_quota_rate(slot, 1, 5, now));
    assert_true(fk_quota_rate(slot, 36000, 5, now)); /* what waits is never more than a burst */
    assert_false(fk_quota_rate(slot, 36000, 5, now));
    assert_true(fk_quota_rate(slot, 36000, 5, now + 100000));
    assert_false(fk_quota_rate(slot, 36000, 5, now + 100000));
}

static void channels_are_counted_over_fronts(void **state)
{
    struct fk_quota_slot *slot = fresh_slot();

    (void)state;
    assert_true(fk_quota_channel_open(slot, 0, 2));
    assert_true(fk_quota_channel_open(slot, 1, 2));
    assert_false(fk_quota_channel_open(slot, 1, 2));
    assert_int_equal(fk_quota_channels(slot), 2);
    fk_quota_bury(quota, 1);
    assert_int_equal(fk_quota_channels(slot), 1);
    assert_true(fk_quota_channel_open(slot, 1, 2));
    fk_quota_channel_close(slot, 0);
    fk_quota_channel_close(slot, 1);
    assert_int_equal(fk_quota_channels(slot), 0);
    assert_true(fk_quota_channel_open(slot, 0, 0));
    fk_quota_channel_close(slot, 0);
}

static bool is_kept(void *arg, const char *identity)
{
    return strcmp(arg, identity) == 0;
}

static void slots_are_taken_and_given_back(void **state)
{
    char identity[FK_IDENTITY_SIZE + 1];
    unsigned taken = 0;

    (void)state;
    assert_ok(fk_quota_assign(quota, "farkey:edge:keep"));
    while (fk_quota_find(quota, "") != NULL) {
        (void)snprintf(identity, sizeof identity, "farkey:edge:many%u", taken++);
        assert_ok(fk_quota_assign(quota, identity));
    }
    assert_err(fk_quota_assign(quota, "farkey:edge:late"), FK_ERR_LIMIT);
    assert_ok(fk_quota_assign(quota, "farkey:edge:many0"));
    assert_true(fk_quota_channel_open(fk_quota_find(quota, "farkey:edge:many1"), 3, 0));
    fk_quota_sweep(quota, is_kept, identity);
    (void)snprintf(identity, sizeof identity, "farkey:edge:none");
    fk_quota_sweep(quota, is_kept, identity);
    assert_null(fk_quota_find(quota, "farkey:edge:keep")); /* the first sweep kept another */
    assert_non_null(fk_quota_find(quota, "farkey:edge:many1"));
    assert_null(fk_quota_find(quota, "farkey:edge:many2"));
    assert_ok(fk_quota_assign(quota, "farkey:edge:late"));

    memset(identity, 'x', sizeof identity);
    identity[FK_IDENTITY_SIZE] = '\0';
    assert_err(fk_quota_assign(quota, identity), FK_ERR_INVAL);
    assert_err(fk_quota_assign(quota, ""), FK_ERR_INVAL);
}

static void foreign_memory_is_refused(void **state)
{
    struct fk_quota *other;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_err(fk_quota_open(fds[0], &other), FK_ERR_SYS);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* An edge of a configuration, and which of three keys its patterns reach. */
static void patterns_choose_keys(void **state)
{
    static char name[] = "rsa1", host[] = "shop.example", wild[] = "*.shop.example";
    static char other[] = "www.other", bare[] = "plain";
    static char *shop[] = {name, host, wild}, *www[] = {other}, *plain[] = {bare};
    static const struct {
        const char *pattern;
        unsigned want; /* bits by position */
    } rows[] = {
        {"*", 7},
        {"rsa1", 1},
        {"SHOP.example", 1},
        {"*.shop.example", 1},
        {"*.other", 2},
        {"www.shop.example", 0},
        {"plain", 4},
        {"other", 0},
        {"*.example", 1},
    };
    struct fk_index_key keys[3] = {{.names = shop, .n_names = 3},
                                   {.names = www, .n_names = 1},
                                   {.names = plain, .n_names = 1}};
    struct fk_index *index;
    uint8_t *data;
    size_t len;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        keys[i].public.type = FK_KEY_EC;
        (void)snprintf(keys[i].public.name, sizeof keys[i].public.name, "k%zu", i);
    }
    assert_ok(fk_index_encode(keys, 3, &data, &len));
    assert_ok(fk_index_load(data, len, &index));
    assert_ok(fk_quota_assign(quota, "farkey:edge:e"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char title[] = "e", pattern[32];
        char *items[1] = {pattern};
        struct fk_keyd_edge_conf edge = {.block = {.title = title},
                                         .keys = {.items = items, .count = 1}};
        struct fk_keyd_conf conf = {.edges = &edge.block};
        struct fk_policy *policy;
        unsigned got = 0;

        (void)snprintf(pattern, sizeof pattern, "%s", rows[i].pattern);
        assert_ok(fk_policy_new(&conf, index, quota, &policy));
        for (size_t k = 0; k < 3; k++)
            if (fk_policy_has_key(fk_policy_find(policy, "farkey:edge:e"), k))
                got |= 1U << k;
        assert_int_equal(got, rows[i].want);
        assert_null(fk_policy_find(policy, "farkey:edge:f"));
        assert_null(fk_policy_find(policy, "farkey:keyserver:e"));
        fk_policy_free(policy);
    }
    fk_index_free(index);
    free(data);
}

struct world {
    const struct fk_keyd_conf *conf;
    const struct fk_index *index;
};

static int make_policy(void *context)
{
    const struct world *world = context;
    struct fk_policy *policy;
    int err = fk_policy_new(world->conf, world->index, quota, &policy);

    if (err == FK_OK)
        fk_policy_free(policy);
    return err;
}

static int map_and_unmap(void *context)
{
    struct fk_quota *mapped = NULL;
    int err = fk_quota_open(*(const int *)context, &mapped);

    assert_true((err == FK_OK) == (mapped != NULL));
    fk_quota_close(mapped);
    return err;
}

static void quota_without_memory_is_told(void **state)
{
    int fd;

    (void)state;
    assert_ok(fk_quota_create(&fd));
    assert_int_equal(failmalloc_try(map_and_unmap, &fd), 2); /* itself, and the mapping */
    (void)close(fd);
}

static void every_failed_allocation_is_survived(void **state)
{
    char title[] = "e", pattern[] = "*", range[] = "10.0.0.0/8";
    char name[] = "www.a.example.com", other[] = "mail.a.example.com";
    char *names[] = {name, other};
    struct fk_index_key key = {.public = {.name = "a.example.com", .type = FK_KEY_EC, .bits = 256},
                               .names = names,
                               .n_names = 2};
    char *items[1] = {pattern}, *ranges[1] = {range};
    struct fk_keyd_edge_conf edge = {.block = {.title = title},
                                     .keys = {.items = items, .count = 1},
                                     .deny_addresses = {.items = ranges, .count = 1}};
    struct fk_keyd_conf conf = {.edges = &edge.block};
    struct fk_index *index;
    struct world world = {.conf = &conf};
    uint8_t *data;
    size_t len;

    (void)state;
    assert_ok(fk_index_encode(&key, 1, &data, &len));
    assert_ok(fk_index_load(data, len, &index));
    assert_ok(fk_quota_assign(quota, "farkey:edge:e"));
    world.index = index;
    assert_true(failmalloc_try(make_policy, &world) > 2);
    fk_index_free(index);
    free(data);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(decision_matrix),
        cmocka_unit_test(each_permission_alone),
        cmocka_unit_test(several_permissions),
        cmocka_unit_test(shares_are_for_whom_their_policy_names),
        cmocka_unit_test(refused_requests_take_nothing),
        cmocka_unit_test(operations_are_counted),
        cmocka_unit_test(rate_is_a_bucket),
        cmocka_unit_test(a_faster_rate_holds_at_once),
        cmocka_unit_test(channels_are_counted_over_fronts),
        cmocka_unit_test(patterns_choose_keys),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(quota_without_memory_is_told),
        cmocka_unit_test(slots_are_taken_and_given_back),
        cmocka_unit_test(foreign_memory_is_refused),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
