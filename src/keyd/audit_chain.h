/*
 * The forward-secure chain of an audit log. Sans-I/O.
 *
 * Line i of a chain is "n=i TEXT mac=M\n", M the first 16 bytes, in hexadecimal, of
 * HMAC-SHA256(K_i, 0 | MAC_{i-1} | "n=i TEXT"). Then K_{i+1} = HMAC-SHA256(K_i, 1) and K_i is gone:
 * who takes the process over can neither change a line that is written nor cut lines and go on. K_0
 * is derived from the audit secret and the chain's id by a signer (signer/audit_keys.h), which
 * gives it out once. MAC_{-1} is zero.
 */
#ifndef FK_KEYD_AUDIT_CHAIN_H
#define FK_KEYD_AUDIT_CHAIN_H

#include "signer/audit_keys.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

/* A line's number and MAC around its text: "n=18446744073709551615 ", " mac=...", newline. */
#define FK_AUDIT_CHAIN_ROOM (2 + 20 + 1 + 5 + 32 + 1)

struct fk_audit_chain {
    uint8_t id[FK_AUDIT_ID_SIZE];
    uint64_t lines;                 /* so far: the number of the next line */
    uint8_t mac[FK_AUDIT_MAC_SIZE]; /* of the last line */
    uint8_t key[FK_AUDIT_KEY_SIZE]; /* of the next line */
    EVP_MD *md;
    EVP_MD_CTX *ctx;
};

/* FK_ERR_NOMEM. */
int fk_audit_chain_init(struct fk_audit_chain *chain);
void fk_audit_chain_fini(struct fk_audit_chain *chain); /* wipes */

/* Begin a chain; or enter one at its line 0 to check it. */
void fk_audit_chain_begin(struct fk_audit_chain *chain, const uint8_t id[FK_AUDIT_ID_SIZE],
                          const uint8_t key[FK_AUDIT_KEY_SIZE]);

/* To check a chain from line `lines` on, whose predecessor's MAC is known. FK_ERR_CRYPTO. */
int fk_audit_chain_skip(struct fk_audit_chain *chain, uint64_t lines,
                        const uint8_t mac[FK_AUDIT_MAC_SIZE]);

/*
 * Write the next line with `text` (no newline in it) to `dst`. FK_ERR_LIMIT when `size` is less
 * than len + FK_AUDIT_CHAIN_ROOM, FK_ERR_CRYPTO: then nothing has changed.
 */
int fk_audit_chain_append(struct fk_audit_chain *chain, const char *text, size_t len, char *dst,
                          size_t size, size_t *ret_len);

/* A line taken apart; everything borrows the line. */
struct fk_audit_row {
    uint64_t number;
    const char *text;
    size_t text_len;
    size_t mac_at; /* what is before it is under the MAC */
    uint8_t mac[16];
};

/* Take a line (without newline) apart. FK_ERR_FORMAT. */
int fk_audit_row_parse(const char *line, size_t len, struct fk_audit_row *ret);

/* Check the next line, already parsed, and step on. FK_ERR_VERIFY: nothing has changed. */
int fk_audit_chain_check(struct fk_audit_chain *chain, const char *line,
                         const struct fk_audit_row *row);

/* A place in a chain: after so many lines the last one's MAC is this. */
struct fk_audit_head {
    uint8_t id[FK_AUDIT_ID_SIZE];
    uint64_t lines;
    uint8_t mac[FK_AUDIT_MAC_SIZE];
};

/* "ID:LINES:MAC", with a NUL. */
#define FK_AUDIT_HEAD_MAX (2 * FK_AUDIT_ID_SIZE + 1 + 20 + 1 + 2 * FK_AUDIT_MAC_SIZE + 1)
size_t fk_audit_head_format(const struct fk_audit_head *head, char dst[FK_AUDIT_HEAD_MAX]);
int fk_audit_head_parse(const char *text, size_t len, struct fk_audit_head *ret);
void fk_audit_chain_head(const struct fk_audit_chain *chain, struct fk_audit_head *ret);

/* The payload of FK_SIGNER_AUDIT_CHECKPOINT for the lines so far. */
void fk_audit_chain_checkpoint(const struct fk_audit_chain *chain,
                               uint8_t ret[FK_AUDIT_CHECKPOINT_SIZE]);

#endif
