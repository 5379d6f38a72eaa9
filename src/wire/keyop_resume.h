/*
 * Payloads by which sessions of mode `keys` are resumed (docs/wire-key.md): the key server gives
 * the edge the master secret sealed, which it keeps with its ticket or in its cache, and gets back.
 * Sans-I/O; decoded structures borrow the payload.
 */
#ifndef FK_WIRE_KEYOP_RESUME_H
#define FK_WIRE_KEYOP_RESUME_H

#include "base/reader.h"
#include "base/writer.h"
#include "wire/keyop_secret.h"

#include <stdbool.h>
#include <stdint.h>

#define FK_SESSION_CONTEXT 32

/* Whose a sealed session is: of the edge that it was made for, or of all that may have tickets. */
enum fk_session_scope { FK_SESSION_OWN = 0, FK_SESSION_SHARED = 1 };

#define FK_SEALED_SESSION 92 /* scope u8, and what only signers read (signer/session_seal.h) */

/*
 * KEYS_KEEP: scope u8 | context 32 | lifetime u32 | as KEYS. The answer: sealed session<u8> | as
 * KEYS. Sealed: empty when there is nothing to seal with, or it is for no time at all.
 */
struct fk_keep_op {
    enum fk_session_scope scope;
    uint8_t context[FK_SESSION_CONTEXT]; /* what else the edge tells sessions apart by */
    uint32_t lifetime_s;
    struct fk_keys_op keys;
};

/* As fk_keys_op_decode(); a scope that there is not: FK_ERR_FORMAT. */
int fk_keep_op_decode(struct fk_reader payload, struct fk_keep_op *ret);
void fk_keep_op_encode(const struct fk_keep_op *op, struct fk_writer *out);

struct fk_keep_answer {
    struct fk_reader sealed;
    struct fk_keys_answer keys;
};

int fk_keep_answer_decode(struct fk_reader payload, struct fk_keep_answer *ret);
void fk_keep_answer_encode(const struct fk_keep_answer *answer, struct fk_writer *out);

/*
 * RESUME: sealed session<u8> | context 32 | random seed 32 | client random 32 | server random 32.
 * The server random is made of the seed (tls/fresh.h): what was recorded of a session is not
 * derived once more.
 */
struct fk_resume_op {
    struct fk_reader sealed; /* not empty */
    uint8_t context[FK_SESSION_CONTEXT];
    uint8_t random_seed[FK_RANDOM_SEED_SIZE];
    uint8_t client_random[32], server_random[32];
};

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT (no session). */
int fk_resume_op_decode(struct fk_reader payload, struct fk_resume_op *ret);
void fk_resume_op_encode(const struct fk_resume_op *op, struct fk_writer *out);

/* Whether it says that it is of scope FK_SESSION_SHARED. */
bool fk_resume_is_shared(const struct fk_resume_op *op);

/* Its answer: handle 16 | key block<u8>. */
struct fk_resume_answer {
    uint8_t handle[FK_HANDLE_SIZE]; /* of the master secret, for FINISHED: the server's first */
    struct fk_reader key_block;     /* RFC 5246 section 6.3; not empty */
};

int fk_resume_answer_decode(struct fk_reader payload, struct fk_resume_answer *ret);
void fk_resume_answer_encode(const struct fk_resume_answer *answer, struct fk_writer *out);

#endif
