/*
 * Payloads of modes `master` and `keys` (docs/wire-key.md): the key server derives TLS 1.2's master
 * secret, or keeps that under a handle and gives out the session's keys and Finished values.
 * Sans-I/O; decoded structures borrow the payload.
 */
#ifndef FK_WIRE_KEYOP_SECRET_H
#define FK_WIRE_KEYOP_SECRET_H

#include "base/reader.h"
#include "base/writer.h"
#include "wire/keyop.h"
#include "wire/keyop_agree.h"

#include <stdbool.h>
#include <stdint.h>

#define FK_MASTER_SIZE      48
#define FK_VERIFY_DATA_SIZE 12 /* RFC 5246 section 7.4.9 */

/* Where the premaster secret comes from. */
enum fk_premaster_kind {
    FK_PREMASTER_AGREED = 1, /* a handle of AGREE_INIT, and the client's share */
    FK_PREMASTER_RSA = 2,    /* RSA key exchange */
};

#define FK_RANDOM_SEED_SIZE 32

/*
 * kind u8, then of kind 1: handle 16 | share<u16>; of 2: client_version u16 | ciphertext<u16> |
 * random seed 32, of which the server random was made (tls/fresh.h).
 */
struct fk_premaster_source {
    enum fk_premaster_kind kind;
    struct fk_agree_finish agreed;
    struct fk_decrypt rsa;
    uint8_t random_seed[FK_RANDOM_SEED_SIZE];
};

/* The hash of TLS 1.2's PRF, as HashAlgorithm (RFC 5246 section 7.4.1.4.1) numbers it. */
enum fk_prf { FK_PRF_SHA256 = 4, FK_PRF_SHA384 = 5 };

/* 32 or 48. */
size_t fk_prf_size(enum fk_prf prf);

/*
 * prf u8 | ems u8 | seed<u8>. The seed: with the extended master secret (RFC 7627 section 4) the
 * session hash, as long as the PRF's hash; else client random | server random.
 */
struct fk_master_derivation {
    enum fk_prf prf;
    bool ems;
    struct fk_reader seed;
};

/* MASTER: secret source | master derivation. The answer is the master secret. */
struct fk_master_op {
    struct fk_premaster_source source;
    struct fk_master_derivation derivation;
};

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT (kind, share, PRF, seed), FK_ERR_RANGE (client
 * version). */
int fk_master_op_decode(struct fk_reader payload, struct fk_master_op *ret);
void fk_master_op_encode(const struct fk_master_op *op, struct fk_writer *out);

/* KEYS: secret source | master derivation | suite u16 | client random 32 | server random 32 |
 * finished hash<u8>. */
struct fk_keys_op {
    struct fk_premaster_source source;
    struct fk_master_derivation derivation;
    uint16_t suite; /* of the IANA registry; which ones there are is the signer's to judge */
    uint8_t client_random[32];
    uint8_t server_random[32];
    struct fk_reader finished_hash; /* what the client's Finished covers, if known; else empty */
};

/* As fk_master_op_decode(); also randoms that are not those of the seed: FK_ERR_FORMAT. */
int fk_keys_op_decode(struct fk_reader payload, struct fk_keys_op *ret);
void fk_keys_op_encode(const struct fk_keys_op *op, struct fk_writer *out);

/* Its answer: handle 16 | key block<u8> | client verify_data<u8>. */
struct fk_keys_answer {
    uint8_t handle[FK_HANDLE_SIZE]; /* of the master secret, for FINISHED */
    struct fk_reader key_block;     /* RFC 5246 section 6.3; not empty */
    struct fk_reader verify_data;   /* of the client's Finished; empty when no hash was given */
};

int fk_keys_answer_decode(struct fk_reader payload, struct fk_keys_answer *ret);
void fk_keys_answer_encode(const struct fk_keys_answer *answer, struct fk_writer *out);

/*
 * EXPOSE: as KEYS, but for an edge that makes Finished itself, and resumes: the finished hash is
 * empty. Its answer: key block<u8> | master secret 48.
 */
struct fk_exposed_answer {
    struct fk_reader key_block; /* not empty */
    struct fk_reader master;    /* FK_MASTER_SIZE bytes */
};

int fk_exposed_answer_decode(struct fk_reader payload, struct fk_exposed_answer *ret);
void fk_exposed_answer_encode(const struct fk_exposed_answer *answer, struct fk_writer *out);

enum fk_finished_end { FK_FINISHED_CLIENT = 1, FK_FINISHED_SERVER = 2 };

/* FINISHED: handle 16 | end u8 | transcript hash<u8>. The answer is the end's verify_data. */
struct fk_finished_op {
    uint8_t handle[FK_HANDLE_SIZE];
    enum fk_finished_end end;
    struct fk_reader hash; /* 32 or 48 bytes */
};

int fk_finished_op_decode(struct fk_reader payload, struct fk_finished_op *ret);
void fk_finished_op_encode(const struct fk_finished_op *op, struct fk_writer *out);

#endif
