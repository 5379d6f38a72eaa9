/* Cache-Control: see cachecontrol.h. */
#include "http/cachecontrol.h"

#include "base/err.h"
#include "http/text.h"

#include <string.h>

enum argument { NOTHING, SECONDS, PERHAPS, FIELDS };

static const struct {
    const char *name;
    enum argument argument;
} directives[] = {
#define ROW(id, name, argument) {name, argument},
    FK_CACHECONTROL_LIST(ROW)
#undef ROW
};

int fk_cachecontrol_seconds(struct fk_reader text, uint32_t *ret)
{
    uint64_t value = FK_CACHECONTROL_MOST;
    int err = fk_http_decimal(text, &value);

    if (err == FK_ERR_FORMAT)
        return err;
    *ret = value < FK_CACHECONTROL_MOST ? (uint32_t)value : FK_CACHECONTROL_MOST;
    return FK_OK;
}

/* A quoted string from behind its first quote: its inside, escapes not undone. */
static int take_quoted(struct fk_reader *text, struct fk_reader *ret)
{
    struct fk_reader inside = *text;
    size_t len = 0;
    uint8_t c;

    while (fk_reader_u8(text, &c) == FK_OK) {
        if (c == '"') {
            inside.left = len;
            *ret = inside;
            return FK_OK;
        }
        len++;
        if (c == '\\' && fk_reader_u8(text, &c) == FK_OK)
            len++;
    }
    return FK_ERR_TRUNCATED;
}

/* The bytes up to the first that is none of a token, perhaps none at all. */
static struct fk_reader take_token(struct fk_reader *text)
{
    struct fk_reader token = *text, one;
    struct fk_reader rest = *text;

    while (fk_reader_take(&rest, 1, &one) == FK_OK && fk_http_is_token(one))
        *text = rest;
    token.left -= text->left;
    return token;
}

/* Up to and with the next comma. */
static void skip_element(struct fk_reader *text)
{
    struct fk_reader skipped;

    if (fk_reader_until(text, ',', &skipped) != FK_OK)
        text->left = 0;
}

/* Past commas and spaces; false: there is nothing behind them. */
static bool find_element(struct fk_reader *text)
{
    for (*text = fk_http_trim(*text); text->left > 0 && text->next[0] == ',';
         *text = fk_http_trim(*text))
        skip_element(text);
    return text->left > 0;
}

struct element {
    struct fk_reader name;
    struct fk_reader argument;
    bool has_argument;
};

/* FK_ERR_NOT_FOUND at the end; FK_ERR_FORMAT: no directive, passed over. */
static int next_element(struct fk_reader *text, struct element *ret)
{
    struct element element = {0};
    int err = FK_OK;

    if (!find_element(text))
        return FK_ERR_NOT_FOUND;
    element.name = take_token(text);
    element.has_argument = text->left > 0 && text->next[0] == '=';
    if (element.has_argument) {
        (void)fk_reader_skip(text, 1);
        if (text->left > 0 && text->next[0] == '"') {
            (void)fk_reader_skip(text, 1);
            err = take_quoted(text, &element.argument);
        } else {
            element.argument = take_token(text);
        }
    }
    *text = fk_http_trim(*text);
    if (err != FK_OK || element.name.left == 0 || (text->left > 0 && text->next[0] != ',')) {
        skip_element(text);
        err = FK_ERR_FORMAT;
    }
    *ret = element;
    return err;
}

static void say_seconds(struct fk_cachecontrol *control, size_t i, const struct element *element)
{
    uint32_t seconds = 0;

    if (directives[i].argument == PERHAPS && !element->has_argument)
        seconds = FK_CACHECONTROL_FOREVER;
    else
        (void)fk_cachecontrol_seconds(element->argument, &seconds);
    /* Two values: RFC 9111 section 4.2.1 has such a response taken for stale. */
    if ((control->said >> i & 1U) != 0 && control->seconds[i] != seconds)
        seconds = 0;
    control->seconds[i] = seconds;
}

static void say(struct fk_cachecontrol *control, const struct element *element)
{
    for (size_t i = 0; i < FK_CC_COUNT; i++) {
        if (!fk_http_equal_case(element->name, directives[i].name))
            continue;
        if (directives[i].argument == SECONDS || directives[i].argument == PERHAPS)
            say_seconds(control, i, element);
        else if (directives[i].argument == NOTHING && element->has_argument)
            control->malformed = true;
        control->said |= 1U << i;
    }
}

void fk_cachecontrol_add(struct fk_cachecontrol *control, struct fk_reader value)
{
    struct element element;
    int err;

    while ((err = next_element(&value, &element)) != FK_ERR_NOT_FOUND) {
        if (err != FK_OK)
            control->malformed = true;
        say(control, &element); /* "no-store x" forbids all the same */
    }
}

void fk_cachecontrol_read(const struct fk_http_headers *headers, struct fk_cachecontrol *ret)
{
    struct fk_cachecontrol control = {0};
    size_t i = fk_http_headers_index(headers, "Cache-Control", 0);

    for (; i < headers->count; i = fk_http_headers_index(headers, "Cache-Control", i + 1))
        fk_cachecontrol_add(&control, fk_http_headers_value(headers, i));
    *ret = control;
}
