/*
 * Inside of the remote-key provider: what its files share. Not for anybody else.
 *
 * All state hangs on the provider's context and its keys; the only global is the thread's current
 * handshake (rkey.c), so that a loadable provider can use the same dispatch tables.
 */
#ifndef FK_TLS_RKEY_PROVIDER_H
#define FK_TLS_RKEY_PROVIDER_H

#include "tls/rkey.h"
#include "wire/keyop_secret.h"

#include <openssl/core_dispatch.h>

#define FK_RKEY_PROVIDER "farkey"
#define FK_RKEY_PROPERTY "provider=" FK_RKEY_PROVIDER

/* Import parameter (octet pointer): the back-end of a key. Without it a key is a public key only.
 */
#define FK_RKEY_PARAM_BACK "farkey-back"

struct fk_rkey_provider {
    const OSSL_CORE_HANDLE *handle;
    OSSL_LIB_CTX *libctx; /* where public keys live: that of the application (built in) */
};

/* What an algorithm family calls itself. */
struct fk_rkey_type {
    enum fk_key_type type;
    const char *name; /* as OpenSSL's EVP_PKEY_is_a() knows it */
    const char *private_param;
};

/* A key: the public half, and who has the other one. */
struct fk_rkey {
    struct fk_rkey_provider *provider;
    const struct fk_rkey_type *type;
    EVP_PKEY *public_key; /* of the default provider, never with a private part */
    struct fk_keyback *back;
    uint8_t ski[20];
    size_t size; /* of a signature or ciphertext at most */
};

/*
 * Carry one operation out: fills key, SKI and context in, submits, and pauses the handshake's job
 * until the answer is here. The answer (at most `size` bytes) is moved to `out`. Errors are raised
 * on OpenSSL's queue and kept in the session. FK_ERR_INVAL outside of a handshake's job.
 */
int fk_rkey_run(const struct fk_rkey *key, struct fk_key_request *request, uint8_t *out,
                size_t size, size_t *ret_len);

/* The same with an operation that is filled in but for the context. */
int fk_rkey_ask(struct fk_keyback *back, struct fk_key_request *request, uint8_t *out, size_t size,
                size_t *ret_len);

/* The handshake that runs now in this thread; NULL: none. */
struct fk_rkey_session *fk_rkey_current(void);

/* Put an error on OpenSSL's queue, and in the current session when there is one. Returns `err`. */
int fk_rkey_raise(int err, const char *what);

/* What providers that are built in have in common: the library context that one is loaded into
 * (NULL: the default one; FK_ERR_UNSUPPORTED), and its registration and activation, behind those
 * that are there (FK_ERR_CRYPTO). */
int fk_provider_libctx(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, OSSL_LIB_CTX **ret);
int fk_provider_add(OSSL_LIB_CTX *libctx, const char *name, OSSL_provider_init_fn *init);
/* And what they say of themselves: that they run, and their name. `name` is borrowed for good. */
const OSSL_PARAM *fk_provider_gettable_params(void *provctx);
int fk_provider_tell(const char *name, OSSL_PARAM params[]);
/* And the hash that libssl means by a name of OpenSSL's; 0: none that a suite here has. */
enum fk_prf fk_provider_hash(const char *name);

extern const OSSL_DISPATCH fk_rkey_keymgmt_rsa[];
extern const OSSL_DISPATCH fk_rkey_keymgmt_ec[];
extern const OSSL_DISPATCH fk_rkey_keymgmt_ed25519[];
extern const OSSL_DISPATCH fk_rkey_signature_rsa[];
extern const OSSL_DISPATCH fk_rkey_signature_ec[];
extern const OSSL_DISPATCH fk_rkey_signature_ed25519[];
extern const OSSL_DISPATCH fk_rkey_decrypt_rsa[];

#endif
