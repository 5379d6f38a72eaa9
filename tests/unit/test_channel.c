/* tls/channel: who gets in, and bytes both ways until one side ends, in whatever manner. */
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"
#include "failmalloc.h"
#include "loop/sock.h"
#include "pki.h"
#include "tls/channel.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- a private authority and identities under it --- */

struct authority {
    X509 *cert;
    EVP_PKEY *key;
};

static struct authority make_ca(const char *name, unsigned slot)
{
    struct authority ca = {.key = pki_key_slot("P-256", slot)};
    struct pki_cert spec = {.subject = name, .key = ca.key, .ca = true};

    ca.cert = pki_issue(&spec);
    return ca;
}

/* How one end differs from a proper one. */
struct end {
    const char *san;
    const char *eku;
    bool other_ca; /* certificate by an authority that the peer does not know */
    bool other_key;
    bool tls12;
    bool expired, not_yet;
    const long *crl; /* serials that this end's list revokes; NULL: no list */
    bool crl_stale;
    long serial;
};

static const struct end edge = {.san = "URI:farkey:edge:edge1", .serial = 7};
static const struct end keyserver = {.san = "URI:farkey:keyserver:hq", .serial = 8};

static X509 *issue(const struct authority *ca, const struct end *end)
{
    struct pki_cert spec = {.subject = "end",
                            .key = pki_key_slot("P-256", 1),
                            .issuer = ca->cert,
                            .issuer_key = ca->key,
                            .san = end->san,
                            .eku = end->eku,
                            .serial = end->serial};

    if (end->expired) {
        spec.not_before = -7200;
        spec.not_after = -60;
    }
    if (end->not_yet) {
        spec.not_before = 3600;
        spec.not_after = 7200;
    }
    return pki_issue(&spec);
}

/* A context of one end. The library refuses to load an expired certificate of its own; `force`
 * loads such a one all the same, to see what the peer says. */
static int make_ctx(const struct end *end, bool server, bool force, SSL_CTX **ret)
{
    struct authority ca = make_ca("test ca", 0), other = make_ca("test ca", 2);
    const struct end good = {.san = end->san, .serial = end->serial};
    X509 *bad = issue(end->other_ca ? &other : &ca, end);
    X509 *cert = force ? issue(&ca, &good) : bad;
    X509_CRL *crl =
        end->crl == NULL ? NULL : pki_crl(ca.cert, ca.key, end->crl, end->crl_stale ? -60 : 3600);
    char *pem[4] = {pki_pem_cert(&cert, 1),
                    pki_pem_key(pki_key_slot("P-256", end->other_key ? 3 : 1)),
                    pki_pem_cert(&ca.cert, 1), crl == NULL ? NULL : pki_pem_crl(crl)};
    struct fk_channel_identity identity = {.certificate = (uint8_t *)pem[0],
                                           .certificate_len = strlen(pem[0]),
                                           .key = (uint8_t *)pem[1],
                                           .key_len = strlen(pem[1]),
                                           .ca = (uint8_t *)pem[2],
                                           .ca_len = strlen(pem[2]),
                                           .crl = (uint8_t *)pem[3],
                                           .crl_len = pem[3] == NULL ? 0 : strlen(pem[3])};
    int err = fk_channel_ctx_new(&identity, server, end->tls12, ret);

    if (err == FK_OK && force)
        assert_int_equal(SSL_CTX_use_certificate(*ret, bad), 1);
    if (cert != bad)
        X509_free(cert);
    X509_free(bad);
    X509_CRL_free(crl);
    X509_free(ca.cert);
    X509_free(other.cert);
    for (size_t i = 0; i < 4; i++)
        free(pem[i]);
    return err;
}

/* --- two ends in one loop --- */

struct side {
    struct fk_loop *loop;
    struct fk_channel_io *io;
    SSL_CTX *ctx;
    int raw; /* the socket below, for breaking it */
    bool open, closed;
    bool keep; /* do not take received bytes */
    bool free_on_read;
    int err;
    unsigned reads, drained;
    size_t received;
    uint32_t sum; /* of the received bytes, with their place */
};

struct link {
    struct fk_loop *loop;
    struct fk_timer watchdog;
    struct side server, client;
};

static void on_watchdog(struct fk_timer *timer)
{
    (void)timer;
    fail_msg("nothing happened for 20 s");
}

static uint32_t sum_bytes(uint32_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static void on_event(void *owner, enum fk_channel_event event, int err)
{
    struct side *side = owner;
    struct fk_buf *in;

    assert_non_null(side->io);
    assert_false(side->closed);
    fk_loop_stop(side->loop);
    switch (event) {
    case FK_CHANNEL_OPEN:
        side->open = true;
        return;
    case FK_CHANNEL_READ:
        side->reads++;
        if (side->free_on_read) {
            fk_channel_io_free(side->io);
            side->io = NULL;
            return;
        }
        if (side->keep)
            return;
        in = fk_channel_io_in(side->io);
        side->received += fk_buf_len(in);
        side->sum = sum_bytes(side->sum, fk_buf_data(in), fk_buf_len(in));
        fk_buf_consume(in, fk_buf_len(in));
        return;
    case FK_CHANNEL_DRAINED:
        side->drained++;
        return;
    case FK_CHANNEL_CLOSED:
        side->closed = true;
        side->err = err;
        return;
    }
}

static void start_side(struct link *link, struct side *side, const struct end *end, bool server,
                       bool force, int fd)
{
    side->loop = link->loop;
    side->raw = dup(fd);
    assert_ok(make_ctx(end, server, force, &side->ctx));
    assert_ok(fk_channel_io_new(
        link->loop,
        &(struct fk_channel_setup){
            .ctx = side->ctx, .fd = fd, .accept = server, .cb = on_event, .owner = side},
        &side->io));
}

static void start_forced(struct link *link, const struct end *server, bool force_server,
                         const struct end *client, bool force_client)
{
    int fds[2];

    signal(SIGPIPE, SIG_IGN);
    *link = (struct link){0};
    assert_ok(fk_loop_new(&link->loop));
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    fk_timer_init(&link->watchdog, link->loop, on_watchdog);
    fk_timer_start(&link->watchdog, 20 * 1000000);
    start_side(link, &link->server, server, true, force_server, fds[0]);
    start_side(link, &link->client, client, false, force_client, fds[1]);
}

static void start(struct link *link, const struct end *server, const struct end *client)
{
    start_forced(link, server, false, client, false);
}

static void stop_side(struct side *side)
{
    fk_channel_io_free(side->io);
    SSL_CTX_free(side->ctx);
    close(side->raw);
}

static void stop(struct link *link)
{
    stop_side(&link->client);
    stop_side(&link->server);
    fk_timer_stop(&link->watchdog);
    fk_loop_free(link->loop);
}

#define wait_until(link, condition)    \
    do {                               \
        while (!(condition))           \
            fk_loop_run((link)->loop); \
    } while (0)

static void establish(struct link *link)
{
    start(link, &keyserver, &edge);
    wait_until(link, link->server.open && link->client.open);
}

/* --- who gets in --- */

static void both_ends_know_each_other(void **state)
{
    const unsigned char *alpn;
    unsigned alpn_len;
    struct link link;
    char name[64];

    (void)state;
    establish(&link);
    assert_ok(fk_channel_peer_name(fk_channel_io_ssl(link.server.io), FK_CHANNEL_EDGE, name,
                                   sizeof name));
    assert_string_equal(name, "edge1");
    assert_ok(fk_channel_peer_identity(fk_channel_io_ssl(link.client.io), name, sizeof name));
    assert_string_equal(name, "farkey:keyserver:hq");
    assert_err(fk_channel_peer_name(fk_channel_io_ssl(link.server.io), FK_CHANNEL_EDGE, name, 5),
               FK_ERR_LIMIT);
    assert_int_equal(SSL_version(fk_channel_io_ssl(link.client.io)), TLS1_3_VERSION);
    SSL_get0_alpn_selected(fk_channel_io_ssl(link.client.io), &alpn, &alpn_len);
    assert_int_equal(alpn_len, strlen(FK_CHANNEL_ALPN));
    assert_memory_equal(alpn, FK_CHANNEL_ALPN, alpn_len);
    stop(&link);
}

static void an_edge_cannot_pass_for_a_key_server(void **state)
{
    struct link link;
    char name[64];

    (void)state;
    start(&link, &edge, &edge);
    wait_until(&link, link.client.open);
    assert_err(fk_channel_peer_name(fk_channel_io_ssl(link.client.io), FK_CHANNEL_KEYSERVER, name,
                                    sizeof name),
               FK_ERR_DENIED);
    stop(&link);
}

static void only_one_strict_uri_is_an_identity(void **state)
{
    static const char *const refused[] = {
        NULL,
        "DNS:edge1",
        "URI:farkey:edge:",
        "URI:farkey:edge:a,URI:farkey:edge:b",
        "URI:farkey:edge:a,URI:https://example.com/",
        "URI:farkey:keyserver:a,URI:farkey:edge:a",
        "URI:Farkey:edge:a",
        "URI:farkey:edges:a",
        "URI:farkey:edge:a/b",
        "URI:farkey:edge:a b",
        "URI:farkey:edge:a:b",
        "URI:xfarkey:edge:a",
        "URI:farkey:edge:0123456789012345678901234567890123456789012345678901234567890123456789",
    };

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct end client = {.san = refused[i], .serial = 9};
        struct link link;
        char name[64];

        start(&link, &keyserver, &client);
        wait_until(&link, link.server.open);
        assert_err(fk_channel_peer_name(fk_channel_io_ssl(link.server.io), FK_CHANNEL_EDGE, name,
                                        sizeof name),
                   FK_ERR_DENIED);
        assert_err(fk_channel_peer_identity(fk_channel_io_ssl(link.server.io), name, sizeof name),
                   FK_ERR_DENIED);
        stop(&link);
    }
}

static void nul_in_an_identity_is_refused(void **state)
{
    struct authority ca = make_ca("test ca", 0);
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    struct end client = {.serial = 9};
    struct link link;
    char copied[64];
    X509 *cert = issue(&ca, &client);

    (void)state;
    ASN1_STRING_set(text, "farkey:edge:edge1\0x", 19);
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    sk_GENERAL_NAME_push(names, name);
    assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0), 1);
    assert_true(X509_sign(cert, ca.key, EVP_sha256()) > 0);
    start(&link, &keyserver, &edge);
    SSL_use_certificate(fk_channel_io_ssl(link.client.io), cert);
    wait_until(&link, link.server.open);
    assert_err(fk_channel_peer_name(fk_channel_io_ssl(link.server.io), FK_CHANNEL_EDGE, copied,
                                    sizeof copied),
               FK_ERR_DENIED);
    stop(&link);
    GENERAL_NAMES_free(names);
    X509_free(cert);
    X509_free(ca.cert);
}

static const long revoked_edge[] = {7, 0}, revoked_other[] = {99, 0};

struct refusal {
    const char *name;
    struct end client, server;
    bool force;
    bool by_client; /* who refuses */
};

static const struct refusal refusals[] = {
    {"client of another authority", {.san = "URI:farkey:edge:e", .other_ca = true}, {0}, true},
    {"server of another authority",
     {0},
     {.san = "URI:farkey:keyserver:k", .other_ca = true},
     true,
     true},
    {"expired client", {.san = "URI:farkey:edge:e", .expired = true}, {0}, true},
    {"expired server", {0}, {.san = "URI:farkey:keyserver:k", .expired = true}, true, true},
    {"client not yet valid", {.san = "URI:farkey:edge:e", .not_yet = true}, {0}, true},
    {"revoked client",
     {.san = "URI:farkey:edge:e", .serial = 7},
     {.san = "URI:farkey:keyserver:k", .crl = revoked_edge}},
    {"stale revocation list",
     {.san = "URI:farkey:edge:e", .serial = 7},
     {.san = "URI:farkey:keyserver:k", .crl = revoked_other, .crl_stale = true}},
    {"server with a client's purpose",
     {0},
     {.san = "URI:farkey:keyserver:k", .eku = "clientAuth"},
     false,
     true},
    {"client with a server's purpose", {.san = "URI:farkey:edge:e", .eku = "serverAuth"}, {0}},
};

static void strangers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *row = &refusals[i];
        const struct end *client = row->client.san != NULL ? &row->client : &edge;
        const struct end *server = row->server.san != NULL ? &row->server : &keyserver;
        struct side *refuser, *refused;
        struct link link;

        print_message("%s\n", row->name);
        start_forced(&link, server, row->force && row->by_client, client,
                     row->force && !row->by_client);
        refuser = row->by_client ? &link.client : &link.server;
        refused = row->by_client ? &link.server : &link.client;
        wait_until(&link, refuser->closed && refused->closed);
        assert_false(refuser->open);
        assert_err(refuser->err, FK_ERR_VERIFY);
        assert_err(refused->err, FK_ERR_TLS); /* an alert */
        assert_true(strlen(fk_channel_io_reason(refuser->io)) > 0);
        stop(&link);
    }
}

static void a_revocation_list_lets_others_in(void **state)
{
    struct end server = keyserver;
    struct link link;

    (void)state;
    server.crl = revoked_other;
    start(&link, &server, &edge);
    wait_until(&link, link.server.open && link.client.open);
    stop(&link);
}

static void old_versions_need_permission(void **state)
{
    struct end server = keyserver, client = edge;
    struct link link;

    (void)state;
    client.tls12 = true;
    start(&link, &server, &client);
    SSL_set_max_proto_version(fk_channel_io_ssl(link.client.io), TLS1_2_VERSION);
    wait_until(&link, link.server.closed && link.client.closed);
    assert_err(link.server.err, FK_ERR_TLS);
    stop(&link);

    server.tls12 = true;
    start(&link, &server, &client);
    SSL_set_max_proto_version(fk_channel_io_ssl(link.client.io), TLS1_2_VERSION);
    wait_until(&link, link.server.open && link.client.open);
    stop(&link);
}

static void own_identity_is_checked(void **state)
{
    struct end end = edge;
    SSL_CTX *ctx = NULL;

    (void)state;
    end.other_key = true;
    assert_err(make_ctx(&end, false, false, &ctx), FK_ERR_MISMATCH);
    end = edge;
    end.expired = true;
    assert_err(make_ctx(&end, false, false, &ctx), FK_ERR_EXPIRED);
    end = edge;
    end.not_yet = true;
    assert_err(make_ctx(&end, false, false, &ctx), FK_ERR_EXPIRED);
    assert_null(ctx);
}

static void damaged_pem_is_refused(void **state)
{
    struct authority ca = make_ca("test ca", 0);
    X509 *cert = issue(&ca, &edge);
    char *leaf = pki_pem_cert(&cert, 1), *key = pki_pem_key(pki_key_slot("P-256", 1)),
         *anchor = pki_pem_cert(&ca.cert, 1);
    const struct fk_channel_identity good = {.certificate = (uint8_t *)leaf,
                                             .certificate_len = strlen(leaf),
                                             .key = (uint8_t *)key,
                                             .key_len = strlen(key),
                                             .ca = (uint8_t *)anchor,
                                             .ca_len = strlen(anchor)};
    struct fk_channel_identity bad;
    SSL_CTX *ctx = NULL;

    (void)state;
    bad = good;
    bad.certificate_len = 0;
    assert_err(fk_channel_ctx_new(&bad, true, false, &ctx), FK_ERR_FORMAT);
    bad = good;
    bad.certificate_len /= 2;
    assert_err(fk_channel_ctx_new(&bad, true, false, &ctx), FK_ERR_FORMAT);
    bad = good;
    bad.key_len /= 2;
    assert_err(fk_channel_ctx_new(&bad, true, false, &ctx), FK_ERR_FORMAT);
    bad = good;
    bad.ca_len = 0;
    assert_err(fk_channel_ctx_new(&bad, true, false, &ctx), FK_ERR_FORMAT);
    bad = good;
    bad.crl = (const uint8_t *)"x";
    bad.crl_len = 1;
    assert_err(fk_channel_ctx_new(&bad, true, false, &ctx), FK_ERR_FORMAT);
    assert_ok(fk_channel_ctx_new(&good, true, false, &ctx));
    SSL_CTX_free(ctx);
    X509_free(cert);
    X509_free(ca.cert);
    free(leaf);
    free(key);
    free(anchor);
}

/* --- bytes --- */

static uint8_t pattern[4 * 1024 * 1024];

static void fill_pattern(void)
{
    uint32_t x = 1;

    for (size_t i = 0; i < sizeof pattern; i++) {
        x = x * 1664525 + 1013904223;
        pattern[i] = (uint8_t)(x >> 24);
    }
}

static void large_transfers_both_ways(void **state)
{
    uint32_t expected;
    struct link link;

    (void)state;
    fill_pattern();
    expected = sum_bytes(0, pattern, sizeof pattern);
    establish(&link);
    assert_ok(fk_buf_append(fk_channel_io_out(link.server.io), pattern, sizeof pattern));
    assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), pattern, sizeof pattern));
    fk_channel_io_flush(link.server.io);
    fk_channel_io_flush(link.client.io);
    wait_until(&link, link.server.received == sizeof pattern &&
                          link.client.received == sizeof pattern && link.server.drained > 0 &&
                          link.client.drained > 0);
    assert_int_equal(link.server.sum, expected);
    assert_int_equal(link.client.sum, expected);
    stop(&link);
}

static void many_small_messages_are_one_read(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    for (int i = 0; i < 100; i++) {
        assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), "0123456789", 10));
        fk_channel_io_flush(link.client.io);
    }
    wait_until(&link, link.server.received == 1000);
    assert_int_equal(link.server.reads, 1);
    assert_int_equal(link.client.drained, 1);
    stop(&link);
}

static void a_paused_side_takes_no_more_than_its_bound(void **state)
{
    struct link link;

    (void)state;
    fill_pattern();
    establish(&link);
    link.server.keep = true;
    assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), pattern, sizeof pattern));
    fk_channel_io_flush(link.client.io);
    wait_until(&link, fk_buf_room(fk_channel_io_in(link.server.io)) == 0);
    fk_channel_io_pause(link.server.io, true);
    link.server.received += fk_buf_len(fk_channel_io_in(link.server.io));
    link.server.sum = sum_bytes(0, fk_buf_data(fk_channel_io_in(link.server.io)),
                                fk_buf_len(fk_channel_io_in(link.server.io)));
    fk_buf_consume(fk_channel_io_in(link.server.io), link.server.received);
    link.server.keep = false;
    fk_channel_io_pause(link.server.io, false);
    wait_until(&link, link.server.received == sizeof pattern);
    assert_int_equal(link.server.sum, sum_bytes(0, pattern, sizeof pattern));
    stop(&link);
}

static void bytes_queued_before_the_handshake_leave_after_it(void **state)
{
    struct link link;

    (void)state;
    start(&link, &keyserver, &edge);
    assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), "early", 5));
    fk_channel_io_flush(link.client.io);
    wait_until(&link, link.server.received == 5);
    stop(&link);
}

static void owner_may_free_in_its_callback(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    link.server.free_on_read = true;
    assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), "x", 1));
    fk_channel_io_flush(link.client.io);
    wait_until(&link, link.server.io == NULL);
    wait_until(&link, link.client.closed);
    assert_ok(link.client.err);
    stop(&link);
}

/* --- what is no data --- */

enum what {
    ONE_BYTE = -1,
    UPDATE = SSL_KEY_UPDATE_NOT_REQUESTED,
    ASKING_UPDATE = SSL_KEY_UPDATE_REQUESTED,
};

/* A side's TLS sends this so many times, all at once. */
static void send_many(struct side *side, int n, enum what what)
{
    SSL *ssl = fk_channel_io_ssl(side->io);
    BIO *socket = SSL_get_wbio(ssl), *memory = BIO_new(BIO_s_mem());
    char *bytes;
    long len;

    BIO_up_ref(socket);
    BIO_up_ref(memory);
    SSL_set0_wbio(ssl, memory);
    for (int i = 0; i < n; i++) {
        if (what == ONE_BYTE) {
            assert_int_equal(SSL_write(ssl, "x", 1), 1);
        } else {
            assert_int_equal(SSL_key_update(ssl, (int)what), 1);
            assert_int_equal(SSL_do_handshake(ssl), 1);
        }
    }
    SSL_set0_wbio(ssl, socket);
    len = BIO_get_mem_data(memory, &bytes);
    assert_int_equal(send(side->raw, bytes, (size_t)len, MSG_NOSIGNAL), len);
    BIO_free(memory);
}

/* Another channel in the same loop. */
static void establish_beside(struct link *other, const struct link *link)
{
    int fds[2];

    *other = (struct link){.loop = link->loop};
    assert_ok(fk_sock_pair(SOCK_STREAM, fds));
    start_side(other, &other->server, &keyserver, true, false, fds[0]);
    start_side(other, &other->client, &edge, false, false, fds[1]);
    wait_until(other, other->server.open && other->client.open);
}

static void stop_beside(struct link *other)
{
    stop_side(&other->client);
    stop_side(&other->server);
}

static void say(struct side *side, const char *text)
{
    assert_ok(fk_buf_append(fk_channel_io_out(side->io), text, strlen(text)));
    fk_channel_io_flush(side->io);
}

static void a_flood_of_updates_closes_its_channel_only(void **state)
{
    struct link link, other;

    (void)state;
    establish(&link);
    establish_beside(&other, &link);
    send_many(&link.client, 2000, ASKING_UPDATE);
    say(&other.client, "question");
    wait_until(&link, link.server.closed && other.server.received == 8);
    assert_err(link.server.err, FK_ERR_LIMIT);
    assert_string_equal(fk_channel_io_reason(link.server.io), "too many TLS messages without data");
    say(&other.server, "answer");
    wait_until(&other, other.client.received == 6);
    stop_beside(&other);
    stop(&link);
}

/* The other way: a key server floods an edge. */
static void a_flood_by_a_server_closes_the_channel(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    send_many(&link.server, 2000, UPDATE);
    wait_until(&link, link.client.closed);
    assert_err(link.client.err, FK_ERR_LIMIT);
    stop(&link);
}

static void updates_between_data_are_counted(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    for (unsigned i = 1; i <= FK_TLS_MESSAGES_MAX; i++) {
        send_many(&link.client, 1, UPDATE);
        send_many(&link.client, 1, ONE_BYTE);
        wait_until(&link, link.server.received == i);
    }
    send_many(&link.client, 1, UPDATE);
    wait_until(&link, link.server.closed);
    assert_err(link.server.err, FK_ERR_LIMIT);
    stop(&link);
}

static void honest_updates_pass(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    for (unsigned i = 1; i <= 3; i++) {
        send_many(&link.client, 10, ASKING_UPDATE); /* the answers count for the other side, too */
        send_many(&link.client, FK_TLS_MESSAGES_MAX - 10, UPDATE);
        assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), pattern,
                                (size_t)FK_TLS_MESSAGES_MAX * FK_TLS_MESSAGE_BYTES));
        fk_channel_io_flush(link.client.io);
        wait_until(&link,
                   link.server.received == (size_t)i * FK_TLS_MESSAGES_MAX * FK_TLS_MESSAGE_BYTES);
        say(&link.server, "answer"); /* under new keys */
        wait_until(&link, link.client.received == (size_t)i * 6);
    }
    assert_false(link.server.closed || link.client.closed);
    stop(&link);
}

/* Other channels do not wait until the last of them has been opened. */
static void many_tiny_records_take_turns(void **state)
{
    struct link link, other;

    (void)state;
    establish(&link);
    establish_beside(&other, &link);
    send_many(&link.client, 10 * FK_TLS_READS_MAX, ONE_BYTE);
    say(&other.client, "question");
    wait_until(&other, other.server.received == 8);
    assert_true(link.server.received < 10 * FK_TLS_READS_MAX);
    wait_until(&link, link.server.received == 10 * FK_TLS_READS_MAX);
    assert_true(link.server.reads >= 10);
    stop_beside(&other);
    stop(&link);
}

/* --- the end --- */

static void close_in_order(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), "last words", 10));
    fk_channel_io_free(link.client.io);
    link.client.io = NULL;
    wait_until(&link, link.server.closed);
    assert_int_equal(link.server.received, 10);
    assert_ok(link.server.err);
    stop(&link);
}

static void truncation_is_told_apart(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    shutdown(link.client.raw, SHUT_WR); /* a FIN that TLS did not announce */
    wait_until(&link, link.server.closed);
    assert_err(link.server.err, FK_ERR_CLOSED);
    stop(&link);
}

static void truncation_within_the_handshake(void **state)
{
    struct link link;

    (void)state;
    start(&link, &keyserver, &edge);
    shutdown(link.client.raw, SHUT_WR);
    wait_until(&link, link.server.closed);
    assert_false(link.server.open);
    assert_err(link.server.err, FK_ERR_CLOSED);
    stop(&link);
}

static void tampered_record_ends_it(void **state)
{
    static const uint8_t record[] = {0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8,
                                     9,    0, 1, 2, 3,  4, 5, 6, 7, 8, 9, 0};
    struct link link;

    (void)state;
    establish(&link);
    assert_int_equal(write(link.client.raw, record, sizeof record), sizeof record);
    wait_until(&link, link.server.closed && link.client.closed);
    assert_err(link.server.err, FK_ERR_TLS);
    assert_err(link.client.err, FK_ERR_TLS); /* bad_record_mac */
    stop(&link);
}

static void lack_of_memory_ends_it(void **state)
{
    struct link link;

    (void)state;
    establish(&link);
    assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), "x", 1));
    fk_channel_io_flush(link.client.io);
    failmalloc_arm(1);
    wait_until(&link, link.server.closed);
    assert_true(failmalloc_disarm());
    assert_err(link.server.err, FK_ERR_NOMEM);
    assert_string_equal(fk_channel_io_reason(link.server.io), "out of memory");
    stop(&link);
}

static size_t blocks_freed, blocks_with_secret;

static void look_for_secret(const void *block, size_t size)
{
    blocks_freed++;
    if (memmem(block, size, "PREMASTER", 9) != NULL)
        blocks_with_secret++;
}

/* What a key server decrypts goes through both queues. */
static void what_went_through_is_wiped(void **state)
{
    static char bytes[20000];
    struct link link;

    (void)state;
    for (size_t at = 0; at + 10 <= sizeof bytes; at += 10)
        memcpy(bytes + at, "PREMASTER.", 10);
    establish(&link);
    failmalloc_arm(0);
    failmalloc_on_free(look_for_secret);
    assert_ok(fk_buf_append(fk_channel_io_out(link.server.io), bytes, sizeof bytes));
    fk_channel_io_flush(link.server.io);
    wait_until(&link, link.client.received == sizeof bytes);
    link.client.keep = true; /* and what is left when the channel ends */
    assert_ok(fk_buf_append(fk_channel_io_out(link.server.io), bytes, sizeof bytes));
    fk_channel_io_flush(link.server.io);
    wait_until(&link, fk_buf_len(fk_channel_io_in(link.client.io)) == sizeof bytes);
    assert_ok(fk_buf_append(fk_channel_io_out(link.client.io), bytes, sizeof bytes));
    fk_channel_io_free(link.client.io);
    link.client.io = NULL;
    assert_true(blocks_freed >= 3);
    assert_int_equal(blocks_with_secret, 0);
    failmalloc_disarm();
    stop(&link);
}

/* A reset needs TCP. */
static void reset_is_a_socket_failure(void **state)
{
    struct fk_listen_options options = {.backlog = 1};
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct fk_addr addr;
    int listener, accepted, fd;
    struct link link;

    (void)state;
    link = (struct link){0};
    assert_ok(fk_loop_new(&link.loop));
    fk_timer_init(&link.watchdog, link.loop, on_watchdog);
    fk_timer_start(&link.watchdog, 20 * 1000000);
    assert_ok(fk_addr_parse("127.0.0.1:0", &addr));
    assert_ok(fk_sock_listen(&addr, &options, &listener));
    assert_ok(fk_sock_local(listener, &addr));
    assert_ok(fk_sock_connect(&addr, NULL, NULL, &fd));
    while (fk_sock_accept(listener, &accepted, &addr) == FK_ERR_AGAIN)
        ;
    start_side(&link, &link.server, &keyserver, true, false, accepted);
    start_side(&link, &link.client, &edge, false, false, fd);
    wait_until(&link, link.server.open && link.client.open);
    assert_int_equal(connect(link.client.raw, &nobody, sizeof nobody), 0); /* sends RST */
    wait_until(&link, link.server.closed);
    assert_err(link.server.err, FK_ERR_SYS);
    stop(&link);
    close(listener);
}

UNIT_MAIN(cmocka_unit_test(both_ends_know_each_other),
          cmocka_unit_test(an_edge_cannot_pass_for_a_key_server),
          cmocka_unit_test(only_one_strict_uri_is_an_identity),
          cmocka_unit_test(nul_in_an_identity_is_refused), cmocka_unit_test(strangers_are_refused),
          cmocka_unit_test(a_revocation_list_lets_others_in),
          cmocka_unit_test(old_versions_need_permission), cmocka_unit_test(own_identity_is_checked),
          cmocka_unit_test(damaged_pem_is_refused), cmocka_unit_test(large_transfers_both_ways),
          cmocka_unit_test(many_small_messages_are_one_read),
          cmocka_unit_test(a_paused_side_takes_no_more_than_its_bound),
          cmocka_unit_test(bytes_queued_before_the_handshake_leave_after_it),
          cmocka_unit_test(owner_may_free_in_its_callback),
          cmocka_unit_test(a_flood_of_updates_closes_its_channel_only),
          cmocka_unit_test(a_flood_by_a_server_closes_the_channel),
          cmocka_unit_test(updates_between_data_are_counted), cmocka_unit_test(honest_updates_pass),
          cmocka_unit_test(many_tiny_records_take_turns), cmocka_unit_test(close_in_order),
          cmocka_unit_test(truncation_is_told_apart),
          cmocka_unit_test(truncation_within_the_handshake),
          cmocka_unit_test(what_went_through_is_wiped), cmocka_unit_test(lack_of_memory_ends_it),
          cmocka_unit_test(tampered_record_ends_it), cmocka_unit_test(reset_is_a_socket_failure))
