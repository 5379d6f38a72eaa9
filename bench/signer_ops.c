/*
 * What a signer adds to the cryptography: one thread, the same key, alternating slices of plain EVP
 * (what `openssl speed` measures), the operation alone, and the operation asked for over a
 * socketpair in batches; then a line of the audit log. Prints microseconds an operation, the median
 * of the slices, and the difference to plain EVP.
 */
#include "base/clock.h"
#include "base/err.h"
#include "keyd/audit_chain.h"
#include "keyd/audit_line.h"
#include "loop/sock.h"
#include "signer/keyset.h"
#include "signer/ops.h"
#include "signer/peer.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLICES   15
#define SLICE_US 100000
#define BATCH    16

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "signer_ops: %s failed\n", what);
    exit(1);
}

struct bench {
    const char *name;
    EVP_PKEY *key;
    EVP_PKEY_CTX *plain; /* as openssl speed sets it up */
    struct fk_keyset *set;
    struct fk_ops *ops;
    struct fk_signer_request request;
    uint8_t payload[256];
    struct fk_signer_peer *peer;
    int fd;
};

/* --- the three ways: each does `n` operations --- */

static void run_plain(struct bench *bench, int n)
{
    uint8_t digest[32] = {1}, sig[512];

    for (int i = 0; i < n; i++) {
        size_t len = sizeof sig;

        need(EVP_PKEY_sign(bench->plain, sig, &len, digest, sizeof digest) == 1, "EVP_PKEY_sign");
    }
}

static void run_ops(struct bench *bench, int n)
{
    uint8_t ret[FK_SIGNER_RESULT_MAX];
    size_t len;

    for (int i = 0; i < n; i++)
        need(fk_ops_run(bench->ops, &bench->request, bench->payload, ret, &len) == FK_OK,
             "fk_ops_run");
}

static void run_peer(struct bench *bench, int n)
{
    uint8_t bytes[BATCH * 256] = {0}, results[BATCH * 600];
    size_t size = sizeof bench->request + bench->request.len, got = 0, each = 0;

    for (int i = 0; i < n; i++) {
        memcpy(bytes + (size_t)i * size, &bench->request, sizeof bench->request);
        memcpy(bytes + (size_t)i * size + sizeof bench->request, bench->payload,
               bench->request.len);
    }
    need(send(bench->fd, bytes, (size_t)n * size, 0) == (ssize_t)((size_t)n * size), "send");
    for (int done = 0; done < n;) {
        struct fk_signer_result result;
        ssize_t len;

        need(fk_signer_peer_turn(bench->peer, bench->ops, NULL, true) == FK_OK, "turn");
        len = recv(bench->fd, results + got, sizeof results - got, MSG_DONTWAIT);
        got += len > 0 ? (size_t)len : 0;
        while (got - each >= sizeof result) {
            memcpy(&result, results + each, sizeof result);
            if (got - each - sizeof result < result.len)
                break;
            need(result.err == FK_OK, "request");
            each += sizeof result + result.len;
            done++;
        }
    }
}

/* --- measuring --- */

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static double median(double *values)
{
    qsort(values, SLICES, sizeof *values, compare);
    return values[SLICES / 2];
}

typedef void run_fn(struct bench *bench, int n);

static double slice(struct bench *bench, run_fn *run)
{
    uint64_t start = fk_clock_us(), now = start;
    uint64_t n = 0;

    while ((now = fk_clock_us()) < start + SLICE_US) {
        run(bench, BATCH);
        n += BATCH;
    }
    return (double)(now - start) / (double)n;
}

static void report(struct bench *bench)
{
    run_fn *const runs[] = {run_plain, run_ops, run_peer};
    double values[3][SLICES], us[3];

    for (int i = 0; i < SLICES; i++)
        for (int k = 0; k < 3; k++)
            values[k][i] = slice(bench, runs[k]);
    for (int k = 0; k < 3; k++)
        us[k] = median(values[k]);
    printf("%-8s  plain %8.2f us (%7.0f/s)   operation %+6.2f us   over a socket %+6.2f us   "
           "(%.1f %%)\n",
           bench->name, us[0], 1e6 / us[0], us[1] - us[0], us[2] - us[0], 100 * us[0] / us[2]);
}

/* --- setting up --- */

static void make_request(struct bench *bench, uint16_t scheme)
{
    struct fk_sign13 op = {.scheme = scheme, .role = FK_ROLE_SERVER, .hash_len = 32};
    struct fk_key_public public;
    struct fk_writer writer;

    need(fk_key_describe(bench->key, &public) == FK_OK, "fk_key_describe");
    bench->request.op = FK_SIGNER_SIGN13;
    memcpy(bench->request.ski, public.ski, sizeof public.ski);
    fk_writer_init(&writer, bench->payload, sizeof bench->payload);
    fk_sign13_encode(&op, &writer);
    bench->request.len = (uint32_t)writer.len;
}

static void open_bench(struct bench *bench, uint16_t scheme)
{
    struct fk_key_public public = {.permissions = FK_PERM_SIGN13};
    struct fk_keyset_builder *builder;
    int fd = -1, fds[2];

    need(fk_keyset_builder_new(&builder) == FK_OK &&
             fk_keyset_builder_add(builder, &public, bench->key) == FK_OK &&
             fk_keyset_builder_seal(builder, &fd) == FK_OK &&
             fk_keyset_open(fd, &bench->set) == FK_OK &&
             fk_ops_new(bench->set, 0, 1, &bench->ops) == FK_OK &&
             fk_sock_pair(SOCK_STREAM, fds) == FK_OK &&
             fk_signer_peer_new(fds[0], FK_PEER_FRONT, 0, &bench->peer) == FK_OK,
         "set-up");
    fk_keyset_builder_free(builder);
    close(fd);
    bench->fd = fds[1];
    bench->plain = EVP_PKEY_CTX_new_from_pkey(NULL, bench->key, NULL);
    need(EVP_PKEY_sign_init(bench->plain) == 1, "EVP_PKEY_sign_init");
    make_request(bench, scheme);
}

static void run_key(const char *name, EVP_PKEY *key, uint16_t scheme)
{
    struct bench bench = {.name = name, .key = key};

    open_bench(&bench, scheme);
    report(&bench);
    EVP_PKEY_CTX_free(bench.plain);
    fk_signer_peer_free(bench.peer);
    fk_ops_free(bench.ops);
    fk_keyset_free(bench.set);
    EVP_PKEY_free(key);
    close(bench.fd);
}

static void run_audit(void)
{
    static const uint8_t hash[32] = {1}, ip[4] = {192, 0, 2, 1};
    struct fk_audit_event event = {.edge = "edge1",
                                   .key = "example.com",
                                   .op = "sign-1.3",
                                   .sni = {(const uint8_t *)"www.example.com", 15},
                                   .client_ip = {ip, 4},
                                   .hash = {hash, 32},
                                   .micros = 612};
    char line[FK_AUDIT_LINE_MAX], out[2 * FK_AUDIT_LINE_MAX];
    double format_us, chain_us;
    struct fk_audit_chain chain;
    uint64_t start;
    size_t len = 0, n;

    need(fk_audit_chain_init(&chain) == FK_OK, "fk_audit_chain_init");
    start = fk_clock_us();
    for (int i = 0; i < 100000; i++) {
        event.wall_us += 10;
        len = fk_audit_line_format(&event, line);
    }
    format_us = (double)(fk_clock_us() - start) / 100000;
    start = fk_clock_us();
    for (int i = 0; i < 100000; i++)
        need(fk_audit_chain_append(&chain, line, len - 1, out, sizeof out, &n) == FK_OK, "chain");
    chain_us = (double)(fk_clock_us() - start) / 100000;
    printf("audit     line %.2f us, chain %.2f us (%zu bytes)\n", format_us, chain_us, n);
    fk_audit_chain_fini(&chain);
}

int main(void)
{
    run_key("rsa2048", EVP_RSA_gen(2048), 0x0804);
    run_key("p256", EVP_EC_gen("P-256"), 0x0403);
    run_key("p384", EVP_EC_gen("P-384"), 0x0503);
    run_audit();
    return 0;
}
