/* keyclient: servers that do not take us, of which we learn when our handshake is done already. */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "keyclient/internal.h"
#include "keyworld.h"

#include <sys/mman.h>
#include <unistd.h>

static SSL_CTX *server_ctx(const char *san, long revokes)
{
    return keypeer_ctx_of(&(struct keypeer_identity){
        .san = san, .server = true, .next_update = revokes == 0 ? 0 : 3600, .revokes = revokes});
}

static void take_ctx(struct keypeer *peer, SSL_CTX *ctx)
{
    SSL_CTX_free(peer->ctx);
    peer->ctx = ctx;
}

/* From now on the first server's list has the edge's certificate (by an alert), or not. */
static void revoke_edge(struct world *world, bool revoked)
{
    take_ctx(&world->peers[0], server_ctx(world->names[0], revoked ? 1 : 0));
}

/* --- what is logged --- */

static int watch_log(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);

    assert_true(fd >= 0);
    fk_log_fd(fd);
    return fd;
}

static unsigned logged(int fd, const char *text)
{
    static char lines[65536];
    ssize_t len = pread(fd, lines, sizeof lines - 1, 0);
    unsigned n = 0;

    assert_true(len >= 0);
    lines[len] = '\0';
    for (const char *at = lines; (at = strstr(at, text)) != NULL; at++)
        n++;
    return n;
}

/* --- cases --- */

/* Half of 50 ms, 100 ms, ... at least. */
#define FIVE_PAUSES_US (775 * MS)

static void a_refused_edge_asks_ever_less_and_says_so_once(void **state)
{
    struct world world;

    (void)state;
    for (int by_alert = 0; by_alert < 2; by_alert++) {
        uint64_t start = fk_clock_us();
        int log;

        world_init(&world);
        log = watch_log();
        world_start(&world, 1);
        world.peers[0].refuses = by_alert == 0;
        revoke_edge(&world, by_alert == 1);
        wait_ticking(&world, world.servers[0]->failures == 6);
        assert_true(fk_clock_us() - start >= FIVE_PAUSES_US);
        assert_int_equal(world.peers[0].accepted, 6);
        assert_int_equal(stats_of(&world, 0).connects, 0);
        assert_false(stats_of(&world, 0).up);
        assert_int_equal(logged(log, "does not accept the channel"), 1);
        assert_int_equal(logged(log, by_alert == 1 ? "certificate revoked" : "closed by peer"), 1);
        assert_int_equal(logged(log, "key server"), 1);

        world.peers[0].refuses = false;
        revoke_edge(&world, false);
        wait_up(&world, 1);
        assert_int_equal(logged(log, "key server is up"), 1);
        assert_int_equal(world.servers[0]->failures, 0);
        ask_and_expect(&world, FK_OK);
        world_stop(&world);
        close(log);
    }
}

static void what_a_server_did_not_take_goes_to_the_other(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 2);
    revoke_edge(&world, true);
    for (unsigned i = 0; i < 20; i++)
        assert_ok(ask(&world, i)); /* no channel is there yet: to both */
    wait_until(&world, world.finished == 20);
    for (unsigned i = 0; i < 20; i++)
        assert_ok(world.results[i].err);
    assert_int_equal(world.peers[0].requests, 0);
    assert_int_equal(world.peers[1].requests, 20);
    world_stop(&world);
}

static void once_refused_it_is_not_asked_before_it_answers(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.pool_config.deadline_us = 100 * MS;
    world_start(&world, 1);
    world.peers[0].refuses = true;
    wait_ticking(&world, world.servers[0]->failures > 0 &&
                             fk_clock_us() - world.servers[0]->down_since_us > 100 * MS);
    assert_err(ask(&world, 0), FK_ERR_UNAVAILABLE); /* at once: it has been down for long */
    world.peers[0].refuses = false;
    world.peers[0].script = SILENT;
    wait_ticking(&world, world.servers[0]->state == FK_SERVER_OPEN);
    assert_err(ask(&world, 0), FK_ERR_UNAVAILABLE);
    assert_int_equal(world.peers[0].requests, 0);
    world.peers[0].script = ANSWER;
    wait_up(&world, 1);
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

static void the_first_request_does_not_wait_for_an_answer(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.peers[0].script = SILENT;
    world_start(&world, 1);
    assert_ok(ask(&world, 0));
    wait_until(&world, world.peers[0].requests == 1);
    assert_false(stats_of(&world, 0).up);
    world_stop(&world);
}

/* A second address of the same server, as a name may have, that the first one's requests go to. */
static void another_address_is_tried_after_a_refusal(void **state)
{
    struct fk_keyserver *server;
    struct world world;

    (void)state;
    world_init(&world);
    world_start(&world, 1);
    revoke_edge(&world, true);
    take_ctx(&world.peers[1], server_ctx(world.names[0], 0));
    server = world.servers[0];
    assert_ok(ask(&world, 0));
    wait_ticking(&world, server->state == FK_SERVER_TLS);
    server->addrs[server->n_addrs++] = world.peers[1].addr;
    wait_until(&world, world.results[0].done);
    assert_ok(world.results[0].err);
    assert_int_equal(server->failures, 0);
    assert_int_equal(world.peers[0].accepted, 1);
    assert_int_equal(world.peers[1].requests, 1);
    world_stop(&world);
}

static void silence_on_a_new_channel_is_a_failure(void **state)
{
    struct world world;
    int log;

    (void)state;
    world_init(&world);
    log = watch_log();
    world.config.connect_timeout_us = 50 * MS;
    world.config.ping_interval_us = world.config.ping_timeout_us = 0;
    world.peers[0].script = SILENT;
    world_start(&world, 1);
    wait_ticking(&world, world.servers[0]->failures == 2);
    assert_int_equal(logged(log, "no answer on a new channel"), 1);
    world.peers[0].script = ANSWER;
    world.peers[0].pings = 0;
    wait_up(&world, 1);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(world.peers[0].pings, 1); /* none but the first of the channel */
    world_stop(&world);
    close(log);
}

UNIT_MAIN(cmocka_unit_test(a_refused_edge_asks_ever_less_and_says_so_once),
          cmocka_unit_test(what_a_server_did_not_take_goes_to_the_other),
          cmocka_unit_test(once_refused_it_is_not_asked_before_it_answers),
          cmocka_unit_test(the_first_request_does_not_wait_for_an_answer),
          cmocka_unit_test(another_address_is_tried_after_a_refusal),
          cmocka_unit_test(silence_on_a_new_channel_is_a_failure))
