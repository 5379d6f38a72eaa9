/*
 * Signed requests of one channel, and the results that are sealed to it (wire/keyproof.h): shows a
 * key server's signer, past its front, that this edge asks. Off without a request key.
 */
#ifndef FK_KEYCLIENT_PROOF_H
#define FK_KEYCLIENT_PROOF_H

#include "base/buf.h"
#include "wire/keyproof.h"

#include <openssl/ssl.h>

struct fk_proof {
    EVP_PKEY *key; /* the channel's context's; NULL: off */
    EVP_PKEY *reply;
    uint8_t reply_key[FK_KEYPROOF_REPLY_KEY];
    struct fk_keyproof_place place;
    uint64_t counter;
};

/* For a channel that has opened, to the server of that name (borrowed). FK_ERR_CRYPTO. */
int fk_proof_start(struct fk_proof *proof, SSL *ssl, const char *server);
void fk_proof_stop(struct fk_proof *proof);

static inline bool fk_proof_on(const struct fk_proof *proof)
{
    return proof->key != NULL;
}

/* A request's place for the proof, for fk_keymsg_encode(). */
struct fk_reader fk_proof_blank(void);

/*
 * Sign the frame of `len` bytes that was encoded with it; ret_signature names the request.
 * FK_ERR_CRYPTO, FK_ERR_LIMIT.
 */
int fk_proof_sign(struct fk_proof *proof, uint8_t *frame, size_t len,
                  uint8_t ret_signature[FK_KEYPROOF_SIGNATURE]);

/*
 * What a sealed result holds, at `ret` of `size` bytes, which the caller wipes. FK_ERR_VERIFY and
 * others of fk_seal_open().
 */
int fk_proof_open(const struct fk_proof *proof, const uint8_t signature[FK_KEYPROOF_SIGNATURE],
                  struct fk_reader sealed, uint8_t *ret, size_t size, size_t *ret_len);

#endif
