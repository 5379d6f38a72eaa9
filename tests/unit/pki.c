/* Keys, certificates and revocation lists for tests: see pki.h. Aborts when OpenSSL fails. */
#include "pki.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 4

static const char *const types[] = {"RSA", "P-256", "P-384", "P-521", "ED25519"};
#define TYPES (sizeof types / sizeof types[0])

static EVP_PKEY *keys[TYPES][SLOTS];

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "pki: %s failed\n", what);
        abort();
    }
}

__attribute__((destructor)) static void free_keys(void)
{
    for (size_t i = 0; i < TYPES * SLOTS; i++)
        EVP_PKEY_free(keys[i / SLOTS][i % SLOTS]);
}

static EVP_PKEY *generate(const char *type)
{
    if (strcmp(type, "RSA") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    if (strcmp(type, "ED25519") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", type);
}

EVP_PKEY *pki_key_slot(const char *type, unsigned slot)
{
    for (size_t i = 0; i < TYPES; i++) {
        if (strcmp(types[i], type) != 0)
            continue;
        if (keys[i][slot] == NULL)
            keys[i][slot] = generate(type);
        need(keys[i][slot] != NULL, "key generation");
        return keys[i][slot];
    }
    need(false, type);
    return NULL;
}

EVP_PKEY *pki_key(const char *type)
{
    return pki_key_slot(type, 0);
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    need(ext != NULL && X509_add_ext(cert, ext, -1), value);
    X509_EXTENSION_free(ext);
}

static const EVP_MD *digest_for(EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
}

X509 *pki_issue(const struct pki_cert *spec)
{
    bool set = spec->not_before != 0 || spec->not_after != 0;
    X509 *cert = X509_new();
    X509 *issuer = spec->issuer != NULL ? spec->issuer : cert;
    EVP_PKEY *issuer_key = spec->issuer_key != NULL ? spec->issuer_key : spec->key;
    X509_NAME *name;

    need(cert != NULL && X509_set_version(cert, X509_VERSION_3), "certificate");
    ASN1_INTEGER_set(X509_get_serialNumber(cert), spec->serial != 0 ? spec->serial : 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), set ? spec->not_before : -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), set ? spec->not_after : 86400);
    name = X509_get_subject_name(cert);
    need(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)spec->subject,
                                    -1, -1, 0),
         "name");
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    X509_set_pubkey(cert, spec->key);
    add_extension(cert, issuer, NID_basic_constraints,
                  spec->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(cert, issuer, NID_key_usage,
                  spec->ca                          ? "critical,keyCertSign,cRLSign"
                  : EVP_PKEY_is_a(spec->key, "RSA") ? "critical,digitalSignature,keyEncipherment"
                                                    : "critical,digitalSignature");
    add_extension(cert, issuer, NID_subject_key_identifier, "hash");
    if (spec->issuer != NULL)
        add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always");
    if (spec->eku != NULL)
        add_extension(cert, issuer, NID_ext_key_usage, spec->eku);
    if (spec->san != NULL)
        add_extension(cert, issuer, NID_subject_alt_name, spec->san);
    need(X509_sign(cert, issuer_key, digest_for(issuer_key)) > 0, "signature");
    return cert;
}

static void revoke(X509_CRL *crl, long serial)
{
    X509_REVOKED *revoked = X509_REVOKED_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_TIME *when = X509_gmtime_adj(NULL, -60);

    need(revoked != NULL && number != NULL && when != NULL, "revocation");
    ASN1_INTEGER_set(number, serial);
    X509_REVOKED_set_serialNumber(revoked, number);
    X509_REVOKED_set_revocationDate(revoked, when);
    need(X509_CRL_add0_revoked(crl, revoked), "revocation");
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(when);
}

X509_CRL *pki_crl(X509 *issuer, EVP_PKEY *issuer_key, const long *serials, long next_update)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *last = X509_gmtime_adj(NULL, -3600);
    ASN1_TIME *next = X509_gmtime_adj(NULL, next_update);

    need(crl != NULL && last != NULL && next != NULL, "revocation list");
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer));
    X509_CRL_set1_lastUpdate(crl, last);
    X509_CRL_set1_nextUpdate(crl, next);
    ASN1_TIME_free(last);
    ASN1_TIME_free(next);
    for (; *serials != 0; serials++)
        revoke(crl, *serials);
    X509_CRL_sort(crl);
    need(X509_CRL_sign(crl, issuer_key, digest_for(issuer_key)) > 0, "signature");
    return crl;
}

/* The contents of a memory BIO as text of the caller's. */
static char *text_of(BIO *bio)
{
    char *data, *text;
    long len = BIO_get_mem_data(bio, &data);

    text = calloc(1, (size_t)len + 1);
    need(text != NULL, "allocation");
    memcpy(text, data, (size_t)len);
    BIO_free(bio);
    return text;
}

char *pki_pem_cert(X509 *const *certs, size_t n)
{
    BIO *bio = BIO_new(BIO_s_mem());

    for (size_t i = 0; i < n; i++)
        need(PEM_write_bio_X509(bio, certs[i]), "PEM");
    return text_of(bio);
}

char *pki_pem_key(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    need(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), "PEM");
    return text_of(bio);
}

char *pki_pem_crl(X509_CRL *crl)
{
    BIO *bio = BIO_new(BIO_s_mem());

    need(PEM_write_bio_X509_CRL(bio, crl), "PEM");
    return text_of(bio);
}
