/*
 * What one key server lists, as certificates. A new listing is read step by step, and what an
 * earlier one had is taken over; until all is read the earlier one counts.
 */
#ifndef FK_EDGE_LISTING_H
#define FK_EDGE_LISTING_H

#include "edge/certindex.h"

struct fk_listing;

/* Who lists: a key server (keyclient.h). */
struct fk_listing_source {
    /* The present listing's number, another for each; 0: there is none yet. */
    uint64_t (*number)(void *arg);
    /* Its key `i`, borrowed until it changes; FK_ERR_NOT_FOUND past the end. */
    int (*key)(void *arg, size_t i, struct fk_info_key *ret);
    void *arg;
};

/* `libctx` is borrowed. FK_ERR_NOMEM. */
int fk_listing_new(OSSL_LIB_CTX *libctx, const struct fk_listing_source *source,
                   struct fk_listing **ret);
/* NULL is fine. */
void fk_listing_free(struct fk_listing *listing);

/* One step towards the source's present listing: what it costs (FK_EDGE_RENEW_TURN); 0: all is
 * read. */
unsigned fk_listing_step(struct fk_listing *listing);

/* The last one that was read to its end, borrowed until the next step; NULL: none. */
const struct fk_certindex *fk_listing_index(const struct fk_listing *listing);

#endif
