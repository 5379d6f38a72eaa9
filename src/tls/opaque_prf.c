/*
 * What is derived from tokens: libssl asks for TLS 1.2's PRF (RFC 5246 section 5) with a label, and
 * the label says which secret the key server is to make. Each is asked for as late as can be, and
 * once.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"
#include "base/secret.h"
#include "wire/keymsg.h"

#include <string.h>

/* scope, context, lifetime; kind, handle or version, share or ciphertext; derivation; suite,
 * randoms, hash */
#define PAYLOAD_MAX                                                                    \
    (1 + FK_SESSION_CONTEXT + 4 + FK_OPAQUE_SOURCE_MAX + 3 + 2 * 32 + 2 + 2 * 32 + 1 + \
     FK_SUITE_HASH_MAX)
/* key block, handle and verify_data, or the master secret; the sealed session; with their lengths
 */
#define KEYS_ANSWER_MAX \
    (FK_KEY_BLOCK_MAX + 2 + FK_HANDLE_SIZE + FK_MASTER_SIZE + 1 + FK_SEALED_SESSION)

bool fk_opaque_is_token(const struct fk_opaque *opaque, const uint8_t *secret, size_t len)
{
    /* After EXPOSE it is the secret itself, of which only the key block is the key server's. */
    bool stands = opaque->mode != FK_OPAQUE_EXPOSE || opaque->stage == FK_OPAQUE_EXPOSED;

    return len == FK_OPAQUE_TOKEN_SIZE && (fk_equal_ct(secret, opaque->premaster, len) ||
                                           (stands && fk_equal_ct(secret, opaque->master, len)));
}

/* --- the master secret --- */

/* What it is made with: the session hash, or both randoms. */
static int keep_derivation(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, bool ems)
{
    if (prf->seed.left != (ems ? fk_prf_size(prf->prf) : 2 * 32))
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "seed of the master secret");
    opaque->prf = prf->prf;
    opaque->ems = ems;
    opaque->seed_len = prf->seed.left;
    memcpy(opaque->seed, prf->seed.next, prf->seed.left);
    return FK_OK;
}

static struct fk_master_derivation derivation_of(const struct fk_opaque *opaque)
{
    struct fk_master_derivation derivation = {.prf = opaque->prf, .ems = opaque->ems};

    fk_reader_init(&derivation.seed, opaque->seed, opaque->seed_len);
    return derivation;
}

/* Mode master: it comes here. */
static int ask_master(struct fk_opaque *opaque, uint8_t *out, size_t len)
{
    const struct fk_master_op op = {.source = opaque->source, .derivation = derivation_of(opaque)};
    uint8_t payload[PAYLOAD_MAX];
    struct fk_writer writer;
    size_t got;
    int err;

    if ((err = fk_opaque_step(opaque, FK_OPAQUE_TO_MASTER)) != FK_OK)
        return err;
    fk_writer_init(&writer, payload, sizeof payload);
    fk_master_op_encode(&op, &writer);
    if ((err = fk_opaque_call(opaque, FK_OP_MASTER, &writer, out, len, &got)) != FK_OK)
        return err;
    if (got == FK_MASTER_SIZE)
        return FK_OK;
    fk_wipe(out, got);
    return fk_rkey_raise(FK_ERR_FORMAT, "master secret of wrong length");
}

/* --- the session's keys --- */

static int describe_keys(const struct fk_opaque *opaque, struct fk_keys_op *ret)
{
    const SSL_CIPHER *cipher = SSL_get_pending_cipher(opaque->ssl);

    *ret = (struct fk_keys_op){.source = opaque->source, .derivation = derivation_of(opaque)};
    if (cipher == NULL ||
        SSL_get_client_random(opaque->ssl, ret->client_random, sizeof ret->client_random) !=
            sizeof ret->client_random ||
        SSL_get_server_random(opaque->ssl, ret->server_random, sizeof ret->server_random) !=
            sizeof ret->server_random)
        return FK_ERR_INTERNAL;
    ret->suite = SSL_CIPHER_get_protocol_id(cipher);
    return FK_OK;
}

/* Both writers' keys and fixed nonces: what the record engine and libssl need of it. */
static int keep_block(struct fk_opaque *opaque, const struct fk_keys_op *op, struct fk_reader block)
{
    const struct fk_suite *suite = fk_suite_find(op->suite);

    if (suite == NULL || block.left != fk_key_block_len(suite) || block.left > sizeof opaque->block)
        return FK_ERR_FORMAT;
    memcpy(opaque->block, block.next, block.left);
    opaque->block_len = block.left;
    return FK_OK;
}

static int take_keys(struct fk_opaque *opaque, const struct fk_keys_op *op,
                     const struct fk_keys_answer *keys)
{
    int err;

    if ((err = keep_block(opaque, op, keys->key_block)) != FK_OK)
        return err;
    if ((keys->verify_data.left > 0) != (op->finished_hash.left > 0))
        return FK_ERR_FORMAT;
    memcpy(opaque->master_handle, keys->handle, sizeof opaque->master_handle);
    opaque->verify_len = keys->verify_data.left;
    if (keys->verify_data.left > 0)
        memcpy(opaque->verify_data, keys->verify_data.next, keys->verify_data.left);
    return FK_OK;
}

static int keep_keys(struct fk_opaque *opaque, const struct fk_keys_op *op, struct fk_reader answer)
{
    struct fk_keys_answer keys;
    int err = fk_keys_answer_decode(answer, &keys);

    return err != FK_OK ? err : take_keys(opaque, op, &keys);
}

static int keep_sealed(struct fk_opaque *opaque, const struct fk_keys_op *op,
                       struct fk_reader answer)
{
    struct fk_keep_answer both;
    int err;

    if ((err = fk_keep_answer_decode(answer, &both)) != FK_OK ||
        (err = take_keys(opaque, op, &both.keys)) != FK_OK)
        return err;
    return fk_opaque_take_sealed(opaque, both.sealed);
}

static int keep_both(struct fk_opaque *opaque, const struct fk_keys_op *op, struct fk_reader answer)
{
    struct fk_exposed_answer both;
    int err;

    if ((err = fk_exposed_answer_decode(answer, &both)) != FK_OK ||
        (err = keep_block(opaque, op, both.key_block)) != FK_OK)
        return err;
    memcpy(opaque->master, both.master.next, sizeof opaque->master);
    return FK_OK;
}

static int encode_keys(const struct fk_opaque *opaque, uint8_t opcode, const struct fk_keys_op *op,
                       struct fk_writer *out)
{
    struct fk_keep_op keep = {.keys = *op};
    int err;

    if (opcode != FK_OP_KEYS_KEEP)
        fk_keys_op_encode(op, out);
    else if ((err = fk_opaque_describe_keep(opaque, &keep)) == FK_OK)
        fk_keep_op_encode(&keep, out);
    else
        return err;
    return FK_OK;
}

static int take_answer(struct fk_opaque *opaque, uint8_t opcode, const struct fk_keys_op *op,
                       struct fk_reader answer)
{
    switch (opcode) {
    case FK_OP_KEYS:
        return keep_keys(opaque, op, answer);
    case FK_OP_KEYS_KEEP:
        return keep_sealed(opaque, op, answer);
    default:
        return keep_both(opaque, op, answer);
    }
}

/* KEYS, KEYS_KEEP or EXPOSE. */
static int ask_keys(struct fk_opaque *opaque, uint8_t opcode, const struct fk_keys_op *op)
{
    uint8_t payload[PAYLOAD_MAX], answer[KEYS_ANSWER_MAX];
    struct fk_writer writer;
    struct fk_reader reader;
    size_t len;
    int err;

    fk_writer_init(&writer, payload, sizeof payload);
    if ((err = encode_keys(opaque, opcode, op, &writer)) != FK_OK)
        return fk_rkey_raise(err, "session");
    err = fk_opaque_call(opaque, opcode, &writer, answer, sizeof answer, &len);
    if (err != FK_OK)
        return err;
    fk_reader_init(&reader, answer, len);
    if ((err = take_answer(opaque, opcode, op, reader)) != FK_OK)
        err = fk_rkey_raise(err, "answer of the key server");
    fk_wipe(answer, len);
    return err;
}

/* When keys are asked for, ChangeCipherSpec has come: the client's Finished covers what is here
 * (RFC 5246 section 7.4.9), so its hash is sent along. */
static int add_finished(struct fk_opaque *opaque, struct fk_keys_op *op)
{
    int err =
        fk_opaque_transcript(opaque, opaque->prf, opaque->finished_hash, &opaque->finished_len);

    fk_reader_init(&op->finished_hash, opaque->finished_hash, opaque->finished_len);
    fk_opaque_unwatch(opaque);
    return err;
}

/* With EXPOSE, and resumed, they are here already. From then on the master secret is libssl's, no
 * token. */
static int get_block(struct fk_opaque *opaque, struct fk_reader seed)
{
    struct fk_keys_op op;
    int err;

    if (opaque->stage == FK_OPAQUE_RESUMED) {
        fk_opaque_unwatch(opaque);
        return fk_opaque_resumed_block(opaque, seed);
    }
    if (opaque->mode == FK_OPAQUE_EXPOSE) {
        fk_wipe(opaque->master, sizeof opaque->master);
        return fk_opaque_step(opaque, FK_OPAQUE_BLOCK);
    }
    if ((err = describe_keys(opaque, &op)) != FK_OK || (err = add_finished(opaque, &op)) != FK_OK)
        return fk_rkey_raise(err, "session keys");
    if ((err = fk_opaque_step(opaque, FK_OPAQUE_TO_KEYS)) != FK_OK)
        return err;
    return ask_keys(opaque, opaque->keeps ? FK_OP_KEYS_KEEP : FK_OP_KEYS, &op);
}

/*
 * libssl asks for more than AES-GCM has: a whole nonce for each side, of which it uses the first
 * four bytes, packed behind the keys. What is beyond is never read.
 */
static int derive_block(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, uint8_t *out,
                        size_t len)
{
    int err;

    if (prf->prf != opaque->prf)
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "session keys");
    if ((err = get_block(opaque, prf->seed)) != FK_OK)
        return err;
    if (opaque->block_len > len)
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "length of a key block");
    memcpy(out, opaque->block, opaque->block_len);
    memset(out + opaque->block_len, 0, len - opaque->block_len);
    return FK_OK;
}

/* --- the master secret, when libssl is to have one --- */

/* Mode keys with the master secret exposed: both are asked for at once. */
static int ask_both(struct fk_opaque *opaque, uint8_t *out)
{
    struct fk_keys_op op;
    int err;

    if ((err = describe_keys(opaque, &op)) != FK_OK)
        return fk_rkey_raise(err, "session keys");
    if ((err = fk_opaque_step(opaque, FK_OPAQUE_TO_BOTH)) != FK_OK ||
        (err = ask_keys(opaque, FK_OP_EXPOSE, &op)) != FK_OK)
        return err;
    memcpy(out, opaque->master, sizeof opaque->master);
    return FK_OK;
}

static int give_master_token(struct fk_opaque *opaque, uint8_t *out)
{
    int err;

    if ((err = fk_opaque_step(opaque, FK_OPAQUE_TO_TOKEN)) == FK_OK)
        memcpy(out, opaque->master, sizeof opaque->master);
    return err;
}

static int derive_master(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, bool ems,
                         uint8_t *out, size_t len)
{
    int err;

    if (len != FK_MASTER_SIZE)
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "length of a master secret");
    if ((err = keep_derivation(opaque, prf, ems)) != FK_OK)
        return err;
    if (opaque->mode == FK_OPAQUE_KEYS)
        return give_master_token(opaque, out);
    return opaque->mode == FK_OPAQUE_EXPOSE ? ask_both(opaque, out) : ask_master(opaque, out, len);
}

static int plain_master(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, uint8_t *out,
                        size_t len)
{
    return derive_master(opaque, prf, false, out, len);
}

static int extended_master(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, uint8_t *out,
                           size_t len)
{
    return derive_master(opaque, prf, true, out, len);
}

/* --- Finished --- */

static int ask_finished(struct fk_opaque *opaque, enum fk_finished_end end, struct fk_reader hash,
                        uint8_t *out, size_t len)
{
    struct fk_finished_op op = {.end = end, .hash = hash};
    uint8_t payload[FK_HANDLE_SIZE + 2 + FK_SUITE_HASH_MAX];
    struct fk_writer writer;
    size_t got;
    int err;

    memcpy(op.handle, opaque->master_handle, sizeof op.handle);
    fk_writer_init(&writer, payload, sizeof payload);
    fk_finished_op_encode(&op, &writer);
    if ((err = fk_opaque_call(opaque, FK_OP_FINISHED, &writer, out, len, &got)) != FK_OK)
        return err;
    return got == len ? FK_OK : fk_rkey_raise(FK_ERR_FORMAT, "verify_data of wrong length");
}

static int check_finished(const struct fk_opaque *opaque, const struct fk_opaque_prf *prf,
                          size_t len)
{
    if (prf->prf != opaque->prf || prf->seed.left != fk_prf_size(prf->prf) ||
        len != FK_VERIFY_DATA_SIZE)
        return fk_rkey_raise(FK_ERR_UNEXPECTED, "Finished");
    return FK_OK;
}

/* What KEYS told, if it is over the same transcript. */
static int client_finished(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, uint8_t *out,
                           size_t len)
{
    int err;

    if ((err = check_finished(opaque, prf, len)) != FK_OK ||
        (err = fk_opaque_step(opaque, FK_OPAQUE_CLIENT)) != FK_OK)
        return err;
    if (opaque->verify_len != len || prf->seed.left != opaque->finished_len ||
        memcmp(prf->seed.next, opaque->finished_hash, prf->seed.left) != 0) /* public */
        return ask_finished(opaque, FK_FINISHED_CLIENT, prf->seed, out, len);
    memcpy(out, opaque->verify_data, len);
    return FK_OK;
}

static int server_finished(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, uint8_t *out,
                           size_t len)
{
    int err;

    if ((err = check_finished(opaque, prf, len)) != FK_OK ||
        (err = fk_opaque_step(opaque, FK_OPAQUE_SERVER)) != FK_OK)
        return err;
    return ask_finished(opaque, FK_FINISHED_SERVER, prf->seed, out, len);
}

/* --- which of them --- */

static const struct label {
    const char *text;
    bool of_premaster;
    int (*derive)(struct fk_opaque *opaque, const struct fk_opaque_prf *prf, uint8_t *out,
                  size_t len);
} labels[] = {
    {"master secret", true, plain_master},             /* RFC 5246 section 8.1 */
    {"extended master secret", true, extended_master}, /* RFC 7627 section 4 */
    {"key expansion", false, derive_block},            /* RFC 5246 section 6.3 */
    {"client finished", false, client_finished},       /* RFC 5246 section 7.4.9 */
    {"server finished", false, server_finished},
};

/* That one, and what stands behind it. */
static const struct label *take_label(struct fk_reader *seed)
{
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        size_t len = strlen(labels[i].text);

        if (seed->left >= len && memcmp(seed->next, labels[i].text, len) == 0) { /* public */
            (void)fk_reader_skip(seed, len);
            return &labels[i];
        }
    }
    return NULL;
}

int fk_opaque_derive(struct fk_opaque *opaque, const uint8_t *secret,
                     const struct fk_opaque_prf *prf, uint8_t *out, size_t len)
{
    bool premaster = fk_equal_ct(secret, opaque->premaster, sizeof opaque->premaster);
    struct fk_opaque_prf rest = *prf;
    const struct label *label = take_label(&rest.seed);

    if (label == NULL || label->of_premaster != premaster || prf->prf == 0)
        return fk_rkey_raise(FK_ERR_UNSUPPORTED, "no derivation of a handshake");
    return label->derive(opaque, &rest, out, len);
}
