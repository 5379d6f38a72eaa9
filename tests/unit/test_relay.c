/* The relay over socketpairs: bytes both ways, back-pressure, half-close, resets. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "edge/bio.h"
#include "edge/relay.h"
#include "failmalloc.h"
#include "loop/loop.h"
#include "loop/sock.h"
#include "pki.h"
#include "tls/handover.h"
#include "tls/record_priv.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX ((size_t)16384)

/* A relay between two socketpairs; the test holds the far ends. */
struct fixture {
    struct fk_relay relay;
    struct fk_scratch scratch;
    int client, origin; /* far ends */
    int near[2];
    struct fk_bio *bio; /* of the client's end, with TLS */
    bool engine;        /* TLS by the record engine, not by OpenSSL */
    struct fk_scratch seal;
};

static void pair(int *ret_near, int *ret_far)
{
    int fds[2];

    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    *ret_near = fds[0];
    *ret_far = fds[1];
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->scratch.size = FK_EDGE_SCRATCH;
    f->scratch.mem = malloc(FK_EDGE_SCRATCH);
    assert_non_null(f->scratch.mem);
    pair(&f->near[0], &f->client);
    pair(&f->near[1], &f->origin);
    fk_relay_init(&f->relay, MAX);
    fk_end_plain(&f->relay.client, f->near[0]);
    fk_end_plain(&f->relay.origin, f->near[1]);
    *state = f;
    return 0;
}

static int setup_engine(void **state)
{
    struct fixture *f;

    (void)setup(state);
    f = *state;
    f->engine = true;
    f->seal = (struct fk_scratch){malloc(FK_EDGE_SEALED_MAX), FK_EDGE_SEALED_MAX};
    assert_non_null(f->seal.mem);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free(f->seal.mem);
    fk_relay_fini(&f->relay);
    fk_close(&f->client);
    fk_close(&f->origin);
    fk_close(&f->near[0]);
    fk_close(&f->near[1]);
    free(f->scratch.mem);
    free(f);
    return 0;
}

/* What a loop does until nothing happens any more: a read that empties a socket is followed by
 * another one only when the socket is ready again. */
static int pump(struct fixture *f, enum fk_relay_state *ret)
{
    bool again = false;
    int err = FK_OK;

    for (unsigned turn = 0; err == FK_OK && (turn < 3 || again); turn++) {
        fk_end_notify(&f->relay.client, FK_IO_READ | FK_IO_WRITE);
        fk_end_notify(&f->relay.origin, FK_IO_READ | FK_IO_WRITE);
        if (f->bio != NULL)
            f->bio->drained = false; /* as when the loop says that the socket is readable */
        err = fk_relay_pump(&f->relay, &f->scratch, ret, &again);
    }
    return err;
}

static void put(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *text)
{
    char got[256] = "";

    assert_int_equal(recv(fd, got, sizeof got, 0), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void expect_end(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void expect_silence(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void bytes_both_ways(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;

    put(f->client, "question");
    put(f->origin, "answer");
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_OPEN);
    expect(f->origin, "question");
    expect(f->client, "answer");
    assert_int_equal(f->relay.up.bytes, 8);
    assert_int_equal(f->relay.down.bytes, 6);
}

static void idle_relay_holds_no_buffer(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;

    put(f->client, "question");
    assert_ok(pump(f, &at));
    assert_null(f->relay.up.buf.mem);
    assert_null(f->relay.down.buf.mem);
    assert_int_equal(fk_relay_client_wants(&f->relay), FK_IO_READ);
    assert_int_equal(fk_relay_origin_wants(&f->relay), FK_IO_READ);
}

/* Fill the way up until the far end's socket and our buffer take no more. */
static size_t flood(struct fixture *f, uint8_t *next)
{
    enum fk_relay_state at;
    uint8_t block[4096];
    size_t sent = 0;
    ssize_t n;

    for (;;) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (uint8_t)(*next + i);
        n = send(f->client, block, sizeof block, MSG_NOSIGNAL);
        if (n > 0) {
            *next = (uint8_t)(*next + n);
            sent += (size_t)n;
        }
        assert_ok(pump(f, &at));
        assert_true(fk_buf_len(&f->relay.up.buf) <= MAX);
        if (n < 0)
            return sent;
    }
}

static void slow_receiver_stops_the_sender(void **state)
{
    struct fixture *f = *state;
    size_t sent, received = 0;
    enum fk_relay_state at;
    uint8_t next = 0, block[3000], value = 0;
    ssize_t n;

    sent = flood(f, &next);
    assert_true(fk_buf_len(&f->relay.up.buf) > 0);
    assert_int_equal(fk_relay_client_wants(&f->relay), 0);
    assert_int_equal(fk_relay_origin_wants(&f->relay), FK_IO_READ | FK_IO_WRITE);
    /* The other direction goes on. */
    put(f->origin, "answer");
    assert_ok(pump(f, &at));
    expect(f->client, "answer");
    while (received < sent) {
        n = recv(f->origin, block, sizeof block, 0);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(block[i], value++);
        received += n > 0 ? (size_t)n : 0;
        assert_ok(pump(f, &at));
    }
    expect_silence(f->origin);
    assert_int_equal(fk_relay_client_wants(&f->relay), FK_IO_READ);
    assert_null(f->relay.up.buf.mem);
}

static void half_close_by_the_client(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;

    put(f->client, "question");
    shutdown(f->client, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_HALF);
    expect(f->origin, "question");
    expect_end(f->origin);
    put(f->origin, "answer");
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_HALF);
    expect(f->client, "answer");
    shutdown(f->origin, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_DONE);
    expect_end(f->client);
}

static void half_close_by_the_origin(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;

    put(f->origin, "greeting");
    shutdown(f->origin, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_HALF);
    expect(f->client, "greeting");
    expect_end(f->client);
    put(f->client, "thanks");
    assert_ok(pump(f, &at));
    expect(f->origin, "thanks");
    shutdown(f->client, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_DONE);
}

/* The end waits behind the bytes before it. */
static void end_behind_a_full_buffer(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    uint8_t next = 0, block[8192];
    size_t sent = flood(f, &next), received = 0;
    ssize_t n;

    shutdown(f->client, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_OPEN); /* not even read yet */
    while ((n = recv(f->origin, block, sizeof block, 0)) != 0) {
        received += n > 0 ? (size_t)n : 0;
        assert_ok(pump(f, &at));
    }
    assert_int_equal(received, sent);
    assert_int_equal(at, FK_RELAY_HALF);
}

static void receiver_is_gone(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at = FK_RELAY_OPEN;

    put(f->origin, "last words");
    fk_close(&f->origin);
    put(f->client, "question");
    /* The way up breaks, what the origin said still arrives. */
    assert_ok(pump(f, &at));
    expect(f->client, "last words");
    expect_end(f->client);
    assert_true(f->relay.up.ended);
    assert_null(f->relay.up.buf.mem);
    assert_int_equal(at, FK_RELAY_CUT); /* the client may go on */
}

/* The client had ended before the origin was there, and it is not: nothing goes on. */
static void receiver_is_gone_after_the_end(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at = FK_RELAY_OPEN;

    memset(&f->relay.origin, 0, sizeof f->relay.origin);
    put(f->client, "question");
    shutdown(f->client, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_true(f->relay.up.ended);
    fk_close(&f->origin);
    fk_end_plain(&f->relay.origin, f->near[1]);
    assert_ok(pump(f, &at));
    assert_null(f->relay.up.buf.mem);
    assert_int_equal(at, FK_RELAY_DONE);
}

/* A reset (unread bytes at closing) is an error, not an end. */
static void reset_by_the_client(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;

    put(f->origin, "never read");
    assert_ok(pump(f, &at));
    fk_close(&f->client);
    assert_err(pump(f, &at), FK_ERR_CLOSED);
}

/* No origin yet: the first bytes wait for it, up to the bound. */
static void bytes_wait_for_the_origin(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    char block[4096];

    memset(&f->relay.origin, 0, sizeof f->relay.origin);
    memset(block, 'x', sizeof block);
    for (unsigned i = 0; i < 8; i++) {
        (void)send(f->client, block, sizeof block, MSG_NOSIGNAL);
        assert_ok(pump(f, &at));
    }
    assert_int_equal(fk_buf_len(&f->relay.up.buf), MAX);
    assert_int_equal(fk_relay_client_wants(&f->relay), 0);
    assert_int_equal(fk_relay_origin_wants(&f->relay), 0);
    fk_end_plain(&f->relay.origin, f->near[1]);
    assert_ok(pump(f, &at));
    assert_int_equal(fk_buf_len(&f->relay.up.buf), 0);
    assert_int_equal(f->relay.up.bytes, 8 * sizeof block);
}

/* A fast sender does not keep a worker for itself. */
static void stops_for_fairness(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    bool again = false;
    char small[16] = "";

    f->scratch.size = sizeof small; /* so that a few bytes are many rounds */
    for (unsigned i = 0; i < 4 * FK_EDGE_PUMP_ROUNDS; i++)
        assert_int_equal(send(f->client, small, sizeof small, 0), sizeof small);
    fk_end_notify(&f->relay.client, FK_IO_READ);
    assert_ok(fk_relay_pump(&f->relay, &f->scratch, &at, &again));
    assert_true(again);
    assert_int_equal(f->relay.up.bytes, FK_EDGE_PUMP_ROUNDS * sizeof small);
    assert_ok(pump(f, &at));
    assert_int_equal(f->relay.up.bytes, 4 * FK_EDGE_PUMP_ROUNDS * sizeof small);
}

/* --- with TLS at the client's end --- */

struct tls {
    struct fixture *f;
    SSL_CTX *server_ctx, *client_ctx;
    SSL *server, *client;
    struct fk_buf prefix;
    struct fk_bio bio;
    /* with the engine */
    struct fk_handover seen;
    struct fk_arena *arena;
    struct fk_record *record;
};

static void handshake(struct tls *tls)
{
    for (unsigned i = 0; i < 10; i++) {
        int a = SSL_do_handshake(tls->client);
        int b = SSL_do_handshake(tls->server);

        tls->bio.drained = false;
        if (a == 1 && b == 1)
            return;
    }
    fail_msg("no handshake");
}

static void take_over(struct tls *tls)
{
    struct fixture *f = tls->f;
    struct fk_session_keys keys;

    assert_ok(fk_handover_take(tls->server, &tls->seen, &keys));
    SSL_free(tls->server);
    tls->server = NULL;
    assert_ok(fk_record_arena_new(1, &tls->arena));
    assert_ok(fk_record_new(tls->arena, &keys, FK_RECORD_SERVER, &tls->record));
    fk_end_record(&f->relay.client, f->near[0], tls->record, &tls->prefix, &f->seal);
}

static void tls_begin_version(struct tls *tls, struct fixture *f, int version)
{
    EVP_PKEY *key = pki_key("P-256");
    X509 *cert = pki_issue(&(struct pki_cert){.subject = "site", .key = key, .serial = 1});
    BIO *bio;

    memset(tls, 0, sizeof *tls);
    tls->f = f;
    tls->server_ctx = SSL_CTX_new(TLS_server_method());
    tls->client_ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_use_certificate(tls->server_ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls->server_ctx, key), 1);
    X509_free(cert);
    assert_int_equal(SSL_CTX_set_max_proto_version(tls->client_ctx, version), 1);
    SSL_CTX_set_options(tls->server_ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(tls->server_ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls->server_ctx, !f->engine);
    tls->server = SSL_new(tls->server_ctx);
    tls->client = SSL_new(tls->client_ctx);
    fk_buf_init(&tls->prefix, FK_EDGE_HELLO_BUFFER);
    tls->bio = (struct fk_bio){.fd = f->near[0], .prefix = &tls->prefix};
    f->bio = &tls->bio;
    bio = fk_bio_new(&tls->bio);
    assert_non_null(bio);
    SSL_set_bio(tls->server, bio, bio);
    SSL_set_fd(tls->client, f->client);
    SSL_set_accept_state(tls->server);
    SSL_set_connect_state(tls->client);
    if (f->engine)
        assert_ok(fk_handover_watch(tls->server, &tls->seen));
    handshake(tls);
    if (f->engine)
        take_over(tls);
    else
        fk_end_tls(&f->relay.client, f->near[0], tls->server);
}

static void tls_begin(struct tls *tls, struct fixture *f)
{
    tls_begin_version(tls, f, TLS1_3_VERSION);
}

static void tls_end(struct tls *tls)
{
    SSL_free(tls->server);
    SSL_free(tls->client);
    SSL_CTX_free(tls->server_ctx);
    SSL_CTX_free(tls->client_ctx);
    fk_buf_fini(&tls->prefix);
    fk_record_free(tls->record);
    fk_arena_free(tls->arena);
}

static void tls_bytes_and_close_notify(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;
    char got[64] = "";

    tls_begin(&tls, f);
    assert_int_equal(SSL_write(tls.client, "question", 8), 8);
    assert_ok(pump(f, &at));
    expect(f->origin, "question");
    put(f->origin, "answer");
    shutdown(f->origin, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_HALF);
    assert_int_equal(SSL_read(tls.client, got, sizeof got), 6);
    assert_int_equal(SSL_read(tls.client, got, sizeof got), 0);
    assert_int_equal(SSL_get_shutdown(tls.client), SSL_RECEIVED_SHUTDOWN);
    assert_int_equal(SSL_write(tls.client, "more", 4), 4); /* the other half is open */
    assert_ok(pump(f, &at));
    expect(f->origin, "more");
    SSL_shutdown(tls.client);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_DONE);
    expect_end(f->origin);
    tls_end(&tls);
}

/* A TCP end without close_notify may be an attacker's: the origin must not take it for an end. */
static void tls_truncation_is_an_error(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;

    tls_begin(&tls, f);
    assert_int_equal(SSL_write(tls.client, "half a que", 10), 10);
    shutdown(f->client, SHUT_WR);
    assert_err(pump(f, &at), FK_ERR_CLOSED);
    expect(f->origin, "half a que");
    expect_silence(f->origin);
    tls_end(&tls);
}

/* After our close_notify a client may simply go. */
static void tls_client_leaves_after_our_end(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;

    tls_begin(&tls, f);
    shutdown(f->origin, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_HALF);
    shutdown(f->client, SHUT_WR);
    assert_ok(pump(f, &at));
    assert_int_equal(at, FK_RELAY_DONE);
    tls_end(&tls);
}

/* A slow TLS client: bytes arrive whole and in order, the buffer keeps its bound. */
static void tls_slow_client(void **state)
{
    struct fixture *f = *state;
    const size_t total = 4 * 1024 * 1024;
    size_t sent = 0, received = 0;
    enum fk_relay_state at;
    struct tls tls;
    uint8_t block[8192], got[5000];
    int n;

    tls_begin(&tls, f);
    while (received < total) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (uint8_t)((sent + i) * 7 >> 3);
        if (sent < total) {
            ssize_t put_now = send(f->origin, block, sizeof block, MSG_NOSIGNAL);

            sent += put_now > 0 ? (size_t)put_now : 0;
        }
        assert_ok(pump(f, &at));
        assert_true(fk_buf_len(&f->relay.down.buf) <= MAX);
        n = SSL_read(tls.client, got, sizeof got);
        for (int i = 0; i < n; i++)
            assert_int_equal(got[i], (uint8_t)((received + (size_t)i) * 7 >> 3));
        received += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(sent, total);
    tls_end(&tls);
}

/* --- the engine alone --- */

/* Records of one byte, more than a read has room for in one piece. */
static void engine_tiny_records(void **state)
{
    enum { RECORDS = 5000 };
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;
    char byte, got[RECORDS];
    size_t received = 0;

    tls_begin(&tls, f);
    for (int i = 0; i < RECORDS; i++) {
        byte = (char)(i % 100);
        while (SSL_write(tls.client, &byte, 1) != 1)
            assert_ok(pump(f, &at));
    }
    while (received < RECORDS) {
        ssize_t n;

        assert_ok(pump(f, &at));
        n = recv(f->origin, got + received, sizeof got - received, 0);
        received += n > 0 ? (size_t)n : 0;
    }
    for (int i = 0; i < RECORDS; i++)
        assert_int_equal(got[i], (char)(i % 100));
    tls_end(&tls);
}

/* Keys are renewed at the client's wish, and the answer finds its way without any data. */
static void engine_answers_key_updates(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;
    char got[16];

    tls_begin(&tls, f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(tls.client, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(tls.client), 1);
        assert_ok(pump(f, &at));
        assert_int_equal(tls.record == NULL ? 0 : fk_record_control_due(tls.record), 0);
        assert_int_equal(SSL_write(tls.client, "ask", 3), 3);
        assert_ok(pump(f, &at));
        expect(f->origin, "ask");
        put(f->origin, "answer");
        assert_ok(pump(f, &at));
        assert_int_equal(SSL_read(tls.client, got, sizeof got), 6);
    }
    tls_end(&tls);
}

/* The client's first data came along with its Finished, when OpenSSL still read. */
static void engine_finds_what_was_read_ahead(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;
    char first[] = "first", second[] = "second";
    uint8_t record[64];
    struct fk_session_keys keys;
    struct fk_record *peer;
    struct fk_arena *arena;
    size_t len;

    tls_begin(&tls, f);
    /* Two records as the client would seal them: in what was read before, all and in part. */
    keys = *fk_record_keys(tls.record);
    assert_ok(fk_record_arena_new(1, &arena));
    assert_ok(fk_record_new(arena, &keys, FK_RECORD_CLIENT, &peer));
    for (int i = 0; i < 2; i++) {
        const struct iovec piece = {i == 0 ? first : second, i == 0 ? 5 : 6};
        uint8_t sealed[256];

        assert_ok(fk_record_seal(peer, &piece, 1, sealed, sizeof sealed, &len));
        memcpy(record, sealed, len);
        if (i == 0) {
            assert_ok(fk_buf_append(&tls.prefix, record, len));
        } else {
            assert_ok(fk_buf_append(&tls.prefix, record, 9));
            assert_int_equal(send(f->client, record + 9, len - 9, MSG_NOSIGNAL), len - 9);
        }
    }
    fk_end_record(&f->relay.client, f->near[0], tls.record, &tls.prefix, &f->seal);
    assert_true(f->relay.client.ready);
    assert_ok(pump(f, &at));
    expect(f->origin, "firstsecond");
    assert_int_equal(fk_buf_len(&tls.prefix), 0);
    fk_record_free(peer);
    fk_arena_free(arena);
    tls_end(&tls);
}

/* A forged record: what came before it is delivered, then the session is over, and the client is
 * told why. */
static void engine_refuses_forgeries(void **state)
{
    static const uint8_t forged[5 + 40] = {23, 3, 3, 0, 40};
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;
    char got[16];

    tls_begin(&tls, f);
    assert_int_equal(SSL_write(tls.client, "good", 4), 4);
    assert_int_equal(send(f->client, forged, sizeof forged, MSG_NOSIGNAL), sizeof forged);
    assert_err(pump(f, &at), FK_ERR_TLS);
    expect(f->origin, "good");
    expect_silence(f->origin);
    ERR_clear_error();
    assert_int_equal(SSL_read(tls.client, got, sizeof got), 0);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    ERR_clear_error();
    tls_end(&tls);
}

/* --- what is no data --- */

static void send_update(struct tls *tls)
{
    assert_int_equal(SSL_key_update(tls->client, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_do_handshake(tls->client), 1);
}

/* The client's answers are read, so that none is in the way. */
static void expect_nothing(struct tls *tls)
{
    char got[16];

    assert_int_equal(SSL_read(tls->client, got, sizeof got), -1);
    assert_int_equal(SSL_get_error(tls->client, -1), SSL_ERROR_WANT_READ);
}

/* Whoever protects the records: the same bound. */
static void tls_flood_of_updates(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;

    tls_begin(&tls, f);
    for (int i = 0; i <= FK_TLS_MESSAGES_MAX; i++)
        send_update(&tls);
    assert_err(pump(f, &at), FK_ERR_LIMIT);
    expect_silence(f->origin);
    tls_end(&tls);
}

static void tls_updates_between_data(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;

    tls_begin(&tls, f);
    for (int i = 0; i < FK_TLS_MESSAGES_MAX; i++) {
        send_update(&tls);
        assert_int_equal(SSL_write(tls.client, "x", 1), 1);
        assert_ok(pump(f, &at));
        expect(f->origin, "x");
        expect_nothing(&tls);
    }
    /* What came before the one too many is delivered. */
    assert_int_equal(SSL_write(tls.client, "last", 4), 4);
    send_update(&tls);
    assert_err(pump(f, &at), FK_ERR_LIMIT);
    expect(f->origin, "last");
    tls_end(&tls);
}

static void tls_honest_updates(void **state)
{
    static char data[FK_TLS_MESSAGE_BYTES];
    struct fixture *f = *state;
    enum fk_relay_state at;
    char got[64];
    struct tls tls;

    tls_begin(&tls, f);
    for (int i = 0; i < 3 * FK_TLS_MESSAGES_MAX; i++) {
        send_update(&tls);
        assert_int_equal(SSL_write(tls.client, data, sizeof data), sizeof data);
        assert_ok(pump(f, &at));
        assert_int_equal(recv(f->origin, data, sizeof data, MSG_WAITALL), sizeof data);
        put(f->origin, "answer"); /* under new keys */
        assert_ok(pump(f, &at));
        assert_int_equal(SSL_read(tls.client, got, sizeof got), 6);
    }
    tls_end(&tls);
}

/* An engine that goes on where the client's OpenSSL is: TLS 1.2. */
static struct fk_record *make_peer(const struct tls *tls, struct fk_arena **ret_arena)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->client);
    uint8_t master[48], randoms[2][32];
    struct fk_session_keys keys;
    struct fk_record *peer;

    assert_int_equal(
        SSL_SESSION_get_master_key(SSL_get0_session(tls->client), master, sizeof master), 48);
    assert_int_equal(SSL_get_client_random(tls->client, randoms[0], 32), 32);
    assert_int_equal(SSL_get_server_random(tls->client, randoms[1], 32), 32);
    assert_ok(fk_session_keys_tls12(fk_suite_find(SSL_CIPHER_get_protocol_id(cipher)), master,
                                    randoms[0], randoms[1], false, &keys));
    assert_ok(fk_record_arena_new(1, ret_arena));
    assert_ok(fk_record_new(*ret_arena, &keys, FK_RECORD_CLIENT, &peer));
    return peer;
}

/*
 * TLS 1.2: ClientHellos that nobody answers, as OpenSSL's client would not send them: sealed by an
 * engine with its keys.
 */
static void tls12_flood_of_hellos(void **state)
{
    static const uint8_t hello[] = {1, 0, 0, 0};
    struct fixture *f = *state;
    enum fk_relay_state at;
    struct tls tls;
    struct fk_record *peer;
    struct fk_arena *arena;

    tls_begin_version(&tls, f, TLS1_2_VERSION);
    peer = make_peer(&tls, &arena);
    for (int i = 0; i <= FK_TLS_MESSAGES_MAX; i++) {
        const struct iovec piece = {(void *)(uintptr_t)hello, sizeof hello};
        struct fk_pieces pieces = {.first = &piece};
        uint8_t sealed[128];
        size_t len;

        assert_ok(
            fk_record_encrypt(peer, FK_CONTENT_HANDSHAKE, &pieces, sizeof hello, sealed, &len));
        assert_int_equal(send(f->client, sealed, len, MSG_NOSIGNAL), len);
    }
    assert_err(pump(f, &at), FK_ERR_LIMIT);
    fk_record_free(peer);
    fk_arena_free(arena);
    tls_end(&tls);
}

/* --- without memory --- */

/* One direction of which the sink is not there yet. */
struct dam {
    struct fixture *f;
    struct fk_flow *flow;
    struct fk_end *sink;
    int near, source, far; /* the sink's near end; what is sent into, where it comes out */
};

static const char secret[2048] = "-SECRET-";

static void expect_wiped(const void *block, size_t size)
{
    assert_null(memmem(block, size, secret, 8));
}

static int pump_once(struct fixture *f, const struct fk_flow *flow, size_t waiting)
{
    enum fk_relay_state at = FK_RELAY_DONE;
    bool again = true;
    int err;

    fk_end_notify(&f->relay.client, FK_IO_READ);
    fk_end_notify(&f->relay.origin, FK_IO_READ);
    err = fk_relay_pump(&f->relay, &f->scratch, &at, &again);
    assert_int_equal(at, err == FK_OK ? FK_RELAY_OPEN : FK_RELAY_DONE);
    assert_int_equal(again, err != FK_OK);
    /* What waited before an error does so still, and nothing else does. */
    assert_int_equal(fk_buf_len(&flow->buf), err == FK_OK ? waiting + sizeof secret : waiting);
    return err;
}

static void open_dam(struct dam *dam)
{
    enum fk_relay_state at;
    char got[sizeof secret];

    fk_end_plain(dam->sink, dam->near);
    assert_ok(pump(dam->f, &at));
    for (size_t had = 0; had < MAX; had += sizeof got) {
        assert_int_equal(recv(dam->far, got, sizeof got, 0), sizeof got);
        assert_memory_equal(got, secret, sizeof got);
    }
}

/* Bytes wait up to the bound, in a buffer that grows, and leave. */
static int fill_dam(void *context)
{
    struct dam *dam = context;
    struct fixture *f = dam->f;
    int err = FK_OK;

    failmalloc_on_free(expect_wiped);
    fk_end_plain(&f->relay.client, f->near[0]);
    fk_end_plain(&f->relay.origin, f->near[1]);
    dam->sink->ops = NULL;
    for (size_t waiting = 0; err == FK_OK && waiting < MAX; waiting += sizeof secret) {
        assert_int_equal(send(dam->source, secret, sizeof secret, MSG_NOSIGNAL), sizeof secret);
        err = pump_once(f, dam->flow, waiting);
    }
    if (err == FK_OK)
        open_dam(dam);
    fk_relay_fini(&f->relay);
    return err;
}

static void lack_of_memory_is_told_either_way(void **state)
{
    struct fixture *f = *state;
    struct fk_relay *relay = &f->relay;
    struct dam up = {f, &relay->up, &relay->origin, f->near[1], f->client, f->origin};
    struct dam down = {f, &relay->down, &relay->client, f->near[0], f->origin, f->client};

    assert_int_equal(failmalloc_try(fill_dam, &up), 4); /* it grows by doubling */
    assert_int_equal(failmalloc_try(fill_dam, &down), 4);
}

/* Nothing is allocated before the sink is full. Then the connection ends; it does not go on with
 * what could not be kept missing from the middle. */
static void lack_of_memory_with_a_slow_receiver(void **state)
{
    struct fixture *f = *state;
    enum fk_relay_state at = FK_RELAY_DONE;
    int err = FK_OK;

    failmalloc_arm(1);
    while (err == FK_OK && send(f->client, secret, sizeof secret, MSG_NOSIGNAL) > 0)
        err = pump(f, &at);
    assert_true(failmalloc_disarm());
    assert_err(err, FK_ERR_NOMEM);
    assert_int_equal(fk_buf_len(&f->relay.up.buf), 0);
    assert_null(f->relay.up.buf.mem);
    assert_int_equal(failmalloc_live(), 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define ENGINE(test)                                               \
    {                                                              \
#test " by the engine", test, setup_engine, teardown, NULL \
    }

UNIT_MAIN(WITH(bytes_both_ways), WITH(idle_relay_holds_no_buffer),
          WITH(slow_receiver_stops_the_sender), WITH(half_close_by_the_client),
          WITH(half_close_by_the_origin), WITH(end_behind_a_full_buffer), WITH(receiver_is_gone),
          WITH(receiver_is_gone_after_the_end), WITH(reset_by_the_client),
          WITH(bytes_wait_for_the_origin), WITH(stops_for_fairness),
          WITH(tls_bytes_and_close_notify), WITH(tls_truncation_is_an_error),
          WITH(tls_client_leaves_after_our_end), WITH(tls_slow_client),
          ENGINE(tls_bytes_and_close_notify), ENGINE(tls_truncation_is_an_error),
          ENGINE(tls_client_leaves_after_our_end), ENGINE(tls_slow_client),
          WITH(tls_flood_of_updates), WITH(tls_updates_between_data), WITH(tls_honest_updates),
          ENGINE(tls_flood_of_updates), ENGINE(tls_updates_between_data),
          ENGINE(tls_honest_updates), WITH(tls12_flood_of_hellos), ENGINE(tls12_flood_of_hellos),
          ENGINE(engine_tiny_records), ENGINE(engine_answers_key_updates),
          ENGINE(engine_finds_what_was_read_ahead), ENGINE(engine_refuses_forgeries),
          WITH(lack_of_memory_is_told_either_way), WITH(lack_of_memory_with_a_slow_receiver))
