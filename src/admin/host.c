/* See host.h. */
#include "admin/host.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* Longest IPv6 address, and its brackets. */
#define HOST_MAX 64

/* Without brackets and port; false: it has none that could be good. */
static bool take_host(const struct fk_field *field, char ret[HOST_MAX])
{
    const char *from = field->value, *end = from + field->value_len, *stop;

    if (field->value_len > 0 && *from == '[') {
        from++;
        stop = memchr(from, ']', (size_t)(end - from));
        if (stop == NULL)
            return false;
        end = stop;
    } else if ((stop = memchr(from, ':', (size_t)(end - from))) != NULL) {
        end = stop;
    }
    if (end - from >= HOST_MAX)
        return false;
    memcpy(ret, from, (size_t)(end - from));
    ret[end - from] = '\0';
    return true;
}

bool fk_host_is_nobodys(const struct fk_field *host)
{
    struct in6_addr address;
    char text[HOST_MAX];

    if (host->count == 0)
        return true;
    if (!fk_field_is_one(host) || !take_host(host, text))
        return false;
    return strcasecmp(text, "localhost") == 0 || inet_pton(AF_INET, text, &address) == 1 ||
           inet_pton(AF_INET6, text, &address) == 1;
}
