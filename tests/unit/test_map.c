/* base/map: each key its value, the first one, however many there are. */
#include "unit.h"

#include "base/err.h"
#include "base/map.h"
#include "failmalloc.h"

#include <stdio.h>

static void empty(void **state)
{
    struct fk_map map = {.count = 0};

    (void)state;
    assert_null(fk_map_find(&map, "a", 1));
    assert_null(fk_map_find(&map, "", 0));
    fk_map_fini(&map);
}

static void the_first_value_stays(void **state)
{
    struct fk_map map = {.count = 0};
    int one, two;
    void *got;

    (void)state;
    assert_ok(fk_map_add(&map, "key", 3, &one, &got));
    assert_ptr_equal(got, &one);
    assert_ok(fk_map_add(&map, "key", 3, &two, &got));
    assert_ptr_equal(got, &one);
    assert_ok(fk_map_add(&map, "key", 2, &two, NULL));
    assert_ptr_equal(fk_map_find(&map, "key", 3), &one);
    assert_ptr_equal(fk_map_find(&map, "ke", 2), &two);
    assert_null(fk_map_find(&map, "kex", 3));
    assert_null(fk_map_find(&map, "keys", 4));
    assert_int_equal(map.count, 2);
    fk_map_fini(&map);
    assert_null(fk_map_find(&map, "key", 3));
}

static void many_keys(void **state)
{
    enum { COUNT = 5000 };
    static char keys[COUNT][16];
    struct fk_map map = {.count = 0};

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%zu", i);
        assert_ok(fk_map_add(&map, keys[i], strlen(keys[i]), keys[i], NULL));
    }
    for (size_t i = 0; i < COUNT; i++)
        assert_ptr_equal(fk_map_find(&map, keys[i], strlen(keys[i])), keys[i]);
    assert_int_equal(map.count, COUNT);
    fk_map_fini(&map);
}

static int add_some(void *context)
{
    static const char keys[] = "abcdefghijklmnopqrstuvwxyz";
    struct fk_map map = {.count = 0};
    int err = FK_OK;

    (void)context;
    for (size_t i = 0; err == FK_OK && keys[i] != '\0'; i++)
        err = fk_map_add(&map, &keys[i], 1, (void *)(uintptr_t)&keys[i], NULL);
    for (size_t i = 0; i < map.count; i++) /* those that were there still are */
        assert_ptr_equal(fk_map_find(&map, &keys[i], 1), &keys[i]);
    fk_map_fini(&map);
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    assert_int_equal(failmalloc_try(add_some, NULL), 3);
}

UNIT_MAIN(cmocka_unit_test(empty), cmocka_unit_test(the_first_value_stays),
          cmocka_unit_test(many_keys), cmocka_unit_test(every_failed_allocation_is_survived))
