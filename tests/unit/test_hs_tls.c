/*
 * keyd/hs_tls: handshakes over memory with OpenSSL's client, keys of the record engine at the end;
 * the signer's place is taken by a back-end that answers when the test says so.
 */
#include "unit.h"
#include "pki.h"

#include "base/err.h"
#include "keyd/hs_tls.h"
#include "tls/record.h"
#include "tls/rkey.h"
#include "tls/server_ctx.h"
#include "tls/session_wire.h"
#include "wire/records.h"

#include <openssl/err.h>

/* --- a back-end with one request at a time --- */

struct fk_key_ticket {
    fk_key_done_cb *done;
    void *arg;
    uint8_t tbs[1024];
    size_t len;
    uint8_t share[8], digest[FK_SHARE_DIGEST]; /* that came along */
    size_t share_len;
};

static struct {
    struct fk_keyback back;
    struct fk_key_ticket ticket;
    bool asked, cancelled;
} signer;

static int submit(struct fk_keyback *back, const struct fk_key_request *request,
                  fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    (void)back;
    assert_false(signer.asked);
    assert_true(request->tbs_len <= sizeof signer.ticket.tbs);
    memcpy(signer.ticket.tbs, request->tbs, request->tbs_len);
    signer.ticket.len = request->tbs_len;
    assert_true(request->share_len <= sizeof signer.ticket.share);
    signer.ticket.share_len = request->share_len;
    if (request->share_len > 0) {
        memcpy(signer.ticket.share, request->share, request->share_len);
        memcpy(signer.ticket.digest, request->share_digest, FK_SHARE_DIGEST);
    }
    signer.ticket.done = done;
    signer.ticket.arg = arg;
    signer.asked = true;
    *ret = &signer.ticket;
    return FK_OK;
}

static void cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    (void)back, (void)ticket;
    signer.asked = false;
    signer.cancelled = true;
}

static const struct fk_keyback_ops ops = {.submit = submit, .cancel = cancel};

static void answer_signer(int err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t out[128];
    size_t len = sizeof out;

    assert_true(signer.asked);
    signer.asked = false;
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pki_key("P-256")), 1);
    assert_int_equal(EVP_DigestSign(ctx, out, &len, signer.ticket.tbs, signer.ticket.len), 1);
    EVP_MD_CTX_free(ctx);
    signer.ticket.done(signer.ticket.arg, err, out, err == FK_OK ? len : 0);
}

/* --- a server, and a client --- */

static OSSL_LIB_CTX *libctx;
static struct fk_tickets *tickets;
static struct fk_ticket_site *site;
static SSL_CTX *server_ctx;
static struct fk_hs_tls *tls;
static unsigned woken;
static SSL *client;
static BIO *down, *up;
static uint8_t wire[65536];

static void on_wake(void *arg)
{
    assert_null(arg);
    woken++;
}

static int setup(void **state)
{
    struct fk_ticket_keys keys = {.count = 1};
    uint8_t id[32] = {1};
    struct fk_cert cert = {.chain = NULL};
    struct fk_server_conf conf = {.tls12 = true,
                                  .tls13 = true,
                                  .exchanges = FK_SERVER_ECDHE,
                                  .alpn = (const uint8_t *)"\2h2",
                                  .alpn_len = 3,
                                  .id = id,
                                  .lifetime_us = 3600000000,
                                  .n_tickets = 2,
                                  .certs = &cert,
                                  .n_certs = 1,
                                  .back = &signer.back};

    (void)state;
    signer.back.ops = &ops;
    libctx = OSSL_LIB_CTX_new();
    assert_ok(fk_rkey_provider_load(libctx));
    assert_ok(fk_tickets_new(libctx, &tickets));
    fk_tickets_set(tickets, &keys);
    assert_ok(fk_ticket_site_new(tickets, "site", &site));
    cert.leaf =
        pki_issue(&(struct pki_cert){.subject = "site", .key = pki_key("P-256"), .serial = 1});
    conf.libctx = libctx;
    conf.tickets = site;
    assert_ok(fk_server_ctx_new(&conf, &server_ctx));
    X509_free(cert.leaf);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(server_ctx);
    fk_ticket_site_free(site);
    fk_tickets_free(tickets);
    OSSL_LIB_CTX_free(libctx);
    return 0;
}

static void open_both(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    client = SSL_new(ctx);
    SSL_CTX_free(ctx);
    assert_int_equal(SSL_set_alpn_protos(client, (const uint8_t *)"\2h2", 3), 0);
    down = BIO_new(BIO_s_mem());
    up = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(down, -1);
    SSL_set_bio(client, down, up);
    SSL_set_connect_state(client);
    assert_ok(fk_hs_tls_new(server_ctx, on_wake, NULL, &tls));
    woken = 0;
    signer.cancelled = false;
}

static void close_both(void)
{
    fk_hs_tls_free(tls);
    SSL_free(client);
    ERR_clear_error();
}

/* What the client has to say now, to the server. */
static int feed(void)
{
    int n;

    (void)SSL_do_handshake(client);
    n = BIO_read(up, wire, sizeof wire);
    assert_true(n > 0);
    return fk_hs_tls_feed(tls, (struct fk_reader){wire, (size_t)n});
}

/* The answer, its records to the client. */
static struct fk_handshake_answer take_answer(void)
{
    static uint8_t bytes[65536];
    static const uint8_t id[FK_HANDSHAKE_ID] = {9, 8, 7};
    struct fk_handshake_answer answer;
    struct fk_writer out;

    fk_writer_init(&out, bytes, sizeof bytes);
    assert_ok(fk_hs_tls_answer(tls, id, &out));
    assert_ok(fk_handshake_answer_decode((struct fk_reader){bytes, out.len}, &answer));
    assert_memory_equal(answer.id, id, sizeof id);
    if (answer.records.left > 0)
        assert_int_equal(BIO_write(down, answer.records.next, (int)answer.records.left),
                         answer.records.left);
    return answer;
}

/* The engine opens what the client writes. */
static void assert_session(const struct fk_handshake_answer *answer)
{
    struct fk_session_keys keys;
    struct fk_record *record;
    struct fk_arena *arena;
    struct fk_opened opened;
    int n;

    assert_ok(fk_session_wire_decode(answer->keys, &keys));
    assert_ok(fk_record_arena_new(1, &arena));
    assert_ok(fk_record_new(arena, &keys, FK_RECORD_SERVER, &record));
    assert_int_equal(SSL_write(client, "question", 8), 8);
    n = BIO_read(up, wire, sizeof wire);
    assert_ok(fk_record_open(record, wire, (size_t)n, &opened));
    assert_int_equal(opened.len, 8);
    assert_memory_equal(opened.data, "question", 8);
    fk_record_free(record);
    fk_arena_free(arena);
}

/* --- cases --- */

static void two_rounds(int version, enum fk_handshake_state between)
{
    struct fk_handshake_answer answer;

    open_both(version);
    assert_ok(feed());
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_ASKING);
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_ASKING); /* harmless */
    assert_err(fk_hs_tls_feed(tls, (struct fk_reader){wire, 1}), FK_ERR_UNEXPECTED);
    answer_signer(FK_OK);
    assert_int_equal(woken, 1);
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_WAITING);
    answer = take_answer();
    assert_int_equal(answer.state, between);
    assert_ok(feed());
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_DONE);
    answer = take_answer();
    assert_int_equal(answer.state, FK_HANDSHAKE_DONE);
    assert_false(answer.resumed);
    assert_int_equal(answer.rest, 0);
    assert_int_equal(answer.alpn.left, 2);
    assert_int_equal(SSL_do_handshake(client), 1);
    assert_session(&answer);
    assert_err(fk_hs_tls_feed(tls, (struct fk_reader){wire, 1}), FK_ERR_UNEXPECTED);
    close_both();
}

/* The records up to ChangeCipherSpec, as an edge finds them. */
static struct fk_reader clear_part(size_t len)
{
    struct fk_records records;

    assert_ok(fk_records_scan((struct fk_reader){wire, len}, &records));
    assert_true(records.flight && records.clear > 0 && records.clear < len);
    return (struct fk_reader){wire, records.clear};
}

static void the_master_secret_is_told(void **state)
{
    struct fk_handshake_answer answer;
    uint8_t master[FK_HANDSHAKE_MASTER];
    int n;

    (void)state;
    open_both(TLS1_2_VERSION);
    fk_hs_tls_expose(tls);
    assert_ok(feed());
    (void)fk_hs_tls_step(tls);
    answer_signer(FK_OK);
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_WAITING);
    assert_int_equal(take_answer().state, FK_HANDSHAKE_EXCHANGE);
    (void)SSL_do_handshake(client);
    n = BIO_read(up, wire, sizeof wire);
    /* Not before it is there: the message's head alone is none. */
    assert_ok(fk_hs_tls_feed(tls, (struct fk_reader){(const uint8_t *)"\x16\3\3\0\2"
                                                                      "\x10\0",
                                                     7}));
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_WAITING);
    assert_int_equal(take_answer().state, FK_HANDSHAKE_EXCHANGE);
    close_both();

    open_both(TLS1_2_VERSION);
    fk_hs_tls_expose(tls);
    assert_ok(feed());
    (void)fk_hs_tls_step(tls);
    answer_signer(FK_OK);
    (void)fk_hs_tls_step(tls);
    (void)take_answer();
    (void)SSL_do_handshake(client);
    n = BIO_read(up, wire, sizeof wire);
    assert_ok(fk_hs_tls_feed(tls, clear_part((size_t)n)));
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_DONE);
    answer = take_answer();
    assert_int_equal(answer.state, FK_HANDSHAKE_EXPOSED);
    assert_int_equal(answer.alpn.left, 2);
    assert_int_equal(SSL_SESSION_get_master_key(SSL_get0_session(client), master, sizeof master),
                     sizeof master);
    assert_memory_equal(answer.master.next, master, sizeof master);
    close_both();
}

/* An edge that sends the Finished all the same gets what others get; TLS 1.3 has no such secret. */
static void no_master_secret_without_need(void **state)
{
    struct fk_handshake_answer answer;

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        open_both(version);
        fk_hs_tls_expose(tls);
        assert_ok(feed());
        (void)fk_hs_tls_step(tls);
        answer_signer(FK_OK);
        (void)fk_hs_tls_step(tls);
        assert_int_equal(take_answer().state,
                         version == TLS1_2_VERSION ? FK_HANDSHAKE_EXCHANGE : FK_HANDSHAKE_ANY);
        assert_ok(feed());
        assert_int_equal(fk_hs_tls_step(tls), FK_HS_DONE);
        answer = take_answer();
        assert_int_equal(answer.state, FK_HANDSHAKE_DONE);
        assert_int_equal(SSL_do_handshake(client), 1);
        assert_session(&answer);
        close_both();
    }
}

static void both_versions_in_two_rounds(void **state)
{
    (void)state;
    two_rounds(TLS1_3_VERSION, FK_HANDSHAKE_ANY);
    two_rounds(TLS1_2_VERSION, FK_HANDSHAKE_FLIGHT);
}

static void what_follows_the_finished_is_given_back(void **state)
{
    struct fk_handshake_answer answer;
    int n;

    (void)state;
    open_both(TLS1_3_VERSION);
    assert_ok(feed());
    (void)fk_hs_tls_step(tls);
    answer_signer(FK_OK);
    (void)fk_hs_tls_step(tls);
    (void)take_answer();
    assert_int_equal(SSL_do_handshake(client), 1);
    assert_int_equal(SSL_write(client, "early", 5), 5);
    n = BIO_read(up, wire, sizeof wire);
    assert_ok(fk_hs_tls_feed(tls, (struct fk_reader){wire, (size_t)n}));
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_DONE);
    answer = take_answer();
    assert_int_equal(answer.rest, 5 + 5 + 1 + 16); /* one record */
    close_both();
}

static void a_share_goes_along(void **state)
{
    static const uint8_t digest[FK_SHARE_DIGEST] = "of HS_OPEN's payload";
    char share[] = "sealed";

    (void)state;
    open_both(TLS1_3_VERSION);
    assert_ok(feed());
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_ASKING);
    assert_int_equal(signer.ticket.share_len, 0);
    close_both();
    open_both(TLS1_2_VERSION);
    assert_ok(fk_hs_tls_share(tls, (struct fk_reader){(const uint8_t *)share, 6}, digest));
    memset(share, 0, sizeof share); /* it was copied */
    assert_ok(feed());
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_ASKING);
    assert_int_equal(signer.ticket.share_len, 6);
    assert_memory_equal(signer.ticket.share, "sealed", 6);
    assert_memory_equal(signer.ticket.digest, digest, sizeof digest);
    close_both();
}

static void a_signer_that_fails(void **state)
{
    struct fk_handshake_answer answer;

    (void)state;
    open_both(TLS1_3_VERSION);
    assert_ok(feed());
    (void)fk_hs_tls_step(tls);
    answer_signer(FK_ERR_UNAVAILABLE);
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_FAILED);
    answer = take_answer();
    assert_int_equal(answer.state, FK_HANDSHAKE_FAILED);
    assert_int_equal(answer.cause, FK_HANDSHAKE_BY_KEY);
    assert_int_equal(answer.alert, SSL_AD_INTERNAL_ERROR);
    assert_true(answer.reason.left > 0);
    assert_int_equal(SSL_do_handshake(client), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
    close_both();
}

static void a_client_that_refuses(void **state)
{
    struct fk_handshake_answer answer;

    (void)state;
    open_both(TLS1_3_VERSION);
    SSL_set_verify(client, SSL_VERIFY_PEER, NULL); /* it knows no CA */
    assert_ok(feed());
    (void)fk_hs_tls_step(tls);
    answer_signer(FK_OK);
    (void)fk_hs_tls_step(tls);
    (void)take_answer();
    assert_ok(feed());
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_FAILED);
    answer = take_answer();
    assert_int_equal(answer.cause, FK_HANDSHAKE_BY_CLIENT);
    assert_true(answer.alert == SSL_AD_UNKNOWN_CA || answer.alert == SSL_AD_BAD_CERTIFICATE);
    close_both();
}

static void junk_is_refused(void **state)
{
    struct fk_handshake_answer answer;

    (void)state;
    open_both(TLS1_3_VERSION);
    assert_ok(
        fk_hs_tls_feed(tls, (struct fk_reader){(const uint8_t *)"GET / HTTP/1.0\r\n\r\n", 18}));
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_FAILED);
    answer = take_answer();
    assert_int_equal(answer.cause, FK_HANDSHAKE_BY_SERVER);
    close_both();
}

/* `len` bytes of the client, again and again, until it is over; in how many pieces. */
static unsigned feed_for_ever(const uint8_t *bytes, size_t len)
{
    struct fk_handshake_answer answer;
    unsigned rounds = 0;

    open_both(TLS1_3_VERSION);
    do {
        assert_true(rounds <= FK_HANDSHAKE_ROUNDS_MAX);
        assert_ok(fk_hs_tls_feed(tls, (struct fk_reader){bytes, len}));
        rounds++;
    } while (fk_hs_tls_step(tls) == FK_HS_WAITING);
    answer = take_answer();
    assert_int_equal(answer.state, FK_HANDSHAKE_FAILED);
    assert_int_equal(answer.cause, FK_HANDSHAKE_BY_SERVER);
    assert_int_equal(answer.reason.left, 18);
    assert_memory_equal(answer.reason.next, "handshake too long", 18);
    close_both();
    return rounds;
}

static void a_client_is_not_listened_to_for_ever(void **state)
{
    /* A record of 16,384 bytes that begins a ClientHello of 131,072; then it goes on. */
    static uint8_t large[5 + 16384] = {0x16, 3, 1, 0x40, 0, 1, 2, 0, 0, 3, 3};
    /* The same in records of four bytes. */
    static const uint8_t small[] = {0x16, 3, 1, 0, 4, 1, 0, 255, 255};

    (void)state;
    assert_int_equal(feed_for_ever(large, sizeof large), FK_HANDSHAKE_IN_MAX / sizeof large + 1);
    assert_int_equal(feed_for_ever(small, sizeof small), FK_HANDSHAKE_ROUNDS_MAX + 1);
}

static void given_up_while_a_signer_is_asked(void **state)
{
    (void)state;
    open_both(TLS1_3_VERSION);
    assert_ok(feed());
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_ASKING);
    close_both();
    assert_true(signer.cancelled);
    open_both(TLS1_3_VERSION);
    assert_ok(feed());
    assert_int_equal(fk_hs_tls_step(tls), FK_HS_ASKING);
    answer_signer(FK_OK); /* and not gone on with */
    close_both();
    assert_false(signer.cancelled);
}

/* --- the table --- */

static void each_cell(void **state)
{
    static const struct {
        enum fk_hs_state state;
        enum fk_hs_fact fact;
        enum fk_hs_state next;
    } cells[] = {
        {FK_HS_WAITING, FK_HS_FACT_RECORDS, FK_HS_RUNNING},
        {FK_HS_RUNNING, FK_HS_FACT_WANTED, FK_HS_WAITING},
        {FK_HS_RUNNING, FK_HS_FACT_KEY_ASKED, FK_HS_ASKING},
        {FK_HS_RUNNING, FK_HS_FACT_SHAKEN, FK_HS_DONE},
        {FK_HS_RUNNING, FK_HS_FACT_BROKEN, FK_HS_FAILED},
        {FK_HS_ASKING, FK_HS_FACT_KEY_ANSWERED, FK_HS_RUNNING},
    };
    size_t found = 0;

    (void)state;
    for (unsigned s = 0; s < FK_HS_STATE_COUNT; s++)
        for (unsigned f = 0; f < FK_HS_FACT_COUNT; f++) {
            enum fk_hs_state expected = FK_HS_STATE_COUNT;

            for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++)
                if (cells[i].state == s && cells[i].fact == f)
                    expected = cells[i].next;
            assert_int_equal(fk_hs_next((enum fk_hs_state)s, (enum fk_hs_fact)f), expected);
            found += expected != FK_HS_STATE_COUNT;
        }
    assert_int_equal(found, sizeof cells / sizeof cells[0]);
    assert_string_equal(fk_hs_state_name(FK_HS_ASKING), "asking");
    assert_string_equal(fk_hs_state_name(FK_HS_STATE_COUNT), "none");
    assert_string_equal(fk_hs_fact_name(FK_HS_FACT_SHAKEN), "handshake done");
    assert_string_equal(fk_hs_fact_name(FK_HS_FACT_COUNT), "none");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(both_versions_in_two_rounds),
        cmocka_unit_test(the_master_secret_is_told),
        cmocka_unit_test(no_master_secret_without_need),
        cmocka_unit_test(what_follows_the_finished_is_given_back),
        cmocka_unit_test(a_share_goes_along),
        cmocka_unit_test(a_signer_that_fails),
        cmocka_unit_test(a_client_that_refuses),
        cmocka_unit_test(junk_is_refused),
        cmocka_unit_test(a_client_is_not_listened_to_for_ever),
        cmocka_unit_test(given_up_while_a_signer_is_asked),
        cmocka_unit_test(each_cell),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
