/*
 * Secrets of handshakes that stay at a key server: the ephemeral private value (mode `agree`), the
 * premaster secret (`master`), the master secret (`keys`; in TLS 1.3 the handshake secret). An
 * OpenSSL provider
 * ("farkey-opaque") in a library context of its own makes libssl use tokens in their place: random
 * bytes that mean something in one handshake only. What they stand for is asked for as late as can
 * be, by operations of farkey/1 (wire/keyop_agree.h, wire/keyop_secret.h), each of which pauses the
 * handshake as an operation with a remote key does (tls/rkey.h).
 *
 * Never computes with a secret that it has a token for.
 */
#ifndef FK_TLS_OPAQUE_H
#define FK_TLS_OPAQUE_H

#include "tls/keyback.h"

#include <openssl/ssl.h>
#include <stdbool.h>

enum fk_opaque_mode {
    FK_OPAQUE_NONE,   /* all secrets are made here */
    FK_OPAQUE_AGREE,  /* the ephemeral key is the key server's; the premaster secret comes here */
    FK_OPAQUE_HANDED, /* it makes the ephemeral key, and hands the private value over at once */
    FK_OPAQUE_MASTER, /* the master secret comes here, what it is made from does not */
    FK_OPAQUE_KEYS,   /* the session's keys come here, and nothing that they are made from */
    FK_OPAQUE_EXPOSE, /* ... but the master secret comes with them, for Finished and resumption */
};

/* The property query of an SSL_CTX whose secrets are kept elsewhere: TLS 1.2; with FK_OPAQUE_KEYS
 * TLS 1.3 as well. */
#define FK_OPAQUE_QUERY "?farkey.opaque=yes"

/*
 * Load `default`, the provider of remote keys and ours into a library context that nobody uses for
 * anything else, and check that what that query finds is ours: it finds others when it finds none.
 * Its random generator is ours, too (tls/fresh.h): nothing may have been drawn there before.
 * Idempotent. FK_ERR_CRYPTO.
 */
int fk_opaque_provider_load(OSSL_LIB_CTX *libctx);

/* Parameters of one of our DHE keys, for SSL_CTX_set0_tmp_dh_pkey(): ffdhe2048, 3072 or 4096 by its
 * NamedGroup. The caller owns *ret. FK_ERR_UNSUPPORTED, FK_ERR_CRYPTO. */
int fk_opaque_dh_params(OSSL_LIB_CTX *libctx, uint16_t group, EVP_PKEY **ret);

/* Whether ephemeral keys of a NamedGroup are made by key servers. */
bool fk_opaque_serves_group(uint16_t group);

/*
 * One handshake. To be put into its struct fk_rkey_session before the handshake begins, and freed
 * after it, or after SSL_free(). `ssl` and `back` are borrowed. FK_ERR_NOMEM; FK_ERR_CRYPTO: no
 * random bytes.
 */
struct fk_opaque;

int fk_opaque_new(enum fk_opaque_mode mode, SSL *ssl, struct fk_keyback *back,
                  struct fk_opaque **ret);
/* Wipes. NULL is fine. */
void fk_opaque_free(struct fk_opaque *opaque);

/*
 * Mode keys: the handshake's session is to be resumed. The key server seals it, for this edge alone
 * or for all that may have tickets, as long as the SSL_CTX says that sessions last; what it has
 * sealed is libssl's session's, wherever that is kept.
 */
void fk_opaque_keep(struct fk_opaque *opaque, bool shared);

/*
 * From one of libssl's callbacks, before it takes up a session that a client has brought: have the
 * key server make the keys with which it goes on. `context`: 32 bytes, the SSL_CTX's session id
 * context. On failure the handshake is to be a full one. FK_ERR_NOT_FOUND: the session has nothing
 * that was sealed; FK_ERR_* of fk_rkey_await() and of the key server.
 */
int fk_opaque_resume(SSL_SESSION *session, const uint8_t context[32]);

/*
 * The key block (RFC 5246 section 6.3) that the key server has made, for the record engine:
 * borrowed until the handshake's fk_opaque_free(). Empty in other modes, and of an exposed session
 * that is resumed.
 */
struct fk_reader fk_opaque_key_block(const struct fk_opaque *opaque);

/*
 * Mode keys: note the messages of a handshake that has not begun and that `seen` watches
 * (tls/handover.h), until the client's Finished is due (TLS 1.2), or the server's flight is signed
 * (TLS 1.3). `alone`: then nobody watches any more.
 */
struct fk_handover;
void fk_opaque_watch(struct fk_opaque *opaque, struct fk_handover *seen, bool alone);

#endif
