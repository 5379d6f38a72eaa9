/*
 * A TLS peer that sends what is no data: "flood client PORT KIND COUNT [CERTIFICATE KEY]" connects,
 * "flood server PORT KIND COUNT CERTIFICATE KEY" does it to each that connects, one after the
 * other.
 *
 * KIND: `updates` (TLS 1.3 KeyUpdates), `mixed` (each followed by a byte of data), `hellos`
 * (TLS 1.2 requests to renegotiate). COUNT of them are made in memory and sent at once. With a
 * certificate it speaks as an end of a key channel does. For each connection it prints "cut off
 * after N of M bytes".
 */
#include "base/err.h"
#include "tls/record_priv.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const unsigned char alpn[] = "\x08"
                                    "farkey/1";

__attribute__((noreturn)) static void die(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void require(int ok, const char *what)
{
    if (!ok)
        die(what);
}

/* --- what is sent --- */

static void put_updates(SSL *ssl, long count, int mixed)
{
    for (long i = 0; i < count; i++) {
        require(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
                    SSL_do_handshake(ssl) == 1,
                "KeyUpdate");
        if (mixed)
            require(SSL_write(ssl, "x", 1) == 1, "data");
    }
}

/* OpenSSL's client sends one and waits for its answer; the record engine goes on with its keys. */
static void put_hellos(SSL *ssl, BIO *out, long count)
{
    static const unsigned char hello[] = {1, 0, 0, 0};
    const struct iovec piece = {(void *)(uintptr_t)hello, sizeof hello};
    unsigned char master[48], randoms[2][32], sealed[128];
    const struct fk_suite *suite =
        fk_suite_find(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)));
    struct fk_session_keys keys;
    struct fk_record *record;
    struct fk_arena *arena;
    size_t len;

    SSL_SESSION_get_master_key(SSL_get0_session(ssl), master, sizeof master);
    SSL_get_client_random(ssl, randoms[0], 32);
    SSL_get_server_random(ssl, randoms[1], 32);
    require(suite != NULL &&
                fk_session_keys_tls12(suite, master, randoms[0], randoms[1], false, &keys) ==
                    FK_OK &&
                fk_record_arena_new(1, &arena) == FK_OK &&
                fk_record_new(arena, &keys, FK_RECORD_CLIENT, &record) == FK_OK,
            "keys");
    for (long i = 0; i < count; i++) {
        struct fk_pieces pieces = {.first = &piece};

        require(fk_record_encrypt(record, FK_CONTENT_HANDSHAKE, &pieces, sizeof hello, sealed,
                                  &len) == FK_OK &&
                    BIO_write(out, sealed, (int)len) == (int)len,
                "ClientHello");
    }
    fk_record_free(record);
    fk_arena_free(arena);
}

/* All that is to be sent; freed by the caller. */
static BIO *make_flood(SSL *ssl, const char *kind, long count)
{
    BIO *memory = BIO_new(BIO_s_mem());

    require(memory != NULL && BIO_up_ref(memory) == 1, "memory");
    SSL_set0_wbio(ssl, memory);
    if (strcmp(kind, "hellos") == 0)
        put_hellos(ssl, memory, count);
    else
        put_updates(ssl, count, strcmp(kind, "mixed") == 0);
    return memory;
}

/* --- sending --- */

static void send_flood(int fd, const char *bytes, long len)
{
    char got[4096];
    ssize_t n = 0;
    long sent = 0;

    while (sent < len && (n = send(fd, bytes + sent, (size_t)(len - sent), MSG_NOSIGNAL)) > 0)
        sent += n;
    while (n > 0 && (n = recv(fd, got, sizeof got, 0)) > 0)
        ; /* answers, and at last the end */
    printf("cut off after %ld of %ld bytes\n", sent, len);
    fflush(stdout);
}

static void flood(SSL_CTX *ctx, int fd, char **words, int server)
{
    SSL *ssl = SSL_new(ctx);
    BIO *made;
    char *bytes;
    long len;

    require(ssl != NULL && SSL_set_fd(ssl, fd) == 1, "TLS");
    SSL_set_tlsext_host_name(ssl, "example.com");
    if ((server ? SSL_accept(ssl) : SSL_connect(ssl)) == 1) {
        made = make_flood(ssl, words[3], strtol(words[4], NULL, 10));
        len = BIO_get_mem_data(made, &bytes);
        send_flood(fd, bytes, len);
        BIO_free(made);
    } else {
        printf("no handshake\n");
        fflush(stdout);
    }
    SSL_free(ssl);
    close(fd);
}

/* --- being an end --- */

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    (void)ssl, (void)in, (void)in_len, (void)arg;
    *out = alpn + 1;
    *out_len = alpn[0];
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make_ctx(int count, char **words)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    require(ctx != NULL, "context");
    if (strcmp(words[3], "hellos") == 0)
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    if (count == 7) {
        require(SSL_CTX_use_certificate_chain_file(ctx, words[5]) == 1 &&
                    SSL_CTX_use_PrivateKey_file(ctx, words[6], SSL_FILETYPE_PEM) == 1,
                "identity");
        SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1);
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    }
    return ctx;
}

int main(int count, char **words)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    SSL_CTX *ctx;

    if (count != 5 && count != 7)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    address.sin_port = htons((uint16_t)strtol(words[2], NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ctx = make_ctx(count, words);
    if (strcmp(words[1], "client") == 0) {
        require(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
        flood(ctx, fd, words, 0);
        SSL_CTX_free(ctx);
        return 0;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    require(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 16) == 0,
            "listen");
    for (;;)
        flood(ctx, accept(fd, NULL, NULL), words, 1);
}
