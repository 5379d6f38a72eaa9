/*
 * Guarded, locked, wiped memory: see secret.h.
 *
 * Layout of one mapping: [guard page][pages: header ... secret bytes][guard page]. The bytes end
 * exactly at the second guard page, so that reading one byte too far faults.
 */
#include "base/secret.h"

#include "base/err.h"
#include "base/limits.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fk_secret {
    uint8_t *map;    /* start of the mapping, guard page included */
    size_t map_size; /* whole mapping */
    uint8_t *data;
    size_t len;
};

static atomic_bool lock_required;

void fk_secret_require_lock(bool required)
{
    atomic_store(&lock_required, required);
}

void fk_wipe(void *mem, size_t len)
{
    if (len > 0)
        explicit_bzero(mem, len);
}

bool fk_equal_ct(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint8_t diff = 0;

    for (size_t i = 0; i < len; i++)
        diff = (uint8_t)(diff | (x[i] ^ y[i]));
    return diff == 0;
}

/* Open up and protect the pages between the two guards. */
static int protect_pages(uint8_t *pages, size_t size)
{
    if (mprotect(pages, size, PROT_READ | PROT_WRITE) != 0)
        return FK_ERR_NOMEM;
    if (mlock(pages, size) != 0 && atomic_load(&lock_required))
        return FK_ERR_NOMEM;
    /* Best effort: without these the process is still set undumpable by its sandbox. */
    (void)madvise(pages, size, MADV_DONTDUMP);
    (void)madvise(pages, size, MADV_WIPEONFORK);
    return FK_OK;
}

int fk_secret_new(size_t len, struct fk_secret **ret)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct fk_secret *secret;
    size_t inner, size;
    uint8_t *map;

    if (len == 0 || len > FK_SECRET_MAX)
        return FK_ERR_INVAL;
    inner = (sizeof *secret + len + page - 1) / page * page;
    size = inner + 2 * page;
    map = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return FK_ERR_NOMEM;
    if (protect_pages(map + page, inner) != FK_OK) {
        munmap(map, size);
        return FK_ERR_NOMEM;
    }
    secret = (struct fk_secret *)(void *)(map + page);
    *secret = (struct fk_secret){
        .map = map, .map_size = size, .data = map + page + inner - len, .len = len};
    *ret = secret;
    return FK_OK;
}

int fk_secret_dup(const void *data, size_t len, struct fk_secret **ret)
{
    struct fk_secret *secret;
    int err = fk_secret_new(len, &secret);

    if (err != FK_OK)
        return err;
    memcpy(secret->data, data, len);
    *ret = secret;
    return FK_OK;
}

void fk_secret_free(struct fk_secret *secret)
{
    if (secret == NULL)
        return;
    fk_wipe(secret->data, secret->len);
    munmap(secret->map, secret->map_size);
}

uint8_t *fk_secret_data(struct fk_secret *secret)
{
    return secret->data;
}

const uint8_t *fk_secret_bytes(const struct fk_secret *secret)
{
    return secret->data;
}

size_t fk_secret_len(const struct fk_secret *secret)
{
    return secret->len;
}
