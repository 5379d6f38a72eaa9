/*
 * A site's SSL_CTX: versions, suites, certificates with remote keys, tickets, ALPN. Made when a
 * configuration or a certificate changes, never for a connection.
 */
#ifndef FK_EDGE_TLSCTX_H
#define FK_EDGE_TLSCTX_H

#include "tls/cert.h"
#include "edge/conf.h"
#include "tls/sescache.h"
#include "tls/sesstore.h"
#include "tls/staple.h"
#include "tls/ticketdesk.h"
#include "tls/tickets.h"
#include "edge/why.h"
#include "tls/keyback.h"
#include "tls/opaque.h"

#include <openssl/ssl.h>

/* All borrowed. The objects behind `back`, `tickets`, `desk`, `store` and `clientca` must outlive
 * the context. */
struct fk_tlsctx_config {
    OSSL_LIB_CTX *libctx; /* with the remote-key provider loaded, and that of tls/opaque.h if its
                           * secrets are the key server's */
    const struct fk_edge_site *site;
    const struct fk_edge_tickets *resumption;
    const struct fk_cert *certs; /* one for each type of key */
    size_t n_certs;
    struct fk_keyback *back;
    struct fk_ticket_site *tickets;
    struct fk_ticketdesk *desk;         /* NULL: `tickets` has the keys of tickets */
    struct fk_sescache *cache;          /* NULL: none */
    struct fk_sesstore *store;          /* NULL: none */
    const struct fk_clientca *clientca; /* NULL: clients are not asked for certificates */
    bool only_resumes;                  /* see struct fk_server_conf; without certificates */
    const struct fk_staple_use *staples;
    size_t n_staples;
    fk_staple_told_cb *told; /* of these, with `told_arg` */
    void *told_arg;
};

/*
 * Whether OpenSSL takes the site's groups as fk_tlsctx_new() gives them. When not: the first that
 * it does not know (borrowed), or NULL when each by itself is good. FK_ERR_CRYPTO, FK_ERR_LIMIT
 * (a list too long), FK_ERR_NOMEM.
 */
int fk_tlsctx_check_groups(const struct fk_edge_site *site, const char **ret_bad);

/* The site's ALPN names in wire form, names<u8>: written to `ret`, unless that is NULL. Bytes. */
size_t fk_tlsctx_alpn(const struct fk_edge_site *site, uint8_t *ret);

/* Which secrets of its handshakes are the key server's. */
enum fk_opaque_mode fk_tlsctx_opaque(const struct fk_edge_site *site);

/* The permission that the mode needs beyond what all keys have: FK_PERM_* (wire/keyop.h), or 0. */
uint16_t fk_tlsctx_permission(const struct fk_edge_site *site);

/* The key exchanges of TLS 1.2 that it offers: FK_SERVER_* (tls/server_ctx.h). */
unsigned fk_tlsctx_exchanges(const struct fk_edge_site *site);

/* The longest OCSP response that may go with a certificate (fk_staple_wire_len()): where the key
 * server is sent the transcript, it has to fit. */
size_t fk_tlsctx_staple_max(const struct fk_edge_site *site, const struct fk_cert *cert);

/* The session id context of its sessions, 32 bytes: they belong to one site and one policy for its
 * clients (`clientca`, NULL: none), whatever they are offered to; and if their secret is the key
 * server's, to such sites, as others would take its token for the secret. */
void fk_tlsctx_session_context(const struct fk_edge_site *site, const struct fk_clientca *clientca,
                               uint8_t ret[32]);

/* FK_ERR_CRYPTO with OpenSSL's words in `why`, FK_ERR_NOMEM, FK_ERR_UNSUPPORTED. */
int fk_tlsctx_new(const struct fk_tlsctx_config *config, struct fk_why *why, SSL_CTX **ret);

#endif
