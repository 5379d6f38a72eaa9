/* A request and a response: see message.h. */
#include "http/message.h"

#include "base/limits.h"
#include "http/text.h"

const struct fk_http_limits fk_http_limits_default = {
    .line = FK_HTTP_LINE_MAX,
    .head = FK_HTTP_HEAD_MAX,
    .fields = FK_HTTP_FIELDS_MAX,
};

/* Twice what a head may take, for lists that are joined, and room for what a proxy adds. */
static void init_headers(struct fk_http_headers *headers, const struct fk_http_limits *limits)
{
    fk_http_headers_init(headers, 2 * limits->head + FK_HTTP_FORWARD_BYTES,
                         limits->fields + FK_HTTP_FORWARD_FIELDS);
}

void fk_http_request_init(struct fk_http_request *request, const struct fk_http_limits *limits)
{
    *request = (struct fk_http_request){.version = FK_HTTP_1_1};
    init_headers(&request->headers, limits);
}

void fk_http_request_fini(struct fk_http_request *request)
{
    fk_http_headers_fini(&request->headers);
    fk_http_request_reset(request);
}

void fk_http_request_reset(struct fk_http_request *request)
{
    struct fk_http_headers headers = request->headers;

    *request = (struct fk_http_request){.version = FK_HTTP_1_1, .headers = headers};
    fk_http_headers_reset(&request->headers);
}

void fk_http_response_init(struct fk_http_response *response, const struct fk_http_limits *limits)
{
    *response = (struct fk_http_response){.version = FK_HTTP_1_1};
    init_headers(&response->headers, limits);
}

void fk_http_response_fini(struct fk_http_response *response)
{
    fk_http_headers_fini(&response->headers);
    fk_http_response_reset(response);
}

void fk_http_response_reset(struct fk_http_response *response)
{
    struct fk_http_headers headers = response->headers;

    *response = (struct fk_http_response){.version = FK_HTTP_1_1, .headers = headers};
    fk_http_headers_reset(&response->headers);
}

struct fk_reader fk_http_request_part(const struct fk_http_request *request,
                                      struct fk_http_part part)
{
    return fk_http_headers_part(&request->headers, part);
}

bool fk_http_request_is(const struct fk_http_request *request, const char *method)
{
    return fk_http_equal(fk_http_request_part(request, request->method), method);
}

bool fk_http_trailer_forbidden(struct fk_reader name)
{
    static const char *const forbidden[] = {"Host",
                                            "Content-Length",
                                            "Transfer-Encoding",
                                            "Connection",
                                            "Upgrade",
                                            "TE",
                                            "Trailer",
                                            "Keep-Alive",
                                            "Expect",
                                            "Max-Forwards",
                                            "Authorization",
                                            "Cookie",
                                            "Set-Cookie",
                                            "Cache-Control",
                                            "Content-Type",
                                            "Content-Range",
                                            "Content-Encoding",
                                            "Proxy-Connection",
                                            "Pragma",
                                            "Range",
                                            "Proxy-Authorization"};

    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++)
        if (fk_http_same_name(name, fk_http_text(forbidden[i]), true))
            return true;
    return false;
}
