/*
 * keyd/dial: connections that the master makes for fronts. The binary executes itself as the front:
 * it asks as it is told, and writes the number of the block into what it is given.
 */
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "keyd/master_priv.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define GENERATION  7
#define PATIENCE_US 20000000

/* --- the front --- */

/* Told to ask (FK_PROC_LISTEN): the message is sent back as FK_PROC_DIAL. Given something: the
 * master hears of it, with the number of connections. */
static void child_answer(struct fk_procmsg *msg)
{
    uint8_t block = (uint8_t)msg->arg;

    if (msg->type == FK_PROC_LISTEN) {
        msg->type = FK_PROC_DIAL;
        (void)fk_proc_send(FK_PROC_CONTROL_FD, msg);
        return;
    }
    if (msg->type != FK_PROC_DIALLED)
        return;
    if (msg->n_fds == 1 && send(msg->fds[0], &block, 1, 0) != 1)
        _exit(4);
    msg->type = FK_PROC_STATUS;
    msg->data[msg->len++] = (uint8_t)msg->n_fds;
    fk_procmsg_close(msg);
    msg->n_fds = 0;
    (void)fk_proc_send(FK_PROC_CONTROL_FD, msg);
}

static int child_main(const char *role, unsigned index)
{
    static struct fk_procmsg msg;
    struct pollfd pfd = {.fd = FK_PROC_CONTROL_FD, .events = POLLIN};
    int err;

    fk_proc_child_init(role, index);
    while ((err = fk_proc_next(&msg)) == FK_OK || err == FK_ERR_AGAIN) {
        if (err == FK_ERR_AGAIN)
            (void)poll(&pfd, 1, -1);
        else
            child_answer(&msg);
        if (err == FK_OK)
            fk_procmsg_close(&msg);
    }
    return 0;
}

/* --- the master --- */

struct heard {
    uint32_t block, generation;
    bool connected;
};

static struct {
    struct fk_keyd_master master;
    struct fk_keyd_load load;
    struct fk_conf *conf;
    struct fk_child *fronts[2];
    struct fk_keyd_place places[2];
    size_t n_started, n_heard, n_asked, n_ended;
    struct heard heard[16];
    int edge; /* the listening socket of the first block's edge */
    uint16_t port, dead_port;
    char path[64];
} world;

static int on_start(void *ctx, struct fk_child *child)
{
    (void)ctx;
    (void)child;
    world.n_started++;
    return FK_OK;
}

static void on_message(void *ctx, struct fk_child *child, struct fk_procmsg *msg)
{
    (void)ctx;
    if (msg->type == FK_PROC_DIAL) {
        world.n_asked++;
        fk_keyd_dial(&world.master, child, msg);
    } else if (msg->type == FK_PROC_STATUS) {
        struct heard *heard = &world.heard[world.n_heard++];

        assert_true(world.n_heard <= sizeof world.heard / sizeof world.heard[0]);
        assert_int_equal(msg->len, sizeof heard->generation + 1);
        heard->block = msg->arg;
        memcpy(&heard->generation, msg->data, sizeof heard->generation);
        heard->connected = msg->data[sizeof heard->generation] == 1;
    }
}

static void on_exit_of(void *ctx, struct fk_child *child, pid_t pid, int status, bool gone)
{
    (void)ctx;
    (void)pid;
    (void)status;
    (void)gone;
    world.n_ended++;
    fk_keyd_dials_drop(&world.master, child);
}

static const struct fk_super_ops ops = {on_start, on_message, on_exit_of, NULL};

static void on_step(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void turn(void)
{
    struct fk_timer step;

    fk_timer_init(&step, world.master.loop, on_step);
    fk_timer_start(&step, 2000);
    fk_loop_run(world.master.loop);
    fk_timer_stop(&step);
}

#define UNTIL(condition)                                  \
    do {                                                  \
        uint64_t deadline_ = fk_clock_us() + PATIENCE_US; \
        while (!(condition)) {                            \
            assert_true(fk_clock_us() < deadline_);       \
            turn();                                       \
        }                                                 \
    } while (0)

static int listen_somewhere(const char *where, int backlog, uint16_t *ret_port)
{
    struct fk_listen_options options = {.backlog = backlog};
    struct fk_addr addr;
    int fd;

    assert_ok(fk_addr_parse(where, &addr));
    assert_ok(fk_sock_listen(&addr, &options, &fd));
    assert_ok(fk_sock_local(fd, &addr));
    *ret_port = fk_addr_port(&addr);
    return fd;
}

/* Three blocks: an edge; a port that nobody listens on; an edge, from another address. */
static void write_conf(void)
{
    FILE *file;

    (void)snprintf(world.path, sizeof world.path, "/tmp/test_keyd_dial_%d.conf", (int)getpid());
    file = fopen(world.path, "w");
    assert_non_null(file);
    assert_true(fprintf(file,
                        "keys \"keys\" { }\n"
                        "channel { certificate = \"x\" key = \"x\" ca = \"x\" }\n"
                        "dial \"127.0.0.1:%u\" { connect_timeout = 100ms }\n"
                        "dial \"127.0.0.1:%u\" { }\n"
                        "dial \"127.0.0.2:%u\" { bind = \"127.0.0.9\" connect_timeout = 60s }\n",
                        world.port, world.dead_port, world.port) > 0);
    assert_int_equal(fclose(file), 0);
}

static int load_conf(void)
{
    struct fk_bundle *bundle;
    int err;

    assert_ok(fk_bundle_new(&bundle));
    err = fk_conf_load(&fk_keyd_conf_kind, world.path, bundle, &world.conf);
    fk_bundle_free(bundle);
    (void)unlink(world.path);
    return err;
}

static int setup(void **state)
{
    int dead;

    (void)state;
    memset(&world, 0, sizeof world);
    fk_log_threshold(FK_LOG_ERROR);
    world.edge = listen_somewhere("0.0.0.0:0", 8, &world.port);
    dead = listen_somewhere("127.0.0.1:0", 1, &world.dead_port);
    fk_close(&dead);
    write_conf();
    assert_ok(load_conf());
    world.load = (struct fk_keyd_load){
        .generation = GENERATION, .loaded = world.conf, .conf = fk_conf_root(world.conf)};
    world.master.current = &world.load;
    fk_list_init(&world.master.dials);
    assert_ok(fk_loop_new(&world.master.loop));
    assert_ok(fk_super_new(world.master.loop, &ops, NULL, &world.master.super));
    for (unsigned i = 0; i < 2; i++)
        assert_ok(
            fk_super_add(world.master.super, "keyd-front", i, &world.places[i], &world.fronts[i]));
    UNTIL(world.n_started == 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_keyd_dials_drop(&world.master, NULL);
    assert_true(fk_list_empty(&world.master.dials));
    fk_super_free(world.master.super);
    fk_loop_free(world.master.loop);
    fk_conf_free(world.conf);
    fk_close(&world.edge);
    return 0;
}

static void tell_to_ask(size_t front, uint32_t block, uint32_t generation, size_t len)
{
    struct fk_procmsg msg = {.type = FK_PROC_LISTEN, .arg = block, .len = len};

    memcpy(msg.data, &generation, sizeof generation);
    assert_ok(fk_child_send(world.fronts[front], &msg));
}

static void ask(size_t front, uint32_t block, uint32_t generation)
{
    tell_to_ask(front, block, generation, sizeof generation);
}

static void assert_heard(size_t i, uint32_t block, uint32_t generation, bool connected)
{
    UNTIL(world.n_heard > i);
    assert_int_equal(world.heard[i].block, block);
    assert_int_equal(world.heard[i].generation, generation);
    assert_int_equal(world.heard[i].connected, connected);
}

/* A connection at the edge on which the front has written `block`. */
static void assert_connected(uint8_t block, const char *from)
{
    struct fk_addr peer;
    char text[FK_ADDR_TEXT_SIZE];
    uint8_t byte = 0xff;
    int fd;

    assert_ok(fk_sock_accept(world.edge, &fd, &peer));
    UNTIL(recv(fd, &byte, 1, 0) == 1);
    assert_int_equal(byte, block);
    fk_addr_format(&peer, text);
    assert_int_equal(strncmp(text, from, strlen(from)), 0);
    fk_close(&fd);
}

static void a_front_gets_what_it_asked_for(void **state)
{
    (void)state;
    ask(0, 0, GENERATION);
    assert_heard(0, 0, GENERATION, true);
    assert_connected(0, "127.0.0.1:");
    ask(1, 2, GENERATION);
    assert_heard(1, 2, GENERATION, true);
    assert_connected(2, "127.0.0.9:");
    assert_true(fk_list_empty(&world.master.dials));
}

/* The master keeps no descriptor of it: when the front ends, so does the connection. */
static void a_connection_is_the_fronts_alone(void **state)
{
    struct fk_addr peer;
    int fd;

    (void)state;
    ask(0, 0, GENERATION);
    assert_heard(0, 0, GENERATION, true);
    assert_ok(fk_sock_accept(world.edge, &fd, &peer));
    assert_int_equal(kill(fk_child_pid(world.fronts[0]), SIGKILL), 0);
    UNTIL(world.n_ended == 1);
    {
        uint8_t bytes[2];

        UNTIL(recv(fd, bytes, sizeof bytes, 0) == 0 || errno == ECONNRESET);
    }
    fk_close(&fd);
}

static void what_cannot_be_is_answered(void **state)
{
    static const struct {
        uint32_t block, generation;
    } rows[] = {
        {1, GENERATION},          /* nobody listens */
        {3, GENERATION},          /* no such block */
        {UINT32_MAX, GENERATION}, /* nor this */
        {0, GENERATION + 1},      /* of another configuration */
        {0, GENERATION - 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ask(0, rows[i].block, rows[i].generation);
        assert_heard(i, rows[i].block, rows[i].generation, false);
    }
    world.master.draining = true;
    ask(0, 0, GENERATION);
    assert_heard(5, 0, GENERATION, false);
    world.master.draining = false;
    world.master.current = NULL;
    ask(0, 0, GENERATION);
    assert_heard(6, 0, GENERATION, false);
}

/* No message of a front's is its master's undoing. */
static void malformed_questions_are_not_answered(void **state)
{
    static const size_t lengths[] = {0, 1, 3, 5, 64};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        tell_to_ask(0, 0, GENERATION, lengths[i]);
    UNTIL(world.n_asked == sizeof lengths / sizeof lengths[0]);
    ask(0, 0, GENERATION);
    assert_heard(0, 0, GENERATION, true);
    assert_int_equal(world.n_heard, 1);
}

/* A front that asks and asks gets no more than there is for it; others do, and so does it later. */
static void a_front_does_not_use_up_all_ports(void **state)
{
    (void)state;
    ask(0, 0, GENERATION);
    assert_heard(0, 0, GENERATION, true);
    world.places[0].dials = FK_KEYD_DIALS_MAX + 3 * FK_KEYD_DIALS_EACH - 1;
    ask(0, 0, GENERATION);
    assert_heard(1, 0, GENERATION, true);
    ask(0, 0, GENERATION);
    assert_heard(2, 0, GENERATION, false);
    ask(1, 0, GENERATION);
    assert_heard(3, 0, GENERATION, true);
    world.places[0].dials_since_us -= FK_KEYD_DIALS_TIME_US;
    ask(0, 0, GENERATION);
    assert_heard(4, 0, GENERATION, true);
}

/* An edge whose queue is full takes no connection: Linux drops what comes. */
static void fill_queue(int fds[], size_t n)
{
    struct fk_listen_options options = {.backlog = 1};
    struct fk_addr addr;
    char text[32];

    fk_close(&world.edge);
    (void)snprintf(text, sizeof text, "0.0.0.0:%u", world.port);
    assert_ok(fk_addr_parse(text, &addr));
    assert_ok(fk_sock_listen(&addr, &options, &world.edge));
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", world.port);
    assert_ok(fk_addr_parse(text, &addr));
    for (size_t i = 0; i < n; i++)
        assert_ok(fk_sock_connect(&addr, NULL, NULL, &fds[i]));
}

static size_t dials_under_way(void)
{
    struct fk_list *at;
    size_t n = 0;

    fk_list_each (at, &world.master.dials) {
        n++;
    }
    return n;
}

/* One that is not answered ends in time; each front has one of each block at most; asked for again,
 * the one before is dropped without an answer. */
static void one_at_a_time_and_not_for_ever(void **state)
{
    int fds[4];

    (void)state;
    fill_queue(fds, 4);
    ask(0, 2, GENERATION); /* 60 s */
    ask(0, 2, GENERATION);
    ask(1, 2, GENERATION);
    UNTIL(world.n_asked == 3);
    assert_int_equal(dials_under_way(), 2);
    ask(0, 0, GENERATION); /* 100 ms */
    assert_heard(0, 0, GENERATION, false);
    assert_int_equal(dials_under_way(), 2);
    assert_int_equal(world.n_heard, 1);
    /* A front that is gone: what was made for it is, too. */
    assert_int_equal(kill(fk_child_pid(world.fronts[0]), SIGKILL), 0);
    UNTIL(world.n_ended == 1);
    assert_int_equal(dials_under_way(), 1);
    fk_keyd_dials_drop(&world.master, NULL);
    assert_int_equal(dials_under_way(), 0);
    for (size_t i = 0; i < 4; i++)
        fk_close(&fds[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(a_front_gets_what_it_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_is_the_fronts_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_questions_are_not_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_front_does_not_use_up_all_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(one_at_a_time_and_not_for_ever, setup, teardown),
    };

    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child_main(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, NULL, NULL);
}
