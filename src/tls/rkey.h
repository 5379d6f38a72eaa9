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
struct fk_rkey_wait;

struct fk_rkey_session {
    struct fk_key_context context;
    /* As in struct fk_key_request, for each operation; borrowed. share_len 0: none. */
    const uint8_t *share, *share_digest;
    size_t share_len;
    void (*wake)(struct fk_rkey_session *session);
    struct fk_opaque *opaque; /* its secrets are kept elsewhere: tls/opaque.h. NULL: here */
    /* Owned by the provider: */
    struct fk_rkey_wait *wait; /* under way, with its `call` */
    void *call;
    bool waiting;
    bool done;
    int err;             /* why the last operation failed, FK_OK if none did */
    int over;            /* given up: nothing more is waited for; FK_OK: not */
    unsigned operations; /* private-key operations asked for so far */
    unsigned awaits;     /* and fk_rkey_await()s */
    uint64_t waited_us;  /* time spent waiting for these */
    size_t len;
    uint8_t data[FK_RKEY_ANSWER_MAX]; /* the result, wiped */
};

void fk_rkey_enter(struct fk_rkey_session *session);
void fk_rkey_leave(void);

/*
 * What a handshake waits for from within one of libssl's callbacks, a private key or something
 * else. Embedded in its owner; lives until fk_rkey_await() returns.
 */
struct fk_rkey_wait {
    /* As of struct fk_keyback_ops: `done` is called from the loop, or the call is cancelled. */
    int (*submit)(struct fk_rkey_wait *wait, fk_key_done_cb *done, void *arg, void **ret);
    void (*cancel)(struct fk_rkey_wait *wait, void *call);
};

/*
 * Submit it and pause the handshake's job until the answer is here; the answer (at most `size`
 * bytes) is moved to `out`. Nothing is said on OpenSSL's queue and nothing is kept of a failure:
 * the handshake may go on without. FK_ERR_INVAL outside of a handshake's job, FK_ERR_LIMIT (a
 * longer answer, or FK_HANDSHAKE_AWAITS_MAX waits of this handshake), and the errors of submit()
 * and of the answer.
 */
int fk_rkey_await(struct fk_rkey_wait *wait, uint8_t *out, size_t size, size_t *ret_len);

/* The connection of the handshake that runs now; NULL: none does. */
const struct fk_key_context *fk_rkey_context(void);

/*
 * Give up on an operation under way: it is cancelled and counted as failed with `err`, as is all
 * that the handshake asks for after that; the next SSL_do_handshake() then ends the paused job.
 * Required before SSL_free() of a connection that is paused (SSL_waiting_for_async()), also when
 * the answer has come but the handshake has not gone on yet: else the job leaks. Without effect
 * when nothing is under way.
 */
void fk_rkey_abort(struct fk_rkey_session *session, int err);

#endif
