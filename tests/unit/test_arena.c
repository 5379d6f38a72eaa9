/* base/arena: slots are apart, zero when taken, wiped when given back, bounded. */
#include "unit.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"

#include <stdalign.h>
#include <string.h>

#define SIZE 300
#define MANY 1000 /* more than two chunks hold */

static void sizes_are_bounded(void **state)
{
    struct fk_arena *arena;

    (void)state;
    assert_err(fk_arena_new(0, 1, &arena), FK_ERR_INVAL);
    assert_err(fk_arena_new(FK_ARENA_SLOT_MAX + 1, 1, &arena), FK_ERR_INVAL);
    assert_ok(fk_arena_new(FK_ARENA_SLOT_MAX, 1, &arena));
    fk_arena_free(arena);
    fk_arena_free(NULL);
}

static void slots_do_not_overlap(void **state)
{
    static uint8_t expected[SIZE];
    static uint8_t *slots[MANY];
    struct fk_arena *arena;

    (void)state;
    assert_ok(fk_arena_new(SIZE, MANY, &arena));
    for (size_t i = 0; i < MANY; i++) {
        assert_ok(fk_arena_take(arena, (void **)&slots[i]));
        assert_int_equal((uintptr_t)slots[i] % alignof(max_align_t), 0);
        memset(slots[i], (int)(i % 255) + 1, SIZE);
    }
    assert_int_equal(fk_arena_used(arena), MANY);
    for (size_t i = 0; i < MANY; i++) {
        memset(expected, (int)(i % 255) + 1, SIZE);
        assert_memory_equal(slots[i], expected, SIZE);
        fk_arena_give(arena, slots[i]);
    }
    assert_int_equal(fk_arena_used(arena), 0);
    fk_arena_free(arena);
}

static void a_slot_is_zero_when_taken_again(void **state)
{
    static const uint8_t zero[SIZE];
    struct fk_arena *arena;
    uint8_t *slot, *again;

    (void)state;
    assert_ok(fk_arena_new(SIZE, 1, &arena));
    assert_ok(fk_arena_take(arena, (void **)&slot));
    assert_memory_equal(slot, zero, SIZE);
    memset(slot, 0xa5, SIZE);
    fk_arena_give(arena, slot);
    assert_memory_equal(slot, zero, SIZE); /* at once, not when it is next used */
    assert_ok(fk_arena_take(arena, (void **)&again));
    assert_ptr_equal(again, slot);
    assert_memory_equal(again, zero, SIZE);
    fk_arena_give(arena, again);
    fk_arena_give(arena, NULL);
    fk_arena_free(arena);
}

static void the_bound_holds(void **state)
{
    struct fk_arena *arena;
    void *first, *second, *third = &arena;

    (void)state;
    assert_ok(fk_arena_new(SIZE, 2, &arena));
    assert_ok(fk_arena_take(arena, &first));
    assert_ok(fk_arena_take(arena, &second));
    assert_err(fk_arena_take(arena, &third), FK_ERR_LIMIT);
    assert_ptr_equal(third, &arena); /* untouched */
    fk_arena_give(arena, first);
    assert_ok(fk_arena_take(arena, &third));
    fk_arena_give(arena, second);
    fk_arena_give(arena, third);
    fk_arena_free(arena);
}

static size_t unmapped;

static void count_chunks(const void *block, size_t size)
{
    (void)block;
    if (size > FK_ARENA_CHUNK)
        unmapped++;
}

/* Fill an arena, empty and fill every second slot again if `holes`, empty it. The chunks used. */
static size_t chunks_used(bool holes)
{
    static void *slots[MANY];
    struct fk_arena *arena;

    unmapped = 0;
    failmalloc_arm(0);
    failmalloc_on_free(count_chunks);
    assert_ok(fk_arena_new(SIZE, MANY, &arena));
    for (size_t i = 0; i < MANY; i++)
        assert_ok(fk_arena_take(arena, &slots[i]));
    for (size_t i = 0; holes && i < MANY; i += 2)
        fk_arena_give(arena, slots[i]);
    for (size_t i = 0; holes && i < MANY; i += 2)
        assert_ok(fk_arena_take(arena, &slots[i]));
    assert_int_equal(unmapped, 0);
    for (size_t i = 0; i < MANY; i++)
        fk_arena_give(arena, slots[i]);
    assert_true(unmapped > 0); /* given back while the arena is there */
    fk_arena_free(arena);
    failmalloc_disarm();
    return unmapped;
}

static void holes_are_used_and_chunks_given_back(void **state)
{
    size_t once = chunks_used(false);

    (void)state;
    assert_true(once > MANY * SIZE / FK_ARENA_CHUNK);
    assert_int_equal(chunks_used(true), once);
}

static int take_and_give(void *context)
{
    struct fk_arena *arena;
    void *slot = context;
    int err = fk_arena_new(SIZE, 1, &arena);

    if (err != FK_OK)
        return err;
    if ((err = fk_arena_take(arena, &slot)) == FK_OK)
        fk_arena_give(arena, slot);
    else
        assert_ptr_equal(slot, context);
    fk_arena_free(arena);
    return err;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    assert_int_equal(failmalloc_try(take_and_give, NULL), 2);
}

UNIT_MAIN(cmocka_unit_test(sizes_are_bounded), cmocka_unit_test(slots_do_not_overlap),
          cmocka_unit_test(a_slot_is_zero_when_taken_again), cmocka_unit_test(the_bound_holds),
          cmocka_unit_test(holes_are_used_and_chunks_given_back),
          cmocka_unit_test(each_allocation_may_fail))
