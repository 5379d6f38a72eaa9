/* The option tables of site blocks, and the checks of one such block. */
#include "edge/conf.h"

#include "edge/conf_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "conf/network.h"
#include "edge/origintls.h"
#include "edge/tlsctx.h"
#include "keyclient/keyclient.h"
#include "loop/addr.h"
#include "loop/sock.h"
#include "tls/server_ctx.h"

#include <stdio.h>
#include <string.h>

#define OPT(type, member) offsetof(struct type, member)

static const struct fk_conf_name modes[] = {
    {"sign", FK_MODE_SIGN, "the key server signs each full handshake"},
    {"decrypt", FK_MODE_DECRYPT,
     "RSA key exchange of TLS 1.2 only: the key server decrypts the premaster secret"},
    {"local", FK_MODE_LOCAL, "the key is a file of this host, held by a signer process"},
    {"handshake", FK_MODE_HANDSHAKE,
     "the key server makes the whole handshake and hands the session's keys over; no certificate "
     "is needed here"},
    {"lend", FK_MODE_LEND,
     "the key server lends the key itself to a signer process of this host, for a limited time"},
    {"agree", FK_MODE_AGREE,
     "TLS 1.2 only: the key server makes the ephemeral key; the premaster secret comes here"},
    {"master", FK_MODE_MASTER, "TLS 1.2 only: the master secret comes here, no secret before it"},
    {"keys", FK_MODE_KEYS,
     "the session's keys come here, no secret that they are made from; with expose TLS 1.2 only"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name exposures[] = {
    {"none", FK_EXPOSE_NONE, "no more than the mode says"},
    {"master", FK_EXPOSE_MASTER,
     "the master secret of TLS 1.2, too: Finished is made here, and sessions are resumed without "
     "the key server"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name strategies[] = {
    {"round_robin", FK_STRATEGY_ROUND_ROBIN, "one after the other"},
    {"least_outstanding", FK_STRATEGY_LEAST_OUTSTANDING,
     "the fewest requests under way, weighed with\n"
     "how long the server takes for one"},
    {"fastest", FK_STRATEGY_FASTEST, "the lowest mean response time"},
    {"nearest", FK_STRATEGY_NEAREST, "this edge's zone first, then by weight"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name tls_versions[] = {
    {"1.2", FK_EDGE_TLS12, "TLS 1.2"},
    {"1.3", FK_EDGE_TLS13, "TLS 1.3"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name records[] = {
    {"engine", FK_RECORDS_ENGINE,
     "the edge's own record engine, which takes the session's keys: faster, and an idle connection "
     "costs little memory; suites without AEAD stay with OpenSSL"},
    {"openssl", FK_RECORDS_OPENSSL, "OpenSSL, as in the handshake"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name tickets_of[] = {
    {"edge", FK_TICKETS_EDGE, "the edge: its own processes open them, no other edge's"},
    {"shared", FK_TICKETS_SHARED,
     "the key server, which gives them to all edges that may have them: each opens the others' "
     "tickets for a site of the same title"},
    {"keyserver", FK_TICKETS_KEYSERVER,
     "the key server, for each ticket its own, and no edge opens one without asking it: a round "
     "trip in each resumed handshake"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name sessions_at[] = {
    {"host", FK_SESSIONS_HOST, "in memory of this host, for all of its workers"},
    {"redis", FK_SESSIONS_REDIS, "there, and sealed in the redis block's server, for all edges"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name protocols[] = {
    {"tcp", FK_PROTOCOL_TCP, "the decrypted bytes, whatever they are"},
    {"http", FK_PROTOCOL_HTTP,
     "HTTP requests, each checked and with Via, Forwarded and X-Forwarded-* set "
     "(docs/http.md)"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name connects[] = {
    {"at_once", FK_ORIGIN_AT_ONCE,
     "as soon as the handshake is done; for protocols in which the server speaks first"},
    {"first_bytes", FK_ORIGIN_FIRST_BYTES, "when the client has sent its first bytes"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name balances[] = {
    {"round_robin", FK_BALANCE_ROUND_ROBIN, "one after the other"},
    {"least_connections", FK_BALANCE_LEAST_CONNECTIONS, "the fewest open connections"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name proxies[] = {
    {"off", FK_ORIGIN_PROXY_OFF, "nothing"},
    {"v1", FK_ORIGIN_PROXY_V1, "a PROXY line (version 1)"},
    {"v2", FK_ORIGIN_PROXY_V2, "a binary PROXY header with the TLS facts (version 2)"},
    {NULL, 0, NULL},
};

/* Rows that the sites of farkey inline have, too. */
#define ROWS_OF_NAMES                                                                            \
    {"names", FK_CONF_LIST, OPT(fk_edge_site, names),                                            \
     .help =                                                                                     \
         "Server names (SNI) of the site; \"*.example.com\" stands for exactly one more label. " \
         "Default: the block's title."},                                                         \
    {                                                                                            \
        "default", FK_CONF_BOOL, OPT(fk_edge_site, is_default), "off",                           \
            .help = "Serve clients whose server name no site has, and those that send none."     \
    }
#define ROWS_OF_SERVERS                                                                          \
    {"keyservers", FK_CONF_LIST, OPT(fk_edge_site, keyservers),                                  \
     .help = "Key servers that hold this site's keys, by the titles of their blocks."},          \
        {"strategy",          FK_CONF_ENUM,        OPT(fk_edge_site, strategy),                  \
         "least_outstanding", .names = strategies, .help = "Which key server is asked first."},  \
        {"deadline",                                                                             \
         FK_CONF_DURATION,                                                                       \
         OPT(fk_edge_site, deadline_us),                                                         \
         "3s",                                                                                   \
         1000,                                                                                   \
         60000000,                                                                               \
         .help = "Longest wait for one key operation, other key servers tried in it."},          \
    {                                                                                            \
        "hedge", FK_CONF_BOOL, OPT(fk_edge_site, hedge), "off",                                  \
            .help = "Ask a second key server as well when an answer is later than 95 of 100 "    \
                    "answers of "                                                                \
                    "that one are; the first good answer counts. Costs one operation in twenty." \
    }
#define ROWS_OF_FILES                                                                            \
    {"certificate", FK_CONF_PATHS, OPT(fk_edge_site, certificate),                               \
     .help =                                                                                     \
         "Certificate chains (PEM, leaf first), one for each type of key: RSA, ECDSA, Ed25519. " \
         "Absent: those that the key server has for the site's name, renewed when it renews "    \
         "them."},                                                                               \
        {"key", FK_CONF_PATHS, OPT(fk_edge_site, key),                                           \
         .help = "Mode local: the private keys of the certificates, in any order."},             \
    {                                                                                            \
        "ocsp", FK_CONF_PATHS, OPT(fk_edge_site, ocsp),                                          \
            .help = "OCSP responses (DER or PEM), at most one for each certificate, in any "     \
                    "order; each is shown to clients that ask for it while it is in force."      \
    }
#define ROWS_OF_VERSIONS                                                                         \
    {"tls",                                                                                      \
     FK_CONF_FLAGS,                                                                              \
     OPT(fk_edge_site, tls),                                                                     \
     "{\"1.2\", \"1.3\"}",                                                                       \
     .names = tls_versions,                                                                      \
     .help = "Versions offered."},                                                               \
    {                                                                                            \
        "rsa_key_exchange", FK_CONF_BOOL, OPT(fk_edge_site, rsa_key_exchange), "off",            \
            .help = "Also offer TLS 1.2 RSA key exchange (no forward secrecy), for old clients." \
    }
#define ROWS_OF_TLS                                                                              \
    {"alpn", FK_CONF_LIST, OPT(fk_edge_site, alpn), .may_be_empty = true,                        \
     .help = "Protocols to accept by ALPN, most wanted first. Empty: the extension is ignored. " \
             "protocol = http speaks \"h2\" and \"http/1.1\"."},                                 \
    {                                                                                            \
        "groups", FK_CONF_LIST, OPT(fk_edge_site, groups), "{\"X25519\", \"P-256\", \"P-384\"}", \
            .help = "Groups for the key agreement, most wanted first."                           \
    }
#define ROW_OF_LIFETIME                                                                            \
    {                                                                                              \
        "session_lifetime", FK_CONF_DURATION, OPT(fk_edge_site, session_us), "0", 0, 604800000000, \
            .help = "How long a session of this site can be resumed, in whole seconds; 0: as "     \
                    "the tickets block says."                                                      \
    }
#define ROWS_OF_TICKETS                                                                   \
    {                                                                                     \
        "tickets", FK_CONF_ENUM, OPT(fk_edge_site, tickets), "edge",                      \
            .names = tickets_of,                                                          \
            .help = "Who makes the keys of session tickets, and of the cache's sessions." \
    }

static const struct fk_conf_option site_options[] = {
    ROWS_OF_NAMES,
    {"mode", FK_CONF_ENUM, OPT(fk_edge_site, mode), "sign", .names = modes,
     .help = "Where the private key is and what is done with it."},
    {"agree_private", FK_CONF_BOOL, OPT(fk_edge_site, agree_private), "off",
     .help = "Mode agree: have the key server hand the ephemeral private value over at once, which "
             "saves a round trip."},
    {"expose", FK_CONF_ENUM, OPT(fk_edge_site, expose), "none", .names = exposures,
     .help =
         "Modes keys and handshake: what else the key server is to tell. Its keys must allow it."},
    ROWS_OF_SERVERS,
    {"lend_time", FK_CONF_DURATION, OPT(fk_edge_site, lend_us), "1m", 0, 3600000000,
     .help = "Mode lend: how long a key is kept, in whole seconds, before it is wiped and borrowed "
             "anew when it is needed; 0: for one operation."},
    ROWS_OF_FILES,
    {"share", FK_CONF_PATHS, OPT(fk_edge_site, share),
     .help = "This edge's shares of the site's split keys (farkey key split), in any order. The "
             "key server holds the other one of each."},
    ROWS_OF_VERSIONS,
    {"dhe", FK_CONF_BOOL, OPT(fk_edge_site, dhe), "off", .help = "Also offer TLS 1.2 DHE-RSA."},
    ROWS_OF_TLS,
    {"records", FK_CONF_ENUM, OPT(fk_edge_site, records), "engine", .names = records,
     .help = "Who protects the records after the handshake."},
    ROWS_OF_TICKETS,
    {"sessions", FK_CONF_ENUM, OPT(fk_edge_site, sessions), "host", .names = sessions_at,
     .help = "Where sessions of TLS 1.2 clients without tickets are kept."},
    ROW_OF_LIFETIME,
    {"origin", FK_CONF_LIST, OPT(fk_edge_site, origin), .required = true,
     .help = "Origins, \"host:port\" or \"unix:/path\", that get the decrypted bytes."},
    {"protocol", FK_CONF_ENUM, OPT(fk_edge_site, protocol), "tcp", .names = protocols,
     .help = "What is passed to the origin."},
    {"origin_connect", FK_CONF_ENUM, OPT(fk_edge_site, origin_connect), "at_once",
     .names = connects, .help = "When the origin is connected to."},
    {"origin_balance", FK_CONF_ENUM, OPT(fk_edge_site, origin_balance), "round_robin",
     .names = balances, .help = "Which origin is next."},
    {"origin_proxy", FK_CONF_ENUM, OPT(fk_edge_site, origin_proxy), "off", .names = proxies,
     .help = "Tell the origin who the client is."},
    {"origin_timeout", FK_CONF_DURATION, OPT(fk_edge_site, origin_timeout_us), "3s", 1000, 60000000,
     .help = "Longest wait for one connection to an origin; then the next one is tried."},
    {"origin_answer_timeout", FK_CONF_DURATION, OPT(fk_edge_site, origin_answer_us), "1m", 1000,
     86400000000,
     .help =
         "protocol = http: longest wait for an answer to begin once its request was sent whole; "
         "then the client gets 504."},
    {"origin_check", FK_CONF_DURATION, OPT(fk_edge_site, origin_check_us), "0", 0, 3600000000,
     .help = "Connect to each origin this often to see whether it is alive; 0: never."},
    {"origin_fail_max", FK_CONF_INT, OPT(fk_edge_site, origin_fail_max), "3", 1, 1000,
     .help = "Failures in a row after which an origin is left out."},
    {"origin_fail_for", FK_CONF_DURATION, OPT(fk_edge_site, origin_fail_for_us), "5s", 1000,
     3600000000, .help = "How long it is left out, unless a check finds it alive."},
    {"origin_connections", FK_CONF_INT, OPT(fk_edge_site, origin_connections), "0", 0, 1000000,
     .help = "Connections to one origin at once by one worker; 0: no bound."},
    {"origin_ca", FK_CONF_PATH, OPT(fk_edge_site, origin_ca),
     .help = "protocol = http: origins are spoken to by TLS, and believed by certificates of these "
             "CAs (PEM; no others, not those of the system either). Default: in the clear."},
    {"origin_name", FK_CONF_STRING, OPT(fk_edge_site, origin_name),
     .help = "With origin_ca: the name or IP address that origins' certificates are to have. "
             "Default: the host of each origin."},
    {"origin_keep", FK_CONF_DURATION, OPT(fk_edge_site, origin_keep_us), "4s", 0, 3600000000,
     .help = "protocol = http: how long a connection to an origin is kept for the next request of "
             "any client. Less than origins keep it: a request that may not be sent twice fails if "
             "its origin closes just then. 0: it is of one client."},
    {"cache", FK_CONF_BOOL, OPT(fk_edge_site, cache), "off",
     .help =
         "Store what the origin answers, as far as it is for all, and give it to others who ask "
         "for the same (RFC 9111); needs protocol = http and a cache block."},
    {NULL},
};

/* What a box can do with a key: the records are its own, always. */
static const struct fk_conf_name inline_modes[] = {
    {"sign", FK_MODE_SIGN, "the key server signs each full handshake"},
    {"local", FK_MODE_LOCAL, "the key is a file of this host, held by a signer process"},
    {NULL, 0, NULL},
};

static const struct fk_conf_option inline_site_options[] = {
    ROWS_OF_NAMES,
    {"mode", FK_CONF_ENUM, OPT(fk_edge_site, mode), "sign", .names = inline_modes,
     .help = "Where the private key is and what is done with it."},
    ROWS_OF_SERVERS,
    ROWS_OF_FILES,
    ROWS_OF_VERSIONS,
    ROWS_OF_TLS,
    ROWS_OF_TICKETS,
    ROW_OF_LIFETIME,
    {NULL},
};

static const struct fk_conf_kind *const site_kids[] = {&fk_edge_client_kind, NULL};

/* "example.com", "*.example.com". */
static bool name_ok(const char *name)
{
    size_t len = strlen(name), star = strncmp(name, "*.", 2) == 0 ? 2 : 0;

    return len <= FK_HOST_MAX && fk_text_host_valid(name + star, len - star);
}

static void check_site_names(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;
    struct fk_conf_where names = fk_conf_option_where(conf, block, "names");

    if (site->names.count == 0 && !name_ok(block->title) && !site->is_default &&
        !fk_conf_is_bad(block, NULL) && !fk_conf_is_bad(block, "names") &&
        !fk_conf_is_bad(block, "default"))
        fk_conf_complain(conf, &block->where,
                         "site \"%s\": the title is not a DNS name; write names = {...}",
                         block->title);
    for (size_t i = 0; i < site->names.count; i++)
        if (!name_ok(site->names.items[i]))
            fk_conf_complain(conf, &names, "site \"%s\": \"%s\" is not a DNS name", block->title,
                             site->names.items[i]);
    for (size_t i = 0; i < site->alpn.count; i++)
        if (strlen(site->alpn.items[i]) > 255 || site->alpn.items[i][0] == '\0')
            fk_conf_blame(conf, block, "alpn", "site \"%s\": alpn: names have 1 to 255 bytes",
                          block->title);
}

/* What key servers and signers sign, and what the versions have. */
static void check_exchanges(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;

    for (size_t i = 0; i < site->groups.count; i++)
        if (fk_server_group_id(site->groups.items[i]) == 0)
            fk_conf_blame(
                conf, block, "groups",
                "site \"%s\": groups: \"%s\" is not a group of TLS 1.3; write \"X25519\", "
                "\"P-256\" or the like",
                block->title, site->groups.items[i]);
    if ((site->tls & FK_EDGE_TLS12) != 0 || fk_conf_is_bad(block, "tls"))
        return;
    if (site->rsa_key_exchange || site->dhe)
        fk_conf_blame(conf, block, site->dhe ? "dhe" : "rsa_key_exchange",
                      "site \"%s\": %s is TLS 1.2; remove it, or write tls = {\"1.2\", \"1.3\"}",
                      block->title, site->dhe ? "dhe" : "rsa_key_exchange");
}

static void check_origin_tls(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;

    if (site->origin_ca == NULL && site->origin_name != NULL)
        fk_conf_blame(conf, block, "origin_name",
                      "site \"%s\": origin_name is for origins with TLS; add origin_ca",
                      block->title);
    else if (site->origin_name != NULL && !fk_origintls_is_name(site->origin_name))
        fk_conf_blame(conf, block, "origin_name",
                      "site \"%s\": origin_name \"%s\" is no name; write one such as "
                      "app.internal",
                      block->title, site->origin_name);
    if (site->origin_ca == NULL)
        return;
    if (site->protocol != FK_PROTOCOL_HTTP)
        fk_conf_blame(conf, block, "origin_ca",
                      "site \"%s\": TLS to origins is for protocol = http; remove origin_ca",
                      block->title);
    for (size_t i = 0; i < site->origin.count; i++)
        if (site->origin_name == NULL && strncmp(site->origin.items[i], "unix:", 5) == 0)
            fk_conf_blame(conf, block, "origin",
                          "site \"%s\": \"%s\" has no name for its certificate; add origin_name",
                          block->title, site->origin.items[i]);
}

/* What a site with protocol = http cannot have, or not yet. */
static void check_http(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;

    check_origin_tls(site, conf);
    if (site->protocol != FK_PROTOCOL_HTTP)
        return;
    if (site->origin_proxy != FK_ORIGIN_PROXY_OFF)
        fk_conf_blame(conf, block, "origin_proxy",
                      "site \"%s\": protocol = http tells the origin by X-Forwarded-For; remove "
                      "origin_proxy",
                      block->title);
    for (size_t i = 0; i < site->alpn.count; i++)
        if (strcmp(site->alpn.items[i], "http/1.1") != 0 && strcmp(site->alpn.items[i], "h2") != 0)
            fk_conf_blame(conf, block, "alpn",
                          "site \"%s\": protocol = http speaks \"h2\" and \"http/1.1\", not \"%s\"",
                          block->title, site->alpn.items[i]);
}

/* Whether an option is known to say nothing. */
static bool lacks(const struct fk_edge_site *site, const char *option,
                  const struct fk_conf_list *list)
{
    return list->count == 0 && !fk_conf_is_bad(&site->block, option);
}

static void check_local_keys(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const char *title = site->block.title;

    if (lacks(site, "key", &site->key) || lacks(site, "certificate", &site->certificate))
        fk_conf_complain(conf, &site->block.where,
                         "site \"%s\": mode = local needs certificate and key files", title);
    if (site->share.count > 0)
        fk_conf_blame(conf, &site->block, "share",
                      "site \"%s\": mode = local has whole keys; remove share", title);
    if (site->tickets != FK_TICKETS_EDGE)
        fk_conf_blame(
            conf, &site->block, "tickets",
            "site \"%s\": mode = local asks no key server for ticket keys; remove tickets", title);
    if (site->keyservers.count > 0)
        fk_conf_blame(conf, &site->block, "keyservers",
                      "site \"%s\": mode = local asks no key server; remove keyservers", title);
}

/* Edges read each other's entries only with the same keys. */
static void check_sessions(const struct fk_edge_site *site, struct fk_conf *conf)
{
    if (site->sessions == FK_SESSIONS_REDIS && site->tickets != FK_TICKETS_SHARED &&
        !fk_conf_is_bad(&site->block, "tickets"))
        fk_conf_blame(conf, &site->block, "sessions",
                      "site \"%s\": sessions = redis needs keys that edges share; write "
                      "tickets = shared",
                      site->block.title);
    if (site->session_us % 1000000 != 0)
        fk_conf_blame(conf, &site->block, "session_lifetime",
                      "site \"%s\": session_lifetime is not in whole seconds", site->block.title);
}

/* What only matters where OpenSSL shakes hands, and what has to be said in numbers. */
static void check_passed(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;

    if (site->certificate.count > 0)
        fk_conf_blame(conf, block, "certificate",
                      "site \"%s\": with mode = handshake the key server shows its own "
                      "certificates; remove certificate",
                      block->title);
    if (site->ocsp.count > 0)
        fk_conf_blame(
            conf, block, "ocsp",
            "site \"%s\": with mode = handshake the key server shows its certificates, and "
            "no OCSP responses with them; remove ocsp",
            block->title);
    if (site->tickets != FK_TICKETS_EDGE)
        fk_conf_blame(conf, block, "tickets",
                      "site \"%s\": with mode = handshake the key server seals and opens tickets; "
                      "remove tickets",
                      block->title);
    if (site->records == FK_RECORDS_OPENSSL)
        fk_conf_blame(conf, block, "records",
                      "site \"%s\": mode = handshake needs records = engine", block->title);
    if (strlen(block->title) > UINT8_MAX)
        fk_conf_blame(conf, block, NULL,
                      "site \"%s\": title too long for mode = handshake; at most %d characters",
                      block->title, UINT8_MAX);
    if (fk_tlsctx_alpn(site, NULL) > FK_HANDSHAKE_ALPN_MAX)
        fk_conf_blame(conf, block, "alpn", "site \"%s\": alpn: too many protocols", block->title);
    if (site->share.count > 1)
        fk_conf_blame(conf, block, "share",
                      "site \"%s\": with mode = handshake only one of a site's keys can be split",
                      block->title);
    if (site->groups.count > FK_EDGE_GROUPS_MAX)
        fk_conf_blame(conf, block, "groups", "site \"%s\": groups: more than %d", block->title,
                      FK_EDGE_GROUPS_MAX);
}

/* Mode lend: the key is whole or it is not there; signers count in seconds. */
static void check_lent(const struct fk_edge_site *site, struct fk_conf *conf)
{
    if (site->share.count > 0)
        fk_conf_blame(conf, &site->block, "share",
                      "site \"%s\": split keys are not lent; remove share, or write mode = sign",
                      site->block.title);
    if (site->lend_us % 1000000 != 0)
        fk_conf_blame(conf, &site->block, "lend_time",
                      "site \"%s\": lend_time is not in whole seconds", site->block.title);
}

static void check_expose(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;
    const char *title = block->title;

    if (site->mode != FK_MODE_HANDSHAKE && site->mode != FK_MODE_KEYS)
        fk_conf_blame(conf, block, "expose",
                      "site \"%s\": expose is for mode = keys or handshake; remove it", title);
    if (site->mode != FK_MODE_HANDSHAKE)
        return;
    if ((site->tls & FK_EDGE_TLS12) == 0 && !fk_conf_is_bad(block, "tls"))
        fk_conf_blame(conf, block, "expose",
                      "site \"%s\": expose = master is TLS 1.2; write tls = {\"1.2\", \"1.3\"}",
                      title);
}

/* Modes that leave secrets at the key server. */
static void check_opaque(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;
    struct fk_conf_where where = fk_conf_option_where(conf, block, "groups");

    for (size_t i = 0; i < site->groups.count; i++)
        if (!fk_opaque_serves_group(fk_server_group_id(site->groups.items[i])))
            fk_conf_complain(conf, &where,
                             "site \"%s\": group \"%s\" is not made by key servers; write "
                             "\"X25519\", \"P-256\" or \"P-384\"",
                             block->title, site->groups.items[i]);
}

static bool is_tls12_only(const struct fk_edge_site *site)
{
    enum fk_opaque_mode opaque = fk_tlsctx_opaque(site);

    return site->mode == FK_MODE_DECRYPT || (opaque != FK_OPAQUE_NONE && opaque != FK_OPAQUE_KEYS);
}

static const char *name_of(const struct fk_conf_name *names, int value)
{
    while (names->value != value)
        names++;
    return names->name;
}

const char *fk_edge_mode_name(const struct fk_edge_site *site)
{
    return name_of(modes, site->mode);
}

const char *fk_edge_expose_name(const struct fk_edge_site *site)
{
    return name_of(exposures, site->expose);
}

static void check_remote_keys(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_conf_block *block = &site->block;
    const char *title = block->title;

    if (site->mode == FK_MODE_HANDSHAKE)
        check_passed(site, conf);
    if (site->mode == FK_MODE_LEND)
        check_lent(site, conf);
    if (fk_tlsctx_opaque(site) != FK_OPAQUE_NONE)
        check_opaque(site, conf);
    if (site->key.count > 0)
        fk_conf_blame(conf, block, "key",
                      "site \"%s\": the key is at the key server; remove key, or write "
                      "mode = local",
                      title);
    if (lacks(site, "keyservers", &site->keyservers))
        fk_conf_complain(conf, &block->where,
                         "site \"%s\": no key server; write keyservers = {\"...\"}", title);
    if (site->keyservers.count > FK_EDGE_SERVERS_MAX)
        fk_conf_blame(conf, block, "keyservers", "site \"%s\": more than %d keyservers", title,
                      FK_EDGE_SERVERS_MAX);
    if (is_tls12_only(site) && (site->tls & FK_EDGE_TLS12) == 0 && !fk_conf_is_bad(block, "tls"))
        fk_conf_blame(conf, block, "tls",
                      "site \"%s\": mode = %s is TLS 1.2; write tls = {\"1.2\"}", title,
                      fk_edge_mode_name(site));
}

static void check_site_origins(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const char *title = site->block.title;
    struct fk_conf_where where;

    if (site->origin.count == 0) /* absent, or the sites of farkey inline have none */
        return;
    where = fk_conf_option_where(conf, &site->block, "origin");
    if (site->origin.count > FK_EDGE_ORIGINS_MAX)
        fk_conf_complain(conf, &where, "site \"%s\": more than %d origins", title,
                         FK_EDGE_ORIGINS_MAX);
    for (size_t i = 0; i < site->origin.count; i++) {
        const char *text = site->origin.items[i];
        char host[FK_HOST_MAX + 1];
        struct fk_addr addr;
        uint16_t port;

        if (fk_addr_parse(text, &addr) == FK_OK ||
            (strncmp(text, "unix:", 5) != 0 &&
             fk_addr_split(text, host, sizeof host, &port) == FK_OK && port != 0))
            continue;
        fk_conf_complain(conf, &where,
                         "site \"%s\": origin \"%s\" is not an address; write \"host:port\" or "
                         "\"unix:/path\"",
                         title, text);
    }
}

static void check_site(void *block, struct fk_conf *conf)
{
    const struct fk_edge_site *site = block;

    check_site_names(site, conf);
    if (site->agree_private && site->mode != FK_MODE_AGREE && !fk_conf_is_bad(&site->block, "mode"))
        fk_conf_blame(conf, &site->block, "agree_private",
                      "site \"%s\": agree_private is for mode = agree; remove it",
                      site->block.title);
    check_exchanges(site, conf);
    check_http(site, conf);
    fk_edge_check_client(site, conf);
    if (!fk_conf_is_bad(&site->block, "mode")) {
        if (site->mode == FK_MODE_LOCAL)
            check_local_keys(site, conf);
        else
            check_remote_keys(site, conf);
    }
    check_sessions(site, conf);
    if (site->expose == FK_EXPOSE_MASTER && !fk_conf_is_bad(&site->block, "mode"))
        check_expose(site, conf);
    check_site_origins(site, conf);
    if (site->certificate.count > FK_EDGE_CERTS_MAX)
        fk_conf_blame(conf, &site->block, "certificate",
                      "site \"%s\": more than %d certificates; one for each type of key",
                      site->block.title, FK_EDGE_CERTS_MAX);
    if (site->ocsp.count > FK_EDGE_CERTS_MAX)
        fk_conf_blame(conf, &site->block, "ocsp",
                      "site \"%s\": more than %d OCSP responses; one for each certificate",
                      site->block.title, FK_EDGE_CERTS_MAX);
}

const struct fk_conf_kind fk_edge_site_kind = {
    .name = "site",
    .size = sizeof(struct fk_edge_site),
    .titled = true,
    .list_offset = OPT(fk_edge_conf, sites),
    .options = site_options,
    .kids = site_kids,
    .help = "A service: server names, keys, TLS and origins.",
    .check = check_site,
};

const struct fk_conf_kind fk_inline_site_kind = {
    .name = "site",
    .size = sizeof(struct fk_edge_site),
    .titled = true,
    .list_offset = OPT(fk_edge_conf, sites),
    .options = inline_site_options,
    .kids = site_kids,
    .help = "A service behind the box: server names, keys and TLS.",
    .check = check_site,
};

size_t fk_edge_site_names(const struct fk_edge_site *site)
{
    return site->names.count > 0 ? site->names.count : 1;
}

const char *fk_edge_site_name(const struct fk_edge_site *site, size_t i)
{
    return site->names.count > 0 ? site->names.items[i] : site->block.title;
}
