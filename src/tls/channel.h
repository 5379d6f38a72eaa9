/*
 * The channel's TLS: mutual authentication under a private CA, roles as URI SANs.
 *
 * Makes SSL_CTXs for both ends and checks who is there; moves bytes over a non-blocking socket.
 * Knows nothing of the messages.
 */
#ifndef FK_TLS_CHANNEL_H
#define FK_TLS_CHANNEL_H

#include "base/buf.h"
#include "loop/loop.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* Roles as in a URI SAN "farkey:ROLE:NAME". */
enum fk_channel_role { FK_CHANNEL_EDGE, FK_CHANNEL_KEYSERVER };

#define FK_CHANNEL_ALPN "farkey/1"

/* PEM texts, borrowed during fk_channel_ctx_new() only. */
struct fk_channel_identity {
    const uint8_t *certificate; /* chain, leaf first */
    size_t certificate_len;
    const uint8_t *key;
    size_t key_len;
    const uint8_t *ca; /* one or more trust anchors: the only ones */
    size_t ca_len;
    const uint8_t *crl; /* NULL: no revocation list */
    size_t crl_len;
    const uint8_t *request_key; /* an edge's: Ed25519, signs its requests; NULL: none */
    size_t request_key_len;
};

/*
 * A context for one end. TLS 1.3 only, or also 1.2 (`allow_tls12`, for dialect 1); AEAD and forward
 * secrecy only; peer certificate required; no tickets, no system trust store. `server`: this end
 * accepts the TLS handshake; it takes ALPN "farkey/1" or none (the owner asks which) and refuses
 * others; the other end offers "farkey/1". With a revocation list, every certificate of a peer's
 * chain needs a list in force. FK_ERR_CRYPTO, FK_ERR_FORMAT, FK_ERR_MISMATCH, FK_ERR_EXPIRED,
 * FK_ERR_NOMEM.
 */
int fk_channel_ctx_new(const struct fk_channel_identity *identity, bool server, bool allow_tls12,
                       SSL_CTX **ret);

enum fk_channel_part {
    FK_CHANNEL_CERTIFICATE,
    FK_CHANNEL_KEY,
    FK_CHANNEL_CA,
    FK_CHANNEL_CRL,
    FK_CHANNEL_REQUEST_KEY,
    FK_CHANNEL_PARTS
};

/*
 * Try each part of an identity by itself, as fk_channel_ctx_new() would use it: its error, FK_OK
 * also for a part that is not there (NULL). FK_ERR_NOMEM.
 */
int fk_channel_identity_try(const struct fk_channel_identity *identity,
                            int ret_faults[FK_CHANNEL_PARTS]);

/*
 * The verified peer's name for a role: copies NAME of the one URI SAN "farkey:ROLE:NAME".
 * FK_ERR_DENIED when the certificate has none, several, another role's, or a NAME of other than
 * letters, digits, '.', '-', '_'. FK_ERR_LIMIT when `size` is too small.
 */
int fk_channel_peer_name(const SSL *ssl, enum fk_channel_role role, char *ret, size_t size);

/* The same of a certificate of one's own. */
int fk_channel_cert_name(X509 *cert, enum fk_channel_role role, char *ret, size_t size);

/*
 * A certificate's URI SAN is the peer's identity as a whole ("farkey:edge:edge1"). Errors as above.
 */
int fk_channel_peer_identity(const SSL *ssl, char *ret, size_t size);

/*
 * The peer's certificate judged again, as a handshake under `ctx` (of the same end) would judge it
 * now: chain, time, revocation; a list whose nextUpdate has passed counts against it, too.
 * FK_ERR_VERIFY or FK_ERR_NOMEM, with a static text in *ret_why.
 */
int fk_channel_peer_judge(const SSL *ssl, SSL_CTX *ctx, const char **ret_why);

/* In how long to do so next: FK_CHANNEL_JUDGE_US, less when the certificate ends before. */
uint64_t fk_channel_peer_judge_us(const SSL *ssl);

/*
 * Bytes over TLS over a socket, in a loop. Incoming bytes are appended to `in` and the owner is
 * told; outgoing bytes are queued in `out` by the owner, who calls fk_channel_io_flush() once for
 * as many frames as it likes: they leave as few records in few system calls.
 */
struct fk_channel_io;

enum fk_channel_event {
    FK_CHANNEL_OPEN,    /* handshake done, peer verified by the CA (not yet by role) */
    FK_CHANNEL_READ,    /* bytes were added to `in` */
    FK_CHANNEL_DRAINED, /* `out` ran empty */
    FK_CHANNEL_CLOSED,  /* the end; `err` tells why. The owner still has to free it. */
};

/*
 * `err` of FK_CHANNEL_CLOSED, FK_OK with all others: FK_OK closed in order (close_notify),
 * FK_ERR_CLOSED cut off without it, FK_ERR_SYS the socket failed, FK_ERR_VERIFY the peer's
 * certificate was refused, FK_ERR_LIMIT the peer sent too much that is no data (tls/chatter.h),
 * FK_ERR_NOMEM, FK_ERR_TLS anything else. The owner may free the channel in any event.
 */

typedef void fk_channel_cb(void *owner, enum fk_channel_event event, int err);

/* What a channel is made of. */
struct fk_channel_setup {
    SSL_CTX *ctx; /* referenced */
    int fd;       /* a connected socket; taken, also when making the channel fails */
    bool accept;  /* this end is the TLS server */
    fk_channel_cb *cb;
    void *owner;
};

/* FK_ERR_NOMEM, FK_ERR_CRYPTO. */
int fk_channel_io_new(struct fk_loop *loop, const struct fk_channel_setup *setup,
                      struct fk_channel_io **ret);

/* Whether the peer's hello has come: the whole ClientHello or ServerHello. */
bool fk_channel_io_greeted(const struct fk_channel_io *io);

/* Whether no byte of the peer's has come yet. */
bool fk_channel_io_silent(const struct fk_channel_io *io);

/* Another owner from now on: its callback is told of all that follows. May be called within an
 * event. */
void fk_channel_io_give(struct fk_channel_io *io, fk_channel_cb *cb, void *owner);

/* Close and free at once; no event follows. Sends close_notify when it can. */
void fk_channel_io_free(struct fk_channel_io *io);

SSL *fk_channel_io_ssl(const struct fk_channel_io *io);
struct fk_buf *fk_channel_io_in(struct fk_channel_io *io);
struct fk_buf *fk_channel_io_out(struct fk_channel_io *io);

/* Write what is queued before the loop waits next (deferred, batched). */
void fk_channel_io_flush(struct fk_channel_io *io);

/*
 * Stop or go on reading: back-pressure by the owner. Reading also stops while `in` is full; an
 * owner that leaves complete messages in it pauses, and goes on when it has room for them (bytes
 * that are in `in` already are not announced again).
 */
void fk_channel_io_pause(struct fk_channel_io *io, bool paused);

/* The request key of the identity that this end's context was made of: borrowed, NULL: none. */
EVP_PKEY *fk_channel_request_key(const SSL *ssl);

/* 32 bytes that both ends of an open channel know, and of no other: RFC 8446 section 7.5.
 * FK_ERR_CRYPTO. */
int fk_channel_exporter(SSL *ssl, const char *label, uint8_t ret[32]);

/* Text of the last TLS failure, for the owner's log line. */
const char *fk_channel_io_reason(const struct fk_channel_io *io);

#endif
