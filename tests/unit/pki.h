/*
 * Keys, certificates and revocation lists for tests, made in memory.
 */
#ifndef FK_TESTS_PKI_H
#define FK_TESTS_PKI_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

/* "RSA", "P-256", "P-384", "P-521", "ED25519". Kept for the life of the process, one a `slot`. */
EVP_PKEY *pki_key(const char *type);
EVP_PKEY *pki_key_slot(const char *type, unsigned slot);

struct pki_cert {
    const char *subject;
    EVP_PKEY *key;
    X509 *issuer; /* NULL: self-signed */
    EVP_PKEY *issuer_key;
    const char *san; /* as in openssl.cnf: "DNS:a,URI:b"; NULL */
    const char *eku; /* "serverAuth,clientAuth"; NULL */
    bool ca;
    long serial;
    long not_before, not_after; /* seconds from now; both 0: from yesterday to tomorrow */
};

X509 *pki_issue(const struct pki_cert *spec);

/* A revocation list of these serial numbers (0 ends). `next_update`: seconds from now. */
X509_CRL *pki_crl(X509 *issuer, EVP_PKEY *issuer_key, const long *serials, long next_update);

/* PEM text; freed by the caller with free(). */
char *pki_pem_cert(X509 *const *certs, size_t n);
char *pki_pem_key(EVP_PKEY *key);
char *pki_pem_crl(X509_CRL *crl);

#endif
