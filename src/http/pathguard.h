/*
 * Whether a request's path lies within one that is guarded, in whatever way an origin may read it:
 * decoded once or more, "//" as "/", "\" as "/", ";x" dropped, "." and ".." followed or not,
 * letter case heeded or not. Errs on the guarded side only.
 */
#ifndef FK_HTTP_PATHGUARD_H
#define FK_HTTP_PATHGUARD_H

#include "base/reader.h"

#include <stdbool.h>

/* `path`: with query. `guarded`: "/", or "/a/b" as fk_http_guarded_ok() has it. */
bool fk_http_path_guarded(struct fk_reader path, const char *guarded);

/* A path that can be guarded: "/a/b" of letters, digits and "-_~!$&'()+,=:@", no empty segment. */
bool fk_http_guarded_ok(const char *guarded);

#endif
