/* The edge's own answers: see own.h. */
#include "http/own.h"

#include "base/err.h"
#include "http/h1write.h"
#include "http/text.h"

#include <stdio.h>

int fk_http_own_answer(int status, struct fk_http_response *response,
                       char ret_body[FK_HTTP_OWN_MAX])
{
    int n = snprintf(ret_body, FK_HTTP_OWN_MAX, "%d %s\n", status, fk_http_reason(status)), err;

    response->status = status;
    response->framing = FK_HTTP_LENGTH;
    response->length = (uint64_t)n;
    if ((err = fk_http_headers_add_text(&response->headers, "Content-Type",
                                        "text/plain; charset=utf-8")) != FK_OK)
        return err;
    return fk_http_headers_add_text(&response->headers, "Cache-Control", "no-store");
}
