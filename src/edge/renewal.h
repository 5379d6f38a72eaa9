/*
 * Requests sent to origins for the cache alone: what was served stale is renewed while its client
 * has gone on (RFC 5861 section 3). Each has a connection of its own, a bound in time, and is one
 * of few at once; one that fails leaves things as they are.
 */
#ifndef FK_EDGE_RENEWAL_H
#define FK_EDGE_RENEWAL_H

#include "edge/gen.h"
#include "http/message.h"

struct fk_renewals;

/* FK_ERR_NOMEM. */
int fk_renewals_new(struct fk_loop *loop, struct fk_renewals **ret);
/* Ends all. NULL is fine. */
void fk_renewals_free(struct fk_renewals *renewals);

/* Send this request of a site once more; it is copied. It is as an origin gets it. */
void fk_renewals_begin(struct fk_renewals *renewals, struct fk_gen *gen, struct fk_site *site,
                       const struct fk_http_request *request);

#endif
