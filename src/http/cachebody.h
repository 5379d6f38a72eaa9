/*
 * The body of a stored answer: blocks in a row, written once, read by many at once, alive until the
 * last of them lets go. Every byte that it takes is charged to a budget from its allocation to its
 * release: a body that nothing but a slow reader holds counts, too.
 */
#ifndef FK_HTTP_CACHEBODY_H
#define FK_HTTP_CACHEBODY_H

#include "base/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What may be used, and what is. */
struct fk_cachebudget {
    size_t max, used;
    /* Free something, until `need` more fit. FK_ERR_LIMIT: nothing can be freed. */
    int (*make_room)(struct fk_cachebudget *budget, size_t need);
};

/* Whether so many bytes fit as things are: the bound may have become smaller than what is used. */
static inline bool fk_cachebudget_fits(const struct fk_cachebudget *budget, size_t bytes)
{
    return budget->used <= budget->max && bytes <= budget->max - budget->used;
}

/* Charge; FK_ERR_LIMIT. And give back. */
int fk_cachebudget_take(struct fk_cachebudget *budget, size_t bytes);
void fk_cachebudget_give(struct fk_cachebudget *budget, size_t bytes);

struct fk_cachebody;

/* An empty one with one reference. `expected`: its length, if that is known, else 0. FK_ERR_LIMIT,
 * FK_ERR_NOMEM. */
int fk_cachebody_new(struct fk_cachebudget *budget, size_t expected, struct fk_cachebody **ret);
struct fk_cachebody *fk_cachebody_ref(struct fk_cachebody *body);
void fk_cachebody_unref(struct fk_cachebody *body); /* NULL is fine */

/* Append a copy, before anybody reads. FK_ERR_LIMIT, FK_ERR_NOMEM: a part may be appended. */
int fk_cachebody_append(struct fk_cachebody *body, const void *data, size_t len);

/* No more comes: give back what the last block has too much. */
void fk_cachebody_finish(struct fk_cachebody *body);

size_t fk_cachebody_len(const struct fk_cachebody *body);

struct fk_cacheblock;

/* A place in a body; it holds no reference. */
struct fk_cachecursor {
    const struct fk_cacheblock *block;
    size_t at; /* in the block */
};

/* The place `at` bytes behind the beginning, len at the most. */
struct fk_cachecursor fk_cachebody_seek(const struct fk_cachebody *body, size_t at);

/* The next bytes, `most` at the most, in place; none: the end. Moves behind them. */
struct fk_reader fk_cachecursor_next(struct fk_cachecursor *cursor, size_t most);

#endif
