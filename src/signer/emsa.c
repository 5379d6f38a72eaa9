/* Encodings of RSA signatures: see emsa.h. */
#include "signer/emsa.h"

#include "base/err.h"
#include "base/writer.h"

#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <string.h>

/* DigestInfo up to the digest itself (RFC 8017 section 9.2, note 1). */
struct prefix {
    int nid;
    uint8_t len;
    uint8_t bytes[19];
};

static const struct prefix prefixes[] = {
    {NID_sha1,
     15,
     {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}},
    {NID_sha224,
     19,
     {0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04,
      0x05, 0x00, 0x04, 0x1c}},
    {NID_sha256,
     19,
     {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
      0x05, 0x00, 0x04, 0x20}},
    {NID_sha384,
     19,
     {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02,
      0x05, 0x00, 0x04, 0x30}},
    {NID_sha512,
     19,
     {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03,
      0x05, 0x00, 0x04, 0x40}},
};

static const struct prefix *find_prefix(const EVP_MD *md)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (prefixes[i].nid == EVP_MD_get_type(md))
            return &prefixes[i];
    return NULL;
}

int fk_emsa_pkcs1(const EVP_MD *md, struct fk_reader digest, uint8_t *ret, size_t size)
{
    const struct prefix *prefix = find_prefix(md);
    struct fk_writer writer;
    size_t info, len;

    if (prefix == NULL)
        return FK_ERR_UNSUPPORTED;
    if (digest.left != (size_t)EVP_MD_get_size(md))
        return FK_ERR_INVAL;
    info = prefix->len + digest.left;
    if (size < info + 11) /* 00 01, eight bytes of ff, 00 */
        return FK_ERR_LIMIT;
    fk_writer_init(&writer, ret, size);
    fk_writer_u16(&writer, 0x0001);
    fk_writer_fill(&writer, 0xff, size - info - 3);
    fk_writer_u8(&writer, 0);
    fk_writer_bytes(&writer, prefix->bytes, prefix->len);
    fk_writer_bytes(&writer, digest.next, digest.left);
    return fk_writer_end(&writer, &len);
}

/* --- PSS --- */

/* Hash of up to three parts. */
static int hash_parts(EVP_MD_CTX *ctx, const EVP_MD *md, const struct fk_reader parts[3],
                      uint8_t *ret)
{
    if (EVP_DigestInit_ex(ctx, md, NULL) != 1)
        return FK_ERR_CRYPTO;
    for (int i = 0; i < 3; i++)
        if (parts[i].left > 0 && EVP_DigestUpdate(ctx, parts[i].next, parts[i].left) != 1)
            return FK_ERR_CRYPTO;
    return EVP_DigestFinal_ex(ctx, ret, NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

/* MGF1 (RFC 8017 appendix B.2.1) of `seed`, exclusive-or'ed to `to`. */
static int mask(EVP_MD_CTX *ctx, const EVP_MD *md, struct fk_reader seed, uint8_t *to, size_t len)
{
    size_t step = (size_t)EVP_MD_get_size(md);
    uint8_t block[EVP_MAX_MD_SIZE], counter[4] = {0};
    struct fk_reader parts[3] = {seed, {NULL, 0}, {NULL, 0}};
    int err;

    for (size_t at = 0; at < len; at += step) {
        fk_reader_init(&parts[1], counter, sizeof counter);
        if ((err = hash_parts(ctx, md, parts, block)) != FK_OK)
            return err;
        for (size_t i = 0; i < step && i < len - at; i++)
            to[at + i] ^= block[i];
        counter[3]++; /* 512 bytes of mask: 26 blocks at most */
    }
    return FK_OK;
}

/* `em` is `len` bytes: maskedDB | H | bc. */
static int encode_pss(EVP_MD_CTX *ctx, const EVP_MD *md, struct fk_reader digest,
                      struct fk_reader salt, uint8_t *em, size_t len)
{
    static const uint8_t zeros[8] = {0};
    size_t hash_len = digest.left, db_len = len - hash_len - 1;
    struct fk_reader parts[3] = {{NULL, 0}, digest, salt}, hash;
    uint8_t *at = em + db_len;
    int err;

    fk_reader_init(&parts[0], zeros, sizeof zeros);
    if ((err = hash_parts(ctx, md, parts, at)) != FK_OK)
        return err;
    memset(em, 0, db_len);
    em[db_len - salt.left - 1] = 0x01;
    if (salt.left > 0)
        memcpy(em + db_len - salt.left, salt.next, salt.left);
    fk_reader_init(&hash, at, hash_len);
    if ((err = mask(ctx, md, hash, em, db_len)) != FK_OK)
        return err;
    em[len - 1] = 0xbc;
    return FK_OK;
}

int fk_emsa_pss(const EVP_MD *md, struct fk_reader digest, struct fk_reader salt, uint8_t *ret,
                size_t bits)
{
    size_t em_bits = bits - 1, len = (em_bits + 7) / 8, size = (bits + 7) / 8;
    EVP_MD_CTX *ctx;
    int err;

    if (digest.left != (size_t)EVP_MD_get_size(md))
        return FK_ERR_INVAL;
    if (salt.left > FK_EMSA_SALT_MAX || len < digest.left + salt.left + 2)
        return FK_ERR_LIMIT;
    if ((ctx = EVP_MD_CTX_new()) == NULL)
        return FK_ERR_NOMEM;
    ret[0] = 0;
    err = encode_pss(ctx, md, digest, salt, ret + (size - len), len);
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    if (err == FK_OK) /* the bits that the modulus has no room for */
        ret[size - len] &= (uint8_t)(0xff >> (8 * len - em_bits));
    return err;
}
