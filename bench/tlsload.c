/*
 * A TLS client for benchmarks: keeps a number of connections busy with full or resumed handshakes,
 * each with one small request, and prints what it saw as one JSON object.
 *
 * One thread, one epoll; verifies nothing (the tests do), so that the client is never the
 * bottleneck.
 */
#include "base/clock.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum phase { PHASE_HANDSHAKE, PHASE_REPLY };

struct conn {
    SSL *ssl;
    int fd;
    enum phase phase;
    uint64_t started_us;
};

struct load {
    /* what to do */
    struct sockaddr_in target;
    const char *name;
    unsigned concurrency;
    unsigned total;
    bool resume;
    bool handshake_only;
    bool hold; /* keep the connections open until standard input ends: for memory figures */
    /* state */
    SSL_CTX *ctx;
    SSL_SESSION *session;
    int epoll;
    struct conn *conns;
    unsigned started, finished, failed, resumed, open;
    uint64_t *samples; /* microseconds from connect to the handshake's end */
    unsigned n_samples;
};

static void die(const char *what)
{
    fprintf(stderr, "tlsload: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void conn_watch(struct load *load, struct conn *conn, uint32_t events, int op)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};

    if (epoll_ctl(load->epoll, op, conn->fd, &event) != 0)
        die("epoll_ctl");
}

static void conn_start(struct load *load, struct conn *conn)
{
    struct linger abort_close = {.l_onoff = 1, .l_linger = 0};
    int one = 1;

    conn->started_us = fk_clock_us();
    conn->phase = PHASE_HANDSHAKE;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        die("socket");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* No TIME_WAIT at the client: a long run would exhaust the ports. */
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &abort_close, sizeof abort_close);
    if (connect(conn->fd, (struct sockaddr *)&load->target, sizeof load->target) != 0 &&
        errno != EINPROGRESS)
        die("connect");
    conn->ssl = SSL_new(load->ctx);
    if (conn->ssl == NULL || SSL_set_fd(conn->ssl, conn->fd) != 1)
        die("SSL_new");
    SSL_set_tlsext_host_name(conn->ssl, load->name);
    if (load->session != NULL)
        SSL_set_session(conn->ssl, load->session);
    SSL_set_connect_state(conn->ssl);
    load->started++;
    load->open++;
    conn_watch(load, conn, EPOLLOUT, EPOLL_CTL_ADD);
}

static void conn_end(struct load *load, struct conn *conn, bool ok)
{
    if (ok)
        load->finished++;
    else
        load->failed++;
    load->open--;
    SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(conn->ssl);
    close(conn->fd);
    conn->ssl = NULL;
    if (load->started < load->total)
        conn_start(load, conn);
}

/* Wait for what OpenSSL wants; false when the connection has failed. */
static bool conn_wait(struct load *load, struct conn *conn, int ret)
{
    switch (SSL_get_error(conn->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        conn_watch(load, conn, EPOLLIN, EPOLL_CTL_MOD);
        return true;
    case SSL_ERROR_WANT_WRITE:
        conn_watch(load, conn, EPOLLOUT, EPOLL_CTL_MOD);
        return true;
    default:
        ERR_clear_error();
        return false;
    }
}

static void conn_established(struct load *load, struct conn *conn)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

    load->samples[load->n_samples++] = fk_clock_us() - conn->started_us;
    if (SSL_session_reused(conn->ssl))
        load->resumed++;
    if (load->hold) {
        load->finished++;
        /* Tickets that come later are not read: the connection is idle from here on. */
        conn_watch(load, conn, 0, EPOLL_CTL_DEL);
        if (load->started < load->total)
            conn_start(load, conn + load->concurrency);
        return;
    }
    conn->phase = PHASE_REPLY;
    if (!load->handshake_only && SSL_write(conn->ssl, request, sizeof request - 1) <= 0) {
        conn_end(load, conn, false);
        return;
    }
    conn_watch(load, conn, EPOLLIN, EPOLL_CTL_MOD);
}

static void conn_step(struct load *load, struct conn *conn)
{
    char reply[16384];
    int n;

    if (conn->phase == PHASE_HANDSHAKE) {
        n = SSL_do_handshake(conn->ssl);
        if (n == 1)
            conn_established(load, conn);
        else if (!conn_wait(load, conn, n))
            conn_end(load, conn, false);
        if (n != 1 || conn->ssl == NULL || conn->phase != PHASE_REPLY || !load->handshake_only)
            return;
        conn_end(load, conn, true);
        return;
    }
    n = SSL_read(conn->ssl, reply, sizeof reply);
    if (n > 0)
        conn_end(load, conn, true);
    else if (!conn_wait(load, conn, n))
        conn_end(load, conn, false);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct load *load = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if (!load->resume || load->session != NULL)
        return 0;
    load->session = session;
    return 1;
}

static void load_run(struct load *load)
{
    struct epoll_event events[256];
    unsigned slots = load->concurrency < load->total ? load->concurrency : load->total;

    for (unsigned i = 0; i < slots; i++)
        conn_start(load, &load->conns[i]);
    while (load->finished + load->failed < load->total) {
        int n = epoll_wait(load->epoll, events, 256, 30000);

        if (n == 0) {
            fprintf(stderr, "tlsload: nothing happened for 30 s\n");
            exit(1);
        }
        for (int i = 0; i < n; i++)
            conn_step(load, events[i].data.ptr);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t percentile(const struct load *load, unsigned percent)
{
    return load->n_samples == 0 ? 0 : load->samples[(size_t)(load->n_samples - 1) * percent / 100];
}

static void load_print(struct load *load, uint64_t elapsed_us)
{
    qsort(load->samples, load->n_samples, sizeof load->samples[0], compare);
    printf("{\"finished\":%u,\"failed\":%u,\"resumed\":%u,\"seconds\":%.6f,\"rate\":%.1f,"
           "\"median_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 "}\n",
           load->finished, load->failed, load->resumed, (double)elapsed_us / 1e6,
           (double)load->finished * 1e6 / (double)elapsed_us, percentile(load, 50),
           percentile(load, 99));
    fflush(stdout);
}

/* One connection made before the measurement, whose session the others resume. */
static void load_prime(struct load *load)
{
    struct load first = *load;

    first.concurrency = first.total = 1;
    first.handshake_only = false;
    SSL_CTX_set_app_data(load->ctx, &first);
    load_run(&first);
    if (first.session == NULL)
        die("the server gave no session to resume");
    load->session = first.session;
    load->n_samples = 0;
    SSL_CTX_set_app_data(load->ctx, load);
    /* A client cache would retire the session at its first use. */
    SSL_CTX_set_session_cache_mode(load->ctx, SSL_SESS_CACHE_OFF);
}

static SSL_CTX *make_ctx(int version, const char *ciphers)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, version) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, version) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1)
        die("SSL_CTX");
    if (ciphers != NULL && SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
        die("cipher list");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    return ctx;
}

static void parse_target(struct load *load, const char *text)
{
    char host[64];
    unsigned port;

    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2 || port > 65535 ||
        inet_pton(AF_INET, host, &load->target.sin_addr) != 1)
        die("want ADDRESS:PORT");
    load->target.sin_family = AF_INET;
    load->target.sin_port = htons((uint16_t)port);
}

static void usage(void)
{
    fputs("usage: tlsload [-c CONCURRENCY] [-n TOTAL] [-s NAME] [-r] [-2] [-C CIPHERS] [-H] [-k]\n"
          "               ADDRESS:PORT\n"
          "  -r resumed handshakes  -2 TLS 1.2  -H handshake only  -k keep all open until stdin "
          "ends\n",
          stderr);
    exit(2);
}

static void parse_options(struct load *load, int argc, char **argv, int *ret_version,
                          const char **ret_ciphers)
{
    int option;

    while ((option = getopt(argc, argv, "c:n:s:r2C:Hk")) != -1) {
        switch (option) {
        case 'c':
            load->concurrency = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            load->total = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            load->name = optarg;
            break;
        case 'r':
            load->resume = true;
            break;
        case '2':
            *ret_version = TLS1_2_VERSION;
            break;
        case 'C':
            *ret_ciphers = optarg;
            break;
        case 'H':
            load->handshake_only = true;
            break;
        case 'k':
            load->hold = true;
            break;
        default:
            usage();
        }
    }
    if (optind + 1 != argc || load->concurrency == 0 || load->total == 0)
        usage();
    parse_target(load, argv[optind]);
}

int main(int argc, char **argv)
{
    struct load load = {.name = "example.com", .concurrency = 32, .total = 1000};
    int version = TLS1_3_VERSION;
    const char *ciphers = NULL;
    uint64_t started_us;

    parse_options(&load, argc, argv, &version, &ciphers);
    load.ctx = make_ctx(version, ciphers);
    SSL_CTX_set_app_data(load.ctx, &load);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.conns = calloc((size_t)load.concurrency + load.total, sizeof load.conns[0]);
    load.samples = calloc((size_t)load.total + 1, sizeof load.samples[0]);
    if (load.epoll < 0 || load.conns == NULL || load.samples == NULL)
        die("start");
    if (load.resume)
        load_prime(&load);
    started_us = fk_clock_us();
    load_run(&load);
    load_print(&load, fk_clock_us() - started_us);
    if (load.hold)
        while (getchar() != EOF)
            ;
    return load.failed == 0 ? 0 : 1;
}
