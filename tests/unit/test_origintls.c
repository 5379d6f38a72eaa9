/* edge/origintls: whom the edge believes as client, and what it resumes. The other end is OpenSSL's
 * server over a socket pair. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/origintls.h"
#include "loop/loop.h"
#include "pki.h"

#include <sys/socket.h>
#include <unistd.h>

#define NAME "origin.example"

static EVP_PKEY *ca_key, *key;
static X509 *ca, *other_ca;

static X509 *make_ca(const char *subject)
{
    return pki_issue(
        &(struct pki_cert){.subject = subject, .key = ca_key, .ca = true, .serial = 1});
}

static int set_up(void **state)
{
    (void)state;
    ca_key = pki_key_slot("P-256", 0);
    key = pki_key_slot("P-256", 1);
    ca = make_ca("CA");
    other_ca = make_ca("Other");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    X509_free(ca);
    X509_free(other_ca);
    return 0;
}

/* A good certificate; cases change one thing. */
static struct pki_cert good(void)
{
    return (struct pki_cert){.subject = "origin",
                             .key = key,
                             .issuer = ca,
                             .issuer_key = ca_key,
                             .san = "DNS:" NAME ",IP:127.0.0.1,IP:::1,DNS:*.wild.example",
                             .serial = 2};
}

static struct fk_reader reader_of(const char *text)
{
    struct fk_reader reader;

    fk_reader_init(&reader, text, strlen(text));
    return reader;
}

static SSL_CTX *believing(X509 *cert)
{
    char *pem = pki_pem_cert(&cert, 1);
    SSL_CTX *ctx = NULL;

    assert_ok(fk_origintls_new(NULL, reader_of(pem), &ctx));
    free(pem);
    return ctx;
}

/* --- a connection --- */

struct ends {
    int fds[2];
    SSL_CTX *server_ctx;
    SSL *server, *client;
};

/* Names are heard of, whatever they are. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
    (void)ssl;
    (void)alert;
    (void)arg;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *serving(X509 *cert, int version)
{
    static const unsigned char context[] = "test";
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    (void)SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_session_id_context(ctx, context, sizeof context - 1), 1);
    return ctx;
}

static void open_ends(struct ends *ends, SSL_CTX *server, SSL_CTX *client, const char *name,
                      SSL_SESSION **session)
{
    *ends = (struct ends){.server_ctx = server};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends->fds), 0);
    assert_non_null(ends->server = SSL_new(server));
    assert_int_equal(SSL_set_fd(ends->server, ends->fds[1]), 1);
    SSL_set_accept_state(ends->server);
    assert_ok(fk_origintls_session(client, ends->fds[0], name, session, &ends->client));
}

/* What the client says in the end. */
static int shake(struct ends *ends)
{
    unsigned needs = 0;
    int err;

    while ((err = fk_origintls_step(ends->client, &needs)) == FK_ERR_AGAIN) {
        assert_int_equal(needs, FK_IO_READ);
        (void)SSL_do_handshake(ends->server);
    }
    return err;
}

static void close_ends(struct ends *ends)
{
    SSL_free(ends->server);
    fk_origintls_end(ends->client);
    (void)close(ends->fds[0]);
    (void)close(ends->fds[1]);
}

/* One handshake with a certificate; why it failed is checked. */
static int try_certificate(const struct pki_cert *spec, X509 *believed, const char *name, long why)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    X509 *cert = pki_issue(spec);
    SSL_CTX *client = believing(believed);
    int errs[2];

    for (size_t i = 0; i < 2; i++) {
        SSL_CTX *server = serving(cert, versions[i]);
        SSL_SESSION *session = NULL;
        struct ends ends;

        open_ends(&ends, server, client, name, &session);
        errs[i] = shake(&ends);
        assert_int_equal(SSL_get_verify_result(ends.client), why);
        if (errs[i] != FK_OK) {
            assert_string_equal(fk_origintls_why(ends.client), X509_verify_cert_error_string(why));
            assert_null(session);
            assert_false(SSL_is_init_finished(ends.server));
        }
        close_ends(&ends);
        SSL_SESSION_free(session);
        SSL_CTX_free(server);
    }
    assert_int_equal(errs[0], errs[1]);
    SSL_CTX_free(client);
    X509_free(cert);
    return errs[0];
}

/* --- whom it believes --- */

static void good_certificates(void **state)
{
    static const char *const names[] = {NAME, "127.0.0.1", "::1", "a.wild.example",
                                        "ORIGIN.example"};
    struct pki_cert spec = good();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_ok(try_certificate(&spec, ca, names[i], X509_V_OK));
}

static void other_names(void **state)
{
    static const struct {
        const char *name;
        long why;
    } rows[] = {
        {"other.example", X509_V_ERR_HOSTNAME_MISMATCH},
        {"a.origin.example", X509_V_ERR_HOSTNAME_MISMATCH},
        {"a.b.wild.example", X509_V_ERR_HOSTNAME_MISMATCH},
        {"wild.example", X509_V_ERR_HOSTNAME_MISMATCH},
        {"127.0.0.2", X509_V_ERR_IP_ADDRESS_MISMATCH},
        {"::2", X509_V_ERR_IP_ADDRESS_MISMATCH},
    };
    struct pki_cert spec = good();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_err(try_certificate(&spec, ca, rows[i].name, rows[i].why), FK_ERR_VERIFY);
}

/* A name is one only among the alternative names. */
static void subjects_are_no_names(void **state)
{
    struct pki_cert spec = good();

    (void)state;
    spec.subject = NAME;
    spec.san = NULL;
    assert_err(try_certificate(&spec, ca, NAME, X509_V_ERR_HOSTNAME_MISMATCH), FK_ERR_VERIFY);
}

static void other_times(void **state)
{
    struct pki_cert spec = good();

    (void)state;
    spec.not_before = -7200;
    spec.not_after = -3600;
    assert_err(try_certificate(&spec, ca, NAME, X509_V_ERR_CERT_HAS_EXPIRED), FK_ERR_VERIFY);
    spec.not_before = 3600;
    spec.not_after = 7200;
    assert_err(try_certificate(&spec, ca, NAME, X509_V_ERR_CERT_NOT_YET_VALID), FK_ERR_VERIFY);
}

static void other_authorities(void **state)
{
    struct pki_cert spec = good();

    (void)state;
    assert_err(try_certificate(&spec, other_ca, NAME, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY),
               FK_ERR_VERIFY);
    spec.issuer = NULL;
    spec.issuer_key = NULL;
    assert_err(try_certificate(&spec, ca, NAME, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT),
               FK_ERR_VERIFY);
}

static void other_purposes(void **state)
{
    struct pki_cert spec = good();

    (void)state;
    spec.eku = "serverAuth";
    assert_ok(try_certificate(&spec, ca, NAME, X509_V_OK));
    spec.eku = "clientAuth";
    assert_err(try_certificate(&spec, ca, NAME, X509_V_ERR_INVALID_PURPOSE), FK_ERR_VERIFY);
}

/* OpenSSL would take them for any name, and for all below. */
static void no_names(void **state)
{
    char longest[FK_HOST_MAX + 2];
    const char *const names[] = {"", ".", ".wild.example", longest};
    SSL_CTX *client = believing(ca);
    SSL_SESSION *session = NULL;
    SSL *ssl = NULL;

    (void)state;
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_false(fk_origintls_is_name(names[i]));
        assert_err(fk_origintls_session(client, -1, names[i], &session, &ssl), FK_ERR_FORMAT);
        assert_null(ssl);
    }
    longest[FK_HOST_MAX] = '\0';
    assert_true(fk_origintls_is_name(longest));
    SSL_CTX_free(client);
}

/* --- sessions --- */

struct pair {
    X509 *cert;
    SSL_CTX *client, *server;
    SSL_SESSION *session;
};

static void open_pair(struct pair *pair, int version)
{
    struct pki_cert spec = good();

    *pair = (struct pair){.cert = pki_issue(&spec), .client = believing(ca)};
    pair->server = serving(pair->cert, version);
}

static void close_pair(struct pair *pair)
{
    SSL_SESSION_free(pair->session);
    SSL_CTX_free(pair->client);
    SSL_CTX_free(pair->server);
    X509_free(pair->cert);
}

/* Connect, talk, hang up; whether it was resumed. */
static bool talk(struct pair *pair)
{
    struct ends ends;
    char byte = 'x';
    bool resumed;

    open_ends(&ends, pair->server, pair->client, NAME, &pair->session);
    assert_ok(shake(&ends));
    assert_string_equal(SSL_get_servername(ends.server, TLSEXT_NAMETYPE_host_name), NAME);
    assert_int_equal(SSL_do_handshake(ends.server), 1);
    assert_int_equal(SSL_write(ends.server, &byte, 1), 1);
    assert_int_equal(SSL_read(ends.client, &byte, 1), 1);
    resumed = SSL_session_reused(ends.client) == 1;
    assert_int_equal(SSL_session_reused(ends.server), resumed);
    close_ends(&ends);
    return resumed;
}

static void sessions_are_resumed(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct pair pair;

        open_pair(&pair, versions[i]);
        assert_false(talk(&pair));
        assert_non_null(pair.session);
        assert_true(talk(&pair));
        assert_true(talk(&pair));
        close_pair(&pair);
    }
}

/* The certificate that was believed has meanwhile become too old. */
static void sessions_end_with_the_certificate(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct pair pair;

        open_pair(&pair, versions[i]);
        assert_false(talk(&pair));
        assert_non_null(
            X509_gmtime_adj(X509_getm_notAfter(SSL_SESSION_get0_peer(pair.session)), -10));
        assert_false(talk(&pair));
        assert_true(talk(&pair)); /* the new one's */
        close_pair(&pair);
    }
}

/* Whatever an origin has said beyond what was read must not be the answer of the next request. */
static void it_rests_when_nothing_waits(void **state)
{
    struct pair pair;
    struct ends ends;
    char bytes[2];

    (void)state;
    open_pair(&pair, TLS1_3_VERSION);
    open_ends(&ends, pair.server, pair.client, NAME, &pair.session);
    assert_ok(shake(&ends));
    assert_int_equal(SSL_do_handshake(ends.server), 1);
    assert_int_equal(SSL_write(ends.server, "ab", 2), 2);
    assert_int_equal(SSL_read(ends.client, bytes, 1), 1);
    assert_false(fk_origintls_rests(ends.client));
    assert_int_equal(SSL_read(ends.client, bytes, 1), 1);
    assert_true(fk_origintls_rests(ends.client));
    close_ends(&ends);
    close_pair(&pair);
}

static void the_end_is_told(void **state)
{
    struct pair pair;
    struct ends ends;
    char byte;

    (void)state;
    open_pair(&pair, TLS1_3_VERSION);
    open_ends(&ends, pair.server, pair.client, NAME, &pair.session);
    assert_ok(shake(&ends));
    assert_int_equal(SSL_do_handshake(ends.server), 1);
    fk_origintls_end(ends.client);
    ends.client = NULL;
    assert_int_equal(SSL_read(ends.server, &byte, 1), 0);
    assert_int_equal(SSL_get_shutdown(ends.server), SSL_RECEIVED_SHUTDOWN);
    close_ends(&ends);
    close_pair(&pair);
}

/* --- what is no TLS, and no CA --- */

static void other_failures(void **state)
{
    struct pair pair;
    struct ends ends;

    (void)state;
    open_pair(&pair, TLS1_3_VERSION);
    open_ends(&ends, pair.server, pair.client, NAME, &pair.session);
    assert_int_equal(send(ends.fds[1], "HTTP/1.1 200 OK\r\n\r\n", 19, 0), 19);
    assert_err(shake(&ends), FK_ERR_TLS);
    assert_string_equal(fk_origintls_why(ends.client), "wrong version number");
    close_ends(&ends);
    open_ends(&ends, pair.server, pair.client, NAME, &pair.session);
    assert_int_equal(shutdown(ends.fds[1], SHUT_WR), 0);
    assert_err(shake(&ends), FK_ERR_TLS);
    assert_string_equal(fk_origintls_why(ends.client), "unexpected eof while reading");
    close_ends(&ends);
    close_pair(&pair);
}

static int read_ca(const char *pem)
{
    SSL_CTX *ctx = NULL;
    int err = fk_origintls_new(NULL, reader_of(pem), &ctx);

    assert_true((err == FK_OK) == (ctx != NULL));
    SSL_CTX_free(ctx);
    return err;
}

static void files_of_authorities(void **state)
{
    char *cert = pki_pem_cert(&ca, 1), *secret = pki_pem_key(ca_key), both[8192];

    (void)state;
    assert_ok(read_ca(cert));
    (void)snprintf(both, sizeof both, "Of the test:\n%s%s", cert, cert);
    assert_ok(read_ca(both)); /* twice is not wrong */
    (void)snprintf(both, sizeof both, "%s%s", cert, secret);
    assert_err(read_ca(both), FK_ERR_DENIED);
    assert_err(read_ca(""), FK_ERR_FORMAT);
    assert_err(read_ca("nothing\n"), FK_ERR_FORMAT);
    cert[strlen(cert) / 2] = '!';
    assert_err(read_ca(cert), FK_ERR_FORMAT);
    free(cert);
    free(secret);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

UNIT_MAIN(CASE(good_certificates), CASE(other_names), CASE(subjects_are_no_names),
          CASE(other_times), CASE(other_authorities), CASE(other_purposes), CASE(no_names),
          CASE(sessions_are_resumed), CASE(sessions_end_with_the_certificate),
          CASE(it_rests_when_nothing_waits), CASE(the_end_is_told), CASE(other_failures),
          CASE(files_of_authorities))
