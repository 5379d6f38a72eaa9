/*
 * A TLS server's SSL_CTX, by what this project offers its clients: versions, suites with AEAD,
 * groups, certificates with remote keys, tickets and session ids, ALPN. For whoever shakes hands
 * with clients: an edge's worker, a key server's handshaker. Made when something changes, never for
 * a connection.
 */
#ifndef FK_TLS_SERVER_CTX_H
#define FK_TLS_SERVER_CTX_H

#include "tls/cert.h"
#include "tls/clientca.h"
#include "tls/keyback.h"
#include "tls/sescache.h"
#include "tls/sesstore.h"
#include "tls/ticketdesk.h"
#include "tls/tickets.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* Key exchanges of TLS 1.2. */
#define FK_SERVER_ECDHE 1U
#define FK_SERVER_DHE   2U
#define FK_SERVER_RSA   4U

/* Whether clients are asked for a certificate. */
enum fk_server_client {
    FK_CLIENT_NOT_ASKED,
    FK_CLIENT_OPTIONAL, /* one that shows none is served, too */
    FK_CLIENT_REQUIRED,
};

/* All borrowed. The objects behind `back`, `tickets`, `desk`, `cache`, `store` and `clientca` must
 * outlive the context. */
struct fk_server_conf {
    OSSL_LIB_CTX *libctx; /* with the remote-key provider loaded */
    bool opaque;          /* tls/opaque.h: with that provider loaded, too; TLS 1.2 only, */
    bool sealed;          /* unless of sessions the key server has the secret: fk_opaque_resume() */
    bool tls12, tls13;
    unsigned exchanges;   /* FK_SERVER_*, with TLS 1.2 */
    const char *groups;   /* OpenSSL's list; "" or NULL: its default */
    const uint8_t *alpn;  /* names<u8>, most wanted first */
    size_t alpn_len;      /* 0: the extension is ignored */
    const uint8_t *id;    /* SHA-256 of what a session belongs to: it is resumed there only */
    uint64_t lifetime_us; /* of a session */
    unsigned n_tickets;   /* TLS 1.3 tickets after a full handshake; 0: no tickets, 1.2 neither */
    bool promises;        /* TLS 1.2 tickets, where others judge clients: others make them, too */
    bool ids;             /* TLS 1.2 session ids, in `cache` and `store` */
    bool read_ahead;      /* never where the session's keys are handed over */
    struct fk_ticket_site *tickets;
    struct fk_ticketdesk *desk;  /* has the keys of tickets; NULL: `tickets` has */
    struct fk_sescache *cache;   /* NULL: none */
    struct fk_sesstore *store;   /* NULL: none; asked when the cache does not have it */
    const struct fk_cert *certs; /* one for each type of key */
    size_t n_certs;
    /* It has no certificate: where a session is not resumed the handshake stops before a byte is
     * sent, with SSL_ERROR_WANT_X509_LOOKUP, for others to make it. */
    bool only_resumes;
    struct fk_keyback *back;
    enum fk_server_client client;
    const STACK_OF(X509_NAME) * client_names; /* the CAs that clients are told of */
    /*
     * Who judges what clients show, at each handshake, resumed ones included. NULL: whoever gets
     * the session does, before anything else; then nothing is resumed, as only the certificate
     * itself is in a session, and not what came with it.
     */
    const struct fk_clientca *clientca;
};

/* FK_ERR_CRYPTO with the reason on OpenSSL's queue, FK_ERR_NOMEM, FK_ERR_UNSUPPORTED,
 * FK_ERR_INVAL. */
int fk_server_ctx_new(const struct fk_server_conf *conf, SSL_CTX **ret);

/* The NamedGroup of a name as OpenSSL's lists of groups have it ("P-256", "x25519"), in any case;
 * 0: not one that is served. And a name for a number; NULL. */
uint16_t fk_server_group_id(const char *name);
const char *fk_server_group_name(uint16_t id);

#endif
