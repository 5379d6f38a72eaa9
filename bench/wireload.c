/*
 * The two ends of a connection for measurements of what is between them: bytes up, bytes down, and
 * questions of a few bytes, over TCP as it is or over TLS. The client prints what it saw as one
 * JSON object.
 *
 * Blocking, a process for each connection; verifies no certificate (the tests do).
 */
#include "base/clock.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE     65536 /* bytes of one call */
#define QUESTION  64    /* bytes of a question, and of its answer */
#define ASKED_MAX 1000000

enum what { WHAT_UP = 'u', WHAT_DOWN = 'd', WHAT_ASK = 'a' };

/* What the client begins with. */
struct order {
    uint64_t count; /* bytes, or questions; in network order */
    uint8_t what;
};

struct end {
    int fd;
    SSL *ssl; /* NULL: no TLS */
};

static uint8_t piece[PIECE];

static void die(const char *what)
{
    fprintf(stderr, "wireload: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* --- either end --- */

static void put(struct end *end, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    while (len > 0) {
        ssize_t n =
            end->ssl != NULL ? SSL_write(end->ssl, at, (int)len) : send(end->fd, at, len, 0);

        if (n <= 0)
            die("write");
        at += n;
        len -= (size_t)n;
    }
}

/* Some bytes; 0: there will be none. */
static size_t get_some(struct end *end, void *bytes, size_t size)
{
    ssize_t n =
        end->ssl != NULL ? SSL_read(end->ssl, bytes, (int)size) : recv(end->fd, bytes, size, 0);

    return n > 0 ? (size_t)n : 0;
}

static void get(struct end *end, void *bytes, size_t len)
{
    uint8_t *at = bytes;

    while (len > 0) {
        size_t n = get_some(end, at, len);

        if (n == 0)
            die("read");
        at += n;
        len -= n;
    }
}

static void put_all(struct end *end, uint64_t count)
{
    for (uint64_t left = count; left > 0;) {
        size_t n = left < PIECE ? (size_t)left : PIECE;

        put(end, piece, n);
        left -= n;
    }
}

static void get_all(struct end *end, uint64_t count)
{
    for (uint64_t left = count; left > 0;) {
        size_t n = get_some(end, piece, left < PIECE ? (size_t)left : PIECE);

        if (n == 0)
            die("read");
        left -= n;
    }
}

static SSL_CTX *make_ctx(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1)
        die("SSL_CTX");
    SSL_CTX_set_read_ahead(ctx, 1);
    return ctx;
}

static void make_quick(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* --- server --- */

static void serve_one(struct end *end)
{
    struct order order;
    uint64_t count;

    get(end, &order, sizeof order);
    count = be64toh(order.count);
    switch (order.what) {
    case WHAT_UP:
        get_all(end, count);
        put(end, piece, 1);
        break;
    case WHAT_DOWN:
        put_all(end, count);
        break;
    default:
        for (uint64_t i = 0; i < count; i++) {
            get(end, piece, QUESTION);
            put(end, piece, QUESTION);
        }
    }
    get_some(end, piece, 1); /* until the client has what it wanted */
}

static int serve(uint16_t port, const char *certificate)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    SSL_CTX *ctx = NULL;

    if (certificate != NULL) {
        ctx = make_ctx(TLS_server_method());
        if (SSL_CTX_use_certificate_file(ctx, certificate, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file(ctx, certificate, SSL_FILETYPE_PEM) != 1)
            die(certificate);
    }
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(listener, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(listener, 64) != 0)
        die("listen");
    (void)signal(SIGCHLD, SIG_IGN);
    puts("listening");
    fflush(stdout);
    for (;;) {
        struct end end = {.fd = accept(listener, NULL, NULL)};

        if (end.fd < 0 || fork() != 0) {
            close(end.fd);
            continue;
        }
        make_quick(end.fd);
        if (ctx != NULL && ((end.ssl = SSL_new(ctx)) == NULL || SSL_set_fd(end.ssl, end.fd) != 1 ||
                            SSL_accept(end.ssl) != 1))
            die("accept");
        serve_one(&end);
        _exit(0);
    }
}

/* --- client --- */

static struct end dial(const char *host, uint16_t port, bool tls)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct end end = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

    if (inet_pton(AF_INET, host, &addr.sin_addr) != 1 || end.fd < 0 ||
        connect(end.fd, (struct sockaddr *)&addr, sizeof addr) != 0)
        die("connect");
    make_quick(end.fd);
    if (tls && ((end.ssl = SSL_new(make_ctx(TLS_client_method()))) == NULL ||
                SSL_set_tlsext_host_name(end.ssl, "example.com") != 1 ||
                SSL_set_fd(end.ssl, end.fd) != 1 || SSL_connect(end.ssl) != 1))
        die("handshake");
    return end;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* One after the other; their median. */
static uint64_t ask(struct end *end, uint64_t count)
{
    uint64_t *samples = calloc(count, sizeof *samples), median;

    if (samples == NULL)
        die("memory");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t begun_us = fk_clock_us();

        put(end, piece, QUESTION);
        get(end, piece, QUESTION);
        samples[i] = fk_clock_us() - begun_us;
    }
    qsort(samples, count, sizeof *samples, compare);
    median = samples[count / 2];
    free(samples);
    return median;
}

static int run_client(struct end *end, enum what what, uint64_t count)
{
    struct order order = {htobe64(count), (uint8_t)what};
    uint64_t begun_us = fk_clock_us(), median_us = 0, took_us;

    put(end, &order, sizeof order);
    switch (what) {
    case WHAT_UP:
        put_all(end, count);
        get(end, piece, 1);
        break;
    case WHAT_DOWN:
        get_all(end, count);
        break;
    case WHAT_ASK:
        median_us = ask(end, count);
        break;
    }
    took_us = fk_clock_us() - begun_us;
    if (end->ssl != NULL)
        SSL_shutdown(end->ssl);
    printf("{\"seconds\":%.6f,\"rate\":%.1f,\"median_us\":%" PRIu64 "}\n", (double)took_us / 1e6,
           (double)count * 1e6 / (double)took_us, median_us);
    return 0;
}

static void usage(void)
{
    fputs("usage: wireload serve [-t CERTIFICATE] PORT\n"
          "       wireload up|down BYTES [-t] HOST PORT   bytes to or from the server\n"
          "       wireload ask TIMES [-t] HOST PORT       questions, one after the other\n"
          "  -t over TLS 1.3; the file has certificate and key\n",
          stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    if (*end != '\0' || value == 0 || value > max)
        usage();
    return value;
}

int main(int argc, char **argv)
{
    bool tls;
    struct end end;

    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve((uint16_t)number(argv[2], UINT16_MAX), NULL);
    if (argc == 5 && strcmp(argv[1], "serve") == 0 && strcmp(argv[2], "-t") == 0)
        return serve((uint16_t)number(argv[4], UINT16_MAX), argv[3]);
    tls = argc == 6 && strcmp(argv[3], "-t") == 0;
    if ((argc != 5 && !tls) ||
        (strcmp(argv[1], "up") != 0 && strcmp(argv[1], "down") != 0 && strcmp(argv[1], "ask") != 0))
        usage();
    end = dial(argv[argc - 2], (uint16_t)number(argv[argc - 1], UINT16_MAX), tls);
    return run_client(&end, (enum what)argv[1][0],
                      number(argv[2], argv[1][0] == WHAT_ASK ? ASKED_MAX : UINT64_MAX));
}
