/*
 * SSL_CTXs of the channel: one private CA, strict versions and suites.
 *
 * Never reads the system's trust store, never asks for a passphrase, never issues a ticket: a
 * channel is authenticated anew each time, so that a revocation counts.
 */
#include "tls/channel.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <string.h>

#define SUITES_TLS13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SUITES_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
#define GROUPS       "X25519:P-256"

enum { SECURITY_LEVEL = 2 };

/* PEM callback: an encrypted key is an error, not a question on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

static BIO *open_pem(const uint8_t *data, size_t len)
{
    return len > INT_MAX ? NULL : BIO_new_mem_buf(data, (int)len);
}

/* What reading until nothing is left has found: at least `n` objects and no damaged one. */
static int pem_end(size_t n)
{
    unsigned long last = ERR_peek_last_error();

    ERR_clear_error();
    if (n == 0 || ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
        return FK_ERR_FORMAT;
    return FK_OK;
}

static int check_validity(const X509 *cert)
{
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) >= 0 ||
        X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
        return FK_ERR_EXPIRED;
    return FK_OK;
}

/* The own chain: the first certificate is the leaf. */
static int use_chain(SSL_CTX *ctx, const struct fk_channel_identity *identity)
{
    BIO *bio = open_pem(identity->certificate, identity->certificate_len);
    X509 *cert;
    size_t n = 0;
    int err = FK_OK;

    if (bio == NULL)
        return FK_ERR_NOMEM;
    for (; err == FK_OK; n++) {
        cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
        if (cert == NULL) {
            err = pem_end(n);
            break;
        }
        if (n == 0) {
            err = check_validity(cert);
            if (err == FK_OK && SSL_CTX_use_certificate(ctx, cert) != 1)
                err = FK_ERR_CRYPTO;
            X509_free(cert);
        } else if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            err = FK_ERR_CRYPTO;
        }
    }
    BIO_free(bio);
    return err;
}

static int use_key(SSL_CTX *ctx, const struct fk_channel_identity *identity)
{
    BIO *bio = open_pem(identity->key, identity->key_len);
    X509 *leaf = SSL_CTX_get0_certificate(ctx); /* NULL: of no use, in a trial */
    EVP_PKEY *key;
    int err = FK_OK;

    if (bio == NULL)
        return FK_ERR_NOMEM;
    key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (key == NULL)
        err = FK_ERR_FORMAT;
    else if (leaf != NULL && X509_check_private_key(leaf, key) != 1)
        err = FK_ERR_MISMATCH;
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
        err = FK_ERR_CRYPTO;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return err;
}

/* --- the key that signs requests: goes with the context --- */

static int request_index = -1;
static pthread_once_t index_once = PTHREAD_ONCE_INIT;

static void free_request_key(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
                             void *argp)
{
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    EVP_PKEY_free(ptr);
}

static void make_index(void)
{
    request_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_request_key);
}

static int use_request_key(SSL_CTX *ctx, const struct fk_channel_identity *identity)
{
    BIO *bio = open_pem(identity->request_key, identity->request_key_len);
    EVP_PKEY *key;
    int err = FK_OK;

    pthread_once(&index_once, make_index);
    if (bio == NULL || request_index < 0)
        err = FK_ERR_NOMEM;
    key = err != FK_OK ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (err == FK_OK && key == NULL)
        err = FK_ERR_FORMAT;
    if (err == FK_OK && EVP_PKEY_get_id(key) != EVP_PKEY_ED25519)
        err = FK_ERR_UNSUPPORTED;
    if (err == FK_OK && SSL_CTX_set_ex_data(ctx, request_index, key) == 1)
        key = NULL; /* moved */
    else if (err == FK_OK)
        err = FK_ERR_NOMEM;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return err;
}

EVP_PKEY *fk_channel_request_key(const SSL *ssl)
{
    pthread_once(&index_once, make_index);
    return request_index < 0 ? NULL : SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), request_index);
}

/* --- trust --- */

static int add_anchors(X509_STORE *store, const struct fk_channel_identity *identity)
{
    BIO *bio = open_pem(identity->ca, identity->ca_len);
    int err = FK_OK;

    if (bio == NULL)
        return FK_ERR_NOMEM;
    for (size_t n = 0; err == FK_OK; n++) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);

        if (cert == NULL) {
            err = pem_end(n);
            break;
        }
        if (X509_STORE_add_cert(store, cert) != 1)
            err = FK_ERR_CRYPTO;
        X509_free(cert);
    }
    BIO_free(bio);
    return err;
}

/* With a list, every certificate of a chain needs one that is in force: fails closed. */
static int add_crls(X509_STORE *store, const struct fk_channel_identity *identity)
{
    BIO *bio = open_pem(identity->crl, identity->crl_len);
    int err = FK_OK;

    if (bio == NULL)
        return FK_ERR_NOMEM;
    for (size_t n = 0; err == FK_OK; n++) {
        X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL);

        if (crl == NULL) {
            err = pem_end(n);
            break;
        }
        if (X509_STORE_add_crl(store, crl) != 1)
            err = FK_ERR_CRYPTO;
        X509_CRL_free(crl);
    }
    BIO_free(bio);
    if (err == FK_OK)
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return err;
}

static int use_trust(SSL_CTX *ctx, const struct fk_channel_identity *identity)
{
    X509_STORE *store = X509_STORE_new();
    int err;

    if (store == NULL)
        return FK_ERR_NOMEM;
    SSL_CTX_set_cert_store(ctx, store); /* moved */
    /* An anchor is whatever the operator gave, self-signed or not. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    err = add_anchors(store, identity);
    if (err == FK_OK && identity->crl != NULL)
        err = add_crls(store, identity);
    return err;
}

/* Server side. No ALPN at all is left to the owner: that is dialect 1. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    static const char name[] = FK_CHANNEL_ALPN;
    struct fk_reader offered, item;

    (void)ssl;
    (void)arg;
    fk_reader_init(&offered, in, in_len);
    while (fk_reader_vec8(&offered, &item) == FK_OK) {
        if (item.left == sizeof name - 1 && memcmp(item.next, name, item.left) == 0) {
            *out = item.next;
            *out_len = (unsigned char)item.left;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int set_protocol(SSL_CTX *ctx, bool allow_tls12)
{
    static const unsigned char alpn[] = "\x08" FK_CHANNEL_ALPN;

    _Static_assert(sizeof alpn == 1 + 8 + 1, "length prefix of the ALPN list");
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, FK_CHANNEL_READ_AHEAD);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ctx, FK_CHANNEL_DEPTH_MAX);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    if (SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_set_min_proto_version(ctx, allow_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, SUITES_TLS13) != 1 ||
        SSL_CTX_set_cipher_list(ctx, SUITES_TLS12) != 1 ||
        SSL_CTX_set1_groups_list(ctx, GROUPS) != 1 ||
        SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1) != 0)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

int fk_channel_ctx_new(const struct fk_channel_identity *identity, bool server, bool allow_tls12,
                       SSL_CTX **ret)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    int err;

    if (ctx == NULL)
        return FK_ERR_NOMEM;
    ERR_clear_error();
    if ((err = set_protocol(ctx, allow_tls12)) != FK_OK ||
        (err = use_chain(ctx, identity)) != FK_OK || (err = use_key(ctx, identity)) != FK_OK ||
        (err = use_trust(ctx, identity)) != FK_OK ||
        (identity->request_key != NULL && (err = use_request_key(ctx, identity)) != FK_OK))
        goto out;
    *ret = ctx;
    ctx = NULL; /* moved */
out:
    ERR_clear_error();
    SSL_CTX_free(ctx);
    return err;
}

int fk_channel_identity_try(const struct fk_channel_identity *identity,
                            int ret_faults[FK_CHANNEL_PARTS])
{
    int faults[FK_CHANNEL_PARTS] = {FK_OK};
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    X509_STORE *store = X509_STORE_new();
    int err = ctx == NULL || store == NULL ? FK_ERR_NOMEM : FK_OK;

    if (err != FK_OK)
        goto out;
    ERR_clear_error();
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    if (identity->certificate != NULL)
        faults[FK_CHANNEL_CERTIFICATE] = use_chain(ctx, identity);
    if (identity->key != NULL)
        faults[FK_CHANNEL_KEY] = use_key(ctx, identity);
    if (identity->ca != NULL)
        faults[FK_CHANNEL_CA] = add_anchors(store, identity);
    if (identity->crl != NULL)
        faults[FK_CHANNEL_CRL] = add_crls(store, identity);
    if (identity->request_key != NULL)
        faults[FK_CHANNEL_REQUEST_KEY] = use_request_key(ctx, identity);
    memcpy(ret_faults, faults, sizeof faults);
out:
    ERR_clear_error();
    X509_STORE_free(store);
    SSL_CTX_free(ctx);
    return err;
}
