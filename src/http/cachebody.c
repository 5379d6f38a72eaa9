/* Bodies of stored answers: see cachebody.h. */
#include "http/cachebody.h"

#include "base/err.h"
#include "base/limits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct fk_cacheblock {
    struct fk_cacheblock *next;
    size_t len, cap;
    uint8_t bytes[];
};

struct fk_cachebody {
    struct fk_cachebudget *budget;
    size_t refs;
    size_t len, expected;
    struct fk_cacheblock *first, *last;
    struct fk_cacheblock *before; /* the one before the last; NULL: none */
};

int fk_cachebudget_take(struct fk_cachebudget *budget, size_t bytes)
{
    int err;

    if (bytes > budget->max)
        return FK_ERR_LIMIT;
    if (!fk_cachebudget_fits(budget, bytes) && (err = budget->make_room(budget, bytes)) != FK_OK)
        return err;
    budget->used += bytes;
    return FK_OK;
}

void fk_cachebudget_give(struct fk_cachebudget *budget, size_t bytes)
{
    assert(budget->used >= bytes);
    budget->used -= bytes;
}

int fk_cachebody_new(struct fk_cachebudget *budget, size_t expected, struct fk_cachebody **ret)
{
    struct fk_cachebody *body;
    int err = fk_cachebudget_take(budget, sizeof *body);

    if (err != FK_OK)
        return err;
    body = calloc(1, sizeof *body);
    if (body == NULL) {
        fk_cachebudget_give(budget, sizeof *body);
        return FK_ERR_NOMEM;
    }
    body->budget = budget;
    body->refs = 1;
    body->expected = expected;
    *ret = body;
    return FK_OK;
}

struct fk_cachebody *fk_cachebody_ref(struct fk_cachebody *body)
{
    body->refs++;
    return body;
}

void fk_cachebody_unref(struct fk_cachebody *body)
{
    if (body == NULL || --body->refs > 0)
        return;
    while (body->first != NULL) {
        struct fk_cacheblock *block = body->first;

        body->first = block->next;
        fk_cachebudget_give(body->budget, sizeof *block + block->cap);
        free(block);
    }
    fk_cachebudget_give(body->budget, sizeof *body);
    free(body);
}

/* Exactly what is missing, where that is known; else as much again as there is. */
static size_t next_size(const struct fk_cachebody *body)
{
    size_t size = body->len;

    if (body->expected > body->len)
        size = body->expected - body->len;
    else if (size < FK_CACHE_BLOCK_MIN)
        size = FK_CACHE_BLOCK_MIN;
    return size < FK_CACHE_BLOCK_MAX ? size : FK_CACHE_BLOCK_MAX;
}

static int add_block(struct fk_cachebody *body)
{
    size_t cap = next_size(body);
    struct fk_cacheblock *block;
    int err = fk_cachebudget_take(body->budget, sizeof *block + cap);

    if (err != FK_OK)
        return err;
    block = malloc(sizeof *block + cap);
    if (block == NULL) {
        fk_cachebudget_give(body->budget, sizeof *block + cap);
        return FK_ERR_NOMEM;
    }
    block->next = NULL;
    block->len = 0;
    block->cap = cap;
    if (body->last == NULL)
        body->first = block;
    else
        body->last->next = block;
    body->before = body->last;
    body->last = block;
    return FK_OK;
}

int fk_cachebody_append(struct fk_cachebody *body, const void *data, size_t len)
{
    struct fk_reader rest;
    int err = FK_OK;

    fk_reader_init(&rest, data, len);
    while (rest.left > 0 && err == FK_OK) {
        struct fk_cacheblock *block = body->last;
        size_t room = block == NULL ? 0 : block->cap - block->len;
        size_t n = rest.left < room ? rest.left : room;

        if (n == 0) {
            err = add_block(body);
            continue;
        }
        err = fk_reader_copy(&rest, block->bytes + block->len, n);
        block->len += n;
        body->len += n;
    }
    return err;
}

void fk_cachebody_finish(struct fk_cachebody *body)
{
    struct fk_cacheblock *block = body->last, *smaller;
    size_t spare = block == NULL ? 0 : block->cap - block->len;

    if (spare == 0)
        return;
    smaller = realloc(block, sizeof *block + block->len);
    if (smaller == NULL) /* it stays as large as it is */
        return;
    smaller->cap = smaller->len;
    fk_cachebudget_give(body->budget, spare);
    if (body->before == NULL)
        body->first = smaller;
    else
        body->before->next = smaller;
    body->last = smaller;
}

size_t fk_cachebody_len(const struct fk_cachebody *body)
{
    return body->len;
}

struct fk_cachecursor fk_cachebody_seek(const struct fk_cachebody *body, size_t at)
{
    struct fk_cachecursor cursor = {.block = body->first, .at = at};

    while (cursor.block != NULL && cursor.at >= cursor.block->len) {
        cursor.at -= cursor.block->len;
        cursor.block = cursor.block->next;
    }
    return cursor;
}

struct fk_reader fk_cachecursor_next(struct fk_cachecursor *cursor, size_t most)
{
    const struct fk_cacheblock *block = cursor->block;
    struct fk_reader bytes = {0};

    if (block == NULL || most == 0)
        return bytes;
    bytes.left = block->len - cursor->at < most ? block->len - cursor->at : most;
    bytes.next = block->bytes + cursor->at;
    cursor->at += bytes.left;
    if (cursor->at == block->len) {
        cursor->block = block->next;
        cursor->at = 0;
    }
    return bytes;
}
