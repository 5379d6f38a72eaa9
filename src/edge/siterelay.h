/*
 * What the sites of a generation say to origins of their clients' certificates, and what clients
 * cannot say: names that any site relays are removed at every site, as origins may be shared.
 */
#ifndef FK_EDGE_SITERELAY_H
#define FK_EDGE_SITERELAY_H

#include "edge/sites.h"
#include "http/certrelay.h"

struct fk_siterelays;

/* For all sites, whose `clientca` are there already. FK_ERR_NOMEM, FK_ERR_LIMIT. */
int fk_siterelays_new(struct fk_sites *sites, struct fk_siterelays **ret);
void fk_siterelays_free(struct fk_siterelays *relays); /* NULL is fine */

/* How requests of a site are changed: borrowed. */
const struct fk_http_forward *fk_siterelays_forward(const struct fk_siterelays *relays,
                                                    const struct fk_site *site);

/*
 * What the requests of one connection say. `chain` is leaf to anchor, NULL: no certificate was
 * shown. *ret is NULL when there is nothing to say; the caller's (fk_certrelay_unsay()).
 * FK_ERR_NOMEM, FK_ERR_CRYPTO.
 */
int fk_siterelays_say(const struct fk_siterelays *relays, const struct fk_site *site,
                      STACK_OF(X509) * chain, struct fk_http_identity **ret);

#endif
