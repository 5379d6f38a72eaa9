/*
 * The private half of a key, as the operations (ops.h) use it: something that signs a digest and
 * raises a number to the private exponent. Keys of files are one implementation (ops_key.c), those
 * of an HSM or TPM others (token/). What may be asked of a key, and what is done with the result,
 * the operations decide: an implementation knows nothing of TLS.
 */
#ifndef FK_SIGNER_PRIVATE_H
#define FK_SIGNER_PRIVATE_H

#include "signer/keyset.h"
#include "signer/request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fk_hash { FK_SHA1, FK_SHA224, FK_SHA256, FK_SHA384, FK_SHA512, FK_HASH_COUNT };

/* Bytes of a digest. */
size_t fk_hash_size(enum fk_hash hash);

/* How an RSA key is used: also a variant of a cached context. */
enum fk_variant {
    FK_RSA_PKCS1,                              /* + enum fk_hash */
    FK_RSA_PSS = FK_RSA_PKCS1 + FK_HASH_COUNT, /* + enum fk_hash; the salt is as long as it */
    FK_RSA_RAW = FK_RSA_PSS + FK_HASH_COUNT,   /* decrypt without padding */
    FK_VARIANT_COUNT
};

/* What is asked of a private half. */
struct fk_private_ask {
    const struct fk_keyset_entry *entry; /* of the set that the operations work on */
    enum fk_variant variant;             /* RSA; else 0 */
    const uint8_t *data;                 /* a digest; for Ed25519 the whole message */
    size_t len;
};

struct fk_private;

/*
 * Both fail with FK_ERR_CRYPTO, FK_ERR_NOMEM; those of tokens also with FK_ERR_TOKEN (it is not
 * there), FK_ERR_PIN, FK_ERR_KEY_NOT_FOUND (the token does not have the key) and
 * FK_ERR_UNSUPPORTED (it does not do that).
 */
struct fk_private_ops {
    /* Whether whatever is signed is verified before it leaves, not only what RSA has signed. */
    bool verify_all;
    /* Sign: PKCS#1 or PSS of the digest's length, DER of r and s, or 64 bytes of Ed25519. */
    int (*sign)(struct fk_private *private, const struct fk_private_ask *ask,
                uint8_t ret[FK_SIGNER_RESULT_MAX], size_t *ret_len);
    /* data^d mod n; data is below n, it and the result are as long as n. */
    int (*raw)(struct fk_private *private, const struct fk_private_ask *ask, uint8_t *ret);
};

struct fk_private {
    const struct fk_private_ops *ops;
};

#endif
