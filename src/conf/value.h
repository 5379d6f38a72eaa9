/*
 * The types of options: one row a type says how a value is read into a block's member, printed
 * back, and described to people. Private to src/conf.
 */
#ifndef FK_CONF_VALUE_H
#define FK_CONF_VALUE_H

#include "conf/store.h"

struct fk_conf_item {
    const char *text;
    unsigned line;
};

/* What stood behind "=" . */
struct fk_conf_value {
    struct fk_conf_item *items;
    size_t count;
    bool list; /* in braces; else one item */
    struct fk_conf_where where;
    const char *directory; /* of the file that says it, with its last "/": for paths */
};

/*
 * Store a value in the option's member of `block`. False when it does not fit: that was complained
 * of, and the member is untouched.
 */
bool fk_conf_value_store(struct fk_conf *conf, void *block, const struct fk_conf_option *option,
                         const struct fk_conf_value *value);

/* Store the option's fallback, a text of the configuration language's value. */
bool fk_conf_value_default(struct fk_conf *conf, void *block, const struct fk_conf_option *option,
                           const char *directory);

/* Whether the member holds anything (a number that is not 0, a text, a list with items). */
bool fk_conf_value_present(const void *block, const struct fk_conf_option *option);

/* Write the member's value so that it reads back as the same. */
void fk_conf_value_print(const void *block, const struct fk_conf_option *option, FILE *out);

/* What may be written: "a time from 1ms to 10s, with a unit: us, ms, s, m, h or d". */
void fk_conf_value_expect(const struct fk_conf_option *option, struct fk_conf_text *ret);

/* One word for the manual: "time". */
const char *fk_conf_value_noun(const struct fk_conf_option *option);

/* `text` in double quotes with its escapes. */
void fk_conf_print_string(const char *text, FILE *out);

#endif
