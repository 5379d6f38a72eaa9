/* Requests of HTTP/1: see h1req.h. */
#include "http/h1req.h"

#include "base/err.h"
#include "http/framing.h"
#include "http/target.h"
#include "http/text.h"

/* --- request line --- */

struct request_line {
    struct fk_reader method;
    struct fk_reader target;
    enum fk_http_version version;
};

/* "HTTP/" DIGIT "." DIGIT (section 2.3). */
static enum fk_http_fault parse_version(struct fk_reader text, enum fk_http_version *ret)
{
    struct fk_reader name;
    uint8_t major, dot, minor;

    if (fk_reader_take(&text, 5, &name) != FK_OK || !fk_http_equal(name, "HTTP/") ||
        fk_reader_u8(&text, &major) != FK_OK || fk_reader_u8(&text, &dot) != FK_OK ||
        fk_reader_u8(&text, &minor) != FK_OK || text.left > 0 || dot != '.' || major < '0' ||
        major > '9' || minor < '0' || minor > '9')
        return FK_HTTP_FAULT_START_LINE;
    if (major != '1' || minor > '1')
        return FK_HTTP_FAULT_VERSION;
    *ret = minor == '1' ? FK_HTTP_1_1 : FK_HTTP_1_0;
    return FK_HTTP_FAULT_NONE;
}

/* method SP request-target SP HTTP-version: single spaces (section 3). */
static enum fk_http_fault parse_line(struct fk_reader line, struct request_line *ret)
{
    struct request_line parsed = {.version = FK_HTTP_1_1};
    enum fk_http_fault fault;

    if (fk_reader_until(&line, ' ', &parsed.method) != FK_OK ||
        fk_reader_until(&line, ' ', &parsed.target) != FK_OK || !fk_http_is_token(parsed.method))
        return FK_HTTP_FAULT_START_LINE;
    if ((fault = parse_version(line, &parsed.version)) != FK_HTTP_FAULT_NONE)
        return fault;
    *ret = parsed;
    return FK_HTTP_FAULT_NONE;
}

/* --- whom it is for --- */

static enum fk_http_fault check_host(struct fk_reader host, const struct fk_http_target *target)
{
    bool https = fk_http_equal_case(target->scheme, "https");
    struct fk_http_authority named, asked;

    if (fk_http_authority_parse(host, &named) != FK_OK)
        return FK_HTTP_FAULT_HOST_BAD;
    if (target->authority.left == 0)
        return FK_HTTP_FAULT_NONE;
    /* The target would win (section 3.2.2), but whoever sends both must send them equal. */
    if (fk_http_authority_parse(target->authority, &asked) != FK_OK ||
        !fk_http_authority_same(&named, &asked, https ? 443 : 80))
        return FK_HTTP_FAULT_HOST_DIFFERS;
    return FK_HTTP_FAULT_NONE;
}

/* Take Host out of the fields; the request's authority is it, or the target's. */
static enum fk_http_fault take_host(struct fk_http_request *request,
                                    const struct fk_http_target *target)
{
    struct fk_http_headers *headers = &request->headers;
    size_t hosts = fk_http_headers_count(headers, "Host"), at;
    enum fk_http_fault fault;

    if (hosts > 1)
        return FK_HTTP_FAULT_HOST_REPEATED;
    if (hosts == 0)
        return request->version == FK_HTTP_1_1 ? FK_HTTP_FAULT_HOST_MISSING : FK_HTTP_FAULT_NONE;
    at = fk_http_headers_index(headers, "Host", 0);
    fault = check_host(fk_http_headers_value(headers, at), target);
    if (fault != FK_HTTP_FAULT_NONE)
        return fault;
    request->authority = headers->fields[at].value;
    fk_http_headers_remove(headers, fk_http_text("Host"), false);
    return FK_HTTP_FAULT_NONE;
}

/* Copy the start line's parts; what an absolute target leaves out is "/", or "*" of OPTIONS
 * (section 3.2.4). */
static int keep_parts(struct fk_http_request *request, const struct request_line *line,
                      const struct fk_http_target *target)
{
    struct fk_http_headers *headers = &request->headers;
    bool options = fk_http_equal(line->method, "OPTIONS");
    struct fk_reader path = target->path, scheme = target->scheme;
    int err;

    if (path.left == 0)
        path = fk_http_text(options ? "*" : "/");
    if (scheme.left > 0)
        scheme = fk_http_text(fk_http_equal_case(scheme, "https") ? "https" : "http");
    if ((err = fk_http_headers_keep(headers, line->method, &request->method)) != FK_OK ||
        (err = fk_http_headers_keep(headers, path, &request->path)) != FK_OK ||
        (err = fk_http_headers_keep(headers, scheme, &request->scheme)) != FK_OK ||
        (err = fk_http_headers_keep(headers, target->authority, &request->authority)) != FK_OK)
        return err;
    return FK_OK;
}

/* --- what the fields say --- */

static enum fk_http_fault read_meaning(struct fk_http_request *request,
                                       const struct fk_http_target *target)
{
    struct fk_http_headers *headers = &request->headers;
    struct fk_http_body_fields body;
    enum fk_http_fault fault;

    if ((fault = fk_http_take_body_fields(headers, request->version, &body)) != FK_HTTP_FAULT_NONE)
        return fault;
    request->framing = body.framing;
    request->length = body.length;
    if ((fault = take_host(request, target)) != FK_HTTP_FAULT_NONE ||
        (fault = fk_http_persistence(headers, request->version, &request->keep_alive)) !=
            FK_HTTP_FAULT_NONE ||
        (fault = fk_http_upgrade(headers, request->version, &request->upgrade)) !=
            FK_HTTP_FAULT_NONE)
        return fault;
    return fk_http_take_expect(request);
}

static int read_head(struct fk_h1 *h1, struct fk_reader head, enum fk_h1_outcome *ret_outcome)
{
    struct fk_http_request *request = &((struct fk_h1req *)h1)->request;
    struct request_line line;
    struct fk_http_target target;
    struct fk_reader first;
    enum fk_http_fault fault;
    int err;

    if ((err = fk_h1_take_line(&head, &first)) != FK_OK)
        return fk_h1_refuse(h1, FK_HTTP_FAULT_START_LINE);
    if ((fault = parse_line(first, &line)) != FK_HTTP_FAULT_NONE ||
        (fault = fk_http_target_parse(line.method, line.target, &target)) != FK_HTTP_FAULT_NONE)
        return fk_h1_refuse(h1, fault);
    request->version = line.version;
    if ((err = keep_parts(request, &line, &target)) != FK_OK)
        return err == FK_ERR_LIMIT ? fk_h1_refuse(h1, FK_HTTP_FAULT_FIELDS_LARGE) : err;
    if ((err = fk_h1_read_fields(h1, &head, h1->limits->fields, &request->headers)) != FK_OK)
        return err;
    if ((fault = read_meaning(request, &target)) != FK_HTTP_FAULT_NONE)
        return fk_h1_refuse(h1, fault);
    h1->left = request->length;
    if (request->framing == FK_HTTP_CHUNKED)
        *ret_outcome = FK_H1_GOT_CHUNKED;
    else
        *ret_outcome = request->length > 0 ? FK_H1_GOT_LENGTH : FK_H1_GOT_BODYLESS;
    return FK_OK;
}

/* --- the request --- */

void fk_h1req_init(struct fk_h1req *req, const struct fk_http_limits *limits)
{
    fk_h1_init(&req->h1, HTTP_REQUEST, limits, read_head);
    fk_http_request_init(&req->request, limits);
}

void fk_h1req_fini(struct fk_h1req *req)
{
    fk_h1_fini(&req->h1);
    fk_http_request_fini(&req->request);
}

void fk_h1req_restart(struct fk_h1req *req)
{
    fk_h1_restart(&req->h1);
    fk_http_request_reset(&req->request);
}

int fk_h1req_next(struct fk_h1req *req, const void *data, size_t len, size_t *ret_used,
                  struct fk_http_event *ret)
{
    return fk_h1_next(&req->h1, data, len, ret_used, ret);
}
