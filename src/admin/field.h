/*
 * One field of a request, put together from the pieces that the HTTP parser gives; all others are
 * passed over. Bounded, as what a peer brings.
 */
#ifndef FK_ADMIN_FIELD_H
#define FK_ADMIN_FIELD_H

#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>

/* "Bearer", blanks, and the token: the longest that anybody looks for. */
#define FK_FIELD_VALUE_MAX (FK_ADMIN_TOKEN_MAX + 16)

struct fk_field {
    const char *wanted; /* its name; static */
    char name[16];      /* of the field that is being read; cut off, which no name of ours is */
    size_t name_len;
    bool in_value;
    unsigned count; /* fields of that name so far */
    char value[FK_FIELD_VALUE_MAX];
    size_t value_len; /* above FK_FIELD_VALUE_MAX: too long */
};

/* Before the first field of a request, and after the last, since it holds what the peer brought. */
void fk_field_reset(struct fk_field *field, const char *wanted);

/* A piece of a field's name or value. */
void fk_field_name(struct fk_field *field, const char *at, size_t len);
void fk_field_value(struct fk_field *field, const char *at, size_t len);

/* There is exactly one, and its value is whole. */
bool fk_field_is_one(const struct fk_field *field);

#endif
