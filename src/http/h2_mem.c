/*
 * HTTP/2, memory: of what nghttp2 has for an idle connection most is the buffer of the frame that
 * goes out, 16 KiB, filled or not. It gets pages of its own, so those that no frame has reached
 * since the connection was last idle cost nothing.
 */
#include "http/h2_priv.h"

#include "base/err.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The frame's buffer is the first block as large as a frame; further ones of a large head come and
 * go. */
static bool is_for_frames(const struct fk_h2 *h2, size_t size)
{
    return h2->frames.mem == NULL && size >= FK_H2_FRAME;
}

static void *frames_new(struct fk_h2 *h2, size_t size)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED)
        return NULL;
    h2->frames.mem = mem;
    h2->frames.size = size;
    return mem;
}

static void frames_free(struct fk_h2 *h2)
{
    (void)munmap(h2->frames.mem, h2->frames.size);
    h2->frames.mem = NULL;
    h2->frames.size = 0;
}

/* nghttp2 does not always say that it lacks memory: it may end the connection instead. */
static void *checked(struct fk_h2 *h2, void *block)
{
    if (block == NULL)
        h2->err = FK_ERR_NOMEM;
    return block;
}

static void *do_malloc(size_t size, void *context)
{
    return checked(context, malloc(size));
}

static void do_free(void *ptr, void *context)
{
    struct fk_h2 *h2 = context;

    if (ptr != NULL && ptr == h2->frames.mem)
        frames_free(h2);
    else
        free(ptr);
}

static void *do_calloc(size_t n, size_t size, void *context)
{
    return checked(context, calloc(n, size));
}

static void *do_realloc(void *ptr, size_t size, void *context)
{
    struct fk_h2 *h2 = context;
    void *moved;

    if (ptr == NULL && is_for_frames(h2, size))
        return checked(h2, frames_new(h2, size));
    if (ptr == NULL || ptr != h2->frames.mem)
        return checked(h2, realloc(ptr, size));
    if ((moved = checked(h2, malloc(size))) == NULL)
        return NULL;
    memcpy(moved, ptr, size < h2->frames.size ? size : h2->frames.size);
    frames_free(h2);
    return moved;
}

nghttp2_mem fk_h2_mem(struct fk_h2 *h2)
{
    return (nghttp2_mem){.mem_user_data = h2,
                         .malloc = do_malloc,
                         .free = do_free,
                         .calloc = do_calloc,
                         .realloc = do_realloc};
}

void fk_h2_mem_used(struct fk_h2 *h2, size_t len)
{
    h2->frames.filled = h2->frames.filled || len > FK_H2_FRAME_KEPT;
}

void fk_h2_mem_rest(struct fk_h2 *h2)
{
    if (!h2->frames.filled || h2->frames.mem == NULL)
        return;
    h2->frames.filled = false;
    (void)madvise(h2->frames.mem, h2->frames.size, MADV_DONTNEED);
}
