/*
 * The threads of a token: see crew.h.
 *
 * One lock guards all that they share; it is never held while the token is called. `users` counts
 * the calls of workers that are in the token: the keeper opens and closes it only when there are
 * none, and in no other state than OPEN does one begin. Each opening has a number, so that a loss
 * which a slow call reports late does not close the token that was opened since.
 */
#include "token/crew.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "loop/sock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* What a driver's functions need: far below the 8 MiB that threads get by default. */
#define STACK (512 * 1024)

struct worker {
    struct fk_private private; /* the keys of the token's session, when it is open */
    struct fk_crew *crew;
    unsigned index;
    struct fk_ops *ops;
    uint64_t since_us; /* since when a call of the token is under way; 0: none is */
    pthread_t thread;
};

struct fk_crew {
    struct fk_token_back *back;
    int fd;
    pthread_mutex_t lock;
    pthread_cond_t work;   /* a job waits */
    pthread_cond_t change; /* of the state, or of `users` to 0 */
    struct fk_list jobs, done;
    size_t n_jobs;
    enum fk_token_state state;
    uint32_t opening; /* number of it */
    uint32_t changes;
    unsigned users;
    uint64_t opened_us, due_us, pause_us;
    uint64_t keeper_us; /* as struct worker's since_us */
    size_t n_found;
    char why[FK_TOKEN_WHY_SIZE];
    bool ending;
    struct worker *workers;
    unsigned n_workers, n_started; /* threads */
    pthread_t keeper;
    bool has_keeper;
};

static void wake_owner(struct fk_crew *crew)
{
    const uint64_t one = 1;
    ssize_t n = write(crew->fd, &one, sizeof one);

    (void)n; /* full means that it is awake already */
}

/* Wait for a condition until a time of fk_clock_us(). */
static void wait_until(struct fk_crew *crew, pthread_cond_t *cond, uint64_t until_us)
{
    const struct timespec end = {.tv_sec = (time_t)(until_us / 1000000),
                                 .tv_nsec = (long)(until_us % 1000000) * 1000};

    (void)pthread_cond_timedwait(cond, &crew->lock, &end);
}

/* --- the state; the lock is held --- */

static void happens(struct fk_crew *crew, enum fk_token_event event, const char *why)
{
    enum fk_token_state next = fk_token_next(crew->state, event);

    if (next == crew->state)
        return;
    if (next == FK_TOKEN_LOST) {
        crew->pause_us = crew->pause_us == 0 ? FK_TOKEN_PAUSE_MIN_US : 2 * crew->pause_us;
        if (crew->pause_us > FK_TOKEN_PAUSE_MAX_US)
            crew->pause_us = FK_TOKEN_PAUSE_MAX_US;
        crew->due_us = fk_clock_us() + crew->pause_us;
    }
    crew->state = next;
    crew->changes++;
    (void)snprintf(crew->why, sizeof crew->why, "%s", why);
    (void)pthread_cond_broadcast(&crew->change);
    wake_owner(crew);
}

static void is_gone(struct fk_crew *crew, uint32_t opening)
{
    bool soon = fk_clock_us() - crew->opened_us < FK_TOKEN_PAUSE_MIN_US;

    if (opening == crew->opening && crew->state == FK_TOKEN_OPEN)
        happens(crew, soon ? FK_TOKEN_GONE_SOON : FK_TOKEN_GONE, "it went away");
}

/* --- workers --- */

/* Begin a call of the token; *ret_opening is which token it finds. While it is being opened it is
 * waited for, until `until_us`. */
static int enter(struct worker *worker, uint64_t until_us, uint32_t *ret_opening)
{
    struct fk_crew *crew = worker->crew;
    int err = FK_OK;

    (void)pthread_mutex_lock(&crew->lock);
    while (crew->state == FK_TOKEN_OPENING && !crew->ending && fk_clock_us() < until_us)
        wait_until(crew, &crew->change, until_us);
    if (crew->state == FK_TOKEN_OPEN && !crew->ending) {
        crew->users++;
        worker->since_us = fk_clock_us();
        *ret_opening = crew->opening;
    } else {
        err = crew->state == FK_TOKEN_REFUSED ? FK_ERR_PIN : FK_ERR_TOKEN;
    }
    (void)pthread_mutex_unlock(&crew->lock);
    return err;
}

static void leave(struct worker *worker, uint32_t opening, int err)
{
    struct fk_crew *crew = worker->crew;

    (void)pthread_mutex_lock(&crew->lock);
    worker->since_us = 0;
    if (--crew->users == 0)
        (void)pthread_cond_broadcast(&crew->change);
    if (err == FK_ERR_TOKEN)
        is_gone(crew, opening);
    else if (err == FK_ERR_PIN && opening == crew->opening)
        happens(crew, FK_TOKEN_PIN_WRONG, "it refuses a key's authorisation value");
    (void)pthread_mutex_unlock(&crew->lock);
}

/* What is asked of a private half, as the back-end's functions take it; one of both. */
struct use {
    const struct fk_private_ask *ask;
    uint8_t *ret;
    size_t *ret_len; /* NULL: raw */
};

static int use_session(struct worker *worker, const struct use *use)
{
    struct fk_token_back *back = worker->crew->back;
    struct fk_private *session = back->ops->session(back, worker->index);

    if (use->ret_len != NULL)
        return session->ops->sign(session, use->ask, use->ret, use->ret_len);
    return session->ops->raw(session, use->ask, use->ret);
}

/* Twice, if the token is lost and comes back at once: sessions time out, daemons start anew. */
static int use_token(struct fk_private *private, const struct use *use)
{
    struct worker *worker = fk_container(private, struct worker, private);
    uint64_t until_us = fk_clock_us() + FK_TOKEN_WAIT_US;
    uint32_t opening;
    int err = FK_ERR_TOKEN;

    for (int i = 0; i < 2 && err == FK_ERR_TOKEN; i++) {
        if ((err = enter(worker, until_us, &opening)) != FK_OK)
            return err;
        err = use_session(worker, use);
        leave(worker, opening, err);
    }
    return err;
}

static int worker_sign(struct fk_private *private, const struct fk_private_ask *ask,
                       uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len)
{
    const struct use use = {ask, ret, ret_len};

    return use_token(private, &use);
}

static int worker_raw(struct fk_private *private, const struct fk_private_ask *ask, uint8_t *ret)
{
    const struct use use = {ask, ret, NULL};

    return use_token(private, &use);
}

static const struct fk_private_ops worker_ops = {
    .verify_all = true, .sign = worker_sign, .raw = worker_raw};

/* Nobody waits any more for what is as old as the deadline: a token that is behind must not stay
 * behind with work for nobody. */
static void carry_out(struct worker *worker, struct fk_token_job *job)
{
    uint64_t start = fk_clock_us();
    size_t len = 0;
    int err = FK_ERR_TIMEOUT;

    if (start - job->since_us < worker->crew->back->settings->deadline_us)
        err = fk_ops_serve(worker->ops, job->kind, &job->request, job->payload, job->ret, &len);
    job->result = (struct fk_signer_result){.id = job->request.id,
                                            .err = err,
                                            .len = err == FK_OK ? (uint32_t)len : 0,
                                            .micros = (uint32_t)(fk_clock_us() - start)};
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct fk_crew *crew = worker->crew;
    struct fk_list *item;

    (void)pthread_mutex_lock(&crew->lock);
    while (!crew->ending) {
        if ((item = fk_list_pop(&crew->jobs)) == NULL) {
            (void)pthread_cond_wait(&crew->work, &crew->lock);
            continue;
        }
        crew->n_jobs--;
        (void)pthread_mutex_unlock(&crew->lock);
        carry_out(worker, fk_container(item, struct fk_token_job, link));
        (void)pthread_mutex_lock(&crew->lock);
        fk_list_append(&crew->done, item);
        wake_owner(crew);
    }
    (void)pthread_mutex_unlock(&crew->lock);
    return NULL;
}

/* --- the keeper; the lock is held --- */

/* Call the token without the lock. */
static int call_back(struct fk_crew *crew, int (*call)(struct fk_token_back *back))
{
    int err;

    crew->keeper_us = fk_clock_us();
    (void)pthread_mutex_unlock(&crew->lock);
    err = call(crew->back);
    (void)pthread_mutex_lock(&crew->lock);
    crew->keeper_us = 0;
    return err;
}

static int open_anew(struct fk_token_back *back)
{
    int err;

    back->ops->close(back);
    back->why[0] = '\0';
    if ((err = back->ops->open(back)) != FK_OK)
        back->ops->close(back);
    return err;
}

static void keep_opening(struct fk_crew *crew)
{
    int err;

    if (crew->users > 0) {
        (void)pthread_cond_wait(&crew->change, &crew->lock);
        return;
    }
    err = call_back(crew, open_anew);
    if (err == FK_OK) {
        crew->opening++;
        crew->opened_us = fk_clock_us();
        crew->n_found = crew->back->n_found;
        happens(crew, FK_TOKEN_OPENED, "");
    } else {
        happens(crew, err == FK_ERR_PIN ? FK_TOKEN_PIN_WRONG : FK_TOKEN_FAILED,
                crew->back->why[0] != '\0' ? crew->back->why : fk_err_text(err));
    }
}

static void keep_open(struct fk_crew *crew)
{
    uint64_t now = fk_clock_us(), look_us = now + FK_TOKEN_LOOK_US;
    uint32_t opening = crew->opening;
    int err;

    while (crew->state == FK_TOKEN_OPEN && !crew->ending && (now = fk_clock_us()) < look_us)
        wait_until(crew, &crew->change, look_us);
    if (crew->state != FK_TOKEN_OPEN || crew->ending)
        return;
    crew->users++;
    err = call_back(crew, crew->back->ops->look);
    crew->users--;
    if (err != FK_OK)
        is_gone(crew, opening);
    else
        crew->pause_us = 0; /* it has lasted */
}

static void keep_lost(struct fk_crew *crew)
{
    if (fk_clock_us() < crew->due_us)
        wait_until(crew, &crew->change, crew->due_us);
    else
        happens(crew, FK_TOKEN_DUE, crew->why);
}

static void keep_refused(struct fk_crew *crew)
{
    (void)pthread_cond_wait(&crew->change, &crew->lock);
}

static void *keep(void *arg)
{
    static void (*const steps[FK_TOKEN_STATES])(struct fk_crew *) = {
        [FK_TOKEN_OPENING] = keep_opening,
        [FK_TOKEN_OPEN] = keep_open,
        [FK_TOKEN_LOST] = keep_lost,
        [FK_TOKEN_REFUSED] = keep_refused,
    };
    struct fk_crew *crew = arg;

    (void)pthread_mutex_lock(&crew->lock);
    while (!crew->ending)
        steps[crew->state](crew);
    (void)pthread_mutex_unlock(&crew->lock);
    return NULL;
}

/* --- for the loop --- */

int fk_crew_fd(const struct fk_crew *crew)
{
    return crew->fd;
}

int fk_crew_submit(struct fk_crew *crew, struct fk_token_job *job)
{
    int err = FK_ERR_BUSY;

    (void)pthread_mutex_lock(&crew->lock);
    if (crew->n_jobs < crew->back->settings->queue) {
        job->since_us = fk_clock_us();
        fk_list_append(&crew->jobs, &job->link);
        crew->n_jobs++;
        (void)pthread_cond_signal(&crew->work);
        err = FK_OK;
    }
    (void)pthread_mutex_unlock(&crew->lock);
    return err;
}

void fk_crew_collect(struct fk_crew *crew, struct fk_list *done)
{
    struct fk_list *item;
    uint64_t count;
    ssize_t n = read(crew->fd, &count, sizeof count);

    (void)n; /* EAGAIN: nothing new */
    (void)pthread_mutex_lock(&crew->lock);
    while ((item = fk_list_pop(&crew->done)) != NULL)
        fk_list_append(done, item);
    (void)pthread_mutex_unlock(&crew->lock);
}

static uint64_t age(uint64_t since_us, uint64_t now)
{
    return since_us == 0 || since_us > now ? 0 : now - since_us;
}

void fk_crew_status(struct fk_crew *crew, struct fk_crew_status *ret)
{
    uint64_t now;

    (void)pthread_mutex_lock(&crew->lock);
    now = fk_clock_us();
    ret->state = crew->state;
    ret->changes = crew->changes;
    ret->n_found = crew->n_found;
    ret->hung_us = age(crew->keeper_us, now);
    for (unsigned i = 0; i < crew->n_workers; i++)
        if (age(crew->workers[i].since_us, now) > ret->hung_us)
            ret->hung_us = age(crew->workers[i].since_us, now);
    (void)snprintf(ret->why, sizeof ret->why, "%s", crew->why);
    (void)pthread_mutex_unlock(&crew->lock);
}

/* --- start and end --- */

static int start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    int err;

    if (pthread_attr_init(&attr) != 0)
        return FK_ERR_NOMEM;
    err =
        pthread_attr_setstacksize(&attr, STACK) == 0 && pthread_create(thread, &attr, run, arg) == 0
            ? FK_OK
            : FK_ERR_SYS;
    (void)pthread_attr_destroy(&attr);
    return err;
}

static int start_threads(struct fk_crew *crew, const struct fk_keyset *set)
{
    int err;

    for (unsigned i = 0; i < crew->n_workers; i++) {
        struct worker *worker = &crew->workers[i];

        worker->private.ops = &worker_ops;
        worker->crew = crew;
        worker->index = i;
        if ((err = fk_ops_new_private(set, &worker->private, &worker->ops)) != FK_OK ||
            (err = start_thread(&worker->thread, work, worker)) != FK_OK)
            return err;
        crew->n_started++;
    }
    if ((err = start_thread(&crew->keeper, keep, crew)) != FK_OK)
        return err;
    crew->has_keeper = true;
    return FK_OK;
}

/* Times are those of fk_clock_us(). */
static void init_conditions(struct fk_crew *crew)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&crew->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&crew->work, &attr);
    (void)pthread_cond_init(&crew->change, &attr);
    (void)pthread_condattr_destroy(&attr);
}

int fk_crew_new(const struct fk_keyset *set, struct fk_token_back *back, struct fk_crew **ret)
{
    struct fk_crew *crew = calloc(1, sizeof *crew);
    int err = FK_ERR_NOMEM;

    if (crew == NULL) {
        back->ops->free(back);
        return err;
    }
    crew->back = back;
    crew->n_workers = back->settings->sessions;
    fk_list_init(&crew->jobs);
    fk_list_init(&crew->done);
    init_conditions(crew);
    crew->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    crew->workers = calloc(crew->n_workers, sizeof *crew->workers);
    if (crew->fd < 0)
        err = FK_ERR_SYS;
    else if (crew->workers != NULL)
        err = start_threads(crew, set);
    if (err != FK_OK) {
        fk_crew_free(crew);
        return err;
    }
    *ret = crew;
    return FK_OK;
}

static void free_jobs(struct fk_list *list)
{
    struct fk_list *item;

    while ((item = fk_list_pop(list)) != NULL) {
        struct fk_token_job *job = fk_container(item, struct fk_token_job, link);

        fk_wipe(job, sizeof *job);
        free(job);
    }
}

void fk_crew_free(struct fk_crew *crew)
{
    if (crew == NULL)
        return;
    (void)pthread_mutex_lock(&crew->lock);
    crew->ending = true;
    (void)pthread_cond_broadcast(&crew->work);
    (void)pthread_cond_broadcast(&crew->change);
    (void)pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->n_started; i++)
        (void)pthread_join(crew->workers[i].thread, NULL);
    if (crew->has_keeper)
        (void)pthread_join(crew->keeper, NULL);
    for (unsigned i = 0; crew->workers != NULL && i < crew->n_workers; i++)
        fk_ops_free(crew->workers[i].ops);
    crew->back->ops->close(crew->back);
    crew->back->ops->free(crew->back);
    free_jobs(&crew->jobs);
    free_jobs(&crew->done);
    fk_close(&crew->fd);
    free(crew->workers);
    (void)pthread_cond_destroy(&crew->work);
    (void)pthread_cond_destroy(&crew->change);
    (void)pthread_mutex_destroy(&crew->lock);
    free(crew);
}
