/* edge/setdown: what is down, and who is told. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/setdown.h"
#include "failmalloc.h"

#include <stdio.h>

struct follower {
    struct fk_setdown_site site;
    unsigned calls;
    char origin[64];
    bool down;
};

static void on_changed(struct fk_setdown_site *site, const char *origin, bool down)
{
    struct follower *follower = fk_container(site, struct follower, site);

    follower->calls++;
    (void)snprintf(follower->origin, sizeof follower->origin, "%s", origin);
    follower->down = down;
}

static struct fk_setdown *make(void)
{
    struct fk_setdown *down;

    assert_ok(fk_setdown_new(&down));
    return down;
}

static void follow(struct fk_setdown *down, struct follower *follower, const char *site)
{
    *follower = (struct follower){.site = {.name = site, .changed = on_changed}};
    fk_setdown_follow(down, &follower->site);
}

static void a_name_is_of_its_site(void **state)
{
    static const struct {
        const char *name, *site, *origin;
    } rows[] = {
        {"a/b:1", "a", "b:1"},     {"a/unix:/run/x", "a", "unix:/run/x"},
        {"a/b/c:1", "a/b", "c:1"}, {"a/b/c:1", "a", "b/c:1"},
        {"ab/c:1", "a", NULL},     {"a", "a", NULL},
        {"", "a", NULL},           {"a/", "a", ""},
        {"A/b:1", "a", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *origin = fk_setdown_origin(rows[i].name, rows[i].site);

        if (rows[i].origin == NULL)
            assert_null(origin);
        else
            assert_string_equal(origin, rows[i].origin);
    }
}

static void those_of_the_site_are_told(void **state)
{
    struct fk_setdown *down = make();
    struct follower a, also_a, b;

    (void)state;
    follow(down, &a, "a");
    follow(down, &also_a, "a");
    follow(down, &b, "b");
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_DOWN));
    assert_true(fk_setdown_has(down, "a", "x:1"));
    assert_false(fk_setdown_has(down, "b", "x:1"));
    assert_false(fk_setdown_has(down, "a", "x:2"));
    assert_int_equal(a.calls, 1);
    assert_int_equal(also_a.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_string_equal(a.origin, "x:1");
    assert_true(a.down);
    fk_setdown_leave(&also_a.site);
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_UP));
    assert_false(fk_setdown_has(down, "a", "x:1"));
    assert_null(fk_setdown_at(down, 0));
    assert_int_equal(a.calls, 2);
    assert_false(a.down);
    assert_int_equal(also_a.calls, 1);
    fk_setdown_leave(&a.site);
    fk_setdown_leave(&b.site);
    fk_setdown_free(down);
}

/* Those that exist keep to what they know; those to come know nothing of it. */
static void what_is_forgotten_nobody_is_told(void **state)
{
    struct fk_setdown *down = make();
    struct follower a;

    (void)state;
    follow(down, &a, "a");
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_DOWN));
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_FORGET));
    assert_int_equal(a.calls, 1);
    assert_false(fk_setdown_has(down, "a", "x:1"));
    fk_setdown_leave(&a.site);
    fk_setdown_free(down);
}

static void once_more_is_harmless(void **state)
{
    struct fk_setdown *down = make();

    (void)state;
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_UP));
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_DOWN));
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_DOWN));
    assert_string_equal(fk_setdown_at(down, 0), "a/x:1");
    assert_null(fk_setdown_at(down, 1));
    assert_ok(fk_setdown_change(down, "a/x:1", FK_SETDOWN_UP));
    assert_null(fk_setdown_at(down, 0));
    fk_setdown_free(down);
}

static void there_is_a_bound(void **state)
{
    struct fk_setdown *down = make();
    struct follower a;
    char name[32];

    (void)state;
    for (unsigned i = 0; i < FK_EDGE_SET_DOWN_MAX; i++) {
        (void)snprintf(name, sizeof name, "a/x:%u", i);
        assert_ok(fk_setdown_change(down, name, FK_SETDOWN_DOWN));
    }
    follow(down, &a, "a");
    assert_err(fk_setdown_change(down, "a/y:1", FK_SETDOWN_DOWN), FK_ERR_LIMIT);
    assert_int_equal(a.calls, 0);
    assert_ok(fk_setdown_change(down, "a/x:7", FK_SETDOWN_DOWN));
    assert_ok(fk_setdown_change(down, "a/x:7", FK_SETDOWN_UP));
    assert_ok(fk_setdown_change(down, "a/y:1", FK_SETDOWN_DOWN));
    assert_true(fk_setdown_has(down, "a", "y:1"));
    fk_setdown_leave(&a.site);
    fk_setdown_free(down);
}

static int set_one_down(void *context)
{
    struct fk_setdown *down = NULL;
    int err = fk_setdown_new(&down);

    (void)context;
    if (err != FK_OK)
        return err;
    err = fk_setdown_change(down, "a/x:1", FK_SETDOWN_DOWN);
    assert_int_equal(fk_setdown_has(down, "a", "x:1"), err == FK_OK);
    fk_setdown_free(down);
    return err;
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    assert_int_equal(failmalloc_try(set_one_down, NULL), 2);
}

UNIT_MAIN(cmocka_unit_test(a_name_is_of_its_site), cmocka_unit_test(those_of_the_site_are_told),
          cmocka_unit_test(what_is_forgotten_nobody_is_told),
          cmocka_unit_test(once_more_is_harmless), cmocka_unit_test(there_is_a_bound),
          cmocka_unit_test(every_failed_allocation_is_told))
