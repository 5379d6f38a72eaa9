/*
 * The audit log's file: lines are chained, gathered, and written in batches. Belongs to the audit
 * process; no lines are lost by a write that fails, it is tried again with the same bytes.
 *
 * Texts of lines: "chain=ID v=1 previous=HEAD" (the first line of a chain; HEAD is "-" for the
 * first of all), "continue=ID previous=HEAD" (a new file), "checkpoint t=MICROSECONDS sig=HEX", and
 * "front=I " with a front's line. Only the last kind has bytes that came from elsewhere.
 */
#ifndef FK_KEYD_AUDIT_BOOK_H
#define FK_KEYD_AUDIT_BOOK_H

#include "base/limits.h"
#include "keyd/audit_chain.h"
#include "keyd/audit_line.h"

#include <stdbool.h>

/* A whole line: a front's line, its prefix, number and MAC. */
#define FK_AUDIT_ROW_MAX (16 + FK_AUDIT_LINE_MAX + FK_AUDIT_CHAIN_ROOM)

struct fk_audit_book {
    struct fk_audit_chain chain;
    bool open; /* a chain was begun */
    int fd;    /* owned */
    bool sync;
    size_t done; /* bytes of `out` written */
    size_t len;
    char out[FK_AUDIT_BATCH];
};

/* FK_ERR_NOMEM. No file yet. */
int fk_audit_book_init(struct fk_audit_book *book);
void fk_audit_book_fini(struct fk_audit_book *book); /* closes, wipes; writes nothing */

/* Whether another line surely fits before the next fk_audit_book_flush(). */
bool fk_audit_book_room(const struct fk_audit_book *book);

/*
 * Write to `fd` (taken; opened O_RDWR | O_APPEND) from now on. A first file whose last line is
 * incomplete gets a newline. Later ones: what is unwritten goes to the old file if it can, and the
 * new one begins with a "continue" line. FK_ERR_CRYPTO.
 */
int fk_audit_book_use(struct fk_audit_book *book, int fd);

/* Begin a chain; `previous` is the head before it, NULL: none. FK_ERR_LIMIT, FK_ERR_CRYPTO. */
int fk_audit_book_begin(struct fk_audit_book *book, const uint8_t id[FK_AUDIT_ID_SIZE],
                        const uint8_t key[FK_AUDIT_KEY_SIZE], const struct fk_audit_head *previous);

/* A line of front `front`, without newline; what is not printable becomes '?'. */
int fk_audit_book_line(struct fk_audit_book *book, unsigned front, const char *text, size_t len);

/* A signer's answer to fk_audit_chain_checkpoint(): no line may have come between. */
int fk_audit_book_checkpoint(struct fk_audit_book *book, uint64_t wall_us,
                             const uint8_t sig[FK_AUDIT_SIG_SIZE]);

/* Write what was gathered. FK_ERR_SYS (errno): the rest is kept for the next call. */
int fk_audit_book_flush(struct fk_audit_book *book);

#endif
