/* Keys and key bundles for tests: made anew in each run, never stored. */
#ifndef FK_TESTS_UNIT_KEYS_H
#define FK_TESTS_UNIT_KEYS_H

#include "unit.h"

#include "base/err.h"
#include "signer/keyset.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>

#define UNIT_PERM_ALL                                                                         \
    (FK_PERM_SIGN13 | FK_PERM_SIGN12 | FK_PERM_DECRYPT | FK_PERM_CLIENT | FK_PERM_DIGEST |    \
     FK_PERM_D1_DECRYPT | FK_PERM_HANDSHAKE | FK_PERM_AGREE | FK_PERM_MASTER | FK_PERM_KEYS | \
     FK_PERM_EXPOSE | FK_PERM_LEND | FK_PERM_SHARE)

/* "rsa2048", "P-256", "P-384", "P-521", "ed25519". */
static inline EVP_PKEY *unit_key(const char *kind)
{
    unsigned bits;
    EVP_PKEY *key;

    if (sscanf(kind, "rsa%u", &bits) == 1)
        key = EVP_RSA_gen(bits);
    else if (strcmp(kind, "ed25519") == 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else
        key = EVP_EC_gen(kind);
    assert_non_null(key);
    return key;
}

static inline void unit_bundle_add(struct fk_keyset_builder *builder, const char *name,
                                   EVP_PKEY *key, uint16_t permissions, uint8_t ret_ski[20])
{
    struct fk_key_public public;

    assert_ok(fk_key_describe(key, &public));
    snprintf(public.name, sizeof public.name, "%s", name);
    public.permissions = permissions;
    memcpy(ret_ski, public.ski, 20);
    assert_ok(fk_keyset_builder_add(builder, &public, key));
}

#endif
