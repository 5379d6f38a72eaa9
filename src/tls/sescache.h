/*
 * The session cache of TLS 1.2 for clients without tickets (RFC 5246 section F.1.4), shared by the
 * workers: memory that the master makes and every worker maps.
 *
 * A slot holds a session sealed with a key of its site that is derived from the ticket keys: the
 * memory alone tells nothing, and a session means nothing to another site. There is no lock: what
 * is read while somebody writes, or what a worker that died has half written, does not open and
 * counts as absent.
 */
#ifndef FK_TLS_SESCACHE_H
#define FK_TLS_SESCACHE_H

#include "tls/tickets.h"

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

struct fk_sescache;

/* A memfd for at least `sessions` sessions. The caller owns *ret_fd. FK_ERR_INVAL, FK_ERR_SYS. */
int fk_sescache_create(uint64_t sessions, int *ret_fd);
/* Map it; `fd` stays the caller's. FK_ERR_FORMAT, FK_ERR_SYS, FK_ERR_NOMEM. */
int fk_sescache_open(int fd, struct fk_sescache **ret);
void fk_sescache_close(struct fk_sescache *cache);

/*
 * Keep a session of `site` for its lifetime, or until others need the room. FK_ERR_LIMIT when it
 * does not fit a slot (a client with names of unusual length: it makes full handshakes),
 * FK_ERR_CRYPTO, FK_ERR_NOT_FOUND without keys.
 */
int fk_sescache_put(struct fk_sescache *cache, struct fk_ticket_site *site,
                    const SSL_SESSION *session);

/* A session of `site` by its id, the caller's; NULL when there is none. */
SSL_SESSION *fk_sescache_get(struct fk_sescache *cache, struct fk_ticket_site *site,
                             const uint8_t *id, size_t len);

#endif
