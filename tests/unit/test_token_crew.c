/*
 * token/crew: jobs are done by threads, no more wait than may, a token that goes is opened again, a
 * PIN that was refused is not tried twice.
 */
#include "softtoken.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/writer.h"
#include "token/crew.h"

#include <poll.h>
#include <pthread.h>

#define DEADLINE_US 2000000

/* --- a token that does as it is told --- */

struct soft {
    struct fk_token_back back;
    struct fk_private session;
    EVP_PKEY *key;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool held;             /* signing waits */
    unsigned inside;       /* calls that sign now */
    unsigned opens, signs; /* calls made */
    int open_err;          /* how opening ends */
    unsigned gone;         /* so many signings find it gone */
};

static struct soft *soft_of(struct fk_token_back *back)
{
    return fk_container(back, struct soft, back);
}

static int soft_open(struct fk_token_back *back)
{
    struct soft *soft = soft_of(back);
    int err;

    pthread_mutex_lock(&soft->lock);
    soft->opens++;
    err = soft->open_err;
    pthread_mutex_unlock(&soft->lock);
    back->n_found = 1;
    if (err != FK_OK)
        snprintf(back->why, sizeof back->why, "as the test says");
    return err;
}

static void soft_close(struct fk_token_back *back)
{
    (void)back;
}

static int soft_look(struct fk_token_back *back)
{
    (void)back;
    return FK_OK;
}

static struct fk_private *soft_session(struct fk_token_back *back, unsigned index)
{
    (void)index;
    return &soft_of(back)->session;
}

static void soft_free(struct fk_token_back *back)
{
    (void)back; /* the test's */
}

static const struct fk_token_back_ops back_ops = {.open = soft_open,
                                                  .close = soft_close,
                                                  .look = soft_look,
                                                  .session = soft_session,
                                                  .free = soft_free};

static int session_sign(struct fk_private *private, const struct fk_private_ask *ask,
                        uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    struct soft *soft = fk_container(private, struct soft, session);
    bool gone;

    pthread_mutex_lock(&soft->lock);
    soft->signs++;
    soft->inside++;
    pthread_cond_broadcast(&soft->change);
    while (soft->held)
        pthread_cond_wait(&soft->change, &soft->lock);
    soft->inside--;
    gone = soft->gone > 0;
    soft->gone -= gone ? 1 : 0;
    pthread_mutex_unlock(&soft->lock);
    return gone ? FK_ERR_TOKEN : soft_sign(soft->key, ask, ret, ret_len);
}

static const struct fk_private_ops session_ops = {.verify_all = true, .sign = session_sign};

/* --- the bench --- */

struct bench {
    struct soft soft;
    struct fk_keyset *set;
    struct fk_crew *crew;
    struct fk_list done; /* collected */
    uint8_t ski[20];
    uint32_t last_id;
};

static void open_bench(struct bench *bench, uint16_t sessions, uint16_t queue, int open_err)
{
    const struct fk_token_settings settings = {.name = "soft",
                                               .type = FK_TOKEN_PKCS11,
                                               .sessions = sessions,
                                               .queue = queue,
                                               .deadline_us = DEADLINE_US};

    *bench = (struct bench){.soft = {.open_err = open_err, .session = {&session_ops}}};
    fk_list_init(&bench->done);
    bench->soft.key = unit_key("P-256");
    pthread_mutex_init(&bench->soft.lock, NULL);
    pthread_cond_init(&bench->soft.change, NULL);
    bench->set = soft_set(bench->soft.key, FK_PERM_SIGN13, &settings, bench->ski);
    bench->soft.back = (struct fk_token_back){
        .ops = &back_ops, .settings = fk_keyset_token(bench->set), .set = bench->set};
    assert_ok(fk_crew_new(bench->set, &bench->soft.back, &bench->crew));
}

static void close_bench(struct bench *bench)
{
    assert_true(fk_list_empty(&bench->done));
    fk_crew_free(bench->crew);
    fk_keyset_free(bench->set);
    EVP_PKEY_free(bench->soft.key);
    pthread_mutex_destroy(&bench->soft.lock);
    pthread_cond_destroy(&bench->soft.change);
}

static void hold(struct bench *bench, bool held)
{
    pthread_mutex_lock(&bench->soft.lock);
    bench->soft.held = held;
    pthread_cond_broadcast(&bench->soft.change);
    pthread_mutex_unlock(&bench->soft.lock);
}

static void wait_inside(struct bench *bench, unsigned n)
{
    pthread_mutex_lock(&bench->soft.lock);
    while (bench->soft.inside < n)
        pthread_cond_wait(&bench->soft.change, &bench->soft.lock);
    pthread_mutex_unlock(&bench->soft.lock);
}

/* Wait for a change of the crew's descriptor. */
static void wait_fd(struct bench *bench)
{
    struct pollfd fd = {.fd = fk_crew_fd(bench->crew), .events = POLLIN};

    assert_int_equal(poll(&fd, 1, 20000), 1);
}

static struct fk_crew_status wait_state(struct bench *bench, enum fk_token_state state)
{
    struct fk_crew_status status;

    for (;;) {
        fk_crew_status(bench->crew, &status);
        if (status.state == state)
            return status;
        wait_fd(bench);
        fk_crew_collect(bench->crew, &bench->done);
    }
}

static int submit(struct bench *bench)
{
    const struct fk_sign13 op = {
        .scheme = 0x0403, .role = FK_ROLE_SERVER, .hash = {1}, .hash_len = 32};
    struct fk_token_job *job = calloc(1, sizeof *job);
    struct fk_writer writer;
    size_t len;
    int err;

    assert_non_null(job);
    fk_writer_init(&writer, job->payload, sizeof job->payload);
    fk_sign13_encode(&op, &writer);
    assert_ok(fk_writer_end(&writer, &len));
    job->kind = FK_PEER_FRONT;
    job->request = (struct fk_signer_request){
        .len = (uint32_t)len, .id = ++bench->last_id, .op = FK_SIGNER_SIGN13};
    memcpy(job->request.ski, bench->ski, 20);
    if ((err = fk_crew_submit(bench->crew, job)) != FK_OK)
        free(job);
    return err;
}

/* The next result, which must be `err`. */
static void expect_one(struct bench *bench, int err)
{
    struct fk_token_job *job;
    struct fk_list *item;

    while ((item = fk_list_pop(&bench->done)) == NULL) {
        wait_fd(bench);
        fk_crew_collect(bench->crew, &bench->done);
    }
    job = fk_container(item, struct fk_token_job, link);
    assert_int_equal(job->result.err, err);
    assert_true((job->result.len > 60) == (err == FK_OK));
    free(job);
}

static void expect(struct bench *bench, unsigned n, int err)
{
    while (n-- > 0)
        expect_one(bench, err);
}

/* --- cases --- */

static void jobs_are_done(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, 3, 100, FK_OK);
    for (int i = 0; i < 50; i++)
        assert_ok(submit(&bench)); /* those before it is open wait for that */
    expect(&bench, 50, FK_OK);
    assert_int_equal(wait_state(&bench, FK_TOKEN_OPEN).n_found, 1);
    assert_int_equal(bench.soft.opens, 1);
    close_bench(&bench);
}

static void sessions_work_at_once_and_few_wait(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, 2, 3, FK_OK);
    wait_state(&bench, FK_TOKEN_OPEN);
    hold(&bench, true);
    assert_ok(submit(&bench));
    assert_ok(submit(&bench));
    wait_inside(&bench, 2); /* both sessions */
    for (int i = 0; i < 3; i++)
        assert_ok(submit(&bench));
    assert_int_equal(submit(&bench), FK_ERR_BUSY);
    hold(&bench, false);
    expect(&bench, 5, FK_OK);
    assert_ok(submit(&bench));
    expect(&bench, 1, FK_OK);
    close_bench(&bench);
}

/* Right after it was opened it gets a pause; later it is opened again at once, and the job that
 * found it gone is done. */
static void what_goes_is_opened_again(void **state)
{
    uint64_t opened;
    struct bench bench;

    (void)state;
    open_bench(&bench, 1, 10, FK_OK);
    wait_state(&bench, FK_TOKEN_OPEN);
    opened = fk_clock_us();
    bench.soft.gone = 1;
    assert_ok(submit(&bench));
    expect(&bench, 1, FK_ERR_TOKEN);
    assert_true(fk_clock_us() - opened < FK_TOKEN_PAUSE_MIN_US);
    wait_state(&bench, FK_TOKEN_OPEN);
    assert_int_equal(bench.soft.opens, 2);
    opened = fk_clock_us();
    while (fk_clock_us() - opened <= FK_TOKEN_PAUSE_MIN_US)
        (void)poll(NULL, 0, 10);
    bench.soft.gone = 1;
    assert_ok(submit(&bench));
    expect(&bench, 1, FK_OK);
    assert_int_equal(bench.soft.opens, 3);
    close_bench(&bench);
}

static void refused_pin_is_not_tried_again(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, 2, 100, FK_ERR_PIN);
    assert_string_equal(wait_state(&bench, FK_TOKEN_REFUSED).why, "as the test says");
    for (int i = 0; i < 20; i++)
        assert_ok(submit(&bench));
    expect(&bench, 20, FK_ERR_PIN);
    assert_int_equal(bench.soft.opens, 1);
    assert_int_equal(bench.soft.signs, 0);
    close_bench(&bench);
}

/* Who is not there has no call hanging; who is, has. */
static void slow_calls_are_seen(void **state)
{
    struct fk_crew_status status;
    struct bench bench;

    (void)state;
    open_bench(&bench, 1, 10, FK_OK);
    wait_state(&bench, FK_TOKEN_OPEN);
    hold(&bench, true);
    assert_ok(submit(&bench));
    wait_inside(&bench, 1);
    do
        fk_crew_status(bench.crew, &status);
    while (status.hung_us < 1000);
    hold(&bench, false);
    expect(&bench, 1, FK_OK);
    fk_crew_status(bench.crew, &status);
    assert_int_equal(status.hung_us, 0);
    close_bench(&bench);
}

/* What has waited for longer than anybody waits for it does not reach the token. */
static void late_jobs_are_dropped(void **state)
{
    struct bench bench;
    uint64_t start;

    (void)state;
    open_bench(&bench, 1, 10, FK_OK);
    wait_state(&bench, FK_TOKEN_OPEN);
    hold(&bench, true);
    start = fk_clock_us();
    assert_ok(submit(&bench));
    wait_inside(&bench, 1);
    assert_ok(submit(&bench));
    while (fk_clock_us() - start <= DEADLINE_US + 100000)
        (void)poll(NULL, 0, 10);
    hold(&bench, false);
    expect_one(&bench, FK_OK);
    expect_one(&bench, FK_ERR_TIMEOUT);
    assert_int_equal(bench.soft.signs, 1);
    close_bench(&bench);
}

/* What waits at the end is given up, and nothing is left (a sanitizer looks). */
static void end_with_jobs(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, 1, 10, FK_ERR_TOKEN);
    wait_state(&bench, FK_TOKEN_LOST);
    for (int i = 0; i < 5; i++)
        assert_ok(submit(&bench));
    close_bench(&bench);
}

UNIT_MAIN(cmocka_unit_test(jobs_are_done), cmocka_unit_test(sessions_work_at_once_and_few_wait),
          cmocka_unit_test(what_goes_is_opened_again),
          cmocka_unit_test(refused_pin_is_not_tried_again), cmocka_unit_test(slow_calls_are_seen),
          cmocka_unit_test(late_jobs_are_dropped), cmocka_unit_test(end_with_jobs))
