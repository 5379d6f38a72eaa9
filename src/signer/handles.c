/*
 * Handles by name: see handles.h.
 *
 * A name is the signer's number, 16 bits of its generation, and chance. Entries are in three lists:
 * of their bucket, of all by age, of their owner by age. All live equally long, so the oldest is
 * the first to expire.
 */
#include "signer/handles.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "base/secret.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

/* Powers of two. A full table has eight entries a bucket. */
#define BUCKETS       8192
#define OWNER_BUCKETS 1024

#define ROUTE_SIZE 3 /* bytes of a name before chance */

/* An owner that has handles. */
struct owner {
    struct fk_list bucket;
    struct fk_handle_owner who;
    struct fk_list ages; /* its handles, oldest first */
    size_t count;
};

struct handle {
    struct fk_list bucket;
    struct fk_list age;
    struct fk_list owner_age;
    struct owner *owner;
    union fk_handle_secret *secret; /* a slot of the arena */
    uint64_t ends_us;
    enum fk_handle_stage stage;
    uint8_t name[FK_HANDLE_SIZE];
    uint8_t ski[FK_SKI_SIZE];
};

struct fk_handles {
    uint8_t index;
    uint16_t generation;
    struct fk_arena *arena;
    size_t count, owners;
    struct fk_list ages;
    struct fk_list buckets[BUCKETS];
    struct fk_list owner_buckets[OWNER_BUCKETS];
};

/* --- start and end --- */

int fk_handles_new(uint8_t index, uint16_t generation, struct fk_handles **ret)
{
    struct fk_handles *handles = calloc(1, sizeof *handles);
    int err;

    if (handles == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_arena_new(sizeof(union fk_handle_secret), FK_HANDLES_MAX, &handles->arena)) !=
        FK_OK) {
        free(handles);
        return err;
    }
    handles->index = index;
    handles->generation = generation;
    fk_list_init(&handles->ages);
    for (size_t i = 0; i < BUCKETS; i++)
        fk_list_init(&handles->buckets[i]);
    for (size_t i = 0; i < OWNER_BUCKETS; i++)
        fk_list_init(&handles->owner_buckets[i]);
    *ret = handles;
    return FK_OK;
}

static void drop_owner(struct fk_handles *handles, struct owner *owner)
{
    fk_list_del(&owner->bucket);
    handles->owners--;
    free(owner);
}

static void drop(struct fk_handles *handles, struct handle *handle)
{
    struct owner *owner = handle->owner;

    fk_list_del(&handle->bucket);
    fk_list_del(&handle->age);
    fk_list_del(&handle->owner_age);
    handles->count--;
    if (--owner->count == 0)
        drop_owner(handles, owner);
    fk_arena_give(handles->arena, handle->secret);
    free(handle);
}

static struct handle *oldest(const struct fk_handles *handles)
{
    return fk_list_empty(&handles->ages) ? NULL
                                         : fk_container(handles->ages.next, struct handle, age);
}

void fk_handles_free(struct fk_handles *handles)
{
    struct fk_list *item;

    if (handles == NULL)
        return;
    while ((item = fk_list_pop(&handles->ages)) != NULL)
        drop(handles, fk_container(item, struct handle, age));
    fk_arena_free(handles->arena);
    free(handles);
}

size_t fk_handles_count(const struct fk_handles *handles)
{
    return handles->count;
}

uint64_t fk_handles_expire(struct fk_handles *handles, uint64_t now_us)
{
    struct fk_list *item;

    while ((item = fk_list_pop(&handles->ages)) != NULL) {
        struct handle *handle = fk_container(item, struct handle, age);

        if (now_us < handle->ends_us) {
            fk_list_prepend(&handles->ages, item);
            return handle->ends_us - now_us;
        }
        drop(handles, handle);
    }
    return UINT64_MAX;
}

uint64_t fk_handles_end_us(const struct fk_handles *handles)
{
    const struct handle *handle = oldest(handles);

    return handle == NULL ? UINT64_MAX : handle->ends_us;
}

/* --- owners --- */

static bool is_same(const struct fk_handle_owner *a, const struct fk_handle_owner *b)
{
    return a->has_signed == b->has_signed && fk_equal_ct(a->id, b->id, sizeof a->id);
}

/* Ids are hashes: their bytes are evenly spread. */
static struct fk_list *owner_bucket(struct fk_handles *handles, const struct fk_handle_owner *who)
{
    return &handles->owner_buckets[((unsigned)who->id[0] << 8 | who->id[1]) % OWNER_BUCKETS];
}

static struct owner *find_owner(struct fk_handles *handles, const struct fk_handle_owner *who)
{
    struct fk_list *item, *bucket = owner_bucket(handles, who);

    fk_list_each (item, bucket) {
        struct owner *owner = fk_container(item, struct owner, bucket);

        if (is_same(&owner->who, who))
            return owner;
    }
    return NULL;
}

static int get_owner(struct fk_handles *handles, const struct fk_handle_owner *who,
                     struct owner **ret)
{
    struct owner *owner = find_owner(handles, who);

    if (owner == NULL) {
        if (handles->owners >= FK_HANDLE_OWNERS_MAX)
            return FK_ERR_LIMIT;
        if ((owner = calloc(1, sizeof *owner)) == NULL)
            return FK_ERR_NOMEM;
        owner->who = *who;
        fk_list_init(&owner->ages);
        fk_list_append(owner_bucket(handles, who), &owner->bucket);
        handles->owners++;
    }
    *ret = owner;
    return FK_OK;
}

/* --- handles --- */

static struct fk_list *bucket_of(struct fk_handles *handles, const uint8_t name[FK_HANDLE_SIZE])
{
    return &handles->buckets[((unsigned)name[ROUTE_SIZE] << 8 | name[ROUTE_SIZE + 1]) % BUCKETS];
}

/* Make room for one more of this owner. */
static void make_room(struct fk_handles *handles, const struct fk_handle_owner *who)
{
    struct owner *owner = find_owner(handles, who);

    if (owner != NULL && (owner->count >= FK_HANDLES_PER_EDGE || handles->count >= FK_HANDLES_MAX))
        drop(handles, fk_container(owner->ages.next, struct handle, owner_age));
    else if (handles->count >= FK_HANDLES_MAX)
        drop(handles, oldest(handles));
}

static int make_name(const struct fk_handles *handles, uint8_t ret[FK_HANDLE_SIZE])
{
    ret[0] = handles->index;
    ret[1] = (uint8_t)(handles->generation >> 8);
    ret[2] = (uint8_t)handles->generation;
    return RAND_bytes(ret + ROUTE_SIZE, FK_HANDLE_SIZE - ROUTE_SIZE) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

void fk_handle_route(const uint8_t name[FK_HANDLE_SIZE], unsigned *ret_index,
                     uint16_t *ret_generation)
{
    *ret_index = name[0];
    *ret_generation = (uint16_t)(name[1] << 8 | name[2]);
}

/* A handle of the owner with everything but its places. */
static int new_handle(struct fk_handles *handles, const struct fk_handle_binding *binding,
                      struct handle **ret)
{
    struct handle *handle = calloc(1, sizeof *handle);
    void *slot = NULL;
    int err = FK_ERR_NOMEM;

    if (handle == NULL)
        return FK_ERR_NOMEM;
    if ((err = make_name(handles, handle->name)) != FK_OK ||
        (err = fk_arena_take(handles->arena, &slot)) != FK_OK ||
        (err = get_owner(handles, binding->owner, &handle->owner)) != FK_OK) {
        fk_arena_give(handles->arena, slot);
        free(handle);
        return err;
    }
    handle->secret = slot;
    handle->stage = binding->stage;
    memcpy(handle->ski, binding->ski, sizeof handle->ski);
    *ret = handle;
    return FK_OK;
}

int fk_handles_add(struct fk_handles *handles, const struct fk_handle_binding *binding,
                   const union fk_handle_secret *secret, uint64_t now_us,
                   uint8_t ret[FK_HANDLE_SIZE])
{
    struct handle *handle;
    int err;

    (void)fk_handles_expire(handles, now_us);
    make_room(handles, binding->owner);
    if ((err = new_handle(handles, binding, &handle)) != FK_OK)
        return err;
    *handle->secret = *secret;
    handle->ends_us = now_us + FK_HANDLE_LIFE_US;
    fk_list_append(bucket_of(handles, handle->name), &handle->bucket);
    fk_list_append(&handles->ages, &handle->age);
    fk_list_append(&handle->owner->ages, &handle->owner_age);
    handle->owner->count++;
    handles->count++;
    memcpy(ret, handle->name, FK_HANDLE_SIZE);
    return FK_OK;
}

static bool is_bound(const struct handle *handle, const struct fk_handle_binding *binding)
{
    return handle->stage == binding->stage && is_same(&handle->owner->who, binding->owner) &&
           fk_equal_ct(handle->ski, binding->ski, sizeof handle->ski);
}

static struct handle *find(struct fk_handles *handles, const uint8_t name[FK_HANDLE_SIZE],
                           const struct fk_handle_binding *binding, uint64_t now_us)
{
    struct fk_list *item, *bucket = bucket_of(handles, name);

    (void)fk_handles_expire(handles, now_us);
    fk_list_each (item, bucket) {
        struct handle *handle = fk_container(item, struct handle, bucket);

        if (fk_equal_ct(handle->name, name, sizeof handle->name))
            return is_bound(handle, binding) ? handle : NULL;
    }
    return NULL;
}

union fk_handle_secret *fk_handles_find(struct fk_handles *handles,
                                        const uint8_t name[FK_HANDLE_SIZE],
                                        const struct fk_handle_binding *binding, uint64_t now_us)
{
    struct handle *handle = find(handles, name, binding, now_us);

    return handle == NULL ? NULL : handle->secret;
}

int fk_handles_take(struct fk_handles *handles, const uint8_t name[FK_HANDLE_SIZE],
                    const struct fk_handle_binding *binding, uint64_t now_us,
                    union fk_handle_secret *ret)
{
    struct handle *handle = find(handles, name, binding, now_us);

    if (handle == NULL)
        return FK_ERR_EXPIRED;
    *ret = *handle->secret;
    drop(handles, handle);
    return FK_OK;
}
