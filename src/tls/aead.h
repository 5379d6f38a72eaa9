/*
 * AEADs of records, one direction and one key at a time: a message is begun with its nonce, goes
 * through in any number of steps, and ends with its tag.
 *
 * Two libraries know them. OpenSSL knows all, but its EVP looks a nonce's length and a tag up by
 * name each time, which costs small records more than their encryption. Intel's library for IPsec
 * is used instead where it is there and the processor has what makes it the faster one.
 */
#ifndef FK_TLS_AEAD_H
#define FK_TLS_AEAD_H

#include "tls/suite.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FK_AEAD_NONCE 12
#define FK_AEAD_TAG   16

struct fk_aead {
    const struct fk_aead_library *library;
};

/* One library's way. Functions as those below; `make` returns NULL when it cannot. */
struct fk_aead_library {
    const char *name;
    bool (*knows)(const struct fk_suite *suite);
    struct fk_aead *(*make)(const struct fk_suite *suite, const uint8_t *key, bool seal);
    void (*free)(struct fk_aead *aead);
    bool (*start)(struct fk_aead *aead, const uint8_t nonce[FK_AEAD_NONCE], const uint8_t *aad,
                  size_t aad_len);
    bool (*step)(struct fk_aead *aead, uint8_t *out, const uint8_t *in, size_t len);
    bool (*seal)(struct fk_aead *aead, uint8_t ret_tag[FK_AEAD_TAG]);
    int (*open)(struct fk_aead *aead, const uint8_t tag[FK_AEAD_TAG]);
};

/* NULL at the end; the first that knows a suite is the one. */
extern const struct fk_aead_library *const fk_aead_libraries[];

/*
 * A context for sealing, or for opening, under a key of suite->key_len bytes, which it copies.
 * Suites with CBC have none. The caller owns *ret. FK_ERR_NOMEM (also: no library can).
 */
int fk_aead_new(const struct fk_suite *suite, const uint8_t *key, bool seal, struct fk_aead **ret);
/* Wipes. NULL is allowed. */
void fk_aead_free(struct fk_aead *aead);

/* Begin a message, whatever became of the one before. False: the library refuses. */
static inline bool fk_aead_start(struct fk_aead *aead, const uint8_t nonce[FK_AEAD_NONCE],
                                 const uint8_t *aad, size_t aad_len)
{
    return aead->library->start(aead, nonce, aad, aad_len);
}

/* The next `len` bytes, in place or from one buffer to another that does not overlap it. */
static inline bool fk_aead_step(struct fk_aead *aead, uint8_t *out, const uint8_t *in, size_t len)
{
    return len == 0 || aead->library->step(aead, out, in, len);
}

/* The end of a message that was sealed: its tag. */
static inline bool fk_aead_seal(struct fk_aead *aead, uint8_t ret_tag[FK_AEAD_TAG])
{
    return aead->library->seal(aead, ret_tag);
}

/* The end of a message that was opened: whether this is its tag. FK_ERR_VERIFY, FK_ERR_CRYPTO. */
static inline int fk_aead_open(struct fk_aead *aead, const uint8_t tag[FK_AEAD_TAG])
{
    return aead->library->open(aead, tag);
}

#endif
