/* Signing requests: see proof.h. */
#include "keyclient/proof.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/writer.h"
#include "tls/channel.h"
#include "tls/seal.h"

#include <openssl/err.h>
#include <string.h>

int fk_proof_start(struct fk_proof *proof, SSL *ssl, const char *server)
{
    EVP_PKEY *key = fk_channel_request_key(ssl);
    struct fk_proof fresh = {.key = key, .place = {.server = server}};
    int err;

    fk_proof_stop(proof);
    if (key == NULL)
        return FK_OK;
    if ((err = fk_channel_exporter(ssl, FK_KEYPROOF_EXPORTER_LABEL, fresh.place.exporter)) !=
            FK_OK ||
        (err = fk_seal_key_new(&fresh.reply, fresh.reply_key)) != FK_OK)
        return err;
    *proof = fresh;
    return FK_OK;
}

void fk_proof_stop(struct fk_proof *proof)
{
    EVP_PKEY_free(proof->reply);
    *proof = (struct fk_proof){.key = NULL};
}

struct fk_reader fk_proof_blank(void)
{
    static const uint8_t blank[FK_KEYPROOF_SIZE];

    return fk_item(blank, sizeof blank);
}

static int sign(EVP_PKEY *key, const uint8_t *message, size_t len,
                uint8_t ret[FK_KEYPROOF_SIGNATURE])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t ret_len = FK_KEYPROOF_SIGNATURE;
    bool ok = ctx != NULL && EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
              EVP_DigestSign(ctx, ret, &ret_len, message, len) == 1 &&
              ret_len == FK_KEYPROOF_SIGNATURE;

    EVP_MD_CTX_free(ctx);
    if (!ok)
        ERR_clear_error();
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

int fk_proof_sign(struct fk_proof *proof, uint8_t *frame, size_t len,
                  uint8_t ret_signature[FK_KEYPROOF_SIGNATURE])
{
    uint8_t message[FK_KEYPROOF_FRAME + FK_KEYPROOF_BODY_MAX];
    struct fk_keyproof one = {.counter = proof->counter + 1};
    struct fk_frame parsed;
    struct fk_keymsg msg;
    struct fk_writer writer;
    struct fk_reader part;
    size_t used;
    int err;

    memcpy(one.reply_key, proof->reply_key, sizeof one.reply_key);
    if ((err = fk_frame_parse(frame, len, &parsed, &used)) != FK_OK ||
        (err = fk_keymsg_decode(&parsed, &msg)) != FK_OK ||
        (err = fk_keyproof_part(&msg, &part)) != FK_OK)
        return err;
    fk_writer_init(&writer, message, sizeof message);
    fk_keyproof_tbs(&one, &proof->place, part, &writer);
    if ((err = fk_writer_end(&writer, &used)) != FK_OK ||
        (err = sign(proof->key, message, used, one.signature)) != FK_OK)
        return err;
    fk_writer_init(&writer, frame + len - FK_KEYPROOF_SIZE, FK_KEYPROOF_SIZE);
    fk_keyproof_encode(&one, &writer);
    memcpy(ret_signature, one.signature, sizeof one.signature);
    proof->counter++;
    return FK_OK;
}

int fk_proof_open(const struct fk_proof *proof, const uint8_t signature[FK_KEYPROOF_SIGNATURE],
                  struct fk_reader sealed, uint8_t *ret, size_t size, size_t *ret_len)
{
    const struct fk_seal_context context = {FK_KEYPROOF_SEAL_LABEL, signature,
                                            FK_KEYPROOF_SIGNATURE};

    return fk_seal_open(proof->reply, &context, sealed, ret, size, ret_len);
}
