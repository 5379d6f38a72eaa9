/*
 * http/h1resp: whatever the bytes, and however they arrive, the same comes of them; a head that is
 * accepted is written to a client in a form that is accepted again and means the same. The first
 * byte says what was asked for.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/forward.h"
#include "http/h1resp.h"
#include "http/h1write.h"

struct outcome {
    int err;
    enum fk_http_fault fault;
    size_t used, body, trailers, heads;
    bool end;
};

static struct outcome run(uint8_t asked, const uint8_t *data, size_t size, size_t step)
{
    struct outcome outcome = {.err = FK_ERR_AGAIN};
    struct fk_http_event event;
    struct fk_h1resp resp;
    size_t to = 0, used;

    fk_h1resp_init(&resp, &fk_http_limits_default);
    fk_h1resp_expect(&resp, (asked & 1) != 0, (asked & 2) != 0);
    while (outcome.err == FK_OK || (outcome.err == FK_ERR_AGAIN && to < size)) {
        if (outcome.err == FK_ERR_AGAIN)
            to = size - to > step ? to + step : size;
        outcome.err = fk_h1resp_next(&resp, data + outcome.used, to - outcome.used, &used, &event);
        CHECK(used <= to - outcome.used);
        outcome.used += used;
        if (outcome.err != FK_OK)
            continue;
        outcome.heads += event.kind == FK_HTTP_HEAD ? 1 : 0;
        outcome.body += event.kind == FK_HTTP_BODY ? event.body.left : 0;
        outcome.trailers += event.kind == FK_HTTP_TRAILERS ? resp.h1.trailers.count : 0;
        outcome.end = outcome.end || event.kind == FK_HTTP_END;
    }
    if (outcome.err == FK_ERR_AGAIN)
        outcome.err = fk_h1resp_eof(&resp, outcome.used < size, &event);
    outcome.fault = resp.h1.fault;
    CHECK((outcome.err == FK_ERR_FORMAT) == (outcome.fault != FK_HTTP_FAULT_NONE));
    fk_h1resp_fini(&resp);
    return outcome;
}

/* What a client is given by us is one response, framed as it came. */
static void forwarded(uint8_t asked, struct fk_http_response *response)
{
    static const struct fk_http_forward forward = {.via = "farkey"};
    static const struct fk_http_limits limits = {.line = 65536, .head = 262144, .fields = 256};
    struct fk_http_event event;
    struct fk_h1resp back;
    struct fk_buf out;
    size_t used;
    bool upgrade = response->framing == FK_HTTP_TUNNEL;

    CHECK(fk_http_forward_response(response, &forward) == FK_OK);
    fk_buf_init(&out, 1048576);
    CHECK(fk_h1_write_response(response, FK_HTTP_1_1, upgrade ? FK_H1_UPGRADE : FK_H1_KEEP, &out) ==
          FK_OK);
    fk_h1resp_init(&back, &limits);
    fk_h1resp_expect(&back, (asked & 1) != 0, (asked & 2) != 0);
    CHECK(fk_h1resp_next(&back, fk_buf_data(&out), fk_buf_len(&out), &used, &event) == FK_OK);
    CHECK(event.kind == FK_HTTP_HEAD && used == fk_buf_len(&out));
    CHECK(back.response.status == response->status);
    CHECK(back.response.framing == response->framing);
    CHECK(back.response.length == response->length);
    CHECK(back.response.headers.count == response->headers.count + (upgrade ? 1 : 0));
    fk_h1resp_fini(&back);
    fk_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;
    struct fk_http_event event;
    struct fk_h1resp resp;
    size_t used;
    uint8_t asked;

    if (size == 0)
        return 0;
    asked = data[0];
    data++;
    size--;
    whole = run(asked, data, size, size);
    pieces = run(asked, data, size, 1 + size % 7);
    CHECK(whole.err == pieces.err && whole.fault == pieces.fault && whole.used == pieces.used);
    CHECK(whole.body == pieces.body && whole.trailers == pieces.trailers);
    CHECK(whole.heads == pieces.heads && whole.end == pieces.end);
    fk_h1resp_init(&resp, &fk_http_limits_default);
    fk_h1resp_expect(&resp, (asked & 1) != 0, (asked & 2) != 0);
    if (fk_h1resp_next(&resp, data, size, &used, &event) == FK_OK)
        forwarded(asked, &resp.response);
    fk_h1resp_fini(&resp);
    return 0;
}
