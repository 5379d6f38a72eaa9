/*
 * edge/redis against a server that this test plays, for all that a good one does not do: silence,
 * lateness, refusals, nonsense, its end. The good one is Redis itself: tests/e2e/test_redis.py.
 */
#include "failmalloc.h"
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "edge/redis.h"
#include "loop/sock.h"
#include "tls/sesentry.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_US 10000000

static struct fixture {
    struct fk_loop *loop;
    struct fk_dns *dns;
    struct fk_redis *redis;
    struct fk_edge_redis conf;
    char address[FK_ADDR_TEXT_SIZE];
    int listener, peer; /* the server's */
    char got[1 << 16];
    size_t n_got;
    struct fk_timer tick;
    uint64_t begun_us;
    bool (*until)(void);
} f;

static const uint8_t id[32] = {0xab, [31] = 0xcd};
#define KEY "farkey:ab000000000000000000000000000000000000000000000000000000000000cd"

/* --- the server --- */

static void serve(void)
{
    struct fk_addr addr;
    ssize_t n;

    if (f.peer < 0 && fk_sock_accept(f.listener, &f.peer, &addr) != FK_OK)
        return;
    n = recv(f.peer, f.got + f.n_got, sizeof f.got - 1 - f.n_got, 0);
    if (n > 0)
        f.n_got += (size_t)n;
    f.got[f.n_got] = '\0';
    if (n == 0)
        fk_close(&f.peer);
}

static void say(const char *text)
{
    assert_int_equal(send(f.peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void on_tick(struct fk_timer *timer)
{
    serve();
    if (f.until()) {
        fk_loop_stop(f.loop);
        return;
    }
    assert_true(fk_clock_us() - f.begun_us < PATIENCE_US);
    fk_timer_start(timer, 500);
}

static void run(bool (*until)(void))
{
    f.until = until;
    f.begun_us = fk_clock_us();
    fk_timer_start(&f.tick, 0);
    fk_loop_run(f.loop);
}

static bool greeted(void)
{
    return strstr(f.got, "PING") != NULL;
}

static bool is_up(void)
{
    return fk_redis_is_up(f.redis);
}

static bool is_lost(void)
{
    return f.peer < 0;
}

static bool has_get(void)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$71\r\n" KEY "\r\n";

    return memmem(f.got, f.n_got, get, sizeof get - 1) != NULL;
}

/* An entry may have zeros in it. */
static bool has_set(void)
{
    return memmem(f.got, f.n_got, "SET", 3) != NULL &&
           memmem(f.got, f.n_got, "\r\n7000\r\n", 8) != NULL;
}

/* --- who asks --- */

static struct asker {
    unsigned told;
    int err;
    size_t len;
    uint8_t data[FK_SESENTRY_MAX];
} asker;

static void on_done(void *arg, int err, const uint8_t *data, size_t len)
{
    struct asker *one = arg;

    one->told++;
    one->err = err;
    one->len = len;
    if (len > 0)
        memcpy(one->data, data, len);
}

static bool told(void)
{
    return asker.told > 0;
}

static int find(struct asker *one, struct fk_sesstore_find **ret)
{
    struct fk_sesstore *store = fk_redis_store(f.redis);

    *one = (struct asker){.told = 0};
    return store->ops->find(store, id, on_done, one, ret);
}

static void put(const char *entry, size_t len)
{
    struct fk_sesstore *store = fk_redis_store(f.redis);

    store->ops->put(store, id, entry, len, 7000);
}

/* --- fixture --- */

static int make(const char *password)
{
    const struct fk_redis_config config = {
        .loop = f.loop,
        .dns = f.dns,
        .conf = &f.conf,
        .password = (const void *)password,
        .password_len = password == NULL ? 0 : strlen(password),
    };

    return fk_redis_new(&config, &f.redis);
}

static int setup(void **state)
{
    static const struct fk_dns_options nobody = {.servers = "127.0.0.1:1"};
    static char prefix[] = "farkey:";
    struct fk_addr addr;

    (void)state;
    memset(&f, 0, sizeof f);
    f.peer = -1;
    fk_log_threshold(FK_LOG_ERROR);
    assert_ok(fk_loop_new(&f.loop));
    assert_ok(fk_dns_new(f.loop, &nobody, &f.dns));
    fk_timer_init(&f.tick, f.loop, on_tick);
    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    assert_ok(fk_sock_listen(&addr, &(struct fk_listen_options){.backlog = 8}, &f.listener));
    assert_ok(fk_sock_local(f.listener, &addr));
    fk_addr_format(&addr, f.address);
    f.conf = (struct fk_edge_redis){.address = f.address, .prefix = prefix, .timeout_us = 300000};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_redis_free(f.redis);
    fk_close(&f.peer);
    fk_close(&f.listener);
    fk_timer_stop(&f.tick);
    fk_dns_free(f.dns);
    fk_loop_free(f.loop);
    return 0;
}

static void begin(void)
{
    assert_ok(make(NULL));
    fk_redis_start(f.redis);
    run(greeted);
    f.n_got = 0;
    f.got[0] = '\0';
}

static void begin_up(void)
{
    begin();
    say("+PONG\r\n");
    run(is_up);
}

/* --- cases --- */

static void what_it_says_and_hears(void **state)
{
    static const char set[] = "*5\r\n$3\r\nSET\r\n$71\r\n" KEY "\r\n$3\r\na\0b\r\n"
                              "$2\r\nPX\r\n$4\r\n7000\r\n";
    struct fk_sesstore_find *under_way;

    (void)state;
    begin_up();
    put("a\0b", 3);
    run(has_set);
    assert_int_equal(f.n_got, sizeof set - 1);
    assert_memory_equal(f.got, set, sizeof set - 1);
    say("+OK\r\n");
    assert_ok(find(&asker, &under_way));
    run(has_get);
    say("$3\r\na");
    assert_int_equal(send(f.peer, "\0b\r\n", 4, 0), 4);
    run(told);
    assert_int_equal(asker.told, 1);
    assert_ok(asker.err);
    assert_int_equal(asker.len, 3);
    assert_memory_equal(asker.data, "a\0b", 3);
    f.n_got = 0;
    assert_ok(find(&asker, &under_way));
    run(has_get);
    say("$-1\r\n");
    run(told);
    assert_err(asker.err, FK_ERR_NOT_FOUND);
}

static void greeting(void **state)
{
    static char user[] = "edge";

    (void)state;
    f.conf.user = user;
    f.conf.database = 3;
    assert_ok(make("secret word"));
    fk_redis_start(f.redis);
    run(greeted);
    assert_string_equal(f.got, "*3\r\n$4\r\nAUTH\r\n$4\r\nedge\r\n$11\r\nsecret word\r\n"
                               "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n");
    say("+OK\r\n+OK\r\n");
    assert_false(fk_redis_is_up(f.redis));
    say("+PONG\r\n");
    run(is_up);
}

/* Whoever it does not let in has no store, and asks again later, not at once. */
static void a_refused_greeting(void **state)
{
    struct fk_sesstore_find *under_way;

    (void)state;
    begin();
    assert_ok(find(&asker, &under_way));
    say("-NOAUTH Authentication required.\r\n");
    run(told);
    assert_err(asker.err, FK_ERR_UNAVAILABLE);
    run(is_lost);
    assert_err(find(&asker, &under_way), FK_ERR_UNAVAILABLE);
    f.n_got = 0;
    run(greeted);
    say("+PONG\r\n");
    run(is_up);
}

static void asked_before_there_is_a_connection(void **state)
{
    struct fk_sesstore_find *under_way;

    (void)state;
    assert_ok(make(NULL));
    assert_err(find(&asker, &under_way), FK_ERR_UNAVAILABLE);
    fk_redis_start(f.redis);
    assert_ok(find(&asker, &under_way));
    run(has_get);
    say("+PONG\r\n$1\r\nx\r\n");
    run(told);
    assert_ok(asker.err);
}

/* Whether it would ask; that one is cancelled, but its command goes. */
static bool can_ask(void)
{
    struct fk_sesstore *store = fk_redis_store(f.redis);
    struct fk_sesstore_find *under_way;
    struct asker nobody;

    if (find(&nobody, &under_way) != FK_OK)
        return false;
    store->ops->cancel(store, under_way);
    return true;
}

/* The first wait for a bounded time; others, as long as it is behind, not at all. */
static void a_silent_server(void **state)
{
    struct fk_sesstore_find *under_way;
    uint64_t begun;

    (void)state;
    begin_up();
    begun = fk_clock_us();
    assert_ok(find(&asker, &under_way));
    run(told);
    assert_err(asker.err, FK_ERR_TIMEOUT);
    assert_true(fk_clock_us() - begun >= f.conf.timeout_us);
    assert_true(fk_clock_us() - begun < FK_EDGE_STORE_STALL_US);
    assert_err(find(&asker, &under_way), FK_ERR_UNAVAILABLE);
    put("x", 1);
    assert_null(strstr(f.got, "SET"));
    /* The late answer is nobody's, and the one after it is the next one's. */
    say("$4\r\nlate\r\n");
    run(can_ask);
    f.n_got = 0;
    assert_ok(find(&asker, &under_way));
    run(has_get);
    say("$-1\r\n$3\r\nnew\r\n");
    run(told);
    assert_ok(asker.err);
    assert_memory_equal(asker.data, "new", 3);
}

static void a_server_that_stays_silent_is_given_up(void **state)
{
    struct fk_sesstore_find *under_way;

    (void)state;
    begin_up();
    assert_ok(find(&asker, &under_way));
    run(told);
    run(is_lost);
    assert_false(fk_redis_is_up(f.redis));
    f.n_got = 0;
    run(greeted);
}

static void it_ends_while_somebody_waits(void **state)
{
    struct fk_sesstore_find *under_way;

    (void)state;
    begin_up();
    assert_ok(find(&asker, &under_way));
    run(has_get);
    fk_close(&f.peer);
    run(told);
    assert_err(asker.err, FK_ERR_UNAVAILABLE);
}

static void nonsense_and_answers_to_nothing(void **state)
{
    static const char *const texts[] = {"?what\r\n", "+OK\r\n", "*1\r\n$1\r\nx\r\n"};

    (void)state;
    begin_up();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        say(texts[i]);
        run(is_lost);
        f.n_got = 0;
        f.got[0] = '\0';
        run(greeted);
        say("+PONG\r\n");
        run(is_up);
    }
}

/* Full, loading, read only: the connection stays. */
static void refused_commands(void **state)
{
    struct fk_sesstore_find *under_way;

    (void)state;
    begin_up();
    put("x", 1);
    run(has_set);
    say("-OOM command not allowed\r\n");
    assert_ok(find(&asker, &under_way));
    run(has_get);
    say("-LOADING\r\n");
    run(told);
    assert_err(asker.err, FK_ERR_UNAVAILABLE);
    assert_true(fk_redis_is_up(f.redis));
    assert_ok(find(&asker, &under_way));
    say(":1\r\n");
    run(told);
    assert_err(asker.err, FK_ERR_UNAVAILABLE);
}

static void the_cancelled_are_not_told(void **state)
{
    struct fk_sesstore *store;
    struct fk_sesstore_find *first, *second;
    struct asker other;

    (void)state;
    begin_up();
    store = fk_redis_store(f.redis);
    assert_ok(find(&other, &first));
    assert_ok(find(&asker, &second));
    store->ops->cancel(store, first);
    run(has_get);
    say("$1\r\n1\r\n$1\r\n2\r\n");
    run(told);
    assert_int_equal(other.told, 0);
    assert_memory_equal(asker.data, "2", 1);
    /* Under way when all ends: forgotten. */
    assert_ok(find(&asker, &second));
}

static void so_many_at_once(void **state)
{
    struct fk_sesstore_find *under_way;
    struct asker one;

    (void)state;
    begin_up();
    for (size_t i = 0; i < FK_EDGE_STORE_CALLS_MAX; i++)
        assert_ok(find(&one, &under_way));
    assert_err(find(&one, &under_way), FK_ERR_LIMIT);
}

static bool rested(void)
{
    return !fk_redis_is_up(f.redis);
}

static void at_rest_it_ends_when_nothing_is_under_way(void **state)
{
    struct fk_sesstore_find *under_way;

    (void)state;
    begin_up();
    assert_ok(find(&asker, &under_way));
    run(has_get);
    fk_redis_rest(f.redis);
    assert_true(fk_redis_is_up(f.redis));
    say("$1\r\nx\r\n");
    run(told);
    assert_ok(asker.err);
    run(rested);
    run(is_lost);
    assert_err(find(&asker, &under_way), FK_ERR_UNAVAILABLE);
    fk_redis_start(f.redis);
    f.n_got = 0;
    f.got[0] = '\0';
    run(greeted);
}

static void freed_by_the_one_who_is_told(void *arg, int err, const uint8_t *data, size_t len)
{
    (void)err, (void)data, (void)len;
    fk_redis_free(f.redis);
    f.redis = NULL;
    on_done(arg, FK_OK, NULL, 0);
}

static void whoever_is_told_may_free_all(void **state)
{
    struct fk_sesstore *store;
    struct fk_sesstore_find *first, *second;

    (void)state;
    begin_up();
    store = fk_redis_store(f.redis);
    assert_ok(store->ops->find(store, id, freed_by_the_one_who_is_told, &asker, &first));
    asker.told = 0;
    assert_ok(store->ops->find(store, id, on_done, &asker, &second));
    run(has_get);
    say("$1\r\n1\r\n$1\r\n2\r\n");
    run(told);
    assert_null(f.redis);
}

static void passwords(void **state)
{
    uint8_t text[FK_EDGE_STORE_PASSWORD_MAX + 2];
    size_t len = 0;

    (void)state;
    memset(text, 'p', sizeof text);
    assert_ok(fk_redis_password(text, 5, &len));
    assert_int_equal(len, 5);
    assert_ok(fk_redis_password((const uint8_t *)"word\n", 5, &len));
    assert_int_equal(len, 4);
    assert_err(fk_redis_password((const uint8_t *)"", 0, &len), FK_ERR_FORMAT);
    assert_err(fk_redis_password((const uint8_t *)"\n", 1, &len), FK_ERR_FORMAT);
    assert_err(fk_redis_password((const uint8_t *)"a\nb", 3, &len), FK_ERR_FORMAT);
    assert_ok(fk_redis_password(text, FK_EDGE_STORE_PASSWORD_MAX, &len));
    assert_err(fk_redis_password(text, FK_EDGE_STORE_PASSWORD_MAX + 1, &len), FK_ERR_LIMIT);
}

static int make_and_free(void *context)
{
    int err = make("word");

    (void)context;
    fk_redis_free(f.redis);
    f.redis = NULL;
    return err;
}

static void without_memory(void **state)
{
    (void)state;
    assert_true(failmalloc_try(make_and_free, NULL) >= 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(what_it_says_and_hears), CASE(greeting), CASE(a_refused_greeting),
          CASE(asked_before_there_is_a_connection), CASE(a_silent_server),
          CASE(a_server_that_stays_silent_is_given_up), CASE(it_ends_while_somebody_waits),
          CASE(nonsense_and_answers_to_nothing), CASE(refused_commands),
          CASE(the_cancelled_are_not_told), CASE(so_many_at_once),
          CASE(at_rest_it_ends_when_nothing_is_under_way), CASE(whoever_is_told_may_free_all),
          CASE(passwords), CASE(without_memory))
