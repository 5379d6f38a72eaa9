/*
 * A signer's operations for tests of modes `agree`, `master` and `keys`: keys, what a front asks
 * for in the name of an edge, and the TLS client's part.
 */
#ifndef FK_TESTS_AGREEBENCH_H
#define FK_TESTS_AGREEBENCH_H

#include "unit.h"

#include "signer/ops.h"
#include "wire/keymsg.h"
#include "wire/keyop_secret.h"

#include <openssl/evp.h>

enum { K_RSA, P256, ED, KEYS };

/* Made once, at their first use. */
extern EVP_PKEY *bench_keys[KEYS], *bench_request_key;
extern uint8_t bench_skis[KEYS][20];
EVP_PKEY *bench_key(int k);
void bench_free_keys(void);

struct bench {
    struct fk_keyset *set;
    struct fk_ops *ops;
    uint8_t ret[FK_SIGNER_RESULT_MAX];
    size_t len;
};

/* Keys with these permissions; with an edge that signs, if `edge` is not NULL. */
void bench_open(struct bench *bench, unsigned permissions, struct fk_keyset_edge *edge);
void bench_close(struct bench *bench);

/* A request of a front; its result is in `ret`. */
int bench_run(struct bench *bench, uint16_t op, uint16_t detail, const uint8_t ski[20],
              const uint8_t *payload, size_t len);

/* What a front asks for in the name of edge number `edge`. */
struct asked {
    uint8_t edge;
    int key;
    uint8_t opcode;
    struct fk_reader share; /* of a split key, or none */
};

int bench_ask(struct bench *bench, const struct asked *asked, const void *payload,
              size_t payload_len);

/* AGREE_INIT: its operation, its payload, the request, and its answer. */
struct fk_agree_init init_op(uint16_t scheme, uint16_t group, enum fk_agree_form form);
size_t init_payload(const struct fk_agree_init *op, uint8_t ret[128]);
int bench_init(struct bench *bench, uint8_t edge, int key, const struct fk_agree_init *op);
struct fk_agree_made bench_made(const struct bench *bench, const struct fk_agree_init *op);

/* AGREE_FINISH. */
size_t finish_payload(const uint8_t handle[FK_HANDLE_SIZE], struct fk_reader share,
                      uint8_t ret[600]);
int bench_finish(struct bench *bench, uint8_t edge, int key, const uint8_t handle[FK_HANDLE_SIZE],
                 struct fk_reader share);

/* The TLS client: its ephemeral key, and its premaster secret. */
struct client {
    EVP_PKEY *key;
    uint8_t bytes[600];
    struct fk_reader share;
    uint8_t secret[64];
    size_t secret_len;
};

void client_init(struct client *client, uint16_t group);
void client_agree(struct client *client, struct fk_reader params);

#endif
