/* Where a body ends: see framing.h. */
#include "http/framing.h"

#include "base/err.h"
#include "http/text.h"

/* Transfer-Encoding: exactly one "chunked" (section 6.1; 7 has no other coding that we know). */
static enum fk_http_fault read_coding(const struct fk_http_headers *headers,
                                      enum fk_http_version version)
{
    size_t n = 0, n_chunked = 0;
    bool last_chunked = false;

    if (version != FK_HTTP_1_1)
        return FK_HTTP_FAULT_CODING_OLD;
    for (size_t i = fk_http_headers_index(headers, "Transfer-Encoding", 0); i < headers->count;
         i = fk_http_headers_index(headers, "Transfer-Encoding", i + 1)) {
        struct fk_reader list = fk_http_headers_value(headers, i), coding;

        if (list.left == 0)
            return FK_HTTP_FAULT_CODING_BAD;
        for (; fk_http_list_next(&list, &coding) == FK_OK; n++) {
            last_chunked = fk_http_equal_case(coding, "chunked");
            n_chunked += last_chunked ? 1 : 0;
            if (!fk_http_is_token(coding))
                return FK_HTTP_FAULT_CODING_BAD;
        }
    }
    if (!last_chunked || n_chunked > 1)
        return FK_HTTP_FAULT_CODING_BAD;
    return n == 1 ? FK_HTTP_FAULT_NONE : FK_HTTP_FAULT_CODING_UNKNOWN;
}

enum fk_http_fault fk_http_take_body_fields(struct fk_http_headers *headers,
                                            enum fk_http_version version,
                                            struct fk_http_body_fields *ret)
{
    size_t lengths = fk_http_headers_count(headers, "Content-Length");
    size_t codings = fk_http_headers_count(headers, "Transfer-Encoding");
    struct fk_http_body_fields body = {FK_HTTP_NO_BODY, 0};
    struct fk_reader value = {0};
    enum fk_http_fault fault;

    if (lengths > 0 && codings > 0)
        return FK_HTTP_FAULT_LENGTH_AND_CODING; /* section 6.3, item 3 */
    if (lengths > 1)
        return FK_HTTP_FAULT_LENGTH_REPEATED; /* also of equal ones: item 5 lets a server choose */
    if (codings > 0) {
        if ((fault = read_coding(headers, version)) != FK_HTTP_FAULT_NONE)
            return fault;
        body.framing = FK_HTTP_CHUNKED;
    } else if (lengths > 0) {
        if (fk_http_headers_find(headers, "Content-Length", &value) != FK_OK ||
            fk_http_decimal(value, &body.length) != FK_OK)
            return FK_HTTP_FAULT_LENGTH_BAD;
        body.framing = FK_HTTP_LENGTH;
    }
    fk_http_headers_remove(headers, fk_http_text("Content-Length"), false);
    fk_http_headers_remove(headers, fk_http_text("Transfer-Encoding"), false);
    *ret = body;
    return FK_HTTP_FAULT_NONE;
}

enum fk_http_fault fk_http_persistence(const struct fk_http_headers *headers,
                                       enum fk_http_version version, bool *ret)
{
    bool closes = false, stays = false;

    for (size_t i = fk_http_headers_index(headers, "Connection", 0); i < headers->count;
         i = fk_http_headers_index(headers, "Connection", i + 1)) {
        struct fk_reader list = fk_http_headers_value(headers, i), option;

        while (fk_http_list_next(&list, &option) == FK_OK) {
            if (!fk_http_is_token(option))
                return FK_HTTP_FAULT_CONNECTION_BAD; /* RFC 9110 section 7.6.1 */
            closes = closes || fk_http_equal_case(option, "close");
            stays = stays || fk_http_equal_case(option, "keep-alive");
        }
    }
    *ret = !closes && (version == FK_HTTP_1_1 || stays);
    return FK_HTTP_FAULT_NONE;
}

enum fk_http_fault fk_http_upgrade(const struct fk_http_headers *headers,
                                   enum fk_http_version version, bool *ret)
{
    struct fk_reader list, protocol, name;
    size_t n = 0;

    if (version != FK_HTTP_1_1 || !fk_http_headers_lists(headers, "Connection", "upgrade")) {
        *ret = false;
        return FK_HTTP_FAULT_NONE;
    }
    if (fk_http_headers_count(headers, "Upgrade") != 1 ||
        fk_http_headers_find(headers, "Upgrade", &list) != FK_OK)
        return FK_HTTP_FAULT_UPGRADE_BAD;
    for (; fk_http_list_next(&list, &protocol) == FK_OK; n++) {
        struct fk_reader rest = protocol; /* name [ "/" version ] */

        if (fk_reader_until(&rest, '/', &name) != FK_OK)
            name = protocol;
        else if (!fk_http_is_token(rest))
            return FK_HTTP_FAULT_UPGRADE_BAD;
        if (!fk_http_is_token(name))
            return FK_HTTP_FAULT_UPGRADE_BAD;
    }
    if (n == 0)
        return FK_HTTP_FAULT_UPGRADE_BAD;
    *ret = true;
    return FK_HTTP_FAULT_NONE;
}

enum fk_http_fault fk_http_take_expect(struct fk_http_request *request)
{
    struct fk_http_headers *headers = &request->headers;
    struct fk_reader value;

    if (fk_http_headers_find(headers, "Expect", &value) != FK_OK)
        return FK_HTTP_FAULT_NONE;
    if (fk_http_headers_count(headers, "Expect") > 1 || !fk_http_equal_case(value, "100-continue"))
        return FK_HTTP_FAULT_EXPECTATION;
    fk_http_headers_remove(headers, fk_http_text("Expect"), false);
    /* A client of HTTP/1.0 would not understand the answer, and one without body needs none. */
    request->expect_continue = request->version != FK_HTTP_1_0 &&
                               (request->framing == FK_HTTP_CHUNKED || request->length > 0);
    return FK_HTTP_FAULT_NONE;
}
