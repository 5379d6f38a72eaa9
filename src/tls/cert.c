/* Reading chains: see cert.h. */
#include "tls/cert.h"

#include "base/err.h"
#include "base/limits.h"
#include "tls/rkey.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>

/* What is known of the leaf once all certificates are read. */
static int describe(struct fk_cert *cert)
{
    EVP_PKEY *key = X509_get0_pubkey(cert->leaf);

    if (key == NULL)
        return FK_ERR_UNSUPPORTED;
    cert->type = EVP_PKEY_get_base_id(key);
    if (cert->type != EVP_PKEY_RSA && cert->type != EVP_PKEY_EC && cert->type != EVP_PKEY_ED25519)
        return FK_ERR_UNSUPPORTED;
    return fk_ski_of_key(key, cert->ski);
}

/* Takes `x509`. */
static int add(struct fk_cert *cert, X509 *x509)
{
    if (cert->leaf == NULL) {
        cert->leaf = x509;
        return FK_OK;
    }
    if (sk_X509_num(cert->chain) >= FK_EDGE_CHAIN_MAX - 1) {
        X509_free(x509);
        return FK_ERR_LIMIT;
    }
    if (sk_X509_push(cert->chain, x509) <= 0) {
        X509_free(x509);
        return FK_ERR_NOMEM;
    }
    return FK_OK;
}

static int finish(struct fk_cert *cert, int err, struct fk_cert *ret)
{
    if (err == FK_OK && cert->leaf == NULL)
        err = FK_ERR_FORMAT;
    if (err == FK_OK)
        err = describe(cert);
    if (err == FK_OK)
        *ret = *cert;
    else
        fk_cert_fini(cert);
    ERR_clear_error();
    return err;
}

/* One PEM block of any kind: certificates are added, a private key is an error. */
static int add_pem(struct fk_cert *cert, OSSL_LIB_CTX *libctx, const char *name,
                   const uint8_t *data, long len)
{
    const uint8_t *next = data;
    X509 *x509;

    if (strstr(name, "PRIVATE KEY") != NULL)
        return FK_ERR_DENIED;
    if (strcmp(name, PEM_STRING_X509) != 0 && strcmp(name, PEM_STRING_X509_OLD) != 0)
        return FK_OK; /* parameters and the like: passed over */
    if ((x509 = X509_new_ex(libctx, NULL)) == NULL)
        return FK_ERR_NOMEM;
    if (d2i_X509(&x509, &next, len) == NULL)
        return FK_ERR_FORMAT; /* d2i has freed it */
    return add(cert, x509);
}

int fk_cert_from_pem(OSSL_LIB_CTX *libctx, const void *pem, size_t len, struct fk_cert *ret)
{
    struct fk_cert cert = {.chain = sk_X509_new_null()};
    BIO *bio = BIO_new_mem_buf(pem, len > INT_MAX ? INT_MAX : (int)len);
    char *name, *header;
    uint8_t *data;
    long data_len;
    int err = FK_OK;

    if (bio == NULL || cert.chain == NULL)
        err = FK_ERR_NOMEM;
    while (err == FK_OK && PEM_read_bio(bio, &name, &header, &data, &data_len) == 1) {
        err = add_pem(&cert, libctx, name, data, data_len);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)data_len);
    }
    BIO_free(bio);
    return finish(&cert, err, ret);
}

int fk_cert_from_der(OSSL_LIB_CTX *libctx, struct fk_reader chain, struct fk_cert *ret)
{
    struct fk_cert cert = {.chain = sk_X509_new_null()};
    struct fk_reader der;
    int err = cert.chain == NULL ? FK_ERR_NOMEM : FK_OK;

    while (err == FK_OK && chain.left > 0) {
        X509 *x509 = X509_new_ex(libctx, NULL);
        const uint8_t *next;

        if (x509 == NULL || (err = fk_reader_vec16(&chain, &der)) != FK_OK) {
            X509_free(x509);
            err = x509 == NULL ? FK_ERR_NOMEM : err;
            break;
        }
        next = der.next;
        if (d2i_X509(&x509, &next, (long)der.left) == NULL)
            err = FK_ERR_FORMAT; /* d2i has freed it */
        else
            err = add(&cert, x509);
    }
    return finish(&cert, err, ret);
}

int64_t fk_cert_not_after(const struct fk_cert *cert)
{
    struct tm end;

    /* A time that is none was refused when the certificate was read. */
    return ASN1_TIME_to_tm(X509_get0_notAfter(cert->leaf), &end) == 1 ? timegm(&end) : 0;
}

void fk_cert_fini(struct fk_cert *cert)
{
    X509_free(cert->leaf);
    sk_X509_pop_free(cert->chain, X509_free);
    *cert = (struct fk_cert){0};
}
