/*
 * A growing byte queue with an upper bound: bytes go in at the tail and leave at the head.
 *
 * Owns its memory; gives it back when the queue runs empty and is large, so that idle connections
 * cost nothing. Never exceeds the bound given at init: that bound is what back-pressure rests on.
 */
#ifndef FK_BASE_BUF_H
#define FK_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fk_buf {
    uint8_t *mem;
    size_t cap;  /* bytes allocated */
    size_t head; /* first unread byte */
    size_t tail; /* one past the last byte */
    size_t max;  /* bound on tail - head */
    bool wipe;   /* contents are secret: wipe whatever is given back */
    bool keep;   /* an emptied one keeps its memory until fk_buf_rest() */
};

/* An empty queue of at most `max` bytes. Allocates nothing yet. */
void fk_buf_init(struct fk_buf *buf, size_t max);

/* As fk_buf_init(), for contents that must be wiped before their memory is reused. */
void fk_buf_init_secret(struct fk_buf *buf, size_t max);

/* From now on keep the memory of the queue when it is emptied, which else is freed when there is
 * much of it: for queues that fill and empty with each packet. Their owner must call fk_buf_rest()
 * when they come to rest. */
void fk_buf_keep(struct fk_buf *buf);
/* Free the memory if the queue is empty. */
void fk_buf_rest(struct fk_buf *buf);

/* Free the memory; the queue is empty and usable again. */
void fk_buf_fini(struct fk_buf *buf);

static inline size_t fk_buf_len(const struct fk_buf *buf)
{
    return buf->tail - buf->head;
}

/* How many more bytes the bound allows. */
static inline size_t fk_buf_room(const struct fk_buf *buf)
{
    return buf->max - (buf->tail - buf->head);
}

/* The unread bytes; valid until the next call that changes the queue. */
static inline uint8_t *fk_buf_data(const struct fk_buf *buf)
{
    return buf->mem == NULL ? NULL : buf->mem + buf->head;
}

/*
 * Make at least `len` bytes writable at the tail and return where: write there, then
 * fk_buf_commit(). FK_ERR_LIMIT when the bound forbids it, FK_ERR_NOMEM.
 */
int fk_buf_reserve(struct fk_buf *buf, size_t len, uint8_t **ret);
void fk_buf_commit(struct fk_buf *buf, size_t len);

/* Append a copy of `len` bytes, all or nothing. FK_ERR_LIMIT, FK_ERR_NOMEM. */
int fk_buf_append(struct fk_buf *buf, const void *data, size_t len);

/* Drop `len` bytes (at most fk_buf_len()) from the head. */
void fk_buf_consume(struct fk_buf *buf, size_t len);

#endif
