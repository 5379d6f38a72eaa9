/* tls/handover: sessions out of OpenSSL's hands, in each version, full and resumed, with tickets.
 */
#include "unit.h"

#include "base/err.h"
#include "pki.h"
#include "tls/handover.h"
#include "tls/record.h"

#include <stdio.h>

/* One site: its contexts live as long as resumption shall work. */
struct site {
    SSL_CTX *server_ctx, *client_ctx;
};

/* One connection: the server's end is OpenSSL's first, then the engine's. */
struct session {
    SSL *server, *client;
    BIO *up, *down;
    struct fk_handover seen;
    struct fk_arena *arena;
    struct fk_record *record;
};

static SSL_SESSION *kept; /* the client's last session */

static int keep(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static void open_site(struct site *site, int version, const char *suite, size_t tickets)
{
    EVP_PKEY *key = pki_key("P-256");
    X509 *certificate = pki_issue(&(struct pki_cert){.subject = "site", .key = key, .serial = 1});

    site->server_ctx = SSL_CTX_new(TLS_server_method());
    site->client_ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_use_certificate(site->server_ctx, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(site->server_ctx, key), 1);
    X509_free(certificate);
    assert_int_equal(SSL_CTX_set_min_proto_version(site->client_ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(site->client_ctx, version), 1);
    if (version == TLS1_3_VERSION)
        assert_int_equal(SSL_CTX_set_ciphersuites(site->client_ctx, suite), 1);
    else
        assert_int_equal(SSL_CTX_set_cipher_list(site->client_ctx, suite), 1);
    assert_int_equal(SSL_CTX_set_num_tickets(site->server_ctx, tickets), 1);
    assert_int_equal(SSL_CTX_set_session_id_context(site->server_ctx, (const uint8_t *)"s", 1), 1);
    SSL_CTX_set_session_cache_mode(site->client_ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(site->client_ctx, keep);
}

static void close_site(struct site *site)
{
    SSL_CTX_free(site->server_ctx);
    SSL_CTX_free(site->client_ctx);
    SSL_SESSION_free(kept);
    kept = NULL;
}

static SSL *make_end(SSL_CTX *ctx, BIO *in, BIO *out)
{
    SSL *ssl = SSL_new(ctx);

    assert_non_null(ssl);
    BIO_up_ref(in);
    BIO_up_ref(out);
    SSL_set_bio(ssl, in, out);
    return ssl;
}

static void shake_hands(struct session *s, const struct site *site, bool watch)
{
    *s = (struct session){.up = BIO_new(BIO_s_mem()), .down = BIO_new(BIO_s_mem())};
    BIO_set_mem_eof_return(s->up, -1);
    BIO_set_mem_eof_return(s->down, -1);
    s->server = make_end(site->server_ctx, s->up, s->down);
    s->client = make_end(site->client_ctx, s->down, s->up);
    if (kept != NULL)
        assert_int_equal(SSL_set_session(s->client, kept), 1);
    SSL_set_accept_state(s->server);
    SSL_set_connect_state(s->client);
    if (watch)
        assert_ok(fk_handover_watch(s->server, &s->seen));
    for (int i = 0; i < 4; i++) {
        (void)SSL_do_handshake(s->client);
        (void)SSL_do_handshake(s->server);
    }
    assert_int_equal(SSL_is_init_finished(s->client) & SSL_is_init_finished(s->server), 1);
}

static void hang_up(struct session *s)
{
    fk_record_free(s->record);
    fk_arena_free(s->arena);
    SSL_set_shutdown(s->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* resumable */
    SSL_free(s->server);
    SSL_free(s->client);
    BIO_free(s->up);
    BIO_free(s->down);
}

static void take_over(struct session *s)
{
    struct fk_session_keys keys;

    assert_ok(fk_handover_take(s->server, &s->seen, &keys));
    SSL_set_shutdown(s->server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->server);
    s->server = NULL;
    assert_ok(fk_record_arena_new(1, &s->arena));
    assert_ok(fk_record_new(s->arena, &keys, FK_RECORD_SERVER, &s->record));
}

/* Bytes both ways between the client's OpenSSL and the engine. */
static void talk(struct session *s)
{
    char text[] = "answer";
    const struct iovec answer = {text, 6};
    struct fk_opened opened;
    uint8_t wire[512];
    char got[16];
    size_t len;
    int n;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_write(s->client, "question", 8), 8);
        n = BIO_read(s->up, wire, sizeof wire);
        assert_ok(fk_record_open(s->record, wire, (size_t)n, &opened));
        assert_int_equal(opened.consumed, n);
        assert_int_equal(opened.len, 8);
        assert_memory_equal(opened.data, "question", 8);
        assert_ok(fk_record_seal(s->record, &answer, 1, wire, sizeof wire, &len));
        assert_int_equal(BIO_write(s->down, wire, (int)len), len);
        assert_int_equal(SSL_read(s->client, got, sizeof got), 6);
        assert_memory_equal(got, "answer", 6);
    }
}

static const struct {
    int version;
    const char *suite;
} suites[] = {
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},
    {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
    {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"},
};

static void sessions_go_on_full_and_resumed(void **state)
{
    struct session session;
    struct site site;

    (void)state;
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        for (size_t tickets = 0; tickets <= 5; tickets++) {
            open_site(&site, suites[i].version, suites[i].suite, tickets);
            for (int round = 0; round < 3; round++) {
                bool can = round > 0 && (tickets > 0 || suites[i].version == TLS1_2_VERSION);

                shake_hands(&session, &site, true);
                assert_int_equal(SSL_session_reused(session.client), can);
                take_over(&session);
                talk(&session);
                hang_up(&session);
            }
            close_site(&site);
        }
}

static void without_a_watch_there_are_no_keys(void **state)
{
    struct fk_session_keys keys;
    struct session session;
    struct site site;

    (void)state;
    open_site(&site, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 2);
    shake_hands(&session, &site, false);
    assert_err(fk_handover_take(session.server, &session.seen, &keys), FK_ERR_INTERNAL);
    hang_up(&session);
    close_site(&site);
}

/* The session that is not taken goes on, and what was seen may go. */
static void what_openssl_has_to_keep(void **state)
{
    struct fk_session_keys keys;
    struct session session;
    struct site site;
    char got[16];

    (void)state;
    open_site(&site, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", 0);
    shake_hands(&session, &site, true);
    assert_err(fk_handover_take(session.server, &session.seen, &keys), FK_ERR_UNSUPPORTED);
    hang_up(&session);
    close_site(&site);

    open_site(&site, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 2);
    SSL_CTX_set_read_ahead(site.server_ctx, 1);
    shake_hands(&session, &site, true);
    assert_int_equal(SSL_write(session.client, "one", 3), 3);
    assert_int_equal(SSL_write(session.client, "two", 3), 3);
    assert_int_equal(SSL_read(session.server, got, sizeof got), 3);
    assert_err(fk_handover_take(session.server, &session.seen, &keys), FK_ERR_UNSUPPORTED);
    fk_handover_forget(session.server);
    memset(&session.seen, 0xaa, sizeof session.seen);
    assert_int_equal(SSL_key_update(session.server, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_write(session.server, "answer", 6), 6);
    assert_int_equal(session.seen.sent, UINT64_C(0xaaaaaaaaaaaaaaaa));
    assert_int_equal(SSL_read(session.client, got, sizeof got), 6);
    hang_up(&session);
    close_site(&site);
}

static void a_handshake_under_way_has_no_keys(void **state)
{
    struct fk_session_keys keys;
    struct fk_handover seen = {.sent = 0};
    struct site site;
    SSL *ssl;

    (void)state;
    open_site(&site, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 2);
    ssl = SSL_new(site.server_ctx);
    assert_err(fk_handover_take(ssl, &seen, &keys), FK_ERR_INTERNAL);
    SSL_free(ssl);
    close_site(&site);
}

UNIT_MAIN(cmocka_unit_test(sessions_go_on_full_and_resumed),
          cmocka_unit_test(without_a_watch_there_are_no_keys),
          cmocka_unit_test(what_openssl_has_to_keep),
          cmocka_unit_test(a_handshake_under_way_has_no_keys))
