/* Keys of the audit log: see audit_keys.h. */
#include "signer/audit_keys.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

/* HKDF-Expand of one block: HMAC(secret, label | context | 1). */
static int derive(const uint8_t secret[32], const char *label, const uint8_t *context, size_t len,
                  uint8_t ret[32])
{
    struct fk_writer writer;
    uint8_t info[64];

    fk_writer_init(&writer, info, sizeof info);
    fk_writer_bytes(&writer, label, strlen(label));
    fk_writer_bytes(&writer, context, len);
    fk_writer_u8(&writer, 1);
    if (writer.err != FK_OK)
        return writer.err;
    return HMAC(EVP_sha256(), secret, 32, info, writer.len, ret, NULL) != NULL ? FK_OK
                                                                               : FK_ERR_CRYPTO;
}

#define TAGGED (FK_AUDIT_ID_SIZE - 6)

static int make_tag(const uint8_t secret[32], const uint8_t id[TAGGED], uint8_t ret[32])
{
    return derive(secret, "farkey audit id 1", id, TAGGED, ret);
}

int fk_audit_id_new(const uint8_t secret[32], uint64_t wall_us, uint8_t ret[FK_AUDIT_ID_SIZE])
{
    uint8_t id[TAGGED], tag[32];
    uint64_t ms = wall_us / 1000;
    int err;

    for (int i = 0; i < 6; i++)
        id[i] = (uint8_t)(ms >> (40 - 8 * i));
    if (RAND_bytes(id + 6, sizeof id - 6) != 1)
        return FK_ERR_CRYPTO;
    if ((err = make_tag(secret, id, tag)) != FK_OK)
        return err;
    memcpy(ret, id, sizeof id);
    memcpy(ret + sizeof id, tag, FK_AUDIT_ID_SIZE - sizeof id);
    fk_wipe(tag, sizeof tag);
    return FK_OK;
}

int fk_audit_id_check(const uint8_t secret[32], const uint8_t id[FK_AUDIT_ID_SIZE],
                      uint64_t *ret_ms)
{
    uint8_t tag[32];
    uint64_t ms = 0;
    int err = make_tag(secret, id, tag);

    if (err == FK_OK && !fk_equal_ct(tag, id + TAGGED, FK_AUDIT_ID_SIZE - TAGGED))
        err = FK_ERR_VERIFY;
    fk_wipe(tag, sizeof tag); /* of an invented id it is what would have made it good */
    if (err != FK_OK)
        return err;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id[i];
    *ret_ms = ms;
    return FK_OK;
}

int fk_audit_chain_key(const uint8_t secret[32], const uint8_t id[FK_AUDIT_ID_SIZE],
                       uint8_t ret[FK_AUDIT_KEY_SIZE])
{
    return derive(secret, "farkey audit chain 1", id, FK_AUDIT_ID_SIZE, ret);
}

int fk_audit_sign_key(const uint8_t secret[32], EVP_PKEY **ret)
{
    uint8_t seed[32];
    EVP_PKEY *key;
    int err = derive(secret, "farkey audit checkpoint 1", NULL, 0, seed);

    if (err != FK_OK)
        return err;
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
    fk_wipe(seed, sizeof seed);
    if (key == NULL) {
        ERR_clear_error();
        return FK_ERR_CRYPTO;
    }
    *ret = key;
    return FK_OK;
}

void fk_audit_checkpoint_tbs(const uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE], uint64_t wall_us,
                             uint8_t ret[FK_AUDIT_TBS_SIZE])
{
    static const char label[32] = "farkey audit checkpoint 1";
    struct fk_writer writer;

    fk_writer_init(&writer, ret, FK_AUDIT_TBS_SIZE);
    fk_writer_bytes(&writer, label, sizeof label);
    fk_writer_bytes(&writer, payload, FK_AUDIT_CHECKPOINT_SIZE);
    fk_writer_u64(&writer, wall_us);
}
