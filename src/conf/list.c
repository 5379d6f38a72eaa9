/* The rules for all lists: see list.h. */
#include "conf/list.h"

#include <stdlib.h>
#include <string.h>

static bool check_not_empty(struct fk_conf *conf, const struct fk_conf_option *option,
                            const struct fk_conf_value *value)
{
    struct fk_conf_text expect;

    if (value->count > 0 || option->may_be_empty)
        return true;
    fk_conf_value_expect(option, &expect);
    fk_conf_complain(conf, &value->where, "%s: the list is empty; %swrite %s", option->name,
                     option->required ? "" : "remove the option, or ", expect.text);
    return false;
}

/* By text, equals by their place in the file. */
static int by_text(const void *a, const void *b)
{
    const struct fk_conf_item *one = *(const struct fk_conf_item *const *)a;
    const struct fk_conf_item *other = *(const struct fk_conf_item *const *)b;
    int order = strcmp(one->text, other->text);

    return order != 0 ? order : (one > other) - (one < other);
}

static bool check_once(struct fk_conf *conf, const struct fk_conf_option *option,
                       const struct fk_conf_value *value)
{
    const struct fk_conf_item **sorted;
    char quoted[FK_CONF_QUOTE_SIZE];
    bool ok = true;

    if (value->count < 2)
        return true;
    if ((sorted = fk_conf_alloc(conf, value->count * sizeof *sorted)) == NULL)
        return false;
    for (size_t i = 0; i < value->count; i++)
        sorted[i] = &value->items[i];
    qsort(sorted, value->count, sizeof *sorted, by_text);
    for (size_t i = 1; i < value->count; i++) {
        struct fk_conf_where where = {value->where.file, sorted[i]->line};

        if (strcmp(sorted[i]->text, sorted[i - 1]->text) != 0)
            continue;
        fk_conf_quote(sorted[i]->text, strlen(sorted[i]->text), quoted);
        fk_conf_complain(conf, &where, "%s: %s is in the list twice; remove one", option->name,
                         quoted);
        ok = false;
    }
    return ok;
}

bool fk_conf_list_check(struct fk_conf *conf, const struct fk_conf_option *option,
                        const struct fk_conf_value *value)
{
    return check_not_empty(conf, option, value) && check_once(conf, option, value);
}
