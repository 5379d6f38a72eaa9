/*
 * The record engine against SSL_write() and SSL_read(), and against bare EVP as `openssl speed
 * -evp` runs it: one thread, the same session's keys, alternating slices, medians. One operation is
 * one record sealed at one end and opened at the other. Prints one JSON object a line.
 */
#include "base/clock.h"
#include "base/err.h"
#include "tls/record.h"

#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICES   15
#define SLICE_US 20000
#define BATCH    16

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "recordspeed: %s failed\n", what);
    exit(1);
}

struct bench {
    const char *name;
    const struct fk_suite *suite;
    size_t size; /* of a record's content */
    /* OpenSSL's pair, client to server. */
    SSL *client, *server;
    BIO *up, *down;
    uint8_t secrets[2][FK_SUITE_HASH_MAX];
    /* The engine's pair, by the same keys. */
    struct fk_arena *arena;
    struct fk_record *writer, *reader, *lone; /* what `lone` seals nobody opens */
    EVP_CIPHER_CTX *evp;
    uint8_t data[FK_RECORD_PLAIN_MAX], wire[FK_RECORD_PLAIN_MAX + 1024];
};

static int bench_index;

/* --- the three ways: each does `n` records --- */

static void run_ssl(struct bench *bench, int n)
{
    size_t len;

    for (int i = 0; i < n; i++) {
        need(SSL_write_ex(bench->client, bench->data, bench->size, &len) == 1, "SSL_write_ex");
        need(SSL_read_ex(bench->server, bench->data, bench->size, &len) == 1 && len == bench->size,
             "SSL_read_ex");
    }
}

static size_t seal(struct bench *bench, struct fk_record *writer)
{
    const struct iovec piece = {bench->wire + fk_record_prefix(writer), bench->size};
    size_t len;

    need(fk_record_seal(writer, &piece, 1, bench->wire, sizeof bench->wire, &len) == FK_OK,
         "fk_record_seal");
    return len;
}

static void run_engine(struct bench *bench, int n)
{
    struct fk_opened opened;

    for (int i = 0; i < n; i++) {
        size_t len = seal(bench, bench->writer);

        need(fk_record_open(bench->reader, bench->wire, len, &opened) == FK_OK &&
                 opened.len == bench->size,
             "fk_record_open");
    }
}

/* Sealing alone, for the comparison with bare EVP, which only encrypts. */
static void run_seal(struct bench *bench, int n)
{
    for (int i = 0; i < n; i++)
        seal(bench, bench->lone);
}

static void run_evp(struct bench *bench, int n)
{
    int len;

    for (int i = 0; i < n; i++)
        need(EVP_EncryptUpdate(bench->evp, bench->data, &len, bench->data, (int)bench->size) == 1,
             "EVP_EncryptUpdate");
}

/* --- measuring --- */

typedef void run_fn(struct bench *bench, int n);

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static double slice(struct bench *bench, run_fn *run)
{
    uint64_t start = fk_clock_us(), now = start, n = 0;

    while ((now = fk_clock_us()) < start + SLICE_US) {
        run(bench, BATCH);
        n += BATCH;
    }
    return (double)(now - start) / (double)n;
}

static double median(double *values)
{
    qsort(values, SLICES, sizeof *values, compare);
    return values[SLICES / 2];
}

static void report(struct bench *bench)
{
    static run_fn *const runs[] = {run_ssl, run_engine, run_seal, run_evp};
    double us[4][SLICES], ratio[2][SLICES];

    for (int i = 0; i < SLICES; i++) {
        for (int k = 0; k < 4; k++)
            us[k][i] = slice(bench, runs[k]);
        ratio[0][i] = us[0][i] / us[1][i];
        ratio[1][i] = us[3][i] / us[2][i];
    }
    printf("{\"suite\":\"%s\",\"size\":%zu,\"engine_us\":%.3f,\"ssl_us\":%.3f,\"faster\":%.3f,"
           "\"of_evp\":%.3f}\n",
           bench->name, bench->size, median(us[1]), median(us[0]), median(ratio[0]),
           median(ratio[1]));
}

/* --- setting up --- */

static void on_keylog(const SSL *ssl, const char *line)
{
    static const char *const labels[] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};
    struct bench *bench = SSL_get_ex_data(ssl, bench_index);
    unsigned value;

    for (int i = 0; i < 2; i++) {
        const char *hex = line + strlen(labels[i]) + 65;

        if (strncmp(line, labels[i], strlen(labels[i])) != 0)
            continue;
        for (size_t k = 0; k < bench->suite->hash_len && sscanf(hex + 2 * k, "%2x", &value); k++)
            bench->secrets[i][k] = (uint8_t)value;
    }
}

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();

    need(certificate != NULL && X509_set_pubkey(certificate, key) == 1 &&
             X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) != NULL &&
             X509_sign(certificate, key, EVP_sha256()) > 0,
         "certificate");
    return certificate;
}

static SSL_CTX *make_ctx(const struct bench *bench)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key);
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    need(SSL_CTX_use_certificate(ctx, certificate) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
             SSL_CTX_set_min_proto_version(ctx, bench->suite->version) == 1 &&
             SSL_CTX_set_max_proto_version(ctx, bench->suite->version) == 1 &&
             (bench->suite->version == FK_TLS13 ? SSL_CTX_set_ciphersuites(ctx, bench->name)
                                                : SSL_CTX_set_cipher_list(ctx, bench->name)) == 1,
         "SSL_CTX");
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_keylog_callback(ctx, on_keylog);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return ctx;
}

static SSL *make_end(struct bench *bench, SSL_CTX *ctx, BIO *in, BIO *out)
{
    SSL *ssl = SSL_new(ctx);

    SSL_set_ex_data(ssl, bench_index, bench);
    BIO_up_ref(in);
    BIO_up_ref(out);
    SSL_set_bio(ssl, in, out);
    return ssl;
}

static void open_ssl(struct bench *bench)
{
    SSL_CTX *ctx = make_ctx(bench);

    bench->up = BIO_new(BIO_s_mem());
    bench->down = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(bench->up, -1);
    BIO_set_mem_eof_return(bench->down, -1);
    bench->client = make_end(bench, ctx, bench->down, bench->up);
    bench->server = make_end(bench, ctx, bench->up, bench->down);
    SSL_set_connect_state(bench->client);
    SSL_set_accept_state(bench->server);
    for (int i = 0; i < 4; i++) {
        SSL_do_handshake(bench->client);
        SSL_do_handshake(bench->server);
    }
    need(SSL_is_init_finished(bench->server) == 1, "handshake");
    SSL_CTX_free(ctx);
}

static void open_engine(struct bench *bench)
{
    uint8_t master[48], client[32], server[32];
    struct fk_session_keys keys;
    int err;

    SSL_SESSION_get_master_key(SSL_get_session(bench->server), master, sizeof master);
    SSL_get_client_random(bench->server, client, sizeof client);
    SSL_get_server_random(bench->server, server, sizeof server);
    err = bench->suite->version == FK_TLS13
              ? fk_session_keys_tls13(bench->suite, bench->secrets[0], bench->secrets[1], &keys)
              : fk_session_keys_tls12(bench->suite, master, client, server, false, &keys);
    need(err == FK_OK && fk_record_arena_new(3, &bench->arena) == FK_OK &&
             fk_record_new(bench->arena, &keys, FK_RECORD_CLIENT, &bench->writer) == FK_OK &&
             fk_record_new(bench->arena, &keys, FK_RECORD_SERVER, &bench->reader) == FK_OK &&
             fk_record_new(bench->arena, &keys, FK_RECORD_CLIENT, &bench->lone) == FK_OK,
         "engine");
    bench->evp = EVP_CIPHER_CTX_new();
    need(EVP_EncryptInit_ex(bench->evp, fk_suite_cipher(bench->suite), NULL, keys.client.key,
                            keys.client.secret) == 1,
         "EVP");
}

static void close_all(struct bench *bench)
{
    SSL_free(bench->client);
    SSL_free(bench->server);
    BIO_free(bench->up);
    BIO_free(bench->down);
    fk_record_free(bench->writer);
    fk_record_free(bench->reader);
    fk_record_free(bench->lone);
    fk_arena_free(bench->arena);
    EVP_CIPHER_CTX_free(bench->evp);
}

int main(void)
{
    static const struct {
        const char *name;
        uint16_t id;
    } suites[] = {{"TLS_AES_128_GCM_SHA256", 0x1301},
                  {"TLS_AES_256_GCM_SHA384", 0x1302},
                  {"TLS_CHACHA20_POLY1305_SHA256", 0x1303},
                  {"ECDHE-ECDSA-AES128-GCM-SHA256", 0xc02b}};
    static const size_t sizes[] = {16384, 1400, 256};
    static struct bench bench;

    bench_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            bench = (struct bench){
                .name = suites[i].name, .suite = fk_suite_find(suites[i].id), .size = sizes[k]};
            open_ssl(&bench);
            open_engine(&bench);
            report(&bench);
            close_all(&bench);
        }
    return 0;
}
