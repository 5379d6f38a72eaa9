/*
 * tls/finish12 and the engine's Finished: the end of TLS 1.2 handshakes of OpenSSL's client and
 * server is made and verified here, too; their sessions, encoded here, are resumed by OpenSSL.
 */
#include "unit.h"
#include "pki.h"

#include "base/err.h"
#include "tls/finish12.h"
#include "tls/record.h"
#include "tls/sescache.h"
#include "tls/server_ctx.h"
#include "wire/records.h"

#include <openssl/err.h>
#include <time.h>
#include <unistd.h>

static const uint8_t context[32] = "of this site";

/* --- a client and a server, and what they say in turn --- */

struct flight {
    uint8_t bytes[8192];
    size_t len, clear; /* clear: up to ChangeCipherSpec */
};

static struct {
    SSL *client, *server;
    struct flight hello, answer, finish, end;
} ends;

static void set_memory(SSL *ssl)
{
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl, in, out);
}

/* What `from` has to say now goes to `to`. */
static void carry(SSL *from, SSL *to, struct flight *ret)
{
    struct fk_records records;
    int n;

    (void)SSL_do_handshake(from);
    n = BIO_read(SSL_get_wbio(from), ret->bytes, sizeof ret->bytes);
    assert_true(n > 0);
    ret->len = (size_t)n;
    assert_ok(fk_records_scan((struct fk_reader){ret->bytes, ret->len}, &records));
    ret->clear = records.clear;
    assert_int_equal(BIO_write(SSL_get_rbio(to), ret->bytes, n), n);
}

static SSL *new_client(const char *suite)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;

    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION), 1);
    if (suite != NULL)
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, suite), 1);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    set_memory(ssl);
    SSL_set_connect_state(ssl);
    return ssl;
}

static void shake_hands(const char *suite)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    X509 *cert =
        pki_issue(&(struct pki_cert){.subject = "site", .key = pki_key("P-256"), .serial = 1});

    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pki_key("P-256")), 1);
    X509_free(cert);
    ends.server = SSL_new(ctx);
    SSL_CTX_free(ctx);
    set_memory(ends.server);
    SSL_set_accept_state(ends.server);
    ends.client = new_client(suite);
    carry(ends.client, ends.server, &ends.hello);
    carry(ends.server, ends.client, &ends.answer);
    carry(ends.client, ends.server, &ends.finish);
    carry(ends.server, ends.client, &ends.end);
    assert_int_equal(SSL_do_handshake(ends.client), 1);
}

static void leave(void)
{
    SSL_free(ends.client);
    SSL_free(ends.server);
    ERR_clear_error();
}

static void get_master(uint8_t ret[FK_MASTER12])
{
    assert_int_equal(SSL_SESSION_get_master_key(SSL_get0_session(ends.client), ret, FK_MASTER12),
                     FK_MASTER12);
}

/* --- Finished --- */

static struct fk_record *new_engine(struct fk_arena *arena, const struct fk_suite *suite,
                                    const uint8_t *master, enum fk_record_role role)
{
    struct fk_session_keys keys;
    struct fk_record *record;
    uint8_t client[32], server[32];

    (void)SSL_get_client_random(ends.client, client, sizeof client);
    (void)SSL_get_server_random(ends.client, server, sizeof server);
    assert_ok(fk_session_keys_tls12(suite, master, client, server, false, &keys));
    keys.client.seq = keys.server.seq = 0;
    assert_ok(fk_record_new(arena, &keys, role, &record));
    return record;
}

/* The Finished behind a flight's ChangeCipherSpec is the one that belongs there. */
static void assert_finished(struct fk_record *record, struct flight *flight,
                            struct fk_transcript12 *transcript, const struct fk_suite *suite,
                            const uint8_t *master, bool client)
{
    uint8_t message[16] = {20, 0, 0, 12}, wanted[FK_FINISHED12];
    uint8_t *at = flight->bytes + flight->clear + 6;
    size_t left = flight->len - flight->clear - 6, used;

    assert_ok(
        fk_transcript12_records(transcript, (struct fk_reader){flight->bytes, flight->clear}));
    assert_ok(fk_transcript12_finished(transcript, suite, master, client, wanted));
    assert_err(fk_record_open_finished(record, at, left - 1, message + 4, &used), FK_ERR_AGAIN);
    assert_ok(fk_record_open_finished(record, at, left, message + 4, &used));
    assert_int_equal(used, left);
    assert_memory_equal(message + 4, wanted, sizeof wanted);
    assert_ok(fk_transcript12_message(transcript, message, sizeof message));
}

static void finish_with(const char *name)
{
    const struct fk_suite *suite;
    struct fk_transcript12 *transcript;
    struct fk_record *as_server, *as_client;
    struct fk_arena *arena;
    uint8_t master[FK_MASTER12];

    shake_hands(name);
    get_master(master);
    suite = fk_suite_find(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ends.client)));
    assert_non_null(suite);
    assert_ok(fk_record_arena_new(2, &arena));
    as_server = new_engine(arena, suite, master, FK_RECORD_SERVER);
    as_client = new_engine(arena, suite, master, FK_RECORD_CLIENT);
    assert_ok(fk_transcript12_new(&transcript));
    assert_ok(
        fk_transcript12_records(transcript, (struct fk_reader){ends.hello.bytes, ends.hello.len}));
    assert_ok(fk_transcript12_records(transcript,
                                      (struct fk_reader){ends.answer.bytes, ends.answer.len}));
    assert_finished(as_server, &ends.finish, transcript, suite, master, true);
    assert_finished(as_client, &ends.end, transcript, suite, master, false);
    fk_record_free(as_server);
    fk_record_free(as_client);
    fk_transcript12_free(transcript);
    fk_arena_free(arena);
    leave();
}

static void both_finished_of_each_suite(void **state)
{
    (void)state;
    finish_with("ECDHE-ECDSA-AES128-GCM-SHA256");
    finish_with("ECDHE-ECDSA-AES256-GCM-SHA384");
    finish_with("ECDHE-ECDSA-CHACHA20-POLY1305");
}

static void what_is_sealed_is_opened(void **state)
{
    static const uint8_t verify[FK_RECORD_VERIFY] = "twelve bytes";
    const struct fk_suite *suite = fk_suite_find(0xC02B);
    uint8_t master[FK_MASTER12] = {1}, bytes[FK_RECORD_CONTROL_MAX], got[FK_RECORD_VERIFY];
    struct fk_record *as_server, *as_client;
    struct fk_arena *arena;
    size_t len, used;

    (void)state;
    ends.client = new_client(NULL);
    assert_ok(fk_record_arena_new(2, &arena));
    as_server = new_engine(arena, suite, master, FK_RECORD_SERVER);
    as_client = new_engine(arena, suite, master, FK_RECORD_CLIENT);
    assert_ok(fk_record_seal_finished(as_server, verify, bytes, &len));
    bytes[0] = FK_CONTENT_APPLICATION;
    assert_err(fk_record_open_finished(as_client, bytes, len, got, &used), FK_ERR_UNEXPECTED);
    bytes[0] = FK_CONTENT_HANDSHAKE;
    assert_ok(fk_record_open_finished(as_client, bytes, len, got, &used));
    assert_int_equal(used, len);
    assert_memory_equal(got, verify, sizeof verify);
    assert_ok(fk_record_seal_finished(as_server, verify, bytes, &len));
    bytes[len - 1] ^= 1;
    assert_err(fk_record_open_finished(as_client, bytes, len, got, &used), FK_ERR_VERIFY);
    fk_record_free(as_server);
    fk_record_free(as_client);
    fk_arena_free(arena);
    SSL_free(ends.client);
}

static void what_is_no_handshake_is_not_hashed(void **state)
{
    struct fk_transcript12 *transcript;

    (void)state;
    assert_ok(fk_transcript12_new(&transcript));
    assert_err(fk_transcript12_records(
                   transcript, (struct fk_reader){(const uint8_t *)"\x15\3\3\0\2\2\x28", 7}),
               FK_ERR_UNEXPECTED);
    assert_err(fk_transcript12_records(transcript,
                                       (struct fk_reader){(const uint8_t *)"\x16\3\3\0\2\2", 6}),
               FK_ERR_TRUNCATED);
    fk_transcript12_free(transcript);
}

/* --- sessions --- */

static struct fk_tickets *tickets;
static struct fk_ticket_site *site;

static int setup(void **state)
{
    struct fk_ticket_keys keys = {.count = 1, .keys = {{.secret = {3}}}};

    (void)state;
    assert_ok(fk_tickets_new(NULL, &tickets));
    fk_tickets_set(tickets, &keys);
    assert_ok(fk_ticket_site_new(tickets, "site", &site));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fk_ticket_site_free(site);
    fk_tickets_free(tickets);
    return 0;
}

static struct fk_session12 some_session(const uint8_t *master, const uint8_t *id, size_t id_len)
{
    return (struct fk_session12){.suite = 0xC02B,
                                 .extended_master_secret = true,
                                 .master = master,
                                 .context = context,
                                 .id = {id, id_len},
                                 .made_s = (uint64_t)time(NULL),
                                 .lifetime_s = 32400};
}

static size_t encode(const struct fk_session12 *session, uint8_t bytes[FK_SESSION12_MAX])
{
    struct fk_writer out;
    size_t len;

    fk_writer_init(&out, bytes, FK_SESSION12_MAX);
    fk_session12_encode(session, &out);
    assert_ok(fk_writer_end(&out, &len));
    return len;
}

/* OpenSSL reads it, and writes the same. */
static void sessions_as_openssl_has_them(void **state)
{
    const uint8_t master[FK_MASTER12] = {0x80, 1, 2}, id[32] = {9};
    uint8_t bytes[FK_SESSION12_MAX], again[FK_SESSION12_MAX], *next = again;
    const uint8_t *at = bytes;
    struct fk_session12 ours = some_session(master, id, sizeof id);
    SSL_SESSION *session;
    size_t len;

    (void)state;
    for (int extended = 0; extended < 2; extended++) {
        ours.extended_master_secret = extended == 1;
        at = bytes;
        next = again;
        len = encode(&ours, bytes);
        session = d2i_SSL_SESSION(NULL, &at, (long)len);
        assert_non_null(session);
        assert_ptr_equal(at, bytes + len);
        assert_int_equal(SSL_SESSION_get_protocol_version(session), TLS1_2_VERSION);
        assert_int_equal(SSL_SESSION_get_timeout(session), 32400);
        assert_int_equal(SSL_SESSION_get_ticket_lifetime_hint(session), 32400);
        /* Behind the length of all, and but for fields that it adds at the end. */
        assert_true(i2d_SSL_SESSION(session, &next) >= (int)len);
        assert_memory_equal(again + 3, bytes + 3, len - 3);
        SSL_SESSION_free(session);
    }
}

/* With a client's certificate, which OpenSSL reads and writes the same. */
static void sessions_with_a_certificate(void **state)
{
    const uint8_t master[FK_MASTER12] = {0x80, 1, 2};
    uint8_t bytes[FK_SESSION12_MAX], again[FK_SESSION12_MAX + 64], *next = again;
    const struct pki_cert spec = {.subject = "client", .key = pki_key("P-256")};
    struct fk_session12 ours = some_session(master, NULL, 0);
    unsigned char *der = NULL;
    X509 *cert = pki_issue(&spec);
    const int der_len = i2d_X509(cert, &der);
    const uint8_t *at = bytes;
    SSL_SESSION *session;
    size_t len;

    (void)state;
    assert_in_range(der_len, 128, FK_SESSION12_PEER_MAX);
    ours.peer = (struct fk_reader){der, (size_t)der_len};
    len = encode(&ours, bytes);
    session = d2i_SSL_SESSION(NULL, &at, (long)len);
    assert_non_null(session);
    assert_ptr_equal(at, bytes + len);
    assert_int_equal(X509_cmp(SSL_SESSION_get0_peer(session), cert), 0);
    assert_true(i2d_SSL_SESSION(session, &next) >= (int)len);
    assert_memory_equal(again + 4, bytes + 4, len - 4);
    SSL_SESSION_free(session);
    OPENSSL_free(der);
    X509_free(cert);
}

/* What OpenSSL does with a ticket: the callback, the MAC, then decryption. */
static void tickets_are_opened(void **state)
{
    const uint8_t master[FK_MASTER12] = {5};
    const struct fk_session12 ours = some_session(master, NULL, 0);
    uint8_t bytes[FK_SESSION12_MAX], ticket[FK_TICKET12_MAX], plain[FK_TICKET12_MAX], tag[32];
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(fk_suite_hmac());
    struct fk_writer out;
    size_t len = encode(&ours, bytes), ticket_len, tag_len;
    int n, last;

    (void)state;
    fk_writer_init(&out, ticket, sizeof ticket);
    assert_ok(fk_session12_ticket(site, (struct fk_reader){bytes, len}, &out));
    assert_ok(fk_writer_end(&out, &ticket_len));
    assert_int_equal(fk_ticket_site_open(site, ticket, ticket + 16, cipher, mac), 1);
    assert_int_equal(EVP_MAC_update(mac, ticket, ticket_len - sizeof tag), 1);
    assert_int_equal(EVP_MAC_final(mac, tag, &tag_len, sizeof tag), 1);
    assert_memory_equal(tag, ticket + ticket_len - sizeof tag, sizeof tag);
    assert_int_equal(
        EVP_DecryptUpdate(cipher, plain, &n, ticket + 32, (int)(ticket_len - 32 - sizeof tag)), 1);
    assert_int_equal(EVP_DecryptFinal_ex(cipher, plain + n, &last), 1);
    assert_int_equal(n + last, len);
    assert_memory_equal(plain, bytes, len);
    EVP_CIPHER_CTX_free(cipher);
    EVP_MAC_CTX_free(mac);
}

static void without_keys_there_is_no_ticket(void **state)
{
    const uint8_t bytes[FK_SESSION12_MAX + 1] = {0};
    uint8_t ticket[FK_TICKET12_MAX];
    struct fk_ticket_site *none;
    struct fk_tickets *empty;
    struct fk_writer out;

    (void)state;
    assert_ok(fk_tickets_new(NULL, &empty));
    assert_ok(fk_ticket_site_new(empty, "site", &none));
    fk_writer_init(&out, ticket, sizeof ticket);
    assert_err(fk_session12_ticket(none, (struct fk_reader){bytes, 100}, &out), FK_ERR_NOT_FOUND);
    assert_err(fk_session12_ticket(site, (struct fk_reader){bytes, sizeof bytes}, &out),
               FK_ERR_LIMIT);
    assert_int_equal(out.len, 0);
    fk_ticket_site_free(none);
    fk_tickets_free(empty);
}

/* A server without a certificate. */
static SSL *new_resumer(struct fk_sescache *cache)
{
    struct fk_server_conf conf = {.tls12 = true,
                                  .exchanges = FK_SERVER_ECDHE,
                                  .id = context,
                                  .lifetime_us = 3600000000,
                                  .ids = true,
                                  .tickets = site,
                                  .cache = cache,
                                  .only_resumes = true};
    SSL_CTX *ctx;
    SSL *ssl;

    assert_ok(fk_server_ctx_new(&conf, &ctx));
    ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    set_memory(ssl);
    SSL_set_accept_state(ssl);
    return ssl;
}

/* Whether the client's session is known to a server that has it from this encoding. */
static bool resumes(SSL_SESSION *known, struct fk_sescache *cache)
{
    SSL *server = new_resumer(cache), *client = new_client(NULL);
    struct flight flight;
    bool done;

    assert_int_equal(SSL_set_session(client, known), 1);
    carry(client, server, &flight);
    if (SSL_do_handshake(server) == -1 && SSL_get_error(server, -1) == SSL_ERROR_WANT_X509_LOOKUP) {
        assert_int_equal(BIO_ctrl_pending(SSL_get_wbio(server)), 0); /* not a byte is out */
        done = false;
    } else {
        carry(server, client, &flight);
        carry(client, server, &flight);
        assert_int_equal(SSL_do_handshake(server), 1);
        assert_int_equal(SSL_session_reused(client), 1);
        done = true;
    }
    SSL_free(client);
    SSL_free(server);
    ERR_clear_error();
    return done;
}

static void what_is_encoded_is_resumed(void **state)
{
    uint8_t master[FK_MASTER12], bytes[FK_SESSION12_MAX];
    struct fk_session12 ours;
    struct fk_sescache *cache;
    SSL_SESSION *clients, *session;
    const uint8_t *at = bytes, *id;
    unsigned id_len;
    size_t len;
    int fd;

    (void)state;
    assert_ok(fk_sescache_create(64, &fd));
    assert_ok(fk_sescache_open(fd, &cache));
    shake_hands("ECDHE-ECDSA-AES128-GCM-SHA256");
    get_master(master);
    clients = SSL_get1_session(ends.client);
    id = SSL_SESSION_get_id(clients, &id_len);
    assert_false(resumes(clients, cache));
    ours = some_session(master, id, id_len);
    len = encode(&ours, bytes);
    session = d2i_SSL_SESSION(NULL, &at, (long)len);
    assert_ok(fk_sescache_put(cache, site, session));
    assert_true(resumes(clients, cache));
    SSL_SESSION_free(session);
    SSL_SESSION_free(clients);
    leave();
    fk_sescache_close(cache);
    close(fd);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(both_finished_of_each_suite),
        cmocka_unit_test(what_is_sealed_is_opened),
        cmocka_unit_test(what_is_no_handshake_is_not_hashed),
        cmocka_unit_test(sessions_as_openssl_has_them),
        cmocka_unit_test(sessions_with_a_certificate),
        cmocka_unit_test(tickets_are_opened),
        cmocka_unit_test(without_keys_there_is_no_ticket),
        cmocka_unit_test(what_is_encoded_is_resumed),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
