/*
 * Who is at the other end of a channel: the one URI SAN of its verified certificate, and whether
 * that still holds.
 *
 * Exactly one, in exactly the form "farkey:ROLE:NAME": a certificate that says more, or the same in
 * another way, says nothing.
 */
#include "tls/channel.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#define PREFIX "farkey:"

static const char *const role_names[] = {
    [FK_CHANNEL_EDGE] = "edge:", [FK_CHANNEL_KEYSERVER] = "keyserver:"};
#define ROLES (sizeof role_names / sizeof role_names[0])

static bool name_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

/* Pass over `text` if the URI goes on with it. */
static bool take_text(struct fk_reader *uri, const char *text)
{
    size_t len = strlen(text);

    if (uri->left < len || memcmp(uri->next, text, len) != 0)
        return false;
    return fk_reader_skip(uri, len) == FK_OK;
}

/* Take "farkey:ROLE:" off; what is left is NAME. FK_ERR_DENIED for any other form. */
static int parse_identity(struct fk_reader *uri, enum fk_channel_role *ret_role)
{
    size_t role = 0;

    if (!take_text(uri, PREFIX))
        return FK_ERR_DENIED;
    while (role < ROLES && !take_text(uri, role_names[role]))
        role++;
    if (role == ROLES || uri->left == 0 || uri->left >= FK_NAME_MAX)
        return FK_ERR_DENIED;
    for (size_t i = 0; i < uri->left; i++)
        if (!name_char(uri->next[i])) /* NUL, space, escapes, other alphabets */
            return FK_ERR_DENIED;
    *ret_role = (enum fk_channel_role)role;
    return FK_OK;
}

/* The only URI among the names, borrowing them. */
static int only_uri(const GENERAL_NAMES *names, struct fk_reader *ret)
{
    struct fk_reader uri = {NULL, 0};

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type != GEN_URI)
            continue;
        if (uri.next != NULL)
            return FK_ERR_DENIED;
        fk_reader_init(&uri, ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
                       (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier));
    }
    if (uri.next == NULL)
        return FK_ERR_DENIED;
    *ret = uri;
    return FK_OK;
}

/* The peer's names; NULL without a certificate, unverified, or with the extension twice. */
static GENERAL_NAMES *peer_names(const SSL *ssl)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);

    if (cert == NULL || SSL_get_verify_result(ssl) != X509_V_OK)
        return NULL;
    return X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
}

/* Text of a reader's bytes, which were checked to hold no NUL. */
static int copy_text(const struct fk_reader *text, char *ret, size_t size)
{
    if (text->left >= size)
        return FK_ERR_LIMIT;
    memcpy(ret, text->next, text->left);
    ret[text->left] = '\0';
    return FK_OK;
}

/* Takes `names`, which may be NULL. */
static int name_among(GENERAL_NAMES *names, enum fk_channel_role role, char *ret, size_t size)
{
    enum fk_channel_role found;
    struct fk_reader uri;
    int err = FK_ERR_DENIED;

    if (names != NULL && (err = only_uri(names, &uri)) == FK_OK &&
        (err = parse_identity(&uri, &found)) == FK_OK)
        err = found == role ? copy_text(&uri, ret, size) : FK_ERR_DENIED;
    GENERAL_NAMES_free(names);
    return err;
}

int fk_channel_peer_name(const SSL *ssl, enum fk_channel_role role, char *ret, size_t size)
{
    return name_among(peer_names(ssl), role, ret, size);
}

int fk_channel_cert_name(X509 *cert, enum fk_channel_role role, char *ret, size_t size)
{
    return name_among(X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL), role, ret, size);
}

int fk_channel_peer_identity(const SSL *ssl, char *ret, size_t size)
{
    GENERAL_NAMES *names = peer_names(ssl);
    enum fk_channel_role found;
    struct fk_reader uri, name;
    int err = FK_ERR_DENIED;

    if (names != NULL && (err = only_uri(names, &uri)) == FK_OK) {
        name = uri;
        if ((err = parse_identity(&name, &found)) == FK_OK)
            err = copy_text(&uri, ret, size);
    }
    GENERAL_NAMES_free(names);
    return err;
}

/* As ssl_verify_cert_chain() of OpenSSL does it: purpose by the end, parameters of the context. */
static int prepare(X509_STORE_CTX *check, const SSL *ssl, SSL_CTX *ctx)
{
    X509_VERIFY_PARAM *param;

    if (X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(ctx), SSL_get0_peer_certificate(ssl),
                            SSL_get_peer_cert_chain(ssl)) != 1)
        return FK_ERR_NOMEM;
    param = X509_STORE_CTX_get0_param(check);
    X509_VERIFY_PARAM_set_auth_level(param, SSL_CTX_get_security_level(ctx));
    if (X509_STORE_CTX_set_default(check, SSL_is_server(ssl) ? "ssl_client" : "ssl_server") != 1 ||
        X509_VERIFY_PARAM_set1(param, SSL_CTX_get0_param(ctx)) != 1)
        return FK_ERR_NOMEM;
    return FK_OK;
}

int fk_channel_peer_judge(const SSL *ssl, SSL_CTX *ctx, const char **ret_why)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    int err = check == NULL ? FK_ERR_NOMEM : prepare(check, ssl, ctx);

    if (err != FK_OK) {
        *ret_why = fk_err_text(err);
    } else if (X509_verify_cert(check) != 1) {
        *ret_why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(check));
        err = FK_ERR_VERIFY;
    }
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return err;
}

uint64_t fk_channel_peer_judge_us(const SSL *ssl)
{
    const X509 *cert = SSL_get0_peer_certificate(ssl);
    int days, seconds;

    /* The difference is cut to whole seconds: one more is after the end. */
    if (cert != NULL && ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) == 1 &&
        days == 0 && seconds >= 0 && (uint64_t)(seconds + 1) * 1000000 < FK_CHANNEL_JUDGE_US)
        return (uint64_t)(seconds + 1) * 1000000;
    return FK_CHANNEL_JUDGE_US;
}

/* --- what both ends know --- */

int fk_channel_exporter(SSL *ssl, const char *label, uint8_t ret[32])
{
    if (SSL_export_keying_material(ssl, ret, 32, label, strlen(label), NULL, 0, 0) == 1)
        return FK_OK;
    ERR_clear_error();
    return FK_ERR_CRYPTO;
}
