/* The table of keyd.conf's keyserver blocks: key servers that this one asks for shares. */
#include "base/err.h"
#include "keyclient/keyclient.h"
#include "keyd/conf.h"
#include "loop/sock.h"

#include <string.h>

#define OPT(member)     offsetof(struct fk_keyd_keyserver_conf, member)
#define IDENTITY_PREFIX "farkey:keyserver:"

static const char *check_identity(const void *value)
{
    const char *text = *(char *const *)value;
    size_t len = strlen(IDENTITY_PREFIX);

    if (strncmp(text, IDENTITY_PREFIX, len) != 0 || text[len] == '\0')
        return "write \"farkey:keyserver:NAME\"";
    return NULL;
}

static const char *check_address(const void *value)
{
    if (fk_keyserver_address_check(*(char *const *)value) != FK_OK)
        return "not \"host:port\"; write \"10.0.0.1:2407\", \"[2001:db8::1]:2407\" or "
               "\"keys.example.com:2407\"";
    return NULL;
}

static const char *check_bind(const void *value)
{
    struct fk_addr addr;

    if (fk_keyserver_bind_parse(*(char *const *)value, &addr) != FK_OK)
        return "not an address; write one of this host's, \"10.0.0.1\" or \"2001:db8::1\"";
    return NULL;
}

static const char *check_device(const void *value)
{
    if (!fk_sock_is_device(*(char *const *)value))
        return "not the name of a network interface; write \"eth0\" or the like, 15 characters at "
               "most";
    return NULL;
}

static const struct fk_conf_option options[] = {
    {.name = "address",
     .type = FK_CONF_STRING,
     .offset = OPT(address),
     .required = true,
     .check = check_address,
     .help = "\"host:port\" of the key server; the port is usually 2407."},
    {.name = "identity",
     .type = FK_CONF_STRING,
     .offset = OPT(identity),
     .check = check_identity,
     .help = "URI SAN that its certificate must have. Default: \"farkey:keyserver:\" and the "
             "block's title."},
    {.name = "bind",
     .type = FK_CONF_STRING,
     .offset = OPT(bind),
     .check = check_bind,
     .help = "Local address to connect from."},
    {.name = "device",
     .type = FK_CONF_STRING,
     .offset = OPT(device),
     .check = check_device,
     .help = "Network interface to connect through, such as a VPN's."},
    {.name = "connect_timeout",
     .type = FK_CONF_DURATION,
     .offset = OPT(connect_timeout_us),
     .fallback = "2s",
     .min = 1000,
     .max = 60000000,
     .help = "Longest time to connect and to authenticate."},
    {.name = "ping_interval",
     .type = FK_CONF_DURATION,
     .offset = OPT(ping_interval_us),
     .fallback = "2s",
     .min = 10000,
     .max = 3600000000,
     .help = "How often an idle channel's health is looked at."},
    {.name = "ping_timeout",
     .type = FK_CONF_DURATION,
     .offset = OPT(ping_timeout_us),
     .fallback = "1s",
     .min = 1000,
     .max = 60000000,
     .help = "Without an answer for this long the channel is given up."},
    {.name = NULL},
};

const struct fk_conf_kind fk_keyd_keyserver_kind = {
    .name = "keyserver",
    .size = sizeof(struct fk_keyd_keyserver_conf),
    .titled = true,
    .list_offset = offsetof(struct fk_keyd_conf, keyservers),
    .options = options,
    .help = "Another key server, which holds shares of keys that are split between it and this "
            "one. All that there are are asked for a share that no edge has brought.",
};

const char *fk_keyd_conf_keyserver_name(const struct fk_keyd_keyserver_conf *server)
{
    return server->identity == NULL ? server->block.title
                                    : server->identity + strlen(IDENTITY_PREFIX);
}
