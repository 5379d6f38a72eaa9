/* AEADs by OpenSSL's EVP: see aead.h. */
#include "tls/aead_priv.h"

#include "base/err.h"
#include "base/list.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <stdlib.h>

struct evp_aead {
    struct fk_aead aead;
    EVP_CIPHER_CTX *ctx;
};

static EVP_CIPHER_CTX *ctx_of(struct fk_aead *aead)
{
    return fk_container(aead, struct evp_aead, aead)->ctx;
}

/* What failed is told by the return value alone. */
static bool done(bool ok)
{
    if (!ok)
        ERR_clear_error();
    return ok;
}

static bool knows(const struct fk_suite *suite)
{
    return suite->protection != FK_PROTECT_CBC;
}

static void free_aead(struct fk_aead *aead)
{
    EVP_CIPHER_CTX_free(ctx_of(aead));
    free(fk_container(aead, struct evp_aead, aead));
}

static struct fk_aead *make(const struct fk_suite *suite, const uint8_t *key, bool seal)
{
    const EVP_CIPHER *cipher = fk_suite_cipher(suite);
    struct evp_aead *evp = calloc(1, sizeof *evp);

    if (evp == NULL)
        return NULL;
    evp->aead.library = &fk_aead_evp;
    evp->ctx = cipher == NULL ? NULL : EVP_CIPHER_CTX_new();
    if (evp->ctx != NULL && done(EVP_CipherInit_ex(evp->ctx, cipher, NULL, key, NULL, seal) == 1))
        return &evp->aead;
    free_aead(&evp->aead);
    return NULL;
}

/*
 * EVP_Cipher() is what libssl's own records go through: it spares checks that are of no use here.
 * It is no way to end: ChaCha20-Poly1305 then does nothing.
 */
static bool step(struct fk_aead *aead, uint8_t *out, const uint8_t *in, size_t len)
{
    return done(EVP_Cipher(ctx_of(aead), out, in, (unsigned)len) >= 0);
}

static bool start(struct fk_aead *aead, const uint8_t nonce[FK_AEAD_NONCE], const uint8_t *aad,
                  size_t aad_len)
{
    return done(EVP_CipherInit_ex(ctx_of(aead), NULL, NULL, NULL, nonce, -1) == 1 &&
                step(aead, NULL, aad, aad_len));
}

static bool seal_end(struct fk_aead *aead, uint8_t ret_tag[FK_AEAD_TAG])
{
    OSSL_PARAM tag[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, ret_tag, FK_AEAD_TAG),
                        OSSL_PARAM_END};
    int len;

    return done(EVP_CipherFinal_ex(ctx_of(aead), ret_tag, &len) == 1 &&
                EVP_CIPHER_CTX_get_params(ctx_of(aead), tag) == 1);
}

static int open_end(struct fk_aead *aead, const uint8_t tag[FK_AEAD_TAG])
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *)(uintptr_t)tag, FK_AEAD_TAG),
        OSSL_PARAM_END};
    uint8_t none[FK_AEAD_TAG];
    int len;

    if (!done(EVP_CIPHER_CTX_set_params(ctx_of(aead), params) == 1))
        return FK_ERR_CRYPTO;
    return done(EVP_CipherFinal_ex(ctx_of(aead), none, &len) == 1) ? FK_OK : FK_ERR_VERIFY;
}

const struct fk_aead_library fk_aead_evp = {.name = "openssl",
                                            .knows = knows,
                                            .make = make,
                                            .free = free_aead,
                                            .start = start,
                                            .step = step,
                                            .seal = seal_end,
                                            .open = open_end};
