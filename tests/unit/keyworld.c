/* A key client with scripted servers around it: see keyworld.h. */
#include "keyworld.h"

#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "loop/dns.h"
#include "loop/sock.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <signal.h>
#include <unistd.h>

static void on_watchdog(struct fk_timer *timer)
{
    (void)timer;
    fail_msg("nothing happened for 20 s");
}

void world_init(struct world *world)
{
    static const char *const names[] = {"URI:farkey:keyserver:a", "URI:farkey:keyserver:b"};
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    signal(SIGPIPE, SIG_IGN);
    fk_log_fd(getenv("FK_TEST_LOG") != NULL ? 2 : null_fd);
    *world = (struct world){0};
    assert_ok(fk_loop_new(&world->loop));
    fk_timer_init(&world->watchdog, world->loop, on_watchdog);
    fk_timer_start(&world->watchdog, 20000 * MS);
    world->config = (struct fk_keyserver_config){.weight = 1,
                                                 .connect_timeout_us = 2000 * MS,
                                                 .ping_interval_us = 5000 * MS,
                                                 .ping_timeout_us = 1000 * MS,
                                                 .max_outstanding = 128};
    world->pool_config = (struct fk_keypool_config){.deadline_us = 2000 * MS};
    for (size_t i = 0; i < PEERS; i++) {
        world->peers[i].loop = world->loop;
        world->peers[i].listener = -1;
        world->names[i] = names[i];
        assert_ok(fk_addr_parse("127.0.0.1:0", &world->peers[i].addr));
        keypeer_listen(&world->peers[i]);
    }
}

void world_start(struct world *world, size_t n_servers)
{
    static const char *const names[] = {"a", "b"};

    world->edge_ctx = keypeer_ctx("URI:farkey:edge:edge1", false);
    assert_ok(fk_keyclient_new(world->loop, &world->client));
    for (size_t i = 0; i < n_servers; i++) {
        char address[FK_ADDR_TEXT_SIZE];

        world->peers[i].ctx =
            keypeer_ctx_of(&(struct keypeer_identity){.san = world->names[i],
                                                      .server = true,
                                                      .serial = SERIAL + (long)i,
                                                      .not_after = world->lives[i]});
        fk_addr_format(&world->peers[i].addr, address);
        world->config.name = names[i];
        world->config.address = address;
        assert_ok(fk_keyclient_add_server(world->client, &world->config, world->edge_ctx,
                                          &world->servers[i]));
    }
    assert_ok(fk_keypool_new(world->client, &world->pool_config, world->servers, n_servers,
                             &world->pool));
}

void world_stop(struct world *world)
{
    fk_keypool_free(world->pool);
    fk_keyclient_free(world->client);
    fk_dns_free(world->dns);
    for (size_t i = 0; i < PEERS; i++) {
        keypeer_down(&world->peers[i]);
        SSL_CTX_free(world->peers[i].ctx);
    }
    SSL_CTX_free(world->edge_ctx);
    fk_timer_stop(&world->watchdog);
    fk_loop_free(world->loop);
    fk_log_fd(2);
    ERR_clear_error();
}

void world_tick(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
    fk_timer_start(timer, 5 * MS);
}

struct fk_keyserver_stats stats_of(const struct world *world, size_t i)
{
    struct fk_keyserver_stats stats;

    fk_keyserver_stats(world->servers[i], &stats);
    return stats;
}

void wait_up(struct world *world, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wait_ticking(world, stats_of(world, i).up);
}

void world_done(void *arg, int err, const uint8_t *data, size_t len)
{
    struct result *result = arg;

    (void)data;
    assert_false(result->done);
    result->done = true;
    result->err = err;
    result->len = len;
    result->at_us = fk_clock_us();
    result->world->finished++;
    fk_loop_stop(result->world->loop);
}

int ask(struct world *world, unsigned i)
{
    static const struct fk_key_context context = {
        .sni = "example.com", .client_ip = {127, 0, 0, 1}, .client_ip_len = 4};
    struct result *result = &world->results[i];
    struct fk_key_request request = {
        .op = FK_KEY_SIGN13, .public_key = keypeer_site_key(), .context = &context};
    struct fk_keyback *back = fk_keypool_back(world->pool);

    *result = (struct result){.world = world};
    result->op = (struct fk_sign13){
        .scheme = 0x0403, .role = FK_ROLE_SERVER, .hash_len = 32, .hash = {(uint8_t)i}};
    fk_sign13_tbs(&result->op, result->tbs, &result->tbs_len);
    request.u.sign13 = result->op;
    request.tbs = result->tbs;
    request.tbs_len = result->tbs_len;
    request.ski[0] = 1; /* the second key of a listing */
    return back->ops->submit(back, &request, world_done, result, &result->ticket);
}

void ask_and_expect(struct world *world, int expected)
{
    assert_ok(ask(world, 0));
    wait_until(world, world->results[0].done);
    assert_err(world->results[0].err, expected);
}
