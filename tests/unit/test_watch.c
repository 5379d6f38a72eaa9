/* loop/watch: files and names that count are told once a burst is over, nothing else is. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/watch.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_US 20000000

static const char *const suffixes[] = {".key", NULL};

static struct fk_loop *loop;
static struct fk_timer guard;
static struct fk_watch *watch;
static char folder[64];
static unsigned told;

static void on_changed(void *arg)
{
    (void)arg;
    told++;
    fk_loop_stop(loop);
}

static void on_guard(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

/* Run until it is told, at most for so long. */
static void run(uint64_t us)
{
    fk_timer_start(&guard, us);
    fk_loop_run(loop);
    fk_timer_stop(&guard);
}

static void assert_told(void)
{
    unsigned before = told;

    run(PATIENCE_US);
    assert_int_equal(told, before + 1);
}

/* Nothing: the time in which it would have been told passes. */
static void assert_silent(void)
{
    unsigned before = told;

    run(2 * FK_WATCH_SETTLE_US);
    assert_int_equal(told, before);
}

static const char *at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(at(name), "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void set_file(const char *name)
{
    const struct fk_watch_item item = {.path = at(name)};

    assert_ok(fk_watch_set(watch, &item, 1));
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/fk-watch-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_ok(fk_loop_new(&loop));
    fk_timer_init(&guard, loop, on_guard);
    assert_ok(fk_watch_new(loop, on_changed, NULL, &watch));
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"a.crl", "b.crl", "x.key", "x.tmp", "1/a",
                                        "2/a",   "1",     "2",     "now",   "next"};

    (void)state;
    fk_watch_free(watch);
    fk_loop_free(loop);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)remove(at(names[i]));
    return rmdir(folder);
}

static void test_file(void **state)
{
    (void)state;
    put("a.crl", "1");
    set_file("a.crl");
    assert_silent();
    put("a.crl", "2");
    assert_told();
    put("b.crl", "1"); /* another one in its directory */
    assert_silent();
    assert_int_equal(rename(at("b.crl"), at("a.crl")), 0);
    assert_told();
    assert_int_equal(chmod(at("a.crl"), 0600), 0);
    assert_told();
    assert_int_equal(unlink(at("a.crl")), 0);
    assert_told();
    put("a.crl", "3");
    assert_told();
}

/* As orchestrators do it: files are links through one link, which is replaced. */
static void test_linked_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir(at("1"), 0700), 0);
    assert_int_equal(mkdir(at("2"), 0700), 0);
    put("1/a", "1");
    put("2/a", "2");
    assert_int_equal(symlink("1", at("now")), 0);
    assert_int_equal(symlink("now/a", at("a.crl")), 0);
    set_file("a.crl");
    assert_int_equal(symlink("2", at("next")), 0);
    assert_int_equal(rename(at("next"), at("now")), 0);
    assert_told();
}

static void test_directory(void **state)
{
    const struct fk_watch_item item = {.path = folder, .suffixes = suffixes};

    (void)state;
    assert_ok(fk_watch_set(watch, &item, 1));
    put("x.tmp", "1");
    assert_silent();
    put("x.key", "1");
    put("x.key", "2"); /* a burst is told once */
    assert_told();
    assert_silent();
}

/* Setting anew: what is not named any more is silent, what is named still is not missed. */
static void test_set_anew(void **state)
{
    const struct fk_watch_item both[] = {{.path = at("a.crl")},
                                         {.path = folder, .suffixes = suffixes}};

    (void)state;
    put("a.crl", "1");
    assert_ok(fk_watch_set(watch, both, 2));
    put("a.crl", "2");
    assert_ok(fk_watch_set(watch, both, 2));
    assert_told();
    put("x.key", "1");
    assert_told();
    set_file("a.crl");
    put("x.key", "2");
    assert_silent();
    put("a.crl", "3");
    assert_told();
    assert_ok(fk_watch_set(watch, NULL, 0));
    put("a.crl", "4");
    assert_silent();
}

/* As sites name one CA each; and among others that come and go, each keeps its last look. */
static void test_many(void **state)
{
    enum { MANY = 1000 };
    struct fk_watch_item items[MANY + 2] = {{.path = NULL}};
    char names[MANY][160];

    (void)state;
    put("a.crl", "1");
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s/%zu.none", folder, i);
        items[i].path = names[i];
    }
    items[MANY].path = items[MANY + 1].path = at("a.crl");
    assert_ok(fk_watch_set(watch, items, MANY + 2));
    put("a.crl", "2");
    assert_ok(fk_watch_set(watch, items + 1, MANY + 1));
    assert_told();
    assert_silent();
    assert_ok(fk_watch_set(watch, items, MANY));
    put("a.crl", "3");
    assert_silent();
}

static void test_no_directory(void **state)
{
    const struct fk_watch_item items[] = {{.path = "/nonexistent/directory/a.crl"},
                                          {.path = at("a.crl")}};

    (void)state;
    assert_ok(fk_watch_set(watch, items, 2));
    put("a.crl", "1");
    assert_told();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_linked_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_directory, setup, teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, NULL, NULL);
}
