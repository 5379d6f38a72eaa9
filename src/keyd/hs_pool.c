/* Requests to handshakers: see hs_pool.h. */
#include "keyd/hs_pool.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "loop/sock.h"

#include <stdlib.h>
#include <string.h>

/* Ids count up, so that requests under way spread evenly. A power of two. */
#define BUCKETS 1024

struct member {
    struct fk_hs_link link;
    struct fk_hs_pool *pool;
    unsigned index;
    size_t busy; /* requests under way */
};

struct call {
    struct fk_list age;    /* in pool->calls, oldest first */
    struct fk_list bucket; /* by id */
    struct member *member; /* NULL: gone, or there is none yet */
    bool parked;           /* waits for one: `head` and `payload` are to be sent */
    uint32_t id;
    uint64_t started_us;
    fk_signer_done_cb *done;
    void *arg;
    struct fk_hs_head head;
    size_t len;
    uint8_t payload[];
};

struct fk_hs_pool {
    struct fk_loop *loop;
    uint64_t deadline_us;
    uint32_t last_id;
    uint64_t lost_us; /* when the last member died, 0: some live, or there never were any */
    unsigned n_members;
    struct member *members[FK_KEYD_CHILDREN_MAX];
    struct fk_list calls;
    struct fk_list buckets[BUCKETS];
    struct fk_timer timer; /* for the oldest call's deadline */
    struct fk_defer fail;  /* those whose handshaker has gone */
};

static struct call *find_call(struct fk_hs_pool *pool, uint32_t id)
{
    struct fk_list *item, *bucket = &pool->buckets[id % BUCKETS];

    fk_list_each (item, bucket) {
        struct call *call = fk_container(item, struct call, bucket);

        if (call->id == id)
            return call;
    }
    return NULL;
}

static void finish(struct call *call, int err, struct fk_reader payload)
{
    fk_list_del(&call->age);
    fk_list_del(&call->bucket);
    if (call->member != NULL)
        call->member->busy--;
    call->done(call->arg, err, payload.next, payload.left, 0);
    free(call);
}

/* --- handshakers --- */

static void on_message(struct fk_hs_link *link, const struct fk_hs_head *head,
                       struct fk_reader payload)
{
    struct member *member = fk_container(link, struct member, link);
    struct call *call = find_call(member->pool, head->id);

    if (call != NULL && call->member == member) /* else it came too late */
        finish(call, head->err, payload);
}

static void drop(struct member *member)
{
    struct fk_hs_pool *pool = member->pool;
    struct fk_list *item;

    fk_list_each (item, &pool->calls) {
        struct call *call = fk_container(item, struct call, age);

        if (call->member == member)
            call->member = NULL;
    }
    fk_defer_start(&pool->fail);
    pool->members[member->index] = NULL;
    if (--pool->n_members == 0)
        pool->lost_us = fk_loop_now_us(pool->loop);
    fk_hs_link_close(&member->link);
    free(member);
}

static void on_lost(struct fk_hs_link *link)
{
    drop(fk_container(link, struct member, link));
}

/* Those that waited for a handshaker. One that cannot be sent waits for its deadline. */
static void send_parked(struct fk_hs_pool *pool, struct member *member)
{
    struct fk_list *item;

    fk_list_each (item, &pool->calls) {
        struct call *call = fk_container(item, struct call, age);

        if (call->parked &&
            fk_hs_link_send(&member->link, &call->head,
                            (struct fk_reader){call->payload, call->len}) == FK_OK) {
            call->parked = false;
            call->member = member;
            member->busy++;
        }
    }
}

static const struct fk_hs_link_ops link_ops = {.message = on_message, .lost = on_lost};

int fk_hs_pool_add(struct fk_hs_pool *pool, int fd, unsigned index)
{
    struct member *member;

    if (index >= FK_KEYD_CHILDREN_MAX || (member = calloc(1, sizeof *member)) == NULL) {
        fk_close(&fd);
        return index >= FK_KEYD_CHILDREN_MAX ? FK_ERR_RANGE : FK_ERR_NOMEM;
    }
    if (pool->members[index] != NULL)
        drop(pool->members[index]);
    member->pool = pool;
    member->index = index;
    fk_hs_link_open(&member->link, pool->loop, fd, &link_ops);
    pool->members[index] = member;
    pool->n_members++;
    pool->lost_us = 0;
    send_parked(pool, member);
    return FK_OK;
}

/* --- requests --- */

static void on_fail(struct fk_defer *defer)
{
    struct fk_hs_pool *pool = fk_container(defer, struct fk_hs_pool, fail);
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &pool->calls) {
        struct call *call = fk_container(item, struct call, age);

        if (call->member == NULL && !call->parked)
            finish(call, FK_ERR_UNAVAILABLE, (struct fk_reader){0});
    }
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_hs_pool *pool = fk_container(timer, struct fk_hs_pool, timer);
    uint64_t now = fk_loop_now_us(pool->loop);
    struct fk_list *item, *next;

    fk_list_each_safe (item, next, &pool->calls) {
        struct call *call = fk_container(item, struct call, age);
        uint64_t age = now - call->started_us;

        if (age < pool->deadline_us) {
            fk_timer_start(timer, pool->deadline_us - age);
            return;
        }
        finish(call, FK_ERR_TIMEOUT, (struct fk_reader){0});
    }
}

static struct member *choose(const struct fk_hs_pool *pool, uint32_t index)
{
    struct member *best = NULL;

    if (index != FK_HS_ANY)
        return index < FK_KEYD_CHILDREN_MAX ? pool->members[index] : NULL;
    for (unsigned i = 0; i < FK_KEYD_CHILDREN_MAX; i++)
        if (pool->members[i] != NULL && (best == NULL || pool->members[i]->busy < best->busy))
            best = pool->members[i];
    return best;
}

/* Whether the last one has died so lately that its successor is on its way. */
static bool is_expecting(const struct fk_hs_pool *pool)
{
    return pool->lost_us != 0 && fk_loop_now_us(pool->loop) < pool->lost_us + FK_SIGNER_GAP_US;
}

/* A call with a copy of what is asked, if it has to wait for somebody to ask. */
static struct call *new_call(struct fk_hs_pool *pool, const struct fk_hs_ask *ask, bool park)
{
    const size_t len = park ? ask->payload.left : 0;
    struct call *call = calloc(1, sizeof *call + len);

    if (call == NULL)
        return NULL;
    call->id = ++pool->last_id;
    call->head = ask->head;
    call->head.id = call->id;
    call->parked = park;
    call->started_us = fk_loop_now_us(pool->loop);
    call->len = len;
    if (len > 0)
        memcpy(call->payload, ask->payload.next, len);
    return call;
}

int fk_hs_pool_submit(struct fk_hs_pool *pool, const struct fk_hs_ask *ask, fk_signer_done_cb *done,
                      void *arg)
{
    struct member *member = choose(pool, ask->index);
    struct call *call;
    int err = FK_OK;

    if (member == NULL && ask->index != FK_HS_ANY)
        return FK_ERR_EXPIRED;
    if (member == NULL && !is_expecting(pool))
        return FK_ERR_UNAVAILABLE;
    if ((call = new_call(pool, ask, member == NULL)) == NULL)
        return FK_ERR_NOMEM;
    if (member != NULL)
        err = fk_hs_link_send(&member->link, &call->head, ask->payload);
    if (err != FK_OK) {
        free(call);
        return err;
    }
    call->done = done;
    call->arg = arg;
    call->member = member;
    if (member != NULL)
        member->busy++;
    fk_list_append(&pool->calls, &call->age);
    fk_list_append(&pool->buckets[call->id % BUCKETS], &call->bucket);
    if (!fk_timer_active(&pool->timer))
        fk_timer_start(&pool->timer, pool->deadline_us);
    return FK_OK;
}

/* --- life --- */

int fk_hs_pool_new(struct fk_loop *loop, uint64_t deadline_us, struct fk_hs_pool **ret)
{
    struct fk_hs_pool *pool = calloc(1, sizeof *pool);

    if (pool == NULL)
        return FK_ERR_NOMEM;
    pool->loop = loop;
    pool->deadline_us = deadline_us;
    fk_list_init(&pool->calls);
    for (size_t i = 0; i < BUCKETS; i++)
        fk_list_init(&pool->buckets[i]);
    fk_timer_init(&pool->timer, loop, on_timer);
    fk_defer_init(&pool->fail, loop, on_fail);
    *ret = pool;
    return FK_OK;
}

void fk_hs_pool_set(struct fk_hs_pool *pool, uint64_t deadline_us)
{
    pool->deadline_us = deadline_us;
}

void fk_hs_pool_free(struct fk_hs_pool *pool)
{
    struct fk_list *item;

    if (pool == NULL)
        return;
    for (unsigned i = 0; i < FK_KEYD_CHILDREN_MAX; i++)
        if (pool->members[i] != NULL)
            drop(pool->members[i]);
    while ((item = fk_list_pop(&pool->calls)) != NULL)
        free(fk_container(item, struct call, age));
    fk_timer_stop(&pool->timer);
    fk_defer_stop(&pool->fail);
    free(pool);
}
