/*
 * The fields of one message, in the order in which they came, for HTTP/1.1 and HTTP/2 alike.
 *
 * Owns all its text in one block that grows up to a bound, and the fields as offsets into it: no
 * allocation a field, one copy, and what is removed costs nothing until the next message. Holds
 * only what may be written to any peer: names are tokens, values have no control characters, as
 * every way in checks. So nothing that was added can end a line early or begin another.
 */
#ifndef FK_HTTP_HEADERS_H
#define FK_HTTP_HEADERS_H

#include "base/err.h"
#include "base/reader.h"
#include "http/fault.h"
#include "http/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of text that a fk_http_headers holds; zero: none. */
struct fk_http_part {
    uint32_t at;
    uint32_t len;
};

struct fk_http_field {
    uint32_t hash; /* of the name: fk_http_name_hash() */
    struct fk_http_part name;
    struct fk_http_part value;
};

/* Zero is an empty one that holds nothing: init first. */
struct fk_http_headers {
    uint8_t *text;
    struct fk_http_field *fields;
    size_t len, cap, max; /* bytes of text */
    size_t count, fields_cap, fields_max;
    size_t wider, wider_fields; /* what of both maxima fk_http_headers_widen() has added */
};

/* An empty one of at most `max` bytes of text (up to 2^31) and `fields_max` fields. Allocates
 * nothing yet. */
void fk_http_headers_init(struct fk_http_headers *headers, size_t max, size_t fields_max);

/* Free; empty and usable again. */
void fk_http_headers_fini(struct fk_http_headers *headers);

/* Forget all and keep the memory, for the next message. */
void fk_http_headers_reset(struct fk_http_headers *headers);

/* So many bytes and fields more than at init are allowed: what the edge itself adds to what a peer
 * sent. The last call counts. */
void fk_http_headers_widen(struct fk_http_headers *headers, size_t bytes, size_t fields);

/*
 * Append a field; both texts are copied and may be of these headers themselves. FK_ERR_FORMAT: not
 * a field name (RFC 9110 section 5.1) or value (section 5.5; spaces at its ends are cut).
 * FK_ERR_LIMIT; FK_ERR_NOMEM.
 */
int fk_http_headers_add(struct fk_http_headers *headers, struct fk_reader name,
                        struct fk_reader value);

/* As above, of C strings. */
int fk_http_headers_add_text(struct fk_http_headers *headers, const char *name, const char *value);

/* Hold a text that is no field (a method, a path). Any bytes. FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_http_headers_keep(struct fk_http_headers *headers, struct fk_reader text,
                         struct fk_http_part *ret);

/* Make `headers` hold the fields of others, which are not these, and nothing else. FK_ERR_LIMIT,
 * FK_ERR_NOMEM: of no more use but for reset. */
int fk_http_headers_copy(struct fk_http_headers *headers, const struct fk_http_headers *from);

/* Borrowed until the next call that changes the headers. */
struct fk_reader fk_http_headers_part(const struct fk_http_headers *headers,
                                      struct fk_http_part part);

/* Field `i` of headers->count. Borrowed as above. */
struct fk_reader fk_http_headers_name(const struct fk_http_headers *headers, size_t i);
struct fk_reader fk_http_headers_value(const struct fk_http_headers *headers, size_t i);

/* The first field from `from` on that has this name, without regard to case; headers->count: none.
 */
size_t fk_http_headers_seek(const struct fk_http_headers *headers, struct fk_reader name,
                            size_t from);

static inline size_t fk_http_headers_index(const struct fk_http_headers *headers, const char *name,
                                           size_t from)
{
    return fk_http_headers_seek(headers, fk_http_text(name), from);
}

/* How many fields have this name. */
size_t fk_http_headers_count(const struct fk_http_headers *headers, const char *name);

/* The value of the first of this name. FK_ERR_NOT_FOUND. Borrowed as above. */
static inline int fk_http_headers_find(const struct fk_http_headers *headers, const char *name,
                                       struct fk_reader *ret)
{
    size_t i = fk_http_headers_index(headers, name, 0);

    if (i == headers->count)
        return FK_ERR_NOT_FOUND;
    *ret = fk_http_headers_value(headers, i);
    return FK_OK;
}

/* Remove every field of this name, with `aliases` also those that '_' and '.' for '-' make the
 * same; how many there were. The name may be text of the headers. */
size_t fk_http_headers_remove(struct fk_http_headers *headers, struct fk_reader name, bool aliases);

/* Remove field `i`. */
void fk_http_headers_drop(struct fk_http_headers *headers, size_t i);

/* Whether a comma-separated value of any field of this name has an element, without regard to case
 * (`Connection: close`). */
bool fk_http_headers_lists(const struct fk_http_headers *headers, const char *name,
                           const char *element);

/*
 * Make all fields of a name one, at the place of the first, their values joined ("; " for the
 * crumbs of a Cookie, RFC 9113 section 8.2.3; ", " for lists). FK_ERR_LIMIT, FK_ERR_NOMEM: nothing
 * changed.
 */
int fk_http_headers_join(struct fk_http_headers *headers, const char *name, const char *separator);

/*
 * Lengthen the first field of this name by `parts`, in a row, behind `separator`; where there is
 * none, or it is empty, they are its value. Parts must not be text of these headers. FK_ERR_FORMAT
 * (not a field value), FK_ERR_LIMIT, FK_ERR_NOMEM: nothing changed.
 */
int fk_http_headers_extend(struct fk_http_headers *headers, const char *name, const char *separator,
                           const struct fk_reader *parts, size_t n_parts);

/*
 * The name and value of one field line, without CRLF, as RFC 9112 section 5 has it and no laxer:
 * borrowed. FK_HTTP_FAULT_NONE, or what is wrong with it.
 */
enum fk_http_fault fk_http_field_line(struct fk_reader line, struct fk_reader *ret_name,
                                      struct fk_reader *ret_value);

#endif
