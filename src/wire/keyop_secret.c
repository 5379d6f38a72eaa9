/* Payloads of modes `master` and `keys`: see keyop_secret.h. */
#include "wire/keyop_secret.h"

#include "base/err.h"

#include <string.h>

#define RANDOM 32

size_t fk_prf_size(enum fk_prf prf)
{
    return prf == FK_PRF_SHA256 ? 32 : 48;
}

/* --- the premaster secret --- */

static int read_rsa(struct fk_reader *payload, struct fk_premaster_source *ret)
{
    struct fk_reader rest = *payload, ciphertext, whole = *payload;
    uint16_t version;
    int err;

    if ((err = fk_reader_u16(&rest, &version)) != FK_OK ||
        (err = fk_reader_vec16(&rest, &ciphertext)) != FK_OK)
        return err;
    whole.left -= rest.left;
    if ((err = fk_decrypt_decode(whole, &ret->rsa)) != FK_OK ||
        (err = fk_reader_copy(&rest, ret->random_seed, sizeof ret->random_seed)) != FK_OK)
        return err;
    *payload = rest;
    return FK_OK;
}

static int read_source(struct fk_reader *payload, struct fk_premaster_source *ret)
{
    uint8_t kind;
    int err;

    if ((err = fk_reader_u8(payload, &kind)) != FK_OK)
        return err;
    ret->kind = (enum fk_premaster_kind)kind;
    if (kind == FK_PREMASTER_AGREED)
        return fk_agree_share_read(payload, &ret->agreed);
    if (kind == FK_PREMASTER_RSA)
        return read_rsa(payload, ret);
    return FK_ERR_FORMAT;
}

static void write_source(const struct fk_premaster_source *source, struct fk_writer *out)
{
    fk_writer_u8(out, (uint8_t)source->kind);
    if (source->kind == FK_PREMASTER_AGREED) {
        fk_agree_finish_encode(&source->agreed, out);
    } else {
        fk_decrypt_encode(&source->rsa, out);
        fk_writer_bytes(out, source->random_seed, sizeof source->random_seed);
    }
}

/* --- the master secret --- */

static int read_derivation(struct fk_reader *payload, struct fk_master_derivation *ret)
{
    uint8_t prf, ems;
    size_t seed;
    int err;

    if ((err = fk_reader_u8(payload, &prf)) != FK_OK ||
        (err = fk_reader_u8(payload, &ems)) != FK_OK ||
        (err = fk_reader_vec8(payload, &ret->seed)) != FK_OK)
        return err;
    if ((prf != FK_PRF_SHA256 && prf != FK_PRF_SHA384) || ems > 1)
        return FK_ERR_FORMAT;
    ret->prf = (enum fk_prf)prf;
    ret->ems = ems == 1;
    seed = ret->ems ? fk_prf_size(ret->prf) : 2 * RANDOM;
    return ret->seed.left == seed ? FK_OK : FK_ERR_FORMAT;
}

static void write_derivation(const struct fk_master_derivation *derivation, struct fk_writer *out)
{
    fk_writer_u8(out, (uint8_t)derivation->prf);
    fk_writer_u8(out, derivation->ems ? 1 : 0);
    fk_writer_vec8(out, derivation->seed.next, derivation->seed.left);
}

/* --- MASTER --- */

int fk_master_op_decode(struct fk_reader payload, struct fk_master_op *ret)
{
    struct fk_master_op op = {0};
    int err;

    if ((err = read_source(&payload, &op.source)) != FK_OK ||
        (err = read_derivation(&payload, &op.derivation)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    *ret = op;
    return FK_OK;
}

void fk_master_op_encode(const struct fk_master_op *op, struct fk_writer *out)
{
    write_source(&op->source, out);
    write_derivation(&op->derivation, out);
}

/* --- KEYS --- */

/* Without the extended master secret the seed is of the same randoms. Public values. */
static bool randoms_agree(const struct fk_keys_op *op)
{
    const struct fk_reader *seed = &op->derivation.seed;

    return op->derivation.ems || (memcmp(seed->next, op->client_random, RANDOM) == 0 &&
                                  memcmp(seed->next + RANDOM, op->server_random, RANDOM) == 0);
}

int fk_keys_op_decode(struct fk_reader payload, struct fk_keys_op *ret)
{
    struct fk_keys_op op = {0};
    int err;

    if ((err = read_source(&payload, &op.source)) != FK_OK ||
        (err = read_derivation(&payload, &op.derivation)) != FK_OK ||
        (err = fk_reader_u16(&payload, &op.suite)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.client_random, RANDOM)) != FK_OK ||
        (err = fk_reader_copy(&payload, op.server_random, RANDOM)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &op.finished_hash)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (op.finished_hash.left != 0 && op.finished_hash.left != fk_prf_size(op.derivation.prf))
        return FK_ERR_FORMAT;
    if (!randoms_agree(&op))
        return FK_ERR_FORMAT;
    *ret = op;
    return FK_OK;
}

void fk_keys_op_encode(const struct fk_keys_op *op, struct fk_writer *out)
{
    write_source(&op->source, out);
    write_derivation(&op->derivation, out);
    fk_writer_u16(out, op->suite);
    fk_writer_bytes(out, op->client_random, RANDOM);
    fk_writer_bytes(out, op->server_random, RANDOM);
    fk_writer_vec8(out, op->finished_hash.next, op->finished_hash.left);
}

int fk_keys_answer_decode(struct fk_reader payload, struct fk_keys_answer *ret)
{
    struct fk_keys_answer answer = {0};
    int err;

    if ((err = fk_reader_copy(&payload, answer.handle, sizeof answer.handle)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &answer.key_block)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &answer.verify_data)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (answer.key_block.left == 0 ||
        (answer.verify_data.left != 0 && answer.verify_data.left != FK_VERIFY_DATA_SIZE))
        return FK_ERR_FORMAT;
    *ret = answer;
    return FK_OK;
}

void fk_keys_answer_encode(const struct fk_keys_answer *answer, struct fk_writer *out)
{
    fk_writer_bytes(out, answer->handle, sizeof answer->handle);
    fk_writer_vec8(out, answer->key_block.next, answer->key_block.left);
    fk_writer_vec8(out, answer->verify_data.next, answer->verify_data.left);
}

/* --- EXPOSE --- */

int fk_exposed_answer_decode(struct fk_reader payload, struct fk_exposed_answer *ret)
{
    struct fk_exposed_answer answer = {0};
    int err;

    if ((err = fk_reader_vec8(&payload, &answer.key_block)) != FK_OK ||
        (err = fk_reader_take(&payload, FK_MASTER_SIZE, &answer.master)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (answer.key_block.left == 0)
        return FK_ERR_FORMAT;
    *ret = answer;
    return FK_OK;
}

void fk_exposed_answer_encode(const struct fk_exposed_answer *answer, struct fk_writer *out)
{
    fk_writer_vec8(out, answer->key_block.next, answer->key_block.left);
    fk_writer_bytes(out, answer->master.next, answer->master.left);
}

/* --- FINISHED --- */

int fk_finished_op_decode(struct fk_reader payload, struct fk_finished_op *ret)
{
    struct fk_finished_op op = {0};
    uint8_t end;
    int err;

    if ((err = fk_reader_copy(&payload, op.handle, sizeof op.handle)) != FK_OK ||
        (err = fk_reader_u8(&payload, &end)) != FK_OK ||
        (err = fk_reader_vec8(&payload, &op.hash)) != FK_OK ||
        (err = fk_reader_end(&payload)) != FK_OK)
        return err;
    if (end != FK_FINISHED_CLIENT && end != FK_FINISHED_SERVER)
        return FK_ERR_FORMAT;
    if (op.hash.left != fk_prf_size(FK_PRF_SHA256) && op.hash.left != fk_prf_size(FK_PRF_SHA384))
        return FK_ERR_FORMAT;
    op.end = (enum fk_finished_end)end;
    *ret = op;
    return FK_OK;
}

void fk_finished_op_encode(const struct fk_finished_op *op, struct fk_writer *out)
{
    fk_writer_bytes(out, op->handle, sizeof op->handle);
    fk_writer_u8(out, (uint8_t)op->end);
    fk_writer_vec8(out, op->hash.next, op->hash.left);
}
