/* keyd/hs_table: names of handshakes: whose they are, for how long, how many. */
#include "unit.h"

#include "base/err.h"
#include "keyd/hs_table.h"

static struct fk_hs_table table;
static const uint8_t mine[32] = "mine", others[32] = "other";

static void init(struct fk_hs_entry *entry, const uint8_t owner[32], uint16_t edge)
{
    *entry = (struct fk_hs_entry){.edge = edge};
    memcpy(entry->owner, owner, 32);
    fk_list_init(&entry->bucket);
    fk_list_init(&entry->age);
}

static void found_by_its_owner_alone(void **state)
{
    struct fk_hs_entry a, b;
    uint8_t id[FK_HANDSHAKE_ID];

    (void)state;
    fk_hs_table_init(&table, 7);
    init(&a, mine, 1);
    init(&b, mine, 1);
    assert_ok(fk_hs_table_add(&table, &a, 1000));
    assert_ok(fk_hs_table_add(&table, &b, 1000));
    assert_int_equal(a.id[0], 7);
    assert_memory_not_equal(a.id, b.id, sizeof a.id);
    assert_ptr_equal(fk_hs_table_find(&table, a.id, mine, 1000), &a);
    assert_ptr_equal(fk_hs_table_find(&table, b.id, mine, 1000), &b);
    assert_null(fk_hs_table_find(&table, a.id, others, 1000));
    for (size_t i = 0; i < sizeof id; i++) {
        memcpy(id, a.id, sizeof id);
        id[i] ^= 1;
        assert_null(fk_hs_table_find(&table, id, mine, 1000));
    }
    fk_hs_table_remove(&table, &a);
    fk_hs_table_remove(&table, &a);
    assert_null(fk_hs_table_find(&table, a.id, mine, 1000));
    assert_int_equal(table.count, 1);
    fk_hs_table_remove(&table, &b);
    assert_int_equal(table.count, 0);
}

static void each_has_its_time(void **state)
{
    struct fk_hs_entry a, b;
    uint64_t end = 5 + FK_HANDSHAKE_LIFE_US;

    (void)state;
    fk_hs_table_init(&table, 0);
    init(&a, mine, 0);
    init(&b, mine, 0);
    assert_ok(fk_hs_table_add(&table, &a, 5));
    assert_ok(fk_hs_table_add(&table, &b, 6));
    assert_null(fk_hs_table_take_expired(&table, end - 1));
    assert_ptr_equal(fk_hs_table_find(&table, a.id, mine, end - 1), &a);
    assert_null(fk_hs_table_find(&table, a.id, mine, end)); /* also before anybody has looked */
    assert_ptr_equal(fk_hs_table_take_expired(&table, end), &a);
    assert_null(fk_hs_table_take_expired(&table, end));
    assert_ptr_equal(fk_hs_table_take_expired(&table, end + 1), &b);
    assert_int_equal(table.count, 0);
    assert_null(fk_hs_table_take_expired(&table, UINT64_MAX));
}

static void an_edge_leaves_room_for_others(void **state)
{
    struct fk_hs_entry *entries = calloc(FK_HANDSHAKES_MAX + 1, sizeof *entries);
    size_t n = 0;

    (void)state;
    fk_hs_table_init(&table, 0);
    for (uint16_t edge = 1; edge <= 3; edge++) {
        for (int err = FK_OK; err == FK_OK && n <= FK_HANDSHAKES_MAX;) {
            init(&entries[n], mine, edge);
            err = fk_hs_table_add(&table, &entries[n], 1);
            assert_true(err == FK_OK || err == FK_ERR_LIMIT);
            n += err == FK_OK;
        }
        assert_int_equal(n, edge < 2 ? FK_HANDSHAKES_EDGE_MAX : FK_HANDSHAKES_MAX);
    }
    init(&entries[n], mine, FK_KEYD_EDGES_MAX);
    assert_err(fk_hs_table_add(&table, &entries[n], 1), FK_ERR_RANGE);
    fk_hs_table_remove(&table, &entries[0]);
    init(&entries[0], mine, 3);
    assert_ok(fk_hs_table_add(&table, &entries[0], 2));
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(fk_hs_table_find(&table, entries[i].id, mine, 3), &entries[i]);
    free(entries);
}

/* Two edges have filled it: a third one gets as many as they have, from the oldest of theirs. */
static void room_for_who_has_fewer(void **state)
{
    struct fk_hs_entry *entries = calloc(FK_HANDSHAKES_MAX, sizeof *entries), *victim, *taken;
    size_t got = 0;

    (void)state;
    fk_hs_table_init(&table, 0);
    for (size_t i = 0; i < FK_HANDSHAKES_MAX; i++) {
        assert_null(fk_hs_table_make_room(&table, 3));
        init(&entries[i], mine, 1 + i % 2);
        assert_ok(fk_hs_table_add(&table, &entries[i], 1));
    }
    assert_null(fk_hs_table_make_room(&table, 1));
    assert_null(fk_hs_table_make_room(&table, FK_KEYD_EDGES_MAX));
    while ((victim = fk_hs_table_make_room(&table, 3)) != NULL) {
        /* The oldest of one, then of the other. */
        assert_ptr_equal(victim, &entries[got]);
        assert_null(fk_hs_table_find(&table, victim->id, mine, 2));
        init(victim, others, 3);
        assert_ok(fk_hs_table_add(&table, victim, 2));
        got++;
    }
    assert_int_equal(table.count, FK_HANDSHAKES_MAX);
    assert_true(table.counts[3] + 1 >= table.counts[1] && table.counts[3] + 1 >= table.counts[2]);
    taken = fk_hs_table_make_room(&table, 4);
    assert_non_null(taken);
    assert_int_not_equal(taken->edge, 3);
    free(entries);
}

UNIT_MAIN(cmocka_unit_test(found_by_its_owner_alone), cmocka_unit_test(each_has_its_time),
          cmocka_unit_test(an_edge_leaves_room_for_others),
          cmocka_unit_test(room_for_who_has_fewer))
