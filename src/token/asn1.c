/* DER of signatures: see asn1.h. */
#include "token/asn1.h"

#include "base/err.h"
#include "base/writer.h"

#include <string.h>

/* What stands before the digest: RFC 8017 section 9.2, note 1. */
struct prefix {
    uint8_t len;
    uint8_t bytes[19];
};

#define SHA2(last, digest, total)                                                               \
    {                                                                                           \
        19,                                                                                     \
        {                                                                                       \
            0x30, (total), 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 2, \
                (last), 0x05, 0, 0x04, (digest)                                                 \
        }                                                                                       \
    }

static const struct prefix prefixes[FK_HASH_COUNT] = {
    [FK_SHA1] = {15,
                 {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0, 0x04,
                  0x14}},
    [FK_SHA224] = SHA2(4, 0x1c, 0x2d),
    [FK_SHA256] = SHA2(1, 0x20, 0x31),
    [FK_SHA384] = SHA2(2, 0x30, 0x41),
    [FK_SHA512] = SHA2(3, 0x40, 0x51)};

size_t fk_digest_info(enum fk_hash hash, const uint8_t *digest, uint8_t ret[FK_DIGEST_INFO_MAX])
{
    const struct prefix *prefix = &prefixes[hash];

    memcpy(ret, prefix->bytes, prefix->len);
    memcpy(ret + prefix->len, digest, fk_hash_size(hash));
    return prefix->len + fk_hash_size(hash);
}

/* A positive INTEGER: without leading zeros, but one where the first bit would be a sign. */
static void put_integer(struct fk_writer *writer, const uint8_t *number, size_t len)
{
    while (len > 1 && *number == 0) {
        number++;
        len--;
    }
    fk_writer_u8(writer, 0x02);
    fk_writer_u8(writer, (uint8_t)(len + (*number >> 7)));
    if ((*number & 0x80) != 0)
        fk_writer_u8(writer, 0);
    fk_writer_bytes(writer, number, len);
}

int fk_ecdsa_der(const uint8_t *raw, size_t len, uint8_t ret[FK_ECDSA_DER_MAX], size_t *ret_len)
{
    uint8_t body[FK_ECDSA_DER_MAX];
    struct fk_writer writer;
    size_t body_len;
    int err;

    if (len == 0 || len % 2 != 0 || len > 2 * (size_t)FK_ECDSA_PART_MAX)
        return FK_ERR_FORMAT;
    fk_writer_init(&writer, body, sizeof body);
    put_integer(&writer, raw, len / 2);
    put_integer(&writer, raw + len / 2, len / 2);
    if ((err = fk_writer_end(&writer, &body_len)) != FK_OK)
        return err;
    fk_writer_init(&writer, ret, FK_ECDSA_DER_MAX);
    fk_writer_u8(&writer, 0x30);
    if (body_len > 127)
        fk_writer_u8(&writer, 0x81); /* the length follows in one byte */
    fk_writer_u8(&writer, (uint8_t)body_len);
    fk_writer_bytes(&writer, body, body_len);
    return fk_writer_end(&writer, ret_len);
}
