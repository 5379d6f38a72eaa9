/* edge/origin where this process, not the origin, lacks something (memory, descriptors), and where
 * an operator has set an origin down. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "edge/origin.h"
#include "failmalloc.h"
#include "loop/sock.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct fk_loop *loop;
    struct fk_dns *dns;
    int listener;
    struct fk_addr addr;
    char named[FK_ADDR_TEXT_SIZE + 16],
        numbered[FK_ADDR_TEXT_SIZE]; /* the listener, as an origin */
    char *items[2];
    struct fk_edge_site site;
    struct fk_timer guard;
};

struct attempt {
    struct fk_origin_use use;
    unsigned calls;
    int err;
};

static void on_guard(struct fk_timer *timer)
{
    (void)timer;
    fail_msg("nothing happens");
}

static int setup(void **state)
{
    static const struct fk_dns_options nobody = {.servers = "127.0.0.1:1"};
    static char title[] = "site";
    static struct fixture f;
    char text[FK_ADDR_TEXT_SIZE];

    memset(&f, 0, sizeof f);
    fk_log_threshold(FK_LOG_ERROR);
    assert_ok(fk_loop_new(&f.loop));
    assert_ok(fk_dns_new(f.loop, &nobody, &f.dns));
    assert_ok(fk_addr_parse("127.0.0.1:0", &f.addr));
    assert_ok(fk_sock_listen(&f.addr, &(struct fk_listen_options){.backlog = 64}, &f.listener));
    assert_ok(fk_sock_local(f.listener, &f.addr));
    fk_addr_format(&f.addr, text);
    (void)snprintf(f.numbered, sizeof f.numbered, "%s", text);
    (void)snprintf(f.named, sizeof f.named, "localhost%s", strchr(text, ':'));
    f.items[0] = f.named;
    f.items[1] = f.numbered;
    f.site = (struct fk_edge_site){.block = {.title = title},
                                   .origin = {.items = f.items, .count = 1},
                                   .origin_timeout_us = 5000000,
                                   .origin_fail_max = 1,
                                   .origin_fail_for_us = 60000000};
    fk_timer_init(&f.guard, f.loop, on_guard);
    fk_timer_start(&f.guard, 20000000);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fk_timer_stop(&f->guard);
    fk_dns_free(f->dns);
    fk_close(&f->listener);
    fk_loop_free(f->loop);
    return 0;
}

static void on_origin(struct fk_origin_use *use, int err)
{
    struct attempt *attempt = fk_container(use, struct attempt, use);

    attempt->calls++;
    attempt->err = err;
    fk_loop_stop(use->timer.loop);
}

/* Connect and disconnect; the error, whether it came at once or later. */
static int connect_once(struct fixture *f, struct fk_origins *origins, const char *name)
{
    struct attempt attempt = {.calls = 0};
    int err = fk_origin_start(&attempt.use, origins, on_origin);

    if (err == FK_ERR_AGAIN) {
        fk_loop_run(f->loop);
        assert_int_equal(attempt.calls, 1);
        err = attempt.err;
    } else {
        assert_int_equal(attempt.calls, 0);
    }
    if (err == FK_OK) {
        assert_true(attempt.use.fd >= 0);
        assert_string_equal(fk_origin_name(&attempt.use), name);
    } else {
        assert_int_equal(attempt.use.fd, -1);
    }
    fk_origin_stop(&attempt.use);
    return err;
}

static void assert_blameless(const struct fk_origins *origins)
{
    struct fk_origin_stats stats;

    assert_ok(fk_origins_stats(origins, 0, &stats));
    assert_true(stats.up);
    assert_int_equal(stats.failures, 0);
    assert_int_equal(stats.connections, 0);
}

/* A resolver, a site's origins, a name to look up. */
static int resolve_and_connect(void *context)
{
    static const struct fk_dns_options nobody = {.servers = "127.0.0.1:1"};
    struct fixture *f = context;
    struct fk_origins *origins = NULL;
    struct fk_dns *dns = NULL;
    int err;

    if ((err = fk_dns_new(f->loop, &nobody, &dns)) != FK_OK) {
        assert_null(dns);
        return err;
    }
    if ((err = fk_origins_new(f->loop, dns, &f->site, &origins)) != FK_OK) {
        assert_null(origins);
    } else if ((err = connect_once(f, origins, f->named)) != FK_OK) {
        assert_blameless(origins);
        assert_ok(connect_once(f, origins, f->named)); /* as good as before */
    }
    fk_origins_free(origins);
    fk_dns_free(dns);
    return err;
}

static void every_failed_allocation_is_told(void **state)
{
    assert_int_equal(failmalloc_try(resolve_and_connect, *state), 3);
}

/* An origin whose name cannot be looked up for want of memory is passed over, this once. */
static void next_origin_is_tried_without_memory(void **state)
{
    struct fixture *f = *state;
    struct fk_origins *origins;

    f->site.origin.count = 2;
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    failmalloc_arm(1);
    assert_ok(connect_once(f, origins, f->numbered));
    assert_true(failmalloc_disarm());
    assert_blameless(origins);
    assert_ok(connect_once(f, origins, f->named));
    fk_origins_free(origins);
}

static void on_look(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void wait_for_checks(struct fixture *f, const struct fk_origins *origins, uint64_t count)
{
    struct fk_origin_stats stats;
    struct fk_timer look;

    fk_timer_init(&look, f->loop, on_look);
    while (fk_origins_stats(origins, 0, &stats) == FK_OK && stats.attempts < count) {
        fk_timer_start(&look, 1000);
        fk_loop_run(f->loop);
    }
    fk_timer_stop(&look);
}

/* A health check that could not be made is not a check that failed. */
static void checks_without_memory_blame_nobody(void **state)
{
    struct fixture *f = *state;
    struct fk_origins *origins;

    f->site.origin_check_us = 1000;
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    failmalloc_arm(1);
    wait_for_checks(f, origins, 1);
    assert_true(failmalloc_disarm());
    assert_blameless(origins);
    wait_for_checks(f, origins, 3);
    assert_ok(connect_once(f, origins, f->named));
    fk_origins_free(origins);
}

static void without_descriptors_nobody_is_blamed(void **state)
{
    struct fixture *f = *state;
    struct fk_origins *origins;
    struct rlimit before, none;

    f->items[0] = f->numbered;
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_err(connect_once(f, origins, f->numbered), FK_ERR_LIMIT);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_blameless(origins);
    assert_ok(connect_once(f, origins, f->numbered));
    fk_origins_free(origins);
}

static void a_full_one_is_not_named(void **state)
{
    struct fixture *f = *state;
    struct attempt first = {.calls = 0}, second = {.calls = 0};
    struct fk_origins *origins;

    f->items[0] = f->numbered;
    f->site.origin_connections = 1;
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    assert_ok(fk_origin_start(&first.use, origins, on_origin));
    assert_string_equal(fk_origin_name(&first.use), f->numbered);
    assert_err(fk_origin_start(&second.use, origins, on_origin), FK_ERR_LIMIT);
    assert_null(fk_origin_name(&second.use));
    fk_origin_stop(&second.use);
    fk_origin_stop(&first.use);
    fk_origins_free(origins);
}

/* The positive of the above: a refusal is the origin's own. */
static void a_refusal_is_blamed(void **state)
{
    struct fixture *f = *state;
    struct fk_origin_stats stats;
    struct fk_origins *origins;

    fk_close(&f->listener);
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    assert_err(connect_once(f, origins, f->named), FK_ERR_CLOSED);
    assert_ok(fk_origins_stats(origins, 0, &stats));
    assert_false(stats.up);
    assert_int_equal(stats.failures, 1);
    fk_origins_free(origins);
}

/* --- set down --- */

static struct fk_origin_stats stats_of(const struct fk_origins *origins, size_t i)
{
    struct fk_origin_stats stats;

    assert_ok(fk_origins_stats(origins, i, &stats));
    return stats;
}

/* Two addresses of the same listener are two origins. */
static struct fk_origins *two_origins(struct fixture *f, struct fk_setdown *down, char *ret_name)
{
    struct fk_origins *origins;

    f->items[0] = f->numbered;
    f->items[1] = f->named;
    f->site.origin.count = 2;
    f->site.origin_keep_us = 60000000;
    (void)snprintf(ret_name, sizeof f->numbered + 8, "site/%s", f->numbered);
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    fk_origins_follow(origins, down);
    return origins;
}

static void one_that_is_set_down_gets_no_connection(void **state)
{
    struct fixture *f = *state;
    char name[sizeof f->numbered + 8];
    struct fk_setdown *down;
    struct fk_origins *origins;
    struct attempt used = {.calls = 0}, kept = {.calls = 0};

    assert_ok(fk_setdown_new(&down));
    origins = two_origins(f, down, name);
    assert_ok(fk_origin_start(&used.use, origins, on_origin));
    assert_string_equal(fk_origin_name(&used.use), f->numbered);
    assert_ok(connect_once(f, origins, f->named));
    assert_ok(fk_origin_start(&kept.use, origins, on_origin));
    assert_string_equal(fk_origin_name(&kept.use), f->numbered);
    fk_origin_keep(&kept.use);
    assert_int_equal(stats_of(origins, 0).kept, 1);

    assert_ok(fk_setdown_change(down, name, FK_SETDOWN_DOWN));
    assert_true(stats_of(origins, 0).set_down);
    assert_false(stats_of(origins, 1).set_down);
    assert_int_equal(stats_of(origins, 0).kept, 0);
    assert_int_equal(stats_of(origins, 0).connections, 1); /* goes on, and is not kept */
    fk_origin_keep(&used.use);
    assert_int_equal(stats_of(origins, 0).connections + stats_of(origins, 0).kept, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_ok(connect_once(f, origins, f->named));
    assert_int_equal(stats_of(origins, 0).attempts, 2);

    assert_ok(fk_setdown_change(down, name, FK_SETDOWN_UP));
    assert_ok(connect_once(f, origins, f->numbered));
    fk_origins_free(origins);
    fk_setdown_free(down);
}

/* Also one that fails, when there is nothing else: a wrong verdict of our own is another thing. */
static void with_all_set_down_there_is_none(void **state)
{
    struct fixture *f = *state;
    char name[sizeof f->numbered + 8];
    struct fk_setdown *down;
    struct fk_origins *origins;

    assert_ok(fk_setdown_new(&down));
    (void)snprintf(name, sizeof name, "site/%s", f->numbered);
    assert_ok(fk_setdown_change(down, name, FK_SETDOWN_DOWN));
    f->items[0] = f->numbered;
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    fk_origins_follow(origins, down);
    assert_true(stats_of(origins, 0).set_down); /* it was before */
    assert_err(connect_once(f, origins, NULL), FK_ERR_LIMIT);
    assert_int_equal(stats_of(origins, 0).failures, 0);
    assert_ok(fk_setdown_change(down, name, FK_SETDOWN_UP));
    assert_ok(connect_once(f, origins, f->numbered));
    fk_origins_free(origins);
    fk_setdown_free(down);
}

/* Its name is looked up when the operator comes: it is not connected to, nor blamed. */
static void an_attempt_under_way_turns_to_the_next(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt = {.calls = 0};
    struct fk_setdown *down;
    struct fk_origins *origins;
    char name[sizeof f->named + 8];

    assert_ok(fk_setdown_new(&down));
    f->site.origin.count = 2;
    (void)snprintf(name, sizeof name, "site/%s", f->named);
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    fk_origins_follow(origins, down);
    assert_err(fk_origin_start(&attempt.use, origins, on_origin), FK_ERR_AGAIN);
    assert_ok(fk_setdown_change(down, name, FK_SETDOWN_DOWN));
    fk_loop_run(f->loop);
    assert_int_equal(attempt.calls, 1);
    assert_ok(attempt.err);
    assert_string_equal(fk_origin_name(&attempt.use), f->numbered);
    assert_int_equal(stats_of(origins, 0).failures, 0);
    fk_origin_stop(&attempt.use);
    fk_origins_free(origins);
    fk_setdown_free(down);
}

/* What was seen of it before is no verdict on what the operator has repaired. */
static void one_that_is_set_up_is_tried_at_once(void **state)
{
    struct fixture *f = *state;
    char name[sizeof f->numbered + 8];
    struct fk_setdown *down;
    struct fk_origins *origins;

    assert_ok(fk_setdown_new(&down));
    fk_close(&f->listener);
    (void)snprintf(name, sizeof name, "site/%s", f->numbered);
    f->items[0] = f->numbered;
    assert_ok(fk_origins_new(f->loop, f->dns, &f->site, &origins));
    fk_origins_follow(origins, down);
    assert_err(connect_once(f, origins, f->numbered), FK_ERR_CLOSED);
    assert_false(stats_of(origins, 0).up);
    assert_ok(fk_setdown_change(down, name, FK_SETDOWN_DOWN));
    assert_false(stats_of(origins, 0).up);
    assert_ok(fk_setdown_change(down, name, FK_SETDOWN_UP));
    assert_true(stats_of(origins, 0).up);
    fk_origins_free(origins);
    fk_setdown_free(down);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(CASE(every_failed_allocation_is_told), CASE(next_origin_is_tried_without_memory),
          CASE(checks_without_memory_blame_nobody), CASE(without_descriptors_nobody_is_blamed),
          CASE(a_refusal_is_blamed), CASE(a_full_one_is_not_named),
          CASE(one_that_is_set_down_gets_no_connection), CASE(with_all_set_down_there_is_none),
          CASE(an_attempt_under_way_turns_to_the_next), CASE(one_that_is_set_up_is_tried_at_once))
