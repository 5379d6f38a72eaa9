/*
 * What a signer does for the audit log: begins chains and signs checkpoints.
 *
 * A chain's id is chosen here, so its first MAC key is given out once and never again: an audit
 * process that is taken over later cannot ask for the past. A checkpoint is signed for chains that
 * a signer began, with this process's clock, and never for fewer lines than before.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/writer.h"
#include "signer/audit_keys.h"
#include "signer/ops_local.h"

#include <string.h>

int fk_op_audit_start(struct fk_op_call *call)
{
    const uint8_t *secret = fk_keyset_audit(call->ops->set);
    uint8_t id[FK_AUDIT_ID_SIZE];
    int err;

    if ((err = fk_reader_end(&call->payload)) != FK_OK)
        return err;
    if (secret == NULL)
        return FK_ERR_KEY_NOT_FOUND;
    if ((err = fk_audit_id_new(secret, fk_clock_wall_us(), id)) != FK_OK)
        return err;
    memcpy(call->ret, id, sizeof id);
    if ((err = fk_audit_chain_key(secret, id, call->ret + sizeof id)) != FK_OK)
        return err;
    call->ret_len = FK_AUDIT_START_ANSWER;
    return FK_OK;
}

/* A place for a chain that is not known yet. The oldest one leaves a full table, and with it go all
 * that are as old: none of them can come back with fewer lines. FK_ERR_REPLAY: it was one. */
static int add_chain(struct fk_ops *ops, const uint8_t id[FK_AUDIT_ID_SIZE], uint64_t ms,
                     struct fk_chain_state **ret)
{
    struct fk_chain_state *place = &ops->chains[0];

    if (ms <= ops->forgotten_ms)
        return FK_ERR_REPLAY;
    if (ops->n_chains < FK_SIGNER_CHAINS_MAX) {
        place = &ops->chains[ops->n_chains++];
    } else {
        for (size_t i = 1; i < FK_SIGNER_CHAINS_MAX; i++)
            if (ops->chains[i].ms < place->ms)
                place = &ops->chains[i];
        ops->forgotten_ms = place->ms > ops->forgotten_ms ? place->ms : ops->forgotten_ms;
    }
    memcpy(place->id, id, sizeof place->id);
    place->ms = ms;
    place->lines = 0;
    *ret = place;
    return FK_OK;
}

/* Remember how far a chain has come. FK_ERR_VERIFY: no signer began it; FK_ERR_REPLAY: it was
 * further already. */
static int advance_chain(struct fk_ops *ops, const uint8_t id[FK_AUDIT_ID_SIZE], uint64_t lines)
{
    struct fk_chain_state *chain = NULL;
    uint64_t ms;
    int err = fk_audit_id_check(fk_keyset_audit(ops->set), id, &ms);

    if (err != FK_OK)
        return err;
    for (size_t i = 0; i < ops->n_chains && chain == NULL; i++)
        if (memcmp(ops->chains[i].id, id, FK_AUDIT_ID_SIZE) == 0)
            chain = &ops->chains[i];
    if (chain == NULL && (err = add_chain(ops, id, ms, &chain)) != FK_OK)
        return err;
    if (lines < chain->lines)
        return FK_ERR_REPLAY;
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
