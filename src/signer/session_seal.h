/*
 * Master secrets that leave a signer sealed, so that the edge can bring them back when a client
 * resumes: nothing is kept here. The keys are those that single tickets come from (ticket_roots.h),
 * under another label: they end with their secrets, whatever an edge has stored.
 *
 * sealed: scope u8 | which secret 4 | nonce 12 | AES-256-GCM of (PRF u8 | suite u16 | ends u64 |
 * master secret 48) | tag 16. Authenticated with it: the scope, whose it is, and the edge's
 * context.
 */
#ifndef FK_SIGNER_SESSION_SEAL_H
#define FK_SIGNER_SESSION_SEAL_H

#include "signer/handles.h"
#include "signer/ticket_roots.h"
#include "wire/keyop_resume.h"

/* Whose it is; it opens for the same only. */
struct fk_session_bound {
    const struct fk_handle_owner *owner; /* scope FK_SESSION_OWN: that edge */
    const uint8_t *ski;                  /* FK_SKI_SIZE bytes: of the key */
    const uint8_t *context;              /* FK_SESSION_CONTEXT bytes */
};

struct fk_session_kept {
    enum fk_prf prf;
    uint16_t suite;
    uint64_t ends_us; /* fk_clock_us() */
    uint8_t master[FK_MASTER_SIZE];
};

/*
 * With the newest secret that may seal: FK_SEALED_SESSION bytes. FK_ERR_UNAVAILABLE: there is none;
 * FK_ERR_CRYPTO.
 */
int fk_session_seal(const struct fk_ticket_roots *roots, enum fk_session_scope scope,
                    const struct fk_session_bound *bound, const struct fk_session_kept *kept,
                    uint64_t now_us, uint8_t ret[FK_SEALED_SESSION]);

/*
 * What was sealed so. The caller wipes *ret. FK_ERR_EXPIRED: its time is over, its secret's is, or
 * it was sealed for somebody else, or never: one error says all of it. FK_ERR_CRYPTO.
 */
int fk_session_open(const struct fk_ticket_roots *roots, struct fk_reader sealed,
                    const struct fk_session_bound *bound, uint64_t now_us,
                    struct fk_session_kept *ret);

#endif
