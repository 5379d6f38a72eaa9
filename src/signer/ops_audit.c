/*
 * What a signer does for the audit log: begins chains and signs checkpoints.
 *
 * A chain's id is chosen here, so its first MAC key is given out once and never again: an audit
 * process that is taken over later cannot ask for the past. A checkpoint is signed with this
 * process's clock and never for fewer lines than before.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/audit_keys.h"
#include "signer/ops_local.h"

#include <openssl/rand.h>
#include <string.h>

int fk_op_audit_start(struct fk_op_call *call)
{
    const uint8_t *secret = fk_keyset_audit(call->ops->set);
    uint8_t id[FK_AUDIT_ID_SIZE];
    struct fk_writer writer;
    int err;

    if ((err = fk_reader_end(&call->payload)) != FK_OK)
        return err;
    if (secret == NULL)
        return FK_ERR_KEY_NOT_FOUND;
    fk_writer_init(&writer, id, sizeof id);
    fk_writer_u64(&writer, fk_clock_wall_us());
    if (RAND_bytes(id + 8, sizeof id - 8) != 1)
        return FK_ERR_CRYPTO;
    memcpy(call->ret, id, sizeof id);
    if ((err = fk_audit_chain_key(secret, id, call->ret + sizeof id)) != FK_OK)
        return err;
    call->ret_len = FK_AUDIT_START_ANSWER;
    return FK_OK;
}

/* Remember how far a chain has come; FK_ERR_REPLAY when it was further already. */
static int advance_chain(struct fk_ops *ops, const uint8_t id[FK_AUDIT_ID_SIZE], uint64_t lines)
{
    size_t count = ops->n_chains < FK_SIGNER_CHAINS_MAX ? ops->n_chains : FK_SIGNER_CHAINS_MAX;
    struct fk_chain_state *chain;

    for (size_t i = 0; i < count; i++) {
        chain = &ops->chains[i];
        if (memcmp(chain->id, id, sizeof chain->id) != 0)
            continue;
        if (lines < chain->lines)
            return FK_ERR_REPLAY;
        chain->lines = lines;
        return FK_OK;
    }
    chain = &ops->chains[ops->n_chains++ % FK_SIGNER_CHAINS_MAX];
    memcpy(chain->id, id, sizeof chain->id);
    chain->lines = lines;
    return FK_OK;
}

int fk_op_audit_checkpoint(struct fk_op_call *call)
{
    uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE], tbs[FK_AUDIT_TBS_SIZE], sig[FK_AUDIT_SIG_SIZE];
    struct fk_reader reader = call->payload;
    uint64_t lines, now = fk_clock_wall_us();
    size_t len = sizeof sig;
    struct fk_writer writer;
    EVP_MD_CTX *ctx;
    bool ok;
    int err;

    if (call->ops->audit_key == NULL)
        return FK_ERR_KEY_NOT_FOUND;
    if ((err = fk_reader_copy(&reader, payload, sizeof payload)) != FK_OK ||
        (err = fk_reader_end(&reader)) != FK_OK)
        return err;
    reader = call->payload;
    if ((err = fk_reader_skip(&reader, FK_AUDIT_ID_SIZE)) != FK_OK ||
        (err = fk_reader_u64(&reader, &lines)) != FK_OK ||
        (err = advance_chain(call->ops, payload, lines)) != FK_OK)
        return err;
    fk_audit_checkpoint_tbs(payload, now, tbs);
    ctx = EVP_MD_CTX_new();
    if (ctx == NULL)
        return FK_ERR_NOMEM;
    ok = EVP_DigestSignInit(ctx, NULL, NULL, NULL, call->ops->audit_key) == 1 &&
         EVP_DigestSign(ctx, sig, &len, tbs, sizeof tbs) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return FK_ERR_CRYPTO;
    fk_writer_init(&writer, call->ret, FK_SIGNER_RESULT_MAX);
    fk_writer_u64(&writer, now);
    fk_writer_bytes(&writer, sig, len);
    return fk_writer_end(&writer, &call->ret_len);
}
