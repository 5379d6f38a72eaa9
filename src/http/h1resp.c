/* Responses of HTTP/1: see h1resp.h. */
#include "http/h1resp.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/framing.h"
#include "http/text.h"

/* HTTP-version SP status-code [ SP reason-phrase ]: many origins leave the last SP out, too
 * (section 4). The phrase is nobody's business. */
static enum fk_http_fault parse_line(struct fk_reader line, enum fk_http_version *ret_version,
                                     int *ret_status)
{
    struct fk_reader version, digits;
    uint64_t status;

    if (!fk_http_all(line, FK_HTTP_CHAR_VALUE) || fk_reader_take(&line, 8, &version) != FK_OK ||
        (!fk_http_equal(version, "HTTP/1.1") && !fk_http_equal(version, "HTTP/1.0")))
        return FK_HTTP_FAULT_START_LINE;
    if (fk_reader_take(&line, 1, &digits) != FK_OK || !fk_http_equal(digits, " ") ||
        fk_reader_take(&line, 3, &digits) != FK_OK || fk_http_decimal(digits, &status) != FK_OK ||
        (line.left > 0 && line.next[0] != ' '))
        return FK_HTTP_FAULT_START_LINE;
    if (status < 100 || status > 599) /* RFC 9110 section 15 */
        return FK_HTTP_FAULT_STATUS;
    *ret_version = fk_http_equal(version, "HTTP/1.1") ? FK_HTTP_1_1 : FK_HTTP_1_0;
    *ret_status = (int)status;
    return FK_HTTP_FAULT_NONE;
}

/* 1xx and 204 have no body and must not say that they had one (RFC 9110 section 8.6); "0" does no
 * harm and is common. */
static enum fk_http_fault check_bodyless(const struct fk_http_response *response,
                                         const struct fk_http_body_fields *body)
{
    if (response->status >= 200 && response->status != 204)
        return FK_HTTP_FAULT_NONE;
    if (body->framing == FK_HTTP_CHUNKED || body->length > 0)
        return FK_HTTP_FAULT_CODING_FORBIDDEN;
    return FK_HTTP_FAULT_NONE;
}

/* Where the body ends (section 6.3). */
static enum fk_http_framing frame(const struct fk_h1resp *resp,
                                  const struct fk_http_body_fields *body)
{
    int status = resp->response.status;

    if (status == 101)
        return FK_HTTP_TUNNEL;
    if (resp->head || status < 200 || status == 204 || status == 304)
        return FK_HTTP_NO_BODY;
    return body->framing == FK_HTTP_NO_BODY ? FK_HTTP_CLOSE : body->framing;
}

/* 101 answers a request that asked for it, and says what it changes to (RFC 9110 section 15.2.2).
 */
static enum fk_http_fault check_upgrade(const struct fk_h1resp *resp)
{
    const struct fk_http_response *response = &resp->response;
    enum fk_http_fault fault;
    bool upgrade;

    if (response->status != 101)
        return FK_HTTP_FAULT_NONE;
    if (!resp->upgrade || response->version != FK_HTTP_1_1)
        return FK_HTTP_FAULT_UPGRADE_UNASKED;
    fault = fk_http_upgrade(&response->headers, response->version, &upgrade);
    if (fault != FK_HTTP_FAULT_NONE)
        return fault;
    return upgrade ? FK_HTTP_FAULT_NONE : FK_HTTP_FAULT_UPGRADE_BAD;
}

static enum fk_http_fault read_meaning(struct fk_h1resp *resp)
{
    struct fk_http_response *response = &resp->response;
    struct fk_http_body_fields body;
    enum fk_http_fault fault;

    if ((fault = fk_http_take_body_fields(&response->headers, response->version, &body)) !=
            FK_HTTP_FAULT_NONE ||
        (fault = check_bodyless(response, &body)) != FK_HTTP_FAULT_NONE ||
        (fault = fk_http_persistence(&response->headers, response->version,
                                     &response->keep_alive)) != FK_HTTP_FAULT_NONE ||
        (fault = check_upgrade(resp)) != FK_HTTP_FAULT_NONE)
        return fault;
    if (response->status < 200 && ++resp->interim > FK_HTTP_INTERIM_MAX)
        return FK_HTTP_FAULT_INTERIM_MANY;
    response->framing = frame(resp, &body);
    response->has_length =
        body.framing == FK_HTTP_LENGTH && response->status >= 200 && response->status != 204;
    response->length = response->has_length ? body.length : 0;
    if (response->framing == FK_HTTP_CLOSE)
        response->keep_alive = false;
    return FK_HTTP_FAULT_NONE;
}

static enum fk_h1_outcome outcome_of(const struct fk_http_response *response)
{
    switch (response->framing) {
    case FK_HTTP_TUNNEL:
        return FK_H1_GOT_TUNNEL;
    case FK_HTTP_CHUNKED:
        return FK_H1_GOT_CHUNKED;
    case FK_HTTP_CLOSE:
        return FK_H1_GOT_CLOSE;
    case FK_HTTP_LENGTH:
        return response->length > 0 ? FK_H1_GOT_LENGTH : FK_H1_GOT_BODYLESS;
    case FK_HTTP_NO_BODY:
        break;
    }
    return response->status < 200 ? FK_H1_GOT_INTERIM : FK_H1_GOT_BODYLESS;
}

static int read_head(struct fk_h1 *h1, struct fk_reader head, enum fk_h1_outcome *ret_outcome)
{
    struct fk_h1resp *resp = (struct fk_h1resp *)h1;
    struct fk_http_response *response = &resp->response;
    struct fk_reader line;
    enum fk_http_fault fault;
    int err;

    fk_http_response_reset(response); /* of an interim one */
    if (fk_h1_take_line(&head, &line) != FK_OK)
        return fk_h1_refuse(h1, FK_HTTP_FAULT_START_LINE);
    fault = parse_line(line, &response->version, &response->status);
    if (fault != FK_HTTP_FAULT_NONE)
        return fk_h1_refuse(h1, fault);
    if ((err = fk_h1_read_fields(h1, &head, h1->limits->fields, &response->headers)) != FK_OK)
        return err;
    if ((fault = read_meaning(resp)) != FK_HTTP_FAULT_NONE)
        return fk_h1_refuse(h1, fault);
    h1->left = response->length;
    h1->bodyless = response->framing == FK_HTTP_NO_BODY; /* llhttp would wait for a 304's */
    *ret_outcome = outcome_of(response);
    return FK_OK;
}

void fk_h1resp_init(struct fk_h1resp *resp, const struct fk_http_limits *limits)
{
    *resp = (struct fk_h1resp){.head = false};
    fk_h1_init(&resp->h1, HTTP_RESPONSE, limits, read_head);
    resp->h1.state = FK_H1_OVER;
    fk_http_response_init(&resp->response, limits);
}

void fk_h1resp_fini(struct fk_h1resp *resp)
{
    fk_h1_fini(&resp->h1);
    fk_http_response_fini(&resp->response);
}

void fk_h1resp_expect(struct fk_h1resp *resp, bool head, bool upgrade)
{
    fk_h1_restart(&resp->h1);
    fk_http_response_reset(&resp->response);
    resp->head = head;
    resp->upgrade = upgrade;
    resp->interim = 0;
}

int fk_h1resp_next(struct fk_h1resp *resp, const void *data, size_t len, size_t *ret_used,
                   struct fk_http_event *ret)
{
    return fk_h1_next(&resp->h1, data, len, ret_used, ret);
}

int fk_h1resp_eof(struct fk_h1resp *resp, bool unused, struct fk_http_event *ret)
{
    struct fk_h1 *h1 = &resp->h1;

    if (h1->state == FK_H1_FAILED)
        return h1->err;
    if (h1->state == FK_H1_CLOSE && !unused) {
        h1->state = FK_H1_OVER;
        *ret = (struct fk_http_event){.kind = FK_HTTP_END};
        return FK_OK;
    }
    if (h1->state == FK_H1_OVER || (h1->state == FK_H1_HEAD && !unused && resp->interim == 0))
        return FK_ERR_CLOSED;
    h1->state = FK_H1_FAILED;
    h1->err = fk_h1_refuse(h1, FK_HTTP_FAULT_TRUNCATED);
    return h1->err;
}
