/* Sealing and opening keys that are lent: see lend.h. */
#include "signer/lend.h"

#include "base/err.h"
#include "base/secret.h"
#include "signer/key_numbers.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#define LABEL      "farkey lending 1"
#define LABEL_ONCE "farkey lending 1 once"
#define BINDING    32
#define INNER_MAX  (FK_SHARE_DATA_MAX + FK_SEAL_OVERHEAD)

/* SHA-256 over the request and the answer's head: what both seals are for. */
static int make_binding(struct fk_reader request, const uint8_t *head, size_t head_len,
                        uint8_t ret[BINDING])
{
    static const char label[] = "farkey lending binding 1";
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
             EVP_DigestUpdate(ctx, label, sizeof label) == 1 &&
             EVP_DigestUpdate(ctx, request.next, request.left) == 1 &&
             EVP_DigestUpdate(ctx, head, head_len) == 1 && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

int fk_lend_key_parse(const void *text, size_t len, uint8_t ret[FK_LEND_KEY])
{
    BIO *bio = len > FK_KEY_FILE_MAX ? NULL : BIO_new_mem_buf(text, (int)len);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
    size_t size = FK_LEND_KEY;
    int err = FK_ERR_FORMAT;

    if (key != NULL && EVP_PKEY_get_id(key) == EVP_PKEY_X25519 &&
        EVP_PKEY_get_raw_private_key(key, ret, &size) == 1 && size == FK_LEND_KEY)
        err = FK_OK;
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    return err;
}

/* --- sealing --- */

static int seal_numbers(EVP_PKEY *key, const struct fk_lend *op, const uint8_t binding[BINDING],
                        uint8_t ret[INNER_MAX + FK_SEAL_OVERHEAD], size_t *ret_len)
{
    const struct fk_seal_context once = {LABEL_ONCE, binding, BINDING};
    const struct fk_seal_context recipient = {LABEL, binding, BINDING};
    uint8_t numbers[FK_SHARE_DATA_MAX], inner[INNER_MAX];
    size_t len = fk_key_numbers_size(key);
    int err = fk_key_numbers_get(key, numbers);

    if (err == FK_OK)
        err = fk_seal_to(op->once, &once, numbers, len, inner);
    fk_wipe(numbers, sizeof numbers);
    if (err == FK_OK)
        err = fk_seal_to(op->recipient, &recipient, inner, len + FK_SEAL_OVERHEAD, ret);
    if (err == FK_OK)
        *ret_len = len + (size_t)2 * FK_SEAL_OVERHEAD;
    return err;
}

static int seal(EVP_PKEY *key, struct fk_reader request, const struct fk_lend *op,
                struct fk_lend_answer *answer, uint8_t ret[FK_LEND_ANSWER_MAX], size_t *ret_len)
{
    uint8_t sealed[INNER_MAX + FK_SEAL_OVERHEAD], binding[BINDING];
    struct fk_writer writer;
    size_t head, len;
    int err;

    fk_writer_init(&writer, ret, FK_LEND_ANSWER_MAX);
    fk_lend_answer_encode_head(answer, &writer);
    if ((err = fk_writer_end(&writer, &head)) != FK_OK ||
        (err = make_binding(request, ret, head, binding)) != FK_OK ||
        (err = seal_numbers(key, op, binding, sealed, &len)) != FK_OK)
        return err;
    fk_writer_vec16(&writer, sealed, len);
    return fk_writer_end(&writer, ret_len);
}

int fk_lend_seal(EVP_PKEY *key, struct fk_reader request, const struct fk_lend *op,
                 const struct fk_lend_terms *terms, uint8_t ret[FK_LEND_ANSWER_MAX],
                 size_t *ret_len)
{
    struct fk_lend_answer answer = {.seconds = terms->seconds, .permissions = terms->permissions};
    unsigned char *spki = NULL;
    int len = i2d_PUBKEY(key, &spki), err;

    if (len <= 0) {
        ERR_clear_error();
        return FK_ERR_CRYPTO;
    }
    fk_reader_init(&answer.spki, spki, (size_t)len);
    err = seal(key, request, op, &answer, ret, ret_len);
    OPENSSL_free(spki);
    return err;
}

/* --- opening --- */

/* The public half: DER to its end, of a type that is served. */
static int read_public(struct fk_reader spki, EVP_PKEY **ret)
{
    const unsigned char *at = spki.next;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)spki.left);
    int err = FK_ERR_FORMAT;

    if (key != NULL && at == spki.next + spki.left)
        err = fk_key_check(key);
    ERR_clear_error();
    if (err == FK_OK)
        *ret = key;
    else
        EVP_PKEY_free(key);
    return err;
}

static int open_numbers(const struct fk_lend_keys *keys, const uint8_t binding[BINDING],
                        struct fk_reader sealed, uint8_t ret[FK_SHARE_DATA_MAX], size_t *ret_len)
{
    const struct fk_seal_context once = {LABEL_ONCE, binding, BINDING};
    const struct fk_seal_context recipient = {LABEL, binding, BINDING};
    uint8_t inner[INNER_MAX];
    struct fk_reader reader;
    size_t len;
    int err;

    if ((err = fk_seal_open(keys->recipient, &recipient, sealed, inner, sizeof inner, &len)) !=
        FK_OK)
        return err;
    fk_reader_init(&reader, inner, len);
    return fk_seal_open(keys->once, &once, reader, ret, FK_SHARE_DATA_MAX, ret_len);
}

int fk_lend_open(const struct fk_lend_keys *keys, struct fk_reader request, struct fk_reader answer,
                 struct fk_lend_terms *ret_terms, EVP_PKEY **ret_key)
{
    uint8_t numbers[FK_SHARE_DATA_MAX], binding[BINDING];
    EVP_PKEY *public_key = NULL;
    struct fk_lend_answer parts;
    size_t len = 0;
    int err;

    if ((err = fk_lend_answer_decode(answer, &parts)) != FK_OK ||
        (err = make_binding(request, answer.next, answer.left - 2 - parts.sealed.left, binding)) !=
            FK_OK)
        return err;
    if ((err = open_numbers(keys, binding, parts.sealed, numbers, &len)) == FK_OK &&
        (err = read_public(parts.spki, &public_key)) == FK_OK)
        err = fk_key_numbers_join(public_key, numbers, len, ret_key);
    fk_wipe(numbers, sizeof numbers);
    EVP_PKEY_free(public_key);
    if (err == FK_OK)
        *ret_terms = (struct fk_lend_terms){parts.seconds, parts.permissions};
    return err;
}
