/*
 * Sites get and renew the certificates that key servers list, a little in each turn of the loop:
 * sites in service go on with what they have until their turn comes.
 */
#ifndef FK_EDGE_RENEW_H
#define FK_EDGE_RENEW_H

#include "edge/listing.h"
#include "edge/sites.h"
#include "loop/loop.h"

struct fk_renew;

/* All borrowed. */
struct fk_renew_config {
    struct fk_loop *loop;
    struct fk_sites *sites;
    const struct fk_edge_tickets *resumption;
    /* What a key server lists, by the title of its block. */
    struct fk_listing *(*listing)(void *arg, const char *server);
    /* A site has got other certificates; `first`: it had none. */
    void (*renewed)(void *arg, struct fk_site *site, bool first);
    /* Called with true and false around each turn: in between the object lives. */
    void (*hold)(void *arg, bool on);
    void *arg;
};

/* FK_ERR_NOMEM. */
int fk_renew_new(const struct fk_renew_config *config, struct fk_renew **ret);
/* NULL is fine. */
void fk_renew_free(struct fk_renew *renew);

/* Bring all sites to what is listed; once more from the first when that is under way. */
void fk_renew_start(struct fk_renew *renew);

/* While that is under way: this site comes next. */
void fk_renew_want(struct fk_renew *renew, struct fk_site *site);

/* Whether a site's certificates come from a key server. */
bool fk_site_from_server(const struct fk_site *site);

#endif
