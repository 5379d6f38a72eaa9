/*
 * Session tickets in farkey/1 (docs/wire-key.md). TICKET_KEYS: keys with which edges that serve the
 * same sites seal and open them. TICKET_SEAL, TICKET_UNSEAL: keys of single tickets, for edges that
 * shall open none without asking. Sans-I/O.
 */
#ifndef FK_WIRE_KEYTICKET_H
#define FK_WIRE_KEYTICKET_H

#include "base/limits.h"
#include "base/reader.h"
#include "base/writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FK_TICKET_ID     16
#define FK_TICKET_SECRET 32

/* Times count from the answer on, so that no two clocks need to agree. */
struct fk_ticket_grant {
    uint8_t id[FK_TICKET_ID]; /* public */
    uint8_t secret[FK_TICKET_SECRET];
    uint32_t seals_ms; /* from then on it may seal; 0: from now on */
    uint32_t ends_ms;  /* then it is to be forgotten; never 0, and later than seals_ms */
};

/* Newest first. */
struct fk_ticket_grants {
    uint32_t refresh_ms; /* ask again then; never 0 */
    size_t count;        /* 1 at least */
    struct fk_ticket_grant items[FK_TICKET_GRANTS_MAX];
};

#define FK_TICKET_GRANTS_WIRE_MAX \
    (4 + 1 + FK_TICKET_GRANTS_MAX * (FK_TICKET_ID + FK_TICKET_SECRET + 8))

/*
 * The answer's payload: refresh u32 | n u8 | n keys, each: id 16 | secret 32 | seals in u32 | ends
 * in u32. The request's is empty. The caller wipes what was decoded. FK_ERR_TRUNCATED,
 * FK_ERR_TRAILING, FK_ERR_FORMAT (none, too many), FK_ERR_RANGE (times).
 */
int fk_ticket_grants_decode(struct fk_reader payload, struct fk_ticket_grants *ret);
void fk_ticket_grants_encode(const struct fk_ticket_grants *grants, struct fk_writer *out);

/* --- single tickets --- */

/* What a ticket is for; it opens for the same only. */
struct fk_ticket_use {
    uint8_t mode;      /* of the site: FK_TICKET_MODE_* */
    uint8_t owner[32]; /* what else the edge tells sessions apart by: site and its policy */
};

#define FK_TICKET_MODE_SIGN    1
#define FK_TICKET_MODE_DECRYPT 2
#define FK_TICKET_MODE_AGREE   3
#define FK_TICKET_MODE_MASTER  4
#define FK_TICKET_MODE_KEYS    5 /* without the master secret at the edge */
#define FK_TICKET_MODE_EXPOSE  6 /* keys, with it */

/* The name of a ticket (RFC 5077 section 4: key_name), and the keys of that one alone. */
struct fk_ticket_single {
    uint8_t name[16];
    uint8_t aes[32];
    uint8_t mac[32];
};

/* New ones: for so many, how long they may be used to seal. */
struct fk_ticket_singles {
    uint32_t life_ms; /* never 0 */
    size_t count;     /* 1 at least */
    struct fk_ticket_single items[FK_TICKET_SINGLES_MAX];
};

#define FK_TICKET_SINGLES_WIRE_MAX (4 + 1 + FK_TICKET_SINGLES_MAX * 80)

/*
 * TICKET_SEAL: request: n u8 | mode u8 | owner 32. Answer: life u32 | n u8 | n times: name 16 | aes
 * 32 | mac 32. The caller wipes what was decoded. FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_FORMAT
 * (no ticket, too many), FK_ERR_RANGE (life).
 */
int fk_ticket_seal_decode(struct fk_reader payload, uint8_t *ret_count, struct fk_ticket_use *ret);
void fk_ticket_seal_encode(uint8_t count, const struct fk_ticket_use *use, struct fk_writer *out);
int fk_ticket_singles_decode(struct fk_reader payload, struct fk_ticket_singles *ret);
void fk_ticket_singles_encode(const struct fk_ticket_singles *singles, struct fk_writer *out);

/* The answer to TICKET_UNSEAL: the keys of the ticket that was named. */
struct fk_ticket_opened {
    bool renew; /* the client is to get another ticket */
    uint8_t aes[32];
    uint8_t mac[32];
};

#define FK_TICKET_OPENED_WIRE 65

/*
 * TICKET_UNSEAL: request: name 16 | mode u8 | owner 32. Answer: renew u8 | aes 32 | mac 32.
 * FK_ERR_TRUNCATED, FK_ERR_TRAILING, FK_ERR_RANGE (renew).
 */
int fk_ticket_open_decode(struct fk_reader payload, uint8_t ret_name[16],
                          struct fk_ticket_use *ret);
void fk_ticket_open_encode(const uint8_t name[16], const struct fk_ticket_use *use,
                           struct fk_writer *out);
int fk_ticket_opened_decode(struct fk_reader payload, struct fk_ticket_opened *ret);
void fk_ticket_opened_encode(const struct fk_ticket_opened *opened, struct fk_writer *out);

#endif
