/* The option table of listen blocks, and their checks. */
#include "edge/conf.h"

#include "edge/conf_priv.h"

#include "base/err.h"
#include "conf/network.h"
#include "loop/addr.h"
#include "tls/server_ctx.h"

#include <stdio.h>
#include <string.h>

#define OPT(type, member) offsetof(struct type, member)

static const struct fk_conf_option listen_options[] = {
    {"proxy_protocol", FK_CONF_BOOL, OPT(fk_edge_listen, proxy_protocol), "off",
     .help = "Each connection starts with a PROXY header, version 1 or 2. Connections without one "
             "are closed."},
    {"proxy_from", FK_CONF_RANGES, OPT(fk_edge_listen, proxy_from),
     .help = "Who may connect to a listener with proxy_protocol = on. Empty: everybody, so keep "
             "the listener private."},
    {"addresses", FK_CONF_LIST, OPT(fk_edge_listen, addresses),
     .help = "Sites of clients that send no server name, by the address that they reached: "
             "\"10.0.0.1=example.com\" (the title of a site)."},
    {"strict_sni", FK_CONF_BOOL, OPT(fk_edge_listen, strict_sni), "off",
     .help = "Refuse clients with an unknown server name, or with none, in place of giving them "
             "the default site."},
    {"plain", FK_CONF_STRING, OPT(fk_edge_listen, plain),
     .help = "Clients speak HTTP without TLS here, to the site of this title, which has protocol = "
             "http. They show no certificates."},
    {"device", FK_CONF_STRING, OPT(fk_edge_listen, device), .check = fk_network_check_device,
     .help = "Network interface to listen on."},
    {"backlog", FK_CONF_INT, OPT(fk_edge_listen, backlog), "0", 0, 65535,
     .help = "Connections that wait to be accepted; 0: the system's maximum."},
    {"defer_accept", FK_CONF_DURATION, OPT(fk_edge_listen, defer_accept_us), "0", 0, 60000000,
     .help = "Let the kernel keep a connection until its first bytes are there, for this long."},
    {NULL},
};

static void check_listen(void *block, struct fk_conf *conf)
{
    const struct fk_edge_listen *listener = block;
    struct fk_addr addr;

    if (!fk_conf_is_bad(&listener->block, NULL) &&
        fk_addr_parse(listener->block.title, &addr) != FK_OK)
        fk_conf_blame(conf, &listener->block, NULL,
                      "listen \"%s\": not an address; write \"10.0.0.1:443\", \"[::1]:443\", "
                      "\"*:443\" or \"unix:/path\"",
                      listener->block.title);
    if (listener->proxy_from.count > 0 && !listener->proxy_protocol &&
        !fk_conf_is_bad(&listener->block, "proxy_protocol"))
        fk_conf_blame(conf, &listener->block, "proxy_from",
                      "listen \"%s\": proxy_from without proxy_protocol = on",
                      listener->block.title);
}

const struct fk_conf_kind fk_edge_listen_kind = {
    .name = "listen",
    .size = sizeof(struct fk_edge_listen),
    .titled = true,
    .list_offset = OPT(fk_edge_conf, listens),
    .options = listen_options,
    .help = "An address that clients connect to.",
    .check = check_listen,
};

int fk_edge_address_map(const char *text, uint8_t ret_ip[16], size_t *ret_len,
                        const char **ret_name)
{
    const char *equals = strchr(text, '=');
    char host[FK_ADDR_TEXT_SIZE];
    struct fk_addr addr;
    bool v6;
    int n;

    if (equals == NULL || equals[1] == '\0')
        return FK_ERR_FORMAT;
    v6 = memchr(text, ':', (size_t)(equals - text)) != NULL && text[0] != '[';
    n = snprintf(host, sizeof host, v6 ? "[%.*s]:1" : "%.*s:1", (int)(equals - text), text);
    if (n < 0 || (size_t)n >= sizeof host || fk_addr_parse(host, &addr) != FK_OK)
        return FK_ERR_FORMAT;
    *ret_len = fk_addr_ip(&addr, ret_ip);
    *ret_name = equals + 1;
    return FK_OK;
}

/* --- with the sites that they name --- */

static void check_addresses(const struct fk_edge_conf *root, const struct fk_conf_block *b,
                            struct fk_conf *conf)
{
    const struct fk_edge_listen *listener = (const void *)b;
    struct fk_conf_where where = fk_conf_option_where(conf, b, "addresses");
    const char *name;
    uint8_t ip[16];
    size_t len;

    for (size_t i = 0; i < listener->addresses.count; i++) {
        if (fk_edge_address_map(listener->addresses.items[i], ip, &len, &name) != FK_OK)
            fk_conf_complain(conf, &where,
                             "listen \"%s\": addresses: \"%s\" is not \"ADDRESS=SITE\"", b->title,
                             listener->addresses.items[i]);
        else if (fk_edge_find(root->sites, name) == NULL && !fk_conf_is_bad(&root->block, "site"))
            fk_conf_complain(conf, &where, "listen \"%s\": addresses: there is no site \"%s\"",
                             b->title, name);
    }
}

static void check_plain(const struct fk_edge_conf *root, const struct fk_conf_block *b,
                        struct fk_conf *conf)
{
    const struct fk_edge_listen *listener = (const void *)b;
    const struct fk_edge_site *site;
    const char *why = NULL;

    if (listener->plain == NULL)
        return;
    site = (const void *)fk_edge_find(root->sites, listener->plain);
    if (site == NULL) {
        if (!fk_conf_is_bad(&root->block, "site"))
            fk_conf_blame(conf, b, "plain", "listen \"%s\": plain: there is no site \"%s\"",
                          b->title, listener->plain);
        return;
    }
    if (site->protocol != FK_PROTOCOL_HTTP && !fk_conf_is_bad(&site->block, "protocol"))
        why = "has not protocol = http";
    else if (site->client != NULL && fk_edge_client(site)->require == FK_CLIENT_REQUIRED)
        why = "requires certificates of clients, which cannot be shown without TLS";
    if (why != NULL)
        fk_conf_blame(conf, b, "plain", "listen \"%s\": plain: site \"%s\" %s", b->title,
                      site->block.title, why);
    if (listener->strict_sni || listener->addresses.count > 0)
        fk_conf_blame(conf, b, "plain",
                      "listen \"%s\": plain: there are no server names without TLS; remove "
                      "strict_sni and addresses",
                      b->title);
}

void fk_edge_check_listeners(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    for (const struct fk_conf_block *b = root->listens; b != NULL; b = b->next) {
        check_addresses(root, b, conf);
        check_plain(root, b, conf);
    }
}
