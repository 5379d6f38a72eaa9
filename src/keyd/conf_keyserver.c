/* The table of keyd.conf's keyserver blocks: key servers that this one asks for shares. */
#include "conf/network.h"
#include "keyclient/keyclient.h"
#include "keyd/conf.h"

#define OPT(member) offsetof(struct fk_keyd_keyserver_conf, member)

static const struct fk_conf_option options[] = {
    {.name = "address",
     .type = FK_CONF_STRING,
     .offset = OPT(address),
     .required = true,
     .check = fk_keyserver_option_address,
     .help = "\"host:port\" of the key server; the port is usually 2407."},
    {.name = "identity",
     .type = FK_CONF_STRING,
     .offset = OPT(identity),
     .check = fk_keyserver_option_identity,
     .help = "URI SAN that its certificate must have. Default: \"farkey:keyserver:\" and the "
             "block's title."},
    {.name = "bind",
     .type = FK_CONF_STRING,
     .offset = OPT(bind),
     .check = fk_network_check_local,
     .help = "Local address to connect from."},
    {.name = "device",
     .type = FK_CONF_STRING,
     .offset = OPT(device),
     .check = fk_network_check_device,
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
                                    : fk_keyserver_identity_name(server->identity);
}
