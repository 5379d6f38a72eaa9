/*
 * OpenSSL's objects as allocations that fail on demand: see failcrypto_dep in failmalloc.h. Inside
 * OpenSSL nothing fails, only what this project asks it for.
 */
#include "failmalloc.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/* An object of OpenSSL's that cannot be made leaves an error in its queue, too. */
static bool due(void)
{
    if (!failmalloc_due())
        return false;
    ERR_raise(ERR_LIB_CRYPTO, ERR_R_MALLOC_FAILURE);
    return true;
}

/* `params` with their types, `args` without: the original is called unless it is to fail. */
#define WRAP(type, name, params, args)            \
    type *__real_##name params;                   \
    type *__wrap_##name params;                   \
    type *__wrap_##name params                    \
    {                                             \
        return due() ? NULL : __real_##name args; \
    }

WRAP(SSL_CTX, SSL_CTX_new, (const SSL_METHOD *method), (method))
WRAP(SSL_CTX, SSL_CTX_new_ex, (OSSL_LIB_CTX * libctx, const char *props, const SSL_METHOD *method),
     (libctx, props, method))
WRAP(SSL, SSL_new, (SSL_CTX * ctx), (ctx))
WRAP(BIO, BIO_new, (const BIO_METHOD *method), (method))
WRAP(BIO, BIO_new_mem_buf, (const void *data, int len), (data, len))
WRAP(BN_CTX, BN_CTX_new, (void), ())
WRAP(EC_GROUP, EC_GROUP_new_by_curve_name, (int nid), (nid))
WRAP(EC_POINT, EC_POINT_new, (const EC_GROUP *group), (group))
WRAP(EVP_MD_CTX, EVP_MD_CTX_new, (void), ())
WRAP(EVP_CIPHER_CTX, EVP_CIPHER_CTX_new, (void), ())
WRAP(EVP_KDF_CTX, EVP_KDF_CTX_new, (EVP_KDF * kdf), (kdf))
WRAP(EVP_PKEY_CTX, EVP_PKEY_CTX_new_from_pkey,
     (OSSL_LIB_CTX * libctx, EVP_PKEY *pkey, const char *props), (libctx, pkey, props))
WRAP(EVP_PKEY_CTX, EVP_PKEY_CTX_new_from_name,
     (OSSL_LIB_CTX * libctx, const char *name, const char *props), (libctx, name, props))
WRAP(OSSL_DECODER_CTX, OSSL_DECODER_CTX_new_for_pkey,
     (EVP_PKEY * *pkey, const char *type, const char *structure, const char *key, int selection,
      OSSL_LIB_CTX *libctx, const char *props),
     (pkey, type, structure, key, selection, libctx, props))
WRAP(X509, X509_new_ex, (OSSL_LIB_CTX * libctx, const char *props), (libctx, props))
WRAP(X509_STORE, X509_STORE_new, (void), ())
WRAP(X509_STORE_CTX, X509_STORE_CTX_new, (void), ())
WRAP(OPENSSL_STACK, OPENSSL_sk_new_null, (void), ())
WRAP(void, CRYPTO_zalloc, (size_t size, const char *file, int line), (size, file, line))
WRAP(void, CRYPTO_secure_malloc, (size_t size, const char *file, int line), (size, file, line))
WRAP(void, CRYPTO_secure_zalloc, (size_t size, const char *file, int line), (size, file, line))
