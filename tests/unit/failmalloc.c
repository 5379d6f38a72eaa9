/* Failing and counting allocations by the linker's --wrap: see failmalloc.h. */
#include "failmalloc.h"

#include "unit.h"

#include "base/err.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

enum { LIVE_MAX = 1 << 16 }; /* a power of two; more blocks than any test holds */

static struct {
    bool armed;
    bool fired;
    bool paused;
    size_t countdown;     /* allocations until the one that fails; 0: none */
    void *live[LIVE_MAX]; /* open addressing; TOMB where a block was freed */
    size_t n_live;
    void (*on_free)(const void *block, size_t size);
} state;

#define TOMB ((void *)1)

/* Names that the linker gives to the originals. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t len);
void __real_free(void *block);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *addr, size_t len);
void __wrap_free(void *block);

static size_t slot_of(const void *block)
{
    return ((uintptr_t)block >> 4) * 2654435761u % LIVE_MAX;
}

static void note(void *block)
{
    size_t slot = slot_of(block);

    if (!state.armed || block == NULL)
        return;
    while (state.live[slot] != NULL && state.live[slot] != TOMB)
        slot = (slot + 1) % LIVE_MAX;
    state.live[slot] = block;
    state.n_live++;
    assert_true(state.n_live < LIVE_MAX / 2);
}

static void forget(const void *block)
{
    if (block == NULL)
        return;
    for (size_t slot = slot_of(block), n = 0; state.live[slot] != NULL && n < LIVE_MAX;
         slot = (slot + 1) % LIVE_MAX, n++) {
        if (state.live[slot] != block)
            continue;
        if (state.armed && state.on_free != NULL)
            state.on_free(block, malloc_usable_size((void *)(uintptr_t)block));
        state.live[slot] = TOMB;
        state.n_live--;
        return;
    }
}

void failmalloc_pause(bool paused)
{
    state.paused = paused;
}

bool failmalloc_due(void)
{
    if (!state.armed || state.paused || state.countdown == 0 || --state.countdown > 0)
        return false;
    state.fired = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    void *block = failmalloc_due() ? NULL : __real_malloc(size);

    note(block);
    return block;
}

void *__wrap_calloc(size_t count, size_t size)
{
    void *block = failmalloc_due() ? NULL : __real_calloc(count, size);

    note(block);
    return block;
}

void *__wrap_realloc(void *old, size_t size)
{
    void *block;

    if (failmalloc_due())
        return NULL;
    forget(old);
    block = __real_realloc(old, size);
    note(block);
    return block;
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    if (size > 0 && count > SIZE_MAX / size)
        return NULL;
    return __wrap_realloc(old, count * size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    void *block = failmalloc_due() ? NULL : __real_aligned_alloc(alignment, size);

    note(block);
    return block;
}

char *__wrap_strndup(const char *text, size_t len)
{
    size_t n = strnlen(text, len);
    char *copy = __wrap_malloc(n + 1);

    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

char *__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, strlen(text));
}

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    return failmalloc_due() ? MAP_FAILED : __real_mmap(addr, len, prot, flags, fd, offset);
}

/* The name of mmap() where off_t is asked to have 64 bits. */
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    return failmalloc_due() ? MAP_FAILED : __real_mmap64(addr, len, prot, flags, fd, offset);
}

int __wrap_munmap(void *addr, size_t len)
{
    if (state.armed && state.on_free != NULL)
        state.on_free(addr, len);
    return __real_munmap(addr, len);
}

void __wrap_free(void *block)
{
    forget(block);
    __real_free(block);
}

void failmalloc_arm(size_t n)
{
    memset(&state, 0, sizeof state);
    state.countdown = n;
    state.armed = true;
}

bool failmalloc_disarm(void)
{
    state.armed = false;
    return state.fired;
}

void failmalloc_on_free(void (*look)(const void *block, size_t size))
{
    state.on_free = look;
}

size_t failmalloc_live(void)
{
    return state.n_live;
}

size_t failmalloc_try(int (*work)(void *context), void *context)
{
    for (size_t n = 1;; n++) {
        bool fired;
        int err;

        failmalloc_arm(n);
        err = work(context);
        fired = failmalloc_disarm();
        assert_int_equal(failmalloc_live(), 0);
        assert_err(err, fired ? FK_ERR_NOMEM : FK_OK);
        if (!fired)
            return n - 1;
    }
}
