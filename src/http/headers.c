/* The fields of one message: see headers.h. */
#include "http/headers.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void fk_http_headers_init(struct fk_http_headers *headers, size_t max, size_t fields_max)
{
    assert(max <= INT32_MAX && fields_max <= INT32_MAX);
    *headers = (struct fk_http_headers){.max = max, .fields_max = fields_max};
}

void fk_http_headers_fini(struct fk_http_headers *headers)
{
    free(headers->text);
    free(headers->fields);
    fk_http_headers_init(headers, headers->max - headers->wider,
                         headers->fields_max - headers->wider_fields);
}

void fk_http_headers_reset(struct fk_http_headers *headers)
{
    headers->len = 0;
    headers->count = 0;
}

void fk_http_headers_widen(struct fk_http_headers *headers, size_t bytes, size_t fields)
{
    headers->max -= headers->wider;
    headers->fields_max -= headers->wider_fields;
    assert(bytes <= INT32_MAX - headers->max && fields <= INT32_MAX - headers->fields_max);
    headers->max += bytes;
    headers->fields_max += fields;
    headers->wider = bytes;
    headers->wider_fields = fields;
}

/* Twice the capacity until `need` fits, no more than `max`. */
static size_t grown(size_t cap, size_t need, size_t first, size_t max)
{
    size_t size = cap > 0 ? cap : first;

    while (size < need)
        size *= 2;
    return size < max ? size : max;
}

static int reserve_text(struct fk_http_headers *headers, size_t more)
{
    size_t size;
    uint8_t *text;

    if (more > headers->max - headers->len)
        return FK_ERR_LIMIT;
    if (more <= headers->cap - headers->len)
        return FK_OK;
    size = grown(headers->cap, headers->len + more, FK_HTTP_TEXT_MIN, headers->max);
    text = realloc(headers->text, size);
    if (text == NULL)
        return FK_ERR_NOMEM;
    headers->text = text;
    headers->cap = size;
    return FK_OK;
}

static int reserve_field(struct fk_http_headers *headers)
{
    size_t size;
    struct fk_http_field *fields;

    if (headers->count >= headers->fields_max)
        return FK_ERR_LIMIT;
    if (headers->count < headers->fields_cap)
        return FK_OK;
    size = grown(headers->fields_cap, headers->count + 1, FK_HTTP_FIELDS_MIN, headers->fields_max);
    fields = reallocarray(headers->fields, size, sizeof *fields);
    if (fields == NULL)
        return FK_ERR_NOMEM;
    headers->fields = fields;
    headers->fields_cap = size;
    return FK_OK;
}

/* Copy to the end, where there is room. */
static struct fk_http_part append(struct fk_http_headers *headers, const void *text, size_t len)
{
    struct fk_http_part part = {(uint32_t)headers->len, (uint32_t)len};

    if (len > 0)
        memcpy(headers->text + headers->len, text, len);
    headers->len += len;
    return part;
}

/* Where a borrowed text lies within our own block, which may move when it grows; SIZE_MAX: not. */
static size_t own_offset(const struct fk_http_headers *headers, struct fk_reader text)
{
    uintptr_t at = (uintptr_t)text.next, base = (uintptr_t)headers->text;

    return headers->text != NULL && at >= base && at < base + headers->len ? at - base : SIZE_MAX;
}

static struct fk_reader moved(const struct fk_http_headers *headers, struct fk_reader text,
                              size_t offset)
{
    if (offset != SIZE_MAX)
        text.next = headers->text + offset;
    return text;
}

int fk_http_headers_add(struct fk_http_headers *headers, struct fk_reader name,
                        struct fk_reader value)
{
    struct fk_http_field field;
    size_t own_name, own_value;
    int err;

    value = fk_http_trim(value);
    if (!fk_http_is_token(name) || !fk_http_all(value, FK_HTTP_CHAR_VALUE))
        return FK_ERR_FORMAT;
    if (name.left > headers->max || value.left > headers->max - name.left)
        return FK_ERR_LIMIT;
    own_name = own_offset(headers, name);
    own_value = own_offset(headers, value);
    if ((err = reserve_field(headers)) != FK_OK ||
        (err = reserve_text(headers, name.left + value.left)) != FK_OK)
        return err;
    name = moved(headers, name, own_name);
    value = moved(headers, value, own_value);
    field.hash = fk_http_name_hash(name);
    field.name = append(headers, name.next, name.left);
    field.value = append(headers, value.next, value.left);
    headers->fields[headers->count++] = field;
    return FK_OK;
}

int fk_http_headers_add_text(struct fk_http_headers *headers, const char *name, const char *value)
{
    return fk_http_headers_add(headers, fk_http_text(name), fk_http_text(value));
}

int fk_http_headers_copy(struct fk_http_headers *headers, const struct fk_http_headers *from)
{
    size_t len = 0;
    int err;

    fk_http_headers_reset(headers);
    for (size_t i = 0; i < from->count; i++)
        len += from->fields[i].name.len + (size_t)from->fields[i].value.len;
    if ((err = reserve_text(headers, len)) != FK_OK)
        return err;
    for (size_t i = 0; i < from->count; i++) {
        const struct fk_http_field *field = &from->fields[i];

        if ((err = reserve_field(headers)) != FK_OK)
            return err;
        headers->fields[headers->count++] = (struct fk_http_field){
            .hash = field->hash,
            .name = append(headers, from->text + field->name.at, field->name.len),
            .value = append(headers, from->text + field->value.at, field->value.len),
        };
    }
    return FK_OK;
}

int fk_http_headers_keep(struct fk_http_headers *headers, struct fk_reader text,
                         struct fk_http_part *ret)
{
    size_t own = own_offset(headers, text);
    int err = reserve_text(headers, text.left);

    if (err != FK_OK)
        return err;
    text = moved(headers, text, own);
    *ret = append(headers, text.next, text.left);
    return FK_OK;
}

struct fk_reader fk_http_headers_part(const struct fk_http_headers *headers,
                                      struct fk_http_part part)
{
    struct fk_reader text = {0};

    assert(part.at <= headers->len && part.len <= headers->len - part.at);
    if (part.len > 0)
        fk_reader_init(&text, headers->text + part.at, part.len);
    return text;
}

struct fk_reader fk_http_headers_name(const struct fk_http_headers *headers, size_t i)
{
    return fk_http_headers_part(headers, headers->fields[i].name);
}

struct fk_reader fk_http_headers_value(const struct fk_http_headers *headers, size_t i)
{
    return fk_http_headers_part(headers, headers->fields[i].value);
}

/* The first field from `i` on of this name; headers->count: none. */
static size_t seek(const struct fk_http_headers *headers, struct fk_reader name, bool aliases,
                   size_t i)
{
    uint32_t hash = fk_http_name_hash(name);

    for (; i < headers->count; i++)
        if (headers->fields[i].hash == hash &&
            fk_http_same_name(fk_http_headers_name(headers, i), name, aliases))
            break;
    return i;
}

size_t fk_http_headers_seek(const struct fk_http_headers *headers, struct fk_reader name,
                            size_t from)
{
    return seek(headers, name, false, from);
}

size_t fk_http_headers_count(const struct fk_http_headers *headers, const char *name)
{
    struct fk_reader wanted = fk_http_text(name);
    size_t n = 0;

    for (size_t i = seek(headers, wanted, false, 0); i < headers->count;
         i = seek(headers, wanted, false, i + 1))
        n++;
    return n;
}

size_t fk_http_headers_remove(struct fk_http_headers *headers, struct fk_reader name, bool aliases)
{
    size_t kept = seek(headers, name, aliases, 0), removed, next = kept;

    while (next < headers->count) {
        size_t found = seek(headers, name, aliases, next + 1);

        memmove(headers->fields + kept, headers->fields + next + 1,
                (found - next - 1) * sizeof *headers->fields);
        kept += found - next - 1;
        next = found;
    }
    removed = headers->count - kept;
    headers->count = kept;
    return removed;
}

void fk_http_headers_drop(struct fk_http_headers *headers, size_t i)
{
    assert(i < headers->count);
    headers->count--;
    memmove(headers->fields + i, headers->fields + i + 1,
            (headers->count - i) * sizeof *headers->fields);
}

bool fk_http_headers_lists(const struct fk_http_headers *headers, const char *name,
                           const char *element)
{
    struct fk_reader wanted = fk_http_text(name);

    for (size_t i = seek(headers, wanted, false, 0); i < headers->count;
         i = seek(headers, wanted, false, i + 1)) {
        struct fk_reader list = fk_http_headers_value(headers, i), found;

        while (fk_http_list_next(&list, &found) == FK_OK)
            if (fk_http_equal_case(found, element))
                return true;
    }
    return false;
}

int fk_http_headers_join(struct fk_http_headers *headers, const char *name, const char *separator)
{
    struct fk_reader wanted = fk_http_text(name);
    size_t first = seek(headers, wanted, false, 0), gap = strlen(separator), len = 0, kept;
    struct fk_http_part joined;
    int err;

    if (fk_http_headers_count(headers, name) < 2)
        return FK_OK;
    assert(fk_http_all(fk_http_text(separator), FK_HTTP_CHAR_VALUE));
    for (size_t i = first; i < headers->count; i = seek(headers, wanted, false, i + 1))
        len += headers->fields[i].value.len + (i > first ? gap : 0);
    if ((err = reserve_text(headers, len)) != FK_OK)
        return err;
    joined = (struct fk_http_part){(uint32_t)headers->len, (uint32_t)len};
    for (size_t i = first; i < headers->count; i = seek(headers, wanted, false, i + 1)) {
        if (i > first)
            append(headers, separator, gap);
        append(headers, headers->text + headers->fields[i].value.at, headers->fields[i].value.len);
    }
    headers->fields[first].value = joined;
    kept = first + 1;
    for (size_t i = kept; i < headers->count; i++)
        if (!fk_http_same_name(fk_http_headers_name(headers, i), wanted, false))
            headers->fields[kept++] = headers->fields[i];
    headers->count = kept;
    return FK_OK;
}

int fk_http_headers_extend(struct fk_http_headers *headers, const char *name, const char *separator,
                           const struct fk_reader *parts, size_t n_parts)
{
    size_t i = fk_http_headers_index(headers, name, 0), len = 0;
    struct fk_http_part old = {0}, whole;
    int err;

    for (size_t n = 0; n < n_parts; len += parts[n++].left)
        if (!fk_http_all(parts[n], FK_HTTP_CHAR_VALUE))
            return FK_ERR_FORMAT;
    if (i == headers->count && (err = fk_http_headers_add_text(headers, name, "")) != FK_OK)
        return err;
    old = headers->fields[i].value;
    if (old.len > 0)
        len += old.len + strlen(separator);
    if ((err = reserve_text(headers, len)) != FK_OK)
        return err;
    whole = (struct fk_http_part){(uint32_t)headers->len, (uint32_t)len};
    if (old.len > 0) {
        append(headers, headers->text + old.at, old.len);
        append(headers, separator, strlen(separator));
    }
    for (size_t n = 0; n < n_parts; n++)
        append(headers, parts[n].next, parts[n].left);
    headers->fields[i].value = whole;
    return FK_OK;
}

enum fk_http_fault fk_http_field_line(struct fk_reader line, struct fk_reader *ret_name,
                                      struct fk_reader *ret_value)
{
    struct fk_reader name, value = line;

    if (line.left > 0 && (line.next[0] == ' ' || line.next[0] == '\t'))
        return FK_HTTP_FAULT_FOLD; /* RFC 9112 section 5.2 */
    if (fk_reader_until(&value, ':', &name) != FK_OK)
        return FK_HTTP_FAULT_NO_COLON;
    if (name.left == 0)
        return FK_HTTP_FAULT_NAME_EMPTY;
    if (!fk_http_is_token(name)) /* also a space before the colon: RFC 9112 section 5.1 */
        return FK_HTTP_FAULT_NAME_BAD;
    value = fk_http_trim(value);
    if (!fk_http_all(value, FK_HTTP_CHAR_VALUE))
        return memchr(value.next, '\r', value.left) != NULL ? FK_HTTP_FAULT_BARE_CR
                                                            : FK_HTTP_FAULT_VALUE_BAD;
    *ret_name = name;
    *ret_value = value;
    return FK_HTTP_FAULT_NONE;
}
