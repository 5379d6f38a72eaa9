/*
 * A share on its way: sealed by who holds it, opened by the signer that combines. Each is sealed
 * afresh, for one operation: whoever catches it can bring it again for that operation alone, whose
 * answer the edge has got. Or for one handshake that the key server makes: what will have to be
 * signed in it nobody knows then, so a handshaker that is not true can use it for others.
 */
#include "base/err.h"
#include "base/writer.h"
#include "signer/share_priv.h"
#include "wire/keymsg.h"

#include <openssl/err.h>
#include <string.h>

#define LABEL_SHARE  "farkey key share 1"
#define LABEL_POWER  "farkey partial power 1"
#define CONTEXT_SIZE (FK_KEYSHARE_SET + 1 + FK_SHARE_BINDING)

int fk_share_binding(uint8_t opcode, const uint8_t ski[20], const void *payload, size_t len,
                     uint8_t ret[FK_SHARE_BINDING])
{
    static const char label[] = "farkey share binding 1";
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
             EVP_DigestUpdate(ctx, label, sizeof label) == 1 &&
             EVP_DigestUpdate(ctx, &opcode, 1) == 1 && EVP_DigestUpdate(ctx, ski, 20) == 1 &&
             EVP_DigestUpdate(ctx, payload, len) == 1 && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

int fk_share_binding_open(const uint8_t ski[20], const uint8_t digest[FK_SHARE_DIGEST],
                          uint8_t ret[FK_SHARE_BINDING])
{
    return fk_share_binding(FK_OP_HS_OPEN, ski, digest, FK_SHARE_DIGEST, ret);
}

/* What it is sealed for; the combining signer is in it by its public key (tls/seal.h). */
static struct fk_seal_context make_context(const struct fk_share *share, uint8_t index,
                                           const uint8_t binding[FK_SHARE_BINDING],
                                           uint8_t bytes[CONTEXT_SIZE])
{
    const struct fk_seal_context context = {
        share->scheme == FK_SHARE_SHAMIR ? LABEL_SHARE : LABEL_POWER, bytes, CONTEXT_SIZE};

    memcpy(bytes, share->set, FK_KEYSHARE_SET);
    bytes[FK_KEYSHARE_SET] = index;
    memcpy(bytes + FK_KEYSHARE_SET + 1, binding, FK_SHARE_BINDING);
    return context;
}

int fk_share_seal(const struct fk_share *share, struct fk_reader plain,
                  const uint8_t binding[FK_SHARE_BINDING], uint8_t ret[FK_SHARE_ITEM_MAX],
                  size_t *ret_len)
{
    uint8_t bytes[CONTEXT_SIZE];
    const struct fk_seal_context context = make_context(share, share->index, binding, bytes);
    struct fk_keyshare item = {.index = share->index};
    struct fk_writer writer;
    size_t head;
    int err;

    if (plain.left > FK_SHARE_DATA_MAX)
        return FK_ERR_LIMIT;
    memcpy(item.id, share->id, sizeof item.id);
    memcpy(item.set, share->set, sizeof item.set);
    fk_writer_init(&writer, ret, FK_SHARE_ITEM_MAX);
    fk_keyshare_encode_head(&item, &writer);
    if ((err = fk_writer_end(&writer, &head)) != FK_OK)
        return err;
    err = fk_seal_to(share->combiner, &context, plain.next, plain.left, ret + head);
    if (err == FK_OK)
        *ret_len = head + FK_SEAL_OVERHEAD + plain.left;
    return err;
}

/* Whose it claims to be: nothing is opened that cannot fit. */
static int check_claims(const struct fk_share *own, const struct fk_keyshare *item)
{
    if (memcmp(own->id, item->id, sizeof own->id) != 0 || /* public */
        memcmp(own->set, item->set, sizeof own->set) != 0)
        return FK_ERR_SHARE_FOREIGN;
    if (item->index == own->index)
        return FK_ERR_SHARE_REPEATED;
    if (own->k > 2)
        return FK_ERR_SHARE_MISSING;
    return item->index > own->n ? FK_ERR_SHARE_WRONG : FK_OK;
}

static int open_sealed(const struct fk_share *own, const struct fk_keyshare *item,
                       const uint8_t binding[FK_SHARE_BINDING], uint8_t ret[FK_SHARE_DATA_MAX],
                       size_t *ret_len)
{
    uint8_t bytes[CONTEXT_SIZE];
    const struct fk_seal_context context = make_context(own, item->index, binding, bytes);
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, own->seal_key.next, own->seal_key.left);
    int err;

    if (key == NULL)
        return FK_ERR_CRYPTO;
    err = fk_seal_open(key, &context, item->sealed, ret, FK_SHARE_DATA_MAX, ret_len);
    EVP_PKEY_free(key);
    return err;
}

/* The plain text of an item: FK_SHARE_DATA_MAX bytes at `ret`, which the caller wipes. */
static int open_item(const struct fk_share *own, struct fk_reader bytes,
                     const uint8_t binding[FK_SHARE_BINDING], uint8_t *ret_index, uint8_t *ret,
                     size_t *ret_len)
{
    struct fk_keyshare item;
    int err;

    if ((err = fk_keyshare_decode(bytes, &item)) != FK_OK ||
        (err = check_claims(own, &item)) != FK_OK)
        return err;
    *ret_index = item.index;
    err = open_sealed(own, &item, binding, ret, ret_len);
    ERR_clear_error();
    /* A length that cannot be, or a key of small order (FK_ERR_CRYPTO), is what somebody else made
     * of it, too. */
    return err == FK_OK || err == FK_ERR_NOMEM ? err : FK_ERR_SHARE_WRONG;
}

int fk_share_rebuild(const struct fk_share *own, EVP_PKEY *public_key, struct fk_reader item,
                     const uint8_t binding[FK_SHARE_BINDING], EVP_PKEY **ret)
{
    uint8_t opened[FK_SHARE_DATA_MAX];
    const uint8_t *data[] = {own->data.next, opened};
    uint8_t x[] = {own->index, 0};
    struct fk_reader reader;
    size_t len;
    int err;

    if ((err = open_item(own, item, binding, &x[1], opened, &len)) == FK_OK) {
        fk_reader_init(&reader, opened, len);
        if ((err = fk_share_check(own, x[1], reader)) == FK_OK)
            err = fk_share_join(own, public_key, x, data, ret);
    }
    fk_wipe(opened, sizeof opened);
    ERR_clear_error();
    return err;
}

/* --- powers --- */

void fk_share_power_encode(const struct fk_share_power *power, struct fk_writer *out)
{
    fk_writer_vec8(out, power->salt, power->salt_len);
    fk_writer_bytes(out, power->power, power->size);
}

int fk_share_power_decode(struct fk_reader bytes, size_t size, struct fk_share_power *ret)
{
    struct fk_reader salt;

    if (fk_reader_vec8(&bytes, &salt) != FK_OK || salt.left > sizeof ret->salt ||
        bytes.left != size || size > sizeof ret->power)
        return FK_ERR_SHARE_WRONG;
    ret->salt_len = salt.left;
    ret->size = size;
    if (fk_reader_copy(&salt, ret->salt, salt.left) != FK_OK)
        return FK_ERR_SHARE_WRONG;
    return fk_reader_copy(&bytes, ret->power, size);
}

int fk_share_power_open(const struct fk_share *own, struct fk_reader item,
                        const uint8_t binding[FK_SHARE_BINDING], struct fk_share_power *ret)
{
    uint8_t opened[FK_SHARE_DATA_MAX], index;
    struct fk_reader reader;
    size_t len;
    int err;

    if ((err = open_item(own, item, binding, &index, opened, &len)) == FK_OK) {
        fk_reader_init(&reader, opened, len);
        err = fk_share_power_decode(reader, own->data.left, ret);
    }
    fk_wipe(opened, sizeof opened);
    return err;
}
