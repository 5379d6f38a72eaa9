/*
 * Handles: what a signer keeps between two operations of one handshake, found by a random name.
 *
 * A handle is good for who made it (its owner), with the key that it was made with, at the stage
 * that it has reached, for FK_HANDLE_LIFE_US. Whatever is wrong, it is not there: one error says
 * all of it. The secrets are in locked memory and are wiped with the handle.
 */
#ifndef FK_SIGNER_HANDLES_H
#define FK_SIGNER_HANDLES_H

#include "base/limits.h"
#include "signer/ephemeral.h"
#include "wire/keymsg.h"
#include "wire/keyop_keys13.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is expected next. */
enum fk_handle_stage {
    FK_HANDLE_SHARE = 1, /* the client's share, for an ephemeral key */
    FK_HANDLE_FINISHED,  /* transcript hashes, for a master secret */
    FK_HANDLE_FLIGHT13,  /* TLS 1.3: the server's flight, for a handshake secret */
};

/* Whose it is: an edge as a front tells it, or one that has signed for it, which is another. */
struct fk_handle_owner {
    bool has_signed;
    uint8_t id[32]; /* SHA-256 of its identity; of its name if it has signed */
};

struct fk_handle_binding {
    const struct fk_handle_owner *owner;
    const uint8_t *ski; /* FK_SKI_SIZE bytes: of the key */
    enum fk_handle_stage stage;
};

/* By stage. */
union fk_handle_secret {
    struct fk_ephemeral ephemeral;
    struct fk_handle_master {
        enum fk_prf prf;
        enum fk_finished_end last; /* whose verify_data is asked for last: resumed, the client's */
        bool first_done;           /* the other one's has been given out */
        uint8_t master[FK_MASTER_SIZE];
    } master;
    struct fk_handle_flight {
        enum fk_prf hash;
        uint8_t hellos[FK_SECRET13_MAX]; /* the hash of the transcript up to the ServerHello */
        uint8_t handshake[FK_SECRET13_MAX];
    } flight;
};

struct fk_handles;

/* The table of the signer of this number and generation. FK_ERR_NOMEM. */
int fk_handles_new(uint8_t index, uint16_t generation, struct fk_handles **ret);
/* Wipes all. NULL is fine. */
void fk_handles_free(struct fk_handles *handles);

/*
 * Keep a copy of the secret; the caller wipes its own. An owner with FK_HANDLES_PER_EDGE of them
 * loses the oldest, which is the likeliest to be a handshake that its client has left; a full table
 * loses the oldest of this owner, or without any the oldest of all. FK_ERR_LIMIT: too many owners;
 * FK_ERR_CRYPTO: no chance; FK_ERR_NOMEM.
 */
int fk_handles_add(struct fk_handles *handles, const struct fk_handle_binding *binding,
                   const union fk_handle_secret *secret, uint64_t now_us,
                   uint8_t ret[FK_HANDLE_SIZE]);

/* What is kept; the table's, until the next call. NULL: there is no such handle. */
union fk_handle_secret *fk_handles_find(struct fk_handles *handles,
                                        const uint8_t name[FK_HANDLE_SIZE],
                                        const struct fk_handle_binding *binding, uint64_t now_us);

/* The same, and it is gone: the caller wipes *ret. FK_ERR_EXPIRED: there is no such handle. */
int fk_handles_take(struct fk_handles *handles, const uint8_t name[FK_HANDLE_SIZE],
                    const struct fk_handle_binding *binding, uint64_t now_us,
                    union fk_handle_secret *ret);

/* Forget those whose time is over. The time until the next one's is, in microseconds; UINT64_MAX:
 * there is none. */
uint64_t fk_handles_expire(struct fk_handles *handles, uint64_t now_us);

/* When the next one's is; UINT64_MAX: there is none. */
uint64_t fk_handles_end_us(const struct fk_handles *handles);

size_t fk_handles_count(const struct fk_handles *handles);

/* Which signer a name says it is of. Public. */
void fk_handle_route(const uint8_t name[FK_HANDLE_SIZE], unsigned *ret_index,
                     uint16_t *ret_generation);

#endif
