/*
 * The certificates of one listing of a key server, found by the names that sites go by: a look-up
 * takes the same time however many there are.
 */
#ifndef FK_EDGE_CERTINDEX_H
#define FK_EDGE_CERTINDEX_H

#include "base/limits.h"
#include "edge/listed.h"

struct fk_certindex;

int fk_certindex_new(struct fk_certindex **ret);
/* NULL is fine, as an empty one, here and where nothing is changed. */
void fk_certindex_free(struct fk_certindex *index);

/* Takes a reference. In the order of the listing: of equals the first counts. FK_ERR_NOMEM. */
int fk_certindex_add(struct fk_certindex *index, struct fk_listed *listed);

size_t fk_certindex_count(const struct fk_certindex *index);

/* One by its id, borrowed; NULL. */
struct fk_listed *fk_certindex_known(const struct fk_certindex *index,
                                     const uint8_t id[FK_LISTED_ID_SIZE]);

/*
 * The certificates for a site of this title and (first) name, one for each type of key: of the key
 * that is named as the site, else one for just that name, else a wildcard's. For a name that is a
 * wildcard itself only that counts. Borrowed. Their number.
 */
size_t fk_certindex_find(const struct fk_certindex *index, const char *title, const char *name,
                         const struct fk_listed *ret[FK_EDGE_CERTS_MAX]);

#endif
