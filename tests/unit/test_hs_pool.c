/* keyd/hs_pool, keyd/hs_link: requests to handshakers that the test plays, over socketpairs. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "keyd/hs_pool.h"
#include "loop/sock.h"
#include "wire/keymsg.h"

#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE 200000
#define SEEN_MAX 16

static struct fk_loop *loop;
static struct fk_hs_pool *pool;
static struct fk_timer over;

/* A handshaker of the test. */
struct played {
    struct fk_hs_link link;
    unsigned n;
    struct fk_hs_head heads[SEEN_MAX];
    uint8_t first[SEEN_MAX];
    bool lost;
};

static struct played played[2];

static void on_message(struct fk_hs_link *link, const struct fk_hs_head *head,
                       struct fk_reader payload)
{
    struct played *p = fk_container(link, struct played, link);

    assert_true(p->n < SEEN_MAX);
    p->heads[p->n] = *head;
    p->first[p->n++] = payload.left > 0 ? payload.next[0] : 0;
}

static void on_lost(struct fk_hs_link *link)
{
    struct played *p = fk_container(link, struct played, link);

    p->lost = true;
    fk_hs_link_close(link);
}

static const struct fk_hs_link_ops link_ops = {.message = on_message, .lost = on_lost};

static void play(unsigned i)
{
    int fds[2];

    played[i] = (struct played){.n = 0};
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    fk_hs_link_open(&played[i].link, loop, fds[0], &link_ops);
    assert_ok(fk_hs_pool_add(pool, fds[1], i));
}

static void answer(unsigned i, unsigned n, int err, struct fk_reader payload)
{
    struct fk_hs_head head = {.id = played[i].heads[n].id, .err = err};

    assert_ok(fk_hs_link_send(&played[i].link, &head, payload));
}

/* --- turns of the loop --- */

static void on_over(struct fk_timer *timer)
{
    (void)timer;
    fk_loop_stop(loop);
}

/* Let so much time pass. */
static void pass(uint64_t us)
{
    fk_timer_start(&over, us);
    fk_loop_run(loop);
}

/* --- results --- */

static struct {
    unsigned n;
    int err[SEEN_MAX];
    size_t len[SEEN_MAX];
    uintptr_t arg[SEEN_MAX];
} results;

static void on_done(void *arg, int err, const uint8_t *data, size_t len, uint32_t micros)
{
    (void)data, (void)micros;
    results.err[results.n] = err;
    results.len[results.n] = len;
    results.arg[results.n++] = (uintptr_t)arg;
}

static int ask(uint32_t index, uint8_t byte, uintptr_t arg)
{
    struct fk_hs_ask ask = {
        .head = {.opcode = FK_OP_HS_OPEN, .edge = 3}, .index = index, .payload = {&byte, 1}};

    return fk_hs_pool_submit(pool, &ask, on_done, (void *)arg);
}

static void start(void)
{
    memset(&results, 0, sizeof results);
    assert_ok(fk_loop_new(&loop));
    fk_timer_init(&over, loop, on_over);
    assert_ok(fk_hs_pool_new(loop, DEADLINE, &pool));
}

static void stop(unsigned n_played)
{
    fk_hs_pool_free(pool);
    for (unsigned i = 0; i < n_played; i++)
        if (!played[i].lost)
            fk_hs_link_close(&played[i].link);
    fk_timer_stop(&over);
    fk_loop_free(loop);
}

/* --- cases --- */

static void requests_spread_and_answers_come_back(void **state)
{
    static const uint8_t data[FK_HANDSHAKER_MESSAGE_MAX];

    (void)state;
    start();
    play(0);
    play(1);
    assert_ok(ask(FK_HS_ANY, 'a', 1));
    assert_ok(ask(FK_HS_ANY, 'b', 2));
    assert_ok(ask(1, 'c', 3));
    pass(20000);
    assert_int_equal(played[0].n, 1);
    assert_int_equal(played[1].n, 2);
    assert_int_equal(played[1].first[1], 'c');
    assert_int_equal(played[1].heads[1].edge, 3);
    answer(1, 1, FK_OK, (struct fk_reader){data, sizeof data}); /* the largest, out of order */
    answer(1, 0, FK_ERR_DENIED, (struct fk_reader){0});
    answer(0, 0, FK_OK, (struct fk_reader){data, 5});
    pass(50000);
    assert_int_equal(results.n, 3);
    for (unsigned i = 0; i < 3; i++) {
        const uintptr_t arg = results.arg[i];

        assert_int_equal(results.err[i], arg == 2 ? FK_ERR_DENIED : FK_OK);
        assert_int_equal(results.len[i], arg == 1 ? 5 : arg == 3 ? sizeof data : 0);
    }
    stop(2);
}

static void nobody_to_ask(void **state)
{
    (void)state;
    start();
    assert_err(ask(FK_HS_ANY, 'a', 1), FK_ERR_UNAVAILABLE);
    assert_err(ask(0, 'a', 1), FK_ERR_EXPIRED);
    assert_err(ask(255, 'a', 1), FK_ERR_EXPIRED);
    assert_err(fk_hs_pool_add(pool, dup(0), FK_KEYD_CHILDREN_MAX), FK_ERR_RANGE);
    stop(0);
}

static void late_is_too_late(void **state)
{
    (void)state;
    start();
    play(0);
    assert_ok(ask(FK_HS_ANY, 'a', 1));
    pass(DEADLINE + 50000);
    assert_int_equal(results.n, 1);
    assert_err(results.err[0], FK_ERR_TIMEOUT);
    answer(0, 0, FK_OK, (struct fk_reader){0}); /* to nobody */
    pass(20000);
    assert_int_equal(results.n, 1);
    stop(1);
}

/* What one that died was asked fails; what comes now waits for the next, which gets it. */
static void a_death_and_a_successor(void **state)
{
    (void)state;
    start();
    play(0);
    assert_ok(ask(FK_HS_ANY, 'a', 1));
    pass(10000);
    fk_hs_link_close(&played[0].link);
    pass(10000);
    assert_int_equal(results.n, 1);
    assert_err(results.err[0], FK_ERR_UNAVAILABLE);
    assert_ok(ask(FK_HS_ANY, 'b', 2));
    assert_err(ask(0, 'c', 3), FK_ERR_EXPIRED); /* its handshakes are gone */
    play(0);
    pass(10000);
    assert_int_equal(played[0].n, 1);
    assert_int_equal(played[0].first[0], 'b');
    answer(0, 0, FK_OK, (struct fk_reader){0});
    pass(10000);
    assert_int_equal(results.n, 2);
    assert_ok(results.err[1]);
    stop(1);
}

static void what_is_no_message_ends_the_way(void **state)
{
    static const struct fk_hs_head heads[] = {
        {.len = FK_HANDSHAKER_MESSAGE_MAX + 1},
        {.n_keys = FK_HS_KEYS_MAX + 1},
        {.len = 7, .share_len = 8},
    };

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        start();
        play(0);
        assert_ok(ask(FK_HS_ANY, 'a', 1));
        assert_int_equal(write(played[0].link.fd, &heads[i], sizeof heads[i]), sizeof heads[i]);
        pass(20000);
        assert_int_equal(results.n, 1);
        assert_err(results.err[0], FK_ERR_UNAVAILABLE);
        assert_true(played[0].lost);
        stop(1);
    }
}

static void without_memory_nothing_is_asked(void **state)
{
    size_t n = 0;
    bool fired;

    (void)state;
    do {
        int err;

        start();
        play(0);
        failmalloc_arm(++n);
        err = ask(FK_HS_ANY, 'a', 1);
        fired = failmalloc_disarm();
        assert_err(err, fired ? FK_ERR_NOMEM : FK_OK);
        stop(1);
    } while (fired);
    assert_int_equal(n - 1, 2); /* the call, and the queue */
}

UNIT_MAIN(cmocka_unit_test(requests_spread_and_answers_come_back), cmocka_unit_test(nobody_to_ask),
          cmocka_unit_test(late_is_too_late), cmocka_unit_test(a_death_and_a_successor),
          cmocka_unit_test(what_is_no_message_ends_the_way),
          cmocka_unit_test(without_memory_nothing_is_asked))
