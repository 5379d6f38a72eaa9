/*
 * The small grammar that all of HTTP is made of: characters, tokens, lists, names without regard to
 * case (RFC 9110 section 5.6). Text is a struct fk_reader: borrowed bytes, never NUL-terminated.
 */
#ifndef FK_HTTP_TEXT_H
#define FK_HTTP_TEXT_H

#include "base/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What a byte may be part of. */
#define FK_HTTP_CHAR_TOKEN 0x01U /* tchar (RFC 9110 section 5.6.2) */
#define FK_HTTP_CHAR_VALUE 0x02U /* field-vchar, SP, HT (section 5.5) */
#define FK_HTTP_CHAR_TARGET                                               \
    0x04U /* visible ASCII but '#': browsers leave more than RFC 3986 raw \
           */

/* Whether every byte is of this class (one of the bits above); true for no bytes. */
bool fk_http_all(struct fk_reader text, unsigned char_class);

/* One or more tchar. */
bool fk_http_is_token(struct fk_reader text);

/* A borrowed text of a C string; of a literal its length is known to the compiler. */
static inline struct fk_reader fk_http_text(const char *string)
{
    return (struct fk_reader){(const uint8_t *)string, strlen(string)};
}

/* Equal bytes; equal without regard to ASCII case. */
bool fk_http_equal(struct fk_reader text, const char *string);
bool fk_http_equal_case(struct fk_reader text, const char *string);

/* Two field names are the same; with `aliases`, '_' and '.' count as '-': CGI, WSGI and servlets
 * cannot tell them apart. */
bool fk_http_same_name(struct fk_reader a, struct fk_reader b, bool aliases);

/* For look-up: equal for names that are the same, aliases counted. */
uint32_t fk_http_name_hash(struct fk_reader name);

/* Without SP and HT at both ends (OWS). */
struct fk_reader fk_http_trim(struct fk_reader text);

/*
 * The next element of a comma-separated list of tokens or parameters without quoted strings,
 * trimmed; empty elements are passed over (RFC 9110 section 5.6.1.2). FK_ERR_NOT_FOUND at the end.
 */
int fk_http_list_next(struct fk_reader *list, struct fk_reader *ret);

/*
 * Digits only, at least one, at most 2^63 - 1 (Content-Length, RFC 9110 section 8.6).
 * FK_ERR_FORMAT, FK_ERR_RANGE.
 */
int fk_http_decimal(struct fk_reader text, uint64_t *ret);

#endif
