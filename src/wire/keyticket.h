/*
 * TICKET_KEYS of farkey/1 (docs/wire-key.md): the keys with which edges that serve the same sites
 * seal and open session tickets. Sans-I/O.
 */
#ifndef FK_WIRE_KEYTICKET_H
#define FK_WIRE_KEYTICKET_H

#include "base/limits.h"
#include "base/reader.h"
#include "base/writer.h"

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

#endif
