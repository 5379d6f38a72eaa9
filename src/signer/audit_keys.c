/* Keys of the audit log: see audit_keys.h. */
#include "signer/audit_keys.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"

#include <openssl/err.h>
#include <openssl/hmac.h>
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
