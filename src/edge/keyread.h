/*
 * Reading the private keys of mode `local`, shares of split keys, and the lend key: done by a
 * process that lives for that moment only, so that no private key is ever in the master's memory.
 * What comes back is public: which key each file holds, and a sealed memfd that only signers map.
 */
#ifndef FK_EDGE_KEYREAD_H
#define FK_EDGE_KEYREAD_H

#include "edge/conf.h"

#include <stdint.h>

/* What one file of a key or share holds. */
struct fk_keyread_key {
    int32_t err;     /* FK_ERR_* when it cannot be used */
    uint8_t ski[20]; /* else whose private half it is; of the lend key zero */
};

struct fk_keyread {
    int fd; /* the signers' bundle (signer/keyset.h); -1: there are no keys, or one failed */
    uint8_t fingerprint[32]; /* of what is in it, zero without one */
    size_t count;
    struct fk_keyread_key
        keys[]; /* of all sites in order: of each its key files, then its shares; the lend key */
};

/* How many files of keys and shares a site names. */
size_t fk_keyread_count(const struct fk_edge_site *site);

/*
 * Read the keys of every site of mode local, every site's shares, and the lend key. Failures of
 * single files are in the result; an error is returned when the reading as a whole failed:
 * FK_ERR_SYS, FK_ERR_NOMEM, FK_ERR_CLOSED.
 */
int fk_keyread_new(const struct fk_edge_conf *conf, struct fk_keyread **ret);
void fk_keyread_free(struct fk_keyread *keyread);

#endif
