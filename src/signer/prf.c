/* The PRF by OpenSSL's TLS1-PRF: see prf.h. */
#include "signer/prf.h"

#include "base/err.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

struct fk_prf_maker {
    EVP_KDF_CTX *ctx;
};

int fk_prf_maker_new(struct fk_prf_maker **ret)
{
    struct fk_prf_maker *maker = calloc(1, sizeof *maker);
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_PRF, NULL);

    if (maker != NULL && kdf != NULL)
        maker->ctx = EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    if (maker == NULL || maker->ctx == NULL) {
        ERR_clear_error();
        free(maker);
        return FK_ERR_NOMEM;
    }
    *ret = maker;
    return FK_OK;
}

void fk_prf_maker_free(struct fk_prf_maker *maker)
{
    if (maker == NULL)
        return;
    EVP_KDF_CTX_free(maker->ctx);
    free(maker);
}

/* OpenSSL takes what it only reads as not constant. */
static OSSL_PARAM bytes_param(const char *name, const void *data, size_t len)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = data};

    return OSSL_PARAM_construct_octet_string(name, cast.out, len);
}

int fk_prf_run(struct fk_prf_maker *maker, const struct fk_prf_input *input, uint8_t *ret,
               size_t len)
{
    char sha256[] = "SHA256", sha384[] = "SHA384";
    OSSL_PARAM params[6], *next = params;
    bool ok;

    *next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                               input->prf == FK_PRF_SHA256 ? sha256 : sha384, 0);
    *next++ = bytes_param(OSSL_KDF_PARAM_SECRET, input->secret, input->secret_len);
    *next++ = bytes_param(OSSL_KDF_PARAM_SEED, input->label, strlen(input->label));
    for (size_t i = 0; i < 2; i++)
        if (input->seed[i].left > 0)
            *next++ = bytes_param(OSSL_KDF_PARAM_SEED, input->seed[i].next, input->seed[i].left);
    *next = OSSL_PARAM_construct_end();
    ok = EVP_KDF_derive(maker->ctx, ret, len, params) == 1;
    EVP_KDF_CTX_reset(maker->ctx); /* wipes its copy of the secret */
    if (!ok)
        ERR_clear_error();
    return ok ? FK_OK : FK_ERR_CRYPTO;
}
