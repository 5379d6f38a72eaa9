/* A bounded byte queue: see buf.h. */
#include "base/buf.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void fk_buf_init(struct fk_buf *buf, size_t max)
{
    *buf = (struct fk_buf){.max = max};
}

void fk_buf_init_secret(struct fk_buf *buf, size_t max)
{
    *buf = (struct fk_buf){.max = max, .wipe = true};
}

static void release(struct fk_buf *buf)
{
    if (buf->wipe)
        fk_wipe(buf->mem, buf->cap);
    free(buf->mem);
    buf->mem = NULL;
    buf->cap = 0;
}

void fk_buf_keep(struct fk_buf *buf)
{
    buf->keep = true;
}

void fk_buf_rest(struct fk_buf *buf)
{
    if (fk_buf_len(buf) == 0)
        fk_buf_fini(buf);
}

void fk_buf_fini(struct fk_buf *buf)
{
    release(buf);
    buf->head = 0;
    buf->tail = 0;
}

/* Move the unread bytes to the front of the memory. */
static void compact(struct fk_buf *buf)
{
    size_t len = fk_buf_len(buf);

    if (buf->head == 0 || buf->mem == NULL)
        return;
    memmove(buf->mem, buf->mem + buf->head, len);
    if (buf->wipe) /* what it moved away from; up to `head` was wiped when consumed */
        fk_wipe(buf->mem + len, buf->tail - len);
    buf->head = 0;
    buf->tail = len;
}

/* realloc() may leave a copy behind, so growing is by hand: wiping needs the old block. */
static int grow(struct fk_buf *buf, size_t need)
{
    size_t len = fk_buf_len(buf);
    size_t cap = buf->cap < FK_BUF_MIN ? FK_BUF_MIN : buf->cap;
    uint8_t *mem;

    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    mem = malloc(cap);
    if (mem == NULL)
        return FK_ERR_NOMEM;
    if (len > 0 && buf->mem != NULL)
        memcpy(mem, buf->mem + buf->head, len);
    release(buf);
    buf->mem = mem;
    buf->cap = cap;
    buf->head = 0;
    buf->tail = len;
    return FK_OK;
}

int fk_buf_reserve(struct fk_buf *buf, size_t len, uint8_t **ret)
{
    size_t used = fk_buf_len(buf);
    int err;

    if (len > fk_buf_room(buf))
        return FK_ERR_LIMIT;
    if (buf->mem == NULL || buf->cap - buf->tail < len) {
        if (buf->mem != NULL && buf->cap - used >= len)
            compact(buf);
        else if ((err = grow(buf, used + len)) != FK_OK)
            return err;
    }
    *ret = buf->mem + buf->tail;
    return FK_OK;
}

void fk_buf_commit(struct fk_buf *buf, size_t len)
{
    assert(len <= buf->cap - buf->tail);
    buf->tail += len;
}

int fk_buf_append(struct fk_buf *buf, const void *data, size_t len)
{
    uint8_t *at;
    int err;

    if (len == 0)
        return FK_OK;
    if ((err = fk_buf_reserve(buf, len, &at)) != FK_OK)
        return err;
    memcpy(at, data, len);
    fk_buf_commit(buf, len);
    return FK_OK;
}

void fk_buf_consume(struct fk_buf *buf, size_t len)
{
    assert(len <= fk_buf_len(buf));
    if (buf->wipe)
        fk_wipe(fk_buf_data(buf), len);
    buf->head += len;
    if (buf->head < buf->tail)
        return;
    buf->head = 0;
    buf->tail = 0;
    if (!buf->keep && (buf->cap > FK_BUF_KEEP || buf->wipe))
        release(buf);
}
