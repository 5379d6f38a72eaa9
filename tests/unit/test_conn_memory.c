/*
 * edge/conn without memory: each allocation of a client's connection fails once, from its
 * acceptance over the handshake, for which a signer is asked, to the relay. And with a holder of
 * the key that never answers, not even at its deadline.
 */
#include "failmalloc.h"
#include "unit.h"
#include "unit_keys.h"

#include "base/clock.h"
#include "base/limits.h"
#include "edge/conn.h"
#include "loop/sock.h"
#include "pki.h"
#include "signer/peer.h"
#include "tls/rkey.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME "www.example.com"

/* A worker as far as connections know it, the signer that it asks, and an origin. */
struct world {
    struct fk_gen_base base;
    struct fk_conn_env env;
    struct fk_gen *gen;
    struct fk_keyset *keys;
    struct fk_ops *ops;
    struct fk_signer_peer *signer;
    int origin; /* listens */
    int bundle; /* sealed: what the generation is built from */
    SSL_CTX *client_ctx;
    struct fk_timer guard, turn;
    unsigned ended;
};

/* A client, and what came of it. */
struct client {
    int fd, origin;
    SSL *ssl;
    bool secured, answered, failed;
    int alert; /* that came, 0: none */
};

static void on_guard(struct fk_timer *timer)
{
    (void)timer;
    fail_msg("nothing happens");
}

static void on_turn(struct fk_timer *timer)
{
    fk_loop_stop(timer->loop);
}

static void on_end(struct fk_conn_env *env)
{
    fk_container(env, struct world, env)->ended++;
}

static void never(void *arg, struct fk_gen *gen, struct fk_site *site)
{
    (void)arg, (void)gen, (void)site;
    fail();
}

/* --- the world --- */

static void make_base(struct world *w)
{
    w->base.role = &fk_role_edge;
    w->base.on_certificate = never;
    assert_non_null(w->base.libctx = OSSL_LIB_CTX_new());
    assert_ok(fk_rkey_provider_load(w->base.libctx));
    assert_ok(fk_loop_new(&w->base.loop));
    assert_ok(fk_dns_new(w->base.loop, NULL, &w->base.dns));
    assert_ok(fk_tickets_new(w->base.libctx, &w->base.tickets));
    assert_ok(fk_localkeys_new(w->base.loop, &w->base.local));
    assert_ok(fk_setdown_new(&w->base.down));
    assert_ok(fk_conn_env_init(&w->env, w->base.loop));
    w->env.on_end = on_end;
    fk_timer_init(&w->guard, w->base.loop, on_guard);
    fk_timer_init(&w->turn, w->base.loop, on_turn);
}

static void make_signer(struct world *w, EVP_PKEY *key)
{
    struct fk_keyset_builder *builder;
    uint8_t ski[20];
    int fds[2], fd;

    assert_ok(fk_keyset_builder_new(&builder));
    unit_bundle_add(builder, "site", key, UNIT_PERM_ALL, ski);
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    assert_ok(fk_keyset_open(fd, &w->keys));
    (void)close(fd);
    assert_ok(fk_ops_new(w->keys, 0, 1, &w->ops));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    assert_ok(fk_localkeys_add(w->base.local, 1, 0, fds[0]));
    assert_ok(fk_signer_peer_new(fds[1], FK_PEER_WORKER, 0, &w->signer));
}

static void make_origin(struct world *w, char text[FK_ADDR_TEXT_SIZE])
{
    struct fk_addr addr;

    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    assert_ok(fk_sock_listen(&addr, &(struct fk_listen_options){.backlog = 16}, &w->origin));
    assert_ok(fk_sock_local(w->origin, &addr));
    fk_addr_format(&addr, text);
}

static int seal_bundle(const char *origin, EVP_PKEY *key)
{
    X509 *cert = pki_issue(&(struct pki_cert){.subject = NAME, .key = key, .serial = 1});
    char *pem = pki_pem_cert(&cert, 1), text[512];
    struct fk_bundle *bundle;
    int fd;

    (void)snprintf(text, sizeof text,
                   "listen \"127.0.0.1:1\" { }\nlog_level = error\n"
                   "limits { connections_per_address = 100 }\n"
                   "site \"" NAME "\" { mode = local certificate = {\"/t/c\"} key = {\"/t/k\"} "
                   "origin = {\"%s\"} }\n",
                   origin);
    assert_ok(fk_bundle_new(&bundle));
    assert_ok(fk_bundle_add(bundle, FK_GEN_MAIN_FILE, "/t/edge.conf", strlen("/t/edge.conf")));
    assert_ok(fk_bundle_add(bundle, FK_GEN_VERBOSE, "", 0));
    assert_ok(fk_bundle_add(bundle, "/t/edge.conf", text, strlen(text)));
    assert_ok(fk_bundle_add(bundle, "/t/c", pem, strlen(pem)));
    assert_ok(fk_bundle_seal(bundle, &fd));
    fk_bundle_free(bundle);
    free(pem);
    X509_free(cert);
    return fd;
}

static int setup(void **state)
{
    static struct world world;
    struct fk_gen_source source = {.number = 1, .keys = 1};
    EVP_PKEY *key = pki_key("P-256");
    struct fk_why why = {""};
    struct world *w = &world;
    char origin[FK_ADDR_TEXT_SIZE];

    (void)signal(SIGPIPE, SIG_IGN);
    fk_log_threshold(FK_LOG_ERROR);
    memset(w, 0, sizeof *w);
    make_base(w);
    make_signer(w, key);
    make_origin(w, origin);
    source.bundle_fd = w->bundle = seal_bundle(origin, key);
    if (fk_gen_new(&w->base, &source, NULL, &why, &w->gen) != FK_OK ||
        fk_gen_build(w->gen, true, &why) != FK_OK)
        fail_msg("%s", why.text);
    assert_non_null(w->client_ctx = SSL_CTX_new(TLS_client_method()));
    fk_timer_start(&w->guard, 60 * 1000000);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    fk_timer_stop(&w->guard);
    SSL_CTX_free(w->client_ctx);
    fk_gen_unref(w->gen);
    fk_localkeys_free(w->base.local);
    fk_setdown_free(w->base.down);
    fk_signer_peer_free(w->signer);
    fk_ops_free(w->ops);
    fk_keyset_free(w->keys);
    fk_tickets_free(w->base.tickets);
    fk_dns_free(w->base.dns);
    fk_conn_env_fini(&w->env);
    fk_close(&w->origin);
    fk_close(&w->bundle);
    OSSL_LIB_CTX_free(w->base.libctx);
    fk_loop_free(w->base.loop);
    return 0;
}

/* --- a connection --- */

static void client_failed(struct client *c)
{
    int reason = ERR_GET_REASON(ERR_peek_error());

    if (reason > SSL_AD_REASON_OFFSET)
        c->alert = reason - SSL_AD_REASON_OFFSET;
    ERR_clear_error();
    c->failed = true;
    fk_close(&c->fd);
}

/* What the client does next: shake hands, ask, hear, go. */
static void client_step(struct client *c)
{
    char got[8];
    int n;

    if (c->fd < 0)
        return;
    ERR_clear_error();
    n = c->secured ? SSL_read(c->ssl, got, sizeof got) : SSL_do_handshake(c->ssl);
    if (n <= 0) {
        if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
            client_failed(c);
    } else if (!c->secured) {
        c->secured = true;
        if (SSL_write(c->ssl, "ping", 4) != 4)
            client_failed(c);
    } else {
        assert_int_equal(n, 4);
        assert_memory_equal(got, "pong", 4);
        c->answered = true;
        (void)SSL_shutdown(c->ssl);
        fk_close(&c->fd);
    }
}

static void origin_step(struct world *w, struct client *c)
{
    struct fk_addr peer;
    char got[8];
    ssize_t n;

    if (c->origin < 0 && fk_sock_accept(w->origin, &c->origin, &peer) != FK_OK)
        return;
    n = recv(c->origin, got, sizeof got, MSG_DONTWAIT);
    if (n == 4 && memcmp(got, "ping", 4) == 0)
        assert_int_equal(send(c->origin, "pong", 4, MSG_NOSIGNAL), 4);
    else if (n == 0)
        (void)shutdown(c->origin, SHUT_WR);
}

static void turn(struct world *w, struct client *c)
{
    fk_timer_start(&w->turn, 500);
    fk_loop_run(w->base.loop);
    assert_ok(fk_signer_peer_turn(w->signer, w->ops, NULL, true));
    client_step(c);
    origin_step(w, c);
}

/* A connection of which allocation `n` fails (0: none), to its end. Whether one did. */
static bool connect_once(struct world *w, size_t n, struct client *c)
{
    struct fk_addr peer;
    bool fired;
    int fds[2];

    assert_ok(fk_addr_parse("192.0.2.1:4711", &peer));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    *c = (struct client){.fd = fds[1], .origin = -1, .ssl = SSL_new(w->client_ctx)};
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
    assert_int_equal(SSL_set_tlsext_host_name(c->ssl, NAME), 1);
    client_step(c); /* the ClientHello is there when the connection is accepted */
    w->ended = 0;

    failmalloc_arm(n);
    fk_conn_accept(&w->env, w->gen, (const void *)w->gen->root->listens, &peer, fds[0], &peer);
    while (c->fd >= 0 || !fk_list_empty(&w->env.conns))
        turn(w, c);
    fired = failmalloc_disarm();

    assert_int_equal(fk_admit_count(w->env.admit), 0);
    assert_int_equal(fk_sites_at(w->gen->sites, 0)->active, 0);
    assert_int_equal(w->gen->refs, 1);
    SSL_free(c->ssl);
    fk_close(&c->origin);
    return fired;
}

static struct fk_ticket_keys fresh_keys(void)
{
    struct fk_ticket_keys keys = {.count = 0};
    uint64_t next;
    bool changed;

    assert_ok(fk_ticket_keys_rotate(&keys, 1000000, 0, &changed, &next));
    return keys;
}

/* Allocations before there is a connection: its address, itself. It is just closed. */
#define BEFORE 2

/* From then on the client is told that it is not to blame, until bytes are relayed. */
static void check_alert(const struct client *c, size_t n)
{
    bool told = c->alert == SSL_AD_INTERNAL_ERROR ||
                c->alert == SSL_AD_HANDSHAKE_FAILURE; /* a key that libssl could not try */

    assert_true(told || (c->alert == 0 && (n <= BEFORE || c->secured)));
}

static void every_failed_allocation_ends_one_connection(void **state)
{
    struct fk_ticket_keys keys = fresh_keys();
    struct world *w = *state;
    struct client c;
    size_t n = 1;

    (void)connect_once(w, 0, &c); /* what OpenSSL and the library make once */
    assert_true(c.answered);
    for (;; n++) {
        fk_tickets_set(w->base.tickets, &keys); /* the site derives them anew */
        if (!connect_once(w, n, &c))
            break;
        assert_int_equal(failmalloc_live(), 0);
        check_alert(&c, n);
        (void)connect_once(w, 0, &c);
        assert_true(c.answered);
    }
    assert_int_equal(failmalloc_live(), 0);
    assert_true(c.answered && !c.failed);
    assert_int_equal(w->ended, 1);
    assert_true(n - 1 >= 10);
}

/* A ClientHello in two records, which is put together in memory of its own. */
static void send_in_two(struct world *w, int fd)
{
    SSL *ssl = SSL_new(w->client_ctx);
    BIO *out = BIO_new(BIO_s_mem());
    uint8_t head[5] = {22, 3, 1, 0, 40};
    char *hello;
    long len;

    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_set_connect_state(ssl);
    assert_int_equal(SSL_set_tlsext_host_name(ssl, NAME), 1);
    assert_int_equal(SSL_do_handshake(ssl), -1);
    len = BIO_get_mem_data(out, &hello);
    assert_true(len > 5 + 40);
    assert_int_equal(send(fd, head, 5, 0), 5);
    assert_int_equal(send(fd, hello + 5, 40, 0), 40);
    head[3] = (uint8_t)((len - 45) >> 8);
    head[4] = (uint8_t)(len - 45);
    assert_int_equal(send(fd, head, 5, 0), 5);
    assert_int_equal(send(fd, hello + 45, (size_t)len - 45, 0), len - 45);
    SSL_free(ssl);
}

static void a_hello_without_memory_is_not_malformed(void **state)
{
    static const uint8_t internal_error[] = {21, 3, 3, 0, 2, 2, SSL_AD_INTERNAL_ERROR};
    struct world *w = *state;
    struct fk_addr peer;
    struct client none = {.fd = -1, .origin = -1};
    uint8_t got[16];
    size_t n;

    assert_ok(fk_addr_parse("192.0.2.1:4711", &peer));
    /* What was received, the message put together, its name, the handshake's parts. */
    for (n = BEFORE + 1; n <= BEFORE + 6; n++) {
        int fds[2];

        assert_ok(fk_sock_pair(SOCK_STREAM, fds));
        send_in_two(w, fds[1]);
        failmalloc_arm(n);
        fk_conn_accept(&w->env, w->gen, (const void *)w->gen->root->listens, &peer, fds[0], &peer);
        assert_true(failmalloc_disarm());
        assert_int_equal(recv(fds[1], got, sizeof got, 0), sizeof internal_error);
        assert_memory_equal(got, internal_error, sizeof internal_error);
        (void)close(fds[1]);
        while (!fk_list_empty(&w->env.conns))
            turn(w, &none);
        assert_int_equal(failmalloc_live(), 0);
    }
}

/* What was made serves. */
static void serve_from(struct world *w, struct fk_gen *gen)
{
    struct fk_gen *usual = w->gen;
    struct client c;

    w->gen = gen;
    (void)connect_once(w, 0, &c);
    assert_true(c.answered);
    w->gen = usual;
}

/*
 * A reload is whole or not at all, and the generation in service is left alone. Where OpenSSL
 * compares keys it has another way when the first fails: then the generation is whole.
 */
static void a_generation_without_memory_is_not_made(void **state)
{
    struct world *w = *state;
    const struct fk_gen_source source = {.bundle_fd = w->bundle, .number = 2, .keys = 1};
    size_t n = 0, told = 0;
    bool fired;

    do {
        struct fk_why why = {""};
        struct fk_gen *gen = NULL;
        int err;

        failmalloc_arm(++n);
        err = fk_gen_new(&w->base, &source, w->gen, &why, &gen);
        assert_true((err == FK_OK) == (gen != NULL));
        if (err == FK_OK)
            err = fk_gen_build(gen, true, &why);
        fired = failmalloc_disarm();
        assert_true(fired || err == FK_OK);
        if (err != FK_OK && err != FK_ERR_CRYPTO) /* rkey.h: a remote key cannot be made */
            assert_err(err, FK_ERR_NOMEM);
        told += err == FK_ERR_NOMEM;
        if (err == FK_OK)
            serve_from(w, gen);
        fk_gen_unref(gen);
        assert_int_equal(failmalloc_live(), 0);
    } while (fired);
    assert_true(told >= 15);
    assert_true(n - 1 - told <= 5); /* all others are of remote keys */
    serve_from(w, w->gen);
}

/* --- a holder of the key that breaks its word --- */

static unsigned cancelled;

static int silent_submit(struct fk_keyback *back, const struct fk_key_request *request,
                         fk_key_done_cb *done, void *arg, struct fk_key_ticket **ret)
{
    (void)back, (void)request, (void)done, (void)arg;
    *ret = NULL;
    return FK_OK;
}

static void silent_cancel(struct fk_keyback *back, struct fk_key_ticket *ticket)
{
    (void)back, (void)ticket;
    cancelled++;
}

/* Long before the handshake's own time is over, which is ten seconds here. */
static void a_silent_holder_of_the_key_is_given_up(void **state)
{
    static const struct fk_keyback_ops silent = {silent_submit, silent_cancel, NULL};
    struct world *w = *state;
    struct fk_keyback *back = fk_sites_at(w->gen->sites, 0)->back, usual = *back;
    uint64_t began = fk_clock_us();
    struct client c;

    *back = (struct fk_keyback){.ops = &silent, .deadline_us = 50000};
    cancelled = 0;
    (void)connect_once(w, 0, &c);
    assert_int_equal(c.alert, SSL_AD_INTERNAL_ERROR);
    assert_int_equal(cancelled, 1);
    assert_true(fk_clock_us() - began >= 50000 + FK_EDGE_KEY_GRACE_US);
    assert_true(fk_clock_us() - began < w->gen->limits->handshake_us / 2);
    *back = usual;
    (void)connect_once(w, 0, &c);
    assert_true(c.answered);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(every_failed_allocation_ends_one_connection),
        cmocka_unit_test(a_hello_without_memory_is_not_malformed),
        cmocka_unit_test(a_generation_without_memory_is_not_made),
        cmocka_unit_test(a_silent_holder_of_the_key_is_given_up),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(cases, setup, teardown);
}
