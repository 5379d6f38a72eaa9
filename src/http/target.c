/* Request targets and authorities: see target.h. */
#include "http/target.h"

#include "base/err.h"
#include "base/text.h"
#include "http/text.h"

#include <arpa/inet.h>
#include <llhttp.h>
#include <string.h>

/* --- method --- */

bool fk_http_method_known(struct fk_reader method)
{
#define METHOD_NAME(number, name, string) #string,
    static const char *const names[] = {HTTP_METHOD_MAP(METHOD_NAME)};
#undef METHOD_NAME

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (fk_http_equal(method, names[i]))
            return true;
    return false;
}

/* --- authority --- */

static bool is_ipv6(struct fk_reader text)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (text.left == 0 || text.left >= sizeof copy)
        return false;
    memcpy(copy, text.next, text.left);
    copy[text.left] = '\0';
    return inet_pton(AF_INET6, copy, &address) == 1;
}

/* "[...]" at the front of `text`, which then stands behind it. */
static int take_literal(struct fk_reader *text, struct fk_reader *ret)
{
    struct fk_reader rest = *text, whole = *text, inside;

    if (fk_reader_skip(&rest, 1) != FK_OK || fk_reader_until(&rest, ']', &inside) != FK_OK ||
        !is_ipv6(inside))
        return FK_ERR_FORMAT;
    whole.left -= rest.left;
    *ret = whole;
    *text = rest;
    return FK_OK;
}

/* Digits, or nothing, after the colon (RFC 3986 section 3.2.3). */
static int parse_port(struct fk_reader text, uint16_t *ret)
{
    uint64_t port = 0;

    if (text.left > 5 || (text.left > 0 && fk_http_decimal(text, &port) != FK_OK) ||
        port > UINT16_MAX || (text.left > 0 && port == 0))
        return FK_ERR_FORMAT;
    *ret = (uint16_t)port;
    return FK_OK;
}

int fk_http_authority_parse(struct fk_reader text, struct fk_http_authority *ret)
{
    struct fk_http_authority authority = {.port = 0};
    struct fk_reader rest = text;
    uint8_t colon;

    if (text.left > 0 && text.next[0] == '[') {
        if (take_literal(&rest, &authority.host) != FK_OK)
            return FK_ERR_FORMAT;
        if (rest.left > 0 && (fk_reader_u8(&rest, &colon) != FK_OK || colon != ':'))
            return FK_ERR_FORMAT;
    } else {
        if (fk_reader_until(&rest, ':', &authority.host) != FK_OK) {
            authority.host = rest;
            rest.left = 0;
        }
        if (authority.host.left > 1 && authority.host.next[authority.host.left - 1] == '.')
            authority.host.left--;
        if (!fk_text_host_valid(authority.host.next, authority.host.left))
            return FK_ERR_FORMAT;
    }
    if (parse_port(rest, &authority.port) != FK_OK)
        return FK_ERR_FORMAT;
    *ret = authority;
    return FK_OK;
}

bool fk_http_authority_same(const struct fk_http_authority *a, const struct fk_http_authority *b,
                            uint16_t standard)
{
    uint16_t port_a = a->port != 0 ? a->port : standard, port_b = b->port != 0 ? b->port : standard;

    return port_a == port_b && fk_http_same_name(a->host, b->host, false);
}

/* --- targets --- */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20U;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Each '%' begins an octet; NUL, that ends strings in half of the world's origins, is none. */
static bool percent_fine(struct fk_reader path)
{
    uint8_t c, high, low;

    while (fk_reader_u8(&path, &c) == FK_OK) {
        if (c != '%')
            continue;
        if (fk_reader_u8(&path, &high) != FK_OK || fk_reader_u8(&path, &low) != FK_OK ||
            hex_value(high) < 0 || hex_value(low) < 0 || (high == '0' && low == '0'))
            return false;
    }
    return true;
}

enum fk_http_fault fk_http_path_check(struct fk_reader path)
{
    struct fk_reader query = path, before;

    if (path.left == 0 || path.next[0] != '/' || !fk_http_all(path, FK_HTTP_CHAR_TARGET))
        return FK_HTTP_FAULT_TARGET_BAD;
    if (fk_reader_until(&query, '?', &before) != FK_OK)
        before = path;
    return percent_fine(before) ? FK_HTTP_FAULT_NONE : FK_HTTP_FAULT_TARGET_BAD;
}

/* scheme "://" authority path-abempty [ "?" query ] */
static enum fk_http_fault parse_absolute(struct fk_reader text, struct fk_http_target *ret)
{
    struct fk_reader rest = text, scheme, authority;
    struct fk_http_authority parsed;
    uint8_t slash[2];
    size_t len = 0;

    if (fk_reader_until(&rest, ':', &scheme) != FK_OK ||
        (!fk_http_equal_case(scheme, "http") && !fk_http_equal_case(scheme, "https")) ||
        fk_reader_copy(&rest, slash, 2) != FK_OK || slash[0] != '/' || slash[1] != '/')
        return FK_HTTP_FAULT_TARGET_BAD;
    while (len < rest.left && rest.next[len] != '/' && rest.next[len] != '?')
        len++;
    if (fk_reader_take(&rest, len, &authority) != FK_OK ||
        fk_http_authority_parse(authority, &parsed) != FK_OK)
        return FK_HTTP_FAULT_TARGET_BAD;
    /* "http://host?query" has an empty path: nothing that exists sends it (section 3.2.1). */
    if (rest.left > 0 && fk_http_path_check(rest) != FK_HTTP_FAULT_NONE)
        return FK_HTTP_FAULT_TARGET_BAD;
    *ret = (struct fk_http_target){.scheme = scheme, .authority = authority, .path = rest};
    return FK_HTTP_FAULT_NONE;
}

enum fk_http_fault fk_http_target_parse(struct fk_reader method, struct fk_reader text,
                                        struct fk_http_target *ret)
{
    if (fk_http_equal(method, "CONNECT"))
        return FK_HTTP_FAULT_CONNECT;
    if (text.left == 0 || !fk_http_all(text, FK_HTTP_CHAR_TARGET))
        return FK_HTTP_FAULT_TARGET_BAD;
    if (fk_http_equal(text, "*")) {
        if (!fk_http_equal(method, "OPTIONS"))
            return FK_HTTP_FAULT_TARGET_FORM;
        *ret = (struct fk_http_target){.path = text};
        return FK_HTTP_FAULT_NONE;
    }
    if (text.next[0] == '/') {
        enum fk_http_fault fault = fk_http_path_check(text);

        if (fault == FK_HTTP_FAULT_NONE)
            *ret = (struct fk_http_target){.path = text};
        return fault;
    }
    return parse_absolute(text, ret);
}
