/*
 * Dialect 1's opcodes. They sign digests, which can be of anything, so each is the key's opt-in
 * (FK_PERM_DIGEST, FK_PERM_D1_DECRYPT), and opcode, key type and length are tied together.
 *
 * Never served: raw RSA (08), a universal oracle: denied whatever the key's policy says. MD5SHA1
 * (02, 12): TLS 1.0 and 1.1 only, which RFC 8996 forbids. SHA-1 and SHA-224 are served to keys that
 * opted in: TLS 1.2 peers of that protocol still ask for them.
 */
#include "base/err.h"
#include "signer/ops_local.h"
#include "wire/keymsg.h"

struct d1_row {
    uint8_t opcode;
    enum fk_key_type type;
    enum fk_hash hash;
    enum fk_variant variant;
};

static const struct d1_row d1_rows[] = {
    {FK_OP_RSA_SHA1, FK_KEY_RSA, FK_SHA1, FK_RSA_PKCS1 + FK_SHA1},
    {FK_OP_RSA_SHA224, FK_KEY_RSA, FK_SHA224, FK_RSA_PKCS1 + FK_SHA224},
    {FK_OP_RSA_SHA256, FK_KEY_RSA, FK_SHA256, FK_RSA_PKCS1 + FK_SHA256},
    {FK_OP_RSA_SHA384, FK_KEY_RSA, FK_SHA384, FK_RSA_PKCS1 + FK_SHA384},
    {FK_OP_RSA_SHA512, FK_KEY_RSA, FK_SHA512, FK_RSA_PKCS1 + FK_SHA512},
    {FK_OP_PSS_SHA256, FK_KEY_RSA, FK_SHA256, FK_RSA_PSS + FK_SHA256},
    {FK_OP_PSS_SHA384, FK_KEY_RSA, FK_SHA384, FK_RSA_PSS + FK_SHA384},
    {FK_OP_PSS_SHA512, FK_KEY_RSA, FK_SHA512, FK_RSA_PSS + FK_SHA512},
    {FK_OP_ECDSA_SHA1, FK_KEY_EC, FK_SHA1, 0},
    {FK_OP_ECDSA_SHA224, FK_KEY_EC, FK_SHA224, 0},
    {FK_OP_ECDSA_SHA256, FK_KEY_EC, FK_SHA256, 0},
    {FK_OP_ECDSA_SHA384, FK_KEY_EC, FK_SHA384, 0},
    {FK_OP_ECDSA_SHA512, FK_KEY_EC, FK_SHA512, 0},
    {FK_OP_ED25519, FK_KEY_ED25519, 0, 0},
};

static const struct d1_row *find_opcode(uint16_t opcode)
{
    for (size_t i = 0; i < sizeof d1_rows / sizeof d1_rows[0]; i++)
        if (d1_rows[i].opcode == opcode)
            return &d1_rows[i];
    return NULL;
}

static int sign(struct fk_op_call *call, const struct d1_row *row)
{
    const struct fk_key_public *public = &call->entry->public;

    if ((call->permissions & FK_PERM_DIGEST) == 0)
        return FK_ERR_DENIED;
    if (row->type != public->type)
        return FK_ERR_UNSUPPORTED;
    if (row->type == FK_KEY_ED25519)
        return fk_ops_sign_message(call, call->payload.next, call->payload.left);
    if (call->payload.left != fk_hash_size(row->hash))
        return FK_ERR_FORMAT;
    return fk_ops_sign_digest(call, row->variant, call->payload.next, call->payload.left);
}

int fk_op_dialect1(struct fk_op_call *call)
{
    const struct d1_row *row;

    switch (call->detail) {
    case FK_OP_RSA_DECRYPT:
        return fk_op_d1_decrypt(call);
    case FK_OP_RSA_RAW_DECRYPT:
        return FK_ERR_DENIED;
    case FK_OP_RSA_MD5SHA1:
    case FK_OP_ECDSA_MD5SHA1:
        return FK_ERR_UNSUPPORTED;
    default:
        row = find_opcode(call->detail);
        return row == NULL ? FK_ERR_OPCODE : sign(call, row);
    }
}
