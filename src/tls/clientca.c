/* Judging certificates of clients: see clientca.h. */
#include "tls/clientca.h"

#include "base/err.h"
#include "base/limits.h"
#include "tls/clientrules.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>

/* As OpenSSL's own since 3.0 on Debian: 112 bits, so no SHA-1 and no RSA below 2048 bits. */
#define AUTH_LEVEL 2
#define DIGEST     32

struct fk_clientca {
    OSSL_LIB_CTX *libctx;
    X509_STORE *store;
    STACK_OF(X509_NAME) * names;
    struct fk_clientrules *allow; /* NULL: all are allowed */
    int depth;
    bool required;
    uint8_t print[DIGEST], lists[DIGEST];
};

/* --- reading --- */

static BIO *open_pem(struct fk_reader pem)
{
    return pem.left > INT_MAX ? NULL : BIO_new_mem_buf(pem.next, (int)pem.left);
}

/* Whether reading `n` objects ended because there are no more. */
static int pem_end(size_t n)
{
    unsigned long last = ERR_peek_last_error();

    ERR_clear_error();
    if (n == 0 || ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
        return FK_ERR_FORMAT;
    return FK_OK;
}

/* Its name, for clients to choose a certificate by. */
static int add_name(struct fk_clientca *ca, const X509 *cert)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(cert));

    if (name == NULL || sk_X509_NAME_push(ca->names, name) <= 0) {
        X509_NAME_free(name);
        return FK_ERR_NOMEM;
    }
    return FK_OK;
}

/* `md`: over all that decides. */
static int add_ca(struct fk_clientca *ca, X509 *cert, EVP_MD_CTX *md)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;

    if (X509_digest(cert, EVP_sha256(), digest, &len) != 1 ||
        EVP_DigestUpdate(md, digest, len) != 1 || X509_STORE_add_cert(ca->store, cert) != 1)
        return FK_ERR_CRYPTO;
    return add_name(ca, cert);
}

static int add_cas(struct fk_clientca *ca, struct fk_reader pem, EVP_MD_CTX *md)
{
    BIO *bio = open_pem(pem);
    int err = bio == NULL ? FK_ERR_NOMEM : FK_OK;

    for (size_t n = 0; err == FK_OK; n++) {
        X509 *cert = X509_new_ex(ca->libctx, NULL);

        if (cert == NULL) {
            err = FK_ERR_NOMEM;
        } else if (PEM_read_bio_X509(bio, &cert, NULL, (void *)(uintptr_t) "") == NULL) {
            X509_free(cert);
            err = pem_end(n);
            break;
        } else {
            err = add_ca(ca, cert, md);
            X509_free(cert);
        }
    }
    BIO_free(bio);
    return err;
}

/* With a list, each certificate of a chain needs one that is in force: fails closed. */
static int add_crls(struct fk_clientca *ca, struct fk_reader pem)
{
    BIO *bio = open_pem(pem);
    int err = bio == NULL ? FK_ERR_NOMEM : FK_OK;

    for (size_t n = 0; err == FK_OK; n++) {
        X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, (void *)(uintptr_t) "");

        if (crl == NULL) {
            err = pem_end(n);
            break;
        }
        if (X509_STORE_add_crl(ca->store, crl) != 1)
            err = FK_ERR_CRYPTO;
        X509_CRL_free(crl);
    }
    BIO_free(bio);
    if (err == FK_OK &&
        X509_STORE_set_flags(ca->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
        err = FK_ERR_CRYPTO;
    return err;
}

static int check_names(const struct fk_clientca *ca)
{
    static uint8_t scratch[FK_CLIENT_CAS_MAX]; /* nothing secret; loading is one thread's */
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, scratch, sizeof scratch);
    fk_clientca_encode_names(ca, &out);
    return fk_writer_end(&out, &len) == FK_OK ? FK_OK : FK_ERR_LIMIT;
}

static int add_rules(struct fk_clientca *ca, const struct fk_clientca_conf *conf, EVP_MD_CTX *md)
{
    size_t bad;

    for (size_t i = 0; i < conf->n_allow; i++)
        if (EVP_DigestUpdate(md, conf->allow[i], strlen(conf->allow[i]) + 1) != 1)
            return FK_ERR_CRYPTO;
    if (conf->n_allow == 0)
        return FK_OK;
    return fk_clientrules_new(conf->allow, conf->n_allow, &ca->allow, &bad);
}

static int fill(struct fk_clientca *ca, const struct fk_clientca_conf *conf, EVP_MD_CTX *md)
{
    const uint8_t facts[] = {(uint8_t)conf->depth, conf->required};
    int err;

    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(md, facts, sizeof facts) != 1)
        return FK_ERR_CRYPTO;
    if ((err = add_rules(ca, conf, md)) != FK_OK)
        return err;
    if ((err = add_cas(ca, conf->ca, md)) != FK_OK || (err = check_names(ca)) != FK_OK)
        return err;
    if (EVP_DigestFinal_ex(md, ca->print, NULL) != 1 ||
        EVP_Digest(conf->crl.next, conf->crl.left, ca->lists, NULL, EVP_sha256(), NULL) != 1)
        return FK_ERR_CRYPTO;
    return conf->crl.left > 0 ? add_crls(ca, conf->crl) : FK_OK;
}

int fk_clientca_new(const struct fk_clientca_conf *conf, struct fk_clientca **ret)
{
    struct fk_clientca *ca = calloc(1, sizeof *ca);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int err = FK_ERR_NOMEM;

    if (ca == NULL || md == NULL)
        goto out;
    ca->libctx = conf->libctx;
    ca->depth = (int)conf->depth;
    ca->required = conf->required;
    if ((ca->store = X509_STORE_new()) == NULL || (ca->names = sk_X509_NAME_new_null()) == NULL)
        goto out;
    if ((err = fill(ca, conf, md)) == FK_OK) {
        *ret = ca;
        ca = NULL; /* moved */
    }
out:
    EVP_MD_CTX_free(md);
    fk_clientca_free(ca);
    ERR_clear_error();
    return err;
}

void fk_clientca_free(struct fk_clientca *ca)
{
    if (ca == NULL)
        return;
    X509_STORE_free(ca->store);
    fk_clientrules_free(ca->allow);
    sk_X509_NAME_pop_free(ca->names, X509_NAME_free);
    free(ca);
}

bool fk_clientca_required(const struct fk_clientca *ca)
{
    return ca->required;
}

const STACK_OF(X509_NAME) * fk_clientca_names(const struct fk_clientca *ca)
{
    return ca->names;
}

const uint8_t *fk_clientca_print(const struct fk_clientca *ca)
{
    return ca->print;
}

const uint8_t *fk_clientca_lists(const struct fk_clientca *ca)
{
    return ca->lists;
}

/* --- judging --- */

static int prepare(const struct fk_clientca *ca, X509_STORE_CTX *ctx, X509 *leaf,
                   STACK_OF(X509) * rest)
{
    X509_VERIFY_PARAM *param;

    if (X509_STORE_CTX_init(ctx, ca->store, leaf, rest) != 1 ||
        X509_STORE_CTX_set_default(ctx, "ssl_client") != 1) /* purpose and trust */
        return FK_ERR_NOMEM;
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_depth(param, ca->depth);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    return FK_OK;
}

/* Whoever the CAs vouch for is not yet one of those that are meant. */
static int verify(const struct fk_clientca *ca, X509_STORE_CTX *ctx, X509 *leaf, int *ret_reason)
{
    if (X509_verify_cert(ctx) != 1) {
        *ret_reason = X509_STORE_CTX_get_error(ctx);
        if (*ret_reason == X509_V_OK) /* it failed without a verdict */
            *ret_reason = X509_V_ERR_UNSPECIFIED;
        return FK_ERR_VERIFY;
    }
    if (ca->allow != NULL && !fk_clientrules_fit(ca->allow, leaf)) {
        *ret_reason = X509_V_ERR_APPLICATION_VERIFICATION;
        return FK_ERR_VERIFY;
    }
    return FK_OK;
}

int fk_clientca_judge(const struct fk_clientca *ca, X509 *leaf, STACK_OF(X509) * rest,
                      int *ret_reason, STACK_OF(X509) * *ret_chain)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new_ex(ca->libctx, NULL);
    STACK_OF(X509) * chain;
    int err;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    if ((err = prepare(ca, ctx, leaf, rest)) == FK_OK &&
        (err = verify(ca, ctx, leaf, ret_reason)) == FK_OK && ret_chain != NULL) {
        if ((chain = X509_STORE_CTX_get1_chain(ctx)) == NULL)
            err = FK_ERR_NOMEM;
        else
            *ret_chain = chain;
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return err;
}

const char *fk_clientca_why(int reason)
{
    if (reason == X509_V_ERR_APPLICATION_VERIFICATION)
        return "no rule of `allow` fits the certificate";
    if (reason == X509_V_ERR_CRL_HAS_EXPIRED)
        return "the CA's revocation list has expired: renew crl, then reload";
    if (reason == X509_V_ERR_UNABLE_TO_GET_CRL)
        return "no revocation list of the certificate's CA in crl";
    return X509_verify_cert_error_string(reason);
}

uint8_t fk_clientca_alert(int reason)
{
    static const struct {
        int reason;
        uint8_t alert;
    } alerts[] = {
        {X509_V_ERR_CERT_HAS_EXPIRED, SSL_AD_CERTIFICATE_EXPIRED},
        {X509_V_ERR_CERT_REVOKED, SSL_AD_CERTIFICATE_REVOKED},
        {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, SSL_AD_UNKNOWN_CA},
        {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, SSL_AD_UNKNOWN_CA},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, SSL_AD_UNKNOWN_CA},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, SSL_AD_UNKNOWN_CA},
        {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, SSL_AD_UNKNOWN_CA},
        {X509_V_ERR_CERT_CHAIN_TOO_LONG, SSL_AD_UNKNOWN_CA},
        {X509_V_ERR_INVALID_PURPOSE, SSL_AD_UNSUPPORTED_CERTIFICATE},
        {X509_V_ERR_APPLICATION_VERIFICATION, SSL_AD_HANDSHAKE_FAILURE},
    };

    for (size_t i = 0; i < sizeof alerts / sizeof alerts[0]; i++)
        if (alerts[i].reason == reason)
            return alerts[i].alert;
    return SSL_AD_BAD_CERTIFICATE;
}

/* --- names --- */

void fk_clientca_encode_names(const struct fk_clientca *ca, struct fk_writer *out)
{
    for (int i = 0; i < sk_X509_NAME_num(ca->names); i++) {
        const unsigned char *der;
        size_t len;

        if (X509_NAME_get0_der(sk_X509_NAME_value(ca->names, i), &der, &len) == 1)
            fk_writer_vec16(out, der, len);
    }
}

static int decode_name(struct fk_reader der, STACK_OF(X509_NAME) * names)
{
    const unsigned char *next = der.next;
    X509_NAME *name = d2i_X509_NAME(NULL, &next, (long)der.left);

    if (name == NULL || next != der.next + der.left) {
        X509_NAME_free(name);
        return FK_ERR_FORMAT;
    }
    if (sk_X509_NAME_push(names, name) <= 0) {
        X509_NAME_free(name);
        return FK_ERR_NOMEM;
    }
    return FK_OK;
}

int fk_clientca_decode_names(struct fk_reader names, STACK_OF(X509_NAME) * *ret)
{
    STACK_OF(X509_NAME) *list = sk_X509_NAME_new_null();
    struct fk_reader der;
    int err = list == NULL ? FK_ERR_NOMEM : FK_OK;

    while (err == FK_OK && names.left > 0)
        if ((err = fk_reader_vec16(&names, &der)) == FK_OK)
            err = decode_name(der, list);
    ERR_clear_error();
    if (err == FK_OK)
        *ret = list;
    else
        sk_X509_NAME_pop_free(list, X509_NAME_free);
    return err;
}

/* --- chains --- */

static void encode_certificate(X509 *cert, struct fk_writer *out)
{
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);

    if (len > 0)
        fk_writer_vec16(out, der, (size_t)len);
    OPENSSL_free(der);
}

void fk_clientca_encode_chain(const SSL *ssl, struct fk_writer *out)
{
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    STACK_OF(X509) *rest = SSL_get_peer_cert_chain(ssl); /* a server's is without the leaf */

    if (leaf == NULL)
        return;
    encode_certificate(leaf, out);
    for (int i = 0; i < sk_X509_num(rest); i++)
        encode_certificate(sk_X509_value(rest, i), out);
}

static int decode_certificate(struct fk_reader der, OSSL_LIB_CTX *libctx, STACK_OF(X509) * certs)
{
    const unsigned char *next = der.next;
    X509 *cert = X509_new_ex(libctx, NULL);

    if (cert == NULL)
        return FK_ERR_NOMEM;
    if (d2i_X509(&cert, &next, (long)der.left) == NULL || next != der.next + der.left) {
        X509_free(cert); /* left when only its extensions are damaged; else d2i made it NULL */
        return FK_ERR_FORMAT;
    }
    if (sk_X509_push(certs, cert) <= 0) {
        X509_free(cert);
        return FK_ERR_NOMEM;
    }
    return FK_OK;
}

/* All of them, the leaf first. */
static int decode_chain(struct fk_reader chain, OSSL_LIB_CTX *libctx, STACK_OF(X509) * certs)
{
    struct fk_reader der;
    int err = FK_OK;

    while (err == FK_OK && chain.left > 0)
        if ((err = fk_reader_vec16(&chain, &der)) == FK_OK)
            err = decode_certificate(der, libctx, certs);
    return err;
}

int fk_clientca_judge_chain(const struct fk_clientca *ca, struct fk_reader chain, int *ret_reason,
                            STACK_OF(X509) * *ret_chain)
{
    STACK_OF(X509) * certs, *good = NULL;
    X509 *leaf = NULL;
    int err;

    if (chain.left == 0 && ca->required)
        return FK_ERR_FORMAT; /* the handshake should not have come to its end */
    if ((certs = sk_X509_new_null()) == NULL)
        return FK_ERR_NOMEM;
    if ((err = decode_chain(chain, ca->libctx, certs)) == FK_OK &&
        (leaf = sk_X509_shift(certs)) != NULL)
        err = fk_clientca_judge(ca, leaf, certs, ret_reason, &good);
    ERR_clear_error();
    sk_X509_pop_free(certs, X509_free);
    X509_free(leaf);
    if (err == FK_OK)
        *ret_chain = good;
    return err;
}
