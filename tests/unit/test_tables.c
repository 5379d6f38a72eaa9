/* The tables of every configuration of the project: complete, consistent, with good defaults. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "conf/store.h"
#include "conf/value.h"
#include "edge/conf.h"
#include "keyd/conf.h"

static const struct fk_conf_kind *const roots[] = {&fk_edge_conf_kind, &fk_inline_conf_kind,
                                                   &fk_keyd_conf_kind, &fk_key_policy_conf_kind};

static void walk(const struct fk_conf_kind *kind, void (*visit)(const struct fk_conf_kind *))
{
    visit(kind);
    for (size_t i = 0; kind->kids != NULL && kind->kids[i] != NULL; i++)
        walk(kind->kids[i], visit);
}

static void walk_all(void (*visit)(const struct fk_conf_kind *))
{
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++)
        walk(roots[i], visit);
}

/* Sentences for the manual. */
static void check_help(const char *name, const char *help)
{
    if (help == NULL || help[0] == '\0' || strchr(".)", help[strlen(help) - 1]) == NULL)
        fail_msg("%s: help is no sentence: %s", name, help != NULL ? help : "none");
}

static void check_option(const struct fk_conf_kind *kind, const struct fk_conf_option *option)
{
    bool named = option->type == FK_CONF_ENUM || option->type == FK_CONF_FLAGS;

    check_help(option->name, option->help);
    assert_true(option->offset >= sizeof(struct fk_conf_block));
    assert_true(option->offset < kind->size);
    assert_true(!named || option->names != NULL);
    assert_false(option->required && option->fallback != NULL);
    assert_true(option->max == 0 || option->min <= option->max);
    for (const struct fk_conf_option *other = kind->options; other != option; other++) {
        assert_string_not_equal(other->name, option->name);
        assert_int_not_equal(other->offset, option->offset);
    }
}

static void check_kind(const struct fk_conf_kind *kind)
{
    size_t count = 0;

    check_help(kind->name, kind->help);
    assert_true(kind->size >= sizeof(struct fk_conf_block));
    for (; kind->options[count].name != NULL; count++)
        check_option(kind, &kind->options[count]);
    assert_true(count <= FK_CONF_OPTIONS_MAX);
    for (size_t i = 0; kind->kids != NULL && kind->kids[i] != NULL; i++) {
        assert_true(kind->kids[i]->list_offset >= sizeof(struct fk_conf_block));
        assert_true(kind->kids[i]->list_offset < kind->size);
        assert_false(kind->kids[i]->once && kind->kids[i]->titled);
    }
}

static void rows_are_complete_and_consistent(void **state)
{
    (void)state;
    walk_all(check_kind);
}

static void check_defaults(const struct fk_conf_kind *kind)
{
    struct fk_conf *conf;
    void *block = calloc(1, kind->size);

    assert_non_null(block);
    assert_ok(fk_conf_store_new(kind, &conf));
    for (const struct fk_conf_option *option = kind->options; option->name != NULL; option++) {
        const void *member = (const char *)block + option->offset;

        if (option->fallback == NULL)
            continue;
        if (!fk_conf_value_default(conf, block, option, "/dir/"))
            fail_msg("%s: default of %s: %s", kind->name, option->name, fk_conf_error(conf, 0));
        if (option->check != NULL && option->check(member) != NULL)
            fail_msg("%s: default of %s: %s", kind->name, option->name, option->check(member));
    }
    fk_conf_free(conf);
    free(block);
}

static void defaults_are_values_that_pass(void **state)
{
    (void)state;
    walk_all(check_defaults);
}

UNIT_MAIN(cmocka_unit_test(rows_are_complete_and_consistent),
          cmocka_unit_test(defaults_are_values_that_pass))
