/* keyclient: servers that dial in, and strangers who do. */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "keyclient/internal.h"
#include "keyworld.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define STRANGERS (FK_DIALLED_ADDRESS_MAX + 40)

static struct fk_addr where; /* where servers[0] is awaited */

/* A world whose first server dials in; both peers may try, with the certificates of `names`. So
 * many connections may wait. */
static void start_with(struct world *world, int backlog)
{
    struct fk_listen_options options = {.backlog = backlog};
    int fd;

    for (size_t i = 0; i < PEERS; i++)
        world->peers[i].ctx = keypeer_ctx(world->names[i], true);
    assert_ok(fk_addr_parse("127.0.0.1:0", &where));
    assert_ok(fk_sock_listen(&where, &options, &fd));
    assert_ok(fk_sock_local(fd, &where));
    world->edge_ctx = keypeer_ctx("URI:farkey:edge:edge1", false);
    assert_ok(fk_keyclient_new(world->loop, &world->client));
    world->config.name = "a";
    world->config.accept = "here";
    assert_ok(fk_keyclient_add_server(world->client, &world->config, world->edge_ctx,
                                      &world->servers[0]));
    assert_ok(fk_keypool_new(world->client, &world->pool_config, world->servers, 1, &world->pool));
    fk_keyserver_listen(world->servers[0], fd);
}

static void start(struct world *world)
{
    start_with(world, 1024);
}

static size_t candidates(const struct world *world)
{
    return fk_door_count(world->servers[0]->door);
}

static int dial_silently(const char *from)
{
    struct fk_addr addr;
    int fd;

    assert_ok(fk_addr_parse(from, &addr));
    assert_ok(fk_sock_connect(&where, &addr, NULL, &fd));
    return fd;
}

static bool is_closed(int fd)
{
    uint8_t bytes[4096];
    ssize_t n;

    do
        n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    while (n > 0); /* a ClientHello */
    return n == 0 || errno != EAGAIN;
}

static void one_that_dials_in_is_like_any_other(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    start(&world);
    assert_ok(ask(&world, 0)); /* before it is there */
    keypeer_dial(&world.peers[0], &where);
    wait_until(&world, world.results[0].done);
    assert_ok(world.results[0].err);
    assert_true(stats_of(&world, 0).up);
    world_stop(&world);
}

static void who_is_not_the_server_is_refused(void **state)
{
    static const char *const others[] = {"URI:farkey:keyserver:b", "URI:farkey:edge:a"};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct world world;

        world_init(&world);
        world.names[1] = others[i];
        start(&world);
        keypeer_dial(&world.peers[1], &where);
        wait_until(&world, world.peers[1].io != NULL);
        wait_ticking(&world, world.peers[1].io == NULL);
        assert_int_equal(world.peers[1].pings, 0);
        assert_false(stats_of(&world, 0).up);
        keypeer_dial(&world.peers[0], &where); /* it is still awaited */
        ask_and_expect(&world, FK_OK);
        world_stop(&world);
    }
}

static void while_there_is_a_channel_the_next_one_waits(void **state)
{
    struct world world;
    uint64_t answered;

    (void)state;
    world_init(&world);
    world.names[1] = "URI:farkey:keyserver:a"; /* another connection of the same server */
    start(&world);
    keypeer_dial(&world.peers[0], &where);
    wait_up(&world, 1);
    keypeer_dial(&world.peers[1], &where);
    for (unsigned i = 0; i < 20; i++)
        ask_and_expect(&world, FK_OK);
    answered = world.peers[0].requests;
    assert_int_equal(answered, 20);
    assert_int_equal(SSL_get_state(fk_channel_io_ssl(world.peers[1].io)), TLS_ST_BEFORE);
    keypeer_down(&world.peers[0]);
    wait_ticking(&world, !stats_of(&world, 0).up);
    wait_ticking(&world, stats_of(&world, 0).up);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(world.peers[1].requests, 1);
    world_stop(&world);
}

/* All of its own address: the oldest give way, and it comes in. */
static void strangers_do_not_keep_it_out(void **state)
{
    struct world world;
    int fds[STRANGERS];

    (void)state;
    world_init(&world);
    start(&world);
    for (size_t i = 0; i < STRANGERS; i++)
        fds[i] = dial_silently("127.0.0.1:0");
    wait_ticking(&world, is_closed(fds[STRANGERS - FK_DIALLED_ADDRESS_MAX - 1]));
    assert_int_equal(candidates(&world), FK_DIALLED_ADDRESS_MAX);
    assert_false(is_closed(fds[STRANGERS - FK_DIALLED_ADDRESS_MAX]));
    keypeer_dial(&world.peers[0], &where);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(candidates(&world), 0);
    for (size_t i = 0; i < STRANGERS; i++)
        fk_close(&fds[i]);
    world_stop(&world);
}

/* All places taken, one of them by somebody else who came first: those of the address that has the
 * most give way, not he. */
static void strangers_of_many_addresses_do_not_keep_it_out(void **state)
{
    enum { ADDRESSES = FK_DIALLED_CANDIDATES_MAX / FK_DIALLED_ADDRESS_MAX + 1 };
    static int fds[ADDRESSES][FK_DIALLED_ADDRESS_MAX];
    struct world world;
    char from[32];
    int first;

    (void)state;
    world_init(&world);
    start(&world);
    first = dial_silently("127.0.1.1:0");
    wait_ticking(&world, candidates(&world) == 1);
    for (size_t i = 0; i < ADDRESSES; i++) {
        (void)snprintf(from, sizeof from, "127.0.0.%zu:0", 10 + i);
        for (size_t j = 0; j < FK_DIALLED_ADDRESS_MAX; j++)
            fds[i][j] = dial_silently(from);
    }
    wait_ticking(&world, candidates(&world) == FK_DIALLED_CANDIDATES_MAX && is_closed(fds[0][0]));
    keypeer_dial(&world.peers[0], &where);
    wait_ticking(&world, world.peers[0].io != NULL && is_closed(fds[0][1]));
    assert_false(is_closed(first));
    ask_and_expect(&world, FK_OK);
    wait_ticking(&world, is_closed(first)); /* it is there: nobody else is needed */
    fk_close(&first);
    for (size_t i = 0; i < ADDRESSES; i++)
        for (size_t j = 0; j < FK_DIALLED_ADDRESS_MAX; j++)
            fk_close(&fds[i][j]);
    world_stop(&world);
}

/* While there is a channel nobody is taken: the queue does not fill for all that. */
static void a_full_queue_does_not_keep_it_out(void **state)
{
    enum { BACKLOG = 16, WAITING = BACKLOG + 1 };
    unsigned waiting, places;
    struct world world;
    int fds[WAITING];

    (void)state;
    world_init(&world);
    world.names[1] = world.names[0];
    start_with(&world, BACKLOG);
    keypeer_dial(&world.peers[0], &where);
    wait_up(&world, 1);
    for (size_t i = 0; i < WAITING; i++)
        fds[i] = dial_silently("127.0.0.1:0");
    do
        assert_ok(fk_sock_queue(world.servers[0]->listen_fd, &waiting, &places));
    while (waiting < WAITING);
    assert_int_equal(places, BACKLOG);
    wait_ticking(&world, is_closed(fds[0]));
    assert_ok(fk_sock_queue(world.servers[0]->listen_fd, &waiting, &places));
    assert_int_equal(waiting, BACKLOG / 4);
    assert_false(is_closed(fds[WAITING - 1]));
    keypeer_dial(&world.peers[1], &where);
    keypeer_down(&world.peers[0]);
    wait_ticking(&world, !stats_of(&world, 0).up);
    ask_and_expect(&world, FK_OK);
    assert_int_equal(world.peers[1].requests, 1);
    for (size_t i = 0; i < WAITING; i++)
        fk_close(&fds[i]);
    world_stop(&world);
}

/* A few that wait are left alone: one of them may be the key server's. */
static void a_queue_with_room_is_left_alone(void **state)
{
    enum { BACKLOG = 16 };
    struct world world;
    uint64_t until;
    int fds[BACKLOG / 2];

    (void)state;
    world_init(&world);
    start_with(&world, BACKLOG);
    keypeer_dial(&world.peers[0], &where);
    wait_up(&world, 1);
    for (size_t i = 0; i < BACKLOG / 2; i++)
        fds[i] = dial_silently("127.0.0.1:0");
    until = fk_clock_us() + 2 * FK_DIALLED_LOOK_US;
    wait_ticking(&world, fk_clock_us() > until);
    for (size_t i = 0; i < BACKLOG / 2; i++) {
        assert_false(is_closed(fds[i]));
        fk_close(&fds[i]);
    }
    world_stop(&world);
}

/* However long a connection may take: one that is a key server's says hello. */
static void a_silent_stranger_loses_his_place_in_time(void **state)
{
    static const uint64_t times[] = {50 * MS, 600000 * MS};

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct world world;
        int fd;

        world_init(&world);
        world.config.connect_timeout_us = times[i];
        start(&world);
        fd = dial_silently("127.0.0.1:0");
        wait_ticking(&world, candidates(&world) == 1);
        wait_ticking(&world, candidates(&world) == 0);
        assert_int_equal(world.servers[0]->state, FK_SERVER_AWAIT);
        fk_close(&fd);
        world_stop(&world);
    }
}

static void addresses_that_are_not_permitted_are_turned_away(void **state)
{
    struct fk_range range;
    struct world world;

    (void)state;
    world_init(&world);
    assert_ok(fk_range_parse("127.0.0.0/8", &range));
    world.config.deny = (struct fk_ranges){&range, 1};
    start(&world);
    keypeer_dial(&world.peers[0], &where);
    wait_ticking(&world, world.peers[0].io == NULL);
    assert_false(stats_of(&world, 0).up);
    world_stop(&world);
}

/* Nobody waits for one that has not come for longer than a connection may take. */
static void one_that_does_not_come_is_not_waited_for(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.config.connect_timeout_us = 20 * MS;
    world.pool_config.deadline_us = 100 * MS;
    start(&world);
    ask_and_expect(&world, FK_ERR_UNAVAILABLE);
    assert_int_equal(world.servers[0]->failures, 1);
    keypeer_dial(&world.peers[0], &where);
    wait_up(&world, 1);
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

/* Another descriptor of the same socket, as a reload brings: what waits in it is taken. */
static void the_socket_may_be_given_again(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    start(&world);
    fk_keyserver_listen(world.servers[0], dup(world.servers[0]->listen_fd));
    keypeer_dial(&world.peers[0], &where);
    ask_and_expect(&world, FK_OK);
    fk_keyserver_listen(world.servers[0], dup(world.servers[0]->listen_fd));
    ask_and_expect(&world, FK_OK);
    world_stop(&world);
}

static void retired_while_awaited(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    start(&world);
    fk_keyclient_retire_server(world.servers[0]);
    wait_ticking(&world, fk_list_empty(&world.client->servers));
    world_stop(&world);
}

static void address_or_accept_but_not_both(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    start(&world);
    world.config.address = "127.0.0.1:1";
    assert_err(
        fk_keyclient_add_server(world.client, &world.config, world.edge_ctx, &world.servers[1]),
        FK_ERR_INVAL);
    world.config.address = world.config.accept = NULL;
    assert_err(
        fk_keyclient_add_server(world.client, &world.config, world.edge_ctx, &world.servers[1]),
        FK_ERR_INVAL);
    world_stop(&world);
}

UNIT_MAIN(cmocka_unit_test(one_that_dials_in_is_like_any_other),
          cmocka_unit_test(who_is_not_the_server_is_refused),
          cmocka_unit_test(while_there_is_a_channel_the_next_one_waits),
          cmocka_unit_test(strangers_do_not_keep_it_out),
          cmocka_unit_test(strangers_of_many_addresses_do_not_keep_it_out),
          cmocka_unit_test(a_full_queue_does_not_keep_it_out),
          cmocka_unit_test(a_queue_with_room_is_left_alone),
          cmocka_unit_test(a_silent_stranger_loses_his_place_in_time),
          cmocka_unit_test(addresses_that_are_not_permitted_are_turned_away),
          cmocka_unit_test(one_that_does_not_come_is_not_waited_for),
          cmocka_unit_test(the_socket_may_be_given_again), cmocka_unit_test(retired_while_awaited),
          cmocka_unit_test(address_or_accept_but_not_both))
