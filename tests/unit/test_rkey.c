/* tls/rkey: handshakes of libssl with keys whose private half answers later, or not at all. */
#include "unit.h"

#include "base/err.h"
#include "base/list.h"
#include "base/secret.h"
#include "pki.h"
#include "tls/rkey.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

/* --- a back-end in memory: operations wait in a queue until the test completes them --- */

struct fk_key_ticket {
    struct fk_key_request request;
    uint8_t tbs[1024];
    uint8_t ciphertext[512];
    fk_key_done_cb *done;
    void *arg;
    bool queued;
};

struct memory_back {
    struct fk_keyback back;
    EVP_PKEY *private_key;
    struct fk_key_ticket queue[4];
    unsigned submitted, cancelled;
    int refuse;    /* submit fails with this */
    int fail;      /* the operation fails with this */
    bool too_long; /* the answer is longer than any signature */
};

static struct memory_back *last_back;

static int mem_submit(struct fk_keyback *base, const struct fk_key_request *request,
                      fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    struct memory_back *back = (struct memory_back *)base;
    struct fk_key_ticket *ticket = back->queue;

    if (back->refuse != FK_OK)
        return back->refuse;
    while (ticket->queued)
        ticket++;
    *ticket = (struct fk_key_ticket){.request = *request, .done = done, .arg = arg, .queued = true};
    if (request->op == FK_KEY_DECRYPT) {
        memcpy(ticket->ciphertext, request->u.decrypt.ciphertext.next,
               request->u.decrypt.ciphertext.left);
        ticket->request.u.decrypt.ciphertext.next = ticket->ciphertext;
    } else {
        assert_true(request->tbs_len <= sizeof ticket->tbs);
        memcpy(ticket->tbs, request->tbs, request->tbs_len);
        ticket->request.tbs = ticket->tbs;
    }
    back->submitted++;
    *ret = ticket;
    return FK_OK;
}

static void mem_cancel(struct fk_keyback *base, struct fk_key_ticket *ticket)
{
    assert_true(ticket->queued);
    ticket->queued = false;
    ((struct memory_back *)base)->cancelled++;
}

static void mem_suspect(struct fk_keyback *base)
{
    (void)base;
}

static const struct fk_keyback_ops mem_ops = {mem_submit, mem_cancel, mem_suspect};

struct scheme_row {
    uint16_t scheme;
    const char *digest;
    bool pss;
};

static const struct scheme_row schemes[] = {{0x0401, "SHA256", false}, {0x0501, "SHA384", false},
                                            {0x0601, "SHA512", false}, {0x0403, "SHA256", false},
                                            {0x0503, "SHA384", false}, {0x0603, "SHA512", false},
                                            {0x0804, "SHA256", true},  {0x0805, "SHA384", true},
                                            {0x0806, "SHA512", true},  {0x0807, NULL, false}};

/* What the key server does: build the message from the structure, sign by the scheme. */
static size_t mem_sign(const struct fk_key_ticket *ticket, EVP_PKEY *key, uint8_t *out, size_t size)
{
    const struct fk_key_request *request = &ticket->request;
    uint16_t scheme =
        request->op == FK_KEY_SIGN13 ? request->u.sign13.scheme : request->u.sign12.scheme;
    const struct scheme_row *row = schemes;
    uint8_t built[FK_SIGN13_TBS_MAX];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    size_t len = size;

    if (request->op == FK_KEY_SIGN13) {
        fk_sign13_tbs(&request->u.sign13, built, &len);
        assert_int_equal(len, request->tbs_len);
        assert_memory_equal(built, request->tbs, len);
    } else {
        assert_memory_equal(request->u.sign12.client_random, request->tbs, 32);
        assert_memory_equal(request->u.sign12.server_random, request->tbs + 32, 32);
        assert_int_equal(request->u.sign12.params.left, request->tbs_len - 64);
    }
    while (row->scheme != scheme)
        row++;
    assert_true(EVP_DigestSignInit_ex(ctx, &pctx, row->digest, NULL, NULL, key, NULL));
    if (row->pss) {
        EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
    }
    len = size;
    assert_true(EVP_DigestSign(ctx, out, &len, request->tbs, request->tbs_len));
    EVP_MD_CTX_free(ctx);
    return len;
}

static size_t mem_decrypt(const struct fk_key_ticket *ticket, EVP_PKEY *key, uint8_t *out,
                          size_t size)
{
    const struct fk_decrypt *op = &ticket->request.u.decrypt;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    size_t len = size;

    assert_int_equal(op->client_version, TLS1_2_VERSION);
    assert_true(EVP_PKEY_decrypt_init(ctx) > 0);
    assert_true(EVP_PKEY_decrypt(ctx, out, &len, op->ciphertext.next, op->ciphertext.left) > 0);
    EVP_PKEY_CTX_free(ctx);
    return len;
}

/* Complete what is queued, as the event loop would. */
static unsigned mem_pump(struct memory_back *back)
{
    unsigned completed = 0;
    uint8_t out[FK_RKEY_ANSWER_MAX + 1] = {0};

    for (size_t i = 0; i < 4; i++) {
        struct fk_key_ticket *ticket = &back->queue[i];
        size_t len = sizeof out;

        if (!ticket->queued)
            continue;
        ticket->queued = false;
        completed++;
        if (back->fail == FK_OK && !back->too_long)
            len = ticket->request.op == FK_KEY_DECRYPT
                      ? mem_decrypt(ticket, back->private_key, out, sizeof out)
                      : mem_sign(ticket, back->private_key, out, sizeof out);
        ticket->done(ticket->arg, back->fail, back->fail == FK_OK ? out : NULL,
                     back->fail == FK_OK ? len : 0);
    }
    return completed;
}

/* --- one handshake between two SSL objects in memory --- */

struct pair {
    struct memory_back back;
    SSL_CTX *server_ctx, *client_ctx;
    SSL *server, *client;
    struct fk_rkey_session session;
    EVP_PKEY *remote;
    X509 *cert;
    unsigned woken;
    int server_alert, client_alert; /* sent or received, 0 none */
};

static void woken(struct fk_rkey_session *session)
{
    fk_container(session, struct pair, session)->woken++;
}

static void watch_alerts(const SSL *ssl, int where, int value)
{
    struct pair *pair = SSL_get_app_data(ssl);

    if ((where & SSL_CB_ALERT) == 0)
        return;
    if (ssl == pair->server)
        pair->server_alert = value & 0xff;
    else
        pair->client_alert = value & 0xff;
}

static X509 *self_signed(const char *type, const char *name)
{
    struct pki_cert spec = {.subject = name, .key = pki_key(type), .san = "DNS:example.com"};

    return pki_issue(&spec);
}

static void make_contexts(struct pair *pair, const char *type, int version)
{
    pair->back = (struct memory_back){.back = {&mem_ops}, .private_key = pki_key(type)};
    last_back = &pair->back;
    pair->cert = self_signed(type, "server");
    assert_ok(fk_rkey_new(NULL, X509_get0_pubkey(pair->cert), &pair->back.back, &pair->remote));
    pair->server_ctx = SSL_CTX_new(TLS_server_method());
    pair->client_ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_use_certificate(pair->server_ctx, pair->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(pair->server_ctx, pair->remote), 1);
    assert_int_equal(SSL_CTX_check_private_key(pair->server_ctx), 1);
    SSL_CTX_set_mode(pair->server_ctx, SSL_MODE_ASYNC);
    SSL_CTX_set_dh_auto(pair->server_ctx, 1);
    SSL_CTX_set_session_id_context(pair->server_ctx, (const unsigned char *)"t", 1);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(pair->client_ctx), pair->cert);
    SSL_CTX_set_verify(pair->client_ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(pair->client_ctx, version);
    SSL_CTX_set_max_proto_version(pair->client_ctx, version);
}

static void connect_pair(struct pair *pair)
{
    BIO *server_bio, *client_bio;

    pair->session = (struct fk_rkey_session){.wake = woken};
    pair->server = SSL_new(pair->server_ctx);
    pair->client = SSL_new(pair->client_ctx);
    BIO_new_bio_pair(&server_bio, 0, &client_bio, 0);
    SSL_set_bio(pair->server, server_bio, server_bio);
    SSL_set_bio(pair->client, client_bio, client_bio);
    SSL_set_app_data(pair->server, pair);
    SSL_set_app_data(pair->client, pair);
    SSL_set_info_callback(pair->server, watch_alerts);
    SSL_set_info_callback(pair->client, watch_alerts);
    SSL_set_accept_state(pair->server);
    SSL_set_connect_state(pair->client);
}

static void free_ssl(struct pair *pair)
{
    SSL_free(pair->server);
    SSL_free(pair->client);
    pair->server = pair->client = NULL;
    ERR_clear_error();
}

static void free_pair(struct pair *pair)
{
    free_ssl(pair);
    SSL_CTX_free(pair->server_ctx);
    SSL_CTX_free(pair->client_ctx);
    EVP_PKEY_free(pair->remote);
    X509_free(pair->cert);
}

static int step(struct pair *pair, SSL *ssl)
{
    int result;

    ERR_clear_error();
    fk_rkey_enter(&pair->session);
    result = SSL_do_handshake(ssl);
    fk_rkey_leave();
    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
}

/* Run both sides until done, failed or nothing moves. True: both have finished. */
static bool handshake(struct pair *pair)
{
    int server = SSL_ERROR_WANT_READ, client = SSL_ERROR_WANT_READ;

    for (int i = 0; i < 20; i++) {
        client = step(pair, pair->client);
        if (client == SSL_ERROR_WANT_ASYNC)
            mem_pump(last_back);
        server = step(pair, pair->server);
        if (server == SSL_ERROR_WANT_ASYNC)
            mem_pump(last_back);
        if (server == SSL_ERROR_SSL)
            (void)step(pair, pair->client); /* let it read the alert */
        if (server == SSL_ERROR_SSL || client == SSL_ERROR_SSL)
            return false;
        if (server == SSL_ERROR_NONE && client == SSL_ERROR_NONE)
            return true;
    }
    return false;
}

/* Let the tickets of TLS 1.3 arrive, and one byte, both ways. */
static void exchange_bytes(struct pair *pair)
{
    char byte = 0;

    assert_int_equal(SSL_write(pair->server, "s", 1), 1);
    assert_int_equal(SSL_read(pair->client, &byte, 1), 1);
    assert_int_equal(byte, 's');
    assert_int_equal(SSL_write(pair->client, "c", 1), 1);
    assert_int_equal(SSL_read(pair->server, &byte, 1), 1);
    assert_int_equal(byte, 'c');
}

/* --- every kind of handshake --- */

struct kind {
    const char *key;
    int version;
    const char *ciphers; /* TLS 1.2 */
    const char *sigalgs; /* offered by the client */
    enum fk_key_op op;
    uint16_t scheme;
};

static const struct kind kinds[] = {
    {"RSA", TLS1_3_VERSION, NULL, "RSA-PSS+SHA256", FK_KEY_SIGN13, 0x0804},
    {"RSA", TLS1_3_VERSION, NULL, "RSA-PSS+SHA384", FK_KEY_SIGN13, 0x0805},
    {"RSA", TLS1_3_VERSION, NULL, "RSA-PSS+SHA512", FK_KEY_SIGN13, 0x0806},
    {"P-256", TLS1_3_VERSION, NULL, "ECDSA+SHA256", FK_KEY_SIGN13, 0x0403},
    {"P-384", TLS1_3_VERSION, NULL, "ECDSA+SHA384", FK_KEY_SIGN13, 0x0503},
    {"P-521", TLS1_3_VERSION, NULL, "ECDSA+SHA512", FK_KEY_SIGN13, 0x0603},
    {"ED25519", TLS1_3_VERSION, NULL, "ed25519", FK_KEY_SIGN13, 0x0807},
    {"RSA", TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", "RSA+SHA256", FK_KEY_SIGN12, 0x0401},
    {"RSA", TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384", "RSA+SHA384", FK_KEY_SIGN12, 0x0501},
    {"RSA", TLS1_2_VERSION, "ECDHE-RSA-CHACHA20-POLY1305", "RSA+SHA512", FK_KEY_SIGN12, 0x0601},
    {"RSA", TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", "RSA-PSS+SHA256", FK_KEY_SIGN12, 0x0804},
    {"RSA", TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", "RSA+SHA256", FK_KEY_SIGN12, 0x0401},
    {"P-256", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA+SHA256", FK_KEY_SIGN12,
     0x0403},
    {"P-384", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA+SHA384", FK_KEY_SIGN12,
     0x0503},
    {"ED25519", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "ed25519", FK_KEY_SIGN12, 0x0807},
    {"RSA", TLS1_2_VERSION, "AES128-GCM-SHA256", "RSA+SHA256", FK_KEY_DECRYPT, 0},
};

static void make_pair(struct pair *pair, const struct kind *kind)
{
    *pair = (struct pair){0};
    make_contexts(pair, kind->key, kind->version);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(pair->client_ctx, kind->sigalgs), 1);
    if (kind->ciphers != NULL) {
        assert_int_equal(SSL_CTX_set_cipher_list(pair->client_ctx, kind->ciphers), 1);
        assert_int_equal(SSL_CTX_set_cipher_list(pair->server_ctx, "ALL"), 1);
    }
    connect_pair(pair);
}

static uint16_t asked_scheme(const struct fk_key_request *request)
{
    if (request->op == FK_KEY_SIGN13)
        return request->u.sign13.scheme;
    return request->op == FK_KEY_SIGN12 ? request->u.sign12.scheme : 0;
}

static void every_kind_takes_one_operation(void **state)
{
    uint8_t ski[20];

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct pair pair;

        make_pair(&pair, &kinds[i]);
        assert_true(handshake(&pair));
        assert_int_equal(pair.session.operations, 1);
        assert_int_equal(pair.back.submitted, 1);
        assert_int_equal(pair.woken, 1);
        assert_int_equal(pair.back.queue[0].request.op, kinds[i].op);
        assert_int_equal(asked_scheme(&pair.back.queue[0].request), kinds[i].scheme);
        assert_ok(fk_ski_of_key(pki_key(kinds[i].key), ski));
        assert_memory_equal(pair.back.queue[0].request.ski, ski, sizeof ski);
        exchange_bytes(&pair);
        free_pair(&pair);
    }
}

static void with_client_certificate(void **state)
{
    static const size_t chosen[] = {0, 3, 7, 15};

    (void)state;
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++) {
        X509 *cert = self_signed("P-384", "client");
        struct pair pair;

        make_pair(&pair, &kinds[chosen[i]]);
        SSL_set1_sigalgs_list(pair.client, "RSA-PSS+SHA256:ECDSA+SHA256:ECDSA+SHA384:RSA+SHA256");
        SSL_use_certificate(pair.client, cert);
        SSL_use_PrivateKey(pair.client, pki_key("P-384"));
        X509_STORE_add_cert(SSL_CTX_get_cert_store(pair.server_ctx), cert);
        SSL_set_verify(pair.server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        assert_true(handshake(&pair));
        assert_int_equal(pair.session.operations, 1);
        assert_non_null(SSL_get0_peer_certificate(pair.server));
        free_pair(&pair);
        X509_free(cert);
    }
}

/* The remote key is the client's: TLS 1.3 has its own context string for that. */
static void as_a_client_certificate(void **state)
{
    struct memory_back back = {.back = {&mem_ops}, .private_key = pki_key("P-256")};
    X509 *cert = self_signed("P-256", "client");
    EVP_PKEY *remote;
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0]);
    SSL_CTX_clear_mode(pair.server_ctx, SSL_MODE_ASYNC);
    SSL_clear_mode(pair.server, SSL_MODE_ASYNC);
    SSL_set_mode(pair.client, SSL_MODE_ASYNC);
    SSL_use_certificate(pair.server, pair.cert);
    SSL_use_PrivateKey(pair.server, pki_key("RSA"));
    assert_ok(fk_rkey_new(NULL, X509_get0_pubkey(cert), &back.back, &remote));
    SSL_set1_sigalgs_list(pair.client, "RSA-PSS+SHA256:ECDSA+SHA256");
    SSL_use_certificate(pair.client, cert);
    assert_int_equal(SSL_use_PrivateKey(pair.client, remote), 1);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(pair.server_ctx), cert);
    SSL_set_verify(pair.server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    last_back = &back;
    assert_true(handshake(&pair));
    assert_int_equal(back.submitted, 1);
    assert_int_equal(back.queue[0].request.u.sign13.role, FK_ROLE_CLIENT);
    free_pair(&pair);
    EVP_PKEY_free(remote);
    X509_free(cert);
}

static void resumption_takes_none(void **state)
{
    static const size_t chosen[] = {0, 7, 15};

    (void)state;
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++) {
        SSL_SESSION *saved;
        struct pair pair;

        make_pair(&pair, &kinds[chosen[i]]);
        assert_true(handshake(&pair));
        exchange_bytes(&pair);
        saved = SSL_get1_session(pair.client);
        SSL_shutdown(pair.client);
        SSL_shutdown(pair.server);
        free_ssl(&pair);
        connect_pair(&pair);
        SSL_set_session(pair.client, saved);
        assert_true(handshake(&pair));
        assert_int_equal(SSL_session_reused(pair.server), 1);
        assert_int_equal(pair.session.operations, 0);
        assert_int_equal(pair.back.submitted, 1);
        SSL_SESSION_free(saved);
        free_pair(&pair);
    }
}

/* --- failures --- */

static void failure_is_an_alert(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct pair pair;

        make_pair(&pair, &kinds[i]);
        pair.back.fail = FK_ERR_TIMEOUT;
        assert_false(handshake(&pair));
        assert_err(pair.session.err, FK_ERR_TIMEOUT);
        assert_int_not_equal(pair.server_alert, 0);
        assert_int_not_equal(pair.client_alert, 0);
        assert_int_equal(pair.session.operations, 1);
        free_pair(&pair);
    }
}

static void refused_submit_is_an_alert(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0]);
    pair.back.refuse = FK_ERR_UNAVAILABLE;
    assert_false(handshake(&pair));
    assert_err(pair.session.err, FK_ERR_UNAVAILABLE);
    assert_int_equal(pair.woken, 0);
    assert_int_not_equal(pair.client_alert, 0);
    free_pair(&pair);
}

static void answer_of_wrong_size_fails(void **state)
{
    static const size_t chosen[] = {0, 15};

    (void)state;
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++) {
        struct pair pair;

        make_pair(&pair, &kinds[chosen[i]]);
        pair.back.too_long = true;
        assert_false(handshake(&pair));
        assert_err(pair.session.err, FK_ERR_LIMIT);
        free_pair(&pair);
    }
}

/* Drive until the server has paused. */
static void pause_server(struct pair *pair)
{
    assert_int_equal(step(pair, pair->client), SSL_ERROR_WANT_READ);
    for (int i = 0; i < 4; i++) {
        if (step(pair, pair->server) == SSL_ERROR_WANT_ASYNC)
            return;
        (void)step(pair, pair->client);
    }
    fail();
}

static void abort_ends_a_paused_handshake(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct pair pair;

        make_pair(&pair, &kinds[i]);
        pause_server(&pair);
        assert_true(pair.session.waiting);
        assert_int_equal(step(&pair, pair.server), SSL_ERROR_WANT_ASYNC); /* resumed for nothing */
        fk_rkey_abort(&pair.session, FK_ERR_CANCELLED);
        assert_int_equal(pair.back.cancelled, 1);
        assert_false(pair.session.waiting);
        assert_int_equal(step(&pair, pair.server), SSL_ERROR_SSL);
        assert_err(pair.session.err, FK_ERR_CANCELLED);
        assert_int_equal(mem_pump(&pair.back), 0);
        assert_int_equal(pair.woken, 0);
        free_pair(&pair);
    }
}

static void abort_after_the_answer_fails_too(void **state)
{
    struct pair pair;
    uint8_t zero[sizeof pair.session.data] = {0};

    (void)state;
    make_pair(&pair, &kinds[0]);
    pause_server(&pair);
    mem_pump(&pair.back);
    /* Owners ask this before SSL_free(): the job is paused although nothing is under way. */
    assert_false(pair.session.waiting);
    assert_int_equal(SSL_waiting_for_async(pair.server), 1);
    fk_rkey_abort(&pair.session, FK_ERR_CLOSED);
    assert_int_equal(pair.back.cancelled, 0);
    assert_memory_equal(pair.session.data, zero, sizeof zero);
    assert_int_equal(step(&pair, pair.server), SSL_ERROR_SSL);
    assert_int_equal(SSL_waiting_for_async(pair.server), 0);
    assert_err(pair.session.err, FK_ERR_CLOSED);
    fk_rkey_abort(&pair.session, FK_ERR_INTERNAL); /* nothing under way: no effect */
    assert_err(pair.session.err, FK_ERR_CLOSED);
    free_pair(&pair);
}

static void result_is_wiped(void **state)
{
    struct pair pair;
    uint8_t zero[sizeof pair.session.data] = {0};

    (void)state;
    make_pair(&pair, &kinds[15]);
    assert_true(handshake(&pair));
    assert_memory_equal(pair.session.data, zero, sizeof zero);
    free_pair(&pair);
}

static void without_async_it_fails_at_once(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0]);
    SSL_clear_mode(pair.server, SSL_MODE_ASYNC);
    assert_false(handshake(&pair));
    assert_err(pair.session.err, FK_ERR_INVAL);
    assert_int_equal(pair.back.submitted, 0);
    free_pair(&pair);
}

/* --- the key itself --- */

static void private_half_is_nowhere(void **state)
{
    static const char *const types[] = {"RSA", "P-256", "ED25519"};
    static const char *const params[] = {OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_PRIV_KEY,
                                         OSSL_PKEY_PARAM_PRIV_KEY};
    struct memory_back back = {.back = {&mem_ops}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY *remote;
        uint8_t raw[64];
        size_t raw_len = sizeof raw;
        BIGNUM *bn = NULL;
        OSSL_PARAM *all = NULL;
        BIO *bio = BIO_new(BIO_s_mem());

        /* Made from a whole key, the worst case. */
        assert_ok(fk_rkey_new(NULL, pki_key(types[i]), &back.back, &remote));
        assert_int_equal(EVP_PKEY_get_bn_param(remote, params[i], &bn), 0);
        assert_int_equal(EVP_PKEY_get_octet_string_param(remote, params[i], raw, sizeof raw, NULL),
                         0);
        assert_int_equal(EVP_PKEY_get_raw_private_key(remote, raw, &raw_len), 0);
        assert_int_equal(EVP_PKEY_todata(remote, EVP_PKEY_KEYPAIR, &all), 0);
        assert_int_equal(PEM_write_bio_PrivateKey(bio, remote, NULL, NULL, 0, NULL, NULL), 0);
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, remote, NULL, NULL, 0, NULL, NULL), 0);
        assert_int_equal(i2d_PrivateKey(remote, NULL) > 0, 0);
        assert_int_equal(EVP_PKEY_eq(remote, pki_key(types[i])), 1);
        assert_int_equal(EVP_PKEY_eq(pki_key(types[i]), remote), 1);
        assert_int_equal(EVP_PKEY_eq(remote, pki_key_slot(types[i], 1)), 0);
        assert_int_equal(EVP_PKEY_get_bits(remote), EVP_PKEY_get_bits(pki_key(types[i])));
        EVP_PKEY_free(remote);
        BIO_free(bio);
        ERR_clear_error();
    }
}

static void nothing_but_handshakes_is_signed(void **state)
{
    struct memory_back back = {.back = {&mem_ops}};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct fk_rkey_session session = {0};
    uint8_t sig[256];
    size_t len = sizeof sig;
    EVP_PKEY *remote;

    (void)state;
    assert_ok(fk_rkey_new(NULL, pki_key("P-256"), &back.back, &remote));
    fk_rkey_enter(&session);
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, remote, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const unsigned char *)"hello", 5), 0);
    assert_err(session.err, FK_ERR_FORMAT);
    fk_rkey_leave();
    assert_int_equal(back.submitted, 0);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(remote);
    ERR_clear_error();
}

static void other_families_are_refused(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    struct memory_back back = {.back = {&mem_ops}};
    EVP_PKEY *remote = NULL;

    (void)state;
    assert_err(fk_rkey_new(NULL, key, &back.back, &remote), FK_ERR_UNSUPPORTED);
    assert_null(remote);
    EVP_PKEY_free(key);
}

/* Peer keys and ephemeral keys stay with the default provider; ours only by request. */
static void provider_takes_no_other_keys(void **state)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    EVP_SIGNATURE *signature;
    EVP_KEYMGMT *keymgmt;

    (void)state;
    assert_ok(fk_rkey_provider_load(libctx));
    assert_ok(fk_rkey_provider_load(libctx));
    keymgmt = EVP_KEYMGMT_fetch(libctx, "EC", NULL);
    signature = EVP_SIGNATURE_fetch(libctx, "ECDSA", NULL);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KEYMGMT_get0_provider(keymgmt)), "default");
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_SIGNATURE_get0_provider(signature)), "default");
    EVP_KEYMGMT_free(keymgmt);
    EVP_SIGNATURE_free(signature);
    OSSL_LIB_CTX_free(libctx);
}

UNIT_MAIN(
    cmocka_unit_test(every_kind_takes_one_operation), cmocka_unit_test(with_client_certificate),
    cmocka_unit_test(as_a_client_certificate), cmocka_unit_test(resumption_takes_none),
    cmocka_unit_test(failure_is_an_alert), cmocka_unit_test(refused_submit_is_an_alert),
    cmocka_unit_test(answer_of_wrong_size_fails), cmocka_unit_test(abort_ends_a_paused_handshake),
    cmocka_unit_test(abort_after_the_answer_fails_too), cmocka_unit_test(result_is_wiped),
    cmocka_unit_test(without_async_it_fails_at_once), cmocka_unit_test(private_half_is_nowhere),
    cmocka_unit_test(nothing_but_handshakes_is_signed),
    cmocka_unit_test(other_families_are_refused), cmocka_unit_test(provider_takes_no_other_keys))
