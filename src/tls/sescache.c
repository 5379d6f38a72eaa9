/* The shared session cache: see sescache.h. Trusts nothing in the memory that does not open. */
#include "tls/sescache.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_LEN 32 /* of OpenSSL's sessions */
#define WAYS   4  /* slots among which a session id chooses its place */
#define WORDS  64
#define SEALS  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* What a slot looks like outside the shared memory. */
struct slot {
    uint64_t tag;        /* bytes of the session id that did not choose the place */
    uint64_t expires_us; /* monotonic; 0: never used */
    uint8_t key[8];
    uint8_t nonce[12];
    uint32_t len; /* of `sealed` that is in use */
    uint8_t sealed[WORDS * 8 - 40];
};

_Static_assert(sizeof(struct slot) == WORDS * 8, "a slot is copied word by word");

struct fk_sescache {
    _Atomic uint64_t *words; /* the mapping */
    size_t size;             /* its bytes */
    size_t n_sets;
};

int fk_sescache_create(uint64_t sessions, int *ret_fd)
{
    uint64_t sets = (sessions + WAYS - 1) / WAYS;
    int fd;

    if (sets == 0 || sets > FK_EDGE_SESSIONS_MAX / WAYS)
        return FK_ERR_INVAL;
    fd = memfd_create("farkey-sessions", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return FK_ERR_SYS;
    if (ftruncate(fd, (off_t)(sets * WAYS * sizeof(struct slot))) != 0 ||
        fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        close(fd);
        return FK_ERR_SYS;
    }
    *ret_fd = fd;
    return FK_OK;
}

int fk_sescache_open(int fd, struct fk_sescache **ret)
{
    struct fk_sescache *cache;
    struct stat stat;
    void *mem;

    if (fstat(fd, &stat) != 0)
        return FK_ERR_SYS;
    if (stat.st_size <= 0 || (size_t)stat.st_size % (WAYS * sizeof(struct slot)) != 0 ||
        (fcntl(fd, F_GET_SEALS) & SEALS) != SEALS)
        return FK_ERR_FORMAT;
    if ((cache = calloc(1, sizeof *cache)) == NULL)
        return FK_ERR_NOMEM;
    cache->size = (size_t)stat.st_size;
    cache->n_sets = cache->size / (WAYS * sizeof(struct slot));
    mem = mmap(NULL, cache->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED) {
        free(cache);
        return errno == ENOMEM ? FK_ERR_NOMEM : FK_ERR_SYS;
    }
    cache->words = mem;
    *ret = cache;
    return FK_OK;
}

void fk_sescache_close(struct fk_sescache *cache)
{
    if (cache == NULL)
        return;
    munmap((void *)cache->words, cache->size);
    free(cache);
}

/* --- slots --- */

static _Atomic uint64_t *find_set(const struct fk_sescache *cache, const uint8_t id[ID_LEN],
                                  uint64_t *ret_tag)
{
    uint64_t place;

    /* Ids are random: their bytes need no hash. */
    memcpy(&place, id, sizeof place);
    memcpy(ret_tag, id + sizeof place, sizeof *ret_tag);
    return cache->words + place % cache->n_sets * WAYS * WORDS;
}

/* Another process may write at the same time: words are whole, the slot perhaps not. */
static void load_slot(_Atomic uint64_t *from, struct slot *to)
{
    uint64_t words[WORDS];

    for (size_t i = 0; i < WORDS; i++)
        words[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
    memcpy(to, words, sizeof words);
}

static void store_slot(_Atomic uint64_t *to, const struct slot *from)
{
    uint64_t words[WORDS];

    memcpy(words, from, sizeof words);
    for (size_t i = 0; i < WORDS; i++)
        atomic_store_explicit(&to[i], words[i], memory_order_relaxed);
}

/* The slot to write: the id's own, else the one that ends first (one never used is over). */
static _Atomic uint64_t *find_victim(_Atomic uint64_t *set, uint64_t tag)
{
    _Atomic uint64_t *victim = set;

    for (size_t i = 0; i < WAYS; i++) {
        _Atomic uint64_t *slot = set + i * WORDS;

        if (atomic_load_explicit(&slot[0], memory_order_relaxed) == tag)
            return slot;
        if (atomic_load_explicit(&slot[1], memory_order_relaxed) <
            atomic_load_explicit(&victim[1], memory_order_relaxed))
            victim = slot;
    }
    return victim;
}

/* What a sealed session is bound to: its id and its end. */
struct bound {
    uint8_t id[ID_LEN];
    uint64_t expires_us;
};

static struct fk_ticket_box box_of(struct slot *slot, struct bound *bound, const uint8_t *id)
{
    memcpy(bound->id, id, ID_LEN);
    bound->expires_us = slot->expires_us;
    return (struct fk_ticket_box){.key = slot->key,
                                  .nonce = slot->nonce,
                                  .data = slot->sealed,
                                  .aad = bound,
                                  .aad_len = sizeof *bound};
}

int fk_sescache_put(struct fk_sescache *cache, struct fk_ticket_site *site,
                    const SSL_SESSION *session)
{
    SSL_SESSION *unchanged = (SSL_SESSION *)(uintptr_t)session; /* i2d has no const here */
    uint64_t life_us = (uint64_t)SSL_SESSION_get_timeout(session) * 1000000;
    struct slot slot = {.expires_us = fk_clock_us() + life_us};
    struct fk_ticket_box box;
    struct bound bound;
    _Atomic uint64_t *set;
    unsigned id_len;
    const uint8_t *id = SSL_SESSION_get_id(session, &id_len);
    uint8_t *out = slot.sealed;
    int len = i2d_SSL_SESSION(unchanged, NULL);
    int err;

    if (id_len != ID_LEN || len <= 0 || (size_t)len > sizeof slot.sealed - FK_TICKET_BOX_TAG)
        return FK_ERR_LIMIT;
    (void)i2d_SSL_SESSION(unchanged, &out);
    box = box_of(&slot, &bound, id);
    box.len = (size_t)len;
    if ((err = fk_ticket_site_lock(site, &box)) == FK_OK) {
        slot.len = (uint32_t)box.len + FK_TICKET_BOX_TAG;
        set = find_set(cache, id, &slot.tag);
        store_slot(find_victim(set, slot.tag), &slot);
    }
    fk_wipe(&slot, sizeof slot);
    return err;
}

static SSL_SESSION *open_slot(struct fk_ticket_site *site, struct slot *slot, const uint8_t *id)
{
    const unsigned char *in = slot->sealed;
    struct fk_ticket_box box;
    struct bound bound;

    if (slot->expires_us <= fk_clock_us() || slot->len <= FK_TICKET_BOX_TAG ||
        slot->len > sizeof slot->sealed)
        return NULL;
    box = box_of(slot, &bound, id);
    box.len = slot->len - FK_TICKET_BOX_TAG;
    if (fk_ticket_site_unlock(site, &box) != FK_OK)
        return NULL;
    return d2i_SSL_SESSION(NULL, &in, (long)box.len);
}

SSL_SESSION *fk_sescache_get(struct fk_sescache *cache, struct fk_ticket_site *site,
                             const uint8_t *id, size_t len)
{
    SSL_SESSION *session = NULL;
    _Atomic uint64_t *set;
    struct slot slot;
    uint64_t tag;

    if (len != ID_LEN)
        return NULL;
    set = find_set(cache, id, &tag);
    for (size_t i = 0; session == NULL && i < WAYS; i++) {
        if (atomic_load_explicit(&set[i * WORDS], memory_order_relaxed) != tag)
            continue;
        load_slot(set + i * WORDS, &slot);
        session = open_slot(site, &slot, id);
        fk_wipe(&slot, sizeof slot);
    }
    return session;
}
