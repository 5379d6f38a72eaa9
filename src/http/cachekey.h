/*
 * What an answer is stored under: its site and target, and of the variants of a target what Vary
 * names of the request (RFC 9111 sections 2 and 4.1). Both are SHA-256: of one size, and nobody can
 * choose texts that meet.
 */
#ifndef FK_HTTP_CACHEKEY_H
#define FK_HTTP_CACHEKEY_H

#include "http/message.h"

#include <stdbool.h>
#include <stdint.h>

#define FK_CACHEKEY_SIZE 32

struct fk_cachekey {
    uint8_t digest[FK_CACHEKEY_SIZE];
};

bool fk_cachekey_same(const struct fk_cachekey *a, const struct fk_cachekey *b);

/* Of GET for a target at a site: the authority without regard to case, and without the port that
 * "https" has by itself. FK_ERR_CRYPTO. */
int fk_cachekey_of(const char *site, struct fk_reader authority, struct fk_reader path,
                   struct fk_cachekey *ret);

/* Of a URL, as operators and Location name targets: "https://host[:port]/path?query"; the scheme
 * may be "http"; a fragment is passed over. FK_ERR_FORMAT; FK_ERR_CRYPTO. */
int fk_cachekey_of_url(const char *site, struct fk_reader url, struct fk_cachekey *ret);

/*
 * What a request says in the fields that the Vary of an answer names, as one digest. The same for
 * two requests: the answer to one is an answer to the other. Values of one name are joined, spaces
 * around commas do not count; one that is not there is not one that is empty. FK_ERR_CRYPTO.
 */
int fk_cachekey_variant(const struct fk_http_headers *answer, const struct fk_http_headers *request,
                        struct fk_cachekey *ret);

/*
 * The target that a field of an answer (Location, Content-Location) names, if it is of the same
 * origin as the request's authority (section 4.4). FK_ERR_NOT_FOUND: none is named, or another's.
 */
int fk_cachekey_named(const char *site, struct fk_reader authority,
                      const struct fk_http_headers *answer, const char *field,
                      struct fk_cachekey *ret);

#endif
