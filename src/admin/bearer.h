/*
 * The Authorization field of a request, put together from the pieces that the HTTP parser gives,
 * and compared with a token: RFC 6750, section 2.1. Nothing else of a request comes here.
 */
#ifndef FK_ADMIN_BEARER_H
#define FK_ADMIN_BEARER_H

#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>

/* "Bearer", blanks, and the token. */
#define FK_BEARER_VALUE_MAX (FK_ADMIN_TOKEN_MAX + 16)

struct fk_bearer {
    char name[16]; /* of the field that is being read; cut off, which no name of ours is */
    size_t name_len;
    bool in_value;
    unsigned count; /* Authorization fields so far */
    char value[FK_BEARER_VALUE_MAX];
    size_t value_len; /* above FK_BEARER_VALUE_MAX: too long */
};

/* Before the first field of a request, and after the last, since it holds what the peer brought. */
void fk_bearer_reset(struct fk_bearer *bearer);

/* A piece of a field's name or value. */
void fk_bearer_name(struct fk_bearer *bearer, const char *at, size_t len);
void fk_bearer_value(struct fk_bearer *bearer, const char *at, size_t len);

/*
 * Whether the request brought exactly one Authorization field, of the scheme Bearer, with these
 * `len` bytes (FK_ADMIN_TOKEN_MAX at most). The time does not depend on where they differ.
 */
bool fk_bearer_grants(const struct fk_bearer *bearer, const void *token, size_t len);

#endif
