/*
 * Memory for secrets.
 *
 * struct fk_secret is the only holder of key bytes that outlives a function: its pages are locked,
 * left out of core dumps, unreadable after fork, fenced by unmapped pages on both sides, and wiped
 * when freed. Scratch copies live in one struct on the stack that its owner wipes with fk_wipe().
 */
#ifndef FK_BASE_SECRET_H
#define FK_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fk_secret;

/*
 * `len` zero bytes (1 to FK_SECRET_MAX) in guarded memory. The caller owns the result.
 * FK_ERR_INVAL, FK_ERR_NOMEM (also when the memory cannot be locked and locking is required:
 * see fk_secret_require_lock()).
 */
int fk_secret_new(size_t len, struct fk_secret **ret);

/* A secret that holds a copy of `data`. The caller wipes its own copy. */
int fk_secret_dup(const void *data, size_t len, struct fk_secret **ret);

/* Wipe and free. NULL is fine. */
void fk_secret_free(struct fk_secret *secret);

/* The bytes, writable, valid until the secret is freed; their number. */
uint8_t *fk_secret_data(struct fk_secret *secret);
const uint8_t *fk_secret_bytes(const struct fk_secret *secret);
size_t fk_secret_len(const struct fk_secret *secret);

/*
 * Whether memory that cannot be locked (RLIMIT_MEMLOCK) is an error. Off at first: an unprivileged
 * demonstration must run; daemons started as root turn it on.
 */
void fk_secret_require_lock(bool required);

/* Overwrite `len` bytes at `mem` in a way that the compiler may not remove. NULL with 0 is fine. */
void fk_wipe(void *mem, size_t len);

/* Compare in time that depends on `len` only. True when equal. */
bool fk_equal_ct(const void *a, const void *b, size_t len);

#endif
