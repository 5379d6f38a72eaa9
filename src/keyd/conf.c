/*
 * The tables of keyd.conf and NAME.policy, with the checks that need more than one option.
 * Owns no state.
 */
#include "keyd/conf.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "conf/network.h"
#include "conf/users.h"
#include "loop/sock.h"
#include "tls/channel_conf.h"
#include "wire/keyop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT(member)   offsetof(struct fk_keyd_conf, member)
#define LISTEN(member) offsetof(struct fk_keyd_listen_conf, member)
#define DIAL(member)   offsetof(struct fk_keyd_dial_conf, member)
#define CHAN(member)   offsetof(struct fk_channel_conf, member)
#define KEYS(member)   offsetof(struct fk_keyd_keys_conf, member)
#define EDGE(member)   offsetof(struct fk_keyd_edge_conf, member)
#define AUDIT(member)  offsetof(struct fk_keyd_audit_conf, member)
#define LIMIT(member)  offsetof(struct fk_keyd_limits_conf, member)
#define POLICY(member) offsetof(struct fk_key_policy_conf, member)

static const struct fk_conf_name permission_names[] = {
    {"sign", FK_PERM_SIGN13 | FK_PERM_SIGN12, "sign TLS 1.3 and 1.2 handshakes as the server"},
    {"decrypt", FK_PERM_DECRYPT, "decrypt premasters of TLS 1.2 RSA key exchange"},
    {"client", FK_PERM_CLIENT, "sign TLS 1.3 handshakes as the client"},
    {"digest", FK_PERM_DIGEST, "sign bare digests (dialect 1); any protocol can be signed with it"},
    {"dialect1_decrypt", FK_PERM_D1_DECRYPT, "decrypt premasters for dialect 1"},
    {"agree", FK_PERM_AGREE,
     "make and sign ephemeral keys of TLS 1.2 and tell the premaster secrets (mode agree)"},
    {"master", FK_PERM_MASTER, "derive master secrets of TLS 1.2 (mode master)"},
    {"keys", FK_PERM_KEYS, "derive session keys and Finished messages of TLS 1.2 (mode keys)"},
    {"handshake", FK_PERM_HANDSHAKE, "shake hands with clients in the edge's place"},
    {"expose", FK_PERM_EXPOSE,
     "with keys or handshake: tell the master secrets of TLS 1.2, too (expose = master)"},
    {"lend", FK_PERM_LEND, "have the key itself, sealed to the edge's signer, for a time"},
    {"tickets", FK_PERM_TICKETS, "get the keys of session tickets that edges share"},
    {"share", FK_PERM_SHARE, "have shares of split keys: for another key server, not for edges"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name level_names[] = {
    {"error", FK_LOG_ERROR, "failures only"},
    {"warning", FK_LOG_WARN, "and what needs attention"},
    {"info", FK_LOG_INFO, "and changes of state: reloads, channels"},
    {"debug", FK_LOG_DEBUG, "everything"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name count_names[] = {
    {"auto", 0, "by the number of processors"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name handshaker_names[] = {
    {"auto", 0, "by the number of processors, if any edge needs them"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name half_names[] = {
    {"half", 0, "half of what limits allow the front: one edge leaves room for others"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name failure_names[] = {
    {"refuse", 1, "no operation without its line in the log"},
    {"continue", 0, "go on and count the lines that are lost"},
    {NULL, 0, NULL},
};

/* The name in an identity; NULL: its role is another, or it has no name. */
static const char *name_in(const char *identity, const char *role)
{
    size_t len = strlen(role);

    return strncmp(identity, role, len) == 0 && identity[len] != '\0' ? identity + len : NULL;
}

static const char *check_identity(const void *value)
{
    const char *text = *(char *const *)value;

    if (name_in(text, "farkey:edge:") != NULL || name_in(text, "farkey:keyserver:") != NULL)
        return NULL;
    return "not an edge's identity; write \"farkey:edge:NAME\"";
}

static void check_listen(void *block, struct fk_conf *conf)
{
    struct fk_keyd_listen_conf *listen = block;
    struct fk_addr addr;

    if (!fk_conf_is_bad(&listen->block, NULL) && fk_addr_parse(listen->block.title, &addr) != FK_OK)
        fk_conf_blame(conf, &listen->block, NULL,
                      "listen \"%s\": not an address; write \"127.0.0.1:2407\", "
                      "\"[::1]:2407\" or \"*:2407\"",
                      listen->block.title);
}

static void check_dial(void *block, struct fk_conf *conf)
{
    struct fk_keyd_dial_conf *dial = block;
    const char *title = dial->listen.block.title;
    struct fk_addr addr;
    uint8_t ip[16];

    if (fk_conf_is_bad(&dial->listen.block, NULL))
        return;
    if (title[0] == '*' || fk_addr_parse(title, &addr) != FK_OK || fk_addr_ip(&addr, ip) == 0 ||
        fk_addr_port(&addr) == 0)
        fk_conf_blame(conf, &dial->listen.block, NULL,
                      "dial \"%s\": not the address and port of an edge; write "
                      "\"192.0.2.1:2408\" or \"[2001:db8::1]:2408\"",
                      title);
}

const struct fk_keyd_dial_conf *fk_keyd_conf_dial(const struct fk_keyd_conf *conf, size_t i)
{
    const struct fk_conf_block *block = conf->dials;

    while (block != NULL && i-- > 0)
        block = block->next;
    return (const void *)block;
}

static void check_edge(void *block, struct fk_conf *conf)
{
    struct fk_keyd_edge_conf *edge = block;

    if (strlen(edge->block.title) >= FK_NAME_MAX)
        fk_conf_blame(conf, &edge->block, NULL, "edge: name too long; at most %d characters",
                      FK_NAME_MAX - 1);
    if (fk_conf_is_bad(&edge->block, "identity") || fk_conf_is_bad(&edge->block, "allow"))
        return;
    if ((fk_keyd_conf_sharer(edge) != NULL) != ((edge->allow & FK_PERM_SHARE) != 0) ||
        ((edge->allow & FK_PERM_SHARE) != 0 && edge->allow != FK_PERM_SHARE))
        fk_conf_blame(conf, &edge->block, "allow",
                      "edge \"%s\": allow = {share} is for key servers, and nothing else is; write "
                      "both identity = \"farkey:keyserver:NAME\" and allow = {share}, or neither",
                      edge->block.title);
}

const char *fk_keyd_conf_sharer(const struct fk_keyd_edge_conf *edge)
{
    return edge->identity != NULL ? name_in(edge->identity, "farkey:keyserver:") : NULL;
}

bool fk_keyd_conf_has_identity(const struct fk_keyd_edge_conf *edge)
{
    return !fk_conf_is_bad(&edge->block, "identity") &&
           (edge->identity != NULL || !fk_conf_is_bad(&edge->block, NULL));
}

/* Two blocks must not claim one identity: rates and rights would depend on their order. */
static void check_identities(struct fk_keyd_conf *keyd, struct fk_conf *conf)
{
    char mine[2 * FK_NAME_MAX + 16], other[2 * FK_NAME_MAX + 16];
    const struct fk_conf_block *a, *b;

    for (a = keyd->edges; a != NULL; a = a->next) {
        if (!fk_keyd_conf_has_identity((const void *)a))
            continue;
        fk_keyd_conf_identity((const void *)a, mine, sizeof mine);
        for (b = keyd->edges; b != a; b = b->next) {
            if (!fk_keyd_conf_has_identity((const void *)b))
                continue;
            fk_keyd_conf_identity((const void *)b, other, sizeof other);
            if (strcmp(mine, other) == 0)
                fk_conf_complain(conf, &a->where,
                                 "edge \"%s\": identity \"%s\" is that of edge \"%s\" too; give "
                                 "each edge its own",
                                 a->title, mine, b->title);
        }
    }
}

static void check_keyservers(const struct fk_keyd_conf *keyd, struct fk_conf *conf)
{
    const struct fk_conf_block *b;
    size_t count = 0;

    for (b = keyd->keyservers; b != NULL; b = b->next)
        if (++count == FK_KEYPOOL_SERVERS_MAX + 1)
            fk_conf_complain(conf, &b->where, "keyserver \"%s\": too many; at most %d", b->title,
                             FK_KEYPOOL_SERVERS_MAX);
}

/* With signed requests only, whoever cannot sign has no use for us. */
static void check_signed(const struct fk_keyd_conf *keyd, struct fk_conf *conf)
{
    const struct fk_conf_block *b;

    if (!keyd->signed_requests)
        return;
    for (b = keyd->edges; b != NULL; b = b->next)
        if (((const struct fk_keyd_edge_conf *)(const void *)b)->request_key == NULL &&
            !fk_conf_is_bad(b, "request_key"))
            fk_conf_blame(conf, b, "request_key",
                          "edge \"%s\": no request_key, but signed_requests = on; write "
                          "request_key = \"%s.request.pub\"",
                          b->title, b->title);
    for (b = keyd->edges; b != NULL; b = b->next)
        if ((((const struct fk_keyd_edge_conf *)(const void *)b)->allow & FK_PERM_HANDSHAKE) != 0)
            fk_conf_blame(conf, b, "allow",
                          "edge \"%s\": allow has handshake, but signed_requests = on: what a "
                          "handshaker asks for is signed by no edge",
                          b->title);
    for (b = keyd->listens; b != NULL; b = b->next)
        if (((const struct fk_keyd_listen_conf *)(const void *)b)->dialect1)
            fk_conf_blame(conf, b, "dialect1",
                          "listen \"%s\": dialect1 = on, but signed_requests = on: requests of "
                          "dialect 1 have no signature",
                          b->title);
}

/* A key is lent to who has a lend key. */
static void check_borrowers(const struct fk_keyd_conf *keyd, struct fk_conf *conf)
{
    for (const struct fk_conf_block *b = keyd->edges; b != NULL; b = b->next) {
        const struct fk_keyd_edge_conf *edge = (const void *)b;

        if ((edge->allow & FK_PERM_LEND) != 0 && edge->lend_key == NULL &&
            !fk_conf_is_bad(b, "lend_key") && !fk_conf_is_bad(b, "allow"))
            fk_conf_blame(conf, b, "lend_key",
                          "edge \"%s\": allow has lend, but there is no lend_key; write "
                          "lend_key = \"%s.lend.pub\"",
                          b->title, b->title);
    }
}

static void check_root(void *block, struct fk_conf *conf)
{
    struct fk_keyd_conf *keyd = block;

    check_identities(keyd, conf);
    check_borrowers(keyd, conf);
    check_signed(keyd, conf);
    check_keyservers(keyd, conf);
    if (keyd->listens == NULL && keyd->dials == NULL && !fk_conf_is_bad(&keyd->block, "listen") &&
        !fk_conf_is_bad(&keyd->block, "dial"))
        fk_conf_complain(conf, &keyd->block.where,
                         "no listen block; write listen \"127.0.0.1:2407\" { }");
    if (keyd->channel == NULL && !fk_conf_is_bad(&keyd->block, "channel"))
        fk_conf_complain(conf, &keyd->block.where,
                         "no channel block; write channel { certificate = \"channel.crt\" "
                         "key = \"channel.key\" ca = \"ca.crt\" }");
    if (keyd->keys == NULL && !fk_conf_is_bad(&keyd->block, "keys"))
        fk_conf_complain(conf, &keyd->block.where, "no keys block; write keys \"keys\" { }");
}

static const struct fk_conf_option listen_options[] = {
    {.name = "dialect1",
     .type = FK_CONF_BOOL,
     .offset = LISTEN(dialect1),
     .fallback = "off",
     .help = "Also serve Cloudflare's dialect of the protocol, to peers that offer no ALPN. "
             "Allows TLS 1.2 on this listener."},
    {.name = "allow",
     .type = FK_CONF_RANGES,
     .offset = LISTEN(allow),
     .help = "Address ranges that may connect. Empty: all."},
    {.name = "deny",
     .type = FK_CONF_RANGES,
     .may_be_empty = true,
     .offset = LISTEN(deny),
     .help = "Address ranges that may not connect; goes before allow."},
    {.name = "device",
     .type = FK_CONF_STRING,
     .offset = LISTEN(device),
     .check = fk_network_check_device,
     .help = "Accept only through this network interface (SO_BINDTODEVICE), such as a VPN's."},
    {.name = NULL},
};

static const struct fk_conf_option channel_options[] = {
    {.name = "certificate",
     .type = FK_CONF_PATH,
     .offset = CHAN(certificate),
     .required = true,
     .help = "PEM chain of this key server, with the URI SAN farkey:keyserver:NAME."},
    {.name = "key",
     .type = FK_CONF_PATH,
     .offset = CHAN(key),
     .required = true,
     .help = "PEM private key of the certificate. It proves the key server's identity only; it is "
             "no key of a site."},
    {.name = "ca",
     .type = FK_CONF_PATH,
     .offset = CHAN(ca),
     .required = true,
     .help = "PEM certificates of the private CA, the only trust anchors of the channel."},
    {.name = "crl",
     .type = FK_CONF_PATH,
     .offset = CHAN(crl),
     .help = "PEM revocation list of the CA. When given, it must be current: a channel is refused, "
             "and one that is open is closed, when its edge is listed or the time of the list "
             "(nextUpdate) is over. A change of this or another of these files is taken up "
             "without a reload."},
    {.name = "request_key",
     .type = FK_CONF_PATH,
     .offset = CHAN(request_key),
     .help = "PEM private key (Ed25519) with which this key server signs what it asks others for "
             "(keyserver blocks): their edge block for it has the public half."},
    {.name = NULL},
};

static const struct fk_conf_option keys_options[] = {
    {.name = "passphrase_file",
     .type = FK_CONF_PATH,
     .offset = KEYS(passphrase_file),
     .help = "File whose first line opens the encrypted keys of the directory."},
    {.name = "watch",
     .type = FK_CONF_BOOL,
     .offset = KEYS(watch),
     .fallback = "on",
     .help = "Reload the keys when a file of the directory changes."},
    {.name = NULL},
};

static const struct fk_conf_option edge_options[] = {
    {.name = "identity",
     .type = FK_CONF_STRING,
     .offset = EDGE(identity),
     .check = check_identity,
     .help = "URI SAN of the edge's certificate. Default: farkey:edge: and the title. Of another "
             "key server that may have shares: farkey:keyserver:NAME, with allow = {share}."},
    {.name = "keys",
     .type = FK_CONF_LIST,
     .offset = EDGE(keys),
     .required = true,
     .help = "Keys that the edge may use, by key name or a name of its certificate or policy; "
             "\"*.example.com\" stands for one more label, \"*\" for all keys."},
    {.name = "allow",
     .type = FK_CONF_FLAGS,
     .offset = EDGE(allow),
     .fallback = "{sign}",
     .names = permission_names,
     .may_be_empty = true,
     .help = "Operations that the edge may ask for. The key's policy must allow them too."},
    {.name = "request_key",
     .type = FK_CONF_PATH,
     .offset = EDGE(request_key),
     .help = "The public half (PEM, Ed25519) of the edge's request_key. Then each of its requests "
             "must be signed with it; signers check that, and that the edge may use the key."},
    {.name = "lend_key",
     .type = FK_CONF_PATH,
     .offset = EDGE(lend_key),
     .help = "The public half (PEM, X25519) of the edge's lend_key: keys that are lent to the edge "
             "are sealed to it, and to nothing else. Needed with lend in allow."},
    {.name = "rate",
     .type = FK_CONF_RATE,
     .offset = EDGE(rate),
     .min = 1, /* who wants none at all removes the edge: 0 must not read as no bound */
     .help = "Key operations a second, over all fronts. Absent: no bound."},
    {.name = "burst",
     .type = FK_CONF_INT,
     .offset = EDGE(burst),
     .fallback = "100",
     .min = 1,
     .max = 1000000,
     .help = "Operations that may come at once when the rate was not used before."},
    {.name = "quota",
     .type = FK_CONF_INT,
     .offset = EDGE(quota),
     .min = 1,
     .help = "Key operations a day (UTC), over all fronts; a restart of the key server forgets "
             "those made. Absent: no bound."},
    {.name = "connections",
     .type = FK_CONF_INT,
     .offset = EDGE(connections),
     .fallback = "256",
     .min = 1,
     .max = 65536,
     .help = "Channels of the edge at one time, over all fronts."},
    {.name = "outstanding",
     .type = FK_CONF_INT,
     .offset = EDGE(outstanding),
     .fallback = "half",
     .min = 1,
     .max = FK_KEYD_OUTSTANDING_MAX,
     .names = half_names,
     .help = "Requests of the edge under way in one front, over all its channels; the front reads "
             "no further until some are answered."},
    {.name = "addresses",
     .type = FK_CONF_RANGES,
     .offset = EDGE(addresses),
     .help = "Address ranges from which the edge may come. Empty: all."},
    {.name = "deny_addresses",
     .type = FK_CONF_RANGES,
     .offset = EDGE(deny_addresses),
     .help = "Address ranges from which the edge may not come; goes before addresses."},
    {.name = NULL},
};

static const struct fk_conf_option audit_options[] = {
    {.name = "file",
     .type = FK_CONF_PATH,
     .offset = AUDIT(file),
     .required = true,
     .help = "The audit log: one line an operation, chained by a forward-secure MAC."},
    {.name = "key",
     .type = FK_CONF_PATH,
     .offset = AUDIT(key),
     .required = true,
     .help = "The log's secret, 64 hexadecimal digits made by farkey init: needed to verify the "
             "log."},
    {.name = "on_failure",
     .type = FK_CONF_ENUM,
     .offset = AUDIT(on_failure),
     .fallback = "refuse",
     .names = failure_names,
     .help = "What to do when the log cannot be written."},
    {.name = "sync",
     .type = FK_CONF_BOOL,
     .offset = AUDIT(sync),
     .fallback = "off",
     .help = "Have the disk confirm each batch of lines before the next."},
    {.name = "checkpoint_interval",
     .type = FK_CONF_DURATION,
     .offset = AUDIT(checkpoint_interval),
     .fallback = "10s",
     .min = 1000000,
     .max = 86400000000,
     .help = "Longest time between two checkpoints signed by a signer, in whole seconds."},
    {.name = "checkpoint_lines",
     .type = FK_CONF_INT,
     .offset = AUDIT(checkpoint_lines),
     .fallback = "1000",
     .min = 1,
     .max = 10000000,
     .help = "Most lines between two checkpoints."},
    {.name = NULL},
};

static const struct fk_conf_option limits_options[] = {
    {.name = "connections",
     .type = FK_CONF_INT,
     .offset = LIMIT(connections),
     .fallback = "4096",
     .min = 1,
     .max = FK_KEYD_CONNECTIONS_MAX,
     .help = "Channels of one front."},
    {.name = "address_handshakes",
     .type = FK_CONF_INT,
     .offset = LIMIT(address_handshakes),
     .fallback = "256",
     .min = 0,
     .max = FK_KEYD_CONNECTIONS_MAX,
     .help = "Peers of one address (IPv6: of one /64) that have yet to prove who they are, in one "
             "front; with one more, the oldest is closed. 0: not bounded."},
    {.name = "channel_outstanding",
     .type = FK_CONF_INT,
     .offset = LIMIT(channel_outstanding),
     .fallback = "1024",
     .min = 1,
     .max = FK_KEYD_OUTSTANDING_MAX,
     .help = "Requests under way on one channel; the front reads no further until some are "
             "answered."},
    {.name = "outstanding",
     .type = FK_CONF_INT,
     .offset = LIMIT(outstanding),
     .fallback = "8192",
     .min = 1,
     .max = FK_KEYD_OUTSTANDING_MAX,
     .help = "Requests under way in one front, over all its channels."},
    {.name = "output",
     .type = FK_CONF_SIZE,
     .offset = LIMIT(output),
     .fallback = "256k",
     .min = 65536,
     .max = FK_KEYD_OUTPUT_MAX,
     .help = "Bytes of answers that an edge may leave unread before the front takes no more of "
             "its requests."},
    {.name = "hello_timeout",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(hello_timeout),
     .fallback = "3s",
     .min = 10000,
     .max = 600000000,
     .help = "From the TCP connection to the whole ClientHello, which edges send at once: what "
             "remains is the way, and one lost packet."},
    {.name = "handshake_timeout",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(handshake_timeout),
     .fallback = "10s",
     .min = 10000,
     .max = 600000000,
     .help = "From the TCP connection to the end of the TLS handshake."},
    {.name = "idle_timeout",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(idle_timeout),
     .fallback = "5m",
     .min = 10000,
     .max = 86400000000,
     .help = "A channel without any frame for so long is closed. Edges ping more often."},
    {.name = "frame_timeout",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(frame_timeout),
     .fallback = "10s",
     .min = 10000,
     .max = 600000000,
     .help = "From the first byte of a frame to its last."},
    {.name = "write_timeout",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(write_timeout),
     .fallback = "10s",
     .min = 10000,
     .max = 600000000,
     .help = "A channel that takes none of its waiting answers for so long is closed."},
    {.name = "deadline",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(deadline),
     .fallback = "5s",
     .min = 10000,
     .max = 600000000,
     .help = "Of one operation in the signer; then the edge is answered with an error."},
    {.name = "ticket_life",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(ticket_life),
     .fallback = "12h",
     .min = 1000000,
     .max = UINT64_C(604800000000),
     .help = "How long ticket keys that edges share are accepted. New ones are made every quarter "
             "of this time, and at once when an edge may have them no more."},
    {.name = "retire",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(retire),
     .fallback = "10m",
     .max = 604800000000,
     .help = "How long a key that was replaced under its name is served on, for edges that have "
             "not taken the new certificate yet."},
    {.name = "drain",
     .type = FK_CONF_DURATION,
     .offset = LIMIT(drain),
     .fallback = "10s",
     .max = 600000000,
     .help = "How long requests under way may take when the key server ends."},
    {.name = NULL},
};

static const struct fk_conf_kind listen_kind = {
    .name = "listen",
    .size = sizeof(struct fk_keyd_listen_conf),
    .titled = true,
    .list_offset = ROOT(listens),
    .options = listen_options,
    .help = "An address where edges connect; its title is the address and port.",
    .check = check_listen,
};

static const struct fk_conf_option dial_options[] = {
    {.name = "bind",
     .type = FK_CONF_STRING,
     .offset = DIAL(bind),
     .check = fk_network_check_local,
     .help = "Local address to connect from."},
    {.name = "device",
     .type = FK_CONF_STRING,
     .offset = DIAL(listen.device),
     .check = fk_network_check_device,
     .help = "Connect only through this network interface (SO_BINDTODEVICE), such as a VPN's."},
    {.name = "connect_timeout",
     .type = FK_CONF_DURATION,
     .offset = DIAL(connect_timeout),
     .fallback = "2s",
     .min = 1000,
     .max = 60000000,
     .help = "Longest time to connect."},
    {.name = NULL},
};

static const struct fk_conf_kind dial_kind = {
    .name = "dial",
    .size = sizeof(struct fk_keyd_dial_conf),
    .titled = true,
    .list_offset = ROOT(dials),
    .options = dial_options,
    .help = "An edge that this key server connects to, for networks in which edges cannot connect "
            "to it; its title is the address and port of accept in the edge's keyserver block. One "
            "connection more than the edge uses is kept ready.",
    .check = check_dial,
};

static const struct fk_conf_kind channel_kind = {
    .name = "channel",
    .size = sizeof(struct fk_channel_conf),
    .once = true,
    .list_offset = ROOT(channel),
    .options = channel_options,
    .help = "The key server's identity on the channel and whom it trusts.",
};

static const struct fk_conf_kind keys_kind = {
    .name = "keys",
    .size = sizeof(struct fk_keyd_keys_conf),
    .titled = true,
    .titled_path = true,
    .list_offset = ROOT(keys),
    .options = keys_options,
    .help =
        "A directory of keys: NAME.key, or NAME.share of a split key, with NAME.crt (PEM chain) "
        "and NAME.policy beside it.",
};

static const struct fk_conf_kind edge_kind = {
    .name = "edge",
    .size = sizeof(struct fk_keyd_edge_conf),
    .titled = true,
    .list_offset = ROOT(edges),
    .options = edge_options,
    .help = "An edge and what it may do. A certificate of the CA without an edge block may do "
            "nothing.",
    .check = check_edge,
};

static const struct fk_conf_kind audit_kind = {
    .name = "audit",
    .size = sizeof(struct fk_keyd_audit_conf),
    .once = true,
    .list_offset = ROOT(audit),
    .options = audit_options,
    .help = "The audit log. Without this block there is none.",
};

static const struct fk_conf_kind admin_kind = {
    .name = "admin",
    .size = sizeof(struct fk_admin_conf),
    .once = true,
    .list_offset = ROOT(admin),
    .options = fk_admin_keyd_options,
    .check = fk_admin_conf_check,
    .help = "Answers for operators and monitoring. Without this block there is only the control "
            "socket.",
};

static const struct fk_conf_kind limits_kind = {
    .name = "limits",
    .size = sizeof(struct fk_keyd_limits_conf),
    .once = true,
    .implied = true,
    .list_offset = ROOT(limits),
    .options = limits_options,
    .help = "Bounds on what peers can make the key server hold.",
};

static const struct fk_conf_option root_options[] = {
    {.name = "fronts",
     .type = FK_CONF_INT,
     .offset = ROOT(fronts),
     .fallback = "auto",
     .min = 1,
     .max = FK_KEYD_CHILDREN_MAX,
     .names = count_names,
     .help = "Front processes; auto: one for four processors."},
    {.name = "signers",
     .type = FK_CONF_INT,
     .offset = ROOT(signers),
     .fallback = "auto",
     .min = 1,
     .max = FK_KEYD_CHILDREN_MAX,
     .names = count_names,
     .help = "Signer processes; auto: one a processor."},
    {.name = "handshakers",
     .type = FK_CONF_INT,
     .offset = ROOT(handshakers),
     .fallback = "auto",
     .min = 1,
     .max = FK_KEYD_CHILDREN_MAX,
     .names = handshaker_names,
     .help = "Handshaker processes, for edges that may ask for whole handshakes (allow = "
             "{handshake}); auto: one for two processors, none when no edge may."},
    {.name = "user",
     .type = FK_CONF_STRING,
     .offset = ROOT(user),
     .check = fk_users_check,
     .help = "User of fronts, handshakers, audit and admin process when started as root. Default: "
             "farkey, or "
             "nobody on a host without that account."},
    {.name = "signer_user",
     .type = FK_CONF_STRING,
     .offset = ROOT(signer_user),
     .check = fk_users_check,
     .help = "User of the signers when started as root; best one of its own. Default: "
             "farkey-signer, or nobody on a host without that account."},
    {.name = "control",
     .type = FK_CONF_PATH,
     .offset = ROOT(control),
     .fallback = "run/keyd.sock",
     .help = "UNIX socket for farkey status, reload and drain."},
    {.name = "signed_requests",
     .type = FK_CONF_BOOL,
     .offset = ROOT(signed_requests),
     .fallback = "off",
     .help = "Carry out no key operation that its edge has not signed: whoever takes over a front "
             "can then ask the signers for nothing by himself. Each edge block needs a "
             "request_key; dialect 1 cannot be served."},
    {.name = "ticket_secret",
     .type = FK_CONF_PATH,
     .offset = ROOT(ticket_secret),
     .help = "Secret of 32 bytes (or 64 hexadecimal digits), the same file at key servers that "
             "make handshakes for the same edges: a session made at one is resumed at the others. "
             "Ticket keys are derived from it and the time, anew every three hours; the clocks "
             "must agree within that. Absent: random ones that nobody else has."},
    {.name = "log_level",
     .type = FK_CONF_ENUM,
     .offset = ROOT(log_level),
     .fallback = "info",
     .names = level_names,
     .help = "Least weight of the lines written to standard error."},
    {.name = NULL},
};

static const struct fk_conf_kind *const root_kids[] = {
    &listen_kind,
    &dial_kind,
    &channel_kind,
    &keys_kind,
    &fk_keyd_token_kind,
    &edge_kind,
    &fk_keyd_keyserver_kind,
    &audit_kind,
    &admin_kind,
    &limits_kind,
    NULL,
};

const struct fk_conf_kind fk_keyd_conf_kind = {
    .name = "keyd",
    .size = sizeof(struct fk_keyd_conf),
    .options = root_options,
    .kids = root_kids,
    .help = "The key server, farkey keyd.",
    .check = check_root,
};

static const struct fk_conf_option policy_options[] = {
    {.name = "allow",
     .type = FK_CONF_FLAGS,
     .offset = POLICY(allow),
     .fallback = "{sign}",
     .names = permission_names,
     .may_be_empty = true,
     .help = "Operations that may be done with the key, by whichever edge may use it."},
    {.name = "names",
     .type = FK_CONF_LIST,
     .offset = POLICY(names),
     .help = "Names of the key beside its file's and its certificate's."},
    {.name = "addresses",
     .type = FK_CONF_RANGES,
     .offset = POLICY(addresses),
     .help = "Destination addresses that stand for this key when a request has no name."},
    {.name = "share_with",
     .type = FK_CONF_LIST,
     .offset = POLICY(share_with),
     .help =
         "Of a share that is held for other key servers: their names, as in their certificates. "
         "Each gets it, sealed to the signer that combines, for operations in allow."},
    {.name = NULL},
};

static void check_policy(void *block, struct fk_conf *conf)
{
    struct fk_key_policy_conf *policy = block;

    if ((policy->allow & FK_PERM_SHARE) != 0)
        fk_conf_blame(conf, &policy->block, "allow",
                      "allow: share is for edge blocks; write share_with = {\"NAME\"} here");
    for (size_t i = 0; i < policy->share_with.count; i++) {
        size_t len = strlen(policy->share_with.items[i]);

        if (len == 0 || len >= FK_NAME_MAX)
            fk_conf_blame(conf, &policy->block, "share_with",
                          "share_with: \"%s\" is no name of a key server; 1 to %d characters",
                          policy->share_with.items[i], FK_NAME_MAX - 1);
    }
}

const struct fk_conf_kind fk_key_policy_conf_kind = {
    .name = "policy",
    .size = sizeof(struct fk_key_policy_conf),
    .options = policy_options,
    .check = check_policy,
    .help = "NAME.policy beside NAME.key in a key directory. Without it: allow = {sign}.",
};

void fk_keyd_conf_identity(const struct fk_keyd_edge_conf *edge, char *ret, size_t size)
{
    if (edge->identity != NULL)
        (void)snprintf(ret, size, "%s", edge->identity);
    else
        (void)snprintf(ret, size, "farkey:edge:%s", edge->block.title);
}

int fk_keyd_conf_ranges(const struct fk_conf_list *list, struct fk_ranges *ret)
{
    return fk_ranges_parse(list->items, list->count, ret);
}
