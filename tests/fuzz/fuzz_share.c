/*
 * signer: a share of a split key. The first byte chooses: a file (PEM), a share's bytes, an item of
 * the wire, what is sealed in it of an additive share, or what a key server asks another for.
 * Whatever they are, they are refused or what was read makes the same bytes again.
 */
#include "check.h"

#include "base/err.h"
#include "signer/share.h"

#include <string.h>

static void use(struct fk_reader bytes)
{
    uint8_t binding[FK_SHARE_BINDING] = {0}, item[FK_SHARE_ITEM_MAX];
    EVP_PKEY *public = NULL, *key = NULL;
    struct fk_reader reader;
    struct fk_share share;
    size_t len;

    if (fk_share_decode(bytes, &share) != FK_OK)
        return;
    CHECK(share.k >= 2 && share.k <= share.n && share.index >= 1 && share.index <= share.n);
    CHECK(share.hashes.left == 32U * share.n && share.data.left <= FK_SHARE_DATA_MAX);
    CHECK(fk_share_prove(&share, 1, &key) == FK_ERR_SHARE_MISSING);
    if (fk_share_seal(&share, share.data, binding, item, &len) != FK_OK ||
        fk_share_public(&share, &public) != FK_OK)
        return;
    fk_reader_init(&reader, item, len);
    if (share.seal_key.left > 0)
        CHECK(fk_share_rebuild(&share, public, reader, binding, &key) == FK_ERR_SHARE_REPEATED);
    if (share.scheme == FK_SHARE_ADDITIVE)
        CHECK(share.n == 2 && (share.reject.left == 32) == (share.index == 1));
    EVP_PKEY_free(public);
}

static void use_file(const uint8_t *data, size_t size)
{
    struct fk_secret *bytes, *text, *again;
    struct fk_reader reader;
    size_t len;

    if (fk_share_from_pem(data, size, &bytes) != FK_OK)
        return;
    CHECK(fk_share_to_pem(bytes, &text, &len) == FK_OK);
    CHECK(fk_share_from_pem(fk_secret_bytes(text), len, &again) == FK_OK);
    CHECK(fk_secret_len(again) == fk_secret_len(bytes) &&
          fk_equal_ct(fk_secret_bytes(again), fk_secret_bytes(bytes), fk_secret_len(bytes)));
    fk_reader_init(&reader, fk_secret_bytes(bytes), fk_secret_len(bytes));
    use(reader);
    fk_secret_free(again);
    fk_secret_free(text);
    fk_secret_free(bytes);
}

static void use_item(const uint8_t *data, size_t size)
{
    uint8_t head[FK_KEYSHARE_HEAD];
    struct fk_keyshare item;
    struct fk_reader reader;
    struct fk_writer writer;
    size_t len;

    fk_reader_init(&reader, data, size);
    if (fk_keyshare_decode(reader, &item) != FK_OK)
        return;
    fk_writer_init(&writer, head, sizeof head);
    fk_keyshare_encode_head(&item, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK && len == FK_KEYSHARE_HEAD);
    CHECK(memcmp(head, data, len) == 0 && item.sealed.left == size - len);
}

/* The first two bytes: the modulus's length. */
static void use_power(const uint8_t *data, size_t size)
{
    uint8_t bytes[1 + FK_EMSA_SALT_MAX + FK_POWER_MAX];
    struct fk_share_power power;
    struct fk_reader reader;
    struct fk_writer writer;
    uint16_t modulus;
    size_t len;

    fk_reader_init(&reader, data, size);
    if (fk_reader_u16(&reader, &modulus) != FK_OK ||
        fk_share_power_decode(reader, modulus, &power) != FK_OK)
        return;
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_share_power_encode(&power, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK && len == reader.left);
    CHECK(memcmp(bytes, reader.next, len) == 0);
}

static void use_ask(const uint8_t *data, size_t size)
{
    uint8_t bytes[1024];
    struct fk_share_ask ask;
    struct fk_reader reader;
    struct fk_writer writer;
    size_t len;

    fk_reader_init(&reader, data, size);
    if (size > sizeof bytes || fk_share_ask_decode(reader, &ask) != FK_OK)
        return;
    CHECK(ask.payload.left > 0);
    fk_writer_init(&writer, bytes, sizeof bytes);
    fk_share_ask_encode(&ask, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK && len == size);
    CHECK(memcmp(bytes, data, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_reader reader;

    if (size == 0)
        return 0;
    switch (data[0] % 5) {
    case 0:
        use_file(data + 1, size - 1);
        break;
    case 1:
        fk_reader_init(&reader, data + 1, size - 1);
        use(reader);
        break;
    case 2:
        use_item(data + 1, size - 1);
        break;
    case 3:
        use_power(data + 1, size - 1);
        break;
    default:
        use_ask(data + 1, size - 1);
    }
    return 0;
}
