/* Whether a request has brought the token: RFC 6750, section 2.1. */
#ifndef FK_ADMIN_BEARER_H
#define FK_ADMIN_BEARER_H

#include "admin/field.h"

/*
 * Whether the request brought exactly one Authorization field, of the scheme Bearer, with these
 * `len` bytes (FK_ADMIN_TOKEN_MAX at most). The time does not depend on where they differ.
 */
bool fk_bearer_grants(const struct fk_field *authorization, const void *token, size_t len);

#endif
