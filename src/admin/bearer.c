/* See bearer.h. */
#include "admin/bearer.h"

#include "base/secret.h"

#include <string.h>
#include <strings.h>

void fk_bearer_reset(struct fk_bearer *bearer)
{
    fk_wipe(bearer, sizeof *bearer);
}

void fk_bearer_name(struct fk_bearer *bearer, const char *at, size_t len)
{
    size_t room;

    if (bearer->in_value) {
        bearer->in_value = false;
        bearer->name_len = 0;
    }
    room = sizeof bearer->name - bearer->name_len;
    if (len > room)
        len = room;
    memcpy(bearer->name + bearer->name_len, at, len);
    bearer->name_len += len;
}

static bool is_authorization(const struct fk_bearer *bearer)
{
    static const char name[] = "authorization";

    return bearer->name_len == sizeof name - 1 &&
           strncasecmp(bearer->name, name, sizeof name - 1) == 0;
}

void fk_bearer_value(struct fk_bearer *bearer, const char *at, size_t len)
{
    if (!bearer->in_value && is_authorization(bearer))
        bearer->count++;
    bearer->in_value = true;
    if (!is_authorization(bearer) || bearer->value_len > FK_BEARER_VALUE_MAX)
        return;
    if (len > FK_BEARER_VALUE_MAX - bearer->value_len) {
        bearer->value_len = FK_BEARER_VALUE_MAX + 1;
        return;
    }
    memcpy(bearer->value + bearer->value_len, at, len);
    bearer->value_len += len;
}

bool fk_bearer_grants(const struct fk_bearer *bearer, const void *token, size_t len)
{
    static const char scheme[] = "Bearer";
    char wanted[FK_ADMIN_TOKEN_MAX] = {0}, brought[FK_ADMIN_TOKEN_MAX] = {0};
    size_t at = sizeof scheme - 1, rest;
    bool same;

    if (bearer->count != 1 || bearer->value_len > FK_BEARER_VALUE_MAX || bearer->value_len <= at ||
        strncasecmp(bearer->value, scheme, at) != 0 || bearer->value[at] != ' ')
        return false;
    while (at < bearer->value_len && bearer->value[at] == ' ')
        at++;
    rest = bearer->value_len - at;
    if (rest > sizeof brought || len > sizeof wanted)
        return false;
    memcpy(wanted, token, len);
    memcpy(brought, bearer->value + at, rest);
    same = fk_equal_ct(wanted, brought, sizeof wanted);
    fk_wipe(wanted, sizeof wanted);
    fk_wipe(brought, sizeof brought);
    return same && rest == len;
}
