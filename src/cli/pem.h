/*
 * PEM files of keys, certificates, requests and revocation lists: read whole, written atomically
 * (files.h), private keys with permissions 0600. Objects returned are the caller's.
 */
#ifndef FK_CLI_PEM_H
#define FK_CLI_PEM_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* FK_ERR_SYS (errno), FK_ERR_FORMAT when the file holds none, FK_ERR_LIMIT. */
int fk_pem_read_key(const char *path, EVP_PKEY **ret);
int fk_pem_read_cert(const char *path, X509 **ret); /* the first one */
int fk_pem_read_request(const char *path, X509_REQ **ret);
int fk_pem_read_crl(const char *path, X509_CRL **ret);

/* A private key as PKCS#8, 0600; a new file unless `replace`: FK_ERR_DUPLICATE. */
int fk_pem_write_key(const char *path, EVP_PKEY *key, bool replace);
int fk_pem_write_cert(const char *path, X509 *cert);
int fk_pem_write_request(const char *path, X509_REQ *request);
int fk_pem_write_public(const char *path, EVP_PKEY *key);
int fk_pem_write_crl(const char *path, X509_CRL *crl);

#endif
