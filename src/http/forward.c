/* What a proxy changes in a message: see forward.h. */
#include "http/forward.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/cookie.h"
#include "http/pathguard.h"
#include "http/target.h"
#include "http/text.h"

#include <stdio.h>
#include <string.h>

/* By these some application or framework believes what a proxy is said to have said. */
static const char *const proxy_names[] = {
    "Forwarded",        "X-Forwarded-For",     "X-Forwarded-Host",     "X-Forwarded-Proto",
    "X-Forwarded-Port", "X-Forwarded-Server",  "X-Forwarded-Scheme",   "X-Forwarded-Ssl",
    "X-Forwarded-By",   "X-Forwarded-Prefix",  "X-Forwarded-Protocol", "X-Real-IP",
    "X-Client-IP",      "X-Cluster-Client-IP", "True-Client-IP",       "X-Original-Host",
    "X-Original-URL",   "X-Rewrite-URL",       "X-Url-Scheme",         "Front-End-Https",
};

/* Fields of one connection (RFC 9110 section 7.6.1), and Proxy, that CGI makes HTTP_PROXY of. */
static const char *const hop_names[] = {
    "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "Proxy",
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void remove_all(struct fk_http_headers *headers, const char *const *names, size_t n,
                       bool aliases)
{
    for (size_t i = 0; i < n; i++)
        fk_http_headers_remove(headers, fk_http_text(names[i]), aliases);
}

static bool is_of_proxies(struct fk_reader name)
{
    for (size_t i = 0; i < COUNT(proxy_names); i++)
        if (fk_http_same_name(name, fk_http_text(proxy_names[i]), true))
            return true;
    return false;
}

/* Connection and the fields that it names, but for those of a trusted proxy. Text stays where it is
 * when fields go, so a list may be read on. */
static void remove_named(struct fk_http_headers *headers)
{
    size_t i;

    while ((i = fk_http_headers_index(headers, "Connection", 0)) < headers->count) {
        struct fk_reader list = fk_http_headers_value(headers, i), name;

        fk_http_headers_drop(headers, i);
        while (fk_http_list_next(&list, &name) == FK_OK)
            if (!fk_http_equal_case(name, "Connection") && !is_of_proxies(name))
                fk_http_headers_remove(headers, name, false);
    }
}

/* Append to a list field, or make it. */
static int append(struct fk_http_headers *headers, const char *name, const char *value)
{
    int err = fk_http_headers_add_text(headers, name, value);

    return err == FK_OK ? fk_http_headers_join(headers, name, ", ") : err;
}

static int add_via(struct fk_http_headers *headers, enum fk_http_version version,
                   const struct fk_http_forward *forward)
{
    char value[FK_NAME_MAX + 8];

    snprintf(value, sizeof value, "%d.%d %s", (int)version / 10, (int)version % 10, forward->via);
    return append(headers, "Via", value);
}

/* --- who asks --- */

/* RFC 7239 section 6: IPv6 in brackets and quotes; "unknown" where there is no address. */
static int add_forwarded(struct fk_http_request *request, const struct fk_http_client *client)
{
    struct fk_reader host = fk_http_request_part(request, request->authority);
    const char *address = client->address != NULL ? client->address : "unknown";
    bool six = strchr(address, ':') != NULL;
    char value[FK_HTTP_FORWARD_BYTES / 4];
    int n = snprintf(value, sizeof value, "for=%s%s%s;host=\"%.*s\";proto=%s", six ? "\"[" : "",
                     address, six ? "]\"" : "", (int)host.left,
                     host.left > 0 ? (const char *)host.next : "", client->tls ? "https" : "http");

    if (n < 0 || (size_t)n >= sizeof value)
        return FK_ERR_LIMIT;
    return append(&request->headers, "Forwarded", value);
}

static int add_x_forwarded(struct fk_http_request *request, const struct fk_http_client *client)
{
    struct fk_http_headers *headers = &request->headers;
    struct fk_reader there;
    char port[8];
    int err = FK_OK;

    snprintf(port, sizeof port, "%u", (unsigned)client->local_port);
    if (client->address != NULL)
        err = append(headers, "X-Forwarded-For", client->address);
    /* What a trusted proxy said of its own client is nearer to the truth than what we see of it. */
    if (err == FK_OK && fk_http_headers_find(headers, "X-Forwarded-Proto", &there) != FK_OK)
        err =
            fk_http_headers_add_text(headers, "X-Forwarded-Proto", client->tls ? "https" : "http");
    if (err == FK_OK && request->authority.len > 0 &&
        fk_http_headers_find(headers, "X-Forwarded-Host", &there) != FK_OK) /* borrowed only now */
        err = fk_http_headers_add(headers, fk_http_text("X-Forwarded-Host"),
                                  fk_http_request_part(request, request->authority));
    if (err == FK_OK && client->local_port != 0 &&
        fk_http_headers_find(headers, "X-Forwarded-Port", &there) != FK_OK)
        err = fk_http_headers_add_text(headers, "X-Forwarded-Port", port);
    return err;
}

/* --- upgrades --- */

/* The protocol of a list of `forward` that Upgrade asks for, first come first; NULL: none. */
static const char *wanted_upgrade(const struct fk_http_request *request,
                                  const struct fk_http_forward *forward)
{
    struct fk_reader list, protocol;

    if (!request->upgrade || fk_http_headers_find(&request->headers, "Upgrade", &list) != FK_OK)
        return NULL;
    while (fk_http_list_next(&list, &protocol) == FK_OK)
        for (size_t i = 0; i < forward->n_upgrades; i++)
            if (fk_http_equal_case(protocol, forward->upgrades[i]))
                return forward->upgrades[i];
    return NULL;
}

/* --- certificates of clients --- */

static bool is_guarded(const struct fk_http_request *request, const struct fk_http_forward *forward)
{
    struct fk_reader path = fk_http_request_part(request, request->path);

    for (size_t i = 0; i < forward->n_guarded; i++)
        if (fk_http_path_guarded(path, forward->guarded[i]))
            return true;
    return false;
}

/* One connection is for one set of rules (RFC 9110 section 7.4). */
static bool is_misdirected(const struct fk_http_request *request,
                           const struct fk_http_forward *forward)
{
    struct fk_http_authority authority;

    return forward->foreign != NULL &&
           fk_http_authority_parse(fk_http_request_part(request, request->authority), &authority) ==
               FK_OK &&
           forward->foreign(forward->foreign_arg, authority.host);
}

static enum fk_http_fault judge(const struct fk_http_request *request,
                                const struct fk_http_forward *forward,
                                const struct fk_http_identity *identity)
{
    if (is_misdirected(request, forward))
        return FK_HTTP_FAULT_MISDIRECTED;
    if ((identity == NULL || !identity->proven) && is_guarded(request, forward))
        return FK_HTTP_FAULT_CERT_MISSING;
    if (identity != NULL && identity->too_large)
        return FK_HTTP_FAULT_CERT_LARGE;
    return FK_HTTP_FAULT_NONE;
}

/* Whether a field is the one that this client may send: by its very name, not by an alias. */
static bool is_kept(struct fk_reader name, const struct fk_http_identity *identity)
{
    return identity != NULL && identity->kept != NULL && fk_http_equal_case(name, identity->kept);
}

static enum fk_http_fault remove_ours(struct fk_http_headers *headers,
                                      const struct fk_http_forward *forward,
                                      const struct fk_http_identity *identity)
{
    for (size_t i = 0; i < forward->n_ours; i++)
        if (!is_kept(fk_http_text(forward->ours[i]), identity))
            fk_http_headers_remove(headers, fk_http_text(forward->ours[i]), true);
    if (identity == NULL || identity->kept == NULL)
        return FK_HTTP_FAULT_NONE;
    for (size_t i = headers->count; i-- > 0;) {
        struct fk_reader name = fk_http_headers_name(headers, i);

        if (!fk_http_same_name(name, fk_http_text(identity->kept), true))
            continue;
        if (!is_kept(name, identity))
            fk_http_headers_drop(headers, i);
        else if (!identity->kept_ok(fk_http_headers_value(headers, i)))
            return FK_HTTP_FAULT_CERT_FIELD_BAD;
    }
    return FK_HTTP_FAULT_NONE;
}

static int say(struct fk_http_headers *headers, const struct fk_http_said *said)
{
    switch (said->kind) {
    case FK_SAID_COOKIE:
        return fk_http_cookie_add(headers, said->name, said->value);
    case FK_SAID_APPENDED:
        return fk_http_headers_extend(headers, said->name, ",", &said->value, 1);
    case FK_SAID_FIELD:
        break;
    }
    return fk_http_headers_add(headers, fk_http_text(said->name), said->value);
}

/* Where the client's Cookie ends ours begins; of fields it has none left. */
static int say_all(struct fk_http_headers *headers, const struct fk_http_identity *identity)
{
    int err = FK_OK;

    if (identity == NULL || identity->n_said == 0)
        return FK_OK;
    fk_http_headers_widen(headers, identity->bytes + headers->len, identity->n_said);
    for (size_t i = 0; i < identity->n_said && err == FK_OK; i++) {
        if (identity->said[i].kind == FK_SAID_APPENDED)
            err = fk_http_headers_join(headers, identity->said[i].name, ",");
        if (err == FK_OK)
            err = say(headers, &identity->said[i]);
    }
    return err;
}

/* --- messages --- */

static int add_own(struct fk_http_request *request, const struct fk_http_forward *forward,
                   const struct fk_http_client *client)
{
    struct fk_http_headers *headers = &request->headers;
    int err;

    if ((err = fk_http_headers_join(headers, "Cookie", "; ")) != FK_OK)
        return err;
    for (size_t i = 0; i < forward->n_cookies; i++)
        if ((err = fk_http_cookie_remove(headers, forward->cookies[i])) != FK_OK)
            return err;
    if ((err = add_via(headers, request->version, forward)) != FK_OK)
        return err;
    if (forward->forwarded && (err = add_forwarded(request, client)) != FK_OK)
        return err;
    if (forward->x_forwarded && (err = add_x_forwarded(request, client)) != FK_OK)
        return err;
    return say_all(headers, client->identity);
}

int fk_http_forward_request(struct fk_http_request *request, const struct fk_http_forward *forward,
                            const struct fk_http_client *client, enum fk_http_fault *ret_fault)
{
    struct fk_http_headers *headers = &request->headers;
    const char *upgrade = wanted_upgrade(request, forward);
    bool trailers = fk_http_headers_lists(headers, "TE", "trailers");
    enum fk_http_fault fault = judge(request, forward, client->identity);
    int err;

    if (fault == FK_HTTP_FAULT_NONE)
        fault = remove_ours(headers, forward, client->identity);
    if (fault != FK_HTTP_FAULT_NONE) {
        *ret_fault = fault;
        return FK_ERR_FORMAT;
    }
    if (!client->trusted)
        remove_all(headers, proxy_names, COUNT(proxy_names), true);
    remove_named(headers);
    remove_all(headers, hop_names, COUNT(hop_names), true);
    request->upgrade = upgrade != NULL;
    err = add_own(request, forward, client);
    if (err == FK_OK && trailers)
        err = fk_http_headers_add_text(headers, "TE", "trailers");
    if (err == FK_OK && upgrade != NULL)
        err = fk_http_headers_add_text(headers, "Upgrade", upgrade);
    if (err != FK_ERR_LIMIT)
        return err;
    *ret_fault = FK_HTTP_FAULT_FIELDS_LARGE;
    return FK_ERR_FORMAT;
}

static bool varies_by_ours(const struct fk_http_headers *headers,
                           const struct fk_http_forward *forward)
{
    for (size_t i = 0; i < forward->n_ours; i++)
        if (fk_http_headers_lists(headers, "Vary", forward->ours[i]))
            return true;
    return false;
}

/* Caches on the client's side never see what it varies by (RFC 9440 section 2.4). */
static int hide_variants(struct fk_http_headers *headers, const struct fk_http_forward *forward)
{
    if (!varies_by_ours(headers, forward))
        return FK_OK;
    fk_http_headers_remove(headers, fk_http_text("Vary"), false);
    return fk_http_headers_add_text(headers, "Vary", "*");
}

int fk_http_forward_response(struct fk_http_response *response,
                             const struct fk_http_forward *forward)
{
    struct fk_http_headers *headers = &response->headers;
    struct fk_http_part protocol = {0};
    size_t at = fk_http_headers_index(headers, "Upgrade", 0);
    int err;

    if (response->status == 101 && at < headers->count)
        protocol = headers->fields[at].value;
    remove_named(headers);
    remove_all(headers, hop_names, COUNT(hop_names), false);
    if ((err = hide_variants(headers, forward)) != FK_OK ||
        (err = add_via(headers, response->version, forward)) != FK_OK)
        return err;
    if (protocol.len == 0)
        return FK_OK;
    return fk_http_headers_add(headers, fk_http_text("Upgrade"),
                               fk_http_headers_part(headers, protocol));
}

void fk_http_forward_trailers(struct fk_http_headers *trailers,
                              const struct fk_http_forward *forward)
{
    remove_all(trailers, forward->ours, forward->n_ours, true);
    remove_all(trailers, proxy_names, COUNT(proxy_names), true);
    remove_all(trailers, hop_names, COUNT(hop_names), true);
}
