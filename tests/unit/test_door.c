/* loop/door: places for peers that are not known yet, and whose turn to leave it is. */
#include "unit.h"

#include "base/err.h"
#include "failmalloc.h"
#include "loop/door.h"

#include <string.h>

static struct fk_door *door;

static int setup(void **state)
{
    (void)state;
    return fk_door_new(&door);
}

static int teardown(void **state)
{
    (void)state;
    fk_door_free(door);
    return 0;
}

static void enter(const char *text, struct fk_door_place *place)
{
    struct fk_addr addr;

    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_door_enter(door, &addr, place));
}

static struct fk_door_place *first_of(const char *text, uint64_t max)
{
    struct fk_addr addr;

    assert_ok(fk_addr_parse(text, &addr));
    return fk_door_first_of(door, &addr, max);
}

static void the_oldest_goes_first(void **state)
{
    struct fk_door_place a = {.door = NULL}, b = {.door = NULL}, c = {.door = NULL};

    (void)state;
    assert_null(fk_door_first(door));
    enter("10.0.0.1:1", &a);
    enter("10.0.0.2:1", &b);
    enter("10.0.0.3:1", &c);
    assert_int_equal(fk_door_count(door), 3);
    assert_ptr_equal(fk_door_first(door), &a);
    fk_door_leave(&a);
    assert_ptr_equal(fk_door_first(door), &b);
    fk_door_leave(&c);
    assert_ptr_equal(fk_door_first(door), &b);
    fk_door_leave(&b);
    assert_null(fk_door_first(door));
    assert_int_equal(fk_door_count(door), 0);
}

/* One who came first and alone stays; so does one of two at an address when another has three. */
static void the_address_with_the_most_goes_first(void **state)
{
    struct fk_door_place alone = {.door = NULL}, two[2] = {{.door = NULL}},
                         three[3] = {{.door = NULL}};

    (void)state;
    enter("10.0.0.1:1", &alone);
    enter("10.0.0.2:1", &two[0]);
    enter("10.0.0.2:2", &two[1]);
    assert_ptr_equal(fk_door_first(door), &two[0]);
    for (size_t i = 0; i < 3; i++)
        enter("10.0.0.3:1", &three[i]);
    assert_ptr_equal(fk_door_first(door), &three[0]);
    fk_door_leave(&three[0]);
    assert_ptr_equal(fk_door_first(door), &two[0]); /* as many, and older */
    fk_door_leave(&two[0]);
    assert_ptr_equal(fk_door_first(door), &three[1]);
    fk_door_leave(&three[1]);
    assert_ptr_equal(fk_door_first(door), &alone);
    fk_door_leave(&alone);
    fk_door_leave(&two[1]);
    fk_door_leave(&three[2]);
}

static void an_address_has_its_bound(void **state)
{
    struct fk_door_place a = {.door = NULL}, other = {.door = NULL}, b = {.door = NULL};

    (void)state;
    assert_null(first_of("10.0.0.1:9", 1));
    enter("10.0.0.2:1", &other);
    enter("10.0.0.1:1", &a);
    enter("10.0.0.1:2", &b);
    assert_null(first_of("10.0.0.1:9", 3));
    assert_ptr_equal(first_of("10.0.0.1:9", 2), &a);
    assert_null(first_of("10.0.0.3:9", 1));
    assert_null(first_of("10.0.0.1:9", 0)); /* any number */
    fk_door_leave(&a);
    assert_null(first_of("10.0.0.1:9", 2));
    assert_ptr_equal(first_of("10.0.0.1:9", 1), &b);
    fk_door_leave(&b);
    fk_door_leave(&other);
}

/* All of one /64 are one; who has no address is nobody's neighbour. */
static void addresses_are_counted_as_peers_are(void **state)
{
    struct fk_door_place six[2] = {{.door = NULL}}, local[3] = {{.door = NULL}};

    (void)state;
    enter("[2001:db8::1]:1", &six[0]);
    enter("[2001:db8::2]:1", &six[1]);
    for (size_t i = 0; i < 3; i++)
        enter("unix:/run/x", &local[i]);
    assert_ptr_equal(first_of("[2001:db8::3]:1", 2), &six[0]);
    assert_null(first_of("[2001:db8:0:1::3]:1", 1));
    assert_null(first_of("unix:/run/x", 1));
    assert_ptr_equal(fk_door_first(door), &six[0]);
    for (size_t i = 0; i < 2; i++)
        fk_door_leave(&six[i]);
    assert_ptr_equal(fk_door_first(door), &local[0]);
    for (size_t i = 0; i < 3; i++)
        fk_door_leave(&local[i]);
}

static void one_without_a_place_may_leave(void **state)
{
    struct fk_door_place place = {.door = NULL};

    (void)state;
    fk_door_leave(&place);
    enter("10.0.0.1:1", &place);
    fk_door_leave(&place);
    fk_door_leave(&place);
    assert_int_equal(fk_door_count(door), 0);
}

static void without_memory_there_is_no_place(void **state)
{
    struct fk_door_place place = {.door = NULL};
    struct fk_door *other = NULL;
    struct fk_addr addr;

    (void)state;
    assert_ok(fk_addr_parse("10.0.0.1:1", &addr));
    failmalloc_arm(1);
    assert_err(fk_door_enter(door, &addr, &place), FK_ERR_NOMEM);
    assert_true(failmalloc_disarm());
    assert_null(place.door);
    assert_int_equal(fk_door_count(door), 0);
    for (size_t n = 1; n <= 2; n++) {
        failmalloc_arm(n);
        assert_err(fk_door_new(&other), FK_ERR_NOMEM);
        assert_true(failmalloc_disarm());
        assert_int_equal(failmalloc_live(), 0);
        assert_null(other);
    }
    fk_door_free(NULL);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(the_oldest_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(the_address_with_the_most_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_has_its_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_are_counted_as_peers_are, setup, teardown),
        cmocka_unit_test_setup_teardown(one_without_a_place_may_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(without_memory_there_is_no_place, setup, teardown),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
