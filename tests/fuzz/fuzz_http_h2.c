/*
 * http/h2: whatever a client sends behind its preface, each stream has one head first and one end
 * last, bodies never exceed the windows, and the whole ends. The first byte says how the bytes are
 * cut, and whether bodies are consumed.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/h2.h"

#include <stdbool.h>

#define STREAMS 4096 /* more than an input can begin */

static struct {
    int32_t id;
    uint8_t state; /* 0 nothing, 1 it has a head, 2 its request is whole, 3 closed */
} begun[STREAMS];
static size_t n_begun;
static size_t held; /* bytes of bodies that were not consumed */

static uint8_t *state_of(int32_t id)
{
    for (size_t i = 0; i < n_begun; i++)
        if (begun[i].id == id)
            return &begun[i].state;
    CHECK(n_begun < STREAMS);
    begun[n_begun].id = id;
    begun[n_begun].state = 0;
    return &begun[n_begun++].state;
}

static void answer(struct fk_h2 *h2, int32_t id, enum fk_http_fault fault)
{
    struct fk_http_response response;

    fk_http_response_init(&response, &fk_http_limits_default);
    response.status = fault == FK_HTTP_FAULT_NONE ? 200 : fk_http_fault_status(fault);
    response.framing = FK_HTTP_CHUNKED;
    CHECK(fk_http_headers_add_text(&response.headers, "A", "b") == FK_OK);
    CHECK(fk_h2_respond(h2, id, &response, false) == FK_OK);
    CHECK(fk_h2_write(h2, id, "x", 1) == FK_OK);
    CHECK(fk_h2_end(h2, id, &response.headers) == FK_OK);
    fk_http_response_fini(&response);
}

static void pull(struct fk_h2 *h2, bool consume)
{
    struct fk_h2_event event;

    while (fk_h2_next(h2, &event) == FK_OK) {
        uint8_t *state = state_of(event.stream);

        switch (event.kind) {
        case FK_H2_HEAD:
            CHECK(*state == 0 && fk_h2_request(h2, event.stream) != NULL);
            *state = 1;
            answer(h2, event.stream, event.fault);
            break;
        case FK_H2_BODY:
            CHECK(*state == 1 && event.body.left > 0);
            held += event.body.left;
            CHECK(held <= FK_H2_CONNECTION_WINDOW);
            if (consume) {
                CHECK(fk_h2_consumed(h2, event.stream, event.body.left) == FK_OK);
                held -= event.body.left;
            }
            break;
        case FK_H2_TRAILERS:
            CHECK(*state == 1 && fk_h2_trailers(h2, event.stream)->count > 0);
            break;
        case FK_H2_END:
            CHECK(*state == 1);
            *state = 2;
            break;
        case FK_H2_ROOM:
            CHECK(*state == 1 || *state == 2);
            break;
        case FK_H2_CLOSED:
            CHECK(*state == 1 || *state == 2);
            *state = 3;
            held = 0; /* whatever it held is given back; the window is an upper bound still */
            break;
        }
    }
}

static void send_all(struct fk_h2 *h2, bool consume)
{
    struct fk_buf out;
    size_t len;

    fk_buf_init(&out, 4096);
    do {
        CHECK(fk_h2_send(h2, &out) != FK_ERR_NOMEM);
        pull(h2, consume);
        len = fk_buf_len(&out);
        fk_buf_consume(&out, len);
    } while (len > 0);
    fk_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0";
    struct fk_h2 *h2;
    size_t step;
    bool consume;
    int err;

    if (size == 0)
        return 0;
    n_begun = held = 0;
    consume = (data[0] & 0x80) != 0;
    step = data[0] & 0x7f;
    step = step == 0 ? FK_H2_RECV_MAX : step;
    data++;
    size--;
    CHECK(fk_h2_new(&fk_http_limits_default, &h2) == FK_OK);
    err = fk_h2_recv(h2, preface, sizeof preface);
    pull(h2, consume);
    while (err == FK_OK && size > 0) {
        size_t len = size < step ? size : step;

        err = fk_h2_recv(h2, data, len);
        pull(h2, consume);
        send_all(h2, consume);
        data += len;
        size -= len;
    }
    CHECK(err != FK_ERR_NOMEM && err != FK_ERR_INTERNAL);
    send_all(h2, consume);
    CHECK(fk_h2_streams(h2) <= FK_H2_STREAMS_MAX);
    fk_h2_free(h2);
    return 0;
}
