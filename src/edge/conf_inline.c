/*
 * The option tables of farkey inline: the edge's struct, without listeners and origins, with a wire
 * that clients and servers are on.
 */
#include "base/limits.h"
#include "base/text.h"
#include "conf/network.h"
#include "edge/conf_priv.h"

#include <string.h>

#define OPT(type, member) offsetof(struct type, member)

/* --- wire --- */

static const struct fk_conf_name ways[] = {
    {"packet", FK_WIRE_PACKET,
     "packet sockets: the box is the cable between both interfaces, and all frames go through it"},
    {"tap", FK_WIRE_TAP,
     "TAP devices (multi_queue, vnet_hdr), to which rules of tc (mirred) send what could be TCP to "
     "the ports, and from which they send on what comes; the kernel forwards the rest"},
    {"queue", FK_WIRE_QUEUE,
     "on a router: queues (NFQUEUE), to which rules of iptables send the packets from and to the "
     "ports, and a TUN device, from which the router forwards what comes of them"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name non_tls[] = {
    {"reset", FK_WIRE_RESET, "is reset"},
    {"pass", FK_WIRE_PASS, "passes as it is"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name modes[] = {
    {"buffered", FK_WIRE_BUFFERED, "no byte of a record goes on before its tag has been verified"},
    {"streaming", FK_WIRE_STREAMING,
     "bytes go on as they come, but for a record's last segment, which waits for the tag: what "
     "somebody on the way has changed may reach the server, which is then reset"},
    {"hybrid", FK_WIRE_HYBRID, "records up to 4 KiB as buffered, larger ones as streaming"},
    {"mac_decides", FK_WIRE_MAC_DECIDES,
     "as streaming, without a hold queue: segments out of order are dropped, and sent again"},
    {NULL, 0, NULL},
};

static const char *check_ports(const void *value)
{
    const struct fk_conf_list *list = value;
    uint64_t port;

    if (list->count == 0 || list->count > FK_BOX_PORTS_MAX)
        return "1 to 64 ports; write {\"443\"}";
    for (size_t i = 0; i < list->count; i++)
        if (fk_text_u64(list->items[i], strlen(list->items[i]), &port) != 0 || port == 0 ||
            port > 65535)
            return "not a port; write {\"443\", \"8443\"}";
    return NULL;
}

static const struct fk_conf_option wire_options[] = {
    {"client", FK_CONF_STRING, OPT(fk_edge_wire, client), .required = true,
     .check = fk_network_check_device, .help = "Network interface on whose side the clients are."},
    {"server", FK_CONF_STRING, OPT(fk_edge_wire, server), .required = true,
     .check = fk_network_check_device,
     .help =
         "Network interface on whose side the servers are. A change of either needs a restart."},
    {"by", FK_CONF_ENUM, OPT(fk_edge_wire, by), "packet", .names = ways,
     .help = "How frames come from these interfaces, and go there. A change needs a restart, as of "
             "the two that follow."},
    {"queue", FK_CONF_INT, OPT(fk_edge_wire, queue), "0", 0, UINT16_MAX - 2 * FK_EDGE_WORKERS_MAX,
     .help = "With by = queue, the number of the first queue. As many as there are workers are for "
             "what clients send, and as many that follow for what servers send: with 2 workers "
             "--queue-balance 0:1 and 2:3."},
    {"device", FK_CONF_STRING, OPT(fk_edge_wire, device), .check = fk_network_check_device,
     .help = "With by = queue, the TUN device (multi_queue, vnet_hdr)."},
    {"ports", FK_CONF_LIST, OPT(fk_edge_wire, ports), "{\"443\"}", .check = check_ports,
     .help = "TCP ports of the servers that TLS is added to. All else passes untouched."},
    {"non_tls", FK_CONF_ENUM, OPT(fk_edge_wire, non_tls), "reset", .names = non_tls,
     .help = "What becomes of a connection to one of these ports that does not begin with TLS."},
    {"mode", FK_CONF_ENUM, OPT(fk_edge_wire, mode), "buffered", .names = modes,
     .help = "When a client's bytes go on to the server."},
    {"accept_truncation", FK_CONF_BOOL, OPT(fk_edge_wire, accept_truncation), "off",
     .help = "A client that ends without close_notify has ended, as old ones do; else the server "
             "is told by a reset, since anybody on the way can end a connection so."},
    {NULL},
};

static void check_wire(void *block, struct fk_conf *conf)
{
    const struct fk_edge_wire *wire = block;

    if (wire->client != NULL && wire->server != NULL && strcmp(wire->client, wire->server) == 0)
        fk_conf_blame(conf, &wire->block, "server",
                      "wire: client and server are one interface; the box stands between two");
    if ((wire->by == FK_WIRE_QUEUE) != (wire->device != NULL) &&
        !fk_conf_is_bad(&wire->block, "device"))
        fk_conf_blame(conf, &wire->block, "device",
                      wire->device == NULL ? "wire: by = queue needs the TUN device"
                                           : "wire: only by = queue has a device");
}

static const struct fk_conf_kind wire_kind = {
    .name = "wire",
    .size = sizeof(struct fk_edge_wire),
    .once = true,
    .list_offset = OPT(fk_edge_conf, wire),
    .options = wire_options,
    .check = check_wire,
    .help = "The two interfaces that the box stands between.",
};

/* --- limits --- */

static const struct fk_conf_option limits_options[] = {
    {"flows", FK_CONF_INT, OPT(fk_edge_limits, connections), "65536", 1, FK_BOX_FLOWS_MAX,
     .help = "Connections of one worker at once; beyond, new ones wait."},
    {"half_open", FK_CONF_INT, OPT(fk_edge_limits, half_open), "16384", 1, FK_BOX_FLOWS_MAX,
     .help = "Of these, those that were not answered yet; beyond, the oldest is forgotten."},
    {"drain_timeout", FK_CONF_DURATION, OPT(fk_edge_limits, drain_us), "30s", 0, 86400000000,
     .help = "Longest wait for connections to end after SIGTERM; new ones wait meanwhile."},
    {NULL},
};

static const struct fk_conf_kind limits_kind = {
    .name = "limits",
    .size = sizeof(struct fk_edge_limits),
    .once = true,
    .implied = true,
    .list_offset = OPT(fk_edge_conf, limits),
    .options = limits_options,
    .help = "Bounds. Each worker counts its own connections.",
};

/* --- root --- */

static const struct fk_conf_option root_options[] = {
    FK_EDGE_ROWS_OF_PROCESSES,
    FK_EDGE_ROWS_OF_OPERATION("run/inline.sock"),
    {NULL},
};

static const struct fk_conf_kind *const root_kids[] = {
    &wire_kind,
    &fk_edge_channel_kind,
    &fk_edge_keyserver_kind,
    &fk_inline_site_kind,
    &fk_edge_tickets_kind,
    &limits_kind,
    &fk_edge_admin_kind,
    NULL,
};

static void check_root(void *block, struct fk_conf *conf)
{
    const struct fk_edge_conf *root = block;

    if (root->wire == NULL && !fk_conf_is_bad(&root->block, "wire"))
        fk_conf_complain(conf, &root->block.where,
                         "no wire block; write wire { client = \"eth0\" server = \"eth1\" }");
    if (root->sites == NULL && !fk_conf_is_bad(&root->block, "site"))
        fk_conf_complain(conf, &root->block.where,
                         "no site block; write site \"NAME\" { certificate = {...} ... }");
    fk_edge_check_sites(root, conf);
}

const struct fk_conf_kind fk_inline_conf_kind = {
    .name = "inline",
    .size = sizeof(struct fk_edge_conf),
    .options = root_options,
    .kids = root_kids,
    .help = "Configuration of farkey inline.",
    .check = check_root,
};
