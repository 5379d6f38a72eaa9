/* Checks of a configuration's options about key servers: see keyclient.h. */
#include "base/err.h"
#include "keyclient/keyclient.h"

#include <string.h>

#define PREFIX "farkey:keyserver:"

const char *fk_keyserver_option_identity(const void *value)
{
    const char *text = *(char *const *)value;

    if (strncmp(text, PREFIX, strlen(PREFIX)) != 0 || text[strlen(PREFIX)] == '\0')
        return "write \"farkey:keyserver:NAME\"";
    return NULL;
}

const char *fk_keyserver_option_address(const void *value)
{
    if (fk_keyserver_address_check(*(char *const *)value) != FK_OK)
        return "not \"host:port\"; write \"10.0.0.1:2407\", \"[2001:db8::1]:2407\" or "
               "\"keys.example.com:2407\"";
    return NULL;
}

const char *fk_keyserver_identity_name(const char *identity)
{
    return identity + strlen(PREFIX);
}
