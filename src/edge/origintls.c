/* TLS to origins: see origintls.h. */
#include "edge/origintls.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

/* What a file of CAs holds: certificates, and nothing that has to be kept secret. */
static int trust(SSL_CTX *ctx, const STACK_OF(X509_INFO) * found)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int n = 0;

    for (int i = 0; i < sk_X509_INFO_num(found); i++) {
        const X509_INFO *info = sk_X509_INFO_value(found, i);

        if (info->x_pkey != NULL)
            return FK_ERR_DENIED;
        if (info->x509 != NULL && X509_STORE_add_cert(store, info->x509) != 1)
            return FK_ERR_CRYPTO;
        n += info->x509 != NULL ? 1 : 0;
    }
    return n > 0 ? FK_OK : FK_ERR_FORMAT;
}

static int read_cas(OSSL_LIB_CTX *libctx, struct fk_reader ca, STACK_OF(X509_INFO) * *ret)
{
    BIO *bio = ca.left > INT_MAX ? NULL : BIO_new_mem_buf(ca.next, (int)ca.left);

    if (bio == NULL)
        return FK_ERR_NOMEM;
    *ret = PEM_X509_INFO_read_bio_ex(bio, NULL, NULL, (void *)(uintptr_t) "", libctx, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return *ret == NULL ? FK_ERR_FORMAT : FK_OK;
}

/* The origin has sent what its session can be resumed by. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION **place = SSL_get_app_data(ssl);

    SSL_SESSION_free(*place);
    *place = session;
    return 1; /* kept */
}

static int set_up(SSL_CTX *ctx)
{
    static const unsigned char protocols[] = "\x08http/1.1";

    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(ctx, protocols, sizeof protocols - 1) != 0)
        return FK_ERR_CRYPTO;
    return FK_OK;
}

int fk_origintls_new(OSSL_LIB_CTX *libctx, struct fk_reader ca, SSL_CTX **ret)
{
    STACK_OF(X509_INFO) *cas = NULL;
    SSL_CTX *ctx;
    int err;

    if ((err = read_cas(libctx, ca, &cas)) != FK_OK)
        return err;
    if ((ctx = SSL_CTX_new_ex(libctx, NULL, TLS_client_method())) == NULL)
        err = FK_ERR_NOMEM;
    else if ((err = set_up(ctx)) == FK_OK)
        err = trust(ctx, cas);
    sk_X509_INFO_pop_free(cas, X509_INFO_free);
    if (err != FK_OK) {
        SSL_CTX_free(ctx);
        return err;
    }
    *ret = ctx;
    return FK_OK;
}

bool fk_origintls_is_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= FK_HOST_MAX && name[0] != '.';
}

static bool is_address(const char *name)
{
    uint8_t bytes[16];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* Which name it has to bear (RFC 9110 section 4.3.4), and be asked for by. */
static int expect(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? FK_OK : FK_ERR_NOMEM;
    if (SSL_set1_host(ssl, name) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1)
        return FK_ERR_NOMEM;
    return FK_OK;
}

/* What was believed then is believed still: the CAs and the name are the same as long as `session`
 * is kept, so it is a question of time. */
static bool is_valid(SSL_SESSION *session)
{
    X509 *cert = SSL_SESSION_get0_peer(session);

    return SSL_SESSION_is_resumable(session) == 1 && cert != NULL &&
           X509_cmp_current_time(X509_get0_notAfter(cert)) > 0;
}

int fk_origintls_session(SSL_CTX *ctx, int fd, const char *name, SSL_SESSION **session, SSL **ret)
{
    SSL *ssl;

    if (!fk_origintls_is_name(name))
        return FK_ERR_FORMAT;
    if ((ssl = SSL_new(ctx)) == NULL)
        return FK_ERR_NOMEM;
    if (SSL_set_fd(ssl, fd) != 1 || expect(ssl, name) != FK_OK ||
        SSL_set_app_data(ssl, session) != 1 ||
        (*session != NULL && is_valid(*session) && SSL_set_session(ssl, *session) != 1)) {
        SSL_free(ssl);
        return FK_ERR_NOMEM;
    }
    SSL_set_connect_state(ssl);
    *ret = ssl;
    return FK_OK;
}

int fk_origintls_step(SSL *ssl, unsigned *ret_needs)
{
    int n;

    ERR_clear_error();
    if ((n = SSL_do_handshake(ssl)) == 1)
        return FK_OK;
    switch (SSL_get_error(ssl, n)) {
    case SSL_ERROR_WANT_READ:
        *ret_needs = FK_IO_READ;
        return FK_ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        *ret_needs = FK_IO_WRITE;
        return FK_ERR_AGAIN;
    case SSL_ERROR_SSL:
        return SSL_get_verify_result(ssl) == X509_V_OK ? FK_ERR_TLS : FK_ERR_VERIFY;
    default:
        return FK_ERR_CLOSED;
    }
}

const char *fk_origintls_why(const SSL *ssl)
{
    long result = SSL_get_verify_result(ssl);
    const char *reason;

    if (result != X509_V_OK)
        return X509_verify_cert_error_string(result);
    reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "the origin has ended the connection";
}

bool fk_origintls_rests(SSL *ssl)
{
    SSL_set_msg_callback(ssl, NULL);
    return SSL_has_pending(ssl) == 0;
}

void fk_origintls_end(SSL *ssl)
{
    if (ssl == NULL)
        return;
    SSL_set_msg_callback(ssl, NULL);
    if (SSL_is_init_finished(ssl))
        (void)SSL_shutdown(ssl); /* without it the session could not be resumed, either */
    SSL_free(ssl);
    ERR_clear_error();
}
