/* tls/opaque: handshakes of stock libssl clients whose secrets are a key server's. */
#include "unit.h"

#include "base/err.h"
#include "base/list.h"
#include "failmalloc.h"
#include "opaqueback.h"
#include "pki.h"
#include "tls/handover.h"
#include "tls/opaque_priv.h"
#include "tls/server_ctx.h"
#include "wire/keymsg.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

/* --- one handshake --- */

struct kind {
    const char *key, *cipher, *sigalgs, *groups;
};

static const struct kind kinds[] = {
    {"RSA", "ECDHE-RSA-AES128-GCM-SHA256", "RSA-PSS+SHA256", "X25519"},
    {"RSA", "ECDHE-RSA-AES256-GCM-SHA384", "RSA+SHA384", "P-256"},
    {"RSA", "ECDHE-RSA-CHACHA20-POLY1305", "RSA+SHA512", "P-384"},
    {"P-256", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA+SHA256", "P-256:X25519"},
    {"P-384", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDSA+SHA384", "P-384"},
    {"ED25519", "ECDHE-ECDSA-CHACHA20-POLY1305", "ed25519", "X25519"},
    {"RSA", "DHE-RSA-AES128-GCM-SHA256", "RSA+SHA256", "X25519"},
    {"RSA", "DHE-RSA-AES256-GCM-SHA384", "RSA-PSS+SHA384", "X25519"},
};
static const struct kind rsa_kinds[] = {
    {"RSA", "AES128-GCM-SHA256", "RSA+SHA256", "X25519"},
    {"RSA", "AES256-GCM-SHA384", "RSA+SHA256", "X25519"},
};
#define N_KINDS     (sizeof kinds / sizeof kinds[0])
#define N_RSA_KINDS (sizeof rsa_kinds / sizeof rsa_kinds[0])

struct pair {
    struct opaqueback back;
    enum fk_opaque_mode mode;
    OSSL_LIB_CTX *libctx;
    struct fk_cert cert;
    SSL_CTX *server_ctx, *client_ctx;
    SSL *server, *client;
    BIO *up; /* what the client has sent; what the server sends goes to it at once */
    struct fk_rkey_session session;
    struct fk_handover seen;
    void (*tamper)(uint8_t *data, size_t len); /* with what the client sends */
    int server_alert;
    bool unwatched; /* the handshake's messages */
    bool keeps;     /* sessions are resumed: by tickets of these */
    struct fk_tickets *tickets;
    struct fk_ticket_site *site;
    SSL_SESSION *session_of_client;
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

static void make_server_ctx(struct pair *pair, const char *key)
{
    static const uint8_t id[32] = {1};
    const struct pki_cert spec = {.subject = "site", .key = pki_key(key), .san = "DNS:site"};
    const struct fk_server_conf conf = {
        .libctx = pair->libctx,
        .opaque = true,
        .tls12 = true,
        .exchanges = FK_SERVER_ECDHE | FK_SERVER_DHE | FK_SERVER_RSA,
        .groups = "X25519:P-256:P-384",
        .id = id,
        .lifetime_us = 1000000,
        .certs = &pair->cert,
        .n_certs = 1,
        .back = &pair->back.back,
        .sealed = pair->keeps,
        .n_tickets = pair->keeps ? 1 : 0,
        .tickets = pair->site,
    };

    pair->cert.leaf = pki_issue(&spec);
    pair->cert.chain = sk_X509_new_null();
    pair->cert.type = EVP_PKEY_get_base_id(pki_key(key));
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
    pair->seen = (struct fk_handover){.client_len = 0};
    assert_ok(fk_handover_watch(pair->server, &pair->seen));
    if (pair->mode != FK_OPAQUE_NONE)
        assert_ok(fk_opaque_new(pair->mode, pair->server, &pair->back.back, &pair->session.opaque));
    if (pair->mode == FK_OPAQUE_KEYS && !pair->unwatched)
        fk_opaque_watch(pair->session.opaque, &pair->seen, false);
    if (pair->keeps)
        fk_opaque_keep(pair->session.opaque, false);
    if (pair->session_of_client != NULL) { /* libssl spoils the one of a connection that breaks */
        SSL_SESSION *copy = SSL_SESSION_dup(pair->session_of_client);

        assert_int_equal(SSL_set_session(pair->client, copy), 1);
        SSL_SESSION_free(copy);
    }
}

static void fill_pair(struct pair *pair, const struct kind *kind)
{
    opaqueback_init(&pair->back, pki_key(kind->key));
    make_server_ctx(pair, kind->key);
    pair->client_ctx = SSL_CTX_new(TLS_client_method());
    X509_STORE_add_cert(SSL_CTX_get_cert_store(pair->client_ctx), pair->cert.leaf);
    SSL_CTX_set_verify(pair->client_ctx, SSL_VERIFY_PEER, NULL);
    assert_int_equal(SSL_CTX_set_cipher_list(pair->client_ctx, kind->cipher), 1);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(pair->client_ctx, kind->sigalgs), 1);
    assert_int_equal(SSL_CTX_set1_groups_list(pair->client_ctx, kind->groups), 1);
    connect_pair(pair);
}

static void make_pair(struct pair *pair, const struct kind *kind, enum fk_opaque_mode mode)
{
    *pair = (struct pair){.mode = mode, .libctx = shared_libctx()};
    fill_pair(pair, kind);
}

static void free_ends(struct pair *pair)
{
    SSL_free(pair->server);
    SSL_free(pair->client);
    BIO_free(pair->up);
    fk_opaque_free(pair->session.opaque);
    pair->session.opaque = NULL;
    ERR_clear_error();
}

static void free_pair(struct pair *pair)
{
    free_ends(pair);
    SSL_CTX_free(pair->server_ctx);
    SSL_CTX_free(pair->client_ctx);
    X509_free(pair->cert.leaf);
    sk_X509_free(pair->cert.chain);
    opaqueback_fini(&pair->back);
}

static int step_server(struct pair *pair)
{
    int result;

    ERR_clear_error();
    fk_rkey_enter(&pair->session);
    result = SSL_do_handshake(pair->server);
    fk_rkey_leave();
    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(pair->server, result);
}

static int step_client(struct pair *pair)
{
    int result;

    ERR_clear_error();
    result = SSL_do_handshake(pair->client);
    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(pair->client, result);
}

/* What the client has sent goes on to the server. */
static void carry(struct pair *pair)
{
    uint8_t data[16384];
    int len = BIO_read(pair->up, data, sizeof data);

    if (len <= 0)
        return;
    if (pair->tamper != NULL)
        pair->tamper(data, (size_t)len);
    assert_int_equal(BIO_write(SSL_get_rbio(pair->server), data, len), len);
}

/* Until both are done, or one fails. True: both are done. */
static bool handshake(struct pair *pair)
{
    int server, client;

    for (int i = 0; i < 20; i++) {
        client = step_client(pair);
        carry(pair);
        server = step_server(pair);
        failmalloc_pause(true);
        opaqueback_pump(&pair->back);
        failmalloc_pause(false);
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
    assert_int_equal(byte, 's');
    assert_int_equal(SSL_write(pair->client, "c", 1), 1);
    carry(pair);
    assert_int_equal(SSL_read(pair->server, &byte, 1), 1);
    assert_int_equal(byte, 'c');
}

/* --- what libssl has got --- */

/* Whether the server's libssl knows the master secret, which the client's does. */
static bool knows_master(const struct pair *pair)
{
    uint8_t ours[48], theirs[48];

    assert_int_equal(SSL_SESSION_get_master_key(SSL_get0_session(pair->server), ours, sizeof ours),
                     48);
    assert_int_equal(
        SSL_SESSION_get_master_key(SSL_get0_session(pair->client), theirs, sizeof theirs), 48);
    return memcmp(ours, theirs, sizeof ours) == 0;
}

/* The keys for the record engine are those of the client's master secret. */
static void check_handover(struct pair *pair)
{
    uint8_t master[48], client[32], server[32];
    struct fk_session_keys keys, expected;

    if (pair->session.opaque != NULL)
        pair->seen.key_block = fk_opaque_key_block(pair->session.opaque);
    assert_ok(fk_handover_take(pair->server, &pair->seen, &keys));
    SSL_SESSION_get_master_key(SSL_get0_session(pair->client), master, sizeof master);
    SSL_get_client_random(pair->client, client, sizeof client);
    SSL_get_server_random(pair->client, server, sizeof server);
    assert_ok(fk_session_keys_tls12(keys.suite, master, client, server, false, &expected));
    assert_memory_equal(&keys, &expected, sizeof keys);
}

struct expected {
    unsigned init, finish, master, keys, finished, expose;
};

static void check_asked(const struct pair *pair, const struct expected *expected)
{
    const unsigned *asked = pair->back.asked;

    assert_int_equal(asked[FK_OP_AGREE_INIT], expected->init);
    assert_int_equal(asked[FK_OP_AGREE_FINISH], expected->finish);
    assert_int_equal(asked[FK_OP_MASTER], expected->master);
    assert_int_equal(asked[FK_OP_KEYS], expected->keys);
    assert_int_equal(asked[FK_OP_FINISHED], expected->finished);
    assert_int_equal(asked[FK_OP_EXPOSE], expected->expose);
    assert_int_equal(pair->session.operations, opaqueback_asked(&pair->back));
    assert_int_equal(opaqueback_asked(&pair->back), expected->init + expected->finish +
                                                        expected->master + expected->keys +
                                                        expected->finished + expected->expose);
}

/* A handshake that succeeds, by so many operations. */
static void run(const struct kind *kind, enum fk_opaque_mode mode, bool ems,
                const struct expected *expected)
{
    struct pair pair;

    make_pair(&pair, kind, mode);
    if (!ems)
        SSL_set_options(pair.client, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    assert_true(handshake(&pair));
    assert_string_equal(SSL_get_cipher(pair.server), kind->cipher);
    assert_int_equal(SSL_get_extms_support(pair.server), ems);
    check_asked(&pair, expected);
    assert_int_equal(knows_master(&pair), mode != FK_OPAQUE_KEYS);
    check_handover(&pair);
    exchange_bytes(&pair);
    free_pair(&pair);
}

static void run_all(enum fk_opaque_mode mode, bool ems, const struct expected *expected)
{
    for (size_t i = 0; i < N_KINDS; i++)
        run(&kinds[i], mode, ems, expected);
}

static void run_rsa(enum fk_opaque_mode mode, bool ems, const struct expected *expected)
{
    for (size_t i = 0; i < N_RSA_KINDS; i++)
        run(&rsa_kinds[i], mode, ems, expected);
}

/* --- resumption --- */

/* One that gives tickets in mode keys. */
static void make_resuming_pair(struct pair *pair, const struct kind *kind)
{
    static const struct fk_ticket_keys keys = {.count = 1, .keys = {{.id = {1}, .secret = {2}}}};

    *pair = (struct pair){.mode = FK_OPAQUE_KEYS, .libctx = shared_libctx(), .keeps = true};
    assert_ok(fk_tickets_new(pair->libctx, &pair->tickets));
    fk_tickets_set(pair->tickets, &keys);
    assert_ok(fk_ticket_site_new(pair->tickets, "site", &pair->site));
    fill_pair(pair, kind);
    pair->back.seals = true;
}

static void free_resuming_pair(struct pair *pair)
{
    SSL_SESSION_free(pair->session_of_client);
    free_pair(pair);
    fk_ticket_site_free(pair->site);
    fk_tickets_free(pair->tickets);
}

/* The client comes back with the session that it has got. */
static void come_back(struct pair *pair)
{
    if (pair->session_of_client == NULL)
        pair->session_of_client = SSL_SESSION_dup(SSL_get0_session(pair->client));
    free_ends(pair);
    memset(pair->back.asked, 0, sizeof pair->back.asked);
    connect_pair(pair);
}

static void assert_resumed(struct pair *pair)
{
    const unsigned *asked = pair->back.asked;

    assert_true(handshake(pair));
    assert_int_equal(SSL_session_reused(pair->server), 1);
    assert_int_equal(asked[FK_OP_RESUME], 1);
    assert_int_equal(asked[FK_OP_FINISHED], 2);
    assert_int_equal(opaqueback_asked(&pair->back), 3);
    assert_false(knows_master(pair));
    check_handover(pair);
    exchange_bytes(pair);
}

static void keys_of_a_resumed_session_take_three(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS + N_RSA_KINDS; i++) {
        struct pair pair;

        make_resuming_pair(&pair, i < N_KINDS ? &kinds[i] : &rsa_kinds[i - N_KINDS]);
        assert_true(handshake(&pair));
        assert_int_equal(pair.back.asked[FK_OP_KEYS_KEEP], 1);
        assert_int_equal(pair.back.asked[FK_OP_KEYS], 0);
        assert_int_equal(SSL_session_reused(pair.server), 0);
        for (int times = 0; times < 2; times++) {
            come_back(&pair);
            assert_resumed(&pair);
        }
        free_resuming_pair(&pair);
    }
}

static void assert_full(struct pair *pair, unsigned resume)
{
    assert_true(handshake(pair));
    assert_int_equal(SSL_session_reused(pair->server), 0);
    assert_int_equal(pair->back.asked[FK_OP_RESUME], resume);
    assert_int_equal(pair->back.asked[FK_OP_KEYS_KEEP], 1);
    check_handover(pair);
    exchange_bytes(pair);
}

static void one_byte_more(uint8_t *answer, size_t *len)
{
    answer[(*len)++] = 0;
}

/* A block of another suite: the answer itself is in order. */
static void longer_block(uint8_t *answer, size_t *len)
{
    answer[FK_HANDLE_SIZE]++;
    answer[(*len)++] = 0;
}

/* Whatever fails before libssl has taken the session up makes a full handshake. */
static void what_cannot_be_resumed_is_a_full_handshake(void **state)
{
    void (*const spoils[])(uint8_t * answer, size_t * len) = {NULL, one_byte_more, longer_block};

    (void)state;
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        struct pair pair;

        make_resuming_pair(&pair, &kinds[0]);
        assert_true(handshake(&pair));
        come_back(&pair);
        pair.back.fail_at = FK_OP_RESUME;
        pair.back.fail_with = spoils[i] == NULL ? FK_ERR_EXPIRED : FK_OK;
        pair.back.spoil = spoils[i];
        assert_full(&pair, 1);
        pair.back.fail_at = 0;
        come_back(&pair);
        assert_resumed(&pair);
        free_resuming_pair(&pair);
    }
}

static void what_was_not_sealed_is_not_resumed(void **state)
{
    struct pair pair;

    (void)state;
    make_resuming_pair(&pair, &kinds[0]);
    pair.back.seals = false;
    assert_true(handshake(&pair));
    come_back(&pair);
    assert_full(&pair, 0);
    free_resuming_pair(&pair);
}

/* A key server that is lost later on is an error as in a full handshake. */
static void lost_behind_the_point_of_no_return(void **state)
{
    struct pair pair;

    (void)state;
    make_resuming_pair(&pair, &kinds[0]);
    assert_true(handshake(&pair));
    come_back(&pair);
    pair.back.fail_at = FK_OP_FINISHED;
    pair.back.fail_with = FK_ERR_EXPIRED;
    assert_false(handshake(&pair));
    assert_int_equal(pair.server_alert, SSL_AD_INTERNAL_ERROR);
    assert_err(pair.session.err, FK_ERR_EXPIRED);
    free_resuming_pair(&pair);
}

/* --- round trips --- */

static void agree_takes_two(void **state)
{
    static const struct expected expected = {.init = 1, .finish = 1};

    (void)state;
    run_all(FK_OPAQUE_AGREE, true, &expected);
    run_all(FK_OPAQUE_AGREE, false, &expected);
}

static void agree_with_the_private_value_takes_one(void **state)
{
    static const struct expected expected = {.init = 1};

    (void)state;
    run_all(FK_OPAQUE_HANDED, true, &expected);
    run_all(FK_OPAQUE_HANDED, false, &expected);
}

static void master_takes_two(void **state)
{
    static const struct expected expected = {.init = 1, .master = 1};

    (void)state;
    run_all(FK_OPAQUE_MASTER, true, &expected);
    run_all(FK_OPAQUE_MASTER, false, &expected);
}

static void master_takes_one_with_rsa(void **state)
{
    static const struct expected expected = {.master = 1};

    (void)state;
    run_rsa(FK_OPAQUE_MASTER, true, &expected);
    run_rsa(FK_OPAQUE_MASTER, false, &expected);
}

static void keys_takes_three(void **state)
{
    static const struct expected expected = {.init = 1, .keys = 1, .finished = 1};

    (void)state;
    run_all(FK_OPAQUE_KEYS, true, &expected);
}

static void keys_takes_two_with_rsa(void **state)
{
    static const struct expected expected = {.keys = 1, .finished = 1};

    (void)state;
    run_rsa(FK_OPAQUE_KEYS, true, &expected);
}

/* The transcript is the same, with the extended master secret or without. */
static void keys_takes_no_more_without_session_hash(void **state)
{
    static const struct expected expected = {.init = 1, .keys = 1, .finished = 1};
    static const struct expected rsa = {.keys = 1, .finished = 1};

    (void)state;
    run_all(FK_OPAQUE_KEYS, false, &expected);
    run_rsa(FK_OPAQUE_KEYS, false, &rsa);
}

/* Messages that nobody has noted (or that were too many) cost one more. */
static void keys_takes_one_more_without_transcript(void **state)
{
    static const struct expected expected = {.init = 1, .keys = 1, .finished = 2};

    (void)state;
    for (int ems = 0; ems < 2; ems++) {
        struct pair pair = {.mode = FK_OPAQUE_KEYS, .libctx = shared_libctx(), .unwatched = true};

        fill_pair(&pair, &kinds[0]);
        if (ems == 0)
            SSL_set_options(pair.client, SSL_OP_NO_EXTENDED_MASTER_SECRET);
        assert_true(handshake(&pair));
        check_asked(&pair, &expected);
        free_pair(&pair);
    }
}

/* Finished is made here, with and without the session hash. */
static void keys_with_the_master_secret_takes_two(void **state)
{
    static const struct expected expected = {.init = 1, .expose = 1};

    (void)state;
    run_all(FK_OPAQUE_EXPOSE, true, &expected);
    run_all(FK_OPAQUE_EXPOSE, false, &expected);
}

static void keys_with_the_master_secret_takes_one_with_rsa(void **state)
{
    static const struct expected expected = {.expose = 1};

    (void)state;
    run_rsa(FK_OPAQUE_EXPOSE, true, &expected);
    run_rsa(FK_OPAQUE_EXPOSE, false, &expected);
}

/* Modes without an own way for RSA key exchange have the ordinary one. */
static void agree_decrypts_as_ever(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &rsa_kinds[0], FK_OPAQUE_AGREE);
    assert_true(handshake(&pair));
    assert_int_equal(pair.back.asked[FK_OP_DECRYPT], 1);
    assert_int_equal(opaqueback_asked(&pair.back), 1);
    assert_true(knows_master(&pair));
    free_pair(&pair);
}

/* --- what goes wrong --- */

static void fails_as(const struct kind *kind, enum fk_opaque_mode mode, uint8_t opcode)
{
    struct pair pair;

    make_pair(&pair, kind, mode);
    pair.back.fail_at = opcode;
    pair.back.fail_with = FK_ERR_UNAVAILABLE;
    assert_false(handshake(&pair));
    assert_err(pair.session.err, FK_ERR_UNAVAILABLE);
    assert_int_equal(pair.server_alert, SSL_AD_INTERNAL_ERROR);
    free_pair(&pair);
}

static void a_lost_key_server_is_an_internal_error(void **state)
{
    (void)state;
    fails_as(&kinds[0], FK_OPAQUE_AGREE, FK_OP_AGREE_INIT);
    fails_as(&kinds[0], FK_OPAQUE_AGREE, FK_OP_AGREE_FINISH);
    fails_as(&kinds[6], FK_OPAQUE_AGREE, FK_OP_AGREE_INIT);
    fails_as(&kinds[6], FK_OPAQUE_AGREE, FK_OP_AGREE_FINISH);
    fails_as(&kinds[0], FK_OPAQUE_MASTER, FK_OP_MASTER);
    fails_as(&rsa_kinds[0], FK_OPAQUE_MASTER, FK_OP_MASTER);
    fails_as(&kinds[0], FK_OPAQUE_KEYS, FK_OP_KEYS);
    fails_as(&kinds[0], FK_OPAQUE_KEYS, FK_OP_FINISHED);
    fails_as(&kinds[0], FK_OPAQUE_EXPOSE, FK_OP_EXPOSE);
    fails_as(&rsa_kinds[0], FK_OPAQUE_EXPOSE, FK_OP_EXPOSE);
}

static size_t shorten_by;

static void shorten(uint8_t *answer, size_t *len)
{
    (void)answer;
    *len = *len > shorten_by ? *len - shorten_by : 0;
}

static void lengthen(uint8_t *answer, size_t *len)
{
    answer[*len] = 0;
    (*len)++;
}

/* An answer that is short of some bytes, or has one too many, is of no use. */
static bool succeeds_spoilt(const struct kind *kind, enum fk_opaque_mode mode, uint8_t opcode,
                            void (*spoil)(uint8_t *answer, size_t *len))
{
    struct pair pair;
    bool done;

    make_pair(&pair, kind, mode);
    pair.back.fail_at = opcode;
    pair.back.spoil = spoil;
    done = handshake(&pair);
    assert_true(done || pair.session.err != FK_OK);
    free_pair(&pair);
    return done;
}

static void answers_of_wrong_length_fail(void **state)
{
    static const struct {
        size_t kind;
        enum fk_opaque_mode mode;
        uint8_t opcode;
    } rows[] = {{0, FK_OPAQUE_AGREE, FK_OP_AGREE_INIT},  {6, FK_OPAQUE_AGREE, FK_OP_AGREE_INIT},
                {0, FK_OPAQUE_HANDED, FK_OP_AGREE_INIT}, {0, FK_OPAQUE_AGREE, FK_OP_AGREE_FINISH},
                {0, FK_OPAQUE_MASTER, FK_OP_MASTER},     {0, FK_OPAQUE_KEYS, FK_OP_KEYS},
                {0, FK_OPAQUE_KEYS, FK_OP_FINISHED},     {0, FK_OPAQUE_EXPOSE, FK_OP_EXPOSE}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const size_t missing[] = {1, 2, 12, 13, 31, 4096};

        for (size_t j = 0; j < sizeof missing / sizeof missing[0]; j++) {
            shorten_by = missing[j];
            assert_false(
                succeeds_spoilt(&kinds[rows[i].kind], rows[i].mode, rows[i].opcode, shorten));
        }
        assert_false(succeeds_spoilt(&kinds[rows[i].kind], rows[i].mode, rows[i].opcode, lengthen));
    }
}

/* In ServerDHParams, behind the handle and two lengths. */
static void change_prime(uint8_t *answer, size_t *len)
{
    (void)len;
    answer[16 + 2 + 2 + 9] ^= 1;
}

static void change_group(uint8_t *answer, size_t *len)
{
    (void)len;
    answer[16 + 2 + 2] ^= 1;
}

static void other_numbers_than_the_groups_fail(void **state)
{
    (void)state;
    assert_false(succeeds_spoilt(&kinds[6], FK_OPAQUE_AGREE, FK_OP_AGREE_INIT, change_prime));
    assert_false(succeeds_spoilt(&kinds[0], FK_OPAQUE_AGREE, FK_OP_AGREE_INIT, change_group));
}

static void change_last(uint8_t *answer, size_t *len)
{
    answer[*len - 1] ^= 1;
}

/* The client's Finished is compared with what the key server says it must be: here, another one. */
static void the_clients_finished_is_compared(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0], FK_OPAQUE_KEYS);
    pair.back.fail_at = FK_OP_KEYS;
    pair.back.spoil = change_last;
    assert_false(handshake(&pair));
    assert_int_equal(pair.server_alert, SSL_AD_DECRYPT_ERROR);
    assert_int_equal(pair.back.asked[FK_OP_FINISHED], 0);
    free_pair(&pair);
}

/* The share of ClientKeyExchange: record header 5, message header 4, length 1. */
static void spoil_share(uint8_t *data, size_t len)
{
    if (len > 20 && data[0] == SSL3_RT_HANDSHAKE && data[5] == SSL3_MT_CLIENT_KEY_EXCHANGE)
        data[5 + 4 + 1 + 10] ^= 1;
}

static void spoil_yc(uint8_t *data, size_t len)
{
    if (len > 20 && data[0] == SSL3_RT_HANDSHAKE && data[5] == SSL3_MT_CLIENT_KEY_EXCHANGE)
        memset(data + 5 + 4 + 2, 0xff, 256);
}

/* A share that is none never gets to the key server. */
static void a_bad_share_ends_here(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[4], FK_OPAQUE_KEYS);
    pair.tamper = spoil_share;
    assert_false(handshake(&pair));
    assert_int_equal(pair.back.asked[FK_OP_KEYS], 0);
    assert_err(pair.session.err, FK_OK);
    free_pair(&pair);
    make_pair(&pair, &kinds[6], FK_OPAQUE_AGREE);
    pair.tamper = spoil_yc;
    assert_false(handshake(&pair));
    assert_int_equal(pair.back.asked[FK_OP_AGREE_FINISH], 0);
    assert_err(pair.session.err, FK_OK);
    free_pair(&pair);
}

/* Given up while the key server is asked. */
static void a_paused_handshake_can_be_given_up(void **state)
{
    struct pair pair;

    (void)state;
    make_pair(&pair, &kinds[0], FK_OPAQUE_MASTER);
    assert_int_equal(step_client(&pair), SSL_ERROR_WANT_READ);
    carry(&pair);
    assert_int_equal(step_server(&pair), SSL_ERROR_WANT_ASYNC);
    assert_non_null(pair.back.waiting);
    fk_rkey_abort(&pair.session, FK_ERR_TIMEOUT);
    assert_null(pair.back.waiting);
    assert_int_equal(step_server(&pair), SSL_ERROR_SSL);
    assert_err(pair.session.err, FK_ERR_TIMEOUT);
    free_pair(&pair);
}

/* --- the provider --- */

/* No handshake, no token: the default provider's PRF. */
/* The key server's part of it has all the memory that it needs. */
static const struct fk_keyback_ops *back_ops;

static int submit_well(struct fk_keyback *back, const struct fk_key_request *request,
                       fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    int err;

    failmalloc_pause(true);
    err = back_ops->submit(back, request, done, arg, ret);
    failmalloc_pause(false);
    return err;
}

/* With the n-th allocation failing; false: there are not as many. */
static bool survives(const struct kind *kind, enum fk_opaque_mode mode, size_t n)
{
    struct fk_keyback_ops ops;
    struct pair pair;
    bool done, fired;

    make_pair(&pair, kind, mode);
    back_ops = pair.back.back.ops;
    ops = *back_ops;
    ops.submit = submit_well;
    pair.back.back.ops = &ops;
    failmalloc_arm(n);
    done = handshake(&pair);
    fired = failmalloc_disarm();
    assert_int_equal(done, !fired);
    assert_int_equal(pair.server_alert != 0, fired);
    free_pair(&pair);
    return fired;
}

static void failed_allocations_end_a_handshake(void **state)
{
    static const struct {
        const struct kind *kind;
        enum fk_opaque_mode mode;
    } rows[] = {{&kinds[0], FK_OPAQUE_KEYS},   {&kinds[6], FK_OPAQUE_MASTER},
                {&kinds[0], FK_OPAQUE_HANDED}, {&kinds[6], FK_OPAQUE_HANDED},
                {&kinds[0], FK_OPAQUE_AGREE},  {&rsa_kinds[0], FK_OPAQUE_EXPOSE}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = 1;

        while (survives(rows[i].kind, rows[i].mode, n))
            n++;
        print_message("  %zu failed\n", n - 1);
        assert_true(n > 3);
    }
}

static void other_secrets_are_the_default_providers(void **state)
{
    EVP_KDF *ours = EVP_KDF_fetch(shared_libctx(), "TLS1-PRF", FK_OPAQUE_QUERY);
    EVP_KDF *plain = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
    uint8_t secret[48] = {1}, seed[200] = {2}, a[100], b[100];
    char digest[] = "SHA384";
    OSSL_PARAM params[] = {OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SECRET, secret, sizeof secret),
                           OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof seed),
                           OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, secret, sizeof secret),
                           OSSL_PARAM_END};
    EVP_KDF_CTX *ctx;

    (void)state;
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(ours)), FK_OPAQUE_PROVIDER);
    ctx = EVP_KDF_CTX_new(ours);
    assert_int_equal(EVP_KDF_derive(ctx, a, sizeof a, params), 1);
    EVP_KDF_CTX_reset(ctx);
    assert_int_equal(EVP_KDF_derive(ctx, a, sizeof a, params), 1);
    EVP_KDF_CTX_free(ctx);
    ctx = EVP_KDF_CTX_new(plain);
    assert_int_equal(EVP_KDF_derive(ctx, b, sizeof b, params), 1);
    EVP_KDF_CTX_free(ctx);
    assert_memory_equal(a, b, sizeof a);
    EVP_KDF_free(ours);
    EVP_KDF_free(plain);
}

/* Random bytes of any number, in a handshake or not, are other ones each time. */
static void draws_differ(void **state)
{
    static const size_t sizes[] = {12, 31, 32, 33, 4096, 100000};
    static uint8_t a[100000], b[100000];
    struct pair pair;

    (void)state;
    make_pair(&pair, &rsa_kinds[0], FK_OPAQUE_KEYS);
    for (int inside = 0; inside < 2; inside++) {
        if (inside)
            fk_rkey_enter(&pair.session);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            assert_int_equal(RAND_bytes_ex(shared_libctx(), a, sizes[i], 0), 1);
            assert_int_equal(RAND_priv_bytes_ex(shared_libctx(), b, sizes[i], 0), 1);
            assert_memory_not_equal(a, b, sizes[i]);
        }
        assert_int_equal(pair.session.opaque->n_fresh, inside ? 2 : 0);
    }
    fk_rkey_leave();
    free_pair(&pair);
}

/* One that was not drawn here cannot be shown to be fresh. */
static void a_server_random_of_other_origin_fails(void **state)
{
    struct fk_decrypt op = {.client_version = 0x0303};
    uint8_t ciphertext[256] = {0}, token[FK_OPAQUE_TOKEN_SIZE];
    struct pair pair;

    (void)state;
    make_pair(&pair, &rsa_kinds[0], FK_OPAQUE_KEYS);
    fk_reader_init(&op.ciphertext, ciphertext, sizeof ciphertext);
    assert_err(fk_opaque_take_rsa(pair.session.opaque, &op, token), FK_ERR_INTERNAL);
    ERR_clear_error();
    free_pair(&pair);
}

static void nothing_is_generated_outside_of_a_handshake(void **state)
{
    static const char *const names[] = {"X25519", "EC", "DH"};
    static const char *const curves[] = {"X25519", "prime256v1", "ffdhe2048"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(shared_libctx(), names[i], FK_OPAQUE_QUERY);
        EVP_PKEY *key = NULL;

        assert_true(EVP_PKEY_keygen_init(ctx) > 0);
        assert_true(EVP_PKEY_CTX_set_group_name(ctx, curves[i]) > 0);
        assert_true(EVP_PKEY_keygen(ctx, &key) <= 0);
        assert_null(key);
        EVP_PKEY_CTX_free(ctx);
        ERR_clear_error();
    }
}

static void tls13_is_refused(void **state)
{
    const struct fk_server_conf conf = {
        .libctx = shared_libctx(), .opaque = true, .tls12 = true, .tls13 = true};
    SSL_CTX *ctx;

    (void)state;
    assert_err(fk_server_ctx_new(&conf, &ctx), FK_ERR_INVAL);
}

/* Every step where it is not due. */
static void steps_have_an_order(void **state)
{
    /* By stage, the steps that are due, as bits. */
    static const unsigned due[FK_OPAQUE_STAGES] = {
        [FK_OPAQUE_BEGUN] = 1U << FK_OPAQUE_INIT | 1U << FK_OPAQUE_SOURCE | 1U << FK_OPAQUE_RESUME |
                            1U << FK_OPAQUE_HELLO13,
        [FK_OPAQUE_AGREED] = 1U << FK_OPAQUE_SOURCE,
        [FK_OPAQUE_SOURCED] = 1U << FK_OPAQUE_FINISH | 1U << FK_OPAQUE_TO_MASTER |
                              1U << FK_OPAQUE_TO_TOKEN | 1U << FK_OPAQUE_TO_BOTH,
        [FK_OPAQUE_MASTERED] = 1U << FK_OPAQUE_TO_KEYS,
        [FK_OPAQUE_EXPOSED] = 1U << FK_OPAQUE_BLOCK,
        [FK_OPAQUE_KEYED] = 1U << FK_OPAQUE_CLIENT,
        [FK_OPAQUE_VERIFIED] = 1U << FK_OPAQUE_SERVER,
        [FK_OPAQUE_RESUMED] = 1U << FK_OPAQUE_INIT | 1U << FK_OPAQUE_SOURCE | 1U << FK_OPAQUE_BLOCK,
        [FK_OPAQUE_GOES_ON] = 1U << FK_OPAQUE_SERVER,
        [FK_OPAQUE_ANSWERED] = 1U << FK_OPAQUE_CLIENT,
        [FK_OPAQUE_MET13] = 1U << FK_OPAQUE_AGREE13,
        [FK_OPAQUE_AGREED13] = 1U << FK_OPAQUE_HANDSHAKE13,
        [FK_OPAQUE_SHAKING13] = 1U << FK_OPAQUE_TRAFFIC13 | 1U << FK_OPAQUE_FLIGHT13,
        [FK_OPAQUE_SIGNED13] = 1U << FK_OPAQUE_MASTER13,
        [FK_OPAQUE_MASTERED13] = 1U << FK_OPAQUE_SESSION13,
    };
    /* Both directions' secrets are taken at one stage. */
    static const unsigned stays = 1U << FK_OPAQUE_TRAFFIC13 | 1U << FK_OPAQUE_SESSION13;
    SSL *ssl = NULL;

    (void)state;
    for (int stage = 0; stage < FK_OPAQUE_STAGES; stage++) {
        for (int step = 0; step < FK_OPAQUE_STEPS; step++) {
            struct fk_opaque *opaque;

            assert_ok(fk_opaque_new(FK_OPAQUE_KEYS, ssl, NULL, &opaque));
            opaque->stage = (enum fk_opaque_stage)stage;
            assert_err(fk_opaque_step(opaque, (enum fk_opaque_step)step),
                       (due[stage] & (1U << step)) != 0 ? FK_OK : FK_ERR_UNEXPECTED);
            assert_int_equal(opaque->stage != (enum fk_opaque_stage)stage,
                             (due[stage] & ~stays & (1U << step)) != 0);
            fk_opaque_free(opaque);
        }
    }
    ERR_clear_error();
}

UNIT_MAIN(cmocka_unit_test(agree_takes_two),
          cmocka_unit_test(agree_with_the_private_value_takes_one),
          cmocka_unit_test(master_takes_two), cmocka_unit_test(master_takes_one_with_rsa),
          cmocka_unit_test(keys_takes_three), cmocka_unit_test(keys_takes_two_with_rsa),
          cmocka_unit_test(keys_takes_no_more_without_session_hash),
          cmocka_unit_test(keys_takes_one_more_without_transcript),
          cmocka_unit_test(keys_with_the_master_secret_takes_two),
          cmocka_unit_test(keys_with_the_master_secret_takes_one_with_rsa),
          cmocka_unit_test(agree_decrypts_as_ever),
          cmocka_unit_test(a_lost_key_server_is_an_internal_error),
          cmocka_unit_test(answers_of_wrong_length_fail),
          cmocka_unit_test(other_numbers_than_the_groups_fail),
          cmocka_unit_test(the_clients_finished_is_compared),
          cmocka_unit_test(a_bad_share_ends_here),
          cmocka_unit_test(a_paused_handshake_can_be_given_up),
          cmocka_unit_test(failed_allocations_end_a_handshake),
          cmocka_unit_test(other_secrets_are_the_default_providers), cmocka_unit_test(draws_differ),
          cmocka_unit_test(a_server_random_of_other_origin_fails),
          cmocka_unit_test(nothing_is_generated_outside_of_a_handshake),
          cmocka_unit_test(tls13_is_refused), cmocka_unit_test(steps_have_an_order),
          cmocka_unit_test(keys_of_a_resumed_session_take_three),
          cmocka_unit_test(what_cannot_be_resumed_is_a_full_handshake),
          cmocka_unit_test(what_was_not_sealed_is_not_resumed),
          cmocka_unit_test(lost_behind_the_point_of_no_return))
