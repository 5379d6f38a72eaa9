/* HTTP's small grammar: see text.h. */
#include "http/text.h"

#include "base/err.h"

#include <string.h>

#define T  FK_HTTP_CHAR_TOKEN | FK_HTTP_CHAR_VALUE | FK_HTTP_CHAR_TARGET
#define V  FK_HTTP_CHAR_VALUE | FK_HTTP_CHAR_TARGET
#define VV FK_HTTP_CHAR_VALUE

static const uint8_t classes[256] = {
    ['\t'] = VV,
    [' '] = VV,
    ['!'] = T,
    ['"'] = V,
    ['#'] = FK_HTTP_CHAR_TOKEN | FK_HTTP_CHAR_VALUE,
    ['$' ... '\''] = T,
    ['('] = V,
    [')'] = V,
    ['*'] = T,
    ['+'] = T,
    [','] = V,
    ['-'] = T,
    ['.'] = T,
    ['/'] = V,
    ['0' ... '9'] = T,
    [':' ... '@'] = V,
    ['A' ... 'Z'] = T,
    ['['] = V,
    ['\\'] = V,
    [']'] = V,
    ['^' ... 'z'] = T,
    ['{'] = V,
    ['|'] = T,
    ['}'] = V,
    ['~'] = T,
    [0x80 ... 0xff] = VV,
};

#undef T
#undef V
#undef VV

/* Lower case, and what stands for '-' as '-' where that is asked for. */
static uint8_t fold(uint8_t c, bool aliases)
{
    if (c >= 'A' && c <= 'Z')
        return (uint8_t)(c | 0x20U);
    return aliases && (c == '_' || c == '.') ? '-' : c;
}

bool fk_http_all(struct fk_reader text, unsigned char_class)
{
    unsigned all = char_class;

    for (size_t i = 0; i < text.left; i++)
        all &= classes[text.next[i]];
    return all == char_class;
}

bool fk_http_is_token(struct fk_reader text)
{
    return text.left > 0 && fk_http_all(text, FK_HTTP_CHAR_TOKEN);
}

bool fk_http_equal(struct fk_reader text, const char *string)
{
    size_t len = strlen(string);

    return text.left == len && (len == 0 || memcmp(text.next, string, len) == 0);
}

bool fk_http_equal_case(struct fk_reader text, const char *string)
{
    return fk_http_same_name(text, fk_http_text(string), false);
}

bool fk_http_same_name(struct fk_reader a, struct fk_reader b, bool aliases)
{
    if (a.left != b.left)
        return false;
    for (size_t i = 0; i < a.left; i++)
        if (fold(a.next[i], aliases) != fold(b.next[i], aliases))
            return false;
    return true;
}

/* Its length and three of its letters: names are looked for some thirty times in a message, mostly
 * in vain, and what is alike here is compared in full. */
uint32_t fk_http_name_hash(struct fk_reader name)
{
    if (name.left == 0)
        return 0;
    return (uint32_t)name.left << 24 | (uint32_t)fold(name.next[0], true) << 16 |
           (uint32_t)fold(name.next[name.left / 2], true) << 8 |
           fold(name.next[name.left - 1], true);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct fk_reader fk_http_trim(struct fk_reader text)
{
    while (text.left > 0 && is_space(text.next[0])) {
        text.next++;
        text.left--;
    }
    while (text.left > 0 && is_space(text.next[text.left - 1]))
        text.left--;
    return text;
}

int fk_http_list_next(struct fk_reader *list, struct fk_reader *ret)
{
    while (list->left > 0) {
        struct fk_reader element;

        if (fk_reader_until(list, ',', &element) != FK_OK) {
            element = *list;
            list->left = 0;
        }
        element = fk_http_trim(element);
        if (element.left > 0) {
            *ret = element;
            return FK_OK;
        }
    }
    return FK_ERR_NOT_FOUND;
}

int fk_http_decimal(struct fk_reader text, uint64_t *ret)
{
    uint64_t value = 0;
    uint8_t c;

    if (text.left == 0)
        return FK_ERR_FORMAT;
    while (fk_reader_u8(&text, &c) == FK_OK) {
        if (c < '0' || c > '9')
            return FK_ERR_FORMAT;
        if (value > ((uint64_t)INT64_MAX - (c - '0')) / 10)
            return FK_ERR_RANGE;
        value = value * 10 + (c - '0');
    }
    *ret = value;
    return FK_OK;
}
