/* edge/hop against a real listener: an origin's connection of a request, its bounds and its ends.
 */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "edge/conn_priv.h"
#include "edge/hop.h"
#include "loop/sock.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ   4096
#define BUFFER 8192

static const struct fk_http_forward forward = {.via = "farkey"};

static struct {
    struct fk_loop *loop;
    struct fk_dns *dns;
    int listener, client; /* the connection's own socket: nothing happens there */
    char name[FK_ADDR_TEXT_SIZE];
    char *items[1];
    struct fk_edge_site conf;
    struct fk_site site;
    struct fk_conn_env env;
    struct fk_conn conn;
    uint8_t scratch[65536];
    struct fk_timer tick;
    struct fk_exchange_conf exchange;
    struct fk_fetch fetch;
    struct fk_hop hop;
} f;

static void on_tick(struct fk_timer *timer)
{
    (void)timer;
    fk_loop_stop(f.loop);
}

static void turn(void)
{
    fk_timer_start(&f.tick, 1000);
    fk_loop_run(f.loop);
}

static void on_client(struct fk_io *io, unsigned events)
{
    (void)io;
    (void)events;
    fail_msg("the client says nothing");
}

static void listen_somewhere(void)
{
    struct fk_addr addr;

    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    assert_ok(fk_sock_listen(&addr, &(struct fk_listen_options){.backlog = 64}, &f.listener));
    assert_ok(fk_sock_local(f.listener, &addr));
    fk_addr_format(&addr, f.name);
}

static int set_up(void **state)
{
    static const struct fk_dns_options nobody = {.servers = "127.0.0.1:1"};
    static char title[] = "site";

    (void)state;
    memset(&f, 0, sizeof f);
    fk_log_threshold(FK_LOG_ERROR);
    assert_ok(fk_loop_new(&f.loop));
    assert_ok(fk_dns_new(f.loop, &nobody, &f.dns));
    listen_somewhere();
    f.items[0] = f.name;
    f.conf = (struct fk_edge_site){.block = {.title = title},
                                   .origin = {.items = f.items, .count = 1},
                                   .origin_timeout_us = 5000000,
                                   .origin_fail_max = 1000,
                                   .origin_fail_for_us = 1000,
                                   .origin_keep_us = 3600000000};
    f.site.conf = &f.conf;
    assert_ok(fk_origins_new(f.loop, f.dns, &f.conf, &f.site.origins));
    f.env = (struct fk_conn_env){.loop = f.loop, .scratch = {f.scratch, sizeof f.scratch}};
    f.client = socket(AF_INET, SOCK_STREAM, 0);
    f.conn = (struct fk_conn){.env = &f.env, .site = &f.site, .state = FK_CONN_DEAD};
    fk_io_init(&f.conn.io, f.loop, f.client, on_client);
    f.exchange = (struct fk_exchange_conf){.limits = &fk_http_limits_default,
                                           .forward = &forward,
                                           .buffer = BUFFER,
                                           .read_most = READ};
    fk_fetch_init(&f.fetch, &f.exchange);
    fk_timer_init(&f.tick, f.loop, on_tick);
    fk_hop_init(&f.hop, &f.conn);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fk_hop_drop(&f.hop);
    fk_fetch_fini(&f.fetch);
    fk_timer_stop(&f.tick);
    fk_origins_free(f.site.origins);
    fk_dns_free(f.dns);
    fk_close(&f.listener);
    fk_close(&f.client);
    fk_loop_free(f.loop);
    return 0;
}

/* Connected; the origin's end. */
static int connect_hop(void)
{
    int origin;

    fk_hop_start(&f.hop);
    while (f.hop.state == FK_HOP_CONNECTING)
        turn();
    assert_int_equal(f.hop.state, FK_HOP_UP);
    origin = accept(f.listener, NULL, NULL);
    assert_true(origin >= 0);
    fk_fetch_attached(&f.fetch, f.hop.use.reused);
    return origin;
}

/* Read until nothing comes any more. */
static void read_all(bool reads)
{
    bool moved = true;

    fk_hop_watch(&f.hop, &f.fetch, reads, false);
    turn();
    while (moved) {
        moved = false;
        assert_ok(fk_hop_read(&f.hop, &f.fetch, reads && fk_fetch_reads(&f.fetch), &moved));
    }
}

static void bytes_go_both_ways(void **state)
{
    int origin = connect_hop();
    char text[16] = "";

    (void)state;
    assert_string_equal(f.conn.origin_name, f.name);
    assert_ok(fk_buf_append(&f.fetch.out, "ask", 3));
    assert_ok(fk_hop_write(&f.hop, &f.fetch));
    assert_int_equal(fk_buf_len(&f.fetch.out), 0);
    assert_int_equal(recv(origin, text, sizeof text, 0), 3);
    assert_string_equal(text, "ask");
    assert_int_equal(send(origin, "answer", 6, 0), 6);
    read_all(true);
    assert_int_equal(fk_buf_len(&f.fetch.in), 6);
    assert_int_equal(f.conn.relay.down.bytes, 6);
    assert_false(f.fetch.eof);
    fk_close(&origin);
    read_all(true);
    assert_true(f.fetch.eof);
    assert_false(f.fetch.broken);
}

static void it_reads_only_what_is_wanted(void **state)
{
    static char block[1 << 16];
    int origin = connect_hop();

    (void)state;
    assert_int_equal(send(origin, block, sizeof block, 0), sizeof block);
    read_all(false);
    assert_int_equal(fk_buf_len(&f.fetch.in), 0);
    read_all(true);
    assert_in_range(fk_buf_len(&f.fetch.in), fk_exchange_in_max(&f.exchange) - READ,
                    fk_exchange_in_max(&f.exchange));
    fk_buf_consume(&f.fetch.in, fk_buf_len(&f.fetch.in));
    read_all(true);
    assert_true(fk_buf_len(&f.fetch.in) > 0);
    fk_close(&origin);
}

/* What does not fit the socket waits, and goes on when the origin reads. */
static void what_does_not_fit_waits(void **state)
{
    static char block[1 << 16];
    size_t sent = 0, seen = 0;
    int origin = connect_hop();
    ssize_t n;

    (void)state;
    while (fk_buf_len(&f.fetch.out) == 0 && sent < 1 << 26) {
        assert_ok(fk_buf_append(&f.fetch.out, block, BUFFER));
        sent += BUFFER;
        assert_ok(fk_hop_write(&f.hop, &f.fetch));
    }
    assert_true(fk_buf_len(&f.fetch.out) > 0);
    fk_hop_watch(&f.hop, &f.fetch, false, false);
    assert_int_equal(fk_io_wanted(&f.hop.io), FK_IO_WRITE);
    while (seen < sent) {
        assert_true((n = recv(origin, block, sizeof block, 0)) > 0);
        seen += (size_t)n;
        assert_ok(fk_hop_write(&f.hop, &f.fetch));
    }
    assert_int_equal(seen, sent);
    fk_hop_watch(&f.hop, &f.fetch, false, false);
    assert_int_equal(fk_io_wanted(&f.hop.io), 0);
    fk_close(&origin);
}

/* An origin that does not listen any more may have answered: what is for it is forgotten. */
static void origin_that_reads_no_more(void **state)
{
    struct linger now = {.l_onoff = 1};
    int origin = connect_hop();

    (void)state;
    assert_int_equal(setsockopt(origin, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    fk_close(&origin); /* resets */
    turn();
    assert_ok(fk_buf_append(&f.fetch.out, "more", 4));
    for (int i = 0; i < 100 && fk_buf_len(&f.fetch.out) > 0; i++)
        assert_ok(fk_hop_write(&f.hop, &f.fetch));
    assert_int_equal(fk_buf_len(&f.fetch.out), 0);
    read_all(true);
    assert_true(f.fetch.eof);
    assert_true(f.fetch.broken);
}

static void failures_have_their_status(void **state)
{
    static const struct {
        int err, status;
    } rows[] = {
        {FK_ERR_TIMEOUT, 504}, {FK_ERR_LIMIT, 503}, {FK_ERR_CLOSED, 502}, {FK_ERR_NOT_FOUND, 502}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        f.hop.err = rows[i].err;
        assert_int_equal(fk_hop_status(&f.hop), rows[i].status);
    }
    fk_close(&f.listener);
    fk_hop_start(&f.hop);
    while (f.hop.state == FK_HOP_CONNECTING)
        turn();
    assert_int_equal(f.hop.state, FK_HOP_FAILED);
    assert_int_equal(fk_hop_status(&f.hop), 502);
    fk_hop_drop(&f.hop);
    assert_int_equal(f.hop.state, FK_HOP_NONE);
}

static void full_origins_are_503(void **state)
{
    struct fk_hop second;
    int origin = connect_hop();

    (void)state;
    f.conf.origin_connections = 1;
    fk_hop_init(&second, &f.conn);
    fk_hop_start(&second);
    assert_int_equal(second.state, FK_HOP_FAILED);
    assert_int_equal(fk_hop_status(&second), 503);
    fk_hop_drop(&second);
    fk_close(&origin);
}

static struct fk_origin_stats stats(void)
{
    struct fk_origin_stats now;

    assert_ok(fk_origins_stats(f.site.origins, 0, &now));
    return now;
}

static void kept_ones_serve_again(void **state)
{
    int origin = connect_hop();

    (void)state;
    assert_false(f.hop.use.reused);
    fk_hop_keep(&f.hop);
    fk_fetch_detached(&f.fetch, true);
    assert_int_equal(f.hop.state, FK_HOP_NONE);
    assert_int_equal(stats().kept, 1);
    assert_int_equal(stats().connections, 0);
    fk_hop_start(&f.hop);
    assert_int_equal(f.hop.state, FK_HOP_UP);
    assert_true(f.hop.use.reused);
    assert_int_equal(stats().kept, 0);
    assert_int_equal(stats().connections, 1);
    assert_int_equal(stats().attempts, 1);
    fk_hop_keep(&f.hop);
    f.hop.fresh = true; /* what is kept will not do */
    fk_hop_start(&f.hop);
    while (f.hop.state == FK_HOP_CONNECTING)
        turn();
    assert_false(f.hop.use.reused);
    assert_false(f.hop.fresh);
    assert_int_equal(stats().kept, 1);
    fk_close(&origin);
}

/* Kept ones count as connections, and give way to those that are needed. */
static void kept_ones_make_room(void **state)
{
    int origin = connect_hop();
    char byte;

    (void)state;
    f.conf.origin_connections = 1;
    fk_hop_keep(&f.hop);
    fk_fetch_detached(&f.fetch, true);
    f.hop.fresh = true;
    fk_hop_start(&f.hop);
    while (f.hop.state == FK_HOP_CONNECTING)
        turn();
    assert_int_equal(f.hop.state, FK_HOP_UP);
    assert_int_equal(stats().kept, 0);
    assert_int_equal(recv(origin, &byte, 1, 0), 0);
    fk_close(&origin);
}

static void none_is_kept_for_no_time(void **state)
{
    int origin = connect_hop();
    char byte;

    (void)state;
    f.conf.origin_keep_us = 0;
    fk_hop_keep(&f.hop);
    fk_fetch_detached(&f.fetch, true);
    assert_int_equal(stats().kept, 0);
    assert_int_equal(recv(origin, &byte, 1, 0), 0);
    fk_close(&origin);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

UNIT_MAIN(CASE(bytes_go_both_ways), CASE(it_reads_only_what_is_wanted),
          CASE(what_does_not_fit_waits), CASE(origin_that_reads_no_more),
          CASE(failures_have_their_status), CASE(full_origins_are_503), CASE(kept_ones_serve_again),
          CASE(kept_ones_make_room), CASE(none_is_kept_for_no_time))
