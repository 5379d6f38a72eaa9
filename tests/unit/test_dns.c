/*
 * loop/dns: answers, failures, lies and silence of a name server that is this test itself, a UDP
 * socket on loopback in the same loop.
 */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "loop/dns.h"
#include "loop/sandbox.h"
#include "loop/sock.h"

#include <ares.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the name server: what it does is in the first label --- */

struct server {
    int fd;
    struct fk_io io;
    unsigned asked; /* questions for A records */
};

enum { TYPE_A = 1, TYPE_AAAA = 28 };

/* The question's name in text; returns the length of header, name, type and class. */
static size_t read_question(const uint8_t *in, size_t len, char name[256], unsigned *ret_type)
{
    size_t at = 12, out = 0;

    while (at < len && in[at] != 0 && at + in[at] + 1 < len) {
        memcpy(name + out, in + at + 1, in[at]);
        out += in[at];
        name[out++] = '.';
        at += (size_t)in[at] + 1;
    }
    name[out == 0 ? 0 : out - 1] = '\0';
    *ret_type = (unsigned)(in[at + 1] << 8 | in[at + 2]);
    return at + 5;
}

static void put_record(uint8_t *reply, size_t *len, unsigned type, unsigned ttl, const uint8_t *ip)
{
    uint8_t size = type == TYPE_A ? 4 : 16;
    uint8_t head[12] = {0xc0, 0x0c, 0, (uint8_t)type, 0, 1, 0, 0, 0, (uint8_t)ttl, 0, size};

    memcpy(reply + *len, head, sizeof head);
    memcpy(reply + *len + sizeof head, ip, size);
    *len += sizeof head + size;
    reply[7]++; /* answers */
}

static bool starts(const char *name, const char *label)
{
    return strncmp(name, label, strlen(label)) == 0;
}

/* Fill in the answer section and the flags; false for silence. */
static bool compose(const char *name, unsigned type, uint8_t *reply, size_t *len)
{
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    uint8_t v4[4] = {10, 0, 0, 1};

    reply[2] = 0x81;
    reply[3] = 0x80;
    memset(reply + 6, 0, 6);
    if (starts(name, "silent"))
        return false;
    if (starts(name, "none"))
        reply[3] = 0x83; /* NXDOMAIN */
    else if (starts(name, "failing"))
        reply[3] = 0x82; /* SERVFAIL */
    else if (starts(name, "liar"))
        reply[0] ^= 0xff; /* another id */
    if (starts(name, "garbage")) {
        memset(reply + 12, 0xc0, 40);
        *len = 52;
    } else if (starts(name, "half") && type == TYPE_A) {
        put_record(reply, len, type, 60, v4);
        *len -= 3;
    } else if (starts(name, "v6") && type == TYPE_AAAA) {
        put_record(reply, len, type, 60, v6);
    } else if (starts(name, "crowd") && type == TYPE_A) {
        for (v4[3] = 1; v4[3] <= 25; v4[3]++)
            put_record(reply, len, type, 60, v4);
    } else if ((starts(name, "good") || starts(name, "liar")) && type == TYPE_A) {
        put_record(reply, len, type, starts(name, "good-short") ? 0 : 60, v4);
    }
    return true;
}

static void on_question(struct fk_io *io, unsigned events)
{
    struct server *server = fk_container(io, struct server, io);
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    uint8_t packet[1024];
    char name[256];
    unsigned type;
    ssize_t n;
    size_t len;

    (void)events;
    n = recvfrom(server->fd, packet, 512, 0, (struct sockaddr *)&from, &from_len);
    if (n < 17)
        return;
    len = read_question(packet, (size_t)n, name, &type);
    server->asked += type == TYPE_A;
    if (compose(name, type, packet, &len))
        assert_int_equal(sendto(server->fd, packet, len, 0, (struct sockaddr *)&from, from_len),
                         (ssize_t)len);
}

/* --- the client --- */

struct fixture {
    struct fk_loop *loop;
    struct fk_dns *dns;
    struct server server;
    struct fk_timer guard;
    bool timed_out;
    unsigned awaited;
};

struct asker {
    struct fk_dns_query query;
    struct fixture *fixture;
    struct asker *victim; /* cancelled by the callback */
    bool frees_resolver;
    unsigned calls;
    int err;
    size_t n_addrs;
    struct fk_addr addrs[FK_DNS_ADDRS_MAX];
};

static void on_resolved(struct fk_dns_query *query, int err, const struct fk_addr *addrs,
                        size_t n_addrs)
{
    struct asker *asker = fk_container(query, struct asker, query);

    asker->calls++;
    asker->err = err;
    asker->n_addrs = n_addrs;
    memcpy(asker->addrs, addrs, n_addrs * sizeof *addrs);
    if (asker->victim != NULL)
        fk_dns_cancel(&asker->victim->query);
    if (asker->frees_resolver) {
        fk_dns_free(asker->fixture->dns);
        asker->fixture->dns = NULL;
    }
    if (--asker->fixture->awaited == 0)
        fk_loop_stop(asker->fixture->loop);
}

static void on_guard(struct fk_timer *timer)
{
    fk_container(timer, struct fixture, guard)->timed_out = true;
    fk_loop_stop(timer->loop);
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct fk_dns_options options = {.timeout_ms = 100, .tries = 2};
    struct fk_addr addr;
    char servers[FK_ADDR_TEXT_SIZE];

    memset(&fixture, 0, sizeof fixture);
    assert_ok(fk_loop_new(&fixture.loop));
    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    fixture.server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture.server.fd, (struct sockaddr *)&addr.storage, addr.len), 0);
    assert_ok(fk_sock_local(fixture.server.fd, &addr));
    fk_io_init(&fixture.server.io, fixture.loop, fixture.server.fd, on_question);
    fk_io_want(&fixture.server.io, FK_IO_READ);
    fk_addr_format(&addr, servers);
    options.servers = servers;
    assert_ok(fk_dns_new(fixture.loop, &options, &fixture.dns));
    fk_timer_init(&fixture.guard, fixture.loop, on_guard);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    fk_dns_free(fixture->dns);
    fk_timer_stop(&fixture->guard);
    fk_io_want(&fixture->server.io, 0);
    fk_close(&fixture->server.fd);
    fk_loop_free(fixture->loop);
    return 0;
}

static void ask(struct fixture *fixture, struct asker *asker, const char *host)
{
    memset(asker, 0, sizeof *asker);
    fk_dns_query_init(&asker->query);
    asker->fixture = fixture;
    assert_ok(fk_dns_resolve(fixture->dns, &asker->query, host, 443, on_resolved));
    assert_int_equal(asker->calls, 0);
    fixture->awaited++;
}

static void run(struct fixture *fixture)
{
    fk_timer_start(&fixture->guard, 10000000);
    fk_loop_run(fixture->loop);
    assert_false(fixture->timed_out);
}

static void assert_first(const struct asker *asker, const char *text)
{
    char got[FK_ADDR_TEXT_SIZE];

    assert_ok(asker->err);
    assert_true(asker->n_addrs > 0);
    fk_addr_format(&asker->addrs[0], got);
    assert_string_equal(got, text);
}

static void names_become_addresses(void **state)
{
    struct fixture *fixture = *state;
    struct asker good, six;

    ask(fixture, &good, "good.example");
    ask(fixture, &six, "v6.example");
    run(fixture);
    assert_first(&good, "10.0.0.1:443");
    assert_int_equal(good.n_addrs, 1);
    assert_first(&six, "[2001:db8::1]:443");
}

static void addresses_and_localhost_ask_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct asker four, six, local, below;

    ask(fixture, &four, "192.0.2.7");
    ask(fixture, &six, "2001:db8::7");
    ask(fixture, &local, "localhost");
    ask(fixture, &below, "x.LOCALHOST");
    run(fixture);
    assert_first(&four, "192.0.2.7:443");
    assert_first(&six, "[2001:db8::7]:443");
    assert_first(&local, "127.0.0.1:443");
    assert_int_equal(local.n_addrs, 2);
    assert_first(&below, "127.0.0.1:443");
    assert_int_equal(fixture->server.asked, 0);
}

static void failures_have_their_names(void **state)
{
    struct fixture *fixture = *state;
    struct asker none, failing, silent, garbage, half, empty, liar;

    ask(fixture, &none, "none.example");
    ask(fixture, &failing, "failing.example");
    ask(fixture, &silent, "silent.example");
    ask(fixture, &garbage, "garbage.example");
    ask(fixture, &half, "half.example");
    ask(fixture, &empty, "empty.example");
    ask(fixture, &liar, "liar.example");
    run(fixture);
    assert_err(none.err, FK_ERR_NOT_FOUND);
    assert_err(failing.err, FK_ERR_UNAVAILABLE);
    assert_err(silent.err, FK_ERR_TIMEOUT);
    assert_int_not_equal(garbage.err, FK_OK);
    assert_int_not_equal(half.err, FK_OK);
    assert_err(empty.err, FK_ERR_NOT_FOUND);
    assert_err(liar.err, FK_ERR_TIMEOUT);
    assert_int_equal(none.n_addrs, 0);
}

static void many_questions_for_one_name_are_asked_once(void **state)
{
    enum { N = 100 };
    static struct asker askers[N], later;
    struct fixture *fixture = *state;

    for (size_t i = 0; i < N; i++)
        ask(fixture, &askers[i], i % 2 == 0 ? "good.example" : "GOOD.example");
    run(fixture);
    for (size_t i = 0; i < N; i++)
        assert_first(&askers[i], "10.0.0.1:443");
    ask(fixture, &later, "good.example");
    run(fixture);
    assert_first(&later, "10.0.0.1:443");
    assert_int_equal(fixture->server.asked, 1);
}

static void failures_are_kept_too(void **state)
{
    struct fixture *fixture = *state;
    struct asker first, second;

    ask(fixture, &first, "none.example");
    run(fixture);
    ask(fixture, &second, "none.example");
    run(fixture);
    assert_err(second.err, FK_ERR_NOT_FOUND);
    assert_int_equal(fixture->server.asked, 1);
}

static void on_pause(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void answers_expire(void **state)
{
    struct fixture *fixture = *state;
    struct fk_timer pause;
    struct asker asker;

    ask(fixture, &asker, "good-short.example");
    run(fixture);
    fk_timer_init(&pause, fixture->loop, on_pause);
    fk_timer_start(&pause, FK_DNS_TTL_MIN_S * 1000000 + 1000);
    run(fixture);
    ask(fixture, &asker, "good-short.example");
    run(fixture);
    assert_int_equal(fixture->server.asked, 2);
}

static void different_names_at_once_have_a_bound(void **state)
{
    static struct asker askers[FK_DNS_CACHE_MAX + 1];
    struct fixture *fixture = *state;
    struct fk_dns_query *extra = &askers[FK_DNS_CACHE_MAX].query;
    char name[64];

    for (size_t i = 0; i < FK_DNS_CACHE_MAX; i++) {
        snprintf(name, sizeof name, "good-%zu.example", i);
        ask(fixture, &askers[i], name);
    }
    fk_dns_query_init(extra);
    assert_err(fk_dns_resolve(fixture->dns, extra, "good.example", 1, on_resolved), FK_ERR_LIMIT);
    fk_dns_cancel(extra);
    run(fixture);
    for (size_t i = 0; i < FK_DNS_CACHE_MAX; i++)
        assert_first(&askers[i], "10.0.0.1:443");
    /* The cache is full of answers: the oldest makes room. */
    ask(fixture, &askers[0], "good.example");
    run(fixture);
    assert_first(&askers[0], "10.0.0.1:443");
}

static void cancelled_queries_are_silent(void **state)
{
    struct fixture *fixture = *state;
    struct asker early, late, other, victim;

    ask(fixture, &early, "good.example");
    fk_dns_cancel(&early.query);
    fk_dns_cancel(&early.query);
    fixture->awaited--;
    ask(fixture, &late, "good.example");
    /* One that is cancelled by the other although its answer has come. */
    ask(fixture, &other, "192.0.2.1");
    ask(fixture, &victim, "192.0.2.1");
    fixture->awaited--;
    other.victim = &victim;
    run(fixture);
    assert_int_equal(early.calls, 0);
    assert_first(&late, "10.0.0.1:443");
    assert_first(&other, "192.0.2.1:443");
    assert_int_equal(victim.calls, 0);
}

static void freeing_cancels_all(void **state)
{
    struct fixture *fixture = *state;
    struct asker killer, pending, answered;

    ask(fixture, &pending, "silent.example");
    ask(fixture, &killer, "192.0.2.1");
    ask(fixture, &answered, "192.0.2.1");
    killer.frees_resolver = true;
    fixture->awaited = 1;
    run(fixture);
    assert_null(fixture->dns);
    assert_int_equal(pending.calls, 0);
    assert_int_equal(answered.calls, 0);
    fk_dns_cancel(&pending.query);
}

static void large_answers_are_cut(void **state)
{
    struct fixture *fixture = *state;
    struct asker asker;

    ask(fixture, &asker, "crowd.example");
    run(fixture);
    assert_ok(asker.err);
    assert_int_equal(asker.n_addrs, FK_DNS_ADDRS_MAX);
}

static void bad_names_and_servers_are_refused(void **state)
{
    static const char *const names[] = {"", "a b", "*", "10.0.0.256", "a/b", "[::1]", "a:b"};
    struct fk_dns_options options = {.servers = "not a server"};
    struct fixture *fixture = *state;
    struct fk_dns_query query;
    struct fk_dns *dns;
    char long_name[FK_HOST_MAX + 2];

    fk_dns_query_init(&query);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_err(fk_dns_resolve(fixture->dns, &query, names[i], 1, on_resolved), FK_ERR_FORMAT);
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_err(fk_dns_resolve(fixture->dns, &query, long_name, 1, on_resolved), FK_ERR_FORMAT);
    fk_dns_cancel(&query);
    assert_err(fk_dns_new(fixture->loop, &options, &dns), FK_ERR_INVAL);
}

/* Asked, answered and timed out inside a WORKER's sandbox. */
static void resolver_works_inside_the_sandbox(void **state)
{
    struct fixture *fixture = *state;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct asker asker = {.fixture = fixture}, again = {.fixture = fixture};

        fk_dns_query_init(&asker.query);
        fk_dns_query_init(&again.query);
        if (fk_sandbox_enter(FK_SANDBOX_WORKER) != FK_OK)
            _exit(1);
        fixture->awaited = 2;
        if (fk_dns_resolve(fixture->dns, &asker.query, "good.example", 1, on_resolved) != FK_OK ||
            fk_dns_resolve(fixture->dns, &again.query, "silent.example", 1, on_resolved) != FK_OK)
            _exit(2);
        fk_timer_start(&fixture->guard, 10000000);
        fk_loop_run(fixture->loop);
        if (fixture->timed_out)
            _exit(3);
        _exit(asker.err == FK_OK && asker.n_addrs == 1 && again.err == FK_ERR_TIMEOUT ? 0 : 4);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- without memory --- */

/* A resolver is made, asks the name server for one name, and ends. */
static int resolve_once(void *context)
{
    struct fixture *fixture = context;
    struct asker asker = {.fixture = fixture};
    struct fk_dns_options options = {.timeout_ms = 100, .tries = 2};
    char servers[FK_ADDR_TEXT_SIZE];
    struct fk_dns *dns = NULL;
    struct fk_addr addr;
    int err;

    assert_ok(fk_sock_local(fixture->server.fd, &addr));
    fk_addr_format(&addr, servers);
    options.servers = servers;
    if ((err = fk_dns_new(fixture->loop, &options, &dns)) != FK_OK) {
        assert_null(dns);
        return err;
    }
    fk_dns_query_init(&asker.query);
    fixture->awaited = 1;
    if ((err = fk_dns_resolve(dns, &asker.query, "good.example", 443, on_resolved)) == FK_OK) {
        run(fixture);
        assert_int_equal(asker.calls, 1);
        assert_true((asker.err == FK_OK) == (asker.n_addrs > 0));
        err = asker.err;
    }
    assert_null(asker.query.entry);
    fk_dns_free(dns);
    return err;
}

static void every_failed_allocation_is_told(void **state)
{
    assert_int_equal(failmalloc_try(resolve_once, *state), 2); /* itself, and the name */
}

/*
 * c-ares may do without, or take another way: what counts is that there is one answer, that it is
 * an address or an error that dns.h names, and that nothing is leaked.
 */
static void cares_without_memory_gives_an_answer(void **state)
{
    size_t told = 0;
    bool fired;
    size_t n = 0;

    assert_int_equal(ares_library_init_mem(ARES_LIB_INIT_ALL, malloc, free, realloc), ARES_SUCCESS);
    do {
        int err;

        failmalloc_arm(++n);
        err = resolve_once(*state);
        fired = failmalloc_disarm();
        assert_int_equal(failmalloc_live(), 0);
        if (err != FK_OK && err != FK_ERR_NOMEM) /* in some places c-ares says so */
            assert_err(err, FK_ERR_NOT_FOUND);
        told += err == FK_ERR_NOMEM;
        if (!fired)
            assert_ok(err);
    } while (fired);
    ares_library_cleanup();
    assert_true(told >= 10);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(names_become_addresses), CASE(addresses_and_localhost_ask_nobody),
          CASE(failures_have_their_names), CASE(many_questions_for_one_name_are_asked_once),
          CASE(failures_are_kept_too), CASE(answers_expire),
          CASE(different_names_at_once_have_a_bound), CASE(cancelled_queries_are_silent),
          CASE(freeing_cancels_all), CASE(large_answers_are_cut),
          CASE(bad_names_and_servers_are_refused), CASE(resolver_works_inside_the_sandbox),
          CASE(every_failed_allocation_is_told), CASE(cares_without_memory_gives_an_answer))
