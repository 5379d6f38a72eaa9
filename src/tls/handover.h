/*
 * Taking a session's keys out of OpenSSL: a handshake made by an SSL object, records by whoever
 * gets the keys (tls/record.h).
 *
 * TLS 1.3 gives its traffic secrets to the keylog callback only, as it derives them, and counts
 * records where nobody can look; so a handshake that may be handed over is watched from its start.
 */
#ifndef FK_TLS_HANDOVER_H
#define FK_TLS_HANDOVER_H

#include "base/reader.h"
#include "tls/session_keys.h"

#include <openssl/ssl.h>

/* What is seen of one handshake; zero at first. Holds secrets: its owner wipes it. */
struct fk_handover {
    uint8_t client_secret[FK_SUITE_HASH_MAX], server_secret[FK_SUITE_HASH_MAX];
    size_t client_len, server_len; /* bytes of these, 0: not seen */
    uint64_t sent;                 /* records written under the server's secret */
    struct fk_reader key_block;    /* TLS 1.2: made by others; empty: of the master secret */
    /* Gets each handshake message, of either side; NULL: nobody does. */
    void (*message)(void *arg, const void *bytes, size_t len);
    void *message_arg;
};

/*
 * Watch a server's handshake that has not begun. `seen` must stay until the handshake is done, or
 * the SSL object freed. Takes the session's message callback and, for moments, the key log of its
 * SSL_CTX: all sessions of that are one thread's. FK_ERR_NOMEM.
 */
int fk_handover_watch(SSL *ssl, struct fk_handover *seen);

/* Watch it no longer: `seen` may go, the session stays OpenSSL's. */
void fk_handover_forget(SSL *ssl);

/*
 * The keys as they are now that the handshake is done; the SSL object must write and read no more.
 * FK_ERR_UNSUPPORTED: these records are for OpenSSL only: the suite is no AEAD of tls/suite.h, or
 * bytes that it has read cannot be got back. FK_ERR_INTERNAL: not watched, or not done.
 * FK_ERR_CRYPTO.
 */
int fk_handover_take(SSL *ssl, const struct fk_handover *seen, struct fk_session_keys *ret);

#endif
