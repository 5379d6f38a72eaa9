/* Pools of signers by generation: see localkeys.h. */
#include "edge/localkeys.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "loop/sock.h"

#include <stdlib.h>

struct fk_localpool {
    struct fk_list link;
    struct fk_localkeys *owner;
    uint32_t generation;
    unsigned refs;
    struct fk_signer_pool *signers;
};

struct fk_localkeys {
    struct fk_loop *loop;
    struct fk_list pools;
    struct fk_localpool *newest; /* a reference: sockets arrive before their configuration */
};

int fk_localkeys_new(struct fk_loop *loop, struct fk_localkeys **ret)
{
    struct fk_localkeys *keys = calloc(1, sizeof *keys);

    if (keys == NULL)
        return FK_ERR_NOMEM;
    keys->loop = loop;
    fk_list_init(&keys->pools);
    *ret = keys;
    return FK_OK;
}

void fk_localkeys_free(struct fk_localkeys *keys)
{
    if (keys == NULL)
        return;
    if (keys->newest != NULL)
        fk_localpool_unref(keys->newest);
    free(keys);
}

static int make(struct fk_localkeys *keys, uint32_t generation, struct fk_localpool **ret)
{
    struct fk_localpool *pool = calloc(1, sizeof *pool);
    int err;

    if (pool == NULL)
        return FK_ERR_NOMEM;
    err = fk_signer_pool_new(keys->loop, FK_EDGE_SIGNER_DEADLINE_US, FK_EDGE_SIGNER_OUTSTANDING,
                             &pool->signers);
    if (err != FK_OK) {
        free(pool);
        return err;
    }
    pool->owner = keys;
    pool->generation = generation;
    pool->refs = 1;
    fk_list_append(&keys->pools, &pool->link);
    *ret = pool;
    return FK_OK;
}

int fk_localkeys_get(struct fk_localkeys *keys, uint32_t generation, struct fk_localpool **ret)
{
    struct fk_list *item;

    fk_list_each (item, &keys->pools) {
        struct fk_localpool *pool = fk_container(item, struct fk_localpool, link);

        if (pool->generation == generation) {
            pool->refs++;
            *ret = pool;
            return FK_OK;
        }
    }
    return make(keys, generation, ret);
}

void fk_localpool_unref(struct fk_localpool *pool)
{
    if (--pool->refs > 0)
        return;
    fk_list_del(&pool->link);
    fk_signer_pool_free(pool->signers);
    free(pool);
}

int fk_localkeys_add(struct fk_localkeys *keys, uint32_t generation, unsigned index, int fd)
{
    struct fk_localpool *pool;
    int err = fk_localkeys_get(keys, generation, &pool);

    if (err != FK_OK) {
        fk_close(&fd);
        return err;
    }
    if (keys->newest != NULL)
        fk_localpool_unref(keys->newest);
    keys->newest = pool; /* moved */
    return fk_signer_pool_add(pool->signers, fd, generation, index);
}

struct fk_keyback *fk_localpool_back(struct fk_localpool *pool)
{
    return fk_signer_pool_back(pool->signers);
}

struct fk_signer_pool *fk_localpool_signers(struct fk_localpool *pool)
{
    return pool->signers;
}
