/* Certificates of clients in the configuration: who must show one, and in what formats origins get
 * it. */
#include "base/err.h"
#include "base/limits.h"
#include "edge/conf.h"
#include "edge/conf_priv.h"
#include "http/certrelay.h"
#include "http/pathguard.h"
#include "tls/clientrules.h"
#include "tls/server_ctx.h"
#include "wire/proxy.h"

#include <string.h>

#define OPT(type, member) offsetof(struct type, member)

static const struct fk_conf_name xfcc_ways[] = {
    {"sanitize", FK_XFCC_SANITIZE, "ours takes its place, as with any client"},
    {"append", FK_XFCC_APPEND, "ours comes behind it"},
    {"forward", FK_XFCC_FORWARD, "it passes as it is"},
    {NULL, 0, NULL},
};

static const struct fk_conf_name encodings[] = {
    {"base64url", 0, "DER in Base64 with the alphabet of URLs"},
    {"pem-spaces", 1, "PEM with a space for every separator"},
    {NULL, 0, NULL},
};

static const struct fk_conf_option relay_options[] = {
    {"name", FK_CONF_STRING, OPT(fk_edge_relay, name),
     .help = "The name of the field or cookie; with nginx, haproxy, traefik and alb what their "
             "fields begin with. By default the format's own."},
    {"template", FK_CONF_STRING, OPT(fk_edge_relay, template_),
     .help = "custom, xfcc: the value, with %{subject} and the like for what is in the "
             "certificate."},
    {"chain", FK_CONF_BOOL, OPT(fk_edge_relay, chain), "on",
     .help = "rfc9440, xfcc: relay the CAs between the certificate and the one at the top, too."},
    {"encoding", FK_CONF_ENUM, OPT(fk_edge_relay, encoding), "base64url", .names = encodings,
     .help = "cookie: how the certificate is written."},
    {"xfcc", FK_CONF_ENUM, OPT(fk_edge_relay, xfcc), "sanitize", .names = xfcc_ways,
     .help = "xfcc: what becomes of the field that a client of `trusted` has sent. Anybody "
             "else's is removed."},
    {"trusted", FK_CONF_LIST, OPT(fk_edge_relay, trusted),
     .help = "xfcc: rules, as of `allow`, for the certificates of proxies that may send the "
             "field."},
    {"type", FK_CONF_INT, OPT(fk_edge_relay, type), "224", FK_PROXY_CUSTOM_MIN, FK_PROXY_CUSTOM_MAX,
     .help = "proxy-v2: the type of the TLV with the certificate in DER."},
    {NULL},
};

static void check_relay(void *block, struct fk_conf *conf);

static const struct fk_conf_kind relay_kind = {
    .name = "relay",
    .size = sizeof(struct fk_edge_relay),
    .titled = true,
    .list_offset = OPT(fk_edge_client, relays),
    .options = relay_options,
    .help = "A format in which origins get a client's certificate: \"rfc9440\", \"cookie\", "
            "\"xfcc\", \"nginx\", \"haproxy\", \"traefik\", \"alb\", \"custom\" or, behind "
            "\"custom\", a word of one's own (\"custom-2\"); with protocol = tcp \"proxy-v2\". "
            "Without a block: \"rfc9440\". \"none\": nothing is relayed.",
    .check = check_relay,
};

static const struct fk_conf_name requires[] = {
    {"required", FK_CLIENT_REQUIRED, "a client without a certificate is refused"},
    {"optional", FK_CLIENT_OPTIONAL, "clients are asked, and may have none"},
    {NULL, 0, NULL},
};

static const struct fk_conf_option client_options[] = {
    {"require", FK_CONF_ENUM, OPT(fk_edge_client, require), "required", .names = requires,
     .help = "Whether clients must show a certificate. One that is shown must be good."},
    {"ca", FK_CONF_PATH, OPT(fk_edge_client, ca), .required = true,
     .help = "PEM certificates of the CAs that clients' certificates come from, and of those in "
             "between. No others count, not those of the system either."},
    {"crl", FK_CONF_PATH, OPT(fk_edge_client, crl),
     .help = "PEM revocation lists. When given, there must be a current one of each CA in a "
             "client's chain. Read at start and at each reload."},
    {"depth", FK_CONF_INT, OPT(fk_edge_client, depth), "4", 0, 16,
     .help = "CAs between a client's certificate and the CA at the top, at most."},
    {"allow", FK_CONF_LIST, OPT(fk_edge_client, allow),
     .help = "Rules of which a certificate must fit one: \"subject:CN=alice,O=Staff\", "
             "\"cn:alice\", \"dns:*.example.com\", \"email:a@example.com\", "
             "\"uri:spiffe://example/*\", \"spki:\" and the SHA-256 of its public key. Empty: all "
             "that the CAs vouch for."},
    {"paths", FK_CONF_LIST, OPT(fk_edge_client, paths),
     .help = "With protocol = http and require = optional: requests for these paths and what is "
             "below them are answered 403 where no certificate was shown."},
    {"relay_max", FK_CONF_SIZE, OPT(fk_edge_client, relay_max), "16k", 1024, FK_CERTRELAY_BYTES_MAX,
     .help = "Bytes that a request grows by at most. A client whose certificate needs more is "
             "answered 431."},
    {NULL},
};

static const struct fk_conf_kind *const client_kids[] = {&relay_kind, NULL};

static void check_client(void *block, struct fk_conf *conf);

const struct fk_conf_kind fk_edge_client_kind = {
    .name = "client_certificate",
    .size = sizeof(struct fk_edge_client),
    .once = true,
    .list_offset = OPT(fk_edge_site, client),
    .options = client_options,
    .kids = client_kids,
    .help = "Ask the clients of this site for certificates.",
    .check = check_client,
};

/* --- relay --- */

/* "custom-2": several of one's own. */
static int format_of(const struct fk_edge_relay *relay, enum fk_certrelay_format *ret)
{
    if (strncmp(relay->block.title, "custom-", 7) == 0) {
        *ret = FK_CERTRELAY_CUSTOM;
        return FK_OK;
    }
    return fk_certrelay_format_find(relay->block.title, ret);
}

static bool is_other(const struct fk_edge_relay *relay)
{
    return strcmp(relay->block.title, "none") == 0 || strcmp(relay->block.title, "proxy-v2") == 0;
}

static void to_conf(const struct fk_edge_relay *relay, enum fk_certrelay_format format,
                    struct fk_certrelay_conf *ret)
{
    *ret = (struct fk_certrelay_conf){
        .format = format,
        .name = relay->name,
        .template_ = relay->template_,
        .chain = relay->chain,
        .pem_spaces = relay->encoding != 0,
        .xfcc = (enum fk_certrelay_xfcc)relay->xfcc,
    };
}

static void check_rules(const struct fk_conf_block *block, const char *option,
                        const struct fk_conf_list *list, struct fk_conf *conf)
{
    struct fk_clientrules *rules = NULL;
    size_t bad = 0;
    int err = fk_clientrules_new(list->items, list->count, &rules, &bad);

    if (err == FK_ERR_NOMEM)
        fk_conf_no_memory(conf);
    else if (err != FK_OK)
        fk_conf_blame(conf, block, option,
                      "%s: \"%s\" is no rule; write \"cn:...\", \"dns:...\", \"email:...\", "
                      "\"uri:...\", \"subject:...\" or \"spki:\" and 64 hexadecimal digits",
                      option, list->items[bad]);
    fk_clientrules_free(rules);
}

static void check_relay(void *block, struct fk_conf *conf)
{
    const struct fk_edge_relay *relay = block;
    enum fk_certrelay_format format;
    struct fk_certrelay_conf made;
    const char *fault;

    if (is_other(relay) || fk_conf_is_bad(&relay->block, NULL))
        return;
    if (format_of(relay, &format) != FK_OK) {
        fk_conf_blame(conf, &relay->block, NULL,
                      "relay \"%s\": no such format; write \"rfc9440\", \"cookie\", \"xfcc\", "
                      "\"nginx\", \"haproxy\", \"traefik\", \"alb\", \"custom\", \"proxy-v2\" or "
                      "\"none\"",
                      relay->block.title);
        return;
    }
    to_conf(relay, format, &made);
    if (!fk_conf_is_bad(&relay->block, "name") && !fk_conf_is_bad(&relay->block, "template") &&
        (fault = fk_certrelay_fault(&made)) != NULL)
        fk_conf_complain(conf, &relay->block.where, "relay \"%s\": %s", relay->block.title, fault);
    check_rules(&relay->block, "trusted", &relay->trusted, conf);
    if (made.xfcc != FK_XFCC_SANITIZE && relay->trusted.count == 0 &&
        !fk_conf_is_bad(&relay->block, "trusted"))
        fk_conf_blame(conf, &relay->block, "xfcc",
                      "relay \"%s\": xfcc = append and forward are for known proxies; write "
                      "trusted = {\"dns:...\"}",
                      relay->block.title);
}

size_t fk_edge_relays(const struct fk_edge_client *client, struct fk_certrelay_conf *ret)
{
    const struct fk_conf_block *block = client->relays;
    enum fk_certrelay_format format;
    size_t n = 0;

    if (block == NULL) {
        ret[0] = (struct fk_certrelay_conf){.format = FK_CERTRELAY_RFC9440, .chain = true};
        return 1;
    }
    for (; block != NULL && n < FK_EDGE_RELAYS_MAX; block = block->next) {
        const struct fk_edge_relay *relay = (const void *)block;

        if (!is_other(relay) && format_of(relay, &format) == FK_OK)
            to_conf(relay, format, &ret[n++]);
    }
    return n;
}

const struct fk_edge_relay *fk_edge_relay_find(const struct fk_edge_client *client,
                                               const char *format)
{
    return client == NULL ? NULL : (const void *)fk_edge_find(client->relays, format);
}

/* --- client_certificate --- */

static void check_names(const struct fk_edge_client *client, struct fk_conf *conf)
{
    struct fk_certrelay_conf confs[FK_EDGE_RELAYS_MAX];
    struct fk_certrelay *relay = NULL;
    size_t n = 0;

    for (const struct fk_conf_block *b = client->relays; b != NULL; b = b->next)
        if (fk_conf_is_bad(b, NULL) || ++n > FK_EDGE_RELAYS_MAX)
            return;
    n = fk_edge_relays(client, confs);
    for (size_t i = 0; i < n; i++)
        if (fk_certrelay_fault(&confs[i]) != NULL)
            return;
    switch (fk_certrelay_new(confs, n, client->relay_max, &relay)) {
    case FK_OK:
        fk_certrelay_free(relay);
        break;
    case FK_ERR_NOMEM:
        fk_conf_no_memory(conf);
        break;
    default:
        fk_conf_complain(conf, &client->block.where,
                         "client_certificate: two formats with a field or cookie of the same name; "
                         "give one of them another by name = \"...\"");
        break;
    }
}

static void check_client(void *block, struct fk_conf *conf)
{
    const struct fk_edge_client *client = block;
    struct fk_conf_where where = fk_conf_option_where(conf, &client->block, "paths");
    size_t relays = 0;

    check_rules(&client->block, "allow", &client->allow, conf);
    for (size_t i = 0; i < client->paths.count; i++)
        if (!fk_http_guarded_ok(client->paths.items[i]))
            fk_conf_complain(conf, &where,
                             "paths: \"%s\" is not a plain path; write \"/a/b\", without \"%%\" "
                             "and without \"/\" at the end",
                             client->paths.items[i]);
    for (const struct fk_conf_block *b = client->relays; b != NULL; b = b->next)
        relays++;
    if (relays > FK_EDGE_RELAYS_MAX)
        fk_conf_complain(conf, &client->block.where, "client_certificate: more than %d formats",
                         FK_EDGE_RELAYS_MAX);
    check_names(client, conf);
}

static void check_tcp(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_edge_client *client = fk_edge_client(site);

    if (client->paths.count > 0)
        fk_conf_blame(conf, &client->block, "paths",
                      "site \"%s\": paths are of requests; write protocol = http, or remove paths",
                      site->block.title);
    for (const struct fk_conf_block *b = client->relays; b != NULL; b = b->next)
        if (!fk_conf_is_bad(b, NULL) && strcmp(b->title, "proxy-v2") != 0 &&
            strcmp(b->title, "none") != 0)
            fk_conf_blame(conf, b, NULL,
                          "site \"%s\": relay \"%s\" is for protocol = http; with tcp there is "
                          "\"proxy-v2\"",
                          site->block.title, b->title);
    if (fk_edge_relay_find(client, "proxy-v2") != NULL &&
        site->origin_proxy != FK_ORIGIN_PROXY_V2 && !fk_conf_is_bad(&site->block, "origin_proxy"))
        fk_conf_blame(conf, &fk_edge_relay_find(client, "proxy-v2")->block, NULL,
                      "site \"%s\": relay \"proxy-v2\" needs origin_proxy = v2", site->block.title);
}

/* A box in the cable adds nothing to what passes. */
static void check_inline(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_edge_client *client = fk_edge_client(site);

    if (client->paths.count > 0)
        fk_conf_blame(conf, &client->block, "paths",
                      "site \"%s\": paths are of requests, which farkey inline does not read; "
                      "remove paths",
                      site->block.title);
    for (const struct fk_conf_block *b = client->relays; b != NULL; b = b->next)
        if (!fk_conf_is_bad(b, NULL) && strcmp(b->title, "none") != 0)
            fk_conf_blame(conf, b, NULL,
                          "site \"%s\": farkey inline relays no certificates; remove the block",
                          site->block.title);
}

void fk_edge_check_client(const struct fk_edge_site *site, struct fk_conf *conf)
{
    const struct fk_edge_client *client = fk_edge_client(site);

    if (client == NULL)
        return;
    if (site->block.kind == &fk_inline_site_kind) {
        check_inline(site, conf);
        return;
    }
    if (fk_conf_is_bad(&site->block, "protocol"))
        return;
    if (site->protocol != FK_PROTOCOL_HTTP)
        check_tcp(site, conf);
    else if (fk_edge_relay_find(client, "proxy-v2") != NULL)
        fk_conf_blame(conf, &fk_edge_relay_find(client, "proxy-v2")->block, NULL,
                      "site \"%s\": relay \"proxy-v2\" is for protocol = tcp; write \"rfc9440\"",
                      site->block.title);
    if (client->paths.count > 0 && client->require == FK_CLIENT_REQUIRED &&
        !fk_conf_is_bad(&client->block, "require"))
        fk_conf_blame(conf, &client->block, "paths",
                      "site \"%s\": with require = required all paths need a certificate; write "
                      "require = optional, or remove paths",
                      site->block.title);
}
