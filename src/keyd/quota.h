/*
 * Counters shared by all fronts: each edge's rate, daily quota and number of channels. A memfd of
 * slots that the master makes once and hands to every front, so that an edge has one allowance
 * however its channels are spread, and keeps its counts over reloads and the death of a front.
 *
 * Holds no secret. A captured front can spoil the counts, which is no more than it can do anyway.
 */
#ifndef FK_KEYD_QUOTA_H
#define FK_KEYD_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest identity of an edge with its NUL: "farkey:edge:" and a name. */
#define FK_IDENTITY_SIZE 160

struct fk_quota;
struct fk_quota_slot;

/* A memfd of free slots, the caller's; mapping one (`fd` stays the caller's). FK_ERR_SYS,
 * FK_ERR_NOMEM. */
int fk_quota_create(int *ret_fd);
int fk_quota_open(int fd, struct fk_quota **ret);
void fk_quota_close(struct fk_quota *quota);

/* Master: the slot of an identity, taken if it has none. FK_ERR_LIMIT when all are taken. */
int fk_quota_assign(struct fk_quota *quota, const char *identity);
/* Master: free the slots of identities that `known` denies and that have no channel. */
void fk_quota_sweep(struct fk_quota *quota, bool (*known)(void *arg, const char *identity),
                    void *arg);
/* Master: a front is dead, its channels are gone. */
void fk_quota_bury(struct fk_quota *quota, unsigned front);

/* Front: the slot of an identity, NULL when it has none. Valid while mapped. */
struct fk_quota_slot *fk_quota_find(struct fk_quota *quota, const char *identity);
/* Its number, below FK_KEYD_EDGES_MAX. */
size_t fk_quota_number(const struct fk_quota *quota, const struct fk_quota_slot *slot);

/*
 * Take one operation at `now_us` (monotonic) from a bucket that fills with `hourly` operations an
 * hour up to `burst`. False: nothing was taken. hourly 0: no bound.
 */
bool fk_quota_rate(struct fk_quota_slot *slot, uint64_t hourly, uint64_t burst, uint64_t now_us);

/* Take one of `quota` operations of day `day` (days since 1970). quota 0: no bound. */
bool fk_quota_day(struct fk_quota_slot *slot, uint64_t quota, uint64_t day);

/* Count a channel of `front` unless the edge has `max` (0: no bound) already; and its end. */
bool fk_quota_channel_open(struct fk_quota_slot *slot, unsigned front, uint64_t max);
void fk_quota_channel_close(struct fk_quota_slot *slot, unsigned front);

/* Front: an operation of the edge begins, at `now_us` (monotonic). */
void fk_quota_count(struct fk_quota_slot *slot, uint64_t now_us);

/* Channels of an edge over all fronts, and operations of day `day`, for status. */
uint64_t fk_quota_channels(const struct fk_quota_slot *slot);
uint64_t fk_quota_used(const struct fk_quota_slot *slot, uint64_t day);
/* Operations in all, and when the last one began: 0, there was none. */
uint64_t fk_quota_operations(const struct fk_quota_slot *slot);
uint64_t fk_quota_last_us(const struct fk_quota_slot *slot);

#endif
