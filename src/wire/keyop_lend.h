/*
 * Payloads of LEND (docs/wire-key.md): the key server sends a private key, sealed to the signer of
 * an edge, for a limited time. Sans-I/O; decoded structures borrow the payload.
 */
#ifndef FK_WIRE_KEYOP_LEND_H
#define FK_WIRE_KEYOP_LEND_H

#include "base/reader.h"
#include "base/writer.h"

#include <stdint.h>

#define FK_LEND_KEY 32 /* an X25519 public key (RFC 7748) */

/* LEND: recipient 32 | once 32 | seconds u32. */
#define FK_LEND_SIZE (2 * FK_LEND_KEY + 4)

struct fk_lend {
    uint8_t recipient[FK_LEND_KEY]; /* of the edge, known to the key server's signer */
    uint8_t once[FK_LEND_KEY];      /* made for this lending, gone after it */
    uint32_t seconds;               /* that the key may be kept; 0: for one operation */
};

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING. */
int fk_lend_decode(struct fk_reader payload, struct fk_lend *ret);
void fk_lend_encode(const struct fk_lend *op, struct fk_writer *out);

/* Its answer: seconds u32 | permissions u16 | SubjectPublicKeyInfo<u16> | sealed<u16>. */
struct fk_lend_answer {
    uint32_t seconds;     /* granted: no more than was asked for */
    uint16_t permissions; /* FK_PERM_*: for what it is lent */
    struct fk_reader spki;
    struct fk_reader sealed; /* signer/lend.h */
};

/* FK_ERR_TRUNCATED, FK_ERR_TRAILING. */
int fk_lend_answer_decode(struct fk_reader payload, struct fk_lend_answer *ret);
/* All but `sealed`, which is sealed for what is written here. */
void fk_lend_answer_encode_head(const struct fk_lend_answer *answer, struct fk_writer *out);
void fk_lend_answer_encode(const struct fk_lend_answer *answer, struct fk_writer *out);

#endif
