/* Certificates, requests and revocation lists by OpenSSL. See pki.h. */
#include "cli/pki.h"

#include "base/err.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Clocks of two hosts may differ by this much. */
#define BACKDATE_S 300

/* RFC 5280 section 4.1.2.2: at most 20 octets, positive; 127 bits of chance cannot collide. */
#define SERIAL_BITS 127

/* Longest common name (RFC 5280 appendix A.1, ub-common-name). */
#define COMMON_NAME_MAX 64

const char *const fk_pki_key_names[] = {"rsa2048", "rsa3072", "rsa4096", "p256",
                                        "p384",    "p521",    "ed25519", NULL};

struct key_row {
    const char *algorithm;
    const char *group; /* EC */
    size_t bits;       /* RSA */
};

static const struct key_row key_rows[] = {
    [FK_PKI_RSA2048] = {"RSA", NULL, 2048},    [FK_PKI_RSA3072] = {"RSA", NULL, 3072},
    [FK_PKI_RSA4096] = {"RSA", NULL, 4096},    [FK_PKI_P256] = {"EC", "P-256", 256},
    [FK_PKI_P384] = {"EC", "P-384", 384},      [FK_PKI_P521] = {"EC", "P-521", 521},
    [FK_PKI_ED25519] = {"ED25519", NULL, 256},
};

int fk_pki_key_new(enum fk_pki_key type, EVP_PKEY **ret)
{
    const struct key_row *row = &key_rows[type];
    EVP_PKEY *key;

    if (row->group != NULL)
        key = EVP_PKEY_Q_keygen(NULL, NULL, row->algorithm, row->group);
    else if (type == FK_PKI_ED25519)
        key = EVP_PKEY_Q_keygen(NULL, NULL, row->algorithm);
    else
        key = EVP_PKEY_Q_keygen(NULL, NULL, row->algorithm, row->bits);
    if (key == NULL)
        return FK_ERR_CRYPTO;
    *ret = key;
    return FK_OK;
}

void fk_pki_key_text(const EVP_PKEY *key, char *dst, size_t size)
{
    for (size_t i = 0; i < sizeof key_rows / sizeof key_rows[0]; i++) {
        if (EVP_PKEY_is_a(key, key_rows[i].algorithm) &&
            (i == FK_PKI_ED25519 || (size_t)EVP_PKEY_get_bits(key) == key_rows[i].bits)) {
            snprintf(dst, size, "%s", fk_pki_key_names[i]);
            return;
        }
    }
    snprintf(dst, size, "%s %d", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key));
}

/* Ed25519 hashes by itself; all others sign SHA-256. */
static const EVP_MD *digest_for(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
}

static int set_name(X509_NAME *name, const char *common_name, const char *organization)
{
    if (strlen(common_name) > COMMON_NAME_MAX)
        return FK_ERR_LIMIT;
    if (organization != NULL &&
        X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
                                   (const unsigned char *)organization, -1, -1, 0) != 1)
        return FK_ERR_CRYPTO;
    return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                      (const unsigned char *)common_name, -1, -1, 0) == 1
               ? FK_OK
               : FK_ERR_CRYPTO;
}

static int set_serial(X509 *cert)
{
    BIGNUM *serial = BN_new();
    int err = FK_ERR_CRYPTO;

    if (serial != NULL && BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
        BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL)
        err = FK_OK;
    BN_free(serial);
    return err;
}

static int set_validity(X509 *cert, unsigned days, const X509 *ca)
{
    int day = 0, second = 0;

    if (X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATE_S) == NULL ||
        X509_time_adj_ex(X509_getm_notAfter(cert), (int)days, 0, NULL) == NULL)
        return FK_ERR_CRYPTO;
    if (ca == NULL)
        return FK_OK;
    if (X509_cmp_current_time(X509_get0_notAfter(ca)) <= 0)
        return FK_ERR_EXPIRED;
    if (ASN1_TIME_diff(&day, &second, X509_get0_notAfter(cert), X509_get0_notAfter(ca)) != 1)
        return FK_ERR_CRYPTO;
    if ((day < 0 || second < 0) && X509_set1_notAfter(cert, X509_get0_notAfter(ca)) != 1)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

struct ext_row {
    int nid;
    const char *value;
};

static int add_extensions(X509 *cert, X509 *issuer, const struct ext_row *rows, size_t n)
{
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    for (size_t i = 0; i < n; i++) {
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, rows[i].nid, rows[i].value);
        int ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;

        X509_EXTENSION_free(ext);
        if (!ok)
            return FK_ERR_CRYPTO;
    }
    return FK_OK;
}

/* Append a general name; texts are stored as they are, no syntax of OpenSSL's is applied. */
static int add_san(GENERAL_NAMES *names, int type, const char *text)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();

    if (name == NULL || string == NULL || ASN1_STRING_set(string, text, -1) != 1) {
        GENERAL_NAME_free(name);
        ASN1_IA5STRING_free(string);
        return FK_ERR_CRYPTO;
    }
    GENERAL_NAME_set0_value(name, type, string);
    if (sk_GENERAL_NAME_push(names, name) == 0) {
        GENERAL_NAME_free(name);
        return FK_ERR_CRYPTO;
    }
    return FK_OK;
}

/* The subjectAltName extension of a subject; NULL in *ret when it has no such name. */
static int make_san(const struct fk_pki_subject *subject, X509_EXTENSION **ret)
{
    GENERAL_NAMES *names;
    X509_EXTENSION *ext = NULL;
    int err = FK_OK;

    if (subject->uri == NULL && subject->n_dns == 0) {
        *ret = NULL;
        return FK_OK;
    }
    names = GENERAL_NAMES_new();
    if (names == NULL)
        return FK_ERR_NOMEM;
    if (subject->uri != NULL)
        err = add_san(names, GEN_URI, subject->uri);
    for (size_t i = 0; err == FK_OK && i < subject->n_dns; i++)
        err = add_san(names, GEN_DNS, subject->dns[i]);
    if (err == FK_OK && (ext = X509V3_EXT_i2d(NID_subject_alt_name, 0, names)) == NULL)
        err = FK_ERR_CRYPTO;
    GENERAL_NAMES_free(names);
    if (err == FK_OK)
        *ret = ext;
    return err;
}

int fk_pki_ca_new(EVP_PKEY *key, const char *common_name, unsigned days, X509 **ret)
{
    static const struct ext_row rows[] = {
        {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
        {NID_key_usage, "critical,keyCertSign,cRLSign"},
        {NID_subject_key_identifier, "hash"},
    };
    X509 *cert = X509_new();
    int err = FK_ERR_CRYPTO;

    if (cert == NULL || X509_set_version(cert, X509_VERSION_3) != 1 ||
        X509_set_pubkey(cert, key) != 1)
        goto out;
    if ((err = set_serial(cert)) != FK_OK || (err = set_validity(cert, days, NULL)) != FK_OK ||
        (err = set_name(X509_get_subject_name(cert), common_name, NULL)) != FK_OK ||
        (err = set_name(X509_get_issuer_name(cert), common_name, NULL)) != FK_OK ||
        (err = add_extensions(cert, cert, rows, sizeof rows / sizeof rows[0])) != FK_OK)
        goto out;
    if (X509_sign(cert, key, digest_for(key)) <= 0) {
        err = FK_ERR_CRYPTO;
        goto out;
    }
    *ret = cert;
    cert = NULL; /* moved */
out:
    X509_free(cert);
    return err;
}

/* RSA leaves of TLS 1.2 key exchange need keyEncipherment (RFC 5246 section 7.4.2). */
static const char *usage_for(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "RSA") ? "critical,digitalSignature,keyEncipherment"
                                     : "critical,digitalSignature";
}

static int fill_leaf(X509 *cert, const struct fk_pki_subject *subject, EVP_PKEY *public_key,
                     X509 *ca)
{
    const struct ext_row rows[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},   {NID_key_usage, usage_for(public_key)},
        {NID_ext_key_usage, "serverAuth,clientAuth"},   {NID_subject_key_identifier, "hash"},
        {NID_authority_key_identifier, "keyid:always"},
    };
    X509_EXTENSION *san = NULL;
    int err;

    if (X509_set_version(cert, X509_VERSION_3) != 1 || X509_set_pubkey(cert, public_key) != 1 ||
        X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1)
        return FK_ERR_CRYPTO;
    if ((err = set_name(X509_get_subject_name(cert), subject->common_name,
                        subject->organization)) != FK_OK ||
        (err = add_extensions(cert, ca, rows, sizeof rows / sizeof rows[0])) != FK_OK ||
        (err = make_san(subject, &san)) != FK_OK)
        return err;
    if (san != NULL && X509_add_ext(cert, san, -1) != 1)
        err = FK_ERR_CRYPTO;
    X509_EXTENSION_free(san);
    return err;
}

int fk_pki_leaf_new(const struct fk_pki_subject *subject, EVP_PKEY *public_key, unsigned days,
                    X509 *ca, EVP_PKEY *ca_key, X509 **ret)
{
    X509 *cert = X509_new();
    int err = FK_ERR_NOMEM;

    if (cert == NULL || (err = set_serial(cert)) != FK_OK ||
        (err = set_validity(cert, days, ca)) != FK_OK ||
        (err = fill_leaf(cert, subject, public_key, ca)) != FK_OK)
        goto out;
    if (X509_sign(cert, ca_key, digest_for(ca_key)) <= 0) {
        err = FK_ERR_CRYPTO;
        goto out;
    }
    *ret = cert;
    cert = NULL; /* moved */
out:
    X509_free(cert);
    return err;
}

static int add_request_san(X509_REQ *request, const struct fk_pki_subject *subject)
{
    STACK_OF(X509_EXTENSION) *list = NULL;
    X509_EXTENSION *san = NULL;
    int err;

    if ((err = make_san(subject, &san)) != FK_OK || san == NULL)
        return err;
    if (X509v3_add_ext(&list, san, -1) == NULL || X509_REQ_add_extensions(request, list) != 1)
        err = FK_ERR_CRYPTO;
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    X509_EXTENSION_free(san);
    return err;
}

int fk_pki_request_new(const struct fk_pki_subject *subject, EVP_PKEY *key, X509_REQ **ret)
{
    X509_REQ *request = X509_REQ_new();
    int err = FK_ERR_CRYPTO;

    if (request == NULL || X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
        X509_REQ_set_pubkey(request, key) != 1)
        goto out;
    if ((err = set_name(X509_REQ_get_subject_name(request), subject->common_name,
                        subject->organization)) != FK_OK ||
        (err = add_request_san(request, subject)) != FK_OK)
        goto out;
    if (X509_REQ_sign(request, key, digest_for(key)) <= 0) {
        err = FK_ERR_CRYPTO;
        goto out;
    }
    *ret = request;
    request = NULL; /* moved */
out:
    X509_REQ_free(request);
    return err;
}

int fk_pki_request_key(X509_REQ *request, EVP_PKEY **ret)
{
    EVP_PKEY *key = X509_REQ_get_pubkey(request);

    if (key == NULL)
        return FK_ERR_CRYPTO;
    if (X509_REQ_verify(request, key) != 1) {
        EVP_PKEY_free(key);
        return FK_ERR_VERIFY;
    }
    *ret = key;
    return FK_OK;
}

static int crl_number(const X509_CRL *previous, ASN1_INTEGER **ret)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_INTEGER *old =
        previous == NULL ? NULL : X509_CRL_get_ext_d2i(previous, NID_crl_number, NULL, NULL);
    int64_t now = (int64_t)time(NULL), last = 0;
    int err = FK_OK;

    if (old != NULL && ASN1_INTEGER_get_int64(&last, old) == 1 && last >= now)
        now = last + 1;
    if (number == NULL || ASN1_INTEGER_set_int64(number, now) != 1)
        err = FK_ERR_CRYPTO;
    ASN1_INTEGER_free(old);
    if (err != FK_OK)
        ASN1_INTEGER_free(number);
    else
        *ret = number;
    return err;
}

static int add_revoked(X509_CRL *crl, const struct fk_pki_revoked *row)
{
    X509_REVOKED *revoked = X509_REVOKED_new();
    ASN1_TIME *when = ASN1_TIME_set(NULL, row->when);
    ASN1_INTEGER *serial = NULL;
    BIGNUM *number = NULL;
    int err = FK_ERR_CRYPTO;

    if (BN_hex2bn(&number, row->serial) != (int)strlen(row->serial)) {
        err = FK_ERR_FORMAT;
        goto out;
    }
    serial = BN_to_ASN1_INTEGER(number, NULL);
    if (revoked == NULL || when == NULL || serial == NULL ||
        X509_REVOKED_set_serialNumber(revoked, serial) != 1 ||
        X509_REVOKED_set_revocationDate(revoked, when) != 1 ||
        X509_CRL_add0_revoked(crl, revoked) != 1)
        goto out;
    revoked = NULL; /* moved */
    err = FK_OK;
out:
    X509_REVOKED_free(revoked);
    ASN1_TIME_free(when);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    return err;
}

static int fill_crl(X509_CRL *crl, X509 *ca, const X509_CRL *previous, unsigned days)
{
    ASN1_TIME *from = X509_gmtime_adj(NULL, -BACKDATE_S);
    ASN1_TIME *until = X509_time_adj_ex(NULL, (int)days, 0, NULL);
    ASN1_INTEGER *number = NULL;
    X509V3_CTX ctx;
    X509_EXTENSION *ext = NULL;
    int err;

    if ((err = crl_number(previous, &number)) != FK_OK)
        goto out;
    err = FK_ERR_CRYPTO;
    X509V3_set_ctx(&ctx, ca, NULL, NULL, crl, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid:always");
    if (from == NULL || until == NULL || ext == NULL ||
        X509_CRL_set_version(crl, X509_CRL_VERSION_2) != 1 ||
        X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca)) != 1 ||
        X509_CRL_set1_lastUpdate(crl, from) != 1 || X509_CRL_set1_nextUpdate(crl, until) != 1 ||
        X509_CRL_add_ext(crl, ext, -1) != 1 ||
        X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) != 1)
        goto out;
    err = FK_OK;
out:
    X509_EXTENSION_free(ext);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    return err;
}

int fk_pki_crl_new(const struct fk_pki_crl *contents, X509 *ca, EVP_PKEY *ca_key, X509_CRL **ret)
{
    X509_CRL *crl = X509_CRL_new();
    int err = FK_ERR_NOMEM;

    if (crl == NULL || (err = fill_crl(crl, ca, contents->previous, contents->days)) != FK_OK)
        goto out;
    for (size_t i = 0; i < contents->n_revoked; i++)
        if ((err = add_revoked(crl, &contents->revoked[i])) != FK_OK)
            goto out;
    if (X509_CRL_sort(crl) != 1 || X509_CRL_sign(crl, ca_key, digest_for(ca_key)) <= 0) {
        err = FK_ERR_CRYPTO;
        goto out;
    }
    *ret = crl;
    crl = NULL; /* moved */
out:
    X509_CRL_free(crl);
    return err;
}

char *fk_pki_serial(const X509 *cert)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *text = number == NULL ? NULL : BN_bn2hex(number);

    BN_free(number);
    return text;
}

time_t fk_pki_not_after(const X509 *cert)
{
    struct tm tm = {0};

    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
        return 0;
    return timegm(&tm);
}
