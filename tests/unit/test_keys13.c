/*
 * Mode `keys` in TLS 1.3, both halves: handshakes of stock libssl clients with libssl whose secrets
 * are a signer's (tls/opaque13, signer/ops_keys13). What the client derives judges both.
 */
#include "agreebench.h"
#include "pki.h"
#include "unit.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/writer.h"
#include "tls/handover.h"
#include "tls/opaque_priv.h"
#include "tls/server_ctx.h"
#include "wire/keyop_keys13.h"

#include <openssl/err.h>

enum { EDGE = 1, OTHER_EDGE = 2, SERVER = 7 };

/* --- a key server in memory --- */

struct fk_key_ticket {
    uint8_t opcode;
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX];
    size_t len;
    fk_key_done_cb *done;
    void *arg;
    struct fk_key_route *route;
};

struct server_back {
    struct fk_keyback back;
    struct bench bench;
    int key;
    unsigned asked[256];
    struct fk_key_ticket *waiting;
    struct fk_key_ticket last[2]; /* HELLO13, FLIGHT13 as they were sent */
    uint8_t fail_at;              /* an opcode that is answered by an error; 0: none */
    size_t cut, more;             /* bytes of answers that are lost or too many */
};

/* Any key server will do; the next one goes to the same. */
static bool begins(uint8_t opcode)
{
    return opcode == FK_OP_HELLO13 || opcode == FK_OP_AGREE_INIT;
}

static int on_submit(struct fk_keyback *base, const struct fk_key_request *request,
                     fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct server_back *back = (struct server_back *)base;
    struct fk_key_ticket *ticket = calloc(1, sizeof *ticket);

    assert_int_equal(request->op, FK_KEY_CALL);
    assert_memory_equal(request->ski, bench_skis[back->key], sizeof request->ski);
    assert_true(request->u.call.len <= sizeof ticket->payload);
    ticket->opcode = request->u.call.opcode;
    ticket->len = request->u.call.len;
    memcpy(ticket->payload, request->u.call.payload, ticket->len);
    ticket->done = done;
    ticket->arg = arg;
    ticket->route = request->route;
    assert_int_equal(ticket->route->server, begins(ticket->opcode) ? 0 : SERVER);
    back->last[ticket->opcode == FK_OP_FLIGHT13] = *ticket;
    back->asked[ticket->opcode]++;
    back->waiting = ticket;
    *ret = ticket;
    return FK_OK;
}

static void on_cancel(struct fk_keyback *base, struct fk_key_ticket *ticket)
{
    ((struct server_back *)base)->waiting = NULL;
    free(ticket);
}

static const struct fk_keyback_ops back_ops = {.submit = on_submit, .cancel = on_cancel};

static int ask(struct server_back *back, uint8_t edge, uint8_t opcode, const uint8_t *payload,
               size_t len)
{
    const struct asked asked = {.edge = edge, .key = back->key, .opcode = opcode};

    return bench_ask(&back->bench, &asked, payload, len);
}

static void pump(struct server_back *back)
{
    struct fk_key_ticket *ticket = back->waiting;
    int err;

    if (ticket == NULL)
        return;
    back->waiting = NULL;
    err = ticket->opcode == back->fail_at
              ? FK_ERR_UNAVAILABLE
              : ask(back, EDGE, ticket->opcode, ticket->payload, ticket->len);
    ticket->route->server = SERVER;
    ticket->done(ticket->arg, err, back->bench.ret,
                 err == FK_OK ? back->bench.len - back->cut + back->more : 0);
    free(ticket);
}

/* --- a handshake --- */

struct pair {
    struct server_back back;
    struct fk_cert cert;
    SSL_CTX *server_ctx, *client_ctx;
    SSL *server, *client;
    BIO *up;
    struct fk_rkey_session session;
    struct fk_handover seen;
    int server_alert;
    bool spoil; /* the client's last flight */
};

static void woken(struct fk_rkey_session *session)
{
    (void)session;
}

static void watch_alerts(const SSL *ssl, int where, int value)
{
    struct pair *pair = SSL_get_app_data(ssl);

    if ((where & SSL_CB_ALERT) != 0)
        pair->server_alert = value & 0xff;
}

static OSSL_LIB_CTX *shared_libctx(void)
{
    static OSSL_LIB_CTX *libctx;

    if (libctx == NULL) {
        libctx = OSSL_LIB_CTX_new();
        assert_ok(fk_opaque_provider_load(libctx));
    }
    return libctx;
}

static void make_server(struct pair *pair, const char *groups)
{
    static const uint8_t id[32] = {1};
    const struct pki_cert spec = {
        .subject = "site", .key = bench_key(pair->back.key), .san = "DNS:site"};
    const struct fk_server_conf conf = {
        .libctx = shared_libctx(),
        .opaque = true,
        .sealed = true,
        .tls12 = true,
        .tls13 = true,
        .exchanges = FK_SERVER_ECDHE,
        .groups = groups,
        .id = id,
        .lifetime_us = 1000000,
        .certs = &pair->cert,
        .n_certs = 1,
        .back = &pair->back.back,
    };

    pair->cert.leaf = pki_issue(&spec);
    pair->cert.chain = sk_X509_new_null();
    pair->cert.type = EVP_PKEY_get_base_id(spec.key);
    assert_ok(fk_server_ctx_new(&conf, &pair->server_ctx));
}

static void connect_pair(struct pair *pair)
{
    BIO *down = BIO_new(BIO_s_mem());

    pair->up = BIO_new(BIO_s_mem());
    pair->server = SSL_new(pair->server_ctx);
    pair->client = SSL_new(pair->client_ctx);
    BIO_up_ref(down);
    SSL_set_bio(pair->server, BIO_new(BIO_s_mem()), down);
    BIO_up_ref(pair->up);
    SSL_set_bio(pair->client, down, pair->up);
    SSL_set_app_data(pair->server, pair);
    SSL_set_info_callback(pair->server, watch_alerts);
    SSL_set_accept_state(pair->server);
    SSL_set_connect_state(pair->client);
    pair->session = (struct fk_rkey_session){.wake = woken};
    assert_ok(fk_opaque_new(FK_OPAQUE_KEYS, pair->server, &pair->back.back, &pair->session.opaque));
    assert_ok(fk_handover_watch(pair->server, &pair->seen));
    fk_opaque_watch(pair->session.opaque, &pair->seen, false);
}

struct kind {
    int key;
    const char *suite, *sigalgs, *offered, *served; /* groups */
};

static const struct kind kinds[] = {
    {K_RSA, "TLS_AES_128_GCM_SHA256", "rsa_pss_rsae_sha256", "X25519", "X25519"},
    {K_RSA, "TLS_AES_256_GCM_SHA384", "rsa_pss_rsae_sha512", "P-256", "X25519:P-256"},
    {P256, "TLS_CHACHA20_POLY1305_SHA256", "ecdsa_secp256r1_sha256", "P-384", "P-384"},
    {ED, "TLS_AES_256_GCM_SHA384", "ed25519", "X25519", "X25519:P-256"},
    /* HelloRetryRequest: a share of the first group is offered, the second one is served */
    {P256, "TLS_AES_128_GCM_SHA256", "ecdsa_secp256r1_sha256", "P-521:X25519", "X25519"},
    {P256, "TLS_AES_256_GCM_SHA384", "ecdsa_secp256r1_sha256", "X25519:P-384", "P-384"},
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static void make_pair(struct pair *pair, const struct kind *kind, unsigned permissions)
{
    *pair = (struct pair){.back = {.back = {.ops = &back_ops}, .key = kind->key}};
    bench_open(&pair->back.bench, permissions, NULL);
    make_server(pair, kind->served);
    pair->client_ctx = SSL_CTX_new(TLS_client_method());
    X509_STORE_add_cert(SSL_CTX_get_cert_store(pair->client_ctx), pair->cert.leaf);
    SSL_CTX_set_verify(pair->client_ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(pair->client_ctx, TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_set_ciphersuites(pair->client_ctx, kind->suite), 1);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(pair->client_ctx, kind->sigalgs), 1);
    assert_int_equal(SSL_CTX_set1_groups_list(pair->client_ctx, kind->offered), 1);
    connect_pair(pair);
}

static void free_pair(struct pair *pair)
{
    SSL_free(pair->server);
    SSL_free(pair->client);
    BIO_free(pair->up);
    fk_opaque_free(pair->session.opaque);
    SSL_CTX_free(pair->server_ctx);
    SSL_CTX_free(pair->client_ctx);
    X509_free(pair->cert.leaf);
    sk_X509_free(pair->cert.chain);
    ERR_clear_error();
    bench_close(&pair->back.bench);
}

static int step(SSL *ssl)
{
    int result = SSL_do_handshake(ssl);

    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
}

static void carry(struct pair *pair)
{
    uint8_t data[16384];
    int len = BIO_read(pair->up, data, sizeof data);

    if (len <= 0)
        return;
    if (pair->spoil && pair->back.asked[FK_OP_FLIGHT13] > 0)
        data[len - 1] ^= 1;
    assert_int_equal(BIO_write(SSL_get_rbio(pair->server), data, len), len);
}

static bool handshake(struct pair *pair)
{
    int server, client;

    for (int i = 0; i < 20; i++) {
        ERR_clear_error();
        client = step(pair->client);
        carry(pair);
        ERR_clear_error();
        fk_rkey_enter(&pair->session);
        server = step(pair->server);
        fk_rkey_leave();
        pump(&pair->back);
        if (server == SSL_ERROR_SSL || client == SSL_ERROR_SSL)
            return false;
        if (server == SSL_ERROR_NONE && client == SSL_ERROR_NONE)
            return true;
    }
    return false;
}

static void exchange_bytes(struct pair *pair)
{
    char byte = 0;

    assert_int_equal(SSL_write(pair->server, "s", 1), 1);
    assert_int_equal(SSL_read(pair->client, &byte, 1), 1);
    assert_int_equal(SSL_key_update(pair->client, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_write(pair->client, "c", 1), 1);
    carry(pair);
    assert_int_equal(SSL_read(pair->server, &byte, 1), 1);
    assert_int_equal(byte, 'c');
}

/* --- it works --- */

static void two_operations(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        struct fk_session_keys keys;
        uint8_t ours[32], theirs[32];
        struct pair pair;

        make_pair(&pair, &kinds[i], FK_PERM_KEYS);
        assert_true(handshake(&pair));
        assert_string_equal(SSL_get_cipher(pair.server), kinds[i].suite);
        assert_int_equal(pair.session.operations, 2);
        assert_int_equal(pair.back.asked[FK_OP_HELLO13], 1);
        assert_int_equal(pair.back.asked[FK_OP_FLIGHT13], 1);
        assert_ok(fk_handover_take(pair.server, &pair.seen, &keys));
        assert_int_equal(keys.server.seq, 0); /* no ticket was sent */
        exchange_bytes(&pair);
        /* The exporter secret is nobody's here: nothing comes out that the client would know. */
        assert_int_equal(
            SSL_export_keying_material(pair.client, theirs, 32, "label", 5, NULL, 0, 0), 1);
        fk_rkey_enter(&pair.session);
        assert_int_not_equal(
            SSL_export_keying_material(pair.server, ours, 32, "label", 5, NULL, 0, 0), 1);
        fk_rkey_leave();
        free_pair(&pair);
    }
}

static int accept_any(int ok, X509_STORE_CTX *ctx)
{
    (void)ok;
    (void)ctx;
    return 1;
}

static void show_certificate(struct pair *pair)
{
    SSL_set_verify(pair->server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
    assert_int_equal(SSL_use_certificate(pair->client, pair->cert.leaf), 1);
    assert_int_equal(SSL_use_PrivateKey(pair->client, bench_key(pair->back.key)), 1);
}

/* TLS 1.2: what the client's Finished covers is known when keys are asked for, its
 * CertificateVerify behind the session hash included. */
static void tls12_takes_three(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct pair pair;

        make_pair(&pair, &kinds[0], FK_PERM_KEYS);
        SSL_set_min_proto_version(pair.client, TLS1_2_VERSION);
        SSL_set_max_proto_version(pair.client, TLS1_2_VERSION);
        SSL_set_cipher_list(pair.client, "ECDHE-RSA-AES128-GCM-SHA256");
        if (i % 2 == 1)
            SSL_set_options(pair.client, SSL_OP_NO_EXTENDED_MASTER_SECRET);
        if (i >= 2)
            show_certificate(&pair);
        assert_true(handshake(&pair));
        assert_int_equal(pair.back.asked[FK_OP_HELLO13], 0);
        assert_int_equal(pair.back.asked[FK_OP_KEYS], 1);
        assert_int_equal(pair.back.asked[FK_OP_FINISHED], 1);
        assert_int_equal(pair.session.operations, 3);
        free_pair(&pair);
    }
}

/* The client's certificate is verified here, with the transcript that is here. */
static void client_certificates(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[1], FK_PERM_KEYS);
    show_certificate(&pair);
    assert_true(handshake(&pair));
    assert_int_equal(pair.session.operations, 2);
    exchange_bytes(&pair);
    free_pair(&pair);
}

/* --- what goes wrong --- */

static void fails(const struct kind *kind, uint8_t at, size_t cut, size_t more, int alert)
{
    struct pair pair;

    make_pair(&pair, kind, FK_PERM_KEYS);
    pair.back.fail_at = at;
    pair.back.cut = cut;
    pair.back.more = more;
    assert_false(handshake(&pair));
    assert_int_equal(pair.server_alert, alert);
    assert_err(pair.session.err, at != 0   ? FK_ERR_UNAVAILABLE
                                 : cut > 0 ? FK_ERR_TRUNCATED
                                           : FK_ERR_TRAILING);
    free_pair(&pair);
}

static void a_lost_key_server_is_an_internal_error(void **state)
{
    (void)state;
    fails(&kinds[0], FK_OP_HELLO13, 0, 0, SSL_AD_INTERNAL_ERROR);
    fails(&kinds[0], FK_OP_FLIGHT13, 0, 0, SSL_AD_INTERNAL_ERROR);
}

static void answers_of_wrong_length_fail(void **state)
{
    (void)state;
    fails(&kinds[0], 0, 1, 0, SSL_AD_INTERNAL_ERROR);
    fails(&kinds[1], 0, 0, 1, SSL_AD_INTERNAL_ERROR);
}

static void the_clients_finished_is_verified(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0], FK_PERM_KEYS);
    pair.spoil = true;
    assert_false(handshake(&pair));
    assert_int_equal(pair.server_alert, SSL_AD_BAD_RECORD_MAC);
    free_pair(&pair);
}

static void other_permissions_are_none(void **state)
{
    const unsigned others = FK_PERM_SIGN13 | FK_PERM_SIGN12 | FK_PERM_AGREE | FK_PERM_MASTER;
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0], others);
    assert_false(handshake(&pair));
    assert_err(pair.session.err, FK_ERR_DENIED);
    free_pair(&pair);
}

/* --- the signer's side, with what a handshake has sent --- */

/* Another HELLO13 of the same, and a FLIGHT13 that goes on with it. */
static void begin_again(struct pair *pair, struct fk_key_ticket *ret)
{
    const struct fk_key_ticket *hello = &pair->back.last[0];
    struct fk_hello13_answer answer;
    struct fk_hello13 op;
    struct fk_reader payload;
    struct fk_flight13 flight;
    uint8_t transcript[4096];
    struct fk_writer out;

    *ret = pair->back.last[1];
    assert_ok(ask(&pair->back, EDGE, FK_OP_HELLO13, hello->payload, hello->len));
    fk_reader_init(&payload, hello->payload, hello->len);
    assert_ok(fk_hello13_decode(payload, &op));
    fk_reader_init(&payload, pair->back.bench.ret, pair->back.bench.len);
    assert_ok(fk_hello13_answer_decode(payload, &op, &answer));
    fk_reader_init(&payload, ret->payload, ret->len);
    assert_ok(fk_flight13_decode(payload, &flight));
    fk_writer_init(&out, transcript, sizeof transcript);
    fk_writer_bytes(&out, op.hello.next, op.hello.left);
    fk_hello13_write_server(&op, answer.share, &out);
    assert_int_equal(out.len, flight.hellos.left);
    fk_writer_bytes(&out, flight.transcript.next + out.len, flight.transcript.left - out.len);
    fk_reader_init(&flight.transcript, transcript, out.len);
    memcpy(flight.handle, answer.handle, sizeof flight.handle);
    fk_writer_init(&out, ret->payload, sizeof ret->payload);
    fk_flight13_encode(&flight, &out);
    assert_ok(fk_writer_end(&out, &ret->len));
}

static int finish(struct pair *pair, const struct fk_key_ticket *flight, uint8_t edge)
{
    return ask(&pair->back, edge, FK_OP_FLIGHT13, flight->payload, flight->len);
}

static void a_handle_is_good_once_and_for_its_edge(void **state)
{
    struct fk_key_ticket flight;
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0], FK_PERM_KEYS);
    assert_true(handshake(&pair));
    assert_err(finish(&pair, &pair.back.last[1], EDGE), FK_ERR_EXPIRED); /* used up */
    begin_again(&pair, &flight);
    assert_err(finish(&pair, &flight, OTHER_EDGE), FK_ERR_EXPIRED);
    pair.back.key = P256;
    assert_err(finish(&pair, &flight, EDGE), FK_ERR_EXPIRED);
    pair.back.key = K_RSA;
    assert_ok(finish(&pair, &flight, EDGE));
    assert_err(finish(&pair, &flight, EDGE), FK_ERR_EXPIRED);
    free_pair(&pair);
}

/* The signer's process lets go of what has ended (fk_ops_expire()) before it serves. */
static void a_handle_ends_by_time(void **state)
{
    struct fk_key_ticket early, late;
    struct pair pair;
    struct fk_ops *ops;
    uint64_t end;

    (void)state;
    make_pair(&pair, &kinds[0], FK_PERM_KEYS);
    ops = pair.back.bench.ops;
    assert_true(handshake(&pair));
    assert_true(fk_ops_end_us(ops) == UINT64_MAX); /* a handshake that has ended leaves none */
    begin_again(&pair, &early);
    end = fk_ops_end_us(ops);
    assert_in_range(end - fk_clock_us(), 1, FK_HANDLE_LIFE_US);
    fk_ops_expire(ops, end - 1);
    assert_int_equal(fk_ops_handles(ops), 1);
    assert_ok(finish(&pair, &early, EDGE));
    begin_again(&pair, &late);
    end = fk_ops_end_us(ops);
    fk_ops_expire(ops, end);
    assert_int_equal(fk_ops_handles(ops), 0);
    assert_true(fk_ops_end_us(ops) == UINT64_MAX);
    assert_err(finish(&pair, &late, EDGE), FK_ERR_EXPIRED);
    free_pair(&pair);
}

/* No signature of a handshake in whose ServerHello another share, or anything else, stands. */
static void another_transcript_is_not_signed(void **state)
{
    const size_t at = FK_HANDLE_SIZE + 2 + 2;
    struct fk_key_ticket flight;
    struct fk_flight13 op;
    struct fk_reader payload;
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0], FK_PERM_KEYS);
    assert_true(handshake(&pair));
    for (int i = 0; i < 3; i++) {
        begin_again(&pair, &flight);
        fk_reader_init(&payload, flight.payload, flight.len);
        assert_ok(fk_flight13_decode(payload, &op));
        /* the client's random, our share's last byte; the last one is of the Certificate */
        flight.payload[at + (i == 0   ? 10
                             : i == 1 ? op.hellos.left - 1
                                      : op.transcript.left - 3)] ^= 1;
        assert_err(finish(&pair, &flight, EDGE), i < 2 ? FK_ERR_FORMAT : FK_OK);
    }
    /* The other handshake's flight with this one's handle. */
    begin_again(&pair, &flight);
    memcpy(pair.back.last[1].payload, flight.payload, FK_HANDLE_SIZE);
    assert_err(finish(&pair, &pair.back.last[1], EDGE), FK_ERR_FORMAT);
    free_pair(&pair);
}

static void malformed_requests(void **state)
{
    const struct fk_key_ticket *hello;
    struct fk_key_ticket flight;
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0], FK_PERM_KEYS);
    assert_true(handshake(&pair));
    hello = &pair.back.last[0];
    for (size_t len = 0; len < hello->len; len++)
        assert_err(ask(&pair.back, EDGE, FK_OP_HELLO13, hello->payload, len), FK_ERR_TRUNCATED);
    assert_err(ask(&pair.back, EDGE, FK_OP_HELLO13, hello->payload, hello->len + 1),
               FK_ERR_TRAILING);
    assert_err(bench_run(&pair.back.bench, FK_SIGNER_HELLO13, 0, bench_skis[K_RSA], hello->payload,
                         hello->len),
               FK_ERR_DENIED); /* in nobody's name */
    begin_again(&pair, &flight);
    for (size_t len = 0; len < flight.len; len++)
        assert_err(ask(&pair.back, EDGE, FK_OP_FLIGHT13, flight.payload, len), FK_ERR_TRUNCATED);
    assert_err(ask(&pair.back, EDGE, FK_OP_FLIGHT13, flight.payload, flight.len + 1),
               FK_ERR_TRAILING);
    assert_ok(finish(&pair, &flight, EDGE)); /* none of these has used the handle up */
    free_pair(&pair);
}

UNIT_MAIN(cmocka_unit_test(two_operations), cmocka_unit_test(tls12_takes_three),
          cmocka_unit_test(client_certificates),
          cmocka_unit_test(a_lost_key_server_is_an_internal_error),
          cmocka_unit_test(answers_of_wrong_length_fail),
          cmocka_unit_test(the_clients_finished_is_verified),
          cmocka_unit_test(other_permissions_are_none),
          cmocka_unit_test(a_handle_is_good_once_and_for_its_edge),
          cmocka_unit_test(a_handle_ends_by_time),
          cmocka_unit_test(another_transcript_is_not_signed), cmocka_unit_test(malformed_requests))
