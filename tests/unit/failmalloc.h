/*
 * Allocations that fail on demand, and a count of those that leak.
 *
 * A test binary whose row in meson.build names failmalloc_dep has its allocations (malloc, calloc,
 * realloc, reallocarray, strdup, strndup, aligned_alloc, mmap; not those inside the C library or
 * OpenSSL) go through here. failmalloc_try() runs a piece of work again and again, failing the
 * first allocation, then the second, until it runs through: each path of error is taken once.
 *
 * With failcrypto_dep as well, OpenSSL's objects that the project makes (SSL_new(), BIO_new(), ...:
 * see failcrypto.c) are allocations that fail; they are not counted as live.
 */
#ifndef FK_TESTS_FAILMALLOC_H
#define FK_TESTS_FAILMALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* From now on count allocations; the n-th (1: the next) fails. 0: none fails. */
void failmalloc_arm(size_t n);

/* Stop. Whether an allocation was made to fail. */
bool failmalloc_disarm(void);

/* None fails, and none is counted, while the test does something for itself. */
void failmalloc_pause(bool paused);

/* For failcrypto.c: count one more allocation; whether it is the one that fails. */
bool failmalloc_due(void);

/* Blocks allocated since failmalloc_arm() that are not freed. */
size_t failmalloc_live(void);

/*
 * Have `look` see each block allocated since failmalloc_arm() just before it is freed, and each
 * mapping before it is unmapped: for tests that secrets are wiped. failmalloc_arm() resets this.
 */
void failmalloc_on_free(void (*look)(const void *block, size_t size));

/*
 * Run `work` with each of its allocations failing once: it must then return FK_ERR_NOMEM, and at
 * the end FK_OK; it frees all that it allocates either way, which is asserted. Returns the number
 * of failures tried, for the test to assert that there were any.
 */
size_t failmalloc_try(int (*work)(void *context), void *context);

#endif
