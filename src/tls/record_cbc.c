/*
 * Records under AES-CBC and HMAC, TLS 1.2: MAC-then-encrypt (RFC 5246 section 6.2.3.2) and
 * encrypt-then-MAC (RFC 7366). For sessions that others have agreed on: no role of ours offers
 * these suites.
 *
 * With MAC-then-encrypt neither the time nor the alert may tell a bad padding from a bad MAC
 * ("Lucky Thirteen"). OpenSSL's provider has this solved for libssl, by parameters that are open to
 * all: its cipher takes padding and MAC off in constant time and puts a random MAC in place of the
 * one of a bad padding; its HMAC takes the same time for every length that the record could have.
 */
#include "tls/record_priv.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#define BLOCK   16 /* also the explicit IV */
#define MAC_MAX FK_SUITE_MAC_MAX

static size_t prefix(const struct fk_record *record)
{
    (void)record;
    return FK_RECORD_HEAD + BLOCK;
}

static size_t overhead(const struct fk_record *record)
{
    return FK_RECORD_HEAD + BLOCK + record->keys->suite->mac_len + BLOCK;
}

/* --- contexts --- */

/* By which the cipher knows that it has records of TLS to take apart. */
static bool set_record_mode(EVP_CIPHER_CTX *ctx, size_t mac_len)
{
    unsigned version = FK_TLS12;
    const OSSL_PARAM params[] = {OSSL_PARAM_uint(OSSL_CIPHER_PARAM_TLS_VERSION, &version),
                                 OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_TLS_MAC_SIZE, &mac_len),
                                 OSSL_PARAM_END};

    return EVP_CIPHER_CTX_set_params(ctx, params) == 1;
}

static EVP_CIPHER_CTX *get_cipher(const struct fk_record *record, struct fk_record_half *half,
                                  bool encrypt)
{
    static const uint8_t no_iv[BLOCK];
    const EVP_CIPHER *cipher = fk_suite_cipher(record->keys->suite);
    bool record_mode = !encrypt && !record->keys->encrypt_then_mac;
    EVP_CIPHER_CTX *ctx;

    if (half->ctx != NULL)
        return half->ctx;
    ctx = cipher == NULL ? NULL : EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_CipherInit_ex(ctx, cipher, NULL, half->keys->key, no_iv, encrypt) != 1 ||
        (record_mode ? !set_record_mode(ctx, record->keys->suite->mac_len)
                     : EVP_CIPHER_CTX_set_padding(ctx, 0) != 1)) {
        EVP_CIPHER_CTX_free(ctx);
        return NULL;
    }
    return half->ctx = ctx;
}

/* A keyed HMAC for one record: a copy of the direction's own. The caller frees it. */
static EVP_MAC_CTX *new_mac(const struct fk_record *record, struct fk_record_half *half)
{
    const struct fk_suite *suite = record->keys->suite;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)suite->mac, 0),
        OSSL_PARAM_END};
    EVP_MAC *hmac = fk_suite_hmac();

    if (half->mac == NULL) {
        half->mac = hmac == NULL ? NULL : EVP_MAC_CTX_new(hmac);
        if (half->mac == NULL ||
            EVP_MAC_init(half->mac, half->keys->mac_key, suite->mac_len, params) != 1) {
            EVP_MAC_CTX_free(half->mac);
            half->mac = NULL;
            return NULL;
        }
    }
    return EVP_MAC_CTX_dup(half->mac);
}

struct authentic {
    uint64_t seq;
    uint8_t type;
    const uint8_t *data;
    size_t len;  /* of the data */
    size_t span; /* if not 0: what `len` could be, which is secret, in constant time */
};

/* HMAC over number, type, version, length, data. */
static int make_mac(const struct fk_record *record, struct fk_record_half *half,
                    const struct authentic *what, uint8_t ret[MAC_MAX])
{
    size_t span = what->span, len;
    const OSSL_PARAM params[] = {OSSL_PARAM_size_t(OSSL_MAC_PARAM_TLS_DATA_SIZE, &span),
                                 OSSL_PARAM_END};
    EVP_MAC_CTX *mac = new_mac(record, half);
    uint8_t head[13];
    bool ok;

    fk_put_u64(head, what->seq);
    head[8] = what->type;
    fk_put_u16(head + 9, FK_TLS12);
    fk_put_u16(head + 11, what->len);
    ok = mac != NULL && (span == 0 || EVP_MAC_CTX_set_params(mac, params) == 1) &&
         EVP_MAC_update(mac, head, sizeof head) == 1 &&
         EVP_MAC_update(mac, what->data, what->len) == 1 &&
         EVP_MAC_final(mac, ret, &len, MAC_MAX) == 1;
    EVP_MAC_CTX_free(mac);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

/* --- sealing --- */

static void gather(struct fk_pieces *pieces, size_t len, uint8_t *at)
{
    while (len > 0) {
        size_t part;
        const uint8_t *from = fk_pieces_next(pieces, len, &part);

        if (from != at)
            memmove(at, from, part);
        at += part;
        len -= part;
    }
}

/* RFC 5246 section 6.2.3.2: 1 to 16 bytes, each one less than their number. */
static size_t pad(uint8_t *at, size_t len)
{
    size_t padding = BLOCK - len % BLOCK;

    memset(at + len, (int)(padding - 1), padding);
    return len + padding;
}

/* `body`: IV, then `len` bytes, a multiple of the block. */
static bool encrypt_body(struct fk_record *record, uint8_t *body, size_t len)
{
    EVP_CIPHER_CTX *ctx = get_cipher(record, &record->write, true);
    int done;

    return ctx != NULL && RAND_bytes(body, BLOCK) == 1 &&
           EVP_CipherInit_ex(ctx, NULL, NULL, NULL, body, -1) == 1 &&
           EVP_EncryptUpdate(ctx, body + BLOCK, &done, body + BLOCK, (int)len) == 1 &&
           done == (int)len;
}

/* The content is at its place. *ret_len: bytes of the body. */
static int protect(struct fk_record *record, uint8_t type, uint8_t *body, size_t len,
                   size_t *ret_len)
{
    struct fk_record_half *half = &record->write;
    struct authentic what = {half->keys->seq, type, body + BLOCK, len, 0};
    size_t mac_len = record->keys->suite->mac_len;
    int err;

    if (record->keys->encrypt_then_mac) {
        len = pad(body + BLOCK, len);
        if (!encrypt_body(record, body, len))
            return FK_ERR_CRYPTO;
        what.data = body;
        what.len = BLOCK + len;
        *ret_len = BLOCK + len + mac_len;
        return make_mac(record, half, &what, body + BLOCK + len);
    }
    if ((err = make_mac(record, half, &what, body + BLOCK + len)) != FK_OK)
        return err;
    len = pad(body + BLOCK, len + mac_len);
    *ret_len = BLOCK + len;
    return encrypt_body(record, body, len) ? FK_OK : FK_ERR_CRYPTO;
}

static int encrypt(struct fk_record *record, uint8_t type, struct fk_pieces *pieces, size_t len,
                   uint8_t *out, size_t *ret_len)
{
    size_t body_len;
    int err;

    gather(pieces, len, out + prefix(record));
    err = protect(record, type, out + FK_RECORD_HEAD, len, &body_len);
    if (err != FK_OK) {
        ERR_clear_error();
        return err;
    }
    out[0] = type;
    fk_put_u16(out + 1, FK_TLS12);
    fk_put_u16(out + 3, body_len);
    *ret_len = FK_RECORD_HEAD + body_len;
    return FK_OK;
}

/* --- opening --- */

/* RFC 7366 section 3: nothing is decrypted before its MAC is right. */
static int open_then(struct fk_record *record, struct fk_cryptogram *gram)
{
    size_t mac_len = record->keys->suite->mac_len, padding;
    struct authentic what = {record->read.keys->seq, gram->type, gram->body, 0, 0};
    EVP_CIPHER_CTX *ctx = get_cipher(record, &record->read, false);
    uint8_t mac[MAC_MAX];
    int done;

    if (gram->len < 2 * BLOCK + mac_len || (gram->len - mac_len) % BLOCK != 0)
        return FK_ERR_VERIFY;
    what.len = gram->len -= mac_len;
    if (ctx == NULL || make_mac(record, &record->read, &what, mac) != FK_OK)
        return FK_ERR_CRYPTO;
    if (!fk_equal_ct(mac, gram->body + gram->len, mac_len))
        return FK_ERR_VERIFY;
    if (EVP_CipherInit_ex(ctx, NULL, NULL, NULL, gram->body, -1) != 1 ||
        EVP_DecryptUpdate(ctx, gram->body + BLOCK, &done, gram->body + BLOCK,
                          (int)(gram->len - BLOCK)) != 1)
        return FK_ERR_CRYPTO;
    gram->body += BLOCK;
    gram->len -= BLOCK;
    /* By who has the keys: no oracle. */
    padding = (size_t)gram->body[gram->len - 1] + 1;
    if (padding > gram->len)
        return FK_ERR_VERIFY;
    for (size_t i = 1; i <= padding; i++)
        if (gram->body[gram->len - i] != padding - 1)
            return FK_ERR_VERIFY;
    gram->len -= padding;
    return FK_OK;
}

/* The MAC that the cipher took out of the record, valid until its next. */
static const uint8_t *taken_mac(EVP_CIPHER_CTX *ctx, size_t mac_len)
{
    void *mac = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_octet_ptr(OSSL_CIPHER_PARAM_TLS_MAC, &mac, mac_len),
                           OSSL_PARAM_END};

    return EVP_CIPHER_CTX_get_params(ctx, params) == 1 ? mac : NULL;
}

/* From here to the comparison the content's length is secret. */
static int open_mac(struct fk_record *record, struct fk_cryptogram *gram)
{
    size_t mac_len = record->keys->suite->mac_len;
    struct authentic what = {record->read.keys->seq, gram->type, gram->body + BLOCK, 0,
                             gram->len - BLOCK};
    EVP_CIPHER_CTX *ctx = get_cipher(record, &record->read, false);
    const uint8_t *taken;
    uint8_t mac[MAC_MAX];
    int done;

    if (gram->len % BLOCK != 0 || gram->len < BLOCK + mac_len + 1)
        return FK_ERR_VERIFY;
    if (ctx == NULL)
        return FK_ERR_CRYPTO;
    if (EVP_DecryptUpdate(ctx, gram->body, &done, gram->body, (int)gram->len) != 1)
        return FK_ERR_VERIFY; /* wrong for all to see */
    what.len = (size_t)done;
    if ((taken = taken_mac(ctx, mac_len)) == NULL ||
        make_mac(record, &record->read, &what, mac) != FK_OK)
        return FK_ERR_CRYPTO;
    if (!fk_equal_ct(mac, taken, mac_len))
        return FK_ERR_VERIFY;
    gram->body += BLOCK;
    gram->len = what.len;
    return FK_OK;
}

static int decrypt(struct fk_record *record, struct fk_cryptogram *gram)
{
    int err = record->keys->encrypt_then_mac ? open_then(record, gram) : open_mac(record, gram);

    if (err != FK_OK) {
        ERR_clear_error();
        return err;
    }
    return gram->len > FK_RECORD_PLAIN_MAX ? FK_ERR_LIMIT : FK_OK;
}

const struct fk_record_ops fk_record_cbc_ops = {
    .prefix = prefix, .overhead = overhead, .encrypt = encrypt, .decrypt = decrypt};
