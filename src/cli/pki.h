/*
 * Making keys, certificates, requests and revocation lists, for `farkey ca`, `key`, `init` and
 * `demo`. Touches no file (see pem.h). Objects returned are the caller's.
 */
#ifndef FK_CLI_PKI_H
#define FK_CLI_PKI_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum fk_pki_key {
    FK_PKI_RSA2048,
    FK_PKI_RSA3072,
    FK_PKI_RSA4096,
    FK_PKI_P256,
    FK_PKI_P384,
    FK_PKI_P521,
    FK_PKI_ED25519,
};

/* Names of the types in the order of the enum, ending with NULL: for option tables. */
extern const char *const fk_pki_key_names[];

/* A key of that type. FK_ERR_CRYPTO. */
int fk_pki_key_new(enum fk_pki_key type, EVP_PKEY **ret);

/* The type of a key, "rsa2048", or its OpenSSL name when it is none of ours. */
void fk_pki_key_text(const EVP_PKEY *key, char *dst, size_t size);

/* Whom a certificate or request is for: a common name and subjectAltNames. */
struct fk_pki_subject {
    const char *common_name;
    const char *organization; /* NULL: none */
    const char *uri;          /* "farkey:edge:edge1", NULL: none */
    const char *const *dns;   /* DNS names */
    size_t n_dns;
};

/* A self-signed CA that may issue leaves only (RFC 5280 sections 4.2.1.3, 4.2.1.9). FK_ERR_CRYPTO.
 */
int fk_pki_ca_new(EVP_PKEY *key, const char *common_name, unsigned days, X509 **ret);

/*
 * A leaf for `public_key`, for both ends of TLS, valid for `days` but not longer than its CA.
 * Serial: 127 random bits. FK_ERR_CRYPTO; FK_ERR_EXPIRED when the CA is.
 */
int fk_pki_leaf_new(const struct fk_pki_subject *subject, EVP_PKEY *public_key, unsigned days,
                    X509 *ca, EVP_PKEY *ca_key, X509 **ret);

/* A PKCS#10 request, signed by `key`. FK_ERR_CRYPTO. */
int fk_pki_request_new(const struct fk_pki_subject *subject, EVP_PKEY *key, X509_REQ **ret);

/* The public key of a request whose signature is right. FK_ERR_VERIFY, FK_ERR_CRYPTO. */
int fk_pki_request_key(X509_REQ *request, EVP_PKEY **ret);

struct fk_pki_revoked {
    const char *serial; /* upper-case hexadecimal */
    time_t when;
};

/* What a revocation list says. */
struct fk_pki_crl {
    const struct fk_pki_revoked *revoked;
    size_t n_revoked;
    const X509_CRL *previous; /* NULL: none */
    unsigned days;            /* until the next one at the latest */
};

/*
 * A revocation list. Its number (RFC 5280 section 5.2.3) is the present time, or one more than the
 * previous one's when that is later. FK_ERR_CRYPTO, FK_ERR_FORMAT.
 */
int fk_pki_crl_new(const struct fk_pki_crl *contents, X509 *ca, EVP_PKEY *ca_key, X509_CRL **ret);

/* The serial as hexadecimal without leading zeros; the caller frees it with OPENSSL_free(). */
char *fk_pki_serial(const X509 *cert);

/* End of validity in seconds since 1970. */
time_t fk_pki_not_after(const X509 *cert);

#endif
