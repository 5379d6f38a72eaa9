/*
 * TLS to origins: the edge as client. An origin is believed when its certificate is vouched for by
 * one of the site's CAs for origins, none else, and bears the name that it is known by.
 */
#ifndef FK_EDGE_ORIGINTLS_H
#define FK_EDGE_ORIGINTLS_H

#include "base/reader.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* For all origins of a site; `ca`: PEM. FK_ERR_FORMAT (no certificates), FK_ERR_DENIED (a private
 * key is among them), FK_ERR_CRYPTO, FK_ERR_NOMEM. */
int fk_origintls_new(OSSL_LIB_CTX *libctx, struct fk_reader ca, SSL_CTX **ret);

/* Whether a certificate can be asked to be of this name, or this IP address: OpenSSL takes none for
 * any, and one that begins with a dot for all below. */
bool fk_origintls_is_name(const char *name);

/* TLS over a connected socket, with an origin of this name, or this IP address. *session is what
 * the origin has given to be resumed (NULL: nothing), and where the next goes: it outlives *ret;
 * the caller's to free. One is resumed as long as the certificate that was believed then is not
 * past its time. FK_ERR_FORMAT: that is no name; FK_ERR_NOMEM. */
int fk_origintls_session(SSL_CTX *ctx, int fd, const char *name, SSL_SESSION **session, SSL **ret);

/* Go on with its handshake. FK_ERR_AGAIN: when *ret_needs (FK_IO_*) has come. FK_ERR_VERIFY: not
 * to be believed, fk_origintls_why(); FK_ERR_TLS, FK_ERR_CLOSED. */
int fk_origintls_step(SSL *ssl, unsigned *ret_needs);
/* Why the last step has failed. */
const char *fk_origintls_why(const SSL *ssl);

/* Whoever has read from it reads no more. Whether others may go on: nothing waits in it that was
 * not asked for. */
bool fk_origintls_rests(SSL *ssl);
/* The end: close_notify if there is room for it, nobody waits. NULL is fine. */
void fk_origintls_end(SSL *ssl);

#endif
