/* The types of options: see value.h. */
#include "conf/value.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "conf/lexer.h"
#include "conf/list.h"
#include "loop/addr.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Room for a number and its unit; most values of a fallback in a table. */
enum { NUMBER_SIZE = 32, FALLBACK_ITEMS = 32 };

/* A number: read from text, written as text. */
struct number_type {
    const char *noun;   /* "time" */
    const char *syntax; /* what people need to know to write one; may be "" */
    uint64_t ceiling;
    int (*read)(const char *text, size_t len, uint64_t *ret);
    void (*format)(uint64_t number, char dst[NUMBER_SIZE]);
};

struct type_row {
    const char *noun;
    bool list; /* takes a list; a single value is a list of one */
    bool (*store)(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                  const struct fk_conf_value *value);
    bool (*present)(const void *member);
    void (*print)(const void *member, const struct fk_conf_option *option, FILE *out);
    void (*expect)(const struct fk_conf_option *option, struct fk_conf_text *ret);
};

static const struct type_row *type_of(const struct fk_conf_option *option);
static const struct number_type *number_of(const struct fk_conf_option *option);

static const struct fk_conf_name no_names[] = {{NULL, 0, NULL}};

static const struct fk_conf_name bool_names[] = {
    {"on", 1, NULL},   {"off", 0, NULL},   {"yes", 1, NULL}, {"no", 0, NULL},
    {"true", 1, NULL}, {"false", 0, NULL}, {NULL, 0, NULL}};

/* --- names --- */

static const struct fk_conf_name *names_of(const struct fk_conf_option *option)
{
    return option->names != NULL ? option->names : no_names;
}

static const struct fk_conf_name *find_name(const struct fk_conf_name *names, const char *text)
{
    for (; names->name != NULL; names++)
        if (strcmp(names->name, text) == 0)
            return names;
    return NULL;
}

static void put_names(const struct fk_conf_name *names, struct fk_conf_text *ret)
{
    for (size_t i = 0; names[i].name != NULL; i++)
        fk_conf_put(ret, "%s%s", i == 0 ? "" : ", ", names[i].name);
}

/* "unknown value, did you mean": for ENUM and FLAGS. */
static void complain_name(struct fk_conf *conf, const struct fk_conf_option *option,
                          const struct fk_conf_value *value, const struct fk_conf_item *item)
{
    struct fk_conf_where where = {value->where.file, item->line};
    struct fk_conf_nearest nearest = {NULL, 0};
    struct fk_conf_text known = {.len = 0};
    char quoted[FK_CONF_QUOTE_SIZE];

    known.text[0] = '\0';
    put_names(option->names, &known);
    for (const struct fk_conf_name *name = option->names; name->name != NULL; name++)
        fk_conf_consider(&nearest, item->text, strlen(item->text), name->name);
    fk_conf_quote(item->text, strlen(item->text), quoted);
    if (nearest.best != NULL)
        fk_conf_complain(conf, &where, "%s: unknown value %s; did you mean %s? (one of: %s)",
                         option->name, quoted, nearest.best, known.text);
    else
        fk_conf_complain(conf, &where, "%s: unknown value %s; write one of: %s", option->name,
                         quoted, known.text);
}

/* "NAME: WRITTEN is not a time; write a time ..." */
static void complain_type(struct fk_conf *conf, const struct fk_conf_option *option,
                          const struct fk_conf_value *value, const char *wrong)
{
    struct fk_conf_where where = {value->where.file, value->items[0].line};
    struct fk_conf_text expect;
    char quoted[FK_CONF_QUOTE_SIZE];

    fk_conf_value_expect(option, &expect);
    fk_conf_quote(value->items[0].text, strlen(value->items[0].text), quoted);
    fk_conf_complain(conf, &where, "%s: %s %s; write %s", option->name, quoted, wrong, expect.text);
}

/* --- on and off --- */

static bool store_bool(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                       const struct fk_conf_value *value)
{
    const struct fk_conf_name *name = find_name(bool_names, value->items[0].text);

    if (name == NULL) {
        complain_type(conf, option, value, "is neither on nor off");
        return false;
    }
    *(bool *)member = name->value != 0;
    return true;
}

static bool present_bool(const void *member)
{
    return *(const bool *)member;
}

static void print_bool(const void *member, const struct fk_conf_option *option, FILE *out)
{
    (void)option;
    fputs(*(const bool *)member ? "on" : "off", out);
}

static void expect_bool(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    (void)option;
    fk_conf_put(ret, "on or off");
}

/* --- numbers --- */

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* The largest unit that leaves no remainder; the table falls and ends with factor 1. */
static void format_unit(uint64_t number, const struct unit *unit, char dst[NUMBER_SIZE])
{
    while (unit->factor > 1 && (number == 0 || number % unit->factor != 0))
        unit++;
    snprintf(dst, NUMBER_SIZE, "%" PRIu64 "%s", number / unit->factor, unit->suffix);
}

static void format_int(uint64_t number, char dst[NUMBER_SIZE])
{
    snprintf(dst, NUMBER_SIZE, "%" PRIu64, number);
}

static void format_size(uint64_t number, char dst[NUMBER_SIZE])
{
    static const struct unit units[] = {
        {"g", 1024 * 1024 * 1024}, {"m", 1024 * 1024}, {"k", 1024}, {"", 1}};

    format_unit(number, units, dst);
}

static void format_duration(uint64_t number, char dst[NUMBER_SIZE])
{
    static const struct unit units[] = {{"d", 86400ULL * 1000000},
                                        {"h", 3600ULL * 1000000},
                                        {"m", 60ULL * 1000000},
                                        {"s", 1000000},
                                        {"ms", 1000},
                                        {"us", 1}};

    if (number == 0)
        snprintf(dst, NUMBER_SIZE, "0s");
    else
        format_unit(number, units, dst);
}

static void format_rate(uint64_t number, char dst[NUMBER_SIZE])
{
    static const struct unit units[] = {{"/s", 3600}, {"/m", 60}, {"/h", 1}};

    if (number == 0)
        snprintf(dst, NUMBER_SIZE, "0/s");
    else
        format_unit(number, units, dst);
}

static const struct number_type number_int = {"whole number", "", UINT64_MAX, fk_text_u64,
                                              format_int};
static const struct number_type number_size = {"size", "in bytes or with a unit: k, m or g",
                                               UINT64_MAX, fk_text_size, format_size};
static const struct number_type number_duration = {"time", "with a unit: us, ms, s, m, h or d",
                                                   UINT64_MAX, fk_text_duration, format_duration};
static const struct number_type number_rate = {"rate", "with a unit: /s, /m or /h",
                                               FK_CONF_RATE_MAX, fk_text_rate, format_rate};

static bool store_number(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                         const struct fk_conf_value *value)
{
    const struct number_type *type = number_of(option);
    const char *text = value->items[0].text;
    const struct fk_conf_name *name = find_name(names_of(option), text);
    uint64_t number;
    char wrong[64];
    int err;

    if (name != NULL) {
        *(uint64_t *)member = (uint64_t)name->value;
        return true;
    }
    err = type->read(text, strlen(text), &number);
    if (err == FK_OK && (number < option->min || (option->max != 0 && number > option->max) ||
                         number > type->ceiling))
        err = FK_ERR_RANGE;
    if (err == FK_OK) {
        *(uint64_t *)member = number;
        return true;
    }
    snprintf(wrong, sizeof wrong, "is not a %s", type->noun);
    complain_type(conf, option, value, err == FK_ERR_RANGE ? "is out of range" : wrong);
    return false;
}

static bool present_number(const void *member)
{
    return *(const uint64_t *)member != 0;
}

static void print_number(const void *member, const struct fk_conf_option *option, FILE *out)
{
    uint64_t number = *(const uint64_t *)member;
    char text[NUMBER_SIZE];

    for (const struct fk_conf_name *name = names_of(option); name->name != NULL; name++) {
        if ((uint64_t)name->value == number) {
            fputs(name->name, out);
            return;
        }
    }
    number_of(option)->format(number, text);
    fputs(text, out);
}

static void expect_number(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    const struct number_type *type = number_of(option);
    uint64_t max = option->max != 0 ? option->max : type->ceiling;
    char low[NUMBER_SIZE], high[NUMBER_SIZE];

    type->format(option->min, low);
    type->format(max, high);
    fk_conf_put(ret, "a %s", type->noun);
    if (max != UINT64_MAX)
        fk_conf_put(ret, " from %s to %s", low, high);
    else if (option->min != 0)
        fk_conf_put(ret, " of at least %s", low);
    if (type->syntax[0] != '\0')
        fk_conf_put(ret, ", %s", type->syntax);
    if (option->names != NULL && option->names->name != NULL) {
        fk_conf_put(ret, "; or ");
        put_names(option->names, ret);
    }
}

/* --- names --- */

static bool store_enum(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                       const struct fk_conf_value *value)
{
    const struct fk_conf_name *name = find_name(option->names, value->items[0].text);

    if (name == NULL) {
        complain_name(conf, option, value, &value->items[0]);
        return false;
    }
    *(int *)member = name->value;
    return true;
}

static bool present_enum(const void *member)
{
    return *(const int *)member != 0;
}

static bool is_plain_word(const char *text)
{
    return text[0] != '\0' &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "-_./:*+%")] == '\0';
}

static void print_name(const char *name, FILE *out)
{
    if (is_plain_word(name))
        fputs(name, out);
    else
        fk_conf_print_string(name, out);
}

static void print_enum(const void *member, const struct fk_conf_option *option, FILE *out)
{
    const struct fk_conf_name *name = option->names;

    while (name->name != NULL && name->value != *(const int *)member)
        name++;
    print_name(name->name != NULL ? name->name : "", out);
}

static void expect_enum(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    fk_conf_put(ret, "one of: ");
    put_names(option->names, ret);
}

static bool store_flags(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                        const struct fk_conf_value *value)
{
    unsigned flags = 0;
    bool ok = true;

    for (size_t i = 0; i < value->count; i++) {
        const struct fk_conf_name *name = find_name(option->names, value->items[i].text);

        if (name == NULL) {
            complain_name(conf, option, value, &value->items[i]);
            ok = false;
            continue;
        }
        flags |= (unsigned)name->value;
    }
    if (ok)
        *(unsigned *)member = flags;
    return ok;
}

static bool present_flags(const void *member)
{
    return *(const unsigned *)member != 0;
}

/* Names that stand for several flags come out when all of theirs are set and still unsaid. */
static void print_flags(const void *member, const struct fk_conf_option *option, FILE *out)
{
    unsigned flags = *(const unsigned *)member, left = flags;
    const char *separator = "";

    fputc('{', out);
    for (const struct fk_conf_name *name = option->names; name->name != NULL; name++) {
        unsigned bits = (unsigned)name->value;

        if ((flags & bits) != bits || (left & bits) == 0)
            continue;
        fputs(separator, out);
        print_name(name->name, out);
        separator = ", ";
        left &= ~bits;
    }
    fputc('}', out);
}

static void expect_flags(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    fk_conf_put(ret, "a list {...} of: ");
    put_names(option->names, ret);
}

/* --- text --- */

static bool store_string(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                         const struct fk_conf_value *value)
{
    const char *text = value->items[0].text;
    char *copy = fk_conf_copy(conf, text, strlen(text));

    (void)option;
    if (copy == NULL)
        return false;
    *(char **)member = copy;
    return true;
}

/* A path made absolute, or NULL: told, or without memory. */
static char *make_path(struct fk_conf *conf, const struct fk_conf_option *option,
                       const struct fk_conf_value *value, struct fk_conf_item *item)
{
    struct fk_conf_value one = {item, 1, false, value->where, value->directory};
    size_t prefix = item->text[0] == '/' ? 0 : strlen(value->directory);
    char *path;

    if (item->text[0] == '\0') {
        complain_type(conf, option, &one, "is no file name");
        return NULL;
    }
    path = fk_conf_alloc(conf, prefix + strlen(item->text) + 1);
    if (path == NULL)
        return NULL;
    memcpy(path, value->directory, prefix);
    memcpy(path + prefix, item->text, strlen(item->text));
    return path;
}

static bool store_path(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                       const struct fk_conf_value *value)
{
    char *path = make_path(conf, option, value, &value->items[0]);

    if (path == NULL)
        return false;
    *(char **)member = path;
    return true;
}

static bool present_string(const void *member)
{
    return *(char *const *)member != NULL;
}

void fk_conf_print_string(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '\t')
            fputs("\\t", out);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static void print_string(const void *member, const struct fk_conf_option *option, FILE *out)
{
    (void)option;
    fk_conf_print_string(*(char *const *)member, out);
}

static void expect_string(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    (void)option;
    fk_conf_put(ret, "a text: \"...\"");
}

static void expect_path(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    (void)option;
    fk_conf_put(ret, "the name of a file: \"...\"");
}

/* --- lists --- */

static bool store_list(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                       const struct fk_conf_value *value)
{
    char **items = fk_conf_alloc(conf, (value->count + 1) * sizeof *items);

    (void)option;
    for (size_t i = 0; items != NULL && i < value->count; i++) {
        items[i] = fk_conf_copy(conf, value->items[i].text, strlen(value->items[i].text));
        if (items[i] == NULL)
            return false;
    }
    if (items == NULL)
        return false;
    *(struct fk_conf_list *)member = (struct fk_conf_list){items, value->count};
    return true;
}

static bool store_ranges(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                         const struct fk_conf_value *value)
{
    struct fk_range range;
    bool ok = true;

    for (size_t i = 0; i < value->count; i++) {
        struct fk_conf_value one = {&value->items[i], 1, false, value->where, value->directory};

        if (fk_range_parse(value->items[i].text, &range) == FK_OK)
            continue;
        complain_type(conf, option, &one, "is not a range of addresses");
        ok = false;
    }
    return ok && store_list(conf, member, option, value);
}

static bool store_paths(struct fk_conf *conf, void *member, const struct fk_conf_option *option,
                        const struct fk_conf_value *value)
{
    char **items = fk_conf_alloc(conf, (value->count + 1) * sizeof *items);
    bool ok = items != NULL;

    for (size_t i = 0; items != NULL && i < value->count; i++) {
        items[i] = make_path(conf, option, value, &value->items[i]);
        ok = ok && items[i] != NULL;
    }
    if (ok)
        *(struct fk_conf_list *)member = (struct fk_conf_list){items, value->count};
    return ok;
}

static bool present_list(const void *member)
{
    return ((const struct fk_conf_list *)member)->count > 0;
}

static void print_list(const void *member, const struct fk_conf_option *option, FILE *out)
{
    const struct fk_conf_list *list = member;

    (void)option;
    fputc('{', out);
    for (size_t i = 0; i < list->count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        fk_conf_print_string(list->items[i], out);
    }
    fputc('}', out);
}

static void expect_list(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    (void)option;
    fk_conf_put(ret, "a list: {\"...\", \"...\"}");
}

static void expect_paths(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    (void)option;
    fk_conf_put(ret, "a list of files: {\"...\", \"...\"}");
}

static void expect_ranges(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    (void)option;
    fk_conf_put(ret, "10.0.0.0/8, 2001:db8::/32 or a single address, no bits set past the prefix");
}

/* --- the table --- */

#define NUMBER_ROW                                                             \
    {                                                                          \
        NULL, false, store_number, present_number, print_number, expect_number \
    }

static const struct type_row types[] = {
    [FK_CONF_BOOL] = {"switch", false, store_bool, present_bool, print_bool, expect_bool},
    [FK_CONF_INT] = NUMBER_ROW,
    [FK_CONF_SIZE] = NUMBER_ROW,
    [FK_CONF_DURATION] = NUMBER_ROW,
    [FK_CONF_RATE] = NUMBER_ROW,
    [FK_CONF_ENUM] = {"word", false, store_enum, present_enum, print_enum, expect_enum},
    [FK_CONF_FLAGS] = {"words", true, store_flags, present_flags, print_flags, expect_flags},
    [FK_CONF_STRING] = {"text", false, store_string, present_string, print_string, expect_string},
    [FK_CONF_PATH] = {"file", false, store_path, present_string, print_string, expect_path},
    [FK_CONF_LIST] = {"list", true, store_list, present_list, print_list, expect_list},
    [FK_CONF_PATHS] = {"files", true, store_paths, present_list, print_list, expect_paths},
    [FK_CONF_RANGES] = {"ranges", true, store_ranges, present_list, print_list, expect_ranges},
};

static const struct number_type *const numbers[] = {
    [FK_CONF_INT] = &number_int,
    [FK_CONF_SIZE] = &number_size,
    [FK_CONF_DURATION] = &number_duration,
    [FK_CONF_RATE] = &number_rate,
};

static const struct type_row *type_of(const struct fk_conf_option *option)
{
    assert((size_t)option->type < sizeof types / sizeof types[0]);
    return &types[option->type];
}

static const struct number_type *number_of(const struct fk_conf_option *option)
{
    return numbers[option->type];
}

bool fk_conf_value_store(struct fk_conf *conf, void *block, const struct fk_conf_option *option,
                         const struct fk_conf_value *value)
{
    const struct type_row *type = type_of(option);
    struct fk_conf_text expect;

    if (value->list && !type->list) {
        fk_conf_value_expect(option, &expect);
        fk_conf_complain(conf, &value->where, "%s: a list where one value belongs; write %s",
                         option->name, expect.text);
        return false;
    }
    if (type->list && !fk_conf_list_check(conf, option, value))
        return false;
    return type->store(conf, (char *)block + option->offset, option, value);
}

/* The values of a flat list or of one quoted string, by the language's own lexer. */
static size_t split_fallback(struct fk_conf *conf, const char *text, struct fk_conf_item *items)
{
    struct fk_lexer lexer;
    struct fk_token token;
    size_t count = 0;

    fk_lexer_init(&lexer, text, strlen(text));
    for (fk_lexer_scan(&lexer, &token); token.type != FK_TOKEN_END; fk_lexer_scan(&lexer, &token)) {
        if (token.type != FK_TOKEN_WORD && token.type != FK_TOKEN_STRING)
            continue;
        assert(count < FALLBACK_ITEMS && token.fault == FK_FAULT_NONE);
        items[count].line = 0;
        items[count].text = fk_token_value(conf, &token);
        if (items[count++].text == NULL)
            return 0;
    }
    return count;
}

bool fk_conf_value_default(struct fk_conf *conf, void *block, const struct fk_conf_option *option,
                           const char *directory)
{
    const char *text = option->fallback;
    struct fk_conf_item items[FALLBACK_ITEMS] = {{text, 0}};
    struct fk_conf_value value = {.items = items,
                                  .count = 1,
                                  .list = text[0] == '{',
                                  .where = {"(default)", 0},
                                  .directory = directory};

    if (text[0] == '{' || text[0] == '"')
        value.count = split_fallback(conf, text, items);
    if (conf->nomem)
        return false;
    return fk_conf_value_store(conf, block, option, &value);
}

bool fk_conf_value_present(const void *block, const struct fk_conf_option *option)
{
    return type_of(option)->present((const char *)block + option->offset);
}

void fk_conf_value_print(const void *block, const struct fk_conf_option *option, FILE *out)
{
    type_of(option)->print((const char *)block + option->offset, option, out);
}

void fk_conf_value_expect(const struct fk_conf_option *option, struct fk_conf_text *ret)
{
    ret->len = 0;
    ret->text[0] = '\0';
    type_of(option)->expect(option, ret);
}

const char *fk_conf_value_noun(const struct fk_conf_option *option)
{
    const char *noun = type_of(option)->noun;

    return noun != NULL ? noun : number_of(option)->noun;
}
