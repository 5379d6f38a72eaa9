/* One cookie of the edge's: see cookie.h. */
#include "http/cookie.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/writer.h"
#include "http/text.h"

#include <assert.h>
#include <string.h>

/* --- names --- */

/* What of a name counts: letters, digits and marks, in lower case, with one mark for those that
 * some language puts in place of others. */
static size_t squeeze(struct fk_reader text, bool decode, char *ret, size_t size)
{
    size_t len = 0;
    uint8_t c, decoded;

    while (len < size && fk_reader_u8(&text, &c) == FK_OK && c != '[') { /* PHP: an array */
        if (decode && c == '%' && text.left >= 2 &&
            fk_text_unhex((const char *)text.next, 2, &decoded, 1) == FK_OK) {
            (void)fk_reader_skip(&text, 2);
            c = decoded;
        }
        if (c == '.' || c == '_')
            c = '-';
        if (fk_http_all((struct fk_reader){&c, 1}, FK_HTTP_CHAR_TOKEN))
            ret[len++] = (char)c;
    }
    fk_text_lower(ret, len, ret);
    return len;
}

bool fk_http_cookie_named(struct fk_reader pair_name, const char *name)
{
    char wanted[FK_HTTP_COOKIE_NAME_MAX + 1], have[FK_HTTP_COOKIE_NAME_MAX + 1];
    size_t wanted_len = squeeze(fk_http_text(name), false, wanted, sizeof wanted);

    for (int decode = 0; decode < 2; decode++) {
        size_t len = squeeze(pair_name, decode, have, sizeof have);

        if (len == wanted_len && memcmp(have, wanted, len) == 0) /* public */
            return true;
    }
    return false;
}

/* --- removing --- */

static bool separates(uint8_t c)
{
    return c == ',' || c == ' ' || c == '\t';
}

static struct fk_reader between(const uint8_t *from, const uint8_t *to)
{
    return (struct fk_reader){from, (size_t)(to - from)};
}

/* Pass over the bytes that are, or are not, one of ", \t"; where they end. */
static const uint8_t *skip(struct fk_reader *text, bool separators, bool stop_at_equals)
{
    while (text->left > 0 && separates(text->next[0]) == separators &&
           !(stop_at_equals && text->next[0] == '='))
        (void)fk_reader_skip(text, 1);
    return text->next;
}

/*
 * One part of a crumb, where a part is what ends at a comma or a space: *ret is its name, with '='
 * behind it whatever spaces are in between, or empty when it is none.
 */
static struct fk_reader next_part(struct fk_reader *crumb, struct fk_reader *ret_name)
{
    const uint8_t *start = crumb->next, *end = skip(crumb, false, true);
    struct fk_reader ahead = *crumb;

    *ret_name = between(start, start);
    (void)skip(&ahead, true, false);
    if (ahead.left > 0 && ahead.next[0] == '=') {
        *ret_name = between(start, end);
        (void)fk_reader_skip(&ahead, 1);
        (void)skip(&ahead, true, false);
        *crumb = ahead;
        end = skip(crumb, false, false);
    }
    return between(start, end);
}

static bool is_ours(struct fk_reader crumb, const char *name)
{
    struct fk_reader before;

    return fk_reader_until(&crumb, '=', &before) == FK_OK && fk_http_cookie_named(before, name);
}

/* A crumb without the parts that may be read as the name; what they were parted by stays. */
static void write_crumb(struct fk_reader crumb, const char *name, struct fk_writer *out)
{
    while (crumb.left > 0) {
        const uint8_t *start = crumb.next, *end = skip(&crumb, true, false);
        struct fk_reader part, part_name;

        fk_writer_bytes(out, start, (size_t)(end - start));
        part = next_part(&crumb, &part_name);
        if (part_name.left == 0 || !fk_http_cookie_named(part_name, name))
            fk_writer_bytes(out, part.next, part.left);
    }
}

/* Any part of it, or the whole of it. */
static bool crumb_has(struct fk_reader crumb, const char *name)
{
    struct fk_reader part_name;

    if (is_ours(crumb, name))
        return true;
    while (crumb.left > 0) {
        (void)skip(&crumb, true, false);
        (void)next_part(&crumb, &part_name);
        if (part_name.left > 0 && fk_http_cookie_named(part_name, name))
            return true;
    }
    return false;
}

static struct fk_reader next_crumb(struct fk_reader *value)
{
    struct fk_reader crumb;

    if (fk_reader_until(value, ';', &crumb) != FK_OK) {
        crumb = *value;
        *value = (struct fk_reader){value->next + value->left, 0};
    }
    return crumb;
}

static bool value_has(struct fk_reader value, const char *name)
{
    while (value.left > 0)
        if (crumb_has(next_crumb(&value), name))
            return true;
    return false;
}

/*
 * `value` without the name, never longer than it. What is left of a crumb may be the name in its
 * turn, "C CERT=x ERT=y" for who passes over spaces: then none of it stays.
 */
static void write_value(struct fk_reader value, const char *name, struct fk_writer *out)
{
    while (value.left > 0) {
        struct fk_reader crumb = next_crumb(&value);
        size_t before = out->len, begin;

        if (is_ours(crumb, name))
            continue;
        if (out->len > 0)
            fk_writer_u8(out, ';');
        begin = out->len;
        write_crumb(crumb, name, out);
        if (crumb_has((struct fk_reader){out->base + begin, out->len - begin}, name))
            out->len = before;
    }
}

static int clean(struct fk_http_headers *headers, size_t i, const char *name)
{
    struct fk_http_part part;
    struct fk_reader value;
    struct fk_writer out;
    size_t len;
    int err;

    if ((err = fk_http_headers_keep(headers, fk_http_headers_value(headers, i), &part)) != FK_OK)
        return err;
    value = fk_http_headers_value(headers, i);
    fk_writer_init(&out, headers->text + part.at, part.len);
    write_value(value, name, &out);
    if ((err = fk_writer_end(&out, &len)) != FK_OK)
        return err;
    value = fk_http_trim((struct fk_reader){headers->text + part.at, len});
    headers->fields[i].value = (struct fk_http_part){
        part.at + (uint32_t)(value.next - (headers->text + part.at)), (uint32_t)value.left};
    return FK_OK;
}

int fk_http_cookie_remove(struct fk_http_headers *headers, const char *name)
{
    size_t i = fk_http_headers_index(headers, "Cookie", 0);
    int err;

    while (i < headers->count) {
        if (value_has(fk_http_headers_value(headers, i), name) &&
            (err = clean(headers, i, name)) != FK_OK)
            return err;
        if (headers->fields[i].value.len == 0)
            fk_http_headers_drop(headers, i);
        else
            i++;
        i = fk_http_headers_index(headers, "Cookie", i);
    }
    return FK_OK;
}

/* --- adding --- */

int fk_http_cookie_add(struct fk_http_headers *headers, const char *name, struct fk_reader value)
{
    struct fk_reader parts[] = {fk_http_text(name), fk_http_text("="), value};
    size_t n = sizeof parts / sizeof parts[0];

    return fk_http_headers_extend(headers, "Cookie", "; ", parts, n);
}
