/*
 * One kind of token: how it is opened, and how its keys are used. Implemented by pkcs11.c and
 * tpm2.c, used by crew.c, which says when each may be called. Its keys are the private halves
 * (signer/private.h) of a set's entries, by session: one thread uses a session at a time.
 */
#ifndef FK_TOKEN_BACK_H
#define FK_TOKEN_BACK_H

#include "signer/keyset.h"
#include "signer/keyset_token.h"
#include "signer/private.h"

#define FK_TOKEN_WHY_SIZE 160

struct fk_token_back;

struct fk_token_back_ops {
    /*
     * Reach the token, give it the PIN once, make sessions, find the keys; one that is not there is
     * logged, and counts as not found later. No other call is under way. FK_ERR_TOKEN,
     * FK_ERR_PIN, FK_ERR_NOMEM, with the reason in `why`.
     */
    int (*open)(struct fk_token_back *back);
    /* Undo that, however far it came. No other call is under way. */
    void (*close)(struct fk_token_back *back);
    /* Whether it is still there. Beside operations, but not beside the two above. FK_ERR_TOKEN. */
    int (*look)(struct fk_token_back *back);
    /* The keys in session `index`. As `look`. */
    struct fk_private *(*session)(struct fk_token_back *back, unsigned index);
    void (*free)(struct fk_token_back *back);
};

struct fk_token_back {
    const struct fk_token_back_ops *ops;
    const struct fk_token_settings *settings; /* of the set */
    const struct fk_keyset *set;
    size_t n_found;              /* keys, when it was opened last */
    char why[FK_TOKEN_WHY_SIZE]; /* why it could not be opened */
};

/* For the set's token (not NULL); the set must outlive it. FK_ERR_NOMEM. */
int fk_pkcs11_new(const struct fk_keyset *set, struct fk_token_back **ret);
int fk_tpm2_new(const struct fk_keyset *set, struct fk_token_back **ret);

#endif
