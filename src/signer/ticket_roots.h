/*
 * The secrets from which a key server's ticket keys are derived: made at random by its master,
 * handed to its signers in FK_PROC_TICKETS, kept nowhere else, and gone for good when their time is
 * over. Who steals keys or disks later finds nothing that opens an old ticket.
 *
 * A secret is announced a quarter of a life before it seals, so that all who share it know it when
 * the first of them uses it; it opens for a whole life after that.
 */
#ifndef FK_SIGNER_TICKET_ROOTS_H
#define FK_SIGNER_TICKET_ROOTS_H

#include "base/limits.h"
#include "wire/keyticket.h"

#include <openssl/kdf.h>
#include <stddef.h>
#include <stdint.h>

struct fk_ticket_root {
    uint8_t id[FK_TICKET_ID]; /* random; salt of the derivation */
    uint8_t secret[FK_TICKET_SECRET];
    uint64_t seals_us; /* from then on (fk_clock_us(), the same for all processes of a host) */
};

/* Newest first. */
struct fk_ticket_roots {
    uint64_t life_us; /* of each, from seals_us on */
    size_t count;
    struct fk_ticket_root items[FK_TICKET_ROOTS_MAX];
};

/*
 * Make those that are due and forget those whose time is over. *ret_next_us: microseconds until it
 * is to be called again. FK_ERR_CRYPTO: no randomness, nothing was made.
 */
int fk_ticket_roots_rotate(struct fk_ticket_roots *roots, uint64_t life_us, uint64_t now_us,
                           uint64_t *ret_next_us);

/* The same, but the next one seals now, whether or not all who share it know it yet. With
 * FK_TICKET_ROOTS_MAX there already the oldest goes before its time. */
int fk_ticket_roots_renew(struct fk_ticket_roots *roots, uint64_t life_us, uint64_t now_us,
                          uint64_t *ret_next_us);

/* FK_PROC_TICKETS to signers: life u64 | n u8 | n times: id, secret, seals u64. */
#define FK_TICKET_ROOTS_WIRE_MAX \
    (8 + 1 + FK_TICKET_ROOTS_MAX * (FK_TICKET_ID + FK_TICKET_SECRET + 8))
size_t fk_ticket_roots_encode(const struct fk_ticket_roots *roots,
                              uint8_t ret[FK_TICKET_ROOTS_WIRE_MAX]);
/* FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT (none, or too many). */
int fk_ticket_roots_decode(const void *data, size_t len, struct fk_ticket_roots *ret);

/*
 * `len` bytes of a secret for one use (`label`) with one private key: HKDF-SHA256 (RFC 5869), the
 * salt is the secret's id. `hkdf`: a context of OpenSSL's HKDF. FK_ERR_CRYPTO.
 */
int fk_ticket_root_derive(EVP_KDF_CTX *hkdf, const struct fk_ticket_root *root, const char *label,
                          const uint8_t ski[20], uint8_t *ret, size_t len);

/* The newest that may seal; NULL: there is none. */
const struct fk_ticket_root *fk_ticket_roots_sealing(const struct fk_ticket_roots *roots,
                                                     uint64_t now_us);

/*
 * The ticket keys of all who may use the private key of this SKI, as they are now. The caller wipes
 * *ret. FK_ERR_UNAVAILABLE: there is none (no more); FK_ERR_CRYPTO.
 */
int fk_ticket_roots_grant(const struct fk_ticket_roots *roots, const uint8_t ski[20],
                          uint64_t now_us, struct fk_ticket_grants *ret);

#endif
