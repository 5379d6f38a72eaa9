/*
 * A back-end of a token that is made of keys in memory, and of whatever a test wants to go wrong:
 * for tests of what stands before a back-end (signer/private.h, token/crew.h). The back-ends
 * themselves are tested with true tokens, end to end.
 */
#ifndef FK_TESTS_UNIT_SOFTTOKEN_H
#define FK_TESTS_UNIT_SOFTTOKEN_H

#include "unit.h"
#include "unit_keys.h"

#include "base/err.h"
#include "base/list.h"
#include "signer/keyset_token.h"
#include "signer/ops.h"
#include "token/back.h"

#include <openssl/rsa.h>
#include <unistd.h>

/* A set whose one key is in a token; `key` is the caller's. */
static inline struct fk_keyset *soft_set(EVP_PKEY *key, uint16_t permissions,
                                         const struct fk_token_settings *settings,
                                         uint8_t ret_ski[20])
{
    const struct fk_token_place place = {.label = "label", .id = {1, 2}, .id_len = 2};
    struct fk_keyset_builder *builder;
    struct fk_key_public public;
    struct fk_keyset *set;
    int fd;

    assert_ok(fk_keyset_builder_new(&builder));
    assert_ok(fk_key_describe(key, &public));
    snprintf(public.name, sizeof public.name, "soft");
    public.permissions = permissions;
    memcpy(ret_ski, public.ski, 20);
    assert_ok(fk_keyset_builder_add_token(builder, &public, key, &place));
    assert_ok(fk_keyset_builder_token(builder, settings));
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    assert_ok(fk_keyset_open(fd, &set));
    close(fd);
    return set;
}

static inline int soft_sign(EVP_PKEY *key, const struct fk_private_ask *ask, uint8_t *ret,
                            size_t *ret_len)
{
    static const char *const names[FK_HASH_COUNT] = {"SHA1", "SHA224", "SHA256", "SHA384",
                                                     "SHA512"};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool pss = ask->variant >= FK_RSA_PSS;
    const char *name = names[(size_t)ask->variant % FK_HASH_COUNT];

    *ret_len = FK_SIGNER_RESULT_MAX;
    assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
    if (ask->entry->public.type == FK_KEY_RSA) {
        assert_int_equal(
            EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, EVP_get_digestbyname(name)), 1);
        if (pss)
            assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    assert_int_equal(EVP_PKEY_sign(ctx, ret, ret_len, ask->data, ask->len), 1);
    EVP_PKEY_CTX_free(ctx);
    return FK_OK;
}

static inline int soft_raw(EVP_PKEY *key, const struct fk_private_ask *ask, uint8_t *ret)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    size_t len = ask->len;

    assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
    assert_int_equal(EVP_PKEY_decrypt(ctx, ret, &len, ask->data, ask->len), 1);
    EVP_PKEY_CTX_free(ctx);
    return FK_OK;
}

#endif
