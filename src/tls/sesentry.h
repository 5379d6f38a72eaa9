/*
 * A TLS 1.2 session as it leaves this host: sealed with the ticket keys of its site, and bound to
 * its id and to what the session belongs to. Whoever keeps it can neither read nor change it, give
 * it out under another id, or to another site.
 */
#ifndef FK_TLS_SESENTRY_H
#define FK_TLS_SESENTRY_H

#include "tls/sesstore.h"
#include "tls/tickets.h"

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

/* A session takes some 200 bytes, with a server name of full length 450. */
#define FK_SESENTRY_MAX 1024

/* What an entry is bound to besides the site's keys: its id, and the session id context of the
 * server (SSL_CTX_set_session_id_context), 32 bytes. */
struct fk_sesentry_bound {
    const uint8_t *id;    /* FK_SESSTORE_ID bytes */
    const uint8_t *owner; /* 32 bytes */
};

/*
 * version u8 | key 8 | nonce 12 | AES-256-GCM ciphertext | tag 16. FK_ERR_LIMIT: the session is too
 * large, or its id has another length; FK_ERR_NOT_FOUND: the site has no keys; FK_ERR_CRYPTO.
 */
int fk_sesentry_seal(struct fk_ticket_site *site, const uint8_t owner[32],
                     const SSL_SESSION *session, uint8_t ret[FK_SESENTRY_MAX], size_t *ret_len);

/*
 * The session, the caller's. FK_ERR_TRUNCATED, FK_ERR_LIMIT, FK_ERR_VERSION, FK_ERR_NOT_FOUND (no
 * such key, or no more), FK_ERR_CRYPTO (not authentic), FK_ERR_FORMAT.
 */
int fk_sesentry_open(struct fk_ticket_site *site, const struct fk_sesentry_bound *bound,
                     const void *data, size_t len, SSL_SESSION **ret);

#endif
