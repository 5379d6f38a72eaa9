/*
 * A pool of signers: see client.h.
 *
 * A call owns a slot of a table; its id on the wire is the slot and a count of the slot's uses, so
 * that an answer to a call that was cancelled or timed out finds nobody. All calls have the same
 * deadline (one that is shortened shortens those under way), so the list in order of submission is
 * the list of deadlines, and one timer serves it.
 * Callbacks are made in three functions (timer_fired, read_results, fail_calls), each called by the
 * loop and by nobody else; a callback may free the pool, so they look at `alive` after each one.
 *
 * A signer that owes answers and gives none is late (it hangs, or was stopped): its calls move to
 * another, but those for what only this one keeps. All others may be done twice; only the answer of
 * the signer that a call is with now counts, and the other one takes nothing but `busy` from its
 * signer.
 */
#include "signer/client.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/secret.h"
#include "base/writer.h"
#include "loop/sock.h"
#include "signer/handles.h"
#include "signer/share.h"
#include "wire/keymsg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RESULT_HEAD sizeof(struct fk_signer_result)
/* Results read at once: some hundred signatures. */
#define IN_MAX 16384

struct fk_signer_call {
    struct fk_list link; /* in pool->calls, in order of deadlines, or in pool->failed */
    struct fk_signer_request request;
    struct signer *signer; /* NULL: none was left; waits for a new one */
    uint64_t deadline_us;
    bool sent_again;
    bool keeps; /* what the signer makes, it keeps for FK_HANDLE_LIFE_US */
    int gone;   /* for this signer alone: what it comes to without it; FK_OK: for any */
    struct fk_signer_route *route; /* NULL: whoever answers */
    fk_signer_done_cb *done;
    fk_key_done_cb *key_done; /* instead of `done`: asked through the back-end */
    void *arg;
    uint8_t payload[]; /* request.len bytes */
};

struct slot {
    struct fk_signer_call *call; /* NULL: free */
    uint16_t uses;
    uint32_t next_free;
};

struct signer {
    struct fk_list link; /* in pool->signers or pool->dead */
    struct fk_signer_pool *pool;
    struct fk_io io;
    int fd;
    uint32_t number; /* of it alone in the pool's life */
    uint32_t generation;
    unsigned index;
    uint64_t keeps_us;    /* until when it may keep something; 0: nothing */
    uint32_t busy;        /* requests sent that it has not answered, forgotten ones included */
    uint64_t owes_us;     /* while busy: since it answered last, or became busy */
    struct fk_timer late; /* looks whether it is; active while it is busy */
    struct fk_buf out;
    size_t in_head, in_tail; /* unread part of `in`; what is read is wiped */
    uint8_t in[IN_MAX];
};

struct fk_signer_pool {
    struct fk_keyback back; /* first: the pool as a back-end */
    struct fk_loop *loop;
    uint64_t lost_us;       /* when a signer died last; 0: none did */
    struct fk_list signers; /* alive, in no order */
    struct fk_list dead;    /* closed; freed by `tidy` */
    size_t n_signers;
    uint32_t last_number;
    struct fk_list calls;
    struct fk_list failed; /* ended by `fail` with FK_ERR_UNAVAILABLE */
    struct slot *slots;    /* never fewer than there were: ids under way stay what they are */
    uint32_t n_slots, max, outstanding, first_free;
    struct fk_timer timer;
    struct fk_timer retire; /* active while an older signer keeps something */
    struct fk_defer flush;  /* write what was queued in this iteration */
    struct fk_defer fail;
    struct fk_defer tidy;
    bool *alive; /* of the function that is making callbacks; NULL: none is */
};

#define NO_SLOT UINT32_MAX

/* --- calls --- */

static uint32_t id_of(const struct fk_signer_pool *pool, uint32_t slot)
{
    return (uint32_t)pool->slots[slot].uses << 16 | slot;
}

static struct fk_signer_call *find_call(struct fk_signer_pool *pool, uint32_t id)
{
    uint32_t slot = id & 0xffff;

    if (slot >= pool->n_slots || pool->slots[slot].call == NULL || id_of(pool, slot) != id)
        return NULL;
    return pool->slots[slot].call;
}

/* Take a call out of the pool; the caller frees it. */
static void detach_call(struct fk_signer_pool *pool, struct fk_signer_call *call)
{
    uint32_t slot = call->request.id & 0xffff;

    fk_list_del(&call->link);
    pool->slots[slot].call = NULL;
    pool->slots[slot].uses++;
    pool->slots[slot].next_free = pool->first_free;
    pool->first_free = slot;
    pool->outstanding--;
}

static void free_call(struct fk_signer_call *call)
{
    fk_wipe(call, sizeof *call + call->request.len);
    free(call);
}

/* End a call. Its callback may free the pool. */
static void finish_call(struct fk_signer_pool *pool, struct fk_signer_call *call, int err,
                        const uint8_t *data, size_t len, uint32_t micros)
{
    fk_signer_done_cb *done = call->done;
    fk_key_done_cb *key_done = call->key_done;
    void *arg = call->arg;

    detach_call(pool, call);
    free_call(call);
    if (key_done != NULL)
        key_done(arg, err, data, len);
    else
        done(arg, err, data, len, micros);
}

/* Armed by a call when none was; rather fires early and is armed again than set at each answer. */
static void arm_timer(struct fk_signer_pool *pool)
{
    const struct fk_signer_call *first;
    uint64_t now = fk_loop_now_us(pool->loop);

    if (fk_list_empty(&pool->calls))
        return;
    first = fk_container(pool->calls.next, struct fk_signer_call, link);
    fk_timer_start(&pool->timer, first->deadline_us > now ? first->deadline_us - now : 0);
}

static struct fk_signer_call *pop_expired(struct fk_signer_pool *pool, uint64_t now)
{
    struct fk_list *item = fk_list_pop(&pool->calls);
    struct fk_signer_call *call;

    if (item == NULL)
        return NULL;
    call = fk_container(item, struct fk_signer_call, link);
    if (call->deadline_us <= now)
        return call;
    fk_list_prepend(&pool->calls, item);
    return NULL;
}

static void timer_fired(struct fk_timer *timer)
{
    struct fk_signer_pool *pool = fk_container(timer, struct fk_signer_pool, timer);
    uint64_t now = fk_loop_now_us(pool->loop);
    struct fk_signer_call *call;
    bool alive = true;

    pool->alive = &alive;
    while ((call = pop_expired(pool, now)) != NULL) {
        finish_call(pool, call, call->signer == NULL ? FK_ERR_UNAVAILABLE : FK_ERR_TIMEOUT, NULL, 0,
                    0);
        if (!alive)
            return;
    }
    pool->alive = NULL;
    arm_timer(pool);
}

static void fail_calls(struct fk_defer *defer)
{
    struct fk_signer_pool *pool = fk_container(defer, struct fk_signer_pool, fail);
    struct fk_list *item;
    bool alive = true;

    pool->alive = &alive;
    while ((item = fk_list_pop(&pool->failed)) != NULL) {
        struct fk_signer_call *call = fk_container(item, struct fk_signer_call, link);

        finish_call(pool, call, call->gone != FK_OK ? call->gone : FK_ERR_UNAVAILABLE, NULL, 0, 0);
        if (!alive)
            return;
    }
    pool->alive = NULL;
}

/* --- signers --- */

static uint64_t patience(const struct fk_signer_pool *pool)
{
    return pool->back.deadline_us / FK_SIGNER_LATE_PART + 1;
}

static bool is_late(const struct signer *signer)
{
    return signer->busy > 0 &&
           fk_loop_now_us(signer->pool->loop) - signer->owes_us >= patience(signer->pool);
}

static bool is_better(const struct signer *signer, const struct signer *other)
{
    bool late = is_late(signer);

    if (signer->generation != other->generation)
        return signer->generation > other->generation;
    return late != is_late(other) ? !late : signer->busy < other->busy;
}

/* Of the newest generation alive, one that is not late, the one with the least to do. NULL: none.
 */
static struct signer *choose_signer(struct fk_signer_pool *pool)
{
    struct signer *best = NULL;
    struct fk_list *item;

    fk_list_each (item, &pool->signers) {
        struct signer *signer = fk_container(item, struct signer, link);

        if (best == NULL || is_better(signer, best))
            best = signer;
    }
    return best;
}

/* The one that a handle is of. NULL: it has gone. */
static struct signer *find_holder(struct fk_signer_pool *pool, const uint8_t *handle)
{
    struct fk_list *item;
    uint16_t generation;
    unsigned index;

    fk_handle_route(handle, &index, &generation);
    fk_list_each (item, &pool->signers) {
        struct signer *signer = fk_container(item, struct signer, link);

        if (signer->index == index && (uint16_t)signer->generation == generation)
            return signer;
    }
    return NULL;
}

/* Stop using a signer: it is freed later, since its own callback may be running. */
static void bury_signer(struct signer *signer)
{
    fk_io_want(&signer->io, 0);
    fk_timer_stop(&signer->late);
    fk_close(&signer->fd);
    fk_list_del(&signer->link);
    fk_list_append(&signer->pool->dead, &signer->link);
    signer->pool->n_signers--;
    fk_defer_start(&signer->pool->tidy);
}

static void free_signer(struct signer *signer)
{
    fk_io_want(&signer->io, 0);
    fk_timer_stop(&signer->late);
    fk_close(&signer->fd);
    fk_list_del(&signer->link);
    fk_buf_fini(&signer->out);
    fk_wipe(signer->in, sizeof signer->in);
    free(signer);
}

static void free_signers(struct fk_list *list)
{
    struct fk_list *item;

    while ((item = fk_list_pop(list)) != NULL)
        free_signer(fk_container(item, struct signer, link));
}

static void tidy_up(struct fk_defer *defer)
{
    free_signers(&fk_container(defer, struct fk_signer_pool, tidy)->dead);
}

/* Older signers that have nothing to do and keep nothing are not needed any more. */
static void retire_signers(struct fk_signer_pool *pool)
{
    const struct signer *newest = choose_signer(pool);
    uint64_t now = fk_loop_now_us(pool->loop);
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &pool->signers) {
        struct signer *signer = fk_container(item, struct signer, link);

        if (signer->generation == newest->generation || signer->busy > 0)
            continue;
        if (now >= signer->keeps_us)
            bury_signer(signer);
        else if (!fk_timer_active(&pool->retire))
            fk_timer_start(&pool->retire, signer->keeps_us - now);
    }
}

static void retire_again(struct fk_timer *timer)
{
    struct fk_signer_pool *pool = fk_container(timer, struct fk_signer_pool, retire);

    if (!fk_list_empty(&pool->signers))
        retire_signers(pool);
}

/* Queue a call's request for a signer. FK_ERR_LIMIT, FK_ERR_NOMEM. */
static int send_call(struct signer *signer, struct fk_signer_call *call)
{
    size_t len = sizeof call->request + call->request.len;
    uint8_t *at;
    int err = fk_buf_reserve(&signer->out, len, &at);

    if (err != FK_OK)
        return err;
    memcpy(at, &call->request, sizeof call->request);
    memcpy(at + sizeof call->request, call->payload, call->request.len);
    fk_buf_commit(&signer->out, len);
    call->signer = signer;
    if (signer->busy++ == 0)
        signer->owes_us = fk_loop_now_us(signer->pool->loop);
    if (!fk_timer_active(&signer->late))
        fk_timer_start(&signer->late, patience(signer->pool));
    fk_defer_start(&signer->pool->flush);
    return FK_OK;
}

/* Send a call whose signer has gone to another one; without any it waits for a new one. */
static int send_again(struct fk_signer_pool *pool, struct fk_signer_call *call)
{
    struct signer *other = choose_signer(pool);

    if (call->sent_again || call->gone != FK_OK)
        return FK_ERR_UNAVAILABLE;
    call->sent_again = true;
    return other == NULL ? FK_OK : send_call(other, call);
}

/*
 * A signer has gone: each of its calls goes to another one, once. What was sent twice may be what
 * kills signers, and fails.
 */
static void lose_signer(struct signer *signer)
{
    struct fk_signer_pool *pool = signer->pool;
    struct fk_list *item, *temp;

    bury_signer(signer);
    pool->lost_us = fk_loop_now_us(pool->loop);
    fk_list_each_safe (item, temp, &pool->calls) {
        struct fk_signer_call *call = fk_container(item, struct fk_signer_call, link);

        if (call->signer != signer)
            continue;
        call->signer = NULL;
        if (send_again(pool, call) == FK_OK)
            continue;
        fk_list_del(item);
        fk_list_append(&pool->failed, item);
        fk_defer_start(&pool->fail);
    }
}

/* A late signer's calls go to others that are not, once. */
static void move_calls(struct signer *signer)
{
    struct fk_signer_pool *pool = signer->pool;
    struct fk_list *item;

    fk_list_each (item, &pool->calls) {
        struct fk_signer_call *call = fk_container(item, struct fk_signer_call, link);
        struct signer *other;

        if (call->signer != signer || call->sent_again || call->gone != FK_OK)
            continue;
        other = choose_signer(pool);
        if (other == NULL || is_late(other) || send_call(other, call) != FK_OK)
            return; /* nobody does it sooner; the next look may find somebody */
        call->sent_again = true;
    }
}

/* Armed when it became busy; rather looks early and again than is set at each answer. */
static void look_if_late(struct fk_timer *timer)
{
    struct signer *signer = fk_container(timer, struct signer, late);
    uint64_t owes = fk_loop_now_us(signer->pool->loop) - signer->owes_us;
    uint64_t bound = patience(signer->pool);

    if (signer->busy == 0)
        return;
    fk_timer_start(timer, owes < bound ? bound - owes : bound);
    if (owes >= bound)
        move_calls(signer);
}

/* --- writing --- */

/* Write what is queued. FK_ERR_CLOSED: the signer has gone. */
static int write_signer(struct signer *signer)
{
    ssize_t n = 1;

    while (n > 0 && fk_buf_len(&signer->out) > 0) {
        n = send(signer->fd, fk_buf_data(&signer->out), fk_buf_len(&signer->out),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            fk_buf_consume(&signer->out, (size_t)n);
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
        return FK_ERR_CLOSED;
    fk_io_want(&signer->io, fk_buf_len(&signer->out) > 0 ? FK_IO_READ | FK_IO_WRITE : FK_IO_READ);
    return FK_OK;
}

/* The first signer alive whose queue is not empty and that is not waiting to be writable. */
static struct signer *next_unwritten(struct fk_signer_pool *pool)
{
    struct fk_list *item;

    fk_list_each (item, &pool->signers) {
        struct signer *signer = fk_container(item, struct signer, link);

        if (fk_buf_len(&signer->out) > 0 && (fk_io_wanted(&signer->io) & FK_IO_WRITE) == 0)
            return signer;
    }
    return NULL;
}

static void flush_signers(struct fk_defer *defer)
{
    struct fk_signer_pool *pool = fk_container(defer, struct fk_signer_pool, flush);
    struct signer *signer;

    while ((signer = next_unwritten(pool)) != NULL)
        if (write_signer(signer) != FK_OK)
            lose_signer(signer);
}

/* --- reading --- */

/* Read what is there. FK_ERR_CLOSED. */
static int read_signer(struct signer *signer)
{
    size_t left = signer->in_tail - signer->in_head;
    ssize_t n;

    if (signer->in_head > 0) {
        memmove(signer->in, signer->in + signer->in_head, left);
        fk_wipe(signer->in + left, signer->in_head);
        signer->in_head = 0;
        signer->in_tail = left;
    }
    n = recv(signer->fd, signer->in + left, sizeof signer->in - left, MSG_DONTWAIT);
    if (n == 0)
        return FK_ERR_CLOSED;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? FK_OK : FK_ERR_CLOSED;
    signer->in_tail += (size_t)n;
    return FK_OK;
}

/* The first whole result. FK_ERR_AGAIN; FK_ERR_FORMAT when a signer does not talk like one. */
static int peek_result(const struct signer *signer, struct fk_signer_result *ret)
{
    size_t len = signer->in_tail - signer->in_head;

    if (len < RESULT_HEAD)
        return FK_ERR_AGAIN;
    memcpy(ret, signer->in + signer->in_head, RESULT_HEAD);
    if (ret->len > FK_SIGNER_RESULT_MAX || (ret->err != FK_OK && ret->len != 0) ||
        signer->busy == 0)
        return FK_ERR_FORMAT;
    return len - RESULT_HEAD < ret->len ? FK_ERR_AGAIN : FK_OK;
}

/*
 * Hand one result over. The bytes are copied: the callback may free the pool and this buffer with
 * it.
 */
static void deliver(struct signer *signer, const struct fk_signer_result *result)
{
    struct fk_signer_call *call = find_call(signer->pool, result->id);
    size_t size = RESULT_HEAD + result->len;
    uint8_t data[FK_SIGNER_RESULT_MAX];

    memcpy(data, signer->in + signer->in_head + RESULT_HEAD, result->len);
    fk_wipe(signer->in + signer->in_head, size);
    signer->in_head += size;
    signer->busy--;
    signer->owes_us = fk_loop_now_us(signer->pool->loop);
    if (call != NULL && call->signer == signer && call->keeps && result->err == FK_OK)
        signer->keeps_us = signer->owes_us + FK_HANDLE_LIFE_US;
    if (call != NULL && call->signer == signer && call->route != NULL)
        call->route->signer = signer->number;
    if (call != NULL && call->signer == signer)
        finish_call(signer->pool, call, result->err, data, result->len, result->micros);
    fk_wipe(data, result->len);
}

/* Deliver what is there. False when a callback has freed the pool. */
static bool deliver_all(struct signer *signer, int *ret_err)
{
    struct fk_signer_pool *pool = signer->pool;
    struct fk_signer_result result;
    bool alive = true;
    int err;

    pool->alive = &alive;
    while ((err = peek_result(signer, &result)) == FK_OK) {
        deliver(signer, &result);
        if (!alive)
            return false;
    }
    pool->alive = NULL;
    *ret_err = err;
    return true;
}

static void read_results(struct signer *signer)
{
    struct fk_signer_pool *pool = signer->pool;
    int end = read_signer(signer), err;

    if (!deliver_all(signer, &err))
        return;
    if (signer->fd >= 0 && (end != FK_OK || err == FK_ERR_FORMAT)) /* not retired by a callback */
        lose_signer(signer);
    if (!fk_list_empty(&pool->signers))
        retire_signers(pool);
}

static void signer_ready(struct fk_io *io, unsigned events)
{
    struct signer *signer = fk_container(io, struct signer, io);

    if ((events & FK_IO_WRITE) != 0 && write_signer(signer) != FK_OK)
        lose_signer(signer);
    else if ((events & FK_IO_READ) != 0)
        read_results(signer);
}

/* Room for all requests that one signer may be given. */
static size_t out_max(const struct fk_signer_pool *pool)
{
    return (size_t)pool->n_slots * (sizeof(struct fk_signer_request) + FK_SIGNER_PAYLOAD_MAX);
}

int fk_signer_pool_add(struct fk_signer_pool *pool, int fd, uint32_t generation, unsigned index)
{
    int err = pool->n_signers < FK_SIGNER_POOL_MAX ? FK_ERR_NOMEM : FK_ERR_LIMIT;
    struct signer *signer;
    struct fk_list *item;

    if (err == FK_ERR_LIMIT || (signer = calloc(1, sizeof *signer)) == NULL) {
        fk_close(&fd);
        return err;
    }
    signer->pool = pool;
    signer->fd = fd;
    signer->number = ++pool->last_number;
    signer->generation = generation;
    signer->index = index;
    fk_buf_init(&signer->out, out_max(pool));
    fk_timer_init(&signer->late, pool->loop, look_if_late);
    fk_io_init(&signer->io, pool->loop, fd, signer_ready);
    fk_io_want(&signer->io, FK_IO_READ);
    fk_list_append(&pool->signers, &signer->link);
    pool->n_signers++;
    fk_list_each (item, &pool->calls) {
        struct fk_signer_call *call = fk_container(item, struct fk_signer_call, link);

        if (call->signer == NULL)
            (void)send_call(signer, call); /* without memory it waits for its deadline */
    }
    retire_signers(pool);
    return FK_OK;
}

/* --- the pool --- */

/* Slots up to `n`; the new ones are free. */
static int grow_slots(struct fk_signer_pool *pool, uint32_t n)
{
    struct slot *slots;

    if (n <= pool->n_slots)
        return FK_OK;
    slots = reallocarray(pool->slots, n, sizeof *slots);
    if (slots == NULL)
        return FK_ERR_NOMEM;
    for (uint32_t i = pool->n_slots; i < n; i++)
        slots[i] = (struct slot){.next_free = i + 1 < n ? i + 1 : pool->first_free};
    pool->first_free = pool->n_slots;
    pool->slots = slots;
    pool->n_slots = n;
    return FK_OK;
}

int fk_signer_pool_set(struct fk_signer_pool *pool, uint64_t deadline_us, uint32_t max_outstanding)
{
    uint64_t end = fk_loop_now_us(pool->loop) + deadline_us;
    struct fk_list *item;
    int err;

    if (max_outstanding == 0 || max_outstanding > FK_SIGNER_CALLS_MAX)
        return FK_ERR_INVAL;
    if ((err = grow_slots(pool, max_outstanding)) != FK_OK)
        return err;
    pool->max = max_outstanding;
    pool->back.deadline_us = deadline_us;
    fk_list_each (item, &pool->signers)
        fk_container(item, struct signer, link)->out.max = out_max(pool);
    fk_list_each (item, &pool->calls) {
        struct fk_signer_call *call = fk_container(item, struct fk_signer_call, link);

        if (call->deadline_us > end)
            call->deadline_us = end;
    }
    arm_timer(pool);
    return FK_OK;
}

static const struct fk_keyback_ops back_ops;

int fk_signer_pool_new(struct fk_loop *loop, uint64_t deadline_us, uint32_t max_outstanding,
                       struct fk_signer_pool **ret)
{
    struct fk_signer_pool *pool;
    int err;

    pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return FK_ERR_NOMEM;
    pool->back.ops = &back_ops;
    pool->loop = loop;
    pool->first_free = NO_SLOT;
    fk_list_init(&pool->signers);
    fk_list_init(&pool->dead);
    fk_list_init(&pool->calls);
    fk_list_init(&pool->failed);
    fk_timer_init(&pool->timer, loop, timer_fired);
    fk_timer_init(&pool->retire, loop, retire_again);
    fk_defer_init(&pool->flush, loop, flush_signers);
    fk_defer_init(&pool->fail, loop, fail_calls);
    fk_defer_init(&pool->tidy, loop, tidy_up);
    if ((err = fk_signer_pool_set(pool, deadline_us, max_outstanding)) != FK_OK) {
        free(pool);
        return err;
    }
    *ret = pool;
    return FK_OK;
}

static void drop_calls(struct fk_signer_pool *pool, struct fk_list *list)
{
    struct fk_list *item;

    while ((item = fk_list_pop(list)) != NULL) {
        struct fk_signer_call *call = fk_container(item, struct fk_signer_call, link);

        detach_call(pool, call);
        free_call(call);
    }
}

void fk_signer_pool_free(struct fk_signer_pool *pool)
{
    if (pool == NULL)
        return;
    if (pool->alive != NULL)
        *pool->alive = false;
    drop_calls(pool, &pool->calls);
    drop_calls(pool, &pool->failed);
    free_signers(&pool->signers);
    free_signers(&pool->dead);
    fk_timer_stop(&pool->timer);
    fk_timer_stop(&pool->retire);
    fk_defer_stop(&pool->flush);
    fk_defer_stop(&pool->fail);
    fk_defer_stop(&pool->tidy);
    free(pool->slots);
    free(pool);
}

/* A call with its slot, at the end of the list; not sent yet. */
static int new_call(struct fk_signer_pool *pool, const struct fk_signer_request *request,
                    const void *payload, struct fk_signer_call **ret)
{
    struct fk_signer_call *call;
    uint32_t slot = pool->first_free;

    if (request->len > FK_SIGNER_PAYLOAD_MAX)
        return FK_ERR_INVAL;
    if (slot == NO_SLOT || pool->outstanding >= pool->max)
        return FK_ERR_LIMIT;
    call = malloc(sizeof *call + request->len);
    if (call == NULL)
        return FK_ERR_NOMEM;
    *call = (struct fk_signer_call){
        .request = *request, .deadline_us = fk_loop_now_us(pool->loop) + pool->back.deadline_us};
    call->request.id = id_of(pool, slot);
    if (request->len > 0)
        memcpy(call->payload, payload, request->len);
    pool->first_free = pool->slots[slot].next_free;
    pool->slots[slot].call = call;
    pool->outstanding++;
    fk_list_append(&pool->calls, &call->link);
    *ret = call;
    return FK_OK;
}

/* Whether the last signer has died so lately that another one may be on its way. */
static bool is_expecting(const struct fk_signer_pool *pool)
{
    return pool->lost_us != 0 && fk_loop_now_us(pool->loop) < pool->lost_us + FK_SIGNER_GAP_US;
}

static struct signer *find_signer(struct fk_signer_pool *pool, uint32_t number)
{
    struct fk_list *item;

    fk_list_each (item, &pool->signers) {
        struct signer *signer = fk_container(item, struct signer, link);

        if (signer->number == number)
            return signer;
    }
    return NULL;
}

/* The one that is to do it: NULL, there is none. `ret_gone`: as of a call. */
static struct signer *signer_for(struct fk_signer_pool *pool, const struct fk_signer_ask *ask,
                                 int *ret_gone)
{
    bool known = ask->route != NULL && ask->route->signer != 0;

    *ret_gone = ask->handle != NULL ? FK_ERR_EXPIRED : known ? FK_ERR_UNAVAILABLE : FK_OK;
    if (ask->handle != NULL)
        return find_holder(pool, ask->handle);
    return known ? find_signer(pool, ask->route->signer) : choose_signer(pool);
}

static int submit(struct fk_signer_pool *pool, const struct fk_signer_ask *ask,
                  struct fk_signer_call **ret)
{
    struct fk_signer_request request = {
        .op = (uint16_t)ask->op, .detail = ask->detail, .len = (uint32_t)ask->len};
    struct fk_signer_call *call;
    struct signer *signer;
    int err, gone;

    if (ask->len > FK_SIGNER_PAYLOAD_MAX)
        return FK_ERR_INVAL;
    if ((signer = signer_for(pool, ask, &gone)) == NULL && (gone != FK_OK || !is_expecting(pool)))
        return gone != FK_OK ? gone : FK_ERR_UNAVAILABLE;
    if (ask->ski != NULL)
        memcpy(request.ski, ask->ski, sizeof request.ski);
    if ((err = new_call(pool, &request, ask->payload, &call)) != FK_OK)
        return err;
    call->route = ask->route;
    call->keeps = ask->keeps;
    call->gone = gone;
    if (signer != NULL && (err = send_call(signer, call)) != FK_OK) {
        detach_call(pool, call);
        free_call(call);
        return err;
    }
    if (!fk_timer_active(&pool->timer))
        arm_timer(pool);
    *ret = call;
    return FK_OK;
}

int fk_signer_pool_submit(struct fk_signer_pool *pool, const struct fk_signer_ask *ask,
                          fk_signer_done_cb *done, void *arg, struct fk_signer_call **ret)
{
    struct fk_signer_call *call;
    int err = submit(pool, ask, &call);

    if (err != FK_OK)
        return err;
    call->done = done;
    call->arg = arg;
    *ret = call;
    return FK_OK;
}

void fk_signer_pool_cancel(struct fk_signer_pool *pool, struct fk_signer_call *call)
{
    detach_call(pool, call);
    free_call(call);
}

uint32_t fk_signer_pool_outstanding(const struct fk_signer_pool *pool)
{
    return pool->outstanding;
}

/* --- the pool as a back-end of remote keys --- */

/* A key server's handshake brings the share of a split key along. */
static int write_request(const struct fk_key_request *key_request, struct fk_writer *out,
                         struct fk_signer_ask *ask)
{
    static const struct {
        enum fk_signer_op op;
        uint8_t opcode;
    } rows[] = {[FK_KEY_SIGN13] = {FK_SIGNER_SIGN13, FK_OP_SIGN13},
                [FK_KEY_SIGN12] = {FK_SIGNER_SIGN12, FK_OP_SIGN12},
                [FK_KEY_DECRYPT] = {FK_SIGNER_DECRYPT, FK_OP_DECRYPT}};

    ask->op = rows[key_request->op].op;
    if (key_request->share_len > 0 && key_request->share_digest != NULL) {
        ask->op = FK_SIGNER_SPLIT_OPEN;
        ask->detail = rows[key_request->op].opcode;
        fk_writer_bytes(out, key_request->share_digest, FK_SHARE_DIGEST);
        fk_writer_vec16(out, key_request->share, key_request->share_len);
    }
    return fk_key_request_encode(key_request, out);
}

static int back_submit(struct fk_keyback *back, const struct fk_key_request *key_request,
                       fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct fk_signer_pool *pool = fk_container(back, struct fk_signer_pool, back);
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX];
    struct fk_signer_ask ask = {.ski = key_request->ski, .payload = payload};
    struct fk_signer_call *call;
    struct fk_writer writer;
    int err;

    if (key_request->op == FK_KEY_CALL)
        return FK_ERR_UNSUPPORTED;
    fk_writer_init(&writer, payload, sizeof payload);
    if ((err = write_request(key_request, &writer, &ask)) != FK_OK ||
        (err = fk_writer_end(&writer, &ask.len)) != FK_OK ||
        (err = submit(pool, &ask, &call)) != FK_OK)
        return err;
    call->key_done = done;
    call->arg = arg;
    *ret = (struct fk_key_ticket *)(void *)call;
    return FK_OK;
}

static void back_cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    fk_signer_pool_cancel(fk_container(back, struct fk_signer_pool, back),
                          (struct fk_signer_call *)(void *)ticket);
}

/* The signer is ours and on this machine, and verifies its own RSA signatures: nothing to do. */
static void back_suspect(struct fk_keyback *back)
{
    (void)back;
}

static const struct fk_keyback_ops back_ops = {
    .submit = back_submit, .cancel = back_cancel, .suspect = back_suspect};

struct fk_keyback *fk_signer_pool_back(struct fk_signer_pool *pool)
{
    return &pool->back;
}
