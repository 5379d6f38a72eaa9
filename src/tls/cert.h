/*
 * Certificate chains of sites: from a PEM file, or from a key server's INFO. Public things only: a
 * PEM file with a private key in it is refused, so that none ever gets into this process.
 */
#ifndef FK_TLS_CERT_H
#define FK_TLS_CERT_H

#include "base/reader.h"

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

struct fk_cert {
    X509 *leaf;
    STACK_OF(X509) * chain; /* intermediates, may be empty */
    uint8_t ski[20];        /* of the leaf's key: names the private key */
    int type;               /* EVP_PKEY_RSA, EVP_PKEY_EC, EVP_PKEY_ED25519 */
};

/*
 * A PEM chain, leaf first. FK_ERR_DENIED: it holds a private key. FK_ERR_FORMAT: not a chain.
 * FK_ERR_LIMIT: too many certificates. FK_ERR_UNSUPPORTED: the type of the leaf's key.
 */
int fk_cert_from_pem(OSSL_LIB_CTX *libctx, const void *pem, size_t len, struct fk_cert *ret);

/* A chain of certificates<u16> in DER, leaf first (wire/keyop.h). Errors as above. */
int fk_cert_from_der(OSSL_LIB_CTX *libctx, struct fk_reader chain, struct fk_cert *ret);

/* When the leaf ends, seconds since 1970. */
int64_t fk_cert_not_after(const struct fk_cert *cert);

void fk_cert_fini(struct fk_cert *cert);

#endif
