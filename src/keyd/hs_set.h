/*
 * One generation of what a handshaker serves: the index of the keys, and TLS contexts for the sites
 * that edges shake hands for, made when they are first asked for and kept while they are in use.
 */
#ifndef FK_KEYD_HS_SET_H
#define FK_KEYD_HS_SET_H

#include "keyd/conf.h"
#include "keyd/hs_link.h"
#include "tls/server_ctx.h"
#include "wire/keyop_handshake.h"

/* What contexts are made with: the process's, which outlives every set. All borrowed. */
struct fk_hs_base {
    OSSL_LIB_CTX *libctx; /* with the remote-key provider */
    struct fk_keyback *back;
    struct fk_tickets *tickets;
    struct fk_sescache *cache; /* NULL: none */
};

struct fk_hs_set;
struct fk_hs_site; /* a TLS context and its ticket keys */

/* From the bundle that fronts get (`fd` stays the caller's). Fails as fk_index_load(). */
int fk_hs_set_open(int fd, uint32_t generation, const struct fk_hs_base *base,
                   struct fk_hs_set **ret);
/* NULL is fine. Sites of handshakes under way stay until these end. */
void fk_hs_set_free(struct fk_hs_set *set);

uint32_t fk_hs_set_generation(const struct fk_hs_set *set);
/* What it logs: enum fk_log_level. And the key server's limits. */
int fk_hs_set_log_level(const struct fk_hs_set *set);
const struct fk_keyd_limits_conf *fk_hs_set_limits(const struct fk_hs_set *set);

/*
 * The site that an edge (head->edge, below FK_KEYD_EDGES_MAX) opens a handshake for; a reference.
 * FK_ERR_KEY_NOT_FOUND: none of the keys is there with a certificate; FK_ERR_DENIED: of one the
 * policy does not allow it; FK_ERR_UNSUPPORTED: nothing that it wants is served; FK_ERR_CRYPTO,
 * FK_ERR_NOMEM.
 */
int fk_hs_set_site(struct fk_hs_set *set, const struct fk_hs_head *head,
                   const struct fk_handshake_open *open, struct fk_hs_site **ret);
SSL_CTX *fk_hs_site_ctx(const struct fk_hs_site *site);
/* NULL is fine. */
void fk_hs_site_unref(struct fk_hs_site *site);

#endif
