/* See bearer.h. */
#include "admin/bearer.h"

#include "base/secret.h"

#include <string.h>
#include <strings.h>

bool fk_bearer_grants(const struct fk_field *authorization, const void *token, size_t len)
{
    static const char scheme[] = "Bearer";
    char wanted[FK_ADMIN_TOKEN_MAX] = {0}, brought[FK_ADMIN_TOKEN_MAX] = {0};
    size_t at = sizeof scheme - 1, rest;
    bool same;

    if (!fk_field_is_one(authorization) || authorization->value_len <= at ||
        strncasecmp(authorization->value, scheme, at) != 0 || authorization->value[at] != ' ')
        return false;
    while (at < authorization->value_len && authorization->value[at] == ' ')
        at++;
    rest = authorization->value_len - at;
    if (rest > sizeof brought || len > sizeof wanted)
        return false;
    memcpy(wanted, token, len);
    memcpy(brought, authorization->value + at, rest);
    same = fk_equal_ct(wanted, brought, sizeof wanted);
    fk_wipe(wanted, sizeof wanted);
    fk_wipe(brought, sizeof brought);
    return same && rest == len;
}
