/*
 * http/exchange: whatever a client and an origin say, in whatever order, and whenever they leave:
 * what an origin reads are well-formed requests that a strict parser accepts, and queues keep their
 * bounds. The input is a list of steps: a byte says what happens, another how much.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/exchange.h"

#include <string.h>

#define BUFFER 4096

static struct fk_exchange x;
static struct fk_h1req seen; /* reads along what an origin reads */
static struct fk_buf unread; /* of it, not used by `seen` yet */
static bool switched;        /* what the origin reads is another protocol's, to the end */

static void restart_reader(void)
{
    fk_h1req_restart(&seen);
    fk_buf_consume(&unread, fk_buf_len(&unread));
}

static void read_along(const uint8_t *data, size_t len)
{
    struct fk_http_event event;
    size_t used;
    int err = FK_OK;

    CHECK(fk_buf_append(&unread, data, len) == FK_OK);
    while (err == FK_OK) {
        err = fk_h1req_next(&seen, fk_buf_data(&unread), fk_buf_len(&unread), &used, &event);
        CHECK(err == FK_OK || err == FK_ERR_AGAIN);
        fk_buf_consume(&unread, used);
        if (err == FK_OK && event.kind == FK_HTTP_HEAD)
            CHECK(seen.request.version == FK_HTTP_1_1 && seen.request.authority.len > 0);
        if (err == FK_OK && event.kind == FK_HTTP_END)
            fk_h1req_restart(&seen);
    }
}

static void origin_reads(size_t len)
{
    size_t there = fk_buf_len(&x.fetch.out);

    len = len < there ? len : there;
    if (len > 0 && !switched)
        read_along(fk_buf_data(&x.fetch.out), len);
    fk_buf_consume(&x.fetch.out, len);
}

static void says(struct fk_buf *buf, const uint8_t *data, size_t len)
{
    size_t room = fk_buf_room(buf);

    CHECK(fk_buf_append(buf, data, len < room ? len : room) == FK_OK);
}

/* One step; how many of the `len` bytes behind it belong to it. */
static size_t step(uint8_t what, uint8_t much, const uint8_t *data, size_t len)
{
    size_t all = (size_t)(much & 0x7f) << ((much & 0x80) != 0 ? 7 : 0);
    size_t used = 0;

    all = all < len ? all : len;
    switch (what % 10) {
    case 0:
        if (fk_exchange_reads_client(&x))
            says(&x.client_in, data, all);
        used = all;
        break;
    case 1:
        if (fk_exchange_reads_origin(&x))
            says(&x.fetch.in, data, all);
        used = all;
        break;
    case 2:
        fk_exchange_client_ended(&x);
        break;
    case 3:
        if (x.fetch.attached)
            fk_exchange_origin_ended(&x);
        break;
    case 4:
        if (fk_exchange_wants_origin(&x))
            fk_exchange_attached(&x, false);
        break;
    case 5:
        if (x.fetch.attached && x.fetch.spent) {
            CHECK(fk_exchange_detached(&x) == FK_OK);
            restart_reader();
        }
        break;
    case 6:
        fk_buf_consume(&x.client_out, fk_buf_len(&x.client_out));
        break;
    case 7:
        origin_reads(x.fetch.attached ? much : 0);
        break;
    case 8:
        CHECK(fk_exchange_origin_failed(&x, 502) == FK_OK);
        break;
    default:
        fk_exchange_drain(&x);
        break;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const upgrades[] = {"websocket"};
    static const struct fk_http_forward forward = {
        .via = "farkey", .x_forwarded = true, .upgrades = upgrades, .n_upgrades = 1};
    static const struct fk_http_limits wide = {.line = 65536, .head = 262144, .fields = 256};
    static const struct fk_exchange_conf conf = {.limits = &fk_http_limits_default,
                                                 .forward = &forward,
                                                 .client = {.address = "192.0.2.1"},
                                                 .buffer = BUFFER};

    fk_exchange_init(&x, &conf);
    fk_h1req_init(&seen, &wide);
    fk_buf_init(&unread, 1048576);
    switched = false;
    while (size >= 2 && !fk_exchange_done(&x)) {
        size_t used = step(data[0], data[1], data + 2, size - 2);

        data += 2 + used;
        size -= 2 + used;
        CHECK(fk_exchange_run(&x) == FK_OK);
        switched = switched || x.state == FK_EXCHANGE_TUNNEL;
        CHECK(fk_buf_len(&x.client_out) <= x.client_out.max);
        CHECK(x.state != FK_EXCHANGE_IDLE || !fk_exchange_wants_origin(&x));
    }
    fk_buf_fini(&unread);
    fk_h1req_fini(&seen);
    fk_exchange_fini(&x);
    return 0;
}
