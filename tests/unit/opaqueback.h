/*
 * A key server in memory for modes agree, master and keys: a back-end that computes by OpenSSL what
 * the operations of farkey/1 say. Operations wait until the test lets them be answered.
 */
#ifndef FK_TESTS_OPAQUEBACK_H
#define FK_TESTS_OPAQUEBACK_H

#include "tls/keyback.h"

#include <stdbool.h>

struct opaqueback {
    struct fk_keyback back;
    EVP_PKEY *key;       /* the site's private key */
    unsigned asked[256]; /* how often, by opcode; SIGN12 and DECRYPT as such */
    bool seals;          /* KEYS_KEEP gives a session that can be resumed */
    /* What goes wrong: with the operation `fail_at` (0: none). */
    uint8_t fail_at;
    int fail_with;                               /* an error in place of an answer */
    void (*spoil)(uint8_t *answer, size_t *len); /* or the answer, changed */
    /* one operation at a time */
    struct fk_key_ticket *waiting;
    /* what its handles stand for */
    EVP_PKEY *ephemeral;
    uint8_t handle[16];
    uint8_t master[48];
    size_t master_len;
};

void opaqueback_init(struct opaqueback *back, EVP_PKEY *key);
void opaqueback_fini(struct opaqueback *back);

/* Answer what waits, if anything does. */
void opaqueback_pump(struct opaqueback *back);

/* How many operations have been asked for. */
unsigned opaqueback_asked(const struct opaqueback *back);

#endif
