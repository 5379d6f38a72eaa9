/*
 * signer: what may stand in a NAME.key file. Whatever does, it is a key of the types that are
 * served, which can be described and goes through a signer's bundle unchanged, or it is refused.
 *
 * A passphrase is given to the old PEM encryption only: how long that of PKCS#8 takes is the file's
 * to say, and files are the operator's.
 */
#include "check.h"

#include "base/err.h"
#include "base/limits.h"
#include "signer/keyset.h"

#include <openssl/x509.h>
#include <string.h>

static void check_described(EVP_PKEY *key, struct fk_key_public *ret)
{
    CHECK(fk_key_describe(key, ret) == FK_OK);
    if (ret->type == FK_KEY_RSA)
        CHECK(ret->bits >= 2048 && ret->bits <= 4096);
    else if (ret->type == FK_KEY_EC)
        CHECK(ret->bits == 256 || ret->bits == 384 || ret->bits == 521);
    else
        CHECK(ret->type == FK_KEY_ED25519);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool legacy = memmem(data, size, "DEK-Info:", 9) != NULL &&
                  memmem(data, size, "BEGIN ENCRYPTED", 15) == NULL;
    struct fk_key_public public, again;
    EVP_PKEY *key = NULL, *copy = NULL;
    unsigned char *der = NULL;
    int err = fk_key_parse(data, size, legacy ? "farkey" : NULL, &key), len;

    if (err != FK_OK) {
        CHECK(key == NULL);
        CHECK(err == FK_ERR_FORMAT || err == FK_ERR_PASSPHRASE || err == FK_ERR_UNSUPPORTED ||
              err == FK_ERR_LIMIT || err == FK_ERR_CRYPTO);
        return 0;
    }
    check_described(key, &public);
    CHECK((len = i2d_PrivateKey(key, &der)) > 0);
    CHECK(fk_key_parse(der, (size_t)len, NULL, &copy) == FK_OK);
    check_described(copy, &again);
    CHECK(memcmp(public.ski, again.ski, sizeof public.ski) == 0 &&
          memcmp(public.digest, again.digest, sizeof public.digest) == 0);
    OPENSSL_clear_free(der, (size_t)len);
    EVP_PKEY_free(copy);
    EVP_PKEY_free(key);
    return 0;
}
