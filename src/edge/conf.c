/*
 * The edge's option tables (root and small blocks; sites and listeners are in conf_site.c) and the
 * checks that look at more than one block. Reads no file but through the configuration's bundle.
 */
#include "edge/conf.h"

#include "edge/conf_priv.h"

#include "admin/conf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "conf/network.h"
#include "keyclient/keyclient.h"
#include "tls/channel_conf.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define OPT(type, member) offsetof(struct type, member)

const struct fk_conf_name fk_edge_log_levels[] = {
    {"error", FK_LOG_ERROR, "failures only"},
    {"warning", FK_LOG_WARN, "and what needs attention"},
    {"info", FK_LOG_INFO, "and changes of state, and the access log"},
    {"debug", FK_LOG_DEBUG, "everything"},
    {NULL, 0, NULL},
};

/* --- channel --- */

static const struct fk_conf_option channel_options[] = {
    {"certificate", FK_CONF_PATH, OPT(fk_channel_conf, certificate), .required = true,
     .help = "This edge's certificate for the channel (PEM, leaf first)."},
    {"key", FK_CONF_PATH, OPT(fk_channel_conf, key), .required = true,
     .help = "Its private key: the edge's own identity, not a key of any site."},
    {"ca", FK_CONF_PATH, OPT(fk_channel_conf, ca), .required = true,
     .help = "The private CA of the channel. Key servers are trusted under no other."},
    {"crl", FK_CONF_PATH, OPT(fk_channel_conf, crl),
     .help = "Revocation list of that CA. When given, it must be there and current: a channel is "
             "refused, and one that is open is closed, when its key server is listed or the time "
             "of the list (nextUpdate) is over. A change of this or another of these files is "
             "taken up without a reload."},
    {"request_key", FK_CONF_PATH, OPT(fk_channel_conf, request_key),
     .help =
         "An Ed25519 key (PEM) of this edge, which signs each request: a key server with "
         "signed_requests = on carries out no others, so that whoever takes over its network "
         "side can ask for nothing by himself; and secret results are sealed to this edge past "
         "it. farkey ca request-key makes one. Costs some 0.1 ms of CPU a request at both ends."},
    {NULL},
};

const struct fk_conf_kind fk_edge_channel_kind = {
    .name = "channel",
    .size = sizeof(struct fk_channel_conf),
    .once = true,
    .list_offset = OPT(fk_edge_conf, channel),
    .options = channel_options,
    .help = "The edge's identity towards key servers. Required when there is a keyserver block.",
};

/* --- keyserver --- */

static const char *check_accept(const void *value)
{
    struct fk_addr addr;
    uint8_t ip[16];

    if (fk_addr_parse(*(char *const *)value, &addr) != FK_OK || fk_addr_ip(&addr, ip) == 0 ||
        fk_addr_port(&addr) == 0)
        return "not an address of this host with a port; write \"10.0.0.1:2408\", "
               "\"[2001:db8::1]:2408\" or \"*:2408\"";
    return NULL;
}

static const struct fk_conf_option keyserver_options[] = {
    {"address", FK_CONF_STRING, OPT(fk_edge_keyserver, address),
     .check = fk_keyserver_option_address,
     .help = "\"host:port\" of the key server; the port is usually 2407. Either this or accept."},
    {"accept", FK_CONF_STRING, OPT(fk_edge_keyserver, accept), .check = check_accept,
     .help =
         "Address and port of this host on which the key server dials in (its block dial). Each "
         "key server needs its own."},
    {"allow", FK_CONF_RANGES, OPT(fk_edge_keyserver, allow),
     .help = "With accept: address ranges that may dial in. Empty: all; who dials in must prove to "
             "be the key server in any case."},
    {"deny", FK_CONF_RANGES, OPT(fk_edge_keyserver, deny), .may_be_empty = true,
     .help = "With accept: address ranges that may not dial in; goes before allow."},
    {"identity", FK_CONF_STRING, OPT(fk_edge_keyserver, identity),
     .check = fk_keyserver_option_identity,
     .help = "URI SAN that its certificate must have. Default: \"farkey:keyserver:\" and the "
             "block's title."},
    {"zone", FK_CONF_STRING, OPT(fk_edge_keyserver, zone),
     .help = "Where it is, for strategy nearest."},
    {"weight", FK_CONF_INT, OPT(fk_edge_keyserver, weight), "1", 1, 1000,
     .help = "Its share among servers of equal rank."},
    {"bind", FK_CONF_STRING, OPT(fk_edge_keyserver, bind), .check = fk_network_check_local,
     .help = "Local address to connect from."},
    {"device", FK_CONF_STRING, OPT(fk_edge_keyserver, device), .check = fk_network_check_device,
     .help = "Network interface to connect (or accept) through, such as a VPN's."},
    {"connect_timeout", FK_CONF_DURATION, OPT(fk_edge_keyserver, connect_timeout_us), "2s", 1000,
     60000000, .help = "Longest time to connect and to authenticate."},
    {"ping_interval", FK_CONF_DURATION, OPT(fk_edge_keyserver, ping_interval_us), "2s", 10000,
     3600000000, .help = "How often an idle channel's health is looked at."},
    {"ping_timeout", FK_CONF_DURATION, OPT(fk_edge_keyserver, ping_timeout_us), "1s", 1000,
     60000000, .help = "Without an answer for this long the channel is given up."},
    {"persistent", FK_CONF_BOOL, OPT(fk_edge_keyserver, persistent), "on",
     .help = "Keep the channel open all the time. Off: opened on demand, closed when idle."},
    {"idle", FK_CONF_DURATION, OPT(fk_edge_keyserver, idle_us), "1m", 1000000, 86400000000,
     .help = "With persistent = off: close the channel when it was unused for this long."},
    {"max_outstanding", FK_CONF_INT, OPT(fk_edge_keyserver, max_outstanding), "4096", 1, 65536,
     .help = "Requests under way at once on the channel; more are refused at once."},
    {NULL},
};

/* Who opens the channel, and what only the one or the other has a use for. */
static void check_keyserver(void *block, struct fk_conf *conf)
{
    const struct fk_edge_keyserver *server = block;
    const char *title = server->block.title;

    if (fk_conf_is_bad(&server->block, "address") || fk_conf_is_bad(&server->block, "accept"))
        return;
    if (server->address == NULL && server->accept == NULL)
        fk_conf_complain(conf, &server->block.where,
                         "keyserver \"%s\": neither address nor accept; write address = "
                         "\"HOST:2407\", or accept = \"ADDRESS:2408\" if it dials in",
                         title);
    if (server->address != NULL && server->accept != NULL)
        fk_conf_blame(conf, &server->block, "accept",
                      "keyserver \"%s\": address and accept; the channel is opened by one side, "
                      "choose one",
                      title);
    if (server->accept != NULL && server->bind != NULL)
        fk_conf_blame(conf, &server->block, "bind",
                      "keyserver \"%s\": bind is for connecting; accept names the local address",
                      title);
    if (server->accept == NULL && (server->allow.count > 0 || server->deny.count > 0))
        fk_conf_blame(conf, &server->block, server->allow.count > 0 ? "allow" : "deny",
                      "keyserver \"%s\": allow and deny are for accept", title);
}

const struct fk_conf_kind fk_edge_keyserver_kind = {
    .name = "keyserver",
    .size = sizeof(struct fk_edge_keyserver),
    .titled = true,
    .list_offset = OPT(fk_edge_conf, keyservers),
    .options = keyserver_options,
    .check = check_keyserver,
    .help = "A key server that sites may name in keyservers.",
};

/* --- tickets --- */

static const struct fk_conf_option tickets_options[] = {
    {"enabled", FK_CONF_BOOL, OPT(fk_edge_tickets, enabled), "on",
     .help = "Session tickets (RFC 5077; TLS 1.3 resumption). Off: only the session cache."},
    {"count", FK_CONF_INT, OPT(fk_edge_tickets, count), "1", 1, 8,
     .help = "Tickets given after a full TLS 1.3 handshake. Clients that open several connections "
             "at once profit from 2."},
    {"lifetime", FK_CONF_DURATION, OPT(fk_edge_tickets, lifetime_us), "2h", 60000000, 604800000000,
     .help = "How long a session can be resumed."},
    {"key_life", FK_CONF_DURATION, OPT(fk_edge_tickets, key_life_us), "12h", 1000000, 604800000000,
     .help = "How long a ticket key is accepted. A new one is made every quarter of this time; all "
             "workers share them and they never reach a disk."},
    {"cache", FK_CONF_INT, OPT(fk_edge_tickets, cache), "4096", 0, 1048576,
     .help = "TLS 1.2 sessions kept for clients without tickets, 512 bytes each, by all workers "
             "together; 0: none. More than at the start needs a restart."},
    {NULL},
};

static void check_tickets(void *block, struct fk_conf *conf)
{
    const struct fk_edge_tickets *tickets = block;

    if (fk_conf_is_bad(&tickets->block, "enabled") || fk_conf_is_bad(&tickets->block, "lifetime") ||
        fk_conf_is_bad(&tickets->block, "key_life"))
        return;
    if (tickets->enabled && tickets->lifetime_us > tickets->key_life_us / 4 * 3)
        fk_conf_complain(conf, &tickets->block.where,
                         "tickets: lifetime exceeds three quarters of key_life; "
                         "raise key_life or lower lifetime");
}

const struct fk_conf_kind fk_edge_tickets_kind = {
    .name = "tickets",
    .size = sizeof(struct fk_edge_tickets),
    .once = true,
    .implied = true,
    .list_offset = OPT(fk_edge_conf, tickets),
    .options = tickets_options,
    .help = "Resumption of sessions, without the key server.",
    .check = check_tickets,
};

/* --- redis --- */

static const char *check_redis_address(const void *value)
{
    const char *text = *(char *const *)value;
    char host[FK_HOST_MAX + 1];
    struct fk_addr addr;
    uint16_t port;

    if (fk_addr_parse(text, &addr) == FK_OK ||
        (strncmp(text, "unix:", 5) != 0 && fk_addr_split(text, host, sizeof host, &port) == FK_OK &&
         port != 0))
        return NULL;
    return "not an address; write \"10.0.0.1:6379\", \"redis.example.com:6379\" or "
           "\"unix:/path\"";
}

static const char *check_prefix(const void *value)
{
    if (strlen(*(char *const *)value) > FK_EDGE_STORE_PREFIX_MAX)
        return "too long; 64 characters at most";
    return NULL;
}

static const struct fk_conf_option redis_options[] = {
    {"address", FK_CONF_STRING, OPT(fk_edge_redis, address), "127.0.0.1:6379",
     .check = check_redis_address, .help = "\"host:port\" or \"unix:/path\" of Redis."},
    {"user", FK_CONF_STRING, OPT(fk_edge_redis, user),
     .help = "Its user (ACL), who needs GET, SET, PING and SELECT. Default: the default user."},
    {"password_file", FK_CONF_PATH, OPT(fk_edge_redis, password_file),
     .help = "A file with the user's password and nothing else. It crosses the network in the "
             "clear: use a network or a tunnel that is yours."},
    {"database", FK_CONF_INT, OPT(fk_edge_redis, database), "0", 0, 65535,
     .help = "Number of the database."},
    {"prefix", FK_CONF_STRING, OPT(fk_edge_redis, prefix), "farkey:", .check = check_prefix,
     .help = "What the names of keys begin with there."},
    {"timeout", FK_CONF_DURATION, OPT(fk_edge_redis, timeout_us), "50ms", 1000, 1000000,
     .help = "Longest wait for a session; then the client makes a full handshake."},
    {NULL},
};

static const struct fk_conf_kind redis_kind = {
    .name = "redis",
    .size = sizeof(struct fk_edge_redis),
    .once = true,
    .list_offset = OPT(fk_edge_conf, redis),
    .options = redis_options,
    .help = "A Redis server where edges share sessions of TLS 1.2 clients without tickets (sites "
            "with sessions = redis). It gets them sealed.",
};

/* --- limits --- */

static const struct fk_conf_option limits_options[] = {
    {"connections", FK_CONF_INT, OPT(fk_edge_limits, connections), "16384", 1,
     FK_EDGE_CONNECTIONS_MAX,
     .help = "Client connections of one worker at once; beyond, it stops accepting."},
    {"connections_per_address", FK_CONF_INT, OPT(fk_edge_limits, connections_per_address), "1024",
     0, 1000000,
     .help =
         "Connections of one client address (IPv6: one /64) to one worker; 0: no bound, for those "
         "behind a balancer that hides addresses."},
    {"handshakes", FK_CONF_RATE, OPT(fk_edge_limits, handshakes_hourly), "0",
     .help = "New handshakes of one worker, such as 500/s, before any cryptography; 0: no bound."},
    {"handshake_timeout", FK_CONF_DURATION, OPT(fk_edge_limits, handshake_us), "10s", 10000,
     600000000, .help = "From accept to the end of the handshake."},
    {"idle_timeout", FK_CONF_DURATION, OPT(fk_edge_limits, idle_us), "5m", 100000, 86400000000,
     .help = "A connection without a byte in either direction for this long is closed."},
    {"request_timeout", FK_CONF_DURATION, OPT(fk_edge_limits, request_us), "30s", 10000,
     86400000000,
     .help =
         "Clients of HTTP/1: from the handshake to the end of the first request's head, and from "
         "the first byte of a later one's head to its end. The client gets 408."},
    {"half_closed_timeout", FK_CONF_DURATION, OPT(fk_edge_limits, half_closed_us), "1m", 10000,
     86400000000, .help = "As idle_timeout, once one side has closed."},
    {"buffer", FK_CONF_SIZE, OPT(fk_edge_limits, buffer), "64k", 4096, 16777216,
     .help = "Bytes that wait in each direction for a slow receiver; then the sender is not read."},
    {"drain_timeout", FK_CONF_DURATION, OPT(fk_edge_limits, drain_us), "30s", 0, 86400000000,
     .help = "Longest wait for connections to end after SIGTERM."},
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

/* --- admin --- */

const struct fk_conf_kind fk_edge_admin_kind = {
    .name = "admin",
    .size = sizeof(struct fk_admin_conf),
    .once = true,
    .list_offset = OPT(fk_edge_conf, admin),
    .options = fk_admin_edge_options,
    .check = fk_admin_conf_check,
    .help = "The operator's HTTP listener, in a process of its own. Absent: none.",
};

/* --- root --- */

const struct fk_conf_name fk_edge_worker_words[] = {
    {"auto", 0, "one for each processor that the edge may use"},
    {NULL, 0, NULL},
};

static const struct fk_conf_option root_options[] = {
    FK_EDGE_ROWS_OF_PROCESSES,
    {"lend_key", FK_CONF_PATH, OPT(fk_edge_conf, lend_key),
     .help = "Mode lend: this edge's private key (PEM, X25519, by farkey ca lend-key), with which "
             "its signers open the keys that they borrow. The key server has its public half."},
    FK_EDGE_ROWS_OF_OPERATION("run/edge.sock"),
    {"access_log", FK_CONF_BOOL, OPT(fk_edge_conf, access_log), "off",
     .help = "One log line a connection, when it ends, at level info."},
    {NULL},
};

static const struct fk_conf_kind *const root_kids[] = {
    &fk_edge_listen_kind,
    &fk_edge_channel_kind,
    &fk_edge_keyserver_kind,
    &fk_edge_site_kind,
    &fk_edge_tickets_kind,
    &redis_kind,
    &limits_kind,
    &fk_edge_cache_kind,
    &fk_edge_admin_kind,
    NULL,
};

static void check_default(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    const struct fk_edge_site *first = NULL;

    for (struct fk_conf_block *b = root->sites; b != NULL; b = b->next) {
        const struct fk_edge_site *site = (const void *)b;

        if (fk_conf_is_bad(b, "default"))
            continue;
        if (site->is_default && first != NULL)
            fk_conf_complain(conf, &b->where,
                             "site \"%s\": default = on is also in site \"%s\"; choose one",
                             b->title, first->block.title);
        else if (site->is_default)
            first = site;
    }
}

/* That each key server of a site has its block. What mode local must not name is not looked for. */
static void check_servers(const struct fk_edge_conf *root, const struct fk_edge_site *site,
                          struct fk_conf *conf)
{
    struct fk_conf_where where = fk_conf_option_where(conf, &site->block, "keyservers");

    if (site->mode == FK_MODE_LOCAL || fk_conf_is_bad(&site->block, "mode") ||
        fk_conf_is_bad(&root->block, "keyserver"))
        return;
    for (size_t i = 0; i < site->keyservers.count; i++)
        if (fk_edge_find(root->keyservers, site->keyservers.items[i]) == NULL)
            fk_conf_complain(conf, &where,
                             "site \"%s\": there is no keyserver \"%s\"; add a keyserver block",
                             site->block.title, site->keyservers.items[i]);
}

/* Each key server that dials in has an address of its own: nobody else may be waited for there. */
static void check_accepts(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    for (struct fk_conf_block *b = root->keyservers; b != NULL; b = b->next) {
        const struct fk_edge_keyserver *server = (const void *)b;

        for (struct fk_conf_block *c = root->keyservers; server->accept != NULL && c != b;
             c = c->next) {
            const struct fk_edge_keyserver *other = (const void *)c;

            if (other->accept != NULL && strcmp(other->accept, server->accept) == 0)
                fk_conf_blame(conf, b, "accept",
                              "keyserver \"%s\": accept is that of keyserver \"%s\" too; give "
                              "each its own port",
                              b->title, c->title);
        }
        if (server->accept != NULL && fk_edge_find(root->listens, server->accept) != NULL)
            fk_conf_blame(conf, b, "accept",
                          "keyserver \"%s\": there is a listen block for \"%s\" too", b->title,
                          server->accept);
    }
}

static void check_keyservers(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    if (root->keyservers != NULL && root->channel == NULL &&
        !fk_conf_is_bad(&root->block, "channel"))
        fk_conf_complain(conf, &root->keyservers->where,
                         "keyserver \"%s\": there is no channel block; write "
                         "channel { certificate = ... key = ... ca = ... }",
                         root->keyservers->title);
    check_accepts(root, conf);
    for (struct fk_conf_block *b = root->sites; b != NULL; b = b->next)
        check_servers(root, (const void *)b, conf);
}

void fk_edge_check_sites(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    fk_edge_check_names(root, conf);
    check_default(root, conf);
    check_keyservers(root, conf);
}

/* Who borrows must be able to open what it gets. */
static void check_lend_key(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    if (root->lend_key != NULL || fk_conf_is_bad(&root->block, "lend_key"))
        return;
    for (struct fk_conf_block *b = root->sites; b != NULL; b = b->next)
        if (((const struct fk_edge_site *)(const void *)b)->mode == FK_MODE_LEND &&
            !fk_conf_is_bad(b, "mode"))
            fk_conf_blame(conf, b, "mode",
                          "site \"%s\": mode = lend needs a key of this edge's; write "
                          "lend_key = \"lend.key\" outside of the blocks (farkey ca lend-key)",
                          b->title);
}

static void check_redis(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    const struct fk_edge_redis *redis = (const void *)root->redis;

    if (redis != NULL && redis->user != NULL && redis->password_file == NULL)
        fk_conf_blame(conf, root->redis, "user", "redis: user without password_file");
    for (struct fk_conf_block *b = root->sites; b != NULL && redis == NULL; b = b->next) {
        const struct fk_edge_site *site = (const void *)b;

        if (site->sessions == FK_SESSIONS_REDIS && !fk_conf_is_bad(&root->block, "redis"))
            fk_conf_blame(conf, b, "sessions",
                          "site \"%s\": sessions = redis without a redis block", b->title);
    }
}

/* A session is of no use when the key that its ticket was sealed with has ended. */
static void check_lifetimes(const struct fk_edge_conf *root, struct fk_conf *conf)
{
    const struct fk_edge_tickets *tickets = fk_edge_tickets(root);

    if (tickets == NULL || !tickets->enabled || fk_conf_is_bad(&tickets->block, NULL))
        return;
    for (struct fk_conf_block *b = root->sites; b != NULL; b = b->next) {
        const struct fk_edge_site *site = (const void *)b;

        if (site->session_us > tickets->key_life_us / 4 * 3 && site->tickets == FK_TICKETS_EDGE &&
            site->mode != FK_MODE_HANDSHAKE)
            fk_conf_blame(conf, b, "session_lifetime",
                          "site \"%s\": session_lifetime exceeds three quarters of key_life of "
                          "the tickets block; raise that or lower this",
                          b->title);
    }
}

static void check_root(void *block, struct fk_conf *conf)
{
    const struct fk_edge_conf *root = block;

    if (root->listens == NULL && !fk_conf_is_bad(&root->block, "listen"))
        fk_conf_complain(conf, &root->block.where,
                         "no listen block; write listen \"0.0.0.0:443\" { }");
    if (root->sites == NULL && !fk_conf_is_bad(&root->block, "site"))
        fk_conf_complain(conf, &root->block.where,
                         "no site block; write site \"NAME\" { origin = ... }");
    fk_edge_check_sites(root, conf);
    check_lend_key(root, conf);
    fk_edge_check_listeners(root, conf);
    check_redis(root, conf);
    fk_edge_check_cache(root, conf);
    check_lifetimes(root, conf);
}

const struct fk_conf_kind fk_edge_conf_kind = {
    .name = "edge",
    .size = sizeof(struct fk_edge_conf),
    .options = root_options,
    .kids = root_kids,
    .help = "Configuration of farkey edge.",
    .check = check_root,
};

/* --- looking things up --- */

unsigned fk_edge_workers(const struct fk_edge_conf *conf)
{
    cpu_set_t set;
    int count;

    if (conf->workers > 0)
        return (unsigned)conf->workers;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    count = CPU_COUNT(&set);
    return count > FK_EDGE_WORKERS_MAX ? FK_EDGE_WORKERS_MAX : (unsigned)count;
}

struct fk_conf_block *fk_edge_find(struct fk_conf_block *list, const char *title)
{
    for (; list != NULL; list = list->next)
        if (strcmp(list->title, title) == 0)
            return list;
    return NULL;
}

const char *fk_edge_keyserver_name(const struct fk_edge_keyserver *server)
{
    if (server->identity == NULL)
        return server->block.title;
    return fk_keyserver_identity_name(server->identity);
}
