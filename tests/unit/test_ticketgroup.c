/* edge/ticketgroup: which of the keys that key servers gave seals and opens, as time goes on. */
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "edge/ticketgroup.h"

#include <openssl/core_names.h>
#include <stdio.h>

#define MS UINT64_C(1000)

static const uint8_t ski[20] = {1}, other_ski[20] = {2};
static char names[][6] = {"keys1", "keys2", "keys3", "keys4", "keys5",
                          "keys6", "keys7", "keys8", "keys9"};
static char *titles[] = {names[0], names[1], names[2], names[3], names[4],
                         names[5], names[6], names[7], names[8]};

struct fixture {
    struct fk_tickets *own;
    struct fk_ticketgroups *groups;
    struct fk_ticketgroup *group;
    struct fk_ticket_site *site;
};

static struct fk_conf_list servers_of(size_t count)
{
    return (struct fk_conf_list){.items = titles, .count = count};
}

static void open_fixture(struct fixture *f, size_t servers)
{
    struct fk_conf_list list = servers_of(servers);

    assert_ok(fk_tickets_new(NULL, &f->own));
    assert_ok(fk_ticketgroups_new(NULL, &f->groups));
    assert_ok(fk_ticketgroup_get(f->groups, ski, &list, &f->group));
    assert_ok(fk_ticket_site_new(f->own, "a.example", &f->site));
    fk_ticket_site_follow(f->site, fk_ticketgroup_tickets(f->group));
}

static void close_fixture(struct fixture *f)
{
    fk_ticket_site_free(f->site);
    fk_ticketgroup_unref(f->group);
    fk_ticketgroups_free(f->groups);
    fk_tickets_free(f->own);
}

/* A key whose every byte is `name`. */
static void add(struct fk_ticket_grants *grants, uint8_t name, uint32_t seals, uint32_t ends)
{
    struct fk_ticket_grant *grant = &grants->items[grants->count++];

    memset(grant->id, name, sizeof grant->id);
    memset(grant->secret, name, sizeof grant->secret);
    grant->seals_ms = seals;
    grant->ends_ms = ends;
    grants->refresh_ms = 1;
}

/* What an edge with this one key, its own, would derive for the site: to know a ticket's key by. */
static void lock_with(uint8_t name, struct fk_ticket_box *box)
{
    struct fk_ticket_keys keys = {.count = 1};
    struct fk_ticket_site *site;
    struct fk_tickets *tickets;

    memset(keys.keys[0].id, name, 16);
    memset(keys.keys[0].secret, name, 32);
    assert_ok(fk_tickets_new(NULL, &tickets));
    fk_tickets_set(tickets, &keys);
    assert_ok(fk_ticket_site_new(tickets, "a.example", &site));
    assert_ok(fk_ticket_site_lock(site, box));
    fk_ticket_site_free(site);
    fk_tickets_free(tickets);
}

struct text {
    uint8_t key[8], nonce[12], data[4 + FK_TICKET_BOX_TAG];
};

static struct fk_ticket_box box_of(struct text *text)
{
    return (struct fk_ticket_box){
        .key = text->key, .nonce = text->nonce, .data = text->data, .len = 4};
}

/* Whether the site opens what that key has sealed, and whether it seals with it. */
static bool opens(const struct fixture *f, uint8_t name)
{
    struct text text = {.data = "abc"};
    struct fk_ticket_box box = box_of(&text);

    lock_with(name, &box);
    return fk_ticket_site_unlock(f->site, &box) == FK_OK && memcmp(text.data, "abc", 4) == 0;
}

static bool seals(const struct fixture *f, uint8_t name)
{
    struct text mine = {.data = "abc"}, theirs = {.data = "abc"};
    struct fk_ticket_box a = box_of(&mine), b = box_of(&theirs);

    if (fk_ticket_site_lock(f->site, &a) != FK_OK)
        return false;
    lock_with(name, &b);
    return memcmp(mine.key, theirs.key, sizeof mine.key) == 0;
}

static void keys_seal_and_end_in_time(void **state)
{
    struct fk_ticket_grants grants = {0};
    struct fixture f;

    (void)state;
    open_fixture(&f, 1);
    assert_false(seals(&f, 'b'));
    add(&grants, 'a', 100, 300);
    add(&grants, 'b', 0, 200);
    fk_ticketgroup_take(f.group, 0, &grants, 5000 * MS);
    assert_int_equal(fk_ticketgroup_count(f.group), 2);
    assert_true(seals(&f, 'b') && opens(&f, 'a') && opens(&f, 'b') && !opens(&f, 'c'));
    fk_ticketgroup_tick(f.group, 5100 * MS - 1);
    assert_true(seals(&f, 'b'));
    fk_ticketgroup_tick(f.group, 5100 * MS);
    assert_true(seals(&f, 'a') && opens(&f, 'b'));
    fk_ticketgroup_tick(f.group, 5200 * MS);
    assert_true(seals(&f, 'a') && !opens(&f, 'b'));
    fk_ticketgroup_tick(f.group, 5300 * MS);
    assert_int_equal(fk_ticketgroup_count(f.group), 0);
    assert_true(!opens(&f, 'a') && !seals(&f, 'a'));
    close_fixture(&f);
}

static void what_is_answered_counts_alone(void **state)
{
    struct fk_ticket_grants first = {0}, second = {0};
    struct fixture f;

    (void)state;
    open_fixture(&f, 1);
    add(&first, 'a', 0, 1000);
    add(&second, 'b', 0, 1000);
    fk_ticketgroup_take(f.group, 0, &first, 0);
    fk_ticketgroup_take(f.group, 0, &second, 0);
    assert_true(seals(&f, 'b') && !opens(&f, 'a')); /* withdrawn */
    fk_ticketgroup_drop(f.group, 0, 0);
    assert_true(!seals(&f, 'b') && !opens(&f, 'b'));
    close_fixture(&f);
}

/* One that is to come opens, but nothing seals: as first of the list it would. */
static void nothing_seals_before_its_time(void **state)
{
    struct fk_ticket_grants grants = {0};
    struct fixture f;

    (void)state;
    open_fixture(&f, 1);
    add(&grants, 'a', 100, 300);
    fk_ticketgroup_take(f.group, 0, &grants, 0);
    assert_false(seals(&f, 'a'));
    fk_ticketgroup_tick(f.group, 100 * MS);
    assert_true(seals(&f, 'a'));
    close_fixture(&f);
}

static void all_servers_open_and_the_first_that_can_seals(void **state)
{
    struct fk_ticket_grants one = {0}, two = {0};
    struct fixture f;

    (void)state;
    open_fixture(&f, 2);
    add(&two, 'x', 50, 500);
    add(&two, 'y', 0, 400);
    fk_ticketgroup_take(f.group, 1, &two, 0);
    assert_true(seals(&f, 'y'));
    add(&one, 'a', 100, 300);
    add(&one, 'b', 0, 200);
    fk_ticketgroup_take(f.group, 0, &one, 0);
    assert_true(seals(&f, 'b'));
    assert_true(opens(&f, 'a') && opens(&f, 'x') && opens(&f, 'y'));
    fk_ticketgroup_drop(f.group, 0, 60 * MS);
    assert_true(seals(&f, 'x') && opens(&f, 'y') && !opens(&f, 'a') && !opens(&f, 'b'));
    close_fixture(&f);
}

/* Of eight servers each has its newest in; the oldest ones of the last find no room. */
static void many_servers_share_the_room(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, 8);
    for (uint8_t s = 0; s < 8; s++) {
        struct fk_ticket_grants grants = {0};

        for (uint8_t i = 0; i < FK_TICKET_GRANTS_MAX; i++)
            add(&grants, (uint8_t)(0x10 * (s + 1) + i), 0, 1000);
        fk_ticketgroup_take(f.group, s, &grants, 0);
    }
    assert_int_equal(fk_ticketgroup_count(f.group), FK_EDGE_TICKET_KEYS);
    assert_true(seals(&f, 0x10));
    for (uint8_t s = 0; s < 8; s++)
        assert_true(opens(&f, (uint8_t)(0x10 * (s + 1))));
    close_fixture(&f);
}

static void a_group_is_of_one_key_and_its_servers(void **state)
{
    struct fk_conf_list one = servers_of(1), two = servers_of(2), nine = servers_of(9);
    struct fk_ticketgroup *same, *longer, *other, *none;
    struct fk_ticket_grants grants = {0};
    struct fixture f;

    (void)state;
    open_fixture(&f, 1);
    assert_ok(fk_ticketgroup_get(f.groups, ski, &one, &same));
    assert_ok(fk_ticketgroup_get(f.groups, ski, &two, &longer));
    assert_ok(fk_ticketgroup_get(f.groups, other_ski, &one, &other));
    assert_err(fk_ticketgroup_get(f.groups, ski, &nine, &none), FK_ERR_LIMIT);
    assert_ptr_equal(same, f.group);
    assert_true(longer != f.group && other != f.group && other != longer);
    assert_memory_equal(fk_ticketgroup_ski(other), other_ski, 20);
    add(&grants, 'a', 0, 1000);
    fk_ticketgroup_take(f.group, 0, &grants, 0);
    assert_int_equal(fk_ticketgroup_count(longer), 0);
    /* It lives while somebody refers to it, and not longer. */
    fk_ticketgroup_unref(same);
    assert_true(opens(&f, 'a'));
    fk_ticket_site_follow(f.site, NULL);
    fk_ticketgroup_unref(f.group);
    assert_ok(fk_ticketgroup_get(f.groups, ski, &one, &f.group));
    assert_int_equal(fk_ticketgroup_count(f.group), 0);
    fk_ticketgroup_unref(longer);
    fk_ticketgroup_unref(other);
    close_fixture(&f);
}

/* A site that changes over takes nothing along. */
static void a_site_follows_one_source_at_a_time(void **state)
{
    struct fk_ticket_keys own = {.count = 1};
    struct fk_ticket_grants grants = {0};
    struct fixture f;

    (void)state;
    open_fixture(&f, 1);
    memset(own.keys[0].id, 'o', 16);
    memset(own.keys[0].secret, 'o', 32);
    fk_tickets_set(f.own, &own);
    add(&grants, 'a', 0, 1000);
    fk_ticketgroup_take(f.group, 0, &grants, 0);
    assert_true(seals(&f, 'a') && !opens(&f, 'o'));
    assert_int_equal(fk_ticket_site_count(f.site), 1);
    fk_ticket_site_follow(f.site, NULL);
    assert_true(!seals(&f, 'a') && !opens(&f, 'a') && !opens(&f, 'o'));
    assert_int_equal(fk_ticket_site_count(f.site), 0);
    fk_ticket_site_follow(f.site, f.own);
    assert_true(seals(&f, 'o') && !opens(&f, 'a'));
    fk_ticket_site_follow(f.site, fk_ticketgroup_tickets(f.group));
    assert_true(seals(&f, 'a') && !opens(&f, 'o'));
    close_fixture(&f);
}

static int get_one(void *arg)
{
    struct fk_conf_list list = servers_of(3);
    struct fk_ticketgroup *group;
    int err = fk_ticketgroup_get(arg, ski, &list, &group);

    if (err == FK_OK)
        fk_ticketgroup_unref(group);
    return err;
}

static void without_memory_nothing_is_left_behind(void **state)
{
    struct fk_ticketgroups *groups;

    (void)state;
    assert_ok(fk_ticketgroups_new(NULL, &groups));
    assert_true(failmalloc_try(get_one, groups) > 3);
    fk_ticketgroups_free(groups);
}

UNIT_MAIN(cmocka_unit_test(keys_seal_and_end_in_time),
          cmocka_unit_test(what_is_answered_counts_alone),
          cmocka_unit_test(nothing_seals_before_its_time),
          cmocka_unit_test(all_servers_open_and_the_first_that_can_seals),
          cmocka_unit_test(many_servers_share_the_room),
          cmocka_unit_test(a_group_is_of_one_key_and_its_servers),
          cmocka_unit_test(a_site_follows_one_source_at_a_time),
          cmocka_unit_test(without_memory_nothing_is_left_behind))
