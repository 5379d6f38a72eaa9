/*
 * Remote keys: EVP_PKEYs that hold only the public half; the private operations are carried out by
 * a struct fk_keyback. An in-process OpenSSL provider ("farkey") makes libssl use them as if the
 * private key were here, asynchronously: under SSL_MODE_ASYNC the handshake pauses
 * (SSL_ERROR_WANT_ASYNC) until the back-end has answered.
 *
 * Never holds, imports or exports a private key.
 */
#ifndef FK_TLS_RKEY_H
#define FK_TLS_RKEY_H

#include "base/limits.h"
#include "tls/keyback.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* Load `default`, then our provider, into a library context. Idempotent. FK_ERR_CRYPTO. */
int fk_rkey_provider_load(OSSL_LIB_CTX *libctx);

/*
 * A remote key for a public key (RSA, EC, Ed25519), for SSL_CTX_use_PrivateKey(). `back` must
 * outlive every operation of it. The caller owns *ret. FK_ERR_UNSUPPORTED, FK_ERR_CRYPTO.
 */
int fk_rkey_new(OSSL_LIB_CTX *libctx, EVP_PKEY *public_key, struct fk_keyback *back,
                EVP_PKEY **ret);

/* SHA-1 of the public-key bits (the subjectPublicKey BIT STRING's contents, RFC 5280 4.2.1.2). */
int fk_ski_of_key(EVP_PKEY *key, uint8_t ret[20]);

/*
 * One connection's handshake. Before each SSL_do_handshake() the owner enters it, afterwards leaves
 * it; an operation started in between belongs to it. When the operation is done, `wake` is called
 * (from the event loop, once) and the owner calls SSL_do_handshake() again.
 */
struct fk_rkey_session {
    struct fk_key_context context;
    /* As in struct fk_key_request, for each operation; borrowed. share_len 0: none. */
    const uint8_t *share, *share_digest;
    size_t share_len;
    void (*wake)(struct fk_rkey_session *session);
    struct fk_opaque *opaque; /* its secrets are kept elsewhere: tls/opaque.h. NULL: here */
    /* Owned by the provider: */
    struct fk_keyback *back;
    struct fk_key_ticket *ticket; /* under way */
    bool waiting;
    bool done;
    int err;             /* why the last operation failed, FK_OK if none did */
    unsigned operations; /* asked for so far: round trips */
    uint64_t started_us;
    uint64_t waited_us; /* time spent waiting for the back-end */
    size_t len;
    uint8_t data[FK_RKEY_ANSWER_MAX]; /* the result, wiped */
};

void fk_rkey_enter(struct fk_rkey_session *session);
void fk_rkey_leave(void);

/*
 * Give up on an operation under way: it is cancelled and counted as failed with `err`; the next
 * SSL_do_handshake() then ends the paused job with a failure. Required before SSL_free() of a
 * connection that is paused (SSL_waiting_for_async()), also when the answer has come but the
 * handshake has not gone on yet: else the job leaks. Without effect when nothing is under way.
 */
void fk_rkey_abort(struct fk_rkey_session *session, int err);

#endif
