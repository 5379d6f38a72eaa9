/*
 * http/h1req: whatever the bytes, and however they arrive, the same comes of them; a head that is
 * accepted is written to an origin in a form that is accepted again and means the same.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/forward.h"
#include "http/h1req.h"
#include "http/h1write.h"
#include "http/text.h"

#include <string.h>

/* What came of an input. */
struct outcome {
    int err;
    enum fk_http_fault fault;
    size_t used, requests, body, trailers, fields;
    uint32_t hash; /* of all bodies */
};

static void note(struct outcome *outcome, struct fk_h1req *req, const struct fk_http_event *event)
{
    if (event->kind == FK_HTTP_HEAD)
        outcome->fields += req->request.headers.count;
    if (event->kind == FK_HTTP_BODY) {
        CHECK(event->body.left > 0);
        outcome->body += event->body.left;
        for (size_t i = 0; i < event->body.left; i++)
            outcome->hash = (outcome->hash ^ event->body.next[i]) * 16777619U;
    }
    if (event->kind == FK_HTTP_TRAILERS)
        outcome->trailers += req->h1.trailers.count;
    if (event->kind == FK_HTTP_END) {
        outcome->requests++;
        fk_h1req_restart(req);
    }
}

static struct outcome run(const uint8_t *data, size_t size, size_t step)
{
    struct outcome outcome = {.err = FK_ERR_AGAIN};
    struct fk_http_event event;
    struct fk_h1req req;
    size_t to = 0, used;

    fk_h1req_init(&req, &fk_http_limits_default);
    while (outcome.err == FK_OK || (outcome.err == FK_ERR_AGAIN && to < size)) {
        if (outcome.err == FK_ERR_AGAIN)
            to = size - to > step ? to + step : size;
        outcome.err = fk_h1req_next(&req, data + outcome.used, to - outcome.used, &used, &event);
        CHECK(used <= to - outcome.used);
        outcome.used += used;
        if (outcome.err == FK_OK)
            note(&outcome, &req, &event);
    }
    outcome.fault = req.h1.fault;
    CHECK((outcome.err == FK_ERR_FORMAT) == (outcome.fault != FK_HTTP_FAULT_NONE));
    fk_h1req_fini(&req);
    return outcome;
}

static void check_same(struct fk_reader a, struct fk_reader b)
{
    CHECK(a.left == b.left && (a.left == 0 || memcmp(a.next, b.next, a.left) == 0));
}

/* What an origin is given by us is one request, framed as it came. */
static void forwarded(struct fk_http_request *request)
{
    static const char *const ours[] = {"Client-Cert", "Client-Cert-Chain"};
    static const struct fk_http_forward forward = {
        .via = "farkey", .forwarded = true, .x_forwarded = true, .ours = ours, .n_ours = 2};
    static const struct fk_http_client client = {.address = "2001:db8::1", .tls = true};
    static const struct fk_http_limits limits = {.line = 65536, .head = 262144, .fields = 256};
    enum fk_http_fault fault;
    struct fk_http_event event;
    struct fk_h1req back;
    struct fk_buf out;
    size_t used;

    if (request->authority.len == 0)
        return;
    CHECK(fk_http_forward_request(request, &forward, &client, &fault) == FK_OK);
    for (size_t i = 0; i < request->headers.count; i++)
        CHECK(!fk_http_same_name(fk_http_headers_name(&request->headers, i),
                                 fk_http_text("client-cert"), true));
    fk_buf_init(&out, 1048576);
    CHECK(fk_h1_write_request(request, FK_H1_KEEP, &out) == FK_OK);
    fk_h1req_init(&back, &limits);
    CHECK(fk_h1req_next(&back, fk_buf_data(&out), fk_buf_len(&out), &used, &event) == FK_OK);
    CHECK(event.kind == FK_HTTP_HEAD && used == fk_buf_len(&out));
    CHECK(back.request.framing == request->framing && back.request.length == request->length);
    CHECK(back.request.headers.count == request->headers.count && back.request.keep_alive);
    check_same(fk_http_request_part(&back.request, back.request.authority),
               fk_http_request_part(request, request->authority));
    check_same(fk_http_request_part(&back.request, back.request.path),
               fk_http_request_part(request, request->path));
    fk_h1req_fini(&back);
    fk_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = run(data, size, size), pieces = run(data, size, 1 + size % 7);
    struct fk_http_event event;
    struct fk_h1req req;
    size_t used;

    CHECK(whole.err == pieces.err && whole.fault == pieces.fault && whole.used == pieces.used);
    CHECK(whole.requests == pieces.requests && whole.body == pieces.body);
    CHECK(whole.trailers == pieces.trailers && whole.fields == pieces.fields);
    CHECK(whole.hash == pieces.hash);
    fk_h1req_init(&req, &fk_http_limits_default);
    if (fk_h1req_next(&req, data, size, &used, &event) == FK_OK)
        forwarded(&req.request);
    fk_h1req_fini(&req);
    return 0;
}
