/*
 * A cookie that only the edge may set in requests: removing what a client sends under its name, and
 * adding it. Applications do not agree about how Cookie is read: some part pairs at commas or
 * spaces, too, decode names, or do not heed letter case. Removed is what any of them might take
 * for the name; the rest stays byte by byte.
 */
#ifndef FK_HTTP_COOKIE_H
#define FK_HTTP_COOKIE_H

#include "base/reader.h"
#include "http/headers.h"

#include <stdbool.h>

/* Whether a pair's name (the text before '=') may be read as `name`. */
bool fk_http_cookie_named(struct fk_reader pair_name, const char *name);

/*
 * Remove every cookie of this name from all Cookie fields; a field of which nothing is left goes.
 * FK_ERR_LIMIT, FK_ERR_NOMEM: the headers are of no more use.
 */
int fk_http_cookie_remove(struct fk_http_headers *headers, const char *name);

/*
 * Add "name=value" at the end of the Cookie field, or make one; there is one at most. FK_ERR_FORMAT
 * for what cannot stand in a field; FK_ERR_LIMIT, FK_ERR_NOMEM.
 */
int fk_http_cookie_add(struct fk_http_headers *headers, const char *name, struct fk_reader value);

#endif
