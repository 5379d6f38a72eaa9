/*
 * RSA decryption that answers bad padding like good padding (implicit rejection).
 *
 * The padding of a ciphertext is decided in constant time, and a bad one gets an answer that is a
 * pseudo-random function of a secret of the key and the ciphertext: the same ciphertext gets the
 * same answer every time, from every signer with this key. Whoever asks cannot tell it from the
 * answer to good padding: not by its value, not by asking twice, not by time.
 */
#include "base/err.h"
#include "base/secret.h"
#include "signer/ops_local.h"
#include "wire/keyop.h"

#include <openssl/hmac.h>
#include <string.h>

#define RSA_SIZE_MAX 512
#define PREMASTER    FK_PREMASTER_SIZE

/* --- constant-time pieces: masks are 0 or 0xff --- */

/* Hide from the compiler that a mask has only two values, or it may branch on it. */
static uint8_t hide(uint8_t mask)
{
    __asm__ volatile("" : "+r"(mask));
    return mask;
}

/* 0xff when x is 0. */
static uint8_t is_zero(uint8_t x)
{
    return hide((uint8_t)(((uint32_t)x - 1) >> 24));
}

static void select_bytes(uint8_t mask, const uint8_t *yes, const uint8_t *no, uint8_t *ret,
                         size_t len)
{
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)((yes[i] & mask) | (no[i] & (uint8_t)~mask));
}

/*
 * 0xff when `block` is 00 02, padding without a zero, 00 and exactly 48 bytes (RFC 8017 section
 * 7.2.2, RFC 5246 section 7.4.7.1). Touches every byte, whatever it finds.
 */
static uint8_t padding_is_good(const uint8_t *block, size_t size)
{
    uint8_t good = (uint8_t)(is_zero(block[0]) & is_zero(block[1] ^ 2));

    for (size_t i = 2; i < size - PREMASTER - 1; i++)
        good &= (uint8_t)~is_zero(block[i]);
    return hide((uint8_t)(good & is_zero(block[size - PREMASTER - 1])));
}

/* --- the pseudo-random function --- */

/* HMAC-SHA256(reject secret, label | counter | ciphertext), counter 1, 2, ... */
static int expand(struct fk_op_call *call, uint8_t label, const struct fk_reader *ciphertext,
                  uint8_t *ret, size_t len)
{
    uint8_t in[2 + RSA_SIZE_MAX] = {label}, block[32];
    const uint8_t *secret;
    int err;

    if ((err = fk_ops_reject_secret(call, &secret)) != FK_OK)
        return err;
    memcpy(in + 2, ciphertext->next, ciphertext->left);
    for (size_t done = 0; done < len && err == FK_OK; done += sizeof block) {
        size_t n = len - done < sizeof block ? len - done : sizeof block;

        in[1]++;
        if (HMAC(EVP_sha256(), secret, 32, in, 2 + ciphertext->left, block, NULL) == NULL)
            err = FK_ERR_CRYPTO;
        else
            memcpy(ret + done, block, n);
    }
    fk_wipe(block, sizeof block);
    return err;
}

/* --- the private operation --- */

struct scratch {
    uint8_t block[RSA_SIZE_MAX];   /* the decrypted block */
    uint8_t padding[RSA_SIZE_MAX]; /* pseudo-random, for dialect 1 */
    uint8_t reject[PREMASTER];     /* the answer to bad padding */
};

/* The modulus's length, if this key decrypts a ciphertext of this length. */
static int check_size(const struct fk_op_call *call, size_t len, size_t *ret_size)
{
    const struct fk_key_public *public = &call->entry->public;
    size_t size;

    if (public->type != FK_KEY_RSA)
        return FK_ERR_UNSUPPORTED;
    size = ((size_t) public->bits + 7) / 8;
    if (len != size || size > RSA_SIZE_MAX)
        return FK_ERR_FORMAT;
    *ret_size = size;
    return FK_OK;
}

/*
 * Decrypt without looking at the result. A number not below the modulus, which everybody can see,
 * leaves a block of zeros: bad padding like any other.
 */
static int decrypt_block(struct fk_op_call *call, const struct fk_reader *ciphertext, uint8_t *ret)
{
    const uint8_t *modulus = fk_ops_modulus(call->ops, call->entry);

    if (modulus == NULL)
        return FK_ERR_NOMEM;
    if (memcmp(ciphertext->next, modulus, ciphertext->left) >= 0) {
        memset(ret, 0, ciphertext->left);
        return FK_OK;
    }
    return fk_ops_rsa_raw(call, ciphertext->next, ret, ciphertext->left);
}

/*
 * The version bytes are always the client's, also with good padding (RFC 5246 section 7.4.7.1): a
 * client that sent another version computes another premaster, and its Finished fails. The other 46
 * bytes never depend on the version asked with, or asking twice with two versions would tell good
 * padding from bad.
 */
int fk_ops_premaster(struct fk_op_call *call, const struct fk_decrypt *op, uint8_t ret[PREMASTER])
{
    struct scratch scratch;
    uint8_t good;
    size_t size;
    int err;

    if ((err = check_size(call, op->ciphertext.left, &size)) != FK_OK)
        return err;
    if ((err = decrypt_block(call, &op->ciphertext, scratch.block)) != FK_OK ||
        (call->half != NULL && call->half->holds)) /* there is no block yet */
        goto out;
    if ((err = expand(call, 'p', &op->ciphertext, scratch.reject, PREMASTER)) != FK_OK)
        goto out;
    good = padding_is_good(scratch.block, size);
    select_bytes(good, scratch.block + size - PREMASTER, scratch.reject, ret, PREMASTER);
    ret[0] = (uint8_t)(op->client_version >> 8);
    ret[1] = (uint8_t)op->client_version;
out:
    fk_wipe(&scratch, sizeof scratch);
    return err;
}

/* farkey/1's decrypt: 48 bytes. */
int fk_op_decrypt(struct fk_op_call *call)
{
    struct fk_decrypt op;
    int err;

    if ((err = fk_decrypt_decode(call->payload, &op)) != FK_OK)
        return err;
    if (!fk_op_allowed(call, FK_PERM_DECRYPT))
        return FK_ERR_DENIED;
    call->ret_len = PREMASTER;
    return fk_ops_premaster(call, &op, call->ret);
}

/*
 * Dialect 1's opcode 01: a whole block, 00 02 | non-zero padding | 00 | 48 bytes, whose padding is
 * always ours, so that a client which strips it works and learns nothing. Its client version is not
 * known here: bad padding gives 48 pseudo-random bytes, as a multiplied ciphertext with good
 * padding would.
 */
int fk_op_d1_decrypt(struct fk_op_call *call)
{
    struct scratch scratch;
    uint8_t good;
    size_t size, fill;
    int err;

    if (!fk_op_allowed(call, FK_PERM_D1_DECRYPT))
        return FK_ERR_DENIED;
    if ((err = check_size(call, call->payload.left, &size)) != FK_OK)
        return err;
    fill = size - PREMASTER - 3;
    if ((err = decrypt_block(call, &call->payload, scratch.block)) != FK_OK ||
        (err = expand(call, 'p', &call->payload, scratch.reject, PREMASTER)) != FK_OK ||
        (err = expand(call, 'b', &call->payload, scratch.padding, fill)) != FK_OK)
        goto out;
    good = padding_is_good(scratch.block, size);
    call->ret[0] = 0;
    call->ret[1] = 2;
    for (size_t i = 0; i < fill; i++) /* 1 to 255 */
        call->ret[2 + i] = (uint8_t)(1 + scratch.padding[i] * 255U / 256);
    call->ret[size - PREMASTER - 1] = 0;
    select_bytes(good, scratch.block + size - PREMASTER, scratch.reject,
                 call->ret + size - PREMASTER, PREMASTER);
    call->ret_len = size;
out:
    fk_wipe(&scratch, sizeof scratch);
    return err;
}
