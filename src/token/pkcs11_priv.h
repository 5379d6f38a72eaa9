/* Shared by the files that use a PKCS#11 module; see pkcs11.c. */
#ifndef FK_TOKEN_PKCS11_PRIV_H
#define FK_TOKEN_PKCS11_PRIV_H

#include "token/back.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>

struct fk_pkcs11;

struct fk_pkcs11_session {
    struct fk_private private;
    struct fk_pkcs11 *token;
    CK_SESSION_HANDLE handle;
    bool is_open;
};

struct fk_pkcs11 {
    struct fk_token_back back;
    void *library;
    CK_FUNCTION_LIST *calls; /* NULL: not loaded */
    bool initialised;
    CK_SLOT_ID slot;
    struct fk_pkcs11_session sessions[FK_TOKEN_SESSIONS_MAX + 1]; /* the last one to look with */
    CK_OBJECT_HANDLE *keys; /* by the entry's position; CK_INVALID_HANDLE: not there */
};

/* The session that no worker uses. */
static inline struct fk_pkcs11_session *fk_pkcs11_own(struct fk_pkcs11 *token)
{
    return &token->sessions[token->back.settings->sessions];
}

/* What a return value means: FK_OK, FK_ERR_TOKEN (the token or the session has gone), FK_ERR_PIN,
 * FK_ERR_UNSUPPORTED, FK_ERR_NOMEM, FK_ERR_CRYPTO (all else). */
int fk_pkcs11_error(CK_RV rv);

/* --- pkcs11_key.c --- */

extern const struct fk_private_ops fk_pkcs11_private_ops;
/* Find the private keys of all entries; each that is not there is logged. FK_ERR_TOKEN. */
int fk_pkcs11_find_keys(struct fk_pkcs11 *token);

#endif
