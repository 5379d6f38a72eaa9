/* PEM files. See pem.h. Buffers that held a private key are wiped. */
#include "cli/pem.h"

#include "base/err.h"
#include "base/secret.h"
#include "cli/files.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <stdlib.h>

#define MODE_SECRET 0600
#define MODE_PUBLIC 0644

/* Keys with a passphrase are refused rather than asked for: commands run unattended. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static void *parse_key(BIO *bio)
{
    return PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
}

static void *parse_cert(BIO *bio)
{
    return PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
}

static void *parse_request(BIO *bio)
{
    return PEM_read_bio_X509_REQ(bio, NULL, no_passphrase, NULL);
}

static void *parse_crl(BIO *bio)
{
    return PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL);
}

static int read_object(const char *path, void *(*parse)(BIO *bio), void **ret)
{
    uint8_t *data = NULL;
    size_t len = 0;
    BIO *bio;
    void *object;
    int err = fk_file_read(path, &data, &len);

    if (err != FK_OK)
        return err;
    bio = BIO_new_mem_buf(data, (int)len);
    object = bio == NULL ? NULL : parse(bio);
    BIO_free(bio);
    fk_wipe(data, len);
    free(data);
    if (object == NULL)
        return FK_ERR_FORMAT;
    *ret = object;
    return FK_OK;
}

int fk_pem_read_key(const char *path, EVP_PKEY **ret)
{
    void *object = NULL;
    int err = read_object(path, parse_key, &object);

    if (err == FK_OK)
        *ret = object;
    return err;
}

int fk_pem_read_cert(const char *path, X509 **ret)
{
    void *object = NULL;
    int err = read_object(path, parse_cert, &object);

    if (err == FK_OK)
        *ret = object;
    return err;
}

int fk_pem_read_request(const char *path, X509_REQ **ret)
{
    void *object = NULL;
    int err = read_object(path, parse_request, &object);

    if (err == FK_OK)
        *ret = object;
    return err;
}

int fk_pem_read_crl(const char *path, X509_CRL **ret)
{
    void *object = NULL;
    int err = read_object(path, parse_crl, &object);

    if (err == FK_OK)
        *ret = object;
    return err;
}

/* Write what a BIO gathered, then wipe and free it. */
static int write_bio(const char *path, BIO *bio, bool ok, mode_t mode)
{
    char *data = NULL;
    long len = bio == NULL ? 0 : BIO_get_mem_data(bio, &data);
    int err = ok && len > 0 ? fk_file_write(path, data, (size_t)len, mode) : FK_ERR_CRYPTO;

    if (len > 0)
        fk_wipe(data, (size_t)len);
    BIO_free(bio);
    return err;
}

int fk_pem_write_key(const char *path, EVP_PKEY *key, bool replace)
{
    BIO *bio;

    if (!replace && fk_file_exists(path))
        return FK_ERR_DUPLICATE;
    bio = BIO_new(BIO_s_secmem());
    return write_bio(path, bio,
                     bio != NULL &&
                         PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL),
                     MODE_SECRET);
}

int fk_pem_write_cert(const char *path, X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());

    return write_bio(path, bio, bio != NULL && PEM_write_bio_X509(bio, cert), MODE_PUBLIC);
}

int fk_pem_write_request(const char *path, X509_REQ *request)
{
    BIO *bio = BIO_new(BIO_s_mem());

    return write_bio(path, bio, bio != NULL && PEM_write_bio_X509_REQ(bio, request), MODE_PUBLIC);
}

int fk_pem_write_public(const char *path, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    return write_bio(path, bio, bio != NULL && PEM_write_bio_PUBKEY(bio, key), MODE_PUBLIC);
}

int fk_pem_write_crl(const char *path, X509_CRL *crl)
{
    BIO *bio = BIO_new(BIO_s_mem());

    return write_bio(path, bio, bio != NULL && PEM_write_bio_X509_CRL(bio, crl), MODE_PUBLIC);
}
