/*
 * What can be said of a client's certificate in text, for HTTP fields and logs. Every text is
 * visible ASCII and spaces: whatever a certificate holds, nothing of it ends a line, and where a
 * form has separators, nothing of it is one.
 */
#ifndef FK_TLS_CERTTEXT_H
#define FK_TLS_CERTTEXT_H

#include "base/writer.h"

#include <openssl/x509.h>

/* X(id, name, help) */
#define FK_CERTTEXT_LIST(X)                                                                 \
    X(PEM, "pem", "PEM, percent-encoded")                                                   \
    X(PEM_SPACES, "pem-spaces", "PEM with spaces for the ends of its lines")                \
    X(PEM_BODY, "pem-body",                                                                 \
      "Base64 of a PEM without its first and last line, "                                   \
      "percent-encoded; with all CAs, commas in between")                                   \
    X(PEM_CHAIN, "pem-chain", "PEM of the certificate and its CAs, percent-encoded")        \
    X(DER, "der", "DER in Base64")                                                          \
    X(DER_URL, "der-base64url", "DER in Base64 with the alphabet of URLs, without padding") \
    X(DER_LIST, "der-list", "the CAs above it but the last, a list of byte sequences")      \
    X(SUBJECT, "subject", "its subject (RFC 4514)")                                         \
    X(ISSUER, "issuer", "its issuer (RFC 4514)")                                            \
    X(CN, "cn", "its last common name, escaped as in RFC 4514")                             \
    X(SERIAL, "serial", "its serial number, hexadecimal")                                   \
    X(NOT_BEFORE, "notbefore", "when it begins, as 2026-01-31T23:59:59Z")                   \
    X(NOT_AFTER, "notafter", "when it ends")                                                \
    X(NOT_BEFORE_UNIX, "notbefore-unix", "the same in seconds since 1970")                  \
    X(NOT_AFTER_UNIX, "notafter-unix", "the same in seconds since 1970")                    \
    X(FINGERPRINT, "fingerprint", "SHA-256 of its DER, hexadecimal")                        \
    X(FINGERPRINT_SHA1, "fingerprint-sha1", "SHA-1 of its DER, hexadecimal")                \
    X(SAN, "san", "alternative names, as DNS:a,URI:b,email:c,IP:d, percent-encoded")        \
    X(SAN_VALUES, "san-values", "the same without their kinds")                             \
    X(XFCC_NAMES, "xfcc-names", "the same as ;URI=b;DNS=a")                                 \
    X(SPKI, "spki", "its public key (SubjectPublicKeyInfo) in Base64")                      \
    X(SIGNATURE, "signature", "its CA's signature in Base64")                               \
    X(VERIFY, "verify", "SUCCESS: others are not relayed")

enum fk_certtext {
#define FK_CERTTEXT_ENUM(id, name, help) FK_CERTTEXT_##id,
    FK_CERTTEXT_LIST(FK_CERTTEXT_ENUM)
#undef FK_CERTTEXT_ENUM
        FK_CERTTEXT_COUNT
};

/* A certificate that was shown and is good, with the CAs by which it is. Borrowed. */
struct fk_certtext_of {
    X509 *leaf;
    STACK_OF(X509) * above; /* its issuer first, the trust anchor last; NULL: not known */
};

/* By name. FK_ERR_NOT_FOUND. */
int fk_certtext_find(const char *name, size_t len, enum fk_certtext *ret);

/* Append one text. FK_ERR_LIMIT sticks in the writer; FK_ERR_NOMEM, FK_ERR_CRYPTO are returned. */
int fk_certtext_write(const struct fk_certtext_of *of, enum fk_certtext what,
                      struct fk_writer *out);

/* Append a text with everything but unreserved characters percent-encoded (RFC 3986). */
void fk_certtext_percent(const void *text, size_t len, struct fk_writer *out);

/* Write a name as users have it (RFC 4514) in the form of the texts above: `\,` as `\2C`. */
void fk_certtext_escape(const char *text, size_t len, struct fk_writer *out);

#endif
