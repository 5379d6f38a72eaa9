/*
 * A TLS server's SSL_CTX, by what this project offers its clients: versions, suites with AEAD,
 * groups, certificates with remote keys, tickets and session ids, ALPN. For whoever shakes hands
 * with clients: an edge's worker, a key server's handshaker. Made when something changes, never for
 * a connection.
 */
#ifndef FK_TLS_SERVER_CTX_H
#define FK_TLS_SERVER_CTX_H

#include "tls/cert.h"
#include "tls/keyback.h"
#include "tls/sescache.h"
#include "tls/tickets.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* Key exchanges of TLS 1.2. */
#define FK_SERVER_ECDHE 1U
#define FK_SERVER_DHE   2U
#define FK_SERVER_RSA   4U

/* All borrowed. The objects behind `back`, `tickets` and `cache` must outlive the context. */
struct fk_server_conf {
    OSSL_LIB_CTX *libctx; /* with the remote-key provider loaded */
    bool opaque;          /* tls/opaque.h: with that provider loaded, too; TLS 1.2 only */
    bool tls12, tls13;
    unsigned exchanges;   /* FK_SERVER_*, with TLS 1.2 */
    const char *groups;   /* OpenSSL's list; "" or NULL: its default */
    const uint8_t *alpn;  /* names<u8>, most wanted first */
    size_t alpn_len;      /* 0: the extension is ignored */
    const uint8_t *id;    /* SHA-256 of what a session belongs to: it is resumed there only */
    uint64_t lifetime_us; /* of a session */
    unsigned n_tickets;   /* TLS 1.3 tickets after a full handshake; 0: no tickets, 1.2 neither */
    bool ids;             /* TLS 1.2 session ids, in `cache` */
    bool read_ahead;      /* never where the session's keys are handed over */
    struct fk_ticket_site *tickets;
    struct fk_sescache *cache;   /* NULL: none */
    const struct fk_cert *certs; /* one for each type of key */
    size_t n_certs;
    struct fk_keyback *back;
};

/* FK_ERR_CRYPTO with the reason on OpenSSL's queue, FK_ERR_NOMEM, FK_ERR_UNSUPPORTED,
 * FK_ERR_INVAL. */
int fk_server_ctx_new(const struct fk_server_conf *conf, SSL_CTX **ret);

/* The NamedGroup of a name as OpenSSL's lists of groups have it ("P-256", "x25519"), in any case;
 * 0: not one that is served. And a name for a number; NULL. */
uint16_t fk_server_group_id(const char *name);
const char *fk_server_group_name(uint16_t id);

#endif
