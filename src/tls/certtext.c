/* Text forms of certificates: see certtext.h. */
#include "tls/certtext.h"

#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int fk_certtext_find(const char *name, size_t len, enum fk_certtext *ret)
{
    static const char *const names[] = {
#define FK_CERTTEXT_NAME(id, name, help) name,
        FK_CERTTEXT_LIST(FK_CERTTEXT_NAME)
#undef FK_CERTTEXT_NAME
    };

    for (size_t i = 0; i < FK_CERTTEXT_COUNT; i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) { /* public */
            *ret = (enum fk_certtext)i;
            return FK_OK;
        }
    return FK_ERR_NOT_FOUND;
}

/* --- encodings --- */

static void put(struct fk_writer *out, const char *text)
{
    fk_writer_bytes(out, text, strlen(text));
}

/* Percent-encode whatever is neither a letter, a digit nor one of `more`. */
static void percent(const void *text, size_t len, const char *more, struct fk_writer *out)
{
    static const char digits[] = "0123456789ABCDEF";
    const uint8_t *bytes = text;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = bytes[i];

        if (c < 0x80 && c != 0 && (isalnum(c) || strchr(more, c) != NULL)) {
            fk_writer_u8(out, c);
        } else {
            fk_writer_u8(out, '%');
            fk_writer_u8(out, (uint8_t)digits[c >> 4]);
            fk_writer_u8(out, (uint8_t)digits[c & 15]);
        }
    }
}

void fk_certtext_percent(const void *text, size_t len, struct fk_writer *out)
{
    percent(text, len, "-._~", out);
}

static int base64(const uint8_t *data, int len, bool url, struct fk_writer *out)
{
    size_t size = 4 * (((size_t)len + 2) / 3);
    char *text = malloc(size + 1);

    if (text == NULL)
        return FK_ERR_NOMEM;
    EVP_EncodeBlock((unsigned char *)text, data, len);
    while (url && size > 0 && text[size - 1] == '=')
        size--;
    for (size_t i = 0; url && i < size; i++) {
        if (text[i] == '+')
            text[i] = '-';
        else if (text[i] == '/')
            text[i] = '_';
    }
    fk_writer_bytes(out, text, size);
    free(text);
    return FK_OK;
}

/* --- DER and PEM --- */

static int write_der(X509 *cert, bool url, struct fk_writer *out)
{
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der), err;

    if (len <= 0)
        return FK_ERR_CRYPTO;
    err = base64(der, len, url, out);
    OPENSSL_free(der);
    return err;
}

/* RFC 9440 section 2.3: in the order of TLS; the anchor is the origin's own knowledge. */
static int write_der_list(const struct fk_certtext_of *of, struct fk_writer *out)
{
    int err = FK_OK;

    for (int i = 0; i + 1 < sk_X509_num(of->above) && err == FK_OK; i++) {
        put(out, i > 0 ? ", :" : ":");
        err = write_der(sk_X509_value(of->above, i), false, out);
        put(out, ":");
    }
    return err;
}

/* Its lines parted by `end`, the last without. */
static int write_pem(X509 *cert, void (*write)(const char *line, struct fk_writer *out),
                     struct fk_writer *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char line[128];
    int n;

    if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1) {
        BIO_free(bio);
        return FK_ERR_CRYPTO;
    }
    while ((n = BIO_gets(bio, line, sizeof line)) > 0)
        write(line, out);
    BIO_free(bio);
    return FK_OK;
}

static void escaped_line(const char *line, struct fk_writer *out)
{
    fk_certtext_percent(line, strlen(line), out);
}

/* What separates fields and cookies becomes a space, as does the line's end. */
static void spaced_line(const char *line, struct fk_writer *out)
{
    size_t len = strcspn(line, "\r\n");

    if (strncmp(line, "-----BEGIN", 10) != 0)
        fk_writer_u8(out, ' ');
    for (size_t i = 0; i < len; i++)
        fk_writer_u8(out, strchr(";,", line[i]) != NULL ? ' ' : (uint8_t)line[i]);
}

static void body_line(const char *line, struct fk_writer *out)
{
    if (line[0] != '-')
        fk_certtext_percent(line, strcspn(line, "\r\n"), out);
}

static int write_all(const struct fk_certtext_of *of, const char *between,
                     void (*write)(const char *line, struct fk_writer *out), struct fk_writer *out)
{
    int err = write_pem(of->leaf, write, out);

    for (int i = 0; i + 1 < sk_X509_num(of->above) && err == FK_OK; i++) {
        put(out, between);
        err = write_pem(sk_X509_value(of->above, i), write, out);
    }
    return err;
}

/* --- names --- */

/*
 * OpenSSL's text of RFC 2253, which RFC 4514 takes over, with two hexadecimal digits behind every
 * backslash. So no quote, comma or backslash of a name is left to be read as anything else.
 */
void fk_certtext_escape(const char *text, size_t len, struct fk_writer *out)
{
    char hex[4];

    for (size_t i = 0; i < len; i++) {
        fk_writer_u8(out, (uint8_t)text[i]);
        if (text[i] != '\\' || i + 1 == len)
            continue;
        if (isxdigit((unsigned char)text[i + 1])) {
            fk_writer_bytes(out, text + i + 1, 1);
        } else {
            snprintf(hex, sizeof hex, "%02X", (unsigned char)text[i + 1]);
            put(out, hex);
        }
        i++;
    }
}

static int write_bio(BIO *bio, bool printed, struct fk_writer *out)
{
    char *text;
    long len;

    if (bio == NULL || !printed) {
        BIO_free(bio);
        return FK_ERR_CRYPTO;
    }
    len = BIO_get_mem_data(bio, &text);
    fk_certtext_escape(text, len > 0 ? (size_t)len : 0, out);
    BIO_free(bio);
    return FK_OK;
}

static int write_name(const X509_NAME *name, struct fk_writer *out)
{
    BIO *bio = BIO_new(BIO_s_mem());

    return write_bio(bio, bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0,
                     out);
}

static int write_common_name(X509 *cert, struct fk_writer *out)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int at = -1, next;
    BIO *bio;

    while ((next = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0)
        at = next;
    if (at < 0)
        return FK_OK;
    bio = BIO_new(BIO_s_mem());
    return write_bio(
        bio,
        bio != NULL &&
            ASN1_STRING_print_ex(bio, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)),
                                 ASN1_STRFLGS_RFC2253) >= 0,
        out);
}

static int write_serial(X509 *cert, struct fk_writer *out)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *text = number == NULL ? NULL : BN_bn2hex(number);

    if (text != NULL)
        put(out, text);
    BN_free(number);
    if (text == NULL)
        return FK_ERR_NOMEM;
    OPENSSL_free(text);
    return FK_OK;
}

static int write_time(const ASN1_TIME *time, bool unix_time, struct fk_writer *out)
{
    char text[64];
    struct tm tm;

    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return FK_ERR_CRYPTO;
    if (unix_time)
        snprintf(text, sizeof text, "%lld", (long long)timegm(&tm));
    else
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    put(out, text);
    return FK_OK;
}

static int write_digest(X509 *cert, const EVP_MD *md, struct fk_writer *out)
{
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;

    if (X509_digest(cert, md, digest, &len) != 1)
        return FK_ERR_CRYPTO;
    fk_text_hex(digest, len, hex);
    put(out, hex);
    return FK_OK;
}

/* --- alternative names --- */

/* Letters that names of these kinds have, and no separator of any format. */
static void write_value(const ASN1_STRING *text, struct fk_writer *out)
{
    percent(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text), "-._~:/@*?&+!", out);
}

static void write_ip(const ASN1_STRING *ip, struct fk_writer *out)
{
    int len = ASN1_STRING_length(ip);
    char text[INET6_ADDRSTRLEN];

    if ((len == 4 || len == 16) && inet_ntop(len == 4 ? AF_INET : AF_INET6,
                                             ASN1_STRING_get0_data(ip), text, sizeof text) != NULL)
        put(out, text);
}

/* How a kind of name is begun in each of the forms; NULL: it is not in this form. */
struct san_form {
    const char *between;
    const char *dns, *uri, *email, *ip;
};

static const char *prefix_of(const struct san_form *form, int type)
{
    switch (type) {
    case GEN_DNS:
        return form->dns;
    case GEN_URI:
        return form->uri;
    case GEN_EMAIL:
        return form->email;
    case GEN_IPADD:
        return form->ip;
    default:
        return NULL;
    }
}

static int write_san(X509 *cert, const struct san_form *form, struct fk_writer *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool first = true;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        const char *prefix = prefix_of(form, type);

        if (prefix == NULL)
            continue;
        put(out, first ? "" : form->between);
        put(out, prefix);
        if (type == GEN_IPADD)
            write_ip(value, out);
        else
            write_value(value, out);
        first = false;
    }
    GENERAL_NAMES_free(names);
    return FK_OK;
}

/* --- key and signature --- */

static int write_spki(X509 *cert, struct fk_writer *out)
{
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der), err;

    if (len <= 0)
        return FK_ERR_CRYPTO;
    err = base64(der, len, false, out);
    OPENSSL_free(der);
    return err;
}

static int write_signature(const X509 *cert, struct fk_writer *out)
{
    const ASN1_BIT_STRING *signature;

    X509_get0_signature(&signature, NULL, cert);
    return base64(ASN1_STRING_get0_data(signature), ASN1_STRING_length(signature), false, out);
}

/* --- all --- */

static const struct san_form san_kinds = {",", "DNS:", "URI:", "email:", "IP:"};
static const struct san_form san_values = {",", "", "", "", ""};
static const struct san_form san_xfcc = {"", ";DNS=", ";URI=", NULL, NULL};

static int write_certificate(const struct fk_certtext_of *of, enum fk_certtext what,
                             struct fk_writer *out)
{
    switch ((int)what) {
    case FK_CERTTEXT_PEM:
        return write_pem(of->leaf, escaped_line, out);
    case FK_CERTTEXT_PEM_SPACES:
        return write_pem(of->leaf, spaced_line, out);
    case FK_CERTTEXT_PEM_BODY:
        return write_all(of, ",", body_line, out);
    case FK_CERTTEXT_PEM_CHAIN:
        return write_all(of, "", escaped_line, out);
    case FK_CERTTEXT_DER:
        return write_der(of->leaf, false, out);
    case FK_CERTTEXT_DER_URL:
        return write_der(of->leaf, true, out);
    case FK_CERTTEXT_DER_LIST:
        return write_der_list(of, out);
    default:
        return FK_ERR_UNSUPPORTED;
    }
}

static int write_fact(X509 *cert, enum fk_certtext what, struct fk_writer *out)
{
    switch ((int)what) {
    case FK_CERTTEXT_SUBJECT:
        return write_name(X509_get_subject_name(cert), out);
    case FK_CERTTEXT_ISSUER:
        return write_name(X509_get_issuer_name(cert), out);
    case FK_CERTTEXT_CN:
        return write_common_name(cert, out);
    case FK_CERTTEXT_SERIAL:
        return write_serial(cert, out);
    case FK_CERTTEXT_NOT_BEFORE:
        return write_time(X509_get0_notBefore(cert), false, out);
    case FK_CERTTEXT_NOT_AFTER:
        return write_time(X509_get0_notAfter(cert), false, out);
    case FK_CERTTEXT_NOT_BEFORE_UNIX:
        return write_time(X509_get0_notBefore(cert), true, out);
    case FK_CERTTEXT_NOT_AFTER_UNIX:
        return write_time(X509_get0_notAfter(cert), true, out);
    case FK_CERTTEXT_FINGERPRINT:
        return write_digest(cert, EVP_sha256(), out);
    case FK_CERTTEXT_FINGERPRINT_SHA1:
        return write_digest(cert, EVP_sha1(), out);
    case FK_CERTTEXT_SAN:
        return write_san(cert, &san_kinds, out);
    case FK_CERTTEXT_SAN_VALUES:
        return write_san(cert, &san_values, out);
    case FK_CERTTEXT_XFCC_NAMES:
        return write_san(cert, &san_xfcc, out);
    case FK_CERTTEXT_SPKI:
        return write_spki(cert, out);
    case FK_CERTTEXT_SIGNATURE:
        return write_signature(cert, out);
    default:
        put(out, "SUCCESS");
        return FK_OK;
    }
}

int fk_certtext_write(const struct fk_certtext_of *of, enum fk_certtext what, struct fk_writer *out)
{
    int err = what <= FK_CERTTEXT_DER_LIST ? write_certificate(of, what, out)
                                           : write_fact(of->leaf, what, out);

    ERR_clear_error();
    return err;
}
