/*
 * A worker's ways to the signers of this host: one pool for each generation of keys, so that
 * handshakes that began with the keys of before still find them. Freed with its last user; the
 * signers of that generation then see their peers go.
 */
#ifndef FK_EDGE_LOCALKEYS_H
#define FK_EDGE_LOCALKEYS_H

#include "loop/loop.h"
#include "signer/client.h"

struct fk_localkeys; /* all generations */
struct fk_localpool; /* one */

int fk_localkeys_new(struct fk_loop *loop, struct fk_localkeys **ret);
/* All pools must have been dropped. NULL is fine. */
void fk_localkeys_free(struct fk_localkeys *keys);

/* The pool of a generation, made when there is none yet; a reference. FK_ERR_NOMEM. */
int fk_localkeys_get(struct fk_localkeys *keys, uint32_t generation, struct fk_localpool **ret);
void fk_localpool_unref(struct fk_localpool *pool);

/* A socket (taken) to signer `index` of a generation. It is kept until that has a user. */
int fk_localkeys_add(struct fk_localkeys *keys, uint32_t generation, unsigned index, int fd);

struct fk_keyback *fk_localpool_back(struct fk_localpool *pool);
/* Lives as long as the pool. */
struct fk_signer_pool *fk_localpool_signers(struct fk_localpool *pool);

#endif
