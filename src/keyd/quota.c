/*
 * The shared slots. The master alone writes identities; fronts only count. Every counter is one
 * atomic word, changed by compare and swap: a front that dies in between leaves nothing half done.
 */
#include "keyd/quota.h"

#include "base/err.h"
#include "base/limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the word `day`: the number of the day above, operations made in it below. */
#define USED_BITS 40
#define USED_MASK ((UINT64_C(1) << USED_BITS) - 1)

#define NS_PER_HOUR UINT64_C(3600000000000)

struct fk_quota_slot {
    char identity[FK_IDENTITY_SIZE]; /* empty: free */
    _Atomic uint64_t arrival_ns;     /* theoretical arrival time of the bucket's next operation */
    _Atomic uint64_t day;
    _Atomic uint64_t operations;
    _Atomic uint64_t last_us;
    _Atomic uint32_t channels[FK_KEYD_CHILDREN_MAX];
};

struct fk_quota {
    struct fk_quota_slot *slots;
};

#define QUOTA_SIZE (FK_KEYD_EDGES_MAX * sizeof(struct fk_quota_slot))

int fk_quota_create(int *ret_fd)
{
    int fd = memfd_create("keyd-quota", MFD_CLOEXEC);

    if (fd < 0)
        return FK_ERR_SYS;
    if (ftruncate(fd, (off_t)QUOTA_SIZE) < 0) {
        (void)close(fd);
        return FK_ERR_SYS;
    }
    *ret_fd = fd;
    return FK_OK;
}

int fk_quota_open(int fd, struct fk_quota **ret)
{
    struct fk_quota *quota;
    struct stat st;
    void *mem;

    if (fstat(fd, &st) < 0 || st.st_size != (off_t)QUOTA_SIZE)
        return FK_ERR_SYS;
    mem = mmap(NULL, QUOTA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED)
        return errno == ENOMEM ? FK_ERR_NOMEM : FK_ERR_SYS;
    if ((quota = calloc(1, sizeof *quota)) == NULL) {
        (void)munmap(mem, QUOTA_SIZE);
        return FK_ERR_NOMEM;
    }
    quota->slots = mem;
    *ret = quota;
    return FK_OK;
}

void fk_quota_close(struct fk_quota *quota)
{
    if (quota == NULL)
        return;
    (void)munmap(quota->slots, QUOTA_SIZE);
    free(quota);
}

struct fk_quota_slot *fk_quota_find(struct fk_quota *quota, const char *identity)
{
    for (size_t i = 0; i < FK_KEYD_EDGES_MAX; i++)
        if (strncmp(quota->slots[i].identity, identity, FK_IDENTITY_SIZE) == 0)
            return &quota->slots[i];
    return NULL;
}

size_t fk_quota_number(const struct fk_quota *quota, const struct fk_quota_slot *slot)
{
    return (size_t)(slot - quota->slots);
}

int fk_quota_assign(struct fk_quota *quota, const char *identity)
{
    struct fk_quota_slot *slot;

    if (identity[0] == '\0' || strlen(identity) >= FK_IDENTITY_SIZE)
        return FK_ERR_INVAL;
    if (fk_quota_find(quota, identity) != NULL)
        return FK_OK;
    if ((slot = fk_quota_find(quota, "")) == NULL)
        return FK_ERR_LIMIT;
    (void)snprintf(slot->identity, sizeof slot->identity, "%s", identity);
    return FK_OK;
}

void fk_quota_sweep(struct fk_quota *quota, bool (*known)(void *arg, const char *identity),
                    void *arg)
{
    for (size_t i = 0; i < FK_KEYD_EDGES_MAX; i++) {
        struct fk_quota_slot *slot = &quota->slots[i];

        if (slot->identity[0] != '\0' && fk_quota_channels(slot) == 0 &&
            !known(arg, slot->identity))
            *slot = (struct fk_quota_slot){.identity = ""};
    }
}

void fk_quota_bury(struct fk_quota *quota, unsigned front)
{
    for (size_t i = 0; i < FK_KEYD_EDGES_MAX; i++)
        atomic_store_explicit(&quota->slots[i].channels[front % FK_KEYD_CHILDREN_MAX], 0,
                              memory_order_relaxed);
}

/*
 * The generic cell rate algorithm (ITU-T I.371): the bucket is the one number "when it would be
 * full again if nothing more came"; an operation moves that by the time it costs.
 */
bool fk_quota_rate(struct fk_quota_slot *slot, uint64_t hourly, uint64_t burst, uint64_t now_us)
{
    uint64_t now = now_us * 1000, early = burst > 0 ? burst - 1 : 0, cost, seen, start;

    if (hourly == 0)
        return true;
    cost = NS_PER_HOUR / hourly;
    seen = atomic_load_explicit(&slot->arrival_ns, memory_order_relaxed);
    do {
        start = seen > now ? seen : now;
        /* Further away than an empty bucket: taken at a slower rate, before a reload. */
        if (start - now > cost * (early + 1))
            start = now + cost * early;
        if (start - now > cost * early)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&slot->arrival_ns, &seen, start + cost,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool fk_quota_day(struct fk_quota_slot *slot, uint64_t quota, uint64_t day)
{
    uint64_t seen, used;

    if (quota == 0)
        return true;
    seen = atomic_load_explicit(&slot->day, memory_order_relaxed);
    do {
        used = seen >> USED_BITS == day ? seen & USED_MASK : 0;
        if (used >= quota)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&slot->day, &seen,
                                                    day << USED_BITS | (used + 1),
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

uint64_t fk_quota_used(const struct fk_quota_slot *slot, uint64_t day)
{
    uint64_t seen = atomic_load_explicit(&slot->day, memory_order_relaxed);

    return seen >> USED_BITS == day ? seen & USED_MASK : 0;
}

void fk_quota_count(struct fk_quota_slot *slot, uint64_t now_us)
{
    atomic_fetch_add_explicit(&slot->operations, 1, memory_order_relaxed);
    atomic_store_explicit(&slot->last_us, now_us, memory_order_relaxed);
}

uint64_t fk_quota_operations(const struct fk_quota_slot *slot)
{
    return atomic_load_explicit(&slot->operations, memory_order_relaxed);
}

uint64_t fk_quota_last_us(const struct fk_quota_slot *slot)
{
    return atomic_load_explicit(&slot->last_us, memory_order_relaxed);
}

uint64_t fk_quota_channels(const struct fk_quota_slot *slot)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < FK_KEYD_CHILDREN_MAX; i++)
        sum += atomic_load_explicit(&slot->channels[i], memory_order_relaxed);
    return sum;
}

/* Two fronts may both see the last free place: the bound is then exceeded by one for a moment,
 * which counting first and looking afterwards avoids. */
bool fk_quota_channel_open(struct fk_quota_slot *slot, unsigned front, uint64_t max)
{
    front %= FK_KEYD_CHILDREN_MAX;
    atomic_fetch_add_explicit(&slot->channels[front], 1, memory_order_relaxed);
    if (max == 0 || fk_quota_channels(slot) <= max)
        return true;
    atomic_fetch_sub_explicit(&slot->channels[front], 1, memory_order_relaxed);
    return false;
}

void fk_quota_channel_close(struct fk_quota_slot *slot, unsigned front)
{
    atomic_fetch_sub_explicit(&slot->channels[front % FK_KEYD_CHILDREN_MAX], 1,
                              memory_order_relaxed);
}
